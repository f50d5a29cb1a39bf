//! Choices on small versions. A file is `number:range`, its range two letters; levels are separated by `|`, runs of level 0,
//! the newest first, by `/`.

use super::*;
use crate::lsm::VersionEdit;

fn version(text: &str, bytes: u64) -> Version {
    let mut added = Vec::new();
    for (level, files) in text.split('|').enumerate() {
        for (age, run) in files.split('/').enumerate() {
            for file in run.split_whitespace() {
                let (number, range) = file.split_once(':').unwrap();
                let (number, range) = (number.parse().unwrap(), range.as_bytes());
                added.push(FileMeta {
                    number: FileNumber(number),
                    level: level as u8,
                    run: if level == 0 { 100 - age as u64 } else { 0 },
                    bytes,
                    entries: 1,
                    keys: KeyRange::of_keys(&range[..1], &range[1..2]),
                    has_range_tombstones: range.get(2) == Some(&b'~'),
                    schemas: Default::default(),
                });
            }
        }
    }
    let edit = VersionEdit { added, next_file: Some(FileNumber(1000)), ..VersionEdit::default() };
    Version::default().apply(&edit).unwrap()
}

fn options() -> Options {
    Options { memory_bytes: 8 << 20, runs_max: 2, level_ratio: 4, ..Options::nvme() }
}

/// The inputs as their numbers, then the level, then what else is said of it.
fn show(pick: Option<Pick>) -> String {
    let Some(Pick { inputs, level, is_oldest, is_move }) = pick else { return "nothing".into() };
    let run = |files: &Vec<Arc<FileMeta>>| {
        files.iter().map(|file| file.number.0.to_string()).collect::<Vec<_>>().join(" ")
    };
    let runs: Vec<_> = inputs.iter().map(run).collect();
    let oldest = if is_oldest { " oldest" } else { "" };
    let moved = if is_move { " move" } else { "" };
    format!("{} > {level}{oldest}{moved}", runs.join(" / "))
}

#[track_caller]
fn check(files: &str, bytes: u64, busy: &[u64], expected: &str) {
    check_at(Pace::Load, files, bytes, busy, expected);
}

#[track_caller]
fn check_at(pace: Pace, files: &str, bytes: u64, busy: &[u64], expected: &str) {
    let busy = busy.iter().map(|number| FileNumber(*number)).collect();
    let pick = Picker::default().pick(&version(files, bytes), &options(), &busy, pace);
    assert_eq!(show(pick), expected, "{files}");
}

#[test]
fn too_many_runs_go_down_together() {
    check("1:ac", 1, &[], "nothing");
    check("3:ac / 2:bd / 1:xz", 1, &[], "3 / 2 / 1 > 1 oldest");
    check("3:ac / 2:bd | 5:aa 6:cd 7:ef", 1, &[], "3 / 2 / 5 6 > 1 oldest");
    check("3:ac / 2:bd | 5:aa | 6:dz", 1, &[], "3 / 2 / 5 > 1");
    check("3:ac / 2:bd | 5:aa | | 6:ef", 1, &[], "3 / 2 / 5 > 1 oldest");
    check("3:ac / 2:bd | 5:aa", 1, &[5], "nothing");
    check("4:aa / 3:ac / 2:bd", 1, &[3, 2], "nothing");
}

#[test]
fn of_a_level_over_its_target_one_file_goes_down() {
    let target = 16 << 20; // 4 MiB of tables, four times.
    check("| 1:ac 2:df", target / 2, &[], "nothing");
    check("| 1:ac 2:df", target / 2 + 1, &[], "1 > 2 oldest move");
    check("| 1:ac 2:df | 3:bb 4:cd", target / 2 + 1, &[], "1 / 3 4 > 2 oldest");
    check("| 1:ac 2:df | 3:bb 4:cd", target / 2 + 1, &[4], "nothing"); // Both overlap it.
    check("| 1:ac 2:df | 3:bb 4:cd", target / 2 + 1, &[3], "2 / 4 > 2 oldest");
    check("| 1:ac 2:df | 3:bb", target / 2 + 1, &[3], "2 > 2 oldest move");
    check("| 1:ac 2:df | | 3:bb", target / 2 + 1, &[], "1 > 2 move");
    check("| 1:ac~ 2:df", target / 2 + 1, &[], "1 > 2 oldest"); // Its tombstones hide nothing: they go.
    check("1:az | 2:ac 3:df | 4:ab 5:cd 6:xz", target * 2, &[], "2 / 4 5 > 2 oldest"); // Level 1 is fuller.
}

#[test]
fn at_rest_level_0_is_emptied() {
    check_at(Pace::Rest, "1:ac", 1, &[], "1 > 1 oldest move");
    check_at(Pace::Rest, "3:ac | 1:ab 2:cd", 1, &[], "3 / 1 2 > 1 oldest");
    check_at(Pace::Rest, "3:ac | 1:ab 2:cd", 1, &[3], "nothing");
    check_at(Pace::Rest, "| 1:ab 2:cd", 1, &[], "nothing");
    let eight = "1:aa 2:bb 3:cc 4:dd 5:ee 6:ff 7:gg 8:hh";
    check_at(Pace::Rest, &format!("20:aa | {eight}"), 1, &[], "20 / 1 > 1 oldest");
    check_at(Pace::Rest, &format!("20:aa | {eight} 9:ii"), 1, &[], "nothing");
}

#[test]
fn files_take_turns() {
    let (version, options) = (version("| 1:ac 2:df 3:gh", 16 << 20), options());
    let mut picker = Picker::default();
    let mut next = || show(picker.pick(&version, &options, &BTreeSet::new(), Pace::Load));
    assert_eq!([next(), next(), next(), next()].map(|pick| pick[..1].to_owned()), ["1", "2", "3", "1"]);
}
