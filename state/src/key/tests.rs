//! Golden values guard the format; properties say that bytes sort and come back; and a count of collisions and of
//! crowding says that hashes spread at both ends, for the regular keys people have.

use super::*;
use crate::cases;
use proptest::prelude::*;
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;

/// The hash and the bytes of a key, as they are in savepoints.
#[track_caller]
fn golden<K: Key>(key: K, hash: u64, bytes: &[u8]) {
    let mut encoded = Vec::new();
    key.encode(&mut encoded);
    assert_eq!(encoded, bytes, "the bytes of {key:?}");
    assert_eq!(key.key_hash(), hash, "the hash of {key:?} is {:#018x}", key.key_hash());
    let mut rest = bytes;
    assert_eq!(K::decode(&mut rest).as_ref(), Ok(&key));
    assert!(rest.is_empty());
}

#[test]
fn hashes_and_bytes_are_those_of_the_format() {
    golden((), 0x1ff5_c292_3a78_8d2c, &[]);
    golden(true, 0xe2ab_d6ea_bf32_1322, &[0x01]);
    golden('é', 0x68d6_cc90_8d09_08cd, &[0x00, 0x00, 0x00, 0xe9]);
    golden(7_u8, 0xbe16_c2eb_e1c8_5b38, &[0x07]);
    golden(0x1234_u16, 0x58ce_7a4c_6b60_bbc2, &[0x12, 0x34]);
    golden(42_u32, 0x1534_faf1_ce13_2c93, &[0x00, 0x00, 0x00, 0x2a]);
    golden(u64::MAX, 0x2e31_2b00_b999_5597, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    golden(0_u64, 0x1ff5_c292_3a78_8d2c, &[0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]);
    golden(-1_i8, 0x2e31_2b00_b999_5597, &[0x7f]);
    golden(-2_i16, 0x6d6e_7ee6_30d9_e95e, &[0x7f, 0xfe]);
    golden(3_i32, 0xc683_b65c_b698_4bab, &[0x80, 0x00, 0x00, 0x03]);
    golden(i64::MIN, 0xc2d8_1998_1950_2021, &[0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]);
    golden(
        1_u128 << 100,
        0x642d_195d_7761_6037,
        &[0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    );
    golden(
        -1_i128,
        0x83f6_88ce_fbb1_5289,
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    );
    golden(String::new(), 0x02c4_5fcc_a5b2_4b2a, &[0x00, 0x00]);
    golden(String::from("bid"), 0xac5c_a0a5_1e22_7591, &[0x62, 0x69, 0x64, 0x00, 0x00]);
    golden(
        String::from("thalweg: the river"),
        0x6595_aa1e_b9da_5b63,
        &[
            0x74, 0x68, 0x61, 0x6c, 0x77, 0x65, 0x67, 0x3a, 0x20, 0x74, 0x68, 0x65, 0x20, 0x72, 0x69, 0x76,
            0x65, 0x72, 0x00, 0x00,
        ],
    );
    golden(vec![1_u8, 0, 2], 0x7f6e_7ee2_f559_1396, &[0x01, 0x00, 0xff, 0x02, 0x00, 0x00]);
    golden([1_u8, 0, 2], 0x7f6e_7ee2_f559_1396, &[0x01, 0x00, 0x02]);
    golden(None::<u8>, 0x02c4_5fcc_a5b2_4b2a, &[0x00]);
    golden(Some(7_u8), 0x37d8_5126_6383_f12d, &[0x01, 0x07]);
    golden((7_u8,), 0xbe16_c2eb_e1c8_5b38, &[0x07]);
    golden((7_u8, String::from("a")), 0x17a5_7018_2e64_62ba, &[0x07, 0x61, 0x00, 0x00]);
    golden((1_u8, 2_u8, 3_u8), 0x7faf_bc7e_8e98_4cce, &[0x01, 0x02, 0x03]);
}

/// The table of the format again, from its text rather than from the code above.
#[test]
fn strings_hash_by_groups_of_eight() {
    let text = b"thalweg: the line of the fastest flow";
    for length in 0..text.len() {
        let mut hash = length as u64 ^ SECRET[2];
        let groups = text[..length].chunks_exact(8);
        let mut last = [0; 8];
        last[..groups.remainder().len()].copy_from_slice(groups.remainder());
        for group in groups {
            hash = fold(hash ^ u64::from_le_bytes(group.try_into().unwrap()), SECRET[1]);
        }
        hash = fold(hash ^ u64::from_le_bytes(last), SECRET[3]);
        assert_eq!(hash_bytes(&text[..length]), hash, "of {length} bytes");
    }
}

#[test]
fn a_key_hashes_alike_in_every_width() {
    assert_eq!(200_u8.key_hash(), 200_u64.key_hash());
    assert_eq!((-3_i8).key_hash(), (-3_i64).key_hash());
    assert_eq!(vec![1_u8, 2].key_hash(), [1_u8, 2].key_hash());
    assert_eq!((7_u64,).key_hash(), 7_u64.key_hash());
    assert_ne!((1_u64, 2_u64).key_hash(), (2_u64, 1_u64).key_hash());
    assert_ne!(Some(0_u64).key_hash(), None::<u64>.key_hash());
    assert_ne!(vec![0_u8; 3].key_hash(), vec![0_u8; 4].key_hash());
}

#[test]
fn what_is_no_key_is_an_error() {
    #[track_caller]
    fn refuses<K: Key>(bytes: &[u8], error: KeyError) {
        assert_eq!(K::decode(&mut &*bytes), Err(error));
    }
    refuses::<u64>(&[0; 7], KeyError::Truncated);
    refuses::<bool>(&[2], KeyError::Tag(2));
    refuses::<Option<u8>>(&[9], KeyError::Tag(9));
    refuses::<Option<u8>>(&[1], KeyError::Truncated);
    refuses::<char>(&[0, 0, 0xd8, 0], KeyError::Char(0xd800));
    refuses::<String>(b"abc", KeyError::Truncated);
    refuses::<String>(b"abc\0", KeyError::Truncated);
    refuses::<Vec<u8>>(&[1, 0, 7, 0, 0], KeyError::Escape(7));
    refuses::<String>(&[0xff, 0, 0], KeyError::Utf8);
    refuses::<(u8, String)>(&[1], KeyError::Truncated);
}

type Serializer<'a> = HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>;

/// Of two keys: bytes come back, sort as the keys do, and do not run into what follows; archives are recognised.
fn check<K>(a: &K, b: &K) -> Result<(), TestCaseError>
where
    K: Key + Ord + for<'a> rkyv::Serialize<Serializer<'a>>,
    K::Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>,
{
    let (mut bytes_a, mut bytes_b) = (Vec::new(), Vec::new());
    a.encode(&mut bytes_a);
    b.encode(&mut bytes_b);
    prop_assert_eq!(bytes_a.cmp(&bytes_b), a.cmp(b));
    prop_assert!(a == b || !bytes_b.starts_with(&bytes_a));
    prop_assert_eq!(a == b, a.key_hash() == b.key_hash());

    let both = [bytes_a, bytes_b].concat();
    let mut rest = both.as_slice();
    prop_assert_eq!(K::decode(&mut rest), Ok(a.clone()));
    prop_assert_eq!(K::decode(&mut rest), Ok(b.clone()));
    prop_assert!(rest.is_empty());

    let archive = rkyv::to_bytes::<rancor::Error>(a).unwrap();
    let archived = rkyv::access::<K::Archived, rancor::Error>(&archive).unwrap();
    prop_assert!(a.eq_archived(archived));
    prop_assert_eq!(b.eq_archived(archived), a == b);
    prop_assert_eq!(&K::from_archived(archived), a);
    let mut assigned = b.clone();
    assigned.assign_archived(archived);
    prop_assert_eq!(&assigned, a);
    Ok(())
}

/// Short strings of few bytes, so that prefixes and zeros are common.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..12)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn integers_sort(a: (u8, i16, u32, i64, u128, i128), b: (u8, i16, u32, i64, u128, i128), same in 0..7) {
        check(&a, &b)?;
        // Keys that agree in their first fields.
        let mut c = b;
        if same > 0 { c.0 = a.0 }
        if same > 1 { c.1 = a.1 }
        if same > 2 { c.2 = a.2 }
        if same > 3 { c.3 = a.3 }
        if same > 4 { c.4 = a.4 }
        if same > 5 { c.5 = a.5 }
        check(&a, &c)?;
    }

    #[test]
    fn strings_sort(a in any_bytes(), b in any_bytes(), x: u8, y: u8) {
        check(&a, &b)?;
        check(&(a.clone(), x), &(b.clone(), y))?;
        check(&(String::from_utf8_lossy(&a).into_owned(), x), &(String::from_utf8_lossy(&b).into_owned(), y))?;
        check(&(Some(a), Some(x)), &(None, None))?;
    }

    #[test]
    fn others_sort(a: (bool, char, [u8; 3], (), Option<i8>), b: (bool, char, [u8; 3], (), Option<i8>), c: Option<(u16,)>) {
        check(&a, &b)?;
        check(&c, &None)?;
    }

    /// Whatever the bytes, decoding returns; and what it takes for a key is exactly what that key is written as.
    #[test]
    fn only_what_a_key_is_written_as_is_decoded(bytes in any_bytes(), key: (Option<String>, char, bool), change in any_change()) {
        decode_all(&bytes)?;
        let mut written = Vec::new();
        (key.clone(), bytes).encode(&mut written);
        change.apply(&mut written); // There is a tag at least.
        decode_all(&written)?;
        decode::<((Option<String>, char, bool), Vec<u8>)>(&written)?;
    }
}

