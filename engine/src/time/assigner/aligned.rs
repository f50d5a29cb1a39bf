//! Windows at multiples of a slide: tumbling and sliding.

use std::time::Duration;

use super::super::Timestamp;
use super::super::trigger::EventTime;
use super::super::window::TimeWindow;
use super::{InParts, OnProcessingTime, WindowAssigner, WindowError, event_time, millis, window_start};

/// Windows of one size, one after the other. In ms; aligned to the epoch unless an offset is set.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{TimeWindow, Tumbling, WindowAssigner};
///
/// let mut windows = Vec::new();
/// Tumbling::of(Duration::from_millis(10)).assign(&'a', 25, 0, &mut windows)?;
/// assert_eq!(windows, [TimeWindow { start: 20, end: 30 }]);
/// # Ok::<(), thalweg::WindowError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Tumbling {
    pub(crate) size_ms: i64,
    pub(crate) offset_ms: i64,
}

impl Tumbling {
    /// Windows of `size`, whole milliseconds. Errors: `Error::Plan` at `execute` when it is less than one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Error, Tumbling, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let numbers = env.from_elements([9_i64, 10, 11]).watermarks(monotonous().by(|n: &i64| *n)).share();
    /// let sums = numbers.stream().owned().window_all(Tumbling::of(Duration::from_millis(10))).sum(|n| n).collect();
    /// env.execute()?;
    /// assert_eq!(sums.take(), [9, 21]);
    ///
    /// numbers.stream().owned().window_all(Tumbling::of(Duration::from_micros(999))).sum(|n| n).blackhole();
    /// assert!(matches!(env.execute(), Err(Error::Plan(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn of(size: Duration) -> Self {
        Self { size_ms: millis(size), offset_ms: 0 }
    }

    /// Starts the windows this much later than the epoch. Default: zero. Errors: `Error::Plan` when it is not less than the size.
    ///
    /// Source: Flink's *offset*. For a negative one see [`Tumbling::offset_back`].
    ///
    /// Hours that begin at a quarter past:
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{TimeWindow, Tumbling, WindowAssigner};
    ///
    /// const MINUTE: i64 = 60_000;
    /// let minutes = |n: u64| Duration::from_secs(n * 60);
    /// let mut windows = Vec::new();
    /// Tumbling::of(minutes(60)).offset(minutes(15)).assign(&'a', 70 * MINUTE, 0, &mut windows)?;
    /// assert_eq!(windows, [TimeWindow { start: 15 * MINUTE, end: 75 * MINUTE }]);
    /// # Ok::<(), thalweg::WindowError>(())
    /// ```
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset_ms: millis(offset), ..self }
    }

    /// Starts the windows this much earlier than the epoch. Errors: `Error::Plan` when it is not less than the size.
    ///
    /// Days of China, which begin eight hours before those of Greenwich:
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{TimeWindow, Tumbling, WindowAssigner};
    ///
    /// const HOUR: i64 = 3_600_000;
    /// let hours = |n: u64| Duration::from_secs(n * 3_600);
    /// let mut windows = Vec::new();
    /// Tumbling::of(hours(24)).offset_back(hours(8)).assign(&'a', 17 * HOUR, 0, &mut windows)?;
    /// assert_eq!(windows, [TimeWindow { start: 16 * HOUR, end: 40 * HOUR }]);
    /// # Ok::<(), thalweg::WindowError>(())
    /// ```
    pub fn offset_back(self, offset: Duration) -> Self {
        Self { offset_ms: -millis(offset), ..self }
    }

    /// The same windows on the processing-time clock: see [`OnProcessingTime`]. Source: Flink's `TumblingProcessingTimeWindows`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Tumbling};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let sums = Recorder::new();
    /// let windows = env.source("script", source).window_all(Tumbling::of(Duration::from_millis(10)).processing_time());
    /// windows.sum(|n| n).sink("sums", sums.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// for (clock, n) in [(5, 1), (9, 2), (10, 4), (20, 8)] {
    ///     job.advance_clock_to(clock)?;
    ///     input.record(n, 1_000); // Its timestamp does not matter.
    /// }
    /// job.run_until_quiet()?;
    /// assert_eq!(sums.take_records(), [3, 4]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn processing_time(self) -> OnProcessingTime<Self> {
        OnProcessingTime(self)
    }

    #[inline]
    pub(super) fn window(&self, time: Timestamp) -> TimeWindow {
        let start = window_start(time, self.offset_ms, self.size_ms);
        TimeWindow { start, end: start.wrapping_add(self.size_ms) }
    }

    pub(crate) fn valid(&self) -> Result<(), String> {
        match self {
            Self { size_ms, .. } if *size_ms <= 0 => {
                Err("tumbling windows need a size of at least 1 ms".into())
            }
            Self { size_ms, offset_ms } if offset_ms.saturating_abs() >= *size_ms => Err(format!(
                "the offset of tumbling windows, {offset_ms} ms, must be smaller than their size, {size_ms} ms, either way"
            )),
            _ => Ok(()),
        }
    }
}

