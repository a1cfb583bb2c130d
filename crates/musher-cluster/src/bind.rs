//! What a group listens on: from a worker's question to sockets, and back to words.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use musher_process::net::{self, tcp, udp, unix};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cluster::Listens;
use crate::message::{AddressType, Identity, Query};

/// libuv's flags in a query.
const IPV6_ONLY: u64 = 1;
const REUSE_ADDRESS: u64 = 4;
/// The number of the first descriptor that an app's `listen` entries have.
const FIRST_INHERITED: i64 = 3;
/// Node's default length of an accept queue.
pub(crate) const BACKLOG: u32 = 511;

/// Where a group listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bind {
    /// TCP; without an address all of them. The port is filled in when the first socket is bound.
    Tcp { address: Option<SocketAddr>, port: u16, v6_only: bool },
    /// UDP.
    Udp { address: SocketAddr, v6_only: bool, reuse_address: bool },
    /// A unix socket.
    Unix { path: PathBuf, readable_all: bool, writable_all: bool },
    /// The n-th socket of the app's `listen` entries, or the descriptor with that number of this process.
    Inherited { index: usize },
}

/// Why a worker is not given a socket: an errno of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) i32);

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal(errno.raw_os_error())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal(error.raw_os_error().unwrap_or_else(|| Errno::INVAL.raw_os_error()))
    }
}

impl Bind {
    /// What a query asks for.
    pub(crate) fn of(query: &Query) -> Result<Bind, Refusal> {
        let asked = &query.identity;
        if let Some(fd) = asked.fd {
            let index = usize::try_from(fd - FIRST_INHERITED).map_err(|_| Errno::BADF)?;
            return Ok(Bind::Inherited { index });
        }
        let port = || asked.port.and_then(|port| u16::try_from(port).ok()).ok_or(Errno::INVAL);
        let v6_only = query.flags & IPV6_ONLY != 0;
        match (asked.family, asked.address.as_deref()) {
            (AddressType::Tcp4 | AddressType::Tcp6, None) => Ok(Bind::Tcp { address: None, port: port()?, v6_only }),
            (AddressType::Tcp4 | AddressType::Tcp6, Some(address)) => {
                let port = port()?;
                Ok(Bind::Tcp { address: Some(literal(address, port)?), port, v6_only })
            }
            (AddressType::Udp4 | AddressType::Udp6, address) => {
                let any = if asked.family == AddressType::Udp4 { "0.0.0.0" } else { "::" };
                let address = literal(address.filter(|text| !text.is_empty()).unwrap_or(any), port()?)?;
                Ok(Bind::Udp { address, v6_only, reuse_address: query.flags & REUSE_ADDRESS != 0 })
            }
            (AddressType::Unix, Some(path)) if path.starts_with('/') || path.starts_with('\0') => {
                // Node makes a path of an abstract name as if it were a file's: `/where/it/runs/\0name`.
                let path = path.find('\0').map_or(path, |nul| &path[nul..]);
                Ok(Bind::Unix { path: path.into(), readable_all: query.readable_all, writable_all: query.writable_all })
            }
            (AddressType::Unix | AddressType::None, _) => Err(Errno::INVAL.into()),
        }
    }

    /// The question for the socket with this index.
    pub(crate) fn inherited(index: usize) -> Identity {
        let fd = i64::try_from(index).ok().map(|index| FIRST_INHERITED + index);
        Identity { fd, ..Identity::default() }
    }

