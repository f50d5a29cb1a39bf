//! Records as rkyv archives, written where they will be read.
//!
//! ```text
//!   payload:  │ out-of-line bytes … │ 0…0 │ key root │ 0…0 │ value root │ 0…0 │
//!             24                          └──── Roots::BYTES, a constant ─────┘ len
//! ```
//!
//! Invariants:
//! - positions that rkyv sees are offsets in the buffer, whose memory is as aligned as any archive: rkyv's alignment of
//!   positions is one of addresses;
//! - the roots stand at a constant distance from the entry's end, so that a reader finds them without a length field;
//! - padding is zeroed: equal records give equal bytes;
//! - a record's pointers stay inside its entry, so an entry can be copied as bytes, alignment kept.
//!
//! What is trusted: the `Archive` and `Serialize` implementations of the record types. Derived ones, and rkyv's own, keep
//! rkyv's contract; one written by hand must, because archives are not validated inside a process.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    error::Error,
    fmt,
    marker::PhantomData,
    mem::{MaybeUninit, offset_of},
    ptr::{self, NonNull},
};

use rkyv::{
    Archive, Place, Serialize,
    rancor::{Source, Strategy, Trace},
    ser::{Allocator, Positional, Writer},
};

use crate::{
    BufferMut,
    buffer::BUFFER_ALIGN,
    entry::{ENTRY_ALIGN, ENTRY_HEADER_BYTES, EntryHeader, end_within},
};

/// A type that can cross an exchange: anything that derives rkyv's `Archive` and `Serialize`.
///
/// Implemented for all that qualifies: integers, `String`, `Vec`, `Option`, tuples, structs of these. Shared pointers do
/// not; nor does, at compile time, an archived form aligned to more than 16 bytes at its root.
///
/// ```
/// use rkyv::{Archive, Serialize};
///
/// #[derive(Archive, Serialize)]
/// struct Bid {
///     auction: u64,
///     channel: Option<String>,
///     tags: Vec<(u32, String)>,
/// }
///
/// fn crosses<T: thalweg_net::Exchange>() {}
/// crosses::<Bid>();
/// ```
pub trait Exchange:
    Archive<Archived: Send + Sync> + Serialize<Strategy<EntryWriter, AppendError>> + Send + 'static
{
}

impl<T> Exchange for T where
    T: Archive<Archived: Send + Sync> + Serialize<Strategy<EntryWriter, AppendError>> + Send + 'static
{
}

/// The buffer has no room for the entry. It is as it was before the call.
///
/// ```
/// use thalweg_net::{Appender, BufferPool, Full, Signal};
///
/// let mut out = Appender::<(), ()>::new(BufferPool::new(1024)?.take());
/// while out.signal(Signal::Idle).is_ok() {}
/// assert_eq!(out.signal(Signal::Idle), Err(Full));
/// assert_eq!(out.len_bytes(), 1024 / 24 * 24);
/// # Ok::<(), thalweg_net::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the buffer has no room for the entry")]
pub struct Full;

/// Why a record was not appended. Either way the buffer is as it was before the call.
///
/// ```
/// use thalweg_net::{AppendError, Appender, BufferPool};
///
/// let mut out = Appender::<(), Vec<u8>>::new(BufferPool::new(1024)?.take());
/// assert!(matches!(out.append(0, 0, &(), &vec![1; 2000]), Err(AppendError::Full)));
/// assert!(out.is_empty());
/// # Ok::<(), thalweg_net::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No room: go on with the next buffer, or, when this one is empty, with a larger one.
    #[error("the buffer has no room for the entry")]
    Full,
    /// The record cannot be serialised, in whichever buffer.
    #[error("the record cannot be serialised")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl From<Full> for AppendError {
    #[inline]
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl Source for AppendError {
    #[cold]
    fn new<E: Error + Send + Sync + 'static>(source: E) -> Self {
        Self::Failed(Box::new(source))
    }
}

