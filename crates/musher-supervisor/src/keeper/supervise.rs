//! The keeper's loop: signals, the link, the supervisor's life.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use musher_process::{Child, Pid, Spawn, inherit, own, signal};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Signal, WaitOptions};

use super::backoff::Backoff;
use super::holdings::Holdings;
use super::upgrade::Upgrade;
use super::wire::{self, Incoming, Message};
use super::{FOREGROUND_NAME, KeeperError, LivingSupervisor, say};

/// How long a supervisor that has said `shutdown` may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// When the kernel has no room for descriptors in flight there is no event that tells when it has again.
const NO_ROOM: Duration = Duration::from_millis(20);
/// How many signals wait for a supervisor.
const MAX_UNTOLD: usize = 16;
/// How long after the last event memory is let go of: most of a keeper's is the code of its start.
const QUIET: Duration = Duration::from_millis(500);
/// Packets read in one go, so that signals get their turn.
const BATCH: usize = 256;

pub(super) struct Keeper {
    pub(super) holdings: Holdings,
    pub(super) open_files: u64,
    signals: OwnedFd,
    backoff: Backoff,
    pub(super) stage: Stage,
    pub(super) upgrade: Upgrade,
    /// Somebody asked for the end of everything; every supervisor is told until one obeys.
    pub(super) end_requested: bool,
    /// There was an event since memory was let go of.
    busy: bool,
    /// The process is what somebody waits for: a person at a terminal, a container.
    foreground: bool,
    /// Signals that no supervisor has been told of yet.
    untold: VecDeque<i32>,
    exit_code: u8,
}

/// What the keeper has to do with a supervisor at the moment.
pub(super) enum Stage {
    /// None lives; the next one is started then.
    Waiting { until: Instant },
    /// One lives.
    Running(Supervisor),
    /// It said `shutdown` and has until then to end.
    Ending { supervisor: Supervisor, until: Instant },
}

pub(super) struct Supervisor {
    pub(super) child: Child,
    pub(super) link: OwnedFd,
    born: Instant,
    /// It has put something: it had everything by then.
    taken_over: bool,
    pub(super) outbox: Outbox,
}

/// What has been sent to a supervisor. The rest is found in the holdings, so nothing is queued.
#[derive(Default)]
pub(super) struct Outbox {
    hello: bool,
    last_name: Option<String>,
    all_names: bool,
    inventory_end: bool,
    pub(super) next_exit: u64,
    end_request: bool,
    pong: Option<u64>,
    room: Room,
}

/// Whether the last packet could be sent.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Room {
    #[default]
    Enough,
    /// Not in the socket; POLLOUT tells when there is.
    NotInSocket,
    /// Too many descriptors are in flight; nothing tells when they have landed.
    NotInKernel,
}

impl Keeper {
    pub(super) fn new(holdings: Holdings, open_files: u64, signals: OwnedFd, supervisor: Option<Supervisor>) -> Keeper {
        let upgrade = Upgrade::new(&holdings, supervisor.is_some());
        let stage = supervisor.map_or_else(|| Stage::Waiting { until: Instant::now() }, Stage::Running);
        let backoff = Backoff::default();
        let foreground = holdings.iter().any(|(name, _)| name == FOREGROUND_NAME);
        Keeper {
            holdings,
            open_files,
            signals,
            backoff,
            stage,
            upgrade,
            end_requested: false,
            busy: true,
            foreground,
            untold: VecDeque::new(),
            exit_code: 0,
        }
    }

    /// Returns after an orderly end, with the exit code.
    pub(super) fn run(mut self) -> Result<u8, KeeperError> {
        // Children may have ended before SIGCHLD was blocked, above all after an execve.
        self.reap();
        loop {
            if let Stage::Waiting { until } = self.stage
                && Instant::now() >= until
            {
                self.start_supervisor();
            }
            self.send();
            self.wait().map_err(|source| KeeperError::System { step: "wait for events", source })?;
            self.take_signals();
            self.take_messages();
            self.go_on_with_upgrade();
            if self.check_supervisor() {
                return Ok(self.exit_code);
            }
        }
    }