    /// Which of the sockets that were given is bound to what is asked for already: that one is meant.
    pub(crate) fn among(&self, inherited: &[OwnedFd]) -> Option<usize> {
        let at = |socket: &OwnedFd, kind: net::Kind, wanted: SocketAddr| {
            net::kind(socket).is_ok_and(|found| found == kind)
                && net::local_address(socket).is_ok_and(|address| address == wanted && address.port() != 0)
        };
        inherited.iter().position(|socket| match self {
            Bind::Tcp { address: Some(address), .. } => at(socket, net::Kind::Tcp, *address),
            Bind::Tcp { address: None, port, .. } => {
                let any: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), std::net::Ipv4Addr::UNSPECIFIED.into()];
                any.into_iter().any(|ip| at(socket, net::Kind::Tcp, (ip, *port).into()))
            }
            Bind::Udp { address, .. } => at(socket, net::Kind::Udp, *address),
            Bind::Unix { path, .. } => net::unix::path_of(socket).is_some_and(|bound| bound == *path),
            Bind::Inherited { .. } => false,
        })
    }

    /// Opens a TCP socket and makes it listen after `before` has seen it. Fills in the address that it got.
    pub(crate) fn open_tcp(
        &mut self,
        membership: tcp::Membership,
        backlog: u32,
        before: impl FnOnce(&OwnedFd),
    ) -> Result<OwnedFd, Refusal> {
        let Bind::Tcp { address, port, v6_only } = self else { return Err(Errno::INVAL.into()) };
        let socket = match address {
            Some(address) => tcp::bind(*address, *v6_only, membership)?,
            None => tcp::bind_any(*port, membership)?,
        };
        before(&socket);
        net::listen(&socket, backlog)?;
        let bound = net::local_address(&socket)?;
        *port = bound.port();
        // Later sockets of the group are for the very same address.
        *address = Some(address.map_or(bound, |mut asked| {
            asked.set_port(bound.port());
            asked
        }));
        Ok(socket)
    }

    /// Opens the one socket of a group that shares it. `before` sees it before it listens.
    pub(crate) fn open_shared(
        &mut self,
        backlog: u32,
        listens: &Listens,
        before: impl FnOnce(&OwnedFd),
    ) -> Result<(OwnedFd, Option<unix::SocketFile>), Refusal> {
        match self {
            Bind::Tcp { .. } => Ok((self.open_tcp(tcp::Membership::Alone, backlog, before)?, None)),
            Bind::Udp { address, v6_only, reuse_address } => {
                let socket = udp::bind(*address, *v6_only, *reuse_address)?;
                before(&socket);
                address.set_port(net::local_address(&socket)?.port());
                Ok((socket, None))
            }
            Bind::Unix { path, readable_all, writable_all } => {
                let access = unix::Access { readable_all: *readable_all, writable_all: *writable_all };
                // As libuv has it: a directory that is not there is a lack of access.
                let (socket, file) = unix::bind(path, access).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => Refusal::from(Errno::ACCESS),
                    _ => Refusal::from(error),
                })?;
                before(&socket);
                if let Err(error) = net::listen(&socket, backlog) {
                    let _ = file.map(|file| file.remove());
                    return Err(error.into());
                }
                Ok((socket, file))
            }
            Bind::Inherited { index } => {
                let socket = given(listens, *index)?;
                net::set_nonblocking(&socket)?;
                let is_stream = matches!(net::kind(&socket)?, net::Kind::Tcp | net::Kind::Unix);
                if is_stream && !rustix::net::sockopt::socket_acceptconn(&socket)? {
                    net::listen(&socket, backlog)?;
                }
                before(&socket);
                Ok((socket, None))
            }
        }
    }

    /// Whether both cannot be bound at a time, or perhaps cannot.
    pub(crate) fn is_in_the_way(&self, of: &Bind) -> bool {
        match (self, of) {
            (Bind::Tcp { port, .. }, Bind::Tcp { port: other, .. }) => port == other,
            (Bind::Udp { address, .. }, Bind::Udp { address: other, .. }) => address.port() == other.port(),
            (Bind::Unix { path, .. }, Bind::Unix { path: other, .. }) => path == other,
            (Bind::Tcp { .. } | Bind::Udp { .. } | Bind::Unix { .. } | Bind::Inherited { .. }, _) => false,
        }
    }

    /// Whether each slot can have a socket of its own.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self, Bind::Tcp { .. })
    }

    /// The address in words: `127.0.0.1:80`, `[::]:80` or a path.
    pub(crate) fn words(&self) -> String {
        match self {
            Bind::Tcp { address: Some(address), .. } => address.to_string(),
            Bind::Tcp { address: None, port, .. } => SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port)).to_string(),
            Bind::Udp { address, .. } => format!("udp://{address}"),
            Bind::Unix { path, .. } => path.to_string_lossy().replace('\0', "@"),
            Bind::Inherited { index } => format!("listen[{index}]"),
        }
    }
}

