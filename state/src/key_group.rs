//! Key groups: the unit in which keyed state is placed, saved and moved between subtasks.
//!
//! ```text
//!   hash   0 ─────────────────────────────────────────── 2⁶⁴
//!   group  │  0  │  1  │  2  │  3  │  4  │  5  │  6  │  7  │    maximal parallelism 8
//!   subtask│        0        │     1     │        2        │    parallelism 3
//! ```
//!
//! Invariants:
//! - a key group is a contiguous range of hashes, a subtask a contiguous range of key groups;
//! - [`subtask_of`] and [`range_of`] agree: they are Flink's `KeyGroupRangeAssignment`;
//! - the maximal parallelism is fixed for the life of a job's state, the parallelism is not.

use crate::Error;

/// One key group, counted from 0.
///
/// ```
/// use thalweg_state::KeyGroup;
/// assert!(KeyGroup(3) < KeyGroup(4));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u16);

/// The key groups from `start` up to `end`, without `end`.
///
/// ```
/// use thalweg_state::{KeyGroup, KeyGroupRange};
/// let range = KeyGroupRange { start: 2, end: 4 };
/// assert!(range.contains(KeyGroup(3)) && !range.contains(KeyGroup(4)));
/// assert_eq!(range.iter().map(|g| g.0).collect::<Vec<_>>(), [2, 3]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyGroupRange {
    /// The first key group.
    pub start: u16,
    /// The one after the last.
    pub end: u16,
}

impl KeyGroupRange {
    /// All key groups there are under `max`: what a single subtask owns.
    ///
    /// ```
    /// use thalweg_state::{KeyGroupRange, MaxParallelism};
    /// assert_eq!(KeyGroupRange::all(MaxParallelism::default()).len(), 128);
    /// ```
    pub fn all(max: MaxParallelism) -> Self {
        Self { start: 0, end: max.0 }
    }

    /// Whether `group` is one of them.
    ///
    /// ```
    /// use thalweg_state::{KeyGroup, MaxParallelism, range_of};
    /// let first = range_of(0, MaxParallelism::default(), 2);
    /// assert!(first.contains(KeyGroup(63)) && !first.contains(KeyGroup(64)));
    /// ```
    pub fn contains(self, group: KeyGroup) -> bool {
        (self.start..self.end).contains(&group.0)
    }

    /// How many they are.
    ///
    /// ```
    /// use thalweg_state::{MaxParallelism, range_of};
    /// let max = MaxParallelism::default();
    /// assert_eq!([0, 1, 2].map(|subtask| range_of(subtask, max, 3).len()), [43, 43, 42]);
    /// ```
    pub fn len(self) -> usize {
        (self.start..self.end).len()
    }

    /// Whether there is none.
    ///
    /// ```
    /// use thalweg_state::KeyGroupRange;
    /// assert!(KeyGroupRange { start: 3, end: 3 }.is_empty());
    /// ```
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Each of them, in order.
    ///
    /// ```
    /// use thalweg_state::{KeyGroup, KeyGroupRange};
    /// let groups = KeyGroupRange { start: 2, end: 5 };
    /// assert!(groups.iter().eq([KeyGroup(2), KeyGroup(3), KeyGroup(4)]));
    /// ```
    pub fn iter(self) -> impl ExactSizeIterator<Item = KeyGroup> {
        (self.start..self.end).map(KeyGroup)
    }

    /// Those in both ranges: what moves from one subtask to another when the parallelism changes.
    ///
    /// ```
    /// use thalweg_state::KeyGroupRange;
    /// let (a, b) = (KeyGroupRange { start: 0, end: 43 }, KeyGroupRange { start: 32, end: 64 });
    /// assert_eq!(a.intersect(b), KeyGroupRange { start: 32, end: 43 });
    /// ```
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }
}

/// How many key groups there are, and so the highest parallelism a job's state can ever be spread over. 128 unless set.
///
/// ```
/// use thalweg_state::MaxParallelism;
/// assert_eq!(MaxParallelism::default().get(), 128);
/// assert!(MaxParallelism::new(32_769).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxParallelism(u16);

impl MaxParallelism {
    /// The highest that is allowed, as in Flink.
    pub const MAX: Self = Self(1 << 15);

