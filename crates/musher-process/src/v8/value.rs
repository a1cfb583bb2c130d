//! What a value of JavaScript is here.

/// A value of JavaScript. [`to_json`](Value::to_json) and `From<&serde_json::Value>` lead to and from JSON.
///
/// ```
/// use musher_process::v8::{Value, ViewKind, decode, encode};
///
/// let value = Value::Map(vec![(Value::from("when"), Value::Date(0.0)), (Value::Number(1.0), Value::Undefined)]);
/// assert_eq!(decode(&encode(&value))?, value);
/// assert_eq!(Value::from(&serde_json::json!({"a": [null]})).member("a"), Some(&Value::Array(vec![Value::Null])));
/// # Ok::<(), musher_process::v8::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `undefined`, also a hole of an array.
    Undefined,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// `123n`.
    BigInt(BigInt),
    /// A string. What is no Unicode in it (half of a surrogate pair) has become U+FFFD.
    String(String),
    /// A `Date`: milliseconds since 1970, or NaN.
    Date(f64),
    /// A `RegExp`.
    RegExp {
        /// Its pattern.
        source: String,
        /// Its flags, as the bits that V8 uses.
        flags: u32,
    },
    /// An array.
    Array(Vec<Value>),
    /// A plain object: names and values in their order.
    Object(Vec<(String, Value)>),
    /// A `Map`.
    Map(Vec<(Value, Value)>),
    /// A `Set`.
    Set(Vec<Value>),
    /// A `Buffer`.
    Buffer(Vec<u8>),
    /// An `ArrayBuffer`.
    ArrayBuffer(Vec<u8>),
    /// A typed array or `DataView`: its bytes, in the machine's order.
    View(ViewKind, Vec<u8>),
    /// An `Error`.
    Error(Box<ErrorValue>),
    /// An object that contains the place where this stands: 1 is the one right around it, 2 the one around that, ...
    Circular(usize),
}

/// An integer of any size.
///
/// ```
/// use musher_process::v8::BigInt;
/// assert_eq!(BigInt::from(-258), BigInt { negative: true, bytes: vec![2, 1, 0, 0, 0, 0, 0, 0] });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BigInt {
    /// Below zero.
    pub negative: bool,
    /// Its magnitude, least significant byte first.
    pub bytes: Vec<u8>,
}

/// An `Error` as V8 sends it.
///
/// ```
/// use musher_process::v8::{ErrorValue, Value, decode, encode};
///
/// let error = ErrorValue { name: "TypeError".into(), message: Some("no function".into()), ..ErrorValue::default() };
/// let value = Value::Error(Box::new(error));
/// assert_eq!(decode(&encode(&value))?, value);
/// # Ok::<(), musher_process::v8::DecodeError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorValue {
    /// `Error`, `TypeError`, `RangeError`, `ReferenceError`, `SyntaxError`, `EvalError` or `URIError`.
    pub name: String,
    /// Its message.
    pub message: Option<String>,
    /// Its stack.
    pub stack: Option<String>,
    /// Its cause.
    pub cause: Option<Value>,
}

/// What the bytes of a [`Value::View`] are: JavaScript's typed arrays by their names.
///
/// ```
/// use musher_process::v8::{Value, ViewKind};
/// let numbers = [1.5_f32, -2.0].iter().flat_map(|number| number.to_ne_bytes()).collect();
/// let value = Value::View(ViewKind::Float32Array, numbers);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViewKind {
    /// Numbers of 8 bits, with a sign.
    Int8Array,
    /// Bytes.
    Uint8Array,
    /// Bytes that end at 0 and 255 instead of wrapping.
    Uint8ClampedArray,
    /// Numbers of 16 bits, with a sign.
    Int16Array,
    /// Numbers of 16 bits.
    Uint16Array,
    /// Numbers of 32 bits, with a sign.
    Int32Array,
    /// Numbers of 32 bits.
    Uint32Array,
    /// Floating point numbers of 32 bits.
    Float32Array,
    /// Floating point numbers of 64 bits.
    Float64Array,
    /// Whatever the program reads from them.
    DataView,
    /// Numbers of 64 bits, with a sign.
    BigInt64Array,
    /// Numbers of 64 bits.
    BigUint64Array,
    /// Floating point numbers of 16 bits.
    Float16Array,
}

