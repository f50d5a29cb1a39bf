//! A store against a map, through random histories; what becomes of it when the power is lost; and what of damaged files.

use super::*;
use crate::lsm::key::{EncodedKey, KeyBuf};
use crate::lsm::sst::ValueAlign;
use crate::lsm::{Budget, CompactionFilter, Entry, EntryFilter, Error, Fingerprint, JobProgress, Kind};
use crate::lsm::{MergeOperator, Verdict, restore};
use crate::testing::{Fault, FaultyDisk};
use crate::{KeyGroup, KeyGroupRange, MaxParallelism};
use std::collections::BTreeMap;
use std::time::Duration;

/// Changes that a flush brings: of a key, or of all keys in a range.
type Changes = (BTreeMap<Vec<u8>, (Kind, Vec<u8>)>, Vec<KeyRange>);
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// From the hashes of their names: these stay.
const PLAIN: StateId = StateId(53432);
const LIST: StateId = StateId(21760);

/// Lists whose items are bytes.
struct Concatenate;

impl MergeOperator for Concatenate {
    fn merge(&self, older: &[u8], newer: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(older);
        out.extend_from_slice(newer);
        Ok(())
    }
}

type Owned = (Vec<u8>, (Kind, Vec<u8>));

struct Sorted(std::vec::IntoIter<Owned>, Option<Owned>);

impl Sorted {
    fn boxed(entries: BTreeMap<Vec<u8>, (Kind, Vec<u8>)>) -> Box<dyn Cursor + Send> {
        let mut entries = entries.into_iter().collect::<Vec<_>>().into_iter();
        let first = entries.next();
        Box::new(Self(entries, first))
    }
}

impl Cursor for Sorted {
    fn entry(&self) -> Option<Entry<'_>> {
        self.1.as_ref().map(|(key, (kind, value))| Entry { key, kind: *kind, value })
    }

    fn advance(&mut self) -> Result<()> {
        self.1 = self.0.next();
        Ok(())
    }
}

fn states() -> [StateSpec; 2] {
    let plain = StateSpec::new("plain", Fingerprint(1));
    let list = StateSpec { merge: Some(Arc::new(Concatenate)), ..StateSpec::new("list", Fingerprint(2)) };
    [plain, list]
}

/// So small that a few thousand entries make several levels.
fn small() -> Options {
    Options {
        memory_bytes: 4 << 20,
        table_share: 0.002,
        block_bytes: 4096,
        file_bytes: 16 << 10,
        runs_max: 3,
        runs_stop: 6,
        level_ratio: 3,
        ..Options::nvme()
    }
}

fn open(storage: &Storage, options: Options) -> Store {
    try_open(storage, options).unwrap()
}

fn try_open(storage: &Storage, options: Options) -> Result<Store> {
    Ok(with_states(Store::open(storage, options, 7)?.0))
}

fn with_states(mut store: Store) -> Store {
    let ids: Vec<_> = states().into_iter().map(|spec| store.register(spec).unwrap()).collect();
    assert_eq!(ids, [PLAIN, LIST]);
    store
}

/// From all key groups of some snapshots.
fn restore_all(places: &[Storage], identity: u64) -> Store {
    let all = KeyGroupRange::all(MaxParallelism::default());
    with_states(restore(&Storage::memory(), places, all, small(), identity).unwrap())
}

fn key(group: u16, state: StateId, user: u32) -> Vec<u8> {
    KeyBuf::default().begin(KeyGroup(group), state).push(&user).as_bytes().to_vec()
}

