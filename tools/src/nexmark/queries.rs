//! The queries, written with the public API as a user would write them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thalweg::{
    Aggregate, Chain, Count, Env, Record, Session, Sliding, Stream, Tumbling, WindowResult, bounded,
};

use super::job::{DigestSink, DigestTotal, Events};
use super::{Bid, Digest, Event, Kind, RowHash};

/// How far events may be out of order; within a shard they never are, so nothing is ever late.
const DISORDER: Duration = Duration::from_secs(1);

/// The length of windows and sessions, and the distance between sliding windows.
const WINDOW: Duration = Duration::from_secs(10);
const SLIDE: Duration = Duration::from_secs(2);

/// A query by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are NEXMark's")]
pub enum Query {
    Q0,
    Q1,
    Q2,
    Q5,
    Q7,
    Q11,
    Q12,
    Wc,
}

impl Query {
    /// All queries, in the order in which they are listed.
    pub const ALL: &[Query] =
        &[Query::Q0, Query::Q1, Query::Q2, Query::Q5, Query::Q7, Query::Q11, Query::Q12, Query::Wc];

    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Query::Q0 => "q0",
            Query::Q1 => "q1",
            Query::Q2 => "q2",
            Query::Q5 => "q5",
            Query::Q7 => "q7",
            Query::Q11 => "q11",
            Query::Q12 => "q12",
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
            Query::Q5 => q5(events, total),
            Query::Q7 => q7(events, total),
            Query::Q11 => q11(events, total),
            Query::Q12 => q12(events, total),
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

pub(crate) fn bids(events: Stream<impl Chain<Out = Event>>) -> Stream<impl Chain<Out = Event>> {
    events.filter(|event| event.kind() == Kind::Bid)
}

/// The bid behind [`bids`].
#[inline(always)]
pub(crate) fn bid(event: &Event) -> Bid<'_> {
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

/// Hot items: of each 10 s, every 2 s, the auctions with the most bids.
pub(crate) fn hot_items(
    events: Stream<impl Chain<Out = Event>>,
) -> Stream<impl Chain<Out = WindowResult<(), Rows<(u64,)>>>> {
    let counts = bids(events)
        .key_by(|event| bid(event).auction())
        .window(Sliding::of(WINDOW).every(SLIDE))
        .aggregate(Count);
    counts
        .map(|count| (count.value, (count.key,)))
        .window_all(Tumbling::of(SLIDE)) // The timestamp of a count is its window's last millisecond.
        .aggregate(Greatest)
}

/// The digest of [`hot_items`].
fn q5(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    digest(hot_items(events), total, |hottest, digest| {
        for (auction,) in &hottest.value.rows {
            let end = hottest.window.end.cast_unsigned();
            digest.add(RowHash::new().int(end).int(hottest.value.greatest).int(*auction).finish());
        }
    });
}

/// The highest bids of each 10 s.
fn q7(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let highest = bids(events)
        .map(|event| {
            let b = bid(event);
            (b.price(), (b.auction(), b.bidder(), b.date_time()))
        })
        .window_all(Tumbling::of(WINDOW))
        .aggregate(Greatest);
    digest(highest, total, |highest, digest| {
        let end = highest.window.end.cast_unsigned();
        for (auction, bidder, date_time) in &highest.value.rows {
            let row = RowHash::new().int(end).int(highest.value.greatest).int(*auction);
            digest.add(row.int(*bidder).int(*date_time).finish());
        }
    });
}

/// Sessions of bids by bidder, split where there is a pause of 10 s.
fn q11(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    // Flink's sessions hold records at a distance of the gap together; here exactly 10 000 ms split.
    let sessions = bids(events)
        .key_by(|event| bid(event).bidder())
        .window(Session::gap(WINDOW - Duration::from_millis(1)))
        .aggregate(Count);
    digest(sessions, total, |session, digest| {
        let (start, end) = (session.window.start.cast_unsigned(), session.window.end.cast_unsigned() + 1);
        digest.add(RowHash::new().int(session.key).int(session.value).int(start).int(end).finish());
    });
}

/// How many bids each bidder made in each 10 s.
fn q12(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let counts =
        bids(events).key_by(|event| bid(event).bidder()).window(Tumbling::of(WINDOW)).aggregate(Count);
    digest(counts, total, |count, digest| {
        let end = count.window.end.cast_unsigned();
        digest.add(RowHash::new().int(count.key).int(count.value).int(end).finish());
    });
}

/// How many bids each bidder has made so far.
fn wc(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let counts = bids(events).key_by(|event| bid(event).bidder()).count();
    digest(counts, total, |&(bidder, count), digest| {
        digest.add(RowHash::new().int(bidder).int(count).finish());
    });
}

/// The rows with the greatest value.
#[derive(Clone, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Rows<R> {
    greatest: u64,
    rows: Vec<R>,
}

/// Keeps all rows with the greatest value.
#[derive(Clone, Copy, Debug)]
struct Greatest;

impl<R: Clone + 'static> Aggregate<(u64, R)> for Greatest
where
    Rows<R>: Record,
{
    type Acc = Rows<R>;
    type Out = Rows<R>;

    fn create(&self) -> Rows<R> {
        Rows { greatest: 0, rows: Vec::new() }
    }

    #[inline]
    fn add(&self, acc: &mut Rows<R>, (value, row): &(u64, R)) {
        if *value < acc.greatest {
            return;
        }
        if *value > acc.greatest {
            acc.greatest = *value;
            acc.rows.clear();
        }
        acc.rows.push(row.clone());
    }

    fn merge(&self, acc: &mut Rows<R>, other: Rows<R>) {
        match acc.greatest.cmp(&other.greatest) {
            Ordering::Greater => {}
            Ordering::Equal => acc.rows.extend(other.rows),
            Ordering::Less => *acc = other,
        }
    }

    fn result(&self, acc: &Rows<R>) -> Rows<R> {
        acc.clone()
    }
}
