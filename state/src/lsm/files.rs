//! The files of a store that are open, and which of their parts are in memory.
//!
//! ```text
//!   look-up ── block not there ──▶ fetch ── the kernel has it ──▶ a copy, at once
//!                                    │ it has not
//!                                    ▼
//!                                  want ──▶ poll_request ──▶ PartRequest::perform    on any thread: reads, verifies
//!                                                                │
//!   look-up, again ◀── resident ◀────── on_part_ready ◀──────────┘
//!                                             └─ over the budget? what was not used lately goes
//! ```
//!
//! A *part* is a block, the hash index or the filter of a file. Parts are brought in whole, verified, and counted. Without its
//! index a file is searched by its block table, a binary search for each look-up; without its filter, for every key.
//!
//! Invariants:
//! - what is resident was verified when it came in, and its bytes are counted;
//! - nothing here waits for a disk, except for `open` and `perform`, which need no store and may run anywhere;
//! - resident parts, and memory that is kept for some, take no more than the budget; only the last one that came in stays even
//!   if it is larger.
//!
//! # Decisions
//! - **The directory belongs to the store, the file to whoever holds it.** States of parts are plain cells, as one core reads
//!   them; jobs map files anew, so what they page in and out is not this core's business.
//! - **Blocks are read in place as long as files fit the budget, all of them, and are copied when they do not.** A mapping is free while
//!   nothing goes. To take one page out and another in costs 0.5 µs and 0.9 µs, interrupts all cores, and is a helper's work, as
//!   nobody knows whether it would wait; a copy of 4 KiB out of the page cache is 1 µs, here and now (`RWF_NOWAIT`; io_uring with
//!   384 reads at a time took as long), and its memory is counted exactly.
//! - **Filters and indices stay**, as long as they take at most half of the budget. Filters come first.

use super::frames::{FrameId, Frames, Image, Owner};
use super::open::{OpenSst, Part, PartReady, PartRequest, Wanted};
use super::slot::{PartState, Slot};
use super::{FileNumber, Result};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Of the budget, what filters and indices may take.
const LOOKUP_SHARE: usize = 2;
/// Of the budget, what is kept free for the blocks of one batch at most.
const ROOM_SHARE: usize = 4;

/// What has been brought in and driven out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageCounts {
    /// Look-ups that met a part which was neither there nor in the page cache.
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
    /// Of what finds parts, and of blocks in place.
    open_bytes: usize,
    filter_bytes: usize,
    index_bytes: usize,
    /// Of all files.
    file_bytes: usize,
    /// Whether files did not fit the budget: blocks of new ones are copied.
    is_framing: bool,
    frames: Frames,
    wanted: RefCell<VecDeque<(FileNumber, Part)>>,
    /// Whether what is on its way is asked for once more.
    is_impatient: Cell<bool>,
    counts: Cell<PageCounts>,
}

