//! Jobs with windows that the general operator runs: triggers, lateness, side outputs, process functions, joins.

use std::time::Duration;

use thalweg::testing::{self, Interleaving, Recorder, Script, Simulator, script};
use thalweg::{
    Aggregate, Chain, ContinuousProcessingTime, Count, CountTrigger, Delta, Either, Env, Error, EventTime,
    Global, KeyedStream, Output, ProcessWindowFunction, ProcessingTime, ProcessingTimeout, Purging, Result,
    Session, Sliding, Source, SourceContext, SourceOutput, SourceReader, SourceStatus, Stream, Tag,
    TimeWindow, Timestamp, Trigger, TriggerContext, TriggerResult, Tumbling, WindowAssigner, WindowContext,
    punctuated,
};

/// Key, timestamp, value.
type Event = (char, i64, i64);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A stream in which every event raises the watermark to its timestamp.
fn events(env: &Env, events: &[Event]) -> Stream<impl Chain<Out = Event> + use<>> {
    env.from_elements(events.to_vec())
        .parallelism(1)
        .watermarks(punctuated(|_: &Event, timestamp| Some(timestamp)).by(|e: &Event| e.1))
}

/// Runs a job at several parallelisms, and sorts what it gives, as order across keys is free.
fn run<T: Ord>(job: impl Fn(Env) -> (Env, thalweg::Collected<T>)) -> Vec<T> {
    let mut results = [1, 2, 3].map(|parallelism| {
        let (env, collected) = job(Env::new().parallelism(parallelism));
        env.execute().unwrap();
        let mut result = collected.take();
        result.sort();
        result
    });
    let [first, rest @ ..] = &mut results;
    assert!(rest.iter().all(|other| other == first), "the parallelism shows");
    std::mem::take(first)
}

#[test]
fn each_late_record_in_the_allowed_time_fires_again_and_the_others_are_put_aside() {
    let input = [('a', 1, 10), ('a', 12, 20), ('a', 2, 30), ('b', 3, 40), ('a', 16, 50), ('a', 4, 60)];
    let job = |env: Env| {
        let late = Tag::new("late");
        let sums = events(&env, &input)
            .key_by(|e| e.0)
            .window(Tumbling::of(ms(10)))
            .allowed_lateness(ms(5))
            .late_output(&late)
            .sum(|e| &mut e.2);
        (sums.side_output(&late).owned().collect(), sums.collect(), env)
    };
    let sums = run(|env| {
        let (_, sums, env) = job(env);
        (env, sums)
    });
    assert_eq!(sums, [('a', 1, 10), ('a', 1, 40), ('a', 12, 70), ('b', 3, 40)]);
    let late = run(|env| {
        let (late, _, env) = job(env);
        (env, late)
    });
    assert_eq!(late, [('a', 4, 60)]);
}

/// Writes to a side output, and counts the firings of each window and key.
#[derive(Clone)]
struct Counted {
    sizes: Tag<u64>,
}

impl ProcessWindowFunction<char, Event> for Counted {
    type Out = (char, i64, u32, u32, Vec<i64>);
    type WindowState = u32;
    type KeyState = u32;

    fn process(&mut self, elements: &[Event], cx: &mut impl WindowContext<char, Self::Out, u32, u32>) {
        *cx.window_state() += 1;
        *cx.key_state() += 1;
        cx.side(&self.sizes, &(elements.len() as u64));
        let (of_window, of_key) = (*cx.window_state(), *cx.key_state());
        let values = elements.iter().map(|e| e.2).collect();
        let result = (*cx.key(), cx.window().end, of_window, of_key, values);
        cx.collect(&result);
    }
}

