//! What does a store answer, per key, in batches of 512 as an operator has them, when all of it is in memory?
//!
//! - `present/K/R`: keys that are in one of R sorted runs, of K in all; `absent/K/R`: keys between those;
//! - `flush`: counters of ascending keys, into files in memory.
#![expect(missing_docs, reason = "criterion_group! makes a function without them")]

use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use thalweg_benches::{
    Digest, ENCODED_BYTES, EncodedKey, Run, bench, checked_records, config, encode, mix, timed_records_min,
};
use thalweg_state::lsm::key::{KeyBuf, StateId};
use thalweg_state::lsm::{
    Answer, Cursor, Entry, Fingerprint, KeyBatch, Kind, Options, Result, StateSpec, Store,
};
use thalweg_state::storage::Storage;

/// Keys that are looked up together.
const BATCH: usize = 512;

/// The counters of one run: of every number that falls to it, the number itself.
struct Counters {
    state: StateId,
    /// How many there are in all runs, and how many runs.
    count: u64,
    runs: u64,
    run: u64,
    number: u64,
    key: EncodedKey,
    value: [u8; 8],
    buffer: KeyBuf,
}

impl Counters {
    fn new(state: StateId, count: u64, runs: u64, run: u64) -> Self {
        let (key, value, buffer) = ([0; ENCODED_BYTES], [0; 8], KeyBuf::default());
        let mut counters = Self { state, count, runs, run, number: 0, key, value, buffer };
        counters.load();
        counters
    }

    fn load(&mut self) {
        while self.number < self.count && mix(self.number) % self.runs != self.run {
            self.number += 1;
        }
        if self.number < self.count {
            self.key = encode(self.number, self.count, self.state, &mut self.buffer);
            self.value = self.number.to_le_bytes();
        }
    }
}

impl Cursor for Counters {
    fn entry(&self) -> Option<Entry<'_>> {
        let entry = Entry { key: &self.key, kind: Kind::Put, value: &self.value };
        (self.number < self.count).then_some(entry)
    }

    fn advance(&mut self) -> Result<()> {
        self.number += 1;
        self.load();
        Ok(())
    }
}

/// A store of so many counters in so many runs, none of them compacted, all in memory.
fn filled(count: u64, runs: u64) -> Result<(Store, StateId)> {
    let options = Options { memory_bytes: 4 << 30, runs_max: 100, runs_stop: 100, ..Options::nvme() };
    let (mut store, _) = Store::open(&Storage::memory(), options, 1)?;
    let state = store.register(StateSpec::new("counters", Fingerprint(1)))?;
    for run in 0..runs {
        let mut job = store.flush(Box::new(Counters::new(state, count, runs, run)), Vec::new());
        job.run()?;
        store.on_job_done(job);
    }
    let mut buffer = KeyBuf::default();
    for first in (0..count).step_by(1 << 16) {
        let mut keys = KeyBatch::default();
        for number in first..count.min(first + (1 << 16)) {
            keys.push(&encode(number, count, state, &mut buffer)).expect("it is as long as keys may be");
        }
        store.get_waiting(&keys, |_, answer| assert!(matches!(answer, Answer::Found(_))))?;
    }
    Ok((store, state))
}

/// `odd` look-ups ask for keys between those of the store. Making the batches is not timed.
fn lookups(store: &mut Store, state: StateId, count: u64, odd: bool, lookups: u64) -> Run {
    let mut buffer = KeyBuf::default();
    let batches: Vec<KeyBatch> = (0..lookups)
        .step_by(BATCH)
        .map(|first| {
            let mut keys = KeyBatch::default();
            for i in first..lookups.min(first + BATCH as u64) {
                let mut key = encode(mix(i) % count, count, state, &mut buffer);
                key[ENCODED_BYTES - 1] |= u8::from(odd);
                keys.push(&key).expect("it is as long as keys may be");
            }
            keys
        })
        .collect();
    let mut digest = Digest::default();
    let began = Instant::now();
    for keys in &batches {
        let answered = store.get_batch(keys, |_, answer| match answer {
            Answer::Found(value) => digest.add(value.first_chunk().map_or(0, |v| u64::from_le_bytes(*v))),
            other => assert_eq!(other, Answer::Absent, "all of it is in memory"),
        });
        answered.expect("there is nothing to be merged");
    }
    Run { elapsed: began.elapsed(), digest }
}

fn flush(count: u64) -> Result<Run> {
    let (mut store, _) = Store::open(&Storage::memory(), Options::nvme(), 1)?;
    let state = store.register(StateSpec::new("counters", Fingerprint(1)))?;
    let began = Instant::now();
    let mut job = store.flush(Box::new(Counters::new(state, count, 1, 0)), Vec::new());
    job.run()?;
    store.on_job_done(job);
    let elapsed = began.elapsed();
    let mut digest = Digest::default();
    store.version().files().for_each(|file| digest.add(file.entries));
    Ok(Run { elapsed, digest })
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    let is_test = timed_records_min() < 10_000;
    let counts = if is_test { [1000, 2000] } else { [1_000_000, 10_000_000] };
    for count in counts {
        for runs in [1, 4, 8] {
            let (mut store, state) = filled(count, runs).expect("memory has no errors");
            for (name, odd, found) in [("present", false, checked_records()), ("absent", true, 0)] {
                let name = format!("{name}/{count}/{runs}");
                let job = |n| lookups(&mut store, state, count, odd, n);
                let digest = bench(&mut group, name, timed_records_min(), job);
                assert_eq!(digest.count, found);
            }
        }
    }
    bench(&mut group, "flush", timed_records_min(), |n| flush(n).expect("memory has no errors"));
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = store }
criterion_main!(benches);
