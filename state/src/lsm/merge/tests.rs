//! Merging against a map to which the sources are applied one after the other, the oldest first.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Owned = (Vec<u8>, Kind, Vec<u8>);

#[derive(Debug)]
struct Slice<'a>(&'a [Owned]);

impl Cursor for Slice<'_> {
    fn entry(&self) -> Option<Entry<'_>> {
        self.0.first().map(|(key, kind, value)| Entry { key, kind: *kind, value })
    }

    fn advance(&mut self) -> Result<()> {
        self.0 = self.0.get(1..).unwrap_or_default();
        Ok(())
    }
}

/// Lists whose items are bytes.
struct Concatenate;

impl MergeOperator for Concatenate {
    fn merge(&self, older: &[u8], newer: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(older);
        out.extend_from_slice(newer);
        Ok(())
    }
}

impl MergeOperators for Concatenate {
    fn operator(&self, _state: StateId) -> Option<&dyn MergeOperator> {
        Some(self)
    }
}

/// Key group 0, state 0, and one letter.
fn key(letter: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, letter]
}

fn parse(source: &str) -> (Vec<Owned>, Vec<KeyRange>) {
    let (mut entries, mut tombstones) = (Vec::new(), Vec::new());
    for word in source.split_whitespace() {
        let bytes = word.as_bytes();
        let value = bytes[2..].to_vec();
        match bytes[1] {
            b'=' => entries.push((key(bytes[0]), Kind::Put, value)),
            b'+' => entries.push((key(bytes[0]), Kind::Merge, value)),
            b'-' => entries.push((key(bytes[0]), Kind::Delete, Vec::new())),
            b'~' => tombstones.push(KeyRange::new(&key(bytes[0]), &key(bytes[2]))),
            other => panic!("{other} in {word}"),
        }
    }
    (entries, tombstones)
}

fn merge(sources: &[(Vec<Owned>, Vec<KeyRange>)], is_oldest: bool) -> Vec<Owned> {
    let sources = sources.iter().map(|(entries, ranges)| Source::new(Slice(entries), ranges.clone()));
    let mut merged = Merged::new(sources.collect(), &Concatenate, is_oldest).unwrap();
    let mut out = Vec::new();
    while merged.is_pausing() || merged.entry().is_some() {
        out.extend(merged.entry().map(|Entry { key, kind, value }| (key.to_vec(), kind, value.to_vec())));
        merged.advance().unwrap();
    }
    out
}

/// `sources`: newest first; `a=x` puts, `a+x` adds, `a-` deletes, `a~c` hides a and b in older sources.
#[track_caller]
fn check(sources: &[&str], among_others: &str, as_oldest: &str) {
    let sources: Vec<_> = sources.iter().map(|source| parse(source)).collect();
    assert_eq!(merge(&sources, false), parse(among_others).0);
    assert_eq!(merge(&sources, true), parse(as_oldest).0);
}

#[test]
fn newer_hides_older() {
    check(&["a=1 c=1", "a=2 b=2", "b=3 d=3"], "a=1 b=2 c=1 d=3", "a=1 b=2 c=1 d=3");
    check(&["a- c-", "a=2 b=2"], "a- b=2 c-", "b=2");
    check(&["a=1 b=1", "", "b-"], "a=1 b=1", "a=1 b=1");
}

#[test]
fn operands_are_added_to_what_is_older() {
    check(&["a+3", "a+2", "a=1"], "a=123", "a=123");
    check(&["a+3", "a+2"], "a+23", "a=23");
    check(&["a+3", "a-", "a=1"], "a=3", "a=3");
    check(&["a+4", "a=3", "a+2", "a=1"], "a=34", "a=34");
}

