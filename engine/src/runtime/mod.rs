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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bell::Bell;
pub(crate) use machine::available_cores;

use crate::api::config::Config;
use crate::data_plane::switch::CoreStats;
use crate::error::{Error, Result};
use crate::graph::execution::ExecutionGraph;
use crate::graph::{ChainId, NodeId};

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
    /// The operators that may drop records: windows and joins of windows, in the order of the program.
    pub operators: Vec<OperatorResult>,
}

/// What the subtasks of an operator did together.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Env, Tumbling, punctuated};
///
/// let env = Env::new().parallelism(1);
/// let sums = env
///     .from_elements([5_i64, 12, 3, 7, 14])
///     .watermarks(punctuated(|_: &i64, timestamp| Some(timestamp)).by(|n: &i64| *n))
///     .key_by(|_| ())
///     .window(Tumbling::of(Duration::from_millis(10)))
///     .sum(|n| n)
///     .name("sums")
///     .collect();
/// let result = env.execute()?;
/// assert_eq!(sums.take(), [5, 26]);
/// assert_eq!((result.operators[0].name.as_str(), result.operators[0].late_records_dropped), ("sums", 2));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorResult {
    /// What it does, or what [`crate::Stream::name`] says.
    pub name: String,
    /// What [`crate::Stream::uid`] says.
    pub uid: Option<String>,
    /// Records that came when all of their windows were closed, and no late output was there to take them. Records of a stream that is
    /// aggregated before the exchange count one by one, as all others. Source: Flink's `numLateRecordsDropped`.
    pub late_records_dropped: u64,
}

impl JobResult {
    pub(crate) fn new(graph: &ExecutionGraph, elapsed: Duration, cores: &[CoreStats]) -> Self {
        let mut late: BTreeMap<NodeId, (ChainId, u64)> = BTreeMap::new();
        for &(chain, count) in cores.iter().flat_map(|core| &core.late_records) {
            late.entry(graph.chains[chain.0 as usize].head).or_insert((chain, 0)).1 += count;
        }
        let operators = late.into_values().map(|(chain, late_records_dropped)| {
            let chain = &graph.chains[chain.0 as usize];
            OperatorResult {
                name: chain.head_name.clone(),
                uid: chain.head_uid.clone(),
                late_records_dropped,
            }
        });
        Self {
            elapsed,
            buffers_sent: cores.iter().map(|core| core.buffers_sent).sum(),
            overdraft_buffers_max: cores.iter().map(|core| core.overdraft_buffers_max).max().unwrap_or(0),
            buffer_memory_bytes: cores.iter().map(|core| core.buffer_memory_bytes).sum(),
            operators: operators.collect(),
        }
    }

    /// Records that all operators together dropped as late: see [`OperatorResult::late_records_dropped`].
    ///
    /// ```
    /// # let env = thalweg::Env::new().parallelism(1);
    /// # env.from_elements([1]).blackhole();
    /// assert_eq!(env.execute()?.late_records_dropped(), 0);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn late_records_dropped(&self) -> u64 {
        self.operators.iter().map(|operator| operator.late_records_dropped).sum()
    }
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
    stats: CoreStats,
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
        None => Ok(summary(&graph, results)),
    }
}

fn summary(graph: &ExecutionGraph, results: Vec<CoreResult>) -> JobResult {
    let started = results.iter().map(|r| r.started).min();
    let ended = results.iter().map(|r| r.ended).max();
    let elapsed = started.zip(ended).map(|(s, e)| e - s).unwrap_or_default();
    let cores: Vec<CoreStats> = results.into_iter().map(|r| r.stats).collect();
    JobResult::new(graph, elapsed, &cores)
}
