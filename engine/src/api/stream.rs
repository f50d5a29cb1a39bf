//! Streams without keys, and what can be done to them.

use std::fmt::{Debug, Display};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use super::chain::{Archives, Chain, Exchanged, Moved};
use super::env::Env;
use super::keyed::{ByKey, KeyedStream};
use super::record::{Key, Record};
use super::sink::{Blackhole, Collected, Print, Sink, SinkContext, SinkOutput, TextFiles};
use super::tag::Tag;
use crate::data_plane::writer::{PartitionWriter, Partitioner};
use crate::data_plane::{Subtask, SubtaskContext};
use crate::error::Result;
use crate::graph::logical::{NodeInput, OpenChain};
use crate::graph::{EdgeId, NodeId, Partitioning, PortId};
use crate::operator::output::Output;
use crate::operator::partition;
use crate::operator::stateless::{Collector, FilterMapOutput, FilterOutput, FlatMapOutput, MapOutput};
use crate::operator::watermarks::{TypedWatermarkOutput, WatermarkOutput};
use crate::time::strategy::{Generator, WatermarkStrategy};

/// A stream of records, `C::Out`, and the operators that make them. Each transformation takes it and returns a new one.
///
/// Closures get their record by reference: `&T` before an exchange, `&Archived<T>` in the received buffer behind one.
///
/// ```
/// use thalweg::Env;
///
/// let env = Env::new().parallelism(1);
/// let words = env.from_elements(["to", "question"]).map(|word| word.to_string());
/// let lengths = words.map(|word: &String| word.len() as u64); // A record.
/// let halves = lengths.rebalance().map(|length: &rkyv::rend::u64_le| length.to_native() / 2).collect(); // An archived one.
/// env.execute()?;
/// assert_eq!(halves.take(), [1, 4]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[must_use = "a stream does nothing until it ends in a sink and the job executes"]
pub struct Stream<C: Chain> {
    pub(crate) env: Env,
    pub(crate) chain: C,
    pub(crate) open: OpenChain,
    pub(crate) node: NodeId,
    /// The side outputs written in this chain so far.
    pub(crate) sides: Vec<(PortId, NodeId)>,
}

impl<C: Chain> Stream<C> {
    /// A stream that begins with a source, or behind exchanges.
    pub(crate) fn begin(
        env: Env,
        chain: C,
        name: &str,
        inputs: &[EdgeId],
        parallelism: Option<usize>,
    ) -> Self {
        let node = env.logical().node(name, inputs.iter().map(|&e| NodeInput::Edge(e)).collect());
        let open = OpenChain {
            nodes: vec![node],
            inputs: inputs.to_vec(),
            parallelism,
            max_parallelism: None,
            slot_sharing_group: None,
        };
        Self { env, chain, open, node, sides: Vec::new() }
    }

    /// The same stream with one more operator at its end.
    pub(crate) fn then<D: Chain>(mut self, name: &str, add: impl FnOnce(C) -> D) -> Stream<D> {
        let node = self.env.logical().node(name, vec![NodeInput::Chained(self.node)]);
        self.open.nodes.push(node);
        Stream { env: self.env, chain: add(self.chain), open: self.open, node, sides: self.sides }
    }

    /// Completes the chain with what `tail` makes, and gives it to the graph.
    pub(crate) fn close<N: Output<C::Out>>(
        self,
        ports: &[PortId],
        tail: impl Fn(&mut SubtaskContext) -> Result<N> + Send + Sync + 'static,
    ) {
        let Self { env, chain, open, node, mut sides } = self;
        let factory = move |cx: &mut SubtaskContext| -> Result<Box<dyn Subtask>> {
            let next = tail(cx)?;
            chain.attach(next, cx)
        };
        sides.extend(ports.iter().map(|&port| (port, node)));
        env.logical().close(open, &sides, Arc::new(factory));
    }

