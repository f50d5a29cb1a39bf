//! `thalweg state` on stores that the library has made: what it says of healthy ones, and that it finds all damage.

mod command;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use command::{Ran, fails, thalweg};
use tempfile::TempDir;
use thalweg_state::lsm::key::{KeyBuf, StateId};
use thalweg_state::lsm::sst::{Section, Sst};
use thalweg_state::lsm::{Cursor, Entry, Fingerprint, KeyRange, Kind, Options, Result, StateSpec, Store};
use thalweg_state::storage::Storage;
use thalweg_state::{Key, KeyGroup, MaxParallelism, key_group};

/// Of the state `count/counts`, each with a value of 8 bytes.
const COUNTS: u64 = 2_000;
/// The user of whom everything is said.
const USER: u64 = 1_007;

type Change = (Vec<u8>, Kind, Vec<u8>);

struct Changes(std::vec::IntoIter<Change>, Option<Change>);

impl Cursor for Changes {
    fn entry(&self) -> Option<Entry<'_>> {
        self.1.as_ref().map(|(key, kind, value)| Entry { key, kind: *kind, value })
    }

    fn advance(&mut self) -> Result<()> {
        self.1 = self.0.next();
        Ok(())
    }
}

fn group_of(key: &impl Key) -> KeyGroup {
    key_group(key.key_hash(), MaxParallelism::default())
}

fn encoded(state: StateId, key: &impl Key) -> Vec<u8> {
    KeyBuf::default().begin(group_of(key), state).push(key).as_bytes().to_vec()
}

/// A flush: what it makes is a run.
fn flush(store: &mut Store, mut changes: Vec<Change>, ranges: Vec<KeyRange>) {
    changes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut changes = changes.into_iter();
    let first = changes.next();
    let mut job = store.flush(Box::new(Changes(changes, first)), ranges);
    job.run().expect("there is room");
    store.on_job_done(job);
}

/// Opens the store in `dir`/store, with its states: counts by number, names by string, and lists.
fn open(dir: &Path) -> (Store, [StateId; 3]) {
    let storage = Storage::directory(dir.join("store")).expect("a folder for the store");
    let options = Options { block_bytes: 4096, file_bytes: 24 << 10, ..Options::nvme() };
    let (mut store, _) = Store::open(&storage, options, 0xfeed).expect("a store");
    let mut register = |name: &str, schema| store.register(StateSpec::new(name, Fingerprint(schema)));
    let states = [("count/counts", 1), ("join/names", 2), ("join/lists", 3)];
    let states = states.map(|(name, schema)| register(name, schema).expect("it is the only one"));
    (store, states)
}

/// A store of three runs and its snapshot in `dir`/snapshot. The newest run deletes a name, hides another's older value
/// with a range tombstone, and adds to a list.
fn make(dir: &Path) -> Store {
    let (mut store, [counts, names, lists]) = open(dir);
    let put = |key: Vec<u8>, value: &[u8]| (key, Kind::Put, value.to_vec());
    let mut first: Vec<Change> =
        (0..COUNTS).map(|user| put(encoded(counts, &user), &user.to_le_bytes())).collect();
    for name in ["alice", "bob", "carol"] {
        first.push(put(encoded(names, &name.to_owned()), name.as_bytes()));
    }
    first.push(put(encoded(lists, &7_u64), b"a"));
    flush(&mut store, first, vec![]);
    let more = (encoded(lists, &7_u64), Kind::Merge, b"b".to_vec());
    flush(&mut store, vec![put(encoded(counts, &USER), &[0x2a; 8]), more], vec![]);
    let bob = encoded(names, &"bob".to_owned());
    let gone = (encoded(names, &"alice".to_owned()), Kind::Delete, vec![]);
    let more = (encoded(lists, &7_u64), Kind::Merge, b"c".to_vec());
    flush(&mut store, vec![gone, more], vec![KeyRange::of_keys(&bob, &bob)]);
    store
        .snapshot()
        .write(&Storage::directory(dir.join("snapshot")).expect("a folder"))
        .expect("there is room");
    store
}

fn stores() -> TempDir {
    let dir = TempDir::new().expect("a folder for the test");
    drop(make(dir.path()));
    dir
}

/// The command succeeds.
#[track_caller]
fn says(dir: &Path, arguments: &str) -> String {
    let Ran { succeeded, stdout, stderr } = thalweg(dir, arguments);
    assert!(succeeded, "thalweg {arguments}: {stderr}");
    stdout
}

