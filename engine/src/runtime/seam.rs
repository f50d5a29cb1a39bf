//! What stands between a [`Core`] and whoever runs it.
//!
//! ```text
//!                      runtime (glommio)                      testing::Simulator
//!   step the core      core_thread::drive, a pinned thread    a seeded scheduler, all cores on one thread
//!   Link               RingLink: two SPSC rings               SimulatedLink: queues that delay and run full
//!   Clock              WallClock                              ManualClock: virtual, or moved by a test
//!   Bell               parks and wakes the thread             parks and wakes the core's turn
//!   Helpers            Pool: threads that are not pinned      Crew: the scheduler's own turns, with delays
//! ```
//!
//! Both sides call [`build_core`], so that what is simulated is what runs. No type of glommio appears here.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use thalweg_net::BufferPool;
use thalweg_state::CoreState;

use super::bell::Bell;
use crate::api::config::Config;
use crate::data_plane::background::Background;
pub(crate) use crate::data_plane::background::Helpers;
use crate::data_plane::core::{Core, panic_message};
use crate::data_plane::subtask::SubtaskContext;
pub(crate) use crate::data_plane::switch::Link;
use crate::data_plane::switch::{Switch, SwitchLimits};
use crate::error::{Error, Result};
use crate::graph::execution::ExecutionGraph;
use crate::time::Timestamp;

/// Processing time.
pub(crate) trait Clock {
    /// What the clock shows, in ms since the epoch. It never goes back.
    fn now(&self) -> Timestamp;
}

/// What a core is built from.
pub(crate) struct CoreParts {
    pub(crate) core: usize,
    pub(crate) graph: Arc<ExecutionGraph>,
    pub(crate) config: Arc<Config>,
    /// By peer; none to the core itself.
    pub(crate) links: Vec<Option<Box<dyn Link>>>,
    pub(crate) bell: Bell,
    pub(crate) helpers: Rc<dyn Helpers>,
    pub(crate) state: CoreState,
    pub(crate) now: Timestamp,
}

/// Builds the subtasks of a core, on the thread where they will run. The user's factories are called here; a panic of theirs
/// is an error.
pub(crate) fn build_core(parts: CoreParts) -> Result<Core> {
    let CoreParts { core, graph, config, links, bell, helpers, state, now } = parts;
    let pool = BufferPool::new(config.buffer_bytes)
        .map_err(|e| Error::Config { name: "buffer_bytes", reason: e.to_string() })?;
    let limits = SwitchLimits {
        credit_buffers: config.credit_buffers,
        overdraft_buffers_max: config.overdraft_buffers_max,
    };
    let switch = Rc::new(Switch::new(core, graph.channels(), limits, pool, links));
    switch.set_now(now);
    state.set_time(now);
    let background = Rc::new(Background::default());
    if state.has_files() {
        background.attach(state.clone(), bell.clone());
    }
    let mut built = Core::new(switch.clone(), background.clone(), helpers, state.clone(), config.lockstep);
    for (chain, subtask) in graph.subtasks_on(core) {
        let plan = &graph.chains[chain.0 as usize];
        let mut cx = SubtaskContext {
            chain,
            name: plan.name.clone(),
            subtask,
            parallelism: plan.parallelism,
            max_parallelism: plan.max_parallelism,
            config: config.clone(),
            graph: graph.clone(),
            switch: switch.clone(),
            blocked: Rc::new(Cell::new(0)),
            bell: bell.clone(),
            background: background.clone(),
            state: state.clone(),
        };
        let made = catch_unwind(AssertUnwindSafe(|| (plan.factory)(&mut cx)));
        let made = made.unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            Err(Error::Panic { operator: plan.name.to_string(), subtask, message })
        });
        built.add(plan.name.clone(), subtask, made?);
    }
    Ok(built)
}
