//! A Rust program as a primary: it forks workers, hears what happens to them, and may have a team of them kept up.
//!
//! The listeners, who gets a connection, and the channels are those of the daemon ([`Cluster`]); so is everything that is
//! decided about a team ([`lifecycle::App`]). Here is what brings them together in one task:
//!
//! - [`settings`]: what is forked. [`member`]: a worker. [`process`]: its process. [`event`]: what happens.
//! - [`table`]: all workers, and how events change it.
//! - [`keeping`]: a team that is kept up, replaced and scaled; [`plan`]: by which rules. [`vitals`]: how its workers are. [`leftovers`]: what
//!   descends from them.

mod event;
mod keeping;
mod leftovers;
mod member;
mod plan;
mod process;
mod settings;
mod table;
mod vitals;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use musher_core::Time;
use musher_core::ids::RunId;
use musher_process::ExitStatus;
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Notify, mpsc};

pub use self::event::{Address, Event, Told};
pub use self::keeping::Team;
pub use self::member::{Worker, WorkerState};
pub use self::plan::{Plan, ReadyOn, TeamError};
pub use self::process::Process;
pub use self::settings::{Scheduling, Settings};
use self::table::Table;
use crate::cluster::{Cluster, FdStore, Stats};
use crate::event::ClusterEvent;
pub use crate::message::AddressType;
use crate::readiness;

/// Events that a reader of [`Events`] may be behind.
const KEPT: usize = 4096;
/// Events between the cluster thread and us. When they are not taken it stops reading the workers.
const QUEUED: usize = 256;

/// What is told of runs.
type OfRuns<T> = mpsc::Receiver<(RunId, T)>;
type Handler = Arc<dyn Fn(&Event) + Send + Sync>;

/// A program that forks workers: Node's `cluster` in a primary. Copies mean the same; when the last is dropped the
/// workers' channels are closed, which ends them.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use musher_cluster::{Event, Settings};
/// let cluster = musher_cluster::setup_primary(Settings::new())?;
/// cluster.on(|event| {
///     if let Event::Exit { worker, status } = event {
///         eprintln!("worker {} ended: {status}", worker.id());
///     }
/// });
/// for _ in 0..4 {
///     cluster.fork()?;
/// }
/// cluster.broadcast("hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Primary {
    shared: Arc<Shared>,
}

/// What all handles and the task have.
struct Shared {
    cluster: Cluster,
    table: Table,
    handlers: std::sync::Mutex<Vec<Handler>>,
    streams: broadcast::Sender<Event>,
    /// Events wait to be told.
    wake: Arc<Notify>,
    exits: mpsc::Sender<(RunId, ExitStatus)>,
    /// Workers that exceed a limit, and which.
    unfit: mpsc::Sender<(RunId, String)>,
}

/// Makes this process a primary that forks what `settings` say; Node's `cluster.setupPrimary`. Needs a tokio runtime,
/// within which the primary's task runs; a thread of its own has the listeners and channels.
///
/// # Errors
///
/// The program is not there, or the system has no descriptors or threads left.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Settings, setup_primary};
/// let cluster = setup_primary(Settings::program("true"))?;
/// assert!(cluster.fork()?.exited().await.is_success());
///
/// let error = setup_primary(Settings::program("no-such-program")).unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
pub fn setup_primary(settings: Settings) -> io::Result<Primary> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(io::Error::other("a primary needs a tokio runtime: call this from within one"));
    }
    let (sink, cluster_events) = mpsc::channel(QUEUED);
    let (exits, exited) = mpsc::channel(QUEUED);
    let (unfit, found_unfit) = mpsc::channel(QUEUED);
    let wake = Arc::new(Notify::new());
    let cluster = Cluster::start(Arc::new(Nowhere), sink)?;
    let table = Table::new(&cluster, settings.complete()?);
    let shared = Arc::new(Shared {
        cluster,
        table,
        handlers: std::sync::Mutex::default(),
        streams: broadcast::Sender::new(KEPT),
        wake: Arc::clone(&wake),
        exits,
        unfit,
    });
    tokio::spawn(follow(Arc::downgrade(&shared), cluster_events, (exited, found_unfit), wake));
    Ok(Primary { shared })
}

