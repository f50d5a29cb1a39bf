//! The timers of one operator: when it wants to be woken, and for whom.
//!
//! ```text
//!   order:  12:00:05, 12:00:10, …  (a DueQueue)            buckets:  3: [ (hash, payload), (hash, payload), … ]  + index by hash
//!   by time:  12:00:10 ──▶ bucket 0,  12:00:05 ──▶ bucket 3          0: [ (hash, payload) ]
//! ```
//!
//! Timers come many to a few timestamps (the ends of windows), or one by one at rising timestamps; so they are kept by
//! timestamp, and each timestamp has a bucket in the order of registration. Popping walks a bucket
//! from its front; an index by hash, once a bucket is large, finds the duplicate that must not be registered again.
//!
//! Invariants:
//! - a payload has at most one timer at a timestamp;
//! - timers come out in the order of their timestamps, and those of one timestamp in the order of registration;
//! - each bucket in use is in `order` once and in `by_time` once; it is empty only if its timers were deleted, and of
//!   these there are not many more than of others;
//! - what timers have been in is used again, so in steady state nothing is allocated for them.

mod bucket;
mod fired;
mod layer;
mod spilled;
mod state;
mod wakes;

use std::fmt;

use crate::DueQueue;
use crate::heap::Table;
use crate::key::scatter;
use bucket::{Queue, Spare, Timer};
pub use state::TimerState;
pub use wakes::Wakes;

/// Empty buckets that may stay until their time comes, however few others there are.
const EMPTY_MAX: usize = 64;

/// The event-time or processing-time timers of one operator in one subtask.
///
/// `P` says whom a timer wakes: a key, or a key and a namespace such as a window. Its `hash` is the key's, and travels
/// with it. A timestamp is in milliseconds since the epoch, as everywhere. Registering, deleting and popping are
/// amortised O(1). (Payloads of one hash at one timestamp are searched one by one.) Memory: some 100 bytes for a timer with a
/// timestamp of its own, 40 for one of many.
///
/// ```
/// use thalweg_state::Timers;
/// let mut timers = Timers::new();
/// assert!(timers.register(10, 7, &"seven"));
/// assert!(timers.register(5, 8, &"eight"));
/// assert!(!timers.register(10, 7, &"seven")); // It is there already.
/// assert_eq!(timers.pop_due(9), Some((5, 8, "eight")));
/// assert_eq!(timers.pop_due(9), None);
/// assert!(timers.delete(10, 7, &"seven"));
/// assert!(timers.is_empty());
/// ```
pub struct Timers<P> {
    order: DueQueue<BucketId>,
    by_time: Table<i64, BucketId>,
    buckets: Vec<Bucket<P>>,
    /// Those of `buckets` that are not in use.
    free: Vec<BucketId>,
    /// How many buckets in use have no timer.
    empty: usize,
    spare: Spare<P>,
    len: usize,
    len_max: usize,
}

type BucketId = u32;

struct Bucket<P> {
    at: i64,
    timers: Queue<P>,
}

impl<P: Eq + Clone> Timers<P> {
    /// No timers. Allocates 17 KB, as [`DueQueue::new`].
    ///
    /// ```
    /// assert_eq!(thalweg_state::Timers::<String>::new().next_at(), None);
    /// ```
    pub fn new() -> Self {
        Self {
            order: DueQueue::new(),
            by_time: Table::new(),
            buckets: Vec::new(),
            free: Vec::new(),
            empty: 0,
            spare: Spare::new(),
            len: 0,
            len_max: 0,
        }
    }

    /// How many timers there are.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 7, &"seven");
    /// timers.register(10, 8, &"eight");
    /// timers.register(10, 8, &"eight"); // Is there already.
    /// assert_eq!(timers.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 7, &"seven");
    /// timers.pop_due(10);
    /// assert!(timers.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A timestamp before which no timer is due, as [`DueQueue::next_at`]: that of the next timer, or one not long before it,
    /// which comes closer when what is due by then has been asked for. O(1).
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// assert_eq!(timers.next_at(), None);
    /// timers.register(1_000_000, 7, &"seven");
    /// while let Some(at) = timers.next_at().filter(|&at| at < 1_000_000) {
    ///     assert_eq!(timers.pop_due(at), None);
    /// }
    /// assert_eq!(timers.next_at(), Some(1_000_000));
    /// ```
    #[inline]
    pub fn next_at(&self) -> Option<i64> {
        if self.len == 0 { None } else { self.order.next_at() }
    }

