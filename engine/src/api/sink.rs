//! Where records go to.

use std::fmt::{Debug, Display};
use std::fs::{self, File};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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

/// Writes one subtask's records, on one core, in their order. See [`Sink`] for one that sums.
///
/// What is written should not leave at once, but when `flush` says so, many records at a time when there are many.
///
/// ```
/// use thalweg::{Result, SinkWriter, Timestamp};
///
/// /// Sends lines in batches.
/// struct Batches {
///     lines: Vec<String>,
///     sent: Vec<Vec<String>>,
/// }
///
/// impl SinkWriter<String> for Batches {
///     fn write(&mut self, line: &String, _: Timestamp) -> Result<()> {
///         self.lines.push(line.clone());
///         Ok(())
///     }
///
///     fn flush(&mut self) -> Result<()> {
///         self.sent.push(std::mem::take(&mut self.lines));
///         Ok(())
///     }
/// }
///
/// let mut writer = Batches { lines: vec![], sent: vec![] };
/// writer.write(&"to".into(), 0)?;
/// writer.write(&"be".into(), 0)?;
/// writer.flush()?;
/// assert_eq!(writer.sent, [["to", "be"]]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait SinkWriter<T>: 'static {
    /// Takes a record and its timestamp in ms ([`crate::NO_TIMESTAMP`] when it has none). Errors fail the job.
    fn write(&mut self, record: &T, timestamp: Timestamp) -> Result<()>;

    /// Takes a watermark. Most sinks have no use for it.
    /// Unit: ms. [`crate::MAX_WATERMARK`] when the input has ended. Default: nothing.
    fn watermark(&mut self, _watermark: Timestamp) {}

    /// The input has run dry, or [`crate::Env::buffer_timeout`] has passed: what is buffered goes out. Default: nothing. Errors
    /// fail the job.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// The input has ended, and `flush` has been called. Not called when the job has failed. Default: flushes. Errors fail the
    /// job.
    fn close(&mut self) -> Result<()> {
        self.flush()
    }
}

/// The place of a writer in the job, which [`Sink::writer`] is told. Source: Flink's `WriterInitContext`.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use thalweg::{Env, Result, Sink, SinkContext, SinkWriter, Timestamp};
///
/// static NUMBERS: AtomicUsize = AtomicUsize::new(0);
///
/// #[derive(Clone)]
/// struct Nowhere;
///
/// impl Sink<u64> for Nowhere {
///     type Writer = Nowhere;
///
///     fn writer(&self, cx: &SinkContext) -> Result<Nowhere> {
///         assert!(cx.subtask() < cx.parallelism());
///         NUMBERS.fetch_add(cx.subtask(), Ordering::Relaxed);
///         Ok(Nowhere)
///     }
/// }
///
/// impl SinkWriter<u64> for Nowhere {
///     fn write(&mut self, _: &u64, _: Timestamp) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let env = Env::new().parallelism(4);
/// env.generate(10, |n| n).sink("nowhere", Nowhere);
/// env.execute()?;
/// assert_eq!(NUMBERS.load(Ordering::Relaxed), 0 + 1 + 2 + 3);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SinkContext {
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
}

impl SinkContext {
    /// Which of the parallel writers this is, from 0. Source: Flink's `getIndexOfThisSubtask`.
    pub fn subtask(&self) -> usize {
        self.subtask
    }

    /// How many writers there are. Source: Flink's `getNumberOfParallelSubtasks`.
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
            Control::Signal(Signal::End) => self.writer.flush().and_then(|()| self.writer.close()),
            Control::Flush => self.writer.flush(),
            _ => Ok(()),
        };
        self.check(result);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The records of a stream, in memory. Made by [`crate::Stream::collect`]. Clones are the same collection, so it may be read by
/// another thread.
///
/// ```
/// let env = thalweg::Env::new().parallelism(1);
/// let collected = env.from_elements(["a", "b"]).collect();
/// let reader = collected.clone();
/// env.execute()?;
/// assert_eq!(reader.take(), ["a", "b"]);
/// assert!(collected.take().is_empty(), "they were taken");
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Collected<T> {
    records: Arc<Mutex<Vec<T>>>,
}

impl<T> Collected<T> {
    pub(crate) fn new() -> Self {
        Self { records: Arc::default() }
    }

    /// Takes the records out, also while the job runs: then those that came before their subtask's input last ran dry, or before
    /// [`crate::Env::buffer_timeout`]. Those of one subtask stand in their order; the order among subtasks is free.
    ///
    /// ```
    /// use thalweg::Env;
    /// use thalweg::testing::{Simulator, script};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let collected = env.source("script", source).collect();
    /// let mut job = Simulator::new(0).start(&env)?;
    /// input.record(1, 0);
    /// job.run_until_quiet()?;
    /// assert_eq!(collected.take(), [1]);
    /// input.record(2, 0);
    /// job.run_until_quiet()?;
    /// assert_eq!(collected.take(), [2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self { records: self.records.clone() }
    }
}

