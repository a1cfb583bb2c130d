//! The supervisor's side of the link to its keeper.
//!
//! [`KeeperLink::connect`] takes the socket that the keeper gave and everything that it holds. From then on every
//! [`put`](KeeperLink::put) goes to the keeper and, as a duplicate, into a mirror. When `put` returns, the descriptor
//! outlives a `kill -9` of this process; the mirror is what outlives a `kill -9` of the keeper, because the supervisor
//! then becomes the keeper with it ([`KeeperLink::become_keeper`]).
//!
//! Failure modes: a keeper that is gone is not an error of `put`; the [`KeeperWatch`] tells. A keeper that does not read
//! for [`PATIENCE`] (stopped by SIGSTOP, say) is killed, for the same effect. Without a free descriptor for the
//! duplicate the keeper still gets it, but the mirror does not; that is logged.
//!
//! What the descriptors mean is not known here.

mod becoming;
mod events;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use musher_cluster::FdStore;
use musher_process::{Pid, foreign, memfd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, Signal, getrlimit};

pub use self::events::{KeeperEvent, KeeperWatch};
use self::start::{Start, our_hello, peer};
use crate::keeper::ExitRecord;
use crate::keeper::holdings::{Holdings, MAX_HELD};
use crate::keeper::wire::{self, Incoming, Message, Versions};
use crate::team::{self, TeamFile, TeamWriter};

/// How long a keeper may leave a packet unread that there is no room for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the inventory may take.
const INVENTORY_PATIENCE: Duration = Duration::from_secs(30);
/// The largest record.
pub(crate) const MAX_RECORD: usize = 64 << 20;
/// Descriptors that a supervisor needs besides those that are held: connections, files, its runtime's.
const OWN_DESCRIPTORS: u64 = 128;
/// A pause when too many descriptors are in flight: there is no event for that.
const IN_FLIGHT_PAUSE: Duration = Duration::from_millis(1);

/// Is held, empty, where a keeper died while it handed over: more may have been held than has come. Whoever has another
/// copy of what is missing takes it from there, and has this name removed.
pub(crate) const PARTIAL: &str = "partial";

/// The link to the keeper. Cheap to clone; every method may be called from any thread.
#[derive(Clone, Debug)]
pub struct KeeperLink {
    shared: Arc<Shared>,
}

/// What the keeper held when this supervisor was started.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Every descriptor by its name. The mirror has its own duplicates: drop what is of no use.
    pub fds: BTreeMap<String, OwnedFd>,
    /// Exits of children of the keeper that no supervisor has dealt with.
    pub exits: Vec<ExitRecord>,
    /// Everything is to be stopped.
    pub end_requested: bool,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// The mirror. Held while sending, so that keeper and mirror see the same order.
    mirror: Mutex<Holdings>,
    keeper: Option<(Pid, OwnedFd)>,
    about: Mutex<About>,
    open_files: u64,
    lost: AtomicBool,
    /// Is told of changes, once it is there.
    team: OnceLock<TeamWriter>,
    end_requested: AtomicBool,
}

/// What the keeper said of itself.
#[derive(Clone, Debug)]
struct About {
    versions: Versions,
    software: String,
}

impl KeeperLink {
    /// Takes the inventory from the keeper behind `socket` (the descriptor of `--link`). Waits for at most 30 s.
    ///
    /// If the keeper dies in the middle of it, this process becomes the keeper with what has arrived and with [`PARTIAL`],
    /// and does not return.
    ///
    /// # Errors
    ///
    /// When the keeper says nothing, or this process cannot become the keeper.
    pub fn connect(socket: OwnedFd) -> io::Result<(KeeperLink, Inventory)> {
        let (link, start) = KeeperLink::receive(socket)?;
        if start.complete {
            return Ok((link, start.inventory));
        }
        if start.inventory.fds.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tracing::warn!("the keeper died while it handed over");
        Err(link.become_keeper())
    }

