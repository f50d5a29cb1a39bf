//! The operator by itself, against a model that keeps all records and computes windows anew: with its state in memory, and in files,
//! to which it goes at any moment, also in the midst of a window.

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

/// What came out: window, key, result.
type Fired = (TimeWindow, u64, i64);

#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<Fired>>>);

impl Stage for Recorder {
    fn control(&mut self, _control: Control) {}

    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }
}

impl Output<Fired> for Recorder {
    fn collect(&mut self, fired: &Fired, timestamp: Timestamp) {
        assert_eq!(timestamp, fired.0.max_timestamp());
        self.0.borrow_mut().push(*fired);
    }
}

#[derive(Clone)]
struct EmitFired;

impl Emit<u64, i64> for EmitFired {
    type Out = Fired;

    fn emit(&self, key: &u64, window: TimeWindow, acc: &i64) -> Fired {
        (window, *key, *acc)
    }
}

/// A sum, which can be inverted.
#[derive(Clone)]
struct Sum;

impl Merge<i64> for Sum {
    const INVERTIBLE: bool = true;
    const COMMUTATIVE: bool = true;

    fn merge(&self, acc: &mut i64, other: i64) {
        *acc += other;
    }

    fn retract(&self, acc: &mut i64, other: &i64) {
        *acc -= other;
    }
}

/// The greatest, which cannot.
#[derive(Clone)]
struct Max;

impl Merge<i64> for Max {
    const INVERTIBLE: bool = false;
    const COMMUTATIVE: bool = true;

    fn merge(&self, acc: &mut i64, other: i64) {
        *acc = other.max(*acc);
    }

    fn retract(&self, _acc: &mut i64, _other: &i64) {
        unreachable!("it cannot be inverted")
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// Records of so many keys, from this one on.
    Records { timestamp: Timestamp, from: u64, keys: u64 },
    /// By how much it rises, and how much fires at once.
    Watermark { step: i64, budget: u32 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // Some slices have more keys than are looked at between two looks at the budget.
    let keys = prop_oneof![8 => 1..4_u64, 1 => 300..700_u64];
    let records = (-40..160_i64, 0..5_u64, keys);
    let records = records.prop_map(|(timestamp, from, keys)| Event::Records { timestamp, from, keys });
    let watermark = (1..40_i64, prop_oneof![Just(1_u32), 30..100_u32]);
    let watermark = watermark.prop_map(|(step, budget)| Event::Watermark { step, budget });
    prop::collection::vec(prop_oneof![4 => records, 1 => watermark], 0..80)
}

/// The operator, and what takes place around it by chance.
struct Bench<'a, A> {
    operator: Slices<u64, A, EmitFired, Recorder, i64>,
    recorder: Recorder,
    state: CoreState,
    /// Where it shows 1, something happens in the background.
    chance: std::iter::Cycle<std::iter::Copied<std::slice::Iter<'a, u8>>>,
}

impl<A: Merge<i64>> Bench<'_, A> {
    fn record(&mut self, key: u64, timestamp: Timestamp, value: i64) -> Vec<Fired> {
        let (archived_key, archived) = (u64_le::from_native(key), i64_le::from_native(value));
        let (key_hash, number) = (key.key_hash(), 0);
        self.operator.process(Received { key: &archived_key, key_hash, value: &archived, timestamp, number });
        self.recorder.0.take()
    }

    fn watermark(&mut self, watermark: Timestamp, budget: u32) -> Vec<Fired> {
        while !self.operator.advance(watermark, &mut Budget::new(budget)) {
            self.background();
            if self.operator.firing.as_ref().is_some_and(|firing| matches!(firing, Firing::Gather { .. })) {
                self.work(); // Which it waits for.
            }
        }
        self.recorder.0.take()
    }

    /// What happens between two steps of a core.
    fn background(&mut self) {
        if self.chance.next() == Some(1) {
            // Refused if the operator had put the last one off, which it must not, whatever it is in the midst of.
            assert_eq!(self.state.freeze(), self.operator.files.is_some());
        }
        self.operator.maintain();
        if self.chance.next() == Some(1) {
            self.work();
            self.operator.maintain();
        }
    }

    /// What helper threads would do.
    fn work(&mut self) {
        while let Some(mut work) = self.state.poll_work() {
            while work.step(Duration::ZERO) != WorkProgress::Finished {}
            self.state.on_work_done(work);
        }
    }
}

/// The model: all records, and what each window makes of them.
struct Model {
    slicing: Slicing,
    lateness: i64,
    watermark: Timestamp,
    windows: BTreeMap<(TimeWindow, u64), i64>,
    late: u64,
}

