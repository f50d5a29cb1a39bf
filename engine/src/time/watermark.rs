//! The watermark of an operator with several inputs.
//!
//! ```text
//!   channel 0   ── 3 ── 7 ──▶ ┐
//!   channel 1   ── 5 ───────▶ ├─ Valve: min over aligned channels ──▶ 5 ┐
//!   channel 2   ── idle ────▶ ┘                                         ├─ Combined: min over inputs
//!   the other input's channels ──────────────────── Valve ──────────▶ 9 ┘
//! ```
//!
//! A [`Valve`] joins the channels of one input (Flink's `StatusWatermarkValve`), [`Combined`] the inputs of one operator
//! (Flink's `IndexedCombinedWatermarkStatus`). They differ in one point that shows: a channel that wakes up behind the
//! valve's watermark is left out until it has caught up, an *input* that wakes up holds the operator back at once.
//!
//! Invariants:
//! - what goes downstream never goes back;
//! - it never passes the watermark of an aligned, active channel;
//! - an idle channel holds nothing back; when all are idle, the greatest watermark of all goes out first.

use super::Timestamp;

/// What a valve says after an event: new watermarks, a new status, both (watermarks first) or nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ValveOutput {
    /// A watermark before the other: of an operator one of whose inputs had a last one to say when it became idle.
    pub(crate) earlier: Option<Timestamp>,
    pub(crate) watermark: Option<Timestamp>,
    pub(crate) idle: Option<bool>,
}

#[derive(Debug, Clone)]
struct Channel {
    watermark: Timestamp,
    active: bool,
    /// Counts for the minimum: active, and not behind what has gone downstream.
    aligned: bool,
}

/// Joins the watermarks and idleness of the channels of one input. Cost: O(channels) for each watermark, none per record.
#[derive(Debug)]
pub(crate) struct Valve {
    channels: Vec<Channel>,
    last: Timestamp,
    idle: bool,
}

impl Valve {
    pub(crate) fn new(channels: usize) -> Self {
        let channel = Channel { watermark: i64::MIN, active: true, aligned: true };
        Self { channels: vec![channel; channels], last: i64::MIN, idle: false }
    }

    pub(crate) fn on_watermark(&mut self, channel: usize, watermark: Timestamp) -> ValveOutput {
        let c = &mut self.channels[channel];
        if self.idle || !c.active || watermark <= c.watermark {
            return ValveOutput::default();
        }
        c.watermark = watermark;
        c.aligned |= watermark >= self.last;
        ValveOutput { watermark: self.advance(), ..ValveOutput::default() }
    }

    pub(crate) fn on_idle(&mut self, channel: usize) -> ValveOutput {
        let c = &mut self.channels[channel];
        if !c.active {
            return ValveOutput::default();
        }
        c.active = false;
        c.aligned = false;
        let held_back = c.watermark == self.last;
        if self.channels.iter().any(|c| c.active) {
            let watermark = if held_back { self.advance() } else { None };
            return ValveOutput { watermark, ..ValveOutput::default() };
        }
        // The last active channel held the minimum, so all that the others promised may be passed on now.
        let greatest = self.channels.iter().map(|c| c.watermark).max().unwrap_or(i64::MIN);
        let watermark = (held_back && greatest > self.last).then_some(greatest);
        self.last = self.last.max(watermark.unwrap_or(i64::MIN));
        self.idle = true;
        ValveOutput { watermark, idle: Some(true), earlier: None }
    }

    pub(crate) fn on_active(&mut self, channel: usize) -> ValveOutput {
        let c = &mut self.channels[channel];
        if c.active {
            return ValveOutput::default();
        }
        c.active = true;
        c.aligned = c.watermark >= self.last;
        let woke = std::mem::replace(&mut self.idle, false);
        ValveOutput { idle: woke.then_some(false), ..ValveOutput::default() }
    }

    /// The minimum over the aligned channels, when it is news.
    fn advance(&mut self) -> Option<Timestamp> {
        let least = self.channels.iter().filter(|c| c.aligned).map(|c| c.watermark).min()?;
        if least <= self.last {
            return None;
        }
        self.last = least;
        Some(least)
    }
}

/// Joins the watermarks and idleness of the inputs of an operator with two inputs.
#[derive(Debug)]
pub(crate) struct Combined {
    inputs: [(Timestamp, bool); 2],
    last: Timestamp,
    idle: bool,
}

impl Combined {
    pub(crate) fn new() -> Self {
        Self { inputs: [(i64::MIN, false); 2], last: i64::MIN, idle: false }
    }

