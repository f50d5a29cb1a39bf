//! What functions see besides their records: time, outputs, the current key, and before all that the place for their states.
//!
//! The contexts are traits. A function takes `&mut impl KeyedContext<K, Out>`, so what stands behind it is known when the job is
//! compiled, and `collect` is a direct call of the next operator.

use thalweg_state::{
    AggregatingState, HeapBackend, KeyContext, ListState, MapState, ReducingState, StateDescriptor,
    ValueState,
};

use super::record::{Key, Record};
use super::tag::Tag;
use crate::data_plane::SubtaskContext;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// What a process function can ask and do besides reading its record. `Out` is what it collects.
///
/// See [`crate::ProcessFunction`] for an example.
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
/// and deleting cost O(log n) in the number of different timestamps.
///
/// See [`crate::KeyedProcessFunction`] for an example. Source: Flink's `TimerService`.
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
pub struct OpenContext<'a> {
    cx: &'a SubtaskContext,
    /// For functions with a key.
    backend: Option<HeapBackend>,
}

impl<'a> OpenContext<'a> {
    pub(crate) fn plain(cx: &'a SubtaskContext) -> Self {
        Self { cx, backend: None }
    }

    pub(crate) fn keyed(cx: &'a SubtaskContext) -> Self {
        Self { cx, backend: Some(cx.heap()) }
    }

    /// Which of the parallel subtasks this is, from 0.
    pub fn subtask(&self) -> usize {
        self.cx.subtask
    }

    /// How many subtasks there are.
    pub fn parallelism(&self) -> usize {
        self.cx.parallelism
    }

    /// What makes the states, for those that the other methods do not cover.
    ///
    /// Errors: [`Error::Plan`] in a function without a key.
    pub fn backend(&self) -> Result<&HeapBackend> {
        let name = &self.cx.name;
        self.backend
            .as_ref()
            .ok_or_else(|| Error::Plan(format!("{name}: only a keyed stream has keyed state")))
    }

    /// One value under each key. Errors: [`Error::Plan`] if the name is taken.
    pub fn value<K: Key, V>(&self, name: impl Into<StateDescriptor>) -> Result<ValueState<K, V>> {
        ValueState::new(name, self.backend()?).map_err(|error| self.refused(error))
    }

    /// A list under each key. Errors: [`Error::Plan`] if the name is taken.
    pub fn list<K: Key, T>(&self, name: impl Into<StateDescriptor>) -> Result<ListState<K, T>> {
        ListState::new(name, self.backend()?).map_err(|error| self.refused(error))
    }

    /// A map under each key. Errors: [`Error::Plan`] if the name is taken.
    pub fn map<K: Key, UK: Key, UV>(&self, name: impl Into<StateDescriptor>) -> Result<MapState<K, UK, UV>> {
        MapState::new(name, self.backend()?).map_err(|error| self.refused(error))
    }

    /// A running reduction under each key. Errors: [`Error::Plan`] if the name is taken.
    pub fn reducing<K: Key, V>(
        &self,
        name: impl Into<StateDescriptor>,
        reduce: fn(&mut V, V),
    ) -> Result<ReducingState<K, V>> {
        ReducingState::new(name, self.backend()?, reduce).map_err(|error| self.refused(error))
    }

    /// A running aggregate under each key. Errors: [`Error::Plan`] if the name is taken.
    pub fn aggregating<K: Key, A, I, O>(
        &self,
        name: impl Into<StateDescriptor>,
        create: fn() -> A,
        add: fn(&mut A, I),
        result: fn(&A) -> O,
    ) -> Result<Aggregating<K, A, I, O>> {
        AggregatingState::new(name, self.backend()?, create, add, result).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: thalweg_state::Error) -> Error {
        Error::Plan(format!("{}: {error}", self.cx.name))
    }
}

/// The state that [`OpenContext::aggregating`] makes: its type can be written down.
pub type Aggregating<K, A, I, O> = AggregatingState<K, A, fn() -> A, fn(&mut A, I), fn(&A) -> O>;
