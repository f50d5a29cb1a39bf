//! The data plane of one core. Pure: no glommio, no clock, no thread.
//!
//! ```text
//!                    ┌──────────────────────────── Core ─────────────────────────────┐
//!   link from core 1 │  Switch ── incoming channels ──▶ Gate ──▶ head ══ chain ══ writer ──▶ outgoing channels │ link to core 1
//!                    │    ▲                              Subtask                            │        │
//!                    │    └─────────────── channels that stay on this core ─────────────────┘        │
//!                    └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! - [`switch`]: the channels of this core, their credit, and the links to its peers;
//! - [`gate`]: the input of a subtask: which channel is next, what the channels' watermarks say together;
//! - [`inbox`]: the buffer that is read, and what its records need ahead;
//! - [`subtask`]: a head and its chain, stepped;
//! - [`writer`]: the tail of a chain, which writes records to channels;
//! - [`background`]: what others do for the core meanwhile;
//! - [`core`]: all subtasks of a core, stepped in turn, and what they can be told from outside.
//!
//! Invariants:
//! - a subtask takes a record only while all its outputs have credit; what one record writes beyond it is bounded and counted;
//! - a watermark goes downstream after everything that it fires;
//! - the records of a channel keep their order, also when state that they need is not in memory: then the channel waits, no other;
//! - a step is bounded by a budget, so that no input starves another.

pub(crate) mod background;
pub(crate) mod core;
pub(crate) mod gate;
pub(crate) mod head;
mod inbox;
pub(crate) mod subtask;
pub(crate) mod switch;
pub(crate) mod writer;

pub(crate) use subtask::{Subtask, SubtaskContext};
