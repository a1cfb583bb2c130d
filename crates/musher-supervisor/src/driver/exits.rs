//! Processes that end.
//!
//! Our own children are reaped at SIGCHLD: their pids cannot be reused before. Adopted runs are not our children; their
//! pidfds tell that they ended, and the keeper, their parent, how. Orphans that fell to us are reaped and forgotten.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use musher_core::lifecycle::{ExitOutcome, Input};
use musher_core::{AppId, RunId};
use musher_process::ExitStatus;
use musher_process::exit::Ended;
use tokio::sync::mpsc;

use crate::keeper::ExitRecord;
use crate::watch::watch;

use super::app::ManagedRun;
use super::death::{Inquest, LastWords, died};
use super::readiness::Watch;
use super::{Driver, Wake};

/// How many children are reaped before others get their turn.
const REAPED_AT_ONCE: usize = 16;
/// How long the keeper may take to tell how an adopted run ended.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);

impl Driver {
    /// Takes the statuses of children that have ended. Says whether there may be more: workers that end as fast as they
    /// are started would keep this busy for ever, and with it everybody who waits for an answer.
    pub(super) fn reap_children(&mut self) -> bool {
        for _ in 0..REAPED_AT_ONCE {
            match Ended::any() {
                Ok(Some(ended)) => {
                    if let Some((app, run)) = self.find_pid(ended.pid.as_raw()) {
                        self.world.samples.note_peak(run, ended.peak_memory_bytes);
                        self.run_ended(app, run, ended.status);
                    } else {
                        self.world.commands.reaped(ended.pid, ended.status);
                    }
                    // Only now: if this process had been killed before, the keeper would know how the run ended.
                    if let Err(error) = ended.reap() {
                        tracing::error!(%error, pid = %ended.pid, "a child cannot be reaped");
                        return false;
                    }
                }
                Ok(None) => return false,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(%error, "children cannot be waited for");
                    return false;
                }
            }
        }
        true
    }

    /// The keeper reaped an orphan: a run that an earlier supervisor spawned, or a descendant of one.
    pub(super) fn keeper_reaped(&mut self, exit: ExitRecord) {
        if let Some((app, run)) = self.find_pid(exit.pid)
            && self.apps.get(&app).and_then(|app| app.runs.get(&run)).is_some_and(ManagedRun::has_ended)
        {
            self.run_ended(app, run, exit.status());
        }
        self.world.link.forget_exit(&exit);
    }

    /// The process of an adopted run has ended, as its pidfd tells. How is the keeper's to know, which is its parent;
    /// unless an earlier keeper was, then the kernel may know.
    pub(super) fn adopted_ended(&mut self, run: RunId) {
        let Some(app) = self.find_run(run) else { return };
        let Some(managed) = self.apps.get_mut(&app).and_then(|app| app.runs.get_mut(&run)) else { return };
        if let Some(exit) = managed.record.pid.and_then(|pid| self.world.keeper_exits.remove(&pid)) {
            self.run_ended(app, run, exit.status());
            return self.world.link.forget_exit(&exit);
        }
        match musher_process::reap(managed.pidfd.as_fd()) {
            Ok(Some(status)) if status != ExitStatus::Unknown || managed.exit.is_none() => {
                self.run_ended(app, run, status);
            }
            Ok(Some(_) | None) => {
                managed.exit = None;
                let wakes = self.world.wakes.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(STATUS_PATIENCE).await;
                    let _ = wakes.send(Wake::Gone(run)).await;
                });
            }
            Err(_) => self.run_ended(app, run, ExitStatus::Unknown),
        }
    }

    /// A run's process is gone: so is everything it left behind, and then the decisions are told. What the keeper holds
    /// of it goes last, when the record does not need it any more.
    pub(super) fn run_ended(&mut self, app: AppId, run: RunId, status: ExitStatus) {
        let Driver { world, apps, .. } = self;
        let Some(managed) = apps.get_mut(&app) else { return };
        // Its cgroup, which counts them, goes with the leftovers.
        let kills = world.kills(managed, run);
        world.clear(apps, run);
        let Some(managed) = apps.get_mut(&app) else { return };
        let Some(ended) = managed.runs.remove(&run) else { return };
        let death = world.death(managed, run, &ended, status);
        let inquest = managed.spec(ended.record.generation).and_then(|spec| Inquest::of(&death, spec, kills));
        managed.tally.ended(run, &death);
        // A slot that was scaled away has nobody to tell its stories to.
        if managed.machine.has_slot(ended.record.slot) {
            managed.deaths.insert(ended.record.slot, death);
        }
        managed.stories.insert(run);
        if ended.has_channel {
            world.cluster.remove_worker(run);
        }
        world.detach_logs(run, inquest);
        // Its number may have a new owner from now on.
        if let Some(root) = ended.pid() {
            world.roots.remove(&root);
            let spec = managed.spec(ended.record.generation);
            if let Some(path) = spec.and_then(|spec| spec.pid_file_of(ended.record.slot)) {
                // A new worker that failed has put its pid over that of the one that goes on.
                let other = managed.machine.occupant(ended.record.slot).filter(|(other, _)| *other != run);
                let other = other.and_then(|(other, _)| managed.runs.get(&other)).filter(|other| !other.has_ended());
                match other.and_then(super::app::ManagedRun::pid) {
                    Some(pid) => world.pid_files.write(path, pid.as_raw()),
                    None => world.pid_files.remove(path, root.as_raw()),
                }
            }
        }
        self.step(app, Input::Exited { run, outcome: outcome(status) });
        self.world.forget_process(run);
        self.drop_unused_specs(app);
        self.steer(app);
    }

    /// The output of a run that ended is written; its last words complete the story, which is told then.
    pub(super) fn logs_done(&mut self, run: RunId, last_words: LastWords) {
        self.world.forget_pipes(run);
        let Some((id, app)) = self.apps.iter_mut().find(|(_, app)| app.stories.contains(&run)) else { return };
        let id = *id;
        app.stories.remove(&run);
        app.tally.told(run, &last_words);
        if let Some(death) = app.deaths.values_mut().find(|death| death.run == run.0) {
            last_words.complete(death);
            if !death.asked {
                self.world.events.publish(died(&app.name, app.id, death));
            }
        }
        self.world.tell_due(app);
        self.world.start_hooks(app);
        // Once for all workers of a large team that ended together.
        if app.stories.is_empty() {
            self.world.write_app(app);
        }
        self.remove_if_deleted(id);
    }

    pub(super) fn find_run(&self, run: RunId) -> Option<AppId> {
        self.apps.values().find(|app| app.runs.contains_key(&run)).map(|app| app.id)
    }

    pub(super) fn find_pid(&self, pid: i32) -> Option<(AppId, RunId)> {
        self.apps.values().find_map(|app| Some((app.id, app.run_of(pid)?)))
    }
}

/// Watches the pidfd of a process that is not our child.
pub(super) fn watch_exit(run: RunId, pidfd: OwnedFd, wakes: mpsc::Sender<Wake>) -> Watch {
    Watch::spawn(async move {
        match watch(pidfd) {
            Ok(pidfd) => drop(pidfd.readable().await),
            Err(error) => {
                tracing::error!(%run, %error, "the end of the process will not be seen");
                return;
            }
        }
        let _ = wakes.send(Wake::Gone(run)).await;
    })
}

/// A status as the decisions know it.
pub(super) fn outcome(status: ExitStatus) -> ExitOutcome {
    match status {
        ExitStatus::Code(code) => ExitOutcome::Code(code),
        ExitStatus::Signal { signal, core_dumped } => ExitOutcome::Signal { signal, core_dumped },
        ExitStatus::Unknown => ExitOutcome::Unknown,
    }
}
