//! What the store says of the keys of a batch, asked before its records are processed.
//!
//! ```text
//!   begin ──▶ prepare, for each record ──▶ resolve ──▶ true: answer(record)  … until the next begin
//!                │ in memory: nothing         │
//!                └ not: a key of the batch    └──▶ false: something is asked for; begin again when it has come
//! ```
//!
//! Where some keys of a batch are missing, what the store has said of the others is kept: the batch may need more parts of files than
//! memory holds at once, and those that were there may be gone when the others have come.
//!
//! Invariants:
//! - an answer is of the hash it was prepared with;
//! - answers count until the next flush is done: they say nothing of what was in memory when the store was asked.

use std::ops::{ControlFlow, Range};

use super::port::TablePort;
use crate::context::NOT_PREPARED;
use crate::handle::Lane;
use crate::heap::Table;
use crate::lsm::{Answer, KeyBatch, KeyRange};
use crate::value::ValueBytes;

/// What is known of a record's key below memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    hash: u64,
    start: u32,
    /// Of the value, or one of the two below.
    len: u32,
}

/// Nobody has asked: it was in memory.
const UNKNOWN: u32 = u32::MAX;
const ABSENT: u32 = u32::MAX - 1;

impl Known {
    #[inline]
    pub(super) fn is_absent(self) -> bool {
        self.len == ABSENT
    }
}

/// What the store has said of keys whose batches are not complete yet.
///
/// Only a flush changes what the store says of a key; so this counts until the next.
#[derive(Default)]
pub(crate) struct Kept {
    /// Keys and values in `bytes`, by the hashes of user keys.
    answers: Table<Range<u32>, Option<Range<u32>>>,
    bytes: ValueBytes,
    flushed: u64,
    /// Batches that were complete since the last that was not.
    complete: u32,
}

/// After so many complete batches in a row nobody waits for what is kept any more, and each look at it is a cache miss.
const KEPT_FOR_BATCHES: u32 = 32;

/// How much is kept, in bytes. More is forgotten, and asked for again.
const KEPT_BYTES_MAX: usize = 4 << 20;

impl Kept {
    #[inline]
    fn get(&self, hash: u64, key: &[u8], flushed: u64) -> Option<Option<&[u8]>> {
        if self.answers.is_empty() || self.flushed != flushed {
            return None;
        }
        let at = |range: &Range<u32>| &self.bytes[range.start as usize..range.end as usize];
        let (_, answer) = self.answers.get(hash, |kept| at(kept) == key)?;
        Some(answer.as_ref().map(at))
    }

    fn put(&mut self, hash: u64, key: &[u8], answer: Option<&[u8]>, flushed: u64) {
        if self.flushed != flushed || self.bytes.len() > KEPT_BYTES_MAX {
            self.clear();
            self.flushed = flushed;
        }
        self.complete = 0;
        let mut keep = |bytes: &[u8]| {
            let start = self.bytes.len() as u32;
            self.bytes.extend_from_slice(bytes);
            start..self.bytes.len() as u32
        };
        let (key, answer) = (keep(key), answer.map(keep));
        self.answers.entry(hash, |_| false, || (key, answer));
    }

    fn clear(&mut self) {
        self.answers.clear();
        self.bytes.clear();
    }

    /// A batch has all its answers.
    #[inline]
    fn on_complete(&mut self) {
        self.complete = self.complete.saturating_add(1);
        if self.complete == KEPT_FOR_BATCHES {
            self.clear();
        }
    }
}

/// The answers for the records of a batch.
#[derive(Default)]
pub(crate) struct Prepared {
    keys: KeyBatch,
    /// Of each key of the batch, its record.
    records: Vec<u32>,
    known: Vec<Known>,
    values: ValueBytes,
    /// Up to which epoch the store had what was frozen, when it was asked.
    flushed: u64,
    /// For what was not prepared.
    one: KeyBatch,
    one_value: ValueBytes,
}

impl Prepared {
    pub(crate) fn begin(&mut self) {
        self.keys.clear();
        self.records.clear();
        self.known.clear();
        self.values.clear();
    }

    /// A record whose key is in memory. Records come in the order of their numbers.
    #[inline]
    pub(crate) fn skip(&mut self, record: u32, hash: u64) {
        debug_assert_eq!(index(record), self.known.len());
        self.known.push(Known { hash, start: 0, len: UNKNOWN });
    }

    /// A record whose key is not. A key too long to be stored cannot have been: it is refused when it is written.
    #[inline]
    pub(crate) fn ask(&mut self, record: u32, hash: u64, key: &[u8], kept: &Kept, flushed: u64) {
        self.skip(record, hash);
        if let Some(answer) = kept.get(hash, key, flushed) {
            let known = self.known.last_mut().expect("it was just pushed");
            match answer {
                None => known.len = ABSENT,
                Some(value) => {
                    (known.start, known.len) = (append(&mut self.values, value), value.len() as u32)
                }
            }
            return;
        }
        if self.keys.push(key).is_ok() {
            self.records.push(index(record) as u32);
        }
    }

