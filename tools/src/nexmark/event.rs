//! One event, read where it lies in its shard.
//!
//! ```text
//!   shard   ┌─────┬──────┬──────┬────────────┬─────┬──────┬──────┬─────
//!           │ len │ kind │ time │ fields …   │ len │ kind │ time │ …        all little-endian
//!           └─────┴──────┴──────┴────────────┴─────┴──────┴──────┴─────
//!           0     4      5      13           4 + len
//!   Event    at ─────────────────────────────▶ end                 + id and time shift of the pass
//! ```
//!
//! | bytes | type | meaning |
//! |---|---|---|
//! | 0..4 | u32 | length of what follows |
//! | 4 | u8 | kind: 0 person, 1 auction, 2 bid |
//! | 5..13 | i64 | event time, ms since the epoch (always equal to `date_time`) |
//! | 13.. | | the fields in the order of their accessors: an integer is a u64, a text a u16 length and as many bytes of UTF-8 |
//!
//! A source lends `&Event` to the job's closures. There is one `Event` for each subtask, which its [`Cursor`]
//! moves from record to record: nothing is decoded that no closure asks for. An event crosses an exchange as the bytes of
//! its record, in one copy, and is read there in the same way.
//!
//! - `view`: the kinds of events, and the accessors of their fields;
//! - `cursor`: the walk over a shard.
//!
//! Invariants:
//! - the bytes are a [`Shard`](super::Shard)'s, so they are valid, and the slices taken here never fail;
//! - `at..end` is a whole record;
//! - pass `k` is the shard with `k` × [`ID_SHIFT`] on every person and auction id and `k` × `loop_shift_ms` on every
//!   time, so passes share no key and event time goes on.

mod cursor;
mod view;

pub(super) use cursor::AHEAD_LINES;
pub use cursor::{Cursor, Position};
pub use view::{Auction, Bid, Person, Text, View};

use std::fmt;
use std::sync::Arc;

use rkyv::munge::munge;
use rkyv::rancor::Fallible;
use rkyv::rend::u64_le;
use rkyv::ser::{Allocator, Writer};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Deserialize, Place, Serialize};

/// What each pass over the data adds to the ids of persons and auctions.
///
/// ```
/// assert_eq!(thalweg_tools::nexmark::ID_SHIFT, 1_000_000_000);
/// ```
pub const ID_SHIFT: u64 = 1_000_000_000;

/// Where the kind of a record is, in bytes from its beginning.
pub(super) const KIND_AT: usize = 4;

/// Where the event time of a record is.
pub(super) const TIME_AT: usize = 5;

/// Where the first field of a record is.
pub(super) const FIELDS_AT: usize = 13;

/// Where the first text of a person or an auction is: only the id comes before it.
const TEXTS_AFTER_ID_AT: usize = FIELDS_AT + 8;

/// Where the first text of a bid is: auction, bidder and price come before it.
const TEXTS_OF_BID_AT: usize = FIELDS_AT + 3 * 8;

/// What is read of every record at once: a bid's integers. No record is shorter, as a person or an auction has other
/// integers and the lengths of its texts behind its id.
const HEAD_BYTES: usize = TEXTS_OF_BID_AT;

/// What an event is.
///
/// ```
/// use thalweg_tools::nexmark::Kind;
/// assert_eq!(Kind::Bid as u8, 2); // As in a record.
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Someone who sells and bids.
    Person = 0,
    /// Something for sale.
    Auction = 1,
    /// An offer for an auction.
    Bid = 2,
}

/// An event of any kind: a place in a shard, what stands there before the first text, and the shifts of the pass.
///
/// Cost: integers before the first text are read once, when the cursor moves; every other accessor reads the shard's
/// bytes when called. A clone shares the shard.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, Kind, generate_in_memory};
/// let data = generate_in_memory(10, 1);
/// let mut cursor = Cursor::new(&data.shards[0], 1);
/// let event = cursor.next(|_, _| ()).expect("ten events");
/// assert_eq!((event.kind(), event.time()), (Kind::Person, 1_700_000_000_000));
/// assert!(event.bid().is_none());
/// assert_eq!(event.person().expect("a person").id(), 1000);
/// ```
#[derive(Clone)]
pub struct Event {
    bytes: Arc<Vec<u8>>,
    at: usize,
    end: usize,
    head: Head,
    shift: Shift,
}

impl Event {
    /// What this event is.
    #[inline(always)]
    pub fn kind(&self) -> Kind {
        self.head.kind()
    }

    /// Event time, in ms since the epoch. The same as `date_time` of each kind, in the type of engines.
    #[inline(always)]
    pub fn time(&self) -> i64 {
        self.head.time.cast_signed()
    }

