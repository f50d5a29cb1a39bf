//! A disk in memory that fails when it is told to, loses its power, and forgets what was not synced.

use super::mapping::Pager;
use super::memory::MemoryFile;
use super::{Disk, DiskFile, FileInfo, Mapping, MemoryDisk, PAGE_BYTES};
use crate::hash_pair;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// With an error of the disk; the next one may succeed. What a sync did not sync, no later one does.
    Error,
    /// As the disk is full. A write leaves its first half.
    Full,
    /// As the power is lost: this operation may have had its effect, and all that follow fail.
    PowerLoss,
}

/// A [`Disk`] in memory to test what becomes of a store when disks fail and machines stop. Clones are the same disk.
///
/// Operations are counted from 0: every call of [`Disk`] and [`DiskFile`], every [`Mapping::populate`] and every
/// [`Mapping::read_into`]. [`Mapping::try_read_into`] is none: what is in a cache needs no disk. It would wait every second time,
/// at random, so that those who ask go both ways.
///
/// ```
/// use thalweg_state::storage::{Storage, StorageError};
/// use thalweg_state::testing::{FaultyDisk, Fault};
/// let disk = FaultyDisk::new();
/// let storage = Storage::on(disk.clone())?;
/// let mut writer = storage.create("000001.sst")?;
/// disk.fail_at(disk.operations() + 2, Fault::Error); // The third from here: write, look for the name, sync.
/// writer.write(b"never to be seen")?;
/// assert!(matches!(writer.publish(), Err(StorageError::Sync { .. })));
///
/// disk.crash(7);
/// assert!(Storage::on(disk)?.list()?.is_empty());
/// # Ok::<(), StorageError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk {
    disk: Arc<MemoryDisk>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations were asked for.
    ///
    /// ```
    /// # use thalweg_state::{storage::Storage, testing::FaultyDisk};
    /// let disk = FaultyDisk::new();
    /// let storage = Storage::on(disk.clone())?;
    /// let before = disk.operations();
    /// storage.list()?;
    /// assert_eq!(disk.operations(), before + 1);
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn operations(&self) -> u64 {
        self.plan().operations
    }

    /// Plans a fault for one operation. There may be one for each.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.plan().faults.push((operation, fault));
    }

    /// Whether the power was lost.
    ///
    /// ```
    /// # use thalweg_state::{storage::Storage, testing::{FaultyDisk, Fault}};
    /// let disk = FaultyDisk::new();
    /// disk.fail_at(0, Fault::PowerLoss);
    /// assert!(Storage::on(disk.clone()).is_err() && disk.is_off());
    /// ```
    pub fn is_off(&self) -> bool {
        self.plan().is_off
    }

    /// Turns the power off and on again. What was not synced is lost, or a part of it that `seed` chooses: of files any
    /// first part or any sectors of 512 bytes, the others reading as zeros, and any creations, renames and removals. A
    /// seed of 0 loses all of it, 1 nothing. Plans are forgotten; whatever was open is to be dropped.
    pub fn crash(&self, seed: u64) {
        self.disk.crash(seed);
        let mut plan = self.plan();
        (plan.is_off, plan.faults) = (false, Vec::new());
    }

    /// Runs `run` on fresh disks, cutting the power at its first operation, its second, and so on until one run needs no
    /// more; after each cut, `check` gets the disk as it was left, once for each of `seeds` ways to forget, with a line
    /// that says which case it is.
    ///
    /// `run` gets a disk that `prepare` has used without fault. It should return when an operation fails.
    ///
    /// ```
    /// use thalweg_state::storage::Storage;
    /// use thalweg_state::testing::FaultyDisk;
    /// let publish = |disk: &FaultyDisk| {
    ///     let _ = Storage::on(disk.clone()).and_then(|storage| storage.create("000001.sst")?.publish());
    /// };
    /// let points = FaultyDisk::crash_points(8, |_| {}, publish, |disk, case| {
    ///     let files = Storage::on(disk.clone()).unwrap().list().unwrap();
    ///     assert!(files.len() <= 1, "{case}: {files:?}");
    /// });
    /// assert_eq!(points, 7); // List, sync; create, length, sync, rename, sync.
    /// ```
    pub fn crash_points(
        seeds: u64,
        prepare: impl Fn(&Self),
        run: impl Fn(&Self),
        check: impl Fn(&Self, &str),
    ) -> u64 {
        for point in 0.. {
            for seed in 0..seeds {
                let disk = Self::new();
                prepare(&disk);
                disk.fail_at(disk.operations() + point, Fault::PowerLoss);
                run(&disk);
                let was_cut = disk.is_off();
                disk.crash(seed);
                check(&disk, &format!("the power is lost at operation {point}, seed {seed}"));
                if !was_cut && seed + 1 == seeds {
                    return point;
                }
            }
        }
        unreachable!("a run ends")
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nothing panics while it holds the lock")
    }

    /// Counts an operation that has its effect at once, and does it unless it fails.
    fn operate<T>(&self, operation: impl FnOnce(&MemoryDisk) -> io::Result<T>) -> io::Result<T> {
        match next(&self.plan)? {
            None => operation(&self.disk),
            Some(fault) => {
                if fault == Fault::PowerLoss {
                    let _ = operation(&self.disk); // Nobody is left to hear what came of it.
                }
                Err(fault.into())
            }
        }
    }

    fn file(&self, file: MemoryFile) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { file, plan: self.plan.clone() })
    }
}

