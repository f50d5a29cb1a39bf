//! One core: built on its own pinned thread, stepped until it ends.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_lite::FutureExt;
use glommio::timer::Timer;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use super::bell::Bell;
use super::job::{CoreResult, JobControl};
use super::link::Rings;
use super::mailbox::Mailbox;
use super::pool::Pool;
use super::seam::{self, Clock, CoreParts};
use crate::api::config::{Config, IdleStrategy};
use crate::data_plane::core::{Command, Core};
use crate::data_plane::subtask::Progress;
use crate::error::{Error, Result};
use crate::graph::execution::ExecutionGraph;
use crate::time::Timestamp;

/// Polls of an idle core between two looks at its reactor.
const POLLS_PER_YIELD: u32 = 64;
/// How often a core that always has something to do flushes what has taken all its input. It bounds how long a record waits for
/// others in its buffer when the load is too high for pauses and too low for full buffers.
const FLUSH_INTERVAL: Duration = Duration::from_micros(20);
/// The longest sleep, so that a clock set back is noticed.
const PARK_MAX: Duration = Duration::from_secs(1);

/// Memory that an executor registers with io_uring for direct file I/O, which a core does not do itself: as little as there
/// can be. glommio's default of 10 MiB is touched, so paid for, at each start.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// For how long a core that is built polls for the others to be, and how long it sleeps between later looks.
const START_SPIN: Duration = Duration::from_millis(20);
const START_NAP: Duration = Duration::from_micros(200);

/// What a core needs to start.
pub(super) struct Start {
    pub(super) core: usize,
    pub(super) cores: usize,
    pub(super) cpu: usize,
    pub(super) oversubscribed: bool,
    pub(super) graph: Arc<ExecutionGraph>,
    pub(super) config: Arc<Config>,
    pub(super) control: Arc<JobControl>,
    pub(super) pool: Arc<Pool>,
    pub(super) links: Vec<Option<Rings>>,
}

impl Start {
    fn mailbox(&self) -> &Mailbox<Command> {
        &self.control.mailboxes[self.core]
    }
}

/// A running core.
pub(super) struct CoreThread(ExecutorJoinHandle<Result<CoreResult>>);

impl CoreThread {
    /// Waits for its end. `Err` is a panic outside the user's code, or an executor that broke.
    pub(super) fn join(self) -> std::result::Result<Result<CoreResult>, String> {
        self.0.join().map_err(|error| error.to_string())
    }
}

pub(super) fn spawn(start: Start) -> Result<CoreThread> {
    let core = start.core;
    LocalExecutorBuilder::new(Placement::Fixed(start.cpu))
        .name(&format!("{}-{core}", start.config.name))
        .io_memory(IO_MEMORY_BYTES)
        .spawn(move || run(start))
        .map(CoreThread)
        .map_err(|error| Error::Machine(format!("core {core} could not start an io_uring executor: {error}")))
}

async fn run(start: Start) -> Result<CoreResult> {
    let mut unless_done = CancelOthers { control: start.control.clone(), done: false };
    let result = run_to_end(start).await;
    unless_done.done = result.is_ok();
    result
}

/// Stops the other cores unless this one is done: also after a panic of the engine itself, lest they wait for it for ever.
struct CancelOthers {
    control: Arc<JobControl>,
    done: bool,
}

impl Drop for CancelOthers {
    fn drop(&mut self) {
        if !self.done {
            self.control.post(Command::Cancel);
        }
    }
}

async fn run_to_end(mut start: Start) -> Result<CoreResult> {
    let clock = WallClock::new();
    let links = std::mem::take(&mut start.links);
    let mut core = build(&start, links, clock.now())?;
    wait_for_others(&mut core, &start)?;
    let started = Instant::now();
    drive(&mut core, &start, &clock).await?;
    let ended = Instant::now();
    let stats = core.stats();
    core.dismantle()?;
    Ok(CoreResult { started, ended, stats })
}

/// Builds the subtasks of this core. The user's factories run here, so a panic of theirs is caught.
fn build(start: &Start, links: Vec<Option<Rings>>, now: Timestamp) -> Result<Core> {
    let bell = |core: usize| start.control.mailboxes[core].bell().clone();
    let links = links.into_iter().enumerate().map(|(peer, rings)| rings.map(|rings| rings.link(bell(peer))));
    let state = start.config.open_state(start.core, || {
        start
            .control
            .work_dir
            .as_ref()
            .expect("a job whose state is in files has a directory")
            .storage(start.core)
    })?;
    seam::build_core(CoreParts {
        core: start.core,
        graph: start.graph.clone(),
        config: start.config.clone(),
        links: links.collect(),
        bell: bell(start.core),
        helpers: Rc::new(start.pool.clone()),
        state,
        now,
    })
}

