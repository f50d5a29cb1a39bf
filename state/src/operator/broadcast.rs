//! A map of which every subtask has a copy.

use super::redistribute::Redistribution;
use super::{OperatorState, SavedState, load_items, save_item};
use crate::backend::StateBackend;
use crate::heap::Table;
use crate::key::scatter;
use crate::lsm::Fingerprint;
use crate::value::fingerprint;
use crate::{Error, Key, StateValue, ValueError, load_two, store_two};

/// A map of which every subtask has the same copy, because each has seen the same records of a broadcast stream in the same order.
/// Nothing but that order sees to it. Source: Flink's `BroadcastState`.
///
/// ```
/// use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut rules = BroadcastState::<String, u64>::new("rules", &backend)?;
/// rules.put("limit".into(), 100);
/// assert_eq!(rules.get(&"limit".into()), Some(&100));
/// assert_eq!(rules.remove(&"limit".into()), Some(100));
/// assert!(rules.is_empty());
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Debug)]
pub struct BroadcastState<K, V> {
    name: String,
    entries: Table<K, V>,
}

impl<K: Key, V: StateValue> BroadcastState<K, V> {
    /// Registers an empty map with the operator's backend.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name.
    ///
    /// ```
    /// # use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// assert_eq!(BroadcastState::<String, u64>::new("rules", &backend)?.len(), 0);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(name: &str, backend: &StateBackend) -> Result<Self, Error> {
        backend.take_name(name)?;
        Ok(Self { name: name.to_owned(), entries: Table::new() })
    }

    /// The value of a key. O(1), and a hash.
    ///
    /// ```
    /// # use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let rules = BroadcastState::<u64, u64>::new("rules", &backend)?;
    /// assert_eq!(rules.get(&7), None);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(place(key), |k| k == key).map(|(_, value)| value)
    }

    /// Gives a key a value, and returns the one it had. O(1), amortised.
    ///
    /// ```
    /// # use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rules = BroadcastState::<u64, u64>::new("rules", &backend)?;
    /// assert_eq!((rules.put(7, 1), rules.put(7, 2)), (None, Some(1)));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn put(&mut self, key: K, value: V) -> Option<V> {
        if let Some((_, old)) = self.entries.get_mut(place(&key), |k| *k == key) {
            return Some(std::mem::replace(old, value));
        }
        self.entries.entry(place(&key), |_| false, || (key, value));
        None
    }

    /// Takes the value of a key away. O(1).
    ///
    /// ```
    /// # use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rules = BroadcastState::<u64, u64>::new("rules", &backend)?;
    /// rules.put(7, 1);
    /// assert_eq!((rules.remove(&7), rules.remove(&7)), (Some(1), None));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(place(key), |k| k == key).map(|(_, value)| value)
    }

    /// All keys with their values, in no order.
    ///
    /// ```
    /// # use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rules = BroadcastState::<u64, u64>::new("rules", &backend)?;
    /// rules.put(7, 1);
    /// assert_eq!(rules.iter().collect::<Vec<_>>(), [(&7, &1)]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// How many keys have a value. O(1).
    ///
    /// ```
    /// # use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rules = BroadcastState::<u64, u64>::new("rules", &backend)?;
    /// rules.put(7, 1);
    /// assert_eq!(rules.len(), 1);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key has a value. O(1).
    ///
    /// ```
    /// # use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// assert!(BroadcastState::<u64, u64>::new("rules", &backend)?.is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes all values away.
    ///
    /// ```
    /// # use thalweg_state::{BroadcastState, KeyGroupRange, MaxParallelism, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut rules = BroadcastState::<u64, u64>::new("rules", &backend)?;
    /// rules.put(7, 1);
    /// rules.clear();
    /// assert!(rules.is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn clear(&mut self) {
        self.entries = Table::new();
    }

    fn schema() -> Fingerprint {
        fingerprint::<(K, V)>(&["broadcast"])
    }
}

impl<K: Key, V: StateValue> OperatorState for BroadcastState<K, V> {
    /// An item is two parts, the key as [`Key::encode`] writes it and the value, in the order of keys: copies that are equal are
    /// saved alike.
    fn save(&self) -> Result<SavedState, Error> {
        let mut entries: Vec<_> = self.entries.iter().map(|(key, value)| (encoded(key), value)).collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let items = entries.into_iter().map(|(key, value)| {
            let write_key = |out: &mut rkyv::util::AlignedVec<16>| {
                out.extend_from_slice(&key);
                Ok(())
            };
            save_item(&self.name, |out| store_two(out, write_key, |out| value.write(out)))
        });
        Ok(SavedState {
            name: self.name.clone(),
            redistribution: Redistribution::Broadcast,
            schema: Self::schema(),
            items: items.collect::<Result<_, _>>()?,
        })
    }

    fn load(&mut self, saved: &SavedState) -> Result<(), Error> {
        let entries = load_items(saved, Self::schema(), |item| {
            let (key, value) = load_two(item)?;
            let malformed = || ValueError::Malformed { type_name: "broadcast entry", bytes: item.len() };
            let mut rest = key;
            let key = K::decode(&mut rest).map_err(|_| malformed())?;
            if !rest.is_empty() {
                return Err(malformed());
            }
            Ok((key, V::read(value)?))
        })?;
        self.clear();
        for (key, value) in entries {
            self.put(key, value);
        }
        Ok(())
    }
}

fn place<K: Key>(key: &K) -> u64 {
    scatter(key.key_hash())
}

fn encoded<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    bytes
}
