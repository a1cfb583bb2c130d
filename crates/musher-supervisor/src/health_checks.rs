//! Health checks of a team in the foreground over HTTP: `/live` and `/ready`, and nothing else.
//!
//! An answer needs no more than a look at a flag, so this is the whole server: one request for a connection, its first
//! line is read, the rest does not matter. Connections, sizes and times are bounded.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// How many checks are answered at a time.
const AT_ONCE: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a request that is read.
const HEAD: usize = 4096;
/// How long to wait when the process has no descriptor left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers checks for as long as the process lives. `ready` says what `/ready` answers.
pub(crate) async fn serve(listener: StdListener, ready: watch::Receiver<bool>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((stream, _)) => {
                let ready = *ready.borrow();
                tokio::spawn(async move {
                    // Who hangs up or dawdles gets no answer.
                    let _ = timeout(PATIENCE, answer(stream, ready)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer(mut stream: TcpStream, ready: bool) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await?;
        head.extend_from_slice(&part[..read]);
        if read == 0 || head.len() > HEAD {
            return Ok(());
        }
    }
    let mut words = head.split(|byte| *byte == b' ');
    let (status, text) = match (words.next(), words.next()) {
        (Some(b"GET" | b"HEAD"), Some(b"/live")) => ("200 OK", "live\n"),
        (Some(b"GET" | b"HEAD"), Some(b"/ready")) if ready => ("200 OK", "ready\n"),
        (Some(b"GET" | b"HEAD"), Some(b"/ready")) => ("503 Service Unavailable", "not ready\n"),
        (Some(b"GET" | b"HEAD"), _) => ("404 Not Found", "/live and /ready are all there is\n"),
        _ => ("405 Method Not Allowed", "only GET\n"),
    };
    let body = if head.starts_with(b"HEAD") { "" } else { text };
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_is_told_as_it_is_and_life_always() {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ready = watch::Sender::new(false);
        tokio::spawn(serve(listener, ready.subscribe()));
        assert!(ask(address, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        assert!(ask(address, "GET /ready HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
        ready.send_replace(true);
        assert!(ask(address, "GET /ready HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\nready\n"));
        assert!(ask(address, "HEAD /ready HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\n"));
        assert!(ask(address, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "POST /live HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    }
}
