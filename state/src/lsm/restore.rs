//! A share of snapshots, made a store again.
//!
//! ```text
//!   restore(range): of each snapshot   files within the range ─▶ linked, under new numbers ┐
//!                                      files across its border ─▶ what is within, rewritten ┴▶ edit: now the store is there
//! ```
//!
//! Invariant: only blocks with keys in the range are read of files that are cut.
//!
//! # Decisions
//! - **Files across the border are rewritten** when restoring, rather than shown in part: there are at most two for each run
//!   and level, look-ups need no borders, and no store refers to state that is not its own.

use super::input::RunInput;
use super::job::Shared;
use super::merge::Cursor;
use super::rate::WriteRate;
use super::run::RunPlace;
use super::sst::Purpose;
use super::states::States;
use super::store::{STORE_OPTION, Store, identity_of, open_noted};
use super::{Error, FileMeta, KeyRange, Manifest, Options, Result, VersionEdit};
use crate::KeyGroupRange;
use crate::storage::Storage;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Makes a store in `storage`, which is empty, of the share of snapshots that is in `key_groups`; no key group may be in more
/// than one of them. `identity` as in [`Store::open`]. Waits for the disk: files within the range are linked, those across its
/// border are read as far as they are in it.
///
/// Errors: `NotEmpty`; as [`Store::open`]; `Manifest` with `Edit` if two snapshots have the same keys; `StateIds`,
/// `SchemaMismatch` and `AlignMismatch` if they do not agree on a state. What was made is then no store yet.
///
/// ```
/// use thalweg_state::lsm::{Options, Store, restore};
/// use thalweg_state::storage::Storage;
/// use thalweg_state::{KeyGroupRange, MaxParallelism};
/// let all = KeyGroupRange::all(MaxParallelism::default());
/// let (one, snapshot, two) = (Storage::memory(), Storage::memory(), Storage::memory());
/// let (store, _) = Store::open(&one, Options::nvme(), 1)?;
/// store.snapshot().write(&snapshot)?;
/// let restored = restore(&two, &[snapshot], all, Options::nvme(), 2)?;
/// assert_eq!(restored.version().files().len(), 0);
/// # Ok::<(), thalweg_state::lsm::Error>(())
/// ```
pub fn restore(
    storage: &Storage,
    snapshots: &[Storage],
    key_groups: KeyGroupRange,
    options: Options,
    identity: u64,
) -> Result<Store> {
    options.check()?;
    let (manifest, recovery) = Manifest::open(storage)?;
    if recovery.version.files().len() > 0 || identity_of(&recovery.version).is_some() {
        return Err(Error::NotEmpty { path: storage.path("") });
    }
    for name in &recovery.garbage {
        storage.remove(name)?; // Of an attempt that failed.
    }
    let shared = Shared {
        storage: storage.clone(),
        options: options.clone(),
        numbers: manifest.numbers().clone(),
        manifest: Mutex::new(manifest),
        rate: Mutex::new(WriteRate::new(None)),
    };
    let mut added = Vec::new();
    let mut states = States::default();
    let mut runs_before = 0;
    for snapshot in snapshots {
        let files = Manifest::read(snapshot)?.version;
        states.note_names(&files)?;
        let runs: BTreeSet<u64> = files.runs().iter().map(|run| run.number()).collect();
        for file in files.files() {
            // Runs stay in their order; those of different snapshots have no keys in common.
            let age = runs.range(..file.run).count() as u64;
            let run = if file.level == 0 { runs_before + age } else { 0 };
            added.extend(take_share(&shared, &mut states, snapshot, file, &range_of(key_groups), run)?);
        }
        runs_before += runs.len() as u64;
    }
    let mut manifest = shared.manifest.into_inner().expect("nobody else has it");
    let mut words = states.options_beyond(manifest.version());
    words.insert(STORE_OPTION.to_owned(), format!("{identity:016x}"));
    manifest.append(&VersionEdit { added, options: words, ..VersionEdit::default() })?;
    drop(manifest);
    Ok(Store::open(storage, options, identity)?.0)
}

/// The encoded keys of some key groups.
fn range_of(key_groups: KeyGroupRange) -> KeyRange {
    let (first, last) = (key_groups.iter().next(), key_groups.iter().last());
    match first.zip(last) {
        None => KeyRange::new(b"", b""),
        Some((first, last)) => {
            let end = last.0.checked_add(1).expect("there are at most 32768 key groups");
            KeyRange::new(&first.0.to_be_bytes(), &end.to_be_bytes())
        }
    }
}

/// Takes over what a file has in `range`: linked, or rewritten if it has more.
fn take_share(
    shared: &Shared,
    states: &mut States,
    snapshot: &Storage,
    file: &Arc<FileMeta>,
    range: &KeyRange,
    run: u64,
) -> Result<Vec<FileMeta>> {
    if range.is_empty() || !file.keys.overlaps(range) {
        return Ok(Vec::new());
    }
    let open = open_noted(snapshot, file, states)?;
    if file.keys.begin >= range.begin && file.keys.end <= range.end {
        let number = shared.numbers.take();
        snapshot.link_or_copy_as(&file.number.name(), &shared.storage, &number.name())?;
        return Ok(vec![FileMeta { number, run, ..FileMeta::clone(file) }]);
    }
    let tombstones = open.sst.meta().tombstones.iter().filter_map(|tombstone| {
        let begin = tombstone.begin.clone().max(range.begin.clone());
        let end = tombstone.end.clone().min(range.end.clone());
        (begin < end).then_some(KeyRange { begin, end })
    });
    let place = RunPlace { level: file.level, run };
    let states = Arc::new(states.clone());
    let mut writer = shared.run_writer(&states, place, Purpose::Import, tombstones.collect());
    let mut input = RunInput::open(snapshot, vec![file.clone()], Some(range.clone()))?;
    while !writer.is_finished() {
        if writer.is_ending() {
            writer.step(usize::MAX >> 16)?;
        } else if let Some(entry) = input.entry() {
            writer.add(entry.key, entry.kind, entry.value)?;
            input.advance()?;
        } else {
            writer.finish()?;
        }
    }
    Ok(writer.into_files())
}
