//! A job that is told to stop, or to give up, while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use thalweg::testing::{Recorder, Simulator, script, seeds};
use thalweg::{
    Count, Env, Error, IdleStrategy, Output, Result, Source, SourceContext, SourceOutput, SourceReader,
    SourceStatus, Tumbling, monotonous,
};

const WINDOW: Duration = Duration::from_millis(10);

/// Nothing, without end: its core sleeps until someone rings.
#[derive(Clone)]
struct Silent;

impl Source for Silent {
    type Item = u64;
    type Reader = Silent;

    fn reader(&self, _: &SourceContext) -> Result<Silent> {
        Ok(Silent)
    }
}

impl SourceReader for Silent {
    type Item = u64;

    fn poll<N: Output<u64>>(&mut self, _: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        Ok(SourceStatus::Waiting { until: None })
    }
}

/// Goal: a stopped source ends as if its input had, so that windows fire which no watermark had reached.
#[test]
fn stop_fires_what_is_open() {
    seeds(50, |seed| {
        let env = Env::new().parallelism(1);
        let (input, source) = script::<i64>();
        let counts = Recorder::new();
        env.source("script", source)
            .watermarks(monotonous())
            .key_by(|_| ())
            .window(Tumbling::of(WINDOW))
            .aggregate(Count)
            .map(|count| count.value)
            .sink("counts", counts.clone());
        let mut job = Simulator::new(seed).start(&env).unwrap();
        for n in 0..25 {
            input.record(n, n);
        }
        job.run_until_quiet().unwrap();
        assert_eq!(counts.take_records(), [10, 10]);
        job.stop();
        job.run_to_end().unwrap();
        assert_eq!(counts.take_records(), [5]);
        assert!(job.is_finished());
    });
}

#[test]
fn a_cancelled_simulation_fails() {
    let env = Env::new().parallelism(2);
    env.generate(u64::MAX, |n| n).key_by(|n| n % 7).count().blackhole();
    let mut job = Simulator::new(1).start(&env).unwrap();
    job.cancel();
    assert!(matches!(job.run_to_end(), Err(Error::Cancelled)));
}

/// Goal: on the runtime, all that stopped sources gave is counted, whenever the command comes.
#[test]
fn stop_loses_nothing() {
    for pause_ms in [0, 1, 20] {
        let given = Arc::new(AtomicU64::new(0));
        let counter = given.clone();
        let env = Env::new().parallelism(2);
        let counts = env
            .generate(u64::MAX, move |n| {
                counter.fetch_add(1, Ordering::Relaxed);
                n
            })
            .watermarks(monotonous().by(|n: &u64| (n >> 10) as i64))
            .key_by(|n| n % 7)
            .window(Tumbling::of(WINDOW))
            .aggregate(Count)
            .map(|count| count.value)
            .collect();
        let job = env.execute_async().unwrap();
        thread::sleep(Duration::from_millis(pause_ms));
        job.client().stop();
        job.client().stop(); // Once more changes nothing.
        job.wait().unwrap();
        assert_eq!(counts.take().iter().sum::<u64>(), given.load(Ordering::Relaxed));
    }
}

/// Goal: commands wake cores that sleep.
#[test]
fn sleeping_cores_listen() {
    for idle in [IdleStrategy::Park, IdleStrategy::Balanced, IdleStrategy::Spin] {
        let silent = || {
            let env = Env::new().parallelism(2).idle_strategy(idle);
            env.source("silent", Silent).key_by(|n| *n).count().blackhole();
            let job = env.execute_async().unwrap();
            thread::sleep(Duration::from_millis(5));
            job
        };
        let stopped = silent();
        stopped.client().stop();
        stopped.wait().unwrap();
        let cancelled = silent();
        cancelled.client().cancel();
        assert!(matches!(cancelled.wait(), Err(Error::Cancelled)));
    }
}

/// Goal: a job whose handle is dropped runs to its end. Method: all that it reads comes after that. The channel ends when the last
/// of its subtasks is gone, so that a job which gave up would be seen as missing records, not as a test that never ends.
#[test]
fn a_dropped_handle_leaves_the_job_alone() {
    let (input, source) = script::<u64>();
    let (sums, received) = mpsc::channel();
    let env = Env::new().parallelism(2);
    let stream = env.source("script", source).key_by(|_| ()).sum(|n| n);
    stream.map(move |sum| sums.send(*sum).unwrap()).blackhole();
    drop(env.execute_async().unwrap());
    drop(env);
    (1..=1000).for_each(|n| input.record(n, 0));
    input.end();
    assert!(received.iter().eq((1..=1000).map(|n| n * (n + 1) / 2)));
}
