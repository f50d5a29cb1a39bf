//! Timers over a store: those that were registered lately, and those that fall due next, are in memory.
//!
//! ```text
//!   register ──▶ fresh ── freeze ──▶ frozen ── flush ──▶ store          by (key group, time, key): what is due next is a range
//!                  │                   │                   │
//!                  │                   └──────┬────────────┘  what is before the horizon, a batch at a time
//!                  ▼                          ▼
//!   pop ◀──────── the earlier of both ◀──── loaded
//! ```
//!
//! What has fired goes from the store as a range of times for each key group, with the next freeze.
//!
//! On the heap, whose store is for snapshots only, all is in memory: `loaded` has what is in the store, and takes back what was frozen.
//!
//! Invariants:
//! - below are the frozen and the store. Of what is below each part, a frozen layer or a key group of the store, has a frontier: what is
//!   before it is in `loaded`, has been popped or was deleted;
//! - only what is before all frontiers, the horizon, is popped: so all that is before it is in memory, and comes out in order;
//! - no timer is in `fresh` and in `loaded`; one that is in `fresh` may be below too, behind a frontier;
//! - what is flushed by a freeze is just what there was at that freeze.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Timers;
use super::fired::{Fired, OwnedBytes};
use super::layer::{Deleted, Frozen, TimerLayer};
use super::wakes::Wakes;
use crate::lsm::KeyRange;
use crate::lsm::key::KeyBuf;
use crate::snapshot::ranges_of;
use crate::spill::TablePort;
use crate::{Error, Key, KeyError, KeyGroup, KeyGroupRange, MaxParallelism, ValueError};

/// How many timers are read of a key group at a time, in timers; more only if they have the same timestamp.
const CHUNK: usize = if cfg!(test) { 4 } else { 128 };
/// How many timestamps of a frozen layer are brought back at a time at least. All of them are looked at each time, so it is also an
/// eighth of them.
const FROZEN_CHUNK: usize = if cfg!(test) { 5 } else { 2048 };
/// How many timers that were just frozen stay in memory, and so need not be brought back.
const NEAR: usize = if cfg!(test) { 3 } else { 2048 };
/// More than this are not kept in `loaded` over a freeze.
const LOADED_MAX: usize = if cfg!(test) { 16 } else { 32_768 };
/// Key groups that wait for a part of a file at the same time.
const COLD_GROUPS_MAX: usize = 16;
/// After so many rounds without progress a key group is read although the core must wait for it: a sign that memory does not hold the
/// timers of one timestamp, and better than to bring the same parts in for ever.
const ROUNDS_MAX: u32 = 8;

/// How far something is known: before a time, or to the end of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Frontier {
    Before(i64),
    All,
}

impl Frontier {
    fn covers(self, at: i64) -> bool {
        self > Self::Before(at)
    }
}

/// See the [module](self).
pub(super) struct SpilledTimers<P> {
    port: TablePort,
    key_groups: KeyGroupRange,
    max: MaxParallelism,
    /// Nothing is read from the store.
    is_heap: bool,
    fresh: Timers<P>,
    loaded: Timers<P>,
    /// The newest first.
    frozen: VecDeque<FrozenPart<P>>,
    /// Since the last freeze. What is below of them does not count.
    deleted: Deleted<P>,
    fired: Fired<P>,
    /// The latest time of a timer that was popped and may be below still.
    fired_max: i64,
    /// Of the key groups in the store, by their place in `key_groups`.
    frontiers: Vec<Frontier>,
    /// The least frontier.
    horizon: Frontier,
    /// Something is missing that was asked for when there had been so many arrivals.
    cold_since: Option<u64>,
    /// How often nothing could be read of any key group that was asked for.
    rounds: u32,
    owned: OwnedBytes,
    key: KeyBuf,
}

struct FrozenPart<P> {
    epoch: u64,
    frozen: Arc<Frozen<P>>,
    frontier: Frontier,
}

