//! What memory has of a map over a store.
//!
//! ```text
//!            few entries        more               changed when it was split
//!   cell     Whole ── put ──▶ Split                Changes
//!              │                │                     │
//!   flush      ▼                ▼                     ▼
//!   files    head: all        head: split, entries   entries
//! ```
//!
//! Invariants:
//! - a cell that is `Whole` or `Split` has all entries, and hides what is below;
//! - no entry of a `Whole` or `Split` cell is `None`, and a `Split` one has entries;
//! - the generation of a `Split` cell is its own: no older file has entries of it.

use super::super::small_map::SmallMap;
use super::head::{Head, each_entry, write_split, write_whole};
use super::split::SplitRule;
use crate::lsm::key::{KeyBuf, StateId};
use crate::lsm::{self, Kind};
use crate::spill::{Cell, Loaded};
use crate::value::ValueBytes;
use crate::{Key, KeyGroup, StateValue, ValueError};
use std::ops::ControlFlow;

/// How many entries a cell has of its map, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// All, written as one value.
    Whole,
    /// All, written one by one.
    Split { generation: u64 },
    /// Those that have changed of a map that is split.
    Changes { generation: u64 },
}

/// What memory has of a map.
#[derive(Debug)]
pub(super) struct MapCell<UK, UV> {
    basis: Basis,
    /// `None`: removed.
    entries: SmallMap<UK, Option<UV>>,
}

impl<UK: Key, UV: StateValue> MapCell<UK, UV> {
    /// That the map is empty.
    pub(super) fn empty() -> Self {
        Self { basis: Basis::Whole, entries: SmallMap::new() }
    }

    /// The cell above what files say, to be changed.
    ///
    /// Errors: what they say is not a map of this type.
    pub(super) fn over_files(head: Option<&[u8]>, rule: &mut SplitRule) -> Result<Self, ValueError> {
        let mut cell = Self::empty();
        match head.map(Head::read).transpose()? {
            None => {}
            Some(Head::Split { generation }) => cell.basis = Basis::Changes { generation },
            Some(Head::Whole { keys, values }) => {
                each_entry::<UK, UV>(keys, values, |key, value| {
                    cell.entries.insert(key, Some(UV::make(value)?));
                    Ok(ControlFlow::Continue(()))
                })?;
                rule.on_change(cell.entries.len());
                cell.split_by(rule);
            }
        }
        Ok(cell)
    }

    /// The cell above this one, which is frozen, to be changed. O(1) but for what is written whole, which is small.
    pub(super) fn above(&self) -> Self {
        match self.generation() {
            None => self.clone(),
            Some(generation) => Self { basis: Basis::Changes { generation }, entries: SmallMap::new() },
        }
    }

    /// The generation of its entries in files, if they are there one by one, or will be.
    #[inline]
    pub(super) fn generation(&self) -> Option<u64> {
        match self.basis {
            Basis::Whole => None,
            Basis::Split { generation } | Basis::Changes { generation } => Some(generation),
        }
    }

    #[inline]
    pub(super) fn entries(&self) -> &SmallMap<UK, Option<UV>> {
        &self.entries
    }

    /// What it says of a key: the value or that there is none; `None` if it says nothing.
    #[inline]
    pub(super) fn knows(&self, key: &UK) -> Option<Option<&UV>> {
        match self.entries.get(key) {
            Some(value) => Some(value.as_ref()),
            None if self.hides() => Some(None),
            None => None,
        }
    }

    /// Returns whether the key is new to the cell.
    #[inline]
    pub(super) fn put(&mut self, key: UK, value: UV, rule: &mut SplitRule) -> bool {
        let is_new = self.entries.insert(key, Some(value)).is_none();
        self.split_by(rule);
        is_new
    }

    /// The value of a key, of which the cell knows, or which has that value below; `init()` if there is none. To be followed by
    /// `split_by`.
    #[inline]
    pub(super) fn value_or(&mut self, key: &UK, below: Option<UV>, init: impl FnOnce() -> UV) -> &mut UV {
        self.entries.entry(key, || below).get_or_insert_with(init)
    }

    /// Splits the map if it has become large.
    #[inline]
    pub(super) fn split_by(&mut self, rule: &mut SplitRule) {
        if self.entries.len() > rule.whole_max() && self.basis == Basis::Whole {
            self.basis = Basis::Split { generation: rule.next_generation() };
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, key: &UK) {
        match self.basis {
            Basis::Changes { .. } => _ = self.entries.insert(key.clone(), None),
            Basis::Whole | Basis::Split { .. } => _ = self.take(key),
        }
    }

    /// Removes a key of which the cell knows, and returns its value.
    pub(super) fn take(&mut self, key: &UK) -> Option<UV> {
        if let Basis::Changes { .. } = self.basis {
            return self.entries.insert(key.clone(), None).flatten();
        }
        let value = self.entries.remove(key).flatten();
        if self.entries.is_empty() {
            self.basis = Basis::Whole;
        }
        value
    }
}

impl<UK: Key, UV: Clone> Clone for MapCell<UK, UV> {
    fn clone(&self) -> Self {
        Self { basis: self.basis, entries: self.entries.clone() }
    }
}

impl<UK: Key, UV: StateValue> Cell for MapCell<UK, UV> {
    const IS_COUNTED: bool = true;

    /// That of the head.
    fn kind(&self) -> Option<Kind> {
        match self.basis {
            Basis::Changes { .. } => None,
            _ if self.entries.is_empty() => Some(Kind::Delete),
            _ => Some(Kind::Put),
        }
    }

    /// The head.
    fn write(&self, out: &mut ValueBytes) -> Result<(), ValueError> {
        match self.basis {
            Basis::Whole => {
                let entries = self.entries.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
                write_whole(entries, out)?;
            }
            Basis::Split { generation } => write_split(generation, out),
            Basis::Changes { .. } => {}
        }
        Ok(())
    }

    #[inline]
    fn hides(&self) -> bool {
        !matches!(self.basis, Basis::Changes { .. })
    }

    fn load<K: Key>(&self, key: &K, group: KeyGroup, state: StateId, out: &mut Loaded) -> lsm::Result<()> {
        if let Some(kind) = self.kind() {
            out.add(group, state, kind, |parts| _ = parts.push(key), |values| self.write(values))?;
        }
        let Some(generation) = self.generation() else { return Ok(()) };
        for (user_key, value) in self.entries.iter() {
            let kind = if value.is_some() { Kind::Put } else { Kind::Delete };
            let parts = |parts: &mut KeyBuf| _ = parts.push(key).push(&generation).push(user_key);
            let write = |out: &mut ValueBytes| value.as_ref().map_or(Ok(()), |value| value.write(out));
            out.add(group, state, kind, parts, write)?;
        }
        Ok(())
    }
}
