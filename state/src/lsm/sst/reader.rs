//! Reads a file: look-ups by hash in stages (see `points`), by key through a cursor; and verifies it.
//!
//! Invariants:
//! - open reads the footer, the metadata and the block table, and nothing else;
//! - what was not verified may be read, and yields nonsense or nothing, but never a panic.

mod locate;
mod section;
mod verify;

pub(in crate::lsm) use section::SectionCheck;
pub use verify::SstDamage;

use std::ops::Range;

use rkyv::util::AlignedVec;

use super::block::check_stored;
use super::filter::Filter;
use super::index::{Index, index_bytes};
use super::meta::{FORMAT_VERSION, Footer};
use super::points::Points;
use super::table::{BlockTable, Record};
use super::{Block, BlockError, Candidates, Section, SstCursor, SstMeta};
use crate::hash_bytes;
use crate::lsm::Kind;
use crate::prefetch::prefetch;

/// Why bytes are not a file, or no longer. Offsets are in bytes from the start of the file.
///
/// ```
/// use thalweg_state::lsm::sst::{Sst, SstError};
/// assert_eq!(Sst::open(b"something else").unwrap_err(), SstError::Foreign);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum SstError {
    /// The file does not end as an SST does: another kind of file, or one that was cut off.
    #[error("this is not an SST, or it was cut off")]
    Foreign,
    /// Another version has written it.
    #[error("format version {found} is not 1, the only one known here")]
    Version { found: u32 },
    /// A section is not as it was written.
    #[error("the {section} is damaged at byte {offset}")]
    Section { section: Section, offset: u64 },
    /// A block is not as it was written.
    #[error("block {block} is damaged at byte {offset}")]
    Block { block: u32, offset: u64, source: BlockError },
    /// The file has fewer blocks.
    #[error("there is no block {block}")]
    NoBlock { block: u32 },
}

/// Where an entry is.
///
/// ```
/// use thalweg_state::lsm::sst::Place;
/// assert_eq!(Place { block: 1, offset: 32 }.block, 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of its block.
    pub block: u32,
    /// Its first byte, from the start of the uncompressed block.
    pub offset: u32,
}

/// An open file over its bytes: mapped, or in memory at the start of a page. At another multiple of 16 values are still
/// aligned, but the lines of the index are not those of the cache, and look-ups take several times as long.
///
/// It is immutable and keeps no note of what was verified: [`Self::verify_index`], and [`Self::verify_block`] for each
/// block, are the caller's to call once before the first use.
///
/// ```
/// use thalweg_state::hash_bytes;
/// use thalweg_state::lsm::{Kind, sst::{Sst, SstOptions, SstWriter, ValueAlign}};
/// let mut writer = SstWriter::new(SstOptions::default());
/// writer.add(b"key 1", Kind::Put, b"one", ValueAlign::Eight).unwrap();
/// let sst = Sst::open(writer.finish().run().1).unwrap();
/// sst.verify_index().unwrap();
///
/// let hash = hash_bytes(b"key 1");
/// assert!(sst.may_contain(hash));
/// let place = sst.candidates(hash).find_map(|address| sst.place(address)).unwrap();
/// sst.verify_block(place.block).unwrap();
/// assert_eq!(sst.entry_at(place, b"key 1"), Some((Kind::Put, &b"one"[..])));
/// ```
#[derive(Debug)]
pub struct Sst<B> {
    bytes: B,
    index: Range<usize>,
    filter: Range<usize>,
    table_range: Range<usize>,
    table: BlockTable,
    footer: Footer,
    meta: SstMeta,
}

impl<B: AsRef<[u8]>> Sst<B> {
    /// What [`Self::open`] will read of a file, in bytes: to bring it in before. Reads the footer, at the very end.
    ///
    /// Errors: as [`Self::open`].
    pub fn open_range(file: &[u8]) -> Result<Range<usize>, SstError> {
        Ok(Footer::read(file)?.range(Section::Table).start..file.len())
    }

