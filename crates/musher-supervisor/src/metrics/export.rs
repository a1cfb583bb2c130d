//! Metrics and events to an OTLP receiver: every so often, and as they happen.
//!
//! What cannot be sent is not collected: metrics are measured anew for the next time, and events wait where they are
//! remembered anyway. The receiver's absence costs a try now and then.

use std::collections::HashMap;
use std::time::Duration;

use musher_api::metrics::{Family, MetricKind, Metrics, Sample, named};
use musher_api::{Event, EventKind};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::control::DriverHandle;
use crate::otlp::{Backoff, Endpoint, Signal, Transport, number, resource, scope, text};

/// The name of this part among troubles.
pub(super) const NAME: &str = "otlp";
const SERVICE: &str = "musher";
/// How many events go together.
const EVENTS: usize = 256;
/// Sums since their beginning, in the words of the protocol.
const CUMULATIVE: u8 = 2;

/// Sends for as long as the task lives. `tell`: why it does not work, or that it does.
pub(super) async fn run(
    driver: DriverHandle,
    url: String,
    every: Duration,
    tell: impl Fn(Option<String>) -> bool + Clone + Send + 'static,
) {
    // The certificates of the machine are read from many files: nobody else waits for that.
    let ways = tokio::task::spawn_blocking(move || {
        let way = |signal| Endpoint::of(&url, signal).and_then(Transport::new);
        (way(Signal::Metrics), way(Signal::Logs))
    });
    match ways.await.unwrap_or_else(|error| (Err(error.to_string()), Err(error.to_string()))) {
        (Ok(for_metrics), Ok(for_events)) => {
            tokio::join!(metrics(driver.clone(), for_metrics, every, tell), events(driver, for_events));
        }
        (Err(why), _) | (_, Err(why)) => {
            tell(Some(why));
        }
    }
}

async fn metrics(
    driver: DriverHandle,
    mut transport: Transport,
    every: Duration,
    tell: impl Fn(Option<String>) -> bool,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(measured) = driver.metrics().await else { continue };
        let body = metrics_body(&measured).to_string();
        match transport.post(body.into()).await {
            Ok(()) => {
                tell(None);
            }
            Err(failed) => {
                if !tell(Some(failed.why.clone())) {
                    tracing::warn!(why = failed.why, "metrics cannot be sent");
                }
            }
        }
    }
}

async fn events(driver: DriverHandle, mut transport: Transport) {
    let oldest = driver.events().oldest();
    let mut subscription = driver.events().subscribe(Some(oldest.saturating_sub(1)));
    while let Some(news) = subscription.next().await {
        for part in news.chunks(EVENTS) {
            let body = events_body(part.iter().map(|event| &**event)).to_string();
            let mut backoff = Backoff::default();
            while let Err(failed) = transport.post(body.clone().into()).await {
                if !failed.again {
                    tracing::warn!(why = failed.why, "events were refused");
                    break;
                }
                sleep(backoff.after_failure(failed.after)).await;
            }
        }
    }
}

/// An ExportMetricsServiceRequest.
pub(super) fn metrics_body(metrics: &Metrics) -> Value {
    let starts = starts(metrics);
    let families: Vec<Value> =
        metrics.families.iter().map(|family| of_family(family, metrics.time_ms, &starts)).collect();
    json!({"resourceMetrics": [{
        "resource": resource(SERVICE),
        "scopeMetrics": [{"scope": scope(), "metrics": families}],
    }]})
}

/// When the workers began to count.
fn starts(metrics: &Metrics) -> HashMap<&[(String, String)], u64> {
    let family = metrics.families.iter().find(|family| family.name == "musher_worker_start_time_seconds");
    let samples = family.into_iter().flat_map(|family| &family.samples);
    samples.map(|sample| (sample.labels.as_slice(), millis(sample.value))).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since 1970, in seconds")]
fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).max(0.0) as u64
}

/// Whether it begins at 0 with each worker: its restarts go on.
fn counts_from_start(family: &Family) -> bool {
    family.kind != MetricKind::Gauge && family.name != "musher_worker_restarts_total"
}

fn of_family(family: &Family, time_ms: u64, starts: &HashMap<&[(String, String)], u64>) -> Value {
    let point = |sample: &Sample| {
        let mut point = json!({
            "attributes": sample.labels.iter().map(|(name, value)| text(name, value)).collect::<Vec<Value>>(),
            "timeUnixNano": nanos(time_ms),
        });
        if let Some(start) = starts.get(sample.labels.as_slice()).filter(|_| counts_from_start(family)) {
            point["startTimeUnixNano"] = nanos(*start).into();
        }
        match family.kind {
            MetricKind::Counter | MetricKind::Gauge => point["asDouble"] = sample.value.into(),
            MetricKind::Histogram => {
                point["sum"] = sample.value.into();
                point["count"] = sample.count.to_string().into();
                point["explicitBounds"] = sample.buckets.iter().map(|(bound, _)| *bound).collect();
                let sums = sample.buckets.iter().map(|(_, count)| *count).chain([sample.count]);
                let before = std::iter::once(0).chain(sample.buckets.iter().map(|(_, count)| *count));
                let each = sums.zip(before).map(|(sum, before)| sum.saturating_sub(before).to_string());
                point["bucketCounts"] = each.collect();
            }
        }
        point
    };
    let points: Vec<Value> = family.samples.iter().map(point).collect();
    let unit = match named(&family.name).map_or("", |metric| metric.unit) {
        "seconds" => "s",
        "bytes" => "By",
        _ => "1",
    };
    let name = family.name.strip_suffix("_total").unwrap_or(&family.name);
    let mut metric = json!({"name": name, "description": family.help, "unit": unit});
    match family.kind {
        MetricKind::Counter => {
            metric["sum"] = json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points});
        }
        MetricKind::Gauge => metric["gauge"] = json!({"dataPoints": points}),
        MetricKind::Histogram => {
            metric["histogram"] = json!({"aggregationTemporality": CUMULATIVE, "dataPoints": points});
        }
    }
    metric
}

