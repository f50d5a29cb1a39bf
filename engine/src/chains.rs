//! The types that streams are made of. A program seldom names one: it writes `Stream<impl Chain<Out = T>>`.
//!
//! The type of a stream says what its subtasks do, from the inside out, as the type of an iterator does:
//!
//! ```text
//!   env.generate(9, f).map(g).filter(h)    Filter<Map<FromSource<Generated<F>>, G, U>, H>
//!   ….key_by(k).sum(field)                 Exchanged<Key, Value, RollingFactory<SumField<…>>>
//! ```
//!
//! Each such type is a [`Chain`](crate::Chain): attached to what comes behind it, it becomes one loop that the compiler sees as a whole.
//! What is before an exchange is not part of the type behind it.

// Chains: what begins them, and what they go on with.
pub use crate::api::chain::{Connected, Exchanged, Moved};
pub use crate::api::env::FromSource;
pub use crate::api::process::{Process, Split, TakesSides};
pub use crate::api::stream::{Filter, FilterMap, FlatMap, Map, Owning, Watermarks};

// Sources and sinks that the methods of `Env` and `Stream` make.
pub use crate::api::sink::{CollectWriter, LineWriter};
pub use crate::api::source::{Elements, Generated};
pub use crate::connector::reader::LineReader;
pub use crate::connector::socket::SocketText;
pub use crate::connector::text::TextFile;

// Generators of watermarks.
pub use crate::time::strategy::{Assigned, Bounded, NoWatermarks, Punctuated};

// What `key_by` takes from a record.
pub use crate::api::keyed::{ByKey, MapValue, Unkeyed};
pub use crate::data_plane::writer::Extract;

// What builds the operators behind an exchange.
pub use crate::api::chain::{Archives, OneInputFactory, TwoInputFactory};
pub use crate::api::connect::{CoFlatMapFactory, CoMapFactory};
pub use crate::api::join::JoinChain;
pub use crate::api::keyed::{CountFactory, RollingFactory};
pub use crate::api::process::ProcessFactory;

// How windows are computed.
pub use crate::api::window_path::{
    AggregatesWindows, Applied, Combined, FastFactory, FastWindows, ReducesWindows, WindowFactory,
};
pub use crate::time::assigner::InParts;

// What rolling aggregations and windows do with their records.
pub use crate::api::aggregate::{Emit, EmitReduced, EmitResult, Reducing};
pub use crate::operator::rolling::{
    Better, Extreme, First, Last, MaxField, MinField, Prefer, Reduce, Reducer, SumField,
};
pub use crate::operator::window::combiner::{SessionSpan, SliceSpan, Span};
pub use crate::operator::window::function::{
    AggregateProcessWindow, AggregateWindow, FiringContext, ProcessClosureWindow, ProcessWindow,
    ReduceProcessWindow, ReduceWindow, WindowFunction,
};
pub use crate::operator::window::join::{BothSides, CoGroupWindow, GroupFunction, JoinWindow, PairFunction};
pub use crate::operator::window::slices::Merge;

// Side outputs.
pub use crate::api::tag::{Declared, SideWriters, TaggedWriter};

// What a chain becomes on its core.
pub use crate::data_plane::subtask::{Progress, Subtask, SubtaskContext};
pub use crate::graph::{EdgeId, PortId};
pub use crate::operator::output::{Control, Stage};
pub use crate::operator::{Budget, OneInput, Operator, Received, TwoInput};
pub use thalweg_net::{Exchange, Signal};
