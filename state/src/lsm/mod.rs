//! The mmap LSM: state larger than memory, made for one writer that can always go back to its last checkpoint.
//!
//! ```text
//!   handles ──▶ heap::LayeredTable of each state: what has changed since the last flush, typed
//!                  │ frozen layers, sorted        ▲ keys that no layer has
//!                  ▼ flush                        │ get_batch, scan
//!               Store ────────────────────────────┴───────────────────┐
//!                │ L0            sorted runs of SSTs, newest first     ├──▶ snapshot = files: O(1)
//!                │ L1 … Ln       one sorted run each                   │
//!                └─────────────────────────────────────────────────────┘
//!                     jobs ▲ │ flush, compact, bring in        immutable inputs, so a helper thread may step them
//!                          └─▼── driver ──▶ Storage (files written once, synced, renamed, mapped)
//! ```
//!
//! There is no write-ahead log: a checkpoint is what survives, so the store only has to keep what checkpoints refer to.
//! There are no sequence numbers either: one writer, and whatever is in a newer layer, run or level is newer.
//!
//! In reading order:
//! - `key`: encoded keys, their order and their hash; `range`: ranges of them;
//! - `sst`: the immutable file: blocks, hash index, filter, metadata;
//! - `version`: which files make up the store, and the `manifest` that remembers it;
//! - `states`: what must be known of the values;
//! - `merge`: what several sources say about one key, newest first, made one; `filter`: what of it is not kept;
//! - `run` writes a sorted run of files, `input` reads one;
//! - `compaction`: which files to rewrite; `job`: what does it, no faster than `rate` lets it;
//! - `open`: a file that is open, and what brings its parts in; `slot`: which of them are in memory; `files`: all of these, within
//!   the budget, and `frames`: copies of blocks; `view`: the files of a version, as look-ups need them;
//! - `read`: points, in batches (`batch`), found with the help of `fences`; `scan`: ranges, `prefix`: those of one run, `ahead`: what
//!   they will need;
//! - `store`: all of it; `snapshot`: a store at one time, and `restore`: made a store again; `metrics`;
//! - `verify`: every byte of a store or a snapshot, also while it is in use.
//!
//! Invariants:
//! - a file is never changed after its rename into place; a store refers to files that are complete and synced;
//! - for one key a newer source hides older ones, unless it holds merge operands, which are added to what is older;
//! - a range tombstone hides what is in *older* sources only: in its own, what it hid was taken out when it came;
//! - no operation waits for a file: what is not in memory is asked for ahead, and its batch waits.

mod ahead;
mod batch;
mod compaction;
mod error;
mod fences;
mod files;
mod filter;
mod frames;
mod hex;
mod input;
mod job;
pub mod key;
mod manifest;
mod merge;
mod metrics;
mod open;
mod options;
mod prefix;
mod range;
mod rate;
mod read;
mod restore;
mod run;
mod scan;
mod slot;
mod snapshot;
pub mod sst;
mod states;
mod store;
mod verify;
mod version;
mod view;

pub(crate) use ahead::Ahead;
pub use batch::KeyBatch;
pub use error::Error;
pub use filter::{CompactionFilter, EntryFilter, Verdict};
pub use job::{Budget, Job, JobKind, JobProgress};
pub use manifest::{
    FileNumbers, MANIFEST, MANIFEST_FORMAT, Manifest, ManifestError, RecordError, Recovery, TornRecord,
};
pub use merge::{Cursor, Entry, MergeOperator};
pub use metrics::Metrics;
pub use open::{PartReady, PartRequest};
pub use options::{OptionError, Options};
pub use range::KeyRange;
pub use read::Answer;
pub use restore::restore;
pub use scan::ScanEnd;
pub(crate) use snapshot::SnapshotWriter;
pub use snapshot::{Snapshot, SnapshotStats};
pub use states::StateSpec;
pub use store::Store;
pub use verify::{Damage, DamageKind, Verifier, VerifyTotals};
pub use version::{FileMeta, FileNumber, Fingerprint, LEVEL_COUNT, Run, Version, VersionEdit, VersionError};

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
