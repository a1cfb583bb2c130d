//! Groups and their sockets, opened and closed.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Balance;
use musher_process::net::reuseport::{self, Dealing, Members};
use musher_process::net::tcp::{self, Membership};
use musher_process::net::{self, unix::SocketFile};
use rustix::io::Errno;

use super::Primary;
use super::inbound::words;
use crate::bind::{BACKLOG, Bind, Refusal, given};
use crate::cluster::{Listens, Stats};
use crate::event::ClusterEvent;
use crate::group::{Group, Part, Sharing, Single, SlotSocket, Slots, UNUSED};
use crate::message::Query;
use crate::reactor::{self, Source, Timer};
use crate::ring::Ring;
use crate::saved::{shared_name, slot_name};
use crate::steering::Deal;
use crate::worker::Worker;

/// The most addresses that the workers of one app may listen on.
const MAX_GROUPS: usize = 4096;

impl Primary {
    /// The group that a worker asks for, with a socket for its slot. Opened when it is not there.
    pub(super) fn open(&mut self, app: AppId, run: RunId, mut query: Query) -> Result<(u32, Part), (Refusal, String)> {
        let asked = query.identity.key();
        let refused = |errno: Errno| (Refusal::from(errno), asked.clone());
        let worker = self.workers.get(&run).ok_or_else(|| refused(Errno::INVAL))?;
        let (slot, listens) = (worker.slot, Arc::clone(&worker.listens));
        if let Some(index) = Bind::of(&query).ok().and_then(|bind| bind.among(&listens.inherited)) {
            query.identity = Bind::inherited(index);
        }
        let key = key(&query, &listens).map_err(refused)?;
        let known = self.apps.get(&app).and_then(|app| app.groups.values().find(|group| group.key == key));
        let number = match known.map(|group| group.number) {
            Some(number) => {
                self.let_slots_in(app, number, listens.policy);
                number
            }
            None => {
                let bind = Bind::of(&query).map_err(|refusal| (refusal, key.clone()))?;
                self.end_closed(app, &bind);
                let address = bind.words();
                self.open_group(app, key, bind, (query, &listens)).map_err(|refusal| (refusal, address))?
            }
        };
        let part = self.group(app, number).map_or(Part::All, |group| group.part(listens.policy));
        let result = if part == Part::Slot { self.open_slot(app, number, slot) } else { Ok(()) };
        result.map(|()| (number, part)).map_err(|refusal| {
            let address = self.group(app, number).map(|group| group.bind.words()).unwrap_or_default();
            // Nobody else has it: it never came to life.
            let is_empty = self.group(app, number).and_then(Group::slots).is_some_and(|slots| slots.sockets.is_empty());
            if is_empty && !self.is_asked_for(app, number) {
                self.close_group(app, number);
            }
            (refusal, address)
        })
    }

    /// Groups that their last worker has closed, and that are in the way of a new one: their time is over.
    fn end_closed(&mut self, id: AppId, bind: &Bind) {
        let groups = self.apps.get(&id).into_iter().flat_map(|app| app.groups.values());
        let closed =
            groups.filter(|group| matches!(group.unused, Some((_, Some(_)))) && group.bind.is_in_the_way(bind));
        let numbers: Vec<u32> = closed.map(|group| group.number).collect();
        for number in numbers {
            if !self.is_asked_for(id, number) {
                self.close_group(id, number);
            }
        }
    }

