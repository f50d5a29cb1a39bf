//! What several sources say about one key, newest first, made one.
//!
//! ```text
//!   source 0 (newest)   a:del          c:+3   e:put        tombstone [d, f)
//!   source 1                   b:put   c:+2          f:put
//!   source 2 (oldest)   a:put          c:put  d:put  f:put
//!                       ─────────────────────────────────
//!   merged              a:del  b:put   c:put  e:put  f:put      (d is hidden by the tombstone)
//!   … with nothing older       b:put   c:put  e:put  f:put      (nor is there anything that a:del would hide)
//! ```
//!
//! Invariants:
//! - keys come out once each, in ascending order;
//! - what a tombstone hides is not read, but for the block where it ends;
//! - what comes out says of every key the same as all sources together do, also to whatever is older than they are.

use std::cmp::Ordering;
use std::sync::Arc;

use super::key::StateId;
use super::range::{KeyRange, disjoint};
use super::{Kind, Result};

/// Entries of one source in ascending order of their keys, each key once.
///
/// ```
/// use thalweg_state::lsm::{Cursor, Entry, Kind, Result};
/// struct One(bool);
/// impl Cursor for One {
///     fn entry(&self) -> Option<Entry<'_>> {
///         self.0.then_some(Entry { key: &[0, 0, 0, 0, 1], kind: Kind::Put, value: b"one" })
///     }
///     fn advance(&mut self) -> Result<()> {
///         self.0 = false;
///         Ok(())
///     }
/// }
/// let mut cursor = One(true);
/// cursor.advance().unwrap();
/// assert_eq!(cursor.entry(), None);
/// ```
pub trait Cursor {
    /// The current entry, or `None` at the end.
    fn entry(&self) -> Option<Entry<'_>>;

    /// Goes on to the next entry. At the end it stays there.
    ///
    /// Errors: whatever kept the next entry from being read; the cursor is then at its end.
    fn advance(&mut self) -> Result<()>;

    /// Goes on to the first entry whose key is not below `key`; not back.
    ///
    /// Errors: as `advance`.
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        while self.is_pausing() || self.entry().is_some_and(|entry| entry.key < key) {
            self.advance()?;
        }
        Ok(())
    }

    /// Whether there is no current entry because so much was passed over that it is time for a pause: `advance` goes on.
    fn is_pausing(&self) -> bool {
        false
    }
}

impl<C: Cursor + ?Sized> Cursor for Box<C> {
    fn entry(&self) -> Option<Entry<'_>> {
        (**self).entry()
    }

    fn advance(&mut self) -> Result<()> {
        (**self).advance()
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        (**self).seek(key)
    }

    fn is_pausing(&self) -> bool {
        (**self).is_pausing()
    }
}

/// One entry of a source.
///
/// ```
/// use thalweg_state::lsm::{Entry, Kind};
/// let entry = Entry { key: &[0, 7, 0, 1, 42], kind: Kind::Delete, value: b"" };
/// assert_eq!(entry.kind, Kind::Delete);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Encoded: see [`super::key`].
    pub key: &'a [u8],
    /// What it says of its key.
    pub kind: Kind,
    /// The value or the operands; empty if it is a delete.
    pub value: &'a [u8],
}

/// How operands of one state are added up.
///
/// ```
/// use thalweg_state::lsm::{MergeOperator, Result};
/// struct Append;
/// impl MergeOperator for Append {
///     fn merge(&self, older: &[u8], newer: &[u8], out: &mut Vec<u8>) -> Result<()> {
///         out.extend_from_slice(older);
///         out.extend_from_slice(newer);
///         Ok(())
///     }
/// }
/// let mut list = Vec::new();
/// Append.merge(b"ab", b"c", &mut list).unwrap();
/// assert_eq!(list, b"abc");
/// ```
pub trait MergeOperator: Send + Sync {
    /// Appends to `out` what `older` and `newer` are together. Either is a value or an operand; the sum is a value if `older`
    /// is one. Must be associative: operands are added up in any grouping, though never in another order.
    ///
    /// Errors: the bytes are not what the state was said to hold.
    fn merge(&self, older: &[u8], newer: &[u8], out: &mut Vec<u8>) -> Result<()>;
}

