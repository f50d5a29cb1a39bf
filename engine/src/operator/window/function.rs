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

use std::marker::PhantomData;

use thalweg_state::StateValue;

use crate::api::aggregate::{Aggregate, WindowResult};
use crate::api::context::Context;
use crate::api::record::{Key, Record};
use crate::api::tag::{SideWriters, Tag};
use crate::data_plane::subtask::Guard;
use crate::operator::output::Output;
use crate::operator::rolling::Reducer;
use crate::operator::stateless::Collector;
use crate::time::Timestamp;
use crate::time::window::TimeWindow;

/// What a window keeps of its records of type `V`, and makes of it. What users implement is a [`ProcessWindowFunction`], a
/// [`crate::Aggregate`] or a closure: the methods of [`crate::WindowedStream`] make one of these of it.
pub trait WindowFunction<K: Key, V: Record>: Clone + Send + Sync + 'static {
    /// What it emits.
    type Out: 'static;
    /// What is kept.
    type Contents: StateValue;
    /// The function's own state for each window.
    type WindowState: Default + StateValue;
    /// The function's own state for each key.
    type KeyState: Default + StateValue;

    /// Takes in a record that is needed elsewhere too; `again` makes another. Default: does so.
    fn see(&mut self, contents: &mut Option<Self::Contents>, _record: &V, again: impl FnOnce() -> V) {
        self.take(contents, again());
    }

    /// Takes in a record.
    fn take(&mut self, contents: &mut Option<Self::Contents>, record: V);

    /// Takes in what another window kept.
    fn merge(&mut self, contents: &mut Self::Contents, other: Self::Contents);

    /// The window fires.
    fn fire<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        contents: &Self::Contents,
        cx: &mut FiringContext<'_, K, Self::WindowState, Self::KeyState, Self::Out, SW, N>,
    );

    /// The window is forgotten.
    fn clear<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        _cx: &mut FiringContext<'_, K, Self::WindowState, Self::KeyState, Self::Out, SW, N>,
    ) {
    }
}

/// A function over all records of a window. Source: Flink's `ProcessWindowFunction`.
///
/// One that numbers the firings of each window:
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Env, ProcessWindowFunction, Tumbling, WindowContext, bounded};
///
/// #[derive(Clone)]
/// struct Numbered;
///
/// impl ProcessWindowFunction<char, (char, i64)> for Numbered {
///     type Out = (char, u32, usize);
///     type WindowState = u32;
///     type KeyState = ();
///
///     fn process(&mut self, elements: &[(char, i64)], cx: &mut impl WindowContext<char, Self::Out, u32, ()>) {
///         *cx.window_state() += 1;
///         let (key, number) = (*cx.key(), *cx.window_state());
///         cx.collect(&(key, number, elements.len()));
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
    type WindowState: Default + StateValue;
    /// Its state for each key, which outlives the windows.
    type KeyState: Default + StateValue;

    /// The window fires: `elements` are its records in order of arrival, at least one.
    fn process(
        &mut self,
        elements: &[V],
        cx: &mut impl WindowContext<K, Self::Out, Self::WindowState, Self::KeyState>,
    );

    /// The window is forgotten. Its state goes by itself. Default: nothing.
    fn clear(&mut self, _cx: &mut impl WindowContext<K, Self::Out, Self::WindowState, Self::KeyState>) {}
}