/// The writer behind [`Collected`]: gathers on its own core, hands over when its input runs dry. See [`crate::Stream::collect`].
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

/// Drops every record: the sink of [`crate::Stream::blackhole`]. Source: Flink's `DiscardingSink`.
///
/// ```
/// use thalweg::{Blackhole, Env};
///
/// let env = Env::new().parallelism(1);
/// env.generate(1_000, |n| n).sink("nowhere", Blackhole);
/// env.execute()?;
/// # Ok::<(), thalweg::Error>(())
/// ```
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

/// Prints records to standard output by their `Debug`, with Flink's prefix `n> ` (n from 1) when there are several subtasks: the
/// sink of [`crate::Stream::print`]. Source: Flink's `PrintSink`.
///
/// ```
/// use thalweg::{Env, Print};
///
/// let env = Env::new().parallelism(1);
/// env.from_elements(["to", "be"]).sink("words", Print); // "to", then "be".
/// assert_eq!(env.plan()?.nodes[1].name, "words");
/// env.execute()?;
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Print;

/// Writes lines to standard output or a file, a batch at a time.
/// Made by [`crate::Stream::print`] and [`crate::Stream::write_text_files`].
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

impl<T: Debug + 'static> Sink<T> for Print {
    type Writer = LineWriter<io::Stdout>;

    fn writer(&self, cx: &SinkContext) -> Result<Self::Writer> {
        let prefix = if cx.parallelism > 1 { format!("{}> ", cx.subtask + 1) } else { String::new() };
        Ok(LineWriter { prefix, lines: Vec::new(), path: "standard output".into(), out: io::stdout() })
    }
}

impl<T: Debug + 'static> SinkWriter<T> for LineWriter<io::Stdout> {
    fn write(&mut self, record: &T, _timestamp: Timestamp) -> Result<()> {
        self.push(format_args!("{record:?}"))
    }

    fn flush(&mut self) -> Result<()> {
        self.write_out()
    }
}

/// Writes records as lines of text into a folder, one file for each subtask. See [`crate::Stream::write_text_files`].
#[derive(Debug, Clone)]
pub(crate) struct TextFiles {
    folder: PathBuf,
    /// What the writers of a run share. A run begins when nobody holds it: no writer gets a record before all are made.
    run: Arc<Mutex<Weak<TextFilesRun>>>,
}

impl TextFiles {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), run: Arc::default() }
    }

    fn run(&self, files: usize) -> Arc<TextFilesRun> {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.upgrade().unwrap_or_else(|| {
            let folder = self.folder.clone();
            let new = Arc::new(TextFilesRun { folder, files, complete: Mutex::default() });
            *run = Arc::downgrade(&new);
            new
        })
    }
}

/// The files of one run: written under temporary names, and given their own when the last one is complete, so that whoever finds
/// them finds the whole result.
#[derive(Debug)]
struct TextFilesRun {
    folder: PathBuf,
    files: usize,
    complete: Mutex<usize>,
}

impl TextFilesRun {
    fn path(&self, subtask: usize) -> PathBuf {
        self.folder.join(format!("part-{subtask}"))
    }

    fn temporary(&self, subtask: usize) -> PathBuf {
        self.folder.join(format!(".part-{subtask}.inprogress"))
    }

    fn create(&self, subtask: usize) -> Result<File> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        // Files of fewer subtasks are replaced; of more, the rest would look like a part of this result.
        let beyond = self.path(self.files);
        if beyond.exists() {
            let why = "left by a run of more subtasks: remove it";
            return Err(Error::io(beyond, io::Error::new(io::ErrorKind::AlreadyExists, why)));
        }
        let temporary = self.temporary(subtask);
        File::create(&temporary).map_err(|e| Error::io(temporary, e))
    }

    /// One more file is complete.
    fn complete(&self) -> Result<()> {
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        *complete += 1;
        if *complete < self.files {
            return Ok(());
        }
        for subtask in 0..self.files {
            let path = self.path(subtask);
            fs::rename(self.temporary(subtask), &path).map_err(|e| Error::io(path, e))?;
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(&self.folder, e))
    }
}

impl Drop for TextFilesRun {
    fn drop(&mut self) {
        for subtask in 0..self.files {
            let _ = fs::remove_file(self.temporary(subtask)); // Still there if the job failed: a part of a result is none.
        }
    }
}

/// Writes the file of one subtask.
#[derive(Debug)]
pub(crate) struct TextFileWriter {
    lines: LineWriter<File>,
    run: Arc<TextFilesRun>,
}

