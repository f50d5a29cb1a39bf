//! Windows in which the program chooses everything: trigger, lateness, late output, any function.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::Duration;

use super::aggregate::Aggregate;
use super::chain::{Chain, Exchanged, OneInputFactory};
use super::env::Env;
use super::keyed::KeyedStream;
use super::process::TakesSides;
use super::record::{Key, Record};
use super::stream::Stream;
use super::tag::{Declared, SideWriter, Sides, Tag};
use super::windowed::WindowedStream;
use crate::data_plane::SubtaskContext;
use crate::data_plane::writer::{Extract, KeyedWriter};
use crate::error::Result;
use crate::graph::{Partitioning, PortId};
use crate::operator::OneInput;
use crate::operator::output::Output;
use crate::operator::rolling::{Better, Extreme, First, Last, MaxField, MinField, Number, Reduce, SumField};
use crate::operator::stateless::Collector;
use crate::operator::window::function::{
    AggregateProcessWindow, AggregateWindow, ProcessClosureWindow, ProcessWindow, ProcessWindowFunction,
    ReduceProcessWindow, ReduceWindow, WindowFunction,
};
use crate::operator::window::general::WindowOperator;
use crate::time::assigner::{WindowAssigner, millis};
use crate::time::trigger::Trigger;
use crate::time::window::TimeWindow;

/// A chain that begins with windows over the stream `C`, keyed by `X`.
pub type WindowChain<C, X, A, Tr, F> = Exchanged<KeyOf<C, X>, ValueOf<C, X>, WindowFactory<A, Tr, F>>;

type KeyOf<C, X> = <X as Extract<<C as Chain>::Out>>::Key;
type ValueOf<C, X> = <X as Extract<<C as Chain>::Out>>::Value;

/// Windows of a stream with keys, with a trigger, lateness and outputs of one's own.
///
/// Each key has its own windows. A function makes it a stream again; its results carry the last timestamp of their window.
/// Source: Flink's `WindowedStream` and `AllWindowedStream`.
#[must_use = "windows do nothing until a function is applied"]
pub struct TriggeredStream<C: Chain, X: Extract<C::Out>, A, Tr> {
    keyed: KeyedStream<C, X>,
    assigner: A,
    trigger: Tr,
    lateness: Duration,
    late: Option<Tag<X::Value>>,
    partitioning: Partitioning,
}

impl<C, X, A> TriggeredStream<C, X, A, A::Trigger>
where
    C: Chain,
    X: Extract<C::Out, Value: Record>,
    A: WindowAssigner<X::Value>,
{
    fn new(keyed: KeyedStream<C, X>, assigner: A, partitioning: Partitioning) -> Self {
        let (trigger, lateness) = (assigner.default_trigger(), Duration::ZERO);
        Self { keyed, assigner, trigger, lateness, late: None, partitioning }
    }
}

impl<C: Chain, X: Extract<C::Out>> KeyedStream<C, X> {
    /// Windows in which everything can be chosen: see [`TriggeredStream`].
    pub fn window_general<A>(self, assigner: A) -> TriggeredStream<C, X, A, A::Trigger>
    where
        X::Value: Record,
        A: WindowAssigner<X::Value>,
    {
        TriggeredStream::new(self, assigner, Partitioning::Hash)
    }
}

impl<C: Chain> Stream<C> {
    /// Windows over all records, on one subtask, in which everything can be chosen: see [`TriggeredStream`].
    ///
    /// The key is `()`. Errors: `Error::Plan` at `execute` when the chain is given a parallelism above one.
    pub fn window_all_general<A>(self, assigner: A) -> TriggeredStream<C, Unkeyed<C::Out>, A, A::Trigger>
    where
        C::Out: Record,
        A: WindowAssigner<C::Out>,
    {
        let keyed = KeyedStream::new(self, Unkeyed::new());
        TriggeredStream::new(keyed, assigner, Partitioning::Global)
    }
}

