//! The control API of musher: HTTP/1.1 and JSON on a unix socket.
//!
//! This crate owns the words on the wire and nothing else: the types of requests and answers, the table of [`ROUTES`],
//! the OpenAPI description made from both, and a [`client`]. It decides nothing and touches no process. Every face of
//! musher (command line, dashboard, Node module) speaks to the supervisor only in these types.
//!
//! Compatibility: within one [`API_VERSION`] fields are only added. A reader ignores fields it does not know; a
//! request with an unknown field is refused, so that a misspelt one is not silently without effect.

pub mod client;
pub mod metrics;

mod action;
mod app;
mod death;
mod error;
mod event;
mod input;
mod log;
mod message;
mod openapi;
mod routes;
mod settings;
mod status;
mod timestamp;

pub use action::{
    Action, ActionRequest, ActionResponse, Operation, OperationKind, OperationQuery, OperationRef, PlanAction,
    PlanStep, Progress, ResurrectRequest, SaveRequest, SaveResponse, SendRequest, SendResponse, ShutdownRequest,
    ShutdownResponse, StartRequest, StartResponse, UpgradeRequest, UpgradeResponse,
};
pub use app::{
    AppDetail, AppQuery, AppSummary, CanaryDetail, CustomAction, CustomMetric, Listener, LogFigures, LogFiles, Mode,
    REDACTED, RunDetail, RunPhase, RunState, ScheduleDetail, SlotDetail, SlotRow, SlotStatus, SlotsQuery, Traffic,
};
pub use death::{Death, LastMemory, OutOfMemory};
pub use error::{ApiError, ErrorCode};
pub use event::{Event, EventFilter, EventKind, EventsQuery, MAX_EVENTS};
pub use input::{InputRequest, InputResponse};
pub use log::{Cursor, LogLine, LogQuery, LogStream};
pub use message::{MessagesQuery, WorkerMessage};
pub use openapi::openapi;
pub use routes::{Body, Call, Method, Param, ParamPlace, ROUTES, Route};
pub use settings::{Settings, SettingsRequest};
pub use status::{ProcessStatus, Status};
pub use timestamp::rfc3339;

/// Version of the API: the `v1` of the paths.
pub const API_VERSION: u32 = 1;
/// The largest body of a request, in bytes.
pub const MAX_BODY: usize = 8 << 20;
/// The most specs in one start request.
pub const MAX_SPECS: usize = 1000;
/// The most targets in one request.
pub const MAX_TARGETS: usize = 1000;
/// The longest target or request id, in bytes.
pub const MAX_WORD: usize = 256;
/// The longest path of an executable, in bytes.
pub const MAX_PATH: usize = 4096;
/// The longest time that a poll of an operation is held open, in milliseconds.
pub const MAX_POLL_MS: u64 = 30_000;
/// The most that one request writes to a worker's standard input, in bytes.
pub const MAX_INPUT: usize = 64 << 10;
/// The most messages of workers that wait for a reader.
pub const MAX_KEPT_MESSAGES: usize = 1024;
/// The most that messages of workers that wait for a reader have together, in bytes.
pub const MAX_KEPT_MESSAGE_BYTES: usize = 4 << 20;
/// The most lines from the past that one log request gives.
pub const MAX_LOG_LINES: u32 = 100_000;
