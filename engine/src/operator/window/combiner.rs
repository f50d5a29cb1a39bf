//! Aggregates in part before the exchange.
//!
//! A small table, indexed by the key's hash, keeps one accumulator for each key and span of time: a slice, or a session so far. What
//! another key displaces is sent. Everything is sent before a watermark that could complete it, and when the input runs dry.
//!
//! Invariants:
//! - results are those of sending every record: a record joins an accumulator only if no watermark that this subtask has seen
//!   could make it late, and the accumulator is sent before any watermark that could;
//! - watermarks between two steps that matter to the windows are held back, the last one goes with the next flush at the latest, and
//!   before a record to which it matters;
//! - a stream that has been idle is not combined any more: the windows may have gone on without its watermark, and any of its records may
//!   be late;
//! - a stream whose keys seldom repeat is noticed, and passes through for a while.

use std::marker::PhantomData;

use thalweg_net::Signal;

use crate::api::aggregate::Aggregate;
use crate::api::record::{Key, Record};
use crate::data_plane::SubtaskContext;
use crate::data_plane::subtask::Guard;
use crate::data_plane::writer::{Extract, KeyedChannelWriter};
use crate::graph::PortId;
use crate::operator::output::{Control, Output, Stage};
use crate::time::window::{Slicing, TimeWindow};
use crate::time::{MAX_WATERMARK, NO_TIMESTAMP, Timestamp};

/// Accumulators kept; the table of integers and counts fits in a second-level cache.
const SLOTS: usize = 4096;
/// How often it is looked whether combining pays, in records that found no accumulator.
const SAMPLE_MISSES: u32 = 16 * 1024;
/// Records that pass through after a sample in which less than one in four was combined.
const BYPASS_RECORDS: u32 = 16 * SAMPLE_MISSES;

/// What a job fails with when its stream has no event time.
pub(crate) const MISSING_TIMESTAMP: &str =
    "a record without timestamp cannot be put into an event-time window: give the stream .watermarks(…)";

/// Which span of time an accumulator covers, and what is sent for it.
pub trait Span<Acc>: Clone + Send + Sync + 'static {
    /// What is sent.
    type Message: Record;

    /// The span of a single record.
    fn of(&mut self, timestamp: Timestamp) -> TimeWindow;

    /// Extends the span of an accumulator to a record, if it may cover it. False for a record without timestamp.
    fn extend(&self, span: &mut TimeWindow, timestamp: Timestamp, fence: Timestamp) -> bool;

    /// Whether windows could treat a record differently before and behind the watermark that is held back.
    fn is_behind(&self, span: TimeWindow, timestamp: Timestamp, fence: Timestamp) -> bool;

    /// Whether the windows behind the exchange could do something at `watermark` that they could not at `last`.
    fn matters(&self, last: Timestamp, watermark: Timestamp) -> bool;

    /// Calls `send` with what is sent for an accumulator.
    fn with_message(&self, span: TimeWindow, acc: Acc, send: impl FnOnce(Timestamp, &Self::Message));
}

/// Spans are slices; the accumulator is sent as it is, with the slice's last millisecond.
#[derive(Debug, Clone)]
pub struct SliceSpan {
    slicing: Slicing,
    /// The slice of the record before: most are in the same one, and a division costs as much as the rest.
    last: TimeWindow,
}

impl SliceSpan {
    pub(crate) fn new(slicing: Slicing) -> Self {
        Self { slicing, last: TimeWindow { start: 0, end: 0 } }
    }
}

impl<Acc: Record> Span<Acc> for SliceSpan {
    type Message = Acc;

    #[inline]
    fn of(&mut self, timestamp: Timestamp) -> TimeWindow {
        if timestamp < self.last.start || timestamp >= self.last.end {
            let number = self.slicing.slice_of(timestamp);
            if self.slicing.slide > self.slicing.size && self.slicing.last_window(number).is_none() {
                // Between two windows: an empty span, which no other record joins, as each is counted if it is late.
                let after = timestamp.saturating_add(1);
                return TimeWindow { start: after, end: after };
            }
            self.last = TimeWindow { start: self.slicing.start_of(number), end: self.slicing.end_of(number) };
        }
        self.last
    }

    #[inline]
    fn extend(&self, span: &mut TimeWindow, timestamp: Timestamp, _fence: Timestamp) -> bool {
        timestamp >= span.start && timestamp < span.end
    }

