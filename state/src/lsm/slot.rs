//! A file in the directory of a store, and which of its parts are in memory.
//!
//! Blocks are read in one of two ways, as the file was told: in place, in the mapping; or from frames, into which they were copied.
//!
//! Invariants:
//! - a block that is in place was verified there, and its pages are in memory; one in a frame has no pages in this process;
//! - index, filter and block table are read in place always;
//! - while blocks are read in place all of them count as in memory, as the kernel maps what it likes around those that are asked for.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use super::frames::{FrameId, Frames};
use super::open::{OpenSst, Part, Wanted};
use super::sst::{PAGE_BYTES, Section};

/// What comes in at once where blocks are in place: what the kernel maps with a page anyway (`fault_around_bytes`).
const RUN_BYTES: usize = 64 << 10;

/// What is known of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartState {
    /// It is not there, unless it is a block in a frame.
    Absent,
    /// It is to be asked for.
    Wanted,
    /// It was asked for, and is on its way.
    Coming,
    /// It is there, in place.
    Present,
}

/// A file in the directory.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) file: Arc<OpenSst>,
    /// Of its blocks.
    blocks: Box<[Cell<PartState>]>,
    index: Cell<PartState>,
    filter: Cell<PartState>,
    /// Of blocks that are in frames; none if blocks are read in place.
    frames: Box<[Cell<FrameId>]>,
}

impl Slot {
    /// Without any part. Blocks that are compressed are never read in place.
    pub(super) fn new(file: Arc<OpenSst>, is_framed: bool) -> Self {
        let blocks = file.sst.blocks() as usize;
        let mut slot = Self {
            blocks: vec![Cell::new(PartState::Absent); blocks].into(),
            index: Cell::new(PartState::Absent),
            filter: Cell::new(PartState::Absent),
            frames: Box::default(),
            file,
        };
        if is_framed || slot.file.is_compressed() {
            slot.read_from_frames();
        }
        slot
    }

    /// From now on blocks are copied into frames: those that are in place are so no more. Returns how many these were.
    pub(super) fn read_from_frames(&mut self) -> u64 {
        let mut parts = 0;
        for state in self.blocks.iter().filter(|state| state.get() == PartState::Present) {
            parts += 1;
            state.set(PartState::Absent);
        }
        self.frames = vec![Cell::new(FrameId::NONE); self.blocks.len()].into();
        self.release_blocks();
        parts
    }

    /// Takes pages of blocks out of memory if these are in frames: the kernel maps some with what is around them.
    pub(super) fn release_blocks(&self) {
        if !self.is_in_place() {
            self.file.release(self.file.sst.section_range(Section::Blocks));
        }
    }

    #[inline(always)]
    pub(super) fn state(&self, part: Part) -> &Cell<PartState> {
        match part {
            Part::Block(block) => &self.blocks[block as usize],
            Part::Index => &self.index,
            Part::Filter => &self.filter,
        }
    }

    /// Notes what is known of all that is wanted, unless it is there.
    pub(super) fn set(&self, wanted: &Wanted, state: PartState) {
        let set = |part| {
            if self.state(part).get() != PartState::Present {
                self.state(part).set(state);
            }
        };
        match wanted {
            Wanted::Section(part) => set(*part),
            Wanted::Blocks(run) => run.clone().for_each(|block| set(Part::Block(block))),
            Wanted::Copy(block) => set(Part::Block(*block)),
        }
    }

    /// What a part takes in memory, in place.
    pub(super) fn bytes(&self, part: Part) -> usize {
        self.file.range(part).len().next_multiple_of(PAGE_BYTES)
    }

    /// What the file takes in memory without index and filter: how its parts are found, and blocks that are read in place.
    pub(super) fn open_bytes(&self) -> usize {
        let section = self.file.sst.section_range(Section::Table);
        let blocks = if self.is_in_place() { self.file.sst.section_range(Section::Blocks).len() } else { 0 };
        blocks
            + (self.file.sst.bytes().len() - section.start)
            + self.file.sst.memory_bytes()
            + self.blocks.len()
            + size_of_val(&*self.frames)
    }

    /// The blocks that come in with one that is to be in place: those around it that are not there, [`RUN_BYTES`] in all. They are read
    /// as quickly, and are needed soon, as all files fit the budget.
    pub(super) fn run_around(&self, block: u32) -> Range<u32> {
        let start = self.file.range(Part::Block(block)).start / RUN_BYTES * RUN_BYTES;
        let comes_in = |&other: &u32| {
            let range = self.file.range(Part::Block(other));
            let is_near = start <= range.start && range.end <= start + RUN_BYTES;
            is_near && matches!(self.blocks[other as usize].get(), PartState::Absent | PartState::Wanted)
        };
        let first = (0..block).rev().take_while(comes_in).last().unwrap_or(block);
        let last = (block + 1..self.blocks.len() as u32).take_while(comes_in).last().unwrap_or(block);
        first..last + 1
    }

    pub(super) fn has_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Whether a part is there, in place or in a frame.
    pub(super) fn has(&self, part: Part) -> bool {
        let in_frame = matches!(part, Part::Block(block) if self.frame(block) != FrameId::NONE);
        in_frame || self.state(part).get() == PartState::Present
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        (0..self.blocks.len() as u32).map(Part::Block).chain([Part::Index, Part::Filter])
    }

    #[inline(always)]
    pub(crate) fn has_filter(&self) -> bool {
        self.filter.get() == PartState::Present
    }

    #[inline(always)]
    pub(crate) fn has_index(&self) -> bool {
        self.index.get() == PartState::Present
    }

    /// Whether blocks are read in place, at the addresses that the index says.
    #[inline(always)]
    pub(crate) fn is_in_place(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a block can be read in place.
    #[inline(always)]
    pub(crate) fn has_in_place(&self, block: u32) -> bool {
        self.blocks.get(block as usize).is_some_and(|state| state.get() == PartState::Present)
    }

    /// The bytes of a block, if it can be read in place.
    #[inline(always)]
    pub(crate) fn in_place(&self, block: u32) -> Option<&[u8]> {
        let is_present = self.has_in_place(block);
        self.file.sst.bytes().get(self.file.sst.block_range(block).filter(|_| is_present)?)
    }

    /// The frame of a block, if it is in one.
    #[inline(always)]
    pub(crate) fn frame(&self, block: u32) -> FrameId {
        self.frames.get(block as usize).map_or(FrameId::NONE, Cell::get)
    }

    /// Gives all frames that its blocks are in.
    pub(super) fn each_frame(&self, each: impl FnMut(FrameId)) {
        self.frames.iter().map(Cell::get).filter(|frame| *frame != FrameId::NONE).for_each(each);
    }

    pub(super) fn set_frame(&self, block: u32, frame: FrameId) {
        self.frames[block as usize].set(frame);
    }

    /// The bytes of a block, if it is there: in place, or in a frame.
    #[inline]
    pub(crate) fn block<'a>(&'a self, block: u32, frames: &'a Frames) -> Option<&'a [u8]> {
        match self.is_in_place() {
            true => self.in_place(block),
            false => frames.get(self.frame(block)),
        }
    }
}