/// An ExportLogsServiceRequest.
pub(super) fn events_body<'a>(events: impl Iterator<Item = &'a Event>) -> Value {
    let records: Vec<Value> = events.map(of_event).collect();
    json!({"resourceLogs": [{
        "resource": resource(SERVICE),
        "scopeLogs": [{"scope": scope(), "logRecords": records}],
    }]})
}

fn of_event(event: &Event) -> Value {
    let kind = event.kind.word();
    let (severity, word) = severity(event.kind);
    let mut attributes = vec![text("musher.kind", &kind), number("musher.seq", event.seq)];
    attributes.extend(event.app.as_ref().map(|app| text("musher.app", app)));
    attributes.extend(event.slot.map(|slot| number("musher.slot", slot.into())));
    attributes.extend(event.run.map(|run| number("musher.run", run)));
    attributes.extend(event.pid.map(|pid| number("process.pid", pid.into())));
    json!({
        "timeUnixNano": nanos(event.time_ms),
        "observedTimeUnixNano": nanos(event.time_ms),
        "severityNumber": severity,
        "severityText": word,
        "eventName": format!("musher.{kind}"),
        "body": {"stringValue": event.detail},
        "attributes": attributes,
    })
}

/// How bad it is, by the numbers of OpenTelemetry.
fn severity(kind: EventKind) -> (u8, &'static str) {
    match kind {
        EventKind::Giveup
        | EventKind::Died
        | EventKind::Uncaught
        | EventKind::SpawnFailed
        | EventKind::BindFailed
        | EventKind::Violation
        | EventKind::NotReady => (17, "ERROR"),
        EventKind::Unfit
        | EventKind::Kept
        | EventKind::Failing
        | EventKind::Killed
        | EventKind::Backoff
        | EventKind::Cut
        | EventKind::Lagged
        | EventKind::Logs => (13, "WARN"),
        _ => (9, "INFO"),
    }
}

/// Nanoseconds since 1970: 64 bits are text in the JSON of protobuf.
fn nanos(time_ms: u64) -> String {
    time_ms.saturating_mul(1_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use musher_api::rfc3339;

    use super::*;

    fn attribute<'a>(value: &'a Value, key: &str) -> &'a Value {
        let all = value["attributes"].as_array().unwrap();
        &all.iter().find(|attribute| attribute["key"] == key).unwrap()["value"]
    }

    #[test]
    fn metrics_have_the_form_of_the_protocol() {
        let mut metrics = Metrics { time_ms: 1_700_000_000_123, families: Vec::new() };
        let labels = [("app", "web"), ("slot", "0")];
        metrics.add("musher_worker_start_time_seconds", &labels, 1_600_000_000.5);
        metrics.add("musher_worker_cpu_seconds_total", &labels, 1.5);
        let buckets = vec![(0.1, 2), (0.5, 3)];
        metrics.add_histogram("musher_worker_http_request_duration_seconds", &labels, buckets, 0.75, 5);
        let body = metrics_body(&metrics);
        let of = &body["resourceMetrics"][0];
        assert_eq!(attribute(&of["resource"], "service.name")["stringValue"], "musher");
        assert_eq!(of["scopeMetrics"][0]["scope"]["name"], "musher");
        let families = of["scopeMetrics"][0]["metrics"].as_array().unwrap();
        assert_eq!(families[0]["gauge"]["dataPoints"][0]["asDouble"], 1_600_000_000.5);
        let cpu = &families[1];
        assert_eq!((&cpu["name"], &cpu["unit"]), (&"musher_worker_cpu_seconds".into(), &"s".into()));
        assert_eq!((&cpu["sum"]["isMonotonic"], &cpu["sum"]["aggregationTemporality"]), (&true.into(), &2.into()));
        let point = &cpu["sum"]["dataPoints"][0];
        assert_eq!(point["timeUnixNano"], "1700000000123000000");
        assert_eq!(point["startTimeUnixNano"], "1600000000500000000");
        assert_eq!(attribute(point, "app")["stringValue"], "web");
        let point = &families[2]["histogram"]["dataPoints"][0];
        assert_eq!((&point["count"], &point["sum"]), (&"5".into(), &0.75.into()));
        assert_eq!(point["bucketCounts"], json!(["2", "1", "2"]));
        assert_eq!(point["explicitBounds"], json!([0.1, 0.5]));
    }

    #[test]
    fn an_event_is_a_log_record_with_its_severity() {
        let time_ms = 1_700_000_000_123;
        let event: Event = serde_json::from_value(json!({
            "seq": 7, "time_ms": time_ms, "time": rfc3339(time_ms), "kind": "giveup", "app": "web", "app_id": 1, "slot": 2,
            "detail": "given up",
        }))
        .unwrap();
        let body = events_body([&event].into_iter());
        let record = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!((&record["severityNumber"], &record["eventName"]), (&17.into(), &"musher.giveup".into()));
        assert_eq!(record["body"]["stringValue"], "given up");
        assert_eq!(attribute(record, "musher.app")["stringValue"], "web");
        assert_eq!(attribute(record, "musher.slot")["intValue"], "2");
        assert_eq!(record["timeUnixNano"], "1700000000123000000");
    }
}
