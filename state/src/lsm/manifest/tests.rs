//! Manifests: what crashes and faults leave of them, and bytes that nobody should believe.

use super::*;
use crate::lsm::{FileMeta, Fingerprint, KeyRange};
use crate::testing::{Fault, FaultyDisk};
use proptest::prelude::*;
use std::cell::Cell;

const SEEDS: u64 = if cfg!(miri) { 3 } else { 16 };
/// Two edits with a text of this length make the manifest long enough to be written anew.
const LONG: usize = LOG_BYTES as usize;
/// How many edits a history has.
const EDITS: usize = 6;

/// The length of the file of the edit `index`.
fn file_bytes(index: usize) -> usize {
    600 * (index + 1)
}

/// Adds a file, and removes one that is two edits old.
fn edit_of(index: usize, number: FileNumber, version: &Version) -> VersionEdit {
    let begin = [index as u8];
    let file = FileMeta {
        number,
        level: (index % 3) as u8,
        run: if index.is_multiple_of(3) { number.0 } else { 0 },
        bytes: file_bytes(index) as u64,
        entries: 1,
        keys: KeyRange::of_keys(&begin, &begin),
        has_range_tombstones: index % 2 == 1,
        schemas: [(7, Fingerprint(u64::MAX))].into(),
    };
    let removed = version.files().map(|file| file.number).filter(|_| index > 2).take(1).collect();
    let text = if index % 2 == 1 { "x".repeat(LONG) } else { String::new() };
    let options = [("edit".to_owned(), index.to_string()), ("text".to_owned(), text)].into();
    VersionEdit { added: vec![file], removed, next_file: None, options }
}

fn add_file(storage: &Storage, name: &str, len: usize) -> Result<(), StorageError> {
    let mut writer = storage.create(name)?;
    writer.write(&vec![7; len])?;
    writer.publish().map(drop)
}

/// Makes edits from `first` on, each with its file; says of each when it is durable.
fn run(storage: &Storage, first: usize, count: usize, done: &Cell<usize>) -> Result<(), ManifestError> {
    let (mut manifest, recovery) = Manifest::open(storage)?;
    recovery.garbage.iter().try_for_each(|name| storage.remove(name))?;
    for index in first..first + count {
        let number = manifest.numbers().take();
        add_file(storage, &number.name(), file_bytes(index))?;
        let before = manifest.version().clone();
        manifest.append(&edit_of(index, number, &before))?;
        done.set(index + 1);
        for file in before.files().filter(|file| manifest.version().file(file.number).is_none()) {
            storage.remove(&file.number.name())?;
        }
    }
    Ok(())
}

/// How many edits of the history a version has seen; panics if it is none of that history.
#[track_caller]
fn edits_in(version: &Version, case: &str) -> usize {
    let count = version.options().get("edit").map_or(0, |last| last.parse::<usize>().unwrap() + 1);
    let mut files: Vec<u64> = Vec::new();
    for index in 0..count {
        if index > 2 {
            files.remove(0);
        }
        files.push(file_bytes(index) as u64);
    }
    let found: Vec<u64> = version.files().map(|file| file.bytes).collect();
    assert_eq!(found, files, "{case}: after {count} edits");
    let text = count.checked_sub(1).map_or(0, |last| last % 2 * LONG);
    assert_eq!(version.options().get("text").map_or(0, String::len), text, "{case}");
    count
}

/// Cuts the power at every operation of a history of edits with its files, and of going on after that.
#[test]
fn a_crash_leaves_the_version_before_or_after_an_edit() {
    let done = Cell::new(0);
    let (torn, before, after) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let attempt = |disk: &FaultyDisk| {
        done.set(0);
        let _ = Storage::on(disk.clone()).map_err(ManifestError::from).and_then(|s| run(&s, 0, EDITS, &done));
    };
    let points = FaultyDisk::crash_points(
        SEEDS,
        |_| {},
        attempt,
        |disk, case| {
            let storage = Storage::on(disk.clone()).unwrap();
            let seen = match Manifest::read(&storage) {
                Err(ManifestError::Storage(StorageError::Missing { .. })) if done.get() == 0 => 0,
                recovery => {
                    let recovery =
                        recovery.unwrap_or_else(|error| panic!("{case}: {error} {:?}", storage.list()));
                    torn.set(torn.get() + usize::from(recovery.torn.is_some()));
                    edits_in(&recovery.version, case)
                }
            };
            assert!(seen == done.get() || seen == done.get() + 1, "{case}: {seen} of {} edits", done.get());
            if seen < EDITS {
                let count = if seen > done.get() { &after } else { &before };
                count.set(count.get() + 1);
            }
            // Opened again it goes on from there, and what was garbage is gone.
            run(&storage, seen, EDITS - seen, &done).unwrap_or_else(|error| panic!("{case}: {error}"));
            drop(storage);
            let storage = Storage::on(disk.clone()).unwrap();
            let (manifest, recovery) = Manifest::open(&storage).unwrap();
            assert_eq!(edits_in(manifest.version(), case), EDITS);
            assert_eq!((recovery.torn, recovery.garbage), (None, vec![]), "{case}");
        },
    );
    assert!(points > 50, "{points}");
    assert!(torn.get() > 0 && before.get() > 0 && after.get() > 0, "{torn:?} {before:?} {after:?}");
}

