//! What connects the tables of a core's states with its store: what they ask of it, and what it asks of them.
//!
//! ```text
//!   table ── bytes ──▶ budget ── too many ──▶ epoch rises ──▶ table freezes, hands its layer over ─┐
//!     ▲                                                                                            ▼ all have
//!     └── drops its layer ◀── flushed epoch rises ◀── job done ◀── Work, on a helper thread ◀── one flush
//! ```
//!
//! Invariants:
//! - a flush has what all tables froze at one epoch, and flushes follow each other;
//! - a table keeps a layer until the store has it;
//! - what fails is kept as the core's fault; until the job has failed with it, reads say that there is nothing;
//! - if all tables have all there is (the heap), the store is for snapshots only: no fault of its own is the core's.

mod table_port;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

pub(crate) use table_port::TablePort;

use super::flush::{FlushCursor, LayerEntries};
use super::work::{Task, Work};
use crate::Error;
use crate::clock::Clock;
use crate::lsm::{self, Cursor, Job, JobKind, KeyRange, Options, StateSpec, Store};
use crate::snapshot::{PendingSnapshot, Snapshots};
use crate::storage::Storage;

/// Ranges of keys that take more of a file are not brought in ahead.
const RANGE_BYTES_MAX: usize = 16 << 10;

/// Compactions that run at the same time, besides a flush.
const COMPACTIONS_MAX: usize = 1;

/// A store and the tables over it, all on one core.
pub(crate) struct Port {
    store: RefCell<Store>,
    /// The core's, which the store is told.
    clock: Clock,
    /// Whether the tables keep what they have frozen.
    is_heap: bool,
    /// The most that tables may have before they are frozen.
    active_bytes_max: usize,
    /// What tables had when nothing came of a freeze: it is not asked for again before they have more.
    unfrozen_bytes: Cell<usize>,
    tables: RefCell<Vec<Table>>,
    /// How often tables were asked to freeze, and up to which time the store has what they froze.
    epoch: Cell<u64>,
    flushed: Cell<u64>,
    freeze: RefCell<Freeze>,
    /// Frozen, and waiting for the flush before it.
    frozen: RefCell<VecDeque<Layers>>,
    flushing: Cell<Option<u64>>,
    compactions: Cell<usize>,
    /// Rises with each part that comes in, and each flush that is done.
    arrivals: Cell<u64>,
    /// Parts that were asked for and have not come.
    parts_out: Cell<usize>,
    garbage: RefCell<Vec<Garbage>>,
    /// Handed out to be dropped, and not back.
    garbage_out: Cell<usize>,
    snapshots: RefCell<Snapshots>,
    /// On the heap, after a flush has failed: the first epoch that does not build on what was lost. Tables freeze as a whole until
    /// files have such an epoch.
    whole_from: Cell<Option<u64>>,
    /// On the heap: whether a compaction has failed since the last flush, and had better not be tried again before the next.
    is_compaction_off: Cell<bool>,
    fault: RefCell<Option<Error>>,
    blocking_reads: Cell<u64>,
    /// How many blocks a batch may ask for ahead: an eighth of what there is memory for.
    ahead_blocks_max: usize,
    /// And of how many blocks of a run it may bring a range in.
    range_blocks_max: usize,
}

/// What takes long to be dropped, in pieces that do not.
pub(crate) type Garbage = Vec<Box<dyn Send>>;

/// What all tables froze at an epoch.
struct Layers {
    epoch: u64,
    layers: Vec<Box<dyn LayerEntries>>,
    tombstones: Vec<KeyRange>,
}

/// What is known of a table.
#[derive(Debug, Clone, Copy)]
struct Table {
    bytes: usize,
    /// The epoch at which it froze last.
    epoch: u64,
    /// Whether it has in memory what it has frozen, for as long as it counts.
    keeps_all: bool,
    is_gone: bool,
}

