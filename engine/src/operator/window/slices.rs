//! Tumbling and sliding windows over accumulators, in event time, with the default trigger.
//!
//! ```text
//!   slices:    │ 0 k→acc │ 2 k→acc │ 4 k→acc │ 6 k→acc │ …      a table each, oldest first
//!   window         [2 ───────────────────── 8)                 fires: its slices merged, key by key
//! ```
//!
//! A record costs one probe, in one slice. A window that is one slice fires straight from its table. Another one is put together
//! in a table beside: if the aggregate can be inverted, what left the window is taken out of the result before and what entered it
//! is merged; if not, all its slices are merged anew. A slice goes with the last window that needs it.
//!
//! An aggregate to which the order of records matters has slices that are windows, and a record costs a probe in each of its own.
//!
//! Where state may be larger than memory, slices that are frozen go to files as operands: records are added to fresh tables, and nothing
//! is read for it. A window of which a part is in files is put together when it fires, one key group after the other.
//!
//! Invariants:
//! - a window fires once when the watermark passes its last millisecond, then again for each late record that it still accepts;
//! - windows fire in the order of their ends;
//! - a slice is kept as long as a window that holds it can still fire.

mod files;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use thalweg_state::heap::Table;
use thalweg_state::{HashSpread, KeyGroup, KeyGroupRange, MaxParallelism, StateValue};

use self::files::Files;
use super::combiner::MISSING_TIMESTAMP;
use crate::api::aggregate::{Aggregate, Emit};
use crate::api::record::{Key, Record};
use crate::data_plane::SubtaskContext;
use crate::data_plane::subtask::Guard;
use crate::data_plane::switch::LateRecords;
use crate::error::Result;
use crate::operator::output::{Control, Output, Stage};
use crate::operator::stateless::pass_through;
use crate::operator::{Budget, CACHED_STATE_BYTES, OneInput, Operator, Received};
use crate::time::window::{Slicing, TimeWindow};
use crate::time::{NO_TIMESTAMP, Timestamp};

/// Table slots walked between two looks at the budget.
const SCAN_SLOTS: usize = 256;
/// Tables kept for slices to come, whatever their size.
const SPARE_TABLES: usize = 4;
/// More are kept as long as all of them take no more than this: a source that runs ahead of another opens many slices.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// One slice.
struct Slice<K, Acc> {
    number: i64,
    table: Table<K, Acc>,
    /// What was frozen of it, each with its epoch, the oldest first: until files have it.
    frozen: Vec<(u64, Arc<Table<K, Acc>>)>,
    /// Whether files have something of it.
    is_in_files: bool,
}

impl<K, Acc> Slice<K, Acc> {
    fn new(number: i64, table: Table<K, Acc>) -> Self {
        Self { number, table, frozen: Vec::new(), is_in_files: false }
    }

    /// Whether its table is not all of it.
    #[inline]
    fn is_spilled(&self) -> bool {
        self.is_in_files || !self.frozen.is_empty()
    }

    /// Whether files have something of it, which have what was frozen up to the epoch `flushed`.
    fn is_in_files(&self, flushed: u64) -> bool {
        self.is_in_files || self.frozen.first().is_some_and(|(epoch, _)| *epoch <= flushed)
    }

    /// What files do not have, the oldest first.
    fn tables(&self, flushed: u64) -> impl Iterator<Item = &Table<K, Acc>> {
        let frozen = self.frozen.iter().filter(move |(epoch, _)| *epoch > flushed);
        frozen.map(|(_, table)| &**table).chain([&self.table])
    }
}

/// The window being fired, and how far that is: places in tables, which stay valid while the tables change.
enum Firing {
    /// What left the window is being taken out of the result.
    Retract { window: TimeWindow, from: u64 },
    /// What entered the window is being merged into the result.
    Merge { window: TimeWindow, from: u64 },
    /// The result is being emitted; of a window of one slice, from the slice itself.
    Emit { window: TimeWindow, from: u64 },
    /// The window is put together and emitted by key group, as a part of it is not in memory.
    Gather { window: TimeWindow, group: u16 },
}

/// The result of a window that is put together from several slices.
struct Running<K, Acc> {
    /// With the number of slices that each key comes from.
    table: Table<K, (Acc, u32)>,
    /// The slices that are in it, by number.
    slices: Range<i64>,
}

