//! A hash table whose slots are in hash order: linear probing that keeps its runs sorted.
//!
//! ```text
//!   home of a hash = hash × homes ÷ 2⁶⁴            slack: where the last runs end
//!   ┌────┬────┬────┬────┬────┬────┬────┬────┐┌────┬────┬────┐
//!   │ 03 │    │ 2a │ 2c │ 31 │    │ b0 │ f7 ││ fe │    │    │    tag = !hash, 0 = vacant
//!   └────┴────┴────┴────┴────┴────┴────┴────┘└────┴────┴────┘
//!      0    1    2    3    4    5    6    7     8    9   10 = always vacant
//! ```
//!
//! A probe starts at the hash's home and ends at the first slot whose hash is not lower. Tags are inverted hashes and
//! so fall from slot to slot, and a vacant slot's 0 is lower than all: one comparison ends a probe at the hash, at the
//! place where it would be, and at a vacant slot alike. And as tags fall, a probe need not branch: it counts.
//!
//! Invariants (the unsafe code below rests on the first three):
//! - a slot's pair is initialised exactly if its tag is not 0;
//! - `homes + WINDOW_MAX <= slots.len()` if there are slots, and both are 0 if there are none;
//! - the last slot is vacant, so every probe that starts at a valid slot ends at one;
//! - occupied slots have falling tags (equal ones side by side), none is before its home, and none between an entry
//!   and its home is vacant;
//! - user code (`eq`, `make`, `f`, drops) runs only while all of this holds.
//!
//! # Decisions
//! - *Sorted* probing shifts some neighbours for each new key. In return failing probes end early, growing is one
//!   pass, iteration has an order, and cursors survive changes.
//! - *Slots hold tag, key and value together*: what is far from the cache is then on one page, and on a line or two. A
//!   separate array of one-byte tags is more compact: hashbrown updates counters 1.4 to 2 times as fast while they fit
//!   the cache, and 1.1 to 1.3 times as fast beyond it. It has no order, though, and no cursors.
//! - *Up to 13/16 full*: with 12/16 nothing measured got faster, only larger.

mod iter;

pub use iter::{Drain, Iter, IterMut};

use crate::prefetch::prefetch;
use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ptr;

/// The share of homes that may be taken before the table doubles.
const LOAD_MAX_SIXTEENTHS: usize = 13;

/// At least as many slots follow the homes, so that a probe may read them without asking.
const WINDOW_MAX: usize = 3;

/// The homes of a table's first allocation unless it was given another number.
const HOMES_FIRST: u32 = 8;

/// A hash table in hash order, for callers who bring the hash.
///
/// All methods take the key's 64-bit hash and a closure that knows the key: `eq` is asked about every entry of that
/// very hash. Hashes should be uniform over all 64 bits; equal or clustered ones make it slow, never wrong. (The keys
/// of one subtask are clustered: they belong in a [`KeyedTable`](super::KeyedTable).) Look-ups, insertions and
/// removals are O(1) expected; an insertion grows the table by a sequential pass now and then. It starts without an
/// allocation and never shrinks. (`u64::MAX` counts as the hash below it.)
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
    slots: Box<[Slot<K, V>]>,
    /// How many of the slots are homes; the others are slack.
    homes: usize,
    len: usize,
    /// With this many entries it doubles.
    limit: usize,
    homes_first: u32,
}

struct Slot<K, V> {
    tag: u64,
    pair: MaybeUninit<(K, V)>,
}

impl<K, V> Slot<K, V> {
    const VACANT: Self = Self { tag: 0, pair: MaybeUninit::uninit() };

    fn is_vacant(&self) -> bool {
        self.tag == 0
    }

    /// The hash, but for `u64::MAX`.
    fn hash(&self) -> u64 {
        !self.tag
    }

    fn get(&self) -> Option<(&K, &V)> {
        // SAFETY: the tag is not 0, so the pair is initialised.
        (!self.is_vacant()).then(|| unsafe { self.pair.assume_init_ref() }).map(|(key, value)| (key, value))
    }

