//! The handle that the supervisor has of the cluster thread.
//!
//! What a primary of this crate and the daemon have in common is `Cluster`, one thread with an epoll of its own.
//!
//! It owns the channel of every Node worker and every listener that they ask for, answers their `listen` calls as Node's
//! own primary would, and decides who gets a connection:
//!
//! - kernel (TCP): each slot has a SO_REUSEPORT socket of its own that outlives its workers. A program in the
//!   kernel deals connections out, in turns where that is permitted and else by chance, and leaves out slots that cannot
//!   serve. What waits at such a slot is accepted here and given to its siblings. Apart from that the thread is not in
//!   the path of a connection: nothing changes for clients while it is stopped or dead.
//! - round-robin: connections are accepted here and handed to the workers in strict turns.
//! - shared (also UDP and unix sockets under kernel): one socket that all workers accept from.
//!
//! Everything that has to survive the supervisor goes through `FdStore` before it has effects; `Cluster::restore_app`
//! and `WorkerConfig::adopted` bring it back. What a worker sends can only hurt that worker.
//!
//! When workers are started, stopped and killed is not decided here; see `musher-core`. `PRELOAD` is the script that
//! lets a Node worker drain without cutting keep-alive connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Balance;
use musher_process::channel::Bounds;
use musher_process::v8;
use serde_json::Value;

use crate::event::EventSink;
use crate::group::Question;
use crate::handle::Passed;
use crate::primary::Primary;

/// Where descriptors and state are kept beyond the life of this process. Calls are made from the cluster thread; they
/// must not block for long, and what they were given must be safe when they return.
pub trait FdStore: Send + Sync {
    /// Keeps a copy of `fd` under `name`, instead of any other.
    fn put(&self, name: &str, fd: BorrowedFd<'_>);
    /// Keeps bytes under `name`, instead of any other.
    fn put_bytes(&self, name: &str, bytes: &[u8]);
    /// Forgets what is kept under `name`.
    fn remove(&self, name: &str);
}

/// How the workers of one spec of an app listen.
#[derive(Debug)]
pub struct Listens {
    /// Who gets a connection. `Auto` is `Kernel`.
    pub policy: Balance,
    /// The sockets of the spec's `listen` entries: a worker that calls `listen({fd: 3 + n})` gets the n-th.
    pub inherited: Vec<OwnedFd>,
    /// Whether it may name any socket of this process's by its number beyond those, as in Node.
    pub own: bool,
}

/// A Node worker.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its app, which was added or restored before.
    pub app: AppId,
    /// How it listens. Workers of an app may differ in it while one spec takes the place of another.
    pub listens: Arc<Listens>,
    /// Its slot.
    pub slot: SlotId,
    /// Itself.
    pub run: RunId,
    /// Our end of its channel.
    pub channel: OwnedFd,
    /// Whether it is a worker of a cluster (`NODE_UNIQUE_ID`); else only messages go over the channel.
    pub cluster: bool,
    /// Whether it speaks V8's format instead of JSON: `serialization: 'advanced'`.
    pub advanced: bool,
    /// How much of its messages is kept.
    pub bounds: Bounds,
    /// Whether it was started by a supervisor before this one.
    pub adopted: bool,
}

/// What an app's listeners have seen since they were opened or restored.
///
/// Read by [`Primary::stats`](crate::Primary::stats).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Settings, Stats, setup_primary};
/// let cluster = setup_primary(Settings::program("true"))?;
/// let Stats { queued, handed_over, unanswered, .. } = cluster.stats().await;
/// assert_eq!((queued, handed_over, unanswered), (0, 0, 0), "nobody listens");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that wait in the kernel's queues.
    pub queued: u64,
    /// Connections handed to a worker here: all with round-robin; with kernel those that no slot could take.
    pub handed_over: u64,
    /// Of these, connections that waited at a slot that could not serve.
    pub rescued: u64,
    /// Of these, connections that a worker held unanswered when it died and another got.
    pub redistributed: u64,
    /// Connections given up because workers died with them.
    pub given_up: u64,
    /// Connections offered to workers and not answered yet.
    pub unanswered: u64,
    /// Listeners of slots whose connections the kernel deals out in turns, not by chance.
    pub in_turns: u64,
    /// How often a worker was found to be blocked.
    pub blocked: u64,
    /// How often the kernel was told anew which slots get connections.
    pub steered: u64,
}

