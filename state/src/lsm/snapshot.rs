//! A store at one time: written elsewhere as links or copies of files.
//!
//! ```text
//!   snapshot ─▶ begin ─▶ files that the place lacks, one for each step ─▶ edit of its manifest: now it is there
//!                                                                         ─▶ files it no longer needs go
//! ```
//!
//! Invariants:
//! - a snapshot holds its files: they are not removed while it lives;
//! - a place holds the snapshots of one store, of which the last one complete counts: a crash in between leaves it.

use super::states::States;
use super::store::claim;
use super::view::View;
use super::{Error, FileMeta, Manifest, Result, VersionEdit};
use crate::storage::{Storage, Transfer};
use std::mem;
use std::sync::Arc;

/// All files of a store at one time. Cheap to clone, and may be written on another thread.
#[derive(Debug, Clone)]
pub struct Snapshot {
    storage: Storage,
    view: Arc<View>,
    identity: u64,
}

/// What writing a snapshot has cost.
///
/// ```
/// assert_eq!(thalweg_state::lsm::SnapshotStats::default().new_files, 0);
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotStats {
    /// The files of the snapshot.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were not there from an earlier one.
    pub new_files: usize,
    /// Their bytes.
    pub new_bytes: u64,
    /// Those of the new bytes that had to be copied, because they could not be linked.
    pub copied_bytes: u64,
}

impl Snapshot {
    pub(super) fn new(storage: Storage, view: Arc<View>, identity: u64) -> Self {
        Self { storage, view, identity }
    }

    /// Its files, in the order of their numbers.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Arc<FileMeta>> {
        self.view.version.files()
    }

    /// Writes it to a place of its own or over an earlier snapshot of this store, whose files are not written again, and
    /// removes those of the earlier one that are no longer needed. Waits for the disk.
    ///
    /// Errors: `Foreign` if snapshots of another store are there; those of both storages. What was there before is then
    /// there still.
    pub fn write(&self, to: &Storage) -> Result<SnapshotStats> {
        let mut writer = self.writer(to);
        loop {
            if let Some(stats) = writer.step()? {
                return Ok(stats);
            }
        }
    }

    /// Does what `write` does, in steps.
    pub(crate) fn writer(&self, to: &Storage) -> SnapshotWriter {
        SnapshotWriter {
            snapshot: self.clone(),
            to: to.clone(),
            phase: Phase::Begin,
            stats: SnapshotStats::default(),
        }
    }
}

/// A snapshot that is being written. See [`Snapshot::write`].
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    snapshot: Snapshot,
    to: Storage,
    phase: Phase,
    stats: SnapshotStats,
}

#[derive(Debug)]
enum Phase {
    Begin,
    /// Files that are to be there, the next one last.
    Files(Manifest, Vec<Arc<FileMeta>>),
    /// The snapshot is there; these files nobody needs.
    Clean(Vec<String>),
    Finished,
}

impl SnapshotWriter {
    /// A part of it: a file at most. Returns what all of it has cost when it is there. Waits for the disk.
    ///
    /// Errors: as [`Snapshot::write`]; it is then over.
    pub(crate) fn step(&mut self) -> Result<Option<SnapshotStats>> {
        self.phase = match mem::replace(&mut self.phase, Phase::Finished) {
            Phase::Begin => self.begin()?,
            Phase::Files(manifest, files) => self.bring_next(manifest, files)?,
            Phase::Clean(mut garbage) => match garbage.pop() {
                Some(name) => {
                    self.to.remove(&name)?;
                    Phase::Clean(garbage)
                }
                None => Phase::Finished,
            },
            Phase::Finished => unreachable!("it has ended"),
        };
        Ok(matches!(self.phase, Phase::Finished).then_some(self.stats))
    }

    fn begin(&self) -> Result<Phase> {
        let (mut manifest, _) = Manifest::open(&self.to)?;
        let found = claim(&mut manifest, self.snapshot.identity)?;
        match found == self.snapshot.identity {
            true => Ok(Phase::Files(manifest, self.snapshot.files().cloned().collect())),
            false => Err(Error::Foreign { path: self.to.path(""), found, store: self.snapshot.identity }),
        }
    }

    fn bring_next(&mut self, manifest: Manifest, mut files: Vec<Arc<FileMeta>>) -> Result<Phase> {
        let Some(file) = files.pop() else { return self.publish(manifest) };
        let stats = &mut self.stats;
        (stats.files, stats.bytes) = (stats.files + 1, stats.bytes + file.bytes);
        let name = file.number.name();
        // A number is of one file of the store, forever; and what is published is complete.
        if self.to.length(&name)? != Some(file.bytes) {
            (stats.new_files, stats.new_bytes) = (stats.new_files + 1, stats.new_bytes + file.bytes);
            if self.snapshot.storage.link_or_copy(&name, &self.to)? == Transfer::Copied {
                stats.copied_bytes += file.bytes;
            }
        }
        Ok(Phase::Files(manifest, files))
    }

    fn publish(&self, mut manifest: Manifest) -> Result<Phase> {
        let (old, new) = (manifest.version().clone(), &self.snapshot.view.version);
        let mut states = States::default();
        states.note_names(new)?;
        let removed = old.files().filter(|file| new.file(file.number) != Some(file));
        let added = new.files().filter(|file| old.file(file.number) != Some(file));
        manifest.append(&VersionEdit {
            removed: removed.map(|file| file.number).collect(),
            added: added.map(|file| FileMeta::clone(file)).collect(),
            next_file: Some(new.next_file().max(old.next_file())),
            options: states.options_beyond(&old),
        })?;
        Ok(Phase::Clean(Manifest::read(&self.to)?.garbage))
    }
}
