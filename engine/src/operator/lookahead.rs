//! Looks state up ahead for the records of a buffer, where it may be elsewhere than in memory.
//!
//! ```text
//!   buffer ─▶ show, each record: key ─▶ each state's prepare ─▶ is_ready: resolve ─▶ true: the records find all in memory
//!                                                                            └▶ false: the buffer is put aside
//! ```

use thalweg_state::{ArchivedKey, CoreState, KeyContext, Lane, StateSet, Timers};

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
    /// Timers need what was asked for when there had been so many arrivals.
    due_since: Option<u64>,
}

impl<K: Key> Lookahead<K> {
    pub(crate) fn new(cx: &SubtaskContext) -> Self {
        let state = cx.state.clone();
        Self { spills: state.spills(), key: OwnedKey::new(), bytes: Vec::new(), state, due_since: None }
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
    left: u32,
    number: u32,
}

impl Due {
    /// Whether what the next timer needs is in memory, or none is due. If not, it has been asked for. `key` says whom a timer is for.
    #[inline]
    pub(crate) fn is_ready<K: Key, P: Eq + Clone>(
        &mut self,
        ahead: &mut Lookahead<K>,
        timers: &mut Timers<P>,
        up_to: Timestamp,
        state: &mut impl StateSet,
        key: impl Fn(&P) -> &K,
    ) -> bool {
        if self.left > 0 || !ahead.spills() {
            return true;
        }
        let due = timers.peek_due(up_to).take(DUE_MAX);
        let mut count = 0;
        let is_ready = ahead
            .are_due_ready(state, due.inspect(|_| count += 1).map(|(hash, payload)| (hash, key(payload))));
        (self.left, self.number) = (count, Lane::Timers.first());
        is_ready
    }

    /// The context of the timer that was taken out.
    #[inline]
    pub(crate) fn next<'a, K>(&mut self, key: &'a K, hash: u64) -> KeyContext<'a, K> {
        let at = KeyContext::with_hash(key, hash);
        if self.left == 0 {
            return at;
        }
        let number = self.number;
        (self.left, self.number) = (self.left - 1, number + 1);
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
