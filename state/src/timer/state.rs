//! Timers as a state of the job's backend.

use std::fmt;

use super::Timers;
use super::spilled::SpilledTimers;
use super::wakes::Wakes;
use crate::Error;
use crate::backend::{StateBackend, StateKind};

/// The timers of one clock, event time or processing time, of one operator in one subtask: in memory, or if they are far from due in
/// files, as the job's backend has it. They are in its snapshots.
///
/// As [`Timers`]: one for each payload and timestamp, out in the order of time. Those of one timestamp come in the order of
/// registration as long as they are in memory; what was in files comes first, in the order of keys. (Flink promises no order.)
///
/// Order of calls: `is_ready`, and when it says so `peek_due` and `pop_due` at will, until `pop_due` gives nothing; `maintain` in between.
/// Cost: on the heap that of `Timers`. In files the same, and now and then the sequential read of what falls due next, in batches. What is
/// in memory there is what was registered since the last freeze, which counts for the budget; some thousands that fall due next; and all
/// that fall due at one timestamp, some 40 bytes each, which does not.
///
/// ```
/// use thalweg_state::{KeyGroupRange, Key, MaxParallelism, StateBackend, TimerState};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut timers = TimerState::<u64>::new("_timers/event", &backend)?;
/// for (at, key) in [(10, 7), (5, 8), (10, 7)] {
///     timers.register(at, u64::key_hash(&key), &key);
/// }
/// assert!(timers.is_ready(9));
/// assert_eq!(timers.pop_due(9), Some((5, 8_u64.key_hash(), 8)));
/// assert_eq!(timers.pop_due(9), None);
/// timers.delete(10, 7_u64.key_hash(), &7);
/// assert_eq!(timers.next_at(), None);
/// # Ok::<(), thalweg_state::Error>(())
/// ```
pub struct TimerState<P>(Inner<P>);

#[expect(
    clippy::large_enum_variant,
    reason = "there are few, and those of the heap are asked for each record"
)]
enum Inner<P> {
    Heap(Timers<P>),
    Spill(Box<SpilledTimers<P>>),
}

impl<P: Wakes> TimerState<P> {
    /// Registers the timers with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has a state of that name, and those of the store and of reading what was
    /// restored. Allocates some 17 KB.
    ///
    /// ```
    /// # use thalweg_state::{KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let timers = TimerState::<u64>::new("_timers/event", &backend)?;
    /// assert_eq!(timers.next_at(), None);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(name: &str, backend: &StateBackend) -> Result<Self, Error> {
        let kind = StateKind::timers::<P::Key, P::Namespace>();
        Ok(Self(match backend.register(name, kind)? {
            None => Inner::Heap(Timers::new()),
            Some(port) => Inner::Spill(Box::new(SpilledTimers::new(
                port,
                backend.key_groups(),
                backend.max_parallelism(),
            )?)),
        }))
    }

    /// As [`Timers::register`]. `hash` is that of the payload's key.
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut timers = TimerState::<u64>::new("_timers/event", &backend)?;
    /// timers.register(10, 7_u64.key_hash(), &7);
    /// timers.register(10, 7_u64.key_hash(), &7); // It is there already.
    /// assert!(timers.pop_due(10).is_some() && timers.pop_due(10).is_none());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn register(&mut self, at: i64, hash: u64, payload: &P) {
        match &mut self.0 {
            Inner::Heap(timers) => _ = timers.register(at, hash, payload),
            Inner::Spill(timers) => timers.register(at, hash, payload),
        }
    }

    /// As [`Timers::delete`]: nothing happens if there is no such timer.
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut timers = TimerState::<u64>::new("_timers/event", &backend)?;
    /// timers.register(10, 7_u64.key_hash(), &7);
    /// timers.delete(10, 7_u64.key_hash(), &7);
    /// assert_eq!(timers.pop_due(10), None);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn delete(&mut self, at: i64, hash: u64, payload: &P) {
        match &mut self.0 {
            Inner::Heap(timers) => _ = timers.delete(at, hash, payload),
            Inner::Spill(timers) => timers.delete(at, hash, payload),
        }
    }

    /// A timestamp before which no timer is due, `None` if there are none at all: see [`Timers::next_at`]. O(1).
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut timers = TimerState::<u64>::new("_timers/event", &backend)?;
    /// timers.register(10, 7_u64.key_hash(), &7);
    /// assert!(timers.next_at().is_some_and(|at| at <= 10));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn next_at(&self) -> Option<i64> {
        match &self.0 {
            Inner::Heap(timers) => timers.next_at(),
            Inner::Spill(timers) => timers.next_at(),
        }
    }

    /// Whether the next timer that is due at `up_to` is in memory, or none is due. If not, it has been asked for: to be called again
    /// when [`CoreState::arrivals`](crate::CoreState::arrivals) has risen. Always so on the heap.
    ///
    /// ```
    /// # use thalweg_state::{KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut timers = TimerState::<u64>::new("_timers/event", &backend)?;
    /// assert!(timers.is_ready(10));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn is_ready(&mut self, up_to: i64) -> bool {
        match &mut self.0 {
            Inner::Heap(_) => true,
            Inner::Spill(timers) => timers.is_ready(up_to),
        }
    }

    /// As [`Timers::peek_due`], among those in memory.
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut timers = TimerState::<u64>::new("_timers/event", &backend)?;
    /// timers.register(10, 7_u64.key_hash(), &7);
    /// assert_eq!(timers.peek_due(10).collect::<Vec<_>>(), [(7_u64.key_hash(), &7)]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn peek_due(&mut self, up_to: i64) -> impl Iterator<Item = (u64, &P)> {
        let next = match &mut self.0 {
            Inner::Heap(timers) => Some((timers, up_to)),
            Inner::Spill(timers) => timers.next(up_to),
        };
        next.into_iter().flat_map(|(timers, up_to)| timers.peek_due(up_to))
    }

    /// As [`Timers::pop_due`], among those in memory.
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut timers = TimerState::<u64>::new("_timers/event", &backend)?;
    /// timers.register(10, 7_u64.key_hash(), &7);
    /// assert_eq!(timers.pop_due(9), None);
    /// assert_eq!(timers.pop_due(10), Some((10, 7_u64.key_hash(), 7)));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn pop_due(&mut self, up_to: i64) -> Option<(i64, u64, P)> {
        match &mut self.0 {
            Inner::Heap(timers) => timers.pop_due(up_to),
            Inner::Spill(timers) => timers.pop_due(up_to),
        }
    }

    /// As [`Timers::give_back`].
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut timers = TimerState::<String>::new("_timers/event", &backend)?;
    /// timers.give_back(String::from("seven"));
    /// assert_eq!(timers.next_at(), None); // Only its memory was given back.
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn give_back(&mut self, payload: P) {
        match &mut self.0 {
            Inner::Heap(timers) => timers.give_back(payload),
            Inner::Spill(timers) => timers.give_back(payload),
        }
    }

    /// As [`KeyedState::maintain`](crate::KeyedState::maintain).
    ///
    /// ```
    /// # use thalweg_state::{KeyGroupRange, MaxParallelism, StateBackend, TimerState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// TimerState::<u64>::new("_timers/event", &backend)?.maintain(); // Nothing, on the heap.
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn maintain(&mut self) {
        if let Inner::Spill(timers) = &mut self.0 {
            timers.maintain();
        }
    }
}

impl<P> fmt::Debug for TimerState<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timers: &dyn fmt::Debug = match &self.0 {
            Inner::Heap(timers) => timers,
            Inner::Spill(timers) => timers,
        };
        f.debug_tuple("TimerState").field(timers).finish()
    }
}
