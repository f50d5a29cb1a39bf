//! A keyed table that can be frozen: in no time, while records go on changing it.
//!
//! ```text
//!              top        what has changed since the last freeze; all there is, most of the time
//!   removed ┐
//!            ▼
//!              layer 0    frozen: shared with whoever writes it out, and never changed
//!              layer 1    …
//! ```
//!
//! A look-up goes from the top down. What is to be changed is copied to the top first, so a snapshot costs a copy of what
//! changes while it is written. Layers that nobody reads any more are **thawed**: the few changes on top move down into the
//! big layer, step by step, and this becomes the top again.
//!
//! Invariants:
//! - a frozen layer never changes while it is shared;
//! - what is nearer to the top is newer, and hides what is below; a key is in `top` or in `removed`, never in both;
//! - while a layer thaws, a key that is used moves down first, so the top only shrinks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::KeyedTable;
use crate::context::{KeyContext, KeyRef};
use crate::{Key, KeyGroupRange, MaxParallelism};

/// What changed between two freezes, and no longer does.
///
/// ```
/// use thalweg_state::heap::LayeredTable;
/// use thalweg_state::{KeyContext, KeyGroupRange, MaxParallelism};
/// let max = MaxParallelism::default();
/// let mut counts = LayeredTable::new(KeyGroupRange::all(max), max);
/// *counts.get_or_insert_with(KeyContext::new(&7_u64), || 0) += 1;
/// let frozen = counts.freeze();
/// *counts.get_or_insert_with(KeyContext::new(&7_u64), || 0) += 1;
/// assert_eq!(frozen.entries.iter().collect::<Vec<_>>(), [(&7, &1)]);
/// ```
#[derive(Debug)]
pub struct Layer<K, V> {
    /// The keys that were given values, and their last ones.
    pub entries: KeyedTable<K, V>,
    /// The keys that were removed and may have values further down.
    pub removed: KeyedTable<K, ()>,
}

/// A [`KeyedTable`] with layers. Without any, each method costs what the table's does, and one branch.
///
/// ```
/// use thalweg_state::heap::LayeredTable;
/// use thalweg_state::{KeyContext, KeyGroupRange, MaxParallelism};
/// let max = MaxParallelism::default();
/// let mut names = LayeredTable::new(KeyGroupRange::all(max), max);
/// let cx = KeyContext::new(&7_u64);
/// *names.get_or_insert_with(cx, String::new) += "seven";
/// let frozen = names.freeze();
/// assert_eq!(names.remove(cx).as_deref(), Some("seven"));
/// assert_eq!((names.get(cx), frozen.entries.len()), (None, 1));
///
/// drop(frozen);
/// while !names.thaw(1024) {}
/// assert_eq!(names.layers(), 0);
/// ```
pub struct LayeredTable<K, V> {
    top: KeyedTable<K, V>,
    below: Option<Box<Below<K, V>>>,
}

struct Below<K, V> {
    hidden: Hidden<K, V>,
    thawing: Option<Thawing<K, V>>,
}

/// What is below the top, for as long as the top does not say otherwise.
struct Hidden<K, V> {
    removed: KeyedTable<K, ()>,
    /// The newest first. None while thawing.
    layers: VecDeque<Arc<Layer<K, V>>>,
}

/// Layers that nobody else has, on their way into the oldest of them.
struct Thawing<K, V> {
    oldest: KeyedTable<K, V>,
    /// The others, the newest first. The last one's turn is next; after all of them it is the top's.
    others: VecDeque<Layer<K, V>>,
    /// Where the next step goes on, in hash order: first over removed keys, then over entries.
    removed_from: Option<u64>,
    entries_from: u64,
}

impl<K: Key, V: Clone> LayeredTable<K, V> {
    /// An empty table without layers.
    pub fn new(key_groups: KeyGroupRange, max: MaxParallelism) -> Self {
        Self { top: KeyedTable::new(key_groups, max), below: None }
    }

