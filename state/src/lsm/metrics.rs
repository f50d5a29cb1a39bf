//! What a store has done, and what it takes.

use super::{LEVEL_COUNT, Version};

/// What a store counts. Counters are since it was opened.
///
/// ```
/// use thalweg_state::lsm::Metrics;
/// let metrics = Metrics { flushed_bytes: 100, compacted_bytes: 250, ..Metrics::default() };
/// assert_eq!(metrics.write_amplification(), 3.5);
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Bytes that flushes have written.
    pub flushed_bytes: u64,
    /// Bytes that compactions have written.
    pub compacted_bytes: u64,
    /// Bytes of the files that compactions have read.
    pub compaction_read_bytes: u64,
    /// Jobs that were finished, and those that failed.
    pub jobs_finished: u64,
    /// Jobs that failed.
    pub jobs_failed: u64,
    /// How often level 0 has reached `runs_stop` runs, so that the core had to take no input.
    pub stalls: u64,
    /// Look-ups that met a block that was not in memory.
    pub cold_reads: u64,
    /// Parts of files that a look-up waited for on the core itself, because it was told to.
    pub blocking_reads: u64,
    /// Parts of files that were brought in.
    pub parts_in: u64,
    /// Parts of files that were driven out.
    pub parts_out: u64,
    /// Bytes of parts that were brought in.
    pub read_bytes: u64,
    /// Bytes of files in memory: parts, and what finds them.
    pub resident_bytes: usize,
    /// Those of filters among them.
    pub filter_bytes: usize,
    /// The files of each level.
    pub level_files: [usize; LEVEL_COUNT as usize],
    /// Their bytes.
    pub level_bytes: [u64; LEVEL_COUNT as usize],
    /// The runs of level 0.
    pub runs: usize,
}

impl Metrics {
    /// Bytes written for each byte that was flushed. 0 before the first flush.
    pub fn write_amplification(&self) -> f64 {
        match self.flushed_bytes {
            0 => 0.0,
            flushed => (flushed + self.compacted_bytes) as f64 / flushed as f64,
        }
    }

    /// Bytes of all files for each byte of the last level that has any: what is above it is there twice, at worst.
    /// 0 without files.
    ///
    /// ```
    /// # use thalweg_state::lsm::Metrics;
    /// let metrics = Metrics { level_bytes: [10, 0, 100, 0, 0, 0, 0, 0], ..Metrics::default() };
    /// assert_eq!(metrics.space_amplification(), 1.1);
    /// ```
    pub fn space_amplification(&self) -> f64 {
        let last = self.level_bytes.iter().rfind(|bytes| **bytes > 0);
        last.map_or(0.0, |last| self.level_bytes.iter().sum::<u64>() as f64 / *last as f64)
    }

    pub(super) fn on_version(&mut self, version: &Version) {
        (self.level_files, self.level_bytes) = Default::default();
        for file in version.files() {
            self.level_files[usize::from(file.level)] += 1;
            self.level_bytes[usize::from(file.level)] += file.bytes;
        }
        self.runs = version.runs().len();
    }
}
