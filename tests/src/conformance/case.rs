//! One case of the corpus: a job, what goes in and what must come out.
//!
//! ```text
//!   inputs       l: a@1 ── wm 9 ── end          r: b@2 ── end
//!   interleaving l r l r l                      one step of the run for each name
//!   job          source l ─┐
//!                source r ─┴─ window_join ──▶ output "out" ── compared with expected "out"
//! ```
//!
//! Invariants of a parsed [`Case`]:
//! - it has no field, operator, function or command that this model does not have: those are errors;
//! - nodes come in topological order with distinct ids, and each stream that is named exists, side outputs too;
//! - the interleaving uses up every input exactly, and an end is the last element of its input;
//! - the records of a `double` source hold doubles, however the file writes them, and those of the others their type.
//!
//! Times are in ms, event time unless said otherwise.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value as Json;

use super::functions::ValueType;
use super::job::{Job, Node, Op, StreamRef};
use super::value::{Rec, Value};

/// The environment variable that names the directory of the cases.
pub const DIRECTORY_VARIABLE: &str = "THALWEG_CONFORMANCE";

/// Reads every case of every `*.jsonl` file in the directory, ordered by file name and line.
///
/// The directory is what `THALWEG_CONFORMANCE` names, else `../shared/conformance/visible` beside the workspace. `None`,
/// with a line on stderr, if the latter is not there: the corpus does not come with the sources.
///
/// Panics if a directory was named and cannot be read, or if a case does not parse: a wrong corpus must not pass.
///
/// ```
/// use thalweg_tests::conformance::case;
///
/// let Some(cases) = case::load() else { return }; // Not on this machine.
/// assert!(cases.iter().all(|case| case.name.starts_with(&case.category)));
/// ```
pub fn load() -> Option<Vec<Case>> {
    let directory = match env::var_os(DIRECTORY_VARIABLE) {
        Some(directory) => PathBuf::from(directory),
        None => {
            let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/visible");
            if !beside.is_dir() {
                // Not by `eprintln!`, which a test that passes swallows.
                let _ = writeln!(
                    io::stderr(),
                    "SKIPPED: no conformance cases at {}; {DIRECTORY_VARIABLE} names another directory",
                    beside.display()
                );
                return None;
            }
            beside
        }
    };
    Some(read_directory(&directory).unwrap_or_else(|error| panic!("{error}")))
}

/// Reads every case of every `*.jsonl` file in `directory`, ordered by file name and line.
///
/// Errors say which file and line; a directory without cases is one too.
pub fn read_directory(directory: &Path) -> Result<Vec<Case>, String> {
    let at = |path: &Path, error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| at(directory, &error))? {
        let path = entry.map_err(|error| at(directory, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|error| at(&path, &error))?;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let case = line.parse().map_err(|error| {
                let name = name_of(line).unwrap_or_default();
                at(&path, &format_args!("line {}: {name}: {error}", index + 1))
            })?;
            cases.push(case);
        }
    }
    if cases.is_empty() { Err(at(directory, &"no cases")) } else { Ok(cases) }
}

/// The name of a case that did not parse, for the message.
fn name_of(line: &str) -> Option<String> {
    Some(serde_json::from_str::<Json>(line).ok()?.get("name")?.as_str()?.to_owned())
}

/// One case.
///
/// ```
/// use thalweg_tests::conformance::{case::{Case, Element}, job::Op};
///
/// let case: Case = r#"{
///     "name": "stateless/one", "category": "stateless", "description": "one record",
///     "inputs": {"in": [{"ts": 1, "key": "a", "value": 5}, {"end": true}]}, "interleaving": ["in", "in"],
///     "job": {
///         "nodes": [
///             {"id": "s", "op": "source", "input": "in", "key_type": "string", "value_type": "double"},
///             {"id": "m", "op": "map", "from": "s", "fn": "identity"}
///         ],
///         "outputs": {"out": "m"}
///     },
///     "compare": {"out": "ordered"},
///     "expected": {"out": [{"ts": 1, "key": "a", "value": 5.0}, {"watermark": 9223372036854775807}]}
/// }"#.parse().unwrap();
/// assert!(matches!(case.job.nodes[1].op, Op::Map { .. }));
/// assert_eq!(case.steps().last(), Some(("in", &Element::End)));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub struct Case {
    pub name: String,
    pub category: String,
    pub description: String,
    pub inputs: BTreeMap<String, Vec<Element>>,
    pub interleaving: Vec<String>,
    pub job: Job,
    /// For each output of the job, how it is compared.
    pub compare: BTreeMap<String, Mode>,
    pub expected: Expected,
    /// Why the case is Flink's pathology, and may be skipped.
    pub quirk: Option<String>,
}

