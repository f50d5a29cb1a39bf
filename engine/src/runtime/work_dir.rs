//! The directory of a job's state while it runs.
//!
//! ```text
//!   DIR / thalweg-<process>-<number> / core-0, core-1, …      one store each, locked by its core
//! ```
//!
//! Invariants:
//! - jobs share no directory, in one process or in several;
//! - it goes when the job has ended; what a process has left that did not end by itself goes when the next job starts.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thalweg_state::storage::Storage;

use crate::error::{Error, Result};

const PREFIX: &str = "thalweg-";
/// How long a job may take from making its directory to locking those of its cores.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// See the [module](self). Dropped with the job.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    /// Makes a directory below `parent`, and `parent` if it is not there.
    ///
    /// Errors: `Config`, naming the directory, if that cannot be done.
    pub(crate) fn make(parent: &Path) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let failed = |path: &Path, error: std::io::Error| Error::Config {
            name: "backend",
            reason: format!("{} cannot be made a directory for state: {error}", path.display()),
        };
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        remove_left(parent);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // Of a process that had this id before.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
    }

    /// Where the state of a core is.
    pub(crate) fn storage(&self, core: usize) -> Result<Storage, thalweg_state::Error> {
        Ok(Storage::directory(self.path.join(format!("core-{core}")))?)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the state of a job that has ended stays behind");
        }
    }
}

/// Removes the directories of processes that are no more.
fn remove_left(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        let is_gone = owner.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists());
        if is_gone && is_left(&entry.path()) {
            // Another process may be at it as well: who is first does it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a directory is not in use: a process may be one that is not seen from here, in another container. It has locked its
/// cores' directories, or is about to.
fn is_left(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
    let Ok(cores) = fs::read_dir(path) else { return false };
    age.is_some_and(|age| age > START_TIME_MAX)
        && cores.flatten().all(|core| Storage::directory(core.path()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_goes_and_what_is_used_stays() {
        let parent = tempfile::tempdir().unwrap();
        let of_nobody = parent.path().join(format!("{PREFIX}4194305-0")); // Above the greatest process id.
        let foreign = parent.path().join("thalwegs");
        fs::create_dir_all(of_nobody.join("core-0")).unwrap();
        fs::create_dir_all(&foreign).unwrap();
        let in_use = parent.path().join(format!("{PREFIX}4194305-1"));
        let lock = Storage::directory(in_use.join("core-0")).unwrap();
        let just_made = parent.path().join(format!("{PREFIX}4194305-2"));
        fs::create_dir(&just_made).unwrap();
        for old in [&of_nobody, &in_use] {
            let long_ago = std::time::SystemTime::now() - 2 * START_TIME_MAX;
            fs::File::open(old).unwrap().set_modified(long_ago).unwrap();
        }
        let one = WorkDir::make(parent.path()).unwrap();
        let two = WorkDir::make(parent.path()).unwrap();
        assert!(one.path.exists() && two.path.exists() && foreign.exists() && !of_nobody.exists());
        assert!(in_use.exists() && just_made.exists());
        drop(lock);
        let path = one.path.clone();
        drop(one);
        assert!(!path.exists() && two.path.exists());
    }

    #[test]
    fn a_file_is_no_directory() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let error = WorkDir::make(&file).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }
}
