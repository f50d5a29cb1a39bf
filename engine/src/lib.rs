//! thalweg: a stateful stream processor with Apache Flink's semantics, one thread per core.
//!
//! ```
//! use std::time::Duration;
//! use thalweg::{Count, Env, Tumbling, bounded};
//!
//! # fn main() -> thalweg::Result<()> {
//! let env = Env::new().parallelism(2);
//! let clicks = env.from_elements([(100_i64, "home"), (400, "help"), (900, "home"), (1_200, "home")]);
//! let counts = clicks
//!     .watermarks(bounded(Duration::from_millis(500)).by(|click: &(i64, &str)| click.0))
//!     .key_by(|click| click.1.to_owned())
//!     .window(Tumbling::of(Duration::from_secs(1)))
//!     .aggregate(Count)
//!     .map(|count| (count.window.start, count.key.clone(), count.value))
//!     .collect();
//! env.execute()?;
//! # let mut counts = counts.take();
//! # counts.sort();
//! # assert_eq!(counts, [(0, "help".into(), 1), (0, "home".into(), 2), (1_000, "home".into(), 1)]);
//! # Ok(())
//! # }
//! ```
//!
//! # The crate in reading order
//!
//! - **A job**: [`Env`] makes streams from sources, [`Env::plan`] shows what would run, [`Env::execute`] runs it, a [`JobClient`]
//!   stops it.
//! - **Streams**: [`Stream`] (map, filter, flat_map, union, share, partitioning), [`KeyedStream`] (rolling aggregates, state),
//!   [`ConnectedStreams`] and [`KeyedConnectedStreams`] (two types of records in one operator).
//! - **Event time**: [`WatermarkStrategy`], made by [`bounded`], [`monotonous`], [`punctuated`] or [`no_watermarks`].
//! - **Windows**: assigners [`Tumbling`], [`Sliding`], [`Session`], [`Global`], or a [`WindowAssigner`] of one's own. A
//!   [`WindowedStream`] computes an [`Aggregate`] or a [`ProcessWindowFunction`]; a [`Trigger`] says when. [`Stream::join`] and
//!   [`Stream::co_group`] put two streams into the same windows.
//! - **Functions with state and timers**: [`KeyedProcessFunction`], [`KeyedCoProcessFunction`], [`ProcessFunction`]; side outputs
//!   by [`Tag`].
//! - **Outside**: [`Source`] and [`Sink`].
//! - **Types**: a [`Record`] crosses exchanges, a [`Key`] groups records; [`chains`] are what streams are made of.
//! - **Tests**: [`testing`] runs a whole job on one thread, from a seed.
//!
//! Inside, in the order in which a record meets it: `api` (what a user types) makes a `graph`; `runtime` starts a thread for each
//! core and steps its `data_plane`, which takes buffers from channels and calls the operators of `operator` with the rules of
//! `time`. All but `runtime` and the threads of `connector` is pure: no clock, no thread, no I/O. `testing` has the same cores on
//! simulated clocks and links. Buffers, rings and credit are `thalweg-net`'s, tables and timers `thalweg-state`'s.
//!
//! # Idle strategies
//!
//! How a core waits when it has nothing to do: [`Env::idle_strategy`].
//!
//! | [`IdleStrategy`] | waits by | CPU of a core, 10 events/s | 1 000 events/s | latency p50, 1 000 events/s |
//! |---|---|--:|--:|--:|
//! | `Spin` | polling without end | 100 % | 100 % | 1.0 µs |
//! | `Balanced` | polling for [`Env::spin`] (100 µs), then as `Park` | 0.5 % | 53 % | 12 µs |
//! | `Park` | sleeping until a peer, a source or a timer wakes it | 0.3 % | 35 % | 26 µs |
//!
//! Word count with one exchange between two cores of an EPYC virtual machine (kernel 6.18), whose cores were taken away 4 % of the
//! time, so that tails say nothing: `thalweg bench latency --query wc --rate 1k --parallelism 2 --idle park`. The paced source itself
//! polls within the last millisecond before an event is due, which is in the figures of all three.
//!
//! With more subtasks than cores a core always parks: one that polled would keep another from its turn.
//!
//! # Decisions
//!
//! Where two designs were close, this is why it is this one.
//!
//! - **Chains are types.** A pipeline could be a list of boxed operators, built while the program runs; it would compile faster and
//!   print shorter types. As one generic type it is one loop: a call of the next operator is inlined, and a record stays in registers
//!   from source to exchange. The price is in [`chains`].
//! - **Every fork or merge is an exchange of buffers**, also when all of it stays on one core: union, share, side outputs. A chain
//!   is then always linear, with one head that decides when to take input, and one credit per channel to ask before. A record
//!   shared by several streams is written once, and each of them reads the same buffer.
//! - **Watermarks after each batch** instead of each 200 ms, Flink's default. Windows fire as soon as they can, and results do not depend
//!   on the wall clock; the cost is one call per batch, nothing per record. [`Env::auto_watermark_interval`] brings Flink's way back.
//! - **A buffer leaves when its core runs dry.** At low load a record waits for no other, at full load buffers are full, and there is
//!   no timeout to tune between the two. [`Env::buffer_timeout`] stays as an upper bound for a core that is never done.
//! - **One table per key group, sorted by hash.** Key groups are how state moves when the parallelism changes: a group's table can be
//!   written, sent or dropped alone, it grows alone (no pause for all state at once), and a walk in the order of hashes can be cut
//!   into steps while records go on. Buckets that a batch will need are prefetched, which costs less than one cache miss.
//! - **Two window operators behind one API.** Associative aggregates under the default trigger live in slices, which overlapping
//!   windows share if the order of records is of no matter to the aggregate, and are combined before the exchange. Everything else
//!   goes through Flink's own algorithm, which keeps each window apart.
//!   The types decide which ([`WindowAssigner::Path`], a parameter of [`WindowedStream`]): a decision at run time would compile both
//!   operators into every job, and ask for records that can cross an exchange where only their accumulators do.
//! - **Records are lent.** A function gets `&T`, not `T`: what lies archived in a received buffer needs no copy to be looked at.
//!   Who wants to keep it says so, by [`Stream::owned`] or a clone.
#![forbid(unsafe_code)]

