//! Node's IPC channel (`child_process` with `'ipc'`), our end of it.
//!
//! One JSON text a line, or messages in V8's format, over a unix stream socket; a file descriptor rides on the first byte of its `NODE_HANDLE`
//! message. The channel answers for itself what the transport of handles needs (`NODE_HANDLE_ACK`, `_NACK`,
//! `NODE_SOCKET_*`); everything else goes to the caller, users' messages as the text that came.
//!
//! **Nothing is lost with the reader.** [`Channel::read`] only looks at the socket (MSG_PEEK). The messages it hands out
//! stay in the kernel until [`Channel::consume`], so a reader that is killed in between leaves them to its successor: a
//! message comes at least once. Only a message that the socket cannot hold as a whole is gathered in memory.
//!
//! **The peer is not trusted.** Whatever it sends ends in a [`Fault`], which is its own: broken JSON, descriptors that
//! belong to nothing. Of a message over [`MAX_MESSAGE`] ([`Bounds::message`]), which Node itself would take, only its size
//! is told, and it is not kept while it comes. Memory is bounded in both directions.

mod framing;
mod line;
mod outgoing;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use self::framing::{Begun, Framing};
pub use self::line::Fault;
use self::line::{Line, Transport};
use self::outgoing::Outgoing;
pub use self::outgoing::{MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, SendError};
use crate::fdpass;
use crate::sys;
use crate::v8::Value;

/// The longest message that is handed out, in bytes, if nothing else is said.
pub const MAX_MESSAGE: usize = 1 << 20;
/// The most messages that one [`Channel::read`] hands out.
pub const MAX_BATCH: usize = 128;
/// The size of the buffer that [`Channel::read`] works best with.
pub const READ_BUFFER: usize = 128 << 10;
/// An unfinished message of this size is taken out of the socket: the rest may not fit in besides it. It is less than
/// half of what a unix socket holds by default.
const GATHER: usize = 64 << 10;

/// Our end of a channel. Make it with [`pair`](Channel::pair) or, for a socket that exists, [`new`](Channel::new).
///
/// Reading: [`read`](Channel::read), do what the messages ask, [`consume`](Channel::consume), until
/// [`Batch::state`] is [`State::Idle`] or [`State::Ended`]. Writing: [`queue`](Channel::queue), then
/// [`flush`](Channel::flush), again whenever the socket is writable while [`wants_write`](Channel::wants_write).
/// Messages that the channel answers itself are queued by `read`: flush after it.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// The beginning of a message that is too large to stay in the socket.
    gathered: Vec<u8>,
    /// A descriptor that came with it.
    gathered_handle: Option<OwnedFd>,
    /// How much has come of a message that is too long: none of it is kept.
    skipped: u64,
    /// How long that is, where it is told in advance.
    announced: u64,
    framing: Framing,
    /// Bytes at the head of the socket that were handed out.
    handed_out: usize,
    outgoing: Outgoing,
    most: Bounds,
    /// The first line may be the rest of a message whose beginning our predecessor took along when it died.
    after_predecessor: bool,
    /// The peer marks internal messages by a byte 0x02 (Bun) and expects the same.
    marks_internal: bool,
}

/// How much of a peer's is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest message that is handed out, in bytes.
    pub message: usize,
    /// The most bytes that wait for a peer that does not read.
    pub queued_bytes: usize,
    /// The most messages that do.
    pub queued_messages: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { message: MAX_MESSAGE, queued_bytes: MAX_QUEUED_BYTES, queued_messages: MAX_QUEUED_MESSAGES }
    }
}

/// A message of the peer.
#[derive(Debug)]
pub struct Message {
    /// Its JSON text.
    pub text: String,
    /// A program's message as it came, where the channel speaks V8's format.
    pub v8: Option<Value>,
    /// Whose it is.
    pub kind: Kind,
    /// The descriptor that came with it.
    pub handle: Option<OwnedFd>,
}

