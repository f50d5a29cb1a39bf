//! Tables of state larger than memory: what has changed lately, typed, over the files of a store.
//!
//! ```text
//!            ┌ top      cells that have changed since the last freeze
//!   memory ──┤
//!            └ frozen   older ones, on their way into the store
//!   below ───── base    the store; of a batch's keys, what it has said ahead (`prepared`)
//! ```
//!
//! In reading order:
//! - `table`: [`SpillTable`], and the [`Cell`]s it is made of; `prepared`: look-ups ahead;
//! - `windows`: accumulators of windows, which are added to in files;
//! - `port`: what connects the tables of a core with its store; `flush`: frozen tables as a sorted run; `work`: what is done
//!   on other threads.
//!
//! Invariants:
//! - what is higher is newer; a cell that does not hide what is below is added to it;
//! - on the record path nothing waits for a disk, unless a key was not prepared: that is counted.

mod flush;
mod port;
mod prepared;
mod table;
mod windows;
mod work;

pub(crate) use flush::{LayerEntries, Loaded};
pub(crate) use port::{Port, TablePort};
pub(crate) use table::{Below, Cell, SpillTable};
pub(crate) use windows::WindowMerge;
pub use windows::{FrozenWindow, WindowStore};
pub use work::{Work, WorkProgress};

#[cfg(test)]
mod tests;
