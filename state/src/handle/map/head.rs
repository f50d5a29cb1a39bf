//! What files hold under the key of a map: all of the map, or that each entry is under a key of its own.
//!
//! ```text
//!   key ─▶ ┌──────────┬───────────────────┬────────────────┬ whole: ───┬─────┬───────────────────┐
//!          │ form u32 │ bytes of keys u32 │ generation u64 │ map keys  │ 0 … │ archive of values │
//!          └──────────┴───────────────────┴────────────────┴───────────┴─────┴───────────────────┘
//!   key, generation u64 BE, map key ─▶ archive of a value            if it is split
//! ```
//!
//! Invariants:
//! - entries count only if they are of the generation that the head says;
//! - a generation is used once: by one map, from when it is split until it is cleared.

use super::super::small_map::SmallMap;
use crate::snapshot::{EntriesFormat, HeapFormat};
use crate::value::ValueBytes;
use crate::{Key, StateValue, ValueError};
use std::ops::ControlFlow;

/// Before the keys of a map that is whole.
const HEADER_BYTES: usize = 16;
const WHOLE: u32 = 0;
const SPLIT: u32 = 1;

/// What the value under the key of a map says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// All entries.
    Whole { keys: &'a [u8], values: &'a [u8] },
    /// Entries are under keys of their own.
    Split { generation: u64 },
}

impl<'a> Head<'a> {
    /// Errors: the bytes are not a head.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ValueError> {
        let read = || {
            let (form, rest) = bytes.split_first_chunk()?;
            let (keys_bytes, rest) = rest.split_first_chunk()?;
            let (generation, rest) = rest.split_first_chunk()?;
            let generation = u64::from_le_bytes(*generation);
            match (u32::from_le_bytes(*form), u32::from_le_bytes(*keys_bytes), generation, rest) {
                (WHOLE, keys_bytes, 0, rest) => {
                    let (keys, rest) = rest.split_at_checked(keys_bytes as usize)?;
                    let padding = keys.len().next_multiple_of(16) - keys.len();
                    Some(Head::Whole { keys, values: rest.get(padding..)? })
                }
                (SPLIT, 0, generation, []) => Some(Head::Split { generation }),
                _ => None,
            }
        };
        read().ok_or_else(|| malformed(bytes))
    }
}

/// Appends the head of a map that is split.
pub(super) fn write_split(generation: u64, out: &mut ValueBytes) {
    header(out, SPLIT, 0, generation);
}

/// Appends the head of a map that is whole.
///
/// Errors: the keys or a value cannot be written.
pub(super) fn write_whole<'a, UK: Key, UV: StateValue>(
    entries: impl Iterator<Item = (&'a UK, &'a UV)>,
    out: &mut ValueBytes,
) -> Result<(), ValueError> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        key.encode(&mut keys);
        values.push(value.clone());
    }
    let bytes = u32::try_from(keys.len()).map_err(|_| ValueError::TooLong { bytes: keys.len() })?;
    header(out, WHOLE, bytes, 0);
    out.extend_from_slice(&keys);
    out.resize(out.len().next_multiple_of(16), 0);
    UV::write_list(&values, out)
}

