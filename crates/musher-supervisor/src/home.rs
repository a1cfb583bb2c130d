//! The home of one daemon: a directory with its socket, its lock, its log and the logs of its apps.
//!
//! ```text
//! $MUSHER_HOME (else $HOME/.musher), 0700
//!   lock             flock(2) held by keeper and supervisor together; its text names their pids
//!   control.sock     0600, the control API
//!   musher.log       what the daemon itself has to say; musher.log.1: what it said before
//!   team.list        0600, the apps as they are, for after a crash of everything or a reboot
//!   saved.list       0600, the apps as they were at the last `musher save`
//!   logs/<app>/      out.log, err.log, index and their rotated forerunners
//! ```
//!
//! The lock is the only proof that a daemon lives. It belongs to one open file description that keeper and supervisor
//! inherit from the process that started them, so it is held as long as either lives and nobody else can hold it in
//! between. A `control.sock` without a held lock is a leftover and is removed.
//!
//! [`start_daemon`] opens the control socket before the daemon exists: a client can connect at once, and its request
//! waits in the socket's queue. Two commands at once start one daemon, because only one of them gets the lock.
//!
//! What does not belong here: what the daemon does, and any cleaning up of logs.

mod error;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use musher_process::{Child, Spawn, inherit};
use rustix::fs::FlockOperation;
use rustix::process::Resource;

pub use self::error::HomeError;
pub(crate) use self::error::failed;
use crate::keeper::Adoption;
use crate::team::TeamFile;

/// Name of the lock's fd in the keeper.
pub const LOCK_NAME: &str = "lock";
/// Name of the listening control socket in the keeper.
pub const CONTROL_NAME: &str = "control";

/// Set for keeper and supervisor whose standard streams are somebody else's.
pub(crate) const FOREGROUND: &str = "MUSHER_FOREGROUND";
/// unix(7): sun_path is 108 bytes with its final NUL.
const MAX_SOCKET_PATH: usize = 107;
/// The daemon's environment: what programs need to find things, and nothing that the first user happened to have.
/// `MUSHER_RUN` must not get in: it marks the workers.
const DAEMON_ENV: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "MUSHER_LOG",
    "RUST_BACKTRACE",
    "MUSHER_AT_BOOT",
    "LD_LIBRARY_PATH",
];

/// A home that exists, belongs to us and cannot be written by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// What a command found or did on its way to a daemon.
#[derive(Debug)]
pub enum Start {
    /// The daemon was started by this call; its control socket can be connected to. The child is its keeper.
    Started(Child),
    /// A daemon of this home lives (or is just being started by another command, or is just ending).
    AlreadyRunning,
}

/// What a daemon left on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftBehind {
    /// It lives.
    DaemonLives,
    /// Nothing: no apps, or everything was ended by `musher kill`.
    Nothing,
    /// Apps that were running when supervisor and keeper died or the machine lost its power.
    Team {
        /// How many.
        apps: usize,
    },
    /// Apps that were stopped with the daemon, in order, as at the end of the system.
    Stopped {
        /// How many.
        apps: usize,
    },
    /// A list that cannot be read.
    Unreadable,
}

/// The processes of the daemon, as they wrote themselves into the lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaemonPids {
    /// Process id of the keeper.
    pub keeper: i32,
    /// Process id of the supervisor.
    pub supervisor: i32,
}

impl Home {
    /// The home that the environment names, made if it does not exist.
    ///
    /// # Errors
    ///
    /// See [`HomeError`].
    pub fn from_env() -> Result<Home, HomeError> {
        Home::open(&Home::resolve(std::env::var_os("MUSHER_HOME"), std::env::var_os("HOME"))?)
    }

    /// Where the home is, given the two variables. Nothing is looked at.
    ///
    /// # Errors
    ///
    /// [`HomeError::Unset`], [`HomeError::Relative`].
    pub fn resolve(musher_home: Option<OsString>, user_home: Option<OsString>) -> Result<PathBuf, HomeError> {
        let set = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = match (set(musher_home), set(user_home)) {
            (Some(path), _) => path,
            (None, Some(home)) => home.join(".musher"),
            (None, None) => return Err(HomeError::Unset),
        };
        std::path::absolute(&path).map_err(|_| HomeError::Relative { path })
    }

