//! Values of JavaScript as V8 writes them: what Node's channel speaks with `serialization: 'advanced'`.
//!
//! [`encode`] and [`decode`] are a pair; [`Value`] is what both speak of. JSON's values, `undefined`, dates, big integers,
//! maps, sets, regular expressions, errors, buffers and typed arrays are there. What is not is refused by name.
//!
//! The bytes may come from anybody: reading ends in a [`DecodeError`], never in a panic; it goes at most [`MAX_DEPTH`] deep
//! and makes at most [`MAX_VALUES`] values. An object that occurs twice in a message is two equal values here, and one
//! that contains itself has [`Value::Circular`] in its place, which goes back as that very object.
//!
//! ```
//! use musher_process::v8::{self, Value};
//!
//! let value = Value::Object(vec![("when".into(), Value::Date(0.0)), ("raw".into(), Value::Buffer(vec![1, 2, 3]))]);
//! let bytes = v8::encode(&value);
//! assert_eq!(v8::decode(&bytes)?, value);
//! # Ok::<(), v8::DecodeError>(())
//! ```

mod json;
mod read;
mod value;
mod write;

pub use self::json::Buffers;
pub use self::read::{DecodeError, MAX_DEPTH, MAX_VALUES, decode};
pub use self::value::{BigInt, ErrorValue, Value, ViewKind};
#[cfg(feature = "tokio")]
pub(crate) use self::write::append;
pub use self::write::encode;

/// The format's version that is written: every Node since 18 reads it.
const VERSION: u8 = 15;

/// One byte in front of each value.
mod tag {
    pub(super) const VERSION: u8 = 0xff;
    pub(super) const PADDING: u8 = 0;
    pub(super) const VERIFY_COUNT: u8 = b'?';
    pub(super) const HOLE: u8 = b'-';
    pub(super) const UNDEFINED: u8 = b'_';
    pub(super) const NULL: u8 = b'0';
    pub(super) const TRUE: u8 = b'T';
    pub(super) const FALSE: u8 = b'F';
    pub(super) const INT: u8 = b'I';
    pub(super) const UINT: u8 = b'U';
    pub(super) const DOUBLE: u8 = b'N';
    pub(super) const BIG_INT: u8 = b'Z';
    pub(super) const UTF8: u8 = b'S';
    pub(super) const ONE_BYTE: u8 = b'"';
    pub(super) const TWO_BYTE: u8 = b'c';
    pub(super) const REFERENCE: u8 = b'^';
    pub(super) const OBJECT: u8 = b'o';
    pub(super) const END_OBJECT: u8 = b'{';
    pub(super) const SPARSE: u8 = b'a';
    pub(super) const END_SPARSE: u8 = b'@';
    pub(super) const DENSE: u8 = b'A';
    pub(super) const END_DENSE: u8 = b'$';
    pub(super) const DATE: u8 = b'D';
    pub(super) const TRUE_OBJECT: u8 = b'y';
    pub(super) const FALSE_OBJECT: u8 = b'x';
    pub(super) const NUMBER_OBJECT: u8 = b'n';
    pub(super) const BIG_INT_OBJECT: u8 = b'z';
    pub(super) const STRING_OBJECT: u8 = b's';
    pub(super) const REG_EXP: u8 = b'R';
    pub(super) const MAP: u8 = b';';
    pub(super) const END_MAP: u8 = b':';
    pub(super) const SET: u8 = b'\'';
    pub(super) const END_SET: u8 = b',';
    pub(super) const ARRAY_BUFFER: u8 = b'B';
    pub(super) const RESIZABLE: u8 = b'~';
    pub(super) const VIEW: u8 = b'V';
    pub(super) const ERROR: u8 = b'r';
    pub(super) const HOST: u8 = b'\\';
}

/// What Node writes first in its own objects: a view of bytes follows.
const HOST_VIEW: u32 = 0;
/// An object of Node's follows, as a plain one.
const HOST_PLAIN: u32 = 1;

#[cfg(test)]
mod tests;
