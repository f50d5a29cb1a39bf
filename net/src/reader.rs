//! Reading entries from a buffer, in place.
//!
//! Invariants:
//! - the buffer was written by an [`Appender`](crate::Appender) of the same `(K, T)`: `open` checks its tag;
//! - both cursors are at an entry's start or at the end; the one that looks ahead is never behind the other when it is used.
//!
//! # Decisions
//! - *Records of one length are announced one by one*, at a distance that needs no walk: a record costs 15 instructions less than
//!   with a second pass over the headers. Where a signal is in between, a few announcements are of something else; they are hints.

use std::{
    any::{TypeId, type_name},
    marker::PhantomData,
    ptr::NonNull,
};

use crate::{
    Buffer, Exchange, Signal,
    archive::Roots,
    entry::{EntryHeader, EntryKind, GAP, GAP_BYTES},
};

/// A buffer was opened as other types than it was written as: a bug in the wiring of the graph.
///
/// ```
/// use thalweg_net::{Appender, BufferPool, Reader};
///
/// let out = Appender::<u32, u32>::new(BufferPool::new(1024)?.take());
/// assert!(Reader::<u32, String>::open(out.finish()).is_err());
/// # Ok::<(), thalweg_net::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the buffer was not written as {expected}")]
pub struct WrongType {
    expected: &'static str,
}

/// What a reader comes upon.
///
/// ```
/// use thalweg_net::{Item, Signal};
///
/// fn watermark(item: Item<'_, u64, String>) -> Option<i64> {
///     match item {
///         Item::Signal(Signal::Watermark(timestamp)) => Some(timestamp),
///         _ => None,
///     }
/// }
/// assert_eq!(watermark(Item::Signal(Signal::Watermark(3))), Some(3));
/// ```
pub enum Item<'a, K: Exchange, T: Exchange> {
    /// A record.
    Record {
        /// Its event time, in ms.
        timestamp: i64,
        /// The hash of its key.
        key_hash: u64,
        /// Its key, in the buffer.
        key: &'a K::Archived,
        /// The record itself, in the buffer.
        value: &'a T::Archived,
    },
    /// Anything else.
    Signal(Signal),
}

/// What a reader comes upon when it does not look into records: see [`Reader::next_raw`].
pub enum RawItem<'a, K, T> {
    /// A record.
    Record(RawRecord<'a, K, T>),
    /// Anything else.
    Signal(Signal),
}

/// What ended a run of records: see [`Reader::records`].
///
/// ```
/// assert_ne!(thalweg_net::Run::NoRecord, thalweg_net::Run::Refused);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The last record was taken, and no further one shall come.
    Refused,
    /// The next entry is no record, or there is none.
    NoRecord,
}

/// A record in its buffer, to be forwarded as bytes by [`Appender::append_raw`](crate::Appender::append_raw).
///
/// ```
/// use thalweg_net::{Appender, BufferPool, RawItem, Reader};
///
/// let mut out = Appender::<u32, u16>::new(BufferPool::new(1024)?.take());
/// out.append(5, 6, &7, &8)?;
/// let mut input = Reader::<u32, u16>::open(out.finish())?;
/// let Some(RawItem::Record(record)) = input.next_raw() else { unreachable!() };
/// assert_eq!((record.timestamp(), record.key_hash()), (5, 6));
/// assert_eq!((record.key().to_native(), record.value().to_native()), (7, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RawRecord<'a, K, T> {
    /// Header and payload. Read through a pointer to the whole, since archived pointers leave their roots.
    entry: &'a [u8],
    types: PhantomData<fn() -> (K, T)>,
}

impl<K, T> Clone for RawRecord<'_, K, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, T> Copy for RawRecord<'_, K, T> {}

impl<'a, K: Exchange, T: Exchange> RawRecord<'a, K, T> {
    /// Its event time, in ms, as it was appended. See [`RawRecord`] for an example of all four.
    #[inline]
    pub fn timestamp(&self) -> i64 {
        self.header().timestamp
    }

    /// The hash of its key, as it was appended.
    #[inline]
    pub fn key_hash(&self) -> u64 {
        self.header().key_hash
    }

