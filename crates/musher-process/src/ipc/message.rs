//! A message that came, and what the runtime's messages ask for.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::handle::Handle;
use super::{Fault, MessageError};
use crate::v8::{self, Buffers, Value};

/// A message of the peer.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::ipc::{Channel, Options};
///
/// let (mut ours, theirs) = Channel::pair(Options::default())?;
/// let theirs = Channel::from_fd(theirs, Options::default())?;
/// theirs.sender.send(&("answer", 42)).await?;
/// let message = ours.recv().await.ok_or("no message")?;
/// assert_eq!(message.parse::<(String, u32)>()?, ("answer".to_owned(), 42));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Message {
    pub(crate) body: Body,
    /// The socket or pipe that came with it.
    pub handle: Option<Handle>,
}

/// What a message says, as it came.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Json(Bytes),
    V8(Bytes),
    Value(Value),
}

/// What came over a channel: [`Receiver::recv_any`](super::Receiver::recv_any).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use musher_process::ipc::{Channel, Options};
/// # let (mut ours, theirs) = Channel::pair(Options::default())?;
/// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
/// use musher_process::ipc::{Order, Received};
///
/// let online = serde_json::json!({"cmd": "NODE_CLUSTER", "act": "online"});
/// theirs.sender.send_internal(&online, None, Order::Queued)?;
/// theirs.sender.send("hello").await?;
/// drop(theirs);
/// while let Some(received) = ours.receiver.recv_any().await {
///     match received {
///         Received::Internal(internal) => assert_eq!(internal.cmd, "NODE_CLUSTER"),
///         Received::Message(message) => assert_eq!(message.text()?, "\"hello\""),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Received {
    /// A message of the program at the other end.
    Message(Message),
    /// A message of its runtime, for example of `cluster`: an object whose `cmd` begins with `NODE_`.
    Internal(Internal),
}

/// A message of the peer's runtime, an object whose `cmd` begins with `NODE_`: Node's `internalMessage`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use musher_process::ipc::{Channel, Options};
/// # let (mut ours, theirs) = Channel::pair(Options::default())?;
/// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
/// use musher_process::ipc::{Internal, Order, Received};
///
/// theirs.sender.send_internal(&serde_json::json!({"cmd": "NODE_X", "n": 1}), None, Order::Queued)?;
/// if let Some(Received::Internal(Internal { cmd, message })) = ours.receiver.recv_any().await {
///     assert_eq!((cmd.as_str(), message.parse::<serde_json::Value>()?["n"].as_u64()), ("NODE_X", Some(1)));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Internal {
    /// Its `cmd`, for example `NODE_CLUSTER`.
    pub cmd: String,
    /// All of it.
    pub message: Message,
}

impl Message {
    /// Reads the message as a type of yours. What JSON does not have (dates, maps, buffers) is read as
    /// [`Value::to_json`] makes it, with buffers as arrays of numbers.
    ///
    /// # Errors
    ///
    /// [`MessageError`]: it is something else, or no JSON at all, which shows only here.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// #[derive(serde::Deserialize)]
    /// struct Job {
    ///     name: String,
    ///     size: u64,
    /// }
    ///
    /// theirs.sender.send(&serde_json::json!({"name": "resize", "size": 7, "more": null})).await?;
    /// let job: Job = ours.recv().await.ok_or("no message")?.parse()?;
    /// assert_eq!((job.name.as_str(), job.size), ("resize", 7));
    /// # Ok(())
    /// # }
    /// ```
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, MessageError> {
        match &self.body {
            Body::Json(text) => serde_json::from_slice(text).map_err(MessageError::json),
            Body::V8(_) | Body::Value(_) => {
                let json = self.value()?.to_json(Buffers::Arrays).unwrap_or(serde_json::Value::Null);
                serde_json::from_value(json).map_err(MessageError::json)
            }
        }
    }

    /// The message as a value of JavaScript.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::ipc::{Channel, Options, Serialization};
    /// use musher_process::v8::Value;
    ///
    /// let options = Options::default().serialization(Serialization::Advanced);
    /// let (mut ours, theirs) = Channel::pair(options.clone())?;
    /// let theirs = Channel::from_fd(theirs, options)?;
    /// theirs.sender.send_value(&Value::Date(0.0)).await?;
    /// assert_eq!(ours.recv().await.ok_or("no message")?.value()?, Value::Date(0.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn value(&self) -> Result<Value, MessageError> {
        match &self.body {
            Body::Json(text) => {
                let json: serde_json::Value = serde_json::from_slice(text).map_err(MessageError::json)?;
                Ok(Value::from(&json))
            }
            Body::V8(bytes) => Ok(v8::decode(bytes)?),
            Body::Value(value) => Ok(value.clone()),
        }
    }

    /// The message as JSON text.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let theirs = Channel::from_fd(theirs, Options::default())?;
    /// theirs.sender.send(&[1, 2, 3]).await?;
    /// assert_eq!(ours.recv().await.ok_or("no message")?.text()?, "[1,2,3]");
    /// # Ok(())
    /// # }
    /// ```
    pub fn text(&self) -> Result<String, MessageError> {
        match &self.body {
            Body::Json(text) => match std::str::from_utf8(text) {
                Ok(text) => Ok(text.to_owned()),
                Err(error) => Err(MessageError::Json(error.to_string())),
            },
            Body::V8(_) | Body::Value(_) => {
                let json = self.value()?.to_json(Buffers::Objects).unwrap_or(serde_json::Value::Null);
                Ok(json.to_string())
            }
        }
    }

    /// How much memory it holds, roughly.
    pub(crate) fn size(&self) -> usize {
        match &self.body {
            Body::Json(bytes) | Body::V8(bytes) => bytes.len() + 64,
            Body::Value(_) => 1024,
        }
    }
}

