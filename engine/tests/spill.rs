//! Goal: a job whose state is in files gives what it gives with its state in memory.
//!
//! Method: two aggregations that share each core's store, against sums made here, in the simulator with many seeds and once on
//! the runtime; with so little memory for tables that they are written all the time, and keys that come again when they are cold.

use std::collections::BTreeMap;

use thalweg::testing::{Simulator, seeds};
use thalweg::{Backend, Env, JobResult, LsmBackend, LsmOptions, Result};

const RECORDS: u64 = 10_000;
const KEYS: u64 = 1_501;

/// Runs the job over files, with some KiB of memory for tables, and checks what it gives.
fn check(run: impl FnOnce(&Env) -> Result<JobResult>) -> JobResult {
    let options = LsmOptions { memory_bytes: 4 << 20, table_share: 0.005, runs_max: 2, ..LsmOptions::nvme() };
    let files = Backend::Lsm(LsmBackend::new(std::env::temp_dir()).options(options));
    let env = Env::new().parallelism(2).backend(files);
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