    /// Opens the home at `root`, making the directory (0700) and its parents if need be.
    ///
    /// # Errors
    ///
    /// See [`HomeError`]. Nothing is made when the path is too long.
    pub fn open(root: &Path) -> Result<Home, HomeError> {
        let home = Home { root: root.to_path_buf() };
        let length = home.control_socket().as_os_str().len();
        if length > MAX_SOCKET_PATH {
            return Err(HomeError::PathTooLong { path: home.root, length });
        }
        match std::fs::metadata(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private_dir(root).map_err(|e| failed(root, e))?
            }
            Err(error) => return Err(failed(root, error)),
            Ok(_) => {}
        }
        let found = std::fs::metadata(root).map_err(|e| failed(root, e))?;
        let us = rustix::process::geteuid().as_raw();
        if !found.is_dir() {
            return Err(HomeError::NotADirectory { path: home.root });
        }
        if found.uid() != us {
            return Err(HomeError::ForeignOwner { path: home.root, owner: found.uid(), us });
        }
        if found.mode() & 0o022 != 0 {
            return Err(HomeError::WritableByOthers { path: home.root, mode: found.mode() & 0o7777 });
        }
        Ok(home)
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The control API's socket.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The file whose lock proves a daemon.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// What keeper and supervisor write to stdout and stderr.
    pub fn daemon_log(&self) -> PathBuf {
        self.root.join("musher.log")
    }

    /// The apps as they are, written by the daemon.
    pub fn team_list(&self) -> PathBuf {
        self.root.join("team.list")
    }

    /// The apps as they were when a user wanted them saved.
    pub fn saved_list(&self) -> PathBuf {
        self.root.join("saved.list")
    }

    /// What the daemon left on the disk, if none lives. A list that cannot be read counts: the next daemon says so.
    ///
    /// # Errors
    ///
    /// When the lock file cannot be opened.
    pub fn left_behind(&self) -> Result<LeftBehind, HomeError> {
        if self.daemon_lives()? {
            return Ok(LeftBehind::DaemonLives);
        }
        Ok(match TeamFile::read(&self.team_list()) {
            Ok(None) => LeftBehind::Nothing,
            Ok(Some(file)) if file.apps() == 0 => LeftBehind::Nothing,
            Ok(Some(file)) if file.ended => LeftBehind::Stopped { apps: file.apps() },
            Ok(Some(file)) => LeftBehind::Team { apps: file.apps() },
            Err(_) => LeftBehind::Unreadable,
        })
    }

    /// The directory of the apps' logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// A word that tells this home from every other on this machine: device and inode of the directory.
    ///
    /// # Errors
    ///
    /// When the directory cannot be looked at.
    pub fn id(&self) -> Result<String, HomeError> {
        let found = std::fs::metadata(&self.root).map_err(|e| failed(&self.root, e))?;
        Ok(format!("{:x}-{:x}", found.dev(), found.ino()))
    }

    /// Whether a daemon holds the lock at this moment.
    ///
    /// # Errors
    ///
    /// When the lock file cannot be opened.
    pub fn daemon_lives(&self) -> Result<bool, HomeError> {
        let path = self.lock_file();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&path, error)),
            // A shared lock for an instant: a start at the same moment sees "already running" and tries again.
            Ok(file) => match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => Ok(false),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
                Err(error) => Err(failed(&path, error.into())),
            },
        }
    }

    /// Writes the pids into the lock file, for people and for [`Home::daemon_pids`]. The supervisor calls it when it
    /// starts.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn record_pids(&self, pids: DaemonPids) -> io::Result<()> {
        std::fs::write(self.lock_file(), format!("keeper {}\nsupervisor {}\n", pids.keeper, pids.supervisor))
    }

    /// The pids in the lock file. They are hints: only [`Home::daemon_lives`] proves anything.
    pub fn daemon_pids(&self) -> Option<DaemonPids> {
        let text = std::fs::read_to_string(self.lock_file()).ok()?;
        let find = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        Some(DaemonPids { keeper: find("keeper ")?, supervisor: find("supervisor ")? })
    }

    /// Connects to the daemon of this home; none: there is none.
    ///
    /// # Errors
    ///
    /// When there is one but the connection fails.
    pub fn connect(&self) -> Result<Option<UnixStream>, HomeError> {
        match UnixStream::connect(self.control_socket()) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(failed(&self.control_socket(), error)),
        }
    }

    /// Connects to the daemon of this home, starting it with the executable `exe` if there is none. True: this call
    /// started it.
    ///
    /// # Errors
    ///
    /// See [`HomeError`]; [`HomeError::NoAnswer`] when the lock is held for longer than `patience` but nothing listens.
    pub fn connect_or_start(&self, exe: &Path, patience: Duration) -> Result<(UnixStream, bool), HomeError> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        let mut started = false;
        loop {
            if let Some(stream) = self.connect()? {
                return Ok((stream, started));
            }
            match start_daemon(self, exe)? {
                Start::Started(_) => started = true,
                Start::AlreadyRunning if Instant::now() >= deadline => {
                    return Err(HomeError::NoAnswer { path: self.root.clone() });
                }
                // Another command is between its lock and its socket, or a daemon is about to end. Neither can be
                // waited for by an event without holding up the other, and both take milliseconds.
                Start::AlreadyRunning => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
            }
        }
    }
}

