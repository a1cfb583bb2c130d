//! What Prometheus reads: `GET /metrics`, and nothing else. Few are answered at a time: who asks more often waits.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use musher_api::metrics::{OPENMETRICS, PROMETHEUS, exposition};
use tokio::sync::Semaphore;

use crate::control::DriverHandle;

/// How many are answered at a time.
const AT_ONCE: usize = 2;

/// What answers.
#[derive(Clone)]
struct Context {
    driver: DriverHandle,
    turns: Arc<Semaphore>,
}

pub(super) fn router(driver: DriverHandle) -> Router {
    let context = Context { driver, turns: Arc::new(Semaphore::new(AT_ONCE)) };
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "GET /metrics is all there is\n"))
        .with_state(context)
}

async fn metrics(State(context): State<Context>, headers: HeaderMap) -> Response {
    let Ok(_turn) = context.turns.acquire().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let openmetrics = accepts.contains("application/openmetrics-text");
    match context.driver.metrics().await {
        Ok(metrics) => {
            let kind = if openmetrics { OPENMETRICS } else { PROMETHEUS };
            ([(header::CONTENT_TYPE, kind)], exposition(&metrics, openmetrics)).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
