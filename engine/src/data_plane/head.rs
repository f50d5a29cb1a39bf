//! The head of a chain: it reads an exchange or a source and gives the records to what is fused behind it.
//!
//! A [`Head`] takes one buffer after the other from its gate and gives the records to its operator. Three things can cut a
//! buffer in two, and the rest is read later: timers that are due, which fire within a budget; an output without credit;
//! a failure. A [`SourceHead`] does the same with the batches of a source.
//!
//! An operator whose state may not be in memory is shown all records of a buffer before it is begun. If state is missing, the gate
//! keeps the buffer until it has come; a buffer that was begun is read to its end before another is shown.

use std::cell::Cell;
use std::rc::Rc;

use thalweg_net::{Signal, WrongType};

use super::background::Background;
use super::gate::{Gate, GateEvent, Position, Taken};
use super::inbox::{Inbox, One, Read, Two};
use super::subtask::{Guard, Progress, Subtask, SubtaskContext};
use crate::api::record::{Key, Record};
use crate::api::source::{Said, SourceOutput, SourceReader, SourceStatus};
use crate::graph::EdgeId;
use crate::operator::output::{Control, Output};
use crate::operator::{Budget, OneInput, Operator, TwoInput};
use crate::time::watermark::ValveOutput;
use crate::time::{MAX_WATERMARK, Timestamp};

/// Firings of windows and timers between two looks at the rest of the core.
const FIRINGS_PER_STEP: u32 = 4096;

/// How often a buffer is put aside at most. Then it is read although state is missing, which its operator must wait for: a sign that
/// memory does not even hold what one buffer needs, and better than to bring the same state in for ever.
const PUT_ASIDE_MAX: u32 = 8;

/// When a chain is flushed and told the time. Shared by both kinds of head.
struct Pace {
    blocked: Rc<Cell<u32>>,
    buffer_timeout_ms: i64,
    last_tick: Timestamp,
    /// Something may be held back since the flush at this time.
    dirty: bool,
    last_flush: Timestamp,
}

impl Pace {
    fn new(cx: &SubtaskContext) -> Self {
        let buffer_timeout_ms = i64::try_from(cx.config.buffer_timeout.as_millis()).unwrap_or(i64::MAX);
        let blocked = cx.blocked.clone();
        Self { blocked, buffer_timeout_ms, last_tick: i64::MIN, dirty: false, last_flush: i64::MIN }
    }

    /// Whether an output of this subtask waits for credit.
    fn is_blocked(&self) -> bool {
        self.blocked.get() > 0
    }

    /// The clock's reading, when it is new.
    fn tick(&mut self, now: Timestamp) -> Option<Timestamp> {
        let is_new = now > self.last_tick;
        self.last_tick = now;
        is_new.then_some(now)
    }

    /// Whether the buffer timeout has passed since the last flush.
    fn is_overdue(&self, now: Timestamp) -> bool {
        self.dirty && now.saturating_sub(self.last_flush) >= self.buffer_timeout_ms
    }

    fn worked(&mut self, now: Timestamp) {
        if !std::mem::replace(&mut self.dirty, true) {
            self.last_flush = now;
        }
    }

    /// Whether a flush is due now that the input has run dry.
    fn flush(&mut self, now: Timestamp) -> bool {
        self.last_flush = now;
        std::mem::take(&mut self.dirty)
    }

    /// When the buffer timeout passes.
    fn flushes_at(&self) -> Option<Timestamp> {
        self.dirty.then(|| self.last_flush.saturating_add(self.buffer_timeout_ms))
    }
}

/// A subtask behind an exchange.
pub(crate) struct Head<I, O> {
    gate: Gate,
    inbox: I,
    /// Which channel the inbox's buffer came from.
    reading: Option<Position>,
    operator: O,
    /// What the gate said, while the operator is still firing for it.
    advancing: Option<ValveOutput>,
    background: Rc<Background>,
    guard: Guard,
    pace: Pace,
    ended: bool,
}

impl<K: Key, T: Record, O: OneInput<K, T>> Head<One<K, T>, O> {
    /// A subtask with one input, which may come from several edges.
    pub(crate) fn one_input(cx: &SubtaskContext, edges: &[EdgeId], operator: O) -> Box<dyn Subtask> {
        Box::new(Head::new(cx, Gate::new(cx, &[edges]), One::default(), operator))
    }
}

impl<K: Key, A: Record, B: Record, O: TwoInput<K, A, B>> Head<Two<K, A, B>, O> {
    /// A subtask with two inputs.
    pub(crate) fn two_input(
        cx: &SubtaskContext,
        left: &[EdgeId],
        right: &[EdgeId],
        operator: O,
    ) -> Box<dyn Subtask> {
        Box::new(Head::new(cx, Gate::new(cx, &[left, right]), Two::default(), operator))
    }

