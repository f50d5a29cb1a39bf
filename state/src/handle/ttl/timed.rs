//! Values and items with their times, in memory and as bytes.

use super::Ttl;
use super::life::Expires;
use crate::handle::list_cell::{Chunk, Items, write_chunk};
use crate::lsm::Fingerprint;
use crate::lsm::sst::ValueAlign;
use crate::value::{ValueBytes, fingerprint};
use crate::{StateValue, Stored, ValueError};

/// A value, and when it was used last.
#[derive(Debug, Clone)]
pub(crate) struct Timed<V> {
    pub(super) value: V,
    pub(super) at_ms: i64,
}

impl<V> Expires for Timed<V> {
    fn retain_live(&mut self, ttl: &Ttl, now_ms: i64) -> bool {
        !ttl.has_expired(self.at_ms, now_ms)
    }
}

/// The bytes of a value, and its time, which is behind them.
///
/// Errors: they are too few.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], i64), ValueError> {
    match bytes.split_last_chunk() {
        Some((value, at_ms)) => Ok((value, i64::from_le_bytes(*at_ms))),
        None => Err(ValueError::Malformed { type_name: "time", bytes: bytes.len() }),
    }
}

impl<V: Stored> Stored for Timed<V> {
    fn schema() -> Fingerprint {
        let Fingerprint(value) = V::schema();
        fingerprint::<i64>(&["ttl", &value.to_string()])
    }

    fn align() -> ValueAlign {
        V::align()
    }

    fn store(&self, out: &mut ValueBytes) -> Result<(), ValueError> {
        self.value.store(out)?;
        out.extend_from_slice(&self.at_ms.to_le_bytes());
        Ok(())
    }

    fn load(bytes: &[u8]) -> Result<Self, ValueError> {
        let (value, at_ms) = split(bytes)?;
        Ok(Self { value: V::load(value)?, at_ms })
    }
}

/// The items of a list, and when each was used last: side by side, so that the items can be lent as a slice.
#[derive(Debug, Clone)]
pub(super) struct TimedItems<T> {
    pub(super) items: Vec<T>,
    pub(super) times_ms: Vec<i64>,
}

impl<T> Default for TimedItems<T> {
    fn default() -> Self {
        Self { items: Vec::new(), times_ms: Vec::new() }
    }
}

impl<T> TimedItems<T> {
    pub(super) fn new(items: Vec<T>, at_ms: i64) -> Self {
        Self { times_ms: vec![at_ms; items.len()], items }
    }

    pub(super) fn push(&mut self, item: T, at_ms: i64) {
        self.items.push(item);
        self.times_ms.push(at_ms);
    }

    /// How many of them have expired.
    pub(super) fn expired(&self, ttl: &Ttl, now_ms: i64) -> usize {
        self.times_ms.iter().filter(|at_ms| ttl.has_expired(**at_ms, now_ms)).count()
    }
}

impl<T> Expires for TimedItems<T> {
    fn retain_live(&mut self, ttl: &Ttl, now_ms: i64) -> bool {
        if self.expired(ttl, now_ms) > 0 {
            let mut times = self.times_ms.iter();
            self.items.retain(|_| times.next().is_some_and(|at_ms| !ttl.has_expired(*at_ms, now_ms)));
            self.times_ms.retain(|at_ms| !ttl.has_expired(*at_ms, now_ms));
        }
        !self.items.is_empty()
    }
}

impl<T: StateValue> Items for TimedItems<T> {
    type Item = T;

    const SCHEMA: &[&str] = &["list", "ttl"];

    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn clear(&mut self) {
        self.items.clear();
        self.times_ms.clear();
    }

    fn append(&mut self, other: &Self) {
        self.items.extend_from_slice(&other.items);
        self.times_ms.extend_from_slice(&other.times_ms);
    }

    fn append_chunk(&mut self, chunk: Chunk<'_>) -> Result<(), ValueError> {
        let before = self.items.len();
        self.items.append_chunk(chunk)?;
        self.times_ms.extend(chunk.times_ms());
        match self.items.len() == self.times_ms.len() {
            true => Ok(()),
            false => {
                self.items.truncate(before);
                self.times_ms.truncate(before);
                Err(ValueError::Malformed { type_name: "list with times", bytes: chunk.bytes.len() })
            }
        }
    }

    fn write(&self, out: &mut ValueBytes) -> Result<(), ValueError> {
        write_chunk(&self.items, &self.times_ms, out)
    }
}