/// Starts the daemon of `home` with the executable `exe`, unless one lives. When this returns, its control socket takes
/// connections.
///
/// # Errors
///
/// See [`HomeError`]. Then no process was started and no lock is held.
pub fn start_daemon(home: &Home, exe: &Path) -> Result<Start, HomeError> {
    let Some(lock) = take_lock(home)? else { return Ok(Start::AlreadyRunning) };
    let control = listen(home)?;
    let log = append(&home.daemon_log())?;
    let null = File::open("/dev/null").map_err(|e| failed(Path::new("/dev/null"), e))?;
    let log_again = log.try_clone().map_err(|e| failed(&home.daemon_log(), e))?;

    let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let mut adoption = Adoption::new(limit);
    adoption.fd(LOCK_NAME, 4);
    adoption.fd(CONTROL_NAME, 5);
    let list = adoption.to_memfd().map_err(|e| failed(&home.root, e))?;

    let spawn = Spawn {
        args: ["musher", "keeper", "--adopt", "3"].map(OsString::from).to_vec(),
        env: daemon_env(home),
        fds: vec![(null.into(), 0), (log.into(), 1), (log_again.into(), 2), (list, 3), (lock.into(), 4), (control, 5)],
        session: true,
        ..Spawn::new(exe)
    };
    match spawn.spawn() {
        Ok(keeper) => Ok(Start::Started(keeper)),
        Err(error) => {
            // Nobody will ever accept on it.
            let _ = std::fs::remove_file(home.control_socket());
            Err(error.into())
        }
    }
}

/// Turns this process into the daemon of `home`: its keeper, with the pid and the standard streams of this process.
/// `more` are descriptors that it is to hold beside its own. Returns only if that fails.
///
/// # Errors
///
/// See [`HomeError`]; [`HomeError::Lives`] when a daemon of this home lives.
pub fn become_daemon(home: &Home, more: &[(&str, OwnedFd)]) -> HomeError {
    let prepare = || -> Result<(File, OwnedFd, OwnedFd), HomeError> {
        let lock = take_lock(home)?.ok_or_else(|| HomeError::Lives { path: home.root.clone() })?;
        let control = listen(home)?;
        let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let mut adoption = Adoption::new(limit);
        adoption.fd(LOCK_NAME, lock.as_raw_fd());
        adoption.fd(CONTROL_NAME, control.as_raw_fd());
        for (name, fd) in more {
            adoption.fd(name, fd.as_raw_fd());
        }
        let list = adoption.to_memfd().map_err(|e| failed(&home.root, e))?;
        Ok((lock, control, list))
    };
    let (lock, control, list) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return error,
    };
    let number = list.as_raw_fd().to_string();
    let mut keep = vec![lock.as_fd(), control.as_fd(), list.as_fd()];
    keep.extend(more.iter().map(|(_, fd)| fd.as_fd()));
    let mut env = daemon_env(home);
    env.push((FOREGROUND.into(), "1".into()));
    // Somebody reads what the daemon says: only what matters.
    if !env.iter().any(|(key, _)| key == "MUSHER_LOG") {
        env.push(("MUSHER_LOG".into(), "warn".into()));
    }
    let source = inherit::exec_self_in(&env, &["musher", "keeper", "--adopt", &number], &keep);
    let _ = std::fs::remove_file(home.control_socket());
    HomeError::Io { path: home.root.clone(), source }
}

/// The lock, or none when somebody holds it.
pub(crate) fn take_lock(home: &Home) -> Result<Option<File>, HomeError> {
    let path = home.lock_file();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed(&path, e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed(&path, error.into())),
    }
}

/// The control socket, listening. The caller holds the lock, so whatever has its name is a leftover.
pub(crate) fn listen(home: &Home) -> Result<OwnedFd, HomeError> {
    let path = home.control_socket();
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(&path).map_err(|e| failed(&path, e))?,
        Ok(_) => {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a socket has this name");
            return Err(HomeError::Io { path, source });
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(|e| failed(&path, e))?;
    // The home is 0700 or at least not writable by others; this is the second fence.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(|e| failed(&path, e))?;
    // std listens with 128; a burst of clients during a restart of the supervisor waits here.
    rustix::net::listen(listener.as_fd(), 1024).map_err(|e| failed(&path, e.into()))?;
    Ok(listener.into())
}

fn append(path: &Path) -> Result<File, HomeError> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|e| failed(path, e))
}

