//! The scripted process functions of a case, with one input or two: they do what their records say.

use std::time::Duration;

use thalweg::{
    Aggregating, KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, ListState, MapState,
    OpenContext, Record, ReducingState, Result, StateDescriptor, StateVisibility, Tag, TimeDomain, Timestamp,
    Ttl, UpdateType, ValueState, state_set,
};

use super::fields::{Key, value_of};
use crate::conformance::job::{self, TtlUpdate, TtlVisibility};
use crate::conformance::script::{AddCommand, Command, ListCommand, MapCommand, Script, Time, ValueCommand};
use crate::conformance::value::{ArchivedRec, Rec, Value};

/// A function driven by its records.
#[derive(Debug, Clone)]
pub(super) struct Scripted {
    /// What a timer does, after it has said that it fires.
    pub(super) on_timer: Script,
    pub(super) side: Tag<Rec>,
    /// Of all states but `chained`.
    pub(super) ttl: Option<job::Ttl>,
}

/// The states of the mini language, by their letters.
pub(super) struct States {
    v: ValueState<Key, String>,
    l: ListState<Key, String>,
    m: MapState<Key, String, String>,
    r: ReducingState<Key, i64>,
    /// Sum and count.
    a: Aggregating<Key, (i64, i64), i64, (i64, i64)>,
    /// Calls of `chain`.
    chained: ValueState<Key, i64>,
}

state_set!(States: v, l, m, r, a, chained);

impl Scripted {
    fn open(&self, cx: &OpenContext<'_>) -> Result<States> {
        let ttl = self.ttl.map(ttl_of);
        let named = |name: &str| StateDescriptor { name: name.to_owned(), ttl: ttl.clone() };
        Ok(States {
            v: cx.value(named("v"))?,
            l: cx.list(named("l"))?,
            m: cx.map(named("m"))?,
            r: cx.reducing(named("r"), |sum: &mut i64, n: i64| *sum = sum.wrapping_add(n))?,
            a: cx.aggregating(
                named("a"),
                || (0, 0),
                |acc: &mut (i64, i64), n: i64| *acc = (acc.0.wrapping_add(n), acc.1 + 1),
                |acc| *acc,
            )?,
            chained: cx.value("chained")?,
        })
    }
}

/// Without clean-up in the background, which the cases do not expect.
fn ttl_of(ttl: job::Ttl) -> Ttl {
    let ms = u64::try_from(ttl.ms).expect("a time to live is positive");
    let update_type = match ttl.update {
        TtlUpdate::CreateWrite => UpdateType::OnCreateAndWrite,
        TtlUpdate::ReadWrite => UpdateType::OnReadAndWrite,
    };
    let visibility = match ttl.visibility {
        TtlVisibility::NeverExpired => StateVisibility::NeverReturnExpired,
        TtlVisibility::IfNotCleaned => StateVisibility::ReturnExpiredIfNotCleanedUp,
    };
    Ttl::new(Duration::from_millis(ms))
        .update_type(update_type)
        .visibility(visibility)
        .disable_cleanup_in_background()
}

impl Scripted {
    fn on_record(&self, record: &ArchivedRec, states: &mut States, cx: &mut impl KeyedContext<Key, Rec>) {
        let text = Rec::unarchive(record).value;
        match text.as_str().parse::<Script>() {
            Ok(script) => {
                let ts = cx.timestamp();
                self.run(&script, ts, states, cx);
            }
            Err(error) => cx.fail(error.to_string()),
        }
    }

    fn on_timer(&self, timestamp: Timestamp, states: &mut States, cx: &mut impl KeyedContext<Key, Rec>) {
        let domain = match cx.time_domain() {
            TimeDomain::Event => "event",
            TimeDomain::Processing => "proc",
        };
        emit(cx, ("timer", domain, timestamp));
        self.run(&self.on_timer, Some(timestamp), states, cx);
    }

