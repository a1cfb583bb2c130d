//! Commands of the user that are run beside the workers: probes and hooks.
//!
//! Each has a time limit, after which its whole tree is killed; so it is when nobody waits for it any more. Of its output
//! the end is kept. The driver reaps all children, so it tells here how a command ended ([`Commands::reaped`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use musher_core::SlotId;
use musher_core::spec::AppSpec;
use musher_process::cgroup::Cgroups;
use musher_process::memfd::memfd_with;
use musher_process::{Child, Credentials, ExitStatus, Pid, Spawn, SpawnError, Tree, tree};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, oneshot};

use crate::link::KeeperLink;
use crate::watch::watch;

use super::trees::reapers;

/// How many run at a time; others wait.
const AT_A_TIME: usize = 16;
/// How much of the output is kept: its end.
const KEPT_OUTPUT: usize = 4096;
/// How many ends of children that nobody knows are remembered: a command may end before it is known.
const UNCLAIMED: usize = 256;
/// How long a killed tree may take to die.
const KILL_PATIENCE: Duration = Duration::from_millis(200);
/// How often the cgroup of a killed command is tried to be removed.
const REMOVALS: usize = 20;
/// SIGKILL.
const KILL: i32 = 9;
/// How names of commands begin.
const KINDS: [&str; 2] = ["probe.", "hook."];
/// How long the end of a command is waited for that its pidfd tells of.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

