//! What users and machines do wrong, on the real runtime: the job fails with a reason or carries on, and never hangs.
//!
//! Every job runs under a watchdog. After each failure the process must be as good as new: another job runs in it.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rkyv::Archived;
use thalweg::{
    Aggregate, Context, Count, Env, Error, JobResult, KeyedContext, KeyedProcessFunction, OpenContext,
    Output, ProcessFunction, Result, Sink, SinkContext, SinkWriter, Sliding, Source, SourceContext,
    SourceOutput, SourceReader, SourceStatus, Timestamp, Tumbling, monotonous,
};

/// Far longer than any job here takes.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Runs a job in a thread of its own, and fails if it does not end.
fn watched<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(job());
    });
    match result.recv_timeout(HANGS_AFTER) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("the job hangs"),
        Err(RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it sent nothing"))
        }
    }
}

/// Runs the job that `build` describes at a parallelism.
fn run(parallelism: usize, build: impl FnOnce(&Env) + Send + 'static) -> Result<JobResult> {
    watched(move || {
        let env = Env::new().parallelism(parallelism);
        build(&env);
        env.execute()
    })
}

/// A job that must work whatever has happened before.
fn runs_well(parallelism: usize) {
    let counts = watched(move || {
        let env = Env::new().parallelism(parallelism);
        let counts = env.generate(1_000, |n| n).key_by(|n| n % 7).count().collect();
        env.execute().unwrap();
        counts.take()
    });
    assert_eq!(counts.len(), 1_000);
}

/// What the user's code panics with.
const BOOM: &str = "boom at 777";

fn explode(n: u64) {
    if n == 777 {
        panic!("boom at {n}");
    }
}

/// Panics at the place it is asked to, in any function of the engine's traits.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Make,
    Work,
    Flush,
    Close,
    Drop,
}

#[derive(Clone)]
struct Mine(At);

impl Mine {
    fn explode_at(&self, at: At) {
        if self.0 == at {
            panic!("{BOOM}");
        }
    }
}

impl Source for Mine {
    type Item = u64;
    type Reader = Working;
    fn reader(&self, _: &SourceContext) -> Result<Working> {
        self.explode_at(At::Make);
        Ok(Working(self.clone(), 0))
    }
}

impl Sink<u64> for Mine {
    type Writer = Working;
    fn writer(&self, _: &SinkContext) -> Result<Working> {
        self.explode_at(At::Make);
        Ok(Working(self.clone(), 0))
    }
}

/// The reader, the writer: what exists once for each subtask.
struct Working(Mine, u64);

impl SourceReader for Working {
    type Item = u64;
    fn poll<N: Output<u64>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        while !out.is_full() {
            if self.1 == 2_000 {
                return Ok(SourceStatus::End);
            }
            if self.1 == 777 {
                self.0.explode_at(At::Work);
            }
            out.collect(&self.1);
            self.1 += 1;
        }
        Ok(SourceStatus::More)
    }
}

impl SinkWriter<u64> for Working {
    fn write(&mut self, record: &u64, _: Timestamp) -> Result<()> {
        if *record == 777 {
            self.0.explode_at(At::Work);
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        self.0.explode_at(At::Flush);
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        self.0.explode_at(At::Close);
        Ok(())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.explode_at(At::Drop);
        }
    }
}

impl<T> ProcessFunction<T> for Mine {
    type Out = u64;
    fn open(&mut self, _: &OpenContext<'_>) -> Result<()> {
        self.explode_at(At::Make);
        Ok(())
    }
    fn process(&mut self, _: &T, cx: &mut impl Context<u64>) {
        cx.collect(&1);
    }
    fn close(&mut self) {
        self.explode_at(At::Close);
    }
}

impl KeyedProcessFunction<u64, u64> for Mine {
    type Out = u64;
    type State = ();
    fn open(&mut self, _: &OpenContext<'_>) -> Result<()> {
        self.explode_at(At::Make);
        Ok(())
    }
    fn process(&mut self, record: &Archived<u64>, (): &mut (), cx: &mut impl KeyedContext<u64, u64>) {
        cx.register_event_timer(record.to_native() as Timestamp);
    }
    fn on_timer(&mut self, timestamp: Timestamp, (): &mut (), _: &mut impl KeyedContext<u64, u64>) {
        explode(timestamp.unsigned_abs());
    }
}

