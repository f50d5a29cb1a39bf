//! The verdict: whether a run gave what Flink gave.
//!
//! ```text
//!   expected   a b │wm 5│ c │wm 9│ ·          a step is the records up to a watermark;
//!   got        b a │wm 5│ c │wm 9│ ·          the rest after the last one is a step too
//! ```
//!
//! Step by step: the records must be equal as the output's [`Mode`] says, then the watermarks that end the step. The
//! first difference is the one reported, since later ones tend to follow from it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::case::{Case, Expected, Mode, Output, Stamped};
use super::value::Value;

/// What a run sent to its outputs, by name.
pub type Outputs = BTreeMap<String, Vec<Output>>;

/// The first difference between a run and the case; its `Display` is for people, over several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    case: String,
    text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.text)
    }
}

impl std::error::Error for Difference {}

/// Compares a run with what the case expects: its outputs, or the message it failed with.
///
/// An output the run does not have counts as empty, and one the case does not compare is not looked at, as in
/// `compare.py`. O(n log n) in the elements.
///
/// ```
/// use std::collections::BTreeMap;
/// use thalweg_tests::conformance::{case, compare::compare};
///
/// let Some(cases) = case::load() else { return }; // Not on this machine.
/// let basic = cases.iter().find(|case| case.name == "window_session/basic").unwrap();
/// let difference = compare(basic, Ok(&BTreeMap::new())).unwrap_err();
/// assert!(difference.to_string().starts_with("window_session/basic: output \"out\" (keyed), step 0"));
/// ```
pub fn compare(case: &Case, run: Result<&Outputs, &str>) -> Result<(), Difference> {
    let differ = |text| Err(Difference { case: case.name.clone(), text });
    let (expected, got) = match (&case.expected, run) {
        (Expected::Failure, Err(_)) => return Ok(()),
        (Expected::Failure, Ok(_)) => return differ("the job must fail, and did not".to_owned()),
        (Expected::Outputs(_), Err(message)) => return differ(format!("the job failed: {message}")),
        (Expected::Outputs(expected), Ok(got)) => (expected, got),
    };
    for (name, mode) in &case.compare {
        let got = got.get(name).map_or(&[][..], Vec::as_slice);
        if let Err(text) = compare_output(*mode, &expected[name], got) {
            return differ(format!("output {name:?} ({}), {text}", mode_name(*mode)));
        }
    }
    Ok(())
}

/// Compares one output; the error says in which step it differs and how.
///
/// ```
/// use thalweg_tests::conformance::{case::Mode, compare::compare_output};
///
/// let parse = |text| serde_json::from_str::<Vec<_>>(text).unwrap();
/// let ab = parse(r#"[{"ts":1,"key":"a","value":1},{"ts":1,"key":"b","value":1}]"#);
/// let ba = parse(r#"[{"ts":1,"key":"b","value":1},{"ts":1,"key":"a","value":1}]"#);
/// assert!(compare_output(Mode::Keyed, &ab, &ba).is_ok());
/// assert!(compare_output(Mode::Ordered, &ab, &ba).is_err());
/// ```
pub fn compare_output(mode: Mode, expected: &[Output], got: &[Output]) -> Result<(), String> {
    let (mut expected, mut got) = (steps(expected), steps(got));
    for index in 0.. {
        let (expected, got) = match (expected.next(), got.next()) {
            (None, None) => break,
            // A side that has run out has already differed in a watermark: the last step of each has none.
            (expected, got) => (expected.unwrap_or_default(), got.unwrap_or_default()),
        };
        let difference = compare_records(mode, &expected.records, &got.records).or_else(|| {
            (expected.watermark != got.watermark).then(|| {
                format!("the step ends with {}, not {}", end(got.watermark), end(expected.watermark))
            })
        });
        if let Some(difference) = difference {
            let mut text = format!("step {index} (to {}): {difference}", end(expected.watermark));
            list(&mut text, "expected", &expected);
            list(&mut text, "got", &got);
            return Err(text);
        }
    }
    Ok(())
}

