//! The `thalweg` command as a user meets it: what is wrong with the input is said on stderr, and ends with an exit code.

mod command;

use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use command::{fails, thalweg};
use tempfile::TempDir;
use thalweg_tools::nexmark::write_shards;
use thalweg_tools::report::QueryResult;

/// A folder with sets of one and of two shards, of 1000 events each.
fn data() -> TempDir {
    let dir = TempDir::new().expect("a folder for the test");
    for shards in [1, 2] {
        write_shards(dir.path(), 1_000, shards, false, &mut |_| ()).expect("it has room");
    }
    dir
}

/// Goal: damaged data sets are refused, with the file, the byte and the reason.
#[test]
fn damaged_data() {
    const RUN: &str = "bench nexmark --query q0 --parallelism 1 --data {dir}";
    let file = |dir: &TempDir| dir.path().join("nexmark-0-of-1.bin");
    let meta = |dir: &TempDir| dir.path().join("nexmark-of-1.meta");

    let dir = data();
    assert!(thalweg(dir.path(), RUN).succeeded, "it was whole before");

    let bytes = fs::read(file(&dir)).expect("a shard");
    // The last record begins where the lengths before it say.
    let mut last = 0;
    let mut at = 0;
    while at < bytes.len() {
        last = at;
        let length = bytes[at..].first_chunk::<4>().expect("a length");
        at += 4 + u32::from_le_bytes(*length) as usize;
    }
    fs::write(file(&dir), &bytes[..bytes.len() - 3]).expect("it has room");
    let byte = format!("nexmark-0-of-1.bin is damaged in the record at byte {last}: the record needs ");
    fails(dir.path(), RUN, &[&byte]);

    fs::write(file(&dir), &bytes[..last]).expect("it has room");
    let end = format!("nexmark-0-of-1.bin holds 999 records up to its end at byte {last}");
    fails(dir.path(), RUN, &[&end, "1000"]);

    let mut kind = bytes.clone();
    kind[4] = 77;
    fs::write(file(&dir), &kind).expect("it has room");
    fails(dir.path(), RUN, &["nexmark-0-of-1.bin", "at byte 0: ", "kind 77"]);

    fs::remove_file(file(&dir)).expect("it is there");
    fails(dir.path(), RUN, &["cannot read {dir}/nexmark-0-of-1.bin: No such file"]);
    // What cannot be read whoever runs the test, root too.
    fs::create_dir(file(&dir)).expect("the name is free");
    fails(dir.path(), RUN, &["cannot read {dir}/nexmark-0-of-1.bin: Is a directory"]);

    fs::write(meta(&dir), "events=many\n").expect("it has room");
    fails(dir.path(), RUN, &["nexmark-of-1.meta: events should be a number, but is \"many\""]);
    fs::write(meta(&dir), [0xff, 0xfe]).expect("it has room");
    fails(dir.path(), RUN, &["cannot read {dir}/nexmark-of-1.meta: "]);
}

/// Goal: sets that are not there are named, and those that are.
#[test]
fn missing_data() {
    let dir = data();
    fails(
        dir.path(),
        "bench nexmark --query q0 --parallelism 3 --data {dir}",
        &["no data set of 3 shards in {dir}", "there are sets of 1, 2 shards"],
    );
    fails(
        dir.path(),
        "bench nexmark --query q0 --parallelism 1 --data {dir}/none",
        &["no data set of 1 shards in {dir}/none"],
    );
    fails(
        dir.path(),
        "bench nexmark --query q0 --parallelism 1 --data {dir}/nexmark-0-of-1.bin",
        &["{dir}/nexmark-0-of-1.bin/nexmark-of-1.meta: Not a directory"],
    );
}

/// Goal: arguments that make no sense are refused before anything runs.
#[test]
fn wrong_arguments() {
    let dir = data();
    let wrong = [
        ("--query q99", "unknown query \"q99\"; there are q0, q1"),
        ("--query q0,,q1", "unknown query \"\""),
        ("--query q0 --parallelism 0", "--parallelism must be at least 1"),
        ("--query q0 --parallelism 70000", "--parallelism must be at most 32768"),
        ("--query q0 --parallelism two", "'two'"),
        ("--query q0 --passes 0", "--passes must be at least 1"),
        ("--query q0 --events 1000 --passes 18446744073709551615", "--passes 18446744073709551615 of 1000"),
        ("--query q0 --events 0", "--events must be at least 1"),
        ("--query q0 --events 10 --data {dir}", "give one of them"),
        ("--query q0 --backend rocks", "rocks"),
        ("--query q0 --events 100 --plot {dir}/no/such/plot.svg", "{dir}/no/such/plot.svg: No such file"),
        ("--query q0 --events 100 --plot {dir}", "{dir}: Is a directory"),
        ("--events 10 --write {dir}/nexmark-0-of-1.bin", "{dir}/nexmark-0-of-1.bin: "),
        ("--events 10 --write {dir}/new --shards 0", "--shards must be at least 1"),
        ("--write {dir}/new", "--events"),
    ];
    for (arguments, reason) in wrong {
        fails(dir.path(), &format!("bench nexmark {arguments}"), &[reason]);
    }
    fails(dir.path(), "bench", &["nexmark"]);
    fails(dir.path(), "no-such-command", &["no-such-command"]);
    assert!(!dir.path().join("new").exists(), "nothing was written");
}

