//! A shard set in memory: valid as a whole, or not there at all.
//!
//! ```text
//!   nexmark-0-of-2.bin ─┐                      ┌─ records: lengths, kinds, fields, UTF-8, times
//!   nexmark-1-of-2.bin ─┼─ read, a thread each ┼─ shards: as many records as their turn of the events
//!   nexmark-of-2.meta  ─┘                      └─ meta: bytes, first and last time ──▶ DataSet
//! ```
//!
//! Event `i` is in shard `i mod P`. The meta file is written last, so a set without one is not complete.
//!
//! Invariants:
//! - a [`Shard`] holds whole, valid records and nothing else, in an order in which event time never goes back: what
//!   reads it needs no checks and no way to fail;
//! - damage is an error that names the file, the byte and the reason. It never panics, and no length that was read is
//!   trusted to allocate by.

mod validate;

pub(super) use validate::Totals;
pub use validate::{RECORD_BYTES_MAX, RecordError};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use validate::validate;

/// Passes move on by a multiple of this, the length of the longest window, in ms.
const WINDOW_MS: u64 = 10_000;

/// Why a data set cannot be made, written or read.
///
/// ```
/// use thalweg_tools::nexmark::{DataError, DataSet};
/// let error = DataSet::load("no-such-folder".as_ref(), 1).expect_err("there is none");
/// assert!(matches!(error, DataError::NoMeta { parallelism: 1, .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// There is no complete set for this parallelism; there may be some for others.
    #[error("no data set of {parallelism} shards in {}: its meta file is missing{}", dir.display(), others(found))]
    NoMeta { dir: PathBuf, parallelism: usize, found: Vec<usize> },
    /// A line of the meta file is missing, or says something else than the shards or than its name.
    #[error("{}: {key} should be {expected}, but is {found}", path.display())]
    Meta { path: PathBuf, key: &'static str, expected: String, found: String },
    /// The bytes are not a record.
    #[error("{} is damaged in the record at byte {offset}", path.display())]
    Record { path: PathBuf, offset: u64, source: RecordError },
    /// All records are valid, but some are missing, or there are too many: `offset` is where the file ends.
    #[error("{} holds {found} records up to its end at byte {offset}, but should hold {expected}", path.display())]
    RecordCount { path: PathBuf, offset: u64, expected: u64, found: u64 },
    /// A set has at least one event, at least one shard, and at most 65535 shards.
    #[error("a data set cannot have {events} events in {shards} shards")]
    Shape { events: u64, shards: usize },
}

/// The part of a message that says which sets there are.
fn others(found: &[usize]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let found: Vec<String> = found.iter().map(usize::to_string).collect();
    format!(" (there are sets of {} shards)", found.join(", "))
}

/// What a meta file says about its shard set.
///
/// ```
/// use thalweg_tools::nexmark::generate_in_memory;
/// let meta = generate_in_memory(1000, 2).meta;
/// assert_eq!((meta.events, meta.shards), (1000, 2));
/// assert_eq!((meta.last_ts - meta.first_ts, meta.loop_shift_ms), (100, 10_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Events in all shards together.
    pub events: u64,
    /// Number of shards.
    pub shards: usize,
    /// Bytes of all shards together.
    pub bytes: u64,
    /// Least event time, in ms since the epoch.
    pub first_ts: u64,
    /// Greatest event time, in ms since the epoch.
    pub last_ts: u64,
    /// What each pass adds to every time, in ms: windows of different passes do not meet.
    pub loop_shift_ms: u64,
}

impl Meta {
    /// The meta of shards that were made or read; `None` if they hold no event.
    pub(super) fn of(shards: &[Totals]) -> Option<Meta> {
        let first_ts = shards.iter().filter(|shard| shard.events > 0).map(|shard| shard.first_ts).min()?;
        let last_ts = shards.iter().map(|shard| shard.last_ts).max()?;
        Some(Meta {
            events: shards.iter().map(|shard| shard.events).sum(),
            shards: shards.len(),
            bytes: shards.iter().map(|shard| shard.bytes).sum(),
            first_ts,
            last_ts,
            loop_shift_ms: loop_shift_ms(first_ts, last_ts),
        })
    }

    /// The name of the file for sets of this many shards.
    pub(super) fn file_name(shards: usize) -> String {
        format!("nexmark-of-{shards}.meta")
    }

