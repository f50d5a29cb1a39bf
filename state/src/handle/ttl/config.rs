//! How long state lives, what prolongs its life, and who clears it away: Flink's `StateTtlConfig`.

use std::time::Duration;

use crate::backend::StateBackend;

/// Time to live: state that was not used for so long is gone.
///
/// Times are processing time, in whole milliseconds. A value, each item of a list and each entry of a map live for themselves;
/// for reducing and aggregating states it is the accumulator that does. The handle's methods say what counts as a read or a
/// write. Source: Flink's `StateTtlConfig`, whose names and defaults these are.
///
/// A state with TTL is written with the times of its values, so TTL cannot be turned on or off for state that was saved:
/// that is a [schema mismatch](crate::lsm::Error::SchemaMismatch). All else here can be changed from one run of the job to the
/// next, the time to live too, and applies to what was saved before.
///
/// ```
/// use std::time::Duration;
/// use thalweg_state::{CoreState, KeyContext, KeyGroupRange, MaxParallelism, StateDescriptor, Ttl, UpdateType, ValueState};
/// let (core, max) = (CoreState::heap(), MaxParallelism::default());
/// let backend = core.backend("logins", KeyGroupRange::all(max), max);
/// let ttl = Ttl::new(Duration::from_secs(60)).update_type(UpdateType::OnReadAndWrite);
/// let mut session = ValueState::new(StateDescriptor::new("session").with_ttl(ttl), &backend)?;
///
/// core.set_time(0); // The engine does this; tests may turn the clock by hand.
/// session.set(KeyContext::new(&7_u64), "alice".to_owned());
/// core.set_time(59_999);
/// assert!(session.contains(KeyContext::new(&7))); // A read, which prolongs its life.
/// core.set_time(60_000 + 59_999);
/// assert!(!session.contains(KeyContext::new(&7)));
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ttl {
    time_to_live_ms: i64,
    update_type: UpdateType,
    visibility: StateVisibility,
    in_background: bool,
    in_full_snapshot: bool,
    incrementally: Option<IncrementalCleanup>,
    in_compaction: bool,
}

/// What prolongs the life of state. Source: Flink's `StateTtlConfig.UpdateType`.
///
/// ```
/// use thalweg_state::UpdateType;
/// assert_eq!(UpdateType::default(), UpdateType::OnCreateAndWrite);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UpdateType {
    /// State lives for ever: as if no TTL had been given.
    Disabled,
    /// Writes.
    #[default]
    OnCreateAndWrite,
    /// Writes, and reads of what has not expired.
    OnReadAndWrite,
}

/// Whether expired state is seen. Source: Flink's `StateTtlConfig.StateVisibility`.
///
/// ```
/// use thalweg_state::StateVisibility;
/// assert_eq!(StateVisibility::default(), StateVisibility::NeverReturnExpired);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StateVisibility {
    /// It is not.
    #[default]
    NeverReturnExpired,
    /// It is, unless it was cleared away. The read that sees it clears it away; of a list, once all of its items have expired.
    ReturnExpiredIfNotCleanedUp,
}

/// How much is cleared away with each access: see [`Ttl::cleanup_incrementally`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IncrementalCleanup {
    /// How many entries are looked at.
    pub(crate) entries: usize,
    /// Not only with each access, but also with each record of the operator.
    pub(crate) for_every_record: bool,
}

impl Ttl {
    /// State that lives for `time_to_live` after it was written last.
    ///
    /// Panics: if that is less than a millisecond.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_state::Ttl;
    /// assert_eq!(Ttl::new(Duration::from_secs(1)).time_to_live(), Duration::from_millis(1000));
    /// ```
    pub fn new(time_to_live: Duration) -> Self {
        let time_to_live_ms = i64::try_from(time_to_live.as_millis()).unwrap_or(i64::MAX);
        assert!(time_to_live_ms > 0, "state that lives for {time_to_live:?} is none");
        Self {
            time_to_live_ms,
            update_type: UpdateType::default(),
            visibility: StateVisibility::default(),
            in_background: true,
            in_full_snapshot: false,
            incrementally: None,
            in_compaction: false,
        }
    }

    /// What prolongs the life of state: writes, unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use thalweg_state::{Ttl, UpdateType};
    /// let ttl = Ttl::new(Duration::from_secs(1)).update_type(UpdateType::Disabled);
    /// assert!(!ttl.is_enabled());
    /// ```
    #[must_use]
    pub fn update_type(self, update_type: UpdateType) -> Self {
        Self { update_type, ..self }
    }