    /// Opens a file. Reads footer, metadata and block table, and verifies these.
    ///
    /// Cost: some microseconds for a hundred blocks. Errors: an [`SstError`] if `bytes` are not a file of this version.
    pub fn open(bytes: B) -> Result<Self, SstError> {
        let file = bytes.as_ref();
        let footer = Footer::read(file)?;
        footer.check(Section::Metadata, file)?;
        footer.check(Section::Table, file)?;

        let damage = |section| SstError::Section { section, offset: footer.range(section).start as u64 };
        let meta: SstMeta = serde_json::from_slice(&file[footer.range(Section::Metadata)])
            .map_err(|_| damage(Section::Metadata))?;
        let section = &file[footer.range(Section::Table)];
        let table = BlockTable::open(section, footer.blocks_bytes, meta.codec).map_err(|at| {
            let start = footer.range(Section::Table).start;
            SstError::Section { section: Section::Table, offset: (start + at) as u64 }
        })?;

        let (index, filter) = (footer.range(Section::Index), footer.range(Section::Filter));
        let agrees = meta.format_version == FORMAT_VERSION
            && meta.blocks == table.len()
            && meta.physical_bytes == footer.blocks_bytes
            && meta.entries >= u64::from(meta.blocks)
            && meta.first_key == table.first_key(section, 0).unwrap_or_default()
            && usize::try_from(meta.entries).ok().and_then(index_bytes) == Some(index.len());
        if !agrees {
            return Err(damage(Section::Metadata));
        }
        let table_range = footer.range(Section::Table);
        Ok(Self { index, filter, table_range, table, footer, meta, bytes })
    }

    /// What the file says of itself.
    pub fn meta(&self) -> &SstMeta {
        &self.meta
    }

    /// What it was opened over.
    pub fn source(&self) -> &B {
        &self.bytes
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// How many blocks there are. They are numbered in the order of their keys.
    #[inline]
    pub fn blocks(&self) -> u32 {
        self.table.len()
    }

    /// Where a section is in the file, in bytes: to bring it in, to lock it, to count it.
    pub fn section_range(&self, section: Section) -> Range<usize> {
        self.footer.range(section)
    }

    /// What is allocated besides the bytes of the file.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// What point look-ups need, for those who do many.
    #[inline(always)]
    pub(in crate::lsm) fn points(&self) -> Points<'_> {
        Points {
            bytes: self.bytes.as_ref(),
            filter: Filter::new(self.slice(&self.filter)),
            index: Index::new(self.slice(&self.index)),
            table: &self.table,
            records: self.slice(&self.table_range),
        }
    }

    /// Asks the processor for what [`Self::may_contain`] will read.
    #[inline(always)]
    pub fn filter_prefetch(&self, hash: u64) {
        prefetch(self.points().filter().block(hash));
    }

