//! The queries give what every other engine gives on the same data.

use std::sync::Arc;

use thalweg::Env;
use thalweg::testing::{Simulator, seeds};
use thalweg_tools::nexmark::job::{DigestTotal, Events};
use thalweg_tools::nexmark::queries::Query;
use thalweg_tools::nexmark::{DataSet, Digest, generate_in_memory};

/// Net count and digest over 100 000 events, from the definitions and from Apache Flink.
const EXPECTED: [(&str, i64, &str); 13] = [
    ("q0", 92000, "85a5d774de3a004b"),
    ("q1", 92000, "4c0c7cd3487035d4"),
    ("q2", 366, "8fef3ac6c4e7f43e"),
    ("q3", 676, "e2a32e91a0bbd0da"),
    ("q4", 5, "67572c4836127e0c"),
    ("q5", 14, "988466613f48ba0e"),
    ("q7", 2, "a2155f8a67b5f590"),
    ("q8", 923, "76327360d09116e2"),
    ("q11", 1917, "dae068ff06ffb1de"),
    ("q12", 1922, "966ffba19ee64218"),
    ("q18", 28380, "48560913dc8ed781"),
    ("q19", 43964, "d9762adbb4856c3f"),
    ("wc", 92000, "8c5dd9b7c5b3b84a"),
];

/// Over three passes of it, for queries that keep state between windows.
const EXPECTED_THREE_PASSES: [(&str, i64, &str); 4] = [
    ("q3", 2028, "398df4c9d4f5c6d0"),
    ("q4", 5, "11d5575d1e972e6f"),
    ("q8", 2769, "69af3087991f0150"),
    ("q18", 85140, "fa2a14d1a874a597"),
];

/// Builds a query, has `execute` run it, and returns what its sink received.
fn run(query: Query, data: &Arc<DataSet>, passes: u64, execute: impl FnOnce(&Env)) -> Digest {
    let env = Env::new().parallelism(data.shards.len());
    let total = DigestTotal::default();
    query.build(&env, Events::new(data.clone(), passes), &total);
    execute(&env);
    total.get()
}

fn on_threads(env: &Env) {
    env.execute().unwrap();
}

#[track_caller]
fn check(data: &Arc<DataSet>, passes: u64, (name, net_count, digest): (&str, i64, &str)) {
    let query: Query = name.parse().unwrap();
    let result = run(query, data, passes, on_threads);
    let parallelism = data.shards.len();
    assert_eq!(
        (result.net_count, result.to_string().as_str()),
        (net_count, digest),
        "{name} x {parallelism}"
    );
}

#[test]
fn results_are_those_of_the_definitions() {
    assert_eq!(Query::ALL.len(), EXPECTED.len());
    for parallelism in [1, 2] {
        let data = Arc::new(generate_in_memory(100_000, parallelism));
        EXPECTED.into_iter().for_each(|expected| check(&data, 1, expected));
        EXPECTED_THREE_PASSES.into_iter().for_each(|expected| check(&data, 3, expected));
    }
}

/// A category's row is replaced once for each auction that closes, whatever the interleaving.
#[test]
fn averages_are_replaced_for_each_auction() {
    for parallelism in [1, 3] {
        let data = Arc::new(generate_in_memory(100_000, parallelism));
        let result = run(Query::Q4, &data, 1, on_threads);
        assert_eq!(result.out_count, 11_211);
    }
}

/// Goal: no result depends on how cores, links and batches interleave, nor on how the events are sharded. Method: simulated runs of
/// 1 to 5 cores against the runtime's on one, of every query, over passes that give each several windows.
#[test]
fn results_do_not_depend_on_the_interleaving() {
    /// Of each query. A run takes less than 1 ms.
    const SEEDS: u64 = 300;
    const EVENTS: u64 = 2_000;
    const PASSES: u64 = 3;
    let data: Vec<_> = (1..=5).map(|shards| Arc::new(generate_in_memory(EVENTS, shards))).collect();
    for &query in Query::ALL {
        let expected = run(query, &data[0], PASSES, on_threads);
        assert!(expected.net_count > 0, "{query}");
        seeds(SEEDS, |seed| {
            let data = &data[seed as usize % data.len()];
            let result = run(query, data, PASSES, |env| {
                Simulator::new(seed).run(env).unwrap();
            });
            assert_eq!((result.net_count, result.sum), (expected.net_count, expected.sum), "{query}");
        });
    }
}
