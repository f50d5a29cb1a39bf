//! Flink's rules for state that expires, as plainly as can be.

use std::collections::BTreeMap;

use super::TTL_MS;

/// What of a TTL changes what is seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) updates_on_read: bool,
    pub(super) returns_expired: bool,
    /// Whether something clears away in the background.
    pub(super) cleans: bool,
}

impl Rules {
    /// Whether expired state may be seen or not, as it happens.
    fn is_loose(self) -> bool {
        self.returns_expired && self.cleans
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// `value()`.
    Get,
    /// `update(…)`.
    Set,
    /// `value()` and then `update` with the sum, or with the number alone if there was none; `add`.
    Add,
    /// The same, if there was a value.
    AddIfThere,
    /// `value()` and then `clear()`.
    Take,
    Clear,
}

impl Op {
    pub(super) fn of(byte: u8) -> Self {
        match byte {
            0..100 => Self::Get,
            100..140 => Self::Set,
            140..190 => Self::Add,
            190..220 => Self::AddIfThere,
            220..240 => Self::Take,
            240.. => Self::Clear,
        }
    }
}

fn has_expired(at_ms: i64, now_ms: i64) -> bool {
    at_ms + TTL_MS <= now_ms
}

/// Numbers and the times of their last use.
#[derive(Debug, Clone)]
pub(super) struct ValueModel {
    rules: Rules,
    values: BTreeMap<u32, (u64, i64)>,
}

impl ValueModel {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, values: BTreeMap::new() }
    }

    /// The state has `given` this.
    pub(super) fn check(&mut self, op: Op, now_ms: i64, key: u32, number: u64, given: Option<u64>) {
        let mut cleaned = self.clone();
        if cleaned.values.get(&key).is_some_and(|(_, at_ms)| has_expired(*at_ms, now_ms)) {
            cleaned.values.remove(&key);
        }
        let mut expected = self.apply(op, now_ms, key, number);
        if given != expected && self.rules.is_loose() {
            *self = cleaned;
            expected = self.apply(op, now_ms, key, number);
        }
        assert_eq!(given, expected, "{op:?} of {key} at {now_ms}");
    }

    fn apply(&mut self, op: Op, now_ms: i64, key: u32, number: u64) -> Option<u64> {
        match op {
            Op::Get => self.get(now_ms, key),
            Op::Set => {
                self.values.insert(key, (number, now_ms));
                None
            }
            Op::Add => {
                let sum = self.get(now_ms, key).unwrap_or(0) + number;
                self.values.insert(key, (sum, now_ms));
                Some(sum)
            }
            Op::AddIfThere => {
                let sum = self.get(now_ms, key)? + number;
                self.values.insert(key, (sum, now_ms));
                Some(sum)
            }
            Op::Take => {
                let value = self.get(now_ms, key);
                self.values.remove(&key);
                value
            }
            Op::Clear => {
                self.values.remove(&key);
                None
            }
        }
    }

    /// `AbstractTtlDecorator.getWrappedWithTtlCheckAndUpdate`.
    fn get(&mut self, now_ms: i64, key: u32) -> Option<u64> {
        let (value, at_ms) = *self.values.get(&key)?;
        if has_expired(at_ms, now_ms) {
            self.values.remove(&key);
            return self.rules.returns_expired.then_some(value);
        }
        if self.rules.updates_on_read {
            self.values.insert(key, (value, now_ms));
        }
        Some(value)
    }
}

/// Lists of numbers and the times of their last use.
#[derive(Debug, Clone)]
pub(super) struct ListModel {
    rules: Rules,
    lists: BTreeMap<u32, Vec<(u64, i64)>>,
}

