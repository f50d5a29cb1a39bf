//! The entries of one key's map, one after the other.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::super::small_map::SmallIter;
use super::cell::MapCell;
use super::head::read_entry;
use crate::lsm::KeyRange;
use crate::spill::TablePort;
use crate::{Key, StateValue};

/// How many entries of a file are made values at a time, and of how many bytes.
pub(super) const CHUNK_ENTRIES: usize = 256;
const CHUNK_BYTES: usize = 64 << 10;

/// The entries of one key's map: made by [`MapState::iter`](super::MapState::iter). What memory has is lent; what is in files is made, some
/// entries at a time.
pub struct MapIter<'a, UK: Clone, UV: Clone>(Inner<'a, UK, UV>);

enum Inner<'a, UK: Clone, UV: Clone> {
    Heap(Option<SmallIter<'a, UK, UV>>),
    Spill(SpilledIter<'a, UK, UV>),
    Timed(Box<dyn Iterator<Item = (Cow<'a, UK>, Cow<'a, UV>)> + 'a>),
}

impl<'a, UK: Key, UV: StateValue> MapIter<'a, UK, UV> {
    /// The entries of a map whose values have times, and before them some that it has no more.
    pub(in super::super) fn timed(gone: &'a [(UK, UV)], entries: MapIter<'a, UK, (UV, i64)>) -> Self {
        let gone = gone.iter().map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value)));
        let live = entries.map(|(key, timed)| match timed {
            Cow::Borrowed((value, _)) => (key, Cow::Borrowed(value)),
            Cow::Owned((value, _)) => (key, Cow::Owned(value)),
        });
        Self(Inner::Timed(Box::new(gone.chain(live))))
    }
}

impl<'a, UK: Clone, UV: Clone> MapIter<'a, UK, UV> {
    pub(super) fn heap(entries: Option<SmallIter<'a, UK, UV>>) -> Self {
        Self(Inner::Heap(entries))
    }

    pub(super) fn spilled(entries: SpilledIter<'a, UK, UV>) -> Self {
        Self(Inner::Spill(entries))
    }
}

impl<'a, UK: Key, UV: StateValue> Iterator for MapIter<'a, UK, UV> {
    type Item = (Cow<'a, UK>, Cow<'a, UV>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Heap(entries) => {
                let (key, value) = entries.as_mut()?.next()?;
                Some((Cow::Borrowed(key), Cow::Borrowed(value)))
            }
            Inner::Spill(entries) => entries.next(),
            Inner::Timed(entries) => entries.next(),
        }
    }

    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut f: F) -> B {
        match self.0 {
            Inner::Heap(entries) => entries
                .into_iter()
                .flatten()
                .fold(init, |sum, (key, value)| f(sum, (Cow::Borrowed(key), Cow::Borrowed(value)))),
            Inner::Spill(entries) => entries.fold(init, f),
            Inner::Timed(entries) => entries.fold(init, f),
        }
    }
}

/// What memory and files have of a map, as one.
pub(super) struct SpilledIter<'a, UK, UV> {
    /// The newest first.
    cells: Vec<&'a MapCell<UK, UV>>,
    /// The cell that is read, and what is left of it.
    at: usize,
    entries: Option<SmallIter<'a, UK, Option<UV>>>,
    /// Entries of files that no cell has, to be taken off the end.
    chunk: &'a mut Vec<(UK, UV)>,
    chunk_entries: usize,
    rest: Option<Rest<'a>>,
}

/// Entries that are still in files.
pub(super) struct Rest<'a> {
    pub(super) port: &'a TablePort,
    pub(super) range: KeyRange,
    /// How many bytes of their keys are before the user's.
    pub(super) skip: usize,
}

impl<'a, UK: Key, UV: StateValue> SpilledIter<'a, UK, UV> {
    pub(super) fn new(
        cells: Vec<&'a MapCell<UK, UV>>,
        chunk: &'a mut Vec<(UK, UV)>,
        rest: Option<Rest<'a>>,
        chunk_entries: usize,
    ) -> Self {
        let entries = cells.first().map(|cell| cell.entries().iter());
        Self { cells, at: 0, entries, chunk, chunk_entries, rest }
    }

    /// The next entry of a cell.
    fn next_in_memory(&mut self) -> Option<(Cow<'a, UK>, Cow<'a, UV>)> {
        while let Some(entries) = &mut self.entries {
            let newer = &self.cells[..self.at];
            let is_newest = |key: &UK| newer.iter().all(|cell| cell.entries().get(key).is_none());
            if let Some((key, value)) = entries
                .find_map(|(key, value)| Some((key, value.as_ref()?)).filter(|(key, _)| is_newest(key)))
            {
                return Some((Cow::Borrowed(key), Cow::Borrowed(value)));
            }
            self.at += 1;
            self.entries = self.cells.get(self.at).map(|cell| cell.entries().iter());
        }
        None
    }

    /// Whether files may have entries that memory has not.
    pub(super) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Makes some of the entries that are still in files.
    fn read_chunk(&mut self) {
        let Self { cells, chunk, chunk_entries, rest, .. } = self;
        let Some(Rest { port, range, skip }) = rest else { return };
        let (mut bytes, mut failure) = (0, None);
        let (chunk_entries, is_shadowed) = (*chunk_entries, !cells.is_empty());
        let is_finished = port.scan_on(range, *skip, |user_key, value| {
            bytes += value.len();
            match read_entry(user_key, value) {
                Ok((key, _))
                    if is_shadowed && cells.iter().any(|cell| cell.entries().get(&key).is_some()) => {}
                Ok(entry) => chunk.push(entry),
                Err(error) => {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            }
            let is_full = chunk.len() >= chunk_entries || bytes >= CHUNK_BYTES;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let has_failed = failure.is_some();
        if let Some(error) = failure {
            port.fail_value(error);
        }
        if is_finished || has_failed {
            *rest = None;
        }
    }
}

impl<'a, UK: Key, UV: StateValue> Iterator for SpilledIter<'a, UK, UV> {
    type Item = (Cow<'a, UK>, Cow<'a, UV>);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.next_in_memory() {
            return Some(entry);
        }
        while self.chunk.is_empty() && self.rest.is_some() {
            self.read_chunk();
        }
        let (key, value) = self.chunk.pop()?;
        Some((Cow::Owned(key), Cow::Owned(value)))
    }

    /// A chunk at a time.
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, init: B, mut f: F) -> B {
        let mut sum = init;
        while let Some(entry) = self.next_in_memory() {
            sum = f(sum, entry);
        }
        loop {
            sum = self
                .chunk
                .drain(..)
                .fold(sum, |sum, (key, value)| f(sum, (Cow::Owned(key), Cow::Owned(value))));
            if self.rest.is_none() {
                return sum;
            }
            self.read_chunk();
        }
    }
}
