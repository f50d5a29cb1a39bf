//! Sources that a test feeds by hand.
//!
//! Every element has a number in the [`Interleaving`] of its script, and no reader emits an element before its number is due.
//! Together with a job that runs in lockstep this gives one global order of all inputs, each element run through the whole
//! job before the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::env::Env;
use crate::api::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::error::{Error, Result};
use crate::operator::output::Output;
use crate::runtime::bell::Bell;
use crate::runtime::job;
use crate::runtime::result::JobResult;
use crate::time::Timestamp;

/// A source that emits what its [`Script`] is told to, one element at a time, and the script.
///
/// The job ends when the script says so. The first subtask reads it; others of the same source end at once.
///
/// ```
/// use thalweg::testing::{Event, Recorder, Simulator, script};
///
/// let env = thalweg::Env::new().parallelism(1);
/// let (input, source) = script::<u64>();
/// let seen = Recorder::new();
/// env.source("script", source).map(|n| n * 2).sink("recorder", seen.clone());
/// let mut job = Simulator::new(1).start(&env)?;
///
/// input.record(21, 5);
/// job.run_until_quiet()?;
/// assert_eq!(seen.take(), [Event::Record(42, Some(5))]);
///
/// input.watermark(9);
/// input.end();
/// job.run_until_quiet()?;
/// assert_eq!(seen.take(), [Event::Watermark(9), Event::Watermark(thalweg::MAX_WATERMARK)]);
/// assert!(job.is_finished());
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn script<T: Send + 'static>() -> (Script<T>, ScriptSource<T>) {
    Interleaving::new().script()
}

/// The common order of the elements of several scripts.
///
/// ```
/// use thalweg::testing::{Interleaving, Recorder};
///
/// let env = thalweg::Env::new();
/// let order = Interleaving::new();
/// let (a, left) = order.script();
/// let (b, right) = order.script();
/// let seen = Recorder::new();
/// env.source("a", left).union(env.source("b", right)).owned().sink("recorder", seen.clone());
/// for n in 0..3 {
///     a.record('a', n);
///     b.record('b', n);
/// }
/// a.end();
/// b.end();
/// order.execute(&env.parallelism(1))?; // On the real runtime, in lockstep.
/// assert_eq!(seen.take_records(), ['a', 'b', 'a', 'b', 'a', 'b']);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Interleaving {
    turns: Arc<Mutex<Turns>>,
}

#[derive(Debug, Default)]
struct Turns {
    /// The number of the next element that is pushed.
    pushed: u64,
    /// The number of the next element that is emitted.
    due: u64,
    /// Of the cores that wait for their turn.
    bells: Vec<Bell>,
}

impl Interleaving {
    /// An order without scripts.
    ///
    /// ```
    /// use thalweg::testing::{Interleaving, Recorder};
    ///
    /// let order = Interleaving::new();
    /// let (input, source) = order.script();
    /// let env = thalweg::Env::new().parallelism(1);
    /// let seen = Recorder::new();
    /// env.source("script", source).sink("seen", seen.clone());
    /// input.record(1, 0);
    /// input.end();
    /// order.execute(&env)?;
    /// assert_eq!(seen.take_records(), [1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// One more script whose elements are part of this order: that in which they are pushed. Their records may be of any type.
    ///
    /// ```
    /// use thalweg::testing::{Interleaving, Recorder, Simulator};
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let order = Interleaving::new();
    /// let ((orders, left), (payments, right)) = (order.script::<u64>(), order.script::<String>());
    /// let seen = Recorder::new();
    /// let both = env.source("orders", left).connect(env.source("payments", right));
    /// both.co_map(|n| n.to_string(), |text| text.to_string()).sink("seen", seen.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// payments.record("cash".into(), 0);
    /// job.run_until_quiet()?;
    /// orders.record(7, 0);
    /// job.run_until_quiet()?;
    /// assert_eq!(seen.take_records(), ["cash", "7"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn script<T: Send + 'static>(&self) -> (Script<T>, ScriptSource<T>) {
        let queue = Arc::new(Mutex::new(VecDeque::new()));
        let script = Script { queue: queue.clone(), order: self.clone() };
        (script, ScriptSource { queue, order: self.clone() })
    }

    /// Runs the job on the real runtime so that each element has had all its effects before the next is emitted.
    ///
    /// Errors: [`Error::Plan`] if the job needs more than one core, as there is no common order then; and those of
    /// [`Env::execute`].
    ///
    /// ```
    /// use thalweg::testing::{Interleaving, Recorder};
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(1);
    /// let order = Interleaving::new();
    /// let ((a, left), (b, right)) = (order.script::<u64>(), order.script::<u64>());
    /// let sums = Recorder::new();
    /// env.source("a", left).union(env.source("b", right)).owned().key_by(|_| ()).sum(|n| n).sink("sums", sums.clone());
    /// a.record(1, 0);
    /// b.record(10, 0);
    /// a.record(100, 0);
    /// (a.end(), b.end());
    /// assert!(matches!(order.execute(&env.clone().parallelism(2)), Err(Error::Plan(_))));
    /// order.execute(&env.parallelism(1))?;
    /// assert_eq!(sums.take_records(), [1, 11, 111]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn execute(&self, env: &Env) -> Result<JobResult> {
        let (graph, mut config) = env.build()?;
        if graph.cores() != 1 {
            let cores = graph.cores();
            return Err(Error::Plan(format!("a job in lockstep runs on one core, this one needs {cores}")));
        }
        config.lockstep = true;
        job::start(Arc::new(graph), Arc::new(config))?.wait()
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a source is told to emit.
#[derive(Debug)]
enum Element<T> {
    Record(T, Timestamp),
    Watermark(Timestamp),
    Idle,
    End,
    Cancel,
}

