//! Goal: state that is not in memory changes when records are processed, never in which order or with what result.
//!
//! Method: jobs over a state that is cold for most keys, in the simulator with many seeds and once on the runtime; and single
//! buffers that are held back until a test lets them go.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cold::{Cold, Loss};
use super::files::InFiles;
use crate::api::chain::{Connected, OneInputFactory};
use crate::api::stream::Stream;
use crate::testing::{Event, Recorder, RunningJob, Script, Simulator, script, seeds};
use crate::{Env, Error, MAX_WATERMARK, monotonous};

const RECORDS: u64 = 2_000;
const KEYS: u64 = 23;
const CORES: u64 = 3;

type Counted = Vec<(u64, u64, u64)>;

/// Counts `RECORDS` numbers by key. Subtask n of the source makes those that are n modulo `CORES`, in ascending order.
fn count<F>(env: &Env, factory: F) -> impl Fn() -> Counted + use<F>
where
    F: OneInputFactory<u64, u64, Out = (u64, u64, u64)>,
{
    let numbers = env.generate(RECORDS, |n| n).watermarks(monotonous().by(|n: &u64| *n as i64));
    let counts = numbers.key_by(|n| n % KEYS).operator("Count", factory).collect();
    move || counts.take()
}

/// Whether nothing is lost or counted twice, and the records of each key and channel are in order.
#[track_caller]
fn check(counted: Counted) {
    assert_eq!(counted.len() as u64, RECORDS);
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for (key, number, count) in counted {
        let before = counts.insert(key, count).unwrap_or(0);
        assert_eq!(count, before + 1, "key {key}");
        let before = last.insert((key, number % CORES), number);
        assert!(before < Some(number), "key {key}: {number} after {before:?}");
    }
}

#[test]
fn order_and_results_stay_whatever_is_cold() {
    let (put_aside, stalls) = (Cell::new(0), Cell::new(0));
    seeds(600, |seed| {
        let env = Env::new().parallelism(CORES as usize);
        let capacity = [2, 5, 8, 100][seed as usize % 4];
        let cold = Cold { flush_updates: 50, stall_updates: 51 + seed % 100, ..Cold::new(capacity) };
        let counted = count(&env, cold.clone());
        let result = Simulator::new(seed).run(&env).unwrap();
        check(counted());
        assert!(result.buffers_put_aside > 0, "{result:?}");
        if capacity == 100 {
            assert_eq!(
                cold.blocking_reads.load(Ordering::Relaxed),
                0,
                "what fits in memory is never waited for"
            );
        }
        put_aside.set(put_aside.get() + result.buffers_put_aside);
        stalls.set(stalls.get() + result.stalls);
    });
    println!("{} buffers put aside, {} stalls", put_aside.get(), stalls.get());
    assert!(put_aside.get() > 10_000 && stalls.get() > 100);
}

#[test]
fn a_run_with_cold_state_can_be_repeated() {
    let trace = |seed| {
        let env = Env::new().parallelism(CORES as usize);
        let counted = count(&env, Cold { flush_updates: 50, ..Cold::new(5) });
        let mut job = Simulator::new(seed).start(&env).unwrap();
        job.run_to_end().unwrap();
        (job.trace_hash(), counted())
    };
    seeds(10, |seed| assert_eq!(trace(seed), trace(seed)));
}

#[test]
fn helper_threads_bring_cold_state_in() {
    let env = Env::new().parallelism(CORES as usize).buffer_bytes(1 << 10).batch_records(16);
    let counted = count(&env, Cold { flush_updates: 50, stall_updates: 80, ..Cold::new(8) });
    let result = env.execute().unwrap();
    check(counted());
    assert!(result.buffers_put_aside > 0, "{result:?}");
}

#[test]
fn counts_in_files_are_those_in_memory() {
    let (put_aside, blocking_reads) = (Cell::new(0), Arc::default());
    seeds(200, |seed| {
        let env = Env::new().parallelism(CORES as usize);
        let freeze_steps = [1, 7, 40][seed as usize % 3];
        let counted = count(&env, InFiles { freeze_steps, blocking_reads: Arc::clone(&blocking_reads) });
        let result = Simulator::new(seed).run(&env).unwrap();
        check(counted());
        put_aside.set(put_aside.get() + result.buffers_put_aside);
    });
    let blocking_reads = blocking_reads.load(Ordering::Relaxed);
    println!("{} buffers put aside, {blocking_reads} blocking reads", put_aside.get());
    assert!(put_aside.get() > 200 && blocking_reads < put_aside.get() / 4);
}

#[test]
fn helper_threads_keep_counts_in_files() {
    let env = Env::new().parallelism(CORES as usize).buffer_bytes(1 << 10).batch_records(16);
    let counted = count(&env, InFiles { freeze_steps: 20, blocking_reads: Arc::default() });
    env.execute().unwrap(); // Whether a buffer is put aside is a matter of who is faster.
    check(counted());
}

