//! The general window operator: any assigner, trigger, allowed lateness and function. Source: Flink's `WindowOperator` and
//! `MergingWindowSet`.
//!
//! ```text
//!   key ──▶ Windows { slots: [ window │ contents │ trigger's state │ function's state ], key state }     one look-up for a record
//!   timers (key, window) by time ──▶ trigger ──▶ fire, purge;  at the end + lateness: forget
//! ```
//!
//! Invariants:
//! - the slots of a key are sorted by window; those of merging windows neither overlap nor touch;
//! - an event-time window with a slot has a timer for its end plus lateness, unless that is the end of time; so no slot stays;
//! - a purged window keeps its slot: a session's span survives, and its trigger's state;
//! - a key without slots and without state of its function has no entry.
//!
//! Differs from Flink where it cannot be seen: a timer whose window has no slot is dropped without asking the trigger, as
//! there is nothing that could be fired.

use std::mem;

use rkyv::util::AlignedVec;
use thalweg_state::lsm::Fingerprint;
use thalweg_state::lsm::sst::ValueAlign;
use thalweg_state::{
    ArchivedKey, KeyContext, KeyRef, StateSet, StateValue, Stored, TimerState, ValueError, ValueState, Wakes,
    fingerprint, load_two, store_two,
};

use super::function::{FiringContext, WindowFunction};
use super::join::Either;
use crate::api::record::{Key, Record};
use crate::api::tag::{SideWriter, SideWriters};
use crate::data_plane::SubtaskContext;
use crate::data_plane::subtask::Guard;
use crate::data_plane::switch::LateRecords;
use crate::error::Result;
use crate::operator::lookahead::{Due, Lookahead};
use crate::operator::output::{Control, Output, Stage};
use crate::operator::stateless::Collector;
use crate::operator::{Budget, CACHED_STATE_BYTES, OneInput, Operator, Received, TwoInput};
use crate::time::Timestamp;
use crate::time::assigner::WindowAssigner;
use crate::time::trigger::{TimerRequest, Trigger, TriggerContext, TriggerResult};
use crate::time::window::TimeWindow;

/// How many empty lists of slots are kept for keys to come.
const SPARE_LISTS_MAX: usize = 1024;

/// A window of a key.
#[derive(Clone, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Slot<C, S, W> {
    window: TimeWindow,
    /// `None` after a purge.
    contents: Option<C>,
    trigger: S,
    state: W,
    timers: SlotTimers,
}

/// Which of the timers that every record of a window asks for are registered. Spares asking the queue.
#[derive(Clone, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct SlotTimers {
    event_end: bool,
    processing_end: bool,
    cleanup: bool,
}

/// All windows of a key.
#[derive(Clone)]
struct Windows<C, S, W, P> {
    slots: Vec<Slot<C, S, W>>,
    key_state: Option<P>,
}

type SlotOf<K, V, Tr, F> = Slot<
    <F as WindowFunction<K, V>>::Contents,
    <Tr as Trigger<V>>::State,
    <F as WindowFunction<K, V>>::WindowState,
>;

type WindowsOf<K, V, Tr, F> = Windows<
    <F as WindowFunction<K, V>>::Contents,
    <Tr as Trigger<V>>::State,
    <F as WindowFunction<K, V>>::WindowState,
    <F as WindowFunction<K, V>>::KeyState,
>;

impl<C, S: Default, W: Default> Slot<C, S, W> {
    fn new(window: TimeWindow) -> Self {
        let (trigger, state, timers) = (S::default(), W::default(), SlotTimers::default());
        Self { window, contents: None, trigger, state, timers }
    }
}

impl<C, S: Default, W: Default, P> Windows<C, S, W, P> {
    #[inline]
    fn find(&self, window: TimeWindow) -> Result<usize, usize> {
        // Records come roughly in order: theirs is mostly the last window.
        match self.slots.last() {
            Some(last) if last.window == window => Ok(self.slots.len() - 1),
            _ => self.slots.binary_search_by(|slot| slot.window.cmp(&window)),
        }
    }

