//! Who gets what of operator states when a job is restored, maybe with another parallelism.

use std::collections::BTreeMap;

use super::SavedState;

/// How the items of a state are given to the new subtasks.
///
/// ```
/// assert_ne!(thalweg_state::Redistribution::Split, thalweg_state::Redistribution::Union);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Redistribution {
    /// Each item to one of them, evenly.
    Split,
    /// All items of all old subtasks to each.
    Union,
    /// To each the items of one old subtask, all of which have the same.
    Broadcast,
}

/// What each of `parallelism` new subtasks gets of what the old ones, in their order, have saved: of each state that any of them has.
///
/// - Split: with the same parallelism to each what it had. Otherwise all items in the order of the old subtasks, in runs that are equal
///   but for one item; the states, by name, take turns in who gets the longer ones.
/// - Union: all items in the order of the old subtasks.
/// - Broadcast: subtask i gets what old subtask i modulo their number had.
///
/// Panics if `parallelism` is 0. Cost: O(items, and copies of them). Source: Flink's `RoundRobinOperatorStateRepartitioner`.
///
/// ```
/// use thalweg_state::{KeyGroupRange, MaxParallelism, OperatorListState, OperatorState, Redistribution, StateBackend, redistribute};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let mut offsets = OperatorListState::<u64>::new("offsets", Redistribution::Split, &backend)?;
/// offsets.update(vec![1, 2, 3]);
/// let of_one_subtask = vec![offsets.save()?];
/// let mut of_two = redistribute(&[of_one_subtask], 2);
/// offsets.load(&of_two[0][0])?;
/// assert_eq!(offsets.get(), [1, 2]);
/// offsets.load(&of_two[1][0])?;
/// assert_eq!(offsets.get(), [3]);
/// # Ok::<(), thalweg_state::Error>(())
/// ```
pub fn redistribute(old: &[Vec<SavedState>], parallelism: usize) -> Vec<Vec<SavedState>> {
    assert!(parallelism > 0, "somebody must get the state");
    // By name, what each old subtask has.
    let mut states: BTreeMap<&str, Vec<Option<&SavedState>>> = BTreeMap::new();
    for (subtask, saved) in old.iter().enumerate() {
        for state in saved {
            states.entry(&state.name).or_insert_with(|| vec![None; old.len()])[subtask] = Some(state);
        }
    }
    let mut new = vec![Vec::new(); parallelism];
    let mut first = 0;
    for parts in states.into_values() {
        let like = parts.iter().flatten().next().expect("a state is one that somebody has");
        let items = |part: &Option<&SavedState>| part.map_or_else(Vec::new, |part| part.items.clone());
        let shares: Vec<Vec<Vec<u8>>> = match like.redistribution {
            Redistribution::Split if parts.len() == parallelism => parts.iter().map(items).collect(),
            Redistribution::Split => split(parts.iter().flat_map(items).collect(), parallelism, &mut first),
            Redistribution::Union => {
                vec![parts.iter().flat_map(items).collect(); parallelism]
            }
            Redistribution::Broadcast => {
                let copies: Vec<_> = parts.iter().flatten().collect();
                (0..parallelism).map(|subtask| copies[subtask % copies.len()].items.clone()).collect()
            }
        };
        for (states, items) in new.iter_mut().zip(shares) {
            let (name, redistribution) = (like.name.clone(), like.redistribution);
            states.push(SavedState { name, redistribution, schema: like.schema, items });
        }
    }
    new
}

/// Cuts items into shares. The first longer one goes to subtask `first`, which then is who comes after the last.
fn split(items: Vec<Vec<u8>>, parallelism: usize, first: &mut usize) -> Vec<Vec<Vec<u8>>> {
    let (share, longer) = (items.len() / parallelism, items.len() % parallelism);
    let mut shares = vec![Vec::new(); parallelism];
    let mut items = items.into_iter();
    for turn in 0..parallelism {
        let count = share + usize::from(turn < longer);
        shares[(*first + turn) % parallelism] = items.by_ref().take(count).collect();
    }
    *first = (*first + longer) % parallelism;
    shares
}
