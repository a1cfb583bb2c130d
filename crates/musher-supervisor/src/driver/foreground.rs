//! The life of a team in the foreground: ready, asked to end, gone.
//!
//! | asked by | what happens |
//! |---|---|
//! | SIGTERM, the first SIGINT | not ready any more; after `linger` no new connections are taken, what waits is accepted, workers drain, get the stop signal, and after `grace` are killed; exit code 0 |
//! | the second SIGINT | what is left is killed at once; exit code 130 |
//! | SIGHUP | a reload of all apps |
//! | SIGUSR1, SIGUSR2 | sent on to every worker |
//! | the apps themselves: all have ended or were given up | the daemon ends; the exit code is that of the only app, 128 and the signal's number if it was one; of several apps 0 if all ended well, else 1 |
//!
//! A supervisor that follows one that was killed goes on with this where that was.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use musher_api::{EventKind, OperationKind};
use musher_core::lifecycle::{SlotState, Vacancy};
use musher_core::{AppId, OpId};
use musher_process::memfd::read_memfd;
use musher_process::net::tcp;
use rustix::process::Signal;
use tokio::sync::watch;

use crate::control::News;
use crate::foreground::Foreground;
use crate::keeper::FOREGROUND_NAME;
use crate::link::MAX_RECORD;

use super::adopt::Held;
use super::resume::SavedApp;
use super::timetable::TimesRecord;
use super::{Driver, Wake};

/// How long connections that wait may take to be accepted. They usually need no millisecond.
const QUEUES: Duration = Duration::from_secs(1);
/// Between two looks at the queues: the kernel tells nobody that one is empty.
const LOOK: Duration = Duration::from_millis(5);
/// The exit code when everything was killed because somebody asked twice.
const INTERRUPTED: u8 = 130;

/// A team in the foreground.
#[derive(Debug)]
pub(super) struct InForeground {
    pub(super) plan: Foreground,
    stage: Stage,
    /// Whether it is ready; the health checks look at it.
    pub(super) ready: watch::Sender<bool>,
}

/// How far its end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// It was asked to end.
    Leaving,
    /// It ends.
    Ending,
}

/// A step of the end that comes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Those who send requests have had their time to learn of it.
    Lingered,
    /// No connection waits any more, or too long.
    QueuesEmpty,
    /// The grace is over.
    GraceOver,
}

/// What the keeper holds of a team in the foreground, if it is one.
pub(super) fn held_plan(held: &mut Held) -> Option<InForeground> {
    let bytes = read_memfd(held.remove(FOREGROUND_NAME)?.as_fd(), MAX_RECORD);
    let plan = bytes
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice::<Foreground>(&bytes).map_err(|error| error.to_string()));
    match plan {
        Ok(plan) => Some(InForeground { plan, stage: Stage::Serving, ready: watch::Sender::new(false) }),
        Err(error) => {
            tracing::error!(error, "what is to be run in the foreground cannot be read");
            None
        }
    }
}

impl InForeground {
    /// The apps, as a list would give them.
    pub(super) fn apps(&self) -> Vec<SavedApp> {
        self.plan
            .specs
            .iter()
            .map(|spec| SavedApp { spec: spec.clone(), wanted: true, held: Vec::new(), times: TimesRecord::default() })
            .collect()
    }
}

impl Driver {
    /// Looks whether a team in the foreground has become ready, or has ended. After everything that happened.
    pub(super) fn attend(&mut self) {
        let Some(team) = &self.world.foreground else { return };
        let serving = team.stage == Stage::Serving && !self.world.record.shutting_down;
        let ready = serving && !self.apps.is_empty() && self.all_serve(*team.ready.borrow());
        if team.ready.send_if_modified(|was| std::mem::replace(was, ready) != ready) {
            let path = team.plan.ready_file.clone();
            if let Some(path) = path {
                mark_ready(&path, ready);
            }
            let detail = if ready { "all apps are ready" } else { "not ready" };
            self.world.events.publish(News::new(EventKind::Other, detail));
        }
        let over = !self.apps.is_empty() && self.apps.values().all(has_ended);
        if over && serving && !self.world.foreground.as_ref().is_some_and(|team| team.plan.stays) {
            let code = self.code_of_the_apps();
            self.world.link.exit_code(code);
            self.leave_now();
        }
    }

    /// Whether every app serves: with all its slots, or with one that is left once they all did.
    fn all_serve(&self, did: bool) -> bool {
        self.apps.values().all(|app| {
            let ready = app.machine.ready_slots();
            let ended = || {
                app.machine.slots().iter().all(|slot| matches!(slot.state, SlotState::Vacant(Vacancy::Ended { .. })))
            };
            // A job serves as long as it is there for its time.
            let is_job = app.target_spec().is_some_and(|spec| spec.is_job());
            is_job || app.machine.is_wanted() && ready >= app.machine.wanted_size() || did && (ready > 0 || ended())
        })
    }

    /// The exit code when all apps have ended by themselves.
    fn code_of_the_apps(&self) -> u8 {
        let given_up = |state: &SlotState| matches!(state, SlotState::Vacant(Vacancy::GaveUp { .. }));
        let code = |app: &super::app::ManagedApp| {
            let last = app.deaths.values().max_by_key(|death| death.time_ms);
            let code = last.and_then(|death| death.code.or_else(|| Some(128 + death.signal?))).unwrap_or(1);
            let gave_up = app.machine.slots().iter().any(|slot| given_up(&slot.state));
            u8::try_from(code & 0xff).unwrap_or(1).max(u8::from(gave_up))
        };
        let mut codes = self.apps.values().map(code);
        match (codes.next(), self.apps.len()) {
            (Some(code), 1) => code,
            (Some(first), _) => u8::from(first != 0 || codes.any(|code| code != 0)),
            (None, _) => 1,
        }
    }

