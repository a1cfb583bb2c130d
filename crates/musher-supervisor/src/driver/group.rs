//! The sockets of an address of which each slot has its own: a SO_REUSEPORT group.
//!
//! A slot's socket is a member from when it is opened until [`Group::leave`], whoever else has it: what the kernel thinks
//! of the group changes with nothing that a worker does by ending. So a slot that comes back while its last worker is
//! still leaving has the same socket, and what waits at it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use musher_core::SlotId;
use musher_process::net::reuseport::{self, Members, Queue};
use musher_process::net::{self, tcp};

#[derive(Debug)]
pub(super) struct Group {
    /// None: nothing is known of the kernel's array, so nothing can be steered.
    members: Option<Members<SlotId>>,
    sockets: BTreeMap<SlotId, OwnedFd>,
}

/// What became of the connections that waited at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) waited: u32,
    pub(super) queue: Queue,
}

impl Group {
    /// A group whose first member this is.
    pub(super) fn found(slot: SlotId, socket: OwnedFd) -> Group {
        Group { members: Some(Members::from_order(vec![slot])), sockets: BTreeMap::from([(slot, socket)]) }
    }

    /// What a supervisor before this one has left, which may have been killed between a change of the array and writing
    /// it down. `exactly`: what was written down may be older than that. Gives the slots whose sockets are of no use.
    pub(super) fn restore(
        order: Option<Vec<SlotId>>,
        mut sockets: BTreeMap<SlotId, OwnedFd>,
        exactly: bool,
    ) -> (Group, Vec<SlotId>) {
        let listens = |socket: &OwnedFd| tcp::listen_state(socket).is_ok_and(|state| state.listening);
        let useless: Vec<SlotId> = sockets.extract_if(.., |_, socket| !listens(socket)).map(|(slot, _)| slot).collect();
        let members = order.and_then(|order| {
            // Those of the highest places leave first.
            let left: Vec<SlotId> = order.iter().copied().rev().filter(|slot| !sockets.contains_key(slot)).collect();
            let joined: Vec<SlotId> = sockets.keys().copied().filter(|slot| !order.contains(slot)).collect();
            let [left_count, joined_count] = [left.len(), joined.len()];
            let mut members = Members::from_order(order);
            left.into_iter().for_each(|slot| members.leave(slot));
            joined.into_iter().for_each(|slot| members.join(slot));
            let certain = match (left_count, joined_count) {
                (0, 0) => true,
                (_, 0) | (0, 1) => !exactly,
                _ => false,
            };
            certain.then_some(members)
        });
        (Group { members, sockets }, useless)
    }

    /// The kernel's array, if it is known.
    pub(super) fn order(&self) -> Option<&[SlotId]> {
        self.members.as_ref().map(Members::order)
    }

