//! Why a call failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::{API_VERSION, ApiError};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket.
    #[error("no supervisor is running")]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket may not be used.
    #[error("{} may not be used: {source}", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket cannot be used for another reason, for example because its path is too long.
    #[error("{} cannot be used: {source}", socket.display())]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The supervisor went away again and again, or did not answer in time.
    #[error("the supervisor did not answer for {} s: {last}", after.as_secs())]
    Lost {
        /// How long it was tried.
        after: Duration,
        /// What went wrong the last time.
        last: String,
    },
    /// The supervisor does not know this version of the API.
    #[error("the running supervisor does not speak version {API_VERSION} of the control API: {message}")]
    Incompatible {
        /// What it said.
        message: String,
    },
    /// The answer was not one.
    #[error("the answer could not be understood: {0}")]
    Protocol(String),
    /// The supervisor said no.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Why one attempt failed, which decides whether another one is made.
pub(super) enum Attempt {
    /// Nothing listens.
    Refused,
    /// The connection was made and broke before the answer was complete, or the answer says that the supervisor is
    /// about to be replaced: it may come back.
    Broken(String),
    /// Trying again would not help.
    Final(ClientError),
}