    /// Registers a timer at `at` ms for `payload`, unless it has one there, and returns whether it did. `hash` is the payload's,
    /// the same at each call. O(1), amortised.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// assert!(timers.register(10, 7, &"seven"));
    /// assert!(!timers.register(10, 7, &"seven"));
    /// assert!(timers.register(11, 7, &"seven"));
    /// ```
    #[inline]
    pub fn register(&mut self, at: i64, hash: u64, payload: &P) -> bool {
        let Self { order, by_time, buckets, free, .. } = self;
        let open = || {
            let id = free.pop().unwrap_or_else(|| {
                buckets.push(Bucket { at, timers: Queue::None });
                BucketId::try_from(buckets.len() - 1).expect("4 billion timestamps fit no memory")
            });
            order.push(at, id);
            (at, id)
        };
        let (_, &mut id, opened) = by_time.entry(hash_of(at), |&time| time == at, open);
        let bucket = &mut self.buckets[id as usize];
        bucket.at = at;
        let was_empty = !opened && bucket.timers.is_empty();
        let registered = bucket.timers.register(hash, payload, &mut self.spare);
        self.empty -= usize::from(was_empty);
        self.len += usize::from(registered);
        self.len_max = self.len_max.max(self.len);
        registered
    }

    /// Deletes the timer at `at` ms for `payload`, and returns whether there was one. O(1), amortised.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 7, &"seven");
    /// assert!(timers.delete(10, 7, &"seven"));
    /// assert!(!timers.delete(10, 7, &"seven"));
    /// assert_eq!(timers.pop_due(i64::MAX), None);
    /// ```
    pub fn delete(&mut self, at: i64, hash: u64, payload: &P) -> bool {
        let Some(id) = self.find(at) else { return false };
        let timers = &mut self.buckets[id as usize].timers;
        if !timers.delete(hash, payload, &mut self.spare) {
            return false;
        }
        self.len -= 1;
        if timers.is_empty() {
            self.spare.take(timers, self.len_max);
            self.empty += 1;
            if self.empty > EMPTY_MAX.max(self.order.len() / 2) {
                self.close_empty();
            }
        }
        true
    }

    /// Whether `payload` has a timer at `at`.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 7, &"seven");
    /// assert!(timers.contains(10, 7, &"seven") && !timers.contains(11, 7, &"seven"));
    /// ```
    pub fn contains(&self, at: i64, hash: u64, payload: &P) -> bool {
        self.find(at).is_some_and(|id| self.buckets[id as usize].timers.contains(hash, payload))
    }

    /// Those that `pop_due` would give next, in that order, as hash and payload: at least one if any is due, and at most those of
    /// one timestamp. So what they need can be looked up ahead.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 8, &"eight");
    /// timers.register(10, 7, &"seven");
    /// timers.register(12, 9, &"nine");
    /// assert_eq!(timers.peek_due(12).collect::<Vec<_>>(), [(8, &"eight"), (7, &"seven")]);
    /// assert_eq!(timers.peek_due(9).count(), 0);
    /// ```
    pub fn peek_due(&mut self, up_to: i64) -> impl Iterator<Item = (u64, &P)> {
        let first = self.first_due(up_to).map(|(_, id)| id);
        let timers = first.into_iter().flat_map(|id| self.buckets[id as usize].timers.iter());
        timers.map(|timer| (timer.hash, &timer.payload))
    }

    /// The timestamp of the next timer, if it is due at `up_to`.
    #[inline]
    pub(crate) fn due_at(&mut self, up_to: i64) -> Option<i64> {
        if self.len == 0 { None } else { self.first_due(up_to).map(|(at, _)| at) }
    }

    /// The first bucket with a timer.
    #[inline]
    fn first_due(&mut self, up_to: i64) -> Option<(i64, BucketId)> {
        loop {
            let (at, &id) = self.order.peek_due(up_to)?;
            if !self.buckets[id as usize].timers.is_empty() {
                return Some((at, id));
            }
            self.empty -= 1; // All of its timers were deleted.
            self.close(at, id);
        }
    }

    /// Takes the first bucket, which has no timers any more, out of use.
    fn close(&mut self, at: i64, id: BucketId) {
        self.spare.take(&mut self.buckets[id as usize].timers, self.len_max);
        self.order.pop_due(at);
        self.by_time.remove(hash_of(at), |&time| time == at);
        self.free.push(id);
    }

