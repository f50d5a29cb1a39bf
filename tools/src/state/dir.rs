//! The directory of a store or a snapshot, opened to be read while its owner may be at work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rkyv::util::AlignedVec;
use thalweg_state::lsm::sst::{Section, Sst};
use thalweg_state::lsm::{FileMeta, FileNumber, MANIFEST, Manifest, ManifestError, TornRecord, Version};
use thalweg_state::storage::{Mapping, Storage};

/// How often the manifest is read anew because its owner has just changed it.
const ATTEMPTS: usize = 10;
/// A record takes its writer less than that.
const APPEND_TIME: Duration = Duration::from_millis(20);
/// What a footer and its padding take at most.
const TAIL_BYTES: usize = 4096;

/// A store or a snapshot at one time, with all its files open.
#[derive(Debug)]
pub(super) struct StoreDir {
    pub(super) path: PathBuf,
    pub(super) version: Version,
    /// The last record of the manifest, if it is torn.
    pub(super) torn: Option<TornRecord>,
    files: BTreeMap<FileNumber, SstFile>,
    /// Why the others could not be opened.
    unreadable: BTreeMap<FileNumber, anyhow::Error>,
}

impl StoreDir {
    /// Reads the manifest and opens all files. If the owner replaces files in between, that is done again.
    ///
    /// Errors: it is no store, or its manifest cannot be read. What is wrong with files is in [`Self::unreadable`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        let storage = open_storage(path)?;
        let (mut version, mut torn) = read_manifest(&storage, path)?;
        for _ in 0..ATTEMPTS {
            let (files, unreadable) = open_files(&storage, &version);
            if !unreadable.is_empty() {
                let now = read_manifest(&storage, path)?;
                if now.0 != version {
                    (version, torn) = now;
                    continue;
                }
            }
            return Ok(Self { path: path.to_owned(), version, torn, files, unreadable });
        }
        bail!("{} changes faster than it can be read: try again, or look at a snapshot", path.display())
    }

    /// The files that could be opened, by number.
    pub(super) fn files(&self) -> impl ExactSizeIterator<Item = &SstFile> {
        self.files.values()
    }

    /// A file of the version.
    ///
    /// Errors: why it could not be opened.
    pub(super) fn file(&self, number: FileNumber) -> Result<&SstFile> {
        match self.files.get(&number) {
            Some(file) => Ok(file),
            None => Err(match self.unreadable.get(&number) {
                Some(error) => anyhow!("{error:#}"),
                None => anyhow!("{} is not in the manifest", number.name()),
            }),
        }
    }

    /// Why some files could not be opened.
    pub(super) fn unreadable(&self) -> impl ExactSizeIterator<Item = &anyhow::Error> {
        self.unreadable.values()
    }

    /// Says on stderr what is wrong with the manifest and the files that could not be opened.
    ///
    /// Errors: the same, in short, if there is any: what was said on stdout is not all of it.
    pub(super) fn complain(&self) -> Result<()> {
        if let Some(torn) = self.torn {
            eprintln!(
                "warning: the last record of {MANIFEST}, at byte {}, is torn and was left out",
                torn.offset
            );
        }
        self.unreadable().for_each(|error| eprintln!("warning: {error:#}"));
        ensure!(
            self.unreadable.is_empty(),
            "{} of {} files could not be read and were left out: thalweg state verify {} says what is damaged",
            self.unreadable.len(),
            self.version.files().len(),
            self.path.display()
        );
        Ok(())
    }

    /// The names of states by id, as the manifest and the files say them.
    pub(super) fn state_names(&self) -> BTreeMap<u16, String> {
        let kept =
            self.version.options().iter().filter_map(|(option, name)| {
                Some((option.strip_prefix("state.")?.parse().ok()?, name.clone()))
            });
        let in_files = self.files().flat_map(|file| file.sst.meta().states.iter());
        kept.chain(in_files.map(|state| (state.id, state.name.clone()))).collect()
    }

    /// The id of a state.
    ///
    /// Errors: there is none of that name; says which there are.
    pub(super) fn state_id(&self, name: &str) -> Result<u16> {
        let names = self.state_names();
        match names.iter().find(|(_, known)| *known == name) {
            Some((id, _)) => Ok(*id),
            None if names.is_empty() => bail!("{} has no states yet", self.path.display()),
            None => {
                let known: BTreeSet<String> = names.values().map(|known| format!("{known:?}")).collect();
                let known: Vec<String> = known.into_iter().collect();
                bail!("there is no state {name:?} in {}; there are {}", self.path.display(), known.join(", "))
            }
        }
    }

    /// The lowest and the highest key group of any entry.
    pub(super) fn key_groups(&self) -> Option<(u16, u16)> {
        let groups = || self.files().filter_map(|file| file.sst.meta().key_groups());
        Some((groups().map(|(low, _)| low).min()?, groups().map(|(_, high)| high).max()?))
    }

    /// The process that has the store open, if the system says so.
    pub(super) fn holder(&self) -> Option<u32> {
        holder(&self.path)
    }
}

/// A file of the store, mapped.
#[derive(Debug)]
pub(super) struct SstFile {
    pub(super) meta: FileMeta,
    pub(super) sst: Sst<Mapping>,
    path: PathBuf,
}

