//! A worker as its primary sees it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use musher_core::ids::{RunId, SlotId};
use musher_process::ipc::Handle;
use musher_process::{ExitStatus, Pid, exit, net, v8};
use serde_json::Value;
use tokio::sync::watch;

use super::event::Address;
use super::process::Process;
use super::settings::Pipes;
use crate::cluster::Cluster;
use crate::handle::Passed;
use crate::serving::{Hearing, Message, Messages};

/// Where in its life a worker is: Node's `worker.state`.
///
/// They are in order: a later state is greater.
///
/// ```
/// use musher_cluster::WorkerState;
/// assert!(WorkerState::Forked < WorkerState::Listening && WorkerState::Disconnected < WorkerState::Dead);
/// ```
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
///
/// It is made by [`Primary::fork`](super::Primary::fork), or by a [`Team`](super::Team) and then found in the events and in
/// [`Primary::workers`](super::Primary::workers). Dropping it does nothing to the worker.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Settings, setup_primary};
/// let cluster = setup_primary(Settings::program("sh").args(["-c", "read line <&3; echo \"$line\" >&3"]))?;
/// let worker = cluster.fork()?;
/// worker.send("hello")?;
/// assert_eq!(worker.messages().next().await.ok_or("no message")?.value, "hello");
/// assert!(worker.exited().await.is_success());
/// # Ok(())
/// # }
/// ```
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

impl Worker {
    pub(crate) fn new(
        (id, run, slot): (u32, RunId, SlotId),
        cluster: Cluster,
        process: (Pid, OwnedFd, PathBuf, Vec<OsString>),
        pipes: Pipes,
    ) -> Worker {
        let process = Process::new(process, (cluster.clone(), run), pipes);
        let life = Mutex::new(Life { connected: true, ..Life::default() });
        let state = watch::Sender::new(WorkerState::Forked);
        Worker(Arc::new(Member { id, run, slot, cluster, hearing: Hearing::default(), process, life, state }))
    }

    /// Its number, counted from 1: its key in [`Primary::workers`](super::Primary::workers).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// assert_eq!((cluster.fork()?.id(), cluster.fork()?.id()), (1, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// Its process.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// let worker = cluster.fork()?;
    /// assert!(worker.process().pid().as_raw() > 0);
    /// # Ok(())
    /// # }
    /// ```
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
    /// let cluster = setup_primary(settings)?;
    /// let worker = cluster.fork()?;
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
    /// let cluster = setup_primary(Settings::node("worker.js"))?;
    /// let worker = cluster.fork()?;
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
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo 1 >&3; echo 2 >&3"]))?;
    /// let mut messages = cluster.fork()?.messages();
    /// let mut sum = 0;
    /// while let Some(message) = messages.next().await {
    ///     sum += message.value.as_i64().unwrap_or(0);
    /// }
    /// assert_eq!(sum, 3, "the stream ends with the worker's channel");
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// Node's `worker.exitedAfterDisconnect`: true after [`disconnect`](Worker::disconnect), a reload, fewer workers, or when the worker
    /// said itself that it leaves; false after a crash, also one by [`kill`](Worker::kill).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "exit 1"]))?;
    /// let worker = cluster.fork()?;
    /// assert_eq!(worker.exited_after_disconnect(), None);
    /// worker.exited().await;
    /// assert_eq!(worker.exited_after_disconnect(), Some(false), "it should be forked again");
    /// # Ok(())
    /// # }
    /// ```
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.life().exited_after_disconnect
    }

    /// Whether messages reach it.
    ///
    /// Node's `worker.isConnected()`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "exec 3>&-; exec sleep 60"]))?;
    /// let worker = cluster.fork()?;
    /// assert!(worker.is_connected());
    /// worker.disconnected().await;    // it has closed its end
    /// assert!(!worker.is_connected() && !worker.is_dead());
    /// worker.kill(9)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_connected(&self) -> bool {
        self.life().connected
    }

    /// Whether its process has ended.
    ///
    /// Node's `worker.isDead()`. It asks the kernel: it may be true a moment before the event [`Exit`](super::Event::Exit).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// let worker = cluster.fork()?;
    /// worker.exited().await;
    /// assert!(worker.is_dead());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_dead(&self) -> bool {
        self.life().exit.is_some() || exit::has_ended(self.0.process.pidfd()).unwrap_or(true)
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
    ///
    /// In the order in which they began, without those that were closed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Address, Settings, is_worker, listen, setup_primary};
    /// if is_worker() {
    ///     while listen("127.0.0.1:0").await?.accept().await.is_some() {}
    ///     return Ok(());
    /// }
    /// let cluster = setup_primary(Settings::new())?;    // this very program
    /// let worker = cluster.fork()?;
    /// assert!(worker.listening().await);
    /// assert!(matches!(worker.addresses()[..], [Address::Tcp(address)] if address.ip().is_loopback()));
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// Its process may live on: see [`exited`](Worker::exited).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "read line <&3"]))?;
    /// let worker = cluster.fork()?;
    /// worker.disconnect();
    /// worker.disconnected().await;
    /// assert!(!worker.is_connected());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn disconnected(&self) {
        self.reached(WorkerState::Disconnected).await;
    }

    /// Waits for the end of its process.
    ///
    /// Its channel has been read to its end by then, and everything that it said was told.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "exit 3"]))?;
    /// assert_eq!(cluster.fork()?.exited().await, musher_cluster::ExitStatus::Code(3));
    /// # Ok(())
    /// # }
    /// ```
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
        f.debug_struct("Worker")
            .field("id", id)
            .field("slot", slot)
            .field("pid", &process.pid())
            .finish_non_exhaustive()
    }
}
