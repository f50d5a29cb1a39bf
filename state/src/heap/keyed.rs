//! The keyed state of one subtask: a [`Table`] for each of its key groups.
//!
//! ```text
//!   hash × max parallelism  =  key group · 2⁶⁴  +  position in the group
//!                                  │                   │
//!                     ┌────────────┘                   └──▶ the hash its table knows
//!     groups:  [ header │ header │ header │ … ]             contiguous, so it stays in the cache
//!                  ▼        ▼        ▼
//!                slots    slots    slots                    each grows for itself
//! ```
//!
//! One multiplication yields both the group and a hash over the full 64 bits for that group's table. It loses nothing:
//! from group and position the hash can be computed back.
//!
//! Invariants:
//! - an entry is in the table of its hash's key group, at its position;
//! - so all entries, table after table, are nearly in the order of their hashes, and a cursor is a hash.

use super::table::{self, Table};
use crate::{KeyGroup, KeyGroupRange, MaxParallelism};
use std::fmt;
use std::iter::FusedIterator;
use std::slice;

/// A hash table over the key groups of one subtask, with the methods of [`Table`].
///
/// Growing moves the entries of a single key group, and the groups grow at different times; so the longest insertion
/// moves a small part of the keys, a few milliseconds' worth with 10 million of them under 128 key groups. A hash of a key
/// group the subtask does not own is a bug, and panics when it is looked up.
///
/// ```
/// use thalweg_state::{Key, KeyGroupRange, MaxParallelism, heap::KeyedTable};
/// let max = MaxParallelism::default();
/// let mut counts = KeyedTable::new(KeyGroupRange::all(max), max);
/// for user in [7_u64, 9, 7] {
///     let (_, count, _) = counts.entry(user.key_hash(), |&k| k == user, || (user, 0));
///     *count += 1;
/// }
/// assert_eq!(counts.get(7_u64.key_hash(), |&k| k == 7), Some((&7, &2)));
/// ```
pub struct KeyedTable<K, V> {
    groups: Box<[Table<K, V>]>,
    start: usize,
    max: MaxParallelism,
}

impl<K, V> KeyedTable<K, V> {
    /// An empty table for `key_groups`. Allocates 48 bytes for each, and slots with their first entries.
    pub fn new(key_groups: KeyGroupRange, max: MaxParallelism) -> Self {
        // First capacities spread over an octave, by the golden ratio: doubling keeps them spread, so that tables
        // which fill at the same rate do not all double within the same few records.
        let homes_first = |group: KeyGroup| 8 + (u32::from(group.0).wrapping_mul(0x9e37_79b9) >> 29);
        let groups = key_groups.iter().map(|group| Table::with_homes_first(homes_first(group))).collect();
        Self { groups, start: usize::from(key_groups.start), max }
    }

    /// How many entries there are. O(key groups).
    pub fn len(&self) -> usize {
        self.groups.iter().map(Table::len).sum()
    }

