//! Long random histories against a `BTreeMap`, with every invariant of the table checked after each step; hashes from
//! well spread to all equal; and user code that panics wherever it is called.

use super::*;
use crate::{cases, hash_word};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// The invariants of the module's docs.
#[track_caller]
fn check_invariants<K, V>(table: &Table<K, V>) {
    let count = table.pairs.len();
    if count == 0 {
        assert_eq!((table.homes, table.len, table.limit, table.tags.len()), (0, 0, 0, 0));
        return;
    }
    assert!(table.homes <= count && table.len <= table.limit);
    assert_eq!((table.hashes.len(), table.tags.len()), (count, count + WIDTH));
    assert!(table.tags[count..].iter().all(|&tag| tag == VACANT));
    let (mut len, mut run) = (0, None);
    for (at, &hash) in table.hashes.iter().enumerate() {
        if table.tags[at] == VACANT {
            run = None;
            continue;
        }
        assert_eq!(table.tags[at], tag_of(hash));
        let run_start = *run.get_or_insert(at);
        assert!((run_start..=at).contains(&home_of(hash, table.homes)), "slot {at} is off its run");
        len += 1;
    }
    assert_eq!(table.len, len);
}

/// How keys get their hashes.
#[derive(Debug, Clone, Copy)]
enum Hashes {
    Uniform,
    Equal(u64),
    /// All within a few slots, at the upper end.
    Last,
    /// All within a few slots, in the middle.
    Middle,
    Few,
}

impl Hashes {
    fn of(self, key: u16) -> u64 {
        match self {
            Self::Uniform => hash_word(u64::from(key)),
            Self::Equal(hash) => hash,
            Self::Last => u64::MAX - u64::from(key),
            Self::Middle => (1 << 63) + u64::from(key),
            Self::Few => u64::from(key % 5) << 61,
        }
    }
}

fn any_hashes() -> impl Strategy<Value = Hashes> {
    prop_oneof![
        4 => Just(Hashes::Uniform),
        1 => prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()].prop_map(Hashes::Equal),
        1 => Just(Hashes::Last),
        1 => Just(Hashes::Middle),
        1 => Just(Hashes::Few),
    ]
}

#[derive(Debug, Clone)]
enum Op {
    Add(u16, u32),
    Get(u16),
    Remove(u16),
    RetainEven,
    /// In steps of so many slots, removing the multiples of the second.
    RetainFrom(usize, u16),
    Scan(usize),
    Clear,
    /// All but so many entries are taken; the others are dropped with the iterator.
    Drain(usize),
}

fn any_op(keys: u16) -> impl Strategy<Value = Op> {
    prop_oneof![
        400 => (0..keys, any::<u32>()).prop_map(|(key, value)| Op::Add(key, value)),
        100 => (0..keys).prop_map(Op::Get),
        200 => (0..keys).prop_map(Op::Remove),
        2 => Just(Op::RetainEven),
        4 => (1..40_usize, 2..9_u16).prop_map(|(slots, divisor)| Op::RetainFrom(slots, divisor)),
        4 => (1..40_usize).prop_map(Op::Scan),
        1 => Just(Op::Clear),
        1 => (0..4_usize).prop_map(Op::Drain),
    ]
}

