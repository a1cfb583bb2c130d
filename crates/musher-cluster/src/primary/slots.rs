//! Slots with a socket of their own: who gets new connections, whose worker is blocked, and what becomes of connections
//! that wait where nobody accepts them.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::Duration;

use musher_core::ids::{AppId, RunId, SlotId};
use musher_process::net::{self, reuseport, tcp};

use super::Primary;
use crate::group::{Connection, Group, Part, Sharing, SlotSocket, Slots};
use crate::reactor::{self, Timer};
use crate::steering::{Fitness, chosen};
use crate::watch::{Step, TICK};
use crate::worker::Worker;

/// How many rescued connections a worker may be offered that it has not answered, and for how long.
const RESCUE_WINDOW: usize = 2;
const RESCUE_PATIENCE: Duration = Duration::from_millis(4);
/// How many siblings are asked for a sign of life at once.
const PROBES: usize = 8;

impl Primary {
    /// Who serves has changed: everything that follows from it.
    pub(super) fn refresh(&mut self, app: AppId, number: u32) {
        if self.apps.get(&app).is_some_and(|app| app.restoring) {
            return;
        }
        self.follow_parts(app, number);
        self.steer(app, number);
        let slots = self.group(app, number).and_then(Group::slots);
        let all: Vec<SlotId> = slots.map(|slots| slots.sockets.keys().copied().collect()).unwrap_or_default();
        for slot in all {
            self.arm(app, number, slot);
        }
        self.relieve_starved(app, number);
        self.settle(app, number);
        self.pump(app, number);
    }

    /// The same for all groups of an app.
    pub(super) fn refresh_all(&mut self, app: AppId) {
        let groups: Vec<u32> = self.apps.get(&app).into_iter().flat_map(|app| app.groups.keys().copied()).collect();
        for group in groups {
            self.refresh(app, group);
        }
    }

    pub(super) fn fitness(&self, app: AppId, number: u32, slot: SlotId) -> Option<Fitness> {
        let group = self.apps.get(&app)?.groups.get(&number)?;
        let Sharing::Slots(slots) = &group.sharing else { return None };
        Some(fitness(slots.sockets.get(&slot)?, number, &self.workers))
    }

    /// Tells the kernel which slots get new connections, if that has changed.
    fn steer(&mut self, id: AppId, number: u32) {
        let Some(group) = self.apps.get(&id).and_then(|app| app.groups.get(&number)) else { return };
        let Sharing::Slots(slots) = &group.sharing else { return };
        let fitness = |slot: &SlotId| {
            let socket = slots.sockets.get(slot);
            socket.map_or(Fitness::Retiring, |socket| fitness(socket, number, &self.workers))
        };
        let members: Vec<_> = slots.members.order().iter().map(|member| member.as_ref().map(fitness)).collect();
        let chosen = chosen(&members, slots.deal);
        let Some(app) = self.apps.get_mut(&id) else { return };
        let Some(slots) = app.groups.get_mut(&number).and_then(Group::slots) else { return };
        // One alone gets everything; and the kernel knows of no group before a second has joined.
        let is_alone = slots.members.order().len() < 2;
        let is_done = slots.steered.as_ref().is_some_and(|(steered, _)| *steered == chosen);
        if slots.cannot_steer || is_alone || is_done {
            return;
        }
        let any = slots.front.as_ref().map(|front| &front.socket);
        let Some(any) = any.or(slots.sockets.values().next().map(|slot| &slot.socket)) else { return };
        match reuseport::steer(any.as_fd(), &chosen) {
            Ok(dealing) => slots.steered = Some((chosen, dealing)),
            Err(error) => {
                tracing::warn!(%error, "the kernel does not let connections be steered; they are only handed over");
                slots.cannot_steer = true;
            }
        }
        app.stats.steered += 1;
    }

    /// Has the kernel tell when a connection waits at a slot, unless it is known or looked at.
    fn arm(&mut self, app: AppId, number: u32, slot: SlotId) {
        let Some(fitness) = self.fitness(app, number, slot) else { return };
        let Some(group) = self.apps.get_mut(&app).and_then(|app| app.groups.get_mut(&number)) else { return };
        let Some(slots) = group.slots() else { return };
        let Some(socket) = slots.sockets.get_mut(&slot) else { return };
        if fitness == Fitness::Serving {
            slots.starved.remove(&slot);
            if !socket.watch.is_armed() {
                return self.tick_for(app, number, slot);
            }
        }
        if !socket.armed && !slots.starved.contains(&slot) {
            socket.armed = true;
            self.reactor.set(&socket.socket, socket.token, reactor::ONCE);
        }
    }

    fn tick_for(&mut self, app: AppId, number: u32, slot: SlotId) {
        self.watched.insert((app, number, slot));
        if !self.ticking {
            self.ticking = true;
            self.reactor.at(self.now + TICK, Timer::Tick);
        }
    }

