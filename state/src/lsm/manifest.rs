//! The file that remembers a version: a log of edits, of which the first makes the whole version.
//!
//! ```text
//!   open: read MANIFEST ─▶ version ─▶ a new MANIFEST of one record takes its place, at once
//!   append(edit):          version ─▶ next version;  record at the end, synced
//!                          too long? a new MANIFEST of one record takes its place, at once
//! ```
//!
//! Invariants:
//! - after a crash at any point the manifest says the version before or after the edit on its way;
//! - files are published before the edit that adds them, and removed after the edit that removes them;
//! - after an error nothing more is appended: what the file says now, only reading it again tells.
//!
//! # Decisions
//! - **One name, replaced by a rename**, rather than numbered manifests and a file that names the current one: the
//!   rename is the switch, and there is nothing that could refer to what is missing.
//! - **Opening writes a new manifest.** So nothing is appended behind a torn record, and what was read is durable even
//!   if a failed sync had left it in the page cache only. It costs two syncs.

use super::version::{FileNumber, Version, VersionEdit, VersionError};
use crate::storage::{Log, Storage, StorageError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The manifest's name.
pub const MANIFEST: &str = "MANIFEST";
/// The version of the format, which the first line names.
pub const MANIFEST_FORMAT: u32 = 1;
/// The first line, up to the version.
const MAGIC: &str = "thalweg manifest ";
/// A manifest that is longer is none.
pub(super) const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// A log of edits grows to this beyond twice the snapshot it begins with, before a new one takes its place.
const LOG_BYTES: u64 = 64 << 10;
/// What comes before a record's JSON: length and checksum, each with a space behind it.
const PREFIX_BYTES: usize = 8 + 1 + 16 + 1;
/// What a disk writes at once.
const SECTOR_BYTES: u64 = 512;

/// The manifest of a store that is open, and its version.
///
/// ```
/// use thalweg_state::lsm::{Manifest, VersionEdit};
/// use thalweg_state::storage::Storage;
/// let storage = Storage::memory();
/// let (mut manifest, _) = Manifest::open(&storage)?;
/// let options = [("profile".to_owned(), "nvme".to_owned())].into();
/// manifest.append(&VersionEdit { options, ..VersionEdit::default() })?;
/// drop(manifest);
///
/// let recovery = Manifest::read(&storage)?;
/// assert_eq!(recovery.version.options()["profile"], "nvme");
/// # Ok::<(), thalweg_state::lsm::ManifestError>(())
/// ```
#[derive(Debug)]
pub struct Manifest {
    storage: Storage,
    version: Arc<Version>,
    log: Log,
    /// The manifest's length, and what it was when it had one record.
    bytes: u64,
    snapshot_bytes: u64,
    numbers: FileNumbers,
    is_poisoned: bool,
}

impl Manifest {
    /// Reads the manifest of a store, checks that its files are there, and writes a new one in its place; an empty
    /// storage becomes an empty store.
    ///
    /// Errors: as [`Manifest::read`]; `Lost` if there is none, but SSTs are; those of the storage.
    pub fn open(storage: &Storage) -> Result<(Self, Recovery), ManifestError> {
        let recovery = match storage.length(MANIFEST)? {
            Some(_) => Self::read(storage)?,
            None => Recovery::of_nothing(storage)?,
        };
        let next_file = recovery.next_file;
        let snapshot = VersionEdit { next_file: Some(next_file), ..recovery.version.snapshot() };
        let version = Version::default().apply(&snapshot).map_err(ManifestError::Edit)?;
        let (log, bytes) = write(storage, &version)?;
        let manifest = Self {
            storage: storage.clone(),
            version: Arc::new(version),
            log,
            bytes,
            snapshot_bytes: bytes,
            numbers: FileNumbers(Arc::new(AtomicU64::new(next_file.0))),
            is_poisoned: false,
        };
        Ok((manifest, recovery))
    }

    /// Reads the manifest of a store and checks that its files are there. Changes nothing.
    ///
    /// Errors: `Storage` with `Missing` if there is no manifest; `Foreign`, `Format`, `Damaged`; `MissingFile` and
    /// `FileLength` for the files it names.
    pub fn read(storage: &Storage) -> Result<Recovery, ManifestError> {
        let (version, torn) = Self::read_alone(storage)?;
        Recovery::of_files(storage, version, torn)
    }

    /// Reads the manifest of a store, whatever there is of its files. Changes nothing.
    ///
    /// Errors: `Storage` with `Missing` if there is no manifest; `Foreign`, `Format`, `Damaged`.
    ///
    /// ```
    /// # use thalweg_state::{lsm::Manifest, storage::Storage};
    /// let storage = Storage::memory();
    /// assert!(Manifest::read_alone(&storage).is_err());
    /// let (manifest, _) = Manifest::open(&storage)?;
    /// assert_eq!(Manifest::read_alone(&storage)?, (manifest.version().as_ref().clone(), None));
    /// # Ok::<(), thalweg_state::lsm::ManifestError>(())
    /// ```
    pub fn read_alone(storage: &Storage) -> Result<(Version, Option<TornRecord>), ManifestError> {
        let bytes = storage.read(MANIFEST, MANIFEST_BYTES_MAX)?;
        parse(&bytes).map_err(|error| error.at(storage.path(MANIFEST)))
    }

    /// The version as of the last edit.
    pub fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// Where new files get their numbers.
    pub fn numbers(&self) -> &FileNumbers {
        &self.numbers
    }

    /// Makes an edit durable, with the numbers given so far, and returns the version after it.
    ///
    /// Errors: `Edit` if it makes no version, and then nothing has happened. Any other is the last word: whether the edit
    /// survives is open, and from then on all are `Poisoned`.
    pub fn append(&mut self, edit: &VersionEdit) -> Result<Arc<Version>, ManifestError> {
        if self.is_poisoned {
            return Err(ManifestError::Poisoned { path: self.storage.path(MANIFEST) });
        }
        let next_file = FileNumber(self.numbers.0.load(Ordering::Relaxed));
        let edit = VersionEdit { next_file: edit.next_file.max(Some(next_file)), ..edit.clone() };
        let version = self.version.apply(&edit).map_err(ManifestError::Edit)?;
        self.is_poisoned = true; // Unless it turns out otherwise.
        if self.bytes > 2 * self.snapshot_bytes + LOG_BYTES {
            (self.log, self.bytes) = write(&self.storage, &version)?;
            self.snapshot_bytes = self.bytes;
        } else {
            let record = record(&edit, self.bytes);
            self.log.append(&record)?;
            self.bytes += record.len() as u64;
        }
        self.is_poisoned = false;
        self.numbers.0.fetch_max(version.next_file().0, Ordering::Relaxed);
        self.version = Arc::new(version);
        Ok(self.version.clone())
    }
}

/// Gives numbers to the new files of a store, on any thread. Clones give numbers of the same store. An edit makes
/// durable which were given before it.
///
/// ```
/// # use thalweg_state::{lsm::Manifest, storage::Storage};
/// let (manifest, _) = Manifest::open(&Storage::memory())?;
/// let numbers = manifest.numbers().clone();
/// assert_ne!(numbers.take(), manifest.numbers().take());
/// # Ok::<(), thalweg_state::lsm::ManifestError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileNumbers(Arc<AtomicU64>);

impl FileNumbers {
    /// A number that no other file has or will have.
    pub fn take(&self) -> FileNumber {
        FileNumber(self.0.fetch_add(1, Ordering::Relaxed)) // Only this counter is shared: there is nothing to order.
    }
}

/// What was found when a manifest was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The version.
    pub version: Version,
    /// The last record, if a crash left a part of it: the edit that it was to be never happened.
    pub torn: Option<TornRecord>,
    /// SSTs that the version does not name: of unfinished work, or not removed in time. To be removed.
    pub garbage: Vec<String>,
    /// Above the numbers of all files, garbage too.
    next_file: FileNumber,
}

