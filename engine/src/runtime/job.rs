//! A running job: its threads, and what all of them share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::bell::Bell;
use super::core_thread::{self, CoreThread};
use super::mailbox::Mailbox;
use super::pool::Pool;
use super::result::JobResult;
use super::work_dir::WorkDir;
use super::{link, machine};
use crate::api::backend::Backend;
use crate::api::config::Config;
use crate::data_plane::core::Command;
use crate::data_plane::switch::CoreStats;
use crate::error::{Error, Result};
use crate::graph::execution::ExecutionGraph;

/// A job that runs. Made by [`crate::Env::execute_async`]; a job whose handle is dropped runs on.
///
/// ```
/// use thalweg::Env;
///
/// let env = Env::new().parallelism(2);
/// let numbers = env.generate(u64::MAX, |n| n).collect(); // For some centuries.
/// let job = env.execute_async()?;
/// job.client().stop();
/// job.wait()?;
/// assert!(numbers.take().len() < 1 << 40);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[must_use = "a job whose handle is dropped runs on, and nobody learns how it ended"]
pub struct JobHandle {
    client: JobClient,
    graph: Arc<ExecutionGraph>,
    threads: Vec<(usize, CoreThread)>,
    /// Why not all of the cores could be started.
    failure: Option<Error>,
}

/// Tells a running job what to do, from any thread. Once the job has ended it has no effect. Source: Flink's `JobClient`.
///
/// ```
/// use thalweg::{Env, Error};
///
/// let env = Env::new().parallelism(1);
/// env.generate(u64::MAX, |n| n).blackhole();
/// let job = env.execute_async()?;
/// let client = job.client();
/// std::thread::spawn(move || client.cancel());
/// assert!(matches!(job.wait(), Err(Error::Cancelled)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct JobClient {
    control: Arc<JobControl>,
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("cores", &self.threads.len()).finish_non_exhaustive()
    }
}

impl JobClient {
    /// The job gives up where it is: what is under way is lost, and [`JobHandle::wait`] returns [`Error::Cancelled`]. Returns at
    /// once. Source: Flink's `JobClient.cancel`.
    ///
    /// ```
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(2);
    /// env.generate(u64::MAX, |n| n).key_by(|n| n % 7).count().blackhole();
    /// let job = env.execute_async()?;
    /// job.client().cancel();
    /// job.client().stop(); // Too late: it is cancelled already.
    /// assert!(matches!(job.wait(), Err(Error::Cancelled)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cancel(&self) {
        self.control.post(Command::Cancel);
    }

    /// The sources end as if there were no more input. All that follows from it still happens: windows fire, timers of event
    /// time too, sinks are closed. Returns at once. Source: Flink's `stop --drain`, without a savepoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Count, Env, Tumbling, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let numbers = env.generate(u64::MAX, |n| n).watermarks(monotonous().by(|_| 0));
    /// let windows = numbers.key_by(|_| ()).window(Tumbling::of(Duration::from_secs(1)));
    /// let counts = windows.aggregate(Count).collect();
    /// let job = env.execute_async()?;
    /// job.client().stop();
    /// job.wait()?;
    /// assert!(counts.take().len() <= 1, "the window that was open has fired, if a record had come");
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn stop(&self) {
        self.control.post(Command::Stop);
    }
}

impl JobHandle {
    /// To stop or cancel the job while it runs, and while another thread waits for it.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1);
    /// env.generate(u64::MAX, |n| n).blackhole();
    /// let job = env.execute_async()?;
    /// let client = job.client();
    /// let waiting = std::thread::spawn(move || job.wait().map(|result| result.late_records_dropped()));
    /// client.stop();
    /// assert_eq!(waiting.join().unwrap()?, 0);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn client(&self) -> JobClient {
        self.client.clone()
    }

    /// Waits for the end of the job, and blocks the thread meanwhile.
    ///
    /// Errors: as [`crate::Env::execute`], and [`Error::Cancelled`]. Of several, the first that is a cause: cores that stop
    /// because another has failed do not count.
    ///
    /// ```
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(2);
    /// env.generate(1_000, |n| n).map(|n| assert!(*n < 999, "the last record")).blackhole();
    /// let job = env.execute_async()?; // Which starts well.
    /// assert!(matches!(job.wait(), Err(Error::Panic { message, .. }) if message == "the last record"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait(self) -> Result<JobResult> {
        let Self { client, graph, threads, mut failure } = self;
        let mut results = Vec::new();
        for (core, thread) in threads {
            let result = thread.join().unwrap_or_else(|message| Err(Error::CoreLost { core, message }));
            match result {
                Ok(result) => results.push(result),
                Err(error) => {
                    client.cancel();
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
}

/// What all cores of a running job share. Touched at the start, at the end, and when something fails.
#[derive(Debug)]
pub(super) struct JobControl {
    /// Cores that are built and wait for the others.
    pub(super) ready: AtomicUsize,
    /// One for each core.
    pub(super) mailboxes: Vec<Mailbox<Command>>,
    /// Goes with the last core, and the handles.
    pub(super) work_dir: Option<WorkDir>,
}

impl JobControl {
    pub(super) fn post(&self, command: Command) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.post(command));
    }
}

/// What one core did.
pub(super) struct CoreResult {
    pub(super) started: Instant,
    pub(super) ended: Instant,
    pub(super) stats: CoreStats,
}

/// Starts a thread for each core of a job.
pub(crate) fn start(graph: Arc<ExecutionGraph>, config: Arc<Config>) -> Result<JobHandle> {
    let cores = graph.cores();
    let placement = machine::place(cores)?;
    let mailboxes = (0..cores).map(|_| Mailbox::new(Bell::default())).collect();
    let work_dir = match &config.backend {
        Backend::Heap => None,
        Backend::Lsm(lsm) => Some(WorkDir::make(lsm.dir())?),
    };
    let control = Arc::new(JobControl { ready: AtomicUsize::new(0), mailboxes, work_dir });
    let client = JobClient { control: control.clone() };
    // The cores alone have it: when the last of them has ended, its threads have too.
    let pool = Arc::new(Pool::new(&config.name, cores));
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
            pool: pool.clone(),
            links,
        };
        match core_thread::spawn(start) {
            Ok(thread) => threads.push((core, thread)),
            Err(error) => {
                failure = Some(error);
                client.cancel();
                break;
            }
        }
    }
    Ok(JobHandle { client, graph, threads, failure })
}

fn summary(graph: &ExecutionGraph, results: Vec<CoreResult>) -> JobResult {
    let started = results.iter().map(|r| r.started).min();
    let ended = results.iter().map(|r| r.ended).max();
    let elapsed = started.zip(ended).map(|(s, e)| e - s).unwrap_or_default();
    let cores: Vec<CoreStats> = results.into_iter().map(|r| r.stats).collect();
    JobResult::new(graph, elapsed, &cores)
}
