//! A running reduction under each key.

use super::{HeapBackend, KeyContext, StateDescriptor, StateSet, ValueState};
use crate::{Error, Key};
use std::fmt;

/// Under each key, all values added so far, reduced to one of the same type.
///
/// The reduction changes its first argument in place. Each method is one look-up. Source: Flink's `ReducingState`.
///
/// ```
/// use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ReducingState};
/// let max = MaxParallelism::default();
/// let backend = HeapBackend::new(KeyGroupRange::all(max), max);
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

impl<K: Key, V, F: Fn(&mut V, V)> ReducingState<K, V, F> {
    /// Registers the state with the operator's backend. `reduce` adds its second argument to its first.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name.
    pub fn new(
        descriptor: impl Into<StateDescriptor>,
        backend: &HeapBackend,
        reduce: F,
    ) -> Result<Self, Error> {
        Ok(Self { value: ValueState::new(descriptor, backend)?, reduce })
    }

    /// The key's reduced value, or `None` if nothing was added.
    #[inline]
    pub fn get(&self, cx: KeyContext<'_, K>) -> Option<&V> {
        self.value.get(cx)
    }

    /// Adds a value, and returns the reduced one.
    #[inline]
    pub fn add(&mut self, cx: KeyContext<'_, K>, value: V) -> &V {
        self.value.upsert(cx, value, |value| value, &self.reduce)
    }

    /// Takes the key's reduced value away.
    #[inline]
    pub fn take(&mut self, cx: KeyContext<'_, K>) -> Option<V> {
        self.value.take(cx)
    }

    /// Drops the key's reduced value.
    #[inline]
    pub fn clear(&mut self, cx: KeyContext<'_, K>) {
        self.value.clear(cx);
    }
}

impl<K, V, F> StateSet for ReducingState<K, V, F> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.value.prefetch(hash);
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
