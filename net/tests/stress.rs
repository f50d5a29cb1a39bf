//! What cores do to each other, on real threads: what ThreadSanitizer looks at, and what `cargo test` runs too.
//!
//! Loom walks through all interleavings of a few steps; this takes the few interleavings that happen, but of real sizes: rings
//! that wrap a thousand times, rkyv's archives in buffers, buffers that are shared, oversized, or outlive their pool.
//!
//! ThreadSanitizer knows only what was compiled for it, and `std` is not. So there is no test harness around this, nor anything of
//! `std` that orders threads by itself but what the sanitizer intercepts or what is generic, and thereby compiled here:
//! `pthread_create`, `pthread_join`, atomics. Doorbells are `thread::park`, which carries no data.

use std::sync::Arc;
use std::thread;

use thalweg_net::ring::{self, Consumer, Producer};
use thalweg_net::{AppendError, Appender, Buffer, BufferPool, Item, ParkFlag, Reader, Signal};

/// How often each scenario is repeated, with other sizes.
const ROUNDS: usize = 20;

fn main() {
    if cfg!(loom) {
        return; // Loom's atomics are of no use outside its models.
    }
    for (name, scenario) in SCENARIOS {
        for round in 0..ROUNDS {
            scenario(round);
        }
        println!("stress {name}: {ROUNDS} rounds");
    }
}

type Scenario = (&'static str, fn(usize));

const SCENARIOS: [Scenario; 5] = [
    ("items keep their order in a ring", items_keep_their_order),
    ("halves of a ring go at any time", halves_go_at_any_time),
    ("buffers come home from those who read them", buffers_come_home),
    ("buffers outlive their pool", buffers_outlive_their_pool),
    ("a parked receiver is woken", a_parked_receiver_is_woken),
];

/// Sends all, in batches of `batch`, and waits while the ring is full.
fn send<T: Send>(producer: &mut Producer<T>, items: impl IntoIterator<Item = T>, batch: usize) {
    for (i, mut item) in items.into_iter().enumerate() {
        while let Err(refused) = producer.try_push(item) {
            item = refused;
            producer.publish();
            thread::yield_now();
        }
        if (i + 1).is_multiple_of(batch) {
            producer.publish();
        }
    }
    producer.publish();
}

/// Waits for the next item. Slots are released when the ring is empty.
fn receive<T: Send>(consumer: &mut Consumer<T>) -> T {
    loop {
        if let Some(item) = consumer.pop() {
            return item;
        }
        consumer.release();
        thread::yield_now();
    }
}

/// Goal: what was written before an item was sent is there when it is popped, whoever frees it.
fn items_keep_their_order(round: usize) {
    const ITEMS: u64 = 2_000;
    let (mut producer, mut consumer) = ring::channel(1 << (round % 6));
    let sender = thread::spawn(move || {
        send(&mut producer, (0..ITEMS).map(|i| Box::new([i; 9])), 1 + round % 7);
        producer
    });
    for i in 0..ITEMS {
        assert_eq!(*receive(&mut consumer), [i; 9]);
    }
    let producer = sender.join().expect("the sender ends");
    assert!(consumer.pop().is_none() && !consumer.is_closed());
    drop(producer);
    assert!(consumer.is_closed());
}

/// Goal: items are dropped once and in order with all that was done to them, whichever half goes first, full or not.
fn halves_go_at_any_time(round: usize) {
    let item = Arc::new(());
    let (mut producer, mut consumer) = ring::channel(8);
    let sent = item.clone();
    let sender = thread::spawn(move || {
        for i in 0..round % 8 {
            assert!(producer.try_push((i, sent.clone())).is_ok());
            if i % 3 == 0 {
                producer.publish();
            }
        }
    });
    let receiver = thread::spawn(move || {
        for _ in 0..round % 5 {
            drop(consumer.pop());
            thread::yield_now();
        }
    });
    sender.join().expect("the sender ends");
    receiver.join().expect("the receiver ends");
    assert_eq!(Arc::strong_count(&item), 1);
}

/// The text of record `i`: now and then one that fits no pooled buffer.
fn text(i: u64) -> String {
    let length = if i.is_multiple_of(97) { 2_000 } else { i % 50 };
    char::from(b'a' + (i % 26) as u8).to_string().repeat(length as usize)
}

/// Fills buffers with records from `first` to `last`, and hands each to `send`.
fn fill(pool: &BufferPool, first: u64, last: u64, mut send: impl FnMut(Buffer)) {
    let mut out = Appender::<u64, String>::new(pool.take());
    for i in first..last {
        let value = text(i);
        loop {
            match out.append(i as i64, i, &i, &value) {
                Ok(()) => break,
                Err(AppendError::Full) if out.is_empty() => {
                    drop(out.swap(pool.take_at_least(2 * out.capacity_bytes())));
                }
                Err(AppendError::Full) => send(out.swap(pool.take())),
                Err(error) => panic!("{error}"),
            }
        }
    }
    send(out.finish());
    out = Appender::new(pool.take());
    out.signal(Signal::End).expect("an empty buffer has room");
    send(out.finish());
}

/// Checks the records from `next` on; returns the one after them, or `None` if the end is among them.
fn read(buffer: Buffer, mut next: u64) -> Option<u64> {
    let mut input = Reader::<u64, String>::open(buffer).expect("written as these types");
    while let Some(item) = input.next() {
        match item {
            Item::Record { timestamp, key_hash, key, value } => {
                assert_eq!((timestamp, key_hash, key.to_native()), (next as i64, next, next));
                assert_eq!(value.as_str(), text(next));
                next += 1;
            }
            Item::Signal(_) => return None,
        }
    }
    Some(next)
}

/// Goal: a buffer is written again only after all have read it, on whatever core. Method: one pool, and readers that share its
/// buffers, at their own pace.
fn buffers_come_home(round: usize) {
    const RECORDS: u64 = 2_000;
    let pool = BufferPool::new(1024).expect("a size that there is");
    let (mut producers, readers): (Vec<_>, Vec<_>) = (0..1 + round % 3)
        .map(|_| {
            let (producer, mut consumer) = ring::channel(4);
            let reader = thread::spawn(move || {
                let mut next = Some(0);
                while let Some(first) = next {
                    next = read(receive(&mut consumer), first);
                }
                consumer
            });
            (producer, reader)
        })
        .unzip();
    fill(&pool, 0, RECORDS, |buffer| {
        for producer in &mut producers {
            send(producer, [buffer.clone()], 1);
        }
    });
    for reader in readers {
        drop(reader.join().expect("the reader ends"));
    }
    assert_eq!(pool.free(), pool.allocated());
    assert_eq!(pool.memory_bytes(), pool.allocated() * 1024);
}

/// Goal: the last one frees a buffer whose pool has gone, even while it is going.
fn buffers_outlive_their_pool(round: usize) {
    let pool = BufferPool::new(1024).expect("a size that there is");
    let mut buffers = Vec::new();
    fill(&pool, 0, 500, |buffer| buffers.push(buffer));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let buffers = buffers.clone();
            thread::spawn(move || {
                let end = buffers.into_iter().try_fold(0, |next, buffer| read(buffer, next));
                assert_eq!(end, None);
            })
        })
        .collect();
    if round.is_multiple_of(2) {
        drop(pool);
        drop(buffers);
    } else {
        drop(buffers);
        drop(pool);
    }
    for reader in readers {
        reader.join().expect("the reader ends");
    }
}