/// An aggregate that panics in one of its functions.
#[derive(Clone)]
struct Sum(&'static str);

impl Aggregate<u64> for Sum {
    type Acc = u64;
    type Out = u64;
    fn create(&self) -> u64 {
        0
    }
    fn add(&self, acc: &mut u64, record: &u64) {
        if self.0 == "add" {
            explode(*record);
        }
        *acc += record;
    }
    fn merge(&self, acc: &mut u64, other: u64) {
        if self.0 == "merge" {
            panic!("{BOOM}");
        }
        *acc += other;
    }
    fn result(&self, acc: &u64) -> u64 {
        if self.0 == "result" {
            panic!("{BOOM}");
        }
        *acc
    }
}

/// The places where user code can panic: what the chain that fails is called there, and the job.
type Place = (&'static str, fn(&Env));

const PLACES: &[Place] = &[
    ("a map", |env| env.generate(2_000, |n| n).map(|&n| explode(n)).name("a map").blackhole()),
    ("a map", |env| {
        let received = env.generate(2_000, |n| n).rebalance();
        received.map(|n| explode(n.to_native())).name("a map").blackhole();
    }),
    ("a filter", |env| {
        let filtered = env.generate(2_000, |n| n).filter(|&n| {
            explode(n);
            true
        });
        filtered.name("a filter").key_by(|n| *n).count().blackhole();
    }),
    ("Generator", |env| {
        let key = |n: &u64| {
            explode(*n);
            n % 10
        };
        env.generate(2_000, |n| n).key_by(key).count().blackhole();
    }),
    ("a reduce", |env| {
        let keyed = env.generate(2_000, |n| (0_u64, n)).key_by(|r| r.0);
        let reduce = keyed.reduce(|a, b| {
            explode(b.1);
            (a.0, b.1)
        });
        reduce.name("a reduce").blackhole();
    }),
    ("Generator", |env| windows(env, Sum("add"))),
    ("the windows", |env| windows(env, Sum("merge"))),
    ("the windows", |env| windows(env, Sum("result"))),
    ("timestamps", |env| {
        let timestamp = |n: &u64| {
            explode(*n);
            0
        };
        let strategy = monotonous().by(timestamp);
        env.generate(2_000, |n| n).watermarks(strategy).name("timestamps").blackhole();
    }),
    ("a timer", |env| {
        let numbers = env.generate(2_000, |n| n).watermarks(monotonous().by(|n| *n as Timestamp));
        numbers.key_by(|n| *n).process(Mine(At::Work)).name("a timer").blackhole();
    }),
    ("an opening", |env| env.generate(10, |n| n).process(Mine(At::Make)).name("an opening").blackhole()),
    ("an opening", |env| {
        env.generate(10, |n| n).key_by(|n| *n).process(Mine(At::Make)).name("an opening").blackhole();
    }),
    ("a closing", |env| env.generate(10, |n| n).process(Mine(At::Close)).name("a closing").blackhole()),
    ("my source", |env| env.source("my source", Mine(At::Make)).blackhole()),
    ("my source", |env| env.source("my source", Mine(At::Work)).rebalance().blackhole()),
    ("my source", |env| env.source("my source", Mine(At::Drop)).rebalance().blackhole()),
    ("my sink", |env| env.generate(2_000, |n| n).sink("my sink", Mine(At::Make))),
    ("my sink", |env| env.generate(2_000, |n| n).sink("my sink", Mine(At::Work))),
    ("my sink", |env| env.generate(2_000, |n| n).rebalance().owned().sink("my sink", Mine(At::Flush))),
    ("my sink", |env| env.generate(2_000, |n| n).sink("my sink", Mine(At::Close))),
    ("my sink", |env| env.generate(2_000, |n| n).rebalance().owned().sink("my sink", Mine(At::Drop))),
];

fn windows(env: &Env, sum: Sum) {
    let numbers = env.generate(2_000, |n| n).watermarks(monotonous().by(|n| *n as Timestamp));
    let windows = numbers.key_by(|n| n % 3).window(Tumbling::of(Duration::from_millis(100)));
    windows.aggregate(sum).name("the windows").blackhole();
}

/// Goal: a panic of the user's code anywhere is an error that says where and what; the process lives on.
#[test]
fn panics_become_errors() {
    for &(name, build) in PLACES {
        for parallelism in [1, 2] {
            let error = run(parallelism, build).expect_err(name);
            let Error::Panic { operator, subtask, message } = &error else { panic!("{name}: {error}") };
            assert!(operator.contains(name), "{name}: {error}");
            assert!(*subtask < parallelism, "{name}: {error}");
            assert_eq!(message, BOOM, "{name}");
            runs_well(parallelism);
        }
    }
}

/// Goal: the error names the subtask whose record it was.
#[test]
fn the_panicking_subtask_is_named() {
    let error = run(2, PLACES[0].1).unwrap_err();
    assert!(matches!(error, Error::Panic { subtask: 1, .. }), "number 777 is made by subtask 1: {error}");
}

/// A job that fails by a panic, for a process of its own.
#[test]
#[ignore = "run by a_panic_is_printed_once"]
fn panics_alone() {
    run(2, PLACES[0].1).unwrap_err();
}

/// Goal: the panic is printed once, without a storm of what follows from it.
#[test]
fn a_panic_is_printed_once() {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "panics_alone", "--ignored", "--nocapture"]).env("RUST_BACKTRACE", "0");
    let output = test.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    assert_eq!(printed.matches("panicked at").count(), 1, "{printed}");
    assert!(printed.lines().count() <= 5, "{printed}");
}

