//! The record of every conformance job: a key, a value of any type, and an optional third field.
//!
//! Invariants:
//! - two values are equal exactly if `compare.py` calls them equal: a `Long` never equals a `Double`, and doubles
//!   are compared by their bits (`0.0` is not `-0.0`, a NaN equals itself);
//! - the order is total, and agrees with Java's `compareTo` within one type (strings by UTF-16 unit);
//! - JSON to value to JSON loses nothing: integers are exact over the whole of `i64`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{self, SeqAccess, Visitor};

/// A value of a type known only at run time.
///
/// Ordered by type first, in the order of the variants; a list by its elements, first to last.
///
/// ```
/// use thalweg_tests::conformance::value::Value;
///
/// let value: Value = serde_json::from_str("[9223372036854775807, 1.0, null, \"x\"]").unwrap();
/// assert_eq!(value.as_list()[0], Value::Long(i64::MAX));
/// assert_ne!(Value::Long(1), Value::Double(1.0));
/// assert_eq!(value.to_string(), r#"[9223372036854775807,1.0,null,"x"]"#);
/// ```
#[derive(Debug, Clone, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(
    // The type holds itself, so the bounds that a derive would add do not end; these are theirs, written out.
    serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, __S::Error: rkyv::rancor::Source),
    deserialize_bounds(__D::Error: rkyv::rancor::Source),
    bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)),
)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// A 64-bit integer; arithmetic on it wraps.
    Long(i64),
    /// A 64-bit float.
    Double(f64),
    /// A text.
    Str(String),
    /// A list, of any types.
    List(#[rkyv(omit_bounds)] Vec<Value>),
}

impl Value {
    /// The integer in it.
    ///
    /// Panics on any other type: in a job that is a function applied to a stream it does not fit.
    #[track_caller]
    pub fn as_long(&self) -> i64 {
        match self {
            Self::Long(long) => *long,
            other => panic!("{other} is not a long"),
        }
    }

    /// The text in it. Panics on any other type.
    #[track_caller]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Str(text) => text,
            other => panic!("{other} is not a string"),
        }
    }

    /// The elements of the list. Panics on any other type.
    #[track_caller]
    pub fn as_list(&self) -> &[Value] {
        match self {
            Self::List(values) => values,
            other => panic!("{other} is not a list"),
        }
    }

    /// The number in it, of either type, as a double. Panics on any other type.
    #[track_caller]
    pub fn as_double(&self) -> f64 {
        match self {
            Self::Long(long) => *long as f64,
            Self::Double(double) => *double,
            other => panic!("{other} is not a number"),
        }
    }

    /// Itself, read as the type of `other`: a long beside a double becomes a double.
    ///
    /// The cases write the numbers of double streams without a point where they can.
    ///
    /// ```
    /// use thalweg_tests::conformance::value::Value;
    ///
    /// assert_eq!(Value::Long(3).typed_as(&Value::Double(0.5)), Value::Double(3.0));
    /// ```
    #[must_use]
    pub fn typed_as(&self, other: &Value) -> Value {
        match (self, other) {
            (Self::Long(long), Self::Double(_)) => Self::Double(*long as f64),
            _ => self.clone(),
        }
    }

    fn type_index(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Long(_) => 1,
            Self::Double(_) => 2,
            Self::Str(_) => 3,
            Self::List(_) => 4,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Long(a), Self::Long(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Str(a), Self::Str(b)) => a.encode_utf16().cmp(b.encode_utf16()),
            (Self::List(a), Self::List(b)) => a.cmp(b),
            _ => self.type_index().cmp(&other.type_index()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.type_index().hash(state);
        match self {
            Self::Null => {}
            Self::Long(long) => long.hash(state),
            Self::Double(double) => double.to_bits().hash(state),
            Self::Str(text) => text.hash(state),
            Self::List(values) => values.hash(state),
        }
    }
}

impl From<i64> for Value {
    fn from(long: i64) -> Self {
        Self::Long(long)
    }
}

impl From<f64> for Value {
    fn from(double: f64) -> Self {
        Self::Double(double)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Self {
        Self::List(values)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<A: Into<Value>, B: Into<Value>> From<(A, B)> for Value {
    fn from((a, b): (A, B)) -> Self {
        Self::List(vec![a.into(), b.into()])
    }
}

impl<A: Into<Value>, B: Into<Value>, C: Into<Value>> From<(A, B, C)> for Value {
    fn from((a, b, c): (A, B, C)) -> Self {
        Self::List(vec![a.into(), b.into(), c.into()])
    }
}

/// As JSON, without spaces: what the case files hold, so that a value in a message can be searched for.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Long(long) => serializer.serialize_i64(*long),
            Self::Double(double) => serializer.serialize_f64(*double),
            Self::Str(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a 64-bit integer, a double, a string or a list")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E: de::Error>(self, long: i64) -> Result<Value, E> {
        Ok(Value::Long(long))
    }

    fn visit_u64<E: de::Error>(self, long: u64) -> Result<Value, E> {
        i64::try_from(long)
            .map(Value::Long)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(long), &self))
    }

    fn visit_f64<E: de::Error>(self, double: f64) -> Result<Value, E> {
        Ok(Value::Double(double))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }
}

/// The record of every stream of a case. Its timestamp is the stream's, not the record's.
///
/// ```
/// use thalweg_tests::conformance::value::Rec;
///
/// let rec = Rec::new("a", 1);
/// assert_eq!((rec.key.as_str(), rec.value.as_long(), rec.aux), ("a", 1, None));
/// ```
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct Rec {
    /// What keyed operators partition by: a string or a long, null after a non-keyed window.
    pub key: Value,
    /// What the functions work on.
    pub value: Value,
    /// The third field, where a case has one.
    pub aux: Option<i64>,
}

impl Rec {
    /// A record without the third field.
    pub fn new(key: impl Into<Value>, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into(), aux: None }
    }

    /// The same key and third field with another value.
    #[must_use]
    pub fn with_value(&self, value: impl Into<Value>) -> Self {
        Self { key: self.key.clone(), value: value.into(), aux: self.aux }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn json_keeps_every_bit() {
        for text in [
            "null",
            "9223372036854775807",
            "-9223372036854775808",
            "2.3333333333333335",
            "8.0",
            "-0.0",
            r#"["a",[1,[]],null]"#,
        ] {
            assert_eq!(json(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in ["true", "{}", "[{}]", "9223372036854775808"] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_order_is_total() {
        // Ascending, and each differs from all others.
        let ascending = [
            "null",
            "-1",
            "2",
            "-1.0",
            "-0.0",
            "0.0",
            "2.0",
            r#""""#,
            r#""B""#,
            r#""a""#,
            r#""ab""#,
            r#""😀""#, // Before the next by UTF-16, after it by code point.
            r#""！""#,
            "[]",
            "[1]",
            "[1,2]",
            "[2]",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(json(a).cmp(&json(b)), i.cmp(&j), "{a} and {b}");
            }
        }
        assert_eq!(Value::Double(f64::NAN), Value::Double(f64::NAN));
    }

    #[test]
    fn archives_are_validated_and_come_back() {
        let rec =
            Rec { key: Value::from("k"), value: json(r#"[1,[2.5,"x",[null]],[]]"#), aux: Some(i64::MIN) };
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&rec).unwrap();
        let archived = rkyv::access::<ArchivedRec, rkyv::rancor::Error>(&bytes).unwrap();
        assert_eq!(rkyv::deserialize::<Rec, rkyv::rancor::Error>(archived).unwrap(), rec);
    }
}