    /// Whether there is none. O(key groups).
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(Table::is_empty)
    }

    /// How many entries it can hold before it grows, if they are spread evenly. O(key groups).
    pub fn capacity(&self) -> usize {
        self.groups.iter().map(Table::capacity).sum()
    }

    /// What headers and slots take, in bytes, without what keys and values own elsewhere. O(key groups).
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.groups) + self.groups.iter().map(Table::memory_bytes).sum::<usize>()
    }

    /// The key groups it serves.
    pub fn key_groups(&self) -> KeyGroupRange {
        let at = |group: usize| u16::try_from(group).expect("a key group is below 32768");
        KeyGroupRange { start: at(self.start), end: at(self.start + self.groups.len()) }
    }

    /// The job's maximal parallelism.
    pub fn max_parallelism(&self) -> MaxParallelism {
        self.max
    }

    /// As [`Table::prefetch`].
    ///
    /// ```
    /// # use thalweg_state::{KeyGroupRange, MaxParallelism, heap::KeyedTable};
    /// # let max = MaxParallelism::default();
    /// let table = KeyedTable::<u64, u64>::new(KeyGroupRange::all(max), max);
    /// table.prefetch(7);
    /// ```
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        let (group, position) = self.locate(hash);
        if let Some(table) = self.groups.get(group) {
            table.prefetch(position);
        }
    }

    /// As [`Table::prefetch_hash`].
    #[inline(always)]
    pub(crate) fn prefetch_hash(&self, hash: u64) {
        let (group, position) = self.locate(hash);
        if let Some(table) = self.groups.get(group) {
            table.prefetch_hash(position);
        }
    }

    /// As [`Table::guess`].
    #[inline(always)]
    pub(crate) fn guess(&self, hash: u64) -> Option<(&K, &V)> {
        let (group, position) = self.locate(hash);
        self.groups.get(group)?.guess(position)
    }

    /// As [`Table::has_hash`].
    #[inline(always)]
    pub(crate) fn has_hash(&self, hash: u64) -> bool {
        let (group, position) = self.locate(hash);
        self.groups[group].has_hash(position)
    }

    /// An entry not far after the place of a hash, which need not be of a key group of ours: for samples.
    pub(crate) fn near(&self, hash: u64) -> Option<(&K, &V)> {
        let group = hash as usize % self.groups.len().max(1);
        let (before, from) = self.groups.split_at_checked(group)?;
        from.iter().chain(before).find_map(|table| table.near(hash))
    }

    /// As [`Table::get`].
    #[inline(always)]
    pub fn get(&self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<(&K, &V)> {
        let (group, position) = self.locate(hash);
        self.groups[group].get(position, eq)
    }

    /// As [`Table::get_mut`].
    #[inline(always)]
    pub fn get_mut(&mut self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<(&K, &mut V)> {
        let (group, position) = self.locate(hash);
        self.groups[group].get_mut(position, eq)
    }

    /// As [`Table::entry`].
    #[inline(always)]
    pub fn entry(
        &mut self,
        hash: u64,
        eq: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> (&K, &mut V, bool) {
        let (group, position) = self.locate(hash);
        self.groups[group].entry(position, eq, make)
    }

    /// As [`Table::update`].
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, heap::KeyedTable};
    /// # let max = MaxParallelism::default();
    /// let mut table = KeyedTable::new(KeyGroupRange::all(max), max);
    /// let row = table.update(7_u64.key_hash(), |&k| k == 7_u64, || (7, 0), |count| *count += 1);
    /// assert_eq!(row, &(7, 1));
    /// ```
    #[inline(always)]
    pub fn update(
        &mut self,
        hash: u64,
        eq: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
        change: impl FnOnce(&mut V),
    ) -> &(K, V) {
        let (group, position) = self.locate(hash);
        self.groups[group].update(position, eq, make, change)
    }

    /// As [`Table::remove`].
    #[inline]
    pub fn remove(&mut self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<(K, V)> {
        let (group, position) = self.locate(hash);
        self.groups[group].remove(position, eq)
    }

    /// All entries, nearly in the order of their hashes.
    pub fn iter(&self) -> KeyedIter<'_, K, V> {
        KeyedIter { groups: self.groups.iter(), entries: table::Iter::empty(), left: self.len() }
    }

    /// The entries of one key group, nearly in the order of their hashes. Panics if the subtask does not own it.
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, heap::KeyedTable, key_group};
    /// # let max = MaxParallelism::default();
    /// let mut table = KeyedTable::new(KeyGroupRange::all(max), max);
    /// table.entry(7_u64.key_hash(), |&k| k == 7_u64, || (7, "seven"));
    /// let group = key_group(7_u64.key_hash(), max);
    /// assert_eq!(table.iter_group(group).collect::<Vec<_>>(), [(&7, &"seven")]);
    /// ```
    pub fn iter_group(&self, group: KeyGroup) -> table::Iter<'_, K, V> {
        self.groups[usize::from(group.0) - self.start].iter()
    }

    /// All entries, nearly in the order of their hashes, with values to change.
    pub fn iter_mut(&mut self) -> KeyedIterMut<'_, K, V> {
        KeyedIterMut { left: self.len(), groups: self.groups.iter_mut(), entries: None }
    }

    /// As [`Table::drain`]. (Should the iterator leak, what it has not
    /// come to is lost or stays.)
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, heap::KeyedTable};
    /// # let max = MaxParallelism::default();
    /// let mut table = KeyedTable::new(KeyGroupRange::all(max), max);
    /// table.entry(7_u64.key_hash(), |&k| k == 7_u64, || (7, "seven"));
    /// assert_eq!(table.drain().collect::<Vec<_>>(), [(7, "seven")]);
    /// assert!(table.is_empty() && table.capacity() > 0);
    /// ```
    pub fn drain(&mut self) -> KeyedDrain<'_, K, V> {
        KeyedDrain { left: self.len(), groups: self.groups.iter_mut(), entries: None }
    }

    /// The tables of its key groups, to be dropped one by one. O(key groups).
    pub(crate) fn into_groups(self) -> impl Iterator<Item = Table<K, V>> {
        self.groups.into_iter()
    }

    /// As [`Table::clear`].
    pub fn clear(&mut self) {
        self.groups.iter_mut().for_each(Table::clear);
    }

    /// As [`Table::retain`].
    pub fn retain(&mut self, mut f: impl FnMut(&K, &mut V) -> bool) {
        self.retain_from(0, usize::MAX, |_, key, value| f(key, value));
    }

    /// As [`Table::scan`]: shows `f` the entries (hash, key, value) from the hash `from` on, for about `slots_max`
    /// slots, and returns the `from` to go on with, or `None` at the end.
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, heap::KeyedTable};
    /// # let max = MaxParallelism::default();
    /// let mut table = KeyedTable::new(KeyGroupRange::all(max), max);
    /// for key in 0..1000_u64 {
    ///     table.entry(key.key_hash(), |&k| k == key, || (key, key));
    /// }
    /// let (mut sum, mut from) = (0, Some(0));
    /// while let Some(cursor) = from {
    ///     from = table.scan(cursor, 64, |_hash, _key, value| sum += *value);
    /// }
    /// assert_eq!(sum, 999 * 1000 / 2);
    /// ```
    pub fn scan(&mut self, from: u64, slots_max: usize, mut f: impl FnMut(u64, &K, &mut V)) -> Option<u64> {
        self.retain_from(from, slots_max, |hash, key, value| {
            f(hash, key, value);
            true
        })
    }

    /// As [`scan`](Self::scan), and removes the entries for which `f` returns `false`.
    ///
    /// ```
    /// # use thalweg_state::{Key, KeyGroupRange, MaxParallelism, heap::KeyedTable};
    /// # let max = MaxParallelism::default();
    /// let mut table = KeyedTable::new(KeyGroupRange::all(max), max);
    /// table.entry(7_u64.key_hash(), |&k| k == 7_u64, || (7, "seven"));
    /// assert_eq!(table.retain_from(0, usize::MAX, |_hash, key, _| *key > 7), None);
    /// assert!(table.is_empty());
    /// ```
    pub fn retain_from(
        &mut self,
        from: u64,
        slots_max: usize,
        f: impl FnMut(u64, &K, &mut V) -> bool,
    ) -> Option<u64> {
        self.extract_from(from, slots_max, f, |_, pair| drop(pair))
    }

    /// As [`retain_from`](Self::retain_from), and gives what it removes to `taken`.
    pub(super) fn extract_from(
        &mut self,
        from: u64,
        slots_max: usize,
        mut f: impl FnMut(u64, &K, &mut V) -> bool,
        mut taken: impl FnMut(u64, (K, V)),
    ) -> Option<u64> {
        let mut budget = slots_max.max(1);
        let (mut group, mut position) = self.locate(from.max(self.lowest_hash(0, 0)));
        while group < self.groups.len() {
            if budget == 0 {
                return Some(self.lowest_hash(group, position));
            }
            let (index, max) = (self.start + group, self.max);
            let next = self.groups[group].extract_within(
                position,
                &mut budget,
                |position, key, value| f(hash_at(index, position, max), key, value),
                |position, pair| taken(hash_at(index, position, max), pair),
            );
            (group, position) = match next {
                Some(position) => (group, position),
                None => {
                    budget = budget.saturating_sub(1); // For the group itself, should it be empty.
                    (group + 1, 0)
                }
            };
        }
        None
    }

    /// The index of the hash's key group, which may not be ours, and the hash's position in it.
    #[inline(always)]
    fn locate(&self, hash: u64) -> (usize, u64) {
        let product = u128::from(hash) * u128::from(self.max.get());
        (((product >> 64) as usize).wrapping_sub(self.start), product as u64)
    }

    /// The lowest hash whose place is not before `position` in the group of that index.
    fn lowest_hash(&self, group: usize, position: u64) -> u64 {
        hash_at(self.start + group, position, self.max)
    }
}

