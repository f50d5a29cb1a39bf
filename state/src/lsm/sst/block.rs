//! A block: some entries in ascending order of their keys, under one checksum.
//!
//! ```text
//!   mixed   header │ prefix │ entry │ entry │ … │ u16 offset of each entry       entry: header │ suffix │ value
//!   fixed   header │ prefix │ suffix value │ suffix value │ …                    at a constant stride
//! ```
//!
//! A key is the prefix, which all keys of the block share, and the entry's suffix. A block is fixed if all its entries
//! are puts whose keys have one length and whose values have one length and alignment: a counter under a `u64` then
//! takes 16 bytes.
//!
//! Invariants:
//! - keys ascend strictly; there is at least one entry;
//! - an entry starts at a multiple of 8 of the block, a value at a multiple of 8, or of 16 if it was added so;
//! - a [`Block`] has a header whose lengths fit its bytes; whether its entries are those that were written is known
//!   only after [`check_stored`].

mod builder;

pub(super) use builder::BlockBuilder;

use std::cmp::Ordering;

use rkyv::util::AlignedVec;
use xxhash_rust::xxh3::xxh3_64;

use super::{align_up, field};
use crate::key::padded;
use crate::lsm::Kind;

/// Checksum, lengths, counts and form.
pub(super) const HEADER_BYTES: usize = 32;

/// The largest target for the size of a block: all entries but the last must start below 512 KiB.
pub(in crate::lsm) const BLOCK_BYTES_MAX: usize = 256 << 10;

const CHECKSUM_BYTES: usize = 8;
const CODEC_AT: usize = 28;
const ENTRY_HEADER_BYTES: usize = 8;
const OFFSET_BYTES: usize = 2;
/// Entries start at multiples of this, and offsets are in units of it.
const ENTRY_ALIGN: usize = 8;
/// All entries are puts of the same lengths, without headers and offsets.
const FLAG_FIXED: u8 = 1;
/// In a fixed block: values, and so entries, are at multiples of 16.
const FLAG_ALIGN_16: u8 = 2;
/// In the kind of an entry in a mixed block: its value is at a multiple of 16.
const KIND_ALIGN_16: u8 = 0x80;
const CACHE_LINE_BYTES: usize = 64;
/// LZ4 makes no more than this many bytes of one.
const LZ4_RATIO_MAX: usize = 255;

/// How the bytes of a file's blocks are stored.
///
/// ```
/// assert_eq!(thalweg_state::lsm::sst::Codec::default(), thalweg_state::lsm::sst::Codec::None);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// As they are, at multiples of 4096, to be read in place.
    #[default]
    None,
    /// Compressed if that makes a block smaller, at multiples of 16.
    Lz4,
}

impl Codec {
    /// Blocks start at multiples of this in the file.
    pub(super) fn block_align(self) -> usize {
        match self {
            Codec::None => super::PAGE_BYTES,
            Codec::Lz4 => 16,
        }
    }
}

/// Where a value starts in the file, and so in a mapping of it: archived bytes are read in place.
///
/// ```
/// use thalweg_state::lsm::sst::ValueAlign;
/// assert_eq!(ValueAlign::Sixteen.bytes(), 16);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[repr(u8)]
pub enum ValueAlign {
    /// At a multiple of 8.
    #[default]
    Eight = 8,
    /// At a multiple of 16, which every rkyv archive is content with.
    Sixteen = 16,
}

impl ValueAlign {
    /// As a number of bytes.
    #[inline(always)]
    pub fn bytes(self) -> usize {
        self as usize
    }
}

impl From<ValueAlign> for u8 {
    fn from(align: ValueAlign) -> Self {
        align as u8
    }
}

impl TryFrom<u8> for ValueAlign {
    type Error = &'static str;

    fn try_from(bytes: u8) -> Result<Self, Self::Error> {
        match bytes {
            8 => Ok(Self::Eight),
            16 => Ok(Self::Sixteen),
            _ => Err("values start at multiples of 8 or 16"),
        }
    }
}

