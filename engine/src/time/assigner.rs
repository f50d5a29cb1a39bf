//! Which windows a record is in.
//!
//! ```text
//!   Tumbling   [0    )[10   )[20   )      aligned to the epoch and an offset, each record in one
//!   Sliding    [0         )               the same, each record in size / slide of them
//!                   [10        )
//!   Session    [3  · ·  )   [21 )         from a record to a gap after it; those that meet become one
//!   Global     ( everything )             fires when a trigger says so
//! ```
//!
//! Invariants:
//! - a record without timestamp is in no event-time window: the job fails;
//! - windows of one key that merge are never left overlapping or touching.
//!
//! Source: Flink's `TumblingEventTimeWindows`, `SlidingEventTimeWindows`, `EventTimeSessionWindows`, `GlobalWindows` and
//! their processing-time variants. Their arithmetic is Java's, so it wraps.

use std::marker::PhantomData;
use std::time::Duration;

use super::trigger::{EndOfStream, EventTime, Never, ProcessingTime, Trigger};
use super::window::TimeWindow;
use super::{NO_TIMESTAMP, Timestamp};

/// Why a record is in no window. The job fails with it.
///
/// ```
/// use thalweg::{Timestamp, TimeWindow, Tumbling, WindowAssigner, NO_TIMESTAMP};
/// let minutes = Tumbling::of(std::time::Duration::from_secs(60));
/// let mut windows = Vec::new();
/// assert!(minutes.assign(&'a', NO_TIMESTAMP, 0, &mut windows).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// Event time needs timestamps: a source that sets them, or a watermark strategy with `by`.
    #[error(
        "a record without timestamp came to an event-time window: give the stream a watermark strategy with timestamps"
    )]
    NoTimestamp,
    /// A session must last for a while.
    #[error("the gap of a session must be positive, not {0} ms")]
    Gap(i64),
}

/// Says which windows a record is in, and when they fire unless told otherwise.
///
/// `T` is the record as the operator sees it, behind the exchange. [`Tumbling`], [`Sliding`], [`Session`] and [`Global`] are
/// assigners; another must be deterministic. Source: Flink's `WindowAssigner`.
///
/// One that puts records into windows of ten milliseconds, or of a hundred before noon of the first day:
///
/// ```
/// use thalweg::{EventTime, PerRecord, TimeWindow, Timestamp, WindowAssigner, WindowError};
///
/// #[derive(Clone)]
/// struct Coarse;
///
/// impl<T> WindowAssigner<T> for Coarse {
///     type Trigger = EventTime;
///     type Path = PerRecord;
///     const MERGING: bool = false;
///
///     fn assign(&self, _: &T, timestamp: Timestamp, _: Timestamp, into: &mut Vec<TimeWindow>) -> Result<(), WindowError> {
///         let size = if timestamp < 12 * 3_600_000 { 100 } else { 10 };
///         let start = timestamp - timestamp.rem_euclid(size);
///         into.push(TimeWindow { start, end: start + size });
///         Ok(())
///     }
///
///     fn default_trigger(&self) -> EventTime {
///         EventTime
///     }
///
///     fn is_event_time(&self) -> bool {
///         true
///     }
/// }
///
/// let env = thalweg::Env::new().parallelism(1);
/// let sums = env
///     .from_elements([1_i64, 99, 100])
///     .watermarks(thalweg::monotonous().by(|n: &i64| *n))
///     .window_all(Coarse)
///     .sum(|n| n)
///     .collect();
/// env.execute()?;
/// assert_eq!(sums.take(), [100, 100]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not put records of type `{T}` into windows",
    label = "not an assigner of windows for `{T}`",
    note = "assigners are `Tumbling`, `Sliding`, `Session`, `Global`, and types of one's own that implement `WindowAssigner<{T}>`"
)]
pub trait WindowAssigner<T>: Clone + Send + Sync + 'static {
    /// What fires its windows by default.
    type Trigger: Trigger<T>;
    /// How they are computed: [`PerRecord`] but for the assigners of this crate.
    type Path;
    /// Whether windows of a key that overlap or touch become one.
    const MERGING: bool;

    /// Puts the windows of `record` into `into`, which is empty. `timestamp` is the record's, in ms, [`NO_TIMESTAMP`] if it has
    /// none; `now` is the processing-time clock, in ms. None at all: the record is dropped.
    fn assign(
        &self,
        record: &T,
        timestamp: Timestamp,
        now: Timestamp,
        into: &mut Vec<TimeWindow>,
    ) -> Result<(), WindowError>;

    /// What fires its windows by default.
    fn default_trigger(&self) -> Self::Trigger;

    /// Whether its windows pass with the watermark. If not, nothing is late, and time is the processing-time clock.
    fn is_event_time(&self) -> bool;

    /// What is wrong with its sizes, reported when the job executes.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Windows that are aggregated in parts, before and behind the exchange: the [`WindowAssigner::Path`] of [`Tumbling`],
