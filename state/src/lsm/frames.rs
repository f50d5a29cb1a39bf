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
    /// How many numbers in the queues have no block: it was taken away.
    gone: usize,
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
            gone: 0,
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
        // Numbers whose blocks were taken away are looked for in their queues if they are many, so that this is seldom.
        if self.gone > self.frames.len() / TABLE_GROWTH {
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
            self.gone = 0;
        }
        let missing = count.saturating_sub(vacant.len());
        if self.frames.len() + missing > self.frames.capacity() {
            self.frames.reserve_exact(missing.max(self.frames.len() / TABLE_GROWTH));
        }
        for _ in 0..missing {
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

    /// Takes the block out of a frame, if there is one; its number is vacant later.
    pub(crate) fn remove(&mut self, id: FrameId) {
        self.gone += usize::from(self.empty(id));
    }

    /// Whether there was a block in a frame, which is spare now.
    fn empty(&mut self, id: FrameId) -> bool {
        let frame = &mut self.frames[id.0 as usize];
        let Some(image) = frame.image.take() else { return false };
        let bytes = image.capacity();
        self.bytes.set(self.bytes.get() - bytes);
        if frame.is_fresh.take() {
            self.fresh_bytes.set(self.fresh_bytes.get() - bytes);
        }
        self.spare(image);
        true
    }

    /// Takes the block out that is needed least, and says whose it was. `None` if there is none.
    pub(crate) fn evict(&mut self) -> Option<Owner> {
        loop {
            let is_fresh = self.fresh_bytes.get() * FRESH_SHARE > self.bytes.get() || self.kept.is_empty();
            let next = if is_fresh { self.fresh.get_mut().pop_front() } else { self.kept.pop_front() };
            let id = next?;
            let frame = &self.frames[id.0 as usize];
            let (Some(image), uses) = (frame.image.get(), frame.uses.get()) else {
                self.vacant.get_mut().push(id); // It was taken away.
                self.gone -= 1;
                continue;
            };
            if uses == 0 {
                let owner = frame.owner.get();
                self.empty(id);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn image(bytes: usize, fill: u8) -> Image {
        let mut image = Image::with_capacity(bytes);
        image.resize(bytes, fill);
        image
    }

    /// Puts a block after others have made room for it. Who went is left out of `here`.
    fn put(
        frames: &mut Frames,
        here: &mut BTreeMap<u32, FrameId>,
        block: u32,
        bytes: usize,
        bytes_max: usize,
    ) {
        frames.reserve(1);
        while frames.bytes.get() + bytes > bytes_max {
            let (slot, gone) = frames.evict().expect("something can go");
            assert!(slot == 7 && here.remove(&gone).is_some(), "what goes was here");
        }
        here.insert(block, frames.put((7, block), image(bytes, block as u8), 0).unwrap());
    }

    /// Method: a long random history of blocks that come, are used and are taken away, beside a map of those that are here.
    #[test]
    fn what_is_here_is_found_and_counted() {
        let (mut frames, mut here, mut removed) = (Frames::default(), BTreeMap::new(), 0);
        let mut word = 1_u64;
        for step in 0..20_000_u32 {
            word = crate::hash_word(word);
            let bytes = if word & 15 == 0 { 8192 } else { 4096 };
            match word >> 4 & 3 {
                0 if !here.is_empty() => {
                    let at = (word >> 8) as usize % here.len();
                    let (block, id) = here.iter().nth(at).map(|(block, id)| (*block, *id)).unwrap();
                    assert!(frames.get_used(id).unwrap().iter().all(|byte| *byte == block as u8));
                }
                1 if !here.is_empty() && word >> 6 & 3 == 0 => {
                    let (_, id) = here.pop_first().unwrap();
                    frames.remove(id);
                    removed += 1;
                }
                _ => put(&mut frames, &mut here, step, bytes, 64 * 4096),
            }
            frames.trim(16 * 4096);
        }
        frames.check(here.len());
        assert!(removed > 500 && here.len() > 30);
        assert!(frames.frames.len() < 200, "numbers are used again: {}", frames.frames.len());
        assert!(here.iter().all(|(block, id)| frames.get(*id).unwrap()[0] == *block as u8));
    }

    #[test]
    fn a_long_scan_leaves_what_is_used_again() {
        let (mut frames, mut here) = (Frames::default(), BTreeMap::new());
        for round in 0..3 {
            for block in 0..80 {
                match here.get(&block) {
                    Some(id) => drop(frames.get_used(*id)),
                    None => put(&mut frames, &mut here, block, 4096, 100 * 4096),
                }
            }
            assert!(round > 0 || here.len() == 80);
        }
        (1000..3000).for_each(|block| put(&mut frames, &mut here, block, 4096, 100 * 4096));
        let left = here.range(..80).count();
        assert!(left == 80, "{left} of 80 blocks are left");
    }

    #[test]
    fn memory_is_used_again_by_blocks_of_its_size() {
        let mut frames = Frames::default();
        assert!(frames.memory(4096, 4095).is_none());
        assert_eq!(frames.memory(4096, 4096).unwrap().capacity(), 4096);
        frames.spare(image(4096, 1));
        frames.spare(image(8192, 1));
        assert_eq!((frames.memory(4096, 0).unwrap().capacity(), frames.spare_bytes()), (4096, 0));
        frames.spare(image(4096, 1));
        frames.trim(4095);
        assert!(frames.memory(4096, 0).is_none());
    }
}
