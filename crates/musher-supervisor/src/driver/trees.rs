//! All processes of runs: signalled and killed, those of many runs with the same look for orphans.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use musher_core::RunId;
use musher_process::stat::ProcessStat;
use musher_process::{Pid, Tree, tree};

use crate::link::KeeperLink;

use super::app::{ManagedApp, ManagedRun};
use super::{World, launch};

/// Of how many runs that ended what they left is killed at once, before others get their turn.
const CLEARED_AT_ONCE: usize = 64;
/// How long the leftovers of runs may take to die after SIGKILL.
const LEFTOVER_PATIENCE: Duration = Duration::from_millis(200);

/// What is known of a run's processes.
struct Traces<'a> {
    root: Pid,
    pidfd: &'a OwnedFd,
    marker: String,
    cgroup: Option<PathBuf>,
    reapers: Vec<Pid>,
}

impl Traces<'_> {
    fn tree<'a>(&'a self, roots: &'a BTreeSet<Pid>) -> Tree<'a> {
        Tree {
            root: self.root,
            pidfd: self.pidfd.as_fd(),
            variable: tree::MARKER,
            marker: &self.marker,
            cgroup: self.cgroup.as_deref(),
            reapers: &self.reapers,
            others: roots,
        }
    }
}

impl World {
    /// Sends a signal to every process of a run. All that is signalled in a turn shares one look.
    pub(super) fn signal_tree(&mut self, app: &ManagedApp, run: RunId, signal: i32) {
        let Some(traces) = app.runs.get(&run).and_then(|managed| self.traces(run, managed)) else { return };
        let mut look = std::mem::take(&mut self.look);
        if let Err(error) = traces.tree(&self.roots).signal_all_of(signal, &mut look) {
            tracing::warn!(app = app.name, %run, %error, "a process of the run could not be signalled");
        }
        self.look = look;
    }

    /// Kills every process of these runs, and waits so long for their ends.
    pub(super) fn kill_trees<'a>(&self, runs: impl Iterator<Item = (&'a RunId, &'a ManagedRun)>, patience: Duration) {
        let traces: Vec<Traces<'_>> = runs.filter_map(|(run, managed)| self.traces(*run, managed)).collect();
        if traces.is_empty() {
            return;
        }
        let trees: Vec<Tree<'_>> = traces.iter().map(|traces| traces.tree(&self.roots)).collect();
        if let Err(error) = tree::kill_all(&trees, patience) {
            let markers: Vec<&str> = traces.iter().take(8).map(|traces| &*traces.marker).collect();
            tracing::warn!(runs = ?markers, %error, "a process of these runs could not be killed");
        }
    }

    /// Kills what a run left that has ended. With it goes what all others left whose ends are still to be heard of: a
    /// thousand that end together are not looked through one by one.
    pub(super) fn clear(&mut self, apps: &BTreeMap<musher_core::AppId, ManagedApp>, run: RunId) {
        if self.cleared.remove(&run) {
            return;
        }
        let runs = || apps.values().flat_map(|app| &app.runs);
        let also =
            runs().filter(|(other, managed)| **other != run && !self.cleared.contains(other) && managed.has_ended());
        let ended: Vec<_> = runs().filter(|(other, _)| **other == run).chain(also.take(CLEARED_AT_ONCE - 1)).collect();
        self.kill_trees(ended.iter().copied(), LEFTOVER_PATIENCE);
        let cleared: Vec<RunId> = ended.into_iter().map(|(id, _)| *id).filter(|id| *id != run).collect();
        self.cleared.extend(cleared);
    }

    fn traces<'a>(&self, run: RunId, managed: &'a ManagedRun) -> Option<Traces<'a>> {
        let root = managed.pid()?;
        // Orphans of an adopted run may have fallen to init, if a keeper has died since, or to where it fell itself.
        let adopted = managed.exit.is_some();
        let init = adopted.then_some(Pid::INIT);
        let parent = adopted.then(|| ProcessStat::read(root).ok().and_then(|stat| stat.parent)).flatten();
        Some(Traces {
            root,
            pidfd: &managed.pidfd,
            marker: launch::marker(run, &self.record.home_id),
            cgroup: self.cgroups.as_ref().map(|cgroups| cgroups.path(&run.to_string())),
            reapers: reapers(&self.link).chain(init).chain(parent).collect(),
        })
    }
}

/// The processes to which orphans fall.
pub(super) fn reapers(link: &KeeperLink) -> impl Iterator<Item = Pid> {
    link.keeper_pid().into_iter().chain([Pid::own()])
}
