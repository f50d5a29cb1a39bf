//! Tables in memory that can be written, and read again.
//!
//! ```text
//!   LayeredTable ── freeze ──▶ HeapLayer: what has changed ──▶ flush     (whole: all that the files have of the state is hidden)
//!        ▲  └────── thaw, a few slots each time it is maintained
//!        └───────── load: scan of the state's key groups, when it is registered
//! ```

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::context::KeyContext;
use crate::handle::{KeyedState, Lane};
use crate::heap::{Frozen, LayeredTable};
use crate::lsm::key::{KeyBuf, StateId};
use crate::lsm::{self, KeyRange, Kind};
use crate::spill::{LayerEntries, Loaded, TablePort};
use crate::value::ValueBytes;
use crate::{Error, Key, KeyGroup, KeyGroupRange, Stored, ValueError};

/// Slots that thaw each time a table is maintained: some 50 µs.
const THAW_SLOTS: usize = 512;

/// How what the heap has under a key lies in files: as the cells of a [`SpillTable`](crate::spill::SpillTable) do.
pub(crate) struct HeapFormat<V> {
    /// Appends the value at the next multiple of 16.
    pub(crate) store: fn(&V, &mut ValueBytes) -> Result<(), ValueError>,
    /// Reads it, at a multiple of 16.
    pub(crate) load: fn(&[u8]) -> Result<V, ValueError>,
    /// Where what is under a key may have entries under keys of their own, which go on after that key.
    pub(crate) entries: Option<EntriesFormat<V>>,
}

/// Adds an entry to a value: given the bytes under the value's own key, what the entry's key goes on with, and the bytes of the entry,
/// at a multiple of 16.
type AddEntry<V> = fn(&mut V, &[u8], &[u8], &[u8]) -> Result<(), ValueError>;

/// How the entries of a value are read.
pub(crate) struct EntriesFormat<V> {
    pub(crate) add: AddEntry<V>,
    /// Whether it is none at all, once its entries have been added.
    pub(crate) is_none: fn(&V) -> bool,
}

impl<V: Stored> HeapFormat<V> {
    pub(crate) fn stored() -> Self {
        Self { store: V::store, load: V::load, entries: None }
    }
}

impl<V> Clone for EntriesFormat<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for EntriesFormat<V> {}

impl<V> Clone for HeapFormat<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for HeapFormat<V> {}

/// A table in memory, and where its snapshots go, if anywhere.
pub(crate) struct HeapTable<K, V> {
    table: LayeredTable<K, V>,
    /// Apart, so that what tells the heap's tables from others costs no arithmetic: an update takes 8 instructions less.
    kept: Option<Box<Kept<V>>>,
}

struct Kept<V> {
    port: TablePort,
    format: HeapFormat<V>,
}

impl<K: Key, V: Clone + Send + Sync + 'static> HeapTable<K, V> {
    /// Of which no snapshots are taken.
    pub(crate) fn new(table: LayeredTable<K, V>) -> Self {
        Self { table, kept: None }
    }

    /// With what the files of its core have of the state. Waits for the disk.
    ///
    /// Errors: those of the store; `Value` and `Key` if a file has what is neither.
    pub(crate) fn open(
        mut table: LayeredTable<K, V>,
        port: TablePort,
        format: HeapFormat<V>,
    ) -> Result<Self, Error> {
        port.keep_all();
        if port.has_files() {
            let mut loader = Loader { table: &mut table, format, last: None, head: ValueBytes::new() };
            let state = |source| Error::Value { state: port.name().into(), source };
            for range in ranges_of(port.state(), loader.table.key_groups()) {
                let mut aligned = ValueBytes::new();
                port.load(&range, |mut key, value| {
                    aligned.clear();
                    aligned.extend_from_slice(value);
                    let user_key = K::decode(&mut key)?;
                    loader.add(user_key, key, &aligned).map_err(state)
                })?;
                loader.end_key();
            }
            table.track();
        }
        Ok(Self { table, kept: Some(Box::new(Kept { port, format })) })
    }

    #[cold]
    fn freeze(&mut self, epoch: u64) {
        let Some(Kept { port, format }) = self.kept.as_deref() else { return };
        let mut frozen = self.table.freeze();
        if port.wants_whole() {
            frozen = frozen.into_whole();
        }
        // What was frozen before may be on its way into files.
        let tombstones = match frozen.is_whole() && (epoch > 1 || port.has_files()) {
            true => ranges_of(port.state(), frozen.key_groups()).collect(),
            false => Vec::new(),
        };
        let layer = HeapLayer { state: port.state(), frozen, format: *format };
        port.hand_over(epoch, Some(Box::new(layer)), tombstones);
    }

    #[cold]
    fn thaw(&mut self) {
        self.table.thaw(THAW_SLOTS);
        let Some(Kept { port, .. }) = self.kept.as_deref() else { return };
        for spent in self.table.take_spent() {
            port.discard_table(spent);
        }
    }
}

