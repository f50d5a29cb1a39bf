//! The measured jobs: a source that keeps to a schedule, a query, a sink that looks at the clock.
//!
//! The time at which a record was due travels as its timestamp: for q1 and wc in ns after the start, as these queries do not look
//! at event time. q5 needs event time in ms: event n has n / 10 ms, which is the rate of NEXMark's own times (10 000 events per
//! second), so its windows hold what NEXMark means at any rate. A window's end is due when the first event past it is.

use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use thalweg::{
    Env, Error, IdleStrategy, Output, Result, Sink, SinkContext, SinkWriter, Source, SourceContext,
    SourceOutput, SourceReader, SourceStatus, Timestamp, monotonous,
};

use super::pace::Schedule;
use super::percentiles::Times;
use crate::nexmark::queries::{bid, bids, hot_items};
use crate::nexmark::{Cursor, DataSet, Event, Kind, Shard};

/// From the first poll of a source to the time when its first event is due: the other cores start meanwhile.
const LEAD: Duration = Duration::from_millis(5);
/// A run that is this much longer than its schedule is cut off: it measures overload.
const OVERTIME: f64 = 1.5;
/// Events in a ms of event time.
const EVENTS_PER_MS: u64 = 10;

/// A query whose latency can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// No exchange: a bid, its price in euro.
    Q1,
    /// Two exchanges and windows: the auctions with the most bids.
    Q5,
    /// One exchange: how many bids each bidder has made.
    Wc,
}

impl Query {
    pub(super) fn name(self) -> &'static str {
        match self {
            Query::Q1 => "q1",
            Query::Q5 => "q5",
            Query::Wc => "wc",
        }
    }
}

impl FromStr for Query {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        [Query::Q1, Query::Q5, Query::Wc]
            .into_iter()
            .find(|query| query.name() == name)
            .ok_or_else(|| format!("unknown query {name:?}; latency is measured of q1, q5, wc"))
    }
}

/// What to run.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) query: Query,
    pub(super) parallelism: usize,
    pub(super) idle: IdleStrategy,
    pub(super) data: Arc<DataSet>,
    pub(super) pace: Pace,
}

/// When events are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// When they are due.
    Scheduled(Schedule),
    /// As fast as the job takes them, for this long: to find the greatest rate.
    Unbounded(Duration),
}

/// What a run says.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// By sink subtask.
    pub(super) times: Vec<(usize, Times)>,
    /// Events that were sent.
    pub(super) events: u64,
    /// When the last one was sent, in ns after the start.
    pub(super) last_sent_ns: u64,
}

impl Outcome {
    /// Events sent for each second.
    pub(super) fn rate(&self) -> f64 {
        self.events as f64 / (self.last_sent_ns.max(1) as f64 / 1e9)
    }
}

/// What all subtasks of a run share. Touched at its start and at its end.
struct Run {
    pace: Pace,
    start: OnceLock<Instant>,
    outcome: Mutex<Outcome>,
}

impl Run {
    /// When event 0 is due. The first who asks decides.
    fn start(&self) -> Instant {
        *self.start.get_or_init(|| Instant::now() + LEAD)
    }