/// [`Sliding`] and [`Session`].
#[derive(Debug)]
pub struct InParts;

/// Windows that take their records one by one, behind the exchange: the [`WindowAssigner::Path`] of an assigner of one's own.
/// [`WindowAssigner`] has an example.
#[derive(Debug)]
pub struct PerRecord;

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The start of the window of `size_ms` that `timestamp` is in. Source: Flink's `TimeWindow.getWindowStartWithOffset`.
#[inline]
pub(crate) fn window_start(timestamp: Timestamp, offset_ms: i64, size_ms: i64) -> Timestamp {
    timestamp.wrapping_sub(timestamp.wrapping_sub(offset_ms).rem_euclid(size_ms))
}

/// The timestamp of a record that must have one.
#[inline]
fn event_time(timestamp: Timestamp) -> Result<Timestamp, WindowError> {
    if timestamp == NO_TIMESTAMP { Err(WindowError::NoTimestamp) } else { Ok(timestamp) }
}

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
    fn window(&self, time: Timestamp) -> TimeWindow {
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
    fn windows(&self, time: Timestamp, into: &mut Vec<TimeWindow>) {
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

/// Windows that last until nothing has come for a gap, each key's for itself. Records at a distance of the gap are together.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Session, TimeWindow, WindowAssigner};
///
/// let mut windows = Vec::new();
/// Session::gap(Duration::from_millis(10)).assign(&'a', 12, 0, &mut windows)?;
/// assert_eq!(windows, [TimeWindow { start: 12, end: 22 }]); // Merged with those of the records around it.
/// # Ok::<(), thalweg::WindowError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub(crate) gap_ms: i64,
}

impl Session {
    /// Sessions with one gap, whole milliseconds. Errors: `Error::Plan` at `execute` when it is less than one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Session, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let visits = env
    ///     .from_elements([1_i64, 11, 22]) // The first two at a distance of the gap, the third further off.
    ///     .watermarks(monotonous().by(|n: &i64| *n))
    ///     .window_all(Session::gap(Duration::from_millis(10)))
    ///     .process_with(|_: &(), window, times, out| out.collect((window.start, window.end, times.len())))
    ///     .collect();
    /// env.execute()?;
    /// assert_eq!(visits.take(), [(1, 21, 2), (22, 32, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn gap(gap: Duration) -> Self {
        Self { gap_ms: millis(gap) }
    }

    /// Sessions in which each record says how long it lasts, whole milliseconds. Errors: the job fails at a gap of less than one.
    /// Source: Flink's `EventTimeSessionWindows.withDynamicGap`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Session, TimeWindow, WindowAssigner, WindowError};
    ///
    /// let visits = Session::dynamic(|&minutes: &u64| Duration::from_secs(60 * minutes));
    /// let mut windows = Vec::new();
    /// visits.assign(&5, 1_000, 0, &mut windows)?;
    /// assert_eq!(windows, [TimeWindow { start: 1_000, end: 301_000 }]);
    /// assert_eq!(visits.assign(&0, 1_000, 0, &mut windows), Err(WindowError::Gap(0)));
    /// # Ok::<(), WindowError>(())
    /// ```
    pub fn dynamic<T, F>(gap: F) -> DynamicSession<T, F>
    where
        F: Fn(&T) -> Duration + Clone + Send + Sync + 'static,
    {
        DynamicSession { gap, record: PhantomData }
    }

    /// The same windows on the processing-time clock: see [`OnProcessingTime`]. Source: Flink's `ProcessingTimeSessionWindows`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Session};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let sums = Recorder::new();
    /// let windows = env.source("script", source).window_all(Session::gap(Duration::from_millis(10)).processing_time());
    /// windows.sum(|n| n).sink("sums", sums.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// for (clock, n) in [(5, 1), (12, 2), (30, 4)] {
    ///     job.advance_clock_to(clock)?;
    ///     input.record(n, 0);
    /// }
    /// assert_eq!(sums.take_records(), [3]); // From 5 to 22.
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn processing_time(self) -> OnProcessingTime<Self> {
        OnProcessingTime(self)
    }

    pub(crate) fn valid(&self) -> Result<(), String> {
        if self.gap_ms > 0 { Ok(()) } else { Err("sessions need a gap of at least 1 ms".into()) }
    }
}