/// See the [module](self).
pub(crate) struct Slices<K, A, E, N, Acc> {
    /// Where slices go when memory is short; none on the heap.
    files: Option<Files<K, Acc>>,
    key_groups: KeyGroupRange,
    max_parallelism: MaxParallelism,
    slicing: Slicing,
    /// From key hashes to positions in the tables.
    spread: HashSpread,
    lateness: i64,
    aggregate: A,
    emit: E,
    /// Oldest first, without gaps closed: a slice without records is not there.
    slices: VecDeque<Slice<K, Acc>>,
    spare: Vec<Table<K, Acc>>,
    running: Running<K, Acc>,
    firing: Option<Firing>,
    /// Windows that end at or before it have fired.
    fired: Timestamp,
    watermark: Timestamp,
    late_dropped: LateRecords,
    guard: Guard,
    next: N,
}

pass_through!(Slices<K, A, E, N, Acc>);

impl<K: Key, A: Merge<Acc>, E, N: Stage, Acc: StateValue> Slices<K, A, E, N, Acc> {
    pub(crate) fn new(
        cx: &SubtaskContext,
        slicing: Slicing,
        lateness: i64,
        aggregate: A,
        emit: E,
        next: N,
    ) -> Result<Self> {
        let merge = aggregate.clone();
        let store = cx.backend().windows("slices", move |sum, other| merge.merge(sum, other));
        let files = store.map_err(|error| cx.refused(error))?.map(Files::new);
        Ok(Self {
            files,
            key_groups: cx.key_groups(),
            max_parallelism: cx.max_parallelism,
            slicing,
            spread: HashSpread::new(cx.key_groups(), cx.max_parallelism),
            lateness,
            aggregate,
            emit,
            slices: VecDeque::new(),
            spare: Vec::new(),
            running: Running { table: Table::new(), slices: 0..0 },
            firing: None,
            fired: i64::MIN,
            watermark: i64::MIN,
            late_dropped: cx.late_records(),
            guard: cx.guard(),
            next,
        })
    }

    /// The place of slice `number`, or where it belongs. Records come mostly in order, so the search begins at the end.
    #[inline]
    fn place(&self, number: i64) -> std::result::Result<usize, usize> {
        for (place, slice) in self.slices.iter().enumerate().rev() {
            if slice.number <= number {
                return if slice.number == number { Ok(place) } else { Err(place + 1) };
            }
        }
        Err(0)
    }

    #[inline]
    fn is_one_slice(&self) -> bool {
        self.slicing.size == self.slicing.slice
    }

    /// Whether a window takes no more records.
    fn is_closed(&self, window: TimeWindow) -> bool {
        window.max_timestamp().saturating_add(self.lateness) <= self.watermark
    }

    /// The next window to fire that ends at or before `watermark` and has records.
    fn next_window(&self, watermark: Timestamp) -> Option<TimeWindow> {
        let from = self.fired.saturating_add(1);
        let window = self
            .slices
            .iter()
            .filter_map(|slice| self.slicing.first_window(slice.number, from))
            .min_by_key(|w| w.end)?;
        (window.max_timestamp() <= watermark).then_some(window)
    }

    /// Lets slices go that no open window holds.
    fn clean(&mut self) {
        while let Some(slice) = self.slices.front() {
            let last = self.slicing.last_window(slice.number);
            let is_needed = last.is_some_and(|window| window.end > self.fired || !self.is_closed(window));
            if is_needed || self.running.slices.contains(&slice.number) {
                return;
            }
            let slice = self.slices.pop_front().expect("there is a first one");
            if let Some(files) = self.files.as_mut().filter(|_| slice.is_spilled()) {
                files.store.remove(slice.number);
            }
            self.recycle(slice.table);
        }
    }

    fn recycle(&mut self, mut table: Table<K, Acc>) {
        let spare_bytes = self.spare.iter().map(Table::memory_bytes).sum::<usize>() + table.memory_bytes();
        if self.spare.len() < SPARE_TABLES || spare_bytes <= SPARE_BYTES_MAX {
            table.clear();
            self.spare.push(table);
        }
    }
}

