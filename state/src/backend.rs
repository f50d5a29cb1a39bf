//! Where state is kept: the backend of a core, and of each operator on it.
//!
//! ```text
//!   CoreState   one for each core: the heap, or a store of files with a budget of memory
//!      └─ StateBackend   one for each operator of a subtask: makes the tables of its handles
//! ```

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Clock;
use crate::heap::{KeyedTable, LayeredTable};
use crate::lsm::sst::ValueAlign;
use crate::lsm::{self, CompactionFilter, Fingerprint, MergeOperator, Options, Recovery, StateSpec, Store};
use crate::snapshot::{HeapFormat, HeapTable, PendingSnapshot};
use crate::spill::{Cell, Port, SpillTable, TablePort, WindowMerge, WindowStore, Work};
use crate::storage::Storage;
use crate::value::fingerprint;
use crate::{Error, Key, KeyGroupRange, MaxParallelism, StateValue, Stored, Ttl};

/// What a state is called, and so where a savepoint keeps it; and how long what is in it lives.
///
/// ```
/// use thalweg_state::StateDescriptor;
/// assert_eq!(StateDescriptor::new("count").name, "count");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDescriptor {
    /// Unique within the operator, and the same in every run of the job.
    pub name: String,
    /// How long what is in it lives: for ever unless set.
    pub ttl: Option<Ttl>,
}

impl StateDescriptor {
    /// A state called `name`. Wherever a descriptor is asked for, the name alone will do.
    ///
    /// ```
    /// use thalweg_state::StateDescriptor;
    /// assert_eq!(StateDescriptor::new("count"), "count".into());
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ttl: None }
    }

    /// The same, of state that expires.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_state::{StateDescriptor, Ttl};
    /// let descriptor = StateDescriptor::new("session").with_ttl(Ttl::new(Duration::from_secs(1800)));
    /// assert_eq!(descriptor.ttl.unwrap().time_to_live().as_secs(), 1800);
    /// ```
    #[must_use]
    pub fn with_ttl(self, ttl: Ttl) -> Self {
        Self { ttl: Some(ttl), ..self }
    }
}

impl From<&str> for StateDescriptor {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// The state of all operators of a core: on the heap, or in a store of files with what has changed lately in memory.
///
/// The store never waits for a disk itself: what must is [`Work`] for other threads. Order of calls: in between batches
/// `maintain`, then `poll_work` until there is none, and `on_work_done` for what has come back; `is_stalled` before input is
/// taken; `take_fault` after each step.
///
/// ```
/// use std::time::Duration;
/// use thalweg_state::lsm::Options;
/// use thalweg_state::storage::Storage;
/// use thalweg_state::{CoreState, Key, KeyContext, KeyGroupRange, KeyedState, Lane, MaxParallelism, StateSet, ValueState, WorkProgress};
/// let (core, _) = CoreState::lsm(&Storage::memory(), Options::nvme(), 1)?;
/// let max = MaxParallelism::default();
/// let backend = core.backend("counter", KeyGroupRange::all(max), max);
/// let mut count = ValueState::<u64, u64>::new("count", &backend)?;
/// count.set(KeyContext::new(&7), 1);
///
/// core.freeze(); // As the budget or a snapshot would.
/// count.each(&mut |state| state.maintain());
/// while let Some(mut work) = core.poll_work() {
///     while work.step(Duration::ZERO) != WorkProgress::Finished {} // On another thread.
///     core.on_work_done(work);
///     count.each(&mut |state| state.maintain());
/// }
/// // Now it is in a file. Its key is looked up ahead, and is not in memory at first:
/// let mut key = Vec::new();
/// 7_u64.encode(&mut key);
/// let mut prepare = || {
///     let mut is_there = false;
///     count.each(&mut |state| {
///         state.begin_batch(Lane::Records);
///         state.prepare(0, 7_u64.key_hash(), &key);
///         is_there = state.resolve(Lane::Records);
///     });
///     is_there
/// };
/// while !prepare() {
///     let mut read = core.poll_work().expect("a read was asked for");
///     assert!(read.is_urgent());
///     let _ = read.step(Duration::ZERO);
///     core.on_work_done(read);
/// }
/// assert_eq!(count.get(KeyContext::new(&7).prepared_as(0)), Some(&1));
/// assert!(core.take_fault().is_none());
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[derive(Clone)]
pub struct CoreState {
    /// None: the heap, without snapshots.
    port: Option<Rc<Port>>,
    clock: Clock,
}

/// Where a core's state is while the job runs. Snapshots of one kind can be restored as the other.
///
/// ```
/// assert_ne!(thalweg_state::BackendKind::Heap, thalweg_state::BackendKind::Lsm);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// In memory, as typed tables.
    Heap,
    /// In files, with what has changed lately in memory.
    Lsm,
}

