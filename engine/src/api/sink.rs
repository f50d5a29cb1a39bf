//! Where records go to.

use std::io::Write;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_net::Signal;

use crate::data_plane::subtask::Guard;
use crate::error::{Error, Result};
use crate::operator::output::{Control, Output, Stage};
use crate::time::Timestamp;

/// Takes the records of a stream: makes one writer for each parallel subtask.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use thalweg::{Env, Result, Sink, SinkContext, SinkWriter};
///
/// static SUM: AtomicU64 = AtomicU64::new(0);
///
/// #[derive(Clone)]
/// struct Sum(u64);
///
/// impl Sink<u64> for Sum {
///     type Writer = Sum;
///     fn writer(&self, _: &SinkContext) -> Result<Sum> {
///         Ok(self.clone())
///     }
/// }
///
/// impl SinkWriter<u64> for Sum {
///     fn write(&mut self, record: &u64, _timestamp: i64) -> Result<()> {
///         self.0 += record;
///         Ok(())
///     }
///     fn close(&mut self) -> Result<()> {
///         SUM.fetch_add(self.0, Ordering::Relaxed);
///         Ok(())
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// env.from_elements([1_u64, 2, 3]).sink("sum", Sum(0));
/// env.execute()?;
/// assert_eq!(SUM.load(Ordering::Relaxed), 6);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait Sink<T>: Clone + Send + Sync + 'static {
    /// What writes in one subtask.
    type Writer: SinkWriter<T>;

    /// The writer of one subtask, made on the core where it will run.
    ///
    /// Errors fail the job before its first record.
    fn writer(&self, cx: &SinkContext) -> Result<Self::Writer>;
}

/// Writes one subtask's records.
pub trait SinkWriter<T>: 'static {
    /// Takes a record and its timestamp in ms ([`crate::NO_TIMESTAMP`] when it has none). Errors fail the job.
    fn write(&mut self, record: &T, timestamp: Timestamp) -> Result<()>;

    /// Takes a watermark. Most sinks have no use for it.
    fn watermark(&mut self, _watermark: Timestamp) {}

    /// The input has run dry: what is buffered goes out. Errors fail the job.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// The input has ended. Errors fail the job.
    fn close(&mut self) -> Result<()> {
        self.flush()
    }
}

/// The place of a writer in the job.
#[derive(Debug, Clone, Copy)]
pub struct SinkContext {
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
}

impl SinkContext {
    /// Which of the parallel writers this is, from 0.
    pub fn subtask(&self) -> usize {
        self.subtask
    }

    /// How many writers there are.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }
}

/// The end of a chain.
pub(crate) struct SinkOutput<W, T> {
    writer: W,
    guard: Guard,
    record: PhantomData<fn(T)>,
}

impl<W, T> SinkOutput<W, T> {
    pub(crate) fn new(writer: W, guard: Guard) -> Self {
        Self { writer, guard, record: PhantomData }
    }
}

impl<T: 'static, W: SinkWriter<T>> SinkOutput<W, T> {
    #[inline]
    fn check(&self, result: Result<()>) {
        if let Err(error) = result {
            self.guard.fail_with(error);
        }
    }
}

impl<T: 'static, W: SinkWriter<T>> Output<T> for SinkOutput<W, T> {
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        let result = self.writer.write(record, timestamp);
        self.check(result);
    }
}

impl<T: 'static, W: SinkWriter<T>> Stage for SinkOutput<W, T> {
    fn control(&mut self, control: Control) {
        let result = match control {
            Control::Signal(Signal::Watermark(watermark)) => {
                self.writer.watermark(watermark);
                Ok(())
            }
            Control::Signal(Signal::End) => self.writer.close(),
            Control::Flush => self.writer.flush(),
            _ => Ok(()),
        };
        self.check(result);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The records of a stream, once the job has run. See [`crate::Stream::collect`].
#[derive(Debug)]
pub struct Collected<T> {
    records: Arc<Mutex<Vec<T>>>,
}

impl<T> Collected<T> {
    pub(crate) fn new() -> Self {
        Self { records: Arc::default() }
    }

    /// Takes the records out. Those of one subtask stand in their order; subtasks stand in the order in which they ended.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self { records: self.records.clone() }
    }
}

/// The writer behind [`Collected`]: gathers on its own core, hands over when its input runs dry.
#[derive(Debug)]
pub struct CollectWriter<T> {
    mine: Vec<T>,
    all: Collected<T>,
}

impl<T: Clone + Send + 'static> Sink<T> for Collected<T> {
    type Writer = CollectWriter<T>;

    fn writer(&self, _cx: &SinkContext) -> Result<CollectWriter<T>> {
        Ok(CollectWriter { mine: Vec::new(), all: self.clone() })
    }
}

