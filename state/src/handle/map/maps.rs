//! Maps, on the heap or over a store.

use std::sync::Arc;

use super::super::small_map::SmallMap;
use super::head::heap_format;
use super::iter::MapIter;
use super::spilled::SpilledMap;
use crate::backend::{StateBackend, StateKind, TableOf};
use crate::context::KeyRef;
use crate::handle::KeyedState;
use crate::lsm::CompactionFilter;
use crate::snapshot::HeapTable;
use crate::{Error, Key, StateValue};

/// A map under each key, which is empty for most.
#[derive(Debug)]
pub(in super::super) enum Maps<K, UK, UV> {
    /// No map in it is empty.
    Heap(HeapTable<K, SmallMap<UK, UV>>),
    Spill(Box<SpilledMap<K, UK, UV>>),
}

impl<K: Key, UK: Key, UV: StateValue> Maps<K, UK, UV> {
    /// Of which files keep what `filter` says; `parts` tell what values are.
    ///
    /// Errors: as `StateBackend::table`.
    pub(in super::super) fn new(
        name: &str,
        backend: &StateBackend,
        parts: &[&str],
        filter: Arc<dyn CompactionFilter>,
    ) -> Result<Self, Error> {
        let kind = StateKind::map::<K, UK, UV>(parts).with_filter(Some(filter));
        Ok(match backend.table(name, kind, heap_format())? {
            TableOf::Heap(table) => Self::Heap(table),
            TableOf::Spill(table) => Self::Spill(Box::new(SpilledMap::new(table))),
        })
    }

    #[inline(always)]
    pub(in super::super) fn get(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> Option<&UV> {
        match self {
            Self::Heap(table) => table.get(cx)?.get(user_key),
            Self::Spill(spilled) => spilled.get(cx, user_key),
        }
    }

    #[inline(always)]
    pub(in super::super) fn put(&mut self, cx: impl KeyRef<K>, user_key: UK, value: UV) {
        match self {
            Self::Heap(table) => {
                table.get_or_insert_with(cx, SmallMap::new).insert(user_key, value);
            }
            Self::Spill(spilled) => spilled.put(cx, user_key, value),
        }
    }

    #[inline(always)]
    pub(in super::super) fn update_with<R>(
        &mut self,
        cx: impl KeyRef<K>,
        user_key: &UK,
        init: impl FnOnce() -> UV,
        f: impl FnOnce(&mut UV) -> R,
    ) -> R {
        match self {
            Self::Heap(table) => f(table.get_or_insert_with(cx, SmallMap::new).entry(user_key, init)),
            Self::Spill(spilled) => spilled.update_with(cx, user_key, init, f),
        }
    }

    #[inline(always)]
    pub(in super::super) fn remove(&mut self, cx: impl KeyRef<K>, user_key: &UK) {
        match self {
            Self::Heap(_) => drop(self.take(cx, user_key)),
            Self::Spill(spilled) => spilled.remove(cx, user_key),
        }
    }

    pub(in super::super) fn take(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> Option<UV> {
        match self {
            Self::Heap(table) => {
                let map = table.get_mut(cx)?;
                let value = map.remove(user_key);
                if map.is_empty() {
                    table.remove(cx);
                }
                value
            }
            Self::Spill(spilled) => spilled.take(cx, user_key),
        }
    }

    #[inline(always)]
    pub(in super::super) fn is_empty(&mut self, cx: impl KeyRef<K>) -> bool {
        match self {
            Self::Heap(table) => table.get(cx).is_none(),
            Self::Spill(spilled) => spilled.is_empty(cx),
        }
    }

    #[inline(always)]
    pub(in super::super) fn len(&mut self, cx: impl KeyRef<K>) -> usize {
        match self {
            Self::Heap(table) => table.get(cx).map_or(0, SmallMap::len),
            Self::Spill(spilled) => spilled.iter(cx).count(),
        }
    }

    #[inline(always)]
    pub(in super::super) fn iter(&mut self, cx: impl KeyRef<K>) -> MapIter<'_, UK, UV> {
        match self {
            Self::Heap(table) => MapIter::heap(table.get(cx).map(SmallMap::iter)),
            Self::Spill(spilled) => MapIter::spilled(spilled.iter(cx)),
        }
    }

    #[inline(always)]
    pub(in super::super) fn clear(&mut self, cx: impl KeyRef<K>) {
        match self {
            Self::Heap(table) => drop(table.remove(cx)),
            Self::Spill(spilled) => spilled.clear(cx),
        }
    }

    #[inline(always)]
    pub(in super::super) fn prefetch(&self, hash: u64) {
        match self {
            Self::Heap(table) => table.prefetch(hash),
            Self::Spill(spilled) => spilled.prefetch(hash),
        }
    }

    pub(in super::super) fn table(&mut self) -> &mut dyn KeyedState {
        match self {
            Self::Heap(table) => table,
            Self::Spill(spilled) => &mut **spilled,
        }
    }

    pub(in super::super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Heap(table) => table.memory_bytes(),
            Self::Spill(spilled) => spilled.memory_bytes(),
        }
    }
}
