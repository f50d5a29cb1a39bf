//! Gives records their timestamps and makes watermarks. Source: Flink's `TimestampsAndWatermarksOperator`.
//!
//! Invariants:
//! - watermarks from further up end here, apart from the last one of all;
//! - what goes out never goes back, and is not sent twice.

use std::time::Duration;

use thalweg_net::Signal;

use super::output::{Control, Output, Stage};
use crate::time::strategy::{Generator, WatermarkStrategy};
use crate::time::{MAX_WATERMARK, Timestamp};

/// How often idleness is looked for when watermarks have no tick of their own, in ms.
const IDLENESS_CHECK_MS: i64 = 200;

pub(crate) struct WatermarkOutput<G, N> {
    generator: G,
    /// Zero: after every batch.
    interval_ms: i64,
    next_tick: Timestamp,
    idleness: Option<Idleness>,
    current: Timestamp,
    is_idle: bool,
    next: N,
}

impl<G, N: Stage> WatermarkOutput<G, N> {
    pub(crate) fn new<T>(
        strategy: WatermarkStrategy<T, G>,
        interval: Duration,
        now: Timestamp,
        next: N,
    ) -> Self {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let interval_ms = millis(interval);
        let idleness = strategy.idleness.map(|timeout| Idleness::new(millis(timeout)));
        let next_tick = now.saturating_add(interval_ms);
        Self {
            generator: strategy.generator,
            interval_ms,
            next_tick,
            idleness,
            current: i64::MIN,
            is_idle: false,
            next,
        }
    }

    #[inline]
    fn emit(&mut self, watermark: Timestamp) {
        if watermark <= self.current {
            return;
        }
        self.current = watermark;
        if std::mem::replace(&mut self.is_idle, false) {
            self.next.control(Control::idle(false));
        }
        self.next.control(Control::watermark(watermark));
    }

    fn on_tick<T>(&mut self, now: Timestamp)
    where
        G: Generator<T>,
    {
        let pause = if self.interval_ms > 0 { self.interval_ms } else { IDLENESS_CHECK_MS };
        self.next_tick = now.saturating_add(pause);
        if self.idleness.as_mut().is_some_and(|idleness| idleness.check(now)) {
            if !std::mem::replace(&mut self.is_idle, true) {
                self.next.control(Control::idle(true));
            }
        } else if let Some(watermark) = self.generator.on_periodic() {
            self.emit(watermark);
        }
    }

    fn has_ticks(&self) -> bool {
        self.interval_ms > 0 || self.idleness.is_some()
    }
}

/// [`WatermarkOutput`] with the type of its records, which its controls need too.
pub(crate) struct TypedWatermarkOutput<T, G, N> {
    inner: WatermarkOutput<G, N>,
    record: std::marker::PhantomData<fn(T)>,
}

impl<T, G, N> TypedWatermarkOutput<T, G, N> {
    pub(crate) fn new(inner: WatermarkOutput<G, N>) -> Self {
        Self { inner, record: std::marker::PhantomData }
    }
}

impl<T: 'static, G: Generator<T>, N: Output<T>> Output<T> for TypedWatermarkOutput<T, G, N> {
    #[inline]
    fn collect(&mut self, record: &T, previous: Timestamp) {
        let this = &mut self.inner;
        let timestamp = this.generator.timestamp(record, previous);
        this.next.collect(record, timestamp);
        if let Some(watermark) = this.generator.on_event(record, timestamp) {
            this.emit(watermark);
        }
        if let Some(idleness) = &mut this.idleness {
            idleness.activity();
        }
    }
}

impl<T: 'static, G: Generator<T>, N: Stage> Stage for TypedWatermarkOutput<T, G, N> {
    fn control(&mut self, control: Control) {
        let this = &mut self.inner;
        match control {
            Control::Signal(Signal::Watermark(MAX_WATERMARK)) => this.emit(MAX_WATERMARK),
            Control::Signal(Signal::Watermark(_) | Signal::Idle | Signal::Active) => {}
            Control::BatchEnd => {
                if this.interval_ms == 0
                    && let Some(watermark) = this.generator.on_periodic()
                {
                    this.emit(watermark);
                }
                this.next.control(control);
            }
            Control::Tick(now) => {
                if this.has_ticks() && now >= this.next_tick {
                    this.on_tick::<T>(now);
                }
                this.next.control(control);
            }
            Control::Flush | Control::Signal(_) => this.next.control(control),
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        let tick = self.inner.has_ticks().then_some(self.inner.next_tick);
        [tick, self.inner.next.wakes_at()].into_iter().flatten().min()
    }
}

/// When nothing has come for a while. Source: Flink's `WatermarksWithIdleness.IdlenessTimer`.
struct Idleness {
    timeout_ms: i64,
    active: bool,
    /// The first tick that saw nothing new.
    since: Option<Timestamp>,
}

impl Idleness {
    fn new(timeout_ms: i64) -> Self {
        Self { timeout_ms, active: false, since: None }
    }

    fn activity(&mut self) {
        self.active = true;
    }

    fn check(&mut self, now: Timestamp) -> bool {
        if std::mem::replace(&mut self.active, false) {
            self.since = None;
            return false;
        }
        now.saturating_sub(*self.since.get_or_insert(now)) > self.timeout_ms
    }
}
