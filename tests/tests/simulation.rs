//! Whole jobs in the simulator: whatever the schedule, their results are those of a batch computation.
//!
//! Each test runs one job at 1 to 5 simulated cores with many seeds. To replay a failure: `THALWEG_SEED=<n>`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rkyv::Archived;
use thalweg::testing::{Event, Recorder, Simulator, seeds};
use thalweg::{Chain, Collected, Env, Error, JobResult, MAX_WATERMARK, Result, Stream, bounded};

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
