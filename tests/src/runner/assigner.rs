//! The assigner and the trigger of a case: one type each over those of the API, since a case chooses at run time.
//!
//! Triggers that only the corpus has (`early_count`, `on_value`) are written here as a user would.

use std::time::Duration;

use thalweg::{
    ContinuousEventTime, ContinuousProcessingTime, CountTrigger, Delta, DynamicSession, Either, EndOfStream,
    EventTime, Global, GlobalEndOfStream, Never, OnProcessingTime, PerRecord, ProcessingTime,
    ProcessingTimeout, Purging, Session, Sliding, TimeWindow, Timestamp, Trigger, TriggerContext,
    TriggerResult, Tumbling, WindowAssigner, WindowError,
};

use super::build::millis;
use crate::conformance::value::{Rec, Value};
use crate::conformance::window::{self, Assigner, TimeDomain, Windowing};

type Dynamic<T> = DynamicSession<T, fn(&T) -> Duration>;

/// What windows are over: a record, or one of either side of a join.
pub(super) trait AsRec: Clone + 'static {
    fn as_rec(&self) -> &Rec;
}

impl AsRec for Rec {
    fn as_rec(&self) -> &Rec {
        self
    }
}

impl AsRec for Either<Rec, Rec> {
    fn as_rec(&self) -> &Rec {
        match self {
            Either::Left(rec) | Either::Right(rec) => rec,
        }
    }
}

/// The assigner of a case. `MERGING`: its windows are sessions.
#[derive(Clone)]
pub(super) enum CaseAssigner<T, const MERGING: bool> {
    Tumbling(Tumbling),
    Sliding(Sliding),
    Session(Session),
    Dynamic(Dynamic<T>),
    Global(Global),
    GlobalEndOfStream(GlobalEndOfStream),
    TumblingNow(OnProcessingTime<Tumbling>),
    SlidingNow(OnProcessingTime<Sliding>),
    SessionNow(OnProcessingTime<Session>),
    DynamicNow(OnProcessingTime<Dynamic<T>>),
}

/// The tumbling windows of an assigner that has them.
pub(super) fn tumbling(size: i64, offset: i64) -> Tumbling {
    let windows = Tumbling::of(millis(size));
    if offset < 0 { windows.offset_back(millis(-offset)) } else { windows.offset(millis(offset)) }
}

/// The sliding windows of an assigner that has them.
pub(super) fn sliding(size: i64, slide: i64, offset: i64) -> Sliding {
    let windows = Sliding::of(millis(size)).every(millis(slide));
    if offset < 0 { windows.offset_back(millis(-offset)) } else { windows.offset(millis(offset)) }
}

fn dynamic<T: AsRec>() -> Dynamic<T> {
    let gap: fn(&T) -> Duration = |record| {
        let aux = record.as_rec().aux.expect("a dynamic session is for records that have aux");
        Duration::from_millis(u64::try_from(aux).unwrap_or(0)) // A negative gap is as wrong as none.
    };
    Session::dynamic(gap)
}

/// Whether the windows of a case merge.
pub(super) fn merges(assigner: &Assigner) -> bool {
    matches!(assigner, Assigner::Session { .. } | Assigner::SessionDynamic { .. })
}

