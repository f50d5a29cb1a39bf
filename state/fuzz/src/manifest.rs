//! The lines of a manifest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg_state::lsm::{MANIFEST, Manifest, Verifier};
use thalweg_state::storage::Storage;
use thalweg_state_fuzz::{put_file, seal_manifest};

fuzz_target!(|data: &[u8]| {
    for bytes in [data.to_vec(), seal_manifest(data)] {
        let storage = Storage::memory();
        put_file(&storage, MANIFEST, &bytes);
        let _ = Manifest::read(&storage);
        if let Ok(mut verifier) = Verifier::open(&storage) {
            let mut damages = Vec::new();
            while verifier.step(&mut damages) {}
        }
        if let Ok((manifest, recovery)) = Manifest::open(&storage) {
            // What was read is written again as it was.
            assert_eq!(**manifest.version(), recovery.version);
        }
    }
});