/// Whose a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program's: `process.send(anything)`.
    User,
    /// The runtime's: an object with a `cmd` that begins with `NODE_`, for example `NODE_CLUSTER`.
    Internal {
        /// The `cmd`.
        cmd: String,
    },
    /// The peer took the descriptor of the oldest message sent with one that is not yet answered.
    HandleTaken,
    /// A message of so many bytes, more than [`Bounds::message`]: it was dropped. What it said, and whose it is, is not known.
    TooLong {
        /// Its size.
        bytes: u64,
    },
    /// The peer got that message without its descriptor (its table may be full).
    HandleMissed,
}

/// What a look at the socket found.
#[derive(Debug)]
pub struct Batch {
    /// Complete messages in order.
    pub messages: Vec<Message>,
    /// What came after them.
    pub state: State,
}

/// What came after the messages of a batch.
#[derive(Debug)]
pub enum State {
    /// There may be more: read again after consuming.
    More,
    /// Nothing more for now: consume and wait until the socket is readable anew (edge-triggered: an unfinished message
    /// stays there). The end of the stream is no new edge when it was there before this batch: if the socket was hung up
    /// (EPOLLRDHUP), read on to [`State::Ended`].
    Idle,
    /// The peer has closed its end, or died; nothing more will come.
    Ended,
    /// The peer broke the protocol. Nothing behind this can be read.
    Broken(Fault),
}

