//! Which files make up a store at one time, and what changes from one time to the next.
//!
//! ```text
//!   level 0   run 9  [000009 ──────── ]            newest first; runs may overlap, the files of one run do not
//!             run 7  [  000007 ──][000008 ── ]
//!   level 1          [000003 ─][000004 ─────][000005]
//!   level 2          [000001 ──────────][000002 ────]
//! ```
//!
//! Invariants:
//! - the files of a run are sorted by their keys and do not overlap; each level from 1 on is one run;
//! - a file number is in a version once, and below the number that the next file gets;
//! - an edit is applied wholly or refused: any edit, even a damaged one, leaves a version of which this is true.

use super::hex;
use super::range::KeyRange;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How many levels there are, with level 0.
pub const LEVEL_COUNT: u8 = 8;
/// File numbers are below: integers that every reader of JSON has.
const FILE_NUMBER_END: u64 = 1 << 53;
/// What the names of SSTs end with.
const SUFFIX: &str = ".sst";

/// The number of an SST, by which it is named: below 2⁵³, and not used twice.
///
/// ```
/// use thalweg_state::lsm::FileNumber;
/// assert_eq!(FileNumber(42).name(), "000042.sst");
/// assert_eq!(FileNumber::of_name("000042.sst"), Some(FileNumber(42)));
/// assert_eq!(FileNumber::of_name("42.sst"), None);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileNumber(pub u64);

impl FileNumber {
    /// The file's name.
    pub fn name(self) -> String {
        format!("{self}{SUFFIX}")
    }

    /// The number of the SST which has this name, or `None` if none has.
    pub fn of_name(name: &str) -> Option<Self> {
        let number = Self(name.strip_suffix(SUFFIX)?.parse().ok()?);
        (number.0 < FILE_NUMBER_END && number.name() == name).then_some(number)
    }
}

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// What a store has to know of an SST without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMeta {
    /// Names the file.
    pub number: FileNumber,
    /// Where it is, below [`LEVEL_COUNT`].
    pub level: u8,
    /// Its run in level 0: the greater, the newer. 0 in all other levels.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub run: u64,
    /// The file's length.
    pub bytes: u64,
    /// How many keys it says something of, range tombstones apart.
    pub entries: u64,
    /// All of its entries and range tombstones are in this range.
    pub keys: KeyRange,
    /// Whether it holds range tombstones, so that it also matters to keys of which it has no entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_range_tombstones: bool,
    /// The fingerprints of the schemas, by state id, with which its values were written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schemas: BTreeMap<u16, Fingerprint>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A schema's fingerprint: in JSON as 16 hexadecimal digits, as not every reader has integers of 64 bits.
///
/// ```
/// use thalweg_state::lsm::Fingerprint;
/// assert_eq!(Fingerprint(0xbeef).to_string(), "000000000000beef");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = hex::decode(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self(u64::from_be_bytes(bytes))).ok_or("a fingerprint has 16 digits 0-9a-f")
    }
}

/// Sorted files that do not overlap.
///
/// ```
/// use thalweg_state::lsm::{Version, VersionEdit};
/// # use thalweg_state::lsm::{FileMeta, FileNumber, KeyRange};
/// # let file = |number, begin: &[u8], end: &[u8]| FileMeta {
/// #     number: FileNumber(number), level: 1, run: 0, bytes: 4096, entries: 1, keys: KeyRange::new(begin, end),
/// #     has_range_tombstones: false, schemas: Default::default(),
/// # };
/// # let added = vec![file(1, b"a", b"c"), file(2, b"e", b"g")];
/// let edit = VersionEdit { added, next_file: Some(FileNumber(3)), ..VersionEdit::default() };
/// let version = Version::default().apply(&edit)?;
/// let run = version.level(1);
/// assert_eq!((run.find(b"b"), run.find(b"d"), run.find(b"e")), (Some(0), None, Some(1)));
/// # Ok::<(), thalweg_state::lsm::VersionError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    number: u64,
    files: Vec<Arc<FileMeta>>,
}

impl Run {
    /// What orders the runs of level 0: the greater, the newer. 0 for all other levels.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The files in the order of their keys.
    pub fn files(&self) -> &[Arc<FileMeta>] {
        &self.files
    }

