//! Bytes to lines. Pure: chunks come in, as they happen to be cut, and lines go out.
//!
//! A text is divided among several readers by byte ranges. A reader owns the lines that *start* in its range, and reads the last of
//! them to its end, beyond the range; what stands before the first is the end of a line of the reader before it.
//!
//! ```text
//!   bytes     t h e \n c a t \n s a t \n
//!   range       ├─────────┤                  begins to read at its first byte less one, to see whether a line starts there
//!   owns            c a t     s a t          (`sat` starts in the range)
//! ```
//!
//! Invariants:
//! - however a text is cut into chunks, the lines are the same;
//! - however it is cut into ranges, each line is owned by exactly one.

use std::ops::Range;

use memchr::memchr;

/// The longest line, in bytes: a file without line ends must not fill the memory.
pub(super) const LINE_BYTES_MAX: usize = 64 << 20;

/// Why a text cannot be divided into lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error("byte {offset} is not UTF-8")]
    NotUtf8 { offset: u64 },
    #[error("the line at byte {offset} is longer than {LINE_BYTES_MAX} bytes")]
    TooLong { offset: u64 },
}

/// Divides the text of one range into lines.
///
/// Order of calls: `next` with the bytes from `begins_at` on, chunk by chunk, until `is_done`, or until the text ends; then `last`. A line
/// ends with `\n` or `\r\n`, the last one also without.
#[derive(Debug)]
pub(super) struct LineSplitter {
    /// Lines that start here or later belong to another.
    end: u64,
    /// The place of the next byte in the text.
    offset: u64,
    /// Still before the first line that starts in the range.
    skipping: bool,
    /// Where the current line starts.
    line_start: u64,
    /// What the chunks so far had of a line that goes on.
    partial: Vec<u8>,
    line: String,
}

impl LineSplitter {
    pub(super) fn new(range: Range<u64>) -> Self {
        let offset = Self::begins_at(&range);
        let skipping = range.start > 0 && !range.is_empty();
        let line_start = range.start;
        Self { end: range.end, offset, skipping, line_start, partial: Vec::new(), line: String::new() }
    }

    /// The first byte that the splitter of a range has to see.
    pub(super) fn begins_at(range: &Range<u64>) -> u64 {
        range.start.saturating_sub(1)
    }

    /// Whether all lines of the range have been given out.
    pub(super) fn is_done(&self) -> bool {
        !self.skipping && self.line_start >= self.end
    }

    /// The next line, taken from the front of `input`; `None` when `input` is used up or the range is done.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<&String>, LineError> {
        if self.skipping {
            self.skip(input);
        }
        if self.skipping || self.is_done() {
            return Ok(None);
        }
        let Some(length) = memchr(b'\n', input) else {
            self.check_length(input.len())?;
            self.partial.extend_from_slice(input);
            self.advance(input, input.len());
            return Ok(None);
        };
        let tail = &input[..length];
        self.advance(input, length + 1);
        if self.partial.is_empty() {
            self.check_length(length)?;
            set(&mut self.line, tail, self.line_start)?;
        } else {
            self.check_length(length)?;
            self.partial.extend_from_slice(tail);
            set(&mut self.line, &self.partial, self.line_start)?;
            self.partial.clear();
        }
        self.line_start = self.offset;
        Ok(Some(&self.line))
    }

    /// The line that stands at the end of the text without a line end.
    pub(super) fn last(&mut self) -> Result<Option<&String>, LineError> {
        let has_line = !self.partial.is_empty();
        self.skipping = false;
        self.end = self.line_start;
        if !has_line {
            return Ok(None);
        }
        set(&mut self.line, &self.partial, self.line_start)?;
        self.partial.clear();
        Ok(Some(&self.line))
    }

    /// To the first line start in the range. If there is none, the range is done: the search goes no further than its last byte.
    fn skip(&mut self, input: &mut &[u8]) {
        let before_end = self.end - 1 - self.offset;
        let searched = input.len().min(usize::try_from(before_end).unwrap_or(usize::MAX));
        match memchr(b'\n', &input[..searched]) {
            Some(length) => {
                self.advance(input, length + 1);
                self.line_start = self.offset;
                self.skipping = false;
            }
            None => {
                self.advance(input, searched);
                if self.offset == self.end - 1 {
                    self.line_start = self.end;
                    self.skipping = false;
                }
            }
        }
    }

    fn advance(&mut self, input: &mut &[u8], bytes: usize) {
        *input = &input[bytes..];
        self.offset += bytes as u64;
    }

    fn check_length(&self, more: usize) -> Result<(), LineError> {
        if self.partial.len() + more > LINE_BYTES_MAX {
            return Err(LineError::TooLong { offset: self.line_start });
        }
        Ok(())
    }
}

