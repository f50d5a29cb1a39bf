//! From the program to what runs where. Pure.
//!
//! ```text
//!   API calls ─▶ Builder: nodes, chains, edges ─▶ LogicalPlan (JSON, DOT)
//!                                             └─▶ ExecutionGraph: subtasks on cores, channels between them
//! ```
//!
//! - [`logical`]: what the program says: nodes, and the chains they were fused to;
//! - [`plan`]: the same for people, printed;
//! - [`execution`]: how many subtasks, on which cores, joined by which channels.

pub(crate) mod execution;
pub(crate) mod logical;
pub(crate) mod plan;

/// An operator as the program names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// Nodes fused into one loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChainId(pub(crate) u32);

/// An exchange between two chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub(crate) u32);

/// One of the outputs of a chain; it may feed several edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub(crate) u32);

/// How an edge chooses the receiving subtask of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partitioning {
    /// Subtask i to subtask i.
    Forward,
    /// By the key's hash and its key group.
    Hash,
    /// In turn over all subtasks.
    Rebalance,
    /// In turn over the subtasks that are this one's share.
    Rescale,
    /// At random.
    Shuffle,
    /// To all.
    Broadcast,
    /// To the first.
    Global,
    /// As the user says.
    Custom,
}

impl Partitioning {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Partitioning::Forward => "FORWARD",
            Partitioning::Hash => "HASH",
            Partitioning::Rebalance => "REBALANCE",
            Partitioning::Rescale => "RESCALE",
            Partitioning::Shuffle => "SHUFFLE",
            Partitioning::Broadcast => "BROADCAST",
            Partitioning::Global => "GLOBAL",
            Partitioning::Custom => "CUSTOM",
        }
    }
}
