//! What a primary forks: Node's `settings`. How they become a process: [`process`].

mod process;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use musher_core::spec::Balance;
use musher_process::channel::Bounds;
use musher_process::child_process::Stdio;
use musher_process::ipc::{self, Serialization};
use musher_process::{Credentials, lookup};

pub(crate) use self::process::Pipes;
use crate::cluster::Listens;

/// How connections reach the workers.
///
/// ```
/// use musher_cluster::{Scheduling, Settings};
/// let settings = Settings::node("server.js").scheduling(Scheduling::RoundRobin);
/// assert_eq!(settings.scheduling, Scheduling::RoundRobin);
/// ```
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
    ///
    /// ```
    /// use musher_cluster::Scheduling;
    /// // Unless NODE_CLUSTER_SCHED_POLICY says `rr` or `none`.
    /// # if std::env::var_os("NODE_CLUSTER_SCHED_POLICY").is_none() {
    /// assert_eq!(Scheduling::from_env(), Scheduling::Kernel);
    /// # }
    /// ```
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

/// What is forked, and how: the settings of Node's `cluster.setupPrimary`. A worker's command line is `exec_path`,
/// `exec_args`, `script`, `args`. What was set can be read from the fields; the methods of the same names set it.
///
/// ```
/// use musher_cluster::{Scheduling, Settings};
/// let rust = Settings::program("/usr/local/bin/worker").args(["--verbose"]).scheduling(Scheduling::RoundRobin);
/// assert_eq!((rust.args.len(), rust.silent), (1, false));
/// let node = Settings::node("server.js").exec_args(["--max-old-space-size=200"]).args(["8080"]);
/// assert_eq!(node.script.as_deref(), Some("server.js".as_ref()));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The program or interpreter to execute: Node's `execPath`. A name without `/` is looked up in `PATH`.
    pub exec_path: PathBuf,
    /// Arguments of the interpreter, before the script: Node's `execArgv`. Default: none.
    pub exec_args: Vec<OsString>,
    /// The program that an interpreter runs: Node's `exec`. None for programs that are executed themselves.
    pub script: Option<OsString>,
    /// Arguments of the program. Default of [`Settings::new`]: this process's own; else none.
    pub args: Vec<OsString>,
    /// The working directory. Default: this process's own.
    pub cwd: Option<PathBuf>,
    /// Variables of the workers' environment, besides those of this process. Default: none.
    pub env: BTreeMap<OsString, OsString>,
    /// Whether standard input, output and error are pipes of [`Process`](crate::Process). Default: they are this process's
    /// own.
    pub silent: bool,
    /// What descriptors are, by number. 0, 1 and 2 are this process's own when they are not named, all others closed; the
    /// channel is 3 when none is [`Stdio::Ipc`].
    pub stdio: BTreeMap<i32, Stdio>,
    /// What the channel speaks. Default: JSON.
    pub serialization: Serialization,
    /// How connections reach the workers. Default: [`Scheduling::from_env`].
    pub scheduling: Scheduling,
    /// The user and groups to become. Default: this process's own.
    pub credentials: Option<Credentials>,
    /// The port of the inspector of each worker. Default: one after the other, from the one that `exec_args` name or 9229 on.
    pub inspect_port: Option<u16>,
    /// The longest message of a worker, in bytes; a longer one is dropped with a warning. Default: 64 MiB. Node has no
    /// limit, and no protection from a worker that sends without end.
    pub max_message: usize,
    /// How many bytes of messages wait for a worker that does not read; what is sent then is dropped with a warning, but a
    /// single message always fits. Default: 64 MiB.
    pub max_queued: usize,
    /// Whether `listen({ fd })` may name any socket of this process that has no peer, as in Node. Default: yes.
    pub own_descriptors: bool,
    pub(crate) listens: Arc<Listens>,
}

/// What a message at least costs besides its bytes while it waits.
const COST_OF_MESSAGE: usize = 128;

impl Settings {
    /// This very program, with the arguments it was started with.
    ///
    /// In it [`is_worker`](crate::is_worker) tells a worker from the primary; see the [first example](crate#primary-and-workers-in-one-program).
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::new();
    /// assert_eq!((settings.exec_path, settings.script), (std::env::current_exe()?, None));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// It is looked for by [`setup_primary`](crate::setup_primary), relative to [`cwd`](Settings::cwd).
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::program("./server").args(["127.0.0.1:8080"]);
    /// assert_eq!(settings.exec_path, std::path::Path::new("./server"));
    /// ```
    pub fn program(exec: impl Into<PathBuf>) -> Settings {
        Settings {
            exec_path: exec.into(),
            exec_args: Vec::new(),
            script: None,
            args: Vec::new(),
            cwd: None,
            env: BTreeMap::new(),
            silent: false,
            stdio: BTreeMap::new(),
            serialization: Serialization::Json,
            scheduling: Scheduling::from_env(),
            credentials: None,
            inspect_port: None,
            max_message: ipc::MAX_MESSAGE,
            max_queued: ipc::MAX_QUEUED_BYTES,
            own_descriptors: true,
            listens: Arc::new(Listens { policy: Balance::Kernel, inherited: Vec::new(), own: false }),
        }
    }

