//! What timers over a store are counted by: those that have fired, and what they own.

use super::wakes::Wakes;
use crate::Key;

/// More than so many that have fired go as ranges, one for each key group.
const FIRED_MAX: usize = if cfg!(test) { 4 } else { 128 };
/// One in so many timers is looked at for what it owns.
const SAMPLE_ONE_IN: usize = 64;

/// What was popped since the last freeze and is below: a few timers, or all before a time and some of that time.
pub(super) struct Fired<P> {
    pub(super) timers: Vec<(i64, u64, P)>,
    pub(super) before: Option<i64>,
}

impl<P> Fired<P> {
    pub(super) const NONE: Self = Self { timers: Vec::new(), before: None };

    pub(super) fn memory_bytes(&self) -> usize {
        self.timers.capacity() * size_of::<(i64, u64, P)>()
    }
}

impl<P: Clone> Fired<P> {
    pub(super) fn note(&mut self, at: i64, hash: u64, payload: &P) {
        if let Some(before) = self.before.filter(|&before| before != at) {
            if at < before {
                return;
            }
            self.begin(at);
        }
        self.timers.push((at, hash, payload.clone()));
        if self.before.is_none() && self.timers.len() > FIRED_MAX {
            self.begin(self.timers.iter().map(|timer| timer.0).fold(at, i64::max));
        }
    }

    /// All before that time are gone.
    fn begin(&mut self, time: i64) {
        self.before = Some(time);
        self.timers.retain(|timer| timer.0 == time);
    }
}

/// About how many bytes payloads own, by samples.
#[derive(Debug, Default)]
pub(super) struct OwnedBytes {
    seen: usize,
    mean: f64,
    scratch: Vec<u8>,
}

impl OwnedBytes {
    #[inline]
    pub(super) fn sample<P: Wakes>(&mut self, payload: &P) {
        if !std::mem::needs_drop::<P>() {
            return;
        }
        self.seen += 1;
        if self.seen.is_multiple_of(SAMPLE_ONE_IN) {
            self.scratch.clear();
            payload.key().encode(&mut self.scratch);
            self.mean += (self.scratch.len() as f64 - self.mean) / if self.mean == 0.0 { 1.0 } else { 16.0 };
        }
    }

    pub(super) fn of(&self, timers: usize) -> usize {
        (timers as f64 * self.mean) as usize
    }
}
