//! How the work of a store is timed.
//!
//! ```text
//!   draw 16 batches ─▶ ┌ work, prepare, access × 512 ┐ × 16 ─▶ draw …
//!     no clock runs    └──── the time of a batch ────┘
//! ```
//!
//! The batches of a group are as from a few channels: one whose state is still on its way from the disk waits, while others go on. The
//! time of a batch is from the end of the one before to its own.
//!
//! Keys are drawn while no clock runs. In one group of batches of eight the clock is read at each access; such a group counts for the times of
//! single accesses and for nothing else, as reading the clock takes longer than many an access.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use super::keys::Record;
use super::store::Store;
use crate::bench::latency::percentiles::Times;
use crate::report::CpuTime;

/// Batches that are drawn at once, at most.
const GROUP_BATCHES_MAX: usize = 16;
/// Groups grow while they take less than this: a slow store has many groups too, some of them with a clock.
const GROUP_TIME: Duration = Duration::from_millis(1);
/// One group of so many has a clock in it.
const CLOCKED_EVERY: u64 = 8;
/// Batches that may wait for a disk at the same time. More bring in more at once, and need the memory for it.
const CHANNELS: usize = 4;
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
    group_batches: usize,
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
    /// Each access with its share of its batch's preparation; the first of a batch with all that came before.
    pub(super) accesses: Times,
}

impl Meter {
    /// For batches of so many records, at least 1.
    pub(super) fn new(batch: usize, clocked: Clocked) -> Self {
        Self {
            batch,
            clocked,
            group_batches: 1,
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
        let mut records = Vec::with_capacity(self.batch * GROUP_BATCHES_MAX);
        let (began, process_cpu, caller_cpu) = (Instant::now(), CpuTime::now(), caller_cpu_time());
        while go_on(store, began.elapsed())? {
            records.clear();
            records.extend(std::iter::from_fn(&mut draw).take(self.batch * self.group_batches));
            if records.is_empty() {
                break;
            }
            self.operations += records.len() as u64;
            self.groups += 1;
            let drawn = Instant::now();
            if self.clocked == Clocked::All || self.groups.is_multiple_of(CLOCKED_EVERY) {
                self.run_clocked(store, &records, &mut access)?;
            } else {
                self.run_counted(store, &records, &mut access)?;
            }
            if drawn.elapsed() < GROUP_TIME {
                self.group_batches = (self.group_batches * 2).min(GROUP_BATCHES_MAX);
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
        let mut waiting: VecDeque<&[Record]> = records.chunks(self.batch).collect();
        while !waiting.is_empty() {
            let (batch, _) = next_prepared(store, &mut waiting)?;
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
        let mut last = Instant::now();
        let mut waiting: VecDeque<&[Record]> = records.chunks(self.batch).collect();
        while !waiting.is_empty() {
            let began = last;
            let (batch, prepares) = next_prepared(store, &mut waiting)?;
            last = Instant::now();
            let share = (last - prepares) / batch.len() as u32;
            let mut extra = (prepares - began) + share;
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

/// The first batch of those that may wait that can be prepared, and when its preparation began. If none can, the caller waits.
fn next_prepared<'a, S: Store>(
    store: &mut S,
    waiting: &mut VecDeque<&'a [Record]>,
) -> Result<(&'a [Record], Instant)> {
    loop {
        for i in 0..waiting.len().min(CHANNELS) {
            store.work()?;
            let began = Instant::now();
            if store.prepare(waiting[i])? {
                return Ok((waiting.remove(i).expect("there are more"), began));
            }
        }
        store.wait()?;
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::bench::state::store::Place;

    const BATCH: usize = 10;

    /// A store that knows what was prepared, and refuses some batches at first.
    struct Checking {
        prepared: Vec<Record>,
        refusals_left: usize,
        waited: usize,
    }

    impl Store for Checking {
        fn open(_: &Place) -> Result<Self> {
            Ok(Self { prepared: Vec::new(), refusals_left: 0, waited: 0 })
        }

        fn prepare(&mut self, batch: &[Record]) -> Result<bool> {
            self.prepared = batch.to_vec();
            let is_refused = self.refusals_left > 0;
            self.refusals_left = self.refusals_left.saturating_sub(1);
            Ok(!is_refused)
        }

        fn wait(&mut self) -> Result<()> {
            self.waited += 1;
            Ok(())
        }
    }

    /// Accesses the keys below `count` in a store that refuses so many preparations. Returns the meter, the keys in the order in which
    /// they came, and how often the caller waited.
    fn run(count: u64, refusals: usize, clocked: Clocked) -> (Meter, Vec<u64>, usize) {
        let mut store =
            Checking::open(&Place { dir: PathBuf::new(), memory_budget_bytes: 0 }).expect("it opens nothing");
        store.refusals_left = refusals;
        let mut meter = Meter::new(BATCH, clocked);
        meter.group_batches = GROUP_BATCHES_MAX;
        let (mut left, mut keys) = (0..count, Vec::new());
        let draw = || left.next().map(Record::new);
        meter
            .run(
                &mut store,
                draw,
                |_, _| Ok(true),
                |store, at, record| {
                    assert_eq!(store.prepared[at], record);
                    keys.push(record.key);
                    Ok(())
                },
            )
            .expect("nothing fails");
        (meter, keys, store.waited)
    }

    #[test]
    fn all_records_come_in_batches_that_were_prepared() {
        let group = (BATCH * GROUP_BATCHES_MAX) as u64;
        for count in [1, 9, 10, 11, group, 20 * group + 7] {
            for clocked in [Clocked::Some, Clocked::All] {
                let (meter, keys, waited) = run(count, 0, clocked);
                assert!(keys.into_iter().eq(0..count));
                assert_eq!((meter.operations, waited), (count, 0));
                let clocked_groups = count / group / CLOCKED_EVERY; // The last group is never whole and clocked here.
                let (times, counted) = match clocked {
                    Clocked::Some => (clocked_groups * group, count - clocked_groups * group),
                    Clocked::All => (count, count),
                };
                assert_eq!((meter.accesses.percentiles().samples, meter.counted), (times, counted));
                let batches = meter.batches.percentiles().samples;
                assert_eq!(batches, counted.div_ceil(BATCH as u64));
                assert_eq!(meter.caller_cpu_ns_per_op().is_some(), clocked == Clocked::Some);
            }
        }
    }

    #[test]
    fn a_batch_that_is_not_ready_lets_others_go_first() {
        let (_, keys, waited) = run(30, 2, Clocked::Some);
        assert!(keys.into_iter().eq((20..30).chain(0..20)));
        assert_eq!(waited, 0);
        let (_, keys, waited) = run(30, 7, Clocked::All); // All twice, and one a third time.
        assert!(keys.into_iter().eq((10..20).chain(0..10).chain(20..30)));
        assert_eq!(waited, 2);
    }
}
