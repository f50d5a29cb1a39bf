//! The user functions a job can name, as pure functions over records.
//!
//! Invariants:
//! - each is exactly what SPEC.md says: integers wrap, remainders are floor remainders, the accumulated side of a
//!   reduce keeps its key and third field;
//! - a function applied to a type it does not fit panics with a sentence, which fails the job, as an exception
//!   does in Flink.

use std::cmp::Ordering;

use serde::Deserialize;

use super::value::{Rec, Value};

/// The type a stream's values are declared to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are `Value`'s variants")]
pub enum ValueType {
    Long,
    Double,
    String,
}

/// The function of a `map`. The third field is kept.
///
/// ```
/// use thalweg_tests::conformance::{functions::MapFn, value::Rec};
///
/// let function: MapFn = serde_json::from_str(r#"{"fn":"key_from_value_mod","m":3}"#).unwrap();
/// assert_eq!(function.apply(&Rec::new("a", -1)), Rec::new(2, -1));
/// ```
// Variants without fields have braces, here and below: serde lets unknown fields pass on a plain unit variant.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "fn", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum MapFn {
    Identity {},
    Add {
        n: i64,
    },
    Mul {
        n: i64,
    },
    SetKey {
        key: Value,
    },
    KeyFromValueMod {
        m: i64,
    },
    Append {
        s: String,
    },
    /// In UTF-16 units, as Java counts.
    Length {},
    ListGet {
        i: usize,
        #[serde(rename = "type")]
        value_type: ValueType,
    },
}

impl MapFn {
    /// The record it makes of `rec`.
    pub fn apply(&self, rec: &Rec) -> Rec {
        let value = &rec.value;
        match self {
            Self::Identity {} => rec.clone(),
            Self::Add { n } => rec.with_value(value.as_long().wrapping_add(*n)),
            Self::Mul { n } => rec.with_value(value.as_long().wrapping_mul(*n)),
            Self::SetKey { key } => Rec { key: key.clone(), ..rec.clone() },
            Self::KeyFromValueMod { m } => {
                Rec { key: Value::Long(floor_mod(value.as_long(), *m)), ..rec.clone() }
            }
            Self::Append { s } => rec.with_value(format!("{}{s}", value.as_str())),
            Self::Length {} => rec.with_value(value.as_str().encode_utf16().count() as i64),
            Self::ListGet { i, value_type } => {
                let values = value.as_list();
                let element = values.get(*i).unwrap_or_else(|| panic!("{value} has no element {i}")).clone();
                let fits = matches!(
                    (&element, value_type),
                    (Value::Long(_), ValueType::Long)
                        | (Value::Double(_), ValueType::Double)
                        | (Value::Str(_), ValueType::String)
                );
                assert!(fits, "element {i} of {value} is not a {value_type:?}");
                rec.with_value(element)
            }
        }
    }
}

/// The function of a `flat_map`. Key and third field are kept.
///
/// ```
/// use thalweg_tests::conformance::{functions::FlatMapFn, value::Rec};
///
/// let words: Vec<Rec> = FlatMapFn::Split {}.apply(&Rec::new("a", " x  yz")).collect();
/// assert_eq!(words, [Rec::new("a", "x"), Rec::new("a", "yz")]);
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "fn", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum FlatMapFn {
    Repeat {},
    Range {},
    Split {},
}

impl FlatMapFn {
    /// The records it makes of `rec`, in order.
    pub fn apply<'a>(&self, rec: &'a Rec) -> Box<dyn Iterator<Item = Rec> + 'a> {
        match self {
            Self::Repeat {} => Box::new((0..rec.value.as_long()).map(|_| rec.clone())),
            Self::Range {} => Box::new((0..rec.value.as_long()).map(|value| rec.with_value(value))),
            Self::Split {} => {
                let words = rec.value.as_str().split(' ').filter(|word| !word.is_empty());
                Box::new(words.map(|word| rec.with_value(word)))
            }
        }
    }
}

