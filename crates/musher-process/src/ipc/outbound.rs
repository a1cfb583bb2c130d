//! What goes: the queue of messages to the peer, with Node's order around handles.
//!
//! A message with a handle is sent, and everything behind it waits until the peer has said that it got the handle
//! (`NODE_HANDLE_ACK`) or did not (`NODE_HANDLE_NACK`, which means to send it again). What is sent
//! [`Order::Pipelined`](super::Order) does not wait and is not waited for.
//!
//! Messages that are fed are gathered, one behind the other in one piece of memory, and take their turn together.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::fdpass;

/// How often a message is sent whose handle did not arrive.
const TRIES: u8 = 4;
/// The most messages, or gathered pieces, that one system call sends.
const BATCH: usize = 32;
/// How many bytes are gathered before they go by themselves.
const GATHER: usize = 64 << 10;

/// How a message takes its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Behind handles that the peer has not answered yet.
    Queued,
    /// The same, together with others: not before somebody says so, or enough have been gathered.
    Gathered,
    /// As soon as the socket takes it.
    AtOnce,
}

#[derive(Debug)]
struct Item {
    bytes: Bytes,
    /// Rides on the first byte; gone after it.
    handle: Option<Arc<OwnedFd>>,
}

/// A message whose handle the peer has not answered.
#[derive(Debug)]
struct Unanswered {
    bytes: Bytes,
    handle: Arc<OwnedFd>,
    tries: u8,
    /// Others wait for the answer.
    blocks: bool,
}

/// What a `NACK` led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// It is sent again.
    Again,
    /// It was sent often enough.
    GivenUp,
    /// Nothing was to be answered.
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// What may go now.
    ready: VecDeque<Item>,
    /// What waits for an answer of the peer.
    held: VecDeque<(Bytes, Option<Arc<OwnedFd>>)>,
    unanswered: VecDeque<Unanswered>,
    /// Messages that were fed, in their frames.
    gathered: Vec<u8>,
    /// Of all but those that are gathered.
    bytes: usize,
    /// The socket was full: to try again is of no use until it has told that it takes more.
    full: bool,
}