    /// Ends the chain in an exchange. Returns its edge.
    pub(crate) fn exchange<N: Output<C::Out>>(
        self,
        partitioning: Partitioning,
        writer: impl Fn(&mut SubtaskContext, PortId) -> Result<N> + Send + Sync + 'static,
    ) -> (Env, EdgeId) {
        let env = self.env.clone();
        let port = env.logical().port(None);
        let edge = env.logical().edge(port, partitioning);
        self.close(&[port], move |cx| writer(cx, port));
        (env, edge)
    }

    /// Names the last operator, for plans, errors and metrics. Default: what it does. Source: Flink's `name`.
    ///
    /// ```
    /// let env = thalweg::Env::new();
    /// env.from_elements(["1", "2"]).map(|text| text.parse::<u64>()).name("Parse").blackhole();
    /// assert_eq!(env.plan()?.nodes[1].name, "Parse");
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn name(self, name: &str) -> Self {
        self.env.logical().nodes[self.node.0 as usize].name = name.to_owned();
        self
    }

    /// Gives the last operator the name under which savepoints know its state. Unset by default. Source: Flink's `uid`.
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when two operators have the same.
    ///
    /// ```
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new();
    /// let counts = env.from_elements(['a', 'b']).key_by(|c| *c).count().uid("counts");
    /// counts.uid("letters").blackhole(); // Still the same operator.
    /// assert_eq!(env.plan()?.nodes[1].uid.as_deref(), Some("letters"));
    /// env.from_elements(['c']).uid("letters").blackhole();
    /// assert!(matches!(env.plan(), Err(Error::Plan(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn uid(self, uid: &str) -> Self {
        self.env.logical().nodes[self.node.0 as usize].uid = Some(uid.to_owned());
        self
    }

    /// How many subtasks the operators of this chain run as. Default: the environment's.
    ///
    /// Operators that are fused run as often as each other: it counts for the whole chain since the last exchange. For another
    /// number further on, put an exchange such as [`Stream::rebalance`] before it.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(4);
    /// env.generate(100, |n| n).filter(|n| n % 2 == 0).parallelism(1).rebalance().map(|n| n.to_native()).blackhole();
    /// let parallelism: Vec<usize> = env.plan()?.chains.iter().map(|chain| chain.parallelism).collect();
    /// assert_eq!(parallelism, [1, 4]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn parallelism(mut self, subtasks: usize) -> Self {
        self.open.parallelism = Some(subtasks);
        self
    }

    /// How many key groups the keyed state of this chain is divided into. Default: the environment's, or what Flink would choose.
    ///
    /// ```
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(2);
    /// env.generate(100, |n| n).key_by(|n| *n).count().max_parallelism(16).parallelism(16).blackhole();
    /// assert_eq!(env.plan()?.chains[1].max_parallelism, 16);
    /// env.generate(100, |n| n).key_by(|n| *n).count().max_parallelism(16).parallelism(17).blackhole();
    /// assert!(matches!(env.plan(), Err(Error::Plan(_)))); // There would be no key group for the last subtask.
    /// # Ok::<(), Error>(())
    /// ```
    pub fn max_parallelism(mut self, key_groups: usize) -> Self {
        self.open.max_parallelism = Some(key_groups);
        self
    }

    /// Which slots the chain may share with others. Chains of different groups run on different cores, so that one cannot take
    /// the other's time: the job has as many cores as the groups' greatest parallelisms add up to. Default: `default`. Source:
    /// Flink's `slotSharingGroup`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1);
    /// env.generate(100, |n| n).rebalance().map(|n| n.to_native()).slot_sharing_group("slow").blackhole();
    /// let groups = env.plan()?.chains.into_iter().map(|chain| chain.slot_sharing_group);
    /// assert!(groups.eq([None, Some("slow".to_string())]));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn slot_sharing_group(mut self, group: &str) -> Self {
        self.open.slot_sharing_group = Some(group.to_owned());
        self
    }

    /// Begins a new chain behind the last operator, so that the two run as separate subtasks (Flink's `startNewChain`). Each
    /// subtask sends to the one of its own number. Cost: an exchange of buffers.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(2);
    /// env.generate(100, |n| n).start_new_chain().map(|n| n.to_native()).blackhole();
    /// let plan = env.plan()?;
    /// assert_eq!((plan.chains.len(), plan.nodes[1].inputs[0].ship_strategy), (2, "FORWARD"));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn start_new_chain(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Forward, partition::Forward)
    }

    /// One record to one record.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let result = env.from_elements([1, 2, 3]).map(|n| n * 10).collect();
    /// env.execute()?;
    /// assert_eq!(result.take(), [10, 20, 30]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn map<U: 'static, F>(self, function: F) -> Stream<Map<C, F, U>>
    where
        F: FnMut(&C::Out) -> U + Clone + Send + Sync + 'static,
    {
        self.then("Map", |up| Map { up, function, out: PhantomData })
    }

    /// Lets the records pass for which `predicate` holds.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let result = env.from_elements([1, 2, 3]).filter(|n| *n != 2).collect();
    /// env.execute()?;
    /// assert_eq!(result.take(), [1, 3]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn filter<F>(self, predicate: F) -> Stream<Filter<C, F>>
    where
        F: FnMut(&C::Out) -> bool + Clone + Send + Sync + 'static,
    {
        self.then("Filter", |up| Filter { up, predicate })
    }

    /// One record to one record or none: a filter and a map in one.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let result = env.from_elements(["1", "x"]).filter_map(|s| s.parse::<i64>().ok()).collect();
    /// env.execute()?;
    /// assert_eq!(result.take(), [1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn filter_map<U: 'static, F>(self, function: F) -> Stream<FilterMap<C, F, U>>
    where
        F: FnMut(&C::Out) -> Option<U> + Clone + Send + Sync + 'static,
    {
        self.then("FilterMap", |up| FilterMap { up, function, out: PhantomData })
    }

    /// One record to any number, which the function gives to its collector.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let lines = env.from_elements(["to be", "or not"]);
    /// let words = lines.flat_map(|line, out| out.extend(line.split(' ').map(str::to_owned))).collect();
    /// env.execute()?;
    /// assert_eq!(words.take(), ["to", "be", "or", "not"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn flat_map<U: 'static, F>(self, function: F) -> Stream<FlatMap<C, F, U>>
    where
        F: FnMut(&C::Out, &mut Collector<U>) + Clone + Send + Sync + 'static,
    {
        self.then("FlatMap", |up| FlatMap { up, function, out: PhantomData })
    }

    /// Gives records their timestamps and makes watermarks. See [`WatermarkStrategy`]. Source: Flink's
    /// `assignTimestampsAndWatermarks`.
    ///
    /// Watermarks that came from further up go no further, but for the last, at the end of input.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Event, Recorder};
    /// use thalweg::{Env, MAX_WATERMARK, bounded};
    ///
    /// let env = Env::new().parallelism(1).batch_records(1);
    /// let seen = Recorder::new();
    /// let clicks = env.from_elements([(1_000_i64, 'a'), (900, 'b')]);
    /// clicks.watermarks(bounded(Duration::from_millis(200)).by(|click: &(i64, char)| click.0)).sink("seen", seen.clone());
    /// env.execute()?;
    /// let (a, b) = (Event::Record((1_000, 'a'), Some(1_000)), Event::Record((900, 'b'), Some(900)));
    /// assert_eq!(seen.take(), [a, Event::Watermark(799), b, Event::Watermark(MAX_WATERMARK)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn watermarks<G: Generator<C::Out>>(
        self,
        strategy: WatermarkStrategy<C::Out, G>,
    ) -> Stream<Watermarks<C, G>> {
        self.then("Timestamps/Watermarks", |up| Watermarks { up, strategy })
    }

    /// Keys the stream: records with equal keys go to the same core, and operators behind it keep state for each key.
    ///
    /// The key is extracted and hashed once, here. Nothing is sent until the next operator says what it needs: an associative
    /// aggregate sends partial results rather than records.
    ///
    /// Source: Flink's `keyBy`; the key need not be a part of the record.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1);
    /// let sales = env.from_elements([("pear", 3), ("fig", 1), ("pear", 2)]).map(|sale| (sale.0.to_string(), sale.1));
    /// let sold = sales.key_by(|sale| sale.0.clone()).sum(|sale| &mut sale.1).collect();
    /// env.execute()?;
    /// assert_eq!(sold.take(), [("pear".into(), 3), ("fig".into(), 1), ("pear".into(), 5)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn key_by<K: Key, F>(self, key: F) -> KeyedStream<C, ByKey<F, K>>
    where
        F: FnMut(&C::Out) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self, ByKey::new(key))
    }

    /// Sends records to the receiving subtasks in turn. Subtask i of the senders begins with the receiver of its number. Source:
    /// Flink's `rebalance`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(2);
    /// let folder = tempfile::tempdir()?;
    /// env.generate(5, |n| n).parallelism(1).rebalance().write_text_files(&folder);
    /// env.execute()?;
    /// let part = |n| std::fs::read_to_string(folder.path().join(format!("part-{n}")));
    /// assert_eq!((part(0)?, part(1)?), ("0\n2\n4\n".into(), "1\n3\n".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rebalance(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Rebalance, partition::RoundRobin::default())
    }

    /// Sends records in turn to those receiving subtasks that are this one's share: of two senders and four receivers, each has
    /// two. Fewer channels than [`Stream::rebalance`]. Source: Flink's `rescale`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(4);
    /// let folder = tempfile::tempdir()?;
    /// env.generate(8, |n| n).parallelism(2).rescale().write_text_files(&folder);
    /// env.execute()?;
    /// let part = |n| std::fs::read_to_string(folder.path().join(format!("part-{n}")));
    /// assert_eq!((part(0)?, part(1)?), ("0\n4\n".into(), "2\n6\n".into())); // Of the sender of the even numbers.
    /// assert_eq!((part(2)?, part(3)?), ("3\n7\n".into(), "1\n5\n".into())); // The other one's turn begins with its second.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rescale(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Rescale, partition::RoundRobin::default())
    }

    /// Sends each record to a receiving subtask at random, evenly. Seeded by the sender's number: a run can be repeated. Source:
    /// Flink's `shuffle`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(2);
    /// let folder = tempfile::tempdir()?;
    /// env.generate(1_000, |n| n).shuffle().write_text_files(&folder);
    /// env.execute()?;
    /// let part = |n| std::fs::read_to_string(folder.path().join(format!("part-{n}"))).unwrap().lines().count();
    /// assert!(part(0) > 400 && part(1) > 400 && part(0) + part(1) == 1_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shuffle(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Shuffle, partition::Shuffle::default())
    }

    /// Sends each record to all receiving subtasks. Source: Flink's `broadcast`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(3);
    /// let rules = env.from_elements(["no cash"]).map(|rule| rule.to_string()).broadcast().owned().collect();
    /// env.execute()?;
    /// assert_eq!(rules.take(), ["no cash"; 3]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn broadcast(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Broadcast, partition::Broadcast)
    }

    /// Sends all records to the first receiving subtask; the others get none. Source: Flink's `global`.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(2);
    /// let folder = tempfile::tempdir()?;
    /// env.generate(3, |n| n).parallelism(1).global().write_text_files(&folder);
    /// env.execute()?;
    /// let part = |n| std::fs::read_to_string(folder.path().join(format!("part-{n}")));
    /// assert_eq!((part(0)?, part(1)?), ("0\n1\n2\n".into(), "".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn global(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Global, partition::Forward)
    }

    /// Sends each record where `partitioner` says: see [`Partitioner`]. Source: Flink's `partitionCustom`.
    ///
    /// ```
    /// use thalweg::{Env, Partitioner};
    ///
    /// /// What is urgent has the first subtask for itself.
    /// #[derive(Clone)]
    /// struct Urgency;
    ///
    /// impl Partitioner<u64> for Urgency {
    ///     fn select(&mut self, &priority: &u64, receivers: usize) -> Option<usize> {
    ///         Some(if priority > 7 { 0 } else { 1 + priority as usize % (receivers - 1) })
    ///     }
    /// }
    ///
    /// let env = Env::new().parallelism(3);
    /// let folder = tempfile::tempdir()?;
    /// env.from_elements([2_u64, 9, 3, 8]).parallelism(1).partition_custom(Urgency).write_text_files(&folder);
    /// env.execute()?;
    /// let part = |n| std::fs::read_to_string(folder.path().join(format!("part-{n}")));
    /// assert_eq!((part(0)?, part(1)?, part(2)?), ("9\n8\n".into(), "2\n".into(), "3\n".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn partition_custom<P: Partitioner<C::Out>>(self, partitioner: P) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Custom, partitioner)
    }

    pub(crate) fn partition<P: Partitioner<C::Out>>(
        self,
        partitioning: Partitioning,
        partitioner: P,
    ) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        let parallelism = if partitioning == Partitioning::Forward { self.open.parallelism } else { None };
        let (env, edge) = self
            .exchange(partitioning, move |cx, port| Ok(PartitionWriter::new(cx, port, partitioner.clone())));
        Stream::begin(env, Exchanged::new(&[edge], Archives::new()), "Exchange", &[edge], parallelism)
    }

    /// Joins this stream with others of the same records: one, or a tuple or a `Vec` of them. The order among the streams is free,
    /// that within each is kept; the watermark is the least of those of all that are not idle. Source: Flink's `union`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (a, b, c) = (env.from_elements([1]), env.from_elements([2]), env.from_elements([3]));
    /// let result = a.union((b, c.map(|n| n * 10))).owned().collect();
    /// env.execute()?;
    /// let mut result = result.take();
    /// result.sort();
    /// assert_eq!(result, [1, 2, 30]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn union(self, others: impl Streams<C::Out>) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        let (env, parallelism) = (self.env.clone(), self.open.parallelism);
        let mut edges = Vec::new();
        self.send_to_union(parallelism, &mut edges);
        others.send_to_union(parallelism, &mut edges);
        Stream::begin(env, Exchanged::new(&edges, Archives::new()), "Union", &edges, parallelism)
    }

    /// Makes the stream one that several others can be made from (fan-out). Each record is written once, and read in place by all.
    ///
    /// ```
    /// use thalweg::Env;
    ///
    /// let env = Env::new().parallelism(1);
    /// let numbers = env.generate(4, |n| n).share();
    /// let even = numbers.stream().owned().filter(|n| n % 2 == 0).collect();
    /// let all = numbers.stream().owned().collect();
    /// env.execute()?;
    /// assert_eq!((even.take(), all.take()), (vec![0, 2], vec![0, 1, 2, 3]));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn share(self) -> SharedStream<C::Out>
    where
        C::Out: Record,
    {
        let (env, parallelism) = (self.env.clone(), self.open.parallelism);
        let port = env.logical().port(None);
        self.close(&[port], move |cx| Ok(PartitionWriter::new(cx, port, partition::Shared)));
        SharedStream { env, port, parallelism, record: PhantomData }
    }

    /// The records that an operator of this chain writes to `tag`. Source: Flink's `getSideOutput`.
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when no operator that runs was given the tag.
    ///
    /// ```
    /// use thalweg::{Env, Error, Tag};
    ///
    /// let (broken, other) = (Tag::<String>::new("broken"), Tag::<String>::new("other"));
    /// let env = Env::new().parallelism(1);
    /// let numbers = env.from_elements(["1", "x"]).split(broken, |text, out, mut broken| match text.parse::<u64>() {
    ///     Ok(number) => out.collect(number),
    ///     Err(error) => broken.collect(&format!("{text}: {error}")),
    /// });
    /// let errors = numbers.side_output(&broken).owned().collect();
    /// let nothing = numbers.side_output(&other);
    /// numbers.blackhole();
    /// env.execute()?;
    /// assert_eq!(errors.take(), ["x: invalid digit found in string"]);
    /// nothing.blackhole();
    /// assert!(matches!(env.plan(), Err(Error::Plan(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn side_output<T: Record>(&self, tag: &Tag<T>) -> Stream<Moved<T>> {
        let port = self.env.side_port(tag);
        let edge = self.env.logical().edge(port, Partitioning::Forward);
        let chain = Exchanged::new(&[edge], Archives::new());
        Stream::begin(self.env.clone(), chain, "SideOutput", &[edge], self.open.parallelism)
    }

    /// Gives the records to a sink of one's own: see [`Sink`] for how to write one. `name` is for people. Errors of its writers
    /// fail the job. Source: Flink's `sinkTo`.
    ///
    /// ```
    /// use thalweg::Env;
    /// use thalweg::testing::Recorder;
    ///
    /// let env = Env::new().parallelism(1);
    /// let recorder = Recorder::new();
    /// env.from_elements(['a', 'b']).sink("recorder", recorder.clone());
    /// assert_eq!(env.plan()?.nodes[1].name, "recorder");
    /// env.execute()?;
    /// assert_eq!(recorder.take_records(), ['a', 'b']);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn sink<S: Sink<C::Out>>(mut self, name: &str, sink: S) {
        let node = self.env.logical().node(name, vec![NodeInput::Chained(self.node)]);
        self.open.nodes.push(node);
        self.node = node;
        self.close(&[], move |cx| {
            let place = SinkContext { subtask: cx.subtask, parallelism: cx.parallelism };
            Ok(SinkOutput::new(sink.writer(&place)?, cx.guard()))
        });
    }

    /// Prints the records to standard output by their `Debug`, a line each, with Flink's prefix `n> ` (n from 1) when there are
    /// several subtasks. Lines go out when the input runs dry, at [`Env::buffer_timeout`], or when 64 KiB of them have gathered.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// env.from_elements([("to", 1), ("be", 2)]).print(); // ("to", 1), then ("be", 2).
    /// env.execute()?;
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn print(self)
    where
        C::Out: Debug,
    {
        self.sink("Print", Print);
    }

    /// Keeps the records in memory until they are taken, also while the job runs. For tests and small results: nothing bounds it.
    /// Source: Flink's `executeAndCollect`.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let collected = env.generate(3, |n| n).collect();
    /// env.execute()?;
    /// assert_eq!(collected.take(), [0, 1, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn collect(self) -> Collected<C::Out>
    where
        C::Out: Clone + Send,
    {
        let collected = Collected::new();
        self.sink("Collect", collected.clone());
        collected
    }

    /// Drops the records, once they have been made: the compiler cannot leave out what led to them. Source: Flink's
    /// `DiscardingSink`.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// static SEEN: AtomicU64 = AtomicU64::new(0);
    /// let env = thalweg::Env::new().parallelism(2);
    /// env.generate(100, |n| n).map(|_| SEEN.fetch_add(1, Ordering::Relaxed)).blackhole();
    /// env.execute()?;
    /// assert_eq!(SEEN.load(Ordering::Relaxed), 100);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn blackhole(self) {
        self.sink("Blackhole", Blackhole);
    }

    /// Writes the records as lines of text into files `part-<subtask>` of `folder`, which is made if it is not there.
    ///
    /// The files appear under their names together, when all subtasks of the sink have ended; a job that fails before leaves none.
    /// Errors: [`crate::Error::Io`] with the file, also when a run of more subtasks has left files that would be mixed with these.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(2);
    /// let folder = tempfile::tempdir()?;
    /// env.from_elements(["a", "b", "c"]).write_text_files(folder.path().join("letters"));
    /// env.execute()?;
    /// assert_eq!(std::fs::read_to_string(folder.path().join("letters/part-0"))?, "a\nc\n");
    /// assert_eq!(std::fs::read_to_string(folder.path().join("letters/part-1"))?, "b\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_text_files(self, folder: impl AsRef<Path>)
    where
        C::Out: Display,
    {
        self.sink("TextFiles", TextFiles::new(folder.as_ref()));
    }
}

