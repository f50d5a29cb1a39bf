//! Windows over a stream: associative aggregates with the default trigger, which are computed in slices and sessions.
//!
//! A window with a trigger of its own, a late output, or a function over all its records is a [`crate::TriggeredStream`].

use std::time::Duration;

use super::aggregate::{Aggregate, Emit, EmitReduced, EmitResult, Reducing};
use super::chain::{Chain, Exchanged, OneInputFactory};
use super::keyed::KeyedStream;
use super::record::{Key, Record};
use super::stream::Stream;
use super::triggered::Unkeyed;
use crate::data_plane::SubtaskContext;
use crate::data_plane::writer::Extract;
use crate::error::Result;
use crate::graph::Partitioning;
use crate::operator::OneInput;
use crate::operator::output::Output;
use crate::operator::rolling::{
    Better, Extreme, First, Last, MaxField, MinField, Number, Reduce, Reducer, SumField,
};
use crate::operator::window::combiner::{Combiner, SessionSpan, SliceSpan, Span};
use crate::operator::window::sessions::SessionWindows;
use crate::operator::window::slices::{Merge, MergeOf, Slices};
use crate::time::Timestamp;
use crate::time::assigner::{Session, Sliding, Tumbling, millis};
use crate::time::window::Slicing;

/// A stream in windows. Made by [`KeyedStream::window`] or [`Stream::window_all`].
///
/// Its aggregates are associative, so they are computed in part before the exchange, and overlapping windows share their slices.
#[must_use = "a stream does nothing until it ends in a sink and the job executes"]
pub struct WindowedStream<C: Chain, X, W> {
    pub(crate) keyed: KeyedStream<C, X>,
    pub(crate) assigner: W,
    pub(crate) allowed_lateness: Duration,
    /// Without keys: one subtask for all.
    pub(crate) all: bool,
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
    pub fn window<W: FastWindows>(self, assigner: W) -> WindowedStream<C, X, W> {
        self.stream.env.check_windows(assigner.valid());
        WindowedStream { keyed: self, assigner, allowed_lateness: Duration::ZERO, all: false }
    }
}

impl<C: Chain> Stream<C> {
    /// Puts all records into windows, without keys. What is aggregated in parts on all cores comes together in one subtask.
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
    pub fn window_all<W: FastWindows>(self, assigner: W) -> WindowedStream<C, Unkeyed<C::Out>, W> {
        self.env.check_windows(assigner.valid());
        let keyed = KeyedStream::new(self, Unkeyed::new());
        WindowedStream { keyed, assigner, allowed_lateness: Duration::ZERO, all: true }
    }
}

/// What a fast aggregation over windows makes.
type Aggregated<C, X, W, A, E> = Stream<
    Exchanged<
        <X as Extract<<C as Chain>::Out>>::Key,
        <W as FastWindows>::Message<<A as Aggregate<<X as Extract<<C as Chain>::Out>>::Value>>::Acc>,
        FastFactory<W, A, <X as Extract<<C as Chain>::Out>>::Value, E>,
    >,
>;

/// A reduction over windows.
type Reduced<C, X, W, R> = Aggregated<C, X, W, Reducing<R>, EmitReduced>;

