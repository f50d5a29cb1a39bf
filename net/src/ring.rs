//! A bounded ring from one core to another.
//!
//! ```text
//!              head                      tail        staged
//!   slots:  ┄┄┄│ to be popped ┄┄┄┄┄┄┄┄┄┄┄│ unpublished │┄┄┄ free ┄┄┄
//!              ▲ consumer's release()    ▲ producer's publish()
//! ```
//!
//! Invariants:
//! - `head <= tail <= head + capacity`; all three are totals that wrap, a slot is a total modulo the capacity;
//! - slots of `head..tail` are initialised and the consumer's; all others the producer's, staged ones initialised;
//! - the producer alone writes `tail`, the consumer alone `head`: no read-modify-write anywhere.
//!
//! Each side keeps a copy of the other's index and reads the shared one only when the copy says full, or empty; that and
//! publishing in batches keeps the two cache lines from going back and forth for each item.

use std::{fmt, mem::MaybeUninit};

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};

struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Everything before it was popped, and its slots are free.
    head: CachePadded<AtomicUsize>,
    /// Everything before it was published.
    tail: CachePadded<AtomicUsize>,
    producer_gone: AtomicBool,
    consumer_gone: AtomicBool,
}

// SAFETY: an item moves from the producer's thread to the consumer's, by value and once; `Send` is what that takes. The
// invariants above say who may touch a slot.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

/// A ring with room for `capacity` items.
///
/// Cost of an item: one move in, one move out; per batch one Release store on each side, and one cache miss.
///
/// # Panics
///
/// If `capacity` is not a power of two.
///
/// ```
/// let (mut producer, mut consumer) = thalweg_net::ring::channel(4);
/// producer.try_push("a").unwrap();
/// producer.try_push("b").unwrap();
/// assert_eq!(consumer.pop(), None); // Not published yet.
/// assert_eq!(producer.publish(), 2);
/// assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some("a"), Some("b"), None));
/// assert_eq!(producer.free_slots(), 2);
/// consumer.release();
/// assert_eq!(producer.free_slots(), 4);
/// ```
pub fn channel<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two(), "a ring of {capacity} slots: the number must be a power of two");
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        producer_gone: AtomicBool::new(false),
        consumer_gone: AtomicBool::new(false),
    });
    let producer = Producer { shared: shared.clone(), staged: 0, published: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, released: 0, tail_seen: 0 })
}

/// The sending half of a ring: see [`channel`].
///
/// Dropping it publishes what is staged.
///
/// Its methods never wait, and cost a few loads and stores.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Everything before it is in a slot.
    staged: usize,
    /// The `tail` we stored last.
    published: usize,
    /// The `head` we loaded last.
    head_seen: usize,
}

impl<T> Producer<T> {
    /// Stages an item, to be sent by the next [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// The item itself, if the ring is full. (What is staged counts: publish it, or it stays full.)
    ///
    /// ```
    /// let (mut producer, mut consumer) = thalweg_net::ring::channel(1);
    /// assert_eq!(producer.try_push('a'), Ok(()));
    /// assert_eq!(producer.try_push('b'), Err('b'));
    /// producer.publish();
    /// (consumer.pop(), consumer.release());
    /// assert_eq!(producer.try_push('b'), Ok(()));
    /// ```
    #[inline]
    pub fn try_push(&mut self, item: T) -> Result<(), T> {
        if self.staged.wrapping_sub(self.head_seen) == self.shared.slots.len() {
            self.head_seen = self.shared.head.load(Ordering::Acquire);
            if self.staged.wrapping_sub(self.head_seen) == self.shared.slots.len() {
                return Err(item);
            }
        }
        // SAFETY: `staged - head < capacity`: the slot is not among those of `head..tail`, nor staged, so it is free and
        // ours. The Acquire load that showed us this `head` puts the consumer's read of the slot before our write.
        self.shared.slot(self.staged).with_mut(|slot| unsafe { (*slot).write(item) });
        self.staged = self.staged.wrapping_add(1);
        Ok(())
    }

