//! Windows over two streams: joins, and groups of both.

use std::marker::PhantomData;
use std::time::Duration;

use super::chain::{Chain, Connected};
use super::keyed::{ByKey, KeyedStream};
use super::record::{Key, Record};
use super::stream::Stream;
use super::window_path::WindowFactory;
use crate::operator::stateless::Collector;
use crate::operator::window::function::WindowFunction;
use crate::operator::window::join::{CoGroupWindow, Either, JoinWindow};
use crate::time::assigner::WindowAssigner;
use crate::time::trigger::Trigger;

/// Each pair of records with equal keys in the same window.
#[derive(Debug)]
pub struct Pairs;

/// All records with equal keys in the same window, of one stream or both.
#[derive(Debug)]
pub struct Groups;

/// Two streams to be joined: their keys come next.
#[must_use = "a join does nothing until a function is applied"]
pub struct JoinedStreams<C: Chain, D: Chain, Kind> {
    left: Stream<C>,
    right: Stream<D>,
    kind: PhantomData<Kind>,
}

/// Two streams with keys to be joined: their windows come next.
#[must_use = "a join does nothing until a function is applied"]
pub struct JoinedKeys<C: Chain, D: Chain, Kind, F, G, K> {
    streams: JoinedStreams<C, D, Kind>,
    left_key: F,
    right_key: G,
    key: PhantomData<fn() -> K>,
}

/// Two streams in windows to be joined: how they fire, and the function.
#[must_use = "a join does nothing until a function is applied"]
pub struct JoinedWindows<C: Chain, D: Chain, Kind, F, G, K, A, Tr> {
    keys: JoinedKeys<C, D, Kind, F, G, K>,
    assigner: A,
    trigger: Tr,
    lateness: Duration,
}

/// A chain that begins with a join of the streams `C` and `D` by the key `K`.
pub type JoinChain<C, D, K, A, Tr, F> =
    Connected<K, <C as Chain>::Out, <D as Chain>::Out, WindowFactory<A, Tr, F>>;

