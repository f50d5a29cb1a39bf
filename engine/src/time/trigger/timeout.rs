//! A trigger that fires after a while of processing time what another one does not.

use std::time::Duration;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::time::Timestamp;
use crate::time::assigner::millis;
use crate::time::window::TimeWindow;

/// Fires when `inner` does, and when the processing-time clock has come a timeout further than at a window's first record.
///
/// The timeout begins anew with the first record after a firing. Cannot be used with windows that merge. Source: Flink's
/// `ProcessingTimeoutTrigger`.
#[derive(Debug, Clone, Copy)]
pub struct ProcessingTimeout<I> {
    inner: I,
    timeout_ms: i64,
    restarts: bool,
    keeps: bool,
}

impl<I> ProcessingTimeout<I> {
    /// Fires `timeout` after a record at the latest, whole milliseconds of the clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{CountTrigger, Env, Global, ProcessingTimeout, Purging};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let batches = Recorder::new();
    /// let trigger = Purging::of(ProcessingTimeout::of(CountTrigger::of(1_000), Duration::from_millis(50)));
    /// env.source("script", source).window_all(Global).trigger(trigger).sum(|n| n).sink("batches", batches.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// for (clock, n) in [(0, 1), (40, 2), (80, 4)] {
    ///     job.advance_clock_to(clock)?;
    ///     input.record(n, 0);
    /// }
    /// assert_eq!(batches.take_records(), [3]); // At 50, of what came at 0 and 40.
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn of(inner: I, timeout: Duration) -> Self {
        Self { inner, timeout_ms: millis(timeout), restarts: false, keeps: false }
    }

    /// Begins the timeout anew with each record. Default: it runs from the first one. Source: Flink's `resetTimerOnNewRecord`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Global, Never, ProcessingTimeout, Purging};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let batches = Recorder::new();
    /// let trigger = Purging::of(ProcessingTimeout::of(Never, Duration::from_millis(50)).restarted_by_records());
    /// env.source("script", source).window_all(Global).trigger(trigger).sum(|n| n).sink("batches", batches.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// for (clock, n) in [(0, 1), (40, 2), (80, 4), (200, 8)] {
    ///     job.advance_clock_to(clock)?;
    ///     input.record(n, 0);
    /// }
    /// assert_eq!(batches.take_records(), [7]); // At 130.
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn restarted_by_records(self) -> Self {
        Self { restarts: true, ..self }
    }

    /// Keeps what `inner` knows of a window when a timer of it fires, and fires a timeout only once unless records restart it.
    /// Default: `inner` starts again. Source: Flink's `shouldClearOnTimeout = false`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{CountTrigger, Env, Global, ProcessingTimeout};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let sums = Recorder::new();
    /// let trigger = ProcessingTimeout::of(CountTrigger::of(3), Duration::from_millis(50)).keeping_state();
    /// env.source("script", source).window_all(Global).trigger(trigger).sum(|n| n).sink("sums", sums.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// for (clock, n) in [(0, 1), (10, 2), (60, 4)] {
    ///     job.advance_clock_to(clock)?;
    ///     input.record(n, 0);
    /// }
    /// job.run_until_quiet()?;
    /// assert_eq!(sums.take_records(), [3, 7]); // The timeout, then the third record: the count of two was kept.
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn keeping_state(self) -> Self {
        Self { keeps: true, ..self }
    }

    /// Forgets the timeout, and what the inner trigger knows.
    fn reset<T>(&mut self, window: TimeWindow, cx: &mut TriggerContext<'_, TimeoutState<I::State>>)
    where
        I: Trigger<T>,
    {
        Trigger::<T>::clear(self, window, cx);
        cx.state.0 = I::State::default();
    }

    /// A timer of either trigger is due: whichever it is, the window fires.
    fn on_timer<T>(
        &mut self,
        result: TriggerResult,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, TimeoutState<I::State>>,
    ) -> TriggerResult
    where
        I: Trigger<T>,
    {
        if !self.keeps {
            self.reset(window, cx);
        }
        if result.is_purge() { TriggerResult::FireAndPurge } else { TriggerResult::Fire }
    }
}

/// What the inner trigger knows, and when the timeout ends.
type TimeoutState<S> = (S, Option<Timestamp>);

impl<T, I: Trigger<T>> Trigger<T> for ProcessingTimeout<I> {
    type State = TimeoutState<I::State>;

    fn on_element(
        &mut self,
        record: &T,
        timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        let result = self.inner.on_element(record, timestamp, window, &mut cx.narrow(|state| &mut state.0));
        if result.is_fire() {
            self.reset(window, cx);
            return result;
        }
        if self.restarts
            && let Some(end) = cx.state.1.take()
        {
            cx.delete_processing_timer(end);
        }
        if cx.state.1.is_none() {
            let end = cx.now.saturating_add(self.timeout_ms);
            cx.state.1 = Some(end);
            cx.register_processing_timer(end);
        }
        result
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        let result = self.inner.on_event_time(time, window, &mut cx.narrow(|state| &mut state.0));
        self.on_timer(result, window, cx)
    }

    fn on_processing_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        let result = self.inner.on_processing_time(time, window, &mut cx.narrow(|state| &mut state.0));
        self.on_timer(result, window, cx)
    }

    fn is_fresh(&self, state: &Self::State) -> bool {
        state.1.is_none() && self.inner.is_fresh(&state.0)
    }

    fn clear(&mut self, window: TimeWindow, cx: &mut TriggerContext<'_, Self::State>) {
        if let Some(end) = cx.state.1.take() {
            cx.delete_processing_timer(end);
        }
        self.inner.clear(window, &mut cx.narrow(|state| &mut state.0));
    }
}
