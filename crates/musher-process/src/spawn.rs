//! Starts a program as a child process.
//!
//! [`Spawn::spawn`] prepares everything, makes the child with clone3(2), and waits until execve(2) has succeeded or the
//! child has said which step failed (see `sys::child` for what happens there). The child inherits nothing that is not
//! named in [`Spawn`]: signals are at their defaults and unblocked, every other descriptor is closed, the environment is
//! exactly the one given. What stays as it is: umask, cgroup (unless given), namespaces, capabilities and no_new_privs.
//! It never gets a parent death signal: workers outlive the supervisor.
//!
//! An environment is passed on as it is; [`Spawn`] does not set `HOME`, `USER` or `PATH`.
//!
//! ```
//! use musher_process::Spawn;
//!
//! let args = ["sh", "-c", "cd; pwd"].map(Into::into).to_vec();
//! let env = vec![("HOME".into(), "/tmp".into())];
//! let child = Spawn { args, env, session: true, nice: Some(5), ..Spawn::new("/bin/sh") }.spawn()?;
//! println!("runs as {}", child.pid);
//! # Ok::<(), musher_process::SpawnError>(())
//! ```

mod error;
mod executable;

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use crate::exit;
use crate::pid::Pid;
use crate::sys::child::{Group, Identity, Image, Limit, PidVariable, Report, Reporting, SHELL, StringArray, Told};
use crate::sys::clone::Birth;
use crate::sys::raw::CAN_SHARE;
use crate::wait::readable_within;

pub use crate::sys::child::NOT_EXECUTED;
pub use error::SpawnError;
pub use executable::Problem;

/// The highest number that a descriptor may get in the child.
pub const MAX_CHILD_FD: i32 = 4095;

/// How long the child may take to execute the program. Only a file system that hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program to start. Nothing is inherited that is not named here.
///
/// ```
/// use musher_process::{ExitStatus, Spawn, exit};
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let args = ["sh", "-c", "exit $code"].map(Into::into).to_vec();
/// let child = Spawn { args, env: vec![("code".into(), "3".into())], ..Spawn::new("/bin/sh") }.spawn()?;
/// assert!(exit::wait_for_end(child.pidfd.as_fd(), Duration::from_secs(60))?);
/// assert_eq!(exit::reap(child.pidfd.as_fd())?, Some(ExitStatus::Code(3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Spawn {
    /// The executable, absolute.
    pub program: PathBuf,
    /// All arguments with `argv[0]`. Empty means only the program's path.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Our descriptor and its number in the child (at most [`MAX_CHILD_FD`]). 0, 1 and 2 are /dev/null when not given.
    /// Everything else is closed.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Make the child the leader of a new session (setsid); else only of a new process group.
    pub session: bool,
    /// Resource limits to set.
    pub limits: Vec<(Resource, Rlimit)>,
    /// Scheduling priority, -20 to 19.
    pub nice: Option<i32>,
    /// User to become.
    pub credentials: Option<Credentials>,
    /// Set the variable `LISTEN_PID` (sd_listen_fds(3)), and `WATCHDOG_PID` (sd_watchdog_enabled(3)) where `env` has it, to
    /// the child's own pid.
    pub listen_pid: bool,
    /// Directory of a cgroup v2 to start the child in. Where the system refuses that, the child starts without.
    pub cgroup: Option<OwnedFd>,
}

/// A user for a child: becoming another one needs root. [`lookup_user`](crate::lookup::lookup_user) knows names.
///
/// ```
/// use musher_process::{Credentials, Spawn, lookup};
///
/// let root = lookup::lookup_user("root")?.ok_or("there is no root")?;
/// let credentials = Some(Credentials { uid: root.uid, gid: root.gid, groups: root.groups });
/// let program = Spawn { credentials, ..Spawn::new("/bin/true") };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, all of them.
    pub groups: Vec<u32>,
}

/// A started child. Dropping it neither ends nor reaps it: see [`signal`](crate::signal) and [`reap`](crate::reap).
///
/// ```
/// use musher_process::{Child, Spawn, exit};
/// use std::os::fd::AsFd;
///
/// let Child { pid, pidfd } = Spawn::new("/bin/true").spawn()?;
/// assert_eq!(exit::pid_of(pidfd.as_fd())?, Some(pid));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Child {
    /// Its number.
    pub pid: Pid,
    /// Its pidfd, from the instant of its birth.
    pub pidfd: OwnedFd,
}

