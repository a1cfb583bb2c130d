//! What happens, one after the other.

use std::sync::Arc;

use musher_api::{Event, EventKind};
use musher_cluster::ClusterEvent;
use musher_core::RunId;
use musher_core::lifecycle::{Command, Input};
use musher_core::spec::ReadyWhen;
use musher_core::{AppId, OpId};
use musher_process::channel::MAX_MESSAGE;

use crate::control::News;

use crate::team::Order;

use super::app::ManagedApp;
use super::renewal::Renewal;
use super::{Driver, Wake};

/// How many addresses of an app are shown: a worker may go through any number of ports.
const SHOWN_ADDRESSES: usize = 64;

/// What becomes of the apps after the end of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterEnd {
    /// The next daemon brings them back: the system asked for the end (SIGTERM).
    ComesBack,
    /// They are forgotten: a user asked for the end.
    IsForgotten,
}

/// A proof of readiness that came by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Listening,
    Message,
    Notified,
}

impl Driver {
    /// Handles one thing that happened.
    pub(super) fn wake(&mut self, wake: Wake) {
        self.begin_turn();
        match wake {
            Wake::Proved(run) => self.proved(run),
            Wake::Gone(run) => self.adopted_ended(run),
            Wake::LogsDone(run, last_words) => self.logs_done(run, last_words),
            Wake::LogsTended(op, result) => self.logs_tended(op, result),
            Wake::Unfit(run, reason) => self.unfit(run, &reason),
            Wake::Settled(app, slot) => self.settled(app, slot),
            Wake::Accepted(run) => self.accepted(run),
            Wake::FilesChanged(app, what) => self.files_changed(app, what),
            Wake::NotWatched(app, why) => self.not_watched(app, &why),
            Wake::HookDone(app, hook, outcome) => self.hook_done(app, hook, &outcome),
            Wake::Cluster(event) => self.cluster_event(event),
            Wake::Logs(detail) => {
                tracing::warn!("{detail}");
                self.world.events.publish(News::new(EventKind::Logs, detail));
            }
            Wake::LinesLost(app, lines) => {
                self.apps.get_mut(&app).into_iter().for_each(|app| app.tally.lines_lost += lines);
            }
            Wake::KeeperReaped(exit) => self.keeper_reaped(exit),
            Wake::KeeperGone => self.become_keeper(),
            Wake::KeeperRenewed => self.keeper_renewed(),
            Wake::KeeperLate => self.keeper_late(),
            Wake::Examined(examined) => self.examined(*examined),
            Wake::ChildEnded => self.more_ended = self.reap_children(),
            Wake::Notified => self.notified(),
            Wake::Terminate => {
                if !self.begin_to_leave() {
                    self.begin_shutdown(AfterEnd::ComesBack);
                }
            }
            Wake::Signalled(signal) => self.signalled(signal),
            Wake::Leaving(step) => self.leaving(step),
            Wake::Resurrect(resurrection) => self.resurrect(*resurrection),
            Wake::StrayLeft(stray) => self.world.kill_stray(&stray),
            Wake::Deadline => self.deadline(),
            Wake::Alarm => self.look_at_times(),
        }
    }

    fn deadline(&mut self) {
        self.look_at_loads();
        self.forget_figures(super::now());
        let now = super::now();
        let due = self.apps.values().filter(|app| app.machine.next_deadline().is_some_and(|deadline| deadline <= now));
        for app in due.map(|app| app.id).collect::<Vec<AppId>>() {
            self.step(app, Input::Tick);
            self.drop_unused_specs(app);
        }
        self.check_watchdogs();
        self.end_pulses();
    }

    /// A run is ready.
    fn proved(&mut self, run: RunId) {
        let Some(id) = self.find_run(run) else { return };
        let Some(app) = self.apps.get_mut(&id) else { return };
        if !app.is_starting(run) {
            return;
        }
        if let Some(managed) = app.runs.get_mut(&run) {
            managed.record.was_ready = true;
            managed.proof = None;
        }
        self.step(id, Input::Ready { run });
        if let Some(app) = self.apps.get_mut(&id) {
            self.world.watch_vitals(app, run);
        }
        self.steer(id);
    }

    /// A proof came by itself: whether it counts depends on what the spec asks for.
    pub(super) fn claims(&mut self, run: RunId, proof: Proof) {
        let Some(id) = self.find_run(run) else { return };
        let Some(app) = self.apps.get_mut(&id) else { return };
        if proof == Proof::Listening {
            app.listens = true;
        }
        let Some(spec) = app.machine.run(run).and_then(|run| app.spec(run.generation)) else { return };
        let counts = match (&spec.ready.when, proof) {
            (ReadyWhen::Auto, _)
            | (ReadyWhen::Listening, Proof::Listening)
            | (ReadyWhen::Message, Proof::Message)
            | (ReadyWhen::Notify, Proof::Notified) => true,
            (
                ReadyWhen::Listening
                | ReadyWhen::Message
                | ReadyWhen::Notify
                | ReadyWhen::Tcp { .. }
                | ReadyWhen::Http { .. }
                | ReadyWhen::Alive { .. },
                _,
            ) => false,
        };
        if counts {
            self.proved(run);
        }
    }

