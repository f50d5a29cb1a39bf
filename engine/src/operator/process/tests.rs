//! The operators driven directly, as scripts against what they must emit; timers at random against a sorted set.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rkyv::rancor;
use rkyv::string::ArchivedString;
use thalweg_state::{CoreState, Key as _, KeyedState, ListState, ValueState};

use super::*;
use crate::api::connect::KeyedCoProcessFunction;
use crate::api::context::OpenContext;
use crate::api::env::Env;
use crate::error::Result;
use crate::operator::TwoInput;
use crate::operator::co_process::{CoFlatMap, CoMap, KeyedCoProcess};

type Log = Rc<RefCell<Vec<String>>>;

/// The next operator: writes down what it gets.
struct Recorder(Log);

impl Output<String> for Recorder {
    fn collect(&mut self, record: &String, timestamp: Timestamp) {
        let timestamp = if timestamp == NO_TIMESTAMP { "-".into() } else { timestamp.to_string() };
        self.0.borrow_mut().push(format!("{record}@{timestamp}"));
    }
}

impl Stage for Recorder {
    fn control(&mut self, control: Control) {
        match control {
            Control::Signal(Signal::Watermark(watermark)) => {
                self.0.borrow_mut().push(format!("W{watermark}"))
            }
            Control::Signal(Signal::End) => self.0.borrow_mut().push("End".into()),
            _ => {}
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }
}

/// Does what its records say. Commands: `et T`, `det T`, `pt T`, `dpt T` register and delete timers, `chain D` one D later than
/// the timer or record, `add X` and `get` a list, `wm`, `now`, `ts`, `key`; anything else is emitted.
#[derive(Clone)]
struct Script {
    on_timer: &'static str,
}

impl Script {
    fn run(
        &self,
        script: &str,
        timestamp: Timestamp,
        state: &mut (ListState<String, String>, ValueState<String, i64>),
        cx: &mut impl KeyedContext<String, String>,
    ) {
        for command in script.split(';').map(str::trim).filter(|command| !command.is_empty()) {
            let (verb, operand) = command.split_once(' ').unwrap_or((command, ""));
            let time = || operand.parse::<Timestamp>().expect("a time");
            match verb {
                "et" => cx.register_event_timer(time()),
                "det" => cx.delete_event_timer(time()),
                "pt" => cx.register_processing_timer(time()),
                "dpt" => cx.delete_processing_timer(time()),
                "chain"
                    if state.1.update_with(
                        cx.at(),
                        || 0,
                        |n| {
                            *n += 1;
                            *n
                        },
                    ) <= 2 =>
                {
                    match cx.time_domain() {
                        TimeDomain::Event => cx.register_event_timer(timestamp + time()),
                        TimeDomain::Processing => cx.register_processing_timer(timestamp + time()),
                    }
                }
                "chain" => {}
                "add" => state.0.add(cx.at(), operand.to_string()),
                "get" => cx.collect(&state.0.get(cx.at()).concat()),
                "wm" => cx.collect(&format!("wm={}", cx.watermark())),
                "now" => cx.collect(&format!("now={}", cx.now())),
                "ts" => cx.collect(&format!("ts={:?}", cx.timestamp())),
                "key" => cx.collect(&cx.key().clone()),
                "fail" => cx.fail(operand),
                _ => cx.collect(&command.to_string()),
            }
        }
    }
}

type ScriptState = (ListState<String, String>, ValueState<String, i64>);

impl KeyedProcessFunction<String, String> for Script {
    type Out = String;
    type State = ScriptState;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<ScriptState> {
        Ok((cx.list("list")?, cx.value("chained")?))
    }

    fn process(
        &mut self,
        record: &ArchivedString,
        state: &mut ScriptState,
        cx: &mut impl KeyedContext<String, String>,
    ) {
        self.run(record, cx.timestamp().unwrap_or(0), state, cx);
    }

    fn on_timer(
        &mut self,
        timestamp: Timestamp,
        state: &mut ScriptState,
        cx: &mut impl KeyedContext<String, String>,
    ) {
        cx.collect(&format!("{:?} {timestamp} {}", cx.time_domain(), cx.key()));
        self.run(self.on_timer, timestamp, state, cx);
    }
}

impl KeyedCoProcessFunction<String, String, String> for Script {
    type Out = String;
    type State = ScriptState;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<ScriptState> {
        KeyedProcessFunction::open(self, cx)
    }

    fn process_left(
        &mut self,
        record: &ArchivedString,
        state: &mut ScriptState,
        cx: &mut impl KeyedContext<String, String>,
    ) {
        cx.collect(&"L".to_string());
        self.process(record, state, cx);
    }

