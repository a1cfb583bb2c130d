//! A cgroup v2 per run, where the system lets us make one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The directory `musher.<home>` below our own cgroup.
#[derive(Clone, Debug)]
pub struct Cgroups {
    directory: PathBuf,
}

impl Cgroups {
    /// Finds cgroup v2 (wherever it is mounted) and makes our directory. `None` where it is missing or not writable.
    #[must_use]
    pub fn open(home: &str) -> Option<Cgroups> {
        let _ = home;
        None
    }

    /// Makes the cgroup of a run. The descriptor is for [`crate::Spawn::cgroup`].
    pub fn create(&self, run: &str) -> io::Result<OwnedFd> {
        let _ = run;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The directory of a run's cgroup, made or not.
    #[must_use]
    pub fn path(&self, run: &str) -> PathBuf {
        self.directory.join(format!("run.{run}"))
    }

    /// Removes the cgroup of a run. `ResourceBusy` while it has processes; not there is success.
    pub fn remove(&self, run: &str) -> io::Result<()> {
        let _ = run;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes what is empty, and our own directory if nothing is left.
    pub fn clean(&self) {}
}

/// Kills every process of a cgroup and of those below it at once (cgroup.kill).
pub fn kill(directory: &Path) -> io::Result<()> {
    let _ = directory;
    Err(io::ErrorKind::Unsupported.into())
}
