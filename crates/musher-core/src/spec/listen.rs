//! Sockets that musher opens for its workers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A socket that musher opens for the workers of a socket-activated program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Where to listen.
    pub address: ListenAddress,
    /// Its name in LISTEN_FDNAMES.
    #[serde(default)]
    pub name: Option<String>,
    /// Length of the accept queue, 1 to 65535; the kernel caps it at net.core.somaxconn.
    #[serde(default = "default_backlog")]
    pub backlog: u32,
}

/// Where to listen. Written `tcp://127.0.0.1:8080`, `tcp://[::1]:80`, `udp://0.0.0.0:53`, `unix:///run/app.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// TCP; `[::]` takes IPv4 too (dual stack).
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
    /// A unix stream socket at an absolute path.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "tcp://{address}"),
            ListenAddress::Udp(address) => write!(f, "udp://{address}"),
            ListenAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl std::str::FromStr for ListenAddress {
    type Err = String;

    /// `tcp://IP:PORT` (also `tcp://:PORT`, all addresses, and plain `IP:PORT` or `PORT`), `udp://IP:PORT`,
    /// `unix:///absolute/path` (also plain `/absolute/path`).
    fn from_str(text: &str) -> Result<Self, String> {
        let socket = |rest: &str| -> Result<SocketAddr, String> {
            let bare_port = rest.strip_prefix(':').unwrap_or(rest);
            if let Ok(port) = bare_port.parse::<u16>() {
                return Ok(SocketAddr::from(([0u16; 8], port)));
            }
            let rest = rest.replace("localhost:", "127.0.0.1:");
            rest.parse().map_err(|_| {
                format!(
                    "{text:?} is not an address: use tcp://IP:PORT, udp://IP:PORT or unix:///path, with a literal IP"
                )
            })
        };
        if let Some(rest) = text.strip_prefix("udp://") {
            Ok(ListenAddress::Udp(socket(rest)?))
        } else if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            Ok(ListenAddress::Unix(PathBuf::from(path)))
        } else if text.starts_with('/') {
            Ok(ListenAddress::Unix(PathBuf::from(text)))
        } else {
            Ok(ListenAddress::Tcp(socket(text.strip_prefix("tcp://").unwrap_or(text))?))
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ListenAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

fn default_backlog() -> u32 {
    511
}
