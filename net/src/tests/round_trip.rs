//! What goes into buffers comes out of them: records of all shapes, signals among them, over as many buffers as it takes.

use std::{cell::RefCell, fmt};

use proptest::{collection::vec, option, prelude::*};
use rkyv::{
    Archive, Deserialize, Place, Serialize,
    rancor::{Fallible, Source},
    ser::Writer,
    string::{ArchivedString, StringResolver},
};

use crate::{
    AppendError, Appender, BUFFER_ALIGN, Buffer, BufferPool, Exchange, Item, LatencyMarker, RawItem, Reader,
    Run, Signal,
};

/// One of everything, with what is aligned to 16 out of line and at the root.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Row {
    small: u8,
    wide: Vec<u128>,
    id: i64,
    name: String,
    tags: Vec<(u16, Option<String>)>,
    nested: Option<Box<Nested>>,
}

#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Nested {
    names: Vec<Vec<String>>,
    wide: u128,
}

#[derive(Debug, Clone, PartialEq)]
enum Entry<K, T> {
    Record(i64, u64, K, T),
    Signal(Signal),
}

/// Appends all, taking buffers as they are needed: what an output does.
fn fill<K: Exchange, T: Exchange>(pool: &BufferPool, entries: &[Entry<K, T>]) -> Vec<Buffer> {
    let mut out = Appender::new(pool.take());
    let mut filled = Vec::new();
    for entry in entries {
        loop {
            let before = (out.len_bytes(), out.is_empty());
            let result = match entry {
                Entry::Record(timestamp, hash, key, value) => out.append(*timestamp, *hash, key, value),
                Entry::Signal(signal) => out.signal(*signal).map_err(AppendError::from),
            };
            match result {
                Ok(()) => break,
                Err(AppendError::Full) => {
                    assert_eq!((out.len_bytes(), out.is_empty()), before);
                    let room = if out.is_empty() { 2 * out.capacity_bytes() } else { 0 };
                    let buffer = out.swap(pool.take_at_least(room));
                    if !before.1 {
                        filled.push(buffer);
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    filled.push(out.finish());
    filled
}

fn read<K: Exchange, T: Exchange>(
    buffers: &[Buffer],
    own: impl Fn(&K::Archived, &T::Archived) -> (K, T),
) -> Vec<Entry<K, T>> {
    let mut entries = Vec::new();
    for buffer in buffers {
        let mut reader = Reader::<K, T>::open(buffer.clone()).unwrap();
        while let Some(item) = reader.next() {
            entries.push(match item {
                Item::Record { timestamp, key_hash, key, value } => {
                    assert!(std::ptr::from_ref(value).is_aligned());
                    let (key, value) = own(key, value);
                    Entry::Record(timestamp, key_hash, key, value)
                }
                Item::Signal(signal) => Entry::Signal(signal),
            });
        }
        assert!(reader.is_done());
    }
    entries
}

/// Copies all entries without looking into them, into buffers of another pool and at other places.
fn forward<K: Exchange, T: Exchange>(pool: &BufferPool, buffers: &[Buffer]) -> Vec<Buffer> {
    let mut out = Appender::<K, T>::new(pool.take());
    out.signal(Signal::Idle).unwrap(); // 24 bytes: what follows is at another place within 16 bytes.
    let mut filled = Vec::new();
    for buffer in buffers {
        let mut reader = Reader::<K, T>::open(buffer.clone()).unwrap();
        while let Some(item) = reader.next_raw() {
            let mut append = || match &item {
                RawItem::Record(record) => out.append_raw(record),
                RawItem::Signal(signal) => out.signal(*signal),
            };
            if append().is_err() {
                filled.push(out.swap(pool.take_at_least(buffer.len_bytes() + BUFFER_ALIGN)));
                match &item {
                    RawItem::Record(record) => out.append_raw(record).unwrap(),
                    RawItem::Signal(signal) => out.signal(*signal).unwrap(),
                }
            }
        }
    }
    filled.push(out.finish());
    filled
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[a-z]{0,200}"]
}

fn any_row() -> impl Strategy<Value = Row> {
    let nested = (vec(vec(any_text(), 0..4), 0..4), any::<u128>());
    let nested = nested.prop_map(|(names, wide)| Box::new(Nested { names, wide }));
    let tags = vec((any::<u16>(), option::of(any_text())), 0..6);
    (any::<u8>(), vec(any::<u128>(), 0..4), any::<i64>(), any_text(), tags, option::of(nested))
        .prop_map(|(small, wide, id, name, tags, nested)| Row { small, wide, id, name, tags, nested })
}

fn any_signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        any::<i64>().prop_map(Signal::Watermark),
        Just(Signal::Idle),
        Just(Signal::Active),
        any::<(u64, i64)>()
            .prop_map(|(checkpoint, timestamp_ms)| Signal::Barrier { checkpoint, timestamp_ms }),
        any::<(u32, u32, u64)>().prop_map(|(operator, subtask, marked_ns)| Signal::Latency(LatencyMarker {
            operator,
            subtask,
            marked_ns
        })),
        Just(Signal::End),
    ]
}

fn any_entries<K: fmt::Debug + Clone, T: fmt::Debug + Clone>(
    keys: impl Strategy<Value = K>,
    values: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<Entry<K, T>>> {
    let record = (any::<i64>(), any::<u64>(), keys, values);
    let record = record.prop_map(|(timestamp, hash, key, value)| Entry::Record(timestamp, hash, key, value));
    vec(prop_oneof![4 => record, 1 => any_signal().prop_map(Entry::Signal)], 0..80)
}

fn own<T: Archive>(archived: &T::Archived) -> T
where
    T::Archived: Deserialize<T, rkyv::api::high::HighDeserializer<rkyv::rancor::Error>>,
{
    rkyv::deserialize(archived).unwrap()
}

/// Writes, reads, forwards and reads again, and compares with what was to be written.
fn check<K, T>(entries: &[Entry<K, T>], own: impl Fn(&K::Archived, &T::Archived) -> (K, T))
where
    K: Exchange + fmt::Debug + PartialEq,
    T: Exchange + fmt::Debug + PartialEq,
{
    let pool = BufferPool::new(1024).unwrap();
    let buffers = fill(&pool, entries);
    assert_eq!(read(&buffers, &own), entries);

    let forwarded = forward::<K, T>(&pool, &buffers);
    let again = read(&forwarded, &own);
    assert_eq!(again[0], Entry::Signal(Signal::Idle));
    assert_eq!(&again[1..], entries);

    let written: Vec<&[u8]> = buffers.iter().map(Buffer::bytes).collect();
    let fresh = BufferPool::new(1024).unwrap();
    let rewritten = fill(&fresh, entries); // Other memory, the same bytes: nothing of it shows.
    assert_eq!(rewritten.iter().map(Buffer::bytes).collect::<Vec<_>>(), written);

    drop((buffers, forwarded));
    assert_eq!(pool.free(), pool.allocated());
    assert_eq!(pool.memory_bytes(), pool.allocated() * 1024);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_back(entries in any_entries(any_text(), any_row())) {
        check(&entries, |key, value| (own::<String>(key), own::<Row>(value)));
    }

    #[test]
    fn integers_come_back(entries in any_entries(any::<u64>(), any::<(u32, i64, bool)>())) {
        check(&entries, |key, value| (own::<u64>(key), own::<(u32, i64, bool)>(value)));
    }

    #[test]
    fn wide_and_empty_come_back(entries in any_entries(any::<u128>(), Just(()))) {
        check(&entries, |key, ()| (own::<u128>(key), ()));
    }

    #[test]
    fn bare_texts_come_back(entries in any_entries(Just(()), vec(any_text(), 0..5))) {
        check(&entries, |(), value| ((), own::<Vec<String>>(value)));
    }
}

#[test]
fn empty_lists_stay_aligned_when_forwarded() {
    // Nothing lies out of line, but an empty list of what is aligned to 16 still points to a place that is.
    let row = Row { small: 0, wide: vec![], id: 0, name: String::new(), tags: vec![], nested: None };
    // Behind a signal of 24 bytes the place is one without padding before it.
    let entries = [Entry::Signal(Signal::End), Entry::Record(0, 0, String::new(), row)];
    check(&entries, |key, value| (own::<String>(key), own::<Row>(value)));
}

#[test]
fn oversized_records_come_back() {
    // Goal: records larger than a buffer, and more scratch than there is. Method: doubling sizes about both limits.
    for size in [900, 1000, 1001, 5000, 100_000] {
        let texts: Vec<String> = (0..size).map(|i| format!("text number {i} of many")).collect();
        check(&[Entry::Record(1, 2, 3_u64, texts)], |key, value| {
            (own::<u64>(key), own::<Vec<String>>(value))
        });
    }
}

#[test]
fn signals_fit_an_empty_buffer() {
    let mut out = Appender::<(), ()>::new(BufferPool::new(1024).unwrap().take());
    assert_eq!(out.signal(Signal::End), Ok(()));
}

#[test]
fn other_types_do_not_open() {
    let pool = BufferPool::new(1024).unwrap();
    let filled = Appender::<u64, String>::new(pool.take()).finish();
    assert!(Reader::<u64, String>::open(filled.clone()).is_ok());
    let error = Reader::<u64, Vec<u8>>::open(filled).unwrap_err();
    assert_eq!(error.to_string(), "the buffer was not written as (u64, alloc::vec::Vec<u8>)");
    // Nor does a buffer nobody wrote to, even one whose memory was used before.
    assert!(Reader::<u64, String>::open(pool.take().freeze()).is_err());
}

#[test]
fn looks_ahead_once_and_never_behind() {
    // Goal: each record is seen ahead once, signals not; after reading past, looking goes on from there.
    let pool = BufferPool::new(1024).unwrap();
    let mut out = Appender::<u32, ()>::new(pool.take());
    for i in 0..6 {
        out.append(i64::from(i), u64::from(i) + 100, &i, &()).unwrap();
        out.signal(Signal::Watermark(i64::from(i))).unwrap();
    }
    let mut reader = Reader::<u32, ()>::open(out.finish()).unwrap();
    let mut seen = Vec::new();
    assert_eq!(reader.ahead(2, |hash, timestamp| seen.push((hash, timestamp))), 2);
    assert_eq!(reader.ahead(0, |_, _| unreachable!()), 0);
    for _ in 0..8 {
        reader.next().unwrap(); // Records 0 to 3, with their watermarks.
    }
    assert_eq!(reader.ahead(9, |hash, timestamp| seen.push((hash, timestamp))), 2);
    assert_eq!(seen, [(100, 0), (101, 1), (104, 4), (105, 5)]);
    assert_eq!(reader.ahead(1, |_, _| unreachable!()), 0);
    assert!(!reader.is_done());
    assert_eq!(reader.remaining_bytes(), 2 * (32 + 24));
}

/// A text that fails, or panics, to serialise when it says so, after something was written.
struct Flaky(&'static str);

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl Archive for Flaky {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    fn resolve(&self, resolver: StringResolver, out: Place<ArchivedString>) {
        ArchivedString::resolve_from_str(self.0, resolver, out);
    }
}

impl<S: Fallible<Error: Source> + Writer + ?Sized> Serialize<S> for Flaky {
    fn serialize(&self, serializer: &mut S) -> Result<StringResolver, S::Error> {
        let resolver = ArchivedString::serialize_from_str(self.0, serializer)?;
        match self.0 {
            "a text that cannot be serialised" => Err(S::Error::new(Refused)),
            "a text that makes it panic" => panic!("as it was told"),
            _ => Ok(resolver),
        }
    }
}

#[test]
fn a_failure_leaves_no_trace() {
    // Goal: errors and panics in the midst of an entry, with scratch in use, leave the buffer as it was.
    let pool = BufferPool::new(1024).unwrap();
    let good = || vec![Flaky("a text of more than eight bytes"), Flaky("short")];
    let mut out = Appender::<u32, Vec<Flaky>>::new(pool.take());
    out.append(1, 1, &1, &good()).unwrap();

    let bad = vec![Flaky("a text of more than eight bytes"), Flaky("a text that cannot be serialised")];
    let Err(AppendError::Failed(error)) = out.append(2, 2, &2, &bad) else { panic!("it must fail") };
    assert!(error.is::<Refused>());

    let worse = vec![Flaky("a text of more than eight bytes"), Flaky("a text that makes it panic")];
    let call = std::panic::AssertUnwindSafe(|| out.append(3, 3, &3, &worse));
    assert!(std::panic::catch_unwind(call).is_err());

    out.append(4, 4, &4, &good()).unwrap();
    let mut reader = Reader::<u32, Vec<Flaky>>::open(out.finish()).unwrap();
    for expected in [1, 4] {
        let Some(Item::Record { timestamp, key, value, .. }) = reader.next() else { panic!("a record") };
        assert_eq!((timestamp, key.to_native()), (i64::from(expected), expected));
        assert_eq!(value.len(), 2);
        assert_eq!(value[0], "a text of more than eight bytes");
        assert_eq!(value[1], "short");
    }
    assert!(reader.next().is_none());
}

#[test]
fn an_appender_may_move_between_threads() {
    let pool = BufferPool::new(1024).unwrap();
    let mut out = Appender::<u32, String>::new(pool.take());
    out.append(1, 1, &1, &"one".into()).unwrap();
    let thread = std::thread::spawn(move || {
        out.append(2, 2, &2, &"two".into()).unwrap();
        Reader::<u32, String>::open(out.finish()).unwrap()
    });
    let mut reader = thread.join().unwrap();
    let mut values = Vec::new();
    while let Some(Item::Record { value, .. }) = reader.next() {
        values.push(value.as_str().to_owned());
    }
    assert_eq!(values, ["one", "two"]);
}

#[test]
fn runs_of_records_go_over_gaps() {
    // Goal: `records` ends at signals and at the end only. Method: copies that need a gap before each record.
    let pool = BufferPool::new(4096).unwrap();
    let mut out = Appender::<u32, String>::new(pool.take());
    for n in 0..9 {
        out.append(0, 0, &n, &"a text that is out of line".repeat(n as usize)).unwrap();
    }
    let forwarded = forward::<u32, String>(&pool, &[out.finish()]);
    let mut input = Reader::<u32, String>::open(forwarded[0].clone()).unwrap();
    assert!(forwarded[0].bytes().len() > 24 && forwarded.len() == 1);
    assert!(matches!(input.next(), Some(Item::Signal(Signal::Idle))));
    let mut keys = Vec::new();
    let run = input.records::<2, _>(
        true,
        &mut keys,
        |_, _, _| {},
        |keys, record| {
            keys.push(record.key().to_native());
            true
        },
    );
    assert_eq!(run, Run::NoRecord);
    assert_eq!(keys, (0..9).collect::<Vec<_>>());
    assert!(input.next().is_none());
}

/// Writes 40 records (hashes from 1 on, values from 0 on) with a watermark after every `signals`-th, and reads them in runs
/// that are refused at every `refusals`-th record.
fn announced<T: Exchange>(signals: usize, refusals: usize, value: impl Fn(usize) -> T) -> Vec<u64> {
    const AHEAD: usize = 4;
    let mut out = Appender::<u64, T>::new(BufferPool::new(8192).unwrap().take());
    for n in 0..40 {
        out.append(n as i64, n as u64 + 1, &(n as u64), &value(n)).unwrap();
        if n % signals == signals - 1 {
            out.signal(Signal::Watermark(n as i64)).unwrap();
        }
    }
    let mut input = Reader::<u64, T>::open(out.finish()).unwrap();
    let announced = RefCell::new(Vec::new());
    input.ahead(AHEAD, |hash, _| announced.borrow_mut().push(hash));
    let mut keys = Vec::new();
    loop {
        let announce = |keys: &Vec<u64>, hash, _| {
            announced.borrow_mut().push(hash);
            assert!(signals <= 40 || hash as usize > keys.len(), "announced too late: {hash}");
        };
        let run = input.records::<AHEAD, _>(true, &mut keys, announce, |keys, record| {
            keys.push(record.key().to_native());
            keys.len() % refusals != 0
        });
        if run == Run::NoRecord {
            match input.next() {
                Some(Item::Signal(Signal::Watermark(_))) => {}
                None => break,
                _ => panic!("a run ends at a signal or at the end"),
            }
        }
    }
    assert_eq!(keys, (0..40).collect::<Vec<_>>());
    announced.into_inner()
}

#[test]
fn records_are_announced_before_they_are_taken() {
    // Goal: without signals each record is announced once, in order, whether records are of one length or not, and wherever
    // runs end; with signals every record is still read once, and whatever is announced does no harm.
    let all: Vec<u64> = (1..=40).collect();
    for refusals in [1, 3, 100] {
        assert_eq!(announced(100, refusals, |n| n as u32), all);
        announced(7, refusals, |n| n as u32);
        announced(1, refusals, |_| ());
        let text = |n: usize| "a text that is out of line".repeat(n % 3);
        announced(100, refusals, text).iter().for_each(|hash| assert!(all.contains(hash)));
        announced(7, refusals, text).iter().for_each(|hash| assert!(all.contains(hash)));
    }
}
