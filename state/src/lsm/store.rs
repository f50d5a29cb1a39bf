//! The files of one core's state, behind look-ups, scans, jobs and snapshots.
//!
//! ```text
//!   frozen layers ── flush ──▶ Job ┐                                ┌──▶ get_batch, scan ──▶ answers
//!   poll_job ────────────────▶ Job ┴ step … ─▶ on_job_done ─▶ view ─┤        └─ cold ─▶ poll_request ─▶ perform ─▶ on_part_ready
//!                                                                   └──▶ snapshot: O(1), holds its files
//! ```
//!
//! Invariants:
//! - the store never waits for a disk after `open`, except in `get_waiting`, which says so and counts;
//! - what look-ups see changes in `on_job_done` only, and only to what the manifest says already;
//! - a file is removed when no version, no snapshot and no request has it.

use super::ahead::{Ahead, bring_in, is_large};
use super::batch::KeyBatch;
use super::compaction::{Pace, Picker};
use super::files::Files;
use super::job::{Change, Input, Job, JobKind, OpenEntries, Outcome, Shared};
use super::key::StateId;
use super::merge::Cursor;
use super::open::{OpenSst, PartReady, PartRequest, open_checked};
use super::prefix::scan_prefix;
use super::rate::WriteRate;
use super::read::{Answer, Reader, Scratch};
use super::scan::{ScanEnd, scan};
use super::snapshot::Snapshot;
use super::sst::SstError;
use super::states::{StateSpec, States};
use super::view::View;
use super::{
    FileMeta, FileNumber, KeyRange, Manifest, Metrics, Options, Recovery, Result, Version, VersionEdit,
};
use crate::storage::Storage;
use crate::{hash_pair, hash_word};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

/// How many blocks one scan may copy before it pauses.
const SCAN_BLOCKS: usize = 64;

/// The option under which a manifest names its store.
pub(super) const STORE_OPTION: &str = "store";

/// A store of files. What has changed since the last flush is not here, but with the states.
///
/// Order of calls: `register` each state before its first entry; `flush` what was frozen; step the jobs of `flush` and `poll_job`, and hand them to `on_job_done`; look up in
/// between; and when an answer is `Cold`, perform the requests of `poll_request`, hand them to `on_part_ready`, and ask again.
///
/// ```
/// use thalweg_state::KeyGroup;
/// use thalweg_state::lsm::{Answer, Cursor, Entry, Fingerprint, KeyBatch, Kind, Options, Result, StateSpec, Store};
/// use thalweg_state::lsm::key::KeyBuf;
/// use thalweg_state::storage::Storage;
/// struct One(Vec<u8>, bool);
/// impl Cursor for One {
///     fn entry(&self) -> Option<Entry<'_>> {
///         self.1.then_some(Entry { key: &self.0, kind: Kind::Put, value: b"seven" })
///     }
///     fn advance(&mut self) -> Result<()> {
///         self.1 = false;
///         Ok(())
///     }
/// }
/// let (mut store, _) = Store::open(&Storage::memory(), Options::nvme(), 1)?;
/// let names = store.register(StateSpec::new("names", Fingerprint(0xfeed)))?;
/// let key = KeyBuf::default().begin(KeyGroup(0), names).push(&7_u8).as_bytes().to_vec();
/// let mut job = store.flush(Box::new(One(key.clone(), true)), Vec::new());
/// job.run()?; // On another thread, or step by step.
/// store.on_job_done(job);
///
/// let mut keys = KeyBatch::default();
/// keys.push(&key).unwrap();
/// store.get_batch(&keys, |_, answer| assert_eq!(answer, Answer::Cold))?;
/// while let Some(request) = store.poll_request() {
///     store.on_part_ready(request.perform())?;
/// }
/// store.get_batch(&keys, |_, answer| assert_eq!(answer, Answer::Found(b"seven")))?;
/// # Ok::<(), thalweg_state::lsm::Error>(())
/// ```
pub struct Store {
    shared: Arc<Shared>,
    /// Jobs have them as they were when they were made.
    states: Arc<States>,
    /// By which the filters of states say what has expired.
    now_ms: i64,
    files: Files,
    view: Arc<View>,
    picker: Picker,
    /// At which pace nothing was to be compacted the last time, if nothing has changed since.
    settled: Option<Pace>,
    /// The inputs of jobs that run.
    busy: BTreeSet<FileNumber>,
    /// Whether a flush runs: runs come to be in the order in which they were flushed.
    is_flushing: bool,
    /// The number of the next run.
    next_run: u64,
    /// Files that are in no version any more, and have pages in memory.
    leaving: Vec<Arc<OpenSst>>,
    /// Those that have none, though somebody may still have them.
    obsolete: Vec<Arc<OpenSst>>,
    /// The name of this store among others, for snapshots.
    identity: u64,
    metrics: Metrics,
    scratch: RefCell<Scratch>,
}

