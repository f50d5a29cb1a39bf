//! A thread that does what a core's store leaves to others: reads first, then flushes and compactions in turn.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use thalweg_state::{Work, WorkProgress};

/// The caller's end of it. The thread ends with it.
pub(super) struct Helper {
    /// `None` once it is to end.
    todo: Option<Sender<Work>>,
    done: Receiver<Work>,
    /// Pieces of work that have not come back.
    out: usize,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    pub(super) fn start() -> Self {
        let (todo, work) = channel();
        let (finished, done) = channel();
        let thread = std::thread::spawn(move || help(&work, &finished));
        Self { todo: Some(todo), done, out: 0, thread: Some(thread) }
    }

    pub(super) fn start_work(&mut self, work: Work) {
        // A thread that has ended has panicked, which `wait` says.
        if self.todo.as_ref().is_some_and(|todo| todo.send(work).is_ok()) {
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
        let work = self.done.recv().context("the helper thread has ended")?;
        self.out -= 1;
        Ok(work)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.todo = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the helper thread has panicked");
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
