//! One HTTP/1.1 connection, read by hand so that every way of losing a request has its own name.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{Outcome, Target};

/// An answer longer than this is not of a test app.
const MAX_ANSWER: usize = 4 << 20;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    pub(super) local_port: Option<u16>,
    pub(super) opened: Instant,
    /// Read but not yet taken.
    pub(super) buffer: Vec<u8>,
}

/// A right answer.
pub(super) struct Answer {
    pub(super) keep: bool,
    pid: Option<u32>,
    version: Option<String>,
}

impl Answer {
    /// The answer that `body` is, if it is one to `id`.
    pub(super) fn to(id: u64, body: &str, keep: bool) -> Result<Answer, Outcome> {
        if field(body, "id").and_then(|value| value.parse().ok()) != Some(id) {
            return Err(Outcome::Wrong(format!("answer to another request: {}", body.trim_end())));
        }
        let pid = field(body, "pid").and_then(|value| value.parse().ok());
        let version = field(body, "version").map(str::to_owned);
        Ok(Answer { keep, pid, version })
    }

    pub(super) fn outcome(self) -> Outcome {
        Outcome::Ok { pid: self.pid, version: self.version }
    }
}

/// Status and body of one `GET` on a connection of its own.
///
/// # Errors
///
/// What became of the request instead.
pub fn get(target: &Target, path: &str, limit: Duration) -> Result<(u16, String), Outcome> {
    let failed = |error: io::Error| Outcome::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let exchange = async {
            let mut connection = Connection::open(target).await?;
            connection.send(path, false).await?;
            let response = connection.receive().await?;
            Ok((response.status, String::from_utf8_lossy(&response.body).into_owned()))
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(Outcome::Timeout))
    })
}

impl Connection {
    pub(super) async fn open(target: &Target) -> Result<Connection, Outcome> {
        match target {
            Target::Tcp(address) => Self::open_tcp(*address).await,
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| lost(&error, false))?;
                Ok(Connection {
                    stream: Box::new(stream),
                    local_port: None,
                    opened: Instant::now(),
                    buffer: Vec::new(),
                })
            }
        }
    }

    async fn open_tcp(address: SocketAddr) -> Result<Connection, Outcome> {
        // Before the server can have it: what is done to the server from here on is done to this connection, too.
        let opened = Instant::now();
        let stream = TcpStream::connect(address).await.map_err(|error| lost(&error, false))?;
        let local_port = stream.local_addr().ok().map(|local| local.port());
        // Without it, latency is the kernel's delay; with an error the connection is dead and the next write says so.
        let _ = stream.set_nodelay(true);
        Ok(Connection { stream: Box::new(stream), local_port, opened, buffer: Vec::new() })
    }

    /// Asks for `path` and checks that the answer is the one to `id`.
    pub(super) async fn request(
        &mut self,
        path: &str,
        id: u64,
        keep: bool,
        streaming: bool,
    ) -> Result<Answer, Outcome> {
        self.send(path, keep).await?;
        let response = self.receive().await?;
        let body = String::from_utf8_lossy(&response.body);
        if response.status != 200 {
            return Err(Outcome::Wrong(format!("status {}: {}", response.status, body.trim_end())));
        }
        if streaming && !body.ends_with("end\n") {
            return Err(Outcome::Wrong("a stream without its end".into()));
        }
        Answer::to(id, &body, keep && response.keep)
    }

    /// Passes when the server closes the connection between requests.
    pub(super) async fn closed(&mut self) {
        // What comes without having been asked for stays in the buffer and spoils the next answer: it is counted.
        while let Ok(1..) = self.stream.read_buf(&mut self.buffer).await {}
    }

    /// Whether the server has closed the connection by now.
    pub(super) fn is_closed(&mut self) -> bool {
        use std::task::{Context, Poll, Waker};
        let mut context = Context::from_waker(Waker::noop());
        let mut closed = std::pin::pin!(self.closed());
        matches!(closed.as_mut().poll(&mut context), Poll::Ready(()))
    }

    async fn send(&mut self, path: &str, keep: bool) -> Result<(), Outcome> {
        let close = if keep { "" } else { "Connection: close\r\n" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n");
        self.write(request.as_bytes()).await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Outcome> {
        self.stream.write_all(bytes).await.map_err(|error| lost(&error, false))
    }

    /// The head of an answer, in lower case, with the empty line.
    pub(super) async fn head(&mut self) -> Result<String, Outcome> {
        let length = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..length]).to_ascii_lowercase();
        self.buffer.drain(..length);
        Ok(head)
    }

    async fn receive(&mut self) -> Result<Response, Outcome> {
        let head = self.head().await?;
        let wrong = |what: &str| Outcome::Wrong(format!("{what}: {head:?}"));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| wrong("no status"))?;
        let header = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let mut keep = header("connection").as_deref() != Some("close");
        let body = if header("transfer-encoding").as_deref() == Some("chunked") {
            self.chunked().await?
        } else if let Some(length) = header("content-length") {
            let length = length.parse().map_err(|_| wrong("bad length"))?;
            self.take(length).await?
        } else {
            keep = false;
            self.rest().await?
        };
        Ok(Response { status, keep, body })
    }

    async fn chunked(&mut self) -> Result<Vec<u8>, Outcome> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break at;
                }
                self.fill_within().await?;
            };
            let size = std::str::from_utf8(&self.buffer[..line_end])
                .ok()
                .and_then(|text| usize::from_str_radix(text.trim(), 16).ok())
                .ok_or_else(|| Outcome::Wrong("bad chunk size".into()))?;
            self.buffer.drain(..line_end + 2);
            let mut chunk = self.take(size + 2).await?;
            chunk.truncate(size);
            body.append(&mut chunk);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, Outcome> {
        if length > MAX_ANSWER {
            return Err(Outcome::Wrong(format!("an answer of {length} bytes")));
        }
        while self.buffer.len() < length {
            self.fill_within().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn rest(&mut self) -> Result<Vec<u8>, Outcome> {
        loop {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(std::mem::take(&mut self.buffer)),
                Ok(_) if self.buffer.len() > MAX_ANSWER => return Err(Outcome::Wrong("endless answer".into())),
                Ok(_) => {}
                Err(error) => return Err(lost(&error, true)),
            }
        }
    }

    pub(super) async fn fill(&mut self) -> Result<(), Outcome> {
        let within = !self.buffer.is_empty();
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) if within => Err(Outcome::Truncated),
            Ok(0) => Err(Outcome::Eof),
            Ok(_) => Ok(()),
            Err(error) => Err(lost(&error, within)),
        }
    }

    async fn fill_within(&mut self) -> Result<(), Outcome> {
        self.fill().await.map_err(|outcome| if outcome == Outcome::Eof { Outcome::Truncated } else { outcome })
    }
}

