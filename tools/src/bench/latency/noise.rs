//! What the machine itself adds: for how long a core is taken away from a thread that only reads the clock.
//!
//! No engine can be better than this. Nothing is subtracted: the figures stand beside those of the run.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::percentiles::Times;

/// A gap of this length is not the loop's own.
const TAKEN_AWAY_NS: u64 = 5_000;

/// What a loop that reads the clock sees.
#[derive(Debug, Clone)]
pub(super) struct Noise {
    /// The gaps between readings.
    pub(super) gaps: Times,
    /// The share of all time that was in gaps of 5 µs or more: when the core did something else.
    pub(super) taken_away: f64,
}

/// Watches each of the first `cores` cores at once, for `time`.
pub(super) fn measure(cores: usize, time: Duration) -> Noise {
    let cpus = cpus();
    let mut all = Times::new();
    let (mut taken_away_ns, mut total_ns) = (0, 0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(cpus.len()))
            .map(|core| {
                let cpu = cpus[core];
                scope.spawn(move || {
                    pin(cpu);
                    gaps(time)
                })
            })
            .collect();
        for thread in threads {
            let seen = thread.join().expect("a loop that reads the clock does not panic");
            all.merge(&seen.times);
            taken_away_ns += seen.taken_away_ns;
            total_ns += seen.total_ns;
        }
    });
    Noise { gaps: all, taken_away: taken_away_ns as f64 / total_ns.max(1) as f64 }
}

struct Seen {
    times: Times,
    taken_away_ns: u64,
    total_ns: u64,
}

fn gaps(time: Duration) -> Seen {
    let (mut times, mut taken_away_ns) = (Times::new(), 0);
    let started = Instant::now();
    let mut last = started;
    while last.duration_since(started) < time {
        let now = Instant::now();
        let gap_ns = now.duration_since(last).as_nanos() as u64;
        times.record(gap_ns);
        if gap_ns >= TAKEN_AWAY_NS {
            taken_away_ns += gap_ns;
        }
        last = now; // With what recording takes, so that no interruption goes unseen.
    }
    Seen { times, taken_away_ns, total_ns: last.duration_since(started).as_nanos() as u64 }
}

/// The CPUs that the process may use; empty if the kernel does not say.
pub(in crate::bench) fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).ok();
    set.map(|set| (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()).unwrap_or_default()
}

/// Keeps the calling thread on a CPU, if the kernel lets it.
pub(in crate::bench) fn pin(cpu: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_is_watched() {
        let noise = measure(1, Duration::from_micros(200));
        let gaps = noise.gaps.percentiles();
        assert!(gaps.samples > 0 && gaps.max_us >= gaps.p50_us && (0.0..=1.0).contains(&noise.taken_away));
        let none = measure(0, Duration::from_micros(200));
        assert_eq!((none.gaps.percentiles().samples, none.taken_away), (0, 0.0));
        assert!(cpus().first().is_none_or(|&cpu| std::thread::spawn(move || pin(cpu)).join().is_ok()));
    }
}
