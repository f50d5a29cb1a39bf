//! From the nodes of a case to operators.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use thalweg::testing::{Interleaving, Recorder, Script};
use thalweg::{Chain, Env, Generator, SharedStream, Stream, WatermarkStrategy};

use super::fields::{double_mut, field_of, key_of, long_mut};
use super::needs_clock;
use crate::conformance::case::Case;
use crate::conformance::functions::{Field, FieldAggregate, FieldOp, MapFn, ValueType};
use crate::conformance::job::{self, Node, Op, StreamRef};
use crate::conformance::value::Rec;
use crate::conformance::window::WindowFunction;

/// Between two ticks of periodic watermark generators, unless a case says otherwise. Flink's default.
const AUTO_WATERMARK_INTERVAL_MS: i64 = 200;

/// A case's job, ready to run.
pub(super) struct Job {
    pub(super) env: Env,
    pub(super) inputs: BTreeMap<String, Script<Rec>>,
    pub(super) outputs: BTreeMap<String, Recorder<Rec>>,
}

/// The operator of the case that cannot be expressed yet. `None` if [`Job::build`] knows all of them.
pub fn unmapped(case: &Case) -> Option<&'static str> {
    case.job.nodes.iter().find_map(|node| match node.op {
        Op::Source { .. }
        | Op::Map { .. }
        | Op::Filter { .. }
        | Op::FlatMap { .. }
        | Op::Union { .. }
        | Op::Rolling { .. }
        | Op::AssignWatermarks { .. } => None,
        Op::Split { .. } => Some("split"),
        Op::Window { .. } => Some("window"),
        Op::WindowJoin { .. } => Some("window join"),
        Op::Cogroup { .. } => Some("cogroup"),
        Op::IntervalJoin(_) => Some("interval join"),
        Op::CoMap { .. } => Some("co_map"),
        Op::CoFlatMap { .. } => Some("co_flat_map"),
        Op::ScriptCo { .. } => Some("script_co"),
        Op::ScriptBroadcast { .. } => Some("broadcast state"),
        Op::Script { .. } => Some("script"),
        Op::Cep(_) => Some("pattern matching"),
    })
}

impl Job {
    /// Panics on an operator that is [`unmapped`].
    pub(super) fn build(case: &Case, order: &Interleaving) -> Self {
        let interval = match needs_clock(case) {
            true => millis(case.job.auto_watermark_interval.unwrap_or(AUTO_WATERMARK_INTERVAL_MS)),
            false => Duration::MAX, // The clock of the case stands still, that of the runtime does not.
        };
        let env = Env::new().name(&case.name).parallelism(1).auto_watermark_interval(interval);
        let mut builder = Builder { env, case, order, streams: HashMap::new(), inputs: BTreeMap::new() };
        for node in &case.job.nodes {
            let stream = builder.add(node);
            builder.streams.insert(StreamRef { node: node.id.clone(), side: None }, stream);
        }
        let mut outputs = BTreeMap::new();
        for (name, stream) in &case.job.outputs {
            let recorder = Recorder::new();
            builder.from(stream).sink(name, recorder.clone());
            outputs.insert(name.clone(), recorder);
        }
        Job { env: builder.env, inputs: builder.inputs, outputs }
    }
}

struct Builder<'a> {
    env: Env,
    case: &'a Case,
    order: &'a Interleaving,
    streams: HashMap<StreamRef, SharedStream<Rec>>,
    inputs: BTreeMap<String, Script<Rec>>,
}

