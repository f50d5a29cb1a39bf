//! Layers on their way back into one table.

use std::collections::VecDeque;

use super::{KeyContext, KeyRef, KeyedTable, Layer, take};
use crate::Key;

/// Layers that nobody else has, on their way into the oldest of them.
pub(super) struct Thawing<K, V> {
    oldest: KeyedTable<K, V>,
    /// The others, the newest first. The last one's turn is next; after all of them it is the top's.
    others: VecDeque<Layer<K, V>>,
    /// Where the next step goes on, in hash order: first over removed keys, then over entries.
    removed_from: Option<u64>,
    entries_from: u64,
}

impl<K: Key, V> Thawing<K, V> {
    /// Of layers that come newest first. None if there is none.
    pub(super) fn begin(mut layers: VecDeque<Layer<K, V>>) -> Option<Self> {
        let oldest = layers.pop_back()?.entries; // What it removed was below it, where nothing is.
        Some(Self { oldest, others: layers, removed_from: Some(0), entries_from: 0 })
    }

    pub(super) fn oldest(&self) -> &KeyedTable<K, V> {
        &self.oldest
    }

    /// What has all there is, when a step has said so.
    pub(super) fn into_oldest(self) -> KeyedTable<K, V> {
        self.oldest
    }

    /// What has not moved yet, above what it would have moved into.
    pub(super) fn into_layers(self) -> VecDeque<Layer<K, V>> {
        let removed = KeyedTable::new(self.oldest.key_groups(), self.oldest.max_parallelism());
        let mut layers = self.others;
        layers.push_back(Layer { entries: self.oldest, removed });
        layers
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.oldest.memory_bytes() + self.others.iter().map(Layer::memory_bytes).sum::<usize>()
    }

    pub(super) fn entries_max(&self) -> usize {
        self.oldest.len() + self.others.iter().map(|layer| layer.entries.len()).sum::<usize>()
    }

    /// Moves about `slots_max` slots, and returns whether `oldest` is all there is.
    pub(super) fn step(
        &mut self,
        top: &mut KeyedTable<K, V>,
        removed: &mut KeyedTable<K, ()>,
        spent: &mut Vec<KeyedTable<K, V>>,
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
            |hash, (key, value)| put(oldest, hash, key, value),
        );
        if let Some(from) = next {
            self.entries_from = from;
            return false;
        }
        (self.removed_from, self.entries_from) = (Some(0), 0);
        match self.others.pop_back() {
            Some(layer) => {
                spent.push(layer.entries);
                false
            }
            None => true,
        }
    }

    /// The oldest layer, with what is newer of the key moved there.
    pub(super) fn settle(
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

fn put<K: Key, V>(table: &mut KeyedTable<K, V>, hash: u64, key: K, value: V) {
    if let Some((_, old)) = table.get_mut(hash, |other| *other == key) {
        *old = value;
    } else {
        table.entry(hash, |_| false, || (key, value));
    }
}
