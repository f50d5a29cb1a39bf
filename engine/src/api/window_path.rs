//! How windows are computed: in parts, or record by record. The types decide, and no program needs to name them.
//!
//! ```text
//!   InParts     combiner: (key, slice or session) → accumulator ═══ exchange ═══▶ slices or sessions      Tumbling, Sliding, Session
//!   PerRecord                                    record         ═══ exchange ═══▶ window operator         any assigner, trigger, function
//! ```
//!
//! An assigner names its path, [`WindowAssigner::Path`]; a trigger, a late output or a function that must see every record leads to
//! the second. Both are generic over all that a program chooses, so that each job gets an operator of its own, inlined.

use std::time::Duration;

use thalweg_state::StateValue;

use super::aggregate::{Aggregate, Emit, EmitReduced, EmitResult, Reducing, WindowResult};
use super::chain::{Chain, Exchanged, OneInputFactory, TwoInputFactory};
use super::env::Env;
use super::keyed::KeyedStream;
use super::process::TakesSides;
use super::record::{Key, Record};
use super::stream::Stream;
use super::tag::{Declared, SideWriter, Sides};
use super::windowed::WindowedStream;
use crate::data_plane::SubtaskContext;
use crate::data_plane::writer::{Extract, KeyedWriter};
use crate::error::Result;
use crate::graph::{EdgeId, Partitioning, PortId};
use crate::operator::output::Output;
use crate::operator::rolling::Reducer;
use crate::operator::window::combiner::{Combiner, SessionSpan, SliceSpan, Span};
use crate::operator::window::function::{AggregateWindow, ReduceWindow, WindowFunction};
use crate::operator::window::general::WindowOperator;
use crate::operator::window::join::Either;
use crate::operator::window::sessions::SessionWindows;
use crate::operator::window::slices::{Merge, MergeOf, Slices};
use crate::operator::{OneInput, TwoInput};
use crate::time::Timestamp;
use crate::time::assigner::{InParts, PerRecord, Session, Sliding, Tumbling, WindowAssigner, millis};
use crate::time::trigger::Trigger;
use crate::time::window::Slicing;

/// A path on which windows can be aggregated by `G`.
pub trait AggregatesWindows<C: Chain, X: Extract<C::Out>, A, Tr, G: Aggregate<X::Value>>: Sized {
    /// What makes the results.
    type Chain: Chain<Out = WindowResult<X::Key, G::Out>>;

    #[doc(hidden)]
    fn aggregate(windows: WindowedStream<C, X, A, Tr, Self>, aggregate: G) -> Stream<Self::Chain>;
}

/// A path on which windows can be reduced by `R`.
pub trait ReducesWindows<C: Chain, X: Extract<C::Out>, A, Tr, R>: Sized {
    /// What makes the results.
    type Chain: Chain<Out = X::Value>;

    #[doc(hidden)]
    fn reduce(windows: WindowedStream<C, X, A, Tr, Self>, name: &str, reducer: R) -> Stream<Self::Chain>;
}

type KeyOf<C, X> = <X as Extract<<C as Chain>::Out>>::Key;
type ValueOf<C, X> = <X as Extract<<C as Chain>::Out>>::Value;

/// A chain that begins with windows over the stream `C`, keyed by `X`, which take each record.
pub type Applied<C, X, A, Tr, F> = Exchanged<KeyOf<C, X>, ValueOf<C, X>, WindowFactory<A, Tr, F>>;

/// A chain that begins with windows over the stream `C`, keyed by `X`, which take accumulators of `G`.
pub type Combined<C, X, A, G, E> = Exchanged<
    KeyOf<C, X>,
    <A as FastWindows>::Message<<G as Aggregate<ValueOf<C, X>>>::Acc>,
    FastFactory<A, G, ValueOf<C, X>, E>,
>;

impl<C, X, A, Tr, G> AggregatesWindows<C, X, A, Tr, G> for InParts
where
    C: Chain,
    X: Extract<C::Out>,
    A: FastWindows,
    G: Aggregate<X::Value>,
    A::Message<G::Acc>: Record,
{
    type Chain = Combined<C, X, A, G, EmitResult<G, X::Value>>;

    fn aggregate(windows: WindowedStream<C, X, A, Tr, Self>, aggregate: G) -> Stream<Self::Chain> {
        let emit = EmitResult::new(aggregate.clone());
        windows.combine("Window: Aggregate", aggregate, emit)
    }
}

