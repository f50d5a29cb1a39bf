//! Goal: ten million timers under a budget of 64 MB.
//!
//! Method: registered in random order of time over a day, with what they take sampled from outside; then all of them fire, in order.

use std::time::Duration;

use thalweg_state::lsm::Options;
use thalweg_state::storage::Storage;
use thalweg_state::{CoreState, Key, KeyGroupRange, MaxParallelism, TimerState, WorkProgress, hash_word};

#[test]
#[ignore = "half a minute, and half a gigabyte of disk"]
fn ten_million_timers_fit_a_small_budget() {
    const TIMERS: u64 = 10_000_000;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { memory_bytes: 64 << 20, ..Options::nvme() };
    let (core, _) = CoreState::lsm(&Storage::directory(dir.path()).unwrap(), options, 1).unwrap();
    let max = MaxParallelism::default();
    let backend = core.backend("test", KeyGroupRange::all(max), max);
    let mut timers = TimerState::<u64>::new("_timers/event", &backend).unwrap();
    let started = anonymous_bytes();
    let mut peak = 0;
    let mut step = |timers: &mut TimerState<u64>| {
        core.maintain();
        timers.maintain();
        while let Some(mut work) = core.poll_work() {
            while work.step(Duration::MAX) != WorkProgress::Finished {}
            core.on_work_done(work);
        }
        timers.maintain();
        assert!(core.take_fault().is_none());
        peak = peak.max(anonymous_bytes().saturating_sub(started));
    };
    for number in 0..TIMERS {
        let (key, at) = (number % 1_000_000, (hash_word(number) % 86_400_000) as i64);
        timers.register(at, key.key_hash(), &key);
        if number % 10_000 == 0 {
            step(&mut timers);
        }
    }
    let (mut fired, mut last) = (0, 0);
    for watermark in (0..=86_400_000).step_by(60_000) {
        loop {
            if !timers.is_ready(watermark) {
                step(&mut timers);
                continue;
            }
            let Some((at, _, _)) = timers.pop_due(watermark) else { break };
            assert!(last <= at && at <= watermark);
            (fired, last) = (fired + 1, at);
        }
        step(&mut timers);
    }
    println!("{fired} timers with a peak of {} MiB", peak >> 20);
    assert!(fired > TIMERS - 100_000 && fired <= TIMERS, "{fired}"); // Some keys have several at one time.
    assert!(peak < 96 << 20, "{} MiB", peak >> 20);
    assert_eq!(core.metrics().unwrap().blocking_reads, 0);
}

/// What the process has in memory of its own, in bytes.
fn anonymous_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