/// How maps on the heap lie in files: whole, whatever their size. Those that are split are read too.
pub(super) fn heap_format<UK: Key, UV: StateValue>() -> HeapFormat<SmallMap<UK, UV>> {
    HeapFormat {
        store: |map, out| write_whole(map.iter(), out),
        load: |bytes| {
            let mut map = SmallMap::new();
            if let Head::Whole { keys, values } = Head::read(bytes)? {
                each_entry::<UK, UV>(keys, values, |key, value| {
                    map.insert(key, UV::make(value)?);
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            Ok(map)
        },
        entries: Some(EntriesFormat {
            add: |map, head, rest, value| {
                let (generation, key) = rest.split_first_chunk().ok_or_else(|| malformed(rest))?;
                if Head::read(head)? == (Head::Split { generation: u64::from_be_bytes(*generation) }) {
                    let (key, value) = read_entry(key, value)?;
                    map.insert(key, value);
                }
                Ok(())
            },
            is_none: SmallMap::is_empty,
        }),
    }
}

/// An entry of a map that is split, of which `key` is the map's key.
#[inline]
pub(super) fn read_entry<UK: Key, UV: StateValue>(
    mut key: &[u8],
    value: &[u8],
) -> Result<(UK, UV), ValueError> {
    let user_key = UK::decode(&mut key).map_err(|_| malformed(key))?;
    if !key.is_empty() {
        return Err(malformed(key));
    }
    Ok((user_key, UV::read(value)?))
}

/// Gives each entry of a map that is whole to `each`, its key and what makes its value, until it breaks off.
///
/// Errors: keys and values are not what `write_whole` writes; those of `each`.
pub(super) fn each_entry<UK: Key, UV: StateValue>(
    mut keys: &[u8],
    values: &[u8],
    mut each: impl FnMut(UK, &UV::Archived) -> Result<ControlFlow<()>, ValueError>,
) -> Result<(), ValueError> {
    for value in UV::view_list(values)? {
        let key = UK::decode(&mut keys).map_err(|_| malformed(keys))?;
        if each(key, value)?.is_break() {
            return Ok(());
        }
    }
    if keys.is_empty() { Ok(()) } else { Err(malformed(keys)) }
}

fn header(out: &mut ValueBytes, form: u32, keys_bytes: u32, generation: u64) {
    out.resize(out.len().next_multiple_of(HEADER_BYTES), 0);
    out.extend_from_slice(&form.to_le_bytes());
    out.extend_from_slice(&keys_bytes.to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
}

#[cold]
fn malformed(bytes: &[u8]) -> ValueError {
    ValueError::Malformed { type_name: "map", bytes: bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries_of(head: Head<'_>) -> Result<Vec<(String, u64)>, ValueError> {
        let mut entries = Vec::new();
        if let Head::Whole { keys, values } = head {
            each_entry::<String, u64>(keys, values, |key, value| {
                entries.push((key, value.to_native()));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(entries)
    }

    proptest! {
        #![proptest_config(crate::cases(128))]

        #[test]
        fn heads_come_back(generation: u64, entries in prop::collection::vec(any::<(String, u64)>(), 0..9)) {
            let mut bytes = ValueBytes::new();
            write_whole(entries.iter().map(|(key, value)| (key, value)), &mut bytes).unwrap();
            prop_assert_eq!(entries_of(Head::read(&bytes).unwrap()).unwrap(), entries);
            bytes.clear();
            write_split(generation, &mut bytes);
            prop_assert_eq!(Head::read(&bytes).unwrap(), Head::Split { generation });
        }

        /// Any bytes are an error or a map, never a panic.
        #[test]
        fn any_bytes_are_read_or_refused(noise in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..80)) {
            let mut bytes = ValueBytes::new();
            bytes.extend_from_slice(&noise);
            if let Ok(head) = Head::read(&bytes) {
                let _ = entries_of(head);
            }
        }
    }

    #[test]
    fn bytes_that_are_too_many_or_too_few_are_refused() {
        let mut bytes = ValueBytes::new();
        write_split(7, &mut bytes);
        assert!(Head::read(&bytes[..15]).is_err());
        bytes.push(0);
        assert!(Head::read(&bytes).is_err());
        bytes.clear();
        write_whole([(&7_u64, &8_u64)].into_iter(), &mut bytes).unwrap();
        let Ok(Head::Whole { keys, values }) = Head::read(&bytes) else { panic!("it is whole") };
        let read = |keys| each_entry::<u64, u64>(keys, values, |_, _| Ok(ControlFlow::Continue(())));
        assert!(read(keys).is_ok() && read(&keys[1..]).is_err() && read(&[0; 9]).is_err());
    }
}
