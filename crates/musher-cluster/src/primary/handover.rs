//! Connections that are accepted here and offered to workers.
//!
//! An offer is open until the worker answers. A worker that declines gets a pause; one that dies has not touched the
//! connection (it answers first), so the next gets it, but not for ever: the connection may be what kills.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use musher_core::ids::{AppId, RunId};
use musher_process::net;

use super::Primary;
use super::custody::KEPT_AFTER;
use crate::group::{Connection, Group, MAX_DEATHS, Question};
use crate::reactor::Timer;
use crate::worker::Offer;

/// In turns: how many connections a worker may be offered that it has not answered, and for how long.
const WINDOW: usize = 16;
const UNANSWERED: Duration = Duration::from_millis(20);
/// Connections accepted in one go.
const BURST: u32 = 256;
/// How long a turn waits for a sign of life of its worker.
const PATIENCE: Duration = Duration::from_millis(3);
/// How soon what waits is offered again.
const SETTLE: Duration = Duration::from_millis(4);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// This worker's.
    Of(RunId),
    /// Somebody's in a moment, when a pause ends or a sign of life does not come.
    Soon,
    /// Nobody's, until a worker answers or comes.
    Open,
}

impl Primary {
    /// Offers a connection to a worker. It leaves at once: what was accepted and not sent yet dies with this process.
    /// Only when answers are waiting for their state to be kept does it have to wait behind them.
    pub(super) fn offer(&mut self, run: RunId, number: u32, mut connection: Connection) {
        // A successor must not think that nobody has it.
        if let Some(name) = connection.kept.take() {
            self.store.remove(&name);
        }
        self.keep_soon();
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let Some(app) = self.apps.get_mut(&worker.app) else { return };
        let Some(group) = app.groups.get_mut(&number) else { return };
        let asks = connection.question.is_some();
        match worker.offer(self.now, number, &group.key, connection) {
            Ok(()) => {
                app.stats.handed_over += u64::from(!asks);
                if app.dirty || self.flush(run) {
                    self.to_flush.insert(run);
                }
            }
            Err((connection, error)) => {
                if !asks {
                    group.waiting.push_back(connection);
                }
                self.violation(run, &error);
            }
        }
    }

    /// Gives a connection to this worker and no other, at the address with this port or the first that it listens on. One
    /// that it does not take is closed. `answer` is told whether it took it, as soon as it says so.
    pub(super) fn ask(&mut self, run: RunId, port: Option<u16>, socket: OwnedFd, answer: Question) {
        let number = self.workers.get(&run).filter(|worker| !worker.draining && !worker.ended).and_then(|worker| {
            let app = self.apps.get(&worker.app)?;
            let listens = |number: &u32| {
                let found = app.groups.get(number).and_then(Group::port);
                found.is_some_and(|found| port.is_none_or(|port| port == found))
            };
            worker.asked.iter().filter(|asked| asked.listening).map(|asked| asked.group).find(listens)
        });
        match number {
            Some(number) => {
                let question = Some(answer);
                self.offer(run, number, Connection { question, ..Connection::new(socket) });
            }
            None => answer.0(false),
        }
    }

    /// A worker did not take a connection: it waits for another.
    pub(super) fn take_back(&mut self, run: RunId, offer: Offer) {
        if let Some(Question(answer)) = &offer.connection.question {
            return answer(false);
        }
        let Some(app) = self.workers.get(&run).map(|worker| worker.app) else { return };
        match self.group(app, offer.group) {
            Some(group) => group.waiting.push_front(offer.connection),
            None => self.unkeep(offer.connection),
        }
        self.settle(app, offer.group);
        self.keep_connections(KEPT_AFTER);
    }

    /// A worker died with a connection it was offered.
    pub(super) fn survived(&mut self, id: AppId, offer: Offer) {
        if let Some(Question(answer)) = &offer.connection.question {
            return answer(false);
        }
        let Some(app) = self.apps.get_mut(&id) else { return };
        let mut connection = offer.connection;
        let Some(group) = app.groups.get_mut(&offer.group) else { return self.unkeep(connection) };
        connection.deaths += 1;
        if connection.deaths >= MAX_DEATHS {
            app.stats.given_up += 1;
            tracing::warn!(app = %id, "a connection is closed: {MAX_DEATHS} workers died when they were offered it");
            return self.unkeep(connection);
        }
        app.stats.redistributed += 1;
        group.waiting.push_back(connection);
    }

