//! Look-ups of points, many at a time and in stages, so that their cache misses overlap.
//!
//! ```text
//!   for each run, newest first, for all keys that are still open:
//!      file of the key ─▶ filter ─┄▶ may contain? ─▶ index ─┄▶ candidates ─▶ entry ─┄▶ read       ┄▶ a prefetch apart
//!   put ─▶ found      delete, or hidden by a tombstone ─▶ absent      operands ─▶ kept, and on to older runs
//! ```
//!
//! Invariants:
//! - nothing waits: what meets a part that is not in memory asks for it, and the key's answer is `Cold`;
//! - each key gets one answer, in any order;
//! - an answer says what all files together say of the key, operands added up.

use super::files::{Files, Slot};
use super::key::{EncodedKey, KeyLengthError, StateId};
use super::merge::MergeOperators;
use super::view::{ReadFile, ReadRun, View};
use super::{Error, Kind, Result};

/// Keys to be looked up together.
///
/// ```
/// use thalweg_state::lsm::KeyBatch;
/// let mut keys = KeyBatch::default();
/// assert_eq!(keys.push(&[0, 0, 0, 1, 42]), Ok(0));
/// assert_eq!((keys.len(), keys.key(0)), (1, &[0, 0, 0, 1, 42][..]));
/// assert!(keys.push(b"abc").is_err());
/// ```
#[derive(Debug, Default)]
pub struct KeyBatch {
    bytes: Vec<u8>,
    /// Where each key ends, and its hash.
    keys: Vec<(u32, u64)>,
}

impl KeyBatch {
    /// Adds an encoded key, and returns its number in the batch. Copies and hashes it.
    ///
    /// Errors: [`KeyLengthError`].
    #[inline]
    pub fn push(&mut self, key: &[u8]) -> std::result::Result<usize, KeyLengthError> {
        let hash = EncodedKey::new(key)?.hash();
        self.bytes.extend_from_slice(key);
        self.keys.push((self.bytes.len() as u32, hash));
        Ok(self.keys.len() - 1)
    }

    /// The key of that number. Panics: if there is none.
    #[inline]
    pub fn key(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.keys[before].0);
        &self.bytes[start as usize..self.keys[number].0 as usize]
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes all keys out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
    }

    #[inline]
    fn hash(&self, number: usize) -> u64 {
        self.keys[number].1
    }
}

/// What files say of a key.
///
/// ```
/// use thalweg_state::lsm::Answer;
/// assert_eq!(Answer::Found(b"seven").value(), Some(&b"seven"[..]));
/// assert_eq!(Answer::Absent.value(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// This value, in place in a file, at a multiple of what the state was registered with.
    Found(&'a [u8]),
    /// This value, of operands that were added up; at any address.
    Merged(&'a [u8]),
    /// It has none.
    Absent,
    /// That cannot be said yet: a part of a file was asked for. See [`super::Store::poll_request`].
    Cold,
}

impl<'a> Answer<'a> {
    /// The value, if there is one.
    #[inline]
    pub fn value(self) -> Option<&'a [u8]> {
        match self {
            Answer::Found(value) | Answer::Merged(value) => Some(value),
            Answer::Absent | Answer::Cold => None,
        }
    }
}

/// What is kept from one batch to the next, so that they allocate nothing.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    open: Vec<Open>,
    probes: Vec<Probe>,
    sum: Vec<u8>,
    next_sum: Vec<u8>,
}

/// A key without an answer.
#[derive(Debug, Clone, Copy)]
struct Open {
    key: u32,
    /// What runs above this rank say is hidden.
    hidden_by: u32,
    /// One more than the place of its oldest operand; 0 if there is none.
    operands: u32,
}

/// A key, and a file that may have it.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// Its place among those that are open.
    open: u32,
    /// Its place in the run.
    file: u32,
}

/// An operand, and where the next newer one of the same key is.
struct Operand<'a> {
    bytes: &'a [u8],
    newer: u32,
}

/// What one file says of a key.
enum Said<'a> {
    Entry(Kind, &'a [u8]),
    Nothing,
    /// A block that is not there.
    Missing(u32),
}

/// Reads from a view.
pub(crate) struct Reader<'a, O> {
    pub(crate) view: &'a View,
    pub(crate) files: &'a Files,
    pub(crate) operators: &'a O,
}

