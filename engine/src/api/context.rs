//! What functions see besides their records: time, outputs, the current key, and before all that the place for their states.
//!
//! The contexts are traits. A function takes `&mut impl KeyedContext<K, Out>`, so what stands behind it is known when the job is
//! compiled, and `collect` is a direct call of the next operator.

use thalweg_state::{
    AggregatingState, KeyContext, ListState, MapState, ReducingState, StateBackend, StateDescriptor,
    StateValue, ValueState,
};

use super::record::{Key, Record};
use super::tag::Tag;
use crate::data_plane::SubtaskContext;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// What a process function can ask and do besides reading its record. `Out` is what it collects.
///
/// ```
/// use thalweg::{Context, Env, ProcessFunction, punctuated};
///
/// /// Finds records that the watermark had passed already. Gives up when one is too old.
/// #[derive(Clone)]
/// struct Late;
///
/// impl ProcessFunction<i64> for Late {
///     type Out = (i64, i64);
///
///     fn process(&mut self, &time: &i64, cx: &mut impl Context<(i64, i64)>) {
///         let behind = cx.watermark().saturating_sub(time);
///         if behind > 100 {
///             cx.fail(format!("{behind} ms behind"));
///         } else if behind >= 0 {
///             cx.collect(&(time, behind));
///         }
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let times = env.from_elements([10_i64, 20, 15, 200, 50]);
/// let late = times.watermarks(punctuated(|_: &i64, time| Some(time)).by(|time: &i64| *time)).process(Late).collect();
/// let error = env.execute().unwrap_err();
/// assert!(error.to_string().ends_with("150 ms behind"));
/// assert_eq!(late.take(), [(15, 5)]);
/// ```
pub trait Context<Out> {
    /// Gives a record to the next operator, before this returns. It has the timestamp of the record or timer being worked on.
    fn collect(&mut self, record: &Out);

    /// Writes a record to a side output, with the same timestamp.
    ///
    /// The tag must be among those that the stream was given by [`crate::Stream::with_sides`]. A record for another tag is dropped, as
    /// nobody can read it; so is one that nobody reads.
    fn side<T: Record>(&mut self, tag: &Tag<T>, record: &T);

    /// The timestamp of the record or of the event-time timer, in ms; what is collected has it too. A record may have none, and
    /// for a processing-time timer there is none.
    fn timestamp(&self) -> Option<Timestamp>;

    /// The current watermark, in ms; `i64::MIN` before the first. While event-time timers fire it is the one that made them.
    fn watermark(&self) -> Timestamp;

    /// The processing-time clock, in ms since the epoch.
    fn now(&self) -> Timestamp;

    /// Fails the job, after this record, with [`Error::Operator`] and this message.
    fn fail(&mut self, message: impl Into<String>);
}

/// Which clock a timer goes by.
///
/// ```
/// use thalweg::testing::{Recorder, Simulator, script};
/// use thalweg::{Context, Env, KeyedContext, KeyedProcessFunction, OpenContext, Result, TimeDomain, Timestamp};
///
/// /// Sets one timer of each kind.
/// #[derive(Clone)]
/// struct Both;
///
/// impl KeyedProcessFunction<(), ()> for Both {
///     type Out = (Timestamp, TimeDomain, Option<Timestamp>);
///     type State = ();
///
///     fn open(&mut self, _: &OpenContext<'_>) -> Result<()> {
///         Ok(())
///     }
///
///     fn process(&mut self, _: &(), _: &mut (), cx: &mut impl KeyedContext<(), Self::Out>) {
///         cx.register_event_timer(10);
///         cx.register_processing_timer(cx.now() + 50);
///     }
///
///     fn on_timer(&mut self, timestamp: Timestamp, _: &mut (), cx: &mut impl KeyedContext<(), Self::Out>) {
///         let (domain, stamp) = (cx.time_domain(), cx.timestamp());
///         cx.collect(&(timestamp, domain, stamp));
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let (input, source) = script::<()>();
/// let fired = Recorder::new();
/// env.source("script", source).key_by(|_| ()).process(Both).sink("fired", fired.clone());
/// let mut job = Simulator::new(0).clock(1_000).start(&env)?;
/// input.record((), 3);
/// input.watermark(10);
/// job.run_until_quiet()?;
/// assert_eq!(fired.take_records(), [(10, TimeDomain::Event, Some(10))]);
/// job.advance_clock_to(1_051)?;
/// assert_eq!(fired.take_records(), [(1_050, TimeDomain::Processing, None)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeDomain {
    /// The watermark.
    Event,
    /// The clock of the machine.
    Processing,
}

