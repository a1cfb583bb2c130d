//! What a worker accepts connections from, however it got it.
//!
//! | where this process runs | what it accepts |
//! |---|---|
//! | alone | from a socket that it binds |
//! | with `LISTEN_FDS` (systemd, musher) | from the socket it was given |
//! | under a primary, one socket for each worker or for all | from that socket, and what the primary hands over |
//! | under a primary that deals out in turns | what the primary hands over |
//! | the same under musher, without a daemon | from a copy of the socket that the daemon left for that |

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use musher_process::inherit::take_inherited;
use musher_process::net::{self, tcp, unix};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::activation::{self, Which};
use super::drain::{self, Draining};
use super::environment::Environment;
use super::link::{Given, Kept, Link, Offer, address_in_use};
use super::words::Wanted;
use crate::bind::BACKLOG;

/// How long to wait when descriptors or memory have run out.
const SHORTAGE: Duration = Duration::from_millis(100);

/// TCP or unix sockets.
///
/// It cannot be implemented by others; it is what functions name that take a [`Listener`] of either.
///
/// ```
/// use musher_cluster::{Family, Listener};
/// use tokio::io::{AsyncWrite, AsyncWriteExt};
/// async fn greet<F: Family>(mut listener: Listener<F>) -> std::io::Result<()>
/// where
///     F::Stream: AsyncWrite,
/// {
///     while let Some((mut stream, _)) = listener.accept().await {
///         stream.write_all(b"hello\n").await?;
///     }
///     Ok(())
/// }
/// # drop(greet::<musher_cluster::Tcp>);
/// # drop(greet::<musher_cluster::Unix>);
/// ```
pub trait Family: sealed::Sealed + Send + Unpin + 'static {
    /// A connection.
    type Stream: Send + Unpin + 'static;
    /// Where the other side, or this one, is.
    type Address: Clone + Send + Unpin + std::fmt::Debug + 'static;
    #[doc(hidden)]
    type Socket: Send + Unpin + std::fmt::Debug + 'static;
    #[doc(hidden)]
    fn socket(fd: OwnedFd) -> io::Result<(Self::Socket, Self::Address)>;
    #[doc(hidden)]
    fn named(address: Option<SocketAddr>, path: Option<&str>) -> io::Result<Self::Address>;
    #[doc(hidden)]
    fn stream(fd: OwnedFd) -> io::Result<(Self::Stream, Self::Address)>;
    #[doc(hidden)]
    fn poll(socket: &Self::Socket, context: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, Self::Address)>>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Tcp {}
    impl Sealed for super::Unix {}
}

/// TCP.
///
/// It names a family, `listen_fd::<Tcp>(3)`, and has no values.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Listener, Tcp};
/// let listener: Listener<Tcp> = musher_cluster::listen("127.0.0.1:0").await?;
/// let address: std::net::SocketAddr = listener.local_addr();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Tcp {}

/// Unix sockets.
///
/// It names a family, `listen_fd::<Unix>(3)`, and has no values.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Unix, listen_fd};
/// let error = listen_fd::<Unix>(1000).await.unwrap_err();
/// println!("nobody has given this process a descriptor 1000: {error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Unix {}

impl Family for Tcp {
    type Stream = tokio::net::TcpStream;
    type Address = SocketAddr;
    type Socket = tokio::net::TcpListener;

    fn socket(fd: OwnedFd) -> io::Result<(Self::Socket, SocketAddr)> {
        let socket = tokio::net::TcpListener::from_std(fd.into())?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    }

    fn named(address: Option<SocketAddr>, _: Option<&str>) -> io::Result<SocketAddr> {
        address.ok_or_else(|| io::Error::other("the primary does not say where it listens"))
    }

    fn stream(fd: OwnedFd) -> io::Result<(Self::Stream, SocketAddr)> {
        net::set_nonblocking(&fd)?;
        let stream = tokio::net::TcpStream::from_std(fd.into())?;
        let peer = stream.peer_addr()?;
        Ok((stream, peer))
    }

