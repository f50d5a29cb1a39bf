//! When a window fires.
//!
//! ```text
//!   element, or a timer that the trigger registered ──▶ Trigger ──▶ continue │ fire │ purge │ fire and purge
//!                                                         │
//!                                       state for each key and window
//! ```
//!
//! Invariants:
//! - a trigger keeps what it knows of a window in its state, which lives and goes with the window;
//! - a timer that it registers comes back to it while the window lives, once, in order of time;
//! - whether it fires or not, the window is forgotten when its time and the allowed lateness have passed.
//!
//! - [`end`]: firing at a window's end, or never; [`content`]: firing for what is in the window;
//! - [`continuous`]: firing at the multiples of an interval; [`timeout`]: firing what has waited for too long.
//!
//! Source: Flink's `Trigger` and the classes of the same names.

mod content;
mod continuous;
mod end;
mod timeout;

pub use content::{Count, Delta, Purging};
pub use continuous::{ContinuousEventTime, ContinuousProcessingTime};
pub use end::{EndOfStream, EventTime, Never, ProcessingTime};
pub use timeout::ProcessingTimeout;

use thalweg_state::StateValue;

use super::Timestamp;
use super::window::TimeWindow;

/// What shall be done with a window. Source: Flink's `TriggerResult`.
///
/// ```
/// use thalweg::TriggerResult;
///
/// let both = TriggerResult::FireAndPurge;
/// assert!(both.is_fire() && both.is_purge());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// The function sees the contents, which stay.
    Fire,
    /// The contents go. The window itself, and the trigger's state, stay.
    Purge,
    /// Both: the function sees the contents, then they go.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether the function is called.
    ///
    /// ```
    /// use thalweg::TriggerResult;
    ///
    /// assert!(TriggerResult::Fire.is_fire() && !TriggerResult::Purge.is_fire());
    /// ```
    #[inline]
    pub fn is_fire(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether the contents go.
    ///
    /// ```
    /// use thalweg::TriggerResult;
    ///
    /// assert!(TriggerResult::Purge.is_purge() && !TriggerResult::Continue.is_purge());
    /// ```
    #[inline]
    pub fn is_purge(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// Decides when windows fire. `T` is the record as the operator sees it, behind the exchange. Source: Flink's `Trigger`.
///
/// A trigger that fires each time a record is worth more than a limit, and at the window's end:
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Env, TimeWindow, Timestamp, Trigger, TriggerContext, TriggerResult, Tumbling, monotonous};
///
/// #[derive(Clone)]
/// struct Above(i64);
///
/// impl Trigger<i64> for Above {
///     type State = ();
///
///     fn on_element(&mut self, &value: &i64, _: Timestamp, window: TimeWindow, cx: &mut TriggerContext<'_, ()>) -> TriggerResult {
///         cx.register_event_timer(window.max_timestamp());
///         if value > self.0 { TriggerResult::Fire } else { TriggerResult::Continue }
///     }
///
///     fn on_event_time(&mut self, _: Timestamp, _: TimeWindow, _: &mut TriggerContext<'_, ()>) -> TriggerResult {
///         TriggerResult::Fire
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let values = env.from_elements([3_i64, 50, 4]).watermarks(monotonous().by(|_| 0));
/// let sums = values.window_all(Tumbling::of(Duration::from_secs(1))).trigger(Above(10)).sum(|n| n).collect();
/// env.execute()?;
/// assert_eq!(sums.take(), [53, 57]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not fire windows over records of type `{T}`",
    label = "not a trigger for `{T}`",
    note = "a trigger of one's own implements `Trigger<{T}>`, or `Trigger<T>` for every `T`"
)]
pub trait Trigger<T>: Clone + Send + Sync + 'static {
    /// What it knows of one window of one key. It is kept in the job's state backend, so it derives what records derive.
    type State: Default + StateValue;

    /// A record has been added to the window.
    fn on_element(
        &mut self,
        record: &T,
        timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult;

    /// An event-time timer of the window is due: the watermark is at `time` or past it. Default: continue.
    ///
    /// Also called for the timer with which the operator forgets the window.
    fn on_event_time(
        &mut self,
        _time: Timestamp,
        _window: TimeWindow,
        _cx: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        TriggerResult::Continue
    }

    /// A processing-time timer of the window is due. Default: continue.
    fn on_processing_time(
        &mut self,
        _time: Timestamp,
        _window: TimeWindow,
        _cx: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        TriggerResult::Continue
    }

    /// Whether it can be used with windows that merge. Default: no, and `execute` says so for such a plan.
    fn can_merge(&self) -> bool {
        false
    }

    /// Windows with the states `merged` have become `window`, whose state in `cx` is new. [`Trigger::clear`] is called for
    /// each of them afterwards. Default: nothing.
    fn on_merge(
        &mut self,
        _merged: &[Self::State],
        _window: TimeWindow,
        _cx: &mut TriggerContext<'_, Self::State>,
    ) {
    }

    /// Whether `state` is as good as a new one, with no timer left. Windows that never end, once purged, are then forgotten.
    /// Default: no, which is always right.
    fn is_fresh(&self, _state: &Self::State) -> bool {
        false
    }

    /// The window is forgotten: deletes the timers that are left. Its state goes by itself. Default: nothing.
    fn clear(&mut self, _window: TimeWindow, _cx: &mut TriggerContext<'_, Self::State>) {}
}

/// What a trigger asked for. Done by the operator when the trigger has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerRequest {
    RegisterEvent(Timestamp),
    DeleteEvent(Timestamp),
    RegisterProcessing(Timestamp),
    DeleteProcessing(Timestamp),
}

