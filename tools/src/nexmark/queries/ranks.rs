//! q18 and q19: of many bids those that count, each with all its fields.
//!
//! A bid crosses the exchange as it lies in its shard. What is kept of it is what is compared, and its texts in one piece of
//! memory, which the next bid in the same place uses again.

use std::cmp::Ordering;

use thalweg::{Chain, KeyedContext, KeyedProcessFunction, OpenContext, Result, Stream, ValueState};

use super::super::job::DigestTotal;
use super::super::{ArchivedEvent, Bid, Event, RowHash, Text, Texts};
use super::{Change, Sign, bid, bids, digest_changes};

/// How many bids of an auction are kept.
const RANKS: usize = 10;

/// The last bid of each bidder for each auction.
pub(super) fn q18(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let last = bids(events).key_by(|event| (bid(event).auction(), bid(event).bidder())).process(Last);
    digest_changes(last, total, Row::hash);
}

/// The ten best bids of each auction.
pub(super) fn q19(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let best = bids(events).key_by(|event| bid(event).auction()).process(Best);
    digest_changes(best, total, Row::hash);
}

/// What is kept of a bid.
#[derive(Clone, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Kept {
    price: u64,
    date_time: u64,
    /// Channel, URL, extra.
    texts: Texts<3>,
}

impl Kept {
    #[inline]
    fn set(&mut self, bid: &Bid<'_>) {
        self.price = bid.price();
        self.date_time = bid.date_time();
        self.texts.set(bid.texts());
    }

    fn extra(&self) -> Text<'_> {
        let [_channel, _url, extra] = self.texts.get();
        extra
    }

    /// Whether the bid is greater by time, then price, then extra.
    #[inline]
    fn is_earlier_than(&self, bid: &Bid<'_>) -> bool {
        let order = self.date_time.cmp(&bid.date_time()).then(self.price.cmp(&bid.price()));
        order.then_with(|| self.extra().cmp(&bid.extra())) == Ordering::Less
    }

    /// Whether the bid is greater by price, then lesser by time, then by extra.
    #[inline]
    fn is_worse_than(&self, bid: &Bid<'_>) -> bool {
        let order = bid.price().cmp(&self.price).then(self.date_time.cmp(&bid.date_time()));
        order.then_with(|| self.extra().cmp(&bid.extra())) == Ordering::Greater
    }
}

/// A bid as a result.
#[derive(Clone, Debug)]
struct Row {
    auction: u64,
    bidder: u64,
    bid: Kept,
}

impl Row {
    #[inline]
    fn hash(&self) -> u64 {
        let Self { auction, bidder, bid: Kept { price, date_time, texts } } = self;
        let ints = RowHash::new().int(*auction).int(*bidder).int(*price).int(*date_time);
        ints.texts(texts).finish()
    }
}

/// Keeps the last bid under each key.
#[derive(Clone, Copy, Debug)]
struct Last;

impl KeyedProcessFunction<(u64, u64), Event> for Last {
    type Out = Change<Row>;
    /// `None` only while it is being filled.
    type State = ValueState<(u64, u64), Option<Kept>>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        // The row that is taken back is hashed.
        Ok(cx.value("last")?.with_prefetch(|kept: &Option<Kept>| {
            if let Some(kept) = kept {
                kept.texts.prefetch();
            }
        }))
    }

    #[inline]
    fn process(
        &mut self,
        event: &ArchivedEvent,
        last: &mut Self::State,
        cx: &mut impl KeyedContext<(u64, u64), Self::Out>,
    ) {
        let bid = event.bid().expect("only bids are sent");
        let (auction, bidder) = *cx.key();
        let kept = last.get_or_insert_with(cx.at(), || None);
        let is_first = kept.is_none();
        if kept.as_ref().is_some_and(|last| !last.is_earlier_than(&bid)) {
            return;
        }
        // The bid kept moves through the row that is sent, and back.
        let row = Row { auction, bidder, bid: kept.take().unwrap_or_default() };
        let mut change = Change { sign: Sign::Minus, row };
        if !is_first {
            cx.collect(&change);
        }
        change.sign = Sign::Plus;
        change.row.bid.set(&bid);
        cx.collect(&change);
        *kept = Some(change.row.bid);
    }
}

/// Keeps the best bids under each key.
#[derive(Clone, Copy, Debug)]
struct Best;

/// A bid among the best.
#[derive(Clone, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Ranked {
    bidder: u64,
    bid: Kept,
}

impl KeyedProcessFunction<u64, Event> for Best {
    type Out = Change<Row>;
    /// The best first.
    type State = ValueState<u64, Vec<Ranked>>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        // The worst is compared, and others when a bid is better than that.
        Ok(cx.value("best")?.with_prefetch(|best: &Vec<Ranked>| {
            thalweg::prefetch(best, best.len().wrapping_sub(1));
            thalweg::prefetch(best, best.len());
        }))
    }

    #[inline]
    fn process(
        &mut self,
        event: &ArchivedEvent,
        best: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        let bid = event.bid().expect("only bids are sent");
        let auction = *cx.key();
        let best = best.get_or_insert_with(cx.at(), || Vec::with_capacity(RANKS));
        let row = match best.last() {
            Some(worst) if best.len() == RANKS => {
                if !worst.bid.is_worse_than(&bid) {
                    return;
                }
                let Ranked { bidder, bid } = best.pop().expect("it is full");
                let pushed_out = Change { sign: Sign::Minus, row: Row { auction, bidder, bid } };
                cx.collect(&pushed_out);
                pushed_out.row
            }
            _ => Row { auction, bidder: 0, bid: Kept::default() },
        };
        let mut change = Change { sign: Sign::Plus, row };
        change.row.bidder = bid.bidder();
        change.row.bid.set(&bid);
        cx.collect(&change);
        let place =
            best.iter().rposition(|other| !other.bid.is_worse_than(&bid)).map_or(0, |better| better + 1);
        best.insert(place, Ranked { bidder: bid.bidder(), bid: change.row.bid });
    }
}
