//! The job of a case: a graph of operators, each with its functions.
//!
//! ```text
//!   {"id": "w", "op": "window", "from": "s", "assigner": …}   ◀── "w", "w#late" name its streams
//! ```
//!
//! Invariant: every field of a node is taken by its operator, or the node is refused. Times are in ms, event time
//! unless said otherwise.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::functions::{FieldAggregate, FlatMapFn, MapFn, Predicate, ProcessFn, Reduce, ValueType};
use super::pattern::Cep;
use super::script::Script;
use super::window::{TimeDomain, Trigger, WindowFunction, Windowing};

/// The job: its nodes in topological order, and which streams are observed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Between two ticks of periodic watermark generators, in ms; 200 unless given.
    pub auto_watermark_interval: Option<i64>,
    /// The operators.
    pub nodes: Vec<Node>,
    /// The observed streams, by the name of the output.
    pub outputs: BTreeMap<String, StreamRef>,
}

/// A stream: the main output of a node (`w`), or a side output (`w#late`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
#[expect(missing_docs, reason = "the fields say it")]
pub struct StreamRef {
    pub node: String,
    pub side: Option<String>,
}

impl From<String> for StreamRef {
    fn from(text: String) -> Self {
        match text.split_once('#') {
            Some((node, side)) => Self { node: node.to_owned(), side: Some(side.to_owned()) },
            None => Self { node: text, side: None },
        }
    }
}

impl fmt::Display for StreamRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.side {
            Some(side) => write!(f, "{}#{side}", self.node),
            None => f.write_str(&self.node),
        }
    }
}

/// An operator with its name in the job.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields say it")]
pub struct Node {
    pub id: String,
    pub op: Op,
}

/// An operator. Keyed ones partition by the record's key.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Op {
    Source {
        input: String,
        key_type: ValueType,
        value_type: ValueType,
    },
    Map {
        from: StreamRef,
        function: MapFn,
    },
    Filter {
        from: StreamRef,
        predicate: Predicate,
    },
    FlatMap {
        from: StreamRef,
        function: FlatMapFn,
    },
    Union {
        from: Vec<StreamRef>,
    },
    /// The others go to the side output `other`.
    Split {
        from: StreamRef,
        predicate: Predicate,
    },
    Rolling {
        from: StreamRef,
        function: Rolling,
    },
    Window {
        from: StreamRef,
        window: Windowing,
        function: WindowFunction,
        /// Whether there is a side output `late`.
        late_output: bool,
        /// Not keyed: one window for all records.
        all: bool,
    },
    WindowJoin {
        left: StreamRef,
        right: StreamRef,
        window: Windowing,
    },
    Cogroup {
        left: StreamRef,
        right: StreamRef,
        window: Windowing,
    },
    IntervalJoin(IntervalJoin),
    CoMap {
        left: StreamRef,
        right: StreamRef,
    },
    CoFlatMap {
        left: StreamRef,
        right: StreamRef,
    },
    ScriptCo {
        left: StreamRef,
        right: StreamRef,
        on_timer: Script,
    },
    ScriptBroadcast {
        from: StreamRef,
        broadcast: StreamRef,
        keyed: bool,
        on_timer: Script,
    },
    Script {
        from: StreamRef,
        on_timer: Script,
        ttl: Option<Ttl>,
    },
    AssignWatermarks {
        from: StreamRef,
        strategy: WatermarkStrategy,
        /// Whether the value becomes the timestamp.
        timestamp_from_value: bool,
        /// After how long without a record the stream is idle, in ms of processing time.
        idleness: Option<i64>,
    },
    Cep(Box<Cep>),
}

impl Op {
    /// The streams it reads, in the order of its inputs.
    pub fn inputs(&self) -> Vec<&StreamRef> {
        match self {
            Self::Source { .. } => Vec::new(),
            Self::Union { from } => from.iter().collect(),
            Self::Map { from, .. }
            | Self::Filter { from, .. }
            | Self::FlatMap { from, .. }
            | Self::Split { from, .. }
            | Self::Rolling { from, .. }
            | Self::Window { from, .. }
            | Self::Script { from, .. }
            | Self::AssignWatermarks { from, .. } => vec![from],
            Self::WindowJoin { left, right, .. }
            | Self::Cogroup { left, right, .. }
            | Self::CoMap { left, right }
            | Self::CoFlatMap { left, right }
            | Self::ScriptCo { left, right, .. } => vec![left, right],
            Self::IntervalJoin(join) => vec![&join.left, &join.right],
            Self::ScriptBroadcast { from, broadcast, .. } => vec![from, broadcast],
            Self::Cep(cep) => vec![&cep.from],
        }
    }