    /// Asks the processor for what a key of that hash has on top.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        self.top.prefetch(hash);
    }

    /// The size of the tables, in bytes, without what keys and values own elsewhere. O(key groups).
    pub fn memory_bytes(&self) -> usize {
        self.top.memory_bytes() + self.below.as_ref().map_or(0, |below| below.memory_bytes())
    }

    /// How many frozen layers there are.
    pub fn layers(&self) -> usize {
        self.below.as_ref().map_or(0, |below| below.hidden.layers.len())
    }

    /// The key's value.
    #[inline]
    pub fn get(&mut self, cx: impl KeyRef<K>) -> Option<&V> {
        match &mut self.below {
            None => find(&self.top, cx),
            Some(below) => below.get(&mut self.top, cx),
        }
    }

    /// The key's value, to change in place.
    #[inline]
    pub fn get_mut(&mut self, cx: impl KeyRef<K>) -> Option<&mut V> {
        match &mut self.below {
            None => find_mut(&mut self.top, cx),
            Some(below) => below.get_mut(&mut self.top, cx),
        }
    }

    /// The key's value, which is `init()` if it had none, to change in place.
    #[inline(always)]
    pub fn get_or_insert_with(&mut self, cx: impl KeyRef<K>, init: impl FnOnce() -> V) -> &mut V {
        match &mut self.below {
            None => insert_with(&mut self.top, cx, init),
            Some(below) => below.get_or_insert_with(&mut self.top, cx, init),
        }
    }

    /// Changes the key's value, which is `init()` if it had none, and lends it with its key.
    #[inline(always)]
    pub fn update(
        &mut self,
        cx: impl KeyRef<K>,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&mut V),
    ) -> &(K, V) {
        if self.below.is_some() {
            return self.update_below(cx, init, change);
        }
        self.top.update(cx.hash(), |key| cx.is(key), || (cx.to_key(), init()), change)
    }

    /// The same with layers: not inlined, so that tables without any stay small loops.
    #[cold]
    #[inline(never)]
    fn update_below(
        &mut self,
        cx: impl KeyRef<K>,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&mut V),
    ) -> &(K, V) {
        let below = self.below.as_mut().expect("there are layers");
        let (table, init) = below.table_of(&mut self.top, cx, init);
        table.update(cx.hash(), |key| cx.is(key), || (cx.to_key(), init()), change)
    }

    /// Asks the processor for what a value that is about to be used owns: see [`KeyedTable::guess`].
    #[inline(always)]
    pub(crate) fn guess(&self, hash: u64) -> Option<(&K, &V)> {
        self.top.guess(hash)
    }

    /// Takes the key's value away.
    #[inline]
    pub fn remove(&mut self, cx: impl KeyRef<K>) -> Option<V> {
        match &mut self.below {
            None => take(&mut self.top, cx),
            Some(below) => below.remove(&mut self.top, cx),
        }
    }

    /// As [`KeyedTable::retain_from`], of values alone. While there are layers it does nothing, and goes on later: what is
    /// frozen cannot change.
    pub(crate) fn retain_from(
        &mut self,
        from: u64,
        slots_max: usize,
        mut f: impl FnMut(&mut V) -> bool,
    ) -> Option<u64> {
        match self.below {
            None => self.top.retain_from(from, slots_max, |_, _, value| f(value)),
            Some(_) => Some(from),
        }
    }

    /// Freezes what is there, and returns what has changed since the last time; later changes leave it alone. O(key groups).
    ///
    /// A table that thaws must do so to its end first, which this does: so do not freeze it in the middle if that is too long
    /// a pause.
    pub fn freeze(&mut self) -> Arc<Layer<K, V>> {
        while self.is_thawing() {
            self.thaw(usize::MAX);
        }
        let fresh = || KeyedTable::new(self.top.key_groups(), self.top.max_parallelism());
        let (entries, removed) =
            (fresh(), KeyedTable::new(self.top.key_groups(), self.top.max_parallelism()));
        let entries = std::mem::replace(&mut self.top, entries);
        self.below(|below| {
            let layer =
                Arc::new(Layer { entries, removed: std::mem::replace(&mut below.hidden.removed, removed) });
            below.hidden.layers.push_front(Arc::clone(&layer));
            layer
        })
    }

    /// Whether layers are on their way back into one table.
    pub fn is_thawing(&self) -> bool {
        self.below.as_ref().is_some_and(|below| below.thawing.is_some())
    }

    /// Takes back layers that nobody shares any more: moves about `slots_max` slots of what is newer into the oldest. Returns
    /// whether there is nothing left that can be done: there are no layers, or one is shared.
    pub fn thaw(&mut self, slots_max: usize) -> bool {
        let Some(below) = &mut self.below else { return true };
        if !below.begins_to_thaw() {
            return true;
        }
        let thawing = below.thawing.as_mut().expect("it thaws");
        if thawing.step(&mut self.top, &mut below.hidden.removed, slots_max) {
            self.top = std::mem::replace(
                &mut thawing.oldest,
                KeyedTable::new(self.top.key_groups(), self.top.max_parallelism()),
            );
            self.below = None;
        }
        self.below.is_none()
    }

    fn below<R>(&mut self, f: impl FnOnce(&mut Below<K, V>) -> R) -> R {
        let (key_groups, max) = (self.top.key_groups(), self.top.max_parallelism());
        f(self.below.get_or_insert_with(|| {
            Box::new(Below {
                hidden: Hidden { removed: KeyedTable::new(key_groups, max), layers: VecDeque::new() },
                thawing: None,
            })
        }))
    }
}

