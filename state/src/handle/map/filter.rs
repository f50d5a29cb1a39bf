//! What flushes and compactions drop of maps: entries of generations that are gone.
//!
//! A head comes before its entries. Where a compaction has no head, as that is in another file, all entries stay: so of a map that was
//! cleared some may stay in the files next to that of its head. That is why large maps are cleared by a range of keys too.

use std::marker::PhantomData;

use super::head::Head;
use crate::Key;
use crate::lsm::key::EncodedKey;
use crate::lsm::{CompactionFilter, Entry, EntryFilter, Kind, Verdict};

/// The filter of maps under keys of type `K`.
pub(super) struct MapFilter<K>(PhantomData<fn() -> K>);

impl<K> MapFilter<K> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K: Key> CompactionFilter for MapFilter<K> {
    fn begin(&self, _now_ms: i64) -> Box<dyn EntryFilter> {
        Box::new(Heads::<K> { head_key: Vec::new(), counts: Counts::Unknown, key: PhantomData })
    }
}

/// The last head that was seen, before its entries.
struct Heads<K> {
    /// Of the map whose entries follow, also if its head is elsewhere.
    head_key: Vec<u8>,
    counts: Counts,
    key: PhantomData<fn() -> K>,
}

/// Which of the entries that follow count. The newest head of a job's sources knows: what is older than it is of other generations, and
/// what is newer of its own.
#[derive(Debug, Clone, Copy)]
enum Counts {
    /// The head is elsewhere.
    Unknown,
    OfGeneration(u64),
    None,
}

impl<K: Key> EntryFilter for Heads<K> {
    fn filter(&mut self, entry: Entry<'_>, _out: &mut Vec<u8>) -> Verdict {
        // No user key's bytes are the beginning of another's, so what goes on after a head's key is of its map.
        let goes_on = !self.head_key.is_empty() && entry.key.len() > self.head_key.len();
        if !goes_on || !entry.key.starts_with(&self.head_key) {
            let Some(bytes) = head_bytes::<K>(entry.key) else { return Verdict::Keep };
            self.head_key.clear();
            self.head_key.extend_from_slice(&entry.key[..bytes]);
            self.counts = Counts::Unknown;
            if bytes == entry.key.len() {
                self.counts = match (entry.kind, Head::read(entry.value)) {
                    (Kind::Delete, _) | (Kind::Put, Ok(Head::Whole { .. })) => Counts::None,
                    (Kind::Put, Ok(Head::Split { generation })) => Counts::OfGeneration(generation),
                    _ => Counts::Unknown,
                };
                return Verdict::Keep;
            }
        }
        let generation =
            entry.key[self.head_key.len()..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        match (self.counts, generation) {
            (Counts::None, Some(_)) => Verdict::Forget,
            (Counts::OfGeneration(counts), Some(generation)) if counts != generation => Verdict::Forget,
            _ => Verdict::Keep,
        }
    }
}

/// How many bytes of an encoded key are those of the head's.
pub(super) fn head_bytes<K: Key>(key: &[u8]) -> Option<usize> {
    let mut rest = EncodedKey::new(key).ok()?.rest();
    K::decode(&mut rest).ok()?;
    Some(key.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::super::head::{write_split, write_whole};
    use super::*;
    use crate::value::ValueBytes;

    fn key(user: u8, rest: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 1, user], rest].concat()
    }

    /// `entries`, words: user key, and `d` a deleted head, `w` a whole one, `=n` one of generation n, `n` an entry of that.
    /// `left`, for each: `.` kept, `x` forgotten.
    #[track_caller]
    fn check(entries: &str, left: &str) {
        let mut filter = MapFilter::<u8>::new().begin(0);
        let found = entries.split_whitespace().map(|word| {
            let (user, what) = word.split_at(1);
            let (mut value, mut kind, mut entry) = (ValueBytes::new(), Kind::Put, Vec::new());
            match what.strip_prefix('=') {
                Some(generation) => write_split(generation.parse().unwrap(), &mut value),
                None if what == "d" => kind = Kind::Delete,
                None if what == "w" => write_whole([(&1_u8, &1_u8)].into_iter(), &mut value).unwrap(),
                None => entry = [&what.parse::<u64>().unwrap().to_be_bytes()[..], b"x"].concat(),
            }
            let key = key(user.as_bytes()[0], &entry);
            match filter.filter(Entry { key: &key, kind, value: &value }, &mut Vec::new()) {
                Verdict::Keep => '.',
                Verdict::Forget => 'x',
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(found.collect::<String>(), left);
    }

    #[test]
    fn entries_of_other_generations_are_forgotten() {
        check("a=2 a0 a2 a2 a3", ".x..x");
        check("ad a0 a1", ".xx");
        check("aw a0 b0", ".x.");
        // Without a head nothing is known; that of another key says nothing.
        check("a1 a2 b1", "...");
        check("a=2 b1 b2", "...");
        check("a=2 a1 b=1 b1", ".x..");
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let mut filter = MapFilter::<u64>::new().begin(0);
        let (short, head) = (key(1, &[]), key(1, &[0; 7]));
        for key in [&short[..4], &short, &head, &[&head[..], &[0; 3]].concat()] {
            let entry = Entry { key, kind: Kind::Put, value: &[1, 2, 3] };
            assert_eq!(filter.filter(entry, &mut Vec::new()), Verdict::Keep);
        }
    }
}
