//! The table of routes: the one list from which the server's router, the client and the OpenAPI description are made.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::action::{
    ActionRequest, ActionResponse, Operation, ResurrectRequest, SaveRequest, SaveResponse, SendRequest, SendResponse,
    ShutdownRequest, ShutdownResponse, StartRequest, StartResponse, UpgradeRequest, UpgradeResponse,
};
use crate::app::{AppDetail, AppSummary, SlotRow};
use crate::event::Event;
use crate::input::{InputRequest, InputResponse};
use crate::log::LogLine;
use crate::message::WorkerMessage;
use crate::metrics::Metrics;
use crate::settings::{Settings, SettingsRequest};
use crate::status::Status;

/// One operation of the API.
#[derive(Debug)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path with parameters in braces.
    pub path: &'static str,
    /// What is called.
    pub call: Call,
    /// One sentence.
    pub summary: &'static str,
    /// Parameters in path and query.
    pub params: &'static [Param],
    /// Schema of the request's body.
    pub request: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// The answer.
    pub response: Body,
}

/// What can be called: one for each route. The server matches on it without a catch-all, so that a route without a
/// handler does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `GET /v1/status`
    Status,
    /// `GET /v1/slots`
    Slots,
    /// `GET /v1/apps`
    Apps,
    /// `POST /v1/apps`
    Start,
    /// `GET /v1/apps/{target}`
    App,
    /// `POST /v1/actions`
    Act,
    /// `GET /v1/operations/{id}`
    Operation,
    /// `POST /v1/messages`
    Send,
    /// `POST /v1/input`
    Input,
    /// `GET /v1/messages`
    Messages,
    /// `GET /v1/events`
    Events,
    /// `GET /v1/logs`
    Logs,
    /// `GET /v1/metrics`
    Metrics,
    /// `GET /v1/settings`
    Settings,
    /// `POST /v1/settings`
    Set,
    /// `POST /v1/upgrade`
    Upgrade,
    /// `POST /v1/shutdown`
    Shutdown,
    /// `POST /v1/save`
    Save,
    /// `POST /v1/resurrect`
    Resurrect,
    /// `GET /v1/openapi.json`
    OpenApi,
}

/// HTTP methods that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Changes something, once for each request id.
    Post,
}

/// A parameter.
#[derive(Debug)]
pub struct Param {
    /// Name.
    pub name: &'static str,
    /// Where it stands.
    pub place: ParamPlace,
    /// Type in the words of JSON Schema.
    pub kind: &'static str,
    /// What it means.
    pub summary: &'static str,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamPlace {
    /// In the path; always there.
    Path,
    /// In the query; may be left out.
    Query,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// One JSON document.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Server-sent events, each with one JSON document.
    EventStream(fn(&mut SchemaGenerator) -> Schema),
    /// JSON documents, one on each line.
    Lines(fn(&mut SchemaGenerator) -> Schema),
    /// A JSON document without a schema of its own.
    AnyJson,
}

impl Call {
    /// Name of the operation in the OpenAPI description.
    pub fn word(self) -> &'static str {
        match self {
            Call::Status => "status",
            Call::Slots => "slots",
            Call::Apps => "apps",
            Call::Start => "start",
            Call::App => "app",
            Call::Act => "act",
            Call::Operation => "operation",
            Call::Send => "send",
            Call::Input => "input",
            Call::Messages => "messages",
            Call::Events => "events",
            Call::Logs => "logs",
            Call::Metrics => "metrics",
            Call::Settings => "settings",
            Call::Set => "set",
            Call::Save => "save",
            Call::Resurrect => "resurrect",
            Call::Upgrade => "upgrade",
            Call::Shutdown => "shutdown",
            Call::OpenApi => "openapi",
        }
    }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn query(name: &'static str, kind: &'static str, summary: &'static str) -> Param {
    Param { name, place: ParamPlace::Query, kind, summary }
}

const fn path(name: &'static str, kind: &'static str, summary: &'static str) -> Param {
    Param { name, place: ParamPlace::Path, kind, summary }
}

