//! OpenTelemetry's protocol over HTTP with JSON bodies: where to, and one way there for all signals.
//!
//! It owns the address, the headers and the connection. It refuses to know what is sent: that is [`crate::logs`]'s and
//! the metrics' part; and it has no queue: who sends decides what waits and what is let go.
//!
//! The variables are those of the OpenTelemetry specification, read from the daemon's environment: secrets belong into
//! `OTEL_EXPORTER_OTLP_HEADERS`, not into process files, and are never printed.

mod endpoint;
mod transport;

use std::time::Duration;

use serde_json::{Value, json};

pub use endpoint::{Endpoint, Signal};
pub use transport::{Failed, Transport};

/// The first pause after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// How long to wait after failures: twice as long after each, with some chance in it.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure; at least what the receiver asked for.
    pub fn after_failure(&mut self, asked: Option<Duration>) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Between three quarters and all of it, so that many senders do not return in step.
        let chance = f64::from(crate::clock::since_1970().subsec_nanos() % 1000) / 1000.0;
        let pause = pause.mul_f64(0.75 + chance / 4.0);
        asked.map_or(pause, |asked| asked.min(10 * LONGEST).max(pause))
    }

    /// It works again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// An attribute with a text.
pub fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// An attribute with a number. 64 bits are text in the JSON of protobuf.
pub fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

/// What sends: a service on this host, and whatever `OTEL_RESOURCE_ATTRIBUTES` adds.
pub fn resource(service: &str) -> Value {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut attributes = vec![text("service.name", service), text("host.name", &host)];
    let more = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    for (key, value) in endpoint::pairs(&more) {
        // What we know better stays.
        if !matches!(key.as_str(), "service.name" | "host.name") {
            attributes.push(text(&key, &value));
        }
    }
    json!({"attributes": attributes})
}

/// Who made the records.
pub fn scope() -> Value {
    json!({"name": "musher", "version": crate::VERSION})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_again_when_it_works() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..9).map(|_| backoff.after_failure(None)).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST.mul_f64(0.75));
        assert!(pauses[3] > pauses[0]);
        assert!(pauses[8] <= LONGEST && pauses[8] >= LONGEST.mul_f64(0.75));
        assert_eq!(backoff.after_failure(Some(Duration::from_secs(90))), Duration::from_secs(90));
        backoff.reset();
        assert!(backoff.after_failure(None) <= FIRST);
    }

    #[test]
    fn large_numbers_are_text() {
        assert_eq!(number("n", u64::MAX)["value"]["intValue"], "18446744073709551615");
    }
}
