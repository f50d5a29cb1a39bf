//! Where the files of a store are, and how they come to be there: whole, or not at all.
//!
//! ```text
//!   create ─▶ Writer: write … ─▶ NAME.tmp        publish ─▶ sync file ─▶ rename to NAME ─▶ sync directory
//!   append ─▶ Log: record, sync, record, sync …   (a published file that grows; read, never mapped)
//!   open   ─▶ Mapping: the bytes of a published file, paged in and out by hand
//!                 │
//!             Storage ── the protocol, once ──▶ dyn Disk: one call for one system call
//!                                                 ├─ a directory   O_DIRECT or cached, mmap, flock; or to be read only
//!                                                 ├─ memory
//!                                                 └─ testing::FaultyDisk   fails, forgets, tears
//! ```
//!
//! In reading order:
//! - `error`: what can go wrong;
//! - `writer`: files that are being written, and logs;
//! - `mapping`: files that are read; `mmap` is its unsafe leaf;
//! - `read_only`, `directory` (with `buffered` files), `memory`, `faulty`: disks.
//!
//! Invariants:
//! - under a name that was published there is a complete file, or none; it is not written again, unless it is a log;
//! - whatever failed to be written or synced is not published, and a log that failed once takes nothing more;
//! - after the directory failed to be synced nothing more is published: it would be built on what may be gone.
//!
//! # Decisions
//! - **The protocol is a struct, the disk a trait.** Sync, rename, sync again is written once, so the crash points that
//!   are walked through a faulty disk in memory are those of the code which runs over a directory.

mod buffered;
mod directory;
mod error;
pub(crate) mod faulty;
mod mapping;
mod memory;
mod mmap;
mod read_only;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::{Directory, WriteMode};
pub use error::StorageError;
pub use mapping::Mapping;
pub use memory::MemoryDisk;
pub use writer::{Log, Writer};

use error::failed;
use read_only::ReadOnly;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sections, blocks and buffers start at multiples of this: a page, and what O_DIRECT asks for at most.
pub(crate) const PAGE_BYTES: usize = 4096;
/// The longest name of a file.
const NAME_BYTES_MAX: usize = 128;
/// Ends the names of files that are being written.
const TEMPORARY: &str = ".tmp";
/// The file that says a directory is in use.
const LOCK: &str = "LOCK";
/// What is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What a file system does, one call for one system call: the seam between [`Storage`] and the world.
///
/// Names are valid here: [`Storage`] has checked them. Nothing is durable before it is synced: a file's bytes by
/// [`DiskFile::sync`], names by [`Disk::sync`].
pub trait Disk: Debug + Send + Sync {
    /// What to call a file in messages.
    fn path(&self, name: &str) -> PathBuf;

    /// The directory of other processes' file systems, if it is one: what can be linked from and to.
    fn root(&self) -> Option<&Path> {
        None
    }

    /// A new, empty file. Errors: `AlreadyExists`.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// As [`Disk::create`], of a file that will be read soon after it is written: to be left in a cache, if there is one.
    fn create_cached(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.create(name)
    }

