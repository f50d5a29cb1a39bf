//! What does it cost to send a record through an exchange, by its size?
//!
//! - `fused`: source and sink without an exchange, to be subtracted from the others;
//! - `one core`: both sides on one core, so that the time is the CPU time of both sides together;
//! - `two cores`: the sender on one core and the receiver on the other, so that the time is that of the slower side;
//! - `buffer`: only writing records into buffers and reading them, without an engine around it;
//! - `hand-over`: a buffer through a ring from thread to thread and its memory back, per buffer.
#![expect(missing_docs, reason = "criterion_group! makes a function without them")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use thalweg::Env;
use thalweg_benches::{Digest, DigestSink, Job, Row, Run, bench, config, run, timed_records_min};
use thalweg_net::{Appender, BUFFER_BYTES_DEFAULT, BufferPool, Item, Reader, ring};

fn fused<R: Row>(records: u64) -> Run {
    let env = Env::new().parallelism(1);
    let (sink, digest) = DigestSink::new(R::value);
    env.generate(records, R::make).sink("Digest", sink);
    run(&env, &digest)
}

fn one_core<R: Row>(records: u64) -> Run {
    let env = Env::new().parallelism(1);
    let (sink, digest) = DigestSink::new(R::archived_value);
    env.generate(records, R::make).rebalance().sink("Digest", sink);
    run(&env, &digest)
}

fn two_cores<R: Row>(records: u64) -> Run {
    let env = Env::new().parallelism(1);
    let (sink, digest) = DigestSink::new(R::archived_value);
    // Chains of different groups run on different cores.
    env.generate(records, R::make).rebalance().slot_sharing_group("receivers").sink("Digest", sink);
    run(&env, &digest)
}

fn buffer<R: Row>(records: u64) -> Run {
    let pool = BufferPool::new(BUFFER_BYTES_DEFAULT).expect("the default size is a size");
    let mut out = Appender::<(), R>::new(pool.take());
    let mut digest = Digest::default();
    let began = Instant::now();
    let mut i = 0;
    while i < records {
        while i < records && out.append(0, i, &(), &R::make(i)).is_ok() {
            i += 1;
        }
        let mut reader =
            Reader::<(), R>::open(out.swap(pool.take())).expect("it was written with these types");
        while let Some(Item::Record { value, .. }) = reader.next() {
            digest.add(R::archived_value(value));
        }
    }
    Run { elapsed: began.elapsed(), digest }
}

#[cfg(feature = "peers")]
fn timely<R>(workers: usize) -> impl FnMut(u64) -> Run
where
    R: Row + serde::Serialize + for<'a> serde::Deserialize<'a>,
{
    use timely::dataflow::operators::Exchange;
    move |records| {
        thalweg_benches::peer::run(workers, move |place| {
            // With two workers all is made by the first and goes to the second.
            let share = if place.is_first() { records } else { 0 };
            let stream = place.generate_alone(share, R::make).exchange(move |_| workers as u64 - 1);
            place.digest(stream, R::value);
        })
    }
}

fn by_size<R>(group: &mut BenchmarkGroup<'_, WallTime>)
where
    R: Row + serde::Serialize + for<'a> serde::Deserialize<'a>,
{
    let bytes = size_of::<R>();
    let jobs: [(&str, Job); 4] = [
        ("fused", fused::<R>),
        ("one core", one_core::<R>),
        ("two cores", two_cores::<R>),
        ("buffer", buffer::<R>),
    ];
    let digests = jobs.map(|(name, job)| bench(group, format!("{name}/{bytes}"), timed_records_min(), job));
    assert_eq!(digests, [digests[0]; 4]);
    #[cfg(feature = "peers")]
    for (name, workers) in [("timely, one worker", 1), ("timely, two workers", 2)] {
        let digest = bench(group, format!("{name}/{bytes}"), timed_records_min(), timely::<R>(workers));
        assert_eq!(digest, digests[0]);
    }
}

/// Time for each buffer, until all have arrived on the other core.
fn hand_over(buffers: u64) -> Duration {
    const IN_FLIGHT: usize = 64;
    let (mut to, mut from) = ring::channel(IN_FLIGHT);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let pin =
        |i: usize| cores.get(i % cores.len().max(1)).is_some_and(|c| core_affinity::set_for_current(*c));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            pin(1);
            let mut bytes = 0_usize;
            for _ in 0..buffers {
                let buffer: thalweg_net::Buffer = loop {
                    if let Some(buffer) = from.pop() {
                        break buffer;
                    }
                    from.release();
                    std::hint::spin_loop();
                };
                bytes += buffer.len_bytes();
            }
            black_box(bytes);
            Instant::now()
        });
        let sender = scope.spawn(|| {
            pin(0);
            let pool = BufferPool::new(BUFFER_BYTES_DEFAULT).expect("the default size is a size");
            let began = Instant::now();
            for i in 0..buffers {
                let mut buffer = pool.take().freeze();
                while let Err(back) = to.try_push(buffer) {
                    buffer = back;
                    to.publish();
                    std::hint::spin_loop();
                }
                if i % 8 == 0 {
                    to.publish(); // A core publishes once for each step.
                }
            }
            to.publish();
            began
        });
        let began = sender.join().expect("the sender only sends");
        receiver.join().expect("the receiver only receives") - began
    })
}

fn exchange(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    by_size::<[u64; 1]>(&mut group);
    by_size::<[u64; 4]>(&mut group);
    by_size::<[u64; 16]>(&mut group);
    by_size::<[[u64; 32]; 2]>(&mut group);
    group.bench_function("hand-over", |bencher| bencher.iter_custom(hand_over));
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = exchange }
criterion_main!(benches);