type Queue<T> = Arc<Mutex<VecDeque<(u64, Element<T>)>>>;

/// Tells a [`ScriptSource`] what to emit, from any thread, before the job runs or while it does. Made by [`script`] or
/// [`Interleaving::script`]; clones push to the same source.
#[derive(Debug)]
pub struct Script<T> {
    queue: Queue<T>,
    order: Interleaving,
}

impl<T> Script<T> {
    /// A record with its timestamp, in ms.
    ///
    /// ```
    /// use thalweg::testing::{Event, Recorder, Simulator, script};
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (input, source) = script();
    /// let seen = Recorder::new();
    /// env.source("script", source).sink("seen", seen.clone());
    /// (input.record('a', 3), input.record('b', 1), input.end());
    /// Simulator::new(0).run(&env)?;
    /// assert_eq!(seen.take()[..2], [Event::Record('a', Some(3)), Event::Record('b', Some(1))]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn record(&self, record: T, timestamp: Timestamp) {
        self.push(Element::Record(record, timestamp));
    }

    /// A record that has no timestamp.
    ///
    /// ```
    /// use thalweg::testing::{Event, Recorder, Simulator, script};
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (input, source) = script();
    /// let seen = Recorder::new();
    /// env.source("script", source).sink("seen", seen.clone());
    /// (input.record_without_timestamp('a'), input.end());
    /// Simulator::new(0).run(&env)?;
    /// assert_eq!(seen.take()[0], Event::Record('a', None));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn record_without_timestamp(&self, record: T) {
        self.push(Element::Record(record, crate::time::NO_TIMESTAMP));
    }

    /// A watermark, in ms. They must rise, as those of [`SourceOutput::watermark`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Tumbling};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let sums = Recorder::new();
    /// let windows = env.source("script", source).window_all(Tumbling::of(Duration::from_millis(10)));
    /// windows.sum(|n| n).sink("sums", sums.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// (input.record(1, 3), input.record(2, 4), input.watermark(8));
    /// job.run_until_quiet()?;
    /// assert!(sums.take_records().is_empty());
    /// input.watermark(9);
    /// job.run_until_quiet()?;
    /// assert_eq!(sums.take_records(), [3]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn watermark(&self, watermark: Timestamp) {
        self.push(Element::Watermark(watermark));
    }

    /// The source is idle until its next record or watermark: others do not wait for its watermark.
    ///
    /// ```
    /// use thalweg::testing::{Event, Interleaving, Recorder, Simulator};
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let order = Interleaving::new();
    /// let ((a, left), (b, right)) = (order.script::<u64>(), order.script::<u64>());
    /// let seen = Recorder::new();
    /// env.source("a", left).union(env.source("b", right)).owned().sink("seen", seen.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// a.watermark(50);
    /// job.run_until_quiet()?;
    /// assert_eq!(seen.take(), []);
    /// b.idle();
    /// job.run_until_quiet()?;
    /// assert_eq!(seen.take(), [Event::Watermark(50)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn idle(&self) {
        self.push(Element::Idle);
    }

    /// The input ends. What is pushed after it is never emitted.
    ///
    /// ```
    /// use thalweg::testing::{Recorder, Simulator, script};
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (input, source) = script();
    /// let seen = Recorder::new();
    /// env.source("script", source).sink("seen", seen.clone());
    /// (input.record('a', 0), input.end(), input.record('b', 0));
    /// Simulator::new(0).run(&env)?;
    /// assert_eq!(seen.take_records(), ['a']);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn end(&self) {
        self.push(Element::End);
    }

    /// The job is cancelled, as is fit for an input that never ends: its run fails with [`Error::Cancelled`].
    ///
    /// ```
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script();
    /// let seen = Recorder::new();
    /// env.source("script", source).sink("seen", seen.clone());
    /// (input.record('a', 0), input.cancel_job());
    /// assert!(matches!(Simulator::new(0).run(&env), Err(Error::Cancelled)));
    /// assert_eq!(seen.take_records(), ['a']);
    /// ```
    pub fn cancel_job(&self) {
        self.push(Element::Cancel);
    }

    fn push(&self, element: Element<T>) {
        let mut turns = self.order.turns();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back((turns.pushed, element));
        turns.pushed += 1;
        turns.bells.iter().for_each(Bell::ring);
    }
}

