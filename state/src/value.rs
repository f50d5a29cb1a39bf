//! Values: what state is made of. Typed in memory, an rkyv archive in files.
//!
//! Invariants:
//! - bytes are checked (`bytecheck`) each time they are made a value: what a file says can be wrong, and is then an error;
//! - an archive starts at a multiple of its alignment, and ends where its bytes end.

use std::fmt;

use rkyv::api::low::{LowSerializer, LowValidator, access, to_bytes_in_with_alloc};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{self, Failure, Fallible, Strategy};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::{Allocator, Writer};
use rkyv::util::{AlignedVec, with_arena};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Deserialize, Place, Serialize};

use crate::hash_bytes;
use crate::lsm::Fingerprint;
use crate::lsm::sst::ValueAlign;

/// Bytes that begin at a multiple of 16, which every archive is content with.
pub(crate) type ValueBytes = AlignedVec<16>;

/// What a state can hold: anything that derives rkyv's `Archive`, `Serialize` and `Deserialize`, and `Clone`.
///
/// Implemented for all that qualifies: integers, floats, `bool`, `char`, `String`, `Option`, `Vec`, tuples, structs of these.
///
/// ```
/// use thalweg_state::StateValue;
///
/// #[derive(Clone, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
/// struct Session {
///     pages: Vec<String>,
///     since_ms: i64,
/// }
///
/// let session = Session { pages: vec!["home".into()], since_ms: 7 };
/// let mut bytes = rkyv::util::AlignedVec::new();
/// session.write(&mut bytes)?;
/// assert_eq!(Session::view(&bytes)?.pages[0], "home"); // In place.
/// assert_eq!(Session::read(&bytes)?.since_ms, 7);
/// assert!(Session::read(&bytes[..3]).is_err());
/// # Ok::<(), thalweg_state::ValueError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in a state",
    label = "not a value of a state",
    note = "derive `Clone`, `rkyv::Archive`, `rkyv::Serialize` and `rkyv::Deserialize` for it"
)]
pub trait StateValue:
    Archive<
        Archived: for<'a> CheckBytes<LowValidator<'a, Failure>> + Deserialize<Self, Strategy<(), Failure>>,
    > + for<'a> Serialize<LowSerializer<AlignedVec<16>, ArenaHandle<'a>, rancor::Error>>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Appends the value's archive, at the next multiple of 16.
    ///
    /// Errors: [`ValueError`] if a part of it refuses to be serialised.
    fn write(&self, out: &mut AlignedVec<16>) -> Result<(), ValueError>;

    /// The archive that `bytes` are, in place. They begin at a multiple of the archive's alignment.
    ///
    /// Errors: [`ValueError`] if they are not what `write` writes.
    fn view(bytes: &[u8]) -> Result<&Self::Archived, ValueError>;

    /// The value of an archive.
    ///
    /// Errors: [`ValueError`] if a part of it refuses to be made again.
    fn make(archived: &Self::Archived) -> Result<Self, ValueError>;

    /// Appends the archive of several values as one, at the next multiple of 16.
    ///
    /// Errors: as `write`.
    fn write_list(values: &[Self], out: &mut AlignedVec<16>) -> Result<(), ValueError>;

    /// The archives of several values, in place.
    ///
    /// Errors: [`ValueError`] if `bytes` are not what `write_list` writes.
    fn view_list(bytes: &[u8]) -> Result<&[Self::Archived], ValueError>;

    /// The value that `bytes` are.
    ///
    /// Errors: as `view` and `make`.
    fn read(bytes: &[u8]) -> Result<Self, ValueError> {
        Self::make(Self::view(bytes)?)
    }
}

impl<T> StateValue for T
where
    T: Archive + Clone + Send + Sync + 'static,
    T: for<'a> Serialize<LowSerializer<AlignedVec<16>, ArenaHandle<'a>, rancor::Error>>,
    T::Archived: for<'a> CheckBytes<LowValidator<'a, Failure>> + Deserialize<T, Strategy<(), Failure>>,
{
    fn write(&self, out: &mut AlignedVec<16>) -> Result<(), ValueError> {
        let start = out.len().next_multiple_of(16);
        out.resize(start, 0);
        let writer = std::mem::take(out);
        *out =
            with_arena(|arena| to_bytes_in_with_alloc::<_, _, rancor::Error>(self, writer, arena.acquire()))
                .map_err(|error| ValueError::Refused {
                    type_name: std::any::type_name::<T>(),
                    why: error.to_string(),
                })?;
        Ok(())
    }

    #[inline]
    fn view(bytes: &[u8]) -> Result<&T::Archived, ValueError> {
        access::<T::Archived, Failure>(bytes).map_err(|Failure| malformed::<T>(bytes))
    }

    fn write_list(values: &[T], out: &mut AlignedVec<16>) -> Result<(), ValueError> {
        append(&Items(values), out)
    }

    #[inline]
    fn view_list(bytes: &[u8]) -> Result<&[T::Archived], ValueError> {
        let list = access::<ArchivedVec<T::Archived>, Failure>(bytes);
        list.map(ArchivedVec::as_slice).map_err(|Failure| malformed::<Vec<T>>(bytes))
    }

    #[inline]
    fn make(archived: &T::Archived) -> Result<T, ValueError> {
        archived.deserialize(Strategy::wrap(&mut ())).map_err(|Failure| malformed::<T>(&[]))
    }
}

