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
//! Invariants:
//! - the bytes are a [`Shard`]'s, so they are valid, and the slices taken here never fail;
//! - `at..end` is a whole record;
//! - pass `k` is the shard with `k` × [`ID_SHIFT`] on every person and auction id and `k` × `loop_shift_ms` on every
//!   time, so passes share no key and event time goes on.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use rkyv::munge::munge;
use rkyv::rancor::Fallible;
use rkyv::rend::u64_le;
use rkyv::ser::{Allocator, Writer};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::data::Shard;

/// What each pass over the data adds to the ids of persons and auctions.
///
/// ```
/// assert_eq!(thalweg_tools::nexmark::ID_SHIFT, 1_000_000_000);
/// ```
pub const ID_SHIFT: u64 = 1_000_000_000;

/// How far before its reader a line of the shard is asked for, in bytes. The walk needs a record's length to find
/// the next one, so without this it waits for memory at each of them: 100 ns instead of 5. From 1 to 16 KiB all are as good.
const AHEAD_BYTES: usize = 4096;

/// Cache lines that are prefetched together, and their size in bytes.
pub(super) const AHEAD_LINES: usize = 4;
const AHEAD_STEP_BYTES: usize = AHEAD_LINES * 64;

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

/// An event as one of its kinds.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, View, generate_in_memory};
/// let data = generate_in_memory(50, 1);
/// let (mut cursor, mut bids) = (Cursor::new(&data.shards[0], 1), 0);
/// while let Some(event) = cursor.next(|_, _| ()) {
///     match event.view() {
///         View::Bid(_) => bids += 1,
///         View::Auction(_) | View::Person(_) => {}
///     }
/// }
/// assert_eq!(bids, 46);
/// ```
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// Someone who sells and bids.
    Person(Person<'a>),
    /// Something for sale.
    Auction(Auction<'a>),
    /// An offer for an auction.
    Bid(Bid<'a>),
}

/// A text of an event: bytes that are known to be UTF-8.
///
/// Dereferences to the bytes, which is what hashing and comparing need.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, generate_in_memory};
/// let data = generate_in_memory(1, 1);
/// let mut cursor = Cursor::new(&data.shards[0], 1);
/// let name = cursor.next(|_, _| ()).and_then(|event| event.person()).expect("a person").name();
/// assert_eq!((&*name, name.as_str()), (&b"vicky noris"[..], "vicky noris"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub(super) &'a [u8]);

impl<'a> Text<'a> {
    /// The bytes, for as long as the event lends them.
    #[inline(always)]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text. Cost: UTF-8 is checked again, since the proof of it is a runtime one and this crate has no `unsafe`.
    pub fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).expect("the shard's texts were validated when it was made")
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// An offer for an auction.
///
/// Cost: the integers are at fixed places; `channel` reads one length, `url` two, `extra` three.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, generate_in_memory};
/// let data = generate_in_memory(5, 1);
/// let mut cursor = Cursor::new(&data.shards[0], 2); // The first bid is event 4, and event 9 in the second pass.
/// let first = (0..5).find_map(|_| cursor.next(|_, _| ())?.bid().map(|bid| (bid.auction(), bid.price())));
/// let again = (0..5).find_map(|_| cursor.next(|_, _| ())?.bid().map(|bid| (bid.auction(), bid.price())));
/// let ((auction, price), (shifted, same)) = (first.expect("a bid"), again.expect("a bid"));
/// assert_eq!((shifted, same), (auction + 1_000_000_000, price));
/// ```
#[derive(Clone, Copy)]
pub struct Bid<'a> {
    head: Head,
    texts: &'a [u8],
}

impl<'a> Bid<'a> {
    /// Channel, URL and extra, found in one walk.
    #[inline(always)]
    pub fn texts(&self) -> [Text<'a>; 3] {
        let (channel, rest) = split_text(self.texts);
        let (url, rest) = split_text(rest);
        [channel, url, split_text(&rest[8..]).0]
    }

    /// Id of the auction.
    #[inline(always)]
    pub fn auction(&self) -> u64 {
        self.head.ids[0]
    }

    /// Id of the person who bids.
    #[inline(always)]
    pub fn bidder(&self) -> u64 {
        self.head.ids[1]
    }

    /// The offer, in cents.
    #[inline(always)]
    pub fn price(&self) -> u64 {
        self.head.price
    }

    /// Where the bid came from: the name of a site.
    #[inline(always)]
    pub fn channel(&self) -> Text<'a> {
        split_text(self.texts).0
    }

    /// Where the bid came from: the page.
    #[inline(always)]
    pub fn url(&self) -> Text<'a> {
        split_text(split_text(self.texts).1).0
    }

    /// Event time, in ms since the epoch.
    #[inline(always)]
    pub fn date_time(&self) -> u64 {
        self.head.time
    }

    /// Padding that brings bids to 100 bytes on average.
    #[inline(always)]
    pub fn extra(&self) -> Text<'a> {
        let after_url = split_text(split_text(self.texts).1).1;
        split_text(&after_url[8..]).0
    }
}

