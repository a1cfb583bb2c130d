//! Where a message of the channel begins and ends, and what its bytes say. Pure.
//!
//! - JSON: a text and a line break.
//! - Advanced (`serialization: 'advanced'`): four bytes of length, the most significant first, and V8's format. What it
//!   says is looked at as JSON, so that both are one from here on; a program's message is kept as it came, too.

use super::SendError;
use super::line::{Fault, Line};
use crate::v8::{self, Buffers, Value};

/// The length in front of a message in V8's format.
const HEADER: usize = 4;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    #[default]
    Lines,
    Advanced,
}

/// A message that has come in part: what was kept of it, or how many bytes were not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun<'a> {
    pub(super) kept: &'a [u8],
    pub(super) skipped: u64,
    /// The size of all of it, where that is known and it is skipped.
    pub(super) size: u64,
}

impl Framing {
    /// The ends of the complete messages in `chunk`, at most so many; the first may have begun before.
    pub(super) fn ends(self, chunk: &[u8], begun: Begun<'_>, most: usize) -> Vec<usize> {
        match self {
            Framing::Lines => {
                let newlines = chunk.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
                newlines.take(most).collect()
            }
            Framing::Advanced => {
                let mut ends = Vec::new();
                let mut missing = match begun.skipped {
                    0 => size_of(begun.kept, chunk).map(|size| size.saturating_sub(begun.kept.len() as u64)),
                    skipped => Some(begun.size.saturating_sub(skipped)),
                };
                let mut at = 0;
                while let Some(rest) = missing.and_then(|missing| usize::try_from(missing).ok())
                    && rest <= chunk.len() - at
                    && ends.len() < most
                {
                    at += rest;
                    ends.push(at);
                    missing = size_of(&[], &chunk[at..]);
                }
                ends
            }
        }
    }

    /// The size of a message of which this is the beginning; 0 where that is not told.
    pub(super) fn size(self, beginning: &[u8]) -> u64 {
        match self {
            Framing::Lines => 0,
            Framing::Advanced => size_of(beginning, &[]).unwrap_or(0),
        }
    }

    /// How many bytes of a message are its frame.
    pub(super) fn frame(self) -> usize {
        match self {
            Framing::Lines => 1,
            Framing::Advanced => HEADER,
        }
    }

    /// How many of them come first.
    pub(super) fn head(self) -> usize {
        match self {
            Framing::Lines => 0,
            Framing::Advanced => HEADER,
        }
    }

    /// Understands a whole message.
    pub(super) fn parse(self, bytes: &[u8]) -> Result<(Line, Option<Value>), Fault> {
        match self {
            Framing::Lines => Ok((Line::parse(bytes.strip_suffix(b"\n").unwrap_or(bytes))?, None)),
            Framing::Advanced => {
                let value = v8::decode(bytes.get(HEADER..).unwrap_or_default());
                let value = value.map_err(|error| Fault::NotV8(error.to_string()))?;
                let json = value.to_json(Buffers::Objects).unwrap_or_default();
                Ok((Line::parse(json.to_string().as_bytes())?, Some(value)))
            }
        }
    }

    /// A message in its frame. `text` is one JSON text.
    pub(super) fn write(self, prefix: &str, text: &str) -> Result<Vec<u8>, SendError> {
        match self {
            Framing::Lines if text.contains('\n') => Err(SendError::LineBreak),
            Framing::Lines => Ok([prefix.as_bytes(), text.as_bytes(), b"\n"].concat()),
            Framing::Advanced => {
                let json: serde_json::Value = serde_json::from_str(text).map_err(|_| SendError::NotJson)?;
                self.write_value(&Value::from(&json))
            }
        }
    }

    /// The same of a value of JavaScript.
    pub(super) fn write_value(self, value: &Value) -> Result<Vec<u8>, SendError> {
        match self {
            Framing::Lines => {
                let json = value.to_json(Buffers::Objects).ok_or(SendError::NotJson)?;
                self.write("", &json.to_string())
            }
            Framing::Advanced => {
                let body = v8::encode(value);
                let length = u32::try_from(body.len()).map_err(|_| SendError::TooLong)?;
                Ok([&length.to_be_bytes(), body.as_slice()].concat())
            }
        }
    }
}

/// The size of a message with its header, if enough of it has come to tell.
fn size_of(kept: &[u8], chunk: &[u8]) -> Option<u64> {
    let mut bytes = kept.iter().chain(chunk);
    let mut header = [0; HEADER];
    for byte in &mut header {
        *byte = *bytes.next()?;
    }
    Some(u64::from(u32::from_be_bytes(header)) + HEADER as u64)
}

/// What a program's message inside of a `NODE_HANDLE` message says.
pub(super) fn inner(value: Value) -> Option<Value> {
    let Value::Object(members) = value else { return None };
    members.into_iter().find(|(name, _)| name == "msg").map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::{Begun, Framing};
    use crate::v8::Value;

    #[test]
    fn the_ends_of_counted_messages_are_found_wherever_they_are_cut() {
        let one = Framing::Advanced.write("", r#"{"a":1}"#).unwrap();
        let all = [one.clone(), one.clone(), one.clone()].concat();
        let new = |kept: &'static [u8]| Begun { kept, skipped: 0, size: 0 };
        let whole = one.len();
        assert_eq!(Framing::Advanced.ends(&all, new(&[]), 9), [whole, 2 * whole, 3 * whole]);
        assert_eq!(Framing::Advanced.ends(&all, new(&[]), 2), [whole, 2 * whole]);
        for cut in 0..whole {
            let begun = Begun { kept: &one[..cut], skipped: 0, size: 0 };
            assert_eq!(Framing::Advanced.ends(&all[cut..], begun, 1), [whole - cut], "{cut}");
            let ends = if cut == 0 { vec![] } else { vec![whole] };
            assert_eq!(Framing::Advanced.ends(&all[..whole + cut][..whole - usize::from(cut == 0)], new(&[]), 9), ends);
        }
        let skipped = Begun { kept: &[], skipped: 5, size: whole as u64 };
        assert_eq!(Framing::Advanced.ends(&all[5..], skipped, 1), [whole - 5]);
    }

    #[test]
    fn a_value_is_the_same_in_both_framings_as_far_as_json_goes() {
        let value = Value::Object(vec![("when".into(), Value::Date(0.0)), ("a".into(), Value::Number(1.0))]);
        let (line, whole) = Framing::Advanced.parse(&Framing::Advanced.write_value(&value).unwrap()).unwrap();
        assert_eq!(whole, Some(value.clone()));
        let (plain, none) = Framing::Lines.parse(&Framing::Lines.write_value(&value).unwrap()).unwrap();
        assert_eq!((plain.transport, none), (line.transport, None));
        assert!(Framing::Advanced.parse(b"\0\0\0\x02xx").is_err() && Framing::Advanced.parse(b"\0\0\0\0").is_err());
        assert!(Framing::Lines.write("", "1\n").is_err() && Framing::Advanced.write("", "{").is_err());
    }
}
