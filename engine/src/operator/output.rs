//! What an operator gives its results to: the next operator of its chain.
//!
//! ```text
//!   source ── Map ── Filter ── KeyedWriter ═══ exchange ═══▶ Window ── Map ── Sink
//!             └──────── one type ────────┘                   └─── one type ───┘
//! ```
//!
//! A chain is one generic type, compiled as one loop body: `collect` is a direct call that the compiler inlines. What is
//! not a record comes through `control`, once per batch or less.

use thalweg_net::Signal;

use crate::time::Timestamp;

/// Everything that passes through a chain and is not a record, in order with the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A watermark, a barrier, idleness or the end: what also travels in band between chains.
    Signal(Signal),
    /// The head has taken a batch; what is done once per batch is done now.
    BatchEnd,
    /// The input has run dry: what is held back to make batches leaves now.
    Flush,
    /// The processing-time clock shows this, in ms since the epoch.
    Tick(Timestamp),
}

/// An operator, apart from its records.
pub trait Stage: 'static {
    /// Takes whatever is not a record, does its own part in it, and passes it on.
    fn control(&mut self, control: Control);

    /// When this operator or one after it wants a [`Control::Tick`], in ms of processing time.
    fn wakes_at(&self) -> Option<Timestamp>;
}

/// The next operator of a chain, seen by the one before it. A [`crate::SourceReader`] names it, as what stands behind its
/// [`crate::SourceOutput`]: see [`crate::Source`] for an example.
///
/// A record is lent: who wants to keep it clones it. Its timestamp is in ms, [`crate::NO_TIMESTAMP`] when it has none.
pub trait Output<T>: Stage {
    /// Takes a record.
    fn collect(&mut self, record: &T, timestamp: Timestamp);
}

impl Control {
    pub(crate) fn watermark(watermark: Timestamp) -> Self {
        Control::Signal(Signal::Watermark(watermark))
    }

    pub(crate) fn idle(idle: bool) -> Self {
        Control::Signal(if idle { Signal::Idle } else { Signal::Active })
    }
}
