//! When each event is due.
//!
//! ```text
//!   subtask 0 of 2   0       2       4       6          event n is due n / rate seconds after the start,
//!   subtask 1 of 2       1       3       5       7      whenever the one before was sent
//! ```
//!
//! A source that falls behind sends at once what is overdue, and each event keeps the time at which it was due: a stall of the
//! engine counts for all events that it held up, not only for the one that was in it (no *coordinated omission*).

use std::str::FromStr;
use std::time::Duration;

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// The part of a run that is not measured: a tenth, and not more than this.
const WARM_UP_MAX: Duration = Duration::from_secs(2);

/// How many events come, how fast.
///
/// ```
/// use std::time::Duration;
/// use thalweg_tools::bench::latency::Schedule;
///
/// let schedule = Schedule::new(1_000, Duration::from_secs(10));
/// assert_eq!((schedule.due_ns(0), schedule.due_ns(3), schedule.events()), (0, 3_000_000, 10_000));
/// assert_eq!(schedule.warm_up_ns(), 1_000_000_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Events per second of all subtasks together, at least 1.
    rate: u64,
    duration: Duration,
}

impl Schedule {
    /// `rate` events per second of all subtasks together; a rate of 0 is one of 1.
    pub fn new(rate: u64, duration: Duration) -> Self {
        Self { rate: rate.max(1), duration }
    }

    /// Events per second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// From the first event to the last.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// When event `n` is due, in ns after the start.
    #[inline]
    pub fn due_ns(&self, n: u64) -> u64 {
        match n.checked_mul(SECOND_NS) {
            Some(product) => product / self.rate,
            None => u64::try_from(u128::from(n) * u128::from(SECOND_NS) / u128::from(self.rate))
                .unwrap_or(u64::MAX),
        }
    }

    /// The number of events that are due before the end.
    pub fn events(&self) -> u64 {
        let due = u128::from(self.rate) * self.duration.as_nanos();
        u64::try_from(due.div_ceil(u128::from(SECOND_NS))).unwrap_or(u64::MAX)
    }

    /// Events that are due before this time, in ns after the start, are not recorded.
    pub fn warm_up_ns(&self) -> u64 {
        (self.duration / 10).min(WARM_UP_MAX).as_nanos() as u64
    }
}

/// A rate as people write it: `100000`, `100k`, `2.5M`, or `50%` of the greatest.
///
/// ```
/// use thalweg_tools::bench::latency::Rate;
/// assert_eq!("2.5M".parse(), Ok(Rate::PerSecond(2_500_000)));
/// assert_eq!("50%".parse(), Ok(Rate::Percent(50.0)));
/// assert!("0".parse::<Rate>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Events per second.
    PerSecond(u64),
    /// Percent of the greatest rate, which is measured first.
    Percent(f64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent = positive(percent, "percentage")?;
            return Ok(Rate::Percent(percent));
        }
        let (number, unit) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 1e3),
            Some(b'M') => (&text[..text.len() - 1], 1e6),
            _ => (text, 1.0),
        };
        let rate = (positive(number, "rate")? * unit).round();
        if !(1.0..=1e12).contains(&rate) {
            return Err(format!("a rate of {text} events per second is not between 1 and 10^12"));
        }
        Ok(Rate::PerSecond(rate as u64))
    }
}

/// A duration as people write it: seconds, `500ms`, `10s`, `2m`.
pub(in crate::bench) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1e-3)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60.0)
    } else {
        (text, 1.0)
    };
    let seconds = positive(number, "duration")? * unit;
    if !(1e-3..=86_400.0).contains(&seconds) {
        return Err(format!("a duration of {text} is not between 1 ms and a day"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn positive(number: &str, what: &str) -> Result<f64, String> {
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        Ok(_) => Err(format!("the {what} must be more than 0")),
        Err(_) => Err(format!("{number:?} is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_even_distances_however_many_there_are() {
        let schedule = Schedule::new(3, Duration::from_secs(2));
        assert_eq!(
            (0..7).map(|n| schedule.due_ns(n)).collect::<Vec<_>>(),
            [0, 333_333_333, 666_666_666, 1_000_000_000, 1_333_333_333, 1_666_666_666, 2_000_000_000]
        );
        assert_eq!(schedule.events(), 6); // The seventh is due at the end.
        for n in [18_446_744_073, 18_446_744_074, 1 << 40] {
            assert_eq!(Schedule::new(SECOND_NS, Duration::ZERO).due_ns(n), n); // On both sides of 64 bits.
        }
        assert_eq!(Schedule::new(1, Duration::ZERO).due_ns(u64::MAX), u64::MAX);
        assert_eq!(Schedule::new(10, Duration::from_millis(250)).events(), 3); // At 0, 100 and 200 ms.
    }

    #[test]
    fn a_tenth_is_not_measured_but_never_more_than_two_seconds() {
        for (seconds, warm_up) in [(1, 100_000_000), (20, 2_000_000_000), (300, 2_000_000_000)] {
            assert_eq!(Schedule::new(1, Duration::from_secs(seconds)).warm_up_ns(), warm_up);
        }
    }

    #[test]
    fn reads_rates() {
        for (text, rate) in [("1", 1), ("100000", 100_000), ("100k", 100_000), ("0.5M", 500_000)] {
            assert_eq!(text.parse(), Ok(Rate::PerSecond(rate)), "{text}");
        }
        assert_eq!("12.5%".parse(), Ok(Rate::Percent(12.5)));
        for text in ["", "0", "0k", "-1", "NaN", "inf", "x", "0%", "%", "k", "1e13", "0.2", "5G"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_durations() {
        for (text, ms) in [("1", 1000), ("0.5", 500), ("10s", 10_000), ("250ms", 250), ("2m", 120_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "0", "0s", "-1s", "NaN", "x", "ms", "1h", "0.1ms", "2000m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
