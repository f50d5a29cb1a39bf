//! Windows.
//!
//! ```text
//!   sender:    record ─▶ combiner: (key, slice) → accumulator ═══ exchange ═══▶ receiver: slices or sessions ─▶ results
//! ```
//!
//! - [`combiner`]: aggregates in part before the exchange;
//! - [`slices`]: tumbling and sliding windows over accumulators;
//! - [`sessions`]: session windows over accumulators;
//! - [`general`]: windows with any assigner, trigger, lateness and function, over the records themselves;
//! - [`function`]: what those keep of their records, and what they make of it; [`join`]: how that becomes a join.

pub(crate) mod combiner;
pub(crate) mod function;
pub(crate) mod general;
pub(crate) mod join;
pub(crate) mod sessions;
pub(crate) mod slices;
