//! Lines of a text file, divided among the subtasks by byte ranges.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memchr::memchr;

use super::feed::{Chunks, Feed};
use super::lines::LineSplitter;
use super::reader::LineReader;
use crate::api::source::{Source, SourceContext};
use crate::error::{Error, Result};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Lines of a text file. See [`crate::Env::read_text_file`].
///
/// Subtask i of n owns the lines that start in the i-th of n equal ranges of bytes. The file's length counts as of the start of the job:
/// lines that are appended while it runs are not read.
#[derive(Debug, Clone)]
pub struct TextFile {
    path: PathBuf,
    /// The length in bytes that all readers of a run go by, as a file that grows between two looks would be divided in two ways. A
    /// run begins when nobody holds it: no reader takes a line before all are made.
    length: Arc<Mutex<Weak<u64>>>,
}

impl TextFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), length: Arc::default() }
    }

    fn open(&self) -> io::Result<(File, Arc<u64>)> {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(&self.path)?;
        if metadata.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file, cannot be divided"));
        }
        let file = File::open(&self.path)?;
        let mut shared = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        let length = match shared.upgrade() {
            Some(length) => length,
            None => Arc::new(file.metadata()?.len()),
        };
        *shared = Arc::downgrade(&length);
        Ok((file, length))
    }

    fn lines(&self, cx: &SourceContext) -> io::Result<LineReader> {
        let (mut file, length) = self.open()?;
        let range = share(*length, cx.subtask() as u64, cx.parallelism() as u64);
        let offset = LineSplitter::begins_at(&range);
        file.seek(SeekFrom::Start(offset))?;
        let input = RangeOfFile { file, offset, end: range.end, length: *length, is_done: range.is_empty() };
        let chunks = if cx.is_simulated() {
            Chunks::inline(input, CHUNK_BYTES)
        } else {
            Chunks::Feed(Feed::start("thalweg-text", input, CHUNK_BYTES, cx.bell(), || ())?)
        };
        Ok(LineReader::new(self.path.clone(), chunks, LineSplitter::new(range), Some(length)))
    }
}

impl Source for TextFile {
    type Item = String;
    type Reader = LineReader;

    fn reader(&self, cx: &SourceContext) -> Result<LineReader> {
        self.lines(cx).map_err(|error| Error::io(&self.path, error))
    }
}

/// The `i`-th of `n` equal parts of `length`.
fn share(length: u64, i: u64, n: u64) -> Range<u64> {
    let cut = |i: u64| (u128::from(length) * u128::from(i) / u128::from(n)) as u64;
    cut(i)..cut(i + 1)
}

/// Reads a range, and on to the end of the line that reaches beyond it.
struct RangeOfFile {
    file: File,
    offset: u64,
    end: u64,
    /// Of the file, in bytes, when the job began.
    length: u64,
    is_done: bool,
}

