//! Two streams into one operator, each with records of its own type.
//!
//! ```text
//!   a ── connect(b) ──▶ co_map, co_flat_map                   records come as they come
//!   a.key_by ── connect(b.key_by) ──▶ the same, and process   one key's records of both are together
//! ```
//!
//! Event time is the lesser of the two inputs' watermarks; an input that is idle is left out.

use std::marker::PhantomData;

use thalweg_state::StateSet;

use super::chain::{Chain, Connected, TwoInputFactory};
use super::context::{KeyedContext, OpenContext};
use super::env::Env;
use super::keyed::KeyedStream;
use super::process::{ProcessFactory, TakesSides};
use super::record::{Key, Record};
use super::stream::Stream;
use super::tag::{Declared, Sides};
use crate::data_plane::SubtaskContext;
use crate::data_plane::writer::{Extract, PartitionWriter};
use crate::error::Result;
use crate::graph::{EdgeId, Partitioning};
use crate::operator::TwoInput;
use crate::operator::co_process::{CoFlatMap, CoMap, KeyedCoProcess};
use crate::operator::output::Output;
use crate::operator::partition;
use crate::operator::process::Services;
use crate::operator::stateless::Collector;
use crate::time::Timestamp;

impl<C: Chain> Stream<C> {
    /// Brings this stream and another of other records to one operator, which has a function for each. Source: Flink's `connect`.
    ///
    /// The operator runs as often as this stream; the other one is rebalanced if it does not.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (numbers, words) = (env.from_elements([1_u64, 2]), env.from_elements(["three".to_string()]));
    /// let lengths = numbers.connect(words).co_map(|n| n.to_native(), |word| word.len() as u64).collect();
    /// env.execute()?;
    /// let mut lengths = lengths.take();
    /// lengths.sort();
    /// assert_eq!(lengths, [1, 2, 5]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn connect<D: Chain>(self, other: Stream<D>) -> ConnectedStreams<C, D>
    where
        C::Out: Record,
        D::Out: Record,
    {
        ConnectedStreams { left: self, right: other }
    }
}

impl<C: Chain, X: Extract<C::Out>> KeyedStream<C, X> {
    /// Brings this stream and another with the same type of key to one operator, where the records of a key meet. Source:
    /// Flink's `connect` of two keyed streams.
    ///
    /// See [`KeyedCoProcessFunction`] for an example with state.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (a, b) = (env.from_elements([('a', 1)]), env.from_elements(['a', 'b']));
    /// let merged = a.key_by(|r| r.0).connect(b.key_by(|c| *c)).co_map(|r| r.0.to_native(), |c| c.to_native()).collect();
    /// env.execute()?;
    /// let mut merged = merged.take();
    /// merged.sort();
    /// assert_eq!(merged, ['a', 'a', 'b']);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn connect<D: Chain, Y: Extract<D::Out, Key = X::Key>>(
        self,
        other: KeyedStream<D, Y>,
    ) -> KeyedConnectedStreams<C, X, D, Y>
    where
        X::Value: Record,
        Y::Value: Record,
    {
        KeyedConnectedStreams { left: self, right: other }
    }
}

/// Two streams on their way to one operator. Made by [`Stream::connect`]. The order between the two is free, that within each is
/// kept. Source: Flink's `ConnectedStreams`.
#[must_use = "streams do nothing until they end in a sink and the job executes"]
pub struct ConnectedStreams<C: Chain, D: Chain> {
    left: Stream<C>,
    right: Stream<D>,
}

