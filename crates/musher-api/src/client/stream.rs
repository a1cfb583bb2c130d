//! Answers that go on: events and log lines.

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;

use super::error::ClientError;
use crate::{Event, LogLine, WorkerMessage};

/// The longest line of a stream; log lines are shorter by far.
const MAX_LINE: usize = 16 << 20;

/// The lines of a body as they come.
#[derive(Debug)]
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer.
    start: usize,
    /// Up to where the buffer has been searched for an end of line.
    searched: usize,
}

/// Events as they come. It ends when the supervisor does: [`super::Client::events`] again, with the last id, goes on.
#[derive(Debug)]
pub struct EventStream {
    lines: Lines,
    data: String,
    last_id: Option<u64>,
}

/// Log lines as they come. Without `follow` it ends by itself.
#[derive(Debug)]
pub struct LogStreamReader {
    lines: Lines,
}

/// Messages of workers as they come. It ends when the supervisor does: [`super::Client::messages`] again goes on.
#[derive(Debug)]
pub struct MessageStream {
    lines: Lines,
}

impl Lines {
    fn new(response: Response<Incoming>) -> Lines {
        Lines { body: response.into_body(), buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// The next line without its end; none at the end of the body. `Lost` when the connection broke.
    async fn next(&mut self) -> Result<Option<&[u8]>, ClientError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let (start, end) = (self.start, self.searched + at);
                self.start = end + 1;
                self.searched = self.start;
                return Ok(Some(&self.buffer[start..end]));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(ClientError::Protocol(format!("a line is longer than {MAX_LINE} bytes")));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.buffer.extend_from_slice(bytes);
                    }
                }
                Some(Err(error)) => {
                    return Err(ClientError::Lost { after: std::time::Duration::ZERO, last: error.to_string() });
                }
            }
        }
    }
}

impl EventStream {
    pub(super) fn new(response: Response<Incoming>) -> EventStream {
        EventStream { lines: Lines::new(response), data: String::new(), last_id: None }
    }

    /// The id to go on behind with another call.
    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// The next event; none when the supervisor has ended.
    ///
    /// # Errors
    ///
    /// `Lost` when the connection broke, `Protocol` when it is no event.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        // https://html.spec.whatwg.org/multipage/server-sent-events.html, as much of it as the supervisor uses.
        while let Some(line) = self.lines.next().await? {
            let line = std::str::from_utf8(line).map_err(|error| ClientError::Protocol(error.to_string()))?;
            if let Some(id) = line.strip_prefix("id: ") {
                self.last_id = id.parse().ok().or(self.last_id);
            } else if let Some(data) = line.strip_prefix("data: ") {
                self.data.push_str(data);
            } else if line.is_empty() && !self.data.is_empty() {
                let event = serde_json::from_str(&self.data);
                self.data.clear();
                return event.map(Some).map_err(|error| ClientError::Protocol(error.to_string()));
            }
        }
        Ok(None)
    }
}

impl LogStreamReader {
    pub(super) fn new(response: Response<Incoming>) -> LogStreamReader {
        LogStreamReader { lines: Lines::new(response) }
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    ///
    /// `Lost` when the connection broke, `Protocol` when it is no log line.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        match self.lines.next().await? {
            None => Ok(None),
            Some(line) => {
                serde_json::from_slice(line).map(Some).map_err(|error| ClientError::Protocol(error.to_string()))
            }
        }
    }
}

impl MessageStream {
    pub(super) fn new(response: Response<Incoming>) -> MessageStream {
        MessageStream { lines: Lines::new(response) }
    }

    /// Waits until the supervisor tells that from here on nothing is missed.
    ///
    /// # Errors
    ///
    /// `Lost` when the connection broke.
    pub async fn opened(&mut self) -> Result<(), ClientError> {
        self.lines.next().await.map(|_| ())
    }

    /// The next message; none when the supervisor has ended.
    ///
    /// # Errors
    ///
    /// `Lost` when the connection broke, `Protocol` when it is no message.
    pub async fn next(&mut self) -> Result<Option<WorkerMessage>, ClientError> {
        while let Some(line) = self.lines.next().await? {
            // An empty line tells that the stream is open.
            if !line.is_empty() {
                let message = serde_json::from_slice(line);
                return message.map(Some).map_err(|error| ClientError::Protocol(error.to_string()));
            }
        }
        Ok(None)
    }
}
