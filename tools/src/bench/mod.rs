//! `thalweg bench`: what people run first.
//!
//! - [`nexmark`]: throughput and cost of the NEXMark queries, with digests that other engines must agree on.

pub mod nexmark;
