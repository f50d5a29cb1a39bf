//! How a stream's records make watermarks.

use std::marker::PhantomData;
use std::time::Duration;

use super::Timestamp;

/// Makes timestamps and watermarks from records; one for each subtask. Source: Flink's `WatermarkGenerator`, `TimestampAssigner`.
///
/// ```
/// use thalweg::{Generator, Timestamp};
///
/// /// Knows from the records themselves how late they may be: by their second field.
/// #[derive(Clone)]
/// struct Declared(Timestamp);
///
/// impl Generator<(i64, i64)> for Declared {
///     fn timestamp(&mut self, record: &(i64, i64), _: Timestamp) -> Timestamp {
///         record.0
///     }
///
///     fn on_event(&mut self, record: &(i64, i64), timestamp: Timestamp) -> Option<Timestamp> {
///         self.0 = self.0.max(timestamp - record.1);
///         None
///     }
///
///     fn on_periodic(&mut self) -> Option<Timestamp> {
///         Some(self.0)
///     }
/// }
///
/// let mut generator = Declared(i64::MIN);
/// generator.on_event(&(1_000, 200), 1_000);
/// assert_eq!(generator.on_periodic(), Some(800));
/// generator.on_event(&(900, 10), 900);
/// assert_eq!(generator.on_periodic(), Some(890));
/// ```
pub trait Generator<T>: Clone + Send + Sync + 'static {
    /// The timestamp of a record that had `previous`, in ms; [`crate::NO_TIMESTAMP`] if it had none. Default: keeps it.
    fn timestamp(&mut self, _record: &T, previous: Timestamp) -> Timestamp {
        previous
    }

    /// Sees every record; may answer with a watermark, in ms, which goes out at once, behind the record.
    fn on_event(&mut self, record: &T, timestamp: Timestamp) -> Option<Timestamp>;

    /// The watermark as of now, in ms, asked at every tick or after every batch. One that is not greater than the last is dropped.
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
    /// A strategy with a generator of one's own: see [`Generator`] for how to write one. Source: Flink's
    /// `WatermarkStrategy.forGenerator`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Generator, Timestamp, Tumbling, WatermarkStrategy};
    ///
    /// /// Every record is a watermark.
    /// #[derive(Clone)]
    /// struct Strict;
    ///
    /// impl Generator<i64> for Strict {
    ///     fn timestamp(&mut self, &time: &i64, _: Timestamp) -> Timestamp {
    ///         time
    ///     }
    ///
    ///     fn on_event(&mut self, _: &i64, timestamp: Timestamp) -> Option<Timestamp> {
    ///         Some(timestamp)
    ///     }
    ///
    ///     fn on_periodic(&mut self) -> Option<Timestamp> {
    ///         None
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let times = env.from_elements([1_i64, 12, 3]).watermarks(WatermarkStrategy::new(Strict));
    /// times.window_all(Tumbling::of(Duration::from_millis(10))).sum(|n| n).blackhole();
    /// assert_eq!(env.execute()?.late_records_dropped(), 1);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn new(generator: G) -> Self {
        Self { generator, idleness: None, record: PhantomData }
    }

    /// Takes the timestamp of a record from the record, in ms. Default: the one that it has. Source: Flink's
    /// `withTimestampAssigner`.
    ///
    /// ```
    /// use thalweg::testing::{Event, Recorder};
    /// use thalweg::{Env, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let seen = Recorder::new();
    /// let seconds = env.from_elements(["7 start", "9 stop"]);
    /// let time = |line: &&str| 1_000 * line.split(' ').next().and_then(|seconds| seconds.parse::<i64>().ok()).unwrap_or(0);
    /// seconds.watermarks(monotonous().by(time)).sink("seen", seen.clone());
    /// env.execute()?;
    /// assert_eq!(seen.take()[..2], [Event::Record("7 start", Some(7_000)), Event::Record("9 stop", Some(9_000))]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn by<F>(self, timestamp: F) -> WatermarkStrategy<T, Assigned<G, F>>
    where
        F: FnMut(&T) -> Timestamp + Clone + Send + Sync + 'static,
    {
        let Self { generator, idleness, record } = self;
        WatermarkStrategy { generator: Assigned { generator, timestamp }, idleness, record }
    }

    /// After this long without a record (processing time) the stream is idle, and holds no other stream's watermark back.
    /// Default: never. Cost: what comes after may be late, record by record, so from then on the subtask's records are no longer
    /// aggregated before the exchange. Source: Flink's `withIdleness`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Event, Recorder, Simulator, script};
    /// use thalweg::{Env, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let ((talkative, a), (silent, b)) = (script::<char>(), script::<char>());
    /// let seen = Recorder::new();
    /// let strategy = || monotonous().idleness(Duration::from_secs(1));
    /// let union = env.source("a", a).watermarks(strategy()).union(env.source("b", b).watermarks(strategy()));
    /// union.map(|c| c.to_native()).sink("seen", seen.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// job.advance_clock_to(900)?;
    /// talkative.record('a', 50);
    /// job.run_until_quiet()?;
    /// assert_eq!(seen.take(), [Event::Record('a', Some(50))]); // The watermark waits for the other.
    /// job.advance_clock_to(1_500)?;
    /// assert_eq!(seen.take(), [Event::Watermark(49)]);
    /// # let _ = silent;
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn idleness(mut self, timeout: Duration) -> Self {
        self.idleness = Some(timeout);
        self
    }
}

