//! What flushes and compactions leave out: values that have expired, entries that nobody can reach any more.
//!
//! ```text
//!   entries of a job ──▶ filter of their state ──▶ kept, changed, or dropped
//!                                                                     │
//!        an operand: nothing, what is older stays as it is ◀──────────┤
//!        a value: a delete, as an older one must not come back ◀──────┘ (nothing where there is nothing older)
//! ```
//!
//! Invariants:
//! - what a filter drops never lets an older value of its key reappear, unless it is forgotten: then nobody asks for the key;
//! - keys stay as they are, so entries stay in order;
//! - entries of states without a filter pass as they are.

use std::sync::Arc;

use super::key::{EncodedKey, StateId};
use super::merge::{Cursor, Entry, PASSED_MAX};
use super::states::States;
use super::{Kind, Result};
use crate::KeyGroup;

/// Which entries of a state its files keep: those that have not expired, say.
///
/// ```
/// use thalweg_state::lsm::{CompactionFilter, Entry, EntryFilter, Kind, Verdict};
/// /// Values that are the time up to which they count, a byte.
/// struct UpTo;
/// impl CompactionFilter for UpTo {
///     fn begin(&self, now_ms: i64) -> Box<dyn EntryFilter> {
///         Box::new(UpToNow(now_ms))
///     }
/// }
/// struct UpToNow(i64);
/// impl EntryFilter for UpToNow {
///     fn filter(&mut self, entry: Entry<'_>, _out: &mut Vec<u8>) -> Verdict {
///         match entry.value {
///             [end_ms] if i64::from(*end_ms) < self.0 => Verdict::Drop,
///             _ => Verdict::Keep,
///         }
///     }
/// }
/// let entry = Entry { key: &[0, 0, 0, 1], kind: Kind::Put, value: &[7] };
/// assert_eq!(UpTo.begin(9).filter(entry, &mut Vec::new()), Verdict::Drop);
/// ```
pub trait CompactionFilter: Send + Sync {
    /// The filter for the entries of one key group in one job. `now_ms` is the store's time when the job was made.
    fn begin(&self, now_ms: i64) -> Box<dyn EntryFilter>;
}

/// What goes over the entries of a state in a key group, in ascending order of their keys: see [`CompactionFilter`].
pub trait EntryFilter: Send {
    /// Says what is left of an entry. Values, operands and deletes are shown, on any thread. What is not understood is to be
    /// kept: whoever reads it will say what is wrong.
    ///
    /// `out` is empty, and is to have the new value or operands if they change.
    fn filter(&mut self, entry: Entry<'_>, out: &mut Vec<u8>) -> Verdict;
}

/// What is left of an entry.
///
/// ```
/// use thalweg_state::lsm::Verdict;
/// assert_ne!(Verdict::Keep, Verdict::Drop);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All.
    Keep,
    /// Another value, or other operands.
    Change,
    /// Nothing: a value is deleted, operands add nothing. A delete goes only where nothing older is.
    Drop,
    /// Nothing, and older values of the key may come back: nobody asks for it any more.
    Forget,
}

/// The entries of a cursor that the filters of their states leave.
pub(crate) struct Filtered<C> {
    cursor: C,
    states: Arc<States>,
    now_ms: i64,
    /// Whether there is nothing older than these entries.
    is_oldest: bool,
    /// Of what the current entry is, and the filter for that.
    section: Option<(KeyGroup, StateId)>,
    filter: Option<Box<dyn EntryFilter>>,
    current: Current,
    changed: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Current {
    /// That of the cursor, or its end or pause.
    Same,
    /// That of the cursor with the value in `changed`.
    Changed,
    Deleted,
    /// None yet.
    Pause,
}

impl<C: Cursor> Filtered<C> {
    /// Stands on the first entry that is left.
    ///
    /// Errors: those of the cursor.
    pub(crate) fn new(cursor: C, states: Arc<States>, now_ms: i64, is_oldest: bool) -> Result<Self> {
        let (section, filter, current, changed) = (None, None, Current::Same, Vec::new());
        let mut filtered = Self { cursor, states, now_ms, is_oldest, section, filter, current, changed };
        filtered.settle()?;
        Ok(filtered)
    }

    /// Goes on from the cursor's entry to the first one of which something is left.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..PASSED_MAX {
            self.current = Current::Same;
            let Some(entry) = self.cursor.entry() else { return Ok(()) };
            let section = EncodedKey::new(entry.key).ok().map(|key| (key.key_group(), key.state()));
            if section != self.section {
                let spec = section.and_then(|(_, state)| self.states.spec(state));
                let filter = spec.and_then(|spec| spec.filter.as_ref());
                self.filter = filter.map(|filter| filter.begin(self.now_ms));
                self.section = section;
            }
            let Some(filter) = &mut self.filter else { return Ok(()) };
            self.changed.clear();
            self.current = match filter.filter(entry, &mut self.changed) {
                Verdict::Keep => Current::Same,
                Verdict::Change => Current::Changed,
                Verdict::Drop if !self.is_oldest && entry.kind != Kind::Merge => Current::Deleted,
                Verdict::Drop | Verdict::Forget => {
                    self.cursor.advance()?;
                    continue;
                }
            };
            return Ok(());
        }
        self.current = Current::Pause;
        Ok(())
    }
}

impl<C: Cursor> Cursor for Filtered<C> {
    fn entry(&self) -> Option<Entry<'_>> {
        let entry = self.cursor.entry()?;
        match self.current {
            Current::Same => Some(entry),
            Current::Changed => Some(Entry { value: &self.changed, ..entry }),
            Current::Deleted => Some(Entry { kind: Kind::Delete, value: b"", ..entry }),
            Current::Pause => None,
        }
    }

    fn is_pausing(&self) -> bool {
        self.current == Current::Pause || self.cursor.is_pausing()
    }

    fn advance(&mut self) -> Result<()> {
        // After a pause of its own the cursor is on an entry that was not looked at.
        if std::mem::replace(&mut self.current, Current::Same) != Current::Pause {
            self.cursor.advance()?;
        }
        self.settle()
    }
}

#[cfg(test)]
mod tests;
