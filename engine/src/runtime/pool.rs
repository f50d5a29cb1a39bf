//! The threads that work for the cores of a job in the background.
//!
//! ```text
//!   cores ── try_take ─▶ reads ──▶ a reader: one step of some ─┬─▶ again: back to where it was
//!                        jobs  ─┬▶ a worker: one step ─────────┼─▶ later, when it may go on
//!                        later ─┘                              └─▶ delivered to its core
//! ```
//!
//! Invariants:
//! - records wait for reads, so these have threads of their own, which no job delays;
//! - nobody waits for a job as long as there is memory, so workers give way to cores and readers: they are nice;
//! - jobs take turns, a step at a time;
//! - reads that are there together are begun together, so that the disk has as many to do as it can;
//! - work that must wait keeps no thread busy;
//! - there are no threads before there is work, and none is left when the last core of the job has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::nice;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::machine;
use crate::data_plane::background::{Errand, Helpers, Step};
use crate::error::{Error, Result};

/// How many reads a thread begins together at most: a disk of flash is hardly faster with more.
const READS_AT_ONCE: usize = 16;

/// How much nicer workers are than the cores: with a core on the same CPU they get a tenth of it, and all of it as soon as the core
/// waits for them.
const NICE_OF_WORKERS: i32 = 10;

/// See the [module](self). Dropping it ends its threads after the step that each is in, and drops what is not done.
pub(super) struct Pool {
    name: String,
    threads_max: usize,
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is work for one more of the role, or the pool is closed. By role.
    wake: [Condvar; 2],
    /// When its clock showed zero.
    origin: Instant,
}

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Reader,
    Worker,
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
    /// A pool of `threads_max` threads of each role, at least one, which are started with the first errand.
    pub(super) fn new(name: &str, threads_max: usize) -> Self {
        let shared = Shared { queue: Mutex::default(), wake: Default::default(), origin: Instant::now() };
        Self { name: format!("{name}-helper"), threads_max: threads_max.max(1), shared: Arc::new(shared) }
    }

    /// Starts its threads. They may run on any CPU that the process may use: the core whose thread this is has one for itself.
    fn start(&self, queue: &mut Queue) -> Result<()> {
        let mut cpus = CpuSet::new();
        machine::allowed_cpus()
            .into_iter()
            .filter(|&cpu| cpu < CpuSet::MAX_CPU)
            .for_each(|cpu| cpus.set(cpu));
        for round in 0..self.threads_max {
            for role in [Role::Reader, Role::Worker] {
                let shared = self.shared.clone();
                let thread = thread::Builder::new().name(self.name.clone()).spawn(move || {
                    settle_down(role, &cpus);
                    help(&shared, role);
                });
                match thread {
                    Ok(thread) => queue.threads.push(thread),
                    Err(error) if round == 0 => {
                        return Err(Error::Machine(format!("no helper thread could be started: {error}")));
                    }
                    Err(_) => return Ok(()), // Those that run will do, more slowly.
                }
            }
        }
        Ok(())
    }
}

/// Gives a thread its place among others: on all of the CPUs, behind the cores if it is a worker.
fn settle_down(role: Role, cpus: &CpuSet) {
    if let Err(error) = sched_setaffinity(None, cpus) {
        tracing::warn!(%error, "a helper thread shares the CPU of the core that started it");
    }
    // On Linux that is the thread's own.
    if role == Role::Worker
        && let Err(error) = nice(NICE_OF_WORKERS)
    {
        tracing::warn!(%error, "a helper thread takes as much of a CPU as a core");
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
            let role = queue.push(errand);
            self.shared.wake[role as usize].notify_one();
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
        self.shared.wake.iter().for_each(Condvar::notify_all);
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
    /// Takes an errand in. Returns for whom it is.
    fn push(&mut self, errand: Box<dyn Errand>) -> Role {
        let role = if errand.is_read() { Role::Reader } else { Role::Worker };
        match role {
            Role::Reader => self.reads.push_back(errand),
            Role::Worker => self.jobs.push_back(errand),
        }
        role
    }

    /// Moves what a thread shall step next into `errands`: a reader's share of the reads, or one of the others.
    fn pop(&mut self, role: Role, now: Duration, errands: &mut Vec<Box<dyn Errand>>) {
        if role == Role::Reader {
            let readers = self.threads.len().div_ceil(2).max(1);
            let reads = self.reads.len().div_ceil(readers).min(READS_AT_ONCE);
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
fn help(shared: &Shared, role: Role) {
    let wake = &shared.wake[role as usize];
    let mut errands = Vec::new();
    let mut queue = shared.lock();
    while !queue.is_closed {
        let now = shared.origin.elapsed();
        queue.pop(role, now, &mut errands);
        if errands.is_empty() {
            queue = match queue.next_due().filter(|_| role == Role::Worker) {
                None => wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let waited = wake.wait_timeout(queue, due.saturating_sub(now));
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
                Step::Again(errand) => _ = queue.push(errand), // This thread is of its role, and about to look.
                Step::Later { until, errand } => {
                    queue.later.push((until, errand));
                    // One that sleeps for longer shall know of it: this thread may be busy then.
                    shared.wake[Role::Worker as usize].notify_one();
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
    fn a_read_waits_for_no_job_and_jobs_take_turns() {
        let bench = Bench::new(1);
        let job = bench.give("job", false);
        assert_eq!(bench.said(), "job");
        let other = bench.give("other job", false);
        let read = bench.give("read", true);
        assert_eq!(bench.said(), "read"); // In the middle of the job's step.
        read.send(Order::Again).unwrap();
        assert_eq!(bench.said(), "read");
        job.send(Order::Again).unwrap();
        assert_eq!(bench.said(), "other job");
        read.send(Order::Over).unwrap();
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
        let busy = bench.give("busy", true);
        assert_eq!(bench.said(), "busy");
        let (first, second) = (bench.give("first", true), bench.give("second", true));
        busy.send(Order::Over).unwrap();
        assert_eq!([bench.said(), bench.said(), bench.said()], ["prefetch", "prefetch", "first"]);
        first.send(Order::Over).unwrap();
        assert_eq!(bench.said(), "second");
        second.send(Order::Over).unwrap();
    }

    #[test]
    fn workers_are_nice_and_readers_are_not() {
        let nice_of = |is_read| {
            let (say, said) = mpsc::channel();
            let pool = Arc::new(Pool::new("test", 1));
            let mut outbox: VecDeque<Box<dyn Errand>> =
                VecDeque::from([Box::new(Nice { is_read, say }) as _]);
            while !outbox.is_empty() {
                pool.try_take(&mut outbox).unwrap();
            }
            said.recv_timeout(Duration::from_secs(60)).expect("a thread steps it")
        };
        let own = nice(0).unwrap();
        assert_eq!((nice_of(true), nice_of(false)), (own, (own + NICE_OF_WORKERS).min(19)));
    }

    /// Says how nice the thread is that steps it.
    struct Nice {
        is_read: bool,
        say: Sender<i32>,
    }

    impl Errand for Nice {
        fn is_read(&self) -> bool {
            self.is_read
        }

        fn prefetch(&self) {}

        fn step(self: Box<Self>, _now: Duration) -> Step {
            self.say.send(nice(0).unwrap()).unwrap();
            Step::Over
        }
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