#[test]
fn a_process_function_has_state_for_windows_and_keys_and_side_outputs() {
    let input = [('a', 1, 10), ('a', 12, 20), ('a', 2, 30), ('b', 13, 40)];
    let job = |env: Env| {
        let sizes = Tag::new("sizes");
        let out = events(&env, &input)
            .key_by(|e| e.0)
            .window(Tumbling::of(ms(10)))
            .allowed_lateness(ms(100))
            .process(Counted { sizes })
            .with_sides(sizes);
        (out.side_output(&sizes).map(|n| n.to_native()).collect(), out.collect(), env)
    };
    let out = run(|env| {
        let (_, out, env) = job(env);
        (env, out)
    });
    assert_eq!(
        out,
        [
            ('a', 10, 1, 1, vec![10]),
            ('a', 10, 2, 2, vec![10, 30]),
            ('a', 20, 1, 3, vec![20]),
            ('b', 20, 1, 1, vec![40]),
        ]
    );
    let sizes = run(|env| {
        let (sizes, _, env) = job(env);
        (env, sizes)
    });
    assert_eq!(sizes, [1, 1, 1, 2]);
}

/// Fires early at every n-th record, and at the end of the window.
#[derive(Clone)]
struct EarlyCount(u64);

impl<T> Trigger<T> for EarlyCount {
    type State = u64;

    fn on_element(
        &mut self,
        _: &T,
        _: Timestamp,
        window: TimeWindow,
        cx: &mut TriggerContext<'_, u64>,
    ) -> TriggerResult {
        if window.max_timestamp() <= cx.watermark() {
            return TriggerResult::Fire;
        }
        cx.register_event_timer(window.max_timestamp());
        *cx.state() += 1;
        if *cx.state() < self.0 {
            return TriggerResult::Continue;
        }
        *cx.state() = 0;
        TriggerResult::Fire
    }