    /// Waits for a signal, a packet, the supervisor's death, room to send or a deadline.
    fn wait(&mut self) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let quiet = self.busy.then(|| Instant::now() + QUIET);
        let deadline = match &self.stage {
            Stage::Waiting { until } => Some(*until),
            Stage::Running(supervisor) => {
                fds.push(PollFd::new(&supervisor.child.pidfd, PollFlags::IN));
                fds.push(PollFd::new(&supervisor.link, supervisor.interest()));
                let soon = match supervisor.outbox.room {
                    Room::NotInKernel => Some(Instant::now() + NO_ROOM),
                    Room::Enough | Room::NotInSocket => quiet,
                };
                [soon, self.upgrade.deadline()].into_iter().flatten().min()
            }
            Stage::Ending { supervisor, until } => {
                fds.push(PollFd::new(&supervisor.child.pidfd, PollFlags::IN));
                Some(*until)
            }
        };
        let timeout = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) if quiet.is_some_and(|quiet| Instant::now() >= quiet) && matches!(self.stage, Stage::Running(_)) => {
                own::release_memory();
                self.busy = false;
                Ok(())
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                self.busy = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(number)) = inherit::next_signal(self.signals.as_fd()) {
            if number == Signal::CHILD.as_raw() {
                self.reap();
            } else if number == Signal::TERM.as_raw() {
                if !self.foreground {
                    say(format_args!("SIGTERM: asking the supervisor to stop everything"));
                }
                self.end_requested = true;
            } else if self.foreground {
                self.hand_on(number);
            }
        }
    }

    /// A signal to a team in the foreground: the first SIGINT asks for the end, the others are the supervisor's.
    fn hand_on(&mut self, number: i32) {
        if number == Signal::INT.as_raw() && !self.end_requested {
            self.end_requested = true;
        } else if [Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2].map(Signal::as_raw).contains(&number)
            && self.untold.len() < MAX_UNTOLD
        {
            self.untold.push_back(number);
        }
    }

    /// Reaps every child that has ended.
    fn reap(&mut self) {
        let supervisor = match &self.stage {
            Stage::Waiting { .. } => None,
            Stage::Running(supervisor) | Stage::Ending { supervisor, .. } => Some(supervisor.child.pid.as_raw()),
        };
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let (pid, status) = (pid.as_raw_nonzero().get(), status.as_raw());
            let is_orderly = self.foreground && matches!(self.stage, Stage::Ending { .. });
            if Some(pid) == supervisor && is_orderly {
                continue;
            }
            if Some(pid) == supervisor {
                say(format_args!("the supervisor ({pid}) ended with wait status {status:#x}"));
            } else {
                self.holdings.record_exit(pid, status, crate::clock::now().0);
            }
        }
    }

    /// Obeys the packets that have come. True: there may be more.
    fn take_messages(&mut self) -> bool {
        let Stage::Running(supervisor) = &mut self.stage else { return false };
        let (mut shutdown, mut more) = (false, true);
        for _ in 0..BATCH {
            match wire::receive(&supervisor.link) {
                Ok(Some(Incoming::Message(message, fd))) => {
                    shutdown |= message == Message::Shutdown;
                    if let Message::ExitCode { code } = message {
                        self.exit_code = code;
                    }
                    supervisor.taken_over |= matches!(message, Message::Put { .. });
                    self.upgrade.hear(&message);
                    obey(&mut self.holdings, &mut supervisor.outbox, message, fd);
                }
                Ok(Some(Incoming::Ignored { kind })) => {
                    say(format_args!("a message of unknown kind {kind} is ignored"))
                }
                Ok(None) => {
                    more = false;
                    break;
                }
                Ok(Some(Incoming::End)) => {
                    // Dead or broken: a supervisor without a link cannot be told anything.
                    let _ = signal(supervisor.child.pidfd.as_fd(), Signal::KILL.as_raw());
                    more = false;
                    break;
                }
                Err(error) => {
                    say(format_args!("reading from the supervisor: {error}"));
                    more = false;
                    break;
                }
            }
        }
        if shutdown {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Waiting { until: Instant::now() }) {
                Stage::Running(supervisor) => Stage::Ending { supervisor, until: Instant::now() + LAST_WORDS },
                other => other,
            };
        }
        more && !shutdown
    }

    /// True: everything has ended.
    fn check_supervisor(&mut self) -> bool {
        match &self.stage {
            Stage::Waiting { .. } => false,
            Stage::Running(supervisor) => {
                if supervisor.is_dead() {
                    // What it sent before its death counts, and nothing can come any more.
                    while self.take_messages() {}
                    self.reap();
                    if let Stage::Running(supervisor) = &self.stage {
                        let wait = self.backoff.after(supervisor.born.elapsed(), supervisor.taken_over);
                        self.stage = Stage::Waiting { until: Instant::now() + wait };
                        self.supervisor_died();
                    }
                }
                // It may have said `shutdown` with its last breath.
                matches!(&self.stage, Stage::Ending { supervisor, .. } if supervisor.is_dead())
            }
            Stage::Ending { supervisor, until } => {
                if Instant::now() >= *until {
                    let _ = signal(supervisor.child.pidfd.as_fd(), Signal::KILL.as_raw());
                }
                supervisor.is_dead()
            }
        }
    }

    fn start_supervisor(&mut self) {
        let started = spawn_supervisor(self.foreground);
        self.stage = match started {
            Ok((child, link)) => {
                if !self.foreground {
                    say(format_args!("supervisor {} started", child.pid));
                }
                let (born, outbox) = (Instant::now(), Outbox::default());
                Stage::Running(Supervisor { child, link, born, taken_over: false, outbox })
            }
            Err(error) => {
                say(format_args!("the supervisor cannot be started: {error}"));
                Stage::Waiting { until: Instant::now() + self.backoff.after(Duration::ZERO, false).max(NO_ROOM) }
            }
        };
    }

    /// Sends what the supervisor does not know yet, as far as there is room.
    fn send(&mut self) {
        let Stage::Running(supervisor) = &mut self.stage else { return };
        supervisor.outbox.room = Room::Enough;
        while let Some(sent) = supervisor.send_one(&self.holdings, self.open_files, self.end_requested) {
            match sent {
                Ok(()) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => supervisor.outbox.room = Room::NotInSocket,
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => supervisor.outbox.room = Room::NotInKernel,
                // Its death will be seen by its pidfd.
                Err(_) => {}
            }
            return;
        }
        while let Some(signal) = self.untold.front() {
            if wire::send(&supervisor.link, &Message::Signalled { signal: *signal }, None).is_err() {
                return;
            }
            self.untold.pop_front();
        }
    }
}