    /// A connection waits at a slot's socket.
    pub(super) fn slot_readable(&mut self, app: AppId, number: u32, slot: SlotId) {
        let slots = self.group(app, number).and_then(Group::slots);
        if let Some(socket) = slots.and_then(|slots| slots.sockets.get_mut(&slot)) {
            socket.armed = false;
        }
        if self.fitness(app, number, slot) != Some(Fitness::Serving) {
            return self.relieve(app, number, slot);
        }
        let slots = self.group(app, number).and_then(Group::slots);
        let Some(socket) = slots.and_then(|slots| slots.sockets.get_mut(&slot)) else { return };
        match socket.watch.readable() {
            Step::Relieve => self.relieve(app, number, slot),
            Step::Wait | Step::Arm | Step::Ask | Step::Alive => self.tick_for(app, number, slot),
        }
    }

    /// Looks at the queues of all watched slots.
    pub(super) fn tick(&mut self) {
        for (app, number, slot) in std::mem::take(&mut self.watched) {
            if self.fitness(app, number, slot) == Some(Fitness::Serving) {
                self.look(app, number, slot);
            }
        }
        self.ticking = !self.watched.is_empty();
        if self.ticking {
            self.reactor.at(self.now + TICK, Timer::Tick);
        }
    }

    fn look(&mut self, id: AppId, number: u32, slot: SlotId) {
        let now = self.now;
        let Some(group) = self.apps.get(&id).and_then(|app| app.groups.get(&number)) else { return };
        let Sharing::Slots(slots) = &group.sharing else { return };
        let Some(socket) = slots.sockets.get(&slot) else { return };
        let queued = tcp::listen_state(&socket.socket).map_or(0, |state| state.queued);
        let is_asked = socket.watch.is_asked();
        let serves = |run: &&RunId| self.workers.get(run).is_some_and(|worker| worker.serves(number));
        let runs: Vec<RunId> = socket.runs.iter().filter(serves).copied().collect();
        let mut all_read = false;
        if is_asked {
            for run in &runs {
                if self.workers.get(run).is_some_and(|worker| !worker.channel.peer_has_unread()) {
                    self.seen_alive(*run);
                    all_read = true;
                }
            }
        }

        let slots = self.group(id, number).and_then(Group::slots);
        let Some(socket) = slots.and_then(|slots| slots.sockets.get_mut(&slot)) else { return };
        let step = socket.watch.tick(now, queued, all_read);
        match step {
            Step::Wait => {}
            Step::Arm => return self.arm(id, number, slot),
            Step::Ask => {
                for run in runs {
                    self.probe(run);
                }
            }
            Step::Alive => self.relieve_starved(id, number),
            Step::Relieve => {
                tracing::debug!(app = %id, %slot, "a worker is blocked: its siblings get its connections");
                if let Some(app) = self.apps.get_mut(&id) {
                    app.stats.blocked += 1;
                }
                for run in runs {
                    self.watch_room(run);
                }
                self.refresh(id, number);
                return;
            }
        }
        self.watched.insert((id, number, slot));
    }

