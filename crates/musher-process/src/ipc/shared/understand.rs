//! What the bytes that came mean, and what the transport does about it.

use std::sync::Arc;

use serde_json::json;

use super::{Life, MAX_ANSWERS, Shared, State, size};
use crate::ipc::frame::{Frame, Framed, Outward};
use crate::ipc::handle::{Handle, HandleKind};
use crate::ipc::message::{self, Internal, Meaning, Message, Received};
use crate::ipc::outbound::{Missed, Turn};
use crate::ipc::{Fault, MAX_QUEUED_MESSAGES};
use crate::net;

impl State {
    /// The next message for the caller, from what was read.
    pub(super) fn take_received(&mut self, shared: &Shared) -> Option<Received> {
        if let Some(received) = self.inbox.pop_front() {
            self.inbox_bytes = self.inbox_bytes.saturating_sub(size(&received));
            shared.start_pump(self);
            return Some(received);
        }
        self.decode(shared)
    }

    /// The next message among the bytes that came. The transport's own are dealt with on the way.
    pub(super) fn decode(&mut self, shared: &Shared) -> Option<Received> {
        loop {
            let step = match self.inn.next() {
                Ok(None) => return None,
                Ok(Some(framed)) => self.understand(framed, shared),
                Err(fault) => Err(fault),
            };
            match step {
                Ok(None) => shared.flush(self),
                Ok(Some(received)) => return Some(received),
                Err(fault) => {
                    shared.fail(self, fault);
                    return None;
                }
            }
        }
    }

    fn understand(&mut self, framed: Framed, shared: &Shared) -> Result<Option<Received>, Fault> {
        self.marks |= framed.marked;
        let user = |body| Ok(Some(Received::Message(Message { body, handle: None })));
        if !framed.internal {
            return user(framed.body);
        }
        match message::meaning(&framed.body)? {
            Meaning::User => return user(framed.body),
            Meaning::Internal { cmd } => {
                let message = Message { body: framed.body, handle: None };
                return Ok(Some(Received::Internal(Internal { cmd, message })));
            }
            Meaning::Handle { kind, key, inner } => return self.handle(&kind, key, inner, shared),
            Meaning::Taken => self.out.taken(),
            Meaning::Missed => {
                if self.out.missed() == Missed::GivenUp {
                    self.given_up += 1;
                }
            }
            Meaning::CountAsked { key } => {
                let count = self.sockets.count(&key);
                self.answer(&json!({"cmd": "NODE_SOCKET_COUNT", "key": key, "count": count}))?;
            }
            Meaning::ToldWhenClosed { key } => {
                if self.sockets.tell_when_closed(&key) {
                    self.answer(&json!({"cmd": "NODE_SOCKET_ALL_CLOSED", "key": key}))?;
                }
            }
            Meaning::Count { key, count } => {
                if let Some(at) = self.counts.iter().position(|(asked, _)| *asked == key) {
                    let _ = self.counts.swap_remove(at).1.send(count);
                }
            }
            Meaning::AllClosed { key } => {
                for (_, tell) in self.closes.extract_if(.., |(asked, _)| *asked == key) {
                    let _ = tell.send(());
                }
            }
            Meaning::FastFrame if self.may_switch => {
                self.inn.switch(Frame::Fast);
                self.switch = self.frame != Frame::Fast;
            }
            // Not asked for, so not understood: what comes behind it is no message.
            Meaning::FastFrame => return Err(Fault::NotAMessage("a fast frame that nobody asked for".to_owned())),
        }
        shared.changed.notify_waiters();
        Ok(None)
    }

    /// A message that is to have a handle.
    fn handle(
        &mut self,
        kind: &str,
        key: Option<String>,
        inner: message::Body,
        shared: &Shared,
    ) -> Result<Option<Received>, Fault> {
        let known = HandleKind::of_name(kind).ok_or_else(|| Fault::UnknownHandle(kind.to_owned()))?;
        let Some(fd) = self.inn.take_fd() else {
            self.answer(&json!({"cmd": "NODE_HANDLE_NACK"}))?;
            return Ok(None);
        };
        self.answer(&json!({"cmd": "NODE_HANDLE_ACK"}))?;
        shared.flush(self);
        // tokio takes only such, and so do libuv's peers.
        let _ = net::set_nonblocking(&fd);
        // Nothing may fail behind it: a socket that is counted must not be dropped here, where the state is locked.
        let cmd = message::internal_cmd(&inner)?;
        let open = match (&key, known) {
            (Some(key), HandleKind::NetSocket) => self.sockets.opened(key, &shared.this),
            _ => None,
        };
        let handle = Some(Handle::received(known, fd, key, open.map(Arc::new)));
        let message = Message { body: inner, handle };
        Ok(Some(match cmd {
            Some(cmd) => Received::Internal(Internal { cmd, message }),
            None => Received::Message(message),
        }))
    }

    /// Answers the peer, before everything else.
    pub(super) fn answer(&mut self, answer: &serde_json::Value) -> Result<(), Fault> {
        if self.life == Life::Closed {
            return Ok(());
        }
        if self.out.queued().1 >= MAX_QUEUED_MESSAGES + MAX_ANSWERS {
            return Err(Fault::NotReading);
        }
        let bytes = self.frame.write(&Outward::Internal(answer), self.marks).map_err(|_| Fault::NotReading)?;
        self.out.push(bytes, None, Turn::AtOnce);
        Ok(())
    }
}
