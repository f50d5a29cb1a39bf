//! What a store has done, and what it takes.

use super::LEVEL_COUNT;
use super::view::View;

/// What a store counts. Counters are since it was opened.
///
/// ```
/// use thalweg_state::lsm::Metrics;
/// let metrics = Metrics { payload_bytes: 100, flushed_bytes: 120, compacted_bytes: 230, ..Metrics::default() };
/// assert_eq!(metrics.write_amplification(), 3.5);
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Bytes of the keys and values that flushes were given; operands and deletes count too.
    pub payload_bytes: u64,
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
    /// Bytes of live data, as last known: all that the largest run or level holds, as it lies in blocks before they are
    /// compressed. What is in others may be live too, or hide some of it.
    pub live_bytes: u64,
}

impl Metrics {
    /// Bytes that flushes and compactions have written for each byte of keys and values that was flushed. Snapshots are links
    /// where they can be, and do not count. 0 before the first flush.
    pub fn write_amplification(&self) -> f64 {
        ratio(self.flushed_bytes + self.compacted_bytes, self.payload_bytes)
    }

    /// Bytes of all files, indices and filters included, for each byte of live data. 0 without files.
    ///
    /// ```
    /// # use thalweg_state::lsm::Metrics;
    /// let metrics = Metrics { level_bytes: [10, 0, 100, 0, 0, 0, 0, 0], live_bytes: 88, ..Metrics::default() };
    /// assert_eq!(metrics.space_amplification(), 1.25);
    /// ```
    pub fn space_amplification(&self) -> f64 {
        ratio(self.level_bytes.iter().sum(), self.live_bytes)
    }

    pub(super) fn on_view(&mut self, view: &View) {
        (self.level_files, self.level_bytes) = Default::default();
        for file in view.version.files() {
            self.level_files[usize::from(file.level)] += 1;
            self.level_bytes[usize::from(file.level)] += file.bytes;
        }
        self.runs = view.version.runs().len();
        let run_bytes =
            view.runs.iter().map(|run| run.files.iter().map(|file| file.file.sst.meta().logical_bytes).sum());
        self.live_bytes = run_bytes.max().unwrap_or(0);
    }
}

fn ratio(bytes: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { bytes as f64 / of as f64 }
}
