//! Scans of a range of keys, over all files as one.
//!
//! Invariant: a scan never waits. Where a block is missing it asks for it and for the next ones, and says where to go on.

use super::files::Files;
use super::merge::{Cursor, Entry, MergeOperators, Merged, Source};
use super::sst::{Block, SstCursor, Step};
use super::view::{ReadRun, View};
use super::{Error, KeyRange, Kind, Result};
use std::ops::ControlFlow;

/// How many blocks are asked for where a scan meets one that is missing.
const AHEAD_BLOCKS: u32 = 4;

/// How a scan has ended.
///
/// ```
/// use thalweg_state::lsm::ScanEnd;
/// assert_ne!(ScanEnd::Finished, ScanEnd::Cold { resume: vec![0, 0, 0, 1] });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanEnd {
    /// All was seen.
    Finished,
    /// It was told to stop.
    Stopped,
    /// A part of a file is not there, and was asked for: scan again, from this key on, when it is.
    Cold {
        /// No key from here on was seen.
        resume: Vec<u8>,
    },
}

/// Gives every key in `range` that has a value to `each`, ascending.
///
/// Errors: those of merge operators.
pub(crate) fn scan<O: MergeOperators>(
    view: &View,
    files: &Files,
    operators: &O,
    range: &KeyRange,
    mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<ScanEnd> {
    let mut resume = range.begin.clone();
    let mut sources = Vec::new();
    let mut is_cold = false;
    for run in view.runs.iter().filter(|run| !run.run.overlapping(range).is_empty()) {
        match RunCursor::open(files, run, range) {
            Ok(cursor) => sources.push(Source::new(cursor, tombstones(run, range))),
            Err(error) if error.is_cold() => is_cold = true, // Those of other runs are asked for at once too.
            Err(error) => return Err(error),
        }
    }
    if is_cold {
        return Ok(ScanEnd::Cold { resume });
    }
    let mut merged = Merged::new(sources, operators, true);
    loop {
        match merged {
            Ok(ref mut merged) => {
                if let Some(entry) = merged.entry() {
                    let flow = each(entry.key, entry.value);
                    resume.clear();
                    resume.extend_from_slice(entry.key);
                    resume.push(0); // The next key that could be.
                    if flow.is_break() {
                        return Ok(ScanEnd::Stopped);
                    }
                } else if !merged.is_pausing() {
                    return Ok(ScanEnd::Finished);
                }
            }
            Err(error) if error.is_cold() => return Ok(ScanEnd::Cold { resume }),
            Err(error) => return Err(error),
        }
        if let Ok(ref mut cursor) = merged
            && let Err(error) = cursor.advance()
        {
            merged = Err(error);
        }
    }
}

fn tombstones(run: &ReadRun, range: &KeyRange) -> Vec<KeyRange> {
    let from = run.tombstones.partition_point(|tombstone| tombstone.end <= range.begin);
    let overlapping = run.tombstones[from..].iter().take_while(|tombstone| tombstone.begin < range.end);
    overlapping.cloned().collect()
}

/// The entries of a run in a range.
struct RunCursor<'a> {
    files: &'a Files,
    run: &'a ReadRun,
    end: &'a [u8],
    /// The file of the run, and the place in it.
    at: usize,
    place: Option<SstCursor>,
    key: Vec<u8>,
    entry: Option<(Kind, &'a [u8])>,
}

impl<'a> RunCursor<'a> {
    /// Errors: `Cold`.
    fn open(files: &'a Files, run: &'a ReadRun, range: &'a KeyRange) -> Result<Self> {
        let at = run.run.files().partition_point(|file| file.keys.end <= range.begin);
        let place = run.files.get(at).map(|file| file.file.sst.seek(&range.begin));
        if let (Some(place), Some(file)) = (&place, run.files.get(at)) {
            // A use of the block where it begins, and of no other: short scans come again, and long ones pass through.
            _ = files.frames().get_used(files.slot(file.slot).frame(place.block()));
        }
        let mut cursor = Self { files, run, end: &range.end, at, place, key: Vec::new(), entry: None };
        cursor.load()?;
        Ok(cursor)
    }

    fn load(&mut self) -> Result<()> {
        self.entry = None;
        while let (Some(place), Some(file)) = (&mut self.place, self.run.files.get(self.at)) {
            let slot = self.files.slot(file.slot);
            let block = |block| {
                let found =
                    slot.block(block, self.files.frames()).or_else(|| self.files.fetch(file.slot, block));
                Block::parse(found?).ok()
            };
            match place.entry(block) {
                Step::Entry(entry) => {
                    self.key.clear();
                    entry.key_into(&mut self.key);
                    match *self.key < *self.end {
                        true => self.entry = Some((entry.kind, entry.value)),
                        false => self.place = None,
                    }
                    return Ok(());
                }
                Step::Missing(block) => {
                    let number = file.file.number;
                    self.files.miss(number, block);
                    let last = file.file.sst.block_of(self.end).min(block + AHEAD_BLOCKS - 1);
                    (block + 1..=last).for_each(|ahead| self.files.want_block(number, ahead));
                    self.place = None;
                    return Err(Error::Cold { file: number });
                }
                Step::End => {
                    self.at += 1;
                    self.place = self.run.files.get(self.at).map(|file| file.file.sst.first());
                }
            }
        }
        Ok(())
    }
}

impl Cursor for RunCursor<'_> {
    fn entry(&self) -> Option<Entry<'_>> {
        self.entry.map(|(kind, value)| Entry { key: &self.key, kind, value })
    }

    fn advance(&mut self) -> Result<()> {
        if let Some(place) = &mut self.place {
            place.advance();
        }
        self.load()
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        if self.entry.is_some() && *self.key < *key {
            let files = self.run.run.files();
            self.at += files[self.at..].partition_point(|file| *file.keys.end <= *key);
            self.place = self.run.files.get(self.at).map(|file| file.file.sst.seek(key));
            self.load()?;
        }
        Ok(())
    }
}
