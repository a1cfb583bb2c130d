//! A hyper server as a worker: it accepts by itself, and ends with the connections it has when it is to drain.
//!
//! `cargo run -p cluster-rust --bin cluster-hyper -- 127.0.0.1:8080`

use std::convert::Infallible;

use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let mut listener = musher_cluster::listen(address).await?;
    let connections = GracefulShutdown::new();
    let http = hyper::server::conn::http1::Builder::new();
    while let Some((stream, _)) = listener.accept().await {
        let connection = http.serve_connection(TokioIo::new(stream), service_fn(hello));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client that went away is no fault.
            let _ = connection.await;
        });
    }
    drop(listener);
    connections.shutdown().await;
    Ok(())
}

async fn hello<B>(_: Request<B>) -> Result<Response<http_body_util::Full<Bytes>>, Infallible> {
    let text = format!("id=none pid={} version=1\n", std::process::id());
    Ok(Response::new(http_body_util::Full::new(text.into())))
}
