//! A hash table whose entries are near their place in hash order: linear probing, sixteen tags at a time.
//!
//! ```text
//!   home of a hash = hash × homes ÷ 2⁶⁴                slack: where the last runs end
//!           ┌────┬────┬────┬────┬────┬────┬────┬────┐┌────┬────┐┌──
//!   tags    │ 83 │  0 │ aa │ 91 │ f0 │  0 │ b0 │ f7 ││ fe │  0 ││ 0 0 … sixteen that stay vacant
//!           └────┴────┴────┴────┴────┴────┴────┴────┘└────┴────┘└──
//!   pairs     k,v       k,v  k,v  k,v       k,v  k,v   k,v
//!   hashes     h         h    h    h         h    h     h
//!              0    1    2    3    4    5    6    7     8    9
//! ```
//!
//! An entry is in the first slot, from its home on, that was vacant when it came. A probe compares the tags of sixteen
//! slots from the home on with its own (7 bits of the hash) and asks the keys of those that agree: nearly always that
//! is one, and the entry. A vacant slot among the sixteen ends it.
//!
//! Homes rise with hashes, so between two vacant slots (in a *run*) are all entries whose homes are there: runs are in
//! hash order, though the entries of one are not. Walks stop between runs only, and the hash where they stop stays a
//! cursor, however the table changes.
//!
//! Invariants (the unsafe code below rests on the first three):
//! - a slot's pair and hash are those of an entry exactly if its tag is not `VACANT`;
//! - there are as many hashes as pairs, `WIDTH` more tags, and the last `WIDTH` tags are `VACANT`: so every probe that
//!   starts at a slot reads tags only, and ends at a vacant one;
//! - `homes` is at most the number of slots, and both are 0 if nothing is allocated yet;
//! - no entry is before its home, and no slot between an entry and its home is vacant;
//! - user code (`eq`, `make`, `f`, drops) runs only while all of this holds.
//!
//! # Decisions
//! - *Hashes apart from the pairs*: a look-up that succeeds touches a tag and a pair, in lines that are known before
//!   either arrives, and 17 bytes for a counter. Hashes are for inserting, removing, growing and walking. With 24-byte
//!   slots that hold the hash too, updates of 100 k counters took 6.5 ns rather than 4.7.
//! - *No prefetch in a look-up*: the pair's line could be asked for before the tags are compared. But whoever has more than
//!   the cache holds looks ahead, and for the others it is work for nothing: 3 % of a count by key.
//! - *Homes by a product*: a shift needs powers of two, and then all key groups grow at once. It was 2 % faster.
//! - *Not sorted*: this table once kept its runs sorted and compared whole hashes, three at a time. Up to twice as slow
//!   while the counters fit the cache: a probe of unknown length is a branch that is mispredicted.

mod group;
mod iter;

pub use iter::{Drain, Iter, IterMut};

use crate::prefetch::prefetch;
use group::{Group, VACANT, WIDTH, tag_of};
use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ptr;

/// The share of homes that may be taken before the table doubles.
const LOAD_MAX_SIXTEENTHS: usize = 13;

/// The homes of a table's first allocation unless it was given another number.
const HOMES_FIRST: u32 = 8;

/// A hash table in hash order, for callers who bring the hash.
///
/// All methods take the key's 64-bit hash and a closure that knows the key: `eq` is asked about entries of that hash,
/// and now and then about others, and must accept the one key only. Hashes should be uniform over all 64 bits; equal or
/// clustered ones make it slow, never wrong. (The keys of one subtask are clustered: they belong in a [`KeyedTable`](super::KeyedTable).) Look-ups, insertions and
/// removals are O(1) expected; an insertion grows the table by a sequential pass now and then. It starts without an
/// allocation and never shrinks.
///
/// ```
/// use thalweg_state::{Key, heap::Table};
/// let mut counts = Table::new();
/// for word in ["to", "be", "or", "not", "to", "be"] {
///     let (_, count, _) = counts.entry(word.to_string().key_hash(), |&w| w == word, || (word, 0));
///     *count += 1;
/// }
/// assert_eq!(counts.len(), 4);
/// assert_eq!(counts.get("to".to_string().key_hash(), |&w| w == "to"), Some((&"to", &2)));
/// ```
pub struct Table<K, V> {
    tags: Box<[u8]>,
    pairs: Box<[MaybeUninit<(K, V)>]>,
    /// How many of the slots are homes; the others are slack.
    homes: usize,
    len: usize,
    /// With this many entries it doubles.
    limit: usize,
    hashes: Box<[u64]>,
    homes_first: u32,
}

