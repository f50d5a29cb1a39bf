//! What has expired, by the clock of the core; and the heap's share of clearing it away.

use super::Ttl;
use super::config::IncrementalCleanup;
use crate::Key;
use crate::backend::StateBackend;
use crate::clock::Clock;
use crate::handle::{KeyedState, Lane};
use crate::heap::LayeredTable;

/// Slots that are looked at in search of one entry, at most: tables may be nearly empty.
const SLOTS_MAX: usize = 8;

/// What a state can lose to time.
pub(super) trait Expires {
    /// Drops what has expired, and says whether anything is left.
    fn retain_live(&mut self, ttl: &Ttl, now_ms: i64) -> bool;
}

/// What a read finds of one value.
pub(super) enum Found {
    /// Nothing, or nothing to be seen.
    Nothing,
    /// What has expired, and is gone but for this read.
    Lent,
    /// What is in the table.
    Live,
}

/// The time to live of a state, and how far it has been cleared.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) ttl: Ttl,
    clock: Clock,
    cleanup: Option<IncrementalCleanup>,
    /// Where clearing goes on, in the order of hashes.
    from: u64,
}

impl Life {
    pub(super) fn new(ttl: Ttl, backend: &StateBackend) -> Self {
        Self { cleanup: ttl.incremental_cleanup(), ttl, clock: backend.clock(), from: 0 }
    }

    #[inline]
    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Whether what was used last at that time has expired.
    #[inline]
    pub(super) fn has_expired(&self, at_ms: i64) -> bool {
        self.ttl.has_expired(at_ms, self.now_ms())
    }

    /// Whether what was used last at that time is not to be seen any more.
    #[inline]
    pub(super) fn hides(&self, at_ms: i64) -> bool {
        !self.ttl.returns_expired() && self.has_expired(at_ms)
    }

    /// Clears some of what has expired, because the state is used. Source: Flink's `TtlIncrementalCleanup`.
    #[inline]
    pub(super) fn on_access<K: Key, V: Expires + Clone>(&mut self, table: &mut LayeredTable<K, V>) {
        if let Some(cleanup) = self.cleanup {
            self.clear_some(table, cleanup.entries);
        }
    }

    /// Shows `f` what clears the table with every record, if that is asked for.
    pub(super) fn each<K: Key, V: Expires + Clone>(
        &mut self,
        table: &mut LayeredTable<K, V>,
        f: &mut dyn FnMut(&mut dyn KeyedState),
    ) {
        if let Some(IncrementalCleanup { entries, for_every_record: true }) = self.cleanup {
            f(&mut Clearing { life: self, table, entries });
        }
    }

    /// Looks at the next entries, about so many.
    fn clear_some<K: Key, V: Expires + Clone>(&mut self, table: &mut LayeredTable<K, V>, entries: usize) {
        let Self { ttl, clock, from, .. } = self;
        let now_ms = clock.now_ms();
        let (mut left, mut slots) = (entries, entries.saturating_mul(SLOTS_MAX));
        while left > 0 && slots > 0 {
            let (step, mut seen) = (left.min(slots), 0);
            let next = table.retain_from(*from, step, |value| {
                seen += 1;
                value.retain_live(ttl, now_ms)
            });
            *from = next.unwrap_or(0);
            if next.is_none() {
                return; // All of it was seen. The next access begins anew.
            }
            (left, slots) = (left.saturating_sub(seen), slots - step);
        }
    }
}

/// A table of the heap, of which some is to be cleared with each record.
struct Clearing<'a, K, V> {
    life: &'a mut Life,
    table: &'a mut LayeredTable<K, V>,
    entries: usize,
}

impl<K: Key, V: Expires + Clone> KeyedState for Clearing<'_, K, V> {
    fn begin_batch(&mut self, _lane: Lane) {}

    fn prepare(&mut self, _record: u32, _hash: u64, _user_key: &[u8]) {}

    fn resolve(&mut self, _lane: Lane) -> bool {
        true
    }

    fn maintain(&mut self) {}

    fn wants_records(&self) -> bool {
        true
    }

    fn on_records(&mut self, records: usize) {
        self.life.clear_some(self.table, records.saturating_mul(self.entries));
    }
}
