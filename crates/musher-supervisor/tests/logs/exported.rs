//! Lines that are sent on: to a socket that stands in for journald's, and to a collector that speaks OTLP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;

use musher_core::spec::Logs;
use musher_supervisor::logs::Exports;
use serde_json::Value;

use super::{APP, Bench, PATIENCE};

/// A collector on a port of its own.
struct Collector {
    listener: TcpListener,
}

impl Collector {
    fn new() -> Collector {
        Collector { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    fn accept(&self) -> BufReader<TcpStream> {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    }
}

/// The next request's path and body; none: the connection has ended.
fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        // One that was closed in the middle is as good as ended.
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if let Some(rest) = line.strip_prefix("POST ") {
            path = rest.split(' ').next().unwrap().to_owned();
        }
        if let Some(rest) = line.to_lowercase().strip_prefix("content-length:") {
            length = rest.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).unwrap()))
}

fn answer(stream: &mut BufReader<TcpStream>, status: &str) {
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
    // Who asked may be gone: then it comes again.
    let _ = stream.get_mut().write_all(text.as_bytes());
}

fn bodies(body: &Value) -> Vec<String> {
    let records = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
    records.iter().map(|record| record["body"]["stringValue"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_collector_gets_every_line_also_after_it_was_busy_and_the_supervisor_was_killed() {
    let collector = Collector::new();
    let mut logs = Bench::new(Logs { otlp: Some(collector.url()), ..Logs::default() });
    // What was written before is nobody's.
    let mut worker = logs.worker(1);
    writeln!(worker.out, "before").unwrap();
    logs.settle();
    let exports = Exports::new(logs.home.clone(), logs.handle.clone());
    exports.set(APP, "web", &logs.spec);
    writeln!(worker.out, "one").unwrap();
    let mut stream = collector.accept();
    let (path, body) = request(&mut stream).unwrap();
    assert_eq!(path, "/v1/logs");
    let attribute = |of: &Value, key: &str| {
        let list = of["attributes"].as_array().unwrap();
        list.iter().find(|entry| entry["key"] == key).map(|entry| entry["value"].clone()).unwrap()
    };
    assert_eq!(attribute(&body["resourceLogs"][0]["resource"], "service.name")["stringValue"], "web");
    let record = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(attribute(record, "musher.worker")["intValue"], "1");
    assert_eq!(record["severityText"], "INFO");
    answer(&mut stream, "503 Busy");
    // The same again, on the same connection or another one.
    let mut stream = collector.accept();
    let (_, body) = request(&mut stream).unwrap();
    assert_eq!(bodies(&body), ["one"]);
    answer(&mut stream, "200 OK");
    writeln!(worker.err, "two").unwrap();
    let (_, body) = request(&mut stream).unwrap();
    assert_eq!(bodies(&body), ["two"]);
    // Not answered: the supervisor dies, and what it had under way is sent by the next.
    drop((exports, stream, worker));
    logs.restart();
    let mut worker = logs.worker(2);
    writeln!(worker.out, "three").unwrap();
    logs.end(worker);
    let exports = Exports::new(logs.home.clone(), logs.handle.clone());
    exports.set(APP, "web", &logs.spec);
    let mut found = Vec::new();
    while !found.iter().any(|line| line == "three") {
        let mut stream = collector.accept();
        while let Some((_, body)) = request(&mut stream) {
            found.extend(bodies(&body));
            answer(&mut stream, "200 OK");
            if found.iter().any(|line| line == "three") {
                break;
            }
        }
    }
    assert!(found.iter().any(|line| line == "two") && !found.iter().any(|line| line == "one"), "{found:?}");
}

#[test]
fn journald_gets_fields_and_whatever_is_in_a_line() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let logs = Bench::new(Logs { journald: Some(path), ..Logs::default() });
    let exports = Exports::new(logs.home.clone(), logs.handle.clone());
    exports.set(APP, "web", &logs.spec);
    let mut worker = logs.worker(3);
    writeln!(worker.err, "a = b\\n").unwrap();
    let mut bytes = vec![0; 4096];
    let length = journal.recv(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    for field in ["PRIORITY=3\n", "SYSLOG_IDENTIFIER=web\n", "MUSHER_APP=web\n", "MUSHER_WORKER=3\n", "MUSHER_RUN=3\n"]
    {
        assert!(text.contains(field), "{field} {text}");
    }
    assert!(text.ends_with("MESSAGE\n\u{7}\0\0\0\0\0\0\0a = b\\n\n"), "{text:?}");
    // More than the socket holds: what waits, waits in the file, and nothing is left out.
    for n in 0..2000 {
        writeln!(worker.out, "line {n}").unwrap();
    }
    logs.end(worker);
    for n in 0..2000 {
        let length = journal.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(text.contains("PRIORITY=6\n") && text.ends_with(&format!("line {n}\n")), "{n}: {text}");
    }
}