impl<T: Clone + Send + 'static> SinkWriter<T> for CollectWriter<T> {
    fn write(&mut self, record: &T, _timestamp: Timestamp) -> Result<()> {
        self.mine.push(record.clone());
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.all.records.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.mine);
        Ok(())
    }
}

/// Drops every record.
#[derive(Debug, Clone, Copy)]
pub struct Blackhole;

impl<T: 'static> Sink<T> for Blackhole {
    type Writer = Blackhole;

    fn writer(&self, _cx: &SinkContext) -> Result<Blackhole> {
        Ok(Blackhole)
    }
}

impl<T: 'static> SinkWriter<T> for Blackhole {
    #[inline]
    fn write(&mut self, record: &T, _timestamp: Timestamp) -> Result<()> {
        std::hint::black_box(record);
        Ok(())
    }
}

/// Prints records to standard output, with Flink's prefix `n> ` when there are several subtasks.
#[derive(Debug, Clone, Copy)]
pub struct Print;

/// Writes lines to standard output or a file, a batch at a time.
#[derive(Debug)]
pub struct LineWriter<W: Write> {
    prefix: String,
    lines: Vec<u8>,
    path: PathBuf,
    out: W,
}

/// How much a line writer gathers before it writes, in bytes.
const LINES_BYTES: usize = 64 << 10;

impl<W: Write> LineWriter<W> {
    fn push(&mut self, line: std::fmt::Arguments<'_>) -> Result<()> {
        self.lines.extend_from_slice(self.prefix.as_bytes());
        self.lines
            .write_fmt(line)
            .and_then(|()| self.lines.write_all(b"\n"))
            .map_err(|e| Error::io(&self.path, e))?;
        if self.lines.len() >= LINES_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<()> {
        self.out
            .write_all(&self.lines)
            .and_then(|()| self.out.flush())
            .map_err(|e| Error::io(&self.path, e))?;
        self.lines.clear();
        Ok(())
    }
}

impl<T: std::fmt::Debug + 'static> Sink<T> for Print {
    type Writer = LineWriter<std::io::Stdout>;

    fn writer(&self, cx: &SinkContext) -> Result<Self::Writer> {
        let prefix = if cx.parallelism > 1 { format!("{}> ", cx.subtask + 1) } else { String::new() };
        Ok(LineWriter { prefix, lines: Vec::new(), path: "standard output".into(), out: std::io::stdout() })
    }
}

impl<T: std::fmt::Debug + 'static> SinkWriter<T> for LineWriter<std::io::Stdout> {
    fn write(&mut self, record: &T, _timestamp: Timestamp) -> Result<()> {
        self.push(format_args!("{record:?}"))
    }

    fn flush(&mut self) -> Result<()> {
        self.write_out()
    }
}

/// Writes records as lines of text into a folder, one file for each subtask. See [`crate::Stream::write_text_files`].
#[derive(Debug, Clone)]
pub struct TextFiles {
    folder: PathBuf,
}

impl TextFiles {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }
}

/// Writes under a temporary name, and gives the file its own when the input has ended: who finds it finds it whole.
#[derive(Debug)]
pub struct TextFileWriter {
    lines: LineWriter<std::fs::File>,
    temporary: PathBuf,
    finished: bool,
}

impl<T: std::fmt::Display + 'static> Sink<T> for TextFiles {
    type Writer = TextFileWriter;

    fn writer(&self, cx: &SinkContext) -> Result<TextFileWriter> {
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        let path = self.folder.join(format!("part-{}", cx.subtask));
        let temporary = self.folder.join(format!(".part-{}.inprogress", cx.subtask));
        let out = std::fs::File::create(&temporary).map_err(|e| Error::io(&temporary, e))?;
        let lines = LineWriter { prefix: String::new(), lines: Vec::new(), path, out };
        Ok(TextFileWriter { lines, temporary, finished: false })
    }
}

impl<T: std::fmt::Display + 'static> SinkWriter<T> for TextFileWriter {
    fn write(&mut self, record: &T, _timestamp: Timestamp) -> Result<()> {
        self.lines.push(format_args!("{record}"))
    }

    fn flush(&mut self) -> Result<()> {
        self.lines.write_out()
    }

    fn close(&mut self) -> Result<()> {
        self.lines.write_out()?;
        let path = &self.lines.path;
        let synced = self.lines.out.sync_all().and_then(|()| std::fs::rename(&self.temporary, path));
        self.finished = true;
        synced.map_err(|e| Error::io(path, e))
    }
}

impl Drop for TextFileWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.temporary); // The job failed: a part of a result is none.
        }
    }
}
