//! Listening sockets: TCP, UDP and unix, SO_REUSEPORT groups and what their queues hold.
//!
//! Everything here is non-blocking and close-on-exec. Who listens where, and who gets a connection, is the caller's.
//!
//! - [`tcp`], [`udp`]: bound sockets with the options that Node and systemd expect.
//! - [`unix`]: socket files, also with paths longer than `sun_path`, also where a dead server left one.
//! - [`reuseport`]: the order of a group's members and the program that chooses among them.
//!
//! ```
//! use musher_process::net::{self, tcp};
//! use std::net::{TcpListener, TcpStream};
//!
//! let socket = tcp::bind_any(0, tcp::Membership::Alone)?;
//! net::listen(&socket, 511)?;
//! let client = TcpStream::connect(("127.0.0.1", net::local_address(&socket)?.port()))?;
//! let listener = TcpListener::from(socket);
//! listener.set_nonblocking(false)?;
//! let (connection, _address) = listener.accept()?;
//! # Ok::<(), std::io::Error>(())
//! ```

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

/// Makes a bound stream socket listen. `backlog`, the most connections that may wait, is capped by net.core.somaxconn.
///
/// ```
/// use musher_process::net::{self, tcp};
///
/// let socket = tcp::bind("127.0.0.1:0".parse()?, false, tcp::Membership::Alone)?;
/// net::listen(&socket, 511)?;
/// std::net::TcpStream::connect(net::local_address(&socket)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn listen(socket: impl AsFd, backlog: u32) -> io::Result<()> {
    Ok(rustix::net::listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX))?)
}

/// Takes one connection, non-blocking and close-on-exec; `None` when none waits. A connection that died in the queue
/// is skipped.
///
/// ```
/// use musher_process::net::{self, unix};
/// use std::os::unix::net::UnixStream;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("socket");
/// let (socket, _file) = unix::bind(&path, unix::Access::default())?;
/// net::listen(&socket, 511)?;
/// assert!(net::accept(&socket)?.is_none());
/// let client = UnixStream::connect(&path)?;
/// let connection = UnixStream::from(net::accept(&socket)?.ok_or(std::io::ErrorKind::WouldBlock)?);
/// # Ok::<(), std::io::Error>(())
/// ```
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
///
/// ```
/// use musher_process::net::{self, unix};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("socket");
/// let (socket, _file) = unix::bind(&path, unix::Access::default())?;
/// net::listen(&socket, 511)?;
/// let client = std::os::unix::net::UnixStream::connect(&path)?;
/// assert!(net::has_connection(&socket));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn has_connection(listener: impl AsFd) -> bool {
    let mut waits = [PollFd::new(&listener, PollFlags::IN)];
    rustix::event::poll(&mut waits, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// The IP address a socket is bound to; an error for sockets of other families.
///
/// ```
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// assert_eq!(musher_process::net::local_address(&listener)?, listener.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an IP socket"))
}

/// What kind of socket this is, by its own word; an error for what is no socket.
///
/// ```
/// use musher_process::net::{Kind, kind};
///
/// assert_eq!(kind(std::net::UdpSocket::bind("127.0.0.1:0")?)?, Kind::Udp);
/// assert!(kind(std::io::stdin()).is_err() || kind(std::io::stdin())? != Kind::Udp);
/// # Ok::<(), std::io::Error>(())
/// ```
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

/// What kind of socket a descriptor is, as [`kind`] tells.
///
/// ```
/// use musher_process::net::{Kind, kind};
///
/// let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
/// assert_eq!(kind(&ours)?, Kind::Unix);
/// # Ok::<(), std::io::Error>(())
/// ```
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
///
/// ```
/// let (mut reading, writing) = std::io::pipe()?;
/// musher_process::net::set_nonblocking(&reading)?;
/// let error = std::io::Read::read(&mut reading, &mut [0]).unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    Ok(rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// Stops listening at once, for every process that has the socket. What waits in its queue is reset.
///
/// ```
/// use musher_process::net::{self, tcp};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// net::shutdown(&listener)?;
/// assert!(!tcp::listen_state(&listener)?.listening);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn shutdown(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Both)?)
}