    /// A file that exists, to be written from its end.
    fn append(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// A file's bytes, in place.
    fn map(&self, name: &str) -> io::Result<Mapping>;

    /// A file's bytes, copied; `None` if there are more than `bytes_max`.
    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>>;

    /// The files and their lengths, in any order.
    fn list(&self) -> io::Result<Vec<FileInfo>>;

    /// A file's length in bytes, or `None` if there is none.
    fn length(&self, name: &str) -> io::Result<Option<u64>>;

    /// Gives a file another name, at once; what had that name before is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file's name away; mappings of it stay.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives the file at `from`, in another directory, the same name here, so that they share its bytes.
    fn link(&self, _from: &Path, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes names durable: what was created, renamed, removed and linked.
    fn sync(&self) -> io::Result<()>;
}

/// A file of a [`Disk`] that is being written. After an error its contents are unspecified.
pub trait DiskFile: Debug + Send {
    /// Appends all of `bytes`; they may still be on their way, and fail later.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable, length included.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileInfo {
    /// Its name, without a directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// How a file came from one storage to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Both storages name the same bytes on the disk.
    Linked,
    /// The bytes are there twice.
    Copied,
}

/// The files of one store. Cheap to clone; clones are the same storage, and may be used from several threads.
///
/// Names are 1 to 128 of `A-Z a-z 0-9 . _ -`, begin with no dot, do not end in `.tmp`, and are not `LOCK`.
///
/// ```
/// use thalweg_state::storage::Storage;
/// let storage = Storage::memory();
/// let mut writer = storage.create("000001.sst")?;
/// writer.write(b"all or ")?;
/// assert!(storage.list()?.is_empty()); // It is not there before it is complete.
/// writer.write(b"nothing")?;
/// writer.publish()?;
/// assert_eq!(*storage.open("000001.sst")?, *b"all or nothing");
/// # Ok::<(), thalweg_state::storage::StorageError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Box<dyn Disk>,
    /// The directory once failed to be synced: nobody knows which names would survive.
    is_poisoned: AtomicBool,
}

impl Storage {
    /// The files in a directory, which is made if it does not exist, and locked: see [`Directory::open`].
    ///
    /// ```
    /// # use thalweg_state::storage::{Storage, StorageError};
    /// # let parent = tempfile::tempdir().unwrap();
    /// # let path = parent.path().join("store");
    /// let storage = Storage::directory(&path)?;
    /// assert!(matches!(Storage::directory(&path), Err(StorageError::Locked { .. })));
    /// # Ok::<(), StorageError>(())
    /// ```
    pub fn directory(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::on(Directory::open(path)?)
    }

    /// The files in a directory as they are, to be read only: it is neither locked nor cleaned up, and may be in use. What
    /// its owner removes stays readable for those who have it open; what they open later is `Missing`.
    ///
    /// Errors: `Missing`, and `Io` if it is no directory, or may not be read. Whatever would change something is refused later,
    /// with `Io`.
    ///
    /// ```
    /// # use thalweg_state::storage::{Storage, StorageError};
    /// # let parent = tempfile::tempdir().unwrap();
    /// # let path = parent.path().join("store");
    /// let owner = Storage::directory(&path)?;
    /// owner.create("000001.sst")?.publish()?;
    /// let reader = Storage::read_only(&path)?;
    /// assert_eq!(reader.list()?, owner.list()?);
    /// assert!(reader.remove("000001.sst").is_err());
    /// # Ok::<(), StorageError>(())
    /// ```
    pub fn read_only(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let disk = Box::new(ReadOnly::new(path.as_ref()));
        let storage = Self { shared: Arc::new(Shared { disk, is_poisoned: AtomicBool::new(false) }) };
        storage.list_all().map(|_| storage)
    }

    /// Files in memory, gone with the last clone.
    pub fn memory() -> Self {
        Self::on(MemoryDisk::default()).expect("memory has no errors")
    }

    /// The files on `disk`. What a crash has left half written is removed, and what is left made durable.
    ///
    /// Errors: those of the disk.
    ///
    /// ```
    /// # use thalweg_state::{storage::Storage, testing::FaultyDisk};
    /// let storage = Storage::on(FaultyDisk::new())?;
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn on(disk: impl Disk + 'static) -> Result<Self, StorageError> {
        let storage =
            Self { shared: Arc::new(Shared { disk: Box::new(disk), is_poisoned: AtomicBool::new(false) }) };
        for file in storage.list_all()? {
            if file.name.ends_with(TEMPORARY) {
                storage.remove_unchecked(&file.name)?;
            }
        }
        storage.sync_names()?;
        Ok(storage)
    }

    /// What a file is called in messages: its path, if it has one.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// assert_eq!(Storage::memory().path("000001.sst").to_str(), Some("(memory)/000001.sst"));
    /// ```
    pub fn path(&self, name: &str) -> PathBuf {
        self.disk().path(name)
    }

