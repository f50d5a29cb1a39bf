//! The timers of one operator: when it wants to be woken, and for whom.
//!
//! ```text
//!   by time:   12:00:05 ──▶ bucket 3      buckets:  3: [ (hash, payload), (hash, payload), … ]  + index by hash
//!              12:00:10 ──▶ bucket 0                0: [ (hash, payload) ]
//! ```
//!
//! Timers usually come many to a few timestamps (the ends of windows), or one by one at rising timestamps; so they are
//! kept by timestamp, and each timestamp has a bucket in the order of registration. Popping walks a bucket
//! from its front; an index by hash, once a bucket is large, finds the duplicate that must not be registered again.
//!
//! Invariants:
//! - a payload has at most one timer at a timestamp;
//! - timers come out in the order of their timestamps, and those of one timestamp in the order of registration;
//! - no bucket is empty, and `len` is exact.

use crate::heap::Table;
use crate::key::scatter;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// A bucket of more entries than this has an index.
const UNINDEXED_MAX: usize = 8;

/// How many of the last used timestamps find their bucket without a search. A power of two.
const RECENT: usize = 8;

/// The event-time or processing-time timers of one operator in one subtask.
///
/// `P` says whom a timer wakes: a key, or a key and a namespace such as a window. Its `hash` is the key's, and travels
/// with it. A timestamp is in milliseconds since the epoch, as everywhere. Registering, deleting and popping are
/// O(log n) in the number of different timestamps, O(1) in the number of timers at one. (Payloads of one hash at one
/// timestamp are searched one by one.)
///
/// ```
/// use thalweg_state::Timers;
/// let mut timers = Timers::new();
/// assert!(timers.register(10, 7, &"seven"));
/// assert!(timers.register(5, 8, &"eight"));
/// assert!(!timers.register(10, 7, &"seven")); // It is there already.
/// assert_eq!(timers.next_at(), Some(5));
/// assert_eq!(timers.pop_due(9), Some((5, 8, "eight")));
/// assert_eq!(timers.pop_due(9), None);
/// assert!(timers.delete(10, 7, &"seven"));
/// assert!(timers.is_empty());
/// ```
pub struct Timers<P> {
    by_time: BTreeMap<i64, BucketId>,
    buckets: Vec<Bucket<P>>,
    /// Those of `buckets` that are not in use.
    free: Vec<BucketId>,
    /// The first of `by_time`.
    first: Option<(i64, BucketId)>,
    /// Guesses at the buckets of some timestamps: one is right if that bucket says so.
    recent: [BucketId; RECENT],
    len: usize,
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
    index: Option<Table<u64, ()>>,
}

impl<P: Eq + Clone> Timers<P> {
    /// No timers.
    pub fn new() -> Self {
        Self {
            by_time: BTreeMap::new(),
            buckets: Vec::new(),
            free: Vec::new(),
            first: None,
            recent: [0; RECENT],
            len: 0,
        }
    }

    /// How many timers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The timestamp of the next timer. O(1).
    #[inline]
    pub fn next_at(&self) -> Option<i64> {
        self.first.map(|(at, _)| at)
    }

    /// Registers a timer at `at` for `payload`, unless it has one there, and returns whether it did.
    #[inline]
    pub fn register(&mut self, at: i64, hash: u64, payload: &P) -> bool {
        let id = self.find(at).unwrap_or_else(|| self.open(at));
        let registered = self.buckets[id as usize].timers.register(hash, payload);
        self.len += usize::from(registered);
        registered
    }

    /// Deletes the timer at `at` for `payload`, and returns whether there was one.
    pub fn delete(&mut self, at: i64, hash: u64, payload: &P) -> bool {
        let Some(id) = self.find(at) else { return false };
        let timers = &mut self.buckets[id as usize].timers;
        let deleted = timers.delete(hash, payload);
        if timers.is_empty() {
            self.close(at, id);
        }
        self.len -= usize::from(deleted);
        deleted
    }

    /// Whether `payload` has a timer at `at`.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 7, &"seven");
    /// assert!(timers.contains(10, 7, &"seven") && !timers.contains(11, 7, &"seven"));
    /// ```
    pub fn contains(&self, at: i64, hash: u64, payload: &P) -> bool {
        self.by_time.get(&at).is_some_and(|&id| self.buckets[id as usize].timers.contains(hash, payload))
    }

    /// Takes out the next timer, if it is due at `up_to` (which counts): its timestamp, hash and payload.
    #[inline]
    pub fn pop_due(&mut self, up_to: i64) -> Option<(i64, u64, P)> {
        let (at, id) = self.first.filter(|&(at, _)| at <= up_to)?;
        let timers = &mut self.buckets[id as usize].timers;
        let Timer { hash, payload } = timers.pop().expect("no bucket in use is empty");
        if timers.is_empty() {
            self.close(at, id);
        }
        self.len -= 1;
        Some((at, hash, payload))
    }

