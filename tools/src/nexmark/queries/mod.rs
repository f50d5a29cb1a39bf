//! The queries, written with the public API as a user would write them.
//!
//! - `bids`: single bids, and counts of them;
//! - `windows`: windows of event time;
//! - `sellers`, `auctions`, `ranks`: state and timers for each key, results that are taken back.

mod auctions;
mod bids;
mod ranks;
mod sellers;
mod windows;

pub(crate) use windows::hot_items;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thalweg::{Chain, Env, Stream, bounded};

use super::job::{DigestSink, DigestTotal, Events};
use super::{Bid, Digest, Event, Kind};

/// How far events may be out of order; within a shard they never are, so nothing is ever late.
const DISORDER: Duration = Duration::from_secs(1);

/// Names the queries once, in the order in which they are listed.
macro_rules! queries {
    ($($query:ident = $module:ident::$function:ident),* $(,)?) => {
        /// A query by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are NEXMark's")]
        pub enum Query {
            $($query,)*
        }

        impl Query {
            /// All queries, in the order in which they are listed.
            pub const ALL: &[Query] = &[$(Query::$query),*];

            /// The name, as on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Query::$query => stringify!($function),)*
                }
            }

            /// Adds the query to a job: from `events` to a sink that digests into `total`.
            pub fn build(self, env: &Env, events: Events, total: &DigestTotal) {
                let events = env.source("nexmark", events).watermarks(bounded(DISORDER));
                match self {
                    $(Query::$query => $module::$function(events, total),)*
                }
            }
        }
    };
}

queries! {
    Q0 = bids::q0,
    Q1 = bids::q1,
    Q2 = bids::q2,
    Q3 = sellers::q3,
    Q4 = auctions::q4,
    Q5 = windows::q5,
    Q7 = windows::q7,
    Q8 = windows::q8,
    Q11 = windows::q11,
    Q12 = windows::q12,
    Q18 = ranks::q18,
    Q19 = ranks::q19,
    Wc = bids::wc,
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

/// A row that is added to a result, or taken back from it.
#[derive(Clone, Debug)]
struct Change<R> {
    sign: Sign,
    row: R,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

/// Ends a query whose rows are replaced.
fn digest_changes<R: 'static>(
    changes: Stream<impl Chain<Out = Change<R>>>,
    total: &DigestTotal,
    hash: impl Fn(&R) -> u64 + Clone + Send + Sync + 'static,
) {
    digest(changes, total, move |change, digest| match change.sign {
        Sign::Plus => digest.add(hash(&change.row)),
        Sign::Minus => digest.retract(hash(&change.row)),
    });
}
