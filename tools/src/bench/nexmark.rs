//! `thalweg bench nexmark`.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use thalweg::testing::Simulator;
use thalweg::{Env, IdleStrategy};

use super::backend::StateArgs;
use crate::nexmark::job::{DigestTotal, Events};
use crate::nexmark::queries::Query;
use crate::nexmark::{DataSet, Digest, Meta, generate_in_memory, write_shards};
use crate::report::{CpuTime, QueryResult, peak_rss_bytes, plot, reset_peak_rss, say, table};

/// Runs NEXMark queries and prints their rate, their cost and the digest of their results.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg bench nexmark --query all --events 1000000
  thalweg bench nexmark --write data --events 10000000 --shards 2
  thalweg bench nexmark --query q5,wc --data data --parallelism 2 --passes 5 --json
  thalweg bench nexmark --query q18 --events 10000000 --backend lsm --memory-budget 256M --state-dir /mnt/nvme")]
pub struct NexmarkArgs {
    /// Queries, separated by commas, or `all`.
    #[arg(long, default_value = "all")]
    query: String,
    /// Generates this many events in memory before the clock starts.
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// Reads a data set from a folder instead, shard i by subtask i.
    #[arg(long, value_name = "DIR", conflicts_with = "write")]
    data: Option<PathBuf>,
    /// Goes over the data this many times; ids and times move on, so no pass shares a key with another.
    #[arg(long, value_name = "L", default_value_t = 1)]
    passes: u64,
    /// Subtasks, one for each core [default: all cores].
    #[arg(long, value_name = "P")]
    parallelism: Option<usize>,
    /// Prints one line of JSON for each query, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateArgs,
    /// Draws the results as a bar chart.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Computes associative aggregates before the exchange in part.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pre_aggregation: bool,
    /// Runs each query under the deterministic simulator instead, with seeds 0 to N - 1, and compares the digests. Slow: no rate is
    /// measured.
    #[arg(long, value_name = "N", conflicts_with_all = ["plot", "write"])]
    simulate: Option<u64>,
    /// Writes a data set of --events events to a folder, and runs nothing.
    #[arg(long, value_name = "DIR", requires = "events")]
    write: Option<PathBuf>,
    /// Files to write, one for each subtask that will read them.
    #[arg(long, value_name = "P", default_value_t = 1, requires = "write")]
    shards: usize,
    /// With --write: also writes the events as lines of JSON. Else: one line per query.
    #[arg(long, hide = true)]
    verbose: bool,
}

/// Events that are generated when nothing is said.
const EVENTS_DEFAULT: u64 = 1_000_000;
/// The most key groups there can be, and so the most subtasks.
const PARALLELISM_MAX: usize = 32_768;

impl NexmarkArgs {
    /// Whether there is a bound for what state takes of memory.
    pub fn has_memory_budget(&self) -> bool {
        self.state.has_memory_budget()
    }
}

/// Runs the command.
pub fn run(args: &NexmarkArgs) -> Result<()> {
    if let Some(dir) = &args.write {
        return write(args, dir);
    }
    let queries = parse_queries(&args.query)?;
    let parallelism = match args.parallelism {
        Some(0) => bail!("--parallelism must be at least 1"),
        Some(p) if p > PARALLELISM_MAX => bail!("--parallelism must be at most {PARALLELISM_MAX}"),
        Some(p) => p,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    ensure!(args.passes > 0, "--passes must be at least 1");
    let plot_file = args.plot.as_deref().map(PlotFile::open).transpose()?;
    let data = Arc::new(load(args, parallelism)?);
    check_passes(&data.meta, args.passes)?;
    if let Some(seeds) = args.simulate {
        return queries.iter().try_for_each(|&query| simulate(query, &data, args, parallelism, seeds));
    }
    let mut results = Vec::new();
    for query in queries {
        let result = run_query(query, &data, args, parallelism).with_context(|| format!("{query} failed"))?;
        if args.json {
            say(&format!("{}\n", result.to_json()))?;
        }
        results.push(result);
    }
    if !args.json {
        say(&table(&results))?;
    }
    if let Some(file) = plot_file {
        let title = format!("NEXMark on thalweg, parallelism {parallelism}");
        file.write(&plot(&title, &results))?;
    }
    Ok(())
}

/// Ids and times move on with every pass, and must still be numbers at the last one.
fn check_passes(meta: &Meta, passes: u64) -> Result<()> {
    let events = meta.events.checked_mul(passes);
    let last = meta.loop_shift_ms.checked_mul(passes).and_then(|shift| shift.checked_add(meta.last_ts));
    ensure!(
        events.is_some() && last.is_some_and(|last| i64::try_from(last).is_ok()),
        "--passes {passes} of {} events end beyond what times and numbers can count",
        meta.events
    );
    Ok(())
}

/// The file of a plot, opened before the runs: an hour's results must not end in a folder that was not there.
pub(super) struct PlotFile<'a> {
    path: &'a Path,
    /// It was not there before, and goes again if there is nothing to write.
    is_new: bool,
}

impl<'a> PlotFile<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        let is_new = !path.exists();
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| path.display().to_string())?;
        Ok(Self { path, is_new })
    }

    pub(super) fn write(mut self, plot: &str) -> Result<()> {
        std::fs::write(self.path, plot).with_context(|| self.path.display().to_string())?;
        self.is_new = false;
        Ok(())
    }
}

impl Drop for PlotFile<'_> {
    fn drop(&mut self) {
        if self.is_new {
            let _ = std::fs::remove_file(self.path);
        }
    }
}

