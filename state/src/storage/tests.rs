//! The protocol of files: over all disks, and through every operation that can fail.

use super::*;
use crate::testing::{Fault, FaultyDisk};
use std::cell::Cell;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

const SEEDS: u64 = if cfg!(miri) { 3 } else { 24 };

/// Bytes that differ from place to place, over several sectors and pages.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8 + 1).collect()
}

fn publish(storage: &Storage, name: &str, bytes: &[u8]) -> Result<u64, StorageError> {
    let mut writer = storage.create(name)?;
    bytes.chunks(1000).try_for_each(|chunk| writer.write(chunk))?;
    writer.publish()
}

/// Runs `test` with two empty storages on each kind of disk.
fn on_each_disk(test: impl Fn(&Storage, &Storage)) {
    test(&Storage::memory(), &Storage::memory());
    test(&Storage::on(FaultyDisk::new()).unwrap(), &Storage::on(FaultyDisk::new()).unwrap());
    test(&Storage::memory(), &Storage::on(FaultyDisk::new()).unwrap());
    if cfg!(not(miri)) {
        let folder = TempDir::new().unwrap();
        let open = |name: &str| Storage::directory(folder.path().join(name)).unwrap();
        test(&open("a/b"), &open("a/c"));
        test(&open("d"), &Storage::memory());
    }
}

#[test]
fn what_is_published_is_there_on_every_disk() {
    on_each_disk(|storage, other| {
        for (index, len) in [0, 1, 4095, 4096, 10_000].into_iter().enumerate() {
            let name = format!("{index}.sst");
            let mut writer = storage.create(&name).unwrap();
            assert!(matches!(storage.create(&name), Err(StorageError::Exists { .. })), "it is being written");
            writer.write(&bytes(len)).unwrap();
            assert!(matches!(storage.open(&name), Err(StorageError::Missing { .. })), "it is not published");
            assert_eq!(writer.publish().unwrap(), len as u64);
            assert!(matches!(publish(storage, &name, b"other"), Err(StorageError::Exists { .. })));

            let mapping = storage.open(&name).unwrap();
            assert_eq!(*mapping, *bytes(len));
            assert!(len == 0 || (mapping.as_ptr() as usize).is_multiple_of(PAGE_BYTES));
            assert_eq!(storage.read(&name, len as u64).unwrap(), bytes(len));
            assert_eq!(storage.length(&name).unwrap(), Some(len as u64));
            storage.link_or_copy(&name, other).unwrap();
            assert!(matches!(storage.link_or_copy(&name, other), Err(StorageError::Exists { .. })));
            storage.remove(&name).unwrap();
            assert!(matches!(storage.remove(&name), Err(StorageError::Missing { .. })));
            assert!(matches!(storage.link_or_copy(&name, other), Err(StorageError::Missing { .. })));
            assert_eq!((&*mapping, &*other.open(&name).unwrap()), (&*bytes(len), &*bytes(len)));
        }
        assert!(storage.list().unwrap().is_empty());
        assert_eq!(other.list().unwrap().iter().map(|file| file.bytes).sum::<u64>(), 18_192);
        assert!(matches!(other.read("4.sst", 9999), Err(StorageError::TooLong { bytes_max: 9999, .. })));
    });
}

#[test]
fn a_log_grows_and_a_file_is_replaced_on_every_disk() {
    on_each_disk(|storage, _| {
        assert!(matches!(storage.append("LOG"), Err(StorageError::Missing { .. })));
        publish(storage, "LOG", b"a").unwrap();
        let mut log = storage.append("LOG").unwrap();
        log.append(b"b").unwrap();
        let mut writer = storage.create("LOG").unwrap();
        writer.write(b"new ").unwrap();
        assert_eq!(storage.read("LOG", 10).unwrap(), b"ab");
        writer.replace().unwrap();
        log.append(b"into the void").unwrap();
        storage.append("LOG").unwrap().append(b"log").unwrap();
        assert_eq!(storage.read("LOG", 10).unwrap(), b"new log");
    });
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let long = "x".repeat(129);
    let names = ["", ".", "..", "a/b", "/a", ".a", "a.tmp", "LOCK", "a b", "ä", "a\0", "a\\b", &long];
    on_each_disk(|storage, other| {
        for name in names {
            let errors = [
                storage.create(name).err(),
                storage.append(name).err(),
                storage.open(name).err(),
                storage.read(name, 1).err(),
                storage.length(name).err(),
                storage.remove(name).err(),
                storage.link_or_copy(name, other).err(),
            ];
            for error in errors {
                assert!(matches!(error, Some(StorageError::Name { .. })), "{name:?}: {error:?}");
            }
        }
        publish(storage, &long[1..], b"as long as may be").unwrap();
    });
}

