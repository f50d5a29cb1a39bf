//! The conformance corpus, case by case: on the real runtime, and in the simulator with several seeds.
//!
//! `THALWEG_CASE=<text>` runs only the cases whose name contains the text.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use thalweg_tests::conformance::case::{self, Case, Expected};
use thalweg_tests::conformance::compare::{Outputs, compare};
use thalweg_tests::conformance::job::Op;
use thalweg_tests::conformance::script::Script;
use thalweg_tests::conformance::support::{COMPLETE, unsupported};
use thalweg_tests::runner;

/// Seeds that every case is simulated with.
const SEEDS: u64 = 8;

/// Goal: Flink's answers. Method: every case that can be run gives its expected outputs. What is not run is listed by name
/// and reason, on stderr, as is how many cases of each category were.
#[test]
fn every_case_gives_what_flink_gave() {
    let Some(cases) = case::load() else { return };
    let only = std::env::var("THALWEG_CASE").unwrap_or_default();
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let mut skipped = String::new();
    let mut failed: Vec<(&str, String)> = Vec::new();
    for case in cases.iter().filter(|case| case.name.contains(&only)) {
        let [run, all] = counts.entry(&case.category).or_default();
        *all += 1;
        if let Some(reason) = unsupported(case) {
            skipped.push_str(&format!("  {}: {reason}\n", case.name));
            continue;
        }
        *run += 1;
        if let Err(difference) = check(case) {
            failed.push((&case.category, difference));
        }
    }
    let mut report = format!("not run:\n{skipped}");
    for (category, [run, all]) in counts {
        let failed = failed.iter().filter(|(of, _)| *of == category).count();
        report.push_str(&format!("{category:24} {:3} of {all:3} pass, {failed} fail\n", run - failed));
    }
    let _ = std::io::stderr().write_all(report.as_bytes()); // Not by `eprint!`, which a test that passes swallows.
    let failures: Vec<String> = failed.into_iter().map(|(_, difference)| difference).collect();
    assert!(failures.is_empty(), "{} cases fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Goal: what the corpus does not ask. Method: cases of the same form, whose outputs follow from Flink's sources and issues;
/// each was wrong once.
#[test]
fn our_own_cases_give_what_flink_would() {
    let cases =
        case::read_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/conformance")).unwrap();
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Simulates the case with each seed, and runs it on the runtime unless it needs a clock.
fn check(case: &Case) -> Result<(), String> {
    let check = |how: &str, outputs: Result<Outputs, String>| {
        let outputs = outputs.as_ref().map_err(String::as_str);
        compare(case, outputs).map_err(|difference| format!("{how}: {difference}"))
    };
    (0..SEEDS)
        .try_for_each(|seed| check(&format!("simulated with seed {seed}"), runner::simulate(case, seed)))?;
    if runner::needs_clock(case) { Ok(()) } else { check("on the runtime", runner::execute(case)) }
}

/// Goal: the model knows all of the corpus. Method: every case parses (or `load` panics), agrees with itself, and
/// disagrees with a run that loses everything, or the last element.
#[test]
fn every_case_is_understood() {
    let Some(cases) = case::load() else { return };
    for case in &cases {
        assert_eq!(case.steps().count(), case.interleaving.len());
        let Expected::Outputs(expected) = &case.expected else {
            assert!(compare(case, Err("as it must")).is_ok());
            assert!(compare(case, Ok(&BTreeMap::new())).is_err());
            continue;
        };
        compare(case, Ok(expected)).unwrap_or_else(|difference| panic!("{difference}"));
        assert!(compare(case, Err("it must not")).is_err());
        for name in expected.keys().filter(|name| !expected[*name].is_empty()) {
            let mut shorter = expected.clone();
            shorter.get_mut(name).expect("it is one of its keys").pop();
            assert!(compare(case, Ok(&shorter)).is_err(), "{} without the last of {name}", case.name);
        }
    }
}

/// Goal: the scripts that records carry are understood before a job runs them.
#[test]
fn every_script_is_understood() {
    let Some(cases) = case::load() else { return };
    let scripted = |case: &&Case| {
        let is_script =
            |op: &Op| matches!(op, Op::Script { .. } | Op::ScriptCo { .. } | Op::ScriptBroadcast { .. });
        case.job.nodes.iter().any(|node| is_script(&node.op))
    };
    for case in cases.iter().filter(scripted) {
        for element in case.inputs.values().flatten() {
            if let case::Element::Record(record) = element {
                let script = record.rec.value.as_str().parse::<Script>();
                assert!(script.is_ok(), "{}: {script:?}", case.name);
            }
        }
    }
}

/// Goal: what is left out is left out for a reason, and shows. Prints, for each category, how many cases are run.
#[test]
fn what_is_not_run_has_a_reason() {
    let Some(cases) = case::load() else { return };
    let mut table: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for case in &cases {
        let reason = unsupported(case);
        *table.entry(&case.category).or_default().entry(reason.unwrap_or("run")).or_default() += 1;
        let complete = COMPLETE.contains(&case.category.as_str());
        let allowed = ["evictor", "count window", "quirk of Flink's"];
        assert!(
            !complete || reason.is_none_or(|reason| allowed.contains(&reason)),
            "{}: {reason:?}",
            case.name
        );
    }
    for (category, counts) in table {
        println!("{category:24} {counts:?}");
    }
}