impl Read for RangeOfFile {
    fn read(&mut self, memory: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX).min(memory.len());
        if self.is_done || left == 0 {
            return Ok(0);
        }
        let bytes = self.file.read(&mut memory[..left])?;
        if bytes == 0 {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("ends at byte {}, and had {} when the job began", self.offset, self.length),
            ));
        }
        // A line end at the last byte of the range, or after it, ends the last line of the range.
        let last_byte = usize::try_from((self.end - 1).saturating_sub(self.offset)).unwrap_or(usize::MAX);
        self.is_done = memory[..bytes].get(last_byte..).is_some_and(|rest| memchr(b'\n', rest).is_some());
        self.offset += bytes as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lines::LineError;
    use super::super::lines::tests::{any_text, cases, model};
    use super::*;
    use crate::Env;
    use crate::testing::{Simulator, seeds};

    /// The lines that a job of `parallelism` subtasks reads, each subtask's in order.
    fn read(path: &Path, parallelism: usize) -> Result<Vec<String>> {
        let env = Env::new().parallelism(parallelism);
        let lines = env.read_text_file(path).collect();
        env.execute()?;
        Ok(lines.take())
    }

    #[track_caller]
    fn check_error(path: &Path, kind: ErrorKind, text: &str) {
        match read(path, 2) {
            Err(Error::Io { path: named, source }) => {
                assert_eq!((named.as_path(), source.kind()), (path, kind));
                assert!(source.to_string().contains(text), "{source}");
            }
            other => panic!("expected an error of {path:?}, got {other:?}"),
        }
    }

    #[test]
    fn each_line_is_read_once_at_every_parallelism() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        // Several chunks, lines of 0 to 1000 bytes, and one that is longer than a chunk.
        let mut expected: Vec<String> = (0..3000).map(|i| format!("{i}é").repeat(i % 200)).collect();
        expected.push("long".repeat(CHUNK_BYTES / 3));
        std::fs::write(&path, expected.join("\n")).unwrap();
        expected.sort();
        for parallelism in [1, 2, 3] {
            let mut lines = read(&path, parallelism).unwrap();
            lines.sort();
            assert!(lines == expected, "parallelism {parallelism}: {} lines", lines.len());
        }
    }

    #[test]
    fn small_files_have_fewer_lines_than_subtasks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        for (text, expected) in [("", &[][..]), ("\n", &[""]), ("a", &["a"]), ("a\r\nb", &["a", "b"])] {
            std::fs::write(&path, text).unwrap();
            let mut lines = read(&path, 3).unwrap();
            lines.sort();
            assert_eq!(lines, expected, "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        check_error(&folder.path().join("none"), ErrorKind::NotFound, "");
        check_error(folder.path(), ErrorKind::IsADirectory, "");
        check_error(Path::new("/dev/null"), ErrorKind::InvalidInput, "regular file");
        let path = folder.path().join("text");
        std::fs::write(&path, b"abc\nabcdef\xff").unwrap();
        check_error(&path, ErrorKind::InvalidData, "byte 10 ");
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "ab\ncd\n").unwrap();
        let file = File::open(&path).unwrap();
        let mut input = RangeOfFile { file, offset: 0, end: 9, length: 9, is_done: false };
        let mut text = String::new();
        let error = input.read_to_string(&mut text).unwrap_err();
        assert_eq!(error.to_string(), "ends at byte 6, and had 9 when the job began");
    }

    #[test]
    fn a_range_is_read_no_further_than_its_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        let line = "x".repeat(99) + "\n";
        std::fs::write(&path, line.repeat(100)).unwrap();
        let file = File::open(&path).unwrap();
        let mut input = RangeOfFile { file, offset: 0, end: 250, length: 10_000, is_done: false };
        let mut memory = [0; 64];
        while input.read(&mut memory).unwrap() > 0 {}
        assert_eq!(input.offset, 320); // The read that saw the end of the line that starts at 200.
    }

    /// The lines of a range, by what a reader is made of, with reads of `bytes` bytes.
    fn lines_of(file: &File, length: u64, range: Range<u64>, bytes: usize) -> Result<Vec<String>, LineError> {
        let mut file = file.try_clone().unwrap();
        let offset = LineSplitter::begins_at(&range);
        file.seek(SeekFrom::Start(offset)).unwrap();
        let mut input = RangeOfFile { file, offset, end: range.end, length, is_done: range.is_empty() };
        let mut splitter = LineSplitter::new(range);
        let (mut memory, mut lines) = (vec![0; bytes], Vec::new());
        loop {
            let read = input.read(&mut memory).unwrap();
            let mut chunk = &memory[..read];
            while let Some(line) = splitter.next(&mut chunk)? {
                lines.push(line.clone());
            }
            if splitter.is_done() {
                return Ok(lines);
            }
            if read == 0 {
                lines.extend(splitter.last()?.cloned());
                return Ok(lines);
            }
        }
    }

    proptest! {
        #![proptest_config(cases(200))]

        /// However a file is divided and read: each part has the lines that start in it, or the first of their errors.
        #[test]
        fn each_part_of_a_file_has_its_lines(text in any_text(), parts in 1_u64..9, bytes in 1_usize..12) {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &text).unwrap();
            let length = text.len() as u64;
            for i in 0..parts {
                let range = share(length, i, parts);
                prop_assert_eq!(lines_of(&file, length, range.clone(), bytes), model(&text, &range), "{:?}", range);
            }
        }
    }

    /// Goal: a reader loses nothing where its chain takes no more, in the middle of a chunk. Method: batches of any size, down to one.
    #[test]
    fn batches_and_interleavings_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        seeds(100, |seed| {
            let ends = ["\n", "\r\n", "\n\n"];
            let mut text: String =
                (0..seed).map(|i| "x".repeat((i * seed % 37) as usize) + ends[i as usize % 3]).collect();
            text.push_str("the last has no end");
            std::fs::write(&path, &text).unwrap();
            let mut expected = model(text.as_bytes(), &(0..text.len() as u64)).unwrap();
            expected.sort();
            let env = Env::new().parallelism(1 + seed as usize % 5);
            let lines = env.read_text_file(&path).collect();
            Simulator::new(seed).run(&env).unwrap();
            let mut lines = lines.take();
            lines.sort();
            assert_eq!(lines, expected);
        });
    }

    #[test]
    fn a_second_run_measures_the_file_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "a\n").unwrap();
        let env = Env::new().parallelism(2);
        let lines = env.read_text_file(&path).collect();
        env.execute().unwrap();
        assert_eq!(lines.take(), ["a"]);
        std::fs::write(&path, "b\nc\n").unwrap();
        env.execute().unwrap();
        let mut second = lines.take();
        second.sort();
        assert_eq!(second, ["b", "c"]);
    }
}