fn obey(holdings: &mut Holdings, outbox: &mut Outbox, message: Message, fd: Option<OwnedFd>) {
    match message {
        Message::Put { name } => match fd {
            Some(fd) => {
                if !holdings.put(&name, fd) {
                    say(format_args!("{name} is not held: too many names"));
                }
            }
            None => say(format_args!("{name} is not held: no descriptor came with it")),
        },
        Message::Remove { name } => holdings.remove(&name),
        Message::ForgetExit { sequence } => holdings.forget_exit(sequence),
        Message::Ping { token } => outbox.pong = Some(token),
        Message::Hello { versions, .. } => {
            if wire::agreed(wire::OURS, versions).is_none() {
                say(format_args!("the supervisor speaks {versions:?}: only what every version understands is used"));
            }
        }
        // `shutdown` is the caller's; the others are the keeper's own words.
        Message::Shutdown
        | Message::ExitCode { .. }
        | Message::Signalled { .. }
        | Message::Held { .. }
        | Message::InventoryEnd
        | Message::Exit(_)
        | Message::EndRequested
        | Message::Pong { .. } => {}
        // Heard by the upgrade.
        Message::Upgrade | Message::Serving => {}
    }
}

impl Supervisor {
    /// The one that lived under the executable that this process was.
    pub(super) fn take_over(living: LivingSupervisor) -> io::Result<Supervisor> {
        let pid = Pid::from_raw(living.pid).ok_or(io::ErrorKind::InvalidData)?;
        let child = Child { pid, pidfd: inherit::take_inherited(living.pidfd)? };
        let link = inherit::take_inherited(living.link)?;
        // It knows all but that the keeper is another executable now.
        let outbox = Outbox { all_names: true, inventory_end: true, next_exit: living.next_exit, ..Outbox::default() };
        Ok(Supervisor { child, link, born: Instant::now(), taken_over: true, outbox })
    }

