//! Rolling aggregations: for each record the aggregate of its key so far.

use std::marker::PhantomData;

use thalweg_state::{StateSet, StateValue, ValueState};

use super::lookahead::Lookahead;
use super::output::{Control, Output, Stage};
use super::stateless::pass_through;
use super::{CACHED_STATE_BYTES, OneInput, Operator, Received};
use crate::api::record::{Key, Record};
use crate::data_plane::SubtaskContext;
use crate::error::Result;
use crate::time::Timestamp;

/// Adds a record to the aggregate of the records before it.
pub trait Reducer<T>: Clone + Send + Sync + 'static {
    /// `aggregate` becomes the aggregate of itself and `record`.
    fn reduce(&self, aggregate: &mut T, record: T);
}

/// The operator: one aggregate for each key.
pub(crate) struct Rolling<K, T, R, N> {
    reducer: R,
    aggregates: ValueState<K, T>,
    ahead: Lookahead<K>,
    next: N,
}

pass_through!(Rolling<K, T, R, N>);

impl<K: Key, T: StateValue, R, N> Rolling<K, T, R, N> {
    pub(crate) fn new(cx: &SubtaskContext, reducer: R, next: N) -> Result<Self> {
        Ok(Self { reducer, aggregates: cx.value_state("aggregate")?, ahead: Lookahead::new(cx), next })
    }
}

impl<K: Key, T: StateValue, R: 'static, N: Stage> Operator for Rolling<K, T, R, N> {
    fn prepares(&self) -> bool {
        self.ahead.spills()
    }

    fn prepared(&mut self) -> bool {
        self.ahead.is_ready(&mut self.aggregates)
    }

    fn maintain(&mut self) {
        self.ahead.maintain(&mut self.aggregates);
    }
}

impl<K: Key, T: Record + StateValue, R: Reducer<T>, N: Output<T>> OneInput<K, T> for Rolling<K, T, R, N> {
    fn looks_ahead(&self) -> bool {
        self.aggregates.memory_bytes() > CACHED_STATE_BYTES
    }

    #[inline]
    fn prefetch(&self, key_hash: u64, _timestamp: Timestamp) {
        self.aggregates.prefetch(key_hash);
    }

    fn prepare(&mut self, record: Received<'_, K, T>) {
        self.ahead.show(&mut self.aggregates, &record);
    }

    #[inline]
    fn process(&mut self, record: Received<'_, K, T>) {
        let value = T::unarchive(record.value);
        let reduce = |aggregate: &mut T, value| self.reducer.reduce(aggregate, value);
        let aggregate = self.aggregates.upsert(record.archived_key(), value, |first| first, reduce);
        self.next.collect(aggregate, record.timestamp);
    }
}

/// The reducer of [`crate::KeyedStream::reduce`].
#[derive(Debug, Clone)]
pub struct Reduce<F>(pub(crate) F);

impl<T, F: Fn(&T, &T) -> T + Clone + Send + Sync + 'static> Reducer<T> for Reduce<F> {
    #[inline]
    fn reduce(&self, aggregate: &mut T, record: T) {
        *aggregate = (self.0)(aggregate, &record);
    }
}

