//! Pooled, 16-byte aligned, reference-counted segments of memory: what crosses from core to core.
//!
//! ```text
//!            take                 freeze               clone, drop on any core
//!   pool ───────────▶ BufferMut ─────────▶ Buffer ──────────────────────────────┐
//!    ▲  free list: the owner's alone, last in first out, hence warm             │ last reference
//!    └──────────────────────── return stack: push by CAS, take all by one swap ◀┘
//! ```
//!
//! Invariants:
//! - a `BufferMut` is the only handle of its memory; a `Buffer` is never written again;
//! - a buffer is in exactly one place: in use, on the free list, or on the return stack;
//! - bytes are zeroed once, at allocation, and only initialised bytes are written: none is ever uninitialised;
//! - a buffer outlives its pool if it must. A pool that goes closes its return stack, and late buffers free themselves.
//!
//! A hand-over costs one atomic read-modify-write when the buffer comes home (the compare-and-swap of the push), plus
//! one for each clone. Nothing here is touched per record.
//!
//! The tag is the `TypeId` of what was written into the buffer. It lives beside the bytes, not in them: it is set by
//! the typed [`Appender`](crate::Appender) and checked once per buffer by the typed [`Reader`](crate::Reader), which
//! makes reading archived values without validation sound.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    any::TypeId,
    cell::Cell,
    fmt,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
};

use crate::{
    Error,
    sync::{Arc, AtomicPtr, AtomicUsize, Ordering, UnsafeCell},
};

/// The alignment of a buffer's first byte, in bytes; rkyv's archives need no more.
pub const BUFFER_ALIGN: usize = 16;

/// The size of a buffer unless configured otherwise, in bytes: Flink's segment size.
pub const BUFFER_BYTES_DEFAULT: usize = 32 * 1024;

/// The size of the largest buffer there can be, in bytes: rkyv's relative pointers have 32 bits.
pub const BUFFER_BYTES_MAX: usize = 1 << 30;

const BUFFER_BYTES_RANGE: std::ops::RangeInclusive<usize> = 1024..=64 * 1024 * 1024;

/// What stands before the bytes, in the same allocation. Its alignment, and so that of the bytes, is a cache line.
#[repr(C, align(64))]
struct Header {
    refs: AtomicUsize,
    /// The next one in the free list or the return stack; meaningless while the buffer is in use.
    next: UnsafeCell<*mut Header>,
    home: Arc<Home>,
    contents: UnsafeCell<Contents>,
    capacity: usize,
}

/// What is in the bytes. Written only through a `BufferMut`.
#[derive(Clone, Copy)]
struct Contents {
    len: u32,
    tag: Option<TypeId>,
}

const EMPTY: Contents = Contents { len: 0, tag: None };
const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(align_of::<Header>() >= BUFFER_ALIGN && HEADER_BYTES.is_multiple_of(BUFFER_ALIGN));

/// Where buffers come home to: shared by the pool and each of its buffers.
struct Home {
    /// The top of the return stack; `CLOSED` once the pool is gone.
    returned: AtomicPtr<Header>,
    buffer_bytes: usize,
    /// The bytes of the live buffers that are too large to be pooled.
    oversized_bytes: AtomicUsize,
}

/// The top of a closed return stack: an address no header can have, as it is not aligned.
const CLOSED: *mut Header = ptr::without_provenance_mut(1);

impl Home {
    /// Takes back a buffer nobody refers to any more, from whichever core.
    ///
    /// # Safety
    ///
    /// `buffer` belongs to this home, is live, and the caller gives up the only reference to it.
    unsafe fn take_back(&self, buffer: NonNull<Header>) {
        // SAFETY: the caller's reference keeps the header alive up to here.
        let header = unsafe { buffer.as_ref() };
        if header.capacity > self.buffer_bytes {
            self.oversized_bytes.fetch_sub(header.capacity, Ordering::Relaxed);
            // SAFETY: the caller gives us the only reference.
            return unsafe { free(buffer) };
        }
        let mut top = self.returned.load(Ordering::Relaxed);
        while top != CLOSED {
            // SAFETY: until the exchange below succeeds we hold the only reference.
            header.next.with_mut(|next| unsafe { *next = top });
            // Release: our reads of the bytes, and the write to `next`, come before the owner's take.
            match self.returned.compare_exchange(top, buffer.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                // From here on the owner may have freed the buffer, and even `self`: touch nothing.
                Ok(_) => return,
                Err(found) => top = found,
            }
        }
        // SAFETY: the stack is closed, so the buffer did not get there: ours is still the only reference.
        unsafe { free(buffer) }
    }

