//! The files of a store that are open, and which of their parts are in memory.
//!
//! ```text
//!   look-up ── part not there ──▶ want ──▶ poll_request ──▶ PartRequest::perform   on any thread: reads, verifies
//!                                                                │
//!   look-up, again ◀── resident ◀────── on_part_ready ◀──────────┘
//!                                             └─ over the budget? CLOCK: what was not used lately is released
//! ```
//!
//! A *part* is a block, the hash index or the filter of a file. Parts are brought in whole, verified, and counted. Without its
//! index a file is searched by its block table, a binary search for each look-up; without its filter, for every key.
//!
//! Invariants:
//! - what is resident was verified when it came in, and its bytes are counted;
//! - nothing here waits for a disk, except for `open` and `perform`, which need no store and may run anywhere;
//! - resident parts take no more than the budget; only the last one that came in stays even if it is larger.
//!
//! # Decisions
//! - **The directory belongs to the store, the file to whoever holds it.** States of parts are plain cells, as one core reads
//!   them; jobs map files anew, so what they page in and out is not this core's business.
//! - **A filter is pinned**, as long as filters take at most half of the budget; an index comes in if there is room without
//!   driving blocks out, and is driven out later than they are.

use super::open::{OpenSst, Part, PartReady, PartRequest};
use super::sst::{Block, PAGE_BYTES, Section};
use super::{FileNumber, Result};
use rkyv::util::AlignedVec;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// How much the kernel maps at most around a page that is touched: its default `fault_around_bytes`.
const FAULT_AROUND_BYTES: usize = 64 << 10;

/// States of a part: absent, asked for, and present with some rounds of the CLOCK left.
const ABSENT: u8 = 0;
const WANTED: u8 = 1;
const PRESENT: u8 = 2;
/// What a use makes of a block, and of an index.
const BLOCK_USED: u8 = PRESENT + 1;
const INDEX_USED: u8 = PRESENT + 3;
/// What came in stays longer than what was used: somebody waits for it.
const ARRIVED: u8 = PRESENT + 6;
const PINNED: u8 = u8::MAX;

/// A file in the directory.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) file: Arc<OpenSst>,
    /// Of its blocks.
    blocks: Box<[Cell<u8>]>,
    index: Cell<u8>,
    filter: Cell<u8>,
    /// Of compressed blocks that are resident; none if the file is not compressed.
    images: Box<[Option<AlignedVec<16>>]>,
}

impl Slot {
    fn new(file: Arc<OpenSst>) -> Self {
        let blocks = file.sst.blocks() as usize;
        let images = if file.is_compressed() { blocks } else { 0 };
        Self {
            blocks: vec![Cell::new(ABSENT); blocks].into(),
            index: Cell::new(ABSENT),
            filter: Cell::new(ABSENT),
            images: std::iter::repeat_with(|| None).take(images).collect(),
            file,
        }
    }

    #[inline(always)]
    fn state(&self, part: Part) -> &Cell<u8> {
        match part {
            Part::Block(block) => &self.blocks[block as usize],
            Part::Index => &self.index,
            Part::Filter => &self.filter,
        }
    }

    /// What a part takes in memory while it is resident.
    fn bytes(&self, part: Part) -> usize {
        match part {
            Part::Block(block) if !self.images.is_empty() => {
                self.images[block as usize].as_ref().map_or(0, |image| image.capacity())
            }
            part => self.file.range(part).len().next_multiple_of(PAGE_BYTES),
        }
    }

    /// What the file takes in memory without any part: how its parts are found.
    fn open_bytes(&self) -> usize {
        let section = self.file.sst.section_range(Section::Table);
        (self.file.sst.bytes().len() - section.start) + self.file.sst.memory_bytes() + self.blocks.len()
    }

    /// What the kernel maps besides a block that is brought in: pages of the same [`FAULT_AROUND_BYTES`] that happen to be in its
    /// cache. Where they are of blocks that are absent, they are not counted and must go.
    fn strays(&self, part: Part) -> [Range<usize>; 2] {
        let Part::Block(block) = part else { return [0..0, 0..0] };
        let range = self.file.range(part);
        let blocks_end = self.file.sst.section_range(Section::Blocks).end;
        // Of addresses, not of the file.
        let base = self.file.sst.bytes().as_ptr().addr() % FAULT_AROUND_BYTES;
        let mut start = ((range.start + base) / FAULT_AROUND_BYTES * FAULT_AROUND_BYTES).saturating_sub(base);
        let mut end = ((range.end + base).next_multiple_of(FAULT_AROUND_BYTES) - base).min(blocks_end);
        let is_used = |&other: &u32| self.blocks[other as usize].get() != ABSENT;
        let of = |other| self.file.range(Part::Block(other));
        if let Some(before) = (0..block).rev().take_while(|&other| of(other).end > start).find(is_used) {
            start = of(before).end;
        }
        let after = block + 1..self.blocks.len() as u32;
        if let Some(after) = after.take_while(|&other| of(other).start < end).find(is_used) {
            end = of(after).start;
        }
        [start..range.start, range.end..end.max(range.end)]
    }

    fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        (0..self.blocks.len() as u32).map(Part::Block).chain([Part::Index, Part::Filter])
    }

    #[inline(always)]
    pub(crate) fn has_filter(&self) -> bool {
        self.filter.get() >= PRESENT
    }

    /// Whether the index is resident, which counts as a use.
    #[inline(always)]
    pub(crate) fn has_index(&self) -> bool {
        use_part(&self.index, INDEX_USED)
    }

    /// Whether a block is resident, which counts as a use.
    #[inline(always)]
    pub(crate) fn has_block(&self, block: u32) -> bool {
        self.blocks.get(block as usize).is_some_and(|state| use_part(state, BLOCK_USED))
    }

    /// Whether blocks are read in place, at the addresses that the index says.
    #[inline(always)]
    pub(crate) fn is_in_place(&self) -> bool {
        self.images.is_empty()
    }

    /// A block, if it is resident, which counts as a use.
    #[inline]
    pub(crate) fn block(&self, block: u32) -> Option<Block<'_>> {
        if !self.has_block(block) {
            return None;
        }
        match self.images.get(block as usize) {
            None => self.file.sst.block(block),
            Some(image) => Block::parse(image.as_ref()?).ok(),
        }
    }
}

#[inline(always)]
fn use_part(state: &Cell<u8>, used: u8) -> bool {
    let is_present = state.get() >= PRESENT;
    if is_present && state.get() != used {
        state.set(used);
    }
    is_present
}

/// What has been brought in and driven out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageCounts {
    /// Look-ups that met a part which was not there.
    pub(crate) cold_reads: u64,
    pub(crate) parts_in: u64,
    pub(crate) parts_out: u64,
    pub(crate) bytes_in: u64,
}

/// The directory: all files of the current version.
#[derive(Debug)]
pub(crate) struct Files {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_number: BTreeMap<FileNumber, u32>,
    budget_bytes: usize,
    resident_bytes: usize,
    filter_bytes: usize,
    /// Where CLOCK goes on: a slot, and a part of it (blocks, then the index).
    hand: (usize, usize),
    wanted: RefCell<VecDeque<(FileNumber, Part)>>,
    /// Whether what is on its way is asked for once more.
    is_impatient: Cell<bool>,
    cold_reads: Cell<u64>,
    counts: PageCounts,
}

