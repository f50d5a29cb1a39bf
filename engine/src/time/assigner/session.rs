//! Windows that last until a gap without records.

use std::marker::PhantomData;
use std::time::Duration;

use super::super::Timestamp;
use super::super::trigger::EventTime;
use super::super::window::TimeWindow;
use super::{InParts, OnProcessingTime, PerRecord, WindowAssigner, WindowError, event_time, millis};

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
pub(super) fn session(time: Timestamp, gap_ms: i64) -> TimeWindow {
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
    pub(super) fn window(&self, record: &T, time: Timestamp) -> Result<TimeWindow, WindowError> {
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