/// A [`Context`] with a current key: state and timers are the key's.
///
/// Timers are deduplicated: a key has at most one at a timestamp in each [`TimeDomain`]. An event-time timer fires when the
/// watermark reaches it; one at or below the current watermark waits for the next. A processing-time timer fires when the clock
/// has passed it, so one in the past right after the current record; what is pending when the input ends is dropped. Registering
/// and deleting cost O(1), amortised. Source: Flink's `TimerService`.
///
/// [`crate::KeyedProcessFunction`] has an example with state, [`TimeDomain`] one with both kinds of timers. Here each key has one
/// timer, however many records, and one key has taken it back:
///
/// ```
/// use thalweg::{Context, Env, KeyedContext, KeyedProcessFunction, OpenContext, Result, Timestamp, monotonous};
///
/// #[derive(Clone)]
/// struct Remind;
///
/// impl KeyedProcessFunction<char, char> for Remind {
///     type Out = (char, Timestamp);
///     type State = ();
///
///     fn open(&mut self, _: &OpenContext<'_>) -> Result<()> {
///         Ok(())
///     }
///
///     fn process(&mut self, _: &rkyv::rend::char_le, _: &mut (), cx: &mut impl KeyedContext<char, Self::Out>) {
///         cx.register_event_timer(10);
///         if *cx.key() == 'c' {
///             cx.delete_event_timer(10);
///         }
///     }
///
///     fn on_timer(&mut self, timestamp: Timestamp, _: &mut (), cx: &mut impl KeyedContext<char, Self::Out>) {
///         let key = *cx.key();
///         cx.collect(&(key, timestamp));
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let letters = env.from_elements(['a', 'b', 'a', 'c']).watermarks(monotonous().by(|_| 0));
/// let reminded = letters.key_by(|c| *c).process(Remind).collect();
/// env.execute()?;
/// assert_eq!(reminded.take(), [('a', 10), ('b', 10)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait KeyedContext<K: Key, Out>: Context<Out> {
    /// The current key.
    fn key(&self) -> &K {
        self.at().key
    }

    /// The current key as the methods of states want it: `state.get(cx.at())`.
    fn at(&self) -> KeyContext<'_, K>;

    /// Which kind of timer is firing; [`TimeDomain::Event`] for a record.
    fn time_domain(&self) -> TimeDomain;

    /// Asks for [`crate::KeyedProcessFunction::on_timer`] when the watermark reaches `timestamp`, in ms.
    fn register_event_timer(&mut self, timestamp: Timestamp);

    /// Takes that back. Nothing happens if there is no such timer.
    fn delete_event_timer(&mut self, timestamp: Timestamp);

    /// Asks for [`crate::KeyedProcessFunction::on_timer`] when the clock has passed `timestamp`, in ms since the epoch.
    fn register_processing_timer(&mut self, timestamp: Timestamp);

    /// Takes that back. Nothing happens if there is no such timer.
    fn delete_processing_timer(&mut self, timestamp: Timestamp);
}

