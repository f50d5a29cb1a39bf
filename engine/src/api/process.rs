//! Functions that see more than their record: time, side outputs, and with a key also state and timers.
//!
//! ```text
//!   Stream      ── split(sides, closure) ──▶ main output, side outputs
//!   Stream      ── process(ProcessFunction) ──▶ the same, with timestamps and watermarks
//!   KeyedStream ── process(KeyedProcessFunction) ──▶ the same, with state and timers for each key
//! ```
//!
//! What a function sees besides its record is in [`super::context`].

use std::marker::PhantomData;

use thalweg_state::StateSet;

use super::chain::{Chain, Exchanged, OneInputFactory};
use super::context::{Context, KeyedContext, OpenContext};
use super::keyed::KeyedStream;
use super::record::{Key, Record};
use super::stream::Stream;
use super::tag::{Declared, SideWriters, Sides};
use crate::data_plane::writer::Extract;
use crate::data_plane::{Subtask, SubtaskContext};
use crate::error::Result;
use crate::operator::OneInput;
use crate::operator::output::Output;
use crate::operator::process::{Emitter, KeyedProcess, ProcessOutput, Services, SplitOutput};
use crate::operator::stateless::Collector;
use crate::time::Timestamp;

/// A function over the records of a stream, with side outputs, timestamps and watermarks.
///
/// Each subtask works with its own clone. Source: Flink's `ProcessFunction`.
///
/// ```
/// use thalweg::{Context, Env, ProcessFunction, Tag};
///
/// #[derive(Clone)]
/// struct Parse {
///     broken: Tag<String>,
/// }
///
/// impl ProcessFunction<&'static str> for Parse {
///     type Out = i64;
///
///     fn process(&mut self, text: &&'static str, cx: &mut impl Context<i64>) {
///         match text.parse() {
///             Ok(number) => cx.collect(&number),
///             Err(_) => cx.side(&self.broken, &text.to_string()),
///         }
///     }
/// }
///
/// let broken = Tag::new("broken");
/// let env = Env::new().parallelism(1);
/// let numbers = env.from_elements(["1", "x", "3"]).process(Parse { broken }).with_sides(broken);
/// let broken = numbers.side_output(&broken).owned().collect();
/// let numbers = numbers.collect();
/// env.execute()?;
/// assert_eq!((numbers.take(), broken.take()), (vec![1, 3], vec!["x".to_string()]));
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait ProcessFunction<T>: Clone + Send + Sync + 'static {
    /// What it collects.
    type Out: 'static;

    /// Called once in each subtask before its first record. Errors fail the job at its start.
    fn open(&mut self, _cx: &OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes a record.
    fn process(&mut self, record: &T, cx: &mut impl Context<Self::Out>);

    /// Called once after the last record, if the job has not failed.
    fn close(&mut self) {}
}