    /// The index of the only file that may say something of `key`.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let index = self.files.partition_point(|file| *file.keys.end <= *key);
        self.files.get(index).filter(|file| *file.keys.begin <= *key).map(|_| index)
    }

    /// The files that may say something of keys in `range`.
    pub fn overlapping(&self, range: &KeyRange) -> &[Arc<FileMeta>] {
        let start = self.files.partition_point(|file| file.keys.end <= range.begin);
        let end = self.files.partition_point(|file| file.keys.begin < range.end);
        &self.files[start..end.max(start)]
    }

    /// The length of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    fn insert(&mut self, file: &Arc<FileMeta>) -> Result<(), VersionError> {
        let index = self.files.partition_point(|other| other.keys.begin < file.keys.begin);
        let neighbours =
            [index.checked_sub(1), Some(index)].into_iter().flatten().filter_map(|i| self.files.get(i));
        for other in neighbours {
            if other.keys.overlaps(&file.keys) {
                return Err(VersionError::Overlap {
                    number: file.number,
                    other: other.number,
                    level: file.level,
                });
            }
        }
        self.files.insert(index, file.clone());
        Ok(())
    }
}

/// The files that make up a store at one time. Immutable: an edit makes the next one, and readers keep theirs.
///
/// ```
/// use thalweg_state::lsm::{FileMeta, FileNumber, KeyRange, Version, VersionEdit};
/// let file = FileMeta {
///     number: FileNumber(1),
///     level: 0,
///     run: 1,
///     bytes: 8192,
///     entries: 20,
///     keys: KeyRange::of_keys(b"bee", b"cat"),
///     has_range_tombstones: false,
///     schemas: Default::default(),
/// };
/// let edit = VersionEdit { added: vec![file], next_file: Some(FileNumber(2)), ..VersionEdit::default() };
/// let version = Version::default().apply(&edit)?;
/// assert_eq!(version.files_for(b"bug").count(), 1);
/// assert_eq!(version.files_for(b"dog").count(), 0);
/// # Ok::<(), thalweg_state::lsm::VersionError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// Level 0, newest first.
    runs: Vec<Run>,
    /// The levels from 1 on.
    levels: [Run; LEVEL_COUNT as usize - 1],
    /// The files of all runs.
    files: BTreeMap<FileNumber, Arc<FileMeta>>,
    next_file: FileNumber,
    options: BTreeMap<String, String>,
}

impl Version {
    /// The runs of level 0, newest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run which is `level`, 1 or more. Panics: if it is 0, or not below [`LEVEL_COUNT`].
    pub fn level(&self, level: u8) -> &Run {
        assert!((1..LEVEL_COUNT).contains(&level), "level {level} is not one run");
        &self.levels[usize::from(level) - 1]
    }

    /// All runs, newest first: those of level 0, then level 1 and so on, of which some may be empty.
    pub fn newest_first(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().chain(&self.levels)
    }

