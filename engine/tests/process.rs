//! Jobs with process functions: the results are the same at every parallelism, side outputs and watermarks included.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rkyv::Archive;
use thalweg::{
    Chain, Context, Env, Error, KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, ListState,
    MapState, OpenContext, Output, ProcessFunction, ReducingState, Result, Source, SourceContext,
    SourceOutput, SourceReader, SourceStatus, Stream, Tag, Timestamp, ValueState, bounded, monotonous,
};

/// Runs a job at several parallelisms; `job` gives its results, which are compared in sorted order.
#[track_caller]
fn same_at_every_parallelism<R: Ord + Clone + Send + std::fmt::Debug + 'static>(
    job: impl Fn(&Env) -> thalweg::Collected<R>,
) -> Vec<R> {
    let run = |parallelism| {
        let env = Env::new().parallelism(parallelism);
        let collected = job(&env);
        env.execute().expect("the job runs");
        let mut results = collected.take();
        results.sort();
        results
    };
    let results = run(1);
    for parallelism in [2, 3] {
        assert_eq!(run(parallelism), results, "parallelism {parallelism}");
    }
    results
}

/// Names of words: keys that own memory.
fn name(n: u64) -> String {
    format!("a rather long name of key {n}")
}

type Event = (String, i64);
type ArchivedEvent = <Event as Archive>::Archived;

fn events(env: &Env, count: u64) -> Stream<impl Chain<Out = Event>> {
    env.generate(count, |n| (name(n % 7), n as i64)).watermarks(monotonous().by(|event: &Event| event.1))
}

/// Every 100 ms of event time the number of records of the key, its last value, and how often it was so many; the records at
/// multiples of 50 also leave by the side.
#[derive(Clone)]
struct Report {
    round: Tag<Event>,
}

impl KeyedProcessFunction<String, Event> for Report {
    type Out = (String, Timestamp, u64);
    type State = (
        ValueState<String, i64>,
        ListState<String, i64>,
        MapState<String, u64, u64>,
        ReducingState<String, u64>,
    );

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        assert!(cx.subtask() < cx.parallelism());
        Ok((cx.value("last")?, cx.list("all")?, cx.map("counts")?, cx.reducing("sum", |sum, n| *sum += n)?))
    }

    fn process(
        &mut self,
        event: &ArchivedEvent,
        state: &mut Self::State,
        cx: &mut impl KeyedContext<String, Self::Out>,
    ) {
        let (last, all, _, sum) = state;
        let value = event.1.to_native();
        assert_eq!((cx.key().as_str(), cx.timestamp()), (event.0.as_str(), Some(value)));
        last.set(cx.at(), value);
        all.add(cx.at(), value);
        sum.add(cx.at(), 1);
        cx.register_event_timer(value / 100 * 100 + 99);
        if value % 50 == 0 {
            cx.side(&self.round, &(cx.key().clone(), value));
        }
    }

    fn on_timer(
        &mut self,
        timestamp: Timestamp,
        state: &mut Self::State,
        cx: &mut impl KeyedContext<String, Self::Out>,
    ) {
        let (last, all, counts, sum) = state;
        assert!(cx.watermark() >= timestamp && last.get(cx.at()).is_some());
        let values = all.take(cx.at());
        let here = values.iter().filter(|&&value| value <= timestamp).count() as u64;
        all.add_all(cx.at(), values.into_iter().filter(|&value| value > timestamp));
        let before = counts.get(cx.at(), &0).copied().unwrap_or(0);
        counts.put(cx.at(), 0, here);
        assert!(sum.get(cx.at()).is_some_and(|&sum| sum >= here + before));
        cx.collect(&(cx.key().clone(), timestamp, here));
    }
}

#[test]
fn keyed_state_timers_and_side_outputs() {
    const COUNT: u64 = 20_000;
    let round = Tag::new("round");
    let reports = same_at_every_parallelism(|env| {
        events(env, COUNT)
            .key_by(|event| event.0.clone())
            .process(Report { round })
            .with_sides(round)
            .collect()
    });
    assert_eq!(reports.len() as u64, 7 * COUNT / 100);
    assert_eq!(reports.iter().map(|report| report.2).sum::<u64>(), COUNT);
    // The same with somebody reading the side output, whose timestamps and watermarks are those of the main output.
    let rounds = same_at_every_parallelism(|env| {
        let reports =
            events(env, COUNT).key_by(|event| event.0.clone()).process(Report { round }).with_sides(round);
        let rounds = reports.side_output(&round).process(Stamp).collect();
        reports.blackhole();
        rounds
    });
    let expected = (0..COUNT as i64).step_by(50).map(|value| (value, Some(value)));
    assert!(rounds.into_iter().eq(expected));
}

/// The value and its timestamp, which is above the watermark.
#[derive(Clone)]
struct Stamp;

impl ProcessFunction<ArchivedEvent> for Stamp {
    type Out = (i64, Option<Timestamp>);