/// Layers of the latest epoch, until all tables have handed theirs over.
#[derive(Default)]
struct Freeze {
    layers: Vec<Box<dyn LayerEntries>>,
    /// Ranges of keys that are gone from all files there are.
    tombstones: Vec<KeyRange>,
    missing: usize,
}

impl Port {
    /// Between the heap's tables and a store for their snapshots.
    pub(crate) fn heap(store: Store, options: &Options, clock: Clock) -> Self {
        Self { is_heap: true, active_bytes_max: usize::MAX, ..Self::new(store, options, clock) }
    }

    pub(crate) fn new(store: Store, options: &Options, clock: Clock) -> Self {
        Self {
            store: RefCell::new(store),
            clock,
            is_heap: false,
            // Half, as the other half is what was frozen before and is being written.
            active_bytes_max: options.table_bytes() / 2,
            unfrozen_bytes: Cell::new(0),
            tables: RefCell::default(),
            epoch: Cell::new(0),
            flushed: Cell::new(0),
            freeze: RefCell::default(),
            frozen: RefCell::default(),
            flushing: Cell::new(None),
            compactions: Cell::new(0),
            arrivals: Cell::new(0),
            parts_out: Cell::new(0),
            garbage: RefCell::default(),
            garbage_out: Cell::new(0),
            snapshots: RefCell::default(),
            whole_from: Cell::new(None),
            is_compaction_off: Cell::new(false),
            fault: RefCell::new(None),
            blocking_reads: Cell::new(0),
            ahead_blocks_max: (options.memory_bytes - options.table_bytes()) / 8 / options.block_bytes,
            range_blocks_max: 2 + RANGE_BYTES_MAX / options.block_bytes,
        }
    }

    pub(crate) fn is_heap(&self) -> bool {
        self.is_heap
    }

    /// Freezes all tables, and has what files then have brought to a place.
    ///
    /// Errors: `Freezing`, `SnapshotsPending`.
    pub(crate) fn snapshot(&self, to: &Storage) -> Result<PendingSnapshot, Error> {
        if self.freeze.borrow().missing > 0 {
            return Err(Error::Freezing);
        }
        // It waits before the tables hear of it: without any, or with empty ones, there is nothing else to wait for.
        let pending = self.snapshots.borrow_mut().begin(self.epoch.get() + 1, to)?;
        self.freeze();
        Ok(pending)
    }

    /// See [`Store::unregistered`].
    pub(crate) fn unregistered(&self) -> Vec<String> {
        self.store.borrow().unregistered()
    }

    /// See [`Store::abandon`].
    pub(crate) fn abandon(&self, name: &str) -> bool {
        self.store.borrow_mut().abandon(name)
    }

    /// Registers a state, and a table that keeps what changes of it.
    ///
    /// Errors: as `Store::register`.
    pub(crate) fn register(self: &Rc<Self>, spec: StateSpec) -> Result<TablePort, Error> {
        let name = spec.name.clone();
        let state = self.store.borrow_mut().register(spec)?;
        let mut tables = self.tables.borrow_mut();
        tables.push(Table { bytes: 0, epoch: self.epoch.get(), keeps_all: false, is_gone: false });
        Ok(TablePort { port: self.clone(), table: tables.len() - 1, state, name })
    }

    /// Lets tables freeze if they have grown too large. To be called now and then.
    pub(crate) fn maintain(&self) {
        if !self.is_writing() && self.active_bytes() > self.active_bytes_max.max(self.unfrozen_bytes.get()) {
            self.freeze();
        }
    }

    /// Asks all tables to freeze. Returns whether they were: not while some have not done so since the last time.
    pub(crate) fn freeze(&self) -> bool {
        if self.freeze.borrow().missing > 0 {
            return false;
        }
        let epoch = self.epoch.get() + 1;
        self.epoch.set(epoch);
        let missing = self.tables.borrow().iter().filter(|table| !table.is_gone).count();
        let mut freeze = self.freeze.borrow_mut();
        freeze.missing = missing;
        drop(freeze);
        self.end_freeze();
        true
    }

