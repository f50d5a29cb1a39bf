//! Whole jobs in the simulator: whatever the schedule, their results are those of a batch computation.
//!
//! Each test runs one job at 1 to 5 simulated cores with many seeds. To replay a failure: `THALWEG_SEED=<n>`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rkyv::Archived;
use thalweg::testing::{Event, Recorder, Simulator, seeds};
use thalweg::{
    Chain, Collected, Count, Env, Error, JobResult, KeyedContext, KeyedProcessFunction, MAX_WATERMARK,
    OpenContext, Result, Session, Sliding, Stream, Tumbling, bounded,
};

/// Seeds of a test; its cores follow from the seed.
const SEEDS: u64 = 500;

/// Runs the job that `build` makes with each seed, and hands what `build` returned to `check`.
fn simulate<T>(build: impl Fn(&Env) -> T, check: impl Fn(T)) {
    seeds(SEEDS, |seed| {
        let env = Env::new().parallelism(1 + (seed % 5) as usize);
        let result = build(&env);
        Simulator::new(seed).run(&env).unwrap();
        check(result);
    });
}

fn sorted<T: Ord + Send + Clone + 'static>(records: &Collected<T>) -> Vec<T> {
    let mut records = records.take();
    records.sort_unstable();
    records
}

/// A record with a text of very different lengths, so that buffers fill unevenly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Note {
    id: u64,
    text: String,
}

fn note(id: u64) -> Note {
    Note { id, text: "x".repeat((id * id % 301) as usize) }
}

/// Goal: a keyed aggregate sees each record of its key once, in the order of each sender.
#[test]
fn keyed_sums() {
    const RECORDS: u64 = 400;
    simulate(
        |env| env.generate(RECORDS, |n| (n % 13, n)).key_by(|r| r.0).sum(|r| &mut r.1).collect(),
        |sums| {
            let mut last: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
            for (key, sum) in sums.take() {
                let (count, greatest) = last.entry(key).or_default();
                *count += 1;
                *greatest = sum.max(*greatest);
            }
            for key in 0..13 {
                let of_key = (0..RECORDS).filter(|n| n % 13 == key);
                assert_eq!(last[&key], (of_key.clone().count(), of_key.sum()), "key {key}");
            }
        },
    );
}

/// Goal: keys that are texts, several exchanges one after the other, and records of very different sizes.
#[test]
fn words_are_counted() {
    const RECORDS: u64 = 300;
    simulate(
        |env| {
            let notes = env.generate(RECORDS, note).rebalance();
            let keyed = notes.key_by(|n| n.text.len().to_string()).count();
            keyed.shuffle().owned().key_by(|(_, n)| *n).count().collect()
        },
        |counts| {
            let mut by_word: HashMap<u64, u64> = HashMap::new();
            let mut by_count: BTreeMap<u64, u64> = BTreeMap::new();
            for id in 0..RECORDS {
                let n = by_word.entry(id * id % 301).or_default();
                *n += 1;
                *by_count.entry(*n).or_default() += 1;
            }
            let mut got: BTreeMap<u64, u64> = BTreeMap::new();
            for (count, n) in counts.take() {
                let greatest = got.entry(count).or_default();
                *greatest = n.max(*greatest);
            }
            assert_eq!(got, by_count);
        },
    );
}

/// Goal: no partitioning loses or repeats a record; broadcast gives each to all.
#[test]
fn partitionings() {
    const RECORDS: u64 = 200;
    let build = |env: &Env| {
        let source = || env.generate(RECORDS, note);
        vec![
            source().rebalance().owned().collect(),
            source().rescale().owned().collect(),
            source().shuffle().owned().collect(),
            source().global().owned().collect(),
            source().start_new_chain().owned().collect(),
            source().parallelism(2).rebalance().owned().parallelism(3).collect(),
        ]
    };
    simulate(build, |collected| {
        let expected: Vec<Note> = (0..RECORDS).map(note).collect();
        for (i, records) in collected.iter().enumerate() {
            assert_eq!(sorted(records), expected, "partitioning {i}");
        }
    });
    simulate(
        |env| {
            let copies = env.generate(RECORDS, |n| n).parallelism(3).broadcast().parallelism(4);
            copies.map(|n| n.to_native()).collect()
        },
        |copies| {
            let expected: Vec<u64> = (0..RECORDS).flat_map(|n| [n; 4]).collect();
            assert_eq!(sorted(&copies), expected);
        },
    );
}

fn halves<C: Chain<Out = u64>>(numbers: Stream<C>) -> (Collected<u64>, Collected<u64>, Collected<u64>) {
    let shared = numbers.share();
    let odd = shared.stream().owned().filter(|n| n % 2 == 1);
    let even = shared.stream().owned().filter(|n| n % 2 == 0).rebalance().owned();
    let again = shared.stream().map(|n: &Archived<u64>| n.to_native()).collect();
    let doubled = shared.stream().owned().map(|n| n * 2).rebalance().owned().collect();
    (odd.union(even).owned().collect(), again, doubled)
}

