//! Whole jobs on one thread, from one seed: the deterministic simulator, and what tests drive a job with.
//!
//! ```text
//!   Script ── record, watermark, idle, end ──▶ source ══ job on simulated cores ══ Recorder ──▶ Event, Event, ...
//!                                                ▲
//!   Simulator: seeded scheduler, delayed links, virtual clock; RunningJob: until quiet, advance the clock
//! ```
//!
//! - [`Simulator`]: runs a job to its end, or starts one that a test drives by hand ([`RunningJob`]);
//! - [`seeds`]: runs a test with many seeds, and says how to replay the one that failed;
//! - [`script`], [`Interleaving`]: sources that a test feeds element by element, also on the real runtime;
//! - [`Recorder`]: a sink that keeps records, their timestamps and the watermarks between them.
//!
//! Invariants:
//! - the same job, seed and version give exactly the same run: [`RunningJob::trace_hash`] shows it;
//! - a simulated core is the same `Core`, built by the same function, as one of the runtime: only what stands around it differs.
//!
//! ```
//! use thalweg::Env;
//! use thalweg::testing::{self, Simulator};
//!
//! testing::seeds(10, |seed| {
//!     let env = Env::new().parallelism(3);
//!     let counts = env.generate(100, |n| n).key_by(|n| n % 7).count().collect();
//!     Simulator::new(seed).run(&env).unwrap();
//!     assert_eq!(counts.take().len(), 100);
//! });
//! ```

mod crew;
mod network;
mod random;
mod recorder;
mod script;
mod simulator;

pub use recorder::{Event, Recorder};
pub use script::{Interleaving, Script, ScriptReader, ScriptSource, script};
pub use simulator::{RunningJob, Simulator, seeds};
