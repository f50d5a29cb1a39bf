//! Goal: state of a job expires by the clock that its functions see, on the heap and in files.
//!
//! Method: a function that keeps a count and the times of the records of a key, under TTL, and says what it finds and what time
//! it is; in the simulator, whose seeds choose where state is kept and make the clock jump. What it should have found follows from
//! the times it says.

use std::collections::BTreeMap;
use std::time::Duration;

use rkyv::rend::u64_le;
use thalweg::testing::{Simulator, seeds};
use thalweg::{
    Env, KeyedContext, KeyedProcessFunction, ListState, OpenContext, Result, StateDescriptor, Timestamp, Ttl,
    UpdateType, ValueState,
};

const TTL_MS: i64 = 40;

/// What a record finds: its key, the time, the count before it, the times of those before it.
type Found = (u64, Timestamp, Option<u64>, Vec<Timestamp>);

#[derive(Clone)]
struct Lately(UpdateType);

impl KeyedProcessFunction<u64, u64> for Lately {
    type Out = Found;
    type State = (ValueState<u64, u64>, ListState<u64, Timestamp>);

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        let ttl =
            Ttl::new(Duration::from_millis(TTL_MS as u64)).update_type(self.0).cleanup_incrementally(3, true);
        let descriptor = |name| StateDescriptor::new(name).with_ttl(ttl.clone());
        Ok((cx.value(descriptor("count"))?, cx.list(descriptor("times"))?))
    }

    fn process(
        &mut self,
        _: &u64_le,
        (count, times): &mut Self::State,
        cx: &mut impl KeyedContext<u64, Found>,
    ) {
        let now = cx.now();
        let before = count.get(cx.at()).copied();
        let seen = times.get(cx.at()).to_vec();
        if self.0 == UpdateType::OnCreateAndWrite || before.is_none() {
            count.set(cx.at(), before.unwrap_or(0) + 1);
        }
        times.add(cx.at(), now);
        cx.collect(&(*cx.key(), now, before, seen));
    }
}

/// Of a key: the count, when it was used last, and the items, each with when it was used last.
type Expected = (u64, Timestamp, Vec<(Timestamp, Timestamp)>);

/// How many records have found that something had expired.
fn check(seed: u64, update_type: UpdateType) -> usize {
    let env = Env::new().parallelism(2);
    let found = env.generate(3_000, |n| n).key_by(|n| n % 401).process(Lately(update_type)).collect();
    Simulator::new(seed).run(&env).expect("the job runs");

    let mut keys: BTreeMap<u64, Expected> = BTreeMap::new();
    let mut expired = 0;
    for (key, now, before, seen) in found.take() {
        let is_live = |at: Timestamp| now < at + TTL_MS;
        let (count, at, items) = keys.entry(key).or_insert((0, i64::MIN, Vec::new()));
        let expected = (*count > 0 && is_live(*at)).then_some(*count);
        expired += usize::from(*count > 0 && expected.is_none());
        assert_eq!(before, expected, "key {key} at {now}, used last at {at}");
        items.retain(|(_, at)| is_live(*at));
        let live: Vec<Timestamp> = items.iter().map(|(item, _)| *item).collect();
        assert_eq!(seen, live, "key {key} at {now}");
        if update_type == UpdateType::OnCreateAndWrite {
            *count = expected.unwrap_or(0) + 1;
        } else {
            *count = expected.unwrap_or(1); // Reads have kept it alive, and renewed the items.
            items.iter_mut().for_each(|(_, at)| *at = now);
        }
        *at = now;
        items.push((now, now));
    }
    expired
}

#[test]
fn state_expires_by_the_clock_of_the_job() {
    for update_type in [UpdateType::OnCreateAndWrite, UpdateType::OnReadAndWrite] {
        let expired = std::cell::Cell::new(0);
        seeds(15, |seed| expired.set(expired.get() + check(seed, update_type)));
        assert!(expired.get() > 50, "{} have expired", expired.get());
    }
}