/// The records up to a watermark, or up to the end of what was seen.
#[derive(Default)]
struct Step<'a> {
    records: Vec<&'a Stamped>,
    watermark: Option<i64>,
}

fn steps(outputs: &[Output]) -> impl Iterator<Item = Step<'_>> {
    let mut rest = Some(outputs);
    std::iter::from_fn(move || {
        let mut step = Step::default();
        for (index, output) in rest?.iter().enumerate() {
            match output {
                Output::Record(record) => step.records.push(record),
                Output::Watermark(watermark) => {
                    step.watermark = Some(*watermark);
                    rest = rest.map(|outputs| &outputs[index + 1..]);
                    return Some(step);
                }
            }
        }
        rest = None;
        Some(step)
    })
}

fn compare_records(mode: Mode, expected: &[&Stamped], got: &[&Stamped]) -> Option<String> {
    match mode {
        Mode::Ordered => first_difference(expected, got)
            .map(|(index, expected, got)| format!("record {index} is {}, not {}", show(got), show(expected))),
        Mode::Keyed => {
            let (expected, got) = (by_key(expected), by_key(got));
            expected.keys().chain(got.keys()).find_map(|key| {
                let of = |records: &BTreeMap<_, Vec<_>>| records.get(key).cloned().unwrap_or_default();
                first_difference(&of(&expected), &of(&got)).map(|(index, expected, got)| {
                    format!("record {index} of key {key} is {}, not {}", show(got), show(expected))
                })
            })
        }
        Mode::Multiset => {
            let sort = |records: &[&Stamped]| {
                let mut records: Vec<Stamped> = records.iter().map(|record| (*record).clone()).collect();
                records.sort();
                records
            };
            let (expected, got) = (sort(expected), sort(got));
            let (expected, got): (Vec<_>, Vec<_>) = (expected.iter().collect(), got.iter().collect());
            first_difference(&expected, &got).map(|(_, expected, got)| match (expected, got) {
                // Both are sorted, so that the lesser one has no partner.
                (Some(expected), got) if got.is_none_or(|got| expected < got) => {
                    format!("{expected} is missing")
                }
                (_, got) => format!("{} is too much", show(got)),
            })
        }
    }
}

fn first_difference<'a>(
    expected: &[&'a Stamped],
    got: &[&'a Stamped],
) -> Option<(usize, Option<&'a Stamped>, Option<&'a Stamped>)> {
    (0..expected.len().max(got.len()))
        .map(|index| (index, expected.get(index).copied(), got.get(index).copied()))
        .find(|(_, expected, got)| expected != got)
}

fn by_key<'a>(records: &[&'a Stamped]) -> BTreeMap<&'a Value, Vec<&'a Stamped>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        by_key.entry(&record.rec.key).or_default().push(*record);
    }
    by_key
}

fn show(record: Option<&Stamped>) -> String {
    record.map_or("nothing".to_owned(), Stamped::to_string)
}

fn end(watermark: Option<i64>) -> String {
    match watermark {
        Some(i64::MAX) => "the final watermark".to_owned(),
        Some(watermark) => format!("watermark {watermark}"),
        None => "the end of the run".to_owned(),
    }
}