impl fmt::Debug for Bid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bid")
            .field("auction", &self.auction())
            .field("bidder", &self.bidder())
            .field("price", &self.price())
            .field("channel", &self.channel())
            .field("url", &self.url())
            .field("date_time", &self.date_time())
            .field("extra", &self.extra())
            .finish()
    }
}

/// Something for sale.
///
/// Cost: `id` and `date_time` are at fixed places, the other integers behind two texts, `extra` behind all.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, generate_in_memory};
/// let data = generate_in_memory(2, 1);
/// let mut cursor = Cursor::new(&data.shards[0], 1);
/// cursor.next(|_, _| ());
/// let auction = cursor.next(|_, _| ()).and_then(|event| event.auction()).expect("the second event is one");
/// assert_eq!((auction.id(), auction.seller()), (1000, 1000));
/// assert!(auction.expires() > auction.date_time() && (10..15).contains(&auction.category()));
/// ```
#[derive(Clone, Copy)]
pub struct Auction<'a> {
    head: Head,
    rest: &'a [u8],
    shift: Shift,
}

impl<'a> Auction<'a> {
    /// Id of the auction.
    #[inline(always)]
    pub fn id(&self) -> u64 {
        self.head.ids[0]
    }

    /// Name of what is for sale.
    #[inline(always)]
    pub fn item_name(&self) -> Text<'a> {
        split_text(self.rest).0
    }

    /// A few words on it.
    #[inline(always)]
    pub fn description(&self) -> Text<'a> {
        split_text(split_text(self.rest).1).0
    }

    /// Where bidding starts, in cents.
    #[inline(always)]
    pub fn initial_bid(&self) -> u64 {
        u64_at(self.numbers(), 0)
    }

    /// The least price at which it is sold, in cents.
    #[inline(always)]
    pub fn reserve(&self) -> u64 {
        u64_at(self.numbers(), 8)
    }

    /// Event time, in ms since the epoch.
    #[inline(always)]
    pub fn date_time(&self) -> u64 {
        self.head.time
    }

    /// When the auction ends, in ms since the epoch.
    #[inline(always)]
    pub fn expires(&self) -> u64 {
        u64_at(self.numbers(), 24).wrapping_add(self.shift.time)
    }

    /// Id of the person who sells.
    #[inline(always)]
    pub fn seller(&self) -> u64 {
        u64_at(self.numbers(), 32).wrapping_add(self.shift.id)
    }

    /// Id of the category, the same in every pass.
    #[inline(always)]
    pub fn category(&self) -> u64 {
        u64_at(self.numbers(), 40)
    }

    /// Padding that brings auctions to 500 bytes on average.
    #[inline(always)]
    pub fn extra(&self) -> Text<'a> {
        split_text(&self.numbers()[48..]).0
    }

    /// From `initial_bid` on.
    #[inline(always)]
    fn numbers(&self) -> &'a [u8] {
        split_text(split_text(self.rest).1).1
    }
}

impl fmt::Debug for Auction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auction")
            .field("id", &self.id())
            .field("item_name", &self.item_name())
            .field("description", &self.description())
            .field("initial_bid", &self.initial_bid())
            .field("reserve", &self.reserve())
            .field("date_time", &self.date_time())
            .field("expires", &self.expires())
            .field("seller", &self.seller())
            .field("category", &self.category())
            .field("extra", &self.extra())
            .finish()
    }
}

