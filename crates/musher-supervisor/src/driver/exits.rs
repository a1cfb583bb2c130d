//! Processes that end.
//!
//! Our own children are reaped at SIGCHLD: their pids cannot be reused before. Adopted runs are not our children; their
//! pidfds tell that they ended, and the keeper, their parent, how. Orphans that fell to us are reaped and forgotten.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use musher_api::Death;
use musher_core::lifecycle::{ExitOutcome, Input};
use musher_core::{AppId, RunId};
use musher_process::ExitStatus;
use musher_process::exit::{self, Reaped};
use tokio::sync::mpsc;

use crate::keeper::ExitRecord;
use crate::watch::watch;

use super::app::{ManagedRun, Until};
use super::readiness::Watch;
use super::{Driver, Wake, wall_clock_ms};

/// How long the leftovers of a run may take to die after SIGKILL.
const LEFTOVER_PATIENCE: Duration = Duration::from_millis(200);
/// How long the keeper may take to tell how an adopted run ended.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);

impl Driver {
    /// Takes the statuses of all children that have ended.
    pub(super) fn reap_children(&mut self) {
        loop {
            match exit::reap_any() {
                Ok(Some(Reaped { pid, status, peak_memory_bytes })) => {
                    if let Some((app, run)) = self.find_pid(pid.as_raw()) {
                        self.world.samples.note_peak(run, peak_memory_bytes);
                        self.run_ended(app, run, status);
                    }
                }
                Ok(None) => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(%error, "children cannot be waited for");
                    return;
                }
            }
        }
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
        if let Some(status) = managed.record.pid.and_then(|pid| self.world.keeper_exits.remove(&pid)) {
            return self.run_ended(app, run, status);
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

    /// A run's process is gone: so is everything it left behind, and then the decisions are told.
    pub(super) fn run_ended(&mut self, app: AppId, run: RunId, status: ExitStatus) {
        let Driver { world, apps } = self;
        let Some(managed) = apps.get_mut(&app) else { return };
        world.with_tree(managed, run, |tree| tree.kill_all(LEFTOVER_PATIENCE).map(|_| ()));
        let Some(ended) = managed.runs.get(&run) else { return };
        let pid = ended.record.pid.unwrap_or(0);
        let uptime = wall_clock_ms().saturating_sub(ended.record.started_ms);
        let (code, signal) = match status {
            ExitStatus::Code(code) => (Some(code), None),
            ExitStatus::Signal { signal, .. } => (None, Some(signal)),
            ExitStatus::Unknown => (None, None),
        };
        let death = Death {
            run: run.0,
            slot: ended.record.slot.0,
            pid: u32::try_from(pid).ok(),
            status: status.to_string(),
            code,
            signal,
            asked: ended.record.asked,
            was_ready: ended.record.was_ready,
            time_ms: wall_clock_ms(),
            uptime_ms: uptime,
            memory_bytes: world.samples.memory_at_death(run),
            stderr: Vec::new(),
        };
        managed.deaths.insert(ended.record.slot, death);
        managed.stories.insert(run);
        if ended.has_channel {
            world.cluster.remove_worker(run);
        }
        world.detach_logs(run);
        world.forget_process(managed, run);
        self.step(app, Input::Exited { run, outcome: outcome(status) });
        self.steer(app);
    }

    /// The output of a run that ended is written; its last words complete the story.
    pub(super) fn logs_done(&mut self, run: RunId, last_words: Vec<String>) {
        self.world.forget_pipes(run);
        let Some((id, app)) = self.apps.iter_mut().find(|(_, app)| app.stories.contains(&run)) else { return };
        let id = *id;
        app.stories.remove(&run);
        if let Some(death) = app.deaths.values_mut().find(|death| death.run == run.0) {
            death.stderr = last_words;
        }
        self.world.release(app, Until::Story(run));
        self.world.write_app(app);
        if app.machine.is_deleted() && app.held.is_empty() {
            self.remove(id);
        }
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
