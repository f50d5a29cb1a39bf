//! Makes data sets: crate `nexmark`'s generator, cut into shards.
//!
//! ```text
//!   thread 0   chunk 0 ─ chunk 2 ─ … ┐
//!   thread 1   chunk 1 ─ chunk 3 ─ … ┴─ in turn ──▶ file or memory: event i to shard i mod P
//! ```
//!
//! The generator is a function of the event's number alone (which seeds the randomness of that event), so threads make
//! chunks of consecutive numbers, and the one that collects them asks each in turn: the order needs no sorting, and the
//! bound of the channels is the bound of memory.
//!
//! Invariants:
//! - the bytes depend on the number of events and of shards only, never on threads, clock or machine's speed;
//! - a set's files get their names when they are complete, the meta file last: after a crash there is no set, or a whole
//!   one. (Nothing is synced to the disk: should the machine lose power, [`DataSet::load`] finds what is missing.)
//!
//! The generator takes about 1 µs per event and core, far more than the engine takes to process it; that is why sets
//! are made ahead, and why its rate is reported apart.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ::nexmark::EventGenerator;
use ::nexmark::config::NexmarkConfig;
use ::nexmark::event::Event as Generated;

use super::data::{DataError, DataSet, Meta, Totals, shard_name};
use super::event::Kind;

/// Event time of the first event, in ms since the epoch. The crate would take the clock.
///
/// ```
/// use thalweg_tools::nexmark::{BASE_TIME_MS, generate_in_memory};
/// assert_eq!(generate_in_memory(1, 1).meta.first_ts, BASE_TIME_MS);
/// ```
pub const BASE_TIME_MS: u64 = 1_700_000_000_000;

/// Events that a thread makes at a time: some 3 MB.
const CHUNK_EVENTS: u64 = 16 * 1024;

/// Chunks that a thread may be ahead of the one that collects them.
const CHUNKS_AHEAD: usize = 2;

/// More shards than any machine has cores; each has a file that is open while a set is written.
const SHARDS_MAX: usize = 65_535;

/// What was written, and how long the generator took.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let summary = thalweg_tools::nexmark::write_shards(dir.path(), 100, 1, false, &mut |_| ())?;
/// assert_eq!(summary.meta.events, 100);
/// assert!(summary.events_per_s() > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Summary {
    /// What the meta file says.
    pub meta: Meta,
    /// Time to generate and write.
    pub elapsed: Duration,
    /// Threads that generated.
    pub threads: usize,
}

impl Summary {
    /// The generator's rate with all its threads, which says nothing about the engine's.
    pub fn events_per_s(&self) -> f64 {
        self.meta.events as f64 / self.elapsed.as_secs_f64()
    }
}

/// Writes the first `events` events to `shards` files `nexmark-<i>-of-<P>.bin` and a meta file in `dir`, which is made if
/// need be; with `json` also to `nexmark-<i>-of-<P>.jsonl`, an object for each line. `progress` gets the number of
/// events written so far, every few milliseconds.
///
/// A set of as many shards that is there already is replaced. Cost: 1 µs per event and core, 212 bytes per event on the
/// disk, some ten megabytes of memory per core. Errors: [`DataError::Shape`] and [`DataError::Io`]; the set is then the old one or none.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let mut written = 0;
/// thalweg_tools::nexmark::write_shards(dir.path(), 1000, 2, true, &mut |events| written = events)?;
/// assert_eq!(written, 1000);
/// let first = std::fs::read_to_string(dir.path().join("nexmark-0-of-2.jsonl"))?;
/// assert!(first.starts_with(r#"{"Person":{"id":1000,"name":"vicky noris","#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_shards(
    dir: &Path,
    events: u64,
    shards: usize,
    json: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, DataError> {
    let start = Instant::now();
    check_shape(events, shards)?;
    fs::create_dir_all(dir).map_err(|source| DataError::Io {
        action: "make",
        path: dir.to_owned(),
        source,
    })?;

    let create = |ext: &'static str| {
        (0..shards).map(move |index| NewFile::create(dir.join(shard_name(index, shards, ext))))
    };
    let mut files = create("bin").collect::<Result<Vec<_>, _>>()?;
    let mut json_files = if json { create("jsonl").collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
    let mut meta_file = NewFile::create(dir.join(Meta::file_name(shards)))?;

    let mut totals = vec![Totals::default(); shards];
    let mut done = 0;
    let threads = generate(events, shards, json, |index, part| {
        files[index].write(&part.records)?;
        if json {
            json_files[index].write(&part.json)?;
        }
        totals[index].append(part.totals);
        done += part.totals.events;
        progress(done);
        Ok(())
    })?;

    let meta = Meta::of(&totals).ok_or(DataError::Shape { events, shards })?;
    meta_file.write(meta.to_text().as_bytes())?;
    meta_file.remove_old()?; // An older set stops to be one before the first of its shards is replaced.
    for file in files.into_iter().chain(json_files) {
        file.publish()?;
    }
    meta_file.publish()?;
    Ok(Summary { meta, elapsed: start.elapsed(), threads })
}

