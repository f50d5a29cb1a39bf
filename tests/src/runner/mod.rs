//! Runs a conformance case on thalweg: its job is written with the public API only.
//!
//! ```text
//!   case ── build ──▶ Env, a Script for each input, a Recorder for each output
//!                       ├─ simulate: push an element, run until quiet, push the next …; the clock is the case's
//!                       └─ execute:  push all, run in lockstep on the real runtime; for cases without a clock
//! ```
//!
//! Every stream of a job is cut by `share()` and turned back by `owned()`: a job that is data has streams of one type.
//!
//! - `build`: from the case's nodes to operators;
//! - `window`, `assigner`, `script`: windows, their assigners and triggers, scripted process functions;
//! - `fields`: keys and fields of the record of all cases.

mod assigner;
mod build;
mod fields;
mod script;
mod window;

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};

use thalweg::Error;
use thalweg::testing::{Event, Interleaving, Recorder, Script, Simulator};

use crate::conformance::case::{Case, Element, Output, Stamped};
use crate::conformance::compare::Outputs;
use crate::conformance::script::Script as Commands;
use crate::conformance::value::{Rec, Value};
use build::Job;

/// Runs the case in the simulator. The error is what the job failed with. An odd seed has all windows run by the general
/// operator, an even one those that can by a faster one; two of four seeds have the state in files of which hardly anything stays in
/// memory.
///
/// ```
/// use thalweg_tests::conformance::{case, compare::compare};
/// use thalweg_tests::runner;
///
/// let Some(cases) = case::load() else { return }; // Not on this machine.
/// let case = cases.iter().find(|case| case.category == "stateless").unwrap();
/// let outputs = runner::simulate(case, 1).unwrap();
/// compare(case, Ok(&outputs)).unwrap();
/// ```
pub fn simulate(case: &Case, seed: u64) -> Result<Outputs, String> {
    let job = build(case, &Interleaving::new(), !seed.is_multiple_of(2), seed / 2 % 2 == 1)?;
    let run = || {
        let mut running = Simulator::new(seed).start(&job.env)?;
        running.run_until_quiet()?;
        for (input, element) in case.steps() {
            match element {
                Element::ProcessingTime(time) => running.advance_clock_to(*time)?,
                element => {
                    push(&job.inputs[input], element);
                    running.run_until_quiet()?;
                }
            }
        }
        Ok(())
    };
    run().map_err(|error: Error| error.to_string())?;
    Ok(outputs(&job.outputs))
}

/// Whether the case moves the clock or follows it, so that it can only be simulated.
pub fn needs_clock(case: &Case) -> bool {
    let says_so = |script: &str| script.parse::<Commands>().is_ok_and(|script| script.uses_processing_time());
    case.job.nodes.iter().any(|node| node.op.uses_processing_time())
        || case.inputs.values().flatten().any(|element| match element {
            Element::ProcessingTime(_) => true,
            Element::Record(Stamped { rec, .. }) => matches!(&rec.value, Value::Str(text) if says_so(text)),
            _ => false,
        })
}

/// Runs the case on the real runtime, one element after the other. The error is what the job failed with.
///
/// Panics if the case [needs a clock](needs_clock).
pub fn execute(case: &Case) -> Result<Outputs, String> {
    let order = Interleaving::new();
    let job = build(case, &order, false, false)?;
    for (input, element) in case.steps() {
        push(&job.inputs[input], element);
    }
    let never_ends = |name: &&String| case.inputs[*name].last() != Some(&Element::End);
    let endless = job.inputs.keys().find(never_ends);
    if let Some(name) = endless {
        job.inputs[name].cancel_job(); // An input that has ended would never come to it.
    }
    match order.execute(&job.env) {
        Ok(_) => {}
        Err(Error::Cancelled) if endless.is_some() => {}
        Err(error) => return Err(error.to_string()),
    }
    Ok(outputs(&job.outputs))
}

/// The job, unless the API has no words for it: a negative time span panics, and is an error as it is in Flink.
fn build(case: &Case, order: &Interleaving, general: bool, files: bool) -> Result<Job, String> {
    panic::catch_unwind(AssertUnwindSafe(|| Job::build(case, order, general, files))).map_err(|payload| {
        let message = payload.downcast_ref::<String>().map_or("it panicked", String::as_str);
        format!("the job cannot be written: {message}")
    })
}

fn push(input: &Script<Rec>, element: &Element) {
    match element {
        Element::Record(Stamped { ts: Some(timestamp), rec }) => input.record(rec.clone(), *timestamp),
        Element::Record(Stamped { ts: None, rec }) => input.record_without_timestamp(rec.clone()),
        Element::Watermark(watermark) => input.watermark(*watermark),
        Element::Idle => input.idle(),
        Element::End => input.end(),
        Element::ProcessingTime(_) => panic!("the clock is not part of an input"),
    }
}

fn outputs(recorders: &BTreeMap<String, Recorder<Rec>>) -> Outputs {
    let output = |event| match event {
        Event::Record(rec, ts) => Output::Record(Stamped { ts, rec }),
        Event::Watermark(watermark) => Output::Watermark(watermark),
    };
    let take = |(name, recorder): (&String, &Recorder<Rec>)| {
        (name.clone(), recorder.take().into_iter().map(output).collect())
    };
    recorders.iter().map(take).collect()
}