    fn open_group(
        &mut self,
        id: AppId,
        key: String,
        mut bind: Bind,
        (query, listens): (Query, &Listens),
    ) -> Result<u32, Refusal> {
        let app = self.apps.get_mut(&id).ok_or(Errno::INVAL)?;
        if app.groups.len() >= MAX_GROUPS {
            return Err(Errno::NFILE.into());
        }
        let number = app.next_group;
        let backlog = query.backlog.unwrap_or(BACKLOG);
        let single = |bind: &mut Bind| {
            let name = shared_name(id, number);
            bind.open_shared(backlog, listens, |socket| self.store.put(&name, socket.as_fd()))
                .inspect_err(|_| self.store.remove(&name))
        };
        let is_udp = matches!(bind, Bind::Udp { .. });
        let sharing = match listens.policy {
            Balance::Auto | Balance::Kernel if bind.is_tcp() => {
                let name = shared_name(id, number);
                let before = |socket: &OwnedFd| self.store.put(&name, socket.as_fd());
                let front =
                    bind.open_tcp(Membership::Founds, backlog, before).inspect_err(|_| self.store.remove(&name))?;
                let front = self.single(id, number, front, None, reactor::EDGE)?;
                Sharing::Slots(Slots::new(Some(front), Members::from_order(vec![None])))
            }
            Balance::RoundRobin if !is_udp => {
                let (socket, file) = single(&mut bind)?;
                if net::kind(&socket).is_ok_and(|kind| kind == net::Kind::Udp) {
                    self.shared(id, number, socket, file)?
                } else {
                    Sharing::RoundRobin(self.single(id, number, socket, file, reactor::EDGE)?)
                }
            }
            _ => {
                let (socket, file) = single(&mut bind)?;
                self.shared(id, number, socket, file)?
            }
        };
        let group = Group {
            number,
            key,
            bind,
            backlog,
            data: query.data,
            sharing,
            ring: Ring::default(),
            waiting: VecDeque::new(),
            settling: false,
            starved: true,
            unused: None,
        };
        if let Some(app) = self.apps.get_mut(&id) {
            app.next_group += 1;
            app.groups.insert(number, group);
            app.dirty = true;
        }
        Ok(number)
    }

    fn shared(
        &mut self,
        app: AppId,
        group: u32,
        socket: OwnedFd,
        file: Option<SocketFile>,
    ) -> Result<Sharing, Refusal> {
        Ok(Sharing::Shared(self.single(app, group, socket, file, reactor::NEVER)?))
    }

    pub(super) fn single(
        &mut self,
        app: AppId,
        group: u32,
        socket: OwnedFd,
        file: Option<SocketFile>,
        flags: rustix::event::epoll::EventFlags,
    ) -> Result<Single, Refusal> {
        let token = self.reactor.add(&socket, Source::Single { app, group }, flags)?;
        Ok(Single { socket: Arc::new(socket), file, token })
    }

    /// Workers come for a group whose spec gives each slot a socket, while those before shared the one that is there: it
    /// becomes the front, and lets others join.
    fn let_slots_in(&mut self, id: AppId, number: u32, policy: Balance) {
        let Some(group) = self.apps.get_mut(&id).and_then(|app| app.groups.get_mut(&number)) else { return };
        let (Sharing::Shared(single) | Sharing::RoundRobin(single)) = &group.sharing else { return };
        if !matches!(policy, Balance::Auto | Balance::Kernel) || !group.bind.is_tcp() {
            return;
        }
        if let Err(error) = reuseport::let_join(&single.socket) {
            tracing::warn!(app = %id, %error, "the workers go on sharing one socket");
            return;
        }
        let front = Single { socket: Arc::clone(&single.socket), file: None, token: single.token };
        self.reactor.set(&front.socket, front.token, reactor::EDGE);
        group.sharing = Sharing::Slots(Slots::new(Some(front), Members::from_order(vec![None])));
        self.mark_dirty(id);
    }

    /// What the workers who serve were given.
    pub(super) fn parts(&self, app: AppId, group: u32, which: impl Fn(&Worker) -> bool) -> impl Iterator<Item = Part> {
        let runs = self.apps.get(&app).into_iter().flat_map(|app| app.workers.iter());
        let workers = runs.filter_map(|run| self.workers.get(run));
        workers.filter(move |worker| which(worker)).filter_map(move |worker| worker.part(group))
    }

    /// Who serves has changed: connections are accepted here from the socket of all when somebody wants turns, and not
    /// when those who have it accept themselves.
    pub(super) fn follow_parts(&mut self, id: AppId, number: u32) {
        let parts: BTreeSet<Part> = self.parts(id, number, |worker| worker.serves(number)).collect();
        let (turns, all) = (parts.contains(&Part::Turns), parts.contains(&Part::All));
        let Some(group) = self.apps.get_mut(&id).and_then(|app| app.groups.get_mut(&number)) else { return };
        let they_accept = all && !turns;
        let single = match &mut group.sharing {
            Sharing::Slots(slots) => {
                let deal = match (turns, all) {
                    (true, _) => Deal::Turns,
                    (false, true) => Deal::KernelAndFront,
                    (false, false) => Deal::Kernel,
                };
                let before = std::mem::replace(&mut slots.deal, deal);
                if (before == Deal::KernelAndFront) == they_accept {
                    return;
                }
                let Some(front) = slots.front.clone() else { return };
                front
            }
            Sharing::Shared(single) if turns => {
                let single = single.clone();
                group.sharing = Sharing::RoundRobin(single.clone());
                single
            }
            Sharing::RoundRobin(single) if they_accept => {
                let single = single.clone();
                group.sharing = Sharing::Shared(single.clone());
                single
            }
            Sharing::Shared(_) | Sharing::RoundRobin(_) => return,
        };
        self.reactor.set(&single.socket, single.token, if they_accept { reactor::NEVER } else { reactor::EDGE });
        self.mark_dirty(id);
    }

