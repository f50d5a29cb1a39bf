//! A file that is open: its parts, and what brings them in, on any thread.
//!
//! Invariants:
//! - opening reads what is needed to find the rest, and nothing else;
//! - a part that was brought in was verified.

use super::sst::{Codec, PAGE_BYTES, Section, SectionCheck, Sst, SstError};
use super::{Error, FileMeta, FileNumber, Result};
use crate::storage::{Mapping, Storage, StorageError};
use rkyv::util::AlignedVec;
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
        let sst = Sst::open(mapping).map_err(damaged)?;
        Ok(Self { number, path, sst })
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

    /// Brings a part in and verifies it. A block that is compressed is unpacked, and then not kept in its stored form.
    ///
    /// Errors: `Storage`, `Damaged`.
    pub(crate) fn bring_in(&self, part: Part) -> Result<Option<AlignedVec<16>>> {
        let range = self.range(part);
        self.populate(range.clone())?;
        let mut image = None;
        let verified = match part {
            Part::Index => self.sst.verify_section(Section::Index),
            Part::Filter => self.sst.verify_section(Section::Filter),
            Part::Block(block) if self.is_compressed() => {
                self.sst.unpack_block(block, image.get_or_insert_default())
            }
            Part::Block(block) => self.sst.verify_block(block),
        };
        if image.is_some() || verified.is_err() {
            self.release(range);
        }
        verified.map_err(|source| self.damaged(source))?;
        Ok(image)
    }

    /// Brings bytes of the file into memory. Waits for the disk.
    pub(crate) fn populate(&self, range: Range<usize>) -> Result<()> {
        self.sst.source().populate(range).map_err(|error| read_error(&self.path, error))
    }

    pub(crate) fn damaged(&self, source: SstError) -> Error {
        Error::Damaged { path: self.path.clone(), source }
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
    part: Part,
    /// What the kernel may map around it, and nobody has asked for.
    strays: [Range<usize>; 2],
}

impl PartRequest {
    pub(super) fn new(file: Arc<OpenSst>, part: Part, strays: [Range<usize>; 2]) -> Self {
        Self { file, part, strays }
    }

    /// Reads the part and verifies it: waits for the disk.
    pub fn perform(self) -> PartReady {
        let result = self.file.bring_in(self.part);
        for stray in self.strays.into_iter().filter(|range| !range.is_empty()) {
            self.file.release(stray);
        }
        PartReady { number: self.file.number, part: self.part, result }
    }

    /// Asks the kernel to begin reading, so that several requests are on their way at once. Does not wait.
    pub fn prefetch(&self) {
        self.file.sst.source().prefetch(self.file.range(self.part));
    }
}

/// What came of a [`PartRequest`].
#[derive(Debug)]
pub struct PartReady {
    number: FileNumber,
    part: Part,
    result: Result<Option<AlignedVec<16>>>,
}

impl PartReady {
    /// Of which file, which part, and what came of it: the bytes of a block that was unpacked.
    pub(super) fn into_parts(self) -> (FileNumber, Part, Result<Option<AlignedVec<16>>>) {
        (self.number, self.part, self.result)
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
            Ok(true) => Ok(Some(PartReady { number: file.number, part: self.part, result: Ok(None) })),
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
