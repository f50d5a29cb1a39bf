//! Lines of a feed, given to a chain.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use super::feed::{Chunk, Chunks, Fed};
use super::lines::{LineError, LineSplitter};
use crate::api::source::{SourceOutput, SourceReader, SourceStatus};
use crate::error::{Error, Result};
use crate::operator::output::Output;

/// Reads lines from a file or a socket. Each is lent from one string that is used again and again.
/// The reader of [`crate::Env::read_text_file`] and [`crate::Env::socket_text`].
pub struct LineReader {
    /// The file or the address, for errors.
    origin: PathBuf,
    chunks: Chunks,
    splitter: LineSplitter,
    /// What is being split, and how far it is.
    chunk: Chunk,
    position: usize,
    at_end: bool,
    /// Lives as long as the reader: what it shares with the other subtasks.
    _shared: Option<Arc<u64>>,
}

impl std::fmt::Debug for LineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineReader").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl LineReader {
    pub(super) fn new(
        origin: PathBuf,
        chunks: Chunks,
        splitter: LineSplitter,
        shared: Option<Arc<u64>>,
    ) -> Self {
        let chunk = Chunk::default();
        Self { origin, chunks, splitter, chunk, position: 0, at_end: false, _shared: shared }
    }

    fn not_text(&self, error: LineError) -> Error {
        Error::io(&self.origin, io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Gives out the lines of the chunk at hand. Returns whether it was used up.
    fn split<N: Output<String>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<bool, LineError> {
        let mut input = &self.chunk.bytes()[self.position..];
        let is_used_up = loop {
            if out.is_full() {
                break false;
            }
            match self.splitter.next(&mut input)? {
                Some(line) => out.collect(line),
                None => break true,
            }
        };
        self.position = self.chunk.bytes().len() - input.len();
        Ok(is_used_up)
    }
}

impl SourceReader for LineReader {
    type Item = String;

    fn poll<N: Output<String>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        loop {
            if !self.split(out).map_err(|error| self.not_text(error))? {
                return Ok(SourceStatus::More);
            }
            if self.splitter.is_done() {
                return Ok(SourceStatus::End);
            }
            if self.at_end {
                match self.splitter.last() {
                    Ok(line) => line.into_iter().for_each(|line| out.collect(line)),
                    Err(error) => return Err(self.not_text(error)),
                }
                return Ok(SourceStatus::End);
            }
            match self.chunks.poll().map_err(|error| Error::io(&self.origin, error))? {
                Fed::Chunk(chunk) => {
                    self.chunks.recycle(std::mem::replace(&mut self.chunk, chunk));
                    self.position = 0;
                }
                Fed::Waiting => return Ok(SourceStatus::Waiting { until: None }),
                Fed::End => self.at_end = true,
            }
        }
    }
}
