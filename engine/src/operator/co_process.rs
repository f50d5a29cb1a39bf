//! Operators with two inputs that share their keys, and nothing but the function: process functions, maps, flat maps.
//!
//! The invariants are those of [`super::process`]. Source: Flink's `KeyedCoProcessOperator`, `CoStreamMap`.

use std::marker::PhantomData;

use thalweg_net::Signal;
use thalweg_state::StateSet;

use super::output::{Control, Output, Stage};
use super::process::{OwnedKey, Services};
use super::stateless::{Collector, pass_through};
use super::{Budget, CACHED_STATE_BYTES, Operator, Received, TwoInput};
use crate::api::connect::KeyedCoProcessFunction;
use crate::api::record::{Key, Record};
use crate::api::tag::SideWriters;
use crate::time::Timestamp;

/// A process function with two inputs, a key and timers.
pub(crate) struct KeyedCoProcess<K: Key, A, B, F, St, S, N> {
    function: F,
    state: St,
    key: OwnedKey<K>,
    services: Services<K, S, N>,
    records: PhantomData<fn(A, B)>,
}

impl<K, A, B, F, S, N> KeyedCoProcess<K, A, B, F, F::State, S, N>
where
    K: Key,
    A: Record,
    B: Record,
    F: KeyedCoProcessFunction<K, A, B>,
    S: SideWriters,
    N: Output<F::Out>,
{
    pub(crate) fn new(function: F, mut state: F::State, mut services: Services<K, S, N>) -> Self {
        services.ahead.learn(&mut state);
        Self { function, state, key: OwnedKey::new(), services, records: PhantomData }
    }
}

impl<K, A, B, F, S, N> Stage for KeyedCoProcess<K, A, B, F, F::State, S, N>
where
    K: Key,
    A: Record,
    B: Record,
    F: KeyedCoProcessFunction<K, A, B>,
    S: SideWriters,
    N: Output<F::Out>,
{
    fn control(&mut self, control: Control) {
        if control == Control::Signal(Signal::End) {
            self.function.close(&mut self.state);
        }
        self.services.control(control);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.services.wakes_at()
    }
}

impl<K, A, B, F, S, N> Operator for KeyedCoProcess<K, A, B, F, F::State, S, N>
where
    K: Key,
    A: Record,
    B: Record,
    F: KeyedCoProcessFunction<K, A, B>,
    S: SideWriters,
    N: Output<F::Out>,
{
    fn advance(&mut self, watermark: Timestamp, budget: &mut Budget) -> bool {
        let Self { function, state, services, .. } = self;
        services
            .advance(watermark, budget, state, |timestamp, state, cx| function.on_timer(timestamp, state, cx))
    }

    fn fire_due(&mut self, budget: &mut Budget) -> bool {
        let Self { function, state, services, .. } = self;
        services.fire_due(budget, state, |timestamp, state, cx| function.on_timer(timestamp, state, cx))
    }

    fn prepares(&self) -> bool {
        self.services.ahead.spills()
    }

    fn prepared(&mut self) -> bool {
        self.services.ahead.is_ready(&mut self.state)
    }

    fn maintain(&mut self) {
        self.services.maintain(&mut self.state);
    }
}

impl<K, A, B, F, S, N> TwoInput<K, A, B> for KeyedCoProcess<K, A, B, F, F::State, S, N>
where
    K: Key,
    A: Record,
    B: Record,
    F: KeyedCoProcessFunction<K, A, B>,
    S: SideWriters,
    N: Output<F::Out>,
{
    fn looks_ahead(&self) -> bool {
        self.state.memory_bytes() > CACHED_STATE_BYTES
    }

    #[inline]
    fn prefetch(&self, key_hash: u64, _timestamp: Timestamp) {
        self.state.prefetch(key_hash);
    }

    fn owns(&self) -> bool {
        self.state.owns()
    }

    #[inline]
    fn prefetch_owned(&self, key_hash: u64) {
        self.state.prefetch_owned(key_hash);
    }

    fn prepare_left(&mut self, record: Received<'_, K, A>) {
        self.services.ahead.show(&mut self.state, &record);
    }

    fn prepare_right(&mut self, record: Received<'_, K, B>) {
        self.services.ahead.show(&mut self.state, &record);
    }

    #[inline]
    fn process_left(&mut self, record: Received<'_, K, A>) {
        let Self { function, state, key, services, .. } = self;
        let mut made = None;
        let key = key.get(record.key, &mut made);
        services.ahead.on_record(state);
        let mut cx = services.on_record(record.at(key), record.timestamp);
        function.process_left(record.value, state, &mut cx);
        services.stop_if_due();
    }

    #[inline]
    fn process_right(&mut self, record: Received<'_, K, B>) {
        let Self { function, state, key, services, .. } = self;
        let mut made = None;
        let key = key.get(record.key, &mut made);
        services.ahead.on_record(state);
        let mut cx = services.on_record(record.at(key), record.timestamp);
        function.process_right(record.value, state, &mut cx);
        services.stop_if_due();
    }
}

/// One record of either input to one record.
pub(crate) struct CoMap<F, G, U, N> {
    left: F,
    right: G,
    next: N,
    out: PhantomData<fn() -> U>,
}

pass_through!(CoMap<F, G, U, N>);

impl<F, G, U, N> CoMap<F, G, U, N> {
    pub(crate) fn new(left: F, right: G, next: N) -> Self {
        Self { left, right, next, out: PhantomData }
    }
}

impl<F: 'static, G: 'static, U: 'static, N: Stage> Operator for CoMap<F, G, U, N> {}

impl<K: Key, A: Record, B: Record, U: 'static, F, G, N: Output<U>> TwoInput<K, A, B> for CoMap<F, G, U, N>
where
    F: FnMut(&A::Archived) -> U + 'static,
    G: FnMut(&B::Archived) -> U + 'static,
{
    #[inline]
    fn process_left(&mut self, record: Received<'_, K, A>) {
        let result = (self.left)(record.value);
        self.next.collect(&result, record.timestamp);
    }

    #[inline]
    fn process_right(&mut self, record: Received<'_, K, B>) {
        let result = (self.right)(record.value);
        self.next.collect(&result, record.timestamp);
    }
}

/// One record of either input to any number.
pub(crate) struct CoFlatMap<F, G, U, N> {
    left: F,
    right: G,
    collector: Collector<U>,
    next: N,
}

pass_through!(CoFlatMap<F, G, U, N>);

impl<F, G, U, N> CoFlatMap<F, G, U, N> {
    pub(crate) fn new(left: F, right: G, next: N) -> Self {
        Self { left, right, collector: Collector::new(), next }
    }
}

impl<F: 'static, G: 'static, U: 'static, N: Stage> Operator for CoFlatMap<F, G, U, N> {}

impl<K: Key, A: Record, B: Record, U: 'static, F, G, N: Output<U>> TwoInput<K, A, B> for CoFlatMap<F, G, U, N>
where
    F: FnMut(&A::Archived, &mut Collector<U>) + 'static,
    G: FnMut(&B::Archived, &mut Collector<U>) + 'static,
{
    #[inline]
    fn process_left(&mut self, record: Received<'_, K, A>) {
        (self.left)(record.value, &mut self.collector);
        for result in self.collector.drain() {
            self.next.collect(&result, record.timestamp);
        }
    }

    #[inline]
    fn process_right(&mut self, record: Received<'_, K, B>) {
        (self.right)(record.value, &mut self.collector);
        for result in self.collector.drain() {
            self.next.collect(&result, record.timestamp);
        }
    }
}
