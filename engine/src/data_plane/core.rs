//! All subtasks of a core, stepped in turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use thalweg_state::CoreState;

use super::background::{Background, Helpers};
use super::subtask::{Progress, Subtask};
use super::switch::{CoreStats, Switch};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// What a core can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Give up, with [`crate::Error::Cancelled`] unless the job has failed already.
    Cancel,
    /// Sources end as if there were no more input; all that follows from it still happens.
    Stop,
}

/// See the [module](self). Order of calls: `step` until it says `Finished` or `failure` is set; when it says `Idle`, the
/// driver may park until a peer rings, `wakes_at` comes, or a source's own bell rings.
pub(crate) struct Core {
    switch: Rc<Switch>,
    /// In topological order: a record never flows to an earlier one.
    subtasks: Vec<Slot>,
    background: Rc<Background>,
    helpers: Rc<dyn Helpers>,
    /// Told the time, by which some of it expires.
    state: CoreState,
    /// Sources wait until everything else on this core has come to rest.
    lockstep: bool,
}

struct Slot {
    subtask: Box<dyn Subtask>,
    name: Arc<str>,
    index: usize,
    finished: bool,
}

impl Core {
    pub(crate) fn new(
        switch: Rc<Switch>,
        background: Rc<Background>,
        helpers: Rc<dyn Helpers>,
        state: CoreState,
        lockstep: bool,
    ) -> Self {
        Self { switch, subtasks: Vec::new(), background, helpers, state, lockstep }
    }

    pub(crate) fn add(&mut self, name: Arc<str>, index: usize, subtask: Box<dyn Subtask>) {
        self.subtasks.push(Slot { subtask, name, index, finished: false });
    }

    pub(crate) fn switch(&self) -> &Switch {
        &self.switch
    }

    /// What the core has done so far.
    pub(crate) fn stats(&self) -> CoreStats {
        CoreStats {
            stalls: self.background.stalls(),
            buffers_put_aside: self.background.buffers_put_aside(),
            ..self.switch.stats()
        }
    }

    /// Takes a command from outside. It shows with the next step.
    pub(crate) fn on_command(&mut self, command: Command) {
        match command {
            Command::Cancel => self.switch.fail(Error::Cancelled),
            Command::Stop => self.subtasks.iter_mut().for_each(|slot| slot.subtask.stop()),
        }
    }

    /// Steps every subtask once. Consumers come before producers, which keeps little in flight and caches warm.
    pub(crate) fn step(&mut self, now: Timestamp) -> Progress {
        if self.switch.has_failed() {
            return Progress::Finished;
        }
        self.switch.set_now(now);
        self.state.set_time(now);
        let mut worked = self.switch.receive() || self.switch.has_backlog();
        worked |= self.background.take_in(&self.switch);
        if self.background.is_attached() {
            (0..self.subtasks.len()).for_each(|i| {
                self.guarded(i, |subtask| subtask.maintain());
            });
        }
        if self.switch.has_failed() {
            return Progress::Finished;
        }
        let mut hold_sources = self.lockstep && !self.is_quiet();
        for i in (0..self.subtasks.len()).rev() {
            let is_source = self.lockstep && self.subtasks[i].subtask.is_source();
            if !(hold_sources && is_source) {
                let stepped = self.step_subtask(i);
                worked |= stepped;
                hold_sources |= is_source && stepped; // One source at a time.
            }
            if self.switch.has_failed() {
                return Progress::Finished;
            }
        }
        worked |= self.background.hand_out(&*self.helpers, &self.switch);
        if worked {
            return Progress::Worked;
        }
        // All inputs have run dry, so nothing is gained by waiting for fuller buffers.
        for i in (0..self.subtasks.len()).rev() {
            worked |= !self.subtasks[i].finished && self.guarded(i, |subtask| subtask.flush()) == Some(true);
        }
        match worked {
            true => Progress::Worked,
            false if self.subtasks.iter().all(|slot| slot.finished) && self.switch.is_drained() => {
                Progress::Finished
            }
            false => Progress::Idle,
        }
    }

    /// Flushes what has taken all its input. To be called now and then while steps say `Worked`: a core that gets a record in each
    /// step is never idle, and would let its buffers wait until they are full.
    ///
    /// Not while a source has more to read: then the buffers fill soon, and full ones are what makes the core fast.
    pub(crate) fn flush_dry(&mut self) {
        if self.subtasks.iter().any(|slot| slot.subtask.is_source() && !slot.subtask.is_dry()) {
            return;
        }
        for i in (0..self.subtasks.len()).rev() {
            if !self.subtasks[i].finished && self.subtasks[i].subtask.is_dry() {
                self.guarded(i, |subtask| subtask.flush());
            }
        }
    }

    fn step_subtask(&mut self, i: usize) -> bool {
        if self.subtasks[i].finished {
            return false;
        }
        self.switch.clear_stop();
        match self.guarded(i, |subtask| subtask.step()) {
            Some(Progress::Idle) => false,
            Some(Progress::Worked) => true,
            Some(Progress::Finished) | None => {
                self.subtasks[i].finished = true;
                true
            }
        }
    }

    /// Runs the user's code, and turns its panic into a failure of the job.
    fn guarded<T>(&mut self, i: usize, run: impl FnOnce(&mut dyn Subtask) -> T) -> Option<T> {
        let slot = &mut self.subtasks[i];
        let result = catch_unwind(AssertUnwindSafe(|| run(&mut *slot.subtask)));
        result
            .map_err(|panic| {
                let message = panic_message(&*panic);
                self.switch.fail(Error::Panic {
                    operator: slot.name.to_string(),
                    subtask: slot.index,
                    message,
                });
            })
            .ok()
    }

    /// Drops all subtasks, and with them what the user's code keeps. A panic of its `Drop` is an error like any other; the
    /// first is returned.
    pub(crate) fn dismantle(&mut self) -> Result<()> {
        let mut result = Ok(());
        while let Some(Slot { subtask, name, index, .. }) = self.subtasks.pop() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(subtask))) {
                let message = panic_message(&*panic);
                result =
                    result.and(Err(Error::Panic { operator: name.to_string(), subtask: index, message }));
            }
        }
        result
    }

    fn is_quiet(&self) -> bool {
        self.switch.is_quiet() && self.subtasks.iter().all(|slot| slot.finished || slot.subtask.is_quiet())
    }

    /// The subtasks that have not ended and what each waits for, for messages.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = String> {
        self.subtasks.iter().filter(|slot| !slot.finished).map(|slot| {
            let what = match &slot.subtask {
                subtask if subtask.is_blocked() => "credit",
                subtask if subtask.is_source() => "its source",
                subtask if subtask.awaits_state() => "its state",
                subtask if !subtask.is_quiet() => "its turn",
                _ => "input",
            };
            format!("subtask {} of {} waits for {what}", slot.index, slot.name)
        })
    }

    /// When a subtask wants to be stepped although nothing comes in.
    pub(crate) fn wakes_at(&self) -> Option<Timestamp> {
        self.subtasks.iter().filter(|slot| !slot.finished).filter_map(|slot| slot.subtask.wakes_at()).min()
    }
}

impl Drop for Core {
    /// A core that was not dismantled has failed already, or was never complete.
    fn drop(&mut self) {
        let _ = self.dismantle();
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".into())
}