/// The merge operator of the state with that id.
pub(crate) trait MergeOperators {
    fn operator(&self, state: StateId) -> Option<&dyn MergeOperator>;
}

impl<O: MergeOperators + ?Sized> MergeOperators for &O {
    fn operator(&self, state: StateId) -> Option<&dyn MergeOperator> {
        (**self).operator(state)
    }
}

impl<O: MergeOperators + ?Sized> MergeOperators for Arc<O> {
    fn operator(&self, state: StateId) -> Option<&dyn MergeOperator> {
        (**self).operator(state)
    }
}

/// One source: its entries and its tombstones, ranges of keys whose entries in older sources are gone, ascending and apart
/// from each other.
#[derive(Debug)]
pub(crate) struct Source<C> {
    cursor: C,
    tombstones: Vec<KeyRange>,
    /// The tombstones before this one end at or before the current key.
    reached: usize,
}

impl<C> Source<C> {
    pub(crate) fn new(cursor: C, tombstones: Vec<KeyRange>) -> Self {
        Self { cursor, tombstones: disjoint(tombstones), reached: 0 }
    }

    /// Whether a tombstone of this source hides `key` in older ones. Keys must be asked for in ascending order.
    fn hides(&mut self, key: &[u8]) -> bool {
        while self.tombstones.get(self.reached).is_some_and(|range| *range.end <= *key) {
            self.reached += 1;
        }
        self.tombstones.get(self.reached).is_some_and(|range| *range.begin <= *key)
    }
}

/// The entries of several sources, as one.
///
/// With an operator for every state that has `Merge` entries. O(log sources) comparisons for an entry.
pub(crate) struct Merged<C, O> {
    /// The newest first.
    sources: Vec<Source<C>>,
    /// Indices of sources that are not at their end: a heap, the least key on top, of equal ones the newest source.
    heap: Vec<usize>,
    operators: O,
    /// Whether there is nothing older than these sources, so that what hides older entries can go.
    is_oldest: bool,
    current: Current,
    key: Vec<u8>,
    value: Vec<u8>,
    sum: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Current {
    /// The top of the heap, as it is.
    Top(Kind),
    /// What lies in `key` and `value`; the sources are past it.
    Summed(Kind),
    /// None yet.
    Pause,
    End,
}

/// Keys that are passed over before a pause: some 100 µs.
pub(crate) const PASSED_MAX: usize = 1024;

impl<C: Cursor, O: MergeOperators> Merged<C, O> {
    /// `sources` come newest first.
    pub(crate) fn new(sources: Vec<Source<C>>, operators: O, is_oldest: bool) -> Result<Self> {
        let heap = (0..sources.len()).filter(|&source| sources[source].cursor.entry().is_some()).collect();
        let (key, value, sum) = Default::default();
        let mut merged = Self { sources, heap, operators, is_oldest, current: Current::End, key, value, sum };
        for parent in (0..merged.heap.len() / 2).rev() {
            merged.sift_down(parent);
        }
        merged.settle()?;
        Ok(merged)
    }

