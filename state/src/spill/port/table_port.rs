//! One table's access to its core's store.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::{Garbage, Port};
use crate::heap::KeyedTable;
use crate::lsm::key::{EncodedKey, StateId};
use crate::lsm::{Ahead, Answer, KeyBatch, KeyRange, ScanEnd};
use crate::spill::LayerEntries;
use crate::{Error, Key, hash_pair, hash_word};

/// A table's own access to its core's store. Dropped with the table.
pub(crate) struct TablePort {
    pub(super) port: Rc<Port>,
    pub(super) table: usize,
    pub(super) state: StateId,
    pub(super) name: String,
}

impl TablePort {
    pub(crate) fn state(&self) -> StateId {
        self.state
    }

    /// The epoch to freeze at, if that is still to be done.
    #[inline]
    pub(crate) fn wants_freeze(&self) -> Option<u64> {
        let epoch = self.port.epoch();
        (self.port.tables.borrow()[self.table].epoch < epoch).then_some(epoch)
    }

    /// The table has in memory what it has frozen, for as long as it counts, and can freeze as a whole: see [`Self::wants_whole`].
    pub(crate) fn keep_all(&self) {
        self.port.tables.borrow_mut()[self.table].keeps_all = true;
    }

    /// Whether what is frozen now shall not build on what was before: that was lost.
    pub(crate) fn wants_whole(&self) -> bool {
        self.port.whole_from.get().is_some()
    }

    /// Whether the tables keep what they have frozen.
    pub(crate) fn is_heap(&self) -> bool {
        self.port.is_heap()
    }