impl<K: Key, A, E, N, Acc: Record + StateValue> Slices<K, A, E, N, Acc>
where
    A: Merge<Acc>,
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    /// Adds an accumulator to the slice `number`. Returns whether the slice had none of its key.
    #[inline]
    fn add(&mut self, number: i64, record: &Received<'_, K, Acc>) -> bool {
        let place = match self.place(number) {
            Ok(place) => place,
            Err(place) => {
                let table = self.spare.pop().unwrap_or_default();
                self.slices.insert(place, Slice::new(number, table));
                place
            }
        };
        let mut other = Some(Acc::unarchive(record.value));
        let make = || (<K as Record>::unarchive(record.key), other.take().expect("it is taken once"));
        let table = &mut self.slices[place].table;
        let (_, acc, is_new) =
            table.entry(self.spread.position(record.key_hash), |k| k.eq_archived(record.key), make);
        if let Some(other) = other {
            self.aggregate.merge(acc, other);
        }
        is_new
    }

    /// Adds an accumulator to each of its windows that still takes records, in Flink's order.
    fn add_to_windows(&mut self, record: &Received<'_, K, Acc>) {
        let mut is_late = record.timestamp.wrapping_add(self.lateness) <= self.watermark; // Java's sum wraps.
        for number in self.slicing.slices_at(record.timestamp).rev() {
            let end = self.slicing.end_of(number);
            let window = TimeWindow { start: self.slicing.start_of(number), end };
            if self.is_closed(window) {
                continue;
            }
            is_late = false;
            if window.max_timestamp() > self.watermark {
                self.add(number, record);
            } else {
                self.add_late(number, record);
            }
        }
        if is_late {
            self.late_dropped.count_one();
        }
    }

    /// Adds an accumulator to a slice that is in windows which have fired.
    #[cold]
    fn add_late(&mut self, number: i64, record: &Received<'_, K, Acc>) {
        let is_new = self.add(number, record);
        if self.running.slices.contains(&number) {
            let key = <K as Record>::unarchive(record.key);
            self.running.merge(
                &self.aggregate,
                self.spread.position(record.key_hash),
                &key,
                Acc::unarchive(record.value),
                is_new,
            );
        }
        self.fire_late(number, record);
    }

    /// A record came for windows of which some have fired: those that still take records fire again, for its key alone, and in
    /// Flink's order, as a window behind this one may tell.
    fn fire_late(&mut self, number: i64, record: &Received<'_, K, Acc>) {
        for window in self.slicing.windows_of(number) {
            if window.max_timestamp() > self.watermark {
                continue; // It fires in its time.
            }
            if self.is_closed(window) {
                return; // This one and those before it.
            }
            let key = <K as Record>::unarchive(record.key);
            let position = self.spread.position(record.key_hash);
            let flushed = self.files.as_ref().map_or(0, |files| files.store.flushed());
            let mut result: Option<Acc> = None;
            let mut add = |acc: Acc| match &mut result {
                Some(sum) => self.aggregate.merge(sum, acc),
                None => result = Some(acc),
            };
            for slice in self.slices.iter().filter(|s| self.slicing.slices_of(window).contains(&s.number)) {
                if let Some(files) = self.files.as_mut().filter(|_| slice.is_in_files(flushed)) {
                    files
                        .store
                        .get_waiting(slice.number, &key, record.key_hash)
                        .into_iter()
                        .for_each(&mut add);
                }
                for table in slice.tables(flushed) {
                    table.get(position, |k| *k == key).into_iter().for_each(|(_, acc)| add(acc.clone()));
                }
            }
            if let Some(acc) = result {
                self.next.collect(&self.emit.emit(&key, window, &acc), window.max_timestamp());
            }
        }
    }

    /// Goes on with the window being fired. Returns whether it is done.
    fn fire(&mut self, budget: &mut Budget) -> bool {
        loop {
            self.firing = match self.firing.take() {
                None => return true,
                Some(Firing::Retract { window, from }) => Some(self.retract_some(window, from)),
                Some(Firing::Merge { window, from }) => Some(self.merge_some(window, from)),
                Some(Firing::Emit { window, from }) => match self.emit_some(window, from) {
                    Some(from) => Some(Firing::Emit { window, from }),
                    None => self.end_window(window),
                },
                Some(Firing::Gather { window, group }) if group >= self.key_groups.end => {
                    self.end_window(window)
                }
                Some(Firing::Gather { window, group }) => {
                    if !self.gather(window, KeyGroup(group)) {
                        self.firing = Some(Firing::Gather { window, group });
                        return false;
                    }
                    Some(Firing::Gather { window, group: group + 1 })
                }
            };
            if !budget.spend_many(&self.guard, SCAN_SLOTS as u32 / 8) {
                return self.firing.is_none();
            }
        }
    }

    fn end_window(&mut self, window: TimeWindow) -> Option<Firing> {
        self.fired = window.end;
        if self.running.slices.is_empty() {
            self.running.clear(); // Its slices were frozen while it was emitted.
        }
        self.clean();
        None
    }

    /// How a window begins to fire.
    fn begin(&mut self, window: TimeWindow) -> Firing {
        let wanted = self.slicing.slices_of(window);
        if self.slices.iter().any(|slice| slice.is_spilled() && wanted.contains(&slice.number)) {
            return Firing::Gather { window, group: self.key_groups.start };
        }
        if self.is_one_slice() {
            return Firing::Emit { window, from: 0 };
        }
        if !A::INVERTIBLE {
            self.running.clear();
        }
        Firing::Retract { window, from: 0 }
    }

    /// Takes some of the oldest slice in the result out of it, if the window does not hold that slice.
    fn retract_some(&mut self, window: TimeWindow, from: u64) -> Firing {
        let wanted = self.slicing.slices_of(window);
        let first = self.running.slices.start;
        if self.running.slices.is_empty() || first >= wanted.start {
            if self.running.slices.is_empty() {
                self.running.slices = wanted.start..wanted.start;
            }
            return Firing::Merge { window, from: 0 };
        }
        if let Ok(place) = self.place(first) {
            let Self { slices, running, aggregate, .. } = self;
            let rest = slices[place].table.scan(from, SCAN_SLOTS, |key_hash, key, acc| {
                running.table.change_or_remove(
                    key_hash,
                    |k| k == key,
                    |(sum, count)| {
                        *count -= 1;
                        let stays = *count > 0;
                        if stays {
                            aggregate.retract(sum, acc);
                        }
                        stays
                    },
                );
            });
            if let Some(from) = rest {
                return Firing::Retract { window, from };
            }
        }
        self.running.slices.start += 1;
        Firing::Retract { window, from: 0 }
    }

    /// Merges some of the next slice of the window into the result.
    fn merge_some(&mut self, window: TimeWindow, from: u64) -> Firing {
        let next = self.running.slices.end;
        if next >= self.slicing.slices_of(window).end {
            return Firing::Emit { window, from: 0 };
        }
        if let Ok(place) = self.place(next) {
            let Self { slices, running, aggregate, .. } = self;
            let rest = slices[place].table.scan(from, SCAN_SLOTS, |key_hash, key, acc| {
                running.merge(aggregate, key_hash, key, acc.clone(), true);
            });
            if let Some(from) = rest {
                return Firing::Merge { window, from };
            }
        }
        self.running.slices.end += 1;
        Firing::Merge { window, from: 0 }
    }

    /// Emits some of the result. Returns where to go on.
    fn emit_some(&mut self, window: TimeWindow, from: u64) -> Option<u64> {
        let one_slice = self.is_one_slice().then(|| self.place(self.slicing.slice_of(window.start)));
        let Self { slices, running, emit, next, .. } = self;
        let at = window.max_timestamp();
        match one_slice {
            Some(place) => {
                let table = &mut slices[place.ok()?].table;
                table.scan(from, SCAN_SLOTS, |_, key, acc| next.collect(&emit.emit(key, window, acc), at))
            }
            None => {
                let table = &mut running.table;
                table
                    .scan(from, SCAN_SLOTS, |_, key, (acc, _)| next.collect(&emit.emit(key, window, acc), at))
            }
        }
    }
}