impl Case {
    /// The elements in the order of the run, each with its input.
    pub fn steps(&self) -> impl Iterator<Item = (&str, &Element)> {
        let mut next: HashMap<&str, _> =
            self.inputs.iter().map(|(input, elements)| (input.as_str(), elements.iter())).collect();
        self.interleaving.iter().map(move |input| {
            let elements = next.get_mut(input.as_str()).expect("checked when the case was read");
            (input.as_str(), elements.next().expect("checked when the case was read"))
        })
    }

    /// Whether the job must fail.
    pub fn must_fail(&self) -> bool {
        self.expected == Expected::Failure
    }
}

impl std::str::FromStr for Case {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let raw: RawCase = serde_json::from_str(line).map_err(|error| error.to_string())?;
        raw.check()
    }
}

/// What must come out.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// These elements, by output.
    Outputs(BTreeMap<String, Vec<Output>>),
    /// Nothing in particular: the job must fail, when it is built or while it runs.
    Failure,
}

/// How the records between two watermarks of an output are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The same sequence.
    Ordered,
    /// The same sequence for each key.
    Keyed,
    /// The same records, as often.
    Multiset,
}

/// What a source is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A record and its timestamp.
    Record(Stamped),
    /// A watermark of this input.
    Watermark(i64),
    /// The clock of the whole job moves to this time; it is no part of the input's stream.
    ProcessingTime(i64),
    /// The input becomes idle, until its next record or watermark.
    Idle,
    /// The input ends: watermark `i64::MAX`, then end of input.
    End,
}

/// What arrives at an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A record and its timestamp.
    Record(Stamped),
    /// A watermark.
    Watermark(i64),
}

/// A record with its timestamp, if it has one. Displayed as the case files write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the fields say it")]
pub struct Stamped {
    pub ts: Option<i64>,
    pub rec: Rec,
}

impl fmt::Display for Stamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ts, Rec { key, value, aux }) = (Value::from(self.ts), &self.rec);
        write!(f, r#"{{"ts":{ts},"key":{key},"value":{value}"#)?;
        if let Some(aux) = aux {
            write!(f, r#","aux":{aux}"#)?;
        }
        f.write_str("}")
    }
}

// From here on: the form of the file, and the checks that turn it into the above.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    category: String,
    description: String,
    inputs: BTreeMap<String, Vec<Element>>,
    interleaving: Vec<String>,
    job: Job,
    compare: BTreeMap<String, Mode>,
    expected: Json,
    #[serde(default)]
    expect_error: bool,
    quirk: Option<String>,
}

impl RawCase {
    fn check(mut self) -> Result<Case, String> {
        self.check_graph()?;
        self.check_inputs()?;
        self.type_inputs()?;
        let expected = match self.expect_error {
            true if self.expected == serde_json::json!({"error": true}) => Expected::Failure,
            true => return Err("an error is expected, and something else as well".to_owned()),
            false => {
                let outputs: BTreeMap<String, Vec<Output>> =
                    serde_json::from_value(self.expected).map_err(|error| format!("expected: {error}"))?;
                if !outputs.keys().eq(self.compare.keys()) {
                    return Err("expected and compared outputs differ".to_owned());
                }
                Expected::Outputs(outputs)
            }
        };
        if !self.job.outputs.keys().eq(self.compare.keys()) {
            return Err("the job's outputs and the compared ones differ".to_owned());
        }
        let Self { name, category, description, inputs, interleaving, job, compare, quirk, .. } = self;
        Ok(Case { name, category, description, inputs, interleaving, job, compare, expected, quirk })
    }