    /// Whether expired state is seen: it is not, unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use thalweg_state::{StateVisibility, Ttl};
    /// let ttl = Ttl::new(Duration::from_secs(1)).visibility(StateVisibility::ReturnExpiredIfNotCleanedUp);
    /// assert_ne!(ttl, Ttl::new(Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn visibility(self, visibility: StateVisibility) -> Self {
        Self { visibility, ..self }
    }

    /// Leaves expired state out of snapshots of the heap. Off unless set. The state itself stays as it is. What is in files is
    /// written to snapshots as it is: see [`Self::cleanup_in_compaction`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use thalweg_state::Ttl;
    /// let ttl = Ttl::new(Duration::from_secs(1)).cleanup_full_snapshot();
    /// assert!(ttl.cleans_full_snapshots());
    /// ```
    #[must_use]
    pub fn cleanup_full_snapshot(self) -> Self {
        Self { in_full_snapshot: true, ..self }
    }

    /// On the heap: looks at the next `entries` entries of the state with each access to it, and clears those that have
    /// expired; if `for_every_record`, also with each record that its operator takes. 5 entries and `false` unless set.
    ///
    /// Cost: some ns for each entry. State that is neither read nor written is not cleared, without `for_every_record`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use thalweg_state::Ttl;
    /// let ttl = Ttl::new(Duration::from_secs(1)).cleanup_incrementally(10, true);
    /// assert_ne!(ttl, Ttl::new(Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn cleanup_incrementally(self, entries: usize, for_every_record: bool) -> Self {
        Self { incrementally: Some(IncrementalCleanup { entries, for_every_record }), ..self }
    }

    /// In files: clears expired state away where files are written anyway, in flushes and compactions. On unless
    /// [`Self::disable_cleanup_in_background`]. Source: Flink's `cleanupInRocksdbCompactFilter`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use thalweg_state::Ttl;
    /// let ttl = Ttl::new(Duration::from_secs(1)).disable_cleanup_in_background().cleanup_in_compaction();
    /// assert!(ttl.cleans_in_compaction());
    /// ```
    #[must_use]
    pub fn cleanup_in_compaction(self) -> Self {
        Self { in_compaction: true, ..self }
    }

    /// Clears expired state away only where it is read, and in what other ways were asked for.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use thalweg_state::Ttl;
    /// let ttl = Ttl::new(Duration::from_secs(1)).disable_cleanup_in_background();
    /// assert!(!ttl.cleans_in_compaction());
    /// ```
    #[must_use]
    pub fn disable_cleanup_in_background(self) -> Self {
        Self { in_background: false, ..self }
    }

    /// How long state lives.
    pub fn time_to_live(&self) -> Duration {
        Duration::from_millis(self.time_to_live_ms.unsigned_abs())
    }

    /// Whether state expires at all.
    pub fn is_enabled(&self) -> bool {
        self.update_type != UpdateType::Disabled
    }

    /// Whether full snapshots leave expired state out.
    pub fn cleans_full_snapshots(&self) -> bool {
        self.in_full_snapshot
    }

    /// Whether flushes and compactions leave expired state out.
    pub fn cleans_in_compaction(&self) -> bool {
        self.in_compaction || self.in_background
    }

    /// Whether files of states of that backend leave expired state out. The heap has them for its snapshots only.
    pub(crate) fn cleans_files_of(&self, backend: &StateBackend) -> bool {
        if backend.spills() { self.cleans_in_compaction() } else { self.cleans_full_snapshots() }
    }

    /// What is cleared with each access, on the heap.
    pub(crate) fn incremental_cleanup(&self) -> Option<IncrementalCleanup> {
        let default = IncrementalCleanup { entries: 5, for_every_record: false };
        self.incrementally.or(self.in_background.then_some(default))
    }

    /// Whether reads prolong the life of state.
    pub(crate) fn updates_on_read(&self) -> bool {
        self.update_type == UpdateType::OnReadAndWrite
    }

    /// Whether expired state is seen.
    pub(crate) fn returns_expired(&self) -> bool {
        self.visibility == StateVisibility::ReturnExpiredIfNotCleanedUp
    }

    /// Whether state used last at `at_ms` has expired. Source: Flink's `TtlUtils.expired`.
    #[inline]
    pub(crate) fn has_expired(&self, at_ms: i64, now_ms: i64) -> bool {
        at_ms.saturating_add(self.time_to_live_ms) <= now_ms
    }
}
