//! Runs the cores of a job on threads of their own. The only place that knows glommio.
//!
//! ```text
//!   start: a pinned executor per core ─▶ drive: step the Core, take its mail, poll or park ─▶ wait: results, or the first failure
//! ```
//!
//! A core itself is sans-IO; what it needs from outside is the **runtime seam** of [`seam`]: a `Link` to each peer, a `Clock`,
//! a `Bell` that wakes it, and someone who steps it. This module is one implementation, with threads, rings and glommio;
//! [`crate::testing::Simulator`] is the other, with one thread, delayed queues, a virtual clock and a seed.
//!
//! - [`seam`]: what stands between a core and whoever runs it;
//! - [`bell`]: wakes a parked core; [`mailbox`]: what it is told from outside;
//! - [`core_thread`]: builds a core on its thread and drives it;
//! - [`job`]: all threads of a job, started, told what to do, and waited for; [`result`]: what they did;
//! - [`link`]: the rings between two cores;
//! - [`pool`]: the threads that work for cores in the background;
//! - [`work_dir`]: where the state of a running job is, if it is in files;
//! - [`machine`]: which cores there are, and what the kernel lacks.

pub(crate) mod bell;
mod core_thread;
pub(crate) mod job;
mod link;
mod machine;
pub(crate) mod mailbox;
mod pool;
pub(crate) mod result;
pub(crate) mod seam;
pub(crate) mod work_dir;

pub(crate) use machine::{available_cores, memory_bytes};
