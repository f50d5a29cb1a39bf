//! Random histories of jobs that are frozen, brought to snapshots and restored from them.

use proptest::prelude::*;

use super::*;
use crate::{cases, range_of, subtask_of};

/// A job: cores that come and go, what they hold, and what they held when the last snapshot was begun.
struct Job {
    kind: BackendKind,
    cores: Vec<Core>,
    model: Model,
    snapshot: Option<Model>,
    identity: u64,
}

impl Job {
    fn start(kind: BackendKind, parallelism: u32) -> Self {
        let cores = (0..parallelism).map(|index| {
            let (core, _) =
                CoreState::open(kind, &Storage::memory(), options(), u64::from(index) + 1).unwrap();
            Core::new(core, range_of(index, max(), parallelism), Storage::memory()).unwrap()
        });
        let cores = cores.collect::<Vec<_>>();
        Self { kind, cores, model: Model::default(), snapshot: None, identity: 100 }
    }

    fn parallelism(&self) -> u32 {
        self.cores.len() as u32
    }

    fn apply(&mut self, change: Change) {
        apply(&change, &mut self.model);
        let subtask = subtask_of(group_of(key_of(&change)), max(), self.parallelism());
        self.cores[subtask as usize].apply(change);
    }

    fn snapshot(&mut self) {
        self.end_snapshot();
        self.cores.iter_mut().for_each(Core::snapshot);
        self.snapshot = Some(self.model.clone());
    }

    fn end_snapshot(&mut self) {
        for core in self.cores.iter_mut().filter(|core| core.pending.is_some()) {
            core.outcome().unwrap();
        }
    }

    fn restore(&mut self, kind: BackendKind, parallelism: u32) {
        self.end_snapshot();
        let Some(model) = self.snapshot.take() else { return };
        let places: Vec<_> = self.cores.drain(..).map(|core| core.place.clone()).collect();
        for index in 0..parallelism {
            self.identity += 1;
            let range = range_of(index, max(), parallelism);
            self.cores.push(Core::restore(kind, &places, range, self.identity).unwrap());
        }
        (self.model, self.kind) = (model, kind);
    }

    fn check(&mut self) {
        let mut found = Model::default();
        let parallelism = self.parallelism();
        for (index, core) in (0..).zip(&mut self.cores) {
            core.read(range_of(index, max(), parallelism), &mut found);
        }
        assert_eq!(found.tidy(), self.model.clone().tidy());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    Maintain,
    Freeze,
    Work(u64, usize),
    Snapshot,
    Restore(BackendKind, u32),
    Check,
}

fn any_kind() -> impl Strategy<Value = BackendKind> {
    prop_oneof![Just(BackendKind::Heap), Just(BackendKind::Lsm)]
}

fn any_change() -> impl Strategy<Value = Change> {
    let items = || prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        4 => (0..KEYS, any::<u64>()).prop_map(|(key, value)| Change::Set(key, value)),
        2 => (0..KEYS).prop_map(Change::Clear),
        4 => (0..KEYS, items()).prop_map(|(key, items)| Change::Append(key, items)),
        1 => (0..KEYS, items()).prop_map(|(key, items)| Change::Replace(key, items)),
        4 => (0..KEYS, 0..20_u64, any::<u16>()).prop_map(|(key, user, value)| Change::Put(key, user, value)),
        1 => (0..4_u32, any::<u16>()).prop_map(|(key, value)| Change::Fill(key, value)),
        2 => (0..KEYS, 0..20_u64).prop_map(|(key, user)| Change::Remove(key, user)),
        1 => (0..KEYS).prop_map(Change::ClearMap),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => any_change().prop_map(Step::Change),
        6 => Just(Step::Maintain),
        2 => Just(Step::Freeze),
        20 => (any::<u64>(), 1..9_usize).prop_map(|(seed, steps)| Step::Work(seed, steps)),
        4 => Just(Step::Snapshot),
        1 => (any_kind(), 1..5_u32).prop_map(|(kind, parallelism)| Step::Restore(kind, parallelism)),
        1 => Just(Step::Check),
    ]
}

proptest! {
    #![proptest_config(cases(300))]

    /// Whatever is frozen, written and compacted when: a job restored from its last snapshot, with another parallelism and on another
    /// backend, has what it had then.
    #[test]
    fn a_restored_job_goes_on_where_it_was(kind in any_kind(), parallelism in 1..4_u32,
                                           steps in prop::collection::vec(any_step(), 0..400)) {
        let mut job = Job::start(kind, parallelism);
        for step in steps {
            match step {
                Step::Change(change) => job.apply(change),
                Step::Maintain => job.cores.iter_mut().for_each(Core::maintain),
                Step::Freeze => job.cores.iter_mut().for_each(|core| _ = core.core.freeze()),
                Step::Work(seed, steps) => {
                    for step in 0..steps {
                        let random = hash_word(seed ^ step as u64);
                        let count = job.cores.len();
                        job.cores[random as usize % count].step(random >> 32);
                    }
                }
                Step::Snapshot => job.snapshot(),
                Step::Restore(kind, parallelism) => job.restore(kind, parallelism),
                Step::Check => job.check(),
            }
        }
        job.check();
    }
}
