//! The operators. Pure: each is a state machine that takes records and gives results to the next [`Output`].
//!
//! - [`output`]: what an operator gives its results to;
//! - [`stateless`]: map, filter, flat_map, and other operators in the middle of a chain;
//! - [`lookahead`]: how operators look their state up before they get their records;
//! - [`rolling`], [`process`], [`co_process`], [`window`], [`join`]: operators at the head of a chain, behind an exchange.

pub(crate) mod co_process;
pub(crate) mod lookahead;
pub(crate) mod output;
pub(crate) mod partition;
pub(crate) mod process;
pub(crate) mod rolling;
pub(crate) mod stateless;
pub(crate) mod watermarks;
pub(crate) mod window;

use crate::api::record::{Key, Record};
use crate::data_plane::subtask::Guard;
use crate::time::Timestamp;
use output::Stage;

/// An operator at the head of a chain, apart from its records.
pub trait Operator: Stage {
    /// Event time has come to `watermark`: fires what is due, until the budget is used up.
    ///
    /// Returns whether all has been fired; if not, it is called again with the same watermark before any record, and the
    /// watermark goes downstream after it.
    fn advance(&mut self, _watermark: Timestamp, _budget: &mut Budget) -> bool {
        true
    }

    /// Fires the processing-time timers that the clock has passed, until the budget is used up. Called in each step, before any
    /// input is taken, unless an output is without credit.
    ///
    /// Returns whether all have been fired; if not, no input is taken before it is called again.
    fn fire_due(&mut self, _budget: &mut Budget) -> bool {
        true
    }

    /// Whether the records of the next buffer shall be shown to the operator before they are processed, because its state may not
    /// be in memory. Always the same.
    fn prepares(&self) -> bool {
        false
    }

    /// All records of a buffer were shown, one at least. Returns whether what they need is in memory.
    ///
    /// If not, it was asked for: the buffer is put aside, and its records are shown again when that has come. Otherwise they are
    /// processed, in as many steps as it takes, before another buffer is shown. They are also if state is missing even after
    /// some times: the operator must then wait for it.
    fn prepared(&mut self) -> bool {
        true
    }

    /// Called once per step of the core, if its state may be elsewhere than in memory, and after the operator's end too: the state
    /// freezes what has changed and lets go what has been written. Whatever the operator is in the midst of: as long as one has not
    /// frozen, a core without memory takes no input, and the operator may be waiting for just that.
    fn maintain(&mut self) {}

    /// A buffer has been read to its end, or put aside: what was prepared for its records is of no use any more.
    fn batch_done(&mut self) {}
}

/// A record as it lies in a received buffer.
#[derive(Debug)]
pub struct Received<'a, K: Key, T: Record> {
    pub(crate) key: &'a K::Archived,
    pub(crate) key_hash: u64,
    pub(crate) value: &'a T::Archived,
    pub(crate) timestamp: Timestamp,
    /// Its place among the records of its buffer; zero if the operator does not [prepare](Operator::prepares).
    pub(crate) number: u32,
}

/// State up to this size stays in a core's cache by itself: looking ahead would cost more than it brings. In bytes.
pub(crate) const CACHED_STATE_BYTES: usize = 512 << 10;

/// An operator with one input.
pub trait OneInput<K: Key, T: Record>: Operator {
    /// Whether `prefetch` is worth its cost for the next buffer: not while the state fits the cache.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// A record with this key hash and timestamp is about to come.
    fn prefetch(&self, _key_hash: u64, _timestamp: Timestamp) {}

    /// Whether `prefetch_owned` does anything.
    fn owns(&self) -> bool {
        false
    }

    /// The same record is closer now, and what `prefetch` asked for is there: asks for what it points to.
    fn prefetch_owned(&self, _key_hash: u64) {}

    /// A record that is about to come, if the operator [prepares](Operator::prepares).
    fn prepare(&mut self, _record: Received<'_, K, T>) {}

    /// Takes a record.
    fn process(&mut self, record: Received<'_, K, T>);
}

/// An operator with two inputs that share their keys.
pub trait TwoInput<K: Key, A: Record, B: Record>: Operator {
    /// Whether `prefetch` is worth its cost for the next buffer: not while the state fits the cache.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// A record with this key hash and timestamp is about to come.
    fn prefetch(&self, _key_hash: u64, _timestamp: Timestamp) {}

    /// Whether `prefetch_owned` does anything.
    fn owns(&self) -> bool {
        false
    }

    /// The same record is closer now, and what `prefetch` asked for is there: asks for what it points to.
    fn prefetch_owned(&self, _key_hash: u64) {}

    /// A record of the first input that is about to come, if the operator [prepares](Operator::prepares).
    fn prepare_left(&mut self, _record: Received<'_, K, A>) {}

    /// The same of the second input.
    fn prepare_right(&mut self, _record: Received<'_, K, B>) {}

    /// Takes a record of the first input.
    fn process_left(&mut self, record: Received<'_, K, A>);

    /// Takes a record of the second input.
    fn process_right(&mut self, record: Received<'_, K, B>);
}

/// How much an operator may fire in one step.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    firings: u32,
}

impl Budget {
    pub(crate) fn new(firings: u32) -> Self {
        Self { left: firings, firings }
    }

    /// Whether anything was taken from it.
    pub(crate) fn is_touched(&self) -> bool {
        self.left < self.firings
    }

    /// Takes one from the budget. Returns whether another firing may follow.
    #[inline]
    pub(crate) fn spend(&mut self, guard: &Guard) -> bool {
        self.spend_many(guard, 1)
    }

    /// Takes `firings` from the budget. Returns whether another one may follow.
    #[inline]
    pub(crate) fn spend_many(&mut self, guard: &Guard, firings: u32) -> bool {
        self.left = self.left.saturating_sub(firings);
        self.left > 0 && !guard.should_stop()
    }
}