    /// Makes all that is staged visible to the consumer, and returns how many items that is.
    ///
    /// Ring the doorbell after it, if [`ParkFlag::ring_if_parked`](crate::ParkFlag::ring_if_parked) says so.
    ///
    /// ```
    /// let (mut producer, mut consumer) = thalweg_net::ring::channel(4);
    /// (producer.try_push('a').unwrap(), producer.try_push('b').unwrap());
    /// assert!(consumer.is_empty());
    /// assert_eq!((producer.publish(), producer.publish()), (2, 0));
    /// assert!(!consumer.is_empty());
    /// ```
    #[inline]
    pub fn publish(&mut self) -> usize {
        let count = self.staged.wrapping_sub(self.published);
        if count > 0 {
            self.shared.tail.store(self.staged, Ordering::Release);
            self.published = self.staged;
        }
        count
    }

    /// The number of items that can be staged now. Never too high; the consumer may be freeing more.
    ///
    /// ```
    /// let (mut producer, _consumer) = thalweg_net::ring::channel(4);
    /// producer.try_push('a').unwrap();
    /// assert_eq!(producer.free_slots(), 3); // Published or not.
    /// ```
    #[inline]
    pub fn free_slots(&self) -> usize {
        let head = self.shared.head.load(Ordering::Acquire);
        self.shared.slots.len() - self.staged.wrapping_sub(head)
    }

    /// Whether the consumer is gone: what is sent now is never popped.
    ///
    /// ```
    /// let (producer, consumer) = thalweg_net::ring::channel::<u64>(4);
    /// drop(consumer);
    /// assert!(producer.is_closed());
    /// ```
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.shared.consumer_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.publish();
        self.shared.producer_gone.store(true, Ordering::Release);
    }
}

/// The receiving half of a ring: see [`channel`].
///
/// Dropping it drops what it could have popped.
///
/// Its methods never wait, and cost a few loads and stores.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Everything before it was popped.
    head: usize,
    /// The `head` we stored last.
    released: usize,
    /// The `tail` we loaded last.
    tail_seen: usize,
}