    /// Asks the store, and returns whether it has answered all. If not, what it has said is kept.
    pub(crate) fn resolve(&mut self, port: &TablePort, kept: &mut Kept) -> bool {
        let Self { keys, records, known, values, flushed, .. } = self;
        *flushed = port.flushed();
        if keys.is_empty() {
            kept.on_complete();
            return true;
        }
        let mut is_complete = true;
        port.get_batch(keys, |at, answer| {
            let known = &mut known[records[at] as usize];
            match answer {
                Answer::Cold => is_complete = false,
                Answer::Absent => known.len = ABSENT,
                Answer::Found(value) | Answer::Merged(value) => {
                    let start = append(values, value);
                    (known.start, known.len) = (start, value.len() as u32);
                }
            }
        });
        if is_complete {
            kept.on_complete();
        } else {
            for (at, &record) in records.iter().enumerate() {
                let known = known[record as usize];
                let key = keys.key(at);
                if known.len != UNKNOWN && kept.get(known.hash, key, *flushed).is_none() {
                    let value = &values[known.start as usize..];
                    let answer = (!known.is_absent()).then(|| &value[..known.len as usize]);
                    kept.put(known.hash, key, answer, *flushed);
                }
            }
        }
        is_complete
    }

    /// Whether the store was asked for a record. `None`: nothing may be known of it.
    #[inline]
    pub(super) fn known(&self, record: u32, hash: u64, flushed: u64) -> Option<Known> {
        if record == NOT_PREPARED || flushed != self.flushed {
            return None;
        }
        let known = self.known.get(index(record))?;
        (known.hash == hash && known.len != UNKNOWN).then_some(*known)
    }

    /// What it has said.
    #[inline]
    pub(super) fn value(&self, known: Known) -> Option<&[u8]> {
        (!known.is_absent()).then(|| &self.values[known.start as usize..][..known.len as usize])
    }

    /// Asks the store now, and waits for it.
    #[cold]
    pub(super) fn wait_for(&mut self, port: &TablePort, key: &[u8]) -> Option<&[u8]> {
        self.begin_one(key)?;
        let (mut is_found, value) = (false, &mut self.one_value);
        port.get_waiting(&self.one, |_, answer| is_found = keep(answer, value));
        is_found.then_some(&self.one_value[..])
    }

    /// Asks the store now, and waits only if a part of a file is not there.
    pub(super) fn look_up(&mut self, port: &TablePort, key: &[u8]) -> Option<&[u8]> {
        self.begin_one(key)?;
        let (mut is_found, mut is_cold, value) = (false, false, &mut self.one_value);
        port.get_batch(&self.one, |_, answer| {
            is_cold = answer == Answer::Cold;
            is_found = keep(answer, value);
        });
        if is_cold {
            // One of 80 look-ups goes astray first: the index says another key's place too. A seek does not.
            let is_complete = port.scan(&KeyRange::of_keys(key, key), |_, found| {
                is_found = true;
                value.extend_from_slice(found);
                ControlFlow::Break(())
            });
            if !is_complete {
                return self.wait_for(port, key);
            }
        }
        is_found.then_some(&self.one_value[..])
    }

    /// None: a key that long is not stored.
    fn begin_one(&mut self, key: &[u8]) -> Option<()> {
        self.one.clear();
        self.one_value.clear();
        self.one.push(key).ok().map(drop)
    }
}

/// Copies a value, and returns whether there is one.
fn keep(answer: Answer<'_>, value: &mut ValueBytes) -> bool {
    answer.value().inspect(|found| value.extend_from_slice(found)).is_some()
}

/// The place of a record in its batch.
#[inline(always)]
fn index(record: u32) -> usize {
    (record - Lane::of(record).first()) as usize
}

/// Appends a value at a multiple of 16, and returns where it begins.
#[inline]
fn append(values: &mut ValueBytes, value: &[u8]) -> u32 {
    let start = values.len().next_multiple_of(16);
    values.resize(start, 0);
    values.extend_from_slice(value);
    start as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_is_not_kept() {
        let mut kept = Kept::default();
        kept.put(7, b"key", Some(b"value"), 1);
        kept.put(8, b"gone", None, 1);
        (1..KEPT_FOR_BATCHES).for_each(|_| kept.on_complete());
        assert_eq!(kept.get(7, b"key", 1), Some(Some(&b"value"[..])));
        assert_eq!(kept.get(8, b"gone", 1), Some(None));
        kept.put(9, b"new", None, 1); // Somebody waits again.
        kept.on_complete();
        assert_eq!(kept.get(7, b"key", 1), Some(Some(&b"value"[..])));
        (0..KEPT_FOR_BATCHES).for_each(|_| kept.on_complete());
        assert_eq!((kept.get(7, b"key", 1), kept.answers.len(), kept.bytes.len()), (None, 0, 0));
    }
}