    fn poll(socket: &Self::Socket, context: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, SocketAddr)>> {
        socket.poll_accept(context)
    }
}

impl Family for Unix {
    type Stream = tokio::net::UnixStream;
    type Address = Arc<tokio::net::unix::SocketAddr>;
    type Socket = tokio::net::UnixListener;

    fn socket(fd: OwnedFd) -> io::Result<(Self::Socket, Self::Address)> {
        let socket = tokio::net::UnixListener::from_std(fd.into())?;
        let address = socket.local_addr()?;
        Ok((socket, Arc::new(address)))
    }

    fn named(_: Option<SocketAddr>, path: Option<&str>) -> io::Result<Self::Address> {
        let path = path.ok_or_else(|| io::Error::other("the primary does not say where it listens"))?;
        let address = std::os::unix::net::SocketAddr::from_pathname(path)?;
        Ok(Arc::new(address.into()))
    }

    fn stream(fd: OwnedFd) -> io::Result<(Self::Stream, Self::Address)> {
        net::set_nonblocking(&fd)?;
        let stream = tokio::net::UnixStream::from_std(fd.into())?;
        let peer = stream.peer_addr()?;
        Ok((stream, Arc::new(peer)))
    }

    fn poll(socket: &Self::Socket, context: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, Self::Address)>> {
        socket.poll_accept(context).map_ok(|(stream, peer)| (stream, Arc::new(peer)))
    }
}

/// What a worker accepts connections from. Made by [`listen`](crate::listen), [`listen_unix`](crate::listen_unix) or
/// [`listen_fd`](crate::listen_fd).
///
/// Hand it to `axum::serve` (feature `axum`), to anything that takes a stream of connections
/// ([`into_incoming`](Listener::into_incoming), for example tonic), or accept by yourself:
///
/// ```no_run
/// # async fn serve(_: tokio::net::TcpStream) {}
/// # async fn example() -> std::io::Result<()> {
/// let mut listener = musher_cluster::listen("127.0.0.1:8080").await?;
/// while let Some((stream, peer)) = listener.accept().await {
///     tokio::spawn(serve(stream));
/// }
/// // This worker drains: finish what is in flight, and end.
/// # Ok(())
/// # }
/// ```
pub struct Listener<F: Family = Tcp> {
    own: Option<F::Socket>,
    offers: Option<mpsc::Receiver<Offer>>,
    kept: Kept,
    address: F::Address,
    /// Nobody else takes what waits at the socket.
    alone: bool,
    draining: Draining,
    drained: bool,
    pause: Option<Pin<Box<Sleep>>>,
    claim: Option<Claim>,
    _file: Option<OwnFile>,
}

/// A listener for connections over unix sockets.
pub type UnixListener = Listener<Unix>;

/// What the primary gave; it is told when it is not wanted any more.
struct Claim {
    link: Arc<Link>,
    wanted: Wanted,
    index: u64,
    key: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.link.close(&self.wanted, self.index, &self.key);
    }
}

/// The file of a socket that was bound here.
struct OwnFile(unix::SocketFile);

impl Drop for OwnFile {
    fn drop(&mut self) {
        if let Err(error) = self.0.remove() {
            tracing::debug!(%error, "the file of a socket stays");
        }
    }
}

impl<F: Family> Listener<F> {
    /// Asks the primary.
    async fn of_primary(link: &Arc<Link>, wanted: Wanted) -> io::Result<Listener<F>> {
        let (Given { key, socket, address, offers, kept, .. }, index) = link.ask(&wanted).await?;
        let claim = Claim { link: Arc::clone(link), wanted, index, key };
        let mut port = address.map(|address| address.port());
        let (own, address) = match socket {
            Some(socket) => {
                port = net::local_address(&socket).ok().map(|address| address.port());
                // Node binds in the primary and finds out here that somebody else has the address.
                if matches!(claim.wanted, Wanted::Tcp(asked) if asked.port() != 0 && port != Some(asked.port())) {
                    return Err(address_in_use());
                }
                let (own, address) = F::socket(ready_to_accept(socket)?)?;
                (Some(own), address)
            }
            None => (None, F::named(address, claim.wanted.as_path())?),
        };
        claim.link.listens(&claim.wanted, index, port);
        Ok(Listener { offers: Some(offers), kept, claim: Some(claim), ..Listener::over(own, address) })
    }