    fn process(&mut self, event: &ArchivedEvent, cx: &mut impl Context<Self::Out>) {
        let timestamp = cx.timestamp().expect("the source gave one");
        assert!(timestamp > cx.watermark(), "{timestamp} after the watermark {}", cx.watermark());
        cx.collect(&(event.1.to_native(), cx.timestamp()));
    }
}

#[test]
fn split_feeds_several_outputs_of_several_types() {
    let (even, third) = (Tag::<u64>::new("even"), Tag::<String>::new("third"));
    let counts = same_at_every_parallelism(|env| {
        let rest =
            env.generate(10_000, |n| n).split((even, third), |n, out, (mut even, mut third)| match n {
                n if n % 2 == 0 => even.collect(n),
                n if n % 3 == 0 => third.collect(&n.to_string()),
                n => out.collect(*n),
            });
        let evens = rest.side_output(&even).map(|n| ('e', n.to_native()));
        let thirds = rest.side_output(&third).map(|n| ('t', n.parse::<u64>().expect("a number")));
        rest.map(|n| ('r', *n)).union(evens).owned().union(thirds).owned().collect()
    });
    assert_eq!(counts.len(), 10_000);
    let of = |kind| counts.iter().filter(move |count| count.0 == kind).map(|count| count.1);
    assert!(of('e').eq((0..10_000).filter(|n| n % 2 == 0)));
    assert!(of('t').eq((0..10_000).filter(|n| n % 2 != 0 && n % 3 == 0)));
}

#[test]
fn a_side_output_needs_one_writer() {
    let tag = Tag::<u64>::new("unwritten");
    let env = Env::new().parallelism(1);
    let stream = env.from_elements([1_u64]).map(|n| *n);
    stream.side_output(&tag).blackhole();
    stream.blackhole();
    assert!(matches!(env.execute(), Err(Error::Plan(message)) if message.contains("unwritten")));

    let env = Env::new().parallelism(1);
    let twice = env
        .from_elements([1_u64])
        .split(tag, |n, out, _| out.collect(*n))
        .split(tag, |n, out, _| out.collect(*n));
    twice.blackhole();
    assert!(matches!(env.execute(), Err(Error::Plan(message)) if message.contains("two operators")));
}

/// Waits in processing time: each record comes out 1 ms after it came in, without a timestamp.
#[derive(Clone)]
struct Delay;

impl KeyedProcessFunction<u64, u64> for Delay {
    type Out = (u64, Option<Timestamp>);
    type State = ListState<u64, u64>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        cx.list("waiting")
    }

    fn process(
        &mut self,
        n: &rkyv::rend::u64_le,
        waiting: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        waiting.add(cx.at(), n.to_native());
        cx.register_processing_timer(cx.now() + 1);
    }

    fn on_timer(
        &mut self,
        timestamp: Timestamp,
        waiting: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        assert!(cx.now() > timestamp);
        for n in waiting.take(cx.at()) {
            cx.collect(&(n, cx.timestamp()));
        }
    }
}

/// Emits 0..count, and ends when `done` has come to `count`.
#[derive(Clone)]
struct Held {
    count: usize,
    done: Arc<AtomicUsize>,
}

struct Reader {
    held: Held,
    next: usize,
    step: usize,
}

impl Source for Held {
    type Item = u64;
    type Reader = Reader;

    fn reader(&self, cx: &SourceContext) -> Result<Reader> {
        Ok(Reader { held: self.clone(), next: cx.subtask(), step: cx.parallelism() })
    }
}

impl SourceReader for Reader {
    type Item = u64;

    fn poll<N: Output<u64>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        while self.next < self.held.count {
            if out.is_full() {
                return Ok(SourceStatus::More);
            }
            out.collect(&(self.next as u64));
            self.next += self.step;
        }
        if self.held.done.load(Ordering::Relaxed) < self.held.count {
            return Ok(SourceStatus::Waiting { until: Some(out.now() + 1) });
        }
        Ok(SourceStatus::End)
    }
}

#[test]
fn processing_timers_fire_while_nothing_comes_in() {
    const COUNT: usize = 3_000;
    let delayed = same_at_every_parallelism(|env| {
        let done = Arc::new(AtomicUsize::new(0));
        let source = env.source("held", Held { count: COUNT, done: done.clone() });
        let delayed = source.key_by(|n| n % 10).process(Delay);
        // On another core, so that what timers make has to be sent without a record that follows.
        let delayed = delayed.rebalance().map(move |record| {
            done.fetch_add(1, Ordering::Relaxed);
            (record.0.to_native(), record.1.is_some())
        });
        delayed.collect()
    });
    assert!(delayed.into_iter().eq((0..COUNT as u64).map(|n| (n, false))));
}

/// What meets within 10 ms of event time of the same key: the left values with the last right one before them.
#[derive(Clone)]
struct Meet {
    alone: Tag<i64>,
}