/// What the transport has to do with a message.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// It is the program's.
    User,
    /// It is the runtime's and goes to the caller.
    Internal {
        cmd: String,
    },
    /// A descriptor comes with the message inside.
    Handle {
        kind: String,
        key: Option<String>,
        inner: Body,
    },
    Taken,
    Missed,
    CountAsked {
        key: String,
    },
    Count {
        key: String,
        count: u32,
    },
    ToldWhenClosed {
        key: String,
    },
    AllClosed {
        key: String,
    },
    /// The peer's next message is in a fast frame.
    FastFrame,
}

/// Everything that the transport looks at. Members of other types may be anything, nested as deep as they like.
#[derive(Deserialize, Default)]
struct Head<'a> {
    #[serde(default, borrow)]
    cmd: Option<&'a RawValue>,
    #[serde(default, borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(default, borrow)]
    key: Option<&'a RawValue>,
    #[serde(default, borrow)]
    count: Option<&'a RawValue>,
    #[serde(default, borrow)]
    msg: Option<&'a RawValue>,
}

/// The message by which one end says that it goes on in fast frames.
pub(crate) const FAST_FRAME: &str = "NODE_MUSHER_FAST_FRAME";

/// Finds out what a message that may be the runtime's means.
pub(crate) fn meaning(body: &Body) -> Result<Meaning, Fault> {
    let broken = |error: &dyn std::fmt::Display| Fault::NotAMessage(error.to_string());
    let (head, inner) = match body {
        Body::Json(text) => {
            let head: Head<'_> = serde_json::from_slice(text).map_err(|error| broken(&error))?;
            let inner = head.msg.map(|raw| Body::Json(text.slice_ref(raw.get().as_bytes())));
            (Fields::of(head), inner.unwrap_or(Body::Json(Bytes::from_static(b"null"))))
        }
        Body::V8(bytes) => {
            let value = v8::decode(bytes).map_err(|error| broken(&error))?;
            let inner = value.member("msg").cloned().unwrap_or(Value::Undefined);
            (Fields::of_value(&value), Body::Value(inner))
        }
        Body::Value(value) => {
            (Fields::of_value(value), Body::Value(value.member("msg").cloned().unwrap_or(Value::Undefined)))
        }
    };
    let Some(cmd) = head.cmd.filter(|cmd| cmd.len() > "NODE_".len() && cmd.starts_with("NODE_")) else {
        return Ok(Meaning::User);
    };
    let key = head.key.unwrap_or_default();
    Ok(match cmd.as_str() {
        "NODE_HANDLE" => {
            let kind = head.kind.ok_or_else(|| Fault::NotAMessage("a handle without a type".to_owned()))?;
            Meaning::Handle { kind, key: Some(key).filter(|key| !key.is_empty()), inner }
        }
        "NODE_HANDLE_ACK" => Meaning::Taken,
        "NODE_HANDLE_NACK" => Meaning::Missed,
        "NODE_SOCKET_GET_COUNT" => Meaning::CountAsked { key },
        "NODE_SOCKET_COUNT" => Meaning::Count { key, count: head.count },
        "NODE_SOCKET_NOTIFY_CLOSE" => Meaning::ToldWhenClosed { key },
        "NODE_SOCKET_ALL_CLOSED" => Meaning::AllClosed { key },
        FAST_FRAME => Meaning::FastFrame,
        _ => Meaning::Internal { cmd },
    })
}

/// Whose the message inside a `NODE_HANDLE` is: the `cmd`, if it is the runtime's.
pub(crate) fn internal_cmd(body: &Body) -> Result<Option<String>, Fault> {
    let may_be = match body {
        Body::Json(text) => text.first() == Some(&b'{') && memchr::memmem::find(text, b"\"NODE_").is_some(),
        Body::V8(_) | Body::Value(_) => true,
    };
    if !may_be {
        return Ok(None);
    }
    Ok(match meaning(body)? {
        Meaning::Internal { cmd } => Some(cmd),
        _ => None,
    })
}

struct Fields {
    cmd: Option<String>,
    kind: Option<String>,
    key: Option<String>,
    count: u32,
}

impl Fields {
    fn of(head: Head<'_>) -> Fields {
        let string = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let count = head.count.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(0);
        Fields { cmd: string(head.cmd), kind: string(head.kind), key: string(head.key), count }
    }

    fn of_value(value: &Value) -> Fields {
        let string = |name| value.member(name).and_then(Value::as_str).map(str::to_owned);
        let count = match value.member("count") {
            Some(Value::Number(count)) => *count as u32,
            _ => 0,
        };
        Fields { cmd: string("cmd"), kind: string("type"), key: string("key"), count }
    }
}
