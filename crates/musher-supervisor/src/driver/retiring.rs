//! Slots with sockets of their own that are scaled away, deleted, or stopped while others serve.
//!
//! New connections are steered to the other slots first. What waits at the retiring socket, or is in the middle of its
//! handshake, is its worker's to accept: it is told to end when nothing waits any more, or when its time to drain is over.
//! When it has ended, and no handshake is under way any more, the socket leaves its group. What waits even then, as the
//! worker accepted nothing, goes to the other slots if the kernel is allowed to do that ([`reuseport::leave`]); else those
//! connections are lost, and an event says how many they were.
//!
//! What is to be done follows from the decisions and the sockets that are there, so that a supervisor that takes over goes
//! on with it. A slot that comes back meanwhile has the same socket again.
//!
//! [`reuseport::leave`]: musher_process::net::reuseport::leave

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use musher_api::EventKind;
use musher_core::lifecycle::Input;
use musher_core::{AppId, RunId, SlotId};
use musher_process::net::reuseport::Queue;
use musher_process::net::tcp;
use tokio::time::sleep;

use crate::control::News;

use super::app::ManagedApp;
use super::group::Left;
use super::readiness::Watch;
use super::{Driver, Wake, World};

/// How long a handshake may take that began before new ones were steered away: the kernel keeps it at its socket.
const HANDSHAKE: Duration = Duration::from_millis(500);
/// Between two looks at a queue: the kernel tells nobody that one is empty.
const LOOK: Duration = Duration::from_millis(10);

/// How far a slot is.
#[derive(Debug)]
pub(super) enum Retiring {
    /// Handshakes that began before may still be under way.
    Settling { _until: Watch },
    /// Nothing new comes.
    Settled,
}

/// The slots that are on their way out.
pub(super) type AllRetiring = BTreeMap<SlotId, Retiring>;

impl World {
    /// Goes on with the slots that are not part of the app any more, or stopped alone, and have a socket.
    pub(super) fn retire(&self, app: &mut ManagedApp) {
        let retired = |slot: &SlotId| app.machine.is_retired(*slot);
        let beyond: Vec<SlotId> = app.sockets.slots().into_iter().filter(retired).collect();
        app.retiring.retain(|slot, _| beyond.contains(slot));
        // Those of the highest numbers first, as they were the last to come.
        let mut left = false;
        for slot in beyond.into_iter().rev() {
            match app.retiring.get(&slot) {
                None => {
                    let (wakes, id) = (self.wakes.clone(), app.id);
                    let until = Watch::spawn(async move {
                        sleep(HANDSHAKE).await;
                        let _ = wakes.send(Wake::Settled(id, slot)).await;
                    });
                    app.retiring.insert(slot, Retiring::Settling { _until: until });
                }
                Some(Retiring::Settling { .. }) => {}
                Some(Retiring::Settled) if app.machine.runs().any(|(_, run)| run.slot == slot) => {}
                Some(Retiring::Settled) => {
                    app.retiring.remove(&slot);
                    for left in app.sockets.leave(slot, app.id, &self.link) {
                        self.tell_left(app, slot, left);
                    }
                    left = true;
                }
            }
        }
        if left {
            app.steer();
            self.write_app(app);
        }
    }

    /// Waits until a run has accepted what waits at its slot. Whether there is a need.
    pub(super) fn wait_until_accepted(&self, app: &mut ManagedApp, run: RunId) -> bool {
        let Some(slot) = app.runs.get(&run).map(|run| run.record.slot) else { return false };
        if !app.machine.is_retired(slot) {
            return false;
        }
        let sockets = app.sockets.of(slot);
        if sockets.is_empty() {
            return false;
        }
        let wakes = self.wakes.clone();
        let accepted = Watch::spawn(async move {
            sleep(HANDSHAKE).await;
            while sockets.iter().any(has_waiting) {
                sleep(LOOK).await;
            }
            let _ = wakes.send(Wake::Accepted(run)).await;
        });
        if let Some(managed) = app.runs.get_mut(&run) {
            managed.accepted = Some(accepted);
        }
        true
    }

    fn tell_left(&self, app: &ManagedApp, slot: SlotId, left: Left) {
        let Left { waited, queue } = left;
        let (kind, detail) = match queue {
            _ if waited == 0 => return,
            Queue::Moved => (EventKind::Other, format!("{waited} connections that waited here go to the other slots")),
            Queue::Reset => (EventKind::Cut, format!("{waited} connections that waited here were reset")),
        };
        self.events.publish(News::new(kind, detail).of_app(&app.name, app.id.0).of_slot(slot.0));
    }
}

impl Driver {
    /// Nothing new comes to a slot that is scaled away.
    pub(super) fn settled(&mut self, app: AppId, slot: SlotId) {
        let Some(app) = self.apps.get_mut(&app) else { return };
        if let Some(retiring) = app.retiring.get_mut(&slot) {
            *retiring = Retiring::Settled;
            self.world.retire(app);
        }
    }

    /// Nothing waits any more for a run whose slot is scaled away.
    pub(super) fn accepted(&mut self, run: RunId) {
        if let Some(app) = self.find_run(run) {
            self.step(app, Input::Drained { run });
        }
    }
}

fn has_waiting(socket: &OwnedFd) -> bool {
    tcp::listen_state(socket).is_ok_and(|state| state.queued > 0)
}