/// What the store of a heap's snapshots may take in memory: it is only read to restore, and to compact.
const HEAP_STORE_BYTES: usize = 16 << 20;

impl CoreState {
    /// All state in memory, and no snapshots of it.
    pub fn heap() -> Self {
        Self { port: None, clock: Clock::default() }
    }

    /// State in the store that is in `storage`, or in an empty one that is made there. `identity` tells the files of a new store
    /// from those of all others: a random number. Waits for the disk.
    ///
    /// Errors: as [`Store::open`].
    pub fn lsm(storage: &Storage, options: Options, identity: u64) -> Result<(Self, Recovery), Error> {
        Self::open(BackendKind::Lsm, storage, options, identity)
    }

    /// State of either kind over the store that is in `storage`, or over an empty one that is made there, as [`Self::lsm`]. The heap
    /// has files for its snapshots only: what has changed from one to the next. Of the options it heeds those that are about files.
    ///
    /// Errors: as [`Store::open`].
    pub fn open(
        kind: BackendKind,
        storage: &Storage,
        options: Options,
        identity: u64,
    ) -> Result<(Self, Recovery), Error> {
        let options = options_of(kind, options);
        let (store, recovery) = Store::open(storage, options.clone(), identity)?;
        Ok((Self::over(kind, store, &options), recovery))
    }

    /// State of either kind from snapshots of either kind, of which it takes the key groups of this core: a store is made of that in
    /// `storage`, which is empty. Files are linked or read only as far as they have these key groups. The heap reads each state when it
    /// is registered. Waits for the disk.
    ///
    /// Once all states are registered, see [`Self::check_all_registered`].
    ///
    /// Errors: as [`lsm::restore`](fn@crate::lsm::restore).
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_state::lsm::Options;
    /// use thalweg_state::storage::Storage;
    /// use thalweg_state::{BackendKind, CoreState, KeyContext, KeyGroupRange, MaxParallelism, StateSet, ValueState, WorkProgress};
    /// let (max, all) = (MaxParallelism::default(), KeyGroupRange::all(MaxParallelism::default()));
    /// let (core, _) = CoreState::open(BackendKind::Heap, &Storage::memory(), Options::nvme(), 1)?;
    /// let mut count = ValueState::<u64, u64>::new("count", &core.backend("counter", all, max))?;
    /// count.set(KeyContext::new(&7), 1);
    ///
    /// let place = Storage::memory();
    /// let mut snapshot = core.snapshot(&place)?;
    /// count.each(&mut |state| state.maintain()); // Now it is frozen.
    /// count.set(KeyContext::new(&7), 2);
    /// while let Some(mut work) = core.poll_work() {
    ///     while work.step(Duration::ZERO) != WorkProgress::Finished {} // On another thread.
    ///     core.on_work_done(work);
    /// }
    /// assert_eq!(snapshot.poll_outcome().expect("all work is done")?.new_files, 1);
    ///
    /// let restored = CoreState::restore(BackendKind::Lsm, &Storage::memory(), &[place], all, Options::nvme(), 2)?;
    /// let mut count = ValueState::<u64, u64>::new("count", &restored.backend("counter", all, max))?;
    /// restored.check_all_registered()?;
    /// assert_eq!(count.get(KeyContext::new(&7)), Some(&1));
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn restore(
        kind: BackendKind,
        storage: &Storage,
        snapshots: &[Storage],
        key_groups: KeyGroupRange,
        options: Options,
        identity: u64,
    ) -> Result<Self, Error> {
        let options = options_of(kind, options);
        let store = lsm::restore(storage, snapshots, key_groups, options.clone(), identity)?;
        Ok(Self::over(kind, store, &options))
    }