/// Where a record was that a crash has torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornRecord {
    /// Where it begins in the manifest.
    pub offset: u64,
    /// What there is of it.
    pub bytes: u64,
}

impl Recovery {
    fn of_nothing(storage: &Storage) -> Result<Self, ManifestError> {
        let recovery = Self::of_files(storage, Version::default(), None)?;
        match recovery.garbage.len() {
            0 => Ok(recovery),
            files => Err(ManifestError::Lost { path: storage.path(MANIFEST), files }),
        }
    }

    fn of_files(
        storage: &Storage,
        version: Version,
        torn: Option<TornRecord>,
    ) -> Result<Self, ManifestError> {
        let files = storage.list()?.into_iter();
        let mut found: BTreeMap<FileNumber, u64> =
            files.filter_map(|file| Some((FileNumber::of_name(&file.name)?, file.bytes))).collect();
        let above = found.last_key_value().map_or(0, |(number, _)| number.0 + 1);
        for file in version.files() {
            let (path, manifest) = (storage.path(&file.number.name()), storage.path(MANIFEST));
            match found.remove(&file.number) {
                None => return Err(ManifestError::MissingFile { path, manifest }),
                Some(found) if found != file.bytes => {
                    return Err(ManifestError::FileLength { path, found, manifest, expected: file.bytes });
                }
                Some(_) => {}
            }
        }
        let garbage = found.into_keys().map(FileNumber::name).collect();
        let next_file = version.next_file().max(FileNumber(above));
        Ok(Self { version, torn, garbage, next_file })
    }
}