/// The condition of a `filter`, a `split` or a pattern stage. Numbers compare with a double stream's as doubles.
///
/// ```
/// use thalweg_tests::conformance::{functions::Predicate, value::Rec};
///
/// let even: Predicate = serde_json::from_str(r#"{"fn":"mod_eq","m":2,"r":0}"#).unwrap();
/// assert!(even.test(&Rec::new("a", -4)) && !even.test(&Rec::new("a", 3)));
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "fn", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Predicate {
    True {},
    False {},
    Gt { n: Value },
    Ge { n: Value },
    Lt { n: Value },
    Le { n: Value },
    ModEq { m: i64, r: i64 },
    ValueEq { v: Value },
    ValueNe { v: Value },
    KeyEq { k: Value },
    StartsWith { s: String },
}

impl Predicate {
    /// Whether it holds for `rec`.
    pub fn test(&self, rec: &Rec) -> bool {
        let value = &rec.value;
        match self {
            Self::True {} => true,
            Self::False {} => false,
            Self::Gt { n } => compare_numbers(value, n) == Some(Ordering::Greater),
            Self::Ge { n } => compare_numbers(value, n).is_some_and(Ordering::is_ge),
            Self::Lt { n } => compare_numbers(value, n) == Some(Ordering::Less),
            Self::Le { n } => compare_numbers(value, n).is_some_and(Ordering::is_le),
            Self::ModEq { m, r } => floor_mod(value.as_long(), *m) == *r,
            Self::ValueEq { v } => *value == v.typed_as(value),
            Self::ValueNe { v } => *value != v.typed_as(value),
            Self::KeyEq { k } => rec.key == *k,
            Self::StartsWith { s } => value.as_str().starts_with(s.as_str()),
        }
    }
}

/// A function of two records, the accumulated one first. Key and third field are the accumulated one's.
///
/// ```
/// use thalweg_tests::conformance::{functions::Reduce, value::Rec};
///
/// assert_eq!(Reduce::Last.apply(&Rec::new("a", 1), &Rec::new("b", 2)), Rec::new("a", 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Reduce {
    Sum,
    Min,
    Max,
    Concat,
    First,
    Last,
}

impl Reduce {
    /// `accumulated` with `rec` taken in.
    #[must_use]
    pub fn apply(self, accumulated: &Rec, rec: &Rec) -> Rec {
        let (a, b) = (&accumulated.value, &rec.value);
        accumulated.with_value(match self {
            Self::Sum => sum(a, b),
            Self::Min => a.min(b).clone(),
            Self::Max => a.max(b).clone(),
            Self::Concat => Value::Str(format!("{}{}", a.as_str(), b.as_str())),
            Self::First => a.clone(),
            Self::Last => b.clone(),
        })
    }
}

/// An aggregate of values, by an accumulator that can be merged with another.
///
/// The accumulator is itself a [`Value`], so that it archives: null before the first record, except that a count starts
/// at 0, a list is empty and an average is `[0, 0]` (sum and count).
///
/// ```
/// use thalweg_tests::conformance::{functions::Aggregate, value::{Rec, Value}};
///
/// let mut accumulator = Aggregate::Avg.create();
/// for value in [1, 2, 4] {
///     Aggregate::Avg.add(&mut accumulator, &Rec::new("a", value));
/// }
/// assert_eq!(Aggregate::Avg.result(&accumulator), Value::Double(7.0 / 3.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
    First,
    Last,
    Concat,
    Avg,
    List,
}

impl Aggregate {
    /// The accumulator of no records.
    pub fn create(self) -> Value {
        match self {
            Self::Count => Value::Long(0),
            Self::Avg => Value::from((0, 0)),
            Self::List => Value::List(Vec::new()),
            _ => Value::Null,
        }
    }

    /// Takes a record in. O(1), or the length of the text for `concat`.
    pub fn add(self, accumulator: &mut Value, rec: &Rec) {
        match self {
            Self::Count => *accumulator = Value::Long(accumulator.as_long() + 1),
            Self::Avg => self.merge(accumulator, &Value::from((rec.value.clone(), 1))),
            Self::List => match accumulator {
                Value::List(values) => values.push(rec.value.clone()),
                other => panic!("{other} is not the accumulator of a list"),
            },
            _ => self.merge(accumulator, &rec.value),
        }
    }

