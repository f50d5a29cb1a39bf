//! Lines of a text file.

use std::path::{Path, PathBuf};

use crate::api::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::error::Result;
use crate::operator::output::Output;

/// Lines of a text file. See [`crate::Env::read_text_file`].
#[derive(Debug, Clone)]
pub struct TextFile {
    path: PathBuf,
}

impl TextFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Source for TextFile {
    type Item = String;
    type Reader = TextFileReader;

    fn reader(&self, _cx: &SourceContext) -> Result<TextFileReader> {
        let _ = &self.path;
        Ok(TextFileReader {})
    }
}

/// Reads one subtask's share of a text file.
#[derive(Debug)]
pub struct TextFileReader {}

impl SourceReader for TextFileReader {
    type Item = String;

    fn poll<N: Output<String>>(&mut self, _out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        Ok(SourceStatus::End)
    }
}