/// Why bytes are not a block. Offsets are in bytes from the start of the block.
///
/// ```
/// use thalweg_state::lsm::sst::{Block, BlockError};
/// assert_eq!(Block::parse(&[0; 31]).unwrap_err(), BlockError::Truncated);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum BlockError {
    /// It is shorter than its header says, or than a header.
    #[error("the block ends early")]
    Truncated,
    /// Some of its bytes are not those that were written.
    #[error("the checksum is {stored:016x}, that of the bytes {computed:016x}")]
    Checksum { stored: u64, computed: u64 },
    /// It is stored in a way this version does not know, or a compressed block was to be read in place.
    #[error("codec {0} is not known here")]
    Codec(u8),
    /// Its header contradicts itself.
    #[error("the lengths in the header do not agree")]
    Header,
    /// An entry is not where the one before it ends, or not an entry.
    #[error("the entry at {at} is malformed")]
    Entry { at: u32 },
    /// A key is not above the one before it.
    #[error("the key of the entry at {at} is out of order")]
    Order { at: u32 },
    /// What was compressed cannot be decompressed.
    #[error("the compressed bytes are malformed")]
    Compression,
}

impl BlockError {
    /// Where in the block, as far as that is known.
    pub(super) fn at(self) -> u32 {
        match self {
            BlockError::Entry { at } | BlockError::Order { at } => at,
            _ => 0,
        }
    }
}

/// One entry, in place. Its key is `prefix` and `suffix` after each other.
///
/// ```
/// use thalweg_state::lsm::{Kind, sst::Entry};
/// let entry = Entry { prefix: b"ab", suffix: b"c", kind: Kind::Put, value: &[] };
/// assert!(entry.is_key(b"abc") && !entry.is_key(b"ab"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the keys of its block have in common.
    pub prefix: &'a [u8],
    /// The rest of its key.
    pub suffix: &'a [u8],
    /// What it says of its key.
    pub kind: Kind,
    /// The value, or the operands.
    pub value: &'a [u8],
}

impl Entry<'_> {
    /// Whether `key` is its key.
    #[inline(always)]
    pub fn is_key(&self, key: &[u8]) -> bool {
        match key.split_at_checked(self.prefix.len()) {
            Some((prefix, suffix)) => is_same(suffix, self.suffix) && is_same(prefix, self.prefix),
            None => false,
        }
    }

    /// Appends the key to `out`.
    #[inline]
    pub fn key_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.suffix);
    }
}

/// `a == b`, for bytes that are few: in place of a call of `memcmp`, words and then what is left.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let ((words_a, rest_a), (words_b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    a.len() == b.len()
        && words_a.iter().zip(words_b).all(|(a, b)| word(a) == word(b))
        && padded(rest_a) == padded(rest_b)
}

/// What one must know of a block to read an entry whose place is known. It is in the header, and again in the block table:
/// headers are at multiples of 4096, so those of a batch would push each other out of the same few sets of the caches.
/// Reading them took a point look-up from 27 to 32 ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// All values, if the block is fixed; otherwise 0.
    pub(super) value_bytes: u32,
    pub(super) prefix_bytes: u16,
    /// All suffixes, if the block is fixed; otherwise 0.
    pub(super) suffix_bytes: u16,
    pub(super) flags: u8,
}

impl Shape {
    #[inline(always)]
    pub(super) fn is_valid(&self) -> bool {
        self.flags & !(FLAG_FIXED | FLAG_ALIGN_16) == 0
    }

    /// How far the first bytes of an entry that a look-up reads are from its start, at most one line on.
    #[inline(always)]
    pub(super) fn reach_bytes(&self) -> usize {
        let entry_bytes = self.fixed().map_or(CACHE_LINE_BYTES, |shape| shape.stride);
        entry_bytes.clamp(1, CACHE_LINE_BYTES) - 1
    }

    #[inline(always)]
    fn fixed(&self) -> Option<FixedShape> {
        let align = if self.flags & FLAG_ALIGN_16 != 0 { 16 } else { 8 };
        (self.flags & FLAG_FIXED != 0).then(|| {
            FixedShape::new(
                usize::from(self.prefix_bytes),
                usize::from(self.suffix_bytes),
                self.value_bytes as usize,
                align,
            )
        })
    }
}

/// The header of a block, with lengths that have not been compared with anything.
struct Header {
    stored_bytes: usize,
    logical_bytes: usize,
    entries: u32,
    shape: Shape,
    codec: u8,
}

