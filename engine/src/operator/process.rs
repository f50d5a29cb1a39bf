//! Process functions: what a user's function sees of its operator, and when its timers fire.
//!
//! ```text
//!   record ─▶ key ─▶ function.process ─┬─▶ next operator (a direct call)
//!                         │ ▲          └─▶ side outputs
//!                register │ │ on_timer
//!                         ▼ │
//!   watermark ─────▶ event-time timers         clock ─────▶ processing-time timers
//! ```
//!
//! Invariants:
//! - an event-time timer fires when the watermark reaches it, a processing-time timer when the clock has passed it, both in
//!   the order of their timestamps over all keys, and once for each key and timestamp;
//! - a watermark fires until nothing is due for it any more, then it goes downstream;
//! - a processing-time timer that is due fires before the next record, watermark or other signal is looked at;
//! - both kinds fire within a budget and go on in the next step, so no number of timers keeps the core from its other work.
//!
//! Source: Flink's `KeyedProcessOperator` and `InternalTimerServiceImpl`.

use std::marker::PhantomData;

use thalweg_net::Signal;
use thalweg_state::{KeyContext, StateSet, TimerState};

use super::lookahead::{Due, Lookahead};
use super::output::{Control, Output, Stage};
use super::stateless::Collector;
use super::{Budget, CACHED_STATE_BYTES, OneInput, Operator, Received};
use crate::api::context::{Context, KeyedContext, TimeDomain};
use crate::api::process::{KeyedProcessFunction, ProcessFunction};
use crate::api::record::{Key, Record};
use crate::api::tag::{SideWriters, Tag};
use crate::data_plane::SubtaskContext;
use crate::data_plane::subtask::Guard;
use crate::error::Result;
use crate::time::{NO_TIMESTAMP, Timestamp};

/// The main output and the side outputs of a process function, and what it can ask.
pub(crate) struct Emitter<S, N> {
    next: N,
    sides: S,
    watermark: Timestamp,
    guard: Guard,
}

impl<S: SideWriters, N: Stage> Emitter<S, N> {
    pub(crate) fn new(cx: &SubtaskContext, sides: S, next: N) -> Self {
        Self { next, sides, watermark: i64::MIN, guard: cx.guard() }
    }

    fn control(&mut self, control: Control) {
        self.sides.control(control);
        self.next.control(control);
    }
}

/// The context of a function without a key.
struct PlainContext<'a, S, N> {
    timestamp: Timestamp,
    emitter: &'a mut Emitter<S, N>,
}

impl<U, S: SideWriters, N: Output<U>> Context<U> for PlainContext<'_, S, N> {
    #[inline]
    fn collect(&mut self, record: &U) {
        self.emitter.next.collect(record, self.timestamp);
    }

    #[inline]
    fn side<T: Record>(&mut self, tag: &Tag<T>, record: &T) {
        self.emitter.sides.write(tag.id, record, self.timestamp);
    }

    #[inline]
    fn timestamp(&self) -> Option<Timestamp> {
        (self.timestamp != NO_TIMESTAMP).then_some(self.timestamp)
    }

    #[inline]
    fn watermark(&self) -> Timestamp {
        self.emitter.watermark
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.emitter.guard.now()
    }

    #[cold]
    fn fail(&mut self, message: impl Into<String>) {
        self.emitter.guard.fail(message);
    }
}

/// A process function in the middle of a chain, for records of type `T`.
pub(crate) struct ProcessOutput<T, F, S, N> {
    function: F,
    emitter: Emitter<S, N>,
    record: PhantomData<fn(T)>,
}

impl<T, F, S, N> ProcessOutput<T, F, S, N> {
    pub(crate) fn new(function: F, emitter: Emitter<S, N>) -> Self {
        Self { function, emitter, record: PhantomData }
    }
}

impl<T: 'static, F: ProcessFunction<T>, S: SideWriters, N: Output<F::Out>> Output<T>
    for ProcessOutput<T, F, S, N>
{
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        self.function.process(record, &mut PlainContext { timestamp, emitter: &mut self.emitter });
    }
}

