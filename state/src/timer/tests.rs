//! Random histories against a `BTreeSet` of timers by timestamp and order of registration.

use super::*;
use crate::cases;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Op {
    Register(i64, u8),
    Delete(i64, u8),
    Pop(i64),
    PopAll(i64),
}

fn any_op(times: i64) -> impl Strategy<Value = Op> {
    let at = move || prop_oneof![20 => 0..times, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    prop_oneof![
        30 => (at(), any::<u8>()).prop_map(|(at, payload)| Op::Register(at, payload)),
        15 => (at(), any::<u8>()).prop_map(|(at, payload)| Op::Delete(at, payload)),
        8 => at().prop_map(Op::Pop),
        1 => at().prop_map(Op::PopAll),
    ]
}

/// Few payloads have the same hash, unless `hashes` is small.
fn run(hashes: u64, ops: &[Op]) {
    let hash_of = |payload: u8| (u64::from(payload) % hashes).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut timers = Timers::new();
    let mut model = BTreeSet::<(i64, usize, u8)>::new();
    for (sequence, op) in ops.iter().enumerate() {
        let find = |model: &BTreeSet<(i64, usize, u8)>, at, payload| {
            model.iter().find(|timer| (timer.0, timer.2) == (at, payload)).copied()
        };
        match *op {
            Op::Register(at, payload) => {
                let is_new = find(&model, at, payload).is_none();
                assert_eq!(timers.contains(at, hash_of(payload), &payload), !is_new);
                assert_eq!(timers.register(at, hash_of(payload), &payload), is_new);
                if is_new {
                    model.insert((at, sequence, payload));
                }
            }
            Op::Delete(at, payload) => {
                let found = find(&model, at, payload);
                assert_eq!(timers.delete(at, hash_of(payload), &payload), found.is_some());
                found.map(|found| model.remove(&found));
            }
            Op::Pop(up_to) => {
                let due = model.first().copied().filter(|timer| timer.0 <= up_to);
                due.map(|due| model.remove(&due));
                let due = due.map(|(at, _, payload)| (at, hash_of(payload), payload));
                assert_eq!(timers.pop_due(up_to), due);
            }
            Op::PopAll(up_to) => {
                while let Some((at, _, payload)) = timers.pop_due(up_to) {
                    let first = model.pop_first().expect("the model has it too");
                    assert!((first.0, first.2) == (at, payload) && at <= up_to);
                }
                assert!(model.first().is_none_or(|first| first.0 > up_to));
            }
        }
        assert_eq!((timers.len(), timers.is_empty()), (model.len(), model.is_empty()));
        assert_eq!(timers.next_at().is_none(), model.is_empty());
        assert!(timers.next_at() <= model.first().map(|first| first.0));
    }
    let left = model.iter().map(|(at, _, payload)| (*at, hash_of(*payload), payload));
    assert!(timers.iter().eq(left));
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn many_timers_at_few_times(hashes in 1..300_u64, ops in prop::collection::vec(any_op(3), 0..800)) {
        run(hashes, &ops);
    }

    #[test]
    fn few_timers_at_many_times(hashes in 1..300_u64, ops in prop::collection::vec(any_op(200), 0..800)) {
        run(hashes, &ops);
    }
}

/// Registering and deleting at one timestamp for ever takes no more memory than doing so once.
#[test]
fn churn_at_one_time_takes_no_memory() {
    let mut timers = Timers::new();
    timers.register(5, 0, &u64::MAX); // Stays, and so keeps the bucket.
    for round in 0..300 {
        for key in 0..100 {
            assert!(timers.register(5, scatter(key), &key));
        }
        for key in 0..100 {
            if round % 2 == 0 {
                assert!(timers.delete(5, scatter(key), &key));
            } else {
                let (_, hash, payload) = timers.pop_due(5).unwrap();
                assert!(timers.register(5, hash, &payload));
                assert!(timers.delete(5, scatter(key), &key));
            }
        }
        assert_eq!(timers.len(), 1);
        let Queue::Many(many) = &timers.buckets[0].timers else { panic!("it had many") };
        assert!(many.queue.len() < 20, "{} entries for one timer", many.queue.len());
        assert!(many.index.len() < 400);
    }
    assert_eq!(timers.buckets.len(), 1);
}
