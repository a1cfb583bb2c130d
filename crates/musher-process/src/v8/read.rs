//! Reads V8's format, from anybody.

use super::value::{BigInt, ErrorValue, Value, ViewKind};
use super::{HOST_PLAIN, HOST_VIEW, tag};

/// How deep values may be in each other.
pub const MAX_DEPTH: usize = 256;
/// The most values in a message.
pub const MAX_VALUES: usize = 1 << 22;
/// The newest version of the format that is understood.
const NEWEST: u32 = 16;

/// The letters of errors' names.
pub(super) const ERROR_NAMES: [(u8, &str); 6] = [
    (b'E', "EvalError"),
    (b'R', "RangeError"),
    (b'F', "ReferenceError"),
    (b'S', "SyntaxError"),
    (b'T', "TypeError"),
    (b'U', "URIError"),
];

/// Why bytes are no value.
///
/// ```
/// use musher_process::v8::{DecodeError, decode};
/// assert_eq!(decode(&[0xff, 15, b'"', 5, b'a']), Err(DecodeError::Cut));
/// assert_eq!(decode(&[0xff, 99]), Err(DecodeError::Version(99)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end within a value.
    #[error("the message ends within a value")]
    Cut,
    /// Something else than what the format has there.
    #[error("the message is broken: {0}")]
    Broken(&'static str),
    /// A version of the format that is not known.
    #[error("version {0} of V8's format is not known")]
    Version(u32),
    /// A value that has no meaning in another process.
    #[error("a value of the kind {0:?} cannot be taken")]
    Unknown(char),
    /// Deeper than [`MAX_DEPTH`].
    #[error("values are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// More than [`MAX_VALUES`].
    #[error("there are more than {MAX_VALUES} values")]
    TooMany,
}

