//! A file that is written through the page cache, and sent to the disk as it is written.
//!
//! Left to itself the kernel keeps what is written until the sync, which then waits for all of it: of 1 GiB 0.4 s after 1.2 s of
//! writing. Sent chunk by chunk, writing takes 0.4 s and the sync 10 ms.

use super::DiskFile;
use super::directory::CHUNK_BYTES;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;

/// A file that is written from its end.
#[derive(Debug)]
pub(super) struct BufferedFile {
    file: File,
    /// Its length, in bytes; and up to where the disk was told to write it.
    written: u64,
    sent: u64,
}

impl BufferedFile {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let written = file.metadata()?.len();
        Ok(Self { file, written, sent: written })
    }
}

impl DiskFile for BufferedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if self.written - self.sent >= CHUNK_BYTES as u64 {
            begin_writing(&self.file, self.sent..self.written)?;
            self.sent = self.written;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Has the kernel begin to write bytes of a file to the disk, and does not wait for them. That makes nothing durable.
fn begin_writing(file: &File, range: Range<u64>) -> io::Result<()> {
    let (start, bytes) = (range.start as i64, (range.end - range.start) as i64);
    // SAFETY: the call takes numbers only, and the descriptor is open as long as `file` is borrowed.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), start, bytes, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // A file system that cannot do it has its sync do it.
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE)) => {
                Ok(())
            }
            error => Err(error),
        },
    }
}
