//! An HTTP server over all cores that counts its visits: each worker tells the primary, the primary tells all workers, and so
//! every worker knows the number. With interceptors, a JSON body, a streamed one, and a tower layer.
//!
//! ```console
//! $ cargo run -p cluster-rust --bin cluster-visits -- 127.0.0.1:9090 2
//! $ curl http://127.0.0.1:9090/count
//! $ cargo run -p cluster-rust --bin cluster-visits -- 127.0.0.1:9090 development    # then change this file
//! ```

#![expect(clippy::print_stdout, reason = "its log is its standard output")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::Body;
use axum::extract::Query;
use axum::http::HeaderValue;
use axum::routing::{get, post};
use musher_cluster::http::{IntoResponse, Mode, Next, Request, Response, Server};
use serde_json::{Value, json};
use tower::limit::GlobalConcurrencyLimitLayer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9090".to_owned());
    let how = args.next().unwrap_or_default();
    let visits = Arc::new(AtomicU64::new(0));
    let (counted, shown) = (Arc::clone(&visits), Arc::clone(&visits));
    let server = Server::new()
        .instances(how.parse().unwrap_or(0))
        .mode(if how == "development" { Mode::Development } else { Mode::Production })
        // What a worker says to the primary, all workers hear.
        .relay_messages()
        .on_message(move |message| {
            if message.value == "count" {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        })
        .intercept(log)
        .intercept(count)
        .layer(GlobalConcurrencyLimitLayer::new(1000))
        .route("/", get(hello))
        .route("/count", get(move || async move { Json(json!({"visits": shown.load(Ordering::Relaxed)})) }))
        .route("/echo", post(|Json(value): Json<Value>| async { Json(value) }))
        .route("/stream", get(stream));
    Ok(server.listen(address).await?)
}

/// The outer one: what the others and the handler did is done when it goes on.
async fn log(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    println!("{} {path} through {}", response.status().as_u16(), std::process::id());
    let seen = response.headers().get_all("x-by").iter().count();
    response.headers_mut().insert("x-seen", seen.into());
    response
}

/// The inner one.
async fn count(request: Request, next: Next) -> Response {
    let visit = request.uri().path() == "/";
    if let Ok(Some(worker)) = musher_cluster::own_worker()
        && visit
        && let Err(error) = worker.send("count")
    {
        println!("a visit is not counted: {error}");
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-by", HeaderValue::from_static("count"));
    response
}

async fn hello(Query(query): Query<BTreeMap<String, String>>) -> String {
    let id = query.get("id").map_or("none", String::as_str);
    format!("id={id} pid={} version=1\n", std::process::id())
}

async fn stream() -> Response {
    let parts = (0..3).map(|part| Ok::<_, Infallible>(format!("part {part}\n")));
    Body::from_stream(tokio_stream::iter(parts)).into_response()
}