impl Header {
    #[inline(always)]
    fn read(bytes: &[u8]) -> Result<Header, BlockError> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>().ok_or(BlockError::Truncated)?;
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if u16_at(30) != 0 {
            return Err(BlockError::Header);
        }
        let header = Header {
            stored_bytes: u32_at(8) as usize,
            logical_bytes: u32_at(12) as usize,
            entries: u32_at(16),
            shape: Shape {
                value_bytes: u32_at(20),
                prefix_bytes: u16_at(24),
                suffix_bytes: u16_at(26),
                flags: bytes[29],
            },
            codec: bytes[CODEC_AT],
        };
        if !header.shape.is_valid() {
            return Err(BlockError::Header);
        }
        Ok(header)
    }

    /// Without the checksum, which comes last.
    fn write(&self, out: &mut [u8]) {
        out[8..12].copy_from_slice(&(self.stored_bytes as u32).to_le_bytes());
        out[12..16].copy_from_slice(&(self.logical_bytes as u32).to_le_bytes());
        out[16..20].copy_from_slice(&self.entries.to_le_bytes());
        out[20..24].copy_from_slice(&self.shape.value_bytes.to_le_bytes());
        out[24..26].copy_from_slice(&self.shape.prefix_bytes.to_le_bytes());
        out[26..28].copy_from_slice(&self.shape.suffix_bytes.to_le_bytes());
        out[28..32].copy_from_slice(&[self.codec, self.shape.flags, 0, 0]);
    }
}

/// Where the parts of the entries of a fixed block are, in bytes.
#[derive(Debug, Clone, Copy)]
struct FixedShape {
    /// Of the first entry in the block.
    start: usize,
    suffix_bytes: usize,
    /// Of the value in its entry.
    value_at: usize,
    value_bytes: usize,
    stride: usize,
}

impl FixedShape {
    #[inline(always)]
    fn new(prefix_bytes: usize, suffix_bytes: usize, value_bytes: usize, align: usize) -> Self {
        let value_at = align_up(suffix_bytes, align);
        let stride = value_at + align_up(value_bytes, align);
        // Entries that can be within a cache line are: across two, a quarter of the counters cost another miss.
        let fits_a_line = stride.is_power_of_two() && stride <= CACHE_LINE_BYTES;
        let start_align = if fits_a_line { stride.max(align) } else { align };
        let start = align_up(HEADER_BYTES + prefix_bytes, start_align);
        Self { start, suffix_bytes, value_at, value_bytes, stride }
    }
}

/// Where the parts of an entry of a mixed block are, in the block, given where it starts.
struct MixedShape {
    value_at: usize,
    end: usize,
}

impl MixedShape {
    #[inline(always)]
    fn new(at: usize, suffix_bytes: usize, value_bytes: usize, align: usize) -> Self {
        let value_at = align_up(at + ENTRY_HEADER_BYTES + suffix_bytes, align);
        Self { value_at, end: align_up(value_at + value_bytes, ENTRY_ALIGN) }
    }
}

#[inline(always)]
fn mixed_start(prefix_bytes: usize) -> usize {
    align_up(HEADER_BYTES + prefix_bytes, ENTRY_ALIGN)
}

/// The entries of a block, to those who know where they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries<'a> {
    /// The block, at least up to the end of the last entry.
    bytes: &'a [u8],
    prefix: &'a [u8],
    fixed: Option<FixedShape>,
}

