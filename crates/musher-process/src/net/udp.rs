//! UDP sockets.
//!
//! ```
//! use musher_process::net::udp;
//! use std::net::UdpSocket;
//!
//! let ours = UdpSocket::from(udp::bind(([127, 0, 0, 1], 0).into(), false, false)?);
//! UdpSocket::bind("127.0.0.1:0")?.send_to(b"hello", ours.local_addr()?)?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

/// A bound socket, non-blocking. `v6_only`: an IPv6 address takes no IPv4 packets. `reuse_address` lets several
/// sockets have the address (multicast; Node's `reuseAddr`); else one that is taken is an `EADDRINUSE`.
///
/// ```
/// use musher_process::net::udp;
/// use std::net::UdpSocket;
///
/// let socket = UdpSocket::from(udp::bind("127.0.0.1:0".parse()?, false, false)?);
/// let taken = udp::bind(socket.local_addr()?, false, false).unwrap_err();
/// assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bind(address: SocketAddr, v6_only: bool, reuse_address: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, super::FLAGS, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, v6_only)?;
    }
    if reuse_address {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}
