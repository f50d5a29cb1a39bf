//! Triggers that go by what is in a window, and the one that empties it.

use thalweg_state::StateValue;

use super::super::Timestamp;
use super::super::window::TimeWindow;
use super::{Trigger, TriggerContext, TriggerResult};

/// Fires at every n-th record of a window. Time does not fire it: what is left when the window ends is dropped. Outside this
/// crate it is called `CountTrigger`, as [`crate::Count`] is an aggregate. Source: Flink's `CountTrigger`.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    n: u64,
}

impl Count {
    /// Fires at every `n`-th record; at every one if `n` is 0.
    ///
    /// ```
    /// use thalweg::{CountTrigger, Env, Global};
    ///
    /// let env = Env::new().parallelism(1);
    /// let sums = env.generate(7, |_| 1).window_all(Global).trigger(CountTrigger::of(3)).sum(|n| n).collect();
    /// env.execute()?;
    /// assert_eq!(sums.take(), [3, 6]); // What has fired stays in the window.
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn of(n: u64) -> Self {
        Self { n }
    }
}

impl<T> Trigger<T> for Count {
    /// Records since the last firing.
    type State = u64;

    #[inline]
    fn on_element(
        &mut self,
        _record: &T,
        _timestamp: Timestamp,
        _window: TimeWindow,
        cx: &mut TriggerContext<'_, u64>,
    ) -> TriggerResult {
        *cx.state += 1;
        if *cx.state < self.n {
            return TriggerResult::Continue;
        }
        *cx.state = 0;
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, merged: &[u64], _window: TimeWindow, cx: &mut TriggerContext<'_, u64>) {
        *cx.state += merged.iter().sum::<u64>();
    }

    fn is_fresh(&self, state: &u64) -> bool {
        *state == 0
    }
}

/// Fires when `inner` does, and drops the contents each time. Source: Flink's `PurgingTrigger`.
#[derive(Debug, Clone, Copy)]
pub struct Purging<I> {
    inner: I,
}

impl<I> Purging<I> {
    /// Purges whenever `inner` fires.
    ///
    /// ```
    /// use thalweg::{CountTrigger, Env, Global, Purging};
    ///
    /// let env = Env::new().parallelism(1);
    /// let batches = env.generate(7, |n| n).window_all(Global).trigger(Purging::of(CountTrigger::of(3)));
    /// let batches = batches.process_with(|_: &(), _, records, out| out.collect(records.to_vec())).collect();
    /// env.execute()?;
    /// assert_eq!(batches.take(), [[0, 1, 2], [3, 4, 5]]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn of(inner: I) -> Self {
        Self { inner }
    }
}

/// What [`Purging`] makes of the inner trigger's answer.
fn purging(result: TriggerResult) -> TriggerResult {
    if result.is_fire() { TriggerResult::FireAndPurge } else { result }
}

impl<T, I: Trigger<T>> Trigger<T> for Purging<I> {
    type State = I::State;

    #[inline]
    fn on_element(
        &mut self,
        record: &T,
        timestamp: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, I::State>,
    ) -> TriggerResult {
        purging(self.inner.on_element(record, timestamp, window, cx))
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, I::State>,
    ) -> TriggerResult {
        purging(self.inner.on_event_time(time, window, cx))
    }

    fn on_processing_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, I::State>,
    ) -> TriggerResult {
        purging(self.inner.on_processing_time(time, window, cx))
    }

    fn can_merge(&self) -> bool {
        self.inner.can_merge()
    }

    fn on_merge(&mut self, merged: &[I::State], window: TimeWindow, cx: &mut TriggerContext<'_, I::State>) {
        self.inner.on_merge(merged, window, cx);
    }

    fn is_fresh(&self, state: &I::State) -> bool {
        self.inner.is_fresh(state)
    }

    fn clear(&mut self, window: TimeWindow, cx: &mut TriggerContext<'_, I::State>) {
        self.inner.clear(window, cx);
    }
}

/// Fires when a record differs by more than a threshold from the one at the last firing. Cannot be used with windows that merge.
/// Source: Flink's `DeltaTrigger`.
///
/// `M` is what is kept of a record, `measure` takes it, `delta` compares two: the older one first.
#[derive(Debug, Clone)]
pub struct Delta<F, D> {
    threshold: f64,
    measure: F,
    delta: D,
}

impl<F, D> Delta<F, D> {
    /// Fires when `delta(measure(last), measure(record)) > threshold`. The first record of a window only sets the reference.
    ///
    /// ```
    /// use thalweg::{Delta, Env, Global, Purging};
    ///
    /// let env = Env::new().parallelism(1);
    /// let speeds = env.from_elements([50.0, 53.0, 60.0, 58.0, 54.0]);
    /// let jump = Delta::of(5.0, |speed: &f64| *speed, |old: &f64, new: &f64| (new - old).abs());
    /// let jumps = speeds.window_all(Global).trigger(Purging::of(jump));
    /// let jumps = jumps.process_with(|_: &(), _, speeds, out| out.extend(speeds.last().copied())).collect();
    /// env.execute()?;
    /// assert_eq!(jumps.take(), [60.0, 54.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn of<T, M>(threshold: f64, measure: F, delta: D) -> Self
    where
        F: Fn(&T) -> M,
        D: Fn(&M, &M) -> f64,
    {
        Self { threshold, measure, delta }
    }
}

impl<T, M, F, D> Trigger<T> for Delta<F, D>
where
    M: StateValue,
    F: Fn(&T) -> M + Clone + Send + Sync + 'static,
    D: Fn(&M, &M) -> f64 + Clone + Send + Sync + 'static,
{
    /// The record at the last firing.
    type State = Option<M>;

    fn on_element(
        &mut self,
        record: &T,
        _timestamp: Timestamp,
        _window: TimeWindow,
        cx: &mut TriggerContext<'_, Option<M>>,
    ) -> TriggerResult {
        let new = (self.measure)(record);
        match cx.state {
            Some(last) if (self.delta)(last, &new) > self.threshold => {
                *last = new;
                TriggerResult::Fire
            }
            Some(_) => TriggerResult::Continue,
            None => {
                *cx.state = Some(new);
                TriggerResult::Continue
            }
        }
    }
}
