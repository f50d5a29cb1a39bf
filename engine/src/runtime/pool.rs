//! The threads that work for the cores of a job in the background.
//!
//! ```text
//!   cores ── try_take ─▶ reads ─┐                            ┌─▶ again: back to where it was
//!                        jobs  ─┼─▶ a thread: one step ──────┼─▶ later, when it may go on
//!                        later ─┘                            └─▶ delivered to its core
//! ```
//!
//! Invariants:
//! - reads go before all else: a job is given back after each of its steps, which are short;
//! - reads that are there together are begun together, so that the disk has as many to do as it can;
//! - work that must wait keeps no thread busy;
//! - there are no threads before there is work, and none is left when the last core of the job has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::machine;
use crate::data_plane::background::{Errand, Helpers, Step};
use crate::error::{Error, Result};

/// How many reads a thread begins together at most: a disk of flash is hardly faster with more.
const READS_AT_ONCE: usize = 16;

/// See the [module](self). Dropping it ends its threads after the step that each is in, and drops what is not done.
pub(super) struct Pool {
    name: String,
    threads_max: usize,
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is work for one more, or the pool is closed.
    wake: Condvar,
    /// When its clock showed zero.
    origin: Instant,
}

#[derive(Default)]
struct Queue {
    reads: VecDeque<Box<dyn Errand>>,
    jobs: VecDeque<Box<dyn Errand>>,
    /// With the time on the pool's clock from which each may go on.
    later: Vec<(Duration, Box<dyn Errand>)>,
    threads: Vec<JoinHandle<()>>,
    is_closed: bool,
}

impl Pool {
    /// A pool of `threads_max` threads, at least one, which are started with the first errand.
    pub(super) fn new(name: &str, threads_max: usize) -> Self {
        let shared = Shared { queue: Mutex::default(), wake: Condvar::new(), origin: Instant::now() };
        Self { name: format!("{name}-helper"), threads_max: threads_max.max(1), shared: Arc::new(shared) }
    }

    /// Starts its threads. They may run on any CPU that the process may use: the core whose thread this is has one for itself.
    fn start(&self, queue: &mut Queue) -> Result<()> {
        let mut cpus = CpuSet::new();
        machine::allowed_cpus()
            .into_iter()
            .filter(|&cpu| cpu < CpuSet::MAX_CPU)
            .for_each(|cpu| cpus.set(cpu));
        while queue.threads.len() < self.threads_max {
            let shared = self.shared.clone();
            let thread = thread::Builder::new().name(self.name.clone()).spawn(move || {
                if let Err(error) = sched_setaffinity(None, &cpus) {
                    tracing::warn!(%error, "a helper thread shares the CPU of the core that started it");
                }
                help(&shared);
            });
            match thread {
                Ok(thread) => queue.threads.push(thread),
                Err(error) if queue.threads.is_empty() => {
                    return Err(Error::Machine(format!("no helper thread could be started: {error}")));
                }
                Err(_) => return Ok(()), // Those that run will do, more slowly.
            }
        }
        Ok(())
    }
}