/// Goal: a shared stream reaches all its readers whole, and a union is both its sides.
#[test]
fn shared_streams_and_unions() {
    const RECORDS: u64 = 500;
    simulate(
        |env| halves(env.generate(RECORDS, |n| n)),
        |(union, again, doubled)| {
            let expected: Vec<u64> = (0..RECORDS).collect();
            assert_eq!(sorted(&union), expected);
            assert_eq!(sorted(&again), expected);
            assert_eq!(sorted(&doubled), expected.iter().map(|n| n * 2).collect::<Vec<_>>());
        },
    );
}

/// Goal: event time is sound behind exchanges and unions: watermarks rise, end at the maximum, and nothing comes that
/// they have ruled out.
#[test]
fn watermarks_in_order() {
    const RECORDS: u64 = 300;
    const DELAY: i64 = 20;
    /// Out of order, but by no more than `DELAY`.
    fn time(n: &u64) -> i64 {
        *n as i64 * 10 - (*n as i64 * 7) % DELAY
    }
    let build = |env: &Env| {
        let strategy = || bounded(Duration::from_millis(DELAY as u64)).by(time);
        let left = env.generate(RECORDS, |n| n).watermarks(strategy()).rebalance().owned();
        let right = env.generate(RECORDS, |n| n).watermarks(strategy());
        let recorders: Vec<Recorder<u64>> = (0..5).map(|_| Recorder::new()).collect();
        left.union(right).owned().sink("recorders", testing::PerSubtask(recorders.clone()));
        recorders
    };
    simulate(build, |recorders| {
        let mut records = Vec::new();
        for recorder in recorders {
            let mut watermark = i64::MIN;
            let events = recorder.take();
            assert!(matches!(events.last(), None | Some(Event::Watermark(MAX_WATERMARK))));
            for event in events {
                match event {
                    Event::Watermark(next) => {
                        assert!(next > watermark, "{next} after {watermark}");
                        watermark = next;
                    }
                    Event::Record(n, timestamp) => {
                        assert_eq!(timestamp, Some(time(&n)));
                        assert!(time(&n) > watermark, "{} after {watermark}", time(&n));
                        records.push(n);
                    }
                }
            }
        }
        records.sort_unstable();
        assert_eq!(records, (0..RECORDS).flat_map(|n| [n, n]).collect::<Vec<_>>());
    });
}

/// A record in the stream of the window tests: (time, key, value).
type Sale = (i64, u64, u64);

fn sale(n: u64) -> Sale {
    let n = n as i64;
    (n * 3 - (n * 5) % 17, (n * n % 5) as u64, (n % 23) as u64)
}