    /// Stands on the first entry that is to come out, starting from the top of the heap.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..PASSED_MAX {
            let Some(&top) = self.heap.first() else {
                self.current = Current::End;
                return Ok(());
            };
            let Entry { key, kind, .. } = entry_of(&self.sources, top);
            self.key.clear();
            self.key.extend_from_slice(key);
            let hiding = self.sources.iter_mut().position(|source| source.hides(&self.key));
            if let Some(hiding) = hiding
                && hiding < top
            {
                self.skip_hidden(hiding, top)?;
            } else if kind == Kind::Merge {
                self.current = Current::Summed(self.add_up(hiding)?);
                return Ok(());
            } else if kind == Kind::Delete && self.is_oldest {
                self.skip_key()?;
            } else {
                self.drop_older()?;
                self.current = Current::Top(kind);
                return Ok(());
            }
        }
        self.current = Current::Pause;
        Ok(())
    }

    /// Moves the source on top out of the range in which `hiding` hides what it says, without looking at what is there.
    fn skip_hidden(&mut self, hiding: usize, top: usize) -> Result<()> {
        let [hiding, hidden] =
            self.sources.get_disjoint_mut([hiding, top]).expect("they are two of the sources");
        hidden.cursor.seek(&hiding.tombstones[hiding.reached].end)?;
        self.restore_at(0);
        Ok(())
    }

    /// Takes all entries of the current key, of which the newest is an operand, and leaves their sum in `value`.
    /// `hiding` is the newest source that hides what older ones say.
    fn add_up(&mut self, hiding: Option<usize>) -> Result<Kind> {
        self.value.clear();
        self.value.extend_from_slice(entry_of(&self.sources, self.heap[0]).value);
        self.advance_at(0)?;
        while let Some(&top) = self.heap.first() {
            let Entry { key, kind, value } = entry_of(&self.sources, top);
            if key != self.key {
                break;
            }
            if kind == Kind::Delete || hiding.is_some_and(|hiding| hiding < top) {
                self.skip_key()?;
                return Ok(Kind::Put);
            }
            self.sum.clear();
            let state = state_of(&self.key);
            let operator = self.operators.operator(state).ok_or(super::Error::NoMergeOperator { state })?;
            operator.merge(value, &self.value, &mut self.sum)?;
            std::mem::swap(&mut self.sum, &mut self.value);
            if kind == Kind::Put {
                self.skip_key()?;
                return Ok(Kind::Put);
            }
            self.advance_at(0)?;
        }
        Ok(if self.is_oldest || hiding.is_some() { Kind::Put } else { Kind::Merge })
    }

    /// Goes past all entries of the key in `self.key`.
    fn skip_key(&mut self) -> Result<()> {
        while let Some(&top) = self.heap.first()
            && entry_of(&self.sources, top).key == self.key
        {
            self.advance_at(0)?;
        }
        Ok(())
    }

    /// Goes past the entries of the key in `self.key`, except for that on top.
    fn drop_older(&mut self) -> Result<()> {
        for child in [1, 2] {
            while let Some(&source) = self.heap.get(child)
                && entry_of(&self.sources, source).key == self.key
            {
                self.advance_at(child)?;
            }
        }
        Ok(())
    }

    /// Advances the source at a place of the heap, and restores the heap below it.
    fn advance_at(&mut self, place: usize) -> Result<()> {
        self.sources[self.heap[place]].cursor.advance()?;
        self.restore_at(place);
        Ok(())
    }

    /// Restores the heap after the source at a place has moved on.
    fn restore_at(&mut self, place: usize) {
        if self.sources[self.heap[place]].cursor.entry().is_none() {
            self.heap.swap_remove(place);
        }
        self.sift_down(place);
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let mut least = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.heap.len() && self.is_before(self.heap[child], self.heap[least]) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.heap.swap(place, least);
            place = least;
        }
    }

    fn is_before(&self, a: usize, b: usize) -> bool {
        match entry_of(&self.sources, a).key.cmp(entry_of(&self.sources, b).key) {
            Ordering::Equal => a < b,
            order => order == Ordering::Less,
        }
    }
}

impl<C: Cursor, O: MergeOperators> Cursor for Merged<C, O> {
    fn entry(&self) -> Option<Entry<'_>> {
        match self.current {
            Current::Top(kind) => Some(Entry { kind, ..entry_of(&self.sources, self.heap[0]) }),
            Current::Summed(kind) => Some(Entry { key: &self.key, kind, value: &self.value }),
            Current::Pause | Current::End => None,
        }
    }

    fn is_pausing(&self) -> bool {
        self.current == Current::Pause
    }

    fn advance(&mut self) -> Result<()> {
        let was = std::mem::replace(&mut self.current, Current::End); // Should a source fail.
        if let Current::Top(_) = was {
            self.advance_at(0)?;
        }
        self.settle()
    }
}

/// The state of an encoded key.
fn state_of(key: &[u8]) -> StateId {
    super::key::EncodedKey::new(key).expect("sources hold encoded keys").state()
}

/// The current entry of a source in the heap, which has one.
fn entry_of<C: Cursor>(sources: &[Source<C>], source: usize) -> Entry<'_> {
    sources[source].cursor.entry().expect("a source at its end leaves the heap")
}

#[cfg(test)]
mod tests;
