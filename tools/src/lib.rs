//! What the `thalweg` command is made of: NEXMark data, and reports.
//!
//! - [`nexmark`]: the data sets, the reader of events, and the digest of results;
//! - [`report`]: what a run has to say, as JSON, as a table, as a plot.

#![forbid(unsafe_code)]

pub mod bench;
pub mod nexmark;
pub mod report;
