//! What does a record cost in a window? Counts by key in tumbling, sliding and session windows, exchange included, on one core.
//!
//! A record comes each millisecond of event time, of one of 10 000 keys. There is no timely beside it: it has no windows of its own.
#![expect(missing_docs, reason = "criterion_group! makes a function without them")]

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use thalweg::{Chain, Count, Env, Session, Sliding, Stream, Tumbling, monotonous};
use thalweg_benches::{DigestSink, Job, Keys, Run, Skew, bench, config, mix, run, timed_records_min};

const KEYS: u32 = 10_000;

/// A stream of keys, one each millisecond.
fn keys(env: &Env, records: u64) -> Stream<impl Chain<Out = (u64, u64)>> {
    let keys = Keys::new(KEYS, Skew::Uniform);
    env.generate(records, move |i| (keys.get(i), i)).watermarks(monotonous().by(|r: &(u64, u64)| r.1 as i64))
}

macro_rules! windowed {
    ($name:ident: $window:expr) => {
        fn $name(records: u64) -> Run {
            let env = Env::new().parallelism(1);
            let counts = keys(&env, records).key_by(|r| r.0).window($window).aggregate(Count);
            let counts = counts.map(|count| mix(count.key ^ count.window.end as u64) ^ count.value);
            let (sink, digest) = DigestSink::new(|value: &u64| *value);
            counts.sink("Digest", sink);
            run(&env, &digest)
        }
    };
}
windowed!(tumbling: Tumbling::of(Duration::from_secs(60)));
windowed!(sliding: Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(12)));
windowed!(session: Session::gap(Duration::from_secs(10)));

fn windows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("windows");
    let jobs: [(&str, Job); 3] = [("tumbling", tumbling), ("sliding", sliding), ("session", session)];
    for (name, job) in jobs {
        bench(&mut group, name, timed_records_min(), job);
    }
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = windows }
criterion_main!(benches);
