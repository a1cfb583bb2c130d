//! What a value of JavaScript is here.

/// A value of JavaScript.
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BigInt {
    /// Below zero.
    pub negative: bool,
    /// Its magnitude, least significant byte first.
    pub bytes: Vec<u8>,
}

/// An `Error` as V8 sends it.
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

/// What the bytes of a [`Value::View`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are JavaScript's")]
#[non_exhaustive]
pub enum ViewKind {
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    DataView,
    BigInt64Array,
    BigUint64Array,
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
