//! Each handle against a `BTreeMap` of what it should hold: on the heap, and in files, while what has changed is frozen, written,
//! compacted and let go at random, and keys are looked up ahead or are not.

use super::*;
use crate::backend::{CoreState, StateBackend};
use crate::context::KeyContext;
use crate::heap::KeyedTable;
use crate::lsm::Options;
use crate::spill::{Work, WorkProgress};
use crate::storage::Storage;
use crate::{Error, Key, KeyGroup, KeyGroupRange, MaxParallelism, cases, hash_word, key_group, range_of};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

fn backend() -> StateBackend {
    let max = MaxParallelism::new(6).unwrap();
    StateBackend::heap(KeyGroupRange::all(max), max)
}

/// A core with a state, and chance.
pub(super) struct Rig {
    pub(super) core: CoreState,
    pub(super) backend: StateBackend,
    storage: Storage,
    /// Work that has not been done yet.
    work: Vec<Work>,
    random: u64,
}

impl Rig {
    /// On the heap if the seed is 0.
    pub(super) fn new(seed: u64) -> Self {
        Self::open(seed, Storage::memory())
    }

    fn open(seed: u64, storage: Storage) -> Self {
        let options =
            Options { runs_max: 1, runs_stop: 4, level_ratio: 2, block_bytes: 4096, ..Options::nvme() };
        let core = match seed {
            0 => CoreState::heap(),
            _ => CoreState::lsm(&storage, options, 1).unwrap().0,
        };
        let max = MaxParallelism::new(6).unwrap();
        let backend = core.backend("test", KeyGroupRange::all(max), max);
        Self { core, backend, storage, work: Vec::new(), random: seed }
    }

    /// Writes all there is to files, and opens these anew.
    pub(super) fn reopen(mut self, mut state: impl StateSet) -> Self {
        self.settle(&mut state);
        assert!(self.core.take_fault().is_none());
        Self::open(self.random, self.storage)
    }

    /// Writes all there is to files, and does all work.
    pub(super) fn settle(&mut self, state: &mut impl StateSet) {
        loop {
            state.each(&mut |state| state.maintain());
            self.work.extend(std::iter::from_fn(|| self.core.poll_work()));
            if self.work.is_empty() {
                break;
            }
            self.do_work(0);
        }
        self.core.freeze();
        state.each(&mut |state| state.maintain());
        self.work.extend(std::iter::from_fn(|| self.core.poll_work()));
        while !self.work.is_empty() {
            self.do_work(0);
            state.each(&mut |state| state.maintain());
            self.work.extend(std::iter::from_fn(|| self.core.poll_work()));
        }
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random = hash_word(self.random);
        self.random.is_multiple_of(of)
    }

    fn do_work(&mut self, at: usize) {
        let mut work = self.work.swap_remove(at);
        while work.step(Duration::ZERO) != WorkProgress::Finished {}
        self.core.on_work_done(work);
    }

    /// What goes on between two records; and the context in which the next one's key is asked for.
    pub(super) fn before<'a, K: Key>(&mut self, state: &mut impl StateSet, key: &'a K) -> KeyContext<'a, K> {
        let cx = KeyContext::new(key);
        if !self.core.spills() {
            return cx;
        }
        state.each(&mut |state| state.maintain());
        if self.chance(8) {
            self.core.freeze();
            state.each(&mut |state| state.maintain());
        }
        self.work.extend(std::iter::from_fn(|| self.core.poll_work()));
        while !self.work.is_empty() && self.chance(2) {
            self.do_work(0);
        }
        if self.chance(4) {
            return cx; // Not prepared.
        }
        self.prepare(state, key)
    }

    /// The context of a key that is looked up ahead.
    pub(super) fn prepare<'a, K: Key>(&mut self, state: &mut impl StateSet, key: &'a K) -> KeyContext<'a, K> {
        let cx = KeyContext::new(key);
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        loop {
            let (mut is_there, arrivals) = (true, self.core.arrivals());
            state.each(&mut |state| {
                state.begin_batch(Lane::Records);
                state.prepare(0, cx.hash, &bytes);
                is_there &= state.resolve(Lane::Records);
            });
            if is_there {
                return cx.prepared_as(0);
            }
            self.work.extend(std::iter::from_fn(|| self.core.poll_work()));
            let at = self.work.iter().position(Work::is_urgent).expect("a part was asked for");
            self.do_work(at);
            assert!(self.core.arrivals() > arrivals);
        }
    }

    pub(super) fn end(&mut self) {
        assert!(self.core.take_fault().is_none());
    }
}

/// Whether the state is on the heap, or in files and what happens there.
pub(super) fn any_rig() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..u64::MAX, 1..u64::MAX]
}

