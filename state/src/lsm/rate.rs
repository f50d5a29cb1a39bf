//! How fast jobs may write: a bucket that fills with time, and from which bytes are taken after they were written.

use std::time::Duration;

/// What may be written at once after a pause, as a share of a second.
const BURST: Duration = Duration::from_millis(100);

/// A token bucket.
///
/// Invariant: over any time, what was allowed is at most the rate times that time, a burst and one step's writes.
#[derive(Debug)]
pub(crate) struct WriteRate {
    bytes_per_second: Option<u64>,
    /// What may be written still, in bytes; below zero after a step that wrote more.
    balance: f64,
    /// When the balance was that.
    at: Duration,
}

impl WriteRate {
    /// No bound if there is none given.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, balance: 0.0, at: Duration::ZERO }
    }

    /// When the next bytes may be written, if that is not now.
    pub(crate) fn poll_wait(&mut self, now: Duration) -> Option<Duration> {
        let rate = self.bytes_per_second?.max(1) as f64;
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.balance = (self.balance + rate * passed.as_secs_f64()).min(rate * BURST.as_secs_f64());
        (self.balance < 0.0).then(|| now + Duration::from_secs_f64((-self.balance / rate).min(3600.0)))
    }

    /// Takes what was written.
    pub(crate) fn on_written(&mut self, bytes: u64) {
        self.balance -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_than_the_rate_is_written() {
        let mut rate = WriteRate::new(Some(1000));
        let (mut now, mut written) = (Duration::ZERO, 0);
        while now < Duration::from_secs(10) {
            match rate.poll_wait(now) {
                Some(until) => now = until,
                None => {
                    rate.on_written(300);
                    written += 300;
                }
            }
        }
        assert!((9_900..=10_400).contains(&written), "{written}");
        now += Duration::from_secs(100); // A pause is not saved up.
        while rate.poll_wait(now).is_none() {
            rate.on_written(50);
            written += 50;
        }
        assert!(written < 10_700, "{written}");
        assert_eq!(WriteRate::new(None).poll_wait(now), None);
    }
}