    /// The text of the file.
    pub(super) fn to_text(&self) -> String {
        let Meta { events, shards, bytes, first_ts, last_ts, loop_shift_ms } = self;
        format!(
            "events={events}\nshards={shards}\nbytes={bytes}\nfirst_ts={first_ts}\nlast_ts={last_ts}\nloop_shift_ms={loop_shift_ms}\n"
        )
    }

    /// Reads the text of the file. Keys that are not known are left to those who know them.
    fn parse(path: &Path, text: &str) -> Result<Meta, DataError> {
        let number = |key: &'static str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|value| value.trim().parse::<u64>().ok()).ok_or_else(|| DataError::Meta {
                path: path.to_owned(),
                key,
                expected: "a number".into(),
                found: value.map_or("missing".into(), |value| format!("{value:?}")),
            })
        };
        Ok(Meta {
            events: number("events")?,
            shards: usize::try_from(number("shards")?).unwrap_or(usize::MAX),
            bytes: number("bytes")?,
            first_ts: number("first_ts")?,
            last_ts: number("last_ts")?,
            loop_shift_ms: number("loop_shift_ms")?,
        })
    }

    /// Compares what a meta file says with what its shards hold.
    fn check(&self, path: &Path, actual: &Meta) -> Result<(), DataError> {
        type Key = (&'static str, fn(&Meta) -> u64);
        let keys: [Key; 6] = [
            ("shards", |meta| meta.shards as u64),
            ("events", |meta| meta.events),
            ("bytes", |meta| meta.bytes),
            ("first_ts", |meta| meta.first_ts),
            ("last_ts", |meta| meta.last_ts),
            ("loop_shift_ms", |meta| meta.loop_shift_ms),
        ];
        for (key, value) in keys {
            if value(self) != value(actual) {
                let (expected, found) = (value(actual).to_string(), value(self).to_string());
                return Err(DataError::Meta { path: path.to_owned(), key, expected, found });
            }
        }
        Ok(())
    }
}

fn loop_shift_ms(first_ts: u64, last_ts: u64) -> u64 {
    (last_ts.saturating_sub(first_ts) / WINDOW_MS).saturating_add(1).saturating_mul(WINDOW_MS)
}

/// The name of a shard's file.
pub(super) fn shard_name(index: usize, shards: usize, ext: &str) -> String {
    format!("nexmark-{index}-of-{shards}.{ext}")
}

/// How many of `events` events are in shard `index` of `shards`.
fn shard_events(events: u64, index: usize, shards: usize) -> u64 {
    let (index, shards) = (index as u64, shards as u64);
    events / shards + u64::from(index < events % shards)
}

/// One shard's records, shared and known to be valid.
///
/// A clone shares the bytes.
///
/// ```
/// use thalweg_tools::nexmark::{Shard, generate_in_memory};
/// let shard = &generate_in_memory(10, 1).shards[0];
/// let copy = Shard::new(shard.bytes().to_vec(), shard.loop_shift_ms()).expect("valid");
/// assert_eq!(copy.events(), 10);
/// ```
#[derive(Clone)]
pub struct Shard {
    bytes: Arc<Vec<u8>>,
    totals: Totals,
    loop_shift_ms: u64,
}

impl Shard {
    /// Validates `bytes`, completely. A pass over them adds `loop_shift_ms` to all times.
    ///
    /// Cost: one walk, about 20 ns per record. Errors: the byte at which the first record that is not valid begins, and why.
    pub fn new(bytes: Vec<u8>, loop_shift_ms: u64) -> Result<Shard, (u64, RecordError)> {
        let totals = validate(&bytes)?;
        Ok(Shard { bytes: Arc::new(bytes), totals, loop_shift_ms })
    }

    /// The records, one after another.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many records there are.
    pub fn events(&self) -> u64 {
        self.totals.events
    }

    /// What each pass adds to every time, in ms.
    pub fn loop_shift_ms(&self) -> u64 {
        self.loop_shift_ms
    }

    pub(super) fn shared(&self) -> Arc<Vec<u8>> {
        Arc::clone(&self.bytes)
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.totals.fmt(f) // Not two gigabytes of numbers.
    }
}

