//! From the nodes of a case to operators.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use thalweg::testing::{Interleaving, Recorder, Script};
use thalweg::{
    Backend, Chain, Env, Generator, LsmBackend, LsmOptions, Record, SharedStream, Stream, Tag,
    WatermarkStrategy,
};

use super::fields::{double_mut, field_of, key_of, long_mut};
use super::needs_clock;
use super::script::{Gate, Scripted};
use super::window::Windows;
use crate::conformance::case::Case;
use crate::conformance::functions::{Aggregate, Field, FieldAggregate, FieldOp, MapFn, ValueType};
use crate::conformance::job::{self, Node, Op, StreamRef};
use crate::conformance::value::{ArchivedRec, Rec};
use crate::conformance::window::WindowFunction;

/// Between two ticks of periodic watermark generators, unless a case says otherwise. Flink's default.
const AUTO_WATERMARK_INTERVAL_MS: i64 = 200;

/// A case's job, ready to run.
pub(super) struct Job {
    pub(super) env: Env,
    pub(super) inputs: BTreeMap<String, Script<Rec>>,
    pub(super) outputs: BTreeMap<String, Recorder<Rec>>,
}

/// The streams that a node makes.
pub(super) struct Outputs {
    pub(super) main: SharedStream<Rec>,
    pub(super) sides: Vec<(&'static str, SharedStream<Rec>)>,
}

impl From<SharedStream<Rec>> for Outputs {
    fn from(main: SharedStream<Rec>) -> Self {
        Self { main, sides: Vec::new() }
    }
}

impl Job {
    /// `general`: windows with the general operator even where a faster one would do. `files`: state in files, for the simulator.
    /// Panics on what [`unsupported`](crate::conformance::support::unsupported) names.
    pub(super) fn build(case: &Case, order: &Interleaving, general: bool, files: bool) -> Self {
        let interval = match needs_clock(case) {
            true => millis(case.job.auto_watermark_interval.unwrap_or(AUTO_WATERMARK_INTERVAL_MS)),
            false => Duration::MAX, // The clock of the case stands still, that of the runtime does not.
        };
        let backend = if files { small_files() } else { Backend::Heap };
        let env =
            Env::new().name(&case.name).parallelism(1).auto_watermark_interval(interval).backend(backend);
        let mut builder =
            Builder { env, case, order, general, streams: HashMap::new(), inputs: BTreeMap::new() };
        for node in &case.job.nodes {
            let Outputs { main, sides } = builder.add(node);
            builder.streams.insert(StreamRef { node: node.id.clone(), side: None }, main);
            for (side, stream) in sides {
                let name = StreamRef { node: node.id.clone(), side: Some(side.to_owned()) };
                builder.streams.insert(name, stream);
            }
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
    general: bool,
    streams: HashMap<StreamRef, SharedStream<Rec>>,
    inputs: BTreeMap<String, Script<Rec>>,
}

impl Builder<'_> {
    /// A stream that an earlier node made.
    fn from(&self, stream: &StreamRef) -> Stream<impl Chain<Out = Rec> + use<>> {
        self.streams[stream].stream().owned()
    }

    fn add(&mut self, node: &Node) -> Outputs {
        let main = match &node.op {
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
            Op::Split { from, predicate } => {
                let (predicate, other) = (predicate.clone(), Tag::new("other"));
                let split =
                    self.from(from).split(other, move |rec, out, mut other| match predicate.test(rec) {
                        true => out.collect(rec.clone()),
                        false => other.collect(rec),
                    });
                let other = split.side_output(&other).owned().share();
                return Outputs { main: split.share(), sides: vec![("other", other)] };
            }
            Op::Window { from, window, function, late_output, all } => {
                let (late_output, all, is_double) = (*late_output, *all, self.is_double(from));
                let windows = Windows { windowing: window, function: *function, late_output, all, is_double };
                return super::window::window(self.from(from), windows, self.general);
            }
            Op::WindowJoin { left, right, window } => {
                super::window::join(self.from(left), self.from(right), window)
            }
            Op::Cogroup { left, right, window } => {
                super::window::cogroup(self.from(left), self.from(right), window)
            }
            Op::CoMap { left, right } => {
                let tagged = |side: &'static str| {
                    move |rec: &ArchivedRec| {
                        let rec = Rec::unarchive(rec);
                        Rec::new(rec.key, (side, rec.value))
                    }
                };
                self.from(left).connect(self.from(right)).co_map(tagged("L"), tagged("R")).share()
            }
            Op::CoFlatMap { left, right } => {
                let (left, right) = (self.from(left).key_by(key_of), self.from(right).key_by(key_of));
                left.connect(right).process(Gate).share()
            }
            Op::Script { from, on_timer, ttl } => {
                let scripted = Scripted { on_timer: on_timer.clone(), side: Tag::new("side"), ttl: *ttl };
                let side = scripted.side;
                return with_side(self.from(from).key_by(key_of).process(scripted).with_sides(side), side);
            }
            Op::ScriptCo { left, right, on_timer } => {
                let scripted = Scripted { on_timer: on_timer.clone(), side: Tag::new("side"), ttl: None };
                let side = scripted.side;
                let (left, right) = (self.from(left).key_by(key_of), self.from(right).key_by(key_of));
                return with_side(left.connect(right).process(scripted).with_sides(side), side);
            }
            op => panic!("{}: the API has nothing for {op:?}", node.id),
        };
        main.into()
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
            Op::Window { from, function: WindowFunction::Aggregate(aggregate), .. } => match aggregate {
                Aggregate::Avg => true,
                Aggregate::Count | Aggregate::Concat | Aggregate::List => false,
                Aggregate::Sum | Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => {
                    self.is_double(from)
                }
            },
            Op::Window { .. } => false,
            op => op.inputs().first().is_some_and(|from| self.is_double(from)),
        }
    }
}

fn with_side<C: Chain<Out = Rec>>(stream: Stream<C>, side: Tag<Rec>) -> Outputs {
    let sides = vec![("side", stream.side_output(&side).owned().share())];
    Outputs { main: stream.share(), sides }
}

pub(super) fn millis(ms: i64) -> Duration {
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
        (FieldOp::Sum, _) if is_double && field == Field::Value => keyed.sum(double_mut).share(),
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

/// State in files to which it goes after a few records.
fn small_files() -> Backend {
    let options = LsmOptions {
        memory_bytes: 4 << 20,
        table_share: 0.000_1,
        block_bytes: 4096,
        runs_max: 2,
        ..LsmOptions::nvme()
    };
    Backend::Lsm(LsmBackend::new("").options(options))
}