/// A function over the records of a keyed stream, with state and timers for each key.
///
/// A record is lent as it lies in the received buffer. States are a handle of [`OpenContext`], a tuple of them, or a struct that
/// implements [`StateSet`]; those of the records ahead are prefetched. Each subtask works with its own clone of the function. Source:
/// Flink's `KeyedProcessFunction`.
///
/// State that is not used for a while can be let go without a timer, with a [`Ttl`](crate::Ttl) in its descriptor:
/// `cx.value(StateDescriptor::new("due").with_ttl(Ttl::new(Duration::from_secs(60))))`. It expires by the clock that
/// [`Context::now`](crate::Context::now) shows.
///
/// ```
/// use thalweg::{Context, Env, KeyedContext, KeyedProcessFunction, OpenContext, Result, Timestamp, ValueState, monotonous};
///
/// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
/// struct Event {
///     order: u64,
///     time: i64,
///     is_payment: bool,
/// }
///
/// /// Finds orders that are not paid within 10 ms.
/// #[derive(Clone)]
/// struct Overdue;
///
/// impl KeyedProcessFunction<u64, Event> for Overdue {
///     type Out = (u64, Timestamp);
///     type State = ValueState<u64, Timestamp>;
///
///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
///         cx.value("due")
///     }
///
///     fn process(&mut self, event: &ArchivedEvent, due: &mut Self::State, cx: &mut impl KeyedContext<u64, Self::Out>) {
///         if !event.is_payment {
///             due.set(cx.at(), event.time + 10);
///             cx.register_event_timer(event.time + 10);
///         } else if let Some(at) = due.take(cx.at()) {
///             cx.delete_event_timer(at);
///         }
///     }
///
///     fn on_timer(&mut self, timestamp: Timestamp, due: &mut Self::State, cx: &mut impl KeyedContext<u64, Self::Out>) {
///         due.clear(cx.at());
///         cx.collect(&(*cx.key(), timestamp));
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let event = |order, time, is_payment| Event { order, time, is_payment };
/// let events = env.from_elements([event(1, 0, false), event(2, 3, false), event(1, 7, true)]);
/// let events = events.watermarks(monotonous().by(|event: &Event| event.time));
/// let overdue = events.key_by(|event| event.order).process(Overdue).collect();
/// env.execute()?;
/// assert_eq!(overdue.take(), [(2, 13)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait KeyedProcessFunction<K: Key, T: Record>: Clone + Send + Sync + 'static {
    /// What it collects.
    type Out: 'static;
    /// What it keeps of each key; `()` for nothing.
    type State: StateSet + 'static;

    /// Called once in each subtask before its first record: registers the states. Errors fail the job at its start.
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State>;

    /// Takes a record.
    fn process(
        &mut self,
        record: &T::Archived,
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

impl<C: Chain> Stream<C> {
    /// Applies a function that may collect any number of records, and write to side outputs. See [`ProcessFunction`], also for
    /// side outputs. Source: Flink's `DataStream.process`.
    ///
    /// ```
    /// use thalweg::{Context, Env, ProcessFunction, Timestamp, monotonous};
    ///
    /// /// Records with their timestamps.
    /// #[derive(Clone)]
    /// struct Stamped;
    ///
    /// impl ProcessFunction<char> for Stamped {
    ///     type Out = (char, Option<Timestamp>);
    ///
    ///     fn process(&mut self, &letter: &char, cx: &mut impl Context<Self::Out>) {
    ///         let timestamp = cx.timestamp();
    ///         cx.collect(&(letter, timestamp));
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let plain = env.from_elements(['a']).process(Stamped).collect();
    /// let stamped = env.from_elements(['b']).watermarks(monotonous().by(|_| 5)).process(Stamped).collect();
    /// env.execute()?;
    /// assert_eq!((plain.take(), stamped.take()), (vec![('a', None)], vec![('b', Some(5))]));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn process<F: ProcessFunction<C::Out>>(self, function: F) -> Stream<Process<C, F, ()>> {
        self.then("Process", |up| Process { up, function, sides: Declared::none() })
    }

    /// Sends records to the main output and to side outputs. The function gets each record, the collector of the main output and
    /// the side outputs: one [`crate::Side`] for a tag, a tuple for a tuple of tags. Source: Flink's *side outputs*.
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when another operator writes to one of the tags too.
    ///
    /// ```
    /// use thalweg::{Env, Tag};
    ///
    /// let (low, high) = (Tag::<u64>::new("low"), Tag::<u64>::new("high"));
    /// let env = Env::new().parallelism(1);
    /// let normal = env.generate(10, |n| n).split((low, high), |&n, out, (mut low, mut high)| match n {
    ///     0..2 => low.collect(&n),
    ///     9.. => high.collect(&n),
    ///     _ => out.collect(n),
    /// });
    /// let (low, high) = (normal.side_output(&low).owned().collect(), normal.side_output(&high).owned().collect());
    /// let normal = normal.collect();
    /// env.execute()?;
    /// assert_eq!((low.take(), normal.take().len(), high.take()), (vec![0, 1], 7, vec![9]));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn split<U: 'static, S: Sides, F>(self, sides: S, function: F) -> Stream<Split<C, F, U, S>>
    where
        F: FnMut(&C::Out, &mut Collector<U>, <S::Writers as SideWriters>::Handles<'_>)
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let sides = Declared::new(sides, &self.env);
        let mut stream =
            self.then("Split", |up| Split { up, function, sides: sides.clone(), out: PhantomData });
        stream.write_to(&sides);
        stream
    }

    /// Says which side outputs the process function before it writes to: a [`crate::Tag`] or a tuple of tags. None if not called:
    /// what it writes is then dropped. [`ProcessFunction`] has an example of a function that writes to one.
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when another operator writes to one of them too.
    ///
    /// ```
    /// use thalweg::{Context, Env, Error, ProcessFunction, Tag};
    ///
    /// #[derive(Clone)]
    /// struct ToSide(Tag<u64>);
    ///
    /// impl ProcessFunction<u64> for ToSide {
    ///     type Out = u64;
    ///
    ///     fn process(&mut self, n: &u64, cx: &mut impl Context<u64>) {
    ///         cx.side(&self.0, n);
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let tag = Tag::new("side");
    /// env.generate(3, |n| n).process(ToSide(tag)).with_sides(tag).blackhole();
    /// assert!(env.plan().is_ok());
    /// env.generate(3, |n| n).process(ToSide(tag)).with_sides(tag).blackhole();
    /// assert!(matches!(env.plan(), Err(Error::Plan(_))));
    /// ```
    pub fn with_sides<S: Sides>(self, sides: S) -> Stream<C::With<S>>
    where
        C: TakesSides,
    {
        let sides = Declared::new(sides, &self.env);
        let Stream { env, chain, open, node, sides: before } = self;
        let mut stream = Stream { env, chain: chain.with_sides(sides.clone()), open, node, sides: before };
        stream.write_to(&sides);
        stream
    }

    /// The last operator writes to these.
    fn write_to<S>(&mut self, sides: &Declared<S>) {
        let node = self.node;
        self.sides.extend(sides.ports.iter().map(|&port| (port, node)));
    }
}

