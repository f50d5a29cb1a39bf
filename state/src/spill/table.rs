//! A table of cells over a store.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::flush::{Loaded, TableLayer};
use super::port::TablePort;
use super::prepared::{Kept, Known, Prepared};
use crate::context::KeyRef;
use crate::handle::{KeyedState, Lane};
use crate::heap::KeyedTable;
use crate::lsm::key::{KeyBuf, StateId};
use crate::lsm::{self, KeyRange, Kind};
use crate::value::ValueBytes;
use crate::{Key, KeyGroup, MaxParallelism, ValueError, key_group};

/// What memory knows of a key.
pub(crate) trait Cell: Clone + Send + Sync + 'static {
    /// Whether what cells own is counted by [`SpillTable::count_owned`], and need not be guessed from samples.
    const IS_COUNTED: bool = false;

    /// How it is written under its key: `None` if there is nothing to write.
    fn kind(&self) -> Option<Kind>;

    /// Appends its value at the next multiple of 16, unless it deletes.
    ///
    /// Errors: the value cannot be serialised.
    fn write(&self, out: &mut ValueBytes) -> Result<(), ValueError>;

    /// Whether what is below of the same key does not count any more.
    #[inline]
    fn hides(&self) -> bool {
        !matches!(self.kind(), Some(Kind::Merge) | None)
    }

    /// Adds all its entries, in any order: one, unless a cell has others under keys that begin with its own.
    ///
    /// Errors: a key is too long, or a value cannot be serialised.
    fn load<K: Key>(&self, key: &K, group: KeyGroup, state: StateId, out: &mut Loaded) -> lsm::Result<()> {
        let Some(kind) = self.kind() else { return Ok(()) };
        out.add(group, state, kind, |parts| _ = parts.push(key), |values| self.write(values))
    }
}

/// Cells by key, over a store. See the [module](super).
pub(crate) struct SpillTable<K, C> {
    top: KeyedTable<K, C>,
    frozen: Frozen<K, C>,
    /// By lane.
    prepared: [Prepared; 2],
    kept: Kept,
    port: TablePort,
    key: KeyBuf,
    owned: OwnedBytes,
    /// Cells that were lent to be changed since the top was measured, and how many make it worth another look.
    changes: usize,
    changes_max: usize,
    top_bytes: usize,
    frozen_bytes: usize,
    /// What cells on top own, as far as they are counted.
    counted_bytes: usize,
    /// Ranges of keys of which all that is in files, or frozen, is gone since the last freeze.
    gone: Vec<KeyRange>,
}

/// What was frozen, each with its epoch, the newest first.
///
/// What the store has too does not count, even while it is still here: an operand would be added twice.
struct Frozen<K, C>(VecDeque<(u64, Arc<KeyedTable<K, C>>)>);

impl<K: Key, C: Cell> Frozen<K, C> {
    #[inline]
    fn tables(&self, flushed: u64) -> impl Iterator<Item = &KeyedTable<K, C>> {
        self.0.iter().take_while(move |(epoch, _)| *epoch > flushed).map(|(_, table)| &**table)
    }
}

/// What is below the top for one key.
pub(crate) struct Below<'a, 'k, K, C> {
    frozen: &'a Frozen<K, C>,
    prepared: &'a mut Prepared,
    port: &'a TablePort,
    buffer: &'a mut KeyBuf,
    key: &'k K,
    hash: u64,
    record: u32,
    max: MaxParallelism,
}

