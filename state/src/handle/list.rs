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
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name. O(key groups).
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let prices = ListState::<u64, f64>::new("prices", &backend)?;
    /// assert!(prices.get(KeyContext::new(&7)).is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(descriptor: impl Into<StateDescriptor>, backend: &HeapBackend) -> Result<Self, Error> {
        Ok(Self { table: backend.table(descriptor.into())? })
    }

    /// The key's list, in the order in which items came; the empty one if it has none.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// letters.add(KeyContext::new(&7_u64), 'b');
    /// letters.add(KeyContext::new(&7), 'a');
    /// assert_eq!(letters.get(KeyContext::new(&7)), ['b', 'a']);
    /// assert!(letters.get(KeyContext::new(&8)).is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get(&self, cx: KeyContext<'_, K>) -> &[T] {
        self.table.get(cx.hash, |key| key == cx.key).map_or(&[], |(_, list)| list)
    }

    /// Appends an item to the key's list. O(1), amortised.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut last = ListState::new("last", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// for n in 0..3 {
    ///     last.add(cx, n);
    /// }
    /// assert_eq!(last.get(cx), [0, 1, 2]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn add(&mut self, cx: KeyContext<'_, K>, item: T) {
        self.list_mut(cx).push(item);
    }

    /// Appends items to the key's list, in their order. Source: Flink's `addAll`.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// letters.add_all(cx, "or".chars());
    /// letters.add_all(cx, "".chars());
    /// assert_eq!(letters.get(cx), ['o', 'r']);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn add_all(&mut self, cx: KeyContext<'_, K>, items: impl IntoIterator<Item = T>) {
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
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// letters.add(cx, 'a');
    /// letters.update(cx, vec!['b', 'c']);
    /// assert_eq!(letters.get(cx), ['b', 'c']);
    /// letters.update(cx, vec![]);
    /// assert!(letters.table().is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn update(&mut self, cx: KeyContext<'_, K>, list: Vec<T>) {
        if list.is_empty() {
            self.clear(cx);
        } else {
            *self.list_mut(cx) = list;
        }
    }

    /// Takes the key's list away; the empty one if it has none.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut batch = ListState::new("batch", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// batch.add_all(cx, [1, 2]);
    /// assert_eq!((batch.take(cx), batch.take(cx)), (vec![1, 2], vec![]));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn take(&mut self, cx: KeyContext<'_, K>) -> Vec<T> {
        self.table.remove(cx.hash, |key| key == cx.key).map(|(_, list)| list).unwrap_or_default()
    }

    /// Drops the key's list. Source: Flink's `State.clear`.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// letters.add(KeyContext::new(&7_u64), 'a');
    /// letters.clear(KeyContext::new(&7));
    /// assert!(letters.get(KeyContext::new(&7)).is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn clear(&mut self, cx: KeyContext<'_, K>) {
        self.take(cx);
    }

    /// The table behind it, to walk over all keys.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ListState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut letters = ListState::new("letters", &backend)?;
    /// for (key, letter) in [(1_u64, 'a'), (2, 'b'), (1, 'c')] {
    ///     letters.add(KeyContext::new(&key), letter);
    /// }
    /// assert_eq!(letters.table().iter().map(|(_, letters)| letters.len()).max(), Some(2));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
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
