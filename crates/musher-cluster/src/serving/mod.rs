//! A Rust program as a worker: whose it is, its listeners, its channel, and when it has to go.
//!
//! - [`environment`]: what the process was told at its start.
//! - [`activation`]: sockets it was given then.
//! - [`link`] and [`words`]: the channel to the primary and what is said over it; [`hearing`]: messages.
//! - [`listener`]: what it accepts connections from.
//! - [`drain`]: when it takes nothing new.

mod activation;
#[cfg(feature = "axum")]
mod axum;
mod drain;
mod environment;
#[cfg(feature = "fuzz")]
pub mod fuzzing;
mod hearing;
mod link;
mod listener;
mod words;

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

#[cfg(feature = "axum")]
pub use self::axum::{Serve, serve};
pub use self::drain::Draining;
use self::environment::Environment;
pub(crate) use self::hearing::Hearing;
pub use self::hearing::{Message, Messages};
use self::link::Link;
pub use self::listener::{Family, Incoming, Listener, Tcp, Unix, UnixListener};
use musher_process::ipc::Handle;

/// What this process was told at its start.
static ENVIRONMENT: LazyLock<Environment> =
    LazyLock::new(|| Environment::read(std::process::id(), |name| std::env::var_os(name)));

/// Whether this process runs in a team that somebody else is the primary of: a Rust primary of this crate, Node's
/// `cluster`, or musher. Such a process serves; it does not fork workers of its own.
///
/// ```
/// assert!(!musher_cluster::is_worker(), "nobody is the primary of this process");
/// assert!(musher_cluster::is_primary());
/// ```
pub fn is_worker() -> bool {
    ENVIRONMENT.is_worker()
}

/// The opposite of [`is_worker`]. A process that runs alone is a primary that has not forked yet, as in Node.
///
/// ```
/// if musher_cluster::is_primary() {
///     println!("fork workers");
/// } else {
///     println!("serve");
/// }
/// assert_eq!(musher_cluster::is_primary(), !musher_cluster::is_worker());
/// ```
pub fn is_primary() -> bool {
    !is_worker()
}

