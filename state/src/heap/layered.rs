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
//! Which keys have changed since the last freeze is known all the time (`changes`), so the next one can be written as a
//! difference, though by then there is one table again. In reading order: `frozen`, what a freeze returns; `thaw`.
//!
//! Invariants:
//! - a frozen layer never changes while it is shared;
//! - what is nearer to the top is newer, and hides what is below; a key is in `top` or in `removed`, never in both;
//! - while a layer thaws, a key that is used moves down first, so the top only shrinks; and at any time what is not moved yet
//!   is a stack of layers again;
//! - before the first freeze there is no `below`: a table that is never frozen costs what a [`KeyedTable`] does, and one branch.
//!
//! # Decisions
//! - **One table between two snapshots**, and bits that say which hashes were touched, rather than the changes in a table of their own
//!   until the next snapshot: that would be a second look-up for most keys, and a second copy of many, all the time.

mod frozen;
mod thaw;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::KeyedTable;
use super::changes::Changes;
use crate::context::{KeyContext, KeyRef};
use crate::{Key, KeyGroupRange, MaxParallelism};
pub use frozen::Frozen;
use frozen::Layer;
use thaw::Thawing;

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
/// assert_eq!((names.get(cx), frozen.get(&7).map(String::as_str)), (None, Some("seven")));
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
    /// Since the last freeze.
    changes: Changes<K>,
    /// Tables that thawing has emptied: to free them takes time.
    spent: Vec<KeyedTable<K, V>>,
}

/// What is below the top, for as long as the top does not say otherwise.
struct Hidden<K, V> {
    removed: KeyedTable<K, ()>,
    /// The newest first. None while thawing.
    layers: VecDeque<Arc<Layer<K, V>>>,
}

impl<K: Key, V: Clone> LayeredTable<K, V> {
    /// An empty table without layers.
    pub fn new(key_groups: KeyGroupRange, max: MaxParallelism) -> Self {
        Self { top: KeyedTable::new(key_groups, max), below: None }
    }

    /// The key groups it serves.
    pub fn key_groups(&self) -> KeyGroupRange {
        self.top.key_groups()
    }

