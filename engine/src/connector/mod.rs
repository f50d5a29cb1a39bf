//! Sources that read from outside: pure formats, and the threads that do the I/O.

pub(crate) mod socket;
pub(crate) mod text;
