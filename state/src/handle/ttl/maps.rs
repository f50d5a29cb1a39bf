//! A map under each key, whose entries expire one by one. Source: Flink's `TtlMapState`.

use std::cell::Cell;

use super::Ttl;
use super::life::{Expires, Found, Life};
use crate::backend::StateBackend;
use crate::context::KeyRef;
use crate::handle::KeyedState;
use crate::handle::map::{MapExpiry, MapIter, Maps};
use crate::handle::small_map::SmallMap;
use crate::{Error, Key, StateValue};

/// Maps whose entries expire: each value has the time of its last use beside it, in ms.
#[derive(Debug)]
pub(in super::super) struct TimedMaps<K, UK, UV> {
    maps: Maps<K, UK, (UV, i64)>,
    life: Life,
    /// A value that has expired and is gone, while it is lent once more.
    lent: Option<UV>,
    /// The same of entries, while they are shown with the others.
    gone: Vec<(UK, UV)>,
}

impl<UK: Key, UV> Expires for SmallMap<UK, (UV, i64)> {
    fn retain_live(&mut self, ttl: &Ttl, now_ms: i64) -> bool {
        self.retain(|_, (_, at_ms)| !ttl.has_expired(*at_ms, now_ms));
        !self.is_empty()
    }
}

impl<K: Key, UK: Key, UV: StateValue> TimedMaps<K, UK, UV> {
    /// Errors: as `StateBackend::table`.
    pub(in super::super) fn new(name: &str, ttl: Ttl, backend: &StateBackend) -> Result<Self, Error> {
        let filter = MapExpiry::<K, UK, UV>::of(&ttl, backend);
        let maps = Maps::new(name, backend, &["map", "ttl"], filter)?;
        Ok(Self { maps, life: Life::new(ttl, backend), lent: None, gone: Vec::new() })
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn get(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> Option<&UV> {
        self.on_access();
        match self.read(cx, user_key) {
            Found::Nothing => None,
            Found::Lent => self.lent.as_ref(),
            Found::Live => self.maps.get(cx, user_key).map(|(value, _)| value),
        }
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn put(&mut self, cx: impl KeyRef<K>, user_key: UK, value: UV) {
        self.on_access();
        self.maps.put(cx, user_key, (value, self.life.now_ms()));
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn update_with<R>(
        &mut self,
        cx: impl KeyRef<K>,
        user_key: &UK,
        init: impl FnOnce() -> UV,
        f: impl FnOnce(&mut UV) -> R,
    ) -> R {
        self.on_access();
        let (life, init) = (&self.life, Cell::new(Some(init)));
        let make = || init.take().expect("a value is made once")();
        self.maps.update_with(
            cx,
            user_key,
            || (make(), life.now_ms()),
            |(value, at_ms)| {
                if life.hides(*at_ms) {
                    *value = make();
                }
                *at_ms = life.now_ms();
                f(value)
            },
        )
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn remove(&mut self, cx: impl KeyRef<K>, user_key: &UK) {
        self.on_access();
        self.maps.remove(cx, user_key);
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn take(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> Option<UV> {
        self.on_access();
        let (value, at_ms) = self.maps.take(cx, user_key)?;
        (!self.life.hides(at_ms)).then_some(value)
    }

    /// What has expired counts until it is cleared away, as in Flink.
    #[cold]
    #[inline(never)]
    pub(in super::super) fn is_empty(&mut self, cx: impl KeyRef<K>) -> bool {
        self.on_access();
        self.maps.is_empty(cx)
    }

    /// Reads all entries, as `get` does each.
    #[cold]
    #[inline(never)]
    pub(in super::super) fn iter(&mut self, cx: impl KeyRef<K>) -> MapIter<'_, UK, UV> {
        self.on_access();
        let now_ms = self.life.now_ms();
        let is_old =
            |at_ms| self.life.has_expired(at_ms) || self.life.ttl.updates_on_read() && at_ms != now_ms;
        let old = self.maps.iter(cx).filter(|(_, timed)| is_old(timed.1));
        let old: Vec<UK> = old.map(|(user_key, _)| user_key.into_owned()).collect();
        self.gone.clear();
        for user_key in old {
            if let Found::Lent = self.read(cx, &user_key)
                && let Some(value) = self.lent.take()
            {
                self.gone.push((user_key, value));
            }
        }
        MapIter::timed(&self.gone, self.maps.iter(cx))
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn clear(&mut self, cx: impl KeyRef<K>) {
        self.maps.clear(cx);
    }

    /// Does what a read does to an entry.
    fn read(&mut self, cx: impl KeyRef<K>, user_key: &UK) -> Found {
        let Some((_, at_ms)) = self.maps.get(cx, user_key) else { return Found::Nothing };
        let (at_ms, now_ms) = (*at_ms, self.life.now_ms());
        if self.life.has_expired(at_ms) {
            let taken = self.maps.take(cx, user_key);
            if !self.life.ttl.returns_expired() {
                return Found::Nothing;
            }
            self.lent = taken.map(|(value, _)| value);
            return Found::Lent;
        }
        if self.life.ttl.updates_on_read()
            && at_ms != now_ms
            && let Some((value, _)) = self.maps.take(cx, user_key)
        {
            self.maps.put(cx, user_key.clone(), (value, now_ms));
        }
        Found::Live
    }

    fn on_access(&mut self) {
        if let Maps::Heap(table) = &mut self.maps {
            self.life.on_access(table);
        }
    }

    pub(in super::super) fn prefetch(&self, hash: u64) {
        self.maps.prefetch(hash);
    }

    pub(in super::super) fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        f(self.maps.table());
        if let Maps::Heap(table) = &mut self.maps {
            self.life.each(table, f);
        }
    }

    pub(in super::super) fn memory_bytes(&self) -> usize {
        self.maps.memory_bytes()
    }
}
