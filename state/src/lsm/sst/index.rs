//! The hash index: from a hash to where its entry may be. One cache miss.
//!
//! ```text
//!   hash   high 32 bits ── × lines ÷ 2³² ──▶ ┌ line: 16 slots, 64 bytes ──────────────┐
//!          low 10 bits ─── fingerprint ────▶ │ fp addr │ fp addr │ fp addr │ 0 │ … 0  │ ── full? ──▶ the next line
//!                                            └────────────────────────────────────────┘
//!   slot = fingerprint (10 bits) | logical address ÷ 8 (22 bits)         0 = vacant: no entry is at address 0
//! ```
//!
//! Invariants:
//! - the slots of a line are taken from the first to the last;
//! - an entry is in the first line, from that of its hash on, that had a vacant slot when it came; after the last
//!   line comes the first;
//! - at most four fifths of the slots are taken, so there is a vacant one.

use super::LOGICAL_BYTES_MAX;
use crate::prefetch::prefetch;

const LINE_SLOTS: usize = 16;
const LINE_BYTES: usize = LINE_SLOTS * 4;
const ADDRESS_BITS: u32 = 22;
const ADDRESS_UNIT: u32 = 8;
const _: () = assert!(LOGICAL_BYTES_MAX == (ADDRESS_UNIT as usize) << ADDRESS_BITS);

type Line = [u8; LINE_BYTES];

#[inline(always)]
fn line_of(hash: u64, lines: usize) -> usize {
    (((hash >> 32) * lines as u64) >> 32) as usize
}

/// Of other bits than those that choose the line.
#[inline(always)]
fn fingerprint_of(hash: u64) -> u32 {
    (hash as u32) << ADDRESS_BITS
}

/// How many lines an index of so many entries has.
fn lines_for(entries: usize) -> usize {
    (entries * 5).div_ceil(4 * LINE_SLOTS)
}

/// The length of an index of so many entries, in bytes. `None` if no file can be as long.
pub(super) fn index_bytes(entries: usize) -> Option<usize> {
    (entries <= LOGICAL_BYTES_MAX / ADDRESS_UNIT as usize).then(|| lines_for(entries) * LINE_BYTES)
}

/// An index in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index<'a>(&'a [Line]);

impl<'a> Index<'a> {
    /// Over a section; what is too short for a line is left out.
    #[inline(always)]
    pub(super) fn new(section: &'a [u8]) -> Self {
        Self(section.as_chunks().0)
    }

    /// Asks the processor for what the first of the candidates needs.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(self.0.as_ptr().wrapping_add(line_of(hash, self.0.len())));
    }

    #[inline(always)]
    pub(super) fn candidates(&self, hash: u64) -> Candidates<'a> {
        let line = line_of(hash, self.0.len());
        let mut candidates = Candidates {
            lines: self.0,
            line,
            lines_left: self.0.len(),
            fingerprint: fingerprint_of(hash),
            matches: 0,
        };
        candidates.look_at(line);
        candidates
    }
}

/// The logical addresses at which the entry of a hash may be: nearly always one if it is there, and none if not.
///
/// In order; the entry, if it is there, is at one of them.
#[derive(Debug, Clone)]
pub struct Candidates<'a> {
    lines: &'a [Line],
    line: usize,
    lines_left: usize,
    fingerprint: u32,
    /// Of the current line, a bit for each slot, from the second bit on: all alike, so that they are found at once.
    matches: u32,
}

impl Candidates<'_> {
    #[inline(always)]
    fn slot(&self, line: usize, slot: usize) -> u32 {
        self.lines.get(line).map_or(0, |line| u32::from_le_bytes(line.as_chunks::<4>().0[slot]))
    }

    #[inline(always)]
    fn look_at(&mut self, line: usize) {
        let Some(bytes) = self.lines.get(line) else { return };
        self.line = line;
        self.matches = 0;
        for (slot, bytes) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let agrees = (u32::from_le_bytes(*bytes) ^ self.fingerprint) < 1 << ADDRESS_BITS;
            self.matches |= if agrees { 2 << slot } else { 0 };
        }
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        loop {
            while self.matches == 0 {
                // A line with a vacant slot ends the search; so do as many lines as there are.
                if self.lines_left <= 1 || self.slot(self.line, LINE_SLOTS - 1) == 0 {
                    return None;
                }
                self.lines_left -= 1;
                let next = self.line + 1;
                self.look_at(if next == self.lines.len() { 0 } else { next });
            }
            let slot = self.matches.trailing_zeros() as usize - 1;
            self.matches &= self.matches - 1;
            let word = self.slot(self.line, slot);
            if word != 0 {
                return Some((word & ((1 << ADDRESS_BITS) - 1)) * ADDRESS_UNIT);
            } // A vacant slot looks like fingerprint 0.
        }
    }
}