/// All that is in a folder and below: names, bytes, and when they were written.
fn contents(dir: &Path) -> BTreeMap<String, (std::time::SystemTime, Vec<u8>)> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut found = BTreeMap::new();
    for entry in entries {
        let (name, path) = (entry.file_name().into_string().expect("text"), entry.path());
        if path.is_dir() {
            found.extend(contents(&path).into_iter().map(|(below, file)| (format!("{name}/{below}"), file)));
        } else {
            let time = entry.metadata().and_then(|metadata| metadata.modified()).expect("a time");
            found.insert(name, (time, fs::read(path).expect("a file")));
        }
    }
    found
}

/// Goal: all commands work while the owner has the store open, and change nothing.
#[test]
fn a_store_in_use_is_read_and_not_touched() {
    let dir = TempDir::new().expect("a folder for the test");
    let store = make(dir.path());
    let before = contents(dir.path());
    let inspected = says(dir.path(), "state inspect {dir}/store --json");
    let summary: serde_json::Value = serde_json::from_str(&inspected).expect("one object of JSON");
    assert_eq!(summary["in_use_by"], std::process::id());
    says(dir.path(), "state ls {dir}/store");
    says(dir.path(), "state ls {dir}/store --files");
    says(dir.path(), &format!("state get {{dir}}/store --state count/counts --key-u64 {USER}"));
    says(dir.path(), "state verify {dir}/store");
    assert!(before == contents(dir.path()), "something was written");
    drop(store);
}

/// Goal: commands succeed while the owner writes, compacts and removes files all the time.
#[test]
fn a_store_that_changes_is_read_as_of_one_time() {
    let dir = TempDir::new().expect("a folder for the test");
    let (mut store, [counts, ..]) = open(dir.path());
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for command in ["verify", "inspect", "ls --limit 0", "ls --files", "verify"] {
                let (command, arguments) = command.split_once(' ').unwrap_or((command, ""));
                says(dir.path(), format!("state {command} {{dir}}/store {arguments}").trim_end());
            }
        });
        let mut round = 0_u64;
        while !reader.is_finished() {
            let put = |user| (encoded(counts, &user), Kind::Put, round.to_le_bytes().to_vec());
            flush(&mut store, (0..COUNTS).map(put).collect(), vec![]);
            while let Some(mut job) = store.poll_job() {
                job.run().expect("there is room");
                store.on_job_done(job);
            }
            round += 1;
        }
    });
}

