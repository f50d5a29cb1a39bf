//! Versions against a model: a plain list of files in which every question is answered by looking at all of them.

use super::*;
use proptest::prelude::*;

fn file(number: u64, level: u8, run: u64, keys: KeyRange) -> FileMeta {
    FileMeta {
        number: FileNumber(number),
        level,
        run,
        bytes: number * 4096,
        entries: number,
        keys,
        has_range_tombstones: number.is_multiple_of(3),
        schemas: (0..number as u16 % 3).map(|state| (state, Fingerprint(number << 40))).collect(),
    }
}

/// What an edit does to a list of files, if it may.
fn model(files: &[FileMeta], next_file: u64, edit: &VersionEdit) -> Option<Vec<FileMeta>> {
    let mut files = files.to_vec();
    for number in &edit.removed {
        files.remove(files.iter().position(|file| file.number == *number)?);
    }
    for file in &edit.added {
        let is_placed = file.level < LEVEL_COUNT && (file.level == 0 || file.run == 0);
        let is_clear = files.iter().all(|other| {
            other.number != file.number
                && ((other.level, other.run) != (file.level, file.run)
                    || other.keys.end <= file.keys.begin
                    || file.keys.end <= other.keys.begin)
        });
        if !is_placed || !is_clear || file.number.0 >= next_file || file.keys.begin >= file.keys.end {
            return None;
        }
        files.push(file.clone());
    }
    Some(files)
}

/// Ranges over keys of one or two of four letters: they often touch and overlap.
fn ranges() -> impl Strategy<Value = KeyRange> {
    let key = || prop::collection::vec(0..4_u8, 1..3);
    (key(), key()).prop_map(|(a, b)| KeyRange { begin: a, end: b })
}

fn edits() -> impl Strategy<Value = VersionEdit> {
    let file = (0..24_u64, 0..4_u8, 0..3_u64, ranges()).prop_map(|(number, level, run, keys)| match level {
        3 => file(number, LEVEL_COUNT, 0, keys), // There is no such level.
        0 => file(number, 0, run, keys),
        _ => file(number, level, run / 2, keys), // Mostly no run, as it must be.
    });
    let removed = prop::collection::vec((0..24_u64).prop_map(FileNumber), 0..2);
    (prop::collection::vec(file, 0..3), removed).prop_map(|(added, removed)| VersionEdit {
        added,
        removed,
        ..VersionEdit::default()
    })
}

/// All that can be asked of a version.
fn compare(version: &Version, files: &[FileMeta]) -> Result<(), TestCaseError> {
    let numbers = |files: Vec<&FileMeta>| files.iter().map(|file| file.number.0).collect::<Vec<_>>();
    let newest_first = |file: &&FileMeta| (file.level, u64::MAX - file.run, file.keys.begin.clone());
    let mut sorted: Vec<&FileMeta> = files.iter().collect();
    sorted.sort_by_key(newest_first);

    let all = version.newest_first().flat_map(Run::files).map(|file| &**file).collect();
    prop_assert_eq!(numbers(all), numbers(sorted.clone()));
    prop_assert_eq!(version.files().len(), files.len());
    for key in (0..4).flat_map(|a| [vec![a], vec![a, 0], vec![a, 3], vec![a, 3, 0]]) {
        let expected = sorted.iter().copied().filter(|file| file.keys.contains(&key)).collect();
        prop_assert_eq!(numbers(version.files_for(&key).map(|file| &**file).collect()), numbers(expected));
    }
    for (level, begin, len) in
        (0..3).flat_map(|level| (0..4).flat_map(move |b| (1..3).map(move |l| (level, b, l))))
    {
        let range = KeyRange::new(&[begin], &[begin + len]);
        let is_hit = |file: &&FileMeta| {
            file.level == level && file.keys.begin < range.end && range.begin < file.keys.end
        };
        let expected = sorted.iter().copied().filter(is_hit).collect();
        let found = version.overlapping(level, &range).map(|file| &**file).collect();
        prop_assert_eq!(numbers(found), numbers(expected), "level {} in {:?}", level, range);
    }
    prop_assert!(version.runs().windows(2).all(|pair| pair[0].number() > pair[1].number()));
    prop_assert!(version.runs().iter().all(|run| !run.files().is_empty()));
    Ok(())
}

