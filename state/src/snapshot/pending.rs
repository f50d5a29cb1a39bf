//! Snapshots on their way: from the freeze of their tables to the last file.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};

use crate::Error;
use crate::lsm::{self, Snapshot, SnapshotStats, SnapshotWriter};
use crate::storage::Storage;

/// A snapshot that was asked for: see [`CoreState::snapshot`](crate::CoreState::snapshot), where there is an example. One that is
/// dropped before it is begun to be written is not written.
pub struct PendingSnapshot {
    outcome: Rc<RefCell<Outcome>>,
}

/// None: it is not known yet.
type Outcome = Option<Result<SnapshotStats, Error>>;

impl PendingSnapshot {
    /// What it has cost, if it is complete, or why it is not there: once.
    ///
    /// Errors: those of the flush before it, and as [`Snapshot::write`]. What was at its place before is there still, and the
    /// core's state can go on: but for a store of files whose flush has failed, which is the core's fault too.
    pub fn poll_outcome(&mut self) -> Option<Result<SnapshotStats, Error>> {
        self.outcome.borrow_mut().take()
    }
}

impl fmt::Debug for PendingSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingSnapshot").field(&self.outcome.borrow()).finish()
    }
}

/// Snapshots that may wait to be written. Each keeps what it has frozen in memory, and files on the disk.
const PENDING_MAX: usize = 8;

/// All snapshots of a core that are on their way.
#[derive(Default)]
pub(crate) struct Snapshots {
    /// Those whose tables are not in files yet, by epochs that rise.
    frozen: VecDeque<(u64, Wanted)>,
    /// Those that can be written, one after the other.
    ready: VecDeque<(Snapshot, Wanted)>,
    /// The one that is being written.
    writing: Option<Weak<RefCell<Outcome>>>,
}

struct Wanted {
    to: Storage,
    outcome: Weak<RefCell<Outcome>>,
}

impl Snapshots {
    /// A snapshot of what is frozen at an epoch.
    ///
    /// Errors: `SnapshotsPending`.
    pub(crate) fn begin(&mut self, epoch: u64, to: &Storage) -> Result<PendingSnapshot, Error> {
        if self.frozen.len() + self.ready.len() >= PENDING_MAX {
            return Err(Error::SnapshotsPending);
        }
        let outcome = Rc::new(RefCell::new(None));
        let wanted = Wanted { to: to.clone(), outcome: Rc::downgrade(&outcome) };
        self.frozen.push_back((epoch, wanted));
        Ok(PendingSnapshot { outcome })
    }

    /// Files have all up to an epoch, and nothing newer.
    pub(crate) fn on_flushed(&mut self, epoch: u64, snapshot: impl Fn() -> Snapshot) {
        while let Some((_, wanted)) = self.frozen.pop_front_if(|(frozen, _)| *frozen <= epoch) {
            self.ready.push_back((snapshot(), wanted));
        }
    }

    /// What was frozen at an epoch is in no file.
    pub(crate) fn on_flush_failed(&mut self, epoch: u64, error: Error) {
        if let Some((_, wanted)) = self.frozen.pop_front_if(|(frozen, _)| *frozen <= epoch) {
            tell(&wanted.outcome, Err(error));
        }
    }

    /// The next one to be written.
    pub(crate) fn poll(&mut self) -> Option<SnapshotTask> {
        if self.writing.is_some() {
            return None;
        }
        while let Some((snapshot, wanted)) = self.ready.pop_front() {
            if wanted.outcome.strong_count() > 0 {
                self.writing = Some(wanted.outcome);
                return Some(SnapshotTask { writer: snapshot.writer(&wanted.to), outcome: None });
            }
        }
        None
    }

    pub(crate) fn on_written(&mut self, task: SnapshotTask) {
        let outcome = self.writing.take().expect("one was being written");
        let result = task.outcome.unwrap_or(Err(Error::SnapshotGivenUp));
        tell(&outcome, result);
    }

    pub(crate) fn are_under_way(&self) -> bool {
        self.writing.is_some()
    }
}

/// Says what has come of a snapshot, if somebody wants to know.
fn tell(outcome: &Weak<RefCell<Outcome>>, result: Result<SnapshotStats, Error>) {
    if let Some(outcome) = outcome.upgrade() {
        *outcome.borrow_mut() = Some(result);
    }
}

/// The writing of a snapshot, for any thread.
#[derive(Debug)]
pub(crate) struct SnapshotTask {
    writer: SnapshotWriter,
    outcome: Option<Result<SnapshotStats, Error>>,
}

impl SnapshotTask {
    /// A part of it. Returns whether it is over.
    pub(crate) fn step(&mut self) -> bool {
        self.outcome = self.writer.step().map_err(<Error as From<lsm::Error>>::from).transpose();
        self.outcome.is_some()
    }
}
