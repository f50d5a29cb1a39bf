//! A list under each key.

use super::list_cell::{ListAppend, ListCell, collect};
use super::set::{KeyedState, StateSet};
use crate::backend::{StateBackend, StateDescriptor, StateKind, TableOf};
use crate::context::KeyRef;
use crate::heap::LayeredTable;
use crate::spill::SpillTable;
use crate::{Error, Key, StateValue};
use std::sync::Arc;

/// A list of `T` under each key.
///
/// A key that has none has the empty list. Each method is one look-up. Source: Flink's `ListState`.
///
/// ```
/// use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, ListState, MaxParallelism};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut prices = ListState::new("prices", &backend)?;
/// let cx = KeyContext::new(&7_u64);
/// prices.add(cx, 3);
/// prices.add_all(cx, [1, 2]);
/// assert_eq!(prices.get(cx), [3, 1, 2]);
/// prices.update(cx, vec![4]);
/// assert_eq!(prices.take(cx), [4]);
/// assert!(prices.get(cx).is_empty());
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Debug)]
pub struct ListState<K, T> {
    table: Table<K, T>,
}

#[derive(Debug)]
enum Table<K, T> {
    /// No list in it is empty.
    Heap(LayeredTable<K, Vec<T>>),
    Spill(Box<Spilled<K, T>>),
}

impl<K: Key, T: StateValue> ListState<K, T> {
    /// Registers the state with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name. O(key groups).
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut prices = ListState::<u64, f64>::new("prices", &backend)?;
    /// assert!(prices.get(KeyContext::new(&7)).is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(descriptor: impl Into<StateDescriptor>, backend: &StateBackend) -> Result<Self, Error> {
        // Items are added to what is written already, which nobody reads for it.
        let kind = StateKind::list::<K, T>(Arc::new(ListAppend));
        let table = match backend.table(descriptor.into(), kind)? {
            TableOf::Heap(table) => Table::Heap(table),
            TableOf::Spill(table) => Table::Spill(Box::new(Spilled { table, lent: Vec::new() })),
        };
        Ok(Self { table })
    }

    /// The key's list, in the order in which items came; the empty one if it has none.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// letters.add(KeyContext::new(&7_u64), 'b');
    /// letters.add(KeyContext::new(&7), 'a');
    /// assert_eq!(letters.get(KeyContext::new(&7)), ['b', 'a']);
    /// assert!(letters.get(KeyContext::new(&8)).is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get(&mut self, cx: impl KeyRef<K>) -> &[T] {
        match &mut self.table {
            Table::Heap(table) => table.get(cx).map_or(&[], |list| list),
            Table::Spill(spilled) => spilled.get(cx),
        }
    }

    /// Appends an item to the key's list. O(1), amortised; what is in files already is not read.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut last = ListState::new("last", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// for n in 0..3 {
    ///     last.add(cx, n);
    /// }
    /// assert_eq!(last.get(cx), [0, 1, 2]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn add(&mut self, cx: impl KeyRef<K>, item: T) {
        self.list_mut(cx).push(item);
    }

    /// Appends items to the key's list, in their order. Source: Flink's `addAll`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// letters.add_all(cx, "or".chars());
    /// letters.add_all(cx, "".chars());
    /// assert_eq!(letters.get(cx), ['o', 'r']);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn add_all(&mut self, cx: impl KeyRef<K>, items: impl IntoIterator<Item = T>) {
        let mut items = items.into_iter();
        if let Some(first) = items.next() {
            let list = self.list_mut(cx);
            list.push(first); // From here on it is not empty, even if the iterator panics.
            list.extend(items);
        }
    }

    /// Gives the key another list. An empty one is none. Source: Flink's `update`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// letters.add(cx, 'a');
    /// letters.update(cx, vec!['b', 'c']);
    /// assert_eq!(letters.get(cx), ['b', 'c']);
    /// letters.update(cx, vec![]);
    /// assert!(letters.get(cx).is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn update(&mut self, cx: impl KeyRef<K>, list: Vec<T>) {
        match &mut self.table {
            Table::Heap(_) if list.is_empty() => self.clear(cx),
            Table::Heap(table) => *table.get_or_insert_with(cx, Vec::new) = list,
            Table::Spill(spilled) => spilled.replace(cx, list),
        }
    }

    /// Takes the key's list away; the empty one if it has none.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut batch = ListState::new("batch", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// batch.add_all(cx, [1, 2]);
    /// assert_eq!((batch.take(cx), batch.take(cx)), (vec![1, 2], vec![]));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn take(&mut self, cx: impl KeyRef<K>) -> Vec<T> {
        match &mut self.table {
            Table::Heap(table) => table.remove(cx).unwrap_or_default(),
            Table::Spill(spilled) => spilled.take(cx),
        }
    }

    /// Drops the key's list. Source: Flink's `State.clear`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// letters.add(KeyContext::new(&7_u64), 'a');
    /// letters.clear(KeyContext::new(&7));
    /// assert!(letters.get(KeyContext::new(&7)).is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn clear(&mut self, cx: impl KeyRef<K>) {
        match &mut self.table {
            Table::Heap(table) => drop(table.remove(cx)),
            Table::Spill(spilled) => spilled.replace(cx, Vec::new()),
        }
    }

    #[inline(always)]
    fn list_mut(&mut self, cx: impl KeyRef<K>) -> &mut Vec<T> {
        match &mut self.table {
            Table::Heap(table) => table.get_or_insert_with(cx, Vec::new),
            Table::Spill(spilled) => spilled.list_mut(cx),
        }
    }
}

