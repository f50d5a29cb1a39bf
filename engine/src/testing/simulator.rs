//! The second implementation of the runtime's seam: all cores on one thread, everything by chance from one seed.
//!
//! Time has two measures. A *tick* is one turn of the scheduler, in which one core takes one step; delays of links and naps of
//! cores are counted in ticks. The *clock* is what the job sees as processing time, in ms. It moves when nothing else can
//! happen, and by seeded jumps in between.
//!
//! A core is stepped while it works. Once idle it parks exactly as on the runtime: it is stepped again only when a message
//! arrives, its bell rings, or a timer of its own is due. A wake-up that someone forgets is thereby found, as a job that
//! comes to rest before its end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use thalweg_state::storage::Storage;

use super::crew::{Crew, Diligence};
use super::network::{Network, Weather};
use super::random::Random;
use crate::api::backend::{Backend, LsmBackend, LsmOptions};
use crate::api::config::Config;
use crate::api::env::Env;
use crate::data_plane::core::{Command, Core};
use crate::data_plane::subtask::Progress;
use crate::error::{Error, Result};
use crate::graph::execution::ExecutionGraph;
use crate::runtime::bell::Bell;
use crate::runtime::result::JobResult;
use crate::runtime::seam::{self, Clock, CoreParts};
use crate::time::Timestamp;

/// The environment variable that makes [`seeds`] run one seed only.
const SEED_VARIABLE: &str = "THALWEG_SEED";
/// Ticks of a run before it is given up.
const TICKS_MAX: u64 = 20_000_000;

/// Runs `test` with the seeds from 0 to `count - 1`. Of a panic it prints the seed and how to replay it, and passes it on.
///
/// With `THALWEG_SEED=<n>` in the environment it runs that seed alone.
///
/// ```
/// thalweg::testing::seeds(3, |seed| assert!(seed < 3));
/// ```
pub fn seeds(count: u64, test: impl Fn(u64)) {
    let only = std::env::var(SEED_VARIABLE).ok().and_then(|seed| seed.parse().ok());
    let range = only.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in range {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            let name = std::thread::current().name().unwrap_or("<test>").to_owned();
            eprintln!(
                "{name} failed with seed {seed}; to replay it: {SEED_VARIABLE}={seed} cargo test {name}"
            );
            resume_unwind(panic);
        }
    }
}

/// Runs jobs deterministically, on any number of simulated cores, on the calling thread.
///
/// The seed decides in which order the cores run, for how long one is left alone, how long messages take, when a link has
/// no room, when work in the background goes on, when the clock moves, and settings that must not change results: [`Env::buffer_bytes`] (1 to 32 KiB),
/// [`Env::credit_buffers`] (1 to 8), [`Env::batch_records`] (1 to 1024), [`Env::buffer_timeout`] (0 to 100 ms), whether
/// aggregates are pre-aggregated, and whether state is on the heap or in files, of which little stays in memory then
/// ([`Env::backend`]).
///
/// Sources and sinks must do their work in place: one that needs a thread of its own is refused
/// ([`crate::SourceContext::bell`]).
///
/// ```
/// use thalweg::{Env, testing::Simulator};
///
/// let env = Env::new().parallelism(5);
/// let sums = env.generate(1_000, |n| n).key_by(|n| n % 10).sum(|n| n).collect();
/// Simulator::new(42).run(&env)?;
/// assert_eq!(sums.take().len(), 1_000);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Simulator {
    seed: u64,
    clock: Timestamp,
    ticks_max: u64,
    varies_settings: bool,
}

