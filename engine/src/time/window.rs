//! Windows, and the slices that overlapping windows share.

use std::ops::{Range, RangeInclusive};

use super::Timestamp;

/// A span of event time, `[start, end)`, in ms. Source: Flink's `TimeWindow`.
///
/// ```
/// use thalweg::TimeWindow;
///
/// let window = TimeWindow { start: 0, end: 10_000 };
/// assert_eq!(window.max_timestamp(), 9_999);
/// assert!(window.intersects(TimeWindow { start: 10_000, end: 11_000 })); // Touching counts, as in Flink.
/// ```
#[derive(
    Copy,
    Clone,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct TimeWindow {
    /// The first millisecond in it.
    pub start: Timestamp,
    /// The first millisecond after it.
    pub end: Timestamp,
}

impl TimeWindow {
    /// The window of all time (Flink's `GlobalWindow`).
    pub const GLOBAL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// The last millisecond in it: the timestamp of its results, and the watermark that completes it. O(1). Source: Flink's
    /// `TimeWindow.maxTimestamp`.
    ///
    /// ```
    /// use thalweg::TimeWindow;
    ///
    /// assert_eq!(TimeWindow { start: 0, end: 1_000 }.max_timestamp(), 999);
    /// assert_eq!(TimeWindow::GLOBAL.max_timestamp(), i64::MAX); // The last watermark completes it.
    /// ```
    #[inline]
    pub fn max_timestamp(self) -> Timestamp {
        if self.end == i64::MAX { i64::MAX } else { self.end.wrapping_sub(1) }
    }

    /// Whether the two overlap or touch, so that session windows merge. Source: Flink's `TimeWindow.intersects`.
    ///
    /// ```
    /// use thalweg::TimeWindow;
    ///
    /// let window = |start, end| TimeWindow { start, end };
    /// assert!(window(0, 10).intersects(window(9, 20)));
    /// assert!(window(0, 10).intersects(window(10, 20)));
    /// assert!(!window(0, 10).intersects(window(11, 20)));
    /// ```
    #[inline]
    pub fn intersects(self, other: Self) -> bool {
        self.start <= other.end && self.end >= other.start
    }

    /// The least window that holds both, and what is between them. Source: Flink's `TimeWindow.cover`.
    ///
    /// ```
    /// use thalweg::TimeWindow;
    ///
    /// let (a, b) = (TimeWindow { start: 0, end: 10 }, TimeWindow { start: 8, end: 25 });
    /// assert_eq!(a.cover(b), TimeWindow { start: 0, end: 25 });
    /// ```
    #[inline]
    pub fn cover(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// The slices of tumbling or sliding windows: the longest spans that no window's edge cuts, or the windows themselves.
///
/// ```text
///   windows of 10 s every 4 s:   [0 ────────── 10)      [4 ────────── 14)      [8 …
///   slices of gcd = 2 s:         │0 │2 │4 │6 │8 │10│12│14│
/// ```
///
/// A record is kept in one slice, however many windows it belongs to. Source: "no pane, no gain" (Li et al. 2005), and the slicing
/// of Flink SQL's window TVFs. Where slices are put together their order takes the place of that of the records, so an aggregate to
/// which that matters has [whole](Self::whole) windows for slices, and a record goes into each of its windows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slicing {
    pub(crate) size: i64,
    pub(crate) slide: i64,
    /// `0 <= offset < slide`.
    pub(crate) offset: i64,
    /// Length of a slice.
    pub(crate) slice: i64,
    /// From the start of a slice to that of the next.
    step: i64,
}

impl Slicing {
    /// Windows of `size` every `slide` ms, both positive, shifted by `offset`.
    pub(crate) fn new(size: i64, slide: i64, offset: i64) -> Self {
        debug_assert!(size > 0 && slide > 0);
        let slice = gcd(size, slide);
        Self { size, slide, offset: offset.rem_euclid(slide), slice, step: slice }
    }

    /// The same windows, each of them one slice.
    pub(crate) fn whole(size: i64, slide: i64, offset: i64) -> Self {
        Self { slice: size, step: slide, ..Self::new(size, slide, offset) }
    }

    /// Whether a timestamp may be in several slices, or in none.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.step != self.slice
    }

    /// The number of the slice that holds `timestamp`; of several the last, of none the one before.
    #[inline]
    pub(crate) fn slice_of(&self, timestamp: Timestamp) -> i64 {
        (timestamp.saturating_sub(self.offset)).div_euclid(self.step)
    }

    /// The numbers of all slices that hold `timestamp`.
    pub(crate) fn slices_at(&self, timestamp: Timestamp) -> RangeInclusive<i64> {
        let before = timestamp.saturating_sub(self.offset).saturating_sub(self.slice).div_euclid(self.step);
        before + 1..=self.slice_of(timestamp)
    }

    /// The first millisecond of a slice.
    #[inline]
    pub(crate) fn start_of(&self, slice: i64) -> Timestamp {
        slice.saturating_mul(self.step).saturating_add(self.offset)
    }

