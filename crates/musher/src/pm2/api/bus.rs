//! The bus: events, log lines and messages of workers, as PM2 puts them on its own.
//!
//! Three streams of the control API, read beside each other: what comes of one keeps its order. A caller that reads too
//! slowly loses the oldest events and messages at the supervisor, and is told so (`musher:lost`); log lines wait for it.
//! All three go on over the death of a supervisor; with the daemon the bus ends, and says `pm2:kill`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use musher_api::client::{Client, ClientError, EventStream, LogStreamReader, MessageStream};
use musher_api::{Cursor, Event, EventKind, LogLine, LogQuery, LogStream, OperationKind, WorkerMessage};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::args::Cli;
use crate::config::namesake;
use crate::failure::Failure;
use crate::pm2::processes::Processes;
use crate::pm2::view::Process;

/// Pause before a stream is opened again, and before workers are looked up again.
const AGAIN: Duration = Duration::from_millis(50);

/// What every stream needs.
struct Bus {
    client: Client,
    out: mpsc::Sender<String>,
    known: Mutex<Known>,
}

/// The workers as they were when they were last asked for.
struct Known {
    cli: Cli,
    processes: Option<Processes>,
    asked: Option<Instant>,
}

/// Nobody listens any more, or the daemon is gone.
struct Over;

/// Opens all three streams, and reads them in the background.
pub(super) async fn open(cli: Cli, client: Client, out: mpsc::Sender<String>) -> Result<JoinHandle<()>, Failure> {
    let events = client.events(None).await?;
    let mut messages = client.messages(None).await?;
    messages.opened().await?;
    let begin = LogQuery { lines: Some(0), ..followed() };
    let logs = client.logs(&begin).await?;
    let known = Mutex::new(Known { cli, processes: None, asked: None });
    let bus = Rc::new(Bus { client, out, known });
    bus.known.lock().await.ask().await;
    Ok(tokio::task::spawn_local(async move {
        // The end of one is the end of all: the daemon's, or the caller's.
        tokio::select! {
            _ = bus.events(events) => {}
            _ = bus.messages(messages) => {}
            _ = bus.logs(logs) => {}
        }
        let _ = bus.tell("pm2:kill", json!({ "status": "killed", "msg": "the daemon has ended" })).await;
    }))
}

fn followed() -> LogQuery {
    LogQuery { follow: true, ..LogQuery::default() }
}

/// Opens a stream that ended again, and again: until it is open, or the daemon gone.
async fn opened_again<T>(mut open: impl AsyncFnMut() -> Result<T, ClientError>) -> Result<T, Over> {
    loop {
        tokio::time::sleep(AGAIN).await;
        match open().await {
            Ok(stream) => return Ok(stream),
            Err(ClientError::NotRunning { .. }) => return Err(Over),
            Err(_) => {}
        }
    }
}

impl Bus {
    async fn tell(&self, event: &str, data: Value) -> Result<(), Over> {
        self.out.send(json!({ "event": event, "data": data }).to_string()).await.map_err(|_| Over)
    }

    async fn lost(&self, stream: &str, count: Option<u64>) -> Result<(), Over> {
        self.tell("musher:lost", json!({ "stream": stream, "count": count })).await
    }

    async fn events(&self, mut stream: EventStream) -> Result<(), Over> {
        let mut last = None;
        loop {
            while let Ok(Some(event)) = stream.next().await {
                self.event(&event).await?;
            }
            last = stream.last_id().or(last);
            stream = opened_again(async || self.client.events(last).await).await?;
        }
    }

    async fn messages(&self, mut stream: MessageStream) -> Result<(), Over> {
        let mut last = None;
        loop {
            while let Ok(Some(message)) = stream.next().await {
                last = Some(message.seq);
                self.message(message).await?;
            }
            stream = opened_again(async || self.client.messages(last.or(Some(0))).await).await?;
        }
    }

    async fn logs(&self, mut stream: LogStreamReader) -> Result<(), Over> {
        let mut since: Option<Cursor> = None;
        loop {
            while let Ok(Some(line)) = stream.next().await {
                since = Some(line.cursor);
                self.line(&line).await?;
            }
            let lines = if since.is_some() { None } else { Some(0) };
            let behind = LogQuery { since, lines, ..followed() };
            stream = opened_again(async || self.client.logs(&behind).await).await?;
        }
    }

