//! Keyed state of thalweg: what an operator remembers of each key, and when it wants to be woken.
//!
//! ```text
//!   key ── hash ──▶ 64 bits ── × max parallelism ──▶ key group ── × parallelism ──▶ subtask
//!                                                       │
//!         handles: value, list, map, reducing, …  ──▶ one typed table per key group     timers
//! ```
//!
//! In reading order:
//! - `key`: the [`Key`] trait, its stable hash and its ordered bytes (both part of the savepoint format);
//! - `key_group`: how hashes are cut into [`KeyGroup`]s, and these among subtasks;
//! - [`heap`]: typed hash tables nearly in hash order, one per key group;
//! - `value`: [`StateValue`], what a state can hold; `context`: [`KeyContext`], whose state is meant;
//! - `backend`: [`CoreState`] and [`StateBackend`], which keep state on the heap or in files, as the job chooses;
//! - `handle`: what user functions hold: [`ValueState`], [`ListState`], [`MapState`], [`ReducingState`],
//!   [`AggregatingState`], all registered with a [`StateBackend`]; with a [`Ttl`] what they hold expires, by the `clock` that the
//!   driver of the core sets;
//! - `operator`: state that belongs to no key: [`OperatorListState`], [`BroadcastState`], and who gets what of it;
//! - `spill`: tables over files, with look-ahead and what is done on other threads;
//! - `snapshot`: all tables of a core at one time, as files that either backend restores;
//! - `due`: [`DueQueue`], items in the order of their times; `timer`: [`Timers`], which can be found and deleted too, and
//!   [`TimerState`], which is where the backend keeps state;
//! - [`storage`]: where the files of a store are, on a disk or in memory; [`testing`]: disks that fail;
//! - [`lsm`]: state larger than memory.
//!
//! Invariants:
//! - a key's hash, key group and bytes depend on the key and the maximal parallelism only, never on the process;
//! - what is ordered by hash is ordered by key group too: a key group is a contiguous run of every table;
//! - nothing here knows a clock or a thread, and only `storage` knows files.
//!
//! # Decisions
//! - **Tables are nearly in hash order**: linear probing from a home that rises with the hash. Growing is then one
//!   sequential pass, iteration depends on the history of the table only, and a cursor is a hash, which stays valid
//!   while the table changes between two steps of a long walk. It is probed like hashbrown's, sixteen tags at a time.
//! - **A table per key group** rather than one for all: growing one moves 1/128 of the keys, so no record
//!   waits for a rehash of millions. Their capacities are staggered, so that they do not grow together.
//! - **The hash comes in from outside.** It travelled with the record, so no table ever computes one.
#![doc = include_str!("../FORMAT.md")]

mod backend;
mod clock;
mod context;
mod due;
mod error;
mod handle;
pub mod heap;
mod key;
mod key_group;
pub mod lsm;
mod operator;
mod prefetch;
mod snapshot;
mod spill;
pub mod storage;
pub mod testing;
mod timer;
mod value;

pub use backend::{BackendKind, CoreState, StateBackend, StateDescriptor};
pub use context::{ArchivedKey, KeyContext, KeyRef};
pub use due::DueQueue;
pub use error::Error;
pub use handle::{
    AggregatingState, KeyedState, Lane, ListState, MapIter, MapState, ReducingState, StateSet,
    StateVisibility, Ttl, UpdateType, ValueState, View,
};
pub use key::{Key, KeyError, hash_bytes, hash_pair, hash_word};
pub use key_group::{HashSpread, KeyGroup, KeyGroupRange, MaxParallelism, key_group, range_of, subtask_of};
pub use operator::{
    BroadcastState, OperatorListState, OperatorState, Redistribution, SavedState, redistribute,
};
pub use snapshot::PendingSnapshot;
pub use spill::{FrozenWindow, WindowStore, Work, WorkProgress};
pub use timer::{TimerState, Timers, Wakes};
pub use value::{StateValue, Stored, ValueError, fingerprint, load_two, store_two};

/// How properties are tested: the same cases in every run, and nothing left on the disk.
#[cfg(test)]
fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: if cfg!(miri) { 4 } else { count },
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x0074_6861_6c77_6567),
        ..Default::default()
    }
}