impl Spawn {
    /// This program without arguments, in the root directory, with nothing else: no environment, /dev/null as standard
    /// streams. The rest is set by its fields.
    ///
    /// ```
    /// use musher_process::Spawn;
    ///
    /// let program = Spawn { nice: Some(10), session: true, ..Spawn::new("/bin/true") };
    /// assert!(program.env.is_empty() && program.fds.is_empty());
    /// ```
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Spawn {
        Spawn {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            fds: Vec::new(),
            session: false,
            limits: Vec::new(),
            nice: None,
            credentials: None,
            listen_pid: false,
            cgroup: None,
        }
    }

    /// Starts the program. Returns when it runs (execve succeeded) or why it does not; then no process is left.
    ///
    /// Blocks for as long as the system needs to make the process, some 0.1 to 1 ms; at most 10 s, when a file system
    /// hangs.
    ///
    /// ```
    /// use musher_process::Spawn;
    /// use std::io::Read;
    ///
    /// let (mut reading, writing) = std::io::pipe()?;
    /// let args = ["echo", "hello"].map(Into::into).to_vec();
    /// Spawn { args, fds: vec![(writing.into(), 1)], ..Spawn::new("/bin/echo") }.spawn()?;
    /// let mut said = String::new();
    /// reading.read_to_string(&mut said)?;
    /// assert_eq!(said, "hello\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn(self) -> Result<Child, SpawnError> {
        self.make(false, Manner::default(), |_| {})
    }

    /// The same as Node does it: the child stays in our process group, unless it gets a session, so that a signal that a
    /// terminal sends to the group reaches both; and a text without a `#!` line is run by the shell.
    #[cfg(feature = "tokio")]
    pub(crate) fn spawn_as_node(self) -> Result<Child, SpawnError> {
        let group = (!self.session).then_some(Group::Parents);
        self.make(false, Manner { group, shell: true }, |_| {})
    }

    /// The same, but the program is executed only after `known` has returned: if this process is killed before that,
    /// the child ends with [`NOT_EXECUTED`] and has done nothing. So whoever `known` tells of the child knows all
    /// children that ever did anything.
    ///
    /// ```
    /// use musher_process::Spawn;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("pid");
    /// let child = Spawn::new("/bin/true").spawn_known(|child| {
    ///     std::fs::write(&path, child.pid.to_string()).unwrap();
    /// })?;
    /// assert_eq!(std::fs::read_to_string(&path)?, child.pid.to_string());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn_known(self, known: impl FnOnce(&Child)) -> Result<Child, SpawnError> {
        self.make(true, Manner::default(), known)
    }

    fn make(self, gated: bool, manner: Manner, known: impl FnOnce(&Child)) -> Result<Child, SpawnError> {
        let above = self.first_free_number()?;
        let fds = self.child_fds(above).map_err(|error| SpawnError::system("prepare the descriptors", error))?;
        let pipe = |error: io::Error| SpawnError::system("make a pipe", error);
        let gate = gated.then(|| Gate::new(above)).transpose().map_err(pipe)?;
        let mut image = Image { gate: gate.as_ref().map(Gate::numbers), ..self.image(&fds, manner)? };
        // Another user must not sit in our memory.
        let copies = !CAN_SHARE || image.identity.is_some();
        let report = copies.then(|| ReportPipe::new(above)).transpose().map_err(pipe)?;
        if let Some(report) = &report {
            image.report = Reporting::Pipe(report.writing.as_raw_fd());
        }
        let birth = Birth::new(image);
        let (pid, pidfd) = birth.begin().map_err(SpawnError::no_process)?;
        drop(fds);
        let child = Child { pid, pidfd };
        known(&child);
        if let Some(gate) = gate {
            gate.open();
        }
        let outcome = match report {
            Some(report) => report.read(),
            None => birth.wait(PATIENCE).ok_or(SpawnError::Stuck { after: PATIENCE }),
        };
        match outcome {
            Ok(None) => Ok(child),
            Ok(Some(report)) => {
                wait_for_end(&child.pidfd);
                Err(error::from_report(&self, birth.image(), report))
            }
            Err(error) => {
                let _ = exit::signal(child.pidfd.as_fd(), libc::SIGKILL);
                wait_for_end(&child.pidfd);
                Err(error)
            }
        }
    }

    /// The number above all those that the child is to have.
    fn first_free_number(&self) -> Result<RawFd, SpawnError> {
        for (index, (_, number)) in self.fds.iter().enumerate() {
            if !(0..=MAX_CHILD_FD).contains(number) {
                return Err(SpawnError::invalid(format!("descriptor number {number} is not in 0..={MAX_CHILD_FD}")));
            }
            if self.fds.iter().skip(index + 1).any(|(_, other)| other == number) {
                return Err(SpawnError::invalid(format!("descriptor {number} is given twice")));
            }
        }
        Ok(self.fds.iter().map(|(_, number)| *number).fold(2, i32::max) + 1)
    }

    /// The sources of the child's descriptors and their numbers there. Each source is at a number from `above`, so that
    /// no duplication in the child overwrites one that is still needed.
    fn child_fds(&self, above: RawFd) -> io::Result<Vec<(Source<'_>, RawFd)>> {
        let mut fds = Vec::with_capacity(self.fds.len() + 3);
        for (fd, to) in &self.fds {
            let source = if fd.as_raw_fd() >= above {
                Source::Given(fd.as_fd())
            } else {
                Source::Made(rustix::io::fcntl_dupfd_cloexec(fd, above)?)
            };
            fds.push((source, *to));
        }
        for to in 0..=2 {
            if !fds.iter().any(|(_, other)| *other == to) {
                let null = File::options().read(true).write(true).open("/dev/null")?;
                fds.push((Source::Made(lift(null.into(), above)?), to));
            }
        }
        Ok(fds)
    }

    fn image(&self, fds: &[(Source<'_>, RawFd)], manner: Manner) -> Result<Image, SpawnError> {
        let program = c_string(self.program.as_os_str(), "the program's path")?;
        let mut args = self.args.iter().map(|arg| c_string(arg, "an argument")).collect::<Result<Vec<_>, _>>()?;
        if args.is_empty() {
            args.push(program.clone());
        }
        let mut env = Vec::with_capacity(self.env.len());
        let mut pids: Vec<PidVariable> = self.listen_pid.then(|| PidVariable::new("LISTEN_PID")).into_iter().collect();
        for (name, value) in &self.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(SpawnError::invalid(format!("{name:?} cannot be the name of a variable")));
            }
            if self.listen_pid && name == "LISTEN_PID" {
                continue;
            }
            if self.listen_pid && name == "WATCHDOG_PID" {
                pids.push(PidVariable::new("WATCHDOG_PID"));
                continue;
            }
            // With room for the end, so that it is not copied once more.
            let mut variable = OsString::with_capacity(name.len() + value.len() + 2);
            [name.as_os_str(), OsStr::new("="), value].into_iter().for_each(|part| variable.push(part));
            env.push(c_string(variable, "the environment")?);
        }
        let shell_args = manner.shell.then(|| {
            let args = [SHELL.to_owned(), program.clone()].into_iter().chain(args.iter().skip(1).cloned());
            StringArray::new(args.collect(), Vec::new())
        });
        let usual = if self.session { Group::Session } else { Group::Own };
        Ok(Image {
            args: StringArray::new(args, Vec::new()),
            shell_args,
            env: StringArray::new(env, pids),
            cwd: c_string(self.cwd.as_os_str(), "the working directory")?,
            program,
            fds: fds.iter().map(|(from, to)| (from.as_fd().as_raw_fd(), *to)).collect(),
            group: manner.group.unwrap_or(usual),
            limits: self.limits.iter().map(|(resource, limit)| (*resource as u32, limit64(limit))).collect(),
            nice: self.nice,
            identity: self.credentials.as_ref().filter(|wanted| !wanted.are_ours()).map(|wanted| Identity {
                uid: wanted.uid,
                gid: wanted.gid,
                groups: wanted.groups.clone(),
            }),
            cgroup: self.cgroup.as_ref().map(AsRawFd::as_raw_fd),
            gate: None,
            report: Reporting::Memory(Told::default()),
        })
    }
}