    fn on_event_time(
        &mut self,
        time: Timestamp,
        window: TimeWindow,
        _: &mut TriggerContext<'_, u64>,
    ) -> TriggerResult {
        if time == window.max_timestamp() { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, merged: &[u64], window: TimeWindow, cx: &mut TriggerContext<'_, u64>) {
        *cx.state() += merged.iter().sum::<u64>();
        if window.max_timestamp() > cx.watermark() {
            cx.register_event_timer(window.max_timestamp());
        }
    }

    fn clear(&mut self, window: TimeWindow, cx: &mut TriggerContext<'_, u64>) {
        cx.delete_event_timer(window.max_timestamp());
    }
}

#[test]
fn a_trigger_of_ones_own_fires_sessions_early() {
    let input = [('a', 1, 0), ('a', 2, 0), ('a', 4, 0), ('a', 30, 0)];
    let counts = run(|env| {
        let counts = events(&env, &input)
            .key_by(|e| e.0)
            .window(Session::gap(ms(5)))
            .trigger(EarlyCount(2))
            .aggregate(Count)
            .map(|r| (r.key, r.window, r.value))
            .collect();
        (env, counts)
    });
    let window = |start, end| TimeWindow { start, end };
    let early = ('a', window(1, 7), 2);
    assert_eq!(counts, [early, ('a', window(1, 9), 3), ('a', window(30, 35), 1)]);
}

#[test]
fn windows_over_all_records_run_on_one_subtask() {
    let input = [('a', 1, 10), ('b', 2, 5), ('c', 11, 7)];
    let sums = run(|env| {
        let sums = events(&env, &input)
            .rebalance()
            .owned()
            .window_all(Tumbling::of(ms(10)))
            .process_with(|(), window, elements, out| {
                out.collect((window.end, elements.iter().map(|e| e.2).sum::<i64>()))
            })
            .collect();
        (env, sums)
    });
    assert_eq!(sums, [(10, 15), (20, 7)]);
}

#[test]
fn global_windows_fire_as_their_trigger_says() {
    let input: Vec<Event> = (0..7).map(|n| ('a', n, n)).collect();
    let lists = run(|env| {
        let lists = events(&env, &input)
            .key_by(|e| e.0)
            .window(Global)
            .trigger(Purging::of(CountTrigger::of(3)))
            .process_with(|_, _, elements, out| out.collect(elements.iter().map(|e| e.2).collect::<Vec<_>>()))
            .collect();
        (env, lists)
    });
    assert_eq!(lists, [[0, 1, 2], [3, 4, 5]]);
    let at_end = run(|env| {
        let sum =
            events(&env, &input).key_by(|e| e.0).window(Global::end_of_stream()).sum(|e| &mut e.2).collect();
        (env, sum)
    });
    assert_eq!(at_end, [('a', 0, 21)]);
}

#[test]
fn a_session_may_take_its_gap_from_the_record() {
    let input = [('a', 1, 20), ('a', 5, 1), ('a', 30, 2), ('b', 31, 3)];
    let sessions = run(|env| {
        let sessions = events(&env, &input)
            .key_by(|e| e.0)
            .window(Session::dynamic(|e: &Event| ms(e.2 as u64)))
            .process_with(|key, window, elements, out| {
                out.collect((*key, window.start, window.end, elements.len()))
            })
            .collect();
        (env, sessions)
    });
    assert_eq!(sessions, [('a', 1, 21, 2), ('a', 30, 32, 1), ('b', 31, 34, 1)]);
}

/// Sums windows over all records, on a clock that the test moves. `steps`: `clock` or `clock:record`, in ms. `sums`: those that the
/// windows emit, each with the clock at that moment.
#[track_caller]
fn check_clock<A: WindowAssigner<i64>>(
    assigner: A,
    trigger: impl Trigger<i64>,
    steps: &str,
    sums: &[(Timestamp, i64)],
) {
    testing::seeds(4, |seed| {
        let env = Env::new().parallelism(1);
        let (input, source) = script::<i64>();
        let seen = Recorder::new();
        let windows = env.source("script", source).window_all(assigner.clone()).trigger(trigger.clone());
        windows.sum(|n| n).sink("seen", seen.clone());
        let mut job = Simulator::new(seed).start(&env).unwrap();
        let mut got = Vec::new();
        for step in steps.split(' ') {
            let (clock, record) = step.split_once(':').map_or((step, None), |(clock, n)| (clock, Some(n)));
            let clock: Timestamp = clock.parse().unwrap();
            for now in job.clock()..=clock {
                job.advance_clock_to(now).unwrap();
                got.extend(sums_of(&seen).map(|sum| (now, sum)));
            }
            if let Some(record) = record {
                input.record(record.parse().unwrap(), 0);
                job.run_until_quiet().unwrap();
                got.extend(sums_of(&seen).map(|sum| (clock, sum)));
            }
        }
        assert_eq!(got, sums);
    });
}

fn sums_of(seen: &Recorder<i64>) -> impl Iterator<Item = i64> {
    seen.take().into_iter().filter_map(|event| match event {
        testing::Event::Record(sum, _) => Some(sum),
        _ => None,
    })
}

#[test]
fn processing_time_fires_when_the_clock_has_passed_the_end() {
    let windows = Tumbling::of(ms(10));
    check_clock(windows.processing_time(), ProcessingTime, "0:1 2:2 9 10 12:3 40", &[(10, 3), (20, 3)]);
    check_clock(
        windows.offset_back(ms(3)).processing_time(),
        ProcessingTime,
        "0:1 7:2 40",
        &[(7, 1), (17, 2)],
    );
    // In event time, which does not move here: only the clock fires.
    check_clock(windows, ProcessingTime, "2:1 30:2", &[(10, 1), (30, 3)]);
    check_clock(Session::gap(ms(10)).processing_time(), ProcessingTime, "0:1 4:2 40", &[(14, 3)]);
}

/// The first two are Flink's `ContinuousProcessingTimeTriggerTest`, on a clock that fires timers a millisecond later.
#[test]
fn continuous_processing_time_fires_at_multiples_and_at_the_end() {
    let every = |interval| ContinuousProcessingTime::every(ms(interval));
    let tumbling = Tumbling::of(ms(10)).processing_time();
    check_clock(tumbling, every(5), "0:1 2:2 7:3 10:3 18:3 40", &[(6, 3), (10, 6), (16, 3), (20, 6)]);
    let sessions = Session::gap(ms(10)).processing_time();
    check_clock(sessions, every(5), "0:1 2:2 100", &[(6, 3), (11, 3), (12, 3)]);
    check_clock(Global, every(5), "3:1 7:2 16", &[(6, 1), (11, 3), (16, 3)]);
    check_clock(Global, Purging::of(every(5)), "3:1 7:2 16", &[(6, 1), (11, 2)]);
    // The clock has long passed the end of an event-time window: each record fires once, and nothing goes on for ever.
    check_clock(Tumbling::of(ms(10)), every(5), "18:1 30:2 60", &[(18, 1), (30, 3)]);
}

#[test]
fn a_timeout_fires_what_its_inner_trigger_does_not() {
    let timeout = ProcessingTimeout::of(CountTrigger::of(3), ms(5));
    let steps = "1:1 4:2 12:3 13:4 13:5 30:6 50";
    check_clock(Global, Purging::of(timeout), steps, &[(7, 3), (13, 12), (36, 6)]);
    let restarted = timeout.restarted_by_records();
    check_clock(Global, Purging::of(restarted), "1:1 4:2 8:3 20:4 24:5 50", &[(8, 6), (30, 9)]);
    check_clock(Global, restarted, "1:1 4:2 20", &[(10, 3)]);
    // The count goes on, and the timeout does not begin again.
    check_clock(Global, timeout.keeping_state(), "1:1 4:2 12:3 30:4 50", &[(7, 3), (12, 6), (36, 10)]);
    check_clock(Global, timeout, "1:1 4:2 12:3 30", &[(7, 3), (18, 6)]);
}

fn two_streams(env: &Env) -> [Stream<impl Chain<Out = Event> + use<>>; 2] {
    let left = [('a', 1, 10), ('b', 2, 20), ('a', 8, 30), ('c', 15, 40)];
    let right = [('a', 3, 1), ('a', 5, 2), ('d', 6, 3), ('c', 12, 4)];
    [&left, &right].map(|side| events(env, side))
}

#[test]
fn a_join_pairs_what_has_the_same_key_in_the_same_window() {
    let tumbling = run(|env| {
        let [left, right] = two_streams(&env);
        let pairs = left.join(right).on(|l| l.0, |r| r.0).window(Tumbling::of(ms(10)));
        let pairs = pairs.apply(|l, r| (l.0, l.2, r.2)).collect();
        (env, pairs)
    });
    assert_eq!(tumbling, [('a', 10, 1), ('a', 10, 2), ('a', 30, 1), ('a', 30, 2), ('c', 40, 4)]);
    let sliding = run(|env| {
        let [left, right] = two_streams(&env);
        let pairs = left.join(right).on(|l| l.0, |r| r.0).window(Sliding::of(ms(10)).every(ms(5)));
        let pairs = pairs.apply(|l, r| (l.0, l.2, r.2)).collect();
        (env, pairs)
    });
    assert_eq!(sliding.iter().filter(|pair| **pair == ('a', 30, 2)).count(), 2); // Together in two windows.
    let sessions = run(|env| {
        let [left, right] = two_streams(&env);
        let gap = Session::dynamic(|record: &Either<Event, Event>| match record {
            Either::Left(_) => ms(1),
            Either::Right(_) => ms(4),
        });
        let pairs = left.join(right).on(|l| l.0, |r| r.0).window(gap).apply(|l, r| (l.0, l.2, r.2));
        let pairs = pairs.collect();
        (env, pairs)
    });
    assert_eq!(sessions, [('a', 30, 1), ('a', 30, 2), ('c', 40, 4)]);
}

#[test]
fn a_co_group_has_groups_of_one_side_too() {
    let groups = run(|env| {
        let [left, right] = two_streams(&env);
        let groups = left
            .co_group(right)
            .on(|l| l.0, |r| r.0)
            .window(Tumbling::of(ms(10)))
            .allowed_lateness(ms(0))
            .apply(|l, r, out| {
                let mut values: Vec<i64> = l.iter().map(|l| l.2).collect();
                values.push(-1);
                values.extend(r.iter().map(|r| r.2));
                out.collect(values);
            })
            .collect();
        (env, groups)
    });
    assert_eq!(groups, [vec![-1, 3], vec![10, 30, -1, 1, 2], vec![20, -1], vec![40, -1, 4]]);
}

/// Some 300 records of three keys, by chance: in order but for jitter, now and then a watermark, which is mostly too early.
fn jittered(seed: u64) -> Vec<Event> {
    let mut state = seed;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % n) as i64
    };
    let jitter = 1 + below(60) as u64;
    let watermarks = 2 + below(9) as u64;
    let step = 1 + below(12);
    (0..300)
        .map(|n| {
            (['a', 'b', 'c'][below(3) as usize], n * step + below(jitter) - below(20), below(watermarks))
        })
        .collect()
}