impl Disk for FaultyDisk {
    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.operate(|disk| disk.create_file(name)).map(|file| self.file(file))
    }

    fn append(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.operate(|disk| disk.open_file(name)).map(|file| self.file(file))
    }

    fn map(&self, name: &str) -> io::Result<Mapping> {
        let bytes = self.operate(|disk| disk.bytes(name))?;
        let is_resident = Mutex::new(vec![false; bytes.len().div_ceil(PAGE_BYTES)]);
        Ok(Mapping::paged(
            bytes,
            Box::new(Pages { is_resident, plan: self.plan.clone(), tries: AtomicU64::new(0) }),
        ))
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        self.operate(|disk| disk.read(name, bytes_max))
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.operate(MemoryDisk::list)
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        self.operate(|disk| disk.length(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.operate(|disk| disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(|disk| disk.remove(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.plan, || self.disk.lose(), || self.disk.sync())
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: MemoryFile,
    plan: Arc<Mutex<Plan>>,
}

impl DiskFile for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fault = next(&self.plan)?;
        let len = match fault {
            None | Some(Fault::PowerLoss) => bytes.len(),
            Some(Fault::Error | Fault::Full) => bytes.len() / 2,
        };
        self.file.write(&bytes[..len])?;
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = &self.file;
        sync(&self.plan, || file.lose(), || file.sync_all())
    }
}

/// Counts a sync. If the power is lost there, the crash decides what was synced.
fn sync(plan: &Mutex<Plan>, lose: impl FnOnce(), sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match next(plan)? {
        None => sync(),
        Some(fault) => {
            if fault != Fault::PowerLoss {
                lose();
            }
            Err(fault.into())
        }
    }
}

/// Which pages of a mapping are resident: none at first, then those that were asked for.
struct Pages {
    is_resident: Mutex<Vec<bool>>,
    plan: Arc<Mutex<Plan>>,
    /// How often a copy was tried.
    tries: AtomicU64,
}

impl Pages {
    fn with<T>(&self, range: Range<usize>, act: impl FnOnce(&mut [bool]) -> T) -> T {
        let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        act(&mut self.is_resident.lock().expect("nothing panics while it holds the lock")[pages])
    }
}

impl Pager for Pages {
    fn populate(&self, range: Range<usize>) -> io::Result<()> {
        self.read(range.clone())?;
        self.with(range, |pages| pages.fill(true));
        Ok(())
    }

    fn read(&self, _range: Range<usize>) -> io::Result<()> {
        next(&self.plan)?.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn try_read(&self, range: Range<usize>) -> bool {
        let tries = self.tries.fetch_add(1, Ordering::Relaxed);
        hash_pair(tries, range.start as u64) & 1 == 0
    }

    fn release(&self, range: Range<usize>) {
        self.with(range, |pages| pages.fill(false));
    }

    fn is_resident(&self, range: Range<usize>) -> bool {
        self.with(range, |pages| pages.iter().all(|page| *page))
    }
}

#[derive(Debug, Default)]
struct Plan {
    operations: u64,
    faults: Vec<(u64, Fault)>,
    is_off: bool,
}

/// Counts an operation, and says how it is to fail.
fn next(plan: &Mutex<Plan>) -> io::Result<Option<Fault>> {
    let mut plan = plan.lock().expect("nothing panics while it holds the lock");
    if plan.is_off {
        return Err(Fault::PowerLoss.into());
    }
    let now = plan.operations;
    plan.operations += 1;
    let fault = plan.faults.iter().find(|(operation, _)| *operation == now).map(|(_, fault)| *fault);
    plan.is_off = fault == Some(Fault::PowerLoss);
    Ok(fault)
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Error => io::Error::other("a planned fault"),
            Fault::Full => io::Error::new(io::ErrorKind::StorageFull, "a planned fault"),
            Fault::PowerLoss => io::Error::other("the power is off"),
        }
    }
}
