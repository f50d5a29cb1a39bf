//! What a core lets others do: all that waits for a disk.

use std::fmt;
use std::time::Duration;

use super::port::Garbage;
use crate::lsm::{self, Budget, Job, JobProgress, PartReady, PartRequest};
use crate::snapshot::SnapshotTask;

/// A piece of work of a core's state, to be done on any thread that may wait for a disk, and handed back to
/// [`CoreState::on_work_done`](crate::CoreState::on_work_done).
///
/// See [`CoreState`](crate::CoreState) for an example.
pub struct Work(Task);

pub(crate) enum Task {
    /// A part of a file, to be read.
    Read(PartRequest),
    /// The same, read.
    Ready(PartReady),
    /// A flush or a compaction, and why it failed.
    Job(Job, Option<lsm::Error>),
    /// A snapshot, to be brought to its place.
    Snapshot(SnapshotTask),
    /// Something large, to be dropped piece by piece.
    Drop(Garbage),
}

/// What a step of [`Work`] has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "work wants steps until it is finished"]
pub enum WorkProgress {
    /// There is more to do.
    Worked,
    /// There is more to do, but not before that time, on the clock whose `now` it was given.
    Throttled {
        /// When to go on.
        until: Duration,
    },
    /// It is to be handed back.
    Finished,
}

impl Work {
    pub(super) fn new(task: Task) -> Self {
        Self(task)
    }

    pub(super) fn into_task(self) -> Task {
        self.0
    }

    /// Whether records wait for it: such work goes before other.
    pub fn is_urgent(&self) -> bool {
        matches!(self.0, Task::Read(_))
    }

    /// Asks the kernel to begin with what `step` will read, so that several pieces are on their way at once. Does not wait.
    pub fn prefetch(&self) {
        if let Task::Read(request) = &self.0 {
            request.prefetch();
        }
    }

    /// Does a part of it, for about a millisecond. `now` is on any clock that does not go back.
    pub fn step(&mut self, now: Duration) -> WorkProgress {
        match &mut self.0 {
            Task::Ready(_) => WorkProgress::Finished,
            Task::Drop(garbage) => {
                drop(garbage.pop());
                if garbage.is_empty() { WorkProgress::Finished } else { WorkProgress::Worked }
            }
            Task::Snapshot(task) => match task.step() {
                true => WorkProgress::Finished,
                false => WorkProgress::Worked,
            },
            Task::Read(_) => {
                if let Task::Read(request) = std::mem::replace(&mut self.0, Task::Drop(Vec::new())) {
                    self.0 = Task::Ready(request.perform());
                }
                WorkProgress::Finished
            }
            Task::Job(job, failure) => match job.step(Budget::default(), now) {
                Ok(JobProgress::Worked) => WorkProgress::Worked,
                Ok(JobProgress::Throttled { until }) => WorkProgress::Throttled { until },
                Ok(JobProgress::Finished) => WorkProgress::Finished,
                Err(error) => {
                    *failure = Some(error);
                    WorkProgress::Finished
                }
            },
        }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what: &dyn fmt::Debug = match &self.0 {
            Task::Read(request) => request,
            Task::Ready(ready) => ready,
            Task::Job(job, _) => job,
            Task::Snapshot(task) => task,
            Task::Drop(_) => &"Drop",
        };
        f.debug_tuple("Work").field(what).finish()
    }
}