impl<K, Acc> Running<K, Acc> {
    fn clear(&mut self) {
        self.table.clear();
        self.slices = 0..0;
    }
}

impl<K: Key, Acc> Running<K, Acc> {
    /// Merges an accumulator; `new_slice` when no other of the same key and slice has been merged.
    #[inline]
    fn merge<A: Merge<Acc>>(&mut self, aggregate: &A, key_hash: u64, key: &K, acc: Acc, new_slice: bool) {
        let mut acc = Some(acc);
        let make = || (key.clone(), (acc.take().expect("it is taken once"), 0));
        let (_, (sum, count), _) = self.table.entry(key_hash, |k| k == key, make);
        *count += u32::from(new_slice);
        if let Some(acc) = acc {
            aggregate.merge(sum, acc);
        }
    }
}

/// Puts two accumulators together: [`Aggregate`] without the type of its records.
pub trait Merge<Acc>: Clone + Send + Sync + 'static {
    /// See [`Aggregate::INVERTIBLE`].
    const INVERTIBLE: bool;
    /// See [`Aggregate::COMMUTATIVE`].
    const COMMUTATIVE: bool;
    /// See [`Aggregate::merge`].
    fn merge(&self, acc: &mut Acc, other: Acc);
    /// See [`Aggregate::retract`].
    fn retract(&self, acc: &mut Acc, other: &Acc);
}

