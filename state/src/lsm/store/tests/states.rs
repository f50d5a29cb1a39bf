//! States are registered after the store was opened, in any order, or not at all.

use super::*;

/// A store that has `1` in its list under key 1 of key group 0.
fn with_list(storage: &Storage) -> Store {
    let mut store = open(storage, small());
    flush(&mut store, ([(key(0, LIST, 1), (Kind::Put, vec![1]))].into(), vec![])).unwrap();
    store
}

#[test]
fn states_must_be_those_of_the_files() {
    let storage = Storage::memory();
    drop(with_list(&storage));
    let attempt = |change: fn(&mut [StateSpec; 2])| {
        let mut states = states();
        change(&mut states);
        let mut store = Store::open(&storage, small(), 7).unwrap().0;
        let ids: Result<Vec<_>> = states.into_iter().map(|spec| store.register(spec)).collect();
        ids.map(drop).map_err(|error| error.to_string())
    };
    let text = |error: &str| Err(error.to_owned());
    assert_eq!(
        attempt(|states| states[1].schema = Fingerprint(9)),
        text("state \"list\" was saved with schema 0000000000000002, the job registers 0000000000000009")
    );
    assert_eq!(
        attempt(|states| states[1].align = ValueAlign::Sixteen),
        text("values of state \"list\" were saved at multiples of 8 bytes, the job registers 16")
    );
    assert_eq!(
        attempt(|states| states[0].name = "list".into()),
        text("state \"list\" was saved with schema 0000000000000002, the job registers 0000000000000001")
    );
    assert_eq!(attempt(|states| states[0] = states[1].clone()), text("state \"list\" is registered twice"));
    assert_eq!(attempt(|states| states[0].schema = Fingerprint(9)), Ok(())); // It has no data.
}

/// Of 1000 names some have hashes that want the same id. Opened anew, in another order, all have the ids they had.
#[test]
fn names_keep_their_ids() {
    let storage = Storage::memory();
    let names: Vec<String> = (0..1000).map(|number| format!("operator {number}/state")).collect();
    let register =
        |store: &mut Store, name: &str| store.register(StateSpec::new(name, Fingerprint(3))).unwrap();
    let mut store = Store::open(&storage, small(), 7).unwrap().0;
    let ids: BTreeMap<StateId, &String> =
        names.iter().map(|name| (register(&mut store, name), name)).collect();
    assert_eq!(ids.len(), names.len(), "no two have the same");
    let entries = ids.keys().map(|id| (key(0, *id, 1), (Kind::Put, vec![1]))).collect();
    flush(&mut store, (entries, vec![])).unwrap();
    let place = Storage::memory();
    store.snapshot().write(&place).unwrap();
    drop(store);

    let restored = restore_unregistered(&[place]).unwrap();
    for mut store in [Store::open(&storage, small(), 7).unwrap().0, restored] {
        assert_eq!(store.unregistered().len(), names.len());
        for (id, name) in ids.iter().rev() {
            assert_eq!(register(&mut store, name), *id, "{name}");
        }
        assert_eq!(store.unregistered(), Vec::<String>::new());
    }
}

fn restore_unregistered(places: &[Storage]) -> Result<Store> {
    let all = KeyGroupRange::all(MaxParallelism::default());
    restore(&Storage::memory(), places, all, small(), 8)
}

/// Two names that want the same id get different ones, which depend on who came first: such stores cannot be made one.
#[test]
fn stores_that_do_not_agree_on_ids_are_not_made_one() {
    let wanted = |name: &str| crate::hash_bytes(name.as_bytes()) >> 48;
    let mut names = BTreeMap::new();
    let (a, b) = (0_u32..)
        .find_map(|number| {
            let name = format!("state {number}");
            names.insert(wanted(&name), name.clone()).map(|other| (other, name))
        })
        .unwrap();
    let snapshot = |order: [&str; 2], group| {
        let mut store = Store::open(&Storage::memory(), small(), u64::from(group)).unwrap().0;
        let ids = order.map(|name| store.register(StateSpec::new(name, Fingerprint(1))).unwrap());
        let entries = ids.map(|id| (key(group, id, 1), (Kind::Put, vec![1])));
        flush(&mut store, (entries.into(), vec![])).unwrap();
        let place = Storage::memory();
        store.snapshot().write(&place).unwrap();
        place
    };
    let (one, two, three) = (snapshot([&a, &b], 1), snapshot([&a, &b], 2), snapshot([&b, &a], 3));
    assert_eq!(restore_unregistered(&[one.clone(), two]).unwrap().unregistered().len(), 2);
    let error = restore_unregistered(&[one, three]).unwrap_err();
    assert!(matches!(error, Error::StateIds { .. }), "{error}");
}

