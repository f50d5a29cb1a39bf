//! In steady state nothing is allocated per record: an allocator that counts says so, on the real runtime.
//!
//! The source of each job marks the count when its warm-up is over and when it has emitted as many records again; all keys have been
//! seen by then, and windows have come and gone. `THALWEG_ALLOCATIONS=5` shows where the first 5 allocations come from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rkyv::Archived;
use thalweg::{
    Count, Env, IdleStrategy, Key, KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, OpenContext,
    Output, Result, Session, Sliding, Source, SourceContext, SourceOutput, SourceReader, SourceStatus,
    Timestamp, Tumbling, ValueState, monotonous,
};
use thalweg_tests::allocations::{self, Counting, uncounted};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Records before the first mark, and between the two.
const WARM_UP: u64 = 300_000;
const RECORDS: u64 = 300_000;
/// Buffers and queues may still grow now and then.
const RECORDS_PER_ALLOCATION: u64 = 1_000;
/// How far one source may be ahead of another: what it opens early depends on that, and that on the machine's other work.
const LEAD_MAX: u64 = 2_000;

/// One job at a time: the count is the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The numbers from 0, with themselves as timestamps in ms: subtask i of n makes i, i + n, ... All go on side by side.
#[derive(Clone, Default)]
struct Numbers {
    next: u64,
    step: u64,
    subtask: usize,
    /// How far each subtask is.
    progress: Arc<[AtomicU64; 2]>,
    /// The counts at the two marks, which subtask 0 sets.
    marks: Option<Arc<[AtomicU64; 2]>>,
}

impl Source for Numbers {
    type Item = u64;
    type Reader = Numbers;

    fn reader(&self, cx: &SourceContext) -> Result<Numbers> {
        let subtask = cx.subtask();
        let (marks, progress) = (self.marks.clone().filter(|_| subtask == 0), self.progress.clone());
        Ok(Numbers { next: subtask as u64, step: cx.parallelism() as u64, subtask, progress, marks })
    }
}

impl SourceReader for Numbers {
    type Item = u64;

    fn poll<N: Output<u64>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        self.progress[self.subtask].store(self.next, Ordering::Relaxed);
        let others = self.progress[..self.step as usize].iter().map(|next| next.load(Ordering::Relaxed));
        let limit = others.min().unwrap_or(0) + LEAD_MAX;
        while self.next < WARM_UP + RECORDS {
            if out.is_full() || self.next > limit {
                return Ok(SourceStatus::More);
            }
            if self.next.abs_diff(WARM_UP) < self.step && self.next >= WARM_UP {
                self.mark(0);
            }
            out.collect_at(&self.next, self.next as Timestamp);
            self.next += self.step;
        }
        self.mark(1);
        self.progress[self.subtask].store(u64::MAX - LEAD_MAX, Ordering::Relaxed);
        Ok(SourceStatus::End)
    }
}

impl Numbers {
    fn mark(&self, which: usize) {
        if let Some(marks) = &self.marks {
            allocations::trace(which == 0);
            marks[which].store(allocations::count(), Ordering::Relaxed);
        }
    }
}

/// Runs the job that `build` adds to its source, at parallelism 1 and 2.
fn allocates_nothing(build: impl Fn(&Env, Numbers)) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for parallelism in [1, 2] {
        // A core that parks sets a timer, which allocates: not for a record, but for having none.
        let env = Env::new().parallelism(parallelism).idle_strategy(IdleStrategy::Spin);
        let marks = Arc::new([const { AtomicU64::new(0) }; 2]);
        build(&env, Numbers { marks: Some(marks.clone()), ..Numbers::default() });
        env.execute().unwrap();
        let [first, second] = [&marks[0], &marks[1]].map(|mark| mark.load(Ordering::Relaxed));
        assert!(first > 0 && second >= first, "both marks were set");
        let allocations = second - first;
        assert!(
            allocations < RECORDS / RECORDS_PER_ALLOCATION,
            "{allocations} allocations for {RECORDS} records at parallelism {parallelism}"
        );
    }
}

/// Keys that come again and again. Multiplied, so that neighbours are not neighbours in any table.
fn key(n: &u64) -> u64 {
    (n % 1_000).wrapping_mul(0x9e37_79b9)
}

/// Goal: no allocation in a chain of functions.
#[test]
fn a_chain() {
    allocates_nothing(|env, numbers| {
        let numbers = env.source("numbers", numbers).map(|n| n * 3).filter(|n| n % 2 == 0);
        numbers.filter_map(|n| n.checked_sub(1)).flat_map(|n, out| out.extend([*n, n + 1])).blackhole();
    });
}

/// Goal: buffers are used again.
#[test]
fn an_exchange() {
    allocates_nothing(|env, numbers| {
        env.source("numbers", numbers).rebalance().map(|n| n.to_native() + 1).broadcast().blackhole();
    });
}

/// Goal: counting known keys allocates nothing; that the watermarks go along changes nothing.
#[test]
fn a_count_by_number() {
    allocates_nothing(|env, numbers| {
        env.source("numbers", numbers).watermarks(monotonous()).key_by(key).count().blackhole();
    });
}

/// Goal: neither do texts as keys, but for the one that the program makes itself.
#[test]
fn a_count_by_text() {
    allocates_nothing(|env, numbers| {
        let texts = |n: &u64| uncounted(|| format!("a key that is too long for its place, {}", key(n)));
        env.source("numbers", numbers).key_by(texts).count().blackhole();
    });
}

