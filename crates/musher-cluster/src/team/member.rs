//! A worker as its primary sees it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use musher_core::ids::{RunId, SlotId};
use musher_process::ipc::Handle;
use musher_process::{ExitStatus, Pid, exit, net, signal, v8};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;

use super::event::Address;
use super::settings::Pipes;
use crate::cluster::Cluster;
use crate::handle::Passed;
use crate::serving::{Hearing, Message, Messages};

/// Where in its life a worker is: Node's `worker.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkerState {
    /// It was forked.
    Forked,
    /// Its runtime is up.
    Online,
    /// A server of it listens.
    Listening,
    /// Its channel has ended.
    Disconnected,
    /// Its process is gone.
    Dead,
}

/// A worker that this process forked. Copies mean the same worker.
#[derive(Clone)]
pub struct Worker(pub(crate) Arc<Member>);

pub(crate) struct Member {
    pub(crate) id: u32,
    pub(crate) run: RunId,
    pub(crate) slot: SlotId,
    pub(crate) cluster: Cluster,
    pub(crate) hearing: Hearing,
    process: Process,
    life: Mutex<Life>,
    state: watch::Sender<WorkerState>,
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) connected: bool,
    pub(crate) exited_after_disconnect: Option<bool>,
    pub(crate) exit: Option<ExitStatus>,
    /// It told of an exception that ends it: its end is a crash, however orderly.
    pub(crate) failed: bool,
    /// What it left has been killed, or is about to be.
    pub(crate) cleared: bool,
    /// The table does not have it any more.
    pub(crate) forgotten: bool,
    pub(crate) addresses: Vec<Address>,
}

impl Life {
    /// Somebody wants it to end, or it says itself that it does.
    pub(crate) fn leaves(&mut self) {
        if !self.failed {
            self.exited_after_disconnect = Some(true);
        }
    }
}

/// A worker's process: Node's `worker.process`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::AsyncReadExt;
/// # use musher_cluster::{Settings, setup_primary};
/// let cluster = setup_primary(Settings::program("echo").args(["hello"]).silent(true))?;
/// let worker = cluster.fork()?;
/// let mut said = String::new();
/// worker.process().take_stdout().ok_or("no pipe")?.read_to_string(&mut said).await?;
/// assert_eq!(said, "hello\n");
/// # Ok(())
/// # }
/// ```
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    program: PathBuf,
    args: Vec<OsString>,
    cluster: Cluster,
    run: RunId,
    pipes: Mutex<Pipes>,
}

impl Worker {
    pub(crate) fn new(
        (id, run, slot): (u32, RunId, SlotId),
        cluster: Cluster,
        (pid, pidfd, program, args): (Pid, OwnedFd, PathBuf, Vec<OsString>),
        pipes: Pipes,
    ) -> Worker {
        let process = Process { pid, pidfd, program, args, cluster: cluster.clone(), run, pipes: Mutex::new(pipes) };
        let life = Mutex::new(Life { connected: true, ..Life::default() });
        let state = watch::Sender::new(WorkerState::Forked);
        Worker(Arc::new(Member { id, run, slot, cluster, hearing: Hearing::default(), process, life, state }))
    }