impl Channel {
    /// A new channel: our end and the child's, to be inherited under the number in `NODE_CHANNEL_FD`.
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, childs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Channel::new(ours)?, childs))
    }

    /// The channel over a socket that exists. `adopted`-style use: call [`follow_predecessor`] when another process read
    /// from it before.
    ///
    /// [`follow_predecessor`]: Channel::follow_predecessor
    pub fn new(socket: OwnedFd) -> io::Result<Channel> {
        crate::net::set_nonblocking(&socket)?;
        Ok(Channel {
            socket,
            gathered: Vec::new(),
            gathered_handle: None,
            skipped: 0,
            announced: 0,
            framing: Framing::Lines,
            handed_out: 0,
            outgoing: Outgoing::default(),
            most: Bounds::default(),
            after_predecessor: false,
            marks_internal: false,
        })
    }

    /// The same, speaking V8's format instead of JSON: the peer's `serialization: 'advanced'`.
    #[must_use]
    pub fn advanced(self) -> Channel {
        Channel { framing: Framing::Advanced, ..self }
    }

    /// The same with other bounds than the usual ones.
    #[must_use]
    pub fn bounded_by(self, most: Bounds) -> Channel {
        Channel { most, ..self }
    }

    /// Another process has read from this socket and may have died while it gathered a large message: a first line that
    /// is no JSON is the rest of it and is skipped. `marks_internal` is the predecessor's
    /// [`marks_internal`](Channel::marks_internal).
    pub fn follow_predecessor(&mut self, marks_internal: bool) {
        self.after_predecessor = true;
        self.marks_internal = marks_internal;
    }

    /// Whether the peer marks internal messages by a byte 0x02, as Bun does.
    pub fn marks_internal(&self) -> bool {
        self.marks_internal
    }

    /// Looks at what the peer sent. Hands out nothing new before [`consume`](Channel::consume). `buffer` is only a
    /// working space; its content is not kept.
    pub fn read(&mut self, buffer: &mut [u8]) -> Batch {
        let nothing = |state| Batch { messages: Vec::new(), state };
        if self.handed_out > 0 {
            return nothing(State::More);
        }
        let received = match fdpass::recv_with_fds(&self.socket, buffer, 2, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return nothing(State::Idle),
            // The peer died with messages of ours unread (unix(7) does not tell); what it had sent was read before.
            Err(_) => return nothing(State::Ended),
        };
        if received.bytes == 0 {
            return nothing(State::Ended);
        }
        if received.fds.len() > 1 || received.fds_cut {
            return nothing(State::Broken(Fault::TooManyHandles));
        }
        let handle = received.fds.into_iter().next();
        // Everything that was there has been seen; what comes later makes the socket readable anew. (A call stops behind
        // a descriptor, so there may be more after one.)
        let all = handle.is_none() && received.bytes < buffer.len();
        let chunk = &buffer[..received.bytes];
        let begun = Begun { kept: &self.gathered, skipped: self.skipped, size: self.announced };
        let ends = self.framing.ends(chunk, begun, MAX_BATCH);
        let Some(end) = ends.last().copied() else {
            return self.gather(received.bytes, buffer, handle);
        };
        // A descriptor is on the last message of what one call returns; if that is unfinished, both come again.
        let whole = end == chunk.len();
        self.handed_out = end;
        let (messages, fault) = self.decode(chunk, &ends, handle.filter(|_| whole));
        let state = if all && whole { State::Idle } else { State::More };
        Batch { messages, state: fault.map_or(state, State::Broken) }
    }

    /// Takes the messages of the last batch out of the socket. They were acted on.
    pub fn consume(&mut self) {
        let mut scratch = [0; 16 << 10];
        while self.handed_out > 0 {
            let piece = self.handed_out.min(scratch.len());
            match rustix::net::recv(&self.socket, &mut scratch[..piece], RecvFlags::DONTWAIT) {
                Ok((taken, _)) if taken > 0 => self.handed_out = self.handed_out.saturating_sub(taken),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.handed_out = 0;
    }

    /// Takes an unfinished message out of the socket when the socket may be too small for the rest.
    fn gather(&mut self, bytes: usize, buffer: &mut [u8], handle: Option<OwnedFd>) -> Batch {
        let must =
            !self.gathered.is_empty() || self.skipped > 0 || bytes >= GATHER.min(buffer.len()) || handle.is_some();
        if !must {
            return Batch { messages: Vec::new(), state: State::Idle };
        }
        let state = match rustix::net::recv(&self.socket, &mut buffer[..bytes], RecvFlags::DONTWAIT) {
            Ok(_) if handle.is_some() && self.gathered_handle.is_some() => State::Broken(Fault::TooManyHandles),
            Ok((taken, _)) => {
                if self.skipped > 0
                    || self.gathered.len() + taken > self.most.message.saturating_add(self.framing.head())
                {
                    let gathered = std::mem::take(&mut self.gathered);
                    if self.skipped == 0 {
                        self.announced = self.framing.size(if gathered.is_empty() { buffer } else { &gathered });
                    }
                    self.skipped += (gathered.len() + taken) as u64;
                } else {
                    self.gathered.extend_from_slice(&buffer[..taken]);
                }
                self.gathered_handle = handle.or(self.gathered_handle.take());
                State::More
            }
            Err(Errno::INTR | Errno::AGAIN) => State::More,
            Err(_) => State::Ended,
        };
        Batch { messages: Vec::new(), state }
    }

    /// The complete messages that end at these places. `handle` is on the last of them.
    fn decode(&mut self, chunk: &[u8], ends: &[usize], handle: Option<OwnedFd>) -> (Vec<Message>, Option<Fault>) {
        let mut messages = Vec::new();
        let mut handle = handle;
        let mut begin = 0;
        for (at, end) in ends.iter().enumerate() {
            let (line, is_last) = (&chunk[begin..*end], at + 1 == ends.len());
            begin = *end;
            let most = self.most.message.saturating_add(self.framing.frame());
            let skipped = match std::mem::take(&mut self.skipped) {
                0 if self.gathered.len() + line.len() > most => Some(std::mem::take(&mut self.gathered).len() as u64),
                0 => None,
                skipped => Some(skipped),
            };
            if let Some(skipped) = skipped {
                let came = if is_last { handle.take() } else { None };
                let with = self.gathered_handle.take().or(came);
                let bytes = (skipped + line.len() as u64).saturating_sub(self.framing.frame() as u64);
                match self.deliver_too_long(bytes, with) {
                    Ok(message) => messages.push(message),
                    Err(fault) => return (messages, Some(fault)),
                }
                continue;
            }
            let gathered = std::mem::take(&mut self.gathered);
            let framing = self.framing;
            let parsed =
                if gathered.is_empty() { framing.parse(line) } else { framing.parse(&[&gathered, line].concat()) };
            let first = std::mem::take(&mut self.after_predecessor);
            let (parsed, value) = match parsed {
                Ok(parsed) => parsed,
                Err(_) if first => continue,
                Err(fault) => return (messages, Some(fault)),
            };
            self.marks_internal |= parsed.marked;
            let with = match self.gathered_handle.take() {
                Some(handle) => Some(handle),
                None if is_last => handle.take(),
                None => None,
            };
            match self.deliver(parsed, value, with) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => {}
                Err(fault) => return (messages, Some(fault)),
            }
        }
        (messages, None)
    }

    /// Answers what concerns only the transport; the rest is the caller's.
    fn deliver(&mut self, line: Line, value: Option<Value>, handle: Option<OwnedFd>) -> Result<Option<Message>, Fault> {
        let answer =
            |channel: &mut Channel, text: &str| channel.queue_internal(text, None).map_err(|_| Fault::NotReading);
        match line.transport {
            Transport::Handle { .. } if handle.is_none() => {
                answer(self, r#"{"cmd":"NODE_HANDLE_NACK"}"#)?;
                Ok(None)
            }
            Transport::Handle { inner, kind } => {
                answer(self, r#"{"cmd":"NODE_HANDLE_ACK"}"#)?;
                Ok(Some(Message { text: inner, v8: value.and_then(framing::inner), kind, handle }))
            }
            _ if handle.is_some() => Err(Fault::StrayHandle),
            Transport::Answer(text) => {
                answer(self, &text)?;
                Ok(None)
            }
            Transport::Plain { kind } => Ok(Some(Message { text: line.text, v8: value, kind, handle: None })),
        }
    }

    /// The end of a message that was too long to be kept. If a descriptor came with it, the peer waits to hear that it
    /// arrived before it sends another.
    fn deliver_too_long(&mut self, bytes: u64, handle: Option<OwnedFd>) -> Result<Message, Fault> {
        if handle.is_some() {
            self.queue_internal(r#"{"cmd":"NODE_HANDLE_ACK"}"#, None).map_err(|_| Fault::NotReading)?;
        }
        Ok(Message { text: String::new(), v8: None, kind: Kind::TooLong { bytes }, handle: None })
    }

    /// Queues a message of the runtime: an object whose `cmd` begins with `NODE_`. See [`queue`](Channel::queue).
    pub fn queue_internal(&mut self, text: &str, handle: Option<Arc<OwnedFd>>) -> Result<(), SendError> {
        self.outgoing.push(self.framing.write(if self.marks_internal { "\u{2}" } else { "" }, text)?, handle, self.most)
    }

    /// Queues a message: `text` is one JSON text without a line break. `handle` must be a socket or pipe (a Node peer
    /// ends with SIGABRT when given a file) and `text` then a `NODE_HANDLE` message; it is made non-blocking.
    pub fn queue(&mut self, text: &str, handle: Option<Arc<OwnedFd>>) -> Result<(), SendError> {
        self.outgoing.push(self.framing.write("", text)?, handle, self.most)
    }

    /// Queues a value of JavaScript; over a channel of JSON, what `JSON.stringify` makes of it.
    pub fn queue_value(&mut self, value: &Value) -> Result<(), SendError> {
        self.outgoing.push(self.framing.write_value(value)?, None, self.most)
    }

    /// Sends what is queued, as far as the socket takes it. A message up to 32 KiB goes as a whole or not at all.
    pub fn flush(&mut self) -> Result<(), SendError> {
        self.outgoing.flush(self.socket.as_fd())
    }

    /// Whether something is queued.
    pub fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the peer has yet to read something that was sent. A peer that reads runs its event loop.
    pub fn peer_has_unread(&self) -> bool {
        // While the kernel tells that a message was read it still counts 1 for it; a message counts for hundreds.
        sys::net::unread_by_peer(self.socket.as_fd()).is_ok_and(|bytes| bytes > 1)
    }

    /// The socket, to be kept elsewhere too. The peer sees the end only when every copy is closed.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
