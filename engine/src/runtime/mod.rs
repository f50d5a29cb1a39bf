//! Runs the cores of a job on threads of their own. The only place that knows glommio.
//!
//! ```text
//!   execute ─▶ start: a pinned executor per core ─▶ drive: step the Core, poll or park ─▶ join: results, or the first failure
//! ```
//!
//! A core itself is sans-IO; what it needs from outside is the **runtime seam** of [`seam`]: a `Link` to each peer, a `Clock`,
//! a `Bell` that wakes it, and someone who steps it. This module is one implementation, with threads, rings and glommio;
//! [`crate::testing::Simulator`] is the other, with one thread, delayed queues, a virtual clock and a seed.
//!
//! - [`seam`]: what stands between a core and whoever runs it;
//! - [`bell`]: wakes a parked core;
//! - [`core_thread`]: builds a core on its thread and drives it;
//! - [`link`]: the rings between two cores;
//! - [`machine`]: which cores there are, and what the kernel lacks.

pub(crate) mod bell;
mod core_thread;
mod link;
mod machine;
pub(crate) mod seam;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bell::Bell;
pub(crate) use machine::available_cores;

use crate::api::config::Config;
use crate::error::{Error, Result};
use crate::graph::execution::ExecutionGraph;

/// What a job did, once it has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobResult {
    /// From the first step of the first core to the end of the last one.
    pub elapsed: Duration,
    /// Buffers that went through exchanges.
    pub buffers_sent: u64,
    /// The most buffers that one channel had waiting for credit.
    pub overdraft_buffers_max: usize,
    /// Bytes of the exchange buffers of all cores, at the end.
    pub buffer_memory_bytes: usize,
}

/// What all cores of a running job share. Touched at the start, at the end, and when something fails.
struct JobControl {
    cancelled: AtomicBool,
    /// Cores that are built and wait for the others.
    ready: AtomicUsize,
    bells: Vec<Bell>,
}

impl JobControl {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.bells.iter().for_each(Bell::ring);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// What one core did.
struct CoreResult {
    started: Instant,
    ended: Instant,
    buffers_sent: u64,
    overdraft_buffers_max: usize,
    buffer_memory_bytes: usize,
}

/// Runs a job to its end.
pub(crate) fn execute(graph: Arc<ExecutionGraph>, config: Arc<Config>) -> Result<JobResult> {
    let cores = graph.cores();
    let placement = machine::place(cores)?;
    let bells: Vec<Bell> = (0..cores).map(|_| Bell::default()).collect();
    let control =
        Arc::new(JobControl { cancelled: AtomicBool::new(false), ready: AtomicUsize::new(0), bells });
    let mut threads = Vec::new();
    let mut failure = None;
    for (core, links) in link::mesh(cores, graph.channels()).into_iter().enumerate() {
        let start = core_thread::Start {
            core,
            cores,
            cpu: placement.cpus[core],
            oversubscribed: placement.oversubscribed,
            graph: graph.clone(),
            config: config.clone(),
            control: control.clone(),
            links,
        };
        match core_thread::spawn(start) {
            Ok(thread) => threads.push((core, thread)),
            Err(error) => {
                failure = Some(error);
                control.cancel();
                break;
            }
        }
    }
    let mut results = Vec::new();
    for (core, thread) in threads {
        let result = thread.join().unwrap_or_else(|message| Err(Error::CoreLost { core, message }));
        match result {
            Ok(result) => results.push(result),
            Err(error) => {
                control.cancel();
                // The first cause counts: the others stop because of it.
                if failure.as_ref().is_none_or(|f| matches!(f, Error::Cancelled)) {
                    failure = Some(error);
                }
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(summary(&results)),
    }
}

fn summary(results: &[CoreResult]) -> JobResult {
    let started = results.iter().map(|r| r.started).min();
    let ended = results.iter().map(|r| r.ended).max();
    JobResult {
        elapsed: started.zip(ended).map(|(s, e)| e - s).unwrap_or_default(),
        buffers_sent: results.iter().map(|r| r.buffers_sent).sum(),
        overdraft_buffers_max: results.iter().map(|r| r.overdraft_buffers_max).max().unwrap_or(0),
        buffer_memory_bytes: results.iter().map(|r| r.buffer_memory_bytes).sum(),
    }
}
