//! Sockets and pipes that go over a channel.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use super::sockets::Open;
use crate::net;

/// A socket or pipe that goes over a channel with a message.
///
/// Make it from a listener, connection or UDP socket of `std` or tokio, or with [`native`](Handle::native); get such a
/// thing back with [`into_tcp_stream`](Handle::into_tcp_stream) and its siblings. A clone is the same open socket.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::ipc::{Channel, Handle, Options};
///
/// let (mut ours, theirs) = Channel::pair(Options::default())?;
/// let theirs = Channel::from_fd(theirs, Options::default())?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// theirs.sender.send_handle(&"server", Handle::from(listener)).await?;
/// let message = ours.recv().await.ok_or("no message")?;
/// let listener = message.handle.ok_or("no handle")?.into_tcp_listener()?;
/// assert_eq!(listener.local_addr()?, address);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    kind: HandleKind,
    fd: Arc<OwnedFd>,
    key: Option<String>,
    open: Option<Arc<Open>>,
}

/// What a peer makes of a [`Handle`]: the `type` that goes with it.
///
/// ```
/// use musher_process::ipc::{Handle, HandleKind};
///
/// let server = Handle::from(std::net::TcpListener::bind("127.0.0.1:0")?);
/// assert_eq!(server.kind(), HandleKind::NetServer);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandleKind {
    /// `net.Server`: a listener, which the receiver accepts from.
    NetServer,
    /// `net.Socket`: a connection.
    NetSocket,
    /// `net.Native`: a TCP socket or pipe without a wrapper. What Node's `cluster` sends.
    NetNative,
    /// `dgram.Socket`: a UDP socket.
    DgramSocket,
    /// `dgram.Native`: a UDP socket without a wrapper. What Node's `cluster` sends.
    DgramNative,
}

/// A handle is not what it was to become: it is in here, unharmed.
///
/// ```
/// use musher_process::ipc::Handle;
///
/// let handle = Handle::from(std::net::UdpSocket::bind("127.0.0.1:0")?);
/// let error = handle.into_tcp_listener().unwrap_err();
/// assert_eq!(error.to_string(), "the handle is Udp, sent as dgram.Socket");
/// assert!(error.handle.into_udp_socket().is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("the handle is {what}")]
pub struct WrongHandle {
    /// What it is.
    pub what: String,
    /// The handle.
    pub handle: Handle,
}

impl HandleKind {
    const ALL: [HandleKind; 5] = [
        HandleKind::NetServer,
        HandleKind::NetSocket,
        HandleKind::NetNative,
        HandleKind::DgramSocket,
        HandleKind::DgramNative,
    ];

    /// Node's name of it.
    ///
    /// ```
    /// assert_eq!(musher_process::ipc::HandleKind::NetServer.name(), "net.Server");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HandleKind::NetServer => "net.Server",
            HandleKind::NetSocket => "net.Socket",
            HandleKind::NetNative => "net.Native",
            HandleKind::DgramSocket => "dgram.Socket",
            HandleKind::DgramNative => "dgram.Native",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<HandleKind> {
        HandleKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Handle {
    /// A TCP or unix socket or a pipe as `net.Native`: in Node an object with `onconnection` and such, which
    /// `server.listen(handle)` and `new net.Socket({handle})` take.
    ///
    /// ```
    /// use musher_process::ipc::{Handle, HandleKind};
    ///
    /// let handle = Handle::native(std::net::TcpListener::bind("127.0.0.1:0")?);
    /// assert_eq!(handle.kind(), HandleKind::NetNative);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn native(fd: impl Into<OwnedFd>) -> Handle {
        Handle::new(HandleKind::NetNative, fd.into())
    }

    /// A UDP socket as `dgram.Native`: what Node's `cluster` sends.
    ///
    /// ```
    /// use musher_process::ipc::{Handle, HandleKind};
    ///
    /// let handle = Handle::dgram_native(std::net::UdpSocket::bind("127.0.0.1:0")?);
    /// assert_eq!(handle.kind(), HandleKind::DgramNative);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn dgram_native(fd: impl Into<OwnedFd>) -> Handle {
        Handle::new(HandleKind::DgramNative, fd.into())
    }

