//! The window operators of a case, and the functions they apply.

use thalweg::{
    Aggregate, Chain, Collector, Either, ProcessWindowFunction, Session, SharedStream, Stream, Tag,
    TimeWindow, WindowContext, WindowResult,
};

use super::assigner::{CaseAssigner, CaseTrigger, merges, sliding, tumbling};
use super::build::{Outputs, millis};
use super::fields::{Key, double_mut, field_of, key_of, long_mut, value_of};
use crate::conformance::functions::{
    self, Field, FieldAggregate, FieldOp, Firing, ProcessFn, WindowSpan, sorted,
};
use crate::conformance::value::{Rec, Value};
use crate::conformance::window::{Assigner, TimeDomain, WindowFunction, Windowing};

/// What a `window` node says.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub(super) windowing: &'a Windowing,
    pub(super) function: WindowFunction,
    pub(super) late_output: bool,
    pub(super) all: bool,
    /// Whether the values are doubles.
    pub(super) is_double: bool,
}

/// Applies a function that needs no more of a window than one record or accumulator, and gives back the main output
/// and the late records.
macro_rules! incremental {
    ($windows:expr, $node:expr, $late:expr) => {{
        let windows = $windows;
        let late: Option<Tag<Rec>> = $late;
        match $node.function {
            WindowFunction::Reduce(reduce) => {
                finish(windows.reduce(move |a, b| reduce.apply(a, b)), late, None)
            }
            WindowFunction::Aggregate(function) => {
                finish(windows.aggregate(CaseAggregate(function)).map(result), late, None)
            }
            WindowFunction::Field(FieldAggregate { op, field, first }) => {
                let by = move |rec: &Rec| field_of(rec, field);
                match (op, first) {
                    (FieldOp::Sum, _) if $node.is_double && field == Field::Value => {
                        finish(windows.sum(double_mut), late, None)
                    }
                    (FieldOp::Sum, _) => finish(windows.sum(move |rec| long_mut(rec, field)), late, None),
                    (FieldOp::Min, _) if field == Field::Value => {
                        finish(windows.min(|rec: &mut Rec| &mut rec.value), late, None)
                    }
                    (FieldOp::Min, _) => finish(windows.min(move |rec| long_mut(rec, field)), late, None),
                    (FieldOp::Max, _) if field == Field::Value => {
                        finish(windows.max(|rec: &mut Rec| &mut rec.value), late, None)
                    }
                    (FieldOp::Max, _) => finish(windows.max(move |rec| long_mut(rec, field)), late, None),
                    (FieldOp::MinBy, true) => finish(windows.min_by(by), late, None),
                    (FieldOp::MinBy, false) => finish(windows.min_by_last(by), late, None),
                    (FieldOp::MaxBy, true) => finish(windows.max_by(by), late, None),
                    (FieldOp::MaxBy, false) => finish(windows.max_by_last(by), late, None),
                }
            }
            function => panic!("{function:?} is not incremental"),
        }
    }};
}

/// The general operator: any trigger, late output, any function.
macro_rules! general {
    ($windows:expr, $node:expr) => {{
        let node = $node;
        let windows = $windows.allowed_lateness(millis(node.windowing.allowed_lateness));
        let windows = match CaseTrigger::new(node.windowing) {
            Some(trigger) => windows.trigger(trigger),
            None => windows,
        };
        let late = node.late_output.then(|| Tag::new("late"));
        let windows = match &late {
            Some(late) => windows.late_output(late),
            None => windows,
        };
        match node.function {
            WindowFunction::AggregateProcess(function) => {
                finish(windows.aggregate_process(CaseAggregate(function), OfOne), late, None)
            }
            WindowFunction::ReduceProcess(reduce) => {
                finish(windows.reduce_process(move |a, b| reduce.apply(a, b), OfOne), late, None)
            }
            WindowFunction::Process(function) => {
                let side = Tag::new("side");
                let function = OfAll { function, side };
                finish(windows.process(function).with_sides(side), late, Some(side))
            }
            _ => incremental!(windows, node, late),
        }
    }};
}

