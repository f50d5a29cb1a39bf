//! Values one by one, on the heap or over a store: what value, reducing and aggregating states have in common.

use super::set::KeyedState;
use super::spilled::Spilled;
use crate::backend::{StateBackend, StateKind, TableOf};
use crate::context::KeyRef;
use crate::snapshot::{HeapFormat, HeapTable};
use crate::{Error, Key, Stored, ValueError};

/// One value under each key, or none.
#[derive(Debug)]
pub(super) enum Values<K, V> {
    Heap(HeapTable<K, V>),
    Spill(Box<Spilled<K, V>>),
}

impl<K: Key, V: Stored> Values<K, V> {
    /// Errors: as `StateBackend::table`.
    pub(super) fn new(name: &str, backend: &StateBackend, kind: StateKind) -> Result<Self, Error> {
        Ok(match backend.table(name, kind, HeapFormat::stored())? {
            TableOf::Heap(table) => Self::Heap(table),
            TableOf::Spill(table) => Self::Spill(Box::new(Spilled::new(table))),
        })
    }

    #[inline(always)]
    pub(super) fn get(&mut self, cx: impl KeyRef<K>) -> Option<&V> {
        match self {
            Self::Heap(table) => table.get(cx),
            Self::Spill(spilled) => spilled.get(cx),
        }
    }

    /// What `in_memory` makes of the value, or `in_file` of its bytes, in place.
    #[inline(always)]
    pub(super) fn look<'a, T>(
        &'a mut self,
        cx: impl KeyRef<K>,
        in_memory: impl Fn(&'a V) -> T,
        in_file: impl FnOnce(&'a [u8]) -> Result<T, ValueError>,
    ) -> Option<T> {
        match self {
            Self::Heap(table) => table.get(cx).map(in_memory),
            Self::Spill(spilled) => spilled.look(cx, in_memory, in_file),
        }
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, cx: impl KeyRef<K>) -> Option<&mut V> {
        match self {
            Self::Heap(table) => table.get_mut(cx),
            Self::Spill(spilled) => spilled.get_mut(cx),
        }
    }

    #[inline(always)]
    pub(super) fn entry(&mut self, cx: impl KeyRef<K>, init: impl FnOnce() -> V) -> (&K, &mut V) {
        match self {
            Self::Heap(table) => table.entry(cx, init),
            Self::Spill(spilled) => spilled.get_or_insert_with(cx, init),
        }
    }

    #[inline(always)]
    pub(super) fn update_row(
        &mut self,
        cx: impl KeyRef<K>,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&mut V),
    ) -> &(K, V) {
        match self {
            Self::Heap(table) => table.update(cx, init, change),
            Self::Spill(spilled) => spilled.update_row(cx, init, change),
        }
    }

    #[inline(always)]
    pub(super) fn set(&mut self, cx: impl KeyRef<K>, value: V) {
        match self {
            Self::Heap(table) => {
                let mut value = Some(value);
                let slot = table.get_or_insert_with(cx, || value.take().expect("an entry is made once"));
                if let Some(value) = value {
                    *slot = value;
                }
            }
            Self::Spill(spilled) => spilled.set(cx, value),
        }
    }

    #[inline(always)]
    pub(super) fn take(&mut self, cx: impl KeyRef<K>) -> Option<V> {
        match self {
            Self::Heap(table) => table.remove(cx),
            Self::Spill(spilled) => spilled.take(cx),
        }
    }

    #[inline(always)]
    pub(super) fn clear(&mut self, cx: impl KeyRef<K>) {
        match self {
            Self::Heap(table) => drop(table.remove(cx)),
            Self::Spill(spilled) => spilled.clear(cx),
        }
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        match self {
            Self::Heap(table) => table.prefetch(hash),
            Self::Spill(spilled) => spilled.prefetch(hash),
        }
    }

    /// On the heap: the value of a key of that hash, or of another one.
    #[inline(always)]
    pub(super) fn guess(&self, hash: u64) -> Option<&V> {
        match self {
            Self::Heap(table) => table.guess(hash).map(|(_, value)| value),
            Self::Spill(_) => None,
        }
    }

    /// The table, without its types.
    pub(super) fn table(&mut self) -> &mut dyn KeyedState {
        match self {
            Self::Heap(table) => table,
            Self::Spill(spilled) => spilled.table(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Heap(table) => table.memory_bytes(),
            Self::Spill(spilled) => spilled.memory_bytes(),
        }
    }
}