/// Chance from a seed: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }

    fn key(&mut self, users: u64) -> Vec<u8> {
        let state = if self.roll(3) == 0 { LIST } else { PLAIN };
        key(self.roll(8) as u16, state, self.roll(users) as u32)
    }

    /// Some changes, none of which is hidden by a range of the same flush, as tables see to.
    fn changes(&mut self, count: u64, users: u64) -> Changes {
        let mut ranges = Vec::new();
        for _ in 0..self.roll(3) {
            let (a, b) = (self.key(users), self.key(users));
            ranges.push(KeyRange { begin: a.clone().min(b.clone()), end: a.max(b) });
        }
        ranges.retain(|range| range.begin < range.end && range.begin[..4] == range.end[..4]);
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let key = self.key(users);
            let value = vec![self.roll(256) as u8; self.roll(40) as usize];
            let kind = match self.roll(4) {
                0 => Kind::Delete,
                1 if EncodedKey::new(&key).unwrap().state() == LIST => Kind::Merge,
                _ => Kind::Put,
            };
            let value = if kind == Kind::Delete { Vec::new() } else { value };
            entries.insert(key, (kind, value));
        }
        (entries, ranges)
    }
}

fn apply(model: &mut Model, (entries, ranges): &Changes) {
    model.retain(|key, _| !ranges.iter().any(|range| range.contains(key)));
    for (key, (kind, value)) in entries {
        match kind {
            Kind::Put => drop(model.insert(key.clone(), value.clone())),
            Kind::Delete => drop(model.remove(key)),
            Kind::Merge => model.entry(key.clone()).or_default().extend_from_slice(value),
        }
    }
}

fn everything() -> KeyRange {
    KeyRange::new(&[0, 0], &[0xff, 0xff])
}

/// All of a store, scanned.
fn contents(store: &mut Store, range: &KeyRange) -> Model {
    let mut found = Model::new();
    let end = store.scan_waiting(range, |key, value| {
        assert!(found.insert(key.to_vec(), value.to_vec()).is_none(), "{key:?} comes twice");
        ControlFlow::Continue(())
    });
    assert_eq!(end.unwrap(), ScanEnd::Finished);
    found
}

/// Scans and points agree with the model, for keys that are there and such that are not.
#[track_caller]
fn check(store: &mut Store, model: &Model, users: u64) {
    store.check();
    assert_eq!(contents(store, &everything()), *model);
    let mut keys = KeyBatch::default();
    for group in 0..8 {
        for user in 0..users as u32 {
            keys.push(&key(group, PLAIN, user)).unwrap();
            keys.push(&key(group, LIST, user)).unwrap();
        }
    }
    let mut answers = vec![None; keys.len()];
    store
        .get_waiting(&keys, |number, answer| {
            let value = answer.value().map(<[u8]>::to_vec);
            let align = if matches!(answer, Answer::Merged(_)) { 16 } else { 8 };
            assert!(answer.value().is_none_or(|value| value.as_ptr().addr().is_multiple_of(align)));
            assert!(answers[number].replace(value).is_none(), "two answers");
        })
        .unwrap();
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.as_ref().unwrap().as_ref(), model.get(keys.key(number)), "{:?}", keys.key(number));
    }
}

fn flush(store: &mut Store, changes: Changes) -> Result<()> {
    let mut job = store.flush(Sorted::boxed(changes.0), changes.1);
    let result = job.run();
    store.on_job_done(job);
    result
}

fn run_jobs(store: &mut Store) -> Result<()> {
    while let Some(mut job) = store.poll_job() {
        let result = job.run();
        store.on_job_done(job);
        result?;
    }
    Ok(())
}

fn one_step(job: &mut Job) -> bool {
    let budget = Budget { entries: 50, bytes: 4096 };
    job.step(budget, Duration::ZERO).unwrap() == JobProgress::Finished
}

#[test]
fn entries_of_a_state_that_nothing_is_known_of_are_refused() {
    let mut store = open(&Storage::memory(), small());
    let unknown = StateId(0xfafa);
    let entries = BTreeMap::from([(key(1, unknown, 1), (Kind::Put, vec![1]))]);
    let refused = flush(&mut store, (entries, Vec::new()));
    assert!(matches!(refused, Err(Error::UnknownState { state }) if state == unknown), "{refused:?}");
}

