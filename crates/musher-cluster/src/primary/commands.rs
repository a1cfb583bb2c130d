//! What the supervisor asks for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Balance;
use musher_process::channel::{Channel, State};
use musher_process::{net, v8};
use serde_json::{Value, json};

use super::custody::{Inherited, KEPT_AFTER};
use super::{App, Primary};
use crate::cluster::{Command, Sent, Stats, WorkerConfig};
use crate::event::ClusterEvent;
use crate::group::{Group, Part};
use crate::handle::Passed;
use crate::message;
use crate::reactor::{self, Source, Timer};
use crate::shared::Shared;
use crate::worker::Worker;

/// How long a retired slot takes care of connections that were on their way to it: SYN and ACK are sent again for about
/// a minute (tcp(7), tcp_synack_retries).
pub(super) const LINGER: Duration = Duration::from_secs(60);

impl Primary {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::AddApp(id) => self.add_app(id),
            Command::RestoreApp(id, saved, listeners) => self.restore_app(id, &saved, listeners),
            Command::Adopted(app) => self.adopted(app),
            Command::AddWorker(worker) => self.add_worker(worker),
            Command::Drain(run, grace, limit) => self.drain(run, grace, limit),
            Command::Watch(run, watching) => self.watch(run, watching),
            Command::Send(run, message, handle, told) => self.send(run, &message, handle, told),
            Command::SendV8(run, message) => self.send_v8(run, &message),
            Command::Ask(run, port, socket, answer) => self.ask(run, port, socket, answer),
            Command::Disconnect(run) => self.disconnect(run),
            Command::RemoveWorker(run) => self.remove_worker(run),
            Command::RetireSlot(app, slot) => self.retire_slot(app, slot),
            Command::CloseApp(app) => self.close_app(app),
            Command::Stats(app, answer) => answer(self.stats(app)),
            Command::Stop(_) | Command::Abandon => {}
        }
    }

    pub(super) fn add_app(&mut self, id: AppId) {
        let app = || App {
            groups: BTreeMap::new(),
            next_group: 0,
            epoch: 0,
            workers: BTreeSet::new(),
            memory: HashMap::new(),
            restoring: false,
            inherited: Inherited::default(),
            stats: Stats::default(),
            shared: Shared::default(),
            dirty: true,
        };
        self.apps.entry(id).or_insert_with(app);
    }

    fn add_worker(&mut self, config: WorkerConfig) {
        let (id, slot, run) = (config.app, config.slot, config.run);
        let Some(app) = self.apps.get_mut(&id) else {
            tracing::error!(%id, %run, "a worker of an app that the cluster does not know");
            return;
        };
        let memory = app.memory.remove(&run);
        let watched = Channel::new(config.channel).and_then(|channel| {
            let channel = channel.bounded_by(config.bounds);
            let token = self.reactor.add(&channel, Source::Channel { run, hung_up: false }, reactor::READ)?;
            Ok((if config.advanced { channel.advanced() } else { channel }, token))
        });
        let (mut channel, token) = match watched {
            Ok(watched) => watched,
            Err(error) => {
                self.outbox.push(ClusterEvent::Violation { run, reason: format!("its channel is unusable: {error}") });
                return;
            }
        };
        if config.adopted {
            channel.follow_predecessor(memory.as_ref().is_some_and(|memory| memory.marks_internal));
        }
        let has_slot = matches!(config.listens.policy, Balance::Auto | Balance::Kernel);
        let worker = Worker::new((id, slot, run), (config.cluster, config.listens), (channel, token), app.epoch);
        app.workers.insert(run);
        app.dirty = true;
        self.workers.insert(run, worker);
        self.return_offers(id, run);
        if let Some(memory) = memory {
            self.remember(run, memory);
        }
        if has_slot {
            self.take_slot_back(id, slot);
        }
        self.read_later(run);
    }

    fn drain(&mut self, run: RunId, grace: Duration, limit: Duration) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let app = worker.app;
        if worker.ended {
            self.outbox.push(ClusterEvent::Drained { run });
            return;
        }
        let again = std::mem::replace(&mut worker.draining, true);
        let told = if worker.preload {
            worker.channel.queue_internal(&message::drain(millis(grace), millis(limit)), None)
        } else if worker.cluster {
            if again { Ok(()) } else { worker.tell(json!({"act": "disconnect"})) }
        } else {
            // It cannot be asked; the stop signal is the way.
            self.outbox.push(ClusterEvent::Drained { run });
            Ok(())
        };
        if let Err(error) = told {
            self.violation(run, &error);
        }
        self.to_flush.insert(run);
        self.mark_dirty(app);
        self.refresh_all(app);
    }

    fn send(&mut self, run: RunId, message: &Value, handle: Option<Passed>, told: Option<Sent>) {
        let Some(worker) = self.workers.get_mut(&run).filter(|worker| !worker.ended) else {
            told.into_iter().for_each(|told| told(Err("the worker has ended, or closed its channel".into())));
            return;
        };
        let text = message.to_string();
        let sent = match handle {
            None => worker.channel.queue(&text, None).map_err(|error| error.to_string()),
            Some(handle) => worker.send_handle(&text, handle),
        };
        if let Err(error) = &sent {
            tracing::warn!(%run, %error, "a message was not sent");
        }
        told.into_iter().for_each(|told| told(sent.clone()));
        self.to_flush.insert(run);
    }

    fn send_v8(&mut self, run: RunId, message: &v8::Value) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        if let Err(error) = worker.channel.queue_value(message) {
            tracing::warn!(%run, %error, "a message was not sent");
        }
        self.to_flush.insert(run);
    }

    /// Closes our end of a worker's channel. That it has ended is read from it, like every other end.
    fn disconnect(&mut self, run: RunId) {
        let Some(worker) = self.workers.get_mut(&run).filter(|worker| !worker.ended) else { return };
        // What does not go out now was not read for long, and is not waited for.
        let _ = worker.channel.flush();
        if let Err(error) = net::shutdown(&worker.channel) {
            tracing::debug!(%run, %error, "its channel is closed already");
        }
        self.read_later(run);
    }

    /// Reads what a dead worker has written, then forgets it.
    fn remove_worker(&mut self, run: RunId) {
        let Some(mut worker) = self.workers.remove(&run) else { return };
        worker.channel.consume();
        self.handed_out.remove(&run);
        let mut last_words = Vec::new();
        while !worker.ended {
            let batch = worker.channel.read(&mut self.buffer);
            last_words.extend(batch.messages);
            worker.channel.consume();
            worker.hung_up = true;
            match batch.state {
                State::More => {}
                // An unfinished message, or a descendant of the worker holds the channel open: nothing more will come.
                State::Idle if last_words.is_empty() => break,
                State::Idle => {
                    if matches!(worker.channel.read(&mut self.buffer).state, State::Ended | State::Idle) {
                        break;
                    }
                }
                State::Ended | State::Broken(_) => break,
            }
        }
        let id = worker.app;
        self.workers.insert(run, worker);
        for message in last_words {
            self.message(run, message);
        }
        self.channel_ended(run);
        self.take_offers_back(run);
        let Some(worker) = self.workers.remove(&run) else { return };
        self.reactor.remove(&worker.channel, worker.token);
        let asked: Vec<u32> = worker.asked.iter().map(|asked| asked.group).collect();
        if let Some(app) = self.apps.get_mut(&id) {
            app.workers.remove(&run);
            app.shared.forget(run);
            app.dirty = true;
        }
        for group in asked {
            self.mend_slot(id, group, worker.slot);
            self.retire_left(id, group);
            self.note_use(id, group);
            self.refresh(id, group);
        }
    }

    /// Nothing more comes from a worker: it gets no connections, and those it was offered go to others.
    pub(super) fn channel_ended(&mut self, run: RunId) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        if std::mem::replace(&mut worker.ended, true) {
            return;
        }
        let (app, slot, draining) = (worker.app, worker.slot, worker.draining);
        let groups: Vec<u32> = worker.asked.iter().map(|asked| asked.group).collect();
        self.outbox.push(ClusterEvent::Disconnected { run });
        if draining {
            self.outbox.push(ClusterEvent::Drained { run });
        }
        for number in groups {
            if let Some(group) = self.group(app, number) {
                group.leave(run, slot);
            }
            self.refresh(app, number);
        }
        self.mark_dirty(app);
    }

    /// A worker has ended without an answer to these offers: others get them.
    pub(super) fn take_offers_back(&mut self, run: RunId) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let app = worker.app;
        let groups: BTreeSet<u32> = worker.offered.values().map(|offer| offer.group).collect();
        for offer in std::mem::take(&mut worker.offered).into_values() {
            self.survived(app, offer);
        }
        for group in groups {
            self.settle(app, group);
        }
        self.keep_connections(KEPT_AFTER);
    }

    fn retire_slot(&mut self, app: AppId, slot: SlotId) {
        let mut lingering = Vec::new();
        for group in self.apps.get_mut(&app).into_iter().flat_map(|app| app.groups.values_mut()) {
            let number = group.number;
            if let Some(socket) = group.slots().and_then(|slots| slots.sockets.get_mut(&slot))
                && !std::mem::replace(&mut socket.retiring, true)
            {
                lingering.push(number);
            }
        }
        for group in lingering {
            self.reactor.at(self.now + LINGER, Timer::Linger { app, group, slot });
            self.refresh(app, group);
        }
        self.mark_dirty(app);
    }

    /// The slots of a group are given up when every worker that had one is gone and others are there, of a spec with
    /// another policy.
    pub(super) fn retire_left(&mut self, app: AppId, number: u32) {
        let parts: BTreeSet<Part> = self.parts(app, number, |worker| !worker.ended).collect();
        if parts.is_empty() || parts.contains(&Part::Slot) {
            return;
        }
        let Some(slots) = self.group(app, number).and_then(Group::slots) else { return };
        let mut left = Vec::new();
        for (slot, socket) in &mut slots.sockets {
            if !std::mem::replace(&mut socket.retiring, true) {
                left.push(*slot);
            }
        }
        for slot in left {
            self.reactor.at(self.now + LINGER, Timer::Linger { app, group: number, slot });
            self.mark_dirty(app);
        }
    }

    /// A worker comes for a slot that was being given up.
    fn take_slot_back(&mut self, app: AppId, slot: SlotId) {
        let mut back = Vec::new();
        for group in self.apps.get_mut(&app).into_iter().flat_map(|app| app.groups.values_mut()) {
            let number = group.number;
            if let Some(socket) = group.slots().and_then(|slots| slots.sockets.get_mut(&slot))
                && std::mem::take(&mut socket.retiring)
            {
                back.push(number);
            }
        }
        for group in back {
            self.refresh(app, group);
        }
    }

    fn close_app(&mut self, id: AppId) {
        if let Some(app) = self.apps.get(&id) {
            let groups: Vec<u32> = app.groups.keys().copied().collect();
            for group in groups {
                self.close_group(id, group);
            }
        }
        for run in self.apps.remove(&id).into_iter().flat_map(|app| app.workers) {
            if let Some(worker) = self.workers.remove(&run) {
                self.reactor.remove(&worker.channel, worker.token);
                worker.offered.into_values().for_each(|offer| self.unkeep(offer.connection));
            }
            self.handed_out.remove(&run);
        }
        self.store.remove(&crate::saved::state_name(id));
        self.outbox.push(ClusterEvent::Closed { app: id });
    }
}

/// In whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
