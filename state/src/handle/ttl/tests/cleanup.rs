//! What has expired is cleared away. Method: states that show what has expired until it is, and the bytes of files.

use std::time::Duration;

use super::{Rules, TTL_MS, descriptor};
use crate::context::KeyContext;
use crate::handle::tests::Rig;
use crate::handle::{ListState, MapState, StateSet, Ttl, ValueState};
use crate::lsm::Options;
use crate::spill::WorkProgress;
use crate::storage::Storage;
use crate::{BackendKind, CoreState, KeyGroupRange, MaxParallelism, StateBackend, StateDescriptor};

/// Does all work there is, and lets the state know.
pub(super) fn write_all(core: &CoreState, state: &mut impl StateSet) {
    state.each(&mut |state| state.maintain());
    while let Some(mut work) = core.poll_work() {
        while work.step(Duration::ZERO) != WorkProgress::Finished {}
        core.on_work_done(work);
        state.each(&mut |state| state.maintain());
    }
    assert!(core.take_fault().is_none());
}

const LATE: Rules = Rules { updates_on_read: false, returns_expired: true, cleans: true };

/// How many of `keys` still have what they were given at 0, once they have all expired and `use_it` was called.
fn left(
    keys: u32,
    ttl: impl Fn(Ttl) -> Ttl,
    use_it: impl Fn(&mut ValueState<u32, u64>, &mut ListState<u32, u64>),
) -> (usize, usize) {
    let rig = Rig::new(0);
    let StateDescriptor { ttl: base, .. } = descriptor(LATE);
    let ttl = ttl(base.expect("it has one"));
    let named = |name: &str| StateDescriptor::new(name).with_ttl(ttl.clone());
    let mut values = ValueState::new(named("value"), &rig.backend).unwrap();
    let mut lists = ListState::new(named("list"), &rig.backend).unwrap();
    rig.core.set_time(0);
    for key in 0..keys {
        values.set(KeyContext::new(&key), 1);
        lists.add(KeyContext::new(&key), 1);
    }
    rig.core.set_time(TTL_MS / 2);
    lists.add(KeyContext::new(&keys), 7);
    rig.core.set_time(TTL_MS);
    use_it(&mut values, &mut lists);
    assert_eq!(lists.get(KeyContext::new(&keys)), [7], "it lives on");
    // These uses clear others too, so what is left is more than what is counted.
    let values = (0..keys).filter(|key| values.take(KeyContext::new(key)).is_some()).count();
    let lists = (0..keys).filter(|key| !lists.take(KeyContext::new(key)).is_empty()).count();
    (values, lists)
}

/// Each use of a state looks at some entries: after as many as there are in all, divided by that, none has expired.
#[test]
fn the_heap_is_cleared_bit_by_bit_as_it_is_used() {
    let uses = |count: usize| {
        move |values: &mut ValueState<u32, u64>, lists: &mut ListState<u32, u64>| {
            for _ in 0..count {
                assert_eq!(values.get(KeyContext::new(&u32::MAX)), None);
                assert!(lists.get(KeyContext::new(&u32::MAX)).is_empty());
            }
        }
    };
    // Slots are counted where they are sparse: twice as many, and the turn that ends at the end.
    assert_eq!(left(1000, |ttl| ttl, uses(1000)), (0, 0));
    assert_eq!(left(1000, |ttl| ttl.cleanup_incrementally(100, false), uses(50)), (0, 0));
    let none = |ttl: Ttl| ttl.disable_cleanup_in_background();
    assert_eq!(left(1000, none, uses(1000)), (1000, 1000));
    let (values, lists) = left(1000, |ttl| ttl.cleanup_incrementally(1, false), uses(10));
    assert!(
        values > 200 && lists > 200,
        "few uses, few entries, even while they are counted: {values} {lists}"
    );
    assert_eq!(left(1000, |ttl| none(ttl).cleanup_incrementally(100, false), uses(50)), (0, 0));
}