impl<C: Chain> Stream<C> {
    /// Joins this stream with another: each pair of records with equal keys in the same window. Source: Flink's window join.
    ///
    /// Records of only one stream give nothing. Cost: both sides of a window are kept until it fires.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tumbling, bounded};
    ///
    /// let env = Env::new().parallelism(1);
    /// let time = || bounded(Duration::ZERO).by(|r: &(i64, u64)| r.0);
    /// let people = env.from_elements([(1_i64, 7_u64), (12, 7)]).watermarks(time());
    /// let sales = env.from_elements([(3_i64, 7_u64), (5, 8), (6, 7)]).watermarks(time());
    /// let pairs = people
    ///     .join(sales)
    ///     .on(|person| person.1, |sale| sale.1)
    ///     .window(Tumbling::of(Duration::from_millis(10)))
    ///     .apply(|person, sale| (person.0, sale.0))
    ///     .collect();
    /// env.execute()?;
    /// let mut pairs = pairs.take();
    /// pairs.sort();
    /// assert_eq!(pairs, [(1, 3), (1, 6)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn join<D: Chain>(self, other: Stream<D>) -> JoinedStreams<C, D, Pairs> {
        JoinedStreams { left: self, right: other, kind: PhantomData }
    }

    /// Groups this stream with another: all records with equal keys in the same window, each side as a slice in order of
    /// arrival; one of them may be empty. Source: Flink's `coGroup`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tumbling, bounded};
    ///
    /// let env = Env::new().parallelism(1);
    /// let time = || bounded(Duration::ZERO).by(|n: &i64| *n);
    /// let (a, b) = (env.from_elements([1_i64, 12]).watermarks(time()), env.from_elements([3_i64, 5]).watermarks(time()));
    /// let counts = a
    ///     .co_group(b)
    ///     .on(|_| (), |_| ())
    ///     .window(Tumbling::of(Duration::from_millis(10)))
    ///     .apply(|a, b, out| out.collect((a.len(), b.len())))
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(counts.take(), [(1, 2), (1, 0)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn co_group<D: Chain>(self, other: Stream<D>) -> JoinedStreams<C, D, Groups> {
        JoinedStreams { left: self, right: other, kind: PhantomData }
    }
}

impl<C: Chain, D: Chain, Kind> JoinedStreams<C, D, Kind> {
    /// The keys that must be equal: of a record on the left, and of one on the right.
    pub fn on<K, F, G>(self, left: F, right: G) -> JoinedKeys<C, D, Kind, F, G, K>
    where
        K: Key,
        F: FnMut(&C::Out) -> K + Clone + Send + Sync + 'static,
        G: FnMut(&D::Out) -> K + Clone + Send + Sync + 'static,
    {
        JoinedKeys { streams: self, left_key: left, right_key: right, key: PhantomData }
    }
}

impl<C: Chain, D: Chain, Kind, F, G, K> JoinedKeys<C, D, Kind, F, G, K> {
    /// The windows in which records meet.
    pub fn window<A>(self, assigner: A) -> JoinedWindows<C, D, Kind, F, G, K, A, A::Trigger>
    where
        A: WindowAssigner<Either<C::Out, D::Out>>,
    {
        self.streams.left.env.check_windows(assigner.check());
        let (trigger, lateness) = (assigner.default_trigger(), Duration::ZERO);
        JoinedWindows { keys: self, assigner, trigger, lateness }
    }
}

impl<C, D, Kind, F, G, K, A, Tr> JoinedWindows<C, D, Kind, F, G, K, A, Tr>
where
    C: Chain<Out: Record>,
    D: Chain<Out: Record>,
    K: Key,
    F: FnMut(&C::Out) -> K + Clone + Send + Sync + 'static,
    G: FnMut(&D::Out) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<Either<C::Out, D::Out>>,
    Tr: Trigger<Either<C::Out, D::Out>>,
{
    /// Fires the windows by this trigger. Default: the assigner's. See [`crate::WindowedStream::trigger`].
    pub fn trigger<Own>(self, trigger: Own) -> JoinedWindows<C, D, Kind, F, G, K, A, Own>
    where
        Own: Trigger<Either<C::Out, D::Out>>,
    {
        let Self { keys, assigner, lateness, .. } = self;
        JoinedWindows { keys, assigner, trigger, lateness }
    }

    /// Keeps a window until the watermark is `lateness` past its end; a late record in that time fires all of it again.
    ///
    /// Unit: event time, whole milliseconds; zero unless set. Records that are later are dropped.
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self { lateness, ..self }
    }

    fn operator<W>(self, name: &str, function: W) -> Stream<JoinChain<C, D, K, A, Tr, W>>
    where
        W: WindowFunction<K, Either<C::Out, D::Out>>,
    {
        let Self { keys, assigner, trigger, lateness } = self;
        let JoinedKeys { streams, left_key, right_key, .. } = keys;
        let (env, left) = KeyedStream::new(streams.left, ByKey::new(left_key)).send();
        let (_, right) = KeyedStream::new(streams.right, ByKey::new(right_key)).send();
        let factory = WindowFactory::new(&env, name, assigner, trigger, lateness, function);
        let chain = Connected::new(&[left], &[right], factory);
        Stream::begin(env, chain, name, &[left, right], None)
    }
}

#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C, D, F, G, K, A, Tr> JoinedWindows<C, D, Pairs, F, G, K, A, Tr>
where
    C: Chain<Out: Record>,
    D: Chain<Out: Record>,
    K: Key,
    F: FnMut(&C::Out) -> K + Clone + Send + Sync + 'static,
    G: FnMut(&D::Out) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<Either<C::Out, D::Out>>,
    Tr: Trigger<Either<C::Out, D::Out>>,
{
    /// What each pair becomes, when the window fires. It has the window's last timestamp.
    pub fn apply<U, W>(self, function: W) -> Stream<JoinChain<C, D, K, A, Tr, JoinWindow<W, U>>>
    where
        U: 'static,
        W: FnMut(&C::Out, &D::Out) -> U + Clone + Send + Sync + 'static,
    {
        self.operator("Window: Join", JoinWindow::new(function))
    }
}

#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C, D, F, G, K, A, Tr> JoinedWindows<C, D, Groups, F, G, K, A, Tr>
where
    C: Chain<Out: Record>,
    D: Chain<Out: Record>,
    K: Key,
    F: FnMut(&C::Out) -> K + Clone + Send + Sync + 'static,
    G: FnMut(&D::Out) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<Either<C::Out, D::Out>>,
    Tr: Trigger<Either<C::Out, D::Out>>,
{
    /// What the two groups of a key become, when the window fires. Results have the window's last timestamp.
    pub fn apply<U, W>(self, function: W) -> Stream<JoinChain<C, D, K, A, Tr, CoGroupWindow<W, U>>>
    where
        U: 'static,
        W: FnMut(&[C::Out], &[D::Out], &mut Collector<U>) + Clone + Send + Sync + 'static,
    {
        self.operator("Window: CoGroup", CoGroupWindow::new(function))
    }
}