#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C: Chain, D: Chain> ConnectedStreams<C, D>
where
    C::Out: Record,
    D::Out: Record,
{
    /// One record of either stream to one record. Source: Flink's `CoMapFunction`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (celsius, fahrenheit) = (env.from_elements([20_f64]), env.from_elements([68_i32]));
    /// let degrees = celsius.connect(fahrenheit).co_map(|c| c.to_native(), |f| f64::from(f.to_native() - 32) / 1.8).collect();
    /// env.execute()?;
    /// assert_eq!(degrees.take(), [20.0, 20.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn co_map<U: 'static, F, G>(
        self,
        left: F,
        right: G,
    ) -> Stream<Connected<(), C::Out, D::Out, CoMapFactory<F, G, U>>>
    where
        F: FnMut(&<C::Out as rkyv::Archive>::Archived) -> U + Clone + Send + Sync + 'static,
        G: FnMut(&<D::Out as rkyv::Archive>::Archived) -> U + Clone + Send + Sync + 'static,
    {
        self.operator("CoMap", CoMapFactory { left, right, out: PhantomData })
    }

    /// One record of either stream to any number. Source: Flink's `CoFlatMapFunction`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let lines = env.from_elements(["to be", "or"]).map(|line| line.to_string());
    /// let numbers = env.generate(4, |n| n);
    /// let words = lines.connect(numbers).co_flat_map(
    ///     |line, out| out.extend(line.split(' ').map(str::to_owned)),
    ///     |n, out| if *n > 2 { out.collect(n.to_string()) },
    /// );
    /// let words = words.collect();
    /// env.execute()?;
    /// let mut words = words.take();
    /// words.sort();
    /// assert_eq!(words, ["3", "be", "or", "to"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn co_flat_map<U: 'static, F, G>(
        self,
        left: F,
        right: G,
    ) -> Stream<Connected<(), C::Out, D::Out, CoFlatMapFactory<F, G, U>>>
    where
        F: FnMut(&<C::Out as rkyv::Archive>::Archived, &mut Collector<U>) + Clone + Send + Sync + 'static,
        G: FnMut(&<D::Out as rkyv::Archive>::Archived, &mut Collector<U>) + Clone + Send + Sync + 'static,
    {
        self.operator("CoFlatMap", CoFlatMapFactory { left, right, out: PhantomData })
    }

    fn operator<F: TwoInputFactory<(), C::Out, D::Out>>(
        self,
        name: &str,
        factory: F,
    ) -> Stream<Connected<(), C::Out, D::Out, F>> {
        let Self { left, right } = self;
        let parallelism = left.open.parallelism;
        let balance = if parallelism == right.open.parallelism {
            Partitioning::Forward
        } else {
            Partitioning::Rebalance
        };
        let (env, left) = send(left, Partitioning::Forward);
        let (_, right) = send(right, balance);
        begin(env, name, left, right, parallelism, factory)
    }
}

/// Two keyed streams on their way to one operator. Made by [`KeyedStream::connect`]. Source: Flink's `ConnectedStreams` with keys.
#[must_use = "streams do nothing until they end in a sink and the job executes"]
pub struct KeyedConnectedStreams<C: Chain, X, D: Chain, Y> {
    left: KeyedStream<C, X>,
    right: KeyedStream<D, Y>,
}

#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C: Chain, X: Extract<C::Out>, D: Chain, Y: Extract<D::Out, Key = X::Key>>
    KeyedConnectedStreams<C, X, D, Y>
where
    X::Value: Record,
    Y::Value: Record,
{
    /// Applies a function with state and timers, which both streams share. Source: Flink's `ConnectedStreams.process`.
    ///
    /// ```
    /// use thalweg::{Context, Env, KeyedCoProcessFunction, KeyedContext, OpenContext, Result, ValueState};
    ///
    /// /// Counts the records of both streams.
    /// #[derive(Clone)]
    /// struct CountBoth;
    ///
    /// impl KeyedCoProcessFunction<(), char, String> for CountBoth {
    ///     type Out = u64;
    ///     type State = ValueState<(), u64>;
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
    ///         cx.value("count")
    ///     }
    ///
    ///     fn process_left(&mut self, _: &rkyv::rend::char_le, count: &mut Self::State, cx: &mut impl KeyedContext<(), u64>) {
    ///         count.update_with(cx.at(), || 0, |count| *count += 1);
    ///     }
    ///
    ///     fn process_right(
    ///         &mut self,
    ///         _: &rkyv::string::ArchivedString,
    ///         count: &mut Self::State,
    ///         cx: &mut impl KeyedContext<(), u64>,
    ///     ) {
    ///         let count = count.update_with(cx.at(), || 0, |count| { *count += 1; *count });
    ///         cx.collect(&count);
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let letters = env.from_elements(['a', 'b', 'c']).key_by(|_| ());
    /// let words = env.from_elements(["to"]).map(|word| word.to_string()).key_by(|_| ());
    /// let counts = letters.connect(words).process(CountBoth).collect();
    /// env.execute()?;
    /// assert!(matches!(counts.take()[..], [1..=4]), "the order between the two is free");
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn process<F: KeyedCoProcessFunction<X::Key, X::Value, Y::Value>>(
        self,
        function: F,
    ) -> Stream<Connected<X::Key, X::Value, Y::Value, ProcessFactory<F, ()>>> {
        self.operator("KeyedCoProcess", ProcessFactory::new(function))
    }

    /// One record of either stream to one record, on the core of its key. Source: Flink's `CoMapFunction`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(2);
    /// let orders = env.from_elements([(1_u64, 30_i64), (2, 40)]).key_by(|order| order.0).map_values(|order| order.1);
    /// let returns = env.from_elements([(1_u64, 30_i64)]).key_by(|back| back.0).map_values(|back| back.1);
    /// let amounts = orders.connect(returns).co_map(|bought| bought.to_native(), |back| -back.to_native()).collect();
    /// env.execute()?;
    /// assert_eq!(amounts.take().iter().sum::<i64>(), 40);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn co_map<U: 'static, F, G>(
        self,
        left: F,
        right: G,
    ) -> Stream<Connected<X::Key, X::Value, Y::Value, CoMapFactory<F, G, U>>>
    where
        F: FnMut(&<X::Value as rkyv::Archive>::Archived) -> U + Clone + Send + Sync + 'static,
        G: FnMut(&<Y::Value as rkyv::Archive>::Archived) -> U + Clone + Send + Sync + 'static,
    {
        self.operator("CoMap", CoMapFactory { left, right, out: PhantomData })
    }

    /// One record of either stream to any number, on the core of its key. Source: Flink's `CoFlatMapFunction`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(2);
    /// let (small, large) = (env.generate(4, |n| n).key_by(|n| *n), env.generate(4, |n| n * 100).key_by(|n| *n));
    /// let numbers = small.connect(large).co_flat_map(
    ///     |n, out| if *n > 1 { out.collect(n.to_native()) },
    ///     |n, out| out.extend([n.to_native(), n.to_native() + 1]),
    /// );
    /// let numbers = numbers.collect();
    /// env.execute()?;
    /// let mut numbers = numbers.take();
    /// numbers.sort();
    /// assert_eq!(numbers, [0, 1, 2, 3, 100, 101, 200, 201, 300, 301]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn co_flat_map<U: 'static, F, G>(
        self,
        left: F,
        right: G,
    ) -> Stream<Connected<X::Key, X::Value, Y::Value, CoFlatMapFactory<F, G, U>>>
    where
        F: FnMut(&<X::Value as rkyv::Archive>::Archived, &mut Collector<U>) + Clone + Send + Sync + 'static,
        G: FnMut(&<Y::Value as rkyv::Archive>::Archived, &mut Collector<U>) + Clone + Send + Sync + 'static,
    {
        self.operator("CoFlatMap", CoFlatMapFactory { left, right, out: PhantomData })
    }

    fn operator<F: TwoInputFactory<X::Key, X::Value, Y::Value>>(
        self,
        name: &str,
        factory: F,
    ) -> Stream<Connected<X::Key, X::Value, Y::Value, F>> {
        let (env, left) = self.left.send();
        let (_, right) = self.right.send();
        begin(env, name, left, right, None, factory)
    }
}

