//! What has changed in a table since it was frozen last, without a mark on its entries.
//!
//! ```text
//!   hash ──▶ place in the table's range of hashes ──▶ bit      about two for each entry: set when one of its hashes changes
//!   removed   keys, as no entry says of itself that it is gone
//! ```
//!
//! Invariants:
//! - a key that was given a value since has its bit set, and one that lost it is among the removed: others may seem changed, too;
//! - it takes a quarter of a byte for each entry there was at first, and removed keys up to a bound: beyond it, all has changed.

use super::KeyedTable;
use crate::{HashSpread, KeyGroup, KeyGroupRange, MaxParallelism};

/// Tables smaller than that have bits for so many entries.
const ENTRIES_MIN: usize = if cfg!(test) { 8 } else { 512 };
/// Removed keys that are remembered whatever the size of the table. Of larger ones, half as many as there were entries.
const REMOVED_MIN: usize = if cfg!(test) { 8 } else { 64 << 10 };

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Changes<K> {
    spread: HashSpread,
    /// Bits of a position that are not part of its bit's number.
    shift: u32,
    /// None when too much has changed to tell.
    bits: Box<[u64]>,
    bits_set: usize,
    /// As many are set when about half of the entries have changed.
    bits_set_max: usize,
    removed: KeyedTable<K, ()>,
    removed_count: usize,
    removed_max: usize,
}

impl<K: Eq> Changes<K> {
    /// Nothing has changed yet in a table of about so many entries. O(entries) zero bits, which the system gives by the page as they
    /// are used; else O(key groups).
    pub(super) fn new(key_groups: KeyGroupRange, max: MaxParallelism, entries: usize) -> Self {
        let entries = entries.max(ENTRIES_MIN);
        let bits = (entries * 2).next_power_of_two().max(64);
        Self {
            spread: HashSpread::new(key_groups, max),
            shift: u64::BITS - bits.trailing_zeros(),
            bits: vec![0; bits / 64].into(),
            bits_set: 0,
            bits_set_max: entries / 2,
            removed: KeyedTable::new(key_groups, max),
            removed_count: 0,
            removed_max: REMOVED_MIN.max(entries / 2),
        }
    }

    /// A key of that hash is given a value, or may be.
    #[inline(always)]
    pub(super) fn mark(&mut self, hash: u64) {
        let (word, mask) = self.place(hash);
        if let Some(word) = self.bits.get_mut(word) {
            self.bits_set += usize::from(*word & mask == 0);
            *word |= mask;
        }
    }

    /// A key lost its value.
    pub(super) fn on_removed(&mut self, hash: u64, key: impl FnOnce() -> K, is: impl Fn(&K) -> bool) {
        if self.bits.is_empty() {
            return;
        }
        let (_, _, is_new) = self.removed.entry(hash, is, || (key(), ()));
        self.removed_count += usize::from(is_new);
        if self.removed_count > self.removed_max {
            self.removed.clear();
            self.bits = Box::default();
        }
    }

    /// Whether a key of that hash may have another value than it had.
    #[inline]
    pub(super) fn has(&self, hash: u64) -> bool {
        let (word, mask) = self.place(hash);
        self.bits.get(word).is_none_or(|word| word & mask != 0)
    }

    /// The keys of a group that were removed, some of which may have values again.
    pub(super) fn removed(&self, group: KeyGroup) -> impl Iterator<Item = &K> {
        self.removed.iter_group(group).map(|(key, ())| key)
    }

    /// Whether so much has changed that to say what is not worth it.
    pub(super) fn are_most(&self) -> bool {
        self.bits.is_empty() || self.bits_set >= self.bits_set_max
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.bits) + self.removed.memory_bytes()
    }

    #[inline(always)]
    fn place(&self, hash: u64) -> (usize, u64) {
        let bit = self.spread.position(hash) >> self.shift;
        ((bit >> 6) as usize, 1 << (bit & 63))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, range_of};

    fn changes(entries: usize) -> (Changes<u64>, KeyGroupRange) {
        let max = MaxParallelism::default();
        let range = range_of(1, max, 3);
        (Changes::new(range, max, entries), range)
    }

    #[test]
    fn what_was_marked_has_changed_and_little_else() {
        let (mut changes, range) = changes(10_000);
        let max = MaxParallelism::default();
        let ours = |key: &u64| range.contains(crate::key_group(key.key_hash(), max));
        for key in (0..30_000_u64).filter(ours).step_by(10) {
            changes.mark(key.key_hash());
        }
        let all: Vec<u64> = (0..30_000).filter(ours).collect();
        let seem = all.iter().filter(|key| changes.has(key.key_hash())).count();
        assert!(all.iter().step_by(10).all(|key| changes.has(key.key_hash())));
        assert!((all.len() / 10..all.len() / 6).contains(&seem), "{seem} of {}", all.len());
        assert!(!changes.are_most());
        all.iter().for_each(|key| changes.mark(key.key_hash()));
        assert!(changes.are_most());
    }

    #[test]
    fn more_removed_keys_than_are_remembered_are_all_keys() {
        let (mut changes, range) = changes(0);
        let max = MaxParallelism::default();
        let ours = (0_u64..).filter(|key| range.contains(crate::key_group(key.key_hash(), max)));
        for (count, key) in ours.enumerate().take(REMOVED_MIN + 1) {
            assert!(!changes.are_most(), "{count}");
            changes.on_removed(key.key_hash(), || key, |other| *other == key);
            changes.on_removed(key.key_hash(), || key, |other| *other == key);
        }
        assert!(changes.are_most() && changes.has(7));
        assert!(range.iter().all(|group| changes.removed(group).next().is_none()));
    }
}
