//! What comes over a connection, down to the answers in it.

use std::io;
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::dial::outcome;
use super::exchange::Failed;
use super::generator::Generator;
use super::link::{Codec, Link, Stage};
use super::users::Doing;
use super::websocket::Unexpected;
use crate::http::{Answer, ReplyError, Step};
use crate::plan::Protocol;
use crate::tally::FaultKind;

impl Generator {
    /// Something happened at a connection.
    pub(super) fn on_event(&mut self, data: u64, flags: EventFlags) {
        let link = usize::try_from(data & 0xffff_ffff).unwrap_or(usize::MAX);
        let generation = data >> 32;
        let fits = |one: &Link| u64::from(one.generation) == generation && one.stage != Stage::Down;
        if !self.links.get(link).is_some_and(fits) {
            return;
        }
        if self.links[link].stage == Stage::Connecting {
            let Some(result) = self.links[link].fd().map(outcome) else { return };
            match result {
                Err(error) => return self.not_connected(link, &error),
                Ok(()) if flags.intersects(EventFlags::OUT | EventFlags::IN) => self.connected(link),
                Ok(()) => return,
            }
        } else if flags.contains(EventFlags::OUT)
            && let Err(error) = self.links[link].flush()
        {
            let failed = self.not_answered(link, &error);
            return self.broken(link, failed);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let to_the_end = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        self.read(link, generation, to_the_end);
    }

    pub(super) fn read(&mut self, link: usize, generation: u64, to_the_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while u64::from(self.links[link].generation) == generation {
            match self.links[link].receive(&mut buffer) {
                Ok(0) => {
                    self.ended(link);
                    break;
                }
                Ok(size) => {
                    self.now = Instant::now();
                    self.input(link, &buffer[..size]);
                    // A short read has emptied the socket: the next edge tells of more (epoll(7)).
                    if size < buffer.len() && !to_the_end {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    let failed = self.not_answered(link, &error);
                    self.broken(link, failed);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    pub(super) fn input(&mut self, link: usize, bytes: &[u8]) {
        if self.links[link].tls.is_none() {
            return self.plain(link, bytes);
        }
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let generation = self.links[link].generation;
        let unsealed = self.links[link].unseal(bytes, &mut plain);
        if self.links[link].stage == Stage::Tls
            && unsealed.is_ok()
            && self.links[link].tls.as_ref().is_some_and(|tls| !tls.is_handshaking())
        {
            self.tls_agreed(link);
        }
        if !plain.is_empty() && self.links[link].generation == generation {
            self.plain(link, &plain);
        }
        if let (Err(error), true) = (unsealed, self.links[link].generation == generation) {
            self.broken(link, (FaultKind::Tls, error.to_string()));
        }
        plain.clear();
        self.plain = plain;
    }

    /// Bytes as they are meant.
    pub(super) fn plain(&mut self, link: usize, bytes: &[u8]) {
        match (self.links[link].stage, &mut self.links[link].codec) {
            (Stage::Proxy | Stage::Upgrade, _) => self.preliminary(link, bytes),
            (_, Codec::Http1) => self.http1(link, bytes),
            (_, Codec::Http2(streams)) => {
                streams.input(bytes);
                self.drive(link);
            }
            (_, Codec::WebSocket(messages)) => {
                messages.input(bytes);
                self.messages(link);
            }
        }
    }

    pub(super) fn http1(&mut self, link: usize, bytes: &[u8]) {
        if self.users[link].doing != Doing::Asking {
            // Something that nobody asked for: this connection is of no use any more.
            return self.shut(link);
        }
        match self.links[link].reply.push(bytes) {
            Ok(Step::More) => {}
            Ok(Step::Done(used, answer)) => {
                self.links[link].served += 1;
                if answer.closes || !self.plan.keep_alive || used < bytes.len() {
                    self.shut(link);
                }
                self.answered(link, answer);
            }
            Err(error) => self.broken(link, (FaultKind::Malformed, error.to_string())),
        }
    }

    /// Lets HTTP/2 happen.
    pub(super) fn drive(&mut self, link: usize) {
        let Codec::Http2(streams) = &mut self.links[link].codec else { return };
        let mut ended = Vec::new();
        let driven = streams.drive(&mut ended);
        let output = streams.output();
        let generation = self.links[link].generation;
        if !output.is_empty() {
            self.say(link, &output);
        }
        for (user, result) in ended {
            if self.users[user].doing != Doing::Asking {
                continue;
            }
            match result {
                Ok(answer) => {
                    self.links[link].served += 1;
                    self.answered(user, answer);
                }
                Err(why) => self.fail(user, (FaultKind::Protocol, why)),
            }
        }
        if let (Err(why), true) = (driven, self.links[link].generation == generation) {
            self.broken(link, (FaultKind::Closed, why));
        }
    }

    /// Lets WebSocket happen.
    pub(super) fn messages(&mut self, link: usize) {
        let expect = match &self.plan.protocol {
            Protocol::WebSocket { expect } => expect.clone(),
            _ => None,
        };
        let Codec::WebSocket(messages) = &mut self.links[link].codec else { return };
        let next = messages.next(expect.as_deref());
        let output = messages.output();
        if !output.is_empty() {
            self.say(link, &output);
        }
        match next {
            Ok(None) => {}
            Ok(Some(size)) => {
                self.links[link].served += 1;
                self.answered(link, Answer { status: 200, body_bytes: size, ..Answer::default() });
            }
            Err(Unexpected::Message(text)) => self.fail(link, (FaultKind::Unexpected, text)),
            Err(Unexpected::Closed(why)) => self.broken(link, (FaultKind::Closed, why)),
        }
    }

    /// The other side has ended the connection.
    pub(super) fn ended(&mut self, link: usize) {
        self.now = Instant::now();
        let is_up = self.links[link].stage == Stage::Up;
        match &mut self.links[link].codec {
            Codec::Http1 if is_up && self.users[link].doing == Doing::Asking => match self.links[link].reply.end() {
                Ok(answer) => {
                    self.shut(link);
                    self.answered(link, answer);
                }
                Err(error) => {
                    let kind = match error {
                        ReplyError::Short => FaultKind::ShortBody,
                        _ if self.links[link].served > 0 => FaultKind::ClosedReused,
                        _ => FaultKind::Closed,
                    };
                    self.broken(link, (kind, error.to_string()));
                }
            },
            Codec::Http2(streams) => {
                streams.end();
                self.drive(link);
                if self.links[link].stage == Stage::Up {
                    self.broken(link, (FaultKind::Closed, "the server ended the connection".into()));
                }
            }
            _ => {
                let kind = if self.links[link].stage == Stage::Tls { FaultKind::Tls } else { FaultKind::Closed };
                self.broken(link, (kind, "the server ended the connection".into()));
            }
        }
    }

    /// How a broken connection is counted.
    pub(super) fn not_answered(&self, link: usize, error: &io::Error) -> Failed {
        let one = &self.links[link];
        let kind = match one.stage {
            Stage::Tls => FaultKind::Tls,
            Stage::Up if one.reply.has_begun() => FaultKind::ShortBody,
            Stage::Up if one.served > 0 => FaultKind::ClosedReused,
            Stage::Up => FaultKind::Closed,
            _ => FaultKind::Connect,
        };
        (kind, error.to_string())
    }

    pub(super) fn say(&mut self, link: usize, bytes: &[u8]) {
        if let Err(error) = self.links[link].say(bytes) {
            let failed = self.not_answered(link, &error);
            self.broken(link, failed);
        }
    }
}
