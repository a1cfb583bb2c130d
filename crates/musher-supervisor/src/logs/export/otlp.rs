//! Lines as log records of OpenTelemetry.

use musher_api::{LogLine, LogStream};
use serde_json::{Value, json};

use super::Refused;
use crate::otlp::{Endpoint, Signal, Transport, number, resource, scope, text};

/// How large a request may become before the next is begun.
const LARGE: usize = 512 << 10;

/// The way to a collector.
#[derive(Debug)]
pub(super) struct Otlp {
    transport: Transport,
    resource: Value,
    /// How many lines of the batch have been sent.
    done: usize,
    /// Why lines before these were refused for good, and how many.
    refused: Option<(String, usize)>,
}

impl Otlp {
    pub(super) fn new(base: &str, app: &str) -> Result<Otlp, String> {
        let transport = Transport::new(Endpoint::of(base, Signal::Logs)?)?;
        Ok(Otlp { transport, resource: resource(app), done: 0, refused: None })
    }

    /// Sends lines; after a failure the same lines have to follow, and those that were taken are not sent again.
    pub(super) async fn take(&mut self, lines: &[LogLine]) -> Result<(), Refused> {
        while self.done < lines.len() {
            let rest = &lines[self.done..];
            let mut size = 0;
            let count = rest.iter().take_while(|line| {
                let fits = size < LARGE;
                size += line.line.len();
                fits
            });
            let count = count.count();
            let body = self.body(&rest[..count]).to_string();
            match self.transport.post(body.into()).await {
                Ok(()) => self.done += count,
                Err(failed) if failed.again => {
                    return Err(Refused { why: failed.why, again: Some(failed.after), lost: 0 });
                }
                // These will not be taken another time; the others may be.
                Err(failed) => {
                    self.done += count;
                    let lost = self.refused.take().map_or(0, |(_, lost)| lost);
                    self.refused = Some((failed.why, lost + count));
                }
            }
        }
        self.done = 0;
        match self.refused.take() {
            Some((why, lost)) => Err(Refused { why, again: None, lost }),
            None => Ok(()),
        }
    }

    fn body(&self, lines: &[LogLine]) -> Value {
        let records: Vec<Value> = lines.iter().map(record).collect();
        json!({"resourceLogs": [{
            "resource": self.resource,
            "scopeLogs": [{"scope": scope(), "logRecords": records}],
        }]})
    }
}

fn record(line: &LogLine) -> Value {
    let (severity, word, stream) = match line.stream {
        LogStream::Out => (9, "INFO", "stdout"),
        LogStream::Err => (17, "ERROR", "stderr"),
    };
    // The cursor is the time in nanoseconds, and unique.
    let time = line.cursor.to_string();
    json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": severity,
        "severityText": word,
        "body": {"stringValue": line.line},
        "attributes": [
            text("log.iostream", stream),
            number("musher.worker", line.slot.into()),
            number("musher.run", line.run),
            number("process.pid", line.pid.into()),
        ],
    })
}
