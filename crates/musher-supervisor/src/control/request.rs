//! The channel between the control server and the driver.
//!
//! The driver owns the receiving end and answers each request through its [`Reply`]. A request whose reply is dropped
//! is answered as an internal error; a reply whose requester is gone may be ignored.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use musher_api::metrics::Metrics;
use musher_api::{
    ActionRequest, ActionResponse, ApiError, AppDetail, AppSummary, InputRequest, InputResponse, LogLine, LogQuery,
    Operation, ResurrectRequest, SaveRequest, SaveResponse, SendRequest, SendResponse, ShutdownRequest,
    ShutdownResponse, SlotRow, StartRequest, StartResponse, Status, UpgradeRequest, UpgradeResponse,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::driver::Figures;
use crate::metrics::{Telemetry, measure};
use crate::team::TeamWriter;

use super::events::Events;

/// How many requests may wait for the driver.
const QUEUE: usize = 64;
/// How long the driver may take to answer; it answers from memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long Node workers have for their first word of how they are.
const FIRST_PULSES: Duration = Duration::from_millis(400);

/// Where the driver puts its answer.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What the control server asks of the driver. Sizes, counts and the form of every value have been checked; specs
/// have passed [`musher_core::spec::AppSpec::check`] and have different names; targets are not empty. Whether a target
/// exists is the driver's to say, with [`ApiError::not_found`].
#[derive(Debug)]
pub enum Request {
    /// The state of musher itself.
    Status(Reply<Status>),
    /// The rows of the list, by app id and slot.
    Slots {
        /// Only these apps, names or ids; none: all.
        targets: Vec<String>,
        /// Whether workers are to tell how they are.
        pulse: bool,
        /// The rows.
        reply: Reply<Vec<SlotRow>>,
    },
    /// Every app in short, by id.
    Apps(Reply<Vec<AppSummary>>),
    /// One app in full, with all values of the environment: the server redacts them.
    App {
        /// Name or id.
        target: String,
        /// The app.
        reply: Reply<Box<AppDetail>>,
    },
    /// Make apps run as described.
    Start(Box<StartRequest>, Reply<StartResponse>),
    /// Act on apps that exist.
    Act(ActionRequest, Reply<ActionResponse>),
    /// Follow an operation. The driver keeps the sender and updates it; the receiver's current value is the state now.
    Operation {
        /// Id of the operation.
        id: u64,
        /// Its state, now and later.
        reply: Reply<watch::Receiver<Operation>>,
    },
    /// Send a message to Node workers.
    Send(SendRequest, Reply<SendResponse>),
    /// Write to the standard input of a worker.
    Input(InputRequest, Reply<InputResponse>),
    /// Write the list of apps where only a user changes it.
    Save(SaveRequest, Reply<SaveResponse>),
    /// What is known for the metrics.
    Figures(oneshot::Sender<Result<Figures, ApiError>>),
    /// Start what was saved and does not run.
    Resurrect(ResurrectRequest, Reply<StartResponse>),
    /// Become another executable.
    Upgrade(UpgradeRequest, Reply<UpgradeResponse>),
    /// Stop all apps, then end.
    Shutdown(ShutdownRequest, Reply<ShutdownResponse>),
}

/// The driver's end of the channel.
pub type Requests = mpsc::Receiver<Request>;

/// Reads what workers wrote. Implemented by the logs.
pub trait LogSource: Send + Sync {
    /// Begins to read and returns at once; lines go into `sink`, in the order of time, from a task or thread that ends
    /// when it has given everything (without `follow`) or when `sink` is closed. The query's bounds have been checked.
    ///
    /// # Errors
    ///
    /// When nothing can be read; an unknown target is [`ApiError::not_found`].
    fn read(&self, query: LogQuery, sink: mpsc::Sender<LogLine>) -> Result<(), ApiError>;
}

/// The control server's side: everything it needs of the daemon.
#[derive(Clone)]
pub struct DriverHandle {
    requests: mpsc::Sender<Request>,
    events: Events,
    logs: Arc<dyn LogSource>,
    team: Option<TeamWriter>,
    home: Option<PathBuf>,
    telemetry: Option<Telemetry>,
}

/// The channel: the handle for the server, the receiver for the driver. The driver keeps a clone of `events` and
/// publishes into it.
pub fn requests(events: Events, logs: Arc<dyn LogSource>) -> (DriverHandle, Requests) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (DriverHandle { requests: sender, events, logs, team: None, home: None, telemetry: None }, receiver)
}

impl DriverHandle {
    /// Asks the driver and waits for its answer.
    ///
    /// # Errors
    ///
    /// The driver's own; `unavailable` when the driver has ended.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(request(reply)).await.is_err() {
            return Err(ApiError::unavailable("the supervisor is stopping"));
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ApiError::internal("the supervisor dropped the request")),
            Err(_) => Err(ApiError::unavailable("the supervisor is busy")),
        }
    }

    /// From now on the end of an operation is told when the list on the disk knows what it did.
    pub(crate) fn write_through(&mut self, team: TeamWriter) {
        self.team = Some(team);
    }

    /// Waits until the list on the disk knows of everything so far; for a bounded time.
    pub(crate) async fn settle(&self) {
        if let Some(team) = &self.team {
            team.settle().await;
        }
    }

    /// From now on there are settings.
    pub(crate) fn set_by(&mut self, telemetry: Telemetry) {
        self.telemetry = Some(telemetry);
    }

    /// The settings.
    ///
    /// # Errors
    ///
    /// `unavailable`, when there are none.
    pub(crate) fn telemetry(&self) -> Result<&Telemetry, ApiError> {
        self.telemetry.as_ref().ok_or_else(|| ApiError::unavailable("there are no settings here"))
    }

    /// Every metric, measured now.
    ///
    /// # Errors
    ///
    /// The driver's.
    pub(crate) async fn metrics(&self) -> Result<Metrics, ApiError> {
        let mut figures = self.ask(Request::Figures).await?;
        if figures.incomplete {
            // Node workers say soon how they are, after the first question.
            tokio::time::sleep(FIRST_PULSES).await;
            figures = self.ask(Request::Figures).await?;
        }
        let events = self.events.counts();
        let measured = tokio::task::spawn_blocking(move || measure(&figures, &events)).await;
        measured.map_err(|error| ApiError::internal(format!("the metrics could not be measured: {error}")))
    }

    /// From now on events are read from the disk of this home, too.
    pub(crate) fn read_from(&mut self, home: PathBuf) {
        self.home = Some(home);
    }

    /// The home whose disk has the events that are not remembered any more.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.home.clone()
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    pub(crate) fn logs(&self) -> &dyn LogSource {
        &*self.logs
    }
}

impl std::fmt::Debug for DriverHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriverHandle").finish_non_exhaustive()
    }
}
