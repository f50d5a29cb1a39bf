//! How much memory things take, by an allocator that counts live bytes.
//!
//! Of whole jobs: it stays flat, as what windows and sessions kept of one pass over the data is gone, or used again, in the next. That
//! is seen in runs which chance cannot change: on the runtime with one core, and in the simulator with three. (On several real cores a source that gets more of the processor runs ahead of the others, and the windows between
//! them stay open: memory then grows with their distance, which is no leak and no two runs have the same.)

use std::sync::{Arc, Mutex, PoisonError};

use thalweg::Env;
use thalweg::testing::Simulator;
use thalweg_tests::allocations::{self, Counting};
use thalweg_tools::nexmark::job::{DigestTotal, Events};
use thalweg_tools::nexmark::queries::Query;
use thalweg_tools::nexmark::{Shard, generate_in_memory};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: the count is the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The others keep state for each key for ever, and no pass shares a key with another.
const BOUNDED: [Query; 8] =
    [Query::Q0, Query::Q1, Query::Q2, Query::Q5, Query::Q7, Query::Q8, Query::Q11, Query::Q12];

/// Events of a pass. Their keys and windows take 50 to 500 KB.
const EVENTS: u64 = 30_000;
const PASSES_FEW: u64 = 10;
const PASSES_MANY: u64 = 40;
/// What the passes from few to many may add: tables and queues still double here and there. 30 passes whose state of 50 KB stayed
/// would add three times as much.
const GROWTH_BYTES: u64 = 512 << 10;

#[test]
fn memory_stays_flat_over_passes() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    check(1, |env| env.execute().map(drop));
    // Of this seed no core is slower than the others for long.
    check(3, |env| Simulator::new(1).run(env).map(drop));
}

#[track_caller]
fn check(parallelism: usize, run: fn(&Env) -> thalweg::Result<()>) {
    let data = Arc::new(generate_in_memory(EVENTS, parallelism));
    for query in BOUNDED {
        let peak = |passes: u64| {
            let (env, total) = (Env::new().parallelism(parallelism), DigestTotal::default());
            query.build(&env, Events::new(data.clone(), passes), &total);
            allocations::peak_of(|| run(&env).expect("the query runs"))
        };
        let (few, many) = (peak(PASSES_FEW), peak(PASSES_MANY));
        assert!(
            many <= few + GROWTH_BYTES,
            "{query} x {parallelism}: {few} bytes in {PASSES_FEW} passes, {many} in {PASSES_MANY}"
        );
    }
}

/// Goal: what a damaged shard allocates follows from the bytes that are there, not from the lengths that they claim.
#[test]
fn no_length_that_was_read_is_allocated_by() {
    /// What the harness may do meanwhile.
    const OVERHEAD_BYTES: u64 = 4096;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let whole = generate_in_memory(12, 1).shards[0].bytes().to_vec();
    for at in 0..whole.len() {
        for length in [u32::MAX, 1 << 20, 1 << 16] {
            let mut bytes = whole.clone();
            let end = (at + 4).min(bytes.len());
            bytes[at..end].copy_from_slice(&length.to_le_bytes()[..end - at]);
            let peak = allocations::peak_of(|| drop(Shard::new(bytes, 10_000)));
            assert!(peak <= OVERHEAD_BYTES, "{peak} bytes for a length of {length} at byte {at}");
        }
    }
}
