//! Operators in the middle of a chain that keep no state between records.

use std::marker::PhantomData;

use super::output::{Control, Output, Stage};
use super::{OneInput, Operator, Received};
use crate::api::record::{Key, Record};
use crate::time::Timestamp;

/// Makes an operator pass everything that is not a record through to its field `next`.
macro_rules! pass_through {
    ($operator:ident<$($generic:ident),*>) => {
        impl<$($generic: 'static),*> Stage for $operator<$($generic),*>
        where
            N: Stage,
        {
            #[inline]
            fn control(&mut self, control: Control) {
                self.next.control(control);
            }

            fn wakes_at(&self) -> Option<Timestamp> {
                self.next.wakes_at()
            }
        }
    };
}
pub(crate) use pass_through;

/// One record to one record.
pub(crate) struct MapOutput<F, U, N> {
    function: F,
    next: N,
    out: PhantomData<fn() -> U>,
}

pass_through!(MapOutput<F, U, N>);

impl<F, U, N> MapOutput<F, U, N> {
    pub(crate) fn new(function: F, next: N) -> Self {
        Self { function, next, out: PhantomData }
    }
}

impl<T, U: 'static, F: FnMut(&T) -> U + 'static, N: Output<U>> Output<T> for MapOutput<F, U, N> {
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        let result = (self.function)(record);
        self.next.collect(&result, timestamp);
    }
}

/// One record to one record or none.
pub(crate) struct FilterMapOutput<F, U, N> {
    function: F,
    next: N,
    out: PhantomData<fn() -> U>,
}

pass_through!(FilterMapOutput<F, U, N>);

impl<F, U, N> FilterMapOutput<F, U, N> {
    pub(crate) fn new(function: F, next: N) -> Self {
        Self { function, next, out: PhantomData }
    }
}

impl<T, U: 'static, F: FnMut(&T) -> Option<U> + 'static, N: Output<U>> Output<T>
    for FilterMapOutput<F, U, N>
{
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        if let Some(result) = (self.function)(record) {
            self.next.collect(&result, timestamp);
        }
    }
}

/// Lets some records pass.
pub(crate) struct FilterOutput<F, N> {
    predicate: F,
    next: N,
}

pass_through!(FilterOutput<F, N>);

impl<F, N> FilterOutput<F, N> {
    pub(crate) fn new(predicate: F, next: N) -> Self {
        Self { predicate, next }
    }
}

impl<T, F: FnMut(&T) -> bool + 'static, N: Output<T>> Output<T> for FilterOutput<F, N> {
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        if (self.predicate)(record) {
            self.next.collect(record, timestamp);
        }
    }
}

/// Where a function with any number of results puts them: [`crate::Stream::flat_map`], [`crate::Stream::split`],
/// [`crate::WindowedStream::process_with`] and others lend one.
///
/// They are kept until the function returns, and then given to the next operator with the timestamp of the record, or the
/// window's last; the memory is used again for the next record. Source: Flink's `Collector`.
///
/// ```
/// use thalweg::{Collector, Env};
///
/// fn primes(n: &u64, factors: &mut Collector<u64>) {
///     factors.extend([2, 3, 5, 7].into_iter().filter(|prime| n % prime == 0));
/// }
///
/// let env = Env::new().parallelism(1);
/// let factors = env.from_elements([12, 35]).flat_map(primes).collect();
/// env.execute()?;
/// assert_eq!(factors.take(), [2, 3, 5, 7]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Collector<U> {
    records: Vec<U>,
}

impl<U> Collector<U> {
    pub(crate) fn new() -> Self {
        Self { records: Vec::new() }
    }

    /// Adds a result. For several there is [`Extend`].
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let changes = env.from_elements([(1, 2), (3, 3)]).flat_map(|change, out| {
    ///     if change.0 != change.1 {
    ///         out.collect(*change);
    ///     }
    /// });
    /// let changes = changes.collect();
    /// env.execute()?;
    /// assert_eq!(changes.take(), [(1, 2)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[inline]
    pub fn collect(&mut self, record: U) {
        self.records.push(record);
    }

    /// Takes out what was collected.
    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, U> {
        self.records.drain(..)
    }
}

impl<U> Extend<U> for Collector<U> {
    fn extend<I: IntoIterator<Item = U>>(&mut self, records: I) {
        self.records.extend(records);
    }
}

/// One record to any number.
pub(crate) struct FlatMapOutput<F, U, N> {
    function: F,
    collector: Collector<U>,
    next: N,
}

pass_through!(FlatMapOutput<F, U, N>);

impl<F, U, N> FlatMapOutput<F, U, N> {
    pub(crate) fn new(function: F, next: N) -> Self {
        Self { function, collector: Collector::new(), next }
    }
}

impl<T, U: 'static, F: FnMut(&T, &mut Collector<U>) + 'static, N: Output<U>> Output<T>
    for FlatMapOutput<F, U, N>
{
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        (self.function)(record, &mut self.collector);
        for result in self.collector.drain() {
            self.next.collect(&result, timestamp);
        }
    }
}

/// The head behind an exchange that only moves records.
pub(crate) struct ArchivedOutput<N> {
    next: N,
}

pass_through!(ArchivedOutput<N>);

impl<N> ArchivedOutput<N> {
    pub(crate) fn new(next: N) -> Self {
        Self { next }
    }
}

impl<N: Stage> Operator for ArchivedOutput<N> {}

impl<K: Key, T: Record, N: Output<T::Archived>> OneInput<K, T> for ArchivedOutput<N> {
    #[inline]
    fn process(&mut self, record: Received<'_, K, T>) {
        self.next.collect(record.value, record.timestamp);
    }
}
