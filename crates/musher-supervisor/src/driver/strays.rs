//! Processes of this home that no record knows: they were started in the last moment before a crash of supervisor and
//! keeper together, after the list on the disk was written.
//!
//! They serve, and what they write is in the logs. Each is ended when the slots of its app are filled, or when nobody
//! wants them to be. The keeper holds their pidfds and pipes as those of other runs, so that they are not forgotten when
//! the next supervisor dies, too.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use musher_core::spec::{AppSpec, Runtime};
use musher_core::{AppId, RunId, SlotId};
use musher_process::{Pid, Tree, exit, tree};
use rustix::process::Signal;

use super::adopt::{Held, run_of};
use super::records::{AppRecord, names};
use super::trees::reapers;
use super::{Driver, Wake, World, launch};

/// How long one of an app that is not known may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// The first process of a run that no record knows.
#[derive(Debug)]
pub(crate) struct Stray {
    run: RunId,
    pid: Pid,
    pidfd: OwnedFd,
}

/// Takes those that live out of what is held. Of apps whose record cannot be read nothing is known: theirs are left
/// alone.
pub(super) fn take(held: &mut Held, records: &[AppRecord], recorded: &BTreeSet<AppId>) -> Vec<Stray> {
    let unknown = |run: &RunId| match records.iter().find(|record| record.id == run.app()) {
        Some(record) => record.machine.run(*run).is_none(),
        None => !recorded.contains(&run.app()),
    };
    let pidfds: Vec<String> = held.keys().filter(|name| name.ends_with(names::RUN_PIDFD)).cloned().collect();
    let mut strays = Vec::new();
    for name in pidfds {
        let Some(run) = run_of(&name).filter(unknown) else { continue };
        let Some(pidfd) = held.get(&name) else { continue };
        let Ok(Some(pid)) = exit::pid_of(pidfd.as_fd()) else { continue };
        if exit::has_ended(pidfd.as_fd()).is_ok_and(|ended| !ended)
            && let Some(pidfd) = held.remove(&name)
        {
            strays.push(Stray { run, pid, pidfd });
        }
    }
    strays
}

impl Stray {
    pub(super) fn run(&self) -> RunId {
        self.run
    }
}

impl Driver {
    /// Ends the processes that no record knows, of an app that does not need them any more.
    pub(super) fn end_strays(&mut self, id: AppId) {
        if self.world.strays.is_empty() {
            return;
        }
        let needed = self
            .apps
            .get(&id)
            .is_some_and(|app| app.machine.is_wanted() && app.machine.ready_slots() < app.machine.wanted_size());
        if needed {
            return;
        }
        let manner = Manner::of(self.apps.get(&id).and_then(|app| app.target_spec()).map(|spec| &**spec));
        let (due, kept) = std::mem::take(&mut self.world.strays).into_iter().partition(|stray| stray.run.app() == id);
        self.world.strays = kept;
        for stray in due {
            tracing::warn!(run = %stray.run, pid = %stray.pid, "a worker that no record knows is ended");
            self.world.ask_to_end_stray(&stray, manner);
            let wakes = self.world.wakes.clone();
            tokio::spawn(async move {
                if let Ok(pidfd) = stray.pidfd.try_clone()
                    && let Ok(watched) = crate::watch::watch(pidfd)
                {
                    // Ended or not: what is left of it is killed.
                    let _ = tokio::time::timeout(manner.limit, watched.readable()).await;
                }
                let _ = wakes.send(Wake::StrayLeft(stray)).await;
            });
        }
    }

    /// Ends those whose app is not known, or needs nothing.
    pub(super) fn end_all_strays(&mut self) {
        let apps: BTreeSet<AppId> = self.world.strays.iter().map(|stray| stray.run.app()).collect();
        for app in apps {
            self.end_strays(app);
        }
    }
}

/// How one is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manner {
    signal: i32,
    /// Whether its whole tree gets the signal.
    tree: bool,
    /// How long it may take to end by itself.
    limit: Duration,
}

impl Manner {
    /// As its app says now, which may not be what it was started with.
    fn of(spec: Option<&AppSpec>) -> Manner {
        let Some(spec) = spec else {
            return Manner { signal: Signal::TERM.as_raw(), tree: true, limit: GRACE };
        };
        // Without a channel the stop signal is what tells a worker of a cluster to drain.
        let drain = if spec.exec.runtime == Runtime::NodeCluster { spec.stop.drain } else { Duration::ZERO };
        Manner { signal: spec.stop.signal, tree: spec.stop.tree, limit: drain + spec.stop.grace }
    }
}

impl World {
    fn ask_to_end_stray(&self, stray: &Stray, manner: Manner) {
        self.with_stray(stray, |tree| match manner.tree {
            true => tree.signal_all(manner.signal).map(|_| ()),
            false => musher_process::signal(stray.pidfd.as_fd(), manner.signal),
        });
    }

    /// Lets the output of the processes that no record knows go on into the logs of their app.
    pub(super) fn log_strays(&self, app: AppId, held: &mut Held) {
        for stray in self.strays.iter().filter(|stray| stray.run.app() == app) {
            let slot = tree::variable_of(stray.pid, launch::SLOT).and_then(|slot| String::from_utf8(slot).ok());
            let slot = SlotId(slot.and_then(|slot| slot.parse().ok()).unwrap_or(0));
            self.attach_outputs(app, slot, stray.run, stray.pid.as_raw(), held);
        }
    }

    /// Kills what is left of a process that no record knows; what it wrote is written to the logs.
    pub(super) fn kill_stray(&mut self, stray: &Stray) {
        self.with_stray(stray, |tree| tree.kill_all(Duration::ZERO).map(|_| ()));
        self.forget_process(stray.run);
        self.detach_logs(stray.run, None);
    }

    fn with_stray(&self, stray: &Stray, act: impl FnOnce(&Tree<'_>) -> std::io::Result<()>) {
        let marker = launch::marker(stray.run, &self.record.home_id);
        let reapers: Vec<Pid> = reapers(&self.link).chain([Pid::INIT]).collect();
        let tree = Tree {
            root: stray.pid,
            pidfd: stray.pidfd.as_fd(),
            variable: tree::MARKER,
            marker: &marker,
            cgroup: None,
            reapers: &reapers,
            others: &self.roots,
        };
        if let Err(error) = act(&tree) {
            tracing::warn!(run = %stray.run, %error, "a worker that no record knows could not be signalled");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use musher_core::spec::{AppSpec, Exec, Runtime};

    use super::{GRACE, Manner};

    #[test]
    fn one_of_a_known_app_ends_as_its_app_says() {
        let exec = |runtime| Exec { program: "/bin/true".into(), args: Vec::new(), script: None, runtime };
        let mut spec = AppSpec::new("web", exec(Runtime::Plain), "/");
        spec.stop.signal = 2;
        spec.stop.tree = false;
        spec.stop.grace = Duration::from_secs(40);
        spec.stop.drain = Duration::from_secs(300);
        let asked = |limit| Manner { signal: 2, tree: false, limit: Duration::from_secs(limit) };
        assert_eq!(Manner::of(Some(&spec)), asked(40));
        spec.exec = exec(Runtime::NodeCluster);
        assert_eq!(Manner::of(Some(&spec)), asked(340), "its long answers, too");
        assert_eq!(Manner::of(None), Manner { signal: 15, tree: true, limit: GRACE });
    }
}
