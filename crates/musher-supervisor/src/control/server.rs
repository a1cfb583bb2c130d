//! Connections: who may connect, how many, how long they may take.
//!
//! One task accepts, one task serves each connection. All limits are waits or refusals, never queues that grow: when
//! [`CONNECTIONS`] are open, further peers wait in the kernel's backlog.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use musher_api::{ApiError, ErrorCode};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::handlers::{Answer, router};
use super::request::DriverHandle;

/// How many connections may be open.
const CONNECTIONS: usize = 256;
/// How long a peer may take to send the head of a request; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEAD_BYTES: usize = 64 << 10;
/// How long to wait when the process has no descriptor left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the control API on `listener` for as long as the process lives.
///
/// # Errors
///
/// When the listener is not one. A failing connection is that connection's matter.
pub async fn serve(listener: StdListener, driver: DriverHandle) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let allowed = router(driver);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let app = match peer_refusal(&stream) {
            None => allowed.clone(),
            Some(error) => refusing(error),
        };
        tokio::spawn(connection(stream, app, place));
    }
}

async fn connection(stream: UnixStream, app: Router, _place: OwnedSemaphorePermit) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a control connection failed");
    }
}

/// Why the peer may not use this supervisor, if so (SO_PEERCRED, unix(7)).
fn peer_refusal(stream: &UnixStream) -> Option<ApiError> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) => refusal(peer.uid(), own),
        Err(error) => Some(ApiError::new(ErrorCode::Denied, format!("cannot tell who is asking: {error}"))),
    }
}

fn refusal(peer: u32, own: u32) -> Option<ApiError> {
    (peer != own && peer != 0).then(|| {
        ApiError::new(
            ErrorCode::Denied,
            format!("this supervisor belongs to user id {own}; user id {peer} may not use it"),
        )
        .with_hint("run musher as that user or as root, or set MUSHER_HOME to a home of your own")
    })
}

fn refusing(error: ApiError) -> Router {
    Router::new().fallback(move || {
        let error = error.clone();
        async move { Answer::<()>::Error(error).into_response() }
    })
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn only_the_same_user_and_root_may_ask() {
        assert!(refusal(1000, 1000).is_none());
        assert!(refusal(0, 1000).is_none());
        let error = refusal(1001, 1000).unwrap();
        assert!(error.message.contains("1000") && error.message.contains("1001"));
        assert!(error.hint.is_some());
    }
}