/// A generator with a timestamp assigner of its own: made by [`WatermarkStrategy::by`].
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
/// Source: Flink's `forBoundedOutOfOrderness`.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Env, Tumbling, bounded};
///
/// let env = Env::new().parallelism(1).batch_records(1);
/// let times = env.from_elements([8_i64, 12, 9, 15, 7]); // After 15 the watermark is 9: 7 is too late.
/// let times = times.watermarks(bounded(Duration::from_millis(5)).by(|n: &i64| *n));
/// let windows = times.window_all(Tumbling::of(Duration::from_millis(10)));
/// let sums = windows.sum(|n| n).collect();
/// let result = env.execute()?;
/// assert_eq!((sums.take(), result.late_records_dropped()), (vec![8 + 9, 12 + 15], 1));
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn bounded<T>(delay: Duration) -> WatermarkStrategy<T, Bounded> {
    let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    WatermarkStrategy {
        generator: Bounded { delay, greatest: i64::MIN },
        idleness: None,
        record: PhantomData,
    }
}

/// Timestamps never go back: [`bounded`] with no delay, so the watermark is the greatest timestamp so far, less 1 ms. Source:
/// Flink's `forMonotonousTimestamps`.
///
/// ```
/// use thalweg::testing::{Event, Recorder};
/// use thalweg::{Env, MAX_WATERMARK, monotonous};
///
/// let env = Env::new().parallelism(1).batch_records(1);
/// let seen = Recorder::new();
/// env.from_elements([5_i64, 5]).watermarks(monotonous().by(|n: &i64| *n)).sink("seen", seen.clone());
/// env.execute()?;
/// let five = Event::Record(5, Some(5)); // Another with this timestamp may follow.
/// assert_eq!(seen.take(), [five.clone(), Event::Watermark(4), five, Event::Watermark(MAX_WATERMARK)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn monotonous<T>() -> WatermarkStrategy<T, Bounded> {
    bounded(Duration::ZERO)
}

/// No watermark but the last, at the end of input: all windows fire then. Source: Flink's `noWatermarks`.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Env, Tumbling, no_watermarks};
///
/// let env = Env::new().parallelism(1);
/// let times = env.from_elements([95_i64, 3, 7]).watermarks(no_watermarks().by(|n: &i64| *n));
/// let sums = times.window_all(Tumbling::of(Duration::from_millis(10))).sum(|n| n).collect();
/// let result = env.execute()?;
/// assert_eq!((sums.take(), result.late_records_dropped()), (vec![10, 95], 0)); // Nothing is late.
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn no_watermarks<T>() -> WatermarkStrategy<T, NoWatermarks> {
    WatermarkStrategy { generator: NoWatermarks, idleness: None, record: PhantomData }
}

/// A record may carry a watermark: what the function makes of it and its timestamp, in ms, goes out behind the record. Source: the
/// *punctuated* generator of Flink's documentation.
///
/// ```
/// use thalweg::testing::{Event, Recorder};
/// use thalweg::{Env, MAX_WATERMARK, punctuated};
///
/// let env = Env::new().parallelism(1);
/// let seen = Recorder::new();
/// let entries = env.from_elements([(10_i64, "paid"), (12, "flush"), (15, "paid")]);
/// let flush = |entry: &(i64, &str), timestamp| (entry.1 == "flush").then_some(timestamp);
/// entries.watermarks(punctuated(flush).by(|entry: &(i64, &str)| entry.0)).sink("seen", seen.clone());
/// env.execute()?;
/// let watermarks = seen.take().into_iter().filter(|event| matches!(event, Event::Watermark(_)));
/// assert!(watermarks.eq([Event::Watermark(12), Event::Watermark(MAX_WATERMARK)]));
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn punctuated<T, F>(watermark: F) -> WatermarkStrategy<T, Punctuated<F>>
where
    F: FnMut(&T, Timestamp) -> Option<Timestamp> + Clone + Send + Sync + 'static,
{
    WatermarkStrategy { generator: Punctuated { watermark }, idleness: None, record: PhantomData }
}

/// The generator of [`bounded`] and [`monotonous`]. Source: Flink's `BoundedOutOfOrdernessWatermarks`.
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