impl<T: 'static, F: ProcessFunction<T>, S: SideWriters, N: Output<F::Out>> Stage
    for ProcessOutput<T, F, S, N>
{
    fn control(&mut self, control: Control) {
        match control {
            Control::Signal(Signal::Watermark(watermark)) => self.emitter.watermark = watermark,
            Control::Signal(Signal::End) => self.function.close(),
            _ => {}
        }
        self.emitter.control(control);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.emitter.next.wakes_at()
    }
}

/// A closure that sends records to the main output and to side outputs.
pub(crate) struct SplitOutput<F, U, S, N> {
    function: F,
    collector: Collector<U>,
    sides: S,
    next: N,
}

impl<F, U, S, N> SplitOutput<F, U, S, N> {
    pub(crate) fn new(function: F, sides: S, next: N) -> Self {
        Self { function, collector: Collector::new(), sides, next }
    }
}

impl<T, F, U: 'static, S: SideWriters, N: Output<U>> Output<T> for SplitOutput<F, U, S, N>
where
    F: FnMut(&T, &mut Collector<U>, S::Handles<'_>) + 'static,
{
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        (self.function)(record, &mut self.collector, self.sides.handles(timestamp));
        for result in self.collector.drain() {
            self.next.collect(&result, timestamp);
        }
    }
}

impl<F: 'static, U: 'static, S: SideWriters, N: Stage> Stage for SplitOutput<F, U, S, N> {
    fn control(&mut self, control: Control) {
        self.sides.control(control);
        self.next.control(control);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.next.wakes_at()
    }
}

/// What all operators with keys and timers have: outputs, timers, and a place for the current key.
pub(crate) struct Services<K, S, N> {
    emitter: Emitter<S, N>,
    event_timers: TimerState<K>,
    processing_timers: TimerState<K>,
    pub(crate) ahead: Lookahead<K>,
}

impl<K: Key, S: SideWriters, N: Stage> Services<K, S, N> {
    pub(crate) fn new(cx: &SubtaskContext, sides: S, next: N) -> Result<Self> {
        let [event_timers, processing_timers] = cx.timers()?;
        let (emitter, ahead) = (Emitter::new(cx, sides, next), Lookahead::new(cx));
        Ok(Self { emitter, event_timers, processing_timers, ahead })
    }

    /// See [`Operator::maintain`].
    pub(crate) fn maintain(&mut self, state: &mut impl StateSet) {
        self.ahead.maintain(state);
        self.event_timers.maintain();
        self.processing_timers.maintain();
    }