impl<P: Wakes> SpilledTimers<P> {
    /// With what was restored of it, which the heap waits for.
    ///
    /// Errors: on the heap those of reading.
    pub(super) fn new(
        port: TablePort,
        key_groups: KeyGroupRange,
        max: MaxParallelism,
    ) -> Result<Self, Error> {
        let mut loaded = Timers::new();
        let is_heap = port.is_heap();
        if is_heap {
            port.keep_all();
        }
        if is_heap && port.has_files() {
            for range in ranges_of(port.state(), key_groups) {
                port.load(&range, |key, _| {
                    let (at, payload) = decode::<P>(key)?;
                    loaded.register(at, payload.key().key_hash(), &payload);
                    Ok(())
                })?;
            }
        }
        let start = if is_heap { Frontier::All } else { Frontier::Before(i64::MIN) };
        Ok(Self {
            port,
            key_groups,
            max,
            is_heap,
            fresh: Timers::new(),
            loaded,
            frozen: VecDeque::new(),
            deleted: Deleted::new(),
            fired: Fired::NONE,
            fired_max: i64::MIN,
            frontiers: vec![start; key_groups.len()],
            horizon: start,
            cold_since: None,
            rounds: 0,
            owned: OwnedBytes::default(),
            key: KeyBuf::default(),
        })
    }

    #[inline]
    pub(super) fn register(&mut self, at: i64, hash: u64, payload: &P) {
        if !self.loaded.contains(at, hash, payload) && self.fresh.register(at, hash, payload) {
            self.owned.sample(payload);
        }
    }

    pub(super) fn delete(&mut self, at: i64, hash: u64, payload: &P) {
        self.fresh.delete(at, hash, payload);
        let was_loaded = self.loaded.delete(at, hash, payload);
        if was_loaded || !self.horizon.covers(at) {
            self.deleted.insert(at, hash, payload.clone());
        }
    }

    #[inline]
    pub(super) fn next_at(&self) -> Option<i64> {
        let below = match self.horizon {
            Frontier::Before(at) => Some(at),
            Frontier::All => None,
        };
        [self.fresh.next_at(), self.loaded.next_at(), below].into_iter().flatten().min()
    }

    #[inline]
    pub(super) fn is_ready(&mut self, up_to: i64) -> bool {
        self.horizon.covers(up_to) || self.bring_in(up_to)
    }

    /// Moves the horizon past the next timer.
    #[cold]
    fn bring_in(&mut self, up_to: i64) -> bool {
        loop {
            let next = [self.fresh.due_at(up_to), self.loaded.due_at(up_to)].into_iter().flatten().min();
            let to = next.unwrap_or(up_to);
            if self.horizon.covers(to) {
                return true;
            }
            if self.cold_since == Some(self.port.arrivals()) {
                return false;
            }
            self.cold_since = (!self.load(to)).then(|| self.port.arrivals());
        }
    }

    /// What is in memory of what is due at `up_to`.
    fn limit(&self, up_to: i64) -> Option<i64> {
        match self.horizon {
            Frontier::Before(at) => Some(up_to.min(at.checked_sub(1)?)),
            Frontier::All => Some(up_to),
        }
    }

    /// Whether the next timer is a loaded one, if there is any.
    fn is_loaded_next(&mut self, limit: i64) -> bool {
        let (loaded, fresh) = (self.loaded.due_at(limit), self.fresh.due_at(limit));
        loaded.is_some_and(|loaded| fresh.is_none_or(|fresh| loaded <= fresh))
    }

    /// Where the next timer is, and up to which time it may be asked for.
    pub(super) fn next(&mut self, up_to: i64) -> Option<(&mut Timers<P>, i64)> {
        let limit = self.limit(up_to)?;
        let is_loaded = self.is_loaded_next(limit);
        Some((if is_loaded { &mut self.loaded } else { &mut self.fresh }, limit))
    }