    /// The first millisecond after a slice.
    #[inline]
    pub(crate) fn end_of(&self, slice: i64) -> Timestamp {
        self.start_of(slice).saturating_add(self.slice)
    }

    /// The earliest window that holds `slice` and ends at or after `end`; `None` if there is none.
    pub(crate) fn first_window(&self, slice: i64, end: Timestamp) -> Option<TimeWindow> {
        let start = self.start_of(slice);
        // Windows start at multiples of the slide, counted from the offset.
        let least =
            end.max(start.saturating_add(self.slice)).saturating_sub(self.size).saturating_sub(self.offset);
        let number = least.div_euclid(self.slide) + i64::from(least.rem_euclid(self.slide) > 0);
        let first = number.saturating_mul(self.slide).saturating_add(self.offset);
        (first <= start).then(|| TimeWindow { start: first, end: first.saturating_add(self.size) })
    }

    /// The last window that holds `slice`; `None` when the slice lies in a gap between windows.
    pub(crate) fn last_window(&self, slice: i64) -> Option<TimeWindow> {
        let start = self.start_of(slice);
        let last = (start.saturating_sub(self.offset))
            .div_euclid(self.slide)
            .saturating_mul(self.slide)
            .saturating_add(self.offset);
        let window = TimeWindow { start: last, end: last.saturating_add(self.size) };
        (window.end > start).then_some(window)
    }

    /// All windows that hold `slice`, those that begin last first: the order of Flink's `SlidingEventTimeWindows`.
    pub(crate) fn windows_of(self, slice: i64) -> impl Iterator<Item = TimeWindow> {
        let start = self.start_of(slice);
        std::iter::successors(self.last_window(slice), move |after| {
            let before = TimeWindow {
                start: after.start.checked_sub(self.slide)?,
                end: after.end.checked_sub(self.slide)?,
            };
            (self.slice < self.size && before.end > start).then_some(before)
        })
    }

    /// The numbers of the slices of a window.
    pub(crate) fn slices_of(&self, window: TimeWindow) -> Range<i64> {
        let first = self.slice_of(window.start);
        first..first + self.size / self.slice
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Flink's `TimeWindow.getWindowStartWithOffset`, as it is written there: what the tests compare with.
#[cfg(test)]
pub(crate) fn start_in_flink(timestamp: Timestamp, offset: i64, size: i64) -> Timestamp {
    let remainder = (timestamp - offset) % size;
    if remainder < 0 { timestamp - (remainder + size) } else { timestamp - remainder }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All windows that hold `timestamp`, by Flink's `SlidingEventTimeWindows.assignWindows`.
    fn windows_of(size: i64, slide: i64, offset: i64, timestamp: i64) -> Vec<TimeWindow> {
        let mut start = start_in_flink(timestamp, offset, slide);
        let mut windows = Vec::new();
        while start > timestamp - size {
            windows.push(TimeWindow { start, end: start + size });
            start -= slide;
        }
        windows.reverse();
        windows
    }

    #[test]
    fn slices_have_the_windows_of_their_timestamps() {
        for (size, slide, offset) in [(10, 10, 0), (10, 4, 0), (10, 2, 3), (3, 5, 1), (6, 9, -4), (7, 7, 5)] {
            let slicing = Slicing::new(size, slide, offset);
            for timestamp in -40..40 {
                let slice = slicing.slice_of(timestamp);
                assert!((slicing.start_of(slice)..slicing.end_of(slice)).contains(&timestamp));
                let expected = windows_of(size, slide, offset, timestamp);
                assert_eq!(
                    slicing.last_window(slice),
                    expected.last().copied(),
                    "{size} {slide} {offset} at {timestamp}"
                );
                let mut got = Vec::new();
                let mut end = i64::MIN + 100;
                while let Some(window) = slicing.first_window(slice, end) {
                    assert!(slicing.slices_of(window).contains(&slice));
                    got.push(window);
                    end = window.end + 1;
                }
                assert_eq!(got, expected, "{size} {slide} {offset} at {timestamp}");
                got.reverse();
                assert_eq!(slicing.windows_of(slice).collect::<Vec<_>>(), got);

                let slicing = Slicing::whole(size, slide, offset);
                let whole = slicing.slices_at(timestamp).map(|slice| {
                    let window = TimeWindow { start: slicing.start_of(slice), end: slicing.end_of(slice) };
                    assert_eq!(slicing.first_window(slice, i64::MIN + 100), Some(window));
                    assert_eq!(slicing.first_window(slice, window.end), Some(window));
                    assert_eq!(slicing.first_window(slice, window.end + 1), None);
                    assert_eq!(slicing.last_window(slice), Some(window));
                    assert_eq!(slicing.windows_of(slice).collect::<Vec<_>>(), [window]);
                    assert_eq!(slicing.slices_of(window), slice..slice + 1);
                    window
                });
                assert_eq!(whole.collect::<Vec<_>>(), expected, "{size} {slide} {offset} at {timestamp}");
            }
        }
    }
}
