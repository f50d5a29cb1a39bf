//! Bytes from outside, read on a thread of their own and handed to a core in chunks.
//!
//! Invariants:
//! - the core never waits: `poll` takes what is there;
//! - at most [`CHUNKS_AHEAD`] chunks wait, then the thread does, and with it the peer at the other end of a socket;
//! - when the feed is dropped, the thread has ended.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::thread::{self, JoinHandle};

use crate::runtime::bell::Bell;

/// Chunks that may wait for the core.
const CHUNKS_AHEAD: usize = 4;

/// Bytes that have been read.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// All of the memory, so that it is cleared only once.
    memory: Vec<u8>,
    filled: usize,
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    /// Reads once into the chunk. Returns whether there was anything.
    fn fill(&mut self, input: &mut impl Read, chunk_bytes: usize) -> io::Result<bool> {
        self.memory.resize(chunk_bytes, 0);
        self.filled = loop {
            match input.read(&mut self.memory) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        Ok(self.filled > 0)
    }
}

/// What a feed has.
pub(super) enum Fed {
    Chunk(Chunk),
    /// Nothing now. The bell rings when there is.
    Waiting,
    /// Nothing any more.
    End,
}

/// The core's end of a thread that reads.
pub(super) struct Feed {
    chunks: Option<Receiver<io::Result<Option<Chunk>>>>,
    spent: Sender<Chunk>,
    /// Makes a read that waits return.
    interrupt: Option<Box<dyn FnOnce()>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Starts a thread that reads all of `input`, at most `chunk_bytes` at a time.
    ///
    /// `interrupt` must make a read of `input` that waits return. The bell rings after each chunk, and after the end.
    pub(super) fn start(
        name: &str,
        input: impl Read + Send + 'static,
        chunk_bytes: usize,
        bell: Bell,
        interrupt: impl FnOnce() + 'static,
    ) -> io::Result<Self> {
        let (full, chunks) = mpsc::sync_channel(CHUNKS_AHEAD);
        let (spent, empty) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || read_all(input, chunk_bytes, &full, &empty, &bell))?;
        Ok(Self { chunks: Some(chunks), spent, interrupt: Some(Box::new(interrupt)), thread: Some(thread) })
    }

    /// What has been read since.
    pub(super) fn poll(&mut self) -> io::Result<Fed> {
        let Some(chunks) = &self.chunks else { return Ok(Fed::End) };
        match chunks.try_recv() {
            Ok(Ok(Some(chunk))) => Ok(Fed::Chunk(chunk)),
            Ok(Ok(None)) => Ok(Fed::End),
            Ok(Err(error)) => Err(error),
            Err(TryRecvError::Empty) => Ok(Fed::Waiting),
            Err(TryRecvError::Disconnected) => {
                Err(io::Error::other("the thread that reads has ended before its input"))
            }
        }
    }

    /// Gives the memory of a chunk back.
    pub(super) fn recycle(&mut self, chunk: Chunk) {
        let _ = self.spent.send(chunk); // The thread may have ended: then the memory is not needed.
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.chunks = None; // The thread cannot hand over another chunk, ...
        if let Some(interrupt) = self.interrupt.take() {
            interrupt(); // ... nor wait for one.
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // Its panic has been printed, and the core has its error.
        }
    }
}

fn read_all(
    mut input: impl Read,
    chunk_bytes: usize,
    full: &SyncSender<io::Result<Option<Chunk>>>,
    empty: &Receiver<Chunk>,
    bell: &Bell,
) {
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        let result = chunk.fill(&mut input, chunk_bytes).map(|any| any.then_some(chunk));
        let goes_on = matches!(result, Ok(Some(_)));
        let taken = full.send(result);
        bell.ring();
        if !goes_on || taken.is_err() {
            return;
        }
    }
}

/// Where chunks come from: a thread, or, in the simulator, which has none, the input itself.
pub(super) enum Chunks {
    Feed(Feed),
    Inline { input: Box<dyn Read>, chunk_bytes: usize, spent: Chunk },
}

impl Chunks {
    pub(super) fn inline(input: impl Read + 'static, chunk_bytes: usize) -> Self {
        Chunks::Inline { input: Box::new(input), chunk_bytes, spent: Chunk::default() }
    }

    pub(super) fn poll(&mut self) -> io::Result<Fed> {
        match self {
            Chunks::Feed(feed) => feed.poll(),
            Chunks::Inline { input, chunk_bytes, spent } => {
                let mut chunk = std::mem::take(spent);
                Ok(if chunk.fill(input, *chunk_bytes)? { Fed::Chunk(chunk) } else { Fed::End })
            }
        }
    }

    pub(super) fn recycle(&mut self, chunk: Chunk) {
        match self {
            Chunks::Feed(feed) => feed.recycle(chunk),
            Chunks::Inline { spent, .. } => *spent = chunk,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Endless bytes. Counts the reads, and its own end.
    struct Endless {
        reads: Arc<AtomicUsize>,
        dropped: Sender<()>,
    }

    impl Read for Endless {
        fn read(&mut self, memory: &mut [u8]) -> io::Result<usize> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            Ok(memory.len())
        }
    }

    impl Drop for Endless {
        fn drop(&mut self) {
            let _ = self.dropped.send(());
        }
    }

    #[test]
    fn reads_a_bounded_number_of_chunks_ahead_and_ends_with_the_feed() {
        let (reads, (dropped, ended)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel());
        let input = Endless { reads: reads.clone(), dropped };
        let mut feed = Feed::start("test", input, 16, Bell::default(), || ()).unwrap();
        let mut taken = 0;
        while taken < 10 {
            match feed.poll().unwrap() {
                Fed::Chunk(chunk) => {
                    assert_eq!(chunk.bytes().len(), 16);
                    feed.recycle(chunk);
                    taken += 1;
                }
                Fed::Waiting => thread::yield_now(),
                Fed::End => panic!("an endless input has ended"),
            }
            assert!(reads.load(Ordering::SeqCst) <= taken + CHUNKS_AHEAD + 1);
        }
        drop(feed);
        ended.try_recv().expect("the thread has ended, and its input is gone");
    }

    #[test]
    fn an_error_comes_after_what_was_read() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::ConnectionReset.into())
            }
        }
        let mut feed =
            Feed::start("test", io::Cursor::new("ab").chain(Fails), 16, Bell::default(), || ()).unwrap();
        let mut text = Vec::new();
        let error = loop {
            match feed.poll() {
                Ok(Fed::Chunk(chunk)) => text.extend_from_slice(chunk.bytes()),
                Ok(Fed::Waiting) => thread::yield_now(),
                Ok(Fed::End) => panic!("the error is missing"),
                Err(error) => break error,
            }
        };
        assert_eq!((text.as_slice(), error.kind()), (&b"ab"[..], ErrorKind::ConnectionReset));
    }
}
