//! Whether a core sleeps, so that its senders know when to ring.
//!
//! ```text
//!   receiver                                sender
//!   prepare: parked = true; fence           publish into a ring; fence
//!   look at all rings again                 parked? then take it back, and ring
//!   empty: sleep on the doorbell
//! ```
//!
//! Invariant: of a receiver that parks and a sender that publishes, at least one sees what the other did. Both write, pass a
//! sequentially consistent fence, and then read; so the two reads cannot both come before the two writes. Either the
//! receiver finds the item, or the sender finds the flag: no wake-up is lost, and while the receiver is awake a
//! sender pays a fence and a load, no system call.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, Ordering, fence};

/// Says whether its core is about to sleep. One per core, shared with all who send to it.
///
/// The receiver calls [`prepare`](Self::prepare), looks at everything it can be sent once more, and then either finds
/// something and calls [`cancel`](Self::cancel), or sleeps until the doorbell rings and calls `cancel` then.
///
/// ```
/// use thalweg_net::ParkFlag;
///
/// let flag = ParkFlag::new();
/// assert!(!flag.ring_if_parked()); // Awake: nothing to do.
/// flag.prepare();
/// assert!(flag.ring_if_parked()); // One sender rings …
/// assert!(!flag.ring_if_parked()); // … and no other.
/// ```
#[derive(Debug)]
pub struct ParkFlag {
    parked: CachePadded<AtomicBool>,
}

impl ParkFlag {
    /// The flag of a core that is awake.
    ///
    /// ```
    /// assert!(!thalweg_net::ParkFlag::new().is_parked());
    /// ```
    pub fn new() -> Self {
        Self { parked: CachePadded::new(AtomicBool::new(false)) }
    }

    /// Announces that the receiver will sleep unless it finds something now. Only the receiver calls it, and then looks at all it
    /// can be sent once more: what was published before the announcement nobody rings for. Costs a fence.
    ///
    /// ```
    /// use thalweg_net::{ParkFlag, ring};
    ///
    /// let (mut producer, mut consumer) = ring::channel(4);
    /// let flag = ParkFlag::new();
    /// producer.try_push('a').unwrap();
    /// producer.publish();
    /// assert!(!flag.ring_if_parked());
    /// flag.prepare(); // The item is there, and no bell rings.
    /// if !consumer.is_empty() {
    ///     flag.cancel();
    /// }
    /// assert_eq!(consumer.pop(), Some('a'));
    /// ```
    #[inline]
    pub fn prepare(&self) {
        // Relaxed: only the order of this store before the loads that follow matters, and that is the fence's.
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back. A doorbell already rung for it may still arrive, and is harmless.
    ///
    /// ```
    /// let flag = thalweg_net::ParkFlag::new();
    /// flag.prepare();
    /// flag.cancel();
    /// assert!(!flag.ring_if_parked());
    /// ```
    #[inline]
    pub fn cancel(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Whether the caller must ring the doorbell, after it published something: `true` for one sender per park. Costs a fence and
    /// a load while the receiver is awake.
    ///
    /// ```
    /// let flag = thalweg_net::ParkFlag::new();
    /// flag.prepare();
    /// assert_eq!([flag.ring_if_parked(), flag.ring_if_parked()], [true, false]);
    /// ```
    #[inline]
    pub fn ring_if_parked(&self) -> bool {
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed)
            && self.parked.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether the receiver has announced that it sleeps, and nobody rang yet. For metrics: it may be outdated when it returns.
    ///
    /// ```
    /// let flag = thalweg_net::ParkFlag::new();
    /// flag.prepare();
    /// assert!(flag.is_parked());
    /// flag.ring_if_parked();
    /// assert!(!flag.is_parked());
    /// ```
    pub fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed)
    }
}

impl Default for ParkFlag {
    fn default() -> Self {
        Self::new()
    }
}
