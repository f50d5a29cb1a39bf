//! The loads: what an operator does to its state, again and again.
//!
//! - `counters`: updates, absent and present keys, a snapshot meanwhile;
//! - `lists`: appending, reading, dropping;
//! - `maps`: reading all that is under a key.
//!
//! Each checks what it reads, and fails if it is not what was written.

mod counters;
mod lists;
mod maps;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::keys::{Dist, Record};
use super::meter::{Clocked, Meter};
use super::outcome::{Cost, Outcome, Seen, Storage};
use super::store::{Family, Place, Store};
use crate::report::peak_rss_bytes;

/// What is done to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Load {
    /// Counters of 8 bytes: all keys are created in random order, then updated.
    Rmw,
    /// The same with values of 100 bytes.
    #[value(name = "rmw-100")]
    Rmw100,
    /// Reads of keys that are absent, then of keys that are present.
    Miss,
    /// Items of 32 bytes are appended to lists, 100 to each in the end; lists are read, then read and dropped.
    Append,
    /// Maps of 100 entries are read as a whole.
    MapScan,
    /// Updates, then with a snapshot meanwhile.
    Snapshot,
    /// Updates with the clock read at each.
    Latency,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Load::Rmw => "rmw",
            Load::Rmw100 => "rmw-100",
            Load::Miss => "miss",
            Load::Append => "append",
            Load::MapScan => "map-scan",
            Load::Snapshot => "snapshot",
            Load::Latency => "latency",
        }
    }

    /// Bytes of a value.
    fn value_bytes(self) -> usize {
        match self {
            Load::Rmw100 => 100,
            Load::Append | Load::MapScan => super::store::ITEM_BYTES,
            _ => 8,
        }
    }

    /// Bytes of all keys and values once there are so many.
    pub(super) fn data_bytes(self, keys: u64) -> u64 {
        keys * (KEY_BYTES + self.value_bytes() as u64)
    }
}

const KEY_BYTES: u64 = size_of::<u64>() as u64;

/// One run of a load.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) load: Load,
    pub(super) backend: &'static str,
    pub(super) keys: u64,
    pub(super) dist: Dist,
    pub(super) batch: usize,
    /// How long a phase lasts that is not over when all is done.
    pub(super) time: Duration,
    pub(super) place: Place,
}

/// Runs a load on a store of the family. What each phase had to say goes to `report` when it is over.
pub(super) fn run<F: Family>(plan: &Plan, report: &mut dyn FnMut(Outcome) -> Result<()>) -> Result<()> {
    let mut bench = Bench { plan, written_before: written_by_process(), report };
    match plan.load {
        Load::Rmw => counters::rmw(&mut bench, F::Counters::<8>::open(&plan.place)?, Clocked::Some),
        Load::Rmw100 => counters::rmw(&mut bench, F::Counters::<100>::open(&plan.place)?, Clocked::Some),
        Load::Miss => counters::miss(&mut bench, F::Counters::<8>::open(&plan.place)?),
        Load::Snapshot => counters::snapshot(&mut bench, F::Counters::<8>::open(&plan.place)?),
        Load::Latency => counters::rmw(&mut bench, F::Counters::<8>::open(&plan.place)?, Clocked::All),
        Load::Append => lists::append(&mut bench, F::Lists::open(&plan.place)?),
        Load::MapScan => maps::scan(&mut bench, F::Maps::open(&plan.place)?),
    }
}

/// A run that is under way.
struct Bench<'a> {
    plan: &'a Plan,
    written_before: u64,
    report: &'a mut dyn FnMut(Outcome) -> Result<()>,
}

impl Bench<'_> {
    fn meter(&self, clocked: Clocked) -> Meter {
        Meter::new(self.plan.batch, clocked)
    }

    fn report(&mut self, phase: &'static str, meter: &Meter, seen: Seen) -> Result<()> {
        let plan = self.plan;
        (self.report)(Outcome {
            engine: "thalweg",
            version: env!("CARGO_PKG_VERSION"),
            backend: plan.backend,
            load: plan.load.name(),
            phase,
            keys: plan.keys,
            value_bytes: plan.load.value_bytes(),
            dist: plan.dist,
            batch: plan.batch,
            memory_budget_bytes: plan.place.memory_budget_bytes,
            cost: Cost::of(meter),
            seen,
            peak_rss_bytes: peak_rss_bytes().unwrap_or(0),
        })
    }

    /// Waits until the store has written and compacted all, and looks what that is. `given` is how many values it was given.
    /// `None` if it keeps nothing in files.
    fn settle(&self, store: &mut impl Store, given: u64) -> Result<Option<Storage>> {
        store.settle()?;
        if !store.is_in_files() {
            return Ok(None);
        }
        let disk_bytes = bytes_below(&self.plan.place.dir)?;
        let written_bytes = written_by_process() - self.written_before;
        let load = self.plan.load;
        Ok(Some(Storage {
            written_bytes,
            write_amplification: written_bytes as f64 / load.data_bytes(given) as f64,
            disk_bytes,
            space_amplification: disk_bytes as f64 / load.data_bytes(self.plan.keys) as f64,
        }))
    }
}

/// Keys that come in their own order, each once.
fn each_once(mut keys: impl Iterator<Item = u64>) -> impl FnMut() -> Option<Record> {
    move || keys.next().map(Record::new)
}

/// For a phase that is over when all is done.
fn to_the_end<S>(_: &mut S, _: Duration) -> Result<bool> {
    Ok(true)
}

/// For a phase that takes this long.
fn for_time<S>(time: Duration) -> impl FnMut(&mut S, Duration) -> Result<bool> {
    move |_, elapsed| Ok(elapsed < time)
}

/// Bytes that the process has given to `write`, since it began. 0 where the kernel does not say.
fn written_by_process() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

/// What the files in a folder take on the disk.
fn bytes_below(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            // A thread behind the store has removed it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
