//! Sources that read text from outside.
//!
//! ```text
//!   a thread: file or socket ──▶ Feed: bounded queue of chunks ──▶ LineSplitter ──▶ LineReader, on its core ──▶ chain
//!                    ▲                                                   (pure)             │
//!                    └──────────────────────── empty chunks ────────────────────────────────┘
//! ```
//!
//! - [`lines`]: bytes to lines, pure; [`feed`]: the thread that reads, so that no core ever blocks; [`reader`]: both together;
//! - [`text`]: a file, divided among the subtasks; [`socket`]: a TCP connection.

mod feed;
mod lines;
pub(crate) mod reader;
pub(crate) mod socket;
pub(crate) mod text;
