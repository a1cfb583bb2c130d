//! What a supervisor before this one has left: groups with their sockets, and what its workers were told.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use musher_core::ids::{AppId, RunId, SlotId};
use musher_process::net::reuseport::Members;
use musher_process::net::tcp;

use super::Primary;
use super::commands::LINGER;
use super::custody::Inherited;
use crate::bind::Refusal;
use crate::event::ClusterEvent;
use crate::group::{Group, Member, Sharing, Single, SlotSocket, Slots};
use crate::reactor::{self, Source, Timer};
use crate::ring::Ring;
use crate::saved::{Custody, SavedApp, SavedFile, SavedGroup, SavedRun, SavedSharing, parse_listener};
use crate::worker::Asked;

/// The sockets of one group: those of slots, and one that all share.
#[derive(Default)]
struct Sockets {
    slots: BTreeMap<SlotId, OwnedFd>,
    shared: Option<OwnedFd>,
}

impl Primary {
    pub(super) fn restore_app(&mut self, id: AppId, saved: &[u8], listeners: Vec<(String, OwnedFd)>) {
        self.add_app(id);
        let Some(saved) = SavedApp::decode(saved) else {
            tracing::error!(app = %id, "the state of the listeners cannot be read: they are closed");
            for (name, _) in listeners {
                self.store.remove(&name);
            }
            return;
        };
        let mut sockets: BTreeMap<u32, Sockets> = BTreeMap::new();
        let mut inherited = Inherited::default();
        for (name, socket) in listeners {
            if let Some((group, custody)) = Custody::parse(id, &name) {
                inherited.add(name, socket, group, custody);
                continue;
            }
            match parse_listener(id, &name) {
                Some((group, Some(slot))) => {
                    sockets.entry(group).or_default().slots.insert(slot, socket);
                }
                Some((group, None)) => sockets.entry(group).or_default().shared = Some(socket),
                None => self.store.remove(&name),
            }
        }
        for group in saved.groups {
            let number = group.number;
            let of_group = sockets.remove(&number).unwrap_or_default();
            match self.restore_group(id, group, of_group) {
                Ok(Some(group)) => {
                    if let Some(app) = self.apps.get_mut(&id) {
                        app.groups.insert(number, group);
                    }
                }
                Ok(None) => {}
                Err(Refusal(errno)) => tracing::error!(app = %id, group = number, errno, "a listener is lost"),
            }
        }
        // Opened, and never told of to anybody: the worker's question is still in its channel.
        for (group, sockets) in sockets {
            for slot in sockets.slots.keys() {
                self.store.remove(&crate::saved::slot_name(id, group, *slot));
            }
            if sockets.shared.is_some() {
                self.store.remove(&crate::saved::shared_name(id, group));
            }
        }
        if let Some(app) = self.apps.get_mut(&id) {
            app.next_group = app.next_group.max(saved.next_group);
            app.epoch = saved.epoch + 1;
            app.memory = saved.runs.into_iter().map(|run| (run.run, run)).collect();
            app.restoring = true;
            app.shared = saved.shared.unwrap_or_default();
            app.inherited = inherited;
        }
    }

