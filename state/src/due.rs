//! Items in the order in which they fall due.
//!
//! ```text
//!   base = … 2 │ 0 │ 61     level 0:  61 │ 62 │ 63                one ms each, those that share all digits but the last
//!   (base 64)               level 1:   1 │  2 │ … │ 63            64 ms each: all items of one slot, unsorted
//!                           level 2:   3 │ …                      4096 ms each
//! ```
//!
//! A timing wheel with a wheel for each of the eleven base-64 digits of a time, which is a radix heap (Ahuja, Mehlhorn, Orlin,
//! Tarjan 1990) of base 64: the highest digit in which an item's time differs from `base` is its level, and that digit its slot.
//! When nothing is left before a slot, `base` moves to its start and its items move to lower levels, mostly once or twice in
//! their lives. So putting an item in and taking it out cost a few pushes to the ends of vectors, whatever the number of items.
//!
//! Invariants:
//! - every item in a slot is at or after `base`, those of a level before those of the next, those of a slot before those of the
//!   next: the first occupied slot of the first occupied level has the first item;
//! - `base` never passes what was asked for, so a time before it is one that had fallen due already: those few are in a heap;
//! - a slot without items owns no memory: it is lent from `spare`, so nothing is allocated once there is enough.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Bits of a digit.
const DIGIT: u32 = 6;
const SLOTS: usize = 1 << DIGIT;
/// Digits of 64 bits.
const LEVELS: usize = 64_usize.div_ceil(DIGIT as usize);
/// Larger vectors than this go back to the allocator, lest every slot end up with one. In items.
const SPARE_ITEMS_MAX: usize = 4096;

/// Items with a time each, which come out in the order of their times; those of one time in no order among themselves.
///
/// Cost: amortised O(1), a few ns, for times that are not far beyond those asked for; at most a push for each of eleven digits.
/// An item that is put in after its time has fallen due costs O(log n) in the number of those.
///
/// ```
/// let mut queue = thalweg_state::DueQueue::new();
/// queue.push(15, "b");
/// queue.push(10, "a");
/// assert_eq!(queue.pop_due(9), None);
/// assert_eq!(queue.pop_due(i64::MAX), Some("a"));
/// assert_eq!(queue.pop_due(i64::MAX), Some("b"));
/// ```
#[derive(Debug)]
pub struct DueQueue<T> {
    /// As all times in here, with its sign bit flipped, so that it compares as unsigned.
    base: u64,
    /// Which levels hold something, and which of their slots do.
    levels: u32,
    occupied: [u64; LEVELS],
    /// `SLOTS` for each level.
    slots: Box<[Slot<T>]>,
    spare: Vec<Slot<T>>,
    /// What was before `base` when it came.
    late: BinaryHeap<Late<T>>,
    len: usize,
}

type Slot<T> = Vec<(u64, T)>;

/// Greater if it is earlier.
#[derive(Debug)]
struct Late<T>(u64, T);

/// Where the first item is.
enum First {
    Late(u64),
    Slot { level: usize, slot: usize, start: u64 },
}

impl<T> DueQueue<T> {
    /// A queue without items. Allocates 17 KB for the slots.
    ///
    /// ```
    /// assert_eq!(thalweg_state::DueQueue::<u64>::new().next_at(), None);
    /// ```
    pub fn new() -> Self {
        Self {
            base: 0,
            levels: 0,
            occupied: [0; LEVELS],
            slots: (0..LEVELS * SLOTS).map(|_| Slot::new()).collect(),
            spare: Vec::new(),
            late: BinaryHeap::new(),
            len: 0,
        }
    }

    /// How many items there are. O(1).
    ///
    /// ```
    /// let mut queue = thalweg_state::DueQueue::new();
    /// (queue.push(10, 'a'), queue.push(10, 'a')); // Items may be equal.
    /// assert_eq!(queue.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    ///
    /// ```
    /// let mut queue = thalweg_state::DueQueue::new();
    /// queue.push(10, 'a');
    /// queue.pop_due(10);
    /// assert!(queue.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an item in, due at `at` ms. One that is due already comes out with the next `pop_due`.
    ///
    /// ```
    /// let mut queue = thalweg_state::DueQueue::new();
    /// queue.push(100, "on time");
    /// assert_eq!(queue.pop_due(100), Some("on time"));
    /// queue.push(5, "late");
    /// assert_eq!(queue.pop_due(100), Some("late"));
    /// ```
    #[inline]
    pub fn push(&mut self, at: i64, item: T) {
        self.len += 1;
        let at = unsigned(at);
        if at < self.base {
            self.late.push(Late(at, item));
        } else {
            self.place(at, item);
        }
    }

