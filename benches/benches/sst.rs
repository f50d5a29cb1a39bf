//! What does a file of the LSM cost: a look-up in memory but not in the cache, in batches as an operator has them, and an
//! entry when it is written?
//!
//! - `present`, `absent`: keys under a `u64`, 8-byte values, in batches of 512, all stages of one key after those before;
//!   files are as large as they get, so that no stage is served from the cache;
//! - `write`: fixed entries of 8 bytes, and mixed ones of 0 to 63; index and filter included.
#![expect(missing_docs, reason = "criterion_group! makes a function without them")]

use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use rkyv::util::AlignedVec;
use thalweg_benches::{
    Digest, ENCODED_BYTES, EncodedKey, Run, bench, checked_records, config, encode, mix, timed_records_min,
};
use thalweg_state::hash_bytes;
use thalweg_state::lsm::Kind;
use thalweg_state::lsm::key::{KeyBuf, StateId};
use thalweg_state::lsm::sst::{Place, Sst, SstOptions, SstWriter, ValueAlign};

/// Keys that are looked up together.
const BATCH: usize = 512;

const STATE: StateId = StateId(1);

/// A file at the start of a page, as a mapping is: the lines of its index are then cache lines.
type File = AlignedVec<4096>;

fn filled(count: u64) -> File {
    let mut writer = SstWriter::new(SstOptions::default());
    let mut key = KeyBuf::default();
    for number in 0..count {
        let encoded = encode(number, count, STATE, &mut key);
        writer.add(&encoded, Kind::Put, &number.to_le_bytes(), ValueAlign::Eight).expect("keys ascend");
    }
    let mut file = File::new();
    file.extend_from_slice(&writer.finish().run().1);
    file
}

/// As many counters as one file takes, or a few for a test.
fn file_entries() -> u64 {
    if timed_records_min() < 10_000 { 1000 } else { 1_900_000 }
}

/// The stages of a batch; `found` takes the values.
fn look_up(sst: &Sst<File>, keys: &[EncodedKey], hashes: &mut Vec<u64>, digest: &mut Digest) {
    let mut places = [Place { block: 0, offset: 0 }; BATCH];
    let mut passed = [0_u16; BATCH];
    hashes.clear();
    hashes.extend(keys.iter().map(|key| {
        let hash = hash_bytes(key);
        sst.filter_prefetch(hash);
        hash
    }));
    let mut count = 0;
    for (i, hash) in hashes.iter().enumerate() {
        passed[count] = i as u16;
        if sst.may_contain(*hash) {
            sst.index_prefetch(*hash);
            count += 1;
        }
    }
    let passed = &passed[..count];
    for i in passed {
        let i = usize::from(*i);
        if let Some(place) = sst.candidates(hashes[i]).next().and_then(|address| sst.place(address)) {
            sst.entry_prefetch(place);
            places[i] = place;
        }
    }
    for i in passed {
        let (key, place) = (&keys[usize::from(*i)], places[usize::from(*i)]);
        let value_at = |place: Place| sst.entry_at(place, key);
        // The first candidate is nearly always the entry.
        let found = value_at(place).or_else(|| {
            sst.candidates(hashes[usize::from(*i)]).find_map(|address| value_at(sst.place(address)?))
        });
        if let Some((_, value)) = found {
            digest.add(value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
        }
    }
}

/// `odd` look-ups ask for keys between those of the file.
fn lookups(sst: &Sst<File>, count: u64, odd: bool, lookups: u64) -> Run {
    let mut buffer = KeyBuf::default();
    let keys: Vec<EncodedKey> = (0..lookups)
        .map(|i| {
            let mut key = encode(mix(i) % count, count, STATE, &mut buffer);
            key[ENCODED_BYTES - 1] |= u8::from(odd);
            key
        })
        .collect();
    let (mut hashes, mut digest) = (Vec::with_capacity(BATCH), Digest::default());
    let began = Instant::now();
    for batch in keys.chunks(BATCH) {
        look_up(sst, batch, &mut hashes, &mut digest);
    }
    Run { elapsed: began.elapsed(), digest }
}

/// Writes entries into as many files as it takes.
fn writes(count: u64, value_bytes: impl Fn(u64) -> usize) -> Run {
    let keys: Vec<EncodedKey> = {
        let mut buffer = KeyBuf::default();
        (0..count).map(|number| encode(number, count, STATE, &mut buffer)).collect()
    };
    let (mut digest, mut spare) = (Digest::default(), Vec::new());
    let began = Instant::now();
    let mut writer = SstWriter::new(SstOptions::default());
    for (number, key) in keys.iter().enumerate() {
        let bytes = [number as u8; 64];
        let value = &bytes[..value_bytes(number as u64)];
        writer.add(key, Kind::Put, value, ValueAlign::Eight).expect("keys ascend");
        if writer.ready_bytes() >= 256 << 10 {
            spare = writer.take_ready(spare);
            digest.add(hash_bytes(&spare[..32]));
        }
        if writer.is_full() {
            let full = std::mem::replace(&mut writer, SstWriter::new(SstOptions::default()));
            digest.add(full.finish().run().0.entries);
        }
    }
    digest.add(writer.finish().run().0.entries);
    Run { elapsed: began.elapsed(), digest }
}

fn sst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sst");
    let count = file_entries();
    let file = Sst::open(filled(count)).expect("it was just written");
    let digest = bench(&mut group, "present", timed_records_min(), |n| lookups(&file, count, false, n));
    assert_eq!(digest.count, checked_records(), "all are found");
    let digest = bench(&mut group, "absent", timed_records_min(), |n| lookups(&file, count, true, n));
    assert_eq!(digest.count, 0, "none is found");
    bench(&mut group, "write/fixed", timed_records_min(), |n| writes(n, |_| 8));
    bench(&mut group, "write/mixed", timed_records_min(), |n| writes(n, |i| (mix(i) % 64) as usize));
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = sst }
criterion_main!(benches);