/// The hash of that place, or the next higher one if there is none.
#[inline]
fn hash_at(group: usize, position: u64, max: MaxParallelism) -> u64 {
    let place = (group as u128) << 64 | u128::from(position);
    let max = max.get();
    // The place is below max · 2⁶⁴, so the quotient fits; the usual powers of two need no division.
    if max.is_power_of_two() {
        ((place + u128::from(max - 1)) >> max.trailing_zeros()) as u64
    } else {
        place.div_ceil(u128::from(max)) as u64
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for KeyedTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<'a, K, V> IntoIterator for &'a KeyedTable<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = KeyedIter<'a, K, V>;
    fn into_iter(self) -> KeyedIter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut KeyedTable<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = KeyedIterMut<'a, K, V>;
    fn into_iter(self) -> KeyedIterMut<'a, K, V> {
        self.iter_mut()
    }
}

/// What [`KeyedTable::iter`] returns.
pub struct KeyedIter<'a, K, V> {
    groups: slice::Iter<'a, Table<K, V>>,
    entries: table::Iter<'a, K, V>,
    left: usize,
}

impl<'a, K, V> Iterator for KeyedIter<'a, K, V> {
    type Item = (&'a K, &'a V);
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.next() {
                self.left -= 1;
                return Some(entry);
            }
            self.entries = self.groups.next()?.iter();
        }
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for KeyedIter<'_, K, V> {}
impl<K, V> FusedIterator for KeyedIter<'_, K, V> {}

