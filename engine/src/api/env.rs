//! The environment of a job: settings, sources, execution.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::chain::Chain;
use super::config::{Config, IdleStrategy};
use super::source::{Elements, Generated, Source, SourceContext};
use super::stream::Stream;
use super::tag::Tag;
use crate::connector::{socket::SocketText, text::TextFile};
use crate::data_plane::head::SourceHead;
use crate::data_plane::{Subtask, SubtaskContext};
use crate::error::{Error, Result};
use crate::graph::PortId;
use crate::graph::execution::ExecutionGraph;
use crate::graph::logical::Logical;
use crate::graph::plan::Plan;
use crate::operator::output::Output;
use crate::runtime::{self, job::JobHandle, result::JobResult};

/// Where a job is described and started, as Flink's `StreamExecutionEnvironment`.
///
/// ```
/// use thalweg::Env;
///
/// let env = Env::new().name("sums").parallelism(2);
/// let sums = env.generate(10, |n| n).key_by(|n| n % 3).sum(|n| n).collect();
/// env.execute()?;
/// assert_eq!(sums.take().len(), 10);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone)]
pub struct Env {
    inner: Rc<Inner>,
}

struct Inner {
    config: RefCell<Config>,
    logical: RefCell<Logical>,
    sides: RefCell<HashMap<u64, PortId>>,
}

impl Default for Env {
    fn default() -> Self {
        Self::new()
    }
}

impl Env {
    /// An environment with the default settings: one subtask for each core that the process may use.
    pub fn new() -> Self {
        let inner =
            Inner { config: RefCell::default(), logical: RefCell::default(), sides: RefCell::default() };
        Self { inner: Rc::new(inner) }
    }