/// What is wanted to be known of a worker for as long as it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watching {
    /// How often it tells how it is: `Pulse`. Needs the preload.
    pub pulses: Option<Duration>,
    /// An event loop that has not turned for this long is told of: `Stuck`. Any Node worker.
    pub stuck_after: Option<Duration>,
}

/// What is called when a message is in a channel, or why it is not.
pub(crate) type Sent = Box<dyn FnOnce(Result<(), String>) + Send>;

/// What the thread is told.
pub(crate) enum Command {
    AddApp(AppId),
    RestoreApp(AppId, Vec<u8>, Vec<(String, OwnedFd)>),
    AddWorker(WorkerConfig),
    Adopted(AppId),
    Drain(RunId, Duration, Duration),
    Watch(RunId, Watching),
    Send(RunId, Value, Option<Passed>, Option<Sent>),
    SendV8(RunId, v8::Value),
    Ask(RunId, Option<u16>, OwnedFd, Question),
    Disconnect(RunId),
    RemoveWorker(RunId),
    RetireSlot(AppId, SlotId),
    CloseApp(AppId),
    Stats(AppId, Box<dyn FnOnce(Stats) + Send>),
    Stop(SyncSender<()>),
    Abandon,
}

/// A handle of the thread. Commands take effect in the order they are given; no call waits for its effect. When the last
/// handle is dropped the thread ends and lets go of everything, without closing anything for others.
#[derive(Clone)]
pub struct Cluster {
    commands: SyncSender<Command>,
    wake: Arc<OwnedFd>,
    _ended: Arc<Wake>,
}

/// Wakes the thread when the last handle is gone, so that it sees it.
struct Wake(Arc<OwnedFd>);

impl Drop for Wake {
    fn drop(&mut self) {
        wake(&self.0);
    }
}

/// Commands that may wait. The thread never waits for the supervisor, so a caller is never stopped for long.
const COMMANDS: usize = 1024;

impl Cluster {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system has no descriptors or threads left.
    pub fn start(store: Arc<dyn FdStore>, events: EventSink) -> io::Result<Cluster> {
        let (sender, receiver) = sync_channel(COMMANDS);
        let (primary, wake) = Primary::new(store, events)?;
        let wake = Arc::new(wake);
        let thread_wake = Arc::clone(&wake);
        std::thread::Builder::new().name("cluster".into()).spawn(move || run(primary, &receiver, &thread_wake))?;
        Ok(Cluster { commands: sender, _ended: Arc::new(Wake(Arc::clone(&wake))), wake })
    }

