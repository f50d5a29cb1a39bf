//! The time of a core, as it is told.

use std::cell::Cell;
use std::rc::Rc;

/// Processing time in ms, shared by all that is on one core. Nobody here reads a clock: the driver says what time it is.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Rc<Cell<i64>>);

impl Default for Clock {
    /// Before all times, until it is told.
    fn default() -> Self {
        Self(Rc::new(Cell::new(i64::MIN)))
    }
}

impl Clock {
    #[inline]
    pub(crate) fn now_ms(&self) -> i64 {
        self.0.get()
    }

    #[inline]
    pub(crate) fn set(&self, now_ms: i64) {
        self.0.set(now_ms);
    }
}