    /// Takes all that came back, leaving `top` in its place. Only the pool, of which there is one, calls this.
    fn take_all(&self, top: *mut Header) -> *mut Header {
        // Acquire: pairs with the Release of every push, since a compare-and-swap continues a release sequence.
        self.returned.swap(top, Ordering::Acquire)
    }
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(HEADER_BYTES + capacity, align_of::<Header>())
        .expect("a buffer has at most BUFFER_BYTES_MAX bytes, which no layout refuses")
}

fn allocate(home: &Arc<Home>, capacity: usize) -> NonNull<Header> {
    let layout = layout(capacity);
    // SAFETY: the layout has a non-zero size, that of the header at least.
    let memory = unsafe { alloc_zeroed(layout) };
    let Some(buffer) = NonNull::new(memory.cast::<Header>()) else { handle_alloc_error(layout) };
    let header = Header {
        refs: AtomicUsize::new(1),
        next: UnsafeCell::new(ptr::null_mut()),
        home: home.clone(),
        contents: UnsafeCell::new(EMPTY),
        capacity,
    };
    // SAFETY: fresh memory, large enough and aligned for a header.
    unsafe { buffer.write(header) };
    buffer
}

/// # Safety
///
/// `buffer` came from `allocate`, and the caller holds the only reference to it.
unsafe fn free(buffer: NonNull<Header>) {
    // SAFETY: the caller's reference is the last, so the header may go, and its memory after it.
    unsafe {
        let layout = layout(buffer.as_ref().capacity);
        buffer.drop_in_place();
        dealloc(buffer.as_ptr().cast(), layout);
    }
}

/// A core's stock of buffers.
///
/// One core owns it (it is `Send` but not `Sync`); the buffers go anywhere and come back by themselves. It grows on
/// demand and never shrinks: how many buffers are in use is bounded by the credits of the channels, not here.
///
/// ```
/// use thalweg_net::{BUFFER_BYTES_DEFAULT, BufferPool};
///
/// let pool = BufferPool::new(BUFFER_BYTES_DEFAULT)?;
/// let buffer = pool.take().freeze();
/// let elsewhere = buffer.clone();
/// drop(buffer);
/// assert_eq!((pool.allocated(), pool.free()), (1, 0));
/// std::thread::spawn(move || drop(elsewhere)).join().unwrap();
/// assert_eq!((pool.allocated(), pool.free()), (1, 1));
/// # Ok::<(), thalweg_net::Error>(())
/// ```
pub struct BufferPool {
    home: Arc<Home>,
    /// The first of the free list, or null.
    free: Cell<*mut Header>,
    allocated: Cell<usize>,
}

// SAFETY: the free list is reachable through this pool alone, and what it links may be freed on any thread; the pool
// moves with it. (It is not `Sync`: the cells see to that.)
unsafe impl Send for BufferPool {}

