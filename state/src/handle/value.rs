//! One value under each key.

use super::{HeapBackend, KeyContext, StateDescriptor, StateSet};
use crate::heap::KeyedTable;
use crate::{Error, Key};

/// One value of type `V` under each key, or none.
///
/// Each method is one look-up, O(1). Source: Flink's `ValueState`, whose `value` and `update` are `get` and `set`.
///
/// ```
/// use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
/// let max = MaxParallelism::default();
/// let backend = HeapBackend::new(KeyGroupRange::all(max), max);
/// let mut count = ValueState::new("count", &backend)?;
/// let user = String::from("alice");
/// let cx = KeyContext::new(&user);
/// assert_eq!(count.update_with(cx, || 0, |count| { *count += 1; *count }), 1);
/// assert_eq!(count.get(cx), Some(&1));
/// count.set(cx, 9);
/// assert_eq!(count.take(cx), Some(9));
/// assert!(!count.contains(cx));
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Debug)]
pub struct ValueState<K, V> {
    table: KeyedTable<K, V>,
}

impl<K: Key, V> ValueState<K, V> {
    /// Registers the state with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name.
    pub fn new(descriptor: impl Into<StateDescriptor>, backend: &HeapBackend) -> Result<Self, Error> {
        Ok(Self { table: backend.table(descriptor.into())? })
    }

    /// The key's value.
    #[inline]
    pub fn get(&self, cx: KeyContext<'_, K>) -> Option<&V> {
        self.table.get(cx.hash, |key| key == cx.key).map(|(_, value)| value)
    }

    /// The key's value, to change in place. Only this handle is borrowed: the context is free meanwhile.
    #[inline]
    pub fn get_mut(&mut self, cx: KeyContext<'_, K>) -> Option<&mut V> {
        self.table.get_mut(cx.hash, |key| key == cx.key).map(|(_, value)| value)
    }

    /// The key's value, which is `init()` if it had none, to change in place. One look-up.
    ///
    /// ```
    /// use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// let max = MaxParallelism::default();
    /// let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut count = ValueState::<u64, u64>::new("count", &backend)?;
    /// *count.get_or_insert_with(KeyContext::new(&7), || 0) += 1;
    /// *count.get_mut(KeyContext::new(&7)).unwrap() += 1;
    /// assert_eq!(count.get(KeyContext::new(&7)), Some(&2));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get_or_insert_with(&mut self, cx: KeyContext<'_, K>, init: impl FnOnce() -> V) -> &mut V {
        self.table.entry(cx.hash, |key| key == cx.key, || (cx.key.clone(), init())).1
    }

    /// Whether the key has a value.
    #[inline]
    pub fn contains(&self, cx: KeyContext<'_, K>) -> bool {
        self.get(cx).is_some()
    }

    /// Gives the key a value, in place of the one it had.
    #[inline]
    pub fn set(&mut self, cx: KeyContext<'_, K>, value: V) {
        self.upsert(cx, value, |value| value, |old, new| *old = new);
    }

    /// Changes the key's value, which is `init()` if it had none, and returns what `f` does. One look-up.
    #[inline(always)]
    pub fn update_with<R>(
        &mut self,
        cx: KeyContext<'_, K>,
        init: impl FnOnce() -> V,
        f: impl FnOnce(&mut V) -> R,
    ) -> R {
        let (_, value, _) = self.table.entry(cx.hash, |key| key == cx.key, || (cx.key.clone(), init()));
        f(value)
    }

    /// Makes the key's value of `item` if it has none, or else changes it by `item`, and lends it. One look-up.
    #[inline(always)]
    pub fn upsert<I>(
        &mut self,
        cx: KeyContext<'_, K>,
        item: I,
        make: impl FnOnce(I) -> V,
        change: impl FnOnce(&mut V, I),
    ) -> &V {
        let mut item = Some(item);
        let mut taken = || item.take().expect("an entry is made once");
        let (_, value, _) =
            self.table.entry(cx.hash, |key| key == cx.key, || (cx.key.clone(), make(taken())));
        if let Some(item) = item {
            change(value, item);
        }
        value
    }

    /// Takes the key's value away.
    #[inline]
    pub fn take(&mut self, cx: KeyContext<'_, K>) -> Option<V> {
        self.table.remove(cx.hash, |key| key == cx.key).map(|(_, value)| value)
    }

    /// Drops the key's value.
    #[inline]
    pub fn clear(&mut self, cx: KeyContext<'_, K>) {
        self.take(cx);
    }

    /// The table behind it, to walk over all keys.
    pub fn table(&self) -> &KeyedTable<K, V> {
        &self.table
    }

    /// The table behind it, to walk over all keys and change or remove values.
    pub fn table_mut(&mut self) -> &mut KeyedTable<K, V> {
        &mut self.table
    }
}

impl<K, V> StateSet for ValueState<K, V> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}
