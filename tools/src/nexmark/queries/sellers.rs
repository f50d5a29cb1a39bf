//! q3: who sells in some states.
//!
//! Persons and auctions are one stream, keyed by the person: which of them comes first does not matter, and what is
//! neither is gone before the exchange.

use thalweg::{
    Chain, KeyedContext, KeyedProcessFunction, ListState, OpenContext, Result, Stream, ValueState,
};

use super::super::job::DigestTotal;
use super::super::{Event, RowHash, Texts, View};
use super::digest;

/// The states and the category that are asked for.
const STATES: [&[u8]; 3] = [b"or", b"id", b"ca"];
const CATEGORY: u64 = 10;

/// What is sent of an event.
#[derive(Clone, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
enum Part {
    /// `texts` are name, city and state.
    Person {
        id: u64,
        texts: Texts<3>,
    },
    Auction {
        id: u64,
        seller: u64,
    },
}

/// Sellers of some states, with each of their auctions.
pub(super) fn q3(events: Stream<impl Chain<Out = Event>>, total: &DigestTotal) {
    let local = events
        .filter_map(|event| match event.view() {
            View::Person(p) if STATES.contains(&&*p.state()) => {
                Some(Part::Person { id: p.id(), texts: [p.name(), p.city(), p.state()].into() })
            }
            View::Auction(a) if a.category() == CATEGORY => {
                Some(Part::Auction { id: a.id(), seller: a.seller() })
            }
            _ => None,
        })
        .key_by(|part| match *part {
            Part::Person { id, .. } => id,
            Part::Auction { seller, .. } => seller,
        })
        .process(Join);
    digest(local, total, |(auction, texts), digest| {
        digest.add(RowHash::new().int(*auction).texts(texts).finish());
    });
}

/// Joins a person with their auctions.
#[derive(Clone, Copy, Debug)]
struct Join;

impl KeyedProcessFunction<u64, Part> for Join {
    /// The auction's id and the person's texts.
    type Out = (u64, Texts<3>);
    /// The person's texts, and the auctions that came before.
    type State = (ValueState<u64, Texts<3>>, ListState<u64, u64>);

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
            ArchivedPart::Auction { id, .. } => match sellers.get(cx.at()) {
                Some(texts) => cx.collect(&(id.to_native(), texts.clone())),
                None => waiting.add(cx.at(), id.to_native()),
            },
            ArchivedPart::Person { texts, .. } => {
                let texts = texts.to_texts();
                for id in waiting.take(cx.at()) {
                    cx.collect(&(id, texts.clone()));
                }
                sellers.set(cx.at(), texts);
            }
        }
    }
}