proptest! {
    #![proptest_config(crate::cases(256))]

    /// A version is what a list of files is, whatever edits come, and a refused edit changes nothing.
    #[test]
    fn a_version_answers_as_a_list_of_files_would(edits in prop::collection::vec(edits(), 0..40)) {
        let next_file = VersionEdit { next_file: Some(FileNumber(20)), ..VersionEdit::default() };
        let mut version = Version::default().apply(&next_file).unwrap();
        let mut files: Vec<FileMeta> = Vec::new();
        for edit in edits {
            let (next, expected) = (version.apply(&edit), model(&files, 20, &edit));
            prop_assert_eq!(next.is_ok(), expected.is_some(), "{:?} after {:?}", next, edit);
            if let (Ok(next), Some(expected)) = (next, expected) {
                (version, files) = (next, expected);
            }
            compare(&version, &files)?;
        }
        prop_assert_eq!(Version::default().apply(&version.snapshot()).unwrap(), version);
    }

    /// What a manifest writes of an edit is read as the same edit.
    #[test]
    fn an_edit_survives_json(edit in edits()) {
        let json = serde_json::to_string(&edit).unwrap();
        prop_assert_eq!(serde_json::from_str::<VersionEdit>(&json).unwrap(), edit);
    }
}

#[test]
fn an_edit_that_makes_no_version_says_why() {
    #[track_caller]
    fn check(added: FileMeta, expected: VersionError) {
        let there = file(1, 1, 0, KeyRange::new(b"c", b"f"));
        let edit =
            VersionEdit { added: vec![there], next_file: Some(FileNumber(9)), ..VersionEdit::default() };
        let version = Version::default().apply(&edit).unwrap();
        let edit = VersionEdit { added: vec![added], ..VersionEdit::default() };
        assert_eq!(version.apply(&edit), Err(expected));
    }
    let range = KeyRange::new;
    let number = FileNumber;
    check(file(1, 2, 0, range(b"a", b"b")), VersionError::Twice { number: number(1) });
    check(file(2, 8, 0, range(b"a", b"b")), VersionError::Level { number: number(2), level: 8 });
    check(file(2, 2, 5, range(b"a", b"b")), VersionError::Run { number: number(2), level: 2 });
    check(file(2, 2, 0, range(b"b", b"b")), VersionError::Empty { number: number(2) });
    check(
        file(9, 2, 0, range(b"a", b"b")),
        VersionError::Unnumbered { number: number(9), next_file: number(9) },
    );
    for keys in
        [range(b"a", b"c\0"), range(b"e", b"z"), range(b"d", b"e"), range(b"a", b"z"), range(b"c", b"f")]
    {
        check(file(2, 1, 0, keys), VersionError::Overlap { number: number(2), other: number(1), level: 1 });
    }
    let edit = VersionEdit { next_file: Some(number(3)), ..VersionEdit::default() };
    let backwards = VersionEdit { next_file: Some(number(2)), ..VersionEdit::default() };
    let error = Version::default().apply(&edit).unwrap().apply(&backwards);
    assert_eq!(error, Err(VersionError::Backwards { next_file: number(2), before: number(3) }));
}

#[test]
fn a_file_moves_to_another_level_in_one_edit() {
    let keys = || KeyRange::new(b"a", b"b");
    let edit = VersionEdit {
        added: vec![file(1, 0, 7, keys())],
        next_file: Some(FileNumber(2)),
        ..VersionEdit::default()
    };
    let version = Version::default().apply(&edit).unwrap();
    let edit = VersionEdit {
        added: vec![file(1, 3, 0, keys())],
        removed: vec![FileNumber(1)],
        ..VersionEdit::default()
    };
    let version = version.apply(&edit).unwrap();
    assert!(version.runs().is_empty());
    assert_eq!(version.level(3).files().len(), 1);
    assert_eq!(version.level(3).bytes(), 4096);
}