#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<C: Chain, X: Extract<C::Out>> KeyedStream<C, X>
where
    X::Value: Record,
{
    /// Applies a function with state and timers. See [`KeyedProcessFunction`], also for timers. Source: Flink's
    /// `KeyedStream.process`.
    ///
    /// ```
    /// use thalweg::{Context, Env, KeyedContext, KeyedProcessFunction, OpenContext, Result, ValueState};
    ///
    /// /// Lets the first record of each key pass.
    /// #[derive(Clone)]
    /// struct Distinct;
    ///
    /// impl KeyedProcessFunction<u64, u64> for Distinct {
    ///     type Out = u64;
    ///     type State = ValueState<u64, ()>;
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
    ///         cx.value("seen")
    ///     }
    ///
    ///     fn process(&mut self, n: &rkyv::rend::u64_le, seen: &mut Self::State, cx: &mut impl KeyedContext<u64, u64>) {
    ///         if !seen.contains(cx.at()) {
    ///             seen.set(cx.at(), ());
    ///             cx.collect(&n.to_native());
    ///         }
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let distinct = env.from_elements([3_u64, 1, 3, 3, 2, 1]).key_by(|n| *n).process(Distinct).collect();
    /// env.execute()?;
    /// assert_eq!(distinct.take(), [3, 1, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn process<F: KeyedProcessFunction<X::Key, X::Value>>(
        self,
        function: F,
    ) -> Stream<Exchanged<X::Key, X::Value, ProcessFactory<F, ()>>> {
        self.operator("KeyedProcess", ProcessFactory::new(function))
    }
}

/// A chain that ends in a process function whose side outputs are not declared yet.
pub trait TakesSides: Chain {
    /// The chain with side outputs.
    type With<S: Sides>: Chain<Out = Self::Out>;

    #[doc(hidden)]
    fn with_sides<S: Sides>(self, sides: Declared<S>) -> Self::With<S>;
}

/// A chain that ends in [`Stream::process`].
#[derive(Clone)]
pub struct Process<C, F, S> {
    up: C,
    function: F,
    sides: Declared<S>,
}

impl<C: Chain, F: ProcessFunction<C::Out>, S: Sides> Chain for Process<C, F, S> {
    type Out = F::Out;

    fn attach<N: Output<F::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        let mut function = self.function.clone();
        function.open(&OpenContext::plain(cx))?;
        let emitter = Emitter::new(cx, self.sides.open(cx), next);
        self.up.attach(ProcessOutput::new(function, emitter), cx)
    }
}

impl<C: Chain, F: ProcessFunction<C::Out>> TakesSides for Process<C, F, ()> {
    type With<S: Sides> = Process<C, F, S>;

    fn with_sides<S: Sides>(self, sides: Declared<S>) -> Process<C, F, S> {
        Process { up: self.up, function: self.function, sides }
    }
}

/// A chain that ends in [`Stream::split`].
pub struct Split<C, F, U, S> {
    up: C,
    function: F,
    sides: Declared<S>,
    out: PhantomData<fn() -> U>,
}

impl<C: Clone, F: Clone, U, S: Clone> Clone for Split<C, F, U, S> {
    fn clone(&self) -> Self {
        let (up, function, sides) = (self.up.clone(), self.function.clone(), self.sides.clone());
        Self { up, function, sides, out: PhantomData }
    }
}

impl<C: Chain, F, U: 'static, S: Sides> Chain for Split<C, F, U, S>
where
    F: FnMut(&C::Out, &mut Collector<U>, <S::Writers as SideWriters>::Handles<'_>)
        + Clone
        + Send
        + Sync
        + 'static,
{
    type Out = U;

    fn attach<N: Output<U>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        let output = SplitOutput::new(self.function.clone(), self.sides.open(cx), next);
        self.up.attach(output, cx)
    }
}

/// Builds a process function behind an exchange: [`KeyedStream::process`] and [`super::connect::KeyedConnectedStreams::process`].
#[derive(Debug, Clone)]
pub struct ProcessFactory<F, S> {
    pub(crate) function: F,
    pub(crate) sides: Declared<S>,
}

impl<F> ProcessFactory<F, ()> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, sides: Declared::none() }
    }

    pub(crate) fn with_sides<S: Sides>(self, sides: Declared<S>) -> ProcessFactory<F, S> {
        ProcessFactory { function: self.function, sides }
    }
}

impl<K: Key, T: Record, F: KeyedProcessFunction<K, T>, S: Sides> OneInputFactory<K, T>
    for ProcessFactory<F, S>
{
    type Out = F::Out;

    fn build<N: Output<F::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<impl OneInput<K, T>> {
        let mut function = self.function.clone();
        let state = function.open(&OpenContext::keyed(cx))?;
        Ok(KeyedProcess::new(function, state, Services::new(cx, self.sides.open(cx), next)?))
    }
}

impl<K: Key, T: Record, F: KeyedProcessFunction<K, T>> TakesSides for Exchanged<K, T, ProcessFactory<F, ()>> {
    type With<S: Sides> = Exchanged<K, T, ProcessFactory<F, S>>;

    fn with_sides<S: Sides>(self, sides: Declared<S>) -> Self::With<S> {
        self.map_factory(|factory| factory.with_sides(sides))
    }
}