impl<K, V> Table<K, V> {
    /// An empty table; nothing is allocated before the first entry.
    pub fn new() -> Self {
        Self::with_homes_first(HOMES_FIRST)
    }

    /// As `new`, but the first allocation has `homes_first` homes (at least 2). Tables that fill at the same rate
    /// and should not double at the same moment get different ones.
    pub(super) fn with_homes_first(homes_first: u32) -> Self {
        assert!(homes_first >= 2);
        Self {
            tags: Box::default(),
            pairs: Box::default(),
            homes: 0,
            len: 0,
            limit: 0,
            hashes: Box::default(),
            homes_first,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries it can hold before it grows.
    ///
    /// ```
    /// use thalweg_state::heap::Table;
    /// assert_eq!(Table::<u64, u64>::new().capacity(), 0);
    /// ```
    pub fn capacity(&self) -> usize {
        self.limit
    }

    /// What the slots take, in bytes, without what keys and values own elsewhere.
    ///
    /// ```
    /// use thalweg_state::heap::Table;
    /// assert_eq!(Table::<u64, u64>::new().memory_bytes(), 0);
    /// ```
    pub fn memory_bytes(&self) -> usize {
        mem::size_of_val(&*self.tags) + mem::size_of_val(&*self.pairs) + mem::size_of_val(&*self.hashes)
    }

    /// Asks the processor for the slot of `hash`, for a call that follows within a few hundred nanoseconds.
    ///
    /// ```
    /// let table = thalweg_state::heap::Table::<u64, u64>::new();
    /// table.prefetch(7); // A hint: nothing to see.
    /// ```
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        let home = home_of(hash, self.homes);
        prefetch(self.tags.as_ptr().wrapping_add(home));
        let pair = self.pairs.as_ptr().wrapping_add(home);
        prefetch(pair);
        // Most entries are in their homes or a few slots on.
        prefetch(pair.wrapping_byte_add(64));
    }

    /// Asks the processor for what `has_hash` reads of `hash`.
    #[inline(always)]
    pub(super) fn prefetch_hash(&self, hash: u64) {
        let home = home_of(hash, self.homes);
        prefetch(self.tags.as_ptr().wrapping_add(home));
        prefetch(self.hashes.as_ptr().wrapping_add(home));
    }

    /// What is probably the entry of `hash`: the first in its place with its tag. Or else asks for the slot it would get.
    ///
    /// For a call some time after `prefetch`: nothing here waits for memory but what the caller does with the entry.
    #[inline(always)]
    pub(super) fn guess(&self, hash: u64) -> Option<(&K, &V)> {
        if self.homes == 0 {
            return None;
        }
        let home = home_of(hash, self.homes);
        // SAFETY: `home` is less than the number of slots.
        let group = unsafe { self.group_at(home) };
        let matching = group.matching(tag_of(hash));
        if matching == 0 {
            let slot = home + group.first_vacant().unwrap_or(0);
            prefetch(self.pairs.as_ptr().wrapping_add(slot));
            prefetch(self.hashes.as_ptr().wrapping_add(slot));
            return None;
        }
        let slot = home + matching.trailing_zeros() as usize;
        // SAFETY: the slot's tag is one of `tag_of` and not `VACANT`, so it is a slot, and its pair initialised.
        let (key, value) = unsafe { self.pairs.get_unchecked(slot).assume_init_ref() };
        Some((key, value))
    }

    /// Whether there is an entry of `hash`, whatever its key.
    #[inline(always)]
    pub(super) fn has_hash(&self, hash: u64) -> bool {
        if self.homes == 0 {
            return false;
        }
        let (mut start, tag) = (home_of(hash, self.homes), tag_of(hash));
        loop {
            // SAFETY: `start` is a home, or follows an occupied slot, and so is at most the number of slots.
            let group = unsafe { self.group_at(start) };
            let mut matching = group.matching(tag);
            while matching != 0 {
                if self.hashes[start + matching.trailing_zeros() as usize] == hash {
                    return true;
                }
                matching &= matching - 1;
            }
            if group.first_vacant().is_some() {
                return false;
            }
            start += WIDTH;
        }
    }

    /// An entry at or after the place of `hash`, or else the first one.
    pub(super) fn near(&self, hash: u64) -> Option<(&K, &V)> {
        let start = if self.homes == 0 { 0 } else { home_of(hash, self.homes) };
        let slot = self.occupied_from(start).or_else(|| self.occupied_from(0))?;
        // SAFETY: the slot is occupied, so its pair is initialised.
        let (key, value) = unsafe { self.pairs[slot].assume_init_ref() };
        Some((key, value))
    }

    /// The entry of `hash` whose key `eq` accepts.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// table.entry(7, |&k| k == "seven", || ("seven", 7));
    /// assert_eq!(table.get(7, |&k| k == "seven"), Some((&"seven", &7)));
    /// assert_eq!(table.get(7, |&k| k == "sept"), None);
    /// ```
    #[inline(always)]
    pub fn get(&self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<(&K, &V)> {
        if self.homes == 0 {
            return None;
        }
        let slot = self.find(hash, eq).ok()?;
        // SAFETY: `find` returns occupied slots.
        let (key, value) = unsafe { self.pairs.get_unchecked(slot).assume_init_ref() };
        Some((key, value))
    }

    /// As [`get`](Self::get), with a value to change.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// table.entry(7, |&k| k == "seven", || ("seven", 7));
    /// *table.get_mut(7, |&k| k == "seven").unwrap().1 += 1;
    /// assert_eq!(table.get(7, |_| true), Some((&"seven", &8)));
    /// ```
    #[inline(always)]
    pub fn get_mut(&mut self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<(&K, &mut V)> {
        if self.homes == 0 {
            return None;
        }
        let slot = self.find(hash, eq).ok()?;
        // SAFETY: `find` returns occupied slots.
        let (key, value) = unsafe { self.pairs.get_unchecked_mut(slot).assume_init_mut() };
        Some((key, value))
    }

    /// The entry of `hash` whose key `eq` accepts, or else the one `make` makes, whose key must be such a one; and
    /// whether it was made.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// assert_eq!(table.entry(7, |&k| k == "seven", || ("seven", 7)), (&"seven", &mut 7, true));
    /// assert_eq!(table.entry(7, |&k| k == "seven", || unreachable!()), (&"seven", &mut 7, false));
    /// ```
    #[inline(always)]
    pub fn entry(
        &mut self,
        hash: u64,
        eq: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> (&K, &mut V, bool) {
        let ((key, value), made) = self.pair(hash, eq, make);
        (key, value, made)
    }

    /// As [`entry`](Self::entry), and changes the value. Lends key and value as they lie together.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// assert_eq!(table.update(7, |&k| k == "seven", || ("seven", 7), |v| *v += 1), &("seven", 8));
    /// ```
    #[inline(always)]
    pub fn update(
        &mut self,
        hash: u64,
        eq: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
        change: impl FnOnce(&mut V),
    ) -> &(K, V) {
        let pair = self.pair(hash, eq, make).0;
        change(&mut pair.1);
        pair
    }

    #[inline(always)]
    fn pair(
        &mut self,
        hash: u64,
        eq: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> (&mut (K, V), bool) {
        if self.homes == 0 {
            self.grow();
        }
        let (slot, made) = match self.find(hash, eq) {
            Ok(slot) => (slot, false),
            Err(slot) => (self.insert(slot, hash, make()), true),
        };
        // SAFETY: `find` and `insert` return occupied slots.
        (unsafe { self.pairs.get_unchecked_mut(slot).assume_init_mut() }, made)
    }

    /// Takes out the entry of `hash` whose key `eq` accepts.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// table.entry(7, |&k| k == "seven", || ("seven", 7));
    /// assert_eq!(table.remove(7, |&k| k == "seven"), Some(("seven", 7)));
    /// assert!(table.is_empty());
    /// ```
    #[inline]
    pub fn remove(&mut self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<(K, V)> {
        if self.homes == 0 {
            return None;
        }
        let slot = self.find(hash, eq).ok()?;
        Some(self.remove_at(slot))
    }

    /// Changes the value of the entry of `hash` whose key `eq` accepts, and takes it out unless `change` says that it stays.
    /// Returns whether there was such an entry. One look-up, where `get_mut` and `remove` are two.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// table.entry(7, |&k| k == "seven", || ("seven", 2));
    /// let mut decrement = |n: &mut i32| { *n -= 1; *n > 0 };
    /// assert!(table.change_or_remove(7, |&k| k == "seven", &mut decrement));
    /// assert_eq!(table.get(7, |&k| k == "seven"), Some((&"seven", &1)));
    /// assert!(table.change_or_remove(7, |&k| k == "seven", &mut decrement));
    /// assert!(!table.change_or_remove(7, |&k| k == "seven", &mut decrement));
    /// ```
    #[inline(always)]
    pub fn change_or_remove(
        &mut self,
        hash: u64,
        eq: impl Fn(&K) -> bool,
        change: impl FnOnce(&mut V) -> bool,
    ) -> bool {
        if self.homes == 0 {
            return false;
        }
        let Ok(slot) = self.find(hash, eq) else { return false };
        // SAFETY: `find` returns occupied slots.
        let (_, value) = unsafe { self.pairs.get_unchecked_mut(slot).assume_init_mut() };
        if !change(value) {
            drop(self.remove_at(slot));
        }
        true
    }

    /// All entries, nearly in the order of their hashes: run after run.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// for hash in [3 << 62, 1 << 62, 0] {
    ///     table.entry(hash, |&k| k == hash, || (hash, ()));
    /// }
    /// assert_eq!(table.iter().map(|(&k, ())| k).collect::<Vec<_>>(), [0, 1 << 62, 3 << 62]);
    /// ```
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::over(self)
    }

    /// The entries with hashes from `from` on, and before `to` if there is an end, nearly in the order of their hashes.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// for hash in [3 << 62, 1 << 62, 0] {
    ///     table.entry(hash, |&k| k == hash, || (hash, ()));
    /// }
    /// let within: Vec<_> = table.between(1, Some(3 << 62)).map(|(hash, _, ())| hash).collect();
    /// assert_eq!(within, [1 << 62]);
    /// ```
    pub fn between(&self, from: u64, to: Option<u64>) -> impl Iterator<Item = (u64, &K, &V)> {
        let place = |hash| if self.homes == 0 { 0 } else { home_of(hash, self.homes) };
        // Behind a vacant slot there is nothing whose home is before it.
        let end = to.map_or(usize::MAX, place);
        let mut slot = place(from);
        std::iter::from_fn(move || {
            while slot < self.pairs.len() {
                let at = slot;
                slot += 1;
                if self.tags[at] == VACANT {
                    if at >= end {
                        return None;
                    }
                } else if self.hashes[at] >= from && to.is_none_or(|to| self.hashes[at] < to) {
                    // SAFETY: the tag is not `VACANT`, so the pair is initialised.
                    let (key, value) = unsafe { self.pairs[at].assume_init_ref() };
                    return Some((self.hashes[at], key, value));
                }
            }
            None
        })
    }

    /// As [`iter`](Self::iter), with values to change.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// table.entry(7, |_| true, || ("seven", 7));
    /// for (_, value) in table.iter_mut() {
    ///     *value += 1;
    /// }
    /// assert_eq!(table.get(7, |_| true), Some((&"seven", &8)));
    /// ```
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut::over(self)
    }

    /// Takes out all entries, in the order of [`iter`](Self::iter); the capacity stays. What is not taken is dropped
    /// with the iterator.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// table.entry(7, |_| true, || ("seven", 7));
    /// assert_eq!(table.drain().collect::<Vec<_>>(), [("seven", 7)]);
    /// assert!(table.is_empty() && table.capacity() > 0);
    /// ```
    pub fn drain(&mut self) -> Drain<'_, K, V> {
        Drain::over(self)
    }

    /// Drops all entries; the capacity stays. One pass.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// table.entry(7, |_| true, || ("seven", 7));
    /// table.clear();
    /// assert!(table.is_empty() && table.capacity() > 0);
    /// ```
    pub fn clear(&mut self) {
        if self.is_empty() {
            return;
        }
        if mem::needs_drop::<(K, V)>() {
            drop(self.drain());
        } else {
            self.tags.fill(VACANT);
            self.len = 0;
        }
    }

    /// Keeps the entries for which `f` says so, asked nearly in the order of their hashes.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// for key in 0..10_u64 {
    ///     table.entry(key << 60, |&k| k == key, || (key, ()));
    /// }
    /// table.retain(|key, ()| key % 2 == 0);
    /// assert_eq!(table.len(), 5);
    /// ```
    pub fn retain(&mut self, mut f: impl FnMut(&K, &mut V) -> bool) {
        self.retain_from(0, usize::MAX, |_, key, value| f(key, value));
    }

    /// Shows `f` the entries (hash, key, value) from the hash `from` on, until `slots_max` slots have been looked at
    /// (at least one, and always the whole run: a few, or all of one hash); returns the `from` to go on with, or `None` at the end.
    ///
    /// So a long walk can be cut into steps. The cursor is a hash, and stays valid whatever happens in between: each
    /// step sees the entries that are there by then.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// for key in 0..100_u64 {
    ///     table.entry(key << 57, |&k| k == key, || (key, false));
    /// }
    /// let mut from = 0;
    /// while let Some(next) = table.scan(from, 16, |_hash, _key, seen| *seen = true) {
    ///     from = next; // Here other work is done.
    /// }
    /// assert!(table.iter().all(|(_, &seen)| seen));
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
    /// let mut table = thalweg_state::heap::Table::new();
    /// table.entry(7, |_| true, || ("seven", 7));
    /// assert_eq!(table.retain_from(0, 100, |_, _, value| *value > 7), None);
    /// assert!(table.is_empty());
    /// ```
    pub fn retain_from(
        &mut self,
        from: u64,
        slots_max: usize,
        f: impl FnMut(u64, &K, &mut V) -> bool,
    ) -> Option<u64> {
        self.extract_within(from, &mut slots_max.max(1), f, |_, pair| drop(pair))
    }

    /// As `retain_from`, with a budget in slots from which it takes what it used, and gives what it removes to `taken`.
    pub(super) fn extract_within(
        &mut self,
        from: u64,
        budget: &mut usize,
        mut f: impl FnMut(u64, &K, &mut V) -> bool,
        mut taken: impl FnMut(u64, (K, V)),
    ) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let mut start = home_of(from, self.homes);
        // Sixteen slots at a time: whether a single one is vacant is a branch that is mispredicted.
        while start < self.pairs.len() {
            // SAFETY: `start` is a slot.
            let occupied = |table: &Self| unsafe { table.group_at(start) }.occupied();
            let end_of_run = occupied(self).trailing_ones() as usize + 1;
            let width = WIDTH.min(if *budget > 0 { *budget } else { end_of_run });
            *budget = budget.saturating_sub(width);
            let within = u32::MAX >> (u32::BITS as usize - width);
            let mut left = occupied(self) & within;
            while left != 0 {
                let slot = start + left.trailing_zeros() as usize;
                // SAFETY: the tag is not `VACANT`, so it is a slot, and its pair initialised.
                let (key, value) = unsafe { self.pairs.get_unchecked_mut(slot).assume_init_mut() };
                let hash = self.hashes[slot];
                // Lower hashes were here in earlier steps, or at least their homes were.
                if hash >= from && !f(hash, key, value) {
                    taken(hash, self.remove_at(slot));
                    // Another entry may have moved here, and more behind it.
                    left = occupied(self) & within & u32::MAX << (slot - start);
                    continue;
                }
                left &= left - 1;
            }
            start += width;
            if *budget == 0 && self.tags[start - 1] == VACANT {
                // What comes after a vacant slot has its home there too, and all that came before has not.
                return (start < self.homes).then(|| lowest_hash(start, self.homes));
            }
        }
        None
    }

    /// The slot of the entry, or the vacant one where it would be, which may be just past the last slot. There must be
    /// slots.
    #[inline(always)]
    fn find(&self, hash: u64, eq: impl Fn(&K) -> bool) -> Result<usize, usize> {
        debug_assert!(self.homes > 0);
        let mut start = home_of(hash, self.homes);
        let tag = tag_of(hash);
        loop {
            // SAFETY: `start` is a home, or follows an occupied slot, and so is at most the number of slots.
            let group = unsafe { self.group_at(start) };
            let mut matching = group.matching(tag);
            while matching != 0 {
                let slot = start + matching.trailing_zeros() as usize;
                // SAFETY: the slot's tag is one of `tag_of` and not `VACANT`, so it is a slot, and its pair initialised.
                if eq(unsafe { &self.pairs.get_unchecked(slot).assume_init_ref().0 }) {
                    return Ok(slot);
                }
                matching &= matching - 1;
            }
            if let Some(vacant) = group.first_vacant() {
                return Err(start + vacant);
            }
            start += WIDTH;
        }
    }

    /// The tags from `start` on.
    ///
    /// # Safety
    /// `start` is at most the number of slots, and there are slots.
    #[inline(always)]
    unsafe fn group_at(&self, start: usize) -> Group {
        debug_assert!(start + WIDTH <= self.tags.len());
        // SAFETY: there are `WIDTH` more tags than slots.
        Group::of(unsafe { &*self.tags.as_ptr().add(start).cast::<[u8; WIDTH]>() })
    }

    /// Puts a pair at `slot`, which `find` returned for its hash, and returns where it went.
    #[inline]
    fn insert(&mut self, mut slot: usize, hash: u64, pair: (K, V)) -> usize {
        if self.len >= self.limit || slot >= self.pairs.len() {
            slot = self.make_room(hash);
        }
        debug_assert!(self.tags[slot] == VACANT);
        self.hashes[slot] = hash;
        self.pairs[slot].write(pair);
        self.tags[slot] = tag_of(hash);
        self.len += 1;
        slot
    }

    /// Takes out the entry at `slot`, and moves back those of its run that it kept from their homes.
    #[inline]
    fn remove_at(&mut self, slot: usize) -> (K, V) {
        assert_ne!(self.tags[slot], VACANT);
        // SAFETY: the pair is initialised; its slot gets another or becomes vacant below, and nothing panics before.
        let pair = unsafe { self.pairs[slot].assume_init_read() };
        let mut hole = slot;
        let mut next = slot + 1;
        // The last tags are `VACANT`, so `next` stays a slot; so do the bounds checks hold. Nothing but the end of the run is a
        // branch: whether an entry moves cannot be predicted, and one that does not is copied to where it is.
        while self.tags[next] != VACANT {
            let moves = home_of(self.hashes[next], self.homes) <= hole;
            let to = if moves { hole } else { next };
            // SAFETY: both are slots; the hole's pair was moved out.
            unsafe { ptr::copy(&raw const self.pairs[next], &raw mut self.pairs[to], 1) };
            self.hashes[to] = self.hashes[next];
            self.tags[to] = self.tags[next];
            hole = if moves { next } else { hole };
            next += 1;
        }
        self.tags[hole] = VACANT;
        self.len -= 1;
        pair
    }

    /// Sees that there is a vacant slot for the hash, and returns the first.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, hash: u64) -> usize {
        if self.len >= self.limit {
            self.grow();
        }
        loop {
            let slot = self.find(hash, |_| false).unwrap_or_else(|slot| slot);
            if slot < self.pairs.len() {
                return slot;
            }
            // The last run has used up the slack. More homes would not help if hashes are equal; more slack does.
            self.rebuild(self.homes, 2 * (self.pairs.len() - self.homes));
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let homes = if self.homes == 0 { self.homes_first as usize } else { 2 * self.homes };
        self.rebuild(homes, slack_of(homes));
    }

    /// Moves all entries to new slots: one pass over both. The slack may become larger than asked for.
    #[cold]
    #[inline(never)]
    fn rebuild(&mut self, homes: usize, mut slack: usize) {
        let new = loop {
            match self.copy(homes, slack) {
                Some(new) => break new,
                None => slack *= 2,
            }
        };
        // The pairs belong to the old slots until here, and to the new ones from here on: old and new boxes drop none.
        (self.tags, self.hashes, self.pairs) = new;
        self.homes = homes;
        self.limit = limit_of(homes);
    }

    /// Bitwise copies of all entries in new slots, unless the slack is too small for the last run.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn copy(
        &self,
        homes: usize,
        slack: usize,
    ) -> Option<(Box<[u8]>, Box<[u64]>, Box<[MaybeUninit<(K, V)>]>)> {
        let count = homes + slack;
        let mut tags = vec![VACANT; count + WIDTH].into_boxed_slice();
        let mut hashes = vec![0; count].into_boxed_slice();
        let mut pairs = Box::new_uninit_slice(count);
        for (slot, (&tag, &hash)) in self.tags.iter().zip(&self.hashes).enumerate() {
            if tag == VACANT {
                continue;
            }
            let mut to = home_of(hash, homes);
            while tags[to] != VACANT {
                to += 1;
            }
            *hashes.get_mut(to)? = hash;
            tags[to] = tag;
            // SAFETY: a bitwise copy of one slot to another, both in bounds; what it is worth is the caller's concern.
            unsafe { ptr::copy_nonoverlapping(&raw const self.pairs[slot], &raw mut pairs[to], 1) };
        }
        Some((tags, hashes, pairs))
    }

    /// The first occupied slot at or after `slot`.
    #[inline]
    fn occupied_from(&self, mut slot: usize) -> Option<usize> {
        while slot < self.pairs.len() {
            // SAFETY: `slot` is less than the number of slots.
            let occupied = unsafe { self.group_at(slot) }.occupied();
            if occupied != 0 {
                return Some(slot + occupied.trailing_zeros() as usize);
            }
            slot += WIDTH;
        }
        None
    }

    /// Takes out the first entry at or after `slot` without closing the gap: what follows it may not be found any more.
    #[inline]
    fn take_from(&mut self, slot: usize) -> Option<(usize, (K, V))> {
        let slot = self.occupied_from(slot)?;
        self.tags[slot] = VACANT;
        self.len -= 1;
        // SAFETY: its tag was not `VACANT`, so the pair is initialised; it is now, so the pair is read once.
        Some((slot, unsafe { self.pairs[slot].assume_init_read() }))
    }
}

#[inline(always)]
fn home_of(hash: u64, homes: usize) -> usize {
    ((u128::from(hash) * homes as u128) >> 64) as usize
}

/// The lowest hash that has that home.
fn lowest_hash(home: usize, homes: usize) -> u64 {
    ((home as u128) << 64).div_ceil(homes as u128) as u64
}

fn limit_of(homes: usize) -> usize {
    homes - (homes * (16 - LOAD_MAX_SIXTEENTHS)).div_ceil(16)
}

/// Slots for the ends of the last runs. Runs get longer with the number of homes, but slowly.
fn slack_of(homes: usize) -> usize {
    2 * homes.ilog2() as usize
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Drop for Table<K, V> {
    fn drop(&mut self) {
        if mem::needs_drop::<(K, V)>() {
            let mut slot = 0;
            while let Some((taken, pair)) = self.take_from(slot) {
                drop(pair);
                slot = taken + 1;
            }
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests;
