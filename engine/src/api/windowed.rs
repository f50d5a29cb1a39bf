//! Windows over a stream: which records they hold, when they fire, what they make.
//!
//! ```text
//!   keyed.window(assigner) ── trigger, allowed_lateness, late_output ──▶ reduce, aggregate, process, sum … ──▶ Stream
//! ```
//!
//! How they are computed shows in the types alone: see [`super::window_path`].

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_state::StateValue;

use super::aggregate::Aggregate;
use super::chain::Chain;
use super::keyed::{KeyedStream, Unkeyed};
use super::record::Record;
use super::stream::Stream;
use super::tag::Tag;
use super::window_path::{AggregatesWindows, Applied, ReducesWindows};
use crate::data_plane::writer::Extract;
use crate::graph::Partitioning;
use crate::operator::rolling::{Better, Extreme, First, Last, MaxField, MinField, Number, Reduce, SumField};
use crate::operator::stateless::Collector;
use crate::operator::window::function::{
    AggregateProcessWindow, ProcessClosureWindow, ProcessWindow, ProcessWindowFunction, ReduceProcessWindow,
};
use crate::time::assigner::{PerRecord, WindowAssigner};
use crate::time::trigger::Trigger;
use crate::time::window::TimeWindow;

/// A stream in windows. Made by [`KeyedStream::window`] or [`Stream::window_all`].
///
/// Each key has its own windows. A function makes it a stream again; its results carry the last timestamp of their window.
/// Source: Flink's `WindowedStream` and `AllWindowedStream`.
///
/// `A` puts records into windows, `Tr` fires them, and `P` is how they are computed: [`Tumbling`](crate::Tumbling),
/// [`Sliding`](crate::Sliding) and [`Session`](crate::Session) windows of event time are aggregated in part before the exchange
/// as long as nothing is asked of them that needs the records one by one: a trigger of one's own, a late output, a function over all
/// records. Those that overlap share what they have in common if the [aggregate](crate::Aggregate::COMMUTATIVE) does not care
/// in which order records come. Results are the same.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Env, Tumbling, monotonous};
///
/// let env = Env::new().parallelism(1);
/// let sales = env.from_elements([(1_i64, 'a', 3), (5, 'b', 1), (7, 'a', 4), (12, 'a', 9)]);
/// let sums = sales
///     .watermarks(monotonous().by(|sale: &(i64, char, i32)| sale.0))
///     .key_by(|sale| sale.1)
///     .map_values(|sale| (sale.1, sale.2))
///     .window(Tumbling::of(Duration::from_millis(10)))
///     .sum(|sale| &mut sale.1)
///     .collect();
/// env.execute()?;
/// let mut sums = sums.take();
/// sums.sort();
/// assert_eq!(sums, [('a', 7), ('a', 9), ('b', 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[must_use = "windows do nothing until a function is applied"]
pub struct WindowedStream<C: Chain, X: Extract<C::Out>, A, Tr, P> {
    pub(crate) keyed: KeyedStream<C, X>,
    pub(crate) assigner: A,
    pub(crate) trigger: Tr,
    pub(crate) lateness: Duration,
    pub(crate) late: Option<Tag<X::Value>>,
    /// Without keys, global: one subtask for all.
    pub(crate) partitioning: Partitioning,
    path: PhantomData<P>,
}

