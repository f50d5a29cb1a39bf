//! State that expires, against models written from Flink's rules: on the heap and in files, under a clock that is turned by hand.
//!
//! Where expired state is seen until it is cleared away, and something clears it in the background, a model may be right with it
//! or without.

mod cleanup;
mod model;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use self::model::{ListModel, MapModel, Op, Rules, ValueModel};
use super::timed::{Timed, TimedItems};
use super::*;
use crate::context::KeyContext;
use crate::handle::list_cell::{Chunk, Items};
use crate::handle::tests::{Rig, any_rig};
use crate::handle::{AggregatingState, ListState, MapState, ReducingState, StateSet, ValueState, View};
use crate::value::ValueBytes;
use crate::{Error, StateDescriptor, Stored, cases, lsm};

const TTL_MS: i64 = 10;

fn descriptor(rules: Rules) -> StateDescriptor {
    let mut ttl = Ttl::new(Duration::from_millis(TTL_MS as u64));
    if rules.updates_on_read {
        ttl = ttl.update_type(UpdateType::OnReadAndWrite);
    }
    if rules.returns_expired {
        ttl = ttl.visibility(StateVisibility::ReturnExpiredIfNotCleanedUp);
    }
    if !rules.cleans {
        ttl = ttl.disable_cleanup_in_background();
    }
    StateDescriptor::new("state").with_ttl(ttl)
}

fn any_rules() -> impl Strategy<Value = Rules> {
    any::<[bool; 3]>().prop_map(|[updates_on_read, returns_expired, cleans]| Rules {
        updates_on_read,
        returns_expired,
        cleans,
    })
}

/// Which operation, after how many ms, the key, a value.
fn any_ops() -> impl Strategy<Value = Vec<(Op, i64, u32, u64)>> {
    prop::collection::vec((any::<u8>().prop_map(Op::of), 0..6_i64, 0..8_u32, 0..1000_u64), 0..300)
}

