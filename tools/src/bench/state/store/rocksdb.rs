//! RocksDB, set up as Flink does and tuned.
//!
//! No write-ahead log, 64 MiB write buffers (three), levels of dynamic sizes, two background jobs; filters of 10 bits for blocks and
//! memtables, a hash index in blocks, LZ4 from level 2. The memory budget is its block cache, which holds index and filters too;
//! the write buffers come on top of it, so it has more memory than it is given. Lists are under the key and the item's number, or
//! one value under the key that a merge operator appends to, as Flink's are.

use std::path::Path;

use anyhow::Result;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DataBlockIndexType, MergeOperands, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::bytes::{SETTLE_POLL, exactly, pair_key, second_of};
use super::{Counters, Family, ITEM_BYTES, ItemBytes, Lists, Maps, Place, Store, count, increment};
use crate::bench::state::keys::Record;

/// RocksDB with lists under the key and the item's number.
pub(in crate::bench::state) enum Rocks {}

impl Family for Rocks {
    type Counters<const BYTES: usize> = Database;
    type Lists = Database;
    type Maps = Database;
}

/// RocksDB with a merge operator for lists.
pub(in crate::bench::state) enum RocksMerge {}

impl Family for RocksMerge {
    type Counters<const BYTES: usize> = Database;
    type Lists = MergeLists;
    type Maps = Database;
}

/// An open database.
pub(in crate::bench::state) struct Database {
    db: DB,
    write: WriteOptions,
}

const WRITE_BUFFER_BYTES: usize = 64 << 20;

impl Database {
    fn options(place: &Place) -> Options {
        let mut blocks = BlockBasedOptions::default();
        let cache_bytes = usize::try_from(place.memory_budget_bytes).unwrap_or(usize::MAX);
        blocks.set_block_cache(&Cache::new_lru_cache(cache_bytes));
        blocks.set_bloom_filter(10.0, false);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_whole_key_filtering(true);
        blocks.set_block_size(4 << 10);
        blocks.set_format_version(5);
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        blocks.set_data_block_hash_ratio(0.75);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_write_buffer_number(3);
        options.set_min_write_buffer_number_to_merge(1);
        options.set_target_file_size_base(64 << 20);
        options.set_max_bytes_for_level_base(256 << 20);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_background_jobs(2);
        options.set_allow_concurrent_memtable_write(false);
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.1);
        let (none, lz4) = (DBCompressionType::None, DBCompressionType::Lz4);
        options.set_compression_per_level(&[none, none, lz4, lz4, lz4, lz4, lz4]);
        options
    }

    fn open_with(options: &Options, place: &Place) -> Result<Self> {
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(Self { db: DB::open(options, &place.dir)?, write })
    }

    fn property(&self, name: &str) -> Result<u64> {
        Ok(self.db.property_int_value(name)?.unwrap_or(0))
    }

    /// Shows all that is under a key, by what else is in its keys, and drops it if it is to.
    fn scan_pairs(&self, key: u64, drop: bool, mut each: impl FnMut(u64, &ItemBytes)) -> Result<()> {
        let mut read = ReadOptions::default();
        read.set_iterate_upper_bound((key + 1).to_be_bytes());
        let mut entries = self.db.raw_iterator_opt(read);
        entries.seek(key.to_be_bytes());
        let mut drops = WriteBatch::default();
        while let Some((key, value)) = entries.item() {
            each(second_of(key)?, exactly(value)?);
            if drop {
                drops.delete(key);
            }
            entries.next();
        }
        entries.status()?;
        if !drops.is_empty() {
            self.db.write_opt(drops, &self.write)?;
        }
        Ok(())
    }
}

impl Store for Database {
    fn open(place: &Place) -> Result<Self> {
        Self::open_with(&Self::options(place), place)
    }