impl Simulator {
    /// A simulator whose choices all follow from `seed`. See [`seeds`] for a test with many.
    ///
    /// ```
    /// use thalweg::{Env, testing::Simulator};
    ///
    /// /// In which order the records of two cores reach one.
    /// fn arrivals(seed: u64) -> thalweg::Result<Vec<u64>> {
    ///     let env = Env::new().parallelism(2);
    ///     let arrivals = env.generate(100, |n| n).global().owned().collect();
    ///     Simulator::new(seed).run(&env)?;
    ///     Ok(arrivals.take())
    /// }
    /// assert_eq!(arrivals(7)?, arrivals(7)?);
    /// assert!((0..20).any(|seed| arrivals(seed).unwrap() != arrivals(7).unwrap()));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn new(seed: u64) -> Self {
        Self { seed, clock: 0, ticks_max: TICKS_MAX, varies_settings: true }
    }

    /// What the clock shows at the start, in ms since the epoch. Default: 0.
    ///
    /// ```
    /// use thalweg::{Env, testing::Simulator};
    ///
    /// let env = Env::new().parallelism(1);
    /// env.generate(1, |n| n).blackhole();
    /// let job = Simulator::new(0).clock(1_700_000_000_000).start(&env)?;
    /// assert_eq!(job.clock(), 1_700_000_000_000);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn clock(mut self, now: Timestamp) -> Self {
        self.clock = now;
        self
    }

    /// After how many turns of the scheduler a run fails with [`Error::Simulation`]. Default: 20 million, some 10 s.
    ///
    /// ```
    /// use thalweg::{Env, Error, testing::Simulator};
    ///
    /// let env = Env::new().parallelism(2);
    /// env.generate(u64::MAX, |n| n).rebalance().blackhole();
    /// assert!(matches!(Simulator::new(5).ticks_max(1_000).run(&env), Err(Error::Simulation { seed: 5, .. })));
    /// ```
    pub fn ticks_max(mut self, ticks: u64) -> Self {
        self.ticks_max = ticks;
        self
    }

    /// Leaves the settings of the environment as they are. Default: those that must not change results vary from seed to seed.
    ///
    /// ```
    /// use thalweg::{Env, testing::Simulator};
    ///
    /// let env = Env::new().parallelism(1);
    /// env.generate(10_000, |n| n).rebalance().blackhole();
    /// let sent = |seed| Simulator::new(seed).keep_settings().run(&env).map(|result| result.buffers_sent);
    /// assert_eq!(sent(1)?, sent(2)?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn keep_settings(mut self) -> Self {
        self.varies_settings = false;
        self
    }

    /// Runs a job to its end. [`JobResult::elapsed`] is by the virtual clock.
    ///
    /// Errors: those of [`Env::execute`], and [`Error::Simulation`] when the job comes to rest before its end, with what each
    /// subtask waits for.
    ///
    /// ```
    /// use thalweg::testing::{Simulator, script};
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// env.source("orders", source).blackhole();
    /// input.record(1, 0); // And no end.
    /// let Err(Error::Simulation { message, .. }) = Simulator::new(0).run(&env) else { panic!("it cannot end") };
    /// assert!(message.ends_with("subtask 0 of Source: orders -> Blackhole waits for its source"));
    /// ```
    pub fn run(&self, env: &Env) -> Result<JobResult> {
        self.start(env)?.run_to_end()
    }

    /// Builds a job, for a test to drive: see [`RunningJob`]. Nothing has run yet.
    ///
    /// Errors: those of a job that cannot start.
    ///
    /// ```
    /// use thalweg::{Env, testing::Simulator};
    ///
    /// let env = Env::new().parallelism(1);
    /// let numbers = env.generate(10, |n| n).collect();
    /// let mut job = Simulator::new(0).start(&env)?;
    /// assert!(numbers.take().is_empty() && !job.is_finished());
    /// job.run_to_end()?;
    /// assert_eq!(numbers.take().len(), 10);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn start(&self, env: &Env) -> Result<RunningJob> {
        let (graph, mut config) = env.build()?;
        let mut random = Random::new(self.seed);
        let weather = Weather {
            delay_max: random.pick(&[0, 1, 4, 30]),
            refuse_one_in: random.pick(&[0, 0, 2, 20]),
            room: random.pick(&[1, 4, 64, 1024]),
        };
        let habits = Habits {
            nap_one_in: random.pick(&[0, 4, 30, 300]),
            nap_ticks_max: random.pick(&[3, 30, 300]),
            jump_one_in: random.pick(&[0, 10, 100, 1000]),
        };
        if self.varies_settings {
            vary(&mut config, &mut random);
        }
        // Of a seed's choices those for the background are apart: a job without such work runs as it did before there was any.
        let mut background = Random::new(!self.seed);
        if self.varies_settings && background.one_in(2) && matches!(config.backend, Backend::Heap) {
            config.backend = files_that_are_written_often(&mut background);
        }
        let diligence = Diligence {
            delay_max: background.pick(&[0, 3, 30, 300]),
            refuse_one_in: background.pick(&[0, 0, 2, 20]),
        };
        let crew = Crew::new(diligence, background);
        config.is_simulated = true;
        let (graph, config) = (Arc::new(graph), Arc::new(config));
        let network = Network::new(graph.cores(), weather, Random::new(random.next()));
        let clock = Rc::new(ManualClock(Cell::new(self.clock)));
        let mut cores = Vec::new();
        for core in 0..graph.cores() {
            let bell = Bell::default();
            let built = seam::build_core(CoreParts {
                core,
                graph: graph.clone(),
                config: config.clone(),
                links: network.links(core),
                bell: bell.clone(),
                helpers: Rc::new(crew.clone()),
                state: config.open_state(core, || Ok(Storage::memory()))?,
                now: clock.now(),
            })?;
            cores.push(SimulatedCore {
                core: built,
                bell,
                rest: Rest::Awake,
                naps_until: 0,
                idle_at: None,
                finished: false,
            });
        }
        Ok(RunningJob {
            graph,
            cores,
            crew,
            network,
            clock,
            random,
            habits,
            seed: self.seed,
            started: self.clock,
            ticks_max: self.ticks_max,
            failure: None,
        })
    }
}