    /// Begins a file. It appears under its name when its [`Writer`] is told to publish it.
    ///
    /// Errors: `Name`; `Exists` if it is being written already; `Full` and others of the disk.
    pub fn create(&self, name: &str) -> Result<Writer, StorageError> {
        check(name)?;
        Writer::create(self, name, |temporary| self.disk().create(temporary))
    }

    /// As [`Storage::create`], for a file that will be read soon: it is written through the page cache, so that reading it needs
    /// no disk as long as the kernel has memory. It is as durable, and as whole.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// let storage = Storage::memory();
    /// storage.create_cached("000001.sst")?.publish()?;
    /// assert_eq!(storage.length("000001.sst")?, Some(0));
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn create_cached(&self, name: &str) -> Result<Writer, StorageError> {
        check(name)?;
        Writer::create(self, name, |temporary| self.disk().create_cached(temporary))
    }

    /// Goes on with a published file, record by record. Such a file is for [`Storage::read`]; nobody may map it.
    ///
    /// Errors: `Name`, `Missing`, those of the disk.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// # let storage = Storage::memory();
    /// storage.create("LOG")?.publish()?;
    /// let mut log = storage.append("LOG")?;
    /// log.append(b"one record")?; // It will survive whatever comes now.
    /// assert_eq!(storage.read("LOG", 1 << 20)?, b"one record");
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn append(&self, name: &str) -> Result<Log, StorageError> {
        check(name)?;
        Log::append_to(self, name)
    }

    /// The bytes of a published file, in place. They stay valid when the file is removed.
    ///
    /// Errors: `Name`, `Missing`, those of the disk.
    pub fn open(&self, name: &str) -> Result<Mapping, StorageError> {
        check(name)?;
        self.disk().map(name).map_err(|error| self.failed("map", name, error))
    }

    /// A copy of a file's bytes: for logs and small files.
    ///
    /// Errors: `Name`, `Missing`, `TooLong` if there are more than `bytes_max`, those of the disk.
    ///
    /// ```
    /// # use thalweg_state::storage::{Storage, StorageError};
    /// # let storage = Storage::memory();
    /// assert!(matches!(storage.read("MANIFEST", 100), Err(StorageError::Missing { .. })));
    /// ```
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        check(name)?;
        let bytes = self.disk().read(name, bytes_max).map_err(|error| self.failed("read", name, error))?;
        bytes.ok_or_else(|| StorageError::TooLong { path: self.path(name), bytes_max })
    }

    /// A file's length in bytes, or `None` if it does not exist.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// assert_eq!(Storage::memory().length("MANIFEST")?, None);
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn length(&self, name: &str) -> Result<Option<u64>, StorageError> {
        check(name)?;
        self.disk().length(name).map_err(|error| self.failed("look at", name, error))
    }

    /// The published files, by name.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// let storage = Storage::memory();
    /// storage.create("empty")?.publish()?;
    /// let files = storage.list()?;
    /// assert_eq!((files[0].name.as_str(), files[0].bytes), ("empty", 0));
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn list(&self) -> Result<Vec<FileInfo>, StorageError> {
        let mut files = self.list_all()?;
        files.retain(|file| check(&file.name).is_ok());
        files.sort_unstable();
        Ok(files)
    }

    /// Removes a file that nothing refers to any more. After a crash it may be there again.
    ///
    /// Errors: `Name`, `Missing`, those of the disk.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// # let storage = Storage::memory();
    /// storage.create("old")?.publish()?;
    /// let bytes = storage.open("old")?;
    /// storage.remove("old")?;
    /// assert!(storage.list()?.is_empty() && bytes.is_empty()); // Who has it open keeps it.
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn remove(&self, name: &str) -> Result<(), StorageError> {
        check(name)?;
        self.remove_unchecked(name)
    }

