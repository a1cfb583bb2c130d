//! Sockets that go with messages of programs, between the cluster thread and whoever runs it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use musher_process::net::{self, Kind};

use crate::message;

/// A socket that is sent with a message, or came with one.
#[derive(Clone, Debug)]
pub struct Passed {
    socket: Arc<OwnedFd>,
    /// What the peer is to make of it, by Node's name; else what it is.
    kind: Option<&'static str>,
}

impl Passed {
    /// A socket that the peer makes this of: `net.Server`, `net.Socket`, `dgram.Socket`, ...
    pub fn new(socket: Arc<OwnedFd>, kind: &'static str) -> Passed {
        Passed { socket, kind: Some(kind) }
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// Whether it listens.
    pub fn listens(&self) -> bool {
        rustix::net::sockopt::socket_acceptconn(&self.socket).unwrap_or(false)
    }

    /// The message that it rides on: `text` is the program's.
    pub(crate) fn wrap(&self, text: &str) -> io::Result<String> {
        let found = net::kind(&self.socket)?;
        let name = match (self.kind, found) {
            (None | Some("dgram.Socket"), Kind::Udp) => {
                let family = if net::local_address(&self.socket)?.is_ipv6() { "udp6" } else { "udp4" };
                return Ok(format!(
                    r#"{{"cmd":"NODE_HANDLE","type":"dgram.Socket","dgramType":"{family}","msg":{text}}}"#
                ));
            }
            (_, Kind::Other) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "only sockets can be sent with a message"));
            }
            (Some(name), Kind::Tcp | Kind::Unix | Kind::Udp) => name,
            (None, Kind::Tcp | Kind::Unix) if self.listens() => "net.Server",
            (None, Kind::Tcp | Kind::Unix) => "net.Socket",
        };
        Ok(message::with_handle(name, text))
    }
}

impl PartialEq for Passed {
    fn eq(&self, other: &Passed) -> bool {
        Arc::ptr_eq(&self.socket, &other.socket)
    }
}

impl From<OwnedFd> for Passed {
    fn from(socket: OwnedFd) -> Passed {
        Passed { socket: Arc::new(socket), kind: None }
    }
}

impl AsFd for Passed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