fn list(text: &mut String, title: &str, step: &Step<'_>) {
    let _ = write!(text, "\n  {title}:"); // Writing to a string cannot fail.
    for record in &step.records {
        let _ = write!(text, "\n    {record}");
    }
    let _ = write!(text, "\n    {}", end(step.watermark));
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Ordered => "ordered",
        Mode::Keyed => "keyed",
        Mode::Multiset => "multiset",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::value::Rec;

    /// `a1 b2 |5 c3`: records of a key and a value, and watermarks.
    fn parse(text: &str) -> Vec<Output> {
        text.split_whitespace()
            .map(|word| match word.split_at(1) {
                ("|", watermark) => Output::Watermark(watermark.parse().unwrap()),
                (key, value) => {
                    Output::Record(Stamped { ts: Some(0), rec: Rec::new(key, value.parse::<i64>().unwrap()) })
                }
            })
            .collect()
    }

    /// The first line of the difference, without the mode's own words; empty if there is none.
    #[track_caller]
    fn check(mode: Mode, expected: &str, got: &str, difference: &str) {
        let text = compare_output(mode, &parse(expected), &parse(got)).err().unwrap_or_default();
        let first = text.lines().next().unwrap_or_default().replace(r#""ts":0,"#, "");
        assert_eq!(first, difference);
    }

    #[test]
    fn the_modes_forgive_what_they_should() {
        use Mode::*;
        for mode in [Ordered, Keyed, Multiset] {
            check(mode, "", "", "");
            check(mode, "a1 a1 b2 |5 c3 |6", "a1 a1 b2 |5 c3 |6", "");
        }
        check(Keyed, "a1 b2 a3", "b2 a1 a3", "");
        check(Multiset, "a1 b2 a3", "a3 b2 a1", "");
        check(
            Ordered,
            "a1 b2 |5",
            "b2 a1 |5",
            r#"step 0 (to watermark 5): record 0 is {"key":"b","value":2}, not {"key":"a","value":1}"#,
        );
        check(
            Keyed,
            "|5 a1 a3",
            "|5 a3 a1",
            r#"step 1 (to the end of the run): record 0 of key "a" is {"key":"a","value":3}, not {"key":"a","value":1}"#,
        );
    }

    #[test]
    fn records_do_not_cross_watermarks() {
        for mode in [Mode::Ordered, Mode::Keyed, Mode::Multiset] {
            assert!(compare_output(mode, &parse("a1 |5 |6"), &parse("|5 a1 |6")).is_err());
        }
    }

    #[test]
    fn missing_and_surplus_are_told_apart() {
        use Mode::*;
        let step = "step 0 (to the end of the run): ";
        let (a, b) = (r#"{"key":"a","value":1}"#, r#"{"key":"b","value":1}"#);
        check(Multiset, "a1 b1", "b1", &format!("{step}{a} is missing"));
        check(Multiset, "a1 b1", "a1", &format!("{step}{b} is missing"));
        check(Multiset, "b1", "a1 b1", &format!("{step}{a} is too much"));
        check(Multiset, "a1", "a1 a1", &format!("{step}{a} is too much"));
        check(Keyed, "a1", "a1 b1", &format!(r#"{step}record 0 of key "b" is {b}, not nothing"#));
        check(Ordered, "a1 b1", "a1", &format!("{step}record 1 is nothing, not {b}"));
    }

    #[test]
    fn watermarks_must_be_the_same() {
        let check = |expected, got, difference| check(Mode::Ordered, expected, got, difference);
        check("|5", "|6", "step 0 (to watermark 5): the step ends with watermark 6, not watermark 5");
        check("|5", "", "step 0 (to watermark 5): the step ends with the end of the run, not watermark 5");
        let max = format!("|{}", i64::MAX);
        check(
            "",
            &max,
            "step 0 (to the end of the run): the step ends with the final watermark, not the end of the run",
        );
    }

    #[test]
    fn all_fields_count() {
        let record = |text: &str| vec![serde_json::from_str::<Output>(text).unwrap()];
        let base = record(r#"{"ts":1,"key":"a","value":1}"#);
        for other in [
            r#"{"ts":null,"key":"a","value":1}"#,
            r#"{"ts":1,"key":1,"value":1}"#,
            r#"{"ts":1,"key":"a","value":1.0}"#,
            r#"{"ts":1,"key":"a","value":1,"aux":0}"#,
        ] {
            for mode in [Mode::Ordered, Mode::Keyed, Mode::Multiset] {
                assert!(compare_output(mode, &base, &record(other)).is_err(), "{other}");
            }
        }
    }
}
