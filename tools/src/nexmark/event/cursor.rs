//! The walk over a shard, with its memory asked for ahead.

use super::super::data::Shard;
use super::{Event, HEAD_BYTES, Head, ID_SHIFT, Shift, u32_at};

/// How far before its reader a line of the shard is asked for, in bytes. The walk needs a record's length to find
/// the next one, so without this it waits for memory at each of them: 100 ns instead of 5. From 1 to 16 KiB all are as good.
const AHEAD_BYTES: usize = 4096;

/// Cache lines that are prefetched together, and their size in bytes.
pub(in crate::nexmark) const AHEAD_LINES: usize = 4;
const AHEAD_STEP_BYTES: usize = AHEAD_LINES * 64;

/// Where a cursor is, so that a source can be restored to it.
///
/// ```
/// assert_eq!(thalweg_tools::nexmark::Position::default().offset, 0); // The beginning of the first pass.
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The pass, from 0.
    pub pass: u64,
    /// The next record of that pass, in bytes from the beginning of the shard.
    pub offset: u64,
}

/// Walks a shard, one or several times over.
///
/// ```
/// use thalweg_tools::nexmark::{Cursor, generate_in_memory};
/// let data = generate_in_memory(100, 1);
/// let mut cursor = Cursor::new(&data.shards[0], 3);
/// let mut events = 0;
/// while cursor.next(|_, _| ()).is_some() {
///     events += 1;
/// }
/// assert_eq!(events, 300);
/// ```
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The record lent last; the next one begins at its `end`.
    event: Event,
    pass: u64,
    passes: u64,
    loop_shift_ms: u64,
}

impl Cursor {
    /// A cursor before the first of `passes` passes over `shard`; zero passes have no events.
    pub fn new(shard: &Shard, passes: u64) -> Cursor {
        // An empty shard has no passes, and without passes the cursor begins at the end.
        let passes = if shard.bytes().is_empty() { 0 } else { passes };
        let end = if passes == 0 { shard.bytes().len() } else { 0 };
        let event =
            Event { bytes: shard.shared(), at: 0, end, head: Head::default(), shift: Shift::default() };
        Cursor { event, pass: 0, passes, loop_shift_ms: shard.loop_shift_ms() }
    }

    /// The next event, or `None` after the last one of the last pass.
    ///
    /// `prefetch(bytes, at)` brings four cache lines from that of `bytes[at]` near, and ignores what is past the end; it is
    /// asked for all of them about 4 KiB before the cursor reads them.
    #[inline(always)]
    pub fn next(&mut self, prefetch: impl Fn(&[u8], usize)) -> Option<&Event> {
        let (bytes, at) = (self.event.bytes.as_slice(), self.event.end);
        // Records are whole, so where no head is the pass ends: one test for both.
        let Some(head) = head_at(bytes, at) else { return self.next_after_pass(prefetch) };
        let end = at + 4 + u32_at(head, 0) as usize;
        self.event.head = Head::read(head, self.event.shift);
        // Once for all but the longest records. A step that depends on what was fetched before would be as long as the
        // records are, which no branch predictor knows.
        let mut ahead = at + AHEAD_BYTES;
        prefetch(bytes, ahead);
        while ahead + AHEAD_STEP_BYTES < end + AHEAD_BYTES {
            ahead += AHEAD_STEP_BYTES;
            prefetch(bytes, ahead);
        }
        self.event.at = at;
        self.event.end = end;
        Some(&self.event)
    }

    /// Where the event is that `next` gives next.
    pub fn position(&self) -> Position {
        Position { pass: self.pass, offset: self.event.end as u64 }
    }

    /// Goes to where [`Cursor::position`] was; returns false, and stays, if no record begins or ends there.
    ///
    /// Cost: one walk over the shard, as a position may come from a file that belongs to other data.
    #[must_use = "a cursor that did not move is not restored"]
    pub fn seek(&mut self, position: Position) -> bool {
        let bytes = self.event.bytes.as_slice();
        let Ok(offset) = usize::try_from(position.offset) else { return false };
        let mut at = 0;
        while at < offset && at < bytes.len() {
            at += 4 + u32_at(bytes, at) as usize;
        }
        let beyond = position.pass >= self.passes && position != self.position();
        if at != offset || beyond {
            return false;
        }
        self.event.end = at;
        self.start_pass(position.pass);
        true
    }

    #[cold]
    #[inline(never)]
    fn next_after_pass(&mut self, prefetch: impl Fn(&[u8], usize)) -> Option<&Event> {
        if self.pass + 1 >= self.passes {
            return None;
        }
        self.event.end = 0;
        self.start_pass(self.pass + 1);
        self.next(prefetch)
    }

    fn start_pass(&mut self, pass: u64) {
        self.pass = pass;
        self.event.shift =
            Shift { id: pass.wrapping_mul(ID_SHIFT), time: pass.wrapping_mul(self.loop_shift_ms) };
    }
}