    /// Its key, in the buffer. Nothing is copied.
    #[inline]
    pub fn key(&self) -> &'a K::Archived {
        // SAFETY: `roots` points to the roots of a record of these types, which lives for `'a`.
        unsafe { self.roots().cast().as_ref() }
    }

    /// The record itself, in the buffer. Nothing is copied.
    #[inline]
    pub fn value(&self) -> &'a T::Archived {
        // SAFETY: as in `key`; the value's root stands at this distance.
        unsafe { self.roots().add(Roots::<K, T>::TO_VALUE).cast().as_ref() }
    }

    /// Header and payload.
    #[inline]
    pub(crate) fn entry(&self) -> &'a [u8] {
        self.entry
    }

    #[inline]
    fn header(&self) -> &'a EntryHeader {
        // SAFETY: every entry starts with a header, aligned as it must be.
        unsafe { &*self.entry.as_ptr().cast() }
    }

    /// The first root.
    #[inline]
    fn roots(&self) -> NonNull<u8> {
        let entry = NonNull::from(self.entry).cast::<u8>();
        // SAFETY: an entry of these types ends with the roots, so has so many bytes at least.
        unsafe { entry.add(self.entry.len() - Roots::<K, T>::BYTES) }
    }
}

/// Walks a buffer's entries, and can stop anywhere and go on later.
///
/// Cost: a header's two loads per entry; nothing is copied or validated.
///
/// ```
/// use thalweg_net::{Appender, BufferPool, Item, Reader};
///
/// let mut out = Appender::<u32, u32>::new(BufferPool::new(1024)?.take());
/// for i in 0..10 {
///     out.append(i64::from(i), u64::from(i), &i, &(i * i))?;
/// }
/// let mut input = Reader::<u32, u32>::open(out.finish())?;
/// let mut sum = 0;
/// loop {
///     input.ahead(1, |key_hash, _| { /* Prefetch the key's state. */ let _ = key_hash; });
///     let Some(Item::Record { value, .. }) = input.next() else { break };
///     sum += value.to_native();
/// }
/// assert_eq!(sum, 285);
/// assert!(input.is_done());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reader<K, T> {
    buffer: Buffer,
    at: usize,
    ahead: usize,
    end: usize,
    types: PhantomData<fn() -> (K, T)>,
}