    fn get_mut(&mut self) -> Option<(&K, &mut V)> {
        // SAFETY: the tag is not 0, so the pair is initialised.
        (!self.is_vacant()).then(|| unsafe { self.pair.assume_init_mut() }).map(|(key, value)| (&*key, value))
    }

    /// Makes the slot vacant. Its neighbours may then need to move.
    fn take(&mut self) -> Option<(K, V)> {
        let tag = mem::replace(&mut self.tag, 0);
        // SAFETY: the tag was not 0, so the pair is initialised; the tag is 0 now, so it is read once.
        (tag != 0).then(|| unsafe { self.pair.assume_init_read() })
    }
}

#[inline(always)]
fn tag_of(hash: u64) -> u64 {
    !hash + u64::from(hash == u64::MAX)
}

impl<K, V> Table<K, V> {
    /// How many slots are searched without a branch: as many as are worth reading in vain.
    const WINDOW: usize = if size_of::<Slot<K, V>>() <= 32 { WINDOW_MAX } else { 1 };

    /// An empty table; nothing is allocated before the first entry.
    pub fn new() -> Self {
        Self::with_homes_first(HOMES_FIRST)
    }

    /// As `new`, but the first allocation has `homes_first` homes (at least 2). Tables that fill at the same rate
    /// and should not double at the same moment get different ones.
    pub(super) fn with_homes_first(homes_first: u32) -> Self {
        assert!(homes_first >= 2);
        Self { slots: Box::default(), homes: 0, len: 0, limit: 0, homes_first }
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
        mem::size_of_val(&*self.slots)
    }