/// Settings that must not change results.
/// State in files, of which little stays in memory.
fn files_that_are_written_often(random: &mut Random) -> Backend {
    let options = LsmOptions {
        memory_bytes: 4 << 20,
        table_share: random.pick(&[0.002, 0.005, 0.02]),
        block_bytes: 4096,
        runs_max: random.pick(&[1, 2, 4]),
        level_ratio: 2,
        ..LsmOptions::nvme()
    };
    Backend::Lsm(LsmBackend::new("").options(options))
}

fn vary(config: &mut Config, random: &mut Random) {
    config.credit_buffers = random.below(8) + 1;
    config.buffer_bytes = random.pick(&[1, 2, 4, 8, 32]) << 10;
    // As many bytes as before, in smaller buffers.
    config.overdraft_buffers_max = config.overdraft_buffers_max.saturating_mul(32);
    config.batch_records = random.pick(&[1, 2, 3, 7, 16, 100, 1024]);
    config.buffer_timeout = Duration::from_millis(random.pick(&[0, 1, 10, 100]));
    config.pre_aggregation &= random.one_in(2);
}

/// How the scheduler of one run behaves. One turn in so many; 0: never.
#[derive(Debug, Clone, Copy)]
struct Habits {
    /// A core is left alone after its step.
    nap_one_in: u64,
    nap_ticks_max: u64,
    /// The clock jumps.
    jump_one_in: u64,
}

/// The longest jump of the clock, in ms.
const JUMP_MS_MAX: u64 = 50;

/// Processing time that moves only when it is told to.
struct ManualClock(Cell<Timestamp>);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.get()
    }
}

/// How far a core has gone to sleep: the steps that a thread of the runtime takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Awake,
    /// It has announced that it will park, and looks at everything once more.
    Announced,
    Parked,
}

struct SimulatedCore {
    core: Core,
    bell: Bell,
    rest: Rest,
    naps_until: u64,
    /// What the clock showed when it last had nothing to do: no timer up to then is a reason to wake it.
    idle_at: Option<Timestamp>,
    finished: bool,
}

impl SimulatedCore {
    /// The tick from which the core may be stepped. `None`: nothing is in sight that would wake it.
    fn ready_at(&self, index: usize, network: &Network, now: Timestamp) -> Option<u64> {
        if self.finished {
            return None;
        }
        let is_due = |at: Timestamp| at <= now && self.idle_at.is_none_or(|idle| idle < now);
        let is_awake =
            self.rest != Rest::Parked || !self.bell.is_silent() || self.core.wakes_at().is_some_and(is_due);
        let awake_at = if is_awake { 0 } else { network.next_arrival(index)? };
        Some(awake_at.max(self.naps_until))
    }
}