/// Cuts the power at every operation of publishing a file beside another one, which may be of the same name.
#[test]
fn a_crash_leaves_a_file_whole_or_not_at_all() {
    let (before, after) = (bytes(700), bytes(5000));
    let is_published = Cell::new(false);
    for (name, replaces) in [("other", false), ("file", true)] {
        let prepare = |disk: &FaultyDisk| {
            is_published.set(false);
            publish(&Storage::on(disk.clone()).unwrap(), name, &before).unwrap();
        };
        let run = |disk: &FaultyDisk| {
            let replace = || {
                let mut writer = Storage::on(disk.clone())?.create("file")?;
                after.chunks(1000).try_for_each(|chunk| writer.write(chunk))?;
                if replaces { writer.replace() } else { writer.publish() }
            };
            is_published.set(replace().is_ok());
        };
        let check = |disk: &FaultyDisk, case: &str| {
            let storage = Storage::on(disk.clone()).unwrap();
            let file = storage.open("file").ok();
            match (&file, is_published.get()) {
                (Some(file), _) if **file == *after => {}
                (Some(file), false) if replaces && **file == *before => {}
                (None, false) if !replaces => {}
                _ => panic!("{case}: {file:?}"),
            }
            assert!(replaces || *storage.open("other").unwrap() == *before, "{case}");
            let expected = if replaces { 1 } else { 1 + usize::from(file.is_some()) };
            assert_eq!(storage.list_all().unwrap().len(), expected, "{case}: leftovers");
        };
        let points = FaultyDisk::crash_points(SEEDS, prepare, run, check);
        assert_eq!(
            points,
            11 + u64::from(!replaces),
            "list, sync, create, 5 writes, [length,] sync, rename, sync"
        );
    }
}

#[test]
fn a_crash_leaves_a_copy_whole_or_not_at_all() {
    let here = Storage::memory();
    publish(&here, "file", &bytes(5000)).unwrap();
    let is_there = Cell::new(false);
    let run = |disk: &FaultyDisk| {
        is_there.set(Storage::on(disk.clone()).and_then(|to| here.link_or_copy("file", &to)).is_ok());
    };
    FaultyDisk::crash_points(
        SEEDS,
        |_| {},
        run,
        |disk, case| match Storage::on(disk.clone()).unwrap().open("file") {
            Ok(file) => assert_eq!(*file, *bytes(5000), "{case}"),
            Err(_) => assert!(!is_there.get(), "{case}: it was published"),
        },
    );
}

#[test]
fn a_crash_leaves_of_a_log_what_was_appended_and_a_part_of_the_last_record() {
    let all = bytes(8000);
    let appended = Cell::new(0);
    let prepare = |disk: &FaultyDisk| {
        appended.set(0);
        publish(&Storage::on(disk.clone()).unwrap(), "LOG", b"").unwrap();
    };
    let run = |disk: &FaultyDisk| {
        let append = || {
            let mut log = Storage::on(disk.clone())?.append("LOG")?;
            all.chunks(2000).try_for_each(|record| {
                log.append(record)?;
                appended.set(appended.get() + 2000);
                Ok::<(), StorageError>(())
            })
        };
        let _ = append();
    };
    let torn = Cell::new(0);
    FaultyDisk::crash_points(SEEDS, prepare, run, |disk, case| {
        let log = Storage::on(disk.clone()).unwrap().read("LOG", 8000).unwrap();
        let (kept, rest) = log.split_at(appended.get());
        assert_eq!(kept, &all[..kept.len()], "{case}");
        assert!(rest.len() <= 2000, "{case}");
        let is_from_record = |(index, byte): (usize, &u8)| [0, all[kept.len() + index]].contains(byte);
        assert!(rest.iter().enumerate().all(is_from_record), "{case}");
        torn.set(torn.get() + u64::from(!rest.is_empty() && rest.len() < 2000 || rest.contains(&0)));
    });
    assert!(torn.get() > 0, "no crash has torn a record: the test shows nothing");
}