struct Response {
    status: u16,
    keep: bool,
    body: Vec<u8>,
}

fn lost(error: &io::Error, within: bool) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Outcome::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Outcome::Reset,
        io::ErrorKind::TimedOut => Outcome::Timeout,
        _ if within => Outcome::Truncated,
        _ => Outcome::Failed(error.to_string()),
    }
}

fn find(buffer: &[u8], pattern: &[u8]) -> Option<usize> {
    buffer.windows(pattern.len()).position(|window| window == pattern)
}

/// The value of `name=` among the words of `body`.
fn field<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    body.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::load::{Load, Plan, Shape};

    /// Serves one connection per item of `answers`, each by its function, then closes the listener.
    fn server(answers: Vec<fn(std::net::TcpStream)>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).unwrap();
                answer(stream);
            }
        });
        port
    }

    fn outcome(answer: fn(std::net::TcpStream)) -> Outcome {
        let port = server(vec![answer]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let target = Target::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
            let mut connection = Connection::open(&target).await.unwrap();
            match connection.request("/?id=1", 1, false, false).await {
                Ok(answer) => answer.outcome(),
                Err(outcome) => outcome,
            }
        })
    }

    #[test]
    fn every_way_of_losing_a_request_has_its_name() {
        fn say(mut stream: std::net::TcpStream, text: &str) {
            stream.write_all(text.as_bytes()).unwrap();
        }
        let ok = outcome(|s| say(s, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nid=1 pid=77\n"));
        assert_eq!(ok, Outcome::Ok { pid: Some(77), version: None });
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nid=1\r\n0\r\n\r\n";
        assert_eq!(outcome(|s| say(s, CHUNKED)).kind(), "ok");
        assert_eq!(outcome(|_| ()), Outcome::Eof);
        assert_eq!(outcome(|s| say(s, "HTTP/1.1 200 OK\r\n")), Outcome::Truncated);
        assert_eq!(outcome(|s| say(s, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nid=1")), Outcome::Truncated);
        assert_eq!(
            outcome(|s| say(s, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nid=2\n")).kind(),
            "wrong answer",
            "an answer to another request is not ours"
        );
        assert_eq!(outcome(|s| say(s, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")).kind(), "wrong answer");
        let reset = outcome(|stream| {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        assert_eq!(reset, Outcome::Reset);
    }

    #[test]
    fn a_refused_connection_is_a_loss() {
        let port = server(Vec::new());
        assert!(
            crate::wait::until(Duration::from_secs(5), || (!crate::proc_fs::listens(port)).then_some(())).is_some()
        );
        let load = Load::start(Plan::new(port, Shape::Fresh { per_second: 100 }));
        assert!(crate::wait::until(Duration::from_secs(5), || (load.lost() > 3).then_some(())).is_some());
        let report = load.finish();
        assert_eq!(report.answered(), 0);
        assert!(report.lost().iter().all(|s| s.outcome == Outcome::Refused), "{report}");
    }
}