mod api;
pub mod chains;
mod connector;
mod data_plane;
mod error;
mod graph;
mod operator;
mod runtime;
pub mod testing;
mod time;

// A job.
pub use api::config::IdleStrategy;
pub use api::env::Env;
pub use error::{Error, Result};
pub use graph::plan::{Plan, PlanChain, PlanInput, PlanNode};
pub use runtime::job::{JobClient, JobHandle};
pub use runtime::result::{JobResult, OperatorResult};

// Streams.
pub use api::chain::Chain;
pub use api::connect::{ConnectedStreams, KeyedConnectedStreams};
pub use api::keyed::KeyedStream;
pub use api::record::{Key, Record};
pub use api::stream::{SharedStream, Stream, Streams};
pub use api::tag::{Side, Sides, Tag};
pub use data_plane::writer::Partitioner;
pub use operator::rolling::Number;
pub use operator::stateless::Collector;

// Event time.
pub use time::strategy::{Generator, WatermarkStrategy, bounded, monotonous, no_watermarks, punctuated};
pub use time::{MAX_WATERMARK, NO_TIMESTAMP, Timestamp};

// Windows: streams of them, which records they take, when they fire, what they make.
pub use api::aggregate::{Aggregate, Count, WindowResult};
pub use api::join::{Groups, JoinedKeys, JoinedStreams, JoinedWindows, Pairs};
pub use api::windowed::WindowedStream;
pub use operator::window::function::{ProcessWindowFunction, WindowContext};
pub use operator::window::join::Either;
pub use time::assigner::{
    DynamicSession, Global, GlobalEndOfStream, OnProcessingTime, PerRecord, Session, Sliding, Tumbling,
    WindowAssigner, WindowError,
};
pub use time::trigger::{
    ContinuousEventTime, ContinuousProcessingTime, Count as CountTrigger, Delta, EndOfStream, EventTime,
    Never, ProcessingTime, ProcessingTimeout, Purging, Trigger, TriggerContext, TriggerResult,
};
pub use time::window::TimeWindow;

// Functions with state and timers.
pub use api::backend::{Backend, LsmBackend, LsmOptions};
pub use api::connect::KeyedCoProcessFunction;
pub use api::context::{Aggregating, Context, KeyedContext, OpenContext, TimeDomain};
pub use api::process::{KeyedProcessFunction, ProcessFunction};
pub use thalweg_state::{
    AggregatingState, Key as StateKey, KeyContext, KeyRef, KeyedState, ListState, MapState, ReducingState,
    StateBackend, StateDescriptor, StateSet, StateValue, StateVisibility, Ttl, UpdateType, ValueState, View,
    state_set,
};

// Sources and sinks.
pub use api::sink::{Blackhole, Collected, Print, Sink, SinkContext, SinkWriter};
pub use api::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
pub use operator::output::Output;
pub use runtime::bell::Bell;
pub use thalweg_net::{prefetch, prefetch_lines};

/// The job in the README runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