/// What a turn of the scheduler came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Stepped,
    /// Nothing can happen until an input or the clock moves.
    Quiet,
    Finished,
}

/// A job in the simulator that a test drives: it runs until it is quiet, and its clock moves when the test says so.
///
/// ```
/// use std::time::Duration;
/// use thalweg::testing::{Event, Recorder, Simulator, script};
/// use thalweg::{Env, bounded};
///
/// let env = Env::new().parallelism(1).auto_watermark_interval(Duration::from_millis(200));
/// let (input, source) = script::<char>();
/// let seen = Recorder::new();
/// env.source("script", source).watermarks(bounded(Duration::ZERO)).sink("recorder", seen.clone());
/// let mut job = Simulator::new(0).start(&env)?;
///
/// input.record('a', 10);
/// job.run_until_quiet()?;
/// assert_eq!(seen.take(), [Event::Record('a', Some(10))]);
/// job.advance_clock_to(250)?; // A tick of the generator is due on the way.
/// assert_eq!(seen.take(), [Event::Watermark(9)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct RunningJob {
    graph: Arc<ExecutionGraph>,
    cores: Vec<SimulatedCore>,
    crew: Crew,
    network: Network,
    clock: Rc<ManualClock>,
    random: Random,
    habits: Habits,
    seed: u64,
    started: Timestamp,
    ticks_max: u64,
    failure: Option<Error>,
}

