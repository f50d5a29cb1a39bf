//! Keys: what state belongs to. A key has a stable hash, which places it, and ordered bytes, which store it.
//!
//! Both are part of the savepoint format (`FORMAT.md`): changing a formula here loses every saved state, which the
//! golden values in the tests guard against.
//!
//! Invariants:
//! - equal keys have equal hashes and equal bytes, in every process and on every machine;
//! - `decode` undoes `encode`, and bytes compare as the keys do;
//! - no key's bytes are a prefix of another's, so keys can be strung together.

use rkyv::option::ArchivedOption;
use rkyv::string::ArchivedString;
use rkyv::vec::ArchivedVec;
use std::fmt::Debug;

/// A type by which a stream can be partitioned and state be kept.
///
/// It is small, owned and cheap to clone. The hash and the bytes follow `FORMAT.md`; a struct of one's own takes the
/// tuple's: the fields' hashes through [`hash_pair`], the fields' bytes one after the other.
///
/// ```
/// use thalweg_state::Key;
/// let key = (7_u32, String::from("seven"));
/// let mut bytes = Vec::new();
/// key.encode(&mut bytes);
/// assert_eq!(<(u32, String)>::decode(&mut bytes.as_slice()).unwrap(), key);
/// assert_eq!(key.key_hash(), (7_u64, String::from("seven")).key_hash());
/// ```
pub trait Key: rkyv::Archive + Clone + Eq + Debug + Send + Sync + 'static {
    /// The stable 64-bit hash: good in its high bits, which choose key group and slot, and in its low ones.
    fn key_hash(&self) -> u64;

    /// Whether `archived` is this key, in a received buffer.
    fn eq_archived(&self, archived: &Self::Archived) -> bool;

    /// The owned key from a received buffer.
    fn from_archived(archived: &Self::Archived) -> Self;

    /// Becomes that key, as `from_archived`, but may keep what it has allocated: so an operator that holds one key at
    /// a time allocates for the longest one only.
    ///
    /// ```
    /// use thalweg_state::Key;
    /// let archived = rkyv::to_bytes::<rkyv::rancor::Error>(&String::from("be")).unwrap();
    /// let archived = rkyv::access::<rkyv::string::ArchivedString, rkyv::rancor::Error>(&archived).unwrap();
    /// let mut key = String::from("question");
    /// let capacity = key.capacity();
    /// key.assign_archived(archived);
    /// assert_eq!((key.as_str(), key.capacity()), ("be", capacity));
    /// ```
    #[inline]
    fn assign_archived(&mut self, archived: &Self::Archived) {
        *self = Self::from_archived(archived);
    }

    /// Appends the key's ordered bytes to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one key off the front of `bytes`.
    ///
    /// Errors: a [`KeyError`] if `bytes` does not start with what `encode` writes; `bytes` is then unspecified.
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError>;
}

/// Why bytes are not a key.
///
/// ```
/// use thalweg_state::{Key, KeyError};
/// assert_eq!(u32::decode(&mut &[0, 0][..]), Err(KeyError::Truncated));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// They end within it.
    #[error("the bytes end within the key")]
    Truncated,
    /// A `bool` or the tag of an `Option` is neither 0 nor 1.
    #[error("{0} is neither 0 nor 1")]
    Tag(u8),
    /// The number is not that of a character.
    #[error("{0:#x} is not a character")]
    Char(u32),
    /// A zero byte within a string is followed by what is neither an end nor an escaped zero.
    #[error("a zero byte is followed by {0:#04x}")]
    Escape(u8),
    /// The bytes of a `String` are not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
}

/// The constants of wyhash: about as many ones as zeros, and in no simple relation to each other.
const SECRET: [u64; 4] =
    [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3, 0x5899_65cc_7537_4cc3];

/// The high half of the product xor the low one: every bit of the result depends on every bit of the factors.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// The same hash in another order: for a table of one's own over hashes that may be those of one key group only.
#[inline(always)]
pub(crate) fn scatter(hash: u64) -> u64 {
    hash.wrapping_mul(SECRET[1]) // What places an entry is its high bits: these now depend on all the others.
}

/// The hash of an integer that was widened to 64 bits. About 1 ns.
///
/// ```
/// use thalweg_state::{Key, hash_word};
/// assert_eq!(hash_word(7), 7_u8.key_hash());
/// assert_eq!(hash_word(u64::MAX), (-1_i32).key_hash());
/// ```
#[inline(always)]
pub fn hash_word(word: u64) -> u64 {
    let spread = word.wrapping_mul(SECRET[2]);
    fold(spread ^ spread >> 32 ^ SECRET[0], SECRET[1])
}

/// The hash of two things after each other, from theirs. Not symmetric.
///
/// ```
/// use thalweg_state::{Key, hash_pair, hash_word};
/// assert_eq!(hash_pair(hash_word(1), hash_word(2)), (1_u64, 2_u64).key_hash());
/// ```
#[inline(always)]
pub fn hash_pair(first: u64, second: u64) -> u64 {
    fold(first ^ SECRET[2], second ^ SECRET[3])
}

