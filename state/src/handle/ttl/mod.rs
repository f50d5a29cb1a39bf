//! State that expires: values and items with the time when they were used last.
//!
//! ```text
//!   Ttl ──▶ Life: what has expired now, and what a read or a write does about it
//!            ├─ TimedValues   Values of Timed<V>: value, reducing, aggregating
//!            ├─ TimedLists    Lists of TimedItems<T>: each item for itself
//!            ├─ TimedMaps     Maps of (V, ms): each entry for itself
//!            └─ Expiry        what flushes and compactions leave of them in files
//! ```
//!
//! In reading order: `config`, `life`, `timed` (how they are written), `values`, `lists`, `maps`, `expiry`.
//!
//! Invariants:
//! - what is used at a time does not expire before that time and the time to live;
//! - what has expired is seen if [`StateVisibility`] says so, and only until it is cleared away; then never again;
//! - appending to a list reads nothing.
//!
//! # Decisions
//! - **A stamp beside each value, at the end of its bytes**, rather than a wheel of timers: as in Flink, state costs 8 bytes more
//!   and no work when it is used, and compactions find the stamp without knowing the type.
//! - **A read that finds expired items of a list drops them from what memory has**, where Flink passes over them until all have
//!   expired: nobody sees a difference, and the next read has less to do. Where they are seen, they stay, as in Flink.
//! - **Methods are cold and never inlined**: in line they cost those of states that do not expire some instructions each.

mod config;
mod expiry;
mod life;
mod lists;
mod maps;
mod timed;
mod values;

pub use config::{StateVisibility, Ttl, UpdateType};
pub(super) use lists::TimedLists;
pub(super) use maps::TimedMaps;
pub(super) use values::TimedValues;

#[cfg(test)]
mod tests;
