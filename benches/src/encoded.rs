//! Keys as the LSM encodes them.

use thalweg_state::KeyGroup;
use thalweg_state::lsm::key::{KeyBuf, StateId};

/// Key group, state and a `u64`.
pub const ENCODED_BYTES: usize = 12;

/// An encoded key.
pub type EncodedKey = [u8; ENCODED_BYTES];

/// The key of a number below `count`: ascending with it, in 128 key groups. With its lowest bit set it is between two of them.
pub fn encode(number: u64, count: u64, state: StateId, buffer: &mut KeyBuf) -> EncodedKey {
    let group = KeyGroup((number * 128 / count) as u16);
    let encoded = buffer.begin(group, state).push(&(number << 20));
    encoded.as_bytes().try_into().expect("two and two and eight bytes")
}