    /// Asks the processor for what a key of that hash has on top, and in the oldest layer.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        self.top.prefetch(hash);
        if let Some(below) = &self.below {
            below.prefetch(hash);
        }
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
        self.entry(cx, init).1
    }

    /// The same with the table's own key.
    #[inline(always)]
    pub(crate) fn entry(&mut self, cx: impl KeyRef<K>, init: impl FnOnce() -> V) -> (&K, &mut V) {
        match &mut self.below {
            None => insert_with(&mut self.top, cx, init),
            Some(below) => below.entry(&mut self.top, cx, init),
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
        let below = self.below.as_mut().expect("it was looked at");
        below.changes.mark(cx.hash());
        if below.is_flat() {
            return self.top.update(cx.hash(), |key| cx.is(key), || (cx.to_key(), init()), change);
        }
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
    /// frozen cannot change. That a value stays but was changed is not remembered: whoever does so can do it again.
    pub(crate) fn retain_from(
        &mut self,
        from: u64,
        slots_max: usize,
        mut f: impl FnMut(&mut V) -> bool,
    ) -> Option<u64> {
        match &mut self.below {
            None => self.top.retain_from(from, slots_max, |_, _, value| f(value)),
            Some(below) if below.is_flat() => self.top.retain_from(from, slots_max, |hash, key, value| {
                let stays = f(value);
                if !stays {
                    below.changes.on_removed(hash, || key.clone(), |other| other == key);
                }
                stays
            }),
            Some(_) => Some(from),
        }
    }

    /// Freezes what is there; later changes leave it alone. O(key groups).
    ///
    /// Layers that had begun to thaw are layers again. While freezes follow each other faster than layers thaw, there are
    /// more and more of them, and look-ups take longer.
    pub fn freeze(&mut self) -> Frozen<K, V> {
        let (key_groups, max) = (self.top.key_groups(), self.top.max_parallelism());
        let entries = self.entries_max();
        let first = self.below.is_none();
        let changes = Changes::new(key_groups, max, entries);
        let (top, below) = self.parts();
        below.stop_thawing();
        let hidden = &mut below.hidden;
        if !top.is_empty() || !hidden.removed.is_empty() {
            let entries = std::mem::replace(top, KeyedTable::new(key_groups, max));
            let removed = std::mem::replace(&mut hidden.removed, KeyedTable::new(key_groups, max));
            hidden.layers.push_front(Arc::new(Layer { entries, removed }));
        }
        let since = std::mem::replace(&mut below.changes, changes);
        let since = (!first && !since.are_most()).then_some(since);
        Frozen::new(hidden.layers.iter().cloned().collect(), since, key_groups)
    }

    /// From now on it is known what changes, as after a freeze: for a table that was filled with what files have.
    pub fn track(&mut self) {
        let (key_groups, max) = (self.top.key_groups(), self.top.max_parallelism());
        let changes = Changes::new(key_groups, max, self.entries_max());
        self.parts().1.changes = changes;
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
        let Below { hidden, thawing: place @ Some(_), spent, .. } = &mut **below else { return true };
        let thawing = place.as_mut().expect("it thaws");
        if !thawing.step(&mut self.top, &mut hidden.removed, spent, slots_max) {
            return false;
        }
        let oldest = place.take().expect("it thaws").into_oldest();
        spent.push(std::mem::replace(&mut self.top, oldest));
        true
    }

    /// Tables that were emptied since the last time. They are best dropped by another thread: it takes a millisecond for each 50 MB.
    pub fn take_spent(&mut self) -> Vec<KeyedTable<K, V>> {
        self.below.as_mut().map_or(Vec::new(), |below| std::mem::take(&mut below.spent))
    }

    /// How many entries there are, and more: one that is in several layers counts several times.
    fn entries_max(&self) -> usize {
        self.top.len() + self.below.as_ref().map_or(0, |below| below.entries_max())
    }

    fn parts(&mut self) -> (&mut KeyedTable<K, V>, &mut Below<K, V>) {
        let Self { top, below } = self;
        let (key_groups, max) = (top.key_groups(), top.max_parallelism());
        let below = below.get_or_insert_with(|| {
            Box::new(Below {
                hidden: Hidden { removed: KeyedTable::new(key_groups, max), layers: VecDeque::new() },
                thawing: None,
                changes: Changes::new(key_groups, max, 0),
                spent: Vec::new(),
            })
        });
        (top, below)
    }
}

impl<K: Key, V: Clone> Below<K, V> {
    fn memory_bytes(&self) -> usize {
        let layers = self.hidden.layers.iter().map(|layer| layer.memory_bytes()).sum::<usize>();
        let thawing = self.thawing.as_ref().map_or(0, Thawing::memory_bytes);
        let spent = self.spent.iter().map(KeyedTable::memory_bytes).sum::<usize>();
        layers + thawing + spent + self.hidden.removed.memory_bytes() + self.changes.memory_bytes()
    }

    fn entries_max(&self) -> usize {
        let layers = self.hidden.layers.iter().map(|layer| layer.entries.len()).sum::<usize>();
        layers + self.thawing.as_ref().map_or(0, Thawing::entries_max)
    }

    /// Whether all there is is on top: most of the time.
    #[inline(always)]
    fn is_flat(&self) -> bool {
        self.hidden.layers.is_empty() && self.thawing.is_none()
    }

    fn prefetch(&self, hash: u64) {
        match (&self.thawing, self.hidden.layers.back()) {
            (Some(thawing), _) => thawing.oldest().prefetch(hash),
            (None, Some(oldest)) => oldest.entries.prefetch(hash),
            (None, None) => {}
        }
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

    fn entry<'a>(
        &'a mut self,
        top: &'a mut KeyedTable<K, V>,
        cx: impl KeyRef<K>,
        init: impl FnOnce() -> V,
    ) -> (&'a K, &'a mut V) {
        self.changes.mark(cx.hash());
        if self.is_flat() {
            return insert_with(top, cx, init);
        }
        let (table, init) = self.table_of(top, cx, init);
        insert_with(table, cx, init)
    }

    fn get_mut<'a>(&'a mut self, top: &'a mut KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<&'a mut V> {
        self.changes.mark(cx.hash());
        if self.is_flat() {
            return find_mut(top, cx);
        }
        if let Some(thawing) = &mut self.thawing {
            return find_mut(thawing.settle(top, &mut self.hidden.removed, cx), cx);
        }
        if find(top, cx).is_none() {
            if find(&self.hidden.removed, cx).is_some() {
                return None; // And stays so.
            }
            let value = self.hidden.fetch(cx)?;
            return Some(insert_with(top, cx, || value).1);
        }
        find_mut(top, cx)
    }

    fn remove(&mut self, top: &mut KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<V> {
        let value = if let Some(thawing) = &mut self.thawing {
            take(thawing.settle(top, &mut self.hidden.removed, cx), cx)
        } else if self.hidden.layers.is_empty() {
            take(top, cx)
        } else {
            let value = take(top, cx).or_else(|| self.hidden.fetch(cx));
            insert_with(&mut self.hidden.removed, cx, || ());
            value
        };
        if value.is_some() {
            self.changes.on_removed(cx.hash(), || cx.to_key(), |key| cx.is(key));
        }
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
        let owned: VecDeque<_> = self.hidden.layers.drain(..).filter_map(Arc::into_inner).collect();
        self.thawing = Thawing::begin(owned);
        self.thawing.is_some()
    }

    /// What has not thawed yet stays as it is, below what is newer.
    fn stop_thawing(&mut self) {
        if let Some(thawing) = self.thawing.take() {
            self.hidden.layers = thawing.into_layers().into_iter().map(Arc::new).collect();
        }
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
) -> (&K, &mut V) {
    let (key, value, _) = table.entry(cx.hash(), |key| cx.is(key), || (cx.to_key(), init()));
    (key, value)
}

#[inline(always)]
fn take<K: Eq, V>(table: &mut KeyedTable<K, V>, cx: impl KeyRef<K>) -> Option<V> {
    table.remove(cx.hash(), |key| cx.is(key)).map(|(_, value)| value)
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