/// Makes the first `events` events as a set of `shards` shards in memory, validated like one from files.
///
/// How long it took is in [`DataSet::prepared_in`]. Cost: 1 µs per event and core. Panics: without events or shards, and
/// with more than 65535 shards.
///
/// ```
/// let data = thalweg_tools::nexmark::generate_in_memory(1000, 4);
/// assert_eq!(data.shards.len(), 4);
/// assert_eq!(data.meta.bytes, data.shards.iter().map(|shard| shard.bytes().len() as u64).sum::<u64>());
/// ```
pub fn generate_in_memory(events: u64, shards: usize) -> DataSet {
    let start = Instant::now();
    check_shape(events, shards).expect("the caller asks for some events, in some shards");
    let mut bytes = vec![Vec::new(); shards];
    let mut totals = vec![Totals::default(); shards];
    generate(events, shards, false, |index, part| {
        bytes[index].extend_from_slice(&part.records);
        totals[index].append(part.totals);
        Ok(())
    })
    .expect("memory takes all");
    let meta = Meta::of(&totals).expect("there is at least one event");
    let mut data = DataSet::from_bytes(bytes, meta).expect("what the generator makes is valid");
    data.prepared_in = start.elapsed();
    data
}

fn check_shape(events: u64, shards: usize) -> Result<(), DataError> {
    if events == 0 || !(1..=SHARDS_MAX).contains(&shards) {
        return Err(DataError::Shape { events, shards });
    }
    Ok(())
}

/// What one chunk of events brings to one shard.
#[derive(Default)]
struct Part {
    records: Vec<u8>,
    json: Vec<u8>,
    totals: Totals,
}

impl Part {
    fn push(&mut self, event: &Generated, json: bool) {
        let start = self.records.len();
        encode(event, &mut self.records);
        let (bytes, time) = ((self.records.len() - start) as u64, event.timestamp());
        self.totals.append(Totals { bytes, events: 1, first_ts: time, last_ts: time });
        if json {
            serde_json::to_writer(&mut self.json, event).expect("memory takes all");
            self.json.push(b'\n');
        }
    }
}

/// Generates `events` events with a thread for each core, and gives the parts of each shard, by its index, in their order.
/// Returns the number of threads.
fn generate(
    events: u64,
    shards: usize,
    json: bool,
    mut collect: impl FnMut(usize, Part) -> Result<(), DataError>,
) -> Result<usize, DataError> {
    let chunks = events.div_ceil(CHUNK_EVENTS);
    let threads = (thread::available_parallelism().map_or(1, usize::from) as u64).min(chunks);
    let config = NexmarkConfig { base_time: BASE_TIME_MS, ..NexmarkConfig::default() };
    let generator = EventGenerator::new(config);
    thread::scope(|scope| {
        let mut receivers = Vec::new();
        for first in 0..threads {
            let (sender, receiver) = mpsc::sync_channel(CHUNKS_AHEAD);
            let generator = generator.clone();
            receivers.push(receiver);
            scope.spawn(move || {
                for chunk in (first..chunks).step_by(threads as usize) {
                    let begin = chunk * CHUNK_EVENTS;
                    let end = events.min(begin + CHUNK_EVENTS);
                    if sender.send(make_chunk(&generator, begin, end, shards, json)).is_err() {
                        return; // The one who collects has failed, and says why.
                    }
                }
            });
        }
        for chunk in 0..chunks {
            let parts = receivers[(chunk % threads) as usize].recv().expect("a generator does not panic");
            for (index, part) in parts.into_iter().enumerate() {
                collect(index, part)?;
            }
        }
        Ok(threads as usize)
    })
}

