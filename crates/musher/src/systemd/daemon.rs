//! The daemon as the attendant sees it: whether it answers, why it is gone, and what helps when it hangs.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use musher_api::Status;
use musher_api::client::{Client, ClientError};
use musher_process::{Pid, pidfd_open, signal};
use musher_supervisor::home::{Home, LeftBehind};
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::output::note;

/// How long a daemon that is just starting or ending is waited for.
const START: Duration = Duration::from_secs(10);
/// How long the last threads of a daemon that was killed may hold its lock.
const LAST_THREADS: Duration = Duration::from_secs(2);
const SIGKILL: i32 = 9;

/// The daemon of one home.
pub(super) struct Daemon {
    pub(super) home: Home,
    pub(super) client: Client,
    pub(super) executable: PathBuf,
}

/// What a look at it found.
pub(super) enum Look {
    Answers(Box<Status>),
    /// It lives and does not answer.
    Silent,
    /// It has ended because somebody wanted that.
    Ended,
    /// It was killed.
    Died,
}

impl Daemon {
    pub(super) fn new(home: Home) -> Result<Daemon, Failure> {
        let executable = std::env::current_exe()
            .map_err(|error| Failure::environment(format!("cannot tell where the executable is: {error}")))?;
        Ok(Daemon { client: Client::new(home.control_socket()), home, executable })
    }

    /// Starts it unless it lives. True: this call did.
    pub(super) fn start(&self) -> Result<bool, Failure> {
        Ok(self.home.connect_or_start(&self.executable, START)?.1)
    }

    /// Looks whether it answers within `patience`.
    pub(super) async fn look(&self, patience: Duration) -> Look {
        match timeout(patience, self.client.status()).await {
            Ok(Ok(status)) => Look::Answers(Box::new(status)),
            Ok(Err(ClientError::NotRunning { .. })) => self.why_gone().await,
            Ok(Err(_)) | Err(_) => Look::Silent,
        }
    }

    /// Whether it was to end. One that was killed may hold its lock for a moment more; a lock tells nobody when it is
    /// let go of.
    async fn why_gone(&self) -> Look {
        let deadline = Instant::now() + LAST_THREADS;
        loop {
            match self.home.left_behind() {
                Ok(LeftBehind::DaemonLives) | Err(_) if Instant::now() >= deadline => return Look::Silent,
                Ok(LeftBehind::DaemonLives) | Err(_) => sleep(Duration::from_millis(10)).await,
                Ok(LeftBehind::Stopped { .. }) => return Look::Ended,
                // `musher kill` removes the list; one without apps may as well have been killed.
                Ok(LeftBehind::Nothing) if !self.home.team_list().exists() => return Look::Ended,
                Ok(LeftBehind::Nothing | LeftBehind::Team { .. } | LeftBehind::Unreadable) => return Look::Died,
            }
        }
    }

    /// Kills the supervisor, if it does not answer: the keeper starts another one, which goes on with the workers.
    pub(super) fn kill_supervisor(&self) {
        if let Some(pids) = self.home.daemon_pids() {
            kill(pids.supervisor, "musher-superv");
        }
    }

    /// Kills both, and waits until nobody listens any more: the next daemon takes the workers over from the list on the
    /// disk.
    pub(super) async fn kill_both(&self) {
        let Some(pids) = self.home.daemon_pids() else { return };
        // The keeper first: it would start another supervisor.
        let killed = kill(pids.keeper, "musher-keeper");
        if !kill(pids.supervisor, "musher-superv") && !killed {
            return;
        }
        let deadline = Instant::now() + LAST_THREADS;
        while Instant::now() < deadline && !matches!(self.home.connect(), Ok(None)) {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Kills a process of musher, and tells whether it did. The number may be another's by now.
fn kill(pid: i32, name: &str) -> bool {
    let killed = || -> io::Result<bool> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(pid)?;
        let found = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
        if found.trim_end() != name {
            return Ok(false);
        }
        signal(pidfd.as_fd(), SIGKILL).map(|()| true)
    };
    match killed() {
        Ok(true) => {
            note(&format!("{name} (process {pid}) does not answer: killed, its workers are not touched"));
            return true;
        }
        Ok(false) => {}
        Err(error) => note(&format!("{name} (process {pid}) does not answer and cannot be killed: {error}")),
    }
    false
}