    /// All files, in the order of their numbers.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Arc<FileMeta>> {
        self.files.values()
    }

    /// The file which has this number.
    ///
    /// ```
    /// # use thalweg_state::lsm::{FileNumber, Version};
    /// assert_eq!(Version::default().file(FileNumber(1)), None);
    /// ```
    pub fn file(&self, number: FileNumber) -> Option<&Arc<FileMeta>> {
        self.files.get(&number)
    }

    /// The files that may say something of `key`, newest first.
    pub fn files_for(&self, key: &[u8]) -> impl Iterator<Item = &Arc<FileMeta>> {
        self.newest_first().filter_map(move |run| run.find(key).map(|index| &run.files[index]))
    }

    /// The files of a level that may say something of keys in `range`: newest runs first, then by key.
    ///
    /// ```
    /// # use thalweg_state::lsm::{KeyRange, Version};
    /// assert_eq!(Version::default().overlapping(1, &KeyRange::new(b"a", b"b")).count(), 0);
    /// ```
    pub fn overlapping(&self, level: u8, range: &KeyRange) -> impl Iterator<Item = &Arc<FileMeta>> {
        let runs = if level == 0 { &self.runs } else { std::slice::from_ref(self.level(level)) };
        runs.iter().flat_map(move |run| run.overlapping(range))
    }

    /// The number below which all numbers may have been used.
    pub fn next_file(&self) -> FileNumber {
        self.next_file
    }

    /// The options that the store was last opened with, in words.
    pub fn options(&self) -> &BTreeMap<String, String> {
        &self.options
    }

    /// The version after an edit: first files are removed, then others added, so that one can be moved to another level.
    ///
    /// Errors: if that would be no version.
    pub fn apply(&self, edit: &VersionEdit) -> Result<Self, VersionError> {
        let mut next = self.clone();
        next.change(edit)?;
        Ok(next)
    }

    /// Becomes the version after an edit; after an error, something in between.
    pub(super) fn change(&mut self, edit: &VersionEdit) -> Result<(), VersionError> {
        for number in &edit.removed {
            self.remove(*number)?;
        }
        let (before, next_file) = (self.next_file, edit.next_file.unwrap_or(self.next_file));
        if next_file < before {
            return Err(VersionError::Backwards { next_file, before });
        }
        if next_file.0 > FILE_NUMBER_END {
            return Err(VersionError::Exhausted { next_file });
        }
        self.next_file = next_file;
        for file in &edit.added {
            self.add(&Arc::new(file.clone()))?;
        }
        self.options.extend(edit.options.clone());
        Ok(())
    }

    /// The edit that makes this version of an empty one.
    ///
    /// ```
    /// # use thalweg_state::lsm::{FileNumber, Version, VersionEdit};
    /// let edit = VersionEdit { next_file: Some(FileNumber(7)), ..VersionEdit::default() };
    /// let version = Version::default().apply(&edit)?;
    /// assert_eq!(Version::default().apply(&version.snapshot())?, version);
    /// # Ok::<(), thalweg_state::lsm::VersionError>(())
    /// ```
    pub fn snapshot(&self) -> VersionEdit {
        VersionEdit {
            added: self.files().map(|file| FileMeta::clone(file)).collect(),
            removed: Vec::new(),
            next_file: Some(self.next_file),
            options: self.options.clone(),
        }
    }

    fn add(&mut self, file: &Arc<FileMeta>) -> Result<(), VersionError> {
        let FileMeta { number, level, run, .. } = **file;
        if number >= self.next_file {
            return Err(VersionError::Unnumbered { number, next_file: self.next_file });
        }
        if file.keys.is_empty() {
            return Err(VersionError::Empty { number });
        }
        if self.files.contains_key(&number) {
            return Err(VersionError::Twice { number });
        }
        match level {
            1.. if run != 0 => return Err(VersionError::Run { number, level }),
            LEVEL_COUNT.. => return Err(VersionError::Level { number, level }),
            _ => self.run_mut(level, run).insert(file)?,
        }
        self.files.insert(number, file.clone());
        Ok(())
    }

    fn remove(&mut self, number: FileNumber) -> Result<(), VersionError> {
        let file = self.files.remove(&number).ok_or(VersionError::Unknown { number })?;
        let files = &mut self.run_mut(file.level, file.run).files;
        let index = files.partition_point(|other| other.keys.begin < file.keys.begin);
        assert_eq!(files.remove(index).number, number, "a file is in the run that it says");
        if file.level == 0 && files.is_empty() {
            self.runs.retain(|run| run.number != file.run);
        }
        Ok(())
    }

    /// A run of level 0, which is made if there is none of this number, or the run which is the level.
    fn run_mut(&mut self, level: u8, number: u64) -> &mut Run {
        if level > 0 {
            return &mut self.levels[usize::from(level) - 1];
        }
        let index = self.runs.partition_point(|run| run.number > number);
        if self.runs.get(index).is_none_or(|run| run.number != number) {
            self.runs.insert(index, Run { number, files: Vec::new() });
        }
        &mut self.runs[index]
    }
}

/// What makes the next version of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionEdit {
    /// Files that are complete and durable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<FileMeta>,
    /// Files of the version before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<FileNumber>,
    /// All numbers of files are below this one; `None` leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_file: Option<FileNumber>,
    /// Options by name, which take the place of those with the same names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Why an edit makes no version.
///
/// ```
/// use thalweg_state::lsm::{FileNumber, Version, VersionEdit, VersionError};
/// let edit = VersionEdit { removed: vec![FileNumber(3)], ..VersionEdit::default() };
/// assert_eq!(Version::default().apply(&edit), Err(VersionError::Unknown { number: FileNumber(3) }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum VersionError {
    /// It removes what is not there.
    #[error("file {number} is removed, but not there")]
    Unknown { number: FileNumber },
    /// It adds what is there.
    #[error("file {number} is there twice")]
    Twice { number: FileNumber },
    /// Two files of a run may have the same key.
    #[error("files {number} and {other} overlap in level {level}")]
    Overlap { number: FileNumber, other: FileNumber, level: u8 },
    /// There are fewer levels.
    #[error("file {number} is in level {level}, and there are {LEVEL_COUNT} levels")]
    Level { number: FileNumber, level: u8 },
    /// Runs are level 0's.
    #[error("file {number} is in level {level} and in a run")]
    Run { number: FileNumber, level: u8 },
    /// No key could be in it.
    #[error("file {number} has an empty range of keys")]
    Empty { number: FileNumber },
    /// The number could be given to another file.
    #[error("file {number} has a number that is not below the next file's, {next_file}")]
    Unnumbered { number: FileNumber, next_file: FileNumber },
    /// Numbers would be used twice.
    #[error("the next file's number goes back from {before} to {next_file}")]
    Backwards { next_file: FileNumber, before: FileNumber },
    /// No store has used so many.
    #[error("the next file's number, {next_file}, is beyond all numbers of files")]
    Exhausted { next_file: FileNumber },
}

#[cfg(test)]
mod tests;