/// Fails every operation of a history, without a crash: nothing goes on after it, and opening again finds the version
/// before or after the edit.
#[test]
fn a_fault_leaves_the_version_before_or_after_an_edit() {
    for fault in [Fault::Error, Fault::Full] {
        for point in 0.. {
            let (disk, done) = (FaultyDisk::new(), Cell::new(0));
            disk.fail_at(point, fault);
            let result =
                Storage::on(disk.clone()).map_err(ManifestError::from).and_then(|s| run(&s, 0, EDITS, &done));
            let case = format!("{fault:?} at {point}: {result:?}");
            for seed in 0..2 {
                if seed == 1 || result.is_ok() {
                    disk.crash(seed * point);
                }
                let storage = Storage::on(disk.clone()).unwrap();
                let (manifest, _) =
                    Manifest::open(&storage).unwrap_or_else(|error| panic!("{case}: {error}"));
                let seen = edits_in(manifest.version(), &case);
                assert!(seen == done.get() || seen == done.get() + 1, "{case}: {seen} of {}", done.get());
                done.set(seen); // What was found once stays.
            }
            if result.is_ok() {
                assert!(point > 50, "{case}");
                break;
            }
        }
    }
}

#[test]
fn after_an_error_an_open_manifest_takes_nothing_more() {
    let disk = FaultyDisk::new();
    let storage = Storage::on(disk.clone()).unwrap();
    let (mut manifest, _) = Manifest::open(&storage).unwrap();
    disk.fail_at(disk.operations() + 1, Fault::Error);
    let edit = VersionEdit { options: [("a".to_owned(), "b".to_owned())].into(), ..VersionEdit::default() };
    assert!(matches!(manifest.append(&edit), Err(ManifestError::Storage(StorageError::Sync { .. }))));
    assert!(matches!(manifest.append(&edit), Err(ManifestError::Poisoned { .. })));
    assert!(manifest.version().options().is_empty());
}

#[test]
fn an_edit_that_makes_no_version_changes_nothing() {
    let storage = Storage::memory();
    let (mut manifest, _) = Manifest::open(&storage).unwrap();
    let before = storage.read(MANIFEST, 1000).unwrap();
    let edit = VersionEdit { removed: vec![FileNumber(1)], ..VersionEdit::default() };
    assert!(matches!(manifest.append(&edit), Err(ManifestError::Edit(VersionError::Unknown { .. }))));
    assert_eq!(storage.read(MANIFEST, 1000).unwrap(), before);
    manifest.append(&VersionEdit::default()).unwrap();
}

#[test]
fn a_manifest_stays_short() {
    let storage = Storage::memory();
    let (mut manifest, _) = Manifest::open(&storage).unwrap();
    for index in 0..4000 {
        let options = [("edit".to_owned(), index.to_string())].into();
        manifest.append(&VersionEdit { options, ..VersionEdit::default() }).unwrap();
        let bytes = storage.length(MANIFEST).unwrap().unwrap();
        assert!(bytes < 2 * LOG_BYTES, "{bytes}");
        assert_eq!(manifest.bytes, bytes);
    }
    assert_eq!(Manifest::read(&storage).unwrap().version.options()["edit"], "3999");
}

/// Yesterday's bytes: they are read by today's code, and written by it.
#[test]
fn the_format_is_what_it_was() {
    const GOLDEN: &[u8] = include_bytes!("golden.txt");
    assert_eq!(parse(GOLDEN).unwrap(), (history(4), None));
    assert_eq!(String::from_utf8_lossy(&log(&edits(4))), String::from_utf8_lossy(GOLDEN));
}

