//! The input of a subtask: its channels, which of them is next, and what their watermarks say together.
//!
//! One buffer is taken at a time, mostly of the channel that is furthest behind in event time: it is the one that holds the
//! watermark back. A source that is ahead runs out of credit meanwhile, so sources that have drifted apart come together
//! again, and what waits in the state for the watermark is little. Every fourth buffer is taken in turn, so that no
//! channel starves another. The gate knows nothing of the records.
//!
//! A buffer may be put aside, because state that its records need is not in memory. Its channel then gives nothing else, so that its
//! records keep their order; the others go on. It is given again when the reads are done that were asked for because of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use thalweg_net::{Buffer, Signal};

use super::background::Background;
use super::subtask::SubtaskContext;
use super::switch::{ChannelId, Switch};
use crate::graph::EdgeId;
use crate::time::Timestamp;
use crate::time::watermark::{Combined, Valve, ValveOutput};

/// A channel's place among the inputs of its subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position(pub(crate) usize);

struct Channel {
    id: ChannelId,
    input: u8,
    /// The valve of its input, and the place among the channels of that.
    valve: u8,
    place: usize,
    /// The last one read.
    watermark: Timestamp,
    ended: bool,
}

/// What the gate makes of a signal of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GateEvent {
    /// Nothing for the operator.
    None,
    /// Event time has advanced, or idleness changed, or both: watermark first.
    Time(ValveOutput),
    /// All channels of all inputs have ended.
    End,
    /// Goes through as it is.
    Forward(Signal),
}

/// A buffer that was taken from a channel.
pub(crate) struct Taken {
    pub(crate) position: Position,
    pub(crate) buffer: Buffer,
    /// How often it was put aside.
    pub(crate) tries: u32,
}

/// A buffer that waits for state.
struct Aside {
    taken: Taken,
    /// The reads that must be done before it is given again.
    reads: Range<u64>,
}

/// How often the channel that has waited longest is taken, wherever it is in event time: one time in so many.
const TURN_EVERY: u32 = 4;

/// Chooses among the channels that have something.
#[derive(Debug, Default)]
struct Choice {
    count: u32,
}

impl Choice {
    /// The place of the next channel in the line, given their watermarks in the order in which they wait. There is one.
    fn next(&mut self, watermarks: impl Iterator<Item = Timestamp>) -> usize {
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(TURN_EVERY) {
            return 0;
        }
        watermarks.enumerate().min_by_key(|&(_, watermark)| watermark).map_or(0, |(place, _)| place)
    }
}

/// See the [module](self).
pub(crate) struct Gate {
    switch: Rc<Switch>,
    /// Places of the channels that may have something, those that have waited longest first.
    ready: Rc<RefCell<VecDeque<usize>>>,
    /// One of each channel at most, and those channels are not in `ready`.
    aside: VecDeque<Aside>,
    background: Rc<Background>,
    choice: Choice,
    channels: Vec<Channel>,
    valves: Vec<Valve>,
    combined: Option<Combined>,
    open: usize,
}

impl Gate {
    /// The receiving ends of `inputs`: the edges of each input of the operator, several for a union.
    pub(crate) fn new(cx: &SubtaskContext, inputs: &[&[EdgeId]]) -> Self {
        Self::open(cx, inputs, |input| input)
    }

    /// A gate whose inputs differ in their records only: their watermarks join as those of a union.
    pub(crate) fn united(cx: &SubtaskContext, inputs: &[&[EdgeId]]) -> Self {
        Self::open(cx, inputs, |_| 0)
    }

    fn open(cx: &SubtaskContext, inputs: &[&[EdgeId]], valve_of: impl Fn(usize) -> usize) -> Self {
        let ready = Rc::new(RefCell::new(VecDeque::new()));
        let mut channels = Vec::new();
        let mut places = Vec::new();
        for (input, edges) in inputs.iter().enumerate() {
            let valve = valve_of(input);
            places.resize(places.len().max(valve + 1), 0);
            let place = &mut places[valve];
            for &edge in edges.iter() {
                for (id, peer) in cx.graph.channels_to(edge, cx.subtask, cx.switch.core()) {
                    cx.switch.open_incoming(id, peer, ready.clone(), channels.len());
                    let (input, valve, watermark) = (input as u8, valve as u8, i64::MIN);
                    channels.push(Channel { id, input, valve, place: *place, watermark, ended: false });
                    *place += 1;
                }
            }
        }
        let combined = (places.len() > 1).then(Combined::new);
        let valves = places.into_iter().map(Valve::new).collect();
        let (switch, background) = (cx.switch.clone(), cx.background.clone());
        let (aside, choice, open) = (VecDeque::new(), Choice::default(), channels.len());
        Self { switch, ready, aside, background, choice, open, channels, valves, combined }
    }

