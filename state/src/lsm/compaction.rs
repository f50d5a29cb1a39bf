//! Which files to rewrite next. Pure: a version in, a choice out.
//!
//! ```text
//!   level 0   too many runs, or rest ──▶ all of them, with what they overlap in level 1 ──▶ level 1
//!   level n   most over its target ────▶ the next file in turn, with what it overlaps ────▶ level n + 1
//! ```
//!
//! Invariants:
//! - a file is in one job at a time, and two jobs never write to overlapping ranges of one level;
//! - what goes down goes with all that is as old or older in the levels between: newer stays above older;
//! - a job is of the oldest files if no deeper level overlaps them: then nothing remains for a tombstone to hide.

//!
//! # Decisions
//! - **Level 1 is bounded by what tables hold, not by how many runs are let be**: a compaction of level 0 rewrites all of level 1,
//!   so the more runs go down together, the less is written for each byte that is flushed.
//! - **Level 0 is emptied when nothing changes**, not sooner: runs of new keys have nothing to reclaim, and under load the disk and
//!   the processor have better things to do. What is gained is space, and look-ups that ask fewer filters.

use super::{FileMeta, FileNumber, KeyRange, LEVEL_COUNT, Options, Version};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How much may be in level 1, in times of what tables may hold.
const LEVEL_1_TABLES: usize = 4;

/// At rest, level 0 goes down if it has at least this share of what would be rewritten: for each byte so many are written at most, and
/// brought to the next snapshot, should a job rest after every few records.
const REST_SHARE: u64 = 8;

/// Whether the state changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// It does: what is not urgent waits.
    Load,
    /// Nothing has changed since the last flush.
    Rest,
}

/// Files to be made one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Sorted runs, the newest first.
    pub(crate) inputs: Vec<Vec<Arc<FileMeta>>>,
    /// Where the run goes.
    pub(crate) level: u8,
    /// Whether nothing older has a key in the range of these files.
    pub(crate) is_oldest: bool,
    /// Whether the file can stay as it is, and only change its level.
    pub(crate) is_move: bool,
}

/// Chooses what to compact, and remembers whose turn is next.
#[derive(Debug, Default)]
pub(crate) struct Picker {
    /// For each level: the end of the range of the file that had its turn last.
    turns: [Vec<u8>; LEVEL_COUNT as usize],
}

impl Picker {
    /// What is to be compacted now, if anything. Files in `busy` are left alone.
    pub(crate) fn pick(
        &mut self,
        version: &Version,
        options: &Options,
        busy: &BTreeSet<FileNumber>,
        pace: Pace,
    ) -> Option<Pick> {
        if (version.runs().len() >= options.runs_max || (pace == Pace::Rest && is_worth_emptying(version)))
            && let Some(pick) = pick_runs(version, busy)
        {
            return Some(pick);
        }
        let mut levels: Vec<(f64, u8)> = (1..LEVEL_COUNT - 1)
            .map(|level| (version.level(level).bytes() as f64 / target_bytes(options, level), level))
            .filter(|(fullness, _)| *fullness > 1.0)
            .collect();
        levels.sort_by(|a, b| b.0.total_cmp(&a.0));
        levels.into_iter().find_map(|(_, level)| self.pick_file(version, level, busy))
    }

    /// The next file of a level in turn that is free to go.
    fn pick_file(&mut self, version: &Version, level: u8, busy: &BTreeSet<FileNumber>) -> Option<Pick> {
        let files = version.level(level).files();
        let turn = &mut self.turns[usize::from(level)];
        let next = files.partition_point(|file| file.keys.begin < *turn);
        for file in files[next..].iter().chain(&files[..next]) {
            let below = version.level(level + 1).overlapping(&file.keys);
            if is_busy(below, busy) || busy.contains(&file.number) {
                continue;
            }
            turn.clone_from(&file.keys.end);
            return Some(pick_of(version, vec![vec![file.clone()], below.to_vec()], level + 1));
        }
        None
    }
}

/// How much may be in a level before some of it goes down.
fn target_bytes(options: &Options, level: u8) -> f64 {
    let base = (options.table_bytes() * LEVEL_1_TABLES) as f64;
    base * (options.level_ratio as f64).powi(i32::from(level) - 1)
}

/// Whether level 0 is a fair share of what emptying it would write.
fn is_worth_emptying(version: &Version) -> bool {
    let bytes: u64 = version.runs().iter().map(|run| run.bytes()).sum();
    bytes > 0 && bytes.saturating_mul(REST_SHARE) >= version.level(1).bytes()
}

/// All runs of level 0. None if some of them are on their way already.
fn pick_runs(version: &Version, busy: &BTreeSet<FileNumber>) -> Option<Pick> {
    let mut inputs: Vec<_> = version.runs().iter().map(|run| run.files().to_vec()).collect();
    let below = version.level(1).overlapping(&range_of(&inputs)?);
    if is_busy(below, busy) || inputs.iter().any(|files| is_busy(files, busy)) {
        return None;
    }
    inputs.push(below.to_vec());
    Some(pick_of(version, inputs, 1))
}

fn pick_of(version: &Version, mut inputs: Vec<Vec<Arc<FileMeta>>>, level: u8) -> Pick {
    inputs.retain(|files| !files.is_empty());
    let range = range_of(&inputs).expect("a pick has files");
    let is_oldest =
        (level + 1..LEVEL_COUNT).all(|deeper| version.level(deeper).overlapping(&range).is_empty());
    // A file of tombstones has nothing to hide there: it is rewritten to nothing.
    let is_move = inputs.len() == 1 && !(is_oldest && inputs[0].iter().any(|file| file.has_range_tombstones));
    Pick { inputs, level, is_oldest, is_move }
}

fn is_busy(files: &[Arc<FileMeta>], busy: &BTreeSet<FileNumber>) -> bool {
    files.iter().any(|file| busy.contains(&file.number))
}

/// The range of all keys.
pub(crate) fn range_of(inputs: &[Vec<Arc<FileMeta>>]) -> Option<KeyRange> {
    let ranges = inputs.iter().flatten().map(|file| file.keys.clone());
    ranges.reduce(|all, range| all.cover(&range))
}

#[cfg(test)]
mod tests;