/// What a window function can ask and do besides reading its elements. Source: Flink's `ProcessWindowFunction.Context`.
///
/// What it collects, and what it writes to side outputs, has the window's last timestamp. The watermark is, at a firing, already
/// the one that caused it.
///
/// A function that counts the firings of each window, and says so when the window is forgotten:
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Context, Env, ProcessWindowFunction, Timestamp, Tumbling, WindowContext, punctuated};
///
/// #[derive(Clone)]
/// struct Firings;
///
/// impl ProcessWindowFunction<(), i64> for Firings {
///     type Out = (Timestamp, u32);
///     type WindowState = u32;
///     type KeyState = ();
///
///     fn process(&mut self, _: &[i64], cx: &mut impl WindowContext<(), Self::Out, u32, ()>) {
///         *cx.window_state() += 1;
///     }
///
///     fn clear(&mut self, cx: &mut impl WindowContext<(), Self::Out, u32, ()>) {
///         let (start, firings) = (cx.window().start, *cx.window_state());
///         cx.collect(&(start, firings));
///     }
/// }
///
/// let env = Env::new().parallelism(1);
/// let times = env.from_elements([5_i64, 12, 3, 40]).watermarks(punctuated(|_: &i64, time| Some(time)).by(|n: &i64| *n));
/// let ten = Duration::from_millis(10);
/// let firings = times.window_all(Tumbling::of(ten)).allowed_lateness(ten).process(Firings).collect();
/// env.execute()?;
/// assert_eq!(firings.take(), [(0, 2), (10, 1), (40, 1)]); // 3 was late, and fired its window again.
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait WindowContext<K, Out, W, S>: Context<Out> {
    /// The key; `()` for windows over a stream without keys.
    fn key(&self) -> &K;

    /// The window: of windows that merge, what they have become so far.
    fn window(&self) -> TimeWindow;

    /// The state for this window and key. Errors: the job fails when windows merge, as it does in Flink.
    fn window_state(&mut self) -> &mut W;

    /// The state for this key, over all its windows. It is never forgotten.
    fn key_state(&mut self) -> &mut S;
}

/// The context of a firing, with what stands behind the operator.
#[doc(hidden)]
pub struct FiringContext<'a, K, W, S, Out, SW, N> {
    pub(crate) key: &'a K,
    pub(crate) window: TimeWindow,
    pub(crate) watermark: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) window_state: &'a mut W,
    pub(crate) key_state: &'a mut Option<S>,
    pub(crate) merging: bool,
    pub(crate) guard: &'a Guard,
    pub(crate) sides: &'a mut SW,
    /// Empty, for use meanwhile.
    pub(crate) collector: &'a mut Collector<Out>,
    pub(crate) next: &'a mut N,
}

impl<K, W, S, Out, SW, N: Output<Out>> FiringContext<'_, K, W, S, Out, SW, N> {
    /// Emits what was collected.
    pub(crate) fn emit_collected(&mut self) {
        for result in self.collector.drain() {
            self.next.collect(&result, self.window.max_timestamp());
        }
    }
}

impl<K, W, S, Out, SW, N> Context<Out> for FiringContext<'_, K, W, S, Out, SW, N>
where
    SW: SideWriters,
    N: Output<Out>,
{
    #[inline]
    fn collect(&mut self, record: &Out) {
        self.next.collect(record, self.window.max_timestamp());
    }

    fn side<T: Record>(&mut self, tag: &Tag<T>, record: &T) {
        self.sides.write(tag.id, record, self.window.max_timestamp());
    }

    fn timestamp(&self) -> Option<Timestamp> {
        Some(self.window.max_timestamp())
    }

    fn watermark(&self) -> Timestamp {
        self.watermark
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn fail(&mut self, message: impl Into<String>) {
        self.guard.fail(message);
    }
}

impl<K, W, S, Out, SW, N> WindowContext<K, Out, W, S> for FiringContext<'_, K, W, S, Out, SW, N>
where
    S: Default,
    SW: SideWriters,
    N: Output<Out>,
{
    fn key(&self) -> &K {
        self.key
    }

    fn window(&self) -> TimeWindow {
        self.window
    }

    fn window_state(&mut self) -> &mut W {
        if self.merging {
            self.guard.fail("windows that merge have no state for each window: use the state of the key");
        }
        self.window_state
    }

    fn key_state(&mut self) -> &mut S {
        self.key_state.get_or_insert_default()
    }
}

/// Keeps the reduction of the records, and emits it. Made by [`crate::WindowedStream::reduce`] and its shortcuts.
#[derive(Debug, Clone)]
pub struct ReduceWindow<R>(pub(crate) R);

impl<K: Key, V: Record + StateValue, R: Reducer<V>> WindowFunction<K, V> for ReduceWindow<R> {
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

    fn fire<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        contents: &V,
        cx: &mut FiringContext<'_, K, (), (), Self::Out, SW, N>,
    ) {
        cx.collect(contents);
    }
}

/// Keeps an accumulator, and emits its result with key and window. Made by [`crate::WindowedStream::aggregate`].
#[derive(Debug, Clone)]
pub struct AggregateWindow<A>(pub(crate) A);

impl<K: Key, V: Record, A: Aggregate<V>> WindowFunction<K, V> for AggregateWindow<A> {
    type Out = WindowResult<K, A::Out>;
    type Contents = A::Acc;
    type WindowState = ();
    type KeyState = ();