    /// Asks the processor for the slot of `hash`, for a call that follows within a few hundred nanoseconds.
    ///
    /// ```
    /// let table = thalweg_state::heap::Table::<u64, u64>::new();
    /// table.prefetch(7); // A hint: nothing to see.
    /// ```
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        let slot = self.slots.as_ptr().wrapping_add(home_of(hash, self.homes));
        prefetch(slot);
        // What `seek` reads without a branch starts in this line and ends in the next.
        prefetch(slot.wrapping_byte_add(64));
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
        let slot = self.find(hash, tag_of(hash), eq).ok()?;
        // SAFETY: `find` returns occupied slots.
        let (key, value) = unsafe { self.slots.get_unchecked(slot).pair.assume_init_ref() };
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
        let slot = self.find(hash, tag_of(hash), eq).ok()?;
        // SAFETY: `find` returns occupied slots.
        let (key, value) = unsafe { self.slots.get_unchecked_mut(slot).pair.assume_init_mut() };
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
        let tag = tag_of(hash);
        let (slot, made) = match self.find(hash, tag, eq) {
            Ok(slot) => (slot, false),
            Err(slot) => (self.insert(slot, tag, make()), true),
        };
        // SAFETY: `find` and `insert` return occupied slots.
        (unsafe { self.slots.get_unchecked_mut(slot).pair.assume_init_mut() }, made)
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
        let slot = self.find(hash, tag_of(hash), eq).ok()?;
        Some(self.remove_at(slot))
    }

    /// All entries, in the order of their hashes.
    ///
    /// ```
    /// let mut table = thalweg_state::heap::Table::new();
    /// for hash in [1 << 60, 3, 2] {
    ///     table.entry(hash, |&k| k == hash, || (hash, ()));
    /// }
    /// assert_eq!(table.iter().map(|(&k, ())| k).collect::<Vec<_>>(), [2, 3, 1 << 60]);
    /// ```
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::over(self)
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

    /// Takes out all entries, in the order of their hashes; the capacity stays. What is not taken is dropped with the
    /// iterator.
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
            for slot in &mut self.slots {
                slot.tag = 0;
            }
            self.len = 0;
        }
    }

    /// Keeps the entries for which `f` says so, asked in the order of their hashes.
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
    /// (at least one, and all of one hash); returns the `from` to go on with, or `None` at the end.
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
        self.retain_within(from, &mut slots_max.max(1), f)
    }

    /// As `retain_from`, with a budget in slots from which it takes what it used. With none it does nothing.
    pub(super) fn retain_within(
        &mut self,
        from: u64,
        budget: &mut usize,
        mut f: impl FnMut(u64, &K, &mut V) -> bool,
    ) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let mut slot = self.seek(from, tag_of(from));
        let last = self.slots.len() - 1;
        let mut last_tag = 0;
        loop {
            let tag = self.slots[slot].tag;
            // What has the tag of the one before belongs to the same step: a cursor cannot come between them.
            if *budget == 0 && (tag != last_tag || tag == 0) {
                return self.cursor(slot, last_tag);
            }
            *budget = budget.saturating_sub(1);
            last_tag = if tag == 0 { last_tag } else { tag };
            match self.slots[slot].get_mut() {
                Some((key, value)) => {
                    if f(!tag, key, value) {
                        slot += 1;
                    } else {
                        drop(self.remove_at(slot)); // The next entry may have moved here.
                    }
                }
                None if slot == last => return None,
                None => slot += 1,
            }
        }
    }

    /// Where to go on at `slot`, after all entries before it, the last of which had `last_tag` (0 for none).
    fn cursor(&self, slot: usize, last_tag: u64) -> Option<u64> {
        if !self.slots[slot].is_vacant() {
            return Some(self.slots[slot].hash());
        }
        // What comes after a vacant slot has its home there too, so it has at least the lowest hash of that home.
        let lowest = || ((slot as u128) << 64).div_ceil(self.homes as u128) as u64;
        let seen = if last_tag == 0 { 0 } else { !last_tag + 1 };
        (slot < self.homes).then(|| lowest().max(seen))
    }

    /// The first slot at or after the hash's home that holds no higher tag than its own. There must be slots.
    #[inline(always)]
    fn seek(&self, hash: u64, tag: u64) -> usize {
        debug_assert!(self.homes > 0);
        let home = home_of(hash, self.homes);
        // Tags fall, so counting the higher ones among the next few finds the first that is not; and a count has no
        // branch to mispredict, which costs more than reading a few tags too many.
        let mut higher = 0;
        for near in 0..Self::WINDOW {
            // SAFETY: a home is less than `homes`, and at least `WINDOW_MAX` slots follow the homes.
            higher += usize::from(unsafe { self.slots.get_unchecked(home + near).tag } > tag);
        }
        let mut slot = home + higher;
        if higher == Self::WINDOW {
            // SAFETY: `slot` was valid above, or is the next after one that is occupied, which is not the last.
            while unsafe { self.slots.get_unchecked(slot).tag } > tag {
                slot += 1;
            }
        }
        slot
    }

    /// The slot of the entry, or where it would be: after all of its tag. There must be slots.
    #[inline(always)]
    fn find(&self, hash: u64, tag: u64, eq: impl Fn(&K) -> bool) -> Result<usize, usize> {
        let mut slot = self.seek(hash, tag);
        loop {
            // SAFETY: `seek` returns a valid slot, and the last one's tag is 0, which is none of `tag_of`.
            let candidate = unsafe { self.slots.get_unchecked(slot) };
            if candidate.tag != tag {
                return Err(slot);
            }
            // SAFETY: `tag` is not 0, so the pair is initialised.
            if eq(unsafe { &candidate.pair.assume_init_ref().0 }) {
                return Ok(slot);
            }
            slot += 1;
        }
    }

    /// Puts a pair at `slot`, which `find` returned for its tag, and returns where it went.
    #[inline]
    fn insert(&mut self, mut slot: usize, tag: u64, pair: (K, V)) -> usize {
        if self.len >= self.limit {
            self.grow();
            slot = self.end_of(tag);
        }
        let mut end = self.vacant_from(slot);
        if end == self.slots.len() - 1 {
            // The last run has used up the slack. More homes would not help if hashes are equal; more slack does.
            self.rebuild(self.homes, 2 * (self.slots.len() - self.homes));
            slot = self.end_of(tag);
            end = self.vacant_from(slot);
        }
        debug_assert!(slot <= end && end < self.slots.len() - 1);
        let slots = self.slots.as_mut_ptr();
        // SAFETY: `slot <= end < slots.len() - 1`. Slot `end` is vacant, so overwriting it loses nothing; afterwards
        // `slot` is a copy of what moved on (or is that vacant slot), and overwriting it without a drop is right.
        unsafe {
            ptr::copy(slots.add(slot), slots.add(slot + 1), end - slot);
            slots.add(slot).write(Slot { tag, pair: MaybeUninit::new(pair) });
        }
        self.len += 1;
        slot
    }

    /// Takes out the entry at `slot`, and moves those of its run that can go nearer to their homes.
    #[inline]
    fn remove_at(&mut self, slot: usize) -> (K, V) {
        let pair = self.slots[slot].take().expect("only an occupied slot is asked for");
        let mut end = slot + 1;
        while self.slots[end].tag != 0 && home_of(self.slots[end].hash(), self.homes) < end {
            end += 1;
        }
        let slots = self.slots.as_mut_ptr();
        // SAFETY: `slot < end <= slots.len() - 1`, as the last slot is vacant. Slot `slot` is vacant, so overwriting
        // it loses nothing; afterwards `end - 1` is a copy of what moved back (or `slot` itself), and is made vacant.
        unsafe {
            ptr::copy(slots.add(slot + 1), slots.add(slot), end - slot - 1);
            (*slots.add(end - 1)).tag = 0;
        }
        self.len -= 1;
        pair
    }

    /// Where another entry of that tag would be.
    fn end_of(&self, tag: u64) -> usize {
        self.find(!tag, tag, |_| false).unwrap_or_else(|slot| slot)
    }

    /// The first vacant slot at or after `slot`.
    #[inline(always)]
    fn vacant_from(&self, slot: usize) -> usize {
        slot + self.slots[slot..].iter().take_while(|slot| !slot.is_vacant()).count()
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let homes = if self.homes == 0 { self.homes_first as usize } else { 2 * self.homes };
        self.rebuild(homes, slack_of(homes));
    }

    /// Moves all entries to new slots, in one pass over both.
    #[cold]
    #[inline(never)]
    fn rebuild(&mut self, homes: usize, slack: usize) {
        let mut slots = Vec::with_capacity(homes + slack);
        for slot in self.slots.iter().filter(|slot| !slot.is_vacant()) {
            let home = home_of(slot.hash(), homes);
            while slots.len() < home {
                slots.push(Slot::VACANT);
            }
            // SAFETY: the pairs belong to the old slots until these are replaced below, and to the new ones from then
            // on: a slot drops no pair by itself, so none is dropped twice, even if an allocation panics.
            slots.push(unsafe { ptr::read(slot) });
        }
        // The last run may end beyond the new slack.
        let count = (homes + slack).max(slots.len() + 1);
        slots.resize_with(count, || Slot::VACANT);
        self.slots = slots.into_boxed_slice();
        self.homes = homes;
        self.limit = limit_of(homes);
    }
}

#[inline(always)]
fn home_of(hash: u64, homes: usize) -> usize {
    ((u128::from(hash) * homes as u128) >> 64) as usize
}

fn limit_of(homes: usize) -> usize {
    homes - (homes * (16 - LOAD_MAX_SIXTEENTHS)).div_ceil(16)
}

/// Slots for the ends of the last runs, of which the last one stays vacant. Runs get longer with the number of homes,
/// but slowly.
fn slack_of(homes: usize) -> usize {
    WINDOW_MAX + 2 * homes.ilog2() as usize
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Drop for Table<K, V> {
    fn drop(&mut self) {
        if mem::needs_drop::<(K, V)>() {
            for slot in &mut self.slots {
                drop(slot.take());
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
