//! Our own backends, through the handles that users have, driven as the engine does.
//!
//! The heap, or a store of files; what waits for a disk is another thread's.

use std::marker::PhantomData;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use thalweg_state::lsm::Options;
use thalweg_state::storage::Storage;
use thalweg_state::{
    BackendKind, CoreState, Key, KeyContext, KeyGroupRange, Lane, ListState, MapState, MaxParallelism,
    PendingSnapshot, StateBackend, StateSet, ValueState,
};

use super::helper::Helpers;
use super::{Counters, Family, ItemBytes, Lists, Maps, Place, Reads, Store, count, increment};
use crate::bench::state::keys::Record;

/// The kinds of state of one of our backends.
pub(in crate::bench::state) struct Thalweg<B>(PhantomData<B>);

impl<B: Backend> Family for Thalweg<B> {
    type Counters<const BYTES: usize> = Handle<ValueState<u64, [u8; BYTES]>, B>;
    type Lists = Handle<ListState<u64, ItemBytes>, B>;
    type Maps = Handle<MapState<u64, u64, ItemBytes>, B>;
}

/// Where state is kept.
pub(in crate::bench::state) trait Backend {
    const KIND: BackendKind;
}

/// State in memory, with files for its snapshots.
pub(in crate::bench::state) enum Heap {}

impl Backend for Heap {
    const KIND: BackendKind = BackendKind::Heap;
}

/// State in a store of files, with what has changed lately in memory.
pub(in crate::bench::state) enum Lsm {}

impl Backend for Lsm {
    const KIND: BackendKind = BackendKind::Lsm;
}

/// What tells a store's files from those of others: here there are none.
const IDENTITY: u64 = 1;

/// A handle that can be registered.
pub(in crate::bench::state) trait Register: StateSet + Sized {
    fn register(backend: &StateBackend) -> Result<Self, thalweg_state::Error>;
}

impl<const BYTES: usize> Register for ValueState<u64, [u8; BYTES]> {
    fn register(backend: &StateBackend) -> Result<Self, thalweg_state::Error> {
        ValueState::new("counters", backend)
    }
}

impl Register for ListState<u64, ItemBytes> {
    fn register(backend: &StateBackend) -> Result<Self, thalweg_state::Error> {
        ListState::new("lists", backend)
    }
}

impl Register for MapState<u64, u64, ItemBytes> {
    fn register(backend: &StateBackend) -> Result<Self, thalweg_state::Error> {
        MapState::new("maps", backend)
    }
}

/// One handle, on a core of its own.
pub(in crate::bench::state) struct Handle<S, B> {
    state: S,
    core: CoreState,
    helpers: Helpers,
    /// Where snapshots go, and the one on its way.
    place: Option<Storage>,
    snapshot: Option<PendingSnapshot>,
    encoded: Vec<u8>,
    backend: PhantomData<B>,
}

impl<S: Register, B: Backend> Store for Handle<S, B> {
    fn open(place: &Place) -> Result<Self> {
        let memory_bytes = usize::try_from(place.memory_budget_bytes)?;
        let options = Options { memory_bytes, ..Options::nvme() };
        let (core, _) = CoreState::open(B::KIND, &Storage::directory(&place.dir)?, options, IDENTITY)?;
        let max = MaxParallelism::default();
        let state = S::register(&core.backend("bench", KeyGroupRange::all(max), max))?;
        let helpers = Helpers::start();
        Ok(Self {
            state,
            core,
            helpers,
            place: None,
            snapshot: None,
            encoded: Vec::new(),
            backend: PhantomData,
        })
    }

    #[inline(always)]
    fn fetch(&self, record: Record) {
        self.state.prefetch(record.hash);
    }

    fn prepare(&mut self, batch: &[Record]) -> Result<bool> {
        if !self.core.spills() {
            return Ok(true);
        }
        let (encoded, mut is_ready) = (&mut self.encoded, true);
        self.state.each(&mut |state| {
            state.begin_batch(Lane::Records);
            for (number, record) in (0..).zip(batch) {
                encoded.clear();
                record.key.encode(encoded);
                state.prepare(number, record.hash, encoded);
            }
            is_ready &= state.resolve(Lane::Records);
        });
        Ok(is_ready)
    }