/// In which respects a child is not like the daemon's.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Its process group.
    group: Option<Group>,
    /// A text without a `#!` line is the shell's.
    shell: bool,
}

impl Credentials {
    /// We already are that user with those groups: nothing to do, and no privilege needed.
    fn are_ours(&self) -> bool {
        use rustix::process::{getegid, geteuid, getgid, getgroups, getuid};
        let users = [getuid(), geteuid()].iter().all(|uid| uid.as_raw() == self.uid);
        let main_groups = [getgid(), getegid()].iter().all(|gid| gid.as_raw() == self.gid);
        // The kernel checks the primary group apart from the list, so it may be in it or not.
        let normal = |groups: &mut Vec<u32>| {
            groups.retain(|gid| *gid != self.gid);
            groups.sort_unstable();
            groups.dedup();
        };
        let Ok(ours) = getgroups() else { return false };
        let mut ours = ours.iter().map(|gid| gid.as_raw()).collect();
        let mut wanted = self.groups.clone();
        normal(&mut ours);
        normal(&mut wanted);
        users && main_groups && ours == wanted
    }
}

/// Only one gate at a time: a child has copies of all its parent's descriptors until it executes. Two children that held
/// each other's gates open would both wait for ever if their parent were killed.
static GATES: Mutex<()> = Mutex::new(());

