//! Writes V8's format.

use super::value::{BigInt, Value};
use super::{VERSION, tag};

/// The bytes of a value, with the format's header.
///
/// ```
/// use musher_process::v8::{Value, encode};
/// assert_eq!(encode(&Value::Bool(true)), [0xff, 15, b'T']);
/// ```
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    append(value, &mut bytes);
    bytes
}

/// The same behind what is there already.
pub(crate) fn append(value: &Value, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&[tag::VERSION, VERSION]);
    let start = bytes.len() - 2;
    Writer { bytes, start, next: 0, open: Vec::new() }.value(value);
}

struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    /// Where the header is: alignment counts from there.
    start: usize,
    /// The number of the next object.
    next: u64,
    /// The numbers of the objects that are being written, outermost first.
    open: Vec<u64>,
}

impl Writer<'_> {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn tagged(&mut self, tag: u8, number: u64) {
        self.bytes.push(tag);
        self.varint(number);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Undefined => self.bytes.push(tag::UNDEFINED),
            Value::Circular(up) => match self.open.iter().nth_back(up.wrapping_sub(1)) {
                Some(number) => self.tagged(tag::REFERENCE, *number),
                None => self.bytes.push(tag::UNDEFINED),
            },
            Value::Null => self.bytes.push(tag::NULL),
            Value::Bool(true) => self.bytes.push(tag::TRUE),
            Value::Bool(false) => self.bytes.push(tag::FALSE),
            Value::Number(number) => self.number(*number),
            Value::BigInt(number) => self.big_int(number),
            Value::String(text) => self.string(text),
            object => {
                self.open.push(self.next);
                self.next += 1;
                self.object(object);
                self.open.pop();
            }
        }
    }

    fn object(&mut self, object: &Value) {
        match object {
            Value::Date(time) => {
                self.bytes.push(tag::DATE);
                self.bytes.extend_from_slice(&time.to_le_bytes());
            }
            Value::RegExp { source, flags } => {
                self.bytes.push(tag::REG_EXP);
                self.string(source);
                self.varint(u64::from(*flags));
            }
            Value::Array(items) => {
                self.tagged(tag::DENSE, items.len() as u64);
                items.iter().for_each(|item| self.value(item));
                self.tagged(tag::END_DENSE, 0);
                self.varint(items.len() as u64);
            }
            Value::Object(members) => {
                self.bytes.push(tag::OBJECT);
                for (name, value) in members {
                    self.string(name);
                    self.value(value);
                }
                self.tagged(tag::END_OBJECT, members.len() as u64);
            }
            Value::Map(pairs) => {
                self.bytes.push(tag::MAP);
                for (key, value) in pairs {
                    self.value(key);
                    self.value(value);
                }
                self.tagged(tag::END_MAP, pairs.len() as u64 * 2);
            }
            Value::Set(items) => {
                self.bytes.push(tag::SET);
                items.iter().for_each(|item| self.value(item));
                self.tagged(tag::END_SET, items.len() as u64);
            }
            Value::Buffer(bytes) => self.view(10, bytes),
            Value::View(kind, bytes) => self.view(kind.index(), bytes),
            Value::ArrayBuffer(bytes) => {
                self.tagged(tag::ARRAY_BUFFER, bytes.len() as u64);
                self.bytes.extend_from_slice(bytes);
            }
            Value::Error(error) => self.error(error),
            // No objects: written already.
            Value::Undefined
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::BigInt(_)
            | Value::String(_)
            | Value::Circular(_) => {}
        }
    }

    fn number(&mut self, number: f64) {
        let integer = number as i32;
        // Minus zero is no integer.
        if f64::from(integer).to_bits() == number.to_bits() {
            let zigzag = (integer << 1) ^ (integer >> 31);
            self.tagged(tag::INT, u64::from(zigzag.cast_unsigned()));
        } else {
            self.bytes.push(tag::DOUBLE);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn big_int(&mut self, number: &BigInt) {
        let significant = number.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let length = significant.next_multiple_of(8);
        let negative = number.negative && significant > 0;
        self.tagged(tag::BIG_INT, (length as u64) << 1 | u64::from(negative));
        self.bytes.extend_from_slice(&number.bytes[..significant]);
        self.bytes.extend(std::iter::repeat_n(0, length - significant));
    }

    fn string(&mut self, text: &str) {
        if text.is_ascii() {
            self.tagged(tag::ONE_BYTE, text.len() as u64);
            self.bytes.extend_from_slice(text.as_bytes());
        } else if text.chars().all(|character| u32::from(character) <= 0xff) {
            self.tagged(tag::ONE_BYTE, text.chars().count() as u64);
            self.bytes.extend(text.chars().map(|character| u32::from(character) as u8));
        } else {
            let length = text.encode_utf16().count() as u64 * 2;
            // V8 wants these units at an even place.
            let varint = (64 - (length | 1).leading_zeros()).div_ceil(7) as usize;
            if (self.bytes.len() - self.start + 1 + varint) % 2 == 1 {
                self.bytes.push(tag::PADDING);
            }
            self.tagged(tag::TWO_BYTE, length);
            self.bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        }
    }

    fn view(&mut self, index: u32, bytes: &[u8]) {
        self.tagged(tag::HOST, u64::from(super::HOST_VIEW));
        self.varint(u64::from(index));
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn error(&mut self, error: &super::ErrorValue) {
        self.bytes.push(tag::ERROR);
        if let Some((letter, _)) = super::read::ERROR_NAMES.iter().find(|(_, name)| *name == error.name) {
            self.bytes.push(*letter);
        }
        if let Some(message) = &error.message {
            self.bytes.push(b'm');
            self.string(message);
        }
        if let Some(cause) = &error.cause {
            self.bytes.push(b'c');
            self.value(cause);
        }
        if let Some(stack) = &error.stack {
            self.bytes.push(b's');
            self.string(stack);
        }
        self.bytes.push(b'.');
    }
}