/// Decodes as keys of all kinds.
fn decode_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    decode::<()>(bytes)?;
    decode::<(bool, u8, i16)>(bytes)?;
    decode::<(i32, u64)>(bytes)?;
    decode::<i128>(bytes)?;
    decode::<(char, [u8; 2])>(bytes)?;
    decode::<(Option<String>, char)>(bytes)?;
    decode::<(Option<Option<bool>>, Vec<u8>, Vec<u8>)>(bytes)
}

fn decode<K: Key>(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut rest = bytes;
    if let Ok(key) = K::decode(&mut rest) {
        let mut written = Vec::new();
        key.encode(&mut written);
        prop_assert_eq!(&written, &bytes[..bytes.len() - rest.len()], "{:?} is written otherwise", key);
    }
    Ok(())
}

/// Damage to a key's bytes.
#[derive(Clone, Debug)]
enum Change {
    None,
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    let byte = || prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()];
    prop_oneof![
        Just(Change::None),
        (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<prop::sample::Index>().prop_map(Change::Remove),
        any::<prop::sample::Index>().prop_map(Change::Cut),
    ]
}

impl Change {
    /// Of bytes that are not empty.
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Change::None => {}
            Change::Set(at, byte) => *at.get_mut(bytes) = byte,
            Change::Insert(at, byte) => bytes.insert(at.index(bytes.len()), byte),
            Change::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
}

