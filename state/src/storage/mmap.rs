//! A file mapped into memory, read-only, and its pages; and copies of its bytes, which leave the mapping alone.
//!
//! Invariants, from which all unsafe code here is argued:
//! - the file is complete and published: [`super::Storage`] writes it under another name, renames it once and never
//!   writes it again, nor does anyone else while the directory is locked, and who reads without the lock trusts in the
//!   same: the name of an SST is written once; a name that is removed or replaced leaves the mapped file as it is. So the bytes behind `&[u8]` do not change, and there are as many as when it was mapped;
//! - the mapping is shared and read-only: the kernel may drop any of its pages at any time, and brings the same bytes back.

use memmap2::Mmap;
use rustix::fs::Advice as FileAdvice;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::mm::Advice;
use rustix::process::{Resource, getrlimit};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// What one call of `mincore` tells about, in pages.
const RESIDENCE_PAGES: usize = 512;

pub(super) struct Mapped {
    map: Mmap,
    /// For copies. None if the process has many files open already: then copies go through the mapping.
    file: Option<File>,
    /// The size of a page, a power of two.
    page_bytes: usize,
}

impl Mapped {
    /// Maps all of a published file.
    pub(super) fn new(file: File) -> io::Result<Self> {
        // SAFETY: the file is not changed while it is mapped, by the first invariant.
        let map = unsafe { Mmap::map(&file)? };
        // The lowest free number is given out, so half of the numbers stay free for others.
        let is_spare =
            getrlimit(Resource::Nofile).current.is_none_or(|max| file.as_raw_fd() as u64 <= max / 2);
        Ok(Self { map, file: is_spare.then_some(file), page_bytes: rustix::param::page_size() })
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Begins to read `range`, all of it at once and nothing around it.
    pub(super) fn prefetch(&self, range: Range<usize>) {
        let _ = self.advise(self.outer_pages(range), Advice::WillNeed); // A hint: who needs the pages hears of errors.
    }

    pub(super) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        // Left to itself the kernel reads page by page, or megabytes around: 16 KiB take it 8 to 12 ms, so 0.1 to 0.3.
        self.prefetch(range.clone());
        match self.advise(self.outer_pages(range), Advice::LinuxPopulateRead) {
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                Err(io::Error::other("the disk failed to give it, or it was made shorter"))
            }
            other => other,
        }
    }

    pub(super) fn read_into(&self, start: usize, out: &mut [u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            return file.read_exact_at(out, start as u64);
        }
        let range = start..start + out.len();
        self.populate(range.clone())?;
        out.copy_from_slice(&self.map[range.clone()]);
        self.release(range);
        Ok(())
    }

    pub(super) fn try_read_into(&self, start: usize, out: &mut [u8]) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let bytes = out.len();
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(out)], start as u64, ReadWriteFlags::NOWAIT) {
            // Less than all: the rest is not in the page cache.
            Ok(read) => Ok(read == bytes),
            // File systems that do not know how to say so wait always.
            Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(false),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn release(&self, range: Range<usize>) {
        let _ = self.advise(self.inner_pages(range), Advice::LinuxDontNeed); // Refused for memory that is locked.
    }

    pub(super) fn evict(&self, range: Range<usize>) {
        // A hint, which kernels older than 5.4 do not know: then the pages are only released.
        let _ = self.advise(self.inner_pages(range.clone()), Advice::LinuxPageOut);
        self.release(range);
    }

    pub(super) fn is_resident(&self, range: Range<usize>) -> bool {
        let mut state = [0_u8; RESIDENCE_PAGES];
        let pages = self.outer_pages(range);
        pages.clone().step_by(RESIDENCE_PAGES * self.page_bytes).all(|start| {
            let bytes = (pages.end - start).min(RESIDENCE_PAGES * self.page_bytes);
            let page = self.map[start..].as_ptr();
            // SAFETY: `page` begins a page, as the mapping does and `start` is a multiple of their size; `bytes` do not
            // leave the mapping; `state` has a byte for each page. mincore writes to nothing else.
            let result = unsafe { libc::mincore(page.cast_mut().cast(), bytes, state.as_mut_ptr()) };
            result == 0 && state[..bytes.div_ceil(self.page_bytes)].iter().all(|page| page & 1 == 1)
        })
    }

    pub(super) fn advise_random(&self) {
        // Hints: without them there is more read-ahead, and what is in the page cache in large pieces is mapped in these.
        let _ = self.advise(0..self.map.len(), Advice::Random);
        let _ = self.advise(0..self.map.len(), Advice::LinuxNoHugepage);
        if let Some(file) = &self.file {
            let _ = rustix::fs::fadvise(file, 0, None, FileAdvice::Random);
        }
    }

    /// `range` begins with a page. No `advice` is passed that could change what the bytes are.
    fn advise(&self, range: Range<usize>, advice: Advice) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let bytes = &self.map[range];
        // SAFETY: these are pages of the mapping, which stays mapped as before; which of them are in memory does
        // not show in the bytes, by the second invariant.
        unsafe { rustix::mm::madvise(bytes.as_ptr().cast_mut().cast(), bytes.len(), advice)? };
        Ok(())
    }

    /// The pages that hold a part of `range`.
    fn outer_pages(&self, range: Range<usize>) -> Range<usize> {
        range.start & !(self.page_bytes - 1)..range.end
    }

    /// The pages that are wholly in `range`; the last one of the file is, if its bytes are.
    fn inner_pages(&self, range: Range<usize>) -> Range<usize> {
        let end = if range.end == self.map.len() { range.end } else { range.end & !(self.page_bytes - 1) };
        range.start.next_multiple_of(self.page_bytes).min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    #[cfg_attr(miri, ignore = "has no files")]
    fn without_a_descriptor_copies_go_through_the_mapping() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 3 * 4096]).unwrap();
        let mapped = Mapped { file: None, ..Mapped::new(file).unwrap() };
        let mut copy = [0; 5000];
        assert!(!mapped.try_read_into(100, &mut copy).unwrap());
        mapped.read_into(100, &mut copy).unwrap();
        assert_eq!(copy, [7; 5000]);
    }
}