impl Primary {
    /// What is forked from now on. The event is `setup`.
    ///
    /// # Errors
    ///
    /// The program is not there.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// cluster.setup(Settings::program("sh").args(["-c", "exit 3"]))?;
    /// assert_eq!(cluster.settings().args.len(), 2);
    /// assert_eq!(cluster.fork()?.exited().await.to_string(), "exit code 3");
    /// # Ok(())
    /// # }
    /// ```
    pub fn setup(&self, settings: Settings) -> io::Result<()> {
        self.shared.table.setup(settings.complete()?);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// What is forked now.
    ///
    /// Node's `cluster.settings`: what was set with everything looked up, so that `exec_path` and `cwd` are absolute.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("true").args(["--help"]))?;
    /// assert!(cluster.settings().exec_path.is_absolute() && cluster.settings().cwd.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.table.settings()
    }

    /// Forks a worker.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    /// // Any program can be a worker. This one says something over its channel, descriptor 3, and ends.
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo '\"hello\"' >&3"]))?;
    /// let worker = cluster.fork()?;
    /// assert_eq!(worker.messages().next().await.ok_or("no message")?.value, "hello");
    /// assert!(worker.exited().await.is_success());
    /// # Ok(())
    /// # }
    /// ```
    pub fn fork(&self) -> io::Result<Worker> {
        self.fork_with(std::iter::empty::<(OsString, OsString)>())
    }

    /// Forks a worker with these variables in its environment besides the others.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo \"\\\"$NAME\\\"\" >&3"]))?;
    /// let worker = cluster.fork_with([("NAME", "one")])?;
    /// assert_eq!(worker.messages().next().await.ok_or("no message")?.value, "one");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fork_with<N: Into<OsString>, V: Into<OsString>>(
        &self,
        env: impl IntoIterator<Item = (N, V)>,
    ) -> io::Result<Worker> {
        let env: BTreeMap<OsString, OsString> =
            env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.shared.table.fork(&self.shared, &env)
    }

    /// The workers that are neither dead nor asked to leave, by number.
    ///
    /// Node's `cluster.workers`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "read line <&3"]))?;
    /// let first = cluster.fork()?;
    /// cluster.fork()?;
    /// first.kill(9)?;
    /// first.exited().await;
    /// assert_eq!(cluster.workers().into_keys().collect::<Vec<_>>(), [2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn workers(&self) -> BTreeMap<u32, Worker> {
        self.shared.table.workers()
    }

    /// Sends a message to every worker that is connected. To how many.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "read line <&3; echo \"$line\" >&3"]))?;
    /// let workers = [cluster.fork()?, cluster.fork()?];
    /// assert_eq!(cluster.workers().len(), 2);
    /// assert_eq!(cluster.broadcast("ping"), 2);
    /// for worker in workers {
    ///     assert_eq!(worker.messages().next().await.ok_or("no message")?.value, "ping");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn broadcast(&self, message: impl Into<Value>) -> usize {
        let message = message.into();
        self.shared.table.connected().into_iter().filter(|worker| worker.send(message.clone()).is_ok()).count()
    }

    /// Calls `handler` with every event from now on, in order, in the primary's task: it must not block. It may fork, send
    /// and disconnect.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Event, Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// let (told, mut ends) = tokio::sync::mpsc::channel(8);
    /// cluster.on(move |event| {
    ///     if let Event::Exit { worker, status } = event {
    ///         let _ = told.try_send((worker.id(), status.is_success()));
    ///     }
    /// });
    /// cluster.fork()?;
    /// assert_eq!(ends.recv().await, Some((1, true)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on(&self, handler: impl Fn(&Event) + Send + Sync + 'static) {
        self.shared.handlers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Arc::new(handler));
        // What has happened before the first of them is told now: `setup`, which nothing else may follow.
        self.shared.wake.notify_one();
    }

    /// A stream of the events from now on. A reader that is more than 4096 events behind gets [`Event::Missed`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Event, Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// let mut events = cluster.events();
    /// cluster.fork()?;
    /// let mut names = Vec::new();
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         Event::Fork(_) => names.push("fork"),
    ///         Event::Disconnect(_) => names.push("disconnect"),
    ///         Event::Exit { .. } => break,
    ///         _ => {}
    ///     }
    /// }
    /// assert_eq!(names, ["fork", "disconnect"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        let events = Events(self.shared.streams.subscribe());
        self.shared.wake.notify_one();
        events
    }

    /// Asks all workers to disconnect and waits until they have; Node's `cluster.disconnect(callback)`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "read line <&3"]))?;
    /// let worker = cluster.fork()?;
    /// cluster.disconnect().await;
    /// assert!(cluster.workers().is_empty());
    /// worker.exited().await;
    /// assert_eq!(worker.exited_after_disconnect(), Some(true));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn disconnect(&self) {
        let all = self.shared.table.connected();
        for worker in &all {
            worker.disconnect();
        }
        for worker in all {
            worker.disconnected().await;
        }
    }

    /// What the listeners have seen.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// assert_eq!(cluster.stats().await.queued, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stats(&self) -> Stats {
        let (sender, answer) = tokio::sync::oneshot::channel();
        self.shared.cluster.stats(table::APP, move |stats| drop(sender.send(stats)));
        answer.await.unwrap_or_default()
    }

    /// Forks a team and keeps it up by the rules of `plan`: workers that die are replaced (restarts are limited, as in the
    /// daemon, by the same code), and all can be replaced without a refused connection. Completes when all are ready.
    /// One primary has one team; workers that were forked by hand are not part of it.
    ///
    /// # Errors
    ///
    /// A worker did not become ready; the team is stopped then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Plan, ReadyOn, Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo '\"ready\"' >&3; read line <&3"]))?;
    /// let team = cluster.keep(Plan::new(2).ready(ReadyOn::Message)).await?;
    /// assert_eq!(team.ready(), (2, 2));
    /// team.reload(None).await?;
    /// team.scale(1).await?;
    /// team.stop().await?;
    /// assert!(cluster.workers().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn keep(&self, plan: Plan) -> Result<Team, TeamError> {
        keeping::keep(self, plan).await
    }
}

