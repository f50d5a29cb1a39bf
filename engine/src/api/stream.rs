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

    /// Names the last operator, for plans, logs and metrics. Default: what it does.
    pub fn name(self, name: &str) -> Self {
        self.env.logical().nodes[self.node.0 as usize].name = name.to_owned();
        self
    }

    /// Gives the last operator the name under which savepoints know its state. Unset by default.
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when two operators have the same.
    pub fn uid(self, uid: &str) -> Self {
        self.env.logical().nodes[self.node.0 as usize].uid = Some(uid.to_owned());
        self
    }

    /// How many subtasks the operators of this chain run as. Default: the environment's.
    ///
    /// Operators that are fused run as often as each other: it counts for the whole chain since the last exchange. For another
    /// number further on, put an exchange such as [`Stream::rebalance`] before it.
    pub fn parallelism(mut self, subtasks: usize) -> Self {
        self.open.parallelism = Some(subtasks);
        self
    }

    /// How many key groups the keyed state of this chain is divided into. Default: the environment's, or what Flink would choose.
    pub fn max_parallelism(mut self, key_groups: usize) -> Self {
        self.open.max_parallelism = Some(key_groups);
        self
    }

    /// Which slots the chain may share with others. Chains of different groups run on different cores. Default: `default`.
    pub fn slot_sharing_group(mut self, group: &str) -> Self {
        self.open.slot_sharing_group = Some(group.to_owned());
        self
    }

    /// Begins a new chain behind the last operator, so that the two run as separate subtasks (Flink's `startNewChain`).
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

    /// Gives records their timestamps and makes watermarks. See [`WatermarkStrategy`].
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
    pub fn key_by<K: Key, F>(self, key: F) -> KeyedStream<C, ByKey<F, K>>
    where
        F: FnMut(&C::Out) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self, ByKey::new(key))
    }

    /// Sends records to the receiving subtasks in turn.
    pub fn rebalance(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Rebalance, partition::RoundRobin::default())
    }

    /// Sends records in turn to those receiving subtasks that are this one's share.
    pub fn rescale(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Rescale, partition::RoundRobin::default())
    }

    /// Sends each record to a receiving subtask at random (seeded: a run can be repeated).
    pub fn shuffle(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Shuffle, partition::Shuffle::default())
    }

    /// Sends each record to all receiving subtasks.
    pub fn broadcast(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Broadcast, partition::Broadcast)
    }

    /// Sends all records to the first receiving subtask.
    pub fn global(self) -> Stream<Moved<C::Out>>
    where
        C::Out: Record,
    {
        self.partition(Partitioning::Global, partition::Forward)
    }

    /// Sends each record where `partitioner` says.
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
    pub fn share(self) -> SharedStream<C::Out>
    where
        C::Out: Record,
    {
        let (env, parallelism) = (self.env.clone(), self.open.parallelism);
        let port = env.logical().port(None);
        self.close(&[port], move |cx| Ok(PartitionWriter::new(cx, port, partition::Shared)));
        SharedStream { env, port, parallelism, record: PhantomData }
    }

    /// The records that an operator of this chain writes to `tag`.
    ///
    /// Errors: [`crate::Error::Plan`] at `execute` when no operator that runs was given the tag.
    pub fn side_output<T: Record>(&self, tag: &Tag<T>) -> Stream<Moved<T>> {
        let port = self.env.side_port(tag);
        let edge = self.env.logical().edge(port, Partitioning::Forward);
        let chain = Exchanged::new(&[edge], Archives::new());
        Stream::begin(self.env.clone(), chain, "SideOutput", &[edge], self.open.parallelism)
    }

    /// Gives the records to a sink.
    pub fn sink<S: Sink<C::Out>>(mut self, name: &str, sink: S) {
        let node = self.env.logical().node(name, vec![NodeInput::Chained(self.node)]);
        self.open.nodes.push(node);
        self.node = node;
        self.close(&[], move |cx| {
            let place = SinkContext { subtask: cx.subtask, parallelism: cx.parallelism };
            Ok(SinkOutput::new(sink.writer(&place)?, cx.guard()))
        });
    }

    /// Prints the records to standard output, with Flink's prefix `n> ` when there are several subtasks.
    pub fn print(self)
    where
        C::Out: Debug,
    {
        self.sink("Print", Print);
    }

    /// Keeps the records in memory until the job has run.
    pub fn collect(self) -> Collected<C::Out>
    where
        C::Out: Clone + Send,
    {
        let collected = Collected::new();
        self.sink("Collect", collected.clone());
        collected
    }

    /// Drops the records.
    pub fn blackhole(self) {
        self.sink("Blackhole", Blackhole);
    }

    /// Writes the records as lines of text into files `part-<subtask>` of `folder`, which is made if it is not there.
    ///
    /// The files appear under their names together, when all subtasks of the sink have ended; a job that fails before leaves none.
    /// Errors: [`crate::Error::Io`] with the file, also when a run of more subtasks has left files that would be mixed with these.
    pub fn write_text_files(self, folder: impl AsRef<Path>)
    where
        C::Out: Display,
    {
        self.sink("TextFiles", TextFiles::new(folder.as_ref()));
    }
}

/// One stream or several, with records of type `T`: what [`Stream::union`] takes.
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

/// A stream that several others can be made from. See [`Stream::share`].
pub struct SharedStream<T> {
    env: Env,
    port: PortId,
    parallelism: Option<usize>,
    record: PhantomData<fn() -> T>,
}

impl<T: Record> SharedStream<T> {
    /// One more stream of the same records.
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
