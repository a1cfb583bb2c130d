//! All processes of a team's worker: signalled and killed with it, and what it leaves when it ends. Found as the daemon
//! finds them ([`Tree`]), but that this process is no subreaper, which a library must not make of a program: orphans fall to
//! one of its ancestors.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;
use std::time::Duration;

use musher_core::ids::RunId;
use musher_process::stat::ProcessStat;
use musher_process::{ExitStatus, Pid, Tree, tree};

use super::Shared;
use super::member::Worker;
use super::table::State;

/// Marks the processes of one worker of a team. The daemon's own marker, which all workers of a primary that it runs have in
/// common, stays beside it.
pub(super) const VARIABLE: &str = "MUSHER_TEAM_RUN";
/// How long the leftovers of a worker may take to die after SIGKILL.
const PATIENCE: Duration = Duration::from_millis(200);

/// The value of the mark: no other worker's, also not of another primary before or after this one.
pub(super) fn marker(run: RunId) -> String {
    static PRIMARY: LazyLock<String> = LazyLock::new(|| {
        let started = ProcessStat::read(Pid::own()).map(|stat| stat.started.as_millis()).unwrap_or_default();
        format!("{}-{started}", Pid::own())
    });
    format!("{run}@{}", *PRIMARY)
}

/// What is known of a worker's processes.
pub(super) struct Traces {
    root: Pid,
    pidfd: OwnedFd,
    marker: String,
    reapers: Vec<Pid>,
    others: BTreeSet<Pid>,
}

impl Traces {
    fn tree(&self) -> Tree<'_> {
        let Traces { root, pidfd, marker, reapers, others } = self;
        Tree { root: *root, pidfd: pidfd.as_fd(), variable: VARIABLE, marker, cgroup: None, reapers, others }
    }
}

impl State {
    /// Sends a signal to every process of a run.
    pub(super) fn signal_tree(&self, run: RunId, signal: i32) {
        self.with_tree(run, |tree| tree.signal_all(signal).map(drop));
    }

    /// Kills every process of a run.
    pub(super) fn kill_tree(&self, run: RunId) {
        self.with_tree(run, |tree| tree.kill_all(Duration::ZERO).map(drop));
    }

    fn with_tree(&self, run: RunId, act: impl FnOnce(&Tree<'_>) -> io::Result<()>) {
        let Some(worker) = self.runs.get(&run) else { return };
        if let Err(error) = self.traces(worker).and_then(|traces| act(&traces.tree())) {
            tracing::warn!(worker = worker.id(), %error, "a process of the worker could not be signalled");
        }
    }

    pub(super) fn traces(&self, worker: &Worker) -> io::Result<Traces> {
        let process = worker.process();
        Ok(Traces {
            root: process.pid(),
            pidfd: process.pidfd().try_clone_to_owned()?,
            marker: marker(worker.0.run),
            reapers: tree::ancestors(Pid::own()),
            others: self.runs.values().map(|worker| worker.process().pid()).collect(),
        })
    }
}

impl Shared {
    /// Kills what a worker left that has ended, then tells its end once more.
    pub(super) fn clear(&self, run: RunId, status: ExitStatus, traces: io::Result<Traces>) {
        let exits = self.exits.clone();
        tokio::spawn(async move {
            // /proc is looked through, and deaths are waited for.
            let killed = tokio::task::spawn_blocking(move || traces?.tree().kill_all(PATIENCE)).await;
            if let Ok(Err(error)) = killed {
                tracing::warn!(%run, %error, "what a worker left could not be killed");
            }
            // The primary is gone.
            let _ = exits.send((run, status)).await;
        });
    }
}