    /// Makes sure that the slot has a listening socket, where slots have their own.
    fn open_slot(&mut self, id: AppId, number: u32, slot: SlotId) -> Result<(), Refusal> {
        self.mend_slot(id, number, slot);
        let Some(group) = self.apps.get_mut(&id).and_then(|app| app.groups.get_mut(&number)) else { return Ok(()) };
        let backlog = group.backlog;
        let Sharing::Slots(slots) = &mut group.sharing else { return Ok(()) };
        if slots.sockets.contains_key(&slot) {
            return Ok(());
        }
        let membership = if slots.members.order().is_empty() { Membership::Founds } else { Membership::Joins };
        let name = slot_name(id, number, slot);
        let before = |socket: &OwnedFd| self.store.put(&name, socket.as_fd());
        let opened = group.bind.open_tcp(membership, backlog, before).and_then(|socket| {
            let token = self.reactor.add(&socket, Source::Slot { app: id, group: number, slot }, reactor::NEVER)?;
            Ok((socket, token))
        });
        let (socket, token) = opened.inspect_err(|_| self.store.remove(&name))?;
        slots.members.join(Some(slot));
        slots.steered = None;
        slots.sockets.insert(slot, SlotSocket::new(socket, token, false));
        if let Some(app) = self.apps.get_mut(&id) {
            app.dirty = true;
        }
        Ok(())
    }

    /// Lets go of a slot's socket that does not listen any more: a worker called shutdown(2) on its copy.
    pub(super) fn mend_slot(&mut self, id: AppId, number: u32, slot: SlotId) {
        let Some(slots) = self.group(id, number).and_then(Group::slots) else { return };
        let Some(socket) = slots.sockets.get(&slot) else { return };
        if tcp::listen_state(&socket.socket).is_ok_and(|state| !state.listening) {
            tracing::warn!(app = %id, %slot, "a worker has shut its listener down; it is opened anew");
            self.drop_slot(id, number, slot);
        }
    }

    /// Closes the socket of a slot.
    pub(super) fn drop_slot(&mut self, id: AppId, number: u32, slot: SlotId) {
        let Some(slots) = self.group(id, number).and_then(Group::slots) else { return };
        let Some(socket) = slots.sockets.remove(&slot) else { return };
        // Whoever else has a copy: it leaves the kernel's array now.
        let _ = net::shutdown(&socket.socket);
        slots.members.leave(Some(slot));
        slots.steered = None;
        slots.starved.remove(&slot);
        self.watched.remove(&(id, number, slot));
        self.reactor.remove(&socket.socket, socket.token);
        self.store.remove(&slot_name(id, number, slot));
        self.mark_dirty(id);
    }

    /// Closes everything of a group; its address is free.
    pub(super) fn close_group(&mut self, id: AppId, number: u32) {
        let Some(group) = self.apps.get_mut(&id).and_then(|app| app.groups.remove(&number)) else { return };
        self.outbox.push(ClusterEvent::Freed { app: id, address: words(&group) });
        group.waiting.into_iter().for_each(|connection| self.unkeep(connection));
        // Forgotten before they are closed: whoever finds the port free finds nothing of them.
        match group.sharing {
            Sharing::Slots(slots) => {
                for (slot, socket) in slots.sockets {
                    self.store.remove(&slot_name(id, number, slot));
                    let _ = net::shutdown(&socket.socket);
                    self.watched.remove(&(id, number, slot));
                    self.reactor.remove(&socket.socket, socket.token);
                }
                if let Some(front) = slots.front {
                    self.store.remove(&shared_name(id, number));
                    let _ = net::shutdown(&front.socket);
                    self.reactor.remove(&front.socket, front.token);
                }
            }
            Sharing::Shared(single) | Sharing::RoundRobin(single) => {
                self.store.remove(&shared_name(id, number));
                // The app's own sockets stay open for whoever else uses them.
                if !matches!(group.bind, Bind::Inherited { .. }) {
                    let _ = net::shutdown(&single.socket);
                }
                if let Some(Err(error)) = single.file.map(|file| file.remove()) {
                    tracing::warn!(%error, "cannot remove the file of a socket");
                }
                self.reactor.remove(&single.socket, single.token);
            }
        }
        for run in self.apps.get(&id).into_iter().flat_map(|app| app.workers.iter()) {
            if let Some(worker) = self.workers.get_mut(run) {
                worker.asked.retain(|asked| asked.group != number);
            }
        }
        self.mark_dirty(id);
    }