/// Fails every operation of publishing a file, in each way, without a crash: an error says that it is not published, and
/// what failed once does not succeed later.
#[test]
fn what_failed_is_not_published() {
    for fault in [Fault::Error, Fault::Full] {
        for operation in 0.. {
            let disk = FaultyDisk::new();
            let storage = Storage::on(disk.clone()).unwrap();
            disk.fail_at(disk.operations() + operation, fault);
            let Ok(mut writer) = storage.create("file") else { continue };
            let mut results =
                vec![writer.write(b"some"), writer.write(b"bytes"), writer.sync(), writer.sync()];
            results.push(writer.publish().map(drop));
            let failed = results.iter().position(Result::is_err);
            let case = format!("{fault:?} at {operation}: {results:?}");
            if let Some(failed) = failed.filter(|failed| *failed < 4) {
                let later = &results[failed + 1..];
                assert!(
                    later.iter().all(|later| matches!(later, Err(StorageError::Poisoned { .. }))),
                    "{case}"
                );
            }
            assert!(failed.is_none() || results[4].is_err(), "{case}");
            for result in results.iter().flat_map(|result| result.as_ref().err()) {
                match result {
                    StorageError::Full { .. } => assert_eq!(fault, Fault::Full),
                    StorageError::Sync { .. } => assert!(matches!(operation, 3 | 4 | 6 | 8), "{case}"),
                    StorageError::Io { .. } => assert!(matches!(operation, 1 | 2 | 5 | 7), "{case}"),
                    StorageError::Poisoned { .. } => assert!(failed < Some(4)),
                    other => panic!("{case}: {other}"),
                }
            }
            let is_published = failed.is_none();
            drop(storage);
            disk.crash(0);
            let files = Storage::on(disk).unwrap().list().unwrap();
            assert_eq!(!files.is_empty(), is_published, "{case}: {files:?}");
            if is_published {
                assert_eq!(operation, 9, "create, 2 writes, 2 syncs; length, sync, rename, sync");
                break;
            }
        }
    }
}

#[test]
fn after_a_failed_sync_of_the_directory_nothing_is_published() {
    let disk = FaultyDisk::new();
    let storage = Storage::on(disk.clone()).unwrap();
    let other = storage.create("other").unwrap();
    let writer = storage.create("file").unwrap();
    disk.fail_at(disk.operations() + 3, Fault::Error); // Length, sync, rename, sync.
    assert!(matches!(writer.publish(), Err(StorageError::Sync { .. })));
    assert!(matches!(other.publish(), Err(StorageError::Poisoned { .. })));
    assert!(matches!(storage.append("file"), Err(StorageError::Poisoned { .. })));
    assert!(Storage::memory().link_or_copy("file", &storage).is_err());
    disk.crash(0);
    assert!(Storage::on(disk).unwrap().list().unwrap().is_empty());
}

#[test]
fn a_log_that_failed_takes_nothing_more() {
    for (operation, fault) in [(0, Fault::Error), (0, Fault::Full), (1, Fault::Error), (1, Fault::Full)] {
        let disk = FaultyDisk::new();
        let storage = Storage::on(disk.clone()).unwrap();
        publish(&storage, "LOG", b"").unwrap();
        let mut log = storage.append("LOG").unwrap();
        disk.fail_at(disk.operations() + operation, fault);
        assert!(!matches!(log.append(b"record"), Ok(()) | Err(StorageError::Poisoned { .. })));
        assert!(matches!(log.append(b"record"), Err(StorageError::Poisoned { .. })));
        disk.crash(0);
        assert_eq!(Storage::on(disk).unwrap().read("LOG", 9).unwrap(), b"");
    }
}