    /// The team is asked to end. Whether there is one in the foreground.
    pub(super) fn begin_to_leave(&mut self) -> bool {
        let Some(team) = &mut self.world.foreground else { return false };
        if team.stage != Stage::Serving {
            return true;
        }
        team.stage = Stage::Leaving;
        let (linger, grace) = (team.plan.linger, team.plan.grace);
        self.world.events.publish(News::new(EventKind::Other, "asked to end"));
        self.later(linger, Step::Lingered);
        self.later(linger + grace, Step::GraceOver);
        true
    }

    /// The next step of the end.
    pub(super) fn leaving(&mut self, step: Step) {
        match step {
            Step::Lingered => self.take_no_more(),
            Step::QueuesEmpty => self.leave_now(),
            Step::GraceOver => {
                tracing::warn!("the grace is over: what is left is killed");
                self.kill_all_runs();
            }
        }
    }

    /// A signal that the keeper handed on.
    pub(super) fn signalled(&mut self, signal: i32) {
        if signal == Signal::INT.as_raw() {
            self.world.link.exit_code(INTERRUPTED);
            if let Some(team) = &mut self.world.foreground {
                team.stage = Stage::Leaving;
            }
            self.leave_now();
            return self.kill_all_runs();
        }
        let apps: Vec<(AppId, String)> = self.apps.values().map(|app| (app.id, app.name.clone())).collect();
        for (id, name) in apps {
            if signal != Signal::HUP.as_raw() {
                let (op, _) = self.begin(id, &name, OperationKind::Signal);
                self.signal_workers(id, op, signal, None);
                continue;
            }
            let (op, _) = self.begin(id, &name, OperationKind::Reload);
            let command = self.reload_command(id, None, None);
            self.world.write_home();
            self.command(id, op, command);
        }
    }

    /// Takes no new connections, and waits until those that wait were accepted: while the workers still can.
    fn take_no_more(&mut self) {
        let sockets = self.world.link.listeners();
        for socket in &sockets {
            // Only of TCP it can be had.
            let _ = tcp::take_no_more(socket);
        }
        let wakes = self.world.wakes.clone();
        tokio::spawn(async move {
            let waits = |socket: &std::os::fd::OwnedFd| tcp::listen_state(socket).is_ok_and(|state| state.queued > 0);
            let empty = async {
                // What was accepted a moment ago is read before the next look.
                tokio::time::sleep(LOOK).await;
                while sockets.iter().any(waits) {
                    tokio::time::sleep(LOOK).await;
                }
            };
            let _ = tokio::time::timeout(QUEUES, empty).await;
            let _ = wakes.send(Wake::Leaving(Step::QueuesEmpty)).await;
        });
    }

    /// Lets every worker finish what it has, and then the daemon ends.
    pub(super) fn leave_now(&mut self) {
        if let Some(team) = &mut self.world.foreground {
            team.stage = Stage::Ending;
        }
        if std::mem::replace(&mut self.world.record.shutting_down, true) {
            return;
        }
        self.world.write_home();
        let apps: BTreeSet<AppId> = self.apps.keys().copied().collect();
        for id in apps {
            self.world.record.next_operation += 1;
            let op = OpId(self.world.record.next_operation);
            self.leave_app(id, op);
        }
        self.world.write_home();
    }

    pub(super) fn leave_app(&mut self, id: AppId, op: OpId) {
        let Some(managed) = self.apps.get_mut(&id) else { return };
        let world = &mut self.world;
        let mut effects = Vec::new();
        let chance = &mut world.chance;
        managed.machine.leave(super::now(), &mut || chance.next(), op, &mut effects);
        world.write_app(managed);
        let inputs = world.carry_out_all(managed, effects);
        managed.machine.carried_out();
        for input in inputs {
            self.step(id, input);
        }
        self.remove_if_deleted(id);
    }

    fn kill_all_runs(&mut self) {
        self.world.kill_trees(self.apps.values().flat_map(|app| &app.runs), Duration::ZERO);
    }

    fn later(&self, after: Duration, step: Step) {
        let wakes = self.world.wakes.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = wakes.send(Wake::Leaving(step)).await;
        });
    }
}

/// Whether nothing of an app runs, or will unless another one does. A job comes again.
fn has_ended(app: &super::app::ManagedApp) -> bool {
    let waits = || app.machine.runs().next().is_none() && app.machine.is_waiting();
    let comes_again = app.times.is_some() && app.target_spec().is_some_and(|spec| spec.is_job());
    (app.is_down() || waits()) && !comes_again && app.stories.is_empty()
}

/// Makes the file that says so, or takes it away.
fn mark_ready(path: &Path, ready: bool) {
    let done = match ready {
        true => std::fs::write(path, b"ready\n"),
        false => std::fs::remove_file(path),
    };
    if let Err(error) = done
        && (ready || error.kind() != std::io::ErrorKind::NotFound)
    {
        tracing::error!(path = %path.display(), %error, "the file that says ready");
    }
}