impl Trace for AppendError {
    #[cold]
    fn trace<R: fmt::Debug + fmt::Display + Send + Sync + 'static>(self, trace: R) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::Failed(source) => Self::Failed(Box::new(Traced { trace: trace.to_string(), source })),
        }
    }
}

/// A serialisation error and where in the record it happened.
#[derive(Debug, thiserror::Error)]
#[error("{trace}")]
struct Traced {
    trace: String,
    source: Box<dyn Error + Send + Sync>,
}

/// The serializer that records are written with: a buffer and a place in it. Only an [`Appender`](crate::Appender) makes one; it
/// is public because [`Exchange`] names it.
pub struct EntryWriter {
    buffer: BufferMut,
    /// The room in `buffer`.
    capacity: usize,
    /// Where the next byte goes. While an entry is begun it may be past `capacity`, but then nothing was written there.
    at: usize,
    scratch: Scratch,
}

/// Where the roots of key and value are, counted from the end of their entry.
pub(crate) struct Roots<K, T>(PhantomData<(K, T)>);

#[repr(C)]
struct Pair<A, B> {
    key: A,
    value: B,
}

impl<K: Exchange, T: Exchange> Roots<K, T> {
    /// The alignment of the first root and of the entry's end, in bytes.
    pub(crate) const ALIGN: usize = {
        let align = align_of::<Pair<K::Archived, T::Archived>>();
        assert!(align <= BUFFER_ALIGN, "no archived type may be aligned to more than a buffer is");
        if align > ENTRY_ALIGN { align } else { ENTRY_ALIGN }
    };

    /// The distance from the first root to the entry's end, in bytes: a multiple of `ALIGN`.
    pub(crate) const BYTES: usize = size_of::<Pair<K::Archived, T::Archived>>().next_multiple_of(Self::ALIGN);

    /// The distance from the key's root to the value's, in bytes.
    pub(crate) const TO_VALUE: usize = offset_of!(Pair<K::Archived, T::Archived>, value);

    /// The length of an entry with nothing out of line, in bytes.
    pub(crate) const ENTRY_BYTES: usize = ENTRY_HEADER_BYTES + Self::BYTES;

    /// Whether entries have that length, all of them: a resolver without a size knows of no place out of line.
    /// No more than a hint, as a hand-written `Serialize` may say otherwise.
    pub(crate) const UNIFORM: bool =
        size_of::<K::Resolver>() == 0 && size_of::<T::Resolver>() == 0 && Self::ALIGN == ENTRY_ALIGN;

    /// Whether the roots are copies of the values without a byte of padding among them.
    const SOLID: bool =
        copies::<K>() && copies::<T>() && size_of::<K::Archived>() + size_of::<T::Archived>() == Self::BYTES;
}

/// Whether a `T` is archived by copying it, as rkyv itself does for slices of them.
const fn copies<T: Archive>() -> bool {
    T::COPY_OPTIMIZATION.is_enabled() && size_of::<T>() == size_of::<T::Archived>()
}

impl EntryWriter {
    #[inline]
    pub(crate) fn new(buffer: BufferMut) -> Self {
        Self { capacity: buffer.capacity_bytes(), buffer, at: 0, scratch: Scratch::default() }
    }

    /// Goes on with another buffer, and gives back the one before.
    pub(crate) fn replace(&mut self, buffer: BufferMut) -> BufferMut {
        self.capacity = buffer.capacity_bytes();
        self.scratch.clear(); // A serialisation that panicked may have left something.
        std::mem::replace(&mut self.buffer, buffer)
    }

