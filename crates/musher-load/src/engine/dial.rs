//! Making connections: names to addresses, sockets, and what this machine has to offer (descriptors, ports).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::url::Url;

/// Somewhere to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// A socket that is being connected.
pub(super) enum Dialled {
    /// It is.
    Connected(OwnedFd),
    /// It tells when it is.
    Underway(OwnedFd),
    /// The queue of a unix socket is full: again, later.
    Later,
}

/// Addresses of a host.
///
/// # Errors
///
/// When there are none.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<Address>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![Address::Tcp((ip, port).into())]);
    }
    let mut found: Vec<Address> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if !found.contains(&Address::Tcp(address)) {
            found.push(Address::Tcp(address));
        }
    }
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

/// Whether an address is one that only its owner's own network reaches.
#[must_use]
pub fn is_private(address: &Address) -> bool {
    let Address::Tcp(address) = address else { return true };
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

/// Whether two URLs are the same place to connect to.
pub(super) fn same_place(one: &Url, other: &Url) -> bool {
    one.same_origin(other)
}

/// Begins a connection.
pub(super) fn dial(address: &Address) -> io::Result<Dialled> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (fd, outcome) = match address {
        Address::Tcp(address) => {
            let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
            let fd = socket_with(family, SocketType::STREAM, flags, None)?;
            sockopt::set_tcp_nodelay(&fd, true)?;
            let outcome = connect(&fd, address);
            (fd, outcome)
        }
        Address::Unix(path) => {
            let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let outcome = connect(&fd, &SocketAddrUnix::new(path)?);
            (fd, outcome)
        }
    };
    match outcome {
        Ok(()) => Ok(Dialled::Connected(fd)),
        Err(Errno::INPROGRESS) => Ok(Dialled::Underway(fd)),
        Err(Errno::AGAIN) if matches!(address, Address::Unix(_)) => Ok(Dialled::Later),
        Err(error) => Err(error.into()),
    }
}

/// What became of a connection that was under way.
pub(super) fn outcome(fd: &OwnedFd) -> io::Result<()> {
    sockopt::socket_error(fd)?.map_err(io::Error::from)
}

/// Whether an error is this machine's own want of something.
pub(super) fn is_local(error: &io::Error) -> bool {
    let wants =
        [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::PERM, Errno::ACCESS];
    error.raw_os_error().is_some_and(|code| wants.iter().any(|want| want.raw_os_error() == code))
}

/// How many local ports there are for connections to one address.
#[must_use]
pub fn local_ports() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = text.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
    match (bounds.next(), bounds.next()) {
        (Some(low), Some(high)) if high >= low => high - low + 1,
        _ => 28_232,
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, is_private, resolve};

    #[test]
    fn only_public_addresses_need_consent() {
        for (text, private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("192.168.0.1", true),
            ("172.20.0.1", true),
            ("169.254.1.1", true),
            ("100.64.0.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("::ffff:10.0.0.1", true),
            ("::ffff:8.8.8.8", false),
            ("8.8.8.8", false),
            ("172.32.0.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(&resolve(text, 80).unwrap()[0]), private, "{text}");
        }
        assert!(is_private(&Address::Unix("/x".into())));
    }
}
