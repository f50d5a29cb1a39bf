//! Whether bytes are records, and what is wrong where they are not.

use super::super::event::{FIELDS_AT, KIND_AT, TIME_AT, u64_at};

/// No record is longer, its length field not counted, so that a reader may map or buffer a file in pieces.
///
/// ```
/// assert_eq!(thalweg_tools::nexmark::RECORD_BYTES_MAX, 1 << 20);
/// ```
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Why some bytes are not a record.
///
/// ```
/// use thalweg_tools::nexmark::{RecordError, Shard};
/// let (offset, error) = Shard::new(vec![9, 0, 0], 10_000).expect_err("three bytes");
/// assert_eq!((offset, error), (0, RecordError::Truncated { needed: 4, found: 3 }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum RecordError {
    /// The shard ends within the record.
    #[error("the record needs {needed} bytes, but the file has only {found} more")]
    Truncated { needed: usize, found: usize },
    /// The length is beyond what the format allows.
    #[error("the record says it has {bytes} bytes, more than {RECORD_BYTES_MAX}")]
    TooLong { bytes: usize },
    /// The kind is none of person, auction and bid.
    #[error("there is no kind {kind}")]
    UnknownKind { kind: u8 },
    /// The record ends within a field.
    #[error("the record ends within {field}")]
    FieldPastEnd { field: &'static str },
    /// The record has more than its fields.
    #[error("{bytes} bytes are left after the last field")]
    BytesLeft { bytes: usize },
    /// A text is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 { field: &'static str },
    /// The event time is not the event's `date_time`, or before the epoch.
    #[error("event time {time} is not date_time {date_time}")]
    TimeMismatch { time: i64, date_time: u64 },
    /// Event time goes back.
    #[error("event time {time} is before {previous}, that of the record before")]
    TimeBackwards { time: u64, previous: u64 },
}

/// What is in a shard, or in a part of one, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::nexmark) struct Totals {
    pub(in crate::nexmark) bytes: u64,
    pub(in crate::nexmark) events: u64,
    /// Of the first event; zero if there is none.
    pub(in crate::nexmark) first_ts: u64,
    /// Of the last event; zero if there is none.
    pub(in crate::nexmark) last_ts: u64,
}

impl Totals {
    /// Counts what follows this part in the shard.
    pub(in crate::nexmark) fn append(&mut self, next: Totals) {
        if self.events == 0 {
            self.first_ts = next.first_ts;
        }
        if next.events > 0 {
            self.last_ts = next.last_ts;
        }
        self.bytes += next.bytes;
        self.events += next.events;
    }
}

/// A field of a record, by its name.
enum Field {
    Int(&'static str),
    /// `date_time`, which the head repeats.
    Time,
    Text(&'static str),
}

/// The fields by kind, in the order of the format.
const FIELDS: [&[Field]; 3] = {
    use Field::{Int, Text, Time};
    [
        &[
            Int("id"),
            Text("name"),
            Text("email_address"),
            Text("credit_card"),
            Text("city"),
            Text("state"),
            Time,
            Text("extra"),
        ],
        &[
            Int("id"),
            Text("item_name"),
            Text("description"),
            Int("initial_bid"),
            Int("reserve"),
            Time,
            Int("expires"),
            Int("seller"),
            Int("category"),
            Text("extra"),
        ],
        &[Int("auction"), Int("bidder"), Int("price"), Text("channel"), Text("url"), Time, Text("extra")],
    ]
};

/// Walks all records; an error comes with the byte at which its record begins.
pub(super) fn validate(bytes: &[u8]) -> Result<Totals, (u64, RecordError)> {
    let mut totals = Totals::default();
    let mut at = 0;
    while at < bytes.len() {
        let (len, time) = validate_record(&bytes[at..]).map_err(|error| (at as u64, error))?;
        if time < totals.last_ts {
            return Err((at as u64, RecordError::TimeBackwards { time, previous: totals.last_ts }));
        }
        totals.append(Totals { bytes: len as u64, events: 1, first_ts: time, last_ts: time });
        at += len;
    }
    Ok(totals)
}

/// Validates the record at the beginning of `bytes`; returns its length, all included, and its time.
fn validate_record(bytes: &[u8]) -> Result<(usize, u64), RecordError> {
    let truncated = |needed| RecordError::Truncated { needed, found: bytes.len() };
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(truncated(4))?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > RECORD_BYTES_MAX {
        return Err(RecordError::TooLong { bytes: len });
    }
    if len > rest.len() {
        return Err(truncated(4 + len));
    }
    let record = &bytes[..4 + len];
    if record.len() < FIELDS_AT {
        return Err(RecordError::FieldPastEnd { field: "event time" });
    }
    let kind = record[KIND_AT];
    let fields = *FIELDS.get(usize::from(kind)).ok_or(RecordError::UnknownKind { kind })?;
    let time = u64_at(record, TIME_AT);
    let mut rest = &record[FIELDS_AT..];
    for field in fields {
        match *field {
            Field::Int(field) => {
                rest = rest.split_at_checked(8).ok_or(RecordError::FieldPastEnd { field })?.1;
            }
            Field::Time => {
                let (date_time, after) =
                    rest.split_first_chunk().ok_or(RecordError::FieldPastEnd { field: "date_time" })?;
                let date_time = u64::from_le_bytes(*date_time);
                if time != date_time || time.cast_signed() < 0 {
                    return Err(RecordError::TimeMismatch { time: time.cast_signed(), date_time });
                }
                rest = after;
            }
            Field::Text(field) => {
                let past_end = RecordError::FieldPastEnd { field };
                let Some((len, after)) = rest.split_first_chunk::<2>() else { return Err(past_end) };
                let len = usize::from(u16::from_le_bytes(*len));
                let Some((text, after)) = after.split_at_checked(len) else { return Err(past_end) };
                if !text.is_ascii() && std::str::from_utf8(text).is_err() {
                    return Err(RecordError::NotUtf8 { field });
                }
                rest = after;
            }
        }
    }
    if !rest.is_empty() {
        return Err(RecordError::BytesLeft { bytes: rest.len() });
    }
    Ok((record.len(), time))
}