    fn over(kind: BackendKind, store: Store, options: &Options) -> Self {
        let clock = Clock::default();
        let port = match kind {
            BackendKind::Heap => Port::heap(store, options, clock.clone()),
            BackendKind::Lsm => Port::new(store, options, clock.clone()),
        };
        Self { port: Some(Rc::new(port)), clock }
    }

    /// Says what time it is, in ms of processing time, for state with a [`Ttl`]. To be called before each step. Until it is said
    /// for the first time nothing expires.
    ///
    /// ```
    /// use thalweg_state::CoreState;
    /// CoreState::heap().set_time(1_700_000_000_000);
    /// ```
    #[inline]
    pub fn set_time(&self, now_ms: i64) {
        self.clock.set(now_ms);
    }

    /// Whether state may be elsewhere than in memory, so that batches are to be prepared.
    pub fn spills(&self) -> bool {
        self.port.as_ref().is_some_and(|port| !port.is_heap())
    }

    /// Whether there are files, so that states are to be maintained and work is to be done.
    pub fn has_files(&self) -> bool {
        self.port.is_some()
    }

    /// Begins a snapshot of all states as they are when they are next maintained, to be written to a place of its own or over an
    /// earlier one of this core, whose files are not written again. Each state freezes in O(1), and what must be written then is
    /// [`Work`]. Later snapshots may begin before it is complete, and follow it.
    ///
    /// Errors: `Freezing` while some states have not been maintained since they were asked to freeze the last time; `SnapshotsPending` while
    /// 8 of them wait to be written; `NoSnapshots`. What goes wrong later is said by the [`PendingSnapshot`].
    ///
    /// See [`Self::restore`] for an example.
    pub fn snapshot(&self, to: &Storage) -> Result<PendingSnapshot, Error> {
        self.port.as_ref().ok_or(Error::NoSnapshots)?.snapshot(to)
    }

    /// Whether all states that files have are registered: to be called after a restore, when the operators are there.
    ///
    /// Errors: `NotRegistered`. A job that goes on without them calls [`Self::abandon_unregistered`] instead.
    pub fn check_all_registered(&self) -> Result<(), Error> {
        match self.port.as_ref().map_or(Vec::new(), |port| port.unregistered()) {
            names if names.is_empty() => Ok(()),
            names => Err(Error::NotRegistered { names }),
        }
    }

    /// Gives up what files have of states that are not registered, and returns their names. Source: Flink's `allowNonRestoredState`.
    pub fn abandon_unregistered(&self) -> Vec<String> {
        let Some(port) = &self.port else { return Vec::new() };
        let names = port.unregistered();
        names.into_iter().filter(|name| port.abandon(name)).collect()
    }

    /// The backend of an operator, whose name is the same in every run of the job, on this core.
    ///
    /// Panics if there are no key groups of that number under `max_parallelism`.
    pub fn backend(
        &self,
        operator: &str,
        key_groups: KeyGroupRange,
        max_parallelism: MaxParallelism,
    ) -> StateBackend {
        assert!(
            u32::from(key_groups.end) <= max_parallelism.get(),
            "{key_groups:?} with a maximal parallelism of {}",
            max_parallelism.get()
        );
        let core = self.clone();
        StateBackend {
            core,
            operator: operator.to_owned(),
            key_groups,
            max_parallelism,
            names: RefCell::default(),
        }
    }