    #[inline]
    pub(super) fn pop_due(&mut self, up_to: i64) -> Option<(i64, u64, P)> {
        let limit = self.limit(up_to)?;
        if self.loaded.is_empty() || !self.is_loaded_next(limit) {
            return self.fresh.pop_due(limit);
        }
        let (at, hash, payload) = self.loaded.pop_due(limit)?;
        self.fired.note(at, hash, &payload);
        self.fired_max = self.fired_max.max(at);
        Some((at, hash, payload))
    }

    #[inline]
    pub(super) fn give_back(&mut self, payload: P) {
        self.fresh.give_back(payload);
    }

    /// Moves all frontiers that are at `to` or before it. Returns whether they were moved: if not, some parts of files are missing.
    fn load(&mut self, to: i64) -> bool {
        for part in 0..self.frozen.len() {
            if !self.frozen[part].frontier.covers(to) {
                self.load_frozen(part);
            }
        }
        let (mut cold, mut moved) = (0, 0);
        for at in 0..self.frontiers.len() {
            if let Frontier::Before(from) = self.frontiers[at]
                && from <= to
            {
                let group = KeyGroup(self.key_groups.start + at as u16);
                match self.load_group(group, from) {
                    Some(frontier) => {
                        self.frontiers[at] = frontier;
                        moved += 1;
                    }
                    None => cold += 1,
                }
                if cold == COLD_GROUPS_MAX {
                    break;
                }
            }
        }
        self.rounds = if cold == 0 || moved > 0 { 0 } else { self.rounds + 1 };
        self.move_horizon();
        cold == 0
    }

    fn move_horizon(&mut self) {
        let parts = self.frozen.iter().map(|part| part.frontier);
        self.horizon = parts.chain(self.frontiers.iter().copied()).min().unwrap_or(Frontier::All);
    }

    /// Brings the next timers of a frozen layer back.
    fn load_frozen(&mut self, part: usize) {
        let FrozenPart { frozen, frontier, .. } = &self.frozen[part];
        let Frontier::Before(from) = *frontier else { return };
        let frozen = frozen.clone();
        let mut times: Vec<i64> =
            frozen.near.times().chain(frozen.far.times()).filter(|&at| at >= from).collect();
        let chunk = FROZEN_CHUNK.max(times.len() / 8);
        let frontier = match times.len() > chunk {
            true => Frontier::Before(*times.select_nth_unstable(chunk).1),
            false => Frontier::All,
        };
        for timers in [&frozen.near, &frozen.far] {
            for (at, hash, payload) in timers.entries_within(|at| at >= from && frontier.covers(at)) {
                let is_hidden =
                    self.frozen.iter().take(part).any(|part| part.frozen.deleted.contains(at, hash, payload));
                if !is_hidden {
                    self.add_loaded(at, hash, payload);
                }
            }
        }
        self.frozen[part].frontier = frontier;
    }