/// A whole shard set, valid and in memory.
///
/// ```
/// use thalweg_tools::nexmark::{DataSet, generate_in_memory, write_shards};
/// let dir = tempfile::tempdir()?;
/// write_shards(dir.path(), 1000, 2, false, &mut |_| ())?;
/// let data = DataSet::load(dir.path(), 2)?;
/// assert_eq!(data.meta, generate_in_memory(1000, 2).meta);
/// assert_eq!(data.shards.iter().map(|shard| shard.events()).collect::<Vec<_>>(), [500, 500]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The shards by their index: subtask `i` reads shard `i`.
    pub shards: Vec<Shard>,
    /// What they hold together.
    pub meta: Meta,
    /// How long it took to read or generate, and to validate. Not a rate of the engine's: no clock runs meanwhile.
    pub prepared_in: Duration,
}

impl DataSet {
    /// Reads and validates the set of `parallelism` shards in `dir`, with a thread for each.
    ///
    /// Cost: the size of the files in memory; about 0.7 s per GB and thread. Errors: [`DataError`], for the first shard with one.
    pub fn load(dir: &Path, parallelism: usize) -> Result<DataSet, DataError> {
        let start = Instant::now();
        let meta_path = dir.join(Meta::file_name(parallelism));
        let text = match std::fs::read_to_string(&meta_path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DataError::NoMeta { dir: dir.to_owned(), parallelism, found: sets_in(dir) });
            }
            Err(source) => return Err(DataError::Io { action: "read", path: meta_path, source }),
        };
        let meta = Meta::parse(&meta_path, &text)?;
        if meta.shards != parallelism {
            return Err(DataError::Meta {
                path: meta_path,
                key: "shards",
                expected: parallelism.to_string(),
                found: meta.shards.to_string(),
            });
        }
        let read = |path: PathBuf| {
            move || std::fs::read(&path).map_err(|source| DataError::Io { action: "read", path, source })
        };
        let shards = (0..parallelism).map(|index| read(dir.join(shard_name(index, parallelism, "bin"))));
        let mut data = DataSet::assemble(dir, meta, shards)?;
        data.prepared_in = start.elapsed();
        Ok(data)
    }

    /// Makes a set of shards that are in memory already, and validates it just the same.
    ///
    /// Errors: as [`DataSet::load`], under the names that the files would have.
    ///
    /// ```
    /// use thalweg_tools::nexmark::{DataSet, generate_in_memory};
    /// let data = generate_in_memory(10, 2);
    /// let swapped = [1, 0].map(|index: usize| data.shards[index].bytes().to_vec()).to_vec();
    /// assert!(DataSet::from_bytes(swapped, data.meta).is_ok()); // Five events each.
    /// ```
    pub fn from_bytes(shards: Vec<Vec<u8>>, meta: Meta) -> Result<DataSet, DataError> {
        let start = Instant::now();
        if shards.len() != meta.shards {
            return Err(DataError::Meta {
                path: Meta::file_name(meta.shards).into(),
                key: "shards",
                expected: shards.len().to_string(),
                found: meta.shards.to_string(),
            });
        }
        let shards = shards.into_iter().map(|bytes| move || Ok(bytes));
        let mut data = DataSet::assemble(Path::new(""), meta, shards)?;
        data.prepared_in = start.elapsed();
        Ok(data)
    }

    /// Events per second of reading or generating, which says nothing about the engine.
    pub fn prepared_per_s(&self) -> f64 {
        self.meta.events as f64 / self.prepared_in.as_secs_f64()
    }

    /// Validates the shards, which are read by a thread each, and compares them with the meta.
    fn assemble<R>(dir: &Path, meta: Meta, shards: impl Iterator<Item = R>) -> Result<DataSet, DataError>
    where
        R: FnOnce() -> Result<Vec<u8>, DataError> + Send,
    {
        let load = |read: R, path: PathBuf| match Shard::new(read()?, meta.loop_shift_ms) {
            Ok(shard) => Ok((path, shard)),
            Err((offset, source)) => Err(DataError::Record { path, offset, source }),
        };
        let loaded: Vec<Result<(PathBuf, Shard), DataError>> = thread::scope(|scope| {
            let threads: Vec<_> = shards
                .enumerate()
                .map(|(index, read)| {
                    let path = dir.join(shard_name(index, meta.shards, "bin"));
                    scope.spawn(move || load(read, path))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("loading does not panic")).collect()
        });
        let shards = loaded.into_iter().collect::<Result<Vec<_>, _>>()?;
        for (index, (path, shard)) in shards.iter().enumerate() {
            let expected = shard_events(meta.events, index, meta.shards);
            if shard.events() != expected {
                let (offset, found) = (shard.totals.bytes, shard.events());
                return Err(DataError::RecordCount { path: path.clone(), offset, expected, found });
            }
        }
        let shards: Vec<Shard> = shards.into_iter().map(|(_, shard)| shard).collect();
        let totals: Vec<Totals> = shards.iter().map(|shard| shard.totals).collect();
        let actual =
            Meta::of(&totals).ok_or(DataError::Shape { events: meta.events, shards: meta.shards })?;
        meta.check(&dir.join(Meta::file_name(meta.shards)), &actual)?;
        Ok(DataSet { shards, meta, prepared_in: Duration::ZERO })
    }
}

