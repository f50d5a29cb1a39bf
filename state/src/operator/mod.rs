//! Operator state: what an operator remembers apart from its keys, such as the splits a source reads or the rules it was sent.
//!
//! ```text
//!   handle ── save ──▶ SavedState, of each subtask ── redistribute ──▶ of each new subtask ── load ──▶ handle
//! ```
//!
//! In reading order: `list`, [`OperatorListState`], whose items are split among the new subtasks or given to all of them; `broadcast`,
//! [`BroadcastState`], of which every subtask has a copy; `redistribute`, which says who gets what.
//!
//! Invariants:
//! - it is on the heap, whatever the backend: small, and read as a whole;
//! - what a subtask has saved is loaded by some subtask, whatever the parallelism then is.
//!
//! Source: Flink's `OperatorStateStore`.

mod broadcast;
mod list;
mod redistribute;

use rkyv::util::AlignedVec;

pub use broadcast::BroadcastState;
pub use list::OperatorListState;
pub use redistribute::{Redistribution, redistribute};

use crate::lsm::Fingerprint;
use crate::{Error, ValueError};

/// An operator state as a snapshot has it: items that nobody but its type understands.
///
/// ```
/// use thalweg_state::{KeyGroupRange, MaxParallelism, OperatorListState, OperatorState, Redistribution, StateBackend};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut offsets = OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend)?;
/// offsets.add(7);
/// let saved = offsets.save()?;
/// assert_eq!((saved.name.as_str(), saved.items.len()), ("offsets", 1));
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// Unique among the operator's states.
    pub name: String,
    /// Who gets it.
    pub redistribution: Redistribution,
    /// What tells its type from others.
    pub schema: Fingerprint,
    /// Each as its type writes it.
    pub items: Vec<Vec<u8>>,
}

/// A state that can be saved and loaded. Implemented by [`OperatorListState`] and [`BroadcastState`].
///
/// ```
/// use thalweg_state::{Error, KeyGroupRange, MaxParallelism, OperatorListState, OperatorState, Redistribution, StateBackend};
/// let max = MaxParallelism::default();
/// let backend = |subtask| StateBackend::heap(KeyGroupRange { start: subtask, end: subtask + 1 }, max);
/// let mut old = OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend(0))?;
/// old.update(vec![1, 2]);
/// let mut new = OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend(1))?;
/// new.load(&old.save()?)?;
/// assert_eq!(new.get(), [1, 2]);
///
/// let mut other = OperatorListState::<String>::new("offsets", Redistribution::Split, &backend(2))?;
/// assert!(matches!(other.load(&old.save()?), Err(Error::Store(_)))); // Another schema.
/// # Ok::<(), Error>(())
/// ```
pub trait OperatorState {
    /// What a snapshot shall have of it. O(its size).
    ///
    /// Errors: a value cannot be serialised.
    fn save(&self) -> Result<SavedState, Error>;

    /// Takes what a snapshot has of it, in place of what is here.
    ///
    /// Errors: it was saved with another schema, or its bytes are not what `save` writes; what is here is then as it was.
    fn load(&mut self, saved: &SavedState) -> Result<(), Error>;
}

/// What `saved` has, item by item, if it is of that schema.
fn load_items<T>(
    saved: &SavedState,
    registered: Fingerprint,
    load: impl Fn(&[u8]) -> Result<T, ValueError>,
) -> Result<Vec<T>, Error> {
    let (name, schema) = (saved.name.clone(), saved.schema);
    if schema != registered {
        return Err(crate::lsm::Error::SchemaMismatch { name, saved: schema, registered }.into());
    }
    let mut aligned = AlignedVec::<16>::new();
    let items = saved.items.iter().map(|item| {
        aligned.clear();
        aligned.extend_from_slice(item);
        load(&aligned)
    });
    let items: Result<_, ValueError> = items.collect();
    items.map_err(|source| Error::Value { state: name, source })
}

/// The bytes of an item.
fn save_item(
    name: &str,
    write: impl FnOnce(&mut AlignedVec<16>) -> Result<(), ValueError>,
) -> Result<Vec<u8>, Error> {
    let mut bytes = AlignedVec::new();
    write(&mut bytes).map_err(|source| Error::Value { state: name.to_owned(), source })?;
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests;
