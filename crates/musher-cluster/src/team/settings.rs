//! What a primary forks: Node's `settings`, and how they become a process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use musher_core::ids::SlotId;
use musher_core::spec::Balance;
use musher_process::{Child, Credentials, Spawn, lookup};

use crate::cluster::Listens;

/// How connections reach the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// Each worker has a socket of its own on the same port, and the kernel deals connections out: the primary is not in
    /// their path, connections that wait at a blocked or dead worker go to its siblings, and what waits at a dead
    /// worker's socket waits for its successor. TCP only; unix sockets and UDP are shared.
    Kernel,
    /// The primary accepts and hands connections to the workers in turn (Node's `SCHED_RR`).
    RoundRobin,
    /// All workers accept from one socket (Node's `SCHED_NONE`).
    Shared,
}

impl Scheduling {
    /// What `NODE_CLUSTER_SCHED_POLICY` says, as in Node; [`Kernel`](Scheduling::Kernel) without it.
    pub fn from_env() -> Scheduling {
        match std::env::var("NODE_CLUSTER_SCHED_POLICY").as_deref() {
            Ok("rr") => Scheduling::RoundRobin,
            Ok("none") => Scheduling::Shared,
            _ => Scheduling::Kernel,
        }
    }

    fn policy(self) -> Balance {
        match self {
            Scheduling::Kernel => Balance::Kernel,
            Scheduling::RoundRobin => Balance::RoundRobin,
            Scheduling::Shared => Balance::Shared,
        }
    }
}

/// What is forked, and how: the settings of Node's `cluster.setupPrimary`. The default is this very program with its own
/// arguments.
///
/// ```
/// use musher_cluster::{Scheduling, Settings};
/// let settings = Settings::program("/usr/local/bin/worker").args(["--verbose"]).scheduling(Scheduling::RoundRobin);
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) exec: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) silent: bool,
    pub(crate) scheduling: Scheduling,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) listens: Arc<Listens>,
}

/// Variables that are meant for this process and not for its workers.
const OWN: &[&str] = &[
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "MUSHER_SLOT",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "NODE_APP_INSTANCE",
];
/// Where a worker finds its channel.
const CHANNEL: i32 = 3;