/// Flushes, compactions step by step and several at a time, reopening, and snapshots, in any order.
fn history(seed: u64, options: &Options) {
    history_on(seed, options, &Storage::on(FaultyDisk::new()).unwrap(), &Storage::memory());
}

fn history_on(seed: u64, options: &Options, storage: &Storage, place: &Storage) {
    let mut dice = Dice(seed);
    let (mut store, mut model) = (open(storage, options.clone()), Model::new());
    let (mut jobs, mut flushing): (Vec<Job>, Option<(Job, Changes)>) = (Vec::new(), None);
    let mut held: Option<(Snapshot, Model)> = None;
    let users = 30 + dice.roll(60);
    for _ in 0..250 {
        match dice.roll(20) {
            0..5 if flushing.is_none() => {
                let changes = {
                    let count = dice.roll(150);
                    dice.changes(count, users)
                };
                flushing = Some((store.flush(Sorted::boxed(changes.0.clone()), changes.1.clone()), changes));
            }
            5..12 => {
                if let Some((job, _)) = &mut flushing
                    && one_step(job)
                {
                    let (job, changes) = flushing.take().unwrap();
                    store.on_job_done(job);
                    apply(&mut model, &changes);
                }
            }
            12..15 => jobs.extend(store.poll_job()),
            15..17 => check(&mut store, &model, users),
            17 if dice.roll(3) == 0 => {
                (jobs, flushing, held) = (Vec::new(), None, None); // As if it had crashed; runs are given up.
                drop(store);
                store = open(storage, options.clone());
            }
            18 => held = Some((store.snapshot(), model.clone())),
            19 => {
                if let Some((snapshot, then)) = held.take() {
                    snapshot.write(place).unwrap();
                    let mut restored = restore_all(std::slice::from_ref(place), 8);
                    check(&mut restored, &then, users);
                }
            }
            _ => {
                let at = dice.roll(jobs.len().max(1) as u64) as usize;
                if at < jobs.len() && one_step(&mut jobs[at]) {
                    store.on_job_done(jobs.swap_remove(at));
                }
            }
        }
        if let Some(at) = jobs.len().checked_sub(1)
            && one_step(&mut jobs[at])
        {
            store.on_job_done(jobs.swap_remove(at));
        }
    }
    check(&mut store, &model, users);
}

#[test]
fn histories_agree_with_a_map() {
    for seed in 0..if cfg!(miri) { 1 } else { 24 } {
        history(seed, &small());
    }
}

#[test]
fn histories_agree_with_a_map_when_blocks_are_compressed_and_filters_missing() {
    let compressed = Options { compressed_from_level: 0, filter_bits: 0, ..small() };
    let mixed = Options { compressed_from_level: 1, runs_max: 1, ..small() };
    for seed in 100..106 {
        history(seed, &compressed);
        history(seed, &mixed);
    }
}

/// Pages of real files come and go as those in memory only pretend to.
#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn a_history_on_a_directory_agrees_with_a_map() {
    let parent = tempfile::tempdir().unwrap();
    let storage = Storage::directory(parent.path().join("store")).unwrap();
    let place = Storage::directory(parent.path().join("snapshot")).unwrap();
    history_on(200, &small(), &storage, &place);
    let options = Options { compressed_from_level: 1, ..small() };
    let storage = Storage::directory(parent.path().join("compressed")).unwrap();
    history_on(201, &options, &storage, &Storage::memory());
}

/// Runs are asked in windows of 64: a key's entries, its operands and the tombstones over it may be in any of them.
#[test]
fn very_many_runs_are_read_as_one() {
    let options = Options { runs_max: 1000, runs_stop: 1000, ..small() };
    let (mut store, mut model) = (open(&Storage::memory(), options), Model::new());
    let mut dice = Dice(17);
    for run in 0..150 {
        let mut changes = dice.changes(12, 30);
        if run % 50 != 20 {
            changes.1.clear(); // Or little would be left.
        }
        apply(&mut model, &changes);
        flush(&mut store, changes).unwrap();
        if run % 30 == 29 {
            check(&mut store, &model, 30);
        }
    }
    assert_eq!(store.metrics().runs, 150);
}

