//! The queries, written with the public API as a user would write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thalweg::{Chain, Env, Stream, bounded};

use super::job::{DigestSink, DigestTotal, Events};
use super::{Bid, Digest, Event, Kind, RowHash};

/// How far events may be out of order; within a shard they never are, so nothing is ever late.
const DISORDER: Duration = Duration::from_secs(1);

/// A query by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are NEXMark's")]
pub enum Query {
    Q0,
    Q1,
    Q2,
    Wc,
}

impl Query {
    /// All queries, in the order in which they are listed.
    pub const ALL: &[Query] = &[Query::Q0, Query::Q1, Query::Q2, Query::Wc];

    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Query::Q0 => "q0",
            Query::Q1 => "q1",
            Query::Q2 => "q2",
            Query::Wc => "wc",
        }
    }

    /// Adds the query to a job: from `events` to a sink that digests into `total`.
    pub fn build(self, env: &Env, events: Events, total: &DigestTotal) {
        let events = env.source("nexmark", events).watermarks(bounded(DISORDER));
        match self {
            Query::Q0 => q0(events, total),
            Query::Q1 => q1(events, total),
            Query::Q2 => q2(events, total),
            Query::Wc => wc(events, total),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Query {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Query::ALL.iter().map(|q| q.name()).collect::<Vec<_>>().join(", ");
        let query = Query::ALL.iter().find(|q| q.name() == name);
        query.copied().ok_or_else(|| format!("unknown query {name:?}; there are {}", known()))
    }
}

fn bids(events: Stream<impl Chain<Out = Event>>) -> Stream<impl Chain<Out = Event>> {
    events.filter(|event| event.kind() == Kind::Bid)
}

/// The bid behind [`bids`].
#[inline(always)]
fn bid(event: &Event) -> Bid<'_> {
    event.bid().expect("only bids pass the filter")
}

/// Ends a query: `digest` hashes a row and says which sign it has.
fn digest<C: Chain>(
    rows: Stream<C>,
    total: &DigestTotal,
    digest: impl Fn(&C::Out, &mut Digest) + Clone + Send + Sync + 'static,
) {
    rows.sink("Digest", DigestSink::new(total, digest));
}

/// Every bid as it is.
fn q0(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    digest(bids(events), total, |event, digest| {
        let b = bid(event);
        let ints = RowHash::new().int(b.auction()).int(b.bidder()).int(b.price()).int(b.date_time());
        digest.add(ints.text(&b.channel()).text(&b.url()).text(&b.extra()).finish());
    });
}

/// Every bid, its price in euro. The other fields pass by as they are, so the row is made where it is used.
fn q1(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    digest(bids(events), total, |event, digest| {
        let b = bid(event);
        let euro = b.price() * 908 / 1000;
        let ints = RowHash::new().int(b.auction()).int(b.bidder()).int(euro).int(b.date_time());
        digest.add(ints.text(&b.extra()).finish());
    });
}

/// Bids on some auctions.
fn q2(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let prices = bids(events).map(|event| (bid(event).auction(), bid(event).price()));
    digest(prices.filter(|(auction, _)| auction % 123 == 0), total, |&(auction, price), digest| {
        digest.add(RowHash::new().int(auction).int(price).finish());
    });
}

/// How many bids each bidder has made so far.
fn wc(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let counts = bids(events).key_by(|event| bid(event).bidder()).count();
    digest(counts, total, |&(bidder, count), digest| {
        digest.add(RowHash::new().int(bidder).int(count).finish());
    });
}
