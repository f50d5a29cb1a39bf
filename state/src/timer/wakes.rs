//! Whom timers wake.

use crate::Key;

/// What a timer says of whom it wakes: a key, perhaps with a namespace such as a window. Every [`Key`] is one, without a namespace.
///
/// ```
/// use thalweg_state::Wakes;
/// #[derive(Clone, PartialEq, Eq)]
/// struct Visit {
///     user: u64,
///     page: u32,
/// }
/// impl Wakes for Visit {
///     type Key = u64;
///     type Namespace = u32;
///     fn new(user: u64, page: u32) -> Self {
///         Self { user, page }
///     }
///     fn key(&self) -> &u64 {
///         &self.user
///     }
///     fn namespace(&self) -> u32 {
///         self.page
///     }
/// }
/// assert_eq!(Visit::new(7, 1).key(), &7);
/// ```
pub trait Wakes: Eq + Clone + Send + Sync + 'static {
    /// Whose state it may change. Its hash places the timer.
    type Key: Key;
    /// What else there is; `()` for nothing.
    type Namespace: Key;

    /// The parts put together.
    fn new(key: Self::Key, namespace: Self::Namespace) -> Self;

    /// The key.
    fn key(&self) -> &Self::Key;

    /// The namespace.
    fn namespace(&self) -> Self::Namespace;
}

impl<K: Key> Wakes for K {
    type Key = K;
    type Namespace = ();

    fn new(key: K, (): ()) -> K {
        key
    }

    fn key(&self) -> &K {
        self
    }

    fn namespace(&self) {}
}