impl BufferPool {
    /// An empty pool of buffers of `buffer_bytes` each.
    ///
    /// # Errors
    ///
    /// [`Error::BufferBytes`] unless it is a multiple of 16 from 1 KiB to 64 MiB.
    ///
    /// ```
    /// use thalweg_net::{BufferPool, Error};
    ///
    /// assert_eq!(BufferPool::new(4096)?.memory_bytes(), 0); // Nothing is allocated before it is taken.
    /// assert!(matches!(BufferPool::new(1000), Err(Error::BufferBytes { bytes: 1000 })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new(buffer_bytes: usize) -> Result<Self, Error> {
        if !BUFFER_BYTES_RANGE.contains(&buffer_bytes) || !buffer_bytes.is_multiple_of(BUFFER_ALIGN) {
            return Err(Error::BufferBytes { bytes: buffer_bytes });
        }
        let home = Home {
            returned: AtomicPtr::new(ptr::null_mut()),
            buffer_bytes,
            oversized_bytes: AtomicUsize::new(0),
        };
        Ok(Self { home: Arc::new(home), free: Cell::new(ptr::null_mut()), allocated: Cell::new(0) })
    }

    /// An empty buffer: the one that was freed last, or what other cores gave back, or a new one.
    ///
    /// Cost: a few loads; when the free list is empty one atomic swap, and an allocation when that yields nothing.
    ///
    /// ```
    /// let pool = thalweg_net::BufferPool::new(1024)?;
    /// let (a, b) = (pool.take(), pool.take());
    /// drop(a);
    /// let c = pool.take(); // The memory of `a`.
    /// assert_eq!((pool.allocated(), pool.free()), (2, 0));
    /// # drop((b, c));
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    pub fn take(&self) -> BufferMut {
        let mut first = self.free.get();
        if first.is_null() {
            first = self.home.take_all(ptr::null_mut());
        }
        let Some(buffer) = NonNull::new(first) else {
            self.allocated.set(self.allocated.get() + 1);
            return BufferMut(allocate(&self.home, self.home.buffer_bytes));
        };
        // SAFETY: what is on the free list is live and ours alone; what came from the return stack was pushed by the
        // holder of its last reference, whose accesses the swap's Acquire puts before ours.
        unsafe {
            let header = buffer.as_ref();
            self.free.set(header.next.with(|next| *next));
            header.contents.with_mut(|contents| *contents = EMPTY);
            header.refs.store(1, Ordering::Relaxed);
        }
        BufferMut(buffer)
    }

    /// An empty buffer with room for `bytes` at least, for a record that fits no ordinary one.
    ///
    /// When that is more than a pooled buffer has, the memory is allocated for this use and freed after it.
    ///
    /// # Panics
    ///
    /// If `bytes` is more than [`BUFFER_BYTES_MAX`].
    ///
    /// ```
    /// let pool = thalweg_net::BufferPool::new(1024)?;
    /// let large = pool.take_at_least(5000);
    /// assert_eq!(large.capacity_bytes(), 5008);
    /// drop(large);
    /// assert_eq!(pool.memory_bytes(), 0);
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    pub fn take_at_least(&self, bytes: usize) -> BufferMut {
        if bytes <= self.home.buffer_bytes {
            return self.take();
        }
        assert!(bytes <= BUFFER_BYTES_MAX, "a buffer of {bytes} bytes is beyond rkyv's 32-bit pointers");
        let capacity = bytes.next_multiple_of(BUFFER_ALIGN);
        self.home.oversized_bytes.fetch_add(capacity, Ordering::Relaxed);
        BufferMut(allocate(&self.home, capacity))
    }

    /// The size of a pooled buffer, in bytes.
    ///
    /// ```
    /// assert_eq!(thalweg_net::BufferPool::new(1024)?.buffer_bytes(), 1024);
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    pub fn buffer_bytes(&self) -> usize {
        self.home.buffer_bytes
    }

    /// The number of pooled buffers there are, in use and free. It never falls.
    ///
    /// ```
    /// let pool = thalweg_net::BufferPool::new(1024)?;
    /// drop((pool.take(), pool.take()));
    /// assert_eq!(pool.allocated(), 2);
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    pub fn allocated(&self) -> usize {
        self.allocated.get()
    }

    /// The number of pooled buffers not in use. Cost: O(that number), so for metrics and tests.
    ///
    /// ```
    /// let pool = thalweg_net::BufferPool::new(1024)?;
    /// let buffer = pool.take().freeze();
    /// assert_eq!(pool.free(), 0);
    /// drop(buffer);
    /// assert_eq!(pool.free(), 1);
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    pub fn free(&self) -> usize {
        let returned = self.home.returned.load(Ordering::Acquire);
        [self.free.get(), returned].into_iter().map(|first| self.list(first).count()).sum()
    }

    /// The memory held by this pool's buffers, in use, free and oversized, in bytes.
    ///
    /// ```
    /// let pool = thalweg_net::BufferPool::new(1024)?;
    /// let (small, large) = (pool.take(), pool.take_at_least(2000));
    /// assert_eq!(pool.memory_bytes(), 1024 + 2000);
    /// drop((small, large));
    /// assert_eq!(pool.memory_bytes(), 1024); // The one that is pooled.
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    pub fn memory_bytes(&self) -> usize {
        self.allocated.get() * self.home.buffer_bytes + self.home.oversized_bytes.load(Ordering::Relaxed)
    }

    /// The buffers of a list, first to last. A step reads the link of a buffer only to get past it.
    fn list(&self, first: *mut Header) -> impl Iterator<Item = NonNull<Header>> + '_ {
        std::iter::successors(NonNull::new(first), |buffer| {
            // SAFETY: buffers in a list are live until this pool takes them out, which it does not do meanwhile: it
            // is not `Sync`. Others push in front of the stack's top, never behind it, so links do not change.
            unsafe { NonNull::new(buffer.as_ref().next.with(|next| *next)) }
        })
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        for first in [self.free.get(), self.home.take_all(CLOSED)] {
            let mut rest = first;
            while let Some(buffer) = NonNull::new(rest) {
                // SAFETY: as in `take`, the buffer is live and ours alone. The link is read before the buffer goes.
                unsafe {
                    rest = buffer.as_ref().next.with(|next| *next);
                    free(buffer);
                }
            }
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("buffer_bytes", &self.buffer_bytes())
            .field("allocated", &self.allocated())
            .finish_non_exhaustive()
    }
}

