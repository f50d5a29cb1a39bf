//! When a map is split, and under which generation.
//!
//! A map that is one value is read in one look-up, and a quarter of the time that its entries take; but a change of one entry reads and writes all
//! of them. So small maps are one value always, and those of a block or so as long as maps of the state are read as wholes more
//! often than such ones are changed.

use crate::value::ValueBytes;
use crate::{Key, StateValue, hash_pair, hash_word};

/// Of so many bytes in slots a map may be one value where maps are changed, and where they are read.
const CHANGED_BYTES_MAX: usize = 1 << 10;
const READ_BYTES_MAX: usize = 4 << 10;

/// And of how many entries, however small they are.
const WHOLE_ENTRIES_MAX: usize = 256;

/// How far one of them can prevail: after so many of the other the rule has turned.
const BALANCE_MAX: i32 = 1024;

/// One of so many puts is looked at.
const SAMPLE_PUTS: u32 = 64;

/// How large the entries of a state are, and so how many a map may have that is one value; and generations.
#[derive(Debug)]
pub(super) struct SplitRule {
    /// Of an entry's key and value, in a slot.
    slot_bytes: usize,
    /// What they own elsewhere, as a running mean of samples.
    owned_bytes: usize,
    /// Reads of whole maps, minus changes of maps that are one value though they are not small.
    balance: i32,
    whole_max: usize,
    /// Puts since the last sample.
    puts: u32,
    scratch: ValueBytes,
    seed: u64,
    generations: u64,
}

impl SplitRule {
    /// `seed`: one for each time the store is opened, as generations are not to come again.
    pub(super) fn new<UK, UV>(seed: u64) -> Self {
        let (slot_bytes, scratch) = (size_of::<(UK, UV)>(), ValueBytes::new());
        let mut rule = Self {
            slot_bytes,
            owned_bytes: 0,
            balance: 0,
            whole_max: 0,
            puts: 0,
            scratch,
            seed,
            generations: 0,
        };
        rule.update();
        rule
    }

    /// Maps of more entries are split.
    #[inline]
    pub(super) fn whole_max(&self) -> usize {
        self.whole_max
    }

    /// A map that is in files is read as a whole.
    #[inline]
    pub(super) fn on_read(&mut self) {
        self.balance = (self.balance + 1).min(BALANCE_MAX);
        if self.balance == 0 {
            self.update();
        }
    }

    /// A map that is one value in files, of so many entries, is about to be changed.
    #[inline]
    pub(super) fn on_change(&mut self, entries: usize) {
        if entries > self.entries_of(CHANGED_BYTES_MAX) {
            self.balance = (self.balance - 1).max(-BALANCE_MAX);
            if self.balance == -1 {
                self.update();
            }
        }
    }

    /// About what an entry owns outside its slot, in bytes.
    #[inline]
    pub(super) fn owned_bytes(&self) -> usize {
        self.owned_bytes
    }

    /// One that no map has ever had, as far as 64 bits can tell.
    #[cold]
    pub(super) fn next_generation(&mut self) -> u64 {
        self.generations += 1;
        hash_pair(self.seed, hash_word(self.generations))
    }

    /// Looks at an entry that is put, now and then.
    #[inline]
    pub(super) fn sample<UK: Key, UV: StateValue>(&mut self, key: &UK, value: &UV) {
        if std::mem::needs_drop::<(UK, UV)>() {
            if self.puts == 0 {
                self.look_at(key, value);
            }
            self.puts = (self.puts + 1) % SAMPLE_PUTS;
        }
    }

    #[cold]
    fn look_at<UK: Key, UV: StateValue>(&mut self, key: &UK, value: &UV) {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        self.scratch.clear();
        let is_written = value.write(&mut self.scratch).is_ok();
        let owned = bytes.len() + if is_written { self.scratch.len() } else { 0 };
        self.owned_bytes = if self.owned_bytes == 0 { owned } else { (self.owned_bytes * 15 + owned) / 16 };
        self.update();
    }

    fn update(&mut self) {
        self.whole_max = self.entries_of(if self.balance < 0 { CHANGED_BYTES_MAX } else { READ_BYTES_MAX });
    }

    fn entries_of(&self, bytes: usize) -> usize {
        (bytes / (self.slot_bytes + self.owned_bytes).max(1)).clamp(1, WHOLE_ENTRIES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_entries_own_decides_how_many_are_one_value() {
        assert_eq!(SplitRule::new::<u64, u64>(0).whole_max(), 256);
        assert_eq!(SplitRule::new::<u64, [u8; 96]>(0).whole_max(), 4096 / 104);
        assert_eq!(SplitRule::new::<u64, [u8; 4096]>(0).whole_max(), 1);
        let mut rule = SplitRule::new::<String, String>(0);
        for _ in 0..100 {
            rule.sample(&"k".repeat(100), &"v".repeat(200));
        }
        assert!((8..13).contains(&rule.whole_max()), "{rule:?}");
    }

    #[test]
    fn maps_that_are_changed_are_split_sooner_than_those_that_are_read() {
        let mut rule = SplitRule::new::<u64, [u8; 24]>(0);
        let (small, large) = (1024 / 32, 4096 / 32);
        (0..10).for_each(|_| rule.on_change(small));
        assert_eq!(rule.whole_max(), large);
        (0..5000).for_each(|_| rule.on_change(small + 1));
        assert_eq!(rule.whole_max(), small);
        (0..1023).for_each(|_| rule.on_read());
        assert_eq!(rule.whole_max(), small);
        rule.on_read();
        assert_eq!(rule.whole_max(), large);
        rule.on_read();
        rule.on_change(large);
        assert_eq!(rule.whole_max(), large);
        rule.on_change(large);
        assert_eq!(rule.whole_max(), small);
    }

    #[test]
    fn generations_differ() {
        let (mut one, mut other) = (SplitRule::new::<u8, u8>(1), SplitRule::new::<u8, u8>(2));
        let both = (0..1000).flat_map(|_| [one.next_generation(), other.next_generation()]);
        let mut all: Vec<u64> = both.collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
    }
}