    /// All timers (timestamp, hash, payload), in the order in which they will come out.
    ///
    /// ```
    /// let mut timers = thalweg_state::Timers::new();
    /// timers.register(10, 7, &"seven");
    /// timers.register(5, 8, &"eight");
    /// assert_eq!(timers.iter().collect::<Vec<_>>(), [(5, 8, &"eight"), (10, 7, &"seven")]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (i64, u64, &P)> {
        self.by_time.iter().flat_map(|(&at, &id)| {
            let (one, many) = match &self.buckets[id as usize].timers {
                Queue::None => (None, None),
                Queue::One(timer) => (Some(timer), None),
                Queue::Many(many) => (None, Some(many.queue.iter().flatten())),
            };
            one.into_iter()
                .chain(many.into_iter().flatten())
                .map(move |timer| (at, timer.hash, &timer.payload))
        })
    }

    /// The bucket of a timestamp.
    #[inline]
    fn find(&mut self, at: i64) -> Option<BucketId> {
        let recent = &mut self.recent[recent_of(at)];
        if let Some(bucket) = self.buckets.get(*recent as usize)
            && bucket.at == at
            && !bucket.timers.is_empty()
        {
            return Some(*recent);
        }
        *recent = *self.by_time.get(&at)?;
        Some(*recent)
    }

    /// Makes a bucket for a timestamp that has none. The caller fills it at once.
    #[cold]
    fn open(&mut self, at: i64) -> BucketId {
        let bucket = Bucket { at, timers: Queue::None };
        let id = match self.free.pop() {
            Some(id) => {
                self.buckets[id as usize] = bucket;
                id
            }
            None => {
                self.buckets.push(bucket);
                BucketId::try_from(self.buckets.len() - 1).expect("4 billion timestamps fit no memory")
            }
        };
        self.by_time.insert(at, id);
        self.recent[recent_of(at)] = id;
        if self.first.is_none_or(|(first, _)| at < first) {
            self.first = Some((at, id));
        }
        id
    }

    /// Gives back the bucket of a timestamp that has no timer any more.
    #[cold]
    fn close(&mut self, at: i64, id: BucketId) {
        self.buckets[id as usize].timers = Queue::None;
        self.free.push(id);
        self.by_time.remove(&at);
        self.first = self.by_time.first_key_value().map(|(&at, &id)| (at, id));
    }
}

fn recent_of(at: i64) -> usize {
    // Timestamps of windows are multiples of something round: their low bits say little.
    ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - RECENT.ilog2())) as usize
}

impl<P: Eq + Clone> Default for Timers<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> fmt::Debug for Timers<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next_at = self.first.map(|(at, _)| at);
        f.debug_struct("Timers").field("len", &self.len).field("next_at", &next_at).finish_non_exhaustive()
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
    fn register(&mut self, hash: u64, payload: &P) -> bool {
        match self {
            Self::Many(many) => return many.register(hash, payload),
            Self::One(timer) if timer.is(hash, payload) => return false,
            Self::One(_) | Self::None => {}
        }
        let timer = Timer { hash, payload: payload.clone() };
        *self = match std::mem::replace(self, Self::None) {
            Self::One(first) => Self::Many(Box::new(Many::of(first, timer))),
            _ => Self::One(timer),
        };
        true
    }

    fn delete(&mut self, hash: u64, payload: &P) -> bool {
        match self {
            Self::Many(many) => many.delete(hash, payload),
            Self::One(timer) if timer.is(hash, payload) => {
                *self = Self::None;
                true
            }
            Self::One(_) | Self::None => false,
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Timer<P>> {
        if let Self::Many(many) = self {
            return many.pop();
        }
        match std::mem::replace(self, Self::None) {
            Self::One(timer) => Some(timer),
            _ => None,
        }
    }
}

impl<P: Eq + Clone> Many<P> {
    fn of(first: Timer<P>, second: Timer<P>) -> Self {
        Self { queue: VecDeque::from([Some(first), Some(second)]), popped: 0, live: 2, index: None }
    }

    /// Where in the queue the timer is.
    #[inline]
    fn find(&self, hash: u64, payload: &P) -> Option<usize> {
        let is = |timer: &Option<Timer<P>>| timer.as_ref().is_some_and(|timer| timer.is(hash, payload));
        let Some(index) = &self.index else { return self.queue.iter().position(is) };
        // Numbers of timers that were popped or deleted stay in the index: they find nothing here.
        let at = |number: u64| usize::try_from(number.checked_sub(self.popped)?).ok();
        let found = |&number: &u64| at(number).and_then(|at| self.queue.get(at)).is_some_and(is);
        index.get(scatter(hash), found).and_then(|(&number, ())| at(number))
    }

    #[inline]
    fn register(&mut self, hash: u64, payload: &P) -> bool {
        if self.find(hash, payload).is_some() {
            return false;
        }
        let number = self.popped + self.queue.len() as u64;
        self.queue.push_back(Some(Timer { hash, payload: payload.clone() }));
        self.live += 1;
        match &mut self.index {
            Some(index) if index.len() < 2 * self.queue.len() => {
                index.entry(scatter(hash), |_| false, || (number, ()));
            }
            None if self.queue.len() <= UNINDEXED_MAX => {}
            _ => self.reindex(), // For the first time, or because half of it is outdated.
        }
        true
    }

    fn delete(&mut self, hash: u64, payload: &P) -> bool {
        let Some(at) = self.find(hash, payload) else { return false };
        self.queue[at] = None;
        self.live -= 1;
        self.drop_deleted();
        if self.queue.len() > 2 * self.live + UNINDEXED_MAX {
            self.queue.retain(Option::is_some);
            self.reindex();
        }
        true
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
        let mut index = Table::new();
        for (number, timer) in (self.popped..).zip(&self.queue) {
            if let Some(timer) = timer {
                index.entry(scatter(timer.hash), |_| false, || (number, ()));
            }
        }
        self.index = (self.queue.len() > UNINDEXED_MAX).then_some(index);
    }
}

#[cfg(test)]
mod tests;