impl<'a, O: MergeOperators> Reader<'a, O> {
    /// Looks all keys up, and gives each one's answer to `answer`, with its number.
    ///
    /// Errors: those of merge operators.
    pub(crate) fn get_batch(
        &self,
        keys: &KeyBatch,
        scratch: &mut Scratch,
        mut answer: impl FnMut(usize, Answer<'_>),
    ) -> Result<()> {
        let mut open = std::mem::take(&mut scratch.open);
        let mut probes = std::mem::take(&mut scratch.probes);
        let mut operands = Vec::new();
        open.clear();
        open.extend((0..keys.len()).map(|key| Open {
            key: key as u32,
            hidden_by: self.view.hidden_by(keys.key(key)),
            operands: 0,
        }));
        for (rank, run) in self.view.runs.iter().enumerate() {
            if open.is_empty() {
                break;
            }
            self.probe(run, rank as u32, keys, &open, &mut probes);
            for probe in &probes {
                let at = &mut open[probe.open as usize];
                let (number, file) = (at.key as usize, &run.files[probe.file as usize]);
                match self.read(file, keys.key(number), keys.hash(number)) {
                    Said::Nothing => continue,
                    Said::Missing(block) => {
                        self.files.miss(file.file.number, block);
                        answer(number, Answer::Cold);
                    }
                    Said::Entry(Kind::Merge, bytes) => {
                        operands.push(Operand { bytes, newer: at.operands });
                        at.operands = operands.len() as u32;
                        continue;
                    }
                    Said::Entry(Kind::Delete, _) => {
                        self.settle(keys, *at, &operands, None, scratch, &mut answer)?;
                    }
                    Said::Entry(Kind::Put, value) => {
                        self.settle(keys, *at, &operands, Some(value), scratch, &mut answer)?;
                    }
                }
                at.key = ANSWERED;
            }
            if !probes.is_empty() {
                open.retain(|open| open.key != ANSWERED);
            }
        }
        for open in &open {
            self.settle(keys, *open, &operands, None, scratch, &mut answer)?;
        }
        (scratch.open, scratch.probes) = (open, probes);
        Ok(())
    }

    /// Finds the keys that a run may have: they are in the range of a file, in its filter, and in its index.
    fn probe(&self, run: &ReadRun, rank: u32, keys: &KeyBatch, open: &[Open], probes: &mut Vec<Probe>) {
        probes.clear();
        for (at, open) in open.iter().enumerate().filter(|(_, open)| rank <= open.hidden_by) {
            let Some(file) = run.run.find(keys.key(open.key as usize)) else { continue };
            let (sst, slot) = self.file(&run.files[file]);
            if slot.has_filter() {
                sst.filter_prefetch(keys.hash(open.key as usize));
            }
            probes.push(Probe { open: at as u32, file: file as u32 });
        }
        probes.retain(|probe| {
            let hash = keys.hash(open[probe.open as usize].key as usize);
            let (sst, slot) = self.file(&run.files[probe.file as usize]);
            if slot.has_filter() && !sst.may_contain(hash) {
                return false;
            }
            if slot.has_index() {
                sst.index_prefetch(hash);
            }
            true
        });
        probes.retain(|probe| {
            let hash = keys.hash(open[probe.open as usize].key as usize);
            let (sst, slot) = self.file(&run.files[probe.file as usize]);
            if !slot.has_index() {
                return true;
            }
            let Some(place) = sst.candidates(hash).find_map(|address| sst.place(address)) else {
                return false;
            };
            if slot.is_in_place() && slot.has_block(place.block) {
                sst.entry_prefetch(place);
            }
            true
        });
    }

    #[inline(always)]
    fn file(&self, file: &'a ReadFile) -> (&'a super::sst::Sst<crate::storage::Mapping>, &'a Slot) {
        (&file.file.sst, self.files.slot(file.slot))
    }

    #[inline]
    fn read(&self, file: &'a ReadFile, key: &[u8], hash: u64) -> Said<'a> {
        let (sst, slot) = self.file(file);
        if !slot.has_index() {
            return self.search(file, key);
        }
        for place in sst.candidates(hash).filter_map(|address| sst.place(address)) {
            if !slot.has_block(place.block) {
                return Said::Missing(place.block);
            }
            let block = slot.block(place.block);
            if let Some((kind, value)) = block.and_then(|block| block.entry_at(place.offset, key)) {
                return Said::Entry(kind, value);
            }
        }
        Said::Nothing
    }

    /// Without the index.
    #[cold]
    fn search(&self, file: &'a ReadFile, key: &[u8]) -> Said<'a> {
        let (sst, slot) = self.file(file);
        self.files.want_index(file.file.number);
        let number = sst.block_of(key);
        if number >= sst.blocks() {
            return Said::Nothing; // There are tombstones only.
        }
        let Some(block) = slot.block(number) else { return Said::Missing(number) };
        match block.entry(block.seek(key)).filter(|entry| entry.is_key(key)) {
            Some(entry) => Said::Entry(entry.kind, entry.value),
            None => Said::Nothing,
        }
    }

    /// Answers a key: `value` and its operands, if there are any.
    fn settle(
        &self,
        keys: &KeyBatch,
        open: Open,
        operands: &[Operand<'_>],
        value: Option<&[u8]>,
        scratch: &mut Scratch,
        answer: &mut impl FnMut(usize, Answer<'_>),
    ) -> Result<()> {
        let number = open.key as usize;
        let Some(mut at) = open.operands.checked_sub(1) else {
            answer(number, value.map_or(Answer::Absent, Answer::Found));
            return Ok(());
        };
        let state = EncodedKey::new(keys.key(number)).map_or(StateId(0), |key| key.state());
        let operator = self.operators.operator(state).ok_or(Error::NoMergeOperator { state })?;
        let Scratch { sum, next_sum, .. } = scratch;
        sum.clear();
        sum.extend_from_slice(value.unwrap_or(operands[at as usize].bytes));
        let mut next = if value.is_some() { at + 1 } else { operands[at as usize].newer };
        while next > 0 {
            at = next - 1;
            next_sum.clear();
            operator.merge(sum, operands[at as usize].bytes, next_sum)?;
            std::mem::swap(sum, next_sum);
            next = operands[at as usize].newer;
        }
        answer(number, Answer::Merged(sum));
        Ok(())
    }
}

/// Instead of the number of a key that has its answer.
const ANSWERED: u32 = u32::MAX;
