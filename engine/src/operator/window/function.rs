//! What a window keeps of its records, and what it makes of it when it fires.
//!
//! ```text
//!   reduce              one record        ──▶ the record
//!   aggregate           an accumulator    ──▶ WindowResult
//!   process             all records       ──▶ whatever the function emits
//!   reduce + process    one record        ──▶ the same, from that record alone
//!   aggregate + process an accumulator    ──▶ the same, from its result alone
//! ```
//!
//! Invariant: what is kept exists only while there is a record in it; an empty window has none and never fires.

use std::any::Any;
use std::marker::PhantomData;

use crate::api::aggregate::{Aggregate, WindowResult};
use crate::api::record::{Key, Record};
use crate::api::tag::{SideWriter, Tag};
use crate::data_plane::SubtaskContext;
use crate::data_plane::subtask::Guard;
use crate::graph::PortId;
use crate::operator::output::{Control, Output};
use crate::operator::rolling::Reducer;
use crate::operator::stateless::Collector;
use crate::time::Timestamp;
use crate::time::window::TimeWindow;

/// What a window keeps of its records of type `V`, and makes of it.
pub trait WindowFunction<K: Key, V: Record>: Clone + Send + Sync + 'static {
    /// What it emits.
    type Out: 'static;
    /// What is kept.
    type Contents: 'static;
    /// The function's own state for each window.
    type WindowState: Default + 'static;
    /// The function's own state for each key.
    type KeyState: Default + 'static;

    /// Takes in a record that is needed elsewhere too; `archived` is what it was made from. Default: makes another.
    fn see(&mut self, contents: &mut Option<Self::Contents>, _record: &V, archived: &V::Archived) {
        self.take(contents, V::unarchive(archived));
    }

    /// Takes in a record.
    fn take(&mut self, contents: &mut Option<Self::Contents>, record: V);

    /// Takes in what another window kept.
    fn merge(&mut self, contents: &mut Self::Contents, other: Self::Contents);

    /// The window fires. `collector` is empty, and for use meanwhile.
    fn fire(
        &mut self,
        contents: &Self::Contents,
        cx: &mut WindowContext<'_, K, Self::WindowState, Self::KeyState>,
        collector: &mut Collector<Self::Out>,
        next: &mut impl Output<Self::Out>,
    );

    /// The window is forgotten.
    fn clear(&mut self, _cx: &mut WindowContext<'_, K, Self::WindowState, Self::KeyState>) {}
}

/// A function over all records of a window. Source: Flink's `ProcessWindowFunction`.
///
/// One that numbers the firings of each window:
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Collector, Env, ProcessWindowFunction, Tumbling, WindowContext, bounded};
///
/// #[derive(Clone)]
/// struct Numbered;
///
/// impl ProcessWindowFunction<char, (char, i64)> for Numbered {
///     type Out = (char, u32, usize);
///     type WindowState = u32;
///     type KeyState = ();
///
///     fn process(
///         &mut self,
///         cx: &mut WindowContext<'_, char, u32, ()>,
///         elements: &[(char, i64)],
///         out: &mut Collector<Self::Out>,
///     ) {
///         *cx.window_state() += 1;
///         out.collect((*cx.key(), *cx.window_state(), elements.len()));
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let result = env
///     .from_elements([('a', 1), ('b', 2), ('a', 3)])
///     .watermarks(bounded(Duration::ZERO).by(|r: &(char, i64)| r.1))
///     .key_by(|r| r.0)
///     .window(Tumbling::of(Duration::from_millis(10)))
///     .process(Numbered)
///     .collect();
/// env.execute()?;
/// let mut result = result.take();
/// result.sort();
/// assert_eq!(result, [('a', 1, 2), ('b', 1, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait ProcessWindowFunction<K: Key, V>: Clone + Send + Sync + 'static {
    /// What it emits.
    type Out: 'static;
    /// Its state for each window, gone when the window is forgotten. `()` with windows that merge.
    type WindowState: Default + 'static;
    /// Its state for each key, which outlives the windows.
    type KeyState: Default + 'static;

    /// The window fires: `elements` are its records in order of arrival, at least one.
    ///
    /// What is collected has the window's last timestamp.
    fn process(
        &mut self,
        cx: &mut WindowContext<'_, K, Self::WindowState, Self::KeyState>,
        elements: &[V],
        out: &mut Collector<Self::Out>,
    );

    /// The window is forgotten. Its state goes by itself. Default: nothing.
    fn clear(&mut self, _cx: &mut WindowContext<'_, K, Self::WindowState, Self::KeyState>) {}
}

