//! Start a program as a child process.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit};

use crate::pid::Pid;

/// A program to start. Nothing is inherited that is not named here.
#[derive(Debug)]
pub struct Spawn {
    /// The executable, absolute.
    pub program: PathBuf,
    /// All arguments with `argv[0]`. Empty means only the program's path.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Our descriptor and its number in the child. 0, 1 and 2 are /dev/null when not given. Everything else is closed.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Make the child the leader of a new session (setsid); else only of a new process group.
    pub session: bool,
    /// Resource limits to set.
    pub limits: Vec<(Resource, Rlimit)>,
    /// Scheduling priority, -20 to 19.
    pub nice: Option<i32>,
    /// User to become.
    pub credentials: Option<Credentials>,
    /// Put the child's own pid in the variable `LISTEN_PID` (sd_listen_fds(3)).
    pub listen_pid: bool,
    /// Directory of a cgroup v2 to start the child in. Where the system refuses that, the child starts without.
    pub cgroup: Option<OwnedFd>,
}

/// A user for a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, all of them.
    pub groups: Vec<u32>,
}

/// A started child.
#[derive(Debug)]
pub struct Child {
    /// Its number.
    pub pid: Pid,
    /// Its pidfd, from the instant of its birth.
    pub pidfd: OwnedFd,
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The system refused.
    #[error("cannot {step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// The reason.
        source: io::Error,
    },
}

impl SpawnError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// The same spawn may succeed later without a change by the user (no process slots, memory or descriptors).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        false
    }
}

impl Spawn {
    /// Starts the program. Returns when it runs (execve succeeded) or why it does not.
    pub fn spawn(self) -> Result<Child, SpawnError> {
        Err(SpawnError::System { step: "spawn", source: io::ErrorKind::Unsupported.into() })
    }
}