impl<K: Key, V: Clone> Below<K, V> {
    fn memory_bytes(&self) -> usize {
        let layers = self.hidden.layers.iter().map(|layer| layer.memory_bytes());
        let thawing = self.thawing.iter().flat_map(|thawing| {
            thawing.others.iter().map(Layer::memory_bytes).chain([thawing.oldest.memory_bytes()])
        });
        layers.chain(thawing).sum::<usize>() + self.hidden.removed.memory_bytes()
    }

    fn get<'a>(&'a mut self, top: &'a mut KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<&'a V> {
        if let Some(thawing) = &mut self.thawing {
            return find(thawing.settle(top, &mut self.hidden.removed, cx), cx);
        }
        if let Some(value) = find(top, cx) {
            return Some(value);
        }
        if find(&self.hidden.removed, cx).is_some() {
            return None;
        }
        for layer in &self.hidden.layers {
            if let Some(value) = find(&layer.entries, cx) {
                return Some(value);
            }
            if find(&layer.removed, cx).is_some() {
                return None;
            }
        }
        None
    }

    /// The table to change the key in, and what makes its value if it is not there.
    fn table_of<'a, R: KeyRef<K>, I: FnOnce() -> V>(
        &'a mut self,
        top: &'a mut KeyedTable<K, V>,
        cx: R,
        init: I,
    ) -> (&'a mut KeyedTable<K, V>, impl FnOnce() -> V + use<'a, K, V, R, I>) {
        let hidden = &mut self.hidden;
        let (table, below) = match &mut self.thawing {
            Some(thawing) => (thawing.settle(top, &mut hidden.removed, cx), None),
            None if find(top, cx).is_some() => (top, None),
            None => (top, hidden.fetch(cx)),
        };
        (table, move || below.unwrap_or_else(init))
    }

    fn get_or_insert_with<'a>(
        &'a mut self,
        top: &'a mut KeyedTable<K, V>,
        cx: impl KeyRef<K>,
        init: impl FnOnce() -> V,
    ) -> &'a mut V {
        let (table, init) = self.table_of(top, cx, init);
        insert_with(table, cx, init)
    }

    fn get_mut<'a>(&'a mut self, top: &'a mut KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<&'a mut V> {
        if let Some(thawing) = &mut self.thawing {
            return find_mut(thawing.settle(top, &mut self.hidden.removed, cx), cx);
        }
        if find(top, cx).is_none() {
            if find(&self.hidden.removed, cx).is_some() {
                return None; // And stays so.
            }
            let value = self.hidden.fetch(cx)?;
            return Some(insert_with(top, cx, || value));
        }
        find_mut(top, cx)
    }

    fn remove(&mut self, top: &mut KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<V> {
        if let Some(thawing) = &mut self.thawing {
            return take(thawing.settle(top, &mut self.hidden.removed, cx), cx);
        }
        let value = take(top, cx).or_else(|| self.hidden.fetch(cx));
        insert_with(&mut self.hidden.removed, cx, || ());
        value
    }

    /// Whether layers thaw, now if not before.
    fn begins_to_thaw(&mut self) -> bool {
        if self.thawing.is_some() {
            return true;
        }
        if self.hidden.layers.iter().any(|layer| Arc::strong_count(layer) > 1) {
            return false;
        }
        // Nobody else has them, so nobody can have got them since.
        let mut owned: VecDeque<_> = self.hidden.layers.drain(..).filter_map(Arc::into_inner).collect();
        let Some(oldest) = owned.pop_back() else { return false };
        self.thawing = Some(Thawing {
            oldest: oldest.entries, // What it removed was below it, where nothing is.
            others: owned,
            removed_from: Some(0),
            entries_from: 0,
        });
        true
    }
}