/// Goal: a snapshot says of itself what the store does, but for its place.
#[test]
fn inspect_counts_what_was_written() {
    let dir = stores();
    let json = |of: &str| -> serde_json::Value {
        let text = says(dir.path(), &format!("state inspect {{dir}}/{of} --json"));
        serde_json::from_str(&text).expect("one object of JSON")
    };
    let (store, mut snapshot) = (json("store"), json("snapshot"));
    assert_eq!(store["store"], "000000000000feed");
    assert_eq!(store["in_use_by"], serde_json::Value::Null);
    assert_eq!(store["total"]["entries"], COUNTS + 3 + 1 + 2 + 2);
    assert_eq!((&store["total"]["deletes"], &store["total"]["operands"]), (&1.into(), &2.into()));
    assert_eq!(store["range_tombstones"], 1);
    let states = store["states"].as_array().expect("a list");
    let state = |name: &str| states.iter().find(|state| state["name"] == name).expect("it was registered");
    assert_eq!(state("count/counts")["counts"]["entries"], COUNTS + 1);
    assert_eq!(state("count/counts")["counts"]["value_bytes"], (COUNTS + 1) * 8);
    assert_eq!(state("count/counts")["counts"]["key_bytes"], (COUNTS + 1) * (4 + 8));
    assert_eq!(state("join/names")["counts"]["deletes"], 1);
    assert_eq!(state("join/lists")["counts"]["operands"], 2);
    assert_eq!(state("join/lists")["schemas"][0], "0000000000000003");
    let runs: Vec<u64> =
        store["runs"].as_array().expect("a list").iter().filter_map(|r| r["run"].as_u64()).collect();
    assert_eq!(runs, [2, 1, 0], "newest first");
    let sizes = contents(&dir.path().join("store"));
    let bytes: u64 =
        sizes.iter().filter(|(name, _)| name.ends_with(".sst")).map(|(_, file)| file.1.len() as u64).sum();
    assert_eq!(store["total"]["bytes"], bytes);

    snapshot["path"] = store["path"].clone();
    assert_eq!(snapshot["total"], store["total"]);
    assert_eq!(snapshot["states"], store["states"]);

    let text = says(dir.path(), "state inspect {dir}/store");
    for part in
        ["000000000000feed", "count/counts", "0000000000000001", "2 001", "key groups", "open in", "nobody"]
    {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let quick = says(dir.path(), "state inspect --quick --json {dir}/store");
    let quick: serde_json::Value = serde_json::from_str(&quick).expect("one object of JSON");
    assert_eq!(quick["total"], store["total"]);
    assert_eq!(quick["states"][0]["counts"], serde_json::Value::Null);
}

/// Goal: entries come in the order of their keys, the newest first; what is hidden, only when it is asked for.
#[test]
fn ls_lists_entries_and_files() {
    let dir = stores();
    let listed = |arguments: &str| -> Vec<String> {
        let text = says(dir.path(), &format!("state ls {{dir}}/store {arguments}"));
        text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let all = listed("--limit 0");
    // Neither the value that was updated, nor alice's and bob's; alice's delete is an entry.
    assert_eq!(all.len() as u64, COUNTS + 2 + 3);
    let groups: Vec<u16> =
        all.iter().map(|line| line.split(' ').next().expect("a word").parse().expect("a group")).collect();
    assert!(groups.is_sorted());
    assert_eq!(listed("--limit 0 --all").len() as u64, COUNTS + 3 + 1 + 2 + 2);
    let note = thalweg(dir.path(), "state ls {dir}/store --limit 5");
    assert_eq!(note.stdout.lines().count(), 6);
    assert!(note.stderr.contains("more entries than --limit 5"), "{}", note.stderr);

    let names = listed("--state join/names --all");
    let newest = newest_file(dir.path());
    // Group, state, kind, bytes, file; then the key, in digits and as text, and the value.
    let mut expected = [
        ("alice", 0, "delete 0", "616c6963650000 \"alice..\""),
        ("alice", 1, "put, hidden 5", "616c6963650000 \"alice..\" 616c696365"),
        ("bob", 0, "put, hidden 3", "626f620000 \"bob..\" 626f62"),
        ("carol", 0, "put 5", "6361726f6c0000 \"carol..\" 6361726f6c"),
    ]
    .map(|(name, age, kind, rest)| (group_of(&name.to_owned()).0, age, kind, rest));
    expected.sort_unstable();
    assert_eq!(names.len(), expected.len(), "{names:?}");
    for (line, (group, _, kind, rest)) in names.iter().zip(expected) {
        assert!(line.starts_with(&format!("{group} join/names {kind} ")) && line.ends_with(rest), "{line}");
        assert_eq!(line.contains(&newest), kind.starts_with("delete"), "{line}");
    }

    let group = group_of(&"carol".to_owned()).0;
    let in_group = listed(&format!("--key-group {group} --limit 0"));
    assert!(in_group.iter().all(|line| line.starts_with(&format!("{group} "))), "{in_group:?}");
    assert!(in_group.iter().any(|line| line.contains("\"carol..\"")), "{in_group:?}");
    assert_eq!(listed(&format!("--key-group {group} --state join/names")).len(), 1);

    let files = listed("--files");
    assert_eq!(files.len(), fs::read_dir(dir.path().join("store")).expect("a folder").count() - 2);
    assert!(files.len() > 3 && files[0].starts_with(&format!("{newest}.sst 0 2 ")), "{files:?}");
    assert!(files[0].contains(" none 12 flush "), "{files:?}");
    assert!(listed(&format!("--files --key-group {group}")).len() < files.len());
}

/// The number of the only file of the newest run.
fn newest_file(dir: &Path) -> String {
    let files = says(dir, "state ls {dir}/store --files");
    files.lines().nth(1).expect("a file").split('.').next().expect("a name").to_owned()
}

/// Goal: the newest file that says something of a key is named, with the block, and what it says.
#[test]
fn get_says_what_counts_and_where_it_is() {
    let dir = stores();
    let get = |arguments: &str| says(dir.path(), &format!("state get {{dir}}/store --state {arguments}"));
    let newest = newest_file(dir.path());

    let updated = get(&format!("count/counts --key-u64 {USER}"));
    let group = group_of(&USER).0;
    assert!(
        updated.contains(&format!("key 00000000000003ef \"........\" in key group {group}:\n")),
        "{updated}"
    );
    assert!(updated.contains(" in level 0 run 1, block 0: put, 8 bytes: 2a2a2a2a2a2a2a2a\n"), "{updated}");
    assert!(updated.ends_with("\nvalue: 2a2a2a2a2a2a2a2a\n") && updated.lines().count() == 3, "{updated}");
    assert_eq!(get("count/counts --key 00000000000003ef"), updated);
    assert_eq!(get("count/counts --namespace 00000000 --key 000003EF"), updated);
    assert_eq!(get(&format!("count/counts --key-u64 {USER} --key-group {group}")), updated);

    // All users are found, in whatever block.
    for user in (0..COUNTS).step_by(97) {
        let said = get(&format!("count/counts --key-u64 {user}"));
        let value: String = user.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(said.ends_with(&format!("\nvalue: {value}\n")), "{said}");
    }

    let list = get("join/lists --key-u64 7");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[1].starts_with(&format!("  {newest}.sst in level 0 run 2, block 0: operands, 1 bytes: 63")),
        "{list}"
    );
    assert!(lines[2].ends_with("operands, 1 bytes: 62") && lines[3].ends_with("put, 1 bytes: 61"), "{list}");
    assert!(lines[4].contains("2 × operands"), "{list}");

    let carol = get("join/names --key-str carol");
    assert!(carol.ends_with("value: 6361726f6c\n"), "{carol}");
    let deleted = thalweg(dir.path(), "state get {dir}/store --state join/names --key-str alice");
    assert!(!deleted.succeeded && deleted.stderr.contains("has no value of key 616c6963650000 \"alice..\""));
    assert!(deleted.stdout.contains("block 0: delete\nvalue: none\n"), "{}", deleted.stdout);
    for name in ["bob", "nobody"] {
        fails(
            dir.path(),
            &format!("state get {{dir}}/store --state join/names --key-str {name}"),
            &["has no value"],
        );
    }
    fails(
        dir.path(),
        "state get {dir}/store --state counts --key-u64 7",
        &["no state \"counts\"", "there are \"count/counts\", \"join/lists\", \"join/names\""],
    );
    fails(dir.path(), "state get {dir}/store --state count/counts", &["--key"]);
    fails(
        dir.path(),
        "state get {dir}/store --state count/counts --key 123",
        &["3 digits are no whole bytes"],
    );
    fails(dir.path(), "state get {dir}/store --state count/counts --key 0g", &["digits 0-9 and a-f"]);
}

/// Verifies a store to which `harm` was done: the lines on stdout, without the folder.
#[track_caller]
fn damages<T>(harm: impl FnOnce(&Path) -> T) -> Vec<String> {
    let dir = stores();
    let store = dir.path().join("store");
    harm(&store);
    let ran = thalweg(dir.path(), "state verify {dir}/store");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_eq!(ran.succeeded, ran.stdout.is_empty(), "{} {}", ran.stdout, ran.stderr);
    assert_eq!(ran.succeeded, !ran.stderr.contains("error: "), "{}", ran.stderr);
    let folder = format!("{}/", store.display());
    ran.stdout.lines().map(|line| line.replace(&folder, "")).collect()
}

/// Turns a bit of a byte of a file over.
fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[at] ^= 0x10;
    fs::write(file, bytes).expect("there is room");
}