impl<T> WindowAssigner<T> for Tumbling {
    type Trigger = EventTime;
    type Path = InParts;
    const MERGING: bool = false;

    #[inline]
    fn assign(
        &self,
        _record: &T,
        timestamp: Timestamp,
        _now: Timestamp,
        into: &mut Vec<TimeWindow>,
    ) -> Result<(), WindowError> {
        into.push(self.window(event_time(timestamp)?));
        Ok(())
    }

    fn default_trigger(&self) -> EventTime {
        EventTime
    }

    fn is_event_time(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        self.valid()
    }
}

/// Windows of one size that begin one slide after the other. In ms; aligned to the epoch unless an offset is set.
///
/// A slide greater than the size leaves gaps: records there are in no window.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Sliding, TimeWindow, WindowAssigner};
///
/// let mut windows = Vec::new();
/// let (ten, five) = (Duration::from_millis(10), Duration::from_millis(5));
/// Sliding::of(ten).every(five).assign(&'a', 12, 0, &mut windows)?;
/// assert_eq!(windows, [TimeWindow { start: 10, end: 20 }, TimeWindow { start: 5, end: 15 }]);
/// # Ok::<(), thalweg::WindowError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Sliding {
    pub(crate) size_ms: i64,
    pub(crate) slide_ms: i64,
    pub(crate) offset_ms: i64,
}

impl Sliding {
    /// Windows of `size`, whole milliseconds, which follow each other by their size until [`Sliding::every`] says otherwise.
    ///
    /// Errors: `Error::Plan` at `execute` when it is less than one millisecond.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Sliding, TimeWindow, WindowAssigner};
    ///
    /// let mut windows = Vec::new();
    /// Sliding::of(Duration::from_secs(1)).assign(&'a', 1_500, 0, &mut windows)?;
    /// assert_eq!(windows, [TimeWindow { start: 1_000, end: 2_000 }]);
    /// # Ok::<(), thalweg::WindowError>(())
    /// ```
    pub fn of(size: Duration) -> Self {
        Self { size_ms: millis(size), slide_ms: millis(size), offset_ms: 0 }
    }

    /// A window begins every `slide`, so a record is in size / slide of them, rounded up or down. Default: the size. Errors:
    /// `Error::Plan` at `execute` when it is less than one millisecond.
    ///
    /// Cost: an aggregate is kept once for each slice, the greatest common divisor of both; a function over all records has a
    /// copy of a record for each window.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Sliding, TimeWindow, WindowAssigner};
    ///
    /// let often = Sliding::of(Duration::from_millis(10)).every(Duration::from_millis(4));
    /// let seldom = Sliding::of(Duration::from_millis(10)).every(Duration::from_millis(25));
    /// let starts = |assigner: Sliding, timestamp| {
    ///     let mut windows = Vec::new();
    ///     assigner.assign(&'a', timestamp, 0, &mut windows).map(|()| windows.iter().map(|w| w.start).collect::<Vec<_>>())
    /// };
    /// assert_eq!(starts(often, 9)?, [8, 4, 0]);
    /// assert_eq!((starts(seldom, 9)?, starts(seldom, 10)?), (vec![0], vec![])); // From 10 to 25 there is a gap.
    /// # Ok::<(), thalweg::WindowError>(())
    /// ```
    pub fn every(self, slide: Duration) -> Self {
        Self { slide_ms: millis(slide), ..self }
    }