/// Goal: a plot goes where it should; one that failed leaves no empty file behind.
#[test]
fn plots() {
    let dir = data();
    let run = "bench nexmark --query q0 --parallelism 1 --plot {dir}/plot.svg --data {dir}";
    fs::remove_file(dir.path().join("nexmark-0-of-1.bin")).expect("it is there");
    fails(dir.path(), run, &["nexmark-0-of-1.bin"]);
    assert!(!dir.path().join("plot.svg").exists());
    let ran = thalweg(dir.path(), "bench nexmark --query q0 --events 100 --plot {dir}/plot.svg");
    assert!(ran.succeeded, "{}", ran.stderr);
    assert!(fs::read_to_string(dir.path().join("plot.svg")).expect("a plot").starts_with("<svg"));
}

/// Goal: more subtasks than cores work, and a warning on stderr says what that means.
#[test]
fn more_subtasks_than_cores() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let parallelism = cores + 3;
    let dir = TempDir::new().expect("a folder for the test");
    let run = format!("bench nexmark --query wc --events 5000 --json --parallelism {parallelism}");
    let ran = thalweg(dir.path(), &run);
    assert!(ran.succeeded, "{}", ran.stderr);
    assert!(ran.stderr.contains("WARN") && ran.stderr.contains("more cores asked for"), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}'), "no colours: {:?}", ran.stderr);
    let result: QueryResult = serde_json::from_str(ran.stdout.trim()).expect("one line of JSON");
    assert_eq!((result.parallelism, result.events), (parallelism, 5_000));
    let ran = thalweg(dir.path(), "bench nexmark --query wc --events 5000 --json --parallelism 1");
    assert!(!ran.stderr.contains("WARN"), "{}", ran.stderr);
}

/// Goal: a reader that has seen enough ends the command, and nobody panics.
#[test]
fn a_closed_pipe_ends_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args([
        "bench",
        "nexmark",
        "--query",
        "q2,q3",
        "--events",
        "1000",
        "--parallelism",
        "1",
        "--json",
    ]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(141), "{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{stderr}");
}

/// The stores of `bench state`, and how many they are.
const STATE_STORES: (&str, usize) = if cfg!(feature = "peers") {
    ("heap,lsm,hashbrown,rocksdb,rocksdb-merge,fjall", 6)
} else {
    ("heap,lsm,hashbrown", 3)
};

/// Goal: each load runs on each store, and says what its JSON is to say. Method: tiny runs.
#[test]
fn loads_of_state_stores() {
    let dir = TempDir::new().expect("a folder for the test");
    let (stores, count) = STATE_STORES;
    let run = format!(
        "bench state --load all --keys 20k --seconds 20ms --backend {stores} --state-dir {{dir}} --json"
    );
    let ran = thalweg(dir.path(), &run);
    assert!(ran.succeeded, "{}", ran.stderr);
    let outcomes: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(outcomes.len(), count * (2 + 2 + 3 + 3 + 2 + 3 + 2), "a line for each phase: {}", ran.stdout);
    for outcome in &outcomes {
        let operations = outcome["operations"].as_u64().expect("a number");
        assert!(operations >= 200 && outcome["ops_per_s"].as_f64().expect("a number") > 0.0, "{outcome}");
        let is_clocked = outcome["load"] == "latency" && outcome["phase"] == "update";
        assert_eq!(outcome["caller_cpu_ns_per_op"].is_null(), is_clocked, "{outcome}");
        assert!(!is_clocked || outcome["operation"]["samples"] == outcome["operations"], "{outcome}");
        assert_eq!(outcome["stall_ms"].is_number(), outcome["phase"] == "snapshot", "{outcome}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0, "folders of stores are removed");

    let run = "bench state --load miss,append --keys 1k --seconds 5ms --plot {dir}/plot.svg";
    let ran = thalweg(dir.path(), run);
    assert!(ran.succeeded, "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 1 + 2 * (3 + 3), "{}", ran.stdout);
    let plot = fs::read_to_string(dir.path().join("plot.svg")).expect("a plot");
    assert!(plot.contains("miss absent") && plot.contains("lsm"), "{plot}");
}

/// Goal: what makes no sense to `bench state` is refused before anything runs.
#[test]
fn wrong_arguments_of_state_stores() {
    let dir = TempDir::new().expect("a folder for the test");
    fs::write(dir.path().join("file"), "").expect("it has room");
    for (arguments, reason) in [
        ("--load rm", "rm"),
        ("--load rmw,,miss", "--load"),
        ("--keys 0", "0 is no number"),
        ("--keys 10Mio", "10Mio is no number"),
        ("--keys 99999999999999G", "is no number"),
        ("--keys 9999999999G", "keys at most"),
        ("--memory-budget 0%", "0% is no percentage"),
        ("--memory-budget x%", "x% is no percentage"),
        ("--batch 0", "--batch must be between 1 and"),
        ("--seconds 0", "--seconds"),
        ("--backend sled", "sled"),
        ("--dist normal", "normal"),
        ("--state-dir {dir}/file", "{dir}/file"),
    ] {
        fails(dir.path(), &format!("bench state {arguments}"), &[reason]);
    }
}