/// A state of a number, in any of three ways.
trait Number: StateSet {
    fn apply(&mut self, cx: KeyContext<'_, u32>, op: Op, value: u64) -> Option<u64>;
}

impl Number for ValueState<u32, u64> {
    fn apply(&mut self, cx: KeyContext<'_, u32>, op: Op, value: u64) -> Option<u64> {
        match op {
            Op::Get if value < 300 => self.get(cx).copied(),
            Op::Get => self.view(cx).map(|view| match view {
                View::Value(value) => *value,
                View::Archived(value) => value.to_native(),
            }),
            Op::Add if value < 500 => {
                Some(*self.upsert(cx, value, |value| value, |sum, value| *sum += value))
            }
            Op::Add => Some(self.update_row(cx, || 0, |sum| *sum += value).1),
            Op::AddIfThere => {
                let sum = self.get_mut(cx)?;
                *sum += value;
                Some(*sum)
            }
            Op::Take => self.take(cx),
            Op::Set => {
                self.set(cx, value);
                None
            }
            Op::Clear => {
                self.clear(cx);
                None
            }
        }
    }
}

impl<F: Fn(&mut u64, u64)> Number for ReducingState<u32, u64, F> {
    fn apply(&mut self, cx: KeyContext<'_, u32>, op: Op, value: u64) -> Option<u64> {
        match op {
            Op::Get => self.get(cx).copied(),
            Op::Take => self.take(cx),
            Op::Clear => {
                self.clear(cx);
                None
            }
            _ => Some(*self.add(cx, value)),
        }
    }
}

impl<C: Fn() -> u64, F: Fn(&mut u64, u64), R: Fn(&u64) -> u64> Number
    for AggregatingState<u32, u64, C, F, R>
{
    fn apply(&mut self, cx: KeyContext<'_, u32>, op: Op, value: u64) -> Option<u64> {
        match op {
            Op::Get if value < 500 => self.get(cx),
            Op::Get => self.accumulator(cx).copied(),
            Op::Clear => {
                self.clear(cx);
                None
            }
            _ => {
                self.add(cx, value);
                self.get(cx) // What was just written is there.
            }
        }
    }
}

/// What an operation is, to a state of that kind.
fn op_of(kind: u8, op: Op) -> Op {
    match (kind, op) {
        (0, _) | (_, Op::Get | Op::Clear) | (1, Op::Take) => op,
        _ => Op::Add,
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Value, reducing and aggregating states give what Flink's would.
    #[test]
    fn values_expire_as_in_flink(seed in any_rig(), rules in any_rules(), kind in 0..3_u8, ops in any_ops()) {
        let mut rig = Rig::new(seed);
        let (descriptor, backend) = (descriptor(rules), &rig.backend);
        let sum = |sum: &mut u64, value: u64| *sum += value;
        let mut model = ValueModel::new(rules);
        let mut now_ms = 1000;
        macro_rules! run {
            ($state:ident) => {
                for (op, after_ms, key, number) in ops {
                    now_ms += after_ms;
                    rig.core.set_time(now_ms);
                    let cx = rig.before(&mut $state, &key);
                    let given = $state.apply(cx, op, number);
                    model.check(op_of(kind, op), now_ms, key, number, given);
                }
            };
        }
        match kind {
            0 => {
                let mut value = ValueState::<u32, u64>::new(descriptor, backend).unwrap();
                run!(value);
            }
            1 => {
                let mut reducing = ReducingState::new(descriptor, backend, sum).unwrap();
                run!(reducing);
            }
            _ => {
                let mut aggregating = AggregatingState::new(descriptor, backend, || 0, sum, |sum| *sum).unwrap();
                run!(aggregating);
            }
        }
        rig.end();
    }

    /// Items of lists expire one by one, in the order in which they are.
    #[test]
    fn items_expire_as_in_flink(seed in any_rig(), rules in any_rules(), ops in any_ops()) {
        let mut rig = Rig::new(seed);
        let mut state = ListState::<u32, u64>::new(descriptor(rules), &rig.backend).unwrap();
        let mut model = ListModel::new(rules);
        let mut now_ms = 1000;
        for (op, after_ms, key, number) in ops {
            now_ms += after_ms;
            rig.core.set_time(now_ms);
            let cx = rig.before(&mut state, &key);
            match op {
                Op::Get => model.check_get(now_ms, key, state.get(cx)),
                Op::Take => model.check_take(now_ms, key, &state.take(cx)),
                Op::Set => {
                    let items = vec![number; number as usize % 3];
                    model.set(now_ms, key, &items);
                    state.update(cx, items);
                }
                Op::Clear => {
                    model.set(now_ms, key, &[]);
                    state.clear(cx);
                }
                Op::Add => {
                    model.add(now_ms, key, &[number]);
                    state.add(cx, number);
                }
                Op::AddIfThere => {
                    let items = [number, number + 1, number + 2];
                    let items = &items[..number as usize % 4 % 3];
                    model.add(now_ms, key, items);
                    state.add_all(cx, items.iter().copied());
                }
            }
        }
        rig.end();
    }

    /// Entries of maps expire one by one, in small maps and in those that are split.
    #[test]
    fn entries_expire_as_in_flink(seed in any_rig(), rules in any_rules(), is_large: bool, ops in any_ops()) {
        let mut rig = Rig::new(seed);
        let mut state = MapState::<u32, u32, (u64, [u64; 16])>::new(descriptor(rules), &rig.backend).unwrap();
        let mut model = MapModel::new(rules);
        let mut now_ms = 1000;
        for (op, after_ms, user_key, number) in ops {
            // One map of up to 60 entries, or 8 of a few.
            let (key, user_key) = if is_large { (0, number as u32 % 60) } else { (user_key, number as u32 % 4) };
            now_ms += after_ms;
            rig.core.set_time(now_ms);
            let cx = rig.before(&mut state, &key);
            let given = match op {
                Op::Get if number < 500 => state.get(cx, &user_key).map(|value| value.0),
                Op::Get if number < 600 => {
                    model.check_is_empty(now_ms, key, state.is_empty(cx));
                    continue;
                }
                Op::Get => {
                    let all: BTreeMap<u32, u64> = state.iter(cx).map(|(key, value)| (*key, value.0)).collect();
                    model.check_all(now_ms, key, &all);
                    prop_assert_eq!(state.len(cx), all.len() - if rules.returns_expired {
                        // Those that were seen for the last time.
                        all.keys().filter(|user_key| !model.has(key, **user_key)).count()
                    } else { 0 });
                    continue;
                }
                Op::Set => {
                    state.put(cx, user_key, (number, [0; 16]));
                    None
                }
                Op::Add | Op::AddIfThere => {
                    let sum = state.update_with(cx, &user_key, || (0, [0; 16]), |value| { value.0 += number; value.0 });
                    model.check(Op::Add, now_ms, key, user_key, number, Some(sum));
                    continue;
                }
                Op::Take => state.take(cx, &user_key).map(|value| value.0),
                Op::Clear if number < 300 => {
                    state.clear(cx);
                    model.clear(key);
                    continue;
                }
                Op::Clear => {
                    state.remove(cx, &user_key);
                    None
                }
            };
            model.check(op, now_ms, key, user_key, number, given);
        }
        rig.end();
    }

    /// Any bytes are a value or an error, never a panic.
    #[test]
    fn any_bytes_are_read_or_refused(noise in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..96)) {
        let mut bytes = ValueBytes::new();
        bytes.extend_from_slice(&noise);
        let _ = Timed::<(u8, String)>::load(&bytes);
        if let Ok((chunk, rest)) = Chunk::split(&bytes) {
            prop_assert_eq!(chunk.bytes.len() + rest.len(), noise.len());
            let mut items = TimedItems::<String>::default();
            let _ = items.append_chunk(chunk);
            prop_assert_eq!(items.items.len(), items.times_ms.len());
        }
    }
}

/// The rule that users notice: what has expired is seen not at all, or once.
#[test]
fn a_late_read_sees_what_has_expired_once_or_never() {
    for (seed, returns_expired) in [(0, false), (0, true), (1, false), (1, true)] {
        let mut rig = Rig::new(seed);
        let rules = Rules { returns_expired, updates_on_read: false, cleans: false };
        let mut value = ValueState::<u32, String>::new(descriptor(rules), &rig.backend).unwrap();
        let other = StateDescriptor { name: "list".into(), ..descriptor(rules) };
        let mut list = ListState::<u32, u64>::new(other, &rig.backend).unwrap();
        let other = StateDescriptor { name: "map".into(), ..descriptor(rules) };
        let mut map = MapState::<u32, u64, u64>::new(other, &rig.backend).unwrap();
        let cx = KeyContext::new(&7);
        rig.core.set_time(0);
        value.set(cx, "late".into());
        list.add_all(cx, [1, 2]);
        (0..3).for_each(|user_key| map.put(cx, user_key, user_key));
        rig.core.set_time(TTL_MS - 1);
        assert_eq!((value.get(cx).unwrap().as_str(), list.get(cx)), ("late", &[1, 2][..]));
        rig.core.set_time(TTL_MS);
        let (text, items) = if returns_expired { (Some("late"), &[1, 2][..]) } else { (None, &[][..]) };
        assert_eq!((value.get(cx).map(String::as_str), list.get(cx)), (text, items));
        assert_eq!((value.get(cx), list.get(cx)), (None, &[][..]));
        assert_eq!(map.get(cx, &0).is_some(), returns_expired);
        assert!(map.get(cx, &0).is_none() && !map.is_empty(cx));
        assert_eq!(map.iter(cx).count(), if returns_expired { 2 } else { 0 });
        assert!(map.len(cx) == 0 && map.is_empty(cx));
        rig.end();
    }
}

/// Turning TTL on or off for saved state is refused; another time to live is not, and counts for what was saved.
#[test]
fn what_was_saved_with_times_is_read_with_times() {
    let storage = crate::storage::Storage::memory();
    let ttl = |ms| Ttl::new(Duration::from_millis(ms));
    let open = |ttl: Option<Ttl>, now_ms| {
        let core = crate::CoreState::lsm(&storage, lsm::Options::nvme(), 1).unwrap().0;
        core.set_time(now_ms);
        let max = crate::MaxParallelism::default();
        let backend = core.backend("op", crate::KeyGroupRange::all(max), max);
        let descriptor = StateDescriptor { name: "value".into(), ttl };
        ValueState::<u32, u64>::new(descriptor, &backend).map(|state| (core, state))
    };
    let (core, mut state) = open(Some(ttl(10)), 0).unwrap();
    state.set(KeyContext::new(&1), 7);
    core.freeze();
    cleanup::write_all(&core, &mut state);
    drop((core, state));
    for other in [None, Some(ttl(10).update_type(UpdateType::Disabled))] {
        let refused = open(other, 0).unwrap_err();
        assert!(matches!(refused, Error::Store(lsm::Error::SchemaMismatch { .. })), "{refused}");
    }
    let (core, mut state) = open(Some(ttl(100)), 99).unwrap();
    assert_eq!(state.get(KeyContext::new(&1)), Some(&7));
    core.set_time(100);
    assert_eq!(state.get(KeyContext::new(&1)), None);
}

#[test]
fn times_do_not_overflow() {
    let ttl = Ttl::new(Duration::MAX);
    assert!(!ttl.has_expired(0, i64::MAX - 1) && ttl.has_expired(i64::MIN, 0));
    let ttl = Ttl::new(Duration::from_millis(10));
    assert!(!ttl.has_expired(i64::MAX - 5, i64::MAX - 1) && !ttl.has_expired(i64::MIN, i64::MIN));
    assert!(ttl.has_expired(i64::MIN, 0) && ttl.has_expired(-10, 0) && !ttl.has_expired(-9, 0));
}

#[test]
#[should_panic(expected = "state that lives for 999µs is none")]
fn a_time_to_live_is_a_millisecond_at_least() {
    let _ = Ttl::new(Duration::from_micros(999));
}
