//! An axum server that is a worker of whoever starts it, without a change: alone, under a Rust primary
//! (`cluster-primary`), under musher, under Node's `cluster`, or with a socket of systemd.
//!
//! `cargo run -p cluster-rust --bin cluster-axum -- 127.0.0.1:8080`

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use std::collections::BTreeMap;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let app = Router::new().route("/", get(hello));
    let listener = musher_cluster::listen(address).await?;
    musher_cluster::serve(listener, app).await
}

async fn hello(Query(query): Query<BTreeMap<String, String>>) -> String {
    let id = query.get("id").map_or("none", String::as_str);
    format!("id={id} pid={} version=1\n", std::process::id())
}