    /// Brings the next timers of a key group in from the store, and returns its new frontier. `None`: there is no new one, as parts of
    /// files are missing.
    fn load_group(&mut self, group: KeyGroup, from: i64) -> Option<Frontier> {
        let state = self.port.state();
        let begin = self.key.begin(group, state).push(&from).as_bytes().to_vec();
        let of_group = KeyGroupRange { start: group.0, end: group.0 + 1 };
        let end = ranges_of(state, of_group).next().expect("it is one group").end;
        let range = KeyRange { begin, end };
        let head = self.key.begin(group, state).as_bytes().len();
        let mut found: Vec<(i64, P)> = Vec::new();
        let mut frontier = Frontier::All;
        let mut failure = None;
        let each = |key: &[u8], _: &[u8]| match decode(&key[head..]) {
            Ok((at, _)) if found.len() >= CHUNK && found.last().is_some_and(|last| last.0 < at) => {
                frontier = Frontier::Before(at);
                ControlFlow::Break(())
            }
            Ok(timer) => {
                found.push(timer);
                ControlFlow::Continue(())
            }
            Err(_) => {
                failure = Some(ValueError::Malformed { type_name: "timer", bytes: key.len() });
                ControlFlow::Break(())
            }
        };
        let is_complete = if self.rounds < ROUNDS_MAX {
            self.port.scan(&range, each)
        } else {
            self.port.scan_waiting(&range, each);
            true
        };
        if let Some(error) = failure {
            self.port.fail_value(error);
        }
        if !is_complete {
            // What was seen is complete but for the last timestamp.
            let last = found.last().map(|last| last.0).filter(|&last| last > from)?;
            found.truncate(found.partition_point(|timer| timer.0 < last));
            frontier = Frontier::Before(last);
        }
        for (at, payload) in &found {
            let hash = payload.key().key_hash();
            if !self.frozen.iter().any(|part| part.frozen.deleted.contains(*at, hash, payload)) {
                self.add_loaded(*at, hash, payload);
            }
        }
        Some(frontier)
    }

    /// A timer from below, unless it was deleted since.
    fn add_loaded(&mut self, at: i64, hash: u64, payload: &P) {
        if !self.deleted.contains(at, hash, payload) {
            self.fresh.delete(at, hash, payload); // It was registered again.
            self.loaded.register(at, hash, payload);
        }
    }

    pub(super) fn maintain(&mut self) {
        let flushed = self.port.flushed();
        while self.frozen.back().is_some_and(|part| part.epoch <= flushed) {
            if self.is_heap && self.take_back() {
                break; // Enough for once.
            }
            self.release();
        }
        if let Some(epoch) = self.port.wants_freeze() {
            self.freeze(epoch);
        }
        let is_empty = self.fresh.is_empty() && self.deleted.is_empty() && self.fired.timers.is_empty();
        self.port.report(if is_empty { 0 } else { self.bytes() });
    }

    /// What the next freeze would let go, in bytes.
    fn bytes(&self) -> usize {
        let gone = self.deleted.memory_bytes() + self.fired.memory_bytes();
        self.fresh.memory_bytes() + self.owned.of(self.fresh.len()) + gone
    }

    /// Brings some of the oldest layer back. Returns whether there was anything left to be brought back.
    #[cold]
    fn take_back(&mut self) -> bool {
        let oldest = self.frozen.len() - 1;
        let is_left = self.frozen[oldest].frontier != Frontier::All;
        self.load_frozen(oldest);
        self.move_horizon();
        is_left
    }

    /// The store has the oldest layer: what of it was not brought back yet is to be found there.
    #[cold]
    fn release(&mut self) {
        let Some(FrozenPart { frozen, frontier, .. }) = self.frozen.pop_back() else { return };
        for group in &mut self.frontiers {
            *group = frontier.min(*group);
        }
        self.port.discard(vec![Box::new(frozen)]);
        self.move_horizon();
    }