/// Jobs, requests and snapshots may go to other threads.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Job>();
    is_send::<PartRequest>();
    is_send::<PartReady>();
    is_send::<Snapshot>();
    is_send::<Store>();
};

/// The histories above reach all levels and all kinds of jobs, or they would say little.
#[test]
fn small_files_make_several_levels() {
    let mut store = open(&Storage::memory(), small());
    let (mut dice, mut model) = (Dice(3), Model::new());
    let mut kinds = BTreeSet::new();
    for _ in 0..60 {
        let changes = dice.changes(150, 400);
        flush(&mut store, changes.clone()).unwrap();
        apply(&mut model, &changes);
        while let Some(mut job) = store.poll_job() {
            kinds.insert(format!("{:?}", job.kind()));
            job.run().unwrap();
            store.on_job_done(job);
        }
    }
    let metrics = store.metrics();
    assert!(metrics.level_files.iter().filter(|files| **files > 0).count() >= 3, "{metrics:?}");
    assert!(metrics.write_amplification() > 1.0 && metrics.space_amplification() >= 1.0, "{metrics:?}");
    assert!(kinds.contains("Compact") && kinds.contains("Remove"), "{kinds:?}");
    check(&mut store, &model, 400);
}

#[test]
fn snapshots_are_incremental_and_hold_their_files() {
    let (storage, place) = (Storage::memory(), Storage::memory());
    let mut store = open(&storage, small());
    let mut dice = Dice(8);
    for _ in 0..2 {
        flush(&mut store, dice.changes(200, 100)).unwrap();
    }
    let first = store.snapshot();
    let stats = first.write(&place).unwrap();
    assert_eq!((stats.files, stats.new_files), (first.files().len(), first.files().len()));
    assert_eq!(first.write(&place).unwrap().new_files, 0);
    for _ in 0..2 {
        flush(&mut store, dice.changes(200, 100)).unwrap();
    }
    let stats = store.snapshot().write(&place).unwrap();
    assert_eq!(stats.new_files, stats.files - first.files().len());

    run_jobs(&mut store).unwrap();
    for file in first.files() {
        assert!(storage.length(&file.number.name()).unwrap().is_some(), "the snapshot holds {}", file.number);
    }
    let held: Vec<_> = first.files().map(|file| file.number.name()).collect();
    drop(first);
    run_jobs(&mut store).unwrap();
    assert!(held.iter().all(|name| storage.length(name).unwrap().is_none()));

    let other = Store::open(&Storage::memory(), small(), 99).unwrap().0;
    assert!(matches!(other.snapshot().write(&place), Err(Error::Foreign { found: 7, store: 99, .. })));
    assert!(matches!(
        restore(&storage, &[place], KeyGroupRange::all(MaxParallelism::default()), small(), 1),
        Err(Error::NotEmpty { .. })
    ));
}

