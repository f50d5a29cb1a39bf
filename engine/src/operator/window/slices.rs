//! Tumbling and sliding windows over accumulators, in event time, with the default trigger.
//!
//! ```text
//!   slices:    │ 0 k→acc │ 2 k→acc │ 4 k→acc │ 6 k→acc │ …      a table each, oldest first
//!   window         [2 ───────────────────── 8)                 fires: its slices merged, key by key
//! ```
//!
//! A record costs one probe, in one slice. A window that is one slice fires straight from its table; another one is put together
//! in a table that is used again for the next. A slice goes with the last window that needs it.
//!
//! Invariants:
//! - a window fires once when the watermark passes its last millisecond, then again for each late record that it still accepts;
//! - windows fire in the order of their ends;
//! - a slice is kept as long as a window that holds it can still fire.

use std::collections::VecDeque;

use thalweg_state::heap::Table;

use super::combiner::MISSING_TIMESTAMP;
use crate::api::aggregate::{Aggregate, Emit};
use crate::api::record::{Key, Record};
use crate::data_plane::SubtaskContext;
use crate::data_plane::subtask::Guard;
use crate::operator::output::{Control, Output, Stage};
use crate::operator::stateless::pass_through;
use crate::operator::{Budget, OneInput, Operator, Received};
use crate::time::window::{Slicing, TimeWindow};
use crate::time::{NO_TIMESTAMP, Timestamp};

/// Table slots walked between two looks at the budget.
const SCAN_SLOTS: usize = 256;
/// Tables kept for slices to come.
const SPARE_TABLES: usize = 4;

/// One slice.
struct Slice<K, Acc> {
    number: i64,
    table: Table<K, Acc>,
}

/// The window being fired, and how far that is: places in tables, which stay valid while the tables change.
enum Firing {
    /// Slice `number` is being merged into the result.
    Merge { window: TimeWindow, number: i64, from: u64 },
    /// The result is being emitted; of a window of one slice, from the slice itself.
    Emit { window: TimeWindow, from: u64 },
}

/// See the [module](self).
pub(crate) struct Slices<K, A, E, N, Acc> {
    slicing: Slicing,
    lateness: i64,
    aggregate: A,
    emit: E,
    /// Oldest first, without gaps closed: a slice without records is not there.
    slices: VecDeque<Slice<K, Acc>>,
    spare: Vec<Table<K, Acc>>,
    /// The window being put together.
    merged: Table<K, Acc>,
    firing: Option<Firing>,
    /// Windows that end at or before it have fired.
    fired: Timestamp,
    watermark: Timestamp,
    late_dropped: u64,
    guard: Guard,
    next: N,
}

pass_through!(Slices<K, A, E, N, Acc>);

impl<K: Key, A, E, N: Stage, Acc: 'static> Slices<K, A, E, N, Acc> {
    pub(crate) fn new(
        cx: &SubtaskContext,
        slicing: Slicing,
        lateness: i64,
        aggregate: A,
        emit: E,
        next: N,
    ) -> Self {
        Self {
            slicing,
            lateness,
            aggregate,
            emit,
            slices: VecDeque::new(),
            spare: Vec::new(),
            merged: Table::new(),
            firing: None,
            fired: i64::MIN,
            watermark: i64::MIN,
            late_dropped: 0,
            guard: cx.guard(),
            next,
        }
    }

    /// The place of slice `number`, or where it belongs. Records come mostly in order, so the search begins at the end.
    #[inline]
    fn place(&self, number: i64) -> Result<usize, usize> {
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
            if last.is_some_and(|window| window.end > self.fired || !self.is_closed(window)) {
                return;
            }
            let slice = self.slices.pop_front().expect("there is a first one");
            self.recycle(slice.table);
        }
    }

    fn recycle(&mut self, mut table: Table<K, Acc>) {
        if self.spare.len() < SPARE_TABLES {
            table.clear();
            self.spare.push(table);
        }
    }
}

