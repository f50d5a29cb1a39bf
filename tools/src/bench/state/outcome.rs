//! What a phase of a load had to say: as a line of JSON, in a table.

use serde::Serialize;

use super::keys::Dist;
use super::meter::Meter;
use super::store::{Reads, Store};
use crate::bench::latency::percentiles::Percentiles;
use crate::report::{aligned, grouped};

/// One phase of one load on one store.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    pub(super) engine: &'static str,
    pub(super) version: &'static str,
    pub(super) backend: &'static str,
    pub(super) load: &'static str,
    pub(super) phase: &'static str,
    pub(super) keys: u64,
    pub(super) value_bytes: usize,
    pub(super) dist: Dist,
    pub(super) batch: usize,
    pub(super) memory_budget_bytes: u64,
    #[serde(flatten)]
    pub(super) cost: Cost,
    #[serde(flatten)]
    pub(super) seen: Seen,
    /// The most memory of the process since the store was opened, the bench's own included.
    pub(super) peak_rss_bytes: u64,
}

/// What the operations cost.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cost {
    operations: u64,
    /// Without those that had the clock read at each, as the figures up to `batch_us`.
    seconds: f64,
    ops_per_s: f64,
    caller_cpu_ns_per_op: Option<f64>,
    process_cpu_ns_per_op: Option<f64>,
    batch: Percentiles,
    operation: Percentiles,
}

impl Cost {
    pub(super) fn of(meter: &Meter) -> Self {
        Self {
            operations: meter.operations,
            seconds: meter.seconds(),
            ops_per_s: meter.ops_per_s(),
            caller_cpu_ns_per_op: meter.caller_cpu_ns_per_op(),
            process_cpu_ns_per_op: meter.process_cpu_ns_per_op(),
            batch: meter.batches.percentiles(),
            operation: meter.accesses.percentiles(),
        }
    }
}

/// What else there is to see of a store.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Seen {
    #[serde(flatten)]
    pub(super) storage: Option<Storage>,
    #[serde(flatten)]
    pub(super) snapshot: Option<Snapshot>,
    #[serde(flatten)]
    pub(super) reads: Option<Reads>,
}

impl Seen {
    /// What the store itself has counted.
    pub(super) fn by(store: &impl Store) -> Self {
        Self { reads: store.reads(), ..Self::default() }
    }
}

/// What is in files since the store was opened, all written and compacted.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Storage {
    pub(super) written_bytes: u64,
    /// Over the bytes of all keys and values that were given.
    pub(super) write_amplification: f64,
    pub(super) disk_bytes: u64,
    /// Over the bytes of the keys and values that are there.
    pub(super) space_amplification: f64,
}

/// What a snapshot did to the operations.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Snapshot {
    /// The longest time without an operation done, less what a batch takes in calm.
    pub(super) stall_ms: f64,
    /// What of it the caller's own part of the snapshot took.
    pub(super) caller_ms: f64,
    /// Until it was written.
    pub(super) snapshot_ms: f64,
}

impl Outcome {
    /// What it is called beside those of other stores.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.load, self.phase)
    }

    pub(super) fn ops_per_s(&self) -> f64 {
        self.cost.ops_per_s
    }
}

/// The backends that others are compared with.
pub(super) const PEERS: [&str; 3] = ["rocksdb", "rocksdb-merge", "fjall"];

/// A line for each outcome, with its rate as a multiple of the peers' where these ran too.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let rate_of = |peer: &str, outcome: &Outcome| {
        let same = |other: &&Outcome| other.backend == peer && other.name() == outcome.name();
        outcomes.iter().find(same).map(Outcome::ops_per_s)
    };
    let peers = PEERS.map(|peer| outcomes.iter().any(|outcome| outcome.backend == peer).then_some(peer));
    let peers: Vec<&str> = peers.into_iter().flatten().collect();

    let mut headings = ["load", "phase", "backend", "ops/s"].map(str::to_owned).to_vec();
    headings.extend(peers.iter().map(|peer| format!("x {peer}")));
    let figures = [
        "caller ns",
        "CPU ns",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "batch p50",
        "batch max",
        "write amp",
        "space amp",
        "stall ms",
        "peak MB",
    ];
    headings.extend(figures.map(str::to_owned));
    let mut lines = vec![headings];
    for outcome in outcomes {
        let cost = &outcome.cost;
        let mut line = vec![
            outcome.load.to_owned(),
            outcome.phase.to_owned(),
            outcome.backend.to_owned(),
            grouped(cost.ops_per_s as u64),
        ];
        line.extend(peers.iter().map(|peer| {
            rate_of(peer, outcome).map_or(String::new(), |rate| format!("{:.1}", cost.ops_per_s / rate))
        }));
        let (operation, batch) = (&cost.operation, &cost.batch);
        let storage = outcome.seen.storage.as_ref();
        line.extend([
            number(cost.caller_cpu_ns_per_op),
            number(cost.process_cpu_ns_per_op),
            number(Some(operation.p50_us)),
            number(Some(operation.p99_us)),
            number(Some(operation.p999_us)),
            number(Some(operation.max_us)),
            number(Some(batch.p50_us)),
            number(Some(batch.max_us)),
            number(storage.map(|storage| storage.write_amplification)),
            number(storage.map(|storage| storage.space_amplification)),
            number(outcome.seen.snapshot.map(|snapshot| snapshot.stall_ms)),
            grouped(outcome.peak_rss_bytes / 1_000_000),
        ]);
        lines.push(line);
    }
    aligned(&lines, |column| column < 3)
}

/// Three digits, or all before the point.
fn number(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value < 10.0 => format!("{value:.2}"),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::state::meter::Clocked;

    /// An outcome of which only the names and the rate matter.
    pub(in crate::bench::state) fn outcome(
        backend: &'static str,
        phase: &'static str,
        ops_per_s: f64,
    ) -> Outcome {
        Outcome {
            engine: "thalweg",
            version: "0",
            backend,
            load: "rmw",
            phase,
            keys: 1,
            value_bytes: 8,
            dist: Dist::Uniform,
            batch: 512,
            memory_budget_bytes: 1,
            cost: Cost { ops_per_s, ..Cost::of(&Meter::new(1, Clocked::Some)) },
            seen: Seen::default(),
            peak_rss_bytes: 2_000_000,
        }
    }

    #[test]
    fn rates_stand_beside_those_of_the_peers_in_the_same_phase() {
        let mut heap = outcome("heap", "update", 3e6);
        heap.seen.snapshot = Some(Snapshot { stall_ms: 144.4, caller_ms: 1.0, snapshot_ms: 2.0 });
        let outcomes = [heap, outcome("fjall", "update", 1e5), outcome("fjall", "create", 2e5)];
        let table = table(&outcomes);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(table.starts_with("load  phase   backend") && table.contains("x fjall"), "{table}");
        assert!(!table.contains("rocksdb"), "{table}");
        assert_eq!(lines[1][..7], ["rmw", "update", "heap", "3", "000", "000", "30.0"]);
        assert!(lines[1].contains(&"144"));
        assert_eq!(lines[3][..6], ["rmw", "create", "fjall", "200", "000", "1.0"]);
    }

    #[test]
    fn numbers_have_three_digits() {
        let written = [Some(0.123), Some(12.34), Some(1234.5), None].map(number);
        assert_eq!(written, ["0.12", "12.3", "1234", ""]);
    }
}