    fn is_dead(&self) -> bool {
        has_input(&self.child.pidfd)
    }

    fn interest(&self) -> PollFlags {
        match self.outbox.room {
            Room::NotInSocket => PollFlags::IN | PollFlags::OUT,
            Room::Enough | Room::NotInKernel => PollFlags::IN,
        }
    }

    /// Sends the next packet that is due; none: nothing is.
    fn send_one(&mut self, holdings: &Holdings, open_files: u64, end: bool) -> Option<io::Result<()>> {
        let outbox = &mut self.outbox;
        let send = |message: &Message, fd| wire::send(&self.link, message, fd);
        Some(if !outbox.hello {
            send(&Message::Hello { versions: wire::OURS, open_files, software: crate::VERSION.to_owned() }, None)
                .map(|()| outbox.hello = true)
        } else if !outbox.all_names {
            match holdings.after(outbox.last_name.as_deref()) {
                Some((name, fd)) => send(&Message::Held { name: name.to_owned() }, Some(fd))
                    .map(|()| outbox.last_name = Some(name.to_owned())),
                None => {
                    outbox.all_names = true;
                    outbox.last_name = None;
                    Ok(())
                }
            }
        } else if let Some(exit) = holdings.exit_from(outbox.next_exit) {
            send(&Message::Exit(*exit), None).map(|()| outbox.next_exit = exit.sequence + 1)
        } else if !outbox.inventory_end {
            send(&Message::InventoryEnd, None).map(|()| outbox.inventory_end = true)
        } else if end && !outbox.end_request {
            send(&Message::EndRequested, None).map(|()| outbox.end_request = true)
        } else if let Some(token) = outbox.pong {
            send(&Message::Pong { token }, None).map(|()| outbox.pong = None)
        } else {
            return None;
        })
    }
}

/// In the foreground the supervisor is in a session of its own: what a terminal sends is the keeper's to answer.
fn spawn_supervisor(session: bool) -> Result<(Child, OwnedFd), String> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|error| format!("no socket pair: {error}"))?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(|error| error.to_string())?;
    let stdio = || -> io::Result<_> {
        Ok([
            (io::stdin().as_fd().try_clone_to_owned()?, 0),
            (io::stdout().as_fd().try_clone_to_owned()?, 1),
            (io::stderr().as_fd().try_clone_to_owned()?, 2),
        ])
    };
    let mut fds = Vec::from(stdio().map_err(|error| error.to_string())?);
    fds.push((theirs, 3));
    let spawn = Spawn {
        args: ["musher", "supervisor", "--link", "3"].map(Into::into).to_vec(),
        env: std::env::vars_os().collect(),
        fds,
        session,
        ..Spawn::new("/proc/self/exe")
    };
    let child = spawn.spawn().map_err(|error| error.to_string())?;
    Ok((child, ours))
}

