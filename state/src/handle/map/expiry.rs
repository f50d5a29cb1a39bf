//! What flushes and compactions leave of maps whose entries expire, besides what [`filter`](super::filter) says.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::filter::{MapFilter, head_bytes};
use super::head::{Head, each_entry, write_whole};
use crate::backend::StateBackend;
use crate::lsm::{CompactionFilter, Entry, EntryFilter, Kind, Verdict};
use crate::value::ValueBytes;
use crate::{Key, StateValue, Ttl, ValueError};

/// The filter of maps of values with times.
pub(in super::super) struct MapExpiry<K, UK, UV> {
    ttl: Ttl,
    filter: MapFilter<K>,
    entry: PhantomData<fn() -> (UK, UV)>,
}

impl<K: Key, UK: Key, UV: StateValue> MapExpiry<K, UK, UV> {
    /// That of a state with such a TTL.
    pub(in super::super) fn of(ttl: &Ttl, backend: &StateBackend) -> Arc<dyn CompactionFilter> {
        let filter = MapFilter::new();
        match ttl.cleans_files_of(backend) {
            true => Arc::new(Self { ttl: ttl.clone(), filter, entry: PhantomData }),
            false => Arc::new(filter),
        }
    }
}

impl<K: Key, UK: Key, UV: StateValue> CompactionFilter for MapExpiry<K, UK, UV> {
    fn begin(&self, now_ms: i64) -> Box<dyn EntryFilter> {
        let (ttl, heads, entry) = (self.ttl.clone(), self.filter.begin(now_ms), PhantomData);
        Box::new(MapExpiryAt::<K, UK, UV> { ttl, now_ms, heads, key: PhantomData, entry })
    }
}

struct MapExpiryAt<K, UK, UV> {
    ttl: Ttl,
    now_ms: i64,
    /// Says which entries count at all.
    heads: Box<dyn EntryFilter>,
    key: PhantomData<fn() -> K>,
    entry: PhantomData<fn() -> (UK, UV)>,
}

impl<K: Key, UK: Key, UV: StateValue> EntryFilter for MapExpiryAt<K, UK, UV> {
    fn filter(&mut self, entry: Entry<'_>, out: &mut Vec<u8>) -> Verdict {
        let verdict = self.heads.filter(entry, out);
        if verdict != Verdict::Keep || entry.kind != Kind::Put {
            return verdict;
        }
        let rest = match head_bytes::<K>(entry.key) == Some(entry.key.len()) {
            true => self.rest_of_head(entry.value, out),
            false => self.rest_of_entry(entry.value),
        };
        rest.unwrap_or(Verdict::Keep)
    }
}

impl<K, UK: Key, UV: StateValue> MapExpiryAt<K, UK, UV> {
    fn rest_of_entry(&self, value: &[u8]) -> Result<Verdict, ValueError> {
        let timed = <(UV, i64)>::view(value)?;
        Ok(if self.has_expired(timed.1.to_native()) { Verdict::Drop } else { Verdict::Keep })
    }

    /// A map that is whole has its entries in its head.
    fn rest_of_head(&self, head: &[u8], out: &mut Vec<u8>) -> Result<Verdict, ValueError> {
        let Head::Whole { keys, values } = Head::read(head)? else { return Ok(Verdict::Keep) };
        let timed = <(UV, i64)>::view_list(values)?;
        let expired = timed.iter().filter(|timed| self.has_expired(timed.1.to_native())).count();
        if expired == 0 || expired == timed.len() {
            return Ok(if expired == 0 { Verdict::Keep } else { Verdict::Drop });
        }
        let mut live: Vec<(UK, (UV, i64))> = Vec::new();
        each_entry::<UK, (UV, i64)>(keys, values, |key, timed| {
            if !self.has_expired(timed.1.to_native()) {
                live.push((key, <(UV, i64)>::make(timed)?));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut bytes = ValueBytes::new();
        write_whole(live.iter().map(|(key, timed)| (key, timed)), &mut bytes)?;
        out.extend_from_slice(&bytes);
        Ok(Verdict::Change)
    }

    fn has_expired(&self, at_ms: i64) -> bool {
        self.ttl.has_expired(at_ms, self.now_ms)
    }
}
