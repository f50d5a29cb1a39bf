//! What look-ups read: the files of one version, in the order in which they are asked, and the tombstones of all.
//!
//! ```text
//!   rank 0   the newest run of level 0        a tombstone of rank r hides what ranks above r say
//!   rank 1   …
//!   rank n   the last level that has files    [a, c):0  [c, f):2  [f, g):0      for each key the newest that hides it
//! ```
//!
//! Invariant: a view never changes; an edit makes the next one, and whoever holds one keeps its files.

use super::batch::KeyBatch;
use super::fences::{Fences, KeyPrefix};
use super::files::Files;
use super::open::OpenSst;
use super::{KeyRange, Run, Version};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The rank of a key that nothing hides.
pub(crate) const RANK_NONE: u32 = u32::MAX;

/// The files of a version.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) version: Arc<Version>,
    /// Those that have files, newest first.
    pub(crate) runs: Vec<ReadRun>,
    hidden: Hidden,
}

/// The files of one run.
#[derive(Debug)]
pub(crate) struct ReadRun {
    pub(crate) run: Run,
    /// In the order of their keys, as in `run`.
    pub(crate) files: Vec<ReadFile>,
    /// Between them: what is not above `n` of these is in file `n`, if it is in the run.
    pub(crate) fences: Fences,
    /// Ascending.
    pub(crate) tombstones: Vec<KeyRange>,
}

/// A file, and its place in the directory; who holds a view that is not the store's own holds the file only.
#[derive(Debug, Clone)]
pub(crate) struct ReadFile {
    pub(crate) file: Arc<OpenSst>,
    pub(crate) slot: u32,
}

impl View {
    /// Panics: if a file of the version is not in the directory.
    pub(crate) fn new(version: Arc<Version>, files: &Files) -> Self {
        let runs = version.newest_first().filter(|run| !run.files().is_empty());
        let runs: Vec<_> = runs.map(|run| ReadRun::new(run, files)).collect();
        let hidden = Hidden::new(runs.iter().map(|run| run.tombstones.as_slice()));
        Self { version, runs, hidden }
    }

    /// The rank of the newest run of which a tombstone hides what older ones say of a key. O(log tombstones).
    #[inline(always)]
    pub(crate) fn hidden_by(&self, keys: &KeyBatch, key: usize) -> u32 {
        match self.hidden.begins.is_empty() {
            true => RANK_NONE,
            false => self.hidden.rank(keys.prefix(key), || keys.key(key)),
        }
    }
}

impl ReadRun {
    fn new(run: &Run, files: &Files) -> Self {
        let read_file = |number| {
            let slot = files.slot_of(number).expect("the files of a version are in the directory");
            ReadFile { file: files.slot(slot).file.clone(), slot }
        };
        let files: Vec<_> = run.files().iter().map(|file| read_file(file.number)).collect();
        let mut tombstones: Vec<KeyRange> = Vec::new();
        for ReadFile { file, .. } in &files {
            tombstones.extend_from_slice(&file.sst.meta().tombstones);
        }
        tombstones.sort_unstable_by(|a, b| a.begin.cmp(&b.begin));
        let fences = Fences::between(run.files().iter().map(|file| &file.keys));
        Self { run: run.clone(), files, fences, tombstones }
    }
}

/// For each key the newest rank that hides it.
///
/// Invariant: pieces ascend and do not overlap; none is empty.
#[derive(Debug, Default)]
struct Hidden {
    begins: Fences,
    /// The rank from that begin on, to the next: `RANK_NONE` between tombstones.
    ranks: Vec<u32>,
}

impl Hidden {
    /// Of the tombstones of each rank. O(n log n).
    fn new<'a>(ranks: impl Iterator<Item = &'a [KeyRange]>) -> Self {
        let mut borders: Vec<(&[u8], u32, usize, bool)> = Vec::new();
        for (rank, tombstones) in ranks.enumerate() {
            for (at, range) in tombstones.iter().enumerate().filter(|(_, range)| !range.is_empty()) {
                borders.push((&range.begin, rank as u32, at, true));
                borders.push((&range.end, rank as u32, at, false));
            }
        }
        borders.sort_unstable();
        let (mut begins, mut ranks): (Vec<Vec<u8>>, Vec<u32>) = Default::default();
        let mut open: BTreeSet<(u32, usize)> = BTreeSet::new();
        for here in borders.chunk_by(|a, b| a.0 == b.0) {
            for &(_, rank, at, begins) in here {
                match begins {
                    true => open.insert((rank, at)),
                    false => open.remove(&(rank, at)),
                };
            }
            let rank = open.first().map_or(RANK_NONE, |(rank, _)| *rank);
            if ranks.last() != Some(&rank) {
                begins.push(here[0].0.to_vec());
                ranks.push(rank);
            }
        }
        Self { begins: begins.into_iter().collect(), ranks }
    }

    #[inline]
    fn rank<'k>(&self, prefix: KeyPrefix, key: impl FnOnce() -> &'k [u8]) -> u32 {
        let after = self.begins.up_to(prefix, key);
        after.checked_sub(1).map_or(RANK_NONE, |at| self.ranks[at])
    }
}

#[cfg(test)]
mod tests {
    use super::super::fences::prefix_of;
    use super::*;

    /// `ranks`: the tombstones of each, as two letters. `expected`: the rank for each letter, `.` if there is none.
    #[track_caller]
    fn check(ranks: &[&str], expected: &str) {
        let ranges = |text: &&str| {
            let range = |word: &str| KeyRange::new(&word.as_bytes()[..1], &word.as_bytes()[1..]);
            text.split_whitespace().map(range).collect::<Vec<_>>()
        };
        let ranks: Vec<Vec<KeyRange>> = ranks.iter().map(ranges).collect();
        let hidden = Hidden::new(ranks.iter().map(Vec::as_slice));
        let found: String = (b'a'..b'a' + expected.len() as u8)
            .map(|letter| [letter])
            .map(|key| match hidden.rank(prefix_of(&key), || &key) {
                RANK_NONE => '.',
                rank => char::from(b'0' + rank as u8),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_newest_tombstone_counts() {
        check(&["", ""], "....");
        check(&["bd"], ".00...");
        check(&["bd", "ac ef", "ag"], "100212.");
        check(&["bd de"], ".000.");
        check(&["", "bc", "ae"], "2122.");
        check(&["bb"], "...");
    }
}
