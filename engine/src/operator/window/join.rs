//! Joins over windows: both streams as one, of records that know their side, in one window operator.
//!
//! ```text
//!   left  ── key, record ══╗ exchange
//!                          ╠══▶ WindowOperator over Either: (left records, right records) ──▶ pairs or groups
//!   right ── key, record ══╝
//! ```
//!
//! Records learn their side behind the exchange, so that neither is copied before it. Their watermarks join as those of a union.
//! Source: Flink's `CoGroupedStreams`.

use std::marker::PhantomData;

use rkyv::Deserialize;
use rkyv::rancor::Fallible;
use thalweg_state::StateValue;

use super::function::{FiringContext, WindowFunction};
use crate::api::context::Context;
use crate::api::record::{Key, Record};
use crate::api::tag::SideWriters;
use crate::operator::output::Output;
use crate::operator::stateless::Collector;

/// A record of one of two streams, as assigners and triggers of a join see it.
///
/// ```
/// use std::time::Duration;
/// use thalweg::{Either, Session};
///
/// let gap = Session::dynamic(|record: &Either<u64, String>| match record {
///     Either::Left(minutes) => Duration::from_secs(60 * minutes),
///     Either::Right(_) => Duration::from_secs(60),
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub enum Either<L, R> {
    /// Of the stream that was joined with another.
    Left(L),
    /// Of the other.
    Right(R),
}

// By hand: a derived one asks more of the sides than that they are records.
impl<L: Record, R: Record, D: Fallible + ?Sized> Deserialize<Either<L, R>, D> for ArchivedEither<L, R> {
    fn deserialize(&self, _deserializer: &mut D) -> Result<Either<L, R>, D::Error> {
        Ok(match self {
            Self::Left(left) => Either::Left(L::unarchive(left)),
            Self::Right(right) => Either::Right(R::unarchive(right)),
        })
    }
}

/// The records of a window, each side in order of arrival. What [`JoinWindow`] and [`CoGroupWindow`] keep.
#[derive(Clone, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct BothSides<L, R> {
    left: Vec<L>,
    right: Vec<R>,
}

impl<L, R> BothSides<L, R> {
    fn push(contents: &mut Option<Self>, record: Either<L, R>) {
        let sides = contents.get_or_insert_with(|| Self { left: Vec::new(), right: Vec::new() });
        match record {
            Either::Left(left) => sides.left.push(left),
            Either::Right(right) => sides.right.push(right),
        }
    }

    fn append(&mut self, mut other: Self) {
        self.left.append(&mut other.left);
        self.right.append(&mut other.right);
    }
}

/// Emits what a function makes of each pair. Made by [`crate::Stream::join`].
pub struct JoinWindow<F, U> {
    function: F,
    out: PhantomData<fn() -> U>,
}

/// Emits what a function makes of both sides. Made by [`crate::Stream::co_group`].
pub struct CoGroupWindow<F, U> {
    function: F,
    out: PhantomData<fn() -> U>,
}

macro_rules! join_function {
    ($name:ident, $bound:path, |$function:ident, $sides:ident, $cx:ident| $fire:expr) => {
        impl<F, U> $name<F, U> {
            pub(crate) fn new(function: F) -> Self {
                Self { function, out: PhantomData }
            }
        }

        impl<F: Clone, U> Clone for $name<F, U> {
            fn clone(&self) -> Self {
                Self::new(self.function.clone())
            }
        }

        impl<K, L, R, U, F> WindowFunction<K, Either<L, R>> for $name<F, U>
        where
            K: Key,
            L: Record + StateValue,
            R: Record + StateValue,
            U: 'static,
            F: $bound + Clone + Send + Sync + 'static,
        {
            type Out = U;
            type Contents = BothSides<L, R>;
            type WindowState = ();
            type KeyState = ();

            #[inline]
            fn take(&mut self, contents: &mut Option<BothSides<L, R>>, record: Either<L, R>) {
                BothSides::push(contents, record);
            }

            fn merge(&mut self, contents: &mut BothSides<L, R>, other: BothSides<L, R>) {
                contents.append(other);
            }

            fn fire<SW: SideWriters, N: Output<U>>(
                &mut self,
                $sides: &BothSides<L, R>,
                $cx: &mut FiringContext<'_, K, (), (), U, SW, N>,
            ) {
                let $function = &mut self.function;
                $fire
            }
        }
    };
}

/// A function of a pair. Its bound has a name because macros take no `FnMut(&L, &R) -> U`.
pub trait PairFunction<L, R, U>: FnMut(&L, &R) -> U {}

impl<L, R, U, F: FnMut(&L, &R) -> U> PairFunction<L, R, U> for F {}

/// A function of two groups.
pub trait GroupFunction<L, R, U>: FnMut(&[L], &[R], &mut Collector<U>) {}

impl<L, R, U, F: FnMut(&[L], &[R], &mut Collector<U>)> GroupFunction<L, R, U> for F {}

join_function!(JoinWindow, PairFunction<L, R, U>, |function, sides, cx| {
    for left in &sides.left {
        for right in &sides.right {
            cx.collect(&function(left, right));
        }
    }
});

join_function!(CoGroupWindow, GroupFunction<L, R, U>, |function, sides, cx| {
    function(&sides.left, &sides.right, cx.collector);
    cx.emit_collected();
});
