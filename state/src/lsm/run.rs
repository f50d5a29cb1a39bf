//! Writes a sorted run: entries in, files out.
//!
//! ```text
//!   add ──▶ file that fills ── full, and the next key is known ──▶ file that ends ── step … ──▶ published
//!                                          │
//!   tombstones ── those before that key ───┘    cut there, so that the files of a run do not overlap
//! ```
//!
//! Invariants:
//! - files come out in the order of their keys, and no key is in the ranges of two of them;
//! - at most one file fills and one ends: while one ends, nothing is added;
//! - a writer that is dropped leaves nothing behind, neither half a file nor a whole one that was not taken.

use super::key::{EncodedKey, StateId};
use super::sst::{self, SstMeta, SstOptions, SstTail, SstWriter, ValueAlign};
use super::states::States;
use super::{Error, FileMeta, FileNumber, FileNumbers, Fingerprint, KeyRange, Kind, Result};
use crate::storage::{Storage, Writer};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;

/// Blocks are gathered to this before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Where a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunPlace {
    pub(crate) level: u8,
    /// In level 0.
    pub(crate) run: u64,
}

/// Writes the files of one run.
///
/// Order of calls: `add` while not `is_ending`, `step` while it is; after the last entry `finish`, and `step` until it no
/// longer is ending; then `into_files`.
#[derive(Debug)]
pub(crate) struct RunWriter {
    storage: Storage,
    numbers: FileNumbers,
    states: Arc<States>,
    options: SstOptions,
    is_cached: bool,
    place: RunPlace,
    /// Ascending and apart from each other: those that no file has taken yet.
    tombstones: VecDeque<KeyRange>,
    filling: Option<Filling>,
    ending: Option<Ending>,
    files: Vec<FileMeta>,
    /// A buffer to be used again.
    spare: Vec<u8>,
    written_bytes: u64,
    is_finished: bool,
}

#[derive(Debug)]
struct Filling {
    number: FileNumber,
    file: Writer,
    sst: SstWriter,
    schemas: BTreeMap<u16, Fingerprint>,
    /// The state of the last entry, and where its values start.
    state: Option<(StateId, ValueAlign)>,
}

#[derive(Debug)]
struct Ending {
    number: FileNumber,
    file: Writer,
    tail: SstTail,
    schemas: BTreeMap<u16, Fingerprint>,
}

impl RunWriter {
    /// `tombstones` are ascending and apart from each other, as [`super::range::disjoint`] makes them.
    pub(crate) fn new(
        storage: Storage,
        numbers: FileNumbers,
        states: Arc<States>,
        options: SstOptions,
        is_cached: bool,
        place: RunPlace,
        tombstones: Vec<KeyRange>,
    ) -> Self {
        let options = SstOptions { states: states.metas(), ..options };
        Self {
            storage,
            numbers,
            states,
            options,
            is_cached,
            place,
            tombstones: tombstones.into(),
            filling: None,
            ending: None,
            files: Vec::new(),
            spare: Vec::new(),
            written_bytes: 0,
            is_finished: false,
        }
    }