    #[cold]
    fn freeze(&mut self, epoch: u64) {
        let Fired { timers: fired, before } = std::mem::replace(&mut self.fired, Fired::NONE);
        let deleted = std::mem::replace(&mut self.deleted, Deleted::new());
        let mut far = std::mem::take(&mut self.fresh);
        let mut near = Timers::new();
        let mut tombstones = Vec::new();
        if self.port.wants_whole() {
            // What was frozen before has been lost: this does not build on it.
            while self.frozen.iter().any(|part| part.frontier != Frontier::All) {
                (0..self.frozen.len()).for_each(|part| self.load_frozen(part));
            }
            self.loaded.entries().for_each(|(at, hash, payload)| _ = near.register(at, hash, payload));
            tombstones = ranges_of(self.port.state(), self.key_groups).collect();
        } else if let Some(before) = before {
            tombstones = self.key_groups.iter().map(|group| self.before(group, before)).collect();
            // What was registered behind the time is hidden by the range, so it is written again.
            while let Some((at, hash, payload)) = self.loaded.pop_due(before) {
                near.register(at, hash, &payload);
            }
            near.entries().for_each(|(at, hash, payload)| _ = self.loaded.register(at, hash, payload));
        }
        let is_long = self.loaded.len() > LOADED_MAX && !self.is_heap;
        let shortened = if is_long { self.shorten_loaded() } else { Frontier::All };
        let frontier = self.keep_first(&mut far, &mut near).min(shortened);
        if near.is_empty() && far.is_empty() && deleted.is_empty() && fired.is_empty() {
            return self.port.hand_over(epoch, None, tombstones);
        }
        let frozen = Arc::new(Frozen { near, far, deleted, fired });
        self.frozen.push_front(FrozenPart { epoch, frozen: frozen.clone(), frontier });
        self.move_horizon();
        self.port.report(0);
        let layer = TimerLayer::new(self.port.state(), self.key_groups, self.max, frozen);
        self.port.hand_over(epoch, Some(Box::new(layer)), tombstones);
    }

    /// Moves the first of `far` to `near`, with copies in `loaded`. Returns where the rest begins.
    fn keep_first(&mut self, far: &mut Timers<P>, near: &mut Timers<P>) -> Frontier {
        take_first(far, i64::MIN, |at, hash, payload| {
            self.loaded.register(at, hash, payload);
            near.register(at, hash, payload);
        })
    }

    /// Forgets all but the first of what was loaded, as it is below, and returns where the rest begins. That is behind all that have
    /// fired: the store may have them until what was frozen is flushed.
    fn shorten_loaded(&mut self) -> Frontier {
        let mut all = std::mem::take(&mut self.loaded);
        let frontier = take_first(&mut all, self.fired_max, |at, hash, payload| {
            _ = self.loaded.register(at, hash, payload)
        });
        let parts = self.frozen.iter_mut().map(|part| &mut part.frontier);
        for of_part in parts.chain(&mut self.frontiers) {
            *of_part = frontier.min(*of_part);
        }
        self.move_horizon();
        self.port.discard(vec![Box::new(all)]);
        frontier
    }

    /// All timers of a key group before a time, as the store has them.
    fn before(&mut self, group: KeyGroup, time: i64) -> KeyRange {
        let state = self.port.state();
        let begin = self.key.begin(group, state).as_bytes().to_vec();
        KeyRange { begin, end: self.key.push(&time).as_bytes().to_vec() }
    }
}

impl<P> fmt::Debug for SpilledTimers<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fresh, loaded, horizon, .. } = self;
        f.debug_struct("SpilledTimers")
            .field("fresh", fresh)
            .field("loaded", loaded)
            .field("horizon", horizon)
            .finish_non_exhaustive()
    }
}

/// Takes the first timers out, among them all up to a time, all of a timestamp or none, and returns where the rest begins.
fn take_first<P: Wakes>(timers: &mut Timers<P>, up_to: i64, mut each: impl FnMut(i64, u64, &P)) -> Frontier {
    let (mut taken, mut last) = (0, i64::MIN);
    while let Some(at) = timers.due_at(i64::MAX) {
        if taken >= NEAR && at > last.max(up_to) {
            return Frontier::Before(at);
        }
        let Some((at, hash, payload)) = timers.pop_due(at) else { break };
        each(at, hash, &payload);
        (taken, last) = (taken + 1, at);
    }
    Frontier::All
}

/// Time and payload of an entry, from its key without group and state.
fn decode<P: Wakes>(mut bytes: &[u8]) -> Result<(i64, P), KeyError> {
    let at = i64::decode(&mut bytes)?;
    let key = P::Key::decode(&mut bytes)?;
    Ok((at, P::new(key, P::Namespace::decode(&mut bytes)?)))
}

#[cfg(test)]
mod tests;
