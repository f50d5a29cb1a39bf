//! A map under each key.

use super::set::{KeyedState, StateSet};
use super::small_map::{SmallIter, SmallMap};
use super::value::ValueState;
use crate::backend::{StateBackend, StateDescriptor};
use crate::context::KeyRef;
use crate::lsm::Fingerprint;
use crate::lsm::sst::ValueAlign;
use crate::value::{ValueBytes, fingerprint, load_two, store_two};
use crate::{Error, Key, StateValue, Stored, ValueError};

/// A map from `UK` to `UV` under each key.
///
/// A key that has none has the empty map. Each method is a look-up of the key and one in its map, O(1); a map of up to
/// 8 entries is a plain list. The order of iteration is unspecified. Source: Flink's `MapState`.
///
/// ```
/// use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MapState, MaxParallelism};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut visits = MapState::<u64, String, u32>::new("visits", &backend)?;
/// let (cx, page) = (KeyContext::new(&7), String::from("/home"));
/// visits.update_with(cx, &page, || 0, |count| *count += 1);
/// assert_eq!(visits.get(cx, &page), Some(&1));
/// assert_eq!(visits.iter(cx).collect::<Vec<_>>(), [(&page, &1)]);
/// assert_eq!(visits.remove(cx, &page), Some(1));
/// assert!(visits.is_empty(cx));
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Debug)]
pub struct MapState<K, UK, UV> {
    /// No map in it is empty.
    maps: ValueState<K, SmallMap<UK, UV>>,
}

impl<K: Key, UK: Key, UV: StateValue> MapState<K, UK, UV> {
    /// Registers the state with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name. O(key groups).
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut visits = MapState::<u64, String, u32>::new("visits", &backend)?;
    /// assert!(visits.is_empty(KeyContext::new(&7)));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(descriptor: impl Into<StateDescriptor>, backend: &StateBackend) -> Result<Self, Error> {
        Ok(Self { maps: ValueState::new(descriptor, backend)? })
    }

    /// The value of `user_key` in the key's map, or `None` if it has none.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rates = MapState::new("rates", &backend)?;
    /// rates.put(KeyContext::new(&'a'), 1_u64, 0.5);
    /// assert_eq!(rates.get(KeyContext::new(&'a'), &1), Some(&0.5));
    /// assert_eq!(rates.get(KeyContext::new(&'b'), &1), None); // Another key's map.
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn get(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> Option<&UV> {
        self.map(cx)?.get(user_key)
    }

    /// Whether the key's map has `user_key`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut seen = MapState::new("seen", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// seen.put(cx, 'a', ());
    /// assert!(seen.contains(cx, &'a') && !seen.contains(cx, &'b'));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn contains(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> bool {
        self.get(cx, user_key).is_some()
    }

    /// Puts a value under `user_key`, and returns the one that was there.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rates = MapState::new("rates", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// assert_eq!(rates.put(cx, 'a', 0.5), None);
    /// assert_eq!(rates.put(cx, 'a', 0.7), Some(0.5));
    /// assert_eq!(rates.len(cx), 1);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn put(&mut self, cx: impl KeyRef<K>, user_key: UK, value: UV) -> Option<UV> {
        let mut value = Some(value);
        let make = || value.take().expect("it is made once");
        let slot = self.map_mut(cx).entry(&user_key, make);
        value.map(|value| std::mem::replace(slot, value))
    }

    /// Changes the value under `user_key`, which is `init()` if there was none, and returns what `f` does.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut visits = MapState::<u64, char, u32>::new("visits", &backend)?;
    /// let mut visit = |page| visits.update_with(KeyContext::new(&7), &page, || 0, |count| { *count += 1; *count });
    /// assert_eq!(['a', 'b', 'a'].map(&mut visit), [1, 1, 2]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn update_with<R>(
        &mut self,
        cx: impl KeyRef<K>,
        user_key: &UK,
        init: impl FnOnce() -> UV,
        f: impl FnOnce(&mut UV) -> R,
    ) -> R {
        f(self.map_mut(cx).entry(user_key, init))
    }

    /// Takes the value under `user_key` away. With its last entry the map itself is gone.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rates = MapState::new("rates", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// rates.put(cx, 'a', 0.5);
    /// assert_eq!((rates.remove(cx, &'a'), rates.remove(cx, &'a')), (Some(0.5), None));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn remove(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> Option<UV> {
        let map = self.maps.get_mut(cx)?;
        let removed = map.remove(user_key);
        if map.len() == 0 {
            self.clear(cx);
        }
        removed
    }

    /// Whether the key's map is empty.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rates = MapState::new("rates", &backend)?;
    /// rates.put(KeyContext::new(&7_u64), 'a', 0.5);
    /// assert!(!rates.is_empty(KeyContext::new(&7)) && rates.is_empty(KeyContext::new(&8)));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn is_empty(&mut self, cx: impl KeyRef<K>) -> bool {
        self.len(cx) == 0
    }

    /// How many entries the key's map has. O(1).
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut squares = MapState::new("squares", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// for n in 0..10_u64 {
    ///     squares.put(cx, n, n * n);
    /// }
    /// assert_eq!(squares.len(cx), 10);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn len(&mut self, cx: impl KeyRef<K>) -> usize {
        self.map(cx).map_or(0, SmallMap::len)
    }

    /// The entries of the key's map, in no particular order. Source: Flink's `entries`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut squares = MapState::new("squares", &backend)?;
    /// let cx = KeyContext::new(&'k');
    /// for n in 0..10_u64 {
    ///     squares.put(cx, n, n * n);
    /// }
    /// let odd: u64 = squares.iter(cx).filter(|(n, _)| *n % 2 == 1).map(|(_, square)| square).sum();
    /// assert_eq!(odd, 1 + 9 + 25 + 49 + 81);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn iter(&mut self, cx: impl KeyRef<K>) -> MapIter<'_, UK, UV> {
        MapIter { entries: self.map(cx).map(SmallMap::iter) }
    }

    /// Drops the key's map. Source: Flink's `State.clear`.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rates = MapState::new("rates", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// rates.put(cx, 'a', 0.5);
    /// rates.clear(cx);
    /// assert!(rates.is_empty(cx));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn clear(&mut self, cx: impl KeyRef<K>) {
        self.maps.clear(cx);
    }

    #[inline(always)]
    fn map(&mut self, cx: impl KeyRef<K>) -> Option<&SmallMap<UK, UV>> {
        self.maps.get(cx)
    }

    #[inline(always)]
    fn map_mut(&mut self, cx: impl KeyRef<K>) -> &mut SmallMap<UK, UV> {
        self.maps.get_or_insert_with(cx, SmallMap::new)
    }
}

