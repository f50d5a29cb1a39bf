//! The `thalweg` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thalweg_tools::report::is_closed_pipe;
use thalweg_tools::{bench, state};
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
    /// Looks into the state of a job: a store, or a snapshot of one.
    #[command(subcommand)]
    State(state::StateCommand),
}

#[derive(Debug, Subcommand)]
enum Bench {
    Nexmark(bench::nexmark::NexmarkArgs),
    Latency(bench::latency::LatencyArgs),
    Exchange(bench::exchange::ExchangeArgs),
    State(bench::state::StateArgs),
}

impl Command {
    /// Whether it is told how much memory its state may take.
    fn has_memory_budget(&self) -> bool {
        match self {
            Command::Bench(Bench::Nexmark(args)) => args.has_memory_budget(),
            Command::Bench(Bench::State(args)) => args.has_memory_budget(),
            _ => false,
        }
    }
}

/// What a shell reports of a program that was ended by SIGPIPE.
const EXIT_CLOSED_PIPE: u8 = 141;

fn main() -> ExitCode {
    let cli = Cli::parse();
    keep_freed_memory(cli.command.has_memory_budget());
    log_to_stderr();
    let result = match cli.command {
        Command::Bench(Bench::Nexmark(args)) => bench::nexmark::run(&args),
        Command::Bench(Bench::Latency(args)) => bench::latency::run(&args),
        Command::Bench(Bench::Exchange(args)) => bench::exchange::run(&args),
        Command::Bench(Bench::State(args)) => bench::state::run(&args),
        Command::State(command) => state::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // As other programs do: who closed the pipe knows.
        Err(error) if is_closed_pipe(&error) => ExitCode::from(EXIT_CLOSED_PIPE),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the allocator to keep freed memory for a while before the system gets it back.
///
/// Tables that grow free what they grow out of, all the time while state grows. With the default of 10 ms the same memory
/// goes back, is faulted in and cleared over and over: in NEXMark q18 (10 M events, parallelism 2) 49 000 page faults
/// instead of 2 000, many of them of 2 MiB, and half as much CPU time again.
///
/// Where state has a budget of memory, it goes back sooner: with ten times as much state as a budget of 24 MiB the process takes
/// 85 MiB with 0.1 s, and 119 with 2 s. `MIMALLOC_PURGE_DELAY` sets another delay, in ms.
fn keep_freed_memory(has_memory_budget: bool) {
    /// `mi_option_purge_delay`, for which the crate has no name.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    let purge_delay_ms = if has_memory_budget { 100 } else { 2_000 };
    // SAFETY: the option exists in versions 2 and 3 and takes any value, and there is no second thread yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, purge_delay_ms) };
}

/// Warnings go to stderr, or what `RUST_LOG` asks for; stdout is for results.
fn log_to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
