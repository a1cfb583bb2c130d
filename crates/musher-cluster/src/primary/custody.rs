//! Connections that were accepted here and that nobody has taken yet, kept in case that this process is killed.
//!
//! Most are taken within a millisecond, and keeping them would cost more than handing them over. So only those are kept
//! that are still here after [`KEPT_AFTER`]: their worker is blocked or stopped; and those that wait as there is none. A successor takes an
//! offer over as an offer (its worker may have taken it meanwhile, and says so), and what waited, or was offered to a
//! worker that is dead by then, as waiting.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use musher_core::ids::{AppId, RunId};

use super::Primary;
use crate::group::Connection;
use crate::reactor::Timer;
use crate::saved::Custody;
use crate::worker::Offer;

/// How long ago a connection was offered when it is kept.
pub(super) const KEPT_AFTER: Duration = Duration::from_millis(25);
/// The most connections that are kept: each is a descriptor of the keeper.
const MOST: usize = 4096;

/// What the supervisor before this one kept of an app, until its workers are known.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    offers: HashMap<RunId, Vec<(u64, u32, Connection)>>,
    waiting: Vec<(u32, Connection)>,
}

impl Inherited {
    pub(super) fn add(&mut self, name: String, socket: OwnedFd, group: u32, custody: Custody) {
        let connection = Connection { kept: Some(name), ..Connection::new(socket) };
        match custody {
            Custody::Offered { run, seq } => self.offers.entry(run).or_default().push((seq, group, connection)),
            Custody::Waiting { .. } => self.waiting.push((group, connection)),
        }
    }
}

impl Primary {
    /// Looks in a moment whether there is anything to keep.
    pub(super) fn keep_soon(&mut self) {
        if !std::mem::replace(&mut self.keeping, true) {
            self.reactor.at(self.now + KEPT_AFTER, Timer::Keep);
        }
    }

    /// Keeps what is here for too long.
    pub(super) fn keep_old_connections(&mut self) {
        self.keeping = false;
        if self.keep_connections(KEPT_AFTER) {
            self.keep_soon();
        }
    }

    /// Keeps what waits, and what was offered at least so long ago. Whether anything is here at all.
    pub(super) fn keep_connections(&mut self, patience: Duration) -> bool {
        let (now, store) = (self.now, &self.store);
        let mut kept = 0;
        let mut here = false;
        let mut keep = |connection: &mut Connection, name: &dyn Fn() -> String| {
            kept += 1;
            if connection.kept.is_none() && kept <= MOST {
                let name = name();
                store.put(&name, connection.socket.as_fd());
                connection.kept = Some(name);
            }
        };
        for worker in self.workers.values_mut() {
            for (seq, offer) in worker.offered.iter_mut().filter(|(_, offer)| offer.connection.question.is_none()) {
                here = true;
                if now >= offer.since + patience {
                    let custody = Custody::Offered { run: worker.run, seq: *seq };
                    keep(&mut offer.connection, &|| custody.name(worker.app, offer.group));
                }
            }
        }
        for (id, app) in &mut self.apps {
            for (number, group) in &mut app.groups {
                for connection in &mut group.waiting {
                    here = true;
                    // As an offer to somebody who did not take it.
                    let before = connection.kept.take_if(|name| !Custody::is_waiting(name));
                    self.next_kept += 1;
                    let custody = Custody::Waiting { number: u64::from(app.epoch) << 32 | self.next_kept };
                    keep(connection, &|| custody.name(*id, *number));
                    if let Some(name) = before {
                        store.remove(&name);
                    }
                }
            }
        }
        here
    }

    /// A connection is somebody's, or nobody's any more: no copy is needed.
    pub(super) fn unkeep(&self, connection: Connection) {
        if let Some(name) = connection.kept {
            self.store.remove(&name);
        }
    }

    /// A worker was found again: what it was offered.
    pub(super) fn return_offers(&mut self, app: AppId, run: RunId) {
        let Some(offers) = self.apps.get_mut(&app).and_then(|app| app.inherited.offers.remove(&run)) else { return };
        for (seq, group, connection) in offers {
            match self.workers.get_mut(&run) {
                Some(worker) => worker.was_offered(seq, Offer { group, connection, since: self.now }),
                None => self.unkeep(connection),
            }
        }
        self.keep_soon();
    }

    /// All workers that live were found: what the others were offered waits for a worker, like what waited before.
    pub(super) fn return_waiting(&mut self, id: AppId) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let inherited = std::mem::take(&mut app.inherited);
        let of_the_dead = inherited.offers.into_values().flatten().map(|(_, group, connection)| (group, connection));
        let mut orphans = Vec::new();
        for (number, connection) in of_the_dead.chain(inherited.waiting) {
            match app.groups.get_mut(&number) {
                Some(group) => group.waiting.push_back(connection),
                None => orphans.push(connection),
            }
        }
        for connection in orphans {
            self.unkeep(connection);
        }
        self.keep_soon();
    }
}
