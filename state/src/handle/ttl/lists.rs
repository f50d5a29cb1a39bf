//! A list under each key, whose items expire one by one. Source: Flink's `TtlListState`.

use super::Ttl;
use super::expiry::Expiry;
use super::life::{Expires, Life};
use super::timed::TimedItems;
use crate::backend::StateBackend;
use crate::context::KeyRef;
use crate::handle::KeyedState;
use crate::handle::list_cell::Items;
use crate::handle::lists::Lists;
use crate::{Error, Key, StateValue};

/// Lists whose items expire.
#[derive(Debug)]
pub(in super::super) struct TimedLists<K, T> {
    lists: Lists<K, TimedItems<T>>,
    life: Life,
    /// Items of which some have expired and are gone, while they are lent once more.
    lent: Vec<T>,
}

impl<K: Key, T: StateValue> TimedLists<K, T> {
    /// Errors: as `StateBackend::table`.
    pub(in super::super) fn new(name: &str, ttl: Ttl, backend: &StateBackend) -> Result<Self, Error> {
        let lists = Lists::new(name, backend, Expiry::of_lists::<T>(&ttl, backend))?;
        Ok(Self { lists, life: Life::new(ttl, backend), lent: Vec::new() })
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn get(&mut self, cx: impl KeyRef<K>) -> &[T] {
        self.on_access();
        let (now_ms, ttl) = (self.life.now_ms(), &self.life.ttl);
        let Some(list) = self.lists.get(cx).filter(|list| !list.is_empty()) else { return &[] };
        let expired = list.expired(ttl, now_ms);
        let is_gone = expired == list.items.len();
        let is_renewed = ttl.updates_on_read() && list.times_ms.iter().any(|at_ms| *at_ms != now_ms);
        if ttl.returns_expired() && expired > 0 && (is_gone || is_renewed) {
            // They are seen this time, and then no more.
            let mut list = self.lists.take(cx);
            self.lent.clone_from(&list.items);
            if list.retain_live(ttl, now_ms) {
                self.lists.replace(cx, TimedItems::new(list.items, now_ms));
            }
            return &self.lent;
        }
        if is_gone {
            self.lists.replace(cx, TimedItems::default());
            return &[];
        }
        if is_renewed {
            let mut list = self.lists.take(cx);
            list.retain_live(ttl, now_ms);
            self.lists.replace(cx, TimedItems::new(list.items, now_ms));
        }
        let Some(list) = self.lists.lent_mut(cx) else { return &[] };
        if !ttl.returns_expired() {
            list.retain_live(ttl, now_ms);
        }
        &list.items
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn add(&mut self, cx: impl KeyRef<K>, item: T) {
        self.on_access();
        self.lists.tail_mut(cx).push(item, self.life.now_ms());
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn add_all(
        &mut self,
        cx: impl KeyRef<K>,
        first: T,
        others: impl Iterator<Item = T>,
    ) {
        self.on_access();
        let now_ms = self.life.now_ms();
        let list = self.lists.tail_mut(cx);
        list.push(first, now_ms); // From here on it is not empty, even if the iterator panics.
        others.for_each(|item| list.push(item, now_ms));
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn update(&mut self, cx: impl KeyRef<K>, items: Vec<T>) {
        self.on_access();
        self.lists.replace(cx, TimedItems::new(items, self.life.now_ms()));
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn take(&mut self, cx: impl KeyRef<K>) -> Vec<T> {
        self.on_access();
        let mut list = self.lists.take(cx);
        if !self.life.ttl.returns_expired() {
            list.retain_live(&self.life.ttl, self.life.now_ms());
        }
        list.items
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) fn clear(&mut self, cx: impl KeyRef<K>) {
        self.lists.replace(cx, TimedItems::default());
    }

    fn on_access(&mut self) {
        if let Lists::Heap(table) = &mut self.lists {
            self.life.on_access(table);
        }
    }

    pub(in super::super) fn prefetch(&self, hash: u64) {
        self.lists.prefetch(hash);
    }

    pub(in super::super) fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
        match &mut self.lists {
            Lists::Heap(table) => {
                f(table);
                self.life.each(table, f);
            }
            Lists::Spill(spilled) => f(&mut *spilled.table),
        }
    }

    pub(in super::super) fn memory_bytes(&self) -> usize {
        self.lists.memory_bytes()
    }
}
