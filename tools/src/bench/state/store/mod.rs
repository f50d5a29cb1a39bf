//! What a load asks of a store: the accesses of a keyed operator.
//!
//! ```text
//!   a batch of records ──▶ work ──▶ prepare ──▶ for each record: fetch, access
//!                                                                  │
//!          Counters: increment, get     Lists: append, scan, take     Maps: put, scan
//! ```
//!
//! A store is opened in an empty folder for one kind of state. Accesses are for the records of the batch that was prepared, in
//! its order; `at` is the record's place in it.
//!
//! - `thalweg`: our own backends, through their handles; `helper`: the thread behind them;
//! - `hashbrown`: bare hash maps, to compare it with;
//! - `rocksdb`, `fjall`: the peers, behind the feature `peers`; `bytes`: what their keys and values are.

#[cfg(feature = "peers")]
mod bytes;
#[cfg(feature = "peers")]
pub(super) mod fjall;
pub(super) mod hashbrown;
mod helper;
#[cfg(feature = "peers")]
pub(super) mod rocksdb;
pub(super) mod thalweg;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::keys::Record;

/// Bytes of an item of a list, and of a value in a map.
pub(in crate::bench::state) const ITEM_BYTES: usize = 32;

/// What is in a list or a map.
pub(in crate::bench::state) type ItemBytes = [u8; ITEM_BYTES];

/// Where a store is, and what it may use.
#[derive(Debug, Clone)]
pub(in crate::bench::state) struct Place {
    /// An empty folder.
    pub(in crate::bench::state) dir: PathBuf,
    /// For memtables and caches. What is always in memory takes no notice.
    pub(in crate::bench::state) memory_budget_bytes: u64,
}

/// What all kinds of state have.
pub(in crate::bench::state) trait Store: Sized {
    /// Errors: those of the folder.
    fn open(place: &Place) -> Result<Self>;

    /// Looks ahead for all records of a batch. Returns whether they can be accessed now; if not, what is missing is on its way, and the
    /// batch is prepared anew some time later.
    fn prepare(&mut self, batch: &[Record]) -> Result<bool> {
        let _ = batch;
        Ok(true)
    }

    /// Waits until a batch that could not be prepared may be.
    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    /// Asks the processor for what a record that comes soon will need.
    #[inline(always)]
    fn fetch(&self, record: Record) {
        let _ = record;
    }

    /// What is to be done between two batches.
    fn work(&mut self) -> Result<()> {
        Ok(())
    }

    /// Waits until all is in files, and these need no compaction.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether state goes to files, and not snapshots alone.
    fn is_in_files(&self) -> bool {
        true
    }

    /// What it has counted of reading from files, if it counts.
    fn reads(&self) -> Option<Reads> {
        None
    }
}

/// What a store has counted since it was opened.
#[derive(Debug, Clone, Copy, Serialize)]
pub(in crate::bench::state) struct Reads {
    /// Look-ups that met a block that was not in memory.
    pub(in crate::bench::state) cold_reads: u64,
    /// Reads that the caller waited for.
    pub(in crate::bench::state) blocking_reads: u64,
    /// Bytes read from files for look-ups.
    pub(in crate::bench::state) read_bytes: u64,
    /// How often no input was to be taken because compactions were behind.
    pub(in crate::bench::state) stalls: u64,
    /// Bytes of files that are in memory now.
    pub(in crate::bench::state) resident_bytes: usize,
}

/// A counter in the first 8 bytes of a value of so many, for each key.
pub(in crate::bench::state) trait Counters<const BYTES: usize>: Store {
    /// Adds one, and returns the sum.
    fn increment(&mut self, at: usize, record: Record) -> Result<u64>;

    /// The sum, if there is a value.
    fn get(&mut self, at: usize, record: Record) -> Result<Option<u64>>;

    /// Says where snapshots will go: a folder that does not exist yet.
    fn expect_snapshot(&mut self, dir: &Path) -> Result<()> {
        let _ = dir;
        Ok(())
    }

    /// Takes a snapshot into the folder: as much of it as the caller must do. Others may do the rest. Returns whether the store
    /// can take one.
    fn start_snapshot(&mut self, dir: &Path) -> Result<bool>;

    /// Whether the snapshot is written.
    fn is_snapshot_done(&mut self) -> Result<bool> {
        Ok(true)
    }
}

/// A list for each key.
pub(in crate::bench::state) trait Lists: Store {
    fn append(&mut self, at: usize, record: Record, item: &ItemBytes) -> Result<()>;

    /// Shows all items, in their order.
    fn scan(&mut self, at: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()>;

    /// The same, and drops the list.
    fn take(&mut self, at: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()>;
}

/// A map for each key.
pub(in crate::bench::state) trait Maps: Store {
    fn put(&mut self, at: usize, record: Record, user_key: u64, value: &ItemBytes) -> Result<()>;

    /// Shows all entries, in any order.
    fn scan(&mut self, at: usize, record: Record, each: impl FnMut(u64, &ItemBytes)) -> Result<()>;
}

/// The three kinds of one backend.
pub(in crate::bench::state) trait Family {
    type Counters<const BYTES: usize>: Counters<BYTES>;
    type Lists: Lists;
    type Maps: Maps;
}

/// One more in the first 8 bytes of a counter's value.
#[inline(always)]
pub(in crate::bench::state) fn increment<const BYTES: usize>(value: &mut [u8; BYTES]) -> u64 {
    let sum = count(value) + 1;
    let (first, _) = value.split_first_chunk_mut().expect("a counter has 8 bytes");
    *first = sum.to_le_bytes();
    sum
}

/// The counter in a value.
#[inline(always)]
pub(in crate::bench::state) fn count<const BYTES: usize>(value: &[u8; BYTES]) -> u64 {
    u64::from_le_bytes(*value.first_chunk().expect("a counter has 8 bytes"))
}
