//! Every byte of a small store is turned over, and other harm is done: all of it is found, and its place named.

use super::*;
use crate::lsm::sst::{Codec, SstOptions, SstWriter, StateMeta, ValueAlign};
use crate::lsm::{Fingerprint, Kind, VersionEdit};
use crate::testing::{Fault, FaultyDisk};
use std::collections::BTreeMap;

/// Names and bytes.
type Files = BTreeMap<String, Vec<u8>>;

fn key(user: u32) -> Vec<u8> {
    [&[0, 1, 0, 7], &user.to_be_bytes()[..]].concat()
}

/// A file of `users`, some of which have 8 bytes, and others more.
fn sst(codec: Codec, users: Range<u32>) -> Vec<u8> {
    let states =
        vec![StateMeta { id: 7, name: "counts".to_owned(), schema: 0xfeed, align: ValueAlign::Eight }];
    let mut writer = SstWriter::new(SstOptions { block_bytes: 4096, codec, states, ..SstOptions::default() });
    for user in users {
        let value = vec![user as u8; if user % 500 < 250 { 8 } else { user as usize % 40 }];
        writer.add(&key(user), Kind::Put, &value, ValueAlign::Eight).unwrap();
    }
    writer.finish().run().1
}

fn meta(number: u64, users: Range<u32>, bytes: &[u8]) -> FileMeta {
    FileMeta {
        number: FileNumber(number),
        level: 0,
        run: number,
        bytes: bytes.len() as u64,
        entries: users.len() as u64,
        keys: KeyRange::of_keys(&key(users.start), &key(users.end - 1)),
        has_range_tombstones: false,
        schemas: [(7, Fingerprint(0xfeed))].into(),
    }
}

fn put(storage: &Storage, name: &str, bytes: &[u8]) {
    let mut writer = storage.create(name).unwrap();
    writer.write(bytes).unwrap();
    writer.publish().unwrap();
}

fn storage_of(files: &Files) -> Storage {
    let storage = Storage::memory();
    files.iter().for_each(|(name, bytes)| put(&storage, name, bytes));
    storage
}

/// A store of two overlapping files of the same length.
fn store(codec: Codec) -> Files {
    store_of(codec, &[0..600, 500..1100])
}

/// A store of files of these users, each in a record of its manifest and a run of its own.
fn store_of(codec: Codec, files: &[Range<u32>]) -> Files {
    let storage = Storage::memory();
    let (mut manifest, _) = Manifest::open(&storage).unwrap();
    for (number, users) in (1..).zip(files) {
        let bytes = sst(codec, users.clone());
        put(&storage, &FileNumber(number).name(), &bytes);
        let added = vec![meta(number, users.clone(), &bytes)];
        let edit = VersionEdit { added, next_file: Some(FileNumber(number + 1)), ..VersionEdit::default() };
        manifest.append(&edit).unwrap();
    }
    let names = storage.list().unwrap().into_iter().map(|file| file.name);
    names.map(|name| (name.clone(), storage.read(&name, 1 << 20).unwrap())).collect()
}

fn verify(files: &Files) -> Vec<Damage> {
    let mut verifier = Verifier::open(&storage_of(files)).unwrap();
    let mut damages = Vec::new();
    while verifier.step(&mut damages) {}
    let totals = verifier.totals();
    assert_eq!((totals.files_left, totals.bytes_left), (0, 0));
    assert_eq!(totals.damages, damages.len() as u64);
    damages
}

/// The damages, each as its line without the directory.
#[track_caller]
fn check(files: &Files, expected: &[&str]) {
    let lines: Vec<String> =
        verify(files).iter().map(|damage| damage.to_string().replace("(memory)/", "")).collect();
    assert_eq!(lines, expected);
}

fn file_1() -> String {
    FileNumber(1).name()
}

/// Every byte of one file and of the manifest in turn: the damage is one, of that file, and the bytes it names have it.
#[test]
fn every_byte_that_is_turned_over_is_found_and_named() {
    for codec in [Codec::None, Codec::Lz4] {
        let mut files = store_of(codec, std::slice::from_ref(&(0..600)));
        check(&files, &[]);
        for name in [MANIFEST.to_owned(), file_1()] {
            for at in (0..files[&name].len()).step_by(if cfg!(miri) { 997 } else { 1 }) {
                let bits = 1_u8 << (at % 8);
                files.get_mut(&name).unwrap()[at] ^= bits;
                let damages = verify(&files);
                let case = format!("{codec:?}: byte {at} of {name} turned by {bits:#x}: {damages:?}");
                assert_eq!(damages.len(), 1, "{case}");
                assert_eq!(damages[0].path, Storage::memory().path(&name), "{case}");
                assert!(damages[0].bytes.as_ref().unwrap().contains(&(at as u64)), "{case}");
                files.get_mut(&name).unwrap()[at] ^= bits;
            }
        }
    }
}

