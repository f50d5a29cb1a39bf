//! Where records come from.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data_plane::subtask::Guard;
use crate::error::Result;
use crate::operator::output::{Control, Output, Stage};
use crate::runtime::bell::Bell;
use crate::time::Timestamp;

/// What a reader has to say after a poll.
///
/// ```
/// use thalweg::testing::{Event, Recorder, Simulator};
/// use thalweg::{Env, Output, Result, Source, SourceContext, SourceOutput, SourceReader, SourceStatus, Timestamp};
///
/// /// One record every 100 ms of the clock.
/// #[derive(Clone)]
/// struct Ticks {
///     next: Timestamp,
/// }
///
/// impl Source for Ticks {
///     type Item = Timestamp;
///     type Reader = Ticks;
///
///     fn reader(&self, _: &SourceContext) -> Result<Ticks> {
///         Ok(self.clone())
///     }
/// }
///
/// impl SourceReader for Ticks {
///     type Item = Timestamp;
///
///     fn poll<N: Output<Timestamp>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
///         if out.now() >= self.next && !out.is_full() {
///             out.collect_at(&self.next, self.next);
///             self.next += 100;
///         }
///         Ok(SourceStatus::Waiting { until: Some(self.next) })
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let ticks = Recorder::new();
/// env.source("ticks", Ticks { next: 100 }).sink("seen", ticks.clone());
/// let mut job = Simulator::new(0).start(&env)?;
/// job.advance_clock_to(250)?;
/// assert_eq!(ticks.take(), [Event::Record(100, Some(100)), Event::Record(200, Some(200))]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStatus {
    /// There is more: poll again soon.
    More,
    /// There is nothing now. Poll again at `until` (ms of processing time), or when the reader rings its [`Bell`].
    Waiting {
        /// `None`: only when the bell rings.
        until: Option<Timestamp>,
    },
    /// There will never be more.
    End,
}

/// A place that records come from: makes one reader for each parallel subtask.
///
/// ```
/// use thalweg::{Env, Result, Source, SourceContext, SourceOutput, SourceReader, SourceStatus, Output};
///
/// #[derive(Clone)]
/// struct Countdown(u64);
///
/// impl Source for Countdown {
///     type Item = u64;
///     type Reader = Countdown;
///     fn reader(&self, _: &SourceContext) -> Result<Countdown> {
///         Ok(self.clone())
///     }
/// }
///
/// impl SourceReader for Countdown {
///     type Item = u64;
///     fn poll<N: Output<u64>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
///         while self.0 > 0 {
///             if out.is_full() {
///                 return Ok(SourceStatus::More);
///             }
///             self.0 -= 1;
///             out.collect(&self.0);
///         }
///         Ok(SourceStatus::End)
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let result = env.source("countdown", Countdown(3)).collect();
/// env.execute()?;
/// assert_eq!(result.take(), [2, 1, 0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait Source: Clone + Send + Sync + 'static {
    /// What it reads.
    type Item: 'static;
    /// What reads it in one subtask.
    type Reader: SourceReader<Item = Self::Item>;

    /// The reader of one subtask, made on the core where it will run.
    ///
    /// Errors fail the job before its first record.
    fn reader(&self, cx: &SourceContext) -> Result<Self::Reader>;
}

/// Reads one subtask's share of a source. See [`Source`] for one that counts down, [`SourceStatus`] for one that waits, and
/// [`SourceContext::bell`] for one that another thread feeds. Source: Flink's `SourceReader`.
pub trait SourceReader: 'static {
    /// What it reads. Records are lent to the chain, so a reader may hand out the same object again and again.
    type Item: 'static;

    /// Gives records to `out` until it is full, nothing is there, or the end has come. Never blocks.
    ///
    /// Errors fail the job.
    fn poll<N: Output<Self::Item>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus>;
}

/// The place of a reader in the job, which [`Source::reader`] is told. Source: Flink's `SourceReaderContext`.
///
/// ```
/// use thalweg::{Env, Output, Result, Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
///
/// /// In each subtask: its number, how many there are, and whether this is a simulation.
/// #[derive(Clone)]
/// struct Places;
///
/// impl Source for Places {
///     type Item = (usize, usize, bool);
///     type Reader = Place;
///
///     fn reader(&self, cx: &SourceContext) -> Result<Place> {
///         Ok(Place((cx.subtask(), cx.parallelism(), cx.is_simulated())))
///     }
/// }
///
/// struct Place((usize, usize, bool));
///
/// impl SourceReader for Place {
///     type Item = (usize, usize, bool);
///
///     fn poll<N: Output<Self::Item>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
///         if out.is_full() {
///             return Ok(SourceStatus::More);
///         }
///         out.collect(&self.0);
///         Ok(SourceStatus::End)
///     }
/// }
///
/// let env = Env::new().parallelism(2);
/// let places = env.source("places", Places).collect();
/// env.execute()?;
/// let mut places = places.take();
/// places.sort();
/// assert_eq!(places, [(0, 2, false), (1, 2, false)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SourceContext {
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
    pub(crate) bell: Bell,
    pub(crate) is_simulated: bool,
    /// Whether the reader asked for the bell.
    pub(crate) took_bell: Arc<AtomicBool>,
}

