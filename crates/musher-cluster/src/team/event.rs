//! What happens to the workers of a primary: the events of Node's `cluster`, with their arguments.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use musher_core::lifecycle;
use musher_process::{ExitStatus, v8};
use serde_json::Value;

use super::Settings;
use super::member::Worker;
use crate::message::{AddressType, Identity};
use musher_process::ipc::Handle;

/// Something that happened. `fork`, then `online`, then `listening` once for each address, `message`s, `disconnect`, `exit`:
/// in this order for each worker. [`Worker`]'s own methods tell the same a moment earlier.
///
/// ```
/// use musher_cluster::Event;
/// fn describe(event: &Event) -> String {
///     match event {
///         Event::Listening { worker, address, .. } => format!("{} listens on {address}", worker.id()),
///         Event::Message { worker, value, .. } => format!("{} says {value}", worker.id()),
///         Event::Exit { worker, status } if worker.exited_after_disconnect() == Some(true) => format!("{} left: {status}", worker.id()),
///         Event::Exit { worker, status } => format!("{} died: {status}", worker.id()),
///         Event::Missed(count) => format!("{count} events were not read in time"),
///         _ => String::new(),
///     }
/// }
/// assert_eq!(describe(&Event::Missed(3)), "3 events were not read in time");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// What is forked from now on was said.
    Setup(Arc<Settings>),
    /// A worker was forked.
    Fork(Worker),
    /// A worker's runtime is up.
    Online(Worker),
    /// A server of a worker listens.
    Listening {
        /// Whose.
        worker: Worker,
        /// Where.
        address: Address,
        /// In the worker's own words: the argument of Node's event.
        told: Told,
    },
    /// A worker sent a message.
    Message {
        /// Which.
        worker: Worker,
        /// The message.
        value: Value,
        /// The same whole, as a value of JavaScript, of a worker with
        /// [`Serialization::Advanced`](crate::Serialization).
        v8: Option<v8::Value>,
        /// The socket that came with it.
        handle: Option<Handle>,
    },
    /// A worker sent a message for a runtime, not for a program: an object whose `cmd` begins with `NODE_`, but for those
    /// of the cluster. Node's `worker.process.on('internalMessage')`.
    Internal {
        /// Which.
        worker: Worker,
        /// The message.
        value: Value,
        /// The socket that came with it.
        handle: Option<Handle>,
    },
    /// A Node worker of a team threw what nobody caught. It finishes what it has, and ends.
    Uncaught {
        /// Which.
        worker: Worker,
        /// What was thrown, and where; at most 64 KiB of whatever the worker says.
        stack: String,
    },
    /// A worker's channel has ended.
    Disconnect(Worker),
    /// A worker's process has ended.
    Exit {
        /// Which.
        worker: Worker,
        /// The code or signal.
        status: ExitStatus,
    },
    /// Something was done for a team: what the daemon tells of its apps. `Giveup` is among them.
    Team(lifecycle::Event),
    /// This stream's reader was too slow and missed so many events.
    Missed(u64),
}

/// What a worker told of a server that listens: `{ address, addressType, port, fd }` of Node's event `listening`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{AddressType, Event, Settings, is_worker, listen, setup_primary};
/// if is_worker() {
///     while listen("127.0.0.1:0").await?.accept().await.is_some() {}
///     return Ok(());
/// }
/// let cluster = setup_primary(Settings::new())?;    // this very program
/// let mut events = cluster.events();
/// cluster.fork()?;
/// while let Some(event) = events.next().await {
///     if let Event::Listening { told, .. } = event {
///         assert_eq!((told.address.as_deref(), told.address_type), (Some("127.0.0.1"), AddressType::Tcp4));
///         assert!(told.port.is_some_and(|port| port > 0));
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// A literal IP address or the path of a unix socket; none for all addresses, and for a descriptor.
    pub address: Option<String>,
    /// The port, -1 for a unix socket; none where there is none.
    pub port: Option<i64>,
    /// What `address` is.
    pub address_type: AddressType,
    /// The descriptor that the program named.
    pub fd: Option<i64>,
}

impl From<Identity> for Told {
    fn from(told: Identity) -> Told {
        Told { address: told.address, port: told.port, address_type: told.family, fd: told.fd }
    }
}

/// Where a server listens.
///
/// As text it is what the logs show: `127.0.0.1:8080`, `udp://127.0.0.1:53`, `/run/web.sock`.
///
/// ```
/// use musher_cluster::Address;
/// let address = Address::Udp("127.0.0.1:53".parse()?);
/// assert_eq!((address.to_string(), address.port()), ("udp://127.0.0.1:53".to_owned(), Some(53)));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP: Node's `addressType` 4 or 6.
    Tcp(SocketAddr),
    /// UDP: `udp4` or `udp6`.
    Udp(SocketAddr),
    /// A unix socket: -1.
    Unix(PathBuf),
    /// What a runtime tells of a server that it opened without the primary.
    Other(String),
}

impl Address {
    pub(crate) fn parse(words: String) -> Address {
        if let Some(udp) = words.strip_prefix("udp://").and_then(|udp| udp.parse().ok()) {
            return Address::Udp(udp);
        }
        match words.parse() {
            Ok(tcp) => Address::Tcp(tcp),
            Err(_) if words.starts_with(['/', '@']) => Address::Unix(words.into()),
            Err(_) => Address::Other(words),
        }
    }

    /// The port, if it has one.
    ///
    /// ```
    /// use musher_cluster::Address;
    /// assert_eq!(Address::Tcp("127.0.0.1:8080".parse()?).port(), Some(8080));
    /// assert_eq!(Address::Unix("/run/web.sock".into()).port(), None);
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Tcp(address) | Address::Udp(address) => Some(address.port()),
            Address::Unix(_) => None,
            Address::Other(words) => words.rsplit_once(':')?.1.parse().ok(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Udp(address) => write!(f, "udp://{address}"),
            Address::Unix(path) => path.display().fmt(f),
            Address::Other(words) => words.fmt(f),
        }
    }
}