    fn hand_over(&self, layer: Option<Box<dyn LayerEntries>>, tombstones: Vec<KeyRange>) {
        let mut freeze = self.freeze.borrow_mut();
        freeze.layers.extend(layer);
        freeze.tombstones.extend(tombstones);
        freeze.missing -= 1;
        drop(freeze);
        self.end_freeze();
    }

    fn end_freeze(&self) {
        let mut freeze = self.freeze.borrow_mut();
        if freeze.missing == 0 {
            let Freeze { layers, tombstones, .. } = std::mem::take(&mut *freeze);
            self.unfrozen_bytes.set(if layers.is_empty() { self.active_bytes() } else { 0 });
            self.frozen.borrow_mut().push_back(Layers { epoch: self.epoch.get(), layers, tombstones });
        }
    }

    fn active_bytes(&self) -> usize {
        self.tables.borrow().iter().map(|table| table.bytes).sum()
    }

    /// Whether more records would take more memory than there is: what is frozen must be written first.
    pub(crate) fn is_stalled(&self) -> bool {
        // The heap is not read from files, however many runs there are.
        (self.store.borrow().is_stalled() && !self.is_heap)
            || (self.is_writing() && self.active_bytes() > self.active_bytes_max)
    }

    /// Whether memory has something that was frozen, or is about to be: that files do not have yet, or that is still to be dropped.
    fn is_writing(&self) -> bool {
        let is_garbage_left = self.garbage_out.get() > 0 || !self.garbage.borrow().is_empty();
        let is_freezing = self.freeze.borrow().missing > 0 || !self.frozen.borrow().is_empty();
        self.flushing.get().is_some() || is_freezing || is_garbage_left
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.get()
    }

    pub(crate) fn arrivals(&self) -> u64 {
        self.arrivals.get()
    }

    /// The next thing to be done on a helper thread.
    pub(crate) fn poll_work(&self) -> Option<Work> {
        if let Some(request) = self.store.borrow().poll_request() {
            self.parts_out.set(self.parts_out.get() + 1);
            return Some(Work::new(Task::Read(request)));
        }
        self.store.borrow_mut().set_time(self.clock.now_ms()); // Before jobs are made, which ask what has expired.
        self.drop_lost();
        if let Some(job) = self.poll_flush() {
            return Some(Work::new(Task::Job(job, None)));
        }
        if let Some(task) = self.snapshots.borrow_mut().poll() {
            return Some(Work::new(Task::Snapshot(task)));
        }
        if let Some(garbage) = self.garbage.borrow_mut().pop() {
            self.garbage_out.set(self.garbage_out.get() + 1);
            return Some(Work::new(Task::Drop(garbage)));
        }
        if self.compactions.get() < COMPACTIONS_MAX
            && !self.is_compaction_off.get()
            && let Some(job) = self.poll_job()
        {
            self.compactions.set(self.compactions.get() + 1);
            return Some(Work::new(Task::Job(job, None)));
        }
        None
    }

    fn poll_job(&self) -> Option<Job> {
        // A heap does not say whether it changes, and reads nothing from its files: fewer of them would be no gain.
        let is_at_rest = !self.is_heap && !self.is_writing() && self.active_bytes() == 0;
        let mut store = self.store.borrow_mut();
        if is_at_rest { store.poll_job_at_rest() } else { store.poll_job() }
    }

    /// What was frozen next, if the flush before it is done.
    fn poll_flush(&self) -> Option<Job> {
        while self.flushing.get().is_none() {
            let Layers { epoch, layers, tombstones } = self.frozen.borrow_mut().pop_front()?;
            if layers.is_empty() && tombstones.is_empty() {
                self.on_flushed(epoch);
                continue;
            }
            self.flushing.set(Some(epoch));
            // Opened by the job: sorting is not for this thread.
            let open = Box::new(move || Ok(Box::new(FlushCursor::open(layers)?) as Box<dyn Cursor + Send>));
            return Some(self.store.borrow_mut().flush_opening(open, tombstones));
        }
        None
    }

