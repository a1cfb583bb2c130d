//! Listening sockets: TCP, UDP and unix, SO_REUSEPORT groups and what their queues hold.
//!
//! Everything here is non-blocking and close-on-exec. Who listens where, and who gets a connection, is the caller's.
//!
//! - [`tcp`], [`udp`]: bound sockets with the options that Node and systemd expect.
//! - [`unix`]: socket files, also with paths longer than `sun_path`, also where a dead server left one.
//! - [`reuseport`]: the order of a group's members and the program that chooses among them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SocketFlags, SocketType};

pub mod reuseport;
pub mod tcp;
pub mod udp;
pub mod unix;

/// Flags of every socket that is opened here.
const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Makes a bound stream socket listen. `backlog` is capped by net.core.somaxconn.
pub fn listen(socket: impl AsFd, backlog: u32) -> io::Result<()> {
    Ok(rustix::net::listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX))?)
}

/// Takes one connection; `None` when none waits. A connection that died in the queue is skipped.
pub fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    loop {
        match rustix::net::accept_with(&listener, FLAGS) {
            Ok(connection) => return Ok(Some(connection)),
            // The loop ends: each failure takes one connection off the queue (accept(2)).
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED | rustix::io::Errno::PROTO) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a connection waits to be accepted.
pub fn has_connection(listener: impl AsFd) -> bool {
    let mut waits = [PollFd::new(&listener, PollFlags::IN)];
    rustix::event::poll(&mut waits, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// The IP address a socket is bound to; an error for sockets of other families.
pub fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an IP socket"))
}

/// What kind of socket this is, by its own word; an error for what is no socket.
pub fn kind(socket: impl AsFd) -> io::Result<Kind> {
    let domain = rustix::net::sockopt::socket_domain(&socket)?;
    let socket_type = rustix::net::sockopt::socket_type(&socket)?;
    let ip = domain == rustix::net::AddressFamily::INET || domain == rustix::net::AddressFamily::INET6;
    Ok(match socket_type {
        SocketType::STREAM if ip => Kind::Tcp,
        SocketType::DGRAM if ip => Kind::Udp,
        SocketType::STREAM if domain == rustix::net::AddressFamily::UNIX => Kind::Unix,
        _ => Kind::Other,
    })
}

/// What kind of socket a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP over IPv4 or IPv6.
    Udp,
    /// A unix stream socket.
    Unix,
    /// Any other.
    Other,
}

/// Sets O_NONBLOCK. The flag belongs to the open file description, so every process that has the socket shares it.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    Ok(rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// Stops listening at once, for every process that has the socket. What waits in its queue is reset.
pub fn shutdown(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Both)?)
}
