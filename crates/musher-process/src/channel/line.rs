//! One line of the channel: what it is and what it asks for. Pure.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::Kind;

/// How a peer broke the protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A line is not one JSON text in UTF-8.
    #[error("sent a line that is not JSON: {0}")]
    NotJson(String),
    /// A message is not in V8's format.
    #[error("sent a message that is not in V8's format: {0}")]
    NotV8(String),
    /// More than one descriptor came with a message.
    #[error("sent more than one file descriptor with a message")]
    TooManyHandles,
    /// A descriptor came with a message that has none.
    #[error("sent a file descriptor without a NODE_HANDLE message")]
    StrayHandle,
    /// It asks, and does not read the answers.
    #[error("sends requests but does not read the answers")]
    NotReading,
}

/// A line that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) transport: Transport,
    /// It had the byte 0x02 in front.
    pub(super) marked: bool,
}

/// What a line means to the transport.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Nothing: it is for the caller.
    Plain { kind: Kind },
    /// It brings a descriptor for the message inside.
    Handle { inner: String, kind: Kind },
    /// It is answered by this and goes no further.
    Answer(String),
}

/// The only member of an object that matters here.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    cmd: Option<Cmd>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Cmd {
    Text(String),
    Other(IgnoredAny),
}

impl Line {
    /// Understands one line without its line break.
    pub(super) fn parse(bytes: &[u8]) -> Result<Line, Fault> {
        let (marked, bytes) = match bytes.strip_prefix(b"\x02") {
            Some(rest) => (true, rest),
            None => (false, bytes),
        };
        let text = std::str::from_utf8(bytes).map_err(|error| Fault::NotJson(error.to_string()))?;
        let cmd = internal_cmd(text)?;
        let transport = match cmd.as_deref() {
            None => Transport::Plain { kind: Kind::User },
            Some("NODE_HANDLE_ACK") => Transport::Plain { kind: Kind::HandleTaken },
            Some("NODE_HANDLE_NACK") => Transport::Plain { kind: Kind::HandleMissed },
            Some("NODE_HANDLE") => handle(text)?,
            // Sockets that came under a key are closed when nobody here wants them: none is open, all are closed.
            Some("NODE_SOCKET_GET_COUNT") => {
                Transport::Answer(json!({"cmd": "NODE_SOCKET_COUNT", "key": key(text)?, "count": 0}).to_string())
            }
            Some("NODE_SOCKET_NOTIFY_CLOSE") => {
                Transport::Answer(json!({"cmd": "NODE_SOCKET_ALL_CLOSED", "key": key(text)?}).to_string())
            }
            Some(cmd) => Transport::Plain { kind: Kind::Internal { cmd: cmd.to_owned() } },
        };
        Ok(Line { text: text.to_owned(), transport, marked })
    }
}

/// The `cmd` of an internal message: a string longer than `NODE_` that begins with it. Checks the whole text.
fn internal_cmd(text: &str) -> Result<Option<String>, Fault> {
    let not_json = |error: serde_json::Error| Fault::NotJson(error.to_string());
    if !text.trim_ascii_start().starts_with('{') || !text.contains("NODE_") {
        // Skipping needs no recursion, so a program may nest its messages as deep as it likes.
        serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
        return Ok(None);
    }
    match serde_json::from_str::<Head>(text).map_err(not_json)?.cmd {
        Some(Cmd::Text(cmd)) if cmd.len() > "NODE_".len() && cmd.starts_with("NODE_") => Ok(Some(cmd)),
        _ => Ok(None),
    }
}

fn value(text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::NotJson(error.to_string()))
}

fn key(text: &str) -> Result<Value, Fault> {
    Ok(value(text)?.get_mut("key").map(Value::take).unwrap_or_default())
}

fn handle(text: &str) -> Result<Transport, Fault> {
    let inner = value(text)?.get_mut("msg").map(Value::take).unwrap_or_default().to_string();
    let kind = match internal_cmd(&inner)? {
        Some(cmd) => Kind::Internal { cmd },
        None => Kind::User,
    };
    Ok(Transport::Handle { inner, kind })
}

#[cfg(test)]
mod tests {
    use super::{Fault, Kind, Line, Transport};

    fn kind(line: &str) -> Kind {
        match Line::parse(line.as_bytes()).unwrap().transport {
            Transport::Plain { kind } => kind,
            other => panic!("{line} is {other:?}"),
        }
    }

    #[test]
    fn only_objects_with_a_node_cmd_are_internal() {
        let internal = |cmd: &str| Kind::Internal { cmd: cmd.into() };
        let table = [
            (r#""NODE_CLUSTER""#, Kind::User),
            (r"0", Kind::User),
            (r"null", Kind::User),
            (r#"["NODE_X"]"#, Kind::User),
            (r#"{"cmd":"NODE_"}"#, Kind::User),
            (r#"{"cmd":"node_x"}"#, Kind::User),
            (r#"{"cmd":7,"x":"NODE_Y"}"#, Kind::User),
            (r#"{"cmd":{"cmd":"NODE_X"}}"#, Kind::User),
            (r#"{"x":{"cmd":"NODE_X"}}"#, Kind::User),
            (r#"{"cmd":"NODE_CLUSTER","act":"online"}"#, internal("NODE_CLUSTER")),
            (r#" {"a":1,"cmd":"NODE_X"} "#, internal("NODE_X")),
            ("{\"cmd\":\"NODE_X\"}\r", internal("NODE_X")),
            (r#"{"cmd":"NODE_HANDLE_ACK"}"#, Kind::HandleTaken),
            (r#"{"cmd":"NODE_HANDLE_NACK"}"#, Kind::HandleMissed),
        ];
        for (line, expected) in table {
            assert_eq!(kind(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_not_json_is_a_fault() {
        for line in
            ["", " ", "{", "}", "{}{}", "nul", "\0", "{\"a\":\u{1}}", "\"\\x\"", "{\"cmd\":\"NODE_X\"", "NODE_X"]
        {
            assert!(matches!(Line::parse(line.as_bytes()), Err(Fault::NotJson(_))), "{line:?}");
        }
        assert!(matches!(Line::parse(b"\"\xff\""), Err(Fault::NotJson(_))));
    }

    #[test]
    fn a_users_message_may_be_nested_deeply() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(kind(&deep), Kind::User);
    }

    #[test]
    fn the_transports_questions_are_answered() {
        let answer = |line: &str| Line::parse(line.as_bytes()).unwrap().transport;
        assert_eq!(
            answer(r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"4:127.0.0.1:1"}"#),
            Transport::Answer(r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"4:127.0.0.1:1"}"#.into())
        );
        assert_eq!(
            answer(r#"{"cmd":"NODE_SOCKET_GET_COUNT","key":null}"#),
            Transport::Answer(r#"{"cmd":"NODE_SOCKET_COUNT","count":0,"key":null}"#.into())
        );
        assert_eq!(
            answer(r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"a":1},"key":"k"}"#),
            Transport::Handle { inner: r#"{"a":1}"#.into(), kind: Kind::User }
        );
    }

    #[test]
    fn bun_marks_internal_messages() {
        let line = Line::parse(b"\x02{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}").unwrap();
        assert!(line.marked);
        assert_eq!(line.transport, Transport::Plain { kind: Kind::Internal { cmd: "NODE_CLUSTER".into() } });
    }
}
