//! What the tests of thalweg share: models of what a job must do, and the means to run and compare.
//!
//! - [`allocations`]: an allocator that counts;
//! - [`conformance`]: cases whose expected outputs come from real Flink operators;
//! - [`runner`]: runs a case on thalweg.
//!
//! The tests themselves are in `tests/`, one binary per subject.

pub mod allocations;
pub mod conformance;
pub mod runner;