/// A number that can be summed. Integers wrap, as in Flink.
pub trait Number: Copy + PartialOrd + Send + Sync + 'static {
    /// The sum.
    fn plus(self, other: Self) -> Self;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Number for $type {
            #[inline]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

impl Number for f64 {
    #[inline]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Number for f32 {
    #[inline]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

macro_rules! field_reducer {
    ($(#[$doc:meta])* $name:ident, $bound:path, |$aggregate:ident, $value:ident| $update:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<F, V> {
            field: F,
            value: PhantomData<fn() -> V>,
        }

        impl<F, V> $name<F, V> {
            pub(crate) fn new(field: F) -> Self {
                Self { field, value: PhantomData }
            }
        }

        impl<F: Clone, V> Clone for $name<F, V> {
            fn clone(&self) -> Self {
                Self::new(self.field.clone())
            }
        }

        impl<T, V: $bound + Clone + 'static, F> Reducer<T> for $name<F, V>
        where
            F: Fn(&mut T) -> &mut V + Clone + Send + Sync + 'static,
        {
            #[inline]
            fn reduce(&self, aggregate: &mut T, mut record: T) {
                let $value = (self.field)(&mut record).clone();
                let $aggregate = (self.field)(aggregate);
                $update
            }
        }
    };
}

field_reducer!(
    /// Sums one field and keeps the rest of the first record.
    SumField, Number, |aggregate, value| *aggregate = aggregate.plus(value)
);
field_reducer!(
    /// The least of one field, with the rest of the first record.
    MinField, PartialOrd, |aggregate, value| if value < *aggregate { *aggregate = value }
);
field_reducer!(
    /// The greatest of one field, with the rest of the first record.
    MaxField, PartialOrd, |aggregate, value| if value > *aggregate { *aggregate = value }
);

/// Whether the greater is better, or the less.
#[derive(Debug, Clone)]
pub struct Better<const GREATER: bool>;
/// Of equal records the first is kept.
#[derive(Debug, Clone)]
pub struct First;
/// Of equal records the last is kept.
#[derive(Debug, Clone)]
pub struct Last;

/// Which of two records is kept.
pub trait Prefer: 'static {
    /// Whether a record with `new` replaces one with `old`.
    fn replaces<V: PartialOrd>(new: &V, old: &V) -> bool;
}

impl Prefer for (Better<true>, First) {
    #[inline]
    fn replaces<V: PartialOrd>(new: &V, old: &V) -> bool {
        new > old
    }
}

impl Prefer for (Better<true>, Last) {
    #[inline]
    fn replaces<V: PartialOrd>(new: &V, old: &V) -> bool {
        new >= old
    }
}

impl Prefer for (Better<false>, First) {
    #[inline]
    fn replaces<V: PartialOrd>(new: &V, old: &V) -> bool {
        new < old
    }
}

impl Prefer for (Better<false>, Last) {
    #[inline]
    fn replaces<V: PartialOrd>(new: &V, old: &V) -> bool {
        new <= old
    }
}

/// Keeps the whole record that has the best value.
#[derive(Debug)]
pub struct Extreme<F, V, P> {
    by: F,
    prefer: PhantomData<fn() -> (V, P)>,
}

impl<F, V, P> Extreme<F, V, P> {
    pub(crate) fn new(by: F) -> Self {
        Self { by, prefer: PhantomData }
    }
}

impl<F: Clone, V, P> Clone for Extreme<F, V, P> {
    fn clone(&self) -> Self {
        Self::new(self.by.clone())
    }
}

impl<T, V: PartialOrd + 'static, P: Prefer, F: Fn(&T) -> V + Clone + Send + Sync + 'static> Reducer<T>
    for Extreme<F, V, P>
{
    #[inline]
    fn reduce(&self, aggregate: &mut T, record: T) {
        if P::replaces(&(self.by)(&record), &(self.by)(aggregate)) {
            *aggregate = record;
        }
    }
}

/// Counts the records of each key; needs nothing of them but the key.
pub(crate) struct CountRolling<K, N> {
    counts: ValueState<K, u64>,
    ahead: Lookahead<K>,
    next: N,
}

pass_through!(CountRolling<K, N>);

impl<K: Key, N> CountRolling<K, N> {
    pub(crate) fn new(cx: &SubtaskContext, next: N) -> Result<Self> {
        Ok(Self { counts: cx.value_state("count")?, ahead: Lookahead::new(cx), next })
    }
}

impl<K: Key, N: Stage> Operator for CountRolling<K, N> {
    fn prepares(&self) -> bool {
        self.ahead.spills()
    }

    fn prepared(&mut self) -> bool {
        self.ahead.is_ready(&mut self.counts)
    }

    fn maintain(&mut self) {
        self.ahead.maintain(&mut self.counts);
    }
}

impl<K: Key, N: Output<(K, u64)>> OneInput<K, ()> for CountRolling<K, N> {
    fn looks_ahead(&self) -> bool {
        self.counts.memory_bytes() > CACHED_STATE_BYTES
    }

    #[inline]
    fn prefetch(&self, key_hash: u64, _timestamp: Timestamp) {
        self.counts.prefetch(key_hash);
    }

    fn prepare(&mut self, record: Received<'_, K, ()>) {
        self.ahead.show(&mut self.counts, &record);
    }

    #[inline]
    fn process(&mut self, record: Received<'_, K, ()>) {
        // The row is what the table keeps: a key with memory of its own is not cloned for each record.
        let row = self.counts.update_row(record.archived_key(), || 0, |n| *n += 1);
        self.next.collect(row, record.timestamp);
    }
}