impl<C: Chain, X: Extract<C::Out>, W: FastWindows> WindowedStream<C, X, W> {
    /// Keeps a window until the watermark is `lateness` past its end; a late record in that time fires it again.
    ///
    /// Default: zero. Cost: a window's state lives `lateness` longer. Source: Flink's *allowed lateness*.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = lateness;
        self
    }

    /// Aggregates each window of each key. The result's timestamp is the window's last millisecond.
    pub fn aggregate<A>(self, aggregate: A) -> Aggregated<C, X, W, A, EmitResult<A, X::Value>>
    where
        A: Aggregate<X::Value>,
        W::Message<A::Acc>: Record,
    {
        let emit = EmitResult::new(aggregate.clone());
        self.aggregate_and_emit("Window(aggregate)", aggregate, emit)
    }

    fn aggregate_and_emit<A, E>(self, name: &str, aggregate: A, emit: E) -> Aggregated<C, X, W, A, E>
    where
        A: Aggregate<X::Value>,
        E: Emit<X::Key, A::Acc>,
        W::Message<A::Acc>: Record,
    {
        let Self { keyed, assigner, allowed_lateness, all } = self;
        let KeyedStream { stream, extract } = keyed;
        let partitioning = if all { Partitioning::Global } else { Partitioning::Hash };
        let (span, combined) = (assigner.clone(), aggregate.clone());
        let (env, edge) = stream.exchange(partitioning, move |cx, port| {
            Ok(Combiner::new(cx, port, extract.clone(), combined.clone(), span.span::<A::Acc>()))
        });
        let lateness = millis(allowed_lateness);
        let factory = FastFactory { assigner, lateness, aggregate: MergeOf::new(aggregate), emit };
        let parallelism = all.then_some(1);
        Stream::begin(env, Exchanged::new(&[edge], factory), name, &[edge], parallelism)
    }

    fn reduce_with<R>(self, name: &str, reducer: R) -> Reduced<C, X, W, R>
    where
        X::Value: Record + Clone,
        R: Reducer<X::Value>,
        W::Message<Option<X::Value>>: Record,
        Option<X::Value>: Record,
    {
        self.aggregate_and_emit(name, Reducing(reducer), EmitReduced)
    }

    /// Reduces the records of each window to one. Must be associative.
    pub fn reduce<F>(self, function: F) -> Reduced<C, X, W, Reduce<F>>
    where
        X::Value: Record + Clone,
        F: Fn(&X::Value, &X::Value) -> X::Value + Clone + Send + Sync + 'static,
        W::Message<Option<X::Value>>: Record,
        Option<X::Value>: Record,
    {
        self.reduce_with("Window(reduce)", Reduce(function))
    }
}

