//! How results are compared: a sum over hashes of signed rows.
//!
//! ```text
//!   mix(h, w)    h = (h xor w) × K mod 2⁶⁴;  h xor (h >> 32)
//!   hash(row)    h = H;  each integer: mix;  then for each text: mix its length, then its groups of 8 bytes,
//!                                            little-endian, the last one padded with zeros
//!   digest       Σ sign × hash(row) mod 2⁶⁴
//! ```
//!
//! Invariants:
//! - the digest does not depend on the order of rows, nor on who adds them: partial digests merge by addition;
//! - a row that was added and retracted leaves no trace in `net_count` and `sum`, only in `out_count`.
//!
//! A row's hash is one chain in which each word waits for the one before it, so latency is all that counts. The chain is
//! kept *before* the last fold, `m = (h xor w) × K`: the next step is `((m xor w) xor (m >> 32)) × K`, where `m xor w` and
//! `m >> 32` go side by side, five cycles a word rather than six. (Collecting
//! the words of several rows and hashing them in lanes was tried, with 2 to 8 of them: copying the words costs what the overlap
//! gains, as the processor overlaps the end of a row with the next one by itself.)

use std::fmt;

use super::texts::{Texts, last_group};

const K: u64 = 0x9E37_79B9_7F4A_7C15;
const H: u64 = 0xCBF2_9CE4_8422_2325;

/// The hash of one row under construction: integers first, then texts, each in the order the query gives.
///
/// Cost: 1.6 ns per integer and per 8 bytes of text when a row waits for itself; the next row overlaps with its end.
///
/// ```
/// use thalweg_tools::nexmark::RowHash;
/// let hash = RowHash::new().int(1000).int(7).text(b"portland").text(b"or").finish();
/// assert_eq!(hash, RowHash::row(&[1000, 7], &[b"portland", b"or"]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a row counts once its hash is added to a digest"]
pub struct RowHash {
    /// The state before its last fold; see the module's documentation.
    unfolded: u64,
}

impl RowHash {
    /// The hash of a row without fields.
    #[inline(always)]
    pub fn new() -> RowHash {
        // Folding is its own inverse: the upper half stays, and is all that the lower half is changed by.
        RowHash { unfolded: H ^ (H >> 32) }
    }

    /// The hash of a whole row.
    #[inline]
    pub fn row(ints: &[u64], texts: &[&[u8]]) -> u64 {
        let hash = ints.iter().fold(RowHash::new(), |hash, &int| hash.int(int));
        texts.iter().fold(hash, |hash, text| hash.text(text)).finish()
    }

    /// Appends an integer.
    #[inline(always)]
    pub fn int(self, word: u64) -> RowHash {
        RowHash { unfolded: ((self.unfolded ^ word) ^ (self.unfolded >> 32)).wrapping_mul(K) }
    }

    /// Appends a text.
    #[inline(always)]
    pub fn text(self, text: &[u8]) -> RowHash {
        let mut hash = self.int(text.len() as u64);
        let (groups, tail) = text.as_chunks::<8>();
        for group in groups {
            hash = hash.int(u64::from_le_bytes(*group));
        }
        if tail.is_empty() { hash } else { hash.int(last_group(text, tail)) }
    }

    /// Appends texts one after another.
    #[inline(always)]
    pub fn texts<const N: usize>(self, texts: &Texts<N>) -> RowHash {
        let mut hash = self;
        for (len, groups) in texts.lens().into_iter().zip(texts.groups()) {
            hash = hash.int(u64::from(len));
            for group in groups {
                hash = hash.int(u64::from_le_bytes(*group));
            }
        }
        hash
    }

    /// The hash of what was appended.
    #[inline(always)]
    pub fn finish(self) -> u64 {
        self.unfolded ^ (self.unfolded >> 32)
    }
}

impl Default for RowHash {
    fn default() -> Self {
        RowHash::new()
    }
}

/// What a sink received: how many rows, and the sum of their hashes.
///
/// ```
/// use thalweg_tools::nexmark::{Digest, RowHash};
/// let row = RowHash::row(&[1, 2], &[]);
/// let mut digest = Digest::default();
/// digest.add(row);
/// digest.retract(row);
/// digest.add(RowHash::row(&[1, 3], &[]));
/// assert_eq!((digest.out_count, digest.net_count), (3, 1));
/// assert_eq!(digest.to_string(), format!("{:016x}", RowHash::row(&[1, 3], &[])));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Rows sent, of either sign.
    pub out_count: u64,
    /// Sum of the signs.
    pub net_count: i64,
    /// Sum of sign × hash, modulo 2⁶⁴. Printed as 16 hexadecimal digits by `Display`.
    pub sum: u64,
}

