//! The states that a store holds: their ids in keys, and what must be known of their values.
//!
//! ```text
//!   files ──── note ──────▶ name, id, schema, alignment as saved ┐
//!   manifest ─ note_names ▶ name, id                             ├─▶ States, of which each job has a copy as it was
//!   job ────── register ──▶ name ─▶ its id, or a new one         ┘
//! ```
//!
//! Invariants:
//! - a name has one id and an id one name, from the first file on that says so;
//! - what a state is registered with agrees with all that was saved of it;
//! - values of a state that nobody has registered are copied as they are.
//!
//! # Decisions
//! - **The id of a new name is taken from its hash**, and is the next one that is free only if another name has it. So the
//!   stores of a job agree on ids whatever each of them registers, in whatever order, and files of several snapshots can be
//!   linked into one store. Where they do not agree (among 100 names two collide in 1 of 14 jobs, and then only stores
//!   that registered them in different orders differ) `restore` refuses, and names the state.

use super::filter::{CompactionFilter, EntryFilter, Verdict};
use super::key::StateId;
use super::merge::{Entry, MergeOperator, MergeOperators};
use super::sst::{SstMeta, StateMeta, ValueAlign};
use super::{Error, FileMeta, Fingerprint, Result, Version};
use crate::hash_bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What the options begin with under which a manifest keeps the names of states; the id follows, in decimal digits.
const NAME_OPTION: &str = "state.";

/// One state of an operator.
///
/// ```
/// use thalweg_state::lsm::{Fingerprint, StateSpec};
/// let counts = StateSpec::new("count/counts", Fingerprint(0xfeed));
/// assert!(counts.merge.is_none() && counts.filter.is_none());
/// ```
#[derive(Clone)]
pub struct StateSpec {
    /// What it is called in the whole job. A name keeps its id in keys from one run of the job to the next.
    pub name: String,
    /// The fingerprint of its types: values of another one are refused.
    pub schema: Fingerprint,
    /// Where its values start: at multiples of 8 unless set.
    pub align: ValueAlign,
    /// How its operands are added up, if it has any.
    pub merge: Option<Arc<dyn MergeOperator>>,
    /// What flushes and compactions keep of it: all unless set.
    pub filter: Option<Arc<dyn CompactionFilter>>,
}

impl StateSpec {
    /// A state without operands, of which all is kept.
    pub fn new(name: &str, schema: Fingerprint) -> Self {
        Self { name: name.to_owned(), schema, align: ValueAlign::Eight, merge: None, filter: None }
    }

    fn layout(&self) -> Layout {
        Layout { schema: self.schema, align: self.align }
    }
}

impl fmt::Debug for StateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateSpec({:?} {})", self.name, self.schema)
    }
}

/// How values of a state lie in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) schema: Fingerprint,
    pub(crate) align: ValueAlign,
}

/// All states of a store, by id.
#[derive(Debug, Default, Clone)]
pub(crate) struct States(BTreeMap<u16, State>);

#[derive(Debug, Clone)]
struct State {
    name: String,
    /// As files have it.
    saved: Option<Layout>,
    spec: Option<StateSpec>,
}

impl States {
    /// Learns the names that the options of a version keep.
    ///
    /// Errors: `StateIds`.
    pub(crate) fn note_names(&mut self, version: &Version) -> Result<()> {
        for (option, name) in version.options() {
            if let Some(id) = option.strip_prefix(NAME_OPTION).and_then(|id| id.parse().ok()) {
                self.note_name(StateId(id), name)?;
            }
        }
        Ok(())
    }

    /// Learns that a name has this id.
    ///
    /// Errors: `StateIds`.
    fn note_name(&mut self, id: StateId, name: &str) -> Result<()> {
        let conflict = |other: &str, other_id| {
            let (name, other) = (name.to_owned(), other.to_owned());
            Err(Error::StateIds { name, id, other, other_id: StateId(other_id) })
        };
        if let Some((other_id, other)) =
            self.0.iter().find(|(other_id, state)| (state.name == name) != (**other_id == id.0))
        {
            return conflict(&other.name, *other_id);
        }
        let state = State { name: name.to_owned(), saved: None, spec: None };
        self.0.entry(id.0).or_insert(state);
        Ok(())
    }

    /// Learns what a file says of the states of its entries.
    ///
    /// Errors: `SchemaMismatch`, `AlignMismatch` and `StateIds` if another file, or the job, says otherwise. False if the
    /// file does not agree with itself.
    pub(crate) fn note(&mut self, file: &FileMeta, sst: &SstMeta) -> Result<bool> {
        for (&id, &schema) in &file.schemas {
            let Some(meta) = sst.states.iter().find(|meta| meta.id == id && meta.schema == schema.0) else {
                return Ok(false);
            };
            self.note_name(StateId(id), &meta.name)?;
            let state = self.0.get_mut(&id).expect("its name was noted");
            let layout = Layout { schema, align: meta.align };
            let known = state.saved.or(state.spec.as_ref().map(StateSpec::layout));
            known.map_or(Ok(()), |known| check(&state.name, layout, known))?;
            state.saved = Some(layout);
        }
        Ok(true)
    }

