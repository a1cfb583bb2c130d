//! What comes: bytes and descriptors from the socket, put together to messages.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use bytes::BytesMut;
use rustix::net::RecvFlags;

use super::Fault;
use super::frame::{Frame, Framed};
use crate::fdpass;

/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// The most descriptors that wait for their message. Linux gives one with each read, and it belongs to the next message
/// that is to have one: more than this are a fault of the sender's.
const MAX_STRAYS: usize = 8;

thread_local! {
    /// Where bytes come first. One for all channels of a thread, so that an idle channel holds nothing.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// What one look at the socket came to.
#[derive(Debug)]
pub(crate) enum Look {
    /// Something came. `all`: there was no more.
    Some { all: bool },
    /// Nothing is there.
    Nothing,
    /// The end, and nothing behind it.
    End,
}

#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) frame: Frame,
    bytes: BytesMut,
    seen: usize,
    fds: VecDeque<OwnedFd>,
    most: usize,
}

impl Inbound {
    pub(crate) fn new(frame: Frame, most: usize) -> Inbound {
        Inbound { frame, bytes: BytesMut::new(), seen: 0, fds: VecDeque::new(), most }
    }

    /// The next complete message.
    pub(crate) fn next(&mut self) -> Result<Option<Framed>, Fault> {
        self.frame.next(&mut self.bytes, &mut self.seen, self.most)
    }

    /// The descriptor that came with a message.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    /// Forgets what came.
    pub(crate) fn clear(&mut self) {
        self.bytes = BytesMut::new();
        self.seen = 0;
        self.fds.clear();
    }

    /// What comes now is framed in another way.
    pub(crate) fn switch(&mut self, frame: Frame) {
        self.frame = frame;
        self.seen = 0;
    }

    /// Reads what is there, once.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>) -> Result<Look, Fault> {
        let received = SCRATCH.with_borrow_mut(|scratch| {
            let received = fdpass::recv_with_fds(socket, scratch, 2, RecvFlags::DONTWAIT)?;
            let came = scratch.get(..received.bytes).unwrap_or_default();
            // What the peer says it will send is believed only as far as it has sent as much already.
            let missing = self.frame.missing(&self.bytes);
            self.bytes.reserve(missing.min(self.bytes.len()).max(came.len()));
            self.bytes.extend_from_slice(came);
            Ok::<_, io::Error>(received)
        });
        let received = match received {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Look::Nothing),
            // The peer is gone, with messages of ours unread (unix(7)).
            Err(_) => return Ok(Look::End),
        };
        // One that was cut off, so that none is there, found no room in our table: its message says so to the peer.
        if received.fds.len() > 1 || self.fds.len() + received.fds.len() > MAX_STRAYS {
            return Err(Fault::TooManyHandles);
        }
        let all = received.fds.is_empty() && !received.fds_cut && received.bytes < CHUNK;
        self.fds.extend(received.fds);
        if received.bytes == 0 { Ok(Look::End) } else { Ok(Look::Some { all }) }
    }
}
