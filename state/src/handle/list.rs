//! A list under each key.

use super::lists::Lists;
use super::set::{KeyedState, StateSet};
use super::ttl::TimedLists;
use crate::backend::{StateBackend, StateDescriptor};
use crate::context::{Apart, KeyRef};
use crate::{Error, Key, StateValue, Ttl};

/// A list of `T` under each key.
///
/// A key that has none has the empty list. Each method is one look-up. Source: Flink's `ListState`.
///
/// With a [`Ttl`](crate::Ttl) each item lives for itself. `get` is a read of all items, `take` a read that changes nothing, all else
/// is a write; what appends an item neither reads nor prolongs the others.
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
    Plain(Lists<K, Vec<T>>),
    Timed(Box<TimedLists<K, T>>),
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
        let StateDescriptor { name, ttl } = descriptor.into();
        let table = match ttl.filter(Ttl::is_enabled) {
            None => Table::Plain(Lists::new(&name, backend, None)?),
            Some(ttl) => Table::Timed(Box::new(TimedLists::new(&name, ttl, backend)?)),
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
            Table::Plain(lists) => lists.get(cx).map_or(&[], Vec::as_slice),
            Table::Timed(timed) => timed.get(Apart(cx)),
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
        match &mut self.table {
            Table::Plain(lists) => lists.tail_mut(cx).push(item),
            Table::Timed(timed) => timed.add(Apart(cx), item),
        }
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
        let Some(first) = items.next() else { return };
        match &mut self.table {
            Table::Plain(lists) => {
                let list = lists.tail_mut(cx);
                list.push(first); // From here on it is not empty, even if the iterator panics.
                list.extend(items);
            }
            Table::Timed(timed) => timed.add_all(Apart(cx), first, items),
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
            Table::Plain(lists) => lists.replace(cx, list),
            Table::Timed(timed) => timed.update(Apart(cx), list),
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
            Table::Plain(lists) => lists.take(cx),
            Table::Timed(timed) => timed.take(Apart(cx)),
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
            Table::Plain(lists) => lists.replace(cx, Vec::new()),
            Table::Timed(timed) => timed.clear(Apart(cx)),
        }
    }
}

impl<K: Key, T: StateValue> StateSet for ListState<K, T> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        match &self.table {
            Table::Plain(lists) => lists.prefetch(hash),
            Table::Timed(timed) => timed.prefetch(hash),
        }
    }

    fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        match &mut self.table {
            Table::Plain(lists) => f(lists.table()),
            Table::Timed(timed) => timed.each(f),
        }
    }

    fn memory_bytes(&self) -> usize {
        match &self.table {
            Table::Plain(lists) => lists.memory_bytes(),
            Table::Timed(timed) => timed.memory_bytes(),
        }
    }
}
