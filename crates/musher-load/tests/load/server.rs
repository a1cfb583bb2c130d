//! A Node server in a process of its own, and runs against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use musher_load::engine::{Engine, Outcome};
use musher_load::plan::{Plan, Template};
use musher_load::tally::Tally;
use musher_load::url::Url;
use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/server.mjs");

/// A server; it ends with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn http() -> Server {
        Server::with(&["http"])
    }

    pub(crate) fn with(args: &[&str]) -> Server {
        #[expect(clippy::disallowed_methods, reason = "the test stands outside of the product")]
        let mut command = Command::new("node");
        let mut child =
            command.arg(SCRIPT).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("node is needed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Server { child, port: u16::try_from(said["port"].as_u64().unwrap()).unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }

    /// A plan that gets these paths in turn.
    pub(crate) fn plan(&self, paths: &[&str]) -> Plan {
        Plan::new(paths.iter().map(|path| Template::get(self.url(path))).collect())
    }

    /// What the server itself has counted.
    pub(crate) fn counts(&self) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /counts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let begin = text.find('{').unwrap();
        let end = text.rfind('}').unwrap();
        serde_json::from_str(&text[begin..=end]).unwrap()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.counts()["requests"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a plan.
pub(crate) fn run(plan: Plan) -> Outcome {
    Engine::new(plan).unwrap().run(&mut ()).unwrap()
}

/// What was counted after the warm-up.
pub(crate) fn total(outcome: &Outcome) -> Tally {
    let mut total = Tally::default();
    outcome.phases.iter().skip(outcome.warm_up).for_each(|(_, tally)| total.add(tally));
    total
}

/// A certificate of our own for localhost, made by openssl.
pub(crate) fn certificate(directory: &Path) -> (String, String) {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    #[expect(clippy::disallowed_methods, reason = "the test stands outside of the product")]
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", key.to_str().unwrap(), "-out", cert.to_str().unwrap()])
        .stderr(Stdio::null())
        .status()
        .expect("openssl is needed");
    assert!(made.success());
    (cert.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned())
}
