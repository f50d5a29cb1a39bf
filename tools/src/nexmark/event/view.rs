//! The kinds of events, as they are read: an accessor for each field.

use std::fmt;
use std::ops::Deref;

use super::{Head, Shift, u64_at};

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
pub struct Text<'a>(pub(in crate::nexmark) &'a [u8]);

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
    pub(super) head: Head,
    pub(super) texts: &'a [u8],
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
    pub(super) head: Head,
    pub(super) rest: &'a [u8],
    pub(super) shift: Shift,
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
    pub(super) head: Head,
    pub(super) texts: &'a [u8],
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
