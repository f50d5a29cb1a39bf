//! Look-ups of points, many at a time and in stages, so that their cache misses overlap.
//!
//! ```text
//!   for each run:      file of the key ─┄▶ filter ─▶ may it be there?      of some dozens of keys at a time, so that
//!   newest of these:   index ─┄▶ place of the entry ─┄▶ entry              what is asked for is there, and still there
//!                                                                          ┄▶ a prefetch apart
//!   put ─▶ found      delete, or in no other run ─▶ absent      operands ─▶ kept, and on to the next older run
//! ```
//!
//! Invariants:
//! - nothing waits: what meets a block that neither the store nor the kernel has in memory asks for it, and the key's answer is
//!   `Cold`;
//! - each key gets one answer, in any order;
//! - an answer says what all files together say of the key, operands added up.
//!
//! # Decisions
//! - **Filters of all runs are asked first**, though what is found in a new run makes those of older ones superfluous: a key's
//!   bits are made once, the loop over keys has nothing that depends on what was found, and most keys need one index
//!   only.

use super::batch::KeyBatch;
use super::fences::Fences;
use super::files::Files;
use super::key::{EncodedKey, StateId};
use super::merge::MergeOperators;
use super::slot::Slot;
use super::sst::{Block, Filter, FilterBits, FilterBlock, Located, Points, Sst};
use super::view::{RANK_NONE, ReadFile, View};
use super::{Error, FileNumber, Kind, Result};
use crate::prefetch::prefetch;
use crate::storage::Mapping;
use rkyv::util::AlignedVec;

/// Keys that go through the stages together: their lines of filters, indices and entries fit the first cache, and they are
/// enough to cover the time that a line takes.
const CHUNK_KEYS: usize = 64;

/// Runs of which one word says in which of them a key may be.
const WINDOW_RUNS: usize = u64::BITS as usize;

/// What files say of a key.
///
/// ```
/// use thalweg_state::lsm::Answer;
/// assert_eq!(Answer::Found(b"seven").value(), Some(&b"seven"[..]));
/// assert_eq!(Answer::Absent.value(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// This value, in place in a file, at a multiple of the alignment with which the state was registered: what is saved with
    /// another one cannot be registered, so it holds for values that an earlier run of the job has written too.
    Found(&'a [u8]),
    /// This value, of operands that were added up, at a multiple of 16.
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

/// Where operands are added up. Kept from one batch to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    sum: Vec<u8>,
    next_sum: Vec<u8>,
    /// The sum at an address that archives can be read at.
    aligned: AlignedVec<16>,
}

/// A key without an answer.
#[derive(Debug, Clone, Copy)]
struct Open {
    key: u32,
    /// One more than the place of its oldest operand; 0 if there is none.
    operands: u32,
    /// The runs of the window that may say something of it, a bit for each, the newest first.
    runs: u64,
    hash: u64,
    /// What runs above this rank say is hidden.
    hidden_by: u32,
}

/// A key, a file that may have it, and where.
struct Probe<'f, 'a> {
    /// The place of the key among those that are open.
    open: u32,
    file: &'f HotFile<'a>,
    /// The first logical address that the index says; 0 if it says none.
    address: u32,
    found: Option<Located>,
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

/// A file with all that look-ups need of it: gathered once for a batch.
struct HotFile<'a> {
    number: FileNumber,
    sst: &'a Sst<Mapping>,
    /// In the directory.
    at: u32,
    slot: &'a Slot,
    points: Points<'a>,
    /// Lets everything through if it is not in memory.
    filter: Filter<'a>,
    has_index: bool,
}

/// The files of a run.
struct HotRun<'f, 'a> {
    fences: &'a Fences,
    files: &'f [HotFile<'a>],
}