/// The session of a single record.
#[inline]
fn session(time: Timestamp, gap_ms: i64) -> TimeWindow {
    TimeWindow { start: time, end: time.wrapping_add(gap_ms) }
}

impl<T> WindowAssigner<T> for Session {
    type Trigger = EventTime;
    type Path = InParts;
    const MERGING: bool = true;

    #[inline]
    fn assign(
        &self,
        _record: &T,
        timestamp: Timestamp,
        _now: Timestamp,
        into: &mut Vec<TimeWindow>,
    ) -> Result<(), WindowError> {
        into.push(session(event_time(timestamp)?, self.gap_ms));
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

/// Sessions with a gap for each record: see [`Session::dynamic`]. What is in them is kept record by record, not aggregated before
/// the exchange.
#[derive(Debug)]
pub struct DynamicSession<T, F> {
    gap: F,
    record: PhantomData<fn(&T)>,
}

impl<T, F> DynamicSession<T, F> {
    /// The same windows on the processing-time clock: see [`OnProcessingTime`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Session, TimeWindow, WindowAssigner};
    ///
    /// let visits = Session::dynamic(|&seconds: &u64| Duration::from_secs(seconds)).processing_time();
    /// let mut windows = Vec::new();
    /// visits.assign(&2, 0, 33_000, &mut windows)?;
    /// assert_eq!(windows, [TimeWindow { start: 33_000, end: 35_000 }]);
    /// # Ok::<(), thalweg::WindowError>(())
    /// ```
    pub fn processing_time(self) -> OnProcessingTime<Self> {
        OnProcessingTime(self)
    }
}

impl<T, F: Clone> Clone for DynamicSession<T, F> {
    fn clone(&self) -> Self {
        Self { gap: self.gap.clone(), record: PhantomData }
    }
}

impl<T, F: Fn(&T) -> Duration> DynamicSession<T, F> {
    #[inline]
    fn window(&self, record: &T, time: Timestamp) -> Result<TimeWindow, WindowError> {
        match millis((self.gap)(record)) {
            gap if gap > 0 => Ok(session(time, gap)),
            gap => Err(WindowError::Gap(gap)),
        }
    }
}

impl<T: 'static, F> WindowAssigner<T> for DynamicSession<T, F>
where
    F: Fn(&T) -> Duration + Clone + Send + Sync + 'static,
{
    type Trigger = EventTime;
    type Path = PerRecord;
    const MERGING: bool = true;

    #[inline]
    fn assign(
        &self,
        record: &T,
        timestamp: Timestamp,
        _now: Timestamp,
        into: &mut Vec<TimeWindow>,
    ) -> Result<(), WindowError> {
        into.push(self.window(record, event_time(timestamp)?)?);
        Ok(())
    }

    fn default_trigger(&self) -> EventTime {
        EventTime
    }

    fn is_event_time(&self) -> bool {
        true
    }
}

/// One window for all records of a key. It fires only when a trigger of one's own says so.
///
/// ```
/// use thalweg::{Global, TimeWindow, WindowAssigner};
///
/// let mut windows = Vec::new();
/// Global.assign(&'a', 12, 0, &mut windows)?;
/// assert_eq!(windows, [TimeWindow::GLOBAL]);
/// # Ok::<(), thalweg::WindowError>(())
/// ```
///
/// Records need no timestamps, and nothing is late. A trigger that never purges keeps all records, or an aggregate of them, for
/// as long as the job runs. Source: Flink's `GlobalWindows`.
#[derive(Debug, Clone, Copy)]
pub struct Global;

impl Global {
    /// The same window, which fires when the input has ended: what a batch job would compute. Source: Flink's
    /// `GlobalWindows.createWithEndOfStreamTrigger`.
    ///
    /// ```
    /// use thalweg::{Env, Global};
    ///
    /// let env = Env::new().parallelism(1);
    /// let sum = env.generate(10, |n| n).window_all(Global::end_of_stream()).sum(|n| n).collect();
    /// env.execute()?;
    /// assert_eq!(sum.take(), [45]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn end_of_stream() -> GlobalEndOfStream {
        GlobalEndOfStream
    }
}

/// The global window that fires when the input has ended: see [`Global::end_of_stream`].
#[derive(Debug, Clone, Copy)]
pub struct GlobalEndOfStream;

macro_rules! global {
    ($assigner:ident, $trigger:ident) => {
        impl<T> WindowAssigner<T> for $assigner {
            type Trigger = $trigger;
            type Path = PerRecord;
            const MERGING: bool = false;

            #[inline]
            fn assign(
                &self,
                _record: &T,
                _timestamp: Timestamp,
                _now: Timestamp,
                into: &mut Vec<TimeWindow>,
            ) -> Result<(), WindowError> {
                into.push(TimeWindow::GLOBAL);
                Ok(())
            }

            fn default_trigger(&self) -> $trigger {
                $trigger
            }

            fn is_event_time(&self) -> bool {
                false
            }
        }
    };
}

global!(Global, Never);
global!(GlobalEndOfStream, EndOfStream);

/// The windows of `A` on the processing-time clock: a record is in those of the moment when it comes. They end when the clock
/// has passed them; at the end of input those that are open are dropped. Allowed lateness has no meaning for them.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{TimeWindow, Tumbling, WindowAssigner};
///
/// let mut windows = Vec::new();
/// Tumbling::of(Duration::from_millis(10)).processing_time().assign(&'a', 0, 33, &mut windows)?;
/// assert_eq!(windows, [TimeWindow { start: 30, end: 40 }]);
/// # Ok::<(), thalweg::WindowError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct OnProcessingTime<A>(A);

macro_rules! on_processing_time {
    ([$($generics:tt)*] $assigner:ty, $merging:literal, |$this:ident, $record:ident, $now:ident, $into:ident| $assign:expr, $check:expr) => {
        impl<T: 'static, $($generics)*> WindowAssigner<T> for OnProcessingTime<$assigner> {
            type Trigger = ProcessingTime;
            type Path = PerRecord;
            const MERGING: bool = $merging;

            #[inline]
            fn assign(
                &self,
                $record: &T,
                _timestamp: Timestamp,
                $now: Timestamp,
                $into: &mut Vec<TimeWindow>,
            ) -> Result<(), WindowError> {
                let $this = &self.0;
                $assign;
                Ok(())
            }

            fn default_trigger(&self) -> ProcessingTime {
                ProcessingTime
            }

            fn is_event_time(&self) -> bool {
                false
            }

            fn check(&self) -> Result<(), String> {
                ($check)(&self.0)
            }
        }
    };
}