    #[inline]
    fn is_behind(&self, span: TimeWindow, _timestamp: Timestamp, fence: Timestamp) -> bool {
        span.max_timestamp() < fence
    }

    fn matters(&self, last: Timestamp, watermark: Timestamp) -> bool {
        self.slicing.slice_of(last.saturating_add(1)) != self.slicing.slice_of(watermark.saturating_add(1))
    }

    #[inline]
    fn with_message(&self, span: TimeWindow, acc: Acc, send: impl FnOnce(Timestamp, &Acc)) {
        send(span.end.saturating_sub(1), &acc);
    }
}

/// Spans are sessions so far; sent with their ends.
#[derive(Debug, Clone)]
pub struct SessionSpan {
    pub(crate) gap: i64,
}

impl<Acc: Record> Span<Acc> for SessionSpan
where
    (Timestamp, Timestamp, Acc): Record,
{
    type Message = (Timestamp, Timestamp, Acc);

    #[inline]
    fn of(&mut self, timestamp: Timestamp) -> TimeWindow {
        TimeWindow { start: timestamp, end: timestamp.saturating_add(self.gap) }
    }

    #[inline]
    fn extend(&self, span: &mut TimeWindow, timestamp: Timestamp, fence: Timestamp) -> bool {
        let end = timestamp.saturating_add(self.gap);
        let touches = end >= span.start && timestamp <= span.end && timestamp > fence;
        if touches {
            *span = TimeWindow { start: span.start.min(timestamp), end: span.end.max(end) };
        }
        touches
    }

    /// It may touch a session that is complete at the watermark.
    #[inline]
    fn is_behind(&self, _span: TimeWindow, timestamp: Timestamp, fence: Timestamp) -> bool {
        timestamp <= fence
    }

    /// Sessions end anywhere; an eighth of the gap is a step small enough to keep few of them open for longer than needed.
    fn matters(&self, last: Timestamp, watermark: Timestamp) -> bool {
        watermark.saturating_sub(last) >= self.gap / 8
    }

    #[inline]
    fn with_message(&self, span: TimeWindow, acc: Acc, send: impl FnOnce(Timestamp, &Self::Message)) {
        send(span.start, &(span.start, span.end, acc));
    }
}

struct Slot<K, Acc> {
    key_hash: u64,
    key: K,
    span: TimeWindow,
    acc: Acc,
}

/// See the [module](self): the end of a chain before windows.
pub(crate) struct Combiner<T, X: Extract<T>, A: Aggregate<X::Value>, S: Span<A::Acc>> {
    extract: X,
    table: Table<X::Key, X::Value, A, S>,
    record: PhantomData<fn(T)>,
}

impl<T, X: Extract<T>, A: Aggregate<X::Value>, S: Span<A::Acc>> Combiner<T, X, A, S> {
    pub(crate) fn new(cx: &SubtaskContext, port: PortId, extract: X, aggregate: A, span: S) -> Self {
        let table = Table {
            aggregate,
            span,
            writer: KeyedChannelWriter::new(cx, port),
            guard: cx.guard(),
            slots: (0..SLOTS).map(|_| None).collect(),
            used: Vec::with_capacity(SLOTS),
            enabled: cx.config.pre_aggregation,
            sample: Sample::default(),
            watermark: i64::MIN,
            sent: i64::MIN,
            fence: i64::MIN,
            value: PhantomData,
        };
        Self { extract, table, record: PhantomData }
    }
}

impl<T: 'static, X: Extract<T>, A: Aggregate<X::Value>, S: Span<A::Acc>> Output<T> for Combiner<T, X, A, S> {
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        let Self { extract, table, .. } = self;
        extract.extract(record, |key, value| table.add(key, value, timestamp));
    }
}

