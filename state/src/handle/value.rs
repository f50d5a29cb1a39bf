//! One value under each key.

use super::set::{KeyedState, StateSet};
use super::ttl::TimedValues;
use super::values::Values;
use crate::backend::{StateBackend, StateDescriptor, StateKind};
use crate::context::{Apart, KeyRef};
use crate::{Error, Key, StateValue, Stored, Ttl};

/// One value of type `V` under each key, or none.
///
/// Each method is one look-up, O(1). Source: Flink's `ValueState`, whose `value` and `update` are `get` and `set`.
///
/// With a [`Ttl`](crate::Ttl), `get`, `view` and `contains` are reads; what lends the value to be changed is a read and then
/// a write; all else is a write. Each is then two or three look-ups.
///
/// ```
/// use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
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
    table: Table<K, V>,
    prefetch: Option<fn(&V)>,
}

#[derive(Debug)]
enum Table<K, V> {
    Plain(Values<K, V>),
    Timed(Box<TimedValues<K, V>>),
}

/// A value as the store has it or as memory has it: see [`ValueState::view`].
///
/// ```
/// use thalweg_state::View;
/// assert!(matches!(View::<u64>::Value(&7), View::Value(7)));
/// ```
#[derive(Debug)]
pub enum View<'a, V: StateValue> {
    /// In memory, as it is used.
    Value(&'a V),
    /// In a file's bytes, in place.
    Archived(&'a V::Archived),
}

impl<K: Key, V: Stored> ValueState<K, V> {
    /// Registers the state with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name. O(key groups).
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut count = ValueState::<u64, u32>::new("count", &backend)?;
    /// assert!(count.get(KeyContext::new(&7)).is_none());
    /// assert!(ValueState::<u64, u32>::new("count", &backend).is_err());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(descriptor: impl Into<StateDescriptor>, backend: &StateBackend) -> Result<Self, Error> {
        let StateDescriptor { name, ttl } = descriptor.into();
        let table = match ttl.filter(Ttl::is_enabled) {
            None => Table::Plain(Values::new(&name, backend, StateKind::value::<K, V>())?),
            Some(ttl) => Table::Timed(Box::new(TimedValues::new(&name, ttl, backend)?)),
        };
        Ok(Self { table, prefetch: None })
    }

    /// Fetches ahead what values own elsewhere, as vectors and boxes do: `prefetch` is shown the value of a record that
    /// is about to come (or now and then another one), and asks the processor for the memory that will be read.
    ///
    /// Without it only the values themselves are fetched. Cost: a probe and a call for each record, once the table has
    /// outgrown the cache; worth it where records would wait for memory behind a pointer.
    ///
    /// ```
    /// use thalweg_state::{StateBackend, KeyGroupRange, MaxParallelism, StateSet, ValueState};
    /// let max = MaxParallelism::default();
    /// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut text = ValueState::<u64, String>::new("text", &backend)?;
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
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut last = ValueState::new("last", &backend)?;
    /// last.set(KeyContext::new(&7_u64), 'h');
    /// assert_eq!(last.get(KeyContext::new(&7)), Some(&'h'));
    /// assert_eq!(last.get(KeyContext::new(&8)), None);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get(&mut self, cx: impl KeyRef<K>) -> Option<&V> {
        match &mut self.table {
            Table::Plain(values) => values.get(cx),
            Table::Timed(timed) => timed.get(Apart(cx)),
        }
    }

    /// The key's value, to change in place, or `None` if it has none. Only this handle is borrowed: the context is free meanwhile.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut pages = ValueState::<u64, String>::new("pages", &backend)?;
    /// let cx = KeyContext::new(&7);
    /// assert!(pages.get_mut(cx).is_none());
    /// pages.set(cx, "home".into());
    /// pages.get_mut(cx).unwrap().push_str(", cart");
    /// assert_eq!(pages.get(cx).unwrap(), "home, cart");
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get_mut(&mut self, cx: impl KeyRef<K>) -> Option<&mut V> {
        match &mut self.table {
            Table::Plain(values) => values.get_mut(cx),
            Table::Timed(timed) => timed.get_mut(Apart(cx)),
        }
    }

    /// The key's value, which is `init()` if it had none, to change in place. One look-up.
    ///
    /// ```
    /// use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// let max = MaxParallelism::default();
    /// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut count = ValueState::<u64, u64>::new("count", &backend)?;
    /// *count.get_or_insert_with(KeyContext::new(&7), || 0) += 1;
    /// *count.get_mut(KeyContext::new(&7)).unwrap() += 1;
    /// assert_eq!(count.get(KeyContext::new(&7)), Some(&2));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get_or_insert_with(&mut self, cx: impl KeyRef<K>, init: impl FnOnce() -> V) -> &mut V {
        self.entry(cx, init).1
    }

    /// The same with the key as the state has it: for callers that have it as it lies in a buffer.
    ///
    /// ```
    /// use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// let max = MaxParallelism::default();
    /// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut count = ValueState::<u64, u64>::new("count", &backend)?;
    /// assert_eq!(count.entry(KeyContext::new(&7), || 1), (&7, &mut 1));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline(always)]
    pub fn entry(&mut self, cx: impl KeyRef<K>, init: impl FnOnce() -> V) -> (&K, &mut V) {
        match &mut self.table {
            Table::Plain(values) => values.entry(cx, init),
            Table::Timed(timed) => timed.entry(Apart(cx), init),
        }
    }

    /// Whether the key has a value.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut seen = ValueState::new("seen", &backend)?;
    /// seen.set(KeyContext::new(&'a'), ());
    /// assert!(seen.contains(KeyContext::new(&'a')) && !seen.contains(KeyContext::new(&'b')));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn contains(&mut self, cx: impl KeyRef<K>) -> bool {
        self.get(cx).is_some()
    }

    /// Gives the key a value, in place of the one it had. Source: Flink's `ValueState.update`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut last = ValueState::new("last", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// last.set(cx, 'a');
    /// last.set(cx, 'b');
    /// assert_eq!(last.get(cx), Some(&'b'));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn set(&mut self, cx: impl KeyRef<K>, value: V) {
        match &mut self.table {
            Table::Plain(values) => values.set(cx, value),
            Table::Timed(timed) => timed.set(Apart(cx), value),
        }
    }

    /// Changes the key's value, which is `init()` if it had none, and returns what `f` does. One look-up.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut count = ValueState::<char, u32>::new("count", &backend)?;
    /// let mut seen = |c: char| count.update_with(KeyContext::new(&c), || 0, |n| { *n += 1; *n });
    /// assert_eq!(['a', 'b', 'a'].map(&mut seen), [1, 1, 2]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline(always)]
    pub fn update_with<R>(
        &mut self,
        cx: impl KeyRef<K>,
        init: impl FnOnce() -> V,
        f: impl FnOnce(&mut V) -> R,
    ) -> R {
        f(self.get_or_insert_with(cx, init))
    }

    /// Changes the key's value, which is `init()` if it had none, and lends it with its key: for rows that are sent on.
    ///
    /// ```
    /// # use thalweg_state::{KeyContext, KeyGroupRange, MaxParallelism, StateBackend, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut count = ValueState::<char, u32>::new("count", &backend)?;
    /// assert_eq!(count.update_row(KeyContext::new(&'a'), || 0, |n| *n += 1), &('a', 1));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline(always)]
    pub fn update_row(
        &mut self,
        cx: impl KeyRef<K>,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&mut V),
    ) -> &(K, V) {
        match &mut self.table {
            Table::Plain(values) => values.update_row(cx, init, change),
            Table::Timed(timed) => timed.update_row(Apart(cx), init, change),
        }
    }

    /// Makes the key's value of `item` if it has none, or else changes it by `item`, and lends it. One look-up. For items that are
    /// moved in, either way.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
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
        cx: impl KeyRef<K>,
        item: I,
        make: impl FnOnce(I) -> V,
        change: impl FnOnce(&mut V, I),
    ) -> &V {
        let mut item = Some(item);
        let init = || make(item.take().expect("a value is made once"));
        let (_, value) = match &mut self.table {
            Table::Plain(values) => values.entry(cx, init),
            Table::Timed(timed) => timed.entry(Apart(cx), init),
        };
        if let Some(item) = item {
            change(value, item);
        }
        value
    }

    /// Takes the key's value away. The key then has no entry, and takes no memory.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut waiting = ValueState::new("waiting", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// waiting.set(cx, 'o');
    /// assert_eq!((waiting.take(cx), waiting.take(cx)), (Some('o'), None));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn take(&mut self, cx: impl KeyRef<K>) -> Option<V> {
        match &mut self.table {
            Table::Plain(values) => values.take(cx),
            Table::Timed(timed) => timed.take(Apart(cx)),
        }
    }

    /// Drops the key's value, if it has one. Source: Flink's `State.clear`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, ValueState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut last = ValueState::new("last", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// last.set(cx, 'a');
    /// last.clear(cx);
    /// assert!(!last.contains(cx));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn clear(&mut self, cx: impl KeyRef<K>) {
        match &mut self.table {
            Table::Plain(values) => values.clear(cx),
            Table::Timed(timed) => timed.clear(Apart(cx)),
        }
    }
}