/// A state that nobody uses is cleared as records come, if it wants that.
#[test]
fn the_heap_is_cleared_with_every_record_if_asked_for() {
    let records = |values: &mut ValueState<u32, u64>, lists: &mut ListState<u32, u64>| {
        for _ in 0..20 {
            values.each(&mut |state| state.on_records(50));
            lists.each(&mut |state| state.on_records(50));
        }
    };
    assert_eq!(left(1000, |ttl| ttl.cleanup_incrementally(5, true), records), (0, 0));
    let (values, lists) = left(1000, |ttl| ttl.cleanup_incrementally(1, false), records);
    assert!(values > 200 && lists > 200, "{values} {lists}");
}

fn files() -> (CoreState, StateBackend) {
    let options = Options { runs_max: 2, block_bytes: 4096, ..Options::nvme() };
    let core = CoreState::lsm(&Storage::memory(), options, 1).unwrap().0;
    let max = MaxParallelism::default();
    let backend = core.backend("op", KeyGroupRange::all(max), max);
    (core, backend)
}

fn file_bytes(core: &CoreState) -> u64 {
    core.metrics().expect("it is in files").level_bytes.iter().sum()
}

/// Values that expire in files are gone from them with the next compaction, and what they hid does not come back; what expires in
/// memory is not written. Without clean-up all stays.
#[test]
fn flushes_and_compactions_leave_out_values_that_have_expired() {
    for cleans in [true, false] {
        let (core, backend) = files();
        let rules = Rules { cleans, ..LATE };
        let mut state = ValueState::<u32, Vec<u8>>::new(descriptor(rules), &backend).unwrap();
        let write = |state: &mut ValueState<_, _>, now_ms, keys: std::ops::Range<u32>, is_late: bool| {
            core.set_time(now_ms);
            for key in keys {
                state.set(KeyContext::new(&key), vec![now_ms as u8; 100]);
            }
            if is_late {
                core.set_time(now_ms + TTL_MS);
            }
            core.freeze();
            write_all(&core, state);
        };
        // An older value is further down, and lives as long as the newer one: it was written with a clock that was ahead.
        write(&mut state, 5, 0..5000, false);
        write(&mut state, 5, 0..5000, false);
        write(&mut state, 3, 0..5000, false);
        let before = file_bytes(&core);
        assert!(before > 500_000, "{before}");

        write(&mut state, TTL_MS + 3, 2000..2001, false);
        write(&mut state, TTL_MS + 3, 2000..2001, false);
        let (after, payload) = (file_bytes(&core), core.metrics().unwrap().payload_bytes);
        write(&mut state, TTL_MS + 5, 3000..4000, true);
        let written = core.metrics().unwrap().payload_bytes - payload;
        let late = state.get(KeyContext::new(&500)).cloned();
        match cleans {
            true => assert!(late.is_none() && after < before / 10 && written < 30_000, "{after} {written}"),
            false => assert!(late == Some(vec![3; 100]) && after > before / 2 && written > 100_000),
        }
    }
}

/// Of lists, the items that have expired go, and the others stay, whether they were added up before or not.
#[test]
fn compactions_leave_out_items_that_have_expired() {
    let (core, backend) = files();
    let mut state = ListState::<u32, String>::new(descriptor(LATE), &backend).unwrap();
    for (now_ms, is_new) in [(0, false), (1, false), (2, false), (TTL_MS - 1, true), (TTL_MS + 2, true)] {
        for key in 0..500 {
            core.set_time(now_ms);
            let text = if is_new { format!("new {now_ms}") } else { "old ".repeat(50) };
            // Half of them in one go with what lives longer.
            if now_ms == 2 && key % 2 == 0 {
                state.add(KeyContext::new(&key), text.clone());
                core.set_time(5);
                state.add(KeyContext::new(&key), "five".into());
            } else {
                state.add(KeyContext::new(&key), text);
            }
        }
        core.freeze();
        write_all(&core, &mut state);
        if now_ms == 2 {
            assert!(file_bytes(&core) > 200_000, "{}", file_bytes(&core));
        }
    }
    state.add(KeyContext::new(&1000), String::new()); // One run more, and they are compacted.
    core.freeze();
    write_all(&core, &mut state);
    assert!(file_bytes(&core) < 100_000, "{}", file_bytes(&core));
    assert_eq!(core.metrics().unwrap().blocking_reads, 0, "appending has read something");
    for key in 0..500 {
        let five = (key % 2 == 0).then_some("five");
        let expected: Vec<&str> = five.into_iter().chain(["new 9", "new 12"]).collect();
        assert_eq!(state.get(KeyContext::new(&key)), expected, "{key}");
    }
}

