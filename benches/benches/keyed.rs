//! What does a keyed aggregate cost, by how many keys there are and how often each comes? A rolling count, exchange included.
#![expect(missing_docs, reason = "criterion_group! makes a function without them")]

use criterion::{Criterion, criterion_group, criterion_main};
use thalweg::Env;
use thalweg_benches::{DigestSink, Keys, Run, Skew, bench, config, mix, run, timed_records_min};

fn ours(keys: Keys, parallelism: usize) -> impl FnMut(u64) -> Run {
    move |records| {
        let env = Env::new().parallelism(parallelism);
        let keys = keys.clone();
        let (sink, digest) = DigestSink::new(|(key, count): &(u64, u64)| mix(key ^ count));
        env.generate(records, move |i| keys.get(i)).key_by(|key| *key).count().sink("Digest", sink);
        run(&env, &digest)
    }
}

#[cfg(feature = "peers")]
fn timely(keys: Keys, workers: usize) -> impl FnMut(u64) -> Run {
    use thalweg_benches::peer::{self, Builder};
    use timely::dataflow::channels::pact::Exchange;
    use timely::dataflow::operators::generic::Operator;
    move |records| {
        let keys = keys.clone();
        peer::run(workers, move |place| {
            let keys = keys.clone();
            let stream = place.generate(records, move |i| keys.get(i));
            let counted = stream.unary::<Builder<(u64, u64)>, _, _, _>(
                Exchange::new(|key: &u64| *key),
                "Count",
                |_, _| {
                    let mut counts = hashbrown::HashMap::<u64, u64>::new();
                    move |input, output| {
                        input.for_each_time(|time, containers| {
                            let mut session = output.session(&time);
                            for container in containers {
                                session.give_iterator(container.drain(..).map(|key| {
                                    let count = counts.entry(key).or_insert(0);
                                    *count += 1;
                                    (key, *count)
                                }));
                            }
                        });
                    }
                },
            );
            place.digest(counted, |(key, count)| mix(key ^ count));
        })
    }
}

fn keyed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keyed count");
    for parallelism in [1, 2] {
        for skew in [Skew::Uniform, Skew::Zipf] {
            for key_count in [1_000, 100_000, 1_000_000, 10_000_000] {
                let keys = Keys::new(key_count, skew);
                // Each key comes several times, so that most records find theirs.
                let records_min = if timed_records_min() < 10_000 {
                    timed_records_min()
                } else {
                    timed_records_min().max(4 * u64::from(key_count))
                };
                let name = |engine| format!("{engine}/p{parallelism}/{skew:?}/{key_count}");
                let _digest =
                    bench(&mut group, name("thalweg"), records_min, ours(keys.clone(), parallelism));
                #[cfg(feature = "peers")]
                assert_eq!(
                    bench(&mut group, name("timely"), records_min, timely(keys, parallelism)),
                    _digest
                );
            }
        }
    }
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = keyed }
criterion_main!(benches);