/// Reads or writes a few records, and then has an error.
#[derive(Clone)]
struct Fails(At, u64);

impl Fails {
    fn fail_at(&self, at: At) -> Result<()> {
        if self.0 != at {
            return Ok(());
        }
        let reason = std::io::Error::other("the disk is full");
        Err(Error::Io { path: "some/file".into(), source: Arc::new(reason) })
    }
}

impl Source for Fails {
    type Item = u64;
    type Reader = Fails;
    fn reader(&self, _: &SourceContext) -> Result<Fails> {
        self.fail_at(At::Make)?;
        Ok(self.clone())
    }
}

impl SourceReader for Fails {
    type Item = u64;
    fn poll<N: Output<u64>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        self.1 += 1;
        out.collect(&self.1);
        if self.1 == 100 {
            self.fail_at(At::Work)?;
        }
        Ok(SourceStatus::More)
    }
}

impl Sink<u64> for Fails {
    type Writer = Fails;
    fn writer(&self, _: &SinkContext) -> Result<Fails> {
        self.fail_at(At::Make)?;
        Ok(self.clone())
    }
}

impl SinkWriter<u64> for Fails {
    fn write(&mut self, _: &u64, _: Timestamp) -> Result<()> {
        self.1 += 1;
        if self.1 == 100 { self.fail_at(At::Work) } else { Ok(()) }
    }
    fn flush(&mut self) -> Result<()> {
        self.fail_at(At::Flush)
    }
    fn close(&mut self) -> Result<()> {
        self.fail_at(At::Close)
    }
}

/// Goal: an error of a source or a sink is the job's.
#[test]
fn errors_fail_the_job() {
    let jobs: [fn(&Env); 7] = [
        |env| env.source("source", Fails(At::Make, 0)).blackhole(),
        |env| env.source("source", Fails(At::Work, 0)).rebalance().blackhole(),
        |env| env.generate(2_000, |n| n).sink("sink", Fails(At::Make, 0)),
        |env| env.generate(2_000, |n| n).sink("sink", Fails(At::Work, 0)),
        |env| env.generate(2_000, |n| n).rebalance().owned().sink("sink", Fails(At::Work, 0)),
        |env| env.generate(2_000, |n| n).rebalance().owned().sink("sink", Fails(At::Flush, 0)),
        |env| env.generate(2_000, |n| n).rebalance().owned().sink("sink", Fails(At::Close, 0)),
    ];
    for (i, build) in jobs.into_iter().enumerate() {
        for parallelism in [1, 2] {
            let error = run(parallelism, build).expect_err("it fails");
            let Error::Io { path, source } = &error else { panic!("job {i}: {error}") };
            assert_eq!((path.to_str(), source.to_string().as_str()), (Some("some/file"), "the disk is full"));
            runs_well(parallelism);
        }
    }
}

/// Goal: records of any size up to the limit go through exchanges, whatever the size of the buffers.
#[test]
fn records_larger_than_a_buffer() {
    for parallelism in [1, 2] {
        let lengths = watched(move || {
            let env = Env::new().parallelism(parallelism).buffer_bytes(1024);
            let texts = env.generate(200, |n| "x".repeat((n * n * n % 100_000) as usize)).rebalance().owned();
            let counted = texts.key_by(|text| text.clone()).count().map(|(text, _)| text.len()).collect();
            env.execute().unwrap();
            counted.take()
        });
        let mut expected: Vec<usize> = (0..200_usize).map(|n| n * n * n % 100_000).collect();
        let mut lengths = lengths;
        lengths.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lengths, expected);
    }
}

/// Goal: just below the limit a record passes; above it the job fails, and says which operator and what the limit is.
#[test]
fn records_around_the_limit() {
    const LIMIT: usize = 64 << 20;
    let send = |bytes: usize| {
        run(1, move |env| {
            let text = env.generate(1, move |_| "x".repeat(bytes)).name("writes much");
            text.rebalance().map(|text| assert!(text.len() > 1 << 20)).blackhole();
        })
    };
    send(LIMIT - 1024).unwrap();
    let error = send(LIMIT + 1).unwrap_err();
    let Error::Operator { operator, message, .. } = &error else { panic!("{error}") };
    assert!(operator.contains("writes much") && message.contains("67108864 bytes"), "{error}");
    runs_well(1);
}

