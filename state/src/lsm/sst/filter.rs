//! The filter: whether a file may hold a key, from its hash. One cache miss, and no false "no".
//!
//! ```text
//!   hash   high 32 bits ── × blocks ÷ 2³² ──▶ ┌ block: 32 bytes ─────────────────────┐
//!          low 32 bits ─── × salt 0 … 7 ────▶ │ word 0 │ word 1 │ …         │ word 7 │   one bit of each
//!                                             └──────────────────────────────────────┘
//! ```
//!
//! It is Parquet's split-block Bloom filter, with its salts (apache/parquet-format, BloomFilter.md). With 12 bits for each
//! key it lets through 5 in 1000 of the keys that are not there.
//!
//! Invariant: what was inserted may be contained; without any block everything may.

/// Half a cache line.
pub(super) const FILTER_BLOCK_BYTES: usize = 32;

/// More bits than this for a key gain nothing.
pub(super) const BITS_PER_KEY_MAX: u32 = 64;

const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A block of a filter.
pub(in crate::lsm) type FilterBlock = [u8; FILTER_BLOCK_BYTES];

/// For where there is no filter: every key may be there.
static EVERY_BIT: [FilterBlock; 1] = [[0xff; FILTER_BLOCK_BYTES]];

#[inline(always)]
fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// One bit for each word of a block.
#[inline(always)]
fn mask_of(hash: u64) -> [u32; 8] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

#[inline(always)]
fn words_of(block: &FilterBlock) -> [u32; 8] {
    let words = block.as_chunks::<4>().0;
    std::array::from_fn(|word| u32::from_le_bytes(words[word]))
}

/// The bits that a key has in its block, of whatever filter.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::lsm) struct FilterBits([u32; 8]);

impl FilterBits {
    #[inline(always)]
    pub(in crate::lsm) fn of(hash: u64) -> Self {
        Self(mask_of(hash))
    }

    /// Whether all of them are set.
    #[inline(always)]
    pub(in crate::lsm) fn are_in(&self, block: &FilterBlock) -> bool {
        let words = words_of(block);
        let missing = std::array::from_fn::<u32, 8, _>(|word| self.0[word] & !words[word]);
        missing.into_iter().fold(0, |any, bits| any | bits) == 0
    }
}

/// A filter in a file.
///
/// Invariant: it has a block.
#[derive(Debug, Clone, Copy)]
pub(in crate::lsm) struct Filter<'a>(&'a [FilterBlock]);

impl Default for Filter<'_> {
    /// Lets everything through.
    fn default() -> Self {
        Self(&EVERY_BIT)
    }
}

impl<'a> Filter<'a> {
    /// Over a section; what is too short for a block is left out, and no block lets everything through.
    #[inline(always)]
    pub(super) fn new(section: &'a [u8]) -> Self {
        match section.as_chunks().0 {
            [] => Self::default(),
            blocks => Self(blocks),
        }
    }

    /// The block that has the bits of a key of that hash, if it is there.
    #[inline(always)]
    pub(in crate::lsm) fn block(&self, hash: u64) -> &'a FilterBlock {
        &self.0[block_of(hash, self.0.len())]
    }
}

/// Builds the filter of a known number of keys.
#[derive(Debug)]
pub(super) struct FilterBuilder {
    blocks: Vec<u8>,
}

impl FilterBuilder {
    /// For `keys` keys with some bits for each; with 0 bits there is no filter.
    pub(super) fn new(keys: usize, bits_per_key: u32) -> Self {
        let bits = keys * bits_per_key.min(BITS_PER_KEY_MAX) as usize;
        Self { blocks: vec![0; bits.div_ceil(8 * FILTER_BLOCK_BYTES) * FILTER_BLOCK_BYTES] }
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, hash: u64) {
        let blocks = self.blocks.as_chunks_mut::<FILTER_BLOCK_BYTES>().0;
        let at = block_of(hash, blocks.len());
        let Some(block) = blocks.get_mut(at) else { return };
        let (words, mask) = (words_of(block), mask_of(hash));
        for (word, bytes) in block.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *bytes = (words[word] | mask[word]).to_le_bytes();
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash_word;

    /// Of `keys` keys that are there, all are let through; of others that share of a million.
    #[track_caller]
    fn check(keys: u64, bits_per_key: u32, others_max_ppm: u64) {
        let mut builder = FilterBuilder::new(keys as usize, bits_per_key);
        (0..keys).for_each(|key| builder.insert(hash_word(key)));
        let bytes = builder.into_bytes();
        let filter = Filter::new(&bytes);
        let may_contain = |hash| FilterBits::of(hash).are_in(filter.block(hash));
        assert!((0..keys).all(|key| may_contain(hash_word(key))));
        let others = (1_u64 << 40..).take(200_000).filter(|&key| may_contain(hash_word(key))).count();
        assert!(others as u64 * 5 <= others_max_ppm, "{} ppm", others * 5);
    }

    #[test]
    fn others_are_seldom_let_through() {
        check(10_000, 12, 7_000);
        check(10_000, 8, 35_000);
        check(10_000, 20, 500);
        check(1, 12, 1_000); // A block has room for more than one key.
        check(100, 0, 1_000_000); // No filter.
    }
}