/// Flushes bring puts and operands of both states; the list is registered last. Until then files with its operands wait, and
/// afterwards nothing is lost.
#[test]
fn operands_of_a_state_that_is_not_registered_wait_for_it() {
    let storage = Storage::memory();
    let (mut store, mut model) = (open(&storage, small()), Model::new());
    let mut dice = Dice(31);
    for _ in 0..2 {
        let changes = dice.changes(150, 60);
        apply(&mut model, &changes);
        flush(&mut store, changes).unwrap();
    }
    drop(store);
    let [plain, list] = states();
    let mut store = Store::open(&storage, Options { runs_max: 2, ..small() }, 7).unwrap().0;
    store.register(plain).unwrap();
    assert_eq!(store.unregistered(), ["list"]);
    run_jobs(&mut store).unwrap();
    assert_eq!(store.metrics().runs, 2, "they wait");
    store.register(list).unwrap();
    run_jobs(&mut store).unwrap();
    assert_eq!(store.metrics().runs, 0);
    check(&mut store, &model, 60);
}

/// Nothing is left of a state that was abandoned, and all of the others.
#[test]
fn a_state_that_is_abandoned_goes_with_the_next_compactions() {
    let storage = Storage::memory();
    let (mut store, mut model) = (open(&storage, small()), Model::new());
    let mut dice = Dice(32);
    for _ in 0..2 {
        let changes = dice.changes(150, 60);
        apply(&mut model, &changes);
        flush(&mut store, changes).unwrap();
    }
    drop(store);
    model.retain(|key, _| EncodedKey::new(key).unwrap().state() == PLAIN);
    let mut store = Store::open(&storage, Options { runs_max: 2, ..small() }, 7).unwrap().0;
    let [plain, list] = states();
    store.register(plain).unwrap();
    assert!(store.abandon("list") && !store.abandon("list") && !store.abandon("plain"));
    assert!(matches!(store.register(list), Err(Error::StateTwice { .. })));
    run_jobs(&mut store).unwrap();
    assert_eq!(contents(&mut store, &everything()), model);
    let entries: u64 = store.version().files().map(|file| file.entries).sum();
    assert_eq!(entries, model.len() as u64);
}

/// A state without operands is compacted though nobody has registered it: newer values hide older ones, no filter is asked,
/// and values stay aligned.
#[test]
fn values_of_a_state_that_is_not_registered_are_carried_along() {
    let storage = Storage::memory();
    let spec = StateSpec { align: ValueAlign::Sixteen, ..StateSpec::new("aligned", Fingerprint(1)) };
    let mut store = Store::open(&storage, small(), 7).unwrap().0;
    let id = store.register(spec.clone()).unwrap();
    for value in 0..3 {
        let entries =
            (0..100).map(|user| (key(0, id, user), (Kind::Put, vec![value; 5 + user as usize % 20])));
        flush(&mut store, (entries.collect(), vec![])).unwrap();
    }
    drop(store);
    let mut store = Store::open(&storage, small(), 7).unwrap().0;
    run_jobs(&mut store).unwrap();
    assert_eq!((store.metrics().runs, store.unregistered()), (0, vec!["aligned".to_owned()]));
    assert_eq!(store.register(spec).unwrap(), id);
    let mut keys = KeyBatch::default();
    for user in 0..100 {
        keys.push(&key(0, id, user)).unwrap();
    }
    store
        .get_waiting(&keys, |number, answer| match answer {
            Answer::Found(value) => {
                assert_eq!(value, vec![2; 5 + number % 20]);
                assert!(value.as_ptr().addr().is_multiple_of(16));
            }
            other => panic!("{other:?}"),
        })
        .unwrap();
}
