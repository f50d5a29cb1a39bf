//! Verification of a store or a snapshot: every byte of its manifest and of the files it names, and that they agree.
//!
//! ```text
//!   Verifier::open ─▶ MANIFEST ─▶ the files it names ── step: one file ──▶ damages: file, what, block, bytes
//!                        └─ damaged? all SSTs there are, each for itself
//! ```
//!
//! Invariants:
//! - nothing is written, locked or removed: the store may be in use;
//! - what its owner replaces meanwhile is no damage: a file is missing only if the manifest, read anew, still names it;
//! - one damaged byte is found wherever it is, and the bytes that are named have it among them.

use super::manifest::MANIFEST_BYTES_MAX;
use super::sst::{Sst, SstDamage, SstError, SstMeta};
use super::{
    FileMeta, FileNumber, KeyRange, MANIFEST, MANIFEST_FORMAT, Manifest, ManifestError, RecordError,
};
use crate::storage::{Mapping, Storage, StorageError};
use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// What is brought into memory at once.
const READ_BYTES: usize = 1 << 20;

/// One thing that is wrong with a store.
///
/// See [`Verifier`] for an example.
#[derive(Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: DamageKind,
    /// Where: the damaged bytes are in this range of the file, which is as narrow as the checksums tell. `None` if
    /// it is the file as a whole.
    pub bytes: Option<Range<u64>>,
}

impl Damage {
    /// The number of the block that is damaged, if it is one.
    pub fn block(&self) -> Option<u32> {
        match &self.kind {
            DamageKind::Sst(SstDamage { error: SstError::Block { block, .. }, .. }) => Some(*block),
            _ => None,
        }
    }
}

/// In one line: file, what and which block, bytes.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.kind)?;
        let mut source = self.kind.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        match &self.bytes {
            Some(bytes) if bytes.end - bytes.start == 1 => write!(f, " (byte {})", bytes.start),
            Some(bytes) => write!(f, " (bytes {} to {})", bytes.start, bytes.end.saturating_sub(1)),
            None => Ok(()),
        }
    }
}

/// What can be wrong with a file of a store.
///
/// ```
/// use thalweg_state::lsm::DamageKind;
/// let kind = DamageKind::Length { found: 7, expected: 4096 };
/// assert_eq!(kind.to_string(), "it has 7 bytes, and 4096 as MANIFEST says");
/// ```
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum DamageKind {
    /// The manifest names it.
    #[error("it is missing, and MANIFEST names it")]
    Missing,
    /// It was cut off, something was appended, or it is another file.
    #[error("it has {found} bytes, and {expected} as MANIFEST says")]
    Length { found: u64, expected: u64 },
    /// The disk does not give it.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// The SST is not as it was written.
    #[error("{0}")]
    Sst(SstDamage),
    /// It is an SST, and another one than the manifest says: of another store, or under another's name.
    #[error("it is another file than MANIFEST says: its {field} is {found}, and should be {expected}")]
    OtherFile { field: &'static str, found: String, expected: String },
    /// The manifest does not begin as one.
    #[error("it is no manifest, so the SSTs were verified each for itself")]
    NoManifest,
    /// Another release has written it, or the number of the format is damaged.
    #[error(
        "it has format {found}, this release reads format {MANIFEST_FORMAT}: use the release that wrote it"
    )]
    ManifestFormat { found: u32 },
    /// A record of the manifest is not as it was written.
    #[error("the record at byte {offset} is none, so the SSTs were verified each for itself")]
    Record { offset: u64, source: RecordError },
    /// A crash has torn the last record, or the manifest was cut off: a store that is opened goes on without it.
    #[error(
        "the last record, at byte {offset}, is torn: what it was to say is lost, the records before it count"
    )]
    TornRecord { offset: u64 },
}

/// What was verified so far, and what is left to do.
///
/// ```
/// assert_eq!(thalweg_state::lsm::VerifyTotals::default().damages, 0);
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct VerifyTotals {
    /// Files of which every byte was verified.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
    /// Their blocks.
    pub blocks: u64,
    /// Files that the store's owner has replaced in the meantime.
    pub replaced: u64,
    /// What was found.
    pub damages: u64,
    /// Files that are still to be verified.
    pub files_left: u64,
    /// Their length together, in bytes, as the manifest says it.
    pub bytes_left: u64,
}