impl Store {
    /// Opens the store that is in `storage`, or makes an empty one there. `identity` tells the files of a new store from
    /// those of all others: a random number. Removes what a crash has left. Waits for the disk.
    ///
    /// Errors: `Options`; `Manifest` if files are missing, of other lengths, or the manifest is damaged; `Damaged`.
    pub fn open(storage: &Storage, options: Options, identity: u64) -> Result<(Self, Recovery)> {
        options.check()?;
        let (mut manifest, recovery) = Manifest::open(storage)?;
        for name in &recovery.garbage {
            storage.remove(name)?;
        }
        let identity = claim(&mut manifest, identity)?;
        let version = manifest.version().clone();
        let mut states = States::default();
        states.note_names(&version)?;
        let mut files = Files::new(options.memory_bytes - options.table_bytes());
        for meta in version.files() {
            files.insert(open_noted(storage, meta, &mut states)?);
        }
        let shared = Shared {
            storage: storage.clone(),
            numbers: manifest.numbers().clone(),
            manifest: Mutex::new(manifest),
            rate: Mutex::new(WriteRate::new(options.write_bytes_per_second)),
            options,
        };
        let mut store = Self {
            shared: Arc::new(shared),
            states: Arc::new(states),
            now_ms: i64::MIN,
            view: Arc::new(View::new(version.clone(), &files)),
            files,
            picker: Picker::default(),
            settled: None,
            busy: BTreeSet::new(),
            is_flushing: false,
            next_run: version.runs().first().map_or(0, |run| run.number() + 1),
            leaving: Vec::new(),
            obsolete: Vec::new(),
            identity,
            metrics: Metrics::default(),
            scratch: RefCell::default(),
        };
        store.metrics.on_view(&store.view);
        Ok((store, recovery))
    }

    /// Takes a state in, and says its id in keys: the one that its name had before, or a new one. That is durable no later than
    /// the first of its entries. O(files).
    ///
    /// Errors: `SchemaMismatch` and `AlignMismatch` if it has values of other types; `StateTwice` if the name was registered
    /// already since the store was opened; `StatesFull`.
    ///
    /// ```
    /// # use thalweg_state::lsm::{Fingerprint, Options, StateSpec, Store};
    /// # use thalweg_state::storage::Storage;
    /// let (mut store, _) = Store::open(&Storage::memory(), Options::nvme(), 1)?;
    /// let (a, b) = (StateSpec::new("a", Fingerprint(1)), StateSpec::new("b", Fingerprint(1)));
    /// assert_ne!(store.register(a.clone())?, store.register(b)?);
    /// assert!(store.register(a).is_err());
    /// # Ok::<(), thalweg_state::lsm::Error>(())
    /// ```
    pub fn register(&mut self, spec: StateSpec) -> Result<StateId> {
        self.settled = None; // Files may have waited for it.
        Arc::make_mut(&mut self.states).register(spec)
    }