/// Which operation, the key, the items.
fn any_list_ops() -> impl Strategy<Value = Vec<(u8, u32, Vec<u8>)>> {
    prop::collection::vec((0..6_u8, 0..8_u32, prop::collection::vec(any::<u8>(), 0..5)), 0..200)
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_value_state_is_a_map(seed in any_rig(), ops in prop::collection::vec((0..6_u8, 0..20_u32, any::<u64>()), 0..300)) {
        let mut rig = Rig::new(seed);
        let mut state = ValueState::<u32, u64>::new("value", &rig.backend).unwrap();
        let mut model = BTreeMap::<u32, u64>::new();
        for (op, key, value) in ops {
            let cx = rig.before(&mut state, &key);
            state.prefetch(cx.hash);
            match op {
                0 => {
                    state.set(cx, value);
                    model.insert(key, value);
                }
                1 | 2 => {
                    let updated = state.update_with(cx, || 7, |v| { *v ^= value; *v });
                    let expected = model.entry(key).or_insert(7);
                    *expected ^= value;
                    prop_assert_eq!(updated, *expected);
                }
                3 => prop_assert_eq!(state.take(cx), model.remove(&key)),
                4 => {
                    state.clear(cx);
                    model.remove(&key);
                }
                _ => {
                    let lent = *state.upsert(cx, value, |v| v, |old, new| *old = old.wrapping_add(new));
                    let expected = model.entry(key).and_modify(|v| *v = v.wrapping_add(value)).or_insert(value);
                    prop_assert_eq!(lent, *expected);
                }
            }
            prop_assert_eq!(state.get(cx), model.get(&key));
            prop_assert_eq!(state.contains(cx), model.contains_key(&key));
        }
        for key in 0..20 {
            let cx = rig.before(&mut state, &key);
            prop_assert_eq!(state.get_mut(cx).copied(), model.get(&key).copied());
            let viewed = state.view(cx).map(|view| match view {
                View::Value(value) => *value,
                View::Archived(value) => value.to_native(),
            });
            prop_assert_eq!(viewed, model.get(&key).copied());
        }
        rig.end();
    }

    #[test]
    fn a_list_state_is_a_map_of_lists(seed in any_rig(), ops in any_list_ops()) {
        let mut rig = Rig::new(seed);
        let mut state = ListState::<u32, u8>::new("list", &rig.backend).unwrap();
        let mut model = BTreeMap::<u32, Vec<u8>>::new();
        for (op, key, items) in ops {
            let cx = rig.before(&mut state, &key);
            let expected = model.entry(key).or_default();
            match op {
                0 | 1 => {
                    for &item in &items {
                        state.add(cx, item);
                    }
                    expected.extend(items);
                }
                2 | 3 => {
                    state.add_all(cx, items.clone());
                    expected.extend(items);
                }
                4 => {
                    state.update(cx, items.clone());
                    *expected = items;
                }
                _ => prop_assert_eq!(state.take(cx), std::mem::take(expected)),
            }
            prop_assert_eq!(state.get(cx), &expected[..]);
        }
        for (key, list) in &model {
            let cx = rig.before(&mut state, key);
            prop_assert_eq!(state.get(cx), &list[..]);
        }
        rig.end();
    }

    /// A table over some key groups is a map, in the order of the groups; also its cursors, whatever the groups.
    #[test]
    fn a_keyed_table_is_a_map(max in prop_oneof![Just(1_u32), Just(128), 1..300_u32], parallelism in 1..5_u32,
                              ops in prop::collection::vec((0..8_u8, 0..400_u64), 0..900), slots_max in 1..80_usize) {
        let max = MaxParallelism::new(max).unwrap();
        let parallelism = parallelism.min(max.get());
        let range = range_of(parallelism - 1, max, parallelism);
        let mut table = KeyedTable::new(range, max);
        prop_assert_eq!(table.key_groups(), range);
        let mut model = BTreeMap::<(u64, u64), u32>::new();
        for (op, key) in ops {
            let hash = key.key_hash();
            table.prefetch(hash); // Not all are ours.
            if !range.contains(key_group(hash, max)) {
                continue;
            }
            if op < 6 {
                *table.entry(hash, |&k| k == key, || (key, 0)).1 += 1;
                *model.entry((hash, key)).or_default() += 1;
            } else {
                prop_assert_eq!(table.remove(hash, |&k| k == key).map(|e| e.1), model.remove(&(hash, key)));
            }
            prop_assert_eq!(table.get(hash, |&k| k == key).map(|e| e.1), model.get(&(hash, key)));
            prop_assert_eq!(table.get_mut(hash, |&k| k == key).map(|e| *e.1), model.get(&(hash, key)).copied());
        }
        prop_assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
        let expected = table.iter().map(|(&key, &count)| (key, count)).collect::<Vec<_>>();
        prop_assert!(expected.iter().map(|(key, _)| key_group(key.key_hash(), max).0).is_sorted());
        let mut sorted = expected.iter().map(|&(key, count)| ((key.key_hash(), key), count)).collect::<Vec<_>>();
        sorted.sort_unstable();
        prop_assert!(model.iter().map(|(&key, &count)| (key, count)).eq(sorted));
        let copy = |(&key, &count): (&u64, &u32)| (key, count);
        prop_assert_eq!(table.iter_mut().map(|(&key, count)| (key, *count)).collect::<Vec<_>>(), expected.clone());
        let by_group = range.iter().flat_map(|group: KeyGroup| table.iter_group(group)).map(copy).collect::<Vec<_>>();
        prop_assert_eq!(by_group, expected.clone());

        let (mut seen, mut from) = (Vec::new(), Some(0));
        while let Some(cursor) = from {
            let start = seen.len();
            from = table.scan(cursor, slots_max, |hash, &key, &mut count| seen.push(((hash, key), count)));
            prop_assert!(from.is_none_or(|from| from > cursor));
            let in_step = |hash| hash >= cursor && from.is_none_or(|from| hash < from);
            prop_assert!(seen[start..].iter().all(|&((hash, _), _)| in_step(hash)));
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, model.clone().into_iter().collect::<Vec<_>>());

        let mut from = Some(0);
        while let Some(cursor) = from {
            from = table.retain_from(cursor, slots_max, |_, key, _| key % 3 != 0);
        }
        model.retain(|(_, key), _| key % 3 != 0);
        let mut left = table.iter().map(|(&key, &count)| ((key.key_hash(), key), count)).collect::<Vec<_>>();
        left.sort_unstable();
        prop_assert!(model.iter().map(|(&key, &count)| (key, count)).eq(left));
        let capacity = table.capacity();
        prop_assert_eq!(table.drain().collect::<Vec<_>>().len(), model.len());
        prop_assert_eq!((table.len(), table.capacity()), (0, capacity));
    }
}

