//! The block table: where each block is, by its number, by a logical address and by its first key.
//!
//! ```text
//!   count │ record │ record │ … │ first key │ first key │ …      record: page, bytes, physical offset, first key's place
//! ```
//!
//! Invariants, all checked when a file is opened:
//! - blocks follow each other without a gap, in the file and in logical pages, of which there are few enough;
//! - an uncompressed block is in the file where it is logically;
//! - first keys ascend strictly, and each key lies within the section.

use std::ops::Range;

use super::{Codec, LOGICAL_BYTES_MAX, PAGE_BYTES, field};

const HEAD_BYTES: usize = 8;
const RECORD_BYTES: usize = 24;
const PAGES_MAX: usize = LOGICAL_BYTES_MAX / PAGE_BYTES;

/// One block, as its record says.
struct Record {
    page: u32,
    stored_bytes: u32,
    physical: u64,
    key_at: u32,
    key_bytes: u16,
}

impl Record {
    fn read(section: &[u8], block: usize) -> Option<Record> {
        let at = HEAD_BYTES + block * RECORD_BYTES;
        Some(Record {
            page: u32::from_le_bytes(field(section, at)?),
            stored_bytes: u32::from_le_bytes(field(section, at + 4)?),
            physical: u64::from_le_bytes(field(section, at + 8)?),
            key_at: u32::from_le_bytes(field(section, at + 16)?),
            key_bytes: u16::from_le_bytes(field(section, at + 20)?),
        })
    }

    fn key<'a>(&self, section: &'a [u8]) -> Option<&'a [u8]> {
        section.get(self.key_at as usize..)?.get(..usize::from(self.key_bytes))
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
                || record.physical != physical
                || record.stored_bytes == 0
                || record.stored_bytes as usize % codec.block_align() != 0
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

    /// The bytes of a block in the file. `None` if there is no such block.
    #[inline(always)]
    pub(super) fn physical(&self, section: &[u8], block: u32) -> Option<Range<usize>> {
        if block >= self.len() {
            return None;
        }
        let record = Record::read(section, block as usize)?;
        let start = usize::try_from(record.physical).ok()?;
        Some(start..start.checked_add(record.stored_bytes as usize)?)
    }

    /// The first key of a block. `None` if there is no such block.
    pub(super) fn first_key<'a>(&self, section: &'a [u8], block: u32) -> Option<&'a [u8]> {
        if block >= self.len() {
            return None;
        }
        Record::read(section, block as usize)?.key(section)
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
    records: Vec<u8>,
    keys: Vec<u8>,
    count: u32,
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
        self.count
    }

    /// Adds the next block, before it is stored. Where its key is cannot be said before the number of records is known:
    /// that comes last.
    pub(super) fn add(&mut self, first_key: &[u8], logical_bytes: usize) {
        let page = (self.logical / PAGE_BYTES) as u32;
        self.records.extend_from_slice(&page.to_le_bytes());
        self.records.extend_from_slice(&[0; 4]); // Until it is stored.
        self.records.extend_from_slice(&self.physical.to_le_bytes());
        self.records.extend_from_slice(&(self.keys.len() as u32).to_le_bytes());
        self.records.extend_from_slice(&(first_key.len() as u16).to_le_bytes());
        self.records.extend_from_slice(&[0, 0]);
        self.keys.extend_from_slice(first_key);
        self.count += 1;
        self.logical += super::align_up(logical_bytes, PAGE_BYTES);
    }

    /// The block that was added last takes so many bytes of the file.
    pub(super) fn stored(&mut self, bytes: usize) {
        if let Some(record) = self.records.as_chunks_mut::<RECORD_BYTES>().0.last_mut() {
            record[4..8].copy_from_slice(&(bytes as u32).to_le_bytes());
        }
        self.physical += bytes as u64;
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        let keys_at = (HEAD_BYTES + self.records.len()) as u32;
        for record in self.records.as_chunks_mut::<RECORD_BYTES>().0 {
            let key_at = u32::from_le_bytes([record[16], record[17], record[18], record[19]]) + keys_at;
            record[16..20].copy_from_slice(&key_at.to_le_bytes());
        }
        let head = [self.count.to_le_bytes(), [0; 4]].concat();
        [head, self.records, self.keys].concat()
    }

    /// What is allocated, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.records.capacity() + self.keys.capacity()
    }
}
