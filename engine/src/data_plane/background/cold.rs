//! A state most of which is not in memory, and an operator that counts in it: to see buffers put aside, stalls and faults.
//!
//! It asserts what operators are promised: all records of a buffer are shown before any is processed, in the same order and under the
//! same numbers; no other buffer is shown before its end; no record comes after a watermark that it was in front of.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rkyv::rend::u64_le;
use thalweg_state::WorkProgress;

use super::{Work, WorkSource};
use crate::api::chain::{OneInputFactory, TwoInputFactory};
use crate::data_plane::SubtaskContext;
use crate::error::Result;
use crate::operator::output::{Control, Output, Stage};
use crate::operator::stateless::pass_through;
use crate::operator::{Budget, OneInput, Operator, Received, TwoInput};
use crate::time::Timestamp;

/// How cold the state is, and what else goes on in the background.
#[derive(Debug, Clone)]
pub(super) struct Cold {
    /// How many keys fit in memory.
    pub(super) capacity: usize,
    /// How many steps a read takes.
    pub(super) read_steps: u32,
    /// A key whose read takes until then, by the clock of the helpers.
    pub(super) slow: Option<(u64, Duration)>,
    /// After so many updates they are flushed, in some steps.
    pub(super) flush_updates: u64,
    /// With so many updates that were not flushed the core is stalled.
    pub(super) stall_updates: u64,
    /// A key that cannot be read.
    pub(super) lost: Option<(u64, Loss)>,
    /// Reads that an operator had to wait for.
    pub(super) blocking_reads: Arc<AtomicU64>,
}

/// What becomes of a read that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Fault,
    Panic,
}

impl Cold {
    /// One with room for `capacity` keys, and nothing else going on.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            read_steps: 2,
            slow: None,
            flush_updates: u64::MAX,
            stall_updates: u64::MAX,
            lost: None,
            blocking_reads: Arc::default(),
        }
    }
}

/// The counts of a core's keys.
struct Counts {
    cold: Cold,
    counts: BTreeMap<u64, u64>,
    /// The keys in memory, those first that came in first.
    warm: VecDeque<u64>,
    wanted: VecDeque<u64>,
    pending: BTreeSet<u64>,
    updates: u64,
    is_flushing: bool,
    fault: Option<String>,
}

impl Counts {
    fn new(cold: Cold) -> Self {
        Self {
            cold,
            counts: BTreeMap::new(),
            warm: VecDeque::new(),
            wanted: VecDeque::new(),
            pending: BTreeSet::new(),
            updates: 0,
            is_flushing: false,
            fault: None,
        }
    }

    fn is_warm(&self, key: u64) -> bool {
        self.warm.contains(&key)
    }

    fn want(&mut self, key: u64) {
        if self.pending.insert(key) {
            self.wanted.push_back(key);
        }
    }

    fn come_in(&mut self, key: u64) {
        self.warm.push_back(key);
        if self.warm.len() > self.cold.capacity {
            self.warm.pop_front();
        }
    }

    fn count(&mut self, key: u64) -> u64 {
        self.updates += 1;
        let count = self.counts.entry(key).or_default();
        *count += 1;
        *count
    }
}

/// What is done for [`Counts`] in the background.
enum Chore {
    Read { key: u64, steps: u32, until: Duration, loss: Option<Loss> },
    Flush { updates: u64, steps: u32 },
}

impl Work for Chore {
    fn step(&mut self, now: Duration) -> WorkProgress {
        let steps = match self {
            Chore::Read { until, .. } if *until > now => return WorkProgress::Throttled { until: *until },
            Chore::Read { loss: Some(Loss::Panic), .. } => {
                std::panic::resume_unwind(Box::new("the disk is on fire"))
            }
            Chore::Read { steps, .. } | Chore::Flush { steps, .. } => steps,
        };
        *steps = steps.saturating_sub(1);
        if *steps == 0 { WorkProgress::Finished } else { WorkProgress::Worked }
    }

    fn is_read(&self) -> bool {
        matches!(self, Chore::Read { .. })
    }
}

impl Counts {
    fn poll_work(&mut self) -> Option<Chore> {
        if let Some(key) = self.wanted.pop_front() {
            let until = self.cold.slow.filter(|slow| slow.0 == key).map_or(Duration::ZERO, |slow| slow.1);
            let loss = self.cold.lost.filter(|lost| lost.0 == key).map(|lost| lost.1);
            return Some(Chore::Read { key, steps: self.cold.read_steps, until, loss });
        }
        let flushes = !self.is_flushing && self.updates >= self.cold.flush_updates;
        self.is_flushing |= flushes;
        flushes.then_some(Chore::Flush { updates: self.updates, steps: 5 })
    }

    fn on_work_done(&mut self, work: Chore) {
        match work {
            Chore::Read { key, loss: Some(_), .. } => self.fault = Some(format!("key {key} is lost")),
            Chore::Read { key, .. } => {
                assert!(self.pending.remove(&key), "a read comes back once");
                self.come_in(key);
            }
            Chore::Flush { updates, .. } => {
                self.updates -= updates;
                self.is_flushing = false;
            }
        }
    }
}