    /// A maximal parallelism of `count` key groups.
    ///
    /// Errors: [`Error::MaxParallelism`] unless `count` is in `1..=32768`.
    ///
    /// ```
    /// use thalweg_state::{Error, MaxParallelism};
    /// assert_eq!(MaxParallelism::new(32_768)?, MaxParallelism::MAX);
    /// assert!(matches!(MaxParallelism::new(0), Err(Error::MaxParallelism { given: 0 })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new(count: u32) -> Result<Self, Error> {
        match u16::try_from(count) {
            Ok(groups @ 1..=0x8000) => Ok(Self(groups)),
            _ => Err(Error::MaxParallelism { given: count }),
        }
    }

    /// What a job gets that sets none: room to grow to 1.5 times its `parallelism`, at least 128, a power of two.
    ///
    /// Source: Flink's `KeyGroupRangeAssignment.computeDefaultMaxParallelism`.
    ///
    /// ```
    /// use thalweg_state::MaxParallelism;
    /// let of = |parallelism| MaxParallelism::for_parallelism(parallelism).get();
    /// assert_eq!([of(1), of(85), of(86), of(1000), of(100_000)], [128, 128, 256, 2048, 32_768]);
    /// ```
    pub fn for_parallelism(parallelism: u32) -> Self {
        let roomy = u64::from(parallelism) + u64::from(parallelism / 2);
        let groups = roomy.next_power_of_two().clamp(128, u64::from(Self::MAX.0));
        Self(u16::try_from(groups).expect("it was clamped to 32768"))
    }

    /// The number of key groups.
    ///
    /// ```
    /// use thalweg_state::MaxParallelism;
    /// assert_eq!(MaxParallelism::new(200)?.get(), 200); // It need not be a power of two.
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }
}

impl Default for MaxParallelism {
    fn default() -> Self {
        Self(128)
    }
}

/// The key group of a key's hash: the hash as a fraction of 2⁶⁴, times the number of groups. One multiplication.
///
/// ```
/// use thalweg_state::{KeyGroup, MaxParallelism, key_group};
/// let max = MaxParallelism::default();
/// assert_eq!(key_group(0, max), KeyGroup(0));
/// assert_eq!(key_group(u64::MAX / 2 + 1, max), KeyGroup(64));
/// assert_eq!(key_group(u64::MAX, max), KeyGroup(127));
/// ```
#[inline]
pub fn key_group(hash: u64, max: MaxParallelism) -> KeyGroup {
    KeyGroup(((u128::from(hash) * u128::from(max.0)) >> 64) as u16) // Less than `max`, which is a u16.
}

/// The subtask, of `parallelism` many, that owns `group`.
///
/// Source: Flink's `computeOperatorIndexForKeyGroup`. Costs a division: a router keeps the answers in a table.
///
/// ```
/// use thalweg_state::{KeyGroup, MaxParallelism, subtask_of};
/// let max = MaxParallelism::default();
/// assert_eq!(subtask_of(KeyGroup(42), max, 3), 0);
/// assert_eq!(subtask_of(KeyGroup(43), max, 3), 1);
/// ```
#[inline]
pub fn subtask_of(group: KeyGroup, max: MaxParallelism, parallelism: u32) -> u32 {
    debug_assert!(parallelism <= max.get() && u32::from(group.0) < max.get());
    u32::from(group.0) * parallelism / max.get() // At most 2¹⁵ · 2¹⁵.
}

/// The key groups that `subtask`, of `parallelism` many, owns.
///
/// Source: Flink's `computeKeyGroupRangeForOperatorIndex`. Panics unless `subtask < parallelism <= max`, which the
/// plan has checked.
///
/// ```
/// use thalweg_state::{KeyGroupRange, MaxParallelism, range_of};
/// assert_eq!(range_of(1, MaxParallelism::default(), 3), KeyGroupRange { start: 43, end: 86 });
/// ```
pub fn range_of(subtask: u32, max: MaxParallelism, parallelism: u32) -> KeyGroupRange {
    assert!(
        subtask < parallelism && parallelism <= max.get(),
        "subtask {subtask} of {parallelism} with a maximal parallelism of {}",
        max.get()
    );
    let first_of = |subtask: u32| ((subtask * max.get()).div_ceil(parallelism)) as u16; // At most 2¹⁵.
    KeyGroupRange { start: first_of(subtask), end: first_of(subtask + 1) }
}

/// Spreads the hashes of a range of key groups over all 64 bits, in their order.
///
/// A [`heap::Table`](crate::heap::Table) wants hashes over the whole range; those of one subtask's keys are a part of it.
///
/// ```
/// use thalweg_state::{HashSpread, KeyGroupRange, MaxParallelism};
/// let spread = HashSpread::new(KeyGroupRange { start: 64, end: 128 }, MaxParallelism::default());
/// assert_eq!(spread.position(1 << 63), 0);
/// assert_eq!(spread.position(3 << 62), 1 << 63);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct HashSpread {
    /// The lowest hash of the range.
    first: u64,
    /// How many times the range fits all hashes, with 48 bits behind the point.
    scale: u64,
}