/// What a window function may know and do: its key, window and states, the time, side outputs.
pub struct WindowContext<'a, K, W, S> {
    pub(crate) key: &'a K,
    pub(crate) window: TimeWindow,
    pub(crate) watermark: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) window_state: &'a mut W,
    pub(crate) key_state: &'a mut Option<S>,
    pub(crate) sides: &'a mut Sides,
    pub(crate) guard: &'a Guard,
    pub(crate) merging: bool,
}

impl<K, W, S: Default> WindowContext<'_, K, W, S> {
    /// The key.
    pub fn key(&self) -> &K {
        self.key
    }

    /// The window.
    pub fn window(&self) -> TimeWindow {
        self.window
    }

    /// How far event time has come, in ms: at a firing already the watermark that caused it.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The processing-time clock, in ms since the epoch.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The state for this window and key. Errors: the job fails when windows merge, as it does in Flink.
    pub fn window_state(&mut self) -> &mut W {
        if self.merging {
            self.guard.fail("windows that merge have no state for each window: use the state of the key");
        }
        self.window_state
    }

    /// The state for this key.
    pub fn key_state(&mut self) -> &mut S {
        self.key_state.get_or_insert_default()
    }

    /// Writes to a side output, with the window's last timestamp.
    ///
    /// Errors: the job fails when the tag was not given to `with_side_output` of the windows.
    pub fn side<T: Record>(&mut self, tag: &Tag<T>, record: &T) {
        match self.sides.get(tag) {
            Some(writer) => writer.write(record, self.window.max_timestamp()),
            None => self.guard.fail(format!(
                "the side output {:?} was not declared: add `.with_side_output(&tag)` to the windows",
                tag.name()
            )),
        }
    }
}

/// The side outputs of a window function. Found by the tag at each use: they are few, and used at firings only.
#[derive(Default)]
pub(crate) struct Sides {
    writers: Vec<(u64, Box<dyn Side>)>,
}

trait Side {
    fn control(&mut self, control: Control);
    fn writer(&mut self) -> &mut dyn Any;
}

impl<T: Record> Side for SideWriter<T> {
    fn control(&mut self, control: Control) {
        SideWriter::control(self, control);
    }

    fn writer(&mut self) -> &mut dyn Any {
        self
    }
}

impl Sides {
    pub(crate) fn add<T: Record>(&mut self, cx: &SubtaskContext, tag: Tag<T>, port: PortId) {
        self.writers.push((tag.id, Box::new(SideWriter::<T>::new(cx, port))));
    }

    pub(crate) fn control(&mut self, control: Control) {
        self.writers.iter_mut().for_each(|(_, side)| side.control(control));
    }

    fn get<T: Record>(&mut self, tag: &Tag<T>) -> Option<&mut SideWriter<T>> {
        let (_, side) = self.writers.iter_mut().find(|(id, _)| *id == tag.id)?;
        side.writer().downcast_mut()
    }
}

/// Keeps the reduction of the records, and emits it.
#[derive(Debug, Clone)]
pub struct ReduceWindow<R>(pub(crate) R);

impl<K: Key, V: Record, R: Reducer<V>> WindowFunction<K, V> for ReduceWindow<R> {
    type Out = V;
    type Contents = V;
    type WindowState = ();
    type KeyState = ();

