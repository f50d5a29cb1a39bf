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
//! - `aligned`, `session`, `global`: the assigners; their variants on the processing-time clock are here.
//!
//! Source: Flink's `TumblingEventTimeWindows`, `SlidingEventTimeWindows`, `EventTimeSessionWindows`, `GlobalWindows` and
//! their processing-time variants. Their arithmetic is Java's, so it wraps.

mod aligned;
mod global;
mod session;

pub use aligned::{Sliding, Tumbling};
pub use global::{Global, GlobalEndOfStream};
pub use session::{DynamicSession, Session};

use std::time::Duration;

use super::trigger::{ProcessingTime, Trigger};
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
    [] Session, true, |this, _record, now, into| into.push(session::session(now, this.gap_ms)), Session::valid
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