    /// Takes another accumulator in, whose records are the later ones.
    pub fn merge(self, accumulator: &mut Value, later: &Value) {
        if *later == Value::Null {
            return;
        }
        if *accumulator == Value::Null {
            *accumulator = later.clone();
            return;
        }
        match (self, &mut *accumulator) {
            (Self::Count | Self::Sum, a) => *a = sum(a, later),
            (Self::Min, a) if later < a => *a = later.clone(),
            (Self::Max, a) if later > a => *a = later.clone(),
            (Self::Min | Self::Max | Self::First, _) => {}
            (Self::Last, a) => *a = later.clone(),
            (Self::Concat, Value::Str(text)) => text.push_str(later.as_str()),
            (Self::List, Value::List(values)) => values.extend_from_slice(later.as_list()),
            (Self::Avg, Value::List(sums)) => {
                for (a, b) in sums.iter_mut().zip(later.as_list()) {
                    *a = sum(&a.typed_as(b), &b.typed_as(a));
                }
            }
            (_, other) => panic!("{other} is not the accumulator of {self:?}"),
        }
    }

    /// The aggregate of what was taken in.
    pub fn result(self, accumulator: &Value) -> Value {
        match self {
            Self::Avg => {
                let sums = accumulator.as_list();
                Value::Double(sums[0].as_double() / sums[1].as_double())
            }
            _ => accumulator.clone(),
        }
    }
}

/// Which field `sum`, `min` … look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are the record's fields")]
pub enum Field {
    #[default]
    Value,
    Aux,
}

/// What is done to the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldOp {
    /// Adds; the other fields stay the first record's.
    Sum,
    /// Keeps the least; the other fields stay the first record's.
    Min,
    /// Keeps the greatest; the other fields stay the first record's.
    Max,
    /// Keeps the whole record that has the least.
    MinBy,
    /// Keeps the whole record that has the greatest.
    MaxBy,
}

/// Flink's `sum`, `min`, `max`, `minBy` and `maxBy`, of rolling streams and of windows.
///
/// ```
/// use thalweg_tests::conformance::{functions::{Field, FieldAggregate, FieldOp}, value::Rec};
///
/// let (a, b) = (Rec { aux: Some(1), ..Rec::new("k", 5) }, Rec { aux: Some(2), ..Rec::new("k", 3) });
/// let of = |op| FieldAggregate { op, field: Field::Value, first: true }.apply(&a, &b);
/// assert_eq!(of(FieldOp::Min), Rec { aux: Some(1), ..Rec::new("k", 3) });
/// assert_eq!(of(FieldOp::MinBy), b);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldAggregate {
    /// What is done.
    pub op: FieldOp,
    /// To which field.
    pub field: Field,
    /// Whether the earlier record wins a tie; matters to `MinBy` and `MaxBy` only.
    pub first: bool,
}

impl FieldAggregate {
    /// `accumulated` with `rec` taken in.
    #[must_use]
    pub fn apply(self, accumulated: &Rec, rec: &Rec) -> Rec {
        let (a, b) = (self.field_of(accumulated), self.field_of(rec));
        let better = match self.op {
            FieldOp::Sum => return self.with_field(accumulated, sum(&a, &b)),
            FieldOp::Min | FieldOp::MinBy => b.cmp(&a).reverse(),
            FieldOp::Max | FieldOp::MaxBy => b.cmp(&a),
        };
        match (self.op, better) {
            (FieldOp::Min | FieldOp::Max, Ordering::Greater) => self.with_field(accumulated, b),
            (FieldOp::MinBy | FieldOp::MaxBy, Ordering::Greater) => rec.clone(),
            (FieldOp::MinBy | FieldOp::MaxBy, Ordering::Equal) if !self.first => rec.clone(),
            _ => accumulated.clone(),
        }
    }

    fn field_of(self, rec: &Rec) -> Value {
        match self.field {
            Field::Value => rec.value.clone(),
            Field::Aux => Value::Long(rec.aux.expect("an aggregate of aux is for records that have it")),
        }
    }

