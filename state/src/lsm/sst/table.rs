//! The block table: where each block is, by its number, by a logical address and by its first key.
//!
//! ```text
//!   count │ record │ record │ … │ first key │ first key │ …      record: place, length, shape, first key's place
//! ```
//!
//! Invariants, all checked when a file is opened:
//! - blocks follow each other without a gap, in the file and in logical pages, of which there are few enough;
//! - an uncompressed block is in the file where it is logically;
//! - first keys ascend strictly, and each key lies within the section.

use std::ops::Range;

use super::block::Shape;
use super::{Codec, LOGICAL_BYTES_MAX, PAGE_BYTES, field};

/// So that records, in a section at a page's start, do not straddle cache lines.
const HEAD_BYTES: usize = RECORD_BYTES;
const RECORD_BYTES: usize = 32;
const PAGES_MAX: usize = LOGICAL_BYTES_MAX / PAGE_BYTES;

/// One block, as its record says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    page: u32,
    stored_bytes: u32,
    physical: u64,
    key_at: u32,
    key_bytes: u16,
    pub(super) shape: Shape,
}

impl Record {
    #[inline(always)]
    fn read(section: &[u8], block: usize) -> Option<Record> {
        let bytes = field::<RECORD_BYTES>(section, HEAD_BYTES + block * RECORD_BYTES)?;
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        Some(Record {
            page: u32_at(0),
            stored_bytes: u32_at(4),
            physical: u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32,
            key_at: u32_at(16),
            key_bytes: u16_at(20),
            shape: Shape {
                prefix_bytes: u16_at(22),
                suffix_bytes: u16_at(24),
                flags: bytes[26],
                value_bytes: u32_at(28),
            },
        })
    }

    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        out[..4].copy_from_slice(&self.page.to_le_bytes());
        out[4..8].copy_from_slice(&self.stored_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.physical.to_le_bytes());
        out[16..20].copy_from_slice(&self.key_at.to_le_bytes());
        out[20..22].copy_from_slice(&self.key_bytes.to_le_bytes());
        out[22..24].copy_from_slice(&self.shape.prefix_bytes.to_le_bytes());
        out[24..26].copy_from_slice(&self.shape.suffix_bytes.to_le_bytes());
        out[26] = self.shape.flags;
        out[28..].copy_from_slice(&self.shape.value_bytes.to_le_bytes());
        out
    }

    fn key<'a>(&self, section: &'a [u8]) -> Option<&'a [u8]> {
        section.get(self.key_at as usize..)?.get(..usize::from(self.key_bytes))
    }

    /// What all keys of the block begin with: the first one does.
    #[inline(always)]
    pub(super) fn prefix<'a>(&self, section: &'a [u8]) -> Option<&'a [u8]> {
        section.get(self.key_at as usize..)?.get(..usize::from(self.shape.prefix_bytes))
    }

    /// Where `prefix` reads, if that is within the section.
    #[inline(always)]
    pub(super) fn prefix_address(&self, section: &[u8]) -> *const u8 {
        section.as_ptr().wrapping_add(self.key_at as usize)
    }

    /// The bytes of the block in the file.
    #[inline(always)]
    pub(super) fn physical(&self) -> Option<Range<usize>> {
        let start = usize::try_from(self.physical).ok()?;
        Some(start..start.checked_add(self.stored_bytes as usize)?)
    }
}

/// The blocks of an open file. The section itself stays where it is, and is handed in.
#[derive(Debug)]
pub(super) struct BlockTable {
    /// The block at each logical page up to the start of the last block.
    block_by_page: Box<[u16]>,
    /// The first page of each block.
    pages: Box<[u16]>,
}

