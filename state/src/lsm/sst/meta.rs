//! What a file says of itself: the metadata, as JSON that tools and people can read, and the footer.
//!
//! Invariants:
//! - metadata of another minor version stays readable: unknown fields are skipped;
//! - a [`Footer`] that was read has sections in order, without a gap, that fill the file.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use super::{Codec, PAGE_BYTES, SstError, ValueAlign, align_up, field};
use crate::lsm::{KeyRange, hex};

/// The version of the whole file format. A reader refuses others.
pub(super) const FORMAT_VERSION: u32 = 1;

/// At the very end.
pub(super) const FOOTER_BYTES: usize = 128;

const MAGIC: [u8; 8] = *b"thalwSST";

/// A part of the file, for messages.
///
/// ```
/// assert_eq!(thalweg_state::lsm::sst::Section::Table.to_string(), "block table");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// All blocks.
    Blocks,
    /// From hashes to addresses.
    Index,
    /// Which keys may be there.
    Filter,
    /// Where each block is.
    Table,
    /// The JSON.
    Metadata,
    /// Where each section is.
    Footer,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Section::Blocks => "blocks",
            Section::Index => "hash index",
            Section::Filter => "filter",
            Section::Table => "block table",
            Section::Metadata => "metadata",
            Section::Footer => "footer",
        })
    }
}

/// What made a file.
///
/// ```
/// use thalweg_state::lsm::sst::Purpose;
/// assert_eq!(Purpose::default(), Purpose::Flush);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Purpose {
    /// A memtable was written out.
    #[default]
    Flush,
    /// Older files were made one.
    Compaction,
    /// A savepoint was read, or state came from another backend.
    Import,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// One state whose keys are in a file.
///
/// ```
/// use thalweg_state::lsm::sst::{StateMeta, ValueAlign};
/// let state = StateMeta { id: 1, name: "counts".into(), schema: 0xfeed, align: ValueAlign::Eight };
/// assert_eq!(state.name, "counts");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateMeta {
    /// As in encoded keys.
    pub id: u16,
    /// As the user calls it.
    pub name: String,
    /// The fingerprint of its types.
    #[serde(with = "hex_word")]
    pub schema: u64,
    /// Where its values start; left out if that is at multiples of 8.
    #[serde(default, skip_serializing_if = "is_eight")]
    pub align: ValueAlign,
}

fn is_eight(align: &ValueAlign) -> bool {
    *align == ValueAlign::Eight
}

/// What a file says of itself.
///
/// ```
/// use thalweg_state::lsm::{Kind, sst::{SstOptions, SstWriter, ValueAlign}};
/// let mut writer = SstWriter::new(SstOptions::default());
/// writer.add(&[0, 3, 0, 1, 7], Kind::Put, b"seven", ValueAlign::Eight).unwrap();
/// let (meta, _) = writer.finish().run();
/// assert_eq!((meta.entries, meta.key_groups()), (1, Some((3, 3))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SstMeta {
    /// Of the file format.
    pub format_version: u32,
    /// What made the file.
    pub purpose: Purpose,
    /// All entries.
    pub entries: u64,
    /// Those that say that their key has no value.
    pub deletes: u64,
    /// Those that hold operands.
    pub merges: u64,
    /// The lowest key; empty if there is none.
    #[serde(with = "hex")]
    pub first_key: Vec<u8>,
    /// The highest key; empty if there is none.
    #[serde(with = "hex")]
    pub last_key: Vec<u8>,
    /// The lowest key group of an entry.
    pub key_group_min: Option<u16>,
    /// The highest key group of an entry.
    pub key_group_max: Option<u16>,
    /// The states that the writer was told of.
    pub states: Vec<StateMeta>,
    /// What older files say of these keys does not count.
    pub tombstones: Vec<KeyRange>,
    /// How blocks are stored.
    pub codec: Codec,
    /// How many blocks there are.
    pub blocks: u32,
    /// The target size of a block, in bytes.
    pub block_bytes: u32,
    /// What the filter spends on a key.
    pub filter_bits_per_key: u32,
    /// The blocks if they were not compressed, in bytes.
    pub logical_bytes: u64,
    /// The blocks in the file, in bytes.
    pub physical_bytes: u64,
}

impl SstMeta {
    /// The lowest and the highest key group of its entries.
    pub fn key_groups(&self) -> Option<(u16, u16)> {
        self.key_group_min.zip(self.key_group_max)
    }
}

/// 64 bits in JSON: as digits, because many readers of numbers keep only 53 bits.
mod hex_word {
    use super::*;

    pub(super) fn serialize<S: Serializer>(word: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{word:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u64::from_str_radix(&digits, 16).map_err(serde::de::Error::custom)
    }
}

/// Where a section is, and the checksum of its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) checksum: u64,
}

