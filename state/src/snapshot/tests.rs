//! Cores that are written to, frozen, brought to snapshots and restored from them, with their state in memory or in files.

mod faults;
mod history;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::heap::Table;
use crate::lsm::{self, Options, SnapshotStats};
use crate::spill::{Work, WorkProgress};
use crate::storage::Storage;
use crate::testing::{Fault, FaultyDisk};
use crate::{
    BackendKind, CoreState, Error, HashSpread, Key, KeyContext, KeyGroupRange, ListState, MapState,
    MaxParallelism, StateSet, ValueState, hash_word, key_group,
};

/// What all cores together hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    values: BTreeMap<u32, u64>,
    lists: BTreeMap<u32, Vec<u8>>,
    maps: BTreeMap<u32, BTreeMap<u64, u16>>,
}

impl Model {
    /// Without keys that have the empty list or map.
    fn tidy(mut self) -> Self {
        self.lists.retain(|_, list| !list.is_empty());
        self.maps.retain(|_, map| !map.is_empty());
        self
    }
}

#[derive(Debug, Clone)]
enum Change {
    Set(u32, u64),
    Clear(u32),
    Append(u32, Vec<u8>),
    Replace(u32, Vec<u8>),
    Put(u32, u64, u16),
    /// So many entries that they are not one value any more.
    Fill(u32, u16),
    Remove(u32, u64),
    ClearMap(u32),
}

const KEYS: u32 = 40;
/// Entries of a map that is filled.
const FILLED: u64 = 100;

fn max() -> MaxParallelism {
    MaxParallelism::new(6).unwrap()
}

fn options() -> Options {
    Options { runs_max: 1, runs_stop: 4, level_ratio: 2, block_bytes: 4096, ..Options::nvme() }
}

/// One core, with two operators.
struct Core {
    core: CoreState,
    values: ValueState<u32, u64>,
    lists: ListState<u32, u8>,
    maps: MapState<u32, u64, u16>,
    /// Work that has not been done yet.
    work: Vec<Work>,
    /// Where its snapshots go, and the one that is on its way there.
    place: Storage,
    pending: Option<PendingSnapshot>,
}

impl Core {
    fn new(core: CoreState, range: KeyGroupRange, place: Storage) -> Result<Self, Error> {
        let (one, other) = (core.backend("one", range, max()), core.backend("other", range, max()));
        Ok(Self {
            values: ValueState::new("state", &one)?,
            lists: ListState::new("list", &one)?,
            maps: MapState::new("state", &other)?,
            core,
            work: Vec::new(),
            place,
            pending: None,
        })
    }

    fn open(kind: BackendKind, storage: &Storage, place: Storage) -> Self {
        let (core, _) = CoreState::open(kind, storage, options(), 1).unwrap();
        Self::new(core, KeyGroupRange::all(max()), place).unwrap()
    }

    fn restore(
        kind: BackendKind,
        places: &[Storage],
        range: KeyGroupRange,
        identity: u64,
    ) -> Result<Self, Error> {
        let core = CoreState::restore(kind, &Storage::memory(), places, range, options(), identity)?;
        let restored = Self::new(core, range, Storage::memory())?;
        restored.core.check_all_registered()?;
        Ok(restored)
    }

