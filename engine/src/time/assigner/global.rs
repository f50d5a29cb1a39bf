//! One window for everything.

use super::super::Timestamp;
use super::super::trigger::{EndOfStream, Never};
use super::super::window::TimeWindow;
use super::{PerRecord, WindowAssigner, WindowError};

/// One window for all records of a key. It fires only when a trigger of one's own says so.
///
/// ```
/// use thalweg::{Global, TimeWindow, WindowAssigner};
///
/// let mut windows = Vec::new();
/// Global.assign(&'a', 12, 0, &mut windows)?;
/// assert_eq!(windows, [TimeWindow::GLOBAL]);
/// # Ok::<(), thalweg::WindowError>(())
/// ```
///
/// Records need no timestamps, and nothing is late. A trigger that never purges keeps all records, or an aggregate of them, for
/// as long as the job runs. Source: Flink's `GlobalWindows`.
#[derive(Debug, Clone, Copy)]
pub struct Global;

impl Global {
    /// The same window, which fires when the input has ended: what a batch job would compute. Source: Flink's
    /// `GlobalWindows.createWithEndOfStreamTrigger`.
    ///
    /// ```
    /// use thalweg::{Env, Global};
    ///
    /// let env = Env::new().parallelism(1);
    /// let sum = env.generate(10, |n| n).window_all(Global::end_of_stream()).sum(|n| n).collect();
    /// env.execute()?;
    /// assert_eq!(sum.take(), [45]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn end_of_stream() -> GlobalEndOfStream {
        GlobalEndOfStream
    }
}

/// The global window that fires when the input has ended: see [`Global::end_of_stream`].
#[derive(Debug, Clone, Copy)]
pub struct GlobalEndOfStream;

macro_rules! global {
    ($assigner:ident, $trigger:ident) => {
        impl<T> WindowAssigner<T> for $assigner {
            type Trigger = $trigger;
            type Path = PerRecord;
            const MERGING: bool = false;

            #[inline]
            fn assign(
                &self,
                _record: &T,
                _timestamp: Timestamp,
                _now: Timestamp,
                into: &mut Vec<TimeWindow>,
            ) -> Result<(), WindowError> {
                into.push(TimeWindow::GLOBAL);
                Ok(())
            }

            fn default_trigger(&self) -> $trigger {
                $trigger
            }

            fn is_event_time(&self) -> bool {
                false
            }
        }
    };
}

global!(Global, Never);
global!(GlobalEndOfStream, EndOfStream);