    /// The names of its side outputs.
    pub fn side_outputs(&self) -> Vec<&'static str> {
        let if_so = |side, so: bool| so.then_some(side);
        match self {
            Self::Split { .. } => vec!["other"],
            Self::Script { .. } | Self::ScriptCo { .. } | Self::ScriptBroadcast { .. } => vec!["side"],
            Self::Window { function, late_output, .. } => {
                let side = *function == WindowFunction::Process(ProcessFn::Side);
                [if_so("late", *late_output), if_so("side", side)].into_iter().flatten().collect()
            }
            Self::IntervalJoin(join) if join.late_output => vec!["late_left", "late_right"],
            Self::Cep(cep) => {
                let sides = [if_so("late", cep.late_output), if_so("timeout", cep.timeout_output)];
                sides.into_iter().flatten().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether it follows the processing-time clock, apart from what its records tell it to do.
    pub fn uses_processing_time(&self) -> bool {
        match self {
            Self::Window { window, .. } | Self::WindowJoin { window, .. } | Self::Cogroup { window, .. } => {
                window.assigner.time() == Some(TimeDomain::Processing)
                    || window.trigger.as_ref().is_some_and(Trigger::uses_processing_time)
            }
            Self::Script { on_timer, .. }
            | Self::ScriptCo { on_timer, .. }
            | Self::ScriptBroadcast { on_timer, .. } => on_timer.uses_processing_time(),
            Self::Cep(cep) => cep.time == TimeDomain::Processing,
            _ => false,
        }
    }
}

/// What a `rolling` node keeps for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the types say it")]
pub enum Rolling {
    Field(FieldAggregate),
    Reduce(Reduce),
}

/// An interval join; the bounds are on `right.ts - left.ts`, in ms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub struct IntervalJoin {
    pub left: StreamRef,
    pub right: StreamRef,
    pub lower: i64,
    pub upper: i64,
    #[serde(default)]
    pub lower_exclusive: bool,
    #[serde(default)]
    pub upper_exclusive: bool,
    /// Whether there are side outputs `late_left` and `late_right`.
    #[serde(default)]
    pub late_output: bool,
}

/// How long keyed state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub struct Ttl {
    pub ms: i64,
    pub update: TtlUpdate,
    pub visibility: TtlVisibility,
}

/// What renews an entry's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum TtlUpdate {
    CreateWrite,
    ReadWrite,
}

/// Whether an expired entry can still be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum TtlVisibility {
    NeverExpired,
    IfNotCleaned,
}

/// How watermarks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkStrategy {
    /// Periodically, `max ts - delay - 1`.
    #[expect(missing_docs, reason = "above")]
    Bounded { delay: i64 },
    /// Periodically, `max ts - 1`.
    Monotonous,
    /// Never, but for the final one.
    None,
    /// The timestamp of each record whose value is a multiple of `every`.
    #[expect(missing_docs, reason = "above")]
    Punctuated { every: i64 },
}

/// The fields of a node, which are taken out one by one, so that what nobody knows is left over.
struct Fields(serde_json::Map<String, Json>);

