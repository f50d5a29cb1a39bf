//! The heap backend, through the handles that users have.

use std::path::Path;

use anyhow::Result;
use thalweg_state::{
    HeapBackend, KeyContext, KeyGroupRange, ListState, MapState, MaxParallelism, StateSet, ValueState,
};

use super::{Counters, Family, ItemBytes, Lists, Maps, Place, Store, count, dump, increment};
use crate::bench::state::keys::Record;

/// The kinds of state of the heap backend.
pub(in crate::bench::state) enum Heap {}

impl Family for Heap {
    type Counters<const BYTES: usize> = Handle<ValueState<u64, [u8; BYTES]>>;
    type Lists = Handle<ListState<u64, ItemBytes>>;
    type Maps = Handle<MapState<u64, u64, ItemBytes>>;
}

/// One handle, with a backend of its own.
pub(in crate::bench::state) struct Handle<S>(S);

/// A handle that can be registered.
pub(in crate::bench::state) trait Register: Sized {
    fn register(backend: &HeapBackend) -> Result<Self, thalweg_state::Error>;
}

impl<const BYTES: usize> Register for ValueState<u64, [u8; BYTES]> {
    fn register(backend: &HeapBackend) -> Result<Self, thalweg_state::Error> {
        ValueState::new("counters", backend)
    }
}

impl Register for ListState<u64, ItemBytes> {
    fn register(backend: &HeapBackend) -> Result<Self, thalweg_state::Error> {
        ListState::new("lists", backend)
    }
}

impl Register for MapState<u64, u64, ItemBytes> {
    fn register(backend: &HeapBackend) -> Result<Self, thalweg_state::Error> {
        MapState::new("maps", backend)
    }
}

impl<S: Register + StateSet> Store for Handle<S> {
    fn open(_: &Place) -> Result<Self> {
        let max = MaxParallelism::default();
        Ok(Self(S::register(&HeapBackend::new(KeyGroupRange::all(max), max))?))
    }

    #[inline(always)]
    fn fetch(&self, record: Record) {
        self.0.prefetch(record.hash);
    }
}

#[inline(always)]
fn context(record: &Record) -> KeyContext<'_, u64> {
    KeyContext { key: &record.key, hash: record.hash }
}

impl<const BYTES: usize> Counters<BYTES> for Handle<ValueState<u64, [u8; BYTES]>> {
    #[inline(always)]
    fn increment(&mut self, _: usize, record: Record) -> Result<u64> {
        Ok(self.0.update_with(context(&record), || [0; BYTES], increment))
    }

    #[inline(always)]
    fn get(&mut self, _: usize, record: Record) -> Result<Option<u64>> {
        Ok(self.0.get(context(&record)).map(count))
    }

    fn start_snapshot(&mut self, dir: &Path) -> Result<()> {
        dump(dir, self.0.table().iter())
    }
}

impl Lists for Handle<ListState<u64, ItemBytes>> {
    #[inline(always)]
    fn append(&mut self, _: usize, record: Record, item: &ItemBytes) -> Result<()> {
        self.0.add(context(&record), *item);
        Ok(())
    }

    #[inline(always)]
    fn scan(&mut self, _: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.0.get(context(&record)).iter().for_each(each);
        Ok(())
    }

    #[inline(always)]
    fn take(&mut self, _: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.0.take(context(&record)).iter().for_each(each);
        Ok(())
    }
}

impl Maps for Handle<MapState<u64, u64, ItemBytes>> {
    #[inline(always)]
    fn put(&mut self, _: usize, record: Record, user_key: u64, value: &ItemBytes) -> Result<()> {
        self.0.put(context(&record), user_key, *value);
        Ok(())
    }

    #[inline(always)]
    fn scan(&mut self, _: usize, record: Record, mut each: impl FnMut(u64, &ItemBytes)) -> Result<()> {
        self.0.iter(context(&record)).for_each(|(user_key, value)| each(*user_key, value));
        Ok(())
    }
}