impl Outbound {
    /// How many bytes and messages wait, without what is gathered.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.bytes, self.ready.len() + self.held.len() + self.unanswered.len())
    }

    /// How many bytes are gathered.
    pub(crate) fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// Whether a message of so many bytes can be gathered as well.
    pub(crate) fn gathers(&self, bytes: usize) -> bool {
        self.gathered.len() + bytes <= GATHER
    }

    /// Puts a message behind those that are gathered.
    pub(crate) fn gather(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
    }

    /// What is gathered takes its turn, in the socket if it takes all at once.
    pub(crate) fn send_gathered(&mut self, socket: BorrowedFd<'_>) {
        let mut gathered = std::mem::take(&mut self.gathered);
        let sent = self.send_now(socket, &gathered, Turn::Queued);
        if sent == gathered.len() {
            // Its memory is for the next ones.
            gathered.clear();
            self.gathered = gathered;
        } else {
            let mut rest = Bytes::from(gathered);
            rest.advance(sent);
            self.push(rest, None, Turn::Queued);
        }
    }

    /// The same, without a try.
    pub(crate) fn queue_gathered(&mut self) {
        if !self.gathered.is_empty() {
            let gathered = std::mem::take(&mut self.gathered);
            self.push(gathered.into(), None, Turn::Queued);
        }
    }

    /// How many messages wait for the answer to a handle.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether something can be sent when the socket takes it.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether everything was sent, and nothing is to be sent again.
    pub(crate) fn is_done(&self) -> bool {
        self.ready.is_empty() && self.held.is_empty() && self.gathered.is_empty() && !self.blocked()
    }

    /// Whether nothing that was written can still be sent later than what comes now.
    pub(crate) fn is_quiet(&self) -> bool {
        self.held.is_empty() && self.unanswered.is_empty()
    }

    pub(crate) fn is_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    fn blocked(&self) -> bool {
        self.unanswered.iter().any(|unanswered| unanswered.blocks)
    }

    pub(crate) fn push(&mut self, bytes: Bytes, handle: Option<Arc<OwnedFd>>, turn: Turn) {
        self.bytes += bytes.len();
        match turn {
            Turn::Queued | Turn::Gathered if self.blocked() || !self.held.is_empty() => {
                self.held.push_back((bytes, handle))
            }
            turn => self.make_ready(bytes, handle, turn != Turn::AtOnce),
        }
    }

    fn make_ready(&mut self, bytes: Bytes, handle: Option<Arc<OwnedFd>>, blocks: bool) {
        if let Some(handle) = &handle {
            let (bytes, handle) = (bytes.clone(), handle.clone());
            self.unanswered.push_back(Unanswered { bytes, handle, tries: 1, blocks });
        }
        self.ready.push_back(Item { bytes, handle });
    }

    /// The peer got a handle.
    pub(crate) fn taken(&mut self) {
        self.unanswered.pop_front();
        self.release();
    }

    /// The peer did not get a handle.
    pub(crate) fn missed(&mut self) -> Missed {
        let Some(mut unanswered) = self.unanswered.pop_front() else { return Missed::Nothing };
        if unanswered.tries >= TRIES {
            self.release();
            return Missed::GivenUp;
        }
        unanswered.tries += 1;
        self.bytes += unanswered.bytes.len();
        self.ready.push_back(Item { bytes: unanswered.bytes.clone(), handle: Some(unanswered.handle.clone()) });
        self.unanswered.push_back(unanswered);
        Missed::Again
    }

    /// What waited for the answer goes, up to the next handle.
    fn release(&mut self) {
        while !self.blocked() {
            let Some((bytes, handle)) = self.held.pop_front() else { break };
            self.make_ready(bytes, handle, true);
        }
    }

    /// Nobody will read it.
    pub(crate) fn clear(&mut self) {
        *self = Outbound::default();
    }

    /// Sends as much of a message without a handle as the socket takes, if nothing is before it: without a queue, and
    /// without memory of its own. How much that was.
    pub(crate) fn send_now(&mut self, socket: BorrowedFd<'_>, bytes: &[u8], turn: Turn) -> usize {
        let its_turn = turn == Turn::AtOnce || (self.held.is_empty() && !self.blocked());
        if self.full || !self.ready.is_empty() || !its_turn || bytes.is_empty() {
            return 0;
        }
        // What went wrong will go wrong again when it is queued.
        rustix::net::send(socket, bytes, SendFlags::NOSIGNAL).unwrap_or(0)
    }

    /// The socket may take more.
    pub(crate) fn writable(&mut self) {
        self.full = false;
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if self.full {
            return Ok(());
        }
        while let Some(first) = self.ready.front_mut() {
            let result = match &first.handle {
                // One message a call: Linux keeps descriptors apart only between calls.
                Some(handle) => fdpass::send_with_fds(socket, &first.bytes, &[handle.as_fd()]),
                None => send_some(socket, &self.ready),
            };
            match result {
                Ok(sent) => self.sent(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sent(&mut self, mut sent: usize) {
        self.bytes = self.bytes.saturating_sub(sent);
        while let Some(first) = self.ready.front_mut() {
            first.handle = None;
            if sent < first.bytes.len() {
                first.bytes.advance(sent);
                return;
            }
            sent -= first.bytes.len();
            self.ready.pop_front();
            if sent == 0 {
                return;
            }
        }
    }
}

/// Sends as many messages as there are before one with a handle.
fn send_some(socket: BorrowedFd<'_>, ready: &VecDeque<Item>) -> io::Result<usize> {
    let without = ready.iter().take(BATCH).take_while(|item| item.handle.is_none());
    let mut slices = [IoSlice::new(&[]); BATCH];
    let mut count = 0;
    for (slice, item) in slices.iter_mut().zip(without) {
        *slice = IoSlice::new(&item.bytes);
        count += 1;
    }
    loop {
        let mut control = SendAncillaryBuffer::default();
        match rustix::net::sendmsg(socket, &slices[..count], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn null() -> Arc<OwnedFd> {
        Arc::new(File::open("/dev/null").unwrap().into())
    }

    fn ready(out: &Outbound) -> Vec<&str> {
        out.ready.iter().map(|item| std::str::from_utf8(&item.bytes).unwrap()).collect()
    }

    #[test]
    fn what_is_behind_a_handle_waits_for_the_answer() {
        let mut out = Outbound::default();
        out.push("a".into(), None, Turn::Queued);
        out.push("b".into(), Some(null()), Turn::Queued);
        out.push("c".into(), None, Turn::Queued);
        out.push("d".into(), Some(null()), Turn::Queued);
        out.push("e".into(), None, Turn::Queued);
        out.push("ack".into(), None, Turn::AtOnce);
        assert_eq!(ready(&out), ["a", "b", "ack"]);
        out.taken();
        assert_eq!(ready(&out), ["a", "b", "ack", "c", "d"]);
        out.taken();
        assert_eq!(ready(&out), ["a", "b", "ack", "c", "d", "e"]);
        assert_eq!(out.queued(), (8, 6));
    }

    #[test]
    fn a_handle_that_does_not_arrive_is_sent_three_times_more() {
        let mut out = Outbound::default();
        out.push("a".into(), Some(null()), Turn::Queued);
        out.push("b".into(), None, Turn::Queued);
        for _ in 0..3 {
            assert_eq!(out.missed(), Missed::Again);
        }
        assert_eq!(ready(&out), ["a"; 4]);
        assert_eq!(out.missed(), Missed::GivenUp);
        assert_eq!(ready(&out), ["a", "a", "a", "a", "b"]);
        assert_eq!(out.missed(), Missed::Nothing);
        out.taken();
    }

    #[test]
    fn a_pipeline_does_not_wait() {
        let mut out = Outbound::default();
        for text in ["a", "b", "c"] {
            out.push(text.into(), Some(null()), Turn::AtOnce);
        }
        assert_eq!(ready(&out), ["a", "b", "c"]);
        assert!(out.is_unanswered() && !out.blocked());
    }
}