/// Puts two streams into the windows of the case, and does the same with them whether those merge or not.
macro_rules! both {
    ($streams:ident, $windowing:ident, |$windows:ident| $do:expr) => {
        match merges(&$windowing.assigner) {
            true => both!($streams, $windowing, |$windows| $do; true),
            false => both!($streams, $windowing, |$windows| $do; false),
        }
    };
    ($streams:ident, $windowing:ident, |$windows:ident| $do:expr; $merging:literal) => {{
        let assigner = CaseAssigner::<Either<Rec, Rec>, $merging>::new(&$windowing.assigner);
        let $windows = $streams.window(assigner).allowed_lateness(millis($windowing.allowed_lateness));
        let $windows = match CaseTrigger::new($windowing) {
            Some(trigger) => $windows.trigger(trigger),
            None => $windows,
        };
        $do
    }};
}

/// Windows over a stream. `general`: with the general operator even where a faster one would do.
pub(super) fn window<C: Chain<Out = Rec>>(stream: Stream<C>, node: Windows<'_>, general: bool) -> Outputs {
    let Windowing { assigner, trigger, allowed_lateness, .. } = node.windowing;
    let is_incremental = matches!(
        node.function,
        WindowFunction::Reduce(_) | WindowFunction::Aggregate(_) | WindowFunction::Field(_)
    );
    if is_incremental && trigger.is_none() && !node.late_output && !general {
        let lateness = millis(*allowed_lateness);
        macro_rules! fast {
            ($assigner:expr) => {
                match node.all {
                    true => incremental!(stream.window_all($assigner).allowed_lateness(lateness), node, None),
                    false => {
                        let windows = stream.key_by(key_of).window($assigner);
                        incremental!(windows.allowed_lateness(lateness), node, None)
                    }
                }
            };
        }
        match *assigner {
            Assigner::Tumbling { size, offset, time: TimeDomain::Event } => {
                return fast!(tumbling(size, offset));
            }
            Assigner::Sliding { size, slide, offset, time: TimeDomain::Event } => {
                return fast!(sliding(size, slide, offset));
            }
            Assigner::Session { gap, time: TimeDomain::Event } => return fast!(Session::gap(millis(gap))),
            _ => {}
        }
    }
    match (merges(assigner), node.all) {
        (true, true) => general!(stream.window_all(CaseAssigner::<Rec, true>::new(assigner)), node),
        (true, false) => {
            general!(stream.key_by(key_of).window(CaseAssigner::<Rec, true>::new(assigner)), node)
        }
        (false, true) => general!(stream.window_all(CaseAssigner::<Rec, false>::new(assigner)), node),
        (false, false) => {
            general!(stream.key_by(key_of).window(CaseAssigner::<Rec, false>::new(assigner)), node)
        }
    }
}

/// Joins two streams over windows: each pair of records with equal keys in a window.
pub(super) fn join<C: Chain<Out = Rec>, D: Chain<Out = Rec>>(
    left: Stream<C>,
    right: Stream<D>,
    windowing: &Windowing,
) -> SharedStream<Rec> {
    let pair =
        |left: &Rec, right: &Rec| Rec::new(left.key.clone(), (left.value.clone(), right.value.clone()));
    let joined = left.join(right).on(key_of, key_of);
    both!(joined, windowing, |windows| windows.apply(pair).share())
}

/// Groups two streams over windows: the values of each side with equal keys in a window, ascending.
pub(super) fn cogroup<C: Chain<Out = Rec>, D: Chain<Out = Rec>>(
    left: Stream<C>,
    right: Stream<D>,
    windowing: &Windowing,
) -> SharedStream<Rec> {
    let group = |left: &[Rec], right: &[Rec], out: &mut Collector<Rec>| {
        let values = |recs: &[Rec]| sorted(&recs.iter().map(|rec| rec.value.clone()).collect::<Vec<_>>());
        let first = left.first().or(right.first()).expect("a window that fires has a record");
        out.collect(Rec::new(first.key.clone(), (values(left), values(right))));
    };
    let grouped = left.co_group(right).on(key_of, key_of);
    both!(grouped, windowing, |windows| windows.apply(group).share())
}