impl RunningJob {
    /// Runs until all that was pushed has had all its effects. The clock stands still.
    ///
    /// Errors: what made the job fail, now and at every later call.
    ///
    /// ```
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Error};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let quotients = Recorder::new();
    /// env.source("script", source).map(|n| 12 / n).sink("quotients", quotients.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// (input.record(3, 0), input.record(4, 0));
    /// job.run_until_quiet()?;
    /// assert_eq!(quotients.take_records(), [4, 3]);
    /// input.record(0, 0);
    /// assert!(matches!(job.run_until_quiet(), Err(Error::Panic { .. })));
    /// assert!(matches!(job.run_until_quiet(), Err(Error::Panic { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn run_until_quiet(&mut self) -> Result<()> {
        while self.turn()? == Turn::Stepped {}
        Ok(())
    }

    /// Moves the clock to `time`, in ms, and never back. What is due on the way happens in the order of its time, and sees
    /// the clock show just that time. A processing-time timer is due when the clock has *passed* it, 1 ms later.
    ///
    /// Errors: what made the job fail.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::testing::{Recorder, Simulator, script};
    /// use thalweg::{Env, Tumbling};
    ///
    /// let env = Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let sums = Recorder::new();
    /// let windows = env.source("script", source).window_all(Tumbling::of(Duration::from_secs(1)).processing_time());
    /// windows.sum(|n| n).sink("sums", sums.clone());
    /// let mut job = Simulator::new(0).start(&env)?;
    /// input.record(5, 0);
    /// job.advance_clock_to(999)?;
    /// assert!(sums.take_records().is_empty());
    /// job.advance_clock_to(1_000)?; // The window ends with 999.
    /// assert_eq!(sums.take_records(), [5]);
    /// job.advance_clock_to(10)?;
    /// assert_eq!(job.clock(), 1_000);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn advance_clock_to(&mut self, time: Timestamp) -> Result<()> {
        self.run_until_quiet()?;
        while let Some(due) = self.next_timer().filter(|&due| due <= time) {
            self.clock.0.set(due);
            self.run_until_quiet()?;
        }
        self.clock.0.set(time.max(self.clock.now()));
        self.run_until_quiet()
    }

    /// Runs to the end of the job. The clock moves by itself: in jumps, and to the next timer when nothing else can happen.
    ///
    /// Errors: as [`Simulator::run`].
    ///
    /// ```
    /// use thalweg::testing::{Simulator, script};
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// let collected = env.source("script", source).collect();
    /// let mut job = Simulator::new(0).start(&env)?;
    /// (input.record(1, 0), input.end());
    /// job.run_to_end()?;
    /// assert!(job.is_finished());
    /// assert_eq!(collected.take(), [1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn run_to_end(&mut self) -> Result<JobResult> {
        loop {
            if self.random.one_in(self.habits.jump_one_in) {
                let jump = 1 + self.random.below(JUMP_MS_MAX) as Timestamp;
                self.clock.0.set(self.clock.now().saturating_add(jump));
            }
            match self.turn()? {
                Turn::Stepped => {}
                Turn::Finished => return Ok(self.result()),
                Turn::Quiet => match self.next_timer() {
                    Some(due) => self.clock.0.set(due),
                    None => return Err(self.stuck("the job has come to rest before its end")),
                },
            }
        }
    }

    /// As [`crate::JobClient::stop`]: the sources end with their next step.
    ///
    /// ```
    /// use thalweg::{Env, testing::Simulator};
    ///
    /// let env = Env::new().parallelism(2);
    /// env.generate(u64::MAX, |n| n).blackhole();
    /// let mut job = Simulator::new(0).start(&env)?;
    /// job.stop();
    /// job.run_to_end()?;
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn stop(&mut self) {
        self.command(Command::Stop);
    }

    /// As [`crate::JobClient::cancel`]: the next step fails with [`Error::Cancelled`].
    ///
    /// ```
    /// use thalweg::{Env, Error, testing::Simulator};
    ///
    /// let env = Env::new().parallelism(2);
    /// env.generate(u64::MAX, |n| n).blackhole();
    /// let mut job = Simulator::new(0).start(&env)?;
    /// job.cancel();
    /// assert!(matches!(job.run_to_end(), Err(Error::Cancelled)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cancel(&mut self) {
        self.command(Command::Cancel);
    }

    fn command(&mut self, command: Command) {
        for core in &mut self.cores {
            core.core.on_command(command);
            core.bell.cancel();
            core.rest = Rest::Awake;
        }
    }

    /// What the clock shows, in ms since the epoch.
    ///
    /// ```
    /// use thalweg::{Env, testing::Simulator};
    ///
    /// let env = Env::new().parallelism(1);
    /// env.generate(1, |n| n).blackhole();
    /// let mut job = Simulator::new(0).start(&env)?;
    /// job.advance_clock_to(1_000)?;
    /// assert_eq!(job.clock(), 1_000);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn clock(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether all inputs have ended and everything is done. A job that has failed never is.
    ///
    /// ```
    /// use thalweg::testing::{Simulator, script};
    ///
    /// let env = thalweg::Env::new().parallelism(1);
    /// let (input, source) = script::<u64>();
    /// env.source("script", source).blackhole();
    /// let mut job = Simulator::new(0).start(&env)?;
    /// job.run_until_quiet()?;
    /// assert!(!job.is_finished());
    /// input.end();
    /// job.run_until_quiet()?;
    /// assert!(job.is_finished());
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.cores.iter().all(|core| core.finished) && self.failure.is_none()
    }

    /// A hash over every step and every message so far: equal for two runs exactly if they were the same.
    ///
    /// ```
    /// use thalweg::{Env, testing::Simulator};
    ///
    /// fn trace(seed: u64) -> thalweg::Result<u64> {
    ///     let env = Env::new().parallelism(3);
    ///     env.generate(100, |n| n).key_by(|n| n % 7).count().blackhole();
    ///     let mut job = Simulator::new(seed).start(&env)?;
    ///     job.run_to_end()?;
    ///     Ok(job.trace_hash())
    /// }
    /// assert_eq!(trace(1)?, trace(1)?);
    /// assert_ne!(trace(1)?, trace(2)?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn trace_hash(&self) -> u64 {
        self.network.trace()
    }

    /// What the job has done so far, as [`Env::execute`] returns it. Its time is the virtual clock's.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg::{Env, testing::Simulator};
    ///
    /// let env = Env::new().parallelism(1);
    /// env.generate(1, |n| n).blackhole();
    /// let mut job = Simulator::new(0).clock(500).start(&env)?;
    /// job.advance_clock_to(2_000)?;
    /// assert_eq!(job.result().elapsed, Duration::from_millis(1_500));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn result(&self) -> JobResult {
        let elapsed = Duration::from_millis(self.clock.now().abs_diff(self.started));
        let cores: Vec<_> = self.cores.iter().map(|core| core.core.stats()).collect();
        JobResult::new(&self.graph, elapsed, &cores)
    }

    /// Steps one of the cores, or of the pieces of work in the background, that could be stepped now; when there is none, time
    /// passes to when there will be.
    fn turn(&mut self) -> Result<Turn> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let tick = self.network.tick() + 1;
        if tick > self.ticks_max {
            return Err(self.stuck("the job takes too long"));
        }
        let now = self.clock.now();
        let ready_at = |(index, core): (usize, &SimulatedCore)| core.ready_at(index, &self.network, now);
        let ready: Vec<Option<u64>> = self.cores.iter().enumerate().map(ready_at).collect();
        let earliest = ready.iter().flatten().copied().chain(self.crew.next_step(now)).min();
        let finished = self.cores.iter().all(|core| core.finished);
        let Some(earliest) = earliest.filter(|_| !finished) else {
            return Ok(if finished { Turn::Finished } else { Turn::Quiet });
        };
        let tick = tick.max(earliest);
        self.network.set_tick(tick);
        self.crew.set_tick(tick);
        let is_ready = |at: &Option<u64>| at.is_some_and(|at| at <= tick);
        let cores = ready.iter().filter(|at| is_ready(at)).count();
        let choice = self.random.below((cores + self.crew.ready(now)) as u64) as usize;
        let Some((index, _)) = ready.iter().enumerate().filter(|(_, at)| is_ready(at)).nth(choice) else {
            self.crew.step(choice - cores, now);
            self.network.note(choice as u64);
            return Ok(Turn::Stepped);
        };
        self.step(index, now);
        if self.random.one_in(self.habits.nap_one_in) {
            self.cores[index].naps_until = tick + 1 + self.random.below(self.habits.nap_ticks_max);
        }
        self.failure.clone().map_or(Ok(Turn::Stepped), Err)
    }

    fn step(&mut self, index: usize, now: Timestamp) {
        let core = &mut self.cores[index];
        if core.rest == Rest::Parked || !core.bell.is_silent() {
            core.bell.cancel();
            core.rest = Rest::Awake;
        }
        let progress = core.core.step(now);
        core.idle_at = (progress == Progress::Idle).then_some(now);
        match (progress, core.rest) {
            (Progress::Idle, Rest::Announced) => core.rest = Rest::Parked,
            (Progress::Idle, _) => {
                core.bell.prepare();
                core.rest = Rest::Announced;
            }
            (Progress::Worked, _) => {
                core.bell.cancel();
                core.rest = Rest::Awake;
            }
            (Progress::Finished, _) => {
                core.finished = true;
                self.failure = core.core.switch().failure();
                self.network.close(index);
            }
        }
        self.network.note(index as u64);
        self.network.note(now as u64);
        self.network.note(progress as u64);
    }

    /// The earliest time after now at which some core wants to be stepped.
    fn next_timer(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let running = self.cores.iter().filter(|core| !core.finished);
        let timers = running.filter_map(|core| core.core.wakes_at()).map(|at| at.max(now.saturating_add(1)));
        timers.chain(self.crew.next_due(now)).min()
    }

    fn stuck(&self, what: &str) -> Error {
        let mut message = format!("{what} (tick {}, clock {} ms)", self.network.tick(), self.clock.now());
        for (index, core) in self.cores.iter().enumerate().filter(|(_, core)| !core.finished) {
            for waiting in core.core.waiting() {
                message.push_str(&format!("; core {index}: {waiting}"));
            }
            if core.core.waiting().next().is_none() {
                message.push_str(&format!("; core {index}: what its subtasks sent has not left it"));
            }
        }
        Error::Simulation { seed: self.seed, message }
    }
}

#[cfg(test)]
mod tests;