    /// A Node program: `node script`.
    ///
    /// The first `node` of `PATH`; for another one say [`exec_path`](Settings::exec_path).
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::node("server.js").exec_path("/opt/node22/bin/node");
    /// assert_eq!(settings.script.as_deref(), Some("server.js".as_ref()));
    /// ```
    pub fn node(script: impl Into<OsString>) -> Settings {
        Settings::program("node").script(script)
    }

    /// A Deno program with all permissions: `deno run -A script`. Deno takes connections only in turns.
    ///
    /// ```
    /// use musher_cluster::{Scheduling, Settings};
    /// let settings = Settings::deno("server.ts");
    /// assert_eq!((settings.exec_args.len(), settings.scheduling), (2, Scheduling::RoundRobin));
    /// // With fewer permissions:
    /// let settings = settings.exec_args(["run", "--allow-net=127.0.0.1", "--allow-env"]);
    /// ```
    pub fn deno(script: impl Into<OsString>) -> Settings {
        Settings::program("deno").exec_args(["run", "-A"]).script(script).scheduling(Scheduling::RoundRobin)
    }

    /// A Bun program: `bun script`. Its servers bind their ports by themselves and have to share them (`reusePort: true`).
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::bun("server.ts");
    /// assert_eq!(settings.exec_path, std::path::Path::new("bun"));
    /// ```
    pub fn bun(script: impl Into<OsString>) -> Settings {
        Settings::program("bun").script(script)
    }

    /// The program or interpreter to execute, instead of the one that was named.
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::node("server.js").exec_path("/usr/local/bin/node");
    /// assert!(settings.exec_path.is_absolute());
    /// ```
    pub fn exec_path(mut self, program: impl Into<PathBuf>) -> Settings {
        self.exec_path = program.into();
        self
    }