    /// The same with the watermarks of a union: see [`Gate::united`].
    pub(crate) fn united(
        cx: &SubtaskContext,
        left: &[EdgeId],
        right: &[EdgeId],
        operator: O,
    ) -> Box<dyn Subtask> {
        Box::new(Head::new(cx, Gate::united(cx, &[left, right]), Two::default(), operator))
    }
}

impl<I, O: Operator> Head<I, O> {
    fn new(cx: &SubtaskContext, gate: Gate, inbox: I, operator: O) -> Self {
        let (background, guard, pace) = (cx.background.clone(), cx.guard(), Pace::new(cx));
        Self { gate, inbox, reading: None, operator, advancing: None, background, guard, pace, ended: false }
    }

    /// Fires what the watermark allows, then passes it on. Returns whether that is done.
    fn advance(&mut self, mut output: ValveOutput) -> bool {
        while let Some(watermark) = output.earlier.or(output.watermark) {
            if !self.operator.advance(watermark, &mut Budget::new(FIRINGS_PER_STEP)) {
                self.advancing = Some(output);
                return false;
            }
            self.operator.control(Control::watermark(watermark));
            let done = if output.earlier.is_some() { &mut output.earlier } else { &mut output.watermark };
            *done = None;
        }
        if let Some(idle) = output.idle {
            self.operator.control(Control::idle(idle));
        }
        self.advancing = None;
        true
    }

    /// Returns whether the next record may be read at once.
    fn on_signal(&mut self, position: Position, signal: Signal) -> bool {
        match self.gate.on_signal(position, signal) {
            GateEvent::None => true,
            GateEvent::Time(output) => self.advance(output),
            GateEvent::Forward(signal) => {
                self.operator.control(Control::Signal(signal));
                true
            }
            GateEvent::End => {
                self.operator.control(Control::Signal(Signal::End));
                self.ended = true;
                false
            }
        }
    }
}

impl<I: Inbox<O>, O: Operator> Head<I, O> {
    /// Fires what the clock and then the watermark allow, and reads on when that is done. Returns whether there was anything.
    fn work(&mut self) -> bool {
        let mut budget = Budget::new(FIRINGS_PER_STEP);
        if !self.operator.fire_due(&mut budget) {
            return true;
        }
        match self.advancing {
            Some(output) => {
                self.advance(output);
                true
            }
            None => self.read() || budget.is_touched(),
        }
    }

    /// Reads on in the buffer at hand, or in the next one. Returns whether there was anything.
    fn read(&mut self) -> bool {
        if self.reading.is_none() {
            if self.background.is_stalled() {
                return false;
            }
            let Some(taken) = self.gate.next_buffer() else { return false };
            if let Err(error) = self.open(taken) {
                self.guard.fail(error.to_string());
                return false;
            }
        }
        let Some(position) = self.reading else { return true };
        loop {
            match self.inbox.read(&mut self.operator, &self.guard) {
                Read::Signal(signal) => {
                    if !self.on_signal(position, signal) || self.guard.should_stop() {
                        return true;
                    }
                }
                Read::Stopped => return true,
                Read::Empty => {
                    self.reading = None;
                    self.operator.batch_done();
                    self.gate.consumed(position);
                    return true;
                }
            }
        }
    }

    /// Opens a buffer to be read; or puts it aside, if state that its records need is not in memory.
    fn open(&mut self, taken: Taken) -> Result<(), WrongType> {
        let input = self.gate.input_of(taken.position);
        if self.operator.prepares() {
            let records = self.inbox.prepare(input, taken.buffer.clone(), &mut self.operator, &self.guard)?;
            if records > 0 && !self.operator.prepared() && taken.tries < PUT_ASIDE_MAX {
                self.operator.batch_done();
                self.gate.put_aside(taken);
                return Ok(());
            }
        }
        self.inbox.open(input, taken.buffer, &self.operator)?;
        self.reading = Some(taken.position);
        Ok(())
    }
}

impl<I: Inbox<O>, O: Operator> Subtask for Head<I, O> {
    fn step(&mut self) -> Progress {
        if self.ended {
            return Progress::Finished;
        }
        let now = self.guard.now();
        let mut ticked = false;
        if let Some(now) = self.pace.tick(now) {
            // A tick that was asked for may make records, as input does.
            ticked = self.operator.wakes_at().is_some_and(|at| at <= now);
            self.operator.control(Control::Tick(now));
            if self.pace.is_overdue(now) {
                self.flush();
            }
        }
        let worked = !self.pace.is_blocked() && self.work();
        if !worked && !ticked {
            return Progress::Idle;
        }
        if !self.ended {
            self.pace.worked(now);
            self.operator.control(Control::BatchEnd);
        }
        Progress::Worked
    }

