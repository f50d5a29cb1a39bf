//! A table at one time.

use std::sync::Arc;

use super::{KeyedTable, find};
use crate::context::KeyContext;
use crate::heap::changes::Changes;
use crate::{Key, KeyGroup, KeyGroupRange};

/// What changed between two freezes, and no longer does.
#[derive(Debug)]
pub(super) struct Layer<K, V> {
    /// The keys that were given values, and their last ones.
    pub(super) entries: KeyedTable<K, V>,
    /// The keys that were removed and may have values further down.
    pub(super) removed: KeyedTable<K, ()>,
}

impl<K, V> Layer<K, V> {
    /// The size of the tables, in bytes, without what keys and values own elsewhere. O(key groups).
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes() + self.removed.memory_bytes()
    }
}

/// A [`LayeredTable`](super::LayeredTable) as it was when it was frozen, and what had changed since the freeze before. To be read on any
/// thread; while it lives, the table keeps the layers that it shares.
///
/// ```
/// use thalweg_state::heap::LayeredTable;
/// use thalweg_state::{Key, KeyContext, KeyGroupRange, MaxParallelism, key_group};
/// let max = MaxParallelism::default();
/// let mut counts = LayeredTable::new(KeyGroupRange::all(max), max);
/// for key in 0..10_000_u64 {
///     *counts.get_or_insert_with(KeyContext::new(&key), || 0) = 1;
/// }
/// assert!(counts.freeze().is_whole());
/// *counts.get_or_insert_with(KeyContext::new(&7), || 0) += 1;
/// let frozen = counts.freeze();
/// *counts.get_or_insert_with(KeyContext::new(&7), || 0) += 1;
/// assert_eq!(frozen.get(&7), Some(&2));
/// let mut changed = Vec::new();
/// frozen.for_each_change(key_group(7_u64.key_hash(), max), |key, count| {
///     changed.push((*key, count.copied()));
///     Ok::<(), ()>(())
/// });
/// assert!(changed.contains(&(7, Some(2))) && changed.len() < 5);
/// ```
#[derive(Debug)]
pub struct Frozen<K, V> {
    /// The newest first.
    layers: Vec<Arc<Layer<K, V>>>,
    /// None: all of it.
    changes: Option<Changes<K>>,
    key_groups: KeyGroupRange,
}

impl<K: Key, V> Frozen<K, V> {
    pub(super) fn new(
        layers: Vec<Arc<Layer<K, V>>>,
        changes: Option<Changes<K>>,
        key_groups: KeyGroupRange,
    ) -> Self {
        Self { layers, changes, key_groups }
    }

    /// Its key groups.
    pub fn key_groups(&self) -> KeyGroupRange {
        self.key_groups
    }

    /// Whether its changes are all there is, as nothing was frozen before or most has changed: what was before does not count.
    pub fn is_whole(&self) -> bool {
        self.changes.is_none()
    }

    /// The same, in any case.
    #[must_use = "it returns the table"]
    pub fn into_whole(self) -> Self {
        Self { changes: None, ..self }
    }

    /// The key's value. Hashes the key.
    pub fn get(&self, key: &K) -> Option<&V> {
        look_up(&self.layers, KeyContext::new(key)).flatten()
    }

    /// Shows `f` the keys of a group that may have changed, each once, in any order, with their values, or `None` if they have none any
    /// more. Panics if it is no group of the table.
    ///
    /// Errors: those of `f`, which is then asked no more.
    pub fn for_each_change<E>(
        &self,
        group: KeyGroup,
        mut f: impl FnMut(&K, Option<&V>) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_flat = self.layers.len() == 1;
        for (depth, layer) in self.layers.iter().enumerate() {
            for (key, value) in layer.entries.iter_group(group) {
                let counts = match &self.changes {
                    None if is_flat => true,
                    changes => {
                        let cx = KeyContext::new(key);
                        changes.as_ref().is_none_or(|changes| changes.has(cx.hash))
                            && look_up(&self.layers[..depth], cx).is_none()
                    }
                };
                if counts {
                    f(key, Some(value))?;
                }
            }
        }
        for key in self.changes.iter().flat_map(|changes| changes.removed(group)) {
            if self.get(key).is_none() {
                f(key, None)?;
            }
        }
        Ok(())
    }
}

/// What layers say of a key, from the newest on.
pub(super) fn look_up<'a, K: Key, V>(
    layers: impl IntoIterator<Item = &'a Arc<Layer<K, V>>>,
    cx: KeyContext<'_, K>,
) -> Option<Option<&'a V>> {
    layers.into_iter().find_map(|layer| match find(&layer.entries, cx) {
        Some(value) => Some(Some(value)),
        None => find(&layer.removed, cx).map(|()| None),
    })
}
