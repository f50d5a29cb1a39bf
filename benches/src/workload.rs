//! Records and keys, the same in every run.

use std::fmt::Debug;
use std::sync::Arc;

use rkyv::Archived;
use thalweg::Record;

/// Scatters a number over 64 bits (the finaliser of SplitMix64).
#[inline]
pub fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// How often keys come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// All as often.
    Uniform,
    /// The i-th with a frequency of 1/i.
    Zipf,
}

/// Samples that are drawn ahead from a skewed distribution, and then used in turn: drawing one costs more than counting it.
const SAMPLES: usize = 1 << 22;

/// A sequence of keys.
#[derive(Debug, Clone)]
pub struct Keys {
    count: u64,
    samples: Option<Arc<[u32]>>,
}

impl Keys {
    /// `count` different keys. Costs some 100 ms for [`Skew::Zipf`].
    pub fn new(count: u32, skew: Skew) -> Self {
        let samples = match skew {
            Skew::Uniform => None,
            // The inverse of the continuous distribution with density 1/x between 1 and count + 1.
            Skew::Zipf => {
                let log_range = f64::from(count + 1).ln();
                let sample = |i: usize| {
                    let uniform = (mix(i as u64) >> 11) as f64 / (1_u64 << 53) as f64;
                    ((uniform * log_range).exp() as u32 - 1).min(count - 1)
                };
                Some((0..SAMPLES).map(sample).collect())
            }
        };
        Self { count: u64::from(count), samples }
    }

    /// The `i`-th key, scattered over 64 bits.
    #[inline]
    pub fn get(&self, i: u64) -> u64 {
        let rank = match &self.samples {
            None => ((u128::from(mix(i)) * u128::from(self.count)) >> 64) as u64,
            Some(samples) => u64::from(samples[i as usize & (SAMPLES - 1)]),
        };
        mix(rank)
    }
}

/// A plain record of some size.
pub trait Row: Record + Copy + Debug + Send + Sync + 'static {
    /// The `i`-th one.
    fn make(i: u64) -> Self;
    /// Its first and its last word, as one number.
    fn value(&self) -> u64;
    /// The same of its archive in a buffer.
    fn archived_value(archived: &Archived<Self>) -> u64;
}

#[inline]
fn value(first: u64, last: u64) -> u64 {
    first ^ last.rotate_left(32)
}

impl<const N: usize> Row for [u64; N] {
    #[inline]
    fn make(i: u64) -> Self {
        std::array::from_fn(|word| i + word as u64)
    }

    #[inline]
    fn value(&self) -> u64 {
        value(self[0], self[N - 1])
    }

    #[inline]
    fn archived_value(archived: &Archived<Self>) -> u64 {
        value(archived[0].to_native(), archived[N - 1].to_native())
    }
}

/// 512 bytes, in a shape that serde knows too.
impl Row for [[u64; 32]; 2] {
    #[inline]
    fn make(i: u64) -> Self {
        [Row::make(i), Row::make(i + 32)]
    }

    #[inline]
    fn value(&self) -> u64 {
        value(self[0][0], self[1][31])
    }

    #[inline]
    fn archived_value(archived: &Archived<Self>) -> u64 {
        value(archived[0][0].to_native(), archived[1][31].to_native())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skewed_keys_are_skewed_and_uniform_ones_are_not() {
        let top = |skew| {
            let keys = Keys::new(1000, skew);
            (0..100_000).filter(|&i| keys.get(i) == mix(0)).count()
        };
        assert!((60..140).contains(&top(Skew::Uniform)), "{}", top(Skew::Uniform)); // 1 in 1000.
        assert!((9_000..11_000).contains(&top(Skew::Zipf)), "{}", top(Skew::Zipf)); // ln 2 / ln 1001.
    }
}