/// One stream or several, with records of type `T`: what [`Stream::union`] takes. A [`Stream`], a `Vec` or a tuple of two to six
/// of these.
///
/// ```
/// let env = thalweg::Env::new().parallelism(1);
/// let lines = (0..3).map(|n| env.generate(2, move |_| n)).collect::<Vec<_>>();
/// let all = env.from_elements([3]).union(lines).owned().collect();
/// env.execute()?;
/// let mut all = all.take();
/// all.sort();
/// assert_eq!(all, [0, 0, 1, 1, 2, 2, 3]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait Streams<T: Record> {
    /// Ends each in an edge to an operator of this parallelism.
    #[doc(hidden)]
    fn send_to_union(self, parallelism: Option<usize>, edges: &mut Vec<EdgeId>);
}

impl<C: Chain<Out: Record>> Streams<C::Out> for Stream<C> {
    fn send_to_union(self, parallelism: Option<usize>, edges: &mut Vec<EdgeId>) {
        let balance = if parallelism == self.open.parallelism {
            Partitioning::Forward
        } else {
            Partitioning::Rebalance
        };
        // With the one receiver of a forward edge, taking them in turn means taking it.
        let (_, edge) = self.exchange(balance, |cx, port| {
            Ok(PartitionWriter::new(cx, port, partition::RoundRobin::default()))
        });
        edges.push(edge);
    }
}

