//! Which byte is damaged, if it is a single one: that which makes a checksum right when it is something else.
//!
//! It is tried out: every bit of every byte first, as bits are what disks and memory turn over, then every other value.
//! That a wrong one is taken for it is as likely as that two of some millions of hashes of 64 bits are the same.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::super::meta::Footer;
use super::super::{BlockError, Section, field};
use super::{SstDamage, SstError};

/// What is hashed in one search at most, in bytes: some seconds.
const HASHED_BYTES_MAX: usize = 80 << 30;
/// Before a block, or the footer, there is the checksum of the rest.
const CHECKSUM_BYTES: usize = 8;

impl SstDamage {
    /// Narrows [`Self::bytes`] to the damaged byte of `file`, if it is a single one and is found. Returns whether it is.
    ///
    /// Cost: up to some seconds: for blocks of 16 KiB 0.1 s if a bit was turned over, otherwise 6 s. Sections of more than
    /// 100 KiB are not searched.
    ///
    /// ```
    /// use thalweg_state::lsm::{Kind, sst::{SstDamage, SstOptions, SstWriter, ValueAlign}};
    /// let mut writer = SstWriter::new(SstOptions::default());
    /// writer.add(b"key 1", Kind::Put, b"one", ValueAlign::Eight).unwrap();
    /// let mut file = writer.finish().run().1;
    /// file[1234] ^= 4;
    /// let mut damage = SstDamage::of_file(&file).remove(0);
    /// assert_eq!(damage.bytes, 0..4096);
    /// assert!(damage.locate(&file));
    /// assert_eq!(damage.bytes, 1234..1235);
    /// ```
    pub fn locate(&mut self, file: &[u8]) -> bool {
        let Some(found) = self.search(file) else { return false };
        self.bytes = found as u64..found as u64 + 1;
        true
    }

    fn search(&self, file: &[u8]) -> Option<usize> {
        let range = usize::try_from(self.bytes.start).ok()?..usize::try_from(self.bytes.end).ok()?;
        match &self.error {
            SstError::Block { source: BlockError::Checksum { .. }, .. }
            | SstError::Section { section: Section::Footer, .. } => {
                let stored = u64::from_le_bytes(field(file, range.start)?);
                let checked = range.start + CHECKSUM_BYTES..range.end;
                let computed = xxh3_64(file.get(checked.clone())?);
                in_checksum(stored, computed)
                    .map(|at| range.start + at)
                    .or_else(|| in_bytes(file, checked, stored))
            }
            SstError::Section { section, offset } => {
                let footer = Footer::read(file).ok()?;
                // If it is not where the section begins, it is known already, or has another reason.
                let is_all = footer.range(*section) == range && *offset == self.bytes.start;
                in_bytes(file, range, footer.checksum(*section).filter(|_| is_all)?)
            }
            _ => None,
        }
    }
}

/// Which byte of a stored checksum differs, if it is a single one.
fn in_checksum(stored: u64, computed: u64) -> Option<usize> {
    let differs = (stored ^ computed).to_le_bytes();
    let at = differs.iter().position(|bits| *bits != 0)?;
    (differs.iter().filter(|bits| **bits != 0).count() == 1).then_some(at)
}

/// Which byte in `range` would have to be another one for the checksum to be right.
fn in_bytes(file: &[u8], range: Range<usize>, checksum: u64) -> Option<usize> {
    let mut bytes = file.get(range.clone())?.to_vec();
    let (bits, others): (Vec<u8>, Vec<u8>) = (1..=u8::MAX).partition(|change| change.is_power_of_two());
    for changes in [bits, others] {
        if bytes.len().checked_pow(2)?.checked_mul(changes.len())? > HASHED_BYTES_MAX {
            return None;
        }
        for at in 0..bytes.len() {
            for change in &changes {
                bytes[at] ^= change;
                if xxh3_64(&bytes) == checksum {
                    return Some(range.start + at);
                }
                bytes[at] ^= change;
            }
        }
    }
    None
}