impl<C, X, A, Tr, G> AggregatesWindows<C, X, A, Tr, G> for PerRecord
where
    C: Chain,
    X: Extract<C::Out, Value: Record>,
    A: WindowAssigner<X::Value>,
    Tr: Trigger<X::Value>,
    G: Aggregate<X::Value>,
{
    type Chain = Applied<C, X, A, Tr, AggregateWindow<G>>;

    fn aggregate(windows: WindowedStream<C, X, A, Tr, Self>, aggregate: G) -> Stream<Self::Chain> {
        windows.apply("Window: Aggregate", AggregateWindow(aggregate))
    }
}

impl<C, X, A, Tr, R> ReducesWindows<C, X, A, Tr, R> for InParts
where
    C: Chain,
    X: Extract<C::Out, Value: Record + Clone>,
    A: FastWindows,
    R: Reducer<X::Value>,
    Option<X::Value>: Record + StateValue,
    A::Message<Option<X::Value>>: Record,
{
    type Chain = Combined<C, X, A, Reducing<R>, EmitReduced>;

    fn reduce(windows: WindowedStream<C, X, A, Tr, Self>, name: &str, reducer: R) -> Stream<Self::Chain> {
        windows.combine(name, Reducing(reducer), EmitReduced)
    }
}

impl<C, X, A, Tr, R> ReducesWindows<C, X, A, Tr, R> for PerRecord
where
    C: Chain,
    X: Extract<C::Out, Value: Record + StateValue>,
    A: WindowAssigner<X::Value>,
    Tr: Trigger<X::Value>,
    R: Reducer<X::Value>,
{
    type Chain = Applied<C, X, A, Tr, ReduceWindow<R>>;

    fn reduce(windows: WindowedStream<C, X, A, Tr, Self>, name: &str, reducer: R) -> Stream<Self::Chain> {
        windows.apply(name, ReduceWindow(reducer))
    }
}

impl<C: Chain, X: Extract<C::Out>, A: FastWindows, Tr> WindowedStream<C, X, A, Tr, InParts> {
    /// The windows with an aggregate: a combiner before the exchange, slices or sessions behind it.
    fn combine<G, E>(self, name: &str, aggregate: G, emit: E) -> Stream<Combined<C, X, A, G, E>>
    where
        G: Aggregate<X::Value>,
        E: Emit<X::Key, G::Acc>,
        A::Message<G::Acc>: Record,
    {
        let Self { keyed, assigner, lateness, partitioning, .. } = self;
        let KeyedStream { stream, extract } = keyed;
        let (span, combined) = (assigner.clone(), aggregate.clone());
        let (env, edge) = stream.exchange(partitioning, move |cx, port| {
            Ok(Combiner::new(cx, port, extract.clone(), combined.clone(), span.span::<G::Acc>()))
        });
        let lateness = millis(lateness);
        begin(
            env,
            name,
            edge,
            partitioning,
            FastFactory { assigner, lateness, aggregate: MergeOf::new(aggregate), emit },
        )
    }
}

impl<C, X, A, Tr> WindowedStream<C, X, A, Tr, PerRecord>
where
    C: Chain,
    X: Extract<C::Out, Value: Record>,
    A: WindowAssigner<X::Value>,
    Tr: Trigger<X::Value>,
{
    /// The windows with a function: the operator that sees every record.
    pub(super) fn apply<F>(self, name: &str, function: F) -> Stream<Applied<C, X, A, Tr, F>>
    where
        F: WindowFunction<X::Key, X::Value>,
    {
        let Self { keyed, assigner, trigger, lateness, late, partitioning, .. } = self;
        let KeyedStream { stream, extract } = keyed;
        let late = late.map(|tag| stream.env.side_port(&tag));
        let (env, edge) =
            stream.exchange(partitioning, move |cx, port| Ok(KeyedWriter::new(cx, port, extract.clone())));
        let mut factory = WindowFactory::new(&env, name, assigner, trigger, lateness, function);
        factory.late = late;
        let mut stream = begin(env, name, edge, partitioning, factory);
        let node = stream.node;
        stream.sides.extend(late.map(|port| (port, node)));
        stream
    }
}

