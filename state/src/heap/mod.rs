//! State in memory: typed hash tables whose entries are near their place in hash order.
//!
//! - [`Table`] is one such table over all 64-bit hashes;
//! - [`KeyedTable`] is one [`Table`] for each key group of a subtask, behind the same methods;
//! - [`LayeredTable`] is a [`KeyedTable`] that can be frozen, and knows what has changed since.

mod changes;
mod keyed;
mod layered;
mod table;

pub use keyed::{KeyedDrain, KeyedIter, KeyedIterMut, KeyedTable};
pub use layered::{Frozen, LayeredTable};
pub use table::{Drain, Iter, IterMut, Table};