type Pair = (u64, i64);
type ArchivedPair = <Pair as Archive>::Archived;

impl KeyedCoProcessFunction<u64, Pair, Pair> for Meet {
    type Out = (u64, i64, i64);
    type State = (ValueState<u64, i64>, ValueState<u64, i64>);

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        Ok((cx.value("left")?, cx.value("right")?))
    }

    fn process_left(
        &mut self,
        left: &ArchivedPair,
        state: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        assert!(cx.timestamp() > Some(cx.watermark()), "the watermark is ahead of an input that is in order");
        state.0.set(cx.at(), left.1.to_native());
        cx.register_event_timer(left.1.to_native() + 10);
    }

    fn process_right(
        &mut self,
        right: &ArchivedPair,
        state: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        assert!(cx.timestamp() > Some(cx.watermark()), "the watermark is ahead of an input that is in order");
        state.1.set(cx.at(), right.1.to_native());
        cx.register_event_timer(right.1.to_native() + 10);
    }

    fn on_timer(
        &mut self,
        _: Timestamp,
        state: &mut Self::State,
        cx: &mut impl KeyedContext<u64, Self::Out>,
    ) {
        match (state.0.take(cx.at()), state.1.take(cx.at())) {
            (Some(left), Some(right)) => cx.collect(&(*cx.key(), left, right)),
            (Some(one), None) | (None, Some(one)) => cx.side(&self.alone, &one),
            (None, None) => {}
        }
    }
}

#[test]
fn two_keyed_inputs_meet_by_key() {
    let alone = Tag::new("alone");
    // One record for each key and input, so that no order between the inputs matters.
    let met = same_at_every_parallelism(|env| {
        let pairs = |step: u64| {
            let pairs = env.generate(3_000, move |n| (n * step, (n * step) as i64));
            pairs.watermarks(bounded(std::time::Duration::from_millis(5)).by(|pair: &Pair| pair.1))
        };
        let met = pairs(2).key_by(|pair| pair.0).connect(pairs(3).key_by(|pair| pair.0));
        let met = met.process(Meet { alone }).with_sides(alone);
        let alone = met.side_output(&alone).map(|one| (one.to_native(), false));
        met.map(|met| (met.1, met.1 == met.2)).union(alone).map(|one| (one.0.to_native(), one.1)).collect()
    });
    let both = met.iter().filter(|one| one.1).map(|one| one.0);
    assert!(both.eq((0..6_000).step_by(6)));
    assert_eq!(met.len(), 1_000 + 2 * 2_000);
}

#[test]
fn co_map_and_co_flat_map_take_both_inputs() {
    let mapped = same_at_every_parallelism(|env| {
        let (left, right) = (env.generate(1_000, |n| n), env.generate(500, |n| n.to_string()).parallelism(1));
        left.connect(right)
            .co_map(|n| n.to_native() as i64, |text| -text.parse::<i64>().expect("a number"))
            .collect()
    });
    assert!(mapped.into_iter().eq((1 - 500..1).chain(0..1_000)));
    let flat = same_at_every_parallelism(|env| {
        let (left, right) = (env.generate(1_000, |n| n), env.generate(500, |n| (n, 0)));
        let keyed = left.key_by(|n| n % 5).connect(right.key_by(|pair: &Pair| pair.0));
        keyed.co_flat_map(|n, out| out.extend([n.to_native(); 2]), |_, _| {}).collect()
    });
    assert!(flat.into_iter().eq((0..1_000).flat_map(|n| [n, n])));
}

#[test]
fn what_a_function_cannot_have_is_a_clear_error() {
    #[derive(Clone)]
    struct Twice;

    impl KeyedProcessFunction<u64, u64> for Twice {
        type Out = u64;
        type State = (ValueState<u64, u64>, ListState<u64, u64>);

        fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
            Ok((cx.value("same")?, cx.list("same")?))
        }

        fn process(
            &mut self,
            _: &rkyv::rend::u64_le,
            _: &mut Self::State,
            _: &mut impl KeyedContext<u64, u64>,
        ) {
        }
    }

    let env = Env::new().parallelism(1);
    env.from_elements([1_u64]).key_by(|n| *n).process(Twice).blackhole();
    assert!(
        matches!(env.execute(), Err(Error::Plan(message)) if message.contains("\"same\" is registered twice"))
    );

    #[derive(Clone)]
    struct Stateful;

    impl ProcessFunction<u64> for Stateful {
        type Out = u64;

        fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
            cx.value::<u64, u64>("none").map(drop)
        }

        fn process(&mut self, n: &u64, cx: &mut impl Context<u64>) {
            cx.collect(n);
        }
    }

    let env = Env::new().parallelism(1);
    env.from_elements([1_u64]).process(Stateful).blackhole();
    assert!(matches!(env.execute(), Err(Error::Plan(message)) if message.contains("keyed stream")));
}
