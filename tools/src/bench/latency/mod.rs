//! `thalweg bench latency`: how long after it was due is an event's result there?
//!
//! ```text
//!   event n is due ──▶ source sends it ──▶ query ──▶ sink looks at the clock
//!   └──────────────────────── its latency ────────────────────────┘
//! ```
//!
//! - [`pace`](Schedule): when each event is due, at whatever time it is sent;
//! - `job`: the source, the queries, the sink;
//! - `percentiles`, `curve`: histograms, and how they look;
//! - `noise`: what the machine adds, without any engine.

mod curve;
mod job;
pub(super) mod noise;
mod pace;
pub(super) mod percentiles;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use thalweg::IdleStrategy;

use crate::nexmark::generate_in_memory;
use crate::report::say;
use job::{Outcome, Pace, Plan, Query};
use noise::Noise;
pub(super) use pace::parse_duration;
pub use pace::{Rate, Schedule};
use percentiles::{Percentiles, Times};

/// Measures latency by percentile, from the time when an event was due to its result at the sink.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg bench latency --query q1 --rate 100k --duration 10
  thalweg bench latency --query wc --rate 50% --parallelism 2 --plot wc.svg
  thalweg bench latency --query q5 --rate 1M --idle balanced --json

An event that the source sends late counts from when it was due (no coordinated omission). The first tenth of a run, at most
2 s, is not recorded. For q5 a result is due when the first event past its window is; its windows are of event time, which
runs at 10 000 events per second.")]
pub struct LatencyArgs {
    /// q1 (no exchange), wc (one exchange), or q5 (two exchanges and windows).
    #[arg(long)]
    query: Query,
    /// Events per second in all: 100000, 100k, 2.5M; or 50%, of the greatest rate, which is measured first.
    #[arg(long, value_name = "R")]
    rate: Rate,
    /// How long events come: seconds, or 500ms, 10s, 2m.
    #[arg(long, value_name = "S", default_value = "10", value_parser = pace::parse_duration)]
    duration: Duration,
    /// Subtasks, one for each core [default: all cores].
    #[arg(long, value_name = "P")]
    parallelism: Option<usize>,
    /// How a core waits for the next event.
    #[arg(long, value_name = "HOW", default_value = "spin", value_parser = ["spin", "balanced", "park"])]
    idle: String,
    /// Prints one line of JSON, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
    /// Draws the percentiles as a curve.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Events of the data set, over which a run goes again and again.
const DATA_EVENTS: u64 = 1_000_000;
/// How long the greatest rate is measured.
const GREATEST_RATE_TIME: Duration = Duration::from_secs(1);
/// How long the machine alone is watched.
const NOISE_TIME: Duration = Duration::from_secs(1);
/// A run that sends less than this share of its rate measures overload.
const KEPT_UP: f64 = 0.99;

/// Runs the command.
pub fn run(args: &LatencyArgs) -> Result<()> {
    let parallelism = match args.parallelism {
        Some(0) => bail!("--parallelism must be at least 1"),
        Some(p) => p,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let idle = match args.idle.as_str() {
        "park" => IdleStrategy::Park,
        "balanced" => IdleStrategy::Balanced,
        _ => IdleStrategy::Spin,
    };
    let noise = noise::measure(parallelism, NOISE_TIME);
    let data = Arc::new(generate_in_memory(DATA_EVENTS, parallelism));
    let pace = Pace::Unbounded(GREATEST_RATE_TIME);
    let mut plan = Plan { query: args.query, parallelism, idle, data, pace };
    let (rate, greatest_rate) = match args.rate {
        Rate::PerSecond(rate) => (rate, None),
        Rate::Percent(percent) => {
            let greatest = job::run(&plan).context("measuring the greatest rate failed")?.rate();
            ((greatest * percent / 100.0) as u64, Some(greatest))
        }
    };
    let schedule = Schedule::new(rate, args.duration);
    plan.pace = Pace::Scheduled(schedule);
    let outcome = job::run(&plan).with_context(|| format!("{} failed", args.query.name()))?;
    let report = Report::new(args, &plan, schedule, greatest_rate, &outcome, &noise)?;
    match args.json {
        true => say(&format!("{}\n", serde_json::to_string(&report)?))?,
        false => say(&report.table(&outcome, &noise))?,
    }
    if let Some(file) = &args.plot {
        let rate = format!("{} events/s", report.rate);
        let title =
            format!("Latency of {} at {rate}, parallelism {parallelism}, {}", report.query, report.idle);
        let curves =
            [("thalweg".into(), merged(&outcome).curve()), ("the machine alone".into(), noise.gaps.curve())];
        std::fs::write(file, curve::curves(&title, &curves)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn merged(outcome: &Outcome) -> Times {
    let mut all = Times::new();
    outcome.times.iter().for_each(|(_, times)| all.merge(times));
    all
}

/// A run as a line of JSON.
#[derive(Debug, Serialize)]
struct Report {
    engine: &'static str,
    version: &'static str,
    query: &'static str,
    parallelism: usize,
    idle: String,
    rate: u64,
    achieved_rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    greatest_rate: Option<f64>,
    duration_s: f64,
    #[serde(flatten)]
    latency: Percentiles,
    /// Whether the source fell behind: the latencies are then those of overload.
    fell_behind: bool,
    noise_p50_us: f64,
    noise_p99_us: f64,
    noise_p999_us: f64,
    noise_p9999_us: f64,
    noise_max_us: f64,
    /// Share of the time in which the cores did something else, in percent.
    noise_taken_away_percent: f64,
}

impl Report {
    fn new(
        args: &LatencyArgs,
        plan: &Plan,
        schedule: Schedule,
        greatest_rate: Option<f64>,
        outcome: &Outcome,
        noise: &Noise,
    ) -> Result<Self> {
        let latency = merged(outcome).percentiles();
        ensure!(
            latency.samples > 0,
            "no result came after the warm-up: with {} events at {} per second the run is too short, give it a longer --duration{}",
            schedule.events(),
            schedule.rate(),
            if plan.query == Query::Q5 {
                " or a higher --rate (a window ends every 20 000 events)"
            } else {
                ""
            }
        );
        let taken_away = noise.taken_away;
        let noise = noise.gaps.percentiles();
        // The last events of a run that keeps up are sent when they are due, just before the end.
        let achieved_rate = outcome.events as f64
            / (outcome.last_sent_ns as f64 / 1e9).max(schedule.duration().as_secs_f64());
        Ok(Self {
            engine: "thalweg",
            version: env!("CARGO_PKG_VERSION"),
            query: plan.query.name(),
            parallelism: plan.parallelism,
            idle: args.idle.clone(),
            rate: schedule.rate(),
            achieved_rate,
            greatest_rate,
            duration_s: schedule.duration().as_secs_f64(),
            latency,
            fell_behind: achieved_rate < schedule.rate() as f64 * KEPT_UP,
            noise_p50_us: noise.p50_us,
            noise_p99_us: noise.p99_us,
            noise_p999_us: noise.p999_us,
            noise_p9999_us: noise.p9999_us,
            noise_max_us: noise.max_us,
            noise_taken_away_percent: taken_away * 100.0,
        })
    }

    fn table(&self, outcome: &Outcome, noise: &Noise) -> String {
        let mut out = format!(
            "{} at {} events/s for {} s, parallelism {}, {}; latencies in µs\n\n",
            self.query, self.rate, self.duration_s, self.parallelism, self.idle
        );
        out.push_str(&line(
            ["", "p50", "p90", "p99", "p99.9", "p99.99", "max", "samples"].map(str::to_owned),
        ));
        if outcome.times.len() > 1 {
            for (subtask, times) in &outcome.times {
                out.push_str(&row(&format!("sink {subtask}"), &times.percentiles()));
            }
        }
        out.push_str(&row("all", &self.latency));
        out.push_str(&row("clock gaps", &noise.gaps.percentiles()));
        out.push_str("\nachieved ");
        out.push_str(&format!("{:.0} events/s", self.achieved_rate));
        if let Some(greatest) = self.greatest_rate {
            out.push_str(&format!(", of {greatest:.0} at most"));
        }
        let taken_away = self.noise_taken_away_percent;
        out.push_str(&format!("; before the run the cores were taken away {taken_away:.2} % of the time\n"));
        if self.fell_behind {
            out.push_str("The source fell behind its schedule: these are latencies of overload.\n");
        }
        out
    }
}

fn row(name: &str, p: &Percentiles) -> String {
    let us = [p.p50_us, p.p90_us, p.p99_us, p.p999_us, p.p9999_us, p.max_us].map(|us| match us {
        us if us < 100.0 => format!("{us:.2}"),
        us => format!("{us:.0}"),
    });
    let [p50, p90, p99, p999, p9999, max] = us;
    line([name.to_owned(), p50, p90, p99, p999, p9999, max, p.samples.to_string()])
}

fn line([name, cells @ ..]: [String; 8]) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:>10}")).collect();
    format!("{name:<14}{cells}\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: LatencyArgs,
    }

    fn parse(line: &str) -> Result<LatencyArgs, String> {
        let words = ["latency"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_its_arguments() {
        let args = parse("--query wc --rate 50% --duration 500ms --idle park --json").unwrap();
        assert_eq!((args.query, args.rate), (Query::Wc, Rate::Percent(50.0)));
        assert_eq!(
            (args.duration, args.idle.as_str(), args.json),
            (Duration::from_millis(500), "park", true)
        );
        let args = parse("--query q1 --rate 1").unwrap();
        assert_eq!((args.duration, args.idle.as_str()), (Duration::from_secs(10), "spin"));
        for (line, says) in [
            ("--query q7 --rate 1", "q1, q5, wc"),
            ("--query q1 --rate 0", "must be more than 0"),
            ("--query q1 --rate x", "is no number"),
            ("--query q1 --rate 1 --duration 0", "must be more than 0"),
            ("--query q1 --rate 1 --idle sleep", "spin, balanced, park"),
            ("--query q1", "--rate"),
            ("--rate 1", "--query"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
        let zero = parse("--query q1 --rate 1 --parallelism 0").unwrap();
        assert!(run(&zero).unwrap_err().to_string().contains("--parallelism"));
    }

    #[test]
    fn a_report_says_whether_the_source_kept_up() {
        let args = parse("--query q1 --rate 1000 --duration 1").unwrap();
        let data = Arc::new(generate_in_memory(10, 1));
        let schedule = Schedule::new(1_000, args.duration);
        let pace = Pace::Scheduled(schedule);
        let plan = Plan { query: args.query, parallelism: 1, idle: IdleStrategy::Spin, data, pace };
        let quiet = Noise { gaps: Times::new(), taken_away: 0.0 };
        let report = |events, last_sent_ns| {
            let mut times = Times::new();
            times.record(1_500);
            let outcome = Outcome { times: vec![(0, times)], events, last_sent_ns };
            let report = Report::new(&args, &plan, schedule, None, &outcome, &quiet).unwrap();
            (report.table(&outcome, &quiet), serde_json::to_value(&report).unwrap())
        };
        let (table, json) = report(1_000, 999_000_000);
        assert_eq!((&json["achieved_rate"], &json["fell_behind"]), (&1000.0.into(), &false.into()));
        assert_eq!((&json["p50_us"], &json["samples"]), (&json["max_us"], &1.into()));
        assert!(!table.contains("fell behind"));
        let (table, json) = report(1_000, 1_500_000_000);
        assert_eq!(json["fell_behind"], true);
        assert!(table.contains("fell behind"), "{table}");
        let none = Outcome::default();
        let error = Report::new(&args, &plan, schedule, None, &none, &quiet).unwrap_err();
        assert!(error.to_string().contains("--duration"));
    }
}
