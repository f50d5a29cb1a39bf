//! The timers of one timestamp.
//!
//! Popping walks them from the front; an index by hash, once there are many, finds the duplicate that must not be registered again.

use std::collections::VecDeque;
use std::mem;

use crate::heap::Table;
use crate::key::scatter;

/// A bucket of more entries than this has an index.
const UNINDEXED_MAX: usize = 8;
/// Entries for which queues of buckets that have gone may be kept, however few timers there have been.
const SPARE_ENTRIES: usize = 1024;

/// Most timestamps have either one timer or many.
pub(super) enum Queue<P> {
    None,
    One(Timer<P>),
    Many(Box<Many<P>>),
}

#[derive(Clone)]
pub(super) struct Timer<P> {
    pub(super) hash: u64,
    pub(super) payload: P,
}

/// The timers of one timestamp in the order of registration, numbered from `popped` on.
pub(super) struct Many<P> {
    /// `None` for a deleted one. The first is not, unless there is none.
    pub(super) queue: VecDeque<Option<Timer<P>>>,
    popped: u64,
    live: usize,
    /// The numbers of the timers, by hash; also some of timers that are gone. Only for more than `UNINDEXED_MAX`.
    pub(super) index: Table<u64, ()>,
}

/// What timers have been in.
pub(super) struct Spare<P> {
    #[expect(clippy::vec_box, reason = "boxes move between here and the buckets as they are")]
    queues: Vec<Box<Many<P>>>,
    /// For how many timers there is room in these.
    entries: usize,
    payloads: Vec<P>,
}

impl<P: Eq + Clone> Spare<P> {
    pub(super) fn new() -> Self {
        Self { queues: Vec::new(), entries: 0, payloads: Vec::new() }
    }

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
    pub(super) fn put(&mut self, payload: P) {
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
    pub(super) fn take(&mut self, timers: &mut Queue<P>, len_max: usize) {
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
    pub(super) fn iter(&self) -> impl Iterator<Item = &Timer<P>> {
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
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(many) => many.live == 0,
        }
    }

    pub(super) fn contains(&self, hash: u64, payload: &P) -> bool {
        match self {
            Self::None => false,
            Self::One(timer) => timer.is(hash, payload),
            Self::Many(many) => many.find(hash, payload).is_some(),
        }
    }

    #[inline]
    pub(super) fn register(&mut self, hash: u64, payload: &P, spare: &mut Spare<P>) -> bool {
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

    pub(super) fn delete(&mut self, hash: u64, payload: &P, spare: &mut Spare<P>) -> bool {
        let deleted = match self {
            Self::Many(many) => many.delete(hash, payload),
            Self::One(timer) if timer.is(hash, payload) => self.pop(),
            Self::One(_) | Self::None => None,
        };
        deleted.map(|timer| spare.put(timer.payload)).is_some()
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Timer<P>> {
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