/// What has expired is not in snapshots of the heap if they are to be cleared, and otherwise comes back with them.
#[test]
fn snapshots_of_the_heap_leave_out_what_has_expired() {
    let (max, all) = (MaxParallelism::default(), KeyGroupRange::all(MaxParallelism::default()));
    let StateDescriptor { ttl: base, .. } = descriptor(Rules { cleans: false, ..LATE });
    let base = base.expect("it has one");
    for (ttl, late) in [(base.clone(), Some(7)), (base.cleanup_full_snapshot(), None)] {
        let named = || StateDescriptor::new("value").with_ttl(ttl.clone());
        let (core, _) = CoreState::open(BackendKind::Heap, &Storage::memory(), Options::nvme(), 1).unwrap();
        let mut state = ValueState::<u32, u64>::new(named(), &core.backend("op", all, max)).unwrap();
        core.set_time(0);
        state.set(KeyContext::new(&1), 7);
        core.set_time(5);
        state.set(KeyContext::new(&2), 8);
        core.set_time(TTL_MS);
        let place = Storage::memory();
        let mut snapshot = core.snapshot(&place).unwrap();
        write_all(&core, &mut state);
        snapshot.poll_outcome().expect("all work is done").unwrap();
        assert_eq!(state.get(KeyContext::new(&1)), Some(&7), "the state itself has it");

        for kind in [BackendKind::Heap, BackendKind::Lsm] {
            let places = [place.clone()];
            let core =
                CoreState::restore(kind, &Storage::memory(), &places, all, Options::nvme(), 2).unwrap();
            core.set_time(TTL_MS);
            let mut state = ValueState::<u32, u64>::new(named(), &core.backend("op", all, max)).unwrap();
            assert_eq!(state.get(KeyContext::new(&1)).copied(), late);
            assert_eq!(state.get(KeyContext::new(&2)), Some(&8));
        }
    }
}

/// Of maps, the entries that have expired go, whether the map is one value or split, and the others stay.
#[test]
fn compactions_leave_out_entries_that_have_expired() {
    let (core, backend) = files();
    let mut state = MapState::<u32, u32, [u64; 4]>::new(descriptor(LATE), &backend).unwrap();
    let mut write = |now_ms: i64, keys: std::ops::Range<u32>, entries: std::ops::Range<u32>| {
        core.set_time(now_ms);
        for key in keys {
            entries.clone().for_each(|entry| state.put(KeyContext::new(&key), entry, [now_ms as u64; 4]));
        }
        core.freeze();
        write_all(&core, &mut state);
        file_bytes(&core)
    };
    // One map that is large, and many that are small; of all of them some entries live on.
    write(0, 0..1, 0..10_000);
    write(0, 1..500, 0..10);
    write(5, 0..1, 9_990..10_000);
    let before = write(5, 1..500, 0..2);
    write(TTL_MS, 1000..1001, 0..1);
    let after = write(TTL_MS, 1000..1001, 0..1);
    assert!(before > 500_000 && after < before / 5, "{before} {after}");
    for key in [0, 1, 499] {
        let mut left: Vec<u32> = state.iter(KeyContext::new(&key)).map(|(entry, _)| *entry).collect();
        left.sort_unstable();
        assert_eq!(left, if key == 0 { (9_990..10_000).collect::<Vec<_>>() } else { vec![0, 1] });
    }
    core.set_time(TTL_MS + 5);
    assert!(state.get(KeyContext::new(&1), &1).is_some(), "it is seen once");
    assert!(state.get(KeyContext::new(&1), &1).is_none());
}