impl<C: Chain, X: Extract<C::Out>> KeyedStream<C, X> {
    /// Puts the records of each key into windows.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Count, Env, Tumbling, bounded};
    ///
    /// let env = Env::new().parallelism(1);
    /// let counts = env
    ///     .from_elements([(100_i64, 'a'), (900, 'a'), (1_500, 'a')])
    ///     .watermarks(bounded(Duration::ZERO).by(|r: &(i64, char)| r.0))
    ///     .key_by(|r| r.1)
    ///     .window(Tumbling::of(Duration::from_secs(1)))
    ///     .aggregate(Count)
    ///     .map(|r| (r.key, r.window.end, r.value))
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(counts.take(), [('a', 1_000, 2), ('a', 2_000, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn window<A>(self, assigner: A) -> WindowedStream<C, X, A, A::Trigger, A::Path>
    where
        A: WindowAssigner<X::Value>,
    {
        WindowedStream::new(self, assigner, Partitioning::Hash)
    }
}

impl<C: Chain> Stream<C> {
    /// Puts all records into windows, without keys. What is aggregated in parts on all cores comes together in one subtask.
    ///
    /// Functions see the key `()`. Errors: `Error::Plan` at `execute` when the chain is given a parallelism above one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tumbling, bounded};
    ///
    /// let env = Env::new().parallelism(2);
    /// let best = env
    ///     .generate(100, |n| (n as i64, n % 37))
    ///     .watermarks(bounded(Duration::ZERO).by(|r: &(i64, u64)| r.0))
    ///     .window_all(Tumbling::of(Duration::from_millis(50)))
    ///     .max_by(|r| r.1)
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(best.take(), [(36, 36), (73, 36)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn window_all<A>(self, assigner: A) -> WindowedStream<C, Unkeyed<C::Out>, A, A::Trigger, A::Path>
    where
        A: WindowAssigner<C::Out>,
    {
        WindowedStream::new(KeyedStream::new(self, Unkeyed::new()), assigner, Partitioning::Global)
    }
}

impl<C, X, A> WindowedStream<C, X, A, A::Trigger, A::Path>
where
    C: Chain,
    X: Extract<C::Out>,
    A: WindowAssigner<X::Value>,
{
    fn new(keyed: KeyedStream<C, X>, assigner: A, partitioning: Partitioning) -> Self {
        keyed.stream.env.check_windows(assigner.check());
        let (trigger, lateness) = (assigner.default_trigger(), Duration::ZERO);
        Self { keyed, assigner, trigger, lateness, late: None, partitioning, path: PhantomData }
    }
}

/// What windows over the stream `C`, keyed by `X`, become when they are aggregated.
type Aggregated<C, X, A, Tr, P, G> = Stream<<P as AggregatesWindows<C, X, A, Tr, G>>::Chain>;

/// What windows over the stream `C`, keyed by `X`, become when they are reduced.
type Reduced<C, X, A, Tr, P, R> = Stream<<P as ReducesWindows<C, X, A, Tr, R>>::Chain>;

impl<C: Chain, X: Extract<C::Out>, A, Tr, P> WindowedStream<C, X, A, Tr, P> {
    /// Keeps a window until the watermark is `lateness` past its end; a late record in that time fires it again.
    ///
    /// Unit: event time, whole milliseconds; zero unless set. Cost: a window's state lives `lateness` longer. No effect on
    /// processing-time and global windows. Source: Flink's *allowed lateness*.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tumbling, punctuated};
    ///
    /// let env = Env::new().parallelism(1);
    /// let ten = Duration::from_millis(10);
    /// let sums = env
    ///     .from_elements([5_i64, 12, 3, 21, 4]) // Each is a watermark too: 3 is late by 2 ms, 4 by 11.
    ///     .watermarks(punctuated(|_: &i64, timestamp| Some(timestamp)).by(|n: &i64| *n))
    ///     .key_by(|_| ())
    ///     .window(Tumbling::of(ten))
    ///     .allowed_lateness(ten)
    ///     .sum(|n| n)
    ///     .collect();
    /// let result = env.execute()?;
    /// assert_eq!(sums.take(), [5, 8, 12, 21]); // The first window fires again; then it is forgotten.
    /// assert_eq!(result.late_records_dropped(), 1);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self { lateness, ..self }
    }

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
    pub fn trigger<Own>(self, trigger: Own) -> WindowedStream<C, X, A, Own, PerRecord>
    where
        Own: Trigger<X::Value>,
    {
        self.per_record(|_| trigger)
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
    pub fn late_output(self, tag: &Tag<X::Value>) -> WindowedStream<C, X, A, Tr, PerRecord> {
        let windows = self.per_record(|trigger| trigger);
        WindowedStream { late: Some(*tag), ..windows }
    }

    /// The same windows, which take their records one by one.
    pub(super) fn per_record<Own>(
        self,
        trigger: impl FnOnce(Tr) -> Own,
    ) -> WindowedStream<C, X, A, Own, PerRecord> {
        let Self { keyed, assigner, lateness, late, partitioning, .. } = self;
        let trigger = trigger(self.trigger);
        WindowedStream { keyed, assigner, trigger, lateness, late, partitioning, path: PhantomData }
    }

    /// The aggregate of each window, as a [`crate::WindowResult`]. Source: Flink's `WindowedStream.aggregate`.
    ///
    /// One accumulator is kept for each key and window, or for each slice where windows overlap.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Count, Env, Sliding, TimeWindow, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let counts = env
    ///     .from_elements([12_i64, 14])
    ///     .watermarks(monotonous().by(|n: &i64| *n))
    ///     .key_by(|_| 'k')
    ///     .window(Sliding::of(Duration::from_millis(10)).every(Duration::from_millis(5)))
    ///     .aggregate(Count)
    ///     .map(|result| (result.key, result.window, result.value))
    ///     .collect();
    /// env.execute()?;
    /// let window = |start| TimeWindow { start, end: start + 10 };
    /// assert_eq!(counts.take(), [('k', window(5), 2), ('k', window(10), 2)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn aggregate<G>(self, aggregate: G) -> Aggregated<C, X, A, Tr, P, G>
    where
        G: Aggregate<X::Value>,
        P: AggregatesWindows<C, X, A, Tr, G>,
    {
        P::aggregate(self, aggregate)
    }

    /// The reduction of each window: `function` gets the result so far and the new record. Must be associative.
    ///
    /// Source: Flink's `WindowedStream.reduce`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tumbling, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let products = env
    ///     .from_elements([2_i64, 3, 7, 11])
    ///     .watermarks(monotonous().by(|n: &i64| *n))
    ///     .key_by(|_| ())
    ///     .window(Tumbling::of(Duration::from_millis(10)))
    ///     .reduce(|a, b| a * b)
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(products.take(), [42, 11]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn reduce<F>(self, function: F) -> Reduced<C, X, A, Tr, P, Reduce<F>>
    where
        F: Fn(&X::Value, &X::Value) -> X::Value + Clone + Send + Sync + 'static,
        P: ReducesWindows<C, X, A, Tr, Reduce<F>>,
    {
        P::reduce(self, "Window: Reduce", Reduce(function))
    }
}

#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C, X, A, Tr, P> WindowedStream<C, X, A, Tr, P>
where
    C: Chain,
    X: Extract<C::Out, Value: Record>,
    A: WindowAssigner<X::Value>,
    Tr: Trigger<X::Value>,
{
    /// A function over all records of each window, which are kept until then. Source: Flink's `WindowedStream.process`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Context, Env, ProcessWindowFunction, Tumbling, WindowContext, monotonous};
    ///
    /// #[derive(Clone)]
    /// struct Median;
    ///
    /// impl ProcessWindowFunction<(), i64> for Median {
    ///     type Out = i64;
    ///     type WindowState = ();
    ///     type KeyState = ();
    ///
    ///     fn process(&mut self, elements: &[i64], cx: &mut impl WindowContext<(), i64, (), ()>) {
    ///         let mut sorted = elements.to_vec();
    ///         sorted.sort();
    ///         cx.collect(&sorted[sorted.len() / 2]);
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let numbers = env.from_elements([80_i64, 10, 20]).watermarks(monotonous().by(|_| 0));
    /// let median = numbers.window_all(Tumbling::of(Duration::from_secs(1))).process(Median).collect();
    /// env.execute()?;
    /// assert_eq!(median.take(), [20]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn process<F>(self, function: F) -> Stream<Applied<C, X, A, Tr, ProcessWindow<F>>>
    where
        X::Value: StateValue,
        F: ProcessWindowFunction<X::Key, X::Value>,
    {
        self.per_record(|trigger| trigger).apply("Window: Process", ProcessWindow(function))
    }

    /// [`WindowedStream::process`] with a closure: it gets the key, the window, the records and where results go.
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
    pub fn process_with<U, F>(self, function: F) -> Stream<Applied<C, X, A, Tr, ProcessClosureWindow<F, U>>>
    where
        U: 'static,
        X::Value: StateValue,
        F: FnMut(&X::Key, TimeWindow, &[X::Value], &mut Collector<U>) + Clone + Send + Sync + 'static,
    {
        self.per_record(|trigger| trigger).apply("Window: Process", ProcessClosureWindow::new(function))
    }

    /// Aggregates while records come, and gives the result to `function` when the window fires: it sees a single element.
    ///
    /// Source: Flink's `WindowedStream.aggregate` with a `ProcessWindowFunction`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Context, Count, Env, ProcessWindowFunction, Tumbling, WindowContext, monotonous};
    ///
    /// /// How many records more than in the window before.
    /// #[derive(Clone)]
    /// struct Growth;
    ///
    /// impl ProcessWindowFunction<(), u64> for Growth {
    ///     type Out = i64;
    ///     type WindowState = ();
    ///     type KeyState = i64;
    ///
    ///     fn process(&mut self, counts: &[u64], cx: &mut impl WindowContext<(), i64, (), i64>) {
    ///         let count = counts[0] as i64;
    ///         let before = std::mem::replace(cx.key_state(), count);
    ///         cx.collect(&(count - before));
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let times = env.from_elements([1_i64, 2, 3, 11, 21, 22]).watermarks(monotonous().by(|n: &i64| *n));
    /// let windows = times.key_by(|_| ()).window(Tumbling::of(Duration::from_millis(10)));
    /// let growth = windows.aggregate_process(Count, Growth).collect();
    /// env.execute()?;
    /// assert_eq!(growth.take(), [3, -2, 1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn aggregate_process<G, F>(
        self,
        aggregate: G,
        function: F,
    ) -> Stream<Applied<C, X, A, Tr, AggregateProcessWindow<G, F>>>
    where
        G: Aggregate<X::Value>,
        F: ProcessWindowFunction<X::Key, G::Out>,
    {
        self.per_record(|trigger| trigger)
            .apply("Window: Aggregate, Process", AggregateProcessWindow { aggregate, function })
    }

    /// Reduces while records come, and gives the result to `function` when the window fires: it sees a single element.
    ///
    /// Source: Flink's `WindowedStream.reduce` with a `ProcessWindowFunction`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Context, Env, ProcessWindowFunction, Timestamp, Tumbling, WindowContext, monotonous};
    ///
    /// /// Adds the end of the window.
    /// #[derive(Clone)]
    /// struct Dated;
    ///
    /// impl ProcessWindowFunction<(), i64> for Dated {
    ///     type Out = (Timestamp, i64);
    ///     type WindowState = ();
    ///     type KeyState = ();
    ///
    ///     fn process(&mut self, highest: &[i64], cx: &mut impl WindowContext<(), (Timestamp, i64), (), ()>) {
    ///         let end = cx.window().end;
    ///         cx.collect(&(end, highest[0]));
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let times = env.from_elements([1_i64, 9, 4, 17]).watermarks(monotonous().by(|n: &i64| *n));
    /// let windows = times.key_by(|_| ()).window(Tumbling::of(Duration::from_millis(10)));
    /// let highest = windows.reduce_process(|a, b| *a.max(b), Dated).collect();
    /// env.execute()?;
    /// assert_eq!(highest.take(), [(10, 9), (20, 17)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn reduce_process<R, F>(
        self,
        reduce: R,
        function: F,
    ) -> Stream<Applied<C, X, A, Tr, ReduceProcessWindow<Reduce<R>, F>>>
    where
        R: Fn(&X::Value, &X::Value) -> X::Value + Clone + Send + Sync + 'static,
        X::Value: StateValue,
        F: ProcessWindowFunction<X::Key, X::Value>,
    {
        self.per_record(|trigger| trigger)
            .apply("Window: Reduce, Process", ReduceProcessWindow { reducer: Reduce(reduce), function })
    }
}

/// The shortcuts that change one field of a record.
macro_rules! field_shortcuts {
    ($($(#[$doc:meta])* $name:ident: $bound:ident => $reducer:ident, $title:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name<V, F>(self, field: F) -> Reduced<C, X, A, Tr, P, $reducer<F, V>>
        where
            V: $bound + Clone + 'static,
            F: Fn(&mut X::Value) -> &mut V + Clone + Send + Sync + 'static,
            P: ReducesWindows<C, X, A, Tr, $reducer<F, V>>,
        {
            P::reduce(self, $title, $reducer::new(field))
        }
    )*};
}

/// The shortcuts that choose a record.
macro_rules! choice_shortcuts {
    ($($(#[$doc:meta])* $name:ident => $greater:literal, $tie:ty, $title:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name<V, F>(self, by: F) -> Reduced<C, X, A, Tr, P, Extreme<F, V, (Better<$greater>, $tie)>>
        where
            V: PartialOrd + 'static,
            F: Fn(&X::Value) -> V + Clone + Send + Sync + 'static,
            P: ReducesWindows<C, X, A, Tr, Extreme<F, V, (Better<$greater>, $tie)>>,
        {
            P::reduce(self, $title, Extreme::new(by))
        }
    )*};
}

impl<C: Chain, X: Extract<C::Out>, A, Tr, P> WindowedStream<C, X, A, Tr, P> {
    field_shortcuts! {
        /// The sum of a field over each window; the other fields are the first record's. Integers wrap. See [`KeyedStream::sum`].
        ///
        /// ```
        /// use std::time::Duration;
        /// use thalweg::{Env, Tumbling, monotonous};
        ///
        /// let env = Env::new().parallelism(1);
        /// let sales = env.from_elements([(1_i64, 30), (4, 12), (11, 5)]);
        /// let sales = sales.watermarks(monotonous().by(|sale: &(i64, i32)| sale.0));
        /// let sums = sales.window_all(Tumbling::of(Duration::from_millis(10))).sum(|sale| &mut sale.1).collect();
        /// env.execute()?;
        /// assert_eq!(sums.take(), [(1, 42), (11, 5)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        sum: Number => SumField, "Window: Sum";
        /// The least value of a field in each window; the other fields are the first record's. See [`KeyedStream::min`].
        ///
        /// ```
        /// use std::time::Duration;
        /// use thalweg::{Env, Tumbling, monotonous};
        ///
        /// let env = Env::new().parallelism(1);
        /// let offers = env.from_elements([(1_i64, 30), (4, 12), (9, 20)]);
        /// let offers = offers.watermarks(monotonous().by(|offer: &(i64, i32)| offer.0));
        /// let least = offers.window_all(Tumbling::of(Duration::from_millis(10))).min(|offer| &mut offer.1).collect();
        /// env.execute()?;
        /// assert_eq!(least.take(), [(1, 12)]); // The least price, and the time of the first offer.
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        min: PartialOrd => MinField, "Window: Min";
        /// The greatest value of a field in each window; the other fields are the first record's. See [`KeyedStream::max`].
        ///
        /// ```
        /// use std::time::Duration;
        /// use thalweg::{Env, Session, monotonous};
        ///
        /// let env = Env::new().parallelism(1);
        /// let speeds = env.from_elements([(1_i64, 80.5), (4, 93.0), (50, 30.0)]);
        /// let speeds = speeds.watermarks(monotonous().by(|speed: &(i64, f64)| speed.0));
        /// let highest = speeds.window_all(Session::gap(Duration::from_millis(10))).max(|speed| &mut speed.1).collect();
        /// env.execute()?;
        /// assert_eq!(highest.take(), [(1, 93.0), (50, 30.0)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        max: PartialOrd => MaxField, "Window: Max";
    }
    choice_shortcuts! {
        /// The record of each window with the least `by`; of equal ones the first. See [`KeyedStream::min_by`].
        ///
        /// ```
        /// use std::time::Duration;
        /// use thalweg::{Env, Tumbling, monotonous};
        ///
        /// let env = Env::new().parallelism(1);
        /// let offers = env.from_elements([(1_i64, 30), (4, 12), (9, 12)]);
        /// let offers = offers.watermarks(monotonous().by(|offer: &(i64, i32)| offer.0));
        /// let best = offers.window_all(Tumbling::of(Duration::from_millis(10))).min_by(|offer| offer.1).collect();
        /// env.execute()?;
        /// assert_eq!(best.take(), [(4, 12)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        min_by => false, First, "Window: MinBy";
        /// The record of each window with the greatest `by`; of equal ones the first. See [`KeyedStream::max_by`].
        ///
        /// ```
        /// use std::time::Duration;
        /// use thalweg::{Env, Tumbling, monotonous};
        ///
        /// let env = Env::new().parallelism(1);
        /// let bids = env.from_elements([(1_i64, 30), (4, 45), (12, 7)]);
        /// let bids = bids.watermarks(monotonous().by(|bid: &(i64, i32)| bid.0));
        /// let highest = bids.window_all(Tumbling::of(Duration::from_millis(10))).max_by(|bid| bid.1).collect();
        /// env.execute()?;
        /// assert_eq!(highest.take(), [(4, 45), (12, 7)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        max_by => true, First, "Window: MaxBy";
        /// [`WindowedStream::min_by`] in which the last of equal records wins.
        ///
        /// ```
        /// use std::time::Duration;
        /// use thalweg::{Env, Tumbling, monotonous};
        ///
        /// let env = Env::new().parallelism(1);
        /// let offers = env.from_elements([(1_i64, 12), (4, 30), (9, 12)]);
        /// let offers = offers.watermarks(monotonous().by(|offer: &(i64, i32)| offer.0));
        /// let best = offers.window_all(Tumbling::of(Duration::from_millis(10))).min_by_last(|offer| offer.1).collect();
        /// env.execute()?;
        /// assert_eq!(best.take(), [(9, 12)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        min_by_last => false, Last, "Window: MinBy";
        /// [`WindowedStream::max_by`] in which the last of equal records wins.
        ///
        /// ```
        /// use std::time::Duration;
        /// use thalweg::{Env, Tumbling, monotonous};
        ///
        /// let env = Env::new().parallelism(1);
        /// let bids = env.from_elements([(1_i64, 45), (4, 45), (9, 7)]);
        /// let bids = bids.watermarks(monotonous().by(|bid: &(i64, i32)| bid.0));
        /// let highest = bids.window_all(Tumbling::of(Duration::from_millis(10))).max_by_last(|bid| bid.1).collect();
        /// env.execute()?;
        /// assert_eq!(highest.take(), [(4, 45)]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        max_by_last => true, Last, "Window: MaxBy";
    }
}