fn send<C: Chain>(stream: Stream<C>, partitioning: Partitioning) -> (Env, EdgeId)
where
    C::Out: Record,
{
    // With the one receiver of a forward edge, taking them in turn means taking it.
    stream.exchange(partitioning, |cx, port| {
        Ok(PartitionWriter::new(cx, port, partition::RoundRobin::default()))
    })
}

/// The stream of an operator behind two edges.
fn begin<K: Key, A: Record, B: Record, F: TwoInputFactory<K, A, B>>(
    env: Env,
    name: &str,
    left: EdgeId,
    right: EdgeId,
    parallelism: Option<usize>,
    factory: F,
) -> Stream<Connected<K, A, B, F>> {
    let chain = Connected::new(&[left], &[right], factory);
    Stream::begin(env, chain, name, &[left, right], parallelism)
}

/// A function over the records of two keyed streams, which share state and timers for each key.
///
/// All else is as with [`crate::KeyedProcessFunction`]. Source: Flink's `KeyedCoProcessFunction`.
///
/// ```
/// use thalweg::{Context, Env, KeyedCoProcessFunction, KeyedContext, OpenContext, Result, ValueState};
/// use rkyv::tuple::ArchivedTuple2;
/// use rkyv::rend::u64_le;
///
/// type Archived = ArchivedTuple2<u64_le, u64_le>;
///
/// /// What comes first of an order and its payment waits for the other.
/// #[derive(Clone)]
/// struct Match;
///
/// impl KeyedCoProcessFunction<u64, (u64, u64), (u64, u64)> for Match {
///     type Out = (u64, u64);
///     type State = (ValueState<u64, u64>, ValueState<u64, u64>);
///
///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
///         Ok((cx.value("order")?, cx.value("payment")?))
///     }
///
///     fn process_left(&mut self, order: &Archived, state: &mut Self::State, cx: &mut impl KeyedContext<u64, (u64, u64)>) {
///         match state.1.take(cx.at()) {
///             Some(payment) => cx.collect(&(order.1.to_native(), payment)),
///             None => state.0.set(cx.at(), order.1.to_native()),
///         }
///     }
///
///     fn process_right(&mut self, payment: &Archived, state: &mut Self::State, cx: &mut impl KeyedContext<u64, (u64, u64)>) {
///         match state.0.take(cx.at()) {
///             Some(order) => cx.collect(&(order, payment.1.to_native())),
///             None => state.1.set(cx.at(), payment.1.to_native()),
///         }
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let orders = env.from_elements([(1_u64, 10_u64), (2, 20)]).key_by(|order| order.0);
/// let payments = env.from_elements([(2_u64, 21_u64)]).key_by(|payment| payment.0);
/// let paid = orders.connect(payments).process(Match).collect();
/// env.execute()?;
/// assert_eq!(paid.take(), [(20, 21)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait KeyedCoProcessFunction<K: Key, A: Record, B: Record>: Clone + Send + Sync + 'static {
    /// What it collects.
    type Out: 'static;
    /// What it keeps of each key; `()` for nothing.
    type State: StateSet + 'static;

    /// Called once in each subtask before its first record: registers the states. Errors fail the job at its start.
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State>;

    /// Takes a record of the first stream.
    fn process_left(
        &mut self,
        record: &A::Archived,
        state: &mut Self::State,
        cx: &mut impl KeyedContext<K, Self::Out>,
    );

    /// Takes a record of the second stream.
    fn process_right(
        &mut self,
        record: &B::Archived,
        state: &mut Self::State,
        cx: &mut impl KeyedContext<K, Self::Out>,
    );

    /// A timer of the current key fires, which was registered at `timestamp`, in ms. Default: nothing happens.
    fn on_timer(
        &mut self,
        _timestamp: Timestamp,
        _state: &mut Self::State,
        _cx: &mut impl KeyedContext<K, Self::Out>,
    ) {
    }

    /// Called once after the last record and timer, if the job has not failed.
    fn close(&mut self, _state: &mut Self::State) {}
}

