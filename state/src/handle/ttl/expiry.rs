//! What flushes and compactions leave of state that expires. Source: Flink's `RocksDbTtlCompactFiltersManager`.

use std::sync::Arc;

use super::Ttl;
use super::life::Expires;
use super::timed::{self, TimedItems};
use crate::backend::StateBackend;
use crate::handle::list_cell::{Chunk, Items};
use crate::lsm::{CompactionFilter, Entry, EntryFilter, Kind, Verdict};
use crate::value::ValueBytes;
use crate::{StateValue, ValueError};

/// What is left of a state's bytes when its time is over: made of a function of bytes for values, or for lists.
pub(super) struct Expiry {
    ttl: Ttl,
    rest: Rest,
}

/// What is left of a value or operands; what changes is appended.
///
/// Errors: the bytes are not what the state writes.
type Rest = fn(&Ttl, i64, &[u8], &mut Vec<u8>) -> Result<Verdict, ValueError>;

impl Expiry {
    /// For a state of values; `None` if its files are not to be cleared.
    pub(super) fn of_values(ttl: &Ttl, backend: &StateBackend) -> Option<Arc<dyn CompactionFilter>> {
        Self::of(ttl, backend, rest_of_value)
    }

    /// The same for a state of lists.
    pub(super) fn of_lists<T: StateValue>(
        ttl: &Ttl,
        backend: &StateBackend,
    ) -> Option<Arc<dyn CompactionFilter>> {
        Self::of(ttl, backend, rest_of_list::<T>)
    }

    fn of(ttl: &Ttl, backend: &StateBackend, rest: Rest) -> Option<Arc<dyn CompactionFilter>> {
        ttl.cleans_files_of(backend).then(|| Arc::new(Self { ttl: ttl.clone(), rest }) as _)
    }
}

impl CompactionFilter for Expiry {
    fn begin(&self, now_ms: i64) -> Box<dyn EntryFilter> {
        Box::new(ExpiryAt { ttl: self.ttl.clone(), rest: self.rest, now_ms })
    }
}

struct ExpiryAt {
    ttl: Ttl,
    rest: Rest,
    now_ms: i64,
}

impl EntryFilter for ExpiryAt {
    fn filter(&mut self, entry: Entry<'_>, out: &mut Vec<u8>) -> Verdict {
        match entry.kind {
            Kind::Delete => Verdict::Keep,
            Kind::Put | Kind::Merge => {
                (self.rest)(&self.ttl, self.now_ms, entry.value, out).unwrap_or(Verdict::Keep)
            }
        }
    }
}

fn rest_of_value(ttl: &Ttl, now_ms: i64, bytes: &[u8], _out: &mut Vec<u8>) -> Result<Verdict, ValueError> {
    let (_, at_ms) = timed::split(bytes)?;
    Ok(if ttl.has_expired(at_ms, now_ms) { Verdict::Drop } else { Verdict::Keep })
}

/// Chunks of which all items live on stay as they are; of others the items that do are written anew.
fn rest_of_list<T: StateValue>(
    ttl: &Ttl,
    now_ms: i64,
    list: &[u8],
    out: &mut Vec<u8>,
) -> Result<Verdict, ValueError> {
    let mut is_changed = false;
    let mut bytes = list;
    while !bytes.is_empty() {
        let (chunk, rest) = Chunk::split(bytes)?;
        bytes = rest;
        let expired = chunk.times_ms().filter(|at_ms| ttl.has_expired(*at_ms, now_ms)).count();
        is_changed |= expired > 0;
        if expired == 0 {
            out.extend_from_slice(chunk.bytes);
        } else if expired < chunk.times_ms().len() {
            let mut aligned = ValueBytes::new(); // What was added up may lie at any address.
            aligned.extend_from_slice(chunk.bytes);
            let mut items = TimedItems::<T>::default();
            items.append_chunk(Chunk::split(&aligned)?.0)?;
            items.retain_live(ttl, now_ms);
            aligned.clear();
            items.write(&mut aligned)?;
            out.extend_from_slice(&aligned);
        }
    }
    Ok(match is_changed {
        false => Verdict::Keep,
        true if out.is_empty() => Verdict::Drop,
        true => Verdict::Change,
    })
}
