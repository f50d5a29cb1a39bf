//! Random histories against a map: whatever is frozen, written to the base, or thawed in between, the table says what the map
//! does, and each snapshot (all layers and the base) what the map said when it was taken.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Map = BTreeMap<u8, String>;

fn apply(layer: &Layer<u8, String>, map: &mut Map) {
    for (key, ()) in &layer.removed {
        assert!(layer.entries.get(key.key_hash(), |other| other == key).is_none(), "a key is in one of both");
        map.remove(key);
    }
    map.extend(layer.entries.iter().map(|(key, value)| (*key, value.clone())));
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
    // Snapshots with what the map said; the oldest first.
    let mut taken: VecDeque<(Arc<Layer<u8, String>>, Map)> = VecDeque::new();
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
            Step::Release => {
                taken.pop_front();
            }
            Step::Thaw(slots) => {
                table.thaw(slots);
            }
        }
    }
    // A key that nobody asked about has its value too.
    for key in 0..40 {
        assert_eq!(table.get(KeyContext::new(&key)), map.get(&key));
    }
    taken.clear();
    while !table.thaw(3) {}
    assert_eq!(table.layers(), 0);
    assert!(table.below.is_none());
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

/// A snapshot of the heap is the oldest layer and what the newer ones say.
#[test]
fn frozen_layers_stay_as_they_were() {
    let mut table = table();
    for key in 0..100_u8 {
        *table.get_or_insert_with(KeyContext::new(&key), String::new) += "a";
    }
    let first = table.freeze();
    for key in 50..150_u8 {
        *table.get_or_insert_with(KeyContext::new(&key), String::new) += "b";
    }
    table.remove(KeyContext::new(&0));
    let second = table.freeze();
    table.remove(KeyContext::new(&1));
    *table.get_or_insert_with(KeyContext::new(&0), String::new) += "c";

    let mut map = Map::new();
    apply(&first, &mut map);
    assert_eq!(map, (0..100).map(|key| (key, "a".to_string())).collect());
    apply(&second, &mut map);
    assert_eq!((map.len(), map.get(&0), map[&1].as_str(), map[&60].as_str()), (149, None, "a", "ab"));
    assert_eq!(second.entries.len() + second.removed.len(), 101, "a layer has what changed");
    assert_eq!(table.get(KeyContext::new(&0)).map(String::as_str), Some("c"));
}