/// Writes a manifest of one record, and opens it for more. Returns its length too.
fn write(storage: &Storage, version: &Version) -> Result<(Log, u64), ManifestError> {
    let mut bytes = format!("{MAGIC}{MANIFEST_FORMAT}\n").into_bytes();
    bytes.extend(record(&version.snapshot(), bytes.len() as u64));
    let mut writer = storage.create(MANIFEST)?;
    writer.write(&bytes)?;
    writer.replace()?;
    Ok((storage.append(MANIFEST)?, bytes.len() as u64))
}

/// The line for an edit at `offset`.
fn record(edit: &VersionEdit, offset: u64) -> Vec<u8> {
    let json = serde_json::to_string(edit).expect("an edit has nothing that JSON lacks");
    format!("{:08x} {:016x} {json}\n", json.len(), xxh3_64_with_seed(json.as_bytes(), offset)).into_bytes()
}

/// The version that a manifest says, and the record at its end that a crash has torn.
fn parse(bytes: &[u8]) -> Result<(Version, Option<TornRecord>), ParseError> {
    let first = header_bytes(bytes)?;
    let mut version = Version::default();
    let mut offset = first;
    loop {
        let (line, later) = split_line(&bytes[offset..]);
        let is_last = later.is_empty() && offset > first; // The first one was there before the file had its name.
        match edit(line, offset as u64) {
            Ok(edit) => version
                .change(&edit)
                .map_err(|error| ParseError::Damaged { offset: offset as u64, source: error.into() })?,
            Err(_) if is_last && is_torn(line, offset as u64) => {
                return Ok((version, Some(TornRecord { offset: offset as u64, bytes: line.len() as u64 })));
            }
            Err(source) => return Err(ParseError::Damaged { offset: offset as u64, source }),
        }
        if later.is_empty() {
            return Ok((version, None));
        }
        offset += line.len();
    }
}

/// The length of the first line, which says that this is a manifest in a format that we know.
fn header_bytes(bytes: &[u8]) -> Result<usize, ParseError> {
    let (line, _) = split_line(bytes);
    let text = line.strip_suffix(b"\n").and_then(|line| str::from_utf8(line).ok());
    let format =
        text.and_then(|text| text.strip_prefix(MAGIC)).and_then(decimal).ok_or(ParseError::Foreign)?;
    match format == MANIFEST_FORMAT {
        true => Ok(line.len()),
        false => Err(ParseError::Format { found: format }),
    }
}

/// A number as it is written: without a sign, without leading zeros.
fn decimal(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

/// The first line with its end, and what comes after it.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1))
}

/// The edit that a line holds.
fn edit(line: &[u8], offset: u64) -> Result<VersionEdit, RecordError> {
    Ok(serde_json::from_slice(json(line.strip_suffix(b"\n").ok_or(RecordError::Frame)?, offset)?)?)
}

