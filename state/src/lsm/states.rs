//! The states that a store holds: their ids in keys, and what must be known of their values.

use super::key::{EncodedKey, StateId};
use super::merge::{MergeOperator, MergeOperators};
use super::sst::{SstMeta, StateMeta, ValueAlign};
use super::{Error, FileMeta, Fingerprint, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One state of an operator.
///
/// ```
/// use thalweg_state::lsm::{Fingerprint, StateSpec, key::StateId};
/// let counts = StateSpec::new(StateId(1), "counts", Fingerprint(0xfeed));
/// assert!(counts.merge.is_none() && counts.filter.is_none());
/// ```
#[derive(Clone)]
pub struct StateSpec {
    /// As in encoded keys. A name keeps its id from one run of a job to the next.
    pub id: StateId,
    /// As the user calls it.
    pub name: String,
    /// The fingerprint of its types: values of another one are refused.
    pub schema: Fingerprint,
    /// Where its values start: at multiples of 8 unless set.
    pub align: ValueAlign,
    /// How its operands are added up, if it has any.
    pub merge: Option<Arc<dyn MergeOperator>>,
    /// Which of its values a compaction keeps: all unless set.
    pub filter: Option<Arc<dyn EntryFilter>>,
}

impl StateSpec {
    /// A state without operands, of which all values are kept.
    pub fn new(id: StateId, name: &str, schema: Fingerprint) -> Self {
        Self { id, name: name.to_owned(), schema, align: ValueAlign::Eight, merge: None, filter: None }
    }
}

impl fmt::Debug for StateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, schema, .. } = self;
        write!(f, "StateSpec({} {name:?} {schema})", id.0)
    }
}

/// Which values of a state a compaction keeps: those that have not expired, say.
///
/// ```
/// use thalweg_state::lsm::{EntryFilter, key::EncodedKey};
/// struct NotEmpty;
/// impl EntryFilter for NotEmpty {
///     fn keeps(&self, _key: EncodedKey<'_>, value: &[u8]) -> bool {
///         !value.is_empty()
///     }
/// }
/// assert!(!NotEmpty.keeps(EncodedKey::new(&[0, 0, 0, 1]).unwrap(), b""));
/// ```
pub trait EntryFilter: Send + Sync {
    /// Whether the key keeps its value. It is asked on any thread, and for values only: for operands once they are added up.
    fn keeps(&self, key: EncodedKey<'_>, value: &[u8]) -> bool;
}

/// All states of a store.
#[derive(Debug, Default)]
pub(crate) struct States(BTreeMap<u16, StateSpec>);

impl States {
    /// Errors: `StateTwice`.
    pub(crate) fn new(specs: Vec<StateSpec>) -> Result<Self> {
        let mut states = BTreeMap::new();
        for spec in specs {
            if let Some(spec) = states.insert(spec.id.0, spec) {
                return Err(Error::StateTwice { state: spec.id });
            }
        }
        Ok(Self(states))
    }

    pub(crate) fn get(&self, state: StateId) -> Option<&StateSpec> {
        self.0.get(&state.0)
    }

    /// As files say it.
    pub(crate) fn metas(&self) -> Vec<StateMeta> {
        let meta =
            |spec: &StateSpec| StateMeta { id: spec.id.0, name: spec.name.clone(), schema: spec.schema.0 };
        self.0.values().map(meta).collect()
    }

    /// Whether the values in a file are those of the states registered.
    ///
    /// Errors: `SchemaMismatch`, `StateMismatch`.
    pub(crate) fn check(&self, file: &FileMeta, sst: &SstMeta) -> Result<()> {
        for (&id, &saved) in &file.schemas {
            let name = sst.states.iter().find(|state| state.id == id).map_or("", |state| &state.name);
            let name = name.to_owned();
            match self.0.get(&id) {
                Some(spec) if spec.name == name && spec.schema == saved => {}
                Some(spec) if spec.name == name => {
                    return Err(Error::SchemaMismatch { name, saved, registered: spec.schema });
                }
                other => {
                    let registered = other.map_or("nothing".to_owned(), |spec| format!("{:?}", spec.name));
                    return Err(Error::StateMismatch { name, state: StateId(id), registered });
                }
            }
        }
        Ok(())
    }
}

impl MergeOperators for States {
    fn operator(&self, state: StateId) -> Option<&dyn MergeOperator> {
        self.get(state)?.merge.as_deref()
    }
}
