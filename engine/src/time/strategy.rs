//! How a stream's records make watermarks.

use std::marker::PhantomData;
use std::time::Duration;

use super::Timestamp;

/// Makes timestamps and watermarks from records; one for each subtask. Source: Flink's `WatermarkGenerator`, `TimestampAssigner`.
pub trait Generator<T>: Clone + Send + Sync + 'static {
    /// The timestamp of a record that had `previous`.
    fn timestamp(&mut self, _record: &T, previous: Timestamp) -> Timestamp {
        previous
    }

    /// Sees every record; may answer with a watermark at once.
    fn on_event(&mut self, record: &T, timestamp: Timestamp) -> Option<Timestamp>;

    /// The watermark as of now, asked at every tick or after every batch.
    fn on_periodic(&mut self) -> Option<Timestamp>;
}

/// How a stream's records make watermarks. Made by [`bounded`], [`monotonous`], [`punctuated`] or [`no_watermarks`], or from a
/// [`Generator`] of one's own.
///
/// Watermarks go out after every batch of records, or at every tick of [`crate::Env::auto_watermark_interval`] when that is set.
/// Flink's own default is a tick each 200 ms; ours makes windows fire as soon as they can, at no cost per record.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Env, bounded};
///
/// let env = Env::new().parallelism(1);
/// env.from_elements([(1_000_i64, 'a'), (900, 'b')])
///     .watermarks(bounded(Duration::from_millis(200)).by(|r: &(i64, char)| r.0))
///     .blackhole();
/// env.execute()?;
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct WatermarkStrategy<T, G> {
    pub(crate) generator: G,
    pub(crate) idleness: Option<Duration>,
    record: PhantomData<fn(T)>,
}

impl<T, G: Clone> Clone for WatermarkStrategy<T, G> {
    fn clone(&self) -> Self {
        Self { generator: self.generator.clone(), idleness: self.idleness, record: PhantomData }
    }
}

impl<T, G: Generator<T>> WatermarkStrategy<T, G> {
    /// A strategy with a generator of one's own.
    pub fn new(generator: G) -> Self {
        Self { generator, idleness: None, record: PhantomData }
    }

    /// Takes the timestamp of a record from the record, in ms. Default: the one that it has.
    pub fn by<F>(self, timestamp: F) -> WatermarkStrategy<T, Assigned<G, F>>
    where
        F: FnMut(&T) -> Timestamp + Clone + Send + Sync + 'static,
    {
        let Self { generator, idleness, record } = self;
        WatermarkStrategy { generator: Assigned { generator, timestamp }, idleness, record }
    }

    /// After this long without a record (processing time) the stream is idle, and holds no other stream's watermark back.
    /// Default: never. Cost: what comes after may be late, record by record, so from then on the subtask's records are no longer
    /// aggregated before the exchange.
    pub fn idleness(mut self, timeout: Duration) -> Self {
        self.idleness = Some(timeout);
        self
    }
}

/// A generator with a timestamp assigner of its own.
#[derive(Debug, Clone)]
pub struct Assigned<G, F> {
    generator: G,
    timestamp: F,
}

impl<T, G: Generator<T>, F: FnMut(&T) -> Timestamp + Clone + Send + Sync + 'static> Generator<T>
    for Assigned<G, F>
{
    #[inline]
    fn timestamp(&mut self, record: &T, _previous: Timestamp) -> Timestamp {
        (self.timestamp)(record)
    }

    #[inline]
    fn on_event(&mut self, record: &T, timestamp: Timestamp) -> Option<Timestamp> {
        self.generator.on_event(record, timestamp)
    }

    fn on_periodic(&mut self) -> Option<Timestamp> {
        self.generator.on_periodic()
    }
}

/// Records may be late by up to `delay`, whole milliseconds: the watermark is the greatest timestamp so far, less the delay and 1 ms.
pub fn bounded<T>(delay: Duration) -> WatermarkStrategy<T, Bounded> {
    let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    WatermarkStrategy {
        generator: Bounded { delay, greatest: i64::MIN },
        idleness: None,
        record: PhantomData,
    }
}

/// Timestamps never go back: [`bounded`] with no delay.
pub fn monotonous<T>() -> WatermarkStrategy<T, Bounded> {
    bounded(Duration::ZERO)
}

/// No watermark but the last, at the end of input.
pub fn no_watermarks<T>() -> WatermarkStrategy<T, NoWatermarks> {
    WatermarkStrategy { generator: NoWatermarks, idleness: None, record: PhantomData }
}

/// A record may carry a watermark: what the function returns goes out behind the record.
pub fn punctuated<T, F>(watermark: F) -> WatermarkStrategy<T, Punctuated<F>>
where
    F: FnMut(&T, Timestamp) -> Option<Timestamp> + Clone + Send + Sync + 'static,
{
    WatermarkStrategy { generator: Punctuated { watermark }, idleness: None, record: PhantomData }
}

/// The generator of [`bounded`]. Source: Flink's `BoundedOutOfOrdernessWatermarks`.
#[derive(Debug, Clone)]
pub struct Bounded {
    delay: i64,
    greatest: Timestamp,
}

impl<T> Generator<T> for Bounded {
    #[inline]
    fn on_event(&mut self, _record: &T, timestamp: Timestamp) -> Option<Timestamp> {
        self.greatest = self.greatest.max(timestamp);
        None
    }

    fn on_periodic(&mut self) -> Option<Timestamp> {
        (self.greatest > i64::MIN).then(|| self.greatest.saturating_sub(self.delay).saturating_sub(1))
    }
}

/// The generator of [`no_watermarks`].
#[derive(Debug, Clone)]
pub struct NoWatermarks;

impl<T> Generator<T> for NoWatermarks {
    #[inline]
    fn on_event(&mut self, _record: &T, _timestamp: Timestamp) -> Option<Timestamp> {
        None
    }

    fn on_periodic(&mut self) -> Option<Timestamp> {
        None
    }
}

/// The generator of [`punctuated`].
#[derive(Debug, Clone)]
pub struct Punctuated<F> {
    watermark: F,
}

impl<T, F: FnMut(&T, Timestamp) -> Option<Timestamp> + Clone + Send + Sync + 'static> Generator<T>
    for Punctuated<F>
{
    #[inline]
    fn on_event(&mut self, record: &T, timestamp: Timestamp) -> Option<Timestamp> {
        (self.watermark)(record, timestamp)
    }

    fn on_periodic(&mut self) -> Option<Timestamp> {
        None
    }
}
