//! What a freeze hands over of timers, on its way into the store.

use std::sync::{Arc, OnceLock};

use super::wakes::Wakes;
use super::{Timers, hash_of};
use crate::heap::Table;
use crate::lsm::key::{KeyBuf, StateId};
use crate::lsm::{self, Kind};
use crate::spill::{LayerEntries, Loaded};
use crate::{KeyGroup, KeyGroupRange, MaxParallelism, key_group};

/// Timers that are gone although the store may have them.
pub(super) struct Deleted<P>(Table<(i64, u64, P), ()>);

impl<P: Eq> Deleted<P> {
    pub(super) fn new() -> Self {
        Self(Table::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    pub(super) fn insert(&mut self, at: i64, hash: u64, payload: P) {
        let is = |other: &(i64, u64, P)| (other.0, other.1) == (at, hash) && other.2 == payload;
        if self.0.get(place(at, hash), is).is_none() {
            self.0.entry(place(at, hash), |_| false, || ((at, hash, payload), ()));
        }
    }

    pub(super) fn contains(&self, at: i64, hash: u64, payload: &P) -> bool {
        let is = |other: &(i64, u64, P)| (other.0, other.1) == (at, hash) && other.2 == *payload;
        self.0.get(place(at, hash), is).is_some()
    }

    fn iter(&self) -> impl Iterator<Item = &(i64, u64, P)> {
        self.0.iter().map(|(timer, ())| timer)
    }
}

fn place(at: i64, hash: u64) -> u64 {
    hash_of(at).wrapping_add(hash)
}

/// The timers that were registered since the freeze before, and those that have gone.
pub(super) struct Frozen<P> {
    /// The first of them, and any that a range of those that have fired would hide.
    pub(super) near: Timers<P>,
    pub(super) far: Timers<P>,
    pub(super) deleted: Deleted<P>,
    /// None of them is in `deleted`.
    pub(super) fired: Vec<(i64, u64, P)>,
}

impl<P: Eq + Clone> Frozen<P> {
    fn contains(&self, at: i64, hash: u64, payload: &P) -> bool {
        self.near.contains(at, hash, payload) || self.far.contains(at, hash, payload)
    }
}

/// The same as entries of a store.
pub(super) struct TimerLayer<P> {
    pub(super) state: StateId,
    pub(super) key_groups: KeyGroupRange,
    pub(super) max: MaxParallelism,
    pub(super) frozen: Arc<Frozen<P>>,
    /// Made when the first key group is asked for, on the thread that writes.
    by_hash: OnceLock<Vec<Change<P>>>,
}

struct Change<P> {
    hash: u64,
    at: i64,
    payload: P,
    kind: Kind,
}

impl<P: Wakes> TimerLayer<P> {
    pub(super) fn new(
        state: StateId,
        key_groups: KeyGroupRange,
        max: MaxParallelism,
        frozen: Arc<Frozen<P>>,
    ) -> Self {
        Self { state, key_groups, max, frozen, by_hash: OnceLock::new() }
    }

    /// All changes, in the order of hashes and so of key groups. A timer that has gone and come again is there.
    fn by_hash(&self) -> Vec<Change<P>> {
        let change = |kind| {
            move |(at, hash, payload): (i64, u64, &P)| Change { hash, at, payload: payload.clone(), kind }
        };
        let Frozen { near, far, deleted, fired } = &*self.frozen;
        let there = near.entries().chain(far.entries()).map(change(Kind::Put));
        let gone = deleted.iter().chain(fired).map(|(at, hash, payload)| (*at, *hash, payload));
        let gone = gone.filter(|(at, hash, payload)| !self.frozen.contains(*at, *hash, payload));
        let mut all: Vec<_> = there.chain(gone.map(change(Kind::Delete))).collect();
        all.sort_unstable_by_key(|change| change.hash);
        all
    }
}

impl<P: Wakes> LayerEntries for TimerLayer<P> {
    fn state(&self) -> StateId {
        self.state
    }

    fn key_groups(&self) -> KeyGroupRange {
        self.key_groups
    }

    fn load(&self, group: KeyGroup, out: &mut Loaded) -> lsm::Result<()> {
        let all = self.by_hash.get_or_init(|| self.by_hash());
        let from = all.partition_point(|change| key_group(change.hash, self.max) < group);
        let in_group = all[from..].iter().take_while(|change| key_group(change.hash, self.max) == group);
        for Change { at, payload, kind, .. } in in_group {
            let parts =
                |parts: &mut KeyBuf| _ = parts.push(at).push(payload.key()).push(&payload.namespace());
            out.add(group, self.state, *kind, parts, |_| Ok(()))?;
        }
        Ok(())
    }
}