impl<T: 'static, X: Extract<T>, A: Aggregate<X::Value>, S: Span<A::Acc>> Stage for Combiner<T, X, A, S> {
    fn control(&mut self, control: Control) {
        self.table.control(control);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The accumulators on their way, apart from the type of the records.
struct Table<K: Key, V, A: Aggregate<V>, S: Span<A::Acc>> {
    aggregate: A,
    span: S,
    writer: KeyedChannelWriter<K, S::Message>,
    guard: Guard,
    slots: Slots<K, A::Acc>,
    /// The slots in use.
    used: Vec<u16>,
    enabled: bool,
    sample: Sample,
    /// The greatest watermark seen, and the last one that went on.
    watermark: Timestamp,
    sent: Timestamp,
    /// The first millisecond after the watermark while that is held back; `i64::MIN` otherwise.
    fence: Timestamp,
    value: PhantomData<fn(V)>,
}

type Slots<K, Acc> = Box<[Option<Slot<K, Acc>>]>;

/// Whether combining pays.
#[derive(Default)]
struct Sample {
    combined: u32,
    missed: u32,
    /// Records that still pass through.
    bypass: u32,
}

impl<K: Key, V, A: Aggregate<V>, S: Span<A::Acc>> Table<K, V, A, S> {
    #[inline(always)]
    fn add(&mut self, key: K, value: &V, timestamp: Timestamp) {
        let key_hash = key.key_hash();
        let index = key_hash as usize & (SLOTS - 1);
        // No held accumulator is complete at the watermark, so a record that fits one is not late for it.
        if let Some(slot) = &mut self.slots[index]
            && slot.key_hash == key_hash
            && slot.key == key
            && self.span.extend(&mut slot.span, timestamp, self.fence)
        {
            self.aggregate.add(&mut slot.acc, value);
            self.sample.combined += 1;
        } else {
            self.begin(index, key, key_hash, value, timestamp);
        }
    }

    /// Begins an accumulator with a record, and sends the one whose place it takes; or sends the record alone.
    #[inline(never)]
    fn begin(&mut self, index: usize, key: K, key_hash: u64, value: &V, timestamp: Timestamp) {
        if timestamp == NO_TIMESTAMP {
            return self.guard.fail(MISSING_TIMESTAMP);
        }
        let span = self.span.of(timestamp);
        if self.span.is_behind(span, timestamp, self.fence) {
            self.send_watermark();
        }
        let mut acc = self.aggregate.create();
        self.aggregate.add(&mut acc, value);
        if !self.enabled || self.sample.bypass > 0 || span.max_timestamp() <= self.watermark {
            self.sample.bypass = self.sample.bypass.saturating_sub(1);
            if self.slots[index].as_ref().is_some_and(|slot| slot.key == key) {
                self.send_all(); // A record may merge with what its key has here: that came first.
            }
            return send(&self.span, &mut self.writer, &key, key_hash, span, acc);
        }
        match self.slots[index].replace(Slot { key_hash, key, span, acc }) {
            Some(old) => send(&self.span, &mut self.writer, &old.key, old.key_hash, old.span, old.acc),
            None => self.used.push(index as u16),
        }
        self.sample.missed += 1;
        if self.sample.missed == SAMPLE_MISSES {
            self.look_at_sample();
        }
    }

    fn send_all(&mut self) {
        for index in self.used.drain(..) {
            if let Some(slot) = self.slots[usize::from(index)].take() {
                send(&self.span, &mut self.writer, &slot.key, slot.key_hash, slot.span, slot.acc);
            }
        }
    }

    /// Decides whether the next records are combined.
    #[cold]
    fn look_at_sample(&mut self) {
        if self.sample.combined < self.sample.missed / 3 {
            self.sample.bypass = BYPASS_RECORDS;
            self.send_all();
        }
        self.sample.combined = 0;
        self.sample.missed = 0;
    }

    /// Sends the watermark that was held back, and all that it could complete before it.
    fn send_watermark(&mut self) {
        if self.watermark > self.sent {
            self.sent = self.watermark;
            self.fence = i64::MIN;
            self.send_all();
            self.writer.channels.control(Control::watermark(self.watermark));
        }
    }

    fn control(&mut self, control: Control) {
        self.enabled &= control != Control::Signal(Signal::Idle);
        match control {
            Control::Signal(Signal::Watermark(watermark)) => {
                self.watermark = self.watermark.max(watermark);
                if self.watermark > self.sent {
                    self.fence = self.watermark.saturating_add(1);
                }
                if watermark == MAX_WATERMARK || self.span.matters(self.sent, watermark) {
                    self.send_watermark();
                }
            }
            Control::Signal(_) | Control::Flush => {
                self.send_all();
                self.send_watermark();
                self.writer.channels.control(control);
            }
            Control::BatchEnd | Control::Tick(_) => self.writer.channels.control(control),
        }
    }
}

#[inline]
fn send<K: Key, Acc, S: Span<Acc>>(
    span: &S,
    writer: &mut KeyedChannelWriter<K, S::Message>,
    key: &K,
    key_hash: u64,
    of: TimeWindow,
    acc: Acc,
) {
    span.with_message(of, acc, |timestamp, message| writer.write(timestamp, key_hash, key, message));
}
