//! The mini language of `script` jobs: a record's value is the program its operator runs.
//!
//! ```text
//!   "v.set x; et+ 5; emit a b"  ──▶  [Value(Set("x")), RegisterEventTimer(After(5)), Emit("a b")]
//! ```
//!
//! Commands are separated by `;`, a command from its arguments by blanks; the last text argument runs to the end of
//! its command. Empty commands do nothing. What is not a command is an error.

use serde::Deserialize;

/// A program: what one record, or one timer, makes the operator do.
///
/// ```
/// use thalweg_tests::conformance::script::{Command, Script, Time, ValueCommand};
///
/// let script: Script = "v.set x; et+ 5;".parse().unwrap();
/// let expected = [Command::Value(ValueCommand::Set("x".into())), Command::RegisterEventTimer(Time::After(5))];
/// assert_eq!(script.0, expected);
/// assert_eq!("v.st x".parse::<Script>().unwrap_err().to_string(), "\"v.st x\" is not a command");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Script(pub Vec<Command>);

/// When a timer is due, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// At this time.
    At(i64),
    /// This long after the timestamp of the element or timer (event time), or after now (processing time).
    After(i64),
}

impl Time {
    /// The time itself, given what [`Time::After`] counts from. Wraps as Java does.
    #[must_use]
    pub fn since(self, origin: i64) -> i64 {
        match self {
            Self::At(time) => time,
            Self::After(delay) => origin.wrapping_add(delay),
        }
    }
}

/// One command; SPEC.md defines their effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `emit X`
    Emit(String),
    /// `key`
    Key,
    /// `ts`
    Timestamp,
    /// `wm`
    Watermark,
    /// `now`
    Now,
    /// `side X`
    Side(String),
    /// `et T`, `et+ D`
    RegisterEventTimer(Time),
    /// `det T`, `det+ D`
    DeleteEventTimer(Time),
    /// `pt T`, `pt+ D`
    RegisterProcessingTimer(Time),
    /// `dpt T`
    DeleteProcessingTimer(i64),
    /// `chain D K`: an event timer at ts + D, if fewer than K were chained for this key.
    #[expect(missing_docs, reason = "above")]
    ChainEventTimer { delay: i64, limit: i64 },
    /// `pchain D K`: the same in processing time.
    #[expect(missing_docs, reason = "above")]
    ChainProcessingTimer { delay: i64, limit: i64 },
    /// `v.…`
    Value(ValueCommand),
    /// `l.…`
    List(ListCommand),
    /// `m.…`
    Map(MapCommand),
    /// `r.…`: the state is a sum.
    Reducing(AddCommand),
    /// `a.…`: the state is a sum and a count.
    Aggregating(AddCommand),
    /// `b.…`: broadcast state. `put`, `rm` and `clear` are for the broadcast side only.
    Broadcast(MapCommand),
    /// `apply.v`
    ApplyToValueStates,
}

/// On the value state `v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueCommand {
    /// `v.set X`
    Set(String),
    /// `v.get`
    Get,
    /// `v.clear`
    Clear,
}

/// On the list state `l`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListCommand {
    /// `l.add X`
    Add(String),
    /// `l.addall X,Y`
    AddAll(Vec<String>),
    /// `l.update X,Y`
    Update(Vec<String>),
    /// `l.get`
    Get,
    /// `l.clear`
    Clear,
}

/// On the map state `m` or the broadcast state `b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapCommand {
    /// `m.put K X`
    Put(String, String),
    /// `m.get K`
    Get(String),
    /// `m.rm K`
    Remove(String),
    /// `m.has K`
    Contains(String),
    /// `m.all`
    Entries,
    /// `m.empty`
    IsEmpty,
    /// `m.clear`
    Clear,
}

/// On the reducing state `r` or the aggregating state `a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddCommand {
    /// `r.add N`
    Add(i64),
    /// `r.get`
    Get,
    /// `r.clear`
    Clear,
}

/// A text that is not a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError(String);

impl std::fmt::Display for ScriptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is not a command", self.0)
    }
}