    /// Takes what the valve of `input` said.
    pub(crate) fn on_valve(&mut self, input: usize, output: ValveOutput) -> ValveOutput {
        let mut result = ValveOutput::default();
        if let Some(watermark) = output.watermark {
            self.inputs[input] = (self.inputs[input].0.max(watermark), false);
            result.watermark = self.advance();
        }
        if let Some(idle) = output.idle {
            let was_idle = self.idle;
            self.inputs[input].1 = idle;
            result.earlier = std::mem::replace(&mut result.watermark, self.advance());
            result.idle = (was_idle != self.idle).then_some(self.idle);
        }
        result
    }

    /// The minimum over the active inputs, or the maximum if there are none, when it is news.
    fn advance(&mut self) -> Option<Timestamp> {
        let least = self.inputs.iter().filter(|i| !i.1).map(|i| i.0).min();
        self.idle = least.is_none();
        // As in a valve (FLINK-38454), but whichever input was the last.
        let watermark = least.unwrap_or(self.inputs[0].0.max(self.inputs[1].0));
        (watermark > self.last).then(|| {
            self.last = watermark;
            watermark
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `inputs`: `channel:watermark`, `channel:idle` or `channel:active`, in order of arrival. `outputs`: what goes downstream.
    #[track_caller]
    fn check(channels: usize, inputs: &str, outputs: &str) {
        let mut valve = Valve::new(channels);
        let mut got = Vec::new();
        for event in inputs.split_whitespace() {
            let (channel, what) = event.split_once(':').expect("channel:what");
            let channel = channel.parse().expect("a number");
            let output = match what {
                "idle" => valve.on_idle(channel),
                "active" => valve.on_active(channel),
                watermark => valve.on_watermark(channel, watermark.parse().expect("a number")),
            };
            got.extend(output.watermark.map(|w| w.to_string()));
            got.extend(output.idle.map(|idle| if idle { "idle" } else { "active" }.to_string()));
        }
        assert_eq!(got.join(" "), outputs);
    }

    #[test]
    fn sends_the_minimum_of_active_channels() {
        check(2, "0:5 1:3 1:4 0:9", "3 4"); // The slowest channel decides.
        check(2, "0:5 1:5 1:2 0:6 1:6", "5 6"); // A stale watermark changes nothing.
        check(1, "0:5 0:5 0:7", "5 7");
    }

    #[test]
    fn leaves_idle_channels_out() {
        check(2, "0:5 1:idle 0:7", "5 7"); // The idle channel held the minimum back.
        check(2, "0:5 1:3 1:idle 1:active 1:4 0:8 1:8", "3 5 8"); // Awake but behind: left out until it has caught up.
        check(2, "0:5 1:9 0:idle 1:idle", "5 9 idle"); // The minimum's own channel goes idle, then the last one.
        check(2, "0:5 1:9 1:idle 0:idle", "5 9 idle"); // All idle: the greatest of all goes out.
        check(2, "0:idle 1:idle 0:active 0:3", "idle active 3");
    }

    #[test]
    fn an_input_that_wakes_up_holds_the_operator_back() {
        let mut combined = Combined::new();
        let wm = |w| ValveOutput { watermark: Some(w), ..ValveOutput::default() };
        let idle = |i| ValveOutput { idle: Some(i), ..ValveOutput::default() };
        assert_eq!(combined.on_valve(0, wm(5)), ValveOutput::default());
        assert_eq!(combined.on_valve(1, idle(true)), wm(5));
        assert_eq!(combined.on_valve(0, wm(9)), wm(9));
        assert_eq!(combined.on_valve(1, idle(false)), ValveOutput::default());
        assert_eq!(combined.on_valve(0, wm(12)), ValveOutput::default()); // Input 1 is awake and behind.
        assert_eq!(combined.on_valve(1, wm(10)), wm(10));
        assert_eq!(combined.on_valve(0, idle(true)), ValveOutput::default());
        let all_idle = combined.on_valve(1, idle(true));
        assert_eq!(all_idle, ValveOutput { watermark: Some(12), ..idle(true) }); // Input 0 had promised it.
        assert_eq!(combined.on_valve(1, idle(false)), idle(false));
    }

    #[test]
    fn an_input_that_becomes_idle_first_says_what_it_has_to() {
        let mut combined = Combined::new();
        let wm = |w| ValveOutput { watermark: Some(w), ..ValveOutput::default() };
        combined.on_valve(0, wm(5));
        assert_eq!(combined.on_valve(1, wm(10)), wm(5));
        // All channels of input 0 are idle, and one of them had been further.
        let last = ValveOutput { idle: Some(true), ..wm(7) };
        assert_eq!(combined.on_valve(0, last), ValveOutput { earlier: Some(7), ..wm(10) });
    }
}