/// A buffer being filled: the only handle of its memory.
///
/// An [`Appender`](crate::Appender) writes into it. Dropped unfrozen, it goes back to its pool.
///
/// ```
/// let pool = thalweg_net::BufferPool::new(1024)?;
/// let buffer = pool.take();
/// assert_eq!(buffer.capacity_bytes(), 1024);
/// assert!(buffer.freeze().bytes().is_empty());
/// # Ok::<(), thalweg_net::Error>(())
/// ```
pub struct BufferMut(NonNull<Header>);

// SAFETY: it is the only handle of its memory, which may be written and freed on any thread.
unsafe impl Send for BufferMut {}
// SAFETY: through a shared reference only the capacity can be read, which never changes.
unsafe impl Sync for BufferMut {}

impl BufferMut {
    /// The room in it, in bytes.
    ///
    /// ```
    /// let pool = thalweg_net::BufferPool::new(1024)?;
    /// assert_eq!((pool.take().capacity_bytes(), pool.take_at_least(1025).capacity_bytes()), (1024, 1040)); // A multiple of 16.
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    #[inline]
    pub fn capacity_bytes(&self) -> usize {
        self.header().capacity
    }

    /// Ends the filling: from now on the buffer can be shared and not be written. Costs nothing.
    ///
    /// ```
    /// let pool = thalweg_net::BufferPool::new(1024)?;
    /// let buffer = pool.take().freeze();
    /// assert!(buffer.is_empty()); // Only an `Appender` fills one.
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    #[inline]
    pub fn freeze(self) -> Buffer {
        Buffer(ManuallyDrop::new(self).0)
    }

    /// The first byte. All `capacity_bytes()` from there are initialised, and may be written through it.
    #[inline]
    pub(crate) fn data(&self) -> NonNull<u8> {
        data(self.0)
    }