/// Key, window and result of each firing, and the late records.
type Fired = (Vec<(char, TimeWindow, u64)>, u64);

/// A digest of the values in the order in which they came, and by what a later one multiplies it.
#[derive(Clone)]
struct InOrder;

impl Aggregate<Event> for InOrder {
    type Acc = (u64, u64);
    type Out = u64;

    fn create(&self) -> (u64, u64) {
        (0, 1)
    }

    fn add(&self, acc: &mut (u64, u64), event: &Event) {
        self.merge(acc, (event.1.cast_unsigned(), 0x9e37_79b9_7f4a_7c15));
    }

    fn merge(&self, acc: &mut (u64, u64), other: (u64, u64)) {
        *acc = (acc.0.wrapping_mul(other.1).wrapping_add(other.0), acc.1.wrapping_mul(other.1));
    }

    fn result(&self, acc: &(u64, u64)) -> u64 {
        acc.0
    }
}

/// Goal: aggregating in parts gives what taking records one by one does, firing by firing and late record by late record. Method: the
/// same job on both paths, with one source, so that the order of records and watermarks is the same; settings by chance.
#[test]
fn windows_in_parts_agree_with_those_that_take_each_record() {
    macro_rules! fired {
        ($seed:expr, $lateness:expr, $aggregate:ident, |$windows:ident| $make:expr) => {{
            let env = Env::new().parallelism(3);
            let $windows = env
                .from_elements(jittered($seed))
                .parallelism(1)
                .watermarks(punctuated(|e: &Event, at| (e.2 == 0).then_some(at)).by(|e: &Event| e.1))
                .key_by(|e| e.0);
            let windows = $make.allowed_lateness(ms($lateness));
            let results = windows.aggregate($aggregate).map(|r| (r.key, r.window, r.value)).collect();
            let dropped = Simulator::new($seed).run(&env).unwrap().late_records_dropped();
            let mut results = results.take();
            results.sort();
            let fired: Fired = (results, dropped);
            fired
        }};
    }
    macro_rules! agree {
        ($assigner:expr, $aggregate:ident) => {
            testing::seeds(300, |seed| {
                let lateness = [0, 3, 40][seed as usize % 3];
                let in_parts = fired!(seed, lateness, $aggregate, |keyed| keyed.window($assigner));
                let each =
                    fired!(seed, lateness, $aggregate, |keyed| keyed.window($assigner).trigger(EventTime));
                assert_eq!(in_parts, each, "{} of {}", stringify!($aggregate), stringify!($assigner));
            });
        };
    }
    agree!(Tumbling::of(ms(10)), Count);
    agree!(Tumbling::of(ms(70)).offset_back(ms(13)), InOrder);
    agree!(Sliding::of(ms(30)).every(ms(7)).offset_back(ms(2)), Count);
    agree!(Sliding::of(ms(30)).every(ms(7)).offset_back(ms(2)), InOrder);
    agree!(Sliding::of(ms(7)).every(ms(30)).offset(ms(11)), Count);
    agree!(Sliding::of(ms(12)).every(ms(16)).offset(ms(3)), InOrder);
    agree!(Session::gap(ms(4)), Count);
    agree!(Session::gap(ms(24)), Count);
    agree!(Session::gap(ms(50)), Count);
}