/// Someone who sells and bids.
///
/// Cost: `id` and `date_time` are at fixed places, each text behind those before it.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, generate_in_memory};
/// let data = generate_in_memory(1, 1);
/// let mut cursor = Cursor::new(&data.shards[0], 1);
/// let person = cursor.next(|_, _| ()).and_then(|event| event.person()).expect("the first event is one");
/// assert_eq!((person.city().as_str(), person.state().as_str()), ("cheyenne", "az"));
/// ```
#[derive(Clone, Copy)]
pub struct Person<'a> {
    head: Head,
    texts: &'a [u8],
}

impl<'a> Person<'a> {
    /// Id of the person.
    #[inline(always)]
    pub fn id(&self) -> u64 {
        self.head.ids[0]
    }

    /// First and last name.
    #[inline(always)]
    pub fn name(&self) -> Text<'a> {
        split_text(self.texts).0
    }

    /// Where to write to.
    #[inline(always)]
    pub fn email_address(&self) -> Text<'a> {
        split_text(skip_texts(self.texts, 1)).0
    }

    /// Four groups of four digits.
    #[inline(always)]
    pub fn credit_card(&self) -> Text<'a> {
        split_text(skip_texts(self.texts, 2)).0
    }

    /// Name of the city.
    #[inline(always)]
    pub fn city(&self) -> Text<'a> {
        split_text(skip_texts(self.texts, 3)).0
    }

    /// The state's two letters, in lower case.
    #[inline(always)]
    pub fn state(&self) -> Text<'a> {
        split_text(skip_texts(self.texts, 4)).0
    }

    /// Event time, in ms since the epoch.
    #[inline(always)]
    pub fn date_time(&self) -> u64 {
        self.head.time
    }

    /// Padding that brings persons to 200 bytes on average.
    #[inline(always)]
    pub fn extra(&self) -> Text<'a> {
        split_text(&skip_texts(self.texts, 5)[8..]).0
    }
}

impl fmt::Debug for Person<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("email_address", &self.email_address())
            .field("credit_card", &self.credit_card())
            .field("city", &self.city())
            .field("state", &self.state())
            .field("date_time", &self.date_time())
            .field("extra", &self.extra())
            .finish()
    }
}

/// Where a cursor is, so that a source can be restored to it.
///
/// ```
/// assert_eq!(thalweg_tools::nexmark::Position::default().offset, 0); // The beginning of the first pass.
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The pass, from 0.
    pub pass: u64,
    /// The next record of that pass, in bytes from the beginning of the shard.
    pub offset: u64,
}

/// Walks a shard, one or several times over.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, generate_in_memory};
/// let data = generate_in_memory(100, 1);
/// let mut cursor = Cursor::new(&data.shards[0], 3);
/// let mut events = 0;
/// while cursor.next(|_, _| ()).is_some() {
///     events += 1;
/// }
/// assert_eq!(events, 300);
/// ```
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The record lent last; the next one begins at its `end`.
    event: Event,
    pass: u64,
    passes: u64,
    loop_shift_ms: u64,
}

impl Cursor {
    /// A cursor before the first of `passes` passes over `shard`; zero passes have no events.
    pub fn new(shard: &Shard, passes: u64) -> Cursor {
        // An empty shard has no passes, and without passes the cursor begins at the end.
        let passes = if shard.bytes().is_empty() { 0 } else { passes };
        let end = if passes == 0 { shard.bytes().len() } else { 0 };
        let event =
            Event { bytes: shard.shared(), at: 0, end, head: Head::default(), shift: Shift::default() };
        Cursor { event, pass: 0, passes, loop_shift_ms: shard.loop_shift_ms() }
    }

    /// The next event, or `None` after the last one of the last pass.
    ///
    /// `prefetch(bytes, at)` brings four cache lines from that of `bytes[at]` near, and ignores what is past the end; it is
    /// asked for all of them about 4 KiB before the cursor reads them.
    #[inline(always)]
    pub fn next(&mut self, prefetch: impl Fn(&[u8], usize)) -> Option<&Event> {
        let (bytes, at) = (self.event.bytes.as_slice(), self.event.end);
        // Records are whole, so where no head is the pass ends: one test for both.
        let Some(head) = head_at(bytes, at) else { return self.next_after_pass(prefetch) };
        let end = at + 4 + u32_at(head, 0) as usize;
        self.event.head = Head::read(head, self.event.shift);
        // Once for all but the longest records. A step that depends on what was fetched before would be as long as the
        // records are, which no branch predictor knows.
        let mut ahead = at + AHEAD_BYTES;
        prefetch(bytes, ahead);
        while ahead + AHEAD_STEP_BYTES < end + AHEAD_BYTES {
            ahead += AHEAD_STEP_BYTES;
            prefetch(bytes, ahead);
        }
        self.event.at = at;
        self.event.end = end;
        Some(&self.event)
    }

