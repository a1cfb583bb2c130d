//! What workers say.

use std::sync::Arc;

use musher_core::ids::RunId;
use musher_process::channel::{Kind, Message};
use musher_process::net;
use serde_json::{Value, json};

use super::Primary;
use crate::bind::words_of;
use crate::event::ClusterEvent;
use crate::group::{CLOSED, Group, Part, Sharing};
use crate::handle::Passed;
use crate::message::{self, CLUSTER, Identity, MUSHER, Query, Request};
use crate::reactor::Timer;
use crate::worker::Asked;

/// The most addresses that one worker may listen on.
const MAX_ASKED: usize = 1024;
/// The most that the first worker of an address may leave for the others.
const MAX_SHARED: usize = 64 << 10;

impl Primary {
    pub(super) fn message(&mut self, run: RunId, message: Message) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        match message.kind {
            Kind::HandleTaken => worker.handle_taken(),
            Kind::HandleMissed => match worker.handle_missed(self.now) {
                Ok(Some(offer)) => self.take_back(run, offer),
                Ok(None) => {}
                Err(error) => self.violation(run, &error),
            },
            Kind::TooLong { bytes } => self.outbox.push(ClusterEvent::TooLong { run, bytes }),
            Kind::User if message.text == r#""ready""# && message.handle.is_none() => {
                worker.ready = true;
                let app = worker.app;
                self.mark_dirty(app);
                self.outbox.push(ClusterEvent::Ready { run });
            }
            Kind::User => {
                // Nested too deeply for us: passed on as its text.
                let value = serde_json::from_str(&message.text).unwrap_or(Value::String(message.text));
                let handle = message.handle.map(Passed::from);
                let v8 = message.v8.map(Box::new);
                self.outbox.push(ClusterEvent::Message { run, value, v8, handle });
            }
            Kind::Internal { cmd } => {
                let request = Request::parse(&cmd, &message.text);
                if cmd != MUSHER && cmd != CLUSTER {
                    let value = serde_json::from_str(&message.text).unwrap_or(Value::String(message.text));
                    let handle = message.handle.map(Passed::from);
                    self.outbox.push(ClusterEvent::Internal { run, value, handle });
                } else if worker.cluster || cmd == MUSHER {
                    self.request(run, request);
                }
            }
        }
    }

    fn request(&mut self, run: RunId, request: Request) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let app = worker.app;
        match request {
            Request::Online => {
                worker.online = true;
                self.mark_dirty(app);
                self.outbox.push(ClusterEvent::Online { run });
            }
            Request::Hello => {
                worker.preload = true;
                self.mark_dirty(app);
                self.ask_for_pulses(run);
            }
            Request::Uncaught { stack, drains } => self.uncaught(run, stack, drains),
            Request::Pulse(pulse) => self.pulse(run, pulse),
            Request::Cut { count } => self.cut(run, count),
            Request::QueryServer { seq, query } => self.query(run, seq, *query),
            Request::Listening { identity, keeps } => self.listening(run, &identity, keeps),
            Request::Close { key } => self.closed(run, &key),
            Request::ExitedAfterDisconnect { seq } => {
                worker.leaving = true;
                let told = worker.tell(json!({"ack": seq}));
                self.outbox.push(ClusterEvent::Leaving { run });
                if let Err(error) = told {
                    self.violation(run, &error);
                }
            }
            Request::Ack { ack, accepted } => match worker.answered(self.now, ack, accepted) {
                Some(offer) if !accepted => self.take_back(run, offer),
                Some(offer) => {
                    self.unkeep(offer.connection);
                    self.has_room(run);
                }
                None => self.has_room(run),
            },
            Request::Team { seq, ask } => self.asked(run, seq, ask),
            Request::Other => {}
        }
    }

    /// The worker calls listen: give it a socket, or say why not.
    fn query(&mut self, run: RunId, seq: u64, query: Query) {
        let Some(worker) = self.workers.get(&run) else { return };
        // As Node: its worker has closed its channel by the time the answer comes, and dies of a descriptor that comes then.
        if worker.leaving || worker.draining && !worker.preload {
            return;
        }
        let app = worker.app;
        let (key, identity, data) = (query.identity.key(), query.identity.clone(), query.data.clone());
        if worker.asked.len() >= MAX_ASKED {
            return self.violation(run, &"listens on more than 1024 addresses");
        }
        if data.to_string().len() > MAX_SHARED {
            return self.violation(run, &"shares more than 64 KiB with the workers of its address");
        }
        let answer = self.open(app, run, query);
        match answer {
            Ok((group, part)) => {
                self.give(run, seq, group, part);
                let Some(worker) = self.workers.get_mut(&run) else { return };
                worker.asked.retain(|asked| asked.group != group);
                worker.asked.push(Asked { group, identity, part, listening: false });
                if let Some(group) = self.group(app, group) {
                    group.unused = None;
                }
                self.mark_dirty(app);
                self.refresh(app, group);
            }
            Err((refusal, address)) => {
                let Some(worker) = self.workers.get_mut(&run) else { return };
                let told = worker.tell(json!({"errno": -refusal.0, "key": key, "ack": seq, "data": data}));
                self.outbox.push(ClusterEvent::BindFailed { run, address, errno: refusal.0 });
                if let Err(error) = told {
                    self.violation(run, &error);
                }
            }
        }
    }

    /// Answers a query with what the group has for the worker.
    fn give(&mut self, run: RunId, seq: u64, group: u32, part: Part) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let Some(group) = self.apps.get_mut(&worker.app).and_then(|app| app.groups.get_mut(&group)) else { return };
        let (key, data) = (&group.key, &group.data);
        let socket = match (part, &group.sharing) {
            (Part::Slot, Sharing::Slots(slots)) => slots.sockets.get(&worker.slot).map(|slot| &slot.socket),
            (_, Sharing::Slots(slots)) => slots.front.as_ref().map(|front| &front.socket),
            (_, Sharing::Shared(single) | Sharing::RoundRobin(single)) => Some(&single.socket),
        };
        let Some(socket) = socket else { return };
        let told = match part {
            Part::Turns => {
                let mut members = json!({"errno": null, "key": key, "ack": seq, "data": data});
                if let Ok(address) = net::local_address(socket) {
                    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
                    let address_text = address.ip().to_string();
                    members["sockname"] = json!({"address": address_text, "family": family, "port": address.port()});
                }
                worker.tell(members)
            }
            Part::Slot | Part::All => {
                let members = json!({"errno": 0, "key": key, "ack": seq, "data": data});
                worker.give(handle_type(socket), members, Arc::clone(socket))
            }
        };
        if let Err(error) = told {
            self.violation(run, &error);
        }
    }

    fn listening(&mut self, run: RunId, identity: &Identity, keeps: bool) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let app = worker.app;
        let found = worker.asked.iter_mut().find(|asked| identity.answers(&asked.identity));
        let Some(asked) = found else {
            // A server that the runtime opened without us.
            let port = identity.port.unwrap_or(0);
            let address = match identity.address.as_deref().unwrap_or("*") {
                v6 if v6.contains(':') => format!("[{v6}]:{port}"),
                other => format!("{other}:{port}"),
            };
            self.outbox.push(ClusterEvent::Listening { run, address, told: Box::new(identity.clone()) });
            return;
        };
        asked.listening = true;
        let (group, part) = (asked.group, asked.part);
        if part == Part::Turns && (worker.preload || keeps) {
            self.entrust(run, group, identity);
        }
        self.joined(run, group, Some(identity));
        self.mark_dirty(app);
        self.refresh(app, group);
    }

    /// Gives a worker that is handed its connections a copy of the socket. Should supervisor and keeper die together, the
    /// port stays open, and the worker accepts by itself until the next supervisor comes, which has the socket from it.
    fn entrust(&mut self, run: RunId, group: u32, identity: &Identity) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let Some(group) = self.apps.get(&worker.app).and_then(|app| app.groups.get(&group)) else { return };
        let socket = match &group.sharing {
            Sharing::Shared(single) | Sharing::RoundRobin(single) => Some(&single.socket),
            Sharing::Slots(slots) => slots.front.as_ref().map(|front| &front.socket),
        };
        let Some(socket) = socket else { return };
        let at = match net::local_address(socket) {
            Ok(address) => format!("{} {}", address.ip(), address.port()),
            Err(_) => identity.address.clone().unwrap_or_default(),
        };
        let text = message::entrust(handle_type(socket), &at, &group.key, group.backlog);
        if let Err(error) = worker.entrust(text, Arc::clone(socket)) {
            self.violation(run, &error);
        }
    }

    /// A worker listens on a group: it takes turns from now on. `told`: what it said just now; else what it asked for.
    pub(super) fn joined(&mut self, run: RunId, number: u32, told: Option<&Identity>) {
        let Some(worker) = self.workers.get(&run) else { return };
        let Some(asked) = worker.asked.iter().find(|asked| asked.group == number) else { return };
        let (part, told) = (asked.part, Box::new(told.unwrap_or(&asked.identity).clone()));
        let Some(group) = self.apps.get_mut(&worker.app).and_then(|app| app.groups.get_mut(&number)) else { return };
        group.enter(run, worker.slot, part);
        self.outbox.push(ClusterEvent::Listening { run, address: words(group), told });
    }

    /// The worker closed a server.
    fn closed(&mut self, run: RunId, key: &str) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let (app, slot) = (worker.app, worker.slot);
        let groups = self.apps.get(&app).into_iter().flat_map(|app| app.groups.values());
        let Some(number) = groups.filter(|group| group.key == key).map(|group| group.number).next() else { return };
        worker.asked.retain(|asked| asked.group != number);
        let now = self.now;
        let used = self.is_asked_for(app, number);
        let Some(group) = self.group(app, number) else { return };
        group.leave(run, slot);
        if !used {
            group.unused = Some((now, Some(run)));
            self.reactor.at(now + CLOSED, Timer::Unused { app, group: number });
        }
        self.retire_left(app, number);
        self.mark_dirty(app);
        self.refresh(app, number);
    }
}

/// The type of a `NODE_HANDLE` message for this socket.
fn handle_type(socket: &Arc<std::os::fd::OwnedFd>) -> &'static str {
    match net::kind(socket) {
        Ok(net::Kind::Udp) => "dgram.Native",
        _ => "net.Native",
    }
}

/// Where a group listens, in words.
pub(super) fn words(group: &Group) -> String {
    match &group.sharing {
        Sharing::Shared(single) | Sharing::RoundRobin(single)
            if matches!(group.bind, crate::bind::Bind::Inherited { .. }) =>
        {
            words_of(&single.socket).unwrap_or_else(|| group.bind.words())
        }
        _ => group.bind.words(),
    }
}