    /// Whether there are files, of this state or others.
    pub(crate) fn has_files(&self) -> bool {
        self.port.store.borrow().version().files().len() > 0
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// All that files have in a range of keys: `each` is given the user's part of a key. Waits for the disk.
    ///
    /// Errors: those of the store, and of `each`.
    pub(crate) fn load(
        &self,
        range: &KeyRange,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut failure = None;
        self.port.store.borrow_mut().scan_waiting(range, |key, value| {
            let key = EncodedKey::new(key).expect("what a store gives out is within the range");
            match each(key.rest(), value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Hands over what was frozen, if there was anything.
    pub(crate) fn hand_over(
        &self,
        epoch: u64,
        layer: Option<Box<dyn LayerEntries>>,
        tombstones: Vec<KeyRange>,
    ) {
        self.port.tables.borrow_mut()[self.table].epoch = epoch;
        self.port.hand_over(layer, tombstones);
    }

    /// As `Store::scan`: whether all was seen. If not, the parts that are missing have been asked for.
    pub(crate) fn scan(&self, range: &KeyRange, each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> bool {
        match self.port.store.borrow_mut().scan(range, each) {
            Ok(ScanEnd::Finished | ScanEnd::Stopped) => true,
            Ok(ScanEnd::Cold { .. }) => false,
            Err(error) => {
                self.fail(error);
                true
            }
        }
    }

    /// As `Store::scan_waiting`.
    #[cold]
    pub(crate) fn scan_waiting(&self, range: &KeyRange, each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) {
        self.port.blocking_reads.set(self.port.blocking_reads.get() + 1);
        if let Err(error) = self.port.store.borrow_mut().scan_waiting(range, each) {
            self.fail(error);
        }
    }

    /// Scans keys that are the same in their first `skip` bytes, and shows what comes after these. Where `each` breaks off, what is left of the
    /// range stays in it; returns whether there is nothing left. Waits for blocks that are not there.
    pub(crate) fn scan_on(
        &self,
        range: &mut KeyRange,
        skip: usize,
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> bool {
        let mut stopped_at = None;
        let mut stopping = |rest: &[u8], value: &[u8]| {
            let flow = each(rest, value);
            if flow.is_break() {
                stopped_at = Some(rest.to_vec());
            }
            flow
        };
        let mut store = self.port.store.borrow_mut();
        let end = store
            .scan_prefix(range, skip, &mut stopping)
            .map_or_else(|| store.scan(range, |key, value| stopping(&key[skip..], value)), Ok);
        drop(store);
        match end {
            Ok(ScanEnd::Cold { resume }) => {
                range.begin = resume;
                self.scan_waiting(range, |key, value| stopping(&key[skip..], value));
            }
            Ok(ScanEnd::Finished | ScanEnd::Stopped) => {}
            Err(error) => self.fail(error),
        }
        if let Some(rest) = &stopped_at {
            range.begin.truncate(skip);
            range.begin.extend_from_slice(rest);
            range.begin.push(0); // The next key that could be.
        }
        stopped_at.is_none()
    }

    /// Asks for the blocks of a range that is to be scanned, unless it is large.
    pub(crate) fn bring_in(&self, range: &KeyRange) -> Ahead {
        self.port.store.borrow().bring_in(range, self.port.range_blocks_max)
    }

    /// Whether a range takes so many blocks of a run that it is not brought in.
    pub(crate) fn is_large(&self, range: &KeyRange) -> bool {
        self.port.store.borrow().is_large(range, self.port.range_blocks_max)
    }

    /// A number that this state has not had before, whenever its store was opened.
    pub(crate) fn seed(&self) -> u64 {
        hash_pair(self.port.store.borrow().life(), hash_word(self.state.0.into()))
    }

    /// How many blocks a batch may ask for in this way.
    pub(crate) fn ahead_blocks_max(&self) -> usize {
        self.port.ahead_blocks_max
    }

    /// See [`Port::arrivals`].
    pub(crate) fn arrivals(&self) -> u64 {
        self.port.arrivals()
    }

    /// Up to which epoch the store has what was frozen.
    #[inline]
    pub(crate) fn flushed(&self) -> u64 {
        self.port.flushed()
    }

    /// By how much, in bytes, a table may grow before it says so.
    pub(crate) fn slack_bytes(&self) -> usize {
        self.port.active_bytes_max / 64
    }

    /// Says how large the table is, in bytes.
    pub(crate) fn report(&self, bytes: usize) {
        self.port.tables.borrow_mut()[self.table].bytes = bytes;
    }

    /// Has something dropped by a helper thread, because it is large. Until then it counts as frozen.
    pub(crate) fn discard(&self, garbage: Garbage) {
        self.port.garbage.borrow_mut().push(garbage);
    }

    /// The same for a table, a key group at a time.
    pub(crate) fn discard_table<K: Key, V: Send + 'static>(&self, table: KeyedTable<K, V>) {
        self.discard(table.into_groups().map(|group| Box::new(group) as Box<dyn Send>).collect());
    }

    /// As `Store::get_batch`; an error is the core's fault, and answers are then missing.
    pub(crate) fn get_batch(&self, keys: &KeyBatch, answer: impl FnMut(usize, Answer<'_>)) {
        if let Err(error) = self.port.store.borrow_mut().get_batch(keys, answer) {
            self.fail(error);
        }
    }

    /// As `Store::get_waiting`.
    #[cold]
    pub(crate) fn get_waiting(&self, keys: &KeyBatch, answer: impl FnMut(usize, Answer<'_>)) {
        self.port.blocking_reads.set(self.port.blocking_reads.get() + 1);
        if let Err(error) = self.port.store.borrow_mut().get_waiting(keys, answer) {
            self.fail(error);
        }
    }

    #[cold]
    pub(crate) fn fail(&self, error: impl Into<Error>) {
        self.port.fail(error);
    }

    /// A value of the state cannot be read or written.
    #[cold]
    pub(crate) fn fail_value(&self, source: crate::ValueError) {
        self.fail(Error::Value { state: self.name.clone(), source });
    }
}

impl Drop for TablePort {
    fn drop(&mut self) {
        let mut tables = self.port.tables.borrow_mut();
        let table = &mut tables[self.table];
        (table.bytes, table.is_gone) = (0, true);
        let owes = table.epoch < self.port.epoch();
        drop(tables);
        if owes {
            self.port.hand_over(None, Vec::new());
        }
    }
}
