//! A file that is open: its parts, and what brings them in, on any thread.
//!
//! Invariants:
//! - opening reads what is needed to find the rest, and nothing else;
//! - a part that was brought in was verified.

use super::frames::Image;
use super::sst::{Codec, PAGE_BYTES, Section, SectionCheck, Sst, SstError};
use super::{Error, FileMeta, FileNumber, Result};
use crate::storage::{Mapping, Storage, StorageError};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// One file, open.
#[derive(Debug)]
pub(crate) struct OpenSst {
    pub(crate) number: FileNumber,
    pub(crate) path: PathBuf,
    pub(crate) sst: Sst<Mapping>,
}

/// A part of a file: a block, or one of the sections for look-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Block(u32),
    Index,
    Filter,
}

/// What one request brings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The index or the filter, in place.
    Section(Part),
    /// Blocks that follow each other, in place.
    Blocks(Range<u32>),
    /// A copy of a block.
    Copy(u32),
}

impl OpenSst {
    /// Maps a file, and reads what is needed to find the rest. Waits for the disk.
    ///
    /// Errors: `Storage`, `Damaged`.
    pub(crate) fn open(storage: &Storage, number: FileNumber) -> Result<Self> {
        let (name, path) = (number.name(), storage.path(&number.name()));
        let mapping = storage.open(&name)?;
        let damaged = |source| Error::Damaged { path: path.clone(), source };
        let populate =
            |range: Range<usize>| mapping.populate(range).map_err(|error| read_error(&path, error));
        mapping.advise_random();
        populate(mapping.len().saturating_sub(PAGE_BYTES)..mapping.len())?;
        populate(Sst::<Mapping>::open_range(&mapping).map_err(damaged)?)?;
        let file = Self { sst: Sst::open(mapping).map_err(damaged)?, number, path };
        // What the kernel has mapped around that.
        file.release(0..file.sst.section_range(Section::Table).start);
        Ok(file)
    }

    /// Where a part is in the file. Panics: if there is no such block.
    pub(crate) fn range(&self, part: Part) -> Range<usize> {
        match part {
            Part::Block(block) => self.sst.block_range(block).expect("the block is one of the file's"),
            Part::Index => self.sst.section_range(Section::Index),
            Part::Filter => self.sst.section_range(Section::Filter),
        }
    }

    /// Whether blocks have to be unpacked before they can be read.
    pub(crate) fn is_compressed(&self) -> bool {
        self.sst.meta().codec != Codec::None
    }

    /// Where all that is wanted is in the file. Panics: if there are no such blocks.
    pub(crate) fn range_of(&self, wanted: &Wanted) -> Range<usize> {
        match wanted {
            Wanted::Section(part) => self.range(*part),
            Wanted::Blocks(run) => {
                self.range(Part::Block(run.start)).start..self.range(Part::Block(run.end - 1)).end
            }
            Wanted::Copy(block) => self.range(Part::Block(*block)),
        }
    }

    /// Brings in what is wanted, verified: the block, if it is a copy. Waits for the disk.
    ///
    /// Errors: `Storage`, `Damaged`.
    pub(crate) fn bring_in(&self, wanted: &Wanted) -> Result<Option<Image>> {
        if let Wanted::Copy(block) = wanted {
            return self.read_block(*block).map(Some);
        }
        let range = self.range_of(wanted);
        self.populate(range.clone())?;
        let verified = match wanted {
            Wanted::Section(Part::Filter) => self.sst.verify_section(Section::Filter),
            Wanted::Section(_) => self.sst.verify_section(Section::Index),
            Wanted::Blocks(run) => run.clone().try_for_each(|block| self.sst.verify_block(block)),
            Wanted::Copy(_) => Ok(()),
        };
        verified.map(|()| None).map_err(|source| {
            self.release(range);
            self.damaged(source)
        })
    }

    /// A copy of a block, verified and unpacked. Waits for the disk.
    ///
    /// Errors: `Storage`, `Damaged`.
    pub(crate) fn read_block(&self, block: u32) -> Result<Image> {
        let mut image = Image::with_capacity(self.range(Part::Block(block)).len());
        self.copy_block(block, &mut image, |file, start, out| file.read_into(start, out).map(|()| true))?;
        Ok(image)
    }

    /// Copies a block into `image`, verified and unpacked, if that needs no disk. False if it does: then `image` has anything.
    ///
    /// Errors: `Storage`, `Damaged`.
    pub(crate) fn try_read_block(&self, block: u32, image: &mut Image) -> Result<bool> {
        self.copy_block(block, image, Mapping::try_read_into)
    }

    /// Copies bytes of the file, and has the disk begin with so many after them. Waits for it.
    ///
    /// Errors: `Storage`.
    pub(crate) fn read_ahead(&self, range: Range<usize>, ahead_bytes: usize, out: &mut [u8]) -> Result<()> {
        let mapping = self.sst.source();
        let ahead = range.end..(range.end + ahead_bytes).min(self.sst.section_range(Section::Blocks).end);
        if !ahead.is_empty() {
            mapping.prefetch(ahead);
        }
        mapping.read_into(range.start, out).map_err(|error| read_error(&self.path, error))
    }

