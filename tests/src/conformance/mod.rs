//! The conformance corpus: jobs as data, with outputs that real Flink operators produced.
//!
//! ```text
//!   *.jsonl ── case ──▶ job, inputs, interleaving ──▶ (the engine) ──▶ outputs ─┐
//!                └────▶ expected outputs ─────────────────────────────────────▶ compare
//! ```
//!
//! In reading order: [`value`] (the record of every case), [`case`](mod@case), [`job`], [`window`] and [`pattern`]
//! (the format), [`functions`] and [`script`] (the user functions a job names), [`support`] (what is not run yet,
//! and why), [`compare`] (the verdict).
//!
//! Invariants:
//! - nothing in a case is ignored: a field, an operator or a function that is not known is an error;
//! - everything here is pure: no clock, no thread, no engine. How a job is run is the test's business.

pub mod case;
pub mod compare;
pub mod functions;
pub mod job;
pub mod pattern;
pub mod script;
pub mod support;
pub mod value;
pub mod window;
