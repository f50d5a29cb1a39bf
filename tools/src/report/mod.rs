//! What a benchmark has to say: a [`QueryResult`] for each run, as a line of JSON, in a table, in a plot.
//!
//! Time alone flatters an engine on a machine with cores to spare, and says little on a busy one; so a result also has
//! the process's CPU time and its peak memory, read from the kernel by [`CpuTime`] and [`peak_rss_bytes`].
//!
//! In reading order: [`json`](QueryResult) has the result and where its figures come from, [`table`] and [`plot`] show it.

mod json;
mod plot;
mod table;

pub use json::{CpuTime, QueryResult, peak_rss_bytes, reset_peak_rss};
pub use plot::plot;
pub(crate) use plot::{COLOURS, Svg};
pub use table::table;
