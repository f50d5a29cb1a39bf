//! A bare hash map, with a look-ahead: what a heap can be compared with.
//!
//! There is no way to ask hashbrown to prefetch. So the whole batch is looked up first, in a loop in which the processor waits for many
//! keys at once, and each access goes to the place that was found.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use thalweg_state::Key;

use super::{Counters, Family, ItemBytes, Lists, Maps, Place, Store, count, increment};
use crate::bench::state::keys::Record;

/// The kinds of state on bare hash maps.
pub(in crate::bench::state) enum Hashbrown {}

impl Family for Hashbrown {
    type Counters<const BYTES: usize> = Map<[u8; BYTES]>;
    type Lists = Map<Vec<ItemBytes>>;
    type Maps = Map<HashTable<(u64, ItemBytes)>>;
}

/// One map.
pub(in crate::bench::state) struct Map<V> {
    table: HashTable<(u64, V)>,
    /// The place of each record of the batch, if its key was there.
    places: Vec<Option<usize>>,
}

impl<V> Map<V> {
    #[inline(always)]
    fn get(&self, at: usize, record: Record) -> Option<&V> {
        // The place may have changed hands since.
        let prepared = self.places[at].and_then(|place| self.table.get_bucket(place));
        match prepared {
            Some((key, value)) if *key == record.key => Some(value),
            _ => self.table.find(record.hash, |(key, _)| *key == record.key).map(|(_, value)| value),
        }
    }

    #[inline(always)]
    fn get_or_insert_with(&mut self, at: usize, record: Record, init: impl FnOnce() -> V) -> &mut V {
        let found = self.places[at]
            .filter(|&place| self.table.get_bucket(place).is_some_and(|(key, _)| *key == record.key));
        match found {
            Some(place) => &mut self.table.get_bucket_mut(place).expect("it was there just now").1,
            None => &mut self.entry(record).or_insert_with(|| (record.key, init())).into_mut().1,
        }
    }

    #[inline]
    fn entry(&mut self, record: Record) -> Entry<'_, (u64, V)> {
        self.table.entry(record.hash, |(key, _)| *key == record.key, |(key, _)| key.key_hash())
    }
}

impl<V> Store for Map<V> {
    fn open(_: &Place) -> Result<Self> {
        Ok(Self { table: HashTable::new(), places: Vec::new() })
    }

    #[inline(always)]
    fn prepare(&mut self, batch: &[Record]) -> Result<bool> {
        let find = |record: &Record| self.table.find_bucket_index(record.hash, |(key, _)| *key == record.key);
        self.places.clear();
        self.places.extend(batch.iter().map(find));
        Ok(true)
    }

    fn is_in_files(&self) -> bool {
        false
    }
}

impl<const BYTES: usize> Counters<BYTES> for Map<[u8; BYTES]> {
    #[inline(always)]
    fn increment(&mut self, at: usize, record: Record) -> Result<u64> {
        Ok(increment(self.get_or_insert_with(at, record, || [0; BYTES])))
    }

    #[inline(always)]
    fn get(&mut self, at: usize, record: Record) -> Result<Option<u64>> {
        Ok(Map::get(self, at, record).map(count))
    }

    /// As a map can: the caller writes all entries to a file.
    fn start_snapshot(&mut self, dir: &Path) -> Result<bool> {
        let write = || {
            fs::create_dir(dir)?;
            let mut out = BufWriter::with_capacity(1 << 20, File::create(dir.join("entries"))?);
            for (key, value) in &self.table {
                out.write_all(&key.to_le_bytes())?;
                out.write_all(value)?;
            }
            out.into_inner()?.sync_all()
        };
        write().with_context(|| format!("cannot write a snapshot to {}", dir.display()))?;
        Ok(true)
    }
}

impl Lists for Map<Vec<ItemBytes>> {
    #[inline(always)]
    fn append(&mut self, at: usize, record: Record, item: &ItemBytes) -> Result<()> {
        self.get_or_insert_with(at, record, Vec::new).push(*item);
        Ok(())
    }

    #[inline(always)]
    fn scan(&mut self, at: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.get(at, record).into_iter().flatten().for_each(each);
        Ok(())
    }

    #[inline(always)]
    fn take(&mut self, _: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        if let Entry::Occupied(list) = self.entry(record) {
            let ((_, list), _) = list.remove();
            list.iter().for_each(each);
        }
        Ok(())
    }
}

impl Maps for Map<HashTable<(u64, ItemBytes)>> {
    #[inline(always)]
    fn put(&mut self, at: usize, record: Record, user_key: u64, value: &ItemBytes) -> Result<()> {
        let map = self.get_or_insert_with(at, record, HashTable::new);
        let entry = map.entry(user_key.key_hash(), |(key, _)| *key == user_key, |(key, _)| key.key_hash());
        entry.insert((user_key, *value));
        Ok(())
    }

    #[inline(always)]
    fn scan(&mut self, at: usize, record: Record, mut each: impl FnMut(u64, &ItemBytes)) -> Result<()> {
        self.get(at, record).into_iter().flatten().for_each(|(user_key, value)| each(*user_key, value));
        Ok(())
    }
}
