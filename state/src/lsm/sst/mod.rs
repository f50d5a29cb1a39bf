//! The immutable file: sorted entries in blocks, a hash index and a filter for points, a block table for ranges.
//!
//! ```text
//!   hash ──▶ filter ──▶ index ──▶ logical address ──┐                 every section at a multiple of 4096
//!                                                   ▼
//!   ┌─────────┬─────────┬───┬─────────┬────────────┬────────┬─────────────┬──────────┬────────┐
//!   │ block 0 │ block 1 │ … │ block n │ hash index │ filter │ block table │ metadata │ footer │
//!   └─────────┴─────────┴───┴─────────┴────────────┴────────┴─────────────┴──────────┴────────┘
//!                  ▲
//!   key ───────────┴── block table: first keys, for seeks ── cursor ──▶ entries in order
//! ```
//!
//! The bytes are described in `FORMAT.md`. In reading order:
//! - `block`: entries in a block, built and read;
//! - `filter` and `index`: built from hashes, asked by hash;
//! - `table`: where each block is, in the file and by key;
//! - `meta`: what a file says of itself, and the footer;
//! - `writer`: entries in, bytes out;
//! - `points`: look-ups in stages, so that a batch can overlap its cache misses;
//! - `reader`: an open file, and verification: all that is damaged, and where;
//! - `cursor`: a place in the order of keys.
//!
//! Invariants:
//! - a file has at most one entry of a key, and its keys ascend strictly;
//! - every byte is either under a checksum or must be zero: damage is found, and its place named;
//! - no bytes whatever make a reader panic, allocate more than a small multiple of them, or read outside of them;
//! - blocks are verified when the caller says so, once before their first use: a reader keeps no memory of it.
//!
//! # Decisions
//! - *No `unsafe`*: what is read is bounds-checked, in verified blocks too.
//! - *A cursor is a place, not a borrow*: it can stop where a block is not there yet, and wait as long as it takes.
//! - *The finish of a file is stepped*: index and filter of two million entries take tens of milliseconds.

mod block;
mod cursor;
mod filter;
mod index;
mod meta;
mod points;
mod reader;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use block::BLOCK_BYTES_MAX;
pub use block::{Block, BlockError, Codec, Entry, ValueAlign};
pub use cursor::{SstCursor, Step};
pub(super) use filter::{Filter, FilterBits, FilterBlock};
pub use index::Candidates;
pub use meta::{Purpose, Section, SstMeta, StateMeta};
pub(super) use points::{Located, Points};
pub(super) use reader::SectionCheck;
pub use reader::{Place, Sst, SstDamage, SstError};
pub use writer::{SstOptions, SstTail, SstWriter, VALUE_BYTES_MAX, WriteError};

use meta::FOOTER_BYTES;

/// Sections start at multiples of this, and so do uncompressed blocks: they can be paged in and out one by one.
pub const PAGE_BYTES: usize = crate::storage::PAGE_BYTES;

/// An entry starts below this logical address: what 22 bits can say, in units of 8 bytes.
pub const LOGICAL_BYTES_MAX: usize = 32 << 20;

/// The number of `N` bytes at `at`, little-endian bytes for `from_le_bytes`.
#[inline(always)]
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// `bytes` up to the next multiple of `align`, a power of two.
#[inline(always)]
const fn align_up(bytes: usize, align: usize) -> usize {
    (bytes + (align - 1)) & !(align - 1)
}
