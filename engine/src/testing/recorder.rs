//! A sink that keeps everything.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::sink::{Sink, SinkContext, SinkWriter};
use crate::error::Result;
use crate::time::{NO_TIMESTAMP, Timestamp};

/// What arrived at a [`Recorder`].
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
    /// A recorder that has seen nothing.
    pub fn new() -> Self {
        Self { events: Arc::default() }
    }

    /// Takes out what has come since the last time, also while the job runs.
    pub fn take(&self) -> Vec<Event<T>> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// [`take`](Self::take) for who wants the records alone.
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