    /// Says what is in the buffer: `len` bytes, written as `tag`.
    ///
    /// # Safety
    ///
    /// The first `len` bytes hold entries that an `Appender` of the types of `tag` wrote.
    #[inline]
    pub(crate) unsafe fn set_contents(&mut self, len: usize, tag: TypeId) {
        debug_assert!(len <= self.capacity_bytes());
        let contents = Contents { len: len as u32, tag: Some(tag) };
        // SAFETY: `&mut self` is the only handle.
        self.header().contents.with_mut(|old| unsafe { *old = contents });
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the handle keeps the header alive.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for BufferMut {
    fn drop(&mut self) {
        // SAFETY: this was the only reference, and it ends here.
        unsafe { self.0.as_ref().home.take_back(self.0) }
    }
}

impl fmt::Debug for BufferMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferMut").field("capacity_bytes", &self.capacity_bytes()).finish_non_exhaustive()
    }
}

/// A filled buffer: immutable, shared by counting references, handed over between cores as it is.
///
/// The last reference may go on any core; the memory returns to its pool. A clone costs one atomic addition.
///
/// ```
/// use thalweg_net::{Appender, BufferPool};
///
/// let pool = BufferPool::new(1024)?;
/// let mut out = Appender::<u32, String>::new(pool.take());
/// out.append(7, 0xfeed, &1, &"one".to_owned()).unwrap();
/// let buffer = out.finish();
/// assert_eq!(buffer.bytes().len(), buffer.len_bytes());
/// assert_eq!(buffer.clone().bytes(), buffer.bytes());
/// # Ok::<(), thalweg_net::Error>(())
/// ```
pub struct Buffer(NonNull<Header>);

