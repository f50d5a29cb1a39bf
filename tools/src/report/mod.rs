//! What a benchmark has to say: a [`QueryResult`] for each run, as a line of JSON, in a table, in a plot.
//!
//! Time alone flatters an engine on a machine with cores to spare, and says little on a busy one; so a result also has
//! the process's CPU time and its peak memory, read from the kernel by [`CpuTime`] and [`peak_rss_bytes`].
//!
//! In reading order: [`json`](QueryResult) has the result and where its figures come from, [`table`] and [`plot`] show it.

mod json;
mod plot;
mod table;

use std::io::{self, Write};

use anyhow::Context;

pub use json::{CpuTime, QueryResult, peak_rss_bytes, reset_peak_rss};
pub use plot::plot;
pub(crate) use plot::{COLOURS, Svg, distinct};
pub use table::table;
pub(crate) use table::{aligned, grouped};

/// Writes results to standard output.
///
/// Errors: those of writing, which `println!` would make a panic; above all that nobody reads any more.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the results")
}

/// Whether an error means that whoever read the results has gone, as `head` does when it has seen enough.
///
/// ```
/// use std::io;
/// let gone = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot write");
/// assert!(thalweg_tools::report::is_closed_pipe(&gone));
/// assert!(!thalweg_tools::report::is_closed_pipe(&anyhow::anyhow!("something else")));
/// ```
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
