//! What the program says: nodes, the chains they are fused to, and the edges between chains.

use std::sync::Arc;

use thalweg_state::MaxParallelism;

use super::{ChainId, EdgeId, NodeId, Partitioning, PortId};
use crate::data_plane::{Subtask, SubtaskContext};
use crate::error::{Error, Result};

/// Builds one subtask of a chain, on the core where it will run.
pub(crate) type SubtaskFactory = Arc<dyn Fn(&mut SubtaskContext) -> Result<Box<dyn Subtask>> + Send + Sync>;

/// An operator as the program names it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    pub(crate) chain: Option<ChainId>,
    pub(crate) inputs: Vec<NodeInput>,
}

/// Where a node's records come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NodeInput {
    /// The node before it in its chain.
    Chained(NodeId),
    /// An exchange.
    Edge(EdgeId),
}

/// Nodes fused into one loop, while the program still adds to them.
#[derive(Debug, Clone)]
pub(crate) struct OpenChain {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) inputs: Vec<EdgeId>,
    pub(crate) parallelism: Option<usize>,
    pub(crate) max_parallelism: Option<usize>,
    pub(crate) slot_sharing_group: Option<String>,
}

/// A finished chain.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) parallelism: Option<usize>,
    pub(crate) max_parallelism: Option<usize>,
    pub(crate) slot_sharing_group: Option<String>,
    pub(crate) factory: SubtaskFactory,
}

/// An exchange: from a port of one chain to an input of another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) port: PortId,
    pub(crate) partitioning: Partitioning,
    pub(crate) to: Option<ChainId>,
}

/// One of the outputs of a chain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Port {
    pub(crate) from: Option<(ChainId, NodeId)>,
    /// Set for side outputs.
    pub(crate) name: Option<String>,
    pub(crate) edges: Vec<EdgeId>,
}

/// The logical graph, as it grows.
#[derive(Clone, Default)]
pub(crate) struct Logical {
    pub(crate) nodes: Vec<Node>,
    pub(crate) chains: Vec<Chain>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) ports: Vec<Port>,
    /// What the program did wrong while it could not be told; reported by `execute`.
    pub(crate) errors: Vec<String>,
}

impl Logical {
    pub(crate) fn node(&mut self, name: &str, inputs: Vec<NodeInput>) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { name: name.to_owned(), uid: None, chain: None, inputs });
        id
    }

    pub(crate) fn port(&mut self, name: Option<&str>) -> PortId {
        let id = PortId(self.ports.len() as u32);
        self.ports.push(Port { from: None, name: name.map(str::to_owned), edges: Vec::new() });
        id
    }

    /// A new exchange that starts at `port`.
    pub(crate) fn edge(&mut self, port: PortId, partitioning: Partitioning) -> EdgeId {
        let id = EdgeId(self.edges.len() as u32);
        self.edges.push(Edge { port, partitioning, to: None });
        self.ports[port.0 as usize].edges.push(id);
        id
    }

    /// The chain is complete: `ports` are its outputs, and who writes to them.
    pub(crate) fn close(
        &mut self,
        open: OpenChain,
        ports: &[(PortId, NodeId)],
        factory: SubtaskFactory,
    ) -> ChainId {
        let id = ChainId(self.chains.len() as u32);
        for &node in &open.nodes {
            self.nodes[node.0 as usize].chain = Some(id);
        }
        for &edge in &open.inputs {
            self.edges[edge.0 as usize].to = Some(id);
        }
        for &(port, node) in ports {
            let port = &mut self.ports[port.0 as usize];
            if let Some((_, other)) = port.from.replace((id, node)) {
                let name = port.name.as_deref().unwrap_or("?");
                let (a, b) = (&self.nodes[other.0 as usize].name, &self.nodes[node.0 as usize].name);
                self.errors.push(format!(
                    "side output {name:?} is written by two operators, {a} and {b}: give each its own tag"
                ));
            }
        }
        let OpenChain { nodes, parallelism, max_parallelism, slot_sharing_group, .. } = open;
        self.chains.push(Chain { nodes, parallelism, max_parallelism, slot_sharing_group, factory });
        id
    }

    /// The name of a chain: those of its nodes, as Flink prints them.
    pub(crate) fn chain_name(&self, chain: ChainId) -> String {
        let nodes = &self.chains[chain.0 as usize].nodes;
        let names: Vec<&str> = nodes.iter().map(|n| self.nodes[n.0 as usize].name.as_str()).collect();
        names.join(" -> ")
    }

    /// What is wrong with the program as a whole.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(error) = self.errors.first() {
            return Err(Error::Plan(error.clone()));
        }
        if self.chains.is_empty() {
            return Err(Error::Plan("there is nothing to run: no stream ends in a sink".into()));
        }
        for (i, edge) in self.edges.iter().enumerate() {
            let port = &self.ports[edge.port.0 as usize];
            if edge.to.is_some() && port.from.is_none() {
                let what =
                    port.name.as_ref().map(|n| format!("side output {n:?}")).unwrap_or(format!("edge {i}"));
                return Err(Error::Plan(format!(
                    "nothing writes to {what}: its tag was given to no operator that runs"
                )));
            }
        }
        let mut uids: Vec<&str> = self.nodes.iter().filter_map(|n| n.uid.as_deref()).collect();
        uids.sort_unstable();
        match uids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::Plan(format!("two operators have the uid {:?}", pair[0]))),
            None => Ok(()),
        }
    }
}

/// The parallelism and the key groups of each chain, defaults filled in.
pub(crate) struct Resolved {
    pub(crate) parallelism: Vec<usize>,
    pub(crate) max_parallelism: Vec<MaxParallelism>,
}

impl Logical {
    /// Fills in defaults, and checks that every chain can run with what it has.
    pub(crate) fn resolve(&self, parallelism: usize, max_parallelism: Option<usize>) -> Result<Resolved> {
        let mut resolved = Resolved { parallelism: Vec::new(), max_parallelism: Vec::new() };
        for (i, chain) in self.chains.iter().enumerate() {
            let name = self.chain_name(ChainId(i as u32));
            let p = chain.parallelism.unwrap_or(parallelism);
            if p == 0 {
                return Err(Error::Plan(format!("{name}: the parallelism must be at least 1")));
            }
            let max = match chain.max_parallelism.or(max_parallelism) {
                Some(max) => MaxParallelism::new(u32::try_from(max).unwrap_or(u32::MAX))
                    .map_err(|e| Error::Plan(format!("{name}: {e}")))?,
                None => MaxParallelism::for_parallelism(u32::try_from(p).unwrap_or(u32::MAX)),
            };
            if p > max.get() as usize {
                let max = max.get();
                return Err(Error::Plan(format!(
                    "{name}: parallelism {p} is above the maximum parallelism {max}"
                )));
            }
            resolved.parallelism.push(p);
            resolved.max_parallelism.push(max);
        }
        for edge in &self.edges {
            let (Some((from, _)), Some(to)) = (self.ports[edge.port.0 as usize].from, edge.to) else {
                continue;
            };
            let (a, b) = (resolved.parallelism[from.0 as usize], resolved.parallelism[to.0 as usize]);
            if edge.partitioning == Partitioning::Forward && a != b {
                let (from, to) = (self.chain_name(from), self.chain_name(to));
                return Err(Error::Plan(format!(
                    "a forward edge cannot lead from {from} with parallelism {a} to {to} with {b}: rebalance between them"
                )));
            }
        }
        Ok(resolved)
    }
}
