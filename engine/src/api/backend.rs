//! Where a job keeps its keyed state.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::runtime;

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
/// Unless [`options`](Self::options) say otherwise, each core's store is as [`LsmOptions::nvme`] has it, with memory by the machine: a
/// quarter of what the process may use (the machine's memory, or its cgroup's limit), divided by the CPUs that it may use; at least
/// 64 MiB, at most 4 GiB. So one job on all cores leaves three quarters to user code, buffers and the page cache. Options that are
/// given are kept to exactly.
///
/// ```
/// use thalweg::LsmBackend;
/// assert_eq!(LsmBackend::new("/var/lib/thalweg").dir().to_str(), Some("/var/lib/thalweg"));
/// ```
#[derive(Debug, Clone)]
pub struct LsmBackend {
    dir: PathBuf,
    /// By the machine if there are none.
    options: Option<LsmOptions>,
}

/// The share of the machine's memory that stores take, of all CPUs together.
const MEMORY_SHARE: u64 = 4;
/// What a core's store takes at least and at most if nothing is said, in bytes. With more, what is frozen at once would take the disk
/// seconds to write.
const MEMORY_BYTES: std::ops::RangeInclusive<u64> = 64 << 20..=4 << 30;

impl LsmBackend {
    /// State in files below `dir`: in a directory of the job's own, which is made when it starts and removed when it has ended. A
    /// local disk that is fast at random reads serves best.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), options: None }
    }

    /// Sets how memory, reads and writes are traded, for each core. See [`LsmBackend`] for what holds unless set.
    ///
    /// ```
    /// use thalweg::{LsmBackend, LsmOptions};
    /// let backend = LsmBackend::new("/var/lib/thalweg").options(LsmOptions::ssd());
    /// # drop(backend);
    /// ```
    #[must_use = "it returns the backend"]
    pub fn options(mut self, options: LsmOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Where the files of jobs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings of each core's store.
    pub(crate) fn core_options(&self) -> Cow<'_, LsmOptions> {
        match &self.options {
            Some(options) => Cow::Borrowed(options),
            None => {
                let memory_bytes = memory_bytes_of(runtime::memory_bytes(), runtime::available_cores());
                Cow::Owned(LsmOptions { memory_bytes, ..LsmOptions::default() })
            }
        }
    }
}

/// What the store of one of so many CPUs takes of a machine's memory.
fn memory_bytes_of(machine_bytes: Option<u64>, cpus: usize) -> usize {
    let Some(bytes) = machine_bytes else { return LsmOptions::default().memory_bytes };
    let share = bytes / MEMORY_SHARE / cpus.max(1) as u64;
    usize::try_from(share.clamp(*MEMORY_BYTES.start(), *MEMORY_BYTES.end())).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_machines_unless_it_is_given() {
        assert_eq!(memory_bytes_of(Some(64 << 30), 16), 1 << 30);
        assert_eq!(memory_bytes_of(Some(1 << 30), 8), 64 << 20);
        assert_eq!(memory_bytes_of(Some(1 << 40), 4), 4 << 30);
        assert_eq!(memory_bytes_of(None, 2), LsmOptions::default().memory_bytes);
        let given = LsmOptions { memory_bytes: 12_345_678, ..LsmOptions::ssd() };
        assert_eq!(*LsmBackend::new("").options(given.clone()).core_options(), given);
        let machine = LsmBackend::new("").core_options().memory_bytes as u64;
        assert!(MEMORY_BYTES.contains(&machine));
    }
}