    /// Asks tables to freeze if they take more memory than they may. To be called between batches.
    pub fn maintain(&self) {
        if let Some(port) = &self.port {
            port.maintain();
        }
    }

    /// Asks all tables to freeze what has changed, as soon as they are next maintained. Returns whether they were asked: not on the heap,
    /// nor while some have not frozen since the last time.
    pub fn freeze(&self) -> bool {
        self.port.as_ref().is_some_and(|port| !port.is_heap() && port.freeze())
    }

    /// The next thing to be done on another thread, the most urgent first.
    pub fn poll_work(&self) -> Option<Work> {
        self.port.as_ref()?.poll_work()
    }

    /// Takes work back that is done. What was given up is asked for again if it is still needed, but for a flush: this is a
    /// fault.
    pub fn on_work_done(&self, work: Work) {
        if let Some(port) = &self.port {
            port.on_work_done(work);
        }
    }

    /// Whether work is on its way, so that waiting for it makes sense.
    pub fn has_work(&self) -> bool {
        self.port.as_ref().is_some_and(|port| port.has_work())
    }

    /// Rises with every part of a file that comes in, and with every flush: what could not be prepared before may be now.
    pub fn arrivals(&self) -> u64 {
        self.port.as_ref().map_or(0, |port| port.arrivals())
    }

    /// Whether no input should be taken until work is done, because memory is used up or compactions are behind.
    pub fn is_stalled(&self) -> bool {
        self.port.as_ref().is_some_and(|port| port.is_stalled())
    }

    /// What has failed, if anything: what was read since then may be wrong, so the job must fail too.
    pub fn take_fault(&self) -> Option<Error> {
        self.port.as_ref()?.take_fault()
    }

    /// What the store has counted; `None` without one.
    pub fn metrics(&self) -> Option<lsm::Metrics> {
        Some(self.port.as_ref()?.metrics())
    }
}

fn options_of(kind: BackendKind, options: Options) -> Options {
    match kind {
        BackendKind::Heap => Options { memory_bytes: HEAP_STORE_BYTES, ..options },
        BackendKind::Lsm => options,
    }
}

impl fmt::Debug for CoreState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CoreState").field(&if self.spills() { "lsm" } else { "heap" }).finish()
    }
}

/// The backend of one operator in one subtask, which makes the tables of its handles.
///
/// ```
/// use thalweg_state::{Error, KeyGroupRange, MaxParallelism, StateBackend, ValueState};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let count = ValueState::<u64, u64>::new("count", &backend)?;
/// let again = ValueState::<u64, u64>::new("count", &backend);
/// assert!(matches!(again, Err(Error::DuplicateState { name }) if name == "count"));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct StateBackend {
    core: CoreState,
    operator: String,
    key_groups: KeyGroupRange,
    max_parallelism: MaxParallelism,
    names: RefCell<BTreeSet<String>>,
}

/// A table on either backend.
pub(crate) enum TableOf<K, V, C> {
    Heap(HeapTable<K, V>),
    Spill(Box<SpillTable<K, C>>),
}

impl StateBackend {
    /// A backend on the heap for `key_groups`, which come from [`range_of`](crate::range_of). [`CoreState::backend`] makes one of
    /// either kind.
    ///
    /// Panics if there are none of that number under `max_parallelism`.
    ///
    /// ```
    /// use thalweg_state::{KeyGroupRange, MaxParallelism, StateBackend, range_of};
    /// let max = MaxParallelism::default();
    /// let second_of_two = StateBackend::heap(range_of(1, max, 2), max);
    /// assert_eq!(second_of_two.key_groups(), KeyGroupRange { start: 64, end: 128 });
    /// ```
    pub fn heap(key_groups: KeyGroupRange, max_parallelism: MaxParallelism) -> Self {
        CoreState::heap().backend("", key_groups, max_parallelism)
    }

