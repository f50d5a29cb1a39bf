//! Entries: records, and the signals that travel among them, inside a buffer.
//!
//! ```text
//!   buffer:  │ entry │ entry │ …            each starts at a multiple of 8
//!   entry:   │ len u32 │ kind u8 │ 0 0 0 │ timestamp i64 │ key hash u64 │ payload … │
//!            0         4         5       8               16             24          len
//! ```
//!
//! Invariants:
//! - entries fill a buffer without gaps, from its first byte to its last: `len`, a multiple of 8, counts header and payload;
//! - only a record has a payload; a signal is its header, with its numbers in the header's fields;
//! - the 8-byte gap that keeps a copied payload aligned is an entry too, of a kind of its own, and is never the last.

use crate::{Full, buffer::BUFFER_ALIGN};

/// What stands before every payload. In memory and on the wire alike: little-endian, no padding.
///
/// ```
/// assert_eq!(size_of::<thalweg_net::EntryHeader>(), 24);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct EntryHeader {
    /// The length of header and payload together, in bytes; a multiple of 8.
    pub len: u32,
    /// One of [`EntryKind`]'s numbers.
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Event time of a record, or a signal's first number.
    pub timestamp: i64,
    /// A record's key hash, or a signal's second number.
    pub key_hash: u64,
}

/// The size of an entry's header, in bytes.
pub const ENTRY_HEADER_BYTES: usize = size_of::<EntryHeader>();

/// Where an entry may start: at multiples of this, in bytes.
pub const ENTRY_ALIGN: usize = 8;

const _: () = assert!(size_of::<EntryHeader>() == 24 && align_of::<EntryHeader>() == ENTRY_ALIGN);
const _: () = assert!(ENTRY_ALIGN <= BUFFER_ALIGN && ENTRY_HEADER_BYTES.is_multiple_of(ENTRY_ALIGN));
const _: () = assert!(cfg!(target_endian = "little"), "entries are written in place, in little-endian order");

/// What an entry is: the number in its header. Numbers are part of the protocol and are never reused.
///
/// ```
/// assert_eq!(thalweg_net::EntryKind::Record as u8, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A record: key and value are in the payload.
    Record = 0,
    /// [`Signal::Watermark`].
    Watermark = 1,
    /// [`Signal::Idle`].
    Idle = 2,
    /// [`Signal::Active`].
    Active = 3,
    /// [`Signal::Barrier`].
    Barrier = 4,
    /// [`Signal::Latency`].
    Latency = 5,
    /// [`Signal::End`].
    End = 6,
    /// Eight bytes of nothing: `len`, kind and reserved bytes only. Readers skip it.
    Gap = 7,
}

/// What travels in band and is not a record.
///
/// ```
/// use thalweg_net::{Appender, BufferPool, Item, Reader, Signal};
///
/// let pool = BufferPool::new(1024)?;
/// let mut out = Appender::<u32, u32>::new(pool.take());
/// out.signal(Signal::Watermark(5))?;
/// out.signal(Signal::End)?;
/// let mut input = Reader::<u32, u32>::open(out.finish())?;
/// assert!(matches!(input.next(), Some(Item::Signal(Signal::Watermark(5)))));
/// assert!(matches!(input.next(), Some(Item::Signal(Signal::End))));
/// assert!(input.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// No record with an earlier timestamp follows on this channel, late ones aside. Unit: ms of event time.
    Watermark(i64),
    /// The sender has nothing for now: its watermark holds nobody back.
    Idle,
    /// The sender is back, after `Idle`.
    Active,
    /// What came before belongs to the checkpoint, what follows does not.
    Barrier {
        /// The checkpoint's number.
        checkpoint: u64,
        /// When it was triggered, in ms of wall-clock time.
        timestamp_ms: i64,
    },
    /// A probe that measures how long the way from a source is.
    Latency(LatencyMarker),
    /// Nothing follows on this channel.
    End,
}

/// A probe sent by a source now and then; it waits in every queue a record would wait in.
///
/// ```
/// use thalweg_net::{LatencyMarker, Signal};
///
/// let marker = LatencyMarker { operator: 3, subtask: 1, marked_ns: 1_000 };
/// assert_ne!(Signal::Latency(marker), Signal::End);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyMarker {
    /// The index of the source operator that sent it.
    pub operator: u32,
    /// The subtask of that operator.
    pub subtask: u32,
    /// When it was sent, in ns on the process's monotonic clock.
    pub marked_ns: u64,
}