/// Verifies a store or a snapshot, file by file.
///
/// ```
/// use thalweg_state::lsm::{Manifest, Verifier};
/// use thalweg_state::storage::Storage;
/// let storage = Storage::memory();
/// Manifest::open(&storage)?;
/// let mut verifier = Verifier::open(&storage)?;
/// let mut damages = Vec::new();
/// while verifier.step(&mut damages) {}
/// assert_eq!((damages.len(), verifier.totals().damages), (0, 0));
/// # Ok::<(), thalweg_state::lsm::ManifestError>(())
/// ```
#[derive(Debug)]
pub struct Verifier {
    storage: Storage,
    /// Of the manifest, until it is handed out.
    damage: Option<Damage>,
    files: VecDeque<File>,
    unnamed: Vec<String>,
    totals: VerifyTotals,
}

/// A file that is to be verified.
#[derive(Debug)]
struct File {
    number: FileNumber,
    bytes: u64,
    /// What the manifest says of it, if that can be read.
    meta: Option<FileMeta>,
}

impl Verifier {
    /// Verifies the manifest, and finds out which files there are. If the manifest is damaged, these are all SSTs in the place.
    ///
    /// Errors: `Storage`, with `Missing` if there is no manifest; `Lost` if there are SSTs without it.
    pub fn open(storage: &Storage) -> Result<Self, ManifestError> {
        let list = storage.list()?;
        let numbers = || list.iter().filter_map(|file| Some((FileNumber::of_name(&file.name)?, file.bytes)));
        if !list.iter().any(|file| file.name == MANIFEST) && numbers().count() > 0 {
            return Err(ManifestError::Lost { path: storage.path(MANIFEST), files: numbers().count() });
        }
        let bytes = storage.read(MANIFEST, MANIFEST_BYTES_MAX)?;
        let (version, damage) = match Manifest::read_alone(storage) {
            Ok((version, None)) => (Some(version), None),
            Ok((version, Some(torn))) => {
                let kind = DamageKind::TornRecord { offset: torn.offset };
                (Some(version), Some(manifest_damage(storage, kind, &bytes, torn.offset)))
            }
            Err(error) => {
                let (kind, offset) = match error {
                    ManifestError::Foreign { .. } => (DamageKind::NoManifest, 0),
                    ManifestError::Format { found, .. } => (DamageKind::ManifestFormat { found }, 0),
                    ManifestError::Damaged { offset, source, .. } => {
                        (DamageKind::Record { offset, source }, offset)
                    }
                    other => return Err(other),
                };
                (None, Some(manifest_damage(storage, kind, &bytes, offset)))
            }
        };
        let files: VecDeque<File> = match &version {
            Some(version) => version.files().map(|meta| File::named(meta)).collect(),
            None => numbers().map(|(number, bytes)| File { number, bytes, meta: None }).collect(),
        };
        let names: BTreeSet<FileNumber> = files.iter().map(|file| file.number).collect();
        let is_named = |name: &str| FileNumber::of_name(name).is_some_and(|number| names.contains(&number));
        let is_unnamed = |name: &String| name != MANIFEST && !is_named(name);
        let unnamed = list.iter().map(|file| file.name.clone()).filter(is_unnamed).collect();
        let totals = VerifyTotals {
            files_left: files.len() as u64,
            bytes_left: files.iter().fold(0, |sum, file| file.bytes.saturating_add(sum)),
            ..VerifyTotals::default()
        };
        Ok(Self { storage: storage.clone(), damage, files, unnamed, totals })
    }

    /// What is wrong with the manifest, until a step hands it out.
    pub fn manifest_damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// What was done, and is left to do.
    pub fn totals(&self) -> VerifyTotals {
        self.totals
    }

    /// Files in the place that the manifest does not name: what a crash has left, what the owner is just about to add, and
    /// what is not the store's. They are no damage, and are not verified.
    pub fn unnamed(&self) -> &[String] {
        &self.unnamed
    }

    /// Verifies the manifest or the next file, and adds what is wrong to `damages`. `false` once all is done. Waits for the disk,
    /// and brings all of a file into memory while it is being verified.
    pub fn step(&mut self, damages: &mut Vec<Damage>) -> bool {
        let before = damages.len();
        damages.extend(self.damage.take());
        let file = self.files.pop_front();
        if let Some(file) = &file {
            self.totals.files_left -= 1;
            self.totals.bytes_left = self.totals.bytes_left.saturating_sub(file.bytes);
            self.check(file, damages);
        }
        self.totals.damages += (damages.len() - before) as u64;
        file.is_some()
    }

    /// Narrows a damage to the byte that it is, if it is a single one of an SST. Returns whether it was found.
    ///
    /// Cost: as [`SstDamage::locate`].
    pub fn locate(&self, damage: &mut Damage) -> bool {
        let (DamageKind::Sst(of_file), Some(name)) = (&mut damage.kind, damage.path.file_name()) else {
            return false;
        };
        let Ok(file) = self.storage.open(&name.to_string_lossy()) else { return false };
        if unreadable(&file).is_some() || !of_file.locate(&file) {
            return false;
        }
        damage.bytes = Some(of_file.bytes.clone());
        true
    }