impl<K: Key, T: StateValue> StateSet for ListState<K, T> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        match &self.table {
            Table::Heap(table) => table.prefetch(hash),
            Table::Spill(spilled) => spilled.table.prefetch(hash),
        }
    }

    fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        if let Table::Spill(spilled) = &mut self.table {
            f(&mut *spilled.table);
        }
    }

    fn memory_bytes(&self) -> usize {
        match &self.table {
            Table::Heap(table) => table.memory_bytes(),
            Table::Spill(spilled) => spilled.table.memory_bytes(),
        }
    }
}

/// The table of lists that may be larger than memory.
#[derive(Debug)]
struct Spilled<K, T> {
    table: Box<SpillTable<K, ListCell<T>>>,
    /// A list that is not in one piece, put together while it is lent.
    lent: Vec<T>,
}

impl<K: Key, T: StateValue> Spilled<K, T> {
    fn get(&mut self, key: impl KeyRef<K>) -> &[T] {
        let Self { table, lent } = self;
        table.read_all(key, |top, below| match top {
            Some(ListCell { is_all: true, items }) => items.as_slice(),
            _ => {
                lent.clear();
                collect(top, below, lent);
                lent.as_slice()
            }
        })
    }

    #[inline(always)]
    fn list_mut(&mut self, key: impl KeyRef<K>) -> &mut Vec<T> {
        let make = |below: crate::spill::Below<'_, '_, K, _>| ListCell {
            is_all: below.is_known_absent(),
            items: Vec::new(),
        };
        &mut self.table.entry(key, make).1.items
    }

    fn replace(&mut self, key: impl KeyRef<K>, items: Vec<T>) {
        let mut cell = Some(ListCell { is_all: true, items });
        let (_, top) = self.table.entry(key, |_| cell.take().expect("an entry is made once"));
        if let Some(cell) = cell {
            *top = cell;
        }
    }

    fn take(&mut self, key: impl KeyRef<K>) -> Vec<T> {
        if let Some(ListCell { is_all: true, items }) = self.table.top(key) {
            return std::mem::take(items);
        }
        let mut list = Vec::new();
        self.table.read_all(key, |top, below| collect(top, below, &mut list));
        if !list.is_empty() {
            self.replace(key, Vec::new());
        }
        list
    }
}