#[test]
fn pages_of_a_faulty_disk_come_when_they_are_asked_for() {
    let disk = FaultyDisk::new();
    let storage = Storage::on(disk.clone()).unwrap();
    publish(&storage, "file", &bytes(3 * PAGE_BYTES - 5)).unwrap();
    let mapping = storage.open("file").unwrap();
    assert!(!mapping.is_resident(0..1) && mapping.is_resident(7..7));
    mapping.populate(PAGE_BYTES - 1..PAGE_BYTES + 1).unwrap();
    assert!(mapping.is_resident(0..2 * PAGE_BYTES) && !mapping.is_resident(0..mapping.len()));
    mapping.release(PAGE_BYTES..2 * PAGE_BYTES);
    assert!(mapping.is_resident(0..PAGE_BYTES) && !mapping.is_resident(PAGE_BYTES..PAGE_BYTES + 1));
    disk.fail_at(disk.operations(), Fault::Error);
    disk.fail_at(disk.operations() + 1, Fault::Error);
    mapping.prefetch(0..mapping.len());
    assert!(mapping.populate(0..mapping.len()).is_err());
    assert!(!mapping.is_resident(0..mapping.len()));
    mapping.prefetch(0..mapping.len());
    assert!(mapping.is_resident(0..mapping.len()));
    assert_eq!(*mapping, *bytes(3 * PAGE_BYTES - 5));
}

#[test]
fn bytes_are_copied_on_every_disk() {
    on_each_disk(|storage, _| {
        let all = bytes(5 * PAGE_BYTES + 100);
        publish(storage, "file", &all).unwrap();
        let mapping = storage.open("file").unwrap();
        for (start, len) in
            [(0, 0), (0, 1), (1, PAGE_BYTES), (PAGE_BYTES, 2 * PAGE_BYTES), (0, all.len()), (all.len(), 0)]
        {
            let mut copy = vec![0; len];
            mapping.read_into(start, &mut copy).unwrap();
            assert!(copy == all[start..start + len], "{len} bytes from {start}");
            copy.fill(0);
            if mapping.try_read_into(start, &mut copy).unwrap() {
                assert!(copy == all[start..start + len], "{len} bytes from {start}");
            }
        }
    });
}

#[test]
fn a_copy_of_what_a_faulty_disk_has_cached_goes_both_ways() {
    let disk = FaultyDisk::new();
    let storage = Storage::on(disk.clone()).unwrap();
    publish(&storage, "file", &bytes(PAGE_BYTES)).unwrap();
    let (mapping, mut copy) = (storage.open("file").unwrap(), vec![0; PAGE_BYTES]);
    let before = disk.operations();
    let copied = (0..100).filter(|_| mapping.try_read_into(0, &mut copy).unwrap()).count();
    assert!((20..80).contains(&copied), "{copied}");
    assert_eq!(disk.operations(), before);
    disk.fail_at(before, Fault::Error);
    assert!(mapping.read_into(0, &mut copy).is_err());
    mapping.read_into(0, &mut copy).unwrap();
    assert!(copy == bytes(PAGE_BYTES) && !mapping.is_resident(0..1));
}

/// Goal: what was written to be read soon is read without the disk; what is not in the page cache is not waited for.
#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn a_copy_waits_for_the_disk_only_if_it_is_told_to() {
    let folder = TempDir::new().unwrap();
    let storage = Storage::directory(folder.path()).unwrap();
    let all = bytes(3 << 20);
    let mut writer = storage.create_cached("file").unwrap();
    all.chunks(300_001).for_each(|piece| writer.write(piece).unwrap());
    writer.publish().unwrap();
    let mapping = storage.open("file").unwrap();
    let tried = || {
        let mut copy = vec![0; 4 * PAGE_BYTES];
        let starts = (0..all.len()).step_by(copy.len());
        let copied = starts.filter(|start| {
            let is_there = mapping.try_read_into(*start, &mut copy).unwrap();
            assert!(!is_there || copy == all[*start..*start + copy.len()]);
            is_there
        });
        copied.count()
    };
    let pieces = all.len() / (4 * PAGE_BYTES);
    let cached = tried();
    mapping.populate(0..all.len()).unwrap();
    mapping.evict(0..all.len());
    if cached == 0 || mapping.is_resident(0..all.len()) {
        println!("this file system knows nothing of a page cache, or keeps its pages: nothing is tested");
        return;
    }
    assert!(
        cached > pieces * 9 / 10,
        "{cached} of {pieces} pieces are in the page cache after they were written"
    );
    assert!(tried() < pieces / 2, "what is not there was waited for");
    let mut copy = vec![0; all.len()];
    mapping.read_into(0, &mut copy).unwrap();
    assert!(copy == all);
}

#[test]
#[should_panic(expected = "0..5 of 4 bytes")]
fn a_range_outside_of_a_file_is_a_bug() {
    let storage = Storage::on(FaultyDisk::new()).unwrap();
    publish(&storage, "file", b"four").unwrap();
    let _ = storage.open("file").unwrap().populate(0..5);
}