/// No core takes a record before all of them are built: a job that cannot start has no effects.
///
/// It blocks the thread, on which nothing else runs yet: a timer of glommio's was seen to wake 10 ms late here, for which one
/// core worked alone.
fn wait_for_others(core: &mut Core, start: &Start) -> Result<()> {
    start.control.ready.fetch_add(1, Ordering::AcqRel);
    let since = Instant::now();
    while start.control.ready.load(Ordering::Acquire) < start.cores {
        take_mail(core, start.mailbox());
        if let Some(failure) = core.switch().failure() {
            return Err(failure);
        }
        if since.elapsed() < START_SPIN {
            std::thread::yield_now();
        } else {
            std::thread::sleep(START_NAP);
        }
    }
    Ok(())
}

/// Hands the core what it was told since the last look.
#[inline]
fn take_mail(core: &mut Core, mailbox: &Mailbox<Command>) {
    if mailbox.has_mail() {
        mailbox.take().into_iter().for_each(|command| core.on_command(command));
    }
}

async fn drive(core: &mut Core, start: &Start, clock: &WallClock) -> Result<()> {
    let mailbox = start.mailbox();
    let bell = mailbox.bell();
    let spin = match if start.oversubscribed { IdleStrategy::Park } else { start.config.idle } {
        IdleStrategy::Spin => Duration::MAX,
        IdleStrategy::Balanced => start.config.spin,
        IdleStrategy::Park => Duration::ZERO,
    };
    let mut idle_since: Option<Instant> = None;
    let mut flushed = Instant::now();
    let mut polls = 0_u32;
    let mut parking = false;
    loop {
        take_mail(core, mailbox);
        // The only look at the clock: it takes a good part of what a poll that finds nothing does.
        let now = Instant::now();
        let progress = core.step(clock.at(now));
        if std::mem::take(&mut parking) {
            if progress == Progress::Idle && !mailbox.has_mail() {
                sleep(core, clock, bell).await;
            }
            bell.cancel();
        }
        match progress {
            Progress::Finished => return core.switch().failure().map_or(Ok(()), Err),
            Progress::Worked => {
                idle_since = None;
                if now.duration_since(flushed) >= FLUSH_INTERVAL {
                    flushed = now;
                    core.flush_dry();
                }
                glommio::yield_if_needed().await;
            }
            Progress::Idle if now.duration_since(*idle_since.get_or_insert(now)) < spin => {
                std::hint::spin_loop();
                polls = polls.wrapping_add(1);
                if polls.is_multiple_of(POLLS_PER_YIELD) {
                    glommio::yield_if_needed().await;
                }
            }
            Progress::Idle => {
                // Announced first, then everything is looked at once more: whoever sends from now on rings.
                bell.prepare();
                parking = true;
            }
        }
    }
}

/// Until a peer or a source rings, or the next timer is due.
async fn sleep(core: &Core, clock: &WallClock, bell: &Bell) {
    let until = core.wakes_at().map(|at| clock.until(at));
    let time = until.unwrap_or(PARK_MAX).min(PARK_MAX);
    if time > Duration::ZERO {
        let timer = async {
            Timer::new(time).await;
        };
        poll_fn(|cx| bell.poll_rung(cx)).or(timer).await;
    }
}

/// Processing time: the wall clock at the start, and a monotonic one since.
struct WallClock {
    origin_ms: Timestamp,
    origin: Instant,
}

impl WallClock {
    fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX), origin: Instant::now() }
    }

    /// What it shows at an instant.
    fn at(&self, now: Instant) -> Timestamp {
        let since = now.saturating_duration_since(self.origin).as_millis();
        self.origin_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// From now until it shows `at`, to the ns: to sleep for whole ms would be half of one too long on average.
    fn until(&self, at: Timestamp) -> Duration {
        let since_origin = Duration::from_millis(at.saturating_sub(self.origin_ms).max(0) as u64);
        since_origin.saturating_sub(self.origin.elapsed())
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }
}