    fn set(self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.inner.config.borrow_mut());
        self
    }

    /// Names the job. Default: `job`.
    pub fn name(self, name: &str) -> Self {
        self.set(|c| c.name = name.to_owned())
    }

    /// How many subtasks an operator runs as that says nothing else. Default: the cores that the process may use.
    pub fn parallelism(self, subtasks: usize) -> Self {
        self.set(|c| c.parallelism = Some(subtasks))
    }

    /// How many key groups keyed state is divided into: the greatest parallelism it can ever be spread over, 1 to 32768.
    /// Default: Flink's formula, 128 up to a parallelism of 85.
    pub fn max_parallelism(self, key_groups: usize) -> Self {
        self.set(|c| c.max_parallelism = Some(key_groups))
    }

    /// Bytes of an exchange buffer, a multiple of 16. Default: 32 KiB. Larger ones cost memory (`credit_buffers` of them for each
    /// pair of subtasks), smaller ones a little time per record.
    pub fn buffer_bytes(self, bytes: usize) -> Self {
        self.set(|c| c.buffer_bytes = bytes)
    }

    /// Buffers that a channel may have in flight. Default: 8.
    pub fn credit_buffers(self, buffers: u64) -> Self {
        self.set(|c| c.credit_buffers = buffers)
    }

    /// The longest time that a record waits in a buffer that is not full. Default: 100 ms. It seldom matters, as buffers also leave
    /// as soon as a core has nothing else to do.
    pub fn buffer_timeout(self, timeout: Duration) -> Self {
        self.set(|c| c.buffer_timeout = timeout)
    }

    /// How often watermark generators emit, by the processing-time clock. Default: zero, after every batch.
    pub fn auto_watermark_interval(self, interval: Duration) -> Self {
        self.set(|c| c.auto_watermark_interval = interval)
    }

    /// Records that a source may emit before the rest of its core has its turn. Default: 1024.
    pub fn batch_records(self, records: u32) -> Self {
        self.set(|c| c.batch_records = records)
    }

    /// Whether associative aggregates are computed in part before the exchange. Default: yes. Results are the same.
    pub fn pre_aggregation(self, on: bool) -> Self {
        self.set(|c| c.pre_aggregation = on)
    }

    /// How a core waits when it has nothing to do. Default: [`IdleStrategy::Balanced`].
    pub fn idle_strategy(self, strategy: IdleStrategy) -> Self {
        self.set(|c| c.idle = strategy)
    }

    /// How long [`IdleStrategy::Balanced`] polls before it parks. Default: 100 µs.
    pub fn spin(self, time: Duration) -> Self {
        self.set(|c| c.spin = time)
    }

    /// A stream from a source.
    pub fn source<S: Source>(&self, name: &str, source: S) -> Stream<FromSource<S>> {
        Stream::begin(self.clone(), FromSource { source }, &format!("Source: {name}"), &[], None)
    }

    /// A stream of records that are in memory. Subtask i of n emits every n-th, from the i-th.
    pub fn from_elements<T: Send + Sync + 'static>(
        &self,
        records: impl IntoIterator<Item = T>,
    ) -> Stream<FromSource<Elements<T>>> {
        self.source("Elements", Elements::new(records))
    }

    /// A stream of `count` records made from their numbers, 0 to `count - 1`. Subtask i of n makes every n-th, from the i-th.
    pub fn generate<T: 'static, F>(&self, count: u64, make: F) -> Stream<FromSource<Generated<F>>>
    where
        F: FnMut(u64) -> T + Clone + Send + Sync + 'static,
    {
        self.source("Generator", Generated::new(count, make))
    }

    /// A stream of the lines of a text file, without their ends. Each subtask reads its share of the file's bytes.
    ///
    /// Errors when the job starts or runs: [`crate::Error::Io`] with the file, and for text that is not UTF-8 the byte.
    pub fn read_text_file(&self, path: impl AsRef<Path>) -> Stream<FromSource<TextFile>> {
        self.source("TextFile", TextFile::new(path.as_ref()))
    }

    /// A stream of the lines that come from a TCP socket, as `host:port`. It runs as one subtask, and ends when the peer closes.
    ///
    /// Errors when the job starts or runs: [`crate::Error::Io`] with the address.
    pub fn socket_text(&self, address: &str) -> Stream<FromSource<SocketText>> {
        self.source("Socket", SocketText::new(address)).parallelism(1)
    }

    /// The job as it stands: operators, chains, exchanges.
    ///
    /// Errors: [`crate::Error::Plan`] when it could not run.
    pub fn plan(&self) -> Result<Plan> {
        let logical = self.inner.logical.borrow();
        logical.check()?;
        let config = self.config();
        let resolved = logical.resolve(self.default_parallelism(), config.max_parallelism)?;
        Ok(Plan::new(&logical, &resolved))
    }

    /// Runs the job until all its sources have ended.
    ///
    /// Errors: [`crate::Error::Plan`] or [`crate::Error::Config`] before anything runs, [`crate::Error::Machine`] when io_uring or
    /// locked memory is missing, and whatever fails while it runs.
    pub fn execute(&self) -> Result<JobResult> {
        self.execute_async()?.wait()
    }

    /// Starts the job and returns: the handle waits for its end, and its [`crate::JobClient`] stops it before.
    ///
    /// Errors: those of [`Env::execute`] that come before anything runs.
    pub fn execute_async(&self) -> Result<JobHandle> {
        let (graph, config) = self.build()?;
        runtime::job::start(Arc::new(graph), Arc::new(config))
    }

    pub(crate) fn build(&self) -> Result<(ExecutionGraph, Config)> {
        let config = self.config();
        config.check()?;
        let logical = self.inner.logical.borrow();
        let graph = ExecutionGraph::new(&logical, self.default_parallelism(), config.max_parallelism)?;
        Ok((graph, config))
    }

    pub(crate) fn config(&self) -> Config {
        self.inner.config.borrow().clone()
    }

    /// Notes what is wrong with a window's sizes, for `execute`.
    pub(crate) fn check_windows(&self, valid: Result<(), String>) {
        self.logical().errors.extend(valid.err());
    }

    fn default_parallelism(&self) -> usize {
        self.inner.config.borrow().parallelism.unwrap_or_else(runtime::available_cores)
    }

    pub(crate) fn logical(&self) -> RefMut<'_, Logical> {
        self.inner.logical.borrow_mut()
    }

    /// The port that records with this tag leave by.
    pub(crate) fn side_port<T>(&self, tag: &Tag<T>) -> PortId {
        *self.inner.sides.borrow_mut().entry(tag.id).or_insert_with(|| self.logical().port(Some(tag.name())))
    }
}

/// A chain that begins with a source.
#[derive(Clone)]
pub struct FromSource<S> {
    source: S,
}

impl<S: Source> Chain for FromSource<S> {
    type Out = S::Item;

    fn attach<N: Output<S::Item>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        let place = SourceContext {
            subtask: cx.subtask,
            parallelism: cx.parallelism,
            bell: cx.bell.clone(),
            is_simulated: cx.config.is_simulated,
            took_bell: Arc::default(),
        };
        let reader = self.source.reader(&place)?;
        if cx.config.is_simulated && place.took_bell.load(Ordering::Relaxed) {
            return Err(Error::Plan(format!(
                "{} reads from a thread of its own, which a simulation cannot repeat: give it a source that is read in place",
                cx.name
            )));
        }
        Ok(SourceHead::subtask(cx, reader, next))
    }
}