impl<K: Key, C: Cell> SpillTable<K, C> {
    pub(crate) fn new(top: KeyedTable<K, C>, port: TablePort) -> Self {
        let (prepared, key, owned) = (<[Prepared; 2]>::default(), KeyBuf::default(), OwnedBytes::default());
        Self {
            top,
            frozen: Frozen(VecDeque::new()),
            prepared,
            kept: Kept::default(),
            port,
            key,
            owned,
            changes: 0,
            changes_max: 0,
            top_bytes: 0,
            frozen_bytes: 0,
            counted_bytes: 0,
            gone: Vec::new(),
        }
    }

    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.top.prefetch(hash);
        self.top.prefetch_hash(hash);
        self.frozen.0.iter().for_each(|(_, table)| table.prefetch_hash(hash));
    }

    /// The size of the tables in memory, and about what their keys and cells own: as last measured. O(1), as it is asked for each
    /// buffer.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.top_bytes + self.frozen_bytes
    }

    pub(crate) fn port(&self) -> &TablePort {
        &self.port
    }

    /// The encoded key of a user key's bytes.
    pub(crate) fn encode(&mut self, hash: u64, user_key: &[u8]) -> &[u8] {
        let group = key_group(hash, self.top.max_parallelism());
        self.key.begin(group, self.port.state()).push_encoded(user_key).as_bytes()
    }

    /// What the store has said of a record of the batch that was prepared last: `None` if it was not asked.
    pub(crate) fn prepared(&self, record: u32, hash: u64) -> Option<Option<&[u8]>> {
        let prepared = &self.prepared[Lane::of(record) as usize];
        let known = prepared.known(record, hash, self.port.flushed())?;
        Some(prepared.value(known))
    }

    /// The newest cell of a key in memory.
    pub(crate) fn newest(&self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<&C> {
        let mut frozen = self.frozen.tables(self.port.flushed());
        let top = self.top.get(hash, &eq);
        top.or_else(|| frozen.find_map(|table| table.get(hash, &eq))).map(|(_, cell)| cell)
    }

    /// Says that all keys in a range are gone from what is frozen or in files.
    pub(crate) fn drop_range(&mut self, range: KeyRange) {
        self.gone.push(range);
    }

    /// Says that cells on top own so much more, or less if it is negative. For cells that are counted.
    #[inline]
    pub(crate) fn count_owned(&mut self, bytes: isize) {
        debug_assert!(C::IS_COUNTED);
        self.counted_bytes = self.counted_bytes.saturating_add_signed(bytes);
    }

    /// The key's cell on top, if it is there.
    #[inline(always)]
    pub(crate) fn top(&mut self, key: impl KeyRef<K>) -> Option<&mut C> {
        self.changes += 1;
        self.top.get_mut(key.hash(), |k| key.is(k)).map(|(_, cell)| cell)
    }

    /// The key's cell on top, or what `with` makes of what is below.
    #[inline(always)]
    pub(crate) fn read<'a, R>(
        &'a mut self,
        key: impl KeyRef<K>,
        with: impl FnOnce(Below<'a, '_, K, C>) -> R,
    ) -> Result<&'a C, R> {
        let Self { top, frozen, prepared, port, key: buffer, .. } = self;
        if let Some((_, cell)) = top.get(key.hash(), |k| key.is(k)) {
            return Ok(cell);
        }
        let (hash, record, max, owned) = (key.hash(), key.record(), top.max_parallelism(), key.to_key());
        Err(with(Below {
            frozen,
            prepared: lane_of(prepared, record),
            port,
            buffer,
            key: &owned,
            hash,
            record,
            max,
        }))
    }

    /// The key's cell on top, if there is one, and what is below.
    pub(crate) fn read_all<'a, R>(
        &'a mut self,
        key: impl KeyRef<K>,
        with: impl FnOnce(Option<&'a C>, Below<'a, '_, K, C>) -> R,
    ) -> R {
        self.search(key, |_| None, with)
    }

    /// What `on_top` says of the key's cell on top, or else `with` of that and of what is below.
    #[inline(always)]
    pub(crate) fn search<'a, R>(
        &'a mut self,
        key: impl KeyRef<K>,
        on_top: impl FnOnce(&'a C) -> Option<R>,
        with: impl FnOnce(Option<&'a C>, Below<'a, '_, K, C>) -> R,
    ) -> R {
        let Self { top, frozen, prepared, port, key: buffer, .. } = self;
        let cell = top.get(key.hash(), |k| key.is(k)).map(|(_, cell)| cell);
        if let Some(found) = cell.and_then(on_top) {
            return found;
        }
        let (hash, record, max, owned) = (key.hash(), key.record(), top.max_parallelism(), key.to_key());
        with(
            cell,
            Below {
                frozen,
                prepared: lane_of(prepared, record),
                port,
                buffer,
                key: &owned,
                hash,
                record,
                max,
            },
        )
    }

    /// The key's cell on top, which is made of what is below if there is none.
    #[inline(always)]
    pub(crate) fn entry(
        &mut self,
        key: impl KeyRef<K>,
        make: impl FnOnce(Below<'_, '_, K, C>) -> C,
    ) -> (&K, &mut C) {
        self.changes += 1;
        let Self { top, frozen, prepared, port, key: buffer, .. } = self;
        let max = top.max_parallelism();
        let make = || {
            let (hash, record, owned) = (key.hash(), key.record(), key.to_key());
            let cell = make(Below {
                frozen,
                prepared: lane_of(prepared, record),
                port,
                buffer,
                key: &owned,
                hash,
                record,
                max,
            });
            (owned, cell)
        };
        let (key, cell, _) = top.entry(key.hash(), |k| key.is(k), make);
        (key, cell)
    }

    /// Freezes the top, and hands it over to be written.
    #[cold]
    fn freeze(&mut self, epoch: u64) {
        if self.top.is_empty() {
            (self.counted_bytes, self.top_bytes) = (0, 0);
            self.port.report(0);
            return self.port.hand_over(epoch, None, std::mem::take(&mut self.gone));
        }
        let fresh = KeyedTable::new(self.top.key_groups(), self.top.max_parallelism());
        let entries = Arc::new(std::mem::replace(&mut self.top, fresh));
        self.frozen.0.push_front((epoch, entries.clone()));
        (self.changes, self.changes_max, self.counted_bytes) = (0, 0, 0);
        self.frozen_bytes += std::mem::take(&mut self.top_bytes);
        self.port.report(0);
        let layer = TableLayer { state: self.port.state(), entries };
        self.port.hand_over(epoch, Some(Box::new(layer)), std::mem::take(&mut self.gone));
    }

    /// Says how much memory the top takes. O(key groups).
    #[cold]
    fn measure(&mut self) {
        self.owned.sample(&self.top);
        let bytes = match self.top.is_empty() {
            true => 0, // What an empty table takes, to freeze it would not free.
            false => self.top.memory_bytes() + self.owned.of(self.top.len()) + self.counted_bytes,
        };
        self.port.report(bytes);
        self.top_bytes = bytes;
        let entry_bytes = bytes / self.top.len().max(1) + 1;
        (self.changes, self.changes_max) = (0, self.port.slack_bytes() / entry_bytes);
    }

    /// Drops what the store has.
    #[cold]
    fn release(&mut self, flushed: u64) {
        while self.frozen.0.back().is_some_and(|(epoch, _)| *epoch <= flushed) {
            if let Some((_, layer)) = self.frozen.0.pop_back() {
                // The flush has let go of it.
                Arc::into_inner(layer).into_iter().for_each(|table| self.port.discard_table(table));
            }
        }
        if self.frozen.0.is_empty() {
            self.frozen_bytes = 0;
        }
    }
}