    /// The key groups of the subtask. A key of another group is a bug: a handle that is asked for it panics.
    ///
    /// ```
    /// use thalweg_state::{KeyGroupRange, MaxParallelism, StateBackend};
    /// let max = MaxParallelism::new(16)?;
    /// assert_eq!(StateBackend::heap(KeyGroupRange::all(max), max).key_groups().len(), 16);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn key_groups(&self) -> KeyGroupRange {
        self.key_groups
    }

    /// The job's maximal parallelism: how many key groups there are in all subtasks together.
    ///
    /// ```
    /// use thalweg_state::{KeyGroupRange, MaxParallelism, StateBackend};
    /// let max = MaxParallelism::default();
    /// let backend = StateBackend::heap(KeyGroupRange { start: 0, end: 1 }, max);
    /// assert_eq!(backend.max_parallelism().get(), 128);
    /// ```
    pub fn max_parallelism(&self) -> MaxParallelism {
        self.max_parallelism
    }

    /// Whether state may be elsewhere than in memory.
    pub fn spills(&self) -> bool {
        self.core.spills()
    }

    /// A place in files for accumulators of windows, which `merge` adds up: the second argument to the first. `None` if there are no
    /// files. What the heap's windows hand over with a snapshot is in files from then on, as it is in any case where state spills.
    ///
    /// Errors: as for handles. Panics: if the descriptor has a TTL, as windows have ends.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use thalweg_state::heap::Table;
    /// use thalweg_state::lsm::Options;
    /// use thalweg_state::storage::Storage;
    /// use thalweg_state::{CoreState, HashSpread, Key, KeyGroupRange, MaxParallelism, WorkProgress, key_group};
    /// let (core, _) = CoreState::lsm(&Storage::memory(), Options::nvme(), 1)?;
    /// let (max, all) = (MaxParallelism::default(), KeyGroupRange::all(MaxParallelism::default()));
    /// let backend = core.backend("counter", all, max);
    /// let mut windows = backend.windows::<u64, u64>("counts", |sum, n| *sum += n)?.expect("it is in files");
    ///
    /// let (hash, spread) = (7_u64.key_hash(), HashSpread::new(all, max));
    /// for count in [1, 2] {
    ///     let mut table = Table::new();
    ///     table.entry(spread.position(hash), |&k| k == 7, || (7, count));
    ///     core.freeze();
    ///     windows.hand_over(windows.wants_freeze().unwrap(), vec![(60_000, Arc::new(table))]);
    /// }
    /// let mut found = Vec::new();
    /// loop {
    ///     while let Some(mut work) = core.poll_work() {
    ///         while work.step(Duration::ZERO) != WorkProgress::Finished {} // On another thread.
    ///         core.on_work_done(work);
    ///     }
    ///     if windows.scan(60_000, key_group(hash, max), false, &mut found) {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(found, [(hash, 7, 3)]);
    /// # Ok::<(), thalweg_state::Error>(())
    /// ```
    pub fn windows<K: Key, V: Stored>(
        &self,
        descriptor: impl Into<StateDescriptor>,
        merge: impl Fn(&mut V, V) + Send + Sync + 'static,
    ) -> Result<Option<WindowStore<K, V>>, Error> {
        let StateDescriptor { name, ttl } = descriptor.into();
        assert!(ttl.is_none(), "windows {name:?} cannot have a time to live");
        let operator = WindowMerge { merge, value: PhantomData::<fn() -> V> };
        let kind = StateKind { merge: Some(Arc::new(operator)), ..StateKind::value::<(i64, K), V>() };
        let port = self.register(&name, kind)?;
        Ok(port.map(|port| WindowStore::new(port, self.key_groups, self.max_parallelism)))
    }

    /// A table for a state of that name, of values or, where it spills, of cells, with what was restored of it. `kind` and the types make
    /// up its schema, and `format` is how values on the heap are written where cells are otherwise.
    ///
    /// Errors: [`Error::DuplicateState`] if the name is taken; as `Store::register`; on the heap also those of reading.
    pub(crate) fn table<K: Key, V: Clone + Send + Sync + 'static, C: Cell>(
        &self,
        name: &str,
        kind: StateKind,
        format: HeapFormat<V>,
    ) -> Result<TableOf<K, V, C>, Error> {
        let (groups, max) = (self.key_groups, self.max_parallelism);
        Ok(match self.register(name, kind)? {
            None => TableOf::Heap(HeapTable::new(LayeredTable::new(groups, max))),
            Some(port) if port.is_heap() => {
                TableOf::Heap(HeapTable::open(LayeredTable::new(groups, max), port, format)?)
            }
            Some(port) => TableOf::Spill(Box::new(SpillTable::new(KeyedTable::new(groups, max), port))),
        })
    }

    /// Takes the name of a state, and registers it with the core's store. `None` without one.
    ///
    /// Errors: as `table`.
    pub(crate) fn register(&self, name: &str, kind: StateKind) -> Result<Option<TablePort>, Error> {
        self.take_name(name)?;
        let Some(port) = &self.core.port else { return Ok(None) };
        Ok(Some(port.register(self.spec(name, kind))?))
    }

    /// Errors: [`Error::DuplicateState`].
    pub(crate) fn take_name(&self, name: &str) -> Result<(), Error> {
        match self.names.borrow_mut().insert(name.to_owned()) {
            true => Ok(()),
            false => Err(Error::DuplicateState { name: name.to_owned() }),
        }
    }

    fn spec(&self, name: &str, kind: StateKind) -> StateSpec {
        let StateKind { schema, align, merge, filter } = kind;
        StateSpec { align, merge, filter, ..StateSpec::new(&format!("{}/{name}", self.operator), schema) }
    }

    /// The time of the core, for state that expires.
    pub(crate) fn clock(&self) -> Clock {
        self.core.clock.clone()
    }
}