fn sales(env: &Env, records: u64) -> Stream<impl Chain<Out = Sale>> {
    env.generate(records, sale).watermarks(bounded(ms(17)).by(|sale: &Sale| sale.0))
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Goal: windows hold what a batch computation puts into them, with and without pre-aggregation, behind any exchange.
#[test]
fn windows() {
    const RECORDS: u64 = 300;
    let build = |env: &Env| {
        let sums = sales(env, RECORDS)
            .key_by(|sale| sale.1)
            .map_values(|sale| sale.2)
            .window(Sliding::of(ms(60)).every(ms(20)))
            .aggregate(Count)
            .map(|r| (r.window.end, r.key, r.value))
            .collect();
        let best = sales(env, RECORDS).rebalance().owned().window_all(Tumbling::of(ms(50))).max_by(|s| *s);
        let sessions =
            sales(env, RECORDS).filter(|sale| sale.2 < 8).key_by(|sale| sale.1).map_values(|_| 1_u64);
        let sessions = sessions.window(Session::gap(ms(10)));
        let sessions = sessions.process_with(|key, window, all, out| {
            out.collect((*key, window.start, window.end, all.len() as u64));
        });
        (sums, best.collect(), sessions.collect())
    };
    let all = || (0..RECORDS).map(sale);
    let mut counts: BTreeMap<(i64, u64), u64> = BTreeMap::new();
    let mut greatest: BTreeMap<i64, Sale> = BTreeMap::new();
    let mut times: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for (time, key, value) in all() {
        let first = time.div_euclid(20) * 20 + 20;
        (0..3).for_each(|i| *counts.entry((first + 20 * i, key)).or_default() += 1);
        let best = greatest.entry(time.div_euclid(50)).or_insert((i64::MIN, 0, 0));
        *best = (time, key, value).max(*best);
        if value < 8 {
            times.entry(key).or_default().push(time);
        }
    }
    let mut spans = Vec::new();
    for (key, mut times) in times {
        times.sort_unstable();
        let mut open: Option<(u64, i64, i64, u64)> = None;
        for time in times {
            match &mut open {
                Some((_, _, end, n)) if time <= *end => (*end, *n) = (time + 10, *n + 1),
                _ => spans.extend(open.replace((key, time, time + 10, 1))),
            }
        }
        spans.extend(open);
    }
    simulate(build, |(sums, best, sessions)| {
        let expected: Vec<_> = counts.iter().map(|(&(end, key), &n)| (end, key, n)).collect();
        assert_eq!(sorted(&sums), expected);
        assert_eq!(sorted(&best), greatest.values().copied().collect::<Vec<_>>());
        assert_eq!(sorted(&sessions), spans);
    });
}

/// Goal: a join finds every pair of a window once, however the two sides arrive.
#[test]
fn joins() {
    const RECORDS: u64 = 100;
    let build = |env: &Env| {
        let pairs = sales(env, RECORDS).join(sales(env, RECORDS).rebalance().owned());
        let pairs = pairs.on(|sale| sale.1, |sale| sale.1).window(Tumbling::of(ms(40)));
        pairs.apply(|left, right| (*left, *right)).collect()
    };
    let all = || (0..RECORDS).map(sale);
    let meet = |l: Sale, r: Sale| l.1 == r.1 && l.0.div_euclid(40) == r.0.div_euclid(40);
    let mut expected: Vec<(Sale, Sale)> =
        all().flat_map(|l| all().filter(move |&r| meet(l, r)).map(move |r| (l, r))).collect();
    expected.sort_unstable();
    simulate(build, |pairs| assert_eq!(sorted(&pairs), expected));
}

/// Goal: a failure on one core ends the whole job with the first cause, at every parallelism and schedule.
#[test]
fn failures() {
    seeds(SEEDS, |seed| {
        let env = Env::new().parallelism(1 + (seed % 5) as usize);
        let numbers = env.generate(100, |n| n).rebalance().owned();
        let checked = numbers.map(|n| if *n == 71 { std::panic::resume_unwind(Box::new("71")) } else { *n });
        checked.key_by(|n| n % 3).count().blackhole();
        let error = Simulator::new(seed).run(&env).unwrap_err();
        assert!(matches!(&error, Error::Panic { message, .. } if message == "71"), "{error}");
    });
}

/// Goal: the simulator's answer is the runtime's.
#[test]
fn the_runtime_agrees() {
    let build = |env: &Env| env.generate(500, |n| n).key_by(|n| n % 5).count().collect();
    let run = |run: &dyn Fn(&Env) -> Result<JobResult>| {
        let env = Env::new().parallelism(2);
        let counts = build(&env);
        run(&env).unwrap();
        sorted(&counts)
    };
    let real = run(&Env::execute);
    assert_eq!(run(&|env| Simulator::new(0).run(env)), real);
}

mod testing {
    use thalweg::testing::Recorder;
    use thalweg::{Result, Sink, SinkContext};

    /// A recorder for each subtask.
    #[derive(Clone)]
    pub(crate) struct PerSubtask<T>(pub(crate) Vec<Recorder<T>>);

    impl<T: Clone + Send + 'static> Sink<T> for PerSubtask<T> {
        type Writer = Recorder<T>;

        fn writer(&self, cx: &SinkContext) -> Result<Recorder<T>> {
            self.0[cx.subtask()].writer(cx)
        }
    }
}

/// Registers `TIMERS` processing-time timers that are due at once with its first record, and looks at each later one whether all
/// have fired.
#[derive(Clone)]
struct Flood {
    fired: Arc<AtomicU64>,
}

const TIMERS: u64 = 20_000;

impl KeyedProcessFunction<u64, u64> for Flood {
    type Out = u64;
    type State = ();

    fn open(&mut self, _cx: &OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    fn process(&mut self, record: &Archived<u64>, _state: &mut (), cx: &mut impl KeyedContext<u64, u64>) {
        if record.to_native() == 0 {
            (0..TIMERS).for_each(|time| cx.register_processing_timer(time as i64));
        } else if self.fired.load(Relaxed) < TIMERS {
            cx.fail("a record came before timers that were due");
        }
    }

    fn on_timer(&mut self, timestamp: i64, _state: &mut (), cx: &mut impl KeyedContext<u64, u64>) {
        let before = self.fired.fetch_add(1, Relaxed);
        assert_eq!(before as i64, timestamp, "in the order of their times");
        cx.collect(&before);
    }
}

/// Goal: processing-time timers that are all due fire before the next record, but not in one step. Method: another job on the
/// same core, which has records for as long as they fire.
#[test]
fn firing_many_timers_lets_others_work() {
    seeds(20, |seed| {
        let env = Env::new().parallelism(1);
        let fired = Arc::new(AtomicU64::new(0));
        let function = Flood { fired: fired.clone() };
        let results = env.generate(100, |n| n).key_by(|_| 7).process(function).collect();
        let meanwhile = Arc::new(AtomicU64::new(0));
        let (seen, counter) = (fired.clone(), meanwhile.clone());
        let look = move |_: &u64| {
            let fired = seen.load(Relaxed);
            counter.fetch_add(u64::from(fired > 0 && fired < TIMERS), Relaxed);
        };
        env.generate(100_000, |n| n).map(look).blackhole();
        Simulator::new(seed).clock(1_000_000).run(&env).unwrap();
        assert_eq!((fired.load(Relaxed), results.take().len()), (TIMERS, TIMERS as usize));
        assert!(meanwhile.load(Relaxed) > 0, "the other job had its turn");
    });
}
