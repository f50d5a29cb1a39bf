//! Bytes as people read and write them.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressStyle};
use thalweg_state::lsm::Kind;

/// Two digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(digits, "{byte:02x}").expect("a String takes all that is written");
    }
    digits
}

/// The digits of the first `bytes_max` bytes, and how many more there are.
pub(super) fn hex_start(bytes: &[u8], bytes_max: usize) -> String {
    match bytes.len().checked_sub(bytes_max) {
        None | Some(0) => hex(bytes),
        Some(more) => format!("{}…(+{more})", hex(&bytes[..bytes_max])),
    }
}

/// Letters, digits and signs as they are, a dot for every other byte.
pub(super) fn ascii(bytes: &[u8]) -> String {
    let shown = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' };
    bytes.iter().map(shown).collect()
}

/// The bytes that pairs of digits say; digits may be in groups.
///
/// Errors: what is wrong with the text.
pub(super) fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> =
        text.chars().filter(|digit| !matches!(digit, ' ' | '_')).map(|digit| digit.to_digit(16)).collect();
    let digits = digits.ok_or("there is something else than digits 0-9 and a-f")?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(format!("{} digits are no whole bytes: each has two", digits.len()));
    };
    Ok(pairs.iter().map(|[high, low]| (high * 16 + low) as u8).collect())
}

/// What an entry is, in a word.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Put => "put",
        Kind::Delete => "delete",
        Kind::Merge => "operands",
    }
}

/// How much of `bytes` is done, on stderr, if that is a terminal.
pub(super) fn progress(bytes: u64, message: &'static str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {eta}");
    let bar = ProgressBar::new(bytes).with_message(message);
    bar.set_style(style.expect("the template is one"));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_are_written() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(parse_hex(&hex(&all)), Ok(all));
        assert_eq!(parse_hex("00FF_a 1"), Ok(vec![0, 0xff, 0xa1]));
        assert!(parse_hex("0").unwrap_err().contains("1 digits"));
        assert!(parse_hex("0g").is_err() && parse_hex("é1").is_err());
    }

    #[test]
    fn long_bytes_are_cut() {
        assert_eq!(hex_start(&[1, 2, 3], 3), "010203");
        assert_eq!(hex_start(&[1, 2, 3, 4], 2), "0102…(+2)");
        assert_eq!(ascii(b"a\0~\x7f\xc3"), "a.~..");
    }
}
