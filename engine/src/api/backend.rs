//! Where a job keeps its keyed state.

use std::path::{Path, PathBuf};

pub use thalweg_state::lsm::Options as LsmOptions;

/// Where the keyed state of a job is kept. The program is the same for both. Source: Flink's `StateBackend`.
///
/// ```
/// use thalweg::{Backend, Env, LsmBackend, LsmOptions};
///
/// let memory = LsmOptions { memory_bytes: 64 << 20, ..LsmOptions::nvme() };
/// let files = Backend::Lsm(LsmBackend::new(std::env::temp_dir()).options(memory));
/// for backend in [Backend::Heap, files] {
///     let env = Env::new().parallelism(1).backend(backend);
///     let counts = env.generate(1_000, |n| n % 7).key_by(|n| *n).count().collect();
///     env.execute()?;
///     assert_eq!(counts.take().last(), Some(&(5, 143)));
/// }
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub enum Backend {
    /// In memory, as typed tables. The default.
    #[default]
    Heap,
    /// In files, with what has changed lately in memory: state may be larger than memory.
    Lsm(LsmBackend),
}

/// The settings of [`Backend::Lsm`].
///
/// ```
/// use thalweg::LsmBackend;
/// assert_eq!(LsmBackend::new("/var/lib/thalweg").dir().to_str(), Some("/var/lib/thalweg"));
/// ```
#[derive(Debug, Clone)]
pub struct LsmBackend {
    dir: PathBuf,
    options: LsmOptions,
}

impl LsmBackend {
    /// State in files below `dir`: in a directory of the job's own, which is made when it starts and removed when it has ended. A
    /// local disk that is fast at random reads serves best.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), options: LsmOptions::default() }
    }

    /// Sets how memory, reads and writes are traded, for each core. [`LsmOptions::nvme`] unless set.
    ///
    /// ```
    /// use thalweg::{LsmBackend, LsmOptions};
    /// let backend = LsmBackend::new("/var/lib/thalweg").options(LsmOptions::ssd());
    /// # drop(backend);
    /// ```
    #[must_use = "it returns the backend"]
    pub fn options(mut self, options: LsmOptions) -> Self {
        self.options = options;
        self
    }

    /// Where the files of jobs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings of each core's store.
    pub(crate) fn core_options(&self) -> &LsmOptions {
        &self.options
    }
}
