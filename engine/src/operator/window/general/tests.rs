//! The operator by itself, with a recording output, against a model that keeps all records and computes windows anew; with its state
//! in memory, and in files to which it goes after each event.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use rkyv::rend::{i64_le, u64_le};
use thalweg_state::lsm::Options;
use thalweg_state::storage::Storage;
use thalweg_state::{CoreState, Key as _, WorkProgress};

use super::*;
use crate::data_plane::switch::Switch;
use crate::operator::window::function::ProcessClosureWindow;
use crate::time::assigner::{Global, Session, Sliding, Tumbling};
use crate::time::trigger::{Count, EventTime, Purging};

/// What came out: key, window, records, timestamp.
type Fired = (u64, TimeWindow, Vec<i64>, Timestamp);

#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<Fired>>>);

impl Stage for Recorder {
    fn control(&mut self, _control: Control) {}

    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }
}

impl Output<(u64, TimeWindow, Vec<i64>)> for Recorder {
    fn collect(&mut self, (key, window, records): &(u64, TimeWindow, Vec<i64>), timestamp: Timestamp) {
        self.0.borrow_mut().push((*key, *window, records.clone(), timestamp));
    }
}

/// Drives an operator that emits the records of each window as they are.
struct Bench<O> {
    operator: O,
    recorder: Recorder,
    switch: Rc<Switch>,
    state: CoreState,
}

type Emit = fn(&u64, TimeWindow, &[i64], &mut Collector<(u64, TimeWindow, Vec<i64>)>);
type EmitAll = ProcessClosureWindow<Emit, (u64, TimeWindow, Vec<i64>)>;

fn bench<A: WindowAssigner<i64>, Tr: Trigger<i64>>(
    assigner: A,
    trigger: Tr,
    lateness_ms: i64,
) -> Bench<WindowOperator<u64, i64, A, Tr, EmitAll, (), Recorder>> {
    bench_on(CoreState::heap(), assigner, trigger, lateness_ms)
}

fn files() -> CoreState {
    CoreState::lsm(&Storage::memory(), Options::nvme(), 1).unwrap().0
}

fn bench_on<A: WindowAssigner<i64>, Tr: Trigger<i64>>(
    state: CoreState,
    assigner: A,
    trigger: Tr,
    lateness_ms: i64,
) -> Bench<WindowOperator<u64, i64, A, Tr, EmitAll, (), Recorder>> {
    let cx = SubtaskContext::alone(state.clone());
    let emit: Emit = |key, window, records, out| out.collect((*key, window, records.to_vec()));
    let function = ProcessClosureWindow::new(emit);
    let recorder = Recorder::default();
    let next = recorder.clone();
    let operator =
        WindowOperator::new(&cx, assigner, trigger, lateness_ms, function, None, (), next).unwrap();
    Bench { operator, recorder, switch: cx.switch, state }
}

impl<A: WindowAssigner<i64>, Tr: Trigger<i64>> Bench<WindowOperator<u64, i64, A, Tr, EmitAll, (), Recorder>> {
    fn element(&mut self, key: u64, timestamp: Timestamp, value: i64) -> Vec<Fired> {
        let (archived_key, archived) = (u64_le::from_native(key), i64_le::from_native(value));
        let record = || Received {
            key: &archived_key,
            key_hash: key.key_hash(),
            value: &archived,
            timestamp,
            number: 0,
        };
        if self.operator.prepares() {
            self.operator.prepare(record());
            while !self.operator.prepared() {
                self.work();
                self.operator.prepare(record());
            }
        }
        self.operator.process(record());
        self.fire_due();
        self.recorder.0.take()
    }

    /// What helper threads would do.
    fn work(&mut self) {
        while let Some(mut work) = self.state.poll_work() {
            while work.step(Duration::ZERO) != WorkProgress::Finished {}
            self.state.on_work_done(work);
        }
    }

    /// All state goes to files, if it is in files.
    fn spill(&mut self) {
        self.state.freeze();
        self.operator.maintain();
        self.work();
        self.operator.maintain();
        assert!(self.state.take_fault().is_none());
    }