    /// Its number, counted from 1: its key in [`Primary::workers`](super::Primary::workers).
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.0.process
    }

    /// Sends a message. It does not wait: what the worker does not read is queued, up to
    /// [`Settings::max_queued`](super::Settings::max_queued), and dropped beyond that with a warning
    /// ([`send_and_wait`](Worker::send_and_wait) tells).
    ///
    /// # Errors
    ///
    /// The worker is not connected any more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "read line <&3; echo \"[$line]\" >&3"]))?;
    /// let worker = cluster.fork()?;
    /// worker.send(serde_json::json!({"a": 1}))?;
    /// assert_eq!(worker.messages().next().await.ok_or("no message")?.value, serde_json::json!([{"a": 1}]));
    /// worker.exited().await;
    /// assert!(worker.send("late").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(&self, message: impl Into<Value>) -> io::Result<()> {
        self.check_connected()?;
        self.0.cluster.send(self.0.run, message.into());
        Ok(())
    }

    /// Sends a message, and waits until it is in the worker's channel; Node's `worker.send(message, callback)`.
    ///
    /// # Errors
    ///
    /// The worker is not connected any more, or does not read and [`Settings::max_queued`](super::Settings::max_queued) is
    /// reached.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sleep").args(["60"]).max_queued(100))?;
    /// let worker = cluster.fork()?;
    /// let mut sent = 0;
    /// while worker.send_and_wait("x".repeat(10_000)).await.is_ok() {
    ///     sent += 1;    // until nothing more fits into the socket
    /// }
    /// assert!(sent > 0 && worker.is_connected());
    /// worker.kill(9)?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_and_wait(&self, message: impl Into<Value>) -> io::Result<()> {
        self.check_connected()?;
        let (sender, answer) = tokio::sync::oneshot::channel();
        self.0.cluster.send_and_tell(self.0.run, message.into(), move |sent| drop(sender.send(sent)));
        let sent = answer.await.map_err(|_| io::Error::from(io::ErrorKind::NotConnected))?;
        sent.map_err(io::Error::other)
    }

    /// Sends a value of JavaScript: whole where [`Settings::serialization`](super::Settings::serialization) is advanced,
    /// else as JSON. As [`send`](Worker::send), it does not wait.
    ///
    /// # Errors
    ///
    /// The worker is not connected any more.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::v8::Value;
    /// use musher_cluster::{Serialization, Settings, setup_primary};
    /// let settings = Settings::node("worker.js").serialization(Serialization::Advanced);
    /// let worker = setup_primary(settings)?.fork()?;
    /// worker.send_v8(Value::Map(vec![(Value::Number(1.0), Value::Date(0.0))]))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_v8(&self, message: v8::Value) -> io::Result<()> {
        self.check_connected()?;
        self.0.cluster.send_v8(self.0.run, message);
        Ok(())
    }

    /// Sends a message with a socket, which the worker gets a duplicate of.
    ///
    /// # Errors
    ///
    /// The worker is not connected any more, or it is no socket.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    /// let worker = setup_primary(Settings::node("worker.js"))?.fork()?;
    /// // There: process.on('message', (message, server) => …)
    /// worker.send_handle("a server", std::net::TcpListener::bind("127.0.0.1:0")?.into())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_handle(&self, message: impl Into<Value>, handle: Handle) -> io::Result<()> {
        self.check_connected()?;
        let kind = handle.kind().name();
        let passed = Passed::new(Arc::new(handle.into_fd()?), kind);
        if net::kind(&passed)? == net::Kind::Other {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "only sockets can be sent with a message"));
        }
        self.0.cluster.send_handle(self.0.run, message.into(), passed);
        Ok(())
    }

    /// Calls `handler` with every message of this worker, in order. It must not block.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo 1 >&3; echo 2 >&3"]))?;
    /// let (told, mut numbers) = tokio::sync::mpsc::channel(8);
    /// cluster.fork()?.on_message(move |message| drop(told.try_send(message.value)));
    /// assert_eq!((numbers.recv().await, numbers.recv().await), (Some(1.into()), Some(2.into())));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_message(&self, handler: impl Fn(Message) + Send + Sync + 'static) {
        self.0.hearing.on(Arc::new(handler));
    }

    /// Its messages from now on, and up to 1024 that came before anybody wanted them.
    pub fn messages(&self) -> Messages {
        self.0.hearing.stream()
    }

    /// Sends a signal to its process; Node's `worker.kill('SIGTERM')`. It counts as a crash:
    /// [`exited_after_disconnect`](Worker::exited_after_disconnect) stays false.
    ///
    /// # Errors
    ///
    /// The process has ended. Never does another process get the signal.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sleep").args(["60"]))?;
    /// let worker = cluster.fork()?;
    /// worker.kill(15)?;
    /// assert_eq!(worker.exited().await.to_string(), "signal 15 (SIGTERM)");
    /// assert_eq!((worker.is_dead(), worker.exited_after_disconnect()), (true, Some(false)));
    /// assert!(worker.kill(15).is_err(), "never another process");
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        self.0.process.kill(signal)
    }

    /// Asks it to take nothing new, finish what it has, and end. New connections go to others at once.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "read line <&3"]))?;
    /// let worker = cluster.fork()?;
    /// worker.disconnect();
    /// assert!(worker.exited().await.is_success());
    /// assert_eq!(worker.exited_after_disconnect(), Some(true));
    /// # Ok(())
    /// # }
    /// ```
    pub fn disconnect(&self) {
        self.life().exited_after_disconnect = Some(true);
        self.0.cluster.drain(self.0.run, std::time::Duration::ZERO, std::time::Duration::MAX);
    }

    /// The same with limits, for those that know them: idle connections are closed after `grace`, all after `limit`.
    pub(super) fn leave(&self, grace: std::time::Duration, limit: std::time::Duration) {
        self.0.cluster.drain(self.0.run, grace, limit);
    }

    /// Whether it ended because somebody wanted it to; none while it is neither disconnected nor dead.
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.life().exited_after_disconnect
    }

    /// Whether messages reach it.
    pub fn is_connected(&self) -> bool {
        self.life().connected
    }

    /// Whether its process has ended.
    pub fn is_dead(&self) -> bool {
        self.life().exit.is_some() || exit::has_ended(self.0.process.pidfd.as_fd()).unwrap_or(true)
    }

    /// Where in its life it is.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, WorkerState, setup_primary};
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// let worker = cluster.fork()?;
    /// assert_eq!(worker.state(), WorkerState::Forked);
    /// worker.exited().await;
    /// assert_eq!(worker.state(), WorkerState::Dead);
    /// # Ok(())
    /// # }
    /// ```
    pub fn state(&self) -> WorkerState {
        *self.0.state.borrow()
    }

    /// Where its servers listen.
    pub fn addresses(&self) -> Vec<Address> {
        self.life().addresses.clone()
    }

    /// Waits until it listens, or has ended before it could (false).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// assert!(!cluster.fork()?.listening().await, "it has ended before");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn listening(&self) -> bool {
        self.reached(WorkerState::Listening).await == WorkerState::Listening
    }

    /// Waits until its channel has ended.
    pub async fn disconnected(&self) {
        self.reached(WorkerState::Disconnected).await;
    }

    /// Waits for the end of its process.
    pub async fn exited(&self) -> ExitStatus {
        self.reached(WorkerState::Dead).await;
        self.life().exit.unwrap_or(ExitStatus::Unknown)
    }

    async fn reached(&self, wanted: WorkerState) -> WorkerState {
        let mut state = self.0.state.subscribe();
        // The sender lives as long as this worker.
        state.wait_for(|state| *state >= wanted).await.map_or(WorkerState::Dead, |state| *state)
    }

    pub(crate) fn life(&self) -> MutexGuard<'_, Life> {
        self.0.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It came that far.
    pub(crate) fn reach(&self, state: WorkerState) {
        self.0.state.send_if_modified(|now| {
            let later = state > *now;
            *now = state.max(*now);
            later
        });
    }

    fn check_connected(&self) -> io::Result<()> {
        if self.is_connected() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotConnected, format!("worker {} is not connected any more", self.0.id)))
    }
}

