//! Which keys come: seeded, so that every store gets the same.

use clap::ValueEnum;
use serde::Serialize;
use thalweg_state::Key;

/// What an operator knows of a record: its key, and the hash that travelled with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: u64,
    pub(super) hash: u64,
}

impl Record {
    #[inline]
    pub(super) fn new(key: u64) -> Self {
        Self { key, hash: key.key_hash() }
    }
}

/// How often keys come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dist {
    /// All as often.
    Uniform,
    /// The i-th with a frequency of 1 / i^0.99, as YCSB has it.
    Zipf,
}

/// Numbers without a pattern (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    /// A number below `bound`.
    #[inline]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// The numbers below `count` in an order without a pattern, which takes no memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permutation {
    count: u64,
    bits: u32,
}

impl Permutation {
    pub(super) fn new(count: u64) -> Self {
        Self { count, bits: (u64::BITS - count.leading_zeros()).clamp(2, 63) }
    }

    /// The `i`-th number, `i` being below the count.
    #[inline]
    pub(super) fn at(self, i: u64) -> u64 {
        let mask = (1 << self.bits) - 1;
        let mut n = i;
        // Each round is a bijection of the numbers of so many bits; those that are too large go round once more.
        loop {
            n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
            n ^= n >> (self.bits / 2);
            n = n.wrapping_mul(0xd6e8_feb8_6659_fd93) & mask;
            n ^= n >> (self.bits / 2);
            if n < self.count {
                return n;
            }
        }
    }
}

/// A sequence of keys below a number.
#[derive(Debug)]
pub(super) struct Draw {
    random: Random,
    count: u64,
    zipf: Option<Zipf>,
}

impl Draw {
    pub(super) fn new(dist: Dist, count: u64, seed: u64) -> Self {
        let zipf = (dist == Dist::Zipf).then(|| Zipf::new(count));
        Self { random: Random::new(seed), count, zipf }
    }

    #[inline]
    pub(super) fn next(&mut self) -> u64 {
        match &self.zipf {
            None => self.random.below(self.count),
            Some(zipf) => zipf.key(self.random.next()),
        }
    }
}

/// Parts of equal probability that the zipf distribution is cut into.
const QUANTILES: usize = 4096;
const EXPONENT: f64 = 0.99;
/// Ranks whose frequencies are summed one by one; what follows is an integral.
const HEAD: u64 = 100_000;

/// The zipf distribution by its quantiles, between which it is a straight line: a draw costs 3 ns, where a power costs 30, and
/// while keys are drawn the threads behind a store work for nothing.
#[derive(Debug)]
struct Zipf {
    /// The ranks, from 0, up to which this many parts go.
    quantiles: Box<[f64]>,
    /// Scatters the ranks, so that hot keys are not neighbours.
    scatter: Permutation,
}

impl Zipf {
    fn new(count: u64) -> Self {
        let weight = |rank: u64| (rank as f64).powf(-EXPONENT);
        // The integral of x^-0.99 from a to b.
        let integral = |a: f64, b: f64| (b.powf(1.0 - EXPONENT) - a.powf(1.0 - EXPONENT)) / (1.0 - EXPONENT);
        let head = count.min(HEAD);
        let head_sum: f64 = (1..=head).map(weight).sum();
        let tail_start = head as f64 + 0.5;
        let sum = head_sum + integral(tail_start, count as f64 + 0.5);
        let mut quantiles = Vec::with_capacity(QUANTILES + 1);
        let (mut rank, mut below) = (1, 0.0);
        for part in 0..=QUANTILES {
            let share = sum * part as f64 / QUANTILES as f64;
            while rank <= head && below + weight(rank) <= share {
                below += weight(rank);
                rank += 1;
            }
            quantiles.push(if rank <= head {
                (rank - 1) as f64 + (share - below) / weight(rank)
            } else {
                let power = tail_start.powf(1.0 - EXPONENT) + (share - head_sum) * (1.0 - EXPONENT);
                (power.powf(1.0 / (1.0 - EXPONENT)) - 0.5).min(count as f64)
            });
        }
        Self { quantiles: quantiles.into(), scatter: Permutation::new(count) }
    }

    /// The key for a number that is uniform over all 64 bits.
    #[inline]
    fn key(&self, uniform: u64) -> u64 {
        const SHIFT: u32 = u64::BITS - QUANTILES.ilog2();
        let part = (uniform >> SHIFT) as usize;
        let within = (uniform << QUANTILES.ilog2() >> 11) as f64 / (1_u64 << 53) as f64;
        let (low, high) = (self.quantiles[part], self.quantiles[part + 1]);
        let rank = (low + (high - low) * within) as u64;
        self.scatter.at(rank.min(self.scatter.count - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_each_number_once() {
        for count in [1, 2, 3, 1000, 4096, 10_007] {
            let permutation = Permutation::new(count);
            let mut numbers: Vec<u64> = (0..count).map(|i| permutation.at(i)).collect();
            let moved = numbers.iter().zip(0..).filter(|(n, i)| *n != i).count();
            assert!(count < 1000 || moved > 900, "{moved} of {count} moved");
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..count), "{count}");
        }
    }

    /// The shares of the first ranks, and of the upper half of all, are those of the sums; with and without a tail that is integrated.
    #[test]
    fn zipf_is_zipf_and_uniform_is_not() {
        const DRAWS: u64 = 1_000_000;
        for count in [1000, 4 * HEAD] {
            let all: f64 = (1..=count).map(|rank| (rank as f64).powf(-EXPONENT)).sum();
            let upper: f64 = (count / 2 + 1..=count).map(|rank| (rank as f64).powf(-EXPONENT)).sum();
            let scatter = Permutation::new(count);
            let mut times = vec![0_u64; count as usize];
            let mut draw = Draw::new(Dist::Zipf, count, 1);
            (0..DRAWS).for_each(|_| times[draw.next() as usize] += 1);
            let times_of = |rank: u64| times[scatter.at(rank) as usize];
            for rank in [0, 1, 2, 9] {
                let expected = DRAWS as f64 * ((rank + 1) as f64).powf(-EXPONENT) / all;
                let found = times_of(rank) as f64;
                assert!((found / expected - 1.0).abs() < 0.05, "rank {rank}: {found}, not {expected}");
            }
            let found = (count / 2..count).map(times_of).sum::<u64>() as f64 / DRAWS as f64;
            assert!((found / (upper / all) - 1.0).abs() < 0.05, "upper half: {found}, not {}", upper / all);
        }
        let mut draw = Draw::new(Dist::Uniform, 1000, 1);
        let first = (0..DRAWS).filter(|_| draw.next() == 0).count();
        assert!((850..1150).contains(&first), "{first} of a million, with 1000 keys");
    }
}
