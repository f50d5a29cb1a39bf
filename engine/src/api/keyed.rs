//! Streams with keys.

use std::marker::PhantomData;

use thalweg_state::StateValue;

use super::chain::{Chain, Exchanged, OneInputFactory};
use super::env::Env;
use super::record::{Key, Record};
use super::stream::Stream;
use crate::data_plane::SubtaskContext;
use crate::data_plane::writer::{Extract, KeyedWriter};
use crate::error::Result;
use crate::graph::{EdgeId, Partitioning};
use crate::operator::OneInput;
use crate::operator::output::Output;
use crate::operator::rolling::{
    Better, CountRolling, Extreme, First, Last, MaxField, MinField, Number, Reduce, Reducer, Rolling,
    SumField,
};

/// A stream with keys: records with equal keys are together on one core. Made by [`Stream::key_by`].
///
/// Its aggregates are *rolling*: each record that comes gives one result, the aggregate of its key so far, with the record's
/// timestamp. The order among keys is free. State is kept for each key for as long as the job runs;
/// [windows](KeyedStream::window) forget theirs.
///
/// ```
/// let env = thalweg::Env::new().parallelism(1);
/// let letters = env.from_elements(['a', 'b', 'a']).key_by(|c| *c);
/// let counts = letters.count().collect();
/// env.execute()?;
/// assert_eq!(counts.take(), [('a', 1), ('b', 1), ('a', 2)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[must_use = "a stream does nothing until it ends in a sink and the job executes"]
pub struct KeyedStream<C: Chain, X> {
    pub(crate) stream: Stream<C>,
    pub(crate) extract: X,
}