    /// Any descriptor as what you say it is. Between two Rust programs that may be a file, too; a Node peer ends with
    /// SIGABRT when it gets one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// use musher_process::ipc::{Handle, HandleKind};
    /// use std::{fs::File, io::Read};
    ///
    /// let file = File::open("/proc/self/comm")?;
    /// ours.sender.send_handle("read this", Handle::new(HandleKind::NetNative, file.into())).await?;
    /// let handle = theirs.recv().await.and_then(|message| message.handle).ok_or("no handle")?;
    /// let mut text = String::new();
    /// File::from(handle.into_fd()?).read_to_string(&mut text)?;
    /// assert!(!text.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(kind: HandleKind, fd: OwnedFd) -> Handle {
        Handle { kind, fd: Arc::new(fd), key: None, open: None }
    }

    /// The same, of a descriptor that others keep, too.
    ///
    /// ```
    /// use musher_process::ipc::{Handle, HandleKind};
    /// use std::{os::fd::OwnedFd, sync::Arc};
    ///
    /// let listener = Arc::new(OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0")?));
    /// let for_each_child = [0, 1].map(|_| Handle::shared(HandleKind::NetServer, listener.clone()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn shared(kind: HandleKind, fd: Arc<OwnedFd>) -> Handle {
        Handle { kind, fd, key: None, open: None }
    }

    pub(crate) fn received(kind: HandleKind, fd: OwnedFd, key: Option<String>, open: Option<Arc<Open>>) -> Handle {
        Handle { kind, fd: Arc::new(fd), key, open }
    }

    /// A connection that this listener accepted. The receiver counts it under the listener's address, see
    /// [`Sender::socket_count`](super::Sender::socket_count): what Node does with the connections of a server.
    ///
    /// ```
    /// use musher_process::ipc::Handle;
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let client = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let handle = Handle::accepted(listener.accept()?.0, &listener)?;
    /// assert_eq!(handle.key(), Some(format!("4:127.0.0.1:{}", listener.local_addr()?.port()).as_str()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn accepted(connection: impl Into<OwnedFd>, listener: impl AsFd) -> io::Result<Handle> {
        let key = socket_key(net::local_address(listener)?);
        Ok(Handle::new(HandleKind::NetSocket, connection.into()).with_key(key))
    }

    /// A connection that is counted under this key at the receiver, which counts at most 1024 keys.
    ///
    /// ```
    /// use musher_process::ipc::Handle;
    ///
    /// let (connection, _peer) = std::os::unix::net::UnixStream::pair()?;
    /// assert_eq!(Handle::from(connection).with_key("control").key(), Some("control"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Handle {
        self.key = Some(key.into());
        self
    }

    /// What the peer makes, or made, of it.
    ///
    /// ```
    /// use musher_process::ipc::{Handle, HandleKind};
    ///
    /// let (connection, _peer) = std::os::unix::net::UnixStream::pair()?;
    /// assert_eq!(Handle::from(connection).kind(), HandleKind::NetSocket);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> HandleKind {
        self.kind
    }

    /// What it is counted under; `None` if it is not counted.
    ///
    /// ```
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert_eq!(musher_process::ipc::Handle::from(listener).key(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(crate) fn fd(&self) -> Arc<OwnedFd> {
        self.fd.clone()
    }

    /// The descriptor. If there are clones of the handle, a duplicate.
    ///
    /// ```
    /// use musher_process::ipc::Handle;
    /// use std::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let fd = Handle::from(listener).into_fd()?;
    /// assert_eq!(TcpListener::from(fd).local_addr()?, address);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match Arc::try_unwrap(self.fd) {
            Ok(fd) => Ok(fd),
            Err(shared) => shared.try_clone(),
        }
    }

    /// As a listener of TCP, non-blocking if it came over a channel. A [`HandleKind::NetNative`] may be bound only:
    /// make it [listen](crate::net::listen).
    ///
    /// # Errors
    ///
    /// [`WrongHandle`] if it is something else; the handle is in there.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::Handle;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # listener.set_nonblocking(true)?;
    /// # let handle = Handle::from(listener);
    /// let listener = tokio::net::TcpListener::from_std(handle.into_tcp_listener()?)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_tcp_listener(self) -> Result<TcpListener, WrongHandle> {
        self.into(net::Kind::Tcp, true).map(|(fd, _)| fd.into())
    }

    /// As a connection of TCP, non-blocking if it came over a channel. While it lives the sender's count of open
    /// sockets has it. Errors as of [`into_tcp_listener`](Handle::into_tcp_listener).
    ///
    /// ```
    /// # use musher_process::ipc::Handle;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let handle = Handle::from(std::net::TcpStream::connect(listener.local_addr()?)?);
    /// let connection = handle.into_tcp_stream()?;
    /// connection.set_nodelay(true)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_tcp_stream(self) -> Result<Counted<TcpStream>, WrongHandle> {
        self.into(net::Kind::Tcp, false).map(|(fd, open)| Counted { socket: fd.into(), open })
    }

    /// As a listener on a unix socket. Errors as of [`into_tcp_listener`](Handle::into_tcp_listener).
    ///
    /// ```
    /// # use musher_process::ipc::Handle;
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// let handle = Handle::from(std::os::unix::net::UnixListener::bind(&path)?);
    /// let listener = handle.into_unix_listener()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_unix_listener(self) -> Result<UnixListener, WrongHandle> {
        self.into(net::Kind::Unix, true).map(|(fd, _)| fd.into())
    }

    /// As a connection over a unix socket. Errors as of [`into_tcp_listener`](Handle::into_tcp_listener).
    ///
    /// ```
    /// use musher_process::ipc::Handle;
    /// use std::{io::Write, os::unix::net::UnixStream};
    ///
    /// let (ours, theirs) = UnixStream::pair()?;
    /// Handle::from(ours).into_unix_stream()?.write_all(b"hello")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_unix_stream(self) -> Result<Counted<UnixStream>, WrongHandle> {
        self.into(net::Kind::Unix, false).map(|(fd, open)| Counted { socket: fd.into(), open })
    }

    /// As a UDP socket. Errors as of [`into_tcp_listener`](Handle::into_tcp_listener).
    ///
    /// ```
    /// use musher_process::ipc::Handle;
    ///
    /// let handle = Handle::from(std::net::UdpSocket::bind("127.0.0.1:0")?);
    /// println!("at {}", handle.into_udp_socket()?.local_addr()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_udp_socket(self) -> Result<UdpSocket, WrongHandle> {
        self.into(net::Kind::Udp, false).map(|(fd, _)| fd.into())
    }

    /// The descriptor, if it is such a socket.
    fn into(self, kind: net::Kind, listens: bool) -> Result<(OwnedFd, Option<Arc<Open>>), WrongHandle> {
        let is = net::kind(&self.fd).unwrap_or(net::Kind::Other);
        let is_listener = rustix::net::sockopt::socket_acceptconn(&self.fd).unwrap_or(false);
        // A socket of Node's `cluster` is only bound: the receiver makes it listen.
        let may_listen = is_listener || self.kind == HandleKind::NetNative;
        if is != kind || (listens && !may_listen) || (!listens && is_listener) {
            let what = format!("{is:?}{}, sent as {}", if is_listener { " and listens" } else { "" }, self.kind.name());
            return Err(WrongHandle { what, handle: self });
        }
        let (open, kept) = (self.open.clone(), self.clone());
        match self.into_fd() {
            Ok(fd) => Ok((fd, open)),
            Err(error) => Err(WrongHandle { what: error.to_string(), handle: kept }),
        }
    }

    /// Node's word for the family of a UDP socket.
    pub(crate) fn dgram_type(&self) -> Option<&'static str> {
        if self.kind != HandleKind::DgramSocket {
            return None;
        }
        let v6 = net::local_address(&self.fd).is_ok_and(|address| address.is_ipv6());
        Some(if v6 { "udp6" } else { "udp4" })
    }
}