impl<K: Key, UK: Key, UV: StateValue> StateSet for MapState<K, UK, UV> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.maps.prefetch(hash);
    }

    fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        self.maps.each(f);
    }

    fn memory_bytes(&self) -> usize {
        self.maps.memory_bytes()
    }
}

impl<UK: Key, UV: StateValue> Stored for SmallMap<UK, UV> {
    fn schema() -> Fingerprint {
        fingerprint::<(UK, UV)>(&["map"])
    }

    fn align() -> ValueAlign {
        ValueAlign::Sixteen
    }

    /// The keys, and the values as one archive.
    fn store(&self, out: &mut ValueBytes) -> Result<(), ValueError> {
        let mut keys = Vec::new();
        self.iter().for_each(|(key, _)| key.encode(&mut keys));
        let values: Vec<UV> = self.iter().map(|(_, value)| value.clone()).collect();
        let append = |out: &mut ValueBytes| {
            out.extend_from_slice(&keys);
            Ok(())
        };
        store_two(out, append, |out| UV::write_list(&values, out))
    }

    fn load(bytes: &[u8]) -> Result<Self, ValueError> {
        let (mut keys, values) = load_two(bytes)?;
        let mut map = Self::new();
        for value in UV::view_list(values)? {
            let malformed =
                |_| ValueError::Malformed { type_name: std::any::type_name::<UK>(), bytes: keys.len() };
            let key = UK::decode(&mut keys).map_err(malformed)?;
            let value = UV::make(value)?;
            map.entry(&key, || value);
        }
        if !keys.is_empty() {
            return Err(ValueError::Malformed { type_name: "map", bytes: bytes.len() });
        }
        Ok(map)
    }
}

/// The entries of one key's map: made by [`MapState::iter`].
#[derive(Clone)]
pub struct MapIter<'a, UK, UV> {
    entries: Option<SmallIter<'a, UK, UV>>,
}

impl<'a, UK, UV> Iterator for MapIter<'a, UK, UV> {
    type Item = (&'a UK, &'a UV);
    fn next(&mut self) -> Option<Self::Item> {
        self.entries.as_mut()?.next()
    }
}
