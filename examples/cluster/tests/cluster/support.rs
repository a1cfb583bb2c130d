//! Processes that end with their test, clients with deadlines, and what is waited for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer, on a machine that is busy with other things too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const AXUM: &str = env!("CARGO_BIN_EXE_cluster-axum");
pub(crate) const HYPER: &str = env!("CARGO_BIN_EXE_cluster-hyper");
pub(crate) const TONIC: &str = env!("CARGO_BIN_EXE_cluster-tonic");
pub(crate) const ACCEPT: &str = env!("CARGO_BIN_EXE_cluster-accept");
pub(crate) const UDP: &str = env!("CARGO_BIN_EXE_cluster-udp");
pub(crate) const MESSAGES: &str = env!("CARGO_BIN_EXE_cluster-messages");
pub(crate) const HELLO: &str = env!("CARGO_BIN_EXE_cluster-hello");
pub(crate) const VISITS: &str = env!("CARGO_BIN_EXE_cluster-visits");
pub(crate) const PRIMARY: &str = env!("CARGO_BIN_EXE_cluster-primary");

/// A process, killed when its test ends.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "a test stands outside the product")]
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    Command::new(program.as_ref())
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, lines, seen: Vec::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its output; the rest of the line.
    #[track_caller]
    pub(crate) fn line(&mut self, beginning: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if let Some(rest) = line.strip_prefix(beginning) {
                        return rest.trim().to_owned();
                    }
                }
                Err(_) => panic!("no line begins with {beginning:?}; there is {:#?}", self.seen),
            }
        }
    }

    /// What it has written so far, up to what was waited for.
    pub(crate) fn seen(&self) -> &[String] {
        &self.seen
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn signal(&self, number: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, number).unwrap();
    }

    /// Waits for its end; its exit code.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Option<i32> {
        let ended = wait("the end of a process", || self.child.try_wait().unwrap());
        ended.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer, within the deadline.
#[track_caller]
pub(crate) fn wait<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    musher_bench::wait::until(DEADLINE, condition).unwrap_or_else(|| panic!("{what} does not come"))
}

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The pid of the worker that answers one request.
#[track_caller]
pub(crate) fn answering(address: &str) -> u32 {
    let body = get(address).expect("an answer");
    let pid = body.split("pid=").nth(1).unwrap_or_else(|| panic!("{body:?}"));
    pid.split_whitespace().next().unwrap().parse().unwrap()
}

pub(crate) fn get(address: &str) -> Option<String> {
    let text = exchange(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    Some(text.split_once("\r\n\r\n")?.1.to_owned())
}

/// What is answered to these bytes, until the end of the connection.
pub(crate) fn exchange(address: &str, request: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Waits until so many different workers have answered.
#[track_caller]
pub(crate) fn answers_of(address: &str, workers: usize) -> std::collections::BTreeSet<u32> {
    let mut seen = std::collections::BTreeSet::new();
    wait("an answer of every worker", || {
        seen.insert(answering(address));
        (seen.len() == workers).then(|| seen.clone())
    })
}

/// What `cargo xtask test` installed from npm.
pub(crate) fn tool(path: &str) -> PathBuf {
    let tools = std::env::var_os("MUSHER_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e"), PathBuf::from);
    let tool = tools.join(path);
    assert!(tool.exists(), "{} is missing: `cargo xtask test` installs it", tool.display());
    tool
}
