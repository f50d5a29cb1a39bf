//! Builds a block from entries that come one by one.
//!
//! Entries are staged until the block is complete: what their keys share, and so the form, is known only then.
//!
//! Invariant: `end` is where the entries would end, were the block finished now; so a block of several
//! entries never exceeds its target.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    CHECKSUM_BYTES, Codec, ENTRY_ALIGN, FLAG_ALIGN_16, FLAG_FIXED, HEADER_BYTES, Header, KIND_ALIGN_16,
    MixedShape, OFFSET_BYTES, Shape, ValueAlign, align_up, mixed_start,
};
use crate::hash_bytes;
use crate::lsm::Kind;

/// An entry that waits for its block to be complete.
#[derive(Debug, Clone, Copy)]
struct Staged {
    /// Of its key in the staged bytes; the value follows.
    at: u32,
    value_bytes: u32,
    key_bytes: u16,
    kind: Kind,
    align: ValueAlign,
}

/// Collects the entries of one block. What they share, and so their form, is known only when all are there.
#[derive(Debug, Default)]
pub(in crate::lsm::sst) struct BlockBuilder {
    staged: Vec<u8>,
    entries: Vec<Staged>,
    /// How many bytes all keys share.
    prefix_bytes: usize,
    is_mixed: bool,
    /// Where the entries end, given the form and the prefix.
    end: usize,
    scratch: Vec<u8>,
}

impl BlockBuilder {
    pub(in crate::lsm::sst) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The size of the uncompressed block, were it finished now.
    pub(in crate::lsm::sst) fn logical_bytes(&self) -> usize {
        self.end + if self.is_mixed { self.entries.len() * OFFSET_BYTES } else { 0 }
    }

    pub(in crate::lsm::sst) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets its entries.
    pub(in crate::lsm::sst) fn clear(&mut self) {
        self.staged.clear();
        self.entries.clear();
        (self.prefix_bytes, self.is_mixed, self.end) = (0, false, 0);
    }

    pub(in crate::lsm::sst) fn first_key(&self) -> &[u8] {
        self.entries.first().map_or(&[], |entry| self.key_of(entry))
    }

    pub(in crate::lsm::sst) fn last_key(&self) -> &[u8] {
        self.entries.last().map_or(&[], |entry| self.key_of(entry))
    }

    fn key_of(&self, entry: &Staged) -> &[u8] {
        &self.staged[entry.at as usize..][..usize::from(entry.key_bytes)]
    }

    /// Adds an entry if the block, unless it is empty, stays within `bytes_max`. The key is above the last one.
    #[inline]
    pub(in crate::lsm::sst) fn try_add(
        &mut self,
        key: &[u8],
        kind: Kind,
        value: &[u8],
        align: ValueAlign,
        bytes_max: usize,
    ) -> bool {
        let before = (self.prefix_bytes, self.is_mixed, self.end);
        let entry = Staged {
            at: self.staged.len() as u32,
            value_bytes: value.len() as u32,
            key_bytes: key.len() as u16,
            kind,
            align,
        };
        self.prefix_bytes = match self.entries.first() {
            None => key.len(),
            Some(first) => {
                let first = &self.staged[first.at as usize..][..self.prefix_bytes];
                first.iter().zip(key).take_while(|(a, b)| a == b).count()
            }
        };
        self.entries.push(entry);
        self.is_mixed = before.1 || !self.is_like_the_first(&entry);
        self.end = if let Some(shape) = self.shape().fixed() {
            shape.start + self.entries.len() * shape.stride
        } else if before.1 && before.0 == self.prefix_bytes {
            self.mixed_end(before.2, &entry)
        } else {
            let start = mixed_start(self.prefix_bytes);
            self.entries.iter().fold(start, |at, entry| self.mixed_end(at, entry))
        };
        if self.entries.len() > 1 && self.logical_bytes() > bytes_max {
            self.entries.pop();
            (self.prefix_bytes, self.is_mixed, self.end) = before;
            return false;
        }
        self.staged.extend_from_slice(key);
        self.staged.extend_from_slice(value);
        true
    }

    #[inline(always)]
    fn is_like_the_first(&self, entry: &Staged) -> bool {
        let first = &self.entries[0];
        entry.kind == Kind::Put
            && (entry.key_bytes, entry.value_bytes) == (first.key_bytes, first.value_bytes)
            && entry.align == first.align
    }

    /// Of the block, were it finished now.
    ///
    /// A suffix in a fixed block fills its padding with what could be in the prefix. So keys of one length mostly have
    /// prefixes of one length in all blocks, and branches on them are predicted.
    #[inline(always)]
    fn shape(&self) -> Shape {
        if self.is_mixed {
            return Shape { prefix_bytes: self.prefix_bytes as u16, ..Shape::default() };
        }
        let first = &self.entries[0];
        let suffix_bytes = usize::from(first.key_bytes) - self.prefix_bytes;
        let suffix_bytes = first.key_bytes.min(align_up(suffix_bytes, first.align.bytes()) as u16);
        let align = if first.align == ValueAlign::Sixteen { FLAG_ALIGN_16 } else { 0 };
        Shape {
            value_bytes: first.value_bytes,
            prefix_bytes: first.key_bytes - suffix_bytes,
            suffix_bytes,
            flags: FLAG_FIXED | align,
        }
    }