#[test]
fn blocks_and_sections_are_named() {
    let files = store(Codec::None);
    let sst = Sst::open(files[&file_1()].clone()).unwrap();
    let damages = |places: &[usize]| {
        let mut files = files.clone();
        places.iter().for_each(|at| files.get_mut(&file_1()).unwrap()[*at] ^= 4);
        verify(&files)
    };
    let second = sst.block_range(1).unwrap();
    for at in [second.start, second.start + 9, second.end - 1] {
        let [damage] = &damages(&[at])[..] else { panic!("one damage") };
        assert_eq!(damage.block(), Some(1));
        assert_eq!(damage.bytes, Some(second.start as u64..second.end as u64));
    }
    // Several damages are found, in the order of the file.
    let index = sst.section_range(super::super::sst::Section::Index);
    let found = damages(&[2 * 4096 + 100, 7, index.start + 5, index.end]);
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.iter().map(Damage::block).collect::<Vec<_>>(), [Some(0), Some(2), None, None]);
    assert!(
        lines[1].starts_with("(memory)/000001.sst: block 2 is damaged at byte 8192: the checksum is "),
        "{lines:?}"
    );
    assert!(lines[1].ends_with(" (bytes 8192 to 12287)"), "{lines:?}");
    assert!(lines[2].contains("the hash index is damaged at byte"), "{lines:?}");
}

#[test]
fn files_that_are_missing_cut_off_or_others() {
    let mut files = store(Codec::None);
    let (one, two) = (files[&file_1()].clone(), files["000002.sst"].clone());

    files.remove(&file_1());
    check(&files, &["000001.sst: it is missing, and MANIFEST names it"]);

    let bytes = one.len();
    files.insert(file_1(), one[..bytes - 1].to_vec());
    check(&files, &[&format!("000001.sst: it has {} bytes, and {bytes} as MANIFEST says", bytes - 1)]);

    let mut foreign = one.clone();
    foreign.fill(b'x');
    files.insert(file_1(), foreign);
    let end = bytes - 8;
    check(
        &files,
        &[&format!(
            "000001.sst: this is not an SST, or it was cut off, so its blocks could not be verified (bytes {end} to {})",
            bytes - 1
        )],
    );

    assert_eq!(one.len(), two.len(), "or the next test is one of lengths");
    files.insert(file_1(), two);
    files.insert("000002.sst".to_owned(), one);
    let (first, second) =
        ("from 0001000700000000 to 000100070000025700", "from 00010007000001f4 to 000100070000044b00");
    let other = |file: &str, found: &str, expected: &str| {
        format!(
            "{file}: it is another file than MANIFEST says: its range of keys is {found}, and should be {expected}"
        )
    };
    check(&files, &[&other("000001.sst", second, first), &other("000002.sst", first, second)]);
}

/// A file that agrees with the manifest in all but one thing.
#[test]
fn what_a_file_says_of_itself_is_compared() {
    let check_edit = |change: fn(&mut FileMeta), expected: &str| {
        let storage = storage_of(&store_of(Codec::None, std::slice::from_ref(&(0..600))));
        let (mut manifest, _) = Manifest::open(&storage).unwrap();
        let mut file = manifest.version().file(FileNumber(1)).unwrap().as_ref().clone();
        change(&mut file);
        let edit = VersionEdit { removed: vec![FileNumber(1)], added: vec![file], ..VersionEdit::default() };
        manifest.append(&edit).unwrap();
        let mut verifier = Verifier::open(&storage).unwrap();
        let mut damages = Vec::new();
        while verifier.step(&mut damages) {}
        let [damage] = &damages[..] else { panic!("{damages:?}") };
        assert!(damage.to_string().ends_with(expected), "{damage}");
    };
    check_edit(|file| file.entries += 1, "its number of entries is 600, and should be 601");
    check_edit(
        |file| file.has_range_tombstones = true,
        "its having range tombstones is false, and should be true",
    );
    check_edit(
        |file| file.keys.end.truncate(8),
        "to 000100070000025700, and should be from 0001000700000000 to 0001000700000257",
    );
    check_edit(
        |file| file.schemas = [(7, Fingerprint(1))].into(),
        "its schema of a state is 7:000000000000feed, and should be 7:0000000000000001",
    );
    check_edit(
        |file| file.schemas = [(8, Fingerprint(1))].into(),
        "its schema of a state is 8:not there, and should be 8:0000000000000001",
    );
    check_edit(|file| file.bytes = u64::MAX, "and 18446744073709551615 as MANIFEST says");
}