    /// Takes a state in, and says the id that it has or gets.
    ///
    /// Errors: `StateTwice`, `SchemaMismatch`, `AlignMismatch`; `StatesFull`.
    pub(crate) fn register(&mut self, spec: StateSpec) -> Result<StateId> {
        let id = self.id_for(&spec.name).ok_or(Error::StatesFull)?;
        let name = spec.name.clone();
        let state = self.0.entry(id.0).or_insert(State { name, saved: None, spec: None });
        if state.spec.is_some() {
            return Err(Error::StateTwice { name: spec.name });
        }
        if let Some(saved) = state.saved {
            check(&spec.name, saved, spec.layout())?;
        }
        state.spec = Some(spec);
        Ok(id)
    }

    /// Registers a state of which nothing is kept. False if no file has it, or somebody has registered it.
    pub(crate) fn abandon(&mut self, name: &str) -> bool {
        let Some(state) = self.0.values_mut().find(|state| state.name == name && state.spec.is_none()) else {
            return false;
        };
        let Some(Layout { schema, align }) = state.saved else { return false };
        let (merge, filter) = (Some(Arc::new(Nothing) as _), Some(Arc::new(Nothing) as _));
        state.spec = Some(StateSpec { name: name.to_owned(), schema, align, merge, filter });
        true
    }

    /// The id that a name has, or gets. None if all are taken.
    fn id_for(&self, name: &str) -> Option<StateId> {
        if let Some((id, _)) = self.0.iter().find(|(_, state)| state.name == name) {
            return Some(StateId(*id));
        }
        let home = (hash_bytes(name.as_bytes()) >> 48) as u16;
        (0..=u16::MAX).map(|step| home.wrapping_add(step)).find(|id| !self.0.contains_key(id)).map(StateId)
    }

    pub(crate) fn spec(&self, state: StateId) -> Option<&StateSpec> {
        self.0.get(&state.0)?.spec.as_ref()
    }

    /// Whether any state has a filter.
    pub(crate) fn have_filters(&self) -> bool {
        self.0.values().any(|state| state.spec.as_ref().is_some_and(|spec| spec.filter.is_some()))
    }

    /// How values of a state are written.
    pub(crate) fn layout(&self, state: StateId) -> Option<Layout> {
        let state = self.0.get(&state.0)?;
        state.spec.as_ref().map(StateSpec::layout).or(state.saved)
    }

    /// The names of those in `ids` that nobody has registered.
    pub(crate) fn unregistered<'a>(&'a self, ids: &'a BTreeSet<u16>) -> impl Iterator<Item = &'a str> {
        let states = ids.iter().filter_map(|id| self.0.get(id));
        states.filter(|state| state.spec.is_none()).map(|state| state.name.as_str())
    }

    /// As files say it.
    pub(crate) fn metas(&self) -> Vec<StateMeta> {
        let meta = |(id, state): (&u16, &State)| {
            let Layout { schema, align } = self.layout(StateId(*id))?;
            Some(StateMeta { id: *id, name: state.name.clone(), schema: schema.0, align })
        };
        self.0.iter().filter_map(meta).collect()
    }

    /// The options of a manifest that keep the names, as far as `version` does not have them.
    pub(crate) fn options_beyond(&self, version: &Version) -> BTreeMap<String, String> {
        let options = self.0.iter().map(|(id, state)| (format!("{NAME_OPTION}{id}"), state.name.clone()));
        options.filter(|(option, _)| !version.options().contains_key(option)).collect()
    }
}

/// What is left of a state that was abandoned.
struct Nothing;

impl MergeOperator for Nothing {
    fn merge(&self, _older: &[u8], _newer: &[u8], _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}

impl CompactionFilter for Nothing {
    fn begin(&self, _now_ms: i64) -> Box<dyn EntryFilter> {
        Box::new(Self)
    }
}

impl EntryFilter for Nothing {
    fn filter(&mut self, _entry: Entry<'_>, _out: &mut Vec<u8>) -> Verdict {
        Verdict::Drop
    }
}

impl MergeOperators for States {
    fn operator(&self, state: StateId) -> Option<&dyn MergeOperator> {
        self.spec(state)?.merge.as_deref()
    }
}

/// Errors: `SchemaMismatch`, `AlignMismatch`.
fn check(name: &str, saved: Layout, registered: Layout) -> Result<()> {
    let name = name.to_owned();
    if saved.schema != registered.schema {
        return Err(Error::SchemaMismatch { name, saved: saved.schema, registered: registered.schema });
    }
    match (saved.align.bytes(), registered.align.bytes()) {
        (saved, registered) if saved != registered => Err(Error::AlignMismatch { name, saved, registered }),
        _ => Ok(()),
    }
}