impl<T: Record, S: Streams<T>> Streams<T> for Vec<S> {
    fn send_to_union(self, parallelism: Option<usize>, edges: &mut Vec<EdgeId>) {
        self.into_iter().for_each(|streams| streams.send_to_union(parallelism, edges));
    }
}

macro_rules! tuples_of_streams {
    ($(($($name:ident)*))*) => {$(
        impl<T: Record, $($name: Streams<T>),*> Streams<T> for ($($name,)*) {
            #[expect(non_snake_case, reason = "a value has the name of its type")]
            fn send_to_union(self, parallelism: Option<usize>, edges: &mut Vec<EdgeId>) {
                let ($($name,)*) = self;
                $($name.send_to_union(parallelism, edges);)*
            }
        }
    )*};
}

tuples_of_streams! { (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

/// A stream behind an exchange whose records are to be owned values again.
#[expect(clippy::type_complexity, reason = "the type of a chain says what it is made of")]
impl<K: Key, T: Record> Stream<Exchanged<K, T, Archives<T>>>
where
    Exchanged<K, T, Archives<T>>: Chain<Out = T::Archived>,
    T::Archived: 'static,
{
    /// Turns the archived records back into owned ones. Costs what their strings and vectors cost to allocate.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let result = env.from_elements(["a".to_string()]).rebalance().owned().collect();
    /// env.execute()?;
    /// assert_eq!(result.take(), ["a"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn owned(self) -> Stream<Owning<Exchanged<K, T, Archives<T>>, T>> {
        self.then("Owned", |up| Owning { up, record: PhantomData })
    }
}

/// A stream that several others can be made from. See [`Stream::share`]. Clones are the same stream.
///
/// ```
/// let env = thalweg::Env::new();
/// let numbers = env.generate(4, |n| n).share();
/// numbers.stream().blackhole();
/// numbers.clone().stream().blackhole();
/// assert_eq!(env.plan()?.chains.len(), 3); // The source, once, and two that read it.
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct SharedStream<T> {
    env: Env,
    port: PortId,
    parallelism: Option<usize>,
    record: PhantomData<fn() -> T>,
}

impl<T: Record> SharedStream<T> {
    /// One more stream of the same records. Records wait for the slowest of them; if there is none, they are dropped.
    ///
    /// ```
    /// let env = thalweg::Env::new().parallelism(1);
    /// let words = env.from_elements(["to", "be"]).map(|word| word.to_string()).share();
    /// let lengths = words.stream().map(|word| word.len()).collect();
    /// let first = words.stream().map(|word| word.chars().next()).collect();
    /// env.execute()?;
    /// assert_eq!((lengths.take(), first.take()), (vec![2, 2], vec![Some('t'), Some('b')]));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn stream(&self) -> Stream<Moved<T>> {
        let edge = self.env.logical().edge(self.port, Partitioning::Forward);
        let chain = Exchanged::new(&[edge], Archives::new());
        Stream::begin(self.env.clone(), chain, "Shared", &[edge], self.parallelism)
    }
}

