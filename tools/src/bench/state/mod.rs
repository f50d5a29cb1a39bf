//! `thalweg bench state`: what do the state stores do under the accesses of a keyed operator?
//!
//! ```text
//!   keys ──▶ load ──▶ Store ──▶ heap, lsm, hashbrown, rocksdb, fjall
//!             │
//!             └──▶ meter ──▶ outcome ──▶ JSON, table, chart
//! ```
//!
//! - `keys`: which come, seeded;
//! - `store`: the accesses, and the stores;
//! - `meter`: how they are timed;
//! - `loads`: what is done to a store, and whether it answers right;
//! - `outcome`, `chart`: what comes of it.

mod chart;
mod keys;
mod loads;
mod meter;
mod outcome;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use self::keys::Dist;
use self::loads::{Load, Plan};
use self::outcome::Outcome;
use self::store::Place;
use self::store::thalweg::{Heap, Lsm, Thalweg};
use super::backend::parse_size;
use super::latency::parse_duration;
use super::nexmark::PlotFile;
use crate::report::{reset_peak_rss, say};

/// Measures the state stores under the accesses of a keyed operator, beside others.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg bench state --load rmw --keys 10M --dist zipf
  thalweg bench state --load rmw --keys 10M --memory-budget 10% --backend lsm,rocksdb
  thalweg bench state --load all --keys 1M --json --plot state.svg

One thread calls. A batch is prepared as a whole (look-ahead), then accessed record by record. Keys are drawn while no clock runs.
Rate, CPU times and batch times are of seven eighths of the batches, which are timed as wholes. In the others the clock is read at
each access, and only the times of single operations (p50 to max) are of these: a single access with an even share of its batch's
preparation, the first one also with what was done between batches. The load `latency` reads the clock at each access of all batches.
Written bytes and files are looked at after the store has flushed and compacted all. Backends that take turns in one process share
its memory: for exact figures of that run them one by one.
RocksDB and fjall are there if the command was built with the feature `peers`.")]
pub struct StateArgs {
    /// Loads, separated by commas, or `all`.
    #[arg(long, value_name = "LOAD", default_value = "rmw", value_parser = parse_loads)]
    load: Loads,
    /// Keys, or items of lists, or entries of maps: 1000000, 10k, 10M.
    #[arg(long, value_name = "N", default_value = "1M", value_parser = parse_keys)]
    keys: u64,
    /// How often keys come.
    #[arg(long, value_name = "DIST", default_value = "uniform")]
    dist: Dist,
    /// Stores, separated by commas.
    #[arg(long, value_name = "BACKEND", value_delimiter = ',', default_values_t = [Backend::Heap, Backend::Lsm])]
    backend: Vec<Backend>,
    /// What memtables and caches may take: bytes, or 512M, 1G, or 10%, of all keys and values.
    #[arg(long, value_name = "BYTES", default_value = "512M")]
    memory_budget: Budget,
    /// Where stores keep their files; a folder for each is made in it, and removed [default: a folder for temporary files].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How long each phase lasts: seconds, or 500ms, 10s, 2m.
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_duration)]
    seconds: Duration,
    /// Records of a batch.
    #[arg(long, value_name = "N", default_value_t = 512)]
    batch: usize,
    /// Prints a line of JSON for each phase, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
    /// Draws the rates as a bar chart.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// A store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// The heap backend.
    Heap,
    /// The LSM backend, with a thread that reads and one that writes.
    Lsm,
    /// A bare hash map with a look-ahead.
    Hashbrown,
    /// RocksDB, lists under the key and a number.
    #[cfg(feature = "peers")]
    Rocksdb,
    /// RocksDB, lists with a merge operator.
    #[cfg(feature = "peers")]
    RocksdbMerge,
    /// fjall.
    #[cfg(feature = "peers")]
    Fjall,
}

