//! Clients that are not plain HTTP lose nothing by a reload either: WebSockets are sent away, TLS, HTTP/2 and lines are
//! answered, programs that end themselves do.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::apps::{app, with_packages};
use crate::support::told::wait_event;
use crate::support::{Background, Home, command, free_port, wait_until};

/// A client of the test's own, that tells by lines how far it is.
pub(crate) struct Client {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Client {
    fn start(home: &Home, script: &str, args: &[&str]) -> Client {
        let mut words = command("node");
        words.arg(script).args(args).current_dir(home.app_directory());
        Client::of(words)
    }

    pub(crate) fn of(mut words: Command) -> Client {
        let mut child = words.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Client { child, lines }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends its standard input; what it tells then.
    pub(crate) fn report(mut self) -> Value {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.lines.read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All WebSocket clients of a library are sent away with 1001, come back and are answered by the new version.
fn sends_away(kind: &str) {
    let home = Home::new();
    let port = free_port().to_string();
    home.version("one");
    let script = with_packages(&home, "websockets.cjs");
    home.ok(["start", &script, "-i", "2", "--name", "chat", "--", "serve", kind, &port]);
    let mut client = Client::start(&home, &script, &["talk", kind, &port, "12"]);
    assert_eq!(client.line(), "connected");
    home.version("two");
    home.ok(["reload", "chat"]);
    let report = client.report();
    // One that comes back may come to an old worker that is the next to go.
    let closes = report["closes"].as_object().unwrap();
    assert!(closes.len() == 1 && closes["1001"].as_u64() >= Some(12), "{kind}: {report}");
    assert_eq!(report["versions"], serde_json::json!(["one", "two"]), "{kind}");
    assert_eq!(cuts(&home, "chat"), 0, "{kind}: none had to be cut");
}

/// How many connections were cut, as `describe` tells.
fn cuts(home: &Home, app: &str) -> u64 {
    let detail = home.ok(["describe", app, "--json"]).json();
    let slots = detail["slots"].as_array().unwrap();
    slots.iter().filter_map(|slot| slot["last_death"]["cut"].as_u64()).sum()
}

#[test]
fn clients_of_ws_are_told_to_go_away_and_come_back() {
    sends_away("ws");
}

#[test]
fn clients_of_socket_io_are_told_to_go_away_and_come_back() {
    sends_away("socket.io");
}

/// How many requests curl sends.
const REQUESTS: usize = 200;

/// curl, with several streams at a time over a session. It repeats those that the server says it has not begun.
fn curl(port: &str) -> Background {
    let mut curl = command("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--http2", "--parallel", "--parallel-max", "4"]);
    curl.arg(format!("https://127.0.0.1:{port}/?[1-{REQUESTS}]"));
    Background::of(curl)
}

/// A server of another kind is reloaded twice under load.
fn loses_nothing(kind: &str) -> Home {
    let home = Home::new();
    let port = free_port().to_string();
    let pem = home.app_directory().join("server.pem");
    let made = command("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(&pem)
        .arg("-out")
        .arg(home.app_directory().join("certificate"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = std::fs::read(home.app_directory().join("certificate")).unwrap();
    std::fs::File::options().append(true).open(&pem).unwrap().write_all(&certificate).unwrap();

    home.version("one");
    let script = app("servers.cjs");
    home.ok(["start", &script, "-i", "2", "--name", "web", "--", "serve", kind, &port, pem.to_str().unwrap()]);
    let mut client = Client::start(&home, &script, &["talk", kind, &port]);
    assert_eq!(client.line(), "answered");
    let curl = (kind == "h2").then(|| curl(&port));
    let before = home.pids("web");
    for version in ["two", "three"] {
        home.version(version);
        home.ok(["reload", "web"]);
    }
    wait_until("the old workers are gone", || before.iter().all(|pid| !crate::support::proc_fs::is_alive(*pid)));
    if let Some(curl) = curl {
        let said = curl.wait().succeeded();
        assert_eq!(said.out.lines().filter(|line| line.contains("version=")).count(), REQUESTS, "{said:?}");
    }
    let report = client.report();
    assert_eq!(report["lost"], serde_json::json!([]), "{kind}: {report}");
    for version in ["one", "three"] {
        assert!(report["versions"][version].as_u64() > Some(0), "{kind}: {report}");
    }
    home
}

#[test]
fn lines_over_tcp_are_all_answered() {
    loses_nothing("net");
}

#[test]
fn lines_over_tls_are_all_answered() {
    loses_nothing("tls");
}

#[test]
fn kept_https_connections_lose_nothing() {
    loses_nothing("https");
}

#[test]
fn http2_sessions_lose_nothing() {
    loses_nothing("http2");
}

#[test]
fn http2_sessions_over_tls_lose_nothing() {
    loses_nothing("h2");
}

#[test]
fn a_program_that_ends_itself_on_signals_loses_nothing() {
    let home = loses_nothing("signals");
    // It was drained when the signal came, if it came at all.
    home.ok(["stop", "web"]);
    let signals = std::fs::read_to_string(home.app_directory().join("signals")).unwrap();
    assert!(signals.lines().filter(|signal| *signal == "SIGTERM").count() >= 2, "{signals}");
}

#[test]
fn what_a_drain_does_not_finish_in_time_is_cut_and_told() {
    let home = Home::new();
    let port = free_port();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\nstop = {{ drain = \"1s\" }}\n",
            app("web.cjs")
        ),
    );
    home.ok(["start", "team.toml"]);
    let mut hanging: Vec<std::net::TcpStream> = (0..3)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
            stream.write_all(b"GET /stream?chunks=10000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 16]).unwrap();
            stream
        })
        .collect();
    home.ok(["reload", "web"]);
    wait_event(&home, "cut", "3 connections were closed");
    for stream in &mut hanging {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the answer has no end");
    }
    wait_until("describe tells it", || cuts(&home, "web") == 3);
    let text = home.ok(["describe", "web"]).out;
    assert!(text.contains("3 connections cut"), "{text}");
}
