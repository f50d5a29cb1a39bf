//! What becomes of a store when disks fail and the power is lost.

use super::*;
use std::cell::Cell;

/// A flush that was acknowledged is there, and the next one wholly or not at all, whenever the power is lost: in it, in the
/// compaction after it, or in the removal of what that has replaced.
#[test]
fn what_was_acknowledged_survives_a_crash() {
    let mut dice = Dice(11);
    let all: Vec<Changes> = (0..6).map(|_| dice.changes(60, 40)).collect();
    let models: Vec<Model> = all
        .iter()
        .scan(Model::new(), |model, changes| {
            apply(model, changes);
            Some(model.clone())
        })
        .collect();
    let (before, acknowledged) = (2, Cell::new(0));
    let run = |disk: &FaultyDisk, batches: &[Changes]| -> Result<()> {
        let storage = Storage::on(disk.clone())?;
        let mut store = try_open(&storage, small())?;
        for changes in batches {
            flush(&mut store, changes.clone())?;
            acknowledged.set(acknowledged.get() + 1);
            run_jobs(&mut store)?;
        }
        Ok(())
    };
    let points = FaultyDisk::crash_points(
        3,
        |disk| {
            acknowledged.set(0);
            run(disk, &all[..before]).unwrap();
        },
        |disk| drop(run(disk, &all[before..])),
        |disk, case| {
            let storage = Storage::on(disk.clone()).unwrap();
            let mut store = open(&storage, small());
            let found = contents(&mut store, &everything());
            let known = acknowledged.get();
            let on_its_way = models.get(known).filter(|model| **model == found);
            assert!(models[known - 1] == found || on_its_way.is_some(), "{case}: after {known} flushes");
            assert_eq!(storage.list().unwrap().len(), store.version().files().len() + 1, "{case}: garbage");
            flush(&mut store, (all[0].0.clone(), vec![everything()])).unwrap(); // And it goes on.
            let mut model = Model::new();
            apply(&mut model, &(all[0].0.clone(), vec![]));
            assert_eq!(contents(&mut store, &everything()), model, "{case}");
        },
    );
    assert!(points >= 80, "{points}");
}

/// A restore that was interrupted is no store yet, and may be begun again; or it is there as a whole.
#[test]
fn after_a_crash_a_restore_is_whole_or_can_be_repeated() {
    let max = MaxParallelism::new(8).unwrap();
    let share = crate::range_of(1, max, 3);
    let mut dice = Dice(6);
    let (mut store, mut model) = (open(&Storage::memory(), small()), Model::new());
    for _ in 0..5 {
        let changes = dice.changes(150, 40);
        apply(&mut model, &changes);
        flush(&mut store, changes).unwrap();
        if store.version().runs().len() == 3 {
            run_jobs(&mut store).unwrap();
        }
    }
    model.retain(|key, _| share.contains(EncodedKey::new(key).unwrap().key_group()));
    let place = Storage::memory();
    store.snapshot().write(&place).unwrap();
    let run = |disk: &FaultyDisk| -> Result<Store> {
        let storage = Storage::on(disk.clone())?;
        Ok(with_states(restore(&storage, std::slice::from_ref(&place), share, small(), 9)?))
    };
    let (whole, repeated) = (Cell::new(0), Cell::new(0));
    let points = FaultyDisk::crash_points(
        3,
        |_| {},
        |disk| drop(run(disk)),
        |disk, case| {
            let mut restored = match run(disk) {
                Err(Error::NotEmpty { .. }) => {
                    whole.set(whole.get() + 1);
                    open(&Storage::on(disk.clone()).unwrap(), small())
                }
                restored => {
                    repeated.set(repeated.get() + 1);
                    restored.unwrap_or_else(|error| panic!("{case}: {error}"))
                }
            };
            assert_eq!(contents(&mut restored, &everything()), model, "{case}");
            let files = Storage::on(disk.clone()).unwrap().list().unwrap();
            assert_eq!(files.len(), restored.version().files().len() + 1, "{case}: garbage");
        },
    );
    assert!(points > 40 && whole.get() > 3 && repeated.get() > 60, "{points} {whole:?} {repeated:?}");
}

/// A place that has a snapshot keeps it until the next one is complete.
#[test]
fn after_a_crash_a_snapshot_is_the_last_one_or_the_one_before() {
    let mut dice = Dice(5);
    let changes: Vec<_> = (0..3).map(|_| dice.changes(80, 40)).collect();
    let mut models = vec![Model::new()];
    let mut store = open(&Storage::memory(), small());
    let mut snapshots = vec![store.snapshot()];
    for changes in &changes {
        flush(&mut store, changes.clone()).unwrap();
        run_jobs(&mut store).unwrap();
        snapshots.push(store.snapshot());
        let mut model = models.last().unwrap().clone();
        apply(&mut model, changes);
        models.push(model);
    }
    let write = |disk: &FaultyDisk, snapshot: &Snapshot| -> Result<()> {
        snapshot.write(&Storage::on(disk.clone())?).map(drop)
    };
    let points = FaultyDisk::crash_points(
        2,
        |disk| write(disk, &snapshots[1]).unwrap(),
        |disk| drop(write(disk, &snapshots[3])),
        |disk, case| {
            let place = Storage::on(disk.clone()).unwrap();
            let mut restored = restore_all(std::slice::from_ref(&place), 9);
            let found = contents(&mut restored, &everything());
            assert!(found == models[1] || found == models[3], "{case}");
            snapshots[2].write(&place).unwrap(); // And it can be written over.
            let mut restored = restore_all(&[place], 9);
            assert_eq!(contents(&mut restored, &everything()), models[2], "{case}");
        },
    );
    assert!(points > 10, "{points}");
}

/// Every operation of a flush fails once. What was written before is removed, and the flush may be tried again; unless it was
/// the manifest that failed: then the store takes nothing more, and opened anew it has the flush or does not.
#[test]
fn a_failed_flush_changes_nothing() {
    let (first, second) = (Dice(1).changes(100, 50), Dice(2).changes(100, 50));
    let (mut before, mut after) = (Model::new(), Model::new());
    apply(&mut before, &first);
    for changes in [&first, &second] {
        apply(&mut after, changes);
    }
    for fault in [Fault::Full, Fault::Error] {
        let (mut retried, mut reopened) = (0, 0);
        for point in 0.. {
            let disk = FaultyDisk::new();
            let storage = Storage::on(disk.clone()).unwrap();
            let mut store = open(&storage, small());
            flush(&mut store, first.clone()).unwrap();
            disk.fail_at(disk.operations() + point, fault);
            if flush(&mut store, second.clone()).is_ok() {
                break; // It has fewer operations: the fault is still to come.
            }
            assert_eq!(store.metrics().jobs_failed, 1);
            assert_eq!(contents(&mut store, &everything()), before, "{fault:?} {point}");
            if flush(&mut store, second.clone()).is_ok() {
                retried += 1;
                assert_eq!(
                    storage.list().unwrap().len(),
                    3,
                    "the manifest, and a file of each flush that was done"
                );
                check(&mut store, &after, 50);
                continue;
            }
            reopened += 1;
            drop(store);
            let storage = Storage::on(disk.clone()).unwrap();
            let found = contents(&mut open(&storage, small()), &everything());
            assert!(found == before || found == after, "{fault:?} {point}");
        }
        assert!(retried > 3 && reopened > 1, "{fault:?}: {retried}, {reopened}");
    }
}
