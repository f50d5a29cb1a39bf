//! Encoded keys: what the LSM sorts by, hashes and stores.
//!
//! ```text
//!   ┌───────────┬───────────┬───────────┬──────────┬──────────────────────────────┐
//!   │ key group │ state id  │ namespace │ user key │ generation and key of a map  │   the last three as `Key::encode` writes them
//!   │  u16 BE   │  u16 BE   │           │          │  if any                      │
//!   └───────────┴───────────┴───────────┴──────────┴──────────────────────────────┘
//! ```
//!
//! Invariants:
//! - encoded keys compare as bytes: key group first, so that a key group is a range, and so is a state within it;
//! - each part is prefix-free, so the keys under a namespace, or the entries of one map, are a range too, and what is under a
//!   user key itself comes before what is under others that begin with it;
//! - a key is at most [`KEY_BYTES_MAX`] long: files store its length in 16 bits.

use crate::{Key, KeyGroup, hash_bytes};

/// The longest an encoded key may be, in bytes.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// Key group and state id.
const HEAD_BYTES: usize = 4;

/// One state of an operator, by a number that the store gave it.
///
/// ```
/// use thalweg_state::lsm::key::StateId;
/// assert!(StateId(1) < StateId(2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u16);

/// Bytes that cannot be an encoded key.
///
/// ```
/// use thalweg_state::lsm::key::{EncodedKey, KeyLengthError};
/// assert_eq!(EncodedKey::new(b"abc").unwrap_err(), KeyLengthError { bytes: 3 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an encoded key has {bytes} bytes, not 4 to 65535")]
pub struct KeyLengthError {
    /// How many there are.
    pub bytes: usize,
}

/// The bytes of an encoded key, of a length that can be stored.
///
/// ```
/// use thalweg_state::lsm::key::{EncodedKey, StateId};
/// use thalweg_state::{KeyGroup, hash_bytes};
/// let key = EncodedKey::new(&[0, 7, 0, 1, 0xaa]).unwrap();
/// assert_eq!((key.key_group(), key.state(), key.rest()), (KeyGroup(7), StateId(1), &[0xaa][..]));
/// assert_eq!(key.hash(), hash_bytes(key.as_bytes()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EncodedKey<'a>(&'a [u8]);

impl<'a> EncodedKey<'a> {
    /// Takes `bytes` as a key. What follows key group and state is not looked at.
    ///
    /// Errors: [`KeyLengthError`] unless there are 4 to [`KEY_BYTES_MAX`] of them.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, KeyLengthError> {
        match bytes.len() {
            HEAD_BYTES..=KEY_BYTES_MAX => Ok(Self(bytes)),
            len => Err(KeyLengthError { bytes: len }),
        }
    }

    /// All of it.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Where it belongs.
    #[inline]
    pub fn key_group(self) -> KeyGroup {
        KeyGroup(u16::from_be_bytes([self.0[0], self.0[1]]))
    }

    /// The state of which it is a key.
    #[inline]
    pub fn state(self) -> StateId {
        StateId(u16::from_be_bytes([self.0[2], self.0[3]]))
    }

    /// Namespace, user key and map key.
    #[inline]
    pub fn rest(self) -> &'a [u8] {
        &self.0[HEAD_BYTES..]
    }

    /// The hash under which files know it; another one than the user key's. 3 to 4 ns for a short key.
    #[inline]
    pub fn hash(self) -> u64 {
        hash_bytes(self.0)
    }
}

/// Where keys are encoded, one at a time: allocates for the longest one only.
///
/// ```
/// use thalweg_state::lsm::key::{KeyBuf, StateId};
/// use thalweg_state::KeyGroup;
/// let mut buffer = KeyBuf::default();
/// let (window_end, user) = (60_000_i64, 7_u32);
/// let key = buffer.begin(KeyGroup(3), StateId(1)).push(&window_end).push(&user).key().unwrap();
/// assert_eq!(key.as_bytes().len(), 2 + 2 + 8 + 4);
/// ```
#[derive(Debug, Default, Clone)]
pub struct KeyBuf {
    bytes: Vec<u8>,
}

impl KeyBuf {
    /// Begins another key, of `state` in `group`.
    #[inline]
    pub fn begin(&mut self, group: KeyGroup, state: StateId) -> &mut Self {
        self.bytes.clear();
        self.bytes.extend_from_slice(&group.0.to_be_bytes());
        self.bytes.extend_from_slice(&state.0.to_be_bytes());
        self
    }

