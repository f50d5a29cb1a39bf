//! The windows of a job: which there are, when they fire, what they emit.
//!
//! ```text
//!   record ── assigner ──▶ windows ── trigger ──▶ fire ── evictor ──▶ function ──▶ result
//!                             └── allowed lateness ──▶ forgotten
//! ```
//!
//! Sizes, slides, offsets, gaps, intervals and timeouts are in ms; the sizes of count windows in records.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::functions::{Aggregate, Field, FieldAggregate, FieldOp, ProcessFn, Reduce};
use super::value::Value;

/// When windows are, fire and are forgotten.
#[derive(Debug, Clone, PartialEq)]
pub struct Windowing {
    /// Which windows a record is in.
    pub assigner: Assigner,
    /// When they fire; the assigner's default unless given.
    pub trigger: Option<Trigger>,
    /// What is dropped from them when they fire.
    pub evictor: Option<Evictor>,
    /// How long after their end they are kept, in ms; 0 unless given.
    pub allowed_lateness: i64,
}

/// Which clock windows follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum TimeDomain {
    #[default]
    Event,
    Processing,
}

/// Which windows a record is in. Sizes, slides, offsets and gaps are in ms, those of count windows in records.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Assigner {
    Tumbling {
        size: i64,
        #[serde(default)]
        offset: i64,
        #[serde(default)]
        time: TimeDomain,
    },
    Sliding {
        size: i64,
        slide: i64,
        #[serde(default)]
        offset: i64,
        #[serde(default)]
        time: TimeDomain,
    },
    Session {
        gap: i64,
        #[serde(default)]
        time: TimeDomain,
    },
    /// The gap is the record's third field.
    SessionDynamic {
        #[serde(default)]
        time: TimeDomain,
    },
    Global {
        #[serde(default)]
        end_of_stream_trigger: bool,
    },
    CountTumbling {
        size: i64,
    },
    CountSliding {
        size: i64,
        slide: i64,
    },
}

impl Assigner {
    /// The clock it follows, if it follows one.
    pub fn time(&self) -> Option<TimeDomain> {
        match self {
            Self::Tumbling { time, .. }
            | Self::Sliding { time, .. }
            | Self::Session { time, .. }
            | Self::SessionDynamic { time } => Some(*time),
            Self::Global { .. } | Self::CountTumbling { .. } | Self::CountSliding { .. } => None,
        }
    }
}

/// When a window fires. Intervals and timeouts are in ms.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Trigger {
    EventTime {},
    ProcessingTime {},
    Count {
        n: i64,
    },
    Purging {
        inner: Box<Trigger>,
    },
    Delta {
        threshold: f64,
    },
    ContinuousEventTime {
        interval: i64,
    },
    ContinuousProcessingTime {
        interval: i64,
    },
    ProcessingTimeout {
        inner: Box<Trigger>,
        timeout: i64,
        reset_on_new_record: bool,
        clear_on_timeout: bool,
    },
    EarlyCount {
        n: i64,
        #[serde(default)]
        purge: bool,
    },
    OnValue {
        v: Value,
        #[serde(default)]
        purge: bool,
    },
}

impl Trigger {
    /// Whether it, or one inside it, follows the processing-time clock.
    pub fn uses_processing_time(&self) -> bool {
        match self {
            Self::Purging { inner } => inner.uses_processing_time(),
            Self::ProcessingTime {}
            | Self::ContinuousProcessingTime { .. }
            | Self::ProcessingTimeout { .. } => true,
            _ => false,
        }
    }
}

/// What is dropped from a window when it fires, before the function or after it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Evictor {
    Count {
        n: i64,
        #[serde(default)]
        after: bool,
    },
    Time {
        window: i64,
        #[serde(default)]
        after: bool,
    },
    Delta {
        threshold: f64,
        #[serde(default)]
        after: bool,
    },
}

/// What a window emits when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawWindowFunction")]
pub enum WindowFunction {
    /// The reduced record.
    Reduce(Reduce),
    /// The aggregate alone.
    Aggregate(Aggregate),
    /// `sum`, `min` …: a record.
    Field(FieldAggregate),
    /// The window and the aggregate, kept incrementally.
    AggregateProcess(Aggregate),
    /// The window and the reduced value, kept incrementally.
    ReduceProcess(Reduce),
    /// A function of all values.
    Process(ProcessFn),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindowFunction {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "fn")]
    function: Option<Json>,
    field: Option<Field>,
    first: Option<bool>,
}

impl TryFrom<RawWindowFunction> for WindowFunction {
    type Error = String;

    fn try_from(raw: RawWindowFunction) -> Result<Self, String> {
        fn parse<T: DeserializeOwned>(function: Option<Json>) -> Result<T, String> {
            serde_json::from_value(function.unwrap_or_default()).map_err(|error| format!("fn: {error}"))
        }
        let RawWindowFunction { kind, function, field, first } = raw;
        if let Ok(op) = serde_json::from_value::<FieldOp>(Json::String(kind.clone())) {
            if function.is_some() {
                return Err(format!("{kind} has no fn"));
            }
            let (field, first) = (field.unwrap_or_default(), first.unwrap_or(true));
            return Ok(Self::Field(FieldAggregate { op, field, first }));
        }
        if field.is_some() || first.is_some() {
            return Err(format!("{kind} has neither field nor first"));
        }
        match kind.as_str() {
            "reduce" => parse(function).map(Self::Reduce),
            "aggregate" => parse(function).map(Self::Aggregate),
            "aggregate_process" => parse(function).map(Self::AggregateProcess),
            "reduce_process" => parse(function).map(Self::ReduceProcess),
            "process" => parse(function).map(Self::Process),
            _ => Err(format!("there is no window function {kind}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_nest() {
        let text = r#"{"type":"purging","inner":{"type":"processing_timeout","inner":{"type":"count","n":3},
            "timeout":5,"reset_on_new_record":false,"clear_on_timeout":true}}"#;
        let trigger: Trigger = serde_json::from_str(text).unwrap();
        assert!(trigger.uses_processing_time());
        assert!(matches!(trigger, Trigger::Purging { inner } if
            matches!(&*inner, Trigger::ProcessingTimeout { timeout: 5, .. })));
    }
}
