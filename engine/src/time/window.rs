//! Windows: spans of time that records are gathered in.

use super::Timestamp;

/// A window: the records from `start` to before `end`, in ms. Source: Flink's `TimeWindow` and `GlobalWindow`.
///
/// ```
/// let window = thalweg::TimeWindow { start: 0, end: 10 };
/// assert_eq!(window.max_timestamp(), 9);
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct TimeWindow {
    /// The first timestamp in it.
    pub start: Timestamp,
    /// The first timestamp after it.
    pub end: Timestamp,
}

impl TimeWindow {
    /// The window that all records are in. It has no end.
    pub const GLOBAL: TimeWindow = TimeWindow { start: i64::MIN, end: i64::MAX };

    /// The last timestamp in it, which its results carry; `i64::MAX` for [`TimeWindow::GLOBAL`].
    #[inline]
    pub fn max_timestamp(&self) -> Timestamp {
        if *self == Self::GLOBAL { i64::MAX } else { self.end.wrapping_sub(1) }
    }
}