    /// Whether a file is ending: nothing can be added before it has.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether `finish` was called and all files have ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished && !self.is_ending()
    }

    /// The bytes of all files so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Adds an entry, whose key is above all before it.
    ///
    /// Errors: `Entry`; `UnknownState`; those of the storage. Panics: if a file is ending.
    pub(crate) fn add(&mut self, key: &[u8], kind: Kind, value: &[u8]) -> Result<()> {
        assert!(!self.is_ending(), "a file is ending");
        if self.filling.as_ref().is_some_and(|filling| filling.sst.is_full()) {
            self.end_file(Some(key)); // And the next one takes this entry while it does.
        }
        if self.filling.is_none() {
            self.filling = Some(self.begin_file()?);
        }
        let filling = self.filling.as_mut().expect("it was made if there was none");
        let state = EncodedKey::new(key).map_err(sst::WriteError::from)?.state();
        let align = match filling.state {
            Some((before, align)) if before == state => align,
            _ => {
                let layout = self.states.layout(state).ok_or(Error::UnknownState { state })?;
                filling.schemas.insert(state.0, layout.schema);
                filling.state = Some((state, layout.align));
                layout.align
            }
        };
        filling.sst.add(key, kind, value, align)?;
        if filling.sst.ready_bytes() >= WRITE_BYTES {
            let bytes = filling.sst.take_ready(mem::take(&mut self.spare));
            filling.file.write(&bytes)?;
            self.written_bytes += bytes.len() as u64;
            self.spare = bytes;
        }
        Ok(())
    }

    /// Says that there are no more entries.
    ///
    /// Errors: those of the storage. Panics: if a file is ending.
    pub(crate) fn finish(&mut self) -> Result<()> {
        assert!(!self.is_ending(), "a file is ending");
        if self.filling.is_none() && !self.tombstones.is_empty() {
            self.filling = Some(self.begin_file()?);
        }
        if self.filling.is_some() {
            self.end_file(None);
        }
        self.is_finished = true;
        Ok(())
    }

    /// Works on the file that ends, as for some entries. The last step waits for the disk.
    ///
    /// Errors: those of the storage.
    pub(crate) fn step(&mut self, entries: usize) -> Result<()> {
        let Some(ending) = &mut self.ending else { return Ok(()) };
        let meta = ending.tail.step(entries);
        let bytes = ending.tail.take_ready(mem::take(&mut self.spare));
        if !bytes.is_empty() {
            ending.file.write(&bytes)?;
            self.written_bytes += bytes.len() as u64;
        }
        self.spare = bytes;
        let Some(meta) = meta else { return Ok(()) };
        let Ending { number, file, schemas, .. } = self.ending.take().expect("it was there");
        let bytes = file.publish()?;
        self.files.push(self.meta_of(number, bytes, schemas, &meta));
        Ok(())
    }

    /// The files, all published. Empty if there was neither an entry nor a tombstone.
    pub(crate) fn into_files(mut self) -> Vec<FileMeta> {
        debug_assert!(self.filling.is_none() && self.ending.is_none(), "it is finished");
        mem::take(&mut self.files)
    }

    fn begin_file(&self) -> Result<Filling> {
        let number = self.numbers.take();
        let file = match self.is_cached {
            true => self.storage.create_cached(&number.name())?,
            false => self.storage.create(&number.name())?,
        };
        let sst = SstWriter::new(self.options.clone());
        Ok(Filling { number, file, sst, schemas: BTreeMap::new(), state: None })
    }

    /// Ends the file that fills; the next one begins with `border`.
    fn end_file(&mut self, border: Option<&[u8]>) {
        let tombstones = self.tombstones_before(border);
        let Filling { number, file, mut sst, schemas, .. } =
            self.filling.take().expect("there is a file to end");
        for range in tombstones {
            sst.add_tombstone(range);
        }
        self.ending = Some(Ending { number, file, tail: sst.finish(), schemas });
    }

    /// Takes the tombstones before `border`, of one that reaches over it the part before it.
    fn tombstones_before(&mut self, border: Option<&[u8]>) -> Vec<KeyRange> {
        let mut before = Vec::new();
        while let Some(range) = self.tombstones.pop_front() {
            match border {
                Some(border) if *range.begin >= *border => {
                    self.tombstones.push_front(range);
                    break;
                }
                Some(border) if *range.end > *border => {
                    before.push(KeyRange::new(&range.begin, border));
                    self.tombstones.push_front(KeyRange::new(border, &range.end));
                    break;
                }
                _ => before.push(range),
            }
        }
        before
    }

    fn meta_of(
        &self,
        number: FileNumber,
        bytes: u64,
        schemas: BTreeMap<u16, Fingerprint>,
        meta: &SstMeta,
    ) -> FileMeta {
        let entries = (meta.entries > 0).then(|| KeyRange::of_keys(&meta.first_key, &meta.last_key));
        let ranges = meta.tombstones.iter().cloned();
        let keys = entries.into_iter().chain(ranges).reduce(|all, range| all.cover(&range));
        FileMeta {
            number,
            level: self.place.level,
            run: self.place.run,
            bytes,
            entries: meta.entries,
            keys: keys.expect("a file has an entry or a tombstone"),
            has_range_tombstones: !meta.tombstones.is_empty(),
            schemas,
        }
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        for file in &self.files {
            // Nobody could act on an error here: what stays is removed when the store is opened again.
            let _ = self.storage.remove(&file.number.name());
        }
    }
}