impl<K: Key, C: Cell> KeyedState for SpillTable<K, C> {
    fn begin_batch(&mut self, lane: Lane) {
        self.prepared[lane as usize].begin();
    }

    #[inline]
    fn prepare(&mut self, record: u32, hash: u64, user_key: &[u8]) {
        let flushed = self.port.flushed();
        if self.top.has_hash(hash) || self.frozen.tables(flushed).any(|table| table.has_hash(hash)) {
            return self.prepared[Lane::of(record) as usize].skip(record, hash);
        }
        let group = key_group(hash, self.top.max_parallelism());
        let key = self.key.begin(group, self.port.state()).push_encoded(user_key);
        self.prepared[Lane::of(record) as usize].ask(record, hash, key.as_bytes(), &self.kept, flushed);
    }

    fn resolve(&mut self, lane: Lane) -> bool {
        self.prepared[lane as usize].resolve(&self.port, &mut self.kept)
    }

    fn maintain(&mut self) {
        let flushed = self.port.flushed();
        if self.frozen.0.back().is_some_and(|(epoch, _)| *epoch <= flushed) {
            self.release(flushed);
        }
        if let Some(epoch) = self.port.wants_freeze() {
            self.freeze(epoch);
        }
        if self.changes > self.changes_max {
            self.measure();
        }
    }
}

#[inline(always)]
fn lane_of(prepared: &mut [Prepared; 2], record: u32) -> &mut Prepared {
    &mut prepared[Lane::of(record) as usize]
}