/// Where a function finds itself before its first record, and where a keyed one registers its states.
///
/// A state's name is unique within the operator: another of the same name is [`Error::Plan`] when the job starts.
///
/// ```
/// use thalweg::{Env, KeyedContext, KeyedProcessFunction, ListState, OpenContext, Result, ValueState};
///
/// #[derive(Clone)]
/// struct Twice;
///
/// impl KeyedProcessFunction<u64, u64> for Twice {
///     type Out = u64;
///     type State = (ValueState<u64, u64>, ListState<u64, u64>);
///
///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
///         Ok((cx.value("mine")?, cx.list("mine")?))
///     }
///
///     fn process(&mut self, _: &rkyv::rend::u64_le, _: &mut Self::State, _: &mut impl KeyedContext<u64, u64>) {}
/// }
///
/// let env = Env::new().parallelism(1);
/// env.generate(3, |n| n).key_by(|n| *n).process(Twice).blackhole();
/// let error = env.execute().unwrap_err();
/// assert!(error.to_string().ends_with("state \"mine\" is registered twice in one operator"));
/// ```
pub struct OpenContext<'a> {
    cx: &'a SubtaskContext,
    /// For functions with a key.
    backend: Option<StateBackend>,
}

impl<'a> OpenContext<'a> {
    pub(crate) fn plain(cx: &'a SubtaskContext) -> Self {
        Self { cx, backend: None }
    }

    pub(crate) fn keyed(cx: &'a SubtaskContext) -> Self {
        Self { cx, backend: Some(cx.backend()) }
    }