/// The hash of a string or of other bytes: a multiplication for each group of 8.
///
/// ```
/// use thalweg_state::{Key, hash_bytes};
/// assert_eq!(hash_bytes(b"auction"), String::from("auction").key_hash());
/// ```
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let (groups, rest) = bytes.as_chunks::<8>();
    let mut hash = bytes.len() as u64 ^ SECRET[2]; // The length tells a padded end from zeros.
    for group in groups {
        hash = fold(hash ^ u64::from_le_bytes(*group), SECRET[1]);
    }
    fold(hash ^ padded(rest), SECRET[3])
}

/// Up to 7 bytes as a little-endian number. Reads that overlap are quicker than a loop, and the same.
#[inline(always)]
pub(crate) fn padded(rest: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        let last = u64::from(u32::from_le_bytes(*last));
        u64::from(u32::from_le_bytes(*first)) | last << (8 * (rest.len() - 4))
    } else if let (Some(first), Some(last)) = (rest.first(), rest.last()) {
        let middle = rest.len() / 2;
        u64::from(*first)
            | u64::from(rest[middle]) << (8 * middle)
            | u64::from(*last) << (8 * (rest.len() - 1))
    } else {
        0
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], KeyError> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(KeyError::Truncated)?;
    *bytes = rest;
    Ok(*head)
}

fn take_tag(bytes: &mut &[u8]) -> Result<bool, KeyError> {
    match take::<1>(bytes)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [tag] => Err(KeyError::Tag(tag)),
    }
}

impl Key for () {
    #[inline]
    fn key_hash(&self) -> u64 {
        hash_word(0)
    }
    fn eq_archived(&self, (): &()) -> bool {
        true
    }
    fn from_archived((): &()) {}
    fn encode(&self, _: &mut Vec<u8>) {}
    fn decode(_: &mut &[u8]) -> Result<(), KeyError> {
        Ok(())
    }
}

impl Key for bool {
    #[inline]
    fn key_hash(&self) -> u64 {
        hash_word(u64::from(*self))
    }
    #[inline]
    fn eq_archived(&self, archived: &bool) -> bool {
        self == archived
    }
    #[inline]
    fn from_archived(archived: &bool) -> bool {
        *archived
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(bytes: &mut &[u8]) -> Result<bool, KeyError> {
        take_tag(bytes)
    }
}

impl Key for char {
    #[inline]
    fn key_hash(&self) -> u64 {
        hash_word(u64::from(u32::from(*self)))
    }
    #[inline]
    fn eq_archived(&self, archived: &Self::Archived) -> bool {
        *self == archived.to_native()
    }
    #[inline]
    fn from_archived(archived: &Self::Archived) -> char {
        archived.to_native()
    }
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<char, KeyError> {
        let number = u32::decode(bytes)?;
        char::from_u32(number).ok_or(KeyError::Char(number))
    }
}

/// `native` turns what is archived into the integer; `flip` turns the sign bit over, so that bytes sort as numbers.
macro_rules! integer_key {
    ($int:ty, $flip:expr, $hash:expr, $native:expr) => {
        impl Key for $int {
            #[inline(always)]
            fn key_hash(&self) -> u64 {
                ($hash)(*self)
            }
            #[inline(always)]
            fn eq_archived(&self, archived: &Self::Archived) -> bool {
                *self == ($native)(*archived)
            }
            #[inline(always)]
            fn from_archived(archived: &Self::Archived) -> $int {
                ($native)(*archived)
            }
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(*self ^ $flip).to_be_bytes());
            }
            fn decode(bytes: &mut &[u8]) -> Result<$int, KeyError> {
                Ok(<$int>::from_be_bytes(take(bytes)?) ^ $flip)
            }
        }
    };
}

/// Signed integers are widened with their sign: a key hashes alike in every width that holds it.
macro_rules! word_key {
    ($($unsigned:ident $signed:ident $native:expr),*) => {$(
        integer_key!($unsigned, 0, |x| hash_word(x as u64), $native);
        integer_key!($signed, $signed::MIN, |x| hash_word(x as i64 as u64), $native);
    )*};
}
word_key!(u8 i8 std::convert::identity);
word_key!(u16 i16 |x: Self::Archived| x.to_native(), u32 i32 |x: Self::Archived| x.to_native());
word_key!(u64 i64 |x: Self::Archived| x.to_native());
integer_key!(u128, 0, hash_wide, |x: Self::Archived| x.to_native());
integer_key!(i128, i128::MIN, |x| hash_wide(x as u128), |x: Self::Archived| x.to_native());

/// 128 bits are a pair of words, the high one first.
#[inline(always)]
fn hash_wide(wide: u128) -> u64 {
    hash_pair(hash_word((wide >> 64) as u64), hash_word(wide as u64))
}

