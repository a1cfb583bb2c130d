//! Processes that stand still: they are looked at, then go on or die.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use musher_bench::{proc_fs, wait};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Stopped by SIGSTOP. Dropping it lets it go on.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// By pidfd, so that no later process of the same number is meant.
    processes: Vec<(u32, OwnedFd)>,
    /// When all of them stood still.
    pub(crate) since: Instant,
}

impl Frozen {
    /// Stops these processes; those that are gone are left out.
    pub(crate) fn stop(pids: &[u32]) -> io::Result<Frozen> {
        let mut processes = Vec::new();
        for pid in pids {
            let raw = i32::try_from(*pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
            let Ok(file) = pidfd_open(raw, PidfdFlags::empty()) else { continue };
            if pidfd_send_signal(&file, Signal::STOP).is_ok() {
                processes.push((*pid, file));
            }
        }
        if processes.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut frozen = Frozen { processes, since: Instant::now() };
        let still = wait::until_every(Duration::from_micros(200), Duration::from_secs(10), || {
            let stands = |pid: u32| proc_fs::state(pid).is_none_or(|state| "TtZX".contains(state));
            frozen.processes.iter().all(|(pid, _)| stands(*pid)).then_some(())
        });
        still.ok_or(io::ErrorKind::TimedOut)?;
        frozen.since = Instant::now();
        Ok(frozen)
    }

    /// The clients of the connections to local port `port` that they have accepted and not closed.
    pub(crate) fn held(&self, port: u16) -> HashSet<u16> {
        self.processes.iter().flat_map(|(pid, _)| proc_fs::accepted(*pid, port)).collect()
    }

    /// Ends the first of them, which is the one that musher waits for. What stands around it stays stopped: that is musher's
    /// to end.
    pub(crate) fn end_first(mut self, signal: Signal) -> io::Result<u32> {
        let processes = std::mem::take(&mut self.processes);
        let Some((pid, file)) = processes.first() else { return Err(io::ErrorKind::NotFound.into()) };
        pidfd_send_signal(file, signal)?;
        if signal != Signal::KILL {
            // Only SIGKILL ends what stands still. The signal is taken before the program goes on.
            pidfd_send_signal(file, Signal::CONT)?;
        }
        Ok(*pid)
    }

    /// SIGKILL for all of them.
    pub(crate) fn kill_all(mut self) -> io::Result<()> {
        for (_, file) in std::mem::take(&mut self.processes) {
            pidfd_send_signal(file, Signal::KILL)?;
        }
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for (_, file) in &self.processes {
            // One that is gone by now needs nothing.
            let _ = pidfd_send_signal(file, Signal::CONT);
        }
    }
}