/// What [`KeyedTable::iter_mut`] returns.
pub struct KeyedIterMut<'a, K, V> {
    groups: slice::IterMut<'a, Table<K, V>>,
    entries: Option<table::IterMut<'a, K, V>>,
    left: usize,
}

impl<'a, K, V> Iterator for KeyedIterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.as_mut().and_then(Iterator::next) {
                self.left -= 1;
                return Some(entry);
            }
            self.entries = Some(self.groups.next()?.iter_mut());
        }
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for KeyedIterMut<'_, K, V> {}
impl<K, V> FusedIterator for KeyedIterMut<'_, K, V> {}

/// What [`KeyedTable::drain`] returns.
pub struct KeyedDrain<'a, K, V> {
    groups: slice::IterMut<'a, Table<K, V>>,
    entries: Option<table::Drain<'a, K, V>>,
    left: usize,
}

impl<K, V> Iterator for KeyedDrain<'_, K, V> {
    type Item = (K, V);
    fn next(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(entry) = self.entries.as_mut().and_then(Iterator::next) {
                self.left -= 1;
                return Some(entry);
            }
            self.entries = Some(self.groups.next()?.drain());
        }
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for KeyedDrain<'_, K, V> {}
impl<K, V> FusedIterator for KeyedDrain<'_, K, V> {}

impl<K, V> Drop for KeyedDrain<'_, K, V> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