/// A window stream that is given what only the general operator has becomes a [`TriggeredStream`].
#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C, X, A> WindowedStream<C, X, A>
where
    C: Chain,
    X: Extract<C::Out, Value: Record>,
    A: WindowAssigner<X::Value>,
{
    fn general(self) -> TriggeredStream<C, X, A, A::Trigger> {
        let Self { keyed, assigner, allowed_lateness, all } = self;
        let partitioning = if all { Partitioning::Global } else { Partitioning::Hash };
        TriggeredStream::new(keyed, assigner, partitioning).allowed_lateness(allowed_lateness)
    }

    /// See [`TriggeredStream::trigger`].
    pub fn trigger<Own: Trigger<X::Value>>(self, trigger: Own) -> TriggeredStream<C, X, A, Own> {
        self.general().trigger(trigger)
    }

    /// See [`TriggeredStream::late_output`].
    pub fn late_output(self, tag: &Tag<X::Value>) -> TriggeredStream<C, X, A, A::Trigger> {
        self.general().late_output(tag)
    }

    /// See [`TriggeredStream::process`].
    pub fn process<F>(self, function: F) -> Stream<WindowChain<C, X, A, A::Trigger, ProcessWindow<F>>>
    where
        F: ProcessWindowFunction<X::Key, X::Value>,
    {
        self.general().process(function)
    }

    /// See [`TriggeredStream::process_with`].
    pub fn process_with<U, F>(
        self,
        function: F,
    ) -> Stream<WindowChain<C, X, A, A::Trigger, ProcessClosureWindow<F, U>>>
    where
        U: 'static,
        F: FnMut(&X::Key, TimeWindow, &[X::Value], &mut Collector<U>) + Clone + Send + Sync + 'static,
    {
        self.general().process_with(function)
    }

    /// See [`TriggeredStream::aggregate_process`].
    pub fn aggregate_process<G, F>(
        self,
        aggregate: G,
        function: F,
    ) -> Stream<WindowChain<C, X, A, A::Trigger, AggregateProcessWindow<G, F>>>
    where
        G: Aggregate<X::Value>,
        F: ProcessWindowFunction<X::Key, G::Out>,
    {
        self.general().aggregate_process(aggregate, function)
    }

    /// See [`TriggeredStream::reduce_process`].
    pub fn reduce_process<R, F>(
        self,
        reduce: R,
        function: F,
    ) -> Stream<WindowChain<C, X, A, A::Trigger, ReduceProcessWindow<Reduce<R>, F>>>
    where
        R: Fn(&X::Value, &X::Value) -> X::Value + Clone + Send + Sync + 'static,
        F: ProcessWindowFunction<X::Key, X::Value>,
    {
        self.general().reduce_process(reduce, function)
    }
}

