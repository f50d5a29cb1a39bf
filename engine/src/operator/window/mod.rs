//! Windows.
//!
//! ```text
//!   sender:    record ─▶ combiner: (key, slice) → accumulator ═══ exchange ═══▶ receiver: slices or sessions ─▶ results
//! ```
//!
//! - [`combiner`]: aggregates in part before the exchange;
//! - [`slices`]: tumbling and sliding windows over accumulators;
//! - [`sessions`]: session windows over accumulators.

pub(crate) mod combiner;
pub(crate) mod sessions;
pub(crate) mod slices;
