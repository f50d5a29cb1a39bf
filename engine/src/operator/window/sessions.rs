//! Session windows with a static gap over accumulators, in event time, with the default trigger.
//!
//! Each key has its open sessions, nearly always one. A message is a session so far, of one record or several; it merges with all
//! that it overlaps or touches.
//!
//! Invariants:
//! - the sessions of a key neither overlap nor touch;
//! - a session has a timer at or before the time when it must be looked at next, so extending it costs nothing: the timer that
//!   comes too early sets the next one. A timer whose session has been merged away finds nothing, or too early, and does no harm;
//! - a session fires when the watermark passes its last millisecond, and for each late record that it still accepts.

use std::collections::VecDeque;

use rkyv::util::AlignedVec;
use thalweg_state::lsm::Fingerprint;
use thalweg_state::lsm::sst::ValueAlign;
use thalweg_state::{
    DueQueue, KeyContext, Lane, StateSet, StateValue, Stored, ValueError, ValueState, fingerprint, load_two,
    store_two,
};

use super::combiner::MISSING_TIMESTAMP;
use super::slices::Merge;
use crate::api::aggregate::Emit;
use crate::api::record::{Key, Record};
use crate::data_plane::SubtaskContext;
use crate::data_plane::subtask::Guard;
use crate::data_plane::switch::LateRecords;
use crate::error::Result;
use crate::operator::lookahead::Lookahead;
use crate::operator::output::{Control, Output, Stage};
use crate::operator::stateless::pass_through;
use crate::operator::{Budget, CACHED_STATE_BYTES, OneInput, Operator, Received};
use crate::time::window::TimeWindow;
use crate::time::{NO_TIMESTAMP, Timestamp};

/// How many due timers are looked up together at most.
const DUE_MAX: usize = 1024;

/// A session: how far it reaches, and what is in it.
#[derive(Clone)]
struct Session<Acc> {
    window: TimeWindow,
    acc: Acc,
    /// No later than when it must be looked at next.
    timer: Timestamp,
    fired: bool,
}

/// The sessions of a key.
#[derive(Clone)]
struct Sessions<Acc> {
    one: Session<Acc>,
    more: Vec<Session<Acc>>,
}

/// See the [module](self).
pub(crate) struct SessionWindows<K, A, E, N, Acc> {
    lateness: i64,
    aggregate: A,
    emit: E,
    sessions: ValueState<K, Sessions<Acc>>,
    ahead: Lookahead<K>,
    timers: DueQueue<(u64, K)>,
    /// Timers that are due, and have been looked up ahead, from that number on.
    due: VecDeque<(u64, K)>,
    due_number: u32,
    watermark: Timestamp,
    late_dropped: LateRecords,
    guard: Guard,
    next: N,
}

pass_through!(SessionWindows<K, A, E, N, Acc>);

impl<K: Key, A, E, N, Acc: StateValue> SessionWindows<K, A, E, N, Acc> {
    pub(crate) fn new(cx: &SubtaskContext, lateness: i64, aggregate: A, emit: E, next: N) -> Result<Self> {
        Ok(Self {
            lateness,
            aggregate,
            emit,
            sessions: cx.value_state("sessions")?,
            ahead: Lookahead::new(cx),
            timers: DueQueue::new(),
            due: VecDeque::new(),
            due_number: 0,
            watermark: i64::MIN,
            late_dropped: cx.late_records(),
            guard: cx.guard(),
            next,
        })
    }
}

impl<Acc: StateValue> Stored for Sessions<Acc> {
    fn schema() -> Fingerprint {
        fingerprint::<Acc>(&["sessions"])
    }

    fn align() -> ValueAlign {
        ValueAlign::Sixteen
    }

    fn store(&self, out: &mut AlignedVec<16>) -> std::result::Result<(), ValueError> {
        let all = || std::iter::once(&self.one).chain(&self.more);
        let spans: Vec<_> = all().map(|s| (s.window.start, s.window.end, s.timer, s.fired)).collect();
        let accs: Vec<Acc> = all().map(|s| s.acc.clone()).collect();
        store_two(out, |out| StateValue::write_list(&spans, out), |out| Acc::write_list(&accs, out))
    }

    fn load(bytes: &[u8]) -> std::result::Result<Self, ValueError> {
        let (spans, accs) = load_two(bytes)?;
        let (spans, accs) = (Vec::<(i64, i64, i64, bool)>::read(spans)?, Acc::view_list(accs)?);
        if spans.len() != accs.len() {
            return Err(ValueError::Malformed { type_name: "sessions", bytes: bytes.len() });
        }
        let mut more = Vec::new();
        for ((start, end, timer, fired), acc) in spans.into_iter().zip(accs).rev() {
            more.push(Session { window: TimeWindow { start, end }, acc: Acc::make(acc)?, timer, fired });
        }
        let malformed = ValueError::Malformed { type_name: "sessions", bytes: bytes.len() };
        let one = more.pop().ok_or(malformed)?;
        more.reverse();
        Ok(Self { one, more })
    }
}

