//! Where a message begins and ends among the bytes of a channel. Pure.
//!
//! - JSON: a text and a line break.
//! - Advanced: four bytes of length, the most significant first, and V8's format.
//! - Fast, between two programs with this library: four bytes of length, the least significant first, a byte of flags, and
//!   a JSON text. Nobody looks for line breaks, or for what makes a message the runtime's.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memmem};
use serde::Serialize;

use super::message::Body;
use super::{Fault, SendError, Serialization};
use crate::v8::{self, Buffers, Value};

/// A mark of Bun's in front of the runtime's messages.
const BUN_MARK: u8 = 2;
/// The fast frame's flag of the runtime's messages.
const INTERNAL: u8 = 1;
const FAST_HEADER: usize = 5;
const ADVANCED_HEADER: usize = 4;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Json,
    Advanced,
    Fast,
}

/// A message without its frame.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) body: Body,
    /// It may be the runtime's.
    pub(crate) internal: bool,
    /// It had Bun's mark.
    pub(crate) marked: bool,
}

impl From<Serialization> for Frame {
    fn from(serialization: Serialization) -> Frame {
        match serialization {
            Serialization::Json => Frame::Json,
            Serialization::Advanced => Frame::Advanced,
        }
    }
}

impl Frame {
    /// Takes the first message from `bytes`, if it is complete. `seen` bytes were looked at before; it is kept up to date.
    pub(crate) fn next(self, bytes: &mut BytesMut, seen: &mut usize, most: usize) -> Result<Option<Framed>, Fault> {
        match self {
            Frame::Json => next_line(bytes, seen, most),
            Frame::Advanced => Ok(next_counted(bytes, ADVANCED_HEADER, u32::from_be_bytes, most)?.map(|(_, body)| {
                let internal = memmem::find(&body, b"NODE_").is_some();
                Framed { body: Body::V8(body), internal, marked: false }
            })),
            Frame::Fast => Ok(next_counted(bytes, FAST_HEADER, u32::from_le_bytes, most)?.map(|(flags, body)| {
                // A program that sends what only a runtime sends is understood like Node's.
                let internal = flags & INTERNAL != 0 || may_be_internal(&body);
                Framed { body: Body::Json(body), internal, marked: false }
            })),
        }
    }

    /// How many bytes are still missing from the first message, as far as is known.
    pub(crate) fn missing(self, bytes: &[u8]) -> usize {
        let (header, number): (usize, fn([u8; 4]) -> u32) = match self {
            Frame::Json => return 0,
            Frame::Advanced => (ADVANCED_HEADER, u32::from_be_bytes),
            Frame::Fast => (FAST_HEADER, u32::from_le_bytes),
        };
        let length = bytes.first_chunk().map_or(0, |first| number(*first) as usize);
        (header + length).saturating_sub(bytes.len())
    }

    /// A message in its frame.
    pub(crate) fn write(self, message: &Outward<'_, impl Serialize + ?Sized>, marks: bool) -> Result<Bytes, SendError> {
        let mut bytes = Vec::with_capacity(256);
        self.write_into(message, marks, &mut bytes)?;
        Ok(Bytes::from(bytes))
    }

    /// The same, into an empty buffer.
    pub(crate) fn write_into(
        self,
        message: &Outward<'_, impl Serialize + ?Sized>,
        marks: bool,
        bytes: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        bytes.clear();
        let internal = message.is_internal();
        match self {
            Frame::Json => {
                if internal && marks {
                    bytes.push(BUN_MARK);
                }
                message.write_json(bytes)?;
                // Only between the tokens of a text that somebody else has laid out: there a blank is as good.
                while let Some(at) = memchr(b'\n', bytes) {
                    bytes[at] = b' ';
                }
                bytes.push(b'\n');
            }
            Frame::Advanced => {
                bytes.extend_from_slice(&[0; ADVANCED_HEADER]);
                v8::append(&message.value()?, bytes);
                let length = length_of(bytes.len() - ADVANCED_HEADER)?;
                bytes[..ADVANCED_HEADER].copy_from_slice(&length.to_be_bytes());
            }
            Frame::Fast => {
                bytes.extend_from_slice(&[0, 0, 0, 0, if internal { INTERNAL } else { 0 }]);
                message.write_json(bytes)?;
                let length = length_of(bytes.len() - FAST_HEADER)?;
                bytes[..4].copy_from_slice(&length.to_le_bytes());
            }
        }
        Ok(())
    }
}

fn length_of(bytes: usize) -> Result<u32, SendError> {
    u32::try_from(bytes).map_err(|_| SendError::NotAMessage("it has more than 4 GiB".to_owned()))
}