    fn with_field(self, rec: &Rec, field: Value) -> Rec {
        match self.field {
            Field::Value => rec.with_value(field),
            Field::Aux => Rec { aux: Some(field.as_long()), ..rec.clone() },
        }
    }
}

/// The window a function's result speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowSpan {
    /// From `start` (in it) to `end` (not in it), in ms.
    #[expect(missing_docs, reason = "above")]
    Time { start: i64, end: i64 },
    /// The one window of global and count windows.
    Global,
}

impl WindowSpan {
    /// `[start,end]`, or `"global"`.
    pub fn to_value(self) -> Value {
        match self {
            Self::Time { start, end } => Value::from((start, end)),
            Self::Global => Value::from("global"),
        }
    }
}

/// A process window function: it sees all values of the window, and its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named and defined by SPEC.md")]
pub enum ProcessFn {
    Elements,
    Sorted,
    Count,
    Wm,
    FireCount,
    Side,
}

/// What a process window function learns from its context.
#[derive(Debug, Clone, Copy, Default)]
pub struct Firing {
    /// The current watermark.
    pub watermark: i64,
    /// How often this window has fired, this time included: per-window state.
    pub of_window: i64,
    /// How often windows of this key have fired, this time included: global state.
    pub of_key: i64,
}

impl ProcessFn {
    /// Whether the function keeps the two counts of [`Firing`]; the others must not touch state.
    pub fn counts_firings(self) -> bool {
        self == Self::FireCount
    }

    /// The value of the result, of the window's values in arrival order. O(n), or O(n log n) for `sorted`.
    ///
    /// ```
    /// use thalweg_tests::conformance::functions::{Firing, ProcessFn, WindowSpan};
    ///
    /// let (window, values) = (WindowSpan::Time { start: 0, end: 10 }, [2.into(), 1.into()]);
    /// let result = ProcessFn::Sorted.result(window, &values, Firing::default());
    /// assert_eq!(result.to_string(), "[[0,10],[1,2]]");
    /// ```
    pub fn result(self, window: WindowSpan, values: &[Value], firing: Firing) -> Value {
        let (span, count) = (window.to_value(), Value::Long(values.len() as i64));
        match self {
            Self::Elements => Value::from((span, values.to_vec())),
            Self::Sorted => Value::from((span, sorted(values))),
            Self::Count | Self::Side => Value::from((span, count)),
            Self::Wm => Value::from((span, firing.watermark, count)),
            Self::FireCount => Value::List(vec![span, firing.of_window.into(), firing.of_key.into(), count]),
        }
    }

    /// The value that goes to the side output `side`, if there is one.
    pub fn side_result(self, window: WindowSpan, values: &[Value]) -> Option<Value> {
        (self == Self::Side).then(|| Value::from((window.to_value(), values.to_vec())))
    }
}

/// The values in ascending order: what `sorted` windows and cogroups emit.
///
/// ```
/// use thalweg_tests::conformance::functions::sorted;
///
/// assert_eq!(sorted(&[3.into(), (-1).into()]).to_string(), "[-1,3]");
/// ```
pub fn sorted(values: &[Value]) -> Value {
    let mut values = values.to_vec();
    values.sort();
    Value::List(values)
}

/// Wraps for longs. Panics on what is not a number, or on two types.
fn sum(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Long(a), Value::Long(b)) => Value::Long(a.wrapping_add(*b)),
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        _ => panic!("{a} and {b} have no sum"),
    }
}

/// The remainder with the sign of `m`, as `Math.floorMod`. Panics if `m` is zero, as Java does.
fn floor_mod(value: i64, m: i64) -> i64 {
    let remainder = value.wrapping_rem(m);
    if remainder != 0 && (remainder < 0) != (m < 0) { remainder + m } else { remainder }
}

