//! Keeps the daemon reachable: serves the control socket, and makes the home again when somebody deletes it or moves it
//! away under a daemon that lives (`rm -rf ~/.musher`).
//!
//! Workers, their sockets and channels do not depend on the home, and log files that were deleted are made again by
//! those who write them. What has to be made here is what commands find the daemon by: the directory, the lock, and the
//! control socket. A new home that another daemon has taken in between is left to it; this one goes on without.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use musher_process::Pid;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::time::sleep;

use crate::control::{self, DriverHandle};
use crate::daemon_log::DaemonLog;
use crate::home::{self, CONTROL_NAME, DaemonPids, Home, HomeError, LOCK_NAME};
use crate::link::KeeperLink;

/// Whoever deletes a directory deletes one file after the other: this is the time to be done with it.
const SETTLE: Duration = Duration::from_millis(300);
/// The first and the longest pause before a home that could not be made is tried again.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is guarded.
pub(crate) struct Guard {
    pub(crate) home: Home,
    pub(crate) link: KeeperLink,
    pub(crate) driver: DriverHandle,
    pub(crate) log: DaemonLog,
}

impl Guard {
    /// Serves this control socket, and whatever takes its place, for as long as the process lives.
    pub(crate) async fn serve(self, mut control: OwnedFd) {
        loop {
            let (listener, driver) = (UnixListener::from(control), self.driver.clone());
            let serving = tokio::spawn(async move {
                if let Err(error) = control::serve(listener, driver).await {
                    tracing::error!(%error, "the control socket cannot be served");
                }
            });
            self.lost().await;
            control = self.make_again().await;
            serving.abort();
        }
    }

    /// Waits until the home is not what it was.
    async fn lost(&self) {
        let flags = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let watched = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).and_then(|watch| {
            inotify::add_watch(&watch, self.home.root(), flags | WatchFlags::ONLYDIR)?;
            Ok(watch)
        });
        let watched = watched.map_err(std::io::Error::from).and_then(crate::watch::watch);
        let watch = match watched {
            Ok(watch) => watch,
            // It is gone already, or the system has no watches left: then nothing would tell.
            Err(_) if !self.is_whole() => return,
            Err(error) => {
                tracing::warn!(%error, "the home cannot be watched: should it be deleted, nobody can reach this daemon");
                return std::future::pending().await;
            }
        };
        while self.is_whole() {
            let Ok(mut ready) = watch.readable().await else { return std::future::pending().await };
            // What happened does not matter, only what is there afterwards.
            let mut buffer = [0; 4096];
            while rustix::io::read(watch.get_ref(), &mut buffer).is_ok_and(|count| count > 0) {}
            ready.clear_ready();
        }
    }

    /// Whether commands find this daemon.
    fn is_whole(&self) -> bool {
        let socket = std::fs::symlink_metadata(self.home.control_socket());
        self.has_lock() && socket.is_ok_and(|found| found.file_type().is_socket())
    }

    /// Whether the lock file is still the one that this daemon has locked.
    fn has_lock(&self) -> bool {
        let held = self.link.copy(LOCK_NAME).and_then(|held| rustix::fs::fstat(held).ok());
        let named = std::fs::metadata(self.home.lock_file());
        matches!((held, named), (Some(held), Ok(named)) if (held.st_dev, held.st_ino) == (named.dev(), named.ino()))
    }

    /// Makes the home again, as often as it takes. The new control socket.
    async fn make_again(&self) -> OwnedFd {
        sleep(SETTLE).await;
        let mut pause = PAUSE;
        loop {
            match self.try_make() {
                Ok(control) => {
                    self.log.reopen();
                    tracing::warn!(home = %self.home.root().display(), "the home was deleted; it is made again");
                    return control;
                }
                Err(error) => tracing::error!(%error, "the home was deleted and cannot be made again yet"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_make(&self) -> Result<OwnedFd, HomeError> {
        // Not its parents: who deletes those wants more than the home to be gone.
        match std::fs::DirBuilder::new().mode(0o700).create(self.home.root()) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(home::failed(self.home.root(), error));
            }
            _ => {}
        }
        Home::open(self.home.root())?;
        if !self.has_lock() {
            let Some(lock) = home::take_lock(&self.home)? else {
                return Err(HomeError::Taken { path: self.home.root().to_owned() });
            };
            self.link.put(LOCK_NAME, lock.as_fd());
            let keeper = self.link.keeper_pid().map_or(0, Pid::as_raw);
            let _ = self.home.record_pids(DaemonPids { keeper, supervisor: Pid::own().as_raw() });
        }
        let control = home::listen(&self.home)?;
        self.link.put(CONTROL_NAME, control.as_fd());
        Ok(control)
    }
}
