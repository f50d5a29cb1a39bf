//! Texts that outlive their event, as state and results hold them.
//!
//! ```text
//!   lens     │ 6 │ 11 │ 2 │
//!   groups   │ google·· │ https:// │ a.b····· │ xy······ │        eight bytes each, the last of a text padded with zeros
//! ```
//!
//! All groups are one piece of memory, which the next texts use again if they fit.
//!
//! # Decisions
//! - *Groups rather than bytes*: what is kept is hashed by the eight bytes, often right after it was written. A processor
//!   hands a load the bytes of a store that it still holds only if they are all from one store. A text copied byte for
//!   byte ends in stores that overlap at any place; copied by whole groups it has none that cuts a group in two. It takes
//!   4 bytes more than lengths and texts without padding would.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::Text;

/// The size of a group, in bytes.
const GROUP_BYTES: usize = 8;

/// `N` texts in one piece of memory; none at all until they are set.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, Texts, generate_in_memory};
/// let data = generate_in_memory(1, 1);
/// let mut cursor = Cursor::new(&data.shards[0], 1);
/// let person = cursor.next(|_, _| ()).and_then(|event| event.person()).expect("a person");
/// let mut texts = Texts::default();
/// texts.set([person.city(), person.state()]);
/// assert_eq!(texts.get(), [person.city(), person.state()]);
/// ```
#[derive(Clone, Archive, Serialize, Deserialize)]
pub struct Texts<const N: usize> {
    lens: [u16; N],
    /// At least what `lens` asks for; what is behind that means nothing.
    groups: Box<[[u8; GROUP_BYTES]]>,
}

impl<const N: usize> Texts<N> {
    /// Keeps these texts instead. Allocates, once and no more than it takes, if they are longer than any before.
    #[inline]
    pub fn set(&mut self, texts: [Text<'_>; N]) {
        let count = texts.iter().map(|text| text.len().div_ceil(GROUP_BYTES)).sum();
        if self.groups.len() < count {
            self.groups = vec![[0; GROUP_BYTES]; count].into_boxed_slice();
        }
        let mut groups = &mut *self.groups;
        for (len, text) in self.lens.iter_mut().zip(texts) {
            *len = text.len() as u16; // It comes from a record, and fits.
            let (whole, tail) = text.as_chunks();
            let (to, rest) = groups.split_at_mut(whole.len());
            to.copy_from_slice(whole);
            groups = rest;
            if !tail.is_empty() {
                let (to, rest) = groups.split_first_mut().expect("they were counted");
                *to = last_group(&text, tail).to_le_bytes();
                groups = rest;
            }
        }
    }

    /// The texts, in the order in which they were given; empty ones if none were.
    #[inline]
    pub fn get(&self) -> [Text<'_>; N] {
        let groups = self.groups();
        std::array::from_fn(|i| {
            Text(groups[i].as_flattened().get(..usize::from(self.lens[i])).unwrap_or_default())
        })
    }

    /// The length of each text.
    #[inline(always)]
    pub(super) fn lens(&self) -> [u16; N] {
        self.lens
    }

    /// The groups of each text.
    #[inline(always)]
    pub(super) fn groups(&self) -> [&[[u8; GROUP_BYTES]]; N] {
        let mut groups = &*self.groups;
        self.lens.map(|len| {
            let text;
            (text, groups) = groups.split_at(usize::from(len).div_ceil(GROUP_BYTES));
            text
        })
    }

    /// Asks the processor for the texts, for a use that follows soon.
    ///
    /// ```
    /// thalweg_tools::nexmark::Texts::<3>::default().prefetch(); // A hint: nothing to see.
    /// ```
    #[inline]
    pub fn prefetch(&self) {
        thalweg::prefetch_lines::<3>(self.groups.as_flattened(), 0); // A bid's take 165 bytes on average.
    }
}

impl<const N: usize> Default for Texts<N> {
    fn default() -> Self {
        Self { lens: [0; N], groups: Box::default() }
    }
}

impl<const N: usize> PartialEq for Texts<N> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<const N: usize> Eq for Texts<N> {}

impl<const N: usize> fmt::Debug for Texts<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl<const N: usize> From<[Text<'_>; N]> for Texts<N> {
    fn from(texts: [Text<'_>; N]) -> Self {
        let mut kept = Self::default();
        kept.set(texts);
        kept
    }
}

impl<const N: usize> ArchivedTexts<N> {
    /// Owns them.
    pub fn to_texts(&self) -> Texts<N> {
        Texts { lens: self.lens.map(|len| len.to_native()), groups: self.groups.as_ref().into() }
    }
}

/// `tail`, the last 1 to 7 bytes of `text`, padded with zeros: by loads that overlap rather than byte for byte.
#[inline(always)]
pub(super) fn last_group(text: &[u8], tail: &[u8]) -> u64 {
    let len = tail.len();
    if let Some(last) = text.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (64 - 8 * len);
    }
    if let (Some(low), Some(high)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
        return u64::from(low) | u64::from(high) << (8 * (len - 4));
    }
    // One to three bytes: the first, the middle and the last one, which may be the same.
    let byte = |at: usize| u64::from(tail[at]) << (8 * at);
    byte(0) | byte(len / 2) | byte(len - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexmark::RowHash;

    /// Goal: texts come back as they were, and hash as the texts they are. Method: all lengths up to some groups, in one place
    /// that is used again for longer and for shorter ones.
    #[test]
    fn texts_are_what_was_set() {
        let bytes: Vec<u8> = (0..40).map(|i: u8| i.wrapping_mul(37).wrapping_add(200)).collect();
        let mut texts = Texts::default();
        assert_eq!(texts.get(), [Text(b""); 3]);
        for len in (0..=40).chain((0..=40).rev()) {
            let given = [Text(&bytes[..len]), Text(b""), Text(&bytes[len..])];
            texts.set(given);
            assert_eq!((texts.get(), &texts), (given, &Texts::from(given)));
            let hash = RowHash::new().int(7).texts(&texts).finish();
            assert_eq!(hash, RowHash::row(&[7], &given.each_ref().map(|text| &**text)), "{len} bytes");
        }
        assert_ne!(texts, Texts::from([Text(b""); 3]));
    }
}
