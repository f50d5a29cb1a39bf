//! What can go wrong in this crate.

/// What can go wrong with state.
///
/// ```
/// use thalweg_state::{Error, MaxParallelism};
/// assert!(matches!(MaxParallelism::new(0), Err(Error::MaxParallelism { given: 0 })));
/// ```
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum Error {
    /// Two states of one operator have the same name, which a savepoint could not tell apart.
    #[error("state {name:?} is registered twice in one operator")]
    DuplicateState { name: String },
    /// The maximal parallelism is not one of 1 to 32768.
    #[error("a maximal parallelism of {given} is not in 1..=32768")]
    MaxParallelism { given: u32 },
    /// The bytes are not those of such a key.
    #[error("the bytes of a key are not valid")]
    Key(#[from] crate::KeyError),
    /// A store of files has failed.
    #[error(transparent)]
    Store(#[from] crate::lsm::Error),
    /// A file holds what is not a value of the state, or a value cannot be written.
    #[error("state {state:?} holds what cannot be read")]
    Value { state: String, source: crate::ValueError },
    /// What was frozen has not been written, though nothing failed: the thread that was to do so has gone.
    #[error("state that was to be written out was given up")]
    FlushGivenUp,
    /// A snapshot builds on what could not be written. The next one does not.
    #[error("the snapshot was given up, as something it consists of was not written")]
    SnapshotGivenUp,
    /// Tables have yet to freeze for what was asked of them before. To be asked again when all operators have been maintained.
    #[error("some tables have not frozen yet since they were asked to the last time")]
    Freezing,
    /// Snapshots come faster than they are written. To be asked again when one is complete.
    #[error("too many snapshots are still on their way")]
    SnapshotsPending,
    /// The core's state is in memory only, without a place for files.
    #[error("state on the heap has no snapshots unless it is given a place for their files")]
    NoSnapshots,
    /// A snapshot has states that the job does not register.
    #[error("the job has no states {names:?}, of which the snapshot has data")]
    NotRegistered { names: Vec<String> },
    /// A file of a store cannot be read or written.
    #[error(transparent)]
    Storage(#[from] crate::storage::StorageError),
    /// What a store consists of cannot be read or written.
    #[error(transparent)]
    Manifest(#[from] crate::lsm::ManifestError),
}