/// Throws the hashes of 2¹⁶ keys into 2¹⁶ bins by their high, middle and low bits: random ones leave 1/e of them empty.
#[test]
fn regular_keys_spread() {
    #[track_caller]
    fn spreads(what: &str, hash: impl Fn(u64) -> u64) {
        for shift in [48, 24, 0] {
            let mut bins = vec![0_u32; 1 << 16];
            (0..1 << 16).for_each(|i| bins[(hash(i) >> shift) as usize & 0xffff] += 1);
            let empty = bins.iter().filter(|&&n| n == 0).count() as f64 / 65_536.0;
            let fullest = bins.iter().max().unwrap();
            assert!(empty < 0.39 && *fullest < 12, "{what} >> {shift}: {empty:.3} empty, {fullest} in one");
        }
    }
    for step in [0, 3, 8, 16, 20, 32, 40, 48] {
        spreads(&format!("multiples of 2^{step}"), |i| (i << step).key_hash());
    }
    for step in [1000, 3600, 86_400_000, 1_000_003] {
        spreads(&format!("multiples of {step}"), |i| (i * step).key_hash());
    }
    spreads("negatives", |i| (-(i as i64)).key_hash());
    spreads("floats", |i| f64::to_bits(i as f64).key_hash());
    spreads("pairs", |i| ((i >> 8), (i & 0xff)).key_hash());
    spreads("strings", |i| format!("user-{i}").key_hash());
    spreads("long strings", |i| format!("https://example.com/auction/{i}/bid").key_hash());
    spreads("wide", |i| (u128::from(i) << 64).key_hash());
    spreads("options", |i| Some(i).key_hash());
}