    /// Publishes a file in another storage too: as a link if both are directories of one file system, else as a copy.
    /// Not for logs.
    ///
    /// Errors: `Name`; `Missing` here, `Exists` there; those of both disks.
    ///
    /// ```
    /// # use thalweg_state::storage::{Storage, Transfer};
    /// let (here, there) = (Storage::memory(), Storage::memory());
    /// here.create("000001.sst")?.publish()?;
    /// assert_eq!(here.link_or_copy("000001.sst", &there)?, Transfer::Copied);
    /// assert_eq!(there.list()?, here.list()?);
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn link_or_copy(&self, name: &str, to: &Self) -> Result<Transfer, StorageError> {
        self.link_or_copy_as(name, to, name)
    }

    /// As [`Storage::link_or_copy`], under another name there.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// let (here, there) = (Storage::memory(), Storage::memory());
    /// here.create("000001.sst")?.publish()?;
    /// here.link_or_copy_as("000001.sst", &there, "000007.sst")?;
    /// assert_eq!(there.length("000007.sst")?, Some(0));
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn link_or_copy_as(&self, name: &str, to: &Self, as_name: &str) -> Result<Transfer, StorageError> {
        check(name)?;
        check(as_name)?;
        match self.disk().root().map(|root| to.link(&root.join(name), as_name)) {
            None | Some(Ok(false)) => self.copy(name, to, as_name).map(|()| Transfer::Copied),
            Some(Ok(true)) => Ok(Transfer::Linked),
            Some(Err(error)) => Err(error),
        }
    }

    /// Whether it could be linked; if not, a copy may do.
    fn link(&self, from: &Path, name: &str) -> Result<bool, StorageError> {
        self.trust(name)?;
        match self.disk().link(from, name) {
            Ok(()) => self.sync_names().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StorageError::Missing { path: from.to_owned() })
            }
            Err(error) => match error.kind() {
                io::ErrorKind::AlreadyExists => Err(self.failed("link", name, error)),
                _ => Ok(false), // Another file system, one without links, or too many of them.
            },
        }
    }

    fn copy(&self, name: &str, to: &Self, as_name: &str) -> Result<(), StorageError> {
        let bytes = self.open(name)?;
        if to.length(as_name)?.is_some() {
            return Err(StorageError::Exists { path: to.path(as_name) }); // As `publish` would say after all the work.
        }
        let mut writer = to.create(as_name)?;
        for (index, chunk) in bytes.chunks(COPY_BYTES).enumerate() {
            let range = index * COPY_BYTES..index * COPY_BYTES + chunk.len();
            bytes.populate(range.clone()).map_err(|error| self.failed("read", name, error))?;
            writer.write(chunk)?;
            bytes.release(range);
        }
        writer.publish().map(|_| ())
    }

    /// The files with those that are not published, in any order.
    fn list_all(&self) -> Result<Vec<FileInfo>, StorageError> {
        self.disk().list().map_err(|error| self.failed("list", "", error))
    }

    fn remove_unchecked(&self, name: &str) -> Result<(), StorageError> {
        self.disk().remove(name).map_err(|error| self.failed("remove", name, error))
    }

    /// Makes names durable, or trusts none any more.
    fn sync_names(&self) -> Result<(), StorageError> {
        self.trust("")?;
        self.disk().sync().map_err(|source| {
            self.shared.is_poisoned.store(true, Ordering::Relaxed);
            StorageError::Sync { path: self.path(""), source }
        })
    }

    /// Refuses to build upon names that may not be durable.
    fn trust(&self, name: &str) -> Result<(), StorageError> {
        match self.shared.is_poisoned.load(Ordering::Relaxed) {
            true => Err(StorageError::Poisoned { path: self.path(name) }),
            false => Ok(()),
        }
    }

    fn disk(&self) -> &dyn Disk {
        &*self.shared.disk
    }

    fn failed(&self, operation: &'static str, name: &str, source: io::Error) -> StorageError {
        failed(operation, self.path(name), source)
    }
}

/// Whether it is a name of a published file: it means the same in every file system and leaves its directory in none.
fn check(name: &str) -> Result<(), StorageError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain);
    match is_name && !name.starts_with('.') && !name.ends_with(TEMPORARY) && name != LOCK {
        true => Ok(()),
        false => Err(StorageError::Name { name: name.to_owned() }),
    }
}