    /// Takes out the next timer, if it is due at `up_to` ms (which counts): its timestamp, hash and payload. Timers of one
    /// timestamp come in the order in which they were registered. O(1), amortised.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(12, 9, &"nine");
    /// timers.register(10, 8, &"eight");
    /// timers.register(10, 7, &"seven");
    /// let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(10)).collect();
    /// assert_eq!(due, [(10, 8, "eight"), (10, 7, "seven")]);
    /// ```
    #[inline]
    pub fn pop_due(&mut self, up_to: i64) -> Option<(i64, u64, P)> {
        loop {
            let (at, &id) = self.order.peek_due(up_to)?;
            let timers = &mut self.buckets[id as usize].timers;
            let popped = timers.pop();
            if timers.is_empty() {
                self.empty -= usize::from(popped.is_none());
                self.close(at, id);
            }
            if let Some(Timer { hash, payload }) = popped {
                self.len -= 1;
                return Some((at, hash, payload));
            }
        }
    }

    /// Takes back a payload that was popped: the next timer is given to it, if it owns memory, instead of to a new one.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 7, &String::from("seven"));
    /// let (_, _, payload) = timers.pop_due(10).unwrap();
    /// timers.give_back(payload);
    /// timers.register(20, 8, &String::from("eight")); // Allocates nothing.
    /// ```
    #[inline]
    pub fn give_back(&mut self, payload: P) {
        self.spare.put(payload);
    }

    /// All timers (timestamp, hash, payload), in the order in which they will come out. Sorts the timestamps.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 7, &"seven");
    /// timers.register(5, 8, &"eight");
    /// assert_eq!(timers.iter().collect::<Vec<_>>(), [(5, 8, &"eight"), (10, 7, &"seven")]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (i64, u64, &P)> {
        let mut times: Vec<_> = self.order.iter().map(|(at, &id)| (at, id)).collect();
        times.sort_unstable();
        times.into_iter().flat_map(|(at, id)| self.timers_of(at, id))
    }

    fn timers_of(&self, at: i64, id: BucketId) -> impl Iterator<Item = (i64, u64, &P)> {
        self.buckets[id as usize].timers.iter().map(move |timer| (at, timer.hash, &timer.payload))
    }

    /// The timestamps of the timers, and maybe some of timers that were deleted. In no order.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        self.order.iter().map(|(at, _)| at)
    }

    /// All timers, in no order of timestamps; those of one timestamp in the order of registration.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (i64, u64, &P)> {
        self.entries_within(|_| true)
    }

    /// The same of some timestamps.
    pub(crate) fn entries_within(&self, is_in: impl Fn(i64) -> bool) -> impl Iterator<Item = (i64, u64, &P)> {
        self.order.iter().filter(move |(at, _)| is_in(*at)).flat_map(|(at, &id)| self.timers_of(at, id))
    }

    /// About what they take in memory, in bytes, without what payloads own. O(1).
    pub(crate) fn memory_bytes(&self) -> usize {
        // A timestamp has a bucket, an entry of the table by time and one of the queue; a timer an entry of its bucket and of the index.
        let per_time = size_of::<Bucket<P>>() + 2 * size_of::<(i64, BucketId)>() + 16;
        self.order.len() * per_time + self.len * (size_of::<Option<Timer<P>>>() + 16)
    }

    /// The bucket of a timestamp.
    #[inline]
    fn find(&self, at: i64) -> Option<BucketId> {
        self.by_time.get(hash_of(at), |&time| time == at).map(|(_, &id)| id)
    }

    /// Gives back the buckets without timers.
    #[cold]
    fn close_empty(&mut self) {
        let Self { order, by_time, buckets, free, .. } = self;
        order.retain(|&id| {
            let Bucket { at, timers } = &buckets[id as usize];
            if timers.is_empty() {
                by_time.remove(hash_of(*at), |time| time == at);
                free.push(id);
            }
            !timers.is_empty()
        });
        self.empty = 0;
    }
}

/// Where a timestamp is in a table. Neighbours in time are far from each other.
#[inline]
fn hash_of(at: i64) -> u64 {
    scatter(at.cast_unsigned())
}

impl<P: Eq + Clone> Default for Timers<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> fmt::Debug for Timers<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next_at = self.order.next_at();
        f.debug_struct("Timers").field("len", &self.len).field("next_at", &next_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