/// Cuts the streams that the operator makes.
fn finish<C: Chain<Out = Rec>>(stream: Stream<C>, late: Option<Tag<Rec>>, side: Option<Tag<Rec>>) -> Outputs {
    let sides = late.into_iter().chain(side);
    let sides = sides.map(|tag| (tag.name(), stream.side_output(&tag).owned().share()));
    let sides: Vec<(&'static str, SharedStream<Rec>)> = sides.collect();
    Outputs { main: stream.share(), sides }
}

/// An aggregate of a case.
#[derive(Debug, Clone, Copy)]
struct CaseAggregate(functions::Aggregate);

impl Aggregate<Rec> for CaseAggregate {
    type Acc = Value;
    type Out = Value;

    fn create(&self) -> Value {
        self.0.create()
    }

    fn add(&self, acc: &mut Value, record: &Rec) {
        self.0.add(acc, record);
    }

    fn merge(&self, acc: &mut Value, other: Value) {
        self.0.merge(acc, &other);
    }

    fn result(&self, acc: &Value) -> Value {
        self.0.result(acc)
    }
}

/// A key as records have it: null for windows over all.
trait RecKey {
    fn to_value(&self) -> Value;
}

impl RecKey for Key {
    fn to_value(&self) -> Value {
        value_of(self)
    }
}

impl RecKey for () {
    fn to_value(&self) -> Value {
        Value::Null
    }
}

fn result<K: RecKey>(result: &WindowResult<K, Value>) -> Rec {
    Rec::new(result.key.to_value(), result.value.clone())
}

fn span(window: TimeWindow) -> WindowSpan {
    match window {
        TimeWindow::GLOBAL => WindowSpan::Global,
        TimeWindow { start, end } => WindowSpan::Time { start, end },
    }
}

/// Gives the window and the one thing that was kept of it.
#[derive(Debug, Clone, Copy)]
struct OfOne;

impl<K: RecKey + thalweg::Key> ProcessWindowFunction<K, Value> for OfOne {
    type Out = Rec;
    type WindowState = ();
    type KeyState = ();

    fn process(&mut self, elements: &[Value], cx: &mut impl WindowContext<K, Rec, (), ()>) {
        let value = Value::from((span(cx.window()).to_value(), elements[0].clone()));
        let result = Rec::new(cx.key().to_value(), value);
        cx.collect(&result);
    }
}

impl<K: RecKey + thalweg::Key> ProcessWindowFunction<K, Rec> for OfOne {
    type Out = Rec;
    type WindowState = ();
    type KeyState = ();

    fn process(&mut self, elements: &[Rec], cx: &mut impl WindowContext<K, Rec, (), ()>) {
        let value = Value::from((span(cx.window()).to_value(), elements[0].value.clone()));
        let result = Rec::new(cx.key().to_value(), value);
        cx.collect(&result);
    }
}

/// A process window function of a case.
#[derive(Debug, Clone, Copy)]
struct OfAll {
    function: ProcessFn,
    side: Tag<Rec>,
}

impl<K: RecKey + thalweg::Key> ProcessWindowFunction<K, Rec> for OfAll {
    type Out = Rec;
    /// Firings of the window.
    type WindowState = i64;
    /// Firings of all windows of the key.
    type KeyState = i64;

    fn process(&mut self, elements: &[Rec], cx: &mut impl WindowContext<K, Rec, i64, i64>) {
        let mut firing = Firing { watermark: cx.watermark(), ..Firing::default() };
        if self.function.counts_firings() {
            *cx.window_state() += 1;
            *cx.key_state() += 1;
            firing.of_window = *cx.window_state();
            firing.of_key = *cx.key_state();
        }
        let (window, key) = (span(cx.window()), cx.key().to_value());
        let values: Vec<Value> = elements.iter().map(|rec| rec.value.clone()).collect();
        cx.collect(&Rec::new(key.clone(), self.function.result(window, &values, firing)));
        if let Some(side) = self.function.side_result(window, &values) {
            cx.side(&self.side, &Rec::new(key, side));
        }
    }
}