    /// Every stream that is named is there, and was there before it is read.
    fn check_graph(&self) -> Result<(), String> {
        let mut nodes: HashMap<&str, &Op> = HashMap::new();
        let exists = |nodes: &HashMap<&str, &Op>, stream: &StreamRef| {
            let op = nodes.get(stream.node.as_str());
            let found = op.is_some_and(|op| match &stream.side {
                Some(side) => op.side_outputs().contains(&side.as_str()),
                None => true,
            });
            if found { Ok(()) } else { Err(format!("there is no stream {stream}")) }
        };
        for Node { id, op } in &self.job.nodes {
            op.inputs().into_iter().try_for_each(|stream| exists(&nodes, stream))?;
            if nodes.insert(id, op).is_some() {
                return Err(format!("two nodes are called {id}"));
            }
        }
        self.job.outputs.values().try_for_each(|stream| exists(&nodes, stream))
    }

    /// The interleaving uses the inputs up, and nothing follows an end.
    fn check_inputs(&self) -> Result<(), String> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for input in &self.interleaving {
            *counts.entry(input).or_default() += 1;
        }
        for (input, elements) in &self.inputs {
            if counts.remove(input.as_str()).unwrap_or(0) != elements.len() {
                return Err(format!("the interleaving does not fit input {input}"));
            }
            if elements.iter().rev().skip(1).any(|element| *element == Element::End) {
                return Err(format!("something follows the end of input {input}"));
            }
        }
        match counts.into_keys().next() {
            Some(input) => Err(format!("the interleaving names {input}, which is no input")),
            None => Ok(()),
        }
    }

    /// Gives the records of each source the types it declares.
    fn type_inputs(&mut self) -> Result<(), String> {
        for node in &self.job.nodes {
            let Op::Source { input, key_type, value_type } = &node.op else { continue };
            let elements = self.inputs.get_mut(input).ok_or_else(|| format!("there is no input {input}"))?;
            for element in elements {
                let Element::Record(Stamped { rec, .. }) = element else { continue };
                for (value, value_type) in [(&mut rec.key, *key_type), (&mut rec.value, *value_type)] {
                    if let (Value::Long(long), ValueType::Double) = (&*value, value_type) {
                        *value = Value::Double(*long as f64);
                    }
                    let fits = matches!(
                        (&*value, value_type),
                        (Value::Long(_), ValueType::Long)
                            | (Value::Double(_), ValueType::Double)
                            | (Value::Str(_), ValueType::String)
                    );
                    if !fits {
                        return Err(format!("{value} in input {input} is not a {value_type:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawElement {
    // A field that is null is not one that is absent.
    #[serde(default, deserialize_with = "some")]
    ts: Option<Option<i64>>,
    #[serde(default, deserialize_with = "some")]
    key: Option<Value>,
    #[serde(default, deserialize_with = "some")]
    value: Option<Value>,
    aux: Option<i64>,
    watermark: Option<i64>,
    processing_time: Option<i64>,
    idle: Option<bool>,
    end: Option<bool>,
}

fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawElement::deserialize(deserializer)?;
        let RawElement { ts, key, value, aux, watermark, processing_time, idle, end } = raw;
        let record = match (key, value) {
            (Some(key), Some(value)) => {
                Some(Self::Record(Stamped { ts: ts.flatten(), rec: Rec { key, value, aux } }))
            }
            (None, None) if ts.is_none() && aux.is_none() => None,
            _ => return Err(de::Error::custom("a record has a key and a value")),
        };
        let mut kinds = [
            record,
            watermark.map(Self::Watermark),
            processing_time.map(Self::ProcessingTime),
            idle.map(|_| Self::Idle),
            end.map(|_| Self::End),
        ]
        .into_iter()
        .flatten();
        match (kinds.next(), kinds.next()) {
            _ if idle == Some(false) || end == Some(false) => {
                Err(de::Error::custom("idle and end are true, or absent"))
            }
            (Some(element), None) => Ok(element),
            _ => Err(de::Error::custom("an element is exactly one thing")),
        }
    }
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Element::deserialize(deserializer)? {
            Element::Record(record) => Ok(Self::Record(record)),
            Element::Watermark(watermark) => Ok(Self::Watermark(watermark)),
            other => Err(de::Error::custom(format!("{other:?} cannot arrive at an output"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case of one source, one `node` and one record.
    fn case(node: &str) -> Result<Case, String> {
        with(node, r#"[{"ts":1,"key":"a","value":1},{"end":true}]"#, r#"["in","in"]"#, r#""w""#)
    }

    fn with(node: &str, elements: &str, interleaving: &str, output: &str) -> Result<Case, String> {
        format!(
            r#"{{"name":"c/n","category":"c","description":"d","inputs":{{"in":{elements}}},
            "interleaving":{interleaving},"job":{{"nodes":[
            {{"id":"s","op":"source","input":"in","key_type":"string","value_type":"long"}},{node}],
            "outputs":{{"out":{output}}}}},"compare":{{"out":"keyed"}},"expected":{{"out":[]}}}}"#
        )
        .parse()
    }

    const NODE: &str = r#"{"id":"w","op":"map","from":"s","fn":"identity"}"#;

    #[track_caller]
    fn refused(case: Result<Case, String>, because: &str) {
        let error = case.unwrap_err();
        assert!(error.contains(because), "{error}");
    }

    #[test]
    fn streams_exist() {
        refused(case(r#"{"id":"w","op":"map","from":"x","fn":"identity"}"#), "no stream x");
        refused(case(r#"{"id":"w","op":"map","from":"w","fn":"identity"}"#), "no stream w");
        refused(case(r#"{"id":"w","op":"map","from":"s#late","fn":"identity"}"#), "no stream s#late");
        refused(case(r#"{"id":"s","op":"map","from":"s","fn":"identity"}"#), "two nodes are called s");
        let split = r#"{"id":"w","op":"split","from":"s","pred":{"fn":"true"}}"#;
        assert!(with(split, "[]", "[]", r#""w#other""#).is_ok());
        refused(with(split, "[]", "[]", r#""w#late""#), "no stream w#late");
    }

    #[test]
    fn inputs_are_used_up() {
        refused(with(NODE, r#"[{"idle":true}]"#, "[]", r#""w""#), "does not fit input in");
        refused(with(NODE, "[]", r#"["x"]"#, r#""w""#), "names x");
        refused(with(NODE, r#"[{"end":true},{"idle":true}]"#, r#"["in","in"]"#, r#""w""#), "follows the end");
        for element in
            [r#"{"ts":1}"#, r#"{"watermark":1,"end":true}"#, "{}", r#"{"end":false}"#, r#"{"x":1}"#]
        {
            assert!(with(NODE, &format!("[{element}]"), r#"["in"]"#, r#""w""#).is_err(), "{element}");
        }
        let wrong_type = r#"[{"ts":1,"key":1,"value":1}]"#;
        refused(with(NODE, wrong_type, r#"["in"]"#, r#""w""#), "1 in input in is not a String");
    }

    #[test]
    fn records_are_shown_as_they_are_written() {
        for text in
            [r#"{"ts":null,"key":null,"value":[1,2.0]}"#, r#"{"ts":-5,"key":"a","value":"x","aux":7}"#]
        {
            let Output::Record(record) = serde_json::from_str(text).unwrap() else { panic!("no record") };
            assert_eq!(record.to_string(), text);
        }
    }

    #[test]
    fn a_bad_corpus_is_an_error_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read_directory(directory.path()).unwrap_err().ends_with("no cases"));
        fs::write(directory.path().join("x.jsonl"), "\n{\"name\":\"x/bad\",\"colour\":1}\n").unwrap();
        let error = read_directory(directory.path()).unwrap_err();
        assert!(error.contains("x.jsonl: line 2: x/bad: unknown field `colour`"), "{error}");
    }
}