impl Settings {
    /// This very program, with the arguments it was started with.
    pub fn new() -> Settings {
        // As it was started: the path still leads to the program when the file was replaced by a new version.
        let exec = std::env::current_exe().unwrap_or_default();
        let exec = match exec.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
            Some(path) => PathBuf::from(path),
            None => exec,
        };
        Settings { args: std::env::args_os().skip(1).collect(), ..Settings::program(exec) }
    }

    /// Another program. A name without `/` is looked up in `PATH`.
    pub fn program(exec: impl Into<PathBuf>) -> Settings {
        Settings {
            exec: exec.into(),
            args: Vec::new(),
            cwd: None,
            env: BTreeMap::new(),
            silent: false,
            scheduling: Scheduling::from_env(),
            credentials: None,
            listens: Arc::new(Listens { policy: Balance::Kernel, inherited: Vec::new() }),
        }
    }

    /// A Node program.
    pub fn node(script: impl Into<OsString>) -> Settings {
        Settings::program("node").args([script.into()])
    }

    /// A Deno program with all permissions. Deno takes connections only in turns.
    pub fn deno(script: impl Into<OsString>) -> Settings {
        let args: [OsString; 3] = ["run".into(), "-A".into(), script.into()];
        Settings::program("deno").args(args).scheduling(Scheduling::RoundRobin)
    }

    /// A Bun program. Its servers bind their ports by themselves and have to share them (`reusePort: true`).
    pub fn bun(script: impl Into<OsString>) -> Settings {
        Settings::program("bun").args([script.into()])
    }

    /// The interpreter or program to execute, instead of the one that was named.
    pub fn exec(mut self, exec: impl Into<PathBuf>) -> Settings {
        self.exec = exec.into();
        self
    }

    /// Arguments, instead of those before.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Settings {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// The working directory; else this process's own.
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Settings {
        self.cwd = Some(directory.into());
        self
    }

    /// A variable of the workers' environment, besides those of this process.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Settings {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Whether what workers write to their standard output and error comes as pipes of
    /// [`Process`](crate::Process), instead of going where this process writes.
    pub fn silent(mut self, silent: bool) -> Settings {
        self.silent = silent;
        self
    }

    /// How connections reach the workers.
    pub fn scheduling(mut self, scheduling: Scheduling) -> Settings {
        self.scheduling = scheduling;
        self
    }

    /// The user and groups to become.
    pub fn credentials(mut self, credentials: Credentials) -> Settings {
        self.credentials = Some(credentials);
        self
    }

    /// Sockets for `listen({fd: 3})`, `listen({fd: 4})` and so on. A worker that listens on the address of one gets that one,
    /// too. Those that this process itself was given by `LISTEN_FDS` need not be named.
    pub fn sockets(mut self, sockets: Vec<OwnedFd>) -> Settings {
        self.listens = Arc::new(Listens { policy: self.scheduling.policy(), inherited: sockets });
        self
    }

    /// The same with everything looked up, to be forked from.
    pub(crate) fn complete(mut self) -> io::Result<Settings> {
        let mut inherited = Vec::new();
        for socket in &self.listens.inherited {
            inherited.push(socket.try_clone()?);
        }
        if inherited.is_empty() {
            inherited = crate::serving::given_sockets()?;
        }
        self.listens = Arc::new(Listens { policy: self.scheduling.policy(), inherited });
        let cwd = match self.cwd.take() {
            Some(cwd) => std::path::absolute(cwd)?,
            None => std::env::current_dir()?,
        };
        if !self.exec.is_absolute() {
            let path = self.env.get(OsStr::new("PATH")).cloned().or_else(|| std::env::var_os("PATH"));
            let found = lookup::find_in_path(self.exec.as_os_str(), path.as_deref(), &cwd);
            self.exec = found.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error.to_string()))?;
        }
        self.cwd = Some(cwd);
        Ok(self)
    }

    /// Makes a worker's process. Blocks for as long as the system needs for that, some 0.2 to 1 ms.
    pub(crate) fn spawn(
        &self,
        (id, slot): (u32, SlotId),
        extra: &BTreeMap<OsString, OsString>,
        channel: OwnedFd,
    ) -> io::Result<Spawned> {
        let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        env.retain(|name, _| !OWN.iter().any(|own| name == own));
        env.extend(self.env.clone());
        env.extend(extra.clone());
        let own = [
            ("NODE_CHANNEL_FD", CHANNEL.to_string()),
            ("NODE_CHANNEL_SERIALIZATION_MODE", "json".to_owned()),
            ("NODE_UNIQUE_ID", id.to_string()),
            ("NODE_APP_INSTANCE", slot.to_string()),
        ];
        env.extend(own.map(|(name, value)| (name.into(), value.into())));
        let mut fds = vec![(channel, CHANNEL), (std::io::stdin().as_fd().try_clone_to_owned()?, 0)];
        let (mut stdout, mut stderr) = (None, None);
        for (number, ours, inherited) in [
            (1, &mut stdout, std::io::stdout().as_fd().try_clone_to_owned()?),
            (2, &mut stderr, std::io::stderr().as_fd().try_clone_to_owned()?),
        ] {
            if self.silent {
                let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                musher_process::net::set_nonblocking(&reading)?;
                fds.push((writing, number));
                *ours = Some(tokio::net::unix::pipe::Receiver::from_owned_fd(reading)?);
            } else {
                fds.push((inherited, number));
            }
        }
        let mut args = vec![self.exec.file_name().unwrap_or(self.exec.as_os_str()).to_owned()];
        args.extend(self.args.iter().cloned());
        let child = Spawn {
            program: self.exec.clone(),
            args,
            env: env.into_iter().collect(),
            cwd: self.cwd.clone().unwrap_or_else(|| Path::new("/").to_owned()),
            fds,
            session: false,
            limits: Vec::new(),
            nice: None,
            credentials: self.credentials.clone(),
            listen_pid: false,
            cgroup: None,
        }
        .spawn()
        .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Spawned { child, stdout, stderr })
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::new()
    }
}

/// A worker's process with the ends of its pipes.
pub(crate) struct Spawned {
    pub(crate) child: Child,
    pub(crate) stdout: Option<tokio::net::unix::pipe::Receiver>,
    pub(crate) stderr: Option<tokio::net::unix::pipe::Receiver>,
}