impl std::fmt::Debug for Primary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Primary").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

/// Events in order: see [`Primary::events`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Event, Settings, setup_primary};
/// let cluster = setup_primary(Settings::program("true"))?;
/// let mut events = cluster.events();
/// let forked = cluster.fork()?;
/// assert!(matches!(events.next().await, Some(Event::Setup(settings)) if settings.exec_path.ends_with("true")));
/// assert!(matches!(events.next().await, Some(Event::Fork(worker)) if worker == forked));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event; none when the primary is gone.
    ///
    /// It may be dropped before it is ready (in `select!`): no event is lost by that.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// A primary that dies leaves nothing: its workers end with it, as Node's do.
struct Nowhere;

impl FdStore for Nowhere {
    fn put(&self, _: &str, _: BorrowedFd<'_>) {}
    fn put_bytes(&self, _: &str, _: &[u8]) {}
    fn remove(&self, _: &str) {}
}

/// Follows what happens until no handle of the primary is left.
async fn follow(
    shared: Weak<Shared>,
    mut cluster_events: mpsc::Receiver<ClusterEvent>,
    (mut exits, mut unfit): (OfRuns<ExitStatus>, OfRuns<String>),
    wake: Arc<Notify>,
) {
    loop {
        let deadline = match shared.upgrade() {
            Some(shared) => shared.table.next_deadline(),
            None => return,
        };
        tokio::select! {
            event = cluster_events.recv() => {
                let (Some(event), Some(shared)) = (event, shared.upgrade()) else { return };
                shared.table.heard(&shared, event);
            }
            Some((run, status)) = exits.recv() => {
                let Some(shared) = shared.upgrade() else { return };
                shared.table.exited(&shared, run, status);
            }
            Some((run, reason)) = unfit.recv() => {
                let Some(shared) = shared.upgrade() else { return };
                shared.table.unfit(&shared, run, reason);
            }
            () = wake.notified() => {}
            () = until(deadline) => {
                let Some(shared) = shared.upgrade() else { return };
                shared.table.tick(&shared);
            }
        }
        if let Some(shared) = shared.upgrade() {
            shared.tell();
        }
    }
}

impl Shared {
    /// Tells what has happened. What a handler does is told in the next round.
    fn tell(&self) {
        while let Some(event) = self.table.next_event() {
            let handlers = self.handlers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            for handler in handlers {
                handler(&event);
            }
            // Nobody reads.
            let _ = self.streams.send(event);
        }
    }

    /// Has somebody wait for the end of a process.
    fn await_exit(&self, run: RunId, pidfd: OwnedFd) {
        let exits = self.exits.clone();
        tokio::spawn(async move {
            let status = readiness::end_of(pidfd).await.unwrap_or_else(|error| {
                tracing::error!(%error, "the end of a worker cannot be seen");
                ExitStatus::Unknown
            });
            // The primary is gone.
            let _ = exits.send((run, status)).await;
        });
    }
}

/// On the clock of all deadlines.
fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Time(seconds * 1000 + u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0))
}

async fn until(deadline: Option<Time>) {
    match deadline {
        // A millisecond more: the clock's part of one is cut off.
        Some(deadline) => tokio::time::sleep(deadline.since(now()) + Duration::from_millis(1)).await,
        None => pending().await,
    }
}