/// Builds the index of a known number of entries.
#[derive(Debug)]
pub(super) struct IndexBuilder {
    lines: Vec<u8>,
    /// How many slots of each line are taken: so an insertion only writes to the line.
    taken: Vec<u8>,
}

impl IndexBuilder {
    pub(super) fn new(entries: usize) -> Self {
        Self { lines: vec![0; lines_for(entries) * LINE_BYTES], taken: vec![0; lines_for(entries)] }
    }

    /// Adds the entry at a logical address: a multiple of 8, above 0 and below [`LOGICAL_BYTES_MAX`].
    ///
    /// Panics: if there are more entries than were announced, sooner or later.
    #[inline(always)]
    pub(super) fn insert(&mut self, hash: u64, address: u32) {
        debug_assert!(
            address > 0 && address.is_multiple_of(ADDRESS_UNIT) && (address as usize) < LOGICAL_BYTES_MAX
        );
        let mut line = line_of(hash, self.taken.len());
        let mut tried = 0;
        while usize::from(self.taken[line]) == LINE_SLOTS {
            line = if line + 1 == self.taken.len() { 0 } else { line + 1 };
            tried += 1;
            assert!(tried < self.taken.len(), "the index has more slots than entries");
        }
        let slot = line * LINE_SLOTS + usize::from(self.taken[line]);
        self.taken[line] += 1;
        let word = fingerprint_of(hash) | (address / ADDRESS_UNIT);
        self.lines.as_chunks_mut::<4>().0[slot] = word.to_le_bytes();
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash_word;

    fn build(entries: &[(u64, u32)]) -> Vec<u8> {
        let mut builder = IndexBuilder::new(entries.len());
        entries.iter().for_each(|&(hash, address)| builder.insert(hash, address));
        builder.into_bytes()
    }

    /// Every entry is among the candidates of its hash; others are few.
    #[track_caller]
    fn check(entries: &[(u64, u32)], others_max: usize) {
        let bytes = build(entries);
        let index = Index::new(&bytes);
        let mut others = 0;
        for &(hash, address) in entries {
            let candidates: Vec<u32> = index.candidates(hash).collect();
            assert!(candidates.contains(&address), "{hash:x}: {candidates:?}");
            others += candidates.len() - 1;
        }
        assert!(others <= others_max, "{others} false candidates");
    }

    fn entries(count: u32, hash: impl Fn(u32) -> u64) -> Vec<(u64, u32)> {
        (1..=count).map(|i| (hash(i), i * 8)).collect()
    }

    #[test]
    fn entries_are_found() {
        check(&[], 0);
        check(&entries(1, |_| 0), 0); // Fingerprint 0, where vacant slots agree.
        check(&entries(1, |_| u64::MAX), 0);
        for count in [12, 13, 64, 1000, 50_000] {
            check(&entries(count, |i| hash_word(u64::from(i))), count as usize / 40);
        }
        assert_eq!(entries(3, |_| 7 << 32).len(), 3);
    }

    #[test]
    fn full_lines_go_over_into_the_next_and_from_the_last_into_the_first() {
        check(&entries(40, |i| u64::MAX - u64::from(i)), 0); // All begin at the last of 4 lines.
        check(&entries(40, |_| u64::MAX), 39 * 40);
    }

    #[test]
    fn the_search_in_an_index_without_a_vacant_slot_ends() {
        let bytes = [0xff; 3 * LINE_BYTES];
        assert_eq!(Index::new(&bytes).candidates(0).count(), 0);
        assert_eq!(Index::new(&bytes).candidates(u64::MAX).count(), 3 * LINE_SLOTS);
        assert_eq!(Index::new(&[]).candidates(7).count(), 0);
    }
}