/// Key groups 0 to 7 at parallelism 1, 3 and 2, one after the other: nothing is lost, nothing there twice.
#[test]
fn key_groups_can_be_restored_from_and_into_any_number_of_stores() {
    let max = MaxParallelism::new(8).unwrap();
    let range = |subtask, parallelism| crate::range_of(subtask, max, parallelism);
    let mut dice = Dice(21);
    let mut model = Model::new();
    let mut stores = vec![open(&Storage::memory(), small())];
    let mut identity = 100;
    for parallelism in [3, 2, 1] {
        for store in &mut stores {
            flush(store, (BTreeMap::new(), vec![])).unwrap(); // Nothing is something a flush can bring.
        }
        let changes = dice.changes(1500, 200);
        apply(&mut model, &changes);
        let owners = stores.len() as u32;
        for (subtask, store) in stores.iter_mut().enumerate() {
            let groups = range(subtask as u32, owners);
            let is_own = |key: &[u8]| groups.contains(EncodedKey::new(key).unwrap().key_group());
            let entries = changes.0.iter().filter(|(key, _)| is_own(key));
            let ranges = changes.1.iter().filter(|range| is_own(&range.begin)).cloned().collect();
            flush(store, (entries.map(|(key, value)| (key.clone(), value.clone())).collect(), ranges))
                .unwrap();
            if subtask == 0 {
                run_jobs(store).unwrap();
            }
        }
        let places: Vec<_> = stores
            .iter()
            .map(|store| {
                let place = Storage::memory();
                store.snapshot().write(&place).unwrap();
                place
            })
            .collect();
        stores = (0..parallelism)
            .map(|subtask| {
                identity += 1;
                let to = Storage::memory();
                with_states(restore(&to, &places, range(subtask, parallelism), small(), identity).unwrap())
            })
            .collect();
        let mut found = Model::new();
        for (subtask, store) in stores.iter_mut().enumerate() {
            for (key, value) in contents(store, &everything()) {
                let group = EncodedKey::new(&key).unwrap().key_group();
                assert!(range(subtask as u32, parallelism).contains(group));
                assert!(found.insert(key, value).is_none());
            }
        }
        assert_eq!(found, model, "parallelism {parallelism}");
    }
}

/// Ten times more data than the budget: what is resident stays below, and no look-up reads from the disk.
#[test]
fn memory_stays_within_the_budget_and_look_ups_never_wait() {
    let options = Options { memory_bytes: 4 << 20, table_share: 0.9, ..Options::nvme() };
    for is_compressed in [false, true] {
        let disk = FaultyDisk::new();
        let compressed_from_level = if is_compressed { 0 } else { usize::MAX };
        let options = Options { compressed_from_level, ..options.clone() };
        let mut store = open(&Storage::on(disk.clone()).unwrap(), options);
        let entry = |user: u32| (key((user / 4096) as u16, PLAIN, user), (Kind::Put, vec![user as u8; 100]));
        let users = 40_000;
        flush(&mut store, ((0..users).map(entry).collect(), vec![everything()])).unwrap();
        let bytes: u64 = store.version().files().map(|file| file.bytes).sum();
        assert!(is_compressed || bytes as usize > 10 * store.budget_bytes(), "{bytes}");
        let mut dice = Dice(4);
        let mut cold = 0;
        for _ in 0..200 {
            let mut open: Vec<u32> = (0..64).map(|_| dice.roll(users.into()) as u32).collect();
            for round in 0.. {
                assert!(round < 64, "it gets on with every round");
                let mut keys = KeyBatch::default();
                for user in &open {
                    keys.push(&entry(*user).0).unwrap();
                }
                let (before, asked) = (disk.operations(), std::mem::take(&mut open));
                if asked.is_empty() {
                    break;
                }
                store
                    .get_batch(&keys, |number, answer| match answer.value() {
                        Some(value) => assert_eq!(value, vec![asked[number] as u8; 100]),
                        None => {
                            assert_eq!(answer, Answer::Cold);
                            open.push(asked[number]);
                        }
                    })
                    .unwrap();
                assert_eq!(disk.operations(), before, "a look-up has gone to the disk");
                while let Some(request) = store.poll_request() {
                    cold += 1;
                    store.on_part_ready(request.perform()).unwrap();
                    let resident = store.metrics().resident_bytes;
                    assert!(resident <= store.budget_bytes(), "{resident}");
                }
            }
        }
        store.check();
        assert!(cold > 1000 && store.metrics().parts_out > 1000, "{cold}");
    }
}