    /// The bid, if it is one.
    #[inline(always)]
    pub fn bid(&self) -> Option<Bid<'_>> {
        (self.kind() == Kind::Bid).then(|| Bid { head: self.head, texts: self.after(TEXTS_OF_BID_AT) })
    }

    /// The auction, if it is one.
    #[inline(always)]
    pub fn auction(&self) -> Option<Auction<'_>> {
        (self.kind() == Kind::Auction).then(|| Auction {
            head: self.head,
            rest: self.after(TEXTS_AFTER_ID_AT),
            shift: self.shift,
        })
    }

    /// The person, if it is one.
    #[inline(always)]
    pub fn person(&self) -> Option<Person<'_>> {
        (self.kind() == Kind::Person)
            .then(|| Person { head: self.head, texts: self.after(TEXTS_AFTER_ID_AT) })
    }

    /// The event as whatever it is, to `match` on.
    #[inline(always)]
    pub fn view(&self) -> View<'_> {
        match self.kind() {
            Kind::Person => View::Person(Person { head: self.head, texts: self.after(TEXTS_AFTER_ID_AT) }),
            Kind::Auction => View::Auction(Auction {
                head: self.head,
                rest: self.after(TEXTS_AFTER_ID_AT),
                shift: self.shift,
            }),
            Kind::Bid => View::Bid(Bid { head: self.head, texts: self.after(TEXTS_OF_BID_AT) }),
        }
    }

    /// The record as it lies in the shard, its length included. Not shifted.
    #[inline(always)]
    pub fn record(&self) -> &[u8] {
        &self.bytes[self.at..self.end]
    }

    /// The record from its byte `at` on. Never fails, so that it costs nothing where nobody looks at it.
    #[inline(always)]
    fn after(&self, at: usize) -> &[u8] {
        self.bytes.get(self.at + at..self.end).unwrap_or_default()
    }
}

/// What stands before the first text of a record, shifted.
#[derive(Clone, Copy, Default)]
struct Head {
    kind: u8,
    time: u64,
    /// A bid's auction and bidder; the id of a person or an auction, and what is no integer.
    ids: [u64; 2],
    /// A bid's; of other events it is no integer.
    price: u64,
}

impl Head {
    #[inline(always)]
    fn read(record: &[u8; HEAD_BYTES], shift: Shift) -> Head {
        let word = |at| u64_at(record, at);
        Head {
            kind: record[KIND_AT],
            time: word(TIME_AT).wrapping_add(shift.time),
            ids: [FIELDS_AT, FIELDS_AT + 8].map(|at| word(at).wrapping_add(shift.id)),
            price: word(FIELDS_AT + 16),
        }
    }

    #[inline(always)]
    fn kind(&self) -> Kind {
        match self.kind {
            0 => Kind::Person,
            1 => Kind::Auction,
            _ => Kind::Bid,
        }
    }
}

/// An event behind an exchange.
#[derive(Debug, rkyv::Portable, rkyv::bytecheck::CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub struct ArchivedEvent {
    record: ArchivedVec<u8>,
    id_shift: u64_le,
    time_shift: u64_le,
}

impl ArchivedEvent {
    /// The bid, if it is one.
    #[inline(always)]
    pub fn bid(&self) -> Option<Bid<'_>> {
        let (head, texts) = self.record.as_slice().split_first_chunk()?;
        let head = Head::read(head, self.shift());
        (head.kind() == Kind::Bid).then_some(Bid { head, texts })
    }

    #[inline(always)]
    fn shift(&self) -> Shift {
        Shift { id: self.id_shift.to_native(), time: self.time_shift.to_native() }
    }
}

impl Archive for Event {
    type Archived = ArchivedEvent;
    type Resolver = VecResolver;

    #[inline]
    fn resolve(&self, resolver: VecResolver, out: Place<ArchivedEvent>) {
        munge!(let ArchivedEvent { record, id_shift, time_shift } = out);
        ArchivedVec::resolve_from_len(self.record().len(), resolver, record);
        self.shift.id.resolve((), id_shift);
        self.shift.time.resolve((), time_shift);
    }
}

impl<S: Fallible + Allocator + Writer + ?Sized> Serialize<S> for Event {
    #[inline]
    fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::serialize_from_slice(self.record(), serializer)
    }
}

impl<D: Fallible + ?Sized> Deserialize<Event, D> for ArchivedEvent {
    fn deserialize(&self, _: &mut D) -> Result<Event, D::Error> {
        let (record, shift) = (self.record.as_slice(), self.shift());
        // Another process may have sent it, and bytes of a length that no shard has.
        let head = record.first_chunk().map(|head| Head::read(head, shift)).unwrap_or_default();
        Ok(Event { bytes: Arc::new(record.to_vec()), at: 0, end: record.len(), head, shift })
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

/// What the pass adds.
#[derive(Clone, Copy, Default)]
struct Shift {
    id: u64,
    time: u64,
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[inline(always)]
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