    /// The context in which the function gets a record.
    #[inline]
    pub(crate) fn on_record<'a>(
        &'a mut self,
        at: KeyContext<'a, K>,
        timestamp: Timestamp,
    ) -> TimedContext<'a, K, S, N> {
        TimedContext { at, timestamp, domain: TimeDomain::Event, services: self }
    }

    /// Fires the event-time timers that a new watermark has reached. Returns whether those were all.
    pub(crate) fn advance<St: StateSet>(
        &mut self,
        watermark: Timestamp,
        budget: &mut Budget,
        state: &mut St,
        mut on_timer: impl FnMut(Timestamp, &mut St, &mut TimedContext<'_, K, S, N>),
    ) -> bool {
        self.emitter.watermark = watermark;
        let mut goes_on = true;
        let mut due = Due::default();
        while goes_on {
            if !due.is_ready(&mut self.ahead, &mut self.event_timers, watermark, state) {
                return false;
            }
            let Some((timestamp, hash, key)) = self.event_timers.pop_due(watermark) else { break };
            let at = due.next(&key, hash);
            let domain = TimeDomain::Event;
            on_timer(timestamp, state, &mut TimedContext { at, timestamp, domain, services: self });
            self.event_timers.give_back(key);
            goes_on = budget.spend(&self.emitter.guard);
        }
        self.stop_if_due();
        self.event_timers.next_at().is_none_or(|next| next > watermark)
    }

    /// Whether the clock may have passed a processing-time timer.
    #[inline]
    fn is_due(&self) -> bool {
        self.processing_timers.next_at().is_some_and(|next| next < self.emitter.guard.now())
    }

    /// Sees that what a record or a timer has registered in the past fires before the next record.
    #[inline]
    pub(crate) fn stop_if_due(&self) {
        if self.is_due() {
            self.emitter.guard.ask_to_stop();
        }
    }

    /// Fires the processing-time timers that the clock has passed. Returns whether those were all.
    #[inline]
    pub(crate) fn fire_due<St: StateSet>(
        &mut self,
        budget: &mut Budget,
        state: &mut St,
        mut on_timer: impl FnMut(Timestamp, &mut St, &mut TimedContext<'_, K, S, N>),
    ) -> bool {
        if !self.is_due() {
            return true;
        }
        let up_to = self.emitter.guard.now().saturating_sub(1);
        let mut goes_on = true;
        let mut next_due = Due::default();
        while goes_on {
            if !next_due.is_ready(&mut self.ahead, &mut self.processing_timers, up_to, state) {
                return false;
            }
            let Some((due, hash, key)) = self.processing_timers.pop_due(up_to) else { break };
            let (at, domain) = (next_due.next(&key, hash), TimeDomain::Processing);
            on_timer(due, state, &mut TimedContext { at, timestamp: NO_TIMESTAMP, domain, services: self });
            self.processing_timers.give_back(key);
            goes_on = budget.spend(&self.emitter.guard);
        }
        !self.is_due()
    }

    pub(crate) fn control(&mut self, control: Control) {
        self.emitter.control(control);
    }

    pub(crate) fn wakes_at(&self) -> Option<Timestamp> {
        // Without credit nothing fires, and the credit itself will wake the core.
        let timer = self.processing_timers.next_at().filter(|_| !self.emitter.guard.is_blocked());
        let fires = timer.and_then(|timer| timer.checked_add(1));
        [fires, self.emitter.next.wakes_at()].into_iter().flatten().min()
    }
}

/// The context of a function with a key and timers.
pub(crate) struct TimedContext<'a, K, S, N> {
    at: KeyContext<'a, K>,
    /// What collected records get.
    timestamp: Timestamp,
    domain: TimeDomain,
    services: &'a mut Services<K, S, N>,
}

impl<K: Key, U, S: SideWriters, N: Output<U>> Context<U> for TimedContext<'_, K, S, N> {
    #[inline]
    fn collect(&mut self, record: &U) {
        self.services.emitter.next.collect(record, self.timestamp);
    }

    #[inline]
    fn side<T: Record>(&mut self, tag: &Tag<T>, record: &T) {
        self.services.emitter.sides.write(tag.id, record, self.timestamp);
    }

    #[inline]
    fn timestamp(&self) -> Option<Timestamp> {
        (self.timestamp != NO_TIMESTAMP).then_some(self.timestamp)
    }

    #[inline]
    fn watermark(&self) -> Timestamp {
        self.services.emitter.watermark
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.services.emitter.guard.now()
    }

    #[cold]
    fn fail(&mut self, message: impl Into<String>) {
        self.services.emitter.guard.fail(message);
    }
}

impl<K: Key, U, S: SideWriters, N: Output<U>> KeyedContext<K, U> for TimedContext<'_, K, S, N> {
    #[inline]
    fn at(&self) -> KeyContext<'_, K> {
        self.at
    }

    #[inline]
    fn time_domain(&self) -> TimeDomain {
        self.domain
    }

    #[inline]
    fn register_event_timer(&mut self, timestamp: Timestamp) {
        self.services.event_timers.register(timestamp, self.at.hash, self.at.key);
    }

    #[inline]
    fn delete_event_timer(&mut self, timestamp: Timestamp) {
        self.services.event_timers.delete(timestamp, self.at.hash, self.at.key);
    }

    #[inline]
    fn register_processing_timer(&mut self, timestamp: Timestamp) {
        self.services.processing_timers.register(timestamp, self.at.hash, self.at.key);
    }

    #[inline]
    fn delete_processing_timer(&mut self, timestamp: Timestamp) {
        self.services.processing_timers.delete(timestamp, self.at.hash, self.at.key);
    }
}

