//! Random histories against a map: whatever is frozen, written or thawed in between, the table says what the map does, and each
//! snapshot, on top of those before it, what the map said when it was taken.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

type Map = BTreeMap<u8, String>;

/// Brings a map up to date with what has changed, and checks that this says each key once.
fn apply(frozen: &Frozen<u8, String>, map: &mut Map) {
    if frozen.is_whole() {
        map.clear();
    }
    let mut seen = BTreeSet::new();
    for group in frozen.key_groups().iter() {
        let each = |key: &u8, value: Option<&String>| {
            assert!(seen.insert(*key), "{key} is there twice");
            assert_eq!(frozen.get(key), value);
            match value {
                Some(value) => map.insert(*key, value.clone()),
                None => map.remove(key),
            };
            Ok::<(), ()>(())
        };
        frozen.for_each_change(group, each).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8, u8),
    Update(u8, u8),
    Get(u8),
    Remove(u8),
    Freeze,
    /// Drops the oldest snapshot.
    Release,
    Thaw(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40_u8, b'a'..=b'z').prop_map(|(key, letter)| Step::Append(key, letter)),
        2 => (0..40_u8, b'a'..=b'z').prop_map(|(key, letter)| Step::Update(key, letter)),
        4 => (0..40_u8).prop_map(Step::Get),
        4 => (0..40_u8).prop_map(Step::Remove),
        1 => Just(Step::Freeze),
        1 => Just(Step::Release),
        3 => (1..8_usize).prop_map(Step::Thaw),
    ]
}

fn run(mut table: LayeredTable<u8, String>, steps: &[Step]) {
    let mut map = Map::new();
    // Snapshots with what the map said; the oldest first. What was written of those that are gone.
    let mut taken: VecDeque<(Frozen<u8, String>, Map)> = VecDeque::new();
    let mut written = Map::new();
    let mut write = |taken: &mut VecDeque<(Frozen<u8, String>, Map)>| {
        if let Some((frozen, map)) = taken.pop_front() {
            apply(&frozen, &mut written);
            assert_eq!(written, map);
        }
    };
    for step in steps {
        match *step {
            Step::Append(key, letter) => {
                table.get_or_insert_with(KeyContext::new(&key), String::new).push(letter.into());
                map.entry(key).or_default().push(letter.into());
            }
            Step::Get(key) => {
                assert_eq!(table.get_mut(KeyContext::new(&key)), map.get_mut(&key));
                assert_eq!(table.get(KeyContext::new(&key)), map.get(&key));
            }
            Step::Update(key, letter) => {
                map.entry(key).or_default().push(letter.into());
                let row = table.update(KeyContext::new(&key), String::new, |text| text.push(letter.into()));
                assert_eq!((row.0, &row.1), (key, &map[&key]));
            }
            Step::Remove(key) => assert_eq!(table.remove(KeyContext::new(&key)), map.remove(&key)),
            Step::Freeze => taken.push_back((table.freeze(), map.clone())),
            Step::Release => write(&mut taken),
            Step::Thaw(slots) => {
                table.thaw(slots);
            }
        }
    }
    // A key that nobody asked about has its value too.
    for key in 0..40 {
        assert_eq!(table.get(KeyContext::new(&key)), map.get(&key));
    }
    while !taken.is_empty() {
        write(&mut taken);
    }
    while !table.thaw(3) {}
    assert_eq!(table.layers(), 0);
    assert!(!table.is_thawing());
    let all: Map = table.top.iter().map(|(key, value)| (*key, value.clone())).collect();
    assert_eq!(all, map);
}

fn table() -> LayeredTable<u8, String> {
    let max = MaxParallelism::new(4).unwrap();
    LayeredTable::new(KeyGroupRange::all(max), max)
}

proptest! {
    #![proptest_config(crate::cases(1000))]

    #[test]
    fn in_memory_it_is_a_map(steps in prop::collection::vec(step(), 0..200)) {
        run(table(), &steps);
    }
}

/// Goal: a later snapshot has what has changed, and hardly more, also after the layers of the one before have thawed.
#[test]
fn a_later_snapshot_has_what_changed() {
    let max = MaxParallelism::new(4).unwrap();
    let mut table = LayeredTable::<u32, String>::new(KeyGroupRange::all(max), max);
    for key in 0..1000 {
        *table.get_or_insert_with(KeyContext::new(&key), String::new) += "a";
    }
    let changes = |frozen: &Frozen<u32, String>| {
        let mut changes = BTreeMap::new();
        for group in frozen.key_groups().iter() {
            let each = |key: &u32, value: Option<&String>| {
                changes.insert(*key, value.cloned());
                Ok::<(), ()>(())
            };
            frozen.for_each_change(group, each).unwrap();
        }
        changes
    };
    let first = table.freeze();
    assert!(first.is_whole());
    assert_eq!(changes(&first).len(), 1000);
    for key in 990..1010 {
        *table.get_or_insert_with(KeyContext::new(&key), String::new) += "b";
    }
    drop(first);
    while !table.thaw(10) {}
    assert!(!table.take_spent().is_empty(), "what was on top is to be dropped");
    table.remove(KeyContext::new(&0));
    table.remove(KeyContext::new(&1));
    *table.get_or_insert_with(KeyContext::new(&1), String::new) += "c";
    let second = table.freeze();
    let second = changes(&second);
    assert!((22..40).contains(&second.len()), "{second:?}");
    let said = |key: u32| second[&key].as_deref();
    assert_eq!([0, 1, 990, 1009].map(said), [None, Some("c"), Some("ab"), Some("b")]);
    assert!(changes(&table.freeze()).is_empty());
}
