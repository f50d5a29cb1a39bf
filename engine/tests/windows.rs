//! Jobs with windows that the general operator runs: triggers, lateness, side outputs, process functions, joins.

use std::time::Duration;

use thalweg::{
    Chain, Count, CountTrigger, Delta, Either, Env, Error, Global, ProcessWindowFunction, Purging, Session,
    Sliding, Stream, Tag, TimeWindow, Timestamp, Trigger, TriggerContext, TriggerResult, Tumbling,
    WindowContext, punctuated,
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
