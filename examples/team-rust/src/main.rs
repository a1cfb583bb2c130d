//! A small HTTP server that plays its part in a team of workers, with what systemd's conventions offer to any program:
//!
//! - its listening socket comes from outside (LISTEN_FDS), so several of it share a port and a restart refuses nobody;
//! - it says when it is ready (READY=1 to NOTIFY_SOCKET);
//! - on SIGTERM it takes nothing new, finishes what it has, then ends.

#![expect(clippy::print_stdout, reason = "its log is its standard output")]

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// A request's head may not be longer.
const MAX_HEAD: usize = 16 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = match ListenFd::from_env().take_tcp_listener(0)? {
        Some(inherited) => {
            inherited.set_nonblocking(true)?;
            TcpListener::from_std(inherited)?
        }
        None => TcpListener::bind(("127.0.0.1", 8080)).await?,
    };
    let mut stop = signal(SignalKind::terminate())?;
    println!("worker {} listens on {}", std::process::id(), listener.local_addr()?);
    notify("READY=1");

    let mut connections = JoinSet::new();
    let (closing, closed) = tokio::sync::watch::channel(false);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                journal(peer.port());
                connections.spawn(serve(stream, closed.clone()));
            }
            _ = stop.recv() => break,
            Some(_) = connections.join_next() => {}
        }
    }
    notify("STOPPING=1");
    // From here on nothing is accepted: what waits in the queue is the other workers'.
    let _ = closing.send(true);
    while connections.join_next().await.is_some() {}
    println!("worker {} has finished what it had", std::process::id());
    Ok(())
}

/// Answers the requests of one connection until the client or SIGTERM ends it.
async fn serve(mut stream: TcpStream, mut closed: tokio::sync::watch::Receiver<bool>) {
    let mut buffer = Vec::new();
    loop {
        let head = tokio::select! {
            head = read_head(&mut stream, &mut buffer) => head,
            // Idle: the client has asked nothing.
            _ = closed.wait_for(|closed| *closed), if buffer.is_empty() => return,
        };
        let Some(head) = head else { return };
        let target = head.split(' ').nth(1).unwrap_or("/");
        let last = *closed.borrow() || head.to_ascii_lowercase().contains("\r\nconnection: close");
        if stream.write_all(answer(target, last).await.as_bytes()).await.is_err() || last {
            return;
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer.drain(..end + 4).collect();
            return String::from_utf8(head).ok();
        }
        if buffer.len() > MAX_HEAD || stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn answer(target: &str, last: bool) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let (status, body) = match path {
        "/" | "/slow" | "/big" => {
            if path == "/slow" {
                let ms = parameter("ms").and_then(|ms| ms.parse().ok()).unwrap_or(1000);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            let slot = std::env::var("MUSHER_SLOT").unwrap_or_else(|_| "none".into());
            let id = parameter("id").unwrap_or("none");
            let mut body = format!("id={id} pid={} slot={slot}\n", std::process::id());
            if path == "/big" {
                body.push_str(&"x".repeat(1 << 20));
            }
            ("200 OK", body)
        }
        _ => ("404 Not Found", String::from("not found\n")),
    };
    let connection = if last { "close" } else { "keep-alive" };
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}", body.len())
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

/// For the demonstration: which connections this process got, so that a lost request is explained.
fn journal(port: u16) {
    let Some(directory) = std::env::var_os("JOURNAL") else { return };
    let path = std::path::Path::new(&directory).join(std::process::id().to_string());
    if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path) {
        let _ = writeln!(file, "{port}");
    }
}
