//! A subtask: one parallel instance of a chain.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_state::{
    CoreState, Key, KeyGroupRange, MaxParallelism, StateBackend, Stored, TimerState, ValueState, Wakes,
    range_of,
};

use super::background::Background;
use super::switch::{LateRecords, Switch};
use crate::api::config::Config;
use crate::error::{Error, Result};
use crate::graph::ChainId;
use crate::graph::execution::ExecutionGraph;
use crate::runtime::bell::Bell;
use crate::time::Timestamp;

/// What a step did.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There may be more to do at once.
    Worked,
    /// Nothing to do until something comes in, or credit.
    Idle,
    /// The subtask has ended and its outputs were told so.
    Finished,
}

/// One parallel instance of a chain: a head that takes input, and all that is fused behind it. Called once per batch.
pub trait Subtask {
    /// Takes input for a bounded time.
    fn step(&mut self) -> Progress;

    /// Lets everything go that was held back to make larger batches. Returns whether there was anything.
    fn flush(&mut self) -> bool;

    /// A source ends with its next step, as if it had no more input. Others end when their inputs have.
    fn stop(&mut self) {}

    /// When the subtask wants to be stepped although no input has come, in ms of processing time.
    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }

    /// Whether everything that it took has had its effect.
    fn is_quiet(&self) -> bool {
        true
    }

    /// Whether it has taken all input that was there, so that waiting longer makes its output buffers no fuller.
    fn is_dry(&self) -> bool {
        true
    }

    /// Whether it takes nothing because an output has no credit.
    fn is_blocked(&self) -> bool {
        false
    }

    /// Whether it has taken input that it cannot read yet, because state is not in memory.
    fn awaits_state(&self) -> bool {
        false
    }

    /// See [`Operator::maintain`](crate::operator::Operator::maintain).
    fn maintain(&mut self) {}

    /// Whether it begins a job: in lockstep it waits for the rest of the core to be quiet.
    fn is_source(&self) -> bool {
        false
    }
}

/// What a subtask is built with: its place in the job, its channels, its core.
pub struct SubtaskContext {
    pub(crate) chain: ChainId,
    pub(crate) name: Arc<str>,
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) config: Arc<Config>,
    pub(crate) graph: Arc<ExecutionGraph>,
    pub(crate) switch: Rc<Switch>,
    /// Outputs of this subtask without credit.
    pub(crate) blocked: Rc<Cell<u32>>,
    pub(crate) bell: Bell,
    pub(crate) background: Rc<Background>,
    pub(crate) state: CoreState,
}

impl SubtaskContext {
    /// Which parallel instance this is, from 0.
    pub fn subtask(&self) -> usize {
        self.subtask
    }

    /// How many instances the chain has.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// The name of the chain, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn key_groups(&self) -> KeyGroupRange {
        range_of(self.subtask as u32, self.max_parallelism, self.parallelism as u32)
    }

    /// The backend of the operator at the head of the chain.
    pub(crate) fn backend(&self) -> StateBackend {
        let chain = &self.graph.chains[self.chain.0 as usize];
        let operator = chain.head_uid.clone().unwrap_or_else(|| format!("#{}", chain.head.0));
        self.state.backend(&operator, self.key_groups(), self.max_parallelism)
    }

    /// The only state of an operator.
    pub(crate) fn value_state<K: Key, V: Stored>(&self, name: &str) -> Result<ValueState<K, V>> {
        ValueState::new(name, &self.backend()).map_err(|error| self.refused(error))
    }

    /// The event-time and the processing-time timers of an operator.
    pub(crate) fn timers<P: Wakes>(&self) -> Result<[TimerState<P>; 2]> {
        let timers = |name| TimerState::new(name, &self.backend()).map_err(|error| self.refused(error));
        Ok([timers("_timers/event")?, timers("_timers/processing")?])
    }

    /// The program's states cannot be made.
    pub(crate) fn refused(&self, error: thalweg_state::Error) -> Error {
        Error::Plan(format!("{}: {error}", self.name))
    }

    /// A count of the records that the operator at the head of the chain drops as late.
    pub(crate) fn late_records(&self) -> LateRecords {
        self.switch.late_records(self.chain)
    }

    pub(crate) fn guard(&self) -> Guard {
        let (switch, name, blocked) = (self.switch.clone(), self.name.clone(), self.blocked.clone());
        Guard { switch, name, subtask: self.subtask, blocked }
    }
}

/// What an operator needs of its core while it runs: the clock, when to stop, where to report a failure.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) switch: Rc<Switch>,
    name: Arc<str>,
    subtask: usize,
    /// Outputs of the subtask without credit.
    blocked: Rc<Cell<u32>>,
}

impl Guard {
    /// The job fails with this message, after the current record.
    pub(crate) fn fail(&self, message: impl Into<String>) {
        self.fail_with(Error::Operator {
            operator: self.name.to_string(),
            subtask: self.subtask,
            message: message.into(),
        });
    }

    pub(crate) fn fail_with(&self, error: Error) {
        self.switch.fail(error);
    }

    /// Whether the operator shall take no further record in this step.
    #[inline]
    pub(crate) fn should_stop(&self) -> bool {
        self.switch.should_stop()
    }

    /// Lets the step end after the current record, because something else is to be done before the next.
    pub(crate) fn ask_to_stop(&self) {
        self.switch.ask_to_stop();
    }

    /// Whether an output has no credit, so that nothing more may be sent.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get() > 0
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.switch.now()
    }
}

#[cfg(test)]
impl SubtaskContext {
    /// The only subtask of a job, for an operator that a test drives.
    pub(crate) fn alone(state: CoreState) -> Self {
        use super::switch::SwitchLimits;
        let env = crate::Env::new().parallelism(1);
        env.from_elements([0]).blackhole();
        let (graph, config) = env.build().expect("the plan is sound");
        let limits = SwitchLimits { credit_buffers: 1, overdraft_buffers_max: 1 };
        let pool = thalweg_net::BufferPool::new(config.buffer_bytes).expect("the default is sound");
        Self {
            chain: ChainId(0),
            name: "test".into(),
            subtask: 0,
            parallelism: 1,
            max_parallelism: graph.chains[0].max_parallelism,
            config: Arc::new(config),
            switch: Rc::new(Switch::new(0, graph.channels(), limits, pool, vec![None])),
            graph: Arc::new(graph),
            blocked: Rc::default(),
            bell: Bell::default(),
            background: Rc::default(),
            state,
        }
    }
}
