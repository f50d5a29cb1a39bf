//! Maps over a store: small ones as a value, others entry by entry.

use super::cell::MapCell;
use super::head::{Head, each_entry};
use super::iter::{CHUNK_ENTRIES, Rest, SpilledIter};
use super::lookahead::MapLookahead;
use super::split::SplitRule;
use crate::context::KeyRef;
use crate::handle::{KeyedState, Lane};
use crate::lsm::KeyRange;
use crate::spill::{Below, Cell, SpillTable, TablePort};
use crate::{Key, StateValue, ValueError};
use std::ops::ControlFlow;

/// The table of a map state that may be larger than memory.
#[derive(Debug)]
pub(in super::super) struct SpilledMap<K, UK, UV> {
    table: Box<SpillTable<K, MapCell<UK, UV>>>,
    rule: SplitRule,
    /// By lane.
    ahead: [MapLookahead; 2],
    /// A value that is not in memory, while it is lent.
    lent: Option<UV>,
    /// Some entries of a map that is read.
    chunk: Vec<(UK, UV)>,
}

/// An entry's value: where it is, or made of what a file has.
enum Found<'a, UV> {
    Lent(&'a UV),
    Made(UV),
}

impl<K: Key, UK: Key, UV: StateValue> SpilledMap<K, UK, UV> {
    pub(super) fn new(table: Box<SpillTable<K, MapCell<UK, UV>>>) -> Self {
        let rule = SplitRule::new::<UK, UV>(table.port().seed());
        Self { table, rule, ahead: Default::default(), lent: None, chunk: Vec::new() }
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    #[inline]
    pub(super) fn get(&mut self, key: impl KeyRef<K>, user_key: &UK) -> Option<&UV> {
        let Self { table, ahead, lent, .. } = self;
        match find(table, ahead, key, user_key)? {
            Found::Lent(value) => Some(value),
            Found::Made(value) => Some(lent.insert(value)),
        }
    }

    #[inline]
    pub(super) fn put(&mut self, key: impl KeyRef<K>, user_key: UK, value: UV) {
        let Self { table, rule, .. } = self;
        rule.sample(&user_key, &value);
        if change(table, rule, key, |cell, rule| cell.put(user_key, value, rule)) {
            table.count_owned(rule.owned_bytes() as isize);
        }
    }

    pub(super) fn update_with<R>(
        &mut self,
        key: impl KeyRef<K>,
        user_key: &UK,
        init: impl FnOnce() -> UV,
        f: impl FnOnce(&mut UV) -> R,
    ) -> R {
        let Self { table, ahead, rule, .. } = self;
        let is_known = change(table, rule, key, |cell, _| cell.knows(user_key).is_some());
        let below = if is_known { None } else { find_owned(table, ahead, key, user_key) };
        let (result, is_new) = change(table, rule, key, |cell, rule| {
            let entries = cell.entries().len();
            let value = cell.value_or(user_key, below, init);
            let result = f(value);
            rule.sample(user_key, value);
            cell.split_by(rule);
            (result, cell.entries().len() > entries)
        });
        if is_new {
            table.count_owned(rule.owned_bytes() as isize);
        }
        result
    }

    pub(super) fn remove(&mut self, key: impl KeyRef<K>, user_key: &UK) {
        let Self { table, rule, .. } = self;
        let is_nowhere = |below: Below<'_, '_, K, _>| below.cell().is_none() && below.base().is_none();
        if !matches!(table.read(key, is_nowhere), Err(true)) {
            change(table, rule, key, |cell, _| cell.remove(user_key));
        }
    }

    pub(super) fn take(&mut self, key: impl KeyRef<K>, user_key: &UK) -> Option<UV> {
        let Self { table, ahead, rule, .. } = self;
        if let Some(cell) = table.top(key)
            && cell.knows(user_key).is_some()
        {
            return cell.take(user_key);
        }
        let value = find_owned(table, ahead, key, user_key)?; // What is not there needs no hiding.
        change(table, rule, key, |cell, _| cell.remove(user_key));
        Some(value)
    }

    pub(super) fn clear(&mut self, key: impl KeyRef<K>) {
        let Self { table, rule, .. } = self;
        let Some(gone) = table.read_all(key, cleared) else { return };
        if let Gone::Large(range) = gone {
            table.drop_range(range);
        }
        let empty = MapCell::empty();
        let Some(cell) = table.top(key) else {
            table.entry(key, |_| empty);
            return;
        };
        let bytes = cell.entries().memory_bytes() + cell.entries().len() * rule.owned_bytes();
        *cell = empty;
        table.count_owned(-(bytes as isize));
    }

    pub(super) fn iter(&mut self, key: impl KeyRef<K>) -> SpilledIter<'_, UK, UV> {
        self.iter_by(key, CHUNK_ENTRIES)
    }

