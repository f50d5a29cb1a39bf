//! The entries of all files in the order of their keys; of one key the newest first.
//!
//! Invariant: an entry is *hidden* exactly if look-ups of the store do not see it: a newer one that is no operand has the
//! same key, or a newer run has a range tombstone over it.

use std::ops::ControlFlow;

use anyhow::Result;
use rkyv::util::AlignedVec;
use thalweg_state::lsm::sst::{Block, SstCursor, Step};
use thalweg_state::lsm::{FileNumber, KeyRange, Kind, Run};

use super::dir::{SstFile, StoreDir};

/// One entry, and where it is.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Encoded: key group, state, and what the state is kept under.
    pub(super) key: &'a [u8],
    pub(super) kind: Kind,
    pub(super) value: &'a [u8],
    pub(super) file: FileNumber,
    pub(super) is_hidden: bool,
}

/// Gives every entry in `range` to `each` until it breaks off. Files that could not be opened are left out.
///
/// Errors: a block cannot be read, or is damaged; those of `each`.
pub(super) fn each_entry(
    dir: &StoreDir,
    range: &KeyRange,
    mut each: impl FnMut(Entry<'_>) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    let mut runs = Vec::new();
    for run in dir.version.newest_first() {
        runs.push(RunCursor::open(dir, run, range)?);
    }
    while let Some(key) = runs.iter().filter_map(RunCursor::key).min().map(<[u8]>::to_vec) {
        let mut is_hidden = false;
        for run in &mut runs {
            if let Some(entry) = run.entry.as_ref().filter(|entry| entry.key == key) {
                let (kind, file) = (entry.kind, entry.file);
                if each(Entry { key: &key, kind, value: &entry.value, file, is_hidden })?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                is_hidden |= kind != Kind::Merge;
                run.advance()?;
            }
            is_hidden |= run.hides_in_older(&key);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A place in a run.
struct RunCursor<'a> {
    /// In the order of their keys; those that can be read.
    files: Vec<&'a SstFile>,
    range: &'a KeyRange,
    /// The file, and the place in it.
    at: usize,
    place: Option<SstCursor>,
    /// The block of that number, verified.
    image: AlignedVec<16>,
    block: Option<u32>,
    entry: Option<Found>,
}

/// An entry, copied.
struct Found {
    key: Vec<u8>,
    kind: Kind,
    value: Vec<u8>,
    file: FileNumber,
}

impl<'a> RunCursor<'a> {
    fn open(dir: &'a StoreDir, run: &Run, range: &'a KeyRange) -> Result<Self> {
        let files = run.overlapping(range).iter().filter_map(|file| dir.file(file.number).ok()).collect();
        let mut cursor =
            Self { files, range, at: 0, place: None, image: AlignedVec::new(), block: None, entry: None };
        cursor.advance()?;
        Ok(cursor)
    }

    fn key(&self) -> Option<&[u8]> {
        self.entry.as_ref().map(|entry| entry.key.as_slice())
    }

    fn hides_in_older(&self, key: &[u8]) -> bool {
        self.files.iter().any(|file| file.sst.meta().tombstones.iter().any(|range| range.contains(key)))
    }

    /// Goes to the first entry, or to the next one.
    fn advance(&mut self) -> Result<()> {
        self.entry = None;
        while let Some(file) = self.files.get(self.at) {
            let place = self.place.get_or_insert_with(|| file.sst.seek(&self.range.begin));
            let there =
                |number| (self.block == Some(number)).then(|| Block::parse(&self.image).ok()).flatten();
            match place.entry(there) {
                Step::Entry(entry) => {
                    let mut key = Vec::new();
                    entry.key_into(&mut key);
                    if self.range.contains(&key) {
                        let (value, file) = (entry.value.to_vec(), file.meta.number);
                        self.entry = Some(Found { key, kind: entry.kind, value, file });
                        place.advance();
                    } else {
                        self.at = self.files.len(); // All that follow are beyond it too.
                    }
                    return Ok(());
                }
                Step::Missing(number) => {
                    file.read_block(number, &mut self.image)?;
                    self.block = Some(number);
                }
                Step::End => (self.at, self.place, self.block) = (self.at + 1, None, None),
            }
        }
        Ok(())
    }
}
