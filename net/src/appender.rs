//! Writing entries into a buffer.
//!
//! Invariants:
//! - the first `len` bytes are whole entries, written as `(K, T)`; what is past them does not count;
//! - a failed call, even one that panics in a user's code, changes nothing: `len` moves last.

use std::{any::TypeId, marker::PhantomData};

use crate::{
    AppendError, Buffer, BufferMut, Exchange, Full, RawRecord, Signal,
    archive::{EntryWriter, Roots},
    buffer::BUFFER_ALIGN,
    entry::{ENTRY_HEADER_BYTES, EntryHeader, GAP, GAP_BYTES, end_within},
};

/// Fills buffers with records keyed by `K`, and the signals among them.
///
/// Cost: a few stores for records of integers; nothing is allocated, and the value is written once, where it is read.
///
/// ```
/// use thalweg_net::{Appender, BufferPool, Item, Reader};
///
/// let pool = BufferPool::new(1024)?;
/// let mut out = Appender::<u64, String>::new(pool.take());
/// out.append(1_000, 0xfeed, &7, &"a word too long to be inlined".to_owned())?;
///
/// let mut input = Reader::<u64, String>::open(out.swap(pool.take()))?;
/// let Some(Item::Record { timestamp, key_hash, key, value }) = input.next() else { unreachable!() };
/// assert_eq!((timestamp, key_hash, key.to_native()), (1_000, 0xfeed, 7));
/// assert_eq!(value, "a word too long to be inlined");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Appender<K, T> {
    writer: EntryWriter,
    len: usize,
    types: PhantomData<fn(K, T)>,
}

impl<K: Exchange, T: Exchange> Appender<K, T> {
    /// Begins with an empty buffer.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool};
    ///
    /// let out = Appender::<u64, String>::new(BufferPool::new(1024)?.take());
    /// assert!(out.is_empty());
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    pub fn new(buffer: BufferMut) -> Self {
        Self { writer: EntryWriter::new(buffer), len: 0, types: PhantomData }
    }