impl SourceContext {
    /// Which of the parallel readers this is, from 0. Source: Flink's `getIndexOfSubtask`.
    pub fn subtask(&self) -> usize {
        self.subtask
    }

    /// How many readers there are. Source: Flink's `currentParallelism`.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// Whether the job runs in a [`crate::testing::Simulator`], where a reader has no threads of its own.
    pub fn is_simulated(&self) -> bool {
        self.is_simulated
    }

    /// Wakes the reader's core, from any thread. A simulated job that has other threads could not be repeated, so there the job
    /// fails with [`crate::Error::Plan`] if a reader asks for the bell.
    ///
    /// A source whose records come from a thread of its own rings when it has put one where the reader looks:
    ///
    /// ```
    /// use std::sync::mpsc::{Receiver, TryRecvError, channel};
    /// use std::thread;
    /// use thalweg::{Env, Output, Result, Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
    ///
    /// #[derive(Clone)]
    /// struct FromThread;
    ///
    /// impl Source for FromThread {
    ///     type Item = u64;
    ///     type Reader = Received;
    ///
    ///     fn reader(&self, cx: &SourceContext) -> Result<Received> {
    ///         let (sender, received) = channel();
    ///         let bell = cx.bell();
    ///         thread::spawn(move || {
    ///             for n in 0..3 {
    ///                 sender.send(n).unwrap();
    ///                 bell.ring();
    ///             }
    ///             drop(sender);
    ///             bell.ring(); // The end is something to see, too.
    ///         });
    ///         Ok(Received(received))
    ///     }
    /// }
    ///
    /// struct Received(Receiver<u64>);
    ///
    /// impl SourceReader for Received {
    ///     type Item = u64;
    ///
    ///     fn poll<N: Output<u64>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
    ///         while !out.is_full() {
    ///             match self.0.try_recv() {
    ///                 Ok(n) => out.collect(&n),
    ///                 Err(TryRecvError::Empty) => return Ok(SourceStatus::Waiting { until: None }),
    ///                 Err(TryRecvError::Disconnected) => return Ok(SourceStatus::End),
    ///             }
    ///         }
    ///         Ok(SourceStatus::More)
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(1);
    /// let numbers = env.source("thread", FromThread).collect();
    /// env.execute()?;
    /// assert_eq!(numbers.take(), [0, 1, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn bell(&self) -> Bell {
        self.took_bell.store(true, Ordering::Relaxed);
        self.bell.clone()
    }
}

/// Where a reader puts its records, its watermarks, and word of its idleness. Lent to it for one poll. Source: Flink's
/// `ReaderOutput`.
///
/// ```
/// use thalweg::testing::{Event, Recorder};
/// use thalweg::{Env, MAX_WATERMARK, Output, Result, Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
///
/// /// A log that knows its times.
/// #[derive(Clone)]
/// struct Log(Vec<(i64, char)>);
///
/// impl Source for Log {
///     type Item = char;
///     type Reader = Log;
///
///     fn reader(&self, _: &SourceContext) -> Result<Log> {
///         Ok(self.clone())
///     }
/// }
///
/// impl SourceReader for Log {
///     type Item = char;
///
///     fn poll<N: Output<char>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
///         while !out.is_full() {
///             let Some((time, letter)) = self.0.pop() else { return Ok(SourceStatus::End) };
///             out.collect_at(&letter, time);
///             out.watermark(time);
///         }
///         Ok(SourceStatus::More)
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let seen = Recorder::new();
/// env.source("log", Log(vec![(5, 'b'), (3, 'a')])).sink("seen", seen.clone());
/// env.execute()?;
/// let (a, b) = (Event::Record('a', Some(3)), Event::Record('b', Some(5)));
/// assert_eq!(seen.take(), [a, Event::Watermark(3), b, Event::Watermark(5), Event::Watermark(MAX_WATERMARK)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct SourceOutput<'a, N> {
    next: &'a mut N,
    guard: &'a Guard,
    /// Records that it may still give in this turn; none when the chain behind it cannot take any.
    allowance: &'a Cell<u32>,
    batch: u32,
    controlled: bool,
    said: Said,
}

/// What a reader has said about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    pub(crate) is_idle: bool,
    pub(crate) watermark: Timestamp,
}

impl Default for Said {
    fn default() -> Self {
        Self { is_idle: false, watermark: Timestamp::MIN }
    }
}

impl<'a, N: Stage> SourceOutput<'a, N> {
    /// A turn of up to `batch` records, of a reader that has `said` so much.
    pub(crate) fn new(next: &'a mut N, guard: &'a Guard, batch: u32, said: Said) -> Self {
        let allowance = guard.switch.allowance();
        allowance.set(allowance.get().min(batch));
        Self { next, guard, allowance, batch, controlled: false, said }
    }