    #[inline]
    fn take(&mut self, contents: &mut Option<V>, record: V) {
        match contents {
            Some(contents) => self.0.reduce(contents, record),
            None => *contents = Some(record),
        }
    }

    fn merge(&mut self, contents: &mut V, other: V) {
        self.0.reduce(contents, other);
    }

    fn fire(
        &mut self,
        contents: &V,
        cx: &mut WindowContext<'_, K, (), ()>,
        _collector: &mut Collector<V>,
        next: &mut impl Output<V>,
    ) {
        next.collect(contents, cx.window.max_timestamp());
    }
}

/// Keeps an accumulator, and emits its result with key and window.
#[derive(Debug, Clone)]
pub struct AggregateWindow<A>(pub(crate) A);

impl<K: Key, V: Record, A: Aggregate<V>> WindowFunction<K, V> for AggregateWindow<A> {
    type Out = WindowResult<K, A::Out>;
    type Contents = A::Acc;
    type WindowState = ();
    type KeyState = ();

    #[inline]
    fn see(&mut self, contents: &mut Option<A::Acc>, record: &V, _archived: &V::Archived) {
        let accumulator = contents.get_or_insert_with(|| self.0.create());
        self.0.add(accumulator, record);
    }

    #[inline]
    fn take(&mut self, contents: &mut Option<A::Acc>, record: V) {
        let accumulator = contents.get_or_insert_with(|| self.0.create());
        self.0.add(accumulator, &record);
    }

    fn merge(&mut self, contents: &mut A::Acc, other: A::Acc) {
        self.0.merge(contents, other);
    }

    fn fire(
        &mut self,
        contents: &A::Acc,
        cx: &mut WindowContext<'_, K, (), ()>,
        _collector: &mut Collector<Self::Out>,
        next: &mut impl Output<Self::Out>,
    ) {
        let result = WindowResult { key: cx.key.clone(), window: cx.window, value: self.0.result(contents) };
        next.collect(&result, cx.window.max_timestamp());
    }
}

/// Runs a user's function, and passes on what it collects.
fn run<K: Key, V, F: ProcessWindowFunction<K, V>>(
    function: &mut F,
    elements: &[V],
    cx: &mut WindowContext<'_, K, F::WindowState, F::KeyState>,
    collector: &mut Collector<F::Out>,
    next: &mut impl Output<F::Out>,
) {
    function.process(cx, elements, collector);
    for result in collector.drain() {
        next.collect(&result, cx.window.max_timestamp());
    }
}

/// Keeps all records, and gives them to the function.
#[derive(Debug, Clone)]
pub struct ProcessWindow<F>(pub(crate) F);

impl<K: Key, V: Record, F: ProcessWindowFunction<K, V>> WindowFunction<K, V> for ProcessWindow<F> {
    type Out = F::Out;
    type Contents = Vec<V>;
    type WindowState = F::WindowState;
    type KeyState = F::KeyState;

    #[inline]
    fn take(&mut self, contents: &mut Option<Vec<V>>, record: V) {
        contents.get_or_insert_default().push(record);
    }

    fn merge(&mut self, contents: &mut Vec<V>, mut other: Vec<V>) {
        contents.append(&mut other);
    }

    fn fire(
        &mut self,
        contents: &Vec<V>,
        cx: &mut WindowContext<'_, K, F::WindowState, F::KeyState>,
        collector: &mut Collector<F::Out>,
        next: &mut impl Output<F::Out>,
    ) {
        run(&mut self.0, contents, cx, collector, next);
    }

    fn clear(&mut self, cx: &mut WindowContext<'_, K, F::WindowState, F::KeyState>) {
        self.0.clear(cx);
    }
}

/// Keeps what the inner function keeps, and gives the single result to a process function.
#[derive(Debug, Clone)]
pub struct ReduceProcessWindow<R, F> {
    pub(crate) reducer: R,
    pub(crate) function: F,
}

