//! All interleavings, and all that the memory model allows, of what cores do to each other.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p thalweg-net --release loom_` runs them. Loom reports an access to a cell that
//! is not ordered after another, an `Arc` that leaks (each buffer holds one), and a thread that waits for ever.

use loom::{
    model,
    sync::{Condvar, Mutex},
    thread,
};

use crate::{
    ParkFlag,
    buffer::BufferPool,
    ring::{self, Consumer},
    sync::{Arc, AtomicUsize, Ordering},
};

const SLOTS: usize = 4;

#[test]
fn loom_ring_keeps_order_when_it_wraps() {
    model(|| {
        let (mut producer, mut consumer) = ring::channel(2);
        let thread = thread::spawn(move || {
            for item in 0..4 {
                while let Err(_full) = producer.try_push(Box::new(item)) {
                    producer.publish();
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < 4 {
            match consumer.pop() {
                Some(item) => {
                    assert_eq!(*item, next);
                    next += 1;
                }
                None => {
                    consumer.release();
                    thread::yield_now();
                }
            }
        }
        thread.join().unwrap();
        assert!(consumer.is_closed());
        assert!(consumer.pop().is_none());
    });
}

/// Counts itself away.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn loom_ring_drops_each_item_once() {
    model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (mut producer, mut consumer) = ring::channel(SLOTS);
        let counter = dropped.clone();
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                assert!(producer.try_push(Counted(counter.clone())).is_ok());
            }
            producer.publish();
            assert!(producer.try_push(Counted(counter)).is_ok()); // Published by the drop.
        });
        drop(consumer.pop());
        drop(consumer);
        thread.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn loom_ring_closed_comes_after_the_last_item() {
    model(|| {
        let (mut producer, mut consumer) = ring::channel(SLOTS);
        let thread = thread::spawn(move || {
            producer.try_push(1).unwrap();
        });
        if consumer.is_closed() {
            assert_eq!(consumer.pop(), Some(1));
        }
        thread.join().unwrap();
    });
}

#[test]
fn loom_buffer_comes_home_from_two_threads() {
    model(|| {
        let pool = BufferPool::new(1024).unwrap();
        let buffer = pool.take().freeze();
        let threads: Vec<_> = [buffer.clone(), buffer]
            .into_iter()
            .map(|buffer| {
                thread::spawn(move || {
                    assert!(buffer.is_empty()); // Reads a cell that the pool's next `take` writes.
                })
            })
            .collect();
        let other = pool.take(); // The one that came back, or a new one.
        assert!(pool.free() <= 1);
        drop(other);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(pool.free(), pool.allocated());
    });
}

#[test]
fn loom_buffer_returns_contend() {
    model(|| {
        let pool = BufferPool::new(1024).unwrap();
        let threads = [pool.take(), pool.take()].map(|buffer| thread::spawn(move || drop(buffer)));
        let third = pool.take().freeze();
        assert!(pool.free() <= 2);
        drop(third);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.free(), pool.allocated());
    });
}

#[test]
fn loom_buffer_outlives_its_pool() {
    model(|| {
        let pool = BufferPool::new(1024).unwrap();
        let threads = [pool.take(), pool.take()].map(|buffer| thread::spawn(move || drop(buffer.freeze())));
        drop(pool);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A doorbell: rung at any time, waited for once.
#[derive(Default)]
struct Doorbell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Doorbell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// What a core does when it has nothing to do.
fn pop_or_park(consumers: &mut [Consumer<usize>], flag: &ParkFlag, doorbell: &Doorbell) -> usize {
    let mut pop = || consumers.iter_mut().find_map(Consumer::pop);
    loop {
        if let Some(item) = pop() {
            return item;
        }
        flag.prepare();
        if let Some(item) = pop() {
            flag.cancel();
            return item;
        }
        doorbell.wait();
        flag.cancel();
    }
}

#[test]
fn loom_park_loses_no_wake_up() {
    // Goal: a receiver never sleeps with an item before it. Method: it would wait for ever, which loom reports.
    model(|| {
        let flag = Arc::new(ParkFlag::new());
        let doorbell = Arc::new(Doorbell::default());
        let (mut producer, consumer) = ring::channel(SLOTS);
        let (their_flag, their_doorbell) = (flag.clone(), doorbell.clone());
        let thread = thread::spawn(move || {
            for item in 0..2 {
                producer.try_push(item).unwrap();
                producer.publish();
                if their_flag.ring_if_parked() {
                    their_doorbell.ring();
                }
            }
        });
        let mut consumers = [consumer];
        for expected in 0..2 {
            assert_eq!(pop_or_park(&mut consumers, &flag, &doorbell), expected);
        }
        thread.join().unwrap();
    });
}

#[test]
fn loom_park_is_rung_once_by_two_senders() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let flag = Arc::new(ParkFlag::new());
        flag.prepare();
        let threads = [0, 1].map(|_| {
            let flag = flag.clone();
            thread::spawn(move || usize::from(flag.ring_if_parked()))
        });
        let rung: usize = threads.map(|thread| thread.join().unwrap()).into_iter().sum();
        assert_eq!(rung, 1);
        assert!(!flag.is_parked());
    });
}
