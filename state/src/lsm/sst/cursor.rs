//! A place in the order of a file's keys.
//!
//! It holds no bytes and borrows none: whoever moves it says where the blocks are, or that one is not there yet.
//!
//! Invariant: entries come out in ascending order, each once, however often a block was missing in between.

use super::{Block, Entry};

/// What there is at a place.
///
/// ```
/// use thalweg_state::lsm::sst::Step;
/// assert_ne!(Step::Missing(3), Step::End);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'b> {
    /// An entry.
    Entry(Entry<'b>),
    /// Nothing that can be said before the block of that number is there.
    Missing(u32),
    /// No more entries.
    End,
}

/// A place before, at or after the entries of one file; see [`super::Sst::seek`].
///
/// ```
/// use thalweg_state::lsm::{Kind, sst::{Sst, SstOptions, SstWriter, Step, ValueAlign}};
/// let mut writer = SstWriter::new(SstOptions::default());
/// for i in [1_u32, 3, 5] {
///     writer.add(&i.to_be_bytes(), Kind::Put, b"", ValueAlign::Eight).unwrap();
/// }
/// let sst = Sst::open(writer.finish().run().1).unwrap();
/// let mut cursor = sst.seek(&2_u32.to_be_bytes());
/// assert_eq!(cursor.entry(|_| None), Step::Missing(0));
/// sst.verify_block(0).unwrap();
/// let Step::Entry(entry) = cursor.entry(|block| sst.block(block)) else { panic!("there is one") };
/// assert!(entry.is_key(&3_u32.to_be_bytes()));
/// cursor.advance();
/// ```
#[derive(Debug, Clone)]
pub struct SstCursor {
    block: u32,
    blocks: u32,
    /// In the block.
    index: u32,
    /// The entry is the first of the block that is not below this key; known once the block is there.
    sought: Option<Box<[u8]>>,
}

impl SstCursor {
    /// At the first entry of `block`, of `blocks`, or at the first of it or the next one that is not below `sought`.
    pub(super) fn new(block: u32, blocks: u32, sought: Option<&[u8]>) -> Self {
        Self { block, blocks, index: 0, sought: sought.map(Box::from) }
    }

    /// The entry at this place. `block` gives the verified block of a number, if it is there; it is asked for one block,
    /// or for two where one ends.
    #[inline]
    pub fn entry<'b>(&mut self, mut block: impl FnMut(u32) -> Option<Block<'b>>) -> Step<'b> {
        while self.block < self.blocks {
            let Some(found) = block(self.block) else { return Step::Missing(self.block) };
            if let Some(key) = self.sought.take() {
                self.index = found.seek(&key);
            }
            if let Some(entry) = found.entry(self.index) {
                return Step::Entry(entry);
            }
            (self.block, self.index) = (self.block + 1, 0);
        }
        Step::End
    }

    /// Goes on to the next entry. Follows a call of [`Self::entry`] that returned one; otherwise it changes nothing.
    #[inline]
    pub fn advance(&mut self) {
        if self.sought.is_none() && self.block < self.blocks {
            self.index += 1;
        }
    }

    /// The block where it is: the following ones will be needed next.
    #[inline]
    pub fn block(&self) -> u32 {
        self.block
    }
}
