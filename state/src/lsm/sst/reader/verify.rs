//! Verification of every byte of a file: all that is damaged, each with its place.
//!
//! Invariants:
//! - every byte is under a checksum or must be zero, so that no damage goes unnoticed;
//! - a damage hides no other one, as long as the sections after the blocks say where these are.

use std::error::Error;
use std::fmt;
use std::ops::Range;

use rkyv::util::AlignedVec;

use super::super::meta::{Footer, SECTIONS};
use super::super::{Block, BlockError, Section};
use super::{Sst, SstError};
use crate::lsm::key::EncodedKey;

/// One thing that is wrong with a file.
///
/// ```
/// use thalweg_state::lsm::sst::{Section, SstDamage, SstError, SstOptions, SstWriter};
/// let mut file = SstWriter::new(SstOptions::default()).finish().run().1;
/// assert_eq!(SstDamage::of_file(&file), []);
/// let last = file.len() - 1;
/// file[last] ^= 1;
/// let damages = SstDamage::of_file(&file);
/// assert_eq!((&damages[0].error, damages[0].hides_blocks), (&SstError::Foreign, true));
/// assert!(damages[0].bytes.contains(&(last as u64)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SstDamage {
    /// What is wrong.
    pub error: SstError,
    /// Where: the damaged bytes are in this range of the file, which is as narrow as the checksums tell.
    pub bytes: Range<u64>,
    /// Because of it nobody knows where the blocks are: they were not verified.
    pub hides_blocks: bool,
}

impl SstDamage {
    /// Verifies every byte of a file, the order of its keys, and what it says of itself. In the order of the file.
    ///
    /// Cost: some 0.1 ns for each byte that is in memory, 1 ns if it is compressed, and 5 ns for each entry.
    pub fn of_file(file: &[u8]) -> Vec<Self> {
        let footer = match Footer::read(file) {
            Ok(footer) => footer,
            Err(error) => return vec![Self::of_footer(error, file.len() as u64)],
        };
        let mut found = Vec::new();
        let opened = Sst::open(file).map(|sst| sst.check_blocks(&mut found));
        check_sections(&footer, file, &mut found);
        if let Err(error) = opened {
            let range = match error {
                SstError::Section { section, offset } => offset..footer.range(section).end as u64,
                _ => 0..file.len() as u64,
            };
            found.retain(|damage| damage.error != error); // It says more here.
            found.push(Self { error, bytes: range, hides_blocks: true });
        }
        found.sort_by_key(|damage| damage.bytes.start);
        found
    }

    fn of_footer(error: SstError, file_bytes: u64) -> Self {
        let from_end = |start: u64, bytes: u64| {
            let start = file_bytes.saturating_sub(start);
            start..(start + bytes).min(file_bytes)
        };
        let bytes = match error {
            SstError::Version { .. } => from_end(16, 4),
            SstError::Section { offset, .. } => offset..file_bytes,
            _ => from_end(8, 8),
        };
        Self { error, bytes, hides_blocks: true }
    }
}

impl fmt::Display for SstDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if let Some(source) = self.error.source() {
            write!(f, ": {source}")?;
        }
        f.write_str(if self.hides_blocks { ", so its blocks could not be verified" } else { "" })
    }
}

impl<B: AsRef<[u8]>> Sst<B> {
    /// Verifies every byte, and the order of keys; see [`SstDamage::of_file`] for all that is wrong.
    ///
    /// Errors: the first damage in the order of the file.
    pub fn verify_all(&self) -> Result<(), SstError> {
        let mut found = Vec::new();
        self.check_blocks(&mut found);
        check_sections(&self.footer, self.bytes(), &mut found);
        match found.into_iter().min_by_key(|damage| damage.bytes.start) {
            Some(damage) => Err(damage.error),
            None => Ok(()),
        }
    }

    /// Verifies all blocks; and if they are whole, that the metadata is of them.
    fn check_blocks(&self, found: &mut Vec<SstDamage>) {
        let (mut image, mut last_key) = (AlignedVec::new(), Vec::new());
        let mut counts = [0_u64; 3];
        for number in 0..self.blocks() {
            let range = self.block_range(number).unwrap_or_default();
            let bytes = range.start as u64..range.end as u64;
            let checked = self.check_block(number, &mut image).and_then(|block| {
                self.check_keys(&block, number, &mut last_key, &mut counts).map_err(|source| {
                    let offset = bytes.start + u64::from(source.at());
                    SstError::Block { block: number, offset, source }
                })
            });
            if let Err(error) = checked {
                last_key.clear(); // Nobody knows it.
                found.push(SstDamage { error, bytes, hides_blocks: false });
            }
        }
        if found.is_empty() && !self.is_described(&last_key, counts) {
            let range = self.footer.range(Section::Metadata);
            let error = SstError::Section { section: Section::Metadata, offset: range.start as u64 };
            let bytes = range.start as u64..range.end as u64;
            found.push(SstDamage { error, bytes, hides_blocks: false });
        }
    }

    /// Whether the metadata is of a file with this last key, and as many entries of each kind.
    fn is_described(&self, last_key: &[u8], [puts, deletes, merges]: [u64; 3]) -> bool {
        let meta = &self.meta;
        let key_group = |key: &[u8]| EncodedKey::new(key).ok().map(|key| key.key_group().0);
        last_key == meta.last_key
            && (puts + deletes + merges, deletes, merges) == (meta.entries, meta.deletes, meta.merges)
            && (key_group(&meta.first_key), key_group(last_key)) == (meta.key_group_min, meta.key_group_max)
    }

    /// Checks that the keys of a block ascend from `last_key`, which becomes its last, that the block table knows the
    /// first one, and counts the entries by kind.
    fn check_keys(
        &self,
        block: &Block<'_>,
        number: u32,
        last_key: &mut Vec<u8>,
        counts: &mut [u64; 3],
    ) -> Result<(), BlockError> {
        block.check_order()?;
        let section = self.slice(&self.table_range);
        let first = block.entry(0).ok_or(BlockError::Header)?;
        let follows = number == 0 || self.table.first_key(section, number) > Some(last_key);
        if !follows || !self.table.first_key(section, number).is_some_and(|key| first.is_key(key)) {
            return Err(BlockError::Order { at: 0 });
        }
        for index in 0..block.len() {
            let entry = block.entry(index).ok_or(BlockError::Header)?;
            counts[entry.kind as usize] += 1;
            if index + 1 == block.len() {
                last_key.clear();
                entry.key_into(last_key);
            }
        }
        Ok(())
    }
}

/// Compares the sections after the blocks with their checksums, and what is between them with zeros.
fn check_sections(footer: &Footer, file: &[u8], found: &mut Vec<SstDamage>) {
    let mut before = Section::Blocks;
    for section in SECTIONS.into_iter().chain([Section::Footer]) {
        let range = footer.range(section);
        let padding = footer.range(before).end..range.start;
        let padding_bytes = file.get(padding.clone()).unwrap_or_default();
        let is_damaged = |byte: &u8| *byte != 0;
        let (first, last) =
            (padding_bytes.iter().position(is_damaged), padding_bytes.iter().rposition(is_damaged));
        if let Some((first, last)) = first.zip(last) {
            let bytes = (padding.start + first) as u64..(padding.start + last + 1) as u64;
            let error = SstError::Section { section: before, offset: bytes.start };
            found.push(SstDamage { error, bytes, hides_blocks: false });
        }
        if let Err(error) = footer.check(section, file) {
            let bytes = range.start as u64..range.end as u64;
            found.push(SstDamage { error, bytes, hides_blocks: false });
        }
        before = section;
    }
}
