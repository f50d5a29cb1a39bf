//! How a store trades memory, reads and writes: every option with its unit and effect, and three profiles.

use std::fmt;

use super::sst::BLOCK_BYTES_MAX;

/// The settings of the store of one core.
///
/// Start from a profile ([`nvme`](Self::nvme), [`ssd`](Self::ssd), [`memory`](Self::memory)) and change what differs.
///
/// ```
/// use thalweg_state::lsm::Options;
/// let options = Options { memory_bytes: 256 << 20, ..Options::nvme() };
/// assert!(options.check().is_ok());
/// let tiny = Options { memory_bytes: 1 << 10, ..Options::nvme() };
/// assert!(tiny.check().unwrap_err().to_string().starts_with("memory_bytes is 1024"));
/// let coarse = Options { block_bytes: 512 << 10, ..Options::nvme() }; // More than a file's writer makes.
/// assert!(coarse.check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Bytes of memory that the store may use in all: tables, filters, and the blocks of files that are paged in. What is
    /// over it is flushed or paged out.
    pub memory_bytes: usize,
    /// The share of `memory_bytes` that tables may take, the ones being flushed included. More takes up more updates of the
    /// same keys before they are written; less leaves more for blocks.
    pub table_share: f64,
    /// Bytes of a block before compression: what one cold read brings in. Smaller ones make cold points cheaper, and more of them fit
    /// the memory; larger ones make scans and compression better. In memory a block takes 40 bytes and its first key besides. A
    /// multiple of 4096, at most 256 KiB.
    pub block_bytes: usize,
    /// Bytes after which a file ends and the next begins: what one compaction moves at least. At most 31 MiB.
    pub file_bytes: usize,
    /// Bits of filter for each key, in memory: 8 let one absent key in 33 through, 12 one in 230, 16 one in 1060
    /// (measured with 400 k keys). 0: no filters.
    pub filter_bits: u32,
    /// Runs in level 0 from which on they are compacted although the state changes. More write less, and cost space, and a filter
    /// probe each when reading. When nothing changes they are compacted sooner.
    pub runs_max: usize,
    /// Runs in level 0 from which on [`Store::is_stalled`](super::Store::is_stalled) says so: the caller then takes no input until
    /// they are compacted, rather than fall behind for good.
    pub runs_stop: usize,
    /// How many times larger than the level above a level may be. Larger ones read less and write more.
    pub level_ratio: usize,
    /// The first level whose blocks are compressed, with LZ4. 0: all; a high number: none.
    pub compressed_from_level: usize,
    /// Whether files are written through the kernel's page cache: what was just flushed or compacted is then read from there, 1 µs
    /// for a block instead of 50 or more, as long as the machine has memory besides the store's. It costs 0.14 ns of CPU for each
    /// byte written. Without it they go past the cache, which then keeps what it has. They are as durable.
    pub cached_writes: bool,
    /// Bytes that flushes and compactions may write in a second, or no bound. Bounds what they take from a disk shared with
    /// others.
    pub write_bytes_per_second: Option<u64>,
}

impl Options {
    /// For a local NVMe drive, on which 4 KiB random reads cost some 50 µs and are many at a time. The default.
    pub fn nvme() -> Self {
        Self {
            memory_bytes: 512 << 20,
            table_share: 0.5,
            block_bytes: 4 << 10,
            file_bytes: 24 << 20,
            filter_bits: 12,
            runs_max: 8,
            runs_stop: 20,
            level_ratio: 8,
            compressed_from_level: usize::MAX,
            cached_writes: true,
            write_bytes_per_second: None,
        }
    }

    /// For a disk that reads and writes some hundreds of MB in a second: fewer bytes for more CPU.
    pub fn ssd() -> Self {
        Self {
            compressed_from_level: 2,
            block_bytes: 16 << 10,
            filter_bits: 16,
            level_ratio: 10,
            ..Self::nvme()
        }
    }

    /// For state that fits the memory nearly always: the tables take most of it, files are few.
    pub fn memory() -> Self {
        Self { table_share: 0.8, runs_max: 2, ..Self::nvme() }
    }

    /// What is wrong with these settings, if anything.
    ///
    /// Errors: the name of the option, its value, and what it must be.
    pub fn check(&self) -> Result<(), OptionError> {
        let rules: [(&'static str, String, bool, &'static str); 7] = [
            ("memory_bytes", self.memory_bytes.to_string(), self.memory_bytes >= 4 << 20, "at least 4 MiB"),
            (
                "table_share",
                self.table_share.to_string(),
                self.table_share > 0.0 && self.table_share <= 0.9,
                "above 0 and at most 0.9",
            ),
            (
                "block_bytes",
                self.block_bytes.to_string(),
                self.block_bytes.is_multiple_of(4096) && (4096..=BLOCK_BYTES_MAX).contains(&self.block_bytes),
                "a multiple of 4096, at most 256 KiB",
            ),
            (
                "file_bytes",
                self.file_bytes.to_string(),
                (self.block_bytes..=31 << 20).contains(&self.file_bytes),
                "at least block_bytes and at most 31 MiB",
            ),
            ("filter_bits", self.filter_bits.to_string(), self.filter_bits <= 32, "at most 32"),
            (
                "runs_max",
                self.runs_max.to_string(),
                self.runs_max >= 1 && self.runs_max <= self.runs_stop,
                "at least 1 and at most runs_stop",
            ),
            ("level_ratio", self.level_ratio.to_string(), self.level_ratio >= 2, "at least 2"),
        ];
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((option, given, _, allowed)) => Err(OptionError { option, given, allowed }),
            None => Ok(()),
        }
    }

    /// How many bytes the tables may take, those being flushed included.
    pub(crate) fn table_bytes(&self) -> usize {
        (self.memory_bytes as f64 * self.table_share) as usize
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::nvme()
    }
}

/// An option that cannot be.
///
/// ```
/// use thalweg_state::lsm::Options;
/// let error = Options { level_ratio: 1, ..Options::ssd() }.check().unwrap_err();
/// assert_eq!(error.to_string(), "level_ratio is 1, which must be at least 2");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionError {
    /// Its name.
    pub option: &'static str,
    given: String,
    allowed: &'static str,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, which must be {}", self.option, self.given, self.allowed)
    }
}

impl std::error::Error for OptionError {}