/// Makes `line` the text of `bytes`, which start at `offset` of the whole, without a `\r` at their end.
#[inline]
fn set(line: &mut String, bytes: &[u8], offset: u64) -> Result<(), LineError> {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let text = str::from_utf8(bytes)
        .map_err(|error| LineError::NotUtf8 { offset: offset + error.valid_up_to() as u64 })?;
    line.clear();
    line.push_str(text);
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// The lines of `range` of `text`, given in chunks of `chunk` bytes.
    fn split(text: &[u8], range: Range<u64>, chunk: usize) -> Result<Vec<String>, LineError> {
        let mut lines = Vec::new();
        let begin = usize::try_from(LineSplitter::begins_at(&range)).unwrap();
        let mut splitter = LineSplitter::new(range);
        for mut input in text[begin..].chunks(chunk) {
            while let Some(line) = splitter.next(&mut input)? {
                lines.push(line.clone());
            }
            if splitter.is_done() {
                return Ok(lines);
            }
            assert_eq!(input, b"", "a chunk is used up before the next");
        }
        lines.extend(splitter.last()?.cloned());
        assert!(splitter.is_done());
        Ok(lines)
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        for chunk in 1..=text.len().max(1) {
            let lines = split(text.as_bytes(), 0..text.len() as u64, chunk).unwrap();
            assert_eq!(lines, expected, "chunks of {chunk}");
        }
    }

    #[test]
    fn lines_end_as_they_do_everywhere() {
        check("", &[]);
        check("\n", &[""]);
        check("a\nb\n", &["a", "b"]);
        check("a\nb", &["a", "b"]); // No line end at the end.
        check("a\r\nb\r\n", &["a", "b"]);
        check("a\rb\n\r\n", &["a\rb", ""]); // Only one before a line end belongs to it.
        check("a\n\n\nb\n\n", &["a", "", "", "b", ""]);
        check("é€\n𐍈", &["é€", "𐍈"]); // Of two, three and four bytes.
    }

    /// Every way to cut some texts into two, against the lines of the whole: also in the middle of a line, of a character, of `\r\n`.
    #[test]
    fn every_line_has_one_owner() {
        for text in ["", "\n", "a", "ab\ncd\n", "é\n€€\r\n\n𐍈", "one long line without an end", "\n\n\n"]
        {
            let (bytes, length) = (text.as_bytes(), text.len() as u64);
            let whole = split(bytes, 0..length, 7).unwrap();
            for cut in 0..=length {
                let mut lines = split(bytes, 0..cut, 3).unwrap();
                lines.extend(split(bytes, cut..length, 2).unwrap());
                assert_eq!(lines, whole, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn names_the_byte_that_is_not_utf8() {
        let error = |offset| Err(LineError::NotUtf8 { offset });
        for chunk in 1..9 {
            assert_eq!(split(b"ab\nc\xffd\n", 0..7, chunk), error(4));
            assert_eq!(split(b"ab\nc\xff", 2..5, chunk), error(4)); // By the offset in the file, not in the range.
            assert_eq!(split(b"\xe2\x82\n\xac", 0..4, chunk), error(0)); // A character does not go on in the next line.
        }
        assert_eq!(split(b"\xff\nab", 1..4, 1), Ok(vec!["ab".into()])); // Another's line is another's error.
    }

    #[test]
    fn a_line_has_a_greatest_length() {
        let mut splitter = LineSplitter::new(0..u64::MAX);
        let chunk = vec![b'a'; LINE_BYTES_MAX];
        assert_eq!(splitter.next(&mut &chunk[..]), Ok(None));
        assert_eq!(splitter.next(&mut &b"a"[..]), Err(LineError::TooLong { offset: 0 }));
    }

    /// How properties are tested: the same cases in every run, and nothing left on the disk.
    pub(in super::super) fn cases(count: u32) -> ProptestConfig {
        let rng_seed = RngSeed::Fixed(0x0074_6861_6c77_6567);
        ProptestConfig { cases: count, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
    }

    /// The bytes that texts are damaged by, and few others, so that all of them meet.
    pub(in super::super) fn any_text() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![3 => Just(b'\n'), 2 => Just(b'\r'), 4 => Just(b'a'), 1 => any::<u8>()];
        let piece = prop_oneof![byte.prop_map(|b| vec![b]), Just("é".into()), Just("\u{10348}".into())];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    /// What the owner of `range` should make of the text.
    pub(in super::super) fn model(text: &[u8], range: &Range<u64>) -> Result<Vec<String>, LineError> {
        let mut start = 0;
        let mut lines = Vec::new();
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            if range.contains(&start) {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                let line = String::from_utf8(line).map_err(|error| LineError::NotUtf8 {
                    offset: start + error.utf8_error().valid_up_to() as u64,
                })?;
                lines.push(line);
            }
            start += line.len() as u64;
        }
        Ok(lines)
    }

    proptest! {
        #![proptest_config(cases(512))]

        /// Any bytes, in ranges cut anywhere, in chunks of any size: each range has the lines that start in it, or their first error.
        #[test]
        fn a_range_has_the_lines_that_start_in_it(
            text in any_text(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            chunk in 1_usize..9,
        ) {
            let length = text.len() as u64;
            let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut.index(text.len() + 1) as u64).collect();
            cuts.extend([0, length]);
            cuts.sort_unstable();
            for ends in cuts.windows(2) {
                let range = ends[0]..ends[1];
                prop_assert_eq!(split(&text, range.clone(), chunk), model(&text, &range), "{:?}", range);
            }
        }
    }
}
