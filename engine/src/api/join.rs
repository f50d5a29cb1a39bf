//! Windows over two streams: joins, and groups of both.

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_state::StateValue;

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

/// The kind of join that gives each pair of records with equal keys in the same window: [`Stream::join`].
#[derive(Debug)]
pub struct Pairs;

/// The kind that gives all records with equal keys in the same window, of one stream or both: [`Stream::co_group`].
#[derive(Debug)]
pub struct Groups;

/// Two streams to be joined: their keys come next. Made by [`Stream::join`] and [`Stream::co_group`]. Source: Flink's
/// `JoinedStreams` and `CoGroupedStreams`.
#[must_use = "a join does nothing until a function is applied"]
pub struct JoinedStreams<C: Chain, D: Chain, Kind> {
    left: Stream<C>,
    right: Stream<D>,
    kind: PhantomData<Kind>,
}

/// Two streams with keys to be joined: their windows come next. Made by [`JoinedStreams::on`].
#[must_use = "a join does nothing until a function is applied"]
pub struct JoinedKeys<C: Chain, D: Chain, Kind, F, G, K> {
    streams: JoinedStreams<C, D, Kind>,
    left_key: F,
    right_key: G,
    key: PhantomData<fn() -> K>,
}

/// Two streams in windows to be joined: how they fire, and the function. Made by [`JoinedKeys::window`].
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
    /// The keys that must be equal: of a record on the left, and of one on the right. Source: Flink's `where` and `equalTo`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tumbling, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let users = env.from_elements([(7_u64, "Ada")]).map(|user| (user.0, user.1.to_string()));
    /// let users = users.watermarks(monotonous().by(|_| 0));
    /// let clicks = env.from_elements(["/home?user=7", "/home?user=8"]).map(|url| url.to_string());
    /// let clicks = clicks.watermarks(monotonous().by(|_| 0));
    /// let names = users
    ///     .join(clicks)
    ///     .on(|user| user.0.to_string(), |url| url.rsplit('=').next().unwrap_or_default().to_string())
    ///     .window(Tumbling::of(Duration::from_secs(1)))
    ///     .apply(|user, url| format!("{} at {url}", user.1))
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(names.take(), ["Ada at /home?user=7"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
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
    /// The windows in which records meet: those that the assigner gives to each by its timestamp, whichever stream it is of. An
    /// assigner that looks at records gets an [`Either`].
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when something is wrong with the windows' sizes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Session, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let time = || monotonous().by(|n: &i64| *n);
    /// let (a, b) = (env.from_elements([1_i64, 50]).watermarks(time()), env.from_elements([8_i64, 16]).watermarks(time()));
    /// let pairs = a
    ///     .join(b)
    ///     .on(|_| (), |_| ())
    ///     .window(Session::gap(Duration::from_millis(10))) // From 1 over 8 to 16, and another at 50.
    ///     .apply(|a, b| (*a, *b))
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(pairs.take(), [(1, 8), (1, 16)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
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
    ///
    /// Each firing gives all pairs, or the whole groups, of what the window holds; [`crate::Purging`] empties it each time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{CountTrigger, Env, Purging, Tumbling, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let time = || monotonous().by(|n: &i64| *n);
    /// let (a, b) = (env.from_elements([1_i64, 2, 3]).watermarks(time()), env.from_elements([4_i64, 5]).watermarks(time()));
    /// let sizes = a
    ///     .co_group(b)
    ///     .on(|_| (), |_| ())
    ///     .window(Tumbling::of(Duration::from_millis(10)))
    ///     .trigger(Purging::of(CountTrigger::of(2)))
    ///     .apply(|a, b, out| out.collect(a.len() + b.len()))
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(sizes.take(), [2, 2]); // The fifth record is dropped when the window ends.
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn trigger<Own>(self, trigger: Own) -> JoinedWindows<C, D, Kind, F, G, K, A, Own>
    where
        Own: Trigger<Either<C::Out, D::Out>>,
    {
        let Self { keys, assigner, lateness, .. } = self;
        JoinedWindows { keys, assigner, trigger, lateness }
    }

    /// Keeps a window until the watermark is `lateness` past its end; a late record in that time fires all of it again.
    ///
    /// Unit: event time, whole milliseconds; zero unless set. Records that are later are dropped, and counted in
    /// [`crate::JobResult::late_records_dropped`]. Source: Flink's *allowed lateness*.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Tumbling};
    ///
    /// let env = Env::new().parallelism(1);
    /// let ((left, a), (right, b)) = (script::<char>(), script::<char>());
    /// let pairs = Recorder::new();
    /// env.source("a", a)
    ///     .join(env.source("b", b))
    ///     .on(|_| (), |_| ())
    ///     .window(Tumbling::of(Duration::from_millis(10)))
    ///     .allowed_lateness(Duration::from_millis(5))
    ///     .apply(|a, b| (*a, *b))
    ///     .sink("pairs", pairs.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// left.record('a', 3);
    /// right.record('b', 4);
    /// job.run_until_quiet()?;
    /// (left.watermark(12), right.watermark(12));
    /// job.run_until_quiet()?;
    /// assert_eq!(pairs.take_records(), [('a', 'b')]);
    /// right.record('c', 9); // Late, but not too late.
    /// job.run_until_quiet()?;
    /// assert_eq!(pairs.take_records(), [('a', 'b'), ('a', 'c')]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
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
    C: Chain<Out: Record + StateValue>,
    D: Chain<Out: Record + StateValue>,
    K: Key,
    F: FnMut(&C::Out) -> K + Clone + Send + Sync + 'static,
    G: FnMut(&D::Out) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<Either<C::Out, D::Out>>,
    Tr: Trigger<Either<C::Out, D::Out>>,
{
    /// What each pair becomes, when the window fires. It has the window's last timestamp. Pairs come in the order of the left
    /// records, and for each of these in that of the right ones. Source: Flink's `JoinFunction`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tumbling, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let prices = env.from_elements([2_u64, 3]).watermarks(monotonous().by(|_| 0));
    /// let amounts = env.from_elements([10_u64, 100]).watermarks(monotonous().by(|_| 0));
    /// let windows = prices.join(amounts).on(|_| (), |_| ()).window(Tumbling::of(Duration::from_secs(1)));
    /// let costs = windows.apply(|price, amount| price * amount).collect();
    /// env.execute()?;
    /// assert_eq!(costs.take(), [20, 200, 30, 300]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
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
    C: Chain<Out: Record + StateValue>,
    D: Chain<Out: Record + StateValue>,
    K: Key,
    F: FnMut(&C::Out) -> K + Clone + Send + Sync + 'static,
    G: FnMut(&D::Out) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<Either<C::Out, D::Out>>,
    Tr: Trigger<Either<C::Out, D::Out>>,
{
    /// What the two groups of a key become, when the window fires. Results have the window's last timestamp. Source: Flink's
    /// `CoGroupFunction`.
    ///
    /// A left outer join, for instance:
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Tumbling, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let orders = env.from_elements([1_u64, 2]).watermarks(monotonous().by(|_| 0));
    /// let payments = env.from_elements([(2_u64, 99_u64)]).watermarks(monotonous().by(|_| 0));
    /// let outer = orders
    ///     .co_group(payments)
    ///     .on(|order| *order, |payment| payment.0)
    ///     .window(Tumbling::of(Duration::from_secs(1)))
    ///     .apply(|orders, payments, out| {
    ///         for order in orders {
    ///             out.collect((*order, payments.first().map(|payment| payment.1)));
    ///         }
    ///     })
    ///     .collect();
    /// env.execute()?;
    /// let mut outer = outer.take();
    /// outer.sort();
    /// assert_eq!(outer, [(1, None), (2, Some(99))]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn apply<U, W>(self, function: W) -> Stream<JoinChain<C, D, K, A, Tr, CoGroupWindow<W, U>>>
    where
        U: 'static,
        W: FnMut(&[C::Out], &[D::Out], &mut Collector<U>) + Clone + Send + Sync + 'static,
    {
        self.operator("Window: CoGroup", CoGroupWindow::new(function))
    }
}