    pub(super) fn is_empty(&mut self, key: impl KeyRef<K>) -> bool {
        let mut entries = self.iter_by(key, 1);
        let is_split = entries.has_rest();
        let is_empty = entries.next().is_none();
        if is_empty && is_split {
            self.clear(key); // All entries were removed one by one: the head can go too.
        }
        is_empty
    }

    /// All entries; so many at a time of those that are in files.
    fn iter_by(&mut self, key: impl KeyRef<K>, chunk_entries: usize) -> SpilledIter<'_, UK, UV> {
        let Self { table, ahead, rule, chunk, .. } = self;
        chunk.clear();
        rule.on_read();
        table.read_all(key, |top, mut below| {
            let mut cells: Vec<_> = top.into_iter().collect();
            if !top.is_some_and(Cell::hides) {
                cells.extend(below.cells());
            }
            let generation = match cells.last() {
                Some(cell) if cell.hides() => None,
                Some(cell) => cell.generation(),
                None => whole_or_generation(&mut below, chunk),
            };
            let rest = generation.map(|generation| {
                ahead[Lane::of(key.record()) as usize].on_read();
                rest_of(below, generation)
            });
            SpilledIter::new(cells, chunk, rest, chunk_entries)
        })
    }
}

impl<K: Key, UK: Key, UV: StateValue> KeyedState for SpilledMap<K, UK, UV> {
    fn begin_batch(&mut self, lane: Lane) {
        self.table.begin_batch(lane);
        self.ahead[lane as usize].begin();
    }

    fn prepare(&mut self, record: u32, hash: u64, user_key: &[u8]) {
        self.table.prepare(record, hash, user_key);
        let ahead = &mut self.ahead[Lane::of(record) as usize];
        if ahead.is_on() {
            ahead.push(hash, user_key);
        }
    }

    fn resolve(&mut self, lane: Lane) -> bool {
        let Self { table, ahead, .. } = self;
        if !table.resolve(lane) {
            return false;
        }
        ahead[lane as usize].resolve(table, lane)
    }

    fn maintain(&mut self) {
        self.table.maintain();
    }
}

/// Changes the key's cell, which is made of what is below if there is none.
#[inline]
fn change<K: Key, UK: Key, UV: StateValue, R>(
    table: &mut SpillTable<K, MapCell<UK, UV>>,
    rule: &mut SplitRule,
    key: impl KeyRef<K>,
    f: impl FnOnce(&mut MapCell<UK, UV>, &mut SplitRule) -> R,
) -> R {
    let mut is_made = false;
    let (_, cell) = table.entry(key, |below| {
        is_made = true;
        make(below, rule)
    });
    let before = if is_made { 0 } else { cell.entries().memory_bytes() };
    let result = f(cell, rule);
    let after = cell.entries().memory_bytes();
    if after != before {
        table.count_owned(after as isize - before as isize);
    }
    result
}

/// The cell to change, above what is below.
fn make<K: Key, UK: Key, UV: StateValue>(
    below: Below<'_, '_, K, MapCell<UK, UV>>,
    rule: &mut SplitRule,
) -> MapCell<UK, UV> {
    if let Some(cell) = below.cell() {
        return cell.above();
    }
    let port = below.port();
    let cell = MapCell::over_files(below.base(), rule).map_err(|error| port.fail_value(error));
    cell.unwrap_or_else(|()| MapCell::empty())
}

/// The value of an entry, wherever it is.
#[inline]
fn find<'a, K: Key, UK: Key, UV: StateValue>(
    table: &'a mut SpillTable<K, MapCell<UK, UV>>,
    ahead: &mut [MapLookahead; 2],
    key: impl KeyRef<K>,
    user_key: &UK,
) -> Option<Found<'a, UV>> {
    let on_top = |cell: &'a MapCell<UK, UV>| cell.knows(user_key).map(|value| value.map(Found::Lent));
    table.search(key, on_top, |top, below| {
        let mut generation = top.and_then(MapCell::generation);
        for cell in below.cells() {
            if let Some(value) = cell.knows(user_key) {
                return value.map(Found::Lent);
            }
            generation = cell.generation();
        }
        let ahead = &mut ahead[Lane::of(key.record()) as usize];
        let port = below.port();
        let found = find_in_files(below, generation, ahead, user_key);
        found.unwrap_or_else(|error| fail(port, error)).map(Found::Made)
    })
}