/// The value that these bytes mean.
///
/// ```
/// use musher_process::v8::{Value, decode};
/// assert_eq!(decode(&[0xff, 15, b'I', 4])?, Value::Number(2.0));
/// assert!(decode(b"anything").is_err());
/// # Ok::<(), musher_process::v8::DecodeError>(())
/// ```
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut reader =
        Reader { bytes, at: 0, objects: Vec::new(), open: Vec::new(), level: 0, next: 0, values: 0, depth: 0 };
    if reader.byte()? != tag::VERSION {
        return Err(DecodeError::Broken("it has no header"));
    }
    let version = reader.varint()?;
    if !(13..=NEWEST).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    reader.value()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where each object begins. A back reference reads it again.
    objects: Vec<usize>,
    /// The objects that are being read, outermost first, and their levels in the value. A back reference to one of them
    /// is a circle.
    open: Vec<(usize, usize)>,
    level: usize,
    /// The number of the next object.
    next: usize,
    values: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Cut)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count).ok_or(DecodeError::Cut)?;
        let taken = self.bytes.get(self.at..end).ok_or(DecodeError::Cut)?;
        self.at = end;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut number = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            // What does not fit is dropped, as V8 does.
            number |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeError::Broken("a number is too long"))
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.varint()?).map_err(|_| DecodeError::Cut)
    }

    fn double(&mut self) -> Result<f64, DecodeError> {
        let bytes = self.take(8)?.try_into().map_err(|_| DecodeError::Cut)?;
        Ok(f64::from_le_bytes(bytes))
    }

    /// The next tag, without padding.
    fn tag(&mut self) -> Result<u8, DecodeError> {
        loop {
            match self.byte()? {
                tag::PADDING => {}
                // How many objects came so far: only V8's own check.
                tag::VERIFY_COUNT => {
                    self.varint()?;
                }
                other => return Ok(other),
            }
        }
    }

    /// Whether this tag comes next; takes it then.
    fn comes(&mut self, wanted: u8) -> Result<bool, DecodeError> {
        let before = self.at;
        let comes = self.tag()? == wanted;
        if !comes {
            self.at = before;
        }
        Ok(comes)
    }

    fn count(&mut self) -> Result<(), DecodeError> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(DecodeError::TooMany) } else { Ok(()) }
    }

    fn value(&mut self) -> Result<Value, DecodeError> {
        if self.depth >= MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        self.depth += 1;
        let value = self.value_within();
        self.depth -= 1;
        value
    }

    fn value_within(&mut self) -> Result<Value, DecodeError> {
        self.count()?;
        let start = self.at;
        let tag = self.tag()?;
        Ok(match tag {
            tag::UNDEFINED | tag::HOLE => Value::Undefined,
            tag::NULL => Value::Null,
            tag::TRUE => Value::Bool(true),
            tag::FALSE => Value::Bool(false),
            tag::INT => {
                let zigzag = self.varint()?;
                Value::Number(f64::from((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()))
            }
            tag::UINT => Value::Number(f64::from(self.varint()?)),
            tag::DOUBLE => Value::Number(self.double()?),
            tag::BIG_INT => Value::BigInt(self.big_int()?),
            tag::UTF8 | tag::ONE_BYTE | tag::TWO_BYTE => Value::String(self.string(tag)?),
            tag::REFERENCE => self.again()?,
            _ => {
                let number = self.begin(start);
                // A host object that is no view stands for the plain object that follows.
                let deeper = usize::from(tag != tag::HOST);
                self.open.push((number, self.level + 1));
                self.level += deeper;
                let value = self.object(tag)?;
                self.level -= deeper;
                self.open.pop();
                let (value, is_view) = self.view_of(value)?;
                if is_view {
                    // The view is an object of its own, behind its buffer.
                    self.begin(start);
                }
                value
            }
        })
    }

    /// Gives the object that begins here its number.
    fn begin(&mut self, start: usize) -> usize {
        let number = self.next;
        self.next += 1;
        if number == self.objects.len() {
            self.objects.push(start);
        }
        number
    }

    /// A back reference.
    fn again(&mut self) -> Result<Value, DecodeError> {
        let number = self.length()?;
        let start = *self.objects.get(number).ok_or(DecodeError::Broken("it refers to nothing"))?;
        if let Some((_, level)) = self.open.iter().find(|(open, _)| *open == number) {
            // Directly within a host object that is no view there is no level yet.
            return Ok(Value::Circular((self.level + 1).saturating_sub(*level).max(1)));
        }
        let (at, next) = (self.at, self.next);
        (self.at, self.next) = (start, number);
        let value = self.value();
        (self.at, self.next) = (at, next);
        value
    }

    fn object(&mut self, tag: u8) -> Result<Value, DecodeError> {
        Ok(match tag {
            tag::OBJECT => Value::Object(self.members(tag::END_OBJECT)?),
            tag::DENSE => self.dense()?,
            tag::SPARSE => self.sparse()?,
            tag::DATE => Value::Date(self.double()?),
            tag::TRUE_OBJECT => Value::Bool(true),
            tag::FALSE_OBJECT => Value::Bool(false),
            tag::NUMBER_OBJECT => Value::Number(self.double()?),
            tag::BIG_INT_OBJECT => Value::BigInt(self.big_int()?),
            tag::STRING_OBJECT => Value::String(self.tagged_string()?),
            tag::REG_EXP => Value::RegExp { source: self.tagged_string()?, flags: self.varint()? },
            tag::MAP => {
                let mut pairs = Vec::new();
                while !self.comes(tag::END_MAP)? {
                    pairs.push((self.value()?, self.value()?));
                }
                self.varint()?;
                Value::Map(pairs)
            }
            tag::SET => {
                let mut items = Vec::new();
                while !self.comes(tag::END_SET)? {
                    items.push(self.value()?);
                }
                self.varint()?;
                Value::Set(items)
            }
            tag::ARRAY_BUFFER => {
                let length = self.length()?;
                Value::ArrayBuffer(self.take(length)?.to_vec())
            }
            tag::RESIZABLE => {
                let (length, _largest) = (self.length()?, self.varint()?);
                Value::ArrayBuffer(self.take(length)?.to_vec())
            }
            tag::ERROR => Value::Error(Box::new(self.error()?)),
            tag::HOST => self.host()?,
            other => return Err(DecodeError::Unknown(char::from(other))),
        })
    }

    /// If a view of the buffer that was just read follows, the view.
    fn view_of(&mut self, value: Value) -> Result<(Value, bool), DecodeError> {
        let Value::ArrayBuffer(bytes) = value else { return Ok((value, false)) };
        if self.bytes.get(self.at) != Some(&tag::VIEW) {
            return Ok((Value::ArrayBuffer(bytes), false));
        }
        self.at += 1;
        let kind = ViewKind::of_letter(self.byte()?).ok_or(DecodeError::Broken("a view of no known kind"))?;
        let (offset, length, _flags) = (self.length()?, self.length()?, self.varint()?);
        let end = offset.checked_add(length).ok_or(DecodeError::Cut)?;
        let part = bytes.get(offset..end).ok_or(DecodeError::Broken("a view beyond its buffer"))?;
        Ok((Value::View(kind, part.to_vec()), true))
    }

    fn string(&mut self, tag: u8) -> Result<String, DecodeError> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        Ok(match tag {
            tag::ONE_BYTE => bytes.iter().copied().map(char::from).collect(),
            tag::TWO_BYTE if length % 2 == 1 => return Err(DecodeError::Broken("half a character")),
            tag::TWO_BYTE => {
                let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            _ => String::from_utf8_lossy(bytes).into_owned(),
        })
    }

    fn tagged_string(&mut self) -> Result<String, DecodeError> {
        match self.tag()? {
            tag @ (tag::UTF8 | tag::ONE_BYTE | tag::TWO_BYTE) => self.string(tag),
            _ => Err(DecodeError::Broken("no string where one has to be")),
        }
    }

    fn big_int(&mut self) -> Result<BigInt, DecodeError> {
        let bits = self.length()?;
        Ok(BigInt { negative: bits & 1 == 1, bytes: self.take(bits >> 1)?.to_vec() })
    }

    /// Names and values up to the end, and the number that is behind it.
    fn members(&mut self, end: u8) -> Result<Vec<(String, Value)>, DecodeError> {
        let mut members = Vec::new();
        while !self.comes(end)? {
            let name = match self.value()? {
                Value::String(name) => name,
                Value::Number(number) => number.to_string(),
                _ => return Err(DecodeError::Broken("the name of a member is no name")),
            };
            members.push((name, self.value()?));
        }
        self.varint()?;
        Ok(members)
    }

    fn dense(&mut self) -> Result<Value, DecodeError> {
        let length = self.length()?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value()?);
        }
        // Members of an array beside its items are nothing that others understand.
        self.members(tag::END_DENSE)?;
        self.varint()?;
        Ok(Value::Array(items))
    }

    fn sparse(&mut self) -> Result<Value, DecodeError> {
        let length = self.length()?;
        let members = self.members(tag::END_SPARSE)?;
        self.varint()?;
        // An array of four thousand million holes has few bytes.
        if length > members.len().saturating_mul(4) + 64 {
            return Ok(Value::Object(members));
        }
        let mut items = vec![Value::Undefined; length];
        for (name, value) in members {
            if let Some(item) = name.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                *item = value;
            }
        }
        Ok(Value::Array(items))
    }

    fn error(&mut self) -> Result<ErrorValue, DecodeError> {
        let mut error = ErrorValue { name: "Error".to_owned(), ..ErrorValue::default() };
        loop {
            match self.tag()? {
                b'.' => return Ok(error),
                b'm' => error.message = Some(self.tagged_string()?),
                b's' => error.stack = Some(self.tagged_string()?),
                b'c' => error.cause = Some(self.value()?),
                letter => match ERROR_NAMES.iter().find(|(known, _)| *known == letter) {
                    Some((_, name)) => error.name = (*name).to_owned(),
                    None => return Err(DecodeError::Broken("an error has something unknown")),
                },
            }
        }
    }

    fn host(&mut self) -> Result<Value, DecodeError> {
        match self.varint()? {
            HOST_VIEW => {
                let (index, length) = (self.varint()?, self.length()?);
                let bytes = self.take(length)?.to_vec();
                ViewKind::value(index, bytes).ok_or(DecodeError::Broken("a view of no known kind"))
            }
            HOST_PLAIN => self.value(),
            _ => Err(DecodeError::Broken("an object of no known kind")),
        }
    }
}