/// Whether a read would not wait (also at the end of a stream, and for the pidfd of a process that has ended).
fn has_input(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match rustix::event::poll(&mut fds, Some(&now)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(count) => return count > 0,
            Err(_) => return false,
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use musher_process::{Pid, memfd, pidfd_open};
    use rustix::net::SendFlags;

    use super::*;

    /// A keeper whose supervisor is this test.
    fn keeper_and_link() -> (Keeper, OwnedFd) {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        let signals = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let mut keeper = Keeper::new(Holdings::default(), 1024, signals, None);
        let child = Child { pid: Pid::own(), pidfd: pidfd_open(Pid::own()).unwrap() };
        let supervisor =
            Supervisor { child, link: ours, born: Instant::now(), taken_over: false, outbox: Outbox::default() };
        keeper.stage = Stage::Running(supervisor);
        (keeper, theirs)
    }

    fn names(keeper: &Keeper) -> Vec<&str> {
        keeper.holdings.iter().map(|(name, _)| name).collect()
    }

    fn put(link: &OwnedFd, name: &str) {
        let fd = memfd::memfd_with(name, b"x").unwrap();
        wire::send(link, &Message::Put { name: name.to_owned() }, Some(fd.as_fd())).unwrap();
    }

    fn heard(link: &OwnedFd) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(Incoming::Message(message, _)) = wire::receive(link).unwrap() {
            messages.push(message);
        }
        messages
    }

    #[test]
    fn an_old_keeper_obeys_what_it_understands_of_a_newer_supervisor() {
        let (mut keeper, link) = keeper_and_link();
        let newer = wire::Versions { oldest: 3, newest: 9 };
        wire::send(&link, &Message::Hello { versions: newer, open_files: 0, software: String::new() }, None).unwrap();
        put(&link, "app/1");
        // A kind of version 9 with a descriptor, one that is cut, a put without and one with a wrong name.
        let fd = memfd::memfd_with("new", b"x").unwrap();
        musher_process::fdpass::send_with_fds(&link, &[99, 0, 1, 2], &[fd.as_fd()]).unwrap();
        rustix::net::send(&link, &[7], SendFlags::empty()).unwrap();
        wire::send(&link, &Message::Put { name: "no-descriptor".into() }, None).unwrap();
        put(&link, "not a name");
        put(&link, "app/2");
        wire::send(&link, &Message::Ping { token: 5 }, None).unwrap();
        keeper.take_messages();
        assert_eq!(names(&keeper), ["app/1", "app/2"]);
        keeper.send();
        let heard = heard(&link);
        let software = crate::VERSION.to_owned();
        assert_eq!(heard[0], Message::Hello { versions: wire::OURS, open_files: 1024, software });
        assert_eq!(heard.last(), Some(&Message::Pong { token: 5 }));
    }

    #[test]
    fn a_supervisor_that_does_not_read_holds_nobody_up_and_gets_everything_later() {
        let (mut keeper, link) = keeper_and_link();
        for n in 0..3000 {
            assert!(keeper.holdings.put(&format!("many/{n}"), memfd::memfd_with("x", b"x").unwrap()));
        }
        let mut told = 0;
        for _ in 0..3000 {
            keeper.send();
            told += heard(&link).iter().filter(|message| matches!(message, Message::Held { .. })).count();
        }
        assert_eq!(told, 3000);
    }

    #[test]
    fn exits_are_told_once_each_and_forgotten_on_request() {
        let (mut keeper, link) = keeper_and_link();
        keeper.holdings.record_exit(7, 256, 1);
        keeper.send();
        keeper.holdings.record_exit(8, 9, 2);
        keeper.send();
        keeper.send();
        let exits: Vec<i32> = heard(&link)
            .into_iter()
            .filter_map(|message| if let Message::Exit(exit) = message { Some(exit.pid) } else { None })
            .collect();
        assert_eq!(exits, [7, 8]);
        wire::send(&link, &Message::ForgetExit { sequence: 0 }, None).unwrap();
        keeper.take_messages();
        assert_eq!(keeper.holdings.exits().map(|exit| exit.pid).collect::<Vec<_>>(), [8]);
    }
}