/// Listens on a TCP address: the same line whether this process runs alone, as a worker of any primary, under musher, or
/// with sockets of systemd. Of several addresses the first that can be had is taken.
///
/// With `LISTEN_FDS` the socket bound to this address is taken, else the first TCP socket that was given and is not
/// taken yet. Without a primary `READY=1` is notified (sd_notify(3)) when somebody wants to know.
///
/// # Errors
///
/// Nobody can have the address, or the primary refuses it: the error is the system's in both cases.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut listener = musher_cluster::listen("127.0.0.1:0").await?;
/// let client = tokio::net::TcpStream::connect(listener.local_addr()).await?;
/// let (stream, peer) = listener.accept().await.ok_or("it drains")?;
/// assert_eq!(peer, client.local_addr()?);
/// # Ok(())
/// # }
/// ```
pub async fn listen(address: impl tokio::net::ToSocketAddrs) -> io::Result<Listener> {
    let link = cluster_link()?;
    let mut last = None;
    for address in tokio::net::lookup_host(address).await? {
        match listener::tcp(&ENVIRONMENT, link, address).await {
            Ok(listener) => return Ok(ready(listener)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")))
}

/// Listens on a unix socket, as [`listen`] does on an address. A file that a dead server left is replaced; the file of a
/// process that runs alone goes with the listener.
///
/// # Errors
///
/// As for [`listen`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let path = std::env::temp_dir().join(format!("musher-doc-{}.sock", std::process::id()));
/// let mut listener = musher_cluster::listen_unix(&path).await?;
/// let client = tokio::net::UnixStream::connect(&path).await?;
/// listener.accept().await.ok_or("it drains")?;
/// drop(listener);
/// assert!(!path.exists());
/// # Ok(())
/// # }
/// ```
pub async fn listen_unix(path: impl AsRef<Path>) -> io::Result<UnixListener> {
    listener::unix(&ENVIRONMENT, cluster_link()?, path.as_ref()).await.map(ready)
}

/// Accepts from the socket at this descriptor: one of the primary's in a cluster (Node's `listen({fd})`; under musher and
/// a primary of this crate 3 is the first of `listen`), else one that this process was started with.
///
/// # Errors
///
/// There is none, or it is not of this family.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Tcp, listen_fd};
/// // Under `systemd-socket-activate -l 8080`, or `server.sockets(…)` of a primary.
/// let mut listener = listen_fd::<Tcp>(3).await?;
/// while let Some((stream, peer)) = listener.accept().await {
///     println!("{peer}");
/// }
/// # Ok(())
/// # }
/// ```
pub async fn listen_fd<F: Family>(number: i32) -> io::Result<Listener<F>> {
    listener::fd(&ENVIRONMENT, cluster_link()?, number).await.map(ready)
}

/// A UDP socket. In a cluster all workers that ask for the same address share one, and each datagram reaches one of them.
///
/// # Errors
///
/// As for [`listen`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let socket = musher_cluster::bind_udp("127.0.0.1:0").await?;
/// socket.send_to(b"hello", socket.local_addr()?).await?;
/// let mut datagram = [0; 16];
/// assert_eq!(socket.recv_from(&mut datagram).await?.0, 5);
/// # Ok(())
/// # }
/// ```
pub async fn bind_udp(address: impl tokio::net::ToSocketAddrs) -> io::Result<tokio::net::UdpSocket> {
    let link = cluster_link()?;
    let mut last = None;
    for address in tokio::net::lookup_host(address).await? {
        match listener::udp(&ENVIRONMENT, link, address).await {
            Ok(socket) => return Ok(ready(socket)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")))
}

/// Completes when this process is to drain: take nothing new, finish what is in flight, and end. That is when the
/// primary says so (a reload, a scale-down, `worker.disconnect()`), when it is gone, or on SIGTERM and SIGINT, which do
/// not end the process by themselves any more once this was called (the second one does).
///
/// It is what servers call a graceful shutdown:
/// `axum::serve(listener, app).with_graceful_shutdown(musher_cluster::draining())`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut draining = std::pin::pin!(musher_cluster::draining());
/// tokio::select! {
///     () = &mut draining => println!("finish, and end"),
///     () = std::future::ready(()) => println!("nothing yet"),
/// }
/// # Ok(())
/// # }
/// ```
pub fn draining() -> Draining {
    drain::follow_signals();
    // So that the primary is heard also by a program that never listens.
    if let Err(error) = link::link(&ENVIRONMENT) {
        tracing::warn!(%error, "the primary is not heard");
    }
    Draining::new()
}

/// This process as a worker of a cluster or child with a channel; none when nobody has given it one. The first call, of
/// this or of [`listen`] or [`draining`], begins to read the channel, in the runtime it is made in.
///
/// # Errors
///
/// The channel is unusable, or this is not within a tokio runtime.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// if let Some(worker) = musher_cluster::own_worker()? {
///     println!("I am worker {:?}", worker.id());
///     worker.send("ready")?;
/// } else {
///     println!("nobody has forked this process");
/// }
/// # Ok(())
/// # }
/// ```
pub fn worker() -> io::Result<Option<OwnWorker>> {
    Ok(link::link(&ENVIRONMENT)?.map(|link| OwnWorker { link: Arc::clone(link) }))
}

/// This process, as its primary sees it: `cluster.worker` and `process.send` of Node.
///
/// ```no_run
/// # use musher_cluster::OwnWorker;
/// # async fn example(worker: OwnWorker) -> std::io::Result<()> {
/// let mut messages = worker.messages();
/// while let Some(message) = messages.next().await {
///     match message.handle {
///         Some(socket) => worker.send_handle("back", socket).await?,
///         None if message.value == "leave" => worker.disconnect().await,
///         None => worker.send(message.value)?,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OwnWorker {
    link: Arc<Link>,
}

impl OwnWorker {
    /// The number of this worker in its cluster; none for a forked child that is no worker.
    ///
    /// Node's `cluster.worker.id`; a primary counts from 1.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, is_worker, own_worker, setup_primary};
    /// if is_worker() {
    ///     let worker = own_worker()?.ok_or("nobody has forked this process")?;
    ///     worker.send(worker.id())?;
    ///     worker.disconnect().await;
    ///     return Ok(());
    /// }
    /// let cluster = setup_primary(Settings::new())?;    // this very program
    /// let worker = cluster.fork()?;
    /// assert_eq!(worker.messages().next().await.ok_or("no message")?.value, worker.id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> Option<u32> {
        self.link.id
    }

    /// Whether messages still reach the primary.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, is_worker, own_worker, setup_primary};
    /// if is_worker() {
    ///     let worker = own_worker()?.ok_or("nobody has forked this process")?;
    ///     assert!(worker.is_connected());
    ///     worker.disconnect().await;
    ///     return Ok(());
    /// }
    /// let cluster = setup_primary(Settings::new())?;    // this very program
    /// let worker = cluster.fork()?;
    /// assert!(worker.exited().await.is_success());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_connected(&self) -> bool {
        self.link.is_open()
    }

    /// Sends a message to the primary, where it is the event `message`. It does not wait: what the primary does not read
    /// is queued, up to 64 MiB or 65536 messages.
    ///
    /// # Errors
    ///
    /// The primary is gone, or has not read for too long.
    ///
    /// Node's `process.send`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, is_worker, own_worker, setup_primary};
    /// if is_worker() {
    ///     own_worker()?.ok_or("nobody has forked this process")?.send("hello")?;
    ///     musher_cluster::draining().await;
    ///     return Ok(());
    /// }
    /// let cluster = setup_primary(Settings::new())?;    // this very program
    /// let worker = cluster.fork()?;
    /// assert_eq!(worker.messages().next().await.ok_or("no message")?.value, "hello");
    /// worker.disconnect();
    /// worker.exited().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(&self, message: impl Into<Value>) -> io::Result<()> {
        self.link.send(&message.into())
    }

    /// Sends a value of JavaScript, when there is room for it: whole over a channel with
    /// [`Serialization::Advanced`](crate::Serialization), else as JSON.
    ///
    /// # Errors
    ///
    /// As for [`send`](OwnWorker::send), or it is `undefined` and goes as JSON.
    ///
    /// Its counterpart is [`Worker::send_v8`](crate::Worker::send_v8), and Node's `process.send` of a value that JSON does not know.
    ///
    /// ```no_run
    /// # async fn example(worker: musher_cluster::OwnWorker) -> std::io::Result<()> {
    /// use musher_cluster::v8::Value;
    /// worker.send_v8(&Value::Map(vec![(Value::Number(1.0), Value::Date(0.0))])).await
    /// # }
    /// ```
    pub async fn send_v8(&self, value: &musher_process::v8::Value) -> io::Result<()> {
        self.link.send_v8(value).await
    }

    /// Sends a message with a socket, when what was sent before has arrived.
    ///
    /// # Errors
    ///
    /// As for [`send`](OwnWorker::send), or it is no socket.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, is_worker, own_worker, setup_primary};
    /// if is_worker() {
    ///     let own = own_worker()?.ok_or("nobody has forked this process")?;
    ///     own.send_handle("a server", std::net::TcpListener::bind("127.0.0.1:0")?.into()).await?;
    ///     musher_cluster::draining().await;
    ///     return Ok(());
    /// }
    /// let cluster = setup_primary(Settings::new())?;    // this very program
    /// let worker = cluster.fork()?;
    /// let message = worker.messages().next().await.ok_or("no message")?;
    /// assert_eq!(message.handle.ok_or("no socket")?.kind().name(), "net.Server");
    /// worker.disconnect();
    /// worker.exited().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_handle(&self, message: impl Into<Value>, handle: Handle) -> io::Result<()> {
        self.link.send_handle(&message.into(), handle).await
    }

    /// Calls `handler` with every message of the primary, in order, in the task that reads the channel: it must not
    /// block. It misses none; up to 1024 that came before are given to it first.
    ///
    /// Node's `process.on('message')`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, is_worker, own_worker, setup_primary};
    /// if is_worker() {
    ///     let own = own_worker()?.ok_or("nobody has forked this process")?;
    ///     let back = own.clone();
    ///     own.on_message(move |message| drop(back.send(message.value)));
    ///     musher_cluster::draining().await;
    ///     return Ok(());
    /// }
    /// let cluster = setup_primary(Settings::new())?;    // this very program
    /// let worker = cluster.fork()?;
    /// worker.send("echo")?;
    /// assert_eq!(worker.messages().next().await.ok_or("no message")?.value, "echo");
    /// worker.disconnect();
    /// worker.exited().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_message(&self, handler: impl Fn(Message) + Send + Sync + 'static) {
        self.link.hearing.on(Arc::new(handler));
    }

    /// Calls `handler` with every message from now on that is for a runtime and not for a program, as Node has it: an object
    /// whose `cmd` begins with `NODE_`, but for those of the cluster. Node's `process.on('internalMessage')`.
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// if let Some(worker) = musher_cluster::own_worker()? {
    ///     worker.on_internal(|message| println!("for my runtime: {}", message.value));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_internal(&self, handler: impl Fn(Message) + Send + Sync + 'static) {
        self.link.internal.on(Arc::new(handler));
    }

    /// The messages of the primary from now on, and up to 1024 that came before anybody wanted them.
    ///
    /// See the example of [`OwnWorker`]. A reader that is too slow loses the oldest; a handler ([`on_message`](OwnWorker::on_message))
    /// misses none.
    pub fn messages(&self) -> Messages {
        self.link.hearing.stream()
    }

    /// Leaves the cluster: the primary is told (`exitedAfterDisconnect` is true there, so that it is not a crash), this
    /// process drains, and the channel is closed. The process goes on until its program ends.
    ///
    /// Node's `cluster.worker.disconnect()`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, is_worker, own_worker, setup_primary};
    /// if is_worker() {
    ///     own_worker()?.ok_or("nobody has forked this process")?.disconnect().await;
    ///     return Ok(());
    /// }
    /// let cluster = setup_primary(Settings::new())?;    // this very program
    /// let worker = cluster.fork()?;
    /// worker.exited().await;
    /// assert_eq!(worker.exited_after_disconnect(), Some(true), "it is no crash");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn disconnect(&self) {
        self.link.leave().await;
        drain::begin();
        self.link.disconnect();
    }
}

fn cluster_link() -> io::Result<Option<&'static Arc<Link>>> {
    let link = link::link(&ENVIRONMENT)?;
    // A child with a channel that is no worker binds by itself.
    Ok(link.filter(|link| link.id.is_some()))
}

fn ready<T>(listener: T) -> T {
    if ENVIRONMENT.id.is_none() {
        notify("READY=1");
    }
    listener
}

/// Tells whoever started this process (sd_notify(3)), if it wants to know.
pub(crate) fn notify(state: &str) {
    let Some(path) = ENVIRONMENT.notify.as_ref().filter(|_| ENVIRONMENT.id.is_none()) else { return };
    let address = match path.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name),
        None => std::os::unix::net::SocketAddr::from_pathname(path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::debug!(%error, state, "nobody hears how this process is");
    }
}

/// Copies of the sockets that this process was given and has not taken.
pub(crate) fn given_sockets() -> io::Result<Vec<OwnedFd>> {
    activation::copies(&ENVIRONMENT)
}