/// One subtask is far ahead. The other is idle until the clock shows [`OneWakesUp::WAKES_AT`], then brings three records of old.
#[derive(Clone)]
struct OneWakesUp {
    is_ahead: bool,
    polls: u32,
}

impl OneWakesUp {
    const WAKES_AT: Timestamp = 1_000;
}

impl Source for OneWakesUp {
    type Item = Event;
    type Reader = Self;

    fn reader(&self, cx: &SourceContext) -> Result<Self> {
        Ok(Self { is_ahead: cx.subtask() == 0, polls: 0 })
    }
}

impl SourceReader for OneWakesUp {
    type Item = Event;

    fn poll<N: Output<Event>>(&mut self, out: &mut SourceOutput<'_, N>) -> Result<SourceStatus> {
        self.polls += 1;
        if self.polls == 1 && self.is_ahead {
            out.collect_at(&('a', 100, 0), 100);
            out.watermark(100);
        } else if self.polls == 1 {
            out.set_idle(true);
        } else if out.now() >= Self::WAKES_AT {
            (5..8).filter(|_| !self.is_ahead).for_each(|at| out.collect_at(&('a', at, 0), at));
            return Ok(SourceStatus::End);
        }
        Ok(SourceStatus::Waiting { until: Some(Self::WAKES_AT) })
    }
}