/// An operator with two channels, one from each script, on one core.
struct TwoChannels {
    left: Script<u64>,
    right: Script<u64>,
    seen: Recorder<(u64, u64, u64)>,
    job: RunningJob,
}

impl TwoChannels {
    /// Records are their own keys.
    fn new(seed: u64, cold: Cold) -> Self {
        let env = Env::new().parallelism(1);
        let (left, left_source) = script();
        let (right, right_source) = script();
        let seen = Recorder::new();
        let (_, a) = env.source("left", left_source).key_by(|n: &u64| *n).send();
        let (_, b) = env.source("right", right_source).key_by(|n: &u64| *n).send();
        let both = Stream::begin(env.clone(), Connected::new(&[a], &[b], cold), "Cold", &[a, b], None);
        both.sink("seen", seen.clone());
        Self { left, right, seen, job: Simulator::new(seed).start(&env).unwrap() }
    }

    /// What has come out: the records' values and the watermarks, as `5 7 W3`.
    #[track_caller]
    fn expect(&mut self, expected: &str) {
        self.job.run_until_quiet().unwrap();
        let text = |event| match event {
            Event::Record((_, value, _), _) => format!("{value}"),
            Event::Watermark(MAX_WATERMARK) => "End".to_owned(),
            Event::Watermark(watermark) => format!("W{watermark}"),
        };
        let seen: Vec<String> = self.seen.take().into_iter().map(text).collect();
        assert_eq!(seen.join(" "), expected);
    }
}

#[test]
fn a_channel_that_waits_for_state_holds_up_no_other() {
    seeds(300, |seed| {
        let slow = Some((7, Duration::from_secs(1)));
        let mut channels = TwoChannels::new(seed, Cold { slow, ..Cold::new(100) });
        channels.left.record(1, 10);
        channels.expect("1");
        channels.left.record(7, 11); // The slow one.
        channels.expect("");
        channels.left.record(2, 12);
        channels.left.watermark(15);
        channels.right.record(3, 20);
        channels.expect("3"); // The other channel goes on, the left one keeps its order.
        channels.right.watermark(30);
        channels.right.record(4, 31);
        channels.right.end();
        channels.expect("4"); // The watermark is held back.
        channels.left.end();
        channels.expect("");
        assert!(!channels.job.is_finished());
        channels.job.advance_clock_to(999).unwrap();
        channels.expect("");
        channels.job.advance_clock_to(1_000).unwrap();
        channels.expect("7 2 W15 End");
        assert!(channels.job.is_finished());
        assert!(channels.job.result().buffers_put_aside >= 2);
    });
}

#[test]
fn timers_and_the_clock_go_on_while_a_buffer_waits() {
    // A job whose only channel waits comes to rest, and goes on by itself: no step is missing that would wake it.
    seeds(100, |seed| {
        let slow = Some((7, Duration::from_secs(3)));
        let mut channels = TwoChannels::new(seed, Cold { slow, ..Cold::new(100) });
        channels.left.record(7, 1);
        channels.left.end();
        channels.right.end();
        channels.job.run_to_end().unwrap();
        assert!(channels.job.clock() >= 3_000);
        channels.expect("7 End");
    });
}

#[test]
fn a_core_that_is_stalled_takes_no_input() {
    seeds(100, |seed| {
        // Nothing is flushed before there are 3 updates, and nothing is taken while there are 2: it would never end.
        let env = Env::new().parallelism(1);
        let (input, source) = script();
        let seen = Recorder::new();
        let cold = Cold { flush_updates: 3, stall_updates: 2, ..Cold::new(100) };
        env.source("script", source).key_by(|n: &u64| *n).operator("Cold", cold).sink("seen", seen.clone());
        let mut job = Simulator::new(seed).start(&env).unwrap();
        for n in 0..5 {
            input.record(n, 0);
            job.run_until_quiet().unwrap();
        }
        assert_eq!(seen.take_records().len(), 2);
        assert_eq!(job.result().stalls, 1);
    });
}

#[test]
fn what_a_read_meets_fails_the_job() {
    for (loss, expected) in [
        (Loss::Fault, "the state of core 0: key 5 is lost"),
        (Loss::Panic, "the state of core 0: work in the background panicked: the disk is on fire"),
    ] {
        let env = || {
            let env = Env::new().parallelism(1);
            let _counted = count(&env, Cold { lost: Some((5, loss)), ..Cold::new(100) });
            env
        };
        let check = |error: Error| assert_eq!(error.to_string(), expected);
        seeds(20, |seed| check(Simulator::new(seed).run(&env()).unwrap_err()));
        check(env().execute().unwrap_err());
    }
}

#[test]
fn a_job_that_ends_waits_for_no_work() {
    // A read that would take an hour is dropped.
    let env = Env::new().parallelism(1);
    let counted =
        count(&env, Cold { read_steps: 1, slow: Some((5, Duration::from_secs(3600))), ..Cold::new(100) });
    let job = env.execute_async().unwrap();
    job.client().cancel();
    assert!(matches!(job.wait(), Err(Error::Cancelled)));
    assert!(counted().len() < RECORDS as usize);
}
