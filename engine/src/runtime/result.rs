//! What a job did.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::data_plane::switch::CoreStats;
use crate::graph::execution::ExecutionGraph;
use crate::graph::{ChainId, NodeId};

/// What a job did, once it has ended. Source: Flink's `JobExecutionResult`.
///
/// ```
/// use thalweg::Env;
///
/// let env = Env::new().parallelism(1);
/// env.generate(1_000, |n| n).rebalance().blackhole();
/// let result = env.execute()?;
/// assert!(result.buffers_sent >= 1 && result.buffer_memory_bytes >= 32 << 10);
/// # Ok::<(), thalweg::Error>(())
/// ```
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
    /// How often a buffer had to wait for state that was not in memory, while buffers of other channels went on.
    pub buffers_put_aside: u64,
    /// How often a core took no input until its state had caught up with what was written to it.
    pub stalls: u64,
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
            buffers_put_aside: cores.iter().map(|core| core.buffers_put_aside).sum(),
            stalls: cores.iter().map(|core| core.stalls).sum(),
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