    pub(crate) fn into_buffer(self) -> BufferMut {
        self.buffer
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes a record at `start`, and returns where its entry ends.
    ///
    /// On failure bytes past `start` may have been written, all of them initialised.
    #[inline]
    pub(crate) fn record<K: Exchange, T: Exchange>(
        &mut self,
        start: usize,
        timestamp: i64,
        key_hash: u64,
        key: &K,
        value: &T,
    ) -> Result<usize, AppendError> {
        // Tells the compiler too: where nothing is out of line, the place of the roots is then a constant.
        assert!(start.is_multiple_of(ENTRY_ALIGN), "entries begin at multiples of 8");
        self.at = start + ENTRY_HEADER_BYTES;
        let (key_resolver, value_resolver) = match self.out_of_line(key, value) {
            Ok(resolvers) => resolvers,
            Err(error) => return Err(self.fail(error)),
        };
        let roots = self.at.next_multiple_of(Roots::<K, T>::ALIGN);
        // The one check of room for all that is not out of line, the header included.
        let end = end_within(roots, Roots::<K, T>::BYTES, self.capacity)?;
        let data = self.buffer.data();
        // SAFETY: header and roots are within the buffer, as `end` is. They are aligned: `start` to 8 and the roots to
        // `ALIGN`, in memory aligned to 16. All bytes written are initialised: the header has no padding, a root is
        // first zeroed unless it is a copy of a type that has none.
        unsafe {
            if !Roots::<K, T>::SOLID {
                let padding = data.add(self.at);
                if Roots::<K, T>::BYTES >= ENTRY_ALIGN && Roots::<K, T>::ALIGN == ENTRY_ALIGN {
                    // A store instead of a loop; what it writes past the padding is root, and zeroed anyway.
                    padding.cast::<[u8; ENTRY_ALIGN]>().write([0; ENTRY_ALIGN]);
                } else {
                    padding.write_bytes(0, roots - self.at);
                }
                data.add(roots).write_bytes(0, Roots::<K, T>::BYTES);
            }
            emplace(key, key_resolver, roots, data.add(roots));
            let value_at = roots + Roots::<K, T>::TO_VALUE;
            emplace(value, value_resolver, value_at, data.add(value_at));
            data.add(start).cast().write(EntryHeader::record(end - start, timestamp, key_hash));
        }
        Ok(end)
    }

    #[inline]
    fn out_of_line<K: Exchange, T: Exchange>(
        &mut self,
        key: &K,
        value: &T,
    ) -> Result<(K::Resolver, T::Resolver), AppendError> {
        let key = key.serialize(Strategy::wrap(self))?;
        Ok((key, value.serialize(Strategy::wrap(self))?))
    }

    #[cold]
    fn fail(&mut self, error: AppendError) -> AppendError {
        self.scratch.clear();
        error
    }

    /// Writes `bytes` at `start`, and returns where they end.
    #[inline]
    pub(crate) fn bytes(&mut self, start: usize, bytes: &[u8]) -> Result<usize, Full> {
        let end = end_within(start, bytes.len(), self.capacity)?;
        // SAFETY: `start..end` is within the buffer, which nobody else has; `bytes` is therefore elsewhere.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.buffer.data().add(start).as_ptr(), bytes.len())
        };
        Ok(end)
    }

    /// Writes a header at `start`, a multiple of 8, and returns where it ends.
    #[inline]
    pub(crate) fn header(&mut self, start: usize, header: EntryHeader) -> Result<usize, Full> {
        debug_assert!(start.is_multiple_of(ENTRY_ALIGN));
        let end = end_within(start, ENTRY_HEADER_BYTES, self.capacity)?;
        // SAFETY: `start..end` is within the buffer and aligned to 8, and a header has no padding.
        unsafe { self.buffer.data().add(start).cast().write(header) };
        Ok(end)
    }
}