impl Backend {
    fn name(self) -> &'static str {
        match self {
            Backend::Heap => "heap",
            Backend::Lsm => "lsm",
            Backend::Hashbrown => "hashbrown",
            #[cfg(feature = "peers")]
            Backend::Rocksdb => "rocksdb",
            #[cfg(feature = "peers")]
            Backend::RocksdbMerge => "rocksdb-merge",
            #[cfg(feature = "peers")]
            Backend::Fjall => "fjall",
        }
    }

    fn run(self, plan: &Plan, report: &mut dyn FnMut(Outcome) -> Result<()>) -> Result<()> {
        match self {
            Backend::Heap => loads::run::<Thalweg<Heap>>(plan, report),
            Backend::Lsm => loads::run::<Thalweg<Lsm>>(plan, report),
            Backend::Hashbrown => loads::run::<store::hashbrown::Hashbrown>(plan, report),
            #[cfg(feature = "peers")]
            Backend::Rocksdb => loads::run::<store::rocksdb::Rocks>(plan, report),
            #[cfg(feature = "peers")]
            Backend::RocksdbMerge => loads::run::<store::rocksdb::RocksMerge>(plan, report),
            #[cfg(feature = "peers")]
            Backend::Fjall => loads::run::<store::fjall::Fjall>(plan, report),
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl StateArgs {
    /// Whether there is a bound for what any of the backends takes of memory.
    pub fn has_memory_budget(&self) -> bool {
        self.backend.iter().all(|backend| !matches!(backend, Backend::Heap | Backend::Hashbrown))
    }
}

/// A batch that is longer measures the bench's own memory.
const BATCH_MAX: usize = 1 << 16;

/// Runs the command.
pub fn run(args: &StateArgs) -> Result<()> {
    ensure!((1..=BATCH_MAX).contains(&args.batch), "--batch must be between 1 and {BATCH_MAX}");
    let plot_file = args.plot.as_deref().map(PlotFile::open).transpose()?;
    let mut outcomes = Vec::new();
    for &load in &args.load.0 {
        for &backend in &args.backend {
            let folder = Folder::make(args.state_dir.as_deref(), backend)?;
            let memory_budget_bytes = args.memory_budget.bytes(load.data_bytes(args.keys));
            let plan = Plan {
                load,
                backend: backend.name(),
                keys: args.keys,
                dist: args.dist,
                batch: args.batch,
                time: args.seconds,
                place: Place { dir: folder.store(), memory_budget_bytes },
            };
            reset_peak_rss();
            let mut report = |outcome: Outcome| {
                if args.json {
                    say(&format!("{}\n", serde_json::to_string(&outcome)?))?;
                }
                outcomes.push(outcome);
                Ok(())
            };
            backend.run(&plan, &mut report).with_context(|| format!("{backend} under {load:?} failed"))?;
        }
    }
    if !args.json {
        say(&outcome::table(&outcomes))?;
    }
    if let Some(file) = plot_file {
        let title = format!("State stores, {} keys, {:?}", args.keys, args.dist);
        file.write(&chart::rates(&title, &outcomes))?;
    }
    Ok(())
}

/// A folder of our own, which goes again.
struct Folder(PathBuf);

impl Folder {
    /// Errors: if it is there already, or cannot be made.
    fn make(state_dir: Option<&Path>, backend: Backend) -> Result<Self> {
        let parent = state_dir.map_or_else(std::env::temp_dir, Path::to_owned);
        fs::create_dir_all(&parent).with_context(|| parent.display().to_string())?;
        let dir = parent.join(format!("thalweg-bench-{backend}-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let folder = Self(dir);
        fs::create_dir(folder.store()).with_context(|| folder.store().display().to_string())?;
        Ok(folder)
    }

    fn store(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Loads to run, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loads(Vec<Load>);

fn parse_loads(list: &str) -> Result<Loads, String> {
    if list == "all" {
        return Ok(Loads(Load::value_variants().to_vec()));
    }
    list.split(',').map(|name| Load::from_str(name.trim(), false)).collect::<Result<_, _>>().map(Loads)
}

/// What a store may take.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Budget {
    Bytes(u64),
    /// Of the data, in percent.
    Percent(f64),
}

impl Budget {
    fn bytes(self, data_bytes: u64) -> u64 {
        match self {
            Budget::Bytes(bytes) => bytes,
            Budget::Percent(percent) => (data_bytes as f64 * percent / 100.0) as u64,
        }
    }
}

impl std::str::FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else {
            return parse_size(text).map(Budget::Bytes);
        };
        match percent.parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent.is_finite() => Ok(Budget::Percent(percent)),
            _ => Err(format!("{text} is no percentage of the data")),
        }
    }
}

/// The most keys: numbers of lists and maps must have a next one.
const KEYS_MAX: u64 = 1 << 40;

fn parse_keys(text: &str) -> Result<u64, String> {
    match parse_number(text)? {
        keys if keys <= KEYS_MAX => Ok(keys),
        _ => Err(format!("there can be {KEYS_MAX} keys at most")),
    }
}

/// A number of at least 1, in thousands (k), millions (M) or billions (G) if it says so: keys are counted as people count.
fn parse_number(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number
        .filter(|&number| number > 0)
        .ok_or_else(|| format!("{text} is no number such as 1000000, 10k or 10M"))
}