impl Helpers for Arc<Pool> {
    fn try_take(&self, outbox: &mut VecDeque<Box<dyn Errand>>) -> Result<()> {
        let mut queue = match self.shared.queue.try_lock() {
            Ok(queue) => queue,
            Err(TryLockError::Poisoned(queue)) => queue.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        if queue.threads.is_empty() {
            self.start(&mut queue)?;
        }
        for errand in outbox.drain(..) {
            queue.push(errand);
            self.shared.wake.notify_one();
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let threads = {
            let mut queue = self.shared.lock();
            queue.is_closed = true;
            std::mem::take(&mut queue.threads)
        };
        self.shared.wake.notify_all();
        for thread in threads {
            // What panics there is work, and is caught: nothing is left to be said here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, errand: Box<dyn Errand>) {
        if errand.is_read() { self.reads.push_back(errand) } else { self.jobs.push_back(errand) }
    }

    /// Moves what a thread shall step next into `errands`: its share of the reads, or one of the others.
    fn pop(&mut self, now: Duration, errands: &mut Vec<Box<dyn Errand>>) {
        let reads = self.reads.len().div_ceil(self.threads.len().max(1)).min(READS_AT_ONCE);
        if reads > 0 {
            return errands.extend(self.reads.drain(..reads));
        }
        errands.extend(match self.later.iter().position(|(until, _)| *until <= now) {
            Some(place) => Some(self.later.swap_remove(place).1),
            None => self.jobs.pop_front(),
        });
    }

    /// When the first errand that waits may go on.
    fn next_due(&self) -> Option<Duration> {
        self.later.iter().map(|(until, _)| *until).min()
    }
}

/// What a helper thread does until the pool is closed.
fn help(shared: &Shared) {
    let mut errands = Vec::new();
    let mut queue = shared.lock();
    while !queue.is_closed {
        let now = shared.origin.elapsed();
        queue.pop(now, &mut errands);
        if errands.is_empty() {
            queue = match queue.next_due() {
                None => shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let waited = shared.wake.wait_timeout(queue, due.saturating_sub(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            continue;
        }
        drop(queue);
        if errands.len() > 1 {
            errands.iter().for_each(|errand| errand.prefetch());
        }
        let steps: Vec<Step> = errands.drain(..).map(|errand| errand.step(now)).collect();
        queue = shared.lock();
        for step in steps {
            match step {
                Step::Again(errand) => queue.push(errand),
                Step::Later { until, errand } => {
                    queue.later.push((until, errand));
                    shared.wake.notify_one(); // One that sleeps for longer shall know of it: this thread may be busy then.
                }
                Step::Over => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{self, Receiver, Sender};

    /// An errand that says when it is stepped, and waits to be told what that comes to.
    struct Told {
        name: &'static str,
        is_read: bool,
        said: Sender<&'static str>,
        orders: Receiver<Order>,
    }

    enum Order {
        Again,
        Later(Duration),
        Over,
    }

    impl Errand for Told {
        fn is_read(&self) -> bool {
            self.is_read
        }

        fn prefetch(&self) {
            self.said.send("prefetch").unwrap();
        }

        fn step(self: Box<Self>, now: Duration) -> Step {
            self.said.send(self.name).unwrap();
            match self.orders.recv() {
                Ok(Order::Again) => Step::Again(self),
                Ok(Order::Later(wait)) => Step::Later { until: now + wait, errand: self },
                Ok(Order::Over) | Err(_) => Step::Over,
            }
        }
    }

    struct Bench {
        pool: Arc<Pool>,
        said: Receiver<&'static str>,
        saying: Sender<&'static str>,
    }

    impl Bench {
        fn new(threads: usize) -> Self {
            let (saying, said) = mpsc::channel();
            Self { pool: Arc::new(Pool::new("test", threads)), said, saying }
        }

        fn give(&self, name: &'static str, is_read: bool) -> Sender<Order> {
            let (tell, orders) = mpsc::channel();
            let mut outbox: VecDeque<Box<dyn Errand>> =
                VecDeque::from([Box::new(Told { name, is_read, said: self.saying.clone(), orders }) as _]);
            while !outbox.is_empty() {
                self.pool.try_take(&mut outbox).unwrap();
            }
            tell
        }

        fn said(&self) -> &'static str {
            self.said.recv_timeout(Duration::from_secs(60)).expect("a thread steps what there is")
        }
    }

    #[test]
    fn reads_go_before_jobs_also_between_their_steps() {
        let bench = Bench::new(1);
        let job = bench.give("job", false);
        assert_eq!(bench.said(), "job");
        let other = bench.give("other job", false);
        let read = bench.give("read", true);
        job.send(Order::Again).unwrap();
        assert_eq!(bench.said(), "read");
        read.send(Order::Again).unwrap();
        assert_eq!(bench.said(), "read");
        read.send(Order::Over).unwrap();
        assert_eq!(bench.said(), "other job"); // Jobs in turn.
        other.send(Order::Over).unwrap();
        assert_eq!(bench.said(), "job");
        job.send(Order::Over).unwrap();
    }

    #[test]
    fn what_must_wait_keeps_no_thread_busy() {
        let bench = Bench::new(1);
        let throttled = bench.give("throttled", false);
        assert_eq!(bench.said(), "throttled");
        throttled.send(Order::Later(Duration::from_secs(3600))).unwrap();
        let job = bench.give("job", false);
        assert_eq!(bench.said(), "job"); // By the only thread there is.
        job.send(Order::Later(Duration::from_millis(1))).unwrap();
        assert_eq!(bench.said(), "job");
        job.send(Order::Over).unwrap();
    }

    #[test]
    fn several_threads_work_at_the_same_time() {
        let bench = Bench::new(2);
        let (first, second) = (bench.give("a", true), bench.give("b", true));
        let mut both = [bench.said(), bench.said()]; // Neither has been told to end.
        both.sort_unstable();
        assert_eq!(both, ["a", "b"]);
        first.send(Order::Over).unwrap();
        second.send(Order::Over).unwrap();
    }

    #[test]
    fn reads_that_wait_together_are_begun_together() {
        let bench = Bench::new(1);
        let job = bench.give("job", false);
        assert_eq!(bench.said(), "job");
        let (first, second) = (bench.give("first", true), bench.give("second", true));
        job.send(Order::Over).unwrap();
        assert_eq!([bench.said(), bench.said(), bench.said()], ["prefetch", "prefetch", "first"]);
        first.send(Order::Over).unwrap();
        assert_eq!(bench.said(), "second");
        second.send(Order::Over).unwrap();
    }

    /// Says when it goes.
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Errand for Counted {
        fn is_read(&self) -> bool {
            false
        }

        fn prefetch(&self) {}

        fn step(self: Box<Self>, _now: Duration) -> Step {
            Step::Again(self)
        }
    }

    #[test]
    fn a_pool_that_goes_takes_all_with_it() {
        let gone = Arc::new(AtomicUsize::new(0));
        let pool = Arc::new(Pool::new("test", 3));
        let mut outbox: VecDeque<Box<dyn Errand>> = VecDeque::new();
        (0..10).for_each(|_| outbox.push_back(Box::new(Counted(gone.clone()))));
        while !outbox.is_empty() {
            pool.try_take(&mut outbox).unwrap();
        }
        drop(pool);
        assert_eq!(gone.load(Ordering::Relaxed), 10);
    }
}
