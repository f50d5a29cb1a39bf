//! What a store does in the background: one piece of work, in steps, on any thread.
//!
//! ```text
//!   flush     frozen layers ─┐
//!   compact   files ─────────┴▶ sorted run ─▶ opened ─▶ edit in the manifest ┐
//!   move      ──────────────────────────────────────▶ edit in the manifest ─┴▶ on_job_done: the store sees it
//!   remove    files of no version ─▶ out of memory; files that nobody has any more ─▶ gone
//! ```
//!
//! Invariants:
//! - all waiting for disks is here: the store itself only hears what has become true;
//! - an edit is made when its files are durable and could be opened; a job that fails before leaves nothing that counts;
//! - jobs of one store share nothing but the manifest, the rate, and the numbers of files.

use super::filter::Filtered;
use super::input::RunInput;
use super::merge::{Cursor, Merged, PASSED_MAX, Source};
use super::open::{OpenSst, Part, PartReady, SectionIn, open_checked};
use super::range::disjoint;
use super::rate::WriteRate;
use super::run::{RunPlace, RunWriter};
use super::sst::{Codec, Purpose, SstOptions};
use super::states::States;
use super::{FileMeta, FileNumber, FileNumbers, KeyRange, Manifest, Options, Result, VersionEdit};
use crate::storage::{Storage, StorageError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{fmt, mem};

/// How much a step of a job does at most, about.
///
/// ```
/// use thalweg_state::lsm::Budget;
/// assert!(Budget::default().entries > 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Entries that are read: some 100 ns each.
    pub entries: usize,
    /// Bytes that are written.
    pub bytes: u64,
}

impl Default for Budget {
    /// 1024 entries or 256 KiB.
    fn default() -> Self {
        Self { entries: 1024, bytes: 256 << 10 }
    }
}

/// What a step of a job has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a job wants steps until it is finished"]
pub enum JobProgress {
    /// There is more to do.
    Worked,
    /// There is more to do, and no more may be written before that time.
    Throttled {
        /// On the clock whose `now` it was given.
        until: Duration,
    },
    /// It is to be handed back to its store.
    Finished,
}

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// It writes to level 0 what was in memory.
    Flush,
    /// It makes several runs one.
    Compact,
    /// It gives files another level.
    Move,
    /// It takes files that no version has out of memory, or removes those that nobody has any more.
    Remove,
}

/// What the jobs of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Storage,
    pub(crate) options: Options,
    pub(crate) numbers: FileNumbers,
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) rate: Mutex<WriteRate>,
}

impl Shared {
    /// The options of the files of a level.
    pub(crate) fn sst_options(&self, level: u8, purpose: Purpose) -> SstOptions {
        let options = &self.options;
        let is_compressed = usize::from(level) >= options.compressed_from_level;
        SstOptions {
            block_bytes: options.block_bytes as u32,
            file_bytes: options.file_bytes as u32,
            filter_bits_per_key: options.filter_bits,
            codec: if is_compressed { Codec::Lz4 } else { Codec::None },
            purpose,
            states: Vec::new(),
        }
    }

    /// `tombstones` in any order.
    pub(crate) fn run_writer(
        &self,
        states: &Arc<States>,
        place: RunPlace,
        purpose: Purpose,
        tombstones: Vec<KeyRange>,
    ) -> RunWriter {
        let options = self.sst_options(place.level, purpose);
        let (storage, numbers) = (self.storage.clone(), self.numbers.clone());
        let is_cached = self.options.cached_writes;
        RunWriter::new(storage, numbers, states.clone(), options, is_cached, place, disjoint(tombstones))
    }
}

/// One run of a compaction's input.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) files: Vec<Arc<FileMeta>>,
    pub(crate) tombstones: Vec<KeyRange>,
}

/// A piece of background work. To be stepped until it is finished, on any thread, and then to be handed to
/// [`Store::on_job_done`](super::Store::on_job_done), as well if a step failed.
///
/// See [`Store`](super::Store) for an example.
pub struct Job {
    kind: JobKind,
    shared: Arc<Shared>,
    /// As they were when the job was made.
    states: Arc<States>,
    /// The store's time then.
    now_ms: i64,
    phase: Phase,
    /// The level where its files go.
    place: RunPlace,
    is_oldest: bool,
    /// The files that no other job may touch.
    inputs: Vec<FileNumber>,
    edit: VersionEdit,
    /// The files it has made, and those of their parts that came in.
    opened: Vec<Arc<OpenSst>>,
    ready: Vec<PartReady>,
    read_bytes: u64,
    written_bytes: u64,
    /// Of the keys and values of a flush.
    payload_bytes: u64,
    /// Whether all of it has happened.
    is_done: bool,
}