impl HashSpread {
    /// For the keys of `groups`, of which there must be one at least.
    ///
    /// ```
    /// use thalweg_state::{HashSpread, KeyGroupRange, MaxParallelism};
    /// let max = MaxParallelism::default();
    /// let all = HashSpread::new(KeyGroupRange::all(max), max);
    /// assert_eq!(all.position(12_345), 12_345); // There is nothing to spread.
    /// ```
    pub fn new(groups: KeyGroupRange, max: MaxParallelism) -> Self {
        let first = (u128::from(groups.start) << 64).div_ceil(u128::from(max.0)) as u64; // start < max.
        let scale = (u64::from(max.0) << 48) / groups.len().max(1) as u64; // At most 2¹⁵ · 2⁴⁸.
        Self { first, scale }
    }

    /// The positions of the hashes of a key group of the range: from the first on, and before the second, unless the group is the last
    /// one.
    ///
    /// ```
    /// use thalweg_state::{HashSpread, Key, KeyGroupRange, MaxParallelism, key_group};
    /// let max = MaxParallelism::default();
    /// let range = KeyGroupRange::all(max);
    /// let spread = HashSpread::new(range, max);
    /// let hash = 7_u64.key_hash();
    /// let (from, to) = spread.positions_of(key_group(hash, max), range, max);
    /// assert!(spread.position(hash) >= from && to.is_none_or(|to| spread.position(hash) < to));
    /// ```
    pub fn positions_of(
        self,
        group: KeyGroup,
        range: KeyGroupRange,
        max: MaxParallelism,
    ) -> (u64, Option<u64>) {
        let first = |group: u16| (u128::from(group) << 64).div_ceil(u128::from(max.0)) as u64;
        let next = group.0 + 1;
        (self.position(first(group.0)), (next < range.end).then(|| self.position(first(next))))
    }

    /// Where a hash of the range lies in it. One multiplication. A hash outside it gives some position.
    ///
    /// ```
    /// use thalweg_state::{HashSpread, KeyGroupRange, MaxParallelism};
    /// let last = HashSpread::new(KeyGroupRange { start: 127, end: 128 }, MaxParallelism::default());
    /// assert!(last.position(127 << 57) < last.position(u64::MAX)); // The order stays.
    /// assert_eq!(last.position(u64::MAX) >> 57, 127);
    /// ```
    #[inline]
    pub fn position(self, hash: u64) -> u64 {
        ((u128::from(hash.wrapping_sub(self.first)) * u128::from(self.scale)) >> 48) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Flink's own code, with its inclusive end.
    fn flink_range(max: u32, parallelism: u32, index: u32) -> (u32, u32) {
        ((index * max).div_ceil(parallelism), ((index + 1) * max - 1) / parallelism)
    }

    proptest! {
        #![proptest_config(crate::cases(64))]

        /// The ranges of all subtasks are Flink's, lie end to end, and hold the groups `subtask_of` gives them.
        #[test]
        fn ranges_and_subtasks_agree(max in 1_u32..=32_768, share in 0.0..1.0_f64) {
            let parallelism = 1 + (f64::from(max - 1) * share) as u32;
            let max = MaxParallelism::new(max).unwrap();
            let mut next = 0;
            for subtask in 0..parallelism {
                let range = range_of(subtask, max, parallelism);
                prop_assert_eq!(range.start, next);
                let (first, last) = flink_range(max.get(), parallelism, subtask);
                prop_assert_eq!((u32::from(range.start), u32::from(range.end)), (first, last + 1));
                next = range.end;
                for group in range.iter() {
                    prop_assert_eq!(subtask_of(group, max, parallelism), subtask);
                }
            }
            prop_assert_eq!(u32::from(next), max.get());
        }

        /// Key groups rise with the hash, and every one of them is met.
        #[test]
        fn groups_are_contiguous_in_hash_order(a: u64, b: u64, max in 1_u32..=32_768) {
            let max = MaxParallelism::new(max).unwrap();
            prop_assert!(key_group(a.min(b), max) <= key_group(a.max(b), max));
            prop_assert!(u32::from(key_group(a, max).0) < max.get());
            prop_assert_eq!(u32::from(key_group(u64::MAX, max).0), max.get() - 1);
        }
    }

    #[test]
    fn maximal_parallelism_is_bounded() {
        assert!(MaxParallelism::new(0).is_err());
        assert_eq!(MaxParallelism::new(1).unwrap().get(), 1);
        assert_eq!(MaxParallelism::new(32_768).unwrap(), MaxParallelism::MAX);
        assert!(MaxParallelism::new(65_537).is_err());
    }
}
