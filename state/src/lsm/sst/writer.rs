//! Writes a file: entries in, in ascending order of their keys, and bytes out.
//!
//! ```text
//!   add ──▶ staged block ──▶ ┐
//!            hashes ─┐       ├──▶ ready bytes ──▶ take_ready, in pieces of whole blocks
//!   finish ──────────┴─ tail ┘
//! ```
//!
//! Invariants:
//! - the pieces taken, in order, are the file; its length is a multiple of 4096;
//! - memory is that of one block, of what was not taken yet, and 12 bytes for each entry, until the tail is built.

use std::{fmt, mem};

use xxhash_rust::xxh3::Xxh3Default;

use super::block::{BLOCK_BYTES_MAX, BlockBuilder};
use super::filter::FilterBuilder;
use super::index::IndexBuilder;
use super::meta::{Extent, FORMAT_VERSION, Footer, SECTIONS};
use super::table::TableBuilder;
use super::{
    Codec, FOOTER_BYTES, LOGICAL_BYTES_MAX, PAGE_BYTES, Purpose, Section, SstMeta, StateMeta, ValueAlign,
    align_up,
};
use crate::lsm::key::{EncodedKey, KeyLengthError};
use crate::lsm::{KeyRange, Kind};

/// The longest value, in bytes: lengths of blocks stay within 32 bits.
pub const VALUE_BYTES_MAX: usize = 1 << 30;

/// How many hashes are kept in one allocation, and handled in one go.
const HASHES_CHUNK: usize = 1024;

/// The bytes of a section that are copied out for each entry of a step's budget.
const TAIL_BYTES_PER_ENTRY: usize = 64;

/// How a file is written.
///
/// ```
/// use thalweg_state::lsm::sst::{Codec, SstOptions};
/// let options = SstOptions { codec: Codec::Lz4, ..SstOptions::default() };
/// assert_eq!((options.block_bytes, options.filter_bits_per_key), (16 << 10, 12));
/// ```
#[derive(Debug, Clone)]
pub struct SstOptions {
    /// The size of a block, in bytes, that is exceeded only by a single entry. 16 KiB unless set; 4 KiB to 256 KiB.
    pub block_bytes: u32,
    /// The size of all uncompressed blocks, in bytes, from which on the file is full. 31 MiB unless set, and at most.
    pub file_bytes: u32,
    /// The filter's share, in bits for each key. 12 unless set: 5 of 1000 absent keys pass. 0 for no filter; at most 64.
    pub filter_bits_per_key: u32,
    /// Whether blocks are compressed. Not unless set: such files are read in place.
    pub codec: Codec,
    /// Said in the metadata.
    pub purpose: Purpose,
    /// Said in the metadata.
    pub states: Vec<StateMeta>,
}

impl Default for SstOptions {
    fn default() -> Self {
        Self {
            block_bytes: 16 << 10,
            file_bytes: 31 << 20,
            filter_bits_per_key: 12,
            codec: Codec::None,
            purpose: Purpose::Flush,
            states: Vec::new(),
        }
    }
}

/// Why an entry was not taken. The writer is as it was before.
///
/// ```
/// use thalweg_state::lsm::{Kind, sst::{SstOptions, SstWriter, ValueAlign, WriteError}};
/// let mut writer = SstWriter::new(SstOptions::default());
/// writer.add(b"key 2", Kind::Put, b"", ValueAlign::Eight).unwrap();
/// let error = writer.add(b"key 1", Kind::Put, b"", ValueAlign::Eight).unwrap_err();
/// assert_eq!(error, WriteError::Order);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum WriteError {
    /// It could not be told from other keys.
    #[error("the key cannot be stored")]
    Key(#[from] KeyLengthError),
    /// The key is not above the last one.
    #[error("the key is not above the one before it")]
    Order,
    /// The length of the value does not fit the format.
    #[error("a value has {bytes} bytes, more than 2^30")]
    Value { bytes: usize },
    /// The writer said that it is full, and more was added until the index could not address it.
    #[error("the file is full")]
    Full,
}