#[test]
fn a_name_is_taken_once_for_each_operator() {
    let (one, other) = (backend(), backend());
    assert!(ValueState::<u64, u64>::new("count", &one).is_ok());
    assert!(ListState::<u64, u64>::new("list", &one).is_ok());
    assert!(ValueState::<u64, u64>::new("count", &other).is_ok());
    let again = MapState::<u64, u64, u64>::new("count", &one);
    assert!(matches!(again, Err(Error::DuplicateState { name }) if name == "count"));
}

#[test]
fn reductions_and_aggregates_go_by_key() {
    let backend = backend();
    let mut sum = ReducingState::new("sum", &backend, |a: &mut u64, b| *a += b).unwrap();
    let mut longest = AggregatingState::new(
        "longest",
        &backend,
        String::new,
        |longest: &mut String, word: &str| {
            if word.len() > longest.len() {
                word.clone_into(longest);
            }
        },
        String::len,
    )
    .unwrap();
    for (key, word) in [(1_u64, "to"), (2, "be"), (1, "or"), (1, "not")] {
        let cx = KeyContext::new(&key);
        sum.prefetch(cx.hash);
        longest.prefetch(cx.hash);
        sum.add(cx, word.len() as u64);
        longest.add(cx, word);
    }
    let (one, two, three) = (KeyContext::new(&1), KeyContext::new(&2), KeyContext::new(&3));
    assert_eq!([one, two, three].map(|key| sum.get(key).copied()), [Some(7), Some(2), None]);
    assert_eq!((longest.get(one), longest.get(two), longest.get(three)), (Some(3), Some(2), None));
    assert_eq!(longest.accumulator(one).map(String::as_str), Some("not"));
    assert_eq!(sum.take(one), Some(7));
    sum.clear(two);
    longest.clear(one);
    assert_eq!([one, two].map(|key| sum.get(key).copied()), [None, None]);
    assert_eq!(longest.get(one), None);
}

/// Goal: what is fetched ahead is what the key's value owns. Method: instead of fetching, write down which values are shown.
#[test]
fn the_value_of_a_key_is_shown_for_prefetching() {
    thread_local!(static SHOWN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) });
    let state = ValueState::new("value", &backend()).unwrap();
    let mut state = state.with_prefetch(|&value: &u64| SHOWN.with_borrow_mut(|shown| shown.push(value)));
    let plain = ValueState::<u32, u64>::new("plain", &backend()).unwrap();
    assert_eq!((state.owns(), plain.owns()), (true, false));
    state.prefetch_owned(KeyContext::new(&1_u32).hash); // Nothing is there yet.
    for key in 0..100_u32 {
        state.set(KeyContext::new(&key), u64::from(key));
        state.prefetch_owned(KeyContext::new(&key).hash);
    }
    // A tag has seven bits, so now and then it is that of a neighbour.
    let right = SHOWN.take().into_iter().enumerate().filter(|&(i, value)| i as u64 == value).count();
    assert!(right >= 95, "{right} of 100");
    state.clear(KeyContext::new(&7));
    let both = (plain, state);
    assert!(both.owns());
    both.prefetch_owned(KeyContext::new(&8).hash);
    assert_eq!(SHOWN.take(), [8]);
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn a_key_of_another_subtask_is_a_bug() {
    let max = MaxParallelism::default();
    let table = KeyedTable::<u64, u64>::new(range_of(1, max, 2), max);
    table.get(0, |_| true);
}
