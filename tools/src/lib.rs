//! What the `thalweg` command is made of: NEXMark data, reports, and a look into stores.
//!
//! - [`nexmark`]: the data sets, the reader of events, and the digest of results;
//! - [`report`]: what a run has to say, as JSON, as a table, as a plot;
//! - [`state`]: what is in a store, and whether all of it is as it was written.

#![forbid(unsafe_code)]

pub mod bench;
pub mod nexmark;
pub mod report;
pub mod state;
