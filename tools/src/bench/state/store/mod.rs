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
//! - `heap`: the heap backend, through its handles;
//! - `hashbrown`: bare hash maps, to compare it with;
//! - `rocksdb`, `fjall`: the peers, behind the feature `peers`.

#[cfg(feature = "peers")]
pub(super) mod fjall;
pub(super) mod hashbrown;
pub(super) mod heap;
#[cfg(feature = "peers")]
pub(super) mod rocksdb;

use std::path::{Path, PathBuf};
#[cfg(feature = "peers")]
use std::time::Duration;

use anyhow::{Context, Result};

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

    /// Bytes written to files since it was opened, if the store counts what the kernel does not.
    fn written_bytes(&self) -> Option<u64> {
        None
    }
}

/// A counter in the first 8 bytes of a value of so many, for each key.
pub(in crate::bench::state) trait Counters<const BYTES: usize>: Store {
    /// Adds one, and returns the sum.
    fn increment(&mut self, at: usize, record: Record) -> Result<u64>;

    /// The sum, if there is a value.
    fn get(&mut self, at: usize, record: Record) -> Result<Option<u64>>;

    /// Takes a snapshot into the folder, which does not exist yet: as much of it as the caller must do. Others may do the rest.
    fn start_snapshot(&mut self, dir: &Path) -> Result<()>;

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

/// The value that the bytes of a store are. Errors: if they have another length.
#[cfg(feature = "peers")]
#[inline]
pub(in crate::bench::state) fn exactly<const BYTES: usize>(bytes: &[u8]) -> Result<&[u8; BYTES]> {
    bytes.try_into().with_context(|| format!("a value has {} bytes, not {BYTES}", bytes.len()))
}

/// The key of what is under a key: in order by the first, then by the second.
#[cfg(feature = "peers")]
#[inline]
pub(in crate::bench::state) fn pair_key(key: u64, second: u64) -> [u8; 16] {
    (u128::from(key) << 64 | u128::from(second)).to_be_bytes()
}

/// How often it is asked whether threads in the background are done.
#[cfg(feature = "peers")]
pub(in crate::bench::state) const SETTLE_POLL: Duration = Duration::from_millis(20);

/// Writes a snapshot as a store without one would: all entries to a file, at once.
pub(in crate::bench::state) fn dump<'a, const BYTES: usize>(
    dir: &Path,
    entries: impl Iterator<Item = (&'a u64, &'a [u8; BYTES])>,
) -> Result<()> {
    use std::io::Write;
    let write = || {
        std::fs::create_dir(dir)?;
        let file = std::fs::File::create(dir.join("entries"))?;
        let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
        for (key, value) in entries {
            out.write_all(&key.to_le_bytes())?;
            out.write_all(value)?;
        }
        out.into_inner()?.sync_all()
    };
    write().with_context(|| format!("cannot write a snapshot to {}", dir.display()))
}
