//! How a chain is put together: types grow as the program adds operators, and are built per subtask when the job starts.

use std::marker::PhantomData;
use std::sync::Arc;

use super::record::{Key, Record};
use crate::data_plane::head::Head;
use crate::data_plane::{Subtask, SubtaskContext};
use crate::error::Result;
use crate::graph::EdgeId;
use crate::operator::output::Output;
use crate::operator::stateless::ArchivedOutput;
use crate::operator::{OneInput, TwoInput};

/// The operators of a chain up to some point: they make records of type `Out` for whatever is attached.
///
/// Implemented by the types that the methods of [`crate::Stream`] return. A function that takes or returns a stream names it as
/// `Stream<impl Chain<Out = T>>`, as one does with iterators.
///
/// ```
/// use thalweg::{Chain, Env, Stream};
///
/// fn even(numbers: Stream<impl Chain<Out = u64>>) -> Stream<impl Chain<Out = u64>> {
///     numbers.filter(|n| n % 2 == 0)
/// }
///
/// let env = Env::new().parallelism(1);
/// let result = even(env.from_elements([1, 2, 3, 4])).collect();
/// env.execute()?;
/// assert_eq!(result.take(), [2, 4]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait Chain: Clone + Send + Sync + 'static {
    /// What the last operator makes.
    type Out: 'static;

    /// Builds a subtask: all operators up to here, with `next` behind them.
    #[doc(hidden)]
    fn attach<N: Output<Self::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>>;
}

/// Builds an operator that stands behind an exchange with one input, given what comes after it.
pub trait OneInputFactory<K: Key, T: Record>: Clone + Send + Sync + 'static {
    /// What the operator makes.
    type Out: 'static;

    /// The operator of one subtask.
    #[doc(hidden)]
    fn build<N: Output<Self::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<impl OneInput<K, T>>;
}

/// Builds an operator that stands behind two exchanges, given what comes after it.
pub trait TwoInputFactory<K: Key, A: Record, B: Record>: Clone + Send + Sync + 'static {
    /// What the operator makes.
    type Out: 'static;

    /// Whether both inputs are one stream to it, of two types: their watermarks then join as those of a union.
    #[doc(hidden)]
    const IS_UNION: bool = false;

    /// The operator of one subtask.
    #[doc(hidden)]
    fn build<N: Output<Self::Out>>(&self, next: N, cx: &mut SubtaskContext)
    -> Result<impl TwoInput<K, A, B>>;
}

/// Says which records there are, and holds none.
type Makes<T> = PhantomData<fn() -> T>;

/// A chain that begins behind an exchange.
/// What [`crate::Stream::rebalance`], the methods of [`crate::KeyedStream`] and windows return.
pub struct Exchanged<K, T, F> {
    edges: Arc<[EdgeId]>,
    factory: F,
    records: Makes<(K, T)>,
}

impl<K, T, F> Exchanged<K, T, F> {
    pub(crate) fn new(edges: &[EdgeId], factory: F) -> Self {
        Self { edges: edges.into(), factory, records: PhantomData }
    }

    /// The same with another factory.
    pub(crate) fn map_factory<G>(self, map: impl FnOnce(F) -> G) -> Exchanged<K, T, G> {
        Exchanged { edges: self.edges, factory: map(self.factory), records: PhantomData }
    }
}

impl<K, T, F: Clone> Clone for Exchanged<K, T, F> {
    fn clone(&self) -> Self {
        Self { edges: self.edges.clone(), factory: self.factory.clone(), records: PhantomData }
    }
}

impl<K: Key, T: Record, F: OneInputFactory<K, T>> Chain for Exchanged<K, T, F> {
    type Out = F::Out;

    fn attach<N: Output<F::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        let operator = self.factory.build(next, cx)?;
        Ok(Head::one_input(cx, &self.edges, operator))
    }
}

/// A chain that begins behind two exchanges. What [`crate::Stream::connect`] and [`crate::Stream::join`] lead to.
pub struct Connected<K, A, B, F> {
    left: Arc<[EdgeId]>,
    right: Arc<[EdgeId]>,
    factory: F,
    records: Makes<(K, A, B)>,
}

impl<K, A, B, F> Connected<K, A, B, F> {
    pub(crate) fn new(left: &[EdgeId], right: &[EdgeId], factory: F) -> Self {
        Self { left: left.into(), right: right.into(), factory, records: PhantomData }
    }

    /// The same with another factory.
    pub(crate) fn map_factory<G>(self, map: impl FnOnce(F) -> G) -> Connected<K, A, B, G> {
        Connected { left: self.left, right: self.right, factory: map(self.factory), records: PhantomData }
    }
}

impl<K, A, B, F: Clone> Clone for Connected<K, A, B, F> {
    fn clone(&self) -> Self {
        let (left, right) = (self.left.clone(), self.right.clone());
        Self { left, right, factory: self.factory.clone(), records: PhantomData }
    }
}

impl<K: Key, A: Record, B: Record, F: TwoInputFactory<K, A, B>> Chain for Connected<K, A, B, F> {
    type Out = F::Out;

    fn attach<N: Output<F::Out>>(&self, next: N, cx: &mut SubtaskContext) -> Result<Box<dyn Subtask>> {
        let operator = self.factory.build(next, cx)?;
        Ok(match F::IS_UNION {
            true => Head::united(cx, &self.left, &self.right, operator),
            false => Head::two_input(cx, &self.left, &self.right, operator),
        })
    }
}

/// A chain that begins with an exchange that only moves records. What [`crate::Stream::rebalance`] and its like return.
pub type Moved<T> = Exchanged<(), T, Archives<T>>;

/// Behind an exchange that only moves records: they are lent as they lie in the buffer.
#[derive(Debug)]
pub struct Archives<T>(PhantomData<fn() -> T>);

impl<T> Archives<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Archives<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T: Record> OneInputFactory<(), T> for Archives<T>
where
    T::Archived: 'static,
{
    type Out = T::Archived;

    fn build<N: Output<T::Archived>>(
        &self,
        next: N,
        _cx: &mut SubtaskContext,
    ) -> Result<impl OneInput<(), T>> {
        Ok(ArchivedOutput::new(next))
    }
}