    fn work(&mut self) -> Result<()> {
        loop {
            self.pass_work()?;
            if !self.core.is_stalled() {
                return Ok(());
            }
            self.wait()?; // The answer to pressure is to take no input.
        }
    }

    fn wait(&mut self) -> Result<()> {
        // What `prepare` has asked for goes out first.
        while let Some(work) = self.core.poll_work() {
            self.helpers.start_work(work);
        }
        ensure!(self.helpers.has_work(), "the store waits for work that nobody does");
        self.core.on_work_done(self.helpers.wait()?);
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.work()?;
        self.core.freeze();
        self.work()?;
        while self.helpers.has_work() {
            self.wait()?;
            self.work()?;
        }
        Ok(())
    }

    fn is_in_files(&self) -> bool {
        self.core.spills()
    }

    fn reads(&self) -> Option<Reads> {
        let metrics = self.core.spills().then(|| self.core.metrics())??;
        Some(Reads {
            cold_reads: metrics.cold_reads,
            blocking_reads: metrics.blocking_reads,
            read_bytes: metrics.read_bytes,
            stalls: metrics.stalls,
            resident_bytes: metrics.resident_bytes,
        })
    }
}

impl<S: Register, B> Handle<S, B> {
    /// Gives work to the helpers, and takes it back.
    fn pass_work(&mut self) -> Result<()> {
        while let Some(work) = self.helpers.poll_done() {
            self.core.on_work_done(work);
        }
        self.core.maintain();
        self.state.each(&mut |state| state.maintain());
        while let Some(work) = self.core.poll_work() {
            self.helpers.start_work(work);
        }
        self.core.take_fault().map_or(Ok(()), |fault| Err(fault.into()))
    }
}

#[inline(always)]
fn context(at: usize, record: &Record) -> KeyContext<'_, u64> {
    KeyContext::with_hash(&record.key, record.hash).prepared_as(at as u32)
}

impl<const BYTES: usize, B: Backend> Counters<BYTES> for Handle<ValueState<u64, [u8; BYTES]>, B> {
    #[inline(always)]
    fn increment(&mut self, at: usize, record: Record) -> Result<u64> {
        Ok(self.state.update_with(context(at, &record), || [0; BYTES], increment))
    }

    #[inline(always)]
    fn get(&mut self, at: usize, record: Record) -> Result<Option<u64>> {
        Ok(self.state.get(context(at, &record)).map(count))
    }

    fn expect_snapshot(&mut self, dir: &Path) -> Result<()> {
        self.place = Some(Storage::directory(dir)?); // A job's coordinator does that.
        Ok(())
    }

    fn start_snapshot(&mut self, _: &Path) -> Result<bool> {
        self.pass_work()?;
        self.snapshot = Some(self.core.snapshot(self.place.as_ref().context("it was expected")?)?);
        self.pass_work()?;
        Ok(true)
    }

    fn is_snapshot_done(&mut self) -> Result<bool> {
        let Some(pending) = &mut self.snapshot else { return Ok(true) };
        let Some(outcome) = pending.poll_outcome() else { return Ok(false) };
        outcome?;
        self.snapshot = None;
        Ok(true)
    }
}

impl<B: Backend> Lists for Handle<ListState<u64, ItemBytes>, B> {
    #[inline(always)]
    fn append(&mut self, at: usize, record: Record, item: &ItemBytes) -> Result<()> {
        self.state.add(context(at, &record), *item);
        Ok(())
    }

    #[inline(always)]
    fn scan(&mut self, at: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.state.get(context(at, &record)).iter().for_each(each);
        Ok(())
    }

    #[inline(always)]
    fn take(&mut self, at: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.state.take(context(at, &record)).iter().for_each(each);
        Ok(())
    }
}

impl<B: Backend> Maps for Handle<MapState<u64, u64, ItemBytes>, B> {
    #[inline(always)]
    fn put(&mut self, at: usize, record: Record, user_key: u64, value: &ItemBytes) -> Result<()> {
        self.state.put(context(at, &record), user_key, *value);
        Ok(())
    }

    #[inline(always)]
    fn scan(&mut self, at: usize, record: Record, mut each: impl FnMut(u64, &ItemBytes)) -> Result<()> {
        self.state.iter(context(at, &record)).for_each(|(user_key, value)| each(*user_key, &value));
        Ok(())
    }
}
