//! Items in the order in which they fall due, for what is looked at once and put back.
//!
//! ```text
//!   now = 0b0110:   bucket 0: 0110   1: 0111   2: 0100 (past) …   3: 1xxx   4: 1xxxx …
//! ```
//!
//! A radix heap (Ahuja, Mehlhorn, Orlin, Tarjan 1990): an item's bucket is the highest bit in which its time differs from `now`.
//! As `now` only grows, an item moves to lower buckets only, one push each. Putting an item in costs a push, whatever the number
//! of items; [`Timers`](crate::Timers), which also finds and deletes them, costs ten times that.
//!
//! Invariants:
//! - every item in a bucket above 0 is later than `now`; those at or before it are in bucket 0;
//! - items come out when their time has come, in no order among those of one step.

/// Items with a time each: those whose time has come are taken out, in no order among themselves.
///
/// Cost: a push for an item that comes in, and at most one for each of its time's 64 bits after that.
///
/// ```
/// let mut queue = thalweg_state::DueQueue::new();
/// queue.push(15, "b");
/// queue.push(10, "a");
/// assert_eq!(queue.pop_due(9), None);
/// assert_eq!(queue.pop_due(12), Some("a"));
/// assert_eq!(queue.pop_due(12), None);
/// assert_eq!(queue.pop_due(i64::MAX), Some("b"));
/// ```
#[derive(Debug)]
pub struct DueQueue<T> {
    /// The greatest time asked for, its sign bit flipped so that it compares as unsigned.
    now: u64,
    /// By the highest bit that differs from `now`, from 1; bucket 0 is due.
    buckets: Vec<Vec<(u64, T)>>,
    /// Which buckets above 0 hold something: bit i for bucket i + 1.
    occupied: u64,
    len: usize,
    spare: Vec<(u64, T)>,
}

/// Buckets for 64 bits, and the one for what is due.
const BUCKETS: usize = 65;

impl<T> DueQueue<T> {
    /// A queue without items. Does not allocate for them yet.
    pub fn new() -> Self {
        Self {
            now: 0,
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            occupied: 0,
            len: 0,
            spare: Vec::new(),
        }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an item in, due at `at` ms. One that is due already comes out with the next `pop_due`. Amortised O(1).
    #[inline]
    pub fn push(&mut self, at: i64, item: T) {
        self.len += 1;
        self.place(unsigned(at), item);
    }

    #[inline]
    fn place(&mut self, at: u64, item: T) {
        let bucket = if at <= self.now { 0 } else { (64 - (at ^ self.now).leading_zeros()) as usize };
        if bucket > 0 {
            self.occupied |= 1 << (bucket - 1);
        }
        self.buckets[bucket].push((at, item));
    }

    /// An item that is due at or before `now`, if there is one. `now` must not go back; if it does, it counts as before.
    #[inline]
    pub fn pop_due(&mut self, now: i64) -> Option<T> {
        let now = unsigned(now);
        if now > self.now {
            self.advance(now);
        }
        let (_, item) = self.buckets[0].pop()?;
        self.len -= 1;
        Some(item)
    }

    /// Moves down what the new time brings nearer: the buckets up to the highest bit that changes.
    fn advance(&mut self, now: u64) {
        let highest = 64 - (now ^ self.now).leading_zeros();
        self.now = now;
        let reached = if highest == 64 { u64::MAX } else { (1 << highest) - 1 };
        let mut touched = self.occupied & reached;
        self.occupied &= !reached;
        while touched != 0 {
            let bucket = touched.trailing_zeros() as usize + 1;
            touched &= touched - 1;
            std::mem::swap(&mut self.spare, &mut self.buckets[bucket]);
            let mut items = std::mem::take(&mut self.spare);
            for (at, item) in items.drain(..) {
                self.place(at, item);
            }
            self.spare = items;
        }
    }
}

impl<T> Default for DueQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[inline]
fn unsigned(at: i64) -> u64 {
    at.cast_unsigned() ^ (1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a map from time to items: the same set comes out at each step.
        #[test]
        fn gives_out_what_is_due(steps in prop::collection::vec((prop::collection::vec(-50_i64..200, 0..20), 0_i64..40), 1..40)) {
            let mut queue = DueQueue::new();
            let mut model: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            let (mut now, mut next) = (-60, 0);
            for (times, step) in steps {
                for at in times {
                    queue.push(at, next);
                    model.entry(at).or_default().push(next);
                    next += 1;
                }
                now += step;
                let mut expected: Vec<u32> = Vec::new();
                while let Some(entry) = model.first_entry().filter(|e| *e.key() <= now) {
                    expected.extend(entry.remove());
                }
                let mut got: Vec<u32> = std::iter::from_fn(|| queue.pop_due(now)).collect();
                got.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(got, expected);
                prop_assert_eq!(queue.len(), model.values().map(Vec::len).sum::<usize>());
            }
        }
    }
}