// SAFETY: its bytes are never written while a `Buffer` exists, the count is atomic, and the memory may be freed on any
// thread. What the bytes are read as is `Sync` too: `Exchange` asks for it.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// What was written: whole entries, nothing uninitialised, the first one 16-byte aligned.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, ENTRY_ALIGN, EntryKind, Signal};
    ///
    /// let mut out = Appender::<u64, u64>::new(BufferPool::new(1024)?.take());
    /// out.signal(Signal::End)?;
    /// let buffer = out.finish();
    /// assert_eq!(buffer.bytes()[4], EntryKind::End as u8);
    /// assert!(buffer.bytes().len().is_multiple_of(ENTRY_ALIGN));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are within the allocation, were initialised when it was made, and are not
        // written while we live.
        unsafe { std::slice::from_raw_parts(self.data().as_ptr(), self.len_bytes()) }
    }

    /// The number of bytes written: see [`Appender::len_bytes`](crate::Appender::len_bytes).
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.contents().len as usize
    }

    /// Whether nothing was written.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Signal};
    ///
    /// let pool = BufferPool::new(1024)?;
    /// let mut out = Appender::<u64, u64>::new(pool.take());
    /// out.signal(Signal::Active)?;
    /// assert!(!out.swap(pool.take()).is_empty() && out.finish().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len_bytes() == 0
    }

    /// The types its entries were written as, or `None` if nobody wrote.
    #[inline]
    pub(crate) fn tag(&self) -> Option<TypeId> {
        self.contents().tag
    }

    /// The first byte; `len_bytes()` from there may be read.
    #[inline]
    pub(crate) fn data(&self) -> NonNull<u8> {
        data(self.0)
    }

    #[inline]
    fn contents(&self) -> Contents {
        // SAFETY: only a `BufferMut` writes the contents, and there is none while we live.
        self.header().contents.with(|contents| unsafe { *contents })
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: our reference keeps the header alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Buffer {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed, as in `Arc`: the reference we have already orders what the new one sees. The count cannot
        // overflow: a reference is 8 bytes, and forgetting 2^64 of them takes a lifetime.
        self.header().refs.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        let header = self.header();
        // Alone, we cannot be joined: nobody else has a reference to clone. That saves the usual case one of its two
        // read-modify-writes. Acquire, here and below, puts all that others did with the buffer before its reuse; an
        // Acquire load rather than a fence, because ThreadSanitizer does not see fences.
        if header.refs.load(Ordering::Acquire) != 1 {
            if header.refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            header.refs.load(Ordering::Acquire);
        }
        // SAFETY: the count says that ours was the only reference.
        unsafe { header.home.take_back(self.0) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len_bytes", &self.len_bytes()).finish_non_exhaustive()
    }
}

#[inline]
fn data(buffer: NonNull<Header>) -> NonNull<u8> {
    // SAFETY: the bytes follow the header in the same allocation.
    unsafe { buffer.cast::<u8>().add(HEADER_BYTES) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn refuses_odd_sizes() {
        for bytes in [0, 16, 1000, 1025, 1032, 64 * 1024 * 1024 + 16, usize::MAX] {
            assert_eq!(BufferPool::new(bytes).unwrap_err(), Error::BufferBytes { bytes });
        }
        for bytes in [1024, 1040, BUFFER_BYTES_DEFAULT, 64 * 1024 * 1024] {
            assert_eq!(BufferPool::new(bytes).unwrap().buffer_bytes(), bytes);
        }
    }

    #[test]
    fn a_header_is_a_cache_line() {
        assert_eq!(HEADER_BYTES, 64);
        let buffer = BufferPool::new(1024).unwrap().take();
        assert_eq!(buffer.data().addr().get() % 64, 0);
    }

    #[test]
    fn takes_the_freed_ones_first() {
        let pool = BufferPool::new(1024).unwrap();
        let taken: Vec<_> = (0..3).map(|_| pool.take()).collect();
        let mut addresses: Vec<_> = taken.iter().map(BufferMut::data).collect();
        assert_eq!((pool.allocated(), pool.free(), pool.memory_bytes()), (3, 0, 3 * 1024));
        drop(taken); // The last one given back is the warmest.
        addresses.reverse();
        let again: Vec<_> = (0..3).map(|_| pool.take()).collect();
        assert_eq!(again.iter().map(BufferMut::data).collect::<Vec<_>>(), addresses);
        assert_eq!((pool.allocated(), pool.free()), (3, 0));
    }

    #[test]
    fn counts_both_lists() {
        let pool = BufferPool::new(1024).unwrap();
        drop([pool.take(), pool.take(), pool.take()]); // All on the return stack …
        assert_eq!(pool.free(), 3);
        let one = pool.take(); // … two on the free list …
        assert_eq!(pool.free(), 2);
        drop(one); // … and one on the stack again.
        assert_eq!((pool.free(), pool.allocated()), (3, 3));
    }

    #[test]
    fn frees_the_oversized() {
        let pool = BufferPool::new(1024).unwrap();
        let (small, large) = (pool.take_at_least(1024), pool.take_at_least(1025));
        assert_eq!((small.capacity_bytes(), large.capacity_bytes()), (1024, 1040));
        assert_eq!((pool.allocated(), pool.memory_bytes()), (1, 2064));
        let shared = large.freeze();
        let again = shared.clone();
        drop(shared);
        assert_eq!(pool.memory_bytes(), 2064);
        drop(again);
        assert_eq!((pool.free(), pool.memory_bytes()), (0, 1024));
    }

    #[test]
    fn buffers_outlive_their_pool() {
        let pool = BufferPool::new(1024).unwrap();
        let (free, mutable, shared, large) =
            (pool.take(), pool.take(), pool.take(), pool.take_at_least(2000));
        drop(free);
        let shared = shared.freeze();
        drop(pool);
        drop(shared.clone());
        assert!(shared.bytes().is_empty());
        drop((mutable, shared, large)); // The sanitizers see that each is freed, once.
    }

    #[test]
    fn buffers_come_home_from_other_threads() {
        // Goal: nothing is lost or doubled. Method: threads give back what one core takes, all at once.
        let pool = BufferPool::new(1024).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let buffers: Vec<_> = (0..200).map(|_| pool.take().freeze()).collect();
                let clones = buffers.clone();
                scope.spawn(move || drop(buffers));
                scope.spawn(move || drop(clones));
            }
            for _ in 0..1000 {
                drop(pool.take());
            }
        });
        assert_eq!(pool.free(), pool.allocated());
        assert!(pool.allocated() <= 601);
    }
}