impl<T> Clone for SharedStream<T> {
    fn clone(&self) -> Self {
        Self { env: self.env.clone(), port: self.port, parallelism: self.parallelism, record: PhantomData }
    }
}

/// A chain that ends in [`Stream::map`].
pub struct Map<C, F, U> {
    up: C,
    function: F,
    out: PhantomData<fn() -> U>,
}

impl<C: Chain, U: 'static, F: FnMut(&C::Out) -> U + Clone + Send + Sync + 'static> Chain for Map<C, F, U> {
    type Out = U;

    fn attach<N: Output<U>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        self.up.attach(MapOutput::new(self.function.clone(), next), cx)
    }
}

/// A chain that ends in [`Stream::filter_map`].
pub struct FilterMap<C, F, U> {
    up: C,
    function: F,
    out: PhantomData<fn() -> U>,
}

impl<C: Chain, U: 'static, F: FnMut(&C::Out) -> Option<U> + Clone + Send + Sync + 'static> Chain
    for FilterMap<C, F, U>
{
    type Out = U;

    fn attach<N: Output<U>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        self.up.attach(FilterMapOutput::new(self.function.clone(), next), cx)
    }
}

/// A chain that ends in [`Stream::flat_map`].
pub struct FlatMap<C, F, U> {
    up: C,
    function: F,
    out: PhantomData<fn() -> U>,
}