    fn maintain(&mut self) {
        self.core.maintain();
        self.values.each(&mut |state| state.maintain());
        self.lists.each(&mut |state| state.maintain());
        self.maps.each(&mut |state| state.maintain());
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Set(key, value) => self.values.set(KeyContext::new(&key), value),
            Change::Clear(key) => self.values.clear(KeyContext::new(&key)),
            Change::Append(key, items) => self.lists.add_all(KeyContext::new(&key), items),
            Change::Replace(key, items) => self.lists.update(KeyContext::new(&key), items),
            Change::Put(key, user_key, value) => self.maps.put(KeyContext::new(&key), user_key, value),
            Change::Fill(key, value) => {
                (0..FILLED).for_each(|user_key| self.maps.put(KeyContext::new(&key), user_key, value));
            }
            Change::Remove(key, user_key) => self.maps.remove(KeyContext::new(&key), &user_key),
            Change::ClearMap(key) => self.maps.clear(KeyContext::new(&key)),
        }
    }

    /// Begins a snapshot of what is there now.
    fn snapshot(&mut self) {
        let place = self.place.clone();
        self.maintain();
        self.pending = Some(self.core.snapshot(&place).expect("all were maintained"));
        self.maintain();
    }

    fn poll_work(&mut self) {
        self.work.extend(std::iter::from_fn(|| self.core.poll_work()));
    }

    /// A step of a piece of work that may be done now.
    fn step(&mut self, random: u64) {
        self.poll_work();
        if self.work.is_empty() {
            return;
        }
        let at = random as usize % self.work.len();
        if self.work[at].step(Duration::ZERO) == WorkProgress::Finished {
            self.core.on_work_done(self.work.swap_remove(at));
        }
    }

    fn do_all_work(&mut self) {
        self.poll_work();
        while !self.work.is_empty() {
            self.step(0);
            self.maintain();
            self.poll_work();
        }
    }

    /// How the snapshot went.
    fn outcome(&mut self) -> Result<SnapshotStats, Error> {
        self.do_all_work();
        self.pending.take().expect("one was begun").poll_outcome().expect("all work is done")
    }

    fn complete(&mut self) -> SnapshotStats {
        self.snapshot();
        self.outcome().unwrap()
    }

    /// Adds what it has of the keys.
    fn read(&mut self, range: KeyGroupRange, model: &mut Model) {
        for key in (0..KEYS).filter(|key| range.contains(group_of(*key))) {
            let cx = KeyContext::new(&key);
            model.values.extend(self.values.get(cx).map(|value| (key, *value)));
            model.lists.insert(key, self.lists.get(cx).to_vec());
            model.maps.insert(key, self.maps.iter(cx).map(|(key, value)| (*key, *value)).collect());
        }
        assert!(self.core.take_fault().is_none());
    }

    fn contents(&mut self) -> Model {
        let mut model = Model::default();
        self.read(KeyGroupRange::all(max()), &mut model);
        model.tidy()
    }
}

fn group_of(key: u32) -> crate::KeyGroup {
    key_group(key.key_hash(), max())
}

fn key_of(change: &Change) -> u32 {
    match change {
        Change::Set(key, _) | Change::Clear(key) | Change::Append(key, _) | Change::Replace(key, _) => *key,
        Change::Put(key, ..) | Change::Fill(key, _) | Change::Remove(key, _) | Change::ClearMap(key) => *key,
    }
}

fn apply(change: &Change, model: &mut Model) {
    match change.clone() {
        Change::Set(key, value) => drop(model.values.insert(key, value)),
        Change::Clear(key) => drop(model.values.remove(&key)),
        Change::Append(key, items) => model.lists.entry(key).or_default().extend(items),
        Change::Replace(key, items) => drop(model.lists.insert(key, items)),
        Change::Put(key, user_key, value) => drop(model.maps.entry(key).or_default().insert(user_key, value)),
        Change::Fill(key, value) => {
            model.maps.entry(key).or_default().extend((0..FILLED).map(|user_key| (user_key, value)));
        }
        Change::Remove(key, user_key) => drop(model.maps.entry(key).or_default().remove(&user_key)),
        Change::ClearMap(key) => drop(model.maps.remove(&key)),
    }
}

/// Changes to all states of many keys.
fn changes(seed: u64, count: u64) -> Vec<Change> {
    let any = |at| {
        let random = hash_word(hash_word(seed) ^ at);
        let (key, user_key) = ((random >> 8) as u32 % KEYS, random >> 16 & 15);
        match random % 8 {
            0 | 1 => Change::Set(key, random),
            2 => Change::Clear(key),
            3 | 4 => Change::Append(key, vec![random as u8; 3]),
            5 if user_key == 0 => Change::Fill(key, random as u16),
            5 | 6 => Change::Put(key, user_key, random as u16),
            _ => Change::Remove(key, user_key),
        }
    };
    (0..count).map(any).collect()
}

fn apply_all(core: &mut Core, model: &mut Model, changes: Vec<Change>) {
    for change in changes {
        apply(&change, model);
        core.apply(change);
    }
}

const KINDS: [BackendKind; 2] = [BackendKind::Heap, BackendKind::Lsm];

