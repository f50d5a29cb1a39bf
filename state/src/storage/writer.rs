//! Files that are being written: into place as a whole, or record by record.
//!
//! Invariant: after the first error a [`Writer`] never publishes and a [`Log`] takes nothing more. A failed sync is not
//! tried again: the kernel may have dropped the pages that it could not write and would then report success.

use super::{DiskFile, Storage, StorageError, TEMPORARY, failed};
use std::io;
use std::path::PathBuf;

/// A file that is not there yet. Dropped before it is published it leaves nothing behind.
///
/// ```
/// use thalweg_state::storage::{Storage, StorageError};
/// let storage = Storage::memory();
/// drop(storage.create("half")?);
/// let mut writer = storage.create("whole")?;
/// writer.write(&[7; 5000])?;
/// assert_eq!((writer.bytes(), writer.publish()?), (5000, 5000));
/// assert_eq!(storage.list()?.len(), 1);
/// # Ok::<(), StorageError>(())
/// ```
#[derive(Debug)]
#[must_use = "a file that is not published is removed"]
pub struct Writer {
    storage: Storage,
    name: String,
    file: Poisonable,
    bytes: u64,
    is_renamed: bool,
}

impl Writer {
    /// `create` makes a file on the disk of `storage`.
    pub(super) fn create(
        storage: &Storage,
        name: &str,
        create: impl FnOnce(&str) -> io::Result<Box<dyn DiskFile>>,
    ) -> Result<Self, StorageError> {
        let (file, path) = (create(&temporary(name)), storage.path(&temporary(name)));
        let file = file.map_err(|source| failed("create", path.clone(), source))?;
        let file = Poisonable { file, path, is_poisoned: false };
        Ok(Self { storage: storage.clone(), name: name.to_owned(), file, bytes: 0, is_renamed: false })
    }

    /// How many bytes were written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends `bytes`. Best in large pieces, though small ones are gathered where that matters.
    ///
    /// Errors: `Full` and others of the disk, which may come late; `Poisoned` after an error.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was written durable ahead of `publish`, which does it too.
    ///
    /// Errors: `Sync`; `Full` if there was no room for what `write` had kept; `Poisoned` after an error.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync()
    }

    /// Makes the file durable under its name, complete, and says how many bytes it has.
    ///
    /// Errors: `Exists`, and then the old file is as it was; those of `sync`; `Sync` of the directory, and then nobody
    /// knows whether the file is there, and the storage publishes nothing more.
    pub fn publish(self) -> Result<u64, StorageError> {
        match self.storage.length(&self.name)? {
            Some(_) => Err(StorageError::Exists { path: self.storage.path(&self.name) }),
            None => self.replace(),
        }
    }

    /// As [`Writer::publish`], but takes the place of an older file at once: after a crash it is either of them.
    ///
    /// ```
    /// # use thalweg_state::storage::{Storage, StorageError};
    /// # let storage = Storage::memory();
    /// storage.create("CURRENT")?.publish()?;
    /// assert!(matches!(storage.create("CURRENT")?.publish(), Err(StorageError::Exists { .. })));
    /// storage.create("CURRENT")?.replace()?;
    /// # Ok::<(), StorageError>(())
    /// ```
    pub fn replace(mut self) -> Result<u64, StorageError> {
        self.storage.trust(&self.name)?;
        self.file.sync()?;
        let renamed = self.storage.disk().rename(&temporary(&self.name), &self.name);
        renamed.map_err(|error| self.storage.failed("rename to", &self.name, error))?;
        self.is_renamed = true;
        self.storage.sync_names()?;
        Ok(self.bytes)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_renamed {
            // Nobody could act on an error here: the file is then removed when the storage is opened again.
            let _ = self.storage.disk().remove(&temporary(&self.name));
        }
    }
}

/// A file to which records are added, each durable before the next. See [`Storage::append`].
#[derive(Debug)]
pub struct Log {
    file: Poisonable,
}

impl Log {
    pub(super) fn append_to(storage: &Storage, name: &str) -> Result<Self, StorageError> {
        storage.trust(name)?;
        let (file, path) = (storage.disk().append(name), storage.path(name));
        let file = file.map_err(|source| failed("append to", path.clone(), source))?;
        Ok(Self { file: Poisonable { file, path, is_poisoned: false } })
    }

    /// Adds a record and makes it durable. After a crash in between, any part of it may be there.
    ///
    /// Errors: `Full`, `Sync` and others of the disk, after which the record may be there and the log is at its end;
    /// `Poisoned` from then on.
    pub fn append(&mut self, record: &[u8]) -> Result<(), StorageError> {
        self.file.write(record)?;
        self.file.sync()
    }
}

/// A file that takes nothing more after its first error.
#[derive(Debug)]
struct Poisonable {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    is_poisoned: bool,
}

impl Poisonable {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.attempt(|file| file.write(bytes), |path, source| failed("write", path, source))
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let error = |path, source| match failed("write", path, source) {
            StorageError::Io { path, source, .. } => StorageError::Sync { path, source },
            other => other,
        };
        self.attempt(|file| file.sync(), error)
    }

    fn attempt(
        &mut self,
        operation: impl FnOnce(&mut dyn DiskFile) -> io::Result<()>,
        error: impl FnOnce(PathBuf, io::Error) -> StorageError,
    ) -> Result<(), StorageError> {
        if self.is_poisoned {
            return Err(StorageError::Poisoned { path: self.path.clone() });
        }
        operation(&mut *self.file).map_err(|source| {
            self.is_poisoned = true;
            error(self.path.clone(), source)
        })
    }
}

/// What a file is called until it is complete.
fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY}")
}