    #[inline]
    fn see(&mut self, contents: &mut Option<A::Acc>, record: &V, _again: impl FnOnce() -> V) {
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

    fn fire<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        contents: &A::Acc,
        cx: &mut FiringContext<'_, K, (), (), Self::Out, SW, N>,
    ) {
        let result = WindowResult { key: cx.key.clone(), window: cx.window, value: self.0.result(contents) };
        cx.collect(&result);
    }
}

/// Keeps all records, and gives them to the function. Made by [`crate::WindowedStream::process`].
#[derive(Debug, Clone)]
pub struct ProcessWindow<F>(pub(crate) F);

impl<K: Key, V: Record + StateValue, F: ProcessWindowFunction<K, V>> WindowFunction<K, V>
    for ProcessWindow<F>
{
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

    fn fire<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        contents: &Vec<V>,
        cx: &mut FiringContext<'_, K, F::WindowState, F::KeyState, Self::Out, SW, N>,
    ) {
        self.0.process(contents, cx);
    }

    fn clear<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        cx: &mut FiringContext<'_, K, F::WindowState, F::KeyState, Self::Out, SW, N>,
    ) {
        self.0.clear(cx);
    }
}

/// Keeps what the inner function keeps, and gives the single result to a process function.
/// Made by [`crate::WindowedStream::reduce_process`].
#[derive(Debug, Clone)]
pub struct ReduceProcessWindow<R, F> {
    pub(crate) reducer: R,
    pub(crate) function: F,
}

impl<K, V, R, F> WindowFunction<K, V> for ReduceProcessWindow<R, F>
where
    K: Key,
    V: Record + StateValue,
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

    fn fire<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        contents: &V,
        cx: &mut FiringContext<'_, K, F::WindowState, F::KeyState, Self::Out, SW, N>,
    ) {
        self.function.process(std::slice::from_ref(contents), cx);
    }

    fn clear<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        cx: &mut FiringContext<'_, K, F::WindowState, F::KeyState, Self::Out, SW, N>,
    ) {
        self.function.clear(cx);
    }
}

/// Keeps an accumulator, and gives its result to a process function. Made by [`crate::WindowedStream::aggregate_process`].
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
    fn see(&mut self, contents: &mut Option<A::Acc>, record: &V, _again: impl FnOnce() -> V) {
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

    fn fire<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        contents: &A::Acc,
        cx: &mut FiringContext<'_, K, F::WindowState, F::KeyState, Self::Out, SW, N>,
    ) {
        let result = self.aggregate.result(contents);
        self.function.process(std::slice::from_ref(&result), cx);
    }

    fn clear<SW: SideWriters, N: Output<Self::Out>>(
        &mut self,
        cx: &mut FiringContext<'_, K, F::WindowState, F::KeyState, Self::Out, SW, N>,
    ) {
        self.function.clear(cx);
    }
}

/// Keeps all records, and gives them to a closure, which needs no state. Made by [`crate::WindowedStream::process_with`].
pub struct ProcessClosureWindow<F, U> {
    function: F,
    out: PhantomData<fn() -> U>,
}

impl<F, U> ProcessClosureWindow<F, U> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, out: PhantomData }
    }
}

impl<F: Clone, U> Clone for ProcessClosureWindow<F, U> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

impl<K, V, U, F> WindowFunction<K, V> for ProcessClosureWindow<F, U>
where
    K: Key,
    V: Record + StateValue,
    U: 'static,
    F: FnMut(&K, TimeWindow, &[V], &mut Collector<U>) + Clone + Send + Sync + 'static,
{
    type Out = U;
    type Contents = Vec<V>;
    type WindowState = ();
    type KeyState = ();

    #[inline]
    fn take(&mut self, contents: &mut Option<Vec<V>>, record: V) {
        contents.get_or_insert_default().push(record);
    }

    fn merge(&mut self, contents: &mut Vec<V>, mut other: Vec<V>) {
        contents.append(&mut other);
    }

    fn fire<SW: SideWriters, N: Output<U>>(
        &mut self,
        contents: &Vec<V>,
        cx: &mut FiringContext<'_, K, (), (), U, SW, N>,
    ) {
        (self.function)(cx.key, cx.window, contents, cx.collector);
        cx.emit_collected();
    }
}
