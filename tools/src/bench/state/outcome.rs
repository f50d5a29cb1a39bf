//! What a phase of a load had to say: as a line of JSON, in a table.

use serde::Serialize;

use super::keys::Dist;
use super::meter::Meter;
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
    pub(super) storage: Option<Storage>,
    #[serde(flatten)]
    pub(super) snapshot: Option<Snapshot>,
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
        let storage = outcome.storage.as_ref();
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
            number(outcome.snapshot.map(|snapshot| snapshot.stall_ms)),
            grouped(outcome.peak_rss_bytes / 1_000_000),
        ]);
        lines.push(line);
    }
    aligned(&lines, 3)
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