    /// Which of the parallel subtasks this is, from 0. Source: Flink's `getIndexOfThisSubtask`.
    ///
    /// ```
    /// use thalweg::{Context, Env, OpenContext, ProcessFunction, Result};
    ///
    /// /// Knows where it runs.
    /// #[derive(Clone)]
    /// struct Here(usize, usize);
    ///
    /// impl<T> ProcessFunction<T> for Here {
    ///     type Out = (usize, usize);
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
    ///         *self = Here(cx.subtask(), cx.parallelism());
    ///         Ok(())
    ///     }
    ///
    ///     fn process(&mut self, _: &T, cx: &mut impl Context<(usize, usize)>) {
    ///         cx.collect(&(self.0, self.1));
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(3);
    /// let places = env.generate(3, |n| n).process(Here(0, 0)).collect();
    /// env.execute()?;
    /// let mut places = places.take();
    /// places.sort();
    /// assert_eq!(places, [(0, 3), (1, 3), (2, 3)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn subtask(&self) -> usize {
        self.cx.subtask
    }

    /// How many subtasks there are: see [`OpenContext::subtask`]. Source: Flink's `getNumberOfParallelSubtasks`.
    pub fn parallelism(&self) -> usize {
        self.cx.parallelism
    }

    /// What makes the states, for those that the other methods do not cover: a reduction whose type is a closure's, for instance.
    ///
    /// Errors: [`Error::Plan`] in a function without a key.
    ///
    /// ```
    /// use thalweg::{Context, Env, Error, OpenContext, ProcessFunction, Result};
    ///
    /// #[derive(Clone)]
    /// struct Keyless;
    ///
    /// impl ProcessFunction<u64> for Keyless {
    ///     type Out = u64;
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
    ///         cx.backend().map(drop)
    ///     }
    ///
    ///     fn process(&mut self, n: &u64, cx: &mut impl Context<u64>) {
    ///         cx.collect(n);
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// env.generate(3, |n| n).process(Keyless).blackhole();
    /// assert!(matches!(env.execute(), Err(Error::Plan(_))));
    /// ```
    pub fn backend(&self) -> Result<&StateBackend> {
        let name = &self.cx.name;
        self.backend
            .as_ref()
            .ok_or_else(|| Error::Plan(format!("{name}: only a keyed stream has keyed state")))
    }

    /// One value under each key. Errors: [`Error::Plan`] if the name is taken. Source: Flink's `ValueState`.
    ///
    /// ```
    /// use thalweg::{Context, Env, KeyedContext, KeyedProcessFunction, OpenContext, Result, ValueState};
    ///
    /// /// By how much each key's records rise.
    /// #[derive(Clone)]
    /// struct Rise;
    ///
    /// impl KeyedProcessFunction<(), u64> for Rise {
    ///     type Out = u64;
    ///     type State = ValueState<(), u64>;
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
    ///         cx.value("last")
    ///     }
    ///
    ///     fn process(&mut self, n: &rkyv::rend::u64_le, last: &mut Self::State, cx: &mut impl KeyedContext<(), u64>) {
    ///         let before = last.get(cx.at()).copied().unwrap_or(0);
    ///         last.set(cx.at(), n.to_native());
    ///         cx.collect(&(n.to_native() - before));
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let rises = env.from_elements([3_u64, 5, 9]).key_by(|_| ()).process(Rise).collect();
    /// env.execute()?;
    /// assert_eq!(rises.take(), [3, 2, 4]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn value<K: Key, V: StateValue>(&self, name: impl Into<StateDescriptor>) -> Result<ValueState<K, V>> {
        ValueState::new(name, self.backend()?).map_err(|error| self.cx.refused(error))
    }

    /// A list under each key. Errors: [`Error::Plan`] if the name is taken. Source: Flink's `ListState`.
    ///
    /// ```
    /// use thalweg::{Context, Env, KeyedContext, KeyedProcessFunction, ListState, OpenContext, Result};
    ///
    /// /// Makes one record of each three.
    /// #[derive(Clone)]
    /// struct Threes;
    ///
    /// impl KeyedProcessFunction<(), u64> for Threes {
    ///     type Out = Vec<u64>;
    ///     type State = ListState<(), u64>;
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
    ///         cx.list("waiting")
    ///     }
    ///
    ///     fn process(&mut self, n: &rkyv::rend::u64_le, waiting: &mut Self::State, cx: &mut impl KeyedContext<(), Vec<u64>>) {
    ///         waiting.add(cx.at(), n.to_native());
    ///         if waiting.get(cx.at()).len() == 3 {
    ///             cx.collect(&waiting.take(cx.at()));
    ///         }
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let threes = env.generate(7, |n| n).key_by(|_| ()).process(Threes).collect();
    /// env.execute()?;
    /// assert_eq!(threes.take(), [[0, 1, 2], [3, 4, 5]]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn list<K: Key, T: StateValue>(&self, name: impl Into<StateDescriptor>) -> Result<ListState<K, T>> {
        ListState::new(name, self.backend()?).map_err(|error| self.cx.refused(error))
    }

    /// A map under each key. Errors: [`Error::Plan`] if the name is taken. Source: Flink's `MapState`.
    ///
    /// ```
    /// use thalweg::{Context, Env, KeyedContext, KeyedProcessFunction, MapState, OpenContext, Result};
    ///
    /// /// How often each user has seen a page.
    /// #[derive(Clone)]
    /// struct Visits;
    ///
    /// impl KeyedProcessFunction<u64, (u64, char)> for Visits {
    ///     type Out = (u64, char, u32);
    ///     type State = MapState<u64, char, u32>;
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
    ///         cx.map("visits")
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         visit: &rkyv::Archived<(u64, char)>,
    ///         visits: &mut Self::State,
    ///         cx: &mut impl KeyedContext<u64, Self::Out>,
    ///     ) {
    ///         let page = visit.1.to_native();
    ///         let count = visits.update_with(cx.at(), &page, || 0, |count| { *count += 1; *count });
    ///         cx.collect(&(*cx.key(), page, count));
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let visits = env.from_elements([(7_u64, 'a'), (7, 'b'), (8, 'a'), (7, 'a')]).key_by(|visit| visit.0);
    /// let counts = visits.process(Visits).collect();
    /// env.execute()?;
    /// assert_eq!(counts.take(), [(7, 'a', 1), (7, 'b', 1), (8, 'a', 1), (7, 'a', 2)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn map<K: Key, UK: Key, UV: StateValue>(
        &self,
        name: impl Into<StateDescriptor>,
    ) -> Result<MapState<K, UK, UV>> {
        MapState::new(name, self.backend()?).map_err(|error| self.cx.refused(error))
    }

    /// A running reduction under each key: `reduce` adds its second argument to its first. Errors: [`Error::Plan`] if the name is
    /// taken. Source: Flink's `ReducingState`.
    ///
    /// ```
    /// use thalweg::{Context, Env, KeyedContext, KeyedProcessFunction, OpenContext, ReducingState, Result};
    ///
    /// /// Lets records pass that are a new record.
    /// #[derive(Clone)]
    /// struct Highest;
    ///
    /// impl KeyedProcessFunction<(), u64> for Highest {
    ///     type Out = u64;
    ///     type State = ReducingState<(), u64>;
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
    ///         cx.reducing("highest", |highest, n| *highest = n.max(*highest))
    ///     }
    ///
    ///     fn process(&mut self, n: &rkyv::rend::u64_le, highest: &mut Self::State, cx: &mut impl KeyedContext<(), u64>) {
    ///         let before = highest.get(cx.at()).copied();
    ///         if Some(*highest.add(cx.at(), n.to_native())) != before {
    ///             cx.collect(&n.to_native());
    ///         }
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let highest = env.from_elements([3_u64, 1, 4, 4, 9, 2]).key_by(|_| ()).process(Highest).collect();
    /// env.execute()?;
    /// assert_eq!(highest.take(), [3, 4, 9]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn reducing<K: Key, V: StateValue>(
        &self,
        name: impl Into<StateDescriptor>,
        reduce: fn(&mut V, V),
    ) -> Result<ReducingState<K, V>> {
        ReducingState::new(name, self.backend()?, reduce).map_err(|error| self.cx.refused(error))
    }

    /// A running aggregate under each key: `create` makes an accumulator, `add` puts an item into one, `result` reads one. Errors:
    /// [`Error::Plan`] if the name is taken. Source: Flink's `AggregatingState`.
    ///
    /// ```
    /// use thalweg::{Aggregating, Context, Env, KeyedContext, KeyedProcessFunction, OpenContext, Result};
    ///
    /// /// The mean so far.
    /// #[derive(Clone)]
    /// struct Mean;
    ///
    /// impl KeyedProcessFunction<(), f64> for Mean {
    ///     type Out = f64;
    ///     type State = Aggregating<(), (f64, u32), f64, f64>;
    ///
    ///     fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
    ///         let add = |acc: &mut (f64, u32), n| *acc = (acc.0 + n, acc.1 + 1);
    ///         cx.aggregating("mean", || (0.0, 0), add, |acc| acc.0 / f64::from(acc.1))
    ///     }
    ///
    ///     fn process(&mut self, n: &rkyv::rend::f64_le, mean: &mut Self::State, cx: &mut impl KeyedContext<(), f64>) {
    ///         mean.add(cx.at(), n.to_native());
    ///         cx.collect(&mean.get(cx.at()).unwrap_or_default());
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let means = env.from_elements([3.0, 4.0, 8.0]).key_by(|_| ()).process(Mean).collect();
    /// env.execute()?;
    /// assert_eq!(means.take(), [3.0, 3.5, 5.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn aggregating<K: Key, A: StateValue, I, O>(
        &self,
        name: impl Into<StateDescriptor>,
        create: fn() -> A,
        add: fn(&mut A, I),
        result: fn(&A) -> O,
    ) -> Result<Aggregating<K, A, I, O>> {
        AggregatingState::new(name, self.backend()?, create, add, result)
            .map_err(|error| self.cx.refused(error))
    }
}

/// The state that [`OpenContext::aggregating`] makes, where there is an example: its type can be written down.
pub type Aggregating<K, A, I, O> = AggregatingState<K, A, fn() -> A, fn(&mut A, I), fn(&A) -> O>;