/// What a trigger may know and do: its state for this window, the time, timers. Source: Flink's `TriggerContext`.
///
/// A timer is for this window and key, and there is at most one for each timestamp. One at or below the current watermark comes
/// with the next watermark that is larger.
///
/// A trigger that fires 5 ms of event time after the first record, and after each record that comes later in the window:
///
/// ```
/// use std::time::Duration;
/// use thalweg::testing::{Recorder, Simulator, script};
/// use thalweg::{Env, TimeWindow, Timestamp, Trigger, TriggerContext, TriggerResult, Tumbling};
///
/// type Context<'a> = TriggerContext<'a, Option<Timestamp>>;
///
/// #[derive(Clone)]
/// struct Soon;
///
/// impl<T> Trigger<T> for Soon {
///     type State = Option<Timestamp>;
///
///     fn on_element(&mut self, _: &T, timestamp: Timestamp, _: TimeWindow, cx: &mut Context<'_>) -> TriggerResult {
///         let due = *cx.state().get_or_insert(timestamp + 5);
///         if due <= cx.watermark() {
///             return TriggerResult::Fire;
///         }
///         cx.register_event_timer(due);
///         TriggerResult::Continue
///     }
///
///     fn on_event_time(&mut self, time: Timestamp, _: TimeWindow, cx: &mut Context<'_>) -> TriggerResult {
///         if *cx.state() == Some(time) { TriggerResult::Fire } else { TriggerResult::Continue }
///     }
///
///     fn clear(&mut self, _: TimeWindow, cx: &mut Context<'_>) {
///         if let Some(due) = cx.state().take() {
///             cx.delete_event_timer(due);
///         }
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let (input, source) = script::<u64>();
/// let sums = Recorder::new();
/// let windows = env.source("script", source).window_all(Tumbling::of(Duration::from_millis(100)));
/// windows.trigger(Soon).sum(|n| n).sink("sums", sums.clone());
/// let mut job = Simulator::new(0).start(&env)?;
/// input.record(1, 10);
/// input.record(2, 12);
/// input.watermark(15);
/// input.record(4, 60);
/// job.run_until_quiet()?;
/// assert_eq!(sums.take_records(), [3, 7]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct TriggerContext<'a, S> {
    pub(crate) state: &'a mut S,
    pub(crate) watermark: Timestamp,
    pub(crate) now: Timestamp,
    /// An event-time timer that is registered already: most triggers ask for the same one at each record.
    pub(crate) registered: &'a mut Option<Timestamp>,
    pub(crate) requests: &'a mut Vec<TimerRequest>,
}

