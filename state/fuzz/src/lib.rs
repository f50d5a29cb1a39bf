//! What the fuzz targets share: checksums made right again, so that damage gets past them, and files of a store.
//!
//! `.ci/fuzz` builds and runs the targets, with libFuzzer and AddressSanitizer. Each takes any bytes, and asserts no more than that
//! nothing panics, overflows or runs on; what bytes mean is for the tests of the crate.
//! - `sst`: an SST, opened, verified, searched and read in order;
//! - `store`: the same file twice in a store, which is read, compacted, written as a snapshot and restored;
//! - `manifest`: the lines of a manifest;
//! - `values`: encoded keys, and archives of values.

use thalweg_state::lsm::{FileMeta, FileNumber, Fingerprint, KeyRange, Manifest, VersionEdit, sst::Sst};
use thalweg_state::storage::Storage;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The length of an SST's footer, and that of what it says of a section.
const FOOTER_BYTES: usize = 128;
const EXTENT_BYTES: usize = 24;

/// How many blocks get a right checksum: the first ones. The others are damaged, which is to be found.
const SEALED_BLOCKS: usize = 16;

fn number(file: &[u8], at: usize, width: usize) -> usize {
    file[at..at + width].iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte))
}

fn put_sum(file: &mut [u8], at: usize, of: std::ops::Range<usize>) {
    let sum = xxh3_64(&file[of]).to_le_bytes();
    file[at..at + 8].copy_from_slice(&sum);
}

/// Makes the checksums of an SST right, as far as its sections are within it, and its magic number.
pub fn seal_sst(file: &mut [u8]) {
    let Some(footer) = file.len().checked_sub(FOOTER_BYTES) else { return };
    let length = file.len();
    file[length - 8..].copy_from_slice(b"thalwSST");
    let extent = |file: &[u8], at: usize| {
        let start = number(file, at, 8).min(footer);
        start..start.saturating_add(number(file, at + 8, 8)).min(footer)
    };
    let extents = footer + 8..footer + 8 + 4 * EXTENT_BYTES;
    let table = extent(file, extents.start + 2 * EXTENT_BYTES);
    let records: Vec<_> =
        (table.start + 32..(table.end + 1).saturating_sub(32)).step_by(32).take(SEALED_BLOCKS).collect();
    for record in records {
        let start = number(file, record + 8, 8).min(length);
        let end = start.saturating_add(number(file, record + 4, 4)).min(length);
        if end - start > 32 {
            put_sum(file, start, start + 8..end);
        }
    }
    for at in extents.step_by(EXTENT_BYTES) {
        let section = extent(file, at);
        put_sum(file, at + 16, section);
    }
    put_sum(file, footer, footer + 8..length);
}

/// Bytes as a manifest: each line is a record's JSON, and gets its length and checksum.
pub fn seal_manifest(lines: &[u8]) -> Vec<u8> {
    let mut manifest = b"thalweg manifest 1\n".to_vec();
    for json in lines.split(|&byte| byte == b'\n').filter(|json| !json.is_empty()) {
        let sum = xxh3_64_with_seed(json, manifest.len() as u64);
        manifest.extend_from_slice(format!("{:08x} {sum:016x} ", json.len()).as_bytes());
        manifest.extend_from_slice(json);
        manifest.push(b'\n');
    }
    manifest
}

/// A storage in memory with one published file.
pub fn put_file(storage: &Storage, name: &str, bytes: &[u8]) {
    let mut writer = storage.create(name).expect("memory takes any name of ours");
    writer.write(bytes).expect("memory does not fail");
    writer.publish().expect("memory does not fail");
}

/// A store that has the file as many times, each a run of its own. `None` if the file cannot be one of a store.
pub fn store_of(file: &[u8], runs: u64) -> Option<Storage> {
    let sst = Sst::open(file).ok()?;
    let meta = sst.meta();
    let storage = Storage::memory();
    let (mut manifest, _) = Manifest::open(&storage).expect("an empty store");
    for run in 1..=runs {
        let number = FileNumber(run);
        put_file(&storage, &number.name(), file);
        let added = FileMeta {
            number,
            level: 0,
            run,
            bytes: file.len() as u64,
            entries: meta.entries,
            keys: KeyRange::of_keys(&meta.first_key, &meta.last_key),
            has_range_tombstones: !meta.tombstones.is_empty(),
            schemas: meta.states.iter().map(|state| (state.id, Fingerprint(state.schema))).collect(),
        };
        let edit = VersionEdit {
            added: vec![added],
            next_file: Some(FileNumber(run + 1)),
            ..VersionEdit::default()
        };
        manifest.append(&edit).ok()?; // Its keys may be in no order.
    }
    Some(storage)
}
