//! Copies of blocks in memory of the store's own, and which of them goes first: for files that are larger than the memory for them,
//! and for blocks that have to be unpacked.
//!
//! ```text
//!   put ──▶ fresh ── not used again ──▶ goes          both are queues; of the memory, fresh ones get a tenth
//!             │ used again
//!             ▼
//!           kept ◀─┐ used since ── comes round again
//!             └────┴ not used ──▶ goes
//! ```
//!
//! A block that is read once, by a scan or for a key that does not come again, thus passes through a tenth of the memory, and leaves
//! the rest to what is used again. This is S3-FIFO (Yang et al., SOSP 2023) without its memory of what has gone.
//!
//! Invariants:
//! - what is read of a frame does not change while it is borrowed: it is taken away with `&mut self` only;
//! - the number of a frame is in one of the queues, or vacant;
//! - the memory of blocks that went is used again for others, and counted as long as it is not given back.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;

use rkyv::util::AlignedVec;

/// A block, verified and unpacked.
pub(crate) type Image = AlignedVec<16>;

/// The number of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameId(u32);

impl FrameId {
    /// No frame has it.
    pub(crate) const NONE: Self = Self(0);
}

/// Whose a frame is: the slot of a file, and a block of it.
pub(crate) type Owner = (u32, u32);

/// Each use of a frame saves it once from going, up to so often.
const USES_MAX: u8 = 3;

/// Of the memory of all frames, what fresh ones may take before they go.
const FRESH_SHARE: usize = 10;

/// Of its length, by how much the table of frames grows.
const TABLE_GROWTH: usize = 8;

#[derive(Debug, Default)]
struct Frame {
    image: OnceCell<Image>,
    owner: Cell<Owner>,
    uses: Cell<u8>,
    is_fresh: Cell<bool>,
}

/// The frames of a store.
#[derive(Debug)]
pub(crate) struct Frames {
    /// The first one is nobody's.
    frames: Vec<Frame>,
    vacant: RefCell<Vec<FrameId>>,
    fresh: RefCell<VecDeque<FrameId>>,
    kept: VecDeque<FrameId>,
    /// Of blocks that have gone.
    spare: RefCell<Vec<Image>>,
    spare_bytes: Cell<usize>,
    /// Of blocks that are here.
    bytes: Cell<usize>,
    fresh_bytes: Cell<usize>,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            frames: vec![Frame::default()],
            vacant: RefCell::default(),
            fresh: RefCell::default(),
            kept: VecDeque::new(),
            spare: RefCell::default(),
            spare_bytes: Cell::new(0),
            bytes: Cell::new(0),
            fresh_bytes: Cell::new(0),
        }
    }
}

