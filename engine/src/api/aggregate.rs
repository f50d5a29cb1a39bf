//! Aggregates: what a window keeps instead of its records.

use thalweg_state::StateValue;

use std::marker::PhantomData;

use super::record::Record;
use crate::operator::rolling::Reducer;
use crate::time::window::TimeWindow;

/// An aggregate that can be computed in parts and put together: the parts are made before the exchange, so that what is sent is one
/// accumulator for many records. Source: Flink's `AggregateFunction`, whose `merge` is optional there.
///
/// ```
/// use thalweg::Aggregate;
///
/// #[derive(Clone)]
/// struct Average;
///
/// impl Aggregate<f64> for Average {
///     type Acc = (f64, u64);
///     type Out = f64;
///     fn create(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///     fn add(&self, acc: &mut (f64, u64), record: &f64) {
///         acc.0 += record;
///         acc.1 += 1;
///     }
///     fn merge(&self, acc: &mut (f64, u64), other: (f64, u64)) {
///         acc.0 += other.0;
///         acc.1 += other.1;
///     }
///     fn result(&self, acc: &(f64, u64)) -> f64 {
///         acc.0 / acc.1 as f64
///     }
/// }
///
/// let mut acc = Average.create();
/// Average.add(&mut acc, &3.0);
/// Average.merge(&mut acc, (5.0, 1));
/// assert_eq!(Average.result(&acc), 4.0);
/// ```
pub trait Aggregate<T>: Clone + Send + Sync + 'static {
    /// What is kept and sent.
    type Acc: Record + StateValue;
    /// What comes out of it.
    type Out: 'static;

    /// Whether [`Aggregate::retract`] undoes `merge`. Overlapping windows then cost what enters and leaves them, not all they hold.
    const INVERTIBLE: bool = false;

    /// Whether the result is the same in whichever order records come. Overlapping windows then share what they have in common;
    /// otherwise each keeps an accumulator of its own, so that a record costs as many merges as it has windows.
    ///
    /// True if it is invertible, unless set. An average is, in integers; what keeps a *first* or *last* record is not, nor a sum of
    /// floats to the last bit.
    const COMMUTATIVE: bool = Self::INVERTIBLE;

    /// The accumulator of no records.
    fn create(&self) -> Self::Acc;

    /// Adds a record.
    fn add(&self, acc: &mut Self::Acc, record: &T);

    /// Adds the records of another accumulator, which came later or from another subtask. Associative.
    fn merge(&self, acc: &mut Self::Acc, other: Self::Acc);

    /// The result so far.
    fn result(&self, acc: &Self::Acc) -> Self::Out;

    /// Takes out what was merged from `other`. Called only where [`Aggregate::INVERTIBLE`] says so.
    fn retract(&self, _acc: &mut Self::Acc, _other: &Self::Acc) {}
}

/// Counts records, as SQL's `COUNT(*)`. Overlapping windows cost what enters and leaves them.
///
/// ```
/// use thalweg::{Count, Env, Global};
///
/// let env = Env::new().parallelism(1);
/// let count = env.generate(1_000, |n| n).window_all(Global::end_of_stream()).aggregate(Count).map(|count| count.value).collect();
/// env.execute()?;
/// assert_eq!(count.take(), [1_000]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Count;

impl<T> Aggregate<T> for Count {
    type Acc = u64;
    type Out = u64;
    const INVERTIBLE: bool = true;

    fn create(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&self, acc: &mut u64, _record: &T) {
        *acc += 1;
    }

    #[inline]
    fn merge(&self, acc: &mut u64, other: u64) {
        *acc += other;
    }

    #[inline]
    fn result(&self, acc: &u64) -> u64 {
        *acc
    }

    #[inline]
    fn retract(&self, acc: &mut u64, other: &u64) {
        *acc -= other;
    }
}

/// The result of a window for a key.
///
/// ```
/// use thalweg::{TimeWindow, WindowResult};
///
/// let result = WindowResult { key: 7_u64, window: TimeWindow { start: 0, end: 1000 }, value: 42_u64 };
/// assert_eq!(result.window.end, 1000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct WindowResult<K, V> {
    /// The key; `()` for windows over a stream without keys.
    pub key: K,
    /// The window.
    pub window: TimeWindow,
    /// What the aggregate makes of the window's records.
    pub value: V,
}

/// What an operator emits for a window: a [`WindowResult`] for an aggregate, the record itself for a reduction.
pub trait Emit<K, Acc>: Clone + Send + Sync + 'static {
    /// The type of the records that it emits.
    type Out: 'static;

    /// The record for a key and a window.
    fn emit(&self, key: &K, window: TimeWindow, acc: &Acc) -> Self::Out;
}

/// Emits [`WindowResult`]s.
#[derive(Debug)]
pub struct EmitResult<A, T> {
    aggregate: A,
    record: PhantomData<fn(T)>,
}

impl<A, T> EmitResult<A, T> {
    pub(crate) fn new(aggregate: A) -> Self {
        Self { aggregate, record: PhantomData }
    }
}

impl<A: Clone, T> Clone for EmitResult<A, T> {
    fn clone(&self) -> Self {
        Self::new(self.aggregate.clone())
    }
}

impl<K: Clone + 'static, T: 'static, A: Aggregate<T>> Emit<K, A::Acc> for EmitResult<A, T> {
    type Out = WindowResult<K, A::Out>;

    #[inline]
    fn emit(&self, key: &K, window: TimeWindow, acc: &A::Acc) -> Self::Out {
        WindowResult { key: key.clone(), window, value: self.aggregate.result(acc) }
    }
}

/// A reduction as an aggregate: the accumulator is a record, once there is one.
#[derive(Debug, Clone)]
pub struct Reducing<R>(pub(crate) R);

impl<T: Record + Clone, R: Reducer<T>> Aggregate<T> for Reducing<R>
where
    Option<T>: Record + StateValue,
{
    type Acc = Option<T>;
    type Out = T;

    fn create(&self) -> Option<T> {
        None
    }

    #[inline]
    fn add(&self, acc: &mut Option<T>, record: &T) {
        self.merge(acc, Some(record.clone()));
    }

    #[inline]
    fn merge(&self, acc: &mut Option<T>, other: Option<T>) {
        match (acc, other) {
            (Some(acc), Some(other)) => self.0.reduce(acc, other),
            (acc @ None, other) => *acc = other,
            (Some(_), None) => {}
        }
    }

    #[inline]
    fn result(&self, acc: &Option<T>) -> T {
        acc.clone().expect("a window has a record before it fires")
    }
}

/// Emits the reduced record as it is.
#[derive(Debug, Clone, Copy)]
pub struct EmitReduced;

impl<K: 'static, T: Clone + 'static> Emit<K, Option<T>> for EmitReduced {
    type Out = T;

    #[inline]
    fn emit(&self, _key: &K, _window: TimeWindow, acc: &Option<T>) -> T {
        acc.clone().expect("a window has a record before it fires")
    }
}
