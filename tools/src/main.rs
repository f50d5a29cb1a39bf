//! The `thalweg` command.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode};

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
    keep_freed_memory();
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

/// Says how long the allocator keeps what was freed before the system gets it back, in ms.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Starts the program again with an allocator that keeps freed memory for itself, unless the user has said how long it shall.
///
/// Tables that grow free what they grow out of, all the time while state grows. Memory that the system took back must be
/// faulted in and cleared again: in NEXMark q18 (10 M events, parallelism 2) that was half of the page faults and more. The
/// allocator reads its settings before `main`, and only from the environment.
fn keep_freed_memory() {
    if env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        let mut again = process::Command::new(program);
        let mut args = env::args_os();
        if let Some(name) = args.next() {
            again.arg0(name);
        }
        // Returns only if it cannot be done, which does no harm.
        let _ = again.args(args).env(PURGE_DELAY, "-1").exec();
    }
}

/// Warnings go to stderr, or what `RUST_LOG` asks for; stdout is for results.
fn log_to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