    fn process_right(
        &mut self,
        record: &ArchivedString,
        state: &mut ScriptState,
        cx: &mut impl KeyedContext<String, String>,
    ) {
        cx.collect(&"R".to_string());
        self.process(record, state, cx);
    }

    fn on_timer(
        &mut self,
        timestamp: Timestamp,
        state: &mut ScriptState,
        cx: &mut impl KeyedContext<String, String>,
    ) {
        KeyedProcessFunction::on_timer(self, timestamp, state, cx);
    }
}

fn archive(text: &str) -> rkyv::util::AlignedVec {
    rkyv::to_bytes::<rancor::Error>(&text.to_string()).expect("a string can be archived")
}

/// Lends a record as a received buffer would.
fn received(key: &str, value: &str, timestamp: Timestamp, take: impl FnOnce(Received<'_, String, String>)) {
    let (key_bytes, value_bytes) = (archive(key), archive(value));
    let key_hash = key.to_string().key_hash();
    let key = rkyv::access::<ArchivedString, rancor::Error>(&key_bytes).expect("an archive");
    let value = rkyv::access::<ArchivedString, rancor::Error>(&value_bytes).expect("an archive");
    take(Received { key, key_hash, value, timestamp, number: 0 });
}

/// What the head does before it takes any input.
fn fire_due(operator: &mut impl Operator) {
    while !operator.fire_due(&mut Budget::new(2)) {}
}

/// What the head does with a watermark.
fn advance(operator: &mut impl Operator, watermark: Timestamp, firings: u32) {
    while !operator.advance(watermark, &mut Budget::new(firings)) {}
    operator.control(Control::watermark(watermark));
}

/// Runs `steps`: `key@timestamp commands` (`key@-` for none; a leading `>` for the second input), `W watermark`, `clock now`,
/// or `end`. The clock stands at 100.
fn run<O: Operator>(
    make: impl FnOnce(&SubtaskContext, Recorder) -> O,
    steps: &[&str],
    mut take: impl FnMut(&mut O, bool, Received<'_, String, String>),
) -> (String, SubtaskContext) {
    let log = Log::default();
    let cx = SubtaskContext::alone(CoreState::heap());
    cx.switch.set_now(100);
    let mut operator = make(&cx, Recorder(log.clone()));
    for step in steps {
        let (what, rest) = step.split_once(' ').unwrap_or((step, ""));
        fire_due(&mut operator);
        match what {
            "W" => advance(&mut operator, rest.parse().expect("a watermark"), 2),
            "clock" => {
                let now = rest.parse().expect("a time");
                cx.switch.set_now(now);
            }
            "end" => {
                advance(&mut operator, i64::MAX, 2);
                operator.control(Control::Signal(Signal::End));
            }
            record => {
                let (key, timestamp) = record.split_once('@').expect("key@timestamp");
                let timestamp = timestamp.parse().unwrap_or(NO_TIMESTAMP);
                let right = key.starts_with('>');
                received(key.trim_start_matches('>'), rest, timestamp, |r| take(&mut operator, right, r));
            }
        }
    }
    fire_due(&mut operator);
    let log = log.borrow().join(" | ");
    (log, cx)
}

/// A script behind one input.
fn operator(
    on_timer: &'static str,
    cx: &SubtaskContext,
    next: Recorder,
) -> KeyedProcess<String, String, Script, ScriptState, (), Recorder> {
    let mut script = Script { on_timer };
    let state = KeyedProcessFunction::open(&mut script, &OpenContext::keyed(cx)).expect("two names");
    KeyedProcess::new(script, state, Services::new(cx, (), next).expect("two names"))
}

#[track_caller]
fn check(on_timer: &'static str, steps: &[&str], output: &str) {
    let make = |cx: &SubtaskContext, next| operator(on_timer, cx, next);
    assert_eq!(run(make, steps, |operator, _, record| operator.process(record)).0, output);
}

#[track_caller]
fn check_two(on_timer: &'static str, steps: &[&str], output: &str) {
    let make = |cx: &SubtaskContext, next| {
        let mut script = Script { on_timer };
        let state = KeyedCoProcessFunction::open(&mut script, &OpenContext::keyed(cx)).expect("two names");
        KeyedCoProcess::<_, String, String, _, _, _, _>::new(
            script,
            state,
            Services::new(cx, (), next).expect("two names"),
        )
    };
    let take =
        |operator: &mut KeyedCoProcess<_, _, _, _, _, _, _>, right, record: Received<'_, _, _>| match right {
            true => operator.process_right(record),
            false => operator.process_left(record),
        };
    assert_eq!(run(make, steps, take).0, output);
}

#[test]
fn event_timers_fire_at_the_watermark_in_order_over_all_keys() {
    let steps = ["a@1 et 10; et 5", "b@2 et 7; et 10", "W 4", "W 7", "W 10"];
    check("", &steps, "W4 | Event 5 a@5 | Event 7 b@7 | W7 | Event 10 a@10 | Event 10 b@10 | W10");
    check(
        "",
        &["a@1 et 5; et 5", "a@1 et 5; et 6; det 6; det 99", "end"],
        "Event 5 a@5 | W9223372036854775807 | End",
    );
}

#[test]
fn an_event_timer_behind_the_watermark_waits_for_the_next() {
    check("", &["W 10", "a@1 et 3; et 10; x", "W 11"], "W10 | x@1 | Event 3 a@3 | Event 10 a@10 | W11");
    // Registered while timers fire: due with the same watermark, which functions already see.
    check("chain 2; wm", &["a@1 et 5", "W 8"], "Event 5 a@5 | wm=8@5 | Event 7 a@7 | wm=8@7 | W8");
    check("chain 2", &["a@1 et 5", "W 5", "W 9"], "Event 5 a@5 | W5 | Event 7 a@7 | Event 9 a@9 | W9");
}

#[test]
fn processing_timers_fire_when_the_clock_has_passed_them() {
    let steps = ["a@1 pt 110; pt 105", "b@1 pt 107; pt 107", "clock 105", "clock 108", "a@2 ts", "clock 111"];
    check(
        "ts",
        &steps,
        "Processing 105 a@- | ts=None@- | Processing 107 b@- | ts=None@- | ts=Some(2)@2 | Processing 110 a@- | ts=None@-",
    );
    check("", &["a@1 pt 110; dpt 110", "clock 200"], "");
    check(
        "now; chain 5",
        &["a@1 pt 110", "clock 111", "clock 117"],
        "Processing 110 a@- | now=111@- | Processing 115 a@- | now=117@-",
    );
    check("", &["a@1 pt 110; et 9", "end"], "Event 9 a@9 | W9223372036854775807 | End"); // Pending ones are dropped.
}

#[test]
fn a_processing_timer_in_the_past_fires_after_its_record() {
    check("", &["a@1 pt 50; x", "b@1 y"], "x@1 | Processing 50 a@- | y@1");
    check("", &["a@1 pt 50; x"], "x@1 | Processing 50 a@-");
    check("", &["a@1 pt 50; et 3", "W 4"], "Processing 50 a@- | Event 3 a@3 | W4");
    check("", &["a@1 pt 100; x", "clock 101"], "x@1 | Processing 100 a@-"); // Now is not past.
}

#[test]
fn what_an_event_timer_registers_in_the_past_comes_after_its_watermark() {
    // It registers itself in the past for ever: no step may last as long.
    let (log, cx) = (Log::default(), SubtaskContext::alone(CoreState::heap()));
    cx.switch.set_now(100);
    let mut operator = operator("pt 50", &cx, Recorder(log.clone()));
    received("a", "et 3", 1, |record| operator.process(record));
    assert!(!cx.switch.should_stop());
    advance(&mut operator, 4, 2);
    assert!(cx.switch.should_stop(), "no record may be read before the timer has fired");
    cx.switch.clear_stop();
    assert!(!operator.fire_due(&mut Budget::new(3)));
    let expected = "Event 3 a@3 | W4 | Processing 50 a@- | Processing 50 a@- | Processing 50 a@-";
    assert_eq!(log.borrow().join(" | "), expected);
}

#[test]
fn a_failure_names_the_operator() {
    let make = |cx: &SubtaskContext, next| operator("", cx, next);
    let (log, cx) = run(make, &["a@1 x; fail no such item"], |operator, _, record| operator.process(record));
    assert_eq!(log, "x@1");
    let error = cx.switch.failure().expect("it has failed");
    assert_eq!(error.to_string(), "subtask 0 of test: no such item");
}

#[test]
fn state_belongs_to_the_current_key() {
    let steps = ["a@1 add x", "b@1 add y; get", "a@2 add z; get; key; et 5", "b@- get; ts", "W 5"];
    check("key; get", &steps, "y@1 | xz@2 | a@2 | y@- | ts=None@- | Event 5 a@5 | a@5 | xz@5 | W5");
}

#[test]
fn two_inputs_share_state_and_timers() {
    let steps = ["a@1 add x; et 4", ">a@2 add y; et 4", ">b@2 get", "a@3 get", "W 4"];
    check_two("get", &steps, "L@1 | R@2 | R@2 | @2 | L@3 | xy@3 | Event 4 a@4 | xy@4 | W4");
    check_two("", &["a@1 pt 50", ">a@2 y"], "L@1 | Processing 50 a@- | R@2 | y@2");
}

#[test]
fn co_map_and_co_flat_map_keep_timestamps() {
    let (left, right) = (|a: &ArchivedString| format!("l{a}"), |b: &ArchivedString| format!("r{b}"));
    let steps = ["k@1 x", ">k@- y", "W 3"];
    let (log, _cx) = run(
        |_, next| CoMap::new(left, right, next),
        &steps,
        |o, second, record| match second {
            true => TwoInput::<_, String, String>::process_right(o, record),
            false => TwoInput::<_, String, String>::process_left(o, record),
        },
    );
    assert_eq!(log, "lx@1 | ry@- | W3");
    let left = |a: &ArchivedString, out: &mut Collector<String>| out.extend([a.to_string(), a.to_string()]);
    let right = |_: &ArchivedString, _: &mut Collector<String>| {};
    let (log, _) = run(
        |_, next| CoFlatMap::new(left, right, next),
        &steps,
        |o, second, record| match second {
            true => TwoInput::<_, String, String>::process_right(o, record),
            false => TwoInput::<_, String, String>::process_left(o, record),
        },
    );
    assert_eq!(log, "x@1 | x@1 | W3");
}

#[test]
fn without_credit_the_core_is_not_kept_awake() {
    let cx = SubtaskContext::alone(CoreState::heap());
    cx.switch.set_now(100);
    let mut services = Services::<u64, _, _>::new(&cx, (), Recorder(Log::default())).expect("two names");
    services.processing_timers.register(50, 7.key_hash(), &7);
    assert!(services.is_due() && services.wakes_at().is_some_and(|at| at <= 51));
    cx.blocked.set(1);
    assert_eq!(services.wakes_at(), None);
    cx.blocked.set(0);
    let mut fired = 0;
    assert!(services.fire_due(&mut Budget::new(9), &mut (), |_, (), _| fired += 1));
    assert_eq!((fired, services.wakes_at()), (1, None));
}

#[test]
fn a_key_takes_over_the_memory_of_the_one_before() {
    let mut keys = OwnedKey::<String>::new();
    let mut address = |key: &str| {
        let bytes = archive(key);
        let archived = rkyv::access::<ArchivedString, rancor::Error>(&bytes).expect("an archive");
        let mut made = None;
        let owned = keys.get(archived, &mut made);
        assert_eq!(owned, key);
        owned.as_ptr()
    };
    let first = address("the longest key of all");
    assert!(
        ["a shorter one", "another", "another", "the longest key at all"]
            .iter()
            .all(|key| address(key) == first)
    );
}

#[derive(Debug, Clone)]
enum Step {
    Register { key: u64, at: Timestamp },
    Delete { key: u64, at: Timestamp },
    Advance { by: Timestamp, firings: u32 },
}

/// Collects the timer, and registers a further one for some timestamps.
#[derive(Clone)]
struct Again;

impl Again {
    fn next(at: Timestamp) -> Option<Timestamp> {
        (at % 3 == 0).then_some(at + 4)
    }
}

impl KeyedProcessFunction<u64, (bool, i64)> for Again {
    type Out = String;
    type State = ();

    fn open(&mut self, _: &OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    fn process(
        &mut self,
        record: &<(bool, i64) as rkyv::Archive>::Archived,
        _: &mut (),
        cx: &mut impl KeyedContext<u64, String>,
    ) {
        match record.0 {
            true => cx.register_event_timer(record.1.to_native()),
            false => cx.delete_event_timer(record.1.to_native()),
        }
    }

    fn on_timer(&mut self, timestamp: Timestamp, _: &mut (), cx: &mut impl KeyedContext<u64, String>) {
        cx.collect(&cx.key().to_string());
        if let Some(next) = Again::next(timestamp) {
            cx.register_event_timer(next);
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_u64, 0..60_i64).prop_map(|(key, at)| Step::Register { key, at }),
        2 => (0..5_u64, 0..60_i64).prop_map(|(key, at)| Step::Delete { key, at }),
        2 => (1..20_i64, 1..4_u32).prop_map(|(by, firings)| Step::Advance { by, firings }),
    ]
}

/// A state that writes down what is asked of it: the step, and for which key's hash.
struct Steps(Arc<Mutex<Vec<(u8, u64)>>>);

impl StateSet for Steps {
    fn prefetch(&self, hash: u64) {
        self.0.lock().unwrap().push((0, hash));
    }

    fn each(&mut self, _: &mut dyn FnMut(&mut dyn KeyedState)) {}

    fn owns(&self) -> bool {
        true
    }

    fn prefetch_owned(&self, hash: u64) {
        self.0.lock().unwrap().push((1, hash));
    }
}

#[derive(Clone)]
struct Watched(Arc<Mutex<Vec<(u8, u64)>>>);

impl KeyedProcessFunction<u64, u64> for Watched {
    type Out = ();
    type State = Steps;

    fn open(&mut self, _cx: &OpenContext<'_>) -> Result<Steps> {
        Ok(Steps(self.0.clone()))
    }

    fn process(
        &mut self,
        _number: &rkyv::rend::u64_le,
        steps: &mut Steps,
        cx: &mut impl KeyedContext<u64, ()>,
    ) {
        steps.0.lock().unwrap().push((2, cx.at().hash));
    }
}

/// Goal: the state of each record is fetched, then what it owns, then the record is processed, with other records in
/// between. Method: a job whose state writes down the steps, over several buffers, the last of them not full.
#[test]
fn what_state_owns_is_fetched_after_the_state_and_before_the_record() {
    let steps = Arc::default();
    let env = Env::new().parallelism(1);
    env.from_elements(0..5000_u64).key_by(|&n| n).process(Watched(Arc::clone(&steps))).blackhole();
    env.execute().unwrap();
    let mut at = [const { BTreeMap::new() }; 3];
    for (place, &(step, hash)) in steps.lock().unwrap().iter().enumerate() {
        at[usize::from(step)].insert(hash, place); // No two keys are the same, nor their hashes.
    }
    let [state, owned, record] = at;
    assert_eq!(record.len(), 5000);
    let in_order = |hash, place| state.get(hash) < owned.get(hash) && owned.get(hash) < Some(place);
    let fetched = record.iter().filter(|(hash, place)| owned.contains_key(hash) && in_order(hash, place));
    let fetched = fetched.count();
    assert!(fetched > 4950, "{fetched}"); // Where no record follows another at once, a hint may be missing.
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..Default::default()
    })]

