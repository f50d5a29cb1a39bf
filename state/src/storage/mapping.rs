//! Files that are read: their bytes in place, and which of them are in memory.

use super::mmap::Mapped;
use rkyv::util::AlignedVec;
use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::PAGE_BYTES;

/// The bytes of a published file; if there are any, at an address that is a multiple of a page (4096 bytes).
///
/// What is not in memory is read from the disk when it is touched, which stops the thread for about 60 µs; so pages are
/// asked for ahead with `populate`, on a thread that may wait, and given back with `release`. All ranges are of
/// bytes in the file. Panics: if a range leaves the file.
///
/// ```
/// use thalweg_state::storage::Storage;
/// let storage = Storage::memory();
/// let mut writer = storage.create("greeting")?;
/// writer.write(b"good evening")?;
/// writer.publish()?;
/// let mapping = storage.open("greeting")?;
/// mapping.populate(0..4).unwrap();
/// assert!(mapping.is_resident(0..4));
/// assert_eq!(mapping[..4], *b"good");
/// # Ok::<(), thalweg_state::storage::StorageError>(())
/// ```
pub struct Mapping(Bytes);

enum Bytes {
    /// Of a file on a disk.
    Mapped(Mapped),
    /// Always there.
    Memory(Arc<AlignedVec<PAGE_BYTES>>),
    /// In memory, but paged as if they were not.
    Paged(Arc<AlignedVec<PAGE_BYTES>>, Box<dyn Pager>),
}

/// Decides which pages of bytes in memory count as resident, so that tests of paging need no disk.
pub(super) trait Pager: Send + Sync {
    fn populate(&self, range: Range<usize>) -> io::Result<()>;
    /// Waits for a copy of `range`, which makes nothing resident.
    fn read(&self, range: Range<usize>) -> io::Result<()>;
    /// Whether a copy of `range` would not wait.
    fn try_read(&self, range: Range<usize>) -> bool;
    fn release(&self, range: Range<usize>);
    fn is_resident(&self, range: Range<usize>) -> bool;
}

impl Mapping {
    pub(super) fn of_file(mapped: Mapped) -> Self {
        Self(Bytes::Mapped(mapped))
    }

    pub(super) fn of_memory(bytes: Arc<AlignedVec<PAGE_BYTES>>) -> Self {
        Self(Bytes::Memory(bytes))
    }

    pub(super) fn paged(bytes: Arc<AlignedVec<PAGE_BYTES>>, pager: Box<dyn Pager>) -> Self {
        Self(Bytes::Paged(bytes, pager))
    }

    /// Begins to bring the pages of `range` in, and does not wait for them, unless the disk's queue is full.
    pub fn prefetch(&self, range: Range<usize>) {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.prefetch(self.checked(range)),
            Bytes::Memory(_) => {}
            // Here they are there at once, or never.
            Bytes::Paged(_, pager) => drop(pager.populate(self.checked(range))),
        }
    }

    /// Brings the pages of `range` in and maps them, so that reading them meets no fault. Waits for the disk.
    ///
    /// Errors: that of the disk, which would otherwise end the process by SIGBUS; `InvalidInput` on a kernel older than
    /// 5.14.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.populate(self.checked(range)),
            Bytes::Memory(_) => Ok(()),
            Bytes::Paged(_, pager) => pager.populate(self.checked(range)),
        }
    }

    /// Copies the bytes from `start` on into `out`, all of it, without mapping their pages: these count as the kernel's, and
    /// nothing has to be released. Waits for the disk.
    ///
    /// Cost: about 1 µs for 4 KiB that the kernel has in its page cache. Errors: that of the disk.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// # let storage = Storage::memory();
    /// # let mut writer = storage.create("greeting")?;
    /// # writer.write(b"good evening")?;
    /// # writer.publish()?;
    /// let (mapping, mut word) = (storage.open("greeting")?, [0; 7]);
    /// mapping.read_into(5, &mut word).unwrap();
    /// assert_eq!(word, *b"evening");
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn read_into(&self, start: usize, out: &mut [u8]) -> io::Result<()> {
        let range = self.checked(start..start + out.len());
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.read_into(start, out)?,
            Bytes::Memory(bytes) => out.copy_from_slice(&bytes[range]),
            Bytes::Paged(bytes, pager) => {
                pager.read(range.clone())?;
                out.copy_from_slice(&bytes[range]);
            }
        }
        Ok(())
    }

    /// As [`Mapping::read_into`], but never waits. False if it would have to: then `out` has anything.
    ///
    /// ```
    /// # use thalweg_state::storage::Storage;
    /// # let storage = Storage::memory();
    /// # let mut writer = storage.create("greeting")?;
    /// # writer.write(b"good evening")?;
    /// # writer.publish()?;
    /// let (mapping, mut word) = (storage.open("greeting")?, [0; 4]);
    /// assert!(mapping.try_read_into(0, &mut word).unwrap()); // Memory is always there.
    /// # Ok::<(), thalweg_state::storage::StorageError>(())
    /// ```
    pub fn try_read_into(&self, start: usize, out: &mut [u8]) -> io::Result<bool> {
        let range = self.checked(start..start + out.len());
        match &self.0 {
            Bytes::Mapped(mapped) => return mapped.try_read_into(start, out),
            Bytes::Memory(bytes) => out.copy_from_slice(&bytes[range]),
            Bytes::Paged(bytes, pager) => match pager.try_read(range.clone()) {
                true => out.copy_from_slice(&bytes[range]),
                false => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Takes the pages that lie within `range` out of this process: they count as its memory no more. The kernel may
    /// keep them for the next who asks. They can still be read, at the price of a fault.
    pub fn release(&self, range: Range<usize>) {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.release(self.checked(range)),
            Bytes::Memory(_) => {}
            Bytes::Paged(_, pager) => pager.release(self.checked(range)),
        }
    }

    /// As `release`, and asks the kernel not to keep them either. A hint: what others map too stays.
    pub fn evict(&self, range: Range<usize>) {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.evict(self.checked(range)),
            Bytes::Memory(_) => {}
            Bytes::Paged(_, pager) => pager.release(self.checked(range)),
        }
    }

    /// Whether reading `range` now would not wait for the disk; a system call. On a file that this user
    /// may not write the kernel does not say, and claims that it would not.
    pub fn is_resident(&self, range: Range<usize>) -> bool {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.is_resident(self.checked(range)),
            Bytes::Memory(_) => true,
            Bytes::Paged(_, pager) => pager.is_resident(self.checked(range)),
        }
    }

    /// Says that reads will jump about, so that a fault brings in its page only, and no others around it.
    pub fn advise_random(&self) {
        if let Bytes::Mapped(mapped) = &self.0 {
            mapped.advise_random();
        }
    }

    fn checked(&self, range: Range<usize>) -> Range<usize> {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} bytes", self.len());
        if range.is_empty() { 0..0 } else { range }
    }
}

impl Deref for Mapping {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.bytes(),
            Bytes::Memory(bytes) | Bytes::Paged(bytes, _) => bytes,
        }
    }
}

impl AsRef<[u8]> for Mapping {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.len())
    }
}