fn daemon_env(home: &Home) -> Vec<(OsString, OsString)> {
    let mut env: Vec<_> =
        std::env::vars_os().filter(|(key, _)| DAEMON_ENV.iter().any(|wanted| key == OsStr::new(wanted))).collect();
    env.push(("MUSHER_HOME".into(), home.root.clone().into()));
    env
}

/// Makes `path` and its parents; `path` itself is 0700.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_home() {
        let resolve =
            |musher: Option<&str>, home: Option<&str>| Home::resolve(musher.map(Into::into), home.map(Into::into));
        assert_eq!(resolve(Some("/a/b"), Some("/home/me")).unwrap(), Path::new("/a/b"));
        assert_eq!(resolve(None, Some("/home/me")).unwrap(), Path::new("/home/me/.musher"));
        assert_eq!(resolve(Some(""), Some("/home/me")).unwrap(), Path::new("/home/me/.musher"));
        assert!(resolve(Some("relative"), None).unwrap().is_absolute());
        assert!(matches!(resolve(None, None), Err(HomeError::Unset)));
    }

    #[test]
    fn a_new_home_is_private() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(&root.path().join("deep/home")).unwrap();
        assert_eq!(std::fs::metadata(home.root()).unwrap().mode() & 0o777, 0o700);
        assert!(!home.daemon_lives().unwrap());
        assert_eq!(home.daemon_pids(), None);
        assert!(home.connect().unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_a_home_is_refused_with_a_reason_and_a_hint() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let open_to_all = root.path().join("open");
        std::fs::create_dir(&open_to_all).unwrap();
        std::fs::set_permissions(&open_to_all, PermissionsExt::from_mode(0o770)).unwrap();
        let long = root.path().join("x".repeat(100));
        let refused = |path: &Path| {
            let error = Home::open(path).unwrap_err();
            assert!(!error.hint().is_empty() && !error.to_string().is_empty());
            error
        };
        assert!(matches!(refused(&file), HomeError::NotADirectory { .. }));
        assert!(matches!(refused(&file.join("below")), HomeError::NotADirectory { .. }));
        assert!(matches!(refused(&open_to_all), HomeError::WritableByOthers { mode: 0o770, .. }));
        assert!(matches!(refused(&long), HomeError::PathTooLong { .. }));
        assert!(!long.exists(), "nothing was made");
        assert!(matches!(refused(Path::new("/proc/1/musher")), HomeError::ReadOnly { .. } | HomeError::Io { .. }));
    }

    #[test]
    fn the_home_of_another_user_is_refused() {
        let root = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(root.path(), Some(12345), None).is_err() {
            println!("skipped: only root can give a directory away");
            return;
        }
        assert!(matches!(Home::open(root.path()), Err(HomeError::ForeignOwner { owner: 12345, .. })));
    }

    #[test]
    fn the_lock_is_held_as_long_as_a_descriptor_of_it_lives() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(root.path()).unwrap();
        let lock = take_lock(&home).unwrap().unwrap();
        let inherited = lock.try_clone().unwrap();
        drop(lock);
        assert!(home.daemon_lives().unwrap());
        assert!(take_lock(&home).unwrap().is_none());
        home.record_pids(DaemonPids { keeper: 12, supervisor: 34 }).unwrap();
        assert!(home.daemon_lives().unwrap(), "writing pids takes no lock away");
        assert_eq!(home.daemon_pids(), Some(DaemonPids { keeper: 12, supervisor: 34 }));
        drop(inherited);
        assert!(!home.daemon_lives().unwrap());
    }

    #[test]
    fn something_else_in_the_place_of_the_socket_is_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(root.path()).unwrap();
        std::fs::write(home.control_socket(), "mine").unwrap();
        assert!(matches!(listen(&home), Err(HomeError::Io { .. })));
        assert_eq!(std::fs::read_to_string(home.control_socket()).unwrap(), "mine");
    }

    #[test]
    fn the_control_socket_is_private_and_takes_connections_at_once() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(root.path()).unwrap();
        let _listener = listen(&home).unwrap();
        assert_eq!(std::fs::metadata(home.control_socket()).unwrap().mode() & 0o777, 0o600);
        assert!(home.connect().unwrap().is_some());
    }
}
