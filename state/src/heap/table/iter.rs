//! Walks over a whole table, slot by slot and so nearly in the order of the hashes.

use super::Table;
use super::group::VACANT;
use std::iter::FusedIterator;
use std::mem::{self, MaybeUninit};

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
pub struct Iter<'a, K, V> {
    /// `None` for one over nothing.
    table: Option<&'a Table<K, V>>,
    next: usize,
    left: usize,
}

impl<'a, K, V> Iter<'a, K, V> {
    pub(super) fn over(table: &'a Table<K, V>) -> Self {
        Self { table: Some(table), next: 0, left: table.len }
    }

    /// One over nothing.
    pub(in crate::heap) fn empty() -> Self {
        Self { table: None, next: 0, left: 0 }
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let table = self.table?;
        let slot = table.occupied_from(self.next)?;
        self.next = slot + 1;
        self.left -= 1;
        // SAFETY: the slot is occupied, so its pair is initialised.
        let (key, value) = unsafe { table.pairs[slot].assume_init_ref() };
        Some((key, value))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}
impl<K, V> FusedIterator for Iter<'_, K, V> {}

/// What [`Table::iter_mut`] returns.
pub struct IterMut<'a, K, V> {
    slots: std::iter::Zip<std::slice::Iter<'a, u8>, std::slice::IterMut<'a, MaybeUninit<(K, V)>>>,
    left: usize,
}

impl<'a, K, V> IterMut<'a, K, V> {
    pub(super) fn over(table: &'a mut Table<K, V>) -> Self {
        Self { left: table.len, slots: table.tags.iter().zip(&mut table.pairs) }
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);
    fn next(&mut self) -> Option<Self::Item> {
        let (_, pair) = self.slots.find(|(tag, _)| **tag != VACANT)?;
        self.left -= 1;
        // SAFETY: the tag is not `VACANT`, so the pair is initialised.
        let (key, value) = unsafe { pair.assume_init_mut() };
        Some((key, value))
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
        let (slot, pair) = self.full.take_from(self.next)?;
        self.next = slot + 1;
        Some(pair)
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
