//! Look-ups of what is on a real disk only.

use super::*;
use crate::lsm::open::Part;
use crate::storage::PAGE_BYTES;

/// Method: a file is written, read, and evicted from the page cache. Then look-ups must not touch it, as the kernel says which
/// of its pages are in memory; requests bring in what they are for, and the same look-ups find it.
#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn a_look_up_does_not_touch_what_is_not_in_memory() {
    const USERS: u32 = 2000;
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::directory(folder.path().join("store")).unwrap();
    let options = Options { block_bytes: 16 << 10, file_bytes: 1 << 20, ..small() };
    let mut store = open(&storage, options);
    let value = |user: u32| vec![user as u8; 100];
    let entries = (0..USERS).map(|user| (key(0, PLAIN, user), (Kind::Put, value(user))));
    flush(&mut store, (entries.collect(), vec![])).unwrap();
    let number = store.version().files().next().unwrap().number;
    let file = store.files.slot(store.files.slot_of(number).unwrap()).file.clone();
    let blocks: Vec<_> = (0..file.sst.blocks()).map(|block| file.range(Part::Block(block))).collect();
    assert!(blocks.len() > 8 && blocks[0].len() >= 2 * PAGE_BYTES);

    let mapping = storage.open(&number.name()).unwrap();
    let evict = || {
        mapping.populate(0..mapping.len()).unwrap();
        mapping.evict(blocks[0].start..blocks.last().unwrap().end);
    };
    let resident = || -> Vec<usize> {
        (0..blocks.len())
            .filter(|block| {
                let mut pages = blocks[*block].clone().step_by(PAGE_BYTES);
                pages.any(|page| mapping.is_resident(page..page + 1))
            })
            .collect()
    };
    evict();
    if !resident().is_empty() {
        println!("this file system keeps its pages: eviction is not tested");
        return;
    }

    let mut keys = KeyBatch::default();
    for user in [5, USERS / 2, USERS - 5] {
        keys.push(&key(0, PLAIN, user)).unwrap();
    }
    let absent = keys.push(&key(7, PLAIN, 3)).unwrap();
    store
        .get_batch(&keys, |number, answer| {
            let expected = if number == absent { Answer::Absent } else { Answer::Cold };
            assert_eq!(answer, expected);
        })
        .unwrap();
    assert_eq!(resident(), [0; 0], "the look-up has read from the disk");
    let scan = store.scan(&everything(), |_, _| panic!("nothing is there")).unwrap();
    assert!(matches!(scan, ScanEnd::Cold { .. }));
    assert_eq!(resident(), [0; 0], "the scan has read from the disk");

    let first = store.poll_request().unwrap().perform();
    assert_eq!(resident().len(), 1, "what is asked for comes in, and nothing around it");
    store.on_part_ready(first).unwrap();
    while let Some(request) = store.poll_request() {
        request.prefetch();
        store.on_part_ready(request.perform()).unwrap();
    }
    let users = [5, USERS / 2, USERS - 5];
    store
        .get_batch(&keys, |number, answer| match users.get(number) {
            Some(user) => assert_eq!(answer, Answer::Found(&value(*user))),
            None => assert_eq!(answer, Answer::Absent),
        })
        .unwrap();
    let (cold, asked) = (store.metrics().cold_reads, resident().len());
    assert!(asked >= 3 && asked < blocks.len(), "{asked} of {} blocks", blocks.len());
    assert_eq!((cold, store.metrics().blocking_reads), (4, 0)); // The scan has met one too.
}

/// A batch that needs twenty times the memory there is gets its answers, and reads no block more than twice.
#[test]
fn a_batch_larger_than_the_memory_is_answered_without_reading_all_over_again() {
    let options = Options { memory_bytes: 4 << 20, table_share: 0.9, ..Options::nvme() };
    let mut store = open(&Storage::on(FaultyDisk::new()).unwrap(), options);
    let entry = |user: u32| (key((user / 4096) as u16, PLAIN, user), (Kind::Put, vec![user as u8; 200]));
    let users = 40_000;
    flush(&mut store, ((0..users).map(entry).collect(), vec![])).unwrap();
    let blocks: u32 = {
        let slots = store.version().files().map(|file| store.files.slot_of(file.number).unwrap());
        slots.map(|slot| store.files.slot(slot).file.sst.blocks()).sum()
    };
    assert!(blocks as usize * (16 << 10) > 15 * store.budget_bytes());
    let (mut dice, mut keys, mut wanted) = (Dice(9), KeyBatch::default(), Vec::new());
    for _ in 0..4 * users {
        let user = dice.roll(users.into()) as u32;
        keys.push(&entry(user).0).unwrap();
        wanted.push(user);
    }
    let mut answers = 0;
    store
        .get_waiting(&keys, |number, answer| {
            assert_eq!(answer.value(), Some(&[wanted[number] as u8; 200][..]));
            answers += 1;
        })
        .unwrap();
    let Metrics { parts_in, resident_bytes, .. } = store.metrics();
    assert_eq!(answers, keys.len());
    assert!(parts_in < 2 * u64::from(blocks), "{parts_in} parts came in for {blocks} blocks");
    assert!(resident_bytes <= store.budget_bytes());
}