/// Node's key of the connections of a listener.
pub(crate) fn socket_key(address: SocketAddr) -> String {
    format!("{}:{}:{}", if address.is_ipv6() { 6 } else { 4 }, address.ip(), address.port())
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

macro_rules! from_std {
    ($($socket:ty => $kind:ident),*) => {$(
        impl From<$socket> for Handle {
            fn from(socket: $socket) -> Handle {
                Handle::new(HandleKind::$kind, socket.into())
            }
        }
    )*};
}

macro_rules! from_tokio {
    ($($socket:ty => $kind:ident),*) => {$(
        impl TryFrom<$socket> for Handle {
            type Error = io::Error;

            fn try_from(socket: $socket) -> io::Result<Handle> {
                Ok(Handle::new(HandleKind::$kind, socket.into_std()?.into()))
            }
        }
    )*};
}

from_std!(
    TcpListener => NetServer,
    UnixListener => NetServer,
    TcpStream => NetSocket,
    UnixStream => NetSocket,
    UdpSocket => DgramSocket
);
from_tokio!(
    tokio::net::TcpListener => NetServer,
    tokio::net::UnixListener => NetServer,
    tokio::net::TcpStream => NetSocket,
    tokio::net::UnixStream => NetSocket,
    tokio::net::UdpSocket => DgramSocket
);

/// A connection that came over a channel, which the sender counts as open until this is dropped.
///
/// It is used like what it holds. [`into_inner`](Counted::into_inner) takes that out: the sender then takes it for closed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use musher_process::ipc::{Channel, Handle, Options};
/// # let (mut ours, theirs) = Channel::pair(Options::default())?;
/// # let theirs = Channel::from_fd(theirs, Options::default())?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let client = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let (connection, _) = listener.accept()?;
/// theirs.sender.send_handle(&(), Handle::accepted(connection, &listener)?).await?;
/// let handle = ours.recv().await.and_then(|message| message.handle).ok_or("no handle")?;
/// let connection = handle.into_tcp_stream()?;
/// assert_eq!(connection.peer_addr()?, client.local_addr()?);
/// # Ok(())
/// # }
/// ```
pub struct Counted<T> {
    socket: T,
    open: Option<Arc<Open>>,
}

impl<T> Counted<T> {
    /// What is in it, which is not counted any more.
    ///
    /// ```
    /// use musher_process::ipc::Handle;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// let connection: UnixStream = Handle::from(ours).into_unix_stream()?.into_inner();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_inner(self) -> T {
        self.socket
    }

    /// Makes something else of what is in it, which is counted like it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::Handle;
    /// # let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// # ours.set_nonblocking(true)?;
    /// # let handle = Handle::from(ours);
    /// let connection = handle.into_unix_stream()?.try_map(tokio::net::UnixStream::from_std)?;
    /// connection.writable().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_map<U, E>(self, make: impl FnOnce(T) -> Result<U, E>) -> Result<Counted<U>, E> {
        Ok(Counted { socket: make(self.socket)?, open: self.open })
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.socket
    }
}

impl<T> DerefMut for Counted<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.socket
    }
}

impl<T: fmt::Debug> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}