impl<S> TriggerContext<'_, S> {
    /// The state of this window and key, as it was left; a default one at first. It is gone when the window is. See
    /// [`TriggerContext`] for an example.
    #[inline]
    pub fn state(&mut self) -> &mut S {
        self.state
    }

    /// How far event time has come, in ms; `i64::MIN` before the first watermark. See [`TriggerContext`] for an example.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The processing-time clock, in ms since the epoch.
    ///
    /// A trigger that fires at most once a second:
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Global, TimeWindow, Timestamp, Trigger, TriggerContext, TriggerResult};
    ///
    /// #[derive(Clone)]
    /// struct Seldom;
    ///
    /// impl<T> Trigger<T> for Seldom {
    ///     type State = Timestamp;
    ///
    ///     fn on_element(&mut self, _: &T, _: Timestamp, _: TimeWindow, cx: &mut TriggerContext<'_, Timestamp>) -> TriggerResult {
    ///         let now = cx.now();
    ///         if now < *cx.state() + 1_000 {
    ///             return TriggerResult::Continue;
    ///         }
    ///         *cx.state() = now;
    ///         TriggerResult::Fire
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let sums = Recorder::new();
    /// env.source("script", source).window_all(Global).trigger(Seldom).sum(|n| n).sink("sums", sums.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// for (clock, n) in [(5_000, 1), (5_400, 2), (6_000, 4)] {
    ///     job.advance_clock_to(clock)?;
    ///     input.record(n, 0);
    /// }
    /// job.run_until_quiet()?;
    /// assert_eq!(sums.take_records(), [1, 7]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[inline]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Calls [`Trigger::on_event_time`] when the watermark comes to `time`, in ms. See [`TriggerContext`] for an example.
    #[inline]
    pub fn register_event_timer(&mut self, time: Timestamp) {
        if *self.registered != Some(time) {
            self.requests.push(TimerRequest::RegisterEvent(time));
        }
    }

    /// Takes back [`TriggerContext::register_event_timer`]. Nothing happens if there is no such timer.
    #[inline]
    pub fn delete_event_timer(&mut self, time: Timestamp) {
        *self.registered = None;
        self.requests.push(TimerRequest::DeleteEvent(time));
    }

    /// Calls [`Trigger::on_processing_time`] when the clock has passed `time`, in ms since the epoch. Those that are pending when
    /// the input ends are dropped.
    ///
    /// A trigger that fires 10 ms after the last record, a *debounce*:
    ///
    /// ```
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Global, TimeWindow, Timestamp, Trigger, TriggerContext, TriggerResult};
    ///
    /// type Context<'a> = TriggerContext<'a, Option<Timestamp>>;
    ///
    /// #[derive(Clone)]
    /// struct Settled;
    ///
    /// impl<T> Trigger<T> for Settled {
    ///     type State = Option<Timestamp>;
    ///
    ///     fn on_element(&mut self, _: &T, _: Timestamp, _: TimeWindow, cx: &mut Context<'_>) -> TriggerResult {
    ///         let due = cx.now() + 10;
    ///         if let Some(before) = cx.state().replace(due) {
    ///             cx.delete_processing_timer(before);
    ///         }
    ///         cx.register_processing_timer(due);
    ///         TriggerResult::Continue
    ///     }
    ///
    ///     fn on_processing_time(&mut self, _: Timestamp, _: TimeWindow, cx: &mut Context<'_>) -> TriggerResult {
    ///         *cx.state() = None;
    ///         TriggerResult::FireAndPurge
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let sums = Recorder::new();
    /// env.source("script", source).window_all(Global).trigger(Settled).sum(|n| n).sink("sums", sums.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// for (clock, n) in [(0, 1), (8, 2), (16, 4), (40, 8), (60, 16)] {
    ///     job.advance_clock_to(clock)?;
    ///     input.record(n, 0);
    /// }
    /// assert_eq!(sums.take_records(), [7, 8]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[inline]
    pub fn register_processing_timer(&mut self, time: Timestamp) {
        self.requests.push(TimerRequest::RegisterProcessing(time));
    }

    /// Takes back [`TriggerContext::register_processing_timer`], where there is an example. Nothing happens if there is no such
    /// timer.
    #[inline]
    pub fn delete_processing_timer(&mut self, time: Timestamp) {
        self.requests.push(TimerRequest::DeleteProcessing(time));
    }

    /// The same for a trigger inside another, whose state is a part of the outer one's.
    ///
    /// A trigger that asks another, and gives up after ten records:
    ///
    /// ```
    /// use thalweg::{CountTrigger, Env, Global, TimeWindow, Timestamp, Trigger, TriggerContext, TriggerResult};
    ///
    /// #[derive(Clone)]
    /// struct FirstTen<I>(I);
    ///
    /// impl<T, I: Trigger<T>> Trigger<T> for FirstTen<I> {
    ///     type State = (u32, I::State);
    ///
    ///     fn on_element(
    ///         &mut self,
    ///         record: &T,
    ///         time: Timestamp,
    ///         window: TimeWindow,
    ///         cx: &mut TriggerContext<'_, Self::State>,
    ///     ) -> TriggerResult {
    ///         cx.state().0 += 1;
    ///         let is_over = cx.state().0 > 10;
    ///         let result = self.0.on_element(record, time, window, &mut cx.narrow(|state| &mut state.1));
    ///         if is_over { TriggerResult::Purge } else { result }
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let sums = env.generate(100, |_| 1).window_all(Global).trigger(FirstTen(CountTrigger::of(4))).sum(|n| n).collect();
    /// env.execute()?;
    /// assert_eq!(sums.take(), [4, 8]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn narrow<R>(&mut self, part: impl FnOnce(&mut S) -> &mut R) -> TriggerContext<'_, R> {
        TriggerContext {
            state: part(self.state),
            watermark: self.watermark,
            now: self.now,
            registered: self.registered,
            requests: self.requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Calls a trigger without an operator: `events` are `element@timestamp`, `wm` (sets the watermark) or `timer@time`.
    struct Bench<Tr: Trigger<i64>> {
        trigger: Tr,
        state: Tr::State,
        watermark: Timestamp,
        requests: Vec<TimerRequest>,
    }

    const WINDOW: TimeWindow = TimeWindow { start: 0, end: 100 };

    impl<Tr: Trigger<i64>> Bench<Tr> {
        fn new(trigger: Tr) -> Self {
            Self { trigger, state: Tr::State::default(), watermark: i64::MIN, requests: Vec::new() }
        }

        fn call(
            &mut self,
            f: impl FnOnce(&mut Tr, &mut TriggerContext<'_, Tr::State>) -> TriggerResult,
        ) -> TriggerResult {
            let Self { trigger, state, watermark, requests } = self;
            requests.clear();
            let (watermark, registered) = (*watermark, &mut None);
            f(trigger, &mut TriggerContext { state, watermark, now: 0, registered, requests })
        }

        fn element(&mut self, value: i64, timestamp: Timestamp) -> TriggerResult {
            self.call(|trigger, cx| trigger.on_element(&value, timestamp, WINDOW, cx))
        }

        fn timer(&mut self, time: Timestamp) -> TriggerResult {
            self.call(|trigger, cx| trigger.on_event_time(time, WINDOW, cx))
        }
    }

    #[test]
    fn event_time_fires_at_the_end_and_for_what_comes_later() {
        let mut bench = Bench::new(EventTime);
        assert_eq!(bench.element(1, 5), TriggerResult::Continue);
        assert_eq!(bench.requests, [TimerRequest::RegisterEvent(99)]);
        assert_eq!(bench.timer(98), TriggerResult::Continue);
        assert_eq!(bench.timer(99), TriggerResult::Fire);
        bench.watermark = 99;
        assert_eq!(bench.element(1, 5), TriggerResult::Fire);
        assert_eq!(bench.requests, []);
    }

    #[test]
    fn counts_start_again_after_each_firing_and_add_up_when_windows_merge() {
        let mut bench = Bench::new(Purging::of(Count::of(2)));
        let results: Vec<_> = (0..4).map(|i| bench.element(i, i)).collect();
        let (on, fire) = (TriggerResult::Continue, TriggerResult::FireAndPurge);
        assert_eq!(results, [on, fire, on, fire]);
        bench.call(|trigger, cx| {
            Trigger::<i64>::on_merge(trigger, &[1, 1], WINDOW, cx);
            TriggerResult::Continue
        });
        assert_eq!(bench.state, 2); // Which does not fire by itself.
    }

    #[test]
    fn continuous_fires_at_each_boundary_and_at_the_end() {
        let mut bench = Bench::new(ContinuousEventTime::every(Duration::from_millis(40)));
        assert_eq!(bench.element(1, 45), TriggerResult::Continue);
        assert_eq!(bench.requests, [TimerRequest::RegisterEvent(99), TimerRequest::RegisterEvent(80)]);
        assert_eq!(bench.timer(40), TriggerResult::Continue); // A boundary before the first record.
        assert_eq!(bench.timer(80), TriggerResult::Fire);
        assert_eq!(bench.requests, [TimerRequest::RegisterEvent(99)]); // No later than the end.
        assert_eq!(bench.timer(99), TriggerResult::Fire);
    }

    #[test]
    fn delta_compares_with_the_record_at_the_last_firing() {
        let mut bench = Bench::new(Delta::of(5.0, |v: &i64| *v, |a: &i64, b: &i64| (b - a).abs() as f64));
        let fired: Vec<_> = [10, 15, 16, 20, 22].map(|v| bench.element(v, 0).is_fire()).into();
        assert_eq!(fired, [false, false, true, false, true]);
    }
}
