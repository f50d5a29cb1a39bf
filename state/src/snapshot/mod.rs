//! Snapshots of a core's state: all tables at one time, written while records go on changing them.
//!
//! ```text
//!   CoreState::snapshot ─▶ epoch rises ─▶ each table freezes when it is next maintained: O(1)
//!        │                                      └─▶ one flush of what all have frozen, on a helper thread
//!        ▼                                                └─▶ the store's files at that moment ─▶ linked to the snapshot's place
//!   PendingSnapshot ◀────────────────────────────── how it went ─────────────────────────────────────┘
//! ```
//!
//! The heap has a store too: a freeze writes what has changed since the one before, and the store's compactions keep the files few.
//! So the snapshots of both backends are the same files, which either of them restores: the heap by scanning each state when it is
//! registered. Later it does not read them, but for what windows have handed over. See `state/FORMAT.md`.
//!
//! In reading order:
//! - `pending`: snapshots on their way;
//! - `heap`: tables in memory that can be written, and read again.
//!
//! Invariants:
//! - a snapshot has what tables froze up to its epoch, and nothing newer: flushes follow each other, and files are taken note of
//!   between two of them;
//! - a snapshot that fails leaves what was at its place, and the running state, as they were.

mod heap;
mod pending;

pub(crate) use heap::{EntriesFormat, HeapFormat, HeapTable, ranges_of};
pub use pending::PendingSnapshot;
pub(crate) use pending::{SnapshotTask, Snapshots};

#[cfg(test)]
mod tests;
