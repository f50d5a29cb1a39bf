//! How many subtasks there are, on which cores, joined by which channels.
//!
//! A core is a slot. Chains of one slot sharing group share slots: subtask i of each runs on the group's i-th core. A group
//! needs as many cores as its widest chain, and different groups get different cores.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use thalweg_state::MaxParallelism;

use super::logical::{Logical, SubtaskFactory};
use super::{ChainId, EdgeId, NodeId, Partitioning, PortId};
use crate::data_plane::switch::{ChannelId, Peer};
use crate::error::Result;

/// The slot sharing group of chains that name none.
const DEFAULT_GROUP: &str = "default";

/// A chain, ready to be built.
pub(crate) struct ExecutionChain {
    pub(crate) name: Arc<str>,
    /// The first of its nodes, and how the program calls it.
    pub(crate) head: NodeId,
    pub(crate) head_name: String,
    pub(crate) head_uid: Option<String>,
    pub(crate) parallelism: usize,
    pub(crate) max_parallelism: MaxParallelism,
    first_core: usize,
    pub(crate) factory: SubtaskFactory,
}

struct ExecutionEdge {
    partitioning: Partitioning,
    from: ChainId,
    to: ChainId,
    first_channel: u32,
}

/// See the [module](self). The same in every process and on every core.
pub(crate) struct ExecutionGraph {
    pub(crate) chains: Vec<ExecutionChain>,
    edges: Vec<Option<ExecutionEdge>>,
    ports: Vec<Vec<EdgeId>>,
    channels: u32,
    cores: usize,
}

impl ExecutionGraph {
    pub(crate) fn new(logical: &Logical, parallelism: usize, max_parallelism: Option<usize>) -> Result<Self> {
        logical.check()?;
        let resolved = logical.resolve(parallelism, max_parallelism)?;
        let mut group_cores: BTreeMap<&str, usize> = BTreeMap::new();
        let group_of = |i: usize| logical.chains[i].slot_sharing_group.as_deref().unwrap_or(DEFAULT_GROUP);
        for (i, &p) in resolved.parallelism.iter().enumerate() {
            let cores = group_cores.entry(group_of(i)).or_default();
            *cores = (*cores).max(p);
        }
        let mut first_core = BTreeMap::new();
        let mut cores = group_cores.get(DEFAULT_GROUP).copied().unwrap_or(0);
        for (&group, &count) in &group_cores {
            if group == DEFAULT_GROUP {
                first_core.insert(group, 0);
            } else {
                first_core.insert(group, cores);
                cores += count;
            }
        }
        let chains: Vec<ExecutionChain> = (0..logical.chains.len())
            .map(|i| (i, logical.chains[i].nodes[0]))
            .map(|(i, head)| ExecutionChain {
                name: logical.chain_name(ChainId(i as u32)).into(),
                head,
                head_name: logical.nodes[head.0 as usize].name.clone(),
                head_uid: logical.nodes[head.0 as usize].uid.clone(),
                parallelism: resolved.parallelism[i],
                max_parallelism: resolved.max_parallelism[i],
                first_core: first_core[group_of(i)],
                factory: logical.chains[i].factory.clone(),
            })
            .collect();
        let mut channels = 0;
        let edges = logical.edges.iter().map(|edge| {
            let ((from, _), to) = (logical.ports[edge.port.0 as usize].from?, edge.to?);
            let first_channel = channels;
            channels += (chains[from.0 as usize].parallelism * chains[to.0 as usize].parallelism) as u32;
            Some(ExecutionEdge { partitioning: edge.partitioning, from, to, first_channel })
        });
        let edges: Vec<_> = edges.collect();
        let live = |edge: &EdgeId| edges[edge.0 as usize].is_some();
        let ports =
            logical.ports.iter().map(|port| port.edges.iter().copied().filter(live).collect()).collect();
        Ok(Self { chains, ports, channels, cores, edges })
    }

    pub(crate) fn cores(&self) -> usize {
        self.cores
    }

    /// How many channel ids there are.
    pub(crate) fn channels(&self) -> usize {
        self.channels as usize
    }

