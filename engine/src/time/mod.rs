//! Event time: timestamps, watermarks, windows and triggers. Pure.
//!
//! - [`watermark`]: how the watermarks of several inputs become one;
//! - [`strategy`]: how a stream's records make watermarks;
//! - [`window`]: spans of time; [`assigner`]: which of them a record is in;
//! - [`trigger`]: when a window fires.

pub(crate) mod assigner;
pub(crate) mod strategy;
pub(crate) mod trigger;
pub(crate) mod watermark;
pub(crate) mod window;

/// Milliseconds since the epoch, as everywhere in Flink. Before it they are negative; `i64::MIN` is [`NO_TIMESTAMP`].
///
/// ```
/// use std::time::{SystemTime, UNIX_EPOCH};
/// use thalweg::Timestamp;
///
/// let now: Timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?;
/// assert!(now > 1_700_000_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Timestamp = i64;

/// The timestamp of a record that has none (Flink's `Long.MIN_VALUE`).
pub const NO_TIMESTAMP: Timestamp = i64::MIN;

/// The watermark of an input that has ended: no record can follow (Flink's `Watermark.MAX_WATERMARK`).
pub const MAX_WATERMARK: Timestamp = i64::MAX;