impl<T: AsRec, const MERGING: bool> CaseAssigner<T, MERGING> {
    /// Panics on a count window, which the API does not have yet.
    pub(super) fn new(assigner: &Assigner) -> Self {
        use TimeDomain::{Event, Processing};
        assert_eq!(merges(assigner), MERGING);
        match *assigner {
            Assigner::Tumbling { size, offset, time: Event } => Self::Tumbling(tumbling(size, offset)),
            Assigner::Tumbling { size, offset, time: Processing } => {
                Self::TumblingNow(tumbling(size, offset).processing_time())
            }
            Assigner::Sliding { size, slide, offset, time: Event } => {
                Self::Sliding(sliding(size, slide, offset))
            }
            Assigner::Sliding { size, slide, offset, time: Processing } => {
                Self::SlidingNow(sliding(size, slide, offset).processing_time())
            }
            Assigner::Session { gap, time: Event } => Self::Session(Session::gap(millis(gap))),
            Assigner::Session { gap, time: Processing } => {
                Self::SessionNow(Session::gap(millis(gap)).processing_time())
            }
            Assigner::SessionDynamic { time: Event } => Self::Dynamic(dynamic()),
            Assigner::SessionDynamic { time: Processing } => Self::DynamicNow(dynamic().processing_time()),
            Assigner::Global { end_of_stream_trigger: false } => Self::Global(Global),
            Assigner::Global { end_of_stream_trigger: true } => {
                Self::GlobalEndOfStream(Global::end_of_stream())
            }
            Assigner::CountTumbling { .. } | Assigner::CountSliding { .. } => {
                panic!("the API has no count windows")
            }
        }
    }
}

/// Does the same with the assigner of the API, whichever it is.
macro_rules! with_assigner {
    ($self:ident, $assigner:ident => $do:expr) => {
        match $self {
            CaseAssigner::Tumbling($assigner) => $do,
            CaseAssigner::Sliding($assigner) => $do,
            CaseAssigner::Session($assigner) => $do,
            CaseAssigner::Dynamic($assigner) => $do,
            CaseAssigner::Global($assigner) => $do,
            CaseAssigner::GlobalEndOfStream($assigner) => $do,
            CaseAssigner::TumblingNow($assigner) => $do,
            CaseAssigner::SlidingNow($assigner) => $do,
            CaseAssigner::SessionNow($assigner) => $do,
            CaseAssigner::DynamicNow($assigner) => $do,
        }
    };
}

impl<T: AsRec, const MERGING: bool> WindowAssigner<T> for CaseAssigner<T, MERGING> {
    type Trigger = CaseTrigger<T>;
    type Path = PerRecord;
    const MERGING: bool = MERGING;

    fn assign(
        &self,
        record: &T,
        timestamp: Timestamp,
        now: Timestamp,
        into: &mut Vec<TimeWindow>,
    ) -> Result<(), WindowError> {
        with_assigner!(self, assigner => assigner.assign(record, timestamp, now, into))
    }

    fn default_trigger(&self) -> CaseTrigger<T> {
        match self {
            Self::Tumbling(_) | Self::Sliding(_) | Self::Session(_) | Self::Dynamic(_) => {
                CaseTrigger::EventTime(EventTime)
            }
            Self::Global(_) => CaseTrigger::Never(Never),
            Self::GlobalEndOfStream(_) => CaseTrigger::EndOfStream(EndOfStream),
            _ => CaseTrigger::ProcessingTime(ProcessingTime),
        }
    }

    fn is_event_time(&self) -> bool {
        with_assigner!(self, assigner => WindowAssigner::<T>::is_event_time(assigner))
    }

    fn check(&self) -> Result<(), String> {
        with_assigner!(self, assigner => WindowAssigner::<T>::check(assigner))
    }
}

type DeltaOfValue<T> = Delta<fn(&T) -> f64, fn(&f64, &f64) -> f64>;

/// The trigger of a case.
#[derive(Clone)]
pub(super) enum CaseTrigger<T> {
    EventTime(EventTime),
    ProcessingTime(ProcessingTime),
    Never(Never),
    EndOfStream(EndOfStream),
    Count(CountTrigger),
    Continuous(ContinuousEventTime),
    ContinuousNow(ContinuousProcessingTime),
    Delta(DeltaOfValue<T>),
    EarlyCount(EarlyCount),
    OnValue(OnValue),
    Purging(Box<Purging<CaseTrigger<T>>>),
    Timeout(Box<ProcessingTimeout<CaseTrigger<T>>>),
}