    /// Where the event is that `next` gives next.
    pub fn position(&self) -> Position {
        Position { pass: self.pass, offset: self.event.end as u64 }
    }

    /// Goes to where [`Cursor::position`] was; returns false, and stays, if no record begins or ends there.
    ///
    /// Cost: one walk over the shard, as a position may come from a file that belongs to other data.
    #[must_use = "a cursor that did not move is not restored"]
    pub fn seek(&mut self, position: Position) -> bool {
        let bytes = self.event.bytes.as_slice();
        let Ok(offset) = usize::try_from(position.offset) else { return false };
        let mut at = 0;
        while at < offset && at < bytes.len() {
            at += 4 + u32_at(bytes, at) as usize;
        }
        let beyond = position.pass >= self.passes && position != self.position();
        if at != offset || beyond {
            return false;
        }
        self.event.end = at;
        self.start_pass(position.pass);
        true
    }

    #[cold]
    #[inline(never)]
    fn next_after_pass(&mut self, prefetch: impl Fn(&[u8], usize)) -> Option<&Event> {
        if self.pass + 1 >= self.passes {
            return None;
        }
        self.event.end = 0;
        self.start_pass(self.pass + 1);
        self.next(prefetch)
    }

    fn start_pass(&mut self, pass: u64) {
        self.pass = pass;
        self.event.shift =
            Shift { id: pass.wrapping_mul(ID_SHIFT), time: pass.wrapping_mul(self.loop_shift_ms) };
    }
}

/// The head of the record at `at`, if there is one.
#[inline(always)]
fn head_at(bytes: &[u8], at: usize) -> Option<&[u8; HEAD_BYTES]> {
    bytes.get(at..at.wrapping_add(HEAD_BYTES))?.first_chunk()
}

/// The first text of `bytes`, and what follows it.
#[inline(always)]
fn split_text(bytes: &[u8]) -> (Text<'_>, &[u8]) {
    let (len, rest) = bytes.split_at(2);
    let (text, rest) = rest.split_at(usize::from(u16::from_le_bytes([len[0], len[1]])));
    (Text(text), rest)
}