/// For which numbers of shards there is a meta file in `dir`.
fn sets_in(dir: &Path) -> Vec<usize> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<usize> = entries
        .filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_prefix("nexmark-of-")?.strip_suffix(".meta")?.parse().ok()
        })
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexmark::{Cursor, generate_in_memory, write_shards};

    /// A bid's record with the given texts.
    fn bid(time: u64, date_time: u64, channel: &[u8]) -> Vec<u8> {
        let mut fields = vec![2];
        fields.extend_from_slice(&time.to_le_bytes());
        for id in [1000u64, 1001, 99] {
            fields.extend_from_slice(&id.to_le_bytes());
        }
        for text in [channel, b"https://"] {
            fields.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
            fields.extend_from_slice(text);
        }
        fields.extend_from_slice(&date_time.to_le_bytes());
        fields.extend_from_slice(&[0, 0]);
        framed(&fields)
    }

    fn framed(record: &[u8]) -> Vec<u8> {
        [&u32::try_from(record.len()).unwrap().to_le_bytes(), record].concat()
    }

    fn error_of(records: &[Vec<u8>]) -> Option<(u64, RecordError)> {
        Shard::new(records.concat(), 10_000).err()
    }

    /// Goal: every rule of the format has its error, at the byte of the record that breaks it.
    #[test]
    fn each_kind_of_damage_has_its_error() {
        let good = bid(7, 7, "Gößweinstein".as_bytes());
        let at = good.len() as u64;
        assert_eq!(error_of(&[good.clone(), good.clone()]), None);

        let check = |bad: Vec<u8>, error: RecordError| {
            assert_eq!(error_of(&[good.clone(), bad]), Some((at, error)));
        };
        check(vec![1, 0], RecordError::Truncated { needed: 4, found: 2 });
        check(
            good[..at as usize - 1].to_vec(),
            RecordError::Truncated { needed: at as usize, found: at as usize - 1 },
        );
        check(vec![1, 0, 16, 0, 0], RecordError::TooLong { bytes: RECORD_BYTES_MAX + 1 });
        check(framed(&[]), RecordError::FieldPastEnd { field: "event time" });
        check(framed(&[2, 7, 0, 0, 0, 0, 0, 0, 0]), RecordError::FieldPastEnd { field: "auction" });
        check(framed(&[0; 18]), RecordError::FieldPastEnd { field: "name" });
        check(framed(&[&good[4..], &[0; 3]].concat()), RecordError::BytesLeft { bytes: 3 });
        check(framed(&[3; 60]), RecordError::UnknownKind { kind: 3 });
        check(bid(7, 7, b"\xff"), RecordError::NotUtf8 { field: "channel" });
        check(bid(7, 8, b"a"), RecordError::TimeMismatch { time: 7, date_time: 8 });
        check(bid(u64::MAX, u64::MAX, b"a"), RecordError::TimeMismatch { time: -1, date_time: u64::MAX });
        check(bid(6, 6, b"a"), RecordError::TimeBackwards { time: 6, previous: 7 });

        let mut long = bid(7, 7, b"ab");
        long[37] = 200; // The channel's length.
        check(long, RecordError::FieldPastEnd { field: "channel" });
    }

    /// Goal: what is cut off is missed. Method: cut at every byte, also where records end.
    #[test]
    fn a_truncated_shard_is_never_a_data_set() {
        let data = generate_in_memory(20, 1);
        let whole = data.shards[0].bytes();
        for len in 0..whole.len() {
            match DataSet::from_bytes(vec![whole[..len].to_vec()], data.meta.clone()) {
                Err(DataError::Record {
                    offset, source: RecordError::Truncated { needed, found }, ..
                }) => {
                    assert!(needed > found && offset as usize + found == len);
                }
                Err(DataError::RecordCount { offset, expected: 20, found, .. }) => {
                    assert!(found < 20 && offset as usize == len);
                }
                other => panic!("cut to {len} bytes: {other:?}"),
            }
        }
    }

    /// Goal: damaged bytes never panic, neither in validation nor, if they pass it, in any accessor.
    #[test]
    fn a_changed_byte_is_an_error_or_a_valid_shard() {
        let data = generate_in_memory(12, 1);
        let mut bytes = data.shards[0].bytes().to_vec();
        let mut passed = 0;
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                bytes[at] ^= change;
                if let Ok(shard) = Shard::new(bytes.clone(), 10_000) {
                    passed += 1;
                    let mut cursor = Cursor::new(&shard, 1);
                    while let Some(event) = cursor.next(|_, _| ()) {
                        assert!(!format!("{event:?}").is_empty()); // Reads every field.
                    }
                }
                bytes[at] ^= change;
            }
        }
        assert!(passed > 0); // A letter became another, a price another price.
    }

    #[test]
    fn the_meta_file_must_agree_with_the_shards() {
        let data = generate_in_memory(100, 2);
        let path = Path::new("m");
        assert_eq!(Meta::parse(path, &data.meta.to_text()).unwrap(), data.meta);
        assert_eq!(Meta::parse(path, &format!("made_by=me\r\n{}", data.meta.to_text())).unwrap(), data.meta);

        type Change = fn(&mut Meta);
        let changes: [(&str, Change); 5] = [
            ("bytes", |meta| meta.bytes += 1),
            ("first_ts", |meta| meta.first_ts = 0),
            ("last_ts", |meta| meta.last_ts += 1),
            ("loop_shift_ms", |meta| meta.loop_shift_ms = 0),
            ("shards", |meta| meta.shards = 3),
        ];
        let shards = || data.shards.iter().map(|shard| shard.bytes().to_vec()).collect::<Vec<_>>();
        for (changed, change) in changes {
            let mut meta = data.meta.clone();
            change(&mut meta);
            match DataSet::from_bytes(shards(), meta) {
                Err(DataError::Meta { key, .. }) => assert_eq!(key, changed),
                other => panic!("{changed}: {other:?}"),
            }
        }
        let more = Meta { events: 101, ..data.meta.clone() };
        let error = DataSet::from_bytes(shards(), more).unwrap_err();
        assert!(matches!(error, DataError::RecordCount { expected: 51, found: 50, .. }), "{error}");

        for line in data.meta.to_text().lines() {
            let (key, _) = line.split_once('=').unwrap();
            for text in [
                data.meta.to_text().replace(line, ""),
                data.meta.to_text().replace(line, &format!("{key}=-1")),
            ] {
                assert!(matches!(Meta::parse(path, &text), Err(DataError::Meta { key: k, .. }) if k == key));
            }
        }
    }

    /// Goal: a set on the disk is found under its parallelism only, and a message says which there are.
    #[test]
    fn a_set_is_loaded_for_its_own_parallelism() {
        let dir = tempfile::tempdir().unwrap();
        for shards in [1, 3] {
            write_shards(dir.path(), 100, shards, false, &mut |_| ()).unwrap();
        }
        let loaded = DataSet::load(dir.path(), 3).unwrap();
        let made = generate_in_memory(100, 3);
        for (loaded, made) in loaded.shards.iter().zip(&made.shards) {
            assert_eq!(loaded.bytes(), made.bytes());
        }

        let error = DataSet::load(dir.path(), 2).unwrap_err();
        assert!(matches!(&error, DataError::NoMeta { parallelism: 2, found, .. } if *found == [1, 3]));
        assert!(error.to_string().ends_with("is missing (there are sets of 1, 3 shards)"), "{error}");

        std::fs::rename(dir.path().join("nexmark-of-3.meta"), dir.path().join("nexmark-of-2.meta")).unwrap();
        let error = DataSet::load(dir.path(), 2).unwrap_err();
        assert!(matches!(error, DataError::Meta { key: "shards", .. }), "{error}");

        std::fs::remove_file(dir.path().join("nexmark-0-of-1.bin")).unwrap();
        let error = DataSet::load(dir.path(), 1).unwrap_err();
        assert!(matches!(error, DataError::Io { action: "read", .. }), "{error}");
    }
}
