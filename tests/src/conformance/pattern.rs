//! The patterns of `cep` jobs. Durations are in ms.

use serde::Deserialize;

use super::functions::Predicate;
use super::job::StreamRef;
use super::window::TimeDomain;

/// A pattern to be found in a stream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub struct Cep {
    pub from: StreamRef,
    pub pattern: Vec<Stage>,
    pub within: Option<i64>,
    #[serde(default = "no_skip")]
    pub skip: Skip,
    #[serde(default = "yes")]
    pub keyed: bool,
    #[serde(default)]
    pub time: TimeDomain,
    /// Whether there is a side output `late`.
    #[serde(default)]
    pub late_output: bool,
    /// Whether there is a side output `timeout`.
    #[serde(default)]
    pub timeout_output: bool,
}

/// Which matches a match puts an end to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Skip {
    NoSkip {},
    SkipToNext {},
    SkipPastLast {},
    SkipToFirst { name: String },
    SkipToLast { name: String },
}

/// One stage of a pattern.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub struct Stage {
    pub name: String,
    pub contiguity: Option<Contiguity>,
    pub pred: Option<Predicate>,
    pub or: Option<Predicate>,
    pub iter: Option<IterativeCondition>,
    pub times: Option<Vec<i64>>,
    pub times_or_more: Option<i64>,
    #[serde(default)]
    pub one_or_more: bool,
    #[serde(default)]
    pub greedy: bool,
    #[serde(default)]
    pub consecutive: bool,
    #[serde(default)]
    pub allow_combinations: bool,
    pub until: Option<Predicate>,
    #[serde(default)]
    pub optional: bool,
    pub within_previous: Option<i64>,
}

/// How a stage follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Contiguity {
    Next,
    FollowedBy,
    FollowedByAny,
    NotNext,
    NotFollowedBy,
}

/// A condition on the events already accepted for the stage `ref`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "fn", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum IterativeCondition {
    GtLast {
        #[serde(rename = "ref")]
        stage: String,
    },
    #[serde(rename = "sum_lt_10")]
    SumLt10 {
        #[serde(rename = "ref")]
        stage: String,
    },
    GtSum {
        #[serde(rename = "ref")]
        stage: String,
    },
}

fn yes() -> bool {
    true
}

fn no_skip() -> Skip {
    Skip::NoSkip {}
}