    /// Goal: timers fire once, in order, at their watermark, however small the budget. Method: a set ordered by timestamp and
    /// registration, from which everything up to the watermark is taken.
    #[test]
    fn event_timers_fire_as_from_a_sorted_set(steps in prop::collection::vec(any_step(), 0..200)) {
        let (log, cx) = (Log::default(), SubtaskContext::alone(CoreState::heap()));
        let services = Services::new(&cx, (), Recorder(log.clone())).expect("two names");
        let mut operator = KeyedProcess::<u64, (bool, i64), _, _, _, _>::new(Again, (), services);
        let (mut model, mut expected) = (BTreeSet::<(Timestamp, usize, u64)>::new(), Vec::new());
        let (mut sequence, mut watermark) = (0, -1);
        for step in steps {
            let mut register = |model: &mut BTreeSet<(Timestamp, usize, u64)>, at, key| {
                if !model.iter().any(|timer| (timer.0, timer.2) == (at, key)) {
                    model.insert((at, sequence, key));
                    sequence += 1;
                }
            };
            match step {
                Step::Register { key, at } => {
                    record(&mut operator, key, true, at);
                    register(&mut model, at, key);
                }
                Step::Delete { key, at } => {
                    record(&mut operator, key, false, at);
                    model.retain(|timer| (timer.0, timer.2) != (at, key));
                }
                Step::Advance { by, firings } => {
                    watermark += by;
                    advance(&mut operator, watermark, firings);
                    while let Some(&timer) = model.first().filter(|timer| timer.0 <= watermark) {
                        model.remove(&timer);
                        expected.push(format!("{}@{}", timer.2, timer.0));
                        if let Some(next) = Again::next(timer.0) {
                            register(&mut model, next, timer.2);
                        }
                    }
                    expected.push(format!("W{watermark}"));
                }
            }
        }
        prop_assert_eq!(&*log.borrow(), &expected);
    }
}

fn record(operator: &mut impl OneInput<u64, (bool, i64)>, key: u64, register: bool, at: Timestamp) {
    let bytes = rkyv::to_bytes::<rancor::Error>(&(register, at)).expect("numbers can be archived");
    let value =
        rkyv::access::<<(bool, i64) as rkyv::Archive>::Archived, rancor::Error>(&bytes).expect("an archive");
    let archived = rkyv::rend::u64_le::from_native(key);
    operator.process(Received { key: &archived, key_hash: key.key_hash(), value, timestamp: 0, number: 0 });
}
