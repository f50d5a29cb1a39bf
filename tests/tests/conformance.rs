//! The conformance corpus, case by case.

use std::collections::BTreeMap;

use thalweg_tests::conformance::case::{self, Case, Expected};
use thalweg_tests::conformance::compare::compare;
use thalweg_tests::conformance::job::Op;
use thalweg_tests::conformance::script::Script;
use thalweg_tests::conformance::support::{COMPLETE, unsupported};

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