    /// The next buffer; its channel goes to the end of the line. One that was put aside comes first.
    pub(crate) fn next_buffer(&mut self) -> Option<Taken> {
        if let Some(place) = self.next_aside() {
            let taken = self.aside.remove(place)?.taken;
            self.ready.borrow_mut().push_back(taken.position.0);
            return Some(taken);
        }
        loop {
            let position = {
                let mut ready = self.ready.borrow_mut();
                let place = match ready.len() {
                    0 | 1 => 0,
                    _ => self.choice.next(ready.iter().map(|&position| self.channels[position].watermark)),
                };
                ready.remove(place)?
            };
            if let Some(buffer) = self.switch.take_input(self.channels[position].id) {
                self.ready.borrow_mut().push_back(position);
                return Some(Taken { position: Position(position), buffer, tries: 0 });
            }
        }
    }

    /// The buffer taken last cannot be read before state has come in that was asked for.
    pub(crate) fn put_aside(&mut self, taken: Taken) {
        self.ready.borrow_mut().retain(|&position| position != taken.position.0);
        let reads = self.background.on_put_aside();
        self.aside.push_back(Aside { taken: Taken { tries: taken.tries + 1, ..taken }, reads });
    }

    /// The place of the first buffer aside that can be tried again.
    fn next_aside(&self) -> Option<usize> {
        self.aside.iter().position(|aside| self.background.are_done(&aside.reads))
    }

    /// Whether there may be a buffer to be taken now.
    pub(crate) fn has_buffer(&self) -> bool {
        !self.ready.borrow().is_empty() || self.next_aside().is_some()
    }

    /// Whether a buffer waits for state.
    pub(crate) fn has_aside(&self) -> bool {
        !self.aside.is_empty()
    }

    /// The buffer taken from this channel has been read to its end.
    pub(crate) fn consumed(&self, position: Position) {
        self.switch.consumed(self.channels[position.0].id);
    }

    /// Which input of the operator a channel belongs to: 0 or 1.
    pub(crate) fn input_of(&self, position: Position) -> usize {
        self.channels[position.0].input as usize
    }

    pub(crate) fn on_signal(&mut self, position: Position, signal: Signal) -> GateEvent {
        let channel = &mut self.channels[position.0];
        let (index, place) = (channel.valve as usize, channel.place);
        let valve = &mut self.valves[index];
        let output = match signal {
            Signal::Watermark(watermark) => {
                channel.watermark = channel.watermark.max(watermark);
                valve.on_watermark(place, watermark)
            }
            Signal::Idle => valve.on_idle(place),
            Signal::Active => valve.on_active(place),
            Signal::End => {
                self.open -= usize::from(!std::mem::replace(&mut channel.ended, true));
                return if self.open == 0 { GateEvent::End } else { GateEvent::None };
            }
            // Alignment of barriers belongs here; until checkpoints exist nothing sends one.
            Signal::Barrier { .. } | Signal::Latency(_) => return GateEvent::Forward(signal),
        };
        let output = match &mut self.combined {
            Some(combined) => combined.on_valve(index, output),
            None => output,
        };
        if output == ValveOutput::default() { GateEvent::None } else { GateEvent::Time(output) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `buffers` are taken from each of two channels that always have something, with these watermarks.
    fn taken(buffers: usize, watermarks: [Timestamp; 2]) -> [usize; 2] {
        let (mut choice, mut line, mut taken) = (Choice::default(), VecDeque::from([0, 1]), [0, 0]);
        for _ in 0..buffers {
            let place = choice.next(line.iter().map(|&channel: &usize| watermarks[channel]));
            let channel = line.remove(place).expect("a place in the line");
            taken[channel] += 1;
            line.push_back(channel);
        }
        taken
    }

    #[test]
    fn the_channel_behind_comes_first_and_the_other_has_its_turn() {
        assert_eq!(taken(100, [5, 5]), [50, 50]);
        assert_eq!(taken(100, [5, 9]), [75, 25]);
        assert_eq!(taken(100, [9, i64::MIN]), [25, 75]); // One that sends no watermarks at all.
    }
}