impl<'f, 'a> HotRun<'f, 'a> {
    /// The only file that may have a key.
    #[inline(always)]
    fn find(&self, keys: &KeyBatch, key: u32) -> &'f HotFile<'a> {
        let key = key as usize;
        match self.files {
            [file] => file,
            files => &files[self.fences.up_to(keys.prefix(key), || keys.key(key))],
        }
    }
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
        let view = self.view;
        let files: Vec<_> = view.runs.iter().flat_map(|run| &run.files).map(|file| self.hot(file)).collect();
        let mut rest = files.as_slice();
        let runs = view.runs.iter().map(|run| {
            let (files, later) = rest.split_at(run.files.len());
            rest = later;
            HotRun { fences: &run.fences, files }
        });
        let runs: Vec<_> = runs.collect();
        let mut open = Vec::with_capacity(CHUNK_KEYS.min(keys.len()));
        let mut probes = Vec::with_capacity(CHUNK_KEYS.min(keys.len()));
        let mut operands = Vec::new();
        for first in (0..keys.len()).step_by(CHUNK_KEYS) {
            let chunk = first..keys.len().min(first + CHUNK_KEYS);
            open.clear();
            open.extend(chunk.map(|key| self.open(keys, key)));
            operands.clear();
            for (window, runs) in runs.chunks(WINDOW_RUNS).enumerate() {
                filter(keys, runs, &mut open);
                hide(&mut open, (window * WINDOW_RUNS) as u32);
                while self.probe(keys, runs, &mut open, &mut probes) {
                    for probe in &probes {
                        self.resolve(keys, probe, &mut open, &mut operands, scratch, &mut answer)?;
                    }
                }
                open.retain(|open| open.key != ANSWERED);
            }
            for open in &open {
                match open.operands {
                    0 => answer(open.key as usize, Answer::Absent),
                    _ => self.add_up(keys, *open, &operands, None, scratch, &mut answer)?,
                }
            }
        }
        Ok(())
    }

    fn hot(&self, file: &'a ReadFile) -> HotFile<'a> {
        let (sst, slot) = (&file.file.sst, self.files.slot(file.slot));
        let points = sst.points();
        HotFile {
            number: file.file.number,
            sst,
            at: file.slot,
            slot,
            points,
            filter: if slot.has_filter() { points.filter() } else { Filter::default() },
            has_index: slot.has_index(),
        }
    }

    #[inline(always)]
    fn open(&self, keys: &KeyBatch, key: usize) -> Open {
        Open {
            key: key as u32,
            operands: 0,
            runs: 0,
            hash: keys.hash(key),
            hidden_by: self.view.hidden_by(keys, key),
        }
    }

    /// Finds, for all keys that are open, where the newest run that may say something and was not asked yet does so. False if there
    /// is none.
    fn probe<'f>(
        &self,
        keys: &KeyBatch,
        runs: &[HotRun<'f, 'a>],
        open: &mut [Open],
        probes: &mut Vec<Probe<'f, 'a>>,
    ) -> bool {
        probes.clear();
        for (at, open) in open.iter_mut().enumerate().filter(|(_, open)| open.runs != 0) {
            let file = runs[open.runs.trailing_zeros() as usize].find(keys, open.key);
            open.runs &= open.runs - 1;
            if file.has_index {
                file.points.index_prefetch(open.hash);
            }
            probes.push(Probe { open: at as u32, file, address: 0, found: None });
        }
        for probe in probes.iter_mut().filter(|probe| probe.file.has_index) {
            let hash = open[probe.open as usize].hash;
            if let Some(address) = probe.file.points.candidates(hash).next() {
                probe.address = address;
                probe.file.points.address_prefetch(address);
            }
        }
        for probe in probes.iter_mut().filter(|probe| probe.address != 0) {
            probe.found = probe.file.points.locate(probe.address);
            let Some(located) = &probe.found else { continue };
            let file = probe.file;
            if file.slot.is_in_place() {
                file.points.entry_prefetch(located); // If it is not there, that does nothing.
            } else if let Some(block) = self.files.frames().get(file.slot.frame(located.place.block)) {
                file.points.entry_prefetch_in(block.as_ptr(), located);
            }
        }
        !probes.is_empty()
    }

    /// Reads what a file says of a key, and answers it if there is nothing more to be known.
    #[inline(always)]
    fn resolve(
        &self,
        keys: &KeyBatch,
        probe: &Probe<'_, 'a>,
        open: &mut [Open],
        operands: &mut Vec<Operand<'a>>,
        scratch: &mut Scratch,
        answer: &mut impl FnMut(usize, Answer<'_>),
    ) -> Result<()> {
        let at = &mut open[probe.open as usize];
        let number = at.key as usize;
        match self.read(probe, keys.key(number), at.hash) {
            Said::Nothing => return Ok(()),
            Said::Entry(Kind::Merge, bytes) => {
                operands.push(Operand { bytes, newer: at.operands });
                at.operands = operands.len() as u32;
                return Ok(());
            }
            Said::Missing(block) => {
                self.files.miss(probe.file.number, block);
                answer(number, Answer::Cold);
            }
            Said::Entry(kind, value) => match (kind, at.operands) {
                (Kind::Put, 0) => answer(number, Answer::Found(value)),
                (_, 0) => answer(number, Answer::Absent),
                (Kind::Put, _) => self.add_up(keys, *at, operands, Some(value), scratch, answer)?,
                _ => self.add_up(keys, *at, operands, None, scratch, answer)?,
            },
        }
        (at.key, at.runs) = (ANSWERED, 0);
        Ok(())
    }

    /// What a file says of a key.
    #[inline(always)]
    fn read(&self, probe: &Probe<'_, 'a>, key: &[u8], hash: u64) -> Said<'a> {
        let file = probe.file;
        if !file.has_index {
            return self.search(file, key);
        }
        let Some(located) = &probe.found else { return Said::Nothing };
        match self.read_at(file, located, key) {
            Said::Nothing => self.read_further(file, key, hash),
            said => said,
        }
    }

    /// What is at a place, if it says something of `key`.
    #[inline(always)]
    fn read_at(&self, file: &HotFile<'a>, located: &Located, key: &[u8]) -> Said<'a> {
        let Some(block) = self.block(file, located.place.block) else {
            return Said::Missing(located.place.block);
        };
        let entry = file.points.entry_in(block, located, key);
        entry.map_or(Said::Nothing, |(kind, value)| Said::Entry(kind, value))
    }

    /// A block, which is copied now if it is not there and that needs no disk.
    #[inline(always)]
    fn block(&self, file: &HotFile<'a>, block: u32) -> Option<&'a [u8]> {
        if file.slot.is_in_place() {
            return file.slot.in_place(block);
        }
        match self.files.frames().get_used(file.slot.frame(block)) {
            None => self.files.fetch(file.at, block),
            found => found,
        }
    }

    /// At the other places that the index says, after the first one.
    #[cold]
    fn read_further(&self, file: &HotFile<'a>, key: &[u8], hash: u64) -> Said<'a> {
        let places = file.points.candidates(hash).filter_map(|address| file.points.locate(address));
        for located in places.skip(1) {
            match self.read_at(file, &located, key) {
                Said::Nothing => {}
                said => return said,
            }
        }
        Said::Nothing
    }

    /// Without the index.
    #[inline(never)]
    fn search(&self, file: &HotFile<'a>, key: &[u8]) -> Said<'a> {
        self.files.want_index(file.number);
        let number = file.sst.block_of(key);
        if number >= file.sst.blocks() {
            return Said::Nothing; // There are tombstones only.
        }
        let Some(block) = self.block(file, number) else { return Said::Missing(number) };
        let Ok(block) = Block::parse(block) else { return Said::Nothing };
        match block.entry(block.seek(key)).filter(|entry| entry.is_key(key)) {
            Some(entry) => Said::Entry(entry.kind, entry.value),
            None => Said::Nothing,
        }
    }

    /// Answers a key that has operands: with them, added to `value` if there is one.
    #[cold]
    fn add_up(
        &self,
        keys: &KeyBatch,
        open: Open,
        operands: &[Operand<'_>],
        value: Option<&[u8]>,
        scratch: &mut Scratch,
        answer: &mut impl FnMut(usize, Answer<'_>),
    ) -> Result<()> {
        let number = open.key as usize;
        let mut at = open.operands - 1;
        let state = EncodedKey::new(keys.key(number)).map_or(StateId(0), |key| key.state());
        let operator = self.operators.operator(state).ok_or(Error::NoMergeOperator { state })?;
        let Scratch { sum, next_sum, aligned, .. } = scratch;
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
        aligned.clear();
        aligned.reserve(sum.len().max(1)); // Without an allocation even nothing would lie at any address.
        aligned.extend_from_slice(sum);
        answer(number, Answer::Merged(aligned));
        Ok(())
    }
}

/// Says for all keys that are open in which of the runs they may be.
fn filter(keys: &KeyBatch, runs: &[HotRun<'_, '_>], open: &mut [Open]) {
    let mut asked = [(&[0; _], FilterBits::default()); CHUNK_KEYS];
    let asked = &mut asked[..open.len()];
    for ((_, bits), open) in asked.iter_mut().zip(&mut *open) {
        *bits = FilterBits::of(open.hash);
        open.runs = 0;
    }
    let mut run_bit = 0;
    for (at, run) in runs.iter().enumerate() {
        match run.files {
            [HotFile { filter, .. }] => ask(open, asked, run_bit, |open| filter.block(open.hash)),
            _ => ask(open, asked, run_bit, |open| run.find(keys, open.key).filter.block(open.hash)),
        }
        run_bit = 1 << at;
    }
    ask(open, asked, run_bit, |_| &[0; _]);
}

/// Sees whether the bits of keys are in the blocks of the run asked before, and asks for their blocks in the next one.
#[inline(always)]
fn ask<'a>(
    open: &mut [Open],
    asked: &mut [(&'a FilterBlock, FilterBits)],
    run_bit: u64,
    next: impl Fn(&Open) -> &'a FilterBlock,
) {
    for (open, (block, bits)) in open.iter_mut().zip(asked) {
        open.runs |= if bits.are_in(block) { run_bit } else { 0 };
        *block = next(open);
        prefetch(*block); // Also keeps the compiler from testing several blocks at once, word by word.
    }
}

/// Leaves runs out that are hidden; `first` is the rank of the first one of the window.
fn hide(open: &mut [Open], first: u32) {
    for open in open.iter_mut().filter(|open| open.hidden_by != RANK_NONE) {
        let visible = open.hidden_by.saturating_add(1).saturating_sub(first);
        open.runs &= 1_u64.checked_shl(visible).map_or(u64::MAX, |bit| bit - 1);
    }
}

/// Instead of the number of a key that has its answer.
const ANSWERED: u32 = u32::MAX;
