//! A file in the directory of a store, and which of its parts are in memory.
//!
//! Blocks are read in one of two ways, as the file was told: in place, in the mapping; or from frames, into which they were copied.
//!
//! Invariants:
//! - a block that is in place was verified there, and its pages are in memory; one in a frame has no pages in this process;
//! - index, filter and block table are read in place always.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use super::frames::{FrameId, Frames};
use super::open::{OpenSst, Part};
use super::sst::{PAGE_BYTES, Section};

/// How much the kernel maps at most around a page that is touched: its default `fault_around_bytes`.
const FAULT_AROUND_BYTES: usize = 64 << 10;

/// What is known of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartState {
    /// It is not there, unless it is a block in a frame.
    Absent,
    /// It was asked for.
    Wanted,
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

    /// From now on blocks are copied into frames: those that are in place are so no more. Returns how many these were, and what
    /// they took, in bytes.
    pub(super) fn read_from_frames(&mut self) -> (u64, usize) {
        let (mut parts, mut bytes) = (0, 0);
        for (block, state) in (0..).zip(&self.blocks) {
            if state.get() == PartState::Present {
                (parts, bytes) = (parts + 1, bytes + self.bytes(Part::Block(block)));
                state.set(PartState::Absent);
            }
        }
        if parts > 0 {
            self.file.release(self.file.sst.section_range(Section::Blocks));
        }
        self.frames = vec![Cell::new(FrameId::NONE); self.blocks.len()].into();
        (parts, bytes)
    }

    #[inline(always)]
    pub(super) fn state(&self, part: Part) -> &Cell<PartState> {
        match part {
            Part::Block(block) => &self.blocks[block as usize],
            Part::Index => &self.index,
            Part::Filter => &self.filter,
        }
    }

    /// What a part takes in memory while it is there, in place.
    pub(super) fn bytes(&self, part: Part) -> usize {
        self.file.range(part).len().next_multiple_of(PAGE_BYTES)
    }

    /// What the file takes in memory without any part: how its parts are found.
    pub(super) fn open_bytes(&self) -> usize {
        let section = self.file.sst.section_range(Section::Table);
        (self.file.sst.bytes().len() - section.start)
            + self.file.sst.memory_bytes()
            + self.blocks.len()
            + size_of_val(&*self.frames)
    }

    /// What the kernel maps besides a part that is brought in: pages of the same [`FAULT_AROUND_BYTES`] that happen to be in its
    /// cache. Where they are of blocks that are absent, they are not counted and must go.
    pub(super) fn strays(&self, part: Part) -> [Range<usize>; 2] {
        let range = self.file.range(part);
        let blocks_end = self.file.sst.section_range(Section::Blocks).end;
        // Of addresses, not of the file.
        let base = self.file.sst.bytes().as_ptr().addr() % FAULT_AROUND_BYTES;
        let mut start = ((range.start + base) / FAULT_AROUND_BYTES * FAULT_AROUND_BYTES).saturating_sub(base);
        let mut end = ((range.end + base).next_multiple_of(FAULT_AROUND_BYTES) - base).min(blocks_end);
        let blocks = self.blocks.len() as u32;
        let (before, after) = match part {
            Part::Block(block) => (block, block + 1),
            Part::Index | Part::Filter => (blocks, blocks), // They come after the blocks.
        };
        let is_used = |&other: &u32| self.blocks[other as usize].get() != PartState::Absent;
        let of = |other| self.file.range(Part::Block(other));
        if let Some(before) = (0..before).rev().take_while(|&other| of(other).end > start).find(is_used) {
            start = of(before).end;
        }
        if let Some(after) = (after..blocks).take_while(|&other| of(other).start < end).find(is_used) {
            end = of(after).start;
        }
        let before_end = range.start.min(blocks_end);
        [start.min(before_end)..before_end, range.end..end.max(range.end)]
    }

    pub(super) fn has_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Whether a part is there, in place or in a frame.
    pub(super) fn has(&self, part: Part) -> bool {
        let in_frame = matches!(part, Part::Block(block) if self.frame(block) != FrameId::NONE);
        in_frame || self.state(part).get() == PartState::Present
    }

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
