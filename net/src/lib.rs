//! What lies between two subtasks: buffers, the entries in them, rings from core to core, and credit.
//!
//! ```text
//!   Appender ──▶ BufferMut ──freeze──▶ Buffer ──▶ CreditSender ──▶ ring ──▶ CreditReceiver ──▶ Reader
//!      │            ▲                                │                                             │
//!   &K, &T          └── BufferPool ◀── returns by itself when the last reference goes ◀────────────┘
//! ```
//!
//! In reading order:
//! - `entry`: how a record, a watermark or a barrier stands in a buffer; the bytes are described below;
//! - `buffer`: pooled, aligned, reference-counted memory that comes home from any core;
//! - `archive`, `appender`, `reader`: rkyv archives written into a buffer and read in it, typed at both ends;
//! - [`ring`]: handing items from one core to another; `park`: waking the other when it sleeps;
//! - `credit`: how much may be sent, as a pure state machine;
//! - `prefetch`: asking for a cache line ahead of its use; `sync`: `std`'s atomics or loom's.
//!
//! Unsafe code is in `buffer`, `archive`, `appender`, `reader`, `ring` and `prefetch`, behind interfaces that are safe.
//!
//! # What is checked by what
//!
//! - **Between threads**: loom's models (`src/tests/loom.rs`) walk through every interleaving of a few steps of ring, pool and park
//!   flag, and all that the memory model allows in each. ThreadSanitizer takes real threads and sizes, archives among them
//!   (`tests/stress.rs`). It finds a Release or an Acquire that is missing from either index of the ring or from the
//!   pool's return stack; that of the reference count, which matters only when two go at once, is left to loom.
//! - **Memory**: all tests run under AddressSanitizer, which sees what is used too late, out of bounds, or never freed.
//! - **Bytes**: round trips of any record through buffers of any size, against a list (`src/tests/round_trip.rs`); golden bytes of the
//!   format (`src/tests/layout.rs`).
//! - **Credit**: properties against two counters, beside the code.
//!
//! `.ci/run` runs loom, and `.ci/sanitize` the sanitizers where there is a nightly toolchain.
#![doc = include_str!("../PROTOCOL.md")]

mod appender;
mod archive;
mod buffer;
#[forbid(unsafe_code)]
mod credit;
#[forbid(unsafe_code)]
mod entry;
#[forbid(unsafe_code)]
mod error;
#[forbid(unsafe_code)]
mod park;
mod prefetch;
mod reader;
pub mod ring;
mod sync;
#[cfg(test)]
mod tests;

pub use appender::Appender;
pub use archive::{AppendError, EntryWriter, Exchange, Full};
pub use buffer::{BUFFER_ALIGN, BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MAX, Buffer, BufferMut, BufferPool};
pub use credit::{CreditReceiver, CreditSender, SequenceGap};
pub use entry::{ENTRY_ALIGN, ENTRY_HEADER_BYTES, EntryHeader, EntryKind, LatencyMarker, Signal};
pub use error::Error;
pub use park::ParkFlag;
pub use prefetch::{prefetch, prefetch_lines};
pub use reader::{Item, RawItem, RawRecord, Reader, Run, WrongType};
