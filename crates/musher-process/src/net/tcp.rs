//! TCP listeners.
//!
//! ```
//! use musher_process::net::{self, tcp};
//!
//! let socket = tcp::bind(([127, 0, 0, 1], 0).into(), false, tcp::Membership::Alone)?;
//! net::listen(&socket, 511)?;
//! println!("at {}", net::local_address(&socket)?);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::sys;

/// How a socket stands to a SO_REUSEPORT group.
///
/// ```
/// use musher_process::net::{self, tcp, tcp::Membership};
///
/// let first = tcp::bind("127.0.0.1:0".parse()?, false, Membership::Founds)?;
/// let address = net::local_address(&first)?;
/// let second = tcp::bind(address, false, Membership::Joins)?;
/// for socket in [&first, &second] {
///     net::listen(socket, 511)?;
/// }
/// assert!(tcp::bind(address, false, Membership::Alone).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is the only one of its address.
    Alone,
    /// It founds a group. It is bound before it gets the option: so a port that somebody else holds, with the option or
    /// without, is an `EADDRINUSE` and never shared by accident.
    Founds,
    /// It joins the group of a socket that founded one.
    Joins,
}

/// A bound socket, not yet listening: see [`listen`](super::listen). Port 0 is any free one. `v6_only`: an IPv6
/// address takes no IPv4 connections (Node's `ipv6Only`).
///
/// # Errors
///
/// `EADDRINUSE`, `EADDRNOTAVAIL`, and `EACCES` for ports below 1024.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::net::{self, tcp};
///
/// let socket = tcp::bind("127.0.0.1:0".parse()?, false, tcp::Membership::Alone)?;
/// net::listen(&socket, 511)?;
/// let listener = tokio::net::TcpListener::from_std(socket.into())?;
/// # Ok(())
/// # }
/// ```
pub fn bind(address: SocketAddr, v6_only: bool, membership: Membership) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, super::FLAGS, None)?;
    // As Node and most servers do: connections in TIME_WAIT do not block the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, v6_only)?;
    }
    if membership == Membership::Joins {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if membership == Membership::Founds {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    Ok(socket)
}

/// All addresses: `::` for IPv4 and IPv6 together, or `0.0.0.0` where there is no IPv6. What Node does without a host.
///
/// ```
/// use musher_process::net::{self, tcp};
///
/// let socket = tcp::bind_any(0, tcp::Membership::Alone)?;
/// net::listen(&socket, 511)?;
/// std::net::TcpStream::connect(("127.0.0.1", net::local_address(&socket)?.port()))?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn bind_any(port: u16, membership: Membership) -> io::Result<OwnedFd> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into(), false, membership) {
        Err(error) if no_such_family(&error) => bind((Ipv4Addr::UNSPECIFIED, port).into(), false, membership),
        result => result,
    }
}

fn no_such_family(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT, Errno::INVAL]
        .iter()
        .any(|errno| Some(errno.raw_os_error()) == code)
}

/// Lets a listening socket take no new connections. What is on its way already, or waits, can still be accepted. For all
/// duplicates of the socket, and for good.
///
/// The first packet of a new connection is dropped, as if it had been lost on its way, so that the client sends it again,
/// later, and is not refused before the socket is closed. Kernels of today let only CAP_NET_ADMIN filter the packets of a
/// TCP socket: for others new connections are refused from now on, by a network interface that does not exist, which the
/// kernel lets everybody give to a socket that has none.
///
/// ```
/// use musher_process::net::tcp;
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let early = std::net::TcpStream::connect(listener.local_addr()?)?;
/// tcp::take_no_more(&listener)?;
/// assert_eq!(listener.accept()?.1, early.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn take_no_more(socket: impl AsFd) -> io::Result<()> {
    // The data begins with the TCP header; SYN (2) without ACK (16) in its byte 13 is the first packet.
    let program = [
        sys::net::Instruction { code: 0x30, jump_true: 0, jump_false: 0, value: 13 },
        sys::net::Instruction { code: 0x54, jump_true: 0, jump_false: 0, value: 0x12 },
        sys::net::Instruction { code: 0x15, jump_true: 0, jump_false: 1, value: 0x02 },
        sys::net::Instruction { code: 0x06, jump_true: 0, jump_false: 0, value: 0 },
        sys::net::Instruction { code: 0x06, jump_true: 0, jump_false: 0, value: u32::MAX },
    ];
    sys::net::attach_filter(socket.as_fd(), &program)
        .or_else(|_| sys::net::bind_to_interface(socket.as_fd(), NO_INTERFACE))
}

