//! The `thalweg` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thalweg_tools::bench;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// thalweg: a stateful stream processor with Flink's semantics on a thread-per-core engine.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures the engine.
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Subcommand)]
enum Bench {
    Nexmark(bench::nexmark::NexmarkArgs),
    Latency(bench::latency::LatencyArgs),
    Exchange(bench::exchange::ExchangeArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let result = match cli.command {
        Command::Bench(Bench::Nexmark(args)) => bench::nexmark::run(&args),
        Command::Bench(Bench::Latency(args)) => bench::latency::run(&args),
        Command::Bench(Bench::Exchange(args)) => bench::exchange::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Warnings go to stderr, or what `RUST_LOG` asks for; stdout is for results.
fn log_to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
