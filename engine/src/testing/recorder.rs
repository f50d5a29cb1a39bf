//! A sink that keeps everything.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::sink::{Sink, SinkContext, SinkWriter};
use crate::error::Result;
use crate::time::{NO_TIMESTAMP, Timestamp};

/// What arrived at a [`Recorder`]. Idleness, and all else that is neither, leaves no trace.
///
/// ```
/// use thalweg::testing::Event;
///
/// let seen = [Event::Record('a', Some(5)), Event::Watermark(9)];
/// let late = seen.iter().filter(|event| matches!(event, Event::Record(_, Some(..5)))).count();
/// assert_eq!(late, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<T> {
    /// A record, with its timestamp in ms if it has one.
    Record(T, Option<Timestamp>),
    /// A watermark; [`crate::MAX_WATERMARK`] when the input has ended.
    Watermark(Timestamp),
}

/// A sink that keeps the records, their timestamps and the watermarks, in the order in which they came. With several subtasks,
/// those of each stand in their order.
///
/// ```
/// use thalweg::testing::{Event, Recorder};
///
/// let env = thalweg::Env::new().parallelism(1);
/// let seen = Recorder::new();
/// env.from_elements([1, 2]).sink("recorder", seen.clone());
/// env.execute()?;
/// let expected = [Event::Record(1, None), Event::Record(2, None), Event::Watermark(thalweg::MAX_WATERMARK)];
/// assert_eq!(seen.take(), expected);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Recorder<T> {
    events: Arc<Mutex<Vec<Event<T>>>>,
}

impl<T> Recorder<T> {
    /// A recorder that has seen nothing. Clones of it record into the same list.
    ///
    /// ```
    /// use thalweg::testing::Recorder;
    ///
    /// assert!(Recorder::<u64>::new().take().is_empty());
    /// ```
    pub fn new() -> Self {
        Self { events: Arc::default() }
    }

    /// Takes out what has come since the last time, also while the job runs.
    ///
    /// ```
    /// use thalweg::testing::{Event, Recorder, Simulator, script};
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (input, source) = script::<char>();
    /// let seen = Recorder::new();
    /// env.source("script", source).sink("seen", seen.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// input.record('a', 1);
    /// job.run_until_quiet()?;
    /// assert_eq!(seen.take(), [Event::Record('a', Some(1))]);
    /// input.watermark(7);
    /// job.run_until_quiet()?;
    /// assert_eq!(seen.take(), [Event::Watermark(7)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn take(&self) -> Vec<Event<T>> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// [`take`](Self::take) for who wants the records alone. Watermarks and timestamps are dropped.
    ///
    /// ```
    /// use thalweg::testing::Recorder;
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let seen = Recorder::new();
    /// env.from_elements(["to", "be"]).sink("seen", seen.clone());
    /// env.execute()?;
    /// assert_eq!(seen.take_records(), ["to", "be"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn take_records(&self) -> Vec<T> {
        let record = |event| match event {
            Event::Record(record, _) => Some(record),
            Event::Watermark(_) => None,
        };
        self.take().into_iter().filter_map(record).collect()
    }

    fn push(&self, event: Event<T>) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

impl<T> Default for Recorder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone() }
    }
}

impl<T: Clone + Send + 'static> Sink<T> for Recorder<T> {
    type Writer = Self;

    fn writer(&self, _cx: &SinkContext) -> Result<Self> {
        Ok(self.clone())
    }
}

impl<T: Clone + Send + 'static> SinkWriter<T> for Recorder<T> {
    fn write(&mut self, record: &T, timestamp: Timestamp) -> Result<()> {
        self.push(Event::Record(record.clone(), (timestamp != NO_TIMESTAMP).then_some(timestamp)));
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp) {
        self.push(Event::Watermark(watermark));
    }
}