    /// `ts` is the timestamp of the record or timer.
    fn run(
        &self,
        script: &Script,
        ts: Option<Timestamp>,
        states: &mut States,
        cx: &mut impl KeyedContext<Key, Rec>,
    ) {
        for command in &script.0 {
            match command {
                Command::Emit(text) => emit(cx, ("emit", text.as_str())),
                Command::Key => emit(cx, ("key", value_of(cx.key()))),
                Command::Timestamp => emit(cx, ("ts", ts)),
                Command::Watermark => emit(cx, ("wm", cx.watermark())),
                Command::Now => emit(cx, ("now", cx.now())),
                Command::Side(text) => {
                    let rec = Rec::new(value_of(cx.key()), text.as_str());
                    cx.side(&self.side, &rec);
                }
                Command::RegisterEventTimer(time) => {
                    if let Some(time) = event_time(*time, ts, cx) {
                        cx.register_event_timer(time);
                    }
                }
                Command::DeleteEventTimer(time) => {
                    if let Some(time) = event_time(*time, ts, cx) {
                        cx.delete_event_timer(time);
                    }
                }
                Command::RegisterProcessingTimer(time) => cx.register_processing_timer(time.since(cx.now())),
                Command::DeleteProcessingTimer(time) => cx.delete_processing_timer(*time),
                Command::ChainEventTimer { delay, limit } => {
                    if chains(*limit, states, cx)
                        && let Some(time) = event_time(Time::After(*delay), ts, cx)
                    {
                        cx.register_event_timer(time);
                    }
                }
                Command::ChainProcessingTimer { delay, limit } => {
                    if chains(*limit, states, cx)
                        && let Some(time) = event_time(Time::After(*delay), ts, cx)
                    {
                        cx.register_processing_timer(time);
                    }
                }
                Command::Value(command) => on_value(command, &mut states.v, cx),
                Command::List(command) => on_list(command, &mut states.l, cx),
                Command::Map(command) => on_map(command, &mut states.m, cx),
                Command::Reducing(AddCommand::Add(n)) => {
                    states.r.add(cx.at(), *n);
                }
                Command::Reducing(AddCommand::Get) => emit(cx, ("r", states.r.get(cx.at()).copied())),
                Command::Reducing(AddCommand::Clear) => states.r.clear(cx.at()),
                Command::Aggregating(AddCommand::Add(n)) => states.a.add(cx.at(), *n),
                Command::Aggregating(AddCommand::Get) => {
                    emit(cx, ("a", states.a.get(cx.at()).map(Value::from)))
                }
                Command::Aggregating(AddCommand::Clear) => states.a.clear(cx.at()),
                Command::Broadcast(_) | Command::ApplyToValueStates => {
                    cx.fail("there is no broadcast state here");
                }
            }
        }
    }
}

/// A record with the current key.
fn emit(cx: &mut impl KeyedContext<Key, Rec>, value: impl Into<Value>) {
    let rec = Rec::new(value_of(cx.key()), value);
    cx.collect(&rec);
}

fn event_time(time: Time, ts: Option<Timestamp>, cx: &mut impl KeyedContext<Key, Rec>) -> Option<Timestamp> {
    match (time, ts) {
        (Time::At(time), _) => Some(time),
        (time, Some(ts)) => Some(time.since(ts)),
        (_, None) => {
            cx.fail("a timer relative to the timestamp of a record that has none");
            None
        }
    }
}

/// Whether the key may chain once more.
fn chains(limit: i64, states: &mut States, cx: &mut impl KeyedContext<Key, Rec>) -> bool {
    let count = states.chained.get(cx.at()).copied().unwrap_or(0);
    if count < limit {
        states.chained.set(cx.at(), count + 1);
    }
    count < limit
}

fn on_value(
    command: &ValueCommand,
    state: &mut ValueState<Key, String>,
    cx: &mut impl KeyedContext<Key, Rec>,
) {
    match command {
        ValueCommand::Set(text) => state.set(cx.at(), text.clone()),
        ValueCommand::Get => emit(cx, ("v", state.get(cx.at()).cloned())),
        ValueCommand::Clear => state.clear(cx.at()),
    }
}

