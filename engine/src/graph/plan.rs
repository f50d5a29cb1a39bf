//! The plan for people: JSON and DOT, before anything runs.

use std::fmt::Write;

use serde::Serialize;

use super::logical::{Logical, NodeInput, Resolved};
use super::{ChainId, NodeId};

/// What a job will do: its operators, how they are fused into chains, and how records pass between chains.
///
/// ```
/// use thalweg::Env;
///
/// let env = Env::new().parallelism(2);
/// env.from_elements([1_u64, 2, 3]).key_by(|n| n % 2).sum(|n| n).print();
/// let plan = env.plan().unwrap();
/// assert_eq!(plan.chains.len(), 2);
/// assert!(plan.to_dot().contains("HASH"));
/// assert!(plan.to_json().contains("\"parallelism\": 2"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// All operators, in the order in which the program made them.
    pub nodes: Vec<PlanNode>,
    /// The chains; each runs as `parallelism` subtasks.
    pub chains: Vec<PlanChain>,
}

/// An operator in a [`Plan`].
///
/// ```
/// use thalweg::Env;
///
/// let env = Env::new();
/// env.from_elements([1, 2]).map(|n| n + 1).uid("plus-one").blackhole();
/// let plan = env.plan()?;
/// let map = &plan.nodes[1];
/// assert_eq!((map.name.as_str(), map.uid.as_deref(), map.chain), ("Map", Some("plus-one"), 0));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanNode {
    /// Its number in this plan.
    pub id: u32,
    /// Its name, for people.
    pub name: String,
    /// Its uid, which finds its state in a savepoint.
    pub uid: Option<String>,
    /// The chain it is fused into.
    pub chain: u32,
    /// Where its records come from.
    pub inputs: Vec<PlanInput>,
}

/// An input of a [`PlanNode`].
///
/// ```
/// use thalweg::Env;
///
/// let env = Env::new();
/// env.from_elements([1, 2]).map(|n| n + 1).key_by(|n| *n).count().blackhole();
/// let plan = env.plan()?;
/// let inputs: Vec<_> = plan.nodes.iter().flat_map(|node| &node.inputs).map(|input| (input.from, input.ship_strategy)).collect();
/// assert_eq!(inputs, [(0, "CHAINED"), (1, "HASH"), (2, "CHAINED")]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanInput {
    /// The operator that the records come from.
    pub from: u32,
    /// `CHAINED`, or how the exchange chooses the receiver: `FORWARD`, `HASH`, `REBALANCE`, ...
    pub ship_strategy: &'static str,
    /// The side output, if it is one.
    pub side_output: Option<String>,
}

/// A chain in a [`Plan`]: operators that run as one loop, without an exchange between them.
///
/// ```
/// use thalweg::Env;
///
/// let env = Env::new().parallelism(4);
/// env.read_text_file("words.txt").flat_map(|line, out| out.extend(line.split(' ').map(str::to_owned))).print();
/// let plan = env.plan()?;
/// let chain = &plan.chains[0];
/// assert_eq!((chain.name.as_str(), chain.parallelism, chain.max_parallelism), ("Source: TextFile -> FlatMap -> Print", 4, 128));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanChain {
    /// Its number in this plan.
    pub id: u32,
    /// The names of its operators, joined.
    pub name: String,
    /// How many subtasks it runs as.
    pub parallelism: usize,
    /// How many key groups its keyed state is divided into.
    pub max_parallelism: usize,
    /// The slot sharing group, if it is not the default one.
    pub slot_sharing_group: Option<String>,
}

impl Plan {
    pub(crate) fn new(logical: &Logical, resolved: &Resolved) -> Self {
        let chains = logical.chains.iter().enumerate().map(|(i, chain)| PlanChain {
            id: i as u32,
            name: logical.chain_name(ChainId(i as u32)),
            parallelism: resolved.parallelism[i],
            max_parallelism: resolved.max_parallelism[i].get() as usize,
            slot_sharing_group: chain.slot_sharing_group.clone(),
        });
        let input = |input: &NodeInput| match *input {
            NodeInput::Chained(NodeId(from)) => {
                Some(PlanInput { from, ship_strategy: "CHAINED", side_output: None })
            }
            NodeInput::Edge(edge) => {
                let edge = &logical.edges[edge.0 as usize];
                let port = &logical.ports[edge.port.0 as usize];
                let (_, NodeId(from)) = port.from?;
                Some(PlanInput {
                    from,
                    ship_strategy: edge.partitioning.name(),
                    side_output: port.name.clone(),
                })
            }
        };
        let nodes = logical.nodes.iter().enumerate().filter_map(|(i, node)| {
            let inputs = node.inputs.iter().filter_map(input).collect();
            Some(PlanNode {
                id: i as u32,
                name: node.name.clone(),
                uid: node.uid.clone(),
                chain: node.chain?.0,
                inputs,
            })
        });
        Self { nodes: nodes.collect(), chains: chains.collect() }
    }

    /// The plan as JSON, indented, with the fields of the types as they are called here. Source: Flink's `getExecutionPlan`,
    /// whose layout is another.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new();
    /// env.from_elements([1]).blackhole();
    /// let json: serde_json::Value = serde_json::from_str(&env.plan()?.to_json())?;
    /// assert_eq!(json["nodes"][1]["inputs"][0]["ship_strategy"], "CHAINED");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a plan has only strings and numbers")
    }

    /// The plan in DOT, for Graphviz: `dot -Tsvg`. A box for each chain, labelled with its parallelism, and an arrow for each
    /// input, labelled with how records are sent if that is not within a chain.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new();
    /// env.from_elements([1]).rebalance().blackhole();
    /// assert!(env.plan()?.to_dot().contains("n0 -> n1 [label=\"REBALANCE\"];"));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn to_dot(&self) -> String {
        let mut dot =
            String::from("digraph job {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
        for chain in &self.chains {
            let _ = writeln!(
                dot,
                "  subgraph cluster_{} {{\n    label=\"x{}\"; style=rounded;",
                chain.id, chain.parallelism
            );
            for node in self.nodes.iter().filter(|n| n.chain == chain.id) {
                let _ = writeln!(dot, "    n{} [label={:?}];", node.id, node.name);
            }
            dot.push_str("  }\n");
        }
        for node in &self.nodes {
            for input in &node.inputs {
                let side = input.side_output.as_ref().map(|s| format!(" {s}")).unwrap_or_default();
                let label = if input.ship_strategy == "CHAINED" {
                    String::new()
                } else {
                    format!("{}{side}", input.ship_strategy)
                };
                let _ = writeln!(dot, "  n{} -> n{} [label={label:?}];", input.from, node.id);
            }
        }
        dot.push_str("}\n");
        dot
    }
}
