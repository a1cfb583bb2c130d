//! The channel between a parent and its child, with messages and sockets: what `process.send` is in Node.
//!
//! [`Sender`] and [`Receiver`] are the two halves of an end, a [`Channel`]; in their examples `ours` and `theirs` are the two
//! ends of a [`Channel::pair`], in a program of your own one of them is in another process.
//!
//! Both ends are here, async on tokio: [`parent`] is a child's way to whoever forked it, be that Node
//! (`child_process.fork`, `cluster`) or a program with this library; the other end comes with
//! [`child_process`](crate::child_process), or from [`Channel::pair`]. The bytes are Node's own, in both of its
//! serializations. Two programs with this library find each other and go on in a faster frame.
//!
//! A child, of Node or of Rust, that says back what it is told:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use musher_process::ipc;
//!
//! let Some(mut channel) = ipc::parent()? else {
//!     return Ok(()); // nobody forked us
//! };
//! while let Some(message) = channel.recv().await {
//!     channel.sender.send(&message.parse::<serde_json::Value>()?).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Order and back-pressure.** Messages arrive in the order in which they were sent. [`Sender::send`] waits while more
//! than [`HIGH_WATER`] bytes are queued; [`Sender::try_send`] queues and says, as Node does, whether to slow down. What is
//! behind a handle waits until the peer has confirmed the handle.
//!
//! **Reading happens when you receive.** A channel that nobody receives from is read only as far as is needed to hear of
//! the handles that were sent. So a peer that floods fills its own socket, not this process.
//!
//! **The peer is not trusted.** Whatever it sends ends in a [`Fault`] and closes the channel: messages over
//! [`Options::max_message`], what is no message, descriptors without end. Nothing panics, and no descriptor is lost.

mod frame;
mod handle;
mod inbound;
mod message;
mod outbound;
mod parent;
mod receiver;
mod sender;
mod shared;
mod sockets;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

pub use self::handle::{Counted, Handle, HandleKind, WrongHandle};
pub use self::message::{Internal, Message, Received};
pub use self::parent::parent;
pub(crate) use self::parent::{FAST_FRAME_VARIABLE, FD_VARIABLE, MODE_VARIABLE, inode};
pub use self::receiver::Receiver;
pub use self::sender::{Order, Sender};
use crate::v8::DecodeError;

/// Above this many queued bytes a sender is told to wait. Node's own limit.
pub const HIGH_WATER: usize = 128 << 10;
/// The most bytes that [`Sender::try_send`] queues.
pub const MAX_QUEUED_BYTES: usize = 64 << 20;
/// The most messages that [`Sender::try_send`] queues.
pub const MAX_QUEUED_MESSAGES: usize = 1 << 16;
/// The longest message that is taken, if nothing else is said. Node has no limit.
pub const MAX_MESSAGE: usize = 64 << 20;

/// How much a socket takes before its peer has read it; Linux counts twice as much for itself. Twice the default: the two
/// programs change places half as often.
const SEND_BUFFER: usize = 208 << 10;

/// How messages are written: Node's `serialization` option.
///
/// ```
/// use musher_process::ipc::{Options, Serialization};
/// let options = Options::default().serialization(Serialization::Advanced);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serialization {
    /// As JSON: what Node does if nothing else is said.
    #[default]
    Json,
    /// In V8's format, which also has dates, maps, buffers and more: Node's `serialization: 'advanced'`.
    Advanced,
}

/// What a channel is like.
///
/// ```
/// use musher_process::ipc::{Options, Serialization};
/// let options = Options::default().serialization(Serialization::Advanced).max_message(1 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) serialization: Serialization,
    pub(crate) max_message: usize,
    pub(crate) fast_frames: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { serialization: Serialization::Json, max_message: MAX_MESSAGE, fast_frames: true }
    }
}

impl Options {
    /// How messages are written; both ends have to agree. `NODE_CHANNEL_SERIALIZATION_MODE` tells it to a child. JSON
    /// by default.
    ///
    /// ```
    /// use musher_process::ipc::{Options, Serialization};
    /// let options = Options::default().serialization(Serialization::Advanced);
    /// ```
    #[must_use]
    pub fn serialization(mut self, serialization: Serialization) -> Options {
        self.serialization = serialization;
        self
    }

    /// The longest message that is taken, in bytes; [`MAX_MESSAGE`] by default. A longer one is a [`Fault`], which
    /// closes the channel.
    ///
    /// ```
    /// let options = musher_process::ipc::Options::default().max_message(1 << 20);
    /// ```
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Options {
        self.max_message = bytes;
        self
    }

    /// Whether to go on in the faster frame when the other end has this library, too. It is so unless you say no: to
    /// read along with strace(1), or for a peer that looks into what is written.
    ///
    /// ```
    /// let options = musher_process::ipc::Options::default().fast_frames(false);
    /// ```
    #[must_use]
    pub fn fast_frames(mut self, wanted: bool) -> Options {
        self.fast_frames = wanted;
        self
    }
}

/// One end of a channel. Take it apart to send and receive in different tasks.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::ipc::{Channel, Options};
///
/// let (mut ours, theirs) = Channel::pair(Options::default())?;
/// let theirs = Channel::from_fd(theirs, Options::default())?;
/// theirs.sender.send("hello").await?;
/// drop(theirs);
/// assert_eq!(ours.recv().await.ok_or("no message")?.parse::<String>()?, "hello");
/// assert!(ours.recv().await.is_none());
/// assert!(!ours.sender.connected());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Channel {
    /// Sends.
    pub sender: Sender,
    /// Receives.
    pub receiver: Receiver,
}