impl ViewKind {
    /// In the order of Node's numbers, where 10 is a `Buffer`.
    const NODE: [Option<ViewKind>; 14] = [
        Some(ViewKind::Int8Array),
        Some(ViewKind::Uint8Array),
        Some(ViewKind::Uint8ClampedArray),
        Some(ViewKind::Int16Array),
        Some(ViewKind::Uint16Array),
        Some(ViewKind::Int32Array),
        Some(ViewKind::Uint32Array),
        Some(ViewKind::Float32Array),
        Some(ViewKind::Float64Array),
        Some(ViewKind::DataView),
        None,
        Some(ViewKind::BigInt64Array),
        Some(ViewKind::BigUint64Array),
        Some(ViewKind::Float16Array),
    ];

    /// Node's number of it.
    pub(super) fn index(self) -> u32 {
        ViewKind::NODE.iter().position(|kind| *kind == Some(self)).map_or(1, |index| index as u32)
    }

    /// The value of Node's number: a view or a `Buffer`.
    pub(super) fn value(index: u32, bytes: Vec<u8>) -> Option<Value> {
        Some(match ViewKind::NODE.get(usize::try_from(index).ok()?)? {
            Some(kind) => Value::View(*kind, bytes),
            None => Value::Buffer(bytes),
        })
    }

    /// V8's letter of it.
    pub(super) fn of_letter(letter: u8) -> Option<ViewKind> {
        Some(match letter {
            b'b' => ViewKind::Int8Array,
            b'B' => ViewKind::Uint8Array,
            b'C' => ViewKind::Uint8ClampedArray,
            b'w' => ViewKind::Int16Array,
            b'W' => ViewKind::Uint16Array,
            b'd' => ViewKind::Int32Array,
            b'D' => ViewKind::Uint32Array,
            b'h' => ViewKind::Float16Array,
            b'f' => ViewKind::Float32Array,
            b'F' => ViewKind::Float64Array,
            b'q' => ViewKind::BigInt64Array,
            b'Q' => ViewKind::BigUint64Array,
            b'?' => ViewKind::DataView,
            _ => return None,
        })
    }
}

impl Value {
    /// The member of an object.
    ///
    /// ```
    /// use musher_process::v8::Value;
    /// let value = Value::Object(vec![("a".into(), Value::Number(1.0))]);
    /// assert_eq!(value.member("a"), Some(&Value::Number(1.0)));
    /// ```
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    ///
    /// ```
    /// use musher_process::v8::Value;
    /// assert_eq!(Value::from("hello").as_str(), Some("hello"));
    /// ```
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.to_owned())
    }
}

impl BigInt {
    /// As a number, if it has at most 127 bits.
    ///
    /// ```
    /// use musher_process::v8::BigInt;
    /// assert_eq!(BigInt::from(-7).to_i128(), Some(-7));
    /// ```
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        let (low, high) = self.bytes.split_at(self.bytes.len().min(16));
        if high.iter().any(|byte| *byte != 0) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..low.len()].copy_from_slice(low);
        let magnitude = i128::try_from(u128::from_le_bytes(bytes)).ok()?;
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

impl From<i128> for BigInt {
    fn from(number: i128) -> BigInt {
        let magnitude = number.unsigned_abs().to_le_bytes();
        // V8 counts in words of 8 bytes.
        let length = if magnitude[8..].iter().any(|byte| *byte != 0) { 16 } else { 8 };
        BigInt { negative: number < 0, bytes: if number == 0 { Vec::new() } else { magnitude[..length].to_vec() } }
    }
}
