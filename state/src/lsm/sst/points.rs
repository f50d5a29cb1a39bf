//! Look-ups by hash, in stages, so that those of a batch can overlap their cache misses.
//!
//! ```text
//!   for all keys of a batch:   filter block  ─┄▶ may it be there?
//!                              index_prefetch ┄▶ candidates: an address
//!                              address_prefetch ┄▶ locate
//!                              entry_prefetch ┄▶ entry: kind and value, in place
//! ```
//!
//! Invariant: what was not verified may be read, and yields nonsense or nothing, but never a panic.

use super::block::Entries;
use super::filter::{Filter, FilterBits};
use super::index::Index;
use super::table::{BlockTable, Record};
use super::{Candidates, Place};
use crate::lsm::Kind;
use crate::prefetch::prefetch;

/// All that look-ups need of a file, which would be some steps away: gathered once for many of them.
#[derive(Debug, Clone, Copy)]
pub(in crate::lsm) struct Points<'a> {
    /// The file.
    pub(super) bytes: &'a [u8],
    pub(super) filter: Filter<'a>,
    pub(super) index: Index<'a>,
    pub(super) table: &'a BlockTable,
    /// The section of the block table.
    pub(super) records: &'a [u8],
}

/// Where an entry is, and what one must know of its block to read it.
#[derive(Debug, Clone, Copy)]
pub(in crate::lsm) struct Located {
    pub(in crate::lsm) place: Place,
    record: Record,
}

impl<'a> Points<'a> {
    /// The filter: lets everything through if there is none.
    #[inline(always)]
    pub(in crate::lsm) fn filter(&self) -> Filter<'a> {
        self.filter
    }

    /// Whether a key of that hash may be in the file; without a filter, always.
    #[inline(always)]
    pub(in crate::lsm) fn may_contain(&self, hash: u64) -> bool {
        FilterBits::of(hash).are_in(self.filter.block(hash))
    }

    /// Asks the processor for what [`Self::candidates`] will read.
    #[inline(always)]
    pub(in crate::lsm) fn index_prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The logical addresses at which the entry of a key of that hash is, if it is there.
    #[inline(always)]
    pub(in crate::lsm) fn candidates(&self, hash: u64) -> Candidates<'a> {
        self.index.candidates(hash)
    }

    /// Asks the processor for what [`Self::locate`] will read, and for the entry at that address, which is there in the file
    /// too if it is not compressed.
    #[inline(always)]
    pub(in crate::lsm) fn address_prefetch(&self, address: u32) {
        prefetch(self.bytes.as_ptr().wrapping_add(address as usize));
        if let Some((block, _)) = self.table.place(address) {
            prefetch(self.table.record_address(self.records, block));
        }
    }

    /// What is at a logical address. `None` if there is no block.
    #[inline(always)]
    pub(in crate::lsm) fn locate(&self, address: u32) -> Option<Located> {
        let (block, offset) = self.table.place(address)?;
        self.at(Place { block, offset })
    }

    /// What is at a place. `None` if there is no block.
    #[inline(always)]
    pub(in crate::lsm) fn at(&self, place: Place) -> Option<Located> {
        Some(Located { place, record: self.table.record(self.records, place.block)? })
    }

    /// Asks the processor for an entry, in a block that is not compressed, and for the prefix of its key.
    #[inline(always)]
    pub(in crate::lsm) fn entry_prefetch(&self, located: &Located) {
        let Some(block) = located.record.physical() else { return };
        self.entry_prefetch_in(self.bytes.as_ptr().wrapping_add(block.start), located);
    }

    /// As [`Self::entry_prefetch`], in a block that is somewhere else.
    #[inline(always)]
    pub(in crate::lsm) fn entry_prefetch_in(&self, block: *const u8, Located { place, record }: &Located) {
        let entry = block.wrapping_add(place.offset as usize);
        prefetch(entry);
        prefetch(entry.wrapping_add(record.shape.reach_bytes())); // Nearly always the same line, and free.
        prefetch(record.prefix_address(self.records));
    }

    /// The kind and value of an entry, if `key` is its key: in place, in a block that is there, verified and not compressed.
    /// Reads the entry and the block table, and spares the header of the block.
    #[inline(always)]
    pub(in crate::lsm) fn entry(&self, located: &Located, key: &[u8]) -> Option<(Kind, &'a [u8])> {
        self.entry_in(self.bytes.get(located.record.physical()?)?, located, key)
    }

    /// As [`Self::entry`], in a block that is somewhere else, verified and unpacked.
    #[inline(always)]
    pub(in crate::lsm) fn entry_in(
        &self,
        block: &'a [u8],
        Located { place, record }: &Located,
        key: &[u8],
    ) -> Option<(Kind, &'a [u8])> {
        Entries::new(block, record.prefix(self.records)?, record.shape).get(place.offset, key)
    }
}