impl<K, V, R, F> WindowFunction<K, V> for ReduceProcessWindow<R, F>
where
    K: Key,
    V: Record,
    R: Reducer<V>,
    F: ProcessWindowFunction<K, V>,
{
    type Out = F::Out;
    type Contents = V;
    type WindowState = F::WindowState;
    type KeyState = F::KeyState;

    #[inline]
    fn take(&mut self, contents: &mut Option<V>, record: V) {
        match contents {
            Some(contents) => self.reducer.reduce(contents, record),
            None => *contents = Some(record),
        }
    }

    fn merge(&mut self, contents: &mut V, other: V) {
        self.reducer.reduce(contents, other);
    }

    fn fire(
        &mut self,
        contents: &V,
        cx: &mut WindowContext<'_, K, F::WindowState, F::KeyState>,
        collector: &mut Collector<F::Out>,
        next: &mut impl Output<F::Out>,
    ) {
        run(&mut self.function, std::slice::from_ref(contents), cx, collector, next);
    }

    fn clear(&mut self, cx: &mut WindowContext<'_, K, F::WindowState, F::KeyState>) {
        self.function.clear(cx);
    }
}

/// Keeps an accumulator, and gives its result to a process function.
#[derive(Debug, Clone)]
pub struct AggregateProcessWindow<A, F> {
    pub(crate) aggregate: A,
    pub(crate) function: F,
}

impl<K, V, A, F> WindowFunction<K, V> for AggregateProcessWindow<A, F>
where
    K: Key,
    V: Record,
    A: Aggregate<V>,
    F: ProcessWindowFunction<K, A::Out>,
{
    type Out = F::Out;
    type Contents = A::Acc;
    type WindowState = F::WindowState;
    type KeyState = F::KeyState;

    #[inline]
    fn see(&mut self, contents: &mut Option<A::Acc>, record: &V, _archived: &V::Archived) {
        let accumulator = contents.get_or_insert_with(|| self.aggregate.create());
        self.aggregate.add(accumulator, record);
    }

    #[inline]
    fn take(&mut self, contents: &mut Option<A::Acc>, record: V) {
        let accumulator = contents.get_or_insert_with(|| self.aggregate.create());
        self.aggregate.add(accumulator, &record);
    }

    fn merge(&mut self, contents: &mut A::Acc, other: A::Acc) {
        self.aggregate.merge(contents, other);
    }

    fn fire(
        &mut self,
        contents: &A::Acc,
        cx: &mut WindowContext<'_, K, F::WindowState, F::KeyState>,
        collector: &mut Collector<F::Out>,
        next: &mut impl Output<F::Out>,
    ) {
        let result = self.aggregate.result(contents);
        run(&mut self.function, std::slice::from_ref(&result), cx, collector, next);
    }

    fn clear(&mut self, cx: &mut WindowContext<'_, K, F::WindowState, F::KeyState>) {
        self.function.clear(cx);
    }
}

/// The process function of a closure that needs no state.
pub struct ProcessClosure<F, U> {
    function: F,
    out: PhantomData<fn() -> U>,
}

impl<F, U> ProcessClosure<F, U> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, out: PhantomData }
    }
}

impl<F: Clone, U> Clone for ProcessClosure<F, U> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

impl<K, V, U, F> ProcessWindowFunction<K, V> for ProcessClosure<F, U>
where
    K: Key,
    U: 'static,
    F: FnMut(&K, TimeWindow, &[V], &mut Collector<U>) + Clone + Send + Sync + 'static,
{
    type Out = U;
    type WindowState = ();
    type KeyState = ();

    fn process(&mut self, cx: &mut WindowContext<'_, K, (), ()>, elements: &[V], out: &mut Collector<U>) {
        (self.function)(cx.key, cx.window, elements, out);
    }
}
