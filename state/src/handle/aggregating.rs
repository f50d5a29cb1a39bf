//! A running aggregate under each key.

use super::set::{KeyedState, StateSet};
use super::value::ValueState;
use crate::backend::{StateBackend, StateDescriptor};
use crate::context::KeyRef;
use crate::{Error, Key, StateValue};
use std::fmt;

/// Under each key, all items added so far, in an accumulator `A` from which a result is computed when asked for.
///
/// Three closures say how: `create` makes an accumulator, `add` puts an item into one, `result` reads one. Each method
/// is one look-up. With a [`Ttl`](crate::Ttl) it is the accumulator that lives: where one has expired another is made. Source: Flink's
/// `AggregatingState`.
///
/// ```
/// use thalweg_state::{AggregatingState, StateBackend, KeyContext, KeyGroupRange, MaxParallelism};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut mean = AggregatingState::new(
///     "mean",
///     &backend,
///     || (0.0, 0.0),
///     |(sum, count), price: f64| { *sum += price; *count += 1.0 },
///     |(sum, count)| sum / count,
/// )?;
/// let cx = KeyContext::new(&7_u64);
/// mean.add(cx, 3.0);
/// mean.add(cx, 4.0);
/// assert_eq!(mean.get(cx), Some(3.5));
/// # Ok::<(), thalweg_state::Error>(())
/// ```
pub struct AggregatingState<K, A, C, F, R> {
    accumulator: ValueState<K, A>,
    create: C,
    add: F,
    result: R,
}

impl<K: Key, A: StateValue, C: Fn() -> A, F, R> AggregatingState<K, A, C, F, R> {
    /// Registers the state with the operator's backend. `create` makes an accumulator, `add` puts
    /// an item into one, `result` reads one.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name. O(key groups).
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, AggregatingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut range = AggregatingState::new(
    ///     "range",
    ///     &backend,
    ///     || (i64::MAX, i64::MIN),
    ///     |(low, high), n: i64| { *low = n.min(*low); *high = n.max(*high) },
    ///     |(low, high)| high - low,
    /// )?;
    /// let cx = KeyContext::new(&'a');
    /// [5, 2, 9].map(|n| range.add(cx, n));
    /// assert_eq!(range.get(cx), Some(7));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new<I, O>(
        descriptor: impl Into<StateDescriptor>,
        backend: &StateBackend,
        create: C,
        add: F,
        result: R,
    ) -> Result<Self, Error>
    where
        F: Fn(&mut A, I),
        R: Fn(&A) -> O,
    {
        Ok(Self { accumulator: ValueState::new(descriptor, backend)?, create, add, result })
    }

    /// The result for the key, or `None` if nothing was added. It is computed at each call.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, AggregatingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let add = |acc: &mut (i64, i64), n| *acc = (acc.0 + n, acc.1 + 1);
    /// let mut mean = AggregatingState::new("mean", &backend, || (0, 0), add, |acc| acc.0 / acc.1)?;
    /// let cx = KeyContext::new(&7_u64);
    /// assert_eq!(mean.get(cx), None);
    /// mean.add(cx, 4);
    /// mean.add(cx, 8);
    /// assert_eq!(mean.get(cx), Some(6));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get<O>(&mut self, cx: impl KeyRef<K>) -> Option<O>
    where
        R: Fn(&A) -> O,
    {
        self.accumulator.get(cx).map(&self.result)
    }

    /// Adds an item.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, AggregatingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut text = AggregatingState::new("text", &backend, String::new, String::push, String::len)?;
    /// let cx = KeyContext::new(&7_u64);
    /// text.add(cx, 'b');
    /// text.add(cx, 'e');
    /// assert_eq!(text.get(cx), Some(2));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn add<I>(&mut self, cx: impl KeyRef<K>, item: I)
    where
        F: Fn(&mut A, I),
    {
        self.accumulator.update_with(cx, &self.create, |accumulator| (self.add)(accumulator, item));
    }

    /// The key's accumulator, or `None` if nothing was added.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, AggregatingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let add = |acc: &mut (i64, i64), n| *acc = (acc.0 + n, acc.1 + 1);
    /// let mut mean = AggregatingState::new("mean", &backend, || (0, 0), add, |acc| acc.0 / acc.1)?;
    /// let cx = KeyContext::new(&7_u64);
    /// mean.add(cx, 4);
    /// assert_eq!(mean.accumulator(cx), Some(&(4, 1)));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn accumulator(&mut self, cx: impl KeyRef<K>) -> Option<&A> {
        self.accumulator.get(cx)
    }

    /// Drops the key's accumulator. Source: Flink's `State.clear`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, AggregatingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let add = |acc: &mut (i64, i64), n| *acc = (acc.0 + n, acc.1 + 1);
    /// let mut mean = AggregatingState::new("mean", &backend, || (0, 0), add, |acc| acc.0 / acc.1)?;
    /// let cx = KeyContext::new(&7_u64);
    /// mean.add(cx, 4);
    /// mean.clear(cx);
    /// assert!(mean.accumulator(cx).is_none());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn clear(&mut self, cx: impl KeyRef<K>) {
        self.accumulator.clear(cx);
    }
}

impl<K: Key, A: StateValue, C, F, R> StateSet for AggregatingState<K, A, C, F, R> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.accumulator.prefetch(hash);
    }

    fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        self.accumulator.each(f);
    }

    fn memory_bytes(&self) -> usize {
        self.accumulator.memory_bytes()
    }
}

impl<K: fmt::Debug, A: fmt::Debug, C, F, R> fmt::Debug for AggregatingState<K, A, C, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatingState").field("accumulator", &self.accumulator).finish_non_exhaustive()
    }
}
