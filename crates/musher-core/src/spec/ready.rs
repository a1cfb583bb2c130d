//! When a worker counts as ready.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::millis;

/// When a worker counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// What proves it.
    #[serde(default)]
    pub when: ReadyWhen,
    /// How long a new worker may take. One that takes longer has failed to start.
    #[serde(with = "millis", default = "default_ready_timeout", rename = "timeout_ms")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
}

/// What proves that a worker is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum ReadyWhen {
    /// The first proof that comes: it listens (Node clusters), sends `'ready'`, notifies READY=1. Without any, it is
    /// ready when it has lived for the settle time: 3 s for Node programs, 1 s for others. A Node program that once
    /// proved ready by listening has to prove it so again in later runs.
    #[default]
    Auto,
    /// It listens: the cluster's `listening` message, or its process tree owns a listening socket.
    Listening,
    /// It sends the message `'ready'` (`process.send('ready')`).
    Message,
    /// It notifies READY=1 to NOTIFY_SOCKET (sd_notify(3)).
    Notify,
    /// A TCP connection to this address succeeds.
    Tcp {
        /// `host:port` with a literal IP.
        address: SocketAddr,
    },
    /// `GET` answers with a status from 200 to 399.
    Http {
        /// `host:port` with a literal IP.
        address: SocketAddr,
        /// Path and query, from `/`.
        path: String,
    },
    /// It has lived this long.
    Alive {
        /// Milliseconds.
        after_ms: u64,
    },
}

impl Default for Ready {
    fn default() -> Self {
        Ready { when: ReadyWhen::Auto, timeout: default_ready_timeout() }
    }
}

fn default_ready_timeout() -> Duration {
    Duration::from_secs(30)
}
