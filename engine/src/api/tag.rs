//! Side outputs: further outputs of an operator, each with records of its own type.
//!
//! A [`Tag`] names one. The operator that writes to it is told so when the job is described, which makes its writer a part
//! of the operator's type: finding it takes a comparison of numbers, and no virtual call.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::env::Env;
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
/// ```
/// use thalweg::{Env, Tag};
///
/// let odd = Tag::<u64>::new("odd");
/// let env = Env::new().parallelism(1);
/// let even = env.from_elements([1_u64, 2, 3]).split(odd, |n, out, mut odd| match n % 2 {
///     0 => out.collect(*n),
///     _ => odd.collect(n),
/// });
/// let odds = even.side_output(&odd).owned().collect();
/// let evens = even.collect();
/// env.execute()?;
/// assert_eq!((evens.take(), odds.take()), (vec![2], vec![1, 3]));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Tag<T> {
    pub(crate) id: u64,
    name: &'static str,
    record: PhantomData<fn() -> T>,
}

impl<T> Tag<T> {
    /// A new tag, different from all others, also of the same name, which is for people: plans show it.
    ///
    /// ```
    /// use thalweg::{Env, Tag};
    ///
    /// let late = Tag::<u64>::new("late");
    /// let env = Env::new();
    /// let stream = env.generate(3, |n| n).split(late, |n, out, _| out.collect(*n));
    /// stream.side_output(&late).blackhole();
    /// stream.blackhole();
    /// let plan = env.plan()?;
    /// let mut inputs = plan.nodes.iter().flat_map(|node| &node.inputs);
    /// assert!(inputs.any(|input| input.side_output.as_deref() == Some("late")));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn new(name: &'static str) -> Self {
        Self { id: NEXT_TAG.fetch_add(1, Ordering::Relaxed), name, record: PhantomData }
    }

    /// The name that it was made with.
    ///
    /// ```
    /// assert_eq!(thalweg::Tag::<u64>::new("late").name(), "late");
    /// ```
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

/// The side outputs that one operator writes to: a [`Tag`], a tuple of up to six, or `()` for none.
///
/// ```
/// use thalweg::{Sides, Tag};
///
/// fn are_sides(_: impl Sides) {}
/// are_sides(Tag::<u64>::new("late"));
/// are_sides((Tag::<u64>::new("late"), Tag::<String>::new("broken")));
/// ```
pub trait Sides: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    type Writers: SideWriters;

    #[doc(hidden)]
    fn ports(&self, env: &Env) -> Vec<PortId>;

    #[doc(hidden)]
    fn open(&self, ports: &[PortId], cx: &SubtaskContext) -> Self::Writers;
}

/// The writing ends of [`Sides`] in one subtask: what [`crate::Stream::split`] lends one [`Side`] of each from.
pub trait SideWriters: 'static {
    /// One [`Side`] for each, with the timestamp of a record.
    type Handles<'a>;

    /// Writes to the side output of that tag. If there is none among these, nobody reads it: the record is dropped.
    fn write<T: Record>(&mut self, tag: u64, record: &T, timestamp: Timestamp);

    /// What a function writes to while it works on a record of this timestamp.
    fn handles(&mut self, timestamp: Timestamp) -> Self::Handles<'_>;

    /// Passes on what is not a record.
    fn control(&mut self, control: Control);
}

/// Side outputs and the ports they leave by. Made by [`crate::Stream::with_sides`] and [`crate::Stream::split`].
#[derive(Debug, Clone)]
pub struct Declared<S> {
    sides: S,
    pub(crate) ports: Arc<[PortId]>,
}

impl<S: Sides> Declared<S> {
    pub(crate) fn new(sides: S, env: &Env) -> Self {
        let ports = sides.ports(env).into();
        Self { sides, ports }
    }

    pub(crate) fn open(&self, cx: &SubtaskContext) -> S::Writers {
        self.sides.open(&self.ports, cx)
    }
}

impl Declared<()> {
    pub(crate) fn none() -> Self {
        Self { sides: (), ports: Arc::new([]) }
    }
}

/// A side output, as [`crate::Stream::split`] lends it to its function.
///
/// ```
/// use thalweg::{Env, Side, Tag};
///
/// fn report(number: u64, side: &mut Side<'_, String>) {
///     side.collect(&format!("{number} is odd"));
/// }
///
/// let env = Env::new().parallelism(1);
/// let tag = Tag::new("reports");
/// let even = env.generate(4, |n| n).split(tag, |&n, out, mut side| match n % 2 {
///     0 => out.collect(n),
///     _ => report(n, &mut side),
/// });
/// let reports = even.side_output(&tag).owned().collect();
/// even.blackhole();
/// env.execute()?;
/// assert_eq!(reports.take(), ["1 is odd", "3 is odd"]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct Side<'a, T: Record> {
    writer: &'a mut SideWriter<T>,
    timestamp: Timestamp,
}