impl Files {
    /// With room for `budget_bytes` of parts.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_number: BTreeMap::new(),
            budget_bytes,
            open_bytes: 0,
            filter_bytes: 0,
            index_bytes: 0,
            file_bytes: 0,
            is_framing: false,
            frames: Frames::default(),
            wanted: RefCell::default(),
            is_impatient: Cell::new(false),
            counts: Cell::default(),
        }
    }

    /// Takes a file in, without any of its parts; filter and index are asked for if there is room. Returns its slot.
    pub(crate) fn insert(&mut self, file: Arc<OpenSst>) -> u32 {
        let number = file.number;
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.file_bytes += file.sst.bytes().len();
        // Half of them may go as these come.
        self.is_framing |= self.file_bytes / 2 > self.budget_bytes;
        let slot = Slot::new(file, self.is_framing);
        self.open_bytes += slot.open_bytes();
        self.slots[at as usize] = Some(slot);
        self.by_number.insert(number, at);
        self.want_sections(at); // Other files of this version may still go, so both may be refused when they come.
        at
    }

    /// As `want` for filters and indices that are not there: there may be room now, as files have gone. O(files).
    pub(crate) fn want_all_sections(&self) {
        (0..self.slots.len() as u32)
            .filter(|at| self.slots[*at as usize].is_some())
            .for_each(|at| self.want_sections(at));
    }

    fn want_sections(&self, at: u32) {
        let slot = self.slot(at);
        for part in [Part::Filter, Part::Index] {
            let bytes = slot.bytes(part);
            if bytes > 0 && !slot.has(part) && self.has_room_for(part, bytes) {
                self.want(slot.file.number, part);
            }
        }
    }

    /// Forgets a file. To release its pages is left to whoever may take the time: it is a millisecond for some files.
    pub(crate) fn remove(&mut self, number: FileNumber) {
        let Some(at) = self.by_number.remove(&number) else { return };
        let slot = self.slots[at as usize].take().expect("a number leads to its slot");
        self.free.push(at);
        self.file_bytes -= slot.file.sst.bytes().len();
        self.is_framing &= self.file_bytes > self.budget_bytes / 4 * 3; // Some way below, so that it does not waver.
        self.open_bytes -= slot.open_bytes();
        self.filter_bytes -= if slot.has_filter() { slot.bytes(Part::Filter) } else { 0 };
        self.index_bytes -= if slot.has_index() { slot.bytes(Part::Index) } else { 0 };
        slot.each_frame(|frame| self.frames.remove(frame));
        self.trim();
    }

    pub(crate) fn slot_of(&self, number: FileNumber) -> Option<u32> {
        self.by_number.get(&number).copied()
    }

    #[inline(always)]
    pub(crate) fn slot(&self, slot: u32) -> &Slot {
        self.slots[slot as usize].as_ref().expect("a view refers to slots that are taken")
    }

    #[inline(always)]
    pub(crate) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Makes room for what a batch may have to fetch: so many blocks of such a size.
    pub(crate) fn make_room(&mut self, blocks: usize, block_bytes: usize) {
        let blocks = blocks.min(self.budget_bytes / ROOM_SHARE / block_bytes);
        self.evict_to(self.budget_bytes.saturating_sub(blocks * block_bytes));
        self.frames.reserve(blocks);
        self.trim();
    }

    /// A block that is not there, if the kernel has it, and there is room. Never waits.
    ///
    /// What cannot be read is absent: who asks for it hears of the error.
    #[inline(never)]
    pub(crate) fn fetch(&self, at: u32, block: u32) -> Option<&[u8]> {
        let slot = self.slot(at);
        if slot.is_in_place() {
            return None;
        }
        let free_bytes = self.budget_bytes.saturating_sub(self.resident_bytes() + self.frames.spare_bytes());
        let bytes = slot.file.range(Part::Block(block)).len();
        let mut image = self.frames.memory(bytes, free_bytes)?;
        if !matches!(slot.file.try_read_block(block, &mut image), Ok(true)) {
            self.frames.spare(image);
            return None;
        }
        let bytes = image.capacity();
        let frame = self.frames.put((at, block), image, 0).ok()?;
        slot.set_frame(block, frame);
        // If it was asked for in vain before, the request stays: somebody waits for it to be done.
        self.count_in(bytes);
        self.frames.get(frame)
    }

    /// From now on what is on its way is asked for once more, or not: by one who waits, and to whom nothing can come meanwhile.
    pub(crate) fn set_impatient(&self, is_impatient: bool) {
        self.is_impatient.set(is_impatient);
    }

    /// Notes that a part is needed, and is not there.
    #[cold]
    pub(crate) fn want(&self, number: FileNumber, part: Part) {
        let Some(slot) = self.slot_of(number) else { return };
        let slot = self.slot(slot);
        let state = slot.state(part);
        let is_asked = match state.get() {
            PartState::Absent => !slot.has(part),
            PartState::Wanted | PartState::Coming => self.is_impatient.get(),
            PartState::Present => false,
        };
        if is_asked {
            state.set(PartState::Wanted);
            self.wanted.borrow_mut().push_back((number, part));
        }
    }

    /// As `want` for a block that a look-up has met.
    #[cold]
    pub(crate) fn miss(&self, number: FileNumber, block: u32) {
        let counts = self.counts.get();
        self.counts.set(PageCounts { cold_reads: counts.cold_reads + 1, ..counts });
        self.want(number, Part::Block(block));
    }

    /// As `want` for a block that will be needed soon.
    pub(crate) fn want_block(&self, number: FileNumber, block: u32) {
        self.want(number, Part::Block(block));
    }

    /// As `want` for the index of a file, if there is room for it now.
    #[cold]
    pub(crate) fn want_index(&self, number: FileNumber) {
        let bytes = self.slot_of(number).map_or(0, |slot| self.slot(slot).bytes(Part::Index));
        if bytes > 0 && self.has_room_for(Part::Index, bytes) {
            self.want(number, Part::Index);
        }
    }

    pub(crate) fn poll_request(&self) -> Option<PartRequest> {
        loop {
            let (number, part) = self.wanted.borrow_mut().pop_front()?;
            let Some(slot) = self.slot_of(number).map(|slot| self.slot(slot)) else { continue };
            if slot.state(part).get() == PartState::Wanted {
                let wanted = match part {
                    Part::Block(block) if slot.is_in_place() => Wanted::Blocks(slot.run_around(block)),
                    Part::Block(block) => Wanted::Copy(block),
                    section => Wanted::Section(section),
                };
                slot.set(&wanted, PartState::Coming);
                return Some(PartRequest::new(slot.file.clone(), wanted));
            }
        }
    }

    /// Takes parts in, and drives others out that are not used as much.
    ///
    /// Errors: what `perform` met; the parts are then absent, and may be asked for again.
    pub(crate) fn on_part_ready(&mut self, ready: PartReady) -> Result<()> {
        let (number, wanted, result) = ready.into_parts();
        let Some(at) = self.slot_of(number) else { return result.map(drop) }; // The file went in the meantime.
        self.slot(at).set(&wanted, PartState::Absent);
        match (result?, wanted) {
            (Some(image), Wanted::Copy(block)) => self.take_copy((at, block), image),
            (_, Wanted::Blocks(run)) if self.slot(at).is_in_place() => {
                run.for_each(|block| self.take_in_place(at, Part::Block(block)));
            }
            (_, Wanted::Section(part)) if self.slot(at).has(part) => {} // It came in another way.
            (_, Wanted::Section(part)) if self.has_room_for(part, self.slot(at).bytes(part)) => {
                self.take_in_place(at, part);
            }
            // It was asked for before blocks of this file were copied, or there is no room.
            (_, wanted) => self.slot(at).file.release(self.slot(at).file.range_of(&wanted)),
        }
        self.evict_to(self.budget_bytes);
        Ok(())
    }

    fn take_copy(&mut self, owner: Owner, image: Image) {
        let (at, block) = owner;
        if self.slot(at).has(Part::Block(block)) {
            return; // It came in another way.
        }
        let bytes = image.capacity();
        self.frames.reserve(1);
        self.evict_to(self.budget_bytes.saturating_sub(bytes)); // What comes in is not what goes.
        let frame = self.frames.put(owner, image, 1).expect("one is vacant");
        self.slot(at).set_frame(block, frame);
        self.count_in(bytes);
    }

    fn take_in_place(&mut self, at: u32, part: Part) {
        let slot = self.slot(at);
        if slot.has(part) {
            return; // It came in another way: with the job that made the file.
        }
        let bytes = slot.bytes(part);
        slot.state(part).set(PartState::Present);
        slot.release_blocks();
        match part {
            Part::Block(_) => {} // They are counted already.
            Part::Index => self.index_bytes += bytes,
            Part::Filter => self.filter_bytes += bytes,
        }
        self.count_in(bytes);
    }

    /// Whether a filter or an index may come in.
    fn has_room_for(&self, part: Part, bytes: usize) -> bool {
        let others = self.filter_bytes + if part == Part::Index { self.index_bytes } else { 0 };
        others + bytes <= self.budget_bytes / LOOKUP_SHARE
    }

    fn count_in(&self, bytes: usize) {
        let counts = self.counts.get();
        let (parts_in, bytes_in) = (counts.parts_in + 1, counts.bytes_in + bytes as u64);
        self.counts.set(PageCounts { parts_in, bytes_in, ..counts });
    }

    /// Drives parts out until `bytes_max` are left, or nothing that could go.
    fn evict_to(&mut self, bytes_max: usize) {
        let mut parts_out = 0;
        while self.resident_bytes() > bytes_max {
            let is_over = self.resident_bytes() > self.budget_bytes;
            if let Some((at, block)) = self.frames.evict() {
                self.slot(at).set_frame(block, FrameId::NONE);
                parts_out += 1;
            } else if !(is_over && (self.frame_next() || self.drop_next_index())) {
                break;
            }
        }
        let counts = self.counts.get_mut();
        counts.parts_out += parts_out;
        self.trim();
    }

    /// Gives memory back that is kept for blocks to come, as far as it is over the budget.
    fn trim(&mut self) {
        self.frames.trim(self.budget_bytes.saturating_sub(self.resident_bytes()));
    }

    /// Has the blocks of a file copied that were read in place. False if there is no such file.
    fn frame_next(&mut self) -> bool {
        self.is_framing = true;
        let Some(slot) = self.slots.iter_mut().flatten().find(|slot| slot.is_in_place() && slot.has_blocks())
        else {
            return false;
        };
        self.open_bytes -= slot.open_bytes();
        let parts = slot.read_from_frames();
        self.open_bytes += slot.open_bytes();
        self.counts.get_mut().parts_out += parts;
        true
    }

    /// Takes an index out of memory. False if there is none.
    fn drop_next_index(&mut self) -> bool {
        let Some(slot) = self.slots.iter().flatten().find(|slot| slot.has_index()) else { return false };
        slot.state(Part::Index).set(PartState::Absent);
        slot.file.release(slot.file.range(Part::Index));
        self.index_bytes -= slot.bytes(Part::Index);
        self.counts.get_mut().parts_out += 1;
        true
    }

    /// What parts take in memory, and what finds them, in bytes.
    #[inline]
    pub(crate) fn resident_bytes(&self) -> usize {
        self.open_bytes + self.filter_bytes + self.index_bytes + self.frames.bytes()
    }

    /// What filters take in memory, in bytes.
    pub(crate) fn filter_bytes(&self) -> usize {
        self.filter_bytes
    }

    pub(crate) fn counts(&self) -> PageCounts {
        self.counts.get()
    }

    /// Whether the parts that are resident are those which are counted; for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let (mut open, mut sections, mut framed) = (0, 0, 0);
        for slot in self.slots.iter().flatten() {
            open += slot.open_bytes();
            for part in slot.parts() {
                let is_in_place = slot.state(part).get() == PartState::Present;
                assert!(
                    !is_in_place || slot.file.sst.source().is_resident(slot.file.range(part)),
                    "{part:?}"
                );
                match part {
                    Part::Block(_) if slot.is_in_place() => {}
                    Part::Block(block) => {
                        let image = slot.block(block, &self.frames);
                        framed += usize::from(image.is_some());
                        image.inspect(|image| slot.file.check_image(block, image));
                    }
                    _ => sections += if is_in_place { slot.bytes(part) } else { 0 },
                }
            }
        }
        assert_eq!((open, sections), (self.open_bytes, self.filter_bytes + self.index_bytes));
        self.frames.check(framed);
        let (resident, spare) = (self.resident_bytes(), self.frames.spare_bytes());
        assert!(
            resident + spare <= self.budget_bytes || framed <= 1,
            "{resident} + {spare} of {}",
            self.budget_bytes
        );
    }
}