on_processing_time!([] Tumbling, false, |this, _record, now, into| into.push(this.window(now)), Tumbling::valid);
on_processing_time!([] Sliding, false, |this, _record, now, into| this.windows(now, into), Sliding::valid);
on_processing_time!(
    [] Session, true, |this, _record, now, into| into.push(session(now, this.gap_ms)), Session::valid
);
on_processing_time!(
    [F: Fn(&T) -> Duration + Clone + Send + Sync + 'static] DynamicSession<T, F>, true,
    |this, record, now, into| into.push(this.window(record, now)?), |_| Ok(())
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::window::{Slicing, start_in_flink};

    #[track_caller]
    fn check(assigner: impl WindowAssigner<()>, timestamp: Timestamp, expected: &[(i64, i64)]) {
        let mut windows = Vec::new();
        assigner.assign(&(), timestamp, 0, &mut windows).unwrap();
        let got: Vec<_> = windows.iter().map(|w| (w.start, w.end)).collect();
        assert_eq!(got, expected);
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_and_an_offset() {
        check(Tumbling::of(ms(10)), 0, &[(0, 10)]);
        check(Tumbling::of(ms(10)), 9, &[(0, 10)]);
        check(Tumbling::of(ms(10)), -1, &[(-10, 0)]); // Rounded down, not to zero.
        check(Tumbling::of(ms(10)).offset(ms(3)), 2, &[(-7, 3)]);
        check(Tumbling::of(ms(10)).offset_back(ms(3)), 6, &[(-3, 7)]);
        check(Tumbling::of(ms(10)).offset_back(ms(3)), 7, &[(7, 17)]);
        check(Sliding::of(ms(10)).every(ms(4)).offset_back(ms(3)), 9, &[(9, 19), (5, 15), (1, 11)]);
        check(Sliding::of(ms(10)).every(ms(5)), -3, &[(-5, 5), (-10, 0)]);
        check(Sliding::of(ms(10)).every(ms(4)).offset(ms(1)), 9, &[(9, 19), (5, 15), (1, 11)]);
        check(Sliding::of(ms(2)).every(ms(5)), 1, &[(0, 2)]);
        check(Sliding::of(ms(2)).every(ms(5)), 2, &[]); // In the gap between two windows.
        check(
            Sliding::of(ms(4)).every(ms(2)),
            i64::MIN + 4,
            &[(i64::MIN + 4, i64::MIN + 8), (i64::MIN + 2, i64::MIN + 6)],
        );
        check(Session::gap(ms(7)), 5, &[(5, 12)]);
    }

    #[test]
    fn what_makes_no_sense_is_said_before_the_job_runs() {
        fn invalid(assigner: impl WindowAssigner<()>) -> bool {
            assigner.check().is_err()
        }
        assert!(invalid(Tumbling::of(Duration::from_micros(1))));
        assert!(invalid(Tumbling::of(ms(5)).offset(ms(5))));
        assert!(invalid(Sliding::of(ms(5)).every(ms(0))));
        assert!(invalid(Sliding::of(ms(0)).every(ms(5)).processing_time()));
        assert!(invalid(Session::gap(ms(0))));
        assert!(invalid(Tumbling::of(ms(5)).offset_back(ms(5)).processing_time()));
        assert!(invalid(Sliding::of(ms(9)).every(ms(5)).offset_back(ms(5))));
        assert!(invalid(Tumbling::of(ms(5)).offset_back(Duration::MAX)));
        assert!(!invalid(Tumbling::of(ms(5)).offset(ms(4))));
        assert!(!invalid(Tumbling::of(ms(5)).offset_back(ms(4))));
        assert!(!invalid(Sliding::of(ms(9)).every(ms(5)).offset_back(ms(4))));
    }

    /// A size, a slide, and an offset that they allow.
    fn sizes() -> impl Strategy<Value = (i64, i64, i64)> {
        (1..10_000_i64, 1..10_000_i64)
            .prop_flat_map(|(size, slide)| (Just(size), Just(slide), 1 - slide..slide))
    }

    fn shifted(sliding: Sliding, offset: i64) -> Sliding {
        match u64::try_from(offset) {
            Ok(later) => sliding.offset(ms(later)),
            Err(_) => sliding.offset_back(ms(offset.unsigned_abs())),
        }
    }

    proptest! {
        /// Goal: windows begin where Flink's do. Method: its formula, and for sliding windows its loop.
        #[test]
        fn windows_begin_where_those_of_flink_do(
            (size, slide, offset) in sizes(), timestamp in -1_000_000_000_000..4_000_000_000_000_i64,
        ) {
            let mut expected = Vec::new();
            let mut start = start_in_flink(timestamp, offset, slide);
            while start > timestamp - size {
                expected.push(TimeWindow { start, end: start + size });
                start -= slide;
            }
            let sliding = shifted(Sliding::of(ms(size as u64)).every(ms(slide as u64)), offset);
            let mut windows = Vec::new();
            sliding.assign(&(), timestamp, 0, &mut windows).unwrap();
            prop_assert_eq!(&windows, &expected);
            // The same windows by their slices.
            let slicing = Slicing::new(sliding.size_ms, sliding.slide_ms, sliding.offset_ms);
            let slice = slicing.slice_of(timestamp);
            prop_assert!((slicing.start_of(slice)..slicing.end_of(slice)).contains(&timestamp));
            prop_assert_eq!(slicing.last_window(slice), expected.first().copied());
            prop_assert_eq!(slicing.first_window(slice, i64::MIN / 2), expected.last().copied());
            // Tumbling windows are those that slide by their size.
            let tumbling = Tumbling { size_ms: slide, offset_ms: offset };
            prop_assert_eq!(tumbling.window(timestamp).start, start_in_flink(timestamp, offset, slide));
        }
    }
}
