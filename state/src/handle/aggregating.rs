//! A running aggregate under each key.

use super::{HeapBackend, KeyContext, StateDescriptor, StateSet, ValueState};
use crate::{Error, Key};
use std::fmt;

/// Under each key, all items added so far, in an accumulator `A` from which a result is computed when asked for.
///
/// Three closures say how: `create` makes an accumulator, `add` puts an item into one, `result` reads one. Each method
/// is one look-up. Source: Flink's `AggregatingState`.
///
/// ```
/// use thalweg_state::{AggregatingState, HeapBackend, KeyContext, KeyGroupRange, MaxParallelism};
/// let max = MaxParallelism::default();
/// let backend = HeapBackend::new(KeyGroupRange::all(max), max);
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

impl<K: Key, A, C: Fn() -> A, F, R> AggregatingState<K, A, C, F, R> {
    /// Registers the state with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name.
    pub fn new<I, O>(
        descriptor: impl Into<StateDescriptor>,
        backend: &HeapBackend,
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

    /// The result for the key, or `None` if nothing was added.
    #[inline]
    pub fn get<O>(&self, cx: KeyContext<'_, K>) -> Option<O>
    where
        R: Fn(&A) -> O,
    {
        self.accumulator.get(cx).map(&self.result)
    }

    /// Adds an item.
    #[inline]
    pub fn add<I>(&mut self, cx: KeyContext<'_, K>, item: I)
    where
        F: Fn(&mut A, I),
    {
        self.accumulator.update_with(cx, &self.create, |accumulator| (self.add)(accumulator, item));
    }

    /// The key's accumulator, or `None` if nothing was added.
    #[inline]
    pub fn accumulator(&self, cx: KeyContext<'_, K>) -> Option<&A> {
        self.accumulator.get(cx)
    }

    /// Drops the key's accumulator.
    #[inline]
    pub fn clear(&mut self, cx: KeyContext<'_, K>) {
        self.accumulator.clear(cx);
    }
}

impl<K, A, C, F, R> StateSet for AggregatingState<K, A, C, F, R> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.accumulator.prefetch(hash);
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