    fn settle(&mut self) -> Result<()> {
        self.db.flush()?;
        let running =
            ["rocksdb.num-running-compactions", "rocksdb.num-running-flushes", "rocksdb.compaction-pending"];
        loop {
            let mut left = 0;
            for name in running {
                left += self.property(name)?;
            }
            if left == 0 {
                return Ok(());
            }
            std::thread::sleep(SETTLE_POLL);
        }
    }
}

impl<const BYTES: usize> Counters<BYTES> for Database {
    #[inline]
    fn increment(&mut self, _: usize, record: Record) -> Result<u64> {
        let key = record.key.to_be_bytes();
        let mut value = match self.db.get_pinned(key)? {
            Some(value) => *exactly::<BYTES>(&value)?,
            None => [0; BYTES],
        };
        let sum = increment(&mut value);
        self.db.put_opt(key, value, &self.write)?;
        Ok(sum)
    }

    #[inline]
    fn get(&mut self, _: usize, record: Record) -> Result<Option<u64>> {
        let value = self.db.get_pinned(record.key.to_be_bytes())?;
        value.map(|value| exactly::<BYTES>(&value).map(count)).transpose()
    }

    /// As Flink's: memtables are flushed and files linked, and the caller waits for both.
    fn start_snapshot(&mut self, dir: &Path) -> Result<bool> {
        Checkpoint::new(&self.db)?.create_checkpoint(dir)?;
        Ok(true)
    }
}

impl Lists for Database {
    #[inline]
    fn append(&mut self, _: usize, record: Record, item: &ItemBytes) -> Result<()> {
        let number = u64::from_le_bytes(*item.first_chunk().expect("an item begins with its number"));
        Ok(self.db.put_opt(pair_key(record.key, number), item, &self.write)?)
    }

    fn scan(&mut self, _: usize, record: Record, mut each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.scan_pairs(record.key, false, |_, item| each(item))
    }

    fn take(&mut self, _: usize, record: Record, mut each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.scan_pairs(record.key, true, |_, item| each(item))
    }
}

impl Maps for Database {
    #[inline]
    fn put(&mut self, _: usize, record: Record, user_key: u64, value: &ItemBytes) -> Result<()> {
        Ok(self.db.put_opt(pair_key(record.key, user_key), value, &self.write)?)
    }

    fn scan(&mut self, _: usize, record: Record, each: impl FnMut(u64, &ItemBytes)) -> Result<()> {
        self.scan_pairs(record.key, false, each)
    }
}

/// A database whose merge operator appends.
pub(in crate::bench::state) struct MergeLists(Database);

impl Store for MergeLists {
    fn open(place: &Place) -> Result<Self> {
        let mut options = Database::options(place);
        options.set_merge_operator_associative("append", append);
        Ok(Self(Database::open_with(&options, place)?))
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle()
    }
}

fn append(_: &[u8], old: Option<&[u8]>, items: &MergeOperands) -> Option<Vec<u8>> {
    let old = old.unwrap_or_default();
    let mut list = Vec::with_capacity(old.len() + items.iter().map(<[u8]>::len).sum::<usize>());
    list.extend_from_slice(old);
    items.iter().for_each(|items| list.extend_from_slice(items));
    Some(list)
}

impl Lists for MergeLists {
    #[inline]
    fn append(&mut self, _: usize, record: Record, item: &ItemBytes) -> Result<()> {
        Ok(self.0.db.merge_opt(record.key.to_be_bytes(), item, &self.0.write)?)
    }

    fn scan(&mut self, _: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        let list = self.0.db.get_pinned(record.key.to_be_bytes())?;
        let (items, rest) = list.as_deref().unwrap_or_default().as_chunks::<ITEM_BYTES>();
        exactly::<0>(rest)?;
        items.iter().for_each(each);
        Ok(())
    }

    fn take(&mut self, at: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        Lists::scan(self, at, record, each)?;
        Ok(self.0.db.delete_opt(record.key.to_be_bytes(), &self.0.write)?)
    }
}
