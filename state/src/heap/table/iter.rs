//! Walks over a whole table, slot by slot and so in the order of the hashes.

use super::{Slot, Table};
use std::iter::FusedIterator;
use std::mem;

impl<'a, K, V> IntoIterator for &'a Table<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;
    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut Table<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;
    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}

/// What [`Table::iter`] returns.
#[derive(Clone)]
pub struct Iter<'a, K, V> {
    slots: std::slice::Iter<'a, Slot<K, V>>,
    left: usize,
}

impl<'a, K, V> Iter<'a, K, V> {
    pub(super) fn over(table: &'a Table<K, V>) -> Self {
        Self { slots: table.slots.iter(), left: table.len }
    }

    /// One over nothing.
    pub(in crate::heap) fn empty() -> Self {
        Self { slots: [].iter(), left: 0 }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);
    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.slots.by_ref().find_map(Slot::get)?;
        self.left -= 1;
        Some(pair)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}
impl<K, V> FusedIterator for Iter<'_, K, V> {}

/// What [`Table::iter_mut`] returns.
pub struct IterMut<'a, K, V> {
    slots: std::slice::IterMut<'a, Slot<K, V>>,
    left: usize,
}

impl<'a, K, V> IterMut<'a, K, V> {
    pub(super) fn over(table: &'a mut Table<K, V>) -> Self {
        Self { left: table.len, slots: table.slots.iter_mut() }
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);
    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.slots.by_ref().find_map(Slot::get_mut)?;
        self.left -= 1;
        Some(pair)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for IterMut<'_, K, V> {}
impl<K, V> FusedIterator for IterMut<'_, K, V> {}

/// What [`Table::drain`] returns.
pub struct Drain<'a, K, V> {
    table: &'a mut Table<K, V>,
    /// What the table was. Its slots before `next` are vacant; it is not probed.
    full: Table<K, V>,
    next: usize,
}

impl<'a, K, V> Drain<'a, K, V> {
    pub(super) fn over(table: &'a mut Table<K, V>) -> Self {
        // The table is empty and without slots until the drain gives them back: should it leak, so do they, no more.
        let empty = Table::with_homes_first(table.homes_first);
        Self { full: mem::replace(table, empty), table, next: 0 }
    }
}

impl<K, V> Iterator for Drain<'_, K, V> {
    type Item = (K, V);
    fn next(&mut self) -> Option<(K, V)> {
        while let Some(slot) = self.full.slots.get_mut(self.next) {
            self.next += 1;
            if let Some(pair) = slot.take() {
                self.full.len -= 1;
                return Some(pair);
            }
        }
        None
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.full.len, Some(self.full.len))
    }
}

impl<K, V> ExactSizeIterator for Drain<'_, K, V> {}
impl<K, V> FusedIterator for Drain<'_, K, V> {}

impl<K, V> Drop for Drain<'_, K, V> {
    fn drop(&mut self) {
        self.for_each(drop);
        mem::swap(self.table, &mut self.full);
    }
}
