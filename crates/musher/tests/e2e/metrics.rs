//! Metrics: printed, served to Prometheus over deaths of the supervisor, and sent by OTLP.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use musher_bench::proc_fs;
use serde_json::Value;

use crate::support::apps::app;
use crate::support::{Home, PATIENCE, Target, free_port, get, wait_until};

/// The value of a line of the text.
fn value(text: &str, start: &str) -> Option<f64> {
    text.lines().find(|line| line.starts_with(start))?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn metrics_of_node_workers_are_served_over_a_death_of_the_supervisor() {
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    home.run(["metrics", "--listen", "0.0.0.0:0"]).failed(2, &["other machines"]);
    let set = home.ok(["metrics", "--listen", "127.0.0.1:0", "--json"]).json();
    let address = set["metrics"].as_str().unwrap().to_owned();
    let target = Target::Tcp(address.parse().unwrap());
    let scrape = || match get(&target, "/metrics", PATIENCE) {
        Ok((200, text)) => text,
        other => panic!("{other:?}"),
    };
    let text = scrape();
    for start in [
        "musher_worker_up{app=\"jobs\",slot=\"0\"} 1",
        "musher_process_resident_memory_bytes{role=\"keeper\"} ",
        "musher_app_exits_total",
    ] {
        assert_eq!(text.lines().any(|line| line.starts_with(start)), !start.contains("exits"), "{start}\n{text}");
    }
    assert!(value(&text, "musher_worker_resident_memory_bytes{app=\"jobs\",slot=\"0\"}").unwrap() > 1e5, "{text}");

    proc_fs::kill9(home.pids("jobs")[0]).unwrap();
    let killed = "musher_app_exits_total{app=\"jobs\",reason=\"signal\",code=\"SIGKILL\"}";
    wait_until("the death is counted", || value(&scrape(), killed) == Some(1.0));
    assert_eq!(value(&scrape(), "musher_app_restarts_total{app=\"jobs\"}"), Some(1.0));

    home.wait_online("jobs", 1);
    home.kill_supervisor();
    // Nobody is refused meanwhile: the keeper has the socket.
    assert_eq!(value(&scrape(), killed), Some(1.0), "counts go on");
    assert_eq!(home.ok(["metrics", "--show", "--json"]).json()["metrics"], address.as_str());
    home.ok(["kill"]);
    home.ok(["start", &app("worker.py"), "--name", "again"]);
    wait_until(
        "a later daemon serves on the same address",
        || matches!(get(&target, "/metrics", PATIENCE), Ok((200, text)) if text.contains("again")),
    );
    home.ok(["metrics", "--listen", "off"]);
    assert!(get(&target, "/metrics", PATIENCE).is_err());
    assert!(home.ok(["metrics", "--openmetrics"]).out.ends_with("# EOF\n"));
}

#[test]
fn node_workers_tell_of_event_loop_heap_and_requests_when_somebody_asks() {
    let home = Home::new();
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "--name", "web", "-i", "1", "--", &port.to_string()]);
    let told = |name: &str| value(&home.ok(["metrics"]).out, &format!("{name}{{app=\"web\",slot=\"0\"}}"));
    wait_until("it tells", || told("musher_worker_heap_used_bytes").is_some_and(|heap| heap > 1e6));
    let before = told("musher_worker_http_requests_total").unwrap();
    get(&Target::Tcp(([127, 0, 0, 1], port).into()), "/", PATIENCE).unwrap();
    wait_until("the request is counted", || told("musher_worker_http_requests_total") == Some(before + 1.0));
    for name in [
        "musher_worker_event_loop_delay_seconds",
        "musher_worker_event_loop_utilization_ratio",
        "musher_worker_gc_total",
        "musher_worker_connections",
        "musher_worker_http_requests_total",
        "musher_worker_http_request_duration_seconds_count",
        "musher_worker_open_fds",
        "musher_worker_accept_queue_connections",
    ] {
        assert!(told(name).is_some_and(|value| value >= 0.0), "{name}: {}", home.ok(["metrics"]).out);
    }
}

/// Takes requests for ever, and gives what was in them.
fn receiver() -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sink, got) = mpsc::sync_channel(64);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, sink) = (stream.unwrap(), sink.clone());
            thread::spawn(move || {
                let mut seen = Vec::new();
                let mut part = [0; 8192];
                while let Ok(count @ 1..) = stream.read(&mut part) {
                    seen.extend_from_slice(&part[..count]);
                    let Some(head) = seen.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
                    let text = String::from_utf8_lossy(&seen[..head]).to_lowercase();
                    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    let end = head + 4 + length.unwrap().parse::<usize>().unwrap();
                    if seen.len() < end {
                        continue;
                    }
                    let path = text.split(' ').nth(1).unwrap().to_owned();
                    let body = serde_json::from_slice(&seen[head + 4..end]).unwrap();
                    seen.drain(..end);
                    if sink.send((path, body)).is_err() {
                        return;
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
                }
            });
        }
    });
    (url, got)
}

#[test]
fn metrics_and_events_are_sent_by_otlp() {
    let home = Home::new();
    let (url, got) = receiver();
    home.ok(["metrics", "--otlp", &url, "--every", "1s"]);
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    let (mut metric, mut event) = (None, None);
    while metric.is_none() || event.is_none() {
        let (path, body) = got.recv_timeout(PATIENCE).unwrap();
        match path.as_str() {
            "/v1/metrics" => {
                let metrics = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().clone();
                metric = metric.or(metrics.into_iter().find(|metric| metric["name"] == "musher_worker_cpu_seconds"));
            }
            "/v1/logs" => {
                let records = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap().clone();
                event = event.or(records.into_iter().find(|record| record["eventName"] == "musher.online"));
            }
            other => panic!("{other}"),
        }
    }
    let metric = metric.unwrap();
    assert_eq!(metric["sum"]["dataPoints"][0]["attributes"][0]["value"]["stringValue"], "jobs", "{metric}");
    assert_eq!(event.unwrap()["severityNumber"], 9);
}