impl<C: Chain, U: 'static, F: FnMut(&C::Out, &mut Collector<U>) + Clone + Send + Sync + 'static> Chain
    for FlatMap<C, F, U>
{
    type Out = U;

    fn attach<N: Output<U>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        self.up.attach(FlatMapOutput::new(self.function.clone(), next), cx)
    }
}

/// A chain that ends in [`Stream::filter`].
#[derive(Clone)]
pub struct Filter<C, F> {
    up: C,
    predicate: F,
}

impl<C: Chain, F: FnMut(&C::Out) -> bool + Clone + Send + Sync + 'static> Chain for Filter<C, F> {
    type Out = C::Out;

    fn attach<N: Output<C::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        self.up.attach(FilterOutput::new(self.predicate.clone(), next), cx)
    }
}

/// A chain that ends in [`Stream::watermarks`].
pub struct Watermarks<C: Chain, G> {
    up: C,
    strategy: WatermarkStrategy<C::Out, G>,
}

impl<C: Chain, G: Clone> Clone for Watermarks<C, G> {
    fn clone(&self) -> Self {
        Self { up: self.up.clone(), strategy: self.strategy.clone() }
    }
}

impl<C: Chain, G: Generator<C::Out>> Chain for Watermarks<C, G> {
    type Out = C::Out;

