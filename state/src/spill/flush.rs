//! Frozen layers as the sorted run that a flush writes. On a helper thread, a key group at a time.

use std::sync::Arc;

use super::Cell;
use crate::heap::KeyedTable;
use crate::lsm::key::{KeyBuf, StateId};
use crate::lsm::{self, Cursor, Entry, Kind};
use crate::value::ValueBytes;
use crate::{Key, KeyGroup, KeyGroupRange};

/// What a state has frozen, to be written.
pub(crate) trait LayerEntries: Send {
    fn state(&self) -> StateId;

    fn key_groups(&self) -> KeyGroupRange;

    /// Adds the entries of a key group, in any order.
    ///
    /// Errors: a key is too long, or a value cannot be serialised.
    fn load(&self, group: KeyGroup, out: &mut Loaded) -> lsm::Result<()>;
}

/// A table of cells that does not change any more.
pub(crate) struct TableLayer<K, C> {
    pub(crate) state: StateId,
    pub(crate) entries: Arc<KeyedTable<K, C>>,
}

impl<K: Key, C: Cell> LayerEntries for TableLayer<K, C> {
    fn state(&self) -> StateId {
        self.state
    }

    fn key_groups(&self) -> KeyGroupRange {
        self.entries.key_groups()
    }

    fn load(&self, group: KeyGroup, out: &mut Loaded) -> lsm::Result<()> {
        for (key, cell) in self.entries.iter_group(group) {
            cell.load(key, group, self.state, out)?;
        }
        Ok(())
    }
}

/// The entries of a key group of a state.
#[derive(Default)]
pub(crate) struct Loaded {
    key: KeyBuf,
    keys: Vec<u8>,
    values: ValueBytes,
    entries: Vec<LoadedEntry>,
}

#[derive(Clone, Copy)]
struct LoadedEntry {
    /// The first bytes of the user key: nearly always all that is compared.
    prefix: u64,
    key: (u32, u32),
    kind: Kind,
    value: (usize, usize),
}

impl Loaded {
    /// Adds an entry; `parts` adds those of its key, and `write` appends its value at a multiple of 16.
    pub(crate) fn add(
        &mut self,
        group: KeyGroup,
        state: StateId,
        kind: Kind,
        parts: impl FnOnce(&mut KeyBuf),
        write: impl FnOnce(&mut ValueBytes) -> Result<(), crate::ValueError>,
    ) -> lsm::Result<()> {
        parts(self.key.begin(group, state));
        let key = self.key.key().map_err(|_| lsm::Error::KeyTooLong { state })?;
        let key_start = self.keys.len();
        self.keys.extend_from_slice(key.as_bytes());
        let mut prefix = [0; 8];
        let rest = key.rest();
        let len = rest.len().min(8);
        prefix[..len].copy_from_slice(&rest[..len]);
        let value_start = self.values.len().next_multiple_of(16);
        let value = match kind {
            Kind::Delete => (0, 0),
            Kind::Put | Kind::Merge => {
                write(&mut self.values).map_err(|source| lsm::Error::Value { state, source })?;
                (value_start, self.values.len())
            }
        };
        let key = (key_start as u32, self.keys.len() as u32);
        self.entries.push(LoadedEntry { prefix: u64::from_be_bytes(prefix), key, kind, value });
        Ok(())
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.entries.clear();
    }

    fn sort(&mut self) {
        let Self { keys, entries, .. } = self;
        let key = |entry: &LoadedEntry| &keys[entry.key.0 as usize..entry.key.1 as usize];
        entries.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b))));
    }

    fn get(&self, at: usize) -> Option<Entry<'_>> {
        let entry = self.entries.get(at)?;
        let key = &self.keys[entry.key.0 as usize..entry.key.1 as usize];
        Some(Entry { key, kind: entry.kind, value: &self.values[entry.value.0..entry.value.1] })
    }
}

/// All layers of an epoch, in the order of encoded keys.
pub(crate) struct FlushCursor {
    /// By the ids of their states.
    layers: Vec<Box<dyn LayerEntries>>,
    /// Of the entries that are loaded: the key group, and the layer.
    group: u16,
    layer: usize,
    end: u16,
    loaded: Loaded,
    at: usize,
}

impl FlushCursor {
    /// At the first entry: sorts the first key group.
    ///
    /// Errors: as `LayerEntries::load`.
    pub(crate) fn open(mut layers: Vec<Box<dyn LayerEntries>>) -> lsm::Result<Self> {
        layers.sort_by_key(|layer| layer.state());
        let ranges = layers.iter().map(|layer| layer.key_groups()).filter(|range| !range.is_empty());
        let (group, end) =
            ranges.fold((u16::MAX, 0), |(start, end), range| (start.min(range.start), end.max(range.end)));
        let mut cursor = Self { layers, group, layer: 0, end, loaded: Loaded::default(), at: 0 };
        cursor.load_next()?;
        Ok(cursor)
    }

    /// Goes on to the next key group of a layer that has entries.
    fn load_next(&mut self) -> lsm::Result<()> {
        self.loaded.clear();
        self.at = 0;
        while self.loaded.entries.is_empty() && self.group < self.end {
            if let Some(layer) = self.layers.get(self.layer) {
                let group = KeyGroup(self.group);
                if layer.key_groups().contains(group) {
                    layer.load(group, &mut self.loaded)?;
                }
                self.layer += 1;
            } else {
                (self.group, self.layer) = (self.group + 1, 0);
            }
        }
        self.loaded.sort();
        Ok(())
    }
}

impl Cursor for FlushCursor {
    fn entry(&self) -> Option<Entry<'_>> {
        self.loaded.get(self.at)
    }

    fn advance(&mut self) -> lsm::Result<()> {
        self.at += 1;
        if self.at >= self.loaded.entries.len() {
            self.load_next()?;
        }
        Ok(())
    }
}