/// A duplicate of what a worker names by its number.
pub(crate) fn given(listens: &Listens, index: usize) -> Result<OwnedFd, Errno> {
    match listens.inherited.get(index) {
        Some(socket) => rustix::io::fcntl_dupfd_cloexec(socket, 0),
        None if listens.own => own(index),
        None => Err(Errno::BADF),
    }
}

/// A duplicate of a socket of this process. What has a peer is nothing to listen on.
fn own(index: usize) -> Result<OwnedFd, Errno> {
    let number = i64::try_from(index).ok().and_then(|index| i32::try_from(FIRST_INHERITED + index).ok());
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::BADF);
    let socket = musher_process::inherit::duplicate(number.ok_or(Errno::BADF)?).map_err(errno)?;
    match net::kind(&socket).map_err(errno)? {
        net::Kind::Tcp | net::Kind::Unix | net::Kind::Udp if rustix::net::getpeername(&socket).is_err() => Ok(socket),
        _ => Err(Errno::INVAL),
    }
}

/// The address of a socket in words, for those whose `Bind` does not tell.
pub(crate) fn words_of(socket: impl AsFd) -> Option<String> {
    net::local_address(socket).ok().map(|address| address.to_string())
}

/// A literal IP address, also with a scope as in `fe80::1%eth0`.
fn literal(text: &str, port: u16) -> Result<SocketAddr, Refusal> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok((ip, port).into());
    }
    let (ip, scope) = text.split_once('%').ok_or(Errno::INVAL)?;
    let ip: Ipv6Addr = ip.parse().map_err(|_| Errno::INVAL)?;
    let scope = match scope.parse() {
        Ok(index) => index,
        Err(_) => interface(scope)?,
    };
    Ok(SocketAddrV6::new(ip, port, 0, scope).into())
}

fn interface(name: &str) -> Result<u32, Errno> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    rustix::net::netdevice::name_to_index(&socket, name)
}

#[cfg(test)]
mod tests {
    use super::{Bind, Refusal, literal};
    use crate::message::{AddressType, Identity, Query};

    #[test]
    fn questions_become_addresses() {
        let query = |family, address: Option<&str>, port| Identity {
            family,
            address: address.map(Into::into),
            port: Some(port),
            ..Identity::default()
        };
        let table = [
            (query(AddressType::Tcp4, None, 80), Ok("[::]:80")),
            (query(AddressType::Tcp4, Some("127.0.0.1"), 80), Ok("127.0.0.1:80")),
            (query(AddressType::Tcp6, Some("::1"), 80), Ok("[::1]:80")),
            (query(AddressType::Tcp6, Some("fe80::1%7"), 80), Ok("[fe80::1%7]:80")),
            (query(AddressType::Udp4, None, 53), Ok("udp://0.0.0.0:53")),
            (query(AddressType::Udp6, Some(""), 53), Ok("udp://[::]:53")),
            (query(AddressType::Unix, Some("/x/y"), -1), Ok("/x/y")),
            (query(AddressType::Unix, Some("\0x"), -1), Ok("@x")),
            (query(AddressType::Unix, Some("/srv/app/\0x/y"), -1), Ok("@x/y")),
            (query(AddressType::Unix, Some("relative"), -1), Err(22)),
            (query(AddressType::Tcp4, Some("localhost"), 80), Err(22)),
            (query(AddressType::Tcp4, None, 65536), Err(22)),
            (query(AddressType::Tcp4, None, -1), Err(22)),
            (query(AddressType::None, None, 0), Err(22)),
            (Identity { fd: Some(4), ..Identity::default() }, Ok("listen[1]")),
            (Identity { fd: Some(2), ..Identity::default() }, Err(9)),
        ];
        for (identity, expected) in table {
            let query = Query { identity, ..Query::default() };
            let expected = expected.map(str::to_owned).map_err(Refusal);
            assert_eq!(Bind::of(&query).map(|bind| bind.words()), expected, "{query:?}");
        }
        assert_eq!(literal("::1%no-such-interface", 1), Err(Refusal(19)));
    }
}