/// The parts, by shard, of events `begin..end`.
fn make_chunk(generator: &EventGenerator, begin: u64, end: u64, shards: usize, json: bool) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    parts.resize_with(shards, Part::default);
    let mut index = (begin % shards as u64) as usize;
    for event in generator.clone().with_offset(begin).take((end - begin) as usize) {
        parts[index].push(&event, json);
        index = if index + 1 == shards { 0 } else { index + 1 };
    }
    parts
}

/// Appends a record. The format is described at [`Event`](super::Event).
fn encode(event: &Generated, out: &mut Vec<u8>) {
    let start = out.len();
    let kind = match event {
        Generated::Person(_) => Kind::Person,
        Generated::Auction(_) => Kind::Auction,
        Generated::Bid(_) => Kind::Bid,
    };
    out.extend_from_slice(&[0; 4]); // The length, once it is known.
    out.push(kind as u8);
    put_int(out, event.timestamp());
    match event {
        Generated::Person(person) => {
            put_int(out, person.id as u64);
            put_text(out, &person.name);
            put_text(out, &person.email_address);
            put_text(out, &person.credit_card);
            put_text(out, &person.city);
            put_text(out, &person.state);
            put_int(out, person.date_time);
            put_text(out, &person.extra);
        }
        Generated::Auction(auction) => {
            put_int(out, auction.id as u64);
            put_text(out, &auction.item_name);
            put_text(out, &auction.description);
            put_int(out, auction.initial_bid as u64);
            put_int(out, auction.reserve as u64);
            put_int(out, auction.date_time);
            put_int(out, auction.expires);
            put_int(out, auction.seller as u64);
            put_int(out, auction.category as u64);
            put_text(out, &auction.extra);
        }
        Generated::Bid(bid) => {
            put_int(out, bid.auction as u64);
            put_int(out, bid.bidder as u64);
            put_int(out, bid.price as u64);
            put_text(out, &bid.channel);
            put_text(out, &bid.url);
            put_int(out, bid.date_time);
            put_text(out, &bid.extra);
        }
    }
    let len = u32::try_from(out.len() - start - 4).expect("the generator's records are below 1 KiB");
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn put_int(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("the generator's texts are below 1 KiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A file that gets its name when it is complete, and goes away if it never is.
struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    /// `None` once published.
    file: Option<File>,
}

impl NewFile {
    fn create(path: PathBuf) -> Result<NewFile, DataError> {
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        match File::create(&partial) {
            Ok(file) => Ok(NewFile { path, partial, file: Some(file) }),
            Err(source) => Err(DataError::Io { action: "create", path: partial, source }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        let mut file = self.file.as_ref().expect("a published file is not written to");
        file.write_all(bytes).map_err(|source| DataError::Io {
            action: "write",
            path: self.partial.clone(),
            source,
        })
    }

    /// Removes the file that has the name now, if any.
    fn remove_old(&self) -> Result<(), DataError> {
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(DataError::Io { action: "replace", path: self.path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn publish(mut self) -> Result<(), DataError> {
        self.file = None;
        fs::rename(&self.partial, &self.path).map_err(|source| {
            let _ = fs::remove_file(&self.partial);
            DataError::Io { action: "rename to", path: self.path.clone(), source }
        })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: whoever failed says why, and a next attempt writes over what stays.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn sha256(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Goal: yesterday's data are today's, on every machine. Method: SHA-256 of what is the beginning of the published set of
    /// a million events, over several chunks and so over several threads.
    #[test]
    fn the_bytes_are_the_published_ones() {
        let one = generate_in_memory(50_000, 1);
        assert_eq!(
            sha256(one.shards[0].bytes()),
            "dbbb4ea18222c3128094fb26644b03ec6b1db7d0b32654311bc165235b5cd082"
        );
        let two = generate_in_memory(50_000, 2);
        assert_eq!(
            sha256(two.shards[0].bytes()),
            "a286cc501565bd8d5c04c6e2a6a1be004fee3d382bc81d1eca973b26b7eea1cc"
        );
        assert_eq!(
            sha256(two.shards[1].bytes()),
            "5f83085b6e079bd38db5f426b2314b5c99bb9e8ac753ca8a3ecde5541a42690a"
        );
    }

    #[test]
    fn a_set_that_cannot_be_completed_leaves_nothing_new() {
        let dir = tempfile::tempdir().unwrap();
        write_shards(dir.path(), 10, 1, true, &mut |_| ()).unwrap();
        let old = names(dir.path());
        assert_eq!(old, ["nexmark-0-of-1.bin", "nexmark-0-of-1.jsonl", "nexmark-of-1.meta"]);

        // A folder has the name of the second shard, so that renaming fails after the first.
        let blocked = dir.path().join("nexmark-1-of-2.bin");
        fs::create_dir_all(blocked.join("x")).unwrap();
        let error = write_shards(dir.path(), 10, 2, true, &mut |_| ()).unwrap_err();
        assert!(matches!(&error, DataError::Io { path, .. } if *path == blocked), "{error}");
        let new = names(dir.path());
        assert!(!new.iter().any(|name| name.ends_with(".partial") || name == "nexmark-of-2.meta"), "{new:?}");
        assert!(DataSet::load(dir.path(), 2).is_err());
        assert_eq!(DataSet::load(dir.path(), 1).unwrap().meta.events, 10);

        // What was interrupted without a chance to clean up is written over.
        fs::remove_dir_all(&blocked).unwrap();
        fs::write(dir.path().join("nexmark-1-of-2.bin.partial"), b"half").unwrap();
        write_shards(dir.path(), 20, 2, false, &mut |_| ()).unwrap();
        assert_eq!(DataSet::load(dir.path(), 2).unwrap().meta.events, 20);

        for (events, shards) in [(0, 1), (1, 0), (1, 100_000)] {
            let error = write_shards(dir.path(), events, shards, false, &mut |_| ()).unwrap_err();
            assert!(matches!(error, DataError::Shape { .. }), "{error}");
        }
    }

    /// Goal: the two forms of a shard say the same, and progress is told. Method: every line against the record's fields.
    #[test]
    fn json_says_what_the_records_say() {
        let dir = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        write_shards(dir.path(), 200, 2, true, &mut |events| told.push(events)).unwrap();
        assert!(told.is_sorted() && told.last() == Some(&200));
        let data = DataSet::load(dir.path(), 2).unwrap();
        for (index, shard) in data.shards.iter().enumerate() {
            let lines = fs::read_to_string(dir.path().join(shard_name(index, 2, "jsonl"))).unwrap();
            let mut cursor = crate::nexmark::Cursor::new(shard, 1);
            for line in lines.lines() {
                let event = cursor.next(|_, _| ()).unwrap();
                let json: serde_json::Value = serde_json::from_str(line).unwrap();
                let body = &json[format!("{:?}", event.kind())];
                assert_eq!(body["date_time"], event.time());
                if let Some(bid) = event.bid() {
                    assert_eq!(
                        (&body["auction"], &body["url"]),
                        (&bid.auction().into(), &bid.url().as_str().into())
                    );
                }
            }
            assert!(cursor.next(|_, _| ()).is_none());
        }
    }
}
