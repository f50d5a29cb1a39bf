//! The files of a run, as a job reads them: one after the other, ahead of need, each block once.
//!
//! Invariants:
//! - a job opens files for itself, and copies what it reads: it takes nothing from what the store has in memory;
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
    /// Bytes of the file, from whole blocks; and which of them these are.
    read: AlignedVec<16>,
    read_range: Range<usize>,
    /// The block if it is compressed.
    unpacked: AlignedVec<16>,
    /// Where the block is: nowhere if it is still to be looked at.
    image: Place,
    /// The current entry, if there is one: its key, and where its value is in the block.
    key: Vec<u8>,
    entry: Option<(Kind, Range<usize>)>,
}

/// Where a block is that was verified.
#[derive(Debug, Clone)]
enum Place {
    Nowhere,
    /// Among the bytes that were read.
    Read(Range<usize>),
    Unpacked,
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
            read: AlignedVec::new(),
            read_range: 0..0,
            unpacked: AlignedVec::new(),
            image: Place::Nowhere,
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
            if matches!(self.image, Place::Nowhere) {
                self.read_block()?;
            }
            let image = bytes_of(&self.image, &self.read, &self.unpacked);
            let Some(entry) = parsed(image).entry(self.index) else {
                (self.block, self.index) = (self.block + 1, 0);
                self.image = Place::Nowhere;
                continue;
            };
            self.key.clear();
            entry.key_into(&mut self.key);
            if self.end.as_ref().is_some_and(|end| *end <= self.key) {
                (self.file, self.files) = (None, Vec::new());
                return Ok(());
            }
            let start = entry.value.as_ptr().addr() - image.as_ptr().addr();
            self.entry = Some((entry.kind, start..start + entry.value.len()));
            return Ok(());
        }
    }

    fn open_file(&mut self, meta: Arc<FileMeta>) -> Result<()> {
        let file = OpenSst::open(&self.storage, meta.number)?;
        self.block = file.sst.block_of(&self.from);
        (self.index, self.read_range) = (0, 0..0);
        self.image = Place::Nowhere;
        self.file = Some((meta, file));
        Ok(())
    }

    fn read_block(&mut self) -> Result<()> {
        let (_, file) = self.file.as_ref().expect("a block is read of a file");
        let range = file.range(Part::Block(self.block));
        if range.end > self.read_range.end || range.start < self.read_range.start {
            // More blocks than this one, if they are whole.
            let last = (self.block + 1..file.sst.blocks()).map(|block| file.range(Part::Block(block)).end);
            let end = last.take_while(|end| *end <= range.start + READ_BYTES).last().unwrap_or(range.end);
            self.read_range = range.start..end;
            self.read.resize(self.read_range.len(), 0);
            file.read_ahead(self.read_range.clone(), READ_BYTES, &mut self.read)?;
        }
        let own = range.start - self.read_range.start..range.end - self.read_range.start;
        self.unpacked.clear();
        let checked = file.sst.check_stored_block(self.block, &self.read[own.clone()], &mut self.unpacked);
        checked.map_err(|source| file.damaged(source))?;
        self.image = if self.unpacked.is_empty() { Place::Read(own) } else { Place::Unpacked };
        self.index = parsed(bytes_of(&self.image, &self.read, &self.unpacked)).seek(&self.from);
        Ok(())
    }
}

impl Cursor for RunInput {
    fn entry(&self) -> Option<Entry<'_>> {
        let (kind, value) = self.entry.as_ref()?;
        let image = bytes_of(&self.image, &self.read, &self.unpacked);
        Some(Entry { key: &self.key, kind: *kind, value: &image[value.clone()] })
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
            self.image = Place::Nowhere;
        } else {
            self.index = parsed(bytes_of(&self.image, &self.read, &self.unpacked)).seek(key);
        }
        self.load()
    }
}

fn bytes_of<'a>(image: &Place, read: &'a [u8], unpacked: &'a [u8]) -> &'a [u8] {
    match image {
        Place::Nowhere => &[],
        Place::Read(range) => &read[range.clone()],
        Place::Unpacked => unpacked,
    }
}

fn parsed(image: &[u8]) -> Block<'_> {
    Block::parse(image).expect("a block that was unpacked is one")
}