impl std::error::Error for ScriptError {}

impl std::str::FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        text.split(';')
            .map(str::trim)
            .filter(|command| !command.is_empty())
            .map(|command| parse(command).ok_or_else(|| ScriptError(command.to_owned())))
            .collect::<Result<_, _>>()
            .map(Script)
    }
}

impl TryFrom<String> for Script {
    type Error = ScriptError;

    fn try_from(text: String) -> Result<Self, ScriptError> {
        text.parse()
    }
}

impl Script {
    /// Whether it registers or deletes processing-time timers, or asks for the clock.
    pub fn uses_processing_time(&self) -> bool {
        self.0.iter().any(|command| {
            matches!(
                command,
                Command::Now
                    | Command::RegisterProcessingTimer(_)
                    | Command::DeleteProcessingTimer(_)
                    | Command::ChainProcessingTimer { .. }
            )
        })
    }
}

fn parse(text: &str) -> Option<Command> {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim_start();
    if let Some((state, operation)) = name.split_once('.') {
        return Some(match state {
            "v" => Command::Value(parse_value(operation, rest)?),
            "l" => Command::List(parse_list(operation, rest)?),
            "m" => Command::Map(parse_map(operation, rest)?),
            "r" => Command::Reducing(parse_add(operation, rest)?),
            "a" => Command::Aggregating(parse_add(operation, rest)?),
            "b" => Command::Broadcast(parse_map(operation, rest)?),
            "apply" if operation == "v" && rest.is_empty() => Command::ApplyToValueStates,
            _ => return None,
        });
    }
    Some(match name {
        "emit" => Command::Emit(text_of(rest)?),
        "side" => Command::Side(text_of(rest)?),
        "key" => none(rest, Command::Key)?,
        "ts" => none(rest, Command::Timestamp)?,
        "wm" => none(rest, Command::Watermark)?,
        "now" => none(rest, Command::Now)?,
        "et" => Command::RegisterEventTimer(Time::At(number(rest)?)),
        "et+" => Command::RegisterEventTimer(Time::After(number(rest)?)),
        "det" => Command::DeleteEventTimer(Time::At(number(rest)?)),
        "det+" => Command::DeleteEventTimer(Time::After(number(rest)?)),
        "pt" => Command::RegisterProcessingTimer(Time::At(number(rest)?)),
        "pt+" => Command::RegisterProcessingTimer(Time::After(number(rest)?)),
        "dpt" => Command::DeleteProcessingTimer(number(rest)?),
        "chain" | "pchain" => {
            let (delay, limit) = rest.split_once(char::is_whitespace)?;
            let (delay, limit) = (number(delay)?, number(limit.trim_start())?);
            match name {
                "chain" => Command::ChainEventTimer { delay, limit },
                _ => Command::ChainProcessingTimer { delay, limit },
            }
        }
        _ => return None,
    })
}

fn parse_value(operation: &str, rest: &str) -> Option<ValueCommand> {
    match operation {
        "set" => Some(ValueCommand::Set(text_of(rest)?)),
        "get" => none(rest, ValueCommand::Get),
        "clear" => none(rest, ValueCommand::Clear),
        _ => None,
    }
}

fn parse_list(operation: &str, rest: &str) -> Option<ListCommand> {
    let items = || -> Option<Vec<String>> { rest.split(',').map(text_of).collect() };
    match operation {
        "add" => Some(ListCommand::Add(text_of(rest)?)),
        "addall" => Some(ListCommand::AddAll(items()?)),
        "update" => Some(ListCommand::Update(items()?)),
        "get" => none(rest, ListCommand::Get),
        "clear" => none(rest, ListCommand::Clear),
        _ => None,
    }
}