    /// A time before which nothing falls due, `None` if there is nothing. It is the time of the first item if that is near what
    /// was last asked for, and else comes closer when it has been asked for. O(1).
    ///
    /// ```
    /// let mut queue = thalweg_state::DueQueue::new();
    /// queue.push(1_000_000, ());
    /// assert!(queue.next_at().is_some_and(|at| at <= 1_000_000));
    /// assert_eq!(queue.pop_due(999_999), None);
    /// assert_eq!(queue.next_at(), Some(1_000_000));
    /// ```
    #[inline]
    pub fn next_at(&self) -> Option<i64> {
        let (First::Late(at) | First::Slot { start: at, .. }) = self.first()?;
        Some(signed(at))
    }

    /// The first item and its time, if it is due at or before `now`.
    ///
    /// ```
    /// let mut queue = thalweg_state::DueQueue::new();
    /// queue.push(10, "a");
    /// assert_eq!(queue.peek_due(9), None);
    /// assert_eq!(queue.peek_due(12), Some((10, &"a")));
    /// ```
    #[inline]
    pub fn peek_due(&mut self, now: i64) -> Option<(i64, &T)> {
        match self.settle(unsigned(now))? {
            First::Late(_) => self.late.peek().map(|Late(at, item)| (signed(*at), item)),
            First::Slot { slot, .. } => self.slots[slot].last().map(|(at, item)| (signed(*at), item)),
        }
    }

    /// Takes out the first item, if it is due at or before `now`, in ms. It is the one that `peek_due` shows. `now` may go back.
    ///
    /// ```
    /// let mut queue = thalweg_state::DueQueue::new();
    /// [30, 10, 20].map(|at| queue.push(at, at));
    /// let due: Vec<_> = std::iter::from_fn(|| queue.pop_due(25)).collect();
    /// assert_eq!((due, queue.len()), (vec![10, 20], 1));
    /// ```
    #[inline]
    pub fn pop_due(&mut self, now: i64) -> Option<T> {
        let item = match self.settle(unsigned(now))? {
            First::Late(_) => self.late.pop()?.1,
            First::Slot { slot, .. } => {
                let (at, item) = self.slots[slot].pop()?;
                self.base = at;
                if self.slots[slot].is_empty() {
                    self.vacate(0, slot);
                }
                item
            }
        };
        self.len -= 1;
        Some(item)
    }

    /// Keeps the items for which `keep` says so.
    ///
    /// ```
    /// let mut queue = thalweg_state::DueQueue::new();
    /// (0..10).for_each(|n| queue.push(n, n));
    /// queue.retain(|n| n % 2 == 0);
    /// assert_eq!(queue.len(), 5);
    /// ```
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.late.retain(|late| keep(&late.1));
        for slot in 0..self.slots.len() {
            if !self.slots[slot].is_empty() {
                self.slots[slot].retain(|(_, item)| keep(item));
                if self.slots[slot].is_empty() {
                    self.vacate(slot / SLOTS, slot);
                }
            }
        }
        self.len = self.late.len() + self.slots.iter().map(Vec::len).sum::<usize>();
    }

    /// All items and their times, in no order.
    ///
    /// ```
    /// let mut queue = thalweg_state::DueQueue::new();
    /// queue.push(10, "a");
    /// assert_eq!(queue.iter().collect::<Vec<_>>(), [(10, &"a")]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (i64, &T)> {
        let late = self.late.iter().map(|Late(at, item)| (signed(*at), item));
        late.chain(self.slots.iter().flatten().map(|(at, item)| (signed(*at), item)))
    }

    /// Puts an item into the slot where it belongs.
    #[inline]
    fn place(&mut self, at: u64, item: T) {
        debug_assert!(at >= self.base);
        let level = ((at ^ self.base) | 1).ilog2() / DIGIT;
        let digit = (at >> (level * DIGIT)) as usize % SLOTS;
        let level = level as usize;
        let slot = &mut self.slots[level * SLOTS + digit];
        if slot.is_empty() {
            self.levels |= 1 << level;
            self.occupied[level] |= 1 << digit;
            if let Some(spare) = self.spare.pop() {
                *slot = spare;
            }
        }
        slot.push((at, item));
    }

    /// The slot that holds what comes first, or whether that is late.
    #[inline]
    fn first(&self) -> Option<First> {
        if let Some(&Late(at, _)) = self.late.peek() {
            return Some(First::Late(at)); // Before `base`, and so before all others.
        }
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let digit = self.occupied[level as usize].trailing_zeros();
        // The digits above are those of `base`, those below are zeros.
        let above = self.base.checked_shr((level + 1) * DIGIT).unwrap_or(0);
        let start = (above << DIGIT | u64::from(digit)) << (level * DIGIT);
        let slot = level as usize * SLOTS + digit as usize;
        Some(First::Slot { level: level as usize, slot, start })
    }

    /// Where the first item is, unless it is later than `now`: in a slot of level 0, or late.
    #[inline]
    fn settle(&mut self, now: u64) -> Option<First> {
        loop {
            match self.first() {
                Some(First::Late(at)) => return (at <= now).then_some(First::Late(at)),
                Some(First::Slot { start, .. }) if start > now => return None,
                Some(first @ First::Slot { level: 0, .. }) => return Some(first),
                Some(First::Slot { level, slot, start }) => self.move_down(level, slot, start),
                None => {
                    self.base = self.base.max(now); // So that what comes next is near.
                    return None;
                }
            }
        }
    }

    /// Moves the items of a slot, before which there is nothing, to lower levels.
    #[inline(never)]
    fn move_down(&mut self, level: usize, slot: usize, start: u64) {
        self.base = start;
        let mut items = std::mem::take(&mut self.slots[slot]);
        self.vacate(level, slot);
        for (at, item) in items.drain(..) {
            self.place(at, item);
        }
        self.keep(items);
    }

    /// A slot has become empty.
    #[inline]
    fn vacate(&mut self, level: usize, slot: usize) {
        self.occupied[level] &= !(1 << (slot % SLOTS));
        self.levels &= !(u32::from(self.occupied[level] == 0) << level);
        let items = std::mem::take(&mut self.slots[slot]);
        self.keep(items);
    }

    /// Keeps the memory of an empty slot for another.
    #[inline]
    fn keep(&mut self, items: Slot<T>) {
        if (1..=SPARE_ITEMS_MAX).contains(&items.capacity()) {
            self.spare.push(items);
        }
    }
}