#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C, X, A, Tr> TriggeredStream<C, X, A, Tr>
where
    C: Chain,
    X: Extract<C::Out, Value: Record>,
    A: WindowAssigner<X::Value>,
    Tr: Trigger<X::Value>,
{
    /// Fires the windows by this trigger. Default: the assigner's. A window ends as before, also when the trigger ignores it.
    ///
    /// Errors: `Error::Plan` at `execute` when windows merge and the trigger cannot. Source: Flink's `WindowedStream.trigger`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{CountTrigger, Env, Purging, Tumbling, bounded};
    ///
    /// let env = Env::new().parallelism(1);
    /// let pairs = env
    ///     .generate(5, |n| n as i64)
    ///     .watermarks(bounded(Duration::ZERO).by(|n: &i64| *n))
    ///     .key_by(|_| ())
    ///     .window(Tumbling::of(Duration::from_millis(100)))
    ///     .trigger(Purging::of(CountTrigger::of(2)))
    ///     .reduce(|a, b| a * 10 + b)
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(pairs.take(), [1, 23]); // The fifth record is dropped when the window ends.
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn trigger<Own>(self, trigger: Own) -> TriggeredStream<C, X, A, Own>
    where
        Own: Trigger<X::Value>,
    {
        let Self { keyed, assigner, lateness, late, partitioning, .. } = self;
        TriggeredStream { keyed, assigner, trigger, lateness, late, partitioning }
    }

    /// Keeps a window until the watermark is `lateness` past its end; a late record in that time fires it again.
    ///
    /// Unit: event time, whole milliseconds; zero unless set. Cost: a window's state lives `lateness` longer. No effect on
    /// processing-time and global windows. Source: Flink's *allowed lateness*.
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self { lateness, ..self }
    }

    /// Sends the records that are late for all of their windows to `tag`, with their timestamps. Default: they are dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tag, Tumbling, punctuated};
    ///
    /// let env = Env::new().parallelism(1);
    /// let late = Tag::<i64>::new("late");
    /// let sums = env
    ///     .from_elements([5_i64, 12, 3])
    ///     .watermarks(punctuated(|_: &i64, timestamp| Some(timestamp)).by(|n: &i64| *n))
    ///     .key_by(|_| ())
    ///     .window(Tumbling::of(Duration::from_millis(10)))
    ///     .late_output(&late)
    ///     .sum(|n| n);
    /// let late = sums.side_output(&late).owned().collect();
    /// let sums = sums.collect();
    /// env.execute()?;
    /// assert_eq!((sums.take(), late.take()), (vec![5, 12], vec![3]));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn late_output(self, tag: &Tag<X::Value>) -> Self {
        Self { late: Some(*tag), ..self }
    }

    /// The windows with a function: the operator.
    fn apply<F>(self, name: &str, function: F) -> Stream<WindowChain<C, X, A, Tr, F>>
    where
        F: WindowFunction<X::Key, X::Value>,
    {
        let Self { keyed, assigner, trigger, lateness, late, partitioning } = self;
        let env = keyed.stream.env.clone();
        let mut factory = WindowFactory::new(&env, name, assigner, trigger, lateness, function);
        let late = late.map(|tag| env.side_port(&tag));
        let KeyedStream { stream, extract } = keyed;
        let (env, edge) =
            stream.exchange(partitioning, move |cx, port| Ok(KeyedWriter::new(cx, port, extract.clone())));
        factory.late = late;
        let all = partitioning == Partitioning::Global;
        let chain = Exchanged::new(&[edge], factory);
        let mut stream = Stream::begin(env, chain, name, &[edge], all.then_some(1));
        if all {
            stream.open.max_parallelism = Some(1); // A greater parallelism is then an error of the plan.
        }
        let node = stream.node;
        stream.sides.extend(late.map(|port| (port, node)));
        stream
    }

    /// The reduction of each window: `function` gets the result so far and the new record.
    ///
    /// Source: Flink's `WindowedStream.reduce`.
    pub fn reduce<F>(self, function: F) -> Stream<WindowChain<C, X, A, Tr, ReduceWindow<Reduce<F>>>>
    where
        F: Fn(&X::Value, &X::Value) -> X::Value + Clone + Send + Sync + 'static,
    {
        self.apply("Window: Reduce", ReduceWindow(Reduce(function)))
    }

    /// The aggregate of each window, as a [`crate::WindowResult`]. Source: Flink's `WindowedStream.aggregate`.
    pub fn aggregate<G>(self, aggregate: G) -> Stream<WindowChain<C, X, A, Tr, AggregateWindow<G>>>
    where
        G: Aggregate<X::Value>,
    {
        self.apply("Window: Aggregate", AggregateWindow(aggregate))
    }

    /// A function over all records of each window, which are kept until then. Source: Flink's `WindowedStream.process`.
    pub fn process<F>(self, function: F) -> Stream<WindowChain<C, X, A, Tr, ProcessWindow<F>>>
    where
        F: ProcessWindowFunction<X::Key, X::Value>,
    {
        self.apply("Window: Process", ProcessWindow(function))
    }

    /// [`TriggeredStream::process`] with a closure: it gets the key, the window, the records and where results go.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Session, bounded};
    ///
    /// let env = Env::new().parallelism(1);
    /// let visits = env
    ///     .from_elements([1_i64, 3, 20])
    ///     .watermarks(bounded(Duration::ZERO).by(|n: &i64| *n))
    ///     .window_all(Session::gap(Duration::from_millis(5)))
    ///     .process_with(|_: &(), window, elements, out| out.collect((window.start, window.end, elements.len())))
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(visits.take(), [(1, 8, 2), (20, 25, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn process_with<U, F>(
        self,
        function: F,
    ) -> Stream<WindowChain<C, X, A, Tr, ProcessClosureWindow<F, U>>>
    where
        U: 'static,
        F: FnMut(&X::Key, TimeWindow, &[X::Value], &mut Collector<U>) + Clone + Send + Sync + 'static,
    {
        self.apply("Window: Process", ProcessClosureWindow::new(function))
    }

    /// Aggregates while records come, and gives the result to `function` when the window fires: it sees a single element.
    ///
    /// Source: Flink's `WindowedStream.aggregate` with a `ProcessWindowFunction`.
    pub fn aggregate_process<G, F>(
        self,
        aggregate: G,
        function: F,
    ) -> Stream<WindowChain<C, X, A, Tr, AggregateProcessWindow<G, F>>>
    where
        G: Aggregate<X::Value>,
        F: ProcessWindowFunction<X::Key, G::Out>,
    {
        self.apply("Window: Aggregate, Process", AggregateProcessWindow { aggregate, function })
    }

    /// Reduces while records come, and gives the result to `function` when the window fires: it sees a single element.
    ///
    /// Source: Flink's `WindowedStream.reduce` with a `ProcessWindowFunction`.
    pub fn reduce_process<R, F>(
        self,
        reduce: R,
        function: F,
    ) -> Stream<WindowChain<C, X, A, Tr, ReduceProcessWindow<Reduce<R>, F>>>
    where
        R: Fn(&X::Value, &X::Value) -> X::Value + Clone + Send + Sync + 'static,
        F: ProcessWindowFunction<X::Key, X::Value>,
    {
        self.apply("Window: Reduce, Process", ReduceProcessWindow { reducer: Reduce(reduce), function })
    }

    /// The sum of a field over each window; the other fields are the first record's. Integers wrap. See [`KeyedStream::sum`].
    pub fn sum<V, F>(self, field: F) -> Stream<WindowChain<C, X, A, Tr, ReduceWindow<SumField<F, V>>>>
    where
        V: Number,
        F: Fn(&mut X::Value) -> &mut V + Clone + Send + Sync + 'static,
    {
        self.apply("Window: Sum", ReduceWindow(SumField::new(field)))
    }

    /// The least value of a field in each window; the other fields are the first record's. See [`KeyedStream::min`].
    pub fn min<V, F>(self, field: F) -> Stream<WindowChain<C, X, A, Tr, ReduceWindow<MinField<F, V>>>>
    where
        V: PartialOrd + Clone + 'static,
        F: Fn(&mut X::Value) -> &mut V + Clone + Send + Sync + 'static,
    {
        self.apply("Window: Min", ReduceWindow(MinField::new(field)))
    }

    /// The greatest value of a field in each window; the other fields are the first record's. See [`KeyedStream::max`].
    pub fn max<V, F>(self, field: F) -> Stream<WindowChain<C, X, A, Tr, ReduceWindow<MaxField<F, V>>>>
    where
        V: PartialOrd + Clone + 'static,
        F: Fn(&mut X::Value) -> &mut V + Clone + Send + Sync + 'static,
    {
        self.apply("Window: Max", ReduceWindow(MaxField::new(field)))
    }
}

/// A shortcut that keeps the best record of a window, by what a function takes from it.
macro_rules! extreme {
    ($($(#[$doc:meta])* $method:ident, $name:literal, $greater:literal, $which:ident;)*) => {
impl<C, X, A, Tr> TriggeredStream<C, X, A, Tr>
        where
            C: Chain,
            X: Extract<C::Out, Value: Record>,
            A: WindowAssigner<X::Value>,
            Tr: Trigger<X::Value>,
        {$(
            $(#[$doc])*
            pub fn $method<V, F>(
                self,
                by: F,
            ) -> Stream<WindowChain<C, X, A, Tr, ReduceWindow<Extreme<F, V, (Better<$greater>, $which)>>>>
            where
                V: PartialOrd + 'static,
                F: Fn(&X::Value) -> V + Clone + Send + Sync + 'static,
            {
                self.apply($name, ReduceWindow(Extreme::new(by)))
            }
        )*}
    };
}

extreme! {
    /// The record of each window with the least `by`; of equal ones the first. See [`KeyedStream::min_by`].
    min_by, "Window: MinBy", false, First;
    /// The record of each window with the greatest `by`; of equal ones the first. See [`KeyedStream::max_by`].
    max_by, "Window: MaxBy", true, First;
    /// [`TriggeredStream::min_by`] in which the last of equal records wins.
    min_by_last, "Window: MinBy", false, Last;
    /// [`TriggeredStream::max_by`] in which the last of equal records wins.
    max_by_last, "Window: MaxBy", true, Last;
}

/// Builds the operator of a [`TriggeredStream`].
#[derive(Debug, Clone)]
pub struct WindowFactory<A, Tr, F, S = ()> {
    assigner: A,
    trigger: Tr,
    lateness_ms: i64,
    late: Option<PortId>,
    sides: Declared<S>,
    function: F,
}

impl<A, Tr, F> WindowFactory<A, Tr, F> {
    /// Windows without outputs other than the main one. What cannot work is noted for `execute`.
    pub(crate) fn new<V>(
        env: &Env,
        name: &str,
        assigner: A,
        trigger: Tr,
        lateness: Duration,
        function: F,
    ) -> Self
    where
        A: WindowAssigner<V>,
        Tr: Trigger<V>,
    {
        env.check_windows(assigner.check());
        if A::MERGING && !trigger.can_merge() {
            let trigger = std::any::type_name::<Tr>();
            env.check_windows(Err(format!("{name}: windows merge, and the trigger {trigger} cannot")));
        }
        let lateness_ms = millis(lateness);
        Self { assigner, trigger, lateness_ms, late: None, sides: Declared::none(), function }
    }
}

impl<K, V, A, Tr, F, S> OneInputFactory<K, V> for WindowFactory<A, Tr, F, S>
where
    K: Key,
    V: Record,
    A: WindowAssigner<V>,
    Tr: Trigger<V>,
    F: WindowFunction<K, V>,
    S: Sides,
{
    type Out = F::Out;

    fn build<N: Output<F::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<impl OneInput<K, V>> {
        let late = self.late.map(|port| SideWriter::new(cx, port));
        let sides = self.sides.open(cx);
        let (assigner, trigger) = (self.assigner.clone(), self.trigger.clone());
        let function = self.function.clone();
        Ok(WindowOperator::new(cx, assigner, trigger, self.lateness_ms, function, late, sides, next))
    }
}

impl<K, V, A, Tr, F> TakesSides for Exchanged<K, V, WindowFactory<A, Tr, F>>
where
    K: Key,
    V: Record,
    A: WindowAssigner<V>,
    Tr: Trigger<V>,
    F: WindowFunction<K, V>,
{
    type With<S: Sides> = Exchanged<K, V, WindowFactory<A, Tr, F, S>>;

    fn with_sides<S: Sides>(self, sides: Declared<S>) -> Self::With<S> {
        self.map_factory(|factory| {
            let WindowFactory { assigner, trigger, lateness_ms, late, function, .. } = factory;
            WindowFactory { assigner, trigger, lateness_ms, late, sides, function }
        })
    }
}

/// All records under one key, `()`.
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
