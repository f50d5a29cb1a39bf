//! Aggregates of the records of a window.

use super::record::Record;
use crate::time::window::TimeWindow;

/// Makes one value of many records, one after the other.
pub trait Aggregate<T>: Clone + Send + Sync + 'static {
    /// What is kept between records.
    type Acc: Record;
    /// The result.
    type Out: 'static;

    /// The accumulator of no records.
    fn create(&self) -> Self::Acc;

    /// Takes in a record.
    fn add(&self, accumulator: &mut Self::Acc, record: &T);

    /// Takes in what another accumulator has.
    fn merge(&self, accumulator: &mut Self::Acc, other: Self::Acc);

    /// The result so far.
    fn result(&self, accumulator: &Self::Acc) -> Self::Out;
}

/// The result of an aggregate over a window.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct WindowResult<K, V> {
    /// The key, `()` without keys.
    pub key: K,
    /// The window.
    pub window: TimeWindow,
    /// The result.
    pub value: V,
}

/// How many records there are.
#[derive(Debug, Clone, Copy)]
pub struct Count;

impl<T> Aggregate<T> for Count {
    type Acc = u64;
    type Out = u64;

    fn create(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&self, accumulator: &mut u64, _record: &T) {
        *accumulator += 1;
    }

    fn merge(&self, accumulator: &mut u64, other: u64) {
        *accumulator += other;
    }

    fn result(&self, accumulator: &u64) -> u64 {
        *accumulator
    }
}
