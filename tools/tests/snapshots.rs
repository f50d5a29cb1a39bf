//! `thalweg state` on snapshots of cores, taken on the heap and in files: they hold the same, and their damage is found.

mod command;

use std::fs;
use std::path::Path;
use std::time::Duration;

use command::{fails, thalweg};
use tempfile::TempDir;
use thalweg_state::lsm::Options;
use thalweg_state::storage::Storage;
use thalweg_state::{
    BackendKind, CoreState, KeyContext, KeyGroupRange, ListState, MaxParallelism, StateSet, ValueState,
    WorkProgress,
};

const USERS: u64 = 500;

/// Counts of users and lists of a few, snapshot, changed, and snapshot again into the same folder.
fn take_snapshots(kind: BackendKind, place: &Path) {
    let (core, _) = CoreState::open(kind, &Storage::memory(), Options::nvme(), 7).expect("memory has room");
    let max = MaxParallelism::default();
    let backend = core.backend("counter", KeyGroupRange::all(max), max);
    let mut counts = ValueState::<u64, u64>::new("counts", &backend).expect("it is the only one");
    let mut lists = ListState::<u64, u8>::new("lists", &backend).expect("it is the only one");
    let place = Storage::directory(place).expect("a folder");
    for round in 0..2 {
        for user in (0..USERS).step_by(1 + 9 * round) {
            counts.set(KeyContext::new(&user), user + round as u64);
        }
        lists.add_all(KeyContext::new(&7), [1, 2]);
        counts.clear(KeyContext::new(&11));
        let mut pending = core.snapshot(&place).expect("nothing is frozen");
        counts.each(&mut |state| state.maintain());
        lists.each(&mut |state| state.maintain());
        while let Some(mut work) = core.poll_work() {
            while work.step(Duration::ZERO) != WorkProgress::Finished {}
            core.on_work_done(work);
        }
        pending.poll_outcome().expect("all work is done").expect("there is room");
    }
}

/// The command succeeds.
#[track_caller]
fn says(dir: &Path, arguments: &str) -> String {
    let ran = thalweg(dir, arguments);
    assert!(ran.succeeded, "thalweg {arguments}: {}", ran.stderr);
    ran.stdout
}

/// Goal: all commands read snapshots of both backends, which have the same values under the same keys.
#[test]
fn snapshots_of_both_backends_hold_the_same() {
    let dir = TempDir::new().expect("a folder for the test");
    let mut listed = Vec::new();
    for (kind, name) in [(BackendKind::Heap, "heap"), (BackendKind::Lsm, "lsm")] {
        take_snapshots(kind, &dir.path().join(name));
        says(dir.path(), &format!("state verify {{dir}}/{name}"));
        let inspected = says(dir.path(), &format!("state inspect {{dir}}/{name}"));
        assert!(inspected.contains("counter/counts") && inspected.contains("counter/lists"), "{inspected}");
        let got = says(dir.path(), &format!("state get {{dir}}/{name} --state counter/counts --key-u64 20"));
        assert!(got.ends_with("\nvalue: 1500000000000000\n"), "{got}"); // 21, as the second round has set it.
        let ran =
            thalweg(dir.path(), &format!("state get {{dir}}/{name} --state counter/counts --key-u64 11"));
        assert!(!ran.succeeded && ran.stderr.contains("has no value"), "{}", ran.stderr);
        // Group, state, kind, bytes, file, key, value.
        let all = says(dir.path(), &format!("state ls {{dir}}/{name} --state counter/counts --limit 0"));
        let without_file = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            [&words[..4], &words[5..]].concat().join(" ")
        };
        let puts = all.lines().filter(|line| line.contains(" put ")).map(without_file);
        listed.push(puts.collect::<Vec<_>>());
    }
    assert_eq!(listed[0].len() as u64, USERS - 1);
    assert_eq!(listed[0], listed[1]);
}

/// Goal: a byte of a heap's snapshot that was turned over is found, and its file named.
#[test]
fn damage_is_found_and_named() {
    let dir = TempDir::new().expect("a folder for the test");
    take_snapshots(BackendKind::Heap, &dir.path().join("heap"));
    let files =
        fs::read_dir(dir.path().join("heap")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let sst = files.filter(|file| file.extension().is_some_and(|end| end == "sst")).min().expect("a file");
    let mut bytes = fs::read(&sst).expect("a file");
    bytes[100] ^= 1;
    fs::write(&sst, bytes).expect("there is room");
    let ran = thalweg(dir.path(), "state verify {dir}/heap");
    let name = sst.file_name().and_then(|name| name.to_str()).expect("text");
    assert!(!ran.succeeded && ran.stdout.contains(name), "{} {}", ran.stdout, ran.stderr);
    fails(dir.path(), "state verify {dir}/nothing", &["nothing"]);
}
