//! Triggers that go by the end of a window, or of the stream.

use super::super::Timestamp;
use super::super::window::TimeWindow;
use super::{Trigger, TriggerContext, TriggerResult};

/// Fires when the watermark has come to the window's end, and for each record that comes later.
///
/// The default of event-time windows. Source: Flink's `EventTimeTrigger`.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Env, EventTime, Purging, Tumbling, punctuated};
///
/// let env = Env::new().parallelism(1);
/// let times = env.from_elements([5_i64, 12, 3]).watermarks(punctuated(|_: &i64, time| Some(time)).by(|n: &i64| *n));
/// let windows = times.window_all(Tumbling::of(Duration::from_millis(10))).allowed_lateness(Duration::from_millis(10));
/// let sums = windows.trigger(Purging::of(EventTime)).sum(|n| n).collect(); // A late firing has only what is new.
/// env.execute()?;
/// assert_eq!(sums.take(), [5, 3, 12]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct EventTime;

impl<T> Trigger<T> for EventTime {
    type State = ();

    #[inline]
    fn on_element(
        &mut self,
        _record: &T,
        _timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        if window.max_timestamp() <= cx.watermark {
            return TriggerResult::Fire;
        }
        cx.register_event_timer(window.max_timestamp());
        TriggerResult::Continue
    }

    #[inline]
    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        _cx: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        if time == window.max_timestamp() { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, _merged: &[()], window: TimeWindow, cx: &mut TriggerContext<'_, ()>) {
        // A window that has ended already fires when the record that merged it is added.
        if window.max_timestamp() > cx.watermark {
            cx.register_event_timer(window.max_timestamp());
        }
    }

    fn clear(&mut self, window: TimeWindow, cx: &mut TriggerContext<'_, ()>) {
        cx.delete_event_timer(window.max_timestamp());
    }
}

/// Fires when the processing-time clock has passed the window's end. The default of processing-time windows.
/// Source: Flink's `ProcessingTimeTrigger`.
///
/// In event-time windows it fires when the clock has passed the window's end, so after each record if that is long ago:
///
/// ```
/// use std::time::Duration;
/// use thalweg::testing::{Recorder, Simulator, script};
/// use thalweg::{Env, ProcessingTime, Tumbling};
///
/// let env = Env::new().parallelism(1);
/// let (input, source) = script::<u64>();
/// let sums = Recorder::new();
/// let windows = env.source("script", source).window_all(Tumbling::of(Duration::from_millis(100)));
/// windows.trigger(ProcessingTime).sum(|n| n).sink("sums", sums.clone());
/// let mut job = Simulator::new(0).start(&env)?;
/// input.record(1, 10);
/// input.record(2, 20);
/// job.advance_clock_to(99)?;
/// assert!(sums.take_records().is_empty());
/// job.advance_clock_to(100)?;
/// assert_eq!(sums.take_records(), [3]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ProcessingTime;

impl<T> Trigger<T> for ProcessingTime {
    type State = ();

    #[inline]
    fn on_element(
        &mut self,
        _record: &T,
        _timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        cx.register_processing_timer(window.max_timestamp());
        TriggerResult::Continue
    }

    fn on_processing_time(
        &mut self,
        _time: Timestamp,
        _window: TimeWindow,
        _cx: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, _merged: &[()], window: TimeWindow, cx: &mut TriggerContext<'_, ()>) {
        if window.max_timestamp() > cx.now {
            cx.register_processing_timer(window.max_timestamp());
        }
    }

    fn clear(&mut self, window: TimeWindow, cx: &mut TriggerContext<'_, ()>) {
        cx.delete_processing_timer(window.max_timestamp());
    }
}

/// Never fires: what is in its windows is dropped when they end. The default of [`crate::Global`]. Source: Flink's
/// `GlobalWindows.NeverTrigger`.
///
/// ```
/// use thalweg::{Env, Global, Never, Purging};
///
/// let env = Env::new().parallelism(1);
/// let sums = env.generate(10, |n| n).window_all(Global).trigger(Purging::of(Never)).sum(|n| n).collect();
/// env.execute()?;
/// assert!(sums.take().is_empty());
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Never;

impl<T> Trigger<T> for Never {
    type State = ();

    fn on_element(
        &mut self,
        _record: &T,
        _timestamp: Timestamp,
        _window: TimeWindow,
        _cx: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        TriggerResult::Continue
    }

    fn can_merge(&self) -> bool {
        true
    }
}

/// Fires when the input has ended: at the last watermark, [`crate::MAX_WATERMARK`], of windows that last so long. The default of
/// [`crate::Global::end_of_stream`]. Source: Flink's `GlobalWindows.EndOfStreamTrigger`.
///
/// ```
/// use thalweg::{EndOfStream, Env, Global};
///
/// let env = Env::new().parallelism(1);
/// let sums = env.generate(5, |n| n).window_all(Global).trigger(EndOfStream).reduce(|a, b| a * 10 + b).collect();
/// env.execute()?;
/// assert_eq!(sums.take(), [1_234]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct EndOfStream;

impl<T> Trigger<T> for EndOfStream {
    type State = ();

    fn on_element(
        &mut self,
        _record: &T,
        _timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        cx.register_event_timer(window.max_timestamp());
        TriggerResult::Continue
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        _cx: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        if time == window.max_timestamp() { TriggerResult::Fire } else { TriggerResult::Continue }
    }
}
