//! A program that is its own primary and its own workers, as in the first example of Node's `cluster`: the primary forks this
//! very program, and each worker says its number. A worker that dies is forked again.
//!
//! `cargo run -p cluster-rust --bin cluster-hello`, then `curl http://127.0.0.1:8000/`

#![expect(clippy::print_stdout, reason = "its log is its standard output")]

use axum::Router;
use axum::routing::get;
use musher_cluster::{Event, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    if musher_cluster::is_primary() {
        return primary().await;
    }
    let id = musher_cluster::own_worker()?.and_then(|worker| worker.id()).unwrap_or_default();
    let app = Router::new().route("/", get(move || async move { format!("Hello from {id}\n") }));
    let listener = musher_cluster::listen(address).await?;
    musher_cluster::serve(listener, app).await
}

async fn primary() -> std::io::Result<()> {
    let cluster = musher_cluster::setup_primary(Settings::new())?;
    let again = cluster.clone();
    cluster.on(move |event| match event {
        Event::Listening { worker, address, .. } => println!("worker {} listens on {address}", worker.id()),
        Event::Exit { worker, status } => {
            println!("worker {} ended: {status}", worker.id());
            if worker.exited_after_disconnect() == Some(false)
                && let Err(error) = again.fork()
            {
                println!("no worker takes its place: {error}");
            }
        }
        _ => {}
    });
    for _ in 0..2 {
        cluster.fork()?;
    }
    musher_cluster::draining().await;
    cluster.disconnect().await;
    Ok(())
}