/// Goal: a receiver that sleeps while it has an item is woken. Method: were one wake-up lost, this would not end.
fn a_parked_receiver_is_woken(round: usize) {
    const ITEMS: u64 = 500;
    let flag = Arc::new(ParkFlag::new());
    let receiver = thread::current();
    let (mut consumers, senders): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (mut producer, consumer) = ring::channel(2);
            let (flag, receiver) = (flag.clone(), receiver.clone());
            let sender = thread::spawn(move || {
                for i in 0..ITEMS {
                    while producer.try_push(Box::new(i)).is_err() {
                        thread::yield_now();
                    }
                    producer.publish();
                    if flag.ring_if_parked() {
                        receiver.unpark();
                    }
                    for _ in 0..round % 4 {
                        thread::yield_now(); // The receiver runs dry more often.
                    }
                }
                producer
            });
            (consumer, sender)
        })
        .unzip();
    let mut next = [0; 2];
    while next != [ITEMS; 2] {
        if pop_all(&mut consumers, &mut next) {
            continue;
        }
        flag.prepare();
        if !pop_all(&mut consumers, &mut next) {
            thread::park();
        }
        flag.cancel();
    }
    for sender in senders {
        drop(sender.join().expect("the sender ends"));
    }
}

/// Pops what there is. Returns whether there was anything.
fn pop_all(consumers: &mut [Consumer<Box<u64>>], next: &mut [u64]) -> bool {
    let mut popped = false;
    for (consumer, next) in consumers.iter_mut().zip(next) {
        while let Some(item) = consumer.pop() {
            assert_eq!(*item, *next);
            *next += 1;
            popped = true;
        }
        consumer.release();
    }
    popped
}