impl<K: Key, V: StateValue> ValueState<K, V> {
    /// The key's value where it lies: as it is, or as the archive that a file holds, which is then neither copied nor decoded.
    ///
    /// ```
    /// # use thalweg_state::{KeyContext, KeyGroupRange, MaxParallelism, StateBackend, ValueState, View};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut name = ValueState::<u64, String>::new("name", &backend)?;
    /// name.set(KeyContext::new(&7), "seven".into());
    /// let length = match name.view(KeyContext::new(&7)) {
    ///     Some(View::Value(name)) => name.len(),
    ///     Some(View::Archived(name)) => name.len(),
    ///     None => 0,
    /// };
    /// assert_eq!(length, 5);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn view(&mut self, cx: impl KeyRef<K>) -> Option<View<'_, V>> {
        match &mut self.table {
            Table::Plain(values) => values.look(cx, View::Value, |bytes| V::view(bytes).map(View::Archived)),
            Table::Timed(timed) => timed.view(Apart(cx)),
        }
    }
}

impl<K: Key, V: Stored> StateSet for ValueState<K, V> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        match &self.table {
            Table::Plain(values) => values.prefetch(hash),
            Table::Timed(timed) => timed.prefetch(hash),
        }
    }

    fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        match &mut self.table {
            Table::Plain(values) => f(values.table()),
            Table::Timed(timed) => timed.each(f),
        }
    }

    fn owns(&self) -> bool {
        self.prefetch.is_some()
    }

    #[inline(always)]
    fn prefetch_owned(&self, hash: u64) {
        let Some(prefetch) = self.prefetch else { return };
        let value = match &self.table {
            Table::Plain(values) => values.guess(hash),
            Table::Timed(timed) => timed.guess(hash),
        };
        value.into_iter().for_each(prefetch);
    }

    fn memory_bytes(&self) -> usize {
        match &self.table {
            Table::Plain(values) => values.memory_bytes(),
            Table::Timed(timed) => timed.memory_bytes(),
        }
    }
}