    fn note(&self, note: impl FnOnce(&mut Outcome)) {
        note(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Runs a job to its end.
pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    let run = Arc::new(Run { pace: plan.pace, start: OnceLock::new(), outcome: Mutex::default() });
    let env = Env::new().name(plan.query.name()).parallelism(plan.parallelism).idle_strategy(plan.idle);
    let in_event_time = plan.query == Query::Q5;
    let source = PacedBids { data: plan.data.clone(), run: run.clone(), in_event_time };
    let events = env.source("bids", source);
    let sink = LatencySink { run: run.clone(), in_event_time };
    match plan.query {
        Query::Q1 => {
            let euro = bids(events).map(|event| {
                let bid = bid(event);
                (bid.auction(), bid.bidder(), bid.price() * 908 / 1000, bid.date_time())
            });
            euro.sink("Latency", sink);
        }
        Query::Q5 => hot_items(events.watermarks(monotonous())).sink("Latency", sink),
        Query::Wc => bids(events).key_by(|event| bid(event).bidder()).count().sink("Latency", sink),
    };
    env.execute()?;
    let mut outcome = std::mem::take(&mut *run.outcome.lock().unwrap_or_else(PoisonError::into_inner));
    outcome.times.sort_by_key(|(subtask, _)| *subtask);
    Ok(outcome)
}

/// The bids of a data set over and over, each when it is due.
#[derive(Clone)]
struct PacedBids {
    data: Arc<DataSet>,
    run: Arc<Run>,
    in_event_time: bool,
}

impl Source for PacedBids {
    type Item = Event;
    type Reader = PacedReader;

    fn reader(&self, cx: &SourceContext) -> Result<PacedReader> {
        let shard = self.data.shards.get(cx.subtask()).filter(|shard| has_bid(shard));
        let shard = shard.cloned().ok_or_else(|| Error::Config {
            name: "parallelism",
            reason: format!("there are no bids for subtask {}", cx.subtask()),
        })?;
        Ok(PacedReader {
            cursor: Cursor::new(&shard, 1),
            shard,
            run: self.run.clone(),
            in_event_time: self.in_event_time,
            start: None,
            now_ns: 0,
            next: cx.subtask() as u64,
            step: cx.parallelism() as u64,
            sent: 0,
            last_sent_ns: 0,
        })
    }
}

fn has_bid(shard: &Shard) -> bool {
    let mut cursor = Cursor::new(shard, 1);
    std::iter::from_fn(|| cursor.next(|_, _| ()).map(Event::kind)).any(|kind| kind == Kind::Bid)
}

struct PacedReader {
    shard: Shard,
    cursor: Cursor,
    run: Arc<Run>,
    in_event_time: bool,
    start: Option<Instant>,
    now_ns: u64,
    /// The number of the next event among those of all subtasks.
    next: u64,
    step: u64,
    sent: u64,
    last_sent_ns: u64,
}

impl PacedReader {
    /// When event `next` is due, or `None` after the last.
    #[inline]
    fn due(&self) -> Option<u64> {
        match self.run.pace {
            Pace::Scheduled(schedule) => {
                let overtime = self.now_ns as f64 > schedule.duration().as_nanos() as f64 * OVERTIME;
                (self.next < schedule.events() && !overtime).then(|| schedule.due_ns(self.next))
            }
            Pace::Unbounded(duration) => {
                let goes_on = self.sent == 0 || u128::from(self.now_ns) < duration.as_nanos();
                goes_on.then_some(self.now_ns)
            }
        }
    }

    fn end(&mut self) -> SourceStatus {
        let (sent, last_sent_ns) = (self.sent, self.last_sent_ns);
        self.run.note(|outcome| {
            outcome.events += sent;
            outcome.last_sent_ns = outcome.last_sent_ns.max(last_sent_ns);
        });
        SourceStatus::End
    }
}

impl SourceReader for PacedReader {
    type Item = Event;

    fn poll<N: Output<Event>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        let start = *self.start.get_or_insert_with(|| self.run.start());
        let now = Instant::now();
        let now_ns = now.saturating_duration_since(start).as_nanos() as u64;
        // Before the start nothing is due, not even what is due at 0.
        let has_started = now >= start;
        self.now_ns = now_ns;
        let mut first = true;
        loop {
            if out.is_full() {
                return Ok(SourceStatus::More);
            }
            let Some(due) = self.due() else { return Ok(self.end()) };
            if due > now_ns || !has_started {
                // The engine's timers have a resolution of a ms: the last fraction before an event is polled away.
                let wait = (start + Duration::from_nanos(due)).saturating_duration_since(now);
                let until = out.now().saturating_add(wait.as_millis() as i64);
                return Ok(SourceStatus::Waiting { until: Some(until) });
            }
            let timestamp = match self.in_event_time {
                true => self.next / EVENTS_PER_MS,
                false => due,
            };
            let event = loop {
                match self.cursor.next(thalweg::prefetch) {
                    Some(event) if event.kind() == Kind::Bid => break event,
                    Some(_) => {}
                    None => self.cursor = Cursor::new(&self.shard, 1),
                }
            };
            out.collect_at(event, timestamp as Timestamp);
            self.sent += 1;
            self.next += self.step;
            if std::mem::take(&mut first) {
                self.last_sent_ns = now_ns;
            }
        }
    }
}

/// Looks at the clock for each record.
#[derive(Clone)]
struct LatencySink {
    run: Arc<Run>,
    in_event_time: bool,
}

impl<T: 'static> Sink<T> for LatencySink {
    type Writer = LatencyWriter;

