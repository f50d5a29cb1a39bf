//! q4: for what price auctions close, on average.
//!
//! Auctions and bids are one stream, keyed by the auction. A closed auction's price goes on, keyed by category.

use thalweg::{
    Chain, KeyedContext, KeyedProcessFunction, OpenContext, Result, Stream, Timestamp, ValueState,
};

use super::super::job::DigestTotal;
use super::super::{Event, Kind, RowHash, View};
use super::{Change, Sign, digest_changes};

/// What is sent of an event, under the id of the auction. The record's timestamp is its `date_time`.
#[derive(Clone, Copy, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
enum Part {
    Auction {
        expires: Timestamp,
        category: u64,
    },
    /// Its price.
    Bid(u64),
}

/// The average of the highest bids of each category.
pub(super) fn q4(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let averages = events
        .filter(|event| event.kind() != Kind::Person)
        .key_by(|event| match event.view() {
            View::Auction(auction) => auction.id(),
            View::Bid(bid) => bid.auction(),
            View::Person(person) => person.id(), // Filtered out.
        })
        .map_values(|event| match event.bid() {
            Some(bid) => Part::Bid(bid.price()),
            None => {
                let auction = event.auction().expect("persons are filtered out");
                Part::Auction { expires: auction.expires().cast_signed(), category: auction.category() }
            }
        })
        .process(Close)
        .key_by(|(category, _)| *category)
        .map_values(|(_, price)| *price)
        .process(Average);
    digest_changes(averages, total, |row| {
        RowHash::row(&[row.category, row.closed, row.sum / row.closed], &[])
    });
}

/// What is known of an auction that is not closed.
#[derive(Clone, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
enum Lot {
    /// It has not come; bids for it have: their times and prices.
    Unknown(Vec<(Timestamp, u64)>),
    Open {
        opened: Timestamp,
        expires: Timestamp,
        category: u64,
        highest: Option<u64>,
    },
}

/// Finds the highest bid of each auction.
#[derive(Clone, Copy, Debug)]
struct Close;

impl KeyedProcessFunction<u64, Part> for Close {
    /// Category and price.
    type Out = (u64, u64);
    type State = ValueState<u64, Lot>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        cx.value("lot")
    }

    #[inline]
    fn process(
        &mut self,
        part: &ArchivedPart,
        lots: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        let Some(time) = cx.timestamp() else { return cx.fail("an event without a timestamp") };
        match part {
            ArchivedPart::Bid(price) => match lots.get_mut(cx.at()) {
                Some(Lot::Open { opened, expires, highest, .. }) => {
                    if (*opened..=*expires).contains(&time) {
                        *highest = (*highest).max(Some(price.to_native()));
                    }
                }
                Some(Lot::Unknown(bids)) => bids.push((time, price.to_native())),
                None => {
                    lots.set(cx.at(), Lot::Unknown(vec![(time, price.to_native())]));
                    cx.register_event_timer(time);
                }
            },
            ArchivedPart::Auction { expires, category } => {
                let (expires, category) = (expires.to_native(), category.to_native());
                let highest = match lots.get(cx.at()) {
                    Some(Lot::Unknown(bids)) => {
                        let valid = bids.iter().filter(|(at, _)| (time..=expires).contains(at));
                        valid.map(|&(_, price)| price).max()
                    }
                    _ => None,
                };
                lots.set(cx.at(), Lot::Open { opened: time, expires, category, highest });
                cx.register_event_timer(expires);
            }
        }
    }

    fn on_timer(
        &mut self,
        timestamp: Timestamp,
        lots: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        match lots.get_mut(cx.at()) {
            Some(&mut Lot::Open { expires, category, highest, .. }) if timestamp >= expires => {
                lots.clear(cx.at());
                if let Some(price) = highest {
                    cx.collect(&(category, price));
                }
            }
            Some(Lot::Unknown(bids)) => {
                // An auction that comes now is younger than these.
                bids.retain(|&(time, _)| time > cx.watermark());
                match bids.last() {
                    Some(&(time, _)) => cx.register_event_timer(time),
                    None => lots.clear(cx.at()),
                }
            }
            _ => {} // The timer of an early bid, whose auction has come.
        }
    }
}

#[derive(Clone, Copy, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Closed {
    category: u64,
    closed: u64,
    sum: u64,
}

/// Replaces the row of a category for each auction that closes.
#[derive(Clone, Copy, Debug)]
struct Average;

impl KeyedProcessFunction<u64, u64> for Average {
    type Out = Change<Closed>;
    type State = ValueState<u64, Closed>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        cx.value("closed")
    }

    fn process(
        &mut self,
        price: &rkyv::rend::u64_le,
        closed: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        let category = *cx.key();
        let row = closed.get_or_insert_with(cx.at(), || Closed { category, closed: 0, sum: 0 });
        if row.closed > 0 {
            cx.collect(&Change { sign: Sign::Minus, row: *row });
        }
        row.closed += 1;
        row.sum = row.sum.wrapping_add(price.to_native());
        cx.collect(&Change { sign: Sign::Plus, row: *row });
    }
}
