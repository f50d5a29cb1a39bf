//! A list in parts: what memory has of it, and how it is written.
//!
//! ```text
//!   value or operand   ┌─ chunk ──────────────────────────┬─ chunk … ─┐     appended to each other, never read for that
//!                      │ bytes u32 │ 12 × 0 │ archive of Vec<T> │ 0 …  │     each at a multiple of 16
//! ```

use super::super::spill::{Below, Cell};
use crate::lsm::{self, Kind, MergeOperator};
use crate::value::ValueBytes;
use crate::{Key, StateValue, ValueError};

/// Before the archive of a chunk.
const HEADER_BYTES: usize = 16;

/// What memory has of a list: its last items, or all of them.
#[derive(Debug, Clone)]
pub(super) struct ListCell<T> {
    /// Whether what is below does not count.
    pub(super) is_all: bool,
    pub(super) items: Vec<T>,
}

impl<T: StateValue> Cell for ListCell<T> {
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
        let start = out.len().next_multiple_of(16);
        out.resize(start + HEADER_BYTES, 0);
        T::write_list(&self.items, out)?;
        let bytes = out.len() - start - HEADER_BYTES;
        let in_words = u32::try_from(bytes).map_err(|_| ValueError::TooLong { bytes })?;
        out[start..start + 4].copy_from_slice(&in_words.to_le_bytes());
        out.resize(out.len().next_multiple_of(16), 0);
        Ok(())
    }
}

/// Appends all items of a list.
pub(super) fn collect<K: Key, T: StateValue>(
    top: Option<&ListCell<T>>,
    below: Below<'_, '_, K, ListCell<T>>,
    list: &mut Vec<T>,
) {
    if !top.is_some_and(|cell| cell.is_all) {
        let cells: Vec<&ListCell<T>> = below.cells().collect();
        if !cells.last().is_some_and(|cell| cell.is_all) {
            let port = below.port();
            if let Some(bytes) = below.base()
                && let Err(error) = read_chunks(bytes, list)
            {
                port.fail_value(error);
            }
        }
        cells.iter().rev().for_each(|cell| list.extend_from_slice(&cell.items));
    }
    list.extend_from_slice(top.map_or(&[], |cell| &cell.items));
}

/// Appends the items of all chunks.
fn read_chunks<T: StateValue>(mut bytes: &[u8], list: &mut Vec<T>) -> Result<(), ValueError> {
    while !bytes.is_empty() {
        let cut = || ValueError::Malformed { type_name: "list", bytes: bytes.len() };
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(cut)?;
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let archive = rest.get(..len).ok_or_else(cut)?;
        let items = T::view_list(archive)?;
        list.reserve(items.len());
        for item in items.iter() {
            list.push(T::make(item)?);
        }
        bytes = rest.get(len.next_multiple_of(16)..).ok_or_else(cut)?;
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