    fn given(socket: OwnedFd) -> io::Result<Listener<F>> {
        let (own, address) = F::socket(ready_to_accept(socket)?)?;
        Ok(Listener::over(Some(own), address))
    }

    fn over(own: Option<F::Socket>, address: F::Address) -> Listener<F> {
        Listener {
            own,
            offers: None,
            kept: Kept::default(),
            address,
            alone: false,
            draining: Draining::new(),
            drained: false,
            pause: None,
            claim: None,
            _file: None,
        }
    }

    /// The next connection. None when this worker drains: what is in flight should be finished, and the process end.
    ///
    /// Errors of single connections are passed over, and a shortage of descriptors is waited out. The stop signals
    /// (SIGTERM, SIGINT) begin the drain from now on, instead of ending the process.
    ///
    /// It may be dropped before it is ready (in `select!`): no connection is lost by that.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut listener = musher_cluster::listen("127.0.0.1:0").await?;
    /// let client = tokio::net::TcpStream::connect(listener.local_addr()).await?;
    /// let (_, peer) = listener.accept().await.ok_or("it drains")?;
    /// assert_eq!(peer, client.local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn accept(&mut self) -> Option<(F::Stream, F::Address)> {
        drain::follow_signals();
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// The same for hand-written futures; follows no signals.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::future::poll_fn;
    /// let mut listener = musher_cluster::listen("127.0.0.1:0").await?;
    /// let client = tokio::net::TcpStream::connect(listener.local_addr()).await?;
    /// let (_, peer) = poll_fn(|context| listener.poll_accept(context)).await.ok_or("it drains")?;
    /// assert_eq!(peer, client.local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Option<(F::Stream, F::Address)>> {
        if !self.drained && Pin::new(&mut self.draining).poll(context).is_ready() {
            self.drained = true;
            // What was offered and not looked at is declined: others get it.
            self.offers = None;
            self.kept.take();
            if !self.alone {
                self.own = None;
            }
        }
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        while let Some(offers) = &mut self.offers {
            match offers.poll_recv(context) {
                Poll::Ready(Some(offer)) => match offer.take().map(F::stream) {
                    Some(Ok(connection)) => return Poll::Ready(Some(connection)),
                    Some(Err(error)) => tracing::debug!(%error, "a connection was gone before it was served"),
                    None => {}
                },
                Poll::Ready(None) => {
                    self.offers = None;
                    self.accept_alone();
                }
                Poll::Pending => break,
            }
        }
        let Some(own) = &self.own else {
            return if self.offers.is_some() { Poll::Pending } else { Poll::Ready(None) };
        };
        loop {
            match F::poll(own, context) {
                Poll::Ready(Ok(connection)) => return Poll::Ready(Some(connection)),
                Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "cannot accept for now");
                    let mut pause = Box::pin(tokio::time::sleep(SHORTAGE));
                    let waits = pause.as_mut().poll(context);
                    self.pause = Some(pause);
                    return waits.map(|()| None);
                }
                // What was in the queue of a socket of our own is served. Who comes now is refused, not left to wait.
                Poll::Pending if self.drained => {
                    self.own = None;
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Nobody hands out connections any more. Until somebody does again this worker accepts by itself, if it can.
    fn accept_alone(&mut self) {
        // Its feed may also have ended for a reason of its own.
        if !self.claim.as_ref().is_some_and(|claim| claim.link.has_ended()) {
            return;
        }
        let Some(socket) = self.kept.take() else { return };
        match ready_to_accept(socket).and_then(F::socket) {
            Ok((own, _)) => {
                tracing::info!(address = ?self.address, "the primary is gone: this worker accepts by itself");
                self.own = Some(own);
            }
            Err(error) => tracing::error!(%error, "the primary is gone, and this worker cannot accept by itself"),
        }
    }

    /// Where it listens.
    ///
    /// With the port that was got where 0 was asked for; in a cluster all workers get the same. For a unix socket its path, as the
    /// address of tokio.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = musher_cluster::listen("127.0.0.1:0").await?;
    /// assert_ne!(listener.local_addr().port(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn local_addr(&self) -> F::Address {
        self.address.clone()
    }

