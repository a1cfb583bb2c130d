//! Programs on `PATH`; users and groups of /etc/passwd and /etc/group.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// A program was not found.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// In no directory.
    #[error("there is no program {name:?} in PATH")]
    NotFound {
        /// As asked for.
        name: String,
    },
    /// Found, but it cannot be executed.
    #[error("{} is not executable", path.display())]
    NotExecutable {
        /// The first such file.
        path: PathBuf,
    },
}

/// Finds a program as a shell would: a name with a slash is a path relative to `cwd`, else the directories of
/// `path_env` are searched. The result is absolute.
pub fn find_in_path(name: &OsStr, path_env: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, LookupError> {
    let _ = (path_env, cwd);
    Err(LookupError::NotFound { name: name.to_string_lossy().into_owned() })
}

/// A user of /etc/passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// Name; the number if the user has no entry.
    pub name: String,
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Primary and supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: Option<PathBuf>,
    /// Login shell.
    pub shell: Option<PathBuf>,
}

/// A user by name or number. Reads /etc/passwd and /etc/group only: users of LDAP and the like are not known.
pub fn lookup_user(user: &str) -> io::Result<Option<UserEntry>> {
    let _ = user;
    Err(io::ErrorKind::Unsupported.into())
}

/// A group by name or number.
pub fn lookup_group(group: &str) -> io::Result<Option<u32>> {
    let _ = group;
    Err(io::ErrorKind::Unsupported.into())
}