/// Values count how many of them there are.
struct Counted(u32, #[expect(dead_code, reason = "it is there to be counted")] Rc<()>);

fn run(hashes: Hashes, ops: &[Op]) {
    let alive = Rc::new(());
    let mut table = Table::new();
    let mut model = BTreeMap::<u16, u32>::new();
    for op in ops {
        match *op {
            Op::Add(key, amount) => {
                let make = || (key, Counted(0, Rc::clone(&alive)));
                let (&found, value, made) = table.entry(hashes.of(key), |&k| k == key, make);
                value.0 = value.0.wrapping_add(amount);
                assert_eq!((found, made), (key, !model.contains_key(&key)));
                let expected = model.entry(key).or_default();
                *expected = expected.wrapping_add(amount);
            }
            Op::Get(key) => {
                let found = table.get(hashes.of(key), |&k| k == key).map(|(&k, v)| (k, v.0));
                assert_eq!(found, model.get(&key).map(|&v| (key, v)));
                let found = table.get_mut(hashes.of(key), |&k| k == key).map(|(&k, v)| (k, v.0));
                assert_eq!(found, model.get(&key).map(|&v| (key, v)));
            }
            Op::Remove(key) => {
                let removed = table.remove(hashes.of(key), |&k| k == key).map(|(k, v)| (k, v.0));
                assert_eq!(removed, model.remove(&key).map(|v| (key, v)));
            }
            Op::RetainEven => {
                table.retain(|key, _| key % 2 == 0);
                model.retain(|key, _| key % 2 == 0);
            }
            Op::RetainFrom(slots_max, divisor) => {
                let mut from = Some(0);
                while let Some(cursor) = from {
                    from = table.retain_from(cursor, slots_max, |_, key, _| key % divisor != 0);
                    assert!(from.is_none_or(|from| from > cursor));
                    check_invariants(&table);
                }
                model.retain(|key, _| key % divisor != 0);
            }
            Op::Scan(slots_max) => {
                let (mut from, mut seen) = (Some(0), Vec::new());
                while let Some(cursor) = from {
                    let mut step = Vec::new();
                    from = table.scan(cursor, slots_max, |hash, key, value| {
                        step.push(hash);
                        assert_eq!(hash, hashes.of(*key));
                        seen.push((*key, value.0));
                    });
                    // Steps are in the order of hashes, each between its cursor and the next one.
                    assert!(step.iter().all(|&hash| hash >= cursor && from.is_none_or(|from| hash < from)));
                }
                assert_eq!(seen.len(), table.len());
                assert_eq!(seen.into_iter().collect::<BTreeMap<_, _>>(), model);
            }
            Op::Clear => {
                let capacity = table.capacity();
                table.clear();
                model.clear();
                assert_eq!(table.capacity(), capacity);
            }
            Op::Drain(left) => {
                let mut drained = BTreeMap::new();
                let mut drain = table.drain();
                while drain.len() > left {
                    let (key, value) = drain.next().unwrap();
                    drained.insert(key, value.0);
                }
                drop(drain);
                assert_eq!(drained.len(), model.len().saturating_sub(left));
                assert!(drained.iter().all(|(key, value)| model.get(key) == Some(value)));
                model.clear();
            }
        }
        check_invariants(&table);
        assert_eq!((table.len(), Rc::strong_count(&alive)), (model.len(), model.len() + 1));
    }
    assert_eq!(table.iter().map(|(&k, v)| (k, v.0)).collect::<BTreeMap<_, _>>(), model);
    assert_eq!(table.iter_mut().map(|(&k, v)| (k, v.0)).collect::<BTreeMap<_, _>>(), model);
    assert_eq!((table.iter().len(), table.iter_mut().len()), (model.len(), model.len()));
    drop(table);
    assert_eq!(Rc::strong_count(&alive), 1);
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn does_what_a_map_does_with_few_keys(hashes in any_hashes(), ops in prop::collection::vec(any_op(40), 0..400)) {
        run(hashes, &ops);
    }

    #[test]
    fn does_what_a_map_does_with_many_keys(hashes in any_hashes(), ops in prop::collection::vec(any_op(2000), 0..1200)) {
        run(hashes, &ops);
    }
}

/// A step of a scan may be followed by any change: entries that stay all the time are seen exactly once.
#[test]
fn a_cursor_survives_changes() {
    let hash = |key: u64| hash_word(key);
    let mut table = Table::new();
    for key in 0..500 {
        table.entry(hash(key), |&k| k == key, || (key, ()));
    }
    let (mut seen, mut from, mut new_key) = (Vec::new(), Some(0), 1000);
    while let Some(cursor) = from {
        from = table.scan(cursor, 10, |_, &key, ()| seen.push(key));
        for _ in 0..20 {
            table.entry(hash(new_key), |&k| k == new_key, || (new_key, ())); // It grows more than once.
            table.remove(hash(new_key % 100), |&k| k == new_key % 100);
            new_key += 1;
        }
    }
    seen.retain(|key| (100..500).contains(key));
    assert!(seen.len() == 400 && seen.iter().collect::<BTreeSet<_>>().len() == 400);
}

#[test]
fn the_slack_grows_for_equal_hashes() {
    let mut table = Table::new();
    for key in 0..2000 {
        table.entry(u64::MAX, |&k| k == key, || (key, ()));
        check_invariants(&table);
    }
    assert!(table.memory_bytes() < 2000 * 8 * (size_of::<i32>() + size_of::<u64>() + 1));
    assert!((0..2000).all(|key| table.remove(u64::MAX, |&k| k == key).is_some()));
    assert!(table.is_empty());
}

#[test]
fn starts_small_and_keeps_its_capacity() {
    let mut table = Table::<u64, u64>::new();
    assert_eq!((table.capacity(), table.memory_bytes()), (0, 0));
    assert_eq!(table.get(1, |_| true), None);
    assert_eq!(table.remove(1, |_| true), None);
    assert_eq!(table.scan(0, 9, |_, _, _| ()), None);
    table.prefetch(1);
    table.clear();
    assert_eq!(table.drain().count(), 0);
    table.entry(1, |_| true, || (1, 1));
    assert_eq!((table.capacity(), table.memory_bytes()), (6, 25 * (8 + slack_of(8)) + WIDTH));
    assert_eq!(table.remove(1, |_| true), Some((1, 1)));
    assert_eq!(table.capacity(), 6);
}

#[test]
fn keys_and_values_may_have_no_size() {
    let mut table = Table::<(), ()>::new();
    assert!(table.entry(7, |()| true, || ((), ())).2);
    assert!(!table.entry(7, |()| true, || ((), ())).2);
    assert_eq!(table.iter().count(), 1);
    assert_eq!(table.remove(7, |()| true), Some(((), ())));
}

/// Notes when it is dropped, and panics then if it is the one that is armed.
struct Explosive(u32, Rc<Cell<Option<u32>>>, Rc<RefCell<Vec<u32>>>);

impl Drop for Explosive {
    fn drop(&mut self) {
        self.2.borrow_mut().push(self.0);
        if self.1.get() == Some(self.0) {
            panic!("as ordered");
        }
    }
}

/// Whatever user code panics, the table keeps its invariants, and nothing is dropped twice or lost.
#[test]
fn survives_panics_of_user_code() {
    type Explosives = Table<u32, Explosive>;
    type Action = fn(&mut Explosives);
    let actions: [(&str, Action); 8] = [
        ("eq of get", |table| assert!(table.get(7, |_| panic!("eq")).is_none())),
        ("eq of entry", |table| assert!(table.entry(7, |_| panic!("eq"), || unreachable!()).2)),
        ("make", |table| assert!(table.entry(7, |_| false, || panic!("make")).2)),
        ("eq of remove", |table| drop(table.remove(7, |_| panic!("eq")))),
        ("scan", |table| assert!(table.scan(0, 99, |_, &key, _| assert_ne!(key, 3)).is_none())),
        ("retain", |table| table.retain(|&key, _| key == 3 && panic!("f"))),
        ("drop in retain", |table| table.retain(|&key, _| key != 4)),
        ("drop in clear", |table| table.clear()),
    ];
    for (name, action) in actions {
        let armed = Rc::new(Cell::new(None));
        let dropped = Rc::new(RefCell::new(Vec::new()));
        let mut table = Table::new();
        for key in 0..10 {
            let make = || (key, Explosive(key, Rc::clone(&armed), Rc::clone(&dropped)));
            table.entry(if key < 5 { 7 } else { 1 << 63 }, |&k| k == key, make);
        }
        armed.set(Some(4));
        assert!(catch_unwind(AssertUnwindSafe(|| action(&mut table))).is_err(), "{name}");
        armed.set(None);
        check_invariants(&table);
        drop(table);
        let mut dropped = dropped.take();
        dropped.sort_unstable();
        assert_eq!(dropped, (0..10).collect::<Vec<_>>(), "{name}");
    }
}

proptest! {
    #![proptest_config(crate::cases(64))]

    /// A range of hashes is what a filter over all entries finds.
    #[test]
    fn a_range_has_the_entries_of_its_hashes(
        hashes in prop::collection::vec(prop_oneof![any::<u64>(), 0..50_u64, (u64::MAX - 50)..=u64::MAX], 0..200),
        from in any::<u64>(),
        to in prop::option::of(any::<u64>()),
    ) {
        let mut table = Table::new();
        for &hash in &hashes {
            table.entry(hash, |&key| key == hash, || (hash, ()));
        }
        let mut found: Vec<u64> = table.between(from, to).map(|(_, &key, ())| key).collect();
        found.sort_unstable();
        let mut expected: Vec<u64> = hashes.into_iter().filter(|hash| *hash >= from && to.is_none_or(|to| *hash < to)).collect();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(found, expected);
    }
}