impl<K: Key, A, E, N, Acc: Record + Clone> Slices<K, A, E, N, Acc>
where
    A: Merge<Acc>,
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    /// Adds an accumulator to the slice `number`.
    #[inline]
    fn add(&mut self, number: i64, record: &Received<'_, K, Acc>) {
        let place = match self.place(number) {
            Ok(place) => place,
            Err(place) => {
                let table = self.spare.pop().unwrap_or_else(Table::new);
                self.slices.insert(place, Slice { number, table });
                place
            }
        };
        let mut other = Some(Acc::unarchive(record.value));
        let make = || (<K as Record>::unarchive(record.key), other.take().expect("it is taken once"));
        let table = &mut self.slices[place].table;
        let (_, acc, _) = table.entry(record.key_hash, |k| k.eq_archived(record.key), make);
        if let Some(other) = other {
            self.aggregate.merge(acc, other);
        }
    }

    /// A record came for windows of which some have fired: those that still take records fire again, for its key alone.
    #[cold]
    fn fire_late(&mut self, number: i64, record: &Received<'_, K, Acc>) {
        let mut end = i64::MIN;
        while let Some(window) = self.slicing.first_window(number, end) {
            end = window.end.saturating_add(1);
            if window.max_timestamp() > self.watermark {
                return; // This one and those after it fire in their time.
            }
            if self.is_closed(window) {
                continue;
            }
            let mut result: Option<(K, Acc)> = None;
            for slice in self.slices.iter().filter(|s| self.slicing.slices_of(window).contains(&s.number)) {
                if let Some((key, acc)) = slice.table.get(record.key_hash, |k| k.eq_archived(record.key)) {
                    match &mut result {
                        Some((_, sum)) => self.aggregate.merge(sum, acc.clone()),
                        None => result = Some((key.clone(), acc.clone())),
                    }
                }
            }
            if let Some((key, acc)) = result {
                self.next.collect(&self.emit.emit(&key, window, &acc), window.max_timestamp());
            }
        }
    }

    /// Goes on with the window being fired. Returns whether it is done.
    fn fire(&mut self, budget: &mut Budget) -> bool {
        loop {
            self.firing = match self.firing.take() {
                None => return true,
                Some(Firing::Merge { window, number, from }) => Some(self.merge_slice(window, number, from)),
                Some(Firing::Emit { window, from }) => match self.emit_some(window, from) {
                    Some(from) => Some(Firing::Emit { window, from }),
                    None => {
                        self.fired = window.end;
                        self.merged.clear();
                        self.clean();
                        None
                    }
                },
            };
            if !budget.spend_many(&self.guard, SCAN_SLOTS as u32 / 8) {
                return self.firing.is_none();
            }
        }
    }

    /// Merges some of a slice into the result, or goes to the next slice of the window.
    fn merge_slice(&mut self, window: TimeWindow, number: i64, from: u64) -> Firing {
        if !self.slicing.slices_of(window).contains(&number) {
            return Firing::Emit { window, from: 0 };
        }
        let Ok(place) = self.place(number) else {
            return Firing::Merge { window, number: number + 1, from: 0 };
        };
        let Self { slices, merged, aggregate, .. } = self;
        let rest = slices[place].table.scan(from, SCAN_SLOTS, |key_hash, key, acc| {
            let (_, sum, is_new) = merged.entry(key_hash, |k| k == key, || (key.clone(), acc.clone()));
            if !is_new {
                aggregate.merge(sum, acc.clone());
            }
        });
        match rest {
            Some(from) => Firing::Merge { window, number, from },
            None => Firing::Merge { window, number: number + 1, from: 0 },
        }
    }

    /// Emits some of the result. Returns where to go on.
    fn emit_some(&mut self, window: TimeWindow, from: u64) -> Option<u64> {
        let one_slice = self.is_one_slice().then(|| self.place(self.slicing.slice_of(window.start)));
        let Self { slices, merged, emit, next, .. } = self;
        let table = match one_slice {
            Some(place) => &mut slices[place.ok()?].table,
            None => merged,
        };
        table.scan(from, SCAN_SLOTS, |_, key, acc| {
            next.collect(&emit.emit(key, window, acc), window.max_timestamp())
        })
    }
}

/// Puts two accumulators together: [`Aggregate`] without the type of its records.
pub trait Merge<Acc>: Clone + Send + Sync + 'static {
    fn merge(&self, acc: &mut Acc, other: Acc);
}

/// An aggregate, as what is behind the exchange knows it.
pub struct MergeOf<A, T>(A, std::marker::PhantomData<fn(T)>);

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
    #[inline]
    fn merge(&self, acc: &mut A::Acc, other: A::Acc) {
        self.0.merge(acc, other);
    }
}

impl<K: Key, A, E, N, Acc: Record + Clone> Operator for Slices<K, A, E, N, Acc>
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
            self.firing = Some(if self.is_one_slice() {
                Firing::Emit { window, from: 0 }
            } else {
                Firing::Merge { window, number: self.slicing.slices_of(window).start, from: 0 }
            });
        }
        // Also those that had no records: if some come yet, they fire at once and not at the next watermark.
        self.fired = self.fired.max(watermark.saturating_add(1));
        self.clean();
        true
    }
}

impl<K: Key, A, E, N, Acc: Record + Clone> OneInput<K, Acc> for Slices<K, A, E, N, Acc>
where
    A: Merge<Acc>,
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    #[inline]
    fn prefetch(&self, key_hash: u64, timestamp: Timestamp) {
        if let Ok(place) = self.place(self.slicing.slice_of(timestamp)) {
            self.slices[place].table.prefetch(key_hash);
        }
    }

    #[inline]
    fn process(&mut self, record: Received<'_, K, Acc>) {
        if record.timestamp == NO_TIMESTAMP {
            return self.guard.fail(MISSING_TIMESTAMP);
        }
        let number = self.slicing.slice_of(record.timestamp);
        if self.slicing.end_of(number).saturating_sub(1) > self.watermark
            && self.slicing.slide <= self.slicing.size
        {
            return self.add(number, &record); // By far the most: no window of the slice has fired.
        }
        match self.slicing.last_window(number) {
            Some(window) if !self.is_closed(window) => {
                self.add(number, &record);
                self.fire_late(number, &record);
            }
            Some(_) => self.late_dropped += 1,
            None => {} // Between two windows.
        }
    }
}
