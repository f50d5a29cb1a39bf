//! What windows have in files: accumulators under a window's number and a key, added to each other and read window by window.
//!
//! ```text
//!   window's table ── freeze ──▶ operands, by (key group, number, key) ──▶ files
//!   window fires   ◀── merged ◀── scan of (key group, number) ◀─────────────┘         its range is dropped when it is gone
//! ```
//!
//! To add to a window nothing is read: what comes later is an operand to what is in files. The tables are the caller's.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::flush::{LayerEntries, Loaded};
use super::port::TablePort;
use crate::heap::Table;
use crate::lsm::key::{KeyBuf, StateId};
use crate::lsm::{self, KeyBatch, KeyRange, Kind, MergeOperator};
use crate::value::ValueBytes;
use crate::{HashSpread, Key, KeyGroup, KeyGroupRange, MaxParallelism, Stored, ValueError, key_group};

/// A window's table that does not change any more, under the window's number. The table is ordered by the positions that a
/// [`HashSpread`] gives to key hashes.
pub type FrozenWindow<K, V> = (i64, Arc<Table<K, V>>);

/// See [`StateBackend::windows`](crate::StateBackend::windows), where there is an example.
pub struct WindowStore<K, V> {
    port: TablePort,
    key_groups: KeyGroupRange,
    max: MaxParallelism,
    /// Windows that are gone since the last freeze.
    gone: Vec<i64>,
    key: KeyBuf,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Stored> WindowStore<K, V> {
    pub(crate) fn new(port: TablePort, key_groups: KeyGroupRange, max: MaxParallelism) -> Self {
        Self { port, key_groups, max, gone: Vec::new(), key: KeyBuf::default(), types: PhantomData }
    }

    /// The epoch at which tables shall be frozen now, if they shall.
    pub fn wants_freeze(&self) -> Option<u64> {
        self.port.wants_freeze()
    }

    /// Up to which epoch files have what was frozen.
    pub fn flushed(&self) -> u64 {
        self.port.flushed()
    }

    /// Hands over what was frozen at an epoch, to be written.
    pub fn hand_over(&mut self, epoch: u64, mut windows: Vec<FrozenWindow<K, V>>) {
        let tombstones = self.gone.drain(..).collect::<Vec<_>>();
        let tombstones =
            tombstones.iter().flat_map(|&number| self.key_groups.iter().map(move |group| (group, number)));
        let mut key = KeyBuf::default();
        let state = self.port.state();
        let tombstones = tombstones.map(|(group, number)| range_of(&mut key, group, state, number)).collect();
        windows.sort_unstable_by_key(|(number, _)| *number);
        let layer = (!windows.is_empty()).then(|| {
            let spread = HashSpread::new(self.key_groups, self.max);
            let (key_groups, max) = (self.key_groups, self.max);
            Box::new(WindowLayer { state, key_groups, max, spread, windows }) as Box<dyn LayerEntries>
        });
        self.port.hand_over(epoch, layer, tombstones);
    }

    /// Says how much memory the tables take, in bytes.
    pub fn report(&self, bytes: usize) {
        self.port.report(bytes);
    }

    /// Has something dropped by a helper thread, because it is large.
    pub fn discard(&self, garbage: Box<dyn Send>) {
        self.port.discard(vec![garbage]);
    }

    /// What files have of a window and a key group: appended to `out`, with key hashes. `false`: parts of files are missing, and were
    /// asked for; `out` is then as before. With `waits` they are brought in here and now, which is counted.
    pub fn scan(&mut self, number: i64, group: KeyGroup, waits: bool, out: &mut Vec<(u64, K, V)>) -> bool {
        let range = range_of(&mut self.key, group, self.port.state(), number);
        let skip = self.key.begin(group, self.port.state()).push(&number).as_bytes().len();
        let start = out.len();
        let mut aligned = ValueBytes::new();
        let mut failure = None;
        let each = |key: &[u8], value: &[u8]| {
            aligned.clear();
            aligned.extend_from_slice(value);
            let key = K::decode(&mut &key[skip..])
                .map_err(|_| ValueError::Malformed { type_name: "key", bytes: key.len() });
            match key.and_then(|key| Ok((key.key_hash(), key, V::load(&aligned)?))) {
                Ok(entry) => {
                    out.push(entry);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let is_complete = if waits {
            self.port.scan_waiting(&range, each);
            true
        } else {
            self.port.scan(&range, each)
        };
        if let Some(error) = failure {
            self.port.fail_value(error);
        }
        if !is_complete {
            out.truncate(start);
        }
        is_complete
    }

    /// What files have of a window and one key. Waits for them.
    pub fn get_waiting(&mut self, number: i64, key: &K, hash: u64) -> Option<V> {
        let mut batch = KeyBatch::default();
        let group = key_group(hash, self.max);
        batch.push(self.key.begin(group, self.port.state()).push(&number).push(key).as_bytes()).ok()?;
        let mut found = None;
        self.port.get_waiting(&batch, |_, answer| {
            found = answer.value().map(|value| {
                let mut aligned = ValueBytes::new();
                aligned.extend_from_slice(value);
                V::load(&aligned)
            });
        });
        match found? {
            Ok(value) => Some(value),
            Err(error) => {
                self.port.fail_value(error);
                None
            }
        }
    }

    /// A window is gone, and what files have of it.
    pub fn remove(&mut self, number: i64) {
        self.gone.push(number);
    }

    /// Rises when something that was asked for has come: see [`CoreState::arrivals`](crate::CoreState::arrivals).
    pub fn arrivals(&self) -> u64 {
        self.port.arrivals()
    }
}

impl<K, V> fmt::Debug for WindowStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowStore").field("key_groups", &self.key_groups).finish_non_exhaustive()
    }
}

/// All keys of a window in a key group.
fn range_of(key: &mut KeyBuf, group: KeyGroup, state: StateId, number: i64) -> KeyRange {
    KeyRange::of_prefix(key.begin(group, state).push(&number).as_bytes())
}

/// The windows of one freeze, in the order of their numbers.
struct WindowLayer<K, V> {
    state: StateId,
    key_groups: KeyGroupRange,
    max: MaxParallelism,
    spread: HashSpread,
    windows: Vec<FrozenWindow<K, V>>,
}

impl<K: Key, V: Stored> LayerEntries for WindowLayer<K, V> {
    fn state(&self) -> StateId {
        self.state
    }

    fn key_groups(&self) -> KeyGroupRange {
        self.key_groups
    }

    fn load(&self, group: KeyGroup, out: &mut Loaded) -> lsm::Result<()> {
        let (from, to) = self.spread.positions_of(group, self.key_groups, self.max);
        for (number, table) in &self.windows {
            for (_, key, value) in table.between(from, to) {
                let parts = |parts: &mut KeyBuf| _ = parts.push(number).push(key);
                out.add(group, self.state, Kind::Merge, parts, |values| value.store(values))?;
            }
        }
        Ok(())
    }
}

/// Adds the accumulators of a window up, as the aggregate does.
pub(crate) struct WindowMerge<V, F> {
    pub(crate) merge: F,
    pub(crate) value: PhantomData<fn() -> V>,
}

impl<V: Stored, F: Fn(&mut V, V) + Send + Sync> MergeOperator for WindowMerge<V, F> {
    fn merge(&self, older: &[u8], newer: &[u8], out: &mut Vec<u8>) -> lsm::Result<()> {
        let state = StateId(u16::MAX);
        let load = |bytes: &[u8]| {
            let mut aligned = ValueBytes::new();
            aligned.extend_from_slice(bytes);
            V::load(&aligned).map_err(|source| lsm::Error::Value { state, source })
        };
        let mut sum = load(older)?;
        (self.merge)(&mut sum, load(newer)?);
        let mut bytes = ValueBytes::new();
        sum.store(&mut bytes).map_err(|source| lsm::Error::Value { state, source })?;
        out.extend_from_slice(&bytes);
        Ok(())
    }
}
