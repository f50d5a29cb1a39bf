//! One value under each key, with its time. Source: Flink's `TtlValueState`, and what its reducing and aggregating states do.

use std::cell::Cell;

use super::Ttl;
use super::expiry::Expiry;
use super::life::{Found, Life};
use super::timed::{self, Timed};
use crate::backend::{StateBackend, StateKind};
use crate::context::KeyRef;
use crate::handle::KeyedState;
use crate::handle::value::View;
use crate::handle::values::Values;
use crate::{Error, Key, StateValue, Stored};

/// Values that expire.
#[derive(Debug)]
pub(in super::super) struct TimedValues<K, V> {
    values: Values<K, Timed<V>>,
    life: Life,
    /// A value that has expired and is gone, while it is lent once more.
    lent: Option<V>,
    row: Option<(K, V)>,
}

impl<K: Key, V: Stored> TimedValues<K, V> {
    /// Errors: as `StateBackend::table`.
    pub(in super::super) fn new(name: &str, ttl: Ttl, backend: &StateBackend) -> Result<Self, Error> {
        let kind = StateKind::value::<K, Timed<V>>().with_filter(Expiry::of_values(&ttl, backend));
        let values = Values::new(name, backend, kind)?;
        Ok(Self { values, life: Life::new(ttl, backend), lent: None, row: None })
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn get(&mut self, cx: impl KeyRef<K>) -> Option<&V> {
        match self.read(cx) {
            Found::Nothing => None,
            Found::Lent => self.lent.as_ref(),
            Found::Live => self.values.get(cx).map(|timed| &timed.value),
        }
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn get_mut(&mut self, cx: impl KeyRef<K>) -> Option<&mut V> {
        self.on_access();
        let at_ms = self.at_ms(cx)?;
        if self.life.hides(at_ms) {
            self.values.clear(cx);
            return None;
        }
        let timed = self.values.get_mut(cx)?;
        timed.at_ms = self.life.now_ms();
        Some(&mut timed.value)
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn entry(&mut self, cx: impl KeyRef<K>, init: impl FnOnce() -> V) -> (&K, &mut V) {
        self.on_access();
        let (now_ms, init) = (self.life.now_ms(), Cell::new(Some(init)));
        let make = || init.take().expect("a value is made once")();
        let (key, timed) = self.values.entry(cx, || Timed { value: make(), at_ms: now_ms });
        if self.life.hides(timed.at_ms) {
            timed.value = make();
        }
        timed.at_ms = now_ms;
        (key, &mut timed.value)
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn update_row(
        &mut self,
        cx: impl KeyRef<K>,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&mut V),
    ) -> &(K, V) {
        let (_, value) = self.entry(cx, init);
        change(value);
        let row = (cx.to_key(), value.clone());
        self.row.insert(row)
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn set(&mut self, cx: impl KeyRef<K>, value: V) {
        self.on_access();
        self.values.set(cx, Timed { value, at_ms: self.life.now_ms() });
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn take(&mut self, cx: impl KeyRef<K>) -> Option<V> {
        self.on_access();
        let Timed { value, at_ms } = self.values.take(cx)?;
        (!self.life.hides(at_ms)).then_some(value)
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn clear(&mut self, cx: impl KeyRef<K>) {
        self.values.clear(cx);
    }

    /// Does what a read does to a value. Source: `AbstractTtlDecorator.getWithTtlCheckAndUpdate`.
    fn read(&mut self, cx: impl KeyRef<K>) -> Found {
        self.on_access();
        let Some(at_ms) = self.at_ms(cx) else { return Found::Nothing };
        if self.life.has_expired(at_ms) {
            let taken = self.values.take(cx);
            if !self.life.ttl.returns_expired() {
                return Found::Nothing;
            }
            self.lent = taken.map(|timed| timed.value);
            return Found::Lent;
        }
        let now_ms = self.life.now_ms();
        if self.life.ttl.updates_on_read()
            && at_ms != now_ms
            && let Some(timed) = self.values.get_mut(cx)
        {
            timed.at_ms = now_ms;
        }
        Found::Live
    }

    /// When the key's value was used last, if it has one.
    fn at_ms(&mut self, cx: impl KeyRef<K>) -> Option<i64> {
        self.values.look(cx, |timed| timed.at_ms, |bytes| Ok(timed::split(bytes)?.1))
    }

    fn on_access(&mut self) {
        if let Values::Heap(table) = &mut self.values {
            self.life.on_access(table);
        }
    }

    pub(in super::super) fn prefetch(&self, hash: u64) {
        self.values.prefetch(hash);
    }

    pub(in super::super) fn guess(&self, hash: u64) -> Option<&V> {
        self.values.guess(hash).map(|timed| &timed.value)
    }

    pub(in super::super) fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        match &mut self.values {
            Values::Heap(table) => {
                f(table);
                self.life.each(table, f);
            }
            Values::Spill(spilled) => f(spilled.table()),
        }
    }

    pub(in super::super) fn memory_bytes(&self) -> usize {
        self.values.memory_bytes()
    }
}

impl<K: Key, V: StateValue> TimedValues<K, V> {
    #[cold]
    #[inline(never)]
    pub(in super::super) fn view(&mut self, cx: impl KeyRef<K>) -> Option<View<'_, V>> {
        match self.read(cx) {
            Found::Nothing => None,
            Found::Lent => self.lent.as_ref().map(View::Value),
            Found::Live => self.values.look(
                cx,
                |timed| View::Value(&timed.value),
                |bytes| V::view(timed::split(bytes)?.0).map(View::Archived),
            ),
        }
    }
}