/// Goal: a second snapshot writes what has changed, also one of a heap that was itself restored.
#[test]
fn a_later_snapshot_writes_what_has_changed() {
    let range = KeyGroupRange::all(max());
    let options = Options { runs_max: 4, ..Options::nvme() };
    let fill = |core: &CoreState, keys: std::ops::Range<u64>| {
        let mut state =
            ValueState::<u64, [u64; 8]>::new("state", &core.backend("one", range, max())).unwrap();
        for key in keys {
            state.set(KeyContext::new(&key), [key; 8]);
        }
        state
    };
    let write = |core: &CoreState, state: &mut ValueState<u64, [u64; 8]>, place: &Storage| {
        let mut pending = core.snapshot(place).unwrap();
        state.each(&mut |state| state.maintain());
        while let Some(mut work) = core.poll_work() {
            while work.step(Duration::ZERO) != WorkProgress::Finished {}
            core.on_work_done(work);
        }
        pending.poll_outcome().unwrap().unwrap()
    };
    for kind in KINDS {
        let (first_place, place) = (Storage::memory(), Storage::memory());
        let (core, _) = CoreState::open(kind, &Storage::memory(), options.clone(), 1).unwrap();
        let mut state = fill(&core, 0..20_000);
        let first = write(&core, &mut state, &first_place);
        assert!(first.bytes > 20_000 * 64 && first.new_bytes == first.bytes, "{first:?}");

        let core =
            CoreState::restore(kind, &Storage::memory(), &[first_place], range, options.clone(), 2).unwrap();
        let mut state = fill(&core, 0..0);
        let second = write(&core, &mut state, &place);
        assert_eq!(second.bytes, first.bytes, "nothing has changed");
        for key in 0..50 {
            state.set(KeyContext::new(&key), [0; 8]);
        }
        state.clear(KeyContext::new(&19_999));
        let third = write(&core, &mut state, &place);
        assert!(third.new_files == 1 && third.new_bytes < first.bytes / 20, "{third:?}");
        if kind == BackendKind::Heap {
            // A heap rests in the store's eyes, whatever it does: what it has written is left alone until there are too many runs.
            (100..4_100_u64).for_each(|key| state.set(KeyContext::new(&key), [1; 8]));
            let fourth = write(&core, &mut state, &place);
            assert_eq!(write(&core, &mut state, &place).new_bytes, 0, "after {fourth:?}");
        }
        let core =
            CoreState::restore(BackendKind::Heap, &Storage::memory(), &[place], range, options.clone(), 3)
                .unwrap();
        let mut state = fill(&core, 0..0);
        let found = [0, 49, 50, 19_999].map(|key| state.get(KeyContext::new(&key)).map(|value| value[0]));
        assert_eq!(found, [Some(0), Some(0), Some(50), None]);
    }
}

/// States that are gone are an error, or given up if the job says so; and a state of another type is an error.
#[test]
fn states_that_do_not_fit_are_refused() {
    for kind in KINDS {
        let mut core = Core::open(kind, &Storage::memory(), Storage::memory());
        apply_all(&mut core, &mut Model::default(), changes(1, 300));
        core.complete();
        let all = KeyGroupRange::all(max());
        let restore = || {
            CoreState::restore(kind, &Storage::memory(), &[core.place.clone()], all, options(), 2).unwrap()
        };

        let restored = restore();
        let backend = restored.backend("one", all, max());
        let other = ValueState::<u32, i64>::new("state", &backend);
        assert!(
            matches!(other, Err(Error::Store(lsm::Error::SchemaMismatch { name, .. })) if name == "one/state")
        );

        let restored = restore();
        let _values = ValueState::<u32, u64>::new("state", &restored.backend("one", all, max())).unwrap();
        let error = restored.check_all_registered().unwrap_err();
        assert!(matches!(&error, Error::NotRegistered { names } if names.len() == 2), "{error}");
        let mut names = restored.abandon_unregistered();
        names.sort();
        assert_eq!(names, ["one/list", "other/state"]);
        restored.check_all_registered().unwrap();
    }
}

