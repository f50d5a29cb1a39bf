//! Times by percentile, in a histogram of three significant digits.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest time that is told apart from longer ones, in ns: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Times, counted. Cost of one: about 3 ns.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Times(Histogram<u64>);

impl Times {
    pub(in crate::bench) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are those of a histogram"))
    }

    #[inline]
    pub(in crate::bench) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub(in crate::bench) fn merge(&mut self, other: &Times) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(in crate::bench) fn percentiles(&self) -> Percentiles {
        let us = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles {
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: us(0.999),
            p9999_us: us(0.9999),
            max_us: self.0.max() as f64 / 1e3,
            samples: self.0.len(),
        }
    }

    /// Points of the curve: the share of times that are longer, and the time in µs. As far as there are samples for.
    pub(in crate::bench) fn curve(&self) -> Vec<(f64, f64)> {
        let samples = self.0.len();
        let mut points = Vec::new();
        let mut longer = 1.0;
        while samples > 0 && longer * samples as f64 >= 1.0 {
            points.push((longer, self.0.value_at_quantile(1.0 - longer) as f64 / 1e3));
            longer /= 1.05;
        }
        points
    }
}

/// What percentage of times is at most how long, in µs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(in crate::bench) struct Percentiles {
    pub(in crate::bench) p50_us: f64,
    pub(in crate::bench) p90_us: f64,
    pub(in crate::bench) p99_us: f64,
    pub(in crate::bench) p999_us: f64,
    pub(in crate::bench) p9999_us: f64,
    pub(in crate::bench) max_us: f64,
    pub(in crate::bench) samples: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut times = Times::new();
        let mut others = Times::new();
        (1..=5_000_u64).for_each(|i| times.record(i * 1_000));
        (5_001..=10_000_u64).for_each(|i| others.record(i * 1_000));
        times.merge(&others);
        let p = times.percentiles();
        let expected = [5_000.0, 9_000.0, 9_900.0, 9_990.0, 9_999.0, 10_000.0];
        for (found, expected) in
            [p.p50_us, p.p90_us, p.p99_us, p.p999_us, p.p9999_us, p.max_us].into_iter().zip(expected)
        {
            assert!((found / expected - 1.0_f64).abs() < 2e-3, "{found} is not {expected}");
        }
        assert_eq!(p.samples, 10_000);
        let curve = times.curve();
        assert!(curve.windows(2).all(|w| w[1].0 < w[0].0 && w[1].1 >= w[0].1));
        assert!(curve.last().is_some_and(|last| last.0 >= 1e-4 && last.0 < 1.1e-4));
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest_and_nothing_has_no_curve() {
        let mut times = Times::new();
        assert_eq!((times.curve().len(), times.percentiles().max_us), (0, 0.0));
        times.record(u64::MAX);
        times.record(0);
        assert_eq!(times.percentiles().samples, 2);
        assert!(times.percentiles().max_us >= LONGEST_NS as f64 / 1e3);
    }
}
