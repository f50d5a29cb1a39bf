//! Keys that are looked up together.

use super::fences::{KeyPrefix, prefix_of};
use super::key::{EncodedKey, KeyLengthError};

/// Keys to be looked up together.
///
/// ```
/// use thalweg_state::lsm::KeyBatch;
/// let mut keys = KeyBatch::default();
/// assert_eq!(keys.push(&[0, 0, 0, 1, 42]), Ok(0));
/// assert_eq!((keys.len(), keys.key(0)), (1, &[0, 0, 0, 1, 42][..]));
/// assert!(keys.push(b"abc").is_err());
/// ```
#[derive(Debug, Default, Clone)]
pub struct KeyBatch {
    bytes: Vec<u8>,
    keys: Vec<BatchKey>,
}

/// What is known of a key before it is looked up.
#[derive(Debug, Clone, Copy)]
struct BatchKey {
    prefix: KeyPrefix,
    hash: u64,
    /// Where it ends in the bytes of the batch.
    end: u32,
}

impl KeyBatch {
    /// Adds an encoded key, and returns its number in the batch. Copies and hashes it.
    ///
    /// Errors: [`KeyLengthError`].
    #[inline]
    pub fn push(&mut self, key: &[u8]) -> std::result::Result<usize, KeyLengthError> {
        let hash = EncodedKey::new(key)?.hash();
        self.bytes.extend_from_slice(key);
        self.keys.push(BatchKey { prefix: prefix_of(key), hash, end: self.bytes.len() as u32 });
        Ok(self.keys.len() - 1)
    }

    /// The key of that number. Panics: if there is none.
    #[inline]
    pub fn key(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.keys[before].end);
        &self.bytes[start as usize..self.keys[number].end as usize]
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keeps the keys for whose numbers `keep` says so; they are numbered anew, in the same order. So a batch of which some
    /// answers were `Cold` asks for these only, when their parts have come: what was answered need not stay in memory.
    ///
    /// ```
    /// # use thalweg_state::lsm::KeyBatch;
    /// let mut keys = KeyBatch::default();
    /// for user in 0..4 {
    ///     keys.push(&[0, 0, 0, 1, user]).unwrap();
    /// }
    /// keys.retain(|number| number >= 2);
    /// assert_eq!((keys.len(), keys.key(0)), (2, &[0, 0, 0, 1, 2][..]));
    /// ```
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let Self { bytes, keys } = self;
        let (mut number, mut start, mut kept_bytes) = (0, 0, 0);
        keys.retain_mut(|key| {
            let own = start..key.end as usize;
            (number, start) = (number + 1, own.end);
            let is_kept = keep(number - 1);
            if is_kept {
                bytes.copy_within(own.clone(), kept_bytes);
                kept_bytes += own.len();
                key.end = kept_bytes as u32;
            }
            is_kept
        });
        bytes.truncate(kept_bytes);
    }

    /// Takes all keys out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
    }

    #[inline(always)]
    pub(super) fn hash(&self, number: usize) -> u64 {
        self.keys[number].hash
    }

    #[inline(always)]
    pub(super) fn prefix(&self, number: usize) -> KeyPrefix {
        self.keys[number].prefix
    }
}