/// The JSON in a line without its end, if it is what was written there.
fn json(line: &[u8], offset: u64) -> Result<&[u8], RecordError> {
    let (prefix, json) = line.split_at_checked(PREFIX_BYTES).ok_or(RecordError::Frame)?;
    if prefix[..9] != *format!("{:08x} ", json.len()).as_bytes() {
        return Err(RecordError::Frame);
    }
    match prefix[9..] == *format!("{:016x} ", xxh3_64_with_seed(json, offset)).as_bytes() {
        true => Ok(json),
        false => Err(RecordError::Checksum),
    }
}

/// Whether a line that is no record may be what a crash has left of one: it ends too early, or a sector of it was never
/// written and reads as zeros. A record with another fault was damaged later.
fn is_torn(line: &[u8], offset: u64) -> bool {
    let (mut rest, mut at) = (line, offset);
    while !rest.is_empty() {
        let here = rest.len().min((SECTOR_BYTES - at % SECTOR_BYTES) as usize);
        let (sector, later) = rest.split_at(here);
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        (rest, at) = (later, at + here as u64);
    }
    match line.split_last() {
        Some((b'\n', _)) => false,
        Some((_, record)) => json(record, offset).is_err(), // Else it is complete, and only its end is damaged.
        None => true,
    }
}

/// Why bytes are no manifest.
#[derive(Debug)]
enum ParseError {
    Foreign,
    Format { found: u32 },
    Damaged { offset: u64, source: RecordError },
}

impl ParseError {
    fn at(self, path: PathBuf) -> ManifestError {
        match self {
            Self::Foreign => ManifestError::Foreign { path },
            Self::Format { found } => ManifestError::Format { path, found },
            Self::Damaged { offset, source } => ManifestError::Damaged { path, offset, source },
        }
    }
}

/// Why a line of a manifest is no record.
///
/// ```
/// use thalweg_state::lsm::RecordError;
/// assert_eq!(RecordError::Checksum.to_string(), "its checksum is another one");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It does not begin with its length and a checksum, or is not of this length.
    #[error("it is no line of length, checksum and JSON")]
    Frame,
    /// The bytes are not those that were written, or were written elsewhere.
    #[error("its checksum is another one")]
    Checksum,
    /// It was written so, but not by this format.
    #[error("it is no edit")]
    Json(#[from] serde_json::Error),
    /// It was written so, but cannot follow what comes before it.
    #[error("it is no edit of the version before")]
    Edit(#[from] VersionError),
}

/// What can go wrong with a manifest.
///
/// ```
/// use thalweg_state::lsm::{Manifest, ManifestError};
/// use thalweg_state::storage::Storage;
/// let storage = Storage::memory();
/// let mut writer = storage.create("MANIFEST")?;
/// writer.write(b"thalweg manifest 99\n")?;
/// writer.publish()?;
/// assert!(matches!(Manifest::open(&storage), Err(ManifestError::Format { found: 99, .. })));
/// # Ok::<(), ManifestError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum ManifestError {
    /// Where it is kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There are SSTs, and nothing says which of them count.
    #[error("{path} is lost, but there are {files} SSTs beside it: restore it, or empty the directory", path = path.display())]
    Lost { path: PathBuf, files: usize },
    /// Something else has this name.
    #[error("{path} is no manifest", path = path.display())]
    Foreign { path: PathBuf },
    /// Another release has written it.
    #[error("{path} has format {found}, this release reads format {MANIFEST_FORMAT}", path = path.display())]
    Format { path: PathBuf, found: u32 },
    /// The bytes are not those that were written.
    #[error("{path} is damaged: the record at byte {offset} is none", path = path.display())]
    Damaged { path: PathBuf, offset: u64, source: RecordError },
    /// The store is not complete.
    #[error("{path} is missing, {manifest} refers to it", path = path.display(), manifest = manifest.display())]
    MissingFile { path: PathBuf, manifest: PathBuf },
    /// The store is not as it was written.
    #[error(
        "{path} has {found} bytes, and {expected} as {manifest} says",
        path = path.display(),
        manifest = manifest.display()
    )]
    FileLength { path: PathBuf, found: u64, manifest: PathBuf, expected: u64 },
    /// A bug of who made the edit.
    #[error("this edit cannot be made")]
    Edit(#[source] VersionError),
    /// An earlier append failed: open the store anew.
    #[error("{path} takes nothing more: an earlier edit failed to be written", path = path.display())]
    Poisoned { path: PathBuf },
}

#[cfg(test)]
mod tests;
