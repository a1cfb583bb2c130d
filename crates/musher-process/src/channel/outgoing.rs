//! The queue of messages to the peer.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::Bounds;
use crate::{fdpass, net};

/// The most bytes that wait for a peer that does not read, if nothing else is said.
pub const MAX_QUEUED_BYTES: usize = 4 << 20;
/// The most messages that do.
pub const MAX_QUEUED_MESSAGES: usize = 4096;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peer does not read and the queue is full. The message was not queued.
    #[error("the worker does not read its channel and {messages} messages of {bytes} bytes wait")]
    Full {
        /// How many wait.
        messages: usize,
        /// Of how many bytes.
        bytes: usize,
    },
    /// It has more than 4 GiB.
    #[error("a message has at most 4 GiB")]
    TooLong,
    /// A line break in a message would break the peer.
    #[error("a message with a line break in it cannot be sent")]
    LineBreak,
    /// It is not what a message can be: `undefined`, or a text that is not JSON.
    #[error("what is sent has to be a value of JSON")]
    NotJson,
    /// The peer has closed its end.
    #[error("the channel is closed")]
    Closed,
    /// The system refused.
    #[error("cannot send over the channel: {0}")]
    System(io::Error),
}

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queue: VecDeque<Pending>,
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
    /// Rides on the first byte; gone after it.
    handle: Option<Arc<OwnedFd>>,
}

impl Outgoing {
    /// Queues a message in its frame.
    pub(super) fn push(&mut self, bytes: Vec<u8>, handle: Option<Arc<OwnedFd>>, most: Bounds) -> Result<(), SendError> {
        let length = bytes.len();
        // One message always fits, so that nothing that is within the other limits is refused for ever.
        if self.queue.len() >= most.queued_messages || (self.bytes > 0 && self.bytes + length > most.queued_bytes) {
            return Err(SendError::Full { messages: self.queue.len(), bytes: self.bytes });
        }
        if let Some(handle) = &handle {
            // libuv does not do it for descriptors that it receives, and reads them as if it were set.
            net::set_nonblocking(handle.as_fd()).map_err(SendError::System)?;
        }
        self.bytes += length;
        self.queue.push_back(Pending { bytes, sent: 0, handle });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) -> Result<(), SendError> {
        while let Some(first) = self.queue.front_mut() {
            let rest = &first.bytes[first.sent..];
            // One message a call: Linux keeps descriptors apart only between calls.
            let result = match &first.handle {
                Some(handle) => fdpass::send_with_fds(socket, rest, &[handle.as_fd()]),
                None => send(socket, rest),
            };
            match result {
                Ok(sent) => {
                    first.sent += sent;
                    first.handle = None;
                    self.bytes = self.bytes.saturating_sub(sent);
                    if first.sent >= first.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    let closed = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
                    return Err(if closed { SendError::Closed } else { SendError::System(error) });
                }
            }
        }
        Ok(())
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(socket, bytes, rustix::net::SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