impl<T: Record> Side<'_, T> {
    /// Writes a record, with the timestamp of the record that is being worked on. Costs next to nothing when nobody reads it.
    ///
    /// ```
    /// use thalweg::testing::{Event, Recorder};
    /// use thalweg::{Env, Tag, monotonous};
    ///
    /// let env = Env::new().parallelism(1);
    /// let odd = Tag::<i64>::new("odd");
    /// let numbers = env.from_elements([3_i64]).watermarks(monotonous().by(|n: &i64| 100 * n));
    /// let even = numbers.split(odd, |&n, out, mut odd| match n % 2 {
    ///     0 => out.collect(n),
    ///     _ => odd.collect(&-n),
    /// });
    /// let seen = Recorder::new();
    /// even.side_output(&odd).owned().sink("odd", seen.clone());
    /// even.blackhole();
    /// env.execute()?;
    /// assert_eq!(seen.take()[0], Event::Record(-3, Some(300)));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[inline]
    pub fn collect(&mut self, record: &T) {
        self.writer.write(record, self.timestamp);
    }
}

/// The writing end of a side output in one subtask. Records go out while anyone reads them.
pub(crate) struct SideWriter<T: Record> {
    channels: ChannelWriter<(), T>,
}

impl<T: Record> SideWriter<T> {
    pub(crate) fn new(cx: &SubtaskContext, port: PortId) -> Self {
        Self { channels: ChannelWriter::new(cx, port) }
    }

    #[inline]
    pub(crate) fn write(&mut self, record: &T, timestamp: Timestamp) {
        if self.channels.receivers() > 0 {
            self.channels.write(0, timestamp, 0, &(), record);
        }
    }

    pub(crate) fn control(&mut self, control: Control) {
        self.channels.control(control);
    }
}

/// The writing end of a side output in one subtask, and the tag that it is known by: the [`SideWriters`] of one [`Tag`].
pub struct TaggedWriter<T: Record> {
    tag: u64,
    writer: SideWriter<T>,
}

impl<T: Record> TaggedWriter<T> {
    fn new(cx: &SubtaskContext, port: PortId, tag: Tag<T>) -> Self {
        Self { tag: tag.id, writer: SideWriter::new(cx, port) }
    }

    /// Writes the record if it is meant for this side output.
    #[inline]
    fn offer<U: Record>(&mut self, tag: u64, record: &U, timestamp: Timestamp) {
        // Both types are known when this is compiled: of the test of the type nothing is left to do.
        if self.tag == tag
            && let Some(record) = (record as &dyn Any).downcast_ref::<T>()
        {
            self.writer.write(record, timestamp);
        }
    }

    #[inline]
    fn handle(&mut self, timestamp: Timestamp) -> Side<'_, T> {
        Side { writer: &mut self.writer, timestamp }
    }
}

impl<T: Record> Sides for Tag<T> {
    type Writers = TaggedWriter<T>;

    fn ports(&self, env: &Env) -> Vec<PortId> {
        vec![env.side_port(self)]
    }

    fn open(&self, ports: &[PortId], cx: &SubtaskContext) -> TaggedWriter<T> {
        TaggedWriter::new(cx, ports[0], *self)
    }
}

impl<T: Record> SideWriters for TaggedWriter<T> {
    type Handles<'a> = Side<'a, T>;

    #[inline]
    fn write<U: Record>(&mut self, tag: u64, record: &U, timestamp: Timestamp) {
        self.offer(tag, record, timestamp);
    }

    #[inline]
    fn handles(&mut self, timestamp: Timestamp) -> Side<'_, T> {
        self.handle(timestamp)
    }

    fn control(&mut self, control: Control) {
        self.writer.control(control);
    }
}

impl Sides for () {
    type Writers = ();

    fn ports(&self, _env: &Env) -> Vec<PortId> {
        Vec::new()
    }

    fn open(&self, _ports: &[PortId], _cx: &SubtaskContext) {}
}

impl SideWriters for () {
    type Handles<'a> = ();

    #[inline]
    fn write<T: Record>(&mut self, _tag: u64, _record: &T, _timestamp: Timestamp) {}

    #[inline]
    fn handles(&mut self, _timestamp: Timestamp) {}

    fn control(&mut self, _control: Control) {}
}

macro_rules! tuple_sides {
    ($($record:ident $index:tt)*) => {
        impl<$($record: Record),*> Sides for ($(Tag<$record>,)*) {
            type Writers = ($(TaggedWriter<$record>,)*);

            fn ports(&self, env: &Env) -> Vec<PortId> {
                vec![$(env.side_port(&self.$index)),*]
            }

            fn open(&self, ports: &[PortId], cx: &SubtaskContext) -> Self::Writers {
                ($(TaggedWriter::new(cx, ports[$index], self.$index),)*)
            }
        }

        impl<$($record: Record),*> SideWriters for ($(TaggedWriter<$record>,)*) {
            type Handles<'a> = ($(Side<'a, $record>,)*);

            #[inline]
            fn write<Z: Record>(&mut self, tag: u64, record: &Z, timestamp: Timestamp) {
                $(self.$index.offer(tag, record, timestamp);)*
            }

            #[inline]
            fn handles(&mut self, timestamp: Timestamp) -> Self::Handles<'_> {
                ($(self.$index.handle(timestamp),)*)
            }

            fn control(&mut self, control: Control) {
                $(self.$index.writer.control(control);)*
            }
        }
    };
}

tuple_sides!(A 0);
tuple_sides!(A 0 B 1);
tuple_sides!(A 0 B 1 C 2);
tuple_sides!(A 0 B 1 C 2 D 3);
tuple_sides!(A 0 B 1 C 2 D 3 E 4);
tuple_sides!(A 0 B 1 C 2 D 3 E 4 F 5);
