//! A process that becomes another part of musher, or another executable, with everything that is held.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use musher_process::inherit;
use rustix::process::Signal;

use super::start::{our_hello, peer};
use super::{About, Inventory, KeeperLink, Shared};
use crate::keeper::Adoption;
use crate::keeper::holdings::Holdings;
use crate::keeper::{upgrade, wire};

impl KeeperLink {
    /// Goes on with the link and everything that an executable held which this process was before; `list` is what
    /// [`KeeperLink::become_executable`] wrote.
    ///
    /// # Errors
    ///
    /// When the list cannot be read, or a descriptor is missing.
    pub fn resume(socket: OwnedFd, list: impl AsFd) -> io::Result<(KeeperLink, Inventory)> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let list = Adoption::read(list)?;
        let mut mirror = Holdings::default();
        let mut inventory = Inventory { end_requested: list.end_requested, ..Inventory::default() };
        for (name, number) in &list.fds {
            let fd = inherit::take_inherited(*number)?;
            inventory.fds.insert(name.clone(), fd.try_clone()?);
            if !mirror.put(name, fd) {
                tracing::error!(name, "too many names");
            }
        }
        for exit in &list.exits {
            mirror.mirror_exit(*exit);
        }
        inventory.exits = list.exits;
        // The keeper learns whom it has to do with; one that is gone is told of by the watch.
        let _ = wire::send(&socket, &our_hello(), None);
        let about = About { versions: list.keeper.unwrap_or(wire::OURS), software: String::new() };
        let end_requested = AtomicBool::new(list.end_requested);
        let shared = Shared {
            keeper: peer(&socket),
            socket,
            mirror: Mutex::new(mirror),
            about: Mutex::new(about),
            open_files: list.open_files,
            lost: AtomicBool::new(false),
            team: OnceLock::new(),
            end_requested,
        };
        Ok((KeeperLink { shared: Arc::new(shared) }, inventory))
    }

    /// Turns this process into the keeper, with everything that is held. Only for when the keeper has died. Returns
    /// only if that fails; nothing has changed then.
    ///
    /// While this executable has not been seen to work as a keeper, the keeper is of the executable before it.
    pub fn become_keeper(&self) -> io::Error {
        if let Some(previous) = self.copy(upgrade::PREVIOUS) {
            if self.copy(upgrade::FAILED).is_none() {
                self.put_bytes(upgrade::FAILED, b"its keeper ended before it was seen to work");
            }
            let of_upgrade = [upgrade::EXECUTABLE, upgrade::PREVIOUS];
            let error = self.execute(&of_upgrade, |list, keep| {
                inherit::exec_file(previous.as_fd(), &["musher", "keeper", "--adopt", list], keep)
            });
            tracing::error!(%error, "the executable of before cannot become the keeper");
        }
        self.execute(&[], |list, keep| inherit::exec_self(&["musher", "keeper", "--adopt", list], keep))
    }

    /// The keeper is this executable and works: it need not be gone back from if it dies. The keeper itself still may.
    pub(crate) fn trust_executable(&self) {
        self.mirror().remove(upgrade::PREVIOUS);
    }

    /// Ends a keeper that does not do what it should. [`KeeperEvent::Died`] follows.
    pub(crate) fn give_up_keeper(&self) {
        self.lose(&io::Error::from(io::ErrorKind::TimedOut));
    }

    /// Turns this process into the supervisor of another executable, with everything that is held. Returns only if that
    /// fails.
    pub(crate) fn become_executable(&self, executable: BorrowedFd<'_>) -> io::Error {
        let link = self.shared.socket.as_raw_fd().to_string();
        self.execute(&[], |list, keep| {
            let keep: Vec<BorrowedFd<'_>> = keep.iter().copied().chain([self.shared.socket.as_fd()]).collect();
            inherit::exec_file(executable, &["musher", "supervisor", "--link", &link, "--adopt", list], &keep)
        })
    }

    /// Writes the list of what is held, but for `without`, and executes.
    fn execute(&self, without: &[&str], exec: impl FnOnce(&str, &[BorrowedFd<'_>]) -> io::Error) -> io::Error {
        let mirror = self.mirror();
        let mut adoption = Adoption::new(self.shared.open_files);
        adoption.keeper = Some(self.about().versions);
        adoption.end_requested = self.shared.end_requested.load(Ordering::Acquire);
        let mut keep = Vec::new();
        for (name, fd) in mirror.iter().filter(|(name, _)| !without.contains(name)) {
            adoption.fd(name, fd.as_raw_fd());
            keep.push(fd);
        }
        adoption.exits.extend(mirror.exits().copied());
        let list = match adoption.to_memfd() {
            Ok(list) => list,
            Err(error) => return error,
        };
        keep.push(list.as_fd());
        // A SIGTERM between the exec and the first steps of what comes then would end the process: it waits. If the exec
        // fails, the other threads go on to take signals.
        let _ = inherit::block_signals(&crate::keeper::TAKEN.map(Signal::as_raw));
        exec(&list.as_raw_fd().to_string(), &keep)
    }
}
