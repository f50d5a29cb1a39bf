//! Threads that do what a core's store leaves to others: one reads, so that no flush and no compaction delays it, the other does these
//! in turn. As in the engine.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use thalweg_state::{Work, WorkProgress};

/// The caller's end of them. They end with it.
pub(super) struct Helpers {
    reader: Helper,
    worker: Helper,
    done: Receiver<Work>,
    /// Pieces of work that have not come back.
    out: usize,
}

struct Helper {
    /// `None` once it is to end.
    todo: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// How often somebody who waits looks whether they still run.
const WATCH: Duration = Duration::from_millis(500);

impl Helpers {
    pub(super) fn start() -> Self {
        let (finished, done) = channel();
        Self { reader: Helper::start(finished.clone()), worker: Helper::start(finished), done, out: 0 }
    }

    pub(super) fn start_work(&mut self, work: Work) {
        let helper = if work.is_urgent() { &self.reader } else { &self.worker };
        // A thread that has ended has panicked, which `wait` says.
        if helper.todo.as_ref().is_some_and(|todo| todo.send(work).is_ok()) {
            self.out += 1;
        }
    }

    pub(super) fn has_work(&self) -> bool {
        self.out > 0
    }

    /// What is done, if anything is.
    pub(super) fn poll_done(&mut self) -> Option<Work> {
        let work = self.done.try_recv().ok()?;
        self.out -= 1;
        Some(work)
    }

    /// What is done next.
    pub(super) fn wait(&mut self) -> Result<Work> {
        loop {
            match self.done.recv_timeout(WATCH) {
                Ok(work) => {
                    self.out -= 1;
                    return Ok(work);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let ended = [&self.reader, &self.worker].into_iter().any(Helper::has_ended);
                    ensure!(!ended, "a helper thread has ended");
                }
                Err(error) => return Err(error).context("the helper threads have ended"),
            }
        }
    }
}

impl Helper {
    fn start(done: Sender<Work>) -> Self {
        let (todo, work) = channel();
        let thread = std::thread::spawn(move || help(&work, &done));
        Self { todo: Some(todo), thread: Some(thread) }
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.todo = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("a helper thread has panicked");
        }
    }
}

/// How long a helper sleeps at most when all it has is throttled: new work may come.
const THROTTLED_MAX: Duration = Duration::from_millis(1);

fn help(todo: &Receiver<Work>, done: &Sender<Work>) {
    let began = Instant::now();
    let (mut urgent, mut jobs) = (VecDeque::new(), VecDeque::new());
    loop {
        // Waits only when there is nothing to do. Jobs that nobody will take back are left.
        let is_idle = urgent.is_empty() && jobs.is_empty();
        let new = if is_idle { todo.recv().map_err(|_| TryRecvError::Disconnected) } else { todo.try_recv() };
        match new {
            Ok(work) if work.is_urgent() => {
                work.prefetch();
                urgent.push_back(work);
                continue; // All that is there is asked for before the first is waited for.
            }
            Ok(work) => {
                jobs.push_back(work);
                continue;
            }
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        let Some(mut work): Option<Work> = urgent.pop_front().or_else(|| jobs.pop_front()) else { continue };
        match work.step(began.elapsed()) {
            WorkProgress::Finished => {
                if done.send(work).is_err() {
                    return;
                }
            }
            WorkProgress::Worked => jobs.push_back(work),
            WorkProgress::Throttled { until } => {
                jobs.push_back(work);
                std::thread::sleep(until.saturating_sub(began.elapsed()).min(THROTTLED_MAX));
            }
        }
    }
}