/// Goal: a byte in each part of a file, and of the manifest, is found and named.
#[test]
fn verify_names_damaged_bytes() {
    assert_eq!(damages(|_| ()), [""; 0]);
    let dir = stores();
    let file = dir.path().join("store/000000.sst");
    let sst = Sst::open(fs::read(file).expect("a file")).expect("an SST");
    let block = sst.block_range(1).expect("a second block");
    let line = format!("000000.sst: block 1 is damaged at byte {}: the checksum is ", block.start);
    for at in [block.start, block.start + 9, block.end - 1] {
        let found = damages(|store| flip(&store.join("000000.sst"), at));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&line), "{found:?}");
        assert!(found[0].ends_with(&format!(" (byte {at})")), "{found:?}");
    }
    for section in [Section::Index, Section::Filter, Section::Table, Section::Metadata, Section::Footer] {
        let range = sst.section_range(section);
        let at = range.start + 5;
        let found = damages(|store| flip(&store.join("000000.sst"), at));
        assert_eq!(found.len(), 1, "{found:?}");
        let line = format!("000000.sst: the {section} is damaged at byte {}", range.start);
        assert!(found[0].starts_with(&line), "{found:?}");
        assert!(found[0].ends_with(&format!(" (byte {at})")), "{found:?}");
    }
    let found = damages(|store| flip(&store.join("MANIFEST"), 60));
    assert!(found[0].starts_with("MANIFEST: the record at byte 19 is none"), "{found:?}");
    // Where it is more than a byte: what is under one checksum.
    let found = damages(|store| {
        [block.start + 20, block.end - 4].map(|at| flip(&store.join("000000.sst"), at)).len()
    });
    assert!(found[0].ends_with(&format!(" (bytes {} to {})", block.start, block.end - 1)), "{found:?}");
    // All of several damages, in several files.
    let found = damages(|store| {
        flip(&store.join("000000.sst"), block.start);
        flip(&store.join("000000.sst"), block.end);
        flip(&store.join("000001.sst"), 100);
    });
    let names = ["000000.sst: block 1 ", "000000.sst: block 2 ", "000001.sst: block 0 "];
    assert!(
        found.len() == 3 && found.iter().zip(names).all(|(line, name)| line.starts_with(name)),
        "{found:?}"
    );
}

