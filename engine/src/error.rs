//! What can go wrong in a job.

use std::path::PathBuf;
use std::sync::Arc;

/// The result of everything in this crate that can fail.
///
/// ```
/// use thalweg::{Env, Result};
///
/// fn count_to(n: u64) -> Result<usize> {
///     let env = Env::new().parallelism(1);
///     let numbers = env.generate(n, |n| n).collect();
///     env.execute()?;
///     Ok(numbers.take().len())
/// }
/// assert_eq!(count_to(10)?, 10);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in a job: in its plan, at its start, or while it runs.
///
/// ```
/// use thalweg::{Env, Error};
///
/// let error = Env::new().parallelism(0).execute().unwrap_err();
/// assert!(matches!(error, Error::Plan(_)));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum Error {
    /// The program describes no job that could run.
    #[error("the plan cannot run: {0}")]
    Plan(String),
    /// A setting has a value that it cannot have.
    #[error("setting {name}: {reason}")]
    Config { name: &'static str, reason: String },
    /// A function of the job panicked. The job has failed; the process has not.
    #[error("subtask {subtask} of {operator} panicked: {message}")]
    Panic { operator: String, subtask: usize, message: String },
    /// A function of the job returned an error, or a record could not be used by the operator it reached.
    #[error("subtask {subtask} of {operator}: {message}")]
    Operator { operator: String, subtask: usize, message: String },
    /// A file or a socket of a source or sink failed.
    #[error("{path}")]
    Io { path: PathBuf, source: Arc<std::io::Error> },
    /// One record made more output than the overdraft allows while the consumer had no room for it.
    #[error(
        "{operator} overdrew an output by {buffers} buffers, the limit is {limit}: split the record's output"
    )]
    Overdraft { operator: String, buffers: usize, limit: usize },
    /// The machine lacks something that the runtime needs.
    #[error("this machine cannot run the job: {0}")]
    Machine(String),
    /// The job was told to stop.
    #[error("the job was cancelled")]
    Cancelled,
    /// State could not be read or written.
    #[error("the state of core {core}: {message}")]
    State { core: usize, message: String },
    /// A simulated job came to rest before its end, or took more steps than it may.
    #[error("simulation with seed {seed}: {message}")]
    Simulation { seed: u64, message: String },
    /// A core ended without saying why; nothing of the job's result can be trusted.
    #[error("core {core} ended unexpectedly: {message}")]
    CoreLost { core: usize, message: String },
}

impl Error {
    /// An [`Error::Io`] of the file or address `path`.
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source: Arc::new(source) }
    }
}

/// What an error says, and what its causes do.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