    /// Appends a record with its event time (ms) and the hash of its key.
    ///
    /// # Errors
    ///
    /// [`AppendError::Full`] if there is no room: swap the buffer and repeat, and if it [is empty](Self::is_empty) do so
    /// with one that has [twice the room](crate::BufferPool::take_at_least). [`AppendError::Failed`] if the record cannot be
    /// serialised. Neither changes the buffer.
    ///
    /// A record larger than the buffer:
    ///
    /// ```
    /// use thalweg_net::{AppendError, Appender, BufferPool};
    ///
    /// let pool = BufferPool::new(1024)?;
    /// let mut out = Appender::<u64, Vec<u8>>::new(pool.take());
    /// let record = vec![7; 3000];
    /// assert!(matches!(out.append(0, 0, &1, &record), Err(AppendError::Full)) && out.is_empty());
    /// out.swap(pool.take_at_least(4096));
    /// out.append(0, 0, &1, &record)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn append(&mut self, timestamp: i64, key_hash: u64, key: &K, value: &T) -> Result<(), AppendError> {
        self.len = self.writer.record(self.len, timestamp, key_hash, key, value)?;
        Ok(())
    }

    /// Appends a signal.
    ///
    /// # Errors
    ///
    /// [`Full`], without a change, if there is no room. An empty buffer has room.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, ENTRY_HEADER_BYTES, Signal};
    ///
    /// let mut out = Appender::<u64, u64>::new(BufferPool::new(1024)?.take());
    /// out.signal(Signal::Watermark(1_000))?;
    /// assert_eq!(out.len_bytes(), ENTRY_HEADER_BYTES);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn signal(&mut self, signal: Signal) -> Result<(), Full> {
        self.len = self.writer.header(self.len, signal.into())?;
        Ok(())
    }

    /// Appends a copy of a record that was read, without looking at its key and value.
    ///
    /// # Errors
    ///
    /// [`Full`], without a change, if there is no room.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, RawItem, Reader};
    ///
    /// let pool = BufferPool::new(1024)?;
    /// let mut out = Appender::<u32, String>::new(pool.take());
    /// out.append(5, 6, &1, &"forwarded without being looked at".to_owned())?;
    /// let mut input = Reader::<u32, String>::open(out.swap(pool.take()))?;
    /// let Some(RawItem::Record(record)) = input.next_raw() else { unreachable!() };
    /// out.append_raw(&record)?;
    /// assert_eq!(out.finish().bytes(), input.into_buffer().bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn append_raw(&mut self, record: &RawRecord<'_, K, T>) -> Result<(), Full> {
        let entry = record.entry();
        // What roots point to may be aligned to 16 (an empty list too, with nothing out of line), an entry to 8 only: keep the
        // entry's place within 16 bytes.
        let must_keep = !Roots::<K, T>::UNIFORM || entry.len() != Roots::<K, T>::ENTRY_BYTES;
        let mut start = self.len;
        if must_keep && !(entry.as_ptr().addr() ^ start).is_multiple_of(BUFFER_ALIGN) {
            end_within(start, GAP_BYTES + entry.len(), self.writer.capacity())?; // Both or neither.
            start = self.writer.bytes(start, &GAP.to_le_bytes())?;
        }
        self.len = self.writer.bytes(start, entry)?;
        Ok(())
    }

    /// Whether nothing was appended.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Signal};
    ///
    /// let mut out = Appender::<(), ()>::new(BufferPool::new(1024)?.take());
    /// assert!(out.is_empty());
    /// out.signal(Signal::Idle)?;
    /// assert!(!out.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of bytes appended, headers included.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool};
    ///
    /// let mut out = Appender::<u64, u64>::new(BufferPool::new(1024)?.take());
    /// out.append(1_000, 0xfeed, &7, &8)?;
    /// assert_eq!(out.len_bytes(), 24 + 8 + 8); // Header, key, value.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.len
    }

    /// The size of the buffer being filled, in bytes.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool};
    ///
    /// let pool = BufferPool::new(1024)?;
    /// let mut out = Appender::<u64, u64>::new(pool.take());
    /// assert_eq!(out.capacity_bytes(), 1024);
    /// out.swap(pool.take_at_least(2000));
    /// assert_eq!(out.capacity_bytes(), 2000);
    /// # Ok::<(), thalweg_net::Error>(())
    /// ```
    #[inline]
    pub fn capacity_bytes(&self) -> usize {
        self.writer.capacity()
    }

    /// Takes the filled buffer out, ready to be handed over, and goes on with `next`.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool};
    ///
    /// let pool = BufferPool::new(1024)?;
    /// let mut out = Appender::<u64, u64>::new(pool.take());
    /// let mut sent = Vec::new();
    /// for n in 0..100 {
    ///     if out.append(0, 0, &n, &n).is_err() {
    ///         sent.push(out.swap(pool.take()));
    ///         out.append(0, 0, &n, &n)?;
    ///     }
    /// }
    /// sent.push(out.finish());
    /// assert_eq!(sent.iter().map(|buffer| buffer.len_bytes()).collect::<Vec<_>>(), [1000, 1000, 1000, 1000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn swap(&mut self, next: BufferMut) -> Buffer {
        let filled = self.writer.replace(next);
        let len = std::mem::take(&mut self.len);
        Self::freeze(filled, len)
    }

    /// Takes the filled buffer out, for the last time.
    ///
    /// ```
    /// use thalweg_net::{Appender, BufferPool, Signal};
    ///
    /// let mut out = Appender::<u64, u64>::new(BufferPool::new(1024)?.take());
    /// out.signal(Signal::End)?;
    /// assert_eq!(out.finish().len_bytes(), 24);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(self) -> Buffer {
        Self::freeze(self.writer.into_buffer(), self.len)
    }

    fn freeze(mut filled: BufferMut, len: usize) -> Buffer {
        // SAFETY: the first `len` bytes are entries of this appender, so of these types.
        unsafe { filled.set_contents(len, TypeId::of::<(K, T)>()) };
        filled.freeze()
    }
}

const _: () = assert!(size_of::<EntryHeader>() == ENTRY_HEADER_BYTES);