    /// A stream of connections that ends when this worker drains, for servers that take one:
    /// `tonic::transport::Server::builder().add_service(…).serve_with_incoming(listener.into_incoming())`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio_stream::StreamExt;
    /// let listener = musher_cluster::listen("127.0.0.1:0").await?;
    /// let client = tokio::net::TcpStream::connect(listener.local_addr()).await?;
    /// let stream = listener.into_incoming().next().await.ok_or("it drains")??;
    /// assert_eq!(stream.peer_addr()?, client.local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_incoming(self) -> Incoming<F> {
        drain::follow_signals();
        Incoming(self)
    }
}

impl<F: Family> std::fmt::Debug for Listener<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("own", &self.own.is_some())
            .finish_non_exhaustive()
    }
}

/// A stream of connections: see [`Listener::into_incoming`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tokio_stream::StreamExt;
/// let mut incoming = musher_cluster::listen("127.0.0.1:0").await?.into_incoming();
/// tokio::select! {
///     Some(stream) = incoming.next() => println!("{:?}", stream?.peer_addr()),
///     () = std::future::ready(()) => println!("nobody has come yet"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Incoming<F: Family = Tcp>(Listener<F>);

impl<F: Family> tokio_stream::Stream for Incoming<F> {
    type Item = io::Result<F::Stream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accept(context).map(|connection| connection.map(|(stream, _)| Ok(stream)))
    }
}

/// See [`listen`](crate::listen).
pub(crate) async fn tcp(me: &Environment, link: Option<&Arc<Link>>, address: SocketAddr) -> io::Result<Listener> {
    if let Some(link) = link {
        return Listener::of_primary(link, Wanted::Tcp(address)).await;
    }
    if let Some(given) = activation::take(me, Which::Tcp(address)) {
        return Listener::given(given);
    }
    let socket = tcp::bind(address, false, tcp::Membership::Alone)?;
    Ok(Listener { alone: true, ..Listener::given(socket)? })
}

/// See [`listen_unix`](crate::listen_unix).
pub(crate) async fn unix(me: &Environment, link: Option<&Arc<Link>>, path: &Path) -> io::Result<UnixListener> {
    if let Some(link) = link {
        return Listener::of_primary(link, Wanted::path(path)?).await;
    }
    if let Some(given) = activation::take(me, Which::Unix(path)) {
        return Listener::given(given);
    }
    let (socket, file) = unix::bind(path, unix::Access::default())?;
    Ok(Listener { alone: true, _file: file.map(OwnFile), ..Listener::given(socket)? })
}

/// See [`listen_fd`](crate::listen_fd).
pub(crate) async fn fd<F: Family>(me: &Environment, link: Option<&Arc<Link>>, number: i32) -> io::Result<Listener<F>> {
    if let Some(link) = link {
        return Listener::of_primary(link, Wanted::Fd(number)).await;
    }
    let given = activation::take(me, Which::Fd(number)).map_or_else(|| take_inherited(number), Ok);
    Listener::given(given?)
}