/// Goal: one record that makes a million may overdraw its output, which is counted.
#[test]
fn a_million_records_from_one() {
    for parallelism in [1, 2] {
        let (count, result) = watched(move || {
            let env = Env::new().parallelism(parallelism);
            let million = env.from_elements([0_u64]).flat_map(|_, out| out.extend(0..1_000_000_u64));
            let last = million.global().key_by(|_| ()).count().filter(|(_, n)| *n == 1_000_000).collect();
            let result = env.execute().unwrap();
            (last.take().len(), result)
        });
        assert_eq!(count, 1);
        // A million records of 24 bytes are 732 buffers; those with credit are not overdrawn.
        let overdraft = result.overdraft_buffers_max;
        assert!((500..1_500).contains(&overdraft), "{overdraft} buffers overdrawn");
    }
}

/// Goal: what is beyond the limit of the overdraft fails the job, which names the operator and the limit, and frees the memory of
/// what it would have sent.
#[test]
fn too_many_records_from_one() {
    let error = watched(|| {
        let env = Env::new().parallelism(2).buffer_bytes(1024);
        let numbers = env.from_elements([0_u64]).flat_map(|_, out| out.extend(0..2_000_000_u64));
        numbers.name("makes too many").global().blackhole();
        env.execute().unwrap_err()
    });
    let Error::Overdraft { operator, buffers, limit } = &error else { panic!("{error}") };
    assert!(operator.contains("makes too many"), "{error}");
    assert!(*buffers == limit + 1, "{error}");
    runs_well(2);
}

/// Goal: a fast sender waits for a slow receiver: buffers stay few, however many records there are.
#[test]
fn a_slow_consumer() {
    let slow = |_: &Archived<u64>| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(1) {}
    };
    let result = run(2, move |env| {
        env.generate(300_000, |n| n).global().map(slow).blackhole();
    });
    let result = result.unwrap();
    // 7 MiB of records go through 2 channels with 8 buffers of 32 KiB each.
    assert!(result.buffer_memory_bytes <= 2 << 20, "{} bytes of buffers", result.buffer_memory_bytes);
    assert!(result.overdraft_buffers_max <= 8, "{} buffers overdrawn", result.overdraft_buffers_max);
}

/// Goal: many exchanges one after the other, and a chain of many functions.
#[test]
fn deep_chains() {
    for parallelism in [1, 2] {
        let results = watched(move || {
            let env = Env::new().parallelism(parallelism);
            let mut stream = env.generate(1_000, |n| n).rebalance().owned();
            for _ in 0..60 {
                stream = stream.rebalance().owned();
            }
            macro_rules! add_one {
                ($($n:literal)*) => {{
                    $(let stream = stream.map(|n| n + $n);)*
                    stream.collect()
                }};
            }
            let results = add_one!(1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1);
            env.execute().unwrap();
            results.take()
        });
        let mut results = results;
        results.sort_unstable();
        assert_eq!(results, (32..1_032).collect::<Vec<u64>>());
    }
}

/// Goal: nothing in, nothing out, and every kind of operator ends.
#[test]
fn empty_sources() {
    for parallelism in [1, 2, 3] {
        let rows = watched(move || {
            let env = Env::new().parallelism(parallelism);
            let nothing = || env.from_elements([0_u64; 0]).watermarks(monotonous().by(|n| *n as Timestamp));
            let sliding = Sliding::of(Duration::from_millis(10)).every(Duration::from_millis(5));
            let windows = nothing().key_by(|n| *n).window(sliding).aggregate(Count);
            let all = nothing().window_all(Tumbling::of(Duration::from_millis(10))).max_by(|n| *n);
            let rows = [
                nothing().collect(),
                nothing().rebalance().owned().collect(),
                nothing().key_by(|n| *n).count().map(|row| row.1).collect(),
                windows.map(|row| row.value).collect(),
                all.map(|_| 1).collect(),
                nothing().union(nothing()).owned().collect(),
                nothing().key_by(|n| *n).process(Mine(At::Work)).collect(),
            ];
            env.execute().unwrap();
            rows.map(|rows| rows.take().len())
        });
        assert_eq!(rows, [0; 7]);
    }
}

/// Goal: far more subtasks than cores; they share them. Where the machine does not lock enough memory, the job says so.
#[test]
fn more_subtasks_than_cores() {
    for parallelism in [12, 64] {
        let result = watched(move || {
            let env = Env::new().parallelism(parallelism);
            let counts = env.generate(10_000, |n| n).key_by(|n| n % 100).count().filter(|(_, n)| *n == 100);
            let counts = counts.collect();
            env.execute().map(|_| counts.take().len())
        });
        match result {
            Ok(counts) => assert_eq!(counts, 100),
            Err(Error::Machine(message)) => {
                assert!(parallelism > 12 && message.contains("ulimit -l"), "{message}")
            }
            Err(error) => panic!("{error}"),
        }
    }
    runs_well(2);
}
