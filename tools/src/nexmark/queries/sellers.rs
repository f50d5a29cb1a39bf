//! q3: who sells in some states.
//!
//! Persons and auctions are one stream, keyed by the person: which of them comes first does not matter, and what is
//! neither is gone before the exchange.

use thalweg::{
    Chain, KeyedContext, KeyedProcessFunction, ListState, OpenContext, Result, Stream, ValueState,
};

use super::super::job::DigestTotal;
use super::super::{Event, RowHash, View};
use super::digest;

/// The states and the category that are asked for.
const STATES: [&[u8]; 3] = [b"or", b"id", b"ca"];
const CATEGORY: u64 = 10;

/// What is sent of an event, under the id of the person.
#[derive(Clone, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
enum Part {
    Person(Seller),
    /// Its id.
    Auction(u64),
}

#[derive(Clone, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Seller {
    name: String,
    city: String,
    state: String,
}

/// Sellers of some states, with each of their auctions.
pub(super) fn q3(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let local = events
        .filter_map(|event| match event.view() {
            View::Person(p) if STATES.contains(&&*p.state()) => {
                let [name, city, state] =
                    [p.name(), p.city(), p.state()].map(|text| text.as_str().to_owned());
                Some((p.id(), Part::Person(Seller { name, city, state })))
            }
            View::Auction(a) if a.category() == CATEGORY => Some((a.seller(), Part::Auction(a.id()))),
            _ => None,
        })
        .key_by(|(person, _)| *person)
        .map_values(|(_, part)| part.clone())
        .process(Join);
    digest(local, total, |(auction, seller), digest| {
        let row = RowHash::new().int(*auction);
        let row = row.text(seller.name.as_bytes()).text(seller.city.as_bytes()).text(seller.state.as_bytes());
        digest.add(row.finish());
    });
}

/// Joins a person with their auctions.
#[derive(Clone, Copy, Debug)]
struct Join;

impl KeyedProcessFunction<u64, Part> for Join {
    type Out = (u64, Seller);
    /// The person, and the auctions that came before.
    type State = (ValueState<u64, Seller>, ListState<u64, u64>);

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        Ok((cx.value("seller")?, cx.list("waiting")?))
    }

    #[inline]
    fn process(
        &mut self,
        part: &ArchivedPart,
        (sellers, waiting): &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        match part {
            ArchivedPart::Auction(id) => match sellers.get(cx.at()) {
                Some(seller) => cx.collect(&(id.to_native(), seller.clone())),
                None => waiting.add(cx.at(), id.to_native()),
            },
            ArchivedPart::Person(seller) => {
                let [name, city, state] =
                    [&seller.name, &seller.city, &seller.state].map(|text| text.to_string());
                let seller = Seller { name, city, state };
                for id in waiting.take(cx.at()) {
                    cx.collect(&(id, seller.clone()));
                }
                sellers.set(cx.at(), seller);
            }
        }
    }
}