/// Makes the key of a record an owned one, which states and timers need.
///
/// For numbers that costs nothing. A key that owns memory takes over that of the record before.
pub(crate) struct OwnedKey<K> {
    last: Option<K>,
}

impl<K: Key> OwnedKey<K> {
    pub(crate) fn new() -> Self {
        Self { last: None }
    }

    /// The key, lent from here or from `made`.
    #[inline]
    pub(crate) fn get<'a>(&'a mut self, key: &K::Archived, made: &'a mut Option<K>) -> &'a K {
        if !std::mem::needs_drop::<K>() {
            return made.insert(K::from_archived(key)); // In registers.
        }
        match &mut self.last {
            Some(last) => {
                if !last.eq_archived(key) {
                    last.assign_archived(key);
                }
                last
            }
            last => last.insert(K::from_archived(key)),
        }
    }
}

/// A process function with a key and timers, at the head of a chain.
pub(crate) struct KeyedProcess<K: Key, T, F, St, S, N> {
    function: F,
    state: St,
    key: OwnedKey<K>,
    services: Services<K, S, N>,
    record: PhantomData<fn(T)>,
}

impl<K: Key, T: Record, F: KeyedProcessFunction<K, T>, S: SideWriters, N: Output<F::Out>>
    KeyedProcess<K, T, F, F::State, S, N>
{
    pub(crate) fn new(function: F, mut state: F::State, mut services: Services<K, S, N>) -> Self {
        services.ahead.learn(&mut state);
        Self { function, state, key: OwnedKey::new(), services, record: PhantomData }
    }
}

impl<K: Key, T: Record, F: KeyedProcessFunction<K, T>, S: SideWriters, N: Output<F::Out>> Stage
    for KeyedProcess<K, T, F, F::State, S, N>
{
    fn control(&mut self, control: Control) {
        if control == Control::Signal(Signal::End) {
            self.function.close(&mut self.state);
        }
        self.services.control(control);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.services.wakes_at()
    }
}

impl<K: Key, T: Record, F: KeyedProcessFunction<K, T>, S: SideWriters, N: Output<F::Out>> Operator
    for KeyedProcess<K, T, F, F::State, S, N>
{
    fn advance(&mut self, watermark: Timestamp, budget: &mut Budget) -> bool {
        let Self { function, state, services, .. } = self;
        services
            .advance(watermark, budget, state, |timestamp, state, cx| function.on_timer(timestamp, state, cx))
    }

    fn fire_due(&mut self, budget: &mut Budget) -> bool {
        let Self { function, state, services, .. } = self;
        services.fire_due(budget, state, |timestamp, state, cx| function.on_timer(timestamp, state, cx))
    }

    fn prepares(&self) -> bool {
        self.services.ahead.spills()
    }

    fn prepared(&mut self) -> bool {
        self.services.ahead.is_ready(&mut self.state)
    }

    fn maintain(&mut self) {
        self.services.maintain(&mut self.state);
    }
}

impl<K: Key, T: Record, F: KeyedProcessFunction<K, T>, S: SideWriters, N: Output<F::Out>> OneInput<K, T>
    for KeyedProcess<K, T, F, F::State, S, N>
{
    fn looks_ahead(&self) -> bool {
        self.state.memory_bytes() > CACHED_STATE_BYTES
    }

    #[inline]
    fn prefetch(&self, key_hash: u64, _timestamp: Timestamp) {
        self.state.prefetch(key_hash);
    }

    fn owns(&self) -> bool {
        self.state.owns()
    }

    #[inline]
    fn prefetch_owned(&self, key_hash: u64) {
        self.state.prefetch_owned(key_hash);
    }

    fn prepare(&mut self, record: Received<'_, K, T>) {
        self.services.ahead.show(&mut self.state, &record);
    }

    #[inline]
    fn process(&mut self, record: Received<'_, K, T>) {
        let Self { function, state, key, services, .. } = self;
        let mut made = None;
        let key = key.get(record.key, &mut made);
        services.ahead.on_record(state);
        let mut cx = services.on_record(record.at(key), record.timestamp);
        function.process(record.value, state, &mut cx);
        services.stop_if_due();
    }
}

#[cfg(test)]
mod tests;