    fn command(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("the cluster thread has ended");
        }
        wake(&self.wake);
    }

    /// An app whose workers may come.
    pub fn add_app(&self, app: AppId) {
        self.command(Command::AddApp(app));
    }

    /// An app that another supervisor had: `saved` was kept under `cluster/<app>`, `listeners` under
    /// `listen/<app>/...`, each given with its name. Its workers follow, then [`adopted`](Cluster::adopted).
    pub fn restore_app(&self, app: AppId, saved: Vec<u8>, listeners: Vec<(String, OwnedFd)>) {
        self.command(Command::RestoreApp(app, saved, listeners));
    }

    /// All workers of a restored app that still live have been added. Until this is said connections are dealt out as
    /// the supervisor before had it.
    pub fn adopted(&self, app: AppId) {
        self.command(Command::Adopted(app));
    }

    /// A worker that was started, or adopted.
    pub fn add_worker(&self, worker: WorkerConfig) {
        self.command(Command::AddWorker(worker));
    }

    /// Asks a worker to finish what it has and end; answered by `Drained`. New connections go elsewhere at once. With
    /// the preload, idle keep-alive connections are closed after `grace`, and what is not done after `limit` is cut off,
    /// which `Cut` tells; without it Node closes idle connections at once and has no limit.
    pub fn drain(&self, run: RunId, grace: Duration, limit: Duration) {
        self.command(Command::Drain(run, grace, limit));
    }

    /// Watches over a worker from now on, instead of what was wanted before. A supervisor that adopts it asks again.
    pub fn watch(&self, run: RunId, watching: Watching) {
        self.command(Command::Watch(run, watching));
    }

    /// Sends a message to a worker. Dropped if the worker does not read its channel.
    pub fn send(&self, run: RunId, message: Value) {
        self.command(Command::Send(run, message, None, None));
    }

    /// Sends a message to a worker, and calls `told` from the cluster thread when it is in the worker's channel, or has
    /// no room there because the worker does not read.
    pub fn send_and_tell(&self, run: RunId, message: Value, told: impl FnOnce(Result<(), String>) + Send + 'static) {
        self.command(Command::Send(run, message, None, Some(Box::new(told))));
    }

    /// Sends a message with a socket. Dropped if the worker does not read its channel.
    pub fn send_handle(&self, run: RunId, message: Value, handle: Passed) {
        self.command(Command::Send(run, message, Some(handle), None));
    }

    /// Sends a value of JavaScript: whole to a worker that speaks V8's format, else as JSON. Dropped as above.
    pub fn send_v8(&self, run: RunId, message: v8::Value) {
        self.command(Command::SendV8(run, message));
    }

    /// Gives a connection to this very worker, as if it had come to the address with this port, or to the first that the
    /// worker listens on: to see whether it answers. One that it does not take is closed. `answer` is called from the
    /// cluster thread with whether it took it, as soon as it says so; not if it never does.
    pub fn ask(
        &self,
        run: RunId,
        port: Option<u16>,
        connection: OwnedFd,
        answer: impl Fn(bool) + Send + Sync + 'static,
    ) {
        self.command(Command::Ask(run, port, connection, Question(Arc::new(answer))));
    }

    /// Closes a worker's channel after what it was sent: it hears the end of it, and so does whoever is told of events.
    pub fn disconnect(&self, run: RunId) {
        self.command(Command::Disconnect(run));
    }

    /// The worker's process is gone. What it still wrote is read, connections it was offered go to others.
    pub fn remove_worker(&self, run: RunId) {
        self.command(Command::RemoveWorker(run));
    }

    /// The slot is given up: new connections go to others at once, so do those that come late for a minute; then its
    /// sockets are closed. A worker that comes for the slot before takes it back.
    pub fn retire_slot(&self, app: AppId, slot: SlotId) {
        self.command(Command::RetireSlot(app, slot));
    }

    /// Closes all listeners of the app and forgets it; answered by `Closed`. Its workers should be gone.
    pub fn close_app(&self, app: AppId) {
        self.command(Command::CloseApp(app));
    }

    /// Calls `answer` with what the app's listeners have seen, from the cluster thread.
    pub fn stats(&self, app: AppId, answer: impl FnOnce(Stats) + Send + 'static) {
        self.command(Command::Stats(app, Box::new(answer)));
    }

    /// Ends the thread at a moment when it holds nothing that is not kept or sent: before this process becomes another
    /// program. Returns when it has ended, or after a second.
    pub fn stop(&self) {
        let (stopped, ended) = sync_channel(1);
        self.command(Command::Stop(stopped));
        if ended.recv_timeout(Duration::from_secs(1)).is_err() {
            tracing::warn!("the cluster thread does not stop");
        }
    }

    /// Ends the thread as a kill would, for tests.
    #[doc(hidden)]
    pub fn abandon(&self) {
        self.command(Command::Abandon);
    }
}

fn wake(eventfd: &impl AsFd) {
    // It can only fail when the counter is full: then the thread is awake.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

fn run(mut primary: Primary, commands: &Receiver<Command>, wake: &OwnedFd) {
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| primary.run(commands, wake)));
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "the cluster thread cannot go on");
            std::process::abort();
        }
        // A supervisor without its cluster is worse than a new one, which the keeper starts at once.
        Err(_) => std::process::abort(),
    }
}
