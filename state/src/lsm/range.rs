//! Ranges of encoded keys: of files, of scans, and of tombstones, which hide what older sources say of the keys in them.

use super::hex;
use serde::{Deserialize, Serialize};

/// Encoded keys from `begin` on, and before `end`.
///
/// ```
/// use thalweg_state::lsm::KeyRange;
/// let range = KeyRange::of_keys(b"bee", b"cat");
/// assert!(range.contains(b"bee") && range.contains(b"cat") && !range.contains(b"cats"));
/// assert!(range.overlaps(&KeyRange::new(b"cat", b"dog")) && !range.overlaps(&KeyRange::new(b"ant", b"bee")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRange {
    /// The first key that may be in it.
    #[serde(with = "hex")]
    pub begin: Vec<u8>,
    /// The first key after it.
    #[serde(with = "hex")]
    pub end: Vec<u8>,
}

impl KeyRange {
    /// The keys from `begin` on, before `end`.
    ///
    /// ```
    /// # use thalweg_state::lsm::KeyRange;
    /// assert!(KeyRange::new(b"b", b"b").is_empty());
    /// ```
    pub fn new(begin: &[u8], end: &[u8]) -> Self {
        Self { begin: begin.to_vec(), end: end.to_vec() }
    }

    /// The keys from the first to the last, with both.
    ///
    /// ```
    /// # use thalweg_state::lsm::KeyRange;
    /// assert_eq!(KeyRange::of_keys(b"a", b"b"), KeyRange::new(b"a", b"b\0"));
    /// ```
    pub fn of_keys(first: &[u8], last: &[u8]) -> Self {
        Self { begin: first.to_vec(), end: [last, &[0]].concat() } // Between a key and the same with a zero is none.
    }

    /// All keys that begin with `prefix`, which is not all `ff`: no key group is.
    pub(crate) fn of_prefix(prefix: &[u8]) -> Self {
        let mut range = Self { begin: Vec::new(), end: Vec::new() };
        range.set_prefix(prefix, &[]);
        range
    }

    /// Becomes the range of all keys that begin with `start` and `end`, one after the other, which are not all `ff`.
    pub(crate) fn set_prefix(&mut self, start: &[u8], end: &[u8]) {
        self.begin.clear();
        self.begin.extend_from_slice(start);
        self.begin.extend_from_slice(end);
        self.end.clone_from(&self.begin);
        while self.end.pop_if(|byte| *byte == 0xff).is_some() {}
        let last = self.end.last_mut().expect("a prefix is not all ones");
        *last += 1;
    }

    /// The smallest range that holds both.
    ///
    /// ```
    /// # use thalweg_state::lsm::KeyRange;
    /// let entries = KeyRange::of_keys(b"bee", b"cat");
    /// let tombstone = KeyRange::new(b"ant", b"bug");
    /// assert_eq!(entries.cover(&tombstone), KeyRange::new(b"ant", b"cat\0"));
    /// ```
    #[must_use]
    pub fn cover(&self, other: &Self) -> Self {
        Self {
            begin: self.begin.clone().min(other.begin.clone()),
            end: self.end.clone().max(other.end.clone()),
        }
    }

    /// Whether there is no key in it.
    pub fn is_empty(&self) -> bool {
        self.begin >= self.end
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.begin <= *key && *key < *self.end
    }

    /// Whether a key could be in both; neither may be empty.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.begin < other.end && other.begin < self.end
    }
}

/// The same keys as all `ranges`, ascending, those that touch made one.
pub(crate) fn disjoint(mut ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    ranges.sort_unstable();
    let mut apart: Vec<KeyRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.begin <= last.end => last.end = range.end.max(std::mem::take(&mut last.end)),
            _ => apart.push(range),
        }
    }
    apart
}
