//! What can go wrong in a store.

use super::key::StateId;
use super::sst::{SstError, WriteError};
use super::{FileNumber, Fingerprint, ManifestError, OptionError};
use crate::storage::StorageError;
use std::path::PathBuf;

/// What can go wrong in a store.
///
/// ```
/// use thalweg_state::lsm::{Error, key::StateId};
/// let error = Error::NoMergeOperator { state: StateId(3) };
/// assert!(error.to_string().starts_with("state 3 has operands"));
/// ```
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum Error {
    /// A file holds operands of a state that was registered without a merge operator.
    #[error("state {} has operands to be merged, but is not registered as a list or an aggregate", .state.0)]
    NoMergeOperator { state: StateId },
    /// Bytes that were given to a merge operator are not what its state holds.
    #[error("an operand or a value of state {} is malformed", .state.0)]
    Operand { state: StateId },
    /// A file holds entries of a state of which neither it nor another file says anything.
    #[error("there are entries of state {}, which is not registered, and which no file names", .state.0)]
    UnknownState { state: StateId },
    /// A key takes more bytes than files can say.
    #[error("a key of state {} takes more than 65535 bytes", .state.0)]
    KeyTooLong { state: StateId },
    /// A value cannot be written.
    #[error("a value of state {} cannot be written", .state.0)]
    Value { state: StateId, source: crate::ValueError },
    /// Not an error of the store: the part is asked for, and the operation may be repeated when it is there.
    #[error("file {file} has a part that is not in memory yet")]
    Cold { file: FileNumber },
    /// Settings that cannot be.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// Where the files are.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What says which files there are.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The bytes are not those that were written. Go back to the last checkpoint.
    #[error("SST {path} is damaged", path = path.display())]
    Damaged { path: PathBuf, source: SstError },
    /// An entry does not fit the format: its key is too long, or its value.
    #[error("an entry cannot be stored")]
    Entry(#[from] WriteError),
    /// The state was saved with another type than the job registers now.
    #[error("state {name:?} was saved with schema {saved}, the job registers {registered}")]
    SchemaMismatch { name: String, saved: Fingerprint, registered: Fingerprint },
    /// As `SchemaMismatch`, but it is where its values start.
    #[error(
        "values of state {name:?} were saved at multiples of {saved} bytes, the job registers {registered}"
    )]
    AlignMismatch { name: String, saved: usize, registered: usize },
    /// Snapshots that cannot be one store: their keys would mean different states. A canonical savepoint has no ids.
    #[error("state {name:?} has id {id} in one place, where {other:?} has id {other_id} in another", id = .id.0, other_id = .other_id.0)]
    StateIds { name: String, id: StateId, other: String, other_id: StateId },
    /// Two operators would have the same keys.
    #[error("state {name:?} is registered twice")]
    StateTwice { name: String },
    /// There are 65536 states.
    #[error("no id is left for another state")]
    StatesFull,
    /// Another store's snapshots are there.
    #[error("{path} holds files of store {found:016x}, not of {store:016x}: choose another place", path = path.display())]
    Foreign { path: PathBuf, found: u64, store: u64 },
    /// A store is restored where nothing is yet.
    #[error("{path} holds a store already: restore into an empty place", path = path.display())]
    NotEmpty { path: PathBuf },
}

impl Error {
    /// For the part of a file that is not there.
    pub(super) fn is_cold(&self) -> bool {
        matches!(self, Self::Cold { .. })
    }
}