impl Files {
    /// With room for `budget_bytes` of parts.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_number: BTreeMap::new(),
            budget_bytes,
            resident_bytes: 0,
            filter_bytes: 0,
            hand: (0, 0),
            wanted: RefCell::default(),
            is_impatient: Cell::new(false),
            cold_reads: Cell::new(0),
            counts: PageCounts::default(),
        }
    }

    /// Takes a file in, without any of its parts; filter and index are asked for if there is room. Returns its slot.
    pub(crate) fn insert(&mut self, file: Arc<OpenSst>) -> u32 {
        let number = file.number;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let entry = Slot::new(file);
        let filter_bytes = entry.bytes(Part::Filter);
        self.resident_bytes += entry.open_bytes();
        self.slots[slot as usize] = Some(entry);
        self.by_number.insert(number, slot);
        // Other files of this version may still go, so both may be refused when they come.
        if filter_bytes > 0 && self.filter_bytes + filter_bytes <= self.budget_bytes / 2 {
            self.want(number, Part::Filter);
        }
        self.want_index(number);
        slot
    }

    /// Forgets a file, and takes its parts out of memory.
    pub(crate) fn remove(&mut self, number: FileNumber) {
        let Some(at) = self.by_number.remove(&number) else { return };
        let slot = self.slots[at as usize].take().expect("a number leads to its slot");
        self.free.push(at);
        self.resident_bytes -= slot.open_bytes();
        for part in slot.parts() {
            if slot.state(part).get() >= PRESENT {
                self.resident_bytes -= slot.bytes(part);
                if part == Part::Filter {
                    self.filter_bytes -= slot.bytes(part);
                }
            }
        }
        slot.file.release(0..slot.file.sst.bytes().len());
    }

    pub(crate) fn slot_of(&self, number: FileNumber) -> Option<u32> {
        self.by_number.get(&number).copied()
    }

    #[inline(always)]
    pub(crate) fn slot(&self, slot: u32) -> &Slot {
        self.slots[slot as usize].as_ref().expect("a view refers to slots that are taken")
    }

    /// From now on what is on its way is asked for once more, or not: by one who waits, and to whom nothing can come meanwhile.
    pub(crate) fn set_impatient(&self, is_impatient: bool) {
        self.is_impatient.set(is_impatient);
    }

    /// Notes that a part is needed, and is not there.
    #[cold]
    pub(crate) fn want(&self, number: FileNumber, part: Part) {
        let Some(slot) = self.slot_of(number) else { return };
        let state = self.slot(slot).state(part);
        if state.get() == ABSENT || (state.get() == WANTED && self.is_impatient.get()) {
            state.set(WANTED);
            self.wanted.borrow_mut().push_back((number, part));
        }
    }

    /// As `want` for a block that a look-up has met.
    #[cold]
    pub(crate) fn miss(&self, number: FileNumber, block: u32) {
        self.cold_reads.set(self.cold_reads.get() + 1);
        self.want(number, Part::Block(block));
    }

    /// As `want` for a block that will be needed soon.
    pub(crate) fn want_block(&self, number: FileNumber, block: u32) {
        self.want(number, Part::Block(block));
    }

    /// As `want` for the index of a file, if there is room for it now.
    pub(crate) fn want_index(&self, number: FileNumber) {
        let bytes = self.slot_of(number).map_or(0, |slot| self.slot(slot).bytes(Part::Index));
        if bytes > 0 && self.resident_bytes + bytes <= self.budget_bytes {
            self.want(number, Part::Index);
        }
    }

    pub(crate) fn poll_request(&self) -> Option<PartRequest> {
        loop {
            let (number, part) = self.wanted.borrow_mut().pop_front()?;
            let Some(slot) = self.slot_of(number).map(|slot| self.slot(slot)) else { continue };
            if slot.state(part).get() == WANTED {
                return Some(PartRequest::new(slot.file.clone(), part, slot.strays(part)));
            }
        }
    }

    /// Takes a part in, and drives others out that are not used as much.
    ///
    /// Errors: what `perform` met; the part is then absent, and may be asked for again.
    pub(crate) fn on_part_ready(&mut self, ready: PartReady) -> Result<()> {
        let (number, part, result) = ready.into_parts();
        let Some(at) = self.slot_of(number) else { return result.map(drop) }; // The file went in the meantime.
        let slot = self.slots[at as usize].as_mut().expect("a number leads to its slot");
        if slot.state(part).get() >= PRESENT {
            return result.map(drop); // It came in another way: with the job that made the file.
        }
        slot.state(part).set(ABSENT);
        if let (Some(image), Part::Block(block)) = (result?, part) {
            slot.images[block as usize] = Some(image);
        }
        let bytes = slot.bytes(part);
        let (state, fits) = match part {
            Part::Block(_) => (ARRIVED, true),
            Part::Index => (INDEX_USED, self.resident_bytes + bytes <= self.budget_bytes),
            Part::Filter => (PINNED, self.filter_bytes + bytes <= self.budget_bytes / 2),
        };
        if !fits {
            slot.file.release(slot.file.range(part));
            return Ok(());
        }
        slot.state(part).set(PINNED); // What has just come in is not what goes.
        self.resident_bytes += bytes;
        if part == Part::Filter {
            self.filter_bytes += bytes;
        }
        self.counts.parts_in += 1;
        self.counts.bytes_in += bytes as u64;
        self.evict();
        self.slot(at).state(part).set(state);
        Ok(())
    }

    /// Drives parts out until the rest fits the budget, or nothing is left that could go.
    fn evict(&mut self) {
        if self.resident_bytes <= self.budget_bytes {
            return;
        }
        let steps: usize =
            self.slots.iter().map(|slot| slot.as_ref().map_or(0, |s| s.blocks.len()) + 1).sum();
        for _ in 0..(steps + 1) * usize::from(ARRIVED - PRESENT + 1) {
            if self.resident_bytes <= self.budget_bytes {
                return;
            }
            self.tick();
        }
    }

    /// Moves the hand by one part, and drives out what has no rounds left.
    fn tick(&mut self) {
        let ((at, place), slots) = (self.hand, self.slots.len());
        let Some(Some(slot)) = self.slots.get_mut(at) else {
            self.hand = (if at + 1 >= slots { 0 } else { at + 1 }, 0);
            return;
        };
        let blocks = slot.blocks.len();
        self.hand = if place >= blocks { ((at + 1) % slots, 0) } else { (at, place + 1) };
        let part = if place >= blocks { Part::Index } else { Part::Block(place as u32) };
        let state = slot.state(part);
        match state.get() {
            ABSENT | WANTED | PINNED => {}
            PRESENT => {
                let bytes = slot.bytes(part);
                state.set(ABSENT);
                match part {
                    Part::Block(block) if !slot.images.is_empty() => slot.images[block as usize] = None,
                    part => slot.file.release(slot.file.range(part)),
                }
                self.resident_bytes -= bytes;
                self.counts.parts_out += 1;
            }
            rounds => state.set(rounds - 1),
        }
    }

    /// What parts take in memory, in bytes: of all, and of filters.
    pub(crate) fn resident_bytes(&self) -> (usize, usize) {
        (self.resident_bytes, self.filter_bytes)
    }

    pub(crate) fn counts(&self) -> PageCounts {
        PageCounts { cold_reads: self.cold_reads.get(), ..self.counts }
    }

    /// Whether the parts that are resident are those which are counted; for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut resident = 0;
        for slot in self.slots.iter().flatten() {
            resident += slot.open_bytes();
            for part in slot.parts() {
                if slot.state(part).get() >= PRESENT {
                    resident += slot.bytes(part);
                    let range = slot.file.range(part);
                    let is_unpacked = matches!(part, Part::Block(_)) && !slot.images.is_empty();
                    assert!(is_unpacked || slot.file.sst.source().is_resident(range), "{part:?}");
                }
            }
        }
        assert_eq!(resident, self.resident_bytes);
    }
}
