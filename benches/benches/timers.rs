//! What does a timer cost, from its registration to its firing?
//!
//! - `rising`: each key has one, at a time of its own (timeouts);
//! - `shared`: all keys have one at the same times (the ends of windows), each registered several times;
//! - `moved`: each record deletes its key's timer and registers a later one (sessions).
#![expect(missing_docs, reason = "criterion_group! makes a function without them")]

use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use thalweg_benches::{Digest, Job, Run, bench, config, mix, timed_records_min};
use thalweg_state::Timers;

/// Keys with a timer at any time.
const KEYS: u64 = 10_000;

fn fire(timers: &mut Timers<u64>, up_to: i64, digest: &mut Digest) {
    while let Some((at, _, key)) = timers.pop_due(up_to) {
        digest.add(mix(key) ^ at as u64);
    }
}

fn timed(records: u64, mut take: impl FnMut(&mut Timers<u64>, u64, &mut Digest)) -> Run {
    let mut timers = Timers::new();
    let mut digest = Digest::default();
    let began = Instant::now();
    for i in 0..records {
        take(&mut timers, i, &mut digest);
    }
    fire(&mut timers, i64::MAX, &mut digest);
    Run { elapsed: began.elapsed(), digest }
}

fn rising(records: u64) -> Run {
    timed(records, |timers, i, digest| {
        timers.register((i + KEYS) as i64, mix(i), &i);
        if i % 64 == 0 {
            fire(timers, i as i64, digest);
        }
    })
}

fn shared(records: u64) -> Run {
    // Each key comes four times in a window, and a window has all keys.
    timed(records, |timers, i, digest| {
        let key = mix(i) % KEYS;
        let end = (i / (4 * KEYS) + 1) as i64;
        timers.register(end, mix(key), &key);
        if i % (4 * KEYS) == 0 {
            fire(timers, end - 1, digest);
        }
    })
}

fn moved(records: u64) -> Run {
    let mut timer_at = vec![0_i64; KEYS as usize];
    timed(records, move |timers, i, digest| {
        let key = mix(i) % KEYS;
        let at = &mut timer_at[key as usize];
        timers.delete(*at, mix(key), &key);
        *at = (i + KEYS) as i64;
        timers.register(*at, mix(key), &key);
        if i % 64 == 0 {
            fire(timers, i as i64, digest);
        }
    })
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    let jobs: [(&str, Job); 3] = [("rising", rising), ("shared", shared), ("moved", moved)];
    for (name, job) in jobs {
        bench(&mut group, name, timed_records_min(), job);
    }
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = timers }
criterion_main!(benches);