impl<K: Key, A: Record, B: Record, F: KeyedCoProcessFunction<K, A, B>, S: Sides> TwoInputFactory<K, A, B>
    for ProcessFactory<F, S>
{
    type Out = F::Out;

    fn build<N: Output<F::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<impl TwoInput<K, A, B>> {
        let mut function = self.function.clone();
        let state = function.open(&OpenContext::keyed(cx))?;
        Ok(KeyedCoProcess::new(function, state, Services::new(cx, self.sides.open(cx), next)?))
    }
}

impl<K: Key, A: Record, B: Record, F: KeyedCoProcessFunction<K, A, B>> TakesSides
    for Connected<K, A, B, ProcessFactory<F, ()>>
{
    type With<S: Sides> = Connected<K, A, B, ProcessFactory<F, S>>;

    fn with_sides<S: Sides>(self, sides: Declared<S>) -> Self::With<S> {
        self.map_factory(|factory| factory.with_sides(sides))
    }
}

/// Builds [`ConnectedStreams::co_map`], with keys and without.
pub struct CoMapFactory<F, G, U> {
    left: F,
    right: G,
    out: PhantomData<fn() -> U>,
}

/// Builds [`ConnectedStreams::co_flat_map`], with keys and without.
pub struct CoFlatMapFactory<F, G, U> {
    left: F,
    right: G,
    out: PhantomData<fn() -> U>,
}

impl<F: Clone, G: Clone, U> Clone for CoMapFactory<F, G, U> {
    fn clone(&self) -> Self {
        Self { left: self.left.clone(), right: self.right.clone(), out: PhantomData }
    }
}

impl<F: Clone, G: Clone, U> Clone for CoFlatMapFactory<F, G, U> {
    fn clone(&self) -> Self {
        Self { left: self.left.clone(), right: self.right.clone(), out: PhantomData }
    }
}

impl<K: Key, A: Record, B: Record, U: 'static, F, G> TwoInputFactory<K, A, B> for CoMapFactory<F, G, U>
where
    F: FnMut(&A::Archived) -> U + Clone + Send + Sync + 'static,
    G: FnMut(&B::Archived) -> U + Clone + Send + Sync + 'static,
{
    type Out = U;

    fn build<N: Output<U>>(&self, next: N, _cx: &mut SubtaskContext) -> Result<impl TwoInput<K, A, B>> {
        Ok(CoMap::new(self.left.clone(), self.right.clone(), next))
    }
}

impl<K: Key, A: Record, B: Record, U: 'static, F, G> TwoInputFactory<K, A, B> for CoFlatMapFactory<F, G, U>
where
    F: FnMut(&A::Archived, &mut Collector<U>) + Clone + Send + Sync + 'static,
    G: FnMut(&B::Archived, &mut Collector<U>) + Clone + Send + Sync + 'static,
{
    type Out = U;

    fn build<N: Output<U>>(&self, next: N, _cx: &mut SubtaskContext) -> Result<impl TwoInput<K, A, B>> {
        Ok(CoFlatMap::new(self.left.clone(), self.right.clone(), next))
    }
}