impl<'a> Entries<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8], prefix: &'a [u8], shape: Shape) -> Self {
        Self { bytes, prefix, fixed: shape.fixed() }
    }

    /// The entry that starts at `at`.
    #[inline(always)]
    fn at(&self, at: usize) -> Option<Entry<'a>> {
        match &self.fixed {
            Some(shape) => self.fixed_at(shape, at),
            None => Some(self.mixed_at(at)?.0),
        }
    }

    /// The kind and value of the entry that starts at `at`, if `key` is its key.
    #[inline(always)]
    pub(super) fn get(&self, at: u32, key: &[u8]) -> Option<(Kind, &'a [u8])> {
        let entry = self.at(at as usize)?;
        entry.is_key(key).then_some((entry.kind, entry.value))
    }

    #[inline(always)]
    fn fixed_at(&self, shape: &FixedShape, at: usize) -> Option<Entry<'a>> {
        let bytes = self.bytes.get(at..at.checked_add(shape.stride)?)?;
        let suffix = bytes.get(..shape.suffix_bytes)?;
        let value = bytes.get(shape.value_at..)?.get(..shape.value_bytes)?;
        Some(Entry { prefix: self.prefix, suffix, kind: Kind::Put, value })
    }

    /// The entry that starts at `at`, and where it ends.
    #[inline(always)]
    fn mixed_at(&self, at: usize) -> Option<(Entry<'a>, usize)> {
        let header = field::<ENTRY_HEADER_BYTES>(self.bytes, at)?;
        let suffix_bytes = usize::from(u16::from_le_bytes([header[0], header[1]]));
        let value_bytes = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let kind = match header[2] & !KIND_ALIGN_16 {
            0 => Kind::Put,
            1 => Kind::Delete,
            2 => Kind::Merge,
            _ => return None,
        };
        let align = if header[2] & KIND_ALIGN_16 != 0 { 16 } else { 8 };
        let shape = MixedShape::new(at, suffix_bytes, value_bytes, align);
        let suffix = self.bytes.get(at + ENTRY_HEADER_BYTES..)?.get(..suffix_bytes)?;
        let value = self.bytes.get(shape.value_at..)?.get(..value_bytes)?;
        Some((Entry { prefix: self.prefix, suffix, kind, value }, shape.end))
    }
}

/// A block whose header fits its bytes: uncompressed, in a file or made by [`super::Sst::unpack_block`].
///
/// Reading it is safe whatever its bytes are; that they are those that were written is for the caller to know, who has
/// verified the block once.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    entries: Entries<'a>,
    count: u32,
    /// Of the entries; none if the block is fixed.
    offsets: &'a [[u8; OFFSET_BYTES]],
}

impl<'a> Block<'a> {
    /// Reads the header. O(1).
    ///
    /// Errors: a [`BlockError`] if it does not fit `bytes`, which may go on after the block, or if these are compressed.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let header = Header::read(bytes)?;
        if header.codec != 0 {
            return Err(BlockError::Codec(header.codec));
        }
        let bytes = bytes.get(..header.logical_bytes).ok_or(BlockError::Truncated)?;
        let prefix_bytes = usize::from(header.shape.prefix_bytes);
        let prefix = bytes.get(HEADER_BYTES..HEADER_BYTES + prefix_bytes).ok_or(BlockError::Header)?;
        let count = header.entries as usize;
        let (end, fits) = match header.shape.fixed() {
            Some(shape) => {
                let end = shape.stride.checked_mul(count).and_then(|bytes| bytes.checked_add(shape.start));
                (bytes.len(), end == Some(bytes.len()))
            }
            None => {
                let end = bytes.len().saturating_sub(count.saturating_mul(OFFSET_BYTES));
                (end, end >= mixed_start(prefix_bytes))
            }
        };
        if !fits || count == 0 {
            return Err(BlockError::Header);
        }
        let (bytes, offsets) = bytes.split_at(end);
        let entries = Entries::new(bytes, prefix, header.shape);
        Ok(Self { entries, count: header.entries, offsets: offsets.as_chunks().0 })
    }

    /// How many entries there are: at least one.
    #[inline]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// What all keys begin with.
    #[inline]
    pub(in crate::lsm) fn prefix(&self) -> &'a [u8] {
        self.entries.prefix
    }

    /// Never: a block has an entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The `index`-th entry in the order of keys, or `None` if there are not as many.
    #[inline]
    pub fn entry(&self, index: u32) -> Option<Entry<'a>> {
        if index >= self.count {
            return None;
        }
        self.entries.at(self.offset(index)?)
    }

    /// Where the `index`-th entry starts, in bytes from the start of the block.
    #[inline(always)]
    fn offset(&self, index: u32) -> Option<usize> {
        match &self.entries.fixed {
            Some(shape) => Some(shape.start + index as usize * shape.stride),
            None => self.offsets.get(index as usize).map(offset_of),
        }
    }

    /// The kind and value of the entry that starts at `offset` bytes in the block, if `key` is its key.
    #[inline]
    pub fn entry_at(&self, offset: u32, key: &[u8]) -> Option<(Kind, &'a [u8])> {
        self.entries.get(offset, key)
    }

    /// The index of the first entry whose key is not below `key`: [`Self::len`] if there is none. O(log entries).
    pub fn seek(&self, key: &[u8]) -> u32 {
        let prefix = self.entries.prefix;
        match key[..key.len().min(prefix.len())].cmp(prefix) {
            Ordering::Less => return 0,
            Ordering::Greater => return self.count,
            Ordering::Equal => {}
        }
        let suffix = &key[prefix.len()..];
        let (mut from, mut to) = (0, self.count);
        while from < to {
            let middle = from + (to - from) / 2;
            match self.entry(middle) {
                Some(entry) if entry.suffix < suffix => from = middle + 1,
                _ => to = middle,
            }
        }
        from
    }

    /// Checks that the entries lie one after the other without a gap. O(1) if the block is fixed.
    fn check_entries(&self) -> Result<(), BlockError> {
        if self.entries.fixed.is_some() {
            return Ok(());
        }
        let mut at = mixed_start(self.entries.prefix.len());
        for offset in self.offsets {
            let malformed = BlockError::Entry { at: at as u32 };
            if offset_of(offset) != at {
                return Err(malformed);
            }
            at = self.entries.mixed_at(at).ok_or(malformed)?.1;
        }
        if at == self.entries.bytes.len() { Ok(()) } else { Err(BlockError::Entry { at: at as u32 }) }
    }

    /// Checks that keys ascend strictly.
    pub(super) fn check_order(&self) -> Result<(), BlockError> {
        let mut last = None;
        for index in 0..self.count {
            let suffix = self.entry(index).ok_or(BlockError::Header)?.suffix;
            if last.is_some_and(|last: &[u8]| last >= suffix) {
                let at = self.offset(index).unwrap_or(0);
                return Err(BlockError::Order { at: at as u32 });
            }
            last = Some(suffix);
        }
        Ok(())
    }
}