/// Edits that need no storage: numbers from 1, short texts.
fn edits(count: usize) -> Vec<VersionEdit> {
    let mut version = Version::default();
    let edits = (0..count).map(|index| {
        let number = FileNumber(index as u64 + 1);
        let next_file = Some(FileNumber(number.0 + 1));
        let mut edit = VersionEdit { next_file, ..edit_of(index, number, &version) };
        edit.options.insert("text".to_owned(), "J*\n".repeat(index * 60));
        version = version.apply(&edit).unwrap();
        edit
    });
    edits.collect()
}

fn history(count: usize) -> Version {
    edits(count).iter().fold(Version::default(), |version, edit| version.apply(edit).unwrap())
}

fn log(edits: &[VersionEdit]) -> Vec<u8> {
    let mut bytes = format!("{MAGIC}{MANIFEST_FORMAT}\n").into_bytes();
    for edit in edits {
        bytes.extend(record(edit, bytes.len() as u64));
    }
    bytes
}

#[test]
fn a_manifest_cut_short_is_one_with_fewer_edits() {
    let all = log(&edits(3));
    let ends: Vec<usize> = (1..=3).map(|count| log(&edits(count)).len()).collect();
    for len in 0..=all.len() {
        let found = parse(&all[..len]);
        let whole = ends.iter().filter(|end| **end <= len).count();
        match found {
            Err(ParseError::Foreign) => assert!(len < 19),
            Err(ParseError::Damaged { offset: 19, .. }) => assert!((19..ends[0]).contains(&len)),
            Ok((version, torn)) => {
                assert_eq!(version, history(whole));
                let offset = ends[whole - 1];
                let expected = TornRecord { offset: offset as u64, bytes: (len - offset) as u64 };
                assert_eq!(torn, (len > offset).then_some(expected));
            }
            other => panic!("{len}: {other:?}"),
        }
    }
}

/// A damaged bit is found wherever it is, and its record named: also in the last one, where a crash would look different.
#[test]
fn a_manifest_with_any_bit_turned_over_is_damaged() {
    let all = log(&edits(3));
    let ends: Vec<usize> = (0..=3).map(|count| log(&edits(count)).len()).collect();
    for bit in 0..all.len() * 8 {
        let mut bytes = all.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match parse(&bytes) {
            Err(ParseError::Foreign) => assert!(bit / 8 < ends[0]),
            Err(ParseError::Format { .. }) => assert_eq!(bit / 8, ends[0] - 2),
            Err(ParseError::Damaged { offset, .. }) => {
                let record = ends.iter().rposition(|end| *end <= bit / 8).unwrap();
                assert_eq!(offset as usize, ends[record], "bit {} of byte {}", bit % 8, bit / 8);
            }
            Ok(found) => panic!("bit {} of byte {}: {found:?}", bit % 8, bit / 8),
        }
    }
}

#[test]
fn a_record_elsewhere_is_none() {
    let edits = edits(3);
    let lines: Vec<Vec<u8>> =
        log(&edits).split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for order in [&[0, 1, 3][..], &[0, 2, 1, 3], &[0, 1, 2, 2, 3], &[0, 1, 1]] {
        let bytes: Vec<u8> = order.iter().flat_map(|line| lines[*line].clone()).collect();
        assert!(matches!(parse(&bytes), Err(ParseError::Damaged { .. })), "{order:?}");
    }
}

