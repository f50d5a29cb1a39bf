//! What is done for a core beside its data plane: reads of state that is not in memory, and whatever keeps the state in order.
//!
//! ```text
//!   state ── poll_work ─▶ Errand ─▶ Helpers: step, step, … on any thread ─▶ Mailbox ── on_work_done ─▶ state
//!     ▲                                                                        └ bell ─▶ core
//!     └── prepared: no ── Head ── puts the buffer aside until the reads asked for have come in
//! ```
//!
//! Invariants:
//! - the core waits for no helper, nor for a lock that one of them has;
//! - work comes back exactly once, done or after a panic, unless the core has ended before: then it is dropped;
//! - what waits is bounded: a channel has one buffer aside at most, and reads are asked for by such buffers only.

#[cfg(test)]
mod cold;
#[cfg(test)]
mod files;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use thalweg_state::{CoreState, WorkProgress};

use super::core::panic_message;
use super::switch::Switch;
use crate::error::{Result, with_sources};
use crate::runtime::bell::Bell;
use crate::runtime::mailbox::Mailbox;

/// The state of a core, as far as work in the background goes: [`CoreState`], or what a test puts in its place.
pub(crate) trait WorkSource: 'static {
    type Work: Work;

    /// The next piece of work that somebody shall step until it is finished.
    fn poll_work(&self) -> Option<Self::Work>;

    /// Takes a finished piece of work back.
    fn on_work_done(&self, work: Self::Work);

    /// Called once per step, before input is taken: the time to keep to a memory budget.
    fn maintain(&self);

    /// Whether the core shall take no input until some work is done.
    fn is_stalled(&self) -> bool;

    /// Why the job must fail: a read or a write that did.
    fn take_fault(&self) -> Option<String>;
}

/// A piece of work, to be stepped on any thread.
pub(crate) trait Work: Send + 'static {
    /// Works for a while, and may wait for a disk; `now` is on a clock that does not go back.
    fn step(&mut self, now: Duration) -> WorkProgress;

    /// Lets the disk begin with it, and does not wait.
    fn prefetch(&self) {}

    /// Whether records wait for it: it then goes before work that is not.
    fn is_read(&self) -> bool;
}

impl WorkSource for CoreState {
    type Work = thalweg_state::Work;

    fn poll_work(&self) -> Option<Self::Work> {
        self.poll_work()
    }

    fn on_work_done(&self, work: Self::Work) {
        self.on_work_done(work);
    }

    fn maintain(&self) {
        self.maintain();
    }

    fn is_stalled(&self) -> bool {
        self.is_stalled()
    }

    fn take_fault(&self) -> Option<String> {
        self.take_fault().map(|error| with_sources(&error))
    }
}

impl Work for thalweg_state::Work {
    fn step(&mut self, now: Duration) -> WorkProgress {
        self.step(now)
    }

    fn prefetch(&self) {
        self.prefetch();
    }

    fn is_read(&self) -> bool {
        self.is_urgent()
    }
}

/// Who steps the work of a core: helper threads, or the simulator.
pub(crate) trait Helpers {
    /// Takes errands out of `outbox`, all of them unless somebody is in the way: the core then tries again with its next step.
    ///
    /// Errors: there are no helpers, and cannot be.
    fn try_take(&self, outbox: &mut VecDeque<Box<dyn Errand>>) -> Result<()>;
}

/// A piece of work on its way, which knows where it has to be delivered.
pub(crate) trait Errand: Send {
    /// See [`Work::is_read`].
    fn is_read(&self) -> bool;

    /// See [`Work::prefetch`].
    fn prefetch(&self);

    /// Steps the work, and delivers it when it is finished.
    fn step(self: Box<Self>, now: Duration) -> Step;
}

/// What a step of an errand came to.
#[must_use]
pub(crate) enum Step {
    /// It wants another step.
    Again(Box<dyn Errand>),
    /// It wants another step at that time.
    Later { until: Duration, errand: Box<dyn Errand> },
    /// It is delivered, or nobody waits for it any more.
    Over,
}

/// See [`Errand`].
struct Task<W> {
    work: W,
    /// Its number, if it is a read.
    read: Option<u64>,
    /// Gone when the core is.
    home: Weak<Mailbox<Delivery<W>>>,
}

/// What came of a piece of work.
enum Delivery<W> {
    Done { work: W, read: Option<u64> },
    Panicked(String),
}

impl<W: Work> Errand for Task<W> {
    fn is_read(&self) -> bool {
        self.work.is_read()
    }

    fn prefetch(&self) {
        self.work.prefetch();
    }

    fn step(mut self: Box<Self>, now: Duration) -> Step {
        let Some(home) = self.home.upgrade() else { return Step::Over };
        match catch_unwind(AssertUnwindSafe(|| self.work.step(now))) {
            Ok(WorkProgress::Worked) => Step::Again(self),
            Ok(WorkProgress::Throttled { until }) => Step::Later { until, errand: self },
            Ok(WorkProgress::Finished) => {
                let Self { work, read, .. } = *self;
                home.post(Delivery::Done { work, read });
                Step::Over
            }
            Err(panic) => {
                // What it was in the middle of may panic again when it is dropped; the first panic is the cause.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
                home.post(Delivery::Panicked(panic_message(&*panic)));
                Step::Over
            }
        }
    }
}

/// See the [module](self). One for each core, shared by its subtasks; it does nothing until a state is attached.
#[derive(Default)]
pub(crate) struct Background {
    desk: RefCell<Option<Box<dyn Desk>>>,
    reads: RefCell<Reads>,
    is_stalled: Cell<bool>,
    stalls: Cell<u64>,
    buffers_put_aside: Cell<u64>,
}

