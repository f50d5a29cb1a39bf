//! thalweg: a stateful stream processor with Flink's semantics, one thread per core.
#![forbid(unsafe_code)]

mod api;
mod connector;
mod data_plane;
mod error;
mod graph;
mod operator;
mod runtime;
pub mod testing;
mod time;

pub use api::aggregate::{Aggregate, Count, WindowResult};
pub use api::chain::Chain;
pub use api::config::IdleStrategy;
pub use api::connect::{ConnectedStreams, KeyedCoProcessFunction, KeyedConnectedStreams};
pub use api::context::{Aggregating, Context, KeyedContext, OpenContext, TimeDomain};
pub use api::env::Env;
pub use api::join::{Groups, JoinedKeys, JoinedStreams, JoinedWindows, Pairs};
pub use api::keyed::KeyedStream;
pub use api::process::{KeyedProcessFunction, ProcessFunction};
pub use api::record::{Key, Record};
pub use api::sink::{Blackhole, Collected, Print, Sink, SinkContext, SinkWriter};
pub use api::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
pub use api::stream::{SharedStream, Stream, Streams};
pub use api::tag::{Side, Sides, Tag};
pub use api::triggered::TriggeredStream;
pub use api::windowed::WindowedStream;
pub use data_plane::writer::Partitioner;
pub use error::{Error, Result};
pub use graph::plan::{Plan, PlanChain, PlanInput, PlanNode};
pub use operator::output::Output;
pub use operator::rolling::Number;
pub use operator::stateless::Collector;
pub use operator::window::function::{ProcessWindowFunction, WindowContext};
pub use operator::window::join::Either;
pub use runtime::JobResult;
pub use runtime::bell::Bell;
pub use thalweg_net::prefetch;
pub use thalweg_state::{
    AggregatingState, HeapBackend, KeyContext, ListState, MapState, ReducingState, StateDescriptor, StateSet,
    ValueState,
};
pub use time::assigner::{
    DynamicSession, Global, GlobalEndOfStream, OnProcessingTime, Session, Sliding, Tumbling, WindowAssigner,
    WindowError,
};
pub use time::strategy::{Generator, WatermarkStrategy, bounded, monotonous, no_watermarks, punctuated};
pub use time::trigger::{
    ContinuousEventTime, Count as CountTrigger, Delta, EndOfStream, EventTime, Never, ProcessingTime,
    Purging, Trigger, TriggerContext, TriggerResult,
};
pub use time::window::TimeWindow;
pub use time::{MAX_WATERMARK, NO_TIMESTAMP, Timestamp};

/// The job in the README runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
