//! Which cases are not run yet, each with the reason.
//!
//! The categories of [`COMPLETE`] are run whole, apart from what every category leaves out: evictors and count
//! windows. Of the others a case is run if it needs event time only. A reason disappears with the feature.

use super::case::{Case, Element};
use super::job::Op;
use super::script::Script;
use super::value::Value;
use super::window::{Assigner, TimeDomain, Windowing};

/// The categories that are run whole, apart from evictors and count windows.
pub const COMPLETE: [&str; 11] = [
    "stateless",
    "rolling",
    "window_tumbling",
    "window_sliding",
    "window_session",
    "window_lateness",
    "window_chain",
    "window_join",
    "timers_event_time",
    "watermarks",
    "end_of_input",
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
    let missing = ops().filter_map(windowing).find_map(missing_of_window);
    if missing.is_some() || COMPLETE.contains(&case.category.as_str()) {
        return missing;
    }
    ops().find_map(missing_of_op).or_else(|| {
        let scripted = ops().any(|op| matches!(op, Op::Script { .. } | Op::ScriptCo { .. }));
        (scripted && records_use_processing_time(case)).then_some("processing-time timer")
    })
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
    let of_script = |script: &Script| script.uses_processing_time().then_some("processing-time timer");
    match op {
        Op::IntervalJoin(_) => Some("interval join"),
        Op::ScriptBroadcast { .. } => Some("broadcast state"),
        Op::Cep(_) => Some("pattern matching"),
        Op::Script { ttl: Some(_), .. } => Some("state TTL"),
        Op::Script { on_timer, .. } | Op::ScriptCo { on_timer, .. } => of_script(on_timer),
        op => {
            let window = windowing(op)?;
            if window.assigner.time() == Some(TimeDomain::Processing) {
                return Some("processing-time window");
            }
            let trigger = window.trigger.as_ref()?;
            trigger.uses_processing_time().then_some("processing-time trigger")
        }
    }
}

/// Whether a record is a script that uses the clock. What is no script is found out when the job runs.
fn records_use_processing_time(case: &Case) -> bool {
    case.inputs.values().flatten().any(|element| match element {
        Element::Record(record) => match &record.rec.value {
            Value::Str(text) => text.parse::<Script>().is_ok_and(|script| script.uses_processing_time()),
            _ => false,
        },
        _ => false,
    })
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
        let timeout = window(
            r#""assigner":{"type":"global"},"trigger":{"type":"purging","inner":{"type":"processing_time"}}"#,
        );
        check("window_trigger", &tumbling, "x", None);
        check("window_trigger", &processing, "x", Some("processing-time window"));
        check("window_trigger", &timeout, "x", Some("processing-time trigger"));
        check("window_join", &processing, "x", None);
        check("window_join", &count, "x", Some("count window"));
        check("window_trigger", &evictor, "x", Some("evictor"));
        check("state", r#""op":"script""#, "et 5", None);
        check("state", r#""op":"script""#, "key; pt 5", Some("processing-time timer"));
        check("state", r#""op":"script","on_timer":"now""#, "et 5", Some("processing-time timer"));
        check("timers_event_time", r#""op":"script""#, "pt 5", None);
        let ttl = r#""op":"script","ttl":{"ms":1,"update":"create_write","visibility":"never_expired"}"#;
        check("state", ttl, "v.get", Some("state TTL"));
        check("cep", r#""op":"cep","pattern":[{"name":"x"}]"#, "a", Some("pattern matching"));
    }
}
