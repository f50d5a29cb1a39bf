//! `thalweg bench`: what people run first.
//!
//! - [`nexmark`]: throughput and cost of the NEXMark queries, with digests that other engines must agree on;
//! - [`latency`]: the time from when an event was due to its result, by percentile, at a given rate;
//! - [`exchange`]: what it costs to bring a record from one subtask to another;
//! - [`backend`]: where they keep their state;
//! - [`state`]: what state stores do under the accesses of a keyed operator.

pub mod backend;
pub mod exchange;
pub mod latency;
pub mod nexmark;
pub mod state;
