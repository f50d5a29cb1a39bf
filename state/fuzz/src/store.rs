//! A store of files of any bytes: read, compacted, written as a snapshot, restored.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;
use thalweg_state::KeyGroupRange;
use thalweg_state::lsm::{
    Budget, Fingerprint, KeyBatch, KeyRange, Manifest, Options, StateSpec, Store, restore,
};
use thalweg_state::lsm::{JobProgress, Verifier};
use thalweg_state::storage::Storage;
use thalweg_state_fuzz::{seal_sst, store_of};

/// More steps than any job of a file of this size takes.
const STEPS_MAX: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let mut file = data.to_vec();
    seal_sst(&mut file);
    let Some(storage) = store_of(&file, 2) else { return };
    verify(&storage);
    let _ = use_store(&storage);
    let range = KeyGroupRange { start: 0, end: 1 };
    let _ = restore(&Storage::memory(), &[storage], range, options(), 2);
});

fn options() -> Options {
    Options { runs_max: 1, memory_bytes: 4 << 20, ..Options::nvme() }
}

fn verify(storage: &Storage) {
    let Ok(mut verifier) = Verifier::open(storage) else { return };
    let mut damages = Vec::new();
    while verifier.step(&mut damages) {}
}

fn use_store(storage: &Storage) -> Result<(), thalweg_state::lsm::Error> {
    let states = states(storage);
    let (mut store, _) = Store::open(storage, options(), 1)?;
    for (name, schema) in states {
        let _ = store.register(StateSpec::new(&name, schema));
    }
    let mut keys = KeyBatch::default();
    let all = KeyRange::new(b"", &[0xff; 5]);
    let mut entries = 0;
    let _ = store.scan_waiting(&all, |key, _| {
        let _ = keys.push(key);
        entries += 1;
        if entries < 1000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let _ = store.get_waiting(&keys, |_, _| ());
    while let Some(mut job) = store.poll_job() {
        for step in 0.. {
            assert!(step < STEPS_MAX, "{job:?} does not end");
            match job.step(Budget::default(), Duration::ZERO) {
                Ok(JobProgress::Finished) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let is_finished = job.is_finished();
        store.on_job_done(job);
        if !is_finished {
            break; // It would be asked for again.
        }
    }
    let _ = store.snapshot().write(&Storage::memory());
    Ok(())
}

/// What the store's files say their states are.
fn states(storage: &Storage) -> Vec<(String, Fingerprint)> {
    let Ok((version, _)) = Manifest::read_alone(storage) else { return Vec::new() };
    let metas = version.files().filter_map(|file| storage.open(&file.number.name()).ok());
    let ssts: Vec<_> = metas.filter_map(|bytes| thalweg_state::lsm::sst::Sst::open(bytes).ok()).collect();
    let states = ssts.iter().flat_map(|sst| &sst.meta().states);
    states.map(|state| (state.name.clone(), Fingerprint(state.schema))).collect()
}
