//! Side outputs.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::Record;
use crate::data_plane::SubtaskContext;
use crate::data_plane::writer::ChannelWriter;
use crate::graph::PortId;
use crate::operator::output::Control;
use crate::time::Timestamp;

static NEXT_TAG: AtomicU64 = AtomicU64::new(0);

/// Names a side output and the type of its records, as Flink's `OutputTag`.
///
/// One operator writes to it, and [`crate::Stream::side_output`] reads it.
///
/// ```ignore
/// use thalweg::{Env, Tag};
///
/// let odd = Tag::<u64>::new("odd");
/// let env = Env::new().parallelism(1);
/// let split = env.from_elements([1_u64, 2, 3]).process(|n: &u64, out| match n % 2 {
///     0 => out.collect(*n),
///     _ => out.side(&odd, n),
/// }, [&odd]);
/// let odds = split.side_output(&odd).map(|n| n.to_native()).collect();
/// split.blackhole();
/// env.execute()?;
/// assert_eq!(odds.take(), [1, 3]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Tag<T> {
    pub(crate) id: u64,
    name: &'static str,
    record: PhantomData<fn() -> T>,
}

impl<T> Tag<T> {
    /// A new tag, different from all others. `name` is for people.
    pub fn new(name: &'static str) -> Self {
        Self { id: NEXT_TAG.fetch_add(1, Ordering::Relaxed), name, record: PhantomData }
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Tag<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Tag<T> {}

/// The writing end of a side output in one subtask. Records go out while anyone reads them.
pub(crate) struct SideWriter<T: Record> {
    channels: ChannelWriter<(), T>,
}

impl<T: Record> SideWriter<T> {
    pub(crate) fn new(cx: &SubtaskContext, port: PortId) -> Self {
        Self { channels: ChannelWriter::new(cx, port) }
    }

    pub(crate) fn write(&mut self, record: &T, timestamp: Timestamp) {
        if self.channels.receivers() > 0 {
            self.channels.write(0, timestamp, 0, &(), record);
        }
    }

    pub(crate) fn control(&mut self, control: Control) {
        self.channels.control(control);
    }
}