    fn copy_block(
        &self,
        block: u32,
        image: &mut Image,
        read: impl FnOnce(&Mapping, usize, &mut [u8]) -> io::Result<bool>,
    ) -> Result<bool> {
        let range = self.range(Part::Block(block));
        image.resize(range.len(), 0);
        if !read(self.sst.source(), range.start, image).map_err(|error| read_error(&self.path, error))? {
            return Ok(false);
        }
        let mut unpacked = Image::new();
        self.sst.check_stored_block(block, image, &mut unpacked).map_err(|source| self.damaged(source))?;
        if !unpacked.is_empty() {
            *image = unpacked;
        }
        Ok(true)
    }

    /// Brings bytes of the file into memory. Waits for the disk.
    pub(crate) fn populate(&self, range: Range<usize>) -> Result<()> {
        self.sst.source().populate(range).map_err(|error| read_error(&self.path, error))
    }

    /// Panics unless `image` is a block of the file.
    #[cfg(test)]
    pub(crate) fn check_image(&self, block: u32, image: &[u8]) {
        assert!(*self.read_block(block).unwrap() == *image, "block {block}");
    }

    pub(crate) fn damaged(&self, source: SstError) -> Error {
        Error::Damaged { path: self.path.clone(), source }
    }

    /// Takes the whole file out of memory.
    pub(crate) fn release_all(&self) {
        self.release(0..self.sst.bytes().len());
    }

    /// Takes the pages of `range` out of memory, those that it shares too.
    pub(crate) fn release(&self, range: Range<usize>) {
        let mapping = self.sst.source();
        let end = range.end.next_multiple_of(PAGE_BYTES).min(mapping.len());
        mapping.release(range.start / PAGE_BYTES * PAGE_BYTES..end);
    }
}

fn read_error(path: &std::path::Path, source: io::Error) -> Error {
    StorageError::Io { operation: "read", path: path.to_owned(), source }.into()
}

/// A part that is asked for: to be performed on a thread that may wait, then handed to the store it came from.
///
/// See [`super::Store::poll_request`] for an example.
#[derive(Debug)]
pub struct PartRequest {
    file: Arc<OpenSst>,
    wanted: Wanted,
}

impl PartRequest {
    pub(super) fn new(file: Arc<OpenSst>, wanted: Wanted) -> Self {
        Self { file, wanted }
    }

    /// Reads what is wanted and verifies it: waits for the disk.
    pub fn perform(self) -> PartReady {
        let Self { file, wanted } = self;
        PartReady { number: file.number, result: file.bring_in(&wanted), wanted }
    }

    /// Asks the kernel to begin reading, so that several requests are on their way at once. Does not wait.
    pub fn prefetch(&self) {
        self.file.sst.source().prefetch(self.file.range_of(&self.wanted));
    }
}

/// What came of a [`PartRequest`].
#[derive(Debug)]
pub struct PartReady {
    number: FileNumber,
    wanted: Wanted,
    result: Result<Option<Image>>,
}

impl PartReady {
    /// Of which file, what was wanted, and what came of it: a block, if it is a copy.
    pub(super) fn into_parts(self) -> (FileNumber, Wanted, Result<Option<Image>>) {
        (self.number, self.wanted, self.result)
    }
}

/// The index or the filter of a file, on its way in, piece by piece: that of the largest files has 10 MiB, which would keep
/// a thread for milliseconds.
pub(crate) struct SectionIn {
    part: Part,
    check: SectionCheck,
}

impl SectionIn {
    /// Panics: if it is a block.
    pub(crate) fn new(part: Part) -> Self {
        let section = match part {
            Part::Index => Section::Index,
            Part::Filter => Section::Filter,
            Part::Block(_) => panic!("blocks come in whole"),
        };
        Self { part, check: SectionCheck::new(section) }
    }

    /// Brings the next piece in, of about so many bytes. The part once it is there.
    ///
    /// Errors: `Storage`, `Damaged`.
    pub(crate) fn step(&mut self, file: &OpenSst, bytes: u64) -> Result<Option<PartReady>> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let piece = self.check.next(&file.sst, bytes);
        file.populate(piece.clone())?;
        match self.check.add(&file.sst, piece) {
            Ok(false) => Ok(None),
            Ok(true) => {
                let wanted = Wanted::Section(self.part);
                Ok(Some(PartReady { number: file.number, wanted, result: Ok(None) }))
            }
            Err(source) => {
                file.release(file.range(self.part));
                Err(file.damaged(source))
            }
        }
    }
}

/// Opens one file. Errors: as `OpenSst::open`; `Damaged` if it is another file than the manifest says.
pub(crate) fn open_checked(storage: &Storage, meta: &FileMeta) -> Result<Arc<OpenSst>> {
    let file = OpenSst::open(storage, meta.number)?;
    let sst = file.sst.meta();
    let is_within = |key: &[u8]| sst.entries == 0 || meta.keys.contains(key);
    let agrees = sst.entries == meta.entries
        && is_within(&sst.first_key)
        && is_within(&sst.last_key)
        && sst.tombstones.is_empty() != meta.has_range_tombstones;
    match agrees {
        true => Ok(Arc::new(file)),
        false => Err(file.damaged(SstError::Foreign)),
    }
}
