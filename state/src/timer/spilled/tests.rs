//! Goal: timers in files are those of a set, however they are spread over memory, what is being written, and the store.
//!
//! Method: random histories on the heap and in files against a `BTreeSet`, with so little kept in memory that each step reads, work on
//! its way while timers come and go, snapshots, and restarts from one, on the other backend in turn.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use crate::lsm::Options;
use crate::storage::Storage;
use crate::testing::{Fault, FaultyDisk};
use crate::timer::TimerState;
use crate::{BackendKind, CoreState, Error, Key, KeyGroupRange, MaxParallelism, Work, WorkProgress, cases};

#[derive(Debug, Clone)]
enum Op {
    Register(i64, String),
    Delete(i64, String),
    /// So many that are due by then.
    Pop(i64, usize),
    Freeze,
    Snapshot,
    /// Takes work out, and leaves it be.
    Begin,
    /// Ends what was begun first.
    End,
    Restart,
}

fn any_op() -> impl Strategy<Value = Op> {
    let at = || prop_oneof![30 => 0..60_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let key = || (0..12_u8).prop_map(|key| "k".repeat(usize::from(key)));
    prop_oneof![
        30 => (at(), key()).prop_map(|(at, key)| Op::Register(at, key)),
        10 => (at(), key()).prop_map(|(at, key)| Op::Delete(at, key)),
        8 => (at(), 0..8_usize).prop_map(|(at, count)| Op::Pop(at, count)),
        3 => Just(Op::Freeze),
        2 => Just(Op::Snapshot),
        4 => Just(Op::Begin),
        4 => Just(Op::End),
        1 => Just(Op::Restart),
    ]
}

/// A core with one operator that has timers.
struct Bench {
    core: CoreState,
    timers: TimerState<String>,
    begun: Vec<Work>,
}

fn options() -> Options {
    Options { block_bytes: 4096, runs_max: 2, ..Options::nvme() }
}

/// A core over an empty store.
fn core(kind: BackendKind) -> CoreState {
    CoreState::open(kind, &Storage::memory(), options(), 1).unwrap().0
}

fn max() -> MaxParallelism {
    MaxParallelism::new(3).unwrap()
}

impl Bench {
    fn new(core: CoreState) -> Self {
        let backend = core.backend("test", KeyGroupRange::all(max()), max());
        let timers = TimerState::new("_timers/event", &backend).unwrap();
        Self { core, timers, begun: Vec::new() }
    }

    fn begin(&mut self) {
        self.begun.extend(self.core.poll_work());
    }

    fn end(&mut self) {
        if !self.begun.is_empty() {
            let mut work = self.begun.remove(0);
            while work.step(Duration::ZERO) != WorkProgress::Finished {}
            self.core.on_work_done(work);
            self.timers.maintain();
        }
    }

    fn do_all_work(&mut self) {
        self.begin();
        while !self.begun.is_empty() {
            self.end();
            self.begin();
        }
    }

    fn freeze(&mut self) {
        self.core.freeze();
        self.timers.maintain();
    }

    fn pop(&mut self, up_to: i64) -> Option<(i64, String)> {
        let mut rounds = 0;
        while !self.timers.is_ready(up_to) {
            rounds += 1;
            assert!(rounds < 1000, "nothing comes in");
            self.begin();
            self.end();
        }
        let next: Vec<_> = self.timers.peek_due(up_to).map(|(_, key)| key.clone()).collect();
        let popped = self.timers.pop_due(up_to).map(|(at, hash, key)| {
            assert_eq!(hash, key.key_hash());
            (at, key)
        });
        assert_eq!(next.first(), popped.as_ref().map(|(_, key)| key));
        popped
    }

    /// Goes on from a snapshot, on the other backend.
    fn restart(mut self) -> Self {
        self.do_all_work(); // Only so many snapshots can wait to be written.
        let place = Storage::memory();
        let mut snapshot = self.core.snapshot(&place).unwrap();
        self.timers.maintain();
        self.do_all_work();
        snapshot.poll_outcome().expect("all work is done").unwrap();
        let kind = if self.core.spills() { BackendKind::Heap } else { BackendKind::Lsm };
        let (all, storage) = (KeyGroupRange::all(max()), Storage::memory());
        let core = CoreState::restore(kind, &storage, &[place], all, options(), 2).unwrap();
        Self::new(core)
    }
}

fn run(mut bench: Bench, ops: &[Op]) {
    let mut model = BTreeSet::new();
    let pop = |bench: &mut Bench, model: &mut BTreeSet<(i64, String)>, up_to| {
        let due = model.first().map(|first| first.0).filter(|&at| at <= up_to);
        assert!(due.is_none() || bench.timers.next_at() <= due);
        let popped = bench.pop(up_to);
        assert_eq!(popped.as_ref().map(|popped| popped.0), due);
        popped.inspect(|popped| assert!(model.remove(popped), "{popped:?} was not there")).is_some()
    };
    for op in ops {
        match op {
            Op::Register(at, key) => {
                bench.timers.register(*at, key.key_hash(), key);
                model.insert((*at, key.clone()));
            }
            Op::Delete(at, key) => {
                bench.timers.delete(*at, key.key_hash(), key);
                model.remove(&(*at, key.clone()));
            }
            Op::Pop(up_to, count) => _ = (0..*count).all(|_| pop(&mut bench, &mut model, *up_to)),
            Op::Freeze => bench.freeze(),
            Op::Snapshot if bench.core.has_files() => match bench.core.snapshot(&Storage::memory()) {
                Ok(_) => bench.timers.maintain(),
                Err(Error::SnapshotsPending) => bench.do_all_work(),
                Err(error) => panic!("{error}"),
            },
            Op::Begin => bench.begin(),
            Op::End => bench.end(),
            Op::Restart if bench.core.has_files() => bench = bench.restart(),
            Op::Snapshot | Op::Restart => {}
        }
        assert!(bench.core.take_fault().is_none());
    }
    while pop(&mut bench, &mut model, i64::MAX) {}
    assert!(model.is_empty(), "{model:?} are lost");
    assert_eq!(bench.timers.next_at(), None);
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn timers_are_those_of_a_set(ops in prop::collection::vec(any_op(), 0..400)) {
        for core in [CoreState::heap(), core(BackendKind::Heap), core(BackendKind::Lsm)] {
            run(Bench::new(core), &ops);
        }
    }
}

/// Many at few timestamps, and late ones.
#[test]
fn what_is_registered_behind_the_clock_is_written_again() {
    let mut bench = Bench::new(core(BackendKind::Lsm));
    let register = |bench: &mut Bench, at, keys: std::ops::Range<u64>| {
        for key in keys.map(|key| key.to_string()) {
            bench.timers.register(at, key.key_hash(), &key);
        }
    };
    register(&mut bench, 50, 0..40);
    bench.freeze();
    bench.do_all_work();
    for _ in 0..20 {
        assert_eq!(bench.pop(50).unwrap().0, 50);
    }
    register(&mut bench, 10, 0..5); // Earlier than what has fired.
    bench = bench.restart();
    let fired: Vec<_> = std::iter::from_fn(|| bench.pop(50).map(|fired| fired.0)).collect();
    assert_eq!(fired, [[10; 5].as_slice(), &[50; 20]].concat());
}

/// It was, when so many were in memory that some were forgotten there: what had fired was found again below.
#[test]
fn what_has_fired_is_not_found_again_before_it_is_flushed() {
    let mut bench = Bench::new(core(BackendKind::Lsm));
    let key = String::from("key");
    let register = |bench: &mut Bench, at| bench.timers.register(at, key.key_hash(), &key);
    (1..=10).for_each(|at| register(&mut bench, at));
    bench.freeze();
    for at in 1..=10 {
        assert_eq!(bench.pop(10).unwrap().0, at);
    }
    for round in 0..7 {
        (0..3).for_each(|at| register(&mut bench, 3 * round + at - 30)); // Long ago.
        bench.freeze();
    }
    let fired: Vec<_> = std::iter::from_fn(|| bench.pop(10).map(|fired| fired.0)).collect();
    assert_eq!(fired, (-30..-9).collect::<Vec<_>>());
}

/// Goal: what a failed snapshot of the heap has lost is in the next. Method: each operation of its disk fails once.
#[test]
fn what_a_failed_snapshot_has_lost_is_in_the_next() {
    let mut recovered = 0;
    for point in 0.. {
        let disk = FaultyDisk::new();
        let storage = Storage::on(disk.clone()).unwrap();
        let core = CoreState::open(BackendKind::Heap, &storage, options(), 1).unwrap().0;
        let mut bench = Bench::new(core);
        let mut next = 0;
        let mut snapshot = |bench: &mut Bench, place: &Storage| {
            for _ in 0..10 {
                let key = format!("{next}");
                bench.timers.register(next % 7 + next / 10, key.key_hash(), &key);
                next += 1;
            }
            let popped = bench.pop(i64::MAX).is_some();
            let mut snapshot = bench.core.snapshot(place).unwrap();
            bench.timers.maintain();
            bench.do_all_work();
            snapshot.poll_outcome().expect("all work is done").map(|_| popped)
        };
        snapshot(&mut bench, &Storage::memory()).unwrap();
        disk.fail_at(disk.operations() + point, Fault::Error);
        let has_failed = snapshot(&mut bench, &Storage::memory()).is_err();
        assert!(bench.core.take_fault().is_none());
        let place = Storage::memory();
        if snapshot(&mut bench, &place).is_ok() {
            let (all, storage) = (KeyGroupRange::all(max()), Storage::memory());
            let restored =
                CoreState::restore(BackendKind::Lsm, &storage, &[place], all, options(), 2).unwrap();
            let mut restored = Bench::new(restored);
            let all = |bench: &mut Bench| std::iter::from_fn(|| bench.pop(i64::MAX)).collect::<BTreeSet<_>>();
            let there = all(&mut bench);
            assert_eq!(there.len(), 27);
            assert_eq!(all(&mut restored), there, "operation {point}");
            recovered += u32::from(has_failed);
        }
        if !has_failed {
            break;
        }
    }
    assert!(recovered > 3, "{recovered}");
}
