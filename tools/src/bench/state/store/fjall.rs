//! fjall, a store of LSM trees in Rust.
//!
//! Its journal cannot be turned off; it is never synced, but for a snapshot. 64 MiB memtables, two threads, filters of 10 bits. The
//! memory budget is its cache; memtables come on top of it.

use std::path::Path;

use anyhow::Result;
use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::bytes::{SETTLE_POLL, exactly, pair_key, second_of};
use super::{Counters, Family, ItemBytes, Lists, Maps, Place, Store, count, increment};
use crate::bench::state::keys::Record;

/// The kinds of state in fjall.
pub(in crate::bench::state) enum Fjall {}

impl Family for Fjall {
    type Counters<const BYTES: usize> = OneKeyspace;
    type Lists = OneKeyspace;
    type Maps = OneKeyspace;
}

/// An open database with one keyspace.
pub(in crate::bench::state) struct OneKeyspace {
    db: Database,
    state: Keyspace,
}

const MEMTABLE_BYTES: u64 = 64 << 20;

impl OneKeyspace {
    /// Shows all that is under a key, by what else is in its keys, and drops it if it is to.
    fn scan_pairs(&self, key: u64, drop: bool, mut each: impl FnMut(u64, &ItemBytes)) -> Result<()> {
        let mut drops = self.db.batch();
        for entry in self.state.prefix(key.to_be_bytes()) {
            let (key, value) = entry.into_inner()?;
            each(second_of(&key)?, exactly(&value)?);
            if drop {
                drops.remove(&self.state, key);
            }
        }
        if drop {
            drops.commit()?;
        }
        Ok(())
    }
}

impl Store for OneKeyspace {
    fn open(place: &Place) -> Result<Self> {
        let db = Database::builder(&place.dir)
            .cache_size(place.memory_budget_bytes)
            .worker_threads(2)
            .manual_journal_persist(true)
            .open()?;
        let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0));
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .manual_journal_persist(true)
                .filter_policy(FilterPolicy::all(filter))
        };
        let state = db.keyspace("state", options)?;
        Ok(Self { db, state })
    }

    fn settle(&mut self) -> Result<()> {
        self.state.rotate_memtable_and_wait()?;
        while self.db.active_compactions() > 0 || self.db.outstanding_flushes() > 0 {
            std::thread::sleep(SETTLE_POLL);
        }
        Ok(())
    }
}

impl<const BYTES: usize> Counters<BYTES> for OneKeyspace {
    #[inline]
    fn increment(&mut self, _: usize, record: Record) -> Result<u64> {
        let key = record.key.to_be_bytes();
        let mut value = match self.state.get(key)? {
            Some(value) => *exactly::<BYTES>(&value)?,
            None => [0; BYTES],
        };
        let sum = increment(&mut value);
        self.state.insert(key, value)?;
        Ok(sum)
    }

    #[inline]
    fn get(&mut self, _: usize, record: Record) -> Result<Option<u64>> {
        let value = self.state.get(record.key.to_be_bytes())?;
        value.map(|value| exactly::<BYTES>(&value).map(count)).transpose()
    }

    /// Its journal is synced.
    fn start_snapshot(&mut self, _: &Path) -> Result<bool> {
        self.db.persist(PersistMode::SyncAll)?;
        Ok(true)
    }
}

impl Lists for OneKeyspace {
    #[inline]
    fn append(&mut self, _: usize, record: Record, item: &ItemBytes) -> Result<()> {
        let number = u64::from_le_bytes(*item.first_chunk().expect("an item begins with its number"));
        Ok(self.state.insert(pair_key(record.key, number), *item)?)
    }

    fn scan(&mut self, _: usize, record: Record, mut each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.scan_pairs(record.key, false, |_, item| each(item))
    }

    fn take(&mut self, _: usize, record: Record, mut each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.scan_pairs(record.key, true, |_, item| each(item))
    }
}

impl Maps for OneKeyspace {
    #[inline]
    fn put(&mut self, _: usize, record: Record, user_key: u64, value: &ItemBytes) -> Result<()> {
        Ok(self.state.insert(pair_key(record.key, user_key), *value)?)
    }

    fn scan(&mut self, _: usize, record: Record, each: impl FnMut(u64, &ItemBytes)) -> Result<()> {
        self.scan_pairs(record.key, false, each)
    }
}
