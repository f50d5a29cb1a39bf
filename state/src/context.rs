//! Whose state is asked for: a key, its hash, and the record it came with.

use std::fmt;

use crate::Key;

/// The record of a key that was not looked up ahead.
pub(crate) const NOT_PREPARED: u32 = u32::MAX;

/// The key that is being worked for, and its hash, as they came with the record.
///
/// ```
/// use thalweg_state::{Key, KeyContext};
/// let cx = KeyContext::new(&7_u64);
/// assert_eq!((cx.key, cx.hash), (&7, 7_u64.key_hash()));
/// ```
pub struct KeyContext<'a, K> {
    /// The key.
    pub key: &'a K,
    /// Its [`Key::key_hash`], and nothing else.
    pub hash: u64,
    /// The number under which it was looked up ahead.
    record: u32,
}

impl<'a, K: Key> KeyContext<'a, K> {
    /// The context of a key whose hash is not at hand. On the record path it is. Costs a hash, some ns.
    ///
    /// ```
    /// use thalweg_state::{Key, KeyContext};
    /// assert_eq!(KeyContext::new(&7_u64).hash, 7_u64.key_hash());
    /// ```
    pub fn new(key: &'a K) -> Self {
        Self::with_hash(key, key.key_hash())
    }
}

impl<'a, K> KeyContext<'a, K> {
    /// The context of a key with its [`Key::key_hash`].
    ///
    /// ```
    /// use thalweg_state::{Key, KeyContext};
    /// let cx = KeyContext::with_hash(&7_u64, 7_u64.key_hash());
    /// assert_eq!(cx.hash, KeyContext::new(&7_u64).hash);
    /// ```
    #[inline(always)]
    pub fn with_hash(key: &'a K, hash: u64) -> Self {
        Self { key, hash, record: NOT_PREPARED }
    }

    /// The same, for a key that was given to [`KeyedState::prepare`](crate::KeyedState::prepare) under that number.
    ///
    /// ```
    /// use thalweg_state::KeyContext;
    /// assert_eq!(*KeyContext::new(&7_u64).prepared_as(0).key, 7);
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn prepared_as(self, record: u32) -> Self {
        Self { record, ..self }
    }
}

impl<K> Clone for KeyContext<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for KeyContext<'_, K> {}

impl<K: fmt::Debug> fmt::Debug for KeyContext<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyContext").field("key", &self.key).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// The key of a record as it lies in a received buffer: for operators that need an owned one only where it is new.
///
/// ```
/// use thalweg_state::{ArchivedKey, Key, KeyRef};
/// let archived = rkyv::rend::u64_le::from_native(7);
/// assert!(ArchivedKey::<u64>::new(&archived, 7_u64.key_hash(), 0).is(&7));
/// ```
pub struct ArchivedKey<'a, K: Key> {
    key: &'a K::Archived,
    hash: u64,
    record: u32,
}

impl<'a, K: Key> ArchivedKey<'a, K> {
    /// As [`KeyContext::with_hash`] and [`KeyContext::prepared_as`].
    ///
    /// ```
    /// use thalweg_state::{ArchivedKey, Key};
    /// use thalweg_state::KeyRef;
    /// let archived = rkyv::rend::u64_le::from_native(7);
    /// let key = ArchivedKey::<u64>::new(&archived, 7_u64.key_hash(), 0);
    /// assert_eq!(key.to_key(), 7);
    /// ```
    #[inline(always)]
    pub fn new(key: &'a K::Archived, hash: u64, record: u32) -> Self {
        Self { key, hash, record }
    }
}

impl<K: Key> Clone for ArchivedKey<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Key> Copy for ArchivedKey<'_, K> {}

impl<K: Key> fmt::Debug for ArchivedKey<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedKey").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// Either way to say whose state is meant: [`KeyContext`] or [`ArchivedKey`].
///
/// ```
/// use thalweg_state::{KeyContext, KeyRef};
/// assert!(KeyContext::new(&7_u64).is(&7));
/// ```
pub trait KeyRef<K>: Copy {
    /// The key's hash.
    fn hash(self) -> u64;
    /// The number under which it was looked up ahead; `u32::MAX` if it was not.
    fn record(self) -> u32;
    /// Whether it is this key.
    fn is(self, key: &K) -> bool;
    /// The key itself.
    fn to_key(self) -> K;
}

impl<K: Key> KeyRef<K> for KeyContext<'_, K> {
    #[inline(always)]
    fn hash(self) -> u64 {
        self.hash
    }

    #[inline(always)]
    fn record(self) -> u32 {
        self.record
    }

    #[inline(always)]
    fn is(self, key: &K) -> bool {
        self.key == key
    }

    #[inline(always)]
    fn to_key(self) -> K {
        self.key.clone()
    }
}

/// Either of them at a place of its own in memory, for functions that are never inlined: handed over as it is, it would have to lie
/// in memory for those that are inlined, too.
#[derive(Clone, Copy)]
pub(crate) struct Apart<R>(pub(crate) R);

impl<K, R: KeyRef<K>> KeyRef<K> for Apart<R> {
    #[inline(always)]
    fn hash(self) -> u64 {
        self.0.hash()
    }

    #[inline(always)]
    fn record(self) -> u32 {
        self.0.record()
    }

    #[inline(always)]
    fn is(self, key: &K) -> bool {
        self.0.is(key)
    }

    #[inline(always)]
    fn to_key(self) -> K {
        self.0.to_key()
    }
}

impl<K: Key> KeyRef<K> for ArchivedKey<'_, K> {
    #[inline(always)]
    fn hash(self) -> u64 {
        self.hash
    }

    #[inline(always)]
    fn record(self) -> u32 {
        self.record
    }

    #[inline(always)]
    fn is(self, key: &K) -> bool {
        key.eq_archived(self.key)
    }

    #[inline(always)]
    fn to_key(self) -> K {
        K::from_archived(self.key)
    }
}
