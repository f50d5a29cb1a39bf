//! One result, as a line of JSON that the peers' scripts read too, and the figures that come from the kernel.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What one run of a query did.
///
/// ```
/// use thalweg_tools::report::QueryResult;
/// let line = r#"{"engine":"thalweg","version":"0.1.0","query":"q0","parallelism":1,"events":100,"seconds":0.5,"events_per_s":200.0,"steady_events_per_s":210.0,"out_count":92,"net_count":92,"digest":"00000000000000ff","cpu_seconds":0.4,"peak_rss_bytes":4096}"#;
/// let result: QueryResult = serde_json::from_str(line)?;
/// assert_eq!((result.cpu_ns_per_event(), result.to_json()), (4e6, line.to_owned()));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryResult {
    /// Who ran it: `thalweg`, or a peer.
    pub engine: String,
    /// The engine's version.
    pub version: String,
    /// The query: `q0` and so on.
    pub query: String,
    /// Subtasks, and shards of the data.
    pub parallelism: usize,
    /// Events read, over all passes.
    pub events: u64,
    /// From the first event to the last result, in seconds.
    pub seconds: f64,
    /// `events` over `seconds`.
    pub events_per_s: f64,
    /// The rate without the beginning and the end of the run.
    pub steady_events_per_s: f64,
    /// Rows sent to the sink, of either sign.
    pub out_count: u64,
    /// Sum of the rows' signs.
    pub net_count: i64,
    /// The sum of the rows' hashes, in 16 hexadecimal digits.
    pub digest: String,
    /// CPU time of all threads of the process during the run, in seconds.
    pub cpu_seconds: f64,
    /// The most memory that the process had, its data set included.
    pub peak_rss_bytes: u64,
}

impl QueryResult {
    /// CPU time for each event, in nanoseconds: the first figure to compare.
    pub fn cpu_ns_per_event(&self) -> f64 {
        self.cpu_seconds * 1e9 / self.events.max(1) as f64
    }

    /// The result as a line, without the line's end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of numbers and strings is always JSON")
    }
}

/// The CPU time that the process has used when this is made.
///
/// ```
/// use thalweg_tools::report::CpuTime;
/// let start = CpuTime::now();
/// assert!((0..1000).map(std::hint::black_box).sum::<u64>() > 0);
/// assert!(start.elapsed() > std::time::Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CpuTime(Duration);

impl CpuTime {
    /// CPU time of all threads so far, those that ended included. Resolution: nanoseconds.
    pub fn now() -> CpuTime {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let nanos = u32::try_from(time.tv_nsec).expect("a time of the kernel has less than 10⁹ nanoseconds");
        CpuTime(Duration::new(time.tv_sec.unsigned_abs(), nanos))
    }

    /// CPU time since `self`.
    pub fn elapsed(&self) -> Duration {
        CpuTime::now().0.saturating_sub(self.0)
    }
}

/// The most memory that the process had so far, or since [`reset_peak_rss`]. `None` where the kernel does not say.
///
/// ```
/// if let Some(bytes) = thalweg_tools::report::peak_rss_bytes() {
///     assert!(bytes > 4096);
/// }
/// ```
pub fn peak_rss_bytes() -> Option<u64> {
    peak_in(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Makes the present memory the peak, so that one run does not answer for those before it. Returns whether the kernel
/// allows that; if not, peaks are those of the whole process.
///
/// ```
/// thalweg_tools::report::reset_peak_rss();
/// ```
pub fn reset_peak_rss() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok() // See proc(5).
}

fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(
            peak_in("Name:\tx\nVmPeak:\t   99 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 5 kB\n"),
            Some(1234 * 1024)
        );
        assert_eq!(peak_in("Name:\tx\n"), None); // A kernel thread has none.
        assert_eq!(peak_in("VmHWM:\t99999999999999999999 kB\n"), None);
    }
}