impl SstFile {
    fn open(storage: &Storage, meta: &FileMeta) -> Result<Self> {
        let path = storage.path(&meta.number.name());
        let mapping = storage.open(&meta.number.name())?;
        let bytes = mapping.len();
        ensure!(
            bytes as u64 == meta.bytes,
            "{} has {bytes} bytes, and {} as {MANIFEST} says",
            path.display(),
            meta.bytes
        );
        let read = |range: Range<usize>| {
            mapping.populate(range).with_context(|| format!("cannot read {}", path.display()))
        };
        let damaged = || format!("{} is damaged", path.display());
        read(bytes.saturating_sub(TAIL_BYTES)..bytes)?;
        read(Sst::<Mapping>::open_range(&mapping).with_context(damaged)?)?;
        let sst = Sst::open(mapping).with_context(damaged)?;
        Ok(Self { meta: meta.clone(), sst, path })
    }

    /// Brings a block in, and puts it into `image`, verified and uncompressed.
    ///
    /// Errors: it cannot be read, or is damaged.
    pub(super) fn read_block(&self, block: u32, image: &mut AlignedVec<16>) -> Result<()> {
        let range = self.sst.block_range(block).with_context(|| format!("there is no block {block}"))?;
        self.read(range.clone())?;
        self.sst.unpack_block(block, image).with_context(|| format!("{} is damaged", self.path.display()))?;
        self.sst.source().release(range);
        Ok(())
    }

    /// Brings the filter in, and verifies it.
    ///
    /// Errors: it cannot be read, or is damaged.
    pub(super) fn read_filter(&self) -> Result<()> {
        self.read(self.sst.section_range(Section::Filter))?;
        let verified = self.sst.verify_section(Section::Filter);
        verified.with_context(|| format!("{} is damaged", self.path.display()))
    }

    fn read(&self, range: Range<usize>) -> Result<()> {
        self.sst.source().populate(range).with_context(|| format!("cannot read {}", self.path.display()))
    }
}

/// Opens a directory to be read.
///
/// Errors: it is none, or nothing in it is a store's: says what to name instead.
pub(super) fn open_storage(path: &Path) -> Result<Storage> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
    ensure!(metadata.is_dir(), "{} is no directory: name the one that holds {MANIFEST}", path.display());
    let storage = Storage::read_only(path)?;
    if storage.length(MANIFEST)?.is_none() {
        let is_file = |name: &String| FileNumber::of_name(name).is_some();
        let files = storage.list()?.into_iter().filter(|file| is_file(&file.name)).count();
        ensure!(
            files == 0,
            "{}/{MANIFEST} is lost, and without it nobody knows which of the {files} SSTs count: restore it, or another snapshot",
            path.display()
        );
        let stores = stores_below(path)?;
        ensure!(stores.is_empty(), "{} is no store, but these are: {}", path.display(), stores.join(", "));
        bail!("{} is no store and no snapshot: it has no {MANIFEST}", path.display());
    }
    Ok(storage)
}

/// The directories in `path` that are stores.
fn stores_below(path: &Path) -> Result<Vec<String>> {
    let mut stores = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let entry = entry?.path();
        if entry.join(MANIFEST).is_file() {
            stores.push(entry.display().to_string());
        }
    }
    stores.sort_unstable();
    Ok(stores)
}

/// Reads the manifest.
///
/// Errors: it cannot be read; says what to do.
fn read_manifest(storage: &Storage, path: &Path) -> Result<(Version, Option<TornRecord>)> {
    let read = || {
        Manifest::read_alone(storage).map_err(|error| {
            let advice = match error {
                ManifestError::Damaged { .. } => {
                    format!("thalweg state verify {} says what else is damaged", path.display())
                }
                ManifestError::Format { .. } => "use the release that wrote it".to_owned(),
                _ => return error.into(),
            };
            anyhow::Error::new(error).context(advice)
        })
    };
    wait_for_append(path, read, |(_, torn)| torn.is_some())
}

/// Reads a manifest again if it looks torn and its owner may just be writing the last record.
pub(super) fn wait_for_append<T>(
    path: &Path,
    read: impl Fn() -> Result<T>,
    is_torn: impl Fn(&T) -> bool,
) -> Result<T> {
    for _ in 1..ATTEMPTS {
        let found = read()?;
        if !is_torn(&found) || holder(path).is_none() {
            return Ok(found);
        }
        thread::sleep(APPEND_TIME);
    }
    read()
}

type Opened = (BTreeMap<FileNumber, SstFile>, BTreeMap<FileNumber, anyhow::Error>);

fn open_files(storage: &Storage, version: &Version) -> Opened {
    let (mut files, mut unreadable) = Opened::default();
    for meta in version.files() {
        match SstFile::open(storage, meta) {
            Ok(file) => drop(files.insert(meta.number, file)),
            Err(error) => drop(unreadable.insert(meta.number, error)),
        }
    }
    (files, unreadable)
}

/// The process that has locked the directory: the kernel's list says it without a lock of one's own.
fn holder(path: &Path) -> Option<u32> {
    let inode = fs::metadata(path.join("LOCK")).ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // Such as `1: FLOCK  ADVISORY  WRITE 4242 fd:01:1234 0 EOF`: the fifth is the process, the sixth ends with the inode.
        let mut words = line.split_whitespace();
        let process = words.nth(4)?.parse().ok()?;
        let is_ours = words.next()?.rsplit(':').next() == Some(&inode);
        is_ours.then_some(process)
    })
}