impl BlockTable {
    /// Checks the section of a file whose blocks take `blocks_bytes` bytes. The error is the offset in the section.
    pub(super) fn open(section: &[u8], blocks_bytes: u64, codec: Codec) -> Result<Self, usize> {
        let count = field(section, 0).map(u32::from_le_bytes).ok_or(0_usize)? as usize;
        let keys_at = count.checked_mul(RECORD_BYTES).and_then(|bytes| bytes.checked_add(HEAD_BYTES));
        if count > PAGES_MAX || keys_at.is_none_or(|at| at > section.len()) {
            return Err(0);
        }
        let mut pages: Vec<u16> = Vec::with_capacity(count);
        let mut block_by_page = Vec::new();
        let mut physical = 0_u64;
        let mut last_key: Option<&[u8]> = None;
        for block in 0..count {
            let damage = HEAD_BYTES + block * RECORD_BYTES;
            let record = Record::read(section, block).ok_or(damage)?;
            let key = record.key(section).ok_or(damage)?;
            let page = u16::try_from(record.page).map_err(|_| damage)?;
            let follows = pages.last().map_or(page == 0, |last| page > *last);
            if !follows
                || usize::from(page) >= PAGES_MAX
                || last_key.is_some_and(|last| last >= key)
                || record.shape.prefix_bytes > record.key_bytes
                || !record.shape.is_valid()
                || record.physical != physical
                || record.stored_bytes == 0
                || !(record.stored_bytes as usize).is_multiple_of(codec.block_align())
                || codec == Codec::None && physical != u64::from(page) * PAGE_BYTES as u64
            {
                return Err(damage);
            }
            block_by_page.resize(usize::from(page), block.saturating_sub(1) as u16);
            block_by_page.push(block as u16);
            pages.push(page);
            physical += u64::from(record.stored_bytes);
            last_key = Some(key);
        }
        if physical != blocks_bytes {
            return Err(0);
        }
        Ok(Self { block_by_page: block_by_page.into(), pages: pages.into() })
    }

    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        self.pages.len() as u32
    }

    /// The block of the entry at a logical address and its offset there. `None` if no block can hold it.
    #[inline(always)]
    pub(super) fn place(&self, address: u32) -> Option<(u32, u32)> {
        let page = address as usize / PAGE_BYTES;
        let block = match self.block_by_page.get(page) {
            Some(block) => usize::from(*block),
            None => self.pages.len().checked_sub(1)?, // The last block may be longer than a page.
        };
        let start = self.logical_start(block as u32)?;
        Some((block as u32, address.checked_sub(start as u32)?))
    }

    /// The logical address of a block: where it is in the file, too, if the file is not compressed.
    #[inline(always)]
    pub(super) fn logical_start(&self, block: u32) -> Option<usize> {
        Some(usize::from(*self.pages.get(block as usize)?) * PAGE_BYTES)
    }

    /// What the table says of a block. `None` if there is no such block.
    #[inline(always)]
    pub(super) fn record(&self, section: &[u8], block: u32) -> Option<Record> {
        if block < self.len() { Record::read(section, block as usize) } else { None }
    }

    /// Where `record` reads, if there is such a block.
    #[inline(always)]
    pub(super) fn record_address(&self, section: &[u8], block: u32) -> *const u8 {
        section.as_ptr().wrapping_add(HEAD_BYTES + block as usize * RECORD_BYTES)
    }

    /// The first key of a block. `None` if there is no such block.
    pub(super) fn first_key<'a>(&self, section: &'a [u8], block: u32) -> Option<&'a [u8]> {
        self.record(section, block)?.key(section)
    }

    /// The block that holds `key` if any does: the last one that does not begin above it, or the first. O(log blocks).
    pub(super) fn seek(&self, section: &[u8], key: &[u8]) -> u32 {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            if self.first_key(section, middle).is_some_and(|first| first <= key) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from.saturating_sub(1)
    }

    /// What is allocated, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.block_by_page) + size_of_val(&*self.pages)
    }
}

/// Collects the blocks of a file that is written.
#[derive(Debug, Default)]
pub(super) struct TableBuilder {
    /// Their keys are in `keys`.
    records: Vec<Record>,
    keys: Vec<u8>,
    /// Where the next block will be, in the file and in the uncompressed file.
    physical: u64,
    logical: usize,
}

impl TableBuilder {
    pub(super) fn logical_bytes(&self) -> usize {
        self.logical
    }

    pub(super) fn physical_bytes(&self) -> u64 {
        self.physical
    }

    pub(super) fn len(&self) -> u32 {
        self.records.len() as u32
    }

    /// Adds the first key of the next block; [`Self::add`] the rest.
    pub(super) fn add_key(&mut self, first_key: &[u8]) {
        self.keys.extend_from_slice(first_key);
    }

    /// Adds the next block.
    pub(super) fn add(&mut self, logical_bytes: usize, stored_bytes: usize, shape: Shape) {
        let keys_before = self.records.last().map_or(0, |last| last.key_at + u32::from(last.key_bytes));
        self.records.push(Record {
            page: (self.logical / PAGE_BYTES) as u32,
            stored_bytes: stored_bytes as u32,
            physical: self.physical,
            key_at: keys_before,
            key_bytes: (self.keys.len() - keys_before as usize) as u16,
            shape,
        });
        self.physical += stored_bytes as u64;
        self.logical += super::align_up(logical_bytes, PAGE_BYTES);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let keys_at = HEAD_BYTES + self.records.len() * RECORD_BYTES;
        let mut out = Vec::with_capacity(keys_at + self.keys.len());
        out.extend_from_slice(&self.len().to_le_bytes());
        out.resize(HEAD_BYTES, 0);
        for record in self.records {
            let key_at = record.key_at + keys_at as u32;
            out.extend_from_slice(&Record { key_at, ..record }.to_bytes());
        }
        out.extend_from_slice(&self.keys);
        out
    }

    /// What is allocated, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>() + self.keys.capacity()
    }
}