#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C: Chain, X: Extract<C::Out>> KeyedStream<C, X> {
    pub(crate) fn new(stream: Stream<C>, extract: X) -> Self {
        Self { stream, extract }
    }

    /// Sends keys and values through an exchange to the operator that `factory` builds.
    pub(crate) fn operator<F>(self, name: &str, factory: F) -> Stream<Exchanged<X::Key, X::Value, F>>
    where
        X::Value: Record,
        F: OneInputFactory<X::Key, X::Value>,
    {
        let (env, edge) = self.send();
        Stream::begin(env, Exchanged::new(&[edge], factory), name, &[edge], None)
    }

    /// The exchange alone.
    pub(crate) fn send(self) -> (Env, EdgeId)
    where
        X::Value: Record,
    {
        let extract = self.extract;
        self.stream
            .exchange(Partitioning::Hash, move |cx, port| Ok(KeyedWriter::new(cx, port, extract.clone())))
    }

    /// For each record the reduction of all records of its key so far.
    ///
    /// `function` gets the result so far and the new record. Source: Flink's `KeyedStream.reduce`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let result = env.from_elements([1_u64, 2, 3]).key_by(|_| ()).reduce(|a, b| a * 10 + b).collect();
    /// env.execute()?;
    /// assert_eq!(result.take(), [1, 12, 123]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn reduce<F>(self, function: F) -> Stream<Exchanged<X::Key, X::Value, RollingFactory<Reduce<F>>>>
    where
        X::Value: Record + StateValue,
        F: Fn(&X::Value, &X::Value) -> X::Value + Clone + Send + Sync + 'static,
    {
        self.operator("Reduce", RollingFactory(Reduce(function)))
    }

    /// For each record the sum of a field over all records of its key so far; the other fields are the first record's. Integers wrap.
    ///
    /// `field` names the field: `|r| &mut r.amount`. Source: Flink's `KeyedStream.sum`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let result = env.from_elements([('a', 1), ('b', 5), ('a', 2)]).key_by(|r| r.0).sum(|r| &mut r.1).collect();
    /// env.execute()?;
    /// assert_eq!(result.take(), [('a', 1), ('b', 5), ('a', 3)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn sum<V, F>(self, field: F) -> Stream<Exchanged<X::Key, X::Value, RollingFactory<SumField<F, V>>>>
    where
        X::Value: Record + StateValue,
        V: Number,
        F: Fn(&mut X::Value) -> &mut V + Clone + Send + Sync + 'static,
    {
        self.operator("Sum", RollingFactory(SumField::new(field)))
    }

    /// For each record the least value of a field so far; the other fields are the first record's, so the result need not be a
    /// record that ever came: for that see [`KeyedStream::min_by`]. Source: Flink's `KeyedStream.min`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let offers = env.from_elements([(30, 'x'), (20, 'y'), (25, 'z')]);
    /// let least = offers.key_by(|_| ()).min(|offer| &mut offer.0).collect();
    /// env.execute()?;
    /// assert_eq!(least.take(), [(30, 'x'), (20, 'x'), (20, 'x')]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn min<V, F>(self, field: F) -> Stream<Exchanged<X::Key, X::Value, RollingFactory<MinField<F, V>>>>
    where
        X::Value: Record + StateValue,
        V: PartialOrd + Clone + 'static,
        F: Fn(&mut X::Value) -> &mut V + Clone + Send + Sync + 'static,
    {
        self.operator("Min", RollingFactory(MinField::new(field)))
    }

    /// For each record the greatest value of a field so far; the other fields are the first record's, as with
    /// [`KeyedStream::min`]. Source: Flink's `KeyedStream.max`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let bids = env.from_elements([(30.0, 'x'), (20.0, 'y'), (45.5, 'z')]);
    /// let highest = bids.key_by(|_| ()).max(|bid| &mut bid.0).collect();
    /// env.execute()?;
    /// assert_eq!(highest.take(), [(30.0, 'x'), (30.0, 'x'), (45.5, 'x')]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn max<V, F>(self, field: F) -> Stream<Exchanged<X::Key, X::Value, RollingFactory<MaxField<F, V>>>>
    where
        X::Value: Record + StateValue,
        V: PartialOrd + Clone + 'static,
        F: Fn(&mut X::Value) -> &mut V + Clone + Send + Sync + 'static,
    {
        self.operator("Max", RollingFactory(MaxField::new(field)))
    }

    /// For each record the one with the least `by` so far; of equal ones the first. Source: Flink's `KeyedStream.minBy`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let offers = env.from_elements([(30, 'x'), (20, 'y'), (20, 'z')]);
    /// let best = offers.key_by(|_| ()).min_by(|offer| offer.0).collect();
    /// env.execute()?;
    /// assert_eq!(best.take(), [(30, 'x'), (20, 'y'), (20, 'y')]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn min_by<V: PartialOrd + 'static, F>(
        self,
        by: F,
    ) -> Stream<Exchanged<X::Key, X::Value, RollingFactory<Extreme<F, V, (Better<false>, First)>>>>
    where
        X::Value: Record + StateValue,
        F: Fn(&X::Value) -> V + Clone + Send + Sync + 'static,
    {
        self.operator("MinBy", RollingFactory(Extreme::new(by)))
    }

    /// For each record the one with the greatest `by` so far; of equal ones the first. Source: Flink's `KeyedStream.maxBy`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let words = env.from_elements(["to", "question", "be"]).map(|word| word.to_string());
    /// let longest = words.key_by(|_| ()).max_by(|word| word.len()).collect();
    /// env.execute()?;
    /// assert_eq!(longest.take(), ["to", "question", "question"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn max_by<V: PartialOrd + 'static, F>(
        self,
        by: F,
    ) -> Stream<Exchanged<X::Key, X::Value, RollingFactory<Extreme<F, V, (Better<true>, First)>>>>
    where
        X::Value: Record + StateValue,
        F: Fn(&X::Value) -> V + Clone + Send + Sync + 'static,
    {
        self.operator("MaxBy", RollingFactory(Extreme::new(by)))
    }

    /// [`KeyedStream::min_by`] in which the last of equal records wins. Source: Flink's `minBy` with `first = false`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let offers = env.from_elements([(20, 'x'), (20, 'y'), (30, 'z')]);
    /// let best = offers.key_by(|_| ()).min_by_last(|offer| offer.0).collect();
    /// env.execute()?;
    /// assert_eq!(best.take(), [(20, 'x'), (20, 'y'), (20, 'y')]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn min_by_last<V: PartialOrd + 'static, F>(
        self,
        by: F,
    ) -> Stream<Exchanged<X::Key, X::Value, RollingFactory<Extreme<F, V, (Better<false>, Last)>>>>
    where
        X::Value: Record + StateValue,
        F: Fn(&X::Value) -> V + Clone + Send + Sync + 'static,
    {
        self.operator("MinBy", RollingFactory(Extreme::new(by)))
    }

    /// [`KeyedStream::max_by`] in which the last of equal records wins. Source: Flink's `maxBy` with `first = false`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let words = env.from_elements(["to", "be", "a"]).map(|word| word.to_string());
    /// let longest = words.key_by(|_| ()).max_by_last(|word| word.len()).collect();
    /// env.execute()?;
    /// assert_eq!(longest.take(), ["to", "be", "be"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn max_by_last<V: PartialOrd + 'static, F>(
        self,
        by: F,
    ) -> Stream<Exchanged<X::Key, X::Value, RollingFactory<Extreme<F, V, (Better<true>, Last)>>>>
    where
        X::Value: Record + StateValue,
        F: Fn(&X::Value) -> V + Clone + Send + Sync + 'static,
    {
        self.operator("MaxBy", RollingFactory(Extreme::new(by)))
    }

    /// For each record its key and how many records the key has had.
    ///
    /// Only the key is sent, not the record: `key_by(k).count()` costs less than summing ones.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let words = ["to", "be", "or", "not", "to", "be"];
    /// let result = env.from_elements(words).key_by(|w| w.to_string()).count().filter(|(_, n)| *n == 2).collect();
    /// env.execute()?;
    /// assert_eq!(result.take(), [("to".to_string(), 2), ("be".to_string(), 2)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn count(self) -> Stream<Exchanged<X::Key, (), CountFactory>> {
        self.map_values(|_| ()).operator("Count", CountFactory)
    }

    /// Sends only what `value` takes from a record, with its key. What is not sent costs nothing.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let sales = env.from_elements([("pear", 3, "a note nobody sums up"), ("fig", 1, ""), ("pear", 2, "")]);
    /// let sold = sales.key_by(|sale| sale.0.to_string()).map_values(|sale| sale.1).sum(|amount| amount).collect();
    /// env.execute()?;
    /// assert_eq!(sold.take(), [3, 1, 5]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn map_values<V: 'static, F>(self, value: F) -> KeyedStream<C, MapValue<X, F, V>>
    where
        F: FnMut(&X::Value) -> V + Clone + Send + Sync + 'static,
    {
        KeyedStream {
            stream: self.stream,
            extract: MapValue { inner: self.extract, value, out: PhantomData },
        }
    }
}

