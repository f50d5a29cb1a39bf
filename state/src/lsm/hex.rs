//! Bytes as text: two lower-case digits each. For JSON, with `#[serde(with = "hex")]`.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two digits for each byte.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)] as char))
        .collect()
}

/// What `encode` was given, or `None` if it writes no such text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |text: u8| DIGITS.iter().position(|digit| *digit == text);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&encode(bytes))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    decode(&String::deserialize(deserializer)?)
        .ok_or_else(|| D::Error::custom("these are no pairs of digits 0-9a-f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_two_digits_for_each_byte() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
        assert_eq!(encode(&[0, 0x1f, 0xff]), "001fff");
        for text in ["0", "0g", "0F", "é", " 1"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