/// Lengths around pages and chunks, written in pieces of several sizes, with syncs in between.
#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn a_directory_keeps_files_of_any_length() {
    const CHUNK: usize = 1 << 20;
    let folder = TempDir::new().unwrap();
    let all = bytes(3 * CHUNK + 123);
    for mode in [WriteMode::Direct, WriteMode::Buffered] {
        let disk = Directory::open(folder.path()).unwrap();
        if mode == WriteMode::Direct && disk.write_mode() == WriteMode::Buffered {
            println!("no O_DIRECT in {}: only buffered writes are tested", folder.path().display());
            continue;
        }
        let storage = Storage::on(disk.with_write_mode(mode)).unwrap();
        for len in [0, 1, 511, 4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 4096, 3 * CHUNK + 123] {
            for (piece, syncs) in
                [(len.max(1), false), (4096, false), (777, false), (300_001, true), (1 << 19, true)]
            {
                let mut writer = storage.create("file").unwrap();
                for bytes in all[..len].chunks(piece) {
                    writer.write(bytes).unwrap();
                    if syncs {
                        writer.sync().unwrap();
                    }
                }
                writer.publish().unwrap();
                assert!(*storage.open("file").unwrap() == all[..len], "{mode:?}: {len} bytes by {piece}");
                assert_eq!(storage.length("file").unwrap(), Some(len as u64));
                storage.remove("file").unwrap();
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn a_directory_has_one_owner() {
    let folder = TempDir::new().unwrap();
    let first = Storage::directory(folder.path()).unwrap();
    let error = Storage::directory(folder.path()).unwrap_err();
    let process = std::process::id();
    let expected = format!(
        "{} is in use by process {process}: stop who uses it, or choose another directory",
        folder.path().display()
    );
    assert_eq!(error.to_string(), expected);
    let clone = first.clone();
    drop(first);
    assert!(Storage::directory(folder.path()).is_err(), "a clone is still there");
    drop(clone);
    Storage::directory(folder.path()).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn a_directory_loses_what_a_crash_left_half_written_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    publish(&Storage::directory(folder.path()).unwrap(), "kept", b"kept").unwrap();
    fs::write(folder.path().join("000001.sst.tmp"), b"half").unwrap();
    fs::write(folder.path().join("probe.tmp"), b"").unwrap();
    fs::write(folder.path().join(".hidden"), b"not ours").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let storage = Storage::directory(folder.path()).unwrap();
    assert_eq!(storage.list().unwrap(), [FileInfo { name: "kept".to_owned(), bytes: 4 }]);
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".hidden", "LOCK", "folder", "kept"]);
}

#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn a_directory_that_cannot_be_one_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, b"").unwrap();
    let error = Storage::directory(path.join("store")).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("cannot create {}", path.join("store").display())),
        "{error}"
    );
}

#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn directories_of_one_file_system_share_files() {
    let folder = TempDir::new().unwrap();
    let open = |name: &str| Storage::directory(folder.path().join(name)).unwrap();
    let (here, there) = (open("here"), open("there"));
    publish(&here, "file", b"shared").unwrap();
    assert_eq!(here.link_or_copy("file", &there).unwrap(), Transfer::Linked);
    here.remove("file").unwrap();
    assert_eq!(*there.open("file").unwrap(), *b"shared");
}

/// Pages of a mapped file come and go, on a real disk.
#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn pages_of_a_file_come_and_go() {
    let folder = TempDir::new().unwrap();
    let storage = Storage::directory(folder.path()).unwrap();
    let (len, first) = (600 * PAGE_BYTES + 7, 100 * PAGE_BYTES);
    publish(&storage, "file", &bytes(len)).unwrap();
    publish(&storage, "empty", b"").unwrap();
    let empty = storage.open("empty").unwrap();
    empty.populate(0..0).unwrap();
    empty.release(0..0);
    assert!(empty.is_resident(0..0));

    let mapping = storage.open("file").unwrap();
    mapping.populate(0..len).unwrap();
    assert!(mapping.is_resident(0..len));
    mapping.release(0..len);
    assert_eq!(*mapping, *bytes(len), "a released page comes back as it was");
    mapping.evict(first..len);
    assert_eq!(*mapping, *bytes(len), "an evicted page too");
    mapping.evict(0..len);
    if mapping.is_resident(first..len) {
        println!("this file system keeps its pages: eviction is not tested");
    } else {
        mapping.populate(first - 1..first + 1).unwrap();
        assert!(mapping.is_resident(first - 1..first + 1));
        let around = [first - 8 * PAGE_BYTES, first + 8 * PAGE_BYTES];
        assert!(around.iter().all(|at| !mapping.is_resident(*at..*at + 1)), "more was read than asked for");
    }
    mapping.advise_random();
    assert_eq!(*mapping, *bytes(len));
}