/// The shortcuts that change one field of a record.
macro_rules! field_shortcuts {
    ($($(#[$doc:meta])* $name:ident: $bound:ident => $reducer:ident, $title:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name<V: $bound + Clone + 'static, F>(self, field: F) -> Reduced<C, X, W, $reducer<F, V>>
        where
            F: Fn(&mut X::Value) -> &mut V + Clone + Send + Sync + 'static,
        {
            self.reduce_with($title, $reducer::new(field))
        }
    )*};
}

/// The shortcuts that choose a record.
macro_rules! choice_shortcuts {
    ($($(#[$doc:meta])* $name:ident => $greater:literal, $tie:ty, $title:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name<V: PartialOrd + 'static, F>(self, by: F) -> Reduced<C, X, W, Extreme<F, V, (Better<$greater>, $tie)>>
        where
            F: Fn(&X::Value) -> V + Clone + Send + Sync + 'static,
        {
            self.reduce_with($title, Extreme::new(by))
        }
    )*};
}

impl<C: Chain, X: Extract<C::Out>, W: FastWindows> WindowedStream<C, X, W>
where
    X::Value: Record + Clone,
    Option<X::Value>: Record,
    W::Message<Option<X::Value>>: Record,
{
    field_shortcuts! {
        /// Sums one field over each window; the others are the first record's. Integers wrap.
        sum: Number => SumField, "Window(sum)";
        /// The least of one field in each window; the others are the first record's.
        min: PartialOrd => MinField, "Window(min)";
        /// The greatest of one field in each window; the others are the first record's.
        max: PartialOrd => MaxField, "Window(max)";
    }
    choice_shortcuts! {
        /// The record with the least `by` in each window; of equal ones the first.
        min_by => false, First, "Window(minBy)";
        /// The record with the greatest `by` in each window; of equal ones the first.
        max_by => true, First, "Window(maxBy)";
        /// The record with the least `by` in each window; of equal ones the last.
        min_by_last => false, Last, "Window(minBy)";
        /// The record with the greatest `by` in each window; of equal ones the last.
        max_by_last => true, Last, "Window(maxBy)";
    }
}

/// Windows whose aggregates can be computed in parts: [`Tumbling`], [`Sliding`], [`Session`].
pub trait FastWindows: Clone + Send + Sync + 'static {
    /// What is sent for an accumulator.
    #[doc(hidden)]
    type Message<Acc: 'static>: 'static;

    /// The span of time that an accumulator covers.
    #[doc(hidden)]
    type Span<Acc: Record>: Span<Acc, Message = Self::Message<Acc>>
    where
        Self::Message<Acc>: Record;

    /// What is wrong with its sizes.
    #[doc(hidden)]
    fn valid(&self) -> Result<(), String>;

    #[doc(hidden)]
    fn span<Acc: Record>(&self) -> Self::Span<Acc>
    where
        Self::Message<Acc>: Record;

    #[doc(hidden)]
    fn operator<K: Key, Acc: Record + Clone, A: Merge<Acc>, E: Emit<K, Acc>, N: Output<E::Out>>(
        &self,
        cx: &SubtaskContext,
        lateness: i64,
        aggregate: A,
        emit: E,
        next: N,
    ) -> impl OneInput<K, Self::Message<Acc>>
    where
        Self::Message<Acc>: Record;
}

/// Tumbling and sliding windows differ in how they are sliced.
macro_rules! sliced {
    ($assigner:ty, |$w:ident| $slicing:expr) => {
        impl FastWindows for $assigner {
            type Message<Acc: 'static> = Acc;
            type Span<Acc: Record> = SliceSpan;

            fn valid(&self) -> Result<(), String> {
                self.valid()
            }

            fn span<Acc: Record>(&self) -> SliceSpan {
                let $w = self;
                SliceSpan::new($slicing)
            }

            fn operator<K: Key, Acc: Record + Clone, A: Merge<Acc>, E: Emit<K, Acc>, N: Output<E::Out>>(
                &self,
                cx: &SubtaskContext,
                lateness: i64,
                aggregate: A,
                emit: E,
                next: N,
            ) -> impl OneInput<K, Acc> {
                let $w = self;
                Slices::new(cx, $slicing, lateness, aggregate, emit, next)
            }
        }
    };
}

sliced!(Tumbling, |w| Slicing::new(w.size_ms, w.size_ms, w.offset_ms));
sliced!(Sliding, |w| Slicing::new(w.size_ms, w.slide_ms, w.offset_ms));

impl FastWindows for Session {
    type Message<Acc: 'static> = (Timestamp, Timestamp, Acc);
    type Span<Acc: Record>
        = SessionSpan
    where
        (Timestamp, Timestamp, Acc): Record;

    fn valid(&self) -> Result<(), String> {
        self.valid()
    }

    fn span<Acc: Record>(&self) -> SessionSpan
    where
        (Timestamp, Timestamp, Acc): Record,
    {
        SessionSpan { gap: self.gap_ms }
    }

    fn operator<K: Key, Acc: Record + Clone, A: Merge<Acc>, E: Emit<K, Acc>, N: Output<E::Out>>(
        &self,
        cx: &SubtaskContext,
        lateness: i64,
        aggregate: A,
        emit: E,
        next: N,
    ) -> impl OneInput<K, (Timestamp, Timestamp, Acc)>
    where
        (Timestamp, Timestamp, Acc): Record,
    {
        SessionWindows::new(cx, lateness, aggregate, emit, next)
    }
}

/// Builds the operator of a fast aggregation.
pub struct FastFactory<W, A, T, E> {
    assigner: W,
    lateness: i64,
    aggregate: MergeOf<A, T>,
    emit: E,
}

impl<W: Clone, A: Clone, T, E: Clone> Clone for FastFactory<W, A, T, E> {
    fn clone(&self) -> Self {
        let (assigner, aggregate) = (self.assigner.clone(), self.aggregate.clone());
        Self { assigner, lateness: self.lateness, aggregate, emit: self.emit.clone() }
    }
}

impl<K, W, A, T, E> OneInputFactory<K, W::Message<A::Acc>> for FastFactory<W, A, T, E>
where
    K: Key,
    T: 'static,
    W: FastWindows,
    A: Aggregate<T>,
    E: Emit<K, A::Acc>,
    W::Message<A::Acc>: Record,
{
    type Out = E::Out;

    fn build<N: Output<E::Out>>(
        &self,
        next: N,
        cx: &mut SubtaskContext,
    ) -> Result<impl OneInput<K, W::Message<A::Acc>>> {
        Ok(self.assigner.operator(cx, self.lateness, self.aggregate.clone(), self.emit.clone(), next))
    }
}
