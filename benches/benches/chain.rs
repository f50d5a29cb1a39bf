//! What does an operator in the middle of a chain cost? A chain of 1, 5 and 10 of them, on one core.
#![expect(missing_docs, reason = "criterion_group! makes a function without them")]

use criterion::{Criterion, criterion_group, criterion_main};
use thalweg::Env;
use thalweg_benches::{DigestSink, Job, Run, bench, config, run, timed_records_min};

/// What each operator does: too much for the compiler to join ten of them into one.
#[inline]
fn step(n: u64) -> u64 {
    (n ^ (n >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

macro_rules! chain {
    ($name:ident: $($operator:literal)*) => {
        fn $name(records: u64) -> Run {
            let env = Env::new().parallelism(1);
            let (sink, digest) = DigestSink::new(|n: &u64| *n);
            env.generate(records, |i| i)$(.map(|n| step(*n + $operator)))*.sink("Digest", sink);
            run(&env, &digest)
        }
    };
}
chain!(ours_1: 1);
chain!(ours_5: 1 2 3 4 5);
chain!(ours_10: 1 2 3 4 5 6 7 8 9 10);

#[cfg(feature = "peers")]
fn timely(operators: u64) -> impl FnMut(u64) -> Run {
    use thalweg_benches::peer;
    use timely::dataflow::operators::vec::Map;
    move |records| {
        peer::run(1, move |place| {
            let mut stream = place.generate(records, |i| i);
            for operator in 1..=operators {
                stream = stream.map_in_place(move |n| *n = step(*n + operator));
            }
            place.digest(stream, |n| *n);
        })
    }
}

fn chain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain");
    let ours: [(u64, Job); 3] = [(1, ours_1), (5, ours_5), (10, ours_10)];
    for (operators, job) in ours {
        let _digest = bench(&mut group, format!("thalweg/{operators}"), timed_records_min(), job);
        #[cfg(feature = "peers")]
        assert_eq!(
            bench(&mut group, format!("timely/{operators}"), timed_records_min(), timely(operators)),
            _digest
        );
    }
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = chain }
criterion_main!(benches);