fn parse_queries(list: &str) -> Result<Vec<Query>> {
    if list == "all" {
        return Ok(Query::ALL.to_vec());
    }
    list.split(',').map(|name| name.trim().parse().map_err(anyhow::Error::msg)).collect()
}

fn write(args: &NexmarkArgs, dir: &Path) -> Result<()> {
    let events = args.events.unwrap_or(EVENTS_DEFAULT);
    ensure!(args.shards > 0, "--shards must be at least 1");
    let bar = progress_bar(events, "writing");
    let summary = write_shards(dir, events, args.shards, args.json, &mut |done| bar.set_position(done))?;
    bar.finish_and_clear();
    eprintln!(
        "{} events in {} shards, {} bytes, at {:.1} M events/s on {} threads (the generator's rate, not the engine's)",
        summary.meta.events,
        summary.meta.shards,
        summary.meta.bytes,
        summary.events_per_s() / 1e6,
        summary.threads
    );
    Ok(())
}

/// Brings the data into memory, before any clock starts.
fn load(args: &NexmarkArgs, parallelism: usize) -> Result<DataSet> {
    match &args.data {
        Some(dir) => {
            ensure!(args.events.is_none(), "--events generates and --data reads: give one of them");
            Ok(DataSet::load(dir, parallelism)?)
        }
        None => {
            let events = args.events.unwrap_or(EVENTS_DEFAULT);
            ensure!(events > 0, "--events must be at least 1");
            let data = generate_in_memory(events, parallelism);
            let rate = data.prepared_per_s() / 1e6;
            eprintln!(
                "generated {events} events at {rate:.1} M events/s (the generator's maximum, not the engine's rate)"
            );
            Ok(data)
        }
    }
}

fn run_query(
    query: Query,
    data: &Arc<DataSet>,
    args: &NexmarkArgs,
    parallelism: usize,
) -> Result<QueryResult> {
    let total = DigestTotal::default();
    let events = Events::new(data.clone(), args.passes);
    let env = Env::new()
        .name(query.name())
        .parallelism(parallelism)
        .pre_aggregation(args.pre_aggregation)
        .backend(args.state.backend(parallelism))
        .idle_strategy(IdleStrategy::Balanced);
    query.build(&env, events.clone(), &total);
    reset_peak_rss();
    let cpu = CpuTime::now();
    let watch = Watch::start(query, &events);
    let job = env.execute();
    let cpu_seconds = cpu.elapsed().as_secs_f64();
    watch.stop();
    let job = job?;
    let seconds = job.elapsed.as_secs_f64();
    let count = events.count();
    let events_per_s = count as f64 / seconds;
    // To the end of the results, as `seconds` and as the peers count: not until the state has been freed.
    let steady = events.half_read_at().zip(total.closed_at());
    let steady = steady.map(|(half, closed)| (closed - half).as_secs_f64()).filter(|&s| s > 0.0);
    let digest = total.get();
    Ok(QueryResult {
        engine: "thalweg".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        query: query.name().into(),
        parallelism,
        events: count,
        seconds,
        events_per_s,
        steady_events_per_s: steady.map_or(events_per_s, |s| (count - count / 2) as f64 / s),
        out_count: digest.out_count,
        net_count: digest.net_count,
        digest: digest.to_string(),
        cpu_seconds,
        peak_rss_bytes: peak_rss_bytes().unwrap_or(0),
    })
}

/// Runs a query with many seeds: another schedule, other buffer sizes, other delays each time, and always the same digest.
fn simulate(
    query: Query,
    data: &Arc<DataSet>,
    args: &NexmarkArgs,
    parallelism: usize,
    seeds: u64,
) -> Result<()> {
    let mut first: Option<Digest> = None;
    for seed in 0..seeds {
        let total = DigestTotal::default();
        let env = Env::new()
            .name(query.name())
            .parallelism(parallelism)
            .pre_aggregation(args.pre_aggregation)
            .backend(args.state.backend(parallelism));
        query.build(&env, Events::new(data.clone(), args.passes), &total);
        Simulator::new(seed)
            .ticks_max(u64::MAX)
            .run(&env)
            .with_context(|| format!("{query} with seed {seed}"))?;
        let digest = total.get();
        let expected = *first.get_or_insert(digest);
        ensure!(
            (digest.net_count, digest.sum) == (expected.net_count, expected.sum),
            "{query}: seed {seed} gives {digest} ({} rows), seed 0 gave {expected} ({} rows)",
            digest.net_count,
            expected.net_count
        );
    }
    let digest = first.unwrap_or_default();
    say(&format!(
        "{query}: {seeds} seeds, {parallelism} simulated cores, {} rows, digest {digest}\n",
        digest.net_count
    ))
}

fn progress_bar(length: u64, message: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{msg:>8} {wide_bar} {percent:>3} % {per_sec}")
        .expect("a valid template");
    bar.set_style(style);
    bar.set_message(message.to_owned());
    bar
}

/// Shows how far a query is, while someone looks.
struct Watch {
    thread: Option<(Arc<AtomicBool>, std::thread::JoinHandle<()>)>,
}

impl Watch {
    fn start(query: Query, events: &Events) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { thread: None };
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, events) = (stop.clone(), events.clone());
        let thread = std::thread::spawn(move || {
            let bar = progress_bar(events.count(), query.name());
            while !stopped.load(Ordering::Relaxed) {
                bar.set_position(events.read());
                std::thread::park_timeout(Duration::from_millis(100));
            }
            bar.finish_and_clear();
        });
        Self { thread: Some((stop, thread)) }
    }

    fn stop(self) {
        if let Some((stop, thread)) = self.thread {
            stop.store(true, Ordering::Relaxed);
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