/// Goal: rolling aggregates work in place.
#[test]
fn a_sum() {
    allocates_nothing(|env, numbers| {
        env.source("numbers", numbers).map(|n| (key(n), *n)).key_by(|r| r.0).sum(|r| &mut r.1).blackhole();
    });
}

/// Goal: slices of windows that have fired are used again.
#[test]
fn tumbling_windows() {
    allocates_nothing(|env, numbers| {
        let keyed = env.source("numbers", numbers).watermarks(monotonous()).key_by(key);
        keyed.window(Tumbling::of(Duration::from_secs(5))).aggregate(Count).blackhole();
    });
}

/// Goal: and so when windows share them.
#[test]
fn sliding_windows() {
    allocates_nothing(|env, numbers| {
        let keyed = env.source("numbers", numbers).watermarks(monotonous()).key_by(key);
        let sliding = Sliding::of(Duration::from_secs(10)).every(Duration::from_secs(2));
        keyed.window(sliding).aggregate(Count).blackhole();
    });
}

/// Goal: sessions that end make room for those that begin.
#[test]
fn session_windows() {
    allocates_nothing(|env, numbers| {
        let keyed = env.source("numbers", numbers).watermarks(monotonous());
        // A tenth of the keys at a time, for 10 s: each has a record every 100 ms, and then a pause.
        let keyed = keyed.key_by(|n| (n / 10_000 % 10) * 100 + n % 100);
        keyed.window(Session::gap(Duration::from_secs(2))).aggregate(Count).blackhole();
    });
}

/// Goal: windows without keys, fed by partial results of all cores.
#[test]
fn windows_of_all() {
    allocates_nothing(|env, numbers| {
        let numbers = env.source("numbers", numbers).watermarks(monotonous());
        numbers.window_all(Tumbling::of(Duration::from_millis(500))).max_by(|n| *n).blackhole();
    });
}

/// Adds the numbers of a key; every so manieth asks for a timer, which gives the sum.
#[derive(Clone)]
struct Add {
    timer_every: u64,
}

impl Add {
    fn add<K: Key, U>(&self, number: u64, sum: &mut ValueState<K, u64>, cx: &mut impl KeyedContext<K, U>) {
        let total = sum.get(cx.at()).copied().unwrap_or(0).wrapping_add(number);
        sum.set(cx.at(), total);
        if number.is_multiple_of(self.timer_every) {
            cx.register_event_timer(number as Timestamp + 2_000);
        }
    }
}

impl KeyedProcessFunction<u64, u64> for Add {
    type Out = (u64, u64);
    type State = ValueState<u64, u64>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        cx.value("sum")
    }

    fn process(
        &mut self,
        number: &Archived<u64>,
        sum: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        self.add(number.to_native(), sum, cx);
    }

    fn on_timer(
        &mut self,
        _timestamp: Timestamp,
        sum: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        let total = sum.get(cx.at()).copied().unwrap_or(0);
        cx.collect(&(*cx.key(), total));
    }
}

impl KeyedCoProcessFunction<u64, u64, u64> for Add {
    type Out = (u64, u64);
    type State = ValueState<u64, u64>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        cx.value("sum")
    }

    fn process_left(
        &mut self,
        number: &Archived<u64>,
        sum: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        self.add(number.to_native(), sum, cx);
    }

    fn process_right(
        &mut self,
        number: &Archived<u64>,
        sum: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        self.add(number.to_native(), sum, cx);
    }
}

/// Goal: state of known keys changes in place, and timers that fired make room for new ones.
#[test]
fn a_keyed_process() {
    allocates_nothing(|env, numbers| {
        let keyed = env.source("numbers", numbers).watermarks(monotonous()).key_by(key);
        keyed.process(Add { timer_every: 10 }).blackhole();
    });
}

impl KeyedProcessFunction<String, u64> for Add {
    type Out = u64;
    type State = ValueState<String, u64>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        cx.value("sum")
    }

    fn process(
        &mut self,
        number: &Archived<u64>,
        sum: &mut Self::State,
        cx: &mut impl KeyedContext<String, u64>,
    ) {
        self.add(number.to_native(), sum, cx);
    }

    fn on_timer(
        &mut self,
        _timestamp: Timestamp,
        sum: &mut Self::State,
        cx: &mut impl KeyedContext<String, u64>,
    ) {
        let total = sum.get(cx.at()).copied().unwrap_or(0);
        cx.collect(&total);
    }
}

/// Goal: nor do texts as keys, for records or timers, however many there are. (A source ahead of the other has more timers
/// at a time, and each of these owns a text: so there are few.)
#[test]
fn a_process_keyed_by_text() {
    allocates_nothing(|env, numbers| {
        let text = |n: &u64| uncounted(|| format!("a key that is too long for its place, {:05}", n % 20_000));
        let keyed = env.source("numbers", numbers).watermarks(monotonous()).key_by(text);
        keyed.process(Add { timer_every: 100 }).blackhole();
    });
}

/// Goal: the same with two inputs.
#[test]
fn a_process_of_two_inputs() {
    allocates_nothing(|env, numbers| {
        let right = Numbers { marks: None, ..numbers.clone() };
        let left = env.source("left", numbers).watermarks(monotonous()).key_by(key);
        let right = env.source("right", right).watermarks(monotonous()).key_by(key);
        left.connect(right).process(Add { timer_every: 10 }).blackhole();
    });
}