    /// Whether a key of that hash may be in the file; without a filter, always.
    #[inline(always)]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.points().may_contain(hash)
    }

    /// Asks the processor for what [`Self::candidates`] will read.
    #[inline(always)]
    pub fn index_prefetch(&self, hash: u64) {
        self.points().index_prefetch(hash);
    }

    /// The logical addresses at which the entry of a key of that hash is, if it is there.
    #[inline(always)]
    pub fn candidates(&self, hash: u64) -> Candidates<'_> {
        self.points().candidates(hash)
    }

    /// The block and the offset of a logical address. `None` if there is no block.
    #[inline(always)]
    pub fn place(&self, address: u32) -> Option<Place> {
        let (block, offset) = self.table.place(address)?;
        Some(Place { block, offset })
    }

    /// The bytes of a block in the file, padding included. `None` if there is no such block.
    #[inline]
    pub fn block_range(&self, block: u32) -> Option<Range<usize>> {
        self.record(block)?.physical()
    }

    /// Asks the processor for the entry at a place, in a block that is there and not compressed.
    #[inline(always)]
    pub fn entry_prefetch(&self, place: Place) {
        let points = self.points();
        if let Some(located) = points.at(place) {
            points.entry_prefetch(&located);
        }
    }

    /// The kind and value of the entry at a place, if `key` is its key: in place, in a block that is there, verified and
    /// not compressed. Reads the entry and the block table, and spares the header of the block.
    #[inline(always)]
    pub fn entry_at(&self, place: Place, key: &[u8]) -> Option<(Kind, &[u8])> {
        let points = self.points();
        points.entry(&points.at(place)?, key)
    }

    /// A block in place. `None` if it is compressed or unreadable, or not there; verify it before.
    #[inline]
    pub fn block(&self, block: u32) -> Option<Block<'_>> {
        Block::parse(self.slice(&self.block_range(block)?)).ok()
    }

    /// Copies a block into `image`, uncompressed and verified: for [`Block::parse`].
    ///
    /// Errors: [`SstError::Block`] if it is damaged, [`SstError::NoBlock`] if it is not there.
    pub fn unpack_block(&self, block: u32, image: &mut AlignedVec<16>) -> Result<(), SstError> {
        let range = self.block_range(block).ok_or(SstError::NoBlock { block })?;
        image.clear();
        self.check_block(block, image)?;
        if image.is_empty() {
            image.extend_from_slice(self.slice(&range));
        }
        Ok(())
    }

    /// Compares a block with its checksum, and checks its structure. A compressed one is decompressed for it.
    ///
    /// Cost: 1 µs for a fixed block of 16 KiB in memory. Errors: as [`Self::unpack_block`].
    pub fn verify_block(&self, block: u32) -> Result<(), SstError> {
        self.check_block(block, &mut AlignedVec::new()).map(|_| ())
    }

    /// Compares a section with its checksum: reads all of it. Blocks have checksums of their own.
    ///
    /// Errors: [`SstError::Section`].
    pub fn verify_section(&self, section: Section) -> Result<(), SstError> {
        self.footer.check(section, self.bytes.as_ref())
    }

    /// Compares hash index and filter with their checksums: reads them all.
    ///
    /// Errors: [`SstError::Section`].
    pub fn verify_index(&self) -> Result<(), SstError> {
        self.footer.check(Section::Index, self.bytes.as_ref())?;
        self.footer.check(Section::Filter, self.bytes.as_ref())
    }

    /// The entry of `key`, whose block is verified and, if it is compressed, unpacked into `image`: for tools. A store
    /// looks up in stages, and verifies once.
    ///
    /// Errors: [`SstError::Block`] if the block is damaged.
    ///
    /// ```
    /// use thalweg_state::lsm::sst::{Sst, SstOptions, SstWriter};
    /// let sst = Sst::open(SstWriter::new(SstOptions::default()).finish().run().1).unwrap();
    /// assert_eq!(sst.get(b"key", &mut Default::default()), Ok(None));
    /// ```
    pub fn get<'a>(
        &'a self,
        key: &[u8],
        image: &'a mut AlignedVec<16>,
    ) -> Result<Option<(Kind, &'a [u8])>, SstError> {
        let hash = hash_bytes(key);
        if !self.may_contain(hash) {
            return Ok(None);
        }
        let mut found = None;
        for place in self.candidates(hash).filter_map(|address| self.place(address)) {
            let block = self.check_block(place.block, image)?;
            if block.entry_at(place.offset, key).is_some() {
                found = Some(place);
                break;
            }
        }
        match found {
            Some(place) => Ok(self.check_block(place.block, image)?.entry_at(place.offset, key)),
            None => Ok(None),
        }
    }

    /// The block that holds `key` if any does: for those who do without the hash index. O(log blocks), and reads no block.
    #[inline]
    pub fn block_of(&self, key: &[u8]) -> u32 {
        self.table.seek(self.slice(&self.footer.range(Section::Table)), key)
    }

    /// The first key of a block. `None` if there is no such block. Reads no block.
    #[inline]
    pub(in crate::lsm) fn first_key(&self, block: u32) -> Option<&[u8]> {
        self.table.first_key(self.slice(&self.table_range), block)
    }

    /// The place of the first entry.
    pub fn first(&self) -> SstCursor {
        SstCursor::new(0, self.blocks(), None)
    }

    /// The place of the first entry whose key is not below `key`. O(log blocks), and reads no block.
    pub fn seek(&self, key: &[u8]) -> SstCursor {
        let block = self.table.seek(self.slice(&self.table_range), key);
        SstCursor::new(block, self.blocks(), Some(key))
    }

    fn check_block<'a>(&'a self, block: u32, image: &'a mut AlignedVec<16>) -> Result<Block<'a>, SstError> {
        let record = self.record(block).ok_or(SstError::NoBlock { block })?;
        let range = record.physical().ok_or(SstError::NoBlock { block })?;
        self.check_bytes(block, &record, self.slice(&range), image)
    }

    /// As [`Self::unpack_block`], of `stored`: a copy of what the block takes in the file. `image` stays as it is if the block is
    /// not compressed.
    pub(in crate::lsm) fn check_stored_block(
        &self,
        block: u32,
        stored: &[u8],
        image: &mut AlignedVec<16>,
    ) -> Result<(), SstError> {
        let record = self.record(block).ok_or(SstError::NoBlock { block })?;
        self.check_bytes(block, &record, stored, image).map(|_| ())
    }

    fn check_bytes<'a>(
        &self,
        block: u32,
        record: &Record,
        stored: &'a [u8],
        image: &'a mut AlignedVec<16>,
    ) -> Result<Block<'a>, SstError> {
        check_stored(stored, record.shape, image).map_err(|source| {
            let start = record.physical().map_or(0, |range| range.start);
            SstError::Block { block, offset: start as u64 + u64::from(source.at()), source }
        })
    }

    #[inline(always)]
    fn record(&self, block: u32) -> Option<Record> {
        self.table.record(self.slice(&self.table_range), block)
    }

    /// Empty if the bytes have become fewer since they were checked.
    #[inline(always)]
    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.as_ref().get(range.start..range.end).unwrap_or_default()
    }
}
