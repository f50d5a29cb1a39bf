//! Blocks that a scan of a short range will need, brought in before it.
//!
//! Invariant: nothing waits. What is missing is asked for, all of it at once.

use super::fences::prefix_of;
use super::files::Files;
use super::view::{ReadFile, View};
use super::{FileNumber, KeyRange};

/// What there is of the blocks of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// All are in memory.
    Ready,
    /// So many were asked for.
    Asked(usize),
    /// There are more than were to be asked for.
    Large,
}

/// Asks for the blocks that may hold keys in `range`, unless a run has more than `blocks_max` of them.
pub(crate) fn bring_in(view: &View, files: &Files, range: &KeyRange, blocks_max: usize) -> Ahead {
    let mut missing: Vec<(FileNumber, u32)> = Vec::new();
    let is_small = each_block(view, range, blocks_max, |file, block| {
        if !is_there(files, file, block) {
            missing.push((file.file.number, block));
        }
    });
    if !is_small {
        return Ahead::Large;
    }
    for &(file, block) in &missing {
        files.miss(file, block);
    }
    if missing.is_empty() { Ahead::Ready } else { Ahead::Asked(missing.len()) }
}

/// Whether a block is in memory, or in the page cache. Counts as a use: otherwise it might be the next to make room for another.
fn is_there(files: &Files, file: &ReadFile, block: u32) -> bool {
    let slot = files.slot(file.slot);
    if slot.is_in_place() {
        return slot.has_in_place(block);
    }
    let used = || files.frames().get_used(slot.frame(block)).is_some();
    used() || files.fetch(file.slot, block).is_some() && used()
}

/// Whether a run has more than `blocks_max` blocks that may hold keys in `range`. O(runs × log blocks).
pub(crate) fn is_large(view: &View, range: &KeyRange, blocks_max: usize) -> bool {
    !each_block(view, range, blocks_max, |_, _| {})
}

/// Shows the blocks that may hold keys in `range`. False if a run has more than `blocks_max`: then not all were shown.
fn each_block(
    view: &View,
    range: &KeyRange,
    blocks_max: usize,
    mut each: impl FnMut(&ReadFile, u32),
) -> bool {
    for run in &view.runs {
        let (mut file, mut blocks) = (run.fences.up_to(prefix_of(&range.begin), || &range.begin), 0);
        while let Some(read) = run.files.get(file).filter(|_| run.run.files()[file].keys.begin < range.end) {
            let sst = &read.file.sst;
            let mut block = sst.block_of(&range.begin);
            while sst.first_key(block).is_some_and(|first| *first < *range.end) {
                blocks += 1;
                if blocks > blocks_max {
                    return false;
                }
                each(read, block);
                block += 1;
            }
            file += 1;
        }
    }
    true
}