    fn check(&mut self, file: &File, damages: &mut Vec<Damage>) {
        let path = self.storage.path(&file.number.name());
        let whole = |kind| Damage { path: path.clone(), kind, bytes: None };
        let mapping = match self.open_file(file) {
            Ok(Some(mapping)) => mapping,
            Ok(None) => return self.totals.replaced += 1,
            Err(kind) => return damages.push(whole(kind)),
        };
        if let Some((bytes, error)) = unreadable(&mapping) {
            let kind = DamageKind::Unreadable(error);
            return damages.push(Damage { path, kind, bytes: Some(bytes.start as u64..bytes.end as u64) });
        }
        self.totals.files += 1;
        self.totals.bytes += mapping.len() as u64;
        let of_file = |damage: SstDamage| {
            let bytes = Some(damage.bytes.clone());
            Damage { path: path.clone(), kind: DamageKind::Sst(damage), bytes }
        };
        damages.extend(SstDamage::of_file(&mapping).into_iter().map(of_file));
        if let Ok(sst) = Sst::open(&*mapping) {
            self.totals.blocks += u64::from(sst.blocks());
            if let Some(meta) = &file.meta {
                damages.extend(disagreement(meta, sst.meta()).map(whole));
            }
        }
    }

    /// The bytes of a file, if it is as long as it should be; `None` if it has been replaced since the manifest was read.
    fn open_file(&self, file: &File) -> Result<Option<Mapping>, DamageKind> {
        match self.storage.open(&file.number.name()) {
            Ok(mapping) if mapping.len() as u64 == file.bytes => Ok(Some(mapping)),
            Ok(mapping) => Err(DamageKind::Length { found: mapping.len() as u64, expected: file.bytes }),
            Err(StorageError::Missing { .. }) => match Manifest::read_alone(&self.storage) {
                Ok((version, _)) if version.file(file.number).is_none() => Ok(None),
                _ => Err(DamageKind::Missing),
            },
            Err(StorageError::Io { source, .. }) => Err(DamageKind::Unreadable(source)),
            Err(error) => Err(DamageKind::Unreadable(io::Error::other(error))),
        }
    }
}

impl File {
    fn named(meta: &FileMeta) -> Self {
        Self { number: meta.number, bytes: meta.bytes, meta: Some(meta.clone()) }
    }
}

/// The damage of the line at `offset` of the manifest.
fn manifest_damage(storage: &Storage, kind: DamageKind, bytes: &[u8], offset: u64) -> Damage {
    let rest = bytes.get(offset as usize..).unwrap_or_default();
    let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
    Damage { path: storage.path(MANIFEST), kind, bytes: Some(offset..offset + line as u64) }
}

/// Brings all of a file in, and says where that fails.
fn unreadable(mapping: &Mapping) -> Option<(Range<usize>, io::Error)> {
    (0..mapping.len()).step_by(READ_BYTES).find_map(|start| {
        let range = start..mapping.len().min(start + READ_BYTES);
        mapping.populate(range.clone()).err().map(|error| (range, error))
    })
}

/// The first thing that the manifest says of a file otherwise than the file itself.
fn disagreement(file: &FileMeta, sst: &SstMeta) -> Option<DamageKind> {
    let digits = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = |range: &KeyRange| format!("from {} to {}", digits(&range.begin), digits(&range.end));
    let entries = (sst.entries > 0).then(|| KeyRange::of_keys(&sst.first_key, &sst.last_key));
    let tombstones = sst.tombstones.iter().map(|range| KeyRange::new(&range.begin, &range.end));
    let is_outside = |range: &KeyRange| range.begin < file.keys.begin || range.end > file.keys.end;
    let mut facts = vec![
        ("number of entries", sst.entries.to_string(), file.entries.to_string()),
        (
            "having range tombstones",
            (!sst.tombstones.is_empty()).to_string(),
            file.has_range_tombstones.to_string(),
        ),
    ];
    if let Some(range) = entries.into_iter().chain(tombstones).find(is_outside) {
        facts.push(("range of keys", text(&range), text(&file.keys)));
    }
    facts.extend(file.schemas.iter().map(|(id, schema)| {
        let state = sst.states.iter().find(|state| state.id == *id);
        let found = state.map_or("not there".to_owned(), |state| format!("{:016x}", state.schema));
        ("schema of a state", format!("{id}:{found}"), format!("{id}:{schema}"))
    }));
    let (field, found, expected) = facts.into_iter().find(|(_, found, expected)| found != expected)?;
    Some(DamageKind::OtherFile { field, found, expected })
}

#[cfg(test)]
mod tests;