    /// The names of states that have data, though nobody has registered them. Files with operands of such a state are not
    /// compacted, as only its merge operator could add them up: so whoever goes on without a state should [`Self::abandon`] it,
    /// or the store will stall. In the order of their ids. O(files).
    pub fn unregistered(&self) -> Vec<String> {
        let ids = self.view.version.files().flat_map(|file| file.schemas.keys().copied()).collect();
        self.states.unregistered(&ids).map(str::to_owned).collect()
    }

    /// Gives up a state that nobody has registered: compactions remove what files have of it. False if there is none of this
    /// name, or it was registered.
    ///
    /// ```
    /// # use thalweg_state::lsm::{Options, Store};
    /// # use thalweg_state::storage::Storage;
    /// let (mut store, _) = Store::open(&Storage::memory(), Options::nvme(), 1)?;
    /// for name in store.unregistered() {
    ///     store.abandon(&name); // As the user has allowed.
    /// }
    /// assert!(!store.abandon("never heard of"));
    /// # Ok::<(), thalweg_state::lsm::Error>(())
    /// ```
    pub fn abandon(&mut self, name: &str) -> bool {
        self.settled = None; // Files may have waited for it.
        Arc::make_mut(&mut self.states).abandon(name)
    }

    /// Says what time it is, in ms, for the filters of jobs that are made from now on. Until it is said nothing expires.
    ///
    /// ```
    /// # use thalweg_state::lsm::{Options, Store};
    /// # use thalweg_state::storage::Storage;
    /// let (mut store, _) = Store::open(&Storage::memory(), Options::nvme(), 1)?;
    /// store.set_time(1_700_000_000_000);
    /// # Ok::<(), thalweg_state::lsm::Error>(())
    /// ```
    pub fn set_time(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// Begins to write entries, in ascending order, and tombstones, which hide what is in files already: they are newer than
    /// all of it. Until the job is done the caller has them to itself.
    ///
    /// Panics: if another flush is not done. An entry of a state that was not registered makes the job panic.
    pub fn flush(&mut self, entries: Box<dyn Cursor + Send>, tombstones: Vec<KeyRange>) -> Job {
        self.flush_opening(Box::new(move || Ok(entries)), tombstones)
    }

    /// As [`Self::flush`], of entries that the job itself has to sort first.
    pub(crate) fn flush_opening(&mut self, entries: OpenEntries, tombstones: Vec<KeyRange>) -> Job {
        assert!(!self.is_flushing, "flushes follow each other");
        self.is_flushing = true;
        let run = self.next_run;
        self.next_run += 1;
        let names = self.states.options_beyond(&self.view.version);
        let job = Job::flush(self.shared.clone(), self.states.clone(), run, entries, tombstones, names);
        job.at(self.now_ms)
    }

    /// The next piece of work in the background, if there is any: to be stepped and handed to [`Self::on_job_done`]. Several
    /// may run at the same time.
    pub fn poll_job(&mut self) -> Option<Job> {
        self.poll_job_at(Pace::Load)
    }

    /// As [`Self::poll_job`], for a store of whose state nothing changes: also does what is better not done under load.
    ///
    /// ```
    /// # use thalweg_state::lsm::{Options, Store};
    /// # use thalweg_state::storage::Storage;
    /// let (mut store, _) = Store::open(&Storage::memory(), Options::nvme(), 1)?;
    /// assert!(store.poll_job_at_rest().is_none()); // There is nothing in level 0.
    /// # Ok::<(), thalweg_state::lsm::Error>(())
    /// ```
    pub fn poll_job_at_rest(&mut self) -> Option<Job> {
        self.poll_job_at(Pace::Rest)
    }

    fn poll_job_at(&mut self, pace: Pace) -> Option<Job> {
        if !self.leaving.is_empty() {
            self.obsolete.extend_from_slice(&self.leaving);
            return Some(Job::remove(self.shared.clone(), std::mem::take(&mut self.leaving), Vec::new()));
        }
        let free: Vec<_> = self.obsolete.extract_if(.., |file| Arc::strong_count(file) == 1).collect();
        if !free.is_empty() {
            return Some(Job::remove(self.shared.clone(), Vec::new(), free));
        }
        if self.settled.is_some_and(|settled| settled >= pace) {
            return None;
        }
        let busy = &self.held() | &self.busy;
        let Some(pick) = self.picker.pick(&self.view.version, &self.shared.options, &busy, pace) else {
            self.settled = Some(pace);
            return None;
        };
        self.busy.extend(pick.inputs.iter().flatten().map(|file| file.number));
        if pick.is_move {
            return Some(Job::relevel(self.shared.clone(), pick.level, &pick.inputs[0]));
        }
        let inputs = pick.inputs.into_iter().map(|files| {
            let ranges = files.iter().flat_map(|file| {
                let slot = self.files.slot_of(file.number).expect("files of a version are in the directory");
                self.files.slot(slot).file.sst.meta().tombstones.iter()
            });
            let tombstones = ranges.cloned().collect();
            Input { files, tombstones }
        });
        let inputs = inputs.collect();
        let states = self.states.clone();
        let job = Job::compact(self.shared.clone(), states, pick.level, inputs, pick.is_oldest);
        Some(job.at(self.now_ms))
    }

    /// Files with operands that nobody can add up, as their state is not registered.
    fn held(&self) -> BTreeSet<FileNumber> {
        let is_unknown = |id: &u16| self.states.spec(StateId(*id)).is_none();
        let files = self.view.runs.iter().flat_map(|run| run.run.files().iter().zip(&run.files));
        let held = files
            .filter(|(meta, file)| file.file.sst.meta().merges > 0 && meta.schemas.keys().any(is_unknown));
        held.map(|(meta, _)| meta.number).collect()
    }

    /// Takes a job back: what it has made is seen from now on. One that did not finish has changed nothing, and may be begun
    /// anew.
    pub fn on_job_done(&mut self, job: Job) {
        let Outcome { kind, inputs, change } = job.into_outcome();
        for number in &inputs {
            self.busy.remove(number);
        }
        self.settled = None;
        if kind == JobKind::Flush {
            self.is_flushing = false;
        }
        let Some(Change { edit, opened, ready, read_bytes, written_bytes, payload_bytes }) = change else {
            self.metrics.jobs_failed += 1;
            return;
        };
        self.metrics.jobs_finished += 1;
        self.metrics.compaction_read_bytes += read_bytes;
        self.metrics.payload_bytes += payload_bytes;
        match kind {
            JobKind::Flush => self.metrics.flushed_bytes += written_bytes,
            _ => self.metrics.compacted_bytes += written_bytes,
        }
        if kind == JobKind::Remove {
            return;
        }
        for file in opened {
            self.files.insert(file);
        }
        let version = self.version_after(&edit);
        let before = std::mem::replace(&mut self.view, Arc::new(View::new(Arc::new(version), &self.files)));
        let is_gone = |number: &&FileNumber| self.view.version.file(**number).is_none();
        for number in edit.removed.iter().filter(is_gone) {
            let slot =
                self.files.slot_of(*number).expect("a file that was in the version is in the directory");
            self.leaving.push(self.files.slot(slot).file.clone());
            self.files.remove(*number);
        }
        drop(before);
        let stop = self.shared.options.runs_stop;
        let was_stalled = self.metrics.runs >= stop;
        self.metrics.on_view(&self.view);
        self.metrics.stalls += u64::from(!was_stalled && self.is_stalled());
        for ready in ready {
            self.files.on_part_ready(ready).expect("a job hands over parts that could be read");
        }
        self.files.want_all_sections();
    }

    /// The version after an edit that the manifest has. Edits of several jobs may come in another order than they were made:
    /// they are of different files.
    fn version_after(&self, edit: &VersionEdit) -> Version {
        let above = edit.added.iter().map(|file| FileNumber(file.number.0 + 1)).max();
        let next_file = above.max(Some(self.view.version.next_file()));
        let edit = VersionEdit { next_file, ..edit.clone() };
        self.view
            .version
            .apply(&edit)
            .expect("the manifest has taken this edit, and no other is of these files")
    }

    /// Looks keys up in all files, and gives each one's answer to `answer` with its number in the batch, in any order. Waits for
    /// nothing.
    ///
    /// Cost: some 60 ns for a key that is there and in memory, 20 for one that is not, of a million counters in 5 runs; a run
    /// more, 2 to 3. Errors: those of merge operators.
    pub fn get_batch(&mut self, keys: &KeyBatch, answer: impl FnMut(usize, Answer<'_>)) -> Result<()> {
        self.files.make_room(keys.len(), self.shared.options.block_bytes);
        let mut scratch = self.scratch.borrow_mut();
        let reader = Reader { view: &self.view, files: &self.files, operators: &*self.states };
        reader.get_batch(keys, &mut scratch, answer)
    }

    /// As [`Self::get_batch`], but brings in, here and now, what is not in memory: for recovery, tools and tests. Counted as
    /// `blocking_reads`.
    ///
    /// Errors: also those of the storage, and `Damaged`.
    pub fn get_waiting(&mut self, keys: &KeyBatch, mut answer: impl FnMut(usize, Answer<'_>)) -> Result<()> {
        let mut open: Vec<usize> = (0..keys.len()).collect();
        let mut batch = Cow::Borrowed(keys);
        loop {
            let mut cold = Vec::new();
            let look = |at: usize, found: Answer<'_>| match found {
                Answer::Cold => cold.push(at),
                found => answer(open[at], found),
            };
            self.impatiently(|store| store.get_batch(&batch, look))?;
            if cold.is_empty() {
                return Ok(());
            }
            cold.sort_unstable();
            batch.to_mut().retain(|at| cold.binary_search(&at).is_ok());
            open = cold.iter().map(|at| open[*at]).collect();
            self.bring_in_wanted()?;
        }
    }

    /// Looks up as one who waits here and now. What helpers bring in meanwhile is not handed over before that is over, so it is
    /// asked for once more.
    fn impatiently<T>(&mut self, look: impl FnOnce(&mut Self) -> T) -> T {
        self.files.set_impatient(true);
        let found = look(self);
        self.files.set_impatient(false);
        found
    }

    /// Performs requests, here and now: all, or as many as half of the memory has room for. More would drive out what has
    /// come in before it was looked at.
    fn bring_in_wanted(&mut self) -> Result<()> {
        let end = self.files.counts().bytes_in + self.budget_bytes() as u64 / 2;
        while self.files.counts().bytes_in < end
            && let Some(request) = self.poll_request()
        {
            self.metrics.blocking_reads += 1;
            self.on_part_ready(request.perform())?;
        }
        Ok(())
    }

    /// Gives every key in `range` that has a value to `each`, ascending, until it breaks off. Waits for nothing.
    ///
    /// Errors: those of merge operators.
    pub fn scan(
        &mut self,
        range: &KeyRange,
        each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<ScanEnd> {
        self.files.make_room(SCAN_BLOCKS, self.shared.options.block_bytes);
        scan(&self.view, &self.files, &*self.states, range, each)
    }

    /// As [`Self::scan`], for keys of which the first `skip` bytes are the same, and shows what comes after these. `None`: it is for `scan`.
    pub(crate) fn scan_prefix(
        &self,
        range: &KeyRange,
        skip: usize,
        each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Option<ScanEnd> {
        scan_prefix(&self.view, &self.files, range, skip, each)
    }

    /// As [`Self::scan`], but brings in, here and now, what is not in memory. Counted as `blocking_reads`.
    ///
    /// Errors: also those of the storage, and `Damaged`.
    pub fn scan_waiting(
        &mut self,
        range: &KeyRange,
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<ScanEnd> {
        let mut range = range.clone();
        loop {
            match self.impatiently(|store| store.scan(&range, &mut each))? {
                ScanEnd::Cold { resume } => range.begin = resume,
                end => return Ok(end),
            }
            self.bring_in_wanted()?;
        }
    }

    /// Asks for the blocks of a range that is to be scanned, if there are only a few of them in each run.
    pub(crate) fn bring_in(&self, range: &KeyRange, blocks_max: usize) -> Ahead {
        bring_in(&self.view, &self.files, range, blocks_max)
    }

    /// Whether a range takes more blocks than that in one of the runs.
    pub(crate) fn is_large(&self, range: &KeyRange, blocks_max: usize) -> bool {
        is_large(&self.view, range, blocks_max)
    }

    /// A number that no store has had before that wrote anything afterwards: another one whenever a store is opened anew.
    pub(crate) fn life(&self) -> u64 {
        hash_pair(self.identity, hash_word(self.view.version.next_file().0))
    }

    /// The next part of a file that is wanted: to be performed where waiting is no harm. See [`Store`] for an example.
    pub fn poll_request(&self) -> Option<PartRequest> {
        self.files.poll_request()
    }

    /// Takes a part in. What is in memory beyond the budget goes out, the least used first.
    ///
    /// Errors: what its request met: the storage's, or `Damaged` with the file and the block.
    pub fn on_part_ready(&mut self, ready: PartReady) -> Result<()> {
        self.files.on_part_ready(ready)
    }

    /// Whether there are so many runs that the core should take no input until a compaction is done.
    pub fn is_stalled(&self) -> bool {
        self.metrics.runs >= self.shared.options.runs_stop
    }

    /// All files as they are now, for as long as the snapshot lives. O(1).
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared.storage.clone(), self.view.clone(), self.identity)
    }

    /// What is there, in levels.
    pub fn version(&self) -> &Arc<Version> {
        &self.view.version
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        let counts = self.files.counts();
        Metrics {
            cold_reads: counts.cold_reads,
            parts_in: counts.parts_in,
            parts_out: counts.parts_out,
            read_bytes: counts.bytes_in,
            resident_bytes: self.files.resident_bytes(),
            filter_bytes: self.files.filter_bytes(),
            ..self.metrics
        }
    }

    /// The bytes that parts of files may take in memory.
    pub fn budget_bytes(&self) -> usize {
        self.shared.options.memory_bytes - self.shared.options.table_bytes()
    }

    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.files.check();
        let durable = super::job::lock(&self.shared.manifest).version().clone();
        assert!(self.view.version.files().eq(durable.files()));
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shared, busy, .. } = self;
        f.debug_struct("Store").field("storage", &shared.storage).field("busy", busy).finish_non_exhaustive()
    }
}

/// Opens a file, and learns what it says of states.
///
/// Errors: as `open_checked` and [`States::note`].
pub(super) fn open_noted(storage: &Storage, meta: &FileMeta, states: &mut States) -> Result<Arc<OpenSst>> {
    let file = open_checked(storage, meta)?;
    match states.note(meta, file.sst.meta())? {
        true => Ok(file),
        false => Err(file.damaged(SstError::Foreign)),
    }
}

/// The name of a store, which is `identity` if it has none yet.
pub(super) fn claim(manifest: &mut Manifest, identity: u64) -> Result<u64> {
    if let Some(found) = identity_of(manifest.version()) {
        return Ok(found);
    }
    let options = [(STORE_OPTION.to_owned(), format!("{identity:016x}"))].into();
    manifest.append(&VersionEdit { options, ..VersionEdit::default() })?;
    Ok(identity)
}

/// The name of the store of which this is a version, if it has been opened once.
pub(super) fn identity_of(version: &Version) -> Option<u64> {
    u64::from_str_radix(version.options().get(STORE_OPTION)?, 16).ok()
}

#[cfg(test)]
mod tests;
