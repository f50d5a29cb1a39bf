//! Lists: appended to, read, dropped.

use anyhow::{Result, ensure};

use super::{Bench, each_once, for_time, to_the_end};
use crate::bench::state::keys::{Draw, Permutation, Record};
use crate::bench::state::meter::Clocked;
use crate::bench::state::outcome::Seen;
use crate::bench::state::store::{ITEM_BYTES, ItemBytes, Lists};

/// Items of a list in the end.
const LIST_ITEMS: u64 = 100;
const SEED: u64 = 7;

/// The plan's keys are items here.
pub(super) fn append(bench: &mut Bench<'_>, mut store: impl Lists) -> Result<()> {
    let plan = bench.plan;
    let lists = plan.keys.div_ceil(LIST_ITEMS);
    let mut keys = Draw::new(plan.dist, lists, SEED);
    let mut numbers = 0..plan.keys;
    let mut left = 0..plan.keys;
    let mut meter = bench.meter(Clocked::Some);
    meter.run(
        &mut store,
        || left.next().map(|_| Record::new(keys.next())),
        to_the_end,
        |store, at, record| {
            let number = numbers.next().expect("there is one for each record");
            store.append(at, record, &item(number, record.key))
        },
    )?;
    let storage = bench.settle(&mut store, plan.keys)?;
    bench.report("append", &meter, Seen { storage, ..Seen::by(&store) })?;

    let order = Permutation::new(lists);
    let mut meter = bench.meter(Clocked::Some);
    let mut scans = 0..;
    meter.run(
        &mut store,
        || scans.next().map(|i: u64| Record::new(order.at(i % lists))),
        for_time(plan.time),
        |store, at, record| {
            let mut check = Check::new(record.key);
            store.scan(at, record, |item| check.see(item))?;
            check.items().map(drop)
        },
    )?;
    bench.report("scan", &meter, Seen::by(&store))?;

    let mut items = 0;
    let mut meter = bench.meter(Clocked::Some);
    meter.run(&mut store, each_once((0..lists).map(|i| order.at(i))), to_the_end, |store, at, record| {
        let mut check = Check::new(record.key);
        store.take(at, record, |item| check.see(item))?;
        items += check.items()?;
        Ok(())
    })?;
    ensure!(items == plan.keys, "of {} items there were {items}", plan.keys);
    bench.report("scan-drop", &meter, Seen::by(&store))?;
    bench.meter(Clocked::Some).run(&mut store, each_once(0..lists), to_the_end, |store, at, record| {
        let mut left = 0;
        store.scan(at, record, |_| left += 1)?;
        ensure!(left == 0, "list {} was dropped and has {left} items", record.key);
        Ok(())
    })
}

fn item(number: u64, list: u64) -> ItemBytes {
    let mut item = [0x5a; ITEM_BYTES];
    item[..8].copy_from_slice(&number.to_le_bytes());
    item[8..16].copy_from_slice(&list.to_le_bytes());
    item
}

/// Whether the items of a list are its own, in their order.
struct Check {
    list: u64,
    items: u64,
    last: Option<u64>,
    is_right: bool,
}

impl Check {
    fn new(list: u64) -> Self {
        Self { list, items: 0, last: None, is_right: true }
    }

    #[inline]
    fn see(&mut self, bytes: &ItemBytes) {
        let number = Some(u64::from_le_bytes(*bytes.first_chunk().expect("it has 32 bytes")));
        let list = u64::from_le_bytes(*bytes[8..].first_chunk().expect("it has 32 bytes"));
        self.is_right &= number > self.last && list == self.list;
        self.items += 1;
        self.last = number;
    }

    /// How many there were. Errors: if they were not right.
    fn items(&self) -> Result<u64> {
        ensure!(
            self.is_right,
            "the items of list {} are not those that were appended, in their order",
            self.list
        );
        Ok(self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_out_of_order_and_of_others_are_found() {
        let is_right = |items: &[(u64, u64)]| {
            let mut check = Check::new(7);
            items.iter().for_each(|&(number, list)| check.see(&item(number, list)));
            check.items().ok()
        };
        assert_eq!(is_right(&[(0, 7), (3, 7), (4, 7)]), Some(3));
        assert_eq!(is_right(&[(3, 7), (0, 7)]), None);
        assert_eq!(is_right(&[(3, 7), (3, 7)]), None);
        assert_eq!(is_right(&[(3, 7), (4, 8)]), None);
    }
}
