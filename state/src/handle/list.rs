//! A list under each key.

use super::{HeapBackend, KeyContext, StateDescriptor, StateSet};
use crate::heap::KeyedTable;
use crate::{Error, Key};

/// A list of `T` under each key.
///
/// A key that has none has the empty list. Each method is one look-up. Source: Flink's `ListState`.
///
/// ```
/// use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, ListState, MaxParallelism};
/// let max = MaxParallelism::default();
/// let backend = HeapBackend::new(KeyGroupRange::all(max), max);
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
    /// No list in it is empty.
    table: KeyedTable<K, Vec<T>>,
}

impl<K: Key, T> ListState<K, T> {
    /// Registers the state with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name.
    pub fn new(descriptor: impl Into<StateDescriptor>, backend: &HeapBackend) -> Result<Self, Error> {
        Ok(Self { table: backend.table(descriptor.into())? })
    }

    /// The key's list.
    #[inline]
    pub fn get(&self, cx: KeyContext<'_, K>) -> &[T] {
        self.table.get(cx.hash, |key| key == cx.key).map_or(&[], |(_, list)| list)
    }

    /// Appends an item to the key's list.
    #[inline]
    pub fn add(&mut self, cx: KeyContext<'_, K>, item: T) {
        self.list_mut(cx).push(item);
    }

    /// Appends items to the key's list.
    pub fn add_all(&mut self, cx: KeyContext<'_, K>, items: impl IntoIterator<Item = T>) {
        let mut items = items.into_iter();
        if let Some(first) = items.next() {
            let list = self.list_mut(cx);
            list.push(first); // From here on it is not empty, even if the iterator panics.
            list.extend(items);
        }
    }

    /// Gives the key another list. An empty one is none.
    pub fn update(&mut self, cx: KeyContext<'_, K>, list: Vec<T>) {
        if list.is_empty() {
            self.clear(cx);
        } else {
            *self.list_mut(cx) = list;
        }
    }

    /// Takes the key's list away.
    pub fn take(&mut self, cx: KeyContext<'_, K>) -> Vec<T> {
        self.table.remove(cx.hash, |key| key == cx.key).map(|(_, list)| list).unwrap_or_default()
    }

    /// Drops the key's list.
    pub fn clear(&mut self, cx: KeyContext<'_, K>) {
        self.take(cx);
    }

    /// The table behind it, to walk over all keys.
    pub fn table(&self) -> &KeyedTable<K, Vec<T>> {
        &self.table
    }

    #[inline(always)]
    fn list_mut(&mut self, cx: KeyContext<'_, K>) -> &mut Vec<T> {
        let make = || (cx.key.clone(), Vec::new());
        self.table.entry(cx.hash, |key| key == cx.key, make).1
    }
}

impl<K, T> StateSet for ListState<K, T> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}