    /// Whether a worker that lives has the group, or is about to.
    pub(super) fn is_asked_for(&self, app: AppId, group: u32) -> bool {
        let runs = self.apps.get(&app).into_iter().flat_map(|app| app.workers.iter());
        runs.filter_map(|run| self.workers.get(run))
            .any(|worker| !worker.ended && worker.asked.iter().any(|asked| asked.group == group))
    }

    /// A worker has left the group: if it was the last, the group is not kept for ever.
    pub(super) fn note_use(&mut self, app: AppId, number: u32) {
        if self.is_asked_for(app, number) {
            return;
        }
        let now = self.now;
        if let Some(group) = self.group(app, number)
            && group.unused.is_none()
        {
            group.unused = Some((now, None));
            self.reactor.at(now + UNUSED, Timer::Unused { app, group: number });
        }
    }

    /// A group has had no worker for a while. It is closed when its last worker closed it and lives on, or when the
    /// app's workers listen elsewhere; else its workers are expected back, and clients wait in the kernel's queue.
    pub(super) fn unused(&mut self, id: AppId, number: u32) {
        let Some(app) = self.apps.get(&id) else { return };
        let Some((since, closed_by)) = app.groups.get(&number).and_then(|group| group.unused) else { return };
        if self.is_asked_for(id, number) {
            if let Some(group) = self.group(id, number) {
                group.unused = None;
            }
            return;
        }
        let closer = closed_by.and_then(|run| self.workers.get(&run));
        if closer.is_some_and(|worker| !worker.ended && !worker.draining && !worker.leaving) {
            return self.close_group(id, number);
        }
        let elsewhere = app
            .workers
            .iter()
            .filter_map(|run| self.workers.get(run))
            .any(|worker| worker.asked.iter().any(|asked| worker.serves(asked.group)));
        if elsewhere && self.now >= since + UNUSED {
            return self.close_group(id, number);
        }
        self.reactor.at(self.now + UNUSED, Timer::Unused { app: id, group: number });
    }

    pub(super) fn stats(&self, id: AppId) -> Stats {
        let Some(app) = self.apps.get(&id) else { return Stats::default() };
        let mut stats = app.stats.clone();
        for group in app.groups.values() {
            stats.queued += group.waiting.len() as u64;
            let sockets: Vec<&Arc<OwnedFd>> = match &group.sharing {
                Sharing::Slots(slots) => {
                    let deals =
                        |(chosen, dealing): &(Vec<u32>, Dealing)| chosen.len() > 1 && *dealing == Dealing::Turns;
                    stats.in_turns += u64::from(slots.steered.as_ref().is_some_and(deals));
                    let front = slots.front.iter().map(|front| &front.socket);
                    slots.sockets.values().map(|slot| &slot.socket).chain(front).collect()
                }
                Sharing::Shared(single) | Sharing::RoundRobin(single) => vec![&single.socket],
            };
            let depths = sockets.into_iter().filter_map(|socket| tcp::listen_state(socket).ok());
            stats.queued += depths.map(|state| u64::from(state.queued)).sum::<u64>();
        }
        let workers = app.workers.iter().filter_map(|run| self.workers.get(run));
        stats.unanswered = workers.map(|worker| worker.offered.len() as u64).sum();
        stats
    }
}

/// The name of what a worker asks for. Descriptors of one spec are not those of another.
fn key(query: &Query, listens: &Listens) -> Result<String, Errno> {
    let key = query.identity.key();
    let Ok(Bind::Inherited { index }) = Bind::of(query) else { return Ok(key) };
    let socket = given(listens, index)?;
    let cookie = rustix::net::sockopt::socket_cookie(socket)?;
    Ok(format!("{key}@{cookie}"))
}