/// An aggregate, as what is behind the exchange knows it.
pub(crate) struct MergeOf<A, T>(A, std::marker::PhantomData<fn(T)>);

impl<A, T> MergeOf<A, T> {
    pub(crate) fn new(aggregate: A) -> Self {
        Self(aggregate, std::marker::PhantomData)
    }
}

impl<A: Clone, T> Clone for MergeOf<A, T> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<T: 'static, A: Aggregate<T>> Merge<A::Acc> for MergeOf<A, T> {
    const INVERTIBLE: bool = A::INVERTIBLE;
    const COMMUTATIVE: bool = A::COMMUTATIVE;

    #[inline]
    fn merge(&self, acc: &mut A::Acc, other: A::Acc) {
        self.0.merge(acc, other);
    }

    #[inline]
    fn retract(&self, acc: &mut A::Acc, other: &A::Acc) {
        self.0.retract(acc, other);
    }
}

impl<K: Key, A, E, N, Acc: Record + StateValue> Operator for Slices<K, A, E, N, Acc>
where
    A: Merge<Acc>,
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    fn advance(&mut self, watermark: Timestamp, budget: &mut Budget) -> bool {
        self.watermark = watermark;
        loop {
            if !self.fire(budget) {
                return false;
            }
            let Some(window) = self.next_window(watermark) else { break };
            self.firing = Some(self.begin(window));
        }
        // Also those that had no records: if some come yet, they fire at once and not at the next watermark.
        self.fired = self.fired.max(watermark.saturating_add(1));
        self.clean();
        true
    }

    fn maintain(&mut self) {
        self.maintain_files();
    }
}

impl<K: Key, A, E, N, Acc: Record + StateValue> OneInput<K, Acc> for Slices<K, A, E, N, Acc>
where
    A: Merge<Acc>,
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    fn looks_ahead(&self) -> bool {
        self.slices.iter().map(|slice| slice.table.memory_bytes()).sum::<usize>() > CACHED_STATE_BYTES
    }

    #[inline]
    fn prefetch(&self, key_hash: u64, timestamp: Timestamp) {
        if let Ok(place) = self.place(self.slicing.slice_of(timestamp)) {
            self.slices[place].table.prefetch(self.spread.position(key_hash));
        }
    }

    #[inline]
    fn process(&mut self, record: Received<'_, K, Acc>) {
        if record.timestamp == NO_TIMESTAMP {
            return self.guard.fail(MISSING_TIMESTAMP);
        }
        if self.slicing.is_whole() {
            return self.add_to_windows(&record);
        }
        let number = self.slicing.slice_of(record.timestamp);
        if self.slicing.end_of(number).saturating_sub(1) > self.watermark
            && self.slicing.slide <= self.slicing.size
        {
            self.add(number, &record); // By far the most: no window of the slice has fired.
            return;
        }
        match self.slicing.last_window(number) {
            Some(window) if !self.is_closed(window) => self.add_late(number, &record),
            Some(_) => self.late_dropped.count_one(),
            // Between two windows, and late as well. Java's sum wraps.
            None if record.timestamp.wrapping_add(self.lateness) <= self.watermark => {
                self.late_dropped.count_one();
            }
            None => {}
        }
    }
}