impl<T> Default for DueQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Ord for Late<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        Reverse(self.0).cmp(&Reverse(other.0))
    }
}

impl<T> PartialOrd for Late<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Late<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Late<T> {}

#[inline]
fn unsigned(at: i64) -> u64 {
    at.cast_unsigned() ^ (1 << 63)
}

#[inline]
fn signed(at: u64) -> i64 {
    (at ^ (1 << 63)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What comes in, and how far time goes on after it.
    type Steps = Vec<(Vec<i64>, i64)>;

    /// Times of all magnitudes around a base, some before it.
    fn any_steps(base: i64) -> impl Strategy<Value = Steps> {
        let magnitude = || prop_oneof![8 => 0..8_u32, 4 => 0..24_u32, 1 => 0..63_u32];
        let at = magnitude()
            .prop_flat_map(move |bits| -20..1_i64 << bits)
            .prop_map(move |at| base.saturating_add(at));
        let step = magnitude().prop_flat_map(|bits| 0..1_i64 << bits);
        prop::collection::vec((prop::collection::vec(at, 0..20), step), 1..40)
    }

    /// Against a sorted set of (time, item).
    fn check(base: i64, steps: Steps) {
        let mut queue = DueQueue::new();
        let mut model = BTreeSet::new();
        let (mut now, mut count) = (base.saturating_sub(10), 0);
        for (times, step) in steps {
            for at in times {
                queue.push(at, count);
                model.insert((at, count));
                count += 1;
            }
            if count % 3 == 0 {
                queue.retain(|item| item % 5 > 0);
                model.retain(|(_, item)| item % 5 > 0);
            }
            now = now.saturating_add(step);
            loop {
                let first = queue.peek_due(now).map(|(at, &item)| (at, item));
                let Some(item) = queue.pop_due(now) else { break };
                let (at, shown) = first.expect("what comes out was shown");
                assert_eq!((shown, Some(at)), (item, model.first().map(|first| first.0)), "in order of time");
                assert!(at <= now && model.remove(&(at, item)));
            }
            assert!(model.first().is_none_or(|first| first.0 > now), "all that was due");
            assert_eq!(queue.len(), model.len());
            assert!(queue.next_at().is_none_or(|next| next > now), "nothing due is left");
            assert!(queue.next_at() <= model.first().map(|first| first.0), "and nothing comes before it");
        }
        assert_eq!(queue.iter().map(|(at, &item)| (at, item)).collect::<BTreeSet<_>>(), model);
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn gives_out_what_is_due(steps in any_steps(1_700_000_000_000)) {
            check(1_700_000_000_000, steps);
        }

        #[test]
        fn at_the_ends_of_time(steps in any_steps(i64::MIN), more in any_steps(i64::MAX - 100)) {
            check(i64::MIN, steps);
            check(i64::MAX - 100, more);
        }
    }

    /// A window of time that moves on for ever: no slot and no spare vector is left behind.
    #[test]
    fn memory_does_not_grow_with_time() {
        let mut queue = DueQueue::new();
        for now in 0..300_000 {
            queue.push(now + 1 + now % 700, ());
            while queue.pop_due(now).is_some() {}
        }
        let slots = queue.slots.iter().filter(|slot| slot.capacity() > 0).count();
        assert!(slots + queue.spare.len() < 150, "{slots} slots, {} spare", queue.spare.len());
    }
}
