//! A server on a socket of its own, a driver that answers from constants, and a peer that writes raw bytes.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use musher_api::client::Client;
use musher_api::{
    ActionResponse, ApiError, AppDetail, AppSummary, Cursor, InputResponse, LogFigures, LogFiles, LogLine, LogQuery,
    LogStream, Mode, Operation, OperationKind, OperationRef, PlanAction, PlanStep, ProcessStatus, Progress,
    SaveResponse, SendResponse, ShutdownResponse, SlotRow, SlotStatus, StartResponse, Status, UpgradeResponse,
};
use musher_core::spec::{AppSpec, Balance, Exec, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use crate::control::{Events, LogSource, Request, Requests, requests, serve};
use crate::driver::Figures;

/// Long enough for anything that is going to happen at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A server that runs in the test's runtime.
pub(super) struct Fake {
    _directory: tempfile::TempDir,
    pub(super) socket: PathBuf,
    pub(super) client: Client,
    pub(super) events: Events,
    pub(super) operation: watch::Sender<Operation>,
    pub(super) logs: Arc<Lines>,
}

/// Logs with three lines; with `follow` they stay open.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) asked: Mutex<Vec<LogQuery>>,
    pub(super) open: Mutex<Vec<mpsc::Sender<LogLine>>>,
}

impl LogSource for Lines {
    fn read(&self, query: LogQuery, sink: mpsc::Sender<LogLine>) -> Result<(), ApiError> {
        if query.target.as_deref() == Some("nobody") {
            return Err(ApiError::not_found("there is no app \"nobody\""));
        }
        for n in 1..=3 {
            sink.try_send(line(n)).unwrap();
        }
        if query.follow {
            self.open.lock().unwrap().push(sink);
        }
        self.asked.lock().unwrap().push(query);
        Ok(())
    }
}

impl Fake {
    pub(super) fn start() -> Fake {
        Fake::with(Events::new(), None)
    }

    /// One whose events are on the disk of a home, too.
    pub(super) fn of_home(home: &std::path::Path) -> Fake {
        Fake::with(Events::of_home(home), Some(home.to_owned()))
    }

    fn with(events: Events, home: Option<PathBuf>) -> Fake {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let logs = Arc::new(Lines::default());
        let (mut handle, asked) = requests(events.clone(), logs.clone());
        home.into_iter().for_each(|home| handle.read_from(home));
        let operation = watch::Sender::new(operation(1, false));
        tokio::spawn(serve(listener, handle));
        tokio::spawn(drive(asked, operation.clone()));
        Fake { _directory: directory, client: Client::new(&socket), socket, events, operation, logs }
    }

    /// Sends raw bytes; gives all that comes back until the server closes or has answered.
    pub(super) async fn raw(&self, bytes: impl Into<Vec<u8>>) -> String {
        let (socket, bytes) = (self.socket.clone(), bytes.into());
        tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // The server may close before it has read everything.
            let _ = stream.write_all(&bytes);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
        .unwrap()
    }