    fn flush(&mut self) -> bool {
        let due = !self.ended && !self.pace.is_blocked() && self.pace.flush(self.guard.now());
        if due {
            self.operator.control(Control::Flush);
        }
        due
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        if self.ended {
            return None;
        }
        let flush = self.pace.flushes_at();
        self.operator.wakes_at().into_iter().chain(flush).min()
    }

    fn is_quiet(&self) -> bool {
        self.ended
            || (self.reading.is_none()
                && self.advancing.is_none()
                && !self.gate.has_buffer()
                && !self.gate.has_aside()
                && !self.pace.dirty)
    }

    fn awaits_state(&self) -> bool {
        self.gate.has_aside()
    }

    fn is_dry(&self) -> bool {
        self.ended || (self.reading.is_none() && self.advancing.is_none() && !self.gate.has_buffer())
    }

    fn is_blocked(&self) -> bool {
        self.pace.is_blocked()
    }

    fn maintain(&mut self) {
        self.operator.maintain();
    }
}

/// A subtask that begins with a source.
pub(crate) struct SourceHead<R, N> {
    reader: R,
    next: N,
    background: Rc<Background>,
    guard: Guard,
    pace: Pace,
    batch_records: u32,
    wakes_at: Option<Timestamp>,
    said: Said,
    /// The reader said that there is more.
    has_more: bool,
    /// Nothing more is asked of the reader.
    stopped: bool,
    ended: bool,
}

impl<R: SourceReader, N: Output<R::Item>> SourceHead<R, N> {
    pub(crate) fn subtask(cx: &SubtaskContext, reader: R, next: N) -> Box<dyn Subtask> {
        let (guard, pace, batch_records) = (cx.guard(), Pace::new(cx), cx.config.batch_records);
        Box::new(Self {
            reader,
            next,
            background: cx.background.clone(),
            guard,
            pace,
            batch_records,
            wakes_at: None,
            said: Said::default(),
            has_more: false,
            stopped: false,
            ended: false,
        })
    }

    fn end(&mut self) {
        if self.said.is_idle {
            self.next.control(Control::idle(false)); // Its last watermark must count.
        }
        self.next.control(Control::watermark(MAX_WATERMARK));
        self.next.control(Control::Signal(Signal::End));
        self.ended = true;
    }
}

impl<R: SourceReader, N: Output<R::Item>> Subtask for SourceHead<R, N> {
    fn step(&mut self) -> Progress {
        if self.ended {
            return Progress::Finished;
        }
        let now = self.guard.now();
        let mut ticked = false;
        if let Some(now) = self.pace.tick(now) {
            ticked = self.next.wakes_at().is_some_and(|at| at <= now);
            self.next.control(Control::Tick(now));
            if self.pace.is_overdue(now) {
                self.flush();
            }
        }
        if ticked {
            self.pace.worked(now);
        }
        if self.pace.is_blocked() || self.background.is_stalled() {
            return if ticked { Progress::Worked } else { Progress::Idle };
        }
        if self.stopped {
            self.end();
            return Progress::Worked;
        }
        let mut output = SourceOutput::new(&mut self.next, &self.guard, self.batch_records, self.said);
        let status = self.reader.poll(&mut output);
        let emitted = output.has_emitted();
        self.said = output.said();
        self.wakes_at = None;
        self.has_more = matches!(status, Ok(SourceStatus::More));
        match status {
            Ok(SourceStatus::More) => {}
            Ok(SourceStatus::Waiting { until }) => self.wakes_at = until,
            Ok(SourceStatus::End) => self.end(),
            Err(error) => {
                self.guard.fail_with(error);
                return Progress::Worked;
            }
        }
        if emitted && !self.ended {
            self.pace.worked(now);
            self.next.control(Control::BatchEnd);
        }
        if emitted || ticked || self.ended || self.has_more { Progress::Worked } else { Progress::Idle }
    }

    fn flush(&mut self) -> bool {
        let due = !self.ended && !self.pace.is_blocked() && self.pace.flush(self.guard.now());
        if due {
            self.next.control(Control::Flush);
        }
        due
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        if self.ended {
            return None;
        }
        let reader = self.wakes_at.filter(|_| !self.background.is_stalled());
        [reader, self.pace.flushes_at(), self.next.wakes_at()].into_iter().flatten().min()
    }

    fn is_quiet(&self) -> bool {
        self.ended || !self.pace.dirty
    }

    fn is_dry(&self) -> bool {
        self.ended || !self.has_more
    }

    fn is_blocked(&self) -> bool {
        self.pace.is_blocked()
    }

    fn is_source(&self) -> bool {
        true
    }

    fn stop(&mut self) {
        self.stopped = true;
    }
}
