//! The client of the control API.
//!
//! Each call makes its own connection, which on a unix socket costs nothing. The supervisor may be killed and replaced
//! at any moment: a call whose connection breaks is made again, with the same request id, until it is answered or
//! [`Client::PATIENCE`] is over. Streams are not: their reader knows where to go on.

mod connection;
mod error;
mod stream;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::Response;
use hyper::body::{Bytes, Incoming};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use self::connection::{ask, read};
use self::error::Attempt;
use crate::metrics::Metrics;
use crate::routes::Method;
use crate::{
    ActionRequest, ActionResponse, AppDetail, AppSummary, EventsQuery, InputRequest, InputResponse, LogQuery,
    Operation, OperationRef, ResurrectRequest, SaveRequest, SaveResponse, SendRequest, SendResponse, Settings,
    SettingsRequest, ShutdownRequest, ShutdownResponse, SlotRow, StartRequest, StartResponse, Status, UpgradeRequest,
    UpgradeResponse,
};

pub use self::error::ClientError;
pub use self::stream::{EventStream, LogStreamReader, MessageStream};

/// How long one poll of an operation is held open by the supervisor.
const POLL: Duration = Duration::from_secs(20);
/// The first pause between two attempts; each later one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A client of the supervisor behind one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// A new request id: 128 random bits.
pub fn request_id() -> String {
    let mut bytes = [0u8; 16];
    // getrandom(2) fails for no valid call; if it ever does, the time still tells requests apart.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = (now.as_nanos() ^ (u128::from(std::process::id()) << 96)).to_be_bytes();
    }
    bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Client {
    /// How long a call that has reached the supervisor once is tried again.
    pub const PATIENCE: Duration = Duration::from_secs(10);
    /// How long a socket that refuses is tried again, when a connection to it has just broken: the whole of musher
    /// being gone is more likely then.
    pub const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
    /// How long an answer may take.
    pub const ANSWER: Duration = Duration::from_secs(15);

    /// A client; nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The state of musher itself.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; the same for every call.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.read("/v1/status").await
    }

    /// The rows of the list.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn slots(&self, target: Option<&str>) -> Result<Vec<SlotRow>, ClientError> {
        match target {
            None => self.read("/v1/slots").await,
            Some(target) => self.read(&format!("/v1/slots?target={}", escape(target))).await,
        }
    }

    /// The rows of these apps, or of all, with what Node cluster workers tell of themselves.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn slots_with_pulse(&self, targets: &[String]) -> Result<Vec<SlotRow>, ClientError> {
        let target = if targets.is_empty() { String::new() } else { format!("&target={}", escape(&targets.join(","))) };
        self.read(&format!("/v1/slots?pulse=true{target}")).await
    }

    /// Every metric, measured now.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn metrics(&self) -> Result<Metrics, ClientError> {
        self.read("/v1/metrics").await
    }

    /// What is set for the daemon as a whole.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn settings(&self) -> Result<Settings, ClientError> {
        self.read("/v1/settings").await
    }

    /// Sets something for the daemon as a whole.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn set(&self, request: &SettingsRequest) -> Result<Settings, ClientError> {
        self.change("/v1/settings", request).await
    }

    /// Every app in short.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn apps(&self) -> Result<Vec<AppSummary>, ClientError> {
        self.read("/v1/apps").await
    }

    /// One app in full.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn app(&self, target: &str, with_env: bool) -> Result<AppDetail, ClientError> {
        self.read(&format!("/v1/apps/{}?env={with_env}", escape(target))).await
    }

    /// Makes apps run as described.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn start(&self, request: &StartRequest) -> Result<StartResponse, ClientError> {
        self.change("/v1/apps", request).await
    }

    /// Acts on apps that exist.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn act(&self, request: &ActionRequest) -> Result<ActionResponse, ClientError> {
        self.change("/v1/actions", request).await
    }

    /// Sends a message to Node workers.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn send(&self, request: &SendRequest) -> Result<SendResponse, ClientError> {
        self.change("/v1/messages", request).await
    }

    /// Writes to the standard input of a worker.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn input(&self, request: &InputRequest) -> Result<InputResponse, ClientError> {
        self.change("/v1/input", request).await
    }

    /// Keeps the list of apps as it is now.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn save(&self, request: &SaveRequest) -> Result<SaveResponse, ClientError> {
        self.change("/v1/save", request).await
    }

    /// Starts the apps that were saved and do not run.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn resurrect(&self, request: &ResurrectRequest) -> Result<StartResponse, ClientError> {
        self.change("/v1/resurrect", request).await
    }

    /// Stops everything.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn shutdown(&self, request: &ShutdownRequest) -> Result<ShutdownResponse, ClientError> {
        self.change("/v1/shutdown", request).await
    }

    /// Replaces supervisor and keeper by another executable.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn upgrade(&self, request: &UpgradeRequest) -> Result<UpgradeResponse, ClientError> {
        self.change("/v1/upgrade", request).await
    }

    /// How an operation stands, at once.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn operation(&self, id: u64) -> Result<Operation, ClientError> {
        self.read(&format!("/v1/operations/{id}")).await
    }

    /// Waits until an operation is done; tells every change of it. Wrap it in a timeout: it has none of its own.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]. That the operation failed is not an error here.
    pub async fn wait(
        &self,
        operation: &OperationRef,
        mut changed: impl FnMut(&Operation),
    ) -> Result<Operation, ClientError> {
        let mut now = self.operation(operation.id).await?;
        loop {
            changed(&now);
            if now.done {
                return Ok(now);
            }
            let path =
                format!("/v1/operations/{}?after={}&timeout_ms={}", operation.id, now.revision, POLL.as_millis());
            now = self.call(Method::Get, &path, Bytes::new(), POLL + Client::ANSWER).await?;
        }
    }

    /// What happens from now on, or after the event with the id `since`.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn events(&self, since: Option<u64>) -> Result<EventStream, ClientError> {
        let path = since.map_or_else(|| "/v1/events".to_owned(), |since| format!("/v1/events?since={since}"));
        Ok(EventStream::new(self.open(&path).await?))
    }

    /// What happened, and what happens, as the query says. A call again with the last id, `since`, goes on.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn events_of(&self, query: &EventsQuery) -> Result<EventStream, ClientError> {
        let mut path = format!("/v1/events?follow={}", query.follows());
        let numbers = [
            ("since", query.since),
            ("from_ms", query.from_ms),
            ("until_ms", query.until_ms),
            ("lines", query.lines.map(u64::from)),
        ];
        for (key, number) in numbers.into_iter().filter_map(|(key, number)| Some((key, number?))) {
            path.push_str(&format!("&{key}={number}"));
        }
        for (key, words) in [("target", &query.target), ("kind", &query.kind)] {
            if let Some(words) = words {
                path.push_str(&format!("&{key}={}", escape(words)));
            }
        }
        Ok(EventStream::new(self.open(&path).await?))
    }

    /// What workers wrote.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn logs(&self, query: &LogQuery) -> Result<LogStreamReader, ClientError> {
        let mut path = format!("/v1/logs?follow={}", query.follow);
        let mut add = |key: &str, value: &dyn std::fmt::Display| {
            path.push_str(&format!("&{key}={}", escape(&value.to_string())));
        };
        if let Some(target) = &query.target {
            add("target", target);
        }
        if let Some(lines) = &query.lines {
            add("lines", lines);
        }
        if let Some(stream) = query.stream {
            add("stream", &stream.word());
        }
        if let Some(text) = &query.text {
            add("text", text);
        }
        if let Some(pattern) = &query.pattern {
            add("pattern", pattern);
        }
        if let Some(since) = &query.since {
            add("since", since);
        }
        Ok(LogStreamReader::new(self.open(&path).await?))
    }

    /// What workers send from now on, or after the message with the number `since`.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn messages(&self, since: Option<u64>) -> Result<MessageStream, ClientError> {
        let path = since.map_or_else(|| "/v1/messages".to_owned(), |since| format!("/v1/messages?since={since}"));
        Ok(MessageStream::new(self.open(&path).await?))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::Get, path, Bytes::new(), Client::ANSWER).await
    }

    async fn change<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Protocol(error.to_string()))?;
        self.call(Method::Post, path, Bytes::from(body), Client::ANSWER).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        answer: Duration,
    ) -> Result<T, ClientError> {
        let mut persistence = Persistence::new(&self.socket);
        loop {
            let attempt = timeout(answer, async { read(ask(&self.socket, method, path, body.clone()).await?).await });
            if let Some(body) = persistence.judge(attempt.await).await? {
                return serde_json::from_slice(&body).map_err(|error| ClientError::Protocol(error.to_string()));
            }
        }
    }

    async fn open(&self, path: &str) -> Result<Response<Incoming>, ClientError> {
        let mut persistence = Persistence::new(&self.socket);
        loop {
            let attempt = timeout(Client::ANSWER, ask(&self.socket, Method::Get, path, Bytes::new()));
            if let Some(response) = persistence.judge(attempt.await).await? {
                return Ok(response);
            }
        }
    }
}

