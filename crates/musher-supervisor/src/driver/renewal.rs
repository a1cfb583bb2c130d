//! What a crash of supervisor and keeper together leaves to be put right: workers without a channel, and workers that no
//! record knows.
//!
//! A worker of a Node cluster whose channel is gone serves on with the sockets that it has (the preload sees to that),
//! but cannot be asked for anything. So its app is reloaded as soon as nothing else is going on with it. Where its
//! successor cannot have the port, because the system did not let us have the sockets back, the app is restarted: that
//! has a gap, and is the only case that does.
//!
//! A process that no record knows was started in the last moment before the crash. It is ended when the slots of its app
//! are filled, or when nobody wants them to be.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use musher_api::{EventKind, OperationKind};
use musher_core::AppId;
use musher_core::lifecycle::{Command, Input};
use musher_core::spec::Runtime;
use musher_process::{Pid, Tree};
use rustix::process::Signal;

use crate::control::News;

use super::app::ManagedApp;
use super::effects::reapers;
use super::resume::Stray;
use super::{Driver, Wake, World, launch};

/// How long a process that no record knows may take to end by itself.
const STRAY_GRACE: Duration = Duration::from_secs(10);

/// How far the replacement of workers without a channel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Nothing was tried.
    #[default]
    Untried,
    /// A reload was tried.
    Reloaded {
        /// A new worker was refused the port.
        refused: bool,
    },
    /// A restart was tried.
    Restarted,
}

impl ManagedApp {
    /// Whether a worker that serves was left without its channel.
    fn has_orphans(&self) -> bool {
        self.runs.iter().any(|(id, run)| {
            let clustered = |spec: &std::sync::Arc<_>| is_cluster(spec);
            !run.has_channel
                && self.machine.run(*id).is_some_and(|run| run.is_online())
                && self.spec(run.record.generation).or(self.target_spec()).is_some_and(clustered)
        })
    }
}

fn is_cluster(spec: &musher_core::spec::AppSpec) -> bool {
    spec.exec.runtime == Runtime::NodeCluster
}

impl Driver {
    /// Replaces the workers of an app that have lost their channel, when nothing else is going on with it.
    pub(super) fn renew(&mut self, id: AppId) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        if !self.world.resumed || !app.machine.is_wanted() || !app.machine.operations().is_empty() || !app.has_orphans()
        {
            return;
        }
        let (kind, why) = match app.renewal {
            Renewal::Untried => {
                app.renewal = Renewal::Reloaded { refused: false };
                (OperationKind::Reload, "its workers have lost their channel: it is reloaded")
            }
            Renewal::Reloaded { refused: true } => {
                app.renewal = Renewal::Restarted;
                (OperationKind::Restart, "its port is only with workers that cannot be reached: it is restarted")
            }
            // A build that does not start: the old workers go on.
            Renewal::Reloaded { refused: false } | Renewal::Restarted => return,
        };
        let name = app.name.clone();
        tracing::warn!(app = name, "{why}");
        self.world.events.publish(News::new(EventKind::Changed, why).of_app(&name, id.0));
        let command = match kind {
            OperationKind::Reload => Command::Reload { target: self.next_generation(id, None), canary: None },
            _ => Command::Restart { target: None },
        };
        let (op, _) = self.begin(id, &name, kind);
        self.world.write_home();
        self.step(id, Input::Command { op, command });
        self.drop_unused_specs(id);
    }

    /// Ends the processes that no record knows, of an app that does not need them any more.
    pub(super) fn end_strays(&mut self, id: AppId) {
        let needed = self.apps.get(&id).is_some_and(|app| {
            let slots = u32::try_from(app.machine.slots().len()).unwrap_or(u32::MAX);
            app.machine.is_wanted() && app.machine.ready_slots() < slots
        });
        if needed {
            return;
        }
        let (due, kept) = std::mem::take(&mut self.world.strays).into_iter().partition(|stray| stray.run.app() == id);
        self.world.strays = kept;
        for stray in due {
            tracing::warn!(run = %stray.run, pid = %stray.pid, "a worker that no record knows is ended");
            self.world.with_stray(&stray, |tree| tree.signal_all(Signal::TERM.as_raw()).map(|_| ()));
            let wakes = self.world.wakes.clone();
            tokio::spawn(async move {
                if let Ok(pidfd) = stray.pidfd.try_clone()
                    && let Ok(watched) = crate::watch::watch(pidfd)
                {
                    // Ended or not: what is left of it is killed.
                    let _ = tokio::time::timeout(STRAY_GRACE, watched.readable()).await;
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

impl World {
    /// Kills what is left of a process that no record knows.
    pub(super) fn kill_stray(&self, stray: &Stray) {
        self.with_stray(stray, |tree| tree.kill_all(Duration::ZERO).map(|_| ()));
    }

    fn with_stray(&self, stray: &Stray, act: impl FnOnce(&Tree<'_>) -> std::io::Result<()>) {
        let marker = launch::marker(stray.run, &self.record.home_id);
        let reapers: Vec<Pid> = reapers(&self.link).chain([Pid::INIT]).collect();
        let tree = Tree {
            root: stray.pid,
            pidfd: stray.pidfd.as_fd(),
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