    /// The place of the window's slot, which is made if there is none.
    #[inline]
    fn find_or_insert(&mut self, window: TimeWindow) -> usize {
        self.find(window).unwrap_or_else(|at| {
            self.slots.insert(at, Slot::new(window));
            at
        })
    }

    fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.key_state.is_none()
    }
}

impl<C: StateValue, S: StateValue, W: StateValue, P: StateValue> Stored for Windows<C, S, W, P> {
    fn schema() -> Fingerprint {
        fingerprint::<(C, S, W, P)>(&["windows"])
    }

    fn align() -> ValueAlign {
        ValueAlign::Sixteen
    }

    fn store(&self, out: &mut AlignedVec<16>) -> std::result::Result<(), ValueError> {
        store_two(out, |out| self.key_state.write(out), |out| Slot::write_list(&self.slots, out))
    }

    fn load(bytes: &[u8]) -> std::result::Result<Self, ValueError> {
        let (key_state, slots) = load_two(bytes)?;
        Ok(Self { slots: Vec::read(slots)?, key_state: Option::read(key_state)? })
    }
}

/// A timer of a window.
#[derive(Clone, PartialEq, Eq)]
struct OfWindow<K> {
    key: K,
    window: TimeWindow,
}

impl<K: Key> Wakes for OfWindow<K> {
    type Key = K;
    type Namespace = (Timestamp, Timestamp);

    fn new(key: K, (start, end): (Timestamp, Timestamp)) -> Self {
        Self { key, window: TimeWindow { start, end } }
    }

    fn key(&self) -> &K {
        &self.key
    }

    fn namespace(&self) -> (Timestamp, Timestamp) {
        (self.window.start, self.window.end)
    }
}

/// What the operator knows of time.
struct Clocks<K> {
    is_event_time: bool,
    lateness_ms: i64,
    watermark: Timestamp,
    now: Timestamp,
    event: TimerState<OfWindow<K>>,
    processing: TimerState<OfWindow<K>>,
    /// Of the trigger call at hand.
    requests: Vec<TimerRequest>,
}

impl<K: Key> Clocks<K> {
    /// When a window is forgotten, `i64::MAX` for never.
    #[inline]
    fn cleanup_time(&self, window: TimeWindow) -> Timestamp {
        let end = window.max_timestamp();
        if self.is_event_time { end.saturating_add(self.lateness_ms) } else { end }
    }

    #[inline]
    fn is_late(&self, window: TimeWindow) -> bool {
        self.is_event_time && self.cleanup_time(window) <= self.watermark
    }