impl<Acc> Session<Acc> {
    /// When it must be looked at next, if nothing more comes.
    fn due(&self, lateness: i64) -> Timestamp {
        if self.fired {
            self.window.max_timestamp().saturating_add(lateness)
        } else {
            self.window.max_timestamp()
        }
    }
}

impl<K: Key, A, E, N, Acc: Record + StateValue> OneInput<K, (Timestamp, Timestamp, Acc)>
    for SessionWindows<K, A, E, N, Acc>
where
    (Timestamp, Timestamp, Acc): Record,
    A: Merge<Acc>,
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    fn looks_ahead(&self) -> bool {
        self.sessions.memory_bytes() > CACHED_STATE_BYTES
    }

    #[inline]
    fn prefetch(&self, key_hash: u64, _timestamp: Timestamp) {
        self.sessions.prefetch(key_hash);
    }

    fn prepare(&mut self, record: Received<'_, K, (Timestamp, Timestamp, Acc)>) {
        self.ahead.show(&mut self.sessions, &record);
    }

    fn process(&mut self, record: Received<'_, K, (Timestamp, Timestamp, Acc)>) {
        if record.timestamp == NO_TIMESTAMP {
            return self.guard.fail(MISSING_TIMESTAMP);
        }
        let (start, end, acc) = <(Timestamp, Timestamp, Acc)>::unarchive(record.value);
        let window = TimeWindow { start, end };
        let Self { lateness, aggregate, emit, sessions, timers, watermark, late_dropped, next, .. } = self;
        let is_late = |window: TimeWindow| window.max_timestamp().saturating_add(*lateness) <= *watermark;
        let session = Session { window, acc, timer: window.max_timestamp(), fired: false };
        let key = || <K as Record>::unarchive(record.key);
        if let Some(open) = sessions.get_mut(record.archived_key()) {
            let one = &mut open.one;
            if open.more.is_empty()
                && !one.fired
                && one.window.intersects(window)
                && !is_late(one.window.cover(window))
            {
                // By far the most: the key's only session grows. Its timer is early enough unless the start moved it.
                one.window = one.window.cover(window);
                aggregate.merge(&mut one.acc, session.acc);
                if one.window.max_timestamp() <= *watermark {
                    fire(one, &key(), *lateness, emit, timers, record.key_hash, next);
                }
                return;
            }
            merge(open, session, aggregate, late_dropped, is_late, |s| {
                if s.window.max_timestamp() <= *watermark {
                    fire(s, &key(), *lateness, emit, timers, record.key_hash, next);
                } else {
                    register(s, &key(), *lateness, timers, record.key_hash);
                }
            });
            return;
        }
        if is_late(window) {
            return late_dropped.count_one();
        }
        let open = || Sessions { one: session, more: Vec::new() };
        let open = sessions.get_or_insert_with(record.archived_key(), open);
        if window.max_timestamp() <= *watermark {
            fire(&mut open.one, &key(), *lateness, emit, timers, record.key_hash, next);
        } else {
            timers.push(open.one.timer, (record.key_hash, key()));
        }
    }
}

/// Merges a session with all of its key that it overlaps or touches, and gives the result to `then`.
fn merge<Acc, A: Merge<Acc>>(
    open: &mut Sessions<Acc>,
    session: Session<Acc>,
    aggregate: &A,
    late_dropped: &LateRecords,
    is_late: impl Fn(TimeWindow) -> bool,
    then: impl FnOnce(&mut Session<Acc>),
) {
    // What is merged keeps the order of time, so that first and last stay so.
    let mut window = session.window;
    let touches = |s: &Session<Acc>| s.window.intersects(session.window);
    for s in std::iter::once(&open.one).chain(&open.more).filter(|s| touches(s)) {
        window = window.cover(s.window);
    }
    if is_late(window) {
        return late_dropped.count_one();
    }
    let mut merged: Option<Session<Acc>> = None;
    let mut add = |s: Session<Acc>| match &mut merged {
        None => merged = Some(s),
        Some(m) => {
            aggregate.merge(&mut m.acc, s.acc);
            m.timer = m.timer.min(s.timer);
        }
    };
    let mut i = 0;
    while i < open.more.len() {
        if touches(&open.more[i]) { add(open.more.swap_remove(i)) } else { i += 1 }
    }
    if touches(&open.one) {
        // Its place is taken by the result below.
        let place_holder = open.more.pop();
        match place_holder {
            Some(other) => add(std::mem::replace(&mut open.one, other)),
            None => {
                let one = &mut open.one;
                aggregate.merge(&mut one.acc, session.acc);
                if let Some(m) = merged {
                    aggregate.merge(&mut one.acc, m.acc);
                }
                one.window = window;
                one.fired = false;
                return then(one);
            }
        }
    }
    add(session);
    let mut merged = merged.expect("the session itself was added");
    merged.window = window;
    merged.fired = false;
    open.more.push(merged);
    then(open.more.last_mut().expect("it was just pushed"));
}