impl WorkSource for Rc<RefCell<Counts>> {
    type Work = Chore;

    fn poll_work(&self) -> Option<Chore> {
        self.borrow_mut().poll_work()
    }

    fn on_work_done(&self, work: Chore) {
        self.borrow_mut().on_work_done(work);
    }

    fn maintain(&self) {}

    fn is_stalled(&self) -> bool {
        let counts = self.borrow();
        counts.updates >= counts.cold.stall_updates
    }

    fn take_fault(&self) -> Option<String> {
        self.borrow_mut().fault.take()
    }
}

/// Builds the operator: for each record of a key its value, and how many the key has had.
impl OneInputFactory<u64, u64> for Cold {
    type Out = (u64, u64, u64);

    fn build<N: Output<Self::Out>>(
        &self,
        next: N,
        cx: &mut SubtaskContext,
    ) -> Result<impl OneInput<u64, u64>> {
        Ok(Counter::new(self, next, cx))
    }
}

impl TwoInputFactory<u64, u64, u64> for Cold {
    type Out = (u64, u64, u64);

    fn build<N: Output<Self::Out>>(
        &self,
        next: N,
        cx: &mut SubtaskContext,
    ) -> Result<impl TwoInput<u64, u64, u64>> {
        Ok(Counter::new(self, next, cx))
    }
}

struct Counter<N> {
    state: Rc<RefCell<Counts>>,
    /// The records that were shown: their keys, and whether these were in memory.
    shown: Vec<(u64, bool)>,
    /// How many of them were processed.
    processed: u32,
    watermark: Timestamp,
    next: N,
}

pass_through!(Counter<N>);

impl<N: Output<(u64, u64, u64)>> Counter<N> {
    fn new(cold: &Cold, next: N, cx: &SubtaskContext) -> Self {
        let state = Rc::new(RefCell::new(Counts::new(cold.clone())));
        cx.background.attach(state.clone(), cx.bell.clone());
        Self { state, shown: Vec::new(), processed: 0, watermark: i64::MIN, next }
    }

    fn show(&mut self, record: Received<'_, u64, u64>) {
        assert_eq!(self.processed, 0, "no other buffer is shown before the end of the one that is read");
        assert_eq!(record.number as usize, self.shown.len(), "records are shown in order, all of them");
        let key = record.key.to_native();
        self.shown.push((key, self.state.borrow().is_warm(key)));
    }

    fn count(&mut self, record: Received<'_, u64, u64>) {
        let key = record.key.to_native();
        let (shown, was_warm) = self.shown[record.number as usize];
        assert_eq!((record.number, key), (self.processed, shown), "records come as they were shown");
        assert!(record.timestamp > self.watermark, "the watermark waits for records before it");
        self.processed += 1;
        if !was_warm {
            self.state.borrow().cold.blocking_reads.fetch_add(1, Ordering::Relaxed);
        }
        let count = self.state.borrow_mut().count(key);
        self.next.collect(&(key, u64_le::to_native(*record.value), count), record.timestamp);
    }
}

impl<N: Output<(u64, u64, u64)>> Operator for Counter<N> {
    fn advance(&mut self, watermark: Timestamp, _budget: &mut Budget) -> bool {
        assert!(watermark > self.watermark, "watermarks rise");
        self.watermark = watermark;
        true
    }

    fn prepares(&self) -> bool {
        true
    }

    fn prepared(&mut self) -> bool {
        assert!(!self.shown.is_empty(), "a buffer of signals alone needs no state");
        let mut state = self.state.borrow_mut();
        let cold = self.shown.iter().filter(|(_, is_warm)| !is_warm);
        cold.clone().for_each(|&(key, _)| state.want(key));
        cold.count() == 0
    }

    fn batch_done(&mut self) {
        let is_read = self.processed as usize == self.shown.len();
        assert!(self.processed == 0 || is_read, "a buffer is read to its end");
        self.shown.clear();
        self.processed = 0;
    }
}

impl<N: Output<(u64, u64, u64)>> OneInput<u64, u64> for Counter<N> {
    fn prepare(&mut self, record: Received<'_, u64, u64>) {
        self.show(record);
    }

    fn process(&mut self, record: Received<'_, u64, u64>) {
        self.count(record);
    }
}

impl<N: Output<(u64, u64, u64)>> TwoInput<u64, u64, u64> for Counter<N> {
    fn prepare_left(&mut self, record: Received<'_, u64, u64>) {
        self.show(record);
    }

    fn prepare_right(&mut self, record: Received<'_, u64, u64>) {
        self.show(record);
    }

    fn process_left(&mut self, record: Received<'_, u64, u64>) {
        self.count(record);
    }

    fn process_right(&mut self, record: Received<'_, u64, u64>) {
        self.count(record);
    }
}