#[inline(always)]
fn offset_of(offset: &[u8; OFFSET_BYTES]) -> usize {
    usize::from(u16::from_le_bytes(*offset)) * ENTRY_ALIGN
}

/// Checks `stored`, all the bytes that a block takes in its file, padding included: checksum and structure.
/// A compressed block is decompressed into `image`, which is left alone otherwise. `shape` is what the block table says.
pub(super) fn check_stored<'a>(
    stored: &'a [u8],
    shape: Shape,
    image: &'a mut AlignedVec<16>,
) -> Result<Block<'a>, BlockError> {
    let (checksum, rest) = stored.split_first_chunk::<CHECKSUM_BYTES>().ok_or(BlockError::Truncated)?;
    let (stored_sum, computed) = (u64::from_le_bytes(*checksum), xxh3_64(rest));
    if stored_sum != computed {
        return Err(BlockError::Checksum { stored: stored_sum, computed });
    }
    let header = Header::read(stored)?;
    if header.shape != shape {
        return Err(BlockError::Header);
    }
    let block = match header.codec {
        0 if header.stored_bytes != header.logical_bytes => return Err(BlockError::Header),
        0 => Block::parse(stored)?,
        1 => {
            decompress(&header, stored, image)?;
            Block::parse(image)?
        }
        codec => return Err(BlockError::Codec(codec)),
    };
    block.check_entries()?;
    Ok(block)
}

fn decompress(header: &Header, stored: &[u8], image: &mut AlignedVec<16>) -> Result<(), BlockError> {
    let compressed = stored.get(HEADER_BYTES..header.stored_bytes).ok_or(BlockError::Truncated)?;
    let bytes = header.logical_bytes.checked_sub(HEADER_BYTES).ok_or(BlockError::Header)?;
    if bytes > compressed.len().saturating_mul(LZ4_RATIO_MAX) {
        return Err(BlockError::Compression);
    }
    image.clear();
    image.extend_from_slice(&stored[..HEADER_BYTES]);
    image[CODEC_AT] = 0;
    image.resize(header.logical_bytes, 0);
    match lz4_flex::block::decompress_into(compressed, &mut image[HEADER_BYTES..]) {
        Ok(written) if written == bytes => Ok(()),
        _ => Err(BlockError::Compression),
    }
}
