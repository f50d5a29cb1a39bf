//! A directory of a real file system.
//!
//! Files are written past the page cache (O_DIRECT) where the file system lets us, in chunks of 1 MiB, so that what is written
//! once does not push out of memory what is read often; or, if they are asked for so, through it, because they will be
//! read soon: 0.08 s of CPU for 1 GiB against 0.22.

use super::buffered::BufferedFile;
use super::read_only::ReadOnly;
use super::{Disk, DiskFile, FileInfo, LOCK, Mapping, PAGE_BYTES, StorageError, TEMPORARY, failed};
use rkyv::util::AlignedVec;
use rustix::fs::{FlockOperation, OFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is written by one system call.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// How files reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Past the page cache.
    Direct,
    /// Through the page cache, where it is found when it is read soon after. It costs the kernel's memory, and CPU for a copy.
    Buffered,
}

/// A directory that no one else has open: a [`Disk`].
#[derive(Debug)]
pub struct Directory {
    /// What is in it, and can be read without the lock.
    files: ReadOnly,
    /// The directory itself, to sync its names.
    handle: File,
    /// Locked as long as this is open; the kernel unlocks it however the process ends.
    _lock: File,
    write_mode: WriteMode,
}

impl Directory {
    /// Opens a directory, which is made if it does not exist, and locks it until the value is dropped.
    ///
    /// Errors: `Locked` if anyone has it open, in this process too; `Io` if it cannot be made, read and written.
    ///
    /// ```
    /// # use thalweg_state::storage::{Directory, Storage, StorageError, WriteMode};
    /// # let parent = tempfile::tempdir().unwrap();
    /// # let path = parent.path();
    /// let directory = Directory::open(path)?;
    /// if directory.write_mode() == WriteMode::Buffered {
    ///     println!("{} is on a file system without O_DIRECT", path.display());
    /// }
    /// let storage = Storage::on(directory)?;
    /// # Ok::<(), StorageError>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let root = path.as_ref();
        create_durably(root).map_err(|error| failed("create", root.to_owned(), error))?;
        let lock = lock(root)?;
        let opened = File::open(root).and_then(|handle| Ok((handle, probe(root)?)));
        let (handle, write_mode) = opened.map_err(|error| failed("open", root.to_owned(), error))?;
        Ok(Self { files: ReadOnly::new(root), handle, _lock: lock, write_mode })
    }

    /// How files are written here: found out by writing one.
    pub fn write_mode(&self) -> WriteMode {
        self.write_mode
    }

    /// Writes files in this way, whatever the file system could do. For one whose O_DIRECT is slow.
    ///
    /// ```
    /// # use thalweg_state::storage::{Directory, StorageError, WriteMode};
    /// # let parent = tempfile::tempdir().unwrap();
    /// let directory = Directory::open(parent.path())?.with_write_mode(WriteMode::Buffered);
    /// assert_eq!(directory.write_mode(), WriteMode::Buffered);
    /// # Ok::<(), StorageError>(())
    /// ```
    #[must_use]
    pub fn with_write_mode(self, write_mode: WriteMode) -> Self {
        Self { write_mode, ..self }
    }
}

impl Disk for Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }

    fn root(&self) -> Option<&Path> {
        self.files.root()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        create_file(&self.path(name), self.write_mode)
    }

    fn create_cached(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        create_file(&self.path(name), WriteMode::Buffered)
    }

    fn append(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).open(self.path(name))?;
        Ok(Box::new(BufferedFile::new(file)?))
    }

    fn map(&self, name: &str) -> io::Result<Mapping> {
        self.files.map(name)
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        self.files.read(name, bytes_max)
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.files.list()
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        self.files.length(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn link(&self, from: &Path, name: &str) -> io::Result<()> {
        fs::hard_link(from, self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// Makes a directory and those above it, each of them durable.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match path.is_dir() {
            true => {} // Someone else was faster.
            false => return Err(io::ErrorKind::NotADirectory.into()),
        },
        other => other?,
    }
    File::open(parent)?.sync_all()
}

/// Takes the lock, or says who has it.
fn lock(root: &Path) -> Result<File, StorageError> {
    let path = root.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(|error| failed("open", path.clone(), error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let holder = file.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
            return Err(StorageError::Locked { path: root.to_owned(), holder });
        }
        Err(error) => return Err(failed("lock", path, error.into())),
    }
    // Who has it is for the message above only: a disk that is too full for it may still be read.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Whether files can be written past the page cache here.
fn probe(root: &Path) -> io::Result<WriteMode> {
    let path = root.join(format!("probe{TEMPORARY}"));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let attempt = create_file(&path, WriteMode::Direct).and_then(|mut file| {
        file.write(&[0; PAGE_BYTES])?;
        file.sync()
    });
    let _ = fs::remove_file(&path); // If it stays, it goes with what crashes leave behind.
    match attempt {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(WriteMode::Buffered)
        }
        _ => Ok(WriteMode::Direct), // Other errors have nothing to do with it, and will come again where they matter.
    }
}

fn create_file(path: &Path, mode: WriteMode) -> io::Result<Box<dyn DiskFile>> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    match mode {
        WriteMode::Buffered => Ok(Box::new(BufferedFile::new(options.open(path)?)?)),
        WriteMode::Direct => {
            let file = options.custom_flags(OFlags::DIRECT.bits() as i32).open(path)?;
            Ok(Box::new(DirectFile { file, chunk: AlignedVec::new(), start: 0 }))
        }
    }
}

/// A file that is written past the page cache: from, to and in multiples of a page.
///
/// Invariant: `start` is a multiple of a page; before it the file is written, and the rest is in `chunk`.
#[derive(Debug)]
struct DirectFile {
    file: File,
    chunk: AlignedVec<PAGE_BYTES>,
    start: u64,
}

impl DirectFile {
    /// Writes the chunk, which is filled up with zeros that do not count, and keeps its last page if that is not full.
    fn flush(&mut self) -> io::Result<()> {
        let len = self.chunk.len();
        self.chunk.resize(len.next_multiple_of(PAGE_BYTES), 0);
        self.file.write_all_at(&self.chunk, self.start)?;
        if len < self.chunk.len() {
            self.file.set_len(self.start + len as u64)?;
        }
        let whole = len / PAGE_BYTES * PAGE_BYTES;
        self.chunk.copy_within(whole..len, 0);
        self.chunk.resize(len - whole, 0);
        self.start += whole as u64;
        Ok(())
    }
}

impl DiskFile for DirectFile {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            if self.chunk.len() == CHUNK_BYTES {
                self.flush()?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            self.flush()?;
        }
        self.file.sync_data()
    }
}