    /// Takes work back that is done, or was given up.
    pub(crate) fn on_work_done(&self, work: Work) {
        match work.into_task() {
            Task::Drop(_) => self.garbage_out.set(self.garbage_out.get() - 1),
            Task::Snapshot(task) => self.snapshots.borrow_mut().on_written(task),
            Task::Read(_) => self.parts_out.set(self.parts_out.get() - 1), // It will be asked for again.
            Task::Ready(ready) => {
                self.parts_out.set(self.parts_out.get() - 1);
                self.arrivals.set(self.arrivals.get() + 1);
                if let Err(error) = self.store.borrow_mut().on_part_ready(ready) {
                    self.fail(error);
                }
            }
            Task::Job(job, error) => self.on_job_done(job, error),
        }
    }

    fn on_job_done(&self, job: Job, error: Option<lsm::Error>) {
        let is_flush = job.kind() == JobKind::Flush;
        let is_finished = job.is_finished();
        self.store.borrow_mut().on_job_done(job);
        if !is_flush {
            self.compactions.set(self.compactions.get() - 1);
            self.arrivals.set(self.arrivals.get() + 1); // Parts that were asked for may be those of other files now.
            match error {
                Some(_) if self.can_lose_files() => self.is_compaction_off.set(true), // The store counts it.
                Some(error) => self.fail(error),
                None => {}
            }
            return;
        }
        let epoch = self.flushing.take().expect("a flush was begun");
        if is_finished {
            return self.on_flushed(epoch);
        }
        let error = error.map_or(Error::FlushGivenUp, Error::from);
        if self.can_lose_files() {
            self.whole_from.set(Some(self.epoch.get() + 1));
            self.snapshots.borrow_mut().on_flush_failed(epoch, error);
        } else {
            self.fail(error);
            self.snapshots.borrow_mut().on_flush_failed(epoch, Error::SnapshotGivenUp);
        }
    }

    /// Whether nobody needs files but for snapshots.
    fn can_lose_files(&self) -> bool {
        self.is_heap && self.tables.borrow().iter().all(|table| table.keeps_all || table.is_gone)
    }

    /// Gives up what was frozen as a difference to what a failed flush has lost.
    fn drop_lost(&self) {
        let Some(whole) = self.whole_from.get() else { return };
        let mut frozen = self.frozen.borrow_mut();
        while let Some(Layers { epoch, .. }) = frozen.pop_front_if(|layers| layers.epoch < whole) {
            self.snapshots.borrow_mut().on_flush_failed(epoch, Error::SnapshotGivenUp);
        }
    }

    fn on_flushed(&self, epoch: u64) {
        self.flushed.set(epoch);
        self.arrivals.set(self.arrivals.get() + 1);
        self.whole_from.set(self.whole_from.get().filter(|whole| epoch < *whole));
        self.is_compaction_off.set(false);
        self.snapshots.borrow_mut().on_flushed(epoch, || self.store.borrow().snapshot());
    }

    pub(crate) fn fail(&self, error: impl Into<Error>) {
        self.fault.borrow_mut().get_or_insert(error.into());
    }

    pub(crate) fn take_fault(&self) -> Option<Error> {
        self.fault.borrow_mut().take()
    }

    pub(crate) fn has_work(&self) -> bool {
        let is_storing = self.flushing.get().is_some() || self.compactions.get() > 0;
        let is_garbage_out = self.garbage_out.get() > 0;
        self.parts_out.get() > 0 || is_storing || is_garbage_out || self.snapshots.borrow().are_under_way()
    }

    pub(crate) fn metrics(&self) -> crate::lsm::Metrics {
        self.store.borrow().metrics()
    }
}