/// Writes the archived form of `value` to `out`, which is at `position` in the buffer.
///
/// # Safety
///
/// `out` is aligned for a `T::Archived`, its bytes are initialised and may be written; `resolver` is what serialising
/// `value` gave.
#[inline(always)]
unsafe fn emplace<T: Archive>(value: &T, resolver: T::Resolver, position: usize, out: NonNull<u8>) {
    if copies::<T>() {
        let bytes = ptr::from_ref(value).cast::<u8>();
        // SAFETY: the type attests that a copy is its archived form, and that it has no padding.
        unsafe { ptr::copy_nonoverlapping(bytes, out.as_ptr(), size_of::<T>()) };
    } else {
        // SAFETY: the caller's.
        let place = unsafe { Place::new_unchecked(position, out.as_ptr().cast::<T::Archived>()) };
        value.resolve(resolver, place);
    }
}

impl Positional for EntryWriter {
    #[inline]
    fn pos(&self) -> usize {
        self.at
    }
}

impl Writer<AppendError> for EntryWriter {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        self.at = self.bytes(self.at, bytes)?;
        Ok(())
    }
}

// SAFETY: memory comes from `Scratch::push`, whose contract is the one asked for.
unsafe impl Allocator<AppendError> for EntryWriter {
    #[inline]
    unsafe fn push_alloc(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AppendError> {
        // SAFETY: the caller's: the size is not zero.
        Ok(NonNull::slice_from_raw_parts(unsafe { self.scratch.push(layout) }, layout.size()))
    }

    #[inline]
    unsafe fn pop_alloc(&mut self, memory: NonNull<u8>, layout: Layout) -> Result<(), AppendError> {
        // SAFETY: the caller's: this is the last allocation not yet popped, and had this layout.
        unsafe { self.scratch.pop(memory, layout) };
        Ok(())
    }
}

impl fmt::Debug for EntryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryWriter").field("at", &self.at).finish_non_exhaustive()
    }
}

/// How much scratch a record may use before more is asked of the heap, in bytes.
const SCRATCH_BYTES: usize = 4096;

/// Where rkyv keeps the resolvers of a `Vec`'s elements while it writes them: a stack.
///
/// A block allocated at the first use, then the heap. What a failed serialisation leaves on it, `clear` takes off.
#[derive(Default)]
struct Scratch {
    /// Used by its capacity only; a `Vec` because its pointer stays valid while it moves.
    block: Vec<MaybeUninit<u128>>,
    used: usize,
    spilled: Vec<(NonNull<u8>, Layout)>,
}

// SAFETY: the spilled blocks are owned, raw memory.
unsafe impl Send for Scratch {}

impl Scratch {
    /// # Safety
    ///
    /// The layout's size is not zero.
    unsafe fn push(&mut self, layout: Layout) -> NonNull<u8> {
        if self.block.capacity() == 0 {
            self.block.reserve_exact(SCRATCH_BYTES / size_of::<u128>());
        }
        let block = self.block.as_mut_ptr().cast::<u8>();
        let start = (block.addr() + self.used).next_multiple_of(layout.align()) - block.addr();
        if start.saturating_add(layout.size()) <= SCRATCH_BYTES {
            self.used = start + layout.size();
            // SAFETY: within the block, whose address is not null.
            return unsafe { NonNull::new_unchecked(block.add(start)) };
        }
        // SAFETY: the caller's.
        let Some(memory) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        self.spilled.push((memory, layout));
        memory
    }

    /// # Safety
    ///
    /// `memory` is what `push` gave for `layout`, and all that was pushed after it was popped.
    unsafe fn pop(&mut self, memory: NonNull<u8>, layout: Layout) {
        if let Some(&(spilled, _)) = self.spilled.last()
            && spilled == memory
        {
            self.spilled.pop();
            // SAFETY: it came from `alloc` with this layout, and is off the list.
            return unsafe { dealloc(memory.as_ptr(), layout) };
        }
        self.used = memory.as_ptr().addr() - self.block.as_ptr().addr();
    }

    fn clear(&mut self) {
        self.used = 0;
        for (memory, layout) in self.spilled.drain(..) {
            // SAFETY: it came from `alloc` with this layout, was not popped, and its user is gone.
            unsafe { dealloc(memory.as_ptr(), layout) };
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.clear();
    }
}
