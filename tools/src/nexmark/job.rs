//! What all NEXMark jobs share: the source that reads a data set, and the sink that digests results.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use thalweg::{
    Error, Output, Result, Sink, SinkContext, SinkWriter, Source, SourceContext, SourceOutput, SourceReader,
    SourceStatus, Timestamp,
};

use super::event::AHEAD_LINES;
use super::{Cursor, DataSet, Digest, Event};

/// A data set as a source: subtask i reads shard i, which lies in memory. Cloning shares the data.
#[derive(Clone, Debug)]
pub struct Events {
    data: Arc<DataSet>,
    passes: u64,
    progress: Arc<Progress>,
}

/// How far the readers are.
#[derive(Debug)]
struct Progress {
    read: Vec<AtomicU64>,
    /// When the last of the readers had read half of its events.
    half: Mutex<Option<Instant>>,
}

impl Events {
    /// The events of `data`, `passes` times over.
    pub fn new(data: Arc<DataSet>, passes: u64) -> Self {
        let read = data.shards.iter().map(|_| AtomicU64::new(0)).collect();
        Self { data, passes, progress: Arc::new(Progress { read, half: Mutex::new(None) }) }
    }

    /// How many events there are, over all passes.
    pub fn count(&self) -> u64 {
        self.data.meta.events * self.passes
    }

    /// How many events have been read so far.
    pub fn read(&self) -> u64 {
        self.progress.read.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// When half of the events had been read.
    pub fn half_read_at(&self) -> Option<Instant> {
        *self.progress.half.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Events {
    type Item = Event;
    type Reader = EventReader;

    fn reader(&self, cx: &SourceContext) -> Result<EventReader> {
        let (subtask, parallelism) = (cx.subtask(), cx.parallelism());
        let shard =
            self.data.shards.get(subtask).filter(|_| self.data.shards.len() == parallelism).ok_or_else(
                || {
                    let shards = self.data.shards.len();
                    Error::Config {
                        name: "parallelism",
                        reason: format!("{parallelism} readers cannot share {shards} shards"),
                    }
                },
            )?;
        let half = shard.events() * self.passes / 2;
        let cursor = Cursor::new(shard, self.passes);
        Ok(EventReader { cursor, read: 0, half, subtask, progress: self.progress.clone() })
    }
}

/// Walks one shard.
#[derive(Debug)]
pub struct EventReader {
    cursor: Cursor,
    read: u64,
    half: u64,
    subtask: usize,
    progress: Arc<Progress>,
}

impl EventReader {
    /// Once per batch: nobody else writes this counter, so a plain store does.
    fn note_progress(&mut self, records: u64) {
        let before = self.read;
        self.read += records;
        self.progress.read[self.subtask].store(self.read, Ordering::Relaxed);
        if before < self.half && self.read >= self.half {
            let mut half = self.progress.half.lock().unwrap_or_else(PoisonError::into_inner);
            *half = Some(Instant::now());
        }
    }
}

impl SourceReader for EventReader {
    type Item = Event;

    fn poll<N: Output<Event>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        let mut read = 0;
        let status = loop {
            if out.is_full() {
                break SourceStatus::More;
            }
            match self.cursor.next(thalweg::prefetch_lines::<AHEAD_LINES>) {
                Some(event) => out.collect_at(event, event.time()),
                None => break SourceStatus::End,
            }
            read += 1;
        };
        self.note_progress(read);
        Ok(status)
    }
}

/// Adds up the hashes of the rows that reach it; `digest` says how a row is hashed and which sign it has.
pub struct DigestSink<F> {
    digest: F,
    total: DigestTotal,
}

/// What all subtasks of a [`DigestSink`] received, once the job has run.
#[derive(Clone, Debug, Default)]
pub struct DigestTotal(Arc<Mutex<Closed>>);

/// What the subtasks that have ended received.
#[derive(Debug, Default)]
struct Closed {
    digest: Digest,
    last_at: Option<Instant>,
}

impl DigestTotal {
    /// The sum over the subtasks that have ended.
    pub fn get(&self) -> Digest {
        self.lock().digest
    }

    /// When the last of them had received its last row.
    pub fn closed_at(&self) -> Option<Instant> {
        self.lock().last_at
    }

    fn lock(&self) -> MutexGuard<'_, Closed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> DigestSink<F> {
    /// A sink that calls `digest` for each row, and adds its result to `total` when the input has ended.
    pub fn new(total: &DigestTotal, digest: F) -> Self {
        Self { digest, total: total.clone() }
    }
}

impl<F: Clone> Clone for DigestSink<F> {
    fn clone(&self) -> Self {
        Self { digest: self.digest.clone(), total: self.total.clone() }
    }
}

/// The part of a [`DigestSink`] in one subtask.
pub struct DigestWriter<F> {
    digest: F,
    sum: Digest,
    total: DigestTotal,
}

impl<T: 'static, F: Fn(&T, &mut Digest) + Clone + Send + Sync + 'static> Sink<T> for DigestSink<F> {
    type Writer = DigestWriter<F>;

    fn writer(&self, _cx: &SinkContext) -> Result<DigestWriter<F>> {
        Ok(DigestWriter { digest: self.digest.clone(), sum: Digest::default(), total: self.total.clone() })
    }
}

impl<T: 'static, F: Fn(&T, &mut Digest) + 'static> SinkWriter<T> for DigestWriter<F> {
    #[inline]
    fn write(&mut self, row: &T, _timestamp: Timestamp) -> Result<()> {
        (self.digest)(row, &mut self.sum);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let mut closed = self.total.lock();
        closed.digest.merge(&self.sum);
        closed.last_at = Some(Instant::now());
        Ok(())
    }
}
