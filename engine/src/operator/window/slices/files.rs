//! Slices in files: how they go there, whatever is firing, and how a window is put together of which a part is there.

use std::sync::Arc;

use thalweg_state::heap::Table;
use thalweg_state::{HashSpread, KeyGroup, StateValue, WindowStore};

use super::{Firing, Merge, Slice, Slices};
use crate::api::aggregate::Emit;
use crate::api::record::{Key, Record};
use crate::operator::output::Output;
use crate::time::window::TimeWindow;

/// What is in files of slices, and what is needed to read it.
pub(super) struct Files<K, Acc> {
    pub(super) store: WindowStore<K, Acc>,
    /// What was read of a key group.
    found: Vec<(u64, K, Acc)>,
    /// The sum of a key group.
    sum: Table<K, Acc>,
    /// Something is missing that was asked for when there had been so many arrivals.
    waits_since: Option<u64>,
    /// How often the key group at hand was not in memory as a whole.
    rounds: u32,
}

/// After so many rounds a key group is read although the core must wait for it: a sign that memory does not hold what it takes, and
/// better than to bring the same parts in for ever.
const ROUNDS_MAX: u32 = 8;

/// How many key groups are asked for ahead, when the one that is needed is not in memory.
const GROUPS_AHEAD: u16 = 4;

impl<K: Key, Acc: StateValue> Files<K, Acc> {
    pub(super) fn new(store: WindowStore<K, Acc>) -> Self {
        Self { store, found: Vec::new(), sum: Table::new(), waits_since: None, rounds: 0 }
    }
}

