//! Queries over single bids, and one that only counts them: what passing a record on costs.

use thalweg::{Chain, Stream};

use super::super::job::DigestTotal;
use super::super::{Event, RowHash};
use super::{bid, bids, digest};

/// Every bid as it is.
pub(super) fn q0(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    digest(bids(events), total, |event, digest| {
        let b = bid(event);
        let ints = RowHash::new().int(b.auction()).int(b.bidder()).int(b.price()).int(b.date_time());
        digest.add(ints.text(&b.channel()).text(&b.url()).text(&b.extra()).finish());
    });
}

/// Every bid, its price in euro. The other fields pass by as they are, so the row is made where it is used.
pub(super) fn q1(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    digest(bids(events), total, |event, digest| {
        let b = bid(event);
        let euro = b.price().wrapping_mul(908) / 1000; // Modulo 2⁶⁴, as everywhere.
        let ints = RowHash::new().int(b.auction()).int(b.bidder()).int(euro).int(b.date_time());
        digest.add(ints.text(&b.extra()).finish());
    });
}

/// Bids on some auctions.
pub(super) fn q2(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let prices = bids(events).map(|event| (bid(event).auction(), bid(event).price()));
    digest(prices.filter(|(auction, _)| auction % 123 == 0), total, |&(auction, price), digest| {
        digest.add(RowHash::new().int(auction).int(price).finish());
    });
}

/// How many bids each bidder has made so far.
pub(super) fn wc(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let counts = bids(events).key_by(|event| bid(event).bidder()).count();
    digest(counts, total, |&(bidder, count), digest| {
        digest.add(RowHash::new().int(bidder).int(count).finish());
    });
}
