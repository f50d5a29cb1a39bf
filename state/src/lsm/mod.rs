//! The mmap LSM: state larger than memory, made for one writer that can always go back to its last checkpoint.
//!
//! ```text
//!   handles ── encoded key + hash ──▶ Store ─────────────────────────────────────────────┐
//!                                      │ memtable      hash access, in-place updates      │  freeze: O(1)
//!                                      │ frozen …      immutable, being flushed           ├──▶ snapshot = files + frozen
//!                                      │ L0            sorted runs of SSTs, newest first  │
//!                                      │ L1 … Ln       one sorted run each                │
//!                                      └─────────────────────────────────────────────────┘
//!                     jobs ▲ │ flush, compact, bring in        immutable inputs, so a helper thread may step them
//!                          └─▼── driver ──▶ Storage (files written once, synced, renamed, mapped)
//! ```
//!
//! There is no write-ahead log: a checkpoint is what survives, so the store only has to keep what checkpoints refer to.
//! There are no sequence numbers either: one writer, and whatever is in a newer memtable, run or level is newer.
//!
//! In reading order:
//! - `key`: encoded keys, their order and their hash;
//! - `sst`: the immutable file: blocks, hash index, filter, metadata;
//! - `memtable`: what has changed since the last flush;
//! - `version`: which files make up the store, and the manifest that remembers it;
//! - `merge`: what several sources say about one key, newest first, made one;
//! - `compaction`: which files to rewrite, and the job that does it;
//! - `store`: all of it behind get, put, update, merge, delete, scan and freeze.
//!
//! Invariants:
//! - a file is never changed after its rename into place; a store refers to files that are complete and synced;
//! - for one key a newer source hides older ones, unless it holds merge operands, which are added to what is older;
//! - a range tombstone hides what is in *older* sources only: in its own, what it hid was taken out when it came;
//! - no operation waits for a file: what is not in memory is asked for ahead, and its batch waits.

mod error;
mod hex;
pub mod key;
mod manifest;
pub(crate) mod merge;
mod options;
pub mod sst;
mod version;

pub use error::Error;
pub use manifest::{
    FileNumbers, MANIFEST, MANIFEST_FORMAT, Manifest, ManifestError, RecordError, Recovery, TornRecord,
};
pub use options::{OptionError, Options};
pub use version::{
    FileMeta, FileNumber, Fingerprint, KeyRange, LEVEL_COUNT, Run, Version, VersionEdit, VersionError,
};

/// What the operations of a store return.
pub type Result<T> = std::result::Result<T, Error>;

/// What an entry says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// It has this value.
    Put = 0,
    /// It has none.
    Delete = 1,
    /// These operands are added to what older sources say.
    Merge = 2,
}
