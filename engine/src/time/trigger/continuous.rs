//! Triggers that fire at the multiples of an interval, and at the window's end.

use std::time::Duration;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::time::Timestamp;
use crate::time::assigner::millis;
use crate::time::window::TimeWindow;

/// Fires each time the watermark comes to a multiple of an interval, and at the window's end.
///
/// It fires whether or not something has come since; several boundaries in one jump of the watermark are several firings. Source:
/// Flink's `ContinuousEventTimeTrigger`.
///
/// ```
/// use std::time::Duration;
/// use thalweg::testing::{Recorder, Simulator, script};
/// use thalweg::{ContinuousEventTime, Env, Tumbling};
///
/// let env = Env::new().parallelism(1);
/// let (input, source) = script::<u64>();
/// let sums = Recorder::new();
/// let windows = env.source("script", source).window_all(Tumbling::of(Duration::from_millis(100)));
/// windows.trigger(ContinuousEventTime::every(Duration::from_millis(40))).sum(|n| n).sink("sums", sums.clone());
/// let mut job = Simulator::new(0).start(&env)?;
///
/// input.record(1, 5);
/// input.watermark(40);
/// input.record(2, 50);
/// input.watermark(99);
/// job.run_until_quiet()?;
/// assert_eq!(sums.take_records(), [1, 3, 3]); // At 40, 80 and 99.
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ContinuousEventTime {
    interval_ms: i64,
}

impl ContinuousEventTime {
    /// Fires every `interval`, whole milliseconds of event time, at least one; at multiples of it since the epoch, from the first
    /// record on. [`ContinuousEventTime`] has an example.
    pub fn every(interval: Duration) -> Self {
        Self { interval_ms: millis(interval).max(1) }
    }

    fn register_next(
        &self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<Timestamp>>,
    ) {
        let next = time.wrapping_add(self.interval_ms).min(window.max_timestamp());
        *cx.state = Some(cx.state.map_or(next, |at| at.min(next)));
        cx.register_event_timer(next);
    }
}

impl<T> Trigger<T> for ContinuousEventTime {
    /// When it fires next.
    type State = Option<Timestamp>;

    #[inline]
    fn on_element(
        &mut self,
        _record: &T,
        timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<Timestamp>>,
    ) -> TriggerResult {
        if window.max_timestamp() <= cx.watermark {
            return TriggerResult::Fire;
        }
        cx.register_event_timer(window.max_timestamp());
        if cx.state.is_none() {
            // Java's remainder, so before the epoch the boundary is the one after.
            self.register_next(timestamp.wrapping_sub(timestamp % self.interval_ms), window, cx);
        }
        TriggerResult::Continue
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<Timestamp>>,
    ) -> TriggerResult {
        if time == window.max_timestamp() {
            return TriggerResult::Fire;
        }
        if *cx.state != Some(time) {
            return TriggerResult::Continue;
        }
        *cx.state = None;
        self.register_next(time, window, cx);
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &mut self,
        merged: &[Option<Timestamp>],
        _window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<Timestamp>>,
    ) {
        *cx.state = merged.iter().copied().flatten().min();
        if let Some(next) = *cx.state {
            cx.register_event_timer(next);
        }
    }

    fn clear(&mut self, _window: TimeWindow, cx: &mut TriggerContext<'_, Option<Timestamp>>) {
        if let Some(next) = cx.state.take() {
            cx.delete_event_timer(next);
        }
    }
}

/// Fires each time the processing-time clock has passed a multiple of an interval, and at the window's end.
///
/// It fires whether or not something has come since, also in event-time windows; the clock at a window's end is then the last to fire it.
/// There Flink's trigger would register the timer of the end again and again.
///
/// ```
/// use std::time::Duration;
/// use thalweg::testing::{Event, Recorder, Simulator, script};
/// use thalweg::{ContinuousProcessingTime, Env, Global};
///
/// let env = Env::new().parallelism(1);
/// let (input, source) = script::<u64>();
/// let sums = Recorder::new();
/// let windows = env.source("script", source).window_all(Global);
/// windows.trigger(ContinuousProcessingTime::every(Duration::from_millis(100))).sum(|n| n).sink("sums", sums.clone());
/// let mut job = Simulator::new(0).start(&env)?;
///
/// input.record(1, 0);
/// job.advance_clock_to(101)?;
/// input.record(2, 0);
/// job.advance_clock_to(201)?;
/// let sums: Vec<_> = sums.take().into_iter().filter_map(|event| match event {
///     Event::Record(sum, _) => Some(sum),
///     _ => None,
/// }).collect();
/// assert_eq!(sums, [1, 3]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ContinuousProcessingTime {
    interval_ms: i64,
}

impl ContinuousProcessingTime {
    /// Fires every `interval`, whole milliseconds of the clock, at least one; at multiples of it since the epoch, from the first
    /// record on. [`ContinuousProcessingTime`] has an example.
    pub fn every(interval: Duration) -> Self {
        Self { interval_ms: millis(interval).max(1) }
    }

    fn register_next(
        &self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<Timestamp>>,
    ) {
        let next = time.saturating_add(self.interval_ms).min(window.max_timestamp());
        *cx.state = Some(next);
        cx.register_processing_timer(next);
    }
}

impl<T> Trigger<T> for ContinuousProcessingTime {
    /// When it fires next; the window's end stays when it has fired there.
    type State = Option<Timestamp>;

    #[inline]
    fn on_element(
        &mut self,
        _record: &T,
        _timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<Timestamp>>,
    ) -> TriggerResult {
        if cx.state.is_none() {
            let now = cx.now;
            self.register_next(now - now % self.interval_ms, window, cx);
        }
        TriggerResult::Continue
    }

    fn on_processing_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<Timestamp>>,
    ) -> TriggerResult {
        if *cx.state != Some(time) {
            return TriggerResult::Continue;
        }
        // At the end nothing is registered, or the timer would be due at once and for ever (FLINK-35069). A record that comes later,
        // while the watermark leaves the window open, asks for the end again and fires at once.
        *cx.state = None;
        if time != window.max_timestamp() {
            self.register_next(time, window, cx);
        }
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(
        &mut self,
        merged: &[Option<Timestamp>],
        _window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<Timestamp>>,
    ) {
        *cx.state = merged.iter().copied().flatten().min();
        if let Some(next) = *cx.state {
            cx.register_processing_timer(next);
        }
    }

    fn clear(&mut self, _window: TimeWindow, cx: &mut TriggerContext<'_, Option<Timestamp>>) {
        if let Some(next) = cx.state.take() {
            cx.delete_processing_timer(next);
        }
    }
}