    /// Adds a part: namespace, user key or map key.
    #[inline]
    pub fn push<K: Key>(&mut self, part: &K) -> &mut Self {
        part.encode(&mut self.bytes);
        self
    }

    /// Adds a part that is encoded already.
    #[inline]
    pub(crate) fn push_encoded(&mut self, part: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(part);
        self
    }

    /// Takes parts off the end again, down to `len` bytes: for the next map key under the same user key.
    ///
    /// ```
    /// use thalweg_state::lsm::key::{KeyBuf, StateId};
    /// use thalweg_state::KeyGroup;
    /// let mut buffer = KeyBuf::default();
    /// let len = buffer.begin(KeyGroup(0), StateId(0)).push(&7_u64).as_bytes().len();
    /// let first = buffer.push(&1_u8).as_bytes().to_vec();
    /// buffer.truncate(len);
    /// assert!(first.as_slice() < buffer.push(&2_u8).as_bytes());
    /// ```
    #[inline]
    pub fn truncate(&mut self, len: usize) -> &mut Self {
        self.bytes.truncate(len);
        self
    }

    /// What there is so far: the prefix of some keys.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What there is, as a key.
    ///
    /// Errors: [`KeyLengthError`] if its parts are too long, or nothing was begun.
    #[inline]
    pub fn key(&self) -> Result<EncodedKey<'_>, KeyLengthError> {
        EncodedKey::new(&self.bytes)
    }

    /// Turns a prefix into the end of the range of all keys that begin with it: the first bytes after them. `false`
    /// if nothing comes after them, because all bytes are `ff`; there is then nothing left in the buffer.
    ///
    /// ```
    /// use thalweg_state::lsm::key::{KeyBuf, StateId};
    /// use thalweg_state::KeyGroup;
    /// let mut buffer = KeyBuf::default();
    /// assert!(buffer.begin(KeyGroup(1), StateId(0xffff)).into_prefix_end());
    /// assert_eq!(buffer.as_bytes(), [0, 2]);
    /// ```
    pub fn into_prefix_end(&mut self) -> bool {
        while let Some(byte) = self.bytes.pop() {
            if byte < 0xff {
                self.bytes.push(byte + 1);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(group: u16, state: u16, user: &str) -> Vec<u8> {
        KeyBuf::default().begin(KeyGroup(group), StateId(state)).push(&user.to_owned()).as_bytes().to_vec()
    }

    #[test]
    fn keys_that_are_too_long_or_too_short_are_refused() {
        let mut buffer = KeyBuf::default();
        assert_eq!(buffer.key().unwrap_err().bytes, 0);
        buffer.begin(KeyGroup(0), StateId(0)).push(&"a".repeat(KEY_BYTES_MAX - HEAD_BYTES - 2));
        assert_eq!(buffer.key().unwrap().as_bytes().len(), KEY_BYTES_MAX);
        buffer.push(&0_u8);
        assert_eq!(buffer.key().unwrap_err().bytes, KEY_BYTES_MAX + 1);
    }

    #[test]
    fn a_prefix_of_the_highest_bytes_has_no_end() {
        let mut buffer = KeyBuf::default();
        assert!(!buffer.begin(KeyGroup(0xffff), StateId(0xffff)).into_prefix_end());
        assert!(buffer.as_bytes().is_empty());
    }

    proptest! {
        #![proptest_config(crate::cases(256))]

        /// Encoded keys sort as their parts do.
        #[test]
        fn keys_sort_by_their_parts(a in any::<(u16, u16, String)>(), b in any::<(u16, u16, String)>()) {
            prop_assert_eq!(encoded(a.0, a.1, &a.2).cmp(&encoded(b.0, b.1, &b.2)), a.cmp(&b));
        }

        /// A key is below the end of a prefix, and not below the prefix, exactly if it begins with it.
        #[test]
        fn the_end_of_a_prefix_comes_right_after_its_keys(
            prefix in prop::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..5),
            key in prop::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..7),
            joined in any::<bool>(),
        ) {
            let key = if joined { [prefix.as_slice(), &key].concat() } else { key };
            let mut end = KeyBuf { bytes: prefix.clone() };
            let is_below = !end.into_prefix_end() || key.as_slice() < end.as_bytes();
            prop_assert_eq!(key.starts_with(&prefix), key >= prefix && is_below);
        }
    }
}