impl Builder<'_> {
    /// A stream that an earlier node made.
    fn from(&self, stream: &StreamRef) -> Stream<impl Chain<Out = Rec> + use<>> {
        self.streams[stream].stream().owned()
    }

    fn add(&mut self, node: &Node) -> SharedStream<Rec> {
        match &node.op {
            Op::Source { input, .. } => {
                let (script, source) = self.order.script();
                let other = self.inputs.insert(input.clone(), script);
                assert!(other.is_none(), "two sources read the input {input}");
                self.env.source(input, source).share()
            }
            Op::Map { from, function } => {
                let function = function.clone();
                self.from(from).map(move |rec| function.apply(rec)).share()
            }
            Op::Filter { from, predicate } => {
                let predicate = predicate.clone();
                self.from(from).filter(move |rec| predicate.test(rec)).share()
            }
            Op::FlatMap { from, function } => {
                let function = function.clone();
                self.from(from).flat_map(move |rec, out| out.extend(function.apply(rec))).share()
            }
            Op::Union { from } => {
                let mut streams: Vec<_> = from.iter().map(|from| self.from(from)).collect();
                let first = streams.remove(0);
                first.union(streams).owned().share()
            }
            Op::Rolling { from, function } => {
                let stream = self.from(from);
                match *function {
                    job::Rolling::Field(field) => rolling(stream, field, self.is_double(from)),
                    job::Rolling::Reduce(reduce) => {
                        stream.key_by(key_of).reduce(move |a, b| reduce.apply(a, b)).share()
                    }
                }
            }
            Op::AssignWatermarks { from, strategy, timestamp_from_value, idleness } => {
                let stream = self.from(from);
                match *strategy {
                    job::WatermarkStrategy::Bounded { delay } => {
                        assign(stream, thalweg::bounded(millis(delay)), *timestamp_from_value, *idleness)
                    }
                    job::WatermarkStrategy::Monotonous => {
                        assign(stream, thalweg::monotonous(), *timestamp_from_value, *idleness)
                    }
                    job::WatermarkStrategy::None => {
                        assign(stream, thalweg::no_watermarks(), *timestamp_from_value, *idleness)
                    }
                    job::WatermarkStrategy::Punctuated { every } => {
                        let watermark = move |rec: &Rec, timestamp: i64| {
                            (rec.value.as_long().rem_euclid(every) == 0).then_some(timestamp)
                        };
                        assign(stream, thalweg::punctuated(watermark), *timestamp_from_value, *idleness)
                    }
                }
            }
            _ => panic!("{} is unmapped", node.id),
        }
    }

    /// Whether the values of a stream are doubles: the API's sums are typed, those of the cases are not.
    fn is_double(&self, stream: &StreamRef) -> bool {
        let node = self.case.job.nodes.iter().find(|node| node.id == stream.node);
        match &node.expect("checked when the case was read").op {
            Op::Source { value_type, .. } => *value_type == ValueType::Double,
            Op::Map { function: MapFn::ListGet { value_type, .. }, .. } => *value_type == ValueType::Double,
            Op::Window { from, function: WindowFunction::Reduce(_) | WindowFunction::Field(_), .. } => {
                self.is_double(from)
            }
            Op::Window { function: WindowFunction::Aggregate(aggregate), .. } => {
                *aggregate == crate::conformance::functions::Aggregate::Avg
            }
            Op::Window { .. } => false,
            op => op.inputs().first().is_some_and(|from| self.is_double(from)),
        }
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).expect("a time span of a case is not negative"))
}

fn rolling<C: Chain<Out = Rec>>(
    stream: Stream<C>,
    aggregate: FieldAggregate,
    is_double: bool,
) -> SharedStream<Rec> {
    let keyed = stream.key_by(key_of);
    let FieldAggregate { op, field, first } = aggregate;
    let by = move |rec: &Rec| field_of(rec, field);
    match (op, first) {
        (FieldOp::Sum, _) if is_double => keyed.sum(double_mut).share(),
        (FieldOp::Sum, _) => keyed.sum(move |rec| long_mut(rec, field)).share(),
        (FieldOp::Min, _) if field == Field::Value => keyed.min(|rec| &mut rec.value).share(),
        (FieldOp::Min, _) => keyed.min(move |rec| long_mut(rec, field)).share(),
        (FieldOp::Max, _) if field == Field::Value => keyed.max(|rec| &mut rec.value).share(),
        (FieldOp::Max, _) => keyed.max(move |rec| long_mut(rec, field)).share(),
        (FieldOp::MinBy, true) => keyed.min_by(by).share(),
        (FieldOp::MinBy, false) => keyed.min_by_last(by).share(),
        (FieldOp::MaxBy, true) => keyed.max_by(by).share(),
        (FieldOp::MaxBy, false) => keyed.max_by_last(by).share(),
    }
}

fn assign<C: Chain<Out = Rec>, G: Generator<Rec>>(
    stream: Stream<C>,
    strategy: WatermarkStrategy<Rec, G>,
    timestamp_from_value: bool,
    idleness: Option<i64>,
) -> SharedStream<Rec> {
    let strategy = match idleness {
        Some(timeout) => strategy.idleness(millis(timeout)),
        None => strategy,
    };
    match timestamp_from_value {
        true => stream.watermarks(strategy.by(|rec: &Rec| rec.value.as_long())).share(),
        false => stream.watermarks(strategy).share(),
    }
}