/// The reads of a core, by the numbers in which they were asked for.
#[derive(Debug, Default)]
struct Reads {
    /// How many there were since the start.
    asked: u64,
    /// Those that are not done.
    open: BTreeSet<u64>,
}

impl Background {
    /// From now on the work of `state` is done; `bell` wakes the core when a piece of it is.
    pub(crate) fn attach<S: WorkSource>(&self, state: S, bell: Bell) {
        let home = Arc::new(Mailbox::new(bell));
        let attached = Attached { state, home, outbox: VecDeque::new() };
        let before = self.desk.replace(Some(Box::new(attached)));
        assert!(
            before.is_none() || cfg!(test),
            "a core has one state, unless a test puts its own in its place"
        );
    }

    /// Whether there is a state that work is done for.
    pub(crate) fn is_attached(&self) -> bool {
        self.desk.borrow().is_some()
    }

    /// Before the subtasks of a step: takes in what is done. Returns whether there was anything.
    pub(crate) fn take_in(&self, switch: &Switch) -> bool {
        let mut desk = self.desk.borrow_mut();
        let Some(desk) = desk.as_mut() else { return false };
        let worked = desk.take_in(&mut self.reads.borrow_mut(), switch);
        let is_stalled = desk.is_stalled();
        if is_stalled && !self.is_stalled.replace(is_stalled) {
            self.stalls.set(self.stalls.get() + 1);
        }
        self.is_stalled.set(is_stalled);
        worked
    }

    /// After the subtasks of a step: hands out what is to be done. Returns whether the core must not sleep: something could not be
    /// handed out yet, or input may be taken again.
    pub(crate) fn hand_out(&self, helpers: &dyn Helpers, switch: &Switch) -> bool {
        let mut desk = self.desk.borrow_mut();
        let Some(desk) = desk.as_mut() else { return false };
        desk.collect(&mut self.reads.borrow_mut());
        let is_left = desk.hand_out(helpers, switch);
        // What was frozen may have been nothing that takes work: then nobody will ring.
        let is_freed = self.is_stalled.get() && !desk.is_stalled();
        is_left || is_freed
    }

    /// A buffer is put aside. Returns the reads that must be done before all of its state can be in memory: those that were asked
    /// for just now; and if there is none, because others wait for the same state, all before.
    pub(crate) fn on_put_aside(&self) -> Range<u64> {
        self.buffers_put_aside.set(self.buffers_put_aside.get() + 1);
        let reads = &mut *self.reads.borrow_mut();
        let before = reads.asked;
        if let Some(desk) = self.desk.borrow_mut().as_mut() {
            desk.collect(reads);
        }
        if reads.asked > before { before..reads.asked } else { 0..before }
    }

    /// Whether all of these reads are done.
    pub(crate) fn are_done(&self, reads: &Range<u64>) -> bool {
        self.reads.borrow().open.range(reads.clone()).next().is_none()
    }

    /// Whether no input may be taken now.
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled.get()
    }

    /// How often the core took no input until some work was done.
    pub(crate) fn stalls(&self) -> u64 {
        self.stalls.get()
    }

    /// How many buffers had to wait for state, counted each time.
    pub(crate) fn buffers_put_aside(&self) -> u64 {
        self.buffers_put_aside.get()
    }
}

/// A state and the work that is under way for it, whatever their types.
trait Desk {
    fn take_in(&mut self, reads: &mut Reads, switch: &Switch) -> bool;
    fn collect(&mut self, reads: &mut Reads);
    fn hand_out(&mut self, helpers: &dyn Helpers, switch: &Switch) -> bool;
    fn is_stalled(&self) -> bool;
}

struct Attached<S: WorkSource> {
    state: S,
    home: Arc<Mailbox<Delivery<S::Work>>>,
    outbox: VecDeque<Box<dyn Errand>>,
}

impl<S: WorkSource> Desk for Attached<S> {
    fn take_in(&mut self, reads: &mut Reads, switch: &Switch) -> bool {
        let state = &self.state;
        let has_mail = self.home.has_mail();
        if has_mail {
            for delivery in self.home.take() {
                match delivery {
                    Delivery::Done { work, read } => {
                        read.inspect(|number| assert!(reads.open.remove(number), "a read comes back once"));
                        state.on_work_done(work);
                    }
                    Delivery::Panicked(message) => {
                        switch.fail_with_state(format!("work in the background panicked: {message}"));
                    }
                }
            }
        }
        state.maintain();
        if let Some(fault) = state.take_fault() {
            switch.fail_with_state(fault);
        }
        has_mail
    }

    fn collect(&mut self, reads: &mut Reads) {
        let state = &self.state;
        while let Some(work) = state.poll_work() {
            let read = work.is_read().then_some(reads.asked);
            if read.is_some() {
                reads.open.insert(reads.asked);
                reads.asked += 1;
            }
            self.outbox.push_back(Box::new(Task { work, read, home: Arc::downgrade(&self.home) }));
        }
    }

    fn hand_out(&mut self, helpers: &dyn Helpers, switch: &Switch) -> bool {
        if self.outbox.is_empty() {
            return false;
        }
        if let Err(error) = helpers.try_take(&mut self.outbox) {
            switch.fail(error);
        }
        !self.outbox.is_empty()
    }

    fn is_stalled(&self) -> bool {
        self.state.is_stalled()
    }
}
