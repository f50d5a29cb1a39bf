//! Lists, on the heap or over a store.

use std::sync::Arc;

use super::list_cell::{Items, ListAppend, ListCell, collect, heap_format};
use super::set::KeyedState;
use crate::backend::{StateBackend, StateKind, TableOf};
use crate::context::KeyRef;
use crate::lsm::CompactionFilter;
use crate::snapshot::HeapTable;
use crate::spill::{Below, SpillTable};
use crate::{Error, Key};

/// A list under each key, which is empty for most.
#[derive(Debug)]
pub(super) enum Lists<K, L> {
    /// No list in it is empty.
    Heap(HeapTable<K, L>),
    Spill(Box<SpilledLists<K, L>>),
}

/// Lists that may be larger than memory.
#[derive(Debug)]
pub(super) struct SpilledLists<K, L> {
    pub(super) table: Box<SpillTable<K, ListCell<L>>>,
    /// A list that is not in one piece, put together while it is lent.
    lent: L,
}

impl<K: Key, L: Items> Lists<K, L> {
    /// Of which files keep what `filter` says.
    ///
    /// Errors: as `StateBackend::table`.
    pub(super) fn new(
        name: &str,
        backend: &StateBackend,
        filter: Option<Arc<dyn CompactionFilter>>,
    ) -> Result<Self, Error> {
        // Items are added to what is written already, which nobody reads for it.
        let kind = StateKind::list::<K, L::Item>(L::SCHEMA, Arc::new(ListAppend)).with_filter(filter);
        Ok(match backend.table(name, kind, heap_format())? {
            TableOf::Heap(table) => Self::Heap(table),
            TableOf::Spill(table) => Self::Spill(Box::new(SpilledLists { table, lent: L::default() })),
        })
    }

    /// The key's list. `None` and an empty one are the same.
    #[inline(always)]
    pub(super) fn get(&mut self, cx: impl KeyRef<K>) -> Option<&L> {
        match self {
            Self::Heap(table) => table.get(cx),
            Self::Spill(spilled) => Some(spilled.get(cx)),
        }
    }

    /// What `get` has just lent for the same key, once more and without looking further; to be changed, which changes the list
    /// itself only where all of it is in memory.
    pub(super) fn lent_mut(&mut self, cx: impl KeyRef<K>) -> Option<&mut L> {
        match self {
            Self::Heap(table) => table.get_mut(cx),
            Self::Spill(spilled) => Some(spilled.lent_mut(cx)),
        }
    }

    /// The last items of the key's list, or all of them, to append to.
    #[inline(always)]
    pub(super) fn tail_mut(&mut self, cx: impl KeyRef<K>) -> &mut L {
        match self {
            Self::Heap(table) => table.get_or_insert_with(cx, L::default),
            Self::Spill(spilled) => spilled.tail_mut(cx),
        }
    }

    pub(super) fn replace(&mut self, cx: impl KeyRef<K>, list: L) {
        match self {
            Self::Heap(table) if list.is_empty() => drop(table.remove(cx)),
            Self::Heap(table) => *table.get_or_insert_with(cx, L::default) = list,
            Self::Spill(spilled) => spilled.replace(cx, list),
        }
    }

    pub(super) fn take(&mut self, cx: impl KeyRef<K>) -> L {
        match self {
            Self::Heap(table) => table.remove(cx).unwrap_or_default(),
            Self::Spill(spilled) => spilled.take(cx),
        }
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        match self {
            Self::Heap(table) => table.prefetch(hash),
            Self::Spill(spilled) => spilled.table.prefetch(hash),
        }
    }

    /// The table, without its types.
    pub(super) fn table(&mut self) -> &mut dyn KeyedState {
        match self {
            Self::Heap(table) => table,
            Self::Spill(spilled) => &mut *spilled.table,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Heap(table) => table.memory_bytes(),
            Self::Spill(spilled) => spilled.table.memory_bytes(),
        }
    }
}

impl<K: Key, L: Items> SpilledLists<K, L> {
    fn get(&mut self, key: impl KeyRef<K>) -> &L {
        let Self { table, lent } = self;
        table.read_all(key, |top, below| match top {
            Some(ListCell { is_all: true, items }) => items,
            _ => {
                lent.clear();
                collect(top, below, lent);
                lent
            }
        })
    }

    fn lent_mut(&mut self, key: impl KeyRef<K>) -> &mut L {
        match self.table.top(key) {
            Some(ListCell { is_all: true, items }) => items,
            _ => &mut self.lent,
        }
    }

    #[inline(always)]
    fn tail_mut(&mut self, key: impl KeyRef<K>) -> &mut L {
        let make =
            |below: Below<'_, '_, K, _>| ListCell { is_all: below.is_known_absent(), items: L::default() };
        &mut self.table.entry(key, make).1.items
    }

    fn replace(&mut self, key: impl KeyRef<K>, items: L) {
        let mut cell = Some(ListCell { is_all: true, items });
        let (_, top) = self.table.entry(key, |_| cell.take().expect("an entry is made once"));
        if let Some(cell) = cell {
            *top = cell;
        }
    }

    fn take(&mut self, key: impl KeyRef<K>) -> L {
        if let Some(ListCell { is_all: true, items }) = self.table.top(key) {
            return std::mem::take(items);
        }
        let mut list = L::default();
        self.table.read_all(key, |top, below| collect(top, below, &mut list));
        if !list.is_empty() {
            self.replace(key, L::default());
        }
        list
    }
}