    /// The subtasks that run on `core`, in topological order.
    pub(crate) fn subtasks_on(&self, core: usize) -> Vec<(ChainId, usize)> {
        let place = |(i, chain): (usize, &ExecutionChain)| {
            let subtask = core.checked_sub(chain.first_core)?;
            (subtask < chain.parallelism).then_some((ChainId(i as u32), subtask))
        };
        let mut here: Vec<_> = self.chains.iter().enumerate().filter_map(place).collect();
        here.sort_by_key(|&(chain, _)| self.depth(chain));
        here
    }

    /// The length of the longest way from a source. Chains are few and graphs shallow, so it is computed anew.
    fn depth(&self, chain: ChainId) -> usize {
        self.edges
            .iter()
            .flatten()
            .filter(|e| e.to == chain)
            .map(|e| self.depth(e.from) + 1)
            .max()
            .unwrap_or(0)
    }

    /// The edges that start at a port and lead somewhere.
    pub(crate) fn edges_of(&self, port: PortId) -> impl Iterator<Item = EdgeId> {
        self.ports[port.0 as usize].iter().copied()
    }

    fn edge(&self, edge: EdgeId) -> &ExecutionEdge {
        self.edges[edge.0 as usize].as_ref().expect("only edges that lead somewhere are asked for")
    }

    /// The channels over which `from` sends on an edge, in order of the receiving subtask, and the cores they lead to.
    pub(crate) fn channels_from(&self, edge: EdgeId, from: usize) -> Vec<(ChannelId, usize)> {
        let e = self.edge(edge);
        let to = &self.chains[e.to.0 as usize];
        let targets =
            receivers(e.partitioning, from, self.chains[e.from.0 as usize].parallelism, to.parallelism);
        targets.map(|t| (self.channel(e, from, t), to.first_core + t)).collect()
    }

    /// The channels over which subtask `to` on `core` receives on an edge, in order of the sending subtask.
    pub(crate) fn channels_to(&self, edge: EdgeId, to: usize, core: usize) -> Vec<(ChannelId, Peer)> {
        let e = self.edge(edge);
        let from = &self.chains[e.from.0 as usize];
        let p = self.chains[e.to.0 as usize].parallelism;
        let sends = |f: &usize| receivers(e.partitioning, *f, from.parallelism, p).contains(&to);
        let peer = |f: usize| match from.first_core + f {
            same if same == core => Peer::SameCore,
            other => Peer::Core(other),
        };
        (0..from.parallelism).filter(sends).map(|f| (self.channel(e, f, to), peer(f))).collect()
    }

    fn channel(&self, e: &ExecutionEdge, from: usize, to: usize) -> ChannelId {
        ChannelId(e.first_channel + (from * self.chains[e.to.0 as usize].parallelism + to) as u32)
    }

    /// The key groups of the chain behind a port.
    pub(crate) fn receiving_max_parallelism(&self, port: PortId) -> MaxParallelism {
        let edge = self.edge(self.ports[port.0 as usize][0]);
        self.chains[edge.to.0 as usize].max_parallelism
    }
}

/// The receiving subtasks that `from` has channels to.
fn receivers(partitioning: Partitioning, from: usize, senders: usize, receivers: usize) -> Range<usize> {
    match partitioning {
        Partitioning::Forward => from..from + 1,
        Partitioning::Rescale => rescale(from, senders, receivers),
        // Global sends records to the first only; watermarks and the end must reach the others too, or they never end.
        _ => 0..receivers,
    }
}

/// Flink's pointwise pattern: each sender has its share of the receivers, or shares one with its neighbours.
fn rescale(from: usize, senders: usize, receivers: usize) -> Range<usize> {
    if senders >= receivers {
        let to = from * receivers / senders;
        to..to + 1
    } else {
        from * receivers / senders..(from + 1) * receivers / senders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescale_reaches_every_receiver_once_or_shares_it_evenly() {
        for senders in 1..20 {
            for receivers in 1..20 {
                let mut inputs = vec![0; receivers];
                for from in 0..senders {
                    let range = rescale(from, senders, receivers);
                    assert!(!range.is_empty());
                    range.for_each(|to| inputs[to] += 1);
                }
                let (least, most) = (inputs.iter().min().unwrap(), inputs.iter().max().unwrap());
                assert!(*least >= 1 && most - least <= 1, "{senders} to {receivers}: {inputs:?}");
            }
        }
    }
}
