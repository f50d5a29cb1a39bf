//! Batches that need more parts of files than memory holds at once.

use std::time::Duration;

use crate::backend::CoreState;
use crate::context::KeyContext;
use crate::handle::{Lane, StateSet, ValueState};
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
