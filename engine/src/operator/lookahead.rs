//! Looks state up ahead for the records of a buffer, where it may be elsewhere than in memory.
//!
//! ```text
//!   buffer ─▶ show, each record: key ─▶ each state's prepare ─▶ is_ready: resolve ─▶ true: the records find all in memory
//!                                                                            └▶ false: the buffer is put aside
//! ```

use std::collections::VecDeque;

use thalweg_state::{ArchivedKey, CoreState, KeyContext, Lane, StateSet, TimerState, Wakes};

use super::Received;
use super::process::OwnedKey;
use crate::api::record::{Key, Record};
use crate::data_plane::SubtaskContext;
use crate::time::Timestamp;

/// How many timers are looked up ahead together at most.
const DUE_MAX: usize = 1024;

/// What an operator needs to look its state up ahead.
pub(crate) struct Lookahead<K> {
    /// Not on the heap: everything here then costs one test for each buffer.
    spills: bool,
    key: OwnedKey<K>,
    bytes: Vec<u8>,
    state: CoreState,
    /// Whether there is state that is told of every record.
    wants_records: bool,
    /// Timers need what was asked for when there had been so many arrivals.
    due_since: Option<u64>,
}

impl<K: Key> Lookahead<K> {
    pub(crate) fn new(cx: &SubtaskContext) -> Self {
        let state = cx.state.clone();
        let (spills, key) = (state.spills(), OwnedKey::new());
        Self { spills, key, bytes: Vec::new(), state, wants_records: false, due_since: None }
    }

    /// Learns what the operator's state wants.
    pub(crate) fn learn(&mut self, state: &mut (impl StateSet + ?Sized)) {
        state.each(&mut |state| self.wants_records |= state.wants_records());
    }

    /// The operator takes a record.
    #[inline(always)]
    pub(crate) fn on_record(&self, state: &mut (impl StateSet + ?Sized)) {
        if self.wants_records {
            state.each(&mut |state| state.on_records(1));
        }
    }

    /// Whether there is anything to look up.
    #[inline]
    pub(crate) fn spills(&self) -> bool {
        self.spills
    }

    /// A record of the buffer, in its turn.
    pub(crate) fn show<T: Record>(
        &mut self,
        state: &mut (impl StateSet + ?Sized),
        record: &Received<'_, K, T>,
    ) {
        if record.number == 0 {
            state.each(&mut |state| state.begin_batch(Lane::Records));
        }
        let mut made = None;
        let key = self.key.get(record.key, &mut made);
        self.bytes.clear();
        key.encode(&mut self.bytes);
        state.each(&mut |state| state.prepare(record.number, record.key_hash, &self.bytes));
    }

    /// Whether all that the records need is in memory. If not, it has been asked for.
    pub(crate) fn is_ready(&mut self, state: &mut (impl StateSet + ?Sized)) -> bool {
        let mut is_ready = true;
        state.each(&mut |state| is_ready &= state.resolve(Lane::Records));
        is_ready
    }

    /// Whether all that some timers need is in memory: those of the hashes and keys that `each` shows, in the order in which they will
    /// fire. The first of them then has the number [`Lane::first`] of timers.
    pub(crate) fn are_due_ready<'a>(
        &mut self,
        state: &mut (impl StateSet + ?Sized),
        due: impl Iterator<Item = (u64, &'a K)>,
    ) -> bool {
        if self.due_since == Some(self.state.arrivals()) {
            return false;
        }
        state.each(&mut |state| state.begin_batch(Lane::Timers));
        for (at, (hash, key)) in due.enumerate() {
            self.bytes.clear();
            key.encode(&mut self.bytes);
            let number = Lane::Timers.first() + at as u32;
            state.each(&mut |state| state.prepare(number, hash, &self.bytes));
        }
        let mut is_ready = true;
        state.each(&mut |state| is_ready &= state.resolve(Lane::Timers));
        self.due_since = (!is_ready).then(|| self.state.arrivals());
        is_ready
    }

    /// See [`super::Operator::maintain`].
    #[inline]
    pub(crate) fn maintain(&self, state: &mut (impl StateSet + ?Sized)) {
        if self.state.has_files() {
            state.each(&mut |state| state.maintain());
        }
    }
}

/// The timers that are looked up ahead: those of one timestamp at a time.
#[derive(Default)]
pub(crate) struct Due {
    /// Of those that have not fired. The first has the number `number`.
    hashes: VecDeque<u64>,
    number: u32,
}

impl Due {
    /// Whether the next timer and what it needs are in memory, or none is due. If not, it has been asked for.
    #[inline]
    pub(crate) fn is_ready<K: Key, P: Wakes<Key = K>>(
        &mut self,
        ahead: &mut Lookahead<K>,
        timers: &mut TimerState<P>,
        up_to: Timestamp,
        state: &mut impl StateSet,
    ) -> bool {
        if !self.hashes.is_empty() || !ahead.spills() {
            return true;
        }
        if !timers.is_ready(up_to) {
            return false;
        }
        let due = timers.peek_due(up_to).take(DUE_MAX);
        let due = due.inspect(|(hash, _)| self.hashes.push_back(*hash));
        let is_ready = ahead.are_due_ready(state, due.map(|(hash, payload)| (hash, payload.key())));
        self.number = Lane::Timers.first();
        is_ready
    }

    /// The context of the timer that was taken out.
    #[inline]
    pub(crate) fn next<'a, K>(&mut self, key: &'a K, hash: u64) -> KeyContext<'a, K> {
        let at = KeyContext::with_hash(key, hash);
        // It is the first, unless timers that have fired since took others back, or set one that is earlier.
        let Some(skipped) = self.hashes.iter().position(|&due| due == hash) else { return at };
        self.hashes.drain(..=skipped);
        let number = self.number + skipped as u32;
        self.number = number + 1;
        at.prepared_as(number)
    }
}

impl<'a, K: Key, T: Record> Received<'a, K, T> {
    /// The record's key, which is made an owned one only where a state is new.
    #[inline(always)]
    pub(crate) fn archived_key(&self) -> ArchivedKey<'a, K> {
        ArchivedKey::new(self.key, self.key_hash, self.number)
    }

    /// The context of the record's key.
    #[inline(always)]
    pub(crate) fn at<'k>(&self, key: &'k K) -> KeyContext<'k, K> {
        KeyContext::with_hash(key, self.key_hash).prepared_as(self.number)
    }
}
