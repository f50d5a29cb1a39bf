//! What can go wrong where files are kept.

use std::io;
use std::path::PathBuf;

/// What can go wrong in a [`Storage`](super::Storage).
///
/// ```
/// use thalweg_state::storage::{Storage, StorageError};
/// let error = Storage::memory().create("../escape").unwrap_err();
/// assert!(matches!(error, StorageError::Name { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum StorageError {
    /// The disk refused.
    #[error("cannot {operation} {path}", path = path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    /// There is no room: free some, and write the file anew.
    #[error("cannot {operation} {path}: the disk is full, or a quota or limit is reached", path = path.display())]
    Full { operation: &'static str, path: PathBuf, source: io::Error },
    /// What was written may never reach the disk, and trying again would hide that. Go back to the last checkpoint.
    #[error("{path} could not be synced: what was written to it is lost", path = path.display())]
    Sync { path: PathBuf, source: io::Error },
    /// Something failed there before, and nothing is built upon it.
    #[error("{path} takes nothing more: it failed to be written or synced before", path = path.display())]
    Poisoned { path: PathBuf },
    /// It would not mean the same in every file system, or is a name the storage uses itself.
    #[error("{name:?} is no name for a file: it takes 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-'")]
    Name { name: String },
    /// What is published once is never written again.
    #[error("{path} exists already", path = path.display())]
    Exists { path: PathBuf },
    /// There is no such file.
    #[error("{path} does not exist", path = path.display())]
    Missing { path: PathBuf },
    /// It is not what it should be, or it was not made to be read at once.
    #[error("{path} is longer than {bytes_max} bytes", path = path.display())]
    TooLong { path: PathBuf, bytes_max: u64 },
    /// Two would write over each other.
    #[error(
        "{path} is in use{holder}: stop who uses it, or choose another directory",
        path = path.display(),
        holder = holder.map(|process| format!(" by process {process}")).unwrap_or_default()
    )]
    Locked { path: PathBuf, holder: Option<u32> },
}

/// The error that a caller can act on.
pub(super) fn failed(operation: &'static str, path: PathBuf, source: io::Error) -> StorageError {
    use io::ErrorKind::{AlreadyExists, FileTooLarge, NotFound, QuotaExceeded, StorageFull};
    match source.kind() {
        AlreadyExists => StorageError::Exists { path },
        NotFound => StorageError::Missing { path },
        StorageFull | QuotaExceeded | FileTooLarge => StorageError::Full { operation, path, source },
        _ => StorageError::Io { operation, path, source },
    }
}
