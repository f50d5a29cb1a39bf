//! Encoded keys, and archives of values.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use rkyv::util::AlignedVec;
use thalweg_state::{Key, StateValue, load_two};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let mut value = AlignedVec::<16>::new();
    value.extend_from_slice(bytes);
    match kind % 12 {
        0 => key::<u64>(bytes),
        1 => key::<String>(bytes),
        2 => key::<(i32, String, bool)>(bytes),
        3 => key::<(Option<Vec<u8>>, char, [u8; 3])>(bytes),
        4 => view::<u64>(&value),
        5 => view::<String>(&value),
        6 => view::<Vec<(u32, String)>>(&value),
        7 => view::<Option<(i64, Vec<Option<String>>)>>(&value),
        8 => list::<u64>(&value),
        9 => list::<(String, Vec<u8>)>(&value),
        10 => list::<[u8; 3]>(&value),
        _ => drop(load_two(&value)),
    }
});

/// What is a key is encoded to the bytes that were read.
fn key<K: Key + Debug + PartialEq>(bytes: &[u8]) {
    let mut rest = bytes;
    let Ok(key) = K::decode(&mut rest) else { return };
    let mut encoded = Vec::new();
    key.encode(&mut encoded);
    assert_eq!(encoded, bytes[..bytes.len() - rest.len()], "{key:?}");
}

fn view<V: StateValue>(bytes: &[u8]) {
    if let Ok(archived) = V::view(bytes) {
        let _ = V::make(archived);
    }
}

fn list<V: StateValue>(bytes: &[u8]) {
    let Ok(items) = V::view_list(bytes) else { return };
    for item in items {
        let _ = V::make(item);
    }
}