    /// Starts the windows this much later than the epoch. Default: zero. Errors: `Error::Plan` when it is not less than the slide.
    ///
    /// Source: Flink's *offset*. For a negative one see [`Sliding::offset_back`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Sliding, TimeWindow, WindowAssigner};
    ///
    /// let (ten, five, two) = (Duration::from_millis(10), Duration::from_millis(5), Duration::from_millis(2));
    /// let mut windows = Vec::new();
    /// Sliding::of(ten).every(five).offset(two).assign(&'a', 13, 0, &mut windows)?;
    /// assert_eq!(windows, [TimeWindow { start: 12, end: 22 }, TimeWindow { start: 7, end: 17 }]);
    /// # Ok::<(), thalweg::WindowError>(())
    /// ```
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset_ms: millis(offset), ..self }
    }

    /// Starts the windows this much earlier than the epoch. Errors: `Error::Plan` when it is not less than the slide.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Sliding, TimeWindow, WindowAssigner};
    ///
    /// let (ten, five, two) = (Duration::from_millis(10), Duration::from_millis(5), Duration::from_millis(2));
    /// let mut windows = Vec::new();
    /// Sliding::of(ten).every(five).offset_back(two).assign(&'a', 13, 0, &mut windows)?;
    /// assert_eq!(windows, [TimeWindow { start: 13, end: 23 }, TimeWindow { start: 8, end: 18 }]);
    /// # Ok::<(), thalweg::WindowError>(())
    /// ```
    pub fn offset_back(self, offset: Duration) -> Self {
        Self { offset_ms: -millis(offset), ..self }
    }

    /// The same windows on the processing-time clock: see [`OnProcessingTime`]. Source: Flink's `SlidingProcessingTimeWindows`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{NO_TIMESTAMP, Sliding, TimeWindow, WindowAssigner};
    ///
    /// let sliding = Sliding::of(Duration::from_millis(10)).every(Duration::from_millis(5)).processing_time();
    /// let mut windows = Vec::new();
    /// sliding.assign(&'a', NO_TIMESTAMP, 33, &mut windows)?; // The clock shows 33.
    /// assert_eq!(windows, [TimeWindow { start: 30, end: 40 }, TimeWindow { start: 25, end: 35 }]);
    /// # Ok::<(), thalweg::WindowError>(())
    /// ```
    pub fn processing_time(self) -> OnProcessingTime<Self> {
        OnProcessingTime(self)
    }

    /// The last window to begin comes first.
    #[inline]
    pub(super) fn windows(&self, time: Timestamp, into: &mut Vec<TimeWindow>) {
        let mut start = window_start(time, self.offset_ms, self.slide_ms);
        while start > time.saturating_sub(self.size_ms) {
            into.push(TimeWindow { start, end: start.wrapping_add(self.size_ms) });
            let Some(before) = start.checked_sub(self.slide_ms) else { break }; // Java would go on for ever.
            start = before;
        }
    }

    pub(crate) fn valid(&self) -> Result<(), String> {
        let Self { size_ms, slide_ms, offset_ms } = *self;
        if size_ms <= 0 || slide_ms <= 0 {
            return Err("sliding windows need a size and a slide of at least 1 ms".into());
        }
        if offset_ms.saturating_abs() >= slide_ms {
            return Err(format!(
                "the offset of sliding windows, {offset_ms} ms, must be smaller than their slide, {slide_ms} ms, either way"
            ));
        }
        Ok(())
    }
}

impl<T> WindowAssigner<T> for Sliding {
    type Trigger = EventTime;
    type Path = InParts;
    const MERGING: bool = false;

    #[inline]
    fn assign(
        &self,
        _record: &T,
        timestamp: Timestamp,
        _now: Timestamp,
        into: &mut Vec<TimeWindow>,
    ) -> Result<(), WindowError> {
        self.windows(event_time(timestamp)?, into);
        Ok(())
    }

    fn default_trigger(&self) -> EventTime {
        EventTime
    }

    fn is_event_time(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        self.valid()
    }
}