    /// Arguments of the interpreter, instead of those before.
    ///
    /// Node's `execArgv`.
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::node("server.js").exec_args(["--max-old-space-size=200"]);
    /// assert_eq!(settings.exec_args, ["--max-old-space-size=200"]);
    /// ```
    pub fn exec_args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Settings {
        self.exec_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// The program that the interpreter runs.
    ///
    /// Node's `exec`.
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let python = Settings::program("python3").script("server.py");
    /// assert_eq!(python.script.as_deref(), Some("server.py".as_ref()));
    /// ```
    pub fn script(mut self, script: impl Into<OsString>) -> Settings {
        self.script = Some(script.into());
        self
    }

    /// Arguments of the program, instead of those before.
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::program("server").args(["--port", "8080"]).args(["--port", "8081"]);
    /// assert_eq!(settings.args, ["--port", "8081"]);
    /// ```
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Settings {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// The working directory; else this process's own.
    ///
    /// A relative one is completed by [`setup_primary`](crate::setup_primary).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{ExitStatus, Settings, setup_primary};
    /// let settings = Settings::program("sh").args(["-c", "test \"$PWD\" = /"]).cwd("/");
    /// assert_eq!(setup_primary(settings)?.fork()?.exited().await, ExitStatus::Code(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Settings {
        self.cwd = Some(directory.into());
        self
    }

    /// A variable of the workers' environment, besides those of this process.
    ///
    /// For one worker only: [`Primary::fork_with`](crate::Primary::fork_with). What tells this process of its own sockets and its own
    /// primary (`LISTEN_FDS`, `NOTIFY_SOCKET`, `NODE_CHANNEL_FD` and the like) does not reach the workers.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{ExitStatus, Settings, setup_primary};
    /// let settings = Settings::program("sh").args(["-c", "exit $CODE"]).env("CODE", "7");
    /// assert_eq!(setup_primary(settings)?.fork()?.exited().await, ExitStatus::Code(7));
    /// # Ok(())
    /// # }
    /// ```
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Settings {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Whether standard input, output and error are pipes of [`Process`](crate::Process), instead of this process's own.
    ///
    /// Node's `silent`. Pipes that nobody reads fill up (64 KiB), and the worker waits then. See the example of
    /// [`Process`](crate::Process).
    pub fn silent(mut self, silent: bool) -> Settings {
        self.silent = silent;
        self
    }

    /// What the descriptor with this number is. [`Stdio::Pipe`] is taken from [`Process`](crate::Process): 0, 1 and 2 go
    /// one way, others both ways.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, Stdio, setup_primary};
    /// use tokio::io::AsyncReadExt;
    /// let line = "echo hello >&4";
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", line]).stdio(4, Stdio::Pipe))?;
    /// let mut pipe = cluster.fork()?.process().take_pipe(4).ok_or("no pipe")?;
    /// let mut said = String::new();
    /// pipe.read_to_string(&mut said).await?;
    /// assert_eq!(said, "hello\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn stdio(mut self, number: i32, what: impl Into<Stdio>) -> Settings {
        self.stdio.insert(number, what.into());
        self
    }

    /// What the channel speaks: with [`Serialization::Advanced`] Node's programs may send dates, maps, buffers and so on,
    /// which come as [`Message::value`](crate::Message) in JSON's form and whole as `Message::v8`.
    ///
    /// ```
    /// use musher_cluster::{Serialization, Settings};
    /// let settings = Settings::node("worker.js").serialization(Serialization::Advanced);
    /// assert_eq!(settings.serialization, Serialization::Advanced);
    /// ```
    pub fn serialization(mut self, serialization: Serialization) -> Settings {
        self.serialization = serialization;
        self
    }

    /// The same inspector port for all workers (0: any), instead of one after the other. Only with `--inspect` among
    /// [`exec_args`](Settings::exec_args).
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::node("server.js").exec_args(["--inspect"]).inspect_port(0);
    /// assert_eq!(settings.inspect_port, Some(0));
    /// ```
    pub fn inspect_port(mut self, port: u16) -> Settings {
        self.inspect_port = Some(port);
        self
    }

    /// How connections reach the workers.
    ///
    /// Node's `cluster.schedulingPolicy`. It counts for addresses that are listened on from now on, and is named before
    /// [`sockets`](Settings::sockets).
    ///
    /// ```
    /// use musher_cluster::{Scheduling, Settings};
    /// assert_eq!(Settings::new().scheduling(Scheduling::Shared).scheduling, Scheduling::Shared);
    /// ```
    pub fn scheduling(mut self, scheduling: Scheduling) -> Settings {
        self.scheduling = scheduling;
        self
    }

    /// The user and groups to become.
    ///
    /// Node's `uid` and `gid`. Needs the right to do so: without it forking is an error.
    ///
    /// ```
    /// use musher_cluster::{Credentials, Settings};
    /// let nobody = Credentials { uid: 65534, gid: 65534, groups: Vec::new() };
    /// let settings = Settings::program("server").credentials(nobody);
    /// assert!(settings.credentials.is_some());
    /// ```
    pub fn credentials(mut self, credentials: Credentials) -> Settings {
        self.credentials = Some(credentials);
        self
    }

    /// Sockets for `listen({fd: 3})`, `listen({fd: 4})` and so on. A worker that listens on the address of one gets that one,
    /// too. Those that this process itself was given by `LISTEN_FDS` need not be named.
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let settings = Settings::node("server.js").sockets(vec![socket.into()]);   // there: server.listen({ fd: 3 })
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sockets(mut self, sockets: Vec<OwnedFd>) -> Settings {
        self.listens = Arc::new(Listens { policy: self.scheduling.policy(), inherited: sockets, own: false });
        self
    }

    /// The longest message of a worker, in bytes, instead of 64 MiB. A worker that sends a longer one is not harmed: the
    /// message is dropped with a warning.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    /// let line = "echo '\"too long for this\"' >&3; echo '\"short\"' >&3";
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", line]).max_message(10))?;
    /// assert_eq!(cluster.fork()?.messages().next().await.ok_or("no message")?.value, "short");
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_message(mut self, bytes: usize) -> Settings {
        self.max_message = bytes;
        self
    }

    /// How many bytes of messages wait for a worker that does not read, instead of 64 MiB.
    ///
    /// [`Worker::send`](crate::Worker::send) drops what is more, [`send_and_wait`](crate::Worker::send_and_wait) says so.
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// assert_eq!(Settings::new().max_queued(1 << 20).max_queued, 1 << 20);
    /// ```
    pub fn max_queued(mut self, bytes: usize) -> Settings {
        self.max_queued = bytes;
        self
    }

    /// Whether `listen({ fd })` may name any socket of this process that has no peer, by the number that it has here, as in
    /// Node; else only the [`sockets`](Settings::sockets).
    ///
    /// ```
    /// use musher_cluster::Settings;
    /// let settings = Settings::node("somebody-elses.js").own_descriptors(false);
    /// assert!(!settings.own_descriptors);
    /// ```
    pub fn own_descriptors(mut self, may_be_named: bool) -> Settings {
        self.own_descriptors = may_be_named;
        self
    }

    /// How much of a worker's messages is kept.
    pub(crate) fn bounds(&self) -> Bounds {
        let queued_messages = (self.max_queued / COST_OF_MESSAGE).max(1);
        Bounds { message: self.max_message, queued_bytes: self.max_queued, queued_messages }
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
        self.listens = Arc::new(Listens { policy: self.scheduling.policy(), inherited, own: self.own_descriptors });
        let cwd = match self.cwd.take() {
            Some(cwd) => std::path::absolute(cwd)?,
            None => std::env::current_dir()?,
        };
        if !self.exec_path.is_absolute() {
            let path = self.env.get(OsStr::new("PATH")).cloned().or_else(|| std::env::var_os("PATH"));
            let found = lookup::find_in_path(self.exec_path.as_os_str(), path.as_deref(), &cwd);
            self.exec_path = found.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error.to_string()))?;
        }
        self.cwd = Some(cwd);
        Ok(self)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::new()
    }
}
