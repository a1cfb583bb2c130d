//! Every process of a run, also those that left its process group.
//!
//! A run's processes are found by four traces, from the surest to the weakest:
//!
//! 1. its cgroup, where there is one: nothing leaves it, and the third trace is not needed;
//! 2. descent from its first process (/proc/PID/task/*/children);
//! 3. orphans: when a process in between has ended, its children fall to the supervisor or keeper (subreapers). Such a
//!    child belongs to the run if its environment has the run's [`MARKER`], or if it has no marker at all and is in the
//!    session or process group that the run's first process made;
//! 4. descent from those.
//!
//! Without a cgroup a process escapes that starts a new session, outlives its parents, **and** hides its environment
//! (`env -i`, or a program that writes its title over it). /proc is not searched as a whole, but where the kernel lacks
//! `children` files (CONFIG_PROC_CHILDREN).
//!
//! Numbers found in /proc may be reused before a signal is sent. So each process is held by a pidfd before it is judged,
//! and is taken only if it started before its number was listed: then it is the one that was listed.
//!
//! [`Tree`] shows how to kill all that a child has started.
//!
//! ```
//! use musher_process::{Pid, tree};
//! println!("what we leave behind falls to one of {:?}", tree::ancestors(Pid::own()));
//! ```

mod look;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cgroup;
use crate::exit;
use crate::pid::Pid;

pub use look::Look;
pub use scan::{MARKER, ancestors};
// Recovery of a daemon's own runs.
#[doc(hidden)]
pub use scan::{find_by_home, find_by_marker, find_marked, has_our_environment, is_marked, variable_of};

/// How often processes are looked for that appeared while the others were killed. A process with a waiting SIGKILL
/// cannot fork, so each round leaves only children of the moment.
const ROUNDS: usize = 64;

/// Where to look for the processes of one run, as the caller knows it. With many runs in view, one [`Look`] serves them all.
///
/// ```
/// use musher_process::{Pid, Spawn, Tree, tree};
/// use std::collections::BTreeSet;
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let args = ["sh", "-c", "sleep 60 & wait"].map(Into::into).to_vec();
/// let child = Spawn { args, env: vec![("JOB".into(), "7".into())], ..Spawn::new("/bin/sh") }.spawn()?;
/// let job = Tree {
///     root: child.pid,
///     pidfd: child.pidfd.as_fd(),
///     variable: "JOB",
///     marker: "7",
///     cgroup: None,
///     reapers: &tree::ancestors(Pid::own()),
///     others: &BTreeSet::new(),
/// };
/// assert_eq!(job.members()?.first(), Some(&child.pid));
/// assert_eq!(job.kill_all(Duration::from_secs(60))?, []);
/// assert_eq!(job.members()?, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    /// The process that was spawned. It may have ended.
    pub root: Pid,
    /// Its pidfd: tells whether `root` is still that process.
    pub pidfd: BorrowedFd<'a>,
    /// The variable in its environment that tells its processes from those of other runs: [`MARKER`], or one of the
    /// caller's own.
    pub variable: &'a str,
    /// The value of that variable.
    pub marker: &'a str,
    /// The directory of the run's cgroup, if it has one.
    pub cgroup: Option<&'a Path>,
    /// The processes to which orphans fall: supervisor and keeper (and 1 if those are no subreapers).
    pub reapers: &'a [Pid],
    /// The first processes of all runs: those of others are never taken for orphans of this one, and not looked into.
    pub others: &'a BTreeSet<Pid>,
}

/// A process that is held: the descriptor means it and no other.
#[derive(Debug)]
struct Member {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Tree<'_> {
    /// The living processes of the run (no zombies), the first one first if it lives. [`Tree`] has an example.
    pub fn members(&self) -> io::Result<Vec<Pid>> {
        Ok(self.find(&mut Look::default())?.into_iter().map(|member| member.pid).collect())
    }