impl<'a, K: Key, C: Cell> Below<'a, '_, K, C> {
    /// The frozen cells of the key, newest first, to the first one that hides what is below it.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &'a C> {
        let (hash, key) = (self.hash, self.key);
        let mut is_hidden = false;
        let cells =
            self.frozen.tables(self.port.flushed()).filter_map(move |table| table.get(hash, |k| k == key));
        cells.map(|(_, cell)| cell).take_while(move |cell| !std::mem::replace(&mut is_hidden, cell.hides()))
    }

    /// The newest frozen cell.
    #[inline]
    pub(crate) fn cell(&self) -> Option<&'a C> {
        let mut tables = self.frozen.tables(self.port.flushed());
        tables.find_map(|table| table.get(self.hash, |k| k == self.key)).map(|(_, cell)| cell)
    }

    /// What the store has of the key. Waits for it if the key was not prepared.
    #[inline]
    pub(crate) fn base(self) -> Option<&'a [u8]> {
        let Self { prepared, port, buffer, key, hash, record, max, .. } = self;
        base_of(prepared, port, buffer, key, hash, record, max)
    }

    /// The same, and what is below can still be asked.
    #[inline]
    pub(crate) fn base_in_passing(&mut self) -> Option<&[u8]> {
        let Self { prepared, port, buffer, key, hash, record, max, .. } = self;
        base_of(prepared, port, buffer, *key, *hash, *record, *max)
    }

    /// The encoded key, to which others can be appended.
    pub(crate) fn encoded(&mut self) -> &mut KeyBuf {
        let group = key_group(self.hash, self.max);
        self.buffer.begin(group, self.port.state()).push(self.key)
    }

    /// What the store has under the encoded key as it was left. Asks now, and waits if a part of a file is not there.
    pub(crate) fn look_up(self) -> Option<&'a [u8]> {
        self.prepared.look_up(self.port, self.buffer.as_bytes())
    }

    /// Whether it is known that there is nothing below.
    #[inline]
    pub(crate) fn is_known_absent(&self) -> bool {
        self.cell().is_none()
            && self.prepared.known(self.record, self.hash, self.port.flushed()).is_some_and(Known::is_absent)
    }

    pub(crate) fn port(&self) -> &'a TablePort {
        self.port
    }
}

/// What the store has of a key: as it was prepared, or else as it is.
#[inline]
fn base_of<'p, K: Key>(
    prepared: &'p mut Prepared,
    port: &TablePort,
    buffer: &mut KeyBuf,
    key: &K,
    hash: u64,
    record: u32,
    max: MaxParallelism,
) -> Option<&'p [u8]> {
    match prepared.known(record, hash, port.flushed()) {
        Some(known) => prepared.value(known),
        None => {
            let key = buffer.begin(key_group(hash, max), port.state()).push(key);
            prepared.wait_for(port, key.as_bytes())
        }
    }
}

impl<K, C> fmt::Debug for SpillTable<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpillTable").field("frozen", &self.frozen.0.len()).finish_non_exhaustive()
    }
}

/// About how many bytes keys and cells own outside the table: samples of what they take when they are written.
#[derive(Debug, Default)]
struct OwnedBytes {
    /// A running mean for one entry.
    mean: f64,
    scratch: ValueBytes,
    key: Vec<u8>,
    random: u64,
}

impl OwnedBytes {
    /// Looks at a few entries.
    fn sample<K: Key, C: Cell>(&mut self, table: &KeyedTable<K, C>) {
        let samples_cells = std::mem::needs_drop::<C>() && !C::IS_COUNTED;
        if !samples_cells && !std::mem::needs_drop::<K>() {
            return;
        }
        for _ in 0..4 {
            self.random = crate::hash_word(self.random.wrapping_add(1));
            let Some((key, cell)) = table.near(self.random) else { continue };
            self.key.clear();
            self.scratch.clear();
            key.encode(&mut self.key);
            let is_written = samples_cells && cell.write(&mut self.scratch).is_ok();
            let bytes = self.key.len() + if is_written { self.scratch.len() } else { 0 };
            self.mean += (bytes as f64 - self.mean) / if self.mean == 0.0 { 1.0 } else { 16.0 };
        }
    }

    fn of(&self, entries: usize) -> usize {
        (entries as f64 * self.mean) as usize
    }
}