/// The kernel gives out small numbers, from 1.
const NO_INTERFACE: i32 = i32::MAX;

/// What the kernel says of a listening socket: [`listen_state`].
///
/// ```
/// use musher_process::net::tcp::{ListenState, listen_state};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let ListenState { queued, backlog, .. } = listen_state(&listener)?;
/// println!("{queued} of {backlog} wait");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenState {
    /// Whether it listens. A worker that calls shutdown(2) on its copy ends it for everybody.
    pub listening: bool,
    /// Connections that wait to be accepted.
    pub queued: u32,
    /// The most that may wait.
    pub backlog: u32,
}

/// Asks for the state of a TCP socket. Takes less than a microsecond.
///
/// ```
/// use musher_process::net::{self, tcp};
///
/// let socket = tcp::bind("127.0.0.1:0".parse()?, false, tcp::Membership::Alone)?;
/// assert!(!tcp::listen_state(&socket)?.listening);
/// net::listen(&socket, 7)?;
/// let state = tcp::listen_state(&socket)?;
/// assert_eq!((state.listening, state.backlog), (true, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn listen_state(socket: impl AsFd) -> io::Result<ListenState> {
    /// `TCP_LISTEN` of net/tcp_states.h.
    const LISTEN: u8 = 10;
    let (state, unacked, sacked) = sys::net::tcp_info(socket.as_fd())?;
    let listening = state == LISTEN;
    Ok(ListenState { listening, queued: if listening { unacked } else { 0 }, backlog: sacked })
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::os::fd::AsFd;

    use super::{Membership, bind, bind_any, listen_state};
    use crate::net;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    /// How a client fails that comes after `stops` was done to a socket; one that came before is accepted.
    fn late(stops: impl Fn(&std::os::fd::OwnedFd)) -> std::io::ErrorKind {
        let socket = bind(loopback(), false, Membership::Alone).unwrap();
        net::listen(&socket, 16).unwrap();
        let address = net::local_address(&socket).unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        stops(&socket);
        let late = TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300));
        let listener = std::net::TcpListener::from(socket);
        assert_eq!(listener.accept().unwrap().1, waiting.local_addr().unwrap());
        late.unwrap_err().kind()
    }

    #[test]
    fn one_that_takes_no_more_still_gives_what_waits() {
        let kind = late(|socket| super::take_no_more(socket).unwrap());
        let root = rustix::process::geteuid().is_root();
        assert!(kind == ErrorKind::TimedOut || kind == ErrorKind::ConnectionRefused && !root, "{kind}");
    }

    #[test]
    fn without_the_right_to_filter_late_ones_are_refused() {
        let kind = late(|socket| crate::sys::net::bind_to_interface(socket.as_fd(), super::NO_INTERFACE).unwrap());
        assert_eq!(kind, ErrorKind::ConnectionRefused);
    }

    #[test]
    fn the_queue_is_seen_and_accepted() {
        let listener = bind(loopback(), false, Membership::Alone).unwrap();
        assert!(!listen_state(&listener).unwrap().listening);
        net::listen(&listener, 7).unwrap();
        let state = listen_state(&listener).unwrap();
        assert_eq!((state.listening, state.queued, state.backlog), (true, 0, 7));
        assert!(net::accept(&listener).unwrap().is_none());
        let client = TcpStream::connect(net::local_address(&listener).unwrap()).unwrap();
        assert_eq!(listen_state(&listener).unwrap().queued, 1);
        let accepted = net::accept(&listener).unwrap().unwrap();
        assert_eq!(net::kind(&accepted).unwrap(), net::Kind::Tcp);
        drop(client);
        net::shutdown(&listener).unwrap();
        assert!(!listen_state(&listener).unwrap().listening);
    }

    #[test]
    fn a_second_founder_finds_the_port_taken_and_a_joiner_does_not() {
        let first = bind(loopback(), false, Membership::Founds).unwrap();
        net::listen(&first, 7).unwrap();
        let address = net::local_address(&first).unwrap();
        let founded = bind(address, false, Membership::Founds).and_then(|second| net::listen(&second, 7));
        assert_eq!(founded.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        let second = bind(address, false, Membership::Joins).unwrap();
        net::listen(&second, 7).unwrap();
    }

    #[test]
    fn any_address_takes_both_families_where_there_are_both() {
        let listener = bind_any(0, Membership::Alone).unwrap();
        net::listen(&listener, 7).unwrap();
        let address = net::local_address(&listener).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
    }
}