impl<T: Display + 'static> Sink<T> for TextFiles {
    type Writer = TextFileWriter;

    fn writer(&self, cx: &SinkContext) -> Result<TextFileWriter> {
        let run = self.run(cx.parallelism);
        let out = run.create(cx.subtask)?;
        let path = run.path(cx.subtask);
        Ok(TextFileWriter { lines: LineWriter { prefix: String::new(), lines: Vec::new(), path, out }, run })
    }
}

impl<T: Display + 'static> SinkWriter<T> for TextFileWriter {
    fn write(&mut self, record: &T, _timestamp: Timestamp) -> Result<()> {
        self.lines.push(format_args!("{record}"))
    }

    fn flush(&mut self) -> Result<()> {
        self.lines.write_out()
    }

    fn close(&mut self) -> Result<()> {
        self.lines.write_out()?;
        self.lines.out.sync_all().map_err(|e| Error::io(&self.lines.path, e))?;
        self.run.complete()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Env;

    /// Takes this many bytes, then says that the disk is full.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.min(bytes.len()) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                taken => {
                    self.0 -= taken;
                    Ok(taken)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The names in a folder, sorted.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    fn write_numbers(folder: &Path, parallelism: usize, check: fn(u64)) -> Result<()> {
        let env = Env::new().parallelism(parallelism);
        let numbers = env.generate(1000, |n| n).map(move |n| {
            check(*n);
            *n
        });
        numbers.write_text_files(folder);
        env.execute().map(drop)
    }

    #[test]
    fn prints_with_flinks_prefix() {
        let writer = |subtask, parallelism| {
            let cx = SinkContext { subtask, parallelism };
            <Print as Sink<u64>>::writer(&Print, &cx).unwrap().prefix
        };
        assert_eq!([writer(0, 1), writer(0, 2), writer(1, 2)], ["", "1> ", "2> "]);
        let mut printed =
            LineWriter { prefix: "2> ".into(), lines: Vec::new(), path: "-".into(), out: Vec::new() };
        printed.push(format_args!("{:?}", ("to", 1))).unwrap();
        printed.push(format_args!("{}", 7)).unwrap();
        assert_eq!(printed.out, b"", "lines leave in batches");
        printed.write_out().unwrap();
        assert_eq!(printed.out, b"2> (\"to\", 1)\n2> 7\n");
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut lines =
            LineWriter { prefix: String::new(), lines: Vec::new(), path: "out".into(), out: Disk(5) };
        lines.push(format_args!("abc")).unwrap();
        lines.write_out().unwrap();
        lines.push(format_args!("abc")).unwrap();
        let Err(Error::Io { path, source }) = lines.write_out() else { panic!("the disk is full") };
        assert_eq!((path.as_path(), source.kind()), (Path::new("out"), io::ErrorKind::StorageFull));
    }

    #[test]
    fn each_subtask_writes_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made/here");
        write_numbers(&folder, 2, |_| ()).unwrap();
        assert_eq!(names(&folder), ["part-0", "part-1"]);
        let lines = |part| fs::read_to_string(folder.join(part)).unwrap();
        let every_second =
            |first: u64| (first..1000).step_by(2).map(|n| format!("{n}\n")).collect::<String>();
        assert_eq!((lines("part-0"), lines("part-1")), (every_second(0), every_second(1)));

        // Another run of as many subtasks replaces them, one of fewer would leave a mixture.
        write_numbers(&folder, 2, |_| ()).unwrap();
        match write_numbers(&folder, 1, |_| ()) {
            Err(Error::Io { path, .. }) => assert_eq!(path, folder.join("part-1")),
            other => panic!("{other:?}"),
        }
        assert_eq!(names(&folder), ["part-0", "part-1"]);
    }

    #[test]
    fn a_job_that_fails_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let result = write_numbers(folder.path(), 2, |n| assert!(n < 999, "the last record"));
        assert!(matches!(result, Err(Error::Panic { .. })));
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn no_file_appears_before_all_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let sink = TextFiles::new(folder.path());
        let writer = |subtask| {
            <TextFiles as Sink<u64>>::writer(&sink, &SinkContext { subtask, parallelism: 2 }).unwrap()
        };
        let (mut first, mut second) = (writer(0), writer(1));
        first.write(&1_u64, 0).unwrap();
        <TextFileWriter as SinkWriter<u64>>::close(&mut first).unwrap();
        drop(first); // Its core may end long before the other.
        assert_eq!(names(folder.path()), [".part-0.inprogress", ".part-1.inprogress"]);
        <TextFileWriter as SinkWriter<u64>>::close(&mut second).unwrap();
        assert_eq!(names(folder.path()), ["part-0", "part-1"]);
        drop(second);
        assert_eq!(names(folder.path()), ["part-0", "part-1"]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        match write_numbers(&file.join("below"), 2, |_| ()) {
            Err(Error::Io { path, .. }) => assert_eq!(path, file.join("below")),
            other => panic!("{other:?}"),
        }
    }
}