impl<T> Clone for Script<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), order: self.order.clone() }
    }
}

/// The source of a [`Script`]: made by [`script`] or [`Interleaving::script`], and given to [`Env::source`]. It runs on the
/// simulator and on the real runtime.
#[derive(Debug)]
pub struct ScriptSource<T> {
    queue: Queue<T>,
    order: Interleaving,
}

impl<T> Clone for ScriptSource<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), order: self.order.clone() }
    }
}

impl<T: Send + 'static> Source for ScriptSource<T> {
    type Item = T;
    type Reader = ScriptReader<T>;

    fn reader(&self, cx: &SourceContext) -> Result<ScriptReader<T>> {
        self.order.turns().bells.push(cx.bell.clone());
        Ok(ScriptReader { source: self.clone(), ended: cx.subtask() > 0 })
    }
}

/// Reads a [`ScriptSource`]: one element is one batch.
#[derive(Debug)]
pub struct ScriptReader<T> {
    source: ScriptSource<T>,
    ended: bool,
}

impl<T: Send + 'static> ScriptReader<T> {
    /// The next element, when its turn has come.
    fn next(&mut self) -> Option<Element<T>> {
        let mut turns = self.source.order.turns();
        let mut queue = self.source.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.front()?.0 != turns.due {
            return None;
        }
        turns.due += 1;
        turns.bells.iter().for_each(Bell::ring); // The next element may be another core's.
        queue.pop_front().map(|(_, element)| element)
    }
}

impl<T: Send + 'static> SourceReader for ScriptReader<T> {
    type Item = T;

    fn poll<N: Output<T>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        if self.ended {
            return Ok(SourceStatus::End);
        }
        // One element is one batch: what is done once per batch is done for each.
        match self.next() {
            None => return Ok(SourceStatus::Waiting { until: None }),
            Some(Element::Record(record, timestamp)) => out.collect_at(&record, timestamp),
            Some(Element::Watermark(watermark)) => out.watermark(watermark),
            Some(Element::Idle) => out.set_idle(true),
            Some(Element::Cancel) => return Err(Error::Cancelled),
            Some(Element::End) => {
                self.ended = true;
                return Ok(SourceStatus::End);
            }
        }
        Ok(SourceStatus::More)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Event, Recorder};

    #[test]
    fn lockstep_is_for_one_core() {
        let env = Env::new().parallelism(2);
        let order = Interleaving::new();
        env.source("script", order.script::<u64>().1).blackhole();
        assert!(matches!(order.execute(&env), Err(Error::Plan(_))));
    }

    /// Goal: an element has all its effects before the next, also behind exchanges. Method: two inputs of very different
    /// depth, whose results must alternate; no input ends, so the job is cancelled.
    #[test]
    fn elements_pass_one_after_the_other() {
        let env = Env::new().parallelism(1);
        let order = Interleaving::new();
        let ((a, left), (b, right)) = (order.script::<u64>(), order.script::<u64>());
        let seen = Recorder::new();
        let deep = env.source("a", left).rebalance().owned().key_by(|n| n % 3).sum(|n| n).rebalance().owned();
        deep.union(env.source("b", right)).owned().sink("recorder", seen.clone());
        for n in 1..5 {
            a.record(3 * n, 0);
            b.record(100, 0);
        }
        b.cancel_job();
        assert!(matches!(order.execute(&env), Err(Error::Cancelled)));
        assert_eq!(seen.take_records(), [3, 100, 9, 100, 18, 100, 30, 100]);
    }
    /// Goal: event time of a source never goes back, for those that are chained to it either.
    #[test]
    fn a_watermark_that_does_not_rise_is_ignored() {
        let env = Env::new().parallelism(1);
        let (script, source) = script::<u64>();
        let seen = Recorder::new();
        env.source("script", source).sink("recorder", seen.clone());
        for watermark in [5, 3, 5] {
            script.watermark(watermark);
        }
        script.watermark(6);
        script.end();
        env.execute().unwrap();
        assert_eq!(seen.take(), [5, 6, crate::MAX_WATERMARK].map(Event::Watermark));
    }
}