/// Goal: a snapshot that is whole hides what one before it will have written by then. Method: neither is written when the second is
/// frozen, which has other keys than the first.
#[test]
fn a_whole_snapshot_hides_one_that_is_not_written_yet() {
    let mut core = Core::open(BackendKind::Heap, &Storage::memory(), Storage::memory());
    (0..KEYS).for_each(|key| core.apply(Change::Set(key, 1)));
    core.snapshot();
    let _first = core.pending.take();
    (0..KEYS).for_each(|key| core.apply(if key % 4 == 0 { Change::Clear(key) } else { Change::Set(key, 2) }));
    core.snapshot();
    core.outcome().unwrap();
    let all = KeyGroupRange::all(max());
    let mut restored = Core::restore(BackendKind::Lsm, &[core.place.clone()], all, 9).unwrap();
    assert_eq!(restored.contents(), core.contents());
}

/// What cannot be begun is refused, with the reason.
#[test]
fn snapshots_that_cannot_be_begun_are_refused() {
    let memory = CoreState::heap();
    assert!(matches!(memory.snapshot(&Storage::memory()), Err(Error::NoSnapshots)));
    let core = Core::open(BackendKind::Heap, &Storage::memory(), Storage::memory());
    let _first = core.core.snapshot(&Storage::memory()).unwrap();
    assert!(matches!(core.core.snapshot(&Storage::memory()), Err(Error::Freezing)));

    let mut core = Core::open(BackendKind::Heap, &Storage::memory(), Storage::memory());
    let mut pending = Vec::new();
    for value in 0..8 {
        core.apply(Change::Set(7, value));
        core.snapshot();
        pending.extend(core.pending.take());
    }
    assert!(matches!(core.core.snapshot(&Storage::memory()), Err(Error::SnapshotsPending)));
    core.apply(Change::Set(7, 100));
    core.do_all_work();
    assert!(pending.iter_mut().all(|pending| pending.poll_outcome().unwrap().is_ok()));
    assert_eq!(core.contents().values[&7], 100); // Above eight layers.
    core.complete();
}

/// Goal: accumulators of windows are in snapshots of the heap too. What the flush of them loses is lost for the job: that is a fault.
#[test]
fn windows_are_in_snapshots() {
    let all = KeyGroupRange::all(max());
    let sum = |sum: &mut u64, more: u64| *sum += more;
    for kind in KINDS {
        let (disk, place) = (FaultyDisk::new(), Storage::memory());
        let (core, _) = CoreState::open(kind, &Storage::on(disk.clone()).unwrap(), options(), 1).unwrap();
        let mut windows = core.backend("one", all, max()).windows::<u32, u64>("sums", sum).unwrap().unwrap();
        let do_all_work = |core: &CoreState| {
            while let Some(mut work) = core.poll_work() {
                while work.step(Duration::ZERO) != WorkProgress::Finished {}
                core.on_work_done(work);
            }
        };
        let mut write = |to: &Storage, count: u64| {
            let mut table = Table::new();
            let (hash, spread) = (7_u32.key_hash(), HashSpread::new(all, max()));
            table.entry(spread.position(hash), |_| true, || (7, count));
            let mut pending = core.snapshot(to).unwrap();
            windows.hand_over(windows.wants_freeze().unwrap(), vec![(60_000, Arc::new(table))]);
            do_all_work(&core);
            pending.poll_outcome().unwrap()
        };
        write(&place, 1).unwrap();
        write(&place, 2).unwrap();
        assert!(core.take_fault().is_none());
        disk.fail_at(disk.operations(), Fault::Error);
        assert!(write(&place, 4).is_err());
        assert!(core.take_fault().is_some());

        let core = CoreState::restore(kind, &Storage::memory(), &[place], all, options(), 2).unwrap();
        let mut windows = core.backend("one", all, max()).windows::<u32, u64>("sums", sum).unwrap().unwrap();
        core.check_all_registered().unwrap();
        assert_eq!(windows.get_waiting(60_000, &7, 7_u32.key_hash()), Some(3));
    }
}

/// A snapshot that nobody waits for is not written.
#[test]
fn a_snapshot_that_is_dropped_is_not_written() {
    let mut core = Core::open(BackendKind::Lsm, &Storage::memory(), Storage::memory());
    apply_all(&mut core, &mut Model::default(), changes(1, 300));
    core.snapshot();
    core.pending = None;
    core.do_all_work();
    assert!(core.place.list().unwrap().is_empty());
}