/// See [`bind_udp`](crate::bind_udp).
pub(crate) async fn udp(
    me: &Environment,
    link: Option<&Arc<Link>>,
    address: SocketAddr,
) -> io::Result<tokio::net::UdpSocket> {
    let socket = match link {
        Some(link) => {
            let wanted = Wanted::Udp(address);
            let (given, index) = link.ask(&wanted).await?;
            let socket = given.socket.ok_or_else(|| io::Error::other("the primary gave no socket"))?;
            let port = net::local_address(&socket)?.port();
            if address.port() != 0 && port != address.port() {
                return Err(address_in_use());
            }
            link.listens(&wanted, index, Some(port));
            socket
        }
        None => match activation::take(me, Which::Udp(address)) {
            Some(given) => given,
            None => musher_process::net::udp::bind(address, false, false)?,
        },
    };
    net::set_nonblocking(&socket)?;
    tokio::net::UdpSocket::from_std(socket.into())
}

/// Makes a socket that is bound listen, if it does not.
fn ready_to_accept(socket: OwnedFd) -> io::Result<OwnedFd> {
    net::set_nonblocking(&socket)?;
    if !rustix::net::sockopt::socket_acceptconn(socket.as_fd())? {
        net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// The next one may be better (accept(2) passes errors of the network on).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::task::Poll;

    use musher_process::fdpass::send_with_fds;
    use musher_process::ipc::{Channel, Options};
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixStream;

    use super::{Listener, Tcp, Wanted};
    use crate::message::{self, CLUSTER};
    use crate::serving::environment::Environment;
    use crate::serving::link::Link;

    /// A worker of musher in turns, whose question is answered, and musher's end of its channel.
    async fn in_turns(address: SocketAddr) -> (Listener<Tcp>, BufReader<UnixStream>) {
        let (channel, end) = Channel::pair(Options::default()).unwrap();
        let end = std::os::unix::net::UnixStream::from(end);
        end.set_nonblocking(true).unwrap();
        let mut musher = BufReader::new(UnixStream::from_std(end).unwrap());
        let environment = Environment { id: Some(1), slot: Some(0), ..Environment::default() };
        let link = Link::open(channel, &environment);
        // Its first words are the numbers 0 and 1.
        let at = json!({"address": address.ip(), "family": "IPv4", "port": address.port()});
        let answer = json!({"cmd": CLUSTER, "ack": 1, "key": "k", "errno": null, "sockname": at, "seq": 0});
        send_with_fds(musher.get_ref(), format!("{answer}\n").as_bytes(), &[]).unwrap();
        let listener = Listener::of_primary(&link, Wanted::Tcp(address)).await.unwrap();
        for act in ["online", "queryServer", "listening"] {
            let mut line = String::new();
            musher.read_line(&mut line).await.unwrap();
            assert!(line.contains(act), "{line}");
            assert_eq!(line.contains(r#""keeps":true"#), act == "listening", "{line}");
        }
        (listener, musher)
    }

    #[tokio::test]
    async fn who_is_handed_connections_accepts_by_itself_when_musher_has_died() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let (mut listener, mut musher) = in_turns(address).await;
        let entrust = message::entrust("net.Native", "x 1", "k", 511) + "\n";
        send_with_fds(musher.get_ref(), entrust.as_bytes(), &[socket.as_fd()]).unwrap();
        drop(socket);
        let client = TcpStream::connect(address).unwrap();
        let mut taken = String::new();
        musher.read_line(&mut taken).await.unwrap();
        assert!(taken.contains("NODE_HANDLE_ACK"), "{taken}");
        let waits = poll_fn(|context| Poll::Ready(listener.poll_accept(context).is_pending())).await;
        assert!(waits, "as long as musher lives the connection is musher's to give to somebody");
        drop(musher);
        assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
        let next = TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept().await.unwrap().1, next.local_addr().unwrap());
        drop(listener);
        assert!(TcpStream::connect(address).is_err(), "nobody else has the socket");
    }

    #[tokio::test]
    async fn who_was_left_no_socket_accepts_no_more_when_musher_has_died() {
        let (mut listener, musher) = in_turns((Ipv4Addr::LOCALHOST, 9).into()).await;
        drop(musher);
        assert!(listener.accept().await.is_none());
    }
}