fn find_owned<K: Key, UK: Key, UV: StateValue>(
    table: &mut SpillTable<K, MapCell<UK, UV>>,
    ahead: &mut [MapLookahead; 2],
    key: impl KeyRef<K>,
    user_key: &UK,
) -> Option<UV> {
    Some(match find(table, ahead, key, user_key)? {
        Found::Lent(value) => value.clone(),
        Found::Made(value) => value,
    })
}

/// The value of an entry that memory does not know. `generation`: if memory knows that the map is split.
fn find_in_files<K: Key, UK: Key, UV: StateValue>(
    mut below: Below<'_, '_, K, MapCell<UK, UV>>,
    generation: Option<u64>,
    ahead: &mut MapLookahead,
    user_key: &UK,
) -> Result<Option<UV>, ValueError> {
    let generation = match generation {
        Some(generation) => generation,
        None => match below.base_in_passing().map(Head::read).transpose()? {
            None => return Ok(None),
            Some(Head::Split { generation }) => generation,
            Some(Head::Whole { keys, values }) => {
                let mut found = None;
                each_entry::<UK, UV>(keys, values, |key, value| {
                    if key != *user_key {
                        return Ok(ControlFlow::Continue(()));
                    }
                    found = Some(UV::make(value)?);
                    Ok(ControlFlow::Break(()))
                })?;
                return Ok(found);
            }
        },
    };
    ahead.on_read();
    below.encoded().push(&generation).push(user_key);
    below.look_up().map(UV::read).transpose()
}

/// What files have of a map of which memory has nothing: its entries in `chunk` if it is whole, and its generation if it is split.
fn whole_or_generation<K: Key, UK: Key, UV: StateValue>(
    below: &mut Below<'_, '_, K, MapCell<UK, UV>>,
    chunk: &mut Vec<(UK, UV)>,
) -> Option<u64> {
    let port = below.port();
    let mut read = || match below.base_in_passing().map(Head::read).transpose()? {
        None => Ok(None),
        Some(Head::Split { generation }) => Ok(Some(generation)),
        Some(Head::Whole { keys, values }) => {
            each_entry::<UK, UV>(keys, values, |key, value| {
                chunk.push((key, UV::make(value)?));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(None)
        }
    };
    read().unwrap_or_else(|error| fail(port, error))
}

/// The entries in files of a map that is split.
fn rest_of<'a, K: Key, UK: Key, UV: StateValue>(
    mut below: Below<'a, '_, K, MapCell<UK, UV>>,
    generation: u64,
) -> Rest<'a> {
    let port = below.port();
    let prefix = below.encoded().push(&generation).as_bytes();
    Rest { port, skip: prefix.len(), range: KeyRange::of_prefix(prefix) }
}

/// What is gone with a map.
enum Gone {
    /// What compactions find when they come to its head.
    Small,
    /// More: its entries may be in files where its head is not.
    Large(KeyRange),
}

/// Of how many entries, in memory and frozen, a map is taken for large, though files may not have them yet.
const LARGE_ENTRIES: usize = 1024;

/// What there is of a map that is to be cleared; `None` if it is empty.
fn cleared<K: Key, UK: Key, UV: StateValue>(
    top: Option<&MapCell<UK, UV>>,
    mut below: Below<'_, '_, K, MapCell<UK, UV>>,
) -> Option<Gone> {
    let generation = match (top, below.cell()) {
        (Some(cell), _) if cell.hides() => None, // What was below was seen to before.
        (None, Some(cell)) if cell.hides() && cell.entries().is_empty() => return None,
        (Some(cell), _) | (None, Some(cell)) => cell.generation(),
        (None, None) => match Head::read(below.base_in_passing()?) {
            Ok(Head::Whole { .. }) => None,
            Ok(Head::Split { generation }) => Some(generation),
            Err(error) => return fail(below.port(), error),
        },
    };
    let Some(generation) = generation else { return Some(Gone::Small) };
    let frozen: usize = below.cells().map(|cell| cell.entries().len()).sum();
    let Rest { port, range, .. } = rest_of(below, generation);
    let is_large = frozen > LARGE_ENTRIES || port.is_large(&range);
    Some(if is_large { Gone::Large(range) } else { Gone::Small })
}

/// What was read is not what is written: the core's fault, and nothing meanwhile.
#[cold]
fn fail<T>(port: &TablePort, error: ValueError) -> Option<T> {
    port.fail_value(error);
    None
}