    /// Takes the inventory, as far as it comes.
    fn receive(socket: OwnedFd) -> io::Result<(KeeperLink, Start)> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let mut start = Start::default();
        let hello = wire::send(&socket, &our_hello(), None);
        // A keeper that is gone has perhaps left something.
        if let Err(error) = hello
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(error);
        }
        let deadline = Instant::now() + INVENTORY_PATIENCE;
        loop {
            match wire::receive(&socket)? {
                Some(Incoming::Message(Message::InventoryEnd, _)) => {
                    start.complete = true;
                    break;
                }
                Some(Incoming::Message(message, fd)) => start.take(message, fd)?,
                Some(Incoming::Ignored { .. }) => {}
                Some(Incoming::End) => break,
                None => wait_until(&socket, PollFlags::IN, deadline)?,
            }
        }
        if !start.complete && start.mirror.len() > 0 {
            // There is room: less than everything has come.
            let _ = start.mirror.put(PARTIAL, memfd::memfd_with(PARTIAL, b"")?);
        }
        let shared = Shared {
            keeper: peer(&socket),
            socket,
            mirror: Mutex::new(std::mem::take(&mut start.mirror)),
            about: Mutex::new(About {
                versions: start.versions.unwrap_or(wire::OURS),
                software: std::mem::take(&mut start.software),
            }),
            open_files: start.open_files,
            lost: AtomicBool::new(false),
            team: OnceLock::new(),
            end_requested: AtomicBool::new(start.inventory.end_requested),
        };
        Ok((KeeperLink { shared: Arc::new(shared) }, start))
    }

    /// Gives the keeper `fd` to hold under `name`, in place of what had that name. When this returns the descriptor
    /// outlives this process.
    pub fn put(&self, name: &str, fd: BorrowedFd<'_>) {
        if !wire::is_name(name) {
            tracing::error!(name, "not a name for the keeper; the descriptor is not held");
            return;
        }
        let mut mirror = self.mirror();
        match rustix::io::fcntl_dupfd_cloexec(fd, 3) {
            Ok(copy) => {
                if !mirror.put(name, copy) {
                    tracing::error!(name, "too many names; the descriptor is not held");
                }
            }
            Err(error) => tracing::error!(name, %error, "no duplicate for the case that the keeper dies"),
        }
        self.send(&Message::Put { name: name.to_owned() }, Some(fd));
        drop(mirror);
        self.tell_team(name);
    }

    /// Whether this many more descriptors can be held. A supervisor has every one twice, its own and the mirror's: with
    /// more than half of what a process may have open, the next supervisor could not take over.
    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        let held = self.mirror().len() + more;
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        held <= MAX_HELD && u64::try_from(held).is_ok_and(|held| 2 * held + OWN_DESCRIPTORS <= open_files)
    }

    /// Gives the keeper these bytes to hold under `name`, as a sealed memory file.
    pub fn put_bytes(&self, name: &str, bytes: &[u8]) {
        match memfd::memfd_with(name, bytes) {
            Ok(fd) => self.put(name, fd.as_fd()),
            Err(error) => tracing::error!(name, %error, "state is not held: no memory file"),
        }
    }

    /// Lets the keeper close what has this name. Without one nothing happens.
    pub fn remove(&self, name: &str) {
        let mut mirror = self.mirror();
        mirror.remove(name);
        self.send(&Message::Remove { name: name.to_owned() }, None);
        drop(mirror);
        self.tell_team(name);
    }

    /// From now on this thread copies what is held to the disk.
    pub(crate) fn attach_team(&self, team: TeamWriter) {
        if self.shared.team.set(team.clone()).is_ok() {
            team.changed();
        }
    }

    /// The thread that copies what is held to the disk.
    pub(crate) fn team(&self) -> Option<&TeamWriter> {
        self.shared.team.get()
    }

    fn tell_team(&self, name: &str) {
        if let Some(team) = self.team().filter(|_| team::is_record(name) || team::is_shared_with_worker(name)) {
            team.changed();
        }
    }

    /// What is held, in the form in which it is written to the disk.
    pub(crate) fn team_file(&self, ended: bool) -> TeamFile {
        let mut file = TeamFile { boot: team::boot_id(), ended, ..TeamFile::default() };
        let mut records = Vec::new();
        for (name, fd) in self.mirror().iter() {
            if team::is_record(name) {
                records.extend(fd.try_clone_to_owned().map(|fd| (name.to_owned(), fd)));
            } else if team::is_shared_with_worker(name) {
                file.fds.extend(foreign::inode(fd).map(|inode| (name.to_owned(), inode)));
            }
        }
        // Not under the lock: the cluster thread may wait for it with a connection in its hands.
        for (name, fd) in records {
            match memfd::read_memfd(fd.as_fd(), MAX_RECORD) {
                Ok(bytes) => drop(file.records.insert(name, bytes)),
                Err(error) => tracing::error!(name, %error, "a record is missing in the list on the disk"),
            }
        }
        file
    }

    /// This exit has been dealt with and need not be told to the next supervisor.
    pub fn forget_exit(&self, exit: &ExitRecord) {
        let mut mirror = self.mirror();
        mirror.forget_exit(exit.sequence);
        self.send(&Message::ForgetExit { sequence: exit.sequence }, None);
    }

    /// Everything has stopped: the keeper ends as soon as this process has. Exit soon; it waits for 5 s.
    pub fn shutdown(&self) {
        let _mirror = self.mirror();
        self.send(&Message::Shutdown, None);
    }

    /// This process is about to become the executable that the keeper holds as [`upgrade::EXECUTABLE`].
    pub(crate) fn announce_upgrade(&self) {
        let _mirror = self.mirror();
        self.send(&Message::Upgrade, None);
    }

    /// This process has taken over everything and serves. A keeper that does not know the word need not hear it.
    pub(crate) fn serving(&self) {
        let _mirror = self.mirror();
        if self.can_upgrade() {
            self.send(&Message::Serving, None);
        }
    }

    /// Whether the keeper knows upgrades.
    pub(crate) fn can_upgrade(&self) -> bool {
        self.version().is_some_and(|version| version >= wire::UPGRADES)
    }

    /// Duplicates of what is held under the names that are wanted.
    pub(crate) fn copies(&self, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<(String, OwnedFd)>> {
        let mirror = self.mirror();
        let wanted = mirror.iter().filter(|(name, _)| wanted(name));
        wanted.map(|(name, fd)| Ok((name.to_owned(), fd.try_clone_to_owned()?))).collect()
    }

    /// The keeper is to exit with this code.
    pub fn exit_code(&self, code: u8) {
        let _mirror = self.mirror();
        self.send(&Message::ExitCode { code }, None);
    }

    /// Duplicates of all listening sockets that are held.
    pub(crate) fn listeners(&self) -> Vec<OwnedFd> {
        let mirror = self.mirror();
        let sockets = mirror.iter().filter(|(name, _)| name.starts_with("socket/") || name.starts_with("listen/"));
        sockets.filter_map(|(_, fd)| fd.try_clone_to_owned().ok()).collect()
    }

    /// Asks for a [`KeeperEvent::Pong`] with this token.
    pub fn ping(&self, token: u64) {
        let _mirror = self.mirror();
        self.send(&Message::Ping { token }, None);
    }

    /// The keeper's process id; none when it is not our parent.
    pub fn keeper_pid(&self) -> Option<Pid> {
        self.shared.keeper.as_ref().map(|(pid, _)| *pid)
    }

    /// The newest version of the link that both sides speak; none: only what every version understands.
    pub fn version(&self) -> Option<u16> {
        wire::agreed(wire::OURS, self.about().versions)
    }

    /// The version of the keeper's software; empty when it has not said.
    pub fn keeper_software(&self) -> String {
        self.about().software.clone()
    }

    /// The soft limit of open files that workers are to have: what it was before musher raised its own.
    pub fn workers_open_files(&self) -> Option<u64> {
        Some(self.shared.open_files).filter(|limit| *limit > 0)
    }

    /// A duplicate of what is held under this name.
    pub(crate) fn copy(&self, name: &str) -> Option<OwnedFd> {
        let mirror = self.mirror();
        let (_, held) = mirror.iter().find(|(of, _)| *of == name)?;
        held.try_clone_to_owned().ok()
    }

    /// The names that are held, in order.
    pub fn names(&self) -> Vec<String> {
        self.mirror().iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn about(&self) -> MutexGuard<'_, About> {
        self.shared.about.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirror(&self) -> MutexGuard<'_, Holdings> {
        self.shared.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, waiting for room. A keeper that is gone is not an error: the mirror has what it needs.
    fn send(&self, message: &Message, fd: Option<BorrowedFd<'_>>) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shared.lost.load(Ordering::Acquire) {
            let waited = match wire::send(&self.shared.socket, message, fd) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_until(&self.shared.socket, PollFlags::OUT, deadline)
                }
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    std::thread::sleep(IN_FLIGHT_PAUSE);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = waited {
                self.lose(&error);
            }
        }
    }

    /// The keeper is of no use any more. One that is merely stuck is killed, else two keepers would live.
    fn lose(&self, error: &io::Error) {
        tracing::warn!(%error, "the keeper does not answer");
        if let Some((_, pidfd)) = &self.shared.keeper {
            let _ = musher_process::signal(pidfd.as_fd(), Signal::KILL.as_raw());
        }
        self.shared.lost.store(true, Ordering::Release);
    }
}

/// The cluster thread puts its listeners and what it knows of them.
impl FdStore for KeeperLink {
    fn put(&self, name: &str, fd: BorrowedFd<'_>) {
        KeeperLink::put(self, name, fd);
    }

    fn put_bytes(&self, name: &str, bytes: &[u8]) {
        KeeperLink::put_bytes(self, name, bytes);
    }

    fn remove(&self, name: &str) {
        KeeperLink::remove(self, name);
    }
}

impl Shared {
    fn keeper_is_dead(&self) -> bool {
        self.keeper.as_ref().is_none_or(|(_, pidfd)| {
            let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1)
        })
    }
}

fn wait_until(socket: impl AsFd, flags: PollFlags, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout =
        Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
    match rustix::event::poll(&mut [PollFd::new(&socket, flags)], Some(&timeout)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
