//! Goal: a load accepts a store that keeps what it is given, and refuses one that does not. Method: a bare map, whole and with faults.

use std::cell::Cell;
use std::path::Path;

use super::*;
use crate::bench::state::store::hashbrown::Hashbrown;
use crate::bench::state::store::{Counters, Family, ItemBytes, Lists, Maps};

/// What is wrong with a store: each of its kinds of state has one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Every so many increments are done twice.
    CountsTwice,
    /// A counter is there though it is not.
    Invents,
    /// Every so many items are not appended.
    LosesItems,
    /// A list that was dropped is there again.
    KeepsDropped,
    /// Every so many values are those of the entry before.
    MixesValues,
}

thread_local! {
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
}

const FAULT_EVERY: u64 = 97;

enum Faulty {}

impl Family for Faulty {
    type Counters<const BYTES: usize> = FaultyStore<<Hashbrown as Family>::Counters<BYTES>>;
    type Lists = FaultyStore<<Hashbrown as Family>::Lists>;
    type Maps = FaultyStore<<Hashbrown as Family>::Maps>;
}

struct FaultyStore<S> {
    store: S,
    calls: u64,
    prepared: u64,
    waited: u64,
}

impl<S> FaultyStore<S> {
    /// Whether it is this fault's turn.
    fn fails(&mut self, fault: Fault) -> bool {
        self.calls += 1;
        FAULT.get() == fault && self.calls.is_multiple_of(FAULT_EVERY)
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn open(place: &Place) -> Result<Self> {
        fs::create_dir(&place.dir)?;
        Ok(Self { store: S::open(place)?, calls: 0, prepared: 0, waited: 0 })
    }

    /// Every second batch is not ready at once.
    fn prepare(&mut self, batch: &[Record]) -> Result<bool> {
        self.prepared += 1;
        Ok(self.prepared.is_multiple_of(2) && self.store.prepare(batch)?)
    }

    fn is_in_files(&self) -> bool {
        self.store.is_in_files()
    }

    fn wait(&mut self) -> Result<()> {
        self.waited += 1;
        Ok(())
    }
}

impl<const BYTES: usize, S: Counters<BYTES>> Counters<BYTES> for FaultyStore<S> {
    fn increment(&mut self, at: usize, record: Record) -> Result<u64> {
        if self.fails(Fault::CountsTwice) {
            self.store.increment(at, record)?;
        }
        self.store.increment(at, record)
    }

    fn get(&mut self, at: usize, record: Record) -> Result<Option<u64>> {
        let found = self.store.get(at, record)?;
        Ok(if self.fails(Fault::Invents) { found.or(Some(1)) } else { found })
    }

    fn expect_snapshot(&mut self, dir: &Path) -> Result<()> {
        self.store.expect_snapshot(dir)
    }

    fn start_snapshot(&mut self, dir: &Path) -> Result<bool> {
        self.store.start_snapshot(dir)
    }
}

impl<S: Lists> Lists for FaultyStore<S> {
    fn append(&mut self, at: usize, record: Record, item: &ItemBytes) -> Result<()> {
        if self.fails(Fault::LosesItems) {
            return Ok(());
        }
        self.store.append(at, record, item)
    }

    fn scan(&mut self, at: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        self.store.scan(at, record, each)
    }

    fn take(&mut self, at: usize, record: Record, each: impl FnMut(&ItemBytes)) -> Result<()> {
        if FAULT.get() == Fault::KeepsDropped {
            return self.store.scan(at, record, each);
        }
        self.store.take(at, record, each)
    }
}

impl<S: Maps> Maps for FaultyStore<S> {
    fn put(&mut self, at: usize, record: Record, user_key: u64, value: &ItemBytes) -> Result<()> {
        let mut value = *value;
        value[0] ^= u8::from(self.fails(Fault::MixesValues));
        self.store.put(at, record, user_key, &value)
    }

    fn scan(&mut self, at: usize, record: Record, each: impl FnMut(u64, &ItemBytes)) -> Result<()> {
        self.store.scan(at, record, each)
    }
}

/// The phases that a load reported on a store with that fault, or why it failed.
fn phases(load: Load, dist: Dist, fault: Fault) -> Result<Vec<&'static str>> {
    FAULT.set(fault);
    let dir = tempfile::tempdir()?;
    let plan = Plan {
        load,
        backend: "faulty",
        keys: 1_000,
        dist,
        batch: 64,
        time: Duration::from_millis(20),
        place: Place { dir: dir.path().join("store"), memory_budget_bytes: 1 << 20 },
    };
    let mut phases = Vec::new();
    run::<Faulty>(&plan, &mut |outcome| {
        assert!(outcome.ops_per_s() > 0.0 && outcome.seen.storage.is_none(), "{outcome:?}");
        phases.push(outcome.phase);
        Ok(())
    })?;
    Ok(phases)
}

#[test]
fn a_store_that_keeps_what_it_is_given_passes_all() {
    for load in Load::value_variants() {
        let expected: &[&str] = match load {
            Load::Rmw | Load::Rmw100 | Load::Latency => &["create", "update"],
            Load::Miss => &["create", "absent", "present"],
            Load::Snapshot => &["create", "calm", "snapshot"],
            Load::Append => &["append", "scan", "scan-drop"],
            Load::MapScan => &["put", "scan"],
        };
        for dist in [Dist::Uniform, Dist::Zipf] {
            assert_eq!(phases(*load, dist, Fault::None).unwrap(), expected, "{load:?}");
        }
    }
}

#[test]
fn a_store_with_a_fault_is_refused() {
    for (load, fault, says) in [
        (Load::Rmw, Fault::CountsTwice, "1000 new counters have a sum of"),
        (Load::Miss, Fault::Invents, "reads of absent keys gave something else"),
        (Load::Append, Fault::LosesItems, "of 1000 items there were"),
        (Load::Append, Fault::KeepsDropped, "was dropped and has"),
        (Load::MapScan, Fault::MixesValues, "are not those that were put"),
    ] {
        let error = phases(load, Dist::Uniform, fault).unwrap_err();
        assert!(error.to_string().contains(says), "{fault:?}: {error}");
    }
}
