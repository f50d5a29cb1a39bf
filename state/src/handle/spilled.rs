//! Values one by one over a store.

use super::set::KeyedState;
use crate::context::KeyRef;
use crate::lsm::Kind;
use crate::spill::{Below, Cell, SpillTable};
use crate::value::ValueBytes;
use crate::{Key, Stored, ValueError};

/// A value, or that there is none any more.
#[derive(Debug, Clone)]
pub(super) enum ValueCell<V> {
    Put(V),
    Deleted,
}

impl<V> ValueCell<V> {
    #[inline]
    fn value(&self) -> Option<&V> {
        match self {
            Self::Put(value) => Some(value),
            Self::Deleted => None,
        }
    }

    #[inline]
    fn into_value(self) -> Option<V> {
        match self {
            Self::Put(value) => Some(value),
            Self::Deleted => None,
        }
    }

    /// The value, which is `init()` if there is none.
    #[inline]
    fn value_or(&mut self, init: impl FnOnce() -> V) -> &mut V {
        if let Self::Deleted = self {
            *self = Self::Put(init());
        }
        match self {
            Self::Put(value) => value,
            Self::Deleted => unreachable!("it was given a value"),
        }
    }
}

impl<V: Stored> Cell for ValueCell<V> {
    #[inline]
    fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Put(_) => Kind::Put,
            Self::Deleted => Kind::Delete,
        })
    }

    fn write(&self, out: &mut ValueBytes) -> Result<(), ValueError> {
        self.value().map_or(Ok(()), |value| value.store(out))
    }
}

/// The table of a state that may be larger than memory.
#[derive(Debug)]
pub(super) struct Spilled<K, V> {
    table: Box<SpillTable<K, ValueCell<V>>>,
    /// A value that is not in memory, while it is lent.
    lent: Option<V>,
    row: Option<(K, V)>,
}

impl<K: Key, V: Stored> Spilled<K, V> {
    pub(super) fn new(table: Box<SpillTable<K, ValueCell<V>>>) -> Self {
        Self { table, lent: None, row: None }
    }

    pub(super) fn table(&mut self) -> &mut dyn KeyedState {
        &mut *self.table
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    #[inline]
    pub(super) fn get(&mut self, key: impl KeyRef<K>) -> Option<&V> {
        match self.table.read(key, fetch) {
            Ok(cell) => cell.value(),
            Err(value) => {
                self.lent = value;
                self.lent.as_ref()
            }
        }
    }

    /// What `in_memory` makes of the value, or `in_file` of its bytes, in place.
    #[inline]
    pub(super) fn look<'a, T>(
        &'a mut self,
        key: impl KeyRef<K>,
        in_memory: impl Fn(&'a V) -> T,
        in_file: impl FnOnce(&'a [u8]) -> Result<T, ValueError>,
    ) -> Option<T> {
        match self.table.read(key, |below| look(below, &in_memory, in_file)) {
            Ok(cell) => cell.value().map(in_memory),
            Err(found) => found,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: impl KeyRef<K>) -> Option<&mut V> {
        if self.table.top(key).is_none() {
            // Only a value is worth an entry.
            let value = self.table.read(key, fetch).err().flatten()?;
            return Some(
                self.table
                    .entry(key, |_| ValueCell::Put(value))
                    .1
                    .value_or(|| unreachable!("it was just put")),
            );
        }
        match self.table.top(key) {
            Some(ValueCell::Put(value)) => Some(value),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) fn get_or_insert_with(
        &mut self,
        key: impl KeyRef<K>,
        init: impl FnOnce() -> V,
    ) -> (&K, &mut V) {
        let (key, cell) =
            self.table.entry(key, |below| fetch(below).map_or(ValueCell::Deleted, ValueCell::Put));
        (key, cell.value_or(init))
    }

    #[cold]
    #[inline(never)]
    pub(super) fn update_row(
        &mut self,
        key: impl KeyRef<K>,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&mut V),
    ) -> &(K, V) {
        let (key, cell) =
            self.table.entry(key, |below| fetch(below).map_or(ValueCell::Deleted, ValueCell::Put));
        let value = cell.value_or(init);
        change(value);
        match &mut self.row {
            Some((row_key, row_value)) => {
                row_key.clone_from(key);
                row_value.clone_from(value);
            }
            row => *row = Some((key.clone(), value.clone())),
        }
        self.row.as_ref().expect("it was just set")
    }

    #[inline]
    pub(super) fn set(&mut self, key: impl KeyRef<K>, value: V) {
        let mut value = Some(ValueCell::Put(value));
        let (_, cell) = self.table.entry(key, |_| value.take().expect("an entry is made once"));
        if let Some(value) = value {
            *cell = value;
        }
    }

    pub(super) fn take(&mut self, key: impl KeyRef<K>) -> Option<V> {
        if let Some(cell) = self.table.top(key) {
            return std::mem::replace(cell, ValueCell::Deleted).into_value();
        }
        let value = self.table.read(key, fetch).err().flatten()?; // Nothing below needs no hiding.
        self.table.entry(key, |_| ValueCell::Deleted);
        Some(value)
    }

    pub(super) fn clear(&mut self, key: impl KeyRef<K>) {
        if let Some(cell) = self.table.top(key) {
            *cell = ValueCell::Deleted;
        } else if !matches!(self.table.read(key, |below| below.is_known_absent()), Err(true)) {
            self.table.entry(key, |_| ValueCell::Deleted);
        }
    }
}

/// What `in_memory` or `in_file` make of the value that is below.
fn look<'a, K: Key, V: Stored, T>(
    below: Below<'a, '_, K, ValueCell<V>>,
    in_memory: impl FnOnce(&'a V) -> T,
    in_file: impl FnOnce(&'a [u8]) -> Result<T, ValueError>,
) -> Option<T> {
    if let Some(cell) = below.cell() {
        return cell.value().map(in_memory);
    }
    let port = below.port();
    match in_file(below.base()?) {
        Ok(found) => Some(found),
        Err(error) => {
            port.fail_value(error);
            None
        }
    }
}

/// The value that is below, owned.
fn fetch<K: Key, V: Stored>(below: Below<'_, '_, K, ValueCell<V>>) -> Option<V> {
    look(below, V::clone, V::load)
}