/// What a child waits at before it executes its program.
struct Gate {
    reading: OwnedFd,
    writing: OwnedFd,
    _only: MutexGuard<'static, ()>,
}

impl Gate {
    fn new(above: RawFd) -> io::Result<Gate> {
        let only = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(Gate { reading: lift(reading, above)?, writing: lift(writing, above)?, _only: only })
    }

    fn numbers(&self) -> (RawFd, RawFd) {
        (self.reading.as_raw_fd(), self.writing.as_raw_fd())
    }

    /// Lets the child pass. Cannot fail: the pipe is empty, and we hold its other end, too.
    fn open(self) {
        let _ = rustix::io::write(&self.writing, &[1]);
    }
}

/// A descriptor to duplicate in the child.
enum Source<'a> {
    Given(BorrowedFd<'a>),
    /// At a number where the given one was in the way.
    Made(OwnedFd),
}

impl AsFd for Source<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Given(fd) => *fd,
            Source::Made(fd) => fd.as_fd(),
        }
    }
}

/// The same open file under a number from `above`.
fn lift(fd: OwnedFd, above: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= above { Ok(fd) } else { Ok(rustix::io::fcntl_dupfd_cloexec(&fd, above)?) }
}

fn c_string(string: impl Into<OsString>, what: &str) -> Result<CString, SpawnError> {
    CString::new(string.into().into_vec()).map_err(|error| {
        let string = OsString::from_vec(error.into_vec());
        SpawnError::invalid(format!("{what} contains a NUL byte: {string:?}"))
    })
}

fn limit64(limit: &Rlimit) -> Limit {
    Limit { current: limit.current.unwrap_or(u64::MAX), maximum: limit.maximum.unwrap_or(u64::MAX) }
}

/// How a child with its own memory says that it failed.
struct ReportPipe {
    reading: OwnedFd,
    writing: OwnedFd,
}

impl ReportPipe {
    fn new(above: RawFd) -> io::Result<ReportPipe> {
        let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(ReportPipe { reading, writing: lift(writing, above)? })
    }

    /// `None`: the pipe was closed by execve (or by the child's death, which its exit status will tell).
    fn read(self) -> Result<Option<Report>, SpawnError> {
        drop(self.writing);
        match readable_within(&self.reading, PATIENCE) {
            Ok(true) => {}
            Ok(false) => return Err(SpawnError::Stuck { after: PATIENCE }),
            Err(error) => return Err(SpawnError::system("hear from the new process", error)),
        }
        let mut bytes = [0; Report::LEN];
        match File::from(self.reading).read_exact(&mut bytes) {
            Ok(()) => match Report::from_bytes(bytes) {
                Some(report) => Ok(Some(report)),
                None => {
                    Err(SpawnError::system("understand the new process", io::Error::from(io::ErrorKind::InvalidData)))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(SpawnError::system("hear from the new process", error)),
        }
    }
}

/// Reaps a child that ends by itself or was killed. One that hangs in the kernel is left to be reaped later.
fn wait_for_end(pidfd: &OwnedFd) {
    if exit::wait_for_end(pidfd.as_fd(), Duration::from_secs(1)).is_ok_and(|ended| ended) {
        let _ = exit::reap(pidfd.as_fd());
    }
}