impl ListModel {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, lists: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, now_ms: i64, key: u32, items: &[u64]) {
        self.lists.remove(&key);
        self.add(now_ms, key, items);
    }

    pub(super) fn add(&mut self, now_ms: i64, key: u32, items: &[u64]) {
        self.lists.entry(key).or_default().extend(items.iter().map(|item| (*item, now_ms)));
    }

    /// The state has `given` this.
    pub(super) fn check_get(&mut self, now_ms: i64, key: u32, given: &[u64]) {
        if self.rules.is_loose() {
            self.clean_as(now_ms, key, given);
        }
        assert_eq!(given, self.get(now_ms, key), "get of {key} at {now_ms}");
    }

    /// The same, and then it has cleared the list.
    pub(super) fn check_take(&mut self, now_ms: i64, key: u32, given: &[u64]) {
        self.check_get(now_ms, key, given);
        self.lists.remove(&key);
    }

    /// Drops what has expired and is not among those that were given.
    fn clean_as(&mut self, now_ms: i64, key: u32, given: &[u64]) {
        let mut given = given.iter().peekable();
        self.lists.entry(key).or_default().retain(|(item, at_ms)| {
            let is_given = given.next_if_eq(&item).is_some();
            is_given || !has_expired(*at_ms, now_ms)
        });
    }

    /// `TtlListState.get`, and its `IteratorWithCleanup` run to the end.
    fn get(&mut self, now_ms: i64, key: u32) -> Vec<u64> {
        let list = self.lists.get(&key).cloned().unwrap_or_default();
        let is_live = |item: &&(u64, i64)| !has_expired(item.1, now_ms);
        let live = list.iter().filter(is_live);
        let renewed: Vec<_> = live.map(|(item, _)| (*item, now_ms)).collect();
        if renewed.is_empty() {
            self.lists.remove(&key);
        } else if self.rules.updates_on_read {
            self.lists.insert(key, renewed);
        }
        let is_seen = |item: &&(u64, i64)| self.rules.returns_expired || is_live(item);
        list.iter().filter(is_seen).map(|(item, _)| *item).collect()
    }
}

/// Maps of numbers and the times of their last use.
#[derive(Debug, Clone)]
pub(super) struct MapModel {
    rules: Rules,
    /// Of each map's key, the entries as values of their own.
    maps: BTreeMap<u32, ValueModel>,
}

impl MapModel {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, maps: BTreeMap::new() }
    }

    /// The state has `given` this of an entry.
    pub(super) fn check(
        &mut self,
        op: Op,
        now_ms: i64,
        key: u32,
        user_key: u32,
        number: u64,
        given: Option<u64>,
    ) {
        self.map(key).check(op, now_ms, user_key, number, given);
    }

    /// The state has given all these entries: each was read.
    pub(super) fn check_all(&mut self, now_ms: i64, key: u32, given: &BTreeMap<u32, u64>) {
        let user_keys: Vec<u32> = self.map(key).values.keys().copied().collect();
        assert!(given.keys().all(|user_key| user_keys.contains(user_key)), "{given:?} of {user_keys:?}");
        for user_key in user_keys {
            self.map(key).check(Op::Get, now_ms, user_key, 0, given.get(&user_key).copied());
        }
    }

    /// The state has said whether the map is empty. What has expired counts, unless it may have been cleared away.
    pub(super) fn check_is_empty(&mut self, now_ms: i64, key: u32, given: bool) {
        let cleans = self.rules.cleans;
        let values = &self.map(key).values;
        let has_live = values.values().any(|(_, at_ms)| !has_expired(*at_ms, now_ms));
        assert!(given == values.is_empty() || given && cleans && !has_live, "{key} at {now_ms}");
    }

    pub(super) fn clear(&mut self, key: u32) {
        self.map(key).values.clear();
    }

    pub(super) fn has(&mut self, key: u32, user_key: u32) -> bool {
        self.map(key).values.contains_key(&user_key)
    }

    fn map(&mut self, key: u32) -> &mut ValueModel {
        let rules = self.rules;
        self.maps.entry(key).or_insert_with(|| ValueModel::new(rules))
    }
}