impl Fields {
    fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        let parse = |json| serde_json::from_value(json).map_err(|error| format!("{name}: {error}"));
        self.0.remove(name).map(parse).transpose()
    }

    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        self.optional(name)?.ok_or_else(|| format!("{name} is missing"))
    }

    fn take_or<T: DeserializeOwned>(&mut self, name: &str, default: T) -> Result<T, String> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    /// All that is left, as one thing.
    fn rest<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        serde_json::from_value(Json::Object(std::mem::take(&mut self.0))).map_err(|error| error.to_string())
    }

    fn windowing(&mut self) -> Result<Windowing, String> {
        Ok(Windowing {
            assigner: self.take("assigner")?,
            trigger: self.optional("trigger")?,
            evictor: self.optional("evictor")?,
            allowed_lateness: self.take_or("allowed_lateness", 0)?,
        })
    }

    fn rolling(&mut self) -> Result<Rolling, String> {
        let agg: String = self.take("agg")?;
        if agg == "reduce" {
            return self.take("fn").map(Rolling::Reduce);
        }
        let op = serde_json::from_value(Json::String(agg)).map_err(|error| format!("agg: {error}"))?;
        let field = self.take_or("field", Default::default())?;
        Ok(Rolling::Field(FieldAggregate { op, field, first: self.take_or("first", true)? }))
    }

    fn watermark_strategy(&mut self) -> Result<WatermarkStrategy, String> {
        match self.take::<String>("strategy")?.as_str() {
            "bounded" => Ok(WatermarkStrategy::Bounded { delay: self.take("delay")? }),
            "monotonous" => Ok(WatermarkStrategy::Monotonous),
            "none" => Ok(WatermarkStrategy::None),
            "punctuated" => Ok(WatermarkStrategy::Punctuated { every: self.take("every")? }),
            other => Err(format!("there is no watermark strategy {other}")),
        }
    }

    fn timestamp_from_value(&mut self) -> Result<bool, String> {
        match self.optional::<String>("timestamp")?.as_deref() {
            None => Ok(false),
            Some("value") => Ok(true),
            Some(other) => Err(format!("a timestamp cannot be taken from {other}")),
        }
    }

    fn op(&mut self) -> Result<Op, String> {
        Ok(match self.take::<String>("op")?.as_str() {
            "source" => Op::Source {
                input: self.take("input")?,
                key_type: self.take("key_type")?,
                value_type: self.take("value_type")?,
            },
            "map" => Op::Map { from: self.take("from")?, function: self.rest()? },
            "filter" => Op::Filter { from: self.take("from")?, predicate: self.take("pred")? },
            "flat_map" => Op::FlatMap { from: self.take("from")?, function: self.rest()? },
            "union" => Op::Union { from: self.take("from")? },
            "split" => Op::Split { from: self.take("from")?, predicate: self.take("pred")? },
            "rolling" => Op::Rolling { from: self.take("from")?, function: self.rolling()? },
            "window" => Op::Window {
                from: self.take("from")?,
                window: self.windowing()?,
                function: self.take("function")?,
                late_output: self.take_or("late_output", false)?,
                all: self.take_or("all", false)?,
            },
            "window_join" => Op::WindowJoin {
                left: self.take("left")?,
                right: self.take("right")?,
                window: self.windowing()?,
            },
            "cogroup" => Op::Cogroup {
                left: self.take("left")?,
                right: self.take("right")?,
                window: self.windowing()?,
            },
            "interval_join" => Op::IntervalJoin(self.rest()?),
            "co_map" => Op::CoMap { left: self.take("left")?, right: self.take("right")? },
            "co_flat_map" => Op::CoFlatMap { left: self.take("left")?, right: self.take("right")? },
            "script_co" => Op::ScriptCo {
                left: self.take("left")?,
                right: self.take("right")?,
                on_timer: self.take_or("on_timer", Script::default())?,
            },
            "script_broadcast" => Op::ScriptBroadcast {
                from: self.take("from")?,
                broadcast: self.take("broadcast")?,
                keyed: self.take_or("keyed", true)?,
                on_timer: self.take_or("on_timer", Script::default())?,
            },
            "script" => Op::Script {
                from: self.take("from")?,
                on_timer: self.take_or("on_timer", Script::default())?,
                ttl: self.optional("ttl")?,
            },
            "assign_watermarks" => Op::AssignWatermarks {
                from: self.take("from")?,
                strategy: self.watermark_strategy()?,
                timestamp_from_value: self.timestamp_from_value()?,
                idleness: self.optional("idleness")?,
            },
            "cep" => Op::Cep(Box::new(self.rest()?)),
            other => return Err(format!("there is no operator {other}")),
        })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Fields(serde_json::Map::deserialize(deserializer)?);
        let id: String = fields.take("id").map_err(de::Error::custom)?;
        let op = fields.op().map_err(|error| de::Error::custom(format_args!("node {id}: {error}")))?;
        match fields.0.into_iter().next() {
            Some((name, _)) => Err(de::Error::custom(format_args!("node {id}: a field {name} is not known"))),
            None => Ok(Self { id, op }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::functions::{Field, FieldOp};
    use crate::conformance::window::{Assigner, TimeDomain};

    fn parse(node: &str) -> Result<Op, String> {
        serde_json::from_str::<Node>(node).map(|node| node.op).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(op: Result<Op, String>, because: &str) {
        let error = op.unwrap_err();
        assert!(error.contains(because), "{error}");
    }

    #[test]
    fn windows_have_their_defaults() {
        let node = r#"{"id":"w","op":"window","from":"s","assigner":{"type":"tumbling","size":10},
            "function":{"type":"min_by"}}"#;
        let Op::Window { window, function, late_output, all, .. } = &parse(node).unwrap() else {
            panic!("not a window");
        };
        assert_eq!(window.assigner, Assigner::Tumbling { size: 10, offset: 0, time: TimeDomain::Event });
        assert_eq!((&window.trigger, &window.evictor, window.allowed_lateness), (&None, &None, 0));
        let by = FieldAggregate { op: FieldOp::MinBy, field: Field::Value, first: true };
        assert_eq!((*function, *late_output, *all), (WindowFunction::Field(by), false, false));
    }

    #[test]
    fn nothing_is_ignored() {
        let window = |fields: &str| {
            parse(&format!(
                r#"{{"id":"w","op":"window","from":"s","assigner":{{"type":"tumbling","size":10}},{fields}}}"#
            ))
        };
        assert!(window(r#""function":{"type":"process","fn":"sorted"}"#).is_ok());
        refused(window(r#""function":{"type":"process","fn":"sorted","n":1}"#), "unknown field `n`");
        refused(window(r#""function":{"type":"process","fn":"odd"}"#), "unknown variant `odd`");
        refused(window(r#""function":{"type":"sum","fn":"sum"}"#), "sum has no fn");
        refused(window(r#""function":{"type":"process","fn":"wm"},"colour":1"#), "colour is not known");
        refused(
            window(r#""function":{"type":"process","fn":"wm"},"trigger":{"type":"event_time","n":1}"#),
            "unknown field `n`",
        );
        refused(parse(r#"{"id":"w","op":"map","from":"s","fn":"identity","n":1}"#), "unknown field `n`");
        refused(parse(r#"{"id":"w","op":"fold","from":"s"}"#), "no operator fold");
        refused(
            parse(r#"{"id":"w","op":"script","from":"s","on_timer":"v.st"}"#),
            "\"v.st\" is not a command",
        );
    }
}