    /// The workers that live are here: from now on the listeners follow what becomes of them. Not before, or all
    /// connections would come here while nobody is known to serve, and stay if this process were killed then.
    pub(super) fn adopted(&mut self, id: AppId) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        app.restoring = false;
        app.memory.clear();
        app.dirty = true;
        self.return_waiting(id);
        let Some(app) = self.apps.get(&id) else { return };
        let groups: Vec<u32> = app.groups.keys().copied().collect();
        for group in groups {
            self.note_use(id, group);
            self.refresh(id, group);
        }
    }

    fn restore_group(&mut self, id: AppId, saved: SavedGroup, sockets: Sockets) -> Result<Option<Group>, Refusal> {
        let number = saved.number;
        let sharing = match saved.sharing {
            SavedSharing::Slots { members, retiring } => {
                let slots = self.restore_slots(id, number, (&members, &retiring), sockets)?;
                Some(Sharing::Slots(slots))
            }
            SavedSharing::Shared { file } => {
                self.restore_single(id, number, sockets.shared, file, reactor::NEVER)?.map(Sharing::Shared)
            }
            SavedSharing::RoundRobin { file } => {
                self.restore_single(id, number, sockets.shared, file, reactor::EDGE)?.map(Sharing::RoundRobin)
            }
        };
        Ok(sharing.map(|sharing| Group {
            number,
            key: saved.key,
            bind: saved.bind,
            backlog: saved.backlog,
            data: saved.data,
            sharing,
            ring: Ring::default(),
            waiting: VecDeque::new(),
            settling: false,
            starved: true,
            unused: None,
        }))
    }

    fn restore_single(
        &mut self,
        id: AppId,
        number: u32,
        socket: Option<OwnedFd>,
        file: Option<SavedFile>,
        flags: rustix::event::epoll::EventFlags,
    ) -> Result<Option<Single>, Refusal> {
        let Some(socket) = socket else { return Ok(None) };
        Ok(Some(self.single(id, number, socket, file.map(Into::into), flags)?))
    }

    /// The kernel's array is as it was written down, but for at most one change: the last socket that was opened may
    /// have joined it, the last that was closed may have left.
    fn restore_slots(
        &mut self,
        id: AppId,
        number: u32,
        (order, retiring): (&[Member], &[SlotId]),
        sockets: Sockets,
    ) -> Result<Slots, Refusal> {
        let mut members = Members::from_order(order.to_vec());
        for member in order {
            let socket = member.map_or(sockets.shared.as_ref(), |slot| sockets.slots.get(&slot));
            if !socket.is_some_and(listens) {
                members.leave(*member);
            }
        }
        let front = self.restore_single(id, number, sockets.shared, None, reactor::EDGE)?;
        let mut slots = Slots::new(front, members);
        for (slot, socket) in sockets.slots {
            if !listens(&socket) {
                self.store.remove(&crate::saved::slot_name(id, number, slot));
                continue;
            }
            if slots.members.index(Some(slot)).is_none() {
                slots.members.join(Some(slot));
            }
            let token = self.reactor.add(&socket, Source::Slot { app: id, group: number, slot }, reactor::NEVER)?;
            let retiring = retiring.contains(&slot);
            if retiring {
                self.reactor.at(self.now + LINGER, Timer::Linger { app: id, group: number, slot });
            }
            slots.sockets.insert(slot, SlotSocket::new(socket, token, retiring));
        }
        Ok(slots)
    }

    /// A worker that was adopted has this behind it.
    pub(super) fn remember(&mut self, run: RunId, memory: SavedRun) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let app = worker.app;
        worker.online = memory.online;
        worker.ready = memory.ready;
        worker.preload = memory.preload;
        worker.draining = memory.draining;
        worker.failed = memory.failed;
        worker.watches = memory.watches;
        worker.missed = memory.missed;
        let groups = self.apps.get(&app).map(|app| &app.groups);
        let asked = memory.asked.into_iter().filter_map(|asked| {
            let usual = groups?.get(&asked.group)?.usual_part();
            let part = asked.part.unwrap_or(usual);
            Some(Asked { group: asked.group, identity: asked.identity, part, listening: asked.listening })
        });
        worker.asked = asked.collect();
        let listening: Vec<u32> =
            worker.asked.iter().filter(|asked| asked.listening).map(|asked| asked.group).collect();
        if memory.failed {
            // It may have been told to nobody but the supervisor that died.
            let drains = memory.draining;
            self.outbox.push(ClusterEvent::Uncaught { run, stack: String::new(), drains });
        }
        if memory.online {
            self.outbox.push(ClusterEvent::Online { run });
        }
        for group in listening {
            self.joined(run, group, None);
            self.refresh(app, group);
        }
        if memory.ready {
            self.outbox.push(ClusterEvent::Ready { run });
        }
    }
}

fn listens(socket: &OwnedFd) -> bool {
    tcp::listen_state(socket).is_ok_and(|state| state.listening)
}
