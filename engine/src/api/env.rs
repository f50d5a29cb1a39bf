//! The environment of a job: settings, sources, execution.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backend::Backend;
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
    ///
    /// ```
    /// use thalweg::{Env, IdleStrategy};
    ///
    /// let env = Env::new().idle_strategy(IdleStrategy::Park); // Settings can be chained, as each method returns the environment.
    /// env.generate(10, |n| n).blackhole();
    /// assert!(env.plan()?.chains[0].parallelism >= 1);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn new() -> Self {
        let inner =
            Inner { config: RefCell::default(), logical: RefCell::default(), sides: RefCell::default() };
        Self { inner: Rc::new(inner) }
    }

    fn set(self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.inner.config.borrow_mut());
        self
    }

    /// Names the job, and so its threads: `<name>-<core>`. Default: `job`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().name("clicks").parallelism(1);
    /// let threads = env.generate(1, |_| ()).map(|_| std::thread::current().name().map(str::to_owned)).collect();
    /// env.execute()?;
    /// assert!(threads.take()[0].as_ref().unwrap().starts_with("clicks-0"));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn name(self, name: &str) -> Self {
        self.set(|c| c.name = name.to_owned())
    }

    /// How many subtasks an operator runs as that says nothing else: at least 1, at most [`Env::max_parallelism`]. Default: the
    /// cores that the process may use. Each core runs one subtask of every chain, so more than there are cores only costs.
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when it is out of that range. Source: Flink's `setParallelism`.
    ///
    /// ```
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(3);
    /// env.generate(10, |n| n).blackhole();
    /// assert_eq!(env.plan()?.chains[0].parallelism, 3);
    /// assert!(matches!(env.parallelism(0).plan(), Err(Error::Plan(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn parallelism(self, subtasks: usize) -> Self {
        self.set(|c| c.parallelism = Some(subtasks))
    }

    /// How many key groups keyed state is divided into: the greatest parallelism it can ever be spread over, 1 to 32768.
    /// Default: Flink's formula, 128 up to a parallelism of 85.
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when it is out of that range or less than a parallelism. Source: Flink's
    /// `setMaxParallelism`.
    ///
    /// ```
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(2);
    /// env.generate(10, |n| n).blackhole();
    /// assert_eq!(env.plan()?.chains[0].max_parallelism, 128);
    /// assert!(matches!(env.max_parallelism(1).plan(), Err(Error::Plan(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn max_parallelism(self, key_groups: usize) -> Self {
        self.set(|c| c.max_parallelism = Some(key_groups))
    }

    /// Bytes of an exchange buffer, a multiple of 16 from 1 KiB to 64 MiB. Default: 32 KiB. Larger ones cost memory
    /// ([`Env::credit_buffers`] of them for each pair of subtasks), smaller ones a little time per record. A record that fits in
    /// none gets a larger one of its own, up to 64 MiB.
    ///
    /// Errors: [`crate::Error::Config`] at `execute` for another size. Source: Flink's `taskmanager.memory.segment-size`.
    ///
    /// ```
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(1).buffer_bytes(1_000);
    /// env.generate(10, |n| n).rebalance().blackhole();
    /// assert!(matches!(env.execute(), Err(Error::Config { name: "buffer_bytes", .. })));
    /// assert!(env.buffer_bytes(1_024).execute().is_ok());
    /// ```
    pub fn buffer_bytes(self, bytes: usize) -> Self {
        self.set(|c| c.buffer_bytes = bytes)
    }

    /// Buffers that a channel may have in flight, at least 1. Default: 8. A source or an operator whose output has used them up
    /// waits until the receiver gives some back (backpressure).
    ///
    /// Errors: [`crate::Error::Config`] at `execute` for 0. Source: Flink's credit-based flow control.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1).credit_buffers(1);
    /// let numbers = env.generate(100_000, |n| n).rebalance().owned().collect();
    /// let result = env.execute()?;
    /// assert!(result.buffers_sent > 8, "one after the other");
    /// assert_eq!(numbers.take().len(), 100_000);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn credit_buffers(self, buffers: u64) -> Self {
        self.set(|c| c.credit_buffers = buffers)
    }

    /// The longest time that a record waits in a buffer that is not full, whole milliseconds of the clock. Default: 100 ms; zero:
    /// until the clock's next millisecond. It seldom matters, as buffers also leave as soon as a core has nothing else to do.
    /// Source: Flink's `setBufferTimeout`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1).buffer_timeout(Duration::from_secs(3_600)).batch_records(10);
    /// env.generate(100, |n| n).rebalance().blackhole();
    /// assert_eq!(env.execute()?.buffers_sent, 1); // The source is busy to its end: ten batches, one buffer.
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn buffer_timeout(self, timeout: Duration) -> Self {
        self.set(|c| c.buffer_timeout = timeout)
    }

    /// How often watermark generators emit, in whole milliseconds of the processing-time clock. Default: zero, after every batch
    /// of records. Source: Flink's `setAutoWatermarkInterval`, there 200 ms unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Event, Recorder, Simulator, script};
    /// use thalweg::{Env, monotonous};
    ///
    /// let env = Env::new().parallelism(1).auto_watermark_interval(Duration::from_millis(200));
    /// let (input, source) = script::<char>();
    /// let seen = Recorder::new();
    /// env.source("script", source).watermarks(monotonous()).sink("seen", seen.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// input.record('a', 10);
    /// job.advance_clock_to(199)?;
    /// assert_eq!(seen.take(), [Event::Record('a', Some(10))]);
    /// job.advance_clock_to(200)?;
    /// assert_eq!(seen.take(), [Event::Watermark(9)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn auto_watermark_interval(self, interval: Duration) -> Self {
        self.set(|c| c.auto_watermark_interval = interval)
    }

    /// Records that a source may emit before the rest of its core has its turn, at least 1. Default: 1024. What is done once per
    /// batch costs more with a smaller one: watermarks, for instance.
    ///
    /// Errors: [`crate::Error::Config`] at `execute` for 0.
    ///
    /// ```
    /// use thalweg::testing::{Event, Recorder};
    /// use thalweg::{Env, MAX_WATERMARK, monotonous};
    ///
    /// let env = Env::new().parallelism(1).batch_records(2);
    /// let seen = Recorder::new();
    /// env.generate(3, |n| n as i64).watermarks(monotonous().by(|n: &i64| *n)).sink("seen", seen.clone());
    /// env.execute()?;
    /// let record = |n| Event::Record(n, Some(n));
    /// let expected = [record(0), record(1), Event::Watermark(0), record(2), Event::Watermark(MAX_WATERMARK)];
    /// assert_eq!(seen.take(), expected);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn batch_records(self, records: u32) -> Self {
        self.set(|c| c.batch_records = records)
    }

    /// Whether associative aggregates are computed in part before the exchange. Default: yes. Results are the same; to turn it
    /// off pays when nearly every record has a key of its own. Source: Flink SQL's *local-global aggregation*.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Count, Env, Result, Tumbling, monotonous};
    ///
    /// /// How many buffers it takes to count 100 000 records.
    /// fn buffers_sent(pre_aggregation: bool) -> Result<u64> {
    ///     let env = Env::new().parallelism(1).pre_aggregation(pre_aggregation);
    ///     let numbers = env.generate(100_000, |n| n).watermarks(monotonous().by(|_| 0));
    ///     numbers.key_by(|n| n % 3).window(Tumbling::of(Duration::from_secs(1))).aggregate(Count).blackhole();
    ///     Ok(env.execute()?.buffers_sent)
    /// }
    /// assert!(buffers_sent(true)? * 10 < buffers_sent(false)?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn pre_aggregation(self, on: bool) -> Self {
        self.set(|c| c.pre_aggregation = on)
    }

    /// Where keyed state is kept. Default: [`Backend::Heap`]. Source: Flink's `state.backend.type`.
    ///
    /// ```
    /// use thalweg::{Backend, Env, LsmBackend};
    ///
    /// let env = Env::new().parallelism(1).backend(Backend::Lsm(LsmBackend::new(std::env::temp_dir())));
    /// let last = env.from_elements([("a", 1), ("b", 2), ("a", 3)]).map(|(k, v)| (k.to_string(), *v));
    /// let sums = last.key_by(|(k, _)| k.clone()).sum(|(_, v): &mut (String, i32)| v).collect();
    /// env.execute()?;
    /// assert_eq!(sums.take().last(), Some(&("a".to_string(), 4)));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn backend(self, backend: Backend) -> Self {
        self.set(|c| c.backend = backend)
    }

    /// How a core waits when it has nothing to do. Default: [`IdleStrategy::Balanced`]. With more subtasks than cores a core
    /// always parks.
    ///
    /// ```
    /// use thalweg::{Env, IdleStrategy};
    ///
    /// let env = Env::new().parallelism(1).idle_strategy(IdleStrategy::Spin); // The lowest latency, for a whole core.
    /// let sum = env.from_elements([1, 2, 3]).key_by(|_| ()).sum(|n| n).collect();
    /// env.execute()?;
    /// assert_eq!(sum.take(), [1, 3, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn idle_strategy(self, strategy: IdleStrategy) -> Self {
        self.set(|c| c.idle = strategy)
    }

    /// How long [`IdleStrategy::Balanced`] polls before it parks; the other strategies do not look at it. Default: 100 µs. About
    /// as long as the usual gap between two records, and at least what a wake-up costs (some 10 µs).
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1).spin(Duration::from_micros(20));
    /// let result = env.from_elements(["a"]).collect();
    /// env.execute()?;
    /// assert_eq!(result.take(), ["a"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn spin(self, time: Duration) -> Self {
        self.set(|c| c.spin = time)
    }

    /// A stream from a source of one's own: see [`Source`] for how to write one. `name` is for people. Errors of its readers fail
    /// the job. Source: Flink's `fromSource`.
    ///
    /// ```
    /// use thalweg::Env;
    /// use thalweg::testing::script;
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let doubled = env.source("orders", source).map(|n| 2 * n).collect();
    /// input.record(21, 0);
    /// input.end();
    /// assert_eq!(env.plan()?.nodes[0].name, "Source: orders");
    /// env.execute()?;
    /// assert_eq!(doubled.take(), [42]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn source<S: Source>(&self, name: &str, source: S) -> Stream<FromSource<S>> {
        Stream::begin(self.clone(), FromSource { source }, &format!("Source: {name}"), &[], None)
    }

    /// A stream of records that are in memory. Subtask i of n emits every n-th, from the i-th. They have no timestamps. Source:
    /// Flink's `fromData`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1);
    /// let words = env.from_elements(["to", "be"]).map(|word| word.len()).collect();
    /// env.execute()?;
    /// assert_eq!(words.take(), [2, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn from_elements<T: Send + Sync + 'static>(
        &self,
        records: impl IntoIterator<Item = T>,
    ) -> Stream<FromSource<Elements<T>>> {
        self.source("Elements", Elements::new(records))
    }

    /// A stream of `count` records made from their numbers, 0 to `count - 1`. Subtask i of n makes every n-th, from the i-th,
    /// each when it is asked for: `u64::MAX` is a stream without end. They have no timestamps. Source: Flink's `fromSequence` and
    /// `DataGeneratorSource`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(2);
    /// let squares = env.generate(5, |n| n * n).collect();
    /// env.execute()?;
    /// let mut squares = squares.take();
    /// squares.sort();
    /// assert_eq!(squares, [0, 1, 4, 9, 16]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn generate<T: 'static, F>(&self, count: u64, make: F) -> Stream<FromSource<Generated<F>>>
    where
        F: FnMut(u64) -> T + Clone + Send + Sync + 'static,
    {
        self.source("Generator", Generated::new(count, make))
    }

    /// A stream of the lines of a text file, without their ends. Each subtask reads its share of the file's bytes.
    ///
    /// Errors when the job starts or runs: [`crate::Error::Io`] with the file, and for text that is not UTF-8 the byte.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, "to be\nor not\n")?;
    /// let env = Env::new().parallelism(1);
    /// let lines = env.read_text_file(&file).collect();
    /// env.execute()?;
    /// assert_eq!(lines.take(), ["to be", "or not"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_text_file(&self, path: impl AsRef<Path>) -> Stream<FromSource<TextFile>> {
        self.source("TextFile", TextFile::new(path.as_ref()))
    }

    /// A stream of the lines that come from a TCP socket, as `host:port`. It runs as one subtask, and ends when the peer closes.
    /// Source: Flink's `socketTextStream`.
    ///
    /// Errors when the job starts or runs: [`crate::Error::Io`] with the address.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::net::TcpListener;
    /// use thalweg::Env;
    ///
    /// let server = TcpListener::bind("127.0.0.1:0")?;
    /// let address = server.local_addr()?.to_string();
    /// std::thread::spawn(move || server.accept()?.0.write_all(b"to be\nor not\n"));
    /// let env = Env::new().parallelism(1);
    /// let lines = env.socket_text(&address).collect();
    /// env.execute()?;
    /// assert_eq!(lines.take(), ["to be", "or not"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn socket_text(&self, address: &str) -> Stream<FromSource<SocketText>> {
        self.source("Socket", SocketText::new(address)).parallelism(1)
    }

    /// The job as it stands: operators, chains, exchanges. Nothing runs. Source: Flink's `getExecutionPlan`.
    ///
    /// Errors: [`crate::Error::Plan`] when it could not run.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1);
    /// env.from_elements([1, 2]).map(|n| n + 1).key_by(|n| *n).count().blackhole();
    /// let chains: Vec<String> = env.plan()?.chains.into_iter().map(|chain| chain.name).collect();
    /// assert_eq!(chains, ["Source: Elements -> Map", "Count -> Blackhole"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
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
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(1);
    /// env.from_elements([1, 0]).map(|n| 10 / n).blackhole();
    /// match env.execute() {
    ///     Err(Error::Panic { operator, message, .. }) => {
    ///         assert_eq!(operator, "Source: Elements -> Map -> Blackhole");
    ///         assert_eq!(message, "attempt to divide by zero");
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// ```
    pub fn execute(&self) -> Result<JobResult> {
        self.execute_async()?.wait()
    }

    /// Starts the job and returns: the handle waits for its end, and its [`crate::JobClient`] stops it before.
    ///
    /// Errors: those of [`Env::execute`] that come before anything runs.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1);
    /// let numbers = env.generate(1_000, |n| n).collect();
    /// let job = env.execute_async()?; // The thread is free for other work meanwhile.
    /// let result = job.wait()?;
    /// assert_eq!((numbers.take().len(), result.late_records_dropped()), (1_000, 0));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
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

/// A chain that begins with a source: what [`Env::source`] returns.
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