/// The key of [`Stream::key_by`], with the whole record as value.
pub struct ByKey<F, K> {
    key: F,
    out: PhantomData<fn() -> K>,
}

impl<F, K> ByKey<F, K> {
    pub(crate) fn new(key: F) -> Self {
        Self { key, out: PhantomData }
    }
}

impl<F: Clone, K> Clone for ByKey<F, K> {
    fn clone(&self) -> Self {
        Self::new(self.key.clone())
    }
}

impl<T: 'static, K: Key, F: FnMut(&T) -> K + Clone + Send + Sync + 'static> Extract<T> for ByKey<F, K> {
    type Key = K;
    type Value = T;

    #[inline]
    fn extract<R>(&mut self, record: &T, use_it: impl FnOnce(K, &T) -> R) -> R {
        use_it((self.key)(record), record)
    }
}

/// The key and the value of [`KeyedStream::map_values`].
pub struct MapValue<X, F, V> {
    inner: X,
    value: F,
    out: PhantomData<fn() -> V>,
}

impl<X: Clone, F: Clone, V> Clone for MapValue<X, F, V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), value: self.value.clone(), out: PhantomData }
    }
}

impl<T, V: 'static, X: Extract<T>, F: FnMut(&X::Value) -> V + Clone + Send + Sync + 'static> Extract<T>
    for MapValue<X, F, V>
{
    type Key = X::Key;
    type Value = V;

    #[inline]
    fn extract<R>(&mut self, record: &T, use_it: impl FnOnce(X::Key, &V) -> R) -> R {
        let Self { inner, value, .. } = self;
        inner.extract(record, |key, whole| use_it(key, &value(whole)))
    }
}

/// All records under one key, `()`: what [`Stream::window_all`] begins with.
#[derive(Debug)]
pub struct Unkeyed<T>(PhantomData<fn(&T)>);

impl<T> Unkeyed<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Unkeyed<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: 'static> Extract<T> for Unkeyed<T> {
    type Key = ();
    type Value = T;

    #[inline]
    fn extract<R>(&mut self, record: &T, use_it: impl FnOnce((), &T) -> R) -> R {
        use_it((), record)
    }
}

/// Builds a rolling aggregation: [`KeyedStream::reduce`] and its shortcuts.
#[derive(Debug, Clone)]
pub struct RollingFactory<R>(R);

impl<K: Key, V: Record + StateValue, R: Reducer<V>> OneInputFactory<K, V> for RollingFactory<R> {
    type Out = V;

    fn build<N: Output<V>>(&self, next: N, cx: &mut SubtaskContext) -> Result<impl OneInput<K, V>> {
        Rolling::new(cx, self.0.clone(), next)
    }
}

/// Builds [`KeyedStream::count`].
#[derive(Debug, Clone)]
pub struct CountFactory;

impl<K: Key> OneInputFactory<K, ()> for CountFactory {
    type Out = (K, u64);

    fn build<N: Output<(K, u64)>>(&self, next: N, cx: &mut SubtaskContext) -> Result<impl OneInput<K, ()>> {
        CountRolling::new(cx, next)
    }
}