/// What the triggers of a case keep: each has its own part, as one may be inside another.
#[derive(Debug, Clone, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(
    // As for `Value`, which holds itself too.
    serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, __S::Error: rkyv::rancor::Source),
    deserialize_bounds(__D::Error: rkyv::rancor::Source),
    bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)),
)]
pub(super) struct CaseState {
    none: (),
    count: u64,
    next: Option<Timestamp>,
    last: Option<f64>,
    #[rkyv(omit_bounds)]
    timeout: Box<Option<(CaseState, Option<Timestamp>)>>,
}

impl<T: AsRec> CaseTrigger<T> {
    /// The trigger of the windows; `None` if it is the assigner's own.
    pub(super) fn new(windowing: &Windowing) -> Option<Self> {
        windowing.trigger.as_ref().map(Self::of)
    }

    fn of(trigger: &window::Trigger) -> Self {
        match trigger {
            window::Trigger::EventTime {} => Self::EventTime(EventTime),
            window::Trigger::ProcessingTime {} => Self::ProcessingTime(ProcessingTime),
            window::Trigger::Count { n } => Self::Count(CountTrigger::of(u64::try_from(*n).unwrap_or(0))),
            window::Trigger::Purging { inner } => Self::Purging(Box::new(Purging::of(Self::of(inner)))),
            window::Trigger::Delta { threshold } => {
                let value: fn(&T) -> f64 = |record| record.as_rec().value.as_double();
                let distance: fn(&f64, &f64) -> f64 = |old, new| (new - old).abs();
                Self::Delta(Delta::of(*threshold, value, distance))
            }
            window::Trigger::ContinuousEventTime { interval } => {
                Self::Continuous(ContinuousEventTime::every(millis(*interval)))
            }
            window::Trigger::EarlyCount { n, purge } => {
                Self::EarlyCount(EarlyCount { n: u64::try_from(*n).unwrap_or(0), purge: *purge })
            }
            window::Trigger::OnValue { v, purge } => {
                Self::OnValue(OnValue { value: v.clone(), purge: *purge })
            }
            window::Trigger::ContinuousProcessingTime { interval } => {
                Self::ContinuousNow(ContinuousProcessingTime::every(millis(*interval)))
            }
            window::Trigger::ProcessingTimeout { inner, timeout, reset_on_new_record, clear_on_timeout } => {
                let mut trigger = ProcessingTimeout::of(Self::of(inner), millis(*timeout));
                if *reset_on_new_record {
                    trigger = trigger.restarted_by_records();
                }
                if !clear_on_timeout {
                    trigger = trigger.keeping_state();
                }
                Self::Timeout(Box::new(trigger))
            }
        }
    }
}

/// Does the same with whichever trigger it is, and what finds its part of the state.
macro_rules! with_trigger {
    ($self:ident, |$trigger:ident, $part:ident| $do:expr) => {
        with_trigger!($self, |$trigger, $part| $do;
            EventTime: none (), ProcessingTime: none (), Never: none (), EndOfStream: none (), OnValue: none (),
            Count: count u64, EarlyCount: count u64, Continuous: next Option<Timestamp>,
            ContinuousNow: next Option<Timestamp>, Delta: last Option<f64>)
    };
    ($self:ident, |$trigger:ident, $part:ident| $do:expr; $($variant:ident: $field:ident $state:ty),*) => {
        match $self {
            $(CaseTrigger::$variant($trigger) => {
                let $part: fn(&mut CaseState) -> &mut $state = |state| &mut state.$field;
                $do
            })*
            CaseTrigger::Purging($trigger) => {
                let $trigger = &mut **$trigger;
                let $part: fn(&mut CaseState) -> &mut CaseState = |state| state;
                $do
            }
            CaseTrigger::Timeout($trigger) => {
                let $trigger = &mut **$trigger;
                let $part: fn(&mut CaseState) -> &mut (CaseState, Option<Timestamp>) =
                    |state| state.timeout.get_or_insert_default();
                $do
            }
        }
    };
}