impl<K: Key, A, E, N, Acc: Record + StateValue> Slices<K, A, E, N, Acc>
where
    A: Merge<Acc>,
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    /// See [`Operator::maintain`](crate::operator::Operator::maintain).
    pub(super) fn maintain_files(&mut self) {
        let Some(files) = &self.files else { return };
        let (flushed, wanted) = (files.store.flushed(), files.store.wants_freeze());
        if self.slices.iter().any(|slice| slice.frozen.first().is_some_and(|(epoch, _)| *epoch <= flushed)) {
            self.release(flushed);
        }
        if let Some(epoch) = wanted {
            self.freeze(epoch);
        }
        let bytes = self.freezable_bytes();
        if let Some(files) = &self.files {
            files.store.report(bytes);
        }
    }

    /// Puts the results of a key group together and emits them. Returns whether that could be done: if not, parts of files have been
    /// asked for.
    pub(super) fn gather(&mut self, window: TimeWindow, group: KeyGroup) -> bool {
        let Self { slicing, slices, files, aggregate, emit, next, spread, .. } = self;
        let (key_groups, max) = (self.key_groups, self.max_parallelism);
        let Some(Files { store, found, sum, waits_since, rounds }) = files else { return true };
        if *waits_since == Some(store.arrivals()) {
            return false;
        }
        let (wanted, flushed) = (slicing.slices_of(window), store.flushed());
        let in_window = || slices.iter().filter(|slice| wanted.contains(&slice.number));
        let mut is_complete = true;
        found.clear();
        for ahead in 0..=GROUPS_AHEAD {
            let group = KeyGroup(group.0 + ahead);
            if group.0 >= key_groups.end || (ahead > 0 && is_complete) {
                break;
            }
            for slice in in_window().filter(|slice| slice.is_in_files(flushed)) {
                let start = found.len();
                is_complete &= store.scan(slice.number, group, *rounds >= ROUNDS_MAX, found);
                if ahead > 0 {
                    found.truncate(start);
                }
                // Records of a slice come in the order of time: what is in files first.
                if is_complete && slicing.is_whole() {
                    add_all(sum, aggregate, spread, found.drain(..));
                }
            }
        }
        if !is_complete {
            sum.clear();
            *waits_since = Some(store.arrivals());
            *rounds += 1;
            return false;
        }
        (*waits_since, *rounds) = (None, 0);
        add_all(sum, aggregate, spread, found.drain(..));
        let (from, to) = spread.positions_of(group, key_groups, max);
        for slice in in_window() {
            for table in slice.tables(flushed) {
                for (position, key, acc) in table.between(from, to) {
                    add_one(sum, aggregate, position, key, acc.clone());
                }
            }
        }
        let at = window.max_timestamp();
        for (key, acc) in sum.iter() {
            next.collect(&emit.emit(key, window, acc), at);
        }
        sum.clear();
        true
    }

    /// Freezes all slices, to be written; but for one that is being emitted.
    ///
    /// Without that one it is no snapshot: a barrier comes between windows, when none is being emitted.
    ///
    /// A window that is firing must not put it off: it may wait for credit of a subtask on this core, which takes no input before what
    /// is frozen has been written.
    #[cold]
    fn freeze(&mut self, epoch: u64) {
        let emitted = self.emitted_slice();
        let Some(files) = &mut self.files else { return };
        let mut frozen = Vec::new();
        for slice in self.slices.iter_mut().filter(|slice| is_freezable(slice, emitted)) {
            let table = Arc::new(std::mem::take(&mut slice.table));
            slice.frozen.push((epoch, table.clone()));
            frozen.push((slice.number, table));
        }
        files.store.hand_over(epoch, frozen);
        match self.firing {
            // Nothing of it was emitted yet.
            Some(Firing::Retract { window, .. } | Firing::Merge { window, .. }) => {
                self.firing = Some(Firing::Gather { window, group: self.key_groups.start });
                self.running.clear();
            }
            // The result is emitted to its end, and is none of the next window.
            Some(Firing::Emit { .. }) => self.running.slices = 0..0,
            Some(Firing::Gather { .. }) | None => self.running.clear(),
        }
    }

    /// The number of the slice that is being emitted, if it is one.
    fn emitted_slice(&self) -> Option<i64> {
        match self.firing {
            Some(Firing::Emit { window, .. }) if self.is_one_slice() => {
                Some(self.slicing.slice_of(window.start))
            }
            _ => None,
        }
    }

    /// What a freeze would let go, in bytes.
    fn freezable_bytes(&self) -> usize {
        let emitted = self.emitted_slice();
        let filled = self.slices.iter().filter(|slice| is_freezable(slice, emitted));
        let slices = filled.map(|slice| slice.table.memory_bytes()).sum::<usize>();
        // Without slices to be frozen, to freeze what runs would free nothing; nor while it is emitted.
        let is_running_kept = slices == 0 || matches!(self.firing, Some(Firing::Emit { .. }));
        slices + if is_running_kept { 0 } else { self.running.table.memory_bytes() }
    }

    /// Lets go what files have.
    #[cold]
    fn release(&mut self, flushed: u64) {
        let Some(files) = &self.files else { return };
        for slice in &mut self.slices {
            for (_, table) in slice.frozen.extract_if(.., |(epoch, _)| *epoch <= flushed) {
                slice.is_in_files = true;
                files.store.discard(Box::new(table));
            }
        }
    }
}

/// Whether a slice has something to be frozen.
fn is_freezable<K, Acc>(slice: &Slice<K, Acc>, emitted: Option<i64>) -> bool {
    !slice.table.is_empty() && emitted != Some(slice.number)
}

/// Merges accumulators with those of their keys.
fn add_all<K: Key, Acc, A: Merge<Acc>>(
    sum: &mut Table<K, Acc>,
    aggregate: &A,
    spread: &HashSpread,
    found: impl Iterator<Item = (u64, K, Acc)>,
) {
    for (hash, key, acc) in found {
        add_one(sum, aggregate, spread.position(hash), &key, acc);
    }
}

fn add_one<K: Key, Acc, A: Merge<Acc>>(
    sum: &mut Table<K, Acc>,
    aggregate: &A,
    position: u64,
    key: &K,
    acc: Acc,
) {
    let mut acc = Some(acc);
    let make = || (key.clone(), acc.take().expect("it is taken once"));
    let (_, total, _) = sum.entry(position, |k| k == key, make);
    if let Some(acc) = acc {
        aggregate.merge(total, acc);
    }
}
