//! A connection: its socket, what waits to be written, and what is spoken on it.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::h2::Streams;
use super::websocket::Messages;
use crate::http::Reply;

/// The most that waits to be written before a connection counts as stuck.
const MOST_WAITING: usize = 64 * 1024 * 1024;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    Down,
    /// The socket is being connected.
    Connecting,
    /// The proxy was asked to connect.
    Proxy,
    /// TLS is being agreed upon.
    Tls,
    /// The upgrade to WebSocket was asked for.
    Upgrade,
    /// Requests may be sent.
    Up,
}

/// What is spoken when it is up.
#[derive(Debug, Default)]
pub(super) enum Codec {
    #[default]
    Http1,
    Http2(Box<Streams>),
    WebSocket(Box<Messages>),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) stage: Stage,
    /// Tells events of this socket from late ones of those before it.
    pub(super) generation: u32,
    pub(super) origin: usize,
    /// Which of the origin's addresses.
    pub(super) address: usize,
    /// How many of them were tried.
    pub(super) tried: usize,
    pub(super) reply: Reply,
    pub(super) codec: Codec,
    /// Answers that came over it.
    pub(super) served: u32,
    pub(super) begun: Instant,
    pub(super) tls: Option<Box<rustls::ClientConnection>>,
    fd: Option<OwnedFd>,
    waiting: Vec<u8>,
    written: usize,
}

impl Link {
    pub(super) fn new(now: Instant) -> Link {
        Link {
            stage: Stage::Down,
            generation: 0,
            origin: 0,
            address: 0,
            tried: 0,
            reply: Reply::default(),
            codec: Codec::Http1,
            served: 0,
            begun: now,
            tls: None,
            fd: None,
            waiting: Vec::new(),
            written: 0,
        }
    }

    pub(super) fn fd(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }

    /// A new socket.
    pub(super) fn attach(&mut self, fd: OwnedFd, now: Instant) {
        self.fd = Some(fd);
        self.stage = Stage::Connecting;
        self.served = 0;
        self.begun = now;
    }

    /// Closes it, whatever is under way.
    pub(super) fn close(&mut self) {
        self.fd = None;
        self.tls = None;
        self.codec = Codec::Http1;
        self.stage = Stage::Down;
        self.generation = self.generation.wrapping_add(1);
        self.waiting = Vec::new();
        self.written = 0;
    }

    /// Reads once; nothing there is [`io::ErrorKind::WouldBlock`].
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(fd) = &self.fd else { return Err(io::ErrorKind::NotConnected.into()) };
        loop {
            match recv(fd, &mut *buffer, RecvFlags::empty()) {
                Ok((read, _)) => return Ok(read),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends, encrypted where TLS is spoken; what the socket does not take now is sent later.
    pub(super) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.tls.is_none() {
            return self.put(bytes);
        }
        let mut rest = bytes;
        while let (false, Some(tls)) = (rest.is_empty(), &mut self.tls) {
            // It takes no more than its buffer holds.
            let taken = tls.writer().write(rest)?;
            rest = &rest[taken..];
            self.pump()?;
        }
        Ok(())
    }

    /// Sends what TLS has to send.
    pub(super) fn pump(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut sealed = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut sealed)?;
        }
        self.put(&sealed)
    }

    /// Gives bytes from the socket to TLS.
    pub(super) fn unseal(&mut self, mut sealed: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while !sealed.is_empty() {
            if tls.read_tls(&mut sealed)? == 0 {
                break;
            }
            let state = tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let have = plain.len();
            plain.resize(have + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut plain[have..])?;
        }
        self.pump()
    }

    /// Writes to the socket, or keeps it for later.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        if self.waiting.is_empty() {
            while !rest.is_empty() {
                match self.write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        if self.waiting.len() + rest.len() > MOST_WAITING {
            return Err(io::Error::other("more than 64 MiB wait to be sent"));
        }
        self.waiting.extend_from_slice(rest);
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(fd) = &self.fd else { return Err(io::ErrorKind::NotConnected.into()) };
        loop {
            match send(fd, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return other.map_err(io::Error::from),
            }
        }
    }

    /// The socket takes more.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.waiting.len() {
            match self.write(&self.waiting[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.written > 0 {
            self.waiting = Vec::new();
            self.written = 0;
        }
        Ok(())
    }
}