impl<T: AsRec> Trigger<T> for CaseTrigger<T> {
    type State = CaseState;

    fn on_element(
        &mut self,
        record: &T,
        timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, CaseState>,
    ) -> TriggerResult {
        with_trigger!(self, |trigger, part| trigger.on_element(
            record,
            timestamp,
            window,
            &mut cx.narrow(part)
        ))
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, CaseState>,
    ) -> TriggerResult {
        with_trigger!(self, |trigger, part| {
            Trigger::<T>::on_event_time(&mut *trigger, time, window, &mut cx.narrow(part))
        })
    }

    fn on_processing_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, CaseState>,
    ) -> TriggerResult {
        with_trigger!(self, |trigger, part| {
            Trigger::<T>::on_processing_time(&mut *trigger, time, window, &mut cx.narrow(part))
        })
    }

    fn can_merge(&self) -> bool {
        let trigger = &mut self.clone();
        with_trigger!(trigger, |trigger, _part| Trigger::<T>::can_merge(&*trigger))
    }

    fn on_merge(&mut self, merged: &[CaseState], window: TimeWindow, cx: &mut TriggerContext<'_, CaseState>) {
        with_trigger!(self, |trigger, part| {
            let mut merged = merged.to_vec();
            let parts: Vec<_> = merged.iter_mut().map(|state| std::mem::take(part(state))).collect();
            Trigger::<T>::on_merge(&mut *trigger, &parts, window, &mut cx.narrow(part));
        });
    }

    fn clear(&mut self, window: TimeWindow, cx: &mut TriggerContext<'_, CaseState>) {
        with_trigger!(self, |trigger, part| {
            Trigger::<T>::clear(&mut *trigger, window, &mut cx.narrow(part));
        });
    }
}

/// Fires at the window's end, and early at every n-th record.
#[derive(Debug, Clone)]
pub(super) struct EarlyCount {
    n: u64,
    purge: bool,
}

impl<T: AsRec> Trigger<T> for EarlyCount {
    /// Records since the last early firing.
    type State = u64;

    fn on_element(
        &mut self,
        _record: &T,
        _timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, u64>,
    ) -> TriggerResult {
        if window.max_timestamp() <= cx.watermark() {
            return TriggerResult::Fire;
        }
        cx.register_event_timer(window.max_timestamp());
        *cx.state() += 1;
        if *cx.state() < self.n {
            return TriggerResult::Continue;
        }
        *cx.state() = 0;
        fire(self.purge)
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        _cx: &mut TriggerContext<'_, u64>,
    ) -> TriggerResult {
        if time == window.max_timestamp() { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, merged: &[u64], window: TimeWindow, cx: &mut TriggerContext<'_, u64>) {
        *cx.state() += merged.iter().sum::<u64>();
        if window.max_timestamp() > cx.watermark() {
            cx.register_event_timer(window.max_timestamp());
        }
    }

    fn clear(&mut self, window: TimeWindow, cx: &mut TriggerContext<'_, u64>) {
        cx.delete_event_timer(window.max_timestamp());
        *cx.state() = 0;
    }
}

/// Fires when a record has a certain value. Its windows cannot merge.
#[derive(Debug, Clone)]
pub(super) struct OnValue {
    value: Value,
    purge: bool,
}

impl<T: AsRec> Trigger<T> for OnValue {
    type State = ();

    fn on_element(
        &mut self,
        record: &T,
        _timestamp: Timestamp,
        _window: TimeWindow,
        _cx: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        let value = &record.as_rec().value;
        if *value == self.value.typed_as(value) { fire(self.purge) } else { TriggerResult::Continue }
    }
}

fn fire(purge: bool) -> TriggerResult {
    if purge { TriggerResult::FireAndPurge } else { TriggerResult::Fire }
}