    /// How many of the keys 0 to 9 have state.
    fn keys(&mut self) -> usize {
        (0..10).filter(|key| self.operator.keys.contains(KeyContext::new(key))).count()
    }

    /// In steps of a few firings, as on a busy core.
    fn watermark(&mut self, watermark: Timestamp, budget: u32) -> Vec<Fired> {
        while !self.operator.advance(watermark, &mut Budget::new(budget)) {
            self.work();
        }
        self.recorder.0.take()
    }

    fn clock(&mut self, now: Timestamp) -> Vec<Fired> {
        self.switch.set_now(now);
        self.fire_due();
        self.recorder.0.take()
    }

    /// In steps of two firings.
    fn fire_due(&mut self) {
        while !self.operator.fire_due(&mut Budget::new(2)) {
            self.work();
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Element {
        key: u64,
        timestamp: Timestamp,
    },
    /// By how much it rises.
    Watermark(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let element = (0..3_u64, -40..160_i64).prop_map(|(key, timestamp)| Event::Element { key, timestamp });
    prop::collection::vec(prop_oneof![4 => element, 1 => (1..30_i64).prop_map(Event::Watermark)], 0..120)
}

/// The model: all records of all open windows.
#[derive(Default)]
struct Model {
    /// By key and record: timestamp and value, in order of arrival.
    records: Vec<(u64, Timestamp, i64)>,
    watermark: Option<Timestamp>,
    lateness: i64,
    late: u64,
}

impl Model {
    fn passed(&self, time: Timestamp) -> bool {
        self.watermark.is_some_and(|watermark| time <= watermark)
    }

    fn is_late(&self, window: TimeWindow) -> bool {
        self.passed(window.max_timestamp() + self.lateness)
    }

    /// All windows that are kept, from all records. `windows` says which those of a record alone are.
    fn windows(
        &self,
        windows: &impl Fn(Timestamp) -> Vec<TimeWindow>,
        merging: bool,
    ) -> BTreeMap<(u64, TimeWindow), Vec<i64>> {
        let mut all: Vec<(u64, TimeWindow, Vec<i64>)> = Vec::new();
        for &(key, timestamp, value) in &self.records {
            for window in windows(timestamp) {
                all.push((key, window, vec![value]));
            }
        }
        loop {
            let meet = |a: &(u64, TimeWindow, Vec<i64>), b: &(u64, TimeWindow, Vec<i64>)| {
                a.0 == b.0 && if merging { a.1.intersects(b.1) } else { a.1 == b.1 }
            };
            let pairs = (0..all.len()).flat_map(|i| (i + 1..all.len()).map(move |j| (i, j)));
            let Some((i, j)) = pairs.into_iter().find(|&(i, j)| meet(&all[i], &all[j])) else { break };
            let (_, window, values) = all.remove(j);
            all[i].1 = all[i].1.cover(window);
            all[i].2.extend(values);
        }
        all.into_iter()
            .filter(|(_, window, _)| !self.is_late(*window))
            .map(|(key, window, mut values)| {
                values.sort_unstable();
                ((key, window), values)
            })
            .collect()
    }
}

/// Runs the operator and the model side by side, on either backend.
fn compare<A: WindowAssigner<i64>>(
    assigner: A,
    lateness: i64,
    budget: u32,
    events: &[Event],
) -> Result<(), TestCaseError> {
    compare_on(CoreState::heap(), assigner.clone(), lateness, budget, events)?;
    compare_on(files(), assigner, lateness, budget, events)
}

fn compare_on<A: WindowAssigner<i64>>(
    state: CoreState,
    assigner: A,
    lateness: i64,
    budget: u32,
    events: &[Event],
) -> Result<(), TestCaseError> {
    let alone = |timestamp| {
        let mut windows = Vec::new();
        assigner.assign(&0, timestamp, 0, &mut windows).unwrap();
        windows
    };
    let mut bench = bench_on(state, assigner.clone(), EventTime, lateness);
    let mut model = Model { lateness, ..Model::default() };
    for (value, event) in (0_i64..).zip(events) {
        let (mut got, mut expected) = match *event {
            Event::Element { key, timestamp } => {
                let got = bench.element(key, timestamp, value);
                model.records.push((key, timestamp, value));
                let windows = model.windows(&alone, A::MERGING);
                let mine = windows.into_iter().filter(|(_, values)| values.contains(&value));
                let mine: Vec<_> = mine.collect();
                if mine.is_empty() {
                    model.records.pop();
                    model.late += u64::from(model.passed(timestamp + lateness));
                }
                let refired = mine.into_iter().filter(|((_, w), _)| model.passed(w.max_timestamp()));
                (got, refired.map(|((k, w), v)| (k, w, v, w.max_timestamp())).collect::<Vec<_>>())
            }
            Event::Watermark(step) => {
                let windows = model.windows(&alone, A::MERGING);
                let before = model.watermark;
                let watermark = before.unwrap_or(-40) + step;
                let got = bench.watermark(watermark, budget);
                let due = windows.into_iter().filter(|((_, w), _)| {
                    w.max_timestamp() <= watermark && before.is_none_or(|b| w.max_timestamp() > b)
                });
                let due = due.map(|((k, w), v)| (k, w, v, w.max_timestamp())).collect();
                model.watermark = Some(watermark);
                // A record is forgotten with the last of its windows.
                let kept: Vec<i64> = model.windows(&alone, A::MERGING).into_values().flatten().collect();
                model.records.retain(|(_, _, value)| kept.contains(value));
                prop_assert!(got.is_sorted_by_key(|fired| fired.3));
                (got, due)
            }
        };
        got.iter_mut().for_each(|fired| fired.2.sort_unstable());
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected, "at event {}", value);
        if value % 3 == 0 {
            bench.spill();
        }
    }
    prop_assert_eq!(bench.operator.late_dropped.get(), model.late);
    bench.watermark(i64::MAX, budget);
    prop_assert!(bench.keys() == 0 && bench.operator.clocks.event.next_at().is_none());
    prop_assert!(!bench.switch.has_failed());
    Ok(())
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms as u64)
}

fn size_and_offset() -> impl Strategy<Value = (i64, i64)> {
    (1..40_i64).prop_flat_map(|size| (Just(size), 1 - size..size))
}

proptest! {
    #[test]
    fn tumbling_windows_are_those_of_all_records(
        events in events(), (size, offset) in size_and_offset(), lateness in 0..50_i64, budget in 1..4_u32,
    ) {
        compare(Tumbling { size_ms: size, offset_ms: offset }, lateness, budget, &events)?;
    }

    #[test]
    fn sliding_windows_are_those_of_all_records(
        events in events(), size in 1..40_i64, (slide, offset) in size_and_offset(), lateness in 0..50_i64,
        budget in 1..4_u32,
    ) {
        compare(Sliding { size_ms: size, slide_ms: slide, offset_ms: offset }, lateness, budget, &events)?;
    }

    #[test]
    fn sessions_are_those_of_all_records(
        events in events(), gap in 1..20_i64, lateness in 0..50_i64, budget in 1..4_u32,
    ) {
        compare(Session::gap(ms(gap)), lateness, budget, &events)?;
    }
}

proptest! {
    /// What is stored is what is loaded; any bytes are an error or windows, never a panic.
    #[test]
    fn windows_come_back(
        windows in prop::collection::vec((any::<(i64, i64)>(), any::<Option<Vec<i64>>>(), any::<u64>()), 0..5),
        key_state in any::<Option<u32>>(),
        noise in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let slots = windows.iter().map(|((start, end), contents, trigger)| {
            let timers = SlotTimers { cleanup: *trigger > 7, ..SlotTimers::default() };
            let window = TimeWindow { start: *start, end: *end };
            Slot { window, contents: contents.clone(), trigger: *trigger, state: (), timers }
        });
        let mut bytes = AlignedVec::new();
        Windows { slots: slots.collect(), key_state }.store(&mut bytes).unwrap();
        let loaded = Windows::<Vec<i64>, u64, (), u32>::load(&bytes).unwrap();
        prop_assert_eq!(loaded.key_state, key_state);
        let parts = |slot: &Slot<Vec<i64>, u64, ()>| {
            prop_assert_eq!(slot.timers.cleanup, slot.trigger > 7);
            Ok(((slot.window.start, slot.window.end), slot.contents.clone(), slot.trigger))
        };
        prop_assert_eq!(loaded.slots.iter().map(parts).collect::<Result<Vec<_>, TestCaseError>>()?, windows);

        let mut aligned = AlignedVec::<16>::new();
        aligned.extend_from_slice(&noise);
        let _ = Windows::<Vec<i64>, u64, (), u32>::load(&aligned);
        for cut in 0..bytes.len() {
            let _ = Windows::<Vec<i64>, u64, (), u32>::load(&bytes[..cut]);
        }
    }
}

fn fired(key: u64, start: i64, end: i64, records: &[i64]) -> Fired {
    (key, TimeWindow { start, end }, records.to_vec(), end - 1)
}

#[test]
fn a_late_record_in_the_allowed_time_fires_again_and_a_later_one_is_dropped() {
    let mut bench = bench(Tumbling::of(ms(10)), EventTime, 5);
    assert_eq!(bench.element(1, 3, 100), []);
    assert_eq!(bench.watermark(9, 8), [fired(1, 0, 10, &[100])]);
    assert_eq!(bench.element(1, 4, 101), [fired(1, 0, 10, &[100, 101])]);
    assert_eq!(bench.watermark(13, 8), []);
    assert_eq!(bench.element(2, 4, 102), [fired(2, 0, 10, &[102])]); // Also the first of its key.
    assert_eq!(bench.watermark(14, 8), []);
    assert_eq!(bench.element(1, 4, 103), []);
    assert_eq!(bench.operator.late_dropped.get(), 1);
}

#[test]
fn a_purge_keeps_the_span_of_a_session() {
    let mut bench = bench(Session::gap(ms(10)), Purging::of(Count::of(2)), 0);
    assert_eq!(bench.element(1, 0, 100), []);
    assert_eq!(bench.element(1, 5, 101), [fired(1, 0, 15, &[100, 101])]);
    assert_eq!(bench.element(1, 15, 102), []); // Touches the empty session.
    assert_eq!(bench.element(1, 20, 103), [fired(1, 0, 30, &[102, 103])]);
}

#[test]
fn counts_of_sessions_add_up_when_they_merge() {
    let mut bench = bench(Session::gap(ms(5)), Count::of(3), 0);
    assert_eq!(bench.element(1, 0, 100), []);
    assert_eq!(bench.element(1, 10, 101), []);
    assert_eq!(bench.element(1, 5, 102), [fired(1, 0, 15, &[100, 101, 102])]);
}

#[test]
fn a_global_window_that_is_purged_leaves_nothing() {
    let mut bench = bench(Global, Purging::of(Count::of(2)), 0);
    assert_eq!(bench.element(1, 0, 100), []);
    assert_eq!(bench.keys(), 1);
    assert_eq!(bench.element(1, 0, 101), [(1, TimeWindow::GLOBAL, vec![100, 101], i64::MAX)]);
    assert_eq!(bench.keys(), 0);
}

#[test]
fn processing_time_windows_fire_when_the_clock_has_passed_them() {
    let mut bench = bench(Tumbling::of(ms(10)).processing_time(), crate::time::trigger::ProcessingTime, 0);
    bench.clock(3);
    assert_eq!(bench.element(1, crate::NO_TIMESTAMP, 100), []);
    assert_eq!(bench.clock(9), []);
    assert_eq!(bench.operator.wakes_at(), Some(10));
    assert_eq!(bench.clock(10), [fired(1, 0, 10, &[100])]);
    assert_eq!(bench.keys(), 0);
}

#[test]
fn a_record_without_timestamp_fails_an_event_time_job() {
    let mut bench = bench(Tumbling::of(ms(10)), EventTime, 0);
    bench.element(1, crate::NO_TIMESTAMP, 100);
    assert!(bench.switch.has_failed());
}