enum Phase {
    /// Inputs to be opened, the next one last, and those that are.
    Open(Vec<Input>, Vec<Source<RunInput>>, Vec<KeyRange>),
    /// Entries of a flush that are not sorted yet.
    Begin(OpenEntries, Box<RunWriter>),
    Write(Box<dyn Cursor + Send>, Box<RunWriter>),
    /// Files to be opened, the next one last; and the one that is, with the parts of it that look-ups need first.
    Publish(Vec<FileMeta>, Option<(Arc<OpenSst>, Vec<SectionIn>)>),
    /// Files to be taken out of memory, and files to be removed.
    Remove(Vec<Arc<OpenSst>>, Vec<Arc<OpenSst>>),
    Finished,
}

/// Makes the entries of a flush: in its first step, and so on the thread of the job.
pub(crate) type OpenEntries = Box<dyn FnOnce() -> Result<Box<dyn Cursor + Send>> + Send>;

/// What a finished job changes in its store.
pub(crate) struct Outcome {
    pub(crate) kind: JobKind,
    pub(crate) inputs: Vec<FileNumber>,
    /// None if the job did not finish: nothing has changed then.
    pub(crate) change: Option<Change>,
}

pub(crate) struct Change {
    pub(crate) edit: VersionEdit,
    pub(crate) opened: Vec<Arc<OpenSst>>,
    pub(crate) ready: Vec<PartReady>,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) payload_bytes: u64,
}

impl Job {
    fn new(kind: JobKind, shared: Arc<Shared>, states: Arc<States>, place: RunPlace, phase: Phase) -> Self {
        Self {
            kind,
            shared,
            states,
            now_ms: i64::MIN,
            phase,
            place,
            is_oldest: false,
            inputs: Vec::new(),
            edit: VersionEdit::default(),
            opened: Vec::new(),
            ready: Vec::new(),
            read_bytes: 0,
            written_bytes: 0,
            payload_bytes: 0,
            is_done: false,
        }
    }

    /// Writes a run of level 0. `names` are the options that keep the names of states.
    pub(crate) fn flush(
        shared: Arc<Shared>,
        states: Arc<States>,
        run: u64,
        entries: OpenEntries,
        tombstones: Vec<KeyRange>,
        names: BTreeMap<String, String>,
    ) -> Self {
        let place = RunPlace { level: 0, run };
        let writer = shared.run_writer(&states, place, Purpose::Flush, tombstones);
        let phase = Phase::Begin(entries, Box::new(writer));
        let edit = VersionEdit { options: names, ..VersionEdit::default() };
        Self { edit, ..Self::new(JobKind::Flush, shared, states, place, phase) }
    }

    /// Makes a run of `level` of others, which come newest first.
    pub(crate) fn compact(
        shared: Arc<Shared>,
        states: Arc<States>,
        level: u8,
        inputs: Vec<Input>,
        is_oldest: bool,
    ) -> Self {
        let files: Vec<_> = inputs.iter().flat_map(|input| &input.files).collect();
        let numbers: Vec<_> = files.iter().map(|file| file.number).collect();
        let read_bytes = files.iter().map(|file| file.bytes).sum();
        let tombstones = inputs.iter().flat_map(|input| &input.tombstones).cloned();
        let tombstones = if is_oldest { Vec::new() } else { tombstones.collect() };
        let inputs = inputs.into_iter().rev().collect();
        let place = RunPlace { level, run: 0 };
        Self {
            is_oldest,
            inputs: numbers.clone(),
            read_bytes,
            edit: VersionEdit { removed: numbers, ..VersionEdit::default() },
            ..Self::new(JobKind::Compact, shared, states, place, Phase::Open(inputs, Vec::new(), tombstones))
        }
    }