/// Goal: files that are not those the manifest means are told from it.
#[test]
fn verify_compares_files_with_the_manifest() {
    const FILE: &str = "000000.sst";
    let found = damages(|store| fs::remove_file(store.join(FILE)).expect("it is there"));
    assert_eq!(found, ["000000.sst: it is missing, and MANIFEST names it"]);

    let found = damages(|store| {
        let bytes = fs::read(store.join(FILE)).expect("a file");
        fs::write(store.join(FILE), &bytes[..bytes.len() - 4096]).expect("there is room");
    });
    assert!(
        found[0].starts_with("000000.sst: it has ") && found[0].ends_with(" as MANIFEST says"),
        "{found:?}"
    );

    let found = damages(|store| {
        let (one, two) = (store.join(FILE), store.join("000001.sst"));
        let bytes = fs::read(&one).expect("a file");
        fs::copy(&two, &one).expect("there is room");
        fs::write(&two, bytes).expect("there is room");
    });
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("000000.sst: it ") && found[1].starts_with("000001.sst: it "), "{found:?}");

    let found = damages(|store| {
        let bytes = fs::metadata(store.join(FILE)).expect("a file").len();
        fs::write(store.join(FILE), "not an SST ".repeat(10_000)).expect("there is room");
        let file = fs::File::options().write(true).open(store.join(FILE)).expect("a file");
        file.set_len(bytes).expect("there is room");
    });
    assert!(found.len() == 1 && found[0].starts_with("000000.sst: this is not an SST"), "{found:?}");

    let found = damages(|store| {
        let mut bytes = fs::read(store.join(FILE)).expect("a file");
        let at = bytes.len() - 16; // The format version.
        bytes[at] = 2;
        fs::write(store.join(FILE), bytes).expect("there is room");
    });
    assert!(found.len() == 1 && found[0].starts_with("000000.sst: format version 2 is not 1"), "{found:?}");

    // What the manifest does not name is not damage.
    let dir = stores();
    fs::write(dir.path().join("store/999999.sst"), "garbage").expect("there is room");
    fs::write(dir.path().join("store/notes.txt"), "foreign").expect("there is room");
    let ran = thalweg(dir.path(), "state verify {dir}/store");
    assert!(ran.succeeded && ran.stdout.is_empty(), "{}", ran.stdout);
    for name in ["999999.sst", "notes.txt"] {
        assert!(ran.stderr.contains(&format!("{name} is not named by MANIFEST")), "{}", ran.stderr);
    }
}