impl Channel {
    /// A new channel: this end, and the other one to be inherited by a child under the number in `NODE_CHANNEL_FD`, or
    /// to become a [`Channel::from_fd`]. [`Command::fork`](crate::child_process::Command::fork) does all that.
    ///
    /// # Errors
    ///
    /// There are no descriptors left (`EMFILE`), or there is no tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::ipc::{Channel, Options};
    /// use std::io::{BufRead, BufReader};
    ///
    /// let (ours, theirs) = Channel::pair(Options::default())?;
    /// ours.sender.send("hello").await?;
    /// let mut line = String::new();
    /// BufReader::new(std::os::unix::net::UnixStream::from(theirs)).read_line(&mut line)?;
    /// assert_eq!(line, "\"hello\"\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn pair(options: Options) -> io::Result<(Channel, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The system may give less (net.core.wmem_max), and less is only slower.
        for end in [&ours, &theirs] {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, SEND_BUFFER);
        }
        Ok((Channel::from_fd(ours, options)?, theirs))
    }

    /// A channel over a connected unix socket that exists. It becomes non-blocking. Fails outside a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::ipc::{Channel, Options};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let mut ours = Channel::from_fd(ours.into(), Options::default())?;
    /// std::io::Write::write_all(&mut &theirs, b"[1,2]\n")?;
    /// assert_eq!(ours.recv().await.ok_or("no message")?.parse::<[u8; 2]>()?, [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_fd(socket: OwnedFd, options: Options) -> io::Result<Channel> {
        let shared = shared::Shared::new(socket, &options)?;
        Ok(Channel { sender: Sender::new(shared.clone()), receiver: Receiver::new(shared) })
    }

    /// The next message of the program at the other end; `None` when the channel is closed. See [`Receiver::recv`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// theirs.sender.send("hello").await?;
    /// assert_eq!(ours.recv().await.ok_or("no message")?.parse::<String>()?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }
}

/// Why a message was not sent.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use musher_process::ipc::{Channel, Options};
/// # let (mut ours, theirs) = Channel::pair(Options::default())?;
/// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
/// use musher_process::ipc::SendError;
/// use std::collections::BTreeMap;
///
/// let no_json = BTreeMap::from([((1, 2), 3)]);
/// assert!(matches!(ours.sender.send(&no_json).await, Err(SendError::NotAMessage(_))));
/// ours.sender.disconnect();
/// assert!(matches!(ours.sender.send("too late").await, Err(SendError::Closed)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// This end has disconnected, or the peer has closed its end.
    #[error("the channel is closed")]
    Closed,
    /// Too much waits for a peer that does not read. The message was not queued.
    #[error("the peer does not read, and {MAX_QUEUED_MESSAGES} messages or {MAX_QUEUED_BYTES} bytes wait for it")]
    Full,
    /// It cannot be written as a message.
    #[error("this is no message: {0}")]
    NotAMessage(String),
    /// The handle cannot be sent.
    #[error("the handle cannot be sent: {0}")]
    Handle(io::Error),
}

impl SendError {
    #[expect(clippy::needless_pass_by_value, reason = "what map_err wants")]
    pub(crate) fn not_a_message(error: serde_json::Error) -> SendError {
        SendError::NotAMessage(error.to_string())
    }
}

/// A message is not what it was read as.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use musher_process::ipc::{Channel, Options};
/// # let (mut ours, theirs) = Channel::pair(Options::default())?;
/// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
/// use musher_process::ipc::MessageError;
///
/// theirs.sender.send("seven").await?;
/// let message = ours.recv().await.ok_or("no message")?;
/// assert!(matches!(message.parse::<u32>(), Err(MessageError::Json(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is no JSON, or not of the type that was asked for.
    #[error("{0}")]
    Json(String),
    /// It is not in V8's format.
    #[error("{0}")]
    V8(#[from] DecodeError),
}

impl MessageError {
    #[expect(clippy::needless_pass_by_value, reason = "what map_err wants")]
    pub(crate) fn json(error: serde_json::Error) -> MessageError {
        MessageError::Json(error.to_string())
    }
}

/// How a peer broke the rules, which closed the channel.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::ipc::{Channel, Fault, Options};
/// use std::io::Write;
///
/// let (mut ours, theirs) = Channel::pair(Options::default().max_message(10))?;
/// std::os::unix::net::UnixStream::from(theirs).write_all(b"\"more than ten bytes\"\n")?;
/// assert!(ours.recv().await.is_none());
/// assert_eq!(ours.receiver.fault(), Some(Fault::TooLong { most: 10 }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A message is longer than allowed.
    #[error("sent a message of more than {most} bytes")]
    TooLong {
        /// What is allowed.
        most: usize,
    },
    /// What came is no message.
    #[error("sent what is no message: {0}")]
    NotAMessage(String),
    /// More descriptors than messages for them.
    #[error("sent more file descriptors than messages with one")]
    TooManyHandles,
    /// A handle of a kind that Node does not know.
    #[error("sent a handle of the unknown type {0:?}")]
    UnknownHandle(String),
    /// It asks, and does not read the answers.
    #[error("sends requests but does not read the answers")]
    NotReading,
}
