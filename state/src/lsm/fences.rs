//! Which of some ranges a key is in: their begins, searched by the first bytes of the key as one number.
//!
//! Invariant: keys compare as their prefixes do, except that those with the same prefix may differ.

use super::KeyRange;

/// The first 16 bytes of a key, big-endian, padded with zeros: key group, state, and a user key of up to 12 bytes.
pub(crate) type KeyPrefix = u128;

#[inline]
pub(crate) fn prefix_of(key: &[u8]) -> KeyPrefix {
    if let Some(first) = key.first_chunk() {
        return u128::from_be_bytes(*first);
    }
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        // Reads that overlap are quicker than a copy of some length, and the same.
        let last = u64::from_be_bytes(*last).checked_shl(8 * (16 - key.len() as u32)).unwrap_or(0);
        return u128::from(u64::from_be_bytes(*first)) << 64 | u128::from(last);
    }
    let mut bytes = [0; 16];
    bytes[..key.len()].copy_from_slice(key);
    u128::from_be_bytes(bytes)
}

/// Keys in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    prefixes: Vec<KeyPrefix>,
    keys: Vec<Vec<u8>>,
}

impl Fences {
    /// Where ranges begin that do not overlap and ascend, except for the first.
    pub(crate) fn between<'a>(ranges: impl Iterator<Item = &'a KeyRange>) -> Self {
        ranges.skip(1).map(|range| range.begin.clone()).collect()
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// How many are not above a key, which has that prefix and is asked for only if that is not enough. O(log n), without a
    /// branch that depends on it.
    #[inline(always)]
    pub(crate) fn up_to<'k>(&self, prefix: KeyPrefix, key: impl FnOnce() -> &'k [u8]) -> usize {
        let (mut from, mut len) = (0, self.prefixes.len());
        if len == 0 {
            return 0;
        }
        while len > 1 {
            let half = len / 2;
            from += if self.prefixes[from + half - 1] < prefix { half } else { 0 };
            len -= half;
        }
        from += usize::from(self.prefixes[from] < prefix);
        if self.prefixes.get(from) == Some(&prefix) { self.among_same(from, prefix, key()) } else { from }
    }

    /// As `up_to`, where those from `from` on have the same prefix.
    #[cold]
    fn among_same(&self, from: usize, prefix: KeyPrefix, key: &[u8]) -> usize {
        let same = self.prefixes[from..].partition_point(|other| *other == prefix);
        from + self.keys[from..from + same].partition_point(|other| other.as_slice() <= key)
    }
}

impl FromIterator<Vec<u8>> for Fences {
    /// The keys must ascend.
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(keys: I) -> Self {
        let keys: Vec<Vec<u8>> = keys.into_iter().collect();
        debug_assert!(keys.is_sorted());
        Self { prefixes: keys.iter().map(|key| prefix_of(key)).collect(), keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys of a few letters and lengths, so that many have a prefix in common.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(0_u8..2, 0..20),
            (0_u8..2, prop::collection::vec(0_u8..3, 0..3)).prop_map(|(a, end)| [vec![a; 16], end].concat()),
        ]
    }

    proptest! {
        #![proptest_config(crate::cases(512))]

        #[test]
        fn as_many_are_found_as_a_walk_finds(mut fences in prop::collection::vec(key(), 0..40), key in key()) {
            fences.sort();
            let expected = fences.iter().filter(|fence| **fence <= key).count();
            let fences: Fences = fences.into_iter().collect();
            prop_assert_eq!(fences.up_to(prefix_of(&key), || &key), expected);
        }

        #[test]
        fn prefixes_sort_as_keys_do(a in key(), b in key()) {
            let order = prefix_of(&a).cmp(&prefix_of(&b));
            prop_assert!(order.is_eq() || order == a.cmp(&b));
        }
    }
}