fn parse_map(operation: &str, rest: &str) -> Option<MapCommand> {
    match operation {
        "put" => {
            let (key, value) = rest.split_once(char::is_whitespace)?;
            Some(MapCommand::Put(text_of(key)?, text_of(value.trim_start())?))
        }
        "get" => Some(MapCommand::Get(text_of(rest)?)),
        "rm" => Some(MapCommand::Remove(text_of(rest)?)),
        "has" => Some(MapCommand::Contains(text_of(rest)?)),
        "all" => none(rest, MapCommand::Entries),
        "empty" => none(rest, MapCommand::IsEmpty),
        "clear" => none(rest, MapCommand::Clear),
        _ => None,
    }
}

fn parse_add(operation: &str, rest: &str) -> Option<AddCommand> {
    match operation {
        "add" => Some(AddCommand::Add(number(rest)?)),
        "get" => none(rest, AddCommand::Get),
        "clear" => none(rest, AddCommand::Clear),
        _ => None,
    }
}

/// `command`, if no argument is left over.
fn none<T>(rest: &str, command: T) -> Option<T> {
    rest.is_empty().then_some(command)
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn text_of(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, commands: &[Command]) {
        assert_eq!(text.parse::<Script>().unwrap().0, commands);
    }

    #[test]
    fn each_command_has_its_form() {
        use Command::*;
        check("", &[]);
        check(" ; key;ts; wm ;now;", &[Key, Timestamp, Watermark, Now]);
        check("emit a b; side x", &[Emit("a b".into()), Side("x".into())]);
        check("et 5; et+ -5", &[RegisterEventTimer(Time::At(5)), RegisterEventTimer(Time::After(-5))]);
        check(
            "det 9223372036854775807; det+ 0",
            &[DeleteEventTimer(Time::At(i64::MAX)), DeleteEventTimer(Time::After(0))],
        );
        check(
            "pt 5; pt+ 6; dpt 7",
            &[
                RegisterProcessingTimer(Time::At(5)),
                RegisterProcessingTimer(Time::After(6)),
                DeleteProcessingTimer(7),
            ],
        );
        check(
            "chain 5 3; pchain -1 2",
            &[ChainEventTimer { delay: 5, limit: 3 }, ChainProcessingTimer { delay: -1, limit: 2 }],
        );
        check(
            "v.set 1; v.get; v.clear",
            &[Value(ValueCommand::Set("1".into())), Value(ValueCommand::Get), Value(ValueCommand::Clear)],
        );
        check(
            "l.add x; l.addall x,y; l.update z; l.get; l.clear",
            &[
                List(ListCommand::Add("x".into())),
                List(ListCommand::AddAll(vec!["x".into(), "y".into()])),
                List(ListCommand::Update(vec!["z".into()])),
                List(ListCommand::Get),
                List(ListCommand::Clear),
            ],
        );
        check(
            "m.put k a b; m.get k; m.rm k; b.has k; b.all; m.empty; b.clear",
            &[
                Map(MapCommand::Put("k".into(), "a b".into())),
                Map(MapCommand::Get("k".into())),
                Map(MapCommand::Remove("k".into())),
                Broadcast(MapCommand::Contains("k".into())),
                Broadcast(MapCommand::Entries),
                Map(MapCommand::IsEmpty),
                Broadcast(MapCommand::Clear),
            ],
        );
        check(
            "r.add -5; a.add 6; r.get; a.clear; apply.v",
            &[
                Reducing(AddCommand::Add(-5)),
                Aggregating(AddCommand::Add(6)),
                Reducing(AddCommand::Get),
                Aggregating(AddCommand::Clear),
                ApplyToValueStates,
            ],
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "et",
            "et x",
            "et 5 6",
            "chain 5",
            "v.set",
            "v.get x",
            "l.addall",
            "l.addall x,",
            "m.put k",
            "r.add 1.5",
            "x.get",
            "v.",
            "apply.l",
            "hello",
            "key x",
            "a b; ",
        ] {
            assert!(text.parse::<Script>().is_err(), "{text}");
        }
    }

    #[test]
    fn knows_processing_time() {
        let uses = |text: &str| text.parse::<Script>().unwrap().uses_processing_time();
        assert!(uses("key; pt 5") && uses("pchain 1 1") && uses("now") && uses("dpt 1"));
        assert!(!uses("et 5; wm; chain 1 1"));
    }
}
