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
    let around = resident();
    assert!(
        around.len() <= 4,
        "what is asked for comes in, with what is around it: {around:?} of 16 KiB each"
    );
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

/// A value that cannot be compressed.
fn noise(user: u32) -> Vec<u8> {
    (0..16).flat_map(|word| crate::hash_pair(user.into(), word).to_le_bytes()).collect()
}

/// A store of ten times as much as its budget, in a folder, and the users that it has.
fn store_larger_than_memory(folder: &std::path::Path, options: Options) -> (Store, u32) {
    let options = Options { memory_bytes: 4 << 20, table_share: 0.8, ..options };
    let mut store = open(&Storage::directory(folder).unwrap(), options);
    let users = 60_000;
    let entries = (0..users).map(|user| (key((user / 4096) as u16, PLAIN, user), (Kind::Put, noise(user))));
    flush(&mut store, (entries.collect(), vec![])).unwrap();
    assert!(store.version().files().map(|file| file.bytes).sum::<u64>() > 10 * store.budget_bytes() as u64);
    (store, users)
}

/// Looks up 40 random users, and says how many of them were cold. The others are right.
fn look_up(store: &mut Store, dice: &mut Dice, users: u32) -> usize {
    let (mut keys, mut wanted, mut cold) = (KeyBatch::default(), Vec::new(), 0);
    for _ in 0..40 {
        let user = dice.roll(users.into()) as u32;
        keys.push(&key((user / 4096) as u16, PLAIN, user)).unwrap();
        wanted.push(user);
    }
    let each = |number: usize, answer: Answer<'_>| match answer {
        Answer::Cold => cold += 1,
        answer => assert_eq!(answer.value(), Some(&noise(wanted[number])[..])),
    };
    store.get_batch(&keys, each).unwrap();
    cold
}

/// Goal: what the page cache has is found at once, within the budget, of which the kernel and the allocator agree. Method: random
/// look-ups in a store that was just written.
#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn what_does_not_fit_the_budget_is_copied_out_of_the_page_cache() {
    for compressed_from_level in [0, usize::MAX] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { compressed_from_level, block_bytes: 4096, ..Options::nvme() };
        let (mut store, users) = store_larger_than_memory(&folder.path().join("store"), options);
        while let Some(request) = store.poll_request() {
            store.on_part_ready(request.perform()).unwrap();
        }
        let (mut dice, mut cold) = (Dice(5), 0);
        for _ in 0..500 {
            cold += look_up(&mut store, &mut dice, users);
            assert!(store.metrics().resident_bytes <= store.budget_bytes());
            while let Some(request) = store.poll_request() {
                store.on_part_ready(request.perform()).unwrap();
            }
        }
        store.check();
        let metrics = store.metrics();
        assert!(cold < 500, "{cold} of 20000 look-ups would have waited");
        assert!(metrics.parts_out > 5_000 && metrics.blocking_reads == 0, "{metrics:?}");
        let files = store.version().files().map(|file| folder.path().join("store").join(file.number.name()));
        let mapped: usize = files.map(|path| mapped_bytes(&path)).sum();
        let in_place = metrics.resident_bytes - store.files.frames().bytes();
        assert!(mapped <= in_place, "{mapped} bytes are mapped, {in_place} are counted");
    }
}

/// Goal: what the page cache has not is not waited for, but asked for. Method: files are evicted between look-ups.
#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn what_would_have_to_be_waited_for_is_cold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (mut store, users) = store_larger_than_memory(&path, Options::nvme());
    let mappings: Vec<_> = store
        .version()
        .files()
        .map(|meta| store.files.slot(store.files.slot_of(meta.number).unwrap()).file.clone())
        .collect();
    let (mut dice, mut cold) = (Dice(5), 0);
    for _ in 0..20 {
        for file in &mappings {
            let blocks = file.sst.section_range(crate::lsm::sst::Section::Blocks);
            file.populate(blocks.clone()).unwrap();
            file.sst.source().evict(blocks.clone());
            if file.sst.source().is_resident(blocks) {
                println!("this file system keeps its pages: eviction is not tested");
                return;
            }
        }
        cold += look_up(&mut store, &mut dice, users);
        while let Some(request) = store.poll_request() {
            store.on_part_ready(request.perform()).unwrap();
        }
    }
    assert!(cold > 20 * 40 / 2, "{cold} of {} look-ups were cold", 20 * 40);
    assert!(store.metrics().resident_bytes <= store.budget_bytes());
    store.check();
}

/// Goal: whoever is told that a part is not there can wait for it, even if it has come for another key of the batch. Method: a disk that
/// would wait every second time, and batches of neighbours.
#[test]
fn what_was_cold_for_a_key_is_asked_for_though_it_came_for_another() {
    let options = Options { memory_bytes: 4 << 20, table_share: 0.9, ..Options::nvme() };
    let mut store = open(&Storage::on(FaultyDisk::new()).unwrap(), options);
    let entry = |user: u32| (key(0, PLAIN, user), (Kind::Put, vec![user as u8; 200]));
    flush(&mut store, ((0..20_000).map(entry).collect(), vec![])).unwrap();
    let ready = |store: &mut Store| {
        let mut count = 0;
        while let Some(request) = store.poll_request() {
            store.on_part_ready(request.perform()).unwrap();
            count += 1;
        }
        count
    };
    ready(&mut store);
    let mut mixed = 0;
    for first in (0..20_000).step_by(100) {
        let mut keys = KeyBatch::default();
        (first..first + 3).for_each(|user| _ = keys.push(&entry(user).0).unwrap());
        let mut cold = 0;
        store.get_batch(&keys, |_, answer| cold += usize::from(answer == Answer::Cold)).unwrap();
        mixed += usize::from(cold > 0 && cold < 3);
        assert!(cold == 0 || ready(&mut store) > 0, "nobody does anything for {first}");
    }
    assert!(mixed > 10, "{mixed} batches were cold in part");
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
        let entries = (0..5000).map(|user| (key(0, PLAIN, user), (Kind::Put, vec![7; 50])));
        flush(&mut store, (entries.collect(), Vec::new())).unwrap();
        store
    };
    let mut keys = KeyBatch::default();
    (0..5000).for_each(|user| assert!(keys.push(&key(0, PLAIN, user)).is_ok()));
    let mut store = filled();
    store.get_batch(&keys, |_, _| {}).unwrap();
    let on_their_way: Vec<_> = std::iter::from_fn(|| store.poll_request()).collect();
    assert!(on_their_way.len() > 5);
    let mut found = 0;
    store.get_waiting(&keys, |_, answer| found += usize::from(answer.value().is_some())).unwrap();
    assert_eq!(found, 5000);
    for request in on_their_way {
        store.on_part_ready(request.perform()).unwrap();
    }
    store.check();

    let mut store = filled();
    assert!(matches!(store.scan(&everything(), |_, _| ControlFlow::Continue(())), Ok(ScanEnd::Cold { .. })));
    let on_its_way = store.poll_request().expect("the scan asked for something");
    assert_eq!(contents(&mut store, &everything()).len(), 5000);
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
