//! Hot items, as in NEXMark's query 5: every 2 seconds, the auction with the most bids in the last 10.
//!
//! ```sh
//! cargo run --release --example hot_items
//! ```

use std::cmp::Reverse;
use std::time::Duration;

use thalweg::{Chain, Count, Env, Result, Sliding, Stream, Timestamp, Tumbling, bounded};

/// How much time a window covers, and how often one begins.
pub(crate) const LENGTH: Duration = Duration::from_secs(10);
pub(crate) const SLIDE: Duration = Duration::from_secs(2);

/// How late a bid may come.
const DISORDER: Duration = Duration::from_millis(500);

pub(crate) struct Bid {
    pub(crate) auction: u64,
    /// In ms since the epoch.
    pub(crate) time: Timestamp,
}

/// What crosses from one core to another is a record of rkyv.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct HotItem {
    pub(crate) window_end: Timestamp,
    pub(crate) auction: u64,
    pub(crate) bids: u64,
}

fn main() -> Result<()> {
    let env = Env::new().name("hot items");
    hot_items(env.generate(100_000, bid)).print();
    env.execute()?;
    Ok(())
}

pub(crate) fn hot_items(bids: Stream<impl Chain<Out = Bid>>) -> Stream<impl Chain<Out = HotItem>> {
    bids.watermarks(bounded(DISORDER).by(|bid: &Bid| bid.time))
        .key_by(|bid| bid.auction)
        .window(Sliding::of(LENGTH).every(SLIDE))
        .aggregate(Count) // Each core adds up what it has seen, so that counts are sent rather than bids.
        .map(|count| HotItem { window_end: count.window.end, auction: count.key, bids: count.value })
        .window_all(Tumbling::of(SLIDE)) // A count has its window's last timestamp: here are those of one window.
        .max_by(|item| (item.bids, Reverse(item.auction)))
}

/// The `n`-th bid: one every 5 ms, a little out of order, a third of them on an auction that changes every few seconds.
pub(crate) fn bid(n: u64) -> Bid {
    let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let auction = if random.is_multiple_of(3) { 1_000 + n / 700 } else { random % 50 };
    let late = random % DISORDER.as_millis() as u64;
    Bid { auction, time: (5 * n + 500 - late) as Timestamp }
}
