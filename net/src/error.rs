//! What can go wrong in this crate.

/// What can go wrong when a part of this crate is set up.
///
/// ```
/// use thalweg_net::{BufferPool, Error};
///
/// assert!(matches!(BufferPool::new(1000), Err(Error::BufferBytes { bytes: 1000 })));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum Error {
    /// The configured size of a buffer cannot be had.
    #[error("a buffer of {bytes} bytes: the size must be a multiple of 16 from 1 KiB to 64 MiB")]
    BufferBytes { bytes: usize },
}
