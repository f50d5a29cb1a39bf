//! What can cross an exchange.

use rkyv::Deserialize;
use rkyv::rancor::{Failure, Strategy};
use thalweg_net::Exchange;

/// A type that crosses an exchange: anything that derives rkyv's `Archive`, `Serialize` and `Deserialize`.
///
/// Behind the exchange closures see the archived form in the received buffer, `&Archived<T>`; [`Record::unarchive`] makes
/// it an owned value again. Integers, floats, `bool`, `String`, `Option`, `Vec` and tuples of records are records.
///
/// ```
/// use thalweg::{Env, Record};
///
/// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
/// struct Bid {
///     auction: u64,
///     channel: String,
/// }
///
/// let env = Env::new().parallelism(1);
/// let bids = env.from_elements(["web", "app"]).map(|channel| Bid { auction: 7, channel: channel.to_string() });
/// let web = bids.rebalance().filter(|bid| bid.channel == "web").map(Bid::unarchive); // Only what passes is made again.
/// let auctions = web.map(|bid: &Bid| (bid.auction, bid.channel.len())).collect();
/// env.execute()?;
/// assert_eq!(auctions.take(), [(7, 3)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross an exchange",
    label = "not a record",
    note = "derive `rkyv::Archive`, `rkyv::Serialize` and `rkyv::Deserialize` for it"
)]
pub trait Record: Exchange {
    /// The owned value. Costs what its strings and vectors cost to allocate; for plain numbers, nothing.
    fn unarchive(archived: &Self::Archived) -> Self;
}

impl<T> Record for T
where
    T: Exchange,
    T::Archived: Deserialize<T, Strategy<(), Failure>>,
{
    #[inline]
    fn unarchive(archived: &Self::Archived) -> Self {
        archived
            .deserialize(Strategy::wrap(&mut ()))
            .expect("an archive written in this process holds nothing that could not be read back")
    }
}

/// A type that records can be keyed by: small, with a hash that is the same in every process and version.
///
/// Integers, `bool`, `char`, `String`, `Option`, byte arrays and tuples of up to six keys are keys.
///
/// ```
/// fn is_key<K: thalweg::Key>() {}
/// is_key::<(u64, String)>();
/// ```
pub trait Key: thalweg_state::Key + Record {}

impl<K: thalweg_state::Key + Record> Key for K {}
