//! What a core gets from other threads while it runs.
//!
//! Control threads post commands, which the core's driver takes between two steps and hands to [`Core::on_command`]; helper threads
//! post the work that they have done. A core that gets no mail pays one load per step and mailbox.
//!
//! Invariant: the core waits for nobody. A thread may be put to sleep while it has the lock; the core then looks again later.
//!
//! [`Core::on_command`]: crate::data_plane::core::Core::on_command

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use super::bell::Bell;

/// The mail for one core, in the order in which it was posted.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    has_mail: AtomicBool,
    letters: Mutex<Vec<T>>,
    bell: Bell,
}

impl<T> Mailbox<T> {
    /// An empty one; `bell` wakes the core.
    pub(crate) fn new(bell: Bell) -> Self {
        Self { has_mail: AtomicBool::new(false), letters: Mutex::default(), bell }
    }

    /// The bell of the core.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Leaves something, from any thread.
    pub(crate) fn post(&self, letter: T) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
        self.has_mail.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Whether [`take`](Self::take) would return something.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// All that has come; or nothing, while someone is just leaving more: then there still is mail.
    pub(crate) fn take(&self) -> Vec<T> {
        let mut letters = match self.letters.try_lock() {
            Ok(letters) => letters,
            Err(TryLockError::Poisoned(letters)) => letters.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        self.has_mail.store(false, Ordering::Relaxed); // Under the lock: what is posted from now on sets it again.
        std::mem::take(&mut *letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::core::Command;

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

    #[test]
    fn nobody_waits_for_one_who_leaves_mail() {
        let mailbox = Mailbox::new(Bell::default());
        mailbox.post(1);
        let leaving = mailbox.letters.lock().unwrap();
        assert!(mailbox.take().is_empty() && mailbox.has_mail());
        drop(leaving);
        assert_eq!(mailbox.take(), [1]);
    }
}