impl Digest {
    /// Counts a row with a `+`.
    #[inline(always)]
    pub fn add(&mut self, hash: u64) {
        self.out_count += 1;
        self.net_count += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Counts a row with a `-`: one that was added before is taken back.
    #[inline(always)]
    pub fn retract(&mut self, hash: u64) {
        self.out_count += 1;
        self.net_count -= 1;
        self.sum = self.sum.wrapping_sub(hash);
    }

    /// Adds what another subtask's sink received.
    pub fn merge(&mut self, other: &Digest) {
        self.out_count += other.out_count;
        self.net_count += other.net_count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexmark::{Bid, Cursor, DataSet, generate_in_memory};

    /// The definition, word for word.
    fn by_definition(ints: &[u64], texts: &[&[u8]]) -> u64 {
        let mix = |h: u64, w: u64| {
            let h = (h ^ w).wrapping_mul(K);
            h ^ (h >> 32)
        };
        let mut h = ints.iter().fold(H, |h, &int| mix(h, int));
        for text in texts {
            h = mix(h, text.len() as u64);
            for group in text.chunks(8) {
                h = mix(h, group.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
            }
        }
        h
    }

    #[test]
    fn a_row_hashes_as_defined() {
        let bytes: Vec<u8> = (0..40).map(|i: u8| i.wrapping_mul(37).wrapping_add(200)).collect();
        for len in 0..=bytes.len() {
            let texts: [&[u8]; 3] = [&bytes[..len], b"", &bytes[40 - len..]];
            for ints in [&[][..], &[0], &[u64::MAX, 1, len as u64]] {
                assert_eq!(RowHash::row(ints, &texts), by_definition(ints, &texts), "{len} bytes");
            }
        }
        assert_eq!(RowHash::default().finish(), 0xCBF2_9CE4_8422_2325);
    }

    #[test]
    fn partial_digests_merge_to_the_whole() {
        let rows: Vec<u64> = (0..100).map(|i| RowHash::row(&[i], &[])).collect();
        let (mut whole, mut parts) = (Digest::default(), [Digest::default(); 3]);
        for (i, &row) in rows.iter().enumerate() {
            whole.add(row);
            parts[i % 3].add(row);
            if i % 4 == 0 {
                whole.retract(rows[0]);
                parts[(i + 1) % 3].retract(rows[0]);
            }
        }
        let mut merged = Digest::default();
        for part in parts.iter().rev() {
            merged.merge(part);
        }
        assert_eq!(merged, whole);
        assert_eq!((whole.out_count, whole.net_count), (125, 75));
    }

    /// Sums up a row of each bid for which there is one.
    fn digest(data: &DataSet, passes: u64, row: impl Fn(Bid<'_>) -> Option<RowHash>) -> (u64, String) {
        let mut digest = Digest::default();
        for shard in &data.shards {
            let mut cursor = Cursor::new(shard, passes);
            while let Some(event) = cursor.next(|_, _| ()) {
                if let Some(row) = event.bid().and_then(&row) {
                    digest.add(row.finish());
                }
            }
        }
        (digest.out_count, digest.to_string())
    }

    /// Goal: data, reader, passes and digest are those of every other engine. Method: the stateless queries, whose digests
    /// are known from Apache Flink.
    #[test]
    fn stateless_queries_have_the_digests_of_flink() {
        let data = generate_in_memory(100_000, 3);
        let q0 = |bid: Bid<'_>| {
            let row =
                RowHash::new().int(bid.auction()).int(bid.bidder()).int(bid.price()).int(bid.date_time());
            Some(row.text(&bid.channel()).text(&bid.url()).text(&bid.extra()))
        };
        let q1 = |bid: Bid<'_>| {
            let row = RowHash::new().int(bid.auction()).int(bid.bidder()).int(bid.price() * 908 / 1000);
            Some(row.int(bid.date_time()).text(&bid.extra()))
        };
        let q2 = |bid: Bid<'_>| {
            let hot = bid.auction().is_multiple_of(123);
            hot.then(|| RowHash::new().int(bid.auction()).int(bid.price()))
        };
        let expect = |(count, digest): (u64, &str)| (count, digest.to_owned());
        assert_eq!(digest(&data, 1, q0), expect((92_000, "85a5d774de3a004b")));
        assert_eq!(digest(&data, 1, q1), expect((92_000, "4c0c7cd3487035d4")));
        assert_eq!(digest(&data, 1, q2), expect((366, "8fef3ac6c4e7f43e")));
        assert_eq!(digest(&data, 3, q0), expect((276_000, "044ba49bec9e9c1b")));
        assert_eq!(digest(&data, 3, q1), expect((276_000, "c4118eef9efb4976")));
        assert_eq!(digest(&data, 3, q2), expect((2620, "c5d54fdc8851a1e6")));
    }
}
