//! Batches that need more parts of files than memory holds at once.

use std::time::Duration;

use crate::backend::CoreState;
use crate::context::KeyContext;
use crate::handle::{Lane, ListState, StateSet, ValueState};
use crate::lsm::Options;
use crate::spill::WorkProgress;
use crate::storage::Storage;
use crate::{Key, KeyGroupRange, MaxParallelism};

fn do_all_work(core: &CoreState, state: &mut impl StateSet) {
    while let Some(mut work) = core.poll_work() {
        while work.step(Duration::ZERO) != WorkProgress::Finished {}
        core.on_work_done(work);
        state.each(&mut |state| state.maintain());
    }
}

/// Goal: a batch comes to be complete although its blocks never are in memory all at once. Method: 2000 values of 1 KiB under a
/// budget of some 400 KiB for parts; each round brings in what was asked for.
#[test]
fn a_batch_larger_than_memory_is_prepared_in_rounds() {
    let options = Options { memory_bytes: 4 << 20, table_share: 0.9, block_bytes: 4096, ..Options::nvme() };
    let (core, _) = CoreState::lsm(&Storage::memory(), options, 1).unwrap();
    let max = MaxParallelism::default();
    let backend = core.backend("test", KeyGroupRange::all(max), max);
    let mut state = ValueState::<u64, Vec<u8>>::new("value", &backend).unwrap();
    let keys = 0..2000_u64;
    for key in keys.clone() {
        state.set(KeyContext::new(&key), vec![key as u8; 1024]);
    }
    core.freeze();
    state.each(&mut |state| state.maintain());
    do_all_work(&core, &mut state);

    let mut rounds = 0;
    let mut is_ready = false;
    while !is_ready {
        rounds += 1;
        assert!(rounds < 50, "it makes no progress");
        state.each(&mut |state| state.begin_batch(Lane::Records));
        for key in keys.clone() {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            state.each(&mut |state| state.prepare(key as u32, key.key_hash(), &bytes));
        }
        state.each(&mut |state| is_ready = state.resolve(Lane::Records));
        do_all_work(&core, &mut state);
    }
    for key in keys {
        let cx = KeyContext::new(&key).prepared_as(key as u32);
        assert_eq!(state.get(cx), Some(&vec![key as u8; 1024]));
    }
    assert_eq!(core.metrics().unwrap().blocking_reads, 0);
    assert!(core.take_fault().is_none());
}

/// Goal: values that grow where they are take memory too. Method: ten lists, appended to until they are ten times the budget; what
/// is not flushed stays below it.
#[test]
fn lists_that_grow_are_flushed_though_their_keys_are_few() {
    let options = Options { memory_bytes: 4 << 20, ..Options::nvme() };
    let (core, _) = CoreState::lsm(&Storage::memory(), options, 1).unwrap();
    let max = MaxParallelism::default();
    let backend = core.backend("test", KeyGroupRange::all(max), max);
    let mut lists = ListState::<u64, [u8; 64]>::new("lists", &backend).unwrap();
    let batches = (40 << 20) / 64 / 100;
    for batch in 0..batches {
        for at in 0..100_u64 {
            lists.add(KeyContext::new(&(at % 10)), [batch as u8; 64]);
        }
        core.maintain();
        lists.each(&mut |state| state.maintain());
        do_all_work(&core, &mut lists);
    }
    let flushed = core.metrics().unwrap().payload_bytes;
    assert!(flushed >= 38 << 20, "{flushed} bytes");
}

/// Goal: level 0 is emptied when nothing changes, and left alone while something does. Method: a freeze with and without a change
/// after it.
#[test]
fn level_0_is_emptied_at_rest() {
    let (core, _) = CoreState::lsm(&Storage::memory(), Options::nvme(), 1).unwrap();
    let max = MaxParallelism::default();
    let mut state =
        ValueState::<u64, u64>::new("value", &core.backend("test", KeyGroupRange::all(max), max)).unwrap();
    let mut freeze_after_changes = |last: bool| {
        (0..1000_u64).for_each(|key| state.set(KeyContext::new(&key), key));
        core.freeze();
        state.each(&mut |state| state.maintain());
        if !last {
            state.set(KeyContext::new(&0), 0);
            state.each(&mut |state| state.maintain());
        }
        do_all_work(&core, &mut state);
        core.metrics().unwrap()
    };
    assert_eq!(freeze_after_changes(false).runs, 1);
    assert_eq!(freeze_after_changes(false).runs, 2);
    let at_rest = freeze_after_changes(true);
    assert_eq!((at_rest.runs, at_rest.level_files[1]), (0, 1));
    assert_eq!(at_rest.space_amplification(), freeze_after_changes(true).space_amplification());
}