/// Every route that the supervisor serves.
pub const ROUTES: &[Route] = &[
    Route {
        method: Method::Get,
        path: "/v1/status",
        call: Call::Status,
        summary: "The state of musher itself.",
        params: &[],
        request: None,
        response: Body::Json(schema::<Status>),
    },
    Route {
        method: Method::Get,
        path: "/v1/slots",
        call: Call::Slots,
        summary: "Every slot of every app: the rows of `musher list`.",
        params: &[
            query("target", "string", "Only the slots of these apps: names or ids with commas between them."),
            query("pulse", "boolean", "Whether Node cluster workers are to tell how they are."),
        ],
        request: None,
        response: Body::Json(schema::<Vec<SlotRow>>),
    },
    Route {
        method: Method::Get,
        path: "/v1/apps",
        call: Call::Apps,
        summary: "Every app in short.",
        params: &[],
        request: None,
        response: Body::Json(schema::<Vec<AppSummary>>),
    },
    Route {
        method: Method::Post,
        path: "/v1/apps",
        call: Call::Start,
        summary: "Make apps run as described; only differences are acted on.",
        params: &[],
        request: Some(schema::<StartRequest>),
        response: Body::Json(schema::<StartResponse>),
    },
    Route {
        method: Method::Get,
        path: "/v1/apps/{target}",
        call: Call::App,
        summary: "One app in full.",
        params: &[
            path("target", "string", "Name or id of the app."),
            query("env", "boolean", "Whether to show the values of environment variables."),
        ],
        request: None,
        response: Body::Json(schema::<AppDetail>),
    },
    Route {
        method: Method::Post,
        path: "/v1/actions",
        call: Call::Act,
        summary: "Start, stop, restart, reload, delete, scale or signal apps that exist, or tend their counts and logs.",
        params: &[],
        request: Some(schema::<ActionRequest>),
        response: Body::Json(schema::<ActionResponse>),
    },
    Route {
        method: Method::Get,
        path: "/v1/operations/{id}",
        call: Call::Operation,
        summary: "How far an operation is; can wait for a change.",
        params: &[
            path("id", "integer", "Id of the operation."),
            query("after", "integer", "Answer when the revision is greater than this, or the operation is done."),
            query("timeout_ms", "integer", "Answer after this time in any case, in milliseconds; at most 30000."),
        ],
        request: None,
        response: Body::Json(schema::<Operation>),
    },
    Route {
        method: Method::Post,
        path: "/v1/messages",
        call: Call::Send,
        summary: "Send a message to Node workers.",
        params: &[],
        request: Some(schema::<SendRequest>),
        response: Body::Json(schema::<SendResponse>),
    },
    Route {
        method: Method::Post,
        path: "/v1/input",
        call: Call::Input,
        summary: "Write to the standard input of a worker.",
        params: &[],
        request: Some(schema::<InputRequest>),
        response: Body::Json(schema::<InputResponse>),
    },
    Route {
        method: Method::Get,
        path: "/v1/messages",
        call: Call::Messages,
        summary: "What workers send from now on, in full.",
        params: &[
            query("target", "string", "Only the messages of this app: name or id."),
            query("since", "integer", "Begin with the kept messages after this one."),
        ],
        request: None,
        response: Body::Lines(schema::<WorkerMessage>),
    },
    Route {
        method: Method::Get,
        path: "/v1/events",
        call: Call::Events,
        summary: "What happens, as it happens, and what happened: `Last-Event-ID` or `since` goes on behind that event.",
        params: &[
            query("since", "integer", "Begin behind this event, with those that came since."),
            query("from_ms", "integer", "Begin with the events since this time, in milliseconds since 1970."),
            query("until_ms", "integer", "End with the events before this time, in milliseconds since 1970."),
            query("lines", "integer", "Begin with so many events from the past; at most 10000."),
            query("target", "string", "Names or ids of apps with commas between them."),
            query("kind", "string", "Kinds of events with commas between them."),
            query("follow", "boolean", "Whether to go on with what happens: yes, unless `until_ms` is given."),
        ],
        request: None,
        response: Body::EventStream(schema::<Event>),
    },
    Route {
        method: Method::Get,
        path: "/v1/logs",
        call: Call::Logs,
        summary: "What workers wrote, in the order of time.",
        params: &[
            query("target", "string", "Names or ids of apps with commas between them, or `all`."),
            query("lines", "integer", "How many lines from the past; at most 100000."),
            query("follow", "boolean", "Whether to go on with new lines as they come."),
            query("stream", "string", "`out` or `err`."),
            query("text", "string", "Only lines that contain this."),
            query("pattern", "string", "Only lines that match this regular expression."),
            query("since", "string", "Only lines behind this cursor."),
        ],
        request: None,
        response: Body::Lines(schema::<LogLine>),
    },
    Route {
        method: Method::Get,
        path: "/v1/metrics",
        call: Call::Metrics,
        summary: "Every metric, measured now. Node workers begin to count when it is asked, and go on for some minutes.",
        params: &[],
        request: None,
        response: Body::Json(schema::<Metrics>),
    },
    Route {
        method: Method::Get,
        path: "/v1/settings",
        call: Call::Settings,
        summary: "What is set for the daemon as a whole.",
        params: &[],
        request: None,
        response: Body::Json(schema::<Settings>),
    },
    Route {
        method: Method::Post,
        path: "/v1/settings",
        call: Call::Set,
        summary: "Set something for the daemon as a whole; it outlives every process.",
        params: &[],
        request: Some(schema::<SettingsRequest>),
        response: Body::Json(schema::<Settings>),
    },
    Route {
        method: Method::Post,
        path: "/v1/save",
        call: Call::Save,
        summary: "Keep the list of apps as it is now, for a later resurrection.",
        params: &[],
        request: Some(schema::<SaveRequest>),
        response: Body::Json(schema::<SaveResponse>),
    },
    Route {
        method: Method::Post,
        path: "/v1/resurrect",
        call: Call::Resurrect,
        summary: "Start the apps that were saved and do not run.",
        params: &[],
        request: Some(schema::<ResurrectRequest>),
        response: Body::Json(schema::<StartResponse>),
    },
    Route {
        method: Method::Post,
        path: "/v1/upgrade",
        call: Call::Upgrade,
        summary: "Replace supervisor and keeper by another executable; workers are not touched.",
        params: &[],
        request: Some(schema::<UpgradeRequest>),
        response: Body::Json(schema::<UpgradeResponse>),
    },
    Route {
        method: Method::Post,
        path: "/v1/shutdown",
        call: Call::Shutdown,
        summary: "Stop all apps, then end supervisor and keeper.",
        params: &[],
        request: Some(schema::<ShutdownRequest>),
        response: Body::Json(schema::<ShutdownResponse>),
    },
    Route {
        method: Method::Get,
        path: "/v1/openapi.json",
        call: Call::OpenApi,
        summary: "This description.",
        params: &[],
        request: None,
        response: Body::AnyJson,
    },
];
