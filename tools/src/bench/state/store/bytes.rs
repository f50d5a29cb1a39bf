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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_in_the_order_of_their_numbers() {
        let pairs = [(0, u64::MAX), (1, 0), (1, 255), (1, 256), (256, 0), (u64::MAX, 1)];
        let keys = pairs.map(|(key, second)| pair_key(key, second));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| second_of(&key).unwrap()), pairs.map(|(_, second)| second));
        assert!(keys.iter().zip(pairs).all(|(pair, (key, _))| pair.starts_with(&key.to_be_bytes())));
        assert!(second_of(&[1; 15]).is_err());
    }
}