/// Records with the right checksum that say what cannot be.
#[test]
fn what_is_written_well_is_not_believed_for_that() {
    #[track_caller]
    fn check(json: &str, expected: &str) {
        let mut bytes = format!("{MAGIC}{MANIFEST_FORMAT}\n").into_bytes();
        let checksum = xxh3_64_with_seed(json.as_bytes(), bytes.len() as u64);
        bytes.extend(format!("{:08x} {checksum:016x} {json}\n", json.len()).bytes());
        let Err(ParseError::Damaged { offset: 19, source }) = parse(&bytes) else {
            panic!("{json} is no edit")
        };
        let text = match source {
            RecordError::Json(error) => error.to_string(),
            RecordError::Edit(error) => error.to_string(),
            other => other.to_string(),
        };
        assert!(text.contains(expected), "{json}: {text}");
    }
    let file = |fields: &str| {
        format!(r#"{{"next_file":9,"added":[{{"number":1,"bytes":1,"entries":1,{fields}}}]}}"#)
    };
    let keys = r#""keys":{"begin":"61","end":"62"}"#;
    check("", "EOF");
    check("{}{}", "trailing");
    check(r#"{"blobs":[7]}"#, "unknown field `blobs`");
    check(&"[".repeat(100_000), "invalid type");
    check(r#"{"removed":[1]}"#, "not there");
    check(r#"{"removed":[-1]}"#, "invalid value");
    check(r#"{"next_file":18446744073709551615}"#, "beyond all numbers");
    check(&file(&format!(r#""level":8,{keys}"#)), "there are 8 levels");
    check(&file(&format!(r#""level":256,{keys}"#)), "256");
    check(&file(&format!(r#""level":1,"run":3,{keys}"#)), "in a run");
    check(&file(r#""level":1,"keys":{"begin":"62","end":"61"}"#), "empty range");
    check(&file(r#""level":1,"keys":{"begin":"6","end":"61"}"#), "pairs of digits");
    check(&file(&format!(r#""level":1,{keys},"schemas":{{"1":"ff"}}"#)), "16 digits");
    check(&file(&format!(r#""level":1,{keys},"schemas":{{"65536":"00000000000000ff"}}"#)), "65536");
}

#[test]
fn what_is_no_manifest_is_named() {
    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let storage = Storage::memory();
        let mut writer = storage.create(MANIFEST).unwrap();
        writer.write(bytes).unwrap();
        writer.publish().unwrap();
        assert_eq!(Manifest::open(&storage).unwrap_err().to_string(), expected);
        assert_eq!(storage.read(MANIFEST, 1000).unwrap(), bytes, "it is left as it was");
    }
    check(b"", "(memory)/MANIFEST is no manifest");
    check(b"\x7fELF\n", "(memory)/MANIFEST is no manifest");
    check(b"thalweg manifest +1\n", "(memory)/MANIFEST is no manifest");
    check(b"thalweg manifest 01\n", "(memory)/MANIFEST is no manifest");
    check(b"thalweg manifest 2\nwhatever", "(memory)/MANIFEST has format 2, this release reads format 1");
    check(b"thalweg manifest 1\n", "(memory)/MANIFEST is damaged: the record at byte 19 is none");
}

#[test]
fn files_are_those_that_the_manifest_says() {
    let storage = Storage::memory();
    run(&storage, 0, 3, &Cell::new(0)).unwrap();
    add_file(&storage, "000077.sst", 1).unwrap();
    add_file(&storage, "77.sst", 1).unwrap();
    add_file(&storage, "README", 1).unwrap();
    let (manifest, recovery) = Manifest::open(&storage).unwrap();
    assert_eq!(recovery.garbage, ["000077.sst"], "other names are not ours");
    assert_eq!(manifest.numbers().take(), FileNumber(78), "its removal may not last");

    storage.remove("000001.sst").unwrap();
    add_file(&storage, "000001.sst", 5).unwrap();
    let text = Manifest::read(&storage).unwrap_err().to_string();
    assert_eq!(text, "(memory)/000001.sst has 5 bytes, and 1200 as (memory)/MANIFEST says");
    storage.remove("000001.sst").unwrap();
    let text = Manifest::read(&storage).unwrap_err().to_string();
    assert_eq!(text, "(memory)/000001.sst is missing, (memory)/MANIFEST refers to it");
    storage.remove(MANIFEST).unwrap();
    let text = Manifest::open(&storage).unwrap_err().to_string();
    assert_eq!(
        text,
        "(memory)/MANIFEST is lost, but there are 3 SSTs beside it: restore it, or empty the directory"
    );
}

#[test]
fn a_number_is_given_once_even_if_the_last_files_are_removed() {
    let storage = Storage::memory();
    let (mut manifest, _) = Manifest::open(&storage).unwrap();
    let given = (0..5).map(|_| manifest.numbers().take()).max().unwrap();
    manifest.append(&VersionEdit::default()).unwrap();
    drop(manifest);
    assert!(Manifest::open(&storage).unwrap().0.numbers().take() > given);
}

proptest! {
    #![proptest_config(crate::cases(512))]

    /// Any bytes are read without a panic, and what is read of a damaged manifest is a beginning of its history.
    #[test]
    fn damage_never_makes_another_history(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = log(&edits(3));
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(tail);
        if let Ok((version, _)) = parse(&bytes) {
            prop_assert!((1..=3).any(|count| version == history(count)));
        }
    }
}
