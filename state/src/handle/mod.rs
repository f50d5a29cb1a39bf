//! Handles: the typed states a user's function holds, each a table under a name.
//!
//! A handle is used with a [`KeyContext`], the current record's key and hash: reads lend, a read-modify-write is one
//! call and so one look-up, and nothing hashes a key again.
//!
//! - `value`, `list`, `map`, `reducing`, `aggregating`: Flink's five keyed states;
//! - `small_map`: the map under one key of a map state, or what memory has of it;
//! - `values`, `lists`: what these are made of, on either backend; `spilled`, `list_cell`, `map::spilled`: values, lists and maps over
//!   a store, where the job's state may be larger than memory;
//! - `ttl`: the same with times, for state that expires.
//!
//! Invariants:
//! - two states of one operator have different names;
//! - a key whose state is empty (no value, an empty list or map) has no entry and takes no memory.

mod aggregating;
mod list;
mod list_cell;
mod lists;
mod map;
mod reducing;
mod set;
mod small_map;
mod spilled;
mod ttl;
mod value;
mod values;

pub use aggregating::AggregatingState;
pub use list::ListState;
pub use map::{MapIter, MapState};
pub use reducing::ReducingState;
pub use set::{KeyedState, Lane, StateSet};
pub use ttl::{StateVisibility, Ttl, UpdateType};
pub use value::{ValueState, View};

#[cfg(test)]
mod tests;