/// `None` if one of them is a NaN. Panics on what is not a number.
fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Long(a), Value::Long(b)) => Some(a.cmp(b)),
        _ => a.as_double().partial_cmp(&b.as_double()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rec(key: &str, value: impl Into<Value>, aux: i64) -> Rec {
        Rec { aux: Some(aux), ..Rec::new(key, value) }
    }

    #[test]
    fn maps() {
        /// `function` as in a case file; what it makes of the value, as JSON.
        #[track_caller]
        fn check(function: &str, value: &str, expected: &str) {
            let function: MapFn = serde_json::from_str(function).unwrap();
            let rec = rec("k", serde_json::from_str::<Value>(value).unwrap(), 7);
            let result = function.apply(&rec);
            assert_eq!((format!("{}", result.value), result.aux), (expected.to_owned(), Some(7)));
        }
        check(r#"{"fn":"identity"}"#, "1", "1");
        check(r#"{"fn":"add","n":1}"#, "9223372036854775807", "-9223372036854775808");
        check(r#"{"fn":"mul","n":-1}"#, "-9223372036854775808", "-9223372036854775808");
        check(r#"{"fn":"append","s":"!"}"#, r#""a""#, r#""a!""#);
        check(r#"{"fn":"length"}"#, r#""a😀""#, "3");
        check(r#"{"fn":"list_get","i":1,"type":"long"}"#, "[[0,5],8]", "8");
        check(r#"{"fn":"key_from_value_mod","m":3}"#, "-4", "-4");
        check(r#"{"fn":"set_key","key":5}"#, "1", "1");
        assert!(serde_json::from_str::<MapFn>(r#"{"fn":"identity","n":1}"#).is_err());
        assert!(serde_json::from_str::<MapFn>(r#"{"fn":"add","n":1.5}"#).is_err());
    }

    #[test]
    fn remainders_are_floored() {
        let cases = [(7, 3, 1), (-7, 3, 2), (7, -3, -2), (-7, -3, -1), (6, 3, 0), (-6, 3, 0)];
        for (value, m, expected) in cases.into_iter().chain([(i64::MIN, -1, 0)]) {
            assert_eq!(floor_mod(value, m), expected, "{value} mod {m}");
        }
    }

    #[test]
    fn flat_maps() {
        let apply = |f: FlatMapFn, v: Value| -> Vec<Value> {
            f.apply(&rec("k", v, 1)).map(|rec| rec.value).collect()
        };
        assert_eq!(apply(FlatMapFn::Repeat {}, 2.into()), [2.into(), 2.into()]);
        assert_eq!(apply(FlatMapFn::Range {}, 2.into()), [0.into(), 1.into()]);
        assert!(apply(FlatMapFn::Range {}, (-3).into()).is_empty());
        assert!(apply(FlatMapFn::Split {}, "  ".into()).is_empty());
    }

    #[test]
    fn predicates() {
        #[track_caller]
        fn check(predicate: &str, value: impl Into<Value>, expected: bool) {
            let parsed: Predicate = serde_json::from_str(predicate).unwrap();
            assert_eq!(parsed.test(&Rec::new("k", value)), expected, "{predicate}");
        }
        check(r#"{"fn":"true"}"#, 1, true);
        check(r#"{"fn":"false"}"#, 1, false);
        check(r#"{"fn":"gt","n":3}"#, 3, false);
        check(r#"{"fn":"ge","n":3}"#, 3, true);
        check(r#"{"fn":"lt","n":3}"#, 2.5, true);
        check(r#"{"fn":"le","n":3}"#, 3.0, true);
        check(r#"{"fn":"le","n":3}"#, f64::NAN, false);
        check(r#"{"fn":"mod_eq","m":3,"r":2}"#, -1, true);
        check(r#"{"fn":"value_eq","v":3}"#, 3.0, true);
        check(r#"{"fn":"value_ne","v":"x"}"#, "x", false);
        check(r#"{"fn":"key_eq","k":"k"}"#, 1, true);
        check(r#"{"fn":"starts_with","s":"a"}"#, "abc", true);
        assert!(serde_json::from_str::<Predicate>(r#"{"fn":"true","n":1}"#).is_err());
    }

    #[test]
    fn reduces_keep_the_accumulated_record() {
        #[track_caller]
        fn check(reduce: Reduce, a: impl Into<Value>, b: impl Into<Value>, expected: impl Into<Value>) {
            assert_eq!(reduce.apply(&rec("a", a, 1), &rec("b", b, 2)), rec("a", expected, 1));
        }
        check(Reduce::Sum, i64::MAX, 1, i64::MIN);
        check(Reduce::Sum, 0.1, 0.2, 0.1 + 0.2);
        check(Reduce::Min, 2, 1, 1);
        check(Reduce::Max, 2, 1, 2);
        check(Reduce::Concat, "x", "y", "xy");
        check(Reduce::First, 1, 2, 1);
        check(Reduce::Last, 1, 2, 2);
    }

    #[test]
    fn aggregates_add_and_merge() {
        /// Adds one by one, then the same in two halves that are merged.
        #[track_caller]
        fn check(aggregate: Aggregate, values: &[Value], expected: impl Into<Value>) {
            let expected = expected.into();
            let fill = |values: &[Value]| {
                let mut accumulator = aggregate.create();
                for value in values {
                    aggregate.add(&mut accumulator, &Rec::new("k", value.clone()));
                }
                accumulator
            };
            for cut in 0..=values.len() {
                let mut accumulator = fill(&values[..cut]);
                aggregate.merge(&mut accumulator, &fill(&values[cut..]));
                assert_eq!(aggregate.result(&accumulator), expected, "cut at {cut}");
            }
        }
        let longs: Vec<Value> = [3, 1, 2].map(Value::from).to_vec();
        check(Aggregate::Count, &longs, 3);
        check(Aggregate::Sum, &longs, 6);
        check(Aggregate::Min, &longs, 1);
        check(Aggregate::Max, &longs, 3);
        check(Aggregate::First, &longs, 3);
        check(Aggregate::Last, &longs, 2);
        check(Aggregate::Avg, &longs, 2.0);
        check(Aggregate::List, &longs, longs.clone());
        check(Aggregate::Concat, &["x".into(), "y".into()], "xy");
        check(Aggregate::Avg, &[0.5.into(), 1.0.into()], 0.75);
        check(Aggregate::Count, &[], 0);
        check(Aggregate::Sum, &[], None::<i64>);
    }

    #[test]
    fn ties_go_to_the_first_unless_told_otherwise() {
        let (a, b) = (rec("k", 5, 1), rec("k", 5, 2));
        let by = |op, first| FieldAggregate { op, field: Field::Value, first }.apply(&a, &b);
        assert_eq!(by(FieldOp::MinBy, true), a);
        assert_eq!(by(FieldOp::MinBy, false), b);
        assert_eq!(by(FieldOp::MaxBy, true), a);
        assert_eq!(by(FieldOp::MaxBy, false), b);
        assert_eq!(by(FieldOp::Max, false), a);
        let aux = |op| FieldAggregate { op, field: Field::Aux, first: true }.apply(&a, &b);
        assert_eq!(aux(FieldOp::Sum), rec("k", 5, 3));
        assert_eq!(aux(FieldOp::Max), rec("k", 5, 2));
        assert_eq!(aux(FieldOp::MaxBy), b);
    }

    #[test]
    fn process_functions() {
        let window = WindowSpan::Time { start: -5, end: 5 };
        let values = [Value::Long(2), Value::Long(1)];
        let firing = Firing { watermark: 9, of_window: 2, of_key: 3 };
        let result = |function: ProcessFn| function.result(window, &values, firing).to_string();
        assert_eq!(result(ProcessFn::Elements), "[[-5,5],[2,1]]");
        assert_eq!(result(ProcessFn::Sorted), "[[-5,5],[1,2]]");
        assert_eq!(result(ProcessFn::Count), "[[-5,5],2]");
        assert_eq!(result(ProcessFn::Wm), "[[-5,5],9,2]");
        assert_eq!(result(ProcessFn::FireCount), "[[-5,5],2,3,2]");
        assert_eq!(result(ProcessFn::Side), "[[-5,5],2]");
        let side = ProcessFn::Side.side_result(WindowSpan::Global, &values).unwrap();
        assert_eq!(side.to_string(), r#"["global",[2,1]]"#);
    }
}
