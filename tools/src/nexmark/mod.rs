//! NEXMark: an auction site's persons, auctions and bids, and what every engine must compute from them.
//!
//! The data set is made once, lies in files that every engine reads, and is in memory before any clock
//! starts. Nothing here knows the engine: a source is a [`Cursor`] that lends one [`Event`] after another, a
//! sink is a [`Digest`] that adds up [`RowHash`]es.
//!
//! In reading order:
//! - [`event`](Event): the bytes of a record, and the flyweight that reads them where they lie;
//! - [`texts`](Texts): texts that are kept after their event;
//! - [`data`](DataSet): a shard set, read and validated as a whole;
//! - [`generate`](fn@write_shards): how a shard set is made;
//! - [`digest`](Digest): how results are compared between engines.

mod data;
mod digest;
mod event;
mod generate;
pub mod job;
pub mod queries;
mod texts;

pub use data::{DataError, DataSet, Meta, RECORD_BYTES_MAX, RecordError, Shard};
pub use digest::{Digest, RowHash};
pub use event::{ArchivedEvent, Auction, Bid, Cursor, Event, ID_SHIFT, Kind, Person, Position, Text, View};
pub use generate::{BASE_TIME_MS, Summary, generate_in_memory, write_shards};
pub use texts::Texts;