fn next_line(bytes: &mut BytesMut, seen: &mut usize, most: usize) -> Result<Option<Framed>, Fault> {
    let Some(at) = memchr(b'\n', bytes.get(*seen..).unwrap_or_default()) else {
        *seen = bytes.len();
        return if bytes.len() > most { Err(Fault::TooLong { most }) } else { Ok(None) };
    };
    let mut line = bytes.split_to(*seen + at);
    *seen = 0;
    bytes.advance(1);
    if line.len() > most {
        return Err(Fault::TooLong { most });
    }
    let marked = line.first() == Some(&BUN_MARK);
    if marked {
        line.advance(1);
    }
    if line.trim_ascii().is_empty() {
        return Err(Fault::NotAMessage("an empty line".to_owned()));
    }
    let internal = may_be_internal(&line);
    Ok(Some(Framed { body: Body::Json(line.freeze()), internal, marked }))
}

/// Whether a look at a text's `cmd` is worth it.
fn may_be_internal(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{') && memmem::find(text, b"\"NODE_").is_some()
}

/// A message of a known length: the last byte of its header, and what is behind it.
fn next_counted(
    bytes: &mut BytesMut,
    header: usize,
    number: fn([u8; 4]) -> u32,
    most: usize,
) -> Result<Option<(u8, Bytes)>, Fault> {
    let Some(first) = bytes.first_chunk() else { return Ok(None) };
    let length = number(*first) as usize;
    if length > most {
        return Err(Fault::TooLong { most });
    }
    if bytes.len() < header + length {
        return Ok(None);
    }
    let last = bytes.get(header - 1).copied().unwrap_or_default();
    bytes.advance(header);
    Ok(Some((last, bytes.split_to(length).freeze())))
}

/// A message to send, in any of the frames.
pub(crate) enum Outward<'a, T: ?Sized> {
    /// The program's.
    User(&'a T),
    /// The program's, as JavaScript's values.
    Value(&'a Value),
    /// The runtime's: an object with a `cmd` that begins with `NODE_`.
    Internal(&'a T),
    /// A descriptor comes with the message inside.
    Handle { head: &'a HandleHead, inner: &'a Outward<'a, T> },
}

/// The members of a `NODE_HANDLE` message beside the message inside.
#[derive(Debug, Serialize)]
pub(crate) struct HandleHead {
    pub(crate) cmd: &'static str,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(rename = "dgramType", skip_serializing_if = "Option::is_none")]
    pub(crate) dgram_type: Option<&'static str>,
}

impl<T: Serialize + ?Sized> Outward<'_, T> {
    fn is_internal(&self) -> bool {
        match self {
            Outward::User(_) | Outward::Value(_) => false,
            Outward::Internal(_) | Outward::Handle { .. } => true,
        }
    }

    fn write_json(&self, bytes: &mut Vec<u8>) -> Result<(), SendError> {
        match self {
            Outward::User(message) | Outward::Internal(message) => serde_json::to_writer(bytes, message),
            Outward::Value(value) => {
                let json = value.to_json(Buffers::Objects);
                let Some(json) = json else { return Err(SendError::NotAMessage("undefined".to_owned())) };
                serde_json::to_writer(bytes, &json)
            }
            Outward::Handle { head, inner } => {
                let result = serde_json::to_writer(&mut *bytes, head);
                // The object goes on behind its last member.
                bytes.pop();
                bytes.extend_from_slice(b",\"msg\":");
                result.map_err(SendError::not_a_message)?;
                inner.write_json(bytes)?;
                bytes.push(b'}');
                Ok(())
            }
        }
        .map_err(SendError::not_a_message)
    }

    fn value(&self) -> Result<Value, SendError> {
        let value = |message| serde_json::to_value(message).map(|json| Value::from(&json));
        Ok(match self {
            Outward::User(message) | Outward::Internal(message) => value(message).map_err(SendError::not_a_message)?,
            Outward::Value(value) => (*value).clone(),
            Outward::Handle { head, inner } => {
                let json = serde_json::to_value(head).map_err(SendError::not_a_message)?;
                let Value::Object(mut members) = Value::from(&json) else {
                    return Err(SendError::NotAMessage("no object".to_owned()));
                };
                members.push(("msg".to_owned(), inner.value()?));
                Value::Object(members)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use serde_json::json;

    use super::{Frame, Outward};

    /// Whether a message of a program is looked at as one of a runtime.
    fn is_internal(frame: Frame, message: &serde_json::Value) -> bool {
        let mut bytes = BytesMut::from(&frame.write(&Outward::User(message), false).unwrap()[..]);
        frame.next(&mut bytes, &mut 0, 1 << 20).unwrap().unwrap().internal
    }

    #[test]
    fn a_command_of_node_is_one_in_every_frame() {
        for frame in [Frame::Json, Frame::Advanced, Frame::Fast] {
            assert!(is_internal(frame, &json!({"cmd": "NODE_OURS", "x": 1})), "{frame:?}");
            assert!(!is_internal(frame, &json!({"cmd": "ours"})), "{frame:?}");
        }
    }
}
