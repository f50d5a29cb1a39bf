//! A map under each key.
//!
//! ```text
//!   heap    key ─▶ SmallMap
//!   files   key ─▶ cell: entries that have changed ─▶ head: all entries of a small map, or its generation ─▶ entries by key
//! ```
//!
//! - `head`: what files hold under the key of a map;
//! - `cell`: what memory has of it; `split`: whether that is small;
//! - `filter`: what compactions drop of it; `expiry`: the same where entries expire;
//! - `maps`: maps on the heap or over a store; `spilled`: the latter; `iter`: their entries; `lookahead`: what of them is brought in ahead.

mod cell;
mod expiry;
mod filter;
mod head;
mod iter;
mod lookahead;
mod maps;
mod spilled;
mod split;
#[cfg(test)]
mod tests;

use super::set::{KeyedState, StateSet};
use super::ttl::TimedMaps;
use crate::backend::{StateBackend, StateDescriptor};
use crate::context::{Apart, KeyRef};
use crate::{Error, Key, StateValue, Ttl};
pub(super) use expiry::MapExpiry;
use filter::MapFilter;
pub use iter::MapIter;
pub(super) use maps::Maps;
use std::sync::Arc;

/// A map from `UK` to `UV` under each key.
///
/// A key that has none has the empty map. Methods that are for one entry are a look-up of the key and one in its map, O(1), and so is
/// `clear`. The order of iteration is unspecified. Source: Flink's `MapState`.
///
/// With a [`Ttl`](crate::Ttl) each entry lives for itself. `get` and `contains` are reads, `iter` and `len` read all entries; `update_with`
/// is a read and then a write, `take` a read that changes nothing else. What has expired counts for `is_empty` until it is cleared away.
///
/// State in files: a map of up to 1 KiB is one value, which is looked up ahead, and so is one of up to 4 KiB if maps are read as wholes more often
/// than changed. Of a larger one each entry is written by itself when it has changed, and nothing is read to put or remove
/// one. Its entries are brought in ahead if they take no more than 16 KiB of a file; otherwise whoever reads an entry that is
/// not in memory waits for it, which is counted.
///
/// ```
/// use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MapState, MaxParallelism};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut visits = MapState::<u64, String, u32>::new("visits", &backend)?;
/// let (cx, page) = (KeyContext::new(&7), String::from("/home"));
/// visits.update_with(cx, &page, || 0, |count| *count += 1);
/// assert_eq!(visits.get(cx, &page), Some(&1));
/// assert_eq!(visits.iter(cx).map(|(page, count)| page.len() as u32 + *count).sum::<u32>(), 6);
/// assert_eq!(visits.take(cx, &page), Some(1));
/// assert!(visits.is_empty(cx));
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Debug)]
pub struct MapState<K, UK, UV> {
    table: Table<K, UK, UV>,
}

#[derive(Debug)]
enum Table<K, UK, UV> {
    Plain(Maps<K, UK, UV>),
    Timed(Box<TimedMaps<K, UK, UV>>),
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
        let StateDescriptor { name, ttl } = descriptor.into();
        let table = match ttl.filter(Ttl::is_enabled) {
            None => Table::Plain(Maps::new(&name, backend, &["map"], Arc::new(MapFilter::<K>::new()))?),
            Some(ttl) => Table::Timed(Box::new(TimedMaps::new(&name, ttl, backend)?)),
        };
        Ok(Self { table })
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
        match &mut self.table {
            Table::Plain(maps) => maps.get(cx, user_key),
            Table::Timed(timed) => timed.get(Apart(cx), user_key),
        }
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

    /// Puts a value under `user_key`, in place of the one that was there, which is not read.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rates = MapState::new("rates", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// rates.put(cx, 'a', 0.5);
    /// rates.put(cx, 'a', 0.7);
    /// assert_eq!(rates.get(cx, &'a'), Some(&0.7));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn put(&mut self, cx: impl KeyRef<K>, user_key: UK, value: UV) {
        match &mut self.table {
            Table::Plain(maps) => maps.put(cx, user_key, value),
            Table::Timed(timed) => timed.put(Apart(cx), user_key, value),
        }
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
        match &mut self.table {
            Table::Plain(maps) => maps.update_with(cx, user_key, init, f),
            Table::Timed(timed) => timed.update_with(Apart(cx), user_key, init, f),
        }
    }

    /// Takes the entry of `user_key` away, if there is one, which is not read.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rates = MapState::new("rates", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// rates.put(cx, 'a', 0.5);
    /// rates.remove(cx, &'a');
    /// rates.remove(cx, &'b');
    /// assert!(rates.is_empty(cx));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    #[inline]
    pub fn remove(&mut self, cx: impl KeyRef<K>, user_key: &UK) {
        match &mut self.table {
            Table::Plain(maps) => maps.remove(cx, user_key),
            Table::Timed(timed) => timed.remove(Apart(cx), user_key),
        }
    }

    /// Takes the entry of `user_key` away, and returns its value.
    ///
    /// ```
    /// # use thalweg_state::{StateBackend, KeyContext, KeyGroupRange, MaxParallelism, MapState};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rates = MapState::new("rates", &backend)?;
    /// let cx = KeyContext::new(&7_u64);
    /// rates.put(cx, 'a', 0.5);
    /// assert_eq!((rates.take(cx, &'a'), rates.take(cx, &'a')), (Some(0.5), None));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn take(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> Option<UV> {
        match &mut self.table {
            Table::Plain(maps) => maps.take(cx, user_key),
            Table::Timed(timed) => timed.take(Apart(cx), user_key),
        }
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
        match &mut self.table {
            Table::Plain(maps) => maps.is_empty(cx),
            Table::Timed(timed) => timed.is_empty(Apart(cx)),
        }
    }

    /// How many entries the key's map has. O(1) on the heap; in files they are counted, which reads them all.
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
        match &mut self.table {
            Table::Plain(maps) => maps.len(cx),
            Table::Timed(timed) => timed.iter(Apart(cx)).count(),
        }
    }

    /// The entries of the key's map, in no particular order: lent by memory, or made of what files hold. The map may be larger than
    /// memory. Source: Flink's `entries`.
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
    /// let odd: u64 = squares.iter(cx).filter(|(n, _)| **n % 2 == 1).map(|(_, square)| *square).sum();
    /// assert_eq!(odd, 1 + 9 + 25 + 49 + 81);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn iter(&mut self, cx: impl KeyRef<K>) -> MapIter<'_, UK, UV> {
        match &mut self.table {
            Table::Plain(maps) => maps.iter(cx),
            Table::Timed(timed) => timed.iter(Apart(cx)),
        }
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
        match &mut self.table {
            Table::Plain(maps) => maps.clear(cx),
            Table::Timed(timed) => timed.clear(Apart(cx)),
        }
    }
}

impl<K: Key, UK: Key, UV: StateValue> StateSet for MapState<K, UK, UV> {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        match &self.table {
            Table::Plain(maps) => maps.prefetch(hash),
            Table::Timed(timed) => timed.prefetch(hash),
        }
    }

    fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        match &mut self.table {
            Table::Plain(maps) => f(maps.table()),
            Table::Timed(timed) => timed.each(f),
        }
    }

    fn memory_bytes(&self) -> usize {
        match &self.table {
            Table::Plain(maps) => maps.memory_bytes(),
            Table::Timed(timed) => timed.memory_bytes(),
        }
    }
}
