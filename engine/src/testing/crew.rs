//! Who works for simulated cores in the background: nobody but the scheduler, which steps a piece of work when chance says so.
//!
//! A step may be long in coming, so that reads come in late and out of order, and flushes when their state has moved on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::random::Random;
use crate::data_plane::background::{Errand, Helpers, Step};
use crate::error::Result;
use crate::time::Timestamp;

/// How the helpers of one run behave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Diligence {
    /// The longest time before a step, in ticks of the scheduler.
    pub(super) delay_max: u64,
    /// One time in so many somebody else is handing over work just then; 0: never.
    pub(super) refuse_one_in: u64,
}

/// A piece of work between two steps.
struct Waiting {
    errand: Box<dyn Errand>,
    /// The tick from which it may be stepped.
    ready_at: u64,
    /// What the clock must show for that.
    due: Timestamp,
}

struct Shared {
    diligence: Diligence,
    random: Random,
    /// What the scheduler's clocks show.
    tick: u64,
    waiting: Vec<Waiting>,
}

/// The helpers of all cores.
#[derive(Clone)]
pub(super) struct Crew(Rc<RefCell<Shared>>);

impl Crew {
    pub(super) fn new(diligence: Diligence, random: Random) -> Self {
        Self(Rc::new(RefCell::new(Shared { diligence, random, tick: 0, waiting: Vec::new() })))
    }

    pub(super) fn set_tick(&self, tick: u64) {
        self.0.borrow_mut().tick = tick;
    }

    /// The tick from which a piece of work may be stepped, unless all must wait for the clock.
    pub(super) fn next_step(&self, now: Timestamp) -> Option<u64> {
        let shared = self.0.borrow();
        shared.waiting.iter().filter(|waiting| waiting.due <= now).map(|waiting| waiting.ready_at).min()
    }

    /// The next time at which the clock lets a piece of work go on.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.borrow().waiting.iter().map(|waiting| waiting.due).filter(|&due| due > now).min()
    }

    /// How many pieces of work may be stepped.
    pub(super) fn ready(&self, now: Timestamp) -> usize {
        let shared = self.0.borrow();
        shared.waiting.iter().filter(|waiting| waiting.is_ready(shared.tick, now)).count()
    }

    /// Steps one of those that are ready, the number `choice`.
    pub(super) fn step(&self, choice: usize, now: Timestamp) {
        let errand = {
            let shared = &mut *self.0.borrow_mut();
            let ready = |(_, waiting): &(usize, &Waiting)| waiting.is_ready(shared.tick, now);
            let chosen = shared.waiting.iter().enumerate().filter(ready).nth(choice);
            let (place, _) = chosen.expect("the choice is among those that are ready");
            shared.waiting.remove(place).errand
        };
        match errand.step(Duration::from_millis(now.max(0) as u64)) {
            Step::Again(errand) => self.0.borrow_mut().push(errand, now),
            Step::Later { until, errand } => {
                let due = i64::try_from(until.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
                self.0.borrow_mut().push(errand, due);
            }
            Step::Over => {}
        }
    }
}

impl Helpers for Crew {
    fn try_take(&self, outbox: &mut VecDeque<Box<dyn Errand>>) -> Result<()> {
        let shared = &mut *self.0.borrow_mut();
        if !shared.random.one_in(shared.diligence.refuse_one_in) {
            outbox.drain(..).for_each(|errand| shared.push(errand, Timestamp::MIN));
        }
        Ok(())
    }
}

impl Shared {
    fn push(&mut self, errand: Box<dyn Errand>, due: Timestamp) {
        let ready_at = self.tick + 1 + self.random.below(self.diligence.delay_max + 1);
        self.waiting.push(Waiting { errand, ready_at, due });
    }
}

impl Waiting {
    fn is_ready(&self, tick: u64, now: Timestamp) -> bool {
        self.ready_at <= tick && self.due <= now
    }
}
