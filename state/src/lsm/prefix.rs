//! Scans of all keys that begin alike, where only one run has any: the entries of most maps. Nothing is merged, copied or allocated.
//!
//! Invariant: as of `scan`, nothing waits; and what is seen is what `scan` would show.

use super::fences::prefix_of;
use super::files::Files;
use super::sst::{Block, Entry};
use super::view::{ReadFile, ReadRun, View};
use super::{KeyRange, Kind, ScanEnd};
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// Gives the values of all keys in `range` to `each`, ascending, with what of each key comes after its first `skip` bytes, which they have in
/// common. `None`: `scan` must see to it, as several runs have such keys, or blocks are missing.
pub(crate) fn scan_prefix(
    view: &View,
    files: &Files,
    range: &KeyRange,
    skip: usize,
    mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Option<ScanEnd> {
    let mut place = None;
    for run in &view.runs {
        if !run.tombstones.is_empty() {
            return None;
        }
        match Place::seek(files, run, range)? {
            Some(found) if place.is_none() => place = Some(found),
            Some(_) => return None,
            None => {}
        }
    }
    let Some(Place { run, mut file, mut block, mut index }) = place else { return Some(ScanEnd::Finished) };
    let mut resume = Vec::new();
    while let Some(read) = run.files.get(file) {
        if block >= read.file.sst.blocks() {
            (file, block) = (file + 1, 0);
            continue;
        }
        let Some(entries) = block_at(files, read, block) else {
            files.miss(read.file.number, block);
            let resume = if resume.is_empty() { range.begin.clone() } else { resume };
            return Some(ScanEnd::Cold { resume });
        };
        let is_all = entries.entry(entries.len() - 1).is_some_and(|last| is_before(&last, &range.end));
        let end = if is_all { entries.len() } else { entries.seek(&range.end) };
        let mut shown = entries.prefix().get(skip..).map(<[u8]>::to_vec);
        for index in index..end {
            let Some(entry) = entries.entry(index) else { break };
            if entry.kind == Kind::Delete {
                continue;
            }
            let rest = match &mut shown {
                None => &entry.suffix[skip - entry.prefix.len()..],
                Some(key) => {
                    key.truncate(entry.prefix.len() - skip);
                    key.extend_from_slice(entry.suffix);
                    key
                }
            };
            if each(rest, entry.value).is_break() {
                return Some(ScanEnd::Stopped);
            }
        }
        if end < entries.len() {
            break;
        }
        if let Some(last) = entries.entry(end - 1) {
            resume.clear();
            last.key_into(&mut resume);
            resume.push(0); // The next key that could be.
        }
        (block, index) = (block + 1, 0);
    }
    Some(ScanEnd::Finished)
}

/// A block, if it is in memory or in the page cache.
#[inline]
fn block_at<'a>(files: &'a Files, read: &'a ReadFile, block: u32) -> Option<Block<'a>> {
    let slot = files.slot(read.slot);
    let bytes = slot.block(block, files.frames()).or_else(|| files.fetch(read.slot, block))?;
    Block::parse(bytes).ok()
}

/// Whether an entry's key is below `end`.
#[inline]
fn is_before(entry: &Entry<'_>, end: &[u8]) -> bool {
    let (end_of_prefix, end_of_suffix) = end.split_at(entry.prefix.len().min(end.len()));
    match entry.prefix.cmp(end_of_prefix) {
        Ordering::Equal => entry.suffix < end_of_suffix,
        order => order.is_lt(),
    }
}

/// An entry of a run.
struct Place<'a> {
    run: &'a ReadRun,
    file: usize,
    block: u32,
    index: u32,
}

impl<'a> Place<'a> {
    /// The first entry in a range: `None` within if there is none, and `None` if that cannot be said yet.
    #[inline]
    fn seek(files: &Files, run: &'a ReadRun, range: &KeyRange) -> Option<Option<Self>> {
        let file = run.fences.up_to(prefix_of(&range.begin), || &range.begin);
        let read = run.files.get(file)?;
        let block = read.file.sst.block_of(&range.begin);
        let entries = block_at(files, read, block)?;
        let index = entries.seek(&range.begin);
        if let Some(entry) = entries.entry(index) {
            return Some(is_before(&entry, &range.end).then_some(Self { run, file, block, index }));
        }
        // It begins with the next block, or not at all.
        let (file, block) =
            if block + 1 < read.file.sst.blocks() { (file, block + 1) } else { (file + 1, 0) };
        let Some(read) = run.files.get(file) else { return Some(None) };
        let first = read.file.sst.first_key(block)?;
        Some((*first < *range.end).then_some(Self { run, file, block, index: 0 }))
    }
}
