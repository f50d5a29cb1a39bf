//! Which cases are not run yet, each with the reason: the name of the feature that is missing.
//!
//! The categories of [`COMPLETE`] are run whole, apart from what every category leaves out: evictors and count
//! windows. A reason disappears with the feature.

use super::case::Case;
use super::job::Op;
use super::window::{Assigner, Windowing};

/// The categories that are run whole, apart from evictors and count windows.
pub const COMPLETE: [&str; 14] = [
    "stateless",
    "rolling",
    "window_tumbling",
    "window_sliding",
    "window_session",
    "window_processing_time",
    "window_trigger",
    "window_lateness",
    "window_chain",
    "window_join",
    "timers_event_time",
    "watermarks",
    "end_of_input",
    "state_ttl",
];

/// Why the case is not run yet: the name of the first feature that is missing. `None` if it is to be run.
///
/// ```
/// use thalweg_tests::conformance::{case, support::unsupported};
///
/// let Some(cases) = case::load() else { return }; // Not on this machine.
/// let why = |name: &str| unsupported(cases.iter().find(|case| case.name == name).unwrap());
/// assert_eq!(why("window_lateness/evictor_lateness"), Some("evictor"));
/// assert_eq!(why("window_session/basic"), None);
/// ```
pub fn unsupported(case: &Case) -> Option<&'static str> {
    if case.quirk.is_some() {
        return Some("quirk of Flink's");
    }
    let ops = || case.job.nodes.iter().map(|node| &node.op);
    ops().filter_map(windowing).find_map(missing_of_window).or_else(|| ops().find_map(missing_of_op))
}

fn windowing(op: &Op) -> Option<&Windowing> {
    match op {
        Op::Window { window, .. } | Op::WindowJoin { window, .. } | Op::Cogroup { window, .. } => {
            Some(window)
        }
        _ => None,
    }
}

fn missing_of_window(window: &Windowing) -> Option<&'static str> {
    match window.assigner {
        Assigner::CountTumbling { .. } | Assigner::CountSliding { .. } => Some("count window"),
        _ if window.evictor.is_some() => Some("evictor"),
        _ => None,
    }
}

fn missing_of_op(op: &Op) -> Option<&'static str> {
    match op {
        Op::IntervalJoin(_) => Some("interval join"),
        Op::ScriptBroadcast { .. } => Some("broadcast state"),
        Op::Cep(_) => Some("pattern matching"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(category: &str, node: &str, value: &str, reason: Option<&str>) {
        let case: Case = format!(
            r#"{{"name":"c/n","category":"{category}","description":"d",
            "inputs":{{"in":[{{"ts":1,"key":"a","value":"{value}"}}]}},"interleaving":["in"],"job":{{"nodes":[
            {{"id":"s","op":"source","input":"in","key_type":"string","value_type":"string"}},
            {{"id":"n","from":"s",{node}}}],"outputs":{{"out":"n"}}}},
            "compare":{{"out":"keyed"}},"expected":{{"out":[]}}}}"#
        )
        .parse()
        .unwrap();
        assert_eq!(unsupported(&case), reason, "{category}: {node}");
    }

    #[test]
    fn reasons_are_by_feature() {
        let window =
            |fields: &str| format!(r#""op":"window","function":{{"type":"process","fn":"count"}},{fields}"#);
        let tumbling = window(r#""assigner":{"type":"tumbling","size":1}"#);
        let processing = window(r#""assigner":{"type":"tumbling","size":1,"time":"processing"}"#);
        let count = window(r#""assigner":{"type":"count_tumbling","size":1}"#);
        let evictor = window(r#""assigner":{"type":"global"},"evictor":{"type":"count","n":1}"#);
        check("window_trigger", &tumbling, "x", None);
        check("window_processing_time", &processing, "x", None);
        check("window_join", &processing, "x", None);
        check("window_join", &count, "x", Some("count window"));
        check("window_trigger", &evictor, "x", Some("evictor"));
        check("state", r#""op":"script""#, "key; pt 5", None);
        let ttl = r#""op":"script","ttl":{"ms":1,"update":"create_write","visibility":"never_expired"}"#;
        check("state_ttl", ttl, "v.get", None);
        check("cep", r#""op":"cep","pattern":[{"name":"x"}]"#, "a", Some("pattern matching"));
    }
}
