//! What becomes of snapshots when disks fail and the power is lost.

use std::cell::Cell;

use super::*;

/// Goal: whenever the power is lost while a snapshot is brought to its place, the one before is there, or the new one.
#[test]
fn after_a_crash_a_place_has_a_whole_snapshot() {
    let model_after = |seeds: &[(u64, u64)]| {
        let mut model = Model::default();
        let all = seeds.iter().flat_map(|(seed, count)| changes(*seed, *count));
        all.for_each(|change| apply(&change, &mut model));
        model.tidy()
    };
    let (before, after) = (model_after(&[(1, 300)]), model_after(&[(1, 300), (2, 50)]));
    for kind in KINDS {
        // The same store each time, as far as its place can tell.
        let core = |first_place| {
            let mut core = Core::open(kind, &Storage::memory(), first_place);
            apply_all(&mut core, &mut Model::default(), changes(1, 300));
            core.complete();
            core
        };
        let run = |disk: &FaultyDisk| -> Result<(), Error> {
            let mut core = core(Storage::memory());
            core.place = Storage::on(disk.clone())?;
            apply_all(&mut core, &mut Model::default(), changes(2, 50));
            core.snapshot();
            core.outcome().map(drop)
        };
        let (olds, news) = (Cell::new(0), Cell::new(0));
        let points = FaultyDisk::crash_points(
            2,
            |disk| drop(core(Storage::on(disk.clone()).unwrap())),
            |disk| drop(run(disk)),
            |disk, case| {
                let place = Storage::on(disk.clone()).unwrap();
                let all = KeyGroupRange::all(max());
                for kind in KINDS {
                    let mut restored = Core::restore(kind, std::slice::from_ref(&place), all, 9).unwrap();
                    let found = restored.contents();
                    assert!(found == before || found == after, "{case}");
                    let count = if found == before { &olds } else { &news };
                    count.set(count.get() + 1);
                }
            },
        );
        assert!(points > 10 && olds.get() > 10 && news.get() > 2, "{kind:?}: {points} {olds:?} {news:?}");
    }
}

/// Goal: a snapshot that cannot be brought to its place says why, and is without effect on what it was taken of. Method: each
/// operation on the place fails once.
#[test]
fn a_place_that_fails_is_an_error_of_the_snapshot_only() {
    for kind in KINDS {
        for fault in [Fault::Full, Fault::Error] {
            let mut failed = 0;
            for point in 0.. {
                let disk = FaultyDisk::new();
                let mut core = Core::open(kind, &Storage::memory(), Storage::on(disk.clone()).unwrap());
                let mut model = Model::default();
                apply_all(&mut core, &mut model, changes(3, 200));
                core.complete();
                apply_all(&mut core, &mut model, changes(4, 50));
                disk.fail_at(disk.operations() + point, fault);
                core.snapshot();
                let outcome = core.outcome();
                assert_eq!(core.contents(), model.clone().tidy(), "{kind:?} {fault:?} {point}");
                apply_all(&mut core, &mut model, changes(5, 50));
                core.place = Storage::memory();
                core.complete();
                let all = KeyGroupRange::all(max());
                let mut restored = Core::restore(kind, &[core.place.clone()], all, 9).unwrap();
                assert_eq!(restored.contents(), model.tidy(), "{kind:?} {fault:?} {point}");
                match outcome {
                    Err(error) => assert!(matches!(error, Error::Store(_)), "{error}"),
                    Ok(_) => break,
                }
                failed += 1;
            }
            assert!(failed > 3, "{kind:?} {fault:?}: {failed}");
        }
    }
}

/// Goal: when the files of a heap's snapshots cannot be written, the job goes on, and the next snapshot that succeeds has everything.
/// Method: each operation on them fails once.
#[test]
fn what_a_failed_snapshot_of_the_heap_has_lost_is_in_the_next() {
    for fault in [Fault::Full, Fault::Error] {
        let (mut recovered, mut stuck) = (0, 0);
        for point in 0.. {
            let disk = FaultyDisk::new();
            let storage = Storage::on(disk.clone()).unwrap();
            let mut core = Core::open(BackendKind::Heap, &storage, Storage::memory());
            let mut model = Model::default();
            apply_all(&mut core, &mut model, changes(6, 200));
            core.complete();
            apply_all(&mut core, &mut model, changes(7, 40));
            disk.fail_at(disk.operations() + point, fault);
            // Two are frozen before the first is written: the second would build on it.
            core.snapshot();
            let mut first = core.pending.take().unwrap();
            apply_all(&mut core, &mut model, changes(8, 10));
            core.snapshot();
            let second = core.outcome();
            let is_lost = first.poll_outcome().expect("it came first").is_err();
            assert!(!is_lost || second.is_err(), "what builds on it is lost too");
            assert!(core.core.take_fault().is_none());
            apply_all(&mut core, &mut model, changes(9, 10));
            core.snapshot();
            if let Err(error) = core.outcome() {
                assert!(is_lost || second.is_err(), "{error}"); // Its manifest or directory takes nothing any more.
                stuck += 1;
                continue;
            }
            assert_eq!(core.contents(), model.clone().tidy());
            let all = KeyGroupRange::all(max());
            let mut restored = Core::restore(BackendKind::Lsm, &[core.place.clone()], all, 9).unwrap();
            assert_eq!(restored.contents(), model.tidy(), "{fault:?} {point}");
            if second.is_ok() {
                break;
            }
            recovered += 1;
        }
        assert!(recovered > 3 && stuck > 0, "{fault:?}: {recovered} {stuck}");
    }
}