    /// Sends something to a worker, to see whether it is alive.
    pub(super) fn probe(&mut self, run: RunId) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        if let Err(error) = worker.probe() {
            return self.violation(run, &error);
        }
        self.to_flush.insert(run);
    }

    /// Asks for a sign of life that is waited for.
    pub(super) fn want(&mut self, run: RunId) {
        if let Some(worker) = self.workers.get_mut(&run) {
            worker.wanted_since.get_or_insert(self.now);
        }
        self.probe(run);
    }

    /// Whether a slot waits for this worker to read its channel.
    pub(super) fn is_found_blocked(&self, run: RunId) -> bool {
        self.blocked_slots(run).next().is_some()
    }

    fn blocked_slots(&self, run: RunId) -> impl Iterator<Item = u32> + '_ {
        let worker = self.workers.get(&run);
        worker.into_iter().flat_map(move |worker| {
            worker.asked.iter().map(|asked| asked.group).filter(move |number| {
                let group = self.apps.get(&worker.app).and_then(|app| app.groups.get(number));
                matches!(group.map(|group| &group.sharing), Some(Sharing::Slots(slots))
                    if slots.sockets.get(&worker.slot).is_some_and(|socket| socket.watch.is_blocked()))
            })
        })
    }

    /// Something happened at a worker's channel. If it has read everything, it is alive: it was not blocked, or is not
    /// any more, and can take what waits elsewhere.
    pub(super) fn may_have_read(&mut self, run: RunId) {
        let Some(worker) = self.workers.get_mut(&run).filter(|worker| worker.wants_room) else { return };
        let (app, slot, now) = (worker.app, worker.slot, self.now);
        if worker.channel.peer_has_unread() || worker.channel.wants_write() {
            return;
        }
        self.seen_alive(run);
        let blocked: Vec<u32> = self.blocked_slots(run).collect();
        for number in blocked {
            let slots = self.group(app, number).and_then(Group::slots);
            if let Some(socket) = slots.and_then(|slots| slots.sockets.get_mut(&slot))
                && socket.watch.recovered(now)
            {
                self.refresh(app, number);
            }
        }
        self.watch_room(run);
    }

    /// A worker gives a sign of life: it gets what has waited for one.
    pub(super) fn seen_alive(&mut self, run: RunId) {
        if self.workers.get_mut(&run).is_some_and(|worker| worker.is_alive(self.now)) {
            self.has_room(run);
        }
    }

    /// Gives what waits at a slot that cannot serve to siblings that can. What nobody can take stays in the kernel.
    pub(super) fn relieve(&mut self, app: AppId, number: u32, slot: SlotId) {
        // As in turns: nothing is to come between the acceptance of a connection and its handover.
        self.keep();
        loop {
            let Some(taker) = self.sibling(app, number, slot) else {
                // Whoever is seen to be alive, or has room again, will take it.
                self.probe_siblings(app, number, slot);
                if let Some(slots) = self.group(app, number).and_then(Group::slots) {
                    slots.starved.insert(slot);
                }
                return;
            };
            let Some(slots) = self.group(app, number).and_then(Group::slots) else { return };
            slots.starved.remove(&slot);
            let Some(socket) = slots.sockets.get(&slot) else { return };
            match net::accept(&socket.socket) {
                Ok(Some(connection)) => {
                    let connection = Connection::new(connection);
                    self.offer(taker, number, connection);
                    if let Some(app) = self.apps.get_mut(&app) {
                        app.stats.rescued += 1;
                    }
                }
                Ok(None) => return self.arm(app, number, slot),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    slots.starved.insert(slot);
                    return self.settle_soon(app, number);
                }
            }
        }
    }

    /// The next worker that can take a connection of another slot.
    fn sibling(&mut self, app: AppId, number: u32, slot: SlotId) -> Option<RunId> {
        let (workers, now) = (&self.workers, self.now);
        let group = self.apps.get_mut(&app)?.groups.get_mut(&number)?;
        let Sharing::Slots(slots) = &group.sharing else { return None };
        group.ring.next(|run| {
            workers.get(&run).is_some_and(|worker| {
                can_rescue(worker, slots, number, slot)
                    && worker.was_alive(now)
                    && worker.takes(now, RESCUE_WINDOW, RESCUE_PATIENCE)
            })
        })
    }

    /// Asks those who could take a connection of another slot for a sign of life.
    fn probe_siblings(&mut self, app: AppId, number: u32, slot: SlotId) {
        let Some(group) = self.apps.get(&app).and_then(|app| app.groups.get(&number)) else { return };
        let Sharing::Slots(slots) = &group.sharing else { return };
        let siblings: Vec<RunId> = group
            .ring
            .iter()
            .filter(|run| {
                self.workers.get(run).is_some_and(|worker| {
                    can_rescue(worker, slots, number, slot)
                        && worker.wanted_since.is_none()
                        && !worker.was_alive(self.now)
                })
            })
            .take(PROBES)
            .collect();
        for run in siblings {
            self.want(run);
        }
    }

    /// A worker can take more: what waits at slots that had nobody.
    pub(super) fn relieve_starved(&mut self, app: AppId, number: u32) {
        let Some(slots) = self.group(app, number).and_then(Group::slots) else { return };
        for slot in std::mem::take(&mut slots.starved) {
            match self.fitness(app, number, slot) {
                Some(Fitness::Serving) => self.arm(app, number, slot),
                Some(_) => self.relieve(app, number, slot),
                None => {}
            }
        }
    }

    /// A retired slot has lingered: nothing is on its way to it any more.
    pub(super) fn lingered(&mut self, app: AppId, number: u32, slot: SlotId) {
        if self.fitness(app, number, slot) == Some(Fitness::Retiring) {
            self.relieve(app, number, slot);
            self.drop_slot(app, number, slot);
            self.refresh(app, number);
        }
    }
}

/// Whether a worker may take connections of another slot at all.
fn can_rescue(worker: &Worker, slots: &Slots, number: u32, slot: SlotId) -> bool {
    let socket = slots.sockets.get(&worker.slot);
    worker.serves(number)
        && match worker.part(number) {
            Some(Part::Slot) => {
                worker.slot != slot && socket.is_some_and(|socket| socket.watch.takes_more() && !socket.retiring)
            }
            Some(Part::All | Part::Turns) => true,
            None => false,
        }
}

fn fitness(socket: &SlotSocket, number: u32, workers: &HashMap<RunId, Worker>) -> Fitness {
    let serves = |run: &RunId| workers.get(run).is_some_and(|worker| worker.serves(number));
    if socket.retiring {
        Fitness::Retiring
    } else if !socket.runs.iter().any(serves) {
        Fitness::Vacant
    } else if socket.watch.is_blocked() {
        Fitness::Blocked
    } else {
        Fitness::Serving
    }
}