/// The hash of an entry's key, high half and low half, and its logical address.
type Hashed = [u32; 3];

/// Writes one file.
///
/// Order of calls: `add` until `is_full` or nothing is left, `take_ready` in between; then `finish`, and the tail's
/// `step` and `take_ready` until it is done.
///
/// ```
/// use thalweg_state::lsm::{Kind, sst::{Sst, SstOptions, SstWriter, ValueAlign}};
/// let mut writer = SstWriter::new(SstOptions::default());
/// for i in 0..10_000_u32 {
///     writer.add(&i.to_be_bytes(), Kind::Put, &i.to_le_bytes(), ValueAlign::Eight).unwrap();
/// }
/// let mut file = writer.take_ready(Vec::new());
/// let (meta, rest) = writer.finish().run();
/// file.extend(rest);
/// assert_eq!(Sst::open(file).unwrap().meta(), &meta);
/// ```
#[derive(Debug)]
pub struct SstWriter {
    options: SstOptions,
    block: BlockBuilder,
    table: TableBuilder,
    hashes: Vec<Vec<Hashed>>,
    tombstones: Vec<KeyRange>,
    first_key: Vec<u8>,
    /// Of the blocks that are finished.
    last_key: Vec<u8>,
    entries: u64,
    deletes: u64,
    merges: u64,
    out: Vec<u8>,
}

impl SstWriter {
    /// An empty file. Options out of their bounds are brought back into them.
    pub fn new(mut options: SstOptions) -> Self {
        options.block_bytes = options.block_bytes.clamp(PAGE_BYTES as u32, BLOCK_BYTES_MAX as u32);
        options.file_bytes = options.file_bytes.min(31 << 20);
        options.filter_bits_per_key = options.filter_bits_per_key.min(super::filter::BITS_PER_KEY_MAX);
        Self {
            options,
            block: BlockBuilder::default(),
            table: TableBuilder::default(),
            hashes: Vec::new(),
            tombstones: Vec::new(),
            first_key: Vec::new(),
            last_key: Vec::new(),
            entries: 0,
            deletes: 0,
            merges: 0,
            out: Vec::new(),
        }
    }

    /// Adds an entry, whose key is above all before it.
    ///
    /// Cost: 36 to 40 ns for a short one in a fixed block, 44 to 61 in a mixed one, the tail included. Errors: a [`WriteError`];
    /// the entry is then not there.
    #[inline]
    pub fn add(
        &mut self,
        key: &[u8],
        kind: Kind,
        value: &[u8],
        value_align: ValueAlign,
    ) -> Result<(), WriteError> {
        EncodedKey::new(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(WriteError::Value { bytes: value.len() });
        }
        let last_key = if self.block.is_empty() { &self.last_key } else { self.block.last_key() };
        if self.entries > 0 && key <= last_key {
            return Err(WriteError::Order);
        }
        let bytes_max = self.options.block_bytes as usize;
        while !self.block.try_add(key, kind, value, value_align, bytes_max) {
            self.finish_block();
        }
        if self.block.len() == 1 && self.table.logical_bytes() > LOGICAL_BYTES_MAX - BLOCK_BYTES_MAX {
            self.block.clear();
            return Err(WriteError::Full);
        }
        self.entries += 1;
        self.deletes += u64::from(kind == Kind::Delete);
        self.merges += u64::from(kind == Kind::Merge);
        Ok(())
    }

    /// Adds a range of keys of which older files say nothing that counts. In any order.
    pub fn add_tombstone(&mut self, range: KeyRange) {
        self.tombstones.push(range);
    }

