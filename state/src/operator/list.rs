//! A list of items that any subtask could have.

use super::redistribute::Redistribution;
use super::{OperatorState, SavedState, load_items, save_item};
use crate::backend::StateBackend;
use crate::lsm::Fingerprint;
use crate::value::fingerprint;
use crate::{Error, StateValue};

/// A list of items of type `T` for each subtask, whatever the keys. Source: Flink's `OperatorStateStore.getListState` and
/// `getUnionListState`.
///
/// ```
/// use thalweg_state::{KeyGroupRange, MaxParallelism, OperatorListState, Redistribution, StateBackend};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut offsets = OperatorListState::<(u32, u64)>::new("offsets", Redistribution::Union, &backend)?;
/// offsets.add((0, 100));
/// offsets.add((1, 200));
/// assert_eq!(offsets.get(), [(0, 100), (1, 200)]);
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Debug)]
pub struct OperatorListState<T> {
    name: String,
    redistribution: Redistribution,
    items: Vec<T>,
}

impl<T: StateValue> OperatorListState<T> {
    /// Registers an empty list with the operator's backend. What is saved of it goes to the new subtasks as `redistribution` says:
    /// [`Redistribution::Split`] for Flink's list state, [`Redistribution::Union`] for its union list state.
    ///
    /// Errors: [`Error::DuplicateState`] if the operator has another state of that name.
    ///
    /// ```
    /// # use thalweg_state::{KeyGroupRange, MaxParallelism, OperatorListState, Redistribution, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend)?;
    /// assert!(OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend).is_err());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn new(name: &str, redistribution: Redistribution, backend: &StateBackend) -> Result<Self, Error> {
        backend.take_name(name)?;
        Ok(Self { name: name.to_owned(), redistribution, items: Vec::new() })
    }

    /// All items. O(1).
    ///
    /// ```
    /// # use thalweg_state::{KeyGroupRange, MaxParallelism, OperatorListState, Redistribution, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let offsets = OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend)?;
    /// assert!(offsets.get().is_empty());
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn get(&self) -> &[T] {
        &self.items
    }

    /// Appends an item. O(1), amortised.
    ///
    /// ```
    /// # use thalweg_state::{KeyGroupRange, MaxParallelism, OperatorListState, Redistribution, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut offsets = OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend)?;
    /// offsets.add(7);
    /// assert_eq!(offsets.get(), [7]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn add(&mut self, item: T) {
        self.items.push(item);
    }

    /// Puts other items in place of all there are; none to clear it.
    ///
    /// ```
    /// # use thalweg_state::{KeyGroupRange, MaxParallelism, OperatorListState, Redistribution, StateBackend};
    /// # let max = MaxParallelism::default();
    /// # let backend = StateBackend::heap(KeyGroupRange::all(max), max);
    /// let mut offsets = OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend)?;
    /// offsets.add(7);
    /// offsets.update(vec![8, 9]);
    /// assert_eq!(offsets.get(), [8, 9]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn update(&mut self, items: Vec<T>) {
        self.items = items;
    }

    fn schema() -> Fingerprint {
        fingerprint::<T>(&["operator list"])
    }
}

impl<T: StateValue> OperatorState for OperatorListState<T> {
    fn save(&self) -> Result<SavedState, Error> {
        let items = self.items.iter().map(|item| save_item(&self.name, |out| item.write(out)));
        Ok(SavedState {
            name: self.name.clone(),
            redistribution: self.redistribution,
            schema: Self::schema(),
            items: items.collect::<Result<_, _>>()?,
        })
    }

    fn load(&mut self, saved: &SavedState) -> Result<(), Error> {
        self.items = load_items(saved, Self::schema(), T::read)?;
        Ok(())
    }
}