/// What a table of values can hold: every [`StateValue`], and types that write themselves in another way.
///
/// ```
/// use rkyv::util::AlignedVec;
/// use thalweg_state::lsm::{Fingerprint, sst::ValueAlign};
/// use thalweg_state::{StateValue, Stored, ValueError, fingerprint};
/// /// Kept as the vector it is made of.
/// #[derive(Clone)]
/// struct Stack(Vec<u64>);
/// impl Stored for Stack {
///     fn schema() -> Fingerprint {
///         fingerprint::<Vec<u64>>(&["stack"])
///     }
///     fn align() -> ValueAlign {
///         ValueAlign::Eight
///     }
///     fn store(&self, out: &mut AlignedVec<16>) -> Result<(), ValueError> {
///         self.0.write(out)
///     }
///     fn load(bytes: &[u8]) -> Result<Self, ValueError> {
///         Ok(Stack(Vec::read(bytes)?))
///     }
/// }
/// let mut bytes = AlignedVec::new();
/// Stack(vec![7]).store(&mut bytes)?;
/// assert_eq!(Stack::load(&bytes)?.0, [7]);
/// # Ok::<(), ValueError>(())
/// ```
pub trait Stored: Clone + Send + Sync + 'static {
    /// What tells this type from others that a state of the same name could have had.
    fn schema() -> Fingerprint;

    /// The multiple at which a file must place the value for `load`.
    fn align() -> ValueAlign;

    /// Appends the value, at the next multiple of 16.
    ///
    /// Errors: [`ValueError`] if it cannot be written.
    fn store(&self, out: &mut AlignedVec<16>) -> Result<(), ValueError>;

    /// The value that `bytes` are.
    ///
    /// Errors: [`ValueError`] if they are not what `store` writes.
    fn load(bytes: &[u8]) -> Result<Self, ValueError>;
}

impl<V: StateValue> Stored for V {
    fn schema() -> Fingerprint {
        fingerprint::<V>(&[])
    }

    fn align() -> ValueAlign {
        if align_of::<V::Archived>() <= 8 { ValueAlign::Eight } else { ValueAlign::Sixteen }
    }

    fn store(&self, out: &mut AlignedVec<16>) -> Result<(), ValueError> {
        self.write(out)
    }

    #[inline]
    fn load(bytes: &[u8]) -> Result<Self, ValueError> {
        V::read(bytes)
    }
}

/// Appends two parts as one value: for a [`Stored`] type that is made of two.
///
/// Errors: those of the parts.
///
/// ```
/// use rkyv::util::AlignedVec;
/// use thalweg_state::{StateValue, load_two, store_two};
/// let mut bytes = AlignedVec::new();
/// store_two(&mut bytes, |out| 7_u64.write(out), |out| String::from("seven").write(out))?;
/// let (number, name) = load_two(&bytes)?;
/// assert_eq!((u64::read(number)?, String::read(name)?), (7, "seven".into()));
/// # Ok::<(), thalweg_state::ValueError>(())
/// ```
pub fn store_two(
    out: &mut AlignedVec<16>,
    first: impl FnOnce(&mut AlignedVec<16>) -> Result<(), ValueError>,
    second: impl FnOnce(&mut AlignedVec<16>) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    let start = out.len().next_multiple_of(16);
    out.resize(start + TWO_HEADER_BYTES, 0);
    first(out)?;
    let bytes = out.len() - start - TWO_HEADER_BYTES;
    let in_words = u32::try_from(bytes).map_err(|_| ValueError::TooLong { bytes })?;
    out[start..start + 4].copy_from_slice(&in_words.to_le_bytes());
    out.resize(out.len().next_multiple_of(16), 0);
    second(out)
}

/// The two parts of a value that [`store_two`] has written.
///
/// Errors: [`ValueError`] if it is not one.
///
/// ```
/// assert!(thalweg_state::load_two(&[1, 2, 3]).is_err());
/// ```
pub fn load_two(bytes: &[u8]) -> Result<(&[u8], &[u8]), ValueError> {
    let parts = || {
        let (header, rest) = bytes.split_first_chunk::<TWO_HEADER_BYTES>()?;
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        Some((rest.get(..len)?, rest.get(len.next_multiple_of(16)..)?))
    };
    parts().ok_or(ValueError::Malformed { type_name: "pair", bytes: bytes.len() })
}

/// Before the first of two parts: its length, and nothing up to a multiple of 16.
const TWO_HEADER_BYTES: usize = 16;

/// Appends an archive at the next multiple of 16.
fn append<T>(value: &T, out: &mut AlignedVec<16>) -> Result<(), ValueError>
where
    T: for<'a> Serialize<LowSerializer<AlignedVec<16>, ArenaHandle<'a>, rancor::Error>>,
{
    let start = out.len().next_multiple_of(16);
    out.resize(start, 0);
    let writer = std::mem::take(out);
    let written = with_arena(|arena| to_bytes_in_with_alloc(value, writer, arena.acquire()));
    let refused = |error: rancor::Error| ValueError::Refused {
        type_name: std::any::type_name::<T>(),
        why: error.to_string(),
    };
    *out = written.map_err(refused)?;
    Ok(())
}

