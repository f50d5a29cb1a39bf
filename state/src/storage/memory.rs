//! Files in memory, which know what of them a crash would leave: what was synced for certain, and any part of the rest.

use super::{Disk, DiskFile, FileInfo, Mapping, PAGE_BYTES};
use crate::hash_pair;
use rkyv::util::AlignedVec;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a disk writes at once: the old or the new, never half of it.
const SECTOR_BYTES: usize = 512;
/// Why a lock cannot be poisoned.
const INTACT: &str = "nothing panics while it holds the lock";

/// A [`Disk`] in memory. See [`Storage::memory`](super::Storage::memory).
///
/// ```
/// use thalweg_state::storage::{MemoryDisk, Storage};
/// let storage = Storage::on(MemoryDisk::default())?;
/// storage.create("000001.sst")?.publish()?;
/// # Ok::<(), thalweg_state::storage::StorageError>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryDisk {
    names: Mutex<Names>,
}

impl MemoryDisk {
    /// What comes of a directory that failed to be synced: later syncs pass over what this one should have made durable.
    pub(super) fn lose(&self) {
        self.names().changes.clear();
    }

    pub(super) fn create_file(&self, name: &str) -> io::Result<MemoryFile> {
        let mut names = self.names();
        if names.now.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = SharedFile::default();
        names.change(Change::Name(name.to_owned(), file.clone()));
        Ok(MemoryFile(file))
    }

    pub(super) fn open_file(&self, name: &str) -> io::Result<MemoryFile> {
        Ok(MemoryFile(self.file(name)?))
    }

    pub(super) fn bytes(&self, name: &str) -> io::Result<Arc<AlignedVec<PAGE_BYTES>>> {
        Ok(contents(&*self.file(name)?).bytes.clone())
    }

    /// Forgets what was not synced, or a part of it that `seed` chooses: 0 forgets all, 1 nothing. Who had a file open
    /// writes into the void from now on.
    pub(super) fn crash(&self, seed: u64) {
        let mut fate = Fate { seed, draws: 0 };
        let mut names = self.names();
        let mut left = std::mem::take(&mut names.synced);
        let changes = std::mem::take(&mut names.changes);
        let is_kept = fate.choose(changes.len(), |index| index);
        for (change, _) in changes.into_iter().zip(is_kept).filter(|(_, is_kept)| *is_kept) {
            change.apply(&mut left);
        }
        let left: BTreeMap<_, _> =
            left.into_iter().map(|(name, file)| (name, contents(&file).after_crash(&mut fate))).collect();
        *names = Names { now: left.clone(), synced: left, changes: Vec::new() };
    }

    fn file(&self, name: &str) -> io::Result<SharedFile> {
        self.names().now.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().expect(INTACT)
    }
}

impl Disk for MemoryDisk {
    fn path(&self, name: &str) -> PathBuf {
        Path::new("(memory)").join(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.create_file(name)?))
    }

    fn append(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.open_file(name)?))
    }

    fn map(&self, name: &str) -> io::Result<Mapping> {
        Ok(Mapping::of_memory(self.bytes(name)?))
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.bytes(name)?;
        Ok((bytes.len() as u64 <= bytes_max).then(|| bytes.to_vec()))
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let info = |(name, file): (&String, &SharedFile)| FileInfo {
            name: name.clone(),
            bytes: contents(file).bytes.len() as u64,
        };
        Ok(self.names().now.iter().map(info).collect())
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.names().now.get(name).map(|file| contents(file).bytes.len() as u64))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.file(from)?;
        self.names().change(Change::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.names().change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let names = &mut *self.names();
        names.changes.drain(..).for_each(|change| change.apply(&mut names.synced));
        Ok(())
    }
}

/// The directory.
#[derive(Debug, Default)]
struct Names {
    now: BTreeMap<String, SharedFile>,
    /// As of the last sync.
    synced: BTreeMap<String, SharedFile>,
    /// What was done since.
    changes: Vec<Change>,
}

impl Names {
    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.now);
        self.changes.push(change);
    }
}

#[derive(Debug, Clone)]
enum Change {
    Name(String, SharedFile),
    Rename(String, String, SharedFile),
    Remove(String),
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, SharedFile>) {
        match self {
            Self::Name(name, file) => drop(names.insert(name, file)),
            Self::Rename(from, to, file) => {
                names.remove(&from);
                names.insert(to, file);
            }
            Self::Remove(name) => drop(names.remove(&name)),
        }
    }
}

type SharedFile = Arc<Mutex<Contents>>;

fn contents(file: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    file.lock().expect(INTACT)
}

/// What is in a file, whatever its name.
#[derive(Debug, Default)]
struct Contents {
    bytes: Arc<AlignedVec<PAGE_BYTES>>,
    /// How many of them are durable.
    synced: usize,
    is_lost: bool,
}

impl Contents {
    /// What is left of it: what was synced, then sectors which arrived or read as zeros, up to some length.
    fn after_crash(&self, fate: &mut Fate) -> SharedFile {
        let unsynced = self.synced..self.bytes.len();
        let arrived = fate.choose(unsynced.len(), |index| (self.synced + index) / SECTOR_BYTES);
        let len =
            arrived.iter().rposition(|is_here| *is_here).map_or(self.synced, |last| self.synced + last + 1);
        let mut bytes = AlignedVec::with_capacity(len);
        bytes.extend_from_slice(&self.bytes[..len]);
        for (byte, _) in bytes[self.synced..].iter_mut().zip(arrived).filter(|(_, is_here)| !is_here) {
            *byte = 0;
        }
        Arc::new(Mutex::new(Self { bytes: Arc::new(bytes), synced: len, is_lost: false }))
    }
}

/// A file in memory that is being written.
#[derive(Debug)]
pub(super) struct MemoryFile(SharedFile);

impl MemoryFile {
    /// What comes of a file that failed to be synced: later syncs say yes and do nothing.
    pub(super) fn lose(&self) {
        contents(&self.0).is_lost = true;
    }

    pub(super) fn sync_all(&self) -> io::Result<()> {
        let mut contents = contents(&self.0);
        if !contents.is_lost {
            contents.synced = contents.bytes.len();
        }
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        Arc::make_mut(&mut contents(&self.0).bytes).extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// What a crash does to what was not synced.
struct Fate {
    seed: u64,
    draws: u64,
}

impl Fate {
    /// Which of `count` things, done in this order, reached the disk: none, all, the first ones, or any of their groups.
    fn choose(&mut self, count: usize, group: impl Fn(usize) -> usize) -> Vec<bool> {
        let first = match (self.seed, self.draw(4)) {
            (0, _) => 0,
            (1, _) => count,
            (_, 0) => 0,
            (_, 1) => count,
            (_, 2) => self.draw(count + 1),
            _ => {
                let salt = self.draw(usize::MAX) as u64;
                return (0..count).map(|index| hash_pair(salt, group(index) as u64) & 1 == 0).collect();
            }
        };
        (0..count).map(|index| index < first).collect()
    }

    fn draw(&mut self, below: usize) -> usize {
        self.draws += 1;
        (hash_pair(self.seed, self.draws) % below as u64) as usize
    }
}