/// Goal: what a source brings that was idle, while the windows went on without it, is late record by record.
#[test]
fn records_of_a_stream_that_was_idle_are_late_one_by_one() {
    macro_rules! check {
        ($windows:expr) => {
            testing::seeds(8, |seed| {
                let env = Env::new().parallelism(2);
                $windows(env.source("two", OneWakesUp { is_ahead: false, polls: 0 }).key_by(|e| e.0))
                    .aggregate(Count)
                    .name("counts")
                    .blackhole();
                let mut job = Simulator::new(seed).keep_settings().start(&env).unwrap();
                job.run_until_quiet().unwrap();
                let result = job.run_to_end().unwrap();
                assert_eq!(result.operators.len(), 1);
                assert_eq!((&*result.operators[0].name, result.late_records_dropped()), ("counts", 3));
            });
        };
    }
    check!(|keyed: KeyedStream<_, _>| keyed.window(Tumbling::of(ms(10))));
    check!(|keyed: KeyedStream<_, _>| keyed.window(Sliding::of(ms(10)).every(ms(5))));
    check!(|keyed: KeyedStream<_, _>| keyed.window(Session::gap(ms(10))));
    check!(|keyed: KeyedStream<_, _>| keyed.window(Session::gap(ms(10))).trigger(EventTime));
}

/// Goal: late records are counted for each operator, on the real runtime, and not when a late output takes them.
#[test]
fn late_records_are_counted_by_operator() {
    for parallelism in 1..4 {
        let env = Env::new().parallelism(parallelism);
        let input: Vec<Event> = [1, 2, 30, 3, 4, 31, 5].map(|at| ('a', at, at)).into();
        let input = &input;
        let windows = || events(&env, input).key_by(|e| e.0).window(Tumbling::of(ms(10)));
        windows().aggregate(Count).name("in parts").uid("first").blackhole();
        windows().trigger(EventTime).aggregate(Count).name("each").blackhole();
        windows().allowed_lateness(ms(100)).aggregate(Count).name("patient").blackhole();
        let late = Tag::new("late");
        windows().late_output(&late).aggregate(Count).name("put aside").blackhole();
        let sessions = events(&env, input).key_by(|e| e.0).window(Session::gap(ms(10)));
        sessions.aggregate(Count).name("sessions").blackhole();
        let joined = events(&env, input).join(events(&env, input)).on(|e| e.0, |e| e.0);
        joined.window(Global).apply(|_, _| ()).name("global").blackhole();
        let result = env.execute().unwrap();
        let counts: Vec<_> =
            result.operators.iter().map(|o| (o.name.as_str(), o.late_records_dropped)).collect();
        let expected =
            [("in parts", 3), ("each", 3), ("patient", 0), ("put aside", 0), ("sessions", 3), ("global", 0)];
        assert_eq!(counts, expected);
        assert_eq!(result.operators[0].uid.as_deref(), Some("first"));
        assert_eq!(result.late_records_dropped(), 9);
    }
}