/// Goal: what is damaged is said by the other commands too, and what can be read is shown.
#[test]
fn damaged_files_are_left_out_and_said() {
    let dir = stores();
    let store = dir.path().join("store");
    flip(&store.join("000000.sst"), 4096);
    let fails_with = |arguments: &str, reasons: &[&str]| {
        let ran = thalweg(dir.path(), arguments);
        assert!(!ran.succeeded && !ran.stdout.is_empty(), "thalweg {arguments}: {}", ran.stdout);
        for reason in reasons {
            assert!(ran.stderr.contains(reason), "thalweg {arguments}: no {reason:?} in {}", ran.stderr);
        }
        ran.stdout
    };
    let text = fails_with(
        "state inspect {dir}/store",
        &["000000.sst is damaged: block 1 ", "1 blocks could not be read"],
    );
    assert!(text.contains("count/counts"), "{text}");
    fails_with("state ls {dir}/store --limit 0", &["000000.sst is damaged: block 1 "]);
    let user = (0..COUNTS).find(|user| {
        !thalweg(dir.path(), &format!("state get {{dir}}/store --state count/counts --key-u64 {user}"))
            .succeeded
    });
    assert!(user.is_some(), "some user was in the block");

    fs::remove_file(store.join("000001.sst")).expect("it is there");
    let text =
        fails_with("state ls {dir}/store --files", &["000001.sst does not exist", "1 of ", "state verify"]);
    assert!(text.contains("000001.sst") && text.contains('?'), "{text}");
    let json = fails_with("state inspect {dir}/store --json", &["000001.sst does not exist"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("one object of JSON");
    assert_eq!(json["unreadable_files"], 1);
}

/// Goal: what is no store is refused with a word on what to do, and nothing is made of it.
#[test]
fn what_is_no_store_is_refused() {
    let dir = stores();
    fs::create_dir(dir.path().join("empty")).expect("the name is free");
    fs::write(dir.path().join("file"), "text").expect("there is room");
    let lost = dir.path().join("lost");
    fs::create_dir(&lost).expect("the name is free");
    fs::write(lost.join("000001.sst"), "text").expect("there is room");
    for (name, manifest) in
        [("newer", "thalweg manifest 2\n"), ("foreign", "something else\n"), ("cut", "thalweg manifest 1\n")]
    {
        fs::create_dir(dir.path().join(name)).expect("the name is free");
        fs::write(dir.path().join(name).join("MANIFEST"), manifest).expect("there is room");
    }
    let before = contents(dir.path());
    let commands = [
        "inspect {dir}/PLACE",
        "ls {dir}/PLACE",
        "get {dir}/PLACE --state a --key-u64 1",
        "verify {dir}/PLACE",
    ];
    let check = |place: &str, commands: &[&str], reasons: &[&str]| {
        for command in commands {
            fails(dir.path(), &format!("state {}", command.replace("PLACE", place)), reasons);
        }
    };
    check("none", &commands, &["cannot open {dir}/none: No such file"]);
    check("file", &commands, &["{dir}/file is no directory", "MANIFEST"]);
    check("empty", &commands, &["{dir}/empty is no store and no snapshot: it has no MANIFEST"]);
    check(".", &commands, &["is no store, but these are: ", "/snapshot", "/store"]);
    check("lost", &commands, &["MANIFEST is lost", "1 SSTs", "restore it"]);
    let (verify, others) = commands.split_last().expect("there are some");
    check(
        "newer",
        others,
        &["use the release that wrote it", "MANIFEST has format 2, this release reads format 1"],
    );
    check("foreign", others, &["MANIFEST is no manifest"]);
    check("cut", others, &["MANIFEST is damaged: the record at byte 19 is none"]);
    for (place, line) in [
        ("newer", "it has format 2"),
        ("foreign", "it is no manifest"),
        ("cut", "the record at byte 19 is none"),
    ] {
        let ran = thalweg(dir.path(), &format!("state {}", verify.replace("PLACE", place)));
        assert!(!ran.succeeded && ran.stdout.contains(line), "{} {}", ran.stdout, ran.stderr);
    }
    assert!(before == contents(dir.path()), "something was written");
}

/// Goal: a store that was made and never used is an empty one.
#[test]
fn an_empty_store_is_a_store() {
    let dir = TempDir::new().expect("a folder for the test");
    drop(open(dir.path()));
    says(dir.path(), "state verify {dir}/store");
    assert!(says(dir.path(), "state inspect {dir}/store").contains("000000000000feed"));
    assert_eq!(says(dir.path(), "state ls {dir}/store").lines().count(), 1);
    assert_eq!(says(dir.path(), "state ls {dir}/store --files").lines().count(), 1);
    fails(dir.path(), "state get {dir}/store --state a --key-u64 1", &["{dir}/store has no states yet"]);
}

/// Goal: each command says what it is for, with examples.
#[test]
fn help_has_examples() {
    let dir = TempDir::new().expect("a folder for the test");
    for command in ["inspect", "ls", "get", "verify"] {
        let help = says(dir.path(), &format!("state {command} --help"));
        assert!(
            help.contains("Examples:") && help.contains(&format!("  thalweg state {command} ")),
            "{help}"
        );
    }
}