/// Emits a session, and sets the timer for its end of life.
fn fire<K: Key, Acc, E: Emit<K, Acc>, N: Output<E::Out>>(
    session: &mut Session<Acc>,
    key: &K,
    lateness: i64,
    emit: &E,
    timers: &mut DueQueue<(u64, K)>,
    key_hash: u64,
    next: &mut N,
) {
    next.collect(&emit.emit(key, session.window, &session.acc), session.window.max_timestamp());
    session.fired = true;
    session.timer = i64::MAX;
    register(session, key, lateness, timers, key_hash);
}

/// Makes sure that the session has a timer early enough.
fn register<K: Key, Acc>(
    session: &mut Session<Acc>,
    key: &K,
    lateness: i64,
    timers: &mut DueQueue<(u64, K)>,
    key_hash: u64,
) {
    session.timer = session.due(lateness);
    timers.push(session.timer, (key_hash, key.clone()));
}

impl<K: Key, A, E, N, Acc: Record + StateValue> Operator for SessionWindows<K, A, E, N, Acc>
where
    A: Merge<Acc>,
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    fn advance(&mut self, watermark: Timestamp, budget: &mut Budget) -> bool {
        self.watermark = watermark;
        loop {
            if self.due.is_empty() {
                let popped = std::iter::from_fn(|| self.timers.pop_due(watermark));
                self.due.extend(popped.take(if self.ahead.spills() { DUE_MAX } else { 1 }));
                if self.due.is_empty() {
                    return true;
                }
                self.due_number = u32::MAX;
            }
            if self.ahead.spills() && self.due_number == u32::MAX {
                let due = self.due.iter().map(|(hash, key)| (*hash, key));
                if !self.ahead.are_due_ready(&mut self.sessions, due) {
                    return false;
                }
                self.due_number = Lane::Timers.first();
            }
            let Some((key_hash, key)) = self.due.pop_front() else { return true };
            self.on_timer(key_hash, &key);
            if !budget.spend(&self.guard) {
                return false;
            }
        }
    }

    fn prepares(&self) -> bool {
        self.ahead.spills()
    }

    fn prepared(&mut self) -> bool {
        self.ahead.is_ready(&mut self.sessions)
    }

    fn maintain(&mut self) {
        self.ahead.maintain(&mut self.sessions);
    }
}

impl<K: Key, A, E, N, Acc: Record + StateValue> SessionWindows<K, A, E, N, Acc>
where
    E: Emit<K, Acc>,
    N: Output<E::Out>,
{
    /// Looks at the sessions of a key: fires those that are complete, drops those that take no more records.
    fn on_timer(&mut self, key_hash: u64, key: &K) {
        let Self { lateness, emit, sessions, timers, watermark, next, due_number, .. } = self;
        let at = KeyContext::with_hash(key, key_hash).prepared_as(*due_number);
        *due_number = due_number.saturating_add(1);
        let Some(open) = sessions.get_mut(at) else { return };
        let mut look = |s: &mut Session<Acc>| {
            let last = s.window.max_timestamp();
            if last <= *watermark && !s.fired {
                next.collect(&emit.emit(key, s.window, &s.acc), last);
                s.fired = true;
                s.timer = i64::MIN;
            }
            let is_gone = last.saturating_add(*lateness) <= *watermark;
            if !is_gone && s.timer <= *watermark {
                register(s, key, *lateness, timers, key_hash);
            }
            !is_gone
        };
        if open.more.is_empty() {
            if !look(&mut open.one) {
                sessions.clear(at);
            }
            return;
        }
        // Several sessions: in the order of their ends.
        open.more.sort_by_key(|s| s.window.end);
        let place = open.more.partition_point(|s| s.window.end < open.one.window.end);
        let mut kept = 0;
        let mut is_one_kept = true;
        for i in 0..=open.more.len() {
            if i == place {
                is_one_kept = look(&mut open.one);
            }
            if i < open.more.len() && look(&mut open.more[i]) {
                open.more.swap(kept, i);
                kept += 1;
            }
        }
        open.more.truncate(kept);
        if !is_one_kept {
            match open.more.pop() {
                Some(other) => open.one = other,
                None => {
                    sessions.clear(at);
                }
            }
        }
    }
}
