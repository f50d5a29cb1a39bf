//! Goal: a job whose state is in files gives what it gives with its state in memory.
//!
//! Method: jobs that share each core's store, against what is computed here, in the simulator with many seeds and once on the runtime;
//! with so little memory for tables that they are written all the time, and keys that come again when they are cold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thalweg::testing::{Simulator, seeds};
use thalweg::{
    Backend, Collector, Env, JobResult, KeyedContext, KeyedProcessFunction, LsmBackend, LsmOptions,
    OpenContext, Result, TimeWindow, Timestamp, Tumbling, ValueState, monotonous,
};

const RECORDS: u64 = 10_000;
const KEYS: u64 = 1_501;

/// An environment with so little memory for tables that hardly anything stays there.
fn env() -> Env {
    let options = LsmOptions { memory_bytes: 4 << 20, table_share: 0.005, runs_max: 2, ..LsmOptions::nvme() };
    Env::new().parallelism(2).backend(Backend::Lsm(LsmBackend::new(std::env::temp_dir()).options(options)))
}

/// Runs the job over files, with some KiB of memory for tables, and checks what it gives.
fn check(run: impl FnOnce(&Env) -> Result<JobResult>) -> JobResult {
    let env = env();
    let counts = env.generate(RECORDS, |n| n).key_by(|n| n % KEYS).count().collect();
    let pairs = env.generate(RECORDS, |n| (n % KEYS, n));
    let sums = pairs.key_by(|pair: &(u64, u64)| pair.0).sum(|pair| &mut pair.1).collect();
    let result = run(&env).expect("the job runs");

    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, count) in counts.take() {
        let before = seen.insert(key, count).unwrap_or(0);
        assert_eq!(count, before + 1, "key {key}");
    }
    assert_eq!(seen.values().sum::<u64>(), RECORDS);
    let mut greatest: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, sum) in sums.take() {
        let before = greatest.insert(key, sum);
        assert!(before <= Some(sum), "key {key}: {sum} after {before:?}"); // One of them is 0.
    }
    for (key, sum) in greatest {
        assert_eq!(sum, (key..RECORDS).step_by(KEYS as usize).sum::<u64>(), "key {key}");
    }
    result
}

#[test]
fn state_in_files_is_state_in_memory() {
    let put_aside = std::cell::Cell::new(0);
    seeds(60, |seed| {
        let result = check(|env| Simulator::new(seed).run(env));
        put_aside.set(put_aside.get() + result.buffers_put_aside);
    });
    assert!(put_aside.get() > 60, "{} buffers put aside", put_aside.get());
}

#[test]
fn helper_threads_write_state_and_bring_it_in() {
    check(Env::execute);
}

/// Record n, at 4 n ms, sets two alarms: one for now, which takes every third of the others back, and one far in the future.
#[derive(Clone)]
struct Alarms;

fn far_alarm_of(n: u64) -> Timestamp {
    (4 * (n + 2_000 * (n % 3 + 1)) + 1) as Timestamp
}

impl KeyedProcessFunction<u64, u64> for Alarms {
    type Out = (u64, Timestamp, u64);
    type State = ValueState<u64, u64>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        cx.value("fired")
    }

    fn process(
        &mut self,
        n: &rkyv::rend::u64_le,
        _: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        cx.register_event_timer(4 * n.to_native() as Timestamp);
        cx.register_event_timer(far_alarm_of(n.to_native()));
    }

    fn on_timer(
        &mut self,
        at: Timestamp,
        fired: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        if at % 4 == 0 {
            let n = at as u64 / 4;
            if n.is_multiple_of(3) {
                cx.delete_event_timer(far_alarm_of(n));
            }
            return;
        }
        let count = fired.update_with(
            cx.at(),
            || 0,
            |count| {
                *count += 1;
                *count
            },
        );
        let key = *cx.at().key;
        cx.collect(&(key, at, count));
    }
}

/// Timers that are far in the future, and are read from files when they fall due, fire once each, and in order for each key.
fn check_timers(run: impl FnOnce(&Env) -> Result<JobResult>) {
    let env = env();
    let times = env.generate(RECORDS, |n| n).watermarks(monotonous().by(|n: &u64| 4 * *n as Timestamp));
    let fired = times.key_by(|n| n % KEYS).process(Alarms).collect();
    run(&env).expect("the job runs");

    let mut expected: BTreeMap<u64, BTreeSet<Timestamp>> = BTreeMap::new();
    for n in (0..RECORDS).filter(|n| !n.is_multiple_of(3)) {
        expected.entry(n % KEYS).or_default().insert(far_alarm_of(n));
    }
    let mut got: BTreeMap<u64, Vec<Timestamp>> = BTreeMap::new();
    for (key, at, count) in fired.take() {
        let of_key = got.entry(key).or_default();
        of_key.push(at);
        assert_eq!(of_key.len() as u64, count, "key {key}");
    }
    for (key, expected) in expected {
        assert!(got.remove(&key).unwrap_or_default().into_iter().eq(expected), "key {key}");
    }
    assert!(got.is_empty(), "{got:?}");
}

#[test]
fn timers_in_files_are_timers_in_memory() {
    seeds(40, |seed| {
        check_timers(|env| Simulator::new(seed).run(env));
    });
}

#[test]
fn helper_threads_write_timers_and_bring_them_in() {
    check_timers(Env::execute);
}

/// Windows that keep their records, and a join of windows.
fn check_windows(run: impl FnOnce(&Env) -> Result<JobResult>) {
    const SIZE: u64 = 2_000;
    let env = env();
    let times = || env.generate(RECORDS, |n| n).watermarks(monotonous().by(|n: &u64| *n as Timestamp));
    let size = Tumbling::of(Duration::from_millis(SIZE));
    let lists =
        |key: &u64, window: TimeWindow, records: &[u64], out: &mut Collector<(u64, Timestamp, u64)>| {
            out.collect((*key, window.start, records.iter().sum()));
        };
    let sums = times().key_by(|n| n % KEYS).window(size).process_with(lists).collect();
    let pairs = times()
        .join(times())
        .on(|n| n % KEYS, |n| n % KEYS)
        .window(size)
        .apply(|a, b| a * 1_000_000 + b)
        .collect();
    run(&env).expect("the job runs");

    let windows = (0..RECORDS).map(|n| ((n % KEYS, n / SIZE), n));
    let mut records: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    windows.for_each(|(window, n)| records.entry(window).or_default().push(n));
    let mut sums = sums.take();
    sums.sort_unstable();
    let expected = records
        .iter()
        .map(|((key, window), all)| (*key, (window * SIZE) as Timestamp, all.iter().sum::<u64>()));
    assert!(sums.into_iter().eq(expected));
    let mut pairs = pairs.take();
    pairs.sort_unstable();
    let all =
        records.values().flat_map(|all| all.iter().flat_map(|a| all.iter().map(move |b| a * 1_000_000 + b)));
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable();
    assert_eq!(pairs, all);
}

#[test]
fn windows_in_files_are_windows_in_memory() {
    seeds(8, |seed| check_windows(|env| Simulator::new(seed).run(env)));
    check_windows(Env::execute);
}
