//! A running reduction under each key.

use super::set::{KeyedState, StateSet};
use super::value::ValueState;
use crate::backend::{StateBackend, StateDescriptor};
use crate::context::KeyRef;
use crate::{Error, Key, StateValue};
use std::fmt;

/// Under each key, all values added so far, reduced to one of the same type.
///
/// The reduction changes its first argument in place. Each method is one look-up. With a [`Ttl`](crate::Ttl) it is the reduced value that
/// lives: one that has expired is not added to. Source: Flink's `ReducingState`.
///
/// ```
/// use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ReducingState};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut highest = ReducingState::new("highest", &backend, |a: &mut u64, b| *a = b.max(*a))?;
/// let cx = KeyContext::new(&7_u64);
/// assert_eq!(highest.get(cx), None);
/// for price in [3, 5, 4] {
///     highest.add(cx, price);
/// }
/// assert_eq!(highest.get(cx), Some(&5));
/// # Ok::<(), thalweg_state::Error>(())
/// ```
pub struct ReducingState<K, V, F = fn(&mut V, V)> {
    value: ValueState<K, V>,
    reduce: F,
}

impl<K: Key, V: StateValue, F: Fn(&mut V, V)> ReducingState<K, V, F> {
    /// Registers the state with the operator's backend. `reduce` adds its second argument to its first.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name. O(key groups).
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ReducingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut longest = ReducingState::new("longest", &backend, |a: &mut String, b: String| if b.len() > a.len() { *a = b })?;
    /// let cx = KeyContext::new(&7_u64);
    /// for word in ["to", "question", "be"] {
    ///     longest.add(cx, word.to_string());
    /// }
    /// assert_eq!(longest.get(cx).unwrap(), "question");
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(
        descriptor: impl Into<StateDescriptor>,
        backend: &StateBackend,
        reduce: F,
    ) -> Result<Self, Error> {
        Ok(Self { value: ValueState::new(descriptor, backend)?, reduce })
    }

    /// The key's reduced value, or `None` if nothing was added.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ReducingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut sum = ReducingState::new("sum", &backend, |a: &mut u64, b| *a += b)?;
    /// sum.add(KeyContext::new(&'a'), 5);
    /// assert_eq!(sum.get(KeyContext::new(&'a')), Some(&5));
    /// assert_eq!(sum.get(KeyContext::new(&'b')), None);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get(&mut self, cx: impl KeyRef<K>) -> Option<&V> {
        self.value.get(cx)
    }

    /// Adds a value, and returns the reduced one. The first is taken as it is.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ReducingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut sum = ReducingState::new("sum", &backend, |a: &mut u64, b| *a += b)?;
    /// let cx = KeyContext::new(&'a');
    /// assert_eq!([1, 2, 3].map(|n| *sum.add(cx, n)), [1, 3, 6]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn add(&mut self, cx: impl KeyRef<K>, value: V) -> &V {
        self.value.upsert(cx, value, |value| value, &self.reduce)
    }

    /// Takes the key's reduced value away: the next one added is the first again.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ReducingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut sum = ReducingState::new("sum", &backend, |a: &mut u64, b| *a += b)?;
    /// let cx = KeyContext::new(&'a');
    /// sum.add(cx, 5);
    /// assert_eq!((sum.take(cx), sum.take(cx)), (Some(5), None));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn take(&mut self, cx: impl KeyRef<K>) -> Option<V> {
        self.value.take(cx)
    }

    /// Drops the key's reduced value. Source: Flink's `State.clear`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ReducingState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut sum = ReducingState::new("sum", &backend, |a: &mut u64, b| *a += b)?;
    /// let cx = KeyContext::new(&'a');
    /// sum.add(cx, 5);
    /// sum.clear(cx);
    /// assert_eq!(*sum.add(cx, 2), 2);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn clear(&mut self, cx: impl KeyRef<K>) {
        self.value.clear(cx);
    }
}

impl<K: Key, V: StateValue, F> StateSet for ReducingState<K, V, F> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.value.prefetch(hash);
    }

    fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        self.value.each(f);
    }

    fn memory_bytes(&self) -> usize {
        self.value.memory_bytes()
    }
}

impl<K: fmt::Debug, V: fmt::Debug, F> fmt::Debug for ReducingState<K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReducingState").field("value", &self.value).finish_non_exhaustive()
    }
}