impl Frames {
    /// What blocks and what finds them take in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        // A number is in one of the queues, or vacant.
        self.bytes.get() + self.frames.capacity() * (size_of::<Frame>() + size_of::<FrameId>())
    }

    /// What is kept for blocks to come, in bytes.
    pub(crate) fn spare_bytes(&self) -> usize {
        self.spare_bytes.get()
    }

    /// The block in a frame, if there is one. O(1).
    #[inline(always)]
    pub(crate) fn get(&self, id: FrameId) -> Option<&[u8]> {
        self.frames[id.0 as usize].image.get().map(|image| image.as_slice())
    }

    /// As `get`, which counts as a use.
    #[inline(always)]
    pub(crate) fn get_used(&self, id: FrameId) -> Option<&[u8]> {
        let uses = &self.frames[id.0 as usize].uses;
        if uses.get() < USES_MAX {
            uses.set(uses.get() + 1);
        }
        self.get(id)
    }

    /// Sees to it that so many blocks can be put. O(frames) now and then.
    pub(crate) fn reserve(&mut self, count: usize) {
        let vacant = self.vacant.get_mut();
        if vacant.len() >= count {
            return;
        }
        // Those that were taken away are still in their queues: first they are found, if they are many.
        let queued = self.kept.len() + self.fresh.get_mut().len();
        if queued + vacant.len() + count > self.frames.capacity() {
            let frames = &self.frames;
            let mut is_here = |id: &FrameId| {
                let is_here = frames[id.0 as usize].image.get().is_some();
                if !is_here {
                    vacant.push(*id);
                }
                is_here
            };
            self.kept.retain(&mut is_here);
            self.fresh.get_mut().retain(&mut is_here);
        }
        let missing = count.saturating_sub(vacant.len());
        if self.frames.len() + missing > self.frames.capacity() {
            self.frames.reserve_exact(missing.max(self.frames.len() / TABLE_GROWTH));
        }
        while vacant.len() < count {
            vacant.push(FrameId(self.frames.len() as u32));
            self.frames.push(Frame::default());
        }
    }

    /// Memory for a block of so many bytes: of one that has gone, if there is one as large. `None` if it would need more than
    /// `free_bytes` that are not taken yet.
    pub(crate) fn memory(&self, image_bytes: usize, free_bytes: usize) -> Option<Image> {
        let mut spare = self.spare.borrow_mut();
        while let Some(image) = spare.pop() {
            self.spare_bytes.set(self.spare_bytes.get() - image.capacity());
            if image.capacity() == image_bytes {
                return Some(image);
            } // Others are of no use now.
        }
        (image_bytes <= free_bytes).then(|| Image::with_capacity(image_bytes))
    }

    /// Keeps memory for a block to come.
    pub(crate) fn spare(&self, image: Image) {
        self.spare_bytes.set(self.spare_bytes.get() + image.capacity());
        self.spare.borrow_mut().push(image);
    }

    /// Gives back what is kept over `bytes_max`.
    pub(crate) fn trim(&mut self, bytes_max: usize) {
        while self.spare_bytes.get() > bytes_max
            && let Some(image) = self.spare.get_mut().pop()
        {
            self.spare_bytes.set(self.spare_bytes.get() - image.capacity());
        }
    }

    /// Puts a block into a frame. The block again if there is none vacant.
    pub(crate) fn put(&self, owner: Owner, image: Image, uses: u8) -> Result<FrameId, Image> {
        let Some(id) = self.vacant.borrow_mut().pop() else { return Err(image) };
        let frame = &self.frames[id.0 as usize];
        let bytes = image.capacity();
        frame.image.set(image).expect("a frame that is vacant has no block");
        frame.owner.set(owner);
        frame.uses.set(uses);
        frame.is_fresh.set(true);
        self.fresh.borrow_mut().push_back(id);
        self.bytes.set(self.bytes.get() + bytes);
        self.fresh_bytes.set(self.fresh_bytes.get() + bytes);
        Ok(id)
    }

    /// Takes the block out of a frame; its number is vacant later.
    pub(crate) fn remove(&mut self, id: FrameId) {
        let frame = &mut self.frames[id.0 as usize];
        let Some(image) = frame.image.take() else { return };
        let bytes = image.capacity();
        self.bytes.set(self.bytes.get() - bytes);
        if frame.is_fresh.take() {
            self.fresh_bytes.set(self.fresh_bytes.get() - bytes);
        }
        self.spare(image);
    }

    /// Takes the block out that is needed least, and says whose it was. `None` if there is none.
    pub(crate) fn evict(&mut self) -> Option<Owner> {
        loop {
            let is_fresh = self.fresh_bytes.get() * FRESH_SHARE > self.bytes.get() || self.kept.is_empty();
            let next = if is_fresh { self.fresh.get_mut().pop_front() } else { self.kept.pop_front() };
            let id = next?;
            let frame = &self.frames[id.0 as usize];
            let (Some(image), uses) = (frame.image.get(), frame.uses.get()) else {
                self.vacant.get_mut().push(id); // It was removed.
                continue;
            };
            if uses == 0 {
                let owner = frame.owner.get();
                self.remove(id);
                self.vacant.get_mut().push(id);
                return Some(owner);
            }
            if frame.is_fresh.take() {
                self.fresh_bytes.set(self.fresh_bytes.get() - image.capacity());
            }
            frame.uses.set(uses - 1);
            self.kept.push_back(id);
        }
    }

    /// Whether the sums are those of the frames, of which `count` have blocks; for tests.
    #[cfg(test)]
    pub(crate) fn check(&self, count: usize) {
        let images = || {
            self.frames.iter().filter_map(|frame| Some((frame.image.get()?.capacity(), frame.is_fresh.get())))
        };
        assert_eq!(images().count(), count);
        assert_eq!(images().map(|(bytes, _)| bytes).sum::<usize>(), self.bytes.get());
        assert_eq!(
            images().filter(|(_, is_fresh)| *is_fresh).map(|(bytes, _)| bytes).sum::<usize>(),
            self.fresh_bytes.get()
        );
        assert_eq!(self.spare.borrow().iter().map(Image::capacity).sum::<usize>(), self.spare_bytes.get());
        let numbers = self.vacant.borrow().len() + self.fresh.borrow().len() + self.kept.len();
        assert_eq!(numbers + 1, self.frames.len());
    }
}