impl EntryHeader {
    /// The header of a record whose entry has `len` bytes.
    #[inline(always)]
    pub(crate) fn record(len: usize, timestamp: i64, key_hash: u64) -> Self {
        Self { len: len as u32, kind: EntryKind::Record as u8, reserved: [0; 3], timestamp, key_hash }
    }
}

impl From<Signal> for EntryHeader {
    fn from(signal: Signal) -> Self {
        let (kind, timestamp, key_hash) = match signal {
            Signal::Watermark(timestamp) => (EntryKind::Watermark, timestamp, 0),
            Signal::Idle => (EntryKind::Idle, 0, 0),
            Signal::Active => (EntryKind::Active, 0, 0),
            Signal::Barrier { checkpoint, timestamp_ms } => (EntryKind::Barrier, timestamp_ms, checkpoint),
            Signal::Latency(LatencyMarker { operator, subtask, marked_ns }) => {
                (EntryKind::Latency, i64::from(operator) << 32 | i64::from(subtask), marked_ns)
            }
            Signal::End => (EntryKind::End, 0, 0),
        };
        Self { len: ENTRY_HEADER_BYTES as u32, kind: kind as u8, reserved: [0; 3], timestamp, key_hash }
    }
}

impl EntryHeader {
    /// The signal this header is, or `None` if it is none: a record, a gap, or a kind nobody knows.
    ///
    /// ```
    /// use thalweg_net::{EntryHeader, EntryKind, Signal};
    ///
    /// let header = EntryHeader::from(Signal::Watermark(5));
    /// assert_eq!((header.kind, header.signal()), (EntryKind::Watermark as u8, Some(Signal::Watermark(5))));
    /// assert_eq!(EntryHeader { kind: EntryKind::Record as u8, ..header }.signal(), None);
    /// ```
    pub fn signal(&self) -> Option<Signal> {
        const WATERMARK: u8 = EntryKind::Watermark as u8;
        const IDLE: u8 = EntryKind::Idle as u8;
        const ACTIVE: u8 = EntryKind::Active as u8;
        const BARRIER: u8 = EntryKind::Barrier as u8;
        const LATENCY: u8 = EntryKind::Latency as u8;
        const END: u8 = EntryKind::End as u8;
        Some(match self.kind {
            WATERMARK => Signal::Watermark(self.timestamp),
            IDLE => Signal::Idle,
            ACTIVE => Signal::Active,
            BARRIER => Signal::Barrier { checkpoint: self.key_hash, timestamp_ms: self.timestamp },
            LATENCY => Signal::Latency(LatencyMarker {
                operator: (self.timestamp >> 32) as u32,
                subtask: self.timestamp as u32,
                marked_ns: self.key_hash,
            }),
            END => Signal::End,
            _ => return None,
        })
    }
}

/// The first word of a gap, which is all of it: `len` 8, its kind, zeros.
pub(crate) const GAP: u64 = 8 | (EntryKind::Gap as u64) << 32;

/// The size of a gap, in bytes.
pub(crate) const GAP_BYTES: usize = size_of_val(&GAP);

/// The end of an entry of `bytes` at `start`, if that is within `capacity`.
#[inline]
pub(crate) fn end_within(start: usize, bytes: usize, capacity: usize) -> Result<usize, Full> {
    let end = start + bytes;
    if end <= capacity { Ok(end) } else { Err(Full) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_survive_their_header() {
        // Goal: each number comes back from its field, the extremes included.
        let marker = |operator, subtask, marked_ns| LatencyMarker { operator, subtask, marked_ns };
        for signal in [
            Signal::Watermark(i64::MIN),
            Signal::Watermark(i64::MAX),
            Signal::Idle,
            Signal::Active,
            Signal::Barrier { checkpoint: u64::MAX, timestamp_ms: -1 },
            Signal::Latency(marker(u32::MAX, 1, 2)),
            Signal::Latency(marker(1, u32::MAX, u64::MAX)),
            Signal::End,
        ] {
            let header = EntryHeader::from(signal);
            assert_eq!(header.signal(), Some(signal));
            assert_eq!((header.len, header.reserved), (24, [0; 3]));
        }
    }

    #[test]
    fn other_kinds_are_no_signals() {
        let header = EntryHeader::record(32, 0, 0);
        for kind in [EntryKind::Record as u8, EntryKind::Gap as u8, 8, 255] {
            assert_eq!(EntryHeader { kind, ..header }.signal(), None);
        }
    }
}
