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

use crate::DueQueue;
use crate::heap::Table;
use crate::key::scatter;
use std::collections::VecDeque;
use std::{fmt, mem};

/// A bucket of more entries than this has an index.
const UNINDEXED_MAX: usize = 8;
/// Empty buckets that may stay until their time comes, however few others there are.
const EMPTY_MAX: usize = 64;
/// Entries for which queues of buckets that have gone may be kept, however few timers there have been.
const SPARE_ENTRIES: usize = 1024;

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

/// Most timestamps have either one timer or many.
enum Queue<P> {
    None,
    One(Timer<P>),
    Many(Box<Many<P>>),
}

#[derive(Clone)]
struct Timer<P> {
    hash: u64,
    payload: P,
}

/// The timers of one timestamp in the order of registration, numbered from `popped` on.
struct Many<P> {
    /// `None` for a deleted one. The first is not, unless there is none.
    queue: VecDeque<Option<Timer<P>>>,
    popped: u64,
    live: usize,
    /// The numbers of the timers, by hash; also some of timers that are gone. Only for more than `UNINDEXED_MAX`.
    index: Table<u64, ()>,
}

/// What timers have been in.
struct Spare<P> {
    #[expect(clippy::vec_box, reason = "boxes move between here and the buckets as they are")]
    queues: Vec<Box<Many<P>>>,
    /// For how many timers there is room in these.
    entries: usize,
    payloads: Vec<P>,
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
            spare: Spare { queues: Vec::new(), entries: 0, payloads: Vec::new() },
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
        let mut first = None;
        while let Some((at, &id)) = self.order.peek_due(up_to) {
            if !self.buckets[id as usize].timers.is_empty() {
                first = Some(id);
                break;
            }
            self.empty -= 1; // All of its timers were deleted.
            self.close(at, id);
        }
        let timers = first.into_iter().flat_map(|id| self.buckets[id as usize].timers.iter());
        timers.map(|timer| (timer.hash, &timer.payload))
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
        times.into_iter().flat_map(|(at, id)| {
            let timers = self.buckets[id as usize].timers.iter();
            timers.map(move |timer| (at, timer.hash, &timer.payload))
        })
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

impl<P: Eq + Clone> Spare<P> {
    /// A timer, in the memory of one that has gone.
    #[inline]
    fn timer(&mut self, hash: u64, payload: &P) -> Timer<P> {
        let payload = match self.payloads.pop() {
            Some(mut spare) => {
                spare.clone_from(payload);
                spare
            }
            None => payload.clone(),
        };
        Timer { hash, payload }
    }

    #[inline]
    fn put(&mut self, payload: P) {
        if mem::needs_drop::<P>() {
            self.payloads.push(payload);
        }
    }

    fn many(&mut self) -> Box<Many<P>> {
        match self.queues.pop() {
            Some(many) => {
                self.entries -= many.queue.capacity();
                many
            }
            None => Box::new(Many { queue: VecDeque::new(), popped: 0, live: 0, index: Table::new() }),
        }
    }

    /// Empties a queue that has no timer any more, and keeps its memory if all that is kept is for at most twice `len_max`.
    #[inline]
    fn take(&mut self, timers: &mut Queue<P>, len_max: usize) {
        let Queue::Many(mut many) = mem::replace(timers, Queue::None) else { return };
        let capacity = many.queue.capacity();
        if self.entries + capacity <= SPARE_ENTRIES.max(2 * len_max) {
            many.reset();
            self.entries += capacity;
            self.queues.push(many);
        }
    }
}

impl<P> Timer<P> {
    fn is(&self, hash: u64, payload: &P) -> bool
    where
        P: Eq,
    {
        self.hash == hash && self.payload == *payload
    }
}

impl<P> Queue<P> {
    /// In the order of registration.
    fn iter(&self) -> impl Iterator<Item = &Timer<P>> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(timer) => (Some(timer), None),
            Self::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|many| many.queue.iter().flatten()))
    }
}

