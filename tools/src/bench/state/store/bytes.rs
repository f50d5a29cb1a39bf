//! Keys and values of stores that know bytes only.

use std::time::Duration;

use anyhow::{Context, Result};

/// How often it is asked whether threads in the background are done.
pub(super) const SETTLE_POLL: Duration = Duration::from_millis(20);

/// The value that the bytes of a store are. Errors: if they have another length.
#[inline]
pub(super) fn exactly<const BYTES: usize>(bytes: &[u8]) -> Result<&[u8; BYTES]> {
    bytes.try_into().with_context(|| format!("a value has {} bytes, not {BYTES}", bytes.len()))
}

/// The key of what is under a key: in order by the first, then by the second.
#[inline]
pub(super) fn pair_key(key: u64, second: u64) -> [u8; 16] {
    (u128::from(key) << 64 | u128::from(second)).to_be_bytes()
}

/// The second number of a [`pair_key`]. Errors: if it is none.
#[inline]
pub(super) fn second_of(pair: &[u8]) -> Result<u64> {
    Ok(u128::from_be_bytes(*exactly(pair)?) as u64)
}
