//! How the work of a store is timed.
//!
//! ```text
//!   draw 16 batches ─▶ ┌ work, prepare, access × 512 ┐ × 16 ─▶ draw …
//!     no clock runs    └──── the time of a batch ────┘
//! ```
//!
//! Keys are drawn while no clock runs. In one group of batches of eight the clock is read at each access; such a group counts for the times of
//! single accesses and for nothing else, as reading the clock takes longer than many an access.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use super::keys::Record;
use super::store::Store;
use crate::bench::latency::percentiles::Times;
use crate::report::CpuTime;

/// Batches that are drawn at once.
const GROUP_BATCHES: usize = 16;
/// One group of so many has a clock in it.
const CLOCKED_EVERY: u64 = 8;
/// How far ahead of an access its memory is asked for, in records; as the engine does.
const FETCH_AHEAD_RECORDS: usize = 16;

/// Which groups have the clock read at each access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clocked {
    /// One of eight.
    Some,
    /// All.
    All,
}

/// What some accesses have cost.
pub(super) struct Meter {
    batch: usize,
    clocked: Clocked,
    groups: u64,
    /// All that were made.
    pub(super) operations: u64,
    /// Those that the times and costs are of.
    counted: u64,
    busy: Duration,
    caller_cpu: Duration,
    /// CPU time of all threads but the caller's, over all operations.
    others_cpu: Duration,
    pub(super) batches: Times,
    /// Each access with its share of its batch's preparation; the first of a batch with the work between batches too.
    pub(super) accesses: Times,
}

impl Meter {
    /// For batches of so many records, at least 1.
    pub(super) fn new(batch: usize, clocked: Clocked) -> Self {
        Self {
            batch,
            clocked,
            groups: 0,
            operations: 0,
            counted: 0,
            busy: Duration::ZERO,
            caller_cpu: Duration::ZERO,
            others_cpu: Duration::ZERO,
            batches: Times::new(),
            accesses: Times::new(),
        }
    }

    /// Runs batches of drawn records until there are no more, or `go_on`, which is told how long it took so far, says so.
    ///
    /// Errors: the first of any.
    pub(super) fn run<S: Store>(
        &mut self,
        store: &mut S,
        mut draw: impl FnMut() -> Option<Record>,
        mut go_on: impl FnMut(&mut S, Duration) -> Result<bool>,
        mut access: impl FnMut(&mut S, usize, Record) -> Result<()>,
    ) -> Result<()> {
        let group = self.batch * GROUP_BATCHES;
        let mut records = Vec::with_capacity(group);
        let (began, process_cpu, caller_cpu) = (Instant::now(), CpuTime::now(), caller_cpu_time());
        while go_on(store, began.elapsed())? {
            records.clear();
            records.extend(std::iter::from_fn(&mut draw).take(group));
            if records.is_empty() {
                break;
            }
            self.operations += records.len() as u64;
            self.groups += 1;
            if self.clocked == Clocked::All || self.groups.is_multiple_of(CLOCKED_EVERY) {
                self.run_clocked(store, &records, &mut access)?;
            } else {
                self.run_counted(store, &records, &mut access)?;
            }
        }
        let all = process_cpu.elapsed();
        self.others_cpu += all.saturating_sub(caller_cpu_time().saturating_sub(caller_cpu));
        Ok(())
    }

    fn run_counted<S: Store>(
        &mut self,
        store: &mut S,
        records: &[Record],
        access: &mut impl FnMut(&mut S, usize, Record) -> Result<()>,
    ) -> Result<()> {
        let (began, caller_cpu) = (Instant::now(), caller_cpu_time());
        let mut last = began;
        for batch in records.chunks(self.batch) {
            store.work()?;
            store.prepare(batch)?;
            access_all(store, batch, access)?;
            let now = Instant::now();
            self.batches.record((now - last).as_nanos() as u64);
            last = now;
        }
        self.counted += records.len() as u64;
        self.busy += last - began;
        self.caller_cpu += caller_cpu_time().saturating_sub(caller_cpu);
        Ok(())
    }

    fn run_clocked<S: Store>(
        &mut self,
        store: &mut S,
        records: &[Record],
        access: &mut impl FnMut(&mut S, usize, Record) -> Result<()>,
    ) -> Result<()> {
        for batch in records.chunks(self.batch) {
            let began = Instant::now();
            store.work()?;
            let worked = Instant::now();
            store.prepare(batch)?;
            let mut last = Instant::now();
            let share = (last - worked) / batch.len() as u32;
            let mut extra = (worked - began) + share;
            access_all(store, batch, &mut |store, at, record| {
                access(store, at, record)?;
                let now = Instant::now();
                self.accesses.record((now - last + extra).as_nanos() as u64);
                (last, extra) = (now, share);
                Ok(())
            })?;
            if self.clocked == Clocked::All {
                self.batches.record((last - began).as_nanos() as u64);
                self.counted += batch.len() as u64;
                self.busy += last - began;
            }
        }
        Ok(())
    }

    /// Time on the clock for what is counted, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.busy.as_secs_f64()
    }

    pub(super) fn ops_per_s(&self) -> f64 {
        self.counted as f64 / self.seconds()
    }

    /// CPU time of the calling thread for each operation. `None` where the clock is read at each.
    pub(super) fn caller_cpu_ns_per_op(&self) -> Option<f64> {
        let is_known = self.clocked == Clocked::Some && self.counted > 0;
        is_known.then(|| self.caller_cpu.as_secs_f64() * 1e9 / self.counted as f64)
    }

    /// The same with what other threads did meanwhile.
    pub(super) fn process_cpu_ns_per_op(&self) -> Option<f64> {
        let others = self.others_cpu.as_secs_f64() * 1e9 / self.operations as f64;
        self.caller_cpu_ns_per_op().map(|caller| caller + others)
    }
}

#[inline(always)]
fn access_all<S: Store>(
    store: &mut S,
    batch: &[Record],
    access: &mut impl FnMut(&mut S, usize, Record) -> Result<()>,
) -> Result<()> {
    batch.iter().take(FETCH_AHEAD_RECORDS).for_each(|&record| store.fetch(record));
    for (at, &record) in batch.iter().enumerate() {
        if let Some(&soon) = batch.get(at + FETCH_AHEAD_RECORDS) {
            store.fetch(soon);
        }
        access(store, at, record)?;
    }
    Ok(())
}

fn caller_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
