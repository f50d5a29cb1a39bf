//! Settings of a job.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use thalweg_net::{BUFFER_BYTES_DEFAULT, BufferPool};

use thalweg_state::CoreState;
use thalweg_state::storage::Storage;

use super::backend::Backend;
use crate::error::{Error, Result, with_sources};

/// How a core waits when it has nothing to do.
///
/// Measured costs are in the [runtime's docs](crate#idle-strategies).
///
/// ```
/// use thalweg::{Env, IdleStrategy};
///
/// assert_eq!(IdleStrategy::default(), IdleStrategy::Balanced);
/// let env = Env::new().parallelism(1).idle_strategy(IdleStrategy::Park);
/// env.generate(10, |n| n).blackhole();
/// env.execute()?;
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdleStrategy {
    /// Polls without end: the lowest latency, and a core at 100 %.
    Spin,
    /// Polls for [`crate::Env::spin`] (100 µs unless set), then parks.
    #[default]
    Balanced,
    /// Parks at once: the least CPU, and a wake-up for each burst.
    Park,
}

/// Settings of a job, with the defaults of [`crate::Env::new`].
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) parallelism: Option<usize>,
    pub(crate) max_parallelism: Option<usize>,
    /// Bytes of an exchange buffer.
    pub(crate) buffer_bytes: usize,
    /// Buffers that a channel may have in flight.
    pub(crate) credit_buffers: u64,
    /// Buffers that one step may write beyond a channel's credit before the job fails.
    pub(crate) overdraft_buffers_max: usize,
    /// Upper bound of the time that a record waits in a buffer that is not full.
    pub(crate) buffer_timeout: Duration,
    /// How often periodic watermark generators emit, by the processing-time clock; zero: after every batch.
    pub(crate) auto_watermark_interval: Duration,
    /// Records that a source may emit before the rest of its core has its turn.
    pub(crate) batch_records: u32,
    pub(crate) pre_aggregation: bool,
    pub(crate) backend: Backend,
    pub(crate) idle: IdleStrategy,
    /// How long `Balanced` polls.
    pub(crate) spin: Duration,
    /// Each step of a source runs through the whole job before the next. For tests.
    pub(crate) lockstep: bool,
    /// The job is simulated: there are no other threads, so a source that needs one is refused.
    pub(crate) is_simulated: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "job".into(),
            parallelism: None,
            max_parallelism: None,
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            credit_buffers: 8,
            overdraft_buffers_max: 1 << 14,
            buffer_timeout: Duration::from_millis(100),
            auto_watermark_interval: Duration::ZERO,
            batch_records: 1024,
            pre_aggregation: true,
            backend: Backend::Heap,
            idle: IdleStrategy::default(),
            spin: Duration::from_micros(100),
            lockstep: false,
            is_simulated: false,
        }
    }
}

impl Config {
    /// Whether every setting can be used.
    pub(crate) fn check(&self) -> Result<()> {
        BufferPool::new(self.buffer_bytes)
            .map_err(|e| Error::Config { name: "buffer_bytes", reason: e.to_string() })?;
        if self.credit_buffers == 0 {
            return Err(Error::Config {
                name: "credit_buffers",
                reason: "a channel needs at least one".into(),
            });
        }
        if self.batch_records == 0 {
            return Err(Error::Config {
                name: "batch_records",
                reason: "a batch has at least one record".into(),
            });
        }
        if let Backend::Lsm(lsm) = &self.backend {
            lsm.core_options()
                .check()
                .map_err(|error| Error::Config { name: "backend", reason: error.to_string() })?;
        }
        Ok(())
    }

    /// The state of a core, in `storage` if it is in files. Waits for the disk.
    ///
    /// Errors: `State` if files cannot be made there.
    pub(crate) fn open_state(
        &self,
        core: usize,
        storage: impl FnOnce() -> Result<Storage, thalweg_state::Error>,
    ) -> Result<CoreState> {
        let Backend::Lsm(lsm) = &self.backend else { return Ok(CoreState::heap()) };
        // A random number, but where all is to be repeatable.
        let identity = match self.is_simulated {
            true => core as u64,
            false => RandomState::new().hash_one(core),
        };
        let opened =
            storage().and_then(|storage| CoreState::lsm(&storage, lsm.core_options().into_owned(), identity));
        match opened {
            Ok((state, _)) => Ok(state),
            Err(error) => Err(Error::State { core, message: with_sources(&error) }),
        }
    }
}
