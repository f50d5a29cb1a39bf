//! When a map is split, and under which generation.

use crate::value::ValueBytes;
use crate::{Key, StateValue, hash_pair, hash_word};

/// What a map may have to be one value: a change of an entry reads and writes so much for it. A few such maps fit even a small block.
const WHOLE_BYTES_MAX: usize = 1024;

/// And how many entries, however small they are.
const WHOLE_ENTRIES_MAX: usize = 64;

/// One of so many puts is looked at.
const SAMPLE_PUTS: u32 = 64;

/// How large the entries of a state are, and so how many a map may have that is one value; and generations.
#[derive(Debug)]
pub(super) struct SplitRule {
    /// Of an entry's key and value, in a slot.
    slot_bytes: usize,
    /// What they own elsewhere, as a running mean of samples.
    owned_bytes: usize,
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
        let mut rule =
            Self { slot_bytes, owned_bytes: 0, whole_max: 0, puts: 0, scratch, seed, generations: 0 };
        rule.set_owned(0);
        rule
    }

    /// Maps of more entries are split.
    #[inline]
    pub(super) fn whole_max(&self) -> usize {
        self.whole_max
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
        self.set_owned(if self.owned_bytes == 0 { owned } else { (self.owned_bytes * 15 + owned) / 16 });
    }

    fn set_owned(&mut self, bytes: usize) {
        self.owned_bytes = bytes;
        self.whole_max = (WHOLE_BYTES_MAX / (self.slot_bytes + bytes).max(1)).clamp(1, WHOLE_ENTRIES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_entries_own_decides_how_many_are_one_value() {
        assert_eq!(SplitRule::new::<u64, u64>(0).whole_max(), 64);
        assert_eq!(SplitRule::new::<u64, [u8; 96]>(0).whole_max(), 1024 / 104);
        assert_eq!(SplitRule::new::<u64, [u8; 4096]>(0).whole_max(), 1);
        let mut rule = SplitRule::new::<String, String>(0);
        for _ in 0..100 {
            rule.sample(&"k".repeat(100), &"v".repeat(200));
        }
        assert!((2..4).contains(&rule.whole_max()), "{rule:?}");
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