/// Whether a failed attempt is followed by another.
struct Persistence<'a> {
    socket: &'a Path,
    start: Instant,
    /// When the attempt that is judged next began.
    attempt: Instant,
    /// Since when every connection has broken at once. Patience counts from there: a supervisor that held a connection
    /// open for a while was there, and the wait for an operation may be long.
    broken_since: Option<Instant>,
    /// When one last broke.
    broke_at: Option<Instant>,
    pause: Duration,
}

impl<'a> Persistence<'a> {
    fn new(socket: &'a Path) -> Persistence<'a> {
        let now = Instant::now();
        Persistence { socket, start: now, attempt: now, broken_since: None, broke_at: None, pause: FIRST_PAUSE }
    }

    /// The value of an attempt; none after a pause, when another one shall be made.
    async fn judge<T>(&mut self, attempt: Result<Result<T, Attempt>, Elapsed>) -> Result<Option<T>, ClientError> {
        match attempt {
            Ok(Ok(value)) => return Ok(Some(value)),
            Ok(Err(Attempt::Final(error))) => return Err(error),
            Ok(Err(Attempt::Refused)) => {
                if self.broke_at.is_none_or(|at| at.elapsed() > Client::REFUSAL_PATIENCE) {
                    return Err(ClientError::NotRunning { socket: self.socket.to_owned() });
                }
            }
            Ok(Err(Attempt::Broken(last))) => {
                let now = Instant::now();
                self.broke_at = Some(now);
                if now - self.attempt > Client::REFUSAL_PATIENCE {
                    (self.broken_since, self.pause) = (None, FIRST_PAUSE);
                }
                let after = now - *self.broken_since.get_or_insert(now);
                if after > Client::PATIENCE {
                    return Err(ClientError::Lost { after, last });
                }
            }
            Err(_) => {
                return Err(ClientError::Lost { after: self.start.elapsed(), last: "no answer in time".into() });
            }
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.attempt = Instant::now();
        Ok(None)
    }
}

/// `text` as it may stand in a path or query (RFC 3986, section 2.3).
fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::{Attempt, Client, ClientError, Persistence, escape, request_id};

    #[tokio::test]
    async fn a_supervisor_that_dies_after_a_long_wait_is_asked_again() {
        let mut persistence = Persistence::new(Path::new("socket"));
        let long_ago = Instant::now() - 2 * Client::PATIENCE;
        let broken = || Ok(Err(Attempt::Broken("connection closed".into())));
        for _ in 0..2 {
            (persistence.attempt, persistence.broken_since) = (long_ago, Some(long_ago));
            assert!(matches!(persistence.judge::<()>(broken()).await, Ok(None)), "the wait was no silence");
        }
        persistence.broken_since = Some(long_ago);
        let lost = persistence.judge::<()>(broken()).await;
        assert!(matches!(lost, Err(ClientError::Lost { after, .. }) if after > Client::PATIENCE), "{lost:?}");
    }

    #[test]
    fn what_has_a_meaning_in_a_path_is_escaped() {
        assert_eq!(escape("web-1.é /?#%"), "web-1.%C3%A9%20%2F%3F%23%25");
    }

    #[test]
    fn request_ids_differ() {
        assert_eq!(request_id().len(), 32);
        assert_ne!(request_id(), request_id());
    }
}