/// What follows the first `count` texts.
#[inline(always)]
fn skip_texts(mut bytes: &[u8], count: usize) -> &[u8] {
    for _ in 0..count {
        bytes = split_text(bytes).1;
    }
    bytes
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[inline(always)]
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;
    use crate::nexmark::generate_in_memory;

    fn times(cursor: &mut Cursor) -> Vec<i64> {
        std::iter::from_fn(|| Some(cursor.next(|_, _| ())?.time())).collect()
    }

    /// Goal: pass k is the shard, shifted. Method: every field of three passes against the first.
    #[test]
    fn passes_shift_ids_and_times_and_nothing_else() {
        let data = generate_in_memory(200, 2);
        for shard in &data.shards {
            let mut first = Cursor::new(shard, 1);
            let mut all = Cursor::new(shard, 3);
            for pass in 0..3 {
                let (id, time) = (pass * ID_SHIFT, pass * data.meta.loop_shift_ms);
                let mut once = first.clone();
                for _ in 0..100 {
                    let (a, b) = (once.next(|_, _| ()).unwrap(), all.next(|_, _| ()).unwrap());
                    assert_eq!((a.kind(), a.time() + time as i64), (b.kind(), b.time()));
                    match (a.view(), b.view()) {
                        (View::Person(a), View::Person(b)) => {
                            assert_eq!((a.id() + id, a.date_time() + time), (b.id(), b.date_time()));
                            assert_eq!(
                                (a.name(), a.credit_card(), a.city()),
                                (b.name(), b.credit_card(), b.city())
                            );
                            assert_eq!((a.email_address(), a.state()), (b.email_address(), b.state()));
                            assert_eq!(a.extra(), b.extra());
                        }
                        (View::Auction(a), View::Auction(b)) => {
                            assert_eq!((a.id() + id, a.seller() + id), (b.id(), b.seller()));
                            assert_eq!(a.date_time() + time, b.date_time());
                            assert_eq!(a.expires() + time, b.expires());
                            assert_eq!((a.initial_bid(), a.reserve()), (b.initial_bid(), b.reserve()));
                            assert_eq!((a.category(), a.extra()), (b.category(), b.extra()));
                            assert_eq!((a.item_name(), a.description()), (b.item_name(), b.description()));
                        }
                        (View::Bid(a), View::Bid(b)) => {
                            assert_eq!((a.auction() + id, a.bidder() + id), (b.auction(), b.bidder()));
                            assert_eq!((a.price(), a.date_time() + time), (b.price(), b.date_time()));
                            assert_eq!((a.channel(), a.url(), a.extra()), (b.channel(), b.url(), b.extra()));
                        }
                        (a, b) => panic!("{a:?} is not {b:?}"),
                    }
                }
            }
            assert!(all.next(|_, _| ()).is_none() && all.next(|_, _| ()).is_none());
            assert_eq!(times(&mut first).len(), 100);
        }
    }

    /// Goal: the accessors read what the generator made. Method: through the `Debug` form, which names each field.
    #[test]
    fn events_read_as_they_were_generated() {
        let data = generate_in_memory(500, 1);
        let config = ::nexmark::config::NexmarkConfig {
            base_time: crate::nexmark::BASE_TIME_MS,
            ..Default::default()
        };
        let mut cursor = Cursor::new(&data.shards[0], 1);
        for made in ::nexmark::EventGenerator::new(config).take(500) {
            let event = cursor.next(|_, _| ()).unwrap();
            assert_eq!(format!("{event:?}"), format!("{made:?}"));
            assert_eq!(event.person().is_some(), event.kind() == Kind::Person);
            assert_eq!(event.auction().is_some(), event.kind() == Kind::Auction);
            assert_eq!(event.bid().is_some(), event.kind() == Kind::Bid);
        }
    }

    #[test]
    fn a_restored_cursor_goes_on_where_it_was() {
        let data = generate_in_memory(20, 1);
        let mut cursor = Cursor::new(&data.shards[0], 2);
        for read in 0..=40 {
            let position = cursor.position();
            let mut restored = Cursor::new(&data.shards[0], 2);
            assert!(restored.seek(position));
            assert_eq!(restored.position(), position);
            assert_eq!(times(&mut restored), times(&mut cursor.clone()), "after {read} events");
            assert_eq!(cursor.next(|_, _| ()).is_some(), read < 40);
        }
        let bytes = data.shards[0].bytes().len() as u64;
        for (pass, offset) in [(0, 1), (0, bytes + 1), (2, 0), (0, u64::MAX), (u64::MAX, 0)] {
            assert!(!cursor.seek(Position { pass, offset }), "{pass} {offset}");
        }
    }

    #[test]
    fn nothing_comes_of_no_passes_or_no_records() {
        let data = generate_in_memory(1, 2); // The second shard is empty.
        for (shard, passes) in [(0, 0), (1, 0), (1, 5)] {
            let mut cursor = Cursor::new(&data.shards[shard], passes);
            assert!(cursor.next(|_, _| ()).is_none());
            let position = cursor.position();
            assert!(cursor.seek(position) && cursor.next(|_, _| ()).is_none());
        }
    }

    /// Goal: each line of the shard is asked for, and before the cursor is less than 4 KiB away from it.
    #[test]
    fn every_line_is_prefetched() {
        let data = generate_in_memory(300, 1);
        let asked = RefCell::new(BTreeSet::new());
        let ask = |_: &[u8], at: usize| {
            asked.borrow_mut().extend((at / 64..).take(AHEAD_LINES));
        };
        let mut cursor = Cursor::new(&data.shards[0], 2);
        for _ in 0..2 {
            asked.borrow_mut().clear();
            let mut end = 0;
            while end < data.shards[0].bytes().len() {
                end += cursor.next(ask).unwrap().record().len();
                let near = AHEAD_BYTES / 64..(end + AHEAD_BYTES) / 64;
                assert!(near.clone().all(|line| asked.borrow().contains(&line)), "{near:?}");
            }
        }
    }
}