    fn attach<N: Output<C::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        let interval = cx.config.auto_watermark_interval;
        let output = WatermarkOutput::new(self.strategy.clone(), interval, cx.switch.now(), next);
        self.up.attach(TypedWatermarkOutput::new(output), cx)
    }
}

/// A chain that ends in [`Stream::owned`].
pub struct Owning<C, T> {
    up: C,
    record: PhantomData<fn() -> T>,
}

impl<C: Chain<Out = T::Archived>, T: Record> Chain for Owning<C, T>
where
    T::Archived: 'static,
{
    type Out = T;

    fn attach<N: Output<T>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        self.up.attach(MapOutput::new(T::unarchive, next), cx)
    }
}

macro_rules! clone_chain {
    ($($name:ident<$c:ident, $($generic:ident: $field:ident),*> / $marker:ident;)*) => {$(
        impl<$c: Clone, $($generic: Clone,)* U> Clone for $name<$c, $($generic,)* U> {
            fn clone(&self) -> Self {
                Self { up: self.up.clone(), $($field: self.$field.clone(),)* $marker: PhantomData }
            }
        }
    )*};
}

clone_chain! {
    Map<C, F: function> / out;
    FilterMap<C, F: function> / out;
    FlatMap<C, F: function> / out;
    Owning<C, > / record;
}
