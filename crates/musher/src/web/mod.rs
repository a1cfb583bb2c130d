//! What `musher web` serves: the JSON of `pm2 web`, and for browsers a page that shows the same.
//!
//! It asks the control API as every command does, and shows no environment. The page loads nothing from elsewhere, and
//! writes what comes from apps as text.

mod document;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use musher_process::inherit::take_inherited;
use musher_supervisor::endpoint::{self, Place};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::args::Cli;
use crate::exit_codes;
use crate::failure::Failure;

/// A path that is answered without asking anybody: whether this serves.
pub(crate) const READY: &str = "/page.css";
const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
/// The page may load what comes from here, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// For how long one answer is good: many that ask at once cost as much as one.
const FRESH: Duration = Duration::from_millis(500);
/// How many may wait for an answer.
const WAITING: usize = 64;

/// Where the text of the document goes; none: the supervisor does not answer.
type Reply = oneshot::Sender<Option<Arc<str>>>;

#[derive(Clone)]
struct Context {
    ask: mpsc::Sender<Reply>,
    cors: Option<HeaderValue>,
}

/// Serves until the process is ended: on the socket that musher opened for it, or on one of its own.
pub(crate) async fn serve(cli: &Cli, address: SocketAddr, cors: Option<&str>) -> Result<(), Failure> {
    let cors = cors.map(HeaderValue::from_str).transpose();
    let cors = cors.map_err(|_| Failure::new(exit_codes::USAGE, "this is no origin: https://example.com, or *"))?;
    let failed = |error: std::io::Error| Failure::environment(format!("cannot serve on http://{address}/: {error}"));
    let place = Place::Tcp(address);
    let socket = match inherited() {
        Some(socket) => socket,
        None => endpoint::open(&place).map_err(failed)?.0,
    };
    let (ask, asked) = mpsc::channel(WAITING);
    let local = LocalSet::new();
    local
        .run_until(async {
            tokio::select! {
                served = endpoint::serve(socket, &place, router(Context { ask, cors })) => served.map_err(failed),
                () = answer(cli, asked) => Ok(()),
            }
        })
        .await
}

/// The socket that musher gave this process (sd_listen_fds(3)).
fn inherited() -> Option<OwnedFd> {
    let given = std::env::var("LISTEN_FDS").ok()?;
    let is_ours = std::env::var("LISTEN_PID").map_or(true, |pid| pid == std::process::id().to_string());
    (given == "1" && is_ours).then(|| take_inherited(3).ok()).flatten()
}

/// Answers with what is known, asked for anew when it is not fresh.
async fn answer(cli: &Cli, mut asked: mpsc::Receiver<Reply>) {
    let mut known: Option<(Instant, Arc<str>)> = None;
    while let Some(reply) = asked.recv().await {
        if known.as_ref().is_none_or(|(since, _)| since.elapsed() > FRESH) {
            known = document::document(cli).await.ok().map(|text| (Instant::now(), text.into()));
        }
        // Who is gone needs no answer.
        let _ = reply.send(known.as_ref().map(|(_, text)| Arc::clone(text)));
    }
}

fn router(context: Context) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(async move || ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text))
    };
    Router::new()
        .route("/", get(root))
        .route("/page.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/page.css", file("text/css; charset=utf-8", STYLE))
        .fallback(async || (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json")], r#"{"err":"404"}"#))
        .with_state(context)
}

async fn root(State(context): State<Context>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut response = if accept.contains("text/html") {
        let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
        (kind, PAGE).into_response()
    } else {
        let (reply, answer) = oneshot::channel();
        let asked = context.ask.try_send(reply);
        let text = if asked.is_ok() { answer.await.ok().flatten() } else { None };
        let kind = [(header::CONTENT_TYPE, "application/json")];
        match text {
            Some(text) => (kind, text.to_string()).into_response(),
            None => {
                (StatusCode::SERVICE_UNAVAILABLE, kind, r#"{"err":"the supervisor does not answer"}"#).into_response()
            }
        }
    };
    let about = response.headers_mut();
    about.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    about.insert(header::VARY, HeaderValue::from_static("Accept"));
    about.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(cors) = context.cors {
        about.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, cors);
    }
    response
}
