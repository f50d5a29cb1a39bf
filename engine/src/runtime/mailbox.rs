//! What a core is told from outside while it runs.
//!
//! Control threads post commands, the core's driver takes them between two steps and hands them to [`Core::on_command`]. A core that
//! gets no mail pays one load per step.
//!
//! [`Core::on_command`]: crate::data_plane::core::Core::on_command

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::bell::Bell;
use crate::data_plane::core::Command;

/// The commands for one core, in the order in which they were posted.
#[derive(Debug)]
pub(crate) struct Mailbox {
    has_mail: AtomicBool,
    commands: Mutex<Vec<Command>>,
    bell: Bell,
}

impl Mailbox {
    /// An empty one; `bell` wakes the core.
    pub(crate) fn new(bell: Bell) -> Self {
        Self { has_mail: AtomicBool::new(false), commands: Mutex::default(), bell }
    }

    /// The bell of the core.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Leaves a command, from any thread.
    pub(crate) fn post(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.has_mail.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Whether [`take`](Self::take) would return something.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// All commands that have come.
    pub(crate) fn take(&self) -> Vec<Command> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_mail.store(false, Ordering::Relaxed); // Under the lock: what is posted from now on sets it again.
        std::mem::take(&mut *commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_once_and_in_order() {
        let mailbox = Mailbox::new(Bell::default());
        assert!(!mailbox.has_mail() && mailbox.take().is_empty());
        mailbox.post(Command::Stop);
        mailbox.post(Command::Cancel);
        assert!(mailbox.has_mail());
        assert_eq!(mailbox.take(), [Command::Stop, Command::Cancel]);
        assert!(!mailbox.has_mail() && mailbox.take().is_empty());
    }

    #[test]
    fn mail_wakes_a_core_that_is_about_to_sleep() {
        let bell = Bell::default();
        let mailbox = Mailbox::new(bell.clone());
        bell.prepare();
        mailbox.post(Command::Stop);
        assert!(!bell.is_silent());
    }
}