/// The stream of windows behind an exchange.
fn begin<K: Key, T: Record, F: OneInputFactory<K, T>>(
    env: Env,
    name: &str,
    edge: EdgeId,
    partitioning: Partitioning,
    factory: F,
) -> Stream<Exchanged<K, T, F>> {
    let one = (partitioning == Partitioning::Global).then_some(1);
    let mut stream = Stream::begin(env, Exchanged::new(&[edge], factory), name, &[edge], one);
    stream.open.max_parallelism = one; // A greater parallelism is then an error of the plan.
    stream
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

    #[doc(hidden)]
    fn span<Acc: Record>(&self) -> Self::Span<Acc>
    where
        Self::Message<Acc>: Record;

    #[doc(hidden)]
    fn operator<K: Key, Acc: Record + StateValue, A: Merge<Acc>, E: Emit<K, Acc>, N: Output<E::Out>>(
        &self,
        cx: &SubtaskContext,
        lateness: i64,
        aggregate: A,
        emit: E,
        next: N,
    ) -> Result<impl OneInput<K, Self::Message<Acc>>>
    where
        Self::Message<Acc>: Record;
}

/// Tumbling and sliding windows differ in how they are sliced.
macro_rules! sliced {
    ($assigner:ty, |$w:ident| $slicing:expr, in order: $whole:expr) => {
        impl FastWindows for $assigner {
            type Message<Acc: 'static> = Acc;
            type Span<Acc: Record> = SliceSpan;

            fn span<Acc: Record>(&self) -> SliceSpan {
                let $w = self;
                SliceSpan::new($slicing)
            }

            fn operator<
                K: Key,
                Acc: Record + StateValue,
                A: Merge<Acc>,
                E: Emit<K, Acc>,
                N: Output<E::Out>,
            >(
                &self,
                cx: &SubtaskContext,
                lateness: i64,
                aggregate: A,
                emit: E,
                next: N,
            ) -> Result<impl OneInput<K, Acc>> {
                let $w = self;
                let slicing = if A::COMMUTATIVE { $slicing } else { $whole };
                Slices::new(cx, slicing, lateness, aggregate, emit, next)
            }
        }
    };
}

sliced!(
    Tumbling,
    |w| Slicing::new(w.size_ms, w.size_ms, w.offset_ms),
    in order: Slicing::new(w.size_ms, w.size_ms, w.offset_ms)
);
sliced!(
    Sliding,
    |w| Slicing::new(w.size_ms, w.slide_ms, w.offset_ms),
    in order: Slicing::whole(w.size_ms, w.slide_ms, w.offset_ms)
);

impl FastWindows for Session {
    type Message<Acc: 'static> = (Timestamp, Timestamp, Acc);
    type Span<Acc: Record>
        = SessionSpan
    where
        (Timestamp, Timestamp, Acc): Record;

    fn span<Acc: Record>(&self) -> SessionSpan
    where
        (Timestamp, Timestamp, Acc): Record,
    {
        SessionSpan { gap: self.gap_ms }
    }

    fn operator<K: Key, Acc: Record + StateValue, A: Merge<Acc>, E: Emit<K, Acc>, N: Output<E::Out>>(
        &self,
        cx: &SubtaskContext,
        lateness: i64,
        aggregate: A,
        emit: E,
        next: N,
    ) -> Result<impl OneInput<K, (Timestamp, Timestamp, Acc)>>
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
        self.assigner.operator(cx, self.lateness, self.aggregate.clone(), self.emit.clone(), next)
    }
}

/// Builds the window operator that takes each record.
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
        self.operator(next, cx)
    }
}

/// The operator of a join, whose sides are archived each by itself.
impl<K, L, R, A, Tr, F> TwoInputFactory<K, L, R> for WindowFactory<A, Tr, F>
where
    K: Key,
    L: Record,
    R: Record,
    A: WindowAssigner<Either<L, R>>,
    Tr: Trigger<Either<L, R>>,
    F: WindowFunction<K, Either<L, R>>,
{
    type Out = F::Out;

    const IS_UNION: bool = true;

    fn build<N: Output<F::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<impl TwoInput<K, L, R>> {
        self.operator::<K, Either<L, R>, N>(next, cx)
    }
}

impl<A, Tr, F, S: Sides> WindowFactory<A, Tr, F, S> {
    #[expect(clippy::type_complexity, reason = "what it is made of is what a program chooses of its windows")]
    fn operator<K, V, N>(
        &self,
        next: N,
        cx: &mut SubtaskContext,
    ) -> Result<WindowOperator<K, V, A, Tr, F, S::Writers, N>>
    where
        K: Key,
        V: Record,
        A: WindowAssigner<V>,
        Tr: Trigger<V>,
        F: WindowFunction<K, V>,
        N: Output<F::Out>,
    {
        let late = self.late.map(|port| SideWriter::new(cx, port));
        let sides = self.sides.open(cx);
        let (assigner, trigger) = (self.assigner.clone(), self.trigger.clone());
        let function = self.function.clone();
        WindowOperator::new(cx, assigner, trigger, self.lateness_ms, function, late, sides, next)
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