    /// Calls the trigger of a slot, and does what it asked for.
    #[inline]
    fn ask<C, S, W>(
        &mut self,
        key: &K,
        key_hash: u64,
        slot: &mut Slot<C, S, W>,
        ask: impl FnOnce(&mut TriggerContext<'_, S>) -> TriggerResult,
    ) -> TriggerResult {
        let (watermark, now, requests) = (self.watermark, self.now, &mut self.requests);
        let registered = &mut slot.timers.event_end.then(|| slot.window.max_timestamp());
        let state = &mut slot.trigger;
        let result = ask(&mut TriggerContext { state, watermark, now, registered, requests });
        if !self.requests.is_empty() {
            self.serve(key, key_hash, slot.window, &mut slot.timers);
        }
        result
    }

    #[inline]
    fn serve(&mut self, key: &K, key_hash: u64, window: TimeWindow, timers: &mut SlotTimers) {
        let end = window.max_timestamp();
        let cleanup = self.cleanup_time(window);
        let payload = || OfWindow { key: key.clone(), window };
        for request in self.requests.drain(..) {
            match request {
                TimerRequest::RegisterEvent(time) => {
                    if time != end || !mem::replace(&mut timers.event_end, true) {
                        self.event.register(time, key_hash, &payload());
                    }
                }
                TimerRequest::RegisterProcessing(time) => {
                    if time != end || !mem::replace(&mut timers.processing_end, true) {
                        self.processing.register(time, key_hash, &payload());
                    }
                }
                TimerRequest::DeleteEvent(time) => {
                    let is_cleanup = self.is_event_time && time == cleanup && mem::take(&mut timers.cleanup);
                    let is_end = time == end && mem::take(&mut timers.event_end);
                    // The timer of the end is mostly the one that has just fired.
                    if is_end || is_cleanup || time != end {
                        self.event.delete(time, key_hash, &payload());
                    }
                }
                TimerRequest::DeleteProcessing(time) => {
                    timers.processing_end &= time != end;
                    timers.cleanup &= self.is_event_time || time != cleanup;
                    self.processing.delete(time, key_hash, &payload());
                }
            }
        }
    }

    /// Sees that the window will be forgotten.
    #[inline]
    fn register_cleanup<C, S, W>(&mut self, key: &K, key_hash: u64, slot: &mut Slot<C, S, W>) {
        let time = self.cleanup_time(slot.window);
        if time == i64::MAX || mem::replace(&mut slot.timers.cleanup, true) {
            return;
        }
        if self.is_event_time && slot.timers.event_end && time == slot.window.max_timestamp() {
            return; // Without lateness it is the timer at the end, which the trigger has asked for.
        }
        let payload = OfWindow { key: key.clone(), window: slot.window };
        let timers = if self.is_event_time { &mut self.event } else { &mut self.processing };
        timers.register(time, key_hash, &payload);
    }

    fn delete_cleanup(&mut self, key: &K, key_hash: u64, window: TimeWindow) {
        let time = self.cleanup_time(window);
        let timers = if self.is_event_time { &mut self.event } else { &mut self.processing };
        timers.delete(time, key_hash, &OfWindow { key: key.clone(), window });
    }
}

/// The function and what stands behind it.
struct Firing<F, U, SW, N> {
    function: F,
    collector: Collector<U>,
    sides: SW,
    guard: Guard,
    merging: bool,
    next: N,
}

impl<F, U, SW: SideWriters, N: Output<U>> Firing<F, U, SW, N> {
    /// What shall be done with a window after its trigger was asked.
    #[inline]
    fn act<K, V, S>(
        &mut self,
        result: TriggerResult,
        key: &K,
        slot: &mut Slot<F::Contents, S, F::WindowState>,
        key_state: &mut Option<F::KeyState>,
        clocks: &Clocks<K>,
    ) where
        K: Key,
        V: Record,
        F: WindowFunction<K, V, Out = U>,
    {
        if result.is_fire()
            && let Some(contents) = slot.contents.take()
        {
            self.with_context(key, slot, key_state, clocks, |function, cx| function.fire(&contents, cx));
            slot.contents = Some(contents);
        }
        if result.is_purge() {
            slot.contents = None;
        }
    }

    fn clear<K, V, S>(
        &mut self,
        key: &K,
        slot: &mut Slot<F::Contents, S, F::WindowState>,
        key_state: &mut Option<F::KeyState>,
        clocks: &Clocks<K>,
    ) where
        K: Key,
        V: Record,
        F: WindowFunction<K, V, Out = U>,
    {
        self.with_context(key, slot, key_state, clocks, |function, cx| function.clear(cx));
    }