impl PartialEq for Worker {
    fn eq(&self, other: &Worker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Member { id, slot, process, .. } = &*self.0;
        f.debug_struct("Worker").field("id", id).field("slot", slot).field("pid", &process.pid).finish_non_exhaustive()
    }
}

impl Process {
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The program that was executed: Node's `spawnfile`.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// All its arguments with `argv[0]`: Node's `spawnargs`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("true").args(["--version"]))?;
    /// assert_eq!(cluster.fork()?.process().args(), ["true", "--version"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn kill(&self, number: i32) -> io::Result<()> {
        signal(self.pidfd.as_fd(), number)
    }

    /// Closes its channel, after what was sent; Node's `worker.process.disconnect()`. A Node worker then ends at once, one
    /// of this crate finishes what it has. To ask it to leave, use [`Worker::disconnect`].
    pub fn disconnect(&self) {
        self.cluster.disconnect(self.run);
    }

    /// Its standard input, once, if that is a pipe ([`Settings::silent`](super::Settings::silent)).
    pub fn take_stdin(&self) -> Option<Sender> {
        self.pipes().stdin.take()
    }

    /// What it writes to its standard output, once, if that is a pipe.
    pub fn take_stdout(&self) -> Option<Receiver> {
        self.pipes().stdout.take()
    }

    /// What it writes to its standard error, once, if that is a pipe.
    pub fn take_stderr(&self) -> Option<Receiver> {
        self.pipes().stderr.take()
    }

    /// Our end of the pipe that another descriptor is, once; Node's `worker.process.stdio[number]`.
    pub fn take_pipe(&self, number: i32) -> Option<UnixStream> {
        self.pipes().others.remove(&number)
    }

    fn pipes(&self) -> MutexGuard<'_, Pipes> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