#[test]
fn what_another_release_has_written() {
    let mut files = store(Codec::None);
    let file = files.get_mut(&file_1()).unwrap();
    let at = file.len() - 16;
    file[at] = 2;
    check(
        &files,
        &[&format!(
            "000001.sst: format version 2 is not 1, the only one known here, so its blocks could not be verified \
             (bytes {at} to {})",
            at + 3
        )],
    );
    let mut files = store(Codec::None);
    let manifest = files.get_mut(MANIFEST).unwrap();
    manifest.splice(17..18, *b"12");
    check(
        &files,
        &[
            "MANIFEST: it has format 12, this release reads format 1: use the release that wrote it (bytes 0 to 19)",
        ],
    );
}

/// A manifest that cannot be read does not keep the files from being verified.
#[test]
fn damaged_manifests() {
    let mut files = store(Codec::None);
    let manifest = files[MANIFEST].clone();
    let mut lines = manifest.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len);
    let second = lines.next().unwrap() + lines.next().unwrap();
    files.get_mut(MANIFEST).unwrap()[second + 30] ^= 1;
    files.get_mut(&file_1()).unwrap()[4096] ^= 1;
    let damages = verify(&files);
    assert_eq!(damages.len(), 2);
    assert!(matches!(damages[0].kind, DamageKind::Record { offset, .. } if offset == second as u64));
    assert_eq!(damages[1].block(), Some(1));

    // Cut off in the last record, as a crash does: what it was to add is not named.
    let mut files = store(Codec::None);
    files.get_mut(MANIFEST).unwrap().truncate(manifest.len() - 40);
    let mut verifier = Verifier::open(&storage_of(&files)).unwrap();
    assert_eq!(verifier.unnamed(), ["000002.sst"]);
    let mut damages = Vec::new();
    while verifier.step(&mut damages) {}
    assert!(matches!(damages[..], [Damage { kind: DamageKind::TornRecord { .. }, .. }]), "{damages:?}");
}

#[test]
fn without_a_manifest() {
    let mut files = store(Codec::None);
    files.remove(MANIFEST);
    assert!(matches!(Verifier::open(&storage_of(&files)), Err(ManifestError::Lost { files: 2, .. })));
    let nothing = Verifier::open(&Storage::memory());
    assert!(matches!(nothing, Err(ManifestError::Storage(StorageError::Missing { .. }))));
}

/// The owner finishes a compaction after the manifest was read: what it removed is not missing.
#[test]
fn files_that_the_owner_replaces_are_no_damage() {
    let storage = storage_of(&store(Codec::None));
    let mut verifier = Verifier::open(&storage).unwrap();
    let (mut manifest, _) = Manifest::open(&storage).unwrap();
    manifest.append(&VersionEdit { removed: vec![FileNumber(1)], ..VersionEdit::default() }).unwrap();
    storage.remove(&file_1()).unwrap();
    let mut damages = Vec::new();
    while verifier.step(&mut damages) {}
    assert!(damages.is_empty(), "{damages:?}");
    assert_eq!((verifier.totals().replaced, verifier.totals().files), (1, 1));
}

/// A disk that does not give a part of a file: its place is named, and the other file is verified.
#[test]
fn what_the_disk_does_not_give() {
    let disk = FaultyDisk::new();
    let storage = Storage::on(disk.clone()).unwrap();
    store(Codec::None).iter().for_each(|(name, bytes)| put(&storage, name, bytes));
    let mut verifier = Verifier::open(&storage).unwrap();
    disk.fail_at(disk.operations() + 1, Fault::Error); // It is mapped, then brought in.
    let mut damages = Vec::new();
    while verifier.step(&mut damages) {}
    assert!(
        matches!(damages[..], [Damage { kind: DamageKind::Unreadable(_), bytes: Some(_), .. }]),
        "{damages:?}"
    );
    assert_eq!(verifier.totals().files, 1);
}

/// A byte that was turned over, by one bit or several, is found: anywhere but in a long index.
#[test]
fn a_single_damaged_byte_is_located() {
    for codec in [Codec::None, Codec::Lz4] {
        let mut files = store_of(codec, std::slice::from_ref(&(0..600)));
        let bytes = files[&file_1()].len();
        let magic = bytes - 16..bytes; // Version, length and magic say for themselves what is wrong.
        let step = if cfg!(miri) { 4999 } else { 331 };
        for (at, bits) in (0..bytes)
            .step_by(step)
            .filter(|at| !magic.contains(at))
            .zip([1_u8, 0x80, 0x42].into_iter().cycle())
        {
            files.get_mut(&file_1()).unwrap()[at] ^= bits;
            let verifier = Verifier::open(&storage_of(&files)).unwrap();
            let [mut damage] = <[Damage; 1]>::try_from(verify(&files)).unwrap();
            verifier.locate(&mut damage);
            assert_eq!(damage.bytes, Some(at as u64..at as u64 + 1), "{codec:?}: {damage}");
            assert!(damage.to_string().ends_with(&format!(" (byte {at})")), "{damage}");
            files.get_mut(&file_1()).unwrap()[at] ^= bits;
        }
    }
}