    fn cluster_event(&mut self, event: ClusterEvent) {
        match event {
            ClusterEvent::Online { .. } | ClusterEvent::Leaving { .. } | ClusterEvent::Internal { .. } => {}
            ClusterEvent::Listening { run, address, .. } => {
                self.publish_of_run(run, EventKind::Listening, format!("listens on {address}"));
                if let Some(app) = self.find_run(run).and_then(|app| self.apps.get_mut(&app))
                    && app.addresses.len() < SHOWN_ADDRESSES
                {
                    app.addresses.insert(address);
                }
                self.claims(run, Proof::Listening);
            }
            ClusterEvent::Ready { run } => self.claims(run, Proof::Message),
            ClusterEvent::Message { run, value, .. } => self.message(run, value),
            ClusterEvent::TooLong { run, bytes } => {
                let text = format!("[a message of {bytes} bytes: dropped, as it is longer than {MAX_MESSAGE}]");
                self.publish_of_run(run, EventKind::Message, text);
            }
            ClusterEvent::Disconnected { run } | ClusterEvent::Drained { run } => {
                // A worker that was asked to drain has finished when its channel closes. One that closed its channel by
                // itself goes on or ends as it likes.
                if let Some(app) = self.find_run(run) {
                    self.step(app, Input::Drained { run });
                }
            }
            ClusterEvent::Violation { run, reason } => {
                tracing::warn!(%run, reason, "a worker broke the rules of its channel and is killed");
                self.publish_of_run(run, EventKind::Violation, reason.clone());
                if let Some(app) = self.find_run(run).and_then(|app| self.apps.get_mut(&app)) {
                    if let Some(managed) = app.runs.get_mut(&run) {
                        managed.record.violation = Some(reason);
                    }
                    self.world.kill_trees(app.runs.get_key_value(&run).into_iter(), std::time::Duration::ZERO);
                }
            }
            ClusterEvent::Uncaught { run, stack, drains } => self.uncaught(run, &stack, drains),
            ClusterEvent::Cut { run, count } => self.cut(run, count),
            ClusterEvent::Pulse { run, pulse } => self.pulse(run, *pulse),
            ClusterEvent::Stuck { run, after } => self.stuck(run, after),
            ClusterEvent::BindFailed { run, address, errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && let Some(app) = self.find_run(run).and_then(|app| self.apps.get_mut(&app))
                    && let Renewal::Reloaded { refused } = &mut app.renewal
                {
                    *refused = true;
                }
                self.publish_of_run(run, EventKind::BindFailed, format!("cannot listen on {address}: {error}"));
            }
            ClusterEvent::Freed { app, address } => {
                if let Some(app) = self.apps.get_mut(&app) {
                    app.addresses.remove(&address);
                }
            }
            ClusterEvent::Closed { app: id } => {
                let Some(app) = self.apps.get_mut(&id) else { return };
                app.closing = false;
                self.world.tell_due(app);
                self.remove_if_deleted(id);
            }
        }
    }

    /// Whose run this is, also when it has ended: what a worker said may be heard then.
    pub(super) fn place_of_run(&self, run: RunId) -> Option<(&ManagedApp, u32, Option<u32>)> {
        let app = self.apps.get(&run.app())?;
        let death = app.deaths.values().find(|death| death.run == run.0);
        let slot = app.machine.run(run).map(|run| run.slot.0).or(death.map(|death| death.slot))?;
        Some((app, slot, app.pid_of(run)))
    }

    pub(super) fn publish_of_run(&self, run: RunId, kind: EventKind, detail: String) -> Option<Arc<Event>> {
        let (app, slot, pid) = self.place_of_run(run)?;
        let news = News::new(kind, detail).of_app(&app.name, app.id.0).of_slot(slot).of_run(run.0, pid);
        Some(self.world.events.publish(news))
    }

    /// Connections of slots with sockets of their own go to those that serve.
    pub(super) fn steer(&self, app: AppId) {
        self.apps.get(&app).into_iter().for_each(ManagedApp::steer);
    }

    /// Stops everything; the daemon ends when nothing is left.
    pub(super) fn begin_shutdown(&mut self, after: AfterEnd) -> Vec<String> {
        let record = &mut self.world.record;
        let team = self.world.link.team();
        match after {
            AfterEnd::ComesBack if !record.shutting_down => {
                record.keeps_list = true;
                let last = || Order::Last(Box::new(self.world.link.team_file(true)));
                team.into_iter().for_each(|team| team.order(last()));
            }
            AfterEnd::ComesBack | AfterEnd::IsForgotten => {}
        }
        self.world.record.shutting_down = true;
        self.world.write_home();
        let apps: Vec<(AppId, String)> = self.apps.values().map(|app| (app.id, app.name.clone())).collect();
        let ids: Vec<AppId> = apps.iter().map(|(id, _)| *id).collect();
        // Those that need others end before them.
        for (app, after) in ids.iter().zip(self.ends_after(&ids)) {
            self.world.record.next_operation += 1;
            let op = OpId(self.world.record.next_operation);
            if self.world.foreground.is_some() {
                self.leave_app(*app, op);
                continue;
            }
            self.command_after(*app, op, Command::Delete, after);
        }
        self.world.write_home();
        apps.into_iter().map(|(_, name)| name).collect()
    }

    /// The keeper is dead: this process takes its place, and starts a new supervisor.
    pub(super) fn become_keeper(&mut self) {
        tracing::warn!("the keeper is gone; this process becomes the keeper");
        for app in self.apps.values() {
            self.world.write_app(app);
        }
        self.world.write_home();
        // The exec would end its thread anywhere, also between the acceptance of a connection and its handover.
        self.world.cluster.stop();
        self.world.events.settle(super::EVENT_PATIENCE);
        let error = self.world.link.become_keeper();
        tracing::error!(%error, "this process could not become the keeper; it tries again");
        let wakes = self.world.wakes.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let _ = wakes.send(Wake::KeeperGone).await;
        });
    }
}
