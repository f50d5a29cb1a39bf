//! From a job to a cost per record.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use thalweg::Env;

use crate::Digest;

/// One run of a job.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// While records flowed.
    pub elapsed: Duration,
    /// Of the result.
    pub digest: Digest,
}

/// Runs a job over a number of records.
pub type Job = fn(u64) -> Run;

/// Whether the benches only show that they run: `cargo test` does not say `--bench`.
fn is_test() -> bool {
    let mut args = std::env::args();
    let is_bench = args.any(|arg| arg == "--bench");
    !is_bench || std::env::args().any(|arg| arg == "--test")
}

/// How many records the run has whose digest is printed and compared.
pub fn checked_records() -> u64 {
    if is_test() { 1000 } else { 100_000 }
}

/// The fewest records that a timed run has: what a job costs apart from its records must not count.
pub fn timed_records_min() -> u64 {
    if is_test() { 1000 } else { 2_000_000 }
}

/// Few samples of long runs.
pub fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args()
}

/// Times a job by its number of records, and returns the digest of its result over [`checked_records`].
///
/// `records_min` is how many a timed run must have at least; see [`timed_records_min`].
pub fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: impl Display,
    records_min: u64,
    mut job: impl FnMut(u64) -> Run,
) -> Digest {
    let digest = job(checked_records()).digest;
    println!("{name}: {digest}");
    group.bench_function(name.to_string(), |bencher| {
        bencher.iter_custom(|iterations| {
            let records = iterations.max(records_min);
            job(records).elapsed.mul_f64(iterations as f64 / records as f64)
        });
    });
    digest
}

/// Executes a job that ends in a [`crate::DigestSink`].
pub fn run(env: &Env, digest: &Mutex<Digest>) -> Run {
    let result = env.execute().expect("a bench's job runs");
    Run { elapsed: result.elapsed, digest: *digest.lock().unwrap_or_else(PoisonError::into_inner) }
}
