//! Runs are repeatable, and what fails or hangs is said.

use super::*;
use crate::api::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::operator::output::Output;
use crate::testing::script;

fn sums(env: &Env) -> crate::Collected<u64> {
    env.generate(500, |n| n).key_by(|n| n % 7).sum(|n| n).rebalance().owned().collect()
}

/// Goal: the same seed is the same run, to the last byte; another seed is another run.
#[test]
fn a_seed_is_a_run() {
    let run = |seed| {
        let env = Env::new().parallelism(3);
        let sums = sums(&env);
        let mut job = Simulator::new(seed).start(&env).unwrap();
        let result = job.run_to_end().unwrap();
        (job.trace_hash(), result, sums.take())
    };
    let hashes: Vec<u64> = (0..20).map(|seed| run(seed).0).collect();
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
        assert_eq!(run(seed).0, hashes[seed as usize]);
    }
    let mut distinct = hashes;
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 20);
}

#[test]
fn a_panic_fails_the_job() {
    let env = Env::new().parallelism(2);
    let stream = env.generate(100, |n| n).rebalance().owned();
    stream.map(|n| if *n == 50 { std::panic::resume_unwind(Box::new("fifty")) } else { *n }).blackhole();
    let mut job = Simulator::new(1).start(&env).unwrap();
    for _ in 0..2 {
        let error = job.run_to_end().unwrap_err();
        assert!(matches!(&error, Error::Panic { message, .. } if message == "fifty"), "{error}");
    }
    assert!(!job.is_finished());
}

#[test]
fn a_job_that_comes_to_rest_says_what_waits() {
    let env = Env::new().parallelism(1);
    let (input, source) = script::<u64>();
    env.source("script", source).rebalance().blackhole();
    input.record(1, 1);
    let error = Simulator::new(7).run(&env).unwrap_err().to_string();
    assert!(error.starts_with("simulation with seed 7: the job has come to rest"), "{error}");
    assert!(error.contains("subtask 0 of Source: script waits for its source"), "{error}");
    assert!(error.contains("subtask 0 of Exchange -> Blackhole waits for input"), "{error}");
}

#[test]
fn a_run_is_bounded() {
    let env = Env::new().parallelism(1);
    env.generate(u64::MAX, |n| n).blackhole();
    let error = Simulator::new(7).ticks_max(1000).run(&env).unwrap_err().to_string();
    assert!(error.contains("the job takes too long (tick 1000"), "{error}");
}

#[derive(Clone)]
struct Threaded;

impl Source for Threaded {
    type Item = u64;
    type Reader = Threaded;

    fn reader(&self, cx: &SourceContext) -> Result<Threaded> {
        let _wakes_this_core = cx.bell();
        Ok(Threaded)
    }
}

impl SourceReader for Threaded {
    type Item = u64;

    fn poll<N: Output<u64>>(&mut self, _out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        Ok(SourceStatus::End)
    }
}

#[test]
fn a_source_with_a_thread_is_refused() {
    let env = Env::new().parallelism(1);
    env.source("threaded", Threaded).blackhole();
    let error = Simulator::new(0).run(&env).unwrap_err().to_string();
    assert!(error.contains("Source: threaded") && error.contains("a thread of its own"), "{error}");
    env.execute().unwrap();
}