/// The sections that have a checksum of their own, in the order of the file.
pub(super) const SECTIONS: [Section; 4] =
    [Section::Index, Section::Filter, Section::Table, Section::Metadata];

/// Where all sections are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    /// Of [`SECTIONS`].
    extents: [Extent; SECTIONS.len()],
    /// What the blocks take.
    pub(super) blocks_bytes: u64,
}

impl Footer {
    pub(super) fn new(extents: [Extent; SECTIONS.len()], blocks_bytes: u64) -> Self {
        Self { extents, blocks_bytes }
    }

    pub(super) fn to_bytes(&self) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        for (extent, out) in self.extents.iter().zip(out[8..].as_chunks_mut::<24>().0) {
            out[..8].copy_from_slice(&extent.offset.to_le_bytes());
            out[8..16].copy_from_slice(&extent.bytes.to_le_bytes());
            out[16..].copy_from_slice(&extent.checksum.to_le_bytes());
        }
        out[104..112].copy_from_slice(&self.blocks_bytes.to_le_bytes());
        out[112..116].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[116..120].copy_from_slice(&(FOOTER_BYTES as u32).to_le_bytes());
        out[120..].copy_from_slice(&MAGIC);
        let checksum = xxh3_64(&out[8..]);
        out[..8].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads the end of a file, and checks that its sections are where they must be.
    pub(super) fn read(file: &[u8]) -> Result<Self, SstError> {
        let bytes = file.last_chunk::<FOOTER_BYTES>().ok_or(SstError::Foreign)?;
        if !bytes.ends_with(&MAGIC) {
            return Err(SstError::Foreign);
        }
        let start = (file.len() - FOOTER_BYTES) as u64;
        let damage = |at: usize| SstError::Section { section: Section::Footer, offset: start + at as u64 };
        let word = |at: usize| field(bytes, at).map(u64::from_le_bytes).ok_or(damage(at));
        if word(0)? != xxh3_64(&bytes[8..]) {
            // A later version may have another footer; only what is after its checksum stays.
            return Err(match field(bytes, 112).map(u32::from_le_bytes) {
                Some(found) if found > FORMAT_VERSION && found < 1 << 16 => SstError::Version { found },
                _ => damage(0),
            });
        }
        if let Some(found) = field(bytes, 112).map(u32::from_le_bytes).filter(|v| *v != FORMAT_VERSION) {
            return Err(SstError::Version { found });
        }
        let blocks_bytes = word(104)?;
        let mut extents = [Extent::default(); SECTIONS.len()];
        let mut end = blocks_bytes;
        for (i, extent) in extents.iter_mut().enumerate() {
            let at = 8 + 24 * i;
            *extent = Extent { offset: word(at)?, bytes: word(at + 8)?, checksum: word(at + 16)? };
            if end.checked_next_multiple_of(PAGE_BYTES as u64) != Some(extent.offset) {
                return Err(damage(at));
            }
            end =
                extent.offset.checked_add(extent.bytes).filter(|end| *end <= start).ok_or(damage(at + 8))?;
        }
        // `end <= start`, so this does not overflow.
        if align_up(end as usize + FOOTER_BYTES, PAGE_BYTES) != file.len() {
            return Err(damage(0));
        }
        Ok(Self { extents, blocks_bytes })
    }

    /// The bytes of a section in the file.
    #[inline(always)]
    pub(super) fn range(&self, section: Section) -> Range<usize> {
        match section {
            Section::Blocks => 0..self.blocks_bytes as usize,
            Section::Footer => {
                let end = self.range(Section::Metadata).end;
                let file_bytes = align_up(end + FOOTER_BYTES, PAGE_BYTES);
                file_bytes - FOOTER_BYTES..file_bytes
            }
            _ => {
                let extent = &self.extents[section as usize - 1];
                extent.offset as usize..(extent.offset + extent.bytes) as usize
            }
        }
    }

    /// The checksum of a section, if it has one of its own.
    pub(super) fn checksum(&self, section: Section) -> Option<u64> {
        let at = SECTIONS.iter().position(|other| *other == section)?;
        Some(self.extents[at].checksum)
    }

    /// Compares a section with its checksum, if it has one of its own.
    pub(super) fn check(&self, section: Section, file: &[u8]) -> Result<(), SstError> {
        let range = self.range(section);
        let damage = SstError::Section { section, offset: range.start as u64 };
        let bytes = file.get(range).ok_or_else(|| damage.clone())?;
        let is_damaged = self.checksum(section).is_some_and(|checksum| checksum != xxh3_64(bytes));
        if is_damaged { Err(damage) } else { Ok(()) }
    }
}
