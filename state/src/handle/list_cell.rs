//! A list in parts: what memory has of it, and how it is written.
//!
//! ```text
//!   value or operand   ┌─ chunk ──────────────────────────────────────────────────────────┬─ chunk … ─┐
//!                      │ bytes u32 │ times u32 │ 8 × 0 │ archive of Vec<T> │ 0 … │ times │ 0 … │
//! ```
//! Chunks are appended to each other, never read for that. All of their parts are at multiples of 16; there are no times unless
//! items expire.

use super::super::spill::{Below, Cell};
use crate::lsm::{self, Kind, MergeOperator};
use crate::snapshot::HeapFormat;
use crate::value::ValueBytes;
use crate::{Key, StateValue, ValueError};

/// Before the archive of a chunk.
const HEADER_BYTES: usize = 16;

/// The items of a list, in memory.
pub(super) trait Items: Clone + Default + Send + Sync + 'static {
    type Item: StateValue;

    /// What tells lists that are written in this way from others.
    const SCHEMA: &[&str];

    fn is_empty(&self) -> bool;

    fn clear(&mut self);

    /// Appends the items of another list.
    fn append(&mut self, other: &Self);

    /// Appends those of a chunk.
    ///
    /// Errors: the chunk is not one of such items.
    fn append_chunk(&mut self, chunk: Chunk<'_>) -> Result<(), ValueError>;

    /// Appends a chunk of all items at the next multiple of 16.
    ///
    /// Errors: they cannot be serialised.
    fn write(&self, out: &mut ValueBytes) -> Result<(), ValueError>;
}

impl<T: StateValue> Items for Vec<T> {
    type Item = T;

    const SCHEMA: &[&str] = &["list"];

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn clear(&mut self) {
        self.clear();
    }

    fn append(&mut self, other: &Self) {
        self.extend_from_slice(other);
    }

    fn append_chunk(&mut self, chunk: Chunk<'_>) -> Result<(), ValueError> {
        let items = T::view_list(chunk.archive)?;
        self.reserve(items.len());
        for item in items {
            self.push(T::make(item)?);
        }
        Ok(())
    }

    fn write(&self, out: &mut ValueBytes) -> Result<(), ValueError> {
        write_chunk(self, &[], out)
    }
}

/// How the heap's lists lie in files: all in one chunk.
pub(super) fn heap_format<L: Items>() -> HeapFormat<L> {
    let load = |bytes: &[u8]| {
        let mut list = L::default();
        read_chunks(bytes, &mut list).map(|()| list)
    };
    HeapFormat { store: L::write, load, entries: None }
}

/// A chunk of a list, as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    /// All of it.
    pub(super) bytes: &'a [u8],
    pub(super) archive: &'a [u8],
    /// Of the items, one by one, if they expire.
    times: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// The first chunk of a list, and those after it.
    ///
    /// Errors: there is none.
    pub(super) fn split(list: &'a [u8]) -> Result<(Self, &'a [u8]), ValueError> {
        let parts = || {
            let (header, rest) = list.split_first_chunk::<HEADER_BYTES>()?;
            let [a, b, c, d, e, f, g, h, ..] = *header;
            let archive = rest.get(..u32::from_le_bytes([a, b, c, d]) as usize)?;
            let rest = rest.get(archive.len().next_multiple_of(16)..)?;
            let times = rest.get(..(u32::from_le_bytes([e, f, g, h]) as usize).checked_mul(8)?)?;
            let rest = rest.get(times.len().next_multiple_of(16)..)?;
            let (bytes, _) = list.split_at(list.len() - rest.len());
            Some((Self { bytes, archive, times }, rest))
        };
        parts().ok_or(ValueError::Malformed { type_name: "list", bytes: list.len() })
    }

    /// When its items were used last, in ms.
    pub(super) fn times_ms(&self) -> impl ExactSizeIterator<Item = i64> {
        self.times.as_chunks::<8>().0.iter().map(|time| i64::from_le_bytes(*time))
    }
}

/// Appends a chunk at the next multiple of 16.
///
/// Errors: the items cannot be serialised.
pub(super) fn write_chunk<T: StateValue>(
    items: &[T],
    times_ms: &[i64],
    out: &mut ValueBytes,
) -> Result<(), ValueError> {
    let start = out.len().next_multiple_of(16);
    out.resize(start + HEADER_BYTES, 0);
    T::write_list(items, out)?;
    let bytes = out.len() - start - HEADER_BYTES;
    let too_long = |_| ValueError::TooLong { bytes };
    let archive = u32::try_from(bytes).map_err(too_long)?;
    let times = u32::try_from(times_ms.len()).map_err(too_long)?;
    out[start..start + 4].copy_from_slice(&archive.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&times.to_le_bytes());
    out.resize(out.len().next_multiple_of(16), 0);
    times_ms.iter().for_each(|time| out.extend_from_slice(&time.to_le_bytes()));
    out.resize(out.len().next_multiple_of(16), 0);
    Ok(())
}

/// What memory has of a list: its last items, or all of them.
#[derive(Debug, Clone)]
pub(super) struct ListCell<L> {
    /// Whether what is below does not count.
    pub(super) is_all: bool,
    pub(super) items: L,
}

impl<L: Items> Cell for ListCell<L> {
    #[inline]
    fn kind(&self) -> Option<Kind> {
        match (self.is_all, self.items.is_empty()) {
            (true, true) => Some(Kind::Delete),
            (true, false) => Some(Kind::Put),
            (false, true) => None,
            (false, false) => Some(Kind::Merge),
        }
    }

    #[inline]
    fn hides(&self) -> bool {
        self.is_all
    }

    fn write(&self, out: &mut ValueBytes) -> Result<(), ValueError> {
        self.items.write(out)
    }
}

/// Appends all items of a list.
pub(super) fn collect<K: Key, L: Items>(
    top: Option<&ListCell<L>>,
    below: Below<'_, '_, K, ListCell<L>>,
    list: &mut L,
) {
    if !top.is_some_and(|cell| cell.is_all) {
        let cells: Vec<&ListCell<L>> = below.cells().collect();
        if !cells.last().is_some_and(|cell| cell.is_all) {
            let port = below.port();
            if let Some(bytes) = below.base()
                && let Err(error) = read_chunks(bytes, list)
            {
                port.fail_value(error);
            }
        }
        cells.iter().rev().for_each(|cell| list.append(&cell.items));
    }
    top.into_iter().for_each(|cell| list.append(&cell.items));
}

/// Appends the items of all chunks.
fn read_chunks<L: Items>(mut bytes: &[u8], list: &mut L) -> Result<(), ValueError> {
    while !bytes.is_empty() {
        let (chunk, rest) = Chunk::split(bytes)?;
        list.append_chunk(chunk)?;
        bytes = rest;
    }
    Ok(())
}

/// Puts the chunks of two lists after each other.
pub(super) struct ListAppend;

impl MergeOperator for ListAppend {
    fn merge(&self, older: &[u8], newer: &[u8], out: &mut Vec<u8>) -> lsm::Result<()> {
        out.reserve(older.len() + newer.len());
        out.extend_from_slice(older);
        out.extend_from_slice(newer);
        Ok(())
    }
}