    fn mixed_end(&self, at: usize, entry: &Staged) -> usize {
        let suffix_bytes = usize::from(entry.key_bytes) - self.prefix_bytes;
        MixedShape::new(at, suffix_bytes, entry.value_bytes as usize, entry.align.bytes()).end
    }

    /// Appends the block to `out`, padded to the alignment of `codec`, and begins another one. `placed` hears of the
    /// hash of every key, and at which byte of the uncompressed block its entry starts.
    ///
    /// Panics: if there is no entry.
    pub(in crate::lsm::sst) fn finish(
        &mut self,
        codec: Codec,
        out: &mut Vec<u8>,
        placed: impl FnMut(u64, u32),
    ) -> Shape {
        let block_at = out.len();
        self.write_logical(out, placed);
        let logical_bytes = out.len() - block_at;
        let is_compressed = codec == Codec::Lz4 && self.compress(out, block_at);
        let stored_bytes = out.len() - block_at;
        out.resize(block_at + align_up(stored_bytes, codec.block_align()), 0);

        let block = &mut out[block_at..];
        let shape = self.shape();
        let codec = u8::from(is_compressed);
        let header = Header { stored_bytes, logical_bytes, entries: self.entries.len() as u32, shape, codec };
        header.write(block);
        let checksum = xxh3_64(&block[CHECKSUM_BYTES..]);
        block[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        self.clear();
        shape
    }

    /// Appends the uncompressed block, its header still zero.
    fn write_logical(&self, out: &mut Vec<u8>, mut placed: impl FnMut(u64, u32)) {
        let block_at = out.len();
        let pad_to = |out: &mut Vec<u8>, at: usize| out.resize(block_at + at, 0);
        pad_to(out, HEADER_BYTES);
        let shape = self.shape();
        let prefix_bytes = usize::from(shape.prefix_bytes);
        out.extend_from_slice(&self.staged[..prefix_bytes]);
        if let Some(shape) = shape.fixed() {
            out.resize(block_at + self.end, 0);
            let entries = &mut out[block_at..];
            let mut at = shape.start;
            for entry in &self.entries {
                let key = self.key_of(entry);
                let value = &self.staged[entry.at as usize + key.len()..][..shape.value_bytes];
                entries[at..][..shape.suffix_bytes].copy_from_slice(&key[prefix_bytes..]);
                entries[at + shape.value_at..][..shape.value_bytes].copy_from_slice(value);
                placed(hash_bytes(key), at as u32);
                at += shape.stride;
            }
            return;
        }
        let mut at = mixed_start(self.prefix_bytes);
        pad_to(out, at);
        for entry in &self.entries {
            let key = self.key_of(entry);
            let suffix = &key[self.prefix_bytes..];
            let value_bytes = entry.value_bytes as usize;
            let shape = MixedShape::new(at, suffix.len(), value_bytes, entry.align.bytes());
            let align = if entry.align == ValueAlign::Sixteen { KIND_ALIGN_16 } else { 0 };
            out.extend_from_slice(&(suffix.len() as u16).to_le_bytes());
            out.extend_from_slice(&[entry.kind as u8 | align, 0]);
            out.extend_from_slice(&entry.value_bytes.to_le_bytes());
            out.extend_from_slice(suffix);
            pad_to(out, shape.value_at);
            out.extend_from_slice(&self.staged[entry.at as usize + key.len()..][..value_bytes]);
            pad_to(out, shape.end);
            placed(hash_bytes(key), at as u32);
            at = shape.end;
        }
        let mut at = mixed_start(self.prefix_bytes);
        for entry in &self.entries {
            out.extend_from_slice(&((at / ENTRY_ALIGN) as u16).to_le_bytes());
            at = self.mixed_end(at, entry);
        }
    }

    /// Compresses the block at the end of `out` in place; `false`, and nothing changed, if that would gain nothing.
    fn compress(&mut self, out: &mut Vec<u8>, block_at: usize) -> bool {
        let payload = &out[block_at + HEADER_BYTES..];
        self.scratch.resize(lz4_flex::block::get_maximum_output_size(payload.len()), 0);
        let bytes = lz4_flex::block::compress_into(payload, &mut self.scratch)
            .expect("the output has room for the worst case");
        if bytes >= payload.len() {
            return false;
        }
        out.truncate(block_at + HEADER_BYTES);
        out.extend_from_slice(&self.scratch[..bytes]);
        true
    }

    /// What is allocated, in bytes.
    pub(in crate::lsm::sst) fn memory_bytes(&self) -> usize {
        self.staged.capacity() + self.scratch.capacity() + self.entries.capacity() * size_of::<Staged>()
    }
}