/// Values whose archive is that of a `Vec` of them.
struct Items<'a, T>(&'a [T]);

impl<T: Archive> Archive for Items<'_, T> {
    type Archived = ArchivedVec<T::Archived>;
    type Resolver = VecResolver;

    fn resolve(&self, resolver: VecResolver, out: Place<Self::Archived>) {
        ArchivedVec::resolve_from_slice(self.0, resolver, out);
    }
}

impl<S: Fallible + Allocator + Writer + ?Sized, T: Serialize<S>> Serialize<S> for Items<'_, T> {
    fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::<T::Archived>::serialize_from_slice(self.0, serializer)
    }
}

#[cold]
fn malformed<T>(bytes: &[u8]) -> ValueError {
    ValueError::Malformed { type_name: std::any::type_name::<T>(), bytes: bytes.len() }
}

/// Why a value cannot be written, or bytes are not one.
///
/// ```
/// use thalweg_state::StateValue;
/// let error = u64::read(&[1, 2]).unwrap_err();
/// assert_eq!(error.to_string(), "2 bytes are not a u64");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
#[non_exhaustive]
pub enum ValueError {
    /// The bytes of a file are not what the state's type writes.
    #[error("{bytes} bytes are not a {type_name}")]
    Malformed { type_name: &'static str, bytes: usize },
    /// More than can be written at once.
    #[error("a value of {bytes} bytes is too long to be stored")]
    TooLong { bytes: usize },
    /// The type's own serialisation has failed.
    #[error("a {type_name} cannot be serialised: {why}")]
    Refused { type_name: &'static str, why: String },
}

/// What tells a state's types from others: their names, without crates and modules, and the size and alignment of the archive. A type
/// that is renamed is another one, as is one whose archive has another size; one that is moved is the same. `parts`: what else there is
/// to tell them by.
///
/// ```
/// use thalweg_state::fingerprint;
/// assert_ne!(fingerprint::<u64>(&[]), fingerprint::<i64>(&[]));
/// ```
pub fn fingerprint<T: Archive>(parts: &[&str]) -> Fingerprint {
    let mut text = String::new();
    for part in parts {
        text += part;
        text.push('\0');
    }
    let archived = (size_of::<T::Archived>(), align_of::<T::Archived>());
    push_without_paths(std::any::type_name::<T>(), &mut text);
    fmt::Write::write_fmt(&mut text, format_args!(" {archived:?}")).expect("a String takes all text");
    Fingerprint(hash_bytes(text.as_bytes()))
}

/// Appends the name of a type: of each path in it the last part alone.
fn push_without_paths(type_name: &str, out: &mut String) {
    let mut path_at = out.len();
    for c in type_name.chars() {
        match c {
            ':' => out.truncate(path_at),
            _ => out.push(c),
        }
        if !(c.is_alphanumeric() || c == '_') {
            path_at = out.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_type_that_is_moved_keeps_its_name() {
        for (type_name, name) in [
            ("u64", "u64"),
            ("shop::orders::Order", "Order"),
            ("(u64, alloc::vec::Vec<core::option::Option<shop::Order_2>>)", "(u64, Vec<Option<Order_2>>)"),
            ("[shop::Order; 3]", "[Order; 3]"),
        ] {
            let mut found = String::from("value ");
            push_without_paths(type_name, &mut found);
            assert_eq!(found, format!("value {name}"));
        }
    }

    proptest! {
        #![proptest_config(crate::cases(64))]

        /// What was written is read, wherever it stands in a buffer.
        #[test]
        fn values_come_back(values in prop::collection::vec(any::<(u8, String, Option<Vec<u64>>)>(), 0..8)) {
            let mut bytes = ValueBytes::new();
            let mut ranges = Vec::new();
            for value in &values {
                let start = bytes.len().next_multiple_of(16);
                value.write(&mut bytes).unwrap();
                ranges.push(start..bytes.len());
            }
            for (value, range) in values.iter().zip(ranges) {
                prop_assert_eq!(&<(u8, String, Option<Vec<u64>>)>::read(&bytes[range]).unwrap(), value);
            }
        }

        /// Any bytes are an error or a value, never a panic.
        #[test]
        fn any_bytes_are_read_or_refused(noise in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = ValueBytes::new();
            bytes.extend_from_slice(&noise);
            let _ = <(u8, String, Option<Vec<u64>>)>::read(&bytes);
            let _ = Vec::<String>::read(&bytes);
            let _ = <(char, bool)>::read(&bytes);
        }
    }

    #[test]
    fn other_types_have_other_fingerprints() {
        let all = [fingerprint::<u64>(&[]), fingerprint::<i64>(&[]), fingerprint::<u64>(&["list"])];
        assert!(all[0] != all[1] && all[0] != all[2]);
    }
}