    /// Gives files another level.
    pub(crate) fn relevel(shared: Arc<Shared>, level: u8, files: &[Arc<FileMeta>]) -> Self {
        let numbers: Vec<_> = files.iter().map(|file| file.number).collect();
        let added = files.iter().map(|file| FileMeta { level, run: 0, ..FileMeta::clone(file) }).collect();
        let place = RunPlace { level, run: 0 };
        Self {
            inputs: numbers.clone(),
            edit: VersionEdit { removed: numbers, added, ..VersionEdit::default() },
            ..Self::new(JobKind::Move, shared, Arc::default(), place, Phase::Publish(Vec::new(), None))
        }
    }

    /// Takes some files out of memory, and removes others, which nobody else has. To unmap what is in memory takes its time, so
    /// it is done here.
    pub(crate) fn remove(
        shared: Arc<Shared>,
        leaving: Vec<Arc<OpenSst>>,
        obsolete: Vec<Arc<OpenSst>>,
    ) -> Self {
        let place = RunPlace { level: 0, run: 0 };
        Self::new(JobKind::Remove, shared, Arc::default(), place, Phase::Remove(leaving, obsolete))
    }

    /// The time by which the filters of states say what has expired; nothing has unless it is set.
    pub(crate) fn at(self, now_ms: i64) -> Self {
        Self { now_ms, ..self }
    }

    /// What it is for.
    pub fn kind(&self) -> JobKind {
        self.kind
    }

    /// Whether all of it has happened.
    pub fn is_finished(&self) -> bool {
        self.is_done
    }

    /// Works as much as `budget` says; `now` is on any clock that does not go back. Waits for the disk.
    ///
    /// Errors: those of the storage; `Damaged` if a file is not as it was written; those of merge operators. The job is then
    /// to be handed back, and nothing has changed, unless it is the manifest that failed: the store is to be opened anew.
    pub fn step(&mut self, budget: Budget, now: Duration) -> Result<JobProgress> {
        if let Some(until) = lock(&self.shared.rate).poll_wait(now) {
            return Ok(JobProgress::Throttled { until });
        }
        // Should it fail, what was written is dropped, and so removed.
        self.phase = match mem::replace(&mut self.phase, Phase::Finished) {
            Phase::Open(inputs, sources, tombstones) => self.open(inputs, sources, tombstones)?,
            Phase::Begin(entries, writer) => Phase::Write(self.filtered(entries()?)?, writer),
            Phase::Write(entries, writer) => self.write(entries, writer, budget)?,
            Phase::Publish(files, open) => self.publish(files, open, budget)?,
            Phase::Remove(leaving, obsolete) => self.remove_next(leaving, obsolete)?,
            Phase::Finished => {
                assert!(self.is_done, "a job that has failed is not stepped again");
                Phase::Finished
            }
        };
        match self.phase {
            Phase::Finished => {
                self.is_done = true;
                Ok(JobProgress::Finished)
            }
            _ => Ok(JobProgress::Worked),
        }
    }

    /// Steps until it is finished, whatever the rate of writes.
    ///
    /// Errors: as `step`.
    pub fn run(&mut self) -> Result<()> {
        let mut now = Duration::ZERO;
        loop {
            match self.step(Budget { entries: usize::MAX >> 16, bytes: u64::MAX }, now)? {
                JobProgress::Worked => {}
                JobProgress::Throttled { until } => now = until,
                JobProgress::Finished => return Ok(()),
            }
        }
    }

    /// Opens one of the inputs, or begins to write if all are open.
    fn open(
        &mut self,
        mut inputs: Vec<Input>,
        mut sources: Vec<Source<RunInput>>,
        tombstones: Vec<KeyRange>,
    ) -> Result<Phase> {
        if let Some(Input { files, tombstones: own }) = inputs.pop() {
            let input = RunInput::open(&self.shared.storage, files, None)?;
            sources.push(Source::new(input, own));
            return Ok(Phase::Open(inputs, sources, tombstones));
        }
        let merged = Merged::new(sources, self.states.clone(), self.is_oldest)?;
        let writer = self.shared.run_writer(&self.states, self.place, Purpose::Compaction, tombstones);
        Ok(Phase::Write(self.filtered(merged)?, Box::new(writer)))
    }