/// Joins two sides that do as they are told, one step after the other. Returns the late records.
fn late_of_join(steps: impl Fn(&Script<Event>, &Script<Event>)) -> u64 {
    let order = Interleaving::new();
    let ((left, left_source), (right, right_source)) = (order.script::<Event>(), order.script::<Event>());
    let env = Env::new().parallelism(1);
    let joined = env.source("left", left_source).join(env.source("right", right_source)).on(|e| e.0, |e| e.0);
    joined.window(Tumbling::of(ms(10))).apply(|l, r| (l.2, r.2)).blackhole();
    steps(&left, &right);
    left.end();
    right.end();
    order.execute(&env).unwrap().late_records_dropped()
}

#[test]
fn the_watermarks_of_a_join_are_those_of_a_union() {
    let lesser = late_of_join(|left, right| {
        left.watermark(30);
        right.record(('a', 5, 0), 5); // Not late: the right is still behind.
        right.watermark(20);
        left.record(('a', 6, 0), 6);
        right.record(('a', 7, 0), 7);
        right.record(('a', 20, 0), 20);
    });
    assert_eq!(lesser, 2);
    let woken = late_of_join(|left, right| {
        right.idle();
        left.watermark(30);
        right.record(('a', 5, 0), 5);
        left.watermark(50); // The right is awake but far behind, and does not hold it back.
        left.record(('a', 35, 0), 35);
    });
    assert_eq!(woken, 2);
}

#[track_caller]
fn plan_error(build: impl Fn(&Env)) -> String {
    let env = Env::new().parallelism(2);
    build(&env);
    match env.execute() {
        Err(Error::Plan(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_run_is_an_error_of_the_plan() {
    let input = [('a', 1, 1)];
    let delta = || Delta::of(1.0, |e: &Event| e.2, |a: &i64, b: &i64| (a - b) as f64);
    let message = plan_error(|env| {
        let windows = events(env, &input).key_by(|e| e.0).window(Session::gap(ms(5)));
        windows.trigger(delta()).sum(|e| &mut e.2).blackhole();
    });
    assert!(message.contains("cannot"), "{message}");
    plan_error(|env| {
        let windows = events(env, &input).key_by(|e| e.0).window(Tumbling::of(ms(0)));
        windows.sum(|e| &mut e.2).blackhole();
    });
    plan_error(|env| {
        let windows = events(env, &input).window_all(Tumbling::of(ms(5))).trigger(delta());
        windows.sum(|e| &mut e.2).parallelism(2).blackhole();
    });
    plan_error(|env| {
        let windows = events(env, &input).window_all(Tumbling::of(ms(5)));
        windows.sum(|e| &mut e.2).parallelism(2).blackhole();
    });
}

#[test]
fn what_fails_while_it_runs_fails_the_job() {
    let run = |build: &dyn Fn(&Env)| {
        let env = Env::new().parallelism(1);
        build(&env);
        match env.execute() {
            Err(Error::Operator { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    };
    let message = run(&|env| {
        let numbers = env.from_elements([1_i64]).key_by(|_| ()).window(Tumbling::of(ms(5)));
        numbers.process_with(|_, _, _, out| out.collect(())).blackhole();
    });
    assert!(message.contains("without timestamp"), "{message}");
    let message = run(&|env| {
        let windows = events(env, &[('a', 1, 1)]).key_by(|e| e.0);
        let windows = windows.window(Session::dynamic(|_: &Event| ms(0)));
        windows.sum(|e| &mut e.2).blackhole();
    });
    assert!(message.contains("gap"), "{message}");
    let message = run(&|env| {
        let windows = events(env, &[('a', 1, 1)]).key_by(|e| e.0).window(Session::gap(ms(5)));
        windows.process(Counted { sizes: Tag::new("sizes") }).blackhole();
    });
    assert!(message.contains("merge"), "{message}");
}