    async fn line(&self, line: &LogLine) -> Result<(), Over> {
        let stream = match line.stream {
            LogStream::Out => "log:out",
            LogStream::Err => "log:err",
        };
        let process = self.brief(&line.app, line.slot).await;
        self.tell(stream, json!({ "process": process, "at": line.time_ms, "data": format!("{}\n", line.line) })).await
    }

    /// An object with a type and data is an event of that type; anything else is as it is.
    async fn message(&self, said: WorkerMessage) -> Result<(), Over> {
        if said.lost > 0 {
            self.lost("messages", Some(said.lost)).await?;
        }
        let process = self.brief(&said.app, said.slot).await;
        let mut message = said.message;
        let kind = message.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty()).map(str::to_owned);
        match (kind, message.get_mut("data").map(Value::take)) {
            (Some(kind), Some(data)) if is_truthy(&data) => {
                self.tell(&kind, json!({ "at": said.time_ms, "data": data, "process": process })).await
            }
            (_, data) => {
                if let Some(data) = data {
                    message["data"] = data;
                }
                self.tell("process:msg", json!({ "at": said.time_ms, "raw": message, "process": process })).await
            }
        }
    }

    async fn event(&self, event: &Event) -> Result<(), Over> {
        let (word, manually) = match (event.kind, event.operation, event.ok) {
            (EventKind::Lagged, ..) => return self.lost("events", None).await,
            (EventKind::Online, ..) => ("online", false),
            (EventKind::Exited, ..) => ("exit", false),
            (EventKind::Giveup, ..) => ("restart overlimit", false),
            (EventKind::OperationDone, Some(kind), Some(true)) => match kind {
                OperationKind::Start => ("start", true),
                OperationKind::Stop => ("stop", true),
                OperationKind::Restart => ("restart", true),
                OperationKind::Reload => ("reload", true),
                OperationKind::Delete => ("delete", true),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let Some(app) = &event.app else { return Ok(()) };
        let mut known = self.known.lock().await;
        // Of those that are gone now it is told how they were.
        let gone: Vec<Value> = known.environments(app, event.slot);
        known.renew(app, manually).await;
        let mut those = known.environments(app, event.slot);
        drop(known);
        if those.is_empty() {
            those = gone;
        }
        for process in those {
            let data = json!({ "event": word, "manually": manually, "process": process, "at": event.time_ms });
            self.tell("process:event", data).await?;
        }
        Ok(())
    }

    /// What a line or a message tells of its worker.
    async fn brief(&self, app: &str, slot: u32) -> Value {
        let mut known = self.known.lock().await;
        if known.of(app, Some(slot)).next().is_none() {
            known.refresh().await;
        }
        let process = known.of(app, Some(slot)).next();
        json!({
            "pm_id": process.map(|process| process.id),
            "name": namesake::shown(app),
            "rev": null,
            "namespace": process.map(|process| &process.app.spec.namespace),
        })
    }
}

impl Known {
    async fn ask(&mut self) {
        self.asked = Some(Instant::now());
        // A supervisor that is just being replaced tells it the next time.
        self.processes = Processes::ask(&self.cli).await.ok().or(self.processes.take());
    }

    /// Asks again, but not again and again in one moment.
    async fn refresh(&mut self) {
        if let Some(left) = self.asked.and_then(|asked| AGAIN.checked_sub(asked.elapsed())) {
            tokio::time::sleep(left).await;
        }
        self.ask().await;
    }

    /// Asks again for one app. `all`: for all, unless that was a moment ago: only that tells how often a command restarted each.
    async fn renew(&mut self, app: &str, all: bool) {
        let all = all && self.asked.is_none_or(|asked| asked.elapsed() >= AGAIN);
        let renewed = match &mut self.processes {
            Some(processes) if !all => processes.renew(app).await,
            _ => false,
        };
        if !renewed {
            self.refresh().await;
        }
    }

    fn of(&self, app: &str, slot: Option<u32>) -> impl Iterator<Item = &Process> {
        let all = self.processes.iter().flat_map(|processes| &processes.list);
        all.filter(move |one| one.app_name() == app && slot.is_none_or(|slot| slot == one.slot.row.slot))
    }

    fn environments(&self, app: &str, slot: Option<u32>) -> Vec<Value> {
        self.of(app, slot).map(Process::pm2_env).collect()
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => true,
    }
}
