//! What is left of entries, by filters that look at one letter.

use super::*;
use crate::lsm::{Fingerprint, StateSpec};

/// Drops `d`, makes `c` a `C`, keeps what else there is, once the time has come.
struct Letters;

struct LettersNow(i64);

impl CompactionFilter for Letters {
    fn begin(&self, now_ms: i64) -> Box<dyn EntryFilter> {
        Box::new(LettersNow(now_ms))
    }
}

impl EntryFilter for LettersNow {
    fn filter(&mut self, entry: Entry<'_>, out: &mut Vec<u8>) -> Verdict {
        match entry.value {
            b"d" if self.0 >= 0 => Verdict::Drop,
            b"c" if self.0 >= 0 => {
                out.push(b'C');
                Verdict::Change
            }
            b"f" => Verdict::Forget,
            b"" => Verdict::Drop,
            _ => Verdict::Keep,
        }
    }
}

/// Entries in the order of their keys.
struct Given(Vec<(Vec<u8>, Kind, &'static [u8])>, usize);

impl Cursor for Given {
    fn entry(&self) -> Option<Entry<'_>> {
        self.0.get(self.1).map(|(key, kind, value)| Entry { key, kind: *kind, value })
    }

    fn advance(&mut self) -> Result<()> {
        self.1 += 1;
        Ok(())
    }
}

/// One state with the filter, and one without.
fn states() -> (Arc<States>, StateId, StateId) {
    let mut states = States::default();
    let filter = Some(Arc::new(Letters) as _);
    let with = states.register(StateSpec { filter, ..StateSpec::new("with", Fingerprint(1)) }).unwrap();
    let without = states.register(StateSpec::new("without", Fingerprint(1))).unwrap();
    (Arc::new(states), with, without)
}

fn key(group: u16, state: StateId, user: u32) -> Vec<u8> {
    [&group.to_be_bytes()[..], &state.0.to_be_bytes(), &user.to_be_bytes()].concat()
}

/// `entries`: a word for each, `=` put, `+` operand, `-` delete, and the value; `.` stands for none.
fn parse(state: StateId, entries: &'static str) -> Vec<(Vec<u8>, Kind, &'static [u8])> {
    let keys = (0..).map(|user| key(0, state, user));
    let parsed = keys.zip(entries.split_whitespace()).filter_map(|(key, word)| {
        let kind = match word.as_bytes()[0] {
            b'=' => Kind::Put,
            b'+' => Kind::Merge,
            b'-' => Kind::Delete,
            _ => return None,
        };
        Some((key, kind, &word.as_bytes()[1..]))
    });
    parsed.collect()
}

#[track_caller]
fn check(now_ms: i64, is_oldest: bool, entries: &'static str, left: &'static str) {
    let (states, with, _) = states();
    let mut filtered = Filtered::new(Given(parse(with, entries), 0), states, now_ms, is_oldest).unwrap();
    for (key, kind, value) in parse(with, left) {
        assert_eq!(filtered.entry(), Some(Entry { key: &key, kind, value }));
        filtered.advance().unwrap();
    }
    assert_eq!(filtered.entry(), None);
}

#[test]
fn what_is_dropped_leaves_a_delete_where_something_older_may_be() {
    check(0, false, "=d =k +d +k - =d", "- =k . +k - -");
    check(0, true, "=d =k +d +k =d", ". =k . +k .");
    check(0, false, "=c +c", "=C +C");
    check(-1, true, "=c =d +c", "=c =d +c"); // Before the time.
}

/// Only the state that has the filter is asked, in every key group.
#[test]
fn states_without_a_filter_pass() {
    let (states, with, without) = states();
    let mut given = Vec::new();
    for group in 0..3 {
        for state in [with.min(without), with.max(without)] {
            given.push((key(group, state, 0), Kind::Put, &b"d"[..]));
        }
    }
    let mut filtered = Filtered::new(Given(given, 0), states, 0, true).unwrap();
    for group in 0..3 {
        assert_eq!(filtered.entry().unwrap().key, key(group, without, 0));
        filtered.advance().unwrap();
    }
    assert_eq!(filtered.entry(), None);
}

/// Many that are dropped in a row are not one long step, and none after them is missed.
#[test]
fn pauses_where_much_is_dropped() {
    let (states, with, _) = states();
    let value = |user| if user == 5000 { &b"k"[..] } else { &b"d"[..] };
    let given = (0..6000).map(|user| (key(0, with, user), Kind::Put, value(user))).collect();
    let mut filtered = Filtered::new(Given(given, 0), states, 0, true).unwrap();
    let (mut pauses, mut left) = (0, Vec::new());
    while filtered.is_pausing() || filtered.entry().is_some() {
        pauses += usize::from(filtered.is_pausing());
        left.extend(filtered.entry().map(|entry| entry.key.to_vec()));
        filtered.advance().unwrap();
    }
    assert_eq!((pauses, left), (4, vec![key(0, with, 5000)]));
}