impl<P: Eq + Clone> Queue<P> {
    #[inline]
    fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(many) => many.live == 0,
        }
    }

    fn contains(&self, hash: u64, payload: &P) -> bool {
        match self {
            Self::None => false,
            Self::One(timer) => timer.is(hash, payload),
            Self::Many(many) => many.find(hash, payload).is_some(),
        }
    }

    #[inline]
    fn register(&mut self, hash: u64, payload: &P, spare: &mut Spare<P>) -> bool {
        match self {
            Self::Many(many) => return many.register(hash, payload, spare),
            Self::One(timer) if timer.is(hash, payload) => return false,
            Self::One(_) | Self::None => {}
        }
        let timer = spare.timer(hash, payload);
        *self = match mem::replace(self, Self::None) {
            Self::One(first) => {
                let mut many = spare.many();
                many.queue.extend([Some(first), Some(timer)]);
                many.live = 2;
                Self::Many(many)
            }
            _ => Self::One(timer),
        };
        true
    }

    fn delete(&mut self, hash: u64, payload: &P, spare: &mut Spare<P>) -> bool {
        let deleted = match self {
            Self::Many(many) => many.delete(hash, payload),
            Self::One(timer) if timer.is(hash, payload) => self.pop(),
            Self::One(_) | Self::None => None,
        };
        deleted.map(|timer| spare.put(timer.payload)).is_some()
    }

    #[inline]
    fn pop(&mut self) -> Option<Timer<P>> {
        if let Self::Many(many) = self {
            return many.pop();
        }
        match mem::replace(self, Self::None) {
            Self::One(timer) => Some(timer),
            _ => None,
        }
    }
}

impl<P: Eq + Clone> Many<P> {
    /// No timers, and the memory for as many as before.
    fn reset(&mut self) {
        self.queue.clear();
        (self.popped, self.live) = (0, 0);
        // To clear it is a pass over its capacity: not for the sake of a few entries.
        if self.index.capacity() > 16 * self.index.len().max(UNINDEXED_MAX) {
            self.index = Table::new();
        }
        self.index.clear();
    }

    /// Where in the queue the timer is.
    #[inline]
    fn find(&self, hash: u64, payload: &P) -> Option<usize> {
        let is = |timer: &Option<Timer<P>>| timer.as_ref().is_some_and(|timer| timer.is(hash, payload));
        if self.index.is_empty() {
            return self.queue.iter().position(is);
        }
        // Numbers of timers that were popped or deleted stay in the index: they find nothing here.
        let at = |number: u64| usize::try_from(number.checked_sub(self.popped)?).ok();
        let found = |&number: &u64| at(number).and_then(|at| self.queue.get(at)).is_some_and(is);
        self.index.get(scatter(hash), found).and_then(|(&number, ())| at(number))
    }

    #[inline]
    fn register(&mut self, hash: u64, payload: &P, spare: &mut Spare<P>) -> bool {
        if self.find(hash, payload).is_some() {
            return false;
        }
        let number = self.popped + self.queue.len() as u64;
        self.queue.push_back(Some(spare.timer(hash, payload)));
        self.live += 1;
        if self.index.is_empty() && self.queue.len() <= UNINDEXED_MAX {
            return true;
        }
        if !self.index.is_empty() && self.index.len() < 2 * self.queue.len() {
            self.index.entry(scatter(hash), |_| false, || (number, ()));
        } else {
            self.reindex(); // For the first time, or because half of it is outdated.
        }
        true
    }

    fn delete(&mut self, hash: u64, payload: &P) -> Option<Timer<P>> {
        let at = self.find(hash, payload)?;
        let deleted = self.queue[at].take();
        self.live -= 1;
        self.drop_deleted();
        if self.queue.len() > 2 * self.live + UNINDEXED_MAX {
            self.queue.retain(Option::is_some);
            self.reindex();
        }
        deleted
    }

    #[inline]
    fn pop(&mut self) -> Option<Timer<P>> {
        let timer = self.queue.pop_front()??;
        self.popped += 1;
        self.live -= 1;
        self.drop_deleted();
        Some(timer)
    }

    /// Sees that the first timer is not a deleted one.
    fn drop_deleted(&mut self) {
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.popped += 1;
        }
    }

    #[cold]
    fn reindex(&mut self) {
        self.index.clear();
        if self.queue.len() <= UNINDEXED_MAX {
            return;
        }
        for (number, timer) in (self.popped..).zip(&self.queue) {
            if let Some(timer) = timer {
                self.index.entry(scatter(timer.hash), |_| false, || (number, ()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