impl<K: Key, V: Clone> Hidden<K, V> {
    /// A copy of the value of a key that is not on top, and about to be there, so no longer among the removed.
    fn fetch(&mut self, cx: impl KeyRef<K>) -> Option<V> {
        if take(&mut self.removed, cx).is_some() {
            return None;
        }
        for layer in &self.layers {
            if let Some(value) = find(&layer.entries, cx) {
                return Some(value.clone());
            }
            if find(&layer.removed, cx).is_some() {
                return None;
            }
        }
        None
    }
}

impl<K: Key, V> Thawing<K, V> {
    /// Moves about `slots_max` slots, and returns whether `oldest` is all there is.
    fn step(
        &mut self,
        top: &mut KeyedTable<K, V>,
        removed: &mut KeyedTable<K, ()>,
        slots_max: usize,
    ) -> bool {
        let oldest = &mut self.oldest;
        let (entries, removed) = match self.others.back_mut() {
            Some(layer) => (&mut layer.entries, &mut layer.removed),
            None => (top, removed),
        };
        if let Some(from) = self.removed_from {
            self.removed_from = removed.extract_from(
                from,
                slots_max,
                |_, _, ()| false,
                |hash, (key, ())| {
                    take(oldest, KeyContext::with_hash(&key, hash));
                },
            );
            return false;
        }
        let next = entries.extract_from(
            self.entries_from,
            slots_max,
            |_, _, _| false,
            |hash, (key, value)| {
                put(oldest, hash, key, value);
            },
        );
        if let Some(from) = next {
            self.entries_from = from;
            return false;
        }
        (self.removed_from, self.entries_from) = (Some(0), 0);
        self.others.pop_back().is_none()
    }

    /// The oldest layer, with what is newer of the key moved there.
    fn settle(
        &mut self,
        top: &mut KeyedTable<K, V>,
        removed: &mut KeyedTable<K, ()>,
        cx: impl KeyRef<K>,
    ) -> &mut KeyedTable<K, V> {
        let others = self.others.iter_mut().rev().map(|layer| (&mut layer.entries, &mut layer.removed));
        for (entries, removed) in others.chain([(top, removed)]) {
            if let Some((key, value)) = entries.remove(cx.hash(), |key| cx.is(key)) {
                put(&mut self.oldest, cx.hash(), key, value);
            } else if take(removed, cx).is_some() {
                take(&mut self.oldest, cx);
            }
        }
        &mut self.oldest
    }
}

impl<K, V> Layer<K, V> {
    /// The size of the tables, in bytes, without what keys and values own elsewhere. O(key groups).
    pub fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes() + self.removed.memory_bytes()
    }
}

#[inline(always)]
fn find<K: Eq, V>(table: &KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<&V> {
    table.get(cx.hash(), |key| cx.is(key)).map(|(_, value)| value)
}

#[inline(always)]
fn find_mut<K: Eq, V>(table: &mut KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<&mut V> {
    table.get_mut(cx.hash(), |key| cx.is(key)).map(|(_, value)| value)
}

#[inline(always)]
fn insert_with<K: Key, V>(
    table: &mut KeyedTable<K, V>,
    cx: impl KeyRef<K>,
    init: impl FnOnce() -> V,
) -> &mut V {
    table.entry(cx.hash(), |key| cx.is(key), || (cx.to_key(), init())).1
}

#[inline(always)]
fn take<K: Eq, V>(table: &mut KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<V> {
    table.remove(cx.hash(), |key| cx.is(key)).map(|(_, value)| value)
}

fn put<K: Key, V>(table: &mut KeyedTable<K, V>, hash: u64, key: K, value: V) {
    if let Some((_, old)) = table.get_mut(hash, |other| *other == key) {
        *old = value;
    } else {
        table.entry(hash, |_| false, || (key, value));
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for LayeredTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.below.as_ref().map(|below| &below.hidden.layers);
        f.debug_struct("LayeredTable")
            .field("top", &self.top)
            .field("layers", &layers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
