//! What can be wrong with a home, in words.

use std::io;
use std::path::{Path, PathBuf};

use musher_process::SpawnError;

/// Why a home cannot be used or its daemon not be started.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither variable is set.
    #[error("neither MUSHER_HOME nor HOME is set")]
    Unset,
    /// MUSHER_HOME is not absolute and there is no working directory.
    #[error("{path}: not an absolute path, and the current directory is unknown")]
    Relative {
        /// The home.
        path: PathBuf,
    },
    /// The control socket's path would not fit into a socket address.
    #[error("{path}: the path of the control socket would have {length} bytes; a socket's path has at most 107")]
    PathTooLong {
        /// The home.
        path: PathBuf,
        /// Length of the socket's path.
        length: usize,
    },
    /// Something else has this name.
    #[error("{path}: not a directory")]
    NotADirectory {
        /// The home.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("{path}: belongs to user {owner}, not to user {us}")]
    ForeignOwner {
        /// The home.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective user of this process.
        us: u32,
    },
    /// Others could put things into it.
    #[error("{path}: others can write to it (mode {mode:04o})")]
    WritableByOthers {
        /// The home.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system or the permissions do not let us write.
    #[error("{path}: cannot be written: {source}")]
    ReadOnly {
        /// What could not be written.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("{path}: another daemon has taken it")]
    Taken {
        /// The home.
        path: PathBuf,
    },
    /// Any other failure.
    #[error("{path}: {source}")]
    Io {
        /// What failed.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The keeper could not be executed.
    #[error("cannot start the daemon: {0}")]
    Spawn(#[from] SpawnError),
    /// A daemon of this home lives.
    #[error("{path}: a daemon of this home runs already")]
    Lives {
        /// The home.
        path: PathBuf,
    },
    /// A daemon holds the lock but takes no connection.
    #[error("{path}: a daemon of this home runs but does not answer on its control socket")]
    NoAnswer {
        /// The home.
        path: PathBuf,
    },
}

impl HomeError {
    /// What to do about it, as a sentence for people.
    pub fn hint(&self) -> &'static str {
        match self {
            HomeError::Unset => "set MUSHER_HOME to a directory of your own",
            HomeError::Relative { .. } => "give MUSHER_HOME as an absolute path",
            HomeError::PathTooLong { .. } => "set MUSHER_HOME to a shorter path",
            HomeError::NotADirectory { .. } => "move that file away or set MUSHER_HOME to another path",
            HomeError::ForeignOwner { .. } => "run as that user, or set MUSHER_HOME to a directory of your own",
            HomeError::WritableByOthers { .. } => "take the permission away: chmod go-w on that directory",
            HomeError::ReadOnly { .. } => "make it writable or set MUSHER_HOME to a directory that is",
            HomeError::Taken { .. } => "set MUSHER_HOME to another directory",
            HomeError::Io { .. } => "see the system's message; another MUSHER_HOME may help",
            HomeError::Spawn(_) => "see musher.log in the home for what the daemon said",
            HomeError::Lives { .. } => "give another home with --home, or end that daemon with `musher kill`",
            HomeError::NoAnswer { .. } => "see musher.log in the home; `musher kill` or ending its processes helps",
        }
    }
}

pub(crate) fn failed(path: &Path, source: io::Error) -> HomeError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => HomeError::ReadOnly { path, source },
        io::ErrorKind::NotADirectory => HomeError::NotADirectory { path },
        _ => HomeError::Io { path, source },
    }
}