/// Zero bytes become `00 ff`, and `00 00` ends them: so a prefix sorts first, and what follows does not matter.
fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn decode_bytes(bytes: &mut &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut decoded = Vec::new();
    loop {
        let zero = bytes.iter().position(|&byte| byte == 0).ok_or(KeyError::Truncated)?;
        decoded.extend_from_slice(&bytes[..zero]);
        *bytes = &bytes[zero..];
        match take::<2>(bytes)? {
            [_, 0] => return Ok(decoded),
            [_, 0xff] => decoded.push(0),
            [_, other] => return Err(KeyError::Escape(other)),
        }
    }
}

impl Key for String {
    #[inline]
    fn key_hash(&self) -> u64 {
        hash_bytes(self.as_bytes())
    }
    #[inline]
    fn eq_archived(&self, archived: &ArchivedString) -> bool {
        self.as_str() == archived.as_str()
    }
    fn from_archived(archived: &ArchivedString) -> String {
        archived.as_str().to_owned()
    }
    #[inline]
    fn assign_archived(&mut self, archived: &ArchivedString) {
        archived.as_str().clone_into(self);
    }
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<String, KeyError> {
        String::from_utf8(decode_bytes(bytes)?).map_err(|_| KeyError::Utf8)
    }
}

impl Key for Vec<u8> {
    #[inline]
    fn key_hash(&self) -> u64 {
        hash_bytes(self)
    }
    #[inline]
    fn eq_archived(&self, archived: &ArchivedVec<u8>) -> bool {
        self.as_slice() == archived.as_slice()
    }
    fn from_archived(archived: &ArchivedVec<u8>) -> Vec<u8> {
        archived.as_slice().to_vec()
    }
    #[inline]
    fn assign_archived(&mut self, archived: &ArchivedVec<u8>) {
        archived.as_slice().clone_into(self);
    }
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self, out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Vec<u8>, KeyError> {
        decode_bytes(bytes)
    }
}

impl<const N: usize> Key for [u8; N] {
    #[inline]
    fn key_hash(&self) -> u64 {
        hash_bytes(self)
    }
    #[inline]
    fn eq_archived(&self, archived: &[u8; N]) -> bool {
        self == archived
    }
    #[inline]
    fn from_archived(archived: &[u8; N]) -> [u8; N] {
        *archived
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(bytes: &mut &[u8]) -> Result<[u8; N], KeyError> {
        take(bytes)
    }
}

impl<K: Key> Key for Option<K> {
    #[inline]
    fn key_hash(&self) -> u64 {
        match self {
            None => hash_pair(0, 0),
            Some(key) => hash_pair(1, key.key_hash()),
        }
    }
    #[inline]
    fn eq_archived(&self, archived: &ArchivedOption<K::Archived>) -> bool {
        match (self, archived) {
            (None, ArchivedOption::None) => true,
            (Some(key), ArchivedOption::Some(archived)) => key.eq_archived(archived),
            _ => false,
        }
    }
    #[inline]
    fn from_archived(archived: &ArchivedOption<K::Archived>) -> Option<K> {
        archived.as_ref().map(K::from_archived)
    }
    #[inline]
    fn assign_archived(&mut self, archived: &ArchivedOption<K::Archived>) {
        match (self, archived) {
            (Some(key), ArchivedOption::Some(archived)) => key.assign_archived(archived),
            (key, archived) => *key = Self::from_archived(archived),
        }
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(key) = self {
            key.encode(out);
        }
    }
    fn decode(bytes: &mut &[u8]) -> Result<Option<K>, KeyError> {
        Ok(if take_tag(bytes)? { Some(K::decode(bytes)?) } else { None })
    }
}

macro_rules! tuple_key {
    ($first:ident 0 $($key:ident $index:tt)*) => {
        impl<$first: Key, $($key: Key),*> Key for ($first, $($key,)*) {
            #[inline]
            fn key_hash(&self) -> u64 {
                let hash = self.0.key_hash();
                $(let hash = hash_pair(hash, self.$index.key_hash());)*
                hash
            }
            #[inline]
            fn eq_archived(&self, archived: &Self::Archived) -> bool {
                self.0.eq_archived(&archived.0) $(&& self.$index.eq_archived(&archived.$index))*
            }
            #[inline]
            fn from_archived(archived: &Self::Archived) -> Self {
                ($first::from_archived(&archived.0), $($key::from_archived(&archived.$index),)*)
            }
            #[inline]
            fn assign_archived(&mut self, archived: &Self::Archived) {
                self.0.assign_archived(&archived.0);
                $(self.$index.assign_archived(&archived.$index);)*
            }
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
                $(self.$index.encode(out);)*
            }
            fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
                Ok(($first::decode(bytes)?, $($key::decode(bytes)?,)*))
            }
        }
    };
}
tuple_key!(A 0);
tuple_key!(A 0 B 1);
tuple_key!(A 0 B 1 C 2);
tuple_key!(A 0 B 1 C 2 D 3);
tuple_key!(A 0 B 1 C 2 D 3 E 4);
tuple_key!(A 0 B 1 C 2 D 3 E 4 F 5);

#[cfg(test)]
mod tests;