    /// Whether it is time for another file.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.table.logical_bytes() + self.block.logical_bytes() >= self.options.file_bytes as usize
    }

    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// How many bytes of the file [`Self::take_ready`] would give.
    #[inline]
    pub fn ready_bytes(&self) -> usize {
        self.out.len()
    }

    /// The next bytes of the file, whole blocks. Goes on in `spare`, whose contents are dropped: a buffer that was written
    /// out can be used again.
    pub fn take_ready(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        spare.clear();
        mem::replace(&mut self.out, spare)
    }

    /// What is allocated, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.block.memory_bytes()
            + self.table.memory_bytes()
            + self.hashes.len() * HASHES_CHUNK * size_of::<Hashed>()
            + self.out.capacity()
    }

    /// Ends the entries. What is left to do is up to the tail.
    pub fn finish(mut self) -> SstTail {
        if !self.block.is_empty() {
            self.finish_block();
        }
        let key_group = |key: &[u8]| EncodedKey::new(key).ok().map(|key| key.key_group().0);
        let meta = SstMeta {
            format_version: FORMAT_VERSION,
            purpose: self.options.purpose,
            entries: self.entries,
            deletes: self.deletes,
            merges: self.merges,
            key_group_min: key_group(&self.first_key),
            key_group_max: key_group(&self.last_key),
            first_key: self.first_key,
            last_key: self.last_key,
            states: self.options.states,
            tombstones: self.tombstones,
            codec: self.options.codec,
            blocks: self.table.len(),
            block_bytes: self.options.block_bytes,
            filter_bits_per_key: self.options.filter_bits_per_key,
            logical_bytes: self.table.logical_bytes() as u64,
            physical_bytes: self.table.physical_bytes(),
        };
        let mut tail = SstTail {
            offset: meta.physical_bytes,
            out: self.out,
            phase: Phase::Index(IndexBuilder::new(meta.entries as usize), 0),
            hashes: self.hashes,
            table: self.table.into_bytes(),
            extents: [Extent::default(); SECTIONS.len()],
            meta,
        };
        tail.pad();
        tail
    }

    fn finish_block(&mut self) {
        if self.table.len() == 0 {
            self.first_key.extend_from_slice(self.block.first_key());
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(self.block.last_key());
        let (logical_at, before) = (self.table.logical_bytes() as u32, self.out.len());
        let logical_bytes = self.block.logical_bytes();
        self.table.add_key(self.block.first_key());
        let hashes = &mut self.hashes;
        let shape = self.block.finish(self.options.codec, &mut self.out, |hash, offset| {
            if hashes.last().is_none_or(|chunk| chunk.len() == HASHES_CHUNK) {
                hashes.push(Vec::with_capacity(HASHES_CHUNK));
            }
            let chunk = hashes.last_mut().expect("one was pushed if there was none");
            chunk.push([(hash >> 32) as u32, hash as u32, logical_at + offset]);
        });
        self.table.add(logical_bytes, self.out.len() - before, shape);
    }
}

/// What a tail works on.
enum Phase {
    /// Some chunks of hashes are in the index.
    Index(IndexBuilder, usize),
    /// Some chunks of hashes are in the filter.
    Filter(FilterBuilder, usize),
    /// Some bytes of a section are out.
    Section(Section, Vec<u8>, usize, Box<Xxh3Default>),
    Done,
}

/// Builds what comes after the blocks: index, filter, block table, metadata and footer.
///
/// In steps, because those of two million entries take tens of milliseconds; a step over `entries` entries takes about
/// 20 ns for each. See [`SstWriter`] for an example.
pub struct SstTail {
    out: Vec<u8>,
    /// Of the next byte in the file.
    offset: u64,
    phase: Phase,
    hashes: Vec<Vec<Hashed>>,
    table: Vec<u8>,
    extents: [Extent; SECTIONS.len()],
    meta: SstMeta,
}