    /// The slots that have a socket, with it.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (SlotId, &OwnedFd)> {
        self.sockets.iter().map(|(slot, socket)| (*slot, socket))
    }

    /// The socket of this slot.
    pub(super) fn of(&self, slot: SlotId) -> Option<&OwnedFd> {
        self.sockets.get(&slot)
    }

    /// The socket of this slot, or of any other if it has none.
    pub(super) fn socket(&self, slot: SlotId) -> Option<&OwnedFd> {
        self.of(slot).or_else(|| self.sockets.values().next())
    }

    /// Opens the socket of a slot that has none. `open` gets the port of the group.
    pub(super) fn join(
        &mut self,
        slot: SlotId,
        open: impl FnOnce(Option<u16>) -> io::Result<OwnedFd>,
    ) -> io::Result<()> {
        let port = self.sockets.values().next().map(net::local_address).transpose()?.map(|address| address.port());
        let socket = open(port)?;
        if self.sockets.is_empty() {
            self.members = Some(Members::default());
        }
        self.sockets.insert(slot, socket);
        if let Some(members) = &mut self.members {
            members.join(slot);
        }
        Ok(())
    }

    /// Gives new connections to the slots that serve; without any, to those that `stay`.
    pub(super) fn steer(&self, serving: &[SlotId], stays: impl Fn(SlotId) -> bool) -> io::Result<()> {
        let Some(any) = self.sockets.values().next() else { return Ok(()) };
        let order = self.order().unwrap_or_default();
        let places = |chosen: &dyn Fn(SlotId) -> bool| -> Vec<u32> {
            (0..).zip(order).filter(|(_, slot)| chosen(**slot)).map(|(place, _)| place).collect()
        };
        let mut chosen = places(&|slot| serving.contains(&slot) && stays(slot));
        if chosen.is_empty() {
            chosen = places(&stays);
        }
        reuseport::steer(any, &chosen).map(drop)
    }

    /// The socket of a slot is not needed any more: what waits at it goes to the other members, if the system allows that.
    /// Steer anew afterwards.
    pub(super) fn leave(&mut self, slot: SlotId) -> Option<Left> {
        let socket = self.sockets.remove(&slot)?;
        let waited = tcp::listen_state(&socket).map_or(0, |state| state.queued);
        let queue = reuseport::leave(&socket).unwrap_or_else(|error| {
            tracing::warn!(%slot, %error, "the socket of a slot cannot be closed for its worker");
            Queue::Reset
        });
        if let Some(members) = &mut self.members {
            members.leave(slot);
        }
        let queue = if self.sockets.is_empty() { Queue::Reset } else { queue };
        Some(Left { waited, queue })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;
    use std::os::fd::OwnedFd;

    use musher_core::SlotId;
    use musher_process::net::{self, tcp};

    use super::Group;

    fn sockets(slots: &[u32]) -> BTreeMap<SlotId, OwnedFd> {
        let listening = |slot: &u32| {
            let socket = tcp::bind((Ipv4Addr::LOCALHOST, 0).into(), false, tcp::Membership::Founds).unwrap();
            net::listen(&socket, 4).unwrap();
            (SlotId(*slot), socket)
        };
        slots.iter().map(listening).collect()
    }

    /// The array that is known after a restore.
    fn restored(order: &[u32], held: &[u32], closed: &[u32], exactly: bool) -> Option<Vec<u32>> {
        let sockets = sockets(held);
        closed.iter().for_each(|slot| net::shutdown(&sockets[&SlotId(*slot)]).unwrap());
        let order = order.iter().copied().map(SlotId).collect();
        let (group, useless) = Group::restore(Some(order), sockets, exactly);
        assert_eq!(useless, closed.iter().copied().map(SlotId).collect::<Vec<_>>());
        group.order().map(|order| order.iter().map(|slot| slot.0).collect())
    }

    #[test]
    fn the_array_is_as_it_was_written_down() {
        assert_eq!(restored(&[2, 0, 1], &[0, 1, 2], &[], true), Some(vec![2, 0, 1]));
    }

    #[test]
    fn what_was_not_written_down_any_more_is_found_out() {
        assert_eq!(restored(&[0, 1], &[0, 1, 2], &[], false), Some(vec![0, 1, 2]), "one joined");
        assert_eq!(restored(&[0, 1, 2], &[0, 1, 2], &[1], false), Some(vec![0, 2]), "one left");
        assert_eq!(restored(&[0, 1, 2], &[0, 2], &[], false), Some(vec![0, 2]), "and was forgotten");
        assert_eq!(restored(&[0, 1, 2, 3], &[0, 3], &[], false), Some(vec![0, 3]), "two left");
    }

    #[test]
    fn what_cannot_be_known_is_not_guessed() {
        assert_eq!(restored(&[0, 1], &[0, 1, 2, 3], &[], false), None, "two joined, in whichever order");
        assert_eq!(restored(&[0, 1], &[0, 2], &[], false), None, "one left, one joined");
        assert_eq!(restored(&[0, 1, 2], &[0, 2], &[], true), None, "an old list");
    }
}
