//! The files of a run, as a job reads them: one after the other, ahead of need, each block once.
//!
//! Invariants:
//! - a job maps files for itself, so that what it pages in and out does not count as the store's;
//! - what is passed over by `seek` is not read, and files are not even opened;
//! - every block is verified before an entry of it comes out: damage is not copied.

use super::merge::{Cursor, Entry};
use super::open::{OpenSst, Part};
use super::sst::Block;
use super::{FileMeta, KeyRange, Kind, Result};
use crate::storage::Storage;
use rkyv::util::AlignedVec;
use std::ops::Range;
use std::sync::Arc;

/// What is asked of a disk at once.
const READ_BYTES: usize = 256 << 10;

/// The entries of files that do not overlap, ascending.
#[derive(Debug)]
pub(crate) struct RunInput {
    storage: Storage,
    /// Those that are still to come, the next one last.
    files: Vec<Arc<FileMeta>>,
    /// Only keys from here on come out.
    from: Vec<u8>,
    /// And below this one, if there is one.
    end: Option<Vec<u8>>,
    file: Option<(Arc<FileMeta>, OpenSst)>,
    block: u32,
    /// Of the entry in the block.
    index: u32,
    /// The block, unpacked; empty if it is still to be read.
    image: AlignedVec<16>,
    /// Up to where the file was asked for.
    populated: usize,
    /// The current entry, if there is one: its key, and where its value is in the image.
    key: Vec<u8>,
    entry: Option<(Kind, Range<usize>)>,
}

impl RunInput {
    /// Stands on the first entry in `range`, or of all. Waits for the disk, as `advance` does.
    ///
    /// Errors: `Storage`, `Damaged`.
    pub(crate) fn open(
        storage: &Storage,
        files: Vec<Arc<FileMeta>>,
        range: Option<KeyRange>,
    ) -> Result<Self> {
        let (from, end) = range.map_or((Vec::new(), None), |range| (range.begin, Some(range.end)));
        let mut input = Self {
            storage: storage.clone(),
            files: files.into_iter().rev().collect(),
            from,
            end,
            file: None,
            block: 0,
            index: 0,
            image: AlignedVec::new(),
            populated: 0,
            key: Vec::new(),
            entry: None,
        };
        input.load()?;
        Ok(input)
    }

    /// Reads what there is at this place, or goes on to where there is something.
    fn load(&mut self) -> Result<()> {
        self.entry = None;
        loop {
            if self.file.is_none() {
                let Some(file) = self.files.pop() else { return Ok(()) };
                self.open_file(file)?;
            }
            let Some((_, file)) = &self.file else { return Ok(()) };
            if self.block >= file.sst.blocks() {
                self.file = None;
                continue;
            }
            if self.image.is_empty() {
                self.read_block()?;
            }
            let Some(entry) = parsed(&self.image).entry(self.index) else {
                (self.block, self.index) = (self.block + 1, 0);
                self.image.clear();
                continue;
            };
            self.key.clear();
            entry.key_into(&mut self.key);
            if self.end.as_ref().is_some_and(|end| *end <= self.key) {
                (self.file, self.files) = (None, Vec::new());
                return Ok(());
            }
            let start = entry.value.as_ptr().addr() - self.image.as_ptr().addr();
            self.entry = Some((entry.kind, start..start + entry.value.len()));
            return Ok(());
        }
    }

    fn open_file(&mut self, meta: Arc<FileMeta>) -> Result<()> {
        let file = OpenSst::open(&self.storage, meta.number)?;
        self.block = file.sst.block_of(&self.from);
        (self.index, self.populated) = (0, 0);
        self.image.clear();
        self.file = Some((meta, file));
        Ok(())
    }

    fn read_block(&mut self) -> Result<()> {
        let (_, file) = self.file.as_ref().expect("a block is read of a file");
        let range = file.range(Part::Block(self.block));
        if range.end > self.populated {
            let ahead = range.start..(range.start + READ_BYTES).max(range.end).min(file.sst.bytes().len());
            self.populated = ahead.end;
            file.populate(ahead)?;
        }
        file.sst.unpack_block(self.block, &mut self.image).map_err(|source| file.damaged(source))?;
        file.release(range);
        self.index = parsed(&self.image).seek(&self.from);
        Ok(())
    }
}

impl Cursor for RunInput {
    fn entry(&self) -> Option<Entry<'_>> {
        let (kind, value) = self.entry.as_ref()?;
        Some(Entry { key: &self.key, kind: *kind, value: &self.image[value.clone()] })
    }

    fn advance(&mut self) -> Result<()> {
        if self.entry.is_none() {
            return Ok(());
        }
        self.index += 1;
        self.load()
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        let Some((meta, file)) = self.file.as_ref().filter(|_| self.entry.is_some() && *self.key < *key)
        else {
            return Ok(());
        };
        self.from.clear();
        self.from.extend_from_slice(key);
        if *meta.keys.end <= *key {
            self.file = None;
            while self.files.pop_if(|file| *file.keys.end <= *key).is_some() {}
        } else if file.sst.block_of(key) > self.block {
            self.block = file.sst.block_of(key);
            self.image.clear();
        } else {
            self.index = parsed(&self.image).seek(key);
        }
        self.load()
    }
}

fn parsed(image: &[u8]) -> Block<'_> {
    Block::parse(image).expect("a block that was unpacked is one")
}