/// Puts what files have into a table.
struct Loader<'a, K, V> {
    table: &'a mut LayeredTable<K, V>,
    format: HeapFormat<V>,
    /// The last value, to which entries may be added, and the bytes it is made of.
    last: Option<(K, V)>,
    head: ValueBytes,
}

impl<K: Key, V: Clone> Loader<'_, K, V> {
    /// Takes a value, or an entry of the last one: `rest` is what its key goes on with.
    fn add(&mut self, key: K, rest: &[u8], value: &ValueBytes) -> Result<(), ValueError> {
        if rest.is_empty() {
            self.end_key();
            self.last = Some((key, (self.format.load)(value)?));
            if self.format.entries.is_some() {
                self.head.clone_from(value);
            }
            return Ok(());
        }
        let Some(EntriesFormat { add, .. }) = self.format.entries else {
            return Err(ValueError::Malformed { type_name: "key", bytes: rest.len() });
        };
        match &mut self.last {
            Some((last, into)) if *last == key => add(into, &self.head, rest, value),
            _ => Ok(()), // What it was an entry of is gone.
        }
    }

    /// All entries of the last value have been added.
    fn end_key(&mut self) {
        if let Some((key, value)) = self.last.take()
            && !self.format.entries.is_some_and(|entries| (entries.is_none)(&value))
        {
            self.table.get_or_insert_with(KeyContext::new(&key), || value);
        }
    }
}

impl<K, V> Deref for HeapTable<K, V> {
    type Target = LayeredTable<K, V>;

    #[inline(always)]
    fn deref(&self) -> &LayeredTable<K, V> {
        &self.table
    }
}

impl<K, V> DerefMut for HeapTable<K, V> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut LayeredTable<K, V> {
        &mut self.table
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> KeyedState for HeapTable<K, V> {
    fn begin_batch(&mut self, _lane: Lane) {}

    fn prepare(&mut self, _record: u32, _hash: u64, _user_key: &[u8]) {}

    fn resolve(&mut self, _lane: Lane) -> bool {
        true // It is all in memory.
    }

    fn maintain(&mut self) {
        let Some(kept) = &self.kept else { return };
        if let Some(epoch) = kept.port.wants_freeze() {
            self.freeze(epoch);
        } else if self.table.layers() > 0 || self.table.is_thawing() {
            self.thaw();
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for HeapTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

/// What changed in a table up to an epoch.
struct HeapLayer<K, V> {
    state: StateId,
    frozen: Frozen<K, V>,
    format: HeapFormat<V>,
}

impl<K: Key, V: Send + Sync> LayerEntries for HeapLayer<K, V> {
    fn state(&self) -> StateId {
        self.state
    }

    fn key_groups(&self) -> KeyGroupRange {
        self.frozen.key_groups()
    }

    fn load(&self, group: KeyGroup, out: &mut Loaded) -> lsm::Result<()> {
        self.frozen.for_each_change(group, |key, value| {
            let kind = value.map_or(Kind::Delete, |_| Kind::Put);
            let store =
                |bytes: &mut ValueBytes| value.map_or(Ok(()), |value| (self.format.store)(value, bytes));
            out.add(group, self.state, kind, |parts| _ = parts.push(key), store)
        })
    }
}

/// The encoded keys of a state, group by group.
pub(crate) fn ranges_of(state: StateId, key_groups: KeyGroupRange) -> impl Iterator<Item = KeyRange> {
    let mut key = KeyBuf::default();
    key_groups.iter().map(move |group| {
        let begin = key.begin(group, state).as_bytes().to_vec();
        // Nothing comes after the last key group, and there are fewer than would be all ones.
        let has_end = key.into_prefix_end();
        debug_assert!(has_end);
        KeyRange { begin, end: key.as_bytes().to_vec() }
    })
}