    /// Sends the beginning of a request and then nothing more; in this runtime, so that its clock knows who is idle.
    pub(super) async fn slow(&self, bytes: &str) -> String {
        let mut stream = tokio::net::UnixStream::connect(&self.socket).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request whose connection the server closes after the answer.
    pub(super) async fn request(&self, method: &str, path: &str, body: &str) -> String {
        let length = body.len();
        self.raw(format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }
}

async fn drive(mut asked: Requests, operation: watch::Sender<Operation>) {
    let begun = || vec![OperationRef { id: 7, app: "web".into() }];
    // What a reply's receiver does with it is the test's matter.
    while let Some(request) = asked.recv().await {
        match request {
            Request::Status(reply) => drop(reply.send(Ok(status()))),
            Request::Slots { targets, reply, .. } => {
                let known = targets.iter().try_for_each(|target| known(Some(target)));
                drop(reply.send(known.map(|()| vec![row()])));
            }
            Request::Input(input, reply) => {
                drop(reply.send(Ok(InputResponse { bytes: input.text.len(), pid: 99 })));
            }
            Request::Apps(reply) => drop(reply.send(Ok(vec![summary()]))),
            Request::App { target, reply } => drop(reply.send(known(Some(&target)).map(|()| Box::new(detail())))),
            Request::Start(start, reply) => {
                let plan = start.specs.iter().map(step).collect();
                drop(reply.send(Ok(StartResponse { plan, operations: begun() })));
            }
            Request::Act(act, reply) => {
                let known = act.targets.iter().try_for_each(|target| known(Some(target)));
                drop(reply.send(known.map(|()| ActionResponse { operations: begun() })));
            }
            Request::Operation { id, reply } => drop(reply.send(match id {
                7 => Ok(operation.subscribe()),
                _ => Err(ApiError::not_found(format!("there is no operation {id}"))),
            })),
            Request::Send(_, reply) => drop(reply.send(Ok(SendResponse { workers: 2 }))),
            Request::Save(_, reply) => {
                drop(reply.send(Ok(SaveResponse { apps: 1, path: "/h/saved.list".into() })));
            }
            Request::Figures(reply) => {
                drop(reply.send(Ok(Figures { apps: Vec::new(), own: Vec::new(), incomplete: false })));
            }
            Request::Resurrect(_, reply) => {
                drop(reply.send(Ok(StartResponse { plan: Vec::new(), operations: begun() })));
            }
            Request::Upgrade(_, reply) => {
                drop(reply.send(Ok(UpgradeResponse { operation: begun().pop(), from: "0.1.0".into() })));
            }
            Request::Shutdown(_, reply) => {
                drop(reply.send(Ok(ShutdownResponse { apps: vec!["web".into()], supervisor_pid: 2, keeper_pid: 1 })))
            }
        }
    }
}

fn known(target: Option<&str>) -> Result<(), ApiError> {
    match target {
        None | Some("web" | "0" | "all") => Ok(()),
        Some(other) => Err(ApiError::not_found(format!("there is no app {other:?}"))),
    }
}

pub(super) fn spec(name: &str) -> AppSpec {
    let exec = Exec { program: "/bin/true".into(), args: Vec::new(), script: None, runtime: Runtime::Plain };
    let mut spec = AppSpec::new(name, exec, "/");
    spec.env.insert("TOKEN".into(), "secret".into());
    spec.base_env.insert("PATH".into(), "/secret/bin".into());
    spec
}

pub(super) fn operation(revision: u64, done: bool) -> Operation {
    Operation {
        id: 7,
        app: "web".into(),
        app_id: 0,
        kind: OperationKind::Start,
        revision,
        done,
        ok: done,
        error: None,
        death: None,
        slot: None,
        progress: Progress { ready: 0, total: 2, text: String::new() },
    }
}

pub(super) fn line(n: u64) -> LogLine {
    LogLine {
        cursor: Cursor(1_700_000_000_000_000_000 + n),
        time_ms: 1_700_000_000_000,
        app: "web".into(),
        slot: 0,
        run: 3,
        pid: 99,
        stream: LogStream::Out,
        line: format!("line {n} \u{1b}[31m \n? \u{fffd}"),
    }
}

fn step(spec: &AppSpec) -> PlanStep {
    PlanStep {
        app: spec.name.clone(),
        action: PlanAction::Start,
        changed: Vec::new(),
        instances_before: 0,
        instances_after: spec.instances,
    }
}

fn status() -> Status {
    let process = |pid| ProcessStatus { pid, uptime_ms: 5, memory_bytes: 1 << 20, version: "0.1.0".into() };
    Status {
        version: "0.1.0".into(),
        api_version: 1,
        home: "/home".into(),
        supervisor: process(2),
        keeper: process(1),
        apps: 1,
        workers: 1,
    }
}

fn row() -> SlotRow {
    SlotRow {
        app: "web".into(),
        id: 0,
        slot: 0,
        pid: Some(99),
        status: SlotStatus::Online,
        restarts: 0,
        uptime_ms: 1000,
        memory_bytes: 1 << 20,
        cpu_percent: 0.5,
        mode: Mode::Fork,
        generation: 1,
        draining: Vec::new(),
        successor_pid: None,
        retry_in_ms: None,
        pulse: None,
        starts_in_ms: None,
    }
}

fn summary() -> AppSummary {
    AppSummary {
        app: "web".into(),
        id: 0,
        namespace: "default".into(),
        mode: Mode::Fork,
        running: true,
        instances: 1,
        online: 1,
        restarts: 0,
        memory_bytes: 1 << 20,
        cpu_percent: 0.5,
        generation: 1,
        program: "/bin/true".into(),
    }
}

fn detail() -> AppDetail {
    AppDetail {
        app: "web".into(),
        id: 0,
        spec: spec("web"),
        mode: Mode::Fork,
        balance: Balance::Shared,
        running: true,
        generation: 1,
        added_ms: 1_700_000_000_000,
        slots: Vec::new(),
        listeners: Vec::new(),
        log_files: LogFiles {
            out: "/out".into(),
            err: "/err".into(),
            combined: None,
            per_worker: false,
            figures: LogFigures::default(),
        },
        schedule: None,
        waits_for: Vec::new(),
        canary: None,
        operation: None,
    }
}