/// What a filter lets go is gone at once where nothing is older, and never comes back from below. Flushes filter too.
#[test]
fn filters_drop_values_in_compactions() {
    /// From that time on.
    struct Odd(bool);
    impl CompactionFilter for Odd {
        fn begin(&self, now_ms: i64) -> Box<dyn EntryFilter> {
            Box::new(Self(now_ms >= 1000))
        }
    }
    impl EntryFilter for Odd {
        fn filter(&mut self, entry: Entry<'_>, _out: &mut Vec<u8>) -> Verdict {
            let is_even = entry.value.first().is_some_and(|value| value % 2 == 0);
            if self.0 && is_even { Verdict::Drop } else { Verdict::Keep }
        }
    }
    let [mut plain, _] = states();
    plain.filter = Some(Arc::new(Odd(false)));
    let options = Options { runs_max: 2, ..small() };
    let mut store = Store::open(&Storage::memory(), options, 7).unwrap().0;
    store.register(plain).unwrap();
    for value in [1, 2] {
        for _ in 0..2 {
            let entries = (0..500).map(|user| (key(0, PLAIN, user), (Kind::Put, vec![value; 100])));
            flush(&mut store, (entries.collect(), vec![])).unwrap();
        }
        assert_eq!(contents(&mut store, &everything()).len(), 500);
        if value == 1 {
            run_jobs(&mut store).unwrap();
            assert!(store.metrics().level_files[2] > 0, "some are older than what is compacted next");
        }
    }
    store.set_time(1000);
    run_jobs(&mut store).unwrap();
    assert_eq!(contents(&mut store, &everything()).len(), 0);

    let before = store.metrics().payload_bytes;
    let entries = (0..500).map(|user| (key(0, PLAIN, user), (Kind::Put, vec![2; 100])));
    flush(&mut store, (entries.collect(), vec![])).unwrap();
    assert!(store.metrics().payload_bytes - before < 500 * 100, "only deletes were written");
    assert_eq!(contents(&mut store, &everything()).len(), 0);
}

mod cold;
mod crash;
mod damage;
mod states;

/// One run of puts, and then the same keys again: twice the space, until they are compacted.
#[test]
fn amplification_is_what_files_take_over_what_was_given() {
    let mut store = open(&Storage::memory(), Options { runs_max: 3, ..Options::nvme() });
    let entries = || (0..20_000).map(|user| (key(0, PLAIN, user), (Kind::Put, vec![7; 100]))).collect();
    let given = 20_000 * (8 + 100);
    flush(&mut store, (entries(), vec![])).unwrap();
    let metrics = store.metrics();
    assert_eq!((metrics.payload_bytes, metrics.compacted_bytes), (given, 0));
    let (write, space) = (metrics.write_amplification(), metrics.space_amplification());
    assert!((1.0..1.3).contains(&write) && (1.0..1.2).contains(&space), "{write} {space}");
    for runs in 2..=3 {
        flush(&mut store, (entries(), vec![])).unwrap();
        let metrics = store.metrics();
        assert!((metrics.space_amplification() - space * f64::from(runs)).abs() < 0.01, "{metrics:?}");
    }
    run_jobs(&mut store).unwrap();
    let metrics = store.metrics();
    assert!((metrics.space_amplification() - space).abs() < 0.01, "{metrics:?}");
    assert_eq!(metrics.payload_bytes, 3 * given);
    assert!((metrics.write_amplification() - write * 4.0 / 3.0).abs() < 0.01, "{metrics:?}");
}

#[test]
fn many_runs_stall_the_core_until_they_are_compacted() {
    let mut store = open(&Storage::memory(), small());
    for user in 0..6 {
        assert!(!store.is_stalled());
        flush(&mut store, ([(key(0, PLAIN, user), (Kind::Put, vec![1]))].into(), vec![])).unwrap();
    }
    assert!(store.is_stalled());
    run_jobs(&mut store).unwrap();
    assert!(!store.is_stalled());
    assert_eq!((store.metrics().stalls, store.metrics().runs), (1, 0));
}
