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
    prefetch: Option<fn(&V)>,
}

impl<K: Key, V> ValueState<K, V> {
    /// Registers the state with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name. O(key groups).
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let count = ValueState::<u64, u32>::new("count", &backend)?;
    /// assert!(count.get(KeyContext::new(&7)).is_none());
    /// assert!(ValueState::<u64, u32>::new("count", &backend).is_err());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(descriptor: impl Into<StateDescriptor>, backend: &HeapBackend) -> Result<Self, Error> {
        Ok(Self { table: backend.table(descriptor.into())?, prefetch: None })
    }

    /// Fetches ahead what values own elsewhere, as vectors and boxes do: `prefetch` is shown the value of a record that
    /// is about to come (or now and then another one), and asks the processor for the memory that will be read.
    ///
    /// Without it only the values themselves are fetched. Cost: a probe and a call for each record, once the table has
    /// outgrown the cache; worth it where records would wait for memory behind a pointer.
    ///
    /// ```
    /// use thalweg_state::{HeapBackend, KeyGroupRange, MaxParallelism, StateSet, ValueState};
    /// let max = MaxParallelism::default();
    /// let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let text = ValueState::<u64, String>::new("text", &backend)?;
    /// assert!(!text.owns());
    /// let text = text.with_prefetch(|text| drop(text.bytes().next())); // Here to read it must do.
    /// assert!(text.owns());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[must_use = "it returns the state"]
    pub fn with_prefetch(mut self, prefetch: fn(&V)) -> Self {
        self.prefetch = Some(prefetch);
        self
    }

    /// The key's value, or `None` if it has none.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut last = ValueState::new("last", &backend)?;
    /// last.set(KeyContext::new(&7_u64), "home");
    /// assert_eq!(last.get(KeyContext::new(&7)), Some(&"home"));
    /// assert_eq!(last.get(KeyContext::new(&8)), None);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get(&self, cx: KeyContext<'_, K>) -> Option<&V> {
        self.table.get(cx.hash, |key| key == cx.key).map(|(_, value)| value)
    }

    /// The key's value, to change in place, or `None` if it has none. Only this handle is borrowed: the context is free meanwhile.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut pages = ValueState::<u64, String>::new("pages", &backend)?;
    /// let cx = KeyContext::new(&7);
    /// assert!(pages.get_mut(cx).is_none());
    /// pages.set(cx, "home".into());
    /// pages.get_mut(cx).unwrap().push_str(", cart");
    /// assert_eq!(pages.get(cx).unwrap(), "home, cart");
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut seen = ValueState::new("seen", &backend)?;
    /// seen.set(KeyContext::new(&'a'), ());
    /// assert!(seen.contains(KeyContext::new(&'a')) && !seen.contains(KeyContext::new(&'b')));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn contains(&self, cx: KeyContext<'_, K>) -> bool {
        self.get(cx).is_some()
    }

    /// Gives the key a value, in place of the one it had. Source: Flink's `ValueState.update`.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut last = ValueState::new("last", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// last.set(cx, 'a');
    /// last.set(cx, 'b');
    /// assert_eq!(last.get(cx), Some(&'b'));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn set(&mut self, cx: KeyContext<'_, K>, value: V) {
        self.upsert(cx, value, |value| value, |old, new| *old = new);
    }

    /// Changes the key's value, which is `init()` if it had none, and returns what `f` does. One look-up.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut count = ValueState::<char, u32>::new("count", &backend)?;
    /// let mut seen = |c: char| count.update_with(KeyContext::new(&c), || 0, |n| { *n += 1; *n });
    /// assert_eq!(['a', 'b', 'a'].map(&mut seen), [1, 1, 2]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
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

    /// Makes the key's value of `item` if it has none, or else changes it by `item`, and lends it. One look-up. For items that are
    /// moved in, either way.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut texts = ValueState::<u64, Vec<String>>::new("texts", &backend)?;
    /// let cx = KeyContext::new(&7);
    /// for text in ["to", "be"].map(String::from) {
    ///     texts.upsert(cx, text, |first| vec![first], |texts, next| texts.push(next));
    /// }
    /// assert_eq!(texts.get(cx).unwrap(), &["to", "be"]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
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

    /// Takes the key's value away. The key then has no entry, and takes no memory.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut waiting = ValueState::new("waiting", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// waiting.set(cx, "order");
    /// assert_eq!((waiting.take(cx), waiting.take(cx)), (Some("order"), None));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn take(&mut self, cx: KeyContext<'_, K>) -> Option<V> {
        self.table.remove(cx.hash, |key| key == cx.key).map(|(_, value)| value)
    }

    /// Drops the key's value, if it has one. Source: Flink's `State.clear`.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut last = ValueState::new("last", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// last.set(cx, 'a');
    /// last.clear(cx);
    /// assert!(!last.contains(cx));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn clear(&mut self, cx: KeyContext<'_, K>) {
        self.take(cx);
    }

    /// The table behind it, to walk over all keys.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut sales = ValueState::new("sales", &backend)?;
    /// for (shop, amount) in [(1_u64, 10), (2, 20)] {
    ///     sales.set(KeyContext::new(&shop), amount);
    /// }
    /// assert_eq!(sales.table().iter().map(|(_, amount)| amount).sum::<i32>(), 30);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn table(&self) -> &KeyedTable<K, V> {
        &self.table
    }

    /// The table behind it, to walk over all keys and change or remove values.
    ///
    /// ```
    /// # use thalweg_state::{HeapBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = HeapBackend::new(KeyGroupRange::all(max), max);
    /// let mut sales = ValueState::new("sales", &backend)?;
    /// for (shop, amount) in [(1_u64, 10), (2, 20)] {
    ///     sales.set(KeyContext::new(&shop), amount);
    /// }
    /// sales.table_mut().retain(|_, amount| *amount > 15);
    /// assert!(!sales.contains(KeyContext::new(&1)) && sales.contains(KeyContext::new(&2)));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn table_mut(&mut self) -> &mut KeyedTable<K, V> {
        &mut self.table
    }
}

impl<K, V> StateSet for ValueState<K, V> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    fn owns(&self) -> bool {
        self.prefetch.is_some()
    }

    #[inline(always)]
    fn prefetch_owned(&self, hash: u64) {
        if let Some(prefetch) = self.prefetch
            && let Some((_, value)) = self.table.guess(hash)
        {
            prefetch(value);
        }
    }

    fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}
