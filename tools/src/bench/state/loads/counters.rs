//! Counters: created, updated, read.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Bench, each_once, for_time, to_the_end};
use crate::bench::state::keys::{Draw, Permutation, Record};
use crate::bench::state::meter::{Clocked, Meter};
use crate::bench::state::outcome::{Seen, Snapshot};
use crate::bench::state::store::Counters;

/// About so many keys are counted by the bench too.
const AUDITED_KEYS: u64 = 100_000;
const SEED: u64 = 42;

pub(super) fn rmw<const BYTES: usize>(
    bench: &mut Bench<'_>,
    mut store: impl Counters<BYTES>,
    clocked: Clocked,
) -> Result<()> {
    let mut updates = Updates::create(bench, &mut store)?;
    let mut meter = bench.meter(clocked);
    updates.run(&mut meter, &mut store, for_time(bench.plan.time))?;
    let storage = bench.settle(&mut store, bench.plan.keys + meter.operations)?;
    bench.report("update", &meter, Seen { storage, ..Seen::by(&store) })?;
    updates.audit.check(bench, &mut store)
}

/// A third of the time each: calm to warm up, calm to compare with, with a snapshot.
pub(super) fn snapshot<const BYTES: usize>(
    bench: &mut Bench<'_>,
    mut store: impl Counters<BYTES>,
) -> Result<()> {
    let dir = bench.plan.place.dir.with_extension("snapshot");
    store.expect_snapshot(&dir)?;
    let mut updates = Updates::create(bench, &mut store)?;
    let third = bench.plan.time / 3;
    updates.run(&mut bench.meter(Clocked::Some), &mut store, for_time(third))?;
    let mut calm = bench.meter(Clocked::Some);
    updates.run(&mut calm, &mut store, for_time(third))?;
    bench.report("calm", &calm, Seen::by(&store))?;

    let began = Instant::now();
    if !store.start_snapshot(&dir)? {
        eprintln!("{} takes no snapshots", bench.plan.backend);
        return updates.audit.check(bench, &mut store);
    }
    let caller = began.elapsed();
    let mut done = None;
    let mut meter = bench.meter(Clocked::Some);
    updates.run(&mut meter, &mut store, |store, elapsed| {
        if done.is_none() && store.is_snapshot_done()? {
            done = Some(began.elapsed());
        }
        Ok(done.is_none() || elapsed < third)
    })?;
    let caller_ms = caller.as_secs_f64() * 1e3;
    let longest_us = meter.batches.percentiles().max_us - calm.batches.percentiles().p50_us;
    let snapshot = Snapshot {
        stall_ms: caller_ms.max(longest_us / 1e3),
        caller_ms,
        snapshot_ms: done.unwrap_or(caller).as_secs_f64() * 1e3,
    };
    bench.report("snapshot", &meter, Seen { snapshot: Some(snapshot), ..Seen::by(&store) })?;
    updates.audit.check(bench, &mut store)
}

/// The keys that are there are the even numbers.
pub(super) fn miss<const BYTES: usize>(bench: &mut Bench<'_>, mut store: impl Counters<BYTES>) -> Result<()> {
    create(bench, &mut store, |key| key * 2)?;
    store.settle()?;
    for (phase, offset, expected) in [("absent", 1, None), ("present", 0, Some(1))] {
        let mut keys = Draw::new(bench.plan.dist, bench.plan.keys, SEED);
        let mut meter = bench.meter(Clocked::Some);
        let mut wrong = 0_u64;
        meter.run(
            &mut store,
            || Some(Record::new(keys.next() * 2 + offset)),
            for_time(bench.plan.time),
            |store, at, record| {
                wrong += u64::from(store.get(at, record)? != expected);
                Ok(())
            },
        )?;
        ensure!(wrong == 0, "{wrong} of {} reads of {phase} keys gave something else", meter.operations);
        bench.report(phase, &meter, Seen::by(&store))?;
    }
    Ok(())
}

/// Gives each key its first value, in random order.
fn create<const BYTES: usize>(
    bench: &mut Bench<'_>,
    store: &mut impl Counters<BYTES>,
    key: impl Fn(u64) -> u64,
) -> Result<()> {
    let keys = bench.plan.keys;
    let order = Permutation::new(keys);
    let mut meter = bench.meter(Clocked::Some);
    let mut sum = 0;
    meter.run(store, each_once((0..keys).map(|i| key(order.at(i)))), to_the_end, |store, at, record| {
        sum += store.increment(at, record)?;
        Ok(())
    })?;
    ensure!(sum == keys, "{keys} new counters have a sum of {sum}");
    bench.report("create", &meter, Seen::by(store))
}

/// Updates of drawn keys, counted here too.
struct Updates {
    keys: Draw,
    audit: Audit,
}

impl Updates {
    fn create<const BYTES: usize>(bench: &mut Bench<'_>, store: &mut impl Counters<BYTES>) -> Result<Self> {
        create(bench, store, |key| key)?;
        let plan = bench.plan;
        Ok(Self { keys: Draw::new(plan.dist, plan.keys, SEED), audit: Audit::new(plan.keys) })
    }

    fn run<const BYTES: usize, S: Counters<BYTES>>(
        &mut self,
        meter: &mut Meter,
        store: &mut S,
        go_on: impl FnMut(&mut S, Duration) -> Result<bool>,
    ) -> Result<()> {
        let Self { keys, audit } = self;
        let draw = || {
            let key = keys.next();
            audit.note(key);
            Some(Record::new(key))
        };
        let mut lost = 0_u64;
        meter.run(store, draw, go_on, |store, at, record| {
            // A counter that was lost begins again.
            lost += u64::from(store.increment(at, record)? == 1);
            Ok(())
        })?;
        ensure!(lost == 0, "{lost} counters were lost");
        Ok(())
    }
}

/// What some of the counters must be.
struct Audit {
    /// Every so many keys.
    stride: u64,
    sums: Vec<u64>,
}

impl Audit {
    /// After each key's creation.
    fn new(keys: u64) -> Self {
        let stride = keys.div_ceil(AUDITED_KEYS).next_power_of_two();
        Self { stride, sums: vec![1; keys.div_ceil(stride) as usize] }
    }

    #[inline]
    fn note(&mut self, key: u64) {
        if key & (self.stride - 1) == 0 {
            self.sums[(key / self.stride) as usize] += 1;
        }
    }

    fn check<const BYTES: usize>(&self, bench: &Bench<'_>, store: &mut impl Counters<BYTES>) -> Result<()> {
        bench.meter(Clocked::Some).run(
            store,
            each_once((0..self.sums.len() as u64).map(|i| i * self.stride)),
            to_the_end,
            |store, at, record| {
                let (found, expected) =
                    (store.get(at, record)?, self.sums[(record.key / self.stride) as usize]);
                ensure!(found == Some(expected), "key {} was counted {found:?}, not {expected}", record.key);
                Ok(())
            },
        )
    }
}
