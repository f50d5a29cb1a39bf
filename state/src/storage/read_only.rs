//! A directory that is read as it is, also while somebody else has it open: for tools.
//!
//! Invariant: nothing in it is made, changed, locked or removed.

use super::mmap::Mapped;
use super::{Disk, DiskFile, FileInfo, Mapping};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The files in a directory: a [`Disk`] of which only the half that reads works.
#[derive(Debug)]
pub(super) struct ReadOnly {
    root: PathBuf,
}

impl ReadOnly {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Disk for ReadOnly {
    fn path(&self, name: &str) -> PathBuf {
        match name {
            "" => self.root.clone(),
            _ => self.root.join(name),
        }
    }

    fn root(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn map(&self, name: &str) -> io::Result<Mapping> {
        Ok(Mapping::of_file(Mapped::new(File::open(self.path(name))?)?))
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let read = File::open(self.path(name))?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok((read as u64 <= bytes_max).then_some(bytes))
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // Its owner has just removed it.
                other => other?,
            };
            // A name that is not UTF-8 is not ours.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push(FileInfo { name, bytes: metadata.len() });
            }
        }
        Ok(files)
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        match fs::symlink_metadata(self.path(name)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, _name: &str) -> io::Result<Box<dyn DiskFile>> {
        Err(refused())
    }

    fn append(&self, _name: &str) -> io::Result<Box<dyn DiskFile>> {
        Err(refused())
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(refused())
    }

    fn sync(&self) -> io::Result<()> {
        Err(refused())
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "it was opened to be read only")
}
