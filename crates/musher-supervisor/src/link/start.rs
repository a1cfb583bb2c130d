//! What the keeper tells a supervisor that begins: everything that it holds.

use std::io;
use std::os::fd::OwnedFd;

use musher_process::{Pid, pidfd_open};

use super::Inventory;
use crate::keeper::holdings::Holdings;
use crate::keeper::wire::{self, Message, Versions};

/// What has come before the end of the inventory.
#[derive(Default)]
pub(super) struct Start {
    pub(super) mirror: Holdings,
    pub(super) inventory: Inventory,
    pub(super) versions: Option<Versions>,
    pub(super) software: String,
    pub(super) open_files: u64,
    /// The keeper said so.
    pub(super) complete: bool,
}

impl Start {
    pub(super) fn take(&mut self, message: Message, fd: Option<OwnedFd>) -> io::Result<()> {
        match (message, fd) {
            (Message::Hello { versions, open_files, software }, _) => {
                self.versions = Some(versions);
                self.software = software;
                self.open_files = open_files;
            }
            (Message::Held { name }, Some(fd)) => {
                if !self.mirror.put(&name, fd.try_clone()?) {
                    tracing::error!(name, "too many names; the keeper has more than the mirror");
                }
                self.inventory.fds.insert(name, fd);
            }
            (Message::Held { name }, None) => {
                // Our table of descriptors is full. Going on would lose it for ever.
                return Err(io::Error::other(format!("no descriptor came with {name}")));
            }
            (Message::Exit(exit), _) => {
                self.mirror.mirror_exit(exit);
                self.inventory.exits.push(exit);
            }
            (Message::EndRequested, _) => self.inventory.end_requested = true,
            _ => {}
        }
        Ok(())
    }
}

pub(super) fn our_hello() -> Message {
    Message::Hello { versions: wire::OURS, open_files: 0, software: crate::VERSION.to_owned() }
}

/// The process at the other end, if it is our parent.
pub(super) fn peer(socket: &OwnedFd) -> Option<(Pid, OwnedFd)> {
    let other = rustix::net::sockopt::socket_peercred(socket).ok()?.pid;
    let pidfd = pidfd_open(other.into()).ok()?;
    // It was our parent when the pidfd was opened, so the pidfd is not of another process with its pid.
    (rustix::process::getppid() == Some(other)).then_some((other.into(), pidfd))
}