impl<K: Exchange, T: Exchange> Reader<K, T> {
    /// Begins at the first entry.
    ///
    /// # Errors
    ///
    /// [`WrongType`] unless an `Appender<K, T>` filled the buffer.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Reader};
    ///
    /// let mut out = Appender::<u32, u32>::new(BufferPool::new(1024)?.take());
    /// out.append(0, 0, &1, &2)?;
    /// let buffer = out.finish();
    /// assert!(Reader::<u32, i32>::open(buffer.clone()).is_err());
    /// assert!(Reader::<u32, u32>::open(buffer).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn open(buffer: Buffer) -> Result<Self, WrongType> {
        if buffer.tag() != Some(TypeId::of::<(K, T)>()) {
            return Err(WrongType { expected: type_name::<(K, T)>() });
        }
        Ok(Self { at: 0, ahead: 0, end: buffer.len_bytes(), buffer, types: PhantomData })
    }

    /// The next entry, or `None` at the end.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Item, Reader, Signal};
    ///
    /// let mut out = Appender::<u32, String>::new(BufferPool::new(1024)?.take());
    /// out.append(5, 0, &1, &"to".into())?;
    /// out.signal(Signal::Watermark(4))?;
    /// let mut input = Reader::<u32, String>::open(out.finish())?;
    /// assert!(matches!(input.next(), Some(Item::Record { timestamp: 5, value, .. }) if value == "to"));
    /// assert!(matches!(input.next(), Some(Item::Signal(Signal::Watermark(4)))));
    /// assert!(input.next().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    // Not an iterator: the items borrow from the reader.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend from itself")]
    #[inline]
    pub fn next(&mut self) -> Option<Item<'_, K, T>> {
        Some(match self.next_raw()? {
            RawItem::Record(record) => Item::Record {
                timestamp: record.timestamp(),
                key_hash: record.key_hash(),
                key: record.key(),
                value: record.value(),
            },
            RawItem::Signal(signal) => Item::Signal(signal),
        })
    }

    /// Gives records to `take`, as long as it says that it takes more. Returns what ended that.
    ///
    /// As [`next`](Self::next) for each, and faster: where the reader is stays in a register. Should `take` panic, it is where
    /// it was.
    ///
    /// If `announces`, what the records need can be fetched ahead: `announce` is called with key hashes and timestamps, about
    /// `AHEAD` records before `take`. Those are hints: a few may be missing, or of no record at all. The first `AHEAD` records
    /// of a buffer are announced by [`ahead`](Self::ahead). `state` is lent to the one and the other.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Item, Reader, Run, Signal};
    ///
    /// let mut out = Appender::<u32, u32>::new(BufferPool::new(1024)?.take());
    /// for i in 0..3 {
    ///     out.append(0, u64::from(i), &i, &i)?;
    /// }
    /// out.signal(Signal::End)?;
    /// let mut input = Reader::<u32, u32>::open(out.finish())?;
    /// let announced = std::cell::RefCell::new(Vec::new());
    /// let announce = |_: &Vec<u32>, key_hash, _| announced.borrow_mut().push(key_hash);
    /// input.ahead(1, |key_hash, _| announced.borrow_mut().push(key_hash));
    /// let mut taken = Vec::new();
    /// let run = input.records::<1, _>(true, &mut taken, announce, |taken, record| {
    ///     taken.push(record.value().to_native());
    ///     taken.len() < 2
    /// });
    /// assert_eq!((run, taken, announced.take()), (Run::Refused, vec![0, 1], vec![0, 1, 2]));
    /// assert_eq!(input.records::<1, _>(false, &mut (), |(), _, _| {}, |(), _| true), Run::NoRecord);
    /// assert!(matches!(input.next(), Some(Item::Signal(Signal::End))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn records<const AHEAD: usize, S>(
        &mut self,
        announces: bool,
        state: &mut S,
        announce: impl Fn(&S, u64, i64),
        mut take: impl FnMut(&mut S, RawRecord<'_, K, T>) -> bool,
    ) -> Run {
        let distance = AHEAD * Roots::<K, T>::ENTRY_BYTES;
        let one_by_one = announces && Roots::<K, T>::UNIFORM;
        // From here on no header is at that distance; without announcements, from the start.
        let announced =
            if one_by_one { self.end.saturating_sub(distance + size_of::<EntryHeader>() - 1) } else { 0 };
        let mut in_group = 0;
        let mut at = self.at;
        let run = loop {
            if at == self.end {
                break Run::NoRecord;
            }
            // SAFETY: an entry starts here.
            let len = match unsafe { self.first_word(at) } {
                word if Roots::<K, T>::UNIFORM && word == Roots::<K, T>::ENTRY_BYTES as u64 => {
                    Roots::<K, T>::ENTRY_BYTES // A constant: the next entry need not wait for this one's header.
                }
                word if word >> 32 == EntryKind::Record as u64 => word as usize,
                GAP => {
                    at += GAP_BYTES;
                    continue;
                }
                _ => break Run::NoRecord,
            };
            if at < announced {
                // SAFETY: this and a header after it are before the end, and aligned, as all entries' lengths are.
                let header = unsafe { self.header_at(at + distance) };
                announce(state, header.key_hash, header.timestamp);
            }
            if announces && !Roots::<K, T>::UNIFORM {
                // In groups, one group ahead.
                if in_group == 0 {
                    self.at = at;
                    self.ahead(AHEAD, |key_hash, timestamp| announce(state, key_hash, timestamp));
                }
                in_group = (in_group + 1) % AHEAD;
            }
            let start = at;
            at += len;
            if !take(state, self.record(start, len)) {
                break Run::Refused;
            }
        };
        self.at = at;
        run
    }

    /// The next entry, a record as a handle that can be copied elsewhere, or `None` at the end.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, RawItem, Reader, Signal};
    ///
    /// let mut out = Appender::<u32, u32>::new(BufferPool::new(1024)?.take());
    /// out.append(5, 77, &1, &2)?;
    /// out.signal(Signal::End)?;
    /// let mut input = Reader::<u32, u32>::open(out.finish())?;
    /// assert!(matches!(input.next_raw(), Some(RawItem::Record(record)) if record.key_hash() == 77));
    /// assert!(matches!(input.next_raw(), Some(RawItem::Signal(Signal::End))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn next_raw(&mut self) -> Option<RawItem<'_, K, T>> {
        loop {
            let header = self.header(self.at)?;
            let start = self.at;
            self.at += header.len as usize;
            if header.kind == EntryKind::Record as u8 {
                return Some(RawItem::Record(self.record(start, header.len as usize)));
            }
            if let Some(signal) = Self::signal(header) {
                return Some(RawItem::Signal(signal));
            }
        }
    }

    /// What an entry says that is not a record; nothing, if it is a gap. Apart, so that the loop over records stays small.
    #[cold]
    #[inline(never)]
    fn signal(header: EntryHeader) -> Option<Signal> {
        let signal = header.signal();
        debug_assert!(
            signal.is_some() || header.kind == EntryKind::Gap as u8,
            "an appender writes no other kind"
        );
        signal
    }

    /// Looks at up to `records` further records beyond those looked at before, and calls `f` with each one's key hash and
    /// timestamp. Returns how many there were.
    ///
    /// The place looked at is never before the place read. Meant for fetching ahead what the records will need: first
    /// with the distance, then with 1 for each record read.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Reader};
    ///
    /// let mut out = Appender::<u64, u64>::new(BufferPool::new(1024)?.take());
    /// for n in 0..5 {
    ///     out.append(0, 10 * n, &n, &n)?;
    /// }
    /// let mut input = Reader::<u64, u64>::open(out.finish())?;
    /// let mut hashes = Vec::new();
    /// assert_eq!(input.ahead(3, |key_hash, _| hashes.push(key_hash)), 3);
    /// assert_eq!(input.ahead(9, |key_hash, _| hashes.push(key_hash)), 2);
    /// assert_eq!(hashes, [0, 10, 20, 30, 40]);
    /// assert!(input.next().is_some()); // Still the first.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn ahead(&mut self, records: usize, mut f: impl FnMut(u64, i64)) -> usize {
        let mut at = self.ahead.max(self.at);
        let mut seen = 0;
        while seen < records
            && let Some(header) = self.header(at)
        {
            at += header.len as usize;
            if header.kind == EntryKind::Record as u8 {
                f(header.key_hash, header.timestamp);
                seen += 1;
            }
        }
        self.ahead = at;
        seen
    }

    /// Whether all entries were read.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Reader, Signal};
    ///
    /// let mut out = Appender::<(), ()>::new(BufferPool::new(1024)?.take());
    /// out.signal(Signal::End)?;
    /// let mut input = Reader::<(), ()>::open(out.finish())?;
    /// assert!(!input.is_done());
    /// input.next();
    /// assert!(input.is_done());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn is_done(&self) -> bool {
        self.at == self.end
    }

    /// The number of bytes not read yet.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Reader, Signal};
    ///
    /// let mut out = Appender::<(), ()>::new(BufferPool::new(1024)?.take());
    /// out.signal(Signal::Idle)?;
    /// out.signal(Signal::Active)?;
    /// let mut input = Reader::<(), ()>::open(out.finish())?;
    /// input.next();
    /// assert_eq!(input.remaining_bytes(), 24);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn remaining_bytes(&self) -> usize {
        self.end - self.at
    }

    /// Gives the buffer back, read or not.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Reader};
    ///
    /// let mut out = Appender::<u32, u32>::new(BufferPool::new(1024)?.take());
    /// out.append(0, 0, &1, &2)?;
    /// let mut input = Reader::<u32, u32>::open(out.finish())?;
    /// input.next();
    /// let again = Reader::<u32, u32>::open(input.into_buffer())?;
    /// assert!(!again.is_done()); // From the start.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// The record at `at`, whose entry has `len` bytes.
    #[inline(always)]
    fn record(&self, at: usize, len: usize) -> RawRecord<'_, K, T> {
        // SAFETY: the entry is `len` bytes of the buffer, which we keep alive and nobody writes.
        let entry = unsafe { NonNull::slice_from_raw_parts(self.buffer.data().add(at), len).as_ref() };
        RawRecord { entry, types: PhantomData }
    }

    /// The header at `at`, or `None` at the end.
    #[inline(always)]
    fn header(&self, at: usize) -> Option<EntryHeader> {
        if at == self.end {
            return None;
        }
        // SAFETY: an entry starts here, and has a header's bytes, aligned to 8. (A gap has fewer, but is never the last
        // entry, so that there are enough to look at.)
        Some(unsafe { self.header_at(at) })
    }

    /// What stands at `at`, read as a header.
    ///
    /// # Safety
    /// `at` is a multiple of 8, and a header's bytes from there on are before the end.
    #[inline(always)]
    unsafe fn header_at(&self, at: usize) -> EntryHeader {
        debug_assert!(at + size_of::<EntryHeader>() <= self.end);
        // SAFETY: the caller's; all bytes before the end are initialised.
        unsafe { self.buffer.data().add(at).cast::<EntryHeader>().read() }
    }

    /// The first word of the entry at `at`: length, kind and zeros.
    ///
    /// # Safety
    /// An entry starts there.
    #[inline(always)]
    unsafe fn first_word(&self, at: usize) -> u64 {
        // SAFETY: the caller's; an entry is aligned to 8, and has 8 bytes at least.
        unsafe { self.buffer.data().add(at).cast::<u64>().read() }
    }
}
