//! A gRPC server as a worker: tonic takes the connections as a stream, which ends when the worker is to drain.
//!
//! `cargo run -p cluster-rust --bin cluster-tonic -- 127.0.0.1:8080`

use tonic::transport::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let (health, service) = tonic_health::server::health_reporter();
    let name = format!("worker-{}", std::process::id());
    health.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    let listener = musher_cluster::listen(address).await?;
    Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(listener.into_incoming(), musher_cluster::draining())
        .await?;
    Ok(())
}