    /// Whether the reader shall return before its next record: its turn is over ([`crate::Env::batch_records`]), or an output has
    /// no credit. A record that is given nevertheless is taken. See [`Source`] for an example.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.allowance.get() == 0
    }

    /// The processing-time clock, in ms since the epoch, as of the start of this poll.
    /// See [`SourceStatus`] for an example.
    pub fn now(&self) -> Timestamp {
        self.guard.now()
    }

    pub(crate) fn has_emitted(&self) -> bool {
        self.allowance.get() < self.batch || self.controlled
    }

    pub(crate) fn said(&self) -> Said {
        self.said
    }

    /// Emits a record without a timestamp. See [`Source`] for an example.
    #[inline]
    pub fn collect<T>(&mut self, record: &T)
    where
        N: Output<T>,
    {
        self.collect_at(record, crate::time::NO_TIMESTAMP);
    }

    /// Emits a record with its timestamp, in ms. See [`SourceOutput`] for an example.
    #[inline]
    pub fn collect_at<T>(&mut self, record: &T, timestamp: Timestamp)
    where
        N: Output<T>,
    {
        if self.said.is_idle {
            self.set_idle(false);
        }
        self.allowance.set(self.allowance.get().saturating_sub(1));
        self.next.collect(record, timestamp);
    }

    /// Emits a watermark, in ms: no record with a timestamp up to it will follow. One that does is late. One that is not
    /// above the one before does no more than end an idle time. Source: Flink's `WatermarkOutput.emitWatermark`. See
    /// [`SourceOutput`] for an example.
    pub fn watermark(&mut self, watermark: Timestamp) {
        if self.said.is_idle {
            self.set_idle(false);
        }
        if watermark <= self.said.watermark {
            return;
        }
        self.said.watermark = watermark;
        self.controlled = true;
        self.next.control(Control::watermark(watermark));
    }

    /// Says that nothing will come for a while, so that no one waits for this source's watermark; or that it is back. A record or
    /// a watermark also says that it is back. Source: Flink's `markIdle` and `markActive`.
    ///
    /// [`crate::testing::Script::idle`] has it said in a test, where there is an example.
    pub fn set_idle(&mut self, idle: bool) {
        if std::mem::replace(&mut self.said.is_idle, idle) != idle {
            self.controlled = true;
            self.next.control(Control::idle(idle));
        }
    }
}

/// Records that are in memory already. Each subtask takes every n-th. Made by [`crate::Env::from_elements`].
#[derive(Debug)]
pub struct Elements<T> {
    records: Arc<[T]>,
    next: usize,
    step: usize,
}

impl<T> Elements<T> {
    pub(crate) fn new(records: impl IntoIterator<Item = T>) -> Self {
        Self { records: records.into_iter().collect(), next: 0, step: 1 }
    }
}

impl<T> Clone for Elements<T> {
    fn clone(&self) -> Self {
        Self { records: self.records.clone(), ..*self }
    }
}

impl<T: Send + Sync + 'static> Source for Elements<T> {
    type Item = T;
    type Reader = Elements<T>;

    fn reader(&self, cx: &SourceContext) -> Result<Self> {
        Ok(Self { records: self.records.clone(), next: cx.subtask, step: cx.parallelism })
    }
}

impl<T: 'static> SourceReader for Elements<T> {
    type Item = T;

    fn poll<N: Output<T>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        while let Some(record) = self.records.get(self.next) {
            if out.is_full() {
                return Ok(SourceStatus::More);
            }
            out.collect(record);
            self.next += self.step;
        }
        Ok(SourceStatus::End)
    }
}

/// Records made from their number: replayable and splittable, as subtask i of n makes numbers i, i + n, ... Made by
/// [`crate::Env::generate`].
#[derive(Debug, Clone)]
pub struct Generated<F> {
    make: F,
    next: u64,
    step: u64,
    count: u64,
}

impl<F> Generated<F> {
    pub(crate) fn new(count: u64, make: F) -> Self {
        Self { make, next: 0, step: 1, count }
    }
}

impl<T: 'static, F: FnMut(u64) -> T + Clone + Send + Sync + 'static> Source for Generated<F> {
    type Item = T;
    type Reader = Self;

    fn reader(&self, cx: &SourceContext) -> Result<Self> {
        Ok(Self { next: cx.subtask as u64, step: cx.parallelism as u64, ..self.clone() })
    }
}

impl<T: 'static, F: FnMut(u64) -> T + 'static> SourceReader for Generated<F> {
    type Item = T;

    fn poll<N: Output<T>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        while self.next < self.count {
            if out.is_full() {
                return Ok(SourceStatus::More);
            }
            out.collect(&(self.make)(self.next));
            self.next += self.step;
        }
        Ok(SourceStatus::End)
    }
}