    /// Sends a signal to every process of the run, the first one first. Returns to how many. Processes of a user that we
    /// may not signal are left out. The signal is not repeated for processes that appear meanwhile.
    ///
    /// ```
    /// # use musher_process::{Pid, Spawn, Tree, tree};
    /// # use std::{collections::BTreeSet, os::fd::AsFd, time::Duration};
    /// # let args = ["sleep", "60"].map(Into::into).to_vec();
    /// # let child = Spawn { args, env: vec![("JOB".into(), "8".into())], ..Spawn::new("/bin/sleep") }.spawn()?;
    /// # let (reapers, others) = (tree::ancestors(Pid::own()), BTreeSet::new());
    /// # let pidfd = child.pidfd.as_fd();
    /// # let (root, variable, marker, reapers, others) = (child.pid, "JOB", "8", reapers.as_slice(), &others);
    /// let job = Tree { root, pidfd, variable, marker, cgroup: None, reapers, others };
    /// assert_eq!(job.signal_all(15)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn signal_all(&self, signal: i32) -> io::Result<usize> {
        self.signal_all_of(signal, &mut Look::default())
    }

    /// The same for one of many runs that are sent a signal in the same moment.
    ///
    /// ```
    /// # use musher_process::{Pid, Spawn, Tree, tree};
    /// # use std::{collections::BTreeSet, os::fd::AsFd, time::Duration};
    /// # let args = ["sleep", "60"].map(Into::into).to_vec();
    /// # let child = Spawn { args, env: vec![("JOB".into(), "9".into())], ..Spawn::new("/bin/sleep") }.spawn()?;
    /// # let (reapers, others) = (tree::ancestors(Pid::own()), BTreeSet::new());
    /// # let pidfd = child.pidfd.as_fd();
    /// # let (root, variable, marker, reapers, others) = (child.pid, "JOB", "9", reapers.as_slice(), &others);
    /// # let jobs = [Tree { root, pidfd, variable, marker, cgroup: None, reapers, others }];
    /// let mut look = tree::Look::default();
    /// for job in &jobs {
    ///     job.signal_all_of(15, &mut look)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn signal_all_of(&self, signal: i32, look: &mut Look) -> io::Result<usize> {
        let mut reached = 0;
        for member in self.find(look)? {
            match exit::signal(member.pidfd.as_fd(), signal) {
                Ok(()) => reached += 1,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EPERM)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(reached)
    }

    /// Kills every process of the run, repeatedly until no new one appears, and waits up to `patience` for their ends.
    /// Returns those that still live: with zero patience perhaps all, since death takes a moment; else what hangs in
    /// the kernel, could not be signalled or forks faster than we look. Reaps nobody. [`Tree`] has an example.
    pub fn kill_all(&self, patience: Duration) -> io::Result<Vec<Pid>> {
        kill_all(std::slice::from_ref(self), patience)
    }

    fn find(&self, look: &mut Look) -> io::Result<Vec<Member>> {
        scan::Scan::new(self, look).run()
    }
}

/// [`Tree::kill_all`] of many runs at once: they share every look, and the patience. An error concerns one of them; the
/// others are killed nevertheless.
///
/// ```
/// use musher_process::{Tree, tree};
/// use std::time::Duration;
///
/// let jobs: Vec<Tree> = Vec::new(); // those that are to end
/// assert_eq!(tree::kill_all(&jobs, Duration::from_secs(5))?, []);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn kill_all(trees: &[Tree<'_>], patience: Duration) -> io::Result<Vec<Pid>> {
    let deadline = Instant::now() + patience;
    for directory in trees.iter().filter_map(|tree| tree.cgroup) {
        // Gone, or an old kernel: then one by one.
        let _ = cgroup::kill(directory);
    }
    let mut killed: BTreeMap<Pid, OwnedFd> = BTreeMap::new();
    // Children move to other parents while processes end, and the kernel's lists may skip one then. So the last
    // look comes when all have ended, or (when patience is over) there are two that find nothing.
    let (mut quiet_rounds, mut all_ended) = (0, false);
    for _ in 0..ROUNDS {
        killed.retain(|_, pidfd| is_alive(pidfd));
        let new = kill_new(trees, &mut killed)?;
        quiet_rounds = if new { 0 } else { quiet_rounds + 1 };
        if quiet_rounds >= 1 && all_ended || quiet_rounds >= 2 && Instant::now() >= deadline {
            killed.retain(|_, pidfd| is_alive(pidfd));
            return Ok(killed.into_keys().collect());
        }
        all_ended = !new && wait_for_ends(killed.values(), deadline)?;
    }
    let mut look = Look::default();
    let found = trees.iter().map(|tree| tree.find(&mut look)).collect::<io::Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().map(|member| member.pid).collect())
}

/// Kills those that are not yet in `killed`, and says whether there were any. What lives there with the same number
/// is the same process.
fn kill_new(trees: &[Tree<'_>], killed: &mut BTreeMap<Pid, OwnedFd>) -> io::Result<bool> {
    let before = killed.len();
    let mut look = Look::default();
    let mut failed = None;
    for tree in trees {
        match tree.find(&mut look) {
            Ok(found) => {
                for member in found {
                    if let Entry::Vacant(place) = killed.entry(member.pid) {
                        let _ = exit::signal(member.pidfd.as_fd(), libc::SIGKILL);
                        place.insert(member.pidfd);
                    }
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if killed.len() == before => Err(error),
        _ => Ok(killed.len() > before),
    }
}

fn is_alive(pidfd: &OwnedFd) -> bool {
    exit::has_ended(pidfd.as_fd()).is_ok_and(|ended| !ended)
}

fn wait_for_ends<'a>(mut pidfds: impl Iterator<Item = &'a OwnedFd>, deadline: Instant) -> io::Result<bool> {
    pidfds.try_fold(true, |all, pidfd| {
        let patience = deadline.saturating_duration_since(Instant::now());
        Ok(exit::wait_for_end(pidfd.as_fd(), patience)? && all)
    })
}