fn on_list(command: &ListCommand, state: &mut ListState<Key, String>, cx: &mut impl KeyedContext<Key, Rec>) {
    match command {
        ListCommand::Add(item) => state.add(cx.at(), item.clone()),
        ListCommand::AddAll(items) => state.add_all(cx.at(), items.iter().cloned()),
        ListCommand::Update(items) => state.update(cx.at(), items.clone()),
        ListCommand::Get => {
            let items: Vec<Value> = state.get(cx.at()).iter().map(|item| item.as_str().into()).collect();
            emit(cx, ("l", items));
        }
        ListCommand::Clear => state.clear(cx.at()),
    }
}

fn on_map(
    command: &MapCommand,
    state: &mut MapState<Key, String, String>,
    cx: &mut impl KeyedContext<Key, Rec>,
) {
    match command {
        MapCommand::Put(key, value) => state.put(cx.at(), key.clone(), value.clone()),
        MapCommand::Get(key) => emit(cx, ("m", key.as_str(), state.get(cx.at(), key).cloned())),
        MapCommand::Remove(key) => state.remove(cx.at(), key),
        MapCommand::Contains(key) => {
            emit(cx, ("m.has", key.as_str(), i64::from(state.contains(cx.at(), key))));
        }
        MapCommand::Entries => {
            let mut entries: Vec<(String, String)> =
                state.iter(cx.at()).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
            entries.sort_unstable();
            let entries: Vec<Value> = entries.into_iter().map(Value::from).collect();
            emit(cx, ("m.all", entries));
        }
        MapCommand::IsEmpty => emit(cx, ("m.empty", i64::from(state.is_empty(cx.at())))),
        MapCommand::Clear => state.clear(cx.at()),
    }
}

impl KeyedProcessFunction<Key, Rec> for Scripted {
    type Out = Rec;
    type State = States;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<States> {
        Self::open(self, cx)
    }

    fn process(&mut self, record: &ArchivedRec, states: &mut States, cx: &mut impl KeyedContext<Key, Rec>) {
        self.on_record(record, states, cx);
    }

    fn on_timer(&mut self, time: Timestamp, states: &mut States, cx: &mut impl KeyedContext<Key, Rec>) {
        Scripted::on_timer(self, time, states, cx);
    }
}

impl KeyedCoProcessFunction<Key, Rec, Rec> for Scripted {
    type Out = Rec;
    type State = States;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<States> {
        Self::open(self, cx)
    }

    fn process_left(
        &mut self,
        record: &ArchivedRec,
        states: &mut States,
        cx: &mut impl KeyedContext<Key, Rec>,
    ) {
        self.on_record(record, states, cx);
    }

    fn process_right(
        &mut self,
        record: &ArchivedRec,
        states: &mut States,
        cx: &mut impl KeyedContext<Key, Rec>,
    ) {
        self.on_record(record, states, cx);
    }

    fn on_timer(&mut self, time: Timestamp, states: &mut States, cx: &mut impl KeyedContext<Key, Rec>) {
        Scripted::on_timer(self, time, states, cx);
    }
}

/// `co_flat_map`: the right input's value is kept, and goes out with each value of the left one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate;

impl KeyedCoProcessFunction<Key, Rec, Rec> for Gate {
    type Out = Rec;
    type State = ValueState<Key, Value>;

    fn open(&mut self, cx: &OpenContext<'_>) -> Result<Self::State> {
        cx.value("stored")
    }

    fn process_left(
        &mut self,
        record: &ArchivedRec,
        stored: &mut Self::State,
        cx: &mut impl KeyedContext<Key, Rec>,
    ) {
        if let Some(stored) = stored.get(cx.at()) {
            let value = Value::from((Rec::unarchive(record).value, stored.clone()));
            emit(cx, value);
        }
    }

    fn process_right(
        &mut self,
        record: &ArchivedRec,
        stored: &mut Self::State,
        cx: &mut impl KeyedContext<Key, Rec>,
    ) {
        stored.set(cx.at(), Rec::unarchive(record).value);
    }
}
