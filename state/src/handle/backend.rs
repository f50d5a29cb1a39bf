//! The heap backend of one operator in one subtask, and what handles need of it.

use crate::heap::KeyedTable;
use crate::{Error, Key, KeyGroupRange, MaxParallelism};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// What a state is called, and so where a savepoint keeps it.
///
/// ```
/// use thalweg_state::StateDescriptor;
/// assert_eq!(StateDescriptor::new("count").name, "count");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDescriptor {
    /// Unique within the operator, and the same in every run of the job.
    pub name: String,
}

impl StateDescriptor {
    /// A state called `name`. Wherever a descriptor is asked for, the name alone will do.
    ///
    /// ```
    /// use thalweg_state::StateDescriptor;
    /// assert_eq!(StateDescriptor::new("count"), "count".into());
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl From<&str> for StateDescriptor {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// State in memory: the backend of one operator in one subtask, which makes the tables of its handles.
///
/// ```
/// use thalweg_state::{Error, HeapBackend, KeyGroupRange, MaxParallelism, ValueState};
/// let max = MaxParallelism::default();
/// let backend = HeapBackend::new(KeyGroupRange::all(max), max);
/// let count = ValueState::<u64, u64>::new("count", &backend)?;
/// let again = ValueState::<u64, u64>::new("count", &backend);
/// assert!(matches!(again, Err(Error::DuplicateState { name }) if name == "count"));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct HeapBackend {
    key_groups: KeyGroupRange,
    max_parallelism: MaxParallelism,
    names: RefCell<BTreeSet<String>>,
}

impl HeapBackend {
    /// A backend for `key_groups`, which come from [`range_of`](crate::range_of).
    ///
    /// Panics if there are none of that number under `max_parallelism`.
    ///
    /// ```
    /// use thalweg_state::{HeapBackend, KeyGroupRange, MaxParallelism, range_of};
    /// let max = MaxParallelism::default();
    /// let second_of_two = HeapBackend::new(range_of(1, max, 2), max);
    /// assert_eq!(second_of_two.key_groups(), KeyGroupRange { start: 64, end: 128 });
    /// ```
    pub fn new(key_groups: KeyGroupRange, max_parallelism: MaxParallelism) -> Self {
        assert!(
            u32::from(key_groups.end) <= max_parallelism.get(),
            "{key_groups:?} with a maximal parallelism of {}",
            max_parallelism.get()
        );
        Self { key_groups, max_parallelism, names: RefCell::default() }
    }

    /// The key groups of the subtask. A key of another group is a bug: a handle that is asked for it panics.
    ///
    /// ```
    /// use thalweg_state::{HeapBackend, KeyGroupRange, MaxParallelism};
    /// let max = MaxParallelism::new(16)?;
    /// assert_eq!(HeapBackend::new(KeyGroupRange::all(max), max).key_groups().len(), 16);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn key_groups(&self) -> KeyGroupRange {
        self.key_groups
    }

    /// The job's maximal parallelism: how many key groups there are in all subtasks together.
    ///
    /// ```
    /// use thalweg_state::{HeapBackend, KeyGroupRange, MaxParallelism};
    /// let max = MaxParallelism::default();
    /// let backend = HeapBackend::new(KeyGroupRange { start: 0, end: 1 }, max);
    /// assert_eq!(backend.max_parallelism().get(), 128);
    /// ```
    pub fn max_parallelism(&self) -> MaxParallelism {
        self.max_parallelism
    }

    /// An empty table for a state of that name. Errors: [`Error::DuplicateState`] if the name is taken.
    pub(super) fn table<K, V>(&self, descriptor: StateDescriptor) -> Result<KeyedTable<K, V>, Error> {
        let StateDescriptor { name } = descriptor;
        if !self.names.borrow_mut().insert(name.clone()) {
            return Err(Error::DuplicateState { name });
        }
        Ok(KeyedTable::new(self.key_groups, self.max_parallelism))
    }
}

/// The key that is being worked for, and its hash, as they came with the record.
///
/// ```
/// use thalweg_state::KeyContext;
/// let cx = KeyContext::new(&7_u64);
/// let same = KeyContext { key: &7_u64, hash: cx.hash };
/// assert_eq!(same.key, cx.key);
/// ```
pub struct KeyContext<'a, K> {
    /// The key.
    pub key: &'a K,
    /// Its [`Key::key_hash`], and nothing else.
    pub hash: u64,
}

impl<'a, K: Key> KeyContext<'a, K> {
    /// The context of a key whose hash is not at hand. On the record path it is. Costs a hash, some ns.
    ///
    /// ```
    /// use thalweg_state::{Key, KeyContext};
    /// assert_eq!(KeyContext::new(&7_u64).hash, 7_u64.key_hash());
    /// ```
    pub fn new(key: &'a K) -> Self {
        Self { key, hash: key.key_hash() }
    }
}

impl<K> Clone for KeyContext<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for KeyContext<'_, K> {}

impl<K: fmt::Debug> fmt::Debug for KeyContext<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyContext").field("key", &self.key).field("hash", &self.hash).finish()
    }
}