impl fmt::Debug for SstTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SstTail").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl SstTail {
    /// Works on about `entries` entries, or as many times 64 bytes. The metadata once all is done.
    ///
    /// ```
    /// use thalweg_state::lsm::sst::{SstOptions, SstWriter};
    /// let mut tail = SstWriter::new(SstOptions::default()).finish();
    /// let mut file = Vec::new();
    /// let meta = loop {
    ///     let done = tail.step(512);
    ///     file.extend(tail.take_ready(Vec::new()));
    ///     if let Some(meta) = done { break meta }
    /// };
    /// assert_eq!((meta.entries, file.len() % 4096), (0, 0));
    /// ```
    pub fn step(&mut self, entries: usize) -> Option<SstMeta> {
        let chunks = entries.div_ceil(HASHES_CHUNK).max(1);
        self.phase = match mem::replace(&mut self.phase, Phase::Done) {
            Phase::Index(mut index, from) if from < self.hashes.len() => {
                for [high, low, address] in self.hashes[from..].iter().take(chunks).flatten() {
                    index.insert(u64::from(*high) << 32 | u64::from(*low), *address);
                }
                Phase::Index(index, from + chunks)
            }
            Phase::Index(index, _) => Self::section(Section::Index, index.into_bytes()),
            Phase::Filter(mut filter, from) if from < self.hashes.len() => {
                for [high, low, _] in self.hashes[from..].iter().take(chunks).flatten() {
                    filter.insert(u64::from(*high) << 32 | u64::from(*low));
                }
                Phase::Filter(filter, from + chunks)
            }
            Phase::Filter(filter, _) => {
                self.hashes = Vec::new();
                Self::section(Section::Filter, filter.into_bytes())
            }
            Phase::Section(section, bytes, from, mut checksum) if from < bytes.len() => {
                let to = bytes.len().min(from + chunks * HASHES_CHUNK * TAIL_BYTES_PER_ENTRY);
                checksum.update(&bytes[from..to]);
                self.out.extend_from_slice(&bytes[from..to]);
                Phase::Section(section, bytes, to, checksum)
            }
            Phase::Section(section, bytes, _, checksum) => {
                self.end_section(section, bytes.len() as u64, checksum.digest())
            }
            Phase::Done => Phase::Done,
        };
        matches!(self.phase, Phase::Done).then(|| self.meta.clone())
    }

    /// As [`SstWriter::take_ready`].
    pub fn take_ready(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        spare.clear();
        mem::replace(&mut self.out, spare)
    }

    /// All steps at once: the metadata, and all bytes of the file that were not taken yet.
    pub fn run(mut self) -> (SstMeta, Vec<u8>) {
        loop {
            if let Some(meta) = self.step(usize::MAX / TAIL_BYTES_PER_ENTRY / 2) {
                return (meta, self.out);
            }
        }
    }

    fn section(section: Section, bytes: Vec<u8>) -> Phase {
        Phase::Section(section, bytes, 0, Box::default())
    }

    /// Pads the section that is out, and begins with what comes after it.
    fn end_section(&mut self, section: Section, bytes: u64, checksum: u64) -> Phase {
        let extent = Extent { offset: self.offset, bytes, checksum };
        self.offset += bytes;
        let at = SECTIONS.iter().position(|s| *s == section).expect("sections of the tail have an extent");
        self.extents[at] = extent;
        if section == Section::Metadata {
            self.end_file();
            return Phase::Done;
        }
        self.pad();
        match section {
            Section::Index => {
                let bits_per_key = self.meta.filter_bits_per_key;
                Phase::Filter(FilterBuilder::new(self.meta.entries as usize, bits_per_key), 0)
            }
            Section::Filter => Self::section(Section::Table, mem::take(&mut self.table)),
            _ => {
                let json = serde_json::to_vec(&self.meta).expect("metadata has strings and integers only");
                Self::section(Section::Metadata, json)
            }
        }
    }

    /// The footer ends where a page does.
    fn end_file(&mut self) {
        let end = self.offset as usize;
        let padding = align_up(end + FOOTER_BYTES, PAGE_BYTES) - end - FOOTER_BYTES;
        self.out.resize(self.out.len() + padding, 0);
        let footer = Footer::new(self.extents, self.meta.physical_bytes);
        self.out.extend_from_slice(&footer.to_bytes());
    }

    /// Zeros up to the next page.
    fn pad(&mut self) {
        let padded = self.offset.next_multiple_of(PAGE_BYTES as u64);
        self.out.resize(self.out.len() + (padded - self.offset) as usize, 0);
        self.offset = padded;
    }
}
