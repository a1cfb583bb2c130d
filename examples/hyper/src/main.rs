//! A hyper server as a worker of a team: it takes its listening socket from outside (LISTEN_FDS), says when it is ready
//! (READY=1 to NOTIFY_SOCKET), and on SIGTERM ends without losing a request:
//!
//! 1. it accepts nothing new; what waits in the socket's queue is the other workers';
//! 2. it answers each further request on its connections with `Connection: close`, so that clients which keep theirs
//!    open take another one. To close those at once would lose what a client is just sending;
//! 3. after a while it closes the connections on which nothing came, finishes what it is answering, and ends.

#![expect(clippy::print_stdout, reason = "its log is its standard output")]

use std::convert::Infallible;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// How long clients have to send one more request on a connection that they keep.
const LAST_REQUEST: Duration = Duration::from_secs(5);
/// An answer may have this many parts.
const MAX_PARTS: u64 = 10_000;

type Body = Channel<Bytes, Infallible>;

/// What all connections share.
#[derive(Default)]
struct Server {
    stopping: AtomicBool,
    requests: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = match ListenFd::from_env().take_tcp_listener(0)? {
        Some(inherited) => {
            inherited.set_nonblocking(true)?;
            TcpListener::from_std(inherited)?
        }
        None => TcpListener::bind(("127.0.0.1", 8081)).await?,
    };
    let mut stop = signal(SignalKind::terminate())?;
    println!("worker {} listens on {}", std::process::id(), listener.local_addr()?);
    notify("READY=1");

    let server = Arc::new(Server::default());
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => serve(stream, &server, &connections),
                // The client went away, or files ran out: the next moment is another one.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            _ = stop.recv() => break,
        }
    }
    drop(listener);
    notify("STOPPING=1");
    server.stopping.store(true, Ordering::Relaxed);
    let since = Instant::now();
    while connections.count() > 0 && since.elapsed() < LAST_REQUEST {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    connections.shutdown().await;
    println!("worker {} has finished what it had", std::process::id());
    Ok(())
}

/// Answers what comes on one connection, in a task of its own.
fn serve(stream: TcpStream, server: &Arc<Server>, connections: &GracefulShutdown) {
    let server = Arc::clone(server);
    let service = service_fn(move |request| {
        let mut response = server.answer(&request);
        if server.stopping.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new());
    let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        // A client that went away is no fault.
        let _ = connection.await;
    });
}

impl Server {
    /// `/` at once; `/stream?chunks=20&every=100` in parts, 100 ms apart.
    fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        println!("request {}.{number} {}", std::process::id(), request.uri());
        let query = request.uri().query().unwrap_or_default();
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let count = |name: &str| parameter(name).and_then(|value| value.parse().ok()).unwrap_or(10);
        let (sender, body) = Channel::new(1);
        let mut response = Response::new(body);
        let first = format!("id={} pid={}\n", parameter("id").unwrap_or("none"), std::process::id());
        let parts = match request.uri().path() {
            "/" => None,
            "/stream" => Some((count("chunks").min(MAX_PARTS), Duration::from_millis(count("every")))),
            _ => {
                *response.status_mut() = StatusCode::NOT_FOUND;
                None
            }
        };
        tokio::spawn(send(sender, first, parts));
        response
    }
}

/// Sends a body: at once, or part by part.
async fn send(mut sender: Sender<Bytes, Infallible>, first: String, parts: Option<(u64, Duration)>) {
    // When the client goes away in between, nobody wants the rest.
    if sender.send_data(first.into()).await.is_err() {
        return;
    }
    let Some((count, pause)) = parts else { return };
    for left in (0..count).rev() {
        tokio::time::sleep(pause).await;
        if sender.send_data(format!("part {left}\n").into()).await.is_err() {
            return;
        }
    }
    let _ = sender.send_data("end\n".into()).await;
}

/// Tells the supervisor, if there is one that listens (sd_notify(3)).
fn notify(state: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    };
    // A worker serves as well when nobody wants to know.
    let _ = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
}