    #[inline]
    fn with_context<K, V, S>(
        &mut self,
        key: &K,
        slot: &mut Slot<F::Contents, S, F::WindowState>,
        key_state: &mut Option<F::KeyState>,
        clocks: &Clocks<K>,
        call: impl FnOnce(&mut F, &mut FiringContext<'_, K, F::WindowState, F::KeyState, U, SW, N>),
    ) where
        K: Key,
        V: Record,
        F: WindowFunction<K, V, Out = U>,
    {
        let Self { function, collector, sides, guard, merging, next } = self;
        let mut cx = FiringContext {
            key,
            window: slot.window,
            watermark: clocks.watermark,
            now: clocks.now,
            window_state: &mut slot.state,
            key_state,
            merging: *merging,
            guard,
            sides,
            collector,
            next,
        };
        call(function, &mut cx);
    }
}

/// See the [module](self).
pub(crate) struct WindowOperator<K, V, A, Tr, F, SW, N>
where
    K: Key,
    V: Record,
    Tr: Trigger<V>,
    F: WindowFunction<K, V>,
{
    assigner: A,
    trigger: Tr,
    keys: ValueState<K, WindowsOf<K, V, Tr, F>>,
    ahead: Lookahead<K>,
    clocks: Clocks<K>,
    firing: Firing<F, F::Out, SW, N>,
    late: Option<SideWriter<V>>,
    /// Those that went nowhere.
    late_dropped: LateRecords,
    /// The windows of the record at hand.
    assigned: Vec<TimeWindow>,
    /// The states of the windows being merged.
    merged: Vec<Tr::State>,
    spare: Vec<Vec<SlotOf<K, V, Tr, F>>>,
}

impl<K, V, A, Tr, F, SW, N> WindowOperator<K, V, A, Tr, F, SW, N>
where
    K: Key,
    V: Record,
    A: WindowAssigner<V>,
    Tr: Trigger<V>,
    F: WindowFunction<K, V>,
    SW: SideWriters,
    N: Output<F::Out>,
{
    #[expect(clippy::too_many_arguments, reason = "all that a program chooses of its windows")]
    pub(crate) fn new(
        cx: &SubtaskContext,
        assigner: A,
        trigger: Tr,
        lateness_ms: i64,
        function: F,
        late: Option<SideWriter<V>>,
        sides: SW,
        next: N,
    ) -> Result<Self> {
        let [event, processing] = cx.timers()?;
        let clocks = Clocks {
            is_event_time: assigner.is_event_time(),
            lateness_ms,
            watermark: i64::MIN,
            now: cx.switch.now(),
            event,
            processing,
            requests: Vec::new(),
        };
        let (collector, guard, merging) = (Collector::new(), cx.guard(), A::MERGING);
        Ok(Self {
            assigner,
            trigger,
            keys: cx.value_state("windows")?,
            ahead: Lookahead::new(cx),
            clocks,
            firing: Firing { function, collector, sides, guard, merging, next },
            late,
            late_dropped: cx.late_records(),
            assigned: Vec::new(),
            merged: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// The record is in no window that is still open.
    #[cold]
    fn skip(&mut self, timestamp: Timestamp, make: impl Fn() -> V) {
        let clocks = &self.clocks;
        // With a slide greater than the size a record may be in no window without being late. Java's sum wraps.
        let is_late = clocks.is_event_time && timestamp.wrapping_add(clocks.lateness_ms) <= clocks.watermark;
        match &mut self.late {
            Some(late) if is_late => late.write(&make(), timestamp),
            None if is_late => self.late_dropped.count_one(),
            _ => {}
        }
    }

    /// Merges a window with those of the key that it overlaps or touches. Returns the place of the slot, `None` if it is late.
    fn merge(
        trigger: &mut Tr,
        function: &mut F,
        clocks: &mut Clocks<K>,
        merged: &mut Vec<Tr::State>,
        (key, key_hash): (&K, u64),
        slots: &mut Vec<SlotOf<K, V, Tr, F>>,
        window: TimeWindow,
    ) -> Option<usize> {
        // Sorted and apart from each other, so both ends are sorted.
        let from = slots.partition_point(|slot| slot.window.end < window.start);
        let to = slots.partition_point(|slot| slot.window.start <= window.end);
        if from >= to {
            if clocks.is_late(window) {
                return None;
            }
            slots.insert(from, Slot::new(window));
            return Some(from);
        }
        let span = TimeWindow {
            start: window.start.min(slots[from].window.start),
            end: window.end.max(slots[to - 1].window.end),
        };
        if to - from == 1 && slots[from].window == span {
            return Some(from); // The window was there already, and is not late: it would be gone.
        }
        let mut slot = Slot::new(span);
        merged.clear();
        merged.extend(slots[from..to].iter().map(|slot| slot.trigger.clone()));
        clocks.ask(key, key_hash, &mut slot, |cx| {
            trigger.on_merge(merged, span, cx);
            TriggerResult::Continue
        });
        for mut old in slots.drain(from..to) {
            let window = old.window;
            clocks.ask(key, key_hash, &mut old, |cx| {
                trigger.clear(window, cx);
                TriggerResult::Continue
            });
            clocks.delete_cleanup(key, key_hash, window);
            match (&mut slot.contents, old.contents) {
                (Some(contents), Some(other)) => function.merge(contents, other),
                (contents @ None, other) => *contents = other,
                (Some(_), None) => {}
            }
        }
        slots.insert(from, slot);
        Some(from)
    }

    /// Whether nothing but a purge can end the window, and the function keeps nothing of it.
    #[inline]
    fn never_ends(clocks: &Clocks<K>, window: TimeWindow) -> bool {
        size_of::<F::WindowState>() == 0 && clocks.cleanup_time(window) == i64::MAX
    }

    /// A timer is due. `domain_is_event` says on which clock.
    fn on_timer(
        &mut self,
        time: Timestamp,
        at: KeyContext<'_, K>,
        window: TimeWindow,
        domain_is_event: bool,
    ) {
        let Self { trigger, keys, clocks, firing, spare, .. } = self;
        let Some(windows) = keys.get_mut(at) else { return };
        let (key, key_hash) = (at.key, at.hash);
        let Ok(place) = windows.find(window) else { return };
        let Windows { slots, key_state } = windows;
        let slot = &mut slots[place];
        let is_end = time == window.max_timestamp();
        slot.timers.cleanup &= domain_is_event != clocks.is_event_time || time != clocks.cleanup_time(window);
        let result = if domain_is_event {
            slot.timers.event_end &= !is_end;
            clocks.ask(key, key_hash, slot, |cx| trigger.on_event_time(time, window, cx))
        } else {
            slot.timers.processing_end &= !is_end;
            clocks.ask(key, key_hash, slot, |cx| trigger.on_processing_time(time, window, cx))
        };
        firing.act(result, key, slot, key_state, clocks);
        if domain_is_event != clocks.is_event_time || time != clocks.cleanup_time(window) {
            return;
        }
        clocks.ask(key, key_hash, slot, |cx| {
            trigger.clear(window, cx);
            TriggerResult::Continue
        });
        firing.clear(key, slot, key_state, clocks);
        slots.remove(place);
        if windows.is_empty()
            && let Some(windows) = keys.take(at)
            && spare.len() < SPARE_LISTS_MAX
        {
            spare.push(windows.slots);
        }
    }

    /// Whether the clock may have passed a processing-time timer.
    fn is_due(&self) -> bool {
        self.clocks.processing.next_at().is_some_and(|at| at < self.firing.guard.now())
    }

    /// Takes a record, which `make` makes of what has come, as often as it is needed.
    #[inline]
    fn take(&mut self, at: ArchivedKey<'_, K>, timestamp: Timestamp, make: impl Fn() -> V + Copy) {
        let value = make();
        let Self { assigner, trigger, keys, clocks, firing, assigned, merged, spare, .. } = self;
        assigned.clear();
        if let Err(error) = assigner.assign(&value, timestamp, clocks.now, assigned) {
            return firing.guard.fail(error.to_string());
        }
        if !A::MERGING {
            assigned.retain(|&window| !clocks.is_late(window));
        } else if !keys.contains(at) {
            assigned.retain(|&window| !clocks.is_late(window)); // With nothing to merge with, it stays late.
        }
        if assigned.is_empty() {
            return self.skip(timestamp, make);
        }
        let key_hash = at.hash();
        let none = || Windows { slots: spare.pop().unwrap_or_default(), key_state: None };
        let (key, windows) = keys.entry(at, none);
        let mut skipped = true;
        let mut value = Some(value);
        for (i, &window) in assigned.iter().enumerate() {
            let place = if A::MERGING {
                let (function, slots) = (&mut firing.function, &mut windows.slots);
                match Self::merge(trigger, function, clocks, merged, (key, key_hash), slots, window) {
                    Some(place) => place,
                    None => continue,
                }
            } else {
                windows.find_or_insert(window)
            };
            skipped = false;
            let slot = &mut windows.slots[place];
            let window = slot.window;
            let Some(record) = &value else { break };
            // The trigger sees the record before the function takes it; neither knows of the other.
            let result =
                clocks.ask(key, key_hash, slot, |cx| trigger.on_element(record, timestamp, window, cx));
            if i + 1 < assigned.len() {
                firing.function.see(&mut slot.contents, record, make);
            } else if let Some(record) = value.take() {
                firing.function.take(&mut slot.contents, record);
            }
            firing.act(result, key, slot, &mut windows.key_state, clocks);
            clocks.register_cleanup(key, key_hash, slot);
            let is_empty = slot.contents.is_none() && trigger.is_fresh(&slot.trigger);
            if is_empty && !A::MERGING && Self::never_ends(clocks, window) {
                windows.slots.remove(place);
            }
        }
        if windows.is_empty()
            && let Some(windows) = keys.take(at)
            && spare.len() < SPARE_LISTS_MAX
        {
            spare.push(windows.slots);
        }
        if skipped {
            self.skip(timestamp, make);
        } else if self.is_due() {
            self.firing.guard.ask_to_stop(); // A trigger asked for a time that has passed.
        }
    }
}

impl<K, V, A, Tr, F, SW, N> Stage for WindowOperator<K, V, A, Tr, F, SW, N>
where
    K: Key,
    V: Record,
    A: WindowAssigner<V>,
    Tr: Trigger<V>,
    F: WindowFunction<K, V>,
    SW: SideWriters,
    N: Output<F::Out>,
{
    fn control(&mut self, control: Control) {
        if let Some(late) = &mut self.late {
            late.control(control);
        }
        self.firing.sides.control(control);
        self.firing.next.control(control);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        // Without credit nothing fires, and the credit itself will wake the core.
        let timer = self.clocks.processing.next_at().filter(|_| !self.firing.guard.is_blocked());
        let timer = timer.map(|at| at.saturating_add(1));
        timer.into_iter().chain(self.firing.next.wakes_at()).min()
    }
}

impl<K, V, A, Tr, F, SW, N> Operator for WindowOperator<K, V, A, Tr, F, SW, N>
where
    K: Key,
    V: Record,
    A: WindowAssigner<V>,
    Tr: Trigger<V>,
    F: WindowFunction<K, V>,
    SW: SideWriters,
    N: Output<F::Out>,
{
    fn advance(&mut self, watermark: Timestamp, budget: &mut Budget) -> bool {
        self.clocks.watermark = watermark; // Functions see the new one, also those of windows that ended long before.
        let mut goes_on = true;
        let mut due = Due::default();
        while goes_on {
            if !due.is_ready(&mut self.ahead, &mut self.clocks.event, watermark, &mut self.keys) {
                return false;
            }
            let Some((time, key_hash, timer)) = self.clocks.event.pop_due(watermark) else { break };
            self.on_timer(time, due.next(&timer.key, key_hash), timer.window, true);
            self.clocks.event.give_back(timer);
            goes_on = budget.spend(&self.firing.guard);
        }
        if self.is_due() {
            self.firing.guard.ask_to_stop(); // A trigger asked for a time that has passed.
        }
        self.clocks.event.next_at().is_none_or(|next| next > watermark)
    }

    /// Each timer fires at the moment after its own time.
    fn fire_due(&mut self, budget: &mut Budget) -> bool {
        let now = self.firing.guard.now();
        let up_to = now.saturating_sub(1);
        let mut goes_on = true;
        let mut due = Due::default();
        while goes_on {
            if !due.is_ready(&mut self.ahead, &mut self.clocks.processing, up_to, &mut self.keys) {
                return false;
            }
            let Some((time, key_hash, timer)) = self.clocks.processing.pop_due(up_to) else { break };
            self.clocks.now = self.clocks.now.max(time.saturating_add(1));
            self.on_timer(time, due.next(&timer.key, key_hash), timer.window, false);
            self.clocks.processing.give_back(timer);
            goes_on = budget.spend(&self.firing.guard);
        }
        if self.is_due() {
            return false;
        }
        self.clocks.now = now;
        true
    }

    fn prepares(&self) -> bool {
        self.ahead.spills()
    }

    fn prepared(&mut self) -> bool {
        self.ahead.is_ready(&mut self.keys)
    }

    fn maintain(&mut self) {
        self.ahead.maintain(&mut self.keys);
        self.clocks.event.maintain();
        self.clocks.processing.maintain();
    }
}

impl<K, V, A, Tr, F, SW, N> OneInput<K, V> for WindowOperator<K, V, A, Tr, F, SW, N>
where
    K: Key,
    V: Record,
    A: WindowAssigner<V>,
    Tr: Trigger<V>,
    F: WindowFunction<K, V>,
    SW: SideWriters,
    N: Output<F::Out>,
{
    fn looks_ahead(&self) -> bool {
        self.keys.memory_bytes() > CACHED_STATE_BYTES
    }

    #[inline]
    fn prefetch(&self, key_hash: u64, _timestamp: Timestamp) {
        self.keys.prefetch(key_hash);
    }

    fn prepare(&mut self, record: Received<'_, K, V>) {
        self.ahead.show(&mut self.keys, &record);
    }

    fn process(&mut self, record: Received<'_, K, V>) {
        self.take(record.archived_key(), record.timestamp, || V::unarchive(record.value));
    }
}

/// Records of either side of a join, each archived by itself.
impl<K, L, R, A, Tr, F, SW, N> TwoInput<K, L, R> for WindowOperator<K, Either<L, R>, A, Tr, F, SW, N>
where
    K: Key,
    L: Record,
    R: Record,
    A: WindowAssigner<Either<L, R>>,
    Tr: Trigger<Either<L, R>>,
    F: WindowFunction<K, Either<L, R>>,
    SW: SideWriters,
    N: Output<F::Out>,
{
    fn looks_ahead(&self) -> bool {
        self.keys.memory_bytes() > CACHED_STATE_BYTES
    }

    #[inline]
    fn prefetch(&self, key_hash: u64, _timestamp: Timestamp) {
        self.keys.prefetch(key_hash);
    }

    fn prepare_left(&mut self, record: Received<'_, K, L>) {
        self.ahead.show(&mut self.keys, &record);
    }

    fn prepare_right(&mut self, record: Received<'_, K, R>) {
        self.ahead.show(&mut self.keys, &record);
    }

    fn process_left(&mut self, record: Received<'_, K, L>) {
        let left = || Either::Left(L::unarchive(record.value));
        self.take(record.archived_key(), record.timestamp, left);
    }

    fn process_right(&mut self, record: Received<'_, K, R>) {
        let right = || Either::Right(R::unarchive(record.value));
        self.take(record.archived_key(), record.timestamp, right);
    }
}

#[cfg(test)]
mod tests;
