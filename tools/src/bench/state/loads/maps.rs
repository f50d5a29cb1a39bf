//! Maps: all that is under a key is read.

use anyhow::{Result, ensure};

use super::{Bench, each_once, for_time, to_the_end};
use crate::bench::state::keys::{Draw, Permutation, Record};
use crate::bench::state::meter::Clocked;
use crate::bench::state::outcome::Seen;
use crate::bench::state::store::{ITEM_BYTES, ItemBytes, Maps};

/// Entries of a map.
const MAP_ENTRIES: u64 = 100;
const SEED: u64 = 9;

/// The plan's keys are entries here, rounded up to whole maps.
pub(super) fn scan(bench: &mut Bench<'_>, mut store: impl Maps) -> Result<()> {
    let plan = bench.plan;
    let maps = plan.keys.div_ceil(MAP_ENTRIES);
    let order = Permutation::new(maps);
    let mut user_keys = vec![0; maps as usize];
    let mut meter = bench.meter(Clocked::Some);
    // Round by round, so that the entries of a map do not come together.
    meter.run(
        &mut store,
        each_once((0..maps * MAP_ENTRIES).map(|i| order.at(i % maps))),
        to_the_end,
        |store, at, record| {
            let user_key = &mut user_keys[record.key as usize];
            *user_key += 1;
            store.put(at, record, *user_key, &value(record.key, *user_key))
        },
    )?;
    let storage = bench.settle(&mut store, maps * MAP_ENTRIES)?;
    bench.report("put", &meter, Seen { storage, ..Seen::by(&store) })?;

    let mut keys = Draw::new(plan.dist, maps, SEED);
    let mut meter = bench.meter(Clocked::Some);
    meter.run(
        &mut store,
        || Some(Record::new(keys.next())),
        for_time(plan.time),
        |store, at, record| {
            let (mut entries, mut user_keys, mut is_right) = (0, 0, true);
            store.scan(at, record, |user_key, found| {
                entries += 1;
                user_keys += user_key;
                is_right &= *found == value(record.key, user_key);
            })?;
            let is_right = is_right && (entries, user_keys) == (MAP_ENTRIES, (1..=MAP_ENTRIES).sum());
            ensure!(is_right, "the {entries} entries of map {} are not those that were put", record.key);
            Ok(())
        },
    )?;
    bench.report("scan", &meter, Seen::by(&store))
}

#[inline]
fn value(map: u64, user_key: u64) -> ItemBytes {
    let mut value = [0x5a; ITEM_BYTES];
    value[..8].copy_from_slice(&map.to_le_bytes());
    value[8..16].copy_from_slice(&user_key.to_le_bytes());
    value
}
