//! What can go wrong in a store.

use super::key::StateId;

/// What can go wrong in a store.
///
/// ```
/// use thalweg_state::lsm::{Error, key::StateId};
/// let error = Error::NoMergeOperator { state: StateId(3) };
/// assert!(error.to_string().starts_with("state 3 has operands"));
/// ```
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum Error {
    /// A file holds operands of a state that was registered without a merge operator.
    #[error("state {} has operands to be merged, but is not registered as a list or an aggregate", .state.0)]
    NoMergeOperator { state: StateId },
}
