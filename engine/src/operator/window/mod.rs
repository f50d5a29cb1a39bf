//! Windows: records of a key gathered over a span of time.
//!
//! - [`function`]: what is kept of a window's records, and what is made of it;
//! - [`general`]: the operator for windows with any assigner, trigger, lateness and function;
//! - [`join`]: what makes it a join.

pub(crate) mod function;
pub(crate) mod general;
pub(crate) mod join;