#[test]
fn tombstones_hide_what_is_in_older_sources_only() {
    check(&["a~c b=1", "a=2 b=2 c=2"], "b=1 c=2", "b=1 c=2");
    check(&["a=1", "a~c b+2", "a=3 b=3 c=3"], "a=1 b=2 c=3", "a=1 b=2 c=3");
    check(&["b+1", "a~c", "b+3"], "b=1", "b=1");
    check(&["", "a~b a~c b~d", "a=1 b=1 c=1 d=1"], "d=1", "d=1");
}

/// However much is passed over, there is a pause after each thousand; and an entry after the last one.
#[test]
fn long_gaps_are_passed_with_pauses() {
    let numbered = |number: usize, kind| ([&[0; 4], &number.to_be_bytes()[..]].concat(), kind, vec![]);
    let count = 10 * PASSED_MAX;
    let deletes: Vec<Owned> = (0..count).map(|number| numbered(number, Kind::Delete)).collect();
    let last = vec![numbered(count, Kind::Put)];
    let sources = [&deletes, &last].map(|entries| Source::new(Slice(entries), vec![]));
    let mut merged = Merged::new(sources.into(), &Concatenate, true).unwrap();
    let mut pauses = 0;
    while merged.is_pausing() {
        pauses += 1;
        merged.advance().unwrap();
    }
    assert_eq!(pauses, 10);
    assert_eq!(merged.entry().unwrap().key, last[0].0);
    merged.advance().unwrap();
    assert!(merged.entry().is_none() && !merged.is_pausing());
}

/// What the sources say, applied oldest first to a map; `None` for a key that is gone.
fn apply(sources: &[(Vec<Owned>, Vec<KeyRange>)], map: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    for (entries, tombstones) in sources.iter().rev() {
        for range in tombstones {
            map.retain(|key, _| !(*range.begin <= **key && **key < *range.end));
        }
        for (key, kind, value) in entries {
            match kind {
                Kind::Put => drop(map.insert(key.clone(), value.clone())),
                Kind::Delete => drop(map.remove(key)),
                Kind::Merge => map.entry(key.clone()).or_default().extend(value),
            }
        }
    }
}

fn source() -> impl Strategy<Value = (Vec<Owned>, Vec<KeyRange>)> {
    let kind = prop_oneof![Just(Kind::Put), Just(Kind::Delete), Just(Kind::Merge)];
    let entries = prop::collection::btree_map(0..12_u8, (kind, 0..=255_u8), 0..8);
    let tombstones = prop::collection::vec((0..12_u8, 1..4_u8), 0..3);
    (entries, tombstones).prop_map(|(entries, tombstones)| {
        let entry = |(letter, (kind, byte)): (u8, (Kind, u8))| {
            (key(letter), kind, if kind == Kind::Delete { Vec::new() } else { vec![byte] })
        };
        let range = |(begin, len): (u8, u8)| KeyRange::new(&key(begin), &key(begin + len));
        (entries.into_iter().map(entry).collect(), tombstones.into_iter().map(range).collect())
    })
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    /// Merging as the oldest gives the map; and merging some sources first, with their tombstones kept, changes nothing.
    #[test]
    fn merging_says_what_the_sources_say(sources in prop::collection::vec(source(), 0..6), cut in 0..6_usize, upto in 0..6_usize) {
        let mut map = BTreeMap::new();
        apply(&sources, &mut map);
        let puts: Vec<_> = map.into_iter().map(|(key, value)| (key, Kind::Put, value)).collect();
        prop_assert_eq!(&merge(&sources, true), &puts);

        let cut = cut.min(sources.len());
        let upto = upto.clamp(cut, sources.len());
        let ranges = sources[cut..upto].iter().flat_map(|(_, ranges)| ranges.clone()).collect();
        let middle = (merge(&sources[cut..upto], upto == sources.len()), ranges);
        let mut fewer = sources[..cut].to_vec();
        fewer.push(middle);
        fewer.extend_from_slice(&sources[upto..]);
        prop_assert_eq!(&merge(&fewer, true), &puts);
    }
}
