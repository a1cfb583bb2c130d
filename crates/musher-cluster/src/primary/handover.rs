//! Connections that are accepted here and offered to workers.
//!
//! An offer is open until the worker answers. A worker that declines gets a pause; one that dies has not touched the
//! connection (it answers first), so the next gets it, but not for ever: the connection may be what kills.

use std::time::Duration;

use musher_core::ids::{AppId, RunId};
use musher_process::net;

use super::Primary;
use crate::group::{Connection, MAX_DEATHS, Sharing};
use crate::reactor::Timer;
use crate::worker::Offer;

/// Round-robin: how many connections a worker may be offered that it has not answered, and for how long.
const WINDOW: usize = 8;
const PATIENCE: Duration = Duration::from_millis(10);
/// Connections accepted in one go.
const BURST: usize = 256;
/// How soon what waits is offered again.
const SETTLE: Duration = Duration::from_millis(4);

impl Primary {
    /// Offers a connection to a worker.
    pub(super) fn offer(&mut self, run: RunId, number: u32, connection: Connection) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let Some(app) = self.apps.get_mut(&worker.app) else { return };
        let Some(group) = app.groups.get_mut(&number) else { return };
        match worker.offer(self.now, number, &group.key, connection) {
            Ok(()) => {
                app.stats.handed_over += 1;
                self.to_flush.insert(run);
            }
            Err((connection, error)) => {
                group.waiting.push_back(connection);
                self.violation(run, &error);
            }
        }
    }

    /// A worker did not take a connection: it waits for another.
    pub(super) fn take_back(&mut self, run: RunId, offer: Offer) {
        let Some(app) = self.workers.get(&run).map(|worker| worker.app) else { return };
        if let Some(group) = self.group(app, offer.group) {
            group.waiting.push_front(offer.connection);
        }
        self.settle(app, offer.group);
    }

    /// A worker died with a connection it was offered.
    pub(super) fn survived(&mut self, id: AppId, offer: Offer) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let Some(group) = app.groups.get_mut(&offer.group) else { return };
        let mut connection = offer.connection;
        connection.deaths += 1;
        if connection.deaths >= MAX_DEATHS {
            app.stats.given_up += 1;
            tracing::warn!(app = %id, "a connection is closed: {MAX_DEATHS} workers died when they were offered it");
            return;
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
            let Some(taker) = self.next_taker(app, number) else { return self.settle_soon(app, number) };
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

    /// Round-robin: accepts as long as somebody can take what comes.
    pub(super) fn pump(&mut self, app: AppId, number: u32) {
        for _ in 0..BURST {
            if !self.has_taker(app, number) {
                break;
            }
            let Some(group) = self.group(app, number) else { return };
            let Sharing::RoundRobin(single) = &group.sharing else { return };
            match net::accept(&single.socket) {
                Ok(Some(connection)) => {
                    if let Some(taker) = self.next_taker(app, number) {
                        self.offer(taker, number, Connection { socket: connection.into(), deaths: 0 });
                    }
                }
                Ok(None) => {
                    group.starved = false;
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    break;
                }
            }
        }
        if let Some(group) = self.group(app, number)
            && matches!(group.sharing, Sharing::RoundRobin(_))
        {
            group.starved = true;
            self.settle_soon(app, number);
        }
    }

    fn has_taker(&self, app: AppId, number: u32) -> bool {
        let group = self.apps.get(&app).and_then(|app| app.groups.get(&number));
        group.is_some_and(|group| group.ring.iter().any(|run| self.can_take(run, number)))
    }

    fn can_take(&self, run: RunId, number: u32) -> bool {
        self.workers.get(&run).is_some_and(|worker| worker.serves(number) && worker.takes(self.now, WINDOW, PATIENCE))
    }

    fn next_taker(&mut self, app: AppId, number: u32) -> Option<RunId> {
        let (workers, now) = (&self.workers, self.now);
        let group = self.apps.get_mut(&app)?.groups.get_mut(&number)?;
        group.ring.next(|run| {
            workers.get(&run).is_some_and(|worker| worker.serves(number) && worker.takes(now, WINDOW, PATIENCE))
        })
    }
}
