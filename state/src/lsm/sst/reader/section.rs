//! Verification of one section, piece by piece.

use super::super::{PAGE_BYTES, Section};
use super::{Sst, SstError};
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3Default;

/// A section of which some pieces were verified.
pub(in crate::lsm) struct SectionCheck {
    section: Section,
    /// The bytes of the section before this one.
    done: usize,
    hash: Box<Xxh3Default>,
}

impl SectionCheck {
    /// Nothing of a section with a checksum of its own was verified yet.
    pub(in crate::lsm) fn new(section: Section) -> Self {
        Self { section, done: 0, hash: Box::default() }
    }

    /// Where in the file the next piece is: whole pages, of about so many bytes. Empty at the end.
    pub(in crate::lsm) fn next<B: AsRef<[u8]>>(&self, sst: &Sst<B>, bytes: usize) -> Range<usize> {
        let Range { start, end } = sst.section_range(self.section);
        let (pages, start) = ((bytes / PAGE_BYTES).max(1), (start + self.done).min(end));
        start..end.min(start.saturating_add(pages.saturating_mul(PAGE_BYTES)))
    }

    /// Takes in the piece that `next` has said. Whether it was the last one.
    ///
    /// Errors: [`SstError::Section`] after the last one, if the section is not as it was written.
    pub(in crate::lsm) fn add<B: AsRef<[u8]>>(
        &mut self,
        sst: &Sst<B>,
        piece: Range<usize>,
    ) -> Result<bool, SstError> {
        let range = sst.section_range(self.section);
        self.done += piece.len();
        self.hash.update(sst.slice(&piece));
        if piece.end < range.end {
            return Ok(false);
        }
        match sst.footer.checksum(self.section) == Some(self.hash.digest()) {
            true => Ok(true),
            false => Err(SstError::Section { section: self.section, offset: range.start as u64 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsm::Kind;
    use crate::lsm::sst::{SstOptions, SstWriter, ValueAlign};

    #[test]
    fn pieces_of_any_size_are_verified_as_the_whole() {
        let mut writer = SstWriter::new(SstOptions { filter_bits_per_key: 12, ..SstOptions::default() });
        for user in 0..20_000_u32 {
            writer.add(&user.to_be_bytes(), Kind::Put, b"", ValueAlign::Eight).unwrap();
        }
        let mut file = writer.finish().run().1;
        let index = Sst::open(&file).unwrap().section_range(Section::Index);
        for is_damaged in [false, true] {
            if is_damaged {
                file[index.end - 1] ^= 1;
            }
            let sst = Sst::open(&file).unwrap();
            for (bytes, pieces) in
                [(1, index.len().div_ceil(4096)), (20_000, index.len().div_ceil(16384)), (usize::MAX, 1)]
            {
                let mut check = SectionCheck::new(Section::Index);
                let mut results = (0..pieces).map(|_| {
                    let piece = check.next(&sst, bytes);
                    check.add(&sst, piece)
                });
                assert!(results.by_ref().take(pieces - 1).all(|result| result == Ok(false)));
                assert_eq!(results.next().unwrap().is_ok(), !is_damaged);
            }
        }
    }
}
