//! Queries over windows of event time.

use std::cmp::Ordering;
use std::time::Duration;

use thalweg::{
    Aggregate, Chain, Count, Record, Session, Sliding, StateValue, Stream, Tumbling, WindowResult,
};

use super::super::job::DigestTotal;
use super::super::{Event, Kind, RowHash, View};
use super::{bid, bids, digest};

/// The length of windows and sessions, and the distance between sliding windows.
const WINDOW: Duration = Duration::from_secs(10);
const SLIDE: Duration = Duration::from_secs(2);

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
pub(super) fn q5(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    digest(hot_items(events), total, |hottest, digest| {
        for (auction,) in &hottest.value.rows {
            let end = hottest.window.end.cast_unsigned();
            digest.add(RowHash::new().int(end).int(hottest.value.greatest).int(*auction).finish());
        }
    });
}

/// The highest bids of each 10 s.
pub(super) fn q7(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
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

/// Who opened an auction in the 10 s in which they registered.
pub(super) fn q8(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let sellers = events
        .filter(|event| event.kind() != Kind::Bid)
        .key_by(|event| match event.view() {
            View::Person(person) => person.id(),
            View::Auction(auction) => auction.seller(),
            View::Bid(bid) => bid.bidder(), // Filtered out.
        })
        .window(Tumbling::of(WINDOW))
        .aggregate(NewSellers);
    digest(sellers, total, |seller, digest| {
        if let Some(name) = &seller.value {
            let end = seller.window.end.cast_unsigned();
            digest.add(RowHash::new().int(seller.key).int(end).text(name.as_bytes()).finish());
        }
    });
}

/// Sessions of bids by bidder, split where there is a pause of 10 s.
pub(super) fn q11(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
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
pub(super) fn q12(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let counts =
        bids(events).key_by(|event| bid(event).bidder()).window(Tumbling::of(WINDOW)).aggregate(Count);
    digest(counts, total, |count, digest| {
        let end = count.window.end.cast_unsigned();
        digest.add(RowHash::new().int(count.key).int(count.value).int(end).finish());
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
    Rows<R>: Record + StateValue,
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

/// Someone in a window: `name` is known if they registered in it.
#[derive(Clone, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Seller {
    name: Option<String>,
    has_auction: bool,
}

/// The names of those who registered and opened an auction.
#[derive(Clone, Copy, Debug)]
struct NewSellers;

impl Aggregate<Event> for NewSellers {
    type Acc = Seller;
    type Out = Option<String>;

    fn create(&self) -> Seller {
        Seller::default()
    }

    #[inline]
    fn add(&self, seller: &mut Seller, event: &Event) {
        match event.person() {
            Some(person) => seller.name = Some(person.name().as_str().to_owned()),
            None => seller.has_auction = true,
        }
    }

    #[inline]
    fn merge(&self, seller: &mut Seller, other: Seller) {
        seller.has_auction |= other.has_auction;
        seller.name = seller.name.take().or(other.name);
    }

    #[inline]
    fn result(&self, seller: &Seller) -> Option<String> {
        seller.name.as_ref().filter(|_| seller.has_auction).cloned()
    }
}