    /// A worker has answered: it can take more.
    pub(super) fn has_room(&mut self, run: RunId) {
        let Some(worker) = self.workers.get(&run) else { return };
        let app = worker.app;
        // It may listen on much, but what waits is rare.
        let groups: Vec<u32> = worker.asked.iter().map(|asked| asked.group).collect();
        for number in groups {
            let Some(group) = self.group(app, number) else { continue };
            let starved = group.starved;
            if !group.waiting.is_empty() {
                self.settle(app, number);
            }
            if starved {
                self.pump(app, number);
            }
            self.relieve_starved(app, number);
        }
    }

    /// Offers what waits to whoever can take it.
    pub(super) fn settle(&mut self, app: AppId, number: u32) {
        while let Some(group) = self.group(app, number)
            && !group.waiting.is_empty()
        {
            let taker = match self.next_taker(app, number) {
                Turn::Of(taker) => taker,
                Turn::Soon => return self.settle_soon(app, number),
                Turn::Open => return,
            };
            let Some(connection) = self.group(app, number).and_then(|group| group.waiting.pop_front()) else { return };
            self.offer(taker, number, connection);
        }
    }

    /// Looks at what waits again in a moment, if somebody may then take it. Else whoever comes will.
    pub(super) fn settle_soon(&mut self, app: AppId, number: u32) {
        let at = self.now + SETTLE;
        if let Some(group) = self.group(app, number)
            && !group.settling
            && group.ring.iter().next().is_some()
        {
            group.settling = true;
            self.reactor.at(at, Timer::Settle { app, group: number });
        }
    }

    /// The moment has come.
    pub(super) fn settle_now(&mut self, app: AppId, number: u32) {
        let Some(group) = self.group(app, number) else { return };
        group.settling = false;
        let starved = group.starved;
        self.settle(app, number);
        if starved {
            self.pump(app, number);
        }
        self.relieve_starved(app, number);
    }

    /// Accepts what comes in turns, as long as somebody can take it.
    pub(super) fn pump(&mut self, app: AppId, number: u32) {
        // Nothing is to come between the acceptance of a connection and its handover.
        self.keep();
        let mut starved = true;
        let mut soon = true;
        for _ in 0..BURST {
            let Some(front) = self.group(app, number).and_then(|group| group.front()) else { return };
            let front = Arc::clone(&front.socket);
            // Nobody is asked for a sign of life for nothing.
            if !net::has_connection(&front) {
                starved = false;
                break;
            }
            let taker = match self.next_taker(app, number) {
                Turn::Of(taker) => taker,
                turn => {
                    soon = turn == Turn::Soon;
                    break;
                }
            };
            match net::accept(&front) {
                Ok(Some(connection)) => {
                    self.offer(taker, number, Connection::new(connection));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    break;
                }
            }
        }
        if let Some(group) = self.group(app, number) {
            group.starved = starved;
        }
        if starved && soon {
            self.settle_soon(app, number);
        }
    }

    /// Whose turn it is. A worker that may be blocked is first asked for a sign of life, and its turn waits for that a
    /// moment; then it is passed over until it gives one.
    fn next_taker(&mut self, app: AppId, number: u32) -> Turn {
        let (workers, now) = (&self.workers, self.now);
        let group = self.apps.get_mut(&app).and_then(|app| app.groups.get_mut(&number));
        let Some(group) = group else { return Turn::Open };
        let mut to_ask = None;
        let mut pauses = false;
        let found = group.ring.next(|run| {
            let Some(worker) = workers.get(&run).filter(|worker| worker.serves(number)) else { return false };
            let paused = worker.declined_until.is_some_and(|until| now < until);
            pauses |= paused;
            if to_ask.is_some() || paused {
                return false;
            }
            let has_room = worker.takes(now, WINDOW, UNANSWERED);
            if has_room && worker.was_alive(now) {
                return true;
            }
            if has_room && worker.wanted_since.is_none_or(|since| now < since + PATIENCE) {
                to_ask = Some(run);
            }
            false
        });
        if let Some(run) = to_ask
            && self.workers.get(&run).is_some_and(|worker| worker.wanted_since.is_none())
        {
            self.want(run);
        }
        match found {
            Some(run) => Turn::Of(run),
            None if to_ask.is_some() || pauses => Turn::Soon,
            None => Turn::Open,
        }
    }
}