impl<T> Consumer<T> {
    /// The next item, or `None` if none is published. Its slot stays taken until [`release`](Self::release).
    ///
    /// ```
    /// let (mut producer, mut consumer) = thalweg_net::ring::channel(4);
    /// std::thread::spawn(move || {
    ///     (producer.try_push('a').unwrap(), producer.try_push('b').unwrap());
    ///     producer.publish();
    /// }).join().unwrap();
    /// assert_eq!([consumer.pop(), consumer.pop(), consumer.pop()], [Some('a'), Some('b'), None]);
    /// ```
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: `head < tail`: the slot is initialised and ours, and the Acquire load in `is_empty` pairs with the
        // producer's Release. The producer leaves it alone until it sees a `head` past it, which `&mut self` and the
        // order of these lines put after the read; and no second read follows, as `head` moves on.
        let item = self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        Some(item)
    }

    /// Whether no item is published. A `false` stays so until the next pop.
    ///
    /// ```
    /// let (mut producer, mut consumer) = thalweg_net::ring::channel(4);
    /// producer.try_push('a').unwrap();
    /// producer.publish();
    /// assert!(!consumer.is_empty());
    /// consumer.pop();
    /// assert!(consumer.is_empty());
    /// ```
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }

    /// Gives the slots of popped items back to the producer, and returns how many that is.
    ///
    /// ```
    /// let (mut producer, mut consumer) = thalweg_net::ring::channel(2);
    /// producer.try_push('a').unwrap();
    /// producer.publish();
    /// consumer.pop();
    /// assert_eq!(producer.free_slots(), 1); // Popped, and not given back.
    /// assert_eq!(consumer.release(), 1);
    /// assert_eq!(producer.free_slots(), 2);
    /// ```
    #[inline]
    pub fn release(&mut self) -> usize {
        let count = self.head.wrapping_sub(self.released);
        if count > 0 {
            self.shared.head.store(self.head, Ordering::Release);
            self.released = self.head;
        }
        count
    }

    /// Whether the producer is gone. Pop once more after a `true`: what it sent before may just have become visible.
    ///
    /// ```
    /// let (mut producer, mut consumer) = thalweg_net::ring::channel(4);
    /// producer.try_push('a').unwrap();
    /// drop(producer); // Which publishes.
    /// assert!(consumer.is_closed());
    /// assert_eq!((consumer.pop(), consumer.pop()), (Some('a'), None));
    /// ```
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.shared.producer_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
        self.release();
        self.shared.consumer_gone.store(true, Ordering::Release);
    }
}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, total: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[total & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Both sides are gone; dropping the `Arc` ordered all they did before this.
        let (mut head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        while head != tail {
            // SAFETY: slots of `head..tail` are initialised, and `&mut self` is alone.
            self.slot(head).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let staged = self.staged.wrapping_sub(self.published);
        f.debug_struct("Producer").field("published", &self.published).field("staged", &staged).finish()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("popped", &self.head).field("released", &self.released).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "power of two")]
    fn refuses_other_capacities() {
        channel::<u8>(3);
    }

    #[test]
    fn stages_publishes_and_wraps() {
        // Goal: full, empty and wrapped, with counts that are right at each step.
        let (mut producer, mut consumer) = channel(4);
        let mut next = 0;
        for round in 0..20 {
            let batch = round % 5;
            for i in 0..batch {
                assert_eq!(producer.try_push(next + i), Ok(()));
            }
            assert_eq!(producer.free_slots(), 4 - batch);
            if batch == 4 {
                assert_eq!(producer.try_push(99), Err(99));
            }
            assert!(consumer.is_empty());
            assert_eq!(producer.publish(), batch);
            assert_eq!(producer.publish(), 0);
            for i in 0..batch {
                assert_eq!(consumer.pop(), Some(next + i));
            }
            assert_eq!(consumer.pop(), None);
            assert_eq!(producer.free_slots(), 4 - batch); // Popped, not released.
            assert_eq!(consumer.release(), batch);
            assert_eq!(consumer.release(), 0);
            next += batch;
        }
    }

    #[test]
    fn a_full_ring_opens_when_slots_are_released() {
        let (mut producer, mut consumer) = channel(1);
        producer.try_push('a').unwrap();
        producer.publish();
        assert_eq!(consumer.pop(), Some('a'));
        assert_eq!(producer.try_push('b'), Err('b'));
        consumer.release();
        assert_eq!(producer.try_push('b'), Ok(()));
    }

    #[test]
    fn either_side_sees_the_other_go() {
        let (mut producer, mut consumer) = channel(2);
        assert!(!producer.is_closed() && !consumer.is_closed());
        producer.try_push(1).unwrap();
        drop(producer);
        assert!(consumer.is_closed());
        assert_eq!((consumer.pop(), consumer.pop()), (Some(1), None)); // The drop published it.
        let (producer, consumer) = channel::<u8>(2);
        drop(consumer);
        assert!(producer.is_closed());
    }

    #[test]
    fn drops_what_is_inside() {
        // Goal: popped, published and staged items are each dropped once, whoever goes first.
        let item = std::sync::Arc::new(());
        for consumer_first in [false, true] {
            let (mut producer, mut consumer) = channel(8);
            for _ in 0..4 {
                producer.try_push(item.clone()).unwrap();
            }
            producer.publish();
            producer.try_push(item.clone()).unwrap();
            drop(consumer.pop());
            if consumer_first {
                drop(consumer);
                producer.try_push(item.clone()).unwrap();
                drop(producer);
            } else {
                drop(producer);
                drop(consumer);
            }
            assert_eq!(std::sync::Arc::strong_count(&item), 1);
        }
    }

    #[test]
    fn carries_items_between_threads_in_order() {
        let (mut producer, mut consumer) = channel(16);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for i in 0..20_000_u64 {
                    while producer.try_push(Box::new(i)).is_err() {
                        producer.publish();
                        std::thread::yield_now();
                    }
                    if i % 7 == 0 {
                        producer.publish();
                    }
                }
            });
            let mut expected = 0;
            while expected < 20_000 {
                match consumer.pop() {
                    Some(item) => {
                        assert_eq!(*item, expected);
                        expected += 1;
                    }
                    None => {
                        consumer.release();
                        std::thread::yield_now();
                    }
                }
            }
        });
    }

    #[test]
    fn its_halves_are_as_sendable_as_what_they_carry() {
        fn is_send<T: Send>() {}
        is_send::<Producer<Box<u8>>>();
        is_send::<Consumer<std::cell::Cell<u8>>>();
    }
}
