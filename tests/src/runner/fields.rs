//! Keys and fields of a [`Rec`], as the API wants them.

use crate::conformance::functions::Field;
use crate::conformance::value::{Rec, Value};

/// What a case's streams are keyed by: a long, a string, or null (neither).
pub(super) type Key = (Option<i64>, Option<String>);

/// The key of a record. Panics if it is of another type, which fails the job.
pub(super) fn key_of(rec: &Rec) -> Key {
    match &rec.key {
        Value::Null => (None, None),
        Value::Long(long) => (Some(*long), None),
        Value::Str(text) => (None, Some(text.clone())),
        other => panic!("{other} is not a key"),
    }
}

/// The key as a record has it.
pub(super) fn value_of(key: &Key) -> Value {
    match key {
        (Some(long), _) => Value::Long(*long),
        (None, text) => Value::from(text.clone()),
    }
}

/// A field that is a long. Panics on another type.
pub(super) fn long_mut(rec: &mut Rec, field: Field) -> &mut i64 {
    match (field, &mut rec.value) {
        (Field::Aux, _) => rec.aux.as_mut().expect("an aggregate of aux is for records that have it"),
        (Field::Value, Value::Long(long)) => long,
        (Field::Value, other) => panic!("{other} is not a long"),
    }
}

/// The value, which is a double. Panics on another type.
pub(super) fn double_mut(rec: &mut Rec) -> &mut f64 {
    match &mut rec.value {
        Value::Double(double) => double,
        other => panic!("{other} is not a double"),
    }
}

/// A field, to be compared.
pub(super) fn field_of(rec: &Rec, field: Field) -> Value {
    match field {
        Field::Value => rec.value.clone(),
        Field::Aux => Value::Long(rec.aux.expect("an aggregate of aux is for records that have it")),
    }
}