impl Model {
    fn record<A: Merge<i64>>(
        &mut self,
        aggregate: &A,
        key: u64,
        timestamp: Timestamp,
        value: i64,
    ) -> Vec<Fired> {
        let (size, slide) = (self.slicing.size, self.slicing.slide);
        let last = timestamp - (timestamp - self.slicing.offset).rem_euclid(slide);
        let starts = (0..).map(|n| last - n * slide).take_while(|start| start + size > timestamp);
        let windows = starts.map(|start| TimeWindow { start, end: start + size });
        let open = |window: &TimeWindow| window.max_timestamp() + self.lateness > self.watermark;
        let open: Vec<_> = windows.filter(open).collect();
        self.late += u64::from(open.is_empty() && timestamp + self.lateness <= self.watermark);
        let mut fired = Vec::new();
        for window in open {
            let acc = self.windows.entry((window, key));
            let acc = *acc.and_modify(|acc| aggregate.merge(acc, value)).or_insert(value);
            if window.max_timestamp() <= self.watermark {
                fired.push((window, key, acc));
            }
        }
        fired
    }

    fn watermark(&mut self, watermark: Timestamp) -> Vec<Fired> {
        let due = |window: &TimeWindow| (self.watermark + 1..=watermark).contains(&window.max_timestamp());
        let due = self.windows.iter().filter(|((window, _), _)| due(window));
        let fired = due.map(|((window, key), acc)| (*window, *key, *acc)).collect();
        self.watermark = watermark;
        fired
    }
}

fn compare<A: Merge<i64>>(
    state: &CoreState,
    aggregate: A,
    slicing: Slicing,
    lateness: i64,
    events: &[Event],
    chance: &[u8],
) -> std::result::Result<(), TestCaseError> {
    let cx = SubtaskContext::alone(state.clone());
    let recorder = Recorder::default();
    let operator =
        Slices::new(&cx, slicing, lateness, aggregate.clone(), EmitFired, recorder.clone()).unwrap();
    let chance = chance.iter().copied().cycle();
    let mut bench = Bench { operator, recorder, state: state.clone(), chance };
    let mut model = Model { slicing, lateness, watermark: -100, windows: BTreeMap::new(), late: 0 };
    bench.watermark(-100, 1);
    for (number, event) in (1_i64..).zip(events) {
        let (mut got, mut expected) = match *event {
            Event::Records { timestamp, from, keys } => {
                let values = (from..from + keys).map(|key| (key, number * 10 + key as i64 % 7));
                let got =
                    values.clone().flat_map(|(key, value)| bench.record(key, timestamp, value)).collect();
                let expected =
                    values.flat_map(|(key, value)| model.record(&aggregate, key, timestamp, value)).collect();
                (got, expected)
            }
            Event::Watermark { step, budget } => {
                let watermark = model.watermark + step;
                let got = bench.watermark(watermark, budget);
                prop_assert!(got.is_sorted_by_key(|(window, ..)| window.end));
                (got, model.watermark(watermark))
            }
        };
        let order = |(window, key, _): &Fired| (window.end, *key);
        got.sort_by_key(order);
        expected.sort_by_key(order);
        prop_assert_eq!(got, expected, "at event {}", number);
        bench.background();
    }
    prop_assert_eq!(bench.operator.late_dropped.get(), model.late);
    bench.watermark(i64::MAX, 1);
    let Slices { slices, running, .. } = &bench.operator;
    // One that is in the result goes when the next window fires, and those behind it go with it.
    prop_assert!(slices.front().is_none_or(|slice| running.slices.contains(&slice.number)));
    prop_assert!(!cx.switch.has_failed() && state.take_fault().is_none());
    Ok(())
}

fn files() -> CoreState {
    CoreState::lsm(&Storage::memory(), Options::nvme(), 1).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn windows_are_those_of_all_records(
        events in events(), size in 1..40_i64, slide in 1..40_i64, offset in 0..40_i64, lateness in prop_oneof![Just(0), 1..50_i64],
        chance in prop::collection::vec(0..3_u8, 1..50),
    ) {
        let (sliding, whole) = (Slicing::new(size, slide, offset), Slicing::whole(size, slide, offset));
        for state in [CoreState::heap(), files()] {
            compare(&state, Sum, sliding, lateness, &events, &chance)?;
        }
        compare(&files(), Max, sliding, lateness, &events, &chance)?;
        compare(&files(), Sum, whole, lateness, &events, &chance)?;
        compare(&files(), Max, Slicing::new(size, size, offset), lateness, &events, &chance)?;
    }
}