/// A scan over nine dropped windows of ten, and the compaction that removes them, read of the old blocks only those of the tenth.
#[test]
fn what_a_tombstone_hides_is_not_read() {
    let disk = FaultyDisk::new();
    let mut store = open(&Storage::on(disk.clone()).unwrap(), Options { runs_max: 2, ..small() });
    let entry = |user: u32| (key(0, PLAIN, user), (Kind::Put, vec![user as u8; 100]));
    flush(&mut store, ((0..10_000).map(entry).collect(), vec![])).unwrap();
    let blocks: usize = store.version().files().map(|file| file.bytes as usize / 4096).sum();
    assert!(blocks > 250);
    let windows = (0..10).filter(|window| *window != 4);
    let dropped = windows.map(|window| KeyRange::new(&entry(1000 * window).0, &entry(1000 * (window + 1)).0));
    flush(&mut store, (BTreeMap::new(), dropped.collect())).unwrap();
    let model: Model = (4000..5000).map(entry).map(|(key, (_, value))| (key, value)).collect();

    let before = store.metrics().parts_in;
    assert_eq!(contents(&mut store, &everything()), model);
    let read = store.metrics().parts_in - before;
    assert!(read < blocks as u64 / 5, "{read} of {blocks} blocks were read");

    let (files, before) = (store.version().files().len(), disk.operations());
    let mut job = store.poll_job().unwrap();
    assert_eq!(job.kind(), JobKind::Compact);
    while !one_step(&mut job) {}
    let operations = disk.operations() - before;
    store.on_job_done(job);
    assert!(
        files > 60 && operations < 200,
        "{operations} operations for {files} files, each of which takes four"
    );
    assert_eq!(contents(&mut store, &everything()), model);
}

#[test]
fn a_batch_keeps_the_keys_that_it_is_told_to() {
    let mut keys = KeyBatch::default();
    let all: Vec<Vec<u8>> = (0..20).map(|user| key(user as u16, PLAIN, user)).collect();
    all.iter().for_each(|key| {
        keys.push(key).unwrap();
    });
    keys.retain(|number| number % 3 == 1);
    let mut expected = KeyBatch::default();
    all.iter().skip(1).step_by(3).for_each(|key| {
        expected.push(key).unwrap();
    });
    assert_eq!(keys.len(), expected.len());
    for number in 0..keys.len() {
        assert_eq!((keys.key(number), keys.hash(number)), (expected.key(number), expected.hash(number)));
    }
}

/// Goal: one who waits gets what was asked for before, though nobody can hand it over meanwhile. What comes in later does no harm.
#[test]
fn what_is_on_its_way_is_not_waited_for() {
    let filled = || {
        let mut store = open(&Storage::memory(), small());
        let entries = (0..500).map(|user| (key(0, PLAIN, user), (Kind::Put, vec![7; 50])));
        flush(&mut store, (entries.collect(), Vec::new())).unwrap();
        store
    };
    let mut keys = KeyBatch::default();
    (0..500).for_each(|user| assert!(keys.push(&key(0, PLAIN, user)).is_ok()));
    let mut store = filled();
    store.get_batch(&keys, |_, _| {}).unwrap();
    let on_their_way: Vec<_> = std::iter::from_fn(|| store.poll_request()).collect();
    assert!(on_their_way.len() > 5);
    let mut found = 0;
    store.get_waiting(&keys, |_, answer| found += usize::from(answer.value().is_some())).unwrap();
    assert_eq!(found, 500);
    for request in on_their_way {
        store.on_part_ready(request.perform()).unwrap();
    }
    store.check();

    let mut store = filled();
    assert!(matches!(store.scan(&everything(), |_, _| ControlFlow::Continue(())), Ok(ScanEnd::Cold { .. })));
    let on_its_way = store.poll_request().expect("the scan asked for something");
    assert_eq!(contents(&mut store, &everything()).len(), 500);
    store.on_part_ready(on_its_way.perform()).unwrap();
    store.check();
}

/// Bytes of a file that this process has mapped in memory, as the kernel counts them.
fn mapped_bytes(path: &std::path::Path) -> usize {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_ours = false;
    let mut bytes = 0;
    for line in smaps.lines() {
        match line.strip_prefix("Rss:") {
            // The first line of a mapping, which begins with its addresses; an anonymous one has no path.
            None if line.split(' ').next().unwrap().contains('-') => {
                is_ours = line.ends_with(path.to_str().unwrap());
            }
            Some(rss) if is_ours => {
                bytes += 1024 * rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap();
            }
            _ => {}
        }
    }
    bytes
}

/// Goal: what is in memory is what is counted, although the kernel maps pages around one that is touched. Method: every eighth block
/// of a file that is in the page cache as a whole is asked for.
#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn what_the_kernel_maps_around_a_block_does_not_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let storage = Storage::directory(&path).unwrap();
    let options = Options { filter_bits: 0, file_bytes: 4 << 20, ..small() };
    let mut store = open(&storage, options);
    let entries = (0..20_000).map(|user| (key(0, PLAIN, user), (Kind::Put, vec![user as u8; 100])));
    flush(&mut store, (entries.collect(), vec![])).unwrap();
    let number = store.version().files().next().unwrap().number;
    let file = store.files.slot(store.files.slot_of(number).unwrap()).file.clone();
    // Reads all of it into the kernel's cache.
    std::fs::read(path.join(number.name())).unwrap();
    let asked: Vec<u32> = (0..file.sst.blocks()).step_by(8).collect();
    assert!(asked.len() > 20);
    while let Some(request) = store.poll_request() {
        store.on_part_ready(request.perform()).unwrap();
    }
    let before = mapped_bytes(&path.join(number.name()));
    for &block in &asked {
        store.files.want_block(number, block);
    }
    let mut counted = 0;
    while let Some(request) = store.poll_request() {
        store.on_part_ready(request.perform()).unwrap();
        counted += 4096;
    }
    let mapped = mapped_bytes(&path.join(number.name())) - before;
    assert_eq!(mapped, counted, "in bytes, of {} blocks", asked.len());
}