/// A file that someone makes shorter behind our back: an error, where reading it would end the process.
#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn pages_that_cannot_be_had_are_an_error() {
    let folder = TempDir::new().unwrap();
    let storage = Storage::directory(folder.path()).unwrap();
    publish(&storage, "file", &bytes(2 * PAGE_BYTES)).unwrap();
    let mapping = storage.open("file").unwrap();
    fs::OpenOptions::new().write(true).open(folder.path().join("file")).unwrap().set_len(10).unwrap();
    assert!(mapping.populate(0..2 * PAGE_BYTES).is_err());
}

/// Method: this test again, in a process that may write no file above 1 MiB, as a stand-in for a full disk.
#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn a_full_disk_is_an_error_of_its_own() {
    const FOLDER: &str = "THALWEG_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let storage = Storage::directory(folder).unwrap();
        let mut writer = storage.create("large").unwrap();
        let error = (0..64).find_map(|_| writer.write(&[7; 1 << 17]).err()).expect("8 MiB are too much");
        assert!(matches!(error, StorageError::Full { .. }), "{error:?}");
        assert!(matches!(writer.publish(), Err(StorageError::Poisoned { .. })));
        assert!(storage.list_all().unwrap().iter().all(|file| file.name == LOCK));
        publish(&storage, "small", b"fits").unwrap();
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut limited = Command::new("sh");
    // The unit of ulimit is 512 or 1024 bytes. Who ignores the signal gets an error.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1024 && exec \"$0\" --exact \"$1\""]);
    limited.arg(std::env::current_exe().unwrap()).arg("storage::tests::a_full_disk_is_an_error_of_its_own");
    let output = limited.env(FOLDER, folder.path().join("store")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(fs::read(folder.path().join("store/small")).unwrap(), b"fits");
}

/// A store is handed to helper threads.
#[test]
fn storage_may_be_used_from_any_thread() {
    fn check<T: Send + Sync>() {}
    check::<Storage>();
    check::<Mapping>();
    fn check_send<T: Send>() {}
    check_send::<Writer>();
    check_send::<Log>();
}

/// What is opened to be read only is neither locked nor cleaned up, and nothing can be done to it.
#[test]
#[cfg_attr(miri, ignore = "has no files")]
fn a_directory_can_be_read_while_its_owner_has_it() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    assert!(matches!(Storage::read_only(&root), Err(StorageError::Missing { .. })));
    assert!(!root.exists());
    let owner = Storage::directory(&root).unwrap();
    publish(&owner, "1.sst", &bytes(5000)).unwrap();
    let unfinished = owner.create("2.sst").unwrap();

    let reader = Storage::read_only(&root).unwrap();
    assert!(root.join("2.sst.tmp").exists(), "it is the owner's to remove");
    assert_eq!(reader.list().unwrap(), owner.list().unwrap());
    assert_eq!(reader.length("1.sst").unwrap(), Some(5000));
    let mapping = reader.open("1.sst").unwrap();
    let refused = |error: StorageError| {
        matches!(&error, StorageError::Io { source, .. }
        if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem)
    };
    assert!(refused(reader.create("3.sst").unwrap_err()));
    assert!(refused(reader.append("1.sst").unwrap_err()));
    assert!(refused(reader.remove("1.sst").unwrap_err()));
    assert!(refused(owner.link_or_copy_as("1.sst", &reader, "4.sst").unwrap_err()));

    owner.remove("1.sst").unwrap();
    assert_eq!(*mapping, bytes(5000), "what was opened stays");
    assert!(matches!(reader.open("1.sst"), Err(StorageError::Missing { .. })));
    // Its files can be had elsewhere.
    unfinished.publish().unwrap();
    let other = Storage::directory(folder.path().join("other")).unwrap();
    assert_eq!(reader.link_or_copy("2.sst", &other).unwrap(), Transfer::Linked);
}