/// What a store must know of a state.
pub(crate) struct StateKind {
    schema: Fingerprint,
    align: ValueAlign,
    merge: Option<Arc<dyn MergeOperator>>,
    filter: Option<Arc<dyn CompactionFilter>>,
}

impl StateKind {
    /// A state of one value of type `V` for each key.
    pub(crate) fn value<K: Key, V: Stored>() -> Self {
        let Fingerprint(value) = V::schema();
        let schema = fingerprint::<K>(&["value", &value.to_string()]);
        Self { schema, align: V::align(), merge: None, filter: None }
    }

    /// Timers for keys and namespaces.
    pub(crate) fn timers<K: Key, N: Key>() -> Self {
        let schema = fingerprint::<(K, N)>(&["timers"]);
        Self { schema, align: ValueAlign::Eight, merge: None, filter: None }
    }

    /// A state of a map from `UK` to `UV` for each key. `parts` tell what its values are.
    pub(crate) fn map<K: Key, UK: Key, UV: StateValue>(parts: &[&str]) -> Self {
        Self { schema: fingerprint::<(K, UK, UV)>(parts), align: UV::align(), merge: None, filter: None }
    }

    /// A state of a list of items of type `T` for each key, to which others are appended. `parts` tell how lists are written.
    pub(crate) fn list<K: Key, T: StateValue>(parts: &[&str], append: Arc<dyn MergeOperator>) -> Self {
        let schema = fingerprint::<(K, T)>(parts);
        Self { schema, align: ValueAlign::Sixteen, merge: Some(append), filter: None }
    }

    /// The same, of which files keep what `filter` says.
    pub(crate) fn with_filter(self, filter: Option<Arc<dyn CompactionFilter>>) -> Self {
        Self { filter, ..self }
    }
}