/// A command to run.
pub(super) struct Job {
    /// Begins with one of [`KINDS`], unique in the home: marks its processes, and names its cgroup.
    pub(super) name: String,
    /// The program, absolute, and its arguments.
    pub(super) command: Vec<String>,
    pub(super) cwd: PathBuf,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) credentials: Option<Credentials>,
    /// What it reads on standard input.
    pub(super) input: Vec<u8>,
    pub(super) limit: Duration,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// None: it was killed, as it took too long.
    pub(crate) status: Option<ExitStatus>,
    /// The end of what it wrote, to both streams.
    pub(crate) output: String,
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("cannot be started: {0}")]
    Spawn(#[from] SpawnError),
    #[error("cannot be started: {0}")]
    System(#[from] io::Error),
    #[error("the supervisor ends")]
    Ending,
}

/// Runs commands; cheap to clone.
#[derive(Clone)]
pub(super) struct Commands {
    home_id: Arc<str>,
    link: KeeperLink,
    cgroups: Option<Cgroups>,
    places: Arc<Semaphore>,
    reaped: Arc<Mutex<Reaped>>,
}

/// Who waits for which child, and children that ended before somebody waited.
#[derive(Default)]
struct Reaped {
    waiting: HashMap<Pid, oneshot::Sender<ExitStatus>>,
    /// With the number of the reaping: an older process of the same number is not meant.
    unclaimed: VecDeque<(u64, Pid, ExitStatus)>,
    count: u64,
}

/// A command that was started, its output and its end.
type Started = (Running, OwnedFd, oneshot::Receiver<ExitStatus>);

/// A command that runs. Dropped, it is killed with everything it started.
struct Running(Option<Tracked>);

/// What finds the processes of a command.
struct Tracked {
    child: Child,
    name: String,
    marker: String,
    commands: Commands,
}

/// The environment of a command for an app: that of its workers, but for what is one worker's own.
pub(super) fn environment(spec: &AppSpec, slot: SlotId, more: &[(&str, String)]) -> Vec<(OsString, OsString)> {
    let mut env: BTreeMap<&str, String> = BTreeMap::new();
    env.extend(spec.base_env.iter().chain(&spec.env).map(|(key, value)| (key.as_str(), value.clone())));
    env.insert("MUSHER_APP", spec.name.clone());
    env.insert("MUSHER_SLOT", slot.to_string());
    env.extend(more.iter().map(|(key, value)| (*key, value.clone())));
    env.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// The account of a command for an app.
pub(super) fn credentials(spec: &AppSpec) -> Option<Credentials> {
    spec.user.as_ref().map(|user| Credentials { uid: user.uid, gid: user.gid, groups: user.groups.clone() })
}

impl Commands {
    pub(super) fn new(home_id: &str, link: KeeperLink, cgroups: Option<Cgroups>) -> Commands {
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        Commands { home_id: home_id.into(), link, cgroups, places, reaped: Arc::default() }
    }

    /// Runs a command to its end.
    pub(super) async fn run(&self, job: Job) -> Result<Outcome, CommandError> {
        let _place = self.places.acquire().await.map_err(|_| CommandError::Ending)?;
        let (limit, name) = (job.limit, job.name.clone());
        let commands = self.clone();
        let started = tokio::task::spawn_blocking(move || commands.start(job));
        let (mut running, output, mut ended) = started.await.map_err(|_| CommandError::Ending)??;
        let output = watch(output)?;
        let mut tail = Vec::new();
        let status = tokio::select! {
            status = tokio::time::timeout(limit, &mut ended) => status.ok(),
            never = collect(&output, &mut tail) => match never {},
        };
        // Whatever it left behind goes, too. What waits in the pipe then is all that will come.
        if let Some(tracked) = running.0.take() {
            tokio::task::spawn_blocking(move || tracked.kill()).await.map_err(|_| CommandError::Ending)?;
        }
        if status.is_none() {
            // Reaped, so that its cgroup is empty.
            let _ = tokio::time::timeout(STATUS_PATIENCE, ended).await;
        }
        self.table().forget_closed();
        self.forget_cgroup(&name);
        take(output.get_ref(), &mut tail);
        let status = status.map(|status| status.unwrap_or(ExitStatus::Unknown));
        Ok(Outcome { status, output: String::from_utf8_lossy(&tail).trim_end().to_owned() })
    }

    /// A child of ours that is no worker has ended.
    pub(super) fn reaped(&self, pid: Pid, status: ExitStatus) {
        let mut reaped = self.table();
        reaped.count += 1;
        if let Some(waiting) = reaped.waiting.remove(&pid) {
            // Whoever waited may have gone.
            let _ = waiting.send(status);
            return;
        }
        if reaped.unclaimed.len() == UNCLAIMED {
            reaped.unclaimed.pop_front();
        }
        let count = reaped.count;
        reaped.unclaimed.push_back((count, pid, status));
    }

    fn table(&self) -> MutexGuard<'_, Reaped> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the process. Blocks for as long as the system needs for that.
    fn start(&self, job: Job) -> Result<Started, CommandError> {
        let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&reading, true).map_err(io::Error::from)?;
        let input = memfd_with("event", &job.input)?;
        rustix::fs::seek(&input, rustix::fs::SeekFrom::Start(0)).map_err(io::Error::from)?;
        let marker = format!("{}@{}", job.name, self.home_id);
        let mut env = job.env;
        env.push(("MUSHER_RUN".into(), marker.clone().into()));
        let cgroup = self.cgroups.as_ref().and_then(|cgroups| cgroups.create(&job.name).ok());
        let program = PathBuf::from(job.command.first().cloned().unwrap_or_default());
        let before = self.table().count;
        let spawn = Spawn {
            args: job.command.iter().map(OsString::from).collect(),
            env,
            cwd: job.cwd,
            fds: vec![(input, 0), (writing.try_clone()?, 1), (writing, 2)],
            session: true,
            credentials: job.credentials,
            cgroup,
            ..Spawn::new(program)
        };
        let child = match spawn.spawn() {
            Ok(child) => child,
            Err(error) => {
                self.forget_cgroup(&job.name);
                return Err(error.into());
            }
        };
        let ended = self.wait_for(child.pid, before);
        let running = Running(Some(Tracked { child, marker, name: job.name, commands: self.clone() }));
        Ok((running, reading, ended))
    }

    /// The end of a child that was spawned after `before` children had been reaped.
    fn wait_for(&self, pid: Pid, before: u64) -> oneshot::Receiver<ExitStatus> {
        let (sender, receiver) = oneshot::channel();
        let mut reaped = self.table();
        let at = reaped.unclaimed.iter().position(|(count, of, _)| *of == pid && *count > before);
        match at.and_then(|at| reaped.unclaimed.remove(at)) {
            Some((_, _, status)) => drop(sender.send(status)),
            None => drop(reaped.waiting.insert(pid, sender)),
        }
        receiver
    }

    /// Whether it is gone.
    fn forget_cgroup(&self, name: &str) -> bool {
        self.cgroups.as_ref().is_none_or(|cgroups| cgroups.remove(name).is_ok())
    }

    /// Kills what is left of commands that an earlier supervisor had started. Reads all of /proc.
    pub(super) fn kill_leftovers(&self) {
        let suffix = format!("@{}", self.home_id);
        let is_one = |marker: &str| marker.ends_with(&suffix) && KINDS.iter().any(|kind| marker.starts_with(kind));
        for (pid, marker) in tree::find_marked(is_one).unwrap_or_default() {
            let Ok(pidfd) = musher_process::pidfd_open(pid) else { continue };
            let name = marker.strip_suffix(&suffix).unwrap_or(&marker);
            // The number may have a new owner since: that is none of ours.
            if tree::is_marked(pid, &marker) {
                self.kill_tree(name, &marker, pid, &pidfd);
                self.forget_cgroup(name);
            }
        }
    }

    fn kill_tree(&self, name: &str, marker: &str, root: Pid, pidfd: &OwnedFd) {
        let reapers: Vec<Pid> = reapers(&self.link).collect();
        let cgroup = self.cgroups.as_ref().map(|cgroups| cgroups.path(name));
        let tree = Tree {
            root,
            pidfd: pidfd.as_fd(),
            variable: tree::MARKER,
            marker,
            cgroup: cgroup.as_deref(),
            reapers: &reapers,
            others: &BTreeSet::new(),
        };
        if let Err(error) = tree.kill_all(KILL_PATIENCE) {
            tracing::warn!(name, %error, "a command cannot be killed");
        }
    }
}

impl Reaped {
    /// Forgets those that nobody waits for any more.
    fn forget_closed(&mut self) {
        self.waiting.retain(|_, waiting| !waiting.is_closed());
    }
}

impl Tracked {
    fn kill(&self) {
        self.commands.kill_tree(&self.name, &self.marker, self.child.pid, &self.child.pidfd);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(tracked) = self.0.take() else { return };
        // At once, in case nothing below is run any more.
        let _ = musher_process::signal(tracked.child.pidfd.as_fd(), KILL);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn_blocking(move || {
            tracked.kill();
            // The driver reaps it in a moment; a cgroup with a zombie in it cannot be removed.
            for _ in 0..REMOVALS {
                std::thread::sleep(KILL_PATIENCE / 4);
                if tracked.commands.forget_cgroup(&tracked.name) {
                    break;
                }
            }
        });
    }
}

/// Reads to the end of the pipe, then for ever.
async fn collect(pipe: &AsyncFd<OwnedFd>, tail: &mut Vec<u8>) -> std::convert::Infallible {
    while let Ok(mut ready) = pipe.readable().await {
        match take(pipe.get_ref(), tail) {
            Taken::All => ready.clear_ready(),
            Taken::Some => tokio::task::yield_now().await,
            Taken::End => break,
        }
    }
    std::future::pending().await
}

/// How much of a pipe was taken.
enum Taken {
    /// All that was there.
    All,
    /// A part: there may be more.
    Some,
    /// All, and nothing more will come.
    End,
}

fn take(pipe: &OwnedFd, tail: &mut Vec<u8>) -> Taken {
    let mut buffer = [0; KEPT_OUTPUT];
    // Bounded, as a command may write without end.
    for _ in 0..64 {
        match rustix::io::read(pipe, &mut buffer) {
            Ok(0) => return Taken::End,
            Ok(length) => {
                tail.extend_from_slice(buffer.get(..length).unwrap_or_default());
                let surplus = tail.len().saturating_sub(KEPT_OUTPUT);
                tail.drain(..surplus);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Taken::All,
            Err(_) => return Taken::End,
        }
    }
    Taken::Some
}