/// The head of the record at `at`, if there is one.
#[inline(always)]
fn head_at(bytes: &[u8], at: usize) -> Option<&[u8; HEAD_BYTES]> {
    bytes.get(at..at.wrapping_add(HEAD_BYTES))?.first_chunk()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;
    use crate::nexmark::{Kind, View, generate_in_memory};

    fn times(cursor: &mut Cursor) -> Vec<i64> {
        std::iter::from_fn(|| Some(cursor.next(|_, _| ())?.time())).collect()
    }

    /// Goal: pass k is the shard, shifted. Method: every field of three passes against the first.
    #[test]
    fn passes_shift_ids_and_times_and_nothing_else() {
        let data = generate_in_memory(200, 2);
        for shard in &data.shards {
            let mut first = Cursor::new(shard, 1);
            let mut all = Cursor::new(shard, 3);
            for pass in 0..3 {
                let (id, time) = (pass * ID_SHIFT, pass * data.meta.loop_shift_ms);
                let mut once = first.clone();
                for _ in 0..100 {
                    let (a, b) = (once.next(|_, _| ()).unwrap(), all.next(|_, _| ()).unwrap());
                    assert_eq!((a.kind(), a.time() + time as i64), (b.kind(), b.time()));
                    match (a.view(), b.view()) {
                        (View::Person(a), View::Person(b)) => {
                            assert_eq!((a.id() + id, a.date_time() + time), (b.id(), b.date_time()));
                            assert_eq!(
                                (a.name(), a.credit_card(), a.city()),
                                (b.name(), b.credit_card(), b.city())
                            );
                            assert_eq!((a.email_address(), a.state()), (b.email_address(), b.state()));
                            assert_eq!(a.extra(), b.extra());
                        }
                        (View::Auction(a), View::Auction(b)) => {
                            assert_eq!((a.id() + id, a.seller() + id), (b.id(), b.seller()));
                            assert_eq!(a.date_time() + time, b.date_time());
                            assert_eq!(a.expires() + time, b.expires());
                            assert_eq!((a.initial_bid(), a.reserve()), (b.initial_bid(), b.reserve()));
                            assert_eq!((a.category(), a.extra()), (b.category(), b.extra()));
                            assert_eq!((a.item_name(), a.description()), (b.item_name(), b.description()));
                        }
                        (View::Bid(a), View::Bid(b)) => {
                            assert_eq!((a.auction() + id, a.bidder() + id), (b.auction(), b.bidder()));
                            assert_eq!((a.price(), a.date_time() + time), (b.price(), b.date_time()));
                            assert_eq!((a.channel(), a.url(), a.extra()), (b.channel(), b.url(), b.extra()));
                        }
                        (a, b) => panic!("{a:?} is not {b:?}"),
                    }
                }
            }
            assert!(all.next(|_, _| ()).is_none() && all.next(|_, _| ()).is_none());
            assert_eq!(times(&mut first).len(), 100);
        }
    }

    /// Goal: the accessors read what the generator made. Method: through the `Debug` form, which names each field.
    #[test]
    fn events_read_as_they_were_generated() {
        let data = generate_in_memory(500, 1);
        let config = ::nexmark::config::NexmarkConfig {
            base_time: crate::nexmark::BASE_TIME_MS,
            ..Default::default()
        };
        let mut cursor = Cursor::new(&data.shards[0], 1);
        for made in ::nexmark::EventGenerator::new(config).take(500) {
            let event = cursor.next(|_, _| ()).unwrap();
            assert_eq!(format!("{event:?}"), format!("{made:?}"));
            assert_eq!(event.person().is_some(), event.kind() == Kind::Person);
            assert_eq!(event.auction().is_some(), event.kind() == Kind::Auction);
            assert_eq!(event.bid().is_some(), event.kind() == Kind::Bid);
        }
    }

    #[test]
    fn a_restored_cursor_goes_on_where_it_was() {
        let data = generate_in_memory(20, 1);
        let mut cursor = Cursor::new(&data.shards[0], 2);
        for read in 0..=40 {
            let position = cursor.position();
            let mut restored = Cursor::new(&data.shards[0], 2);
            assert!(restored.seek(position));
            assert_eq!(restored.position(), position);
            assert_eq!(times(&mut restored), times(&mut cursor.clone()), "after {read} events");
            assert_eq!(cursor.next(|_, _| ()).is_some(), read < 40);
        }
        let bytes = data.shards[0].bytes().len() as u64;
        for (pass, offset) in [(0, 1), (0, bytes + 1), (2, 0), (0, u64::MAX), (u64::MAX, 0)] {
            assert!(!cursor.seek(Position { pass, offset }), "{pass} {offset}");
        }
    }

    #[test]
    fn nothing_comes_of_no_passes_or_no_records() {
        let data = generate_in_memory(1, 2); // The second shard is empty.
        for (shard, passes) in [(0, 0), (1, 0), (1, 5)] {
            let mut cursor = Cursor::new(&data.shards[shard], passes);
            assert!(cursor.next(|_, _| ()).is_none());
            let position = cursor.position();
            assert!(cursor.seek(position) && cursor.next(|_, _| ()).is_none());
        }
    }

    /// Goal: each line of the shard is asked for, and before the cursor is less than 4 KiB away from it.
    #[test]
    fn every_line_is_prefetched() {
        let data = generate_in_memory(300, 1);
        let asked = RefCell::new(BTreeSet::new());
        let ask = |_: &[u8], at: usize| {
            asked.borrow_mut().extend((at / 64..).take(AHEAD_LINES));
        };
        let mut cursor = Cursor::new(&data.shards[0], 2);
        for _ in 0..2 {
            asked.borrow_mut().clear();
            let mut end = 0;
            while end < data.shards[0].bytes().len() {
                end += cursor.next(ask).unwrap().record().len();
                let near = AHEAD_BYTES / 64..(end + AHEAD_BYTES) / 64;
                assert!(near.clone().all(|line| asked.borrow().contains(&line)), "{near:?}");
            }
        }
    }
}
