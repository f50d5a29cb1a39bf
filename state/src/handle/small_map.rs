//! The map under one key of a map state: most are tiny, some are huge.
//!
//! Up to [`FEW`] entries lie side by side in a `Vec` and are searched one after the other; more are a hash table, and
//! stay one until the map is empty.

use crate::Key;
use crate::heap::{Iter, Table};
use crate::key::scatter;

/// As many entries are searched as quickly as a table is looked up.
const FEW: usize = 8;

/// The hash under which a table knows a key. Under one key of a stream all user keys may well be of one key group.
fn position<K: Key>(key: &K) -> u64 {
    scatter(key.key_hash())
}

#[derive(Debug)]
pub(super) enum SmallMap<K, V> {
    Few(Vec<(K, V)>),
    Many(Table<K, V>),
}

impl<K: Key, V> SmallMap<K, V> {
    pub(super) fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(entries) => entries.len(),
            Self::Many(table) => table.len(),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::Few(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, value)| value),
            Self::Many(table) => table.get(position(key), |k| k == key).map(|(_, value)| value),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What slots take, in bytes, without what keys and values own elsewhere.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Few(entries) => entries.capacity() * size_of::<(K, V)>(),
            Self::Many(table) => table.memory_bytes(),
        }
    }

    /// Puts a value under a key, and returns the one that was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Self::Few(entries) = self {
            if let Some((_, found)) = entries.iter_mut().find(|(k, _)| *k == key) {
                return Some(std::mem::replace(found, value));
            }
            if entries.len() < FEW {
                entries.push((key, value));
                return None;
            }
        }
        let (table, at) = (self.many(), position(&key));
        if let Some((_, found)) = table.get_mut(at, |k| *k == key) {
            return Some(std::mem::replace(found, value));
        }
        table.entry(at, |_| false, || (key, value));
        None
    }

    /// The entries as a table.
    fn many(&mut self) -> &mut Table<K, V> {
        if let Self::Few(entries) = self {
            let mut table = Table::new();
            for (key, value) in entries.drain(..) {
                table.entry(position(&key), |_| false, || (key, value));
            }
            *self = Self::Many(table);
        }
        match self {
            Self::Many(table) => table,
            Self::Few(_) => unreachable!("it was made a table"),
        }
    }

    /// The value of `key`, which is `init()` if it had none.
    pub(super) fn entry(&mut self, key: &K, init: impl FnOnce() -> V) -> &mut V {
        if let Self::Few(entries) = self
            && entries.len() == FEW
            && !entries.iter().any(|(k, _)| k == key)
        {
            self.many();
        }
        match self {
            Self::Few(entries) => {
                let index = entries.iter().position(|(k, _)| k == key).unwrap_or_else(|| {
                    entries.push((key.clone(), init()));
                    entries.len() - 1
                });
                &mut entries[index].1
            }
            Self::Many(table) => table.entry(position(key), |k| k == key, || (key.clone(), init())).1,
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::Few(entries) => {
                let index = entries.iter().position(|(k, _)| k == key)?;
                Some(entries.swap_remove(index).1)
            }
            Self::Many(table) => table.remove(position(key), |k| k == key).map(|(_, value)| value),
        }
    }

    /// Keeps the entries for which `f` says so.
    pub(super) fn retain(&mut self, mut f: impl FnMut(&K, &mut V) -> bool) {
        match self {
            Self::Few(entries) => entries.retain_mut(|(key, value)| f(key, value)),
            Self::Many(table) => table.retain(f),
        }
    }

    pub(super) fn iter(&self) -> SmallIter<'_, K, V> {
        match self {
            Self::Few(entries) => SmallIter::Few(entries.iter()),
            Self::Many(table) => SmallIter::Many(table.iter()),
        }
    }
}

impl<K: Key, V: Clone> Clone for SmallMap<K, V> {
    fn clone(&self) -> Self {
        let mut map = Self::new();
        for (key, value) in self.iter() {
            map.entry(key, || value.clone());
        }
        map
    }
}

#[derive(Clone)]
pub(super) enum SmallIter<'a, K, V> {
    Few(std::slice::Iter<'a, (K, V)>),
    Many(Iter<'a, K, V>),
}

impl<'a, K, V> Iterator for SmallIter<'a, K, V> {
    type Item = (&'a K, &'a V);
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(entries) => entries.next().map(|(key, value)| (key, value)),
            Self::Many(entries) => entries.next(),
        }
    }
}