    fn write(
        &mut self,
        mut entries: Box<dyn Cursor + Send>,
        mut writer: Box<RunWriter>,
        budget: Budget,
    ) -> Result<Phase> {
        let before = writer.written_bytes();
        let mut left = budget.entries.max(1);
        while left > 0 && writer.written_bytes() - before < budget.bytes {
            if writer.is_ending() {
                writer.step(left)?;
                break;
            }
            let Some(entry) = entries.entry() else {
                if entries.is_pausing() {
                    entries.advance()?;
                    left = left.saturating_sub(PASSED_MAX);
                    continue;
                }
                if writer.is_finished() {
                    self.on_written(writer.written_bytes() - before);
                    let mut files = writer.into_files();
                    self.edit.added.clone_from(&files);
                    files.reverse();
                    return Ok(Phase::Publish(files, None));
                }
                writer.finish()?;
                continue;
            };
            if self.kind == JobKind::Flush {
                self.payload_bytes += (entry.key.len() + entry.value.len()) as u64;
            }
            writer.add(entry.key, entry.kind, entry.value)?;
            entries.advance()?;
            left -= 1;
        }
        self.on_written(writer.written_bytes() - before);
        Ok(Phase::Write(entries, writer))
    }

    /// What the filters of the states leave of `entries`.
    fn filtered(&self, entries: impl Cursor + Send + 'static) -> Result<Box<dyn Cursor + Send>> {
        if !self.states.have_filters() {
            return Ok(Box::new(entries));
        }
        Ok(Box::new(Filtered::new(entries, self.states.clone(), self.now_ms, self.is_oldest)?))
    }

    fn on_written(&mut self, bytes: u64) {
        self.written_bytes += bytes;
        lock(&self.shared.rate).on_written(bytes);
    }

    /// Works on the files that were written; when all are open, makes the edit.
    fn publish(
        &mut self,
        files: Vec<FileMeta>,
        open: Option<(Arc<OpenSst>, Vec<SectionIn>)>,
        budget: Budget,
    ) -> Result<Phase> {
        let next = self.open_next(files, open, budget).inspect_err(|_| self.discard_outputs())?;
        if next.is_none() && !(self.edit.added.is_empty() && self.edit.removed.is_empty()) {
            lock(&self.shared.manifest).append(&self.edit)?;
        }
        Ok(next.unwrap_or(Phase::Finished))
    }

    /// Opens one of the files, or brings in a piece of what look-ups need first. None if there is nothing left.
    fn open_next(
        &mut self,
        mut files: Vec<FileMeta>,
        open: Option<(Arc<OpenSst>, Vec<SectionIn>)>,
        budget: Budget,
    ) -> Result<Option<Phase>> {
        if let Some((file, mut sections)) = open {
            match sections.last_mut() {
                Some(section) => {
                    if let Some(ready) = section.step(&file, budget.bytes)? {
                        self.ready.push(ready);
                        sections.pop();
                    }
                    return Ok(Some(Phase::Publish(files, Some((file, sections)))));
                }
                None => self.opened.push(file),
            }
        }
        let Some(meta) = files.pop() else { return Ok(None) };
        let file = open_checked(&self.shared.storage, &meta)?;
        let sections = [Part::Index, Part::Filter].map(SectionIn::new);
        Ok(Some(Phase::Publish(files, Some((file, sections.into())))))
    }

    /// Removes what was written, which no edit says.
    fn discard_outputs(&self) {
        for file in &self.edit.added {
            // Nobody could act on an error here: what stays is removed when the store is opened again.
            let _ = self.shared.storage.remove(&file.number.name());
        }
    }

    fn remove_next(&self, mut leaving: Vec<Arc<OpenSst>>, mut obsolete: Vec<Arc<OpenSst>>) -> Result<Phase> {
        if let Some(file) = leaving.pop() {
            file.release_all();
            return Ok(Phase::Remove(leaving, obsolete));
        }
        let Some(file) = obsolete.pop() else { return Ok(Phase::Finished) };
        match self.shared.storage.remove(&file.number.name()) {
            Ok(()) | Err(StorageError::Missing { .. }) => Ok(Phase::Remove(leaving, obsolete)),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        let Self { kind, inputs, edit, opened, ready, .. } = self;
        let Self { read_bytes, written_bytes, payload_bytes, is_done, .. } = self;
        let change =
            is_done.then_some(Change { edit, opened, ready, read_bytes, written_bytes, payload_bytes });
        Outcome { kind, inputs, change }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("kind", &self.kind)
            .field("level", &self.place.level)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the lock")
}