    fn writer(&self, cx: &SinkContext) -> Result<LatencyWriter> {
        let schedule = match self.run.pace {
            Pace::Scheduled(schedule) => schedule,
            Pace::Unbounded(duration) => Schedule::new(1, duration), // Nobody asks for its latency.
        };
        Ok(LatencyWriter {
            run: self.run.clone(),
            in_event_time: self.in_event_time,
            subtask: cx.subtask(),
            start: None,
            schedule,
            warm_up_ns: schedule.warm_up_ns(),
            times: Times::new(),
        })
    }
}

struct LatencyWriter {
    run: Arc<Run>,
    in_event_time: bool,
    subtask: usize,
    start: Option<Instant>,
    schedule: Schedule,
    warm_up_ns: u64,
    times: Times,
}

impl LatencyWriter {
    /// When a row with this timestamp was due, in ns after the start. `None`: past the schedule's end, where windows end because
    /// the input does.
    #[inline]
    fn due_ns(&self, timestamp: Timestamp) -> Option<u64> {
        if !self.in_event_time {
            return Some(timestamp as u64);
        }
        // The timestamp is the window's last ms; the first event past it completes the window.
        let first_past = (timestamp as u64 + 1) * EVENTS_PER_MS;
        (first_past < self.schedule.events()).then(|| self.schedule.due_ns(first_past))
    }
}

impl<T: 'static> SinkWriter<T> for LatencyWriter {
    #[inline]
    fn write(&mut self, row: &T, timestamp: Timestamp) -> Result<()> {
        std::hint::black_box(row);
        let start = *self.start.get_or_insert_with(|| self.run.start());
        let now_ns = start.elapsed().as_nanos() as u64;
        if let Some(due_ns) = self.due_ns(timestamp).filter(|&due_ns| due_ns >= self.warm_up_ns) {
            self.times.record(now_ns.saturating_sub(due_ns));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let mut times = Times::new();
        std::mem::swap(&mut times, &mut self.times);
        let subtask = self.subtask;
        self.run.note(|outcome| outcome.times.push((subtask, times)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexmark::generate_in_memory;

    /// Goal: every scheduled event arrives and, past the warm-up, is counted, whatever the query and the idle strategy.
    #[test]
    fn counts_what_was_sent() {
        let data = Arc::new(generate_in_memory(1_000, 2));
        let schedule = Schedule::new(200_000, Duration::from_millis(20));
        for (query, idle) in [
            (Query::Q1, IdleStrategy::Spin),
            (Query::Wc, IdleStrategy::Park),
            (Query::Wc, IdleStrategy::Balanced),
        ] {
            // Overtime would cut a run short that a busy machine holds up, so only what was sent is compared.
            let plan =
                Plan { query, parallelism: 2, idle, data: data.clone(), pace: Pace::Scheduled(schedule) };
            let outcome = run(&plan).unwrap();
            assert_eq!(outcome.times.iter().map(|(subtask, _)| *subtask).collect::<Vec<_>>(), [0, 1]);
            let mut all = Times::new();
            outcome.times.iter().for_each(|(_, times)| all.merge(times));
            assert!(outcome.events <= schedule.events());
            if outcome.events == schedule.events() {
                assert_eq!(all.percentiles().samples, 3_600); // A tenth is warm-up.
            }
        }
    }

    #[test]
    fn an_unbounded_run_ends_and_windows_are_measured_from_their_ends() {
        let data = Arc::new(generate_in_memory(1_000, 1));
        let unbounded = Pace::Unbounded(Duration::from_millis(5));
        let plan =
            Plan { query: Query::Wc, parallelism: 1, idle: IdleStrategy::Balanced, data, pace: unbounded };
        assert!(run(&plan).unwrap().rate() > 0.0);

        let schedule = Schedule::new(100_000, Duration::from_secs(1));
        let writer = LatencyWriter {
            run: Arc::new(Run {
                pace: Pace::Scheduled(schedule),
                start: OnceLock::new(),
                outcome: Mutex::default(),
            }),
            in_event_time: true,
            subtask: 0,
            start: None,
            schedule,
            warm_up_ns: 0,
            times: Times::new(),
        };
        // The window up to 2 000 ms of event time ends with event 20 000, a fifth of a second after the start.
        assert_eq!(writer.due_ns(1_999), Some(200_000_000));
        assert_eq!(writer.due_ns(9_999), None); // Only the end of the input ends it.
    }

    #[test]
    fn knows_its_queries() {
        assert_eq!("wc".parse(), Ok(Query::Wc));
        assert!("q7".parse::<Query>().unwrap_err().contains("q1, q5, wc"));
    }
}
