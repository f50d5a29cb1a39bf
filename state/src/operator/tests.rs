//! Goal: no item is lost or given twice, and shares are Flink's. Method: tables for small cases, properties for all.

use proptest::prelude::*;

use super::*;
use crate::{KeyGroupRange, MaxParallelism, StateBackend, cases};

fn saved(name: &str, redistribution: Redistribution, items: &[u8]) -> SavedState {
    let items = items.iter().map(|&item| vec![item]).collect();
    SavedState { name: name.into(), redistribution, schema: Fingerprint(1), items }
}

/// What each new subtask gets of each state, by name.
fn shares(old: &[Vec<SavedState>], parallelism: usize) -> Vec<Vec<Vec<u8>>> {
    let items = |state: SavedState| state.items.concat();
    redistribute(old, parallelism).into_iter().map(|states| states.into_iter().map(items).collect()).collect()
}

#[test]
fn lists_are_split_evenly_and_states_take_turns() {
    let of =
        |a: &[u8], b: &[u8]| vec![saved("a", Redistribution::Split, a), saved("b", Redistribution::Split, b)];
    let old = [of(&[1, 2, 3], &[10]), of(&[4], &[11])];
    assert_eq!(shares(&old, 2), [[vec![1, 2, 3], vec![10]], [vec![4], vec![11]]]); // As they were.
    // Of a the longer one is the first's, so those of b begin with the second.
    assert_eq!(shares(&old, 3), [[vec![1, 2], vec![]], [vec![3], vec![10]], [vec![4], vec![11]]]);
    assert_eq!(shares(&old, 1), [[vec![1, 2, 3, 4], vec![10, 11]]]);
}

#[test]
fn a_union_is_all_and_a_broadcast_is_any() {
    let of = |union: &[u8], copy: &[u8]| {
        vec![saved("copy", Redistribution::Broadcast, copy), saved("union", Redistribution::Union, union)]
    };
    let old = [of(&[1, 2], &[7]), of(&[3], &[8])];
    assert_eq!(
        shares(&old, 3),
        [[vec![7], vec![1, 2, 3]], [vec![8], vec![1, 2, 3]], [vec![7], vec![1, 2, 3]]]
    );
    assert_eq!(shares(&old, 2), [[vec![7], vec![1, 2, 3]], [vec![8], vec![1, 2, 3]]]);
}

#[test]
fn a_state_that_only_some_have_is_given_too() {
    let old = [vec![], vec![saved("late", Redistribution::Broadcast, &[7])]];
    assert_eq!(shares(&old, 2), [[[7]], [[7]]]);
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn shares_are_the_items_in_runs(
        old in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 3), 1..6),
        parallelism in 1..6_usize,
    ) {
        let names = ["a", "b", "c"];
        let states = |lists: &Vec<Vec<u8>>| {
            names.iter().zip(lists).map(|(name, list)| saved(name, Redistribution::Split, list)).collect()
        };
        let states: Vec<Vec<SavedState>> = old.iter().map(states).collect();
        let new = shares(&states, parallelism);
        prop_assert_eq!(new.len(), parallelism);
        let mut given = vec![0_usize; parallelism];
        for (state, _) in names.iter().enumerate() {
            let mut all: Vec<u8> = old.iter().flat_map(|lists| lists[state].clone()).collect();
            let mut of_all: Vec<u8> = new.iter().flat_map(|lists| lists[state].clone()).collect();
            all.sort_unstable();
            of_all.sort_unstable();
            prop_assert_eq!(all, of_all);
            new.iter().zip(&mut given).for_each(|(lists, given)| *given += lists[state].len());
        }
        if old.len() != parallelism {
            prop_assert!(given.iter().max().unwrap() - given.iter().min().unwrap() <= 1, "{:?}", given);
        }
    }

    #[test]
    fn what_is_saved_is_loaded(list in prop::collection::vec(any::<(u64, String)>(), 0..8), noise in prop::collection::vec(any::<u8>(), 0..64)) {
        let max = MaxParallelism::default();
        let backend = StateBackend::heap(KeyGroupRange::all(max), max);
        let mut items = OperatorListState::<(u64, String)>::new("list", Redistribution::Union, &backend).unwrap();
        let mut rules = BroadcastState::<u64, String>::new("rules", &backend).unwrap();
        list.iter().for_each(|item| items.add(item.clone()));
        list.iter().for_each(|(key, value)| _ = rules.put(*key, value.clone()));
        let (saved_items, saved_rules) = (items.save().unwrap(), rules.save().unwrap());
        items.update(Vec::new());
        rules.clear();
        items.load(&saved_items).unwrap();
        rules.load(&saved_rules).unwrap();
        prop_assert_eq!(items.get(), &list);
        for (key, _) in &list {
            let last = list.iter().rfind(|(other, _)| other == key).map(|(_, value)| value);
            prop_assert_eq!(rules.get(key), last);
        }
        // Any bytes are an error or items, and an error leaves what is there alone.
        let damaged = SavedState { items: vec![noise.clone()], ..saved_rules };
        if rules.load(&damaged).is_err() {
            prop_assert!(list.iter().all(|(key, _)| rules.get(key).is_some()));
        }
        let _ = items.load(&SavedState { items: vec![noise], ..saved_items });
    }
}
