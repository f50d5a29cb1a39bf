//! Which blocks a batch will read of maps that are split: those of small ones are brought in before it is processed.
//!
//! What a user's function asks of a map is not known before it does. So as long as functions read entries from files, all of
//! a map is brought in, unless it is large; otherwise nothing is, and to put entries costs no reads.
//!
//! Invariant: a batch becomes ready. It asks for no more blocks than stay in memory together, and not forever.

use super::cell::MapCell;
use super::head::Head;
use crate::handle::Lane;
use crate::lsm::{Ahead, KeyRange};
use crate::spill::{Cell, SpillTable};
use crate::{Key, StateValue};

/// After so many batches whose functions have read no entries from files, none are brought in.
const PATIENCE_BATCHES: u32 = 16;

/// A batch that is not complete after so many rounds, because others drive out what it has asked for, is processed nevertheless.
const ROUNDS_MAX: u32 = 64;

/// The records of a batch, on one lane.
#[derive(Debug)]
pub(super) struct MapLookahead {
    /// User keys, one after the other.
    keys: Vec<u8>,
    /// Of each record the hash, and where its key ends.
    records: Vec<(u64, usize)>,
    patience: u32,
    rounds: u32,
    range: KeyRange,
}

impl Default for MapLookahead {
    fn default() -> Self {
        let range = KeyRange { begin: Vec::new(), end: Vec::new() };
        Self { keys: Vec::new(), records: Vec::new(), patience: PATIENCE_BATCHES, rounds: 0, range }
    }
}

impl MapLookahead {
    /// Notes that a function has read entries from files.
    #[inline]
    pub(super) fn on_read(&mut self) {
        self.patience = PATIENCE_BATCHES;
    }

    pub(super) fn begin(&mut self) {
        self.keys.clear();
        self.records.clear();
    }

    /// Whether anything is to be brought in.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.patience > 0
    }

    /// Takes a record of the batch, in its turn.
    #[inline]
    pub(super) fn push(&mut self, hash: u64, user_key: &[u8]) {
        self.keys.extend_from_slice(user_key);
        self.records.push((hash, self.keys.len()));
    }

    /// Whether the blocks of all records' maps are in memory, as far as they are brought in; others were asked for. The heads have been
    /// prepared.
    pub(super) fn resolve<K: Key, UK: Key, UV: StateValue>(
        &mut self,
        table: &mut SpillTable<K, MapCell<UK, UV>>,
        lane: Lane,
    ) -> bool {
        let (mut asked, mut start) = (0, 0);
        for (record, &(hash, end)) in (lane.first()..).zip(&self.records) {
            let user_key = &self.keys[start..end];
            start = end;
            let Some(generation) = generation_of(table, record, hash, user_key) else { continue };
            self.range.set_prefix(table.encode(hash, user_key), &generation.to_be_bytes());
            if let Ahead::Asked(blocks) = table.port().bring_in(&self.range) {
                asked += blocks;
            }
            if asked > table.port().ahead_blocks_max() {
                break; // Others come in another round, or are waited for.
            }
        }
        self.rounds += 1;
        if asked > 0 && self.rounds < ROUNDS_MAX {
            return false;
        }
        self.rounds = 0;
        self.patience = self.patience.saturating_sub(1);
        true
    }
}

/// The generation of a record's map, if it is split and memory does not have all of it.
fn generation_of<K: Key, UK: Key, UV: StateValue>(
    table: &SpillTable<K, MapCell<UK, UV>>,
    record: u32,
    hash: u64,
    user_key: &[u8],
) -> Option<u64> {
    match table.prepared(record, hash) {
        Some(head) => match Head::read(head?) {
            Ok(Head::Split { generation }) => Some(generation),
            _ => None, // What cannot be read, whoever uses it will say.
        },
        None => {
            let key = K::decode(&mut &*user_key).ok()?;
            let cell = table.newest(hash, |k| *k == key)?;
            if cell.hides() { None } else { cell.generation() }
        }
    }
}
